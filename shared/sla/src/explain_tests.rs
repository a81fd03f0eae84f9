use super::*;
use crate::testing::{at, calendar, office};

const MIN: i64 = 60_000;

fn told(clock: &Clock, hours: Hours<'_>, lang: Lang) -> String {
    explain(clock, hours, lang).lines.join("\n")
}

#[test]
fn friday_evening_leads_to_monday_morning() {
    let office = office();
    let hours = Hours::Business(&office);
    let clock = Clock::start(Goal::Response, 15 * MIN, hours, at("2026-11-20 09:50"));
    assert_eq!(
        told(&clock, hours, Lang::En),
        "First response promised within 15 min (business hours of calendar \"office\", times in Asia/Shanghai).\n\
         Received Fri 2026-11-20 17:50.\n\
         Fri 2026-11-20 17:50, office closes Fri 2026-11-20 18:00: 10 min counted (10 min of 15 min).\n\
         Closed from Fri 2026-11-20 18:00 to Mon 2026-11-23 09:00: nothing counted.\n\
         Mon 2026-11-23 09:00 + 5 min = Mon 2026-11-23 09:05: the deadline."
    );
    assert_eq!(
        told(&clock, hours, Lang::Zh),
        "承诺15分钟内首次响应（按日历“office”的工作时间计时，时区Asia/Shanghai）。\n\
         2026-11-20 周五 17:50 受理。\n\
         2026-11-20 周五 17:50 起，2026-11-20 周五 18:00 下班：计时10分钟（累计10分钟/15分钟）。\n\
         2026-11-20 周五 18:00 至 2026-11-23 周一 09:00 休息：不计时。\n\
         2026-11-23 周一 09:00 + 5分钟 = 2026-11-23 周一 09:05，即截止时间。"
    );
}

#[test]
fn pauses_holidays_and_the_outcome_are_told() {
    let closed = [("2026-10-01", "国庆节"), ("2026-10-02", "国庆节")];
    let calendar = calendar("Asia/Shanghai", &["wed", "thu", "fri", "mon"], &[("09:00", "18:00")], &closed);
    let hours = Hours::Business(&calendar);
    let mut clock = Clock::start(Goal::Resolution, 120 * MIN, hours, at("2026-09-30 08:00"));
    clock.pause(hours, at("2026-09-30 08:30"));
    clock.resume(hours, at("2026-09-30 09:30"));
    assert_eq!(
        told(&clock, hours, Lang::En).lines().skip(2).collect::<Vec<_>>().join("\n"),
        "Wed 2026-09-30 16:00 to Wed 2026-09-30 16:30: 30 min counted (30 min of 2 h).\n\
         Waiting for the customer from Wed 2026-09-30 16:30 to Wed 2026-09-30 17:30: nothing counted.\n\
         Wed 2026-09-30 17:30, office closes Wed 2026-09-30 18:00: 30 min counted (1 h of 2 h).\n\
         Closed from Wed 2026-09-30 18:00 to Mon 2026-10-05 09:00 (holiday: 国庆节): nothing counted.\n\
         Mon 2026-10-05 09:00 + 1 h = Mon 2026-10-05 10:00: the deadline."
    );
    clock.breach();
    clock.meet(hours, at("2026-10-05 02:30"));
    assert!(told(&clock, hours, Lang::En).ends_with(
        "Done Mon 2026-10-05 10:30, 30 min after the deadline Mon 2026-10-05 10:00.\n\
         The promise was broken Mon 2026-10-05 10:00."
    ));
}

#[test]
fn a_changed_calendar_and_a_long_count_are_admitted() {
    let office = office();
    let clock = Clock::start(Goal::Resolution, 60 * 60 * 24 * 1_000, Hours::Business(&office), at("2026-11-20 01:00"));
    let explained = explain(&clock, Hours::Business(&office), Lang::En);
    assert!(explained.lines.len() < 40, "{}", explained.lines.len());
    let last_kept = explained.lines.last().cloned().unwrap_or_default();
    assert!(last_kept.contains("the deadline."), "{last_kept}");
    let other = calendar("Asia/Shanghai", &["mon"], &[("09:00", "10:00")], &[]);
    let text = told(&clock, Hours::Business(&other), Lang::En);
    assert!(text.ends_with("stays in force."), "{text}");
}

#[test]
fn every_told_deadline_is_the_stored_one() {
    let office = office();
    for minutes in [1, 59, 541, 3_000, 9_999] {
        for hours in [Hours::Always, Hours::Business(&office)] {
            let clock = Clock::start(Goal::Response, minutes * MIN, hours, at("2026-11-18 07:13"));
            let explained = explain(&clock, hours, Lang::En);
            let deadline = clock.deadline().unwrap();
            assert_eq!(explained.deadline, Some(deadline));
            let local = match hours {
                Hours::Always => DateTime::from_timestamp_millis(deadline.as_millis()).unwrap().naive_utc(),
                Hours::Business(c) => c.local(deadline.as_millis()),
            };
            let expected = format!("= {}: the deadline.", day_time(local, Lang::En));
            assert!(explained.lines.last().unwrap().ends_with(&expected), "{:?}", explained.lines);
        }
    }
}
