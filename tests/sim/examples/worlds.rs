//! Runs worlds without the rest of Hotline: `worlds FIRST COUNT [calm] [table]`; and with a part
//! taken away: `no-version-check`, `no-outbox-sweep`, `no-timer-sweep`, `no-lease-check`.

use hotline_sim::{Options, Sabotage, run_many, run_seed};

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, otherwise: u64| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(otherwise);
    let has = |word: &str| args.iter().any(|a| a == word);
    let sabotage = [
        ("no-version-check", Sabotage::NoVersionCheck),
        ("no-outbox-sweep", Sabotage::NoOutboxSweep),
        ("no-timer-sweep", Sabotage::NoTimerSweep),
        ("no-lease-check", Sabotage::NoLeaseCheck),
    ];
    let sabotage = sabotage.into_iter().find(|(word, _)| has(word)).map(|(_, what)| what);
    let options = Options { no_faults: has("calm"), sabotage, keep_table: has("table") };
    let (first, count) = (number(0, 1), number(1, 1));
    if count == 1 {
        let outcome = run_seed(first, &options);
        if options.keep_table && outcome.failure.is_none() {
            println!("{}", outcome.table);
        }
        println!("{outcome}");
        return if outcome.failure.is_some() { 1.into() } else { 0.into() };
    }
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let summary = run_many(first, count, jobs, &options, &|_| {});
    println!("{} worlds: {}", summary.ran, summary.stats);
    match summary.failure {
        Some(outcome) => {
            println!("{outcome}");
            1.into()
        }
        None => 0.into(),
    }
}
