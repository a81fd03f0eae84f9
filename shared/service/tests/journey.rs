//! Whole calls over memory ports: what the caller, the agent and the back office see.

mod common;

use common::{AGENT, World, arrived};
use futures::executor::block_on;
use hotline_base::{ContactId, NodeId};
use hotline_contact::{Phase, RecordingStatus};
use hotline_ports::{Bucket, Range};
use hotline_routing::overflow::{OverflowAction, OverflowRule, OverflowWhen};
use hotline_routing::{AgentState, QueueConfig};
use hotline_service::config::{self, Kind};
use hotline_service::{ivr, matching, tickets};
use hotline_ticket::ticket_of;
use hotline_wire::node::{CallEvent, CallInput, EndCause, NodeAction, OfferFailure, Verb, VerbResult};
use std::collections::BTreeMap;

#[test]
fn a_call_from_the_first_ring_to_its_ticket() {
    let mut world = World::new(common::DEMO);
    world.sign_in();
    world.available();
    let (mut call, first) = world.call();
    assert!(first.fallback.is_some(), "pinned by the first decision");
    assert_eq!(call.words(), "answer gather", "{:?}", call.script);
    world.press(&mut call, "2");
    assert_eq!(call.words(), "play gather");
    world.press(&mut call, "1");
    assert_eq!(call.words(), "play hold");
    let Some(Verb::Hold { announce, .. }) = call.script.last() else { panic!("no hold") };
    assert_eq!(announce[0].prompts.len(), 6, "place and wait are said: {announce:?}");

    let ring = world.ring(&mut call);
    assert_eq!((ring.agent, ring.sip_user.as_str()), (AGENT, "fang.demo"));
    assert!(matches!(world.agent().state, AgentState::Offered { .. }));
    let offer = ring.offer;
    world.pass_ms(1_500);
    assert_eq!(world.send(&mut call, CallEvent::OfferRinging { offer }).script, None);
    world.pass_ms(2_500);
    assert_eq!(world.send(&mut call, CallEvent::OfferAnswered { offer, dialog: None }).script, None);
    assert!(matches!(world.agent().state, AgentState::Busy { .. }));
    world.pass_ms(60_000);

    world.send(&mut call, CallEvent::AgentLegEnded { offer, cause: EndCause::HungUp, reasons: vec![] });
    assert_eq!(call.words(), "gather", "the survey's question");
    assert!(matches!(world.agent().state, AgentState::WrapUp { .. }));
    world.press(&mut call, "5");
    assert_eq!(call.words(), "play hangup");
    let over = CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] };
    assert_eq!(world.send(&mut call, over).script, None);
    world.pass_ms(40_000);
    assert_eq!(world.agent().state, AgentState::Available, "wrap-up is over");

    let journey = world.journey(&call);
    let expected = "ContactArrived FlowStepEntered FlowStepEntered MenuChosen LanguageSet \
        FlowStepEntered FlowStepEntered FlowStepEntered MenuChosen CategorySet FlowStepEntered \
        ContactEnqueued OfferMade OfferRinging OfferAccepted LegsBridged RecordingStarted \
        AgentLegEnded FlowStepEntered SurveyAnswered FlowStepEntered ContactEnded";
    assert_eq!(journey.join(" "), expected.split_whitespace().collect::<Vec<_>>().join(" "));

    let ticket = block_on(tickets::get(&world.service, common::TENANT, ticket_of(call.contact)));
    let ticket = ticket.unwrap().expect("the end of the contact opened a ticket");
    assert_eq!(ticket.category.as_deref(), Some("technical"));
    assert_eq!(ticket.owner, Some(AGENT));
    assert_eq!(ticket.survey_score, Some(5));

    let rows = world.memory.store.all_rows();
    let mut counters = BTreeMap::<String, i64>::new();
    let parts = hotline_report::parts("report/queue/technical");
    for (_, row) in rows.iter().filter(|(_, row)| parts.contains(&row.partition)) {
        for (name, n) in serde_json::from_str::<BTreeMap<String, i64>>(&row.body).unwrap() {
            *counters.entry(name).or_default() += n;
        }
    }
    assert_eq!((counters["answered"], counters["wait_ms"]), (1, 4_000), "{counters:?}");
    let decisions = matching::decisions_partition(call.contact);
    assert_eq!(rows.iter().filter(|(_, row)| row.partition == decisions).count(), 1);
    assert!(world.memory.store.unsettled().is_empty());
}

