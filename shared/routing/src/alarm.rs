//! The open alarms of one queue: thresholds raised and cleared by what is observed.
//!
//! [`AlarmMachine`] steps on observations; hysteresis is [`crate::threshold`]'s. The longest wait
//! grows without anything happening, so the machine asks to be looked at again at the moment at
//! which it would be raised if nobody left.

use hotline_base::{FactBody, IndexRow, Machine, Name, Reject, TimerKey, Timestamp, Transition};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::threshold::{Change, Metric, Threshold};

/// Fewer contacts than this in the window say nothing about a percentage.
pub const MIN_SAMPLE: u32 = 5;
/// The timer at which the longest wait reaches a threshold.
pub const TIMER_LOOK: &str = "look";

/// Open alarms of a tenant, by queue and metric.
pub fn alarms_partition() -> &'static str {
    "alarms"
}

/// What a queue looks like at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observed {
    /// Contacts that wait.
    pub waiting: u32,
    /// When the one that waits longest came.
    pub oldest: Option<Timestamp>,
    /// Contacts of the window that were answered or whose caller left.
    pub counted: u32,
    /// Of these, answered within the service level's time, per cent; `None` where there are none.
    pub service_level_pct: Option<u32>,
    /// Of these, the caller left, per cent; `None` where there are none.
    pub abandoned_pct: Option<u32>,
}

impl Observed {
    /// The value of a metric; `Err(())`: too few contacts to tell, `Ok(None)`: none at all.
    fn value(&self, metric: Metric, now: Timestamp) -> Result<Option<u32>, ()> {
        let pct = |value: Option<u32>| match value {
            _ if self.counted == 0 => Ok(None),
            Some(value) if self.counted >= MIN_SAMPLE => Ok(Some(value)),
            _ => Err(()),
        };
        match metric {
            Metric::Waiting => Ok(Some(self.waiting)),
            Metric::LongestWaitS => {
                let ms = self.oldest.map_or(0, |oldest| now.since_ms(oldest).max(0));
                Ok(Some(u32::try_from(ms / 1_000).unwrap_or(u32::MAX)))
            }
            Metric::ServiceLevelPct => pct(self.service_level_pct),
            Metric::AbandonedPct => pct(self.abandoned_pct),
        }
    }
}

/// An open alarm; the body of its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAlarm {
    /// Of which queue.
    pub queue: Name,
    /// The threshold that was passed.
    #[serde(flatten)]
    pub threshold: Threshold,
    /// The value that raised it.
    pub value: u32,
    /// Since when.
    pub since: Timestamp,
}

/// What is stored of a queue's alarms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAlarms {
    /// Which queue.
    pub queue: Name,
    /// Open alarms, by threshold.
    pub open: Vec<OpenAlarm>,
    /// When to look again although nothing happens.
    #[serde(default)]
    pub look_at: Option<Timestamp>,
}

/// What can happen: somebody looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observe {
    /// Which queue.
    pub queue: Name,
    /// Its thresholds as they are configured now.
    pub thresholds: Vec<Threshold>,
    /// What was seen.
    pub observed: Observed,
}

/// Why an alarm was cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleared {
    /// The value is good again.
    Recovered,
    /// No contact came any more that a percentage could be counted of.
    Quiet,
    /// The threshold is no longer configured.
    Removed,
}

/// What happened to a queue's thresholds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact")]
pub enum AlarmFact {
    /// A threshold was passed.
    ThresholdRaised {
        /// Of which queue.
        queue: Name,
        /// What is watched.
        metric: Metric,
        /// The value that counts as bad.
        raise: u32,
        /// The value found.
        value: u32,
    },
    /// An alarm is over.
    ThresholdCleared {
        /// Of which queue.
        queue: Name,
        /// What is watched.
        metric: Metric,
        /// The value that had counted as bad.
        raise: u32,
        /// The value found, where there is one.
        value: Option<u32>,
        /// Why.
        why: Cleared,
        /// How long it was open, milliseconds.
        after_ms: i64,
    },
}

impl FactBody for AlarmFact {
    fn name(&self) -> &'static str {
        match self {
            AlarmFact::ThresholdRaised { .. } => "ThresholdRaised",
            AlarmFact::ThresholdCleared { .. } => "ThresholdCleared",
        }
    }
}

/// Alarms ask nothing of the world: who wants to know reads the facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmEffect {}

/// The machine of one queue's alarms; its stored state is [`QueueAlarms`].
#[derive(Debug, Clone, Copy)]
pub enum AlarmMachine {}

