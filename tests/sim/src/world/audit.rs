//! What must hold not at once but soon, and at the end.

use hotline_base::{EntityKey, NodeId, TenantId, Timestamp, unsharded};
use hotline_contact::{PartyLeg, Phase, RecordingStatus};
use hotline_routing::{AgentState, AvailableAgent, Decision, QueueConfig, Snapshot, choose};
use std::collections::BTreeMap;

use super::{Happening, World};
use crate::plan::QUEUES;

/// Somebody waits beside a free agent who could take the call: for so long at most, milliseconds.
/// Two minutes are the rounds of the sweepers; a third for what they do to fail.
const STARVED_MS: i64 = 180_000;
/// Both sides of an offer or call agree again after this, milliseconds.
const DISAGREE_MS: i64 = 420_000;
/// The contacts of a dead node are found within this, milliseconds, while everything else fails.
const LOST_MS: i64 = 100_000;
/// Faults end so long after the last call came, milliseconds: the world has to calm down.
const CALM_MS: i64 = 780_000;

/// Since when something that should pass has been so.
#[derive(Default)]
pub(super) struct Audit {
    since: BTreeMap<String, Timestamp>,
    down: BTreeMap<NodeId, Timestamp>,
}

impl Audit {
    pub(super) fn node_down(&mut self, node: NodeId, at: Timestamp) {
        self.down.insert(node, at);
    }
}

impl World {
    /// Takes in what was committed and checks it.
    pub(super) fn take_commits(&mut self) -> Result<(), String> {
        for commit in self.watch.take() {
            self.stats.commits += 1;
            for fact in &commit.facts {
                self.stats.contacts += u64::from(fact.name == "ContactArrived");
                self.stats.offers += u64::from(fact.name == "OfferMade");
                self.stats.answered += u64::from(fact.name == "LegsBridged");
                let mut body = fact.body.clone();
                if let Some(map) = body.as_object_mut() {
                    map.remove("fact");
                    map.retain(|_, value| !value.is_null());
                }
                self.say(&fact.subject.id, format!("= {} {body}", fact.name));
            }
            self.model.apply(&commit)?;
        }
        Ok(())
    }

    pub(super) fn audit(&mut self) -> Result<(), String> {
        let now = self.now();
        if self.elapsed_ms() > self.plan.length_ms + CALM_MS {
            self.dice.turn_off();
        }
        let mut present: BTreeMap<String, i64> = BTreeMap::new();
        for tenant in self.plan.tenants.iter().map(|t| t.id) {
            for queue in QUEUES {
                if let Some(pair) = self.unserved(tenant, queue, now) {
                    present.insert(format!("{queue} of {tenant}: {pair}"), STARVED_MS);
                }
            }
        }
        for (key, agent) in &self.model.agents {
            if let (Some(contact), Some(offer)) = (agent.state.contact(), agent.state.offer()) {
                let contact_key = EntityKey { tenant: key.tenant, kind: "contact".into(), id: contact.to_string() };
                let held = self.model.contacts.get(&contact_key).and_then(|c| c.holder(offer));
                if held != Some(agent.profile.agent) {
                    let what = format!("{} is {} with {contact}, who is not", key.id, agent.state.name());
                    present.insert(what, DISAGREE_MS);
                }
            }
        }
        for (key, contact) in &self.model.contacts {
            for (offer, agent) in contact.holders() {
                let holds = self.model.agent_of(key.tenant, agent).and_then(|a| a.state.offer());
                if holds != Some(offer) {
                    present.insert(format!("{} has {agent}, who has {holds:?}", key.id), DISAGREE_MS);
                }
            }
        }
        for (key, contact) in self.model.contacts.iter().filter(|(_, c)| c.is_alive()) {
            let carried = contact.leg != PartyLeg::Absent || contact.offer().is_some();
            let since = contact.anchored_at.unwrap_or(contact.id.created_at());
            let down = self.audit.down.get(&contact.node).filter(|at| carried && since <= **at);
            if down.is_some_and(|at| now.since_ms(*at) > LOST_MS) {
                present.insert(format!("{} was on {} when it lost power", key.id, contact.node), LOST_MS);
            }
        }
        self.audit.since.retain(|what, _| present.contains_key(what));
        for (what, limit) in present {
            let since = *self.audit.since.entry(what.clone()).or_insert(now);
            if now.since_ms(since) > limit {
                return Err(format!("for {} s already: {what}", now.since_ms(since) / 1_000));
            }
        }
        let wait = if self.is_after_hours() { 3_600_000 } else { 5_000 };
        self.after(wait, Happening::Audit);
        Ok(())
    }

