//! Who is in a small world, and what they say.

use hotline_base::{AgentId, ContactId, Machine, Name, NodeId, OfferId, Redacted, TenantId, Timestamp};
use hotline_contact::{Event, FlowPin, PromptBook, Setting};
use hotline_flow::Compiled;
use hotline_flow::run::{Env, QueueView};
use hotline_routing::agent::{AgentProfile, Capacity, Requested};
use hotline_routing::{Agent, AgentInput, AgentMachine, AvailableAgent, QueueConfig};
use hotline_wire::node::CallEvent;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

pub(super) const DAWN: Timestamp = Timestamp::from_millis(1_795_000_000_000);
pub(super) const TENANT: TenantId = TenantId::from_u128(1);
pub(super) const NODE: NodeId = NodeId::from_u128(7);
pub(super) const RING_MS: u32 = 20_000;

const FLOW: &str = "\
flow: main
languages: [en]
start: wait
prompts:
  bye: {en: Goodbye.}
steps:
  wait:
    queue: desk
    max_wait: 10m
    on_max_wait: bye
    then: bye
  bye:
    hangup: bye
";

fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn contact_id(i: usize) -> ContactId {
    ContactId::new(DAWN, 100 + i as u128)
}

pub(super) fn contact_index(id: ContactId) -> usize {
    (id.as_u128() & 0xffff).wrapping_sub(100) as usize
}

fn agent_id(i: usize) -> AgentId {
    AgentId::from_u128(200 + i as u128)
}

pub(super) fn agent_index(id: AgentId) -> usize {
    id.as_u128().wrapping_sub(200) as usize
}

/// The same claim has the same id on every way that leads to it.
pub(super) fn offer_id(contact: usize, agent: usize, number: u32) -> OfferId {
    OfferId::from_u128(((contact as u128 + 1) << 32) | ((agent as u128 + 1) << 16) | u128::from(number))
}

pub(super) fn queue() -> QueueConfig {
    static QUEUE: OnceLock<QueueConfig> = OnceLock::new();
    QUEUE
        .get_or_init(|| QueueConfig { wrap_up_ms: 0, ring_timeout_ms: RING_MS, ..QueueConfig::new(name("desk")) })
        .clone()
}

pub(super) fn setting() -> Arc<Setting> {
    static SETTING: OnceLock<Arc<Setting>> = OnceLock::new();
    SETTING.get_or_init(make_setting).clone()
}

fn make_setting() -> Arc<Setting> {
    let flow = hotline_flow::parse(FLOW).unwrap_or_else(|errors| panic!("{errors:?}"));
    let flow = Compiled::new(flow, &BTreeMap::new()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let desk = queue();
    let view = QueueView { staffed: 1, ..QueueView::default() };
    Arc::new(Setting {
        flow: Arc::new(flow),
        pin: FlowPin { name: name("main"), version: 1 },
        prompts: Arc::new(PromptBook::new(TENANT, "explore", BTreeMap::new())),
        env: Env { queues: [(desk.name.clone(), view)].into(), ..Env::default() },
        queues: Arc::new([(desk.name.clone(), desk)].into()),
        same_caller: BTreeMap::new(),
        last_agent: None,
        position: Some(1),
        callback: None,
        home: Default::default(),
        refer: None,
        fresh: 99,
    })
}

pub(super) fn arrived() -> CallEvent {
    CallEvent::Arrived {
        did: "+8610555".into(),
        // Withheld: nobody can be called back, so a lost call is over.
        from: Redacted::new(String::new()),
        display_name: Redacted::new(String::new()),
        sip_call_id: "x".into(),
        dialog: None,
        diverted: None,
    }
}

/// An agent who has not come yet.
pub(super) fn agent(i: usize) -> Agent {
    let profile = AgentProfile {
        agent: agent_id(i),
        display_name: Redacted::new(format!("agent {i}")),
        sip_user: format!("agent{i}"),
        voice: true,
        capacity: Capacity::default(),
        skills: BTreeMap::new(),
        queues: [(name("desk"), Default::default())].into(),
        groups: Vec::new(),
    };
    let step = AgentMachine::step(None, &AgentInput::Configure { profile }, DAWN);
    step.unwrap_or_else(|reject| panic!("{reject}")).state
}

/// What an agent who comes does.
pub(super) fn comes(now: Timestamp) -> [AgentInput; 3] {
    [
        AgentInput::Heartbeat { console: "desk".into() },
        AgentInput::PhoneRegistered { node: NODE, expires: now.plus_ms(3_600_000) },
        AgentInput::RequestState { to: Requested::Available },
    ]
}

pub(super) fn listed(agent: &Agent) -> AvailableAgent {
    AvailableAgent {
        agent: agent.profile.agent,
        skills: agent.profile.skills.clone(),
        idle_since: agent.idle_since,
        occupancy_pm: 0,
    }
}

pub(super) fn offer(offer: OfferId, agent: &Agent) -> Event {
    Event::Offer {
        offer,
        agent: agent.profile.agent,
        sip_user: agent.profile.sip_user.clone(),
        phone_node: NODE,
        ring_timeout_ms: RING_MS,
        caller_label: Redacted::new("somebody".into()),
        record: None,
        phone_address: None,
        dial: None,
        by: None,
    }
}
