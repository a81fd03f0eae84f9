//! A small hour, and what single operations cost beside many others.

use hotline_sim::hour::{Flood, HourPlan, Whose, costs, run_hour};

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
    let plan = HourPlan { calls: 300, agents: 300, per_s: 2.0, burst_per_s: 50.0, burst_at_s: 2, seed: 1, flood: None };
    let report = run_hour(plan, &|_| {}).unwrap();
    assert_eq!((report.lost, report.failed), (0, 0), "{report}");
    let claims = report.refused.iter().find(|(what, _)| what == "agent and contact").map_or(0, |(_, n)| *n);
    assert!(claims * 20 < report.offers, "{report}");
}

/// Nobody else waits longer, and no call of theirs is lost.
#[test]
fn a_flood_of_one_caller_or_of_another_tenant_delays_nobody() {
    let plan = HourPlan { calls: 200, agents: 400, per_s: 1.0, burst_per_s: 1.0, burst_at_s: 10, seed: 3, flood: None };
    let calm = run_hour(plan, &|_| {}).unwrap();
    for whose in [Whose::OneCaller, Whose::OtherTenant] {
        let flood = Flood { whose, per_s: 20, at_s: 60, for_s: 60 };
        let report = run_hour(HourPlan { flood: Some(flood), ..plan }, &|_| {}).unwrap();
        assert_eq!((report.calls, report.lost, report.failed), (200, 0, 0), "{report}");
        assert_eq!(report.flood.came, 1_200, "{report}");
        assert_eq!(report.flood.let_in + report.flood.refused, 1_200, "{report}");
        // Ten a minute at most, in two or three minutes of the clock; fifty at once, counted every
        // two seconds, in rounds of half a minute.
        let most = if whose == Whose::OneCaller { 30 } else { 300 };
        assert!((1..=most).contains(&report.flood.let_in), "{report}");
        assert!(report.service_level_pct + 2.0 >= calm.service_level_pct, "{report}\n{calm}");
        assert!(report.waits_ms[2] <= calm.waits_ms[2] + 3_000, "{report}\n{calm}");
    }
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
