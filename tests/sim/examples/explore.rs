//! Explores small worlds without the rest of Hotline: `explore [STATES] [NAME] [repeats=1 lapses=1 …]`.

use hotline_sim::explore::{Flaw, Size, explore};
use std::time::Instant;

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let max_states = args.first().and_then(|a| a.parse().ok()).unwrap_or(400_000);
    for (name, size) in Size::all() {
        if args.get(1).is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        let mut size = Size { max_states, ..size };
        for (field, n) in args.iter().filter_map(|arg| arg.split_once('=')) {
            let Ok(n) = n.parse::<u8>() else { continue };
            match field {
                "contacts" => size.contacts = n.into(),
                "agents" => size.agents = n.into(),
                "hang-ups" => size.hang_ups = n,
                "refusals" => size.refusals = n,
                "lapses" => size.lapses = n,
                "repeats" => size.repeats = n,
                "deaths" => size.deaths = n,
                "crashes" => size.crashes = n,
                "advances" => size.advances = n,
                _ => {}
            }
        }
        let start = Instant::now();
        let told = explore(size, Flaw::None);
        let (states, edges, depth, seconds) = (told.states, told.edges, told.depth, start.elapsed().as_secs_f64());
        println!("{name}: {states} states, whole: {}, {edges} steps, depth {depth}, {seconds:.1} s", told.complete);
        if let Some((wrong, way)) = told.violation {
            println!("{wrong}\n  {}", way.join("\n  "));
            return 1.into();
        }
    }
    0.into()
}
