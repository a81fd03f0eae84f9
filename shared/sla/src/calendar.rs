//! Opening hours in a time zone.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;
use hotline_base::{Name, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::draft::CalendarDraft;

/// How far ahead opening time is searched; longer sums saturate there.
pub const HORIZON_DAYS: i64 = 3_660;

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;
/// No zone changes its offset twice within this time.
const PROBE: i64 = 3 * 3_600_000;

/// When a tenant works: a time zone, weekly hours and special dates.
///
/// It is open at an instant when the wall clock in its zone lies within the hours of that
/// local date; an hour that a change of clocks repeats counts twice, one that it skips never.
/// It always has weekly hours, so it opens again some day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "CalendarDraft", try_from = "CalendarDraft")]
pub struct Calendar {
    pub(crate) name: Name,
    pub(crate) zone: Tz,
    /// Monday first.
    pub(crate) weekly: [Vec<Interval>; 7],
    pub(crate) special: BTreeMap<NaiveDate, Special>,
}

/// Minutes of a local day: from inclusive, until exclusive, at most 1,440.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interval {
    pub(crate) from_min: u16,
    pub(crate) until_min: u16,
}

/// A date with hours of its own; none: closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Special {
    pub(crate) label: Option<String>,
    pub(crate) hours: Vec<Interval>,
}

/// Which time counts: all of it, or a calendar's opening hours.
#[derive(Clone, Copy, Debug)]
pub enum Hours<'a> {
    /// Every minute counts.
    Always,
    /// Only opening time counts.
    Business(&'a Calendar),
}

impl Hours<'_> {
    /// The counted time between two moments, milliseconds; 0 where `until` is not later.
    pub fn counted_ms(&self, from: Timestamp, until: Timestamp) -> i64 {
        match self {
            Hours::Always => until.since_ms(from).max(0),
            Hours::Business(calendar) => calendar.open_ms_between(from, until),
        }
    }

    /// The first moment at which `ms` of counted time have passed since `start`.
    pub fn add_ms(&self, start: Timestamp, ms: i64) -> Timestamp {
        match self {
            Hours::Always => start.plus_ms(ms.max(0)),
            Hours::Business(calendar) => calendar.add_open_ms(start, ms),
        }
    }
}

impl Calendar {
    /// A calendar that never closes.
    pub fn always(name: Name) -> Self {
        let day = || vec![Interval { from_min: 0, until_min: 1_440 }];
        Self { name, zone: Tz::UTC, weekly: std::array::from_fn(|_| day()), special: BTreeMap::new() }
    }

