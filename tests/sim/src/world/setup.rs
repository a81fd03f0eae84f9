//! A world before its first moment: tables filled through the use-cases, faults in place.

use hotline_base::{Name, NodeId, Redacted, TenantId};
use hotline_ports::faulty::{Call, Faults, Injection, wrap};
use hotline_ports::memory::Memory;
use hotline_ports::{NodeCommands, Ports};
use hotline_routing::QueueConfig;
use hotline_routing::agent::{AgentProfile, Capacity, Membership};
use hotline_routing::callback::CallFirst;
use hotline_routing::threshold::{Metric, Threshold};
use hotline_service::config::{self, Did, Kind};
use hotline_service::{Service, agents, flows};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Happening, Lines, NodeSlot, Options, Sabotage, World};
use crate::exec::Executor;
use crate::model::Model;
use crate::node::SimNode;
use crate::people::{Act, Person};
use crate::plan::{AgentPlan, CALLED_BACK, DAWN, FLOW, FaultPlan, Plan, QUEUES, TenantPlan};
use crate::report::Stats;
use crate::rng::Rng;
use crate::watch::Watch;
use crate::world::audit::Audit;

/// Decides the fate of each call on a port.
pub(super) struct FaultDice {
    rng: Mutex<Rng>,
    plan: FaultPlan,
    on: AtomicBool,
    thrown: AtomicU64,
}

impl FaultDice {
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub(super) fn turn_off(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.thrown.load(Ordering::Relaxed)
    }
}

impl Faults for FaultDice {
    fn decide(&self, call: Call) -> Injection {
        if !self.is_on() {
            return Injection::None;
        }
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = &self.plan;
        let injection = if call == Call::Commit && rng.chance(plan.conflict_pm) {
            Injection::Conflict
        } else if rng.chance(plan.before_pm) {
            Injection::FaultBefore
        } else if rng.chance(plan.after_pm) {
            Injection::FaultAfter
        } else if matches!(call, Call::Queue | Call::Command) && rng.chance(plan.duplicate_pm) {
            Injection::Duplicate
        } else if call == Call::Queue && rng.chance(plan.delay_pm) {
            Injection::Delay(Duration::from_millis(rng.between(500, 20_000) as u64))
        } else {
            Injection::None
        };
        if injection != Injection::None {
            self.thrown.fetch_add(1, Ordering::Relaxed);
        }
        injection
    }
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

impl World {
    pub(super) fn new(seed: u64, options: &Options, lines: Lines) -> Result<Self, crate::report::Failure> {
        let mut rng = Rng::new(seed);
        let plan = Plan::new(&mut rng, !options.no_faults);
        let memory = Memory::new(DAWN, rng.next());
        let watch = Arc::new(Watch::new(memory.store.clone()));
        let dice = Arc::new(FaultDice {
            rng: Mutex::new(rng.fork()),
            plan: plan.faults,
            on: AtomicBool::new(!options.no_faults),
            thrown: AtomicU64::new(0),
        });
        let ports = Ports { store: watch.clone(), ..memory.ports() };
        let quiet = Service::new(ports.clone());
        let service = Service::new(wrap(&ports, dice.clone()));
        let nodes = plan.nodes.iter().map(|p| NodeSlot {
            plan: p.clone(),
            node: SimNode::new(p.id, p.skew_ms),
            started_at: DAWN.plus_ms(p.skew_ms),
        });
        let people = plan.tenants.iter().enumerate().flat_map(|(tenant, t)| {
            t.agents.iter().map(move |plan| Person {
                tenant,
                plan: plan.clone(),
                here: false,
                left: false,
                phone: BTreeMap::new(),
            })
        });
        let mut world = Self {
            nodes: nodes.collect(),
            people: people.collect(),
            orphans: BTreeMap::new(),
            rng,
            memory,
            watch,
            dice,
            service,
            exec: Executor::default(),
            jobs: BTreeMap::new(),
            next_job: 0,
            agenda: BTreeMap::new(),
            next_happening: 0,
            stream: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            model: Model::default(),
            audit: Audit::default(),
            lines,
            names: BTreeMap::new(),
            stats: Stats::default(),
            sabotage: options.sabotage,
            plan,
        };
        let filled = world.fill(&quiet);
        filled.map_err(|what| crate::report::Failure { at: DAWN, what: format!("setting up: {what}") })?;
        if options.sabotage == Some(Sabotage::NoVersionCheck) {
            world.memory.store.ignore_versions();
        }
        world.schedule();
        Ok(world)
    }

