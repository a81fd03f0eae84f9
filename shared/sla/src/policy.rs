//! What is promised, per priority.

use hotline_base::{FieldError, Invalid, Name};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest promise, minutes: one year.
const TARGET_MAX_MIN: u32 = 525_600;

/// How soon something matters; the order is from most to least urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// The business stands still.
    Urgent,
    /// Badly hindered.
    High,
    /// Hindered.
    #[default]
    Medium,
    /// A question or a wish.
    Low,
}

impl Priority {
    /// From most to least urgent.
    pub const ALL: [Priority; 4] = [Priority::Urgent, Priority::High, Priority::Medium, Priority::Low];

    /// `urgent`, `high`, `medium` or `low`.
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::Urgent => "urgent",
            Priority::High => "high",
            Priority::Medium => "medium",
            Priority::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// First, second or third line of support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Tier {
    /// First line.
    #[default]
    One,
    /// Second line.
    Two,
    /// Third line: research, architects.
    Three,
}

impl Tier {
    /// The next line; the third stays the third.
    pub fn next(self) -> Self {
        match self {
            Tier::One => Tier::Two,
            Tier::Two | Tier::Three => Tier::Three,
        }
    }
}

impl From<Tier> for u8 {
    fn from(tier: Tier) -> u8 {
        match tier {
            Tier::One => 1,
            Tier::Two => 2,
            Tier::Three => 3,
        }
    }
}

impl TryFrom<u8> for Tier {
    type Error = String;
    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Tier::One),
            2 => Ok(Tier::Two),
            3 => Ok(Tier::Three),
            other => Err(format!("{other} is not a tier; write 1, 2 or 3")),
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", u8::from(*self))
    }
}

/// Which time a promise counts in.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "basis", rename_all = "snake_case", deny_unknown_fields)]
pub enum Basis {
    /// Every minute.
    #[default]
    AllTime,
    /// The opening hours of a calendar.
    Business {
        /// Which.
        calendar: Name,
    },
}

/// The promise for one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Until somebody answers, minutes.
    pub response_min: u32,
    /// Until it is solved, minutes.
    pub resolution_min: u32,
}

/// The promise for each priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// For urgent tickets.
    pub urgent: Target,
    /// For high ones.
    pub high: Target,
    /// For medium ones.
    pub medium: Target,
    /// For low ones.
    pub low: Target,
}

/// An SLA policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What the tenant calls it; `None`: the standard one, which no tenant has written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// What is promised.
    pub targets: Targets,
    /// Which time counts.
    #[serde(default)]
    pub counts: Basis,
    /// A reminder comes so long before a deadline, minutes; at most half of the target.
    pub reminder_before_min: u32,
    /// Who gets a ticket whose deadline passed; one that is there already goes a tier higher.
    pub escalate_to: Tier,
}

impl Policy {
    /// A first response within 15 minutes of all time; resolution within 4, 8, 24 or 72 hours.
    pub fn standard(name: Option<Name>) -> Self {
        let target = |hours: u32| Target { response_min: 15, resolution_min: hours * 60 };
        Self {
            name,
            targets: Targets { urgent: target(4), high: target(8), medium: target(24), low: target(72) },
            counts: Basis::AllTime,
            reminder_before_min: 5,
            escalate_to: Tier::Two,
        }
    }

    /// The promise for a priority.
    pub fn target(&self, priority: Priority) -> Target {
        match priority {
            Priority::Urgent => self.targets.urgent,
            Priority::High => self.targets.high,
            Priority::Medium => self.targets.medium,
            Priority::Low => self.targets.low,
        }
    }

    /// Every mistake with its field.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut errors = Vec::new();
        for priority in Priority::ALL {
            let target = self.target(priority);
            for (part, minutes) in [("response_min", target.response_min), ("resolution_min", target.resolution_min)] {
                if !(1..=TARGET_MAX_MIN).contains(&minutes) {
                    let message = format!("{minutes} minutes; write 1 to {TARGET_MAX_MIN} (a year)");
                    errors.push(FieldError::new(format!("targets.{priority}.{part}"), message));
                }
            }
            if target.resolution_min < target.response_min {
                let message = "shorter than response_min; nothing is solved before it is answered";
                errors.push(FieldError::new(format!("targets.{priority}.resolution_min"), message));
            }
        }
        if self.reminder_before_min > TARGET_MAX_MIN {
            errors.push(FieldError::new("reminder_before_min", format!("at most {TARGET_MAX_MIN}")));
        }
        Invalid::check(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_promises_a_response_in_15_minutes() {
        let policy = Policy::standard(None);
        policy.validate().unwrap();
        assert!(Priority::ALL.iter().all(|&p| policy.target(p).response_min == 15));
        let back: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        assert_eq!(back, policy);
    }

    #[test]
    fn every_bad_target_is_named() {
        let mut policy = Policy::standard("odd".parse().ok());
        policy.targets.urgent.response_min = 0;
        policy.targets.low.resolution_min = 10;
        let text = policy.validate().unwrap_err().to_string();
        assert!(text.contains("targets.urgent.response_min: 0 minutes"), "{text}");
        assert!(text.contains("targets.low.resolution_min: shorter"), "{text}");
        assert!(serde_json::from_str::<Tier>("4").is_err());
    }
}
