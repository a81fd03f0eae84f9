//! How a deadline came about, in words.

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};
use hotline_base::{Lang, Timestamp};
use serde::{Deserialize, Serialize};

use crate::calendar::{Calendar, Hours, clamp};
use crate::clock::{Clock, Goal, Phase};

/// Openings told one by one at either end of a long count.
const TOLD: usize = 6;

/// A deadline with the steps that lead to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The deadline in force; `None` while the clock is paused.
    pub deadline: Option<Timestamp>,
    /// One sentence a step, oldest first.
    pub lines: Vec<String>,
}

/// Tells how a clock's deadline came about. `hours` is what the clock was run with; where the
/// calendar was changed since, the last line says so.
pub fn explain(clock: &Clock, hours: Hours<'_>, lang: Lang) -> Explanation {
    let mut teller = Teller { hours, lang, lines: Vec::new(), counted: 0, target: clock.target_ms() };
    teller.promise(clock);
    let mut last_end = None;
    for run in clock.runs() {
        if let Some(end) = last_end {
            teller.paused(end, Some(run.from));
        }
        teller.run(run.from, run.until);
        last_end = Some(run.until);
    }
    match clock.phase() {
        Phase::Running { since, deadline } => {
            if let Some(end) = last_end {
                teller.paused(end, Some(since));
            }
            teller.until_deadline(since, deadline, clock.used_ms());
        }
        Phase::Paused { since } => teller.paused(since, None),
        Phase::Met { at, deadline } => teller.met(at, deadline),
    }
    if let Some(at) = clock.breached_at() {
        teller.breached(at);
    }
    Explanation { deadline: clock.deadline(), lines: teller.lines }
}

struct Teller<'a> {
    hours: Hours<'a>,
    lang: Lang,
    lines: Vec<String>,
    counted: i64,
    target: i64,
}

impl Teller<'_> {
    fn say(&mut self, en: String, zh: String) {
        self.lines.push(match self.lang {
            Lang::En => en,
            Lang::Zh => zh,
        });
    }

    fn promise(&mut self, clock: &Clock) {
        let target = span(clock.target_ms(), self.lang);
        let (goal_en, goal_zh) = match clock.goal() {
            Goal::Response => ("First response", "首次响应"),
            Goal::Resolution => ("Resolution", "解决"),
        };
        let (time_en, time_zh) = match self.hours {
            Hours::Always => ("all hours count, times in UTC".to_string(), "全天计时，时间为UTC".to_string()),
            Hours::Business(c) => (
                format!("business hours of calendar {:?}, times in {}", c.name().as_str(), c.time_zone()),
                format!("按日历“{}”的工作时间计时，时区{}", c.name(), c.time_zone()),
            ),
        };
        self.say(
            format!("{goal_en} promised within {target} ({time_en})."),
            format!("承诺{target}内{goal_zh}（{time_zh}）。"),
        );
        let start = self.day_time(clock.started_at());
        self.say(format!("Received {start}."), format!("{start} 受理。"));
    }

    /// A finished stretch of counting.
    fn run(&mut self, from: Timestamp, until: Timestamp) {
        let counted = self.hours.counted_ms(from, until);
        self.counted += counted;
        let (a, b) = (self.day_time(from), self.day_time(until));
        let (one, all, target) =
            (span(counted, self.lang), span(self.counted, self.lang), span(self.target, self.lang));
        self.say(
            format!("{a} to {b}: {one} counted ({all} of {target})."),
            format!("{a} 至 {b}：计时{one}（累计{all}/{target}）。"),
        );
    }

    /// The running stretch, opening by opening until the deadline.
    fn until_deadline(&mut self, since: Timestamp, deadline: Timestamp, used_ms: i64) {
        self.counted = used_ms;
        let left = (self.target - used_ms).max(0);
        let computed = self.hours.add_ms(since, left);
        let pieces = match self.hours {
            Hours::Always => vec![(since.as_millis(), computed.as_millis())],
            Hours::Business(calendar) => merged(calendar, since, computed),
        };
        let mut end = since.as_millis();
        let count = pieces.len();
        for (i, &(from, until)) in pieces.iter().enumerate() {
            if count > 2 * TOLD && (TOLD..count - TOLD).contains(&i) {
                self.counted += until - from;
                end = until;
                if i + 1 == count - TOLD {
                    let skipped = count - 2 * TOLD;
                    let all = span(self.counted, self.lang);
                    self.say(
                        format!("… {skipped} more openings ({all} counted by then)."),
                        format!("…… 其间另有{skipped}个开放时段（累计{all}）。"),
                    );
                }
                continue;
            }
            if from > end {
                self.closed(end, from);
            }
            let one = until - from;
            self.counted += one;
            let start = self.day_time(Timestamp::from_millis(from));
            let stop = self.day_time(Timestamp::from_millis(until));
            let length = span(one, self.lang);
            if i + 1 == count {
                self.say(
                    format!("{start} + {length} = {stop}: the deadline."),
                    format!("{start} + {length} = {stop}，即截止时间。"),
                );
            } else {
                let (all, target) = (span(self.counted, self.lang), span(self.target, self.lang));
                self.say(
                    format!("{start}, office closes {stop}: {length} counted ({all} of {target})."),
                    format!("{start} 起，{stop} 下班：计时{length}（累计{all}/{target}）。"),
                );
            }
            end = until;
        }
        if pieces.is_empty() {
            let when = self.day_time(deadline);
            self.say(format!("Nothing is left: the deadline was {when}."), format!("时间已用完：截止时间为{when}。"));
        }
        if computed != deadline {
            let when = self.day_time(deadline);
            self.say(
                format!("The calendar was changed since: the deadline set then, {when}, stays in force."),
                format!("日历此后有改动：当时定下的截止时间 {when} 仍然有效。"),
            );
        }
    }

    fn closed(&mut self, from: i64, until: i64) {
        let a = self.day_time(Timestamp::from_millis(from));
        let b = self.day_time(Timestamp::from_millis(until));
        let holidays = match self.hours {
            Hours::Always => Vec::new(),
            Hours::Business(calendar) => holidays(calendar, from, until),
        };
        let (en, zh) = if holidays.is_empty() {
            (String::new(), String::new())
        } else {
            (format!(" (holiday: {})", holidays.join(", ")), format!("（节假日：{}）", holidays.join("、")))
        };
        self.say(format!("Closed from {a} to {b}{en}: nothing counted."), format!("{a} 至 {b} 休息{zh}：不计时。"));
    }

    fn paused(&mut self, from: Timestamp, until: Option<Timestamp>) {
        let a = self.day_time(from);
        match until {
            Some(until) => {
                let b = self.day_time(until);
                self.say(
                    format!("Waiting for the customer from {a} to {b}: nothing counted."),
                    format!("{a} 至 {b} 等待客户：不计时。"),
                );
            }
            None => {
                let left = span((self.target - self.counted).max(0), self.lang);
                self.say(
                    format!("Waiting for the customer since {a}; {left} are left when work goes on."),
                    format!("{a} 起等待客户；恢复后剩余{left}。"),
                );
            }
        }
    }

    fn met(&mut self, at: Timestamp, deadline: Option<Timestamp>) {
        let when = self.day_time(at);
        match deadline {
            None => self
                .say(format!("Done {when}, while waiting for the customer."), format!("{when} 完成（等待客户期间）。")),
            Some(deadline) => {
                let limit = self.day_time(deadline);
                let gap = span((deadline - at).abs(), self.lang);
                if at <= deadline {
                    self.say(
                        format!("Done {when}, {gap} before the deadline {limit}."),
                        format!("{when} 完成，比截止时间 {limit} 早{gap}。"),
                    );
                } else {
                    self.say(
                        format!("Done {when}, {gap} after the deadline {limit}."),
                        format!("{when} 完成，比截止时间 {limit} 晚{gap}。"),
                    );
                }
            }
        }
    }

    fn breached(&mut self, at: Timestamp) {
        let when = self.day_time(at);
        self.say(format!("The promise was broken {when}."), format!("{when} 已超时。"));
    }

    fn day_time(&self, at: Timestamp) -> String {
        let local = match self.hours {
            Hours::Always => DateTime::from_timestamp_millis(clamp(at)).unwrap_or_default().naive_utc(),
            Hours::Business(calendar) => calendar.local(clamp(at)),
        };
        day_time(local, self.lang)
    }
}