    /// Neither on its way to another node nor a call back that no node can make.
    fn can_be_offered(&self, contact: &hotline_contact::Contact) -> bool {
        match contact.leg {
            PartyLeg::Here => true,
            PartyLeg::Absent => self.nodes.iter().any(|slot| slot.node.up),
            PartyLeg::Moving { .. } => false,
        }
    }

    /// A pair that could be matched now.
    fn unserved(&self, tenant: TenantId, queue: &str, now: Timestamp) -> Option<String> {
        let config = QueueConfig::new(queue.parse().ok()?);
        let waits = self.model.contacts.iter().filter(|(key, _)| key.tenant == tenant);
        let waiting = waits.filter_map(|(_, contact)| match &contact.phase {
            Phase::Waiting(wait) if wait.place.queue() == Some(&config.name) && self.can_be_offered(contact) => {
                Some(wait.entry.clone())
            }
            _ => None,
        });
        let free = self.model.free_agents(tenant, now).into_iter();
        let serving = free.filter(|agent| agent.profile.queues.contains_key(&config.name));
        let available = serving.map(|agent| AvailableAgent {
            agent: agent.profile.agent,
            skills: agent.profile.skills.clone(),
            idle_since: agent.idle_since,
            occupancy_pm: 0,
        });
        match choose(&Snapshot::new(&config, waiting.collect(), available.collect(), now)) {
            Decision::Match { contact, agent, .. } => Some(format!("{contact} waits while {agent} is free")),
            Decision::Nothing { .. } => None,
        }
    }

    /// The world is quiet: nobody may be left anywhere.
    pub(super) fn final_checks(&mut self) -> Result<(), String> {
        self.take_commits()?;
        for (key, contact) in &self.model.contacts {
            if contact.is_alive() {
                return Err(format!("{} never ended: {:?}", key.id, contact.phase));
            }
            let open = contact
                .recordings
                .iter()
                .find(|r| matches!(r.status, RecordingStatus::Running | RecordingStatus::Delivered));
            if let Some(open) = open {
                return Err(format!("{}: recording {} is neither saved nor lost", key.id, open.recording));
            }
        }
        for (key, agent) in &self.model.agents {
            if agent.state != AgentState::Offline {
                return Err(format!("{} went home and is {}", key.id, agent.state.name()));
            }
        }
        for partition in
            ["waiting/", "available/", "staffed/", "standby/", "contacts/node/", "callbacks", "alarms", "live/"]
        {
            if self.model.rows_under(partition) > 0 {
                return Err(format!("rows are left in {partition}"));
            }
        }
        if self.model.armed() > 0 {
            return Err(format!("{} timers are armed for ever", self.model.armed()));
        }
        self.alarms()?;
        self.tickets()?;
        self.promises()?;
        self.reports()
    }

    /// What is raised is cleared before it is raised again, and at the end nothing is raised.
    fn alarms(&self) -> Result<(), String> {
        let mut open: BTreeMap<String, bool> = BTreeMap::new();
        for fact in self.model.facts.iter().filter(|fact| fact.subject.kind == "queue-alarms") {
            let raised = fact.name == "ThresholdRaised";
            let which = format!("{:?} {} {}", fact.subject, fact.body["metric"], fact.body["raise"]);
            let slot = open.entry(which.clone()).or_default();
            if *slot == raised {
                return Err(format!("{which}: {} twice in a row", fact.name));
            }
            *slot = raised;
        }
        match open.iter().find(|(_, raised)| **raised) {
            Some((which, _)) => Err(format!("{which} is raised for ever")),
            None => Ok(()),
        }
    }