#[test]
fn every_prompt_that_a_call_hears_is_an_object() {
    let mut world = World::new(common::DEMO);
    world.sign_in();
    world.available();
    let (mut call, first) = world.call();
    let mut scripts = vec![serde_json::to_value(&first).unwrap()];
    for key in ["1", "0"] {
        scripts.push(serde_json::to_value(world.press(&mut call, key)).unwrap());
    }
    let objects = block_on(world.memory.ports().objects.list(Bucket::Prompts, "", 10_000)).unwrap();
    let mut heard = Vec::new();
    for script in &scripts {
        keys(script, &mut heard);
    }
    assert!(heard.len() > 8, "{heard:?}");
    for key in heard {
        assert!(objects.contains(&key), "{key} was never made");
    }
}

fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            if let (Some("audio"), Some(key)) =
                (fields.get("type").and_then(|v| v.as_str()), fields.get("key").and_then(|v| v.as_str()))
            {
                found.push(key.into());
            }
            fields.values().for_each(|value| keys(value, found));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

/// A flow that waits even where nobody works.
const PATIENT: &str = "\
flow: patient
languages: [en]
start: wait
prompts:
  hello: {en: Please wait.}
  place: {en: \"You are number {position}.\"}
  bye: {en: Goodbye.}
steps:
  wait:
    queue: technical
    say: hello
    announce:
      - {every: 20s, say: place}
    max_wait: 5m
    on_max_wait: bye
    then: bye
  bye:
    hangup: bye
";

#[test]
fn who_waits_is_offered_when_an_agent_comes() {
    let mut world = World::new(PATIENT);
    let (mut first, _) = world.call();
    world.pass_ms(1_000);
    let (mut second, _) = world.call();
    assert_eq!(second.words(), "answer play hold");
    world.pass_ms(30_000);
    assert!(matches!(world.contact(&first).phase, Phase::Waiting(_)));
    world.sign_in();
    world.available();
    let ring = world.ring(&mut first);
    // The second one moves up and is told so.
    world.send(&mut first, CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    world.pass_ms(20_000);
    let told = world.commands(&mut second);
    assert!(matches!(told.as_slice(), [NodeAction::Announce { .. }]), "{told:?}");
    world.send(&mut first, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    assert!(matches!(world.agent().state, AgentState::WrapUp { .. }));
    world.pass_ms(20_000);
    world.sign_in();
    world.pass_ms(15_000);
    world.ring(&mut second);
}

#[test]
fn the_longest_wait_ends_with_a_script_by_command() {
    let mut world = World::new(PATIENT);
    let (mut call, _) = world.call();
    world.pass_ms(299_000);
    assert!(world.commands(&mut call).is_empty(), "the place did not change");
    world.pass_ms(2_000);
    let commands = world.commands(&mut call);
    assert!(matches!(commands.as_slice(), [NodeAction::Script { .. }]), "{commands:?}");
    assert_eq!(call.words(), "play hangup");
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] });
    assert!(world.journey(&call).contains(&"QueueLeft".to_string()));
}