fn day_time(local: NaiveDateTime, lang: Lang) -> String {
    let day = local.weekday().num_days_from_monday() as usize;
    let date = local.date();
    let mut clock = format!("{:02}:{:02}", local.hour(), local.minute());
    if local.second() != 0 {
        clock = format!("{clock}:{:02}", local.second());
    }
    match lang {
        Lang::En => {
            let name = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].get(day).unwrap_or(&"");
            format!("{name} {date} {clock}")
        }
        Lang::Zh => {
            let name = ["一", "二", "三", "四", "五", "六", "日"].get(day).unwrap_or(&"");
            format!("{date} 周{name} {clock}")
        }
    }
}

/// A length of time in its two largest units.
fn span(ms: i64, lang: Lang) -> String {
    let seconds = ms / 1_000;
    let (h, m, s) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let units = match lang {
        Lang::En => [" h", " min", " s"],
        Lang::Zh => ["小时", "分钟", "秒"],
    };
    let mut parts: Vec<String> =
        [h, m, s].iter().zip(units).filter(|(n, _)| **n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    parts.truncate(if h >= 24 { 2 } else { 3 });
    match (parts.is_empty(), lang) {
        (true, Lang::En) => "0 min".into(),
        (true, Lang::Zh) => "0分钟".into(),
        (false, Lang::En) => parts.join(" "),
        (false, Lang::Zh) => parts.concat(),
    }
}

/// Openings with touching ones joined.
fn merged(calendar: &Calendar, from: Timestamp, until: Timestamp) -> Vec<(i64, i64)> {
    let mut pieces: Vec<(i64, i64)> = Vec::new();
    for (a, b) in calendar.spans(from, until) {
        match pieces.last_mut() {
            Some(last) if last.1 == a => last.1 = b,
            _ => pieces.push((a, b)),
        }
    }
    pieces
}

/// Special dates within a closure, by label or date.
fn holidays(calendar: &Calendar, from: i64, until: i64) -> Vec<String> {
    let (first, last) = (calendar.local(from).date(), calendar.local(until).date());
    let mut found: Vec<String> = Vec::new();
    for (date, special) in calendar.special.range(first..=last) {
        let name = special.label.clone().unwrap_or_else(|| date.to_string());
        if special.hours.is_empty() && !found.contains(&name) {
            found.push(name);
        }
    }
    found.truncate(TOLD);
    found
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
