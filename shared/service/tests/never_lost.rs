//! Nodes that die, agents at other nodes, call backs that are dialled, over memory ports.

mod common;

use common::{AGENT, CALLER, Call, DID, NODE, TENANT, World, name};
use futures::executor::block_on;
use hotline_base::{ContactId, NodeId, Redacted, UserId};
use hotline_contact::{Contact, Phase, callbacks_partition};
use hotline_ports::{Range, WorkQueue};
use hotline_routing::callback::{CallFirst, CallbackPolicy};
use hotline_routing::{AgentState, QueueConfig};
use hotline_service::config::{self, Kind};
use hotline_service::figures::{self, Period};
use hotline_service::floor::{self, To};
use hotline_service::{callbacks, contacts, directory, flows, ivr, nodes, tickets, timers, whatif};
use hotline_ticket::ticket_of;
use hotline_wire::legs::{DialFailure, DialogRef};
use hotline_wire::node::{
    CallEvent, CallInput, DirectoryInput, DirectoryOutput, EndCause, NodeAction, Verb, VerbResult,
};

const OTHER: NodeId = NodeId::from_u128(88);

const PATIENT: &str = "\
flow: patient
languages: [en]
start: wait
prompts:
  bye: {en: Goodbye.}
steps:
  wait:
    queue: technical
    max_wait: 30m
    on_max_wait: bye
    leave:
      9: back
    then: bye
  back:
    callback: technical
    then: bye
    refused: bye
  bye:
    hangup: bye
";

/// What a party goes through that is called back.
const THERE: &str = "\
flow: there
languages: [en]
start: ask
prompts:
  ask: {en: Press 1 if you are there.}
  bye: {en: Goodbye.}
steps:
  ask:
    menu: ask
    options:
      1: {label: There, go: wait}
    retries: 1
    no_input: bye
    no_match: bye
  wait:
    queue: technical
    max_wait: 5m
    on_max_wait: bye
    then: bye
  bye:
    hangup: bye
";

fn dialog(of: &str) -> DialogRef {
    DialogRef {
        sip_call_id: of.into(),
        local_tag: "l".into(),
        remote_tag: "r".into(),
        remote_target: "sip:x@192.0.2.7".to_string().into(),
        peer: "192.0.2.7:5060;transport=udp".into(),
    }
}

trait Nodes {
    fn alive(&mut self, node: NodeId);
    fn arrives(&mut self) -> Call;
    fn input(&mut self, node: NodeId, contact: ContactId, seq: u32, event: CallEvent) -> hotline_wire::node::Decision;
    fn asked(&mut self, node: NodeId) -> Vec<NodeAction>;
    fn state(&self, contact: ContactId) -> Contact;
    fn open_callbacks(&self) -> Vec<ContactId>;
    fn queue(&mut self, change: impl FnOnce(&mut QueueConfig));
}

impl Nodes for World {
    /// Renews a lease as a node does: for eight seconds.
    fn alive(&mut self, node: NodeId) {
        let alive = DirectoryInput::NodeAlive {
            node,
            sip_address: format!("10.0.0.{}:5060", node.as_u128()),
            calls: 0,
            draining: false,
            expires: self.service.now().plus_ms(8_000),
            started_at: None,
        };
        block_on(directory::handle(&self.service, alive)).unwrap();
        block_on(self.memory.ports().nodes.open(node)).unwrap();
    }

    fn arrives(&mut self) -> Call {
        let contact = ContactId::new(self.service.now(), 77_000 + self.facts.len() as u128);
        let mut call = Call { contact, seq: 0, label: String::new(), script: Vec::new(), tenant: None };
        let event = CallEvent::Arrived {
            did: DID.into(),
            from: CALLER.to_string().into(),
            display_name: "Li".to_string().into(),
            sip_call_id: "abc@host".into(),
            dialog: Some(dialog("caller")),
            diverted: None,
        };
        self.send(&mut call, event);
        call
    }

    fn input(&mut self, node: NodeId, contact: ContactId, seq: u32, event: CallEvent) -> hotline_wire::node::Decision {
        let input = CallInput { contact, tenant: Some(TENANT), node, seq, at: self.service.now(), event };
        let decision = block_on(ivr::handle(&self.service, input)).unwrap();
        self.settle();
        decision
    }

    fn asked(&mut self, node: NodeId) -> Vec<NodeAction> {
        self.memory.nodes.take(node).into_iter().map(|command| command.action).collect()
    }

