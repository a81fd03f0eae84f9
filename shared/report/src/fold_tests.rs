use super::*;
use crate::{CounterRow, summarise};
use hotline_base::FactBody;
use serde_json::json;
use std::collections::BTreeMap;

const AGENT: &str = "agt_00000000000000000000000009";
const OFFER: &str = "off_00000000000000000000000001";

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(1_795_168_800_000 + minute * 60_000)
}

/// What a journey of one contact leaves; `wait_s` before the answer, or before giving up.
fn journey(minute: i64, wait_s: i64, answered: bool) -> Vec<(&'static str, &'static str, Value, Timestamp)> {
    let queue = "technical";
    let mut facts = vec![(
        "contact",
        "ContactEnqueued",
        json!({"fact": "contact_enqueued", "queue": queue, "credit_ms": 0, "since": 0}),
        at(minute),
    )];
    if answered {
        facts.push(("contact", "OfferAccepted", json!({"fact": "offer_accepted", "offer": OFFER, "agent": AGENT, "queue": queue, "wait_ms": wait_s * 1_000, "ring_ms": 2_000}), at(minute)));
        facts.push(("contact", "AgentLegEnded", json!({"fact": "agent_leg_ended", "offer": OFFER, "agent": AGENT, "queue": queue, "talk_ms": 60_000, "agent_first": true}), at(minute + 1)));
        facts.push(("agent", "StateEntered", json!({"fact": "StateEntered", "agent": AGENT, "from": "wrap_up", "to": "available", "for_ms": 30_000, "reason": "wrapped-up", "contact": null, "queue": queue}), at(minute + 2)));
    }
    facts.push(("contact", "ContactEnded", json!({
        "fact": "contact_ended", "contact": "con_00000000000000000000000001", "reason": "caller_hung_up", "cause": null,
        "arrived_at": 0, "did": "+8610", "from": "", "display_name": "", "lang": "zh", "category": null, "priority": "medium",
        "duration_ms": 90_000, "wait_ms": wait_s * 1_000, "talk_ms": 0, "queue": queue,
        "abandoned_after_ms": if answered { Value::Null } else { json!(wait_s * 1_000) },
        "agent": null, "interactions": i32::from(answered), "recordings": [], "voicemail": false, "callback": false,
        "survey": null, "quality": null,
    }), at(minute + 2)));
    facts
}

type Book = BTreeMap<(String, String), BTreeMap<String, i64>>;

fn book(facts: &[(&str, &str, Value, Timestamp)]) -> Book {
    let mut book = Book::new();
    for (kind, name, body, at) in facts {
        for increment in fold(kind, name, body, *at).unwrap() {
            let row = book.entry((increment.partition, increment.sort)).or_default();
            for (counter, n) in increment.counters {
                *row.entry(counter.to_string()).or_default() += n;
            }
        }
    }
    book
}

fn rows(book: &Book, partition: &str) -> Vec<CounterRow> {
    let of = book.iter().filter(|((p, _), _)| p == partition);
    of.map(|((_, sort), counters)| CounterRow {
        start: Timestamp::from_millis(sort.parse().unwrap()),
        counters: counters.clone(),
    })
    .collect()
}

fn day() -> Vec<(&'static str, &'static str, Value, Timestamp)> {
    [journey(0, 3, true), journey(1, 20, true), journey(16, 21, true), journey(17, 4, false), journey(18, 50, false)]
        .concat()
}

#[test]
fn figures_of_a_quarter_of_an_hour_and_of_all() {
    let book = book(&day());
    let technical: Name = "technical".parse().unwrap();
    let queues = BTreeMap::from([(technical.clone(), (20, rows(&book, "report/queue/technical")))]);
    let summary = summarise(&rows(&book, partition::ALL), &queues, INTERVAL_MS);
    let queue = &summary.queues[&technical];
    assert_eq!((queue.offered, queue.answered, queue.abandoned, queue.abandoned_short), (5, 3, 2, 1));
    // 2 of 3 answered within 20 s; one abandoned after 5 s counts against it.
    assert_eq!(queue.service_level_pct, Some(50.0));
    assert_eq!(queue.mean_wait_ms, Some(14_666));
    assert_eq!((queue.mean_talk_ms, queue.mean_handle_ms), (Some(60_000), Some(90_000)));
    assert_eq!(queue.longest_wait_within_ms, Some(60_000));
    assert_eq!((summary.ended, summary.contacts_answered), (5, 3));
    let offered: Vec<i64> = summary.intervals.iter().map(|i| i.figures.offered).collect();
    assert_eq!(offered, [2, 3]);
    assert_eq!(summarise(&[], &queues, 2 * INTERVAL_MS).intervals.len(), 1);
    assert_eq!(summary.total.service_level_pct, queue.service_level_pct);
}

#[test]
fn a_fact_adds_to_a_row_once() {
    for (kind, name, body, at) in day() {
        let mut rows: Vec<_> =
            fold(kind, name, &body, at).unwrap().into_iter().map(|i| (i.partition, i.sort)).collect();
        let count = rows.len();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), count, "{name}");
    }
}

#[test]
fn the_order_of_facts_does_not_matter() {
    let mut facts = day();
    let forward = book(&facts);
    facts.reverse();
    assert_eq!(book(&facts), forward);
}

#[test]
fn wait_classes_hold_their_upper_edge() {
    for (wait_ms, expected) in [
        (0, "answered_5"),
        (5_000, "answered_5"),
        (5_001, "answered_10"),
        (3_600_000, "answered_3600"),
        (3_600_001, "answered_more"),
    ] {
        assert_eq!(class(&ANSWERED, wait_ms), expected);
    }
}

#[test]
fn agents_and_tickets_are_counted() {
    let agent = format!("report/agent/{AGENT}");
    let figures = crate::AgentFigures::of(&rows(&book(&day()), &agent));
    assert_eq!((figures.answered, figures.handled, figures.talk_ms, figures.wrap_ms), (3, 3, 180_000, 90_000));
    let met = TicketFact::SlaMet { goal: Goal::Response, at: at(3), took_ms: 60_000, late: false };
    let late = TicketFact::SlaMet { goal: Goal::Response, at: at(3), took_ms: 180_000, late: true };
    let facts: Vec<_> =
        [&met, &late].iter().map(|f| ("ticket", f.name(), serde_json::to_value(f).unwrap(), at(3))).collect();
    let summary = summarise(&rows(&book(&facts), partition::ALL), &BTreeMap::new(), INTERVAL_MS);
    assert_eq!((summary.tickets.response_in_time_pct, summary.tickets.mean_response_ms), (Some(50.0), Some(120_000)));
}

#[test]
fn foreign_facts_add_nothing_and_broken_ones_are_named() {
    assert_eq!(fold("node", "NodeSeen", &json!({}), at(0)).unwrap(), []);
    let error = fold("contact", "ContactEnded", &json!({"fact": "contact_ended"}), at(0)).unwrap_err();
    assert!(error.to_string().contains("ContactEnded"), "{error}");
    assert_eq!(fold("contact", "LanguageSet", &json!({"fact": "language_set", "lang": "en"}), at(0)).unwrap(), []);
}
