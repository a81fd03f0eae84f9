//! Queue thresholds: raised at one value, cleared at a milder one, so that they do not flutter.

use serde::{Deserialize, Serialize};

/// Contacts are counted up to here: a threshold above it is never reached.
pub const MAX_WAITING: u32 = 10_000;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Contacts waiting; bad when high.
    Waiting,
    /// The longest present wait, seconds; bad when high.
    LongestWaitS,
    /// Answered within the service level's time, per cent; bad when low.
    ServiceLevelPct,
    /// Abandoned of all that left, per cent; bad when high.
    AbandonedPct,
}

impl Metric {
    /// The word used in configuration and keys.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Waiting => "waiting",
            Metric::LongestWaitS => "longest-wait-s",
            Metric::ServiceLevelPct => "service-level-pct",
            Metric::AbandonedPct => "abandoned-pct",
        }
    }

    fn bad_when_low(self) -> bool {
        self == Metric::ServiceLevelPct
    }
}

/// One threshold of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// What is watched.
    pub metric: Metric,
    /// Raised when the value reaches this.
    pub raise: u32,
    /// Cleared when the value comes back to this.
    pub clear: u32,
}

/// A threshold that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is bad now.
    Raised,
    /// It is good again.
    Cleared,
}

impl Threshold {
    /// Whether the two values make sense; if not, why.
    pub fn check(&self) -> Result<(), String> {
        let most = match self.metric {
            Metric::Waiting => MAX_WAITING,
            Metric::LongestWaitS => 86_400,
            Metric::ServiceLevelPct | Metric::AbandonedPct => 100,
        };
        if self.raise > most || self.clear > most {
            return Err(format!("values above {most} are never reached; write 0 to {most}"));
        }
        if self.metric.bad_when_low() {
            if self.clear <= self.raise {
                return Err(format!(
                    "clears at {} but raises at {}; it must clear above the value at which it raises",
                    self.clear, self.raise
                ));
            }
        } else if self.clear >= self.raise {
            return Err(format!(
                "clears at {} but raises at {}; it must clear below the value at which it raises",
                self.clear, self.raise
            ));
        }
        Ok(())
    }

    /// What a new value changes, given whether the threshold is raised now.
    pub fn update(&self, raised: bool, value: u32) -> Option<Change> {
        let (bad, good) = if self.metric.bad_when_low() {
            (value <= self.raise, value >= self.clear)
        } else {
            (value >= self.raise, value <= self.clear)
        };
        match raised {
            false if bad => Some(Change::Raised),
            true if good => Some(Change::Cleared),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(threshold: Threshold, values: &[u32]) -> Vec<Option<Change>> {
        let mut raised = false;
        values
            .iter()
            .map(|v| {
                let change = threshold.update(raised, *v);
                raised = change.map_or(raised, |c| c == Change::Raised);
                change
            })
            .collect()
    }

    #[test]
    fn it_does_not_flutter_between_the_two_values() {
        let threshold = Threshold { metric: Metric::Waiting, raise: 10, clear: 6 };
        let changes = run(threshold, &[9, 10, 9, 10, 7, 6, 7, 9, 10]);
        use Change::{Cleared, Raised};
        assert_eq!(changes, [None, Some(Raised), None, None, None, Some(Cleared), None, None, Some(Raised)]);
    }

    #[test]
    fn service_level_is_bad_when_low() {
        let threshold = Threshold { metric: Metric::ServiceLevelPct, raise: 70, clear: 80 };
        assert!(threshold.check().is_ok());
        let changes = run(threshold, &[90, 71, 70, 75, 80]);
        assert_eq!(changes, [None, None, Some(Change::Raised), None, Some(Change::Cleared)]);
    }

    #[test]
    fn absurd_values_are_refused() {
        for (metric, raise, clear) in [
            (Metric::ServiceLevelPct, 80, 70),
            (Metric::AbandonedPct, 101, 5),
            (Metric::Waiting, 5, 5),
            (Metric::LongestWaitS, 90_000, 1),
        ] {
            assert!(Threshold { metric, raise, clear }.check().is_err(), "{metric:?}");
        }
    }
}
