//! What can happen to a contact, what it needs to know for a step, what it asks of the world.

use hotline_base::{AgentId, ContactId, Name, NodeId, OfferId, RecordingId, Redacted, TenantId, TimerKey, Timestamp};
use hotline_flow::Compiled;
use hotline_flow::run::{Cursor, Env, RingTarget};
use hotline_routing::QueueConfig;
use hotline_routing::callback::Home;
use hotline_wire::node::{CallEvent, NodeCommand};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{By, CallbackOrder, CallbackRefusal, FlowPin, PromptBook, SuperviseMode, TransferKind, TransferTarget};

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
    /// What is known of the call back that this step is about, where it was looked up.
    pub callback: Option<CallbackView>,
    /// How the tenant writes numbers and whom it may call.
    pub home: Home,
    /// Where a transfer asked for by a phone leads; `None`: nowhere.
    pub refer: Option<TransferTarget>,
    /// Fresh randomness for ids made in this step.
    pub fresh: u128,
}

/// What is known of a call back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallbackView {
    /// Why it may not be promised, for reasons that tables know.
    pub refused: Option<CallbackRefusal>,
    /// Nobody may be called before this; `None`: now is good.
    pub opens: Option<Timestamp>,
}

/// A colleague or supervisor who is to be rung.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLeg {
    /// The offer's fresh id.
    pub offer: OfferId,
    /// Whom.
    pub agent: AgentId,
    /// The SIP user name of the phone.
    pub sip_user: String,
    /// The node at which the phone is registered.
    pub phone_node: NodeId,
    /// Its SIP address, where it is not the node that carries the call.
    pub phone_address: Option<String>,
    /// How long it may ring, milliseconds.
    pub ring_timeout_ms: u32,
    /// Shown on the phone.
    pub caller_label: Redacted<String>,
    /// For which queue the colleague was found.
    pub queue: Option<Name>,
    /// Somebody outside, by this number; who is the agent and where the phone is says nothing then.
    pub number: Option<Redacted<String>>,
}

/// What the people on a call do with it.
#[derive(Debug, Clone, PartialEq)]
pub enum DeskAction {
    /// The caller hears music.
    Hold,
    /// The caller is back.
    Resume,
    /// The colleague takes the caller over; the agent leaves.
    Complete {
        /// Why.
        reason: Redacted<String>,
    },
    /// The colleague leaves; the caller is back.
    CancelConsult,
    /// Caller, agent and colleague talk together.
    Conference,
    /// Supervises in another manner.
    Supervise {
        /// Who.
        agent: AgentId,
        /// How.
        mode: SuperviseMode,
    },
    /// A colleague or supervisor leaves the call.
    Leave {
        /// Who.
        agent: AgentId,
    },
    /// The recording of the conversation is paused or goes on.
    PauseRecording {
        /// Paused; otherwise it goes on.
        paused: bool,
    },
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
        /// The SIP address of `phone_node`, where it is not the node that carries the call.
        phone_address: Option<String>,
        /// The node that dials, where the party is to be called back.
        dial: Option<NodeId>,
        /// Who asked for this agent and why, where it was not the contact's turn.
        by: Option<(By, Redacted<String>)>,
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
        /// A live node with room; `None`: there is none.
        to: Option<NodeId>,
        /// The call is lost only if the node carried it before this moment.
        before: Timestamp,
    },
    /// The agent gives the caller to somebody else.
    Transfer {
        /// Whereto.
        target: TransferTarget,
        /// How.
        kind: TransferKind,
        /// Who asked for it.
        by: By,
        /// Why.
        reason: Redacted<String>,
    },
    /// A colleague is rung for advice; committed together with the colleague's side.
    Consult {
        /// Whom.
        leg: NewLeg,
        /// Who asked for it.
        by: By,
    },
    /// A supervisor is rung to listen in; committed together with the supervisor's side.
    Supervise {
        /// Whom.
        leg: NewLeg,
        /// How.
        mode: SuperviseMode,
        /// Who asked for it.
        by: By,
    },
    /// Somebody on the call does something.
    Desk {
        /// Who asked for it.
        by: By,
        /// What.
        action: DeskAction,
    },
    /// A supervisor moves a waiting contact to another queue.
    Move {
        /// Which.
        to: Name,
        /// Who asked for it.
        by: By,
        /// Why.
        reason: Redacted<String>,
    },
    /// A supervisor takes an offer back.
    TakeBack {
        /// Who asked for it.
        by: By,
        /// Why.
        reason: Redacted<String>,
    },
    /// A new contact: somebody is to be called back.
    CallBack(Box<NewCallback>),
    /// It is the turn of a call back whose party is rung first.
    DialParty {
        /// The node that dials.
        node: NodeId,
    },
    /// It is the turn of a call back, but nobody may be called now.
    Postpone {
        /// Until then.
        until: Timestamp,
        /// The hours are over, which is no waiting; otherwise no node can call.
        closed: bool,
    },
    /// The party of a call back called in; committed together with the new call's side.
    Merge {
        /// The new call.
        into: ContactId,
    },
    /// The caller has a call back waiting in the same queue: its place is this call's.
    TakePlace {
        /// The call back.
        from: ContactId,
        /// The moment from which the place counts.
        since: Timestamp,
        /// How long the call back has waited, milliseconds.
        waited_ms: i64,
    },
    /// A supervisor ends the call.
    End,
    /// A timer fired; checked against the stored deadline.
    Timer {
        /// Which.
        timer: TimerKey,
    },
}

/// A call back as it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCallback {
    /// Whose.
    pub tenant: TenantId,
    /// The new contact.
    pub contact: ContactId,
    /// What is to be done.
    pub order: CallbackOrder,
    /// Whom to call.
    pub number: Redacted<String>,
    /// The party's display name.
    pub display_name: Redacted<String>,
    /// The number shown to the party: the one that had been dialled.
    pub did: String,
    /// Where the first call stood: language, category, priority and what was gathered.
    pub cursor: Cursor,
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
    /// The party that the agent waited for was not reached.
    NotReached,
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
        command: Box<NodeCommand>,
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