    fn state(&self, contact: ContactId) -> Contact {
        block_on(contacts::get(&self.service, TENANT, contact)).unwrap().unwrap()
    }

    fn open_callbacks(&self) -> Vec<ContactId> {
        let partition = callbacks_partition(CALLER);
        let range =
            Range { tenant: TENANT, partition: &partition, from: None, below: None, limit: 10, descending: false };
        let rows = block_on(self.service.ports.store.rows(range)).unwrap();
        rows.iter().map(|row| row.sort.parse().unwrap()).collect()
    }

    fn queue(&mut self, change: impl FnOnce(&mut QueueConfig)) {
        let mut config = QueueConfig::new(name("technical"));
        change(&mut config);
        block_on(config::put(&self.service, TENANT, Kind::QUEUE, "technical", &config, None, "test")).unwrap();
        self.memory.world.advance_ms(6_000);
    }
}

#[test]
fn a_dead_node_is_found_within_fifteen_seconds_by_the_queue_of_timers() {
    let mut world = World::new(PATIENT);
    world.alive(NODE);
    let call = world.arrives();
    assert_eq!(block_on(nodes::schedule_checks(&world.service)), Ok(12));
    let died = world.service.now();
    // The other node lives on; of the first one nothing is heard any more.
    while world.service.now().since_ms(died) < 15_000 {
        world.memory.world.advance_ms(1_000);
        if world.service.now().as_millis() % 3_000 == 0 {
            world.alive(OTHER);
        }
        for message in world.memory.queues.take_visible() {
            if message.queue == WorkQueue::Timers {
                block_on(timers::handle(&world.service, &message.body)).unwrap();
            }
        }
        if world.state(call.contact).node == OTHER {
            break;
        }
    }
    let after_ms = world.service.now().since_ms(died);
    assert_eq!(world.state(call.contact).node, OTHER, "after {after_ms} ms");
    assert!(after_ms <= 15_000);
    let asked = world.asked(OTHER);
    let [NodeAction::Reanchor { dialog: taken, seq, .. }] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((taken.sip_call_id.as_str(), *seq), ("caller", 1));
    let answer = world.input(OTHER, call.contact, 2, CallEvent::Reanchored { dialog: dialog("again") });
    assert_eq!(answer.script.map(|verbs| verbs.len()), Some(1), "the music goes on");
    let expires = Some(world.service.now().plus_ms(3_600_000));
    block_on(hotline_service::agents::phone(&world.service, TENANT, AGENT, OTHER, expires)).unwrap();
    world.available();
    assert!(matches!(world.asked(OTHER).as_slice(), [NodeAction::Ring(_)]), "and the caller is offered there");
    // What the lost node still says is not listened to.
    let late = world.input(
        NODE,
        call.contact,
        2,
        CallEvent::CallEnded { cause: EndCause::Lost, quality: None, reasons: vec![] },
    );
    assert_eq!((late.script, world.state(call.contact).is_alive()), (None, true));
}

#[test]
fn a_node_that_comes_back_learns_that_its_calls_are_taken_over_and_tells_its_phones_again() {
    let mut world = World::new(PATIENT);
    let started_at = Some(world.service.now());
    let told = |world: &World, input| block_on(directory::handle(&world.service, input)).unwrap();
    let alive = |world: &World| DirectoryInput::NodeAlive {
        node: NODE,
        sip_address: "10.0.0.1:5060".into(),
        calls: 1,
        draining: false,
        expires: world.service.now().plus_ms(8_000),
        started_at,
    };
    world.memory.world.advance_ms(1_000);
    assert_eq!(told(&world, alive(&world)), DirectoryOutput::Noted);
    let lapse = world.service.now().plus_ms(8_000);
    world.sign_in();
    let call = world.arrives();
    block_on(nodes::check_leases(&world.service)).unwrap();
    for _ in 0..3 {
        world.memory.world.advance_ms(5_000);
        world.alive(OTHER);
        block_on(nodes::check_leases(&world.service)).unwrap();
    }
    assert_eq!(world.state(call.contact).node, OTHER);
    assert_eq!(world.agent().phone, None, "its phones are forgotten");

    // Said again and again: an answer may be lost.
    for _ in 0..2 {
        assert_eq!(told(&world, alive(&world)), DirectoryOutput::TakenOver { before: lapse });
    }
    let expires = world.service.now().plus_ms(600_000);
    let still = |node| DirectoryInput::StillRegistered { tenant: TENANT, agent: AGENT, node, expires };
    assert_eq!(told(&world, still(NODE)), DirectoryOutput::Noted);
    assert_eq!(told(&world, still(OTHER)), DirectoryOutput::Noted);
    assert_eq!(world.agent().phone.map(|phone| phone.node), Some(NODE));
    // A new life of the node has nothing to do with it.
    let DirectoryInput::NodeAlive { node, sip_address, calls, draining, expires, .. } = alive(&world) else { panic!() };
    let started_at = Some(world.service.now());
    let anew = DirectoryInput::NodeAlive { node, sip_address, calls, draining, expires, started_at };
    assert_eq!(told(&world, anew), DirectoryOutput::Noted);
}

