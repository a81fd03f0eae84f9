//! A whole hotline and real phones: one hotline is started, the scenarios run one after the other.
//!
//! Prints what cargo's own harness prints, so that the closing line is counted.

mod scenarios;

use anyhow::Result;
use hotline_live::hotline::Hotline;
use std::process::ExitCode;
use std::time::Instant;

type Scenario = (&'static str, fn(&mut Hotline) -> Result<()>);

const SCENARIOS: [Scenario; 15] = [
    ("a_caller_and_a_baresip_agent_talk_and_everything_is_kept", scenarios::journey::run),
    ("a_caller_at_one_node_and_an_agent_at_another_talk", scenarios::other_node::run),
    ("an_agent_asks_a_colleague_who_takes_over", scenarios::consult::run),
    ("somebody_is_called_back", scenarios::callback::run),
    ("a_killed_nodes_call_is_taken_over", scenarios::killed_node::taken_over),
    ("who_is_lost_with_a_node_is_called_back", scenarios::killed_node::called_back),
    ("a_node_that_is_cut_off_loses_its_calls_and_learns_of_it", scenarios::partition::run),
    ("one_agent_two_consoles_and_a_sign_out_at_the_answer", scenarios::presence::run),
    ("an_unknown_number_is_heard_and_refused", scenarios::unknown_number::run),
    ("sipp_calls_over_udp_and_tcp", scenarios::sipp::run),
    ("the_cloud_pauses_and_the_caller_stays", scenarios::cloud_away::run),
    ("hotline_call_shows_a_call_without_a_phone", scenarios::built_in_call::run),
    ("wrong_use_gets_a_clear_answer", scenarios::wrong_use::run),
    ("the_state_survives_down_and_up", scenarios::survives::run),
    ("wrong_ports_and_a_damaged_state_are_named_with_a_remedy", scenarios::damaged::run),
];

/// Run only where they are named: together they take a minute and a half more.
const NAMED: [Scenario; 2] = [
    ("a_node_stays_dead_and_each_of_its_calls_is_found", scenarios::dead_node::run),
    ("an_agent_in_a_browser_is_reloaded_and_hands_a_call_round", scenarios::browser::run),
];

fn main() -> ExitCode {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    let mut hotline = match Hotline::fresh() {
        Ok(hotline) => hotline,
        Err(error) => {
            println!("the hotline did not start: {error:#}");
            println!("test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed) = (0, 0);
    let named = NAMED.into_iter().filter(|_| !filter.is_empty());
    for (name, scenario) in SCENARIOS.into_iter().chain(named) {
        if !wanted(name) {
            continue;
        }
        let started = Instant::now();
        match scenario(&mut hotline) {
            Ok(()) => {
                passed += 1;
                println!("test {name}: ok ({:.1} s)", started.elapsed().as_secs_f32());
            }
            Err(error) => {
                failed += 1;
                println!("test {name}: FAILED\n{error:?}");
            }
        }
    }
    drop(hotline);
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
