//! A moment as people write it in a file of rules.

use hotline_base::Timestamp;
use serde::{Deserialize, Deserializer, de};

/// RFC 3339, or milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Ms(i64),
            Text(String),
        }
        let wrong = || de::Error::custom("not a moment; write such as 2026-11-20T09:00:00Z");
        match Written::deserialize(from).map_err(|_| wrong())? {
            Written::Ms(ms) if (0..=9_999_999_999_999).contains(&ms) => Ok(Self(Timestamp::from_millis(ms))),
            Written::Ms(_) => Err(wrong()),
            Written::Text(text) => parse(&text).map(Self).ok_or_else(wrong),
        }
    }
}

/// `2026-11-20T09:00[:00[.000]](Z|+08:00)`.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_once(['T', ' '])?;
    let at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(at);
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.splitn(3, ':');
    let hour: i64 = clock.next()?.parse().ok()?;
    let minute: i64 = clock.next()?.parse().ok()?;
    let (second, ms) = match clock.next() {
        None => (0, 0),
        Some(text) => {
            let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
            let ms: String = part.chars().chain("000".chars()).take(3).collect();
            (whole.parse::<i64>().ok()?, ms.parse::<i64>().ok()?)
        }
    };
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let good = (1970..=2200).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second)
        && (0..1_000).contains(&ms)
        && (-1_440..=1_440).contains(&offset);
    // Days from civil: H. Hinnant, "chrono-compatible low-level date algorithms".
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    let total = ((days * 24 + hour) * 60 + minute - offset) * 60 + second;
    good.then(|| Timestamp::from_millis(total * 1_000 + ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_timestamps_print() {
        for ms in [0, 951_782_400_000, 1_795_288_921_042] {
            let at = Timestamp::from_millis(ms);
            assert_eq!(parse(&at.to_string()), Some(at));
        }
        assert_eq!(parse("2026-11-21T19:22+08:00"), parse("2026-11-21T11:22:00Z"));
        for wrong in [
            "",
            "yesterday",
            "2026-13-01T00:00Z",
            "2026-11-21",
            "2026-11-21T25:00Z",
            "2026-11-21T10:00+9",
            "-1-1-1T1:1Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
