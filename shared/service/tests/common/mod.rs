//! A small world for tests: memory ports, a tenant with a published flow, a scripted node.
#![allow(dead_code)]

use futures::executor::block_on;
use hotline_base::{AgentId, ContactId, Name, NodeId, TenantId, Timestamp};
use hotline_contact::Contact;
use hotline_ports::memory::Memory;
use hotline_ports::{FactRow, WorkQueue};
use hotline_routing::agent::{AgentProfile, Membership, Requested};
use hotline_routing::{Agent, QueueConfig};
use hotline_service::config::{self, Did, Kind};
use hotline_service::settings::{self, CallLimits, CallRate, Settings};
use hotline_service::{Service, agents, contacts, facts, flows, ivr, nodes, outbox, timers, work};
use hotline_sla::Calendar;
use hotline_wire::node::{CallEvent, CallInput, Decision, NodeAction, NodeCommand, RingAgent, Verb, VerbResult};
use std::collections::BTreeMap;

pub const START: i64 = 1_795_000_000_000;
pub const DID: &str = "+861012345678";
pub const CALLER: &str = "+8613800138000";
pub const NODE: NodeId = NodeId::from_u128(77);
pub const TENANT: TenantId = TenantId::from_u128(1);
pub const AGENT: AgentId = AgentId::from_u128(501);

pub const DEMO: &str = include_str!("../../../flow/examples/demo.flow.yaml");

/// A flow in which callers wait for half an hour.
pub const PATIENT: &str = "\
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
    then: bye
  bye:
    hangup: bye
";

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub struct World {
    pub memory: Memory,
    pub service: Service,
    /// Every fact that the stream gave, in order.
    pub facts: Vec<FactRow>,
    next_contact: u128,
}

/// One call as its node sees it.
pub struct Call {
    pub contact: ContactId,
    pub seq: u32,
    pub label: String,
    pub script: Vec<Verb>,
    pub tenant: Option<TenantId>,
}

impl World {
    /// A tenant whose number runs `flow`, with three queues and an office that is always open.
    pub fn new(flow: &str) -> Self {
        let memory = Memory::new(Timestamp::from_millis(START), 1);
        let service = Service::new(memory.ports());
        let mut world = Self { memory, service, facts: Vec::new(), next_contact: 1000 };
        block_on(world.configure(flow));
        world.settle();
        world
    }

    async fn configure(&mut self, flow: &str) {
        let service = &self.service;
        for queue in ["technical", "billing", "general"] {
            let config = QueueConfig::new(name(queue));
            config::put(service, TENANT, Kind::QUEUE, queue, &config, None, "test").await.unwrap();
        }
        let office = Calendar::always(name("office"));
        config::put(service, TENANT, Kind::CALENDAR, "office", &office, None, "test").await.unwrap();
        // Tests have one caller who calls often.
        let often = CallRate { at_once: 1_000, per_minute: 1_000 };
        let limits = CallLimits { per_caller: often, ..CallLimits::default() };
        settings::put(service, TENANT, &Settings { limits, ..Settings::default() }, None, "test").await.unwrap();
        self.memory.ports().nodes.open(NODE).await.unwrap();
        let profile = AgentProfile {
            agent: AGENT,
            display_name: "Fang".to_string().into(),
            sip_user: "fang.demo".into(),
            voice: true,
            capacity: Default::default(),
            skills: BTreeMap::new(),
            queues: [(name("technical"), Membership::default()), (name("general"), Membership::default())].into(),
            groups: vec![name("experts")],
        };
        agents::configure(service, TENANT, profile).await.unwrap();
        // A flow may name only people that there are.
        let parsed = hotline_flow::parse(flow).unwrap();
        flows::publish(service, TENANT, &parsed.name, flow, "test").await.unwrap();
        let did = Did { tenant: TENANT, flow: parsed.name };
        config::put(service, TenantId::PLATFORM, Kind::DID, DID, &did, None, "test").await.unwrap();
    }

    /// The agent's phone registers and the console is open.
    pub fn sign_in(&mut self) {
        let expires = self.service.now().plus_ms(3_600_000);
        block_on(agents::phone(&self.service, TENANT, AGENT, NODE, Some(expires))).unwrap();
        block_on(agents::heartbeat(&self.service, TENANT, AGENT, "tab".into())).unwrap();
    }

    pub fn available(&mut self) -> Agent {
        block_on(agents::request_state(&self.service, TENANT, AGENT, Requested::Available)).unwrap()
    }

    pub fn agent(&self) -> Agent {
        block_on(agents::get(&self.service, TENANT, AGENT)).unwrap().unwrap()
    }

    pub fn contact(&self, call: &Call) -> Contact {
        block_on(contacts::get(&self.service, TENANT, call.contact)).unwrap().unwrap()
    }

