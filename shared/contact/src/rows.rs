//! Timers and index rows that follow from a contact.

use hotline_base::{AgentId, ContactId, IndexRow, Lang, Name, NodeId, Redacted, TimerKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::queueing::offer_deadline;
use crate::{
    Contact, GUARD_MS, Phase, RECORDING_WAIT_MS, RecordingStatus, TIMER_ANNOUNCE, TIMER_GUARD, TIMER_OFFER,
    TIMER_OVERFLOW, TIMER_RECORDING, TIMER_REMATCH, TIMER_WAIT,
};

/// All contacts of a tenant by time of arrival.
pub const CONTACTS_PARTITION: &str = "contacts";

/// The contacts of one caller by time of arrival.
pub fn party_partition(number: &str) -> String {
    format!("contacts/party/{number}")
}

/// The live contacts that a node carries.
pub fn node_partition(node: NodeId) -> String {
    format!("contacts/node/{node}")
}

/// What a contact does, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseName {
    /// The flow has it.
    InFlow,
    /// It waits for an agent.
    Waiting,
    /// An agent's phone is asked to ring.
    Offered,
    /// It talks with an agent.
    Talking,
    /// It is over.
    Ended,
}

/// A contact in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContactListing {
    /// Which.
    pub contact: ContactId,
    /// When it came.
    pub arrived_at: Timestamp,
    /// The caller's number; empty where withheld.
    pub from: Redacted<String>,
    /// The dialled number.
    pub did: String,
    /// What it does.
    pub phase: PhaseName,
    /// The last queue.
    pub queue: Option<Name>,
    /// Who has it or had it last.
    pub agent: Option<AgentId>,
    /// The caller's language.
    pub lang: Lang,
    /// The category from the flow.
    pub category: Option<Name>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Contact {
    /// The contact as a list shows it.
    pub fn listing(&self) -> ContactListing {
        let (phase, ended_at) = match &self.phase {
            Phase::InFlow { .. } => (PhaseName::InFlow, None),
            Phase::Waiting(_) => (PhaseName::Waiting, None),
            Phase::Offered { .. } => (PhaseName::Offered, None),
            Phase::Talking { .. } => (PhaseName::Talking, None),
            Phase::Ended { at, .. } => (PhaseName::Ended, Some(*at)),
        };
        ContactListing {
            contact: self.id,
            arrived_at: self.arrived_at,
            from: self.from.clone(),
            did: self.did.clone(),
            phase,
            queue: self.queue.clone(),
            agent: self.agent().or(self.interactions.last().map(|last| last.agent)),
            lang: self.cursor.lang,
            category: self.cursor.category.clone(),
            ended_at,
        }
    }

    /// The sort key of its rows by time of arrival.
    pub fn time_sort(&self) -> String {
        format!("{:015}/{}", self.arrived_at.as_millis().max(0), self.id)
    }
}

pub(crate) fn rows(contact: &Contact) -> BTreeSet<IndexRow> {
    // Holds only texts, numbers and ids: it always serialises.
    let body = serde_json::to_string(&contact.listing()).unwrap_or_default();
    let sort = contact.time_sort();
    let row = |partition: String, sort: String, body: String| IndexRow { partition, sort, body };
    let mut rows = BTreeSet::from([row(CONTACTS_PARTITION.into(), sort.clone(), body)]);
    let number = contact.from.expose();
    if !number.is_empty() {
        rows.insert(row(party_partition(number), sort, contact.id.to_string()));
    }
    if contact.is_alive() {
        let node = node_partition(contact.node);
        rows.insert(row(node, contact.id.to_string(), "{}".into()));
    }
    if let Phase::Waiting(wait) = &contact.phase
        && let Some(queue) = wait.place.queue()
    {
        rows.insert(wait.entry.row(queue));
    }
    rows
}

pub(crate) fn deadlines(contact: &Contact) -> BTreeMap<TimerKey, Timestamp> {
    let mut deadlines = BTreeMap::new();
    let mut arm = |timer: &str, at: Timestamp| {
        deadlines.insert(timer.to_string(), at);
    };
    match &contact.phase {
        Phase::Ended { at, .. } => {
            let open = |status| status == RecordingStatus::Running;
            if contact.recordings.iter().any(|recording| open(recording.status)) {
                arm(TIMER_RECORDING, at.plus_ms(RECORDING_WAIT_MS));
            }
            return deadlines;
        }
        Phase::Waiting(wait) => {
            if let Some(until) = wait.until {
                arm(TIMER_WAIT, until);
            }
            if let Some(at) = wait.announce_at {
                arm(TIMER_ANNOUNCE, at);
            }
            if let Some(at) = wait.overflow_at {
                arm(TIMER_OVERFLOW, at);
            }
            let queued = wait.place.queue().is_some();
            if let (true, Some(at)) = (queued, wait.entry.next_change(wait.looked_at)) {
                arm(TIMER_REMATCH, at);
            }
        }
        Phase::Offered { offer, .. } => arm(TIMER_OFFER, offer_deadline(offer)),
        Phase::InFlow { .. } | Phase::Talking { .. } => {}
    }
    arm(TIMER_GUARD, contact.arrived_at.plus_ms(GUARD_MS));
    deadlines
}
