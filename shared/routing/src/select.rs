//! Who gets whom: one pure choice over a small snapshot.
//!
//! The first contact in the queue's order for whom some free agent qualifies gets the best of
//! those agents: whom it is for, then skill fit, then the queue's selection, then the id. A
//! contact that nobody can serve holds nobody up, and nobody who can be served is passed over.

use hotline_base::{AgentId, ContactId, Name, Timestamp};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::available::AvailableAgent;
use crate::queue::{QueueConfig, Selection};
use crate::skill::Skills;
use crate::waiting::WaitingEntry;

/// Rows of each side that one choice looks at; [`crate::search`] goes on to the next ones.
pub const HEAD: usize = 50;
/// A [`Record`] is never longer, bytes.
pub const RECORD_MAX_BYTES: usize = 128 * 1024;

/// What a choice is made from: the queue's rules and the heads of both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When.
    pub now: Timestamp,
    /// Which queue.
    pub queue: Name,
    /// How agents of equal fit are ordered.
    #[serde(default)]
    pub selection: Selection,
    /// The first waiting contacts, at most [`HEAD`]; any order.
    pub waiting: Vec<WaitingEntry>,
    /// The first free agents, at most [`HEAD`]; any order.
    pub available: Vec<AvailableAgent>,
}

/// Why an agent was better than the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// The contact was for this agent.
    pub affinity: bool,
    /// The sum of the agent's levels in the preferred skills that they have well enough.
    pub fit: u16,
    /// Waiting for work so long, milliseconds.
    pub idle_ms: i64,
    /// Occupied per 1,000 of staffed time.
    pub occupancy_pm: u16,
}

/// Why nothing was matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nothing {
    /// No contact waits.
    NobodyWaiting,
    /// No agent is free.
    NobodyFree,
    /// No free agent qualifies for any of these contacts.
    NobodyQualified,
}

/// What was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// This contact is offered to this agent.
    Match {
        /// Who waits.
        contact: ContactId,
        /// Who takes it.
        agent: AgentId,
        /// Why this agent.
        score: Score,
        /// Contacts before it in the order for whom no free agent qualified.
        passed_over: u16,
    },
    /// Nothing is offered.
    Nothing {
        /// Why.
        why: Nothing,
    },
}

/// Why an agent does not qualify for a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Unfit {
    /// A required skill is missing or its level too low.
    Skill {
        /// Which.
        skill: Name,
        /// The level needed now.
        needs: u8,
        /// The agent's level.
        has: u8,
    },
    /// The contact is reserved for another agent for now.
    ReservedFor {
        /// For whom.
        agent: AgentId,
        /// Until when.
        until: Timestamp,
    },
    /// The agent had this contact already and gave it back.
    Excluded,
}

/// Whether an agent may be offered a contact; if not, the first reason why.
pub fn qualifies(entry: &WaitingEntry, agent: &AvailableAgent, now: Timestamp) -> Result<(), Unfit> {
    if let Some(affinity) = entry.affinity.filter(|a| a.only && a.until > now && a.agent != agent.agent) {
        return Err(Unfit::ReservedFor { agent: affinity.agent, until: affinity.until });
    }
    if entry.not.contains(&agent.agent) {
        return Err(Unfit::Excluded);
    }
    let waited = entry.waited_ms(now);
    for need in &entry.required {
        if !need.met_by(&agent.skills, waited) {
            return Err(Unfit::Skill {
                skill: need.skill.clone(),
                needs: need.level_after(waited),
                has: agent.skills.get(&need.skill).copied().unwrap_or(0),
            });
        }
    }
    Ok(())
}

/// How well an agent suits a contact for which they qualify.
pub fn score(entry: &WaitingEntry, agent: &AvailableAgent, now: Timestamp) -> Score {
    let waited = entry.waited_ms(now);
    let fit = entry
        .preferred
        .iter()
        .filter(|need| need.met_by(&agent.skills, waited))
        .map(|need| u16::from(agent.skills.get(&need.skill).copied().unwrap_or(0)))
        .fold(0, u16::saturating_add);
    Score {
        affinity: entry.affinity.is_some_and(|a| a.agent == agent.agent && a.until > now),
        fit,
        idle_ms: now.since_ms(agent.idle_since).max(0),
        occupancy_pm: agent.occupancy_pm,
    }
}

/// The order among agents who qualify: the least is best.
type Rank = (Reverse<bool>, Reverse<u16>, u16, Timestamp, AgentId);

