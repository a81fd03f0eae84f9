//! Real peers, one scenario after the other.
//!
//! Prints what cargo's own harness prints, so that the closing line is counted.

mod scenarios;

use anyhow::Result;
use std::process::ExitCode;
use std::time::Instant;

type Scenario = (&'static str, fn() -> Result<()>);

const SCENARIOS: [Scenario; 10] = [
    ("a_browser_registers_over_wss_and_ws_and_is_gone_with_its_page", scenarios::browser::registers),
    ("a_browser_calls_a_menu_and_presses_keys", scenarios::browser::calls_a_menu),
    ("a_browser_is_called_holds_and_is_reloaded", scenarios::browser::is_called),
    ("linphone_over_udp", scenarios::linphone::udp),
    ("linphone_over_tcp", scenarios::linphone::tcp),
    ("linphone_over_tls", scenarios::linphone::tls),
    ("calls_through_a_record_routing_proxy", scenarios::proxy::both_ways),
    ("scanners_learn_neither_product_nor_users", scenarios::scanners::learn_nothing),
    ("a_guesser_is_locked_out_and_nobody_else", scenarios::scanners::guesses_in_vain),
    ("a_clock_that_jumps_ends_no_call_and_forgets_no_phone", scenarios::clock::jumps),
];

fn main() -> ExitCode {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    let (mut passed, mut failed) = (0, 0);
    for (name, scenario) in SCENARIOS {
        if !wanted(name) {
            continue;
        }
        let started = Instant::now();
        match scenario() {
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
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