#[test]
fn an_offer_that_nobody_takes_returns_the_contact_and_parks_the_agent() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    world.available();
    let (mut call, _) = world.call();
    let ring = world.ring(&mut call);
    let failed =
        CallEvent::OfferFailed { offer: ring.offer, reason: OfferFailure::TimedOut, sip_status: None, reasons: vec![] };
    world.send(&mut call, failed);
    let AgentState::Away { reason } = world.agent().state else { panic!("{:?}", world.agent()) };
    assert_eq!(reason.as_str(), "missed-offer");
    let contact = world.contact(&call);
    let Phase::Waiting(wait) = &contact.phase else { panic!("{:?}", contact.phase) };
    assert_eq!(wait.entry.enqueued_at, contact.arrived_at, "the wait is kept");
    world.available();
    assert_ne!(world.ring(&mut call).offer, ring.offer, "a new offer");
}

#[test]
fn an_offer_without_any_news_is_taken_back() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    world.available();
    let (mut call, _) = world.call();
    let ring = world.ring(&mut call);
    world.pass_ms(29_000);
    let commands = world.commands(&mut call);
    let [NodeAction::Rescind { offer }, NodeAction::Ring(again)] = commands.as_slice() else {
        panic!("not taken back and offered again, as nobody is at fault: {commands:?}")
    };
    assert_eq!(*offer, ring.offer);
    assert_ne!(again.offer, ring.offer);
}

#[test]
fn a_phone_that_answers_after_its_offer_is_let_go() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    world.available();
    let (mut call, _) = world.call();
    let offer = world.ring(&mut call).offer;
    world.send(&mut call, CallEvent::OfferRinging { offer });
    world.pass_ms(29_000);
    assert_eq!(world.commands(&mut call), [NodeAction::Rescind { offer }]);
    assert!(matches!(world.contact(&call).phase, Phase::Waiting(_)));
    assert!(matches!(world.agent().state, AgentState::Away { .. }), "{:?}", world.agent());
    world.send(&mut call, CallEvent::OfferAnswered { offer, dialog: None });
    assert_eq!(world.commands(&mut call), [NodeAction::ReleaseAgent { offer }]);
    world.send(&mut call, CallEvent::AgentLegEnded { offer, cause: EndCause::Command, reasons: vec![] });
    assert_eq!(call.words(), "hold", "the music again");
}

#[test]
fn a_caller_who_leaves_while_the_phone_rings_frees_the_agent() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    world.available();
    let (mut call, _) = world.call();
    world.ring(&mut call);
    world.pass_ms(7_000);
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    assert_eq!(world.agent().state, AgentState::Available);
    let ended = world.facts.iter().find(|fact| fact.name == "ContactEnded").unwrap();
    assert_eq!(ended.body["abandoned_after_ms"], 7_000);
    assert!(world.journey(&call).contains(&"OfferRescinded".to_string()));
}

#[test]
fn a_node_that_dies_frees_the_agent_and_promises_a_call_back() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    world.available();
    let alive = hotline_wire::node::DirectoryInput::NodeAlive {
        node: common::NODE,
        sip_address: "127.0.0.1:5060".into(),
        calls: 1,
        draining: false,
        expires: world.service.now().plus_ms(15_000),
        started_at: None,
    };
    block_on(hotline_service::directory::handle(&world.service, alive)).unwrap();
    let (mut call, _) = world.call();
    let ring = world.ring(&mut call);
    world.send(&mut call, CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    for _ in 0..3 {
        world.pass_ms(5_000);
        assert_eq!(world.check_leases(), 0, "the lease holds");
    }
    // Nothing works for a while, the checks neither: the node may have found nobody to renew with.
    world.pass_ms(12_000);
    assert_eq!(world.check_leases(), 0, "nodes are given time after a pause");
    world.pass_ms(5_000);
    assert_eq!(world.check_leases(), 1);
    let journey = world.journey(&call);
    assert_eq!(&journey[journey.len() - 3..], ["CallbackRequested", "AgentLegEnded", "ContactEnded"]);
    assert!(!matches!(world.agent().state, AgentState::Busy { .. }));
    let answer = world.send(&mut call, CallEvent::OfferRinging { offer: ring.offer });
    assert_eq!(answer.script, Some(vec![Verb::Hangup]), "a node that comes back is told to end it");
    assert_eq!(world.check_leases(), 0);
}