#[test]
fn without_nodes_nothing_is_checked() {
    let world = World::new(PATIENT);
    assert_eq!(block_on(nodes::schedule_checks(&world.service)), Ok(0));
}

#[test]
fn an_agent_at_another_node_is_rung_there_and_one_at_a_dead_node_is_not() {
    let mut world = World::new(PATIENT);
    world.alive(NODE);
    world.alive(OTHER);
    let expires = Some(world.service.now().plus_ms(3_600_000));
    block_on(hotline_service::agents::phone(&world.service, TENANT, AGENT, OTHER, expires)).unwrap();
    world.available();
    let call = world.arrives();
    let asked = world.asked(NODE);
    let [NodeAction::Ring(ring)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((ring.phone_node, ring.phone_address.as_deref()), (OTHER, Some("10.0.0.88:5060")));
    world.input(
        NODE,
        call.contact,
        2,
        CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] },
    );

    world.memory.world.advance_ms(10_000);
    world.alive(NODE);
    let second = world.arrives();
    assert!(world.asked(NODE).is_empty(), "the lease of that node has lapsed");
    assert!(matches!(world.state(second.contact).phase, Phase::Waiting(_)));
}

#[test]
fn who_leaves_the_queue_is_called_back_when_the_turn_comes_and_it_is_the_same_matter() {
    let mut world = World::new(PATIENT);
    world.alive(NODE);
    let mut call = world.arrives();
    world.pass_ms(5_000);
    world.alive(NODE);
    let since = world.state(call.contact).wait().unwrap().entry.virtual_time();
    world.press(&mut call, "9");
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] });
    let [back] = world.open_callbacks()[..] else { panic!("{:?}", world.open_callbacks()) };
    let waiting = world.state(back);
    assert_eq!(waiting.wait().unwrap().entry.virtual_time(), since, "the same place");
    assert_eq!(waiting.order.as_ref().and_then(|order| order.of), Some(call.contact));

    world.sign_in();
    world.available();
    let asked = world.asked(NODE);
    let dial = asked.iter().find_map(|action| match action {
        NodeAction::Dial { party, .. } => Some(party.clone()),
        _ => None,
    });
    let dial = dial.unwrap_or_else(|| panic!("{asked:?}"));
    assert_eq!((dial.target.expose().as_str(), dial.caller_id.as_str()), (CALLER, DID));
    let offer = dial.agent.expect("the agent first").offer;
    world.input(NODE, back, 1, CallEvent::OfferAnswered { offer, dialog: None });
    assert!(matches!(world.agent().state, AgentState::Busy { .. }));
    let busy = CallEvent::PartyFailed { reason: DialFailure::Busy, sip_status: Some(486), reasons: vec![] };
    world.input(NODE, back, 2, busy);
    assert_eq!(world.agent().state, AgentState::Available, "no wrap-up for nobody");
    assert!(matches!(world.state(back).phase, Phase::Resting { .. }));

    // Five minutes later the node counts anew.
    for _ in 0..62 {
        world.pass_ms(5_000);
        world.sign_in();
        world.alive(NODE);
    }
    let asked = world.asked(NODE);
    let offer = asked.iter().find_map(|action| match action {
        NodeAction::Dial { party, .. } => party.agent.as_ref().map(|ring| ring.offer),
        _ => None,
    });
    let offer = offer.unwrap_or_else(|| panic!("{asked:?} {:?}", world.state(back).phase));
    world.input(NODE, back, 1, CallEvent::OfferAnswered { offer, dialog: None });
    world.input(NODE, back, 2, CallEvent::PartyAnswered { dialog: None });
    assert!(matches!(world.state(back).phase, Phase::Talking { .. }));
    assert_eq!(world.open_callbacks(), []);
    world.input(NODE, back, 3, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    let ticket = block_on(tickets::get(&world.service, TENANT, ticket_of(call.contact))).unwrap().unwrap();
    assert_eq!(ticket.contacts, [call.contact, back]);
    assert_eq!(block_on(tickets::get(&world.service, TENANT, ticket_of(back))).unwrap(), None);

    // In figures: two stays, of which the second goes on waiting where the first stopped; the pause
    // after the first attempt, five minutes, is none of it.
    let now = world.service.now();
    let period = Period::new(now.plus_ms(-3_600_000), now.plus_ms(1)).unwrap();
    let summary = block_on(figures::summary(&world.service, TENANT, period, 900_000)).unwrap();
    let queue = &summary.queues[&name("technical")];
    assert_eq!((queue.offered, queue.left, queue.answered, queue.abandoned), (2, 1, 1, 0), "{queue:?}");
    let waited_ms = queue.mean_wait_ms.unwrap();
    assert!((5_000..20_000).contains(&waited_ms), "{waited_ms}");
    assert_eq!(queue.service_level_pct, Some(100.0), "within the twenty seconds of the queue");
    let rules = Default::default();
    let again = block_on(whatif::compare(&world.service, TENANT, now.plus_ms(-3_600_000), now, &rules)).unwrap();
    let recorded = &again.recorded.queues[&name("technical")];
    assert_eq!((recorded.answered, recorded.left, recorded.wait_max_ms), (1, 1, Some(waited_ms)), "the same facts");
}

