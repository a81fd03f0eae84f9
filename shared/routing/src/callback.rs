//! How a queue calls people back: who is rung first, how often, when, and which numbers.

use hotline_base::{Country, E164, FieldError, Name, NumberError, country};
use serde::{Deserialize, Serialize};

/// Numbers that are never called, whatever a queue allows: premium rates, satellites and networks
/// without a country, by which hotlines are robbed.
pub const FORBIDDEN: &[&str] = &[
    "+979", "+808", "+870", "+878", "+881", "+882", "+883", "+1900", "+1976", "+31900", "+31906", "+31909", "+3290",
    "+3389", "+34803", "+34806", "+34807", "+34905", "+351760", "+358600", "+358700", "+39892", "+39899", "+41900",
    "+41901", "+41906", "+43900", "+43930", "+449", "+4590", "+46900", "+46939", "+46944", "+47829", "+4870", "+49900",
    "+55900", "+6119", "+81990", "+8260", "+8610900", "+852900", "+886204",
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
    /// With the party first: the flow that it goes through once it has answered. Where the flow comes to a
    /// queue the party is there, and waits in its place; where the call ends before that, nobody was
    /// reached. `None`: whoever answers is there.
    pub flow: Option<Name>,
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
            flow: None,
            hours: None,
            allowed: Vec::new(),
            forbidden: Vec::new(),
        }
    }
}

/// Where a tenant's people are, and whom they may call, whichever queue it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Home {
    /// National numbers are read as this country's; `None`: only international ones are known.
    pub country: Option<Country>,
    /// Only numbers that begin so are called; empty: all that are not forbidden.
    pub allowed: Vec<String>,
    /// Numbers that begin so are not called, besides [`FORBIDDEN`].
    pub forbidden: Vec<String>,
}

impl Home {
    /// The number in its one form, where it can be read as one; what callers are known by.
    pub fn party(&self, number: &str) -> Option<E164> {
        country::read(self.country, number).ok()
    }

    /// Adds what is wrong with its lists; `under`: the field that it stands in.
    pub fn validate(&self, under: &str, errors: &mut Vec<FieldError>) {
        prefixes(under, [("allowed", &self.allowed), ("forbidden", &self.forbidden)], errors);
    }

    fn refuses(&self, number: &str) -> Option<NumberRefusal> {
        refuses(&self.allowed, &self.forbidden, number)
    }
}

fn refuses(allowed: &[String], forbidden: &[String], number: &str) -> Option<NumberRefusal> {
    let begins = |list: &[String]| list.iter().any(|prefix| number.starts_with(prefix.as_str()));
    if begins(forbidden) {
        return Some(NumberRefusal::Forbidden);
    }
    (!allowed.is_empty() && !begins(allowed)).then_some(NumberRefusal::NotAllowed)
}

fn prefixes(under: &str, lists: [(&str, &Vec<String>); 2], errors: &mut Vec<FieldError>) {
    for (field, list) in lists {
        if list.len() > MAX_PREFIXES {
            errors.push(FieldError::new(format!("{under}.{field}"), format!("at most {MAX_PREFIXES} prefixes")));
        }
        let good = |prefix: &String| {
            let digits = prefix.strip_prefix('+').unwrap_or_default();
            (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        };
        for (i, _) in list.iter().enumerate().filter(|(_, prefix)| !good(prefix)) {
            errors.push(FieldError::new(
                format!("{under}.{field}[{i}]"),
                "write the beginning of an international number, such as +86",
            ));
        }
    }
}

/// Why a number is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberRefusal {
    /// Neither in international form (E.164) nor in that of the tenant's country.
    Malformed,
    /// The area code is missing.
    NoAreaCode,
    /// An emergency number.
    Emergency,
    /// A short number or service code.
    Short,
    /// Costs too much or leads nowhere good.
    Forbidden,
    /// Not among the allowed ones.
    NotAllowed,
}

impl NumberRefusal {
    /// What is wrong and what to do.
    pub fn remedy(self) -> &'static str {
        match self {
            NumberRefusal::Malformed => {
                "write the number in international form, such as +8613800138000, or set the tenant's country"
            }
            NumberRefusal::NoAreaCode => "the area code is missing; write the whole number, such as +861012345678",
            NumberRefusal::Emergency => "emergency numbers are not called; give another number",
            NumberRefusal::Short => "short numbers and service codes are not called; give a whole number",
            NumberRefusal::Forbidden => "premium, satellite and forbidden numbers are not called; give another number",
            NumberRefusal::NotAllowed => "numbers that begin so are not called here; give another one",
        }
    }
}

