//! What reaches consoles and nodes beside calls: pushes, registrations, leases, sweeps.

mod common;

use common::{AGENT, NODE, TENANT, World};
use futures::executor::block_on;
use hotline_base::{TenantId, UserId};
use hotline_ports::{Commit, TimerRow};
use hotline_routing::AgentState;
use hotline_service::config::{self, Kind, SipUser};
use hotline_service::live::{self, Connection};
use hotline_service::{agent_key, directory, timers};
use hotline_wire::api::Role;
use hotline_wire::node::{CallEvent, DirectoryInput, DirectoryOutput, EndCause};
use serde_json::Value;

const PATIENT: &str = "\
flow: patient
languages: [en]
start: wait
prompts:
  bye: {en: Goodbye.}
steps:
  wait:
    queue: technical
    max_wait: 5m
    on_max_wait: bye
    then: bye
  bye:
    hangup: bye
";

fn connect(world: &World, name: &str, user: u128, role: Role) {
    let connection = Connection { connection: name.into(), user: UserId::from_u128(user), role };
    block_on(live::connect(&world.service, TENANT, &connection)).unwrap();
}

fn heard(world: &World, name: &str, sent: &[(String, String)]) -> Vec<String> {
    let _ = world;
    let own = sent.iter().filter(|(to, _)| to == name);
    own.map(|(_, body)| {
        let event: Value = serde_json::from_str(body).unwrap();
        event["event"].as_str().unwrap().to_string()
    })
    .collect()
}

#[test]
fn consoles_hear_what_concerns_them() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    world.available();
    world.settle();
    world.memory.push.take();
    connect(&world, "agent", AGENT.as_u128(), Role::Agent);
    connect(&world, "other", 777, Role::Agent);
    connect(&world, "boss", 778, Role::Supervisor);
    world.memory.push.close("other");
    let (mut call, _) = world.call();
    let ring = world.ring(&mut call);
    world.send(&mut call, CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    let sent = world.memory.push.take();
    assert!(
        sent.iter().any(|(to, body)| to == "agent" && body.contains(common::CALLER)),
        "who rings is shown before the answer"
    );
    let agent = heard(&world, "agent", &sent);
    assert!(agent.contains(&"offer".to_string()) && agent.contains(&"queue".to_string()), "{agent:?}");
    assert!(!agent.contains(&"contact".to_string()), "journeys are for supervisors");
    let boss = heard(&world, "boss", &sent);
    for event in ["offer", "queue", "contact", "agent", "ticket"] {
        assert!(boss.contains(&event.to_string()), "{event}: {boss:?}");
    }
    assert_eq!(block_on(live::whose(&world.service, "other")), Ok(None), "a gone connection is forgotten");
    let (tenant, mine) = block_on(live::disconnect(&world.service, "agent")).unwrap().unwrap();
    assert_eq!((tenant, mine.user.as_u128()), (TENANT, AGENT.as_u128()));
    assert_eq!(block_on(live::disconnect(&world.service, "agent")), Ok(None));
}

#[test]
fn a_node_asks_for_accounts_and_reports_phones() {
    let world = World::new(PATIENT);
    let ask = |input| block_on(directory::handle(&world.service, input)).unwrap();
    let lookup = || DirectoryInput::Lookup { sip_user: "fang.demo".into() };
    assert_eq!(ask(lookup()), DirectoryOutput::Unknown);
    let account = SipUser { tenant: TENANT, agent: AGENT, ha1_md5: "aa".into(), ha1_sha256: "bb".into() };
    let put = config::put(&world.service, TenantId::PLATFORM, Kind::SIP_USER, "fang.demo", &account, None, "x");
    block_on(put).unwrap();
    assert!(matches!(ask(lookup()), DirectoryOutput::Account { agent: AGENT, .. }));
    let registered = |agent, seconds: Option<i64>| DirectoryInput::Registered {
        tenant: TENANT,
        agent,
        node: NODE,
        expires: seconds.map(|seconds| world.service.now().plus_ms(seconds * 1_000)),
    };
    assert_eq!(ask(registered(AGENT, Some(300))), DirectoryOutput::Noted);
    assert_eq!(world.agent().phone.map(|phone| phone.node), Some(NODE));
    assert_eq!(ask(registered(AGENT, None)), DirectoryOutput::Noted);
    assert_eq!(world.agent().phone, None);
    let nobody = hotline_base::AgentId::from_u128(9);
    assert_eq!(ask(registered(nobody, Some(300))), DirectoryOutput::Unknown);
}

