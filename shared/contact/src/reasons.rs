//! Why and how things ended, as facts tell it.

use hotline_base::{AgentId, ContactId, FactBody, Lang, Name, RecordingId, Redacted, Timestamp};
use hotline_flow::Priority;
use hotline_routing::callback::NumberRefusal;
use hotline_wire::node::{CallEvent, EndCause};
use hotline_wire::quality::CallQuality;
use hotline_wire::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::{Contact, ContactFact};

/// Reasons of one report that become facts.
const REASONS: usize = 4;
/// Characters of a reason's own words that are kept.
const REASON_CHARS: usize = 64;

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
    /// A supervisor moved it.
    Moved,
    /// The queue leaves it to machines.
    SelfService,
    /// The call was lost with its node; a call back waits on for it.
    Lost,
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
    /// A call back did not reach the party.
    NotReached,
    /// A call back whose party called in meanwhile: the new call has its place.
    Merged,
}

/// Why a promise to call back was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackRefusal {
    /// The number cannot or may not be called.
    Number(NumberRefusal),
    /// The number belongs to the hotline itself.
    OwnNumber,
    /// The caller has as many open call backs as are allowed.
    CallerLimit,
    /// The tenant has as many open call backs as are allowed.
    TenantLimit,
}

/// Why a leg did not come onto the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LegFailure {
    /// Refused on phone or console.
    Declined,
    /// Rang in vain.
    TimedOut,
    /// No phone answered at all.
    Unreachable,
    /// Taken back.
    Rescinded,
}

/// Why a party was not reached in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackEnd {
    /// After the last attempt.
    Attempts,
    /// There is no such number, or the node must not call it.
    Number,
    /// It was never its turn.
    Expired,
}

/// Whose leg ended, or was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedLeg {
    /// The caller's, or that of the party called back.
    Caller,
    /// An agent's.
    Agent,
    /// That of somebody outside: asked for advice, or transferred to.
    Outside,
}

/// What the other side said about the end of a leg.
pub(crate) fn given(contact: &Contact, event: &CallEvent) -> Vec<ContactFact> {
    let (leg, offer) = match event {
        CallEvent::OfferFailed { offer, .. } | CallEvent::AgentLegEnded { offer, .. } => {
            let leg = if contact.is_outside(*offer) { EndedLeg::Outside } else { EndedLeg::Agent };
            (leg, Some(*offer))
        }
        CallEvent::ScriptEnded { .. } => (EndedLeg::Outside, None),
        _ => (EndedLeg::Caller, None),
    };
    let fact = |reason: &Reason| ContactFact::ReasonGiven {
        leg,
        offer,
        protocol: reason.protocol,
        cause: reason.cause,
        meaning: reason.meaning().into(),
        text: reason.text.chars().take(REASON_CHARS).collect(),
    };
    event.reasons().iter().take(REASONS).map(fact).collect()
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
    /// Of the legs.
    pub quality: Option<CallQuality>,
    /// Transfers to other queues, agents and numbers.
    #[serde(default)]
    pub transfers: u32,
    /// The contact that this call back was promised to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_of: Option<ContactId>,
}

impl FactBody for ContactFact {
    fn name(&self) -> &'static str {
        match self {
            ContactFact::ContactArrived { .. } => "ContactArrived",
            ContactFact::CallDiverted { .. } => "CallDiverted",
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
            ContactFact::ReasonGiven { .. } => "ReasonGiven",
            ContactFact::RecordingStarted { .. } => "RecordingStarted",
            ContactFact::RecordingSaved { .. } => "RecordingSaved",
            ContactFact::RecordingFailed { .. } => "RecordingFailed",
            ContactFact::VoicemailLeft { .. } => "VoicemailLeft",
            ContactFact::CallbackRequested { .. } => "CallbackRequested",
            ContactFact::CallbackRefused { .. } => "CallbackRefused",
            ContactFact::PartyDialled { .. } => "PartyDialled",
            ContactFact::PartyReached { .. } => "PartyReached",
            ContactFact::PartyMissed { .. } => "PartyMissed",
            ContactFact::CallbackPostponed { .. } => "CallbackPostponed",
            ContactFact::CallbackFailed { .. } => "CallbackFailed",
            ContactFact::CallbackMerged { .. } => "CallbackMerged",
            ContactFact::PlaceTaken { .. } => "PlaceTaken",
            ContactFact::ContactTransferred { .. } => "ContactTransferred",
            ContactFact::TransferRefused { .. } => "TransferRefused",
            ContactFact::TransferReturned { .. } => "TransferReturned",
            ContactFact::LegAsked { .. } => "LegAsked",
            ContactFact::LegJoined { .. } => "LegJoined",
            ContactFact::LegFailed { .. } => "LegFailed",
            ContactFact::LegChanged { .. } => "LegChanged",
            ContactFact::LegLeft { .. } => "LegLeft",
            ContactFact::CallerHeld { .. } => "CallerHeld",
            ContactFact::CallerResumed { .. } => "CallerResumed",
            ContactFact::SoundChanged { .. } => "SoundChanged",
            ContactFact::EmergencyCalled { .. } => "EmergencyCalled",
            ContactFact::RecordingPaused { .. } => "RecordingPaused",
            ContactFact::ContactAssigned { .. } => "ContactAssigned",
            ContactFact::ContactMoved { .. } => "ContactMoved",
            ContactFact::OfferTakenBack { .. } => "OfferTakenBack",
            ContactFact::NodeLost { .. } => "NodeLost",
            ContactFact::CallReanchored { .. } => "CallReanchored",
            ContactFact::ReanchorFailed { .. } => "ReanchorFailed",
            ContactFact::AgentRejoined { .. } => "AgentRejoined",
            ContactFact::RejoinFailed { .. } => "RejoinFailed",
            ContactFact::ContactEnded(_) => "ContactEnded",
        }
    }
}