    /// A promise was broken exactly where the clock passed its deadline before it was met.
    fn promises(&self) -> Result<(), String> {
        for (key, ticket) in &self.model.tickets {
            for clock in [&ticket.response, &ticket.resolution] {
                let goal = serde_json::to_value(clock.goal()).map_err(|e| e.to_string())?;
                let breaches: Vec<_> = self
                    .model
                    .facts
                    .iter()
                    .filter(|f| f.subject == *key && f.name == "SlaBreached" && f.body.get("goal") == Some(&goal))
                    .collect();
                for fact in &breaches {
                    let deadline = fact.body.get("deadline").and_then(|d| d.as_i64()).unwrap_or(i64::MAX);
                    if fact.at.as_millis() < deadline {
                        return Err(format!("{}: {goal} was called broken before its deadline", key.id));
                    }
                }
                let Some(deadline) = clock.deadline() else { continue };
                let passed = clock.met_at().is_none_or(|met| met > deadline) && deadline < self.now();
                if passed && breaches.is_empty() {
                    return Err(format!("{}: {goal} was due at {deadline} and nobody noticed", key.id));
                }
            }
        }
        Ok(())
    }

    /// The counters are the fold of the facts, each counted once.
    fn reports(&self) -> Result<(), String> {
        let mut wanted: BTreeMap<(TenantId, String, String), BTreeMap<String, i64>> = BTreeMap::new();
        for fact in &self.model.facts {
            let adds = hotline_report::fold(&fact.subject.kind, &fact.name, &fact.body, fact.at);
            for add in adds.map_err(|e| e.to_string())? {
                let row = wanted.entry((fact.subject.tenant, add.partition, add.sort)).or_default();
                for (counter, more) in add.counters {
                    *row.entry(counter.to_owned()).or_default() += more;
                }
            }
        }
        let mut found: BTreeMap<(TenantId, String, String), BTreeMap<String, i64>> = BTreeMap::new();
        for (tenant, row) in self.memory.store.all_rows() {
            if row.partition.starts_with("report/") {
                let counters: BTreeMap<String, i64> = serde_json::from_str(&row.body).map_err(|e| e.to_string())?;
                let list = unsharded(&row.partition).to_string();
                let interval = hotline_report::interval_in(&row.sort).to_string();
                let sums: &mut BTreeMap<String, i64> = found.entry((tenant, list, interval)).or_default();
                for (counter, more) in counters {
                    *sums.entry(counter).or_default() += more;
                }
            }
        }
        for (place, counters) in &wanted {
            if found.get(place) != Some(counters) {
                return Err(format!("report {place:?}: the facts say {counters:?}, the table {:?}", found.get(place)));
            }
        }
        match found.keys().find(|place| !wanted.contains_key(*place)) {
            Some(place) => Err(format!("report {place:?} follows from no fact")),
            None => Ok(()),
        }
    }

    /// One ticket for each contact that ended, and no other.
    fn tickets(&self) -> Result<(), String> {
        for key in self.model.contacts.keys() {
            let contact = key.id.parse().map_err(|e| format!("{e}"))?;
            // A call back belongs to the ticket of what it was promised for.
            let order = self.model.contacts.get(key).and_then(|c| c.order.as_ref());
            let id = hotline_ticket::ticket_of(order.and_then(|order| order.of).unwrap_or(contact));
            let ticket = EntityKey { tenant: key.tenant, kind: "ticket".into(), id: id.to_string() };
            if !self.model.tickets.contains_key(&ticket) {
                return Err(format!("{} ended without a ticket", key.id));
            }
        }
        let own = self.model.contacts.values().filter(|c| c.order.as_ref().is_none_or(|order| order.of.is_none()));
        let (contacts, tickets) = (own.count(), self.model.tickets.len());
        if contacts != tickets {
            return Err(format!("{contacts} contacts but {tickets} tickets"));
        }
        Ok(())
    }
}