#[test]
fn a_call_back_that_nobody_took_after_all_tries_is_abandoned() {
    let mut world = World::new(PATIENT);
    world.queue(|queue| {
        queue.callback = CallbackPolicy { first: CallFirst::Party, attempts: 1, ..CallbackPolicy::default() };
    });
    world.alive(NODE);
    let mut call = world.arrives();
    world.pass_ms(5_000);
    world.alive(NODE);
    world.press(&mut call, "9");
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] });
    let [back] = world.open_callbacks()[..] else { panic!("{:?}", world.open_callbacks()) };
    world.sign_in();
    world.available();
    assert!(matches!(world.asked(NODE).last(), Some(NodeAction::Dial { party, .. }) if party.agent.is_none()));
    let missed = CallEvent::PartyFailed { reason: DialFailure::NoAnswer, sip_status: Some(480), reasons: vec![] };
    world.input(NODE, back, 1, missed);
    assert!(!world.state(back).is_alive());
    let now = world.service.now();
    let period = Period::new(now.plus_ms(-3_600_000), now.plus_ms(1)).unwrap();
    let summary = block_on(figures::summary(&world.service, TENANT, period, 900_000)).unwrap();
    let queue = &summary.queues[&name("technical")];
    assert_eq!((queue.offered, queue.left, queue.answered, queue.abandoned), (2, 1, 0, 1), "{queue:?}");
    assert_eq!(queue.abandoned_short, i64::from(world.state(back).waited_ms <= 5_000));
}

#[test]
fn a_queue_asks_its_parties_with_a_flow_of_their_own_whether_they_are_there() {
    let mut world = World::new(PATIENT);
    block_on(flows::publish(&world.service, TENANT, &name("there"), THERE, "test")).unwrap();
    world.queue(|queue| {
        let flow = Some(name("there"));
        queue.callback = CallbackPolicy { first: CallFirst::Party, flow, ..CallbackPolicy::default() };
    });
    world.alive(NODE);
    let mut call = world.arrives();
    world.press(&mut call, "9");
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] });
    let [back] = world.open_callbacks()[..] else { panic!("{:?}", world.open_callbacks()) };
    world.sign_in();
    world.available();
    world.asked(NODE);
    let asked = world.input(NODE, back, 1, CallEvent::PartyAnswered { dialog: None });
    assert!(matches!(asked.script.as_deref(), Some([Verb::Gather { .. }])), "{asked:?}");
    assert_eq!(world.agent().state, AgentState::Available, "nobody is bothered by a machine");
    assert_eq!(world.open_callbacks(), [back]);
    let result = VerbResult::Digits { digits: "1".to_string().into() };
    let there = world.input(NODE, back, 2, CallEvent::ScriptEnded { label: asked.label, result });
    assert!(matches!(there.script.as_deref(), Some([Verb::Hold { .. }])), "{there:?}");
    assert!(matches!(world.asked(NODE).as_slice(), [NodeAction::Ring(_)]), "now an agent is");
    assert_eq!(world.open_callbacks(), []);
}

