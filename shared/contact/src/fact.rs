//! What happened to a contact. Reports, tickets and consoles fold these.

use hotline_base::{AgentId, ContactId, FactBody, Lang, Name, NodeId, OfferId, RecordingId, Redacted, Timestamp};
use hotline_flow::Priority;
use hotline_wire::node::{EndCause, LegQuality};
use serde::{Deserialize, Serialize};

/// Which version of which flow a contact runs; it keeps it until its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowPin {
    /// The flow.
    pub name: Name,
    /// Counts up from 1 with each publication.
    pub version: u32,
}

/// Why a contact left a queue without an agent while it went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftQueue {
    /// The longest wait was over.
    TimedOut,
    /// The caller pressed a key.
    Key,
    /// The last person who serves it signed out.
    NobodyStaffed,
    /// The waiting could not go on (a missing sound, a removed queue).
    Failed,
    /// Nobody who was rung directly answered.
    NoAnswer,
    /// An overflow rule of the queue sent it on.
    Overflowed,
}

/// How a contact ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The caller hung up.
    CallerHungUp,
    /// The caller gave up before the answer.
    Cancelled,
    /// The flow came to its end.
    Completed,
    /// The flow refused the call.
    Rejected,
    /// The line died.
    Lost,
    /// The node that carried it died.
    NodeLost,
    /// The node went away in an orderly manner.
    NodeDrained,
    /// Something failed on the node.
    Failed,
    /// It was ended by a command, or by the guard against calls that never end.
    Ended,
}

/// What a recording holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingKind {
    /// A conversation.
    Call,
    /// A message.
    Voicemail,
}

