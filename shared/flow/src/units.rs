//! Keys of a telephone and lengths of time.

use std::fmt;

/// A key of a telephone: `0` to `9`, `*`, `#`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "char", try_from = "char")]
pub struct Key(u8);

impl Key {
    /// The key of a character; `None` where a telephone has no such key.
    pub fn new(c: char) -> Option<Self> {
        // 1 to 9 first, then 0, * and #: the order in which a menu is read out.
        "1234567890*#".find(c).and_then(|i| u8::try_from(i).ok()).map(Self)
    }

    /// The character.
    pub fn as_char(self) -> char {
        "1234567890*#".as_bytes().get(usize::from(self.0)).map_or('#', |b| char::from(*b))
    }
}

impl From<Key> for char {
    fn from(key: Key) -> char {
        key.as_char()
    }
}

impl TryFrom<char> for Key {
    type Error = String;
    fn try_from(c: char) -> Result<Self, String> {
        Key::new(c).ok_or_else(|| format!("{c:?} is no telephone key: 0 to 9, * or #"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

/// A length of time, milliseconds; written `300ms`, `5s`, `1.5s`, `10m`, `2h`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u32);

impl Millis {
    /// Reads `300ms`, `5s`, `1.5s`, `10m` or `2h`; `None` for anything else and above 24 h.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = [("ms", 1u128), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
            .iter()
            .find_map(|(suffix, ms)| text.strip_suffix(suffix).map(|n| (n.trim(), *ms)))?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |t: &str| t.len() <= 8 && t.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) || (number.contains('.') && part.is_empty()) {
            return None;
        }
        let mut scaled = whole.parse::<u128>().ok()? * unit * 100_000_000;
        for (place, b) in part.bytes().enumerate() {
            scaled += u128::from(b - b'0') * unit * 10u128.pow(7 - u32::try_from(place).ok()?);
        }
        let ms = scaled / 100_000_000;
        if ms * 100_000_000 != scaled || ms > 86_400_000 {
            return None;
        }
        u32::try_from(ms).ok().map(Self)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        if ms == 0 {
            f.write_str("0s")
        } else if ms.is_multiple_of(3_600_000) {
            write!(f, "{}h", ms / 3_600_000)
        } else if ms.is_multiple_of(60_000) {
            write!(f, "{}m", ms / 60_000)
        } else if ms.is_multiple_of(1_000) {
            write!(f, "{}s", ms / 1_000)
        } else if ms > 1_000 && ms.is_multiple_of(100) {
            write!(f, "{}.{}s", ms / 1_000, ms % 1_000 / 100)
        } else {
            write!(f, "{ms}ms")
        }
    }
}

impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key of a telephone, with the four that only machines have.
pub(crate) fn is_key(c: char) -> bool {
    matches!(c, '0'..='9' | '*' | '#' | 'A'..='D')
}

/// A pause between sent keys: half a second, or one.
pub(crate) fn is_pause(c: char) -> bool {
    matches!(c, ',' | 'w')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, ms) in
            [("300ms", 300), ("5s", 5_000), ("1.5s", 1_500), ("10m", 600_000), ("2h", 7_200_000), ("0s", 0)]
        {
            assert_eq!(Millis::parse(text), Some(Millis(ms)), "{text}");
            assert_eq!(Millis(ms).to_string(), text);
        }
        for wrong in ["", "5", "s", "-1s", "1.s", ".5s", "1.0001s", "25h", "99999999999s", "5 minutes", "１s"] {
            assert_eq!(Millis::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Millis(61_250).to_string(), "61250ms");
    }

    #[test]
    fn keys_in_reading_order() {
        let keys: Vec<Key> = "#0195*".chars().filter_map(Key::new).collect();
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(sorted.iter().map(|k| k.as_char()).collect::<String>(), "1590*#");
        assert_eq!(Key::new('A'), None);
    }
}
