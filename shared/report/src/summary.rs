//! Counters read back as figures.

use hotline_base::{Name, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::fold::{EDGES_S, WAIT_CLASSES};

/// A stored row of counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterRow {
    /// The start of its interval.
    pub start: Timestamp,
    /// Counters by name.
    pub counters: BTreeMap<String, i64>,
}

/// Figures of one queue, or of several together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct QueueFigures {
    /// Contacts that came to the queue.
    pub offered: i64,
    /// Contacts that an agent answered.
    pub answered: i64,
    /// Contacts whose caller left while waiting.
    pub abandoned: i64,
    /// Of these, within 5 seconds.
    pub abandoned_short: i64,
    /// Contacts that left it for another step of the flow.
    pub left: i64,
    /// Answered within the threshold, per cent of answered and abandoned without the short ones;
    /// `None` where there was neither.
    pub service_level_pct: Option<f64>,
    /// The threshold used, seconds.
    pub threshold_s: u32,
    /// Answered of offered, per cent.
    pub answer_rate_pct: Option<f64>,
    /// Mean wait of answered contacts, milliseconds.
    pub mean_wait_ms: Option<i64>,
    /// The longest wait lies at or below this, milliseconds; `None` where nobody waited or one
    /// waited more than an hour.
    pub longest_wait_within_ms: Option<i64>,
    /// Mean talk, milliseconds.
    pub mean_talk_ms: Option<i64>,
    /// Mean talk and wrap-up together, milliseconds.
    pub mean_handle_ms: Option<i64>,
    /// Conversations that ended.
    pub handled: i64,
    /// Offers that nobody took: declined, missed or unreachable.
    pub offers_lost: i64,
    /// Further agents after the first, over all contacts.
    pub transfers: i64,
    /// Call backs promised.
    pub callbacks: i64,
    /// Messages left.
    pub voicemails: i64,
    /// Scores given.
    pub surveys: i64,
    /// Mean score, 1 to 5.
    pub mean_score: Option<f64>,
    /// Scores of 4 and 5, per cent.
    pub satisfied_pct: Option<f64>,
}

/// The figures of one interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntervalFigures {
    /// Its start.
    pub start: Timestamp,
    /// All queues together.
    #[serde(flatten)]
    pub figures: QueueFigures,
}

/// Ticket figures of the tenant.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TicketFigures {
    /// Opened.
    pub opened: i64,
    /// Resolved; a ticket that came back counts each time.
    pub resolved: i64,
    /// Closed.
    pub closed: i64,
    /// Came back.
    pub reopened: i64,
    /// Went to a higher line of support.
    pub escalated: i64,
    /// First responses in time, per cent of those given.
    pub response_in_time_pct: Option<f64>,
    /// Mean counted time to the first response, milliseconds.
    pub mean_response_ms: Option<i64>,
    /// Response deadlines that passed.
    pub response_breaches: i64,
    /// Resolution deadlines that passed.
    pub resolution_breaches: i64,
    /// Mean counted time to the resolution, milliseconds.
    pub mean_resolution_ms: Option<i64>,
}

/// The figures of one agent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AgentFigures {
    /// Offers received.
    pub offers: i64,
    /// Offers answered.
    pub answered: i64,
    /// Offers not taken: declined, missed or unreachable.
    pub lost: i64,
    /// Conversations that ended.
    pub handled: i64,
    /// In conversations, milliseconds.
    pub talk_ms: i64,
    /// In wrap-up, milliseconds.
    pub wrap_ms: i64,
    /// Waiting for work, milliseconds.
    pub available_ms: i64,
    /// Away, milliseconds.
    pub away_ms: i64,
    /// Talking or wrapping up, per cent of the time ready for work or at work.
    pub occupancy_pct: Option<f64>,
    /// Mean score, 1 to 5.
    pub mean_score: Option<f64>,
}

