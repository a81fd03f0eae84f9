//! A small hour, and what single operations cost beside many others.

use hotline_sim::hour::{HourPlan, costs, run_hour};

#[test]
fn a_small_hour_loses_no_call() {
    let calls = if cfg!(debug_assertions) { 150 } else { 1_000 };
    let report = run_hour(HourPlan::with_calls(calls), &|_| {}).unwrap();
    assert_eq!((report.calls, report.lost, report.failed), (calls, 0, 0), "{report}");
    assert_eq!(report.answered + report.abandoned, calls, "{report}");
    assert!(report.units.commits > 5 * calls, "{report}");
    let again = run_hour(HourPlan::with_calls(calls), &|_| {}).unwrap();
    assert_eq!(report.to_string(), again.to_string(), "the same seed gives the same hour");
}

/// Many calls come and many agents are free: matchers that work beside each other would all take
/// the same heads.
#[test]
fn a_burst_does_not_make_matchers_collide() {
    let plan = HourPlan { calls: 300, agents: 300, per_s: 2.0, burst_per_s: 50.0, burst_at_s: 2, seed: 1 };
    let report = run_hour(plan, &|_| {}).unwrap();
    assert_eq!((report.lost, report.failed), (0, 0), "{report}");
    let claims = report.refused.iter().find(|(what, _)| what == "agent and contact").map_or(0, |(_, n)| *n);
    assert!(claims * 20 < report.offers, "{report}");
}

/// Beyond some hundreds of others nothing is read that was not read before.
#[test]
fn costs_do_not_grow_with_the_queue() {
    let (few, many) = (costs(1_000).unwrap(), costs(10_000).unwrap());
    for ((name, few), (_, many)) in few.all().into_iter().zip(many.all()) {
        assert_eq!((few.reads, few.writes), (many.reads, many.writes), "{name}");
        assert!(many.read_units <= few.read_units + 2, "{name}: {few:?} {many:?}");
        assert!(many.write_units <= few.write_units, "{name}: {few:?} {many:?}");
    }
}