impl Machine for AlarmMachine {
    const KIND: &'static str = "queue-alarms";
    type State = QueueAlarms;
    type Input = Observe;
    type Fact = AlarmFact;
    type Effect = AlarmEffect;

    fn step(
        state: Option<&QueueAlarms>,
        input: &Observe,
        now: Timestamp,
    ) -> Result<Transition<QueueAlarms, AlarmFact, AlarmEffect>, Reject> {
        Ok(step(state, input, now))
    }

    fn deadlines(state: &QueueAlarms) -> BTreeMap<TimerKey, Timestamp> {
        state.look_at.map(|at| (TIMER_LOOK.to_string(), at)).into_iter().collect()
    }

    fn rows(state: &QueueAlarms) -> BTreeSet<IndexRow> {
        let row = |alarm: &OpenAlarm| IndexRow {
            partition: alarms_partition().into(),
            sort: format!("{}/{}/{:06}", alarm.queue, alarm.threshold.metric.name(), alarm.threshold.raise),
            // Holds only strings and numbers: it always serialises.
            body: serde_json::to_string(alarm).unwrap_or_default(),
        };
        state.open.iter().map(row).collect()
    }
}

fn step(
    state: Option<&QueueAlarms>,
    input: &Observe,
    now: Timestamp,
) -> Transition<QueueAlarms, AlarmFact, AlarmEffect> {
    let Observe { queue, thresholds, observed } = input;
    let before = state.map_or(&[][..], |state| &state.open);
    let mut facts = Vec::new();
    let mut open = Vec::new();
    let mut look_at: Option<Timestamp> = None;
    let cleared = |alarm: &OpenAlarm, value, why| AlarmFact::ThresholdCleared {
        queue: queue.clone(),
        metric: alarm.threshold.metric,
        raise: alarm.threshold.raise,
        value,
        why,
        after_ms: now.since_ms(alarm.since).max(0),
    };
    for alarm in before.iter().filter(|alarm| !thresholds.contains(&alarm.threshold)) {
        facts.push(cleared(alarm, None, Cleared::Removed));
    }
    // Sixteen at most are configured; the bound holds for what was stored before it, too.
    for threshold in thresholds.iter().take(16).collect::<BTreeSet<_>>() {
        let was = before.iter().find(|alarm| alarm.threshold == *threshold);
        let value = observed.value(threshold.metric, now);
        let change = match value {
            Ok(Some(value)) => threshold.update(was.is_some(), value),
            Ok(None) => was.map(|_| Change::Cleared),
            Err(()) => None,
        };
        let value = value.ok().flatten();
        match (was, change) {
            (Some(alarm), Some(Change::Cleared)) => {
                let why = if value.is_some() { Cleared::Recovered } else { Cleared::Quiet };
                facts.push(cleared(alarm, value, why));
            }
            (Some(alarm), _) => open.push(alarm.clone()),
            (None, Some(Change::Raised)) => {
                let value = value.unwrap_or_default();
                let (metric, raise) = (threshold.metric, threshold.raise);
                facts.push(AlarmFact::ThresholdRaised { queue: queue.clone(), metric, raise, value });
                open.push(OpenAlarm { queue: queue.clone(), threshold: *threshold, value, since: now });
                continue;
            }
            (None, _) => {}
        }
        let is_open = open.last().is_some_and(|alarm| alarm.threshold == *threshold);
        if threshold.metric == Metric::LongestWaitS && !is_open {
            let due = observed.oldest.map(|oldest| oldest.plus_ms(i64::from(threshold.raise) * 1_000));
            look_at = [look_at, due].into_iter().flatten().min();
        }
    }
    // A moment that comes a little too soon costs one look; to move it each time costs a write.
    let kept = state.and_then(|state| state.look_at).filter(|at| *at > now);
    let look_at = match (look_at, kept) {
        (Some(wanted), Some(kept)) if kept <= wanted => Some(kept),
        (wanted, _) => wanted,
    };
    Transition { state: QueueAlarms { queue: queue.clone(), open, look_at }, facts, effects: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + s * 1_000)
    }

    fn name() -> Name {
        "billing".parse().unwrap()
    }

    fn threshold(metric: Metric, raise: u32, clear: u32) -> Threshold {
        Threshold { metric, raise, clear }
    }

    /// A queue that is observed again and again; what is told of its facts.
    #[derive(Default)]
    struct Watched(Option<QueueAlarms>);

    impl Watched {
        fn look(&mut self, thresholds: &[Threshold], observed: Observed, s: i64) -> Vec<String> {
            let input = Observe { queue: name(), thresholds: thresholds.to_vec(), observed };
            let step = AlarmMachine::step(self.0.as_ref(), &input, at(s)).unwrap();
            self.0 = Some(step.state);
            let told = |fact: &AlarmFact| match fact {
                AlarmFact::ThresholdRaised { metric, value, .. } => format!("{} raised at {value}", metric.name()),
                AlarmFact::ThresholdCleared { metric, value, why, after_ms, .. } => {
                    format!("{} {why:?} at {value:?} after {} s", metric.name(), after_ms / 1_000)
                }
            };
            step.facts.iter().map(told).collect()
        }

        fn state(&self) -> &QueueAlarms {
            self.0.as_ref().unwrap()
        }
    }

    fn waits(waiting: u32, oldest_s: i64) -> Observed {
        Observed { waiting, oldest: (waiting > 0).then(|| at(oldest_s)), ..Observed::default() }
    }

    #[test]
    fn raised_once_and_cleared_once() {
        let rules = [threshold(Metric::Waiting, 10, 6)];
        let mut queue = Watched::default();
        assert!(queue.look(&rules, waits(9, 0), 0).is_empty());
        assert_eq!(queue.look(&rules, waits(11, 0), 5), ["waiting raised at 11"]);
        assert!(queue.look(&rules, waits(12, 0), 6).is_empty(), "once");
        assert_eq!(AlarmMachine::rows(queue.state()).len(), 1);
        assert!(queue.look(&rules, waits(7, 0), 7).is_empty(), "not yet good");
        assert_eq!(queue.look(&rules, waits(6, 0), 9), ["waiting Recovered at Some(6) after 4 s"]);
        assert!(AlarmMachine::rows(queue.state()).is_empty());
    }

    #[test]
    fn the_longest_wait_is_raised_at_its_moment_though_nothing_happens() {
        let rules = [threshold(Metric::LongestWaitS, 60, 30)];
        let mut queue = Watched::default();
        queue.look(&rules, waits(1, 0), 1);
        assert_eq!(AlarmMachine::deadlines(queue.state()), [(TIMER_LOOK.to_string(), at(60))].into());
        queue.look(&rules, waits(1, 20), 30);
        assert_eq!(queue.state().look_at, Some(at(60)), "too soon costs a look, not a write");
        assert!(queue.look(&rules, waits(1, 20), 60).is_empty());
        assert_eq!(queue.state().look_at, Some(at(80)));
        assert_eq!(queue.look(&rules, waits(1, 20), 80), ["longest-wait-s raised at 60"]);
        assert_eq!(queue.state().look_at, None);
        assert_eq!(queue.look(&rules, waits(0, 0), 90), ["longest-wait-s Recovered at Some(0) after 10 s"]);
        assert_eq!(queue.state().look_at, None, "an empty queue needs no look");
    }

    #[test]
    fn a_percentage_of_few_contacts_says_nothing_and_of_none_clears() {
        let rules = [threshold(Metric::ServiceLevelPct, 70, 80), threshold(Metric::AbandonedPct, 20, 10)];
        let seen = |counted, level, left| Observed {
            counted,
            service_level_pct: Some(level),
            abandoned_pct: Some(left),
            ..Observed::default()
        };
        let mut queue = Watched::default();
        assert!(queue.look(&rules, seen(4, 0, 100), 0).is_empty());
        assert_eq!(
            queue.look(&rules, seen(5, 60, 40), 1),
            ["service-level-pct raised at 60", "abandoned-pct raised at 40"]
        );
        assert!(queue.look(&rules, seen(3, 100, 0), 2).is_empty(), "too few to say that it is good");
        assert_eq!(
            queue.look(&rules, Observed::default(), 3),
            ["service-level-pct Quiet at None after 2 s", "abandoned-pct Quiet at None after 2 s"]
        );
    }

    #[test]
    fn a_threshold_that_was_removed_leaves_no_alarm() {
        let rules = [threshold(Metric::Waiting, 10, 6), threshold(Metric::Waiting, 20, 15)];
        let mut queue = Watched::default();
        assert_eq!(queue.look(&rules, waits(25, 0), 0).len(), 2);
        let left = queue.look(&rules[1..], waits(25, 0), 1);
        assert_eq!(left, ["waiting Removed at None after 1 s"]);
        assert_eq!(queue.state().open.len(), 1);
        assert_eq!(queue.look(&[], waits(25, 0), 2).len(), 1);
        assert_eq!(AlarmMachine::deadlines(queue.state()), BTreeMap::new());
    }
}