#[test]
fn whoever_calls_in_while_a_call_back_waits_has_its_place() {
    let mut world = World::new(PATIENT);
    let mut call = world.arrives();
    let since = world.state(call.contact).wait().unwrap().entry.virtual_time();
    world.press(&mut call, "9");
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] });
    let [back] = world.open_callbacks()[..] else { panic!() };
    world.pass_ms(120_000);
    let again = world.arrives();
    assert_eq!(world.state(again.contact).wait().unwrap().entry.virtual_time(), since);
    assert!(!world.state(back).is_alive());
    assert_eq!(world.open_callbacks(), []);
    assert!(world.journey(&again).contains(&"PlaceTaken".to_string()));
    let waited_ms = world.state(again.contact).waited_ms(world.service.now());
    assert!(waited_ms.is_some_and(|ms| ms >= 120_000), "and its wait: {waited_ms:?}");
}

#[test]
fn the_party_is_rung_first_where_the_queue_says_so_and_only_within_its_hours() {
    let mut world = World::new(PATIENT);
    let request = || callbacks::Request {
        number: Redacted::new(CALLER.to_string()),
        name: Redacted::new("Li".to_string()),
        queue: name("technical"),
        did: DID.into(),
    };
    let night = hotline_sla::CalendarDraft {
        weekly: [("sun".to_string(), vec![hotline_sla::HoursDraft { from: "03:00".into(), to: "03:01".into() }])]
            .into(),
        name: "night".into(),
        time_zone: "UTC".into(),
        ..Default::default()
    };
    let calendar: hotline_sla::Calendar = night.try_into().unwrap();
    block_on(config::put(&world.service, TENANT, Kind::CALENDAR, "night", &calendar, None, "test")).unwrap();
    let policy = CallbackPolicy { first: CallFirst::Party, hours: Some(name("night")), ..CallbackPolicy::default() };
    world.queue(|queue| queue.callback = policy);
    world.alive(NODE);
    let closed = block_on(callbacks::request(&world.service, TENANT, request())).unwrap();
    let Phase::Resting { until, .. } = closed.phase else { panic!("{:?}", closed.phase) };
    assert!(calendar.is_open(until) && until > world.service.now());
    block_on(contacts::end(&world.service, TENANT, closed.id)).unwrap();

    world.queue(|queue| queue.callback.first = CallFirst::Party);
    world.alive(NODE);
    world.sign_in();
    world.available();
    let back = block_on(callbacks::request(&world.service, TENANT, request())).unwrap().id;
    let asked = world.asked(NODE);
    assert!(matches!(asked.as_slice(), [NodeAction::Dial { party, .. }] if party.agent.is_none()), "{asked:?}");
    assert_eq!(world.agent().state, AgentState::Available, "nobody is kept waiting while it rings");
    world.input(NODE, back, 1, CallEvent::PartyAnswered { dialog: None });
    assert!(matches!(world.asked(NODE).as_slice(), [NodeAction::Ring(_)]), "offered at once");
}

#[test]
fn a_caller_is_handed_to_a_number_and_comes_back_where_nobody_answers() {
    let mut world = World::new(PATIENT);
    world.sign_in();
    world.available();
    let mut call = world.arrives();
    let ring = world.ring(&mut call);
    world.send(&mut call, CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    let by = UserId::from_u128(AGENT.as_u128());
    let to = To::Number("+4930123456".to_string().into());
    let reason = Redacted::new("the lab knows".to_string());
    block_on(floor::transfer(&world.service, TENANT, call.contact, by, to, reason)).unwrap();
    world.settle();
    assert!(matches!(world.agent().state, AgentState::WrapUp { .. }), "the agent is free for what comes after");
    let commands = world.commands(&mut call);
    assert!(matches!(commands.as_slice(), [NodeAction::ReleaseAgent { .. }, NodeAction::Script { .. }]));
    assert_eq!(call.words(), "transfer");
    world.ended(&mut call, hotline_wire::node::VerbResult::Transferred { answered: false, reasons: vec![] });
    assert_eq!(call.words(), "hold", "back in the queue");
    let journey = world.journey(&call).join(" ");
    assert!(journey.contains("ContactTransferred") && journey.ends_with("TransferReturned"), "{journey}");
}