#[test]
fn a_node_that_dies_takes_its_phones_with_it() {
    let mut world = World::new(PATIENT);
    let expires = world.service.now().plus_ms(3_600_000);
    let register = DirectoryInput::Registered { tenant: TENANT, agent: AGENT, node: NODE, expires: Some(expires) };
    block_on(directory::handle(&world.service, register)).unwrap();
    let alive = DirectoryInput::NodeAlive {
        node: NODE,
        sip_address: "127.0.0.1:5060".into(),
        calls: 0,
        draining: false,
        expires: world.service.now().plus_ms(86_400_000),
        started_at: None,
    };
    block_on(directory::handle(&world.service, alive)).unwrap();
    world.available();
    assert_eq!(world.agent().state, AgentState::Available);
    world.memory.world.advance_ms(66_000);
    world.check_leases();
    assert_eq!(world.agent().phone, None, "a lease reaches a minute ahead at most");
    assert_ne!(world.agent().state, AgentState::Available);
}

#[test]
fn a_timer_row_without_a_deadline_is_removed_and_an_early_one_waits() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    let now = world.service.now();
    let stray = TimerRow { due: now, subject: agent_key(TENANT, AGENT), timer: "offer".into() };
    let commit = Commit { timers_put: vec![stray.clone()], ..Commit::default() };
    block_on(world.memory.ports().store.commit(commit)).unwrap();
    block_on(timers::fire(&world.service, &stray)).unwrap();
    assert!(!world.memory.store.timers().contains(&stray));
    let (call, _) = world.call();
    let armed = world.memory.store.timers();
    let wait = armed.iter().find(|timer| timer.timer == "queue-wait").expect("the longest wait");
    world.memory.queues.take_visible();
    block_on(timers::fire(&world.service, wait)).unwrap();
    assert!(world.contact(&call).wait().is_some(), "not yet");
    assert_eq!(world.memory.queues.next_visible(), Some(wait.due), "handed over again");
}

#[test]
fn timers_whose_messages_were_lost_fire_after_a_sweep() {
    let mut world = World::new(PATIENT);
    let (mut call, _) = world.call();
    for _ in 0..12 {
        // Every message of the timer queue is lost.
        world.memory.world.advance_ms(60_000);
        world.memory.queues.take_visible();
    }
    assert!(world.contact(&call).wait().is_some());
    world.pass_ms(1_000);
    assert_eq!(world.commands(&mut call).len(), 1);
    assert_eq!(call.words(), "play hangup");
}

/// A queue calls its reserves in at once where nobody is staffed.
#[test]
fn reserves_are_told_that_a_queue_calls_them_in() {
    let mut world = World::new(PATIENT);
    let mut queue = hotline_routing::QueueConfig::new(common::name("technical"));
    queue.overflow = vec![hotline_routing::overflow::OverflowRule {
        when: hotline_routing::overflow::OverflowWhen::NobodyStaffed,
        then: hotline_routing::overflow::OverflowAction::Reserve,
    }];
    block_on(config::put(&world.service, TENANT, Kind::QUEUE, "technical", &queue, None, "x")).unwrap();
    world.memory.world.advance_ms(6_000);
    world.sign_in();
    let standby = hotline_routing::agent::Requested::Standby;
    block_on(hotline_service::agents::request_state(&world.service, TENANT, AGENT, standby)).unwrap();
    world.settle();
    connect(&world, "agent", AGENT.as_u128(), Role::Agent);
    world.memory.push.take();
    let (mut call, _) = world.call();
    world.settle();
    let sent = world.memory.push.take();
    assert!(
        sent.iter().any(|(to, body)| to == "agent" && body.contains("OverflowApplied")),
        "whoever is in reserve hears of it: {sent:?}"
    );
    world.available();
    world.ring(&mut call);
}
