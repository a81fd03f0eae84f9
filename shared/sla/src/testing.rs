//! Short ways to write times and calendars in tests.

use crate::{Calendar, CalendarDraft, HolidayDraft, HoursDraft};
use chrono::NaiveDateTime;
use hotline_base::Timestamp;

/// A UTC moment written `2026-11-20 10:00`.
pub(crate) fn at(text: &str) -> Timestamp {
    let parsed = NaiveDateTime::parse_from_str(&format!("{text}:00"), "%Y-%m-%d %H:%M:%S").unwrap();
    Timestamp::from_millis(parsed.and_utc().timestamp_millis())
}

/// A calendar with the same hours on some days.
pub(crate) fn calendar(zone: &str, days: &[&str], hours: &[(&str, &str)], closed: &[(&str, &str)]) -> Calendar {
    let list: Vec<HoursDraft> =
        hours.iter().map(|(from, to)| HoursDraft { from: from.to_string(), to: to.to_string() }).collect();
    CalendarDraft {
        name: "office".into(),
        time_zone: zone.into(),
        weekly: days.iter().map(|d| (d.to_string(), list.clone())).collect(),
        holidays: closed
            .iter()
            .map(|(date, label)| HolidayDraft { date: date.to_string(), label: Some(label.to_string()), hours: vec![] })
            .collect(),
    }
    .validate()
    .unwrap()
}

/// Monday to Friday, 09:00 to 18:00, Shanghai.
pub(crate) fn office() -> Calendar {
    calendar("Asia/Shanghai", &["mon", "tue", "wed", "thu", "fri"], &[("09:00", "18:00")], &[])
}
