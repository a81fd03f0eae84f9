//! The simulator: seeded worlds of callers, agents, nodes and faulty ports over the real
//! use-cases, with invariants checked after every commit.
//!
//! A seed decides everything: what people do, what fails, and which of the use-cases under way
//! goes on at every await. The same seed gives the same world, line by line.

mod exec;
pub mod explore;
pub mod hour;
mod jobs;
mod model;
mod node;
mod people;
mod plan;
mod report;
mod rng;
mod watch;
mod world;

pub use report::{Failure, Outcome, Stats};
pub use world::{Options, Sabotage, run_seed};

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many worlds have run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Worlds that came to their end.
    pub done: u64,
    /// Worlds asked for.
    pub of: u64,
}

/// What many worlds came to.
#[derive(Debug)]
pub struct Summary {
    /// Worlds that ran.
    pub ran: u64,
    /// Sums over all of them.
    pub stats: Stats,
    /// The failure with the lowest seed that was found before the others were stopped.
    pub failure: Option<Outcome>,
}

/// Runs `count` worlds from seed `first` on `jobs` threads and stops at the first failure.
/// `progress` is called from these threads after each world.
pub fn run_many(
    first: u64,
    count: u64,
    jobs: usize,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Summary {
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Summary { ran: 0, stats: Stats::default(), failure: None });
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return;
            }
            let outcome = run_seed(first.wrapping_add(n), options);
            let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sum.ran += 1;
            sum.stats.add(&outcome.stats);
            if outcome.failure.is_some() {
                stop.store(true, Ordering::Relaxed);
                if sum.failure.as_ref().is_none_or(|f| f.seed > outcome.seed) {
                    sum.failure = Some(outcome);
                }
            }
            drop(sum);
            progress(Progress { done: done.fetch_add(1, Ordering::Relaxed) + 1, of: count });
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