impl CallbackPolicy {
    /// The number in its one form, where it may be called from this home.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, home: &Home, number: &str) -> Result<E164, NumberRefusal> {
        let number = country::read(home.country, number).map_err(|error| match error {
            NumberError::Malformed => NumberRefusal::Malformed,
            NumberError::NoAreaCode => NumberRefusal::NoAreaCode,
            NumberError::Emergency => NumberRefusal::Emergency,
            NumberError::Short => NumberRefusal::Short,
        })?;
        let text = number.as_str();
        if FORBIDDEN.iter().any(|prefix| text.starts_with(prefix)) {
            return Err(NumberRefusal::Forbidden);
        }
        match home.refuses(text).or_else(|| refuses(&self.allowed, &self.forbidden, text)) {
            Some(why) => Err(why),
            None => Ok(number),
        }
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
        if self.flow.is_some() && self.first != CallFirst::Party {
            let message = "needs `first: party`; an agent would wait while the party is asked";
            errors.push(FieldError::new("callback.flow", message));
        }
        prefixes("callback", [("allowed", &self.allowed), ("forbidden", &self.forbidden)], errors);
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
        let nowhere = Home::default();
        assert_eq!(policy.admit(&nowhere, "+86 138-0013-8000").unwrap().to_string(), "+8613800138000");
        for (number, why) in [
            ("", NumberRefusal::Malformed),
            ("13800138000", NumberRefusal::Malformed),
            ("+86", NumberRefusal::Malformed),
            ("110", NumberRefusal::Emergency),
            ("+86110", NumberRefusal::Emergency),
            ("10086", NumberRefusal::Short),
            ("+86138001380001234", NumberRefusal::Malformed),
            ("+8613x", NumberRefusal::Malformed),
            ("+19005550100", NumberRefusal::Forbidden),
            ("+97912345678", NumberRefusal::Forbidden),
            ("+86900123456", NumberRefusal::Forbidden),
            ("+4930123456", NumberRefusal::NotAllowed),
        ] {
            assert_eq!(policy.admit(&nowhere, number), Err(why), "{number}");
        }
    }

    #[test]
    fn national_numbers_are_read_as_the_tenants_and_its_lists_count_beside_the_queues() {
        let home = Home {
            country: Some("CN".parse().unwrap()),
            allowed: vec!["+86".into(), "+49".into()],
            forbidden: vec!["+86170".into()],
        };
        let open = CallbackPolicy::default();
        assert_eq!(open.admit(&home, "138 0013 8000").unwrap().as_str(), "+8613800138000");
        assert_eq!(open.admit(&home, "00 49 30 123456").unwrap().as_str(), "+4930123456");
        let narrow = CallbackPolicy { allowed: vec!["+86".into()], ..CallbackPolicy::default() };
        for (policy, number, why) in [
            (&open, "12345678", NumberRefusal::NoAreaCode),
            (&open, "17012345678", NumberRefusal::Forbidden),
            (&open, "0033 1 23 45 67 89", NumberRefusal::NotAllowed),
            (&open, "0049 900 123456", NumberRefusal::Forbidden),
            (&narrow, "0049 30 123456", NumberRefusal::NotAllowed),
        ] {
            assert_eq!(policy.admit(&home, number), Err(why), "{number}");
        }
        let wrong = Home { forbidden: vec!["86".into()], ..Home::default() };
        let mut errors = Vec::new();
        wrong.validate("calls", &mut errors);
        assert_eq!(errors[0].field, "calls.forbidden[0]");
    }

    #[test]
    fn absurd_policies_are_told_field_by_field() {
        let policy = CallbackPolicy {
            attempts: 0,
            retry_after_ms: 1,
            ring_timeout_ms: 500_000,
            flow: Some("there".parse().unwrap()),
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
                "callback.flow",
                "callback.allowed[0]",
                "callback.allowed[1]"
            ]
        );
        let mut none = Vec::new();
        CallbackPolicy::default().validate(&mut none);
        assert_eq!(none, []);
    }
}