/// A summary report.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Contacts that came.
    pub contacts: i64,
    /// Contacts that are over.
    pub ended: i64,
    /// Calls that limits did not let in: of one caller too many.
    #[serde(default)]
    pub refused_by_caller: i64,
    /// Calls that limits did not let in: of the tenant too many.
    #[serde(default)]
    pub refused_by_tenant: i64,
    /// Contacts that spoke to an agent.
    pub contacts_answered: i64,
    /// All queues together.
    pub total: QueueFigures,
    /// Each queue.
    pub queues: BTreeMap<Name, QueueFigures>,
    /// All queues together, interval by interval, oldest first; intervals without facts are absent.
    pub intervals: Vec<IntervalFigures>,
    /// Tickets.
    pub tickets: TicketFigures,
}

type Counters = BTreeMap<String, i64>;

fn add(into: &mut Counters, from: &Counters) {
    for (name, n) in from {
        let slot = into.entry(name.clone()).or_default();
        *slot = slot.saturating_add(*n);
    }
}

fn get(counters: &Counters, name: &str) -> i64 {
    counters.get(name).copied().unwrap_or(0)
}

fn mean(sum: i64, count: i64) -> Option<i64> {
    (count > 0).then(|| sum / count)
}

fn pct(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 1_000.0).round() / 10.0)
}

/// Contacts of a class within `threshold_s`.
fn within(counters: &Counters, classes: &[&str; 15], threshold_s: u32) -> i64 {
    let classes = EDGES_S.iter().zip(classes).filter(|(edge, _)| **edge <= threshold_s);
    classes.map(|(_, name)| get(counters, name)).sum()
}

/// How a queue did over a window, in whole per cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// Answered and abandoned, without those that left within 5 seconds.
    pub counted: u32,
    /// Of these, answered within the threshold; `None` where there are none.
    pub service_level_pct: Option<u32>,
    /// Of these, abandoned; `None` where there are none.
    pub abandoned_pct: Option<u32>,
}

/// A queue's counters as percentages, for thresholds.
pub fn window(counters: &BTreeMap<String, i64>, threshold_s: u32) -> Window {
    let (answered, abandoned) = (get(counters, "answered"), get(counters, "abandoned"));
    let left = (abandoned - within(counters, &WAIT_CLASSES.1, 5)).max(0);
    let counted = answered.saturating_add(left).max(0);
    let whole = |part: i64| (counted > 0).then(|| u32::try_from(part.clamp(0, counted) * 100 / counted).unwrap_or(100));
    Window {
        counted: u32::try_from(counted).unwrap_or(u32::MAX),
        service_level_pct: whole(within(counters, &WAIT_CLASSES.0, threshold_s)),
        abandoned_pct: whole(left),
    }
}

impl QueueFigures {
    fn of(counters: &Counters, threshold_s: u32, good: i64) -> Self {
        let (answered, abandoned) = (get(counters, "answered"), get(counters, "abandoned"));
        let abandoned_short = within(counters, &WAIT_CLASSES.1, 5);
        let (handled, surveys) = (get(counters, "handled"), get(counters, "surveys"));
        let (talk, wrap) = (get(counters, "talk_ms"), get(counters, "wrap_ms"));
        let (answered_classes, abandoned_classes) = WAIT_CLASSES;
        let used = |i: usize| {
            [answered_classes, abandoned_classes].iter().any(|c| c.get(i).is_some_and(|name| get(counters, name) > 0))
        };
        let longest = (0..answered_classes.len()).rev().find(|&i| used(i));
        Self {
            offered: get(counters, "offered"),
            answered,
            abandoned,
            abandoned_short,
            left: get(counters, "left"),
            service_level_pct: pct(good, answered + abandoned - abandoned_short),
            threshold_s,
            answer_rate_pct: pct(answered, get(counters, "offered")),
            mean_wait_ms: mean(get(counters, "wait_ms"), answered),
            longest_wait_within_ms: longest.and_then(|i| EDGES_S.get(i)).map(|&s| i64::from(s) * 1_000),
            mean_talk_ms: mean(talk, handled),
            mean_handle_ms: mean(talk + wrap, handled),
            handled,
            offers_lost: ["declined", "missed", "unreachable"].iter().map(|name| get(counters, name)).sum(),
            transfers: get(counters, "transfers"),
            callbacks: get(counters, "callbacks"),
            voicemails: get(counters, "voicemails"),
            surveys,
            mean_score: (surveys > 0)
                .then(|| (get(counters, "survey_sum") as f64 / surveys as f64 * 100.0).round() / 100.0),
            satisfied_pct: pct(get(counters, "satisfied"), surveys),
        }
    }
}

