//! Countries, as far as their telephone numbers need them: how national numbers are written and
//! made international (ITU-T E.164).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::E164;

/// Numbers that call the police, fire brigade or an ambulance somewhere; in every country nobody
/// is called back under them.
const EMERGENCY: [&str; 34] = [
    "000", "100", "101", "102", "108", "110", "111", "112", "113", "114", "115", "116", "117", "118", "119", "120",
    "122", "123", "127", "133", "144", "190", "191", "192", "193", "199", "911", "988", "991", "994", "995", "997",
    "998", "999",
];

/// Digits of a number with its country code, at least: nobody has a shorter one.
const MIN_DIGITS: usize = 7;

/// What may stand without the trunk prefix and still be a whole national number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bare {
    /// Every number: there is no trunk prefix, or it is left out everywhere.
    All,
    /// Only those that begin so, such as those of mobile phones.
    Only(&'static [&'static str]),
}

#[derive(Debug, PartialEq, Eq)]
struct Rules {
    /// ISO 3166-1 alpha-2.
    code: &'static str,
    /// The country code.
    calling: &'static str,
    /// Dialled before a number of another area; empty: nothing, or it is a part of the number.
    trunk: &'static str,
    /// Dialled before a number of another country.
    abroad: &'static [&'static str],
    /// Digits of a national number without the trunk prefix: fewest and most.
    digits: (usize, usize),
    bare: Bare,
}

const fn rules(
    code: &'static str,
    calling: &'static str,
    trunk: &'static str,
    digits: (usize, usize),
    bare: Bare,
) -> Rules {
    Rules { code, calling, trunk, abroad: &["00"], digits, bare }
}

const NONE: Bare = Bare::Only(&[]);

/// In the order of their codes.
static COUNTRIES: [Rules; 35] = [
    rules("AE", "971", "0", (8, 9), NONE),
    rules("AT", "43", "0", (4, 13), NONE),
    Rules { abroad: &["0011"], ..rules("AU", "61", "0", (9, 9), NONE) },
    rules("BE", "32", "0", (8, 9), NONE),
    rules("BR", "55", "0", (10, 11), NONE),
    Rules { abroad: &["011"], ..rules("CA", "1", "1", (10, 10), Bare::All) },
    rules("CH", "41", "0", (9, 9), NONE),
    rules("CN", "86", "0", (9, 11), Bare::Only(&["13", "14", "15", "16", "17", "18", "19", "400", "800"])),
    rules("CZ", "420", "", (9, 9), Bare::All),
    rules("DE", "49", "0", (5, 13), NONE),
    rules("DK", "45", "", (8, 8), Bare::All),
    rules("ES", "34", "", (9, 9), Bare::All),
    rules("FI", "358", "0", (6, 12), NONE),
    rules("FR", "33", "0", (9, 9), NONE),
    rules("GB", "44", "0", (9, 10), NONE),
    Rules { abroad: &["001", "002"], ..rules("HK", "852", "", (8, 8), Bare::All) },
    rules("IE", "353", "0", (7, 9), NONE),
    rules("IN", "91", "0", (10, 10), Bare::Only(&["6", "7", "8", "9"])),
    rules("IT", "39", "", (6, 11), Bare::All),
    Rules { abroad: &["010"], ..rules("JP", "81", "0", (9, 10), NONE) },
    Rules { abroad: &["001", "002", "00700"], ..rules("KR", "82", "0", (8, 10), NONE) },
    rules("LU", "352", "", (5, 11), Bare::All),
    rules("MO", "853", "", (8, 8), Bare::All),
    rules("MX", "52", "", (10, 10), Bare::All),
    rules("MY", "60", "0", (8, 10), NONE),
    rules("NL", "31", "0", (9, 9), NONE),
    rules("NO", "47", "", (8, 8), Bare::All),
    rules("NZ", "64", "0", (8, 10), NONE),
    rules("PL", "48", "", (9, 9), Bare::All),
    rules("PT", "351", "", (9, 9), Bare::All),
    rules("SE", "46", "0", (7, 9), NONE),
    Rules { abroad: &["000", "001", "002"], ..rules("SG", "65", "", (8, 8), Bare::All) },
    Rules { abroad: &["002"], ..rules("TW", "886", "0", (8, 9), NONE) },
    Rules { abroad: &["011"], ..rules("US", "1", "1", (10, 10), Bare::All) },
    rules("ZA", "27", "0", (9, 9), NONE),
];

