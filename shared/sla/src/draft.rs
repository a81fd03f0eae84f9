//! A calendar as people write it, and its check.

use chrono::NaiveDate;
use chrono_tz::Tz;
use hotline_base::{FieldError, Invalid, Name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::calendar::{Calendar, Interval, Special};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Special dates in one calendar.
const HOLIDAYS: usize = 400;
/// Openings in one day.
const OPENINGS: usize = 8;

/// A calendar as written: unchecked text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarDraft {
    /// What the tenant calls it.
    #[serde(default)]
    pub name: String,
    /// An IANA name such as `Asia/Shanghai`.
    #[serde(default)]
    pub time_zone: String,
    /// Hours by day: `mon` to `sun`; a missing day is closed.
    #[serde(default)]
    pub weekly: BTreeMap<String, Vec<HoursDraft>>,
    /// Dates that differ.
    #[serde(default)]
    pub holidays: Vec<HolidayDraft>,
}

/// One opening of a day; it does not cross midnight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoursDraft {
    /// `HH:MM`.
    pub from: String,
    /// `HH:MM`, at most `24:00`.
    pub to: String,
}

/// A date with hours of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolidayDraft {
    /// `YYYY-MM-DD`, in the calendar's zone.
    pub date: String,
    /// What it is, for explanations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Empty: closed all day.
    #[serde(default)]
    pub hours: Vec<HoursDraft>,
}

impl CalendarDraft {
    /// The calendar, or every mistake with its field.
    pub fn validate(self) -> Result<Calendar, Invalid> {
        let mut errors = Vec::new();
        let name = self.name.parse::<Name>().map_err(|e| errors.push(FieldError::new("name", e.to_string()))).ok();
        let zone = self
            .time_zone
            .parse::<Tz>()
            .map_err(|_| {
                let shown: String = self.time_zone.chars().take(40).collect();
                let message = format!("{shown:?} is no IANA time zone; write one such as Asia/Shanghai or UTC");
                errors.push(FieldError::new("time_zone", message));
            })
            .ok();
        let mut weekly: [Vec<Interval>; 7] = Default::default();
        for (day, hours) in self.weekly.iter().take(16) {
            match DAYS.iter().position(|d| d == day).and_then(|i| weekly.get_mut(i)) {
                Some(slot) => *slot = intervals(&format!("weekly.{day}"), hours, &mut errors),
                None => {
                    let shown: String = day.chars().take(20).collect();
                    let message = "not a day; write mon, tue, wed, thu, fri, sat or sun";
                    errors.push(FieldError::new(format!("weekly.{shown}"), message));
                }
            }
        }
        if self.weekly.values().all(Vec::is_empty) {
            errors.push(FieldError::new("weekly", "never opens; give at least one day hours such as 09:00 to 18:00"));
        }
        if self.holidays.len() > HOLIDAYS {
            errors.push(FieldError::new("holidays", format!("at most {HOLIDAYS} dates; remove past ones")));
        }
        let mut special = BTreeMap::new();
        for (i, holiday) in self.holidays.iter().take(HOLIDAYS).enumerate() {
            let field = format!("holidays[{i}]");
            let hours = intervals(&format!("{field}.hours"), &holiday.hours, &mut errors);
            if holiday.label.as_ref().is_some_and(|l| l.chars().count() > 60) {
                errors.push(FieldError::new(format!("{field}.label"), "at most 60 characters"));
            }
            match date(&holiday.date) {
                None => errors.push(FieldError::new(
                    format!("{field}.date"),
                    "not a date of the years 1970 to 2199; write YYYY-MM-DD such as 2026-10-01",
                )),
                Some(date) => {
                    if special.insert(date, Special { label: holiday.label.clone(), hours }).is_some() {
                        errors.push(FieldError::new(format!("{field}.date"), format!("{date} is given twice")));
                    }
                }
            }
        }
        Invalid::check(errors)?;
        match (name, zone) {
            (Some(name), Some(zone)) => Ok(Calendar { name, zone, weekly, special }),
            _ => Err(Invalid::one("name", "missing")),
        }
    }
}

fn date(text: &str) -> Option<NaiveDate> {
    let mut parts = text.split('-');
    let (y, m, d) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || y.len() != 4 || m.len() != 2 || d.len() != 2 {
        return None;
    }
    let year: i32 = y.parse().ok().filter(|y| (1970..2200).contains(y))?;
    NaiveDate::from_ymd_opt(year, m.parse().ok()?, d.parse().ok()?)
}

fn minutes(text: &str) -> Option<u16> {
    let (h, m) = text.split_once(':')?;
    let two = |t: &str| t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
    if !two(h) || !two(m) {
        return None;
    }
    let (h, m): (u16, u16) = (h.parse().ok()?, m.parse().ok()?);
    (m < 60 && h * 60 + m <= 1_440).then_some(h * 60 + m)
}