/// Something happened to a contact. [`ContactFact::ContactEnded`] comes once and as the last of
/// the journey; only facts about recordings may follow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum ContactFact {
    /// A call came in.
    ContactArrived {
        /// Which contact.
        contact: ContactId,
        /// The dialled number.
        did: String,
        /// The caller's number; empty where withheld.
        from: Redacted<String>,
        /// The caller's display name; empty where absent.
        display_name: Redacted<String>,
        /// The node that carries it.
        node: NodeId,
        /// For traces.
        sip_call_id: String,
        /// What it runs.
        flow: FlowPin,
        /// The language it starts in.
        lang: Lang,
    },
    /// A step of the flow began.
    FlowStepEntered {
        /// Its flow.
        flow: Name,
        /// Its name.
        step: Name,
        /// Its kind, as in the text of the flow.
        kind: String,
    },
    /// The caller chose.
    MenuChosen {
        /// The menu.
        step: Name,
        /// The key.
        digit: char,
        /// What it means.
        label: Option<String>,
        /// The category that it set.
        category: Option<Name>,
    },
    /// The caller was asked and pressed nothing, or a key that means nothing here.
    InputMissed {
        /// Where.
        step: Name,
        /// A key was pressed.
        pressed: bool,
    },
    /// The language is from now on another.
    LanguageSet {
        /// Which.
        lang: Lang,
    },
    /// A variable has a value.
    VariableSet {
        /// Which.
        name: Name,
        /// The value; `None` where it is secret.
        value: Option<Redacted<String>>,
    },
    /// The ticket's category.
    CategorySet {
        /// Which.
        category: Name,
    },
    /// The contact's priority.
    PrioritySet {
        /// Which.
        priority: Priority,
    },
    /// A web service or function was asked.
    HookAnswered {
        /// Which.
        target: String,
        /// Whether it answered in time.
        ok: bool,
    },
    /// The flow could not go on and ended the call.
    FlowFaulted {
        /// Where.
        step: Name,
        /// What to look at.
        reason: String,
    },
    /// It came to a queue.
    ContactEnqueued {
        /// Which.
        queue: Name,
        /// Counts as if it had come so much earlier, milliseconds.
        credit_ms: i64,
        /// The moment from which its wait counts.
        since: Timestamp,
    },
    /// It left a queue without an agent and went on.
    QueueLeft {
        /// Which.
        queue: Name,
        /// How long it had waited, milliseconds.
        wait_ms: i64,
        /// Why.
        why: LeftQueue,
    },
    /// An overflow rule let it wait on in the same queue, with more people to answer it.
    OverflowApplied {
        /// Which queue.
        queue: Name,
        /// Reserve agents are called in; otherwise it needs no skills any more.
        reserve: bool,
    },
    /// It was offered to an agent.
    OfferMade {
        /// Which offer.
        offer: OfferId,
        /// To whom.
        agent: AgentId,
        /// For which queue; `None`: rung directly.
        queue: Option<Name>,
        /// How long it had waited, milliseconds.
        wait_ms: i64,
    },
    /// The agent's phone rings.
    OfferRinging {
        /// Which offer.
        offer: OfferId,
        /// Whose.
        agent: AgentId,
    },
    /// The agent answered.
    OfferAccepted {
        /// Which offer.
        offer: OfferId,
        /// Who.
        agent: AgentId,
        /// For which queue; `None`: rung directly.
        queue: Option<Name>,
        /// From entering the queue to the answer, milliseconds.
        wait_ms: i64,
        /// From the offer to the answer, milliseconds.
        ring_ms: i64,
    },
    /// The agent or the phone refused.
    OfferDeclined {
        /// Which offer.
        offer: OfferId,
        /// Who.
        agent: AgentId,
    },
    /// The phone rang until the offer's time was over.
    OfferTimedOut {
        /// Which offer.
        offer: OfferId,
        /// Whose.
        agent: AgentId,
    },
    /// No phone answered at all.
    OfferUnreachable {
        /// Which offer.
        offer: OfferId,
        /// Whose.
        agent: AgentId,
        /// The SIP status, where there was one.
        sip_status: Option<u16>,
    },
    /// The offer was taken back: the caller left, or the agent vanished.
    OfferRescinded {
        /// Which offer.
        offer: OfferId,
        /// Whose.
        agent: AgentId,
    },
    /// Caller and agent hear each other.
    LegsBridged {
        /// Which offer brought the agent.
        offer: OfferId,
        /// Who.
        agent: AgentId,
        /// For which queue; `None`: rung directly.
        queue: Option<Name>,
    },
    /// The agent's part is over.
    AgentLegEnded {
        /// Which offer had brought the agent.
        offer: OfferId,
        /// Who.
        agent: AgentId,
        /// For which queue; `None`: rung directly.
        queue: Option<Name>,
        /// How long they talked, milliseconds.
        talk_ms: i64,
        /// The agent's leg ended first.
        agent_first: bool,
    },
    /// The caller gave a score.
    SurveyAnswered {
        /// Which survey.
        step: Name,
        /// 1 to 5.
        score: u8,
        /// Who had served the caller last.
        agent: Option<AgentId>,
        /// The queue of that service.
        queue: Option<Name>,
    },
    /// A transfer to an outside address ended.
    TransferEnded {
        /// Whereto.
        target: Redacted<String>,
        /// Whether the other side had answered.
        answered: bool,
    },
    /// A recording began.
    RecordingStarted {
        /// Which.
        recording: RecordingId,
        /// Of what.
        kind: RecordingKind,
        /// Of whose talk.
        agent: Option<AgentId>,
    },
    /// A recording can be played.
    RecordingSaved {
        /// Which.
        recording: RecordingId,
        /// Of what.
        kind: RecordingKind,
        /// The object in the recordings bucket.
        key: String,
        /// Length, milliseconds.
        duration_ms: u64,
        /// SHA-256 of the object, hex.
        sha256: String,
        /// What is missing, in words; `None`: nothing.
        missing: Option<String>,
    },
    /// A recording is lost.
    RecordingFailed {
        /// Which.
        recording: RecordingId,
        /// Of what.
        kind: RecordingKind,
        /// Why, and what is left of it.
        reason: String,
    },
    /// The caller left a message.
    VoicemailLeft {
        /// Which recording.
        recording: RecordingId,
        /// Length, milliseconds.
        duration_ms: u64,
        /// Whose people get it.
        queue: Option<Name>,
    },
    /// The caller was promised a call back.
    CallbackRequested {
        /// Whom to call.
        number: Redacted<String>,
        /// Which queue calls.
        queue: Name,
        /// The moment from which the place in the queue counts.
        since: Timestamp,
        /// The promise was not asked for: the call was lost with its node.
        lost_call: bool,
    },
    /// It is over. Exactly one per contact.
    ContactEnded(Box<Ending>),
}

