//! What an hour came to.

use hotline_ports::FactRow;
use hotline_routing::whatif::nearest_rank;
use std::collections::BTreeMap;
use std::fmt;

use super::prices::*;
use super::store::{Heat, Units};
use super::{FloodCounts, Function, Hour, HourPlan};

/// What a function did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Took {
    pub(crate) invocations: u64,
    pub(crate) ms: u64,
}

/// Counted on the way.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) arrived: u64,
    pub(crate) flood: FloodCounts,
    pub(crate) answered: u64,
    pub(crate) abandoned: u64,
    pub(crate) ended: u64,
    pub(crate) lost: u64,
    pub(crate) facts: u64,
    pub(crate) messages: u64,
    pub(crate) retries: u64,
    pub(crate) failed: u64,
    pub(crate) cold: u64,
    pub(crate) throttled: u64,
    pub(crate) offers: u64,
    pub(crate) virtual_ms: i64,
    pub(crate) functions: BTreeMap<Function, Took>,
    waits: Vec<i64>,
    /// Estimated less real wait, milliseconds, of those who had to wait.
    errors: Vec<i64>,
}

impl Counts {
    pub(crate) fn fact(&mut self, fact: &FactRow) {
        self.facts += 1;
        match fact.name.as_str() {
            "OfferMade" => self.offers += 1,
            "OfferAccepted" => self.answered += 1,
            "ContactEnded" => {
                self.ended += 1;
                let reason = fact.body["reason"].as_str().unwrap_or_default();
                let left = !fact.body["abandoned_after_ms"].is_null();
                self.abandoned += u64::from(left);
                self.lost += u64::from(!matches!(reason, "caller_hung_up" | "completed" | "cancelled"));
            }
            _ => {}
        }
    }

    pub(crate) fn waited(&mut self, wait_ms: i64, estimate_ms: Option<i64>) {
        self.waits.push(wait_ms);
        if let Some(estimate) = estimate_ms.filter(|estimate| *estimate > 0) {
            self.errors.push(estimate - wait_ms);
        }
    }
}

/// What an hour came to.
#[derive(Debug, Clone)]
pub struct HourReport {
    /// What was asked for.
    pub plan: HourPlan,
    /// Calls that came.
    pub calls: u64,
    /// What became of the flood, where there was one; its calls are in none of the other counts of calls.
    pub flood: FloodCounts,
    /// Answered by an agent.
    pub answered: u64,
    /// Callers who gave up.
    pub abandoned: u64,
    /// Calls that ended in any other way than by a person or the flow, or never.
    pub lost: u64,
    /// Answered within 20 s, per cent of answered and abandoned.
    pub service_level_pct: f64,
    /// Waits of the answered: half, nine of ten, 99 of 100, the longest; milliseconds.
    pub waits_ms: [i64; 4],
    /// Estimated waits: how many, mean absolute error, mean error; milliseconds.
    pub estimates: (usize, i64, i64),
    /// Offers made.
    pub offers: u64,
    /// Decisions that a node had to ask for again.
    pub retries: u64,
    /// Use-cases that left their work to a sweep.
    pub failed: u64,
    /// Environments started, and invocations that had to wait for more to be allowed.
    pub cold: (u64, u64),
    /// Invocations and GB-seconds of all functions.
    pub invocations: (u64, f64),
    /// Messages of queues.
    pub messages: u64,
    /// What the tables did.
    pub units: Units,
    /// Refused transactions by what they were about, most first.
    pub refused: Vec<(String, u64)>,
    /// The hottest shared partitions.
    pub hottest: Vec<(String, Heat)>,
    /// Virtual minutes until the last call was over.
    pub minutes: i64,
    /// Dollars per 1,000 calls: tables, functions, queues.
    pub dollars: [f64; 3],
}

/// Partitions that are listed.
const HOTTEST: usize = 20;

fn rank(sorted: &[i64], per_mille: usize) -> i64 {
    nearest_rank(sorted, per_mille).unwrap_or(0)
}