    /// What a person who rents a hotline does first.
    fn fill(&mut self, service: &Service) -> Result<(), String> {
        for slot in 0..self.nodes.len() {
            if let Some(id) = self.nodes.get(slot).map(|s| s.node.id) {
                self.names.insert(id.to_string(), format!("n{slot}"));
                self.open_queue(id);
            }
        }
        for (index, tenant) in self.plan.tenants.clone().iter().enumerate() {
            self.names.insert(tenant.id.to_string(), format!("t{index}"));
            for agent in &tenant.agents {
                self.names.insert(agent.id.to_string(), agent.name.clone());
            }
            futures::executor::block_on(fill_tenant(service, tenant))?;
        }
        Ok(())
    }

    pub(super) fn open_queue(&self, node: NodeId) {
        // Queues in memory are opened at once.
        if let Err(fault) = futures::executor::block_on(self.memory.nodes.open(node)) {
            self.say(node, fault);
        }
    }

    fn schedule(&mut self) {
        for (index, caller) in self.plan.callers.clone().iter().enumerate() {
            self.after(caller.at_ms, Happening::Dials(index));
        }
        for index in 0..self.people.len() {
            let Some(AgentPlan { from_ms, until_ms, .. }) = self.people.get(index).map(|p| p.plan.clone()) else {
                continue;
            };
            self.after(from_ms, Happening::Act { person: index, act: Act::Come });
            self.after(until_ms.max(from_ms + 1), Happening::Act { person: index, act: Act::Leave });
        }
        for slot in 0..self.nodes.len() {
            self.after(0, Happening::Alive(slot));
            if let Some(ms) = self.nodes.get(slot).and_then(|s| s.plan.crash_ms) {
                self.after(ms, Happening::Crash(slot));
            }
        }
        let offset = self.rng.between(0, 59_999);
        self.after(offset, Happening::Minute);
        self.after(2_000, Happening::Leases);
        self.after(5_000, Happening::Audit);
        self.after(30_000, Happening::Office);
    }
}

fn skills(plan: &AgentPlan) -> BTreeMap<Name, u8> {
    let mut skills: BTreeMap<Name, u8> = [(name("lang-zh"), 5)].into();
    if plan.english {
        skills.insert(name("lang-en"), 3);
    }
    if plan.queues.contains(&0) {
        skills.insert(name("technical"), 2);
    }
    skills
}

pub(super) fn profile(plan: &AgentPlan) -> AgentProfile {
    let queues = plan.queues.iter().filter_map(|q| QUEUES.get(*q));
    AgentProfile {
        agent: plan.id,
        display_name: Redacted::new(plan.name.clone()),
        sip_user: plan.name.clone(),
        voice: true,
        capacity: Capacity::default(),
        skills: skills(plan),
        queues: queues.map(|queue| (name(queue), Membership::default())).collect(),
        groups: vec![name("desk")],
    }
}

async fn fill_tenant(service: &Service, tenant: &TenantPlan) -> Result<(), String> {
    let by = "sim";
    let wrong = |error: hotline_service::ServiceError| error.to_string();
    for (index, queue) in QUEUES.iter().enumerate() {
        let mut config = QueueConfig::new(name(queue));
        config.wrap_up_ms = if index == 1 { 0 } else { 20_000 };
        config.ring_timeout_ms = 15_000;
        config.callback.retry_after_ms = 60_000;
        config.callback.attempts = 2;
        if index == 2 {
            config.callback.first = CallFirst::Party;
            config.callback.flow = tenant.did.ends_with('1').then(|| name("called-back"));
        }
        if index == 0 {
            config.next_tier = Some(name(QUEUES[1]));
        }
        config.thresholds = vec![
            Threshold { metric: Metric::Waiting, raise: 2, clear: 1 },
            Threshold { metric: Metric::LongestWaitS, raise: 45, clear: 10 },
        ];
        config::put(service, tenant.id, Kind::QUEUE, queue, &config, None, by).await.map_err(wrong)?;
    }
    // Declared: there may be nobody today who has it.
    config::put(service, tenant.id, Kind::SKILL, "technical", &serde_json::json!({"name": "technical"}), None, by)
        .await
        .map_err(wrong)?;
    for plan in &tenant.agents {
        agents::configure(service, tenant.id, profile(plan)).await.map_err(wrong)?;
    }
    flows::publish(service, tenant.id, &name("main"), FLOW, by).await.map_err(wrong)?;
    flows::publish(service, tenant.id, &name("called-back"), CALLED_BACK, by).await.map_err(wrong)?;
    let did = Did { tenant: tenant.id, flow: name("main") };
    config::put(service, TenantId::PLATFORM, Kind::DID, &tenant.did, &did, None, by).await.map_err(wrong)?;
    Ok(())
}
