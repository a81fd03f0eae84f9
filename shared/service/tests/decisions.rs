//! Decisions questioned: replayed from what is stored, and a period run again under other rules.

mod common;

use common::{AGENT, PATIENT, TENANT, World, name};
use futures::executor::block_on;
use hotline_base::{IndexRow, Timestamp};
use hotline_routing::whatif::{Rules, Seen};
use hotline_service::{ServiceError, agents, matching, replay, whatif};
use hotline_wire::node::{CallEvent, EndCause};
use serde_json::json;

/// A call that waits, is answered and lasts so long.
fn served(world: &mut World, wait_ms: i64, talk_ms: i64) -> common::Call {
    let (mut call, _) = world.call();
    world.pass_ms(wait_ms);
    world.available();
    let ring = world.ring(&mut call);
    world.pass_ms(2_000);
    world.send(&mut call, CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    world.pass_ms(talk_ms);
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    block_on(agents::end_wrap_up(&world.service, TENANT, AGENT)).unwrap();
    let away = hotline_routing::agent::Requested::Away { reason: name("pause") };
    block_on(agents::request_state(&world.service, TENANT, AGENT, away)).unwrap();
    world.settle();
    call
}

#[test]
fn a_stored_decision_replays_byte_for_byte_and_a_changed_one_is_noticed() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    let call = served(&mut world, 5_000, 20_000);
    let again = block_on(replay::replay(&world.service, TENANT, call.contact)).unwrap();
    assert_eq!(again.len(), 1);
    assert!(again[0].agrees);
    assert_eq!(again[0].stored_sha256, again[0].replayed_sha256);
    assert!(again[0].bytes < 1_500, "{}", again[0].bytes);

    // Somebody else is said to have been chosen.
    let store = world.memory.ports().store;
    let partition = matching::decisions_partition(call.contact);
    let rows = world.memory.store.all_rows();
    let (_, row) = rows.into_iter().find(|(_, row)| row.partition == partition).unwrap();
    let other = hotline_base::AgentId::from_u128(999).to_string();
    let (head, tail) = row.body.split_once("\"decision\"").unwrap();
    let body = format!("{head}\"decision\"{}", tail.replace(&AGENT.to_string(), &other));
    block_on(store.put_row(TENANT, IndexRow { body, ..row }, None)).unwrap();
    let again = block_on(replay::replay(&world.service, TENANT, call.contact)).unwrap();
    assert!(!again[0].agrees);
    assert_ne!(again[0].stored, again[0].replayed);
}

fn rules(value: serde_json::Value) -> Rules {
    serde_json::from_value(value).unwrap()
}

fn moment(ms: i64) -> Timestamp {
    Timestamp::from_millis(common::START + ms)
}

#[test]
fn a_period_is_read_back_from_its_facts() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    served(&mut world, 5_000, 20_000);
    let (mut left, _) = world.call();
    world.pass_ms(40_000);
    world.send(&mut left, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    let (period, truncated) = block_on(whatif::record(&world.service, TENANT, moment(0), moment(900_000))).unwrap();
    assert!(!truncated);
    let seen: Vec<Seen> = period.calls.iter().flat_map(|call| &call.visits).map(|visit| visit.seen).collect();
    assert_eq!(
        seen,
        [
            Seen::Answered { wait_ms: 7_000, ring_ms: 2_000, talk_ms: 20_000, wrap_ms: Some(0) },
            Seen::Abandoned { wait_ms: 40_000 }
        ]
    );
    let shifts = &period.staff[0].shifts;
    assert_eq!((shifts.len(), shifts[0].from, shifts[0].to), (1, moment(5_000), moment(27_000)));
    assert_eq!(period.staff[0].occupied_ms, 22_000, "2 s of ringing and 20 s of talk");
}

#[test]
fn more_people_would_have_answered_sooner() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    for _ in 0..3 {
        served(&mut world, 50_000, 60_000);
    }
    let (from, to) = (moment(0), world.service.now());
    let more = rules(json!({"staffing": [{"add": 1, "queues": ["technical"]}]}));
    let told = block_on(whatif::compare(&world.service, TENANT, from, to, &more)).unwrap();
    assert_eq!((told.calls, told.agents), (3, 1));
    assert_eq!(told.recorded.total.service_level_pct, Some(0.0));
    // The agent came 50 s after each caller: the model says what was.
    assert_eq!(told.present.total.wait_p50_ms, Some(52_000));
    assert_eq!(told.recorded.total.wait_p50_ms, Some(52_000));
    assert_eq!(told.changed.total.wait_p50_ms, Some(2_000));
    assert_eq!(told.changed.total.service_level_pct, Some(100.0));
    let again = block_on(whatif::compare(&world.service, TENANT, from, to, &more)).unwrap();
    assert_eq!(told, again);
}

#[test]
fn an_old_agent_with_a_long_history_is_found_by_halving() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    for _ in 0..20 {
        served(&mut world, 1_000, 3_000);
        world.pass_ms(600_000);
        world.sign_in();
    }
    let from = world.service.now();
    world.sign_in();
    served(&mut world, 4_000, 10_000);
    let (period, _) = block_on(whatif::record(&world.service, TENANT, from, from.plus_ms(900_000))).unwrap();
    assert_eq!(period.calls.len(), 1);
    let shift = period.staff[0].shifts[0];
    assert_eq!((shift.from, shift.to), (from.plus_ms(4_000), from.plus_ms(16_000)));
}

#[test]
fn mistakes_name_their_fields() {
    let world = World::new(PATIENT);
    let compare = |from, to, value| block_on(whatif::compare(&world.service, TENANT, from, to, &rules(value)));
    let told = |result: Result<_, ServiceError>| match result {
        Err(ServiceError::Invalid(invalid)) => invalid.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(told(compare(moment(5), moment(5), json!({}))).contains("to: not after"));
    assert!(told(compare(moment(0), moment(8 * 86_400_000), json!({}))).contains("from: more than 7 days"));
    let wrong = json!({"queues": {"nowhere": {}}, "staffing": [{"add": 0, "queues": ["technical"]}]});
    let text = told(compare(moment(0), moment(60_000), wrong));
    assert!(text.contains("rules.queues.nowhere: no such queue"), "{text}");
    assert!(text.contains("rules.staffing[0].add: is 0"), "{text}");
}
