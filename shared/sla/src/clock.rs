//! One running promise.

use hotline_base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::calendar::Hours;

/// Finished runs kept for the explanation; older ones count but are no longer told.
const RUNS: usize = 24;

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Somebody answers.
    Response,
    /// It is solved.
    Resolution,
}

impl Goal {
    /// `response` or `resolution`.
    pub fn as_str(self) -> &'static str {
        match self {
            Goal::Response => "response",
            Goal::Resolution => "resolution",
        }
    }
}

/// Where a clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Time counts.
    Running {
        /// Since when.
        since: Timestamp,
        /// When the promise is broken.
        deadline: Timestamp,
    },
    /// Time does not count: waiting for the customer.
    Paused {
        /// Since when.
        since: Timestamp,
    },
    /// The promise was fulfilled, in time or late.
    Met {
        /// When.
        at: Timestamp,
        /// The deadline that was in force.
        deadline: Option<Timestamp>,
    },
}

/// A finished stretch of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its start.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

/// One promise with its deadline. Which time counts is given at every call and must be the
/// same [`Hours`] throughout; the deadline that is stored is the one that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    goal: Goal,
    started_at: Timestamp,
    target_ms: i64,
    /// Counted in finished runs.
    used_ms: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    runs: Vec<Run>,
    phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reminded_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    breached_at: Option<Timestamp>,
}

impl Clock {
    /// Starts counting.
    pub fn start(goal: Goal, target_ms: i64, hours: Hours<'_>, now: Timestamp) -> Self {
        let target_ms = target_ms.max(0);
        let deadline = hours.add_ms(now, target_ms);
        Self {
            goal,
            started_at: now,
            target_ms,
            used_ms: 0,
            runs: Vec::new(),
            phase: Phase::Running { since: now, deadline },
            reminded_at: None,
            breached_at: None,
        }
    }

