//! How a queue calls people back: who is rung first, how often, when, and which numbers.

use hotline_base::{E164, FieldError, Name};
use serde::{Deserialize, Serialize};

/// Numbers that are never called, whatever a queue allows: premium rates, satellites and networks
/// without a country, by which hotlines are robbed.
pub const FORBIDDEN: [&str; 16] = [
    "+979", "+808", "+870", "+878", "+881", "+882", "+883", "+1900", "+1976", "+449", "+4870", "+49900", "+3389",
    "+39899", "+34803", "+8610900",
];
/// Prefixes of one list at most.
pub const MAX_PREFIXES: usize = 50;

/// Who is rung first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallFirst {
    /// The agent; the party hears a person at once.
    #[default]
    Agent,
    /// The party, when an agent is free; the party then waits at the head of the queue.
    Party,
}

/// How a queue calls back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallbackPolicy {
    /// Who is rung first.
    pub first: CallFirst,
    /// The party is dialled so often at most, 1 to 10.
    pub attempts: u8,
    /// Between two attempts, milliseconds, 30,000 to 86,400,000.
    pub retry_after_ms: u32,
    /// How long the party's phone rings, milliseconds, 10,000 to 120,000.
    pub ring_timeout_ms: u32,
    /// Nobody is called outside these hours; `None`: any time.
    pub hours: Option<Name>,
    /// Only numbers that begin so are called; empty: all that are not forbidden.
    pub allowed: Vec<String>,
    /// Numbers that begin so are not called, besides [`FORBIDDEN`].
    pub forbidden: Vec<String>,
}

impl Default for CallbackPolicy {
    fn default() -> Self {
        Self {
            first: CallFirst::Agent,
            attempts: 3,
            retry_after_ms: 300_000,
            ring_timeout_ms: 30_000,
            hours: None,
            allowed: Vec::new(),
            forbidden: Vec::new(),
        }
    }
}

/// Why a number is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberRefusal {
    /// Not in international form (E.164).
    Malformed,
    /// Costs too much or leads nowhere good.
    Forbidden,
    /// Not among the allowed ones.
    NotAllowed,
}

impl NumberRefusal {
    /// What is wrong and what to do.
    pub fn remedy(self) -> &'static str {
        match self {
            NumberRefusal::Malformed => "write the number in international form, such as +8613800138000",
            NumberRefusal::Forbidden => "premium, satellite and forbidden numbers are not called; give another number",
            NumberRefusal::NotAllowed => "the queue does not call numbers that begin so; give another one",
        }
    }
}

impl CallbackPolicy {
    /// The number in its one form, where it may be called.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, number: &str) -> Result<E164, NumberRefusal> {
        let number: E164 = number.parse().map_err(|_| NumberRefusal::Malformed)?;
        let text = number.to_string();
        // Nobody has a subscriber's number of fewer than seven digits with its country.
        if text.len() < 8 {
            return Err(NumberRefusal::Malformed);
        }
        let forbidden = FORBIDDEN.iter().copied().chain(self.forbidden.iter().map(String::as_str));
        if forbidden.into_iter().any(|prefix| text.starts_with(prefix)) {
            return Err(NumberRefusal::Forbidden);
        }
        if !self.allowed.is_empty() && !self.allowed.iter().any(|prefix| text.starts_with(prefix.as_str())) {
            return Err(NumberRefusal::NotAllowed);
        }
        Ok(number)
    }

    pub(crate) fn validate(&self, errors: &mut Vec<FieldError>) {
        let mut range = |field: &str, value: u32, low: u32, high: u32| {
            if !(low..=high).contains(&value) {
                errors.push(FieldError::new(format!("callback.{field}"), format!("is {value}; write {low} to {high}")));
            }
        };
        range("attempts", u32::from(self.attempts), 1, 10);
        range("retry_after_ms", self.retry_after_ms, 30_000, 86_400_000);
        range("ring_timeout_ms", self.ring_timeout_ms, 10_000, 120_000);
        for (field, list) in [("allowed", &self.allowed), ("forbidden", &self.forbidden)] {
            if list.len() > MAX_PREFIXES {
                errors.push(FieldError::new(format!("callback.{field}"), format!("at most {MAX_PREFIXES} prefixes")));
            }
            let good = |prefix: &String| {
                let digits = prefix.strip_prefix('+').unwrap_or_default();
                (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
            };
            for (i, _) in list.iter().enumerate().filter(|(_, prefix)| !good(prefix)) {
                errors.push(FieldError::new(
                    format!("callback.{field}[{i}]"),
                    "write the beginning of an international number, such as +86",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_admitted_in_one_form_or_refused_with_a_reason() {
        let policy = CallbackPolicy {
            allowed: vec!["+86".into(), "+1".into()],
            forbidden: vec!["+8690".into()],
            ..CallbackPolicy::default()
        };
        assert_eq!(policy.admit("+86 138-0013-8000").unwrap().to_string(), "+8613800138000");
        for (number, why) in [
            ("", NumberRefusal::Malformed),
            ("13800138000", NumberRefusal::Malformed),
            ("+86", NumberRefusal::Malformed),
            ("+86138001380001234", NumberRefusal::Malformed),
            ("+8613x", NumberRefusal::Malformed),
            ("+19005550100", NumberRefusal::Forbidden),
            ("+97912345678", NumberRefusal::Forbidden),
            ("+86900123456", NumberRefusal::Forbidden),
            ("+4930123456", NumberRefusal::NotAllowed),
        ] {
            assert_eq!(policy.admit(number), Err(why), "{number}");
        }
    }

    #[test]
    fn absurd_policies_are_told_field_by_field() {
        let policy = CallbackPolicy {
            attempts: 0,
            retry_after_ms: 1,
            ring_timeout_ms: 500_000,
            allowed: vec!["86".into(), "+".into()],
            ..CallbackPolicy::default()
        };
        let mut errors = Vec::new();
        policy.validate(&mut errors);
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "callback.attempts",
                "callback.retry_after_ms",
                "callback.ring_timeout_ms",
                "callback.allowed[0]",
                "callback.allowed[1]"
            ]
        );
        let mut none = Vec::new();
        CallbackPolicy::default().validate(&mut none);
        assert_eq!(none, []);
    }
}
