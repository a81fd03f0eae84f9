//! Some worlds in every test run, and the test of the simulator itself.

use hotline_sim::{Options, Sabotage, run_many, run_seed};

/// Worlds with faults in every run of the tests: an optimised build runs ten times as many in the
/// same time, and `hotline sim` runs thousands on demand.
const WORLDS: u64 = if cfg!(debug_assertions) { 40 } else { 400 };
/// Worlds in which nothing fails.
const CALM_WORLDS: u64 = 6;
/// Worlds with a part taken away, of which some must fail.
const BROKEN_WORLDS: u64 = 16;

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn worlds_with_faults_keep_their_invariants() {
    let summary = run_many(1, WORLDS, jobs(), &Options::default(), &|_| {});
    if let Some(failure) = summary.failure {
        panic!("{failure}");
    }
    let stats = summary.stats;
    assert_eq!(summary.ran, WORLDS);
    assert!(stats.answered > WORLDS, "people talk in these worlds: {stats}");
    assert!(stats.faults > 10 * WORLDS, "things fail in these worlds: {stats}");
}

#[test]
fn calm_worlds_keep_their_invariants() {
    let options = Options { no_faults: true, ..Options::default() };
    let summary = run_many(10_000, CALM_WORLDS, jobs(), &options, &|_| {});
    if let Some(failure) = summary.failure {
        panic!("{failure}");
    }
    assert_eq!(summary.stats.faults, 0);
}

#[test]
fn the_same_seed_gives_the_same_world_line_by_line() {
    let options = Options { keep_table: true, ..Options::default() };
    let (first, second) = (run_seed(7, &options), run_seed(7, &options));
    assert_eq!(first.table, second.table);
    assert_eq!(first.stats, second.stats);
    assert!(first.table.lines().count() > 50, "{}", first.table);
}

/// Runs broken worlds from seed `first` until enough have failed.
fn notices(sabotage: Sabotage, first: u64, enough: usize) {
    let options = Options { sabotage: Some(sabotage), ..Options::default() };
    let seeds = first..first + BROKEN_WORLDS;
    let failed = seeds.filter(|seed| run_seed(*seed, &options).failure.is_some()).take(enough).count();
    assert_eq!(failed, enough, "{sabotage:?}: too few of {BROKEN_WORLDS} worlds noticed");
}

/// The simulator must notice a store that does not check versions, in most worlds and soon.
#[test]
fn without_the_version_check_worlds_fail() {
    notices(Sabotage::NoVersionCheck, 1, 10);
}

#[test]
fn without_the_outbox_sweep_worlds_fail() {
    notices(Sabotage::NoOutboxSweep, 1, 2);
}

#[test]
fn without_the_timer_sweep_worlds_fail() {
    notices(Sabotage::NoTimerSweep, 1, 3);
}

#[test]
fn without_the_lease_check_worlds_fail() {
    // A machine that is lost for good with calls on it is rare: these seeds have one.
    notices(Sabotage::NoLeaseCheck, 60, 1);
}
