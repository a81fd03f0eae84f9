//! A call that was meant for somebody else before it came here.

use hotline_base::Redacted;
use serde::{Deserialize, Serialize};

/// Who sent a call on to us and why, as a trunk told it (History-Info, RFC 7044; Diversion, RFC 5806).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diverted {
    /// The number that the caller had called first, in E.164 where possible; empty where withheld.
    pub first: Redacted<String>,
    /// The number that sent the call here; empty where withheld.
    pub last: Redacted<String>,
    /// Why it did.
    pub reason: DiversionReason,
    /// How often the call was sent on, as far as is told.
    pub times: u32,
}

/// Why a call is sent on (RFC 5806 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiversionReason {
    /// Busy.
    UserBusy,
    /// Nobody answered.
    NoAnswer,
    /// Out of reach.
    Unavailable,
    /// Always.
    Unconditional,
    /// At this time of day.
    TimeOfDay,
    /// Not to be disturbed.
    DoNotDisturb,
    /// Sent on by hand while it rang.
    Deflection,
    /// The called person is elsewhere.
    FollowMe,
    /// Out of service.
    OutOfService,
    /// Away.
    Away,
    /// Nothing, or nothing known, was said.
    #[default]
    #[serde(other)]
    Unknown,
}

impl DiversionReason {
    /// All, by the words of RFC 5806.
    const WORDS: [(&'static str, DiversionReason); 11] = [
        ("unknown", DiversionReason::Unknown),
        ("user-busy", DiversionReason::UserBusy),
        ("no-answer", DiversionReason::NoAnswer),
        ("unavailable", DiversionReason::Unavailable),
        ("unconditional", DiversionReason::Unconditional),
        ("time-of-day", DiversionReason::TimeOfDay),
        ("do-not-disturb", DiversionReason::DoNotDisturb),
        ("deflection", DiversionReason::Deflection),
        ("follow-me", DiversionReason::FollowMe),
        ("out-of-service", DiversionReason::OutOfService),
        ("away", DiversionReason::Away),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, reason)| *reason == self).map_or("unknown", |(word, _)| word)
    }

    /// Reads a word; one that is not known is [`DiversionReason::Unknown`].
    pub fn of(word: &str) -> Self {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, reason)| *reason).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_wire() {
        for (word, reason) in DiversionReason::WORDS {
            assert_eq!((reason.word(), DiversionReason::of(word)), (word, reason));
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("{word:?}"));
            assert_eq!(serde_json::from_str::<DiversionReason>(&format!("{word:?}")).unwrap(), reason);
        }
        assert_eq!(serde_json::from_str::<DiversionReason>("\"new\"").unwrap(), DiversionReason::Unknown);
    }
}