/// A country whose way of writing numbers is known, by its ISO 3166-1 code such as `CN`.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Country(&'static Rules);

/// A country that is not known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a country whose numbers are known: write one of {}", codes())]
pub struct CountryError;

fn codes() -> String {
    let all: Vec<&str> = COUNTRIES.iter().map(|rules| rules.code).collect();
    all.join(", ")
}

/// Why a text is no number that can be called from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NumberError {
    /// Neither of the two forms, or of a length that no number has.
    Malformed,
    /// A number within an area or a town: the area code is missing.
    NoAreaCode,
    /// An emergency number.
    Emergency,
    /// A short number or service code, which works only from some telephones.
    Short,
}

impl Country {
    /// The ISO 3166-1 code, two capital letters.
    pub fn code(self) -> &'static str {
        self.0.code
    }

    /// Reads a number in international form (`+…` or with the prefix for calls abroad) or as it is
    /// written within the country.
    ///
    /// # Errors
    /// Why it cannot be called.
    pub fn number(self, text: &str) -> Result<E164, NumberError> {
        read(Some(self), text)
    }

    /// A national number without the trunk prefix, where it is a whole one.
    fn significant(self, digits: &str) -> Result<&str, NumberError> {
        let rules = self.0;
        let fits = |digits: &str| (rules.digits.0..=rules.digits.1).contains(&digits.len());
        let rest = digits.strip_prefix(rules.trunk).filter(|rest| !rules.trunk.is_empty() && fits(rest));
        if let Some(rest) = rest {
            return Ok(rest);
        }
        let is_bare = match rules.bare {
            Bare::All => true,
            Bare::Only(beginnings) => beginnings.iter().any(|beginning| digits.starts_with(beginning)),
        };
        match (is_bare, fits(digits)) {
            (true, true) => Ok(digits),
            (false, _) if digits.len() <= rules.digits.1 && !digits.starts_with('0') => Err(NumberError::NoAreaCode),
            _ => Err(NumberError::Malformed),
        }
    }
}

/// Reads a number: in international form, or in that of the country where one is given.
///
/// # Errors
/// Why it cannot be called.
pub fn read(country: Option<Country>, text: &str) -> Result<E164, NumberError> {
    let written = |c: &char| !matches!(c, ' ' | '-' | '(' | ')' | '.' | '/');
    let cleaned: String = text.chars().filter(written).take(32).collect();
    let (international, digits) = match cleaned.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, cleaned.as_str()),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NumberError::Malformed);
    }
    if international {
        return whole(digits);
    }
    if EMERGENCY.contains(&digits) {
        return Err(NumberError::Emergency);
    }
    if digits.len() < MIN_DIGITS - 1 {
        return Err(NumberError::Short);
    }
    let Some(country) = country else {
        return Err(NumberError::Malformed);
    };
    let rules = country.0;
    // No national number begins as a call abroad does.
    let foreign = rules.abroad.iter().filter_map(|prefix| digits.strip_prefix(prefix));
    match foreign.min_by_key(|rest| rest.len()) {
        Some(foreign) => whole(foreign),
        None => whole(&format!("{}{}", rules.calling, country.significant(digits)?)),
    }
}

/// A number with its country code.
fn whole(digits: &str) -> Result<E164, NumberError> {
    let number: E164 = format!("+{digits}").parse().map_err(|_| NumberError::Malformed)?;
    // No country code is the beginning of another one.
    let own = (1..=3).find_map(|n| {
        let (calling, own) = digits.split_at_checked(n)?;
        COUNTRIES.iter().any(|rules| rules.calling == calling).then_some(own)
    });
    match own {
        Some(own) if EMERGENCY.contains(&own) => Err(NumberError::Emergency),
        _ if digits.len() < MIN_DIGITS => Err(NumberError::Short),
        _ => Ok(number),
    }
}

impl PartialEq for Country {
    fn eq(&self, other: &Self) -> bool {
        self.0.code == other.0.code
    }
}

