//! Timers and index rows that follow from a contact.

use hotline_base::{AgentId, ContactId, IndexRow, Lang, Name, NodeId, Redacted, TimerKey, Timestamp, shard};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::queueing::offer_deadline;
use crate::{
    Contact, GUARD_MS, MOVE_LIMIT_MS, OFFER_BACKSTOP_MS, PartyLeg, Phase, RECORDING_WAIT_MS, REJOIN_MS,
    RecordingStatus, TIMER_ANNOUNCE, TIMER_DIAL, TIMER_GUARD, TIMER_MOVE, TIMER_OFFER, TIMER_OVERFLOW, TIMER_RECORDING,
    TIMER_REJOIN, TIMER_REMATCH, TIMER_RETRY, TIMER_WAIT,
};

/// A party's phone that is dialled rings no longer than this, milliseconds, whatever the policy.
const DIAL_MS: i64 = 120_000;

/// All contacts of a tenant by time of arrival, in [`CONTACTS_SHARDS`] parts by contact.
pub const CONTACTS_PARTITION: &str = "contacts";

/// Parts of the list of contacts: every call writes its row about seven times.
pub const CONTACTS_SHARDS: u8 = 8;

/// The open call backs of a tenant by the time they were asked for.
pub const CALLBACKS_PARTITION: &str = "callbacks";

/// The open call backs of one number.
pub fn callbacks_partition(number: &str) -> String {
    format!("callbacks/{number}")
}

/// The contacts of one caller by time of arrival.
pub fn party_partition(number: &str) -> String {
    format!("contacts/party/{number}")
}

/// The live contacts that a caller is counted for; see [`crate::counted_as`].
pub fn live_partition(counted_as: &str) -> String {
    format!("live/{counted_as}")
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
    /// Its party is being called back.
    Dialling,
    /// A call back that waits for its next attempt.
    Resting,
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
    /// It is a call back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_callback: bool,
}

impl Contact {
    /// The contact as a list shows it.
    pub fn listing(&self) -> ContactListing {
        let (phase, ended_at) = match &self.phase {
            Phase::InFlow { .. } => (PhaseName::InFlow, None),
            Phase::Waiting(_) => (PhaseName::Waiting, None),
            Phase::Offered { .. } => (PhaseName::Offered, None),
            Phase::Talking { .. } => (PhaseName::Talking, None),
            Phase::Dialling { .. } => (PhaseName::Dialling, None),
            Phase::Resting { .. } => (PhaseName::Resting, None),
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
            is_callback: self.order.is_some(),
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
    let list = shard(CONTACTS_PARTITION, CONTACTS_SHARDS, contact.id.as_u128());
    let mut rows = BTreeSet::from([row(list, sort.clone(), body)]);
    let number = contact.from.expose();
    if !number.is_empty() {
        rows.insert(row(party_partition(number), sort, contact.id.to_string()));
    }
    let order = contact.order.as_ref().filter(|order| contact.is_alive() && !order.reached);
    if order.is_some() {
        let id = contact.id.to_string();
        rows.insert(row(CALLBACKS_PARTITION.into(), contact.time_sort(), id.clone()));
        let queue = contact.queue.as_ref().map(ToString::to_string).unwrap_or_default();
        rows.insert(row(callbacks_partition(number), id, queue));
    }
    let dialled = matches!(contact.phase, Phase::Offered { .. } | Phase::Dialling { .. });
    if contact.is_alive() && (contact.leg != PartyLeg::Absent || dialled) {
        let node = node_partition(contact.node);
        rows.insert(row(node, contact.id.to_string(), "{}".into()));
    }
    if contact.is_alive() && !contact.counted_as.is_empty() {
        rows.insert(row(live_partition(&contact.counted_as), contact.id.to_string(), "{}".into()));
    }
    if let Phase::Waiting(wait) = &contact.phase
        && !matches!(contact.leg, PartyLeg::Moving { .. })
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
        Phase::Talking { others, rejoin, .. } => {
            let rings = others.iter().filter(|leg| leg.joined_at.is_none());
            if let Some(first) = rings.map(|leg| offer_deadline(&leg.offer)).min() {
                arm(TIMER_OFFER, first);
            }
            if let Some(rejoin) = rejoin {
                arm(TIMER_REJOIN, rejoin.since.plus_ms(REJOIN_MS + OFFER_BACKSTOP_MS));
            }
        }
        Phase::Dialling { since, .. } => arm(TIMER_DIAL, since.plus_ms(DIAL_MS + OFFER_BACKSTOP_MS)),
        Phase::Resting { until, .. } => arm(TIMER_RETRY, *until),
        Phase::InFlow { .. } => {}
    }
    if let PartyLeg::Moving { since, .. } = contact.leg {
        arm(TIMER_MOVE, since.plus_ms(MOVE_LIMIT_MS));
    }
    match (&contact.order, &contact.phase) {
        (Some(order), Phase::Waiting(_) | Phase::Resting { .. }) if contact.leg == PartyLeg::Absent => {
            arm(TIMER_GUARD, order.expires);
        }
        _ if contact.leg == PartyLeg::Absent => {}
        _ => arm(TIMER_GUARD, contact.anchored_at.unwrap_or(contact.arrived_at).plus_ms(GUARD_MS)),
    }
    deadlines
}