/// A contact, in retrospect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// Which contact.
    pub contact: ContactId,
    /// How.
    pub reason: EndReason,
    /// How the caller's leg ended, where the node said so.
    pub cause: Option<EndCause>,
    /// When it had come.
    pub arrived_at: Timestamp,
    /// The dialled number.
    pub did: String,
    /// The caller's number; empty where withheld.
    pub from: Redacted<String>,
    /// The caller's display name; empty where absent.
    pub display_name: Redacted<String>,
    /// The last language.
    pub lang: Lang,
    /// The category from the flow.
    pub category: Option<Name>,
    /// The priority from the flow.
    pub priority: Priority,
    /// From arrival to end, milliseconds.
    pub duration_ms: i64,
    /// In queues, all together, milliseconds.
    pub wait_ms: i64,
    /// With agents, all together, milliseconds.
    pub talk_ms: i64,
    /// The last queue it was in.
    pub queue: Option<Name>,
    /// The caller left while waiting in `queue`, after so many milliseconds there.
    pub abandoned_after_ms: Option<i64>,
    /// When an agent answered first.
    pub answered_at: Option<Timestamp>,
    /// The agent who had it last.
    pub agent: Option<AgentId>,
    /// Conversations with agents.
    pub interactions: u32,
    /// All recordings, saved or not yet.
    pub recordings: Vec<RecordingId>,
    /// A message was left, or was being left when the caller hung up.
    pub voicemail: bool,
    /// A call back was promised.
    pub callback: bool,
    /// The last score.
    pub survey: Option<u8>,
    /// Of the caller's leg.
    pub quality: Option<LegQuality>,
}

impl FactBody for ContactFact {
    fn name(&self) -> &'static str {
        match self {
            ContactFact::ContactArrived { .. } => "ContactArrived",
            ContactFact::FlowStepEntered { .. } => "FlowStepEntered",
            ContactFact::MenuChosen { .. } => "MenuChosen",
            ContactFact::InputMissed { .. } => "InputMissed",
            ContactFact::LanguageSet { .. } => "LanguageSet",
            ContactFact::VariableSet { .. } => "VariableSet",
            ContactFact::CategorySet { .. } => "CategorySet",
            ContactFact::PrioritySet { .. } => "PrioritySet",
            ContactFact::HookAnswered { .. } => "HookAnswered",
            ContactFact::FlowFaulted { .. } => "FlowFaulted",
            ContactFact::ContactEnqueued { .. } => "ContactEnqueued",
            ContactFact::QueueLeft { .. } => "QueueLeft",
            ContactFact::OverflowApplied { .. } => "OverflowApplied",
            ContactFact::OfferMade { .. } => "OfferMade",
            ContactFact::OfferRinging { .. } => "OfferRinging",
            ContactFact::OfferAccepted { .. } => "OfferAccepted",
            ContactFact::OfferDeclined { .. } => "OfferDeclined",
            ContactFact::OfferTimedOut { .. } => "OfferTimedOut",
            ContactFact::OfferUnreachable { .. } => "OfferUnreachable",
            ContactFact::OfferRescinded { .. } => "OfferRescinded",
            ContactFact::LegsBridged { .. } => "LegsBridged",
            ContactFact::AgentLegEnded { .. } => "AgentLegEnded",
            ContactFact::SurveyAnswered { .. } => "SurveyAnswered",
            ContactFact::TransferEnded { .. } => "TransferEnded",
            ContactFact::RecordingStarted { .. } => "RecordingStarted",
            ContactFact::RecordingSaved { .. } => "RecordingSaved",
            ContactFact::RecordingFailed { .. } => "RecordingFailed",
            ContactFact::VoicemailLeft { .. } => "VoicemailLeft",
            ContactFact::CallbackRequested { .. } => "CallbackRequested",
            ContactFact::ContactEnded(_) => "ContactEnded",
        }
    }
}