    /// What is promised.
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// When it was started.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The promise, milliseconds of counted time.
    pub fn target_ms(&self) -> i64 {
        self.target_ms
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Finished runs, oldest first.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Counted time of finished runs, milliseconds.
    pub fn used_ms(&self) -> i64 {
        self.used_ms
    }

    /// The deadline while it counts or after it was met; `None` while it is paused.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Running { deadline, .. } => Some(deadline),
            Phase::Paused { .. } => None,
            Phase::Met { deadline, .. } => deadline,
        }
    }

    /// When the promise was broken, if it was.
    pub fn breached_at(&self) -> Option<Timestamp> {
        self.breached_at
    }

    /// When the promise was fulfilled, if it was.
    pub fn met_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Met { at, .. } => Some(at),
            _ => None,
        }
    }

    /// When the next breach wants to be noticed.
    pub fn breach_due(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Running { deadline, .. } if self.breached_at.is_none() => Some(deadline),
            _ => None,
        }
    }

    /// When a reminder is due: `before_ms` before the deadline, but not in the first half of
    /// the target; `None` once it was given.
    pub fn reminder_due(&self, before_ms: i64) -> Option<Timestamp> {
        if self.reminded_at.is_some() {
            return None;
        }
        self.breach_due().map(|deadline| deadline.plus_ms(-before_ms.clamp(0, self.target_ms / 2)))
    }

    /// Notes that the reminder was given.
    pub fn remind(&mut self, now: Timestamp) {
        self.reminded_at.get_or_insert(now);
    }

    /// Notes that the deadline passed; it goes on running, now late. The moment noted is the
    /// deadline, whenever it was noticed.
    pub fn breach(&mut self) {
        if let Some(deadline) = self.breach_due() {
            self.breached_at = Some(deadline);
        }
    }

    /// Notes on a clock that was met late that its deadline had passed before.
    pub fn note_late(&mut self, deadline: Timestamp) {
        self.breached_at.get_or_insert(deadline);
    }

    /// Stops counting: waiting for the customer. Nothing happens unless it is running.
    pub fn pause(&mut self, hours: Hours<'_>, now: Timestamp) {
        if let Phase::Running { since, .. } = self.phase {
            self.end_run(since, hours, now);
            self.phase = Phase::Paused { since: now };
        }
    }

    /// Counts again what is left. Nothing happens unless it is paused.
    pub fn resume(&mut self, hours: Hours<'_>, now: Timestamp) {
        if let Phase::Paused { .. } = self.phase {
            let left = (self.target_ms - self.used_ms).max(0);
            self.phase = Phase::Running { since: now, deadline: hours.add_ms(now, left) };
            // Time is left although it was broken: the promise was made longer meanwhile.
            if left > 0 && self.breached_at.take().is_some() {
                self.reminded_at = None;
            }
        }
    }

    /// Fulfils the promise, late or not. Nothing happens where it was before.
    pub fn meet(&mut self, hours: Hours<'_>, now: Timestamp) {
        let deadline = self.deadline();
        match self.phase {
            Phase::Running { since, .. } => self.end_run(since, hours, now),
            Phase::Paused { .. } => {}
            Phase::Met { .. } => return,
        }
        self.phase = Phase::Met { at: now, deadline };
    }

    /// Changes the promise (another priority); time already counted stays counted, and a
    /// breach or reminder that the new deadline undoes may come again.
    pub fn retarget(&mut self, target_ms: i64, hours: Hours<'_>, now: Timestamp) {
        let target_ms = target_ms.max(0);
        if target_ms == self.target_ms || matches!(self.phase, Phase::Met { .. }) {
            return;
        }
        self.target_ms = target_ms;
        if let Phase::Running { since, .. } = self.phase {
            let deadline = hours.add_ms(since, (target_ms - self.used_ms).max(0));
            self.phase = Phase::Running { since, deadline };
            if deadline > now {
                self.breached_at = None;
                self.reminded_at = None;
            }
        }
    }

    fn end_run(&mut self, since: Timestamp, hours: Hours<'_>, now: Timestamp) {
        self.used_ms = self.used_ms.saturating_add(hours.counted_ms(since, now));
        if self.runs.len() >= RUNS {
            self.runs.remove(0);
        }
        self.runs.push(Run { from: since, until: now.max(since) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, office};

    const MIN: i64 = 60_000;

    #[test]
    fn pausing_moves_the_deadline_by_the_time_paused() {
        let mut clock = Clock::start(Goal::Resolution, 60 * MIN, Hours::Always, at("2026-11-20 10:00"));
        assert_eq!(clock.deadline(), Some(at("2026-11-20 11:00")));
        clock.pause(Hours::Always, at("2026-11-20 10:20"));
        assert_eq!((clock.deadline(), clock.breach_due(), clock.used_ms()), (None, None, 20 * MIN));
        clock.resume(Hours::Always, at("2026-11-21 08:00"));
        assert_eq!(clock.deadline(), Some(at("2026-11-21 08:40")));
        clock.meet(Hours::Always, at("2026-11-21 08:10"));
        assert_eq!((clock.used_ms(), clock.breached_at()), (30 * MIN, None));
    }

    #[test]
    fn business_time_skips_the_weekend() {
        let office = office();
        let hours = Hours::Business(&office);
        let clock = Clock::start(Goal::Response, 15 * MIN, hours, at("2026-11-20 09:50"));
        // Friday 17:50 in Shanghai; Monday 09:05 there.
        assert_eq!(clock.deadline(), Some(at("2026-11-23 01:05")));
        assert_eq!(clock.reminder_due(5 * MIN), Some(at("2026-11-23 01:00")));
        assert_eq!(clock.reminder_due(600 * MIN).unwrap(), at("2026-11-23 01:05").plus_ms(-450_000));
    }

    #[test]
    fn a_breach_carries_the_deadline_and_comes_once() {
        let mut clock = Clock::start(Goal::Response, 15 * MIN, Hours::Always, at("2026-11-20 10:00"));
        clock.breach();
        clock.breach();
        assert_eq!(clock.breached_at(), Some(at("2026-11-20 10:15")));
        assert_eq!(clock.breach_due(), None);
        clock.meet(Hours::Always, at("2026-11-20 10:40"));
        assert_eq!(clock.met_at(), Some(at("2026-11-20 10:40")));
    }

    #[test]
    fn a_longer_promise_undoes_what_it_makes_wrong() {
        let mut clock = Clock::start(Goal::Resolution, 10 * MIN, Hours::Always, at("2026-11-20 10:00"));
        clock.remind(at("2026-11-20 10:05"));
        clock.breach();
        clock.retarget(60 * MIN, Hours::Always, at("2026-11-20 10:12"));
        assert_eq!(clock.breach_due(), Some(at("2026-11-20 11:00")));
        assert!(clock.reminder_due(5 * MIN).is_some());
        clock.retarget(5 * MIN, Hours::Always, at("2026-11-20 10:12"));
        assert_eq!(clock.breach_due(), Some(at("2026-11-20 10:05")));
    }
}