impl Eq for Country {}

impl FromStr for Country {
    type Err = CountryError;
    fn from_str(text: &str) -> Result<Self, CountryError> {
        COUNTRIES.iter().find(|rules| rules.code == text).map(Country).ok_or(CountryError)
    }
}

impl TryFrom<String> for Country {
    type Error = CountryError;
    fn try_from(text: String) -> Result<Self, CountryError> {
        text.parse()
    }
}

impl From<Country> for String {
    fn from(country: Country) -> String {
        country.code().into()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country(code: &str) -> Country {
        code.parse().unwrap()
    }

    #[test]
    fn national_numbers_become_international() {
        for (code, text, number) in [
            ("CN", "13800138000", "+8613800138000"),
            ("CN", "138 0013 8000", "+8613800138000"),
            ("CN", "013800138000", "+8613800138000"),
            ("CN", "010-12345678", "+861012345678"),
            ("CN", "0755 8234 5678", "+8675582345678"),
            ("CN", "4008001234", "+864008001234"),
            ("CN", "0044 20 7946 0000", "+442079460000"),
            ("CN", "00 65 6123 4567", "+6561234567"),
            ("IT", "00 49 30 1234", "+49301234"),
            ("KR", "00700 49 30 123456", "+4930123456"),
            ("CN", "+86 138-0013-8000", "+8613800138000"),
            ("DE", "030 123456", "+4930123456"),
            ("DE", "0049 30 123456", "+4930123456"),
            ("GB", "(020) 7946 0000", "+442079460000"),
            ("US", "(212) 555-0100", "+12125550100"),
            ("US", "1-212-555-0100", "+12125550100"),
            ("US", "011 49 30 123456", "+4930123456"),
            ("IT", "06 1234 5678", "+390612345678"),
            ("FR", "01.23.45.67.89", "+33123456789"),
            ("HK", "2345 6789", "+85223456789"),
            ("HK", "001 86 13800138000", "+8613800138000"),
            ("JP", "03-1234-5678", "+81312345678"),
            ("JP", "010 1 212 555 0100", "+12125550100"),
            ("AU", "0011 64 9 123 4567", "+6491234567"),
            ("IN", "98765 43210", "+919876543210"),
        ] {
            assert_eq!(country(code).number(text).map(|n| n.to_string()), Ok(number.to_string()), "{code} {text}");
        }
    }

    #[test]
    fn what_cannot_be_called_is_told_apart() {
        for (code, text, error) in [
            ("CN", "110", NumberError::Emergency),
            ("CN", "+86110", NumberError::Emergency),
            ("CN", "0086 119", NumberError::Emergency),
            ("DE", "112", NumberError::Emergency),
            ("US", "+1911", NumberError::Emergency),
            ("CN", "10086", NumberError::Short),
            ("CN", "12345678", NumberError::NoAreaCode),
            ("DE", "7654321", NumberError::NoAreaCode),
            ("CN", "", NumberError::Malformed),
            ("CN", "+", NumberError::Malformed),
            ("CN", "138x0013800", NumberError::Malformed),
            ("CN", "00000000000000", NumberError::Malformed),
            ("US", "212 555 01000", NumberError::Malformed),
            ("CN", "13800138000138001380001380001380", NumberError::Malformed),
        ] {
            assert_eq!(country(code).number(text), Err(error), "{code} {text}");
        }
        assert_eq!(read(None, "13800138000"), Err(NumberError::Malformed), "of no country");
        assert_eq!(read(None, "+8613800138000").map(|n| n.to_string()), Ok("+8613800138000".into()));
    }

    #[test]
    fn every_country_is_found_by_its_code_and_no_other_is() {
        assert!(COUNTRIES.windows(2).all(|two| two[0].code < two[1].code), "in order, each once");
        for rules in &COUNTRIES {
            assert_eq!(country(rules.code).code(), rules.code);
            let json = serde_json::to_string(&country(rules.code)).unwrap();
            assert_eq!(serde_json::from_str::<Country>(&json).unwrap(), country(rules.code));
        }
        let wrong = "XX".parse::<Country>().unwrap_err().to_string();
        assert!(wrong.contains("write one of AE, AT"), "{wrong}");
    }
}
