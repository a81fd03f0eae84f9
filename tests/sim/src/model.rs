//! What must hold after every commit: a second, typed picture of the tables, kept from the
//! commits alone and compared with what the machines derive.

use hotline_base::{AgentId, EntityKey, IndexRow, Machine, OfferId, TenantId, Timestamp, unsharded};
use hotline_contact::{Contact, ContactMachine, Phase};
use hotline_ports::{Commit, FactRow, TimerRow};
use hotline_routing::{Agent, AgentMachine, AgentState};
use hotline_ticket::{Ticket, TicketMachine};
use std::collections::{BTreeMap, BTreeSet};

/// A row's place: tenant, partition, sort.
type Place = (TenantId, String, String);

/// Partitions whose rows follow from states alone.
fn is_derived(partition: &str) -> bool {
    ["waiting/", "available/", "staffed/", "standby/", "contacts/node/"].iter().any(|p| partition.starts_with(p))
        || unsharded(partition) == "agents"
}

/// The tables as the commits made them.
#[derive(Default)]
pub struct Model {
    /// Contacts.
    pub contacts: BTreeMap<EntityKey, Contact>,
    /// Agents.
    pub agents: BTreeMap<EntityKey, Agent>,
    /// Tickets.
    pub tickets: BTreeMap<EntityKey, Ticket>,
    /// All facts, in the order of their commits.
    pub facts: Vec<FactRow>,
    timers: BTreeMap<EntityKey, BTreeMap<String, Timestamp>>,
    rows: BTreeMap<Place, String>,
    expected: BTreeMap<Place, (EntityKey, String)>,
    ended: BTreeSet<EntityKey>,
    arrived: BTreeSet<EntityKey>,
}

fn read<T: serde::de::DeserializeOwned>(key: &EntityKey, body: &serde_json::Value) -> Result<T, String> {
    serde_json::from_value(body.clone()).map_err(|e| format!("{key:?} cannot be read back: {e}"))
}

impl Model {
    /// Takes a commit in.
    ///
    /// # Errors
    /// What does not hold any more.
    pub fn apply(&mut self, commit: &Commit) -> Result<(), String> {
        self.tables(commit)?;
        let mut entered = Vec::new();
        for write in &commit.writes {
            let (key, body) = (&write.key, &write.next.body);
            match key.kind.as_str() {
                ContactMachine::KIND => {
                    let state: Contact = read(key, body)?;
                    self.derived::<ContactMachine>(key, &state)?;
                    let before = self.contacts.insert(key.clone(), state);
                    self.once_ended(key, before.as_ref())?;
                    entered.push((key.clone(), before));
                }
                AgentMachine::KIND => {
                    let state: Agent = read(key, body)?;
                    self.derived::<AgentMachine>(key, &state)?;
                    self.agents.insert(key.clone(), state);
                }
                TicketMachine::KIND => {
                    let state: Ticket = read(key, body)?;
                    self.deadlines::<TicketMachine>(key, &state)?;
                    self.tickets.insert(key.clone(), state);
                }
                _ => {}
            }
        }
        self.no_other_rows()?;
        for (key, before) in entered {
            self.handshake(&key, before.and_then(|c| c.offer()))?;
        }
        for fact in &commit.facts {
            self.fact(fact)?;
        }
        self.facts.extend(commit.facts.iter().cloned());
        Ok(())
    }

    fn tables(&mut self, commit: &Commit) -> Result<(), String> {
        let tenants: BTreeSet<TenantId> = commit.writes.iter().map(|w| w.key.tenant).collect();
        if tenants.iter().filter(|t| **t != TenantId::PLATFORM).count() > 1 {
            return Err(format!("one commit writes entities of several tenants: {tenants:?}"));
        }
        for (tenant, partition, sort) in &commit.rows_delete {
            self.rows.remove(&(*tenant, partition.clone(), sort.clone()));
        }
        for (tenant, row) in &commit.rows_put {
            if !tenants.is_empty() && !tenants.contains(tenant) && *tenant != TenantId::PLATFORM {
                return Err(format!("a row of {tenant} in a commit of {tenants:?}: {}", row.partition));
            }
            self.rows.insert((*tenant, row.partition.clone(), row.sort.clone()), row.body.clone());
        }
        for TimerRow { due, subject, timer } in &commit.timers_delete {
            let armed = self.timers.entry(subject.clone()).or_default();
            if armed.get(timer) == Some(due) {
                armed.remove(timer);
            }
        }
        for TimerRow { due, subject, timer } in &commit.timers_put {
            self.timers.entry(subject.clone()).or_default().insert(timer.clone(), *due);
        }
        Ok(())
    }

    /// Every deadline of a state is armed, and nothing else.
    fn deadlines<M: Machine>(&self, key: &EntityKey, state: &M::State) -> Result<(), String> {
        let wanted = M::deadlines(state);
        let armed = self.timers.get(key).cloned().unwrap_or_default();
        if wanted != armed {
            return Err(format!("{key:?}: deadlines {wanted:?}, armed {armed:?}"));
        }
        Ok(())
    }

