use super::*;
use crate::testing::{at, calendar, office};
use proptest::prelude::*;

const WEEK: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[test]
fn open_is_what_the_local_clock_says() {
    let office = office();
    assert!(!office.is_open(at("2026-11-20 00:59")));
    assert!(office.is_open(at("2026-11-20 01:00")));
    assert!(office.is_open(at("2026-11-20 09:59")));
    assert!(!office.is_open(at("2026-11-20 10:00")));
    assert!(!office.is_open(at("2026-11-21 02:00")));
    assert_eq!(office.next_open(at("2026-11-20 10:00")), Some(at("2026-11-23 01:00")));
    assert_eq!(office.closes_at(at("2026-11-20 02:00")), Some(at("2026-11-20 10:00")));
    assert_eq!(office.closes_at(at("2026-11-20 10:00")), None);
}

#[test]
fn a_deadline_at_closing_time_does_not_move_to_the_next_day() {
    let office = office();
    assert_eq!(office.add_open_ms(at("2026-11-20 09:50"), 10 * MINUTE), at("2026-11-20 10:00"));
    assert_eq!(office.add_open_ms(at("2026-11-20 09:50"), 10 * MINUTE + 1), at("2026-11-23 01:00").plus_ms(1));
    assert_eq!(office.add_open_ms(at("2026-11-20 09:50"), 0), at("2026-11-20 09:50"));
}

#[test]
fn holidays_close_and_special_hours_replace() {
    let mut draft = CalendarDraft::from(office());
    draft.holidays = serde_json::from_str(
        r#"[{"date":"2026-10-01"},{"date":"2026-10-02"},{"date":"2026-10-03","hours":[{"from":"10:00","to":"12:00"}]}]"#,
    )
    .unwrap();
    let calendar = draft.validate().unwrap();
    assert!(!calendar.is_open(at("2026-10-01 03:00")));
    assert!(calendar.is_open(at("2026-10-03 03:00")), "a Saturday with special hours");
    assert_eq!(calendar.open_ms_between(at("2026-09-30 16:00"), at("2026-10-04 16:00")), 120 * MINUTE);
}

#[test]
fn the_repeated_hour_counts_twice_and_the_skipped_one_never() {
    // New York, 2026-11-01: 02:00 EDT becomes 01:00 EST; 2026-03-08: 02:00 becomes 03:00.
    let nights = calendar("America/New_York", &WEEK, &[("00:30", "01:30"), ("02:00", "03:00")], &[]);
    assert_eq!(nights.open_ms_between(at("2026-11-01 04:00"), at("2026-11-01 10:00")), 150 * MINUTE);
    assert!(nights.is_open(at("2026-11-01 05:15")));
    assert!(!nights.is_open(at("2026-11-01 05:45")));
    assert!(nights.is_open(at("2026-11-01 06:15")));
    assert_eq!(nights.open_ms_between(at("2026-03-08 05:00"), at("2026-03-08 11:00")), 60 * MINUTE);
}

#[test]
fn far_sums_saturate_and_odd_times_do_no_harm() {
    let office = office();
    let start = at("2026-11-20 01:00");
    assert_eq!(office.add_open_ms(start, i64::MAX), start.plus_ms(HORIZON_DAYS * DAY));
    for odd in [i64::MIN, -1, i64::MAX] {
        let odd = Timestamp::from_millis(odd);
        let _ = (office.is_open(odd), office.next_open(odd), office.add_open_ms(odd, 1), office.closes_at(odd));
        let _ = office.open_ms_between(Timestamp::from_millis(i64::MIN), odd);
    }
    assert_eq!(Calendar::always("all".parse().unwrap()).closes_at(start), None);
}

/// Zones with half-hour offsets, folds at midnight, and a day that never was.
const ZONES: [(&str, &str); 7] = [
    ("Asia/Shanghai", "2026-11-20 00:00"),
    ("America/New_York", "2026-10-31 00:00"),
    ("America/New_York", "2026-03-07 00:00"),
    ("Australia/Lord_Howe", "2026-04-04 00:00"),
    ("America/St_Johns", "2010-11-06 00:00"),
    ("Pacific/Apia", "2011-12-28 00:00"),
    ("Africa/Casablanca", "2026-02-14 00:00"),
];

fn any_calendar() -> impl Strategy<Value = (Calendar, Timestamp)> {
    let hours = proptest::collection::vec((0u16..1_440, 1u16..600), 1..4);
    (0..ZONES.len(), proptest::collection::vec(hours, 7), proptest::collection::vec(0i64..6, 0..2)).prop_map(
        |(zone, week, closed)| {
            let (zone, start) = ZONES[zone];
            let start = at(start);
            let mut weekly: [Vec<Interval>; 7] = Default::default();
            for (day, list) in week.into_iter().enumerate() {
                let mut free = 0;
                let mut list = list;
                list.sort();
                for (from, length) in list {
                    let (from_min, until_min) = (from.max(free), (from.max(free) + length).min(1_440));
                    if from_min < until_min {
                        weekly[day].push(Interval { from_min, until_min });
                        free = until_min + 1;
                    }
                }
            }
            let mut calendar =
                Calendar { name: "x".parse().unwrap(), zone: zone.parse().unwrap(), weekly, special: BTreeMap::new() };
            for day in closed {
                let date = calendar.local(start.plus_ms(day * DAY).as_millis()).date();
                calendar.special.insert(date, Special { label: None, hours: vec![] });
            }
            (calendar, start)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..Default::default() })]

    /// Sums and deadlines agree with asking every single minute.
    #[test]
    fn agrees_with_a_minute_by_minute_count(
        (calendar, start) in any_calendar(), offset in 0i64..2_880, length in 0i64..5_760, wanted in 1i64..2_000,
    ) {
        let from = start.plus_ms(offset * MINUTE);
        let until = from.plus_ms(length * MINUTE);
        let mut open = 0;
        let mut reached = None;
        let mut first = None;
        for minute in 0..12 * 1_440i64 {
            let at = from.plus_ms(minute * MINUTE);
            if calendar.is_open(at) {
                first.get_or_insert(at);
                if minute < length { open += 1; }
                if reached.is_none() {
                    let so_far = calendar.open_ms_between(from, at) / MINUTE;
                    if so_far + 1 == wanted { reached = Some(at.plus_ms(MINUTE)); }
                }
            }
            if minute >= length && reached.is_some() { break; }
        }
        prop_assert_eq!(calendar.open_ms_between(from, until), open * MINUTE);
        if let Some(reached) = reached {
            prop_assert_eq!(calendar.add_open_ms(from, wanted * MINUTE), reached);
        }
        prop_assert_eq!(calendar.next_open(from), first);
    }

    /// Adding the time between two moments gives the earliest moment with that sum.
    #[test]
    fn adding_and_measuring_are_inverse((calendar, start) in any_calendar(), offset in 0i64..400_000_000, ms in 1i64..90_000_000) {
        let from = start.plus_ms(offset);
        let deadline = calendar.add_open_ms(from, ms);
        if calendar.weekly.iter().any(|d| !d.is_empty()) && deadline < from.plus_ms(3_000 * DAY) {
            prop_assert_eq!(calendar.open_ms_between(from, deadline), ms);
            prop_assert!(calendar.open_ms_between(from, deadline.plus_ms(-1)) < ms);
        }
    }
}
