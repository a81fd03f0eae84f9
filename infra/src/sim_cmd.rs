//! `hotline sim`: simulated worlds of callers, agents, nodes and faulty ports.

use anyhow::Result;
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
    /// Worlds at the same time; all cores where absent
    #[arg(long)]
    pub jobs: Option<usize>,
}

/// Replays one world with its table of events, or runs many.
pub fn run(options: &SimOptions) -> Result<ExitCode> {
    let started = Instant::now();
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