impl Hour {
    pub(super) fn report(self, units: Units) -> HourReport {
        let Counts { mut waits, errors, functions, .. } = self.counts;
        waits.sort_unstable();
        let good = waits.iter().filter(|ms| **ms <= 20_000).count() as f64;
        let counted = (self.counts.answered + self.counts.abandoned).max(1) as f64;
        let mean = |sum: i64| if errors.is_empty() { 0 } else { sum / errors.len() as i64 };
        let mut invocations = 0;
        let mut gb_s = 0.0;
        for (function, took) in &functions {
            // The stream hands over many facts at once; here each subject's are followed alone.
            let (count, ms) = match function {
                Function::Facts => {
                    let batches = self.counts.facts.div_ceil(FACTS_PER_BATCH);
                    (batches, took.ms / FACTS_PER_BATCH.min(took.invocations.max(1)))
                }
                _ => (took.invocations, took.ms),
            };
            invocations += count;
            gb_s += (ms as f64 + count as f64 * CPU_MS) / 1_000.0 * MEMORY_GB;
        }
        let thousands = self.counts.arrived.max(1) as f64 / 1_000.0;
        let tables = units.write_units as f64 * WRITE_UNIT + units.read_units as f64 * READ_UNIT;
        let lambda = invocations as f64 * REQUEST + gb_s * GB_SECOND;
        let messages = self.counts.messages + self.counts.offers;
        let queues = (messages * REQUESTS_PER_MESSAGE) as f64 * MESSAGE;
        HourReport {
            plan: self.plan,
            calls: self.counts.arrived,
            flood: self.counts.flood,
            answered: self.counts.answered,
            abandoned: self.counts.abandoned,
            lost: self.counts.lost + self.counts.arrived.saturating_sub(self.counts.ended),
            service_level_pct: good / counted * 100.0,
            waits_ms: [rank(&waits, 500), rank(&waits, 900), rank(&waits, 990), rank(&waits, 1_000)],
            estimates: (errors.len(), mean(errors.iter().map(|ms| ms.abs()).sum()), mean(errors.iter().sum())),
            offers: self.counts.offers,
            retries: self.counts.retries,
            failed: self.counts.failed,
            cold: (self.counts.cold, self.counts.throttled),
            invocations: (invocations, gb_s),
            messages,
            units,
            refused: self.store.refused(),
            hottest: self.store.hottest(HOTTEST),
            minutes: self.counts.virtual_ms / 60_000,
            dollars: [tables / thousands, lambda / thousands, queues / thousands],
        }
    }
}

impl fmt::Display for HourReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |ms: i64| ms as f64 / 1_000.0;
        let plan = &self.plan;
        writeln!(
            f,
            "{} calls, {} agents: {:.1} calls/s, one minute of {:.0}/s; over after {} minutes",
            self.calls, plan.agents, plan.per_s, plan.burst_per_s, self.minutes
        )?;
        writeln!(f, "answered {}   gave up {}   lost {}", self.answered, self.abandoned, self.lost)?;
        if plan.flood.is_some() {
            let FloodCounts { came, refused, let_in } = self.flood;
            writeln!(f, "flood of {came} calls: {let_in} let in, {refused} refused")?;
        }
        let [p50, p90, p99, max] = self.waits_ms;
        writeln!(
            f,
            "service level (20 s) {:.1} %   waits p50 {:.1} s  p90 {:.1} s  p99 {:.1} s  longest {:.1} s",
            self.service_level_pct,
            s(p50),
            s(p90),
            s(p99),
            s(max)
        )?;
        let (count, absolute, bias) = self.estimates;
        writeln!(
            f,
            "estimated wait, where one was given ({count}): mean absolute error {:.1} s, bias {:+.1} s",
            s(absolute),
            s(bias)
        )?;
        let u = &self.units;
        writeln!(
            f,
            "offers {}   transactions {}   conflicts {} ({:.2} %)   decisions asked again {}   left to sweeps {}",
            self.offers,
            u.commits,
            u.conflicts,
            u.conflicts as f64 / u.commits.max(1) as f64 * 100.0,
            self.retries,
            self.failed
        )?;
        for (what, count) in &self.refused {
            writeln!(f, "  conflicts about {what}: {count}")?;
        }
        writeln!(
            f,
            "invocations {}   GB-s {:.0}   cold starts {}   waited for scale-out {}   messages {}",
            self.invocations.0, self.invocations.1, self.cold.0, self.cold.1, self.messages
        )?;
        let calls = self.calls.max(1) as f64;
        writeln!(
            f,
            "per call: {:.1} reads ({:.1} units, {:.1} kB)   {:.1} writes ({:.1} units, {:.1} kB)",
            u.reads as f64 / calls,
            u.read_units as f64 / calls,
            u.bytes_read as f64 / calls / 1_000.0,
            u.writes as f64 / calls,
            u.write_units as f64 / calls,
            u.bytes_written as f64 / calls / 1_000.0
        )?;
        let [tables, functions, queues] = self.dollars;
        writeln!(
            f,
            "per 1,000 calls at list price: tables ${tables:.3}, functions ${functions:.3}, queues ${queues:.3}, together ${:.3}",
            tables + functions + queues
        )?;
        writeln!(
            f,
            "hottest shared partitions, units in their busiest second (a partition takes {PARTITION_WRITES} write, {PARTITION_READS} read):"
        )?;
        for (name, heat) in &self.hottest {
            writeln!(f, "  {name:<36} {:>6} write {:>6} read", heat.most_writes, heat.most_reads)?;
        }
        Ok(())
    }
}
