//! What a run comes to, in the same figures for a recorded and a calculated one.

use hotline_base::{Name, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{Period, Seen};
use crate::QueueConfig;

/// Leaving within this, milliseconds, counts neither for nor against the service level.
const SHORT_MS: i64 = 5_000;
/// The width of the intervals, milliseconds.
const INTERVAL_MS: i64 = 900_000;

/// The figures of one queue, or of all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct QueueColumn {
    /// Stays that began.
    pub offered: u32,
    /// Ended by an agent's answer.
    pub answered: u32,
    /// Ended by the caller's leaving.
    pub abandoned: u32,
    /// Went on in the flow, or by an overflow rule out of all queues.
    pub left: u32,
    /// Sent on to another queue by an overflow rule, or a further stay after an agent.
    pub transfers: u32,
    /// Still waiting when nobody came any more, or cut short.
    pub unserved: u32,
    /// Answered in time, per cent of answered and abandoned without those that left within 5 s.
    pub service_level_pct: Option<f64>,
    /// Abandoned, per cent of offered.
    pub abandoned_pct: Option<f64>,
    /// Half of the answered waited at most so long, milliseconds.
    pub wait_p50_ms: Option<i64>,
    /// Nine of ten answered waited at most so long, milliseconds.
    pub wait_p90_ms: Option<i64>,
    /// The longest wait of an answered one, milliseconds.
    pub wait_max_ms: Option<i64>,
}

/// One quarter of an hour of all queues.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its start.
    pub start: Timestamp,
    /// Stays that began in it.
    pub offered: u32,
    /// The service level of these, per cent.
    pub service_level_pct: Option<f64>,
}

/// What a run comes to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Column {
    /// All queues together.
    pub total: QueueColumn,
    /// Each queue.
    pub queues: BTreeMap<Name, QueueColumn>,
    /// Ringing, talking or wrapping up, per cent of the agents' time there.
    pub occupancy_pct: Option<f64>,
    /// All queues together, by the moment of coming.
    pub intervals: Vec<Interval>,
}

/// Counts stays as they end.
#[derive(Debug, Default)]
pub(super) struct Tally {
    queues: BTreeMap<Name, (QueueColumn, Ratio, Vec<i64>)>,
    intervals: BTreeMap<i64, (u32, Ratio)>,
    pub(super) occupied_ms: i64,
    pub(super) staffed_ms: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Ratio {
    good: u32,
    all: u32,
}

impl Ratio {
    fn pct(self) -> Option<f64> {
        pct(i64::from(self.good), i64::from(self.all))
    }
}

fn pct(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 1_000.0).round() / 10.0)
}

/// So many of 1,000 of these, in order, are at most this much (nearest rank); `None` where there are none.
pub fn nearest_rank(sorted: &[i64], per_mille: usize) -> Option<i64> {
    let rank = (sorted.len() * per_mille).div_ceil(1_000).max(1);
    sorted.get(rank - 1).copied()
}

/// How a stay ended, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    Abandoned,
    Left,
    MovedOn,
    Unserved,
}

impl Tally {
    pub(super) fn offered(&mut self, queue: &Name, at: Timestamp, transfer: bool) {
        let slot = &mut self.queues.entry(queue.clone()).or_default().0;
        slot.offered += 1;
        slot.transfers += u32::from(transfer);
        self.intervals.entry(at.as_millis().div_euclid(INTERVAL_MS)).or_default().0 += 1;
    }

    pub(super) fn ended(&mut self, queue: &Name, came: Timestamp, wait_ms: i64, end: End, threshold_s: u32) {
        let (column, ratio, waits) = self.queues.entry(queue.clone()).or_default();
        let mut counts = None;
        match end {
            End::Answered => {
                column.answered += 1;
                waits.push(wait_ms);
                counts = Some(wait_ms <= i64::from(threshold_s) * 1_000);
            }
            End::Abandoned => {
                column.abandoned += 1;
                counts = (wait_ms > SHORT_MS).then_some(false);
            }
            End::Left => column.left += 1,
            End::MovedOn => {}
            End::Unserved => column.unserved += 1,
        }
        if let Some(good) = counts {
            let interval = &mut self.intervals.entry(came.as_millis().div_euclid(INTERVAL_MS)).or_default().1;
            for ratio in [ratio, interval] {
                ratio.all += 1;
                ratio.good += u32::from(good);
            }
        }
    }

    pub(super) fn column(self) -> Column {
        let mut total = QueueColumn::default();
        let (mut all, mut all_waits) = (Ratio::default(), Vec::new());
        let mut queues = BTreeMap::new();
        let finish = |column: &mut QueueColumn, ratio: Ratio, waits: &mut Vec<i64>| {
            waits.sort_unstable();
            column.service_level_pct = ratio.pct();
            column.abandoned_pct = pct(i64::from(column.abandoned), i64::from(column.offered));
            column.wait_p50_ms = nearest_rank(waits, 500);
            column.wait_p90_ms = nearest_rank(waits, 900);
            column.wait_max_ms = waits.last().copied();
        };
        for (name, (mut column, ratio, mut waits)) in self.queues {
            total.offered += column.offered;
            total.answered += column.answered;
            total.abandoned += column.abandoned;
            total.left += column.left;
            total.transfers += column.transfers;
            total.unserved += column.unserved;
            all.good += ratio.good;
            all.all += ratio.all;
            all_waits.extend_from_slice(&waits);
            finish(&mut column, ratio, &mut waits);
            queues.insert(name, column);
        }
        finish(&mut total, all, &mut all_waits);
        let intervals = self.intervals.into_iter().map(|(n, (offered, ratio))| Interval {
            start: Timestamp::from_millis(n * INTERVAL_MS),
            offered,
            service_level_pct: ratio.pct(),
        });
        Column { total, queues, occupancy_pct: pct(self.occupied_ms, self.staffed_ms), intervals: intervals.collect() }
    }
}

/// What was recorded, in the same figures as a rerun. `queues`: for the times of their service levels.
pub fn recorded(period: &Period, queues: &BTreeMap<Name, QueueConfig>) -> Column {
    let mut tally = Tally::default();
    for call in &period.calls {
        let mut answered = false;
        let mut moved = false;
        for visit in &call.visits {
            tally.offered(&visit.queue, visit.at, answered || moved);
            let threshold_s = queues.get(&visit.queue).map_or(20, |queue| queue.service_level.threshold_s);
            let end = match visit.seen {
                Seen::Answered { .. } => End::Answered,
                Seen::Abandoned { .. } => End::Abandoned,
                Seen::Left { .. } => End::Left,
                Seen::Overflowed { .. } => End::MovedOn,
                Seen::Cut { .. } => End::Unserved,
            };
            answered = end == End::Answered;
            moved = end == End::MovedOn;
            tally.ended(&visit.queue, visit.at, visit.seen.wait_ms(), end, threshold_s);
        }
    }
    for member in &period.staff {
        tally.occupied_ms += member.occupied_ms;
        tally.staffed_ms += member.shifts.iter().map(|shift| shift.to.since_ms(shift.from).max(0)).sum::<i64>();
    }
    tally.column()
}
