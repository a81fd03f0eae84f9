//! Calls in a world in which things fail: crashes between commit and dispatch, faults before and
//! after commits, conflicts, messages that come twice.

mod common;

use common::{AGENT, CALLER, DID, NODE, TENANT, World, arrived};
use futures::executor::block_on;
use hotline_base::ContactId;
use hotline_ports::faulty::{Call as PortCall, Injection, wrap};
use hotline_routing::AgentState;
use hotline_service::{Service, ServiceError, ivr};
use hotline_wire::node::{CallEvent, CallInput, Decision, EndCause, NodeAction, VerbResult};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const PATIENT: &str = "\
flow: patient
languages: [en]
start: wait
prompts:
  hello: {en: Please wait.}
  ask: {en: How was it?}
  bye: {en: Goodbye.}
steps:
  wait:
    queue: technical
    say: hello
    max_wait: 5m
    on_max_wait: bye
    then: rate
  rate:
    survey: ask
    then: bye
  bye:
    hangup: bye
";

fn input(seq: u32, event: CallEvent, world: &World) -> CallInput {
    let contact = ContactId::from_u128(4711);
    let tenant = (seq > 1).then_some(TENANT);
    CallInput { contact, tenant, node: NODE, seq, at: world.service.now(), event }
}

#[test]
fn futures_can_move_between_threads() {
    fn moves<T: Send>(_: &T) {}
    let world = World::new(PATIENT);
    let future = ivr::handle(&world.service, input(1, arrived(DID), &world));
    moves(&future);
    block_on(future).unwrap();
}

#[test]
fn a_crash_between_commit_and_dispatch_is_made_good_by_the_sweep() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    world.available();
    // The process dies as soon as it wants to do anything after the commit of the arrival.
    let commits = AtomicU64::new(0);
    let faults = move |call: PortCall| match call {
        PortCall::Commit => {
            commits.fetch_add(1, Ordering::SeqCst);
            Injection::None
        }
        _ if commits.load(Ordering::SeqCst) > 0 => Injection::FaultBefore,
        _ => Injection::None,
    };
    let dying = world.service.with_ports(wrap(&world.memory.ports(), Arc::new(faults)));
    let _ = block_on(ivr::handle(&dying, input(1, arrived(DID), &world)));
    assert!(world.memory.nodes.take(NODE).is_empty(), "nobody was rung");
    assert_eq!(world.agent().state, AgentState::Available);
    assert_eq!(world.memory.store.unsettled().len(), 1, "the effect is not forgotten");
    world.pass_ms(61_000);
    let commands = world.memory.nodes.take(NODE);
    assert!(matches!(&commands[..], [command] if matches!(command.action, NodeAction::Ring(_))));
    assert!(world.memory.store.unsettled().is_empty());
}

/// The next number of a small generator.
fn next(state: &AtomicU64) -> u64 {
    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A service on which about a fifth of all calls fail in some way.
fn unreliable(world: &World, seed: u64) -> Service {
    let random = AtomicU64::new(seed);
    let faults = move |call: PortCall| match (next(&random) % 20, call) {
        (0, _) => Injection::FaultBefore,
        (1, _) => Injection::FaultAfter,
        (2, PortCall::Commit) => Injection::Conflict,
        (3, PortCall::Queue | PortCall::Command) => Injection::Duplicate,
        _ => Injection::None,
    };
    world.service.with_ports(wrap(&world.memory.ports(), Arc::new(faults)))
}

/// Asks until there is an answer, as a node does.
fn persist(service: &Service, input: &CallInput) -> Decision {
    for _ in 0..50 {
        match block_on(ivr::handle(service, input.clone())) {
            Ok(decision) => return decision,
            Err(ServiceError::Fault(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    panic!("no answer in fifty attempts")
}

#[test]
fn a_journey_through_faults_ends_like_one_without() {
    for seed in 20..=40 {
        let mut world = World::new(PATIENT);
        world.sign_in();
        world.available();
        let bad = unreliable(&world, seed);
        persist(&bad, &input(1, arrived(DID), &world));
        let rings = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..30 {
            for command in world.memory.nodes.take(NODE) {
                if command.expires < world.service.now() {
                    continue;
                }
                if let NodeAction::Ring(ring) = command.action {
                    rings.lock().unwrap().push((command.id, ring));
                }
            }
            if !rings.lock().unwrap().is_empty() {
                break;
            }
            // The console is still there while the sweep makes good what was lost.
            world.sign_in();
            world.pass_ms(5_000);
        }
        let mut rings = rings.lock().unwrap().clone();
        rings.dedup_by_key(|(id, _)| *id);
        assert_eq!(rings.len(), 1, "seed {seed}: one offer");
        let (_, ring) = rings[0].clone();
        assert_eq!(ring.agent, AGENT);
        let offer = ring.offer;
        persist(&bad, &input(2, CallEvent::OfferAnswered { offer, dialog: None }, &world));
        let left = CallEvent::AgentLegEnded { offer, cause: EndCause::HungUp, reasons: vec![] };
        let decision = persist(&bad, &input(3, left, &world));
        let label = decision.label;
        assert!(decision.script.is_some(), "seed {seed}: the survey");
        let result = VerbResult::Digits { digits: "4".to_string().into() };
        persist(&bad, &input(4, CallEvent::ScriptEnded { label, result }, &world));
        let over = CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] };
        persist(&bad, &input(5, over, &world));
        world.pass_ms(180_000);

        assert!(world.memory.store.unsettled().is_empty(), "seed {seed}");
        let count = |name: &str| world.facts.iter().filter(|fact| fact.name == name).count();
        for name in ["ContactArrived", "OfferAccepted", "SurveyAnswered", "ContactEnded", "TicketOpened"] {
            assert_eq!(count(name), 1, "seed {seed}: {name}");
        }
        let ended = world.facts.iter().find(|fact| fact.name == "ContactEnded").unwrap();
        assert_eq!(ended.body["from"], CALLER);
        let state = world.agent().state;
        assert!(!matches!(state, AgentState::Busy { .. } | AgentState::Offered { .. }), "seed {seed}: {state:?}");
    }
}
