//! What a world came to.

use hotline_base::Timestamp;
use std::fmt;

use crate::plan::DAWN;

/// What did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When, by the world's clock.
    pub at: Timestamp,
    /// What.
    pub what: String,
}

/// Counts of one world or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Contacts that arrived.
    pub contacts: u64,
    /// Conversations with agents.
    pub answered: u64,
    /// Offers made.
    pub offers: u64,
    /// Commits.
    pub commits: u64,
    /// Calls on ports that were made to fail, double or wait.
    pub faults: u64,
    /// Use-cases run.
    pub jobs: u64,
    /// Virtual time, milliseconds.
    pub virtual_ms: u64,
}

impl Stats {
    /// Adds another world's counts.
    pub fn add(&mut self, other: &Stats) {
        self.contacts += other.contacts;
        self.answered += other.answered;
        self.offers += other.offers;
        self.commits += other.commits;
        self.faults += other.faults;
        self.jobs += other.jobs;
        self.virtual_ms += other.virtual_ms;
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} contacts, {} offers, {} conversations, {} commits, {} use-cases, {} faults, {} h of virtual time",
            self.contacts,
            self.offers,
            self.answered,
            self.commits,
            self.jobs,
            self.faults,
            self.virtual_ms / 3_600_000
        )
    }
}

/// What a world came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What did not hold, if anything.
    pub failure: Option<Failure>,
    /// What happened, one line per event.
    pub table: String,
    /// Counts.
    pub stats: Stats,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            None => write!(f, "seed {}: good; {}", self.seed, self.stats),
            Some(failure) => {
                writeln!(f, "{}", self.table)?;
                let s = failure.at.since_ms(DAWN) as f64 / 1_000.0;
                write!(f, "seed {} failed at +{s:.3} s: {}", self.seed, failure.what)
            }
        }
    }
}
