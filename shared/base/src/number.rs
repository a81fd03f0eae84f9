//! Telephone numbers.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A number in international form: `+` and 3 to 15 digits (ITU-T E.164).
///
/// `Debug` hides the middle digits; `Display` shows all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct E164(String);

/// A text that is no international number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an international number: write '+', the country code and the number, 3 to 15 digits in all, such as +8613800138000"
)]
pub struct E164Error;

impl E164 {
    /// The number with its `+`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for E164 {
    type Err = E164Error;
    fn from_str(text: &str) -> Result<Self, E164Error> {
        let cleaned: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.')).take(32).collect();
        let digits = cleaned.strip_prefix('+').ok_or(E164Error)?;
        let good =
            (3..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        if good { Ok(Self(cleaned)) } else { Err(E164Error) }
    }
}

impl TryFrom<String> for E164 {
    type Error = E164Error;
    fn try_from(text: String) -> Result<Self, E164Error> {
        text.parse()
    }
}

impl From<E164> for String {
    fn from(number: E164) -> String {
        number.0
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::redact::mask(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        assert_eq!("+86 138-0013-8000".parse::<E164>().unwrap().as_str(), "+8613800138000");
        for wrong in ["", "+", "138", "+0123", "+86abc", "+1234567890123456", "anonymous"] {
            assert!(wrong.parse::<E164>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn debug_hides_the_middle() {
        let number: E164 = "+8613800138000".parse().unwrap();
        assert_eq!(format!("{number:?}"), "+86…00");
    }
}
