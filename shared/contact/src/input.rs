//! What can happen to a contact, what it needs to know for a step, what it asks of the world.

use hotline_base::{AgentId, ContactId, Name, NodeId, OfferId, RecordingId, Redacted, TenantId, TimerKey, Timestamp};
use hotline_flow::Compiled;
use hotline_flow::run::{Env, RingTarget};
use hotline_routing::QueueConfig;
use hotline_wire::node::{CallEvent, NodeCommand};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{FlowPin, PromptBook};

/// An input with what the step needs to know.
#[derive(Debug, Clone)]
pub struct ContactInput {
    /// What happened.
    pub event: Event,
    /// The world as it is now. Needed by every event that moves the flow; a step that misses it
    /// is refused with `setting-missing`.
    pub setting: Option<Arc<Setting>>,
}

/// The world as it is at the moment of a step.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The version that the contact is pinned to.
    pub flow: Arc<Compiled>,
    /// Which one that is.
    pub pin: FlowPin,
    /// Where its sounds are.
    pub prompts: Arc<PromptBook>,
    /// What branches ask about.
    pub env: Env,
    /// The queues that the flow uses.
    pub queues: Arc<BTreeMap<Name, QueueConfig>>,
    /// Waiting contacts of the same caller, by queue, where it was looked up.
    pub same_caller: BTreeMap<Name, u32>,
    /// Who talked with this caller last and until when, where a queue wants to know.
    pub last_agent: Option<(AgentId, Timestamp)>,
    /// The contact's place in the queue it waits in, from 1, where it was looked up.
    pub position: Option<u32>,
    /// Fresh randomness for ids made in this step.
    pub fresh: u128,
}

/// What can happen to a contact.
#[derive(Debug, Clone)]
pub enum Event {
    /// The node reports.
    Node {
        /// Whose contact.
        tenant: TenantId,
        /// Which contact.
        contact: ContactId,
        /// Which node.
        node: NodeId,
        /// The input's number.
        seq: u32,
        /// When, by the node's clock.
        at: Timestamp,
        /// What.
        event: CallEvent,
    },
    /// Routing proposes an agent; committed together with the agent's side.
    Offer {
        /// The offer's fresh id.
        offer: OfferId,
        /// Whom.
        agent: AgentId,
        /// The SIP user name of the agent's phone.
        sip_user: String,
        /// The node at which the phone is registered.
        phone_node: NodeId,
        /// How long it may ring, milliseconds.
        ring_timeout_ms: u32,
        /// Shown on the phone.
        caller_label: Redacted<String>,
        /// Record the conversation under this id.
        record: Option<RecordingId>,
    },
    /// The agent's side gave the offer back (declined on the console, presence lost).
    OfferReturned {
        /// Which.
        offer: OfferId,
        /// Refused, not lost.
        declined: bool,
    },
    /// Nobody who was rung directly is free.
    NobodyFree,
    /// The last person who serves the queue signed out.
    NobodyStaffed {
        /// Which queue.
        queue: Name,
    },
    /// A hook answered.
    HookAnswered {
        /// The number in [`ContactEffect::CallHook`].
        number: u32,
        /// What it set; `None`: it failed.
        vars: Option<BTreeMap<String, String>>,
    },
    /// A recording was composed, or is lost.
    RecordingComposed {
        /// Which.
        recording: RecordingId,
        /// The playable object, or why there is none.
        result: Result<Saved, String>,
    },
    /// The node that carried the call is gone.
    NodeLost {
        /// Which.
        node: NodeId,
    },
    /// A supervisor ends the call.
    End,
    /// A timer fired; checked against the stored deadline.
    Timer {
        /// Which.
        timer: TimerKey,
    },
}

/// A playable recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The object in the recordings bucket.
    pub key: String,
    /// Length, milliseconds.
    pub duration_ms: u64,
    /// SHA-256 of the object, hex.
    pub sha256: String,
    /// What is missing, in words; `None`: nothing.
    pub missing: Option<String>,
}

/// What an agent is told about an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentNews {
    /// The phone was answered; the legs are joined.
    Accepted,
    /// The phone refused.
    Declined,
    /// The phone rang in vain.
    TimedOut,
    /// No phone answered at all.
    Unreachable,
    /// The caller left, or the offer was taken back.
    Rescinded,
    /// The conversation is over.
    Ended,
}

/// What a contact's step asks of the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum ContactEffect {
    /// Somebody waits: look for an agent.
    MatchQueue {
        /// Where.
        queue: Name,
    },
    /// Ring a certain agent or one of a group; answer with an offer or `NobodyFree`.
    RingDirect {
        /// Whom.
        target: RingTarget,
        /// How long each phone may ring.
        ring_timeout_ms: u32,
        /// Not these again.
        not: Vec<AgentId>,
    },
    /// Sends a command to a node.
    CommandNode {
        /// Which node.
        node: NodeId,
        /// What.
        command: NodeCommand,
    },
    /// Tells an agent's machine.
    TellAgent {
        /// Whom.
        agent: AgentId,
        /// About which offer.
        offer: OfferId,
        /// What.
        news: AgentNews,
    },
    /// Makes a playable file of a delivered recording.
    ComposeRecording {
        /// Which.
        recording: RecordingId,
        /// The manifest's object key.
        manifest: String,
    },
    /// Asks a web service or function; answered by `HookAnswered`.
    CallHook {
        /// Comes back in the answer.
        number: u32,
        /// `https://…` or a function's name.
        target: String,
        /// How long it may take, milliseconds.
        timeout_ms: u32,
        /// What it is told.
        body: BTreeMap<String, Redacted<String>>,
    },
}
