//! The index rows under which an agent is found.

use hotline_base::{AgentId, IndexRow, Name, Redacted, Timestamp, shard};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use super::{Agent, AgentState, StateName};
use crate::available::AvailableAgent;

/// Parts of the list of agents: each of an agent's states is written there.
pub const AGENTS_SHARDS: u8 = 8;

/// All agents of a tenant, by id, in [`AGENTS_SHARDS`] parts by agent.
pub fn agents_partition() -> &'static str {
    "agents"
}

/// Free agents of a queue, best first; in as many parts by agent as the queue's configuration says.
pub fn available_partition(queue: &Name) -> String {
    format!("available/{queue}")
}

/// Agents at work for a queue, free or not, by id.
pub fn staffed_partition(queue: &Name) -> String {
    format!("staffed/{queue}")
}

/// Reserve agents of a queue, by id.
pub fn standby_partition(queue: &Name) -> String {
    format!("standby/{queue}")
}

/// An agent in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentListing {
    /// Which agent.
    pub agent: AgentId,
    /// Shown to colleagues.
    pub display_name: Redacted<String>,
    /// What they are doing.
    pub state: StateName,
    /// Why, where Away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Name>,
    /// Since when.
    pub since: Timestamp,
    /// Queues served.
    pub queues: Vec<Name>,
    /// A phone is registered.
    pub phone: bool,
}

pub(super) fn rows(agent: &Agent) -> BTreeSet<IndexRow> {
    let id = agent.profile.agent;
    let mut rows = BTreeSet::new();
    let mut put = |partition: String, sort: String, body: String| {
        rows.insert(IndexRow { partition, sort, body });
    };
    let listing = AgentListing {
        agent: id,
        display_name: agent.profile.display_name.clone(),
        state: agent.state.name(),
        reason: match &agent.state {
            AgentState::Away { reason } => Some(reason.clone()),
            _ => None,
        },
        since: agent.since,
        queues: agent.profile.queues.keys().cloned().collect(),
        phone: agent.phone.is_some(),
    };
    put(shard(agents_partition(), AGENTS_SHARDS, id.as_u128()), id.to_string(), json(&listing));
    for (queue, membership) in &agent.profile.queues {
        if agent.state.is_staffed() {
            put(staffed_partition(queue), id.to_string(), "{}".into());
        }
        match agent.state {
            AgentState::Available => {
                let free = AvailableAgent {
                    agent: id,
                    skills: agent.profile.skills.clone(),
                    idle_since: agent.idle_since,
                    occupancy_pm: agent.window.occupancy_pm(agent.since),
                };
                let part = shard(&available_partition(queue), membership.shards, id.as_u128());
                put(part, free.sort(membership.selection), json(&free));
            }
            AgentState::Standby => put(standby_partition(queue), id.to_string(), "{}".into()),
            _ => {}
        }
    }
    rows
}

/// These types hold only strings, numbers and maps with text keys: they always serialise.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