#[test]
fn an_unknown_number_is_told_so() {
    let mut world = World::new(PATIENT);
    let (mut call, decision) = world.call_to("+8610999");
    let Some([Verb::Reject { status: 404, prompts, .. }]) = decision.script.as_deref() else { panic!("{decision:?}") };
    assert_eq!(prompts.len(), 4, "three tones and the announcement");
    let over = CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] };
    assert_eq!(world.send(&mut call, over).script, None);
}

#[test]
fn a_hang_up_may_overtake_the_arrival() {
    let mut world = World::new(PATIENT);
    let contact = ContactId::new(world.service.now(), 5);
    let input =
        |seq, event| CallInput { contact, tenant: None, node: common::NODE, seq, at: world.service.now(), event };
    let over = CallEvent::CallEnded { cause: EndCause::Cancelled, quality: None, reasons: vec![] };
    let (over, come) = (input(2, over), input(1, arrived(common::DID)));
    let decision = block_on(ivr::handle(&world.service, over)).unwrap();
    assert_eq!(decision.script, None);
    let decision = block_on(ivr::handle(&world.service, come.clone())).unwrap();
    assert_eq!(decision.script, Some(vec![Verb::Hangup]));
    assert_eq!(block_on(ivr::handle(&world.service, come)).unwrap(), decision);
    world.settle();
    let ends = world.facts.iter().filter(|fact| fact.name == "ContactEnded").count();
    assert_eq!(ends, 1);
    assert!(world.memory.store.timers().iter().all(|timer| timer.subject.kind != "contact"));
}

#[test]
fn another_node_cannot_speak_for_a_contact() {
    let mut world = World::new(PATIENT);
    let (call, _) = world.call();
    let input = CallInput {
        contact: call.contact,
        tenant: call.tenant,
        node: NodeId::from_u128(78),
        seq: 2,
        at: world.service.now(),
        event: CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] },
    };
    let answer = block_on(ivr::handle(&world.service, input)).unwrap();
    assert_eq!((answer.label.as_str(), answer.script), ("ended", None), "it is not that node's call any more");
    assert!(world.contact(&call).is_alive());
}

#[test]
fn out_of_hours_a_message_is_taken() {
    let mut world = World::new(common::DEMO);
    let hour = hotline_sla::HoursDraft { from: "03:00".into(), to: "03:01".into() };
    let closed = hotline_sla::CalendarDraft {
        weekly: [("sun".to_string(), vec![hour])].into(),
        name: "office".into(),
        time_zone: "Asia/Shanghai".into(),
        ..Default::default()
    };
    let closed = closed.validate().unwrap();
    let kind = hotline_service::config::Kind::CALENDAR;
    let put = hotline_service::config::put(&world.service, common::TENANT, kind, "office", &closed, None, "test");
    block_on(put).unwrap();
    let (mut call, _) = world.call();
    world.press(&mut call, "2");
    assert_eq!(call.words(), "gather", "closed: message or call back");
    world.press(&mut call, "1");
    assert!(call.words().ends_with("record"), "{}", call.words());
    let Some(Verb::Record { recording, .. }) = call.script.last().cloned() else { panic!() };
    world.ended(&mut call, VerbResult::Recorded { recording, duration_ms: 4_000 });
    assert!(call.words().ends_with("hangup"));
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] });
    let contact = world.contact(&call);
    assert!(contact.voicemail);
    assert_eq!(contact.recordings[0].status, RecordingStatus::Running);
    // A node that never delivers: after a day the recording counts as lost.
    world.pass_ms(25 * 3_600_000);
    assert!(world.journey(&call).contains(&"RecordingFailed".to_string()));
}