/// Checked, sorted and merged openings of one day.
fn intervals(field: &str, hours: &[HoursDraft], errors: &mut Vec<FieldError>) -> Vec<Interval> {
    if hours.len() > OPENINGS {
        errors.push(FieldError::new(field, format!("at most {OPENINGS} openings a day")));
    }
    let mut found = Vec::new();
    for (i, one) in hours.iter().take(OPENINGS).enumerate() {
        let mut time = |part: &str, text: &str| {
            let minute = minutes(text);
            if minute.is_none() {
                let message = "not a time of day; write HH:MM from 00:00 to 24:00";
                errors.push(FieldError::new(format!("{field}[{i}].{part}"), message));
            }
            minute
        };
        let (from, until) = (time("from", &one.from), time("to", &one.to));
        if let (Some(from_min), Some(until_min)) = (from, until) {
            if from_min < until_min {
                found.push(Interval { from_min, until_min });
            } else {
                let message = format!(
                    "ends at {} but starts at {}; split hours that cross midnight: {} to 24:00, and 00:00 to {} on the next day",
                    one.to, one.from, one.from, one.to
                );
                errors.push(FieldError::new(format!("{field}[{i}].to"), message));
            }
        }
    }
    found.sort();
    let mut merged: Vec<Interval> = Vec::new();
    for next in found {
        match merged.last_mut() {
            Some(last) if next.from_min < last.until_min => {
                errors.push(FieldError::new(field, "openings overlap; write each hour once"));
                last.until_min = last.until_min.max(next.until_min);
            }
            Some(last) if next.from_min == last.until_min => last.until_min = next.until_min,
            _ => merged.push(next),
        }
    }
    merged
}

impl TryFrom<CalendarDraft> for Calendar {
    type Error = Invalid;
    fn try_from(draft: CalendarDraft) -> Result<Self, Invalid> {
        draft.validate()
    }
}

impl From<Calendar> for CalendarDraft {
    fn from(calendar: Calendar) -> Self {
        let clock = |m: u16| format!("{:02}:{:02}", m / 60, m % 60);
        let hours = |list: &[Interval]| -> Vec<HoursDraft> {
            list.iter().map(|i| HoursDraft { from: clock(i.from_min), to: clock(i.until_min) }).collect()
        };
        Self {
            name: calendar.name.to_string(),
            time_zone: calendar.zone.name().into(),
            weekly: DAYS
                .iter()
                .zip(&calendar.weekly)
                .filter(|(_, list)| !list.is_empty())
                .map(|(day, list)| (day.to_string(), hours(list)))
                .collect(),
            holidays: calendar
                .special
                .iter()
                .map(|(date, special)| HolidayDraft {
                    date: date.to_string(),
                    label: special.label.clone(),
                    hours: hours(&special.hours),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_named_at_once() {
        let draft: CalendarDraft = serde_json::from_value(serde_json::json!({
            "name": "Office!", "time_zone": "Asia/Peking",
            "weekly": {
                "mon": [{"from": "9:00", "to": "18:00"}],
                "tue": [{"from": "22:00", "to": "06:00"}],
                "wed": [{"from": "09:00", "to": "12:00"}, {"from": "11:00", "to": "13:00"}],
                "someday": []
            },
            "holidays": [{"date": "2026-02-30"}, {"date": "2026-10-01"}, {"date": "2026-10-01"}]
        }))
        .unwrap();
        let text = draft.validate().unwrap_err().to_string().replace("; ", "\n");
        for expected in [
            "name: \"Office!\" is not a name",
            "time_zone: \"Asia/Peking\" is no IANA time zone",
            "weekly.mon[0].from: not a time of day",
            "weekly.tue[0].to: ends at 06:00 but starts at 22:00",
            "weekly.wed: openings overlap",
            "weekly.someday: not a day",
            "holidays[0].date: not a date",
            "holidays[2].date: 2026-10-01 is given twice",
        ] {
            assert!(text.contains(expected), "{expected} not in:\n{text}");
        }
    }

    #[test]
    fn a_calendar_that_never_opens_is_refused() {
        let draft = CalendarDraft { name: "never".into(), time_zone: "UTC".into(), ..Default::default() };
        assert_eq!(draft.validate().unwrap_err().fields()[0].field, "weekly");
    }

    #[test]
    fn what_is_stored_reads_back_the_same() {
        let text = r#"{"name":"office","time_zone":"Asia/Shanghai",
            "weekly":{"mon":[{"from":"13:00","to":"18:00"},{"from":"09:00","to":"12:00"},{"from":"12:00","to":"13:00"}],
                      "sun":[{"from":"00:00","to":"24:00"}]},
            "holidays":[{"date":"2026-10-01","label":"国庆节"}]}"#;
        let calendar: Calendar = serde_json::from_str(text).unwrap();
        let stored = serde_json::to_string(&calendar).unwrap();
        assert!(stored.contains(r#""mon":[{"from":"09:00","to":"18:00"}]"#), "{stored}");
        assert_eq!(serde_json::from_str::<Calendar>(&stored).unwrap(), calendar);
    }
}
