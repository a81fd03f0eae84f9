//! The hour without the rest of Hotline: `hour CALLS`, a burst alone: `hour 4000 agents 2000 per-s 6
//! burst 60 burst-at 30`, beside a flood of
//! one caller or of another tenant for a minute: `hour 1000 caller-flood 50`, `tenant-flood 50`; and what single operations cost: `hour costs`.

use hotline_sim::hour::{Flood, HourPlan, Whose, costs, run_hour};
use std::time::Instant;

fn flood(whose: Whose, per_s: u64) -> Option<Flood> {
    Some(Flood { whose, per_s, at_s: 60, for_s: 60 })
}

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "costs") {
        for others in [0, 10, 1_000, 10_000] {
            match costs(others) {
                Ok(costs) => print!("{costs}"),
                Err(wrong) => println!("{wrong}"),
            }
        }
        return 0.into();
    }
    let calls = args.first().and_then(|a| a.parse().ok()).unwrap_or(1_000);
    let mut plan = HourPlan::with_calls(calls);
    for pair in args.windows(2) {
        let [field, value] = pair else { continue };
        match (field.as_str(), value.parse::<u64>()) {
            ("burst-at", Ok(s)) => plan.burst_at_s = s,
            ("seed", Ok(seed)) => plan.seed = seed,
            ("agents", Ok(agents)) => plan.agents = agents,
            ("per-s", Ok(rate)) => plan.per_s = rate as f64,
            ("burst", Ok(rate)) => plan.burst_per_s = rate as f64,
            ("caller-flood", Ok(per_s)) => plan.flood = flood(Whose::OneCaller, per_s),
            ("tenant-flood", Ok(per_s)) => plan.flood = flood(Whose::OtherTenant, per_s),
            _ => {}
        }
    }
    let start = Instant::now();
    let tell = |text: &str| eprintln!("  {text}, {:.1} s", start.elapsed().as_secs_f64());
    match run_hour(plan, &tell) {
        Ok(report) => {
            println!("{report}\nrun in {:.1} s", start.elapsed().as_secs_f64());
            if report.lost == 0 { 0.into() } else { 1.into() }
        }
        Err(wrong) => {
            println!("{wrong}");
            1.into()
        }
    }
}