fn rank(selection: Selection, score: &Score, agent: &AvailableAgent) -> Rank {
    let occupancy = match selection {
        Selection::LongestIdle => 0,
        Selection::LowestOccupancy => score.occupancy_pm,
    };
    (Reverse(score.affinity), Reverse(score.fit), occupancy, agent.idle_since, agent.agent)
}

/// The choice. The order of the snapshot's lists does not matter.
pub fn choose(snapshot: &Snapshot) -> Decision {
    if snapshot.waiting.is_empty() {
        return Decision::Nothing { why: Nothing::NobodyWaiting };
    }
    if snapshot.available.is_empty() {
        return Decision::Nothing { why: Nothing::NobodyFree };
    }
    let mut order: Vec<&WaitingEntry> = snapshot.waiting.iter().collect();
    order.sort_unstable_by_key(|e| e.rank());
    for (passed_over, entry) in order.into_iter().enumerate() {
        let best = snapshot
            .available
            .iter()
            .filter(|agent| qualifies(entry, agent, snapshot.now).is_ok())
            .map(|agent| {
                let score = score(entry, agent, snapshot.now);
                (rank(snapshot.selection, &score, agent), score)
            })
            .min_by(|a, b| a.0.cmp(&b.0));
        if let Some((rank, score)) = best {
            let passed_over = u16::try_from(passed_over).unwrap_or(u16::MAX);
            return Decision::Match { contact: entry.contact, agent: rank.4, score, passed_over };
        }
    }
    Decision::Nothing { why: Nothing::NobodyQualified }
}

impl Snapshot {
    /// A snapshot from the heads of both sides; what is beyond [`HEAD`] is left out.
    pub fn new(
        queue: &QueueConfig,
        mut waiting: Vec<WaitingEntry>,
        mut available: Vec<AvailableAgent>,
        now: Timestamp,
    ) -> Self {
        waiting.truncate(HEAD);
        available.truncate(HEAD);
        Self { now, queue: queue.name.clone(), selection: queue.selection, waiting, available }
    }

    /// The same snapshot with only what the choice depends on: needs as they are at its moment,
    /// skills that some contact asks for, and the contacts up to the one chosen with a few behind
    /// it. [`choose`] gives the same.
    fn compact(&self, decision: &Decision) -> Self {
        let mut waiting = self.waiting.clone();
        waiting.sort_unstable_by_key(WaitingEntry::rank);
        if let Decision::Match { passed_over, .. } = decision {
            waiting.truncate(usize::from(*passed_over) + 5);
        }
        for entry in &mut waiting {
            entry.caller.clear();
            entry.shards = 0;
            let waited = entry.waited_ms(self.now);
            for need in entry.required.iter_mut().chain(&mut entry.preferred) {
                need.level = need.level_after(waited);
                need.relax.clear();
            }
            entry.required.retain(|need| need.level > 0);
        }
        let asked: BTreeSet<&Name> =
            waiting.iter().flat_map(|e| e.required.iter().chain(&e.preferred)).map(|n| &n.skill).collect();
        let mut available = self.available.clone();
        for agent in &mut available {
            let skills: Skills =
                agent.skills.iter().filter(|(name, _)| asked.contains(name)).map(|(n, l)| (n.clone(), *l)).collect();
            agent.skills = skills;
        }
        available.sort_unstable_by_key(|a| (a.idle_since, a.agent));
        Self { now: self.now, queue: self.queue.clone(), selection: self.selection, waiting, available }
    }
}

/// A decision with the compact snapshot it was made from: stored with every match.
///
/// About 1 kB for a usual queue, never more than [`RECORD_MAX_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it was made from.
    pub snapshot: Snapshot,
    /// What was decided.
    pub decision: Decision,
}

impl Record {
    /// The record of a decision.
    pub fn new(snapshot: &Snapshot, decision: Decision) -> Self {
        Self { snapshot: snapshot.compact(&decision), decision }
    }

    /// The stored form: JSON, the same bytes for the same record.
    pub fn bytes(&self) -> Vec<u8> {
        // Holds only strings, numbers, lists and maps with text keys: it always serialises.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Decides again from the stored snapshot; the bytes are those of the stored record unless
    /// the rules of choosing have changed since.
    pub fn replay(&self) -> Record {
        Record { snapshot: self.snapshot.clone(), decision: choose(&self.snapshot) }
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
