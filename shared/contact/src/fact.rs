//! What happened to a contact. Reports, tickets and consoles fold these.

use hotline_base::{AgentId, ContactId, Lang, Name, NodeId, OfferId, RecordingId, Redacted, Timestamp, UserId};
use hotline_flow::Priority;
use hotline_wire::diverted::DiversionReason;
use hotline_wire::legs::DialFailure;
use hotline_wire::node::LegQuality;
use hotline_wire::quality::SoundBand;
use hotline_wire::reason::CauseOf;
use serde::{Deserialize, Serialize};

use crate::{
    CallbackEnd, CallbackRefusal, EndedLeg, Ending, FlowPin, LeftQueue, LegFailure, LegRole, RecordingKind,
    TransferKind, TransferTarget,
};

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
        /// A call back: nobody called, somebody is to be called.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        callback: bool,
        /// The contact that a call back was promised to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<ContactId>,
    },
    /// The call that came in was meant for somebody else first, as the trunk said.
    CallDiverted {
        /// The number that the caller had called; empty where withheld.
        first: Redacted<String>,
        /// The number that sent the call here; empty where withheld.
        last: Redacted<String>,
        /// Why it did.
        reason: DiversionReason,
        /// How often the call was sent on.
        times: u32,
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
    /// A leg sounds better or worse than before.
    SoundChanged {
        /// The offer that brought the leg; `None`: the caller's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<OfferId>,
        /// Whose leg it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
        /// How it sounds now.
        band: SoundBand,
        /// What was measured in the last seconds.
        quality: LegQuality,
    },
    /// A leg of the call was sent to an emergency number.
    EmergencyCalled {
        /// Which number.
        number: Redacted<String>,
        /// The name of the gateway that was tried first.
        gateway: String,
    },
    /// The other side of a leg said why it ended or was not taken (RFC 3326): the next facts are
    /// what followed.
    ReasonGiven {
        /// Whose leg.
        leg: EndedLeg,
        /// The offer that had brought it, or was to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<OfferId>,
        /// What `cause` is a number of.
        protocol: CauseOf,
        /// The number.
        cause: u16,
        /// What the number means; empty for one without a name.
        #[serde(default)]
        meaning: String,
        /// The other side's own words; may be empty.
        #[serde(default)]
        text: String,
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
        /// The moment from which the wait counts; `None`: as the place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entered: Option<Timestamp>,
        /// The promise was not asked for: the call was lost with its node.
        lost_call: bool,
    },
    /// A call back was asked for and not promised.
    CallbackRefused {
        /// Whom to call.
        number: Redacted<String>,
        /// By which queue.
        queue: Name,
        /// Why not.
        why: CallbackRefusal,
    },
    /// The party of a call back is being dialled.
    PartyDialled {
        /// By which node.
        node: NodeId,
        /// Counts from 1.
        attempt: u8,
        /// The agent who waits for the party.
        agent: Option<AgentId>,
    },
    /// The party of a call back answered.
    PartyReached {
        /// Counts from 1.
        attempt: u8,
    },
    /// The party of a call back was not reached this time.
    PartyMissed {
        /// Counts from 1.
        attempt: u8,
        /// Why.
        reason: DialFailure,
        /// The SIP status, where there was one.
        sip_status: Option<u16>,
    },
    /// A call back waits until a moment: the next attempt, or the hours in which it may be made.
    CallbackPostponed {
        /// Until then.
        until: Timestamp,
    },
    /// A call back was given up.
    CallbackFailed {
        /// Whom.
        number: Redacted<String>,
        /// How often the party was dialled.
        attempts: u8,
        /// Why.
        why: CallbackEnd,
    },
    /// The party of a call back called in: the new call has its place.
    CallbackMerged {
        /// The new call.
        into: ContactId,
    },
    /// The caller had a call back waiting: this call has its place.
    PlaceTaken {
        /// The call back.
        from: ContactId,
        /// The moment from which the place counts.
        since: Timestamp,
        /// How long the call back had waited, milliseconds: this call's wait counts from so much earlier.
        #[serde(default)]
        waited_ms: i64,
    },
    /// The caller was given to somebody else.
    ContactTransferred {
        /// How.
        kind: TransferKind,
        /// By or from whom.
        from: AgentId,
        /// From which queue's service.
        queue: Option<Name>,
        /// Whereto.
        target: TransferTarget,
        /// Who asked for it.
        by: UserId,
        /// Why.
        reason: Redacted<String>,
    },
    /// A transfer by an agent's phone was refused.
    TransferRefused {
        /// Whose.
        agent: AgentId,
        /// Whereto.
        target: Redacted<String>,
        /// Why, in a word.
        why: String,
    },
    /// A transfer did not come to anything: the caller is back in the queue, in the old place.
    TransferReturned {
        /// Which queue.
        queue: Name,
    },
    /// A colleague or supervisor is rung for the call.
    LegAsked {
        /// Which offer.
        offer: OfferId,
        /// Whom; nobody where it is a number.
        agent: AgentId,
        /// What for.
        role: LegRole,
        /// Who asked for it.
        by: UserId,
        /// The number of somebody outside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<Redacted<String>>,
    },
    /// A colleague or supervisor is on the call.
    LegJoined {
        /// Which offer.
        offer: OfferId,
        /// Who.
        agent: AgentId,
        /// What for.
        role: LegRole,
    },
    /// A colleague or supervisor did not come onto the call.
    LegFailed {
        /// Which offer.
        offer: OfferId,
        /// Who.
        agent: AgentId,
        /// Why.
        why: LegFailure,
    },
    /// What a leg is for has changed.
    LegChanged {
        /// Which offer brought it.
        offer: OfferId,
        /// Whose.
        agent: AgentId,
        /// What for from now on.
        role: LegRole,
        /// Who asked for it.
        by: UserId,
    },
    /// A colleague or supervisor left the call.
    LegLeft {
        /// Which offer had brought them.
        offer: OfferId,
        /// Who.
        agent: AgentId,
        /// What for.
        role: LegRole,
        /// How long they were there, milliseconds.
        for_ms: i64,
    },
    /// The caller was put on hold.
    CallerHeld {
        /// By whom.
        agent: AgentId,
    },
    /// The caller is off hold.
    CallerResumed {
        /// By whom.
        agent: AgentId,
        /// How long it had lasted, milliseconds.
        held_ms: i64,
    },
    /// A recording was paused or goes on.
    RecordingPaused {
        /// Which.
        recording: RecordingId,
        /// Paused; otherwise it goes on.
        paused: bool,
        /// Who asked for it.
        by: UserId,
    },
    /// A supervisor gave a waiting contact to an agent, or an agent took it, out of turn.
    ContactAssigned {
        /// To whom.
        agent: AgentId,
        /// Who asked for it.
        by: UserId,
        /// Why.
        reason: Redacted<String>,
    },
    /// A supervisor moved a waiting contact to another queue.
    ContactMoved {
        /// From here.
        from: Option<Name>,
        /// To here.
        to: Name,
        /// Who asked for it.
        by: UserId,
        /// Why.
        reason: Redacted<String>,
    },
    /// A supervisor took an offer back.
    OfferTakenBack {
        /// Which.
        offer: OfferId,
        /// From whom.
        agent: AgentId,
        /// Who asked for it.
        by: UserId,
        /// Why.
        reason: Redacted<String>,
    },
    /// The node that carried the call is lost.
    NodeLost {
        /// Which.
        node: NodeId,
        /// The node that is to take the call over; `None`: none can.
        to: Option<NodeId>,
    },
    /// Another node has the call now.
    CallReanchored {
        /// The lost node.
        from: NodeId,
        /// The new one.
        to: NodeId,
        /// How long the caller heard nothing, as far as is known, milliseconds.
        after_ms: i64,
    },
    /// The call could not be taken over.
    ReanchorFailed {
        /// By which node.
        node: NodeId,
        /// The SIP status, where there was one.
        sip_status: Option<u16>,
    },
    /// The agent is on the call again.
    AgentRejoined {
        /// Which offer had brought the agent.
        offer: OfferId,
        /// Who.
        agent: AgentId,
    },
    /// The agent did not come back onto the call.
    RejoinFailed {
        /// Which offer had brought the agent.
        offer: OfferId,
        /// Who.
        agent: AgentId,
    },
    /// It is over. Exactly one per contact.
    ContactEnded(Box<Ending>),
}
