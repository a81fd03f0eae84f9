//! `hotline sim`: simulated worlds of callers, agents, nodes and faulty ports.

use anyhow::{Result, anyhow};

use hotline_sim::explore::{Flaw, Size, explore};
use hotline_sim::hour::{HourPlan, costs, run_hour};
use hotline_sim::{Options, Sabotage, run_many, run_seed};
use std::process::ExitCode;
use std::time::Instant;

use crate::say::seconds;

/// What `sim` may be asked for.
#[derive(clap::Args, Debug)]
pub struct SimOptions {
    /// The world to run, or the first of many
    #[arg(long)]
    pub seed: Option<u64>,
    /// Run so many worlds and stop at the first failure
    #[arg(long)]
    pub count: Option<u64>,
    /// Nothing fails: no faults, crashes or duplicates
    #[arg(long)]
    pub calm: bool,
    /// The store does not check versions: the worlds must notice
    #[arg(long)]
    pub broken: bool,
    /// Explore every interleaving of small worlds over the pure machines
    #[arg(long, conflicts_with_all = ["seed", "count", "hour"])]
    pub explore: bool,
    /// With --explore: states of each world at most
    #[arg(long, value_name = "STATES", default_value_t = 1_000_000)]
    pub states: usize,
    /// An hour of 100,000 calls and 10,000 agents from a cold start, with a burst and the bill
    #[arg(long, conflicts_with_all = ["seed", "count"])]
    pub hour: bool,
    /// With --hour: so many calls, agents in proportion
    #[arg(long, value_name = "CALLS", default_value_t = 100_000)]
    pub calls: u64,
    /// What one enqueue, one match and one state change cost in reads, writes and bytes
    #[arg(long, conflicts_with_all = ["seed", "count", "hour", "explore"])]
    pub cost: bool,
    /// Worlds at the same time; all cores where absent
    #[arg(long)]
    pub jobs: Option<usize>,
}

/// Replays one world with its table of events, or runs many.
pub fn run(options: &SimOptions) -> Result<ExitCode> {
    let started = Instant::now();
    if options.explore {
        return explored(options.states);
    }
    if options.cost {
        return cost();
    }
    if options.hour {
        let tell = |text: &str| eprintln!("  {text}, {}", seconds(started.elapsed()));
        let report = run_hour(HourPlan::with_calls(options.calls.clamp(100, 1_000_000)), &tell);
        let report = report.map_err(|wrong| anyhow!("the hour went wrong: {wrong}"))?;
        println!("{report}");
        println!("run in {}", seconds(started.elapsed()));
        return Ok(if report.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let sabotage = options.broken.then_some(Sabotage::NoVersionCheck);
    let world = |keep_table| Options { no_faults: options.calm, sabotage, keep_table };
    let code = |failed: bool| {
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    };
    let Some(count) = options.count else {
        let outcome = run_seed(options.seed.unwrap_or(1), &world(true));
        if outcome.failure.is_none() {
            println!("{}", outcome.table);
        }
        println!("{outcome}");
        return Ok(code(outcome.failure.is_some()));
    };
    let first = options.seed.unwrap_or(1);
    let jobs = options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let tenth = (count / 10).max(1);
    let summary = run_many(first, count, jobs, &world(false), &|p| {
        if p.done % tenth == 0 {
            println!("  {} of {} worlds, {}", p.done, p.of, seconds(started.elapsed()));
        }
    });
    println!("{} worlds in {}: {}", summary.ran, seconds(started.elapsed()), summary.stats);
    let Some(outcome) = summary.failure else {
        return Ok(ExitCode::SUCCESS);
    };
    // The table is not kept while many run: the failing world is run again with it.
    let outcome = run_seed(outcome.seed, &world(true));
    println!("{outcome}\nReplay it: hotline sim --seed {}", outcome.seed);
    Ok(ExitCode::FAILURE)
}

/// Each operation beside few, many and very many others.
fn cost() -> Result<ExitCode> {
    println!("| operation                | others | reads | writes | read u. |   write u. | bytes        |");
    println!("|--------------------------|-------:|------:|-------:|--------:|-----------:|-------------:|");
    for others in [0, 10, 1_000, 10_000] {
        print!("{}", costs(others).map_err(|wrong| anyhow!("{wrong}"))?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Explores the small worlds one after the other.
fn explored(states: usize) -> Result<ExitCode> {
    for (name, size) in Size::all() {
        let started = Instant::now();
        let told = explore(Size { max_states: states, ..size }, Flaw::None);
        let whole = if told.complete { "every state" } else { "up to the bound" };
        println!(
            "{name:<22} {:>8} states ({whole}), {:>9} steps, depth {:>3}, {:>6} quiet, {}",
            told.states,
            told.edges,
            told.depth,
            told.quiet,
            seconds(started.elapsed())
        );
        if let Some((wrong, way)) = told.violation {
            println!("does not hold: {wrong}");
            for (n, step) in way.iter().enumerate() {
                println!("  {:>3} {step}", n + 1);
            }
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
