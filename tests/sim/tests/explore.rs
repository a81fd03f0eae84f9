//! Small worlds, every interleaving; and the test of the exploration itself.

use hotline_sim::explore::{Explored, Flaw, Size, explore};

/// An optimised build explores ten times as much in the same time.
const STATES: usize = if cfg!(debug_assertions) { 2_000 } else { 30_000 };

fn told(explored: &Explored) -> String {
    match &explored.violation {
        Some((wrong, way)) => format!("{wrong}\n  {}", way.join("\n  ")),
        None => String::new(),
    }
}

#[test]
fn small_worlds_keep_what_must_hold() {
    for (name, size) in Size::all() {
        let explored = explore(Size { max_states: STATES, ..size }, Flaw::None);
        assert_eq!(told(&explored), "", "{name}");
        assert!(explored.states > 100, "{name}: {explored:?}");
    }
}

#[test]
fn the_smallest_world_is_explored_whole() {
    let size = Size { repeats: 0, deaths: 0, crashes: 0, lapses: 0, advances: 1, ..Size::smallest() };
    let explored = explore(size, Flaw::None);
    assert!(explored.complete, "{explored:?}");
    assert_eq!(told(&explored), "");
}

#[test]
fn two_calls_and_their_agents_are_explored_whole() {
    let agents = if cfg!(debug_assertions) { 1 } else { 2 };
    let size = Size { agents, hang_ups: 2 - agents as u8, deaths: 2 - agents as u8, ..Size::two_of_each() };
    let explored = explore(size, Flaw::None);
    assert!(explored.complete && explored.states > 5_000, "{explored:?}");
    assert_eq!(told(&explored), "");
}

#[test]
fn a_claim_of_one_side_alone_is_noticed() {
    let explored = explore(Size::two_calls(), Flaw::OneSidedClaim);
    let (wrong, way) = explored.violation.expect("two calls are offered to one agent");
    assert!(wrong.contains("who holds"), "{wrong}");
    assert!(way.len() > 4, "{way:?}");
}

#[test]
fn a_wake_up_that_is_lost_is_noticed() {
    let explored = explore(Size::smallest(), Flaw::LooksTooEarly);
    let (wrong, _) = explored.violation.expect("the agent is free and nobody looks");
    assert!(wrong.contains("a lost wake-up"), "{wrong}");
}