    /// What the tenant calls it.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The IANA name of its time zone.
    pub fn time_zone(&self) -> &'static str {
        self.zone.name()
    }

    /// Whether it is open at this moment.
    pub fn is_open(&self, at: Timestamp) -> bool {
        let local = self.local(clamp(at));
        let minute = local.and_utc().timestamp_millis().rem_euclid(DAY) / MINUTE;
        self.hours_on(local.date()).iter().any(|i| (i64::from(i.from_min)..i64::from(i.until_min)).contains(&minute))
    }

    /// The opening time between two moments, milliseconds; 0 where `until` is not later.
    /// Time beyond [`HORIZON_DAYS`] after `from` is not counted.
    pub fn open_ms_between(&self, from: Timestamp, until: Timestamp) -> i64 {
        self.spans(from, until).map(|(a, b)| b - a).sum()
    }

    /// The first moment at which `ms` of opening time have passed since `start`; `start`
    /// itself where `ms` is not positive; saturates [`HORIZON_DAYS`] after it.
    pub fn add_open_ms(&self, start: Timestamp, ms: i64) -> Timestamp {
        if ms <= 0 {
            return start;
        }
        let mut left = ms;
        for (from, until) in self.spans(start, horizon(start)) {
            if left <= until - from {
                return Timestamp::from_millis(from + left);
            }
            left -= until - from;
        }
        horizon(start)
    }

    /// `at` where it is open then, else the next opening; `None` where there is none within
    /// [`HORIZON_DAYS`].
    pub fn next_open(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at, horizon(at)).next().map(|(from, _)| Timestamp::from_millis(from))
    }

    /// The end of the opening that `at` lies in; `None` where it is closed then, or never closes.
    pub fn closes_at(&self, at: Timestamp) -> Option<Timestamp> {
        let mut end = None;
        for (from, until) in self.spans(at, at.plus_ms(8 * DAY)) {
            match end {
                None if from == clamp(at) => end = Some(until),
                Some(e) if e == from => end = Some(until),
                _ => break,
            }
        }
        end.filter(|&e| e < clamp(at.plus_ms(8 * DAY))).map(Timestamp::from_millis)
    }

    /// Opening times within the range, in order; touching ones are not merged. Milliseconds.
    pub(crate) fn spans(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = (i64, i64)> + '_ {
        let end = clamp(until.min(horizon(from)));
        let mut cursor = clamp(from);
        std::iter::from_fn(move || {
            if cursor >= end {
                return None;
            }
            let chunk = self.chunk(cursor, end);
            cursor = chunk.1;
            Some(chunk)
        })
        .flat_map(move |(a, b, offset)| {
            let midnight = (a + offset).div_euclid(DAY) * DAY - offset;
            let date = self.local(a).date();
            self.hours_on(date).iter().filter_map(move |i| {
                let from = (midnight + i64::from(i.from_min) * MINUTE).max(a);
                let until = (midnight + i64::from(i.until_min) * MINUTE).min(b);
                (from < until).then_some((from, until))
            })
        })
    }

    /// The longest stretch from `at` within one local date and one UTC offset: start, end, offset.
    fn chunk(&self, at: i64, end: i64) -> (i64, i64, i64) {
        let offset = self.offset_ms(at);
        let midnight = ((at + offset).div_euclid(DAY) + 1) * DAY - offset;
        let stop = midnight.min(end);
        let mut same = at;
        while same < stop {
            let probe = (same + PROBE).min(stop);
            if self.offset_ms(probe - 1) != offset {
                // The millisecond before `same` was seen to have the offset; `same` itself was not.
                let (mut low, mut high) = (at.max(same - 1), probe - 1);
                while high - low > 1 {
                    let middle = low + (high - low) / 2;
                    if self.offset_ms(middle) == offset { low = middle } else { high = middle }
                }
                return (at, high, offset);
            }
            same = probe;
        }
        (at, stop, offset)
    }

    pub(crate) fn hours_on(&self, date: NaiveDate) -> &[Interval] {
        match self.special.get(&date) {
            Some(special) => &special.hours,
            None => self.weekly.get(date.weekday().num_days_from_monday() as usize).map_or(&[], Vec::as_slice),
        }
    }

    /// The wall clock in the calendar's zone.
    pub(crate) fn local(&self, ms: i64) -> NaiveDateTime {
        let utc = utc(ms);
        self.zone.from_utc_datetime(&utc).naive_local()
    }

    fn offset_ms(&self, ms: i64) -> i64 {
        i64::from(self.zone.offset_from_utc_datetime(&utc(ms)).fix().local_minus_utc()) * 1_000
    }
}

fn utc(ms: i64) -> NaiveDateTime {
    DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::UNIX_EPOCH).naive_utc()
}

/// Within the years 1900 to 2300, which every date type here can hold.
pub(crate) fn clamp(at: Timestamp) -> i64 {
    at.as_millis().clamp(-2_208_988_800_000, 10_413_792_000_000)
}

fn horizon(from: Timestamp) -> Timestamp {
    Timestamp::from_millis(clamp(from)).plus_ms(HORIZON_DAYS * DAY)
}

#[cfg(test)]
#[path = "calendar_tests.rs"]
mod tests;