    /// Delivers everything that is due now: queues, stream; until nothing is left.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            let messages = self.memory.queues.take_visible();
            let facts = self.memory.store.take_stream();
            if messages.is_empty() && facts.is_empty() {
                return;
            }
            // Everything comes twice: queues and streams deliver at least once.
            for message in messages.iter().chain(&messages) {
                let done = match message.queue {
                    WorkQueue::Timers => block_on(timers::handle(&self.service, &message.body)),
                    WorkQueue::Work => block_on(work::handle(&self.service, &message.body)),
                };
                done.unwrap();
            }
            for fact in facts {
                block_on(facts::consume(&self.service, &fact)).unwrap();
                block_on(facts::consume(&self.service, &fact)).unwrap();
                self.facts.push(fact);
            }
        }
        panic!("the world does not become quiet");
    }

    /// Lets time pass, minute by minute with its sweeps, and delivers what becomes due.
    pub fn pass_ms(&mut self, ms: i64) {
        let until = self.service.now().plus_ms(ms);
        loop {
            block_on(timers::sweep(&self.service)).unwrap();
            block_on(outbox::sweep(&self.service)).unwrap();
            let minute = self.service.now().plus_ms(60_000).min(until);
            while let Some(next) = self.memory.queues.next_visible().filter(|at| *at <= minute) {
                self.memory.world.set(next);
                self.settle();
            }
            self.memory.world.set(minute);
            self.settle();
            if self.service.now() >= until {
                return;
            }
        }
    }

    pub fn check_leases(&mut self) -> usize {
        let lost = block_on(nodes::check_leases(&self.service)).unwrap();
        self.settle();
        lost
    }

    pub fn call(&mut self) -> (Call, Decision) {
        self.call_to(DID)
    }

    pub fn call_to(&mut self, did: &str) -> (Call, Decision) {
        self.next_contact += 1;
        let contact = ContactId::new(self.service.now(), self.next_contact);
        let mut call = Call { contact, seq: 0, label: String::new(), script: Vec::new(), tenant: None };
        let decision = self.send(&mut call, arrived(did));
        (call, decision)
    }

    /// Reports an event of a call, twice; the second answer must equal the first.
    pub fn send(&mut self, call: &mut Call, event: CallEvent) -> Decision {
        call.seq += 1;
        let input = CallInput {
            contact: call.contact,
            tenant: call.tenant,
            node: NODE,
            seq: call.seq,
            at: self.service.now(),
            event,
        };
        let decision = block_on(ivr::handle(&self.service, input.clone())).unwrap();
        let facts = self.memory.store.all_facts().len();
        let again = block_on(ivr::handle(&self.service, input)).unwrap();
        assert_eq!(again, decision, "a repeat gets the same answer");
        assert_eq!(self.memory.store.all_facts().len(), facts, "a repeat changes nothing");
        call.tenant = Some(decision.tenant);
        call.take(&decision.label, decision.script.clone());
        self.settle();
        decision
    }

    /// The present script came to its end.
    pub fn ended(&mut self, call: &mut Call, result: VerbResult) -> Decision {
        let label = call.label.clone();
        self.send(call, CallEvent::ScriptEnded { label, result })
    }

    pub fn press(&mut self, call: &mut Call, digits: &str) -> Decision {
        self.ended(call, VerbResult::Digits { digits: digits.to_string().into() })
    }

    /// Commands that came for the node; scripts among them are taken up by the call.
    pub fn commands(&mut self, call: &mut Call) -> Vec<NodeAction> {
        let commands: Vec<NodeCommand> = self.memory.nodes.take(NODE);
        let mut actions = Vec::new();
        for command in commands {
            assert_eq!(command.contact, call.contact);
            if let NodeAction::Script { label, script } = &command.action {
                call.take(label, Some(script.clone()));
            }
            actions.push(command.action);
        }
        actions
    }

    /// The only command that came: an agent is to be rung.
    pub fn ring(&mut self, call: &mut Call) -> RingAgent {
        match self.commands(call).as_slice() {
            [NodeAction::Ring(ring)] => ring.clone(),
            other => panic!("not one ring: {other:?}"),
        }
    }

    /// Names of a contact's facts, in order.
    pub fn journey(&self, call: &Call) -> Vec<String> {
        let id = call.contact.to_string();
        let facts = self.facts.iter().filter(|fact| fact.subject.id == id && fact.subject.kind == "contact");
        facts.map(|fact| fact.name.clone()).collect()
    }
}

impl Call {
    fn take(&mut self, label: &str, script: Option<Vec<Verb>>) {
        if let Some(script) = script {
            self.label = label.into();
            self.script = script;
        }
    }

    /// The script in words: one per verb.
    pub fn words(&self) -> String {
        let word = |verb: &Verb| match verb {
            Verb::Answer => "answer",
            Verb::Reject { .. } => "reject",
            Verb::Play { .. } => "play",
            Verb::Gather { .. } => "gather",
            Verb::Hold { .. } => "hold",
            Verb::Ring(_) => "ring",
            Verb::Record { .. } => "record",
            Verb::Transfer { .. } => "transfer",
            Verb::SendKeys(_) => "send-keys",
            Verb::Hangup => "hangup",
        };
        self.script.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

pub fn arrived(did: &str) -> CallEvent {
    CallEvent::Arrived {
        did: did.into(),
        from: CALLER.to_string().into(),
        display_name: "Li".to_string().into(),
        sip_call_id: "abc@host".into(),
        dialog: None,
        diverted: None,
    }
}