    /// The state's rows are in the tables, and none of those it had before is left over.
    fn derived<M: Machine>(&mut self, key: &EntityKey, state: &M::State) -> Result<(), String> {
        self.deadlines::<M>(key, state)?;
        self.expected.retain(|_, (owner, _)| owner != key);
        for IndexRow { partition, sort, body } in M::rows(state) {
            let place = (key.tenant, partition, sort);
            match self.rows.get(&place) {
                Some(found) if *found == body => {}
                found => return Err(format!("{key:?}: row {place:?} should be {body}, is {found:?}")),
            }
            if is_derived(&place.1) {
                self.expected.insert(place, (key.clone(), body));
            }
        }
        Ok(())
    }

    fn no_other_rows(&self) -> Result<(), String> {
        let actual = self.rows.keys().filter(|place| is_derived(&place.1));
        match actual.into_iter().find(|place| !self.expected.contains_key(*place)) {
            Some(place) => Err(format!("row {place:?} belongs to nobody: its entity is elsewhere")),
            None => Ok(()),
        }
    }

    /// What is over stays over.
    fn once_ended(&self, key: &EntityKey, before: Option<&Contact>) -> Result<(), String> {
        let Some(Phase::Ended { at: then, .. }) = before.map(|c| &c.phase) else { return Ok(()) };
        match self.contacts.get(key).map(|c| &c.phase) {
            Some(Phase::Ended { at, .. }) if at == then => Ok(()),
            other => Err(format!("{key:?} was over and goes on: {other:?}")),
        }
    }

    /// The agent a contact has or is offered to.
    pub fn agent_of(&self, tenant: TenantId, agent: AgentId) -> Option<&Agent> {
        self.agents.get(&EntityKey::of::<AgentMachine>(tenant, agent))
    }

    /// A contact that is offered to an agent was claimed on both sides at once; an agent talks
    /// with one contact at most.
    fn handshake(&self, key: &EntityKey, offer_before: Option<OfferId>) -> Result<(), String> {
        let Some(contact) = self.contacts.get(key) else { return Ok(()) };
        match &contact.phase {
            Phase::Offered { offer, .. } if offer_before != Some(offer.offer) => {
                let holds = self.agent_of(key.tenant, offer.agent).and_then(|a| a.state.offer());
                if holds != Some(offer.offer) {
                    return Err(format!("{key:?} is offered to {} who holds {holds:?}", offer.agent));
                }
            }
            Phase::Talking { interaction, .. } => {
                let others = self.contacts.iter().filter(|(k, c)| {
                    k.tenant == key.tenant
                        && *k != key
                        && matches!(&c.phase, Phase::Talking { interaction: i, .. } if i.agent == interaction.agent)
                });
                let others: Vec<_> = others.map(|(k, _)| k.id.clone()).collect();
                if !others.is_empty() {
                    return Err(format!("{} talks in {key:?} and in {others:?}", interaction.agent));
                }
                if self.agent_of(key.tenant, interaction.agent).is_none() {
                    return Err(format!("{key:?} talks with {} of another tenant", interaction.agent));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn fact(&mut self, fact: &FactRow) -> Result<(), String> {
        if fact.subject.kind != ContactMachine::KIND {
            return Ok(());
        }
        let key = &fact.subject;
        if !self.arrived.contains(key) {
            if fact.name != "ContactArrived" {
                return Err(format!("{key:?}: {} before its arrival", fact.name));
            }
            self.arrived.insert(key.clone());
        } else if fact.name == "ContactArrived" {
            return Err(format!("{key:?} arrived twice"));
        }
        let about_recording = fact.name.starts_with("Recording") || fact.name == "VoicemailLeft";
        if self.ended.contains(key) && !about_recording {
            return Err(format!("{key:?}: {} after its end", fact.name));
        }
        if fact.name == "ContactEnded" && !self.ended.insert(key.clone()) {
            return Err(format!("{key:?} ended twice"));
        }
        Ok(())
    }

    /// Contacts that arrived and those that ended.
    pub fn counts(&self) -> (usize, usize) {
        (self.arrived.len(), self.ended.len())
    }

    /// Rows in partitions that follow from states, with this beginning.
    pub fn rows_under(&self, beginning: &str) -> usize {
        self.rows.keys().filter(|(_, partition, _)| partition.starts_with(beginning)).count()
    }

    /// Timers that are armed.
    pub fn armed(&self) -> usize {
        self.timers.values().map(BTreeMap::len).sum()
    }

    /// Free agents with a phone, by queue name.
    pub fn free_agents(&self, tenant: TenantId, now: Timestamp) -> Vec<&Agent> {
        let of_tenant = self.agents.iter().filter(|(k, _)| k.tenant == tenant).map(|(_, a)| a);
        of_tenant
            .filter(|a| a.state == AgentState::Available && a.live_phone(now).is_some() && a.is_present(now))
            .collect()
    }
}