#[test]
fn a_contact_is_in_the_waiting_list_exactly_while_it_waits() {
    let mut world = World::new(PATIENT);
    let (mut call, _) = world.call();
    let range = || Range {
        tenant: common::TENANT,
        partition: "waiting/technical",
        from: None,
        below: None,
        limit: 10,
        descending: false,
    };
    let waiting = |world: &World| block_on(world.memory.ports().store.rows(range())).unwrap().len();
    assert_eq!(waiting(&world), 1);
    world.sign_in();
    world.available();
    assert_eq!(waiting(&world), 0, "offered, so not waiting");
    world.ring(&mut call);
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    assert_eq!(waiting(&world), 0);
}

fn overflowing(world: &World, rules: Vec<OverflowRule>, max_waiting: u32) {
    let mut config = QueueConfig::new(common::name("technical"));
    config.overflow = rules;
    config.max_waiting = max_waiting;
    let put = config::put(&world.service, common::TENANT, Kind::QUEUE, "technical", &config, None, "test");
    block_on(put).unwrap();
}

#[test]
fn a_long_wait_overflows_to_another_queue_and_is_kept() {
    let mut world = World::new(PATIENT);
    let when = OverflowWhen::Waited { ms: 60_000 };
    let then = OverflowAction::Queue { queue: common::name("general") };
    overflowing(&world, vec![OverflowRule { when, then }], 100);
    let (mut call, _) = world.call();
    world.pass_ms(62_000);
    assert!(world.commands(&mut call).is_empty(), "the caller hears no difference");
    let contact = world.contact(&call);
    assert_eq!(contact.queue, Some(common::name("general")));
    let wait = contact.wait().unwrap();
    assert_eq!(wait.entry.enqueued_at, contact.arrived_at);
    assert_eq!(wait.until, Some(contact.arrived_at.plus_ms(300_000)), "the longest wait counts from the start");
    world.sign_in();
    world.available();
    world.ring(&mut call);
    world.settle();
    let offered = world.facts.iter().find(|fact| fact.name == "OfferMade").unwrap();
    assert_eq!(offered.body["queue"], "general");
}

#[test]
fn rules_about_the_state_of_a_queue_send_the_caller_on() {
    let mut world = World::new(PATIENT);
    let rule = OverflowRule { when: OverflowWhen::NobodyStaffed, then: OverflowAction::Message };
    overflowing(&world, vec![rule], 100);
    let (call, _) = world.call();
    assert_eq!(call.words(), "answer play hangup", "at once");
    assert!(world.journey(&call).contains(&"QueueLeft".to_string()));
}

#[test]
fn nobody_waits_in_a_full_queue() {
    let mut world = World::new(PATIENT);
    overflowing(&world, Vec::new(), 1);
    let (first, _) = world.call();
    let (second, _) = world.call();
    assert_eq!((first.words(), second.words()), ("answer play hold".into(), "answer play hangup".into()));
}

#[test]
fn one_caller_waits_only_so_often_at_once() {
    let mut world = World::new(PATIENT);
    let mut config = QueueConfig::new(common::name("technical"));
    config.max_per_caller = 2;
    let put = config::put(&world.service, common::TENANT, Kind::QUEUE, "technical", &config, None, "test");
    block_on(put).unwrap();
    let words: Vec<String> = (0..3).map(|_| world.call().0.words()).collect();
    assert_eq!(words, ["answer play hold", "answer play hold", "answer play hangup"]);
}

#[test]
fn who_talked_with_a_caller_last_is_preferred() {
    let mut world = World::new(PATIENT);
    let mut config = QueueConfig::new(common::name("technical"));
    config.last_agent_ms = 3_600_000;
    let put = config::put(&world.service, common::TENANT, Kind::QUEUE, "technical", &config, None, "test");
    block_on(put).unwrap();
    world.sign_in();
    world.available();
    let (mut call, _) = world.call();
    let ring = world.ring(&mut call);
    world.send(&mut call, CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    world.pass_ms(20_000);
    let (again, _) = world.call();
    let affinity = world.contact(&again).wait().unwrap().entry.affinity.unwrap();
    assert_eq!((affinity.agent, affinity.only), (AGENT, false));
}
