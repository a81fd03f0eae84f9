//! Opening hours of a calendar within a script: `09:00-18:00 mon-fri except 2026-10-01`.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc, Weekday};
use chrono_tz::Tz;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hours {
    from: NaiveTime,
    to: NaiveTime,
    days: [bool; 7],
    except: Vec<NaiveDate>,
    /// The calendar's own time zone; `None`: that of the call.
    zone: Option<Tz>,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Hours {
    /// Reads the words behind the calendar's name.
    pub(super) fn read(words: &[&str]) -> Result<Self, String> {
        let (times, mut rest) = words.split_first().ok_or("hours are missing")?;
        let time =
            |t: &str| NaiveTime::parse_from_str(t, "%H:%M").map_err(|_| format!("{t:?} is not a time such as 09:00"));
        let (from, to) = times.split_once('-').ok_or_else(|| format!("{times:?} is not a span such as 09:00-18:00"))?;
        let mut hours = Self { from: time(from)?, to: time(to)?, days: [true; 7], except: Vec::new(), zone: None };
        while let Some((word, more)) = rest.split_first() {
            rest = more;
            if *word == "except" {
                for date in rest {
                    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d")
                        .map_err(|_| format!("{date:?} is not a date such as 2026-10-01"))?;
                    hours.except.push(date);
                }
                break;
            } else if let Ok(zone) = word.parse::<Tz>() {
                hours.zone = Some(zone);
            } else {
                hours.days = days(word)?;
            }
        }
        Ok(hours)
    }

    pub(super) fn open(&self, at: DateTime<Utc>, zone: Tz) -> bool {
        let local = at.with_timezone(&self.zone.unwrap_or(zone));
        let day = |weekday: Weekday| self.days.get(weekday.num_days_from_monday() as usize).copied().unwrap_or(false);
        let time = local.time();
        day(local.weekday()) && !self.except.contains(&local.date_naive()) && self.from <= time && time < self.to
    }
}

/// `mon-fri` or `mon,wed`.
fn days(word: &str) -> Result<[bool; 7], String> {
    let index = |day: &str| {
        DAYS.iter().position(|d| *d == day).ok_or_else(|| format!("{day:?} is neither a day, a time zone nor 'except'"))
    };
    let mut open = [false; 7];
    for part in word.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (index(from)?, index(to)?);
        for (i, day) in open.iter_mut().enumerate() {
            // `fri-mon` runs over the week's end.
            *day |= if from <= to { (from..=to).contains(&i) } else { i >= from || i <= to };
        }
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(hours: &str, at: &str) -> bool {
        let words: Vec<&str> = hours.split_whitespace().collect();
        let at = at.parse::<DateTime<Utc>>().unwrap();
        Hours::read(&words).unwrap().open(at, chrono_tz::Asia::Shanghai)
    }

    #[test]
    fn hours_days_and_holidays() {
        let office = "09:00-18:00 mon-fri except 2026-10-01";
        assert!(open(office, "2026-09-30T01:00:00Z"));
        assert!(!open(office, "2026-09-30T00:59:59Z"));
        assert!(!open(office, "2026-09-30T10:00:00Z"));
        assert!(!open(office, "2026-10-01T02:00:00Z"), "a holiday");
        assert!(!open(office, "2026-10-03T02:00:00Z"), "a Saturday");
        assert!(open("09:00-18:00 Europe/London", "2026-09-30T16:30:00Z"));
        assert!(open("00:00-12:00 fri-mon", "2026-10-03T02:00:00Z"));
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in ["", "9-18", "09:00", "09:00-18:00 someday", "09:00-18:00 mon-fri except tomorrow"] {
            let words: Vec<&str> = wrong.split_whitespace().collect();
            assert!(Hours::read(&words).is_err(), "{wrong}");
        }
    }
}
