//! Calls with more than one agent, calls that the hotline places, calls that change nodes.

use hotline_base::{OfferId, Redacted};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::node::{Prompt, RingAgent};

/// What identifies a leg's SIP dialog, so that another node can take it over with Replaces
/// (RFC 3891). Tags are seen from the node: `local_tag` is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialogRef {
    /// The SIP Call-ID.
    pub sip_call_id: String,
    /// The node's tag.
    pub local_tag: String,
    /// The other side's tag.
    pub remote_tag: String,
    /// The other side's Contact: a SIP URI.
    pub remote_target: Redacted<String>,
    /// Where the other side's packets came from: `host:port;transport=udp|tcp|tls`.
    pub peer: String,
}

/// Who hears whom. A whole picture, not a change: a repeat does no harm.
///
/// Two parties who talk are relayed; anything else is mixed. The caller's music starts when the
/// caller is put on hold and stops when the hold ends. A recording has whoever talks and is not held:
/// the caller on the left, all agents on the right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrangement {
    /// The caller.
    pub caller: CallerMode,
    /// Each agent's leg, by the offer that brought it. A leg of the call that is not named hears
    /// music and is heard by nobody.
    pub agents: BTreeMap<OfferId, LegMode>,
}

/// What the caller's leg does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum CallerMode {
    /// Hears everybody who talks and is heard by everybody.
    Talks,
    /// Hears music; is heard by nobody.
    Held {
        /// Looped.
        music: Prompt,
    },
}

/// What an agent's leg does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum LegMode {
    /// Hears everybody who talks and is heard by everybody who is not held.
    Talks,
    /// Hears everybody, is heard by nobody (a supervisor listening in; a muted agent).
    Listens,
    /// Hears everybody, is heard by one agent only.
    Whispers {
        /// By whom.
        to: OfferId,
    },
    /// Hears music; is heard by nobody.
    Held {
        /// Looped.
        music: Prompt,
    },
}

/// Calls a party from the hotline: a call back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DialParty {
    /// A number in E.164 for the outbound trunk, or a SIP URI.
    pub target: Redacted<String>,
    /// The number shown to the party: the one that had been dialled.
    pub caller_id: String,
    /// How long the party's phone may ring.
    pub ring_timeout_ms: u32,
    /// Rung first where given: the party is dialled when this agent has answered, and hears the
    /// agent at once. Without it the party's answer is reported and the decision plays. An offer that
    /// fails ends the call for the node, with no more reports; an agent who hangs up before the party
    /// answers ends it as well, with `PartyFailed` (`NoAnswer`) after `AgentLegEnded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<RingAgent>,
    /// Played to the agent until the party answers.
    #[serde(default)]
    pub ringback: Vec<Prompt>,
}

/// Why a dialled party was not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialFailure {
    /// 486, 600.
    Busy,
    /// Rang until the time was over.
    NoAnswer,
    /// Refused (403, 603 and the like).
    Declined,
    /// No such number (404, 410, 484, 604).
    NoSuchNumber,
    /// The node's own policy forbids the number, or its limits are reached.
    Forbidden,
    /// No trunk took the call.
    Unreachable,
    /// Answered, but nobody confirmed to be there: a machine, perhaps. Nodes never say so.
    Unconfirmed,
}