/// The figures of a period from its rows: those of the tenant, and those of each queue with the
/// queue's threshold in seconds. Intervals are joined into ones of `interval_ms` (a multiple of
/// [`crate::INTERVAL_MS`]; from the epoch on).
///
/// The service level of several queues together counts each contact by its own queue's threshold.
pub fn summarise(all: &[CounterRow], queues: &BTreeMap<Name, (u32, Vec<CounterRow>)>, interval_ms: i64) -> Summary {
    let mut tenant = Counters::new();
    all.iter().for_each(|row| add(&mut tenant, &row.counters));
    let mut total = Counters::new();
    let mut good_total = 0;
    let mut intervals: BTreeMap<Timestamp, (Counters, i64)> = BTreeMap::new();
    let mut by_queue = BTreeMap::new();
    let mut thresholds: Vec<u32> = Vec::new();
    for (name, (threshold_s, rows)) in queues {
        let mut counters = Counters::new();
        let mut good_queue = 0;
        for row in rows {
            let good = within(&row.counters, &WAIT_CLASSES.0, *threshold_s);
            let width = interval_ms.max(1);
            let start = Timestamp::from_millis(row.start.as_millis().div_euclid(width) * width);
            let slot = intervals.entry(start).or_default();
            add(&mut slot.0, &row.counters);
            slot.1 += good;
            good_queue += good;
            add(&mut counters, &row.counters);
        }
        add(&mut total, &counters);
        good_total += good_queue;
        thresholds.push(*threshold_s);
        by_queue.insert(name.clone(), QueueFigures::of(&counters, *threshold_s, good_queue));
    }
    let threshold = thresholds.iter().copied().max().unwrap_or_default();
    Summary {
        contacts: get(&tenant, "contacts"),
        ended: get(&tenant, "ended"),
        refused_by_caller: get(&tenant, "refused_by_caller"),
        refused_by_tenant: get(&tenant, "refused_by_tenant"),
        contacts_answered: get(&tenant, "contacts_answered"),
        total: QueueFigures::of(&total, threshold, good_total),
        queues: by_queue,
        intervals: intervals
            .into_iter()
            .map(|(start, (counters, good))| IntervalFigures {
                start,
                figures: QueueFigures::of(&counters, threshold, good),
            })
            .collect(),
        tickets: tickets(&tenant),
    }
}

fn tickets(counters: &Counters) -> TicketFigures {
    let (responses, resolutions) = (get(counters, "responses"), get(counters, "resolutions"));
    TicketFigures {
        opened: get(counters, "tickets"),
        resolved: get(counters, "tickets_resolved"),
        closed: get(counters, "tickets_closed"),
        reopened: get(counters, "tickets_reopened"),
        escalated: get(counters, "tickets_escalated"),
        response_in_time_pct: pct(responses - get(counters, "responses_late"), responses),
        mean_response_ms: mean(get(counters, "response_ms"), responses),
        response_breaches: get(counters, "response_breaches"),
        resolution_breaches: get(counters, "resolution_breaches"),
        mean_resolution_ms: mean(get(counters, "resolution_ms"), resolutions),
    }
}

impl AgentFigures {
    /// The figures of an agent from its rows.
    pub fn of(rows: &[CounterRow]) -> Self {
        let mut c = Counters::new();
        rows.iter().for_each(|row| add(&mut c, &row.counters));
        let work = get(&c, "busy_ms") + get(&c, "wrap_ms") + get(&c, "offered_ms");
        let surveys = get(&c, "surveys");
        Self {
            offers: get(&c, "offers"),
            answered: get(&c, "answered"),
            lost: ["declined", "missed", "unreachable"].iter().map(|name| get(&c, name)).sum(),
            handled: get(&c, "handled"),
            talk_ms: get(&c, "talk_ms"),
            wrap_ms: get(&c, "wrap_ms"),
            available_ms: get(&c, "available_ms"),
            away_ms: get(&c, "away_ms"),
            occupancy_pct: pct(work, work + get(&c, "available_ms")),
            mean_score: (surveys > 0).then(|| (get(&c, "survey_sum") as f64 / surveys as f64 * 100.0).round() / 100.0),
        }
    }
}
