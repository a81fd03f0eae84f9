//! The protocol between a media node and the functions.
//!
//! The node reports what happened to a call ([`CallInput`], a direct invoke) and gets back what
//! to do until the world answers again ([`Decision`] with a [`MediaScript`]). What the functions
//! want of a call at another time arrives as a [`NodeCommand`] on the node's own queue. The node
//! holds no policy.

use hotline_base::{AgentId, CommandId, ContactId, Lang, NodeId, OfferId, RecordingId, Redacted, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::diverted::Diverted;
use crate::legs::{Arrangement, DialFailure, DialParty, DialogRef};
use crate::quality::{CallQuality, SoundBand};
use crate::reason::Reason;

/// Something happened to a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallInput {
    /// The contact, named by the node when the call arrived.
    pub contact: ContactId,
    /// Known after the first decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The node that carries the call.
    pub node: NodeId,
    /// Counts the inputs of this contact from 1: a repeat carries the same number.
    pub seq: u32,
    /// When it happened, by the node's clock.
    pub at: Timestamp,
    /// What happened.
    pub event: CallEvent,
}

/// What happened to a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CallEvent {
    /// An INVITE arrived. The answer to it decides everything else.
    Arrived {
        /// The dialled number as the trunk sent it, normalised to E.164 where that was possible.
        did: String,
        /// The caller's number; empty where withheld.
        from: Redacted<String>,
        /// The caller's display name; empty where absent.
        #[serde(default)]
        display_name: Redacted<String>,
        /// The SIP Call-ID, for traces.
        sip_call_id: String,
        /// What another node needs to take the leg over; `None` where the leg cannot be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dialog: Option<DialogRef>,
        /// Who sent the call on to us, where a trunk said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diverted: Option<Diverted>,
    },
    /// The party that [`NodeAction::Dial`] calls hears its phone ring.
    PartyRinging,
    /// The dialled party answered. Without an agent on the line the decision plays; with one they
    /// are joined already.
    PartyAnswered {
        /// What another node needs to take the leg over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dialog: Option<DialogRef>,
    },
    /// The dialled party was not reached: the call is over for the node, an agent who was rung
    /// first included.
    PartyFailed {
        /// Why.
        reason: DialFailure,
        /// The SIP status, where there was one.
        sip_status: Option<u16>,
        /// What the other side said about it (RFC 3326).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasons: Vec<Reason>,
    },
    /// The caller's leg was taken over from a lost node: the decision plays.
    Reanchored {
        /// The leg's new dialog.
        dialog: DialogRef,
    },
    /// The caller's leg could not be taken over: the call is over for the node.
    ReanchorFailed {
        /// The SIP status, where there was one.
        sip_status: Option<u16>,
    },
    /// An agent's phone asks for a blind transfer of the caller (REFER).
    TransferAsked {
        /// The agent's leg.
        offer: OfferId,
        /// The user part or whole URI in Refer-To.
        target: Redacted<String>,
    },
    /// A leg of the call is being sent to an emergency number, whatever lists and limits say.
    EmergencyCalled {
        /// The number, as it was asked for.
        number: Redacted<String>,
        /// The name of the gateway that is tried first.
        gateway: String,
    },
    /// A leg sounds better or worse than before, by the packets that came from it in the last seconds.
    SoundChanged {
        /// Of which agent's leg; `None`: the caller's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<OfferId>,
        /// How it sounds now. A leg begins as good.
        band: SoundBand,
        /// What was measured.
        quality: LegQuality,
    },
    /// The script came to its end. `result` is that of its last verb.
    ScriptEnded {
        /// The label of the script, as given in [`Decision::label`].
        label: String,
        /// How its last verb ended.
        result: VerbResult,
    },
    /// The agent's phone says that it rings.
    OfferRinging {
        /// Which offer.
        offer: OfferId,
    },
    /// The agent answered; both legs are bridged already (or arranged as [`RingAgent::arrange`]
    /// said; or, for [`NodeAction::Dial`], the party is being dialled).
    OfferAnswered {
        /// Which offer.
        offer: OfferId,
        /// What another node needs to take the leg over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dialog: Option<DialogRef>,
    },
    /// The agent's phone did not take the call.
    OfferFailed {
        /// Which offer.
        offer: OfferId,
        /// Why.
        reason: OfferFailure,
        /// The SIP status, where there was one.
        sip_status: Option<u16>,
        /// What the other side said about it (RFC 3326).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasons: Vec<Reason>,
    },
    /// The agent's leg ended while the caller is still there.
    AgentLegEnded {
        /// Which offer had brought it.
        offer: OfferId,
        /// How.
        cause: EndCause,
        /// What the other side said about it (RFC 3326).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasons: Vec<Reason>,
    },
    /// The caller's leg ended: the call is over for the node.
    CallEnded {
        /// How.
        cause: EndCause,
        /// Measured on the legs.
        #[serde(default)]
        quality: Option<CallQuality>,
        /// What the other side said about it (RFC 3326).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasons: Vec<Reason>,
    },
    /// A recording is complete in object storage, or failed for good.
    RecordingEnded {
        /// Which.
        recording: RecordingId,
        /// The manifest's object key in the recordings bucket.
        manifest: String,
        /// Length, milliseconds.
        duration_ms: u64,
        /// What is missing, in words; `None`: nothing.
        failure: Option<String>,
    },
}

impl CallEvent {
    /// What the other side of a leg that ended said about it.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            CallEvent::PartyFailed { reasons, .. }
            | CallEvent::OfferFailed { reasons, .. }
            | CallEvent::AgentLegEnded { reasons, .. }
            | CallEvent::CallEnded { reasons, .. }
            | CallEvent::ScriptEnded { result: VerbResult::Transferred { reasons, .. }, .. } => reasons,
            _ => &[],
        }
    }
}

/// Why an offer did not become a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferFailure {
    /// Rang until the offer's time was over.
    TimedOut,
    /// The phone refused (486, 603).
    Declined,
    /// No phone is registered, or it did not answer at all.
    Unreachable,
    /// The caller left, or the offer was taken back.
    Rescinded,
}

/// How a leg ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// The person on this leg hung up.
    HungUp,
    /// The caller cancelled before the answer.
    Cancelled,
    /// The script hung up.
    Script,
    /// A command ended it.
    Command,
    /// No audio came for too long, or the dialog died.
    Lost,
    /// The node is going away.
    NodeDrained,
    /// Something failed on the node.
    Failed,
}

/// The sound quality of a leg, as measured at its end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LegQuality {
    /// Packets received.
    pub packets: u64,
    /// Packets missing.
    pub lost: u64,
    /// Interarrival jitter, milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: f32,
    /// Round trip, milliseconds, where RTCP gave one.
    pub round_trip_ms: Option<f32>,
    /// Mean opinion score estimated by the E-model (ITU-T G.107), 1 to 4.5.
    pub mos: f32,
}

/// How a verb ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum VerbResult {
    /// It ran to its end.
    Done,
    /// Digits arrived; fewer than the minimum where a time limit ended the input.
    Digits {
        /// What was pressed, without the terminator. Empty: nothing was.
        digits: Redacted<String>,
    },
    /// A message was recorded.
    Recorded {
        /// Which recording.
        recording: RecordingId,
        /// Its length, milliseconds.
        duration_ms: u64,
    },
    /// A transfer ended.
    Transferred {
        /// Whether the other side answered.
        answered: bool,
        /// What the other side said about it (RFC 3326).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasons: Vec<Reason>,
    },
    /// The verb could not be carried out (a missing prompt object, an unreachable target).
    Failed {
        /// What to look at.
        reason: String,
    },
}

/// What to do with a call until the world answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Who owns the call.
    pub tenant: TenantId,
    /// Names the place in the flow; comes back in [`CallEvent::ScriptEnded`]. It begins with a
    /// number that counts up with every new script of a contact (`3:main/menu`): a script, here
    /// or in [`NodeAction::Script`], whose number is not above that of the last one started is a
    /// repeat or out of date, and is ignored.
    pub label: String,
    /// `None`: go on with the script that runs (the input changed nothing for the node).
    pub script: Option<MediaScript>,
    /// What keeps the caller company while decisions fail; pinned by the first decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Whose voices the node hands to its speech engine from now on, until the call ends; `None`:
    /// as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap: Option<TapVoices>,
}

/// Voices of a call for a speech engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TapVoices {
    /// The caller's, or that of the party called back.
    Caller,
    /// Those of all who are joined with the caller.
    Callee,
    /// All of them.
    Both,
}

/// Keys and pauses of one [`SentKeys`] at most.
pub const SENT_KEYS: usize = 64;

/// Verbs in order; the last one's result is reported.
pub type MediaScript = Vec<Verb>;

/// One thing for the node to do to the caller's leg.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a script has a handful of verbs, and few ring anybody")]
pub enum Verb {
    /// Answers the INVITE (200).
    Answer,
    /// Refuses the INVITE; `prompts` are played as early media (183) before the final status.
    Reject {
        /// 400 to 699.
        status: u16,
        /// Early media.
        #[serde(default)]
        prompts: Vec<Prompt>,
        /// Told in Retry-After (RFC 3261 §20.33), seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_s: Option<u32>,
    },
    /// Plays prompts one after the other.
    Play {
        /// What.
        prompts: Vec<Prompt>,
    },
    /// Plays prompts (a key press stops them) and collects digits.
    Gather {
        /// Played first; may be empty.
        prompts: Vec<Prompt>,
        /// Ends the input when so many have come.
        max_digits: u8,
        /// Each of these ends the input, such as `#`.
        #[serde(default)]
        terminators: String,
        /// From the end of the prompts to the first digit.
        first_digit_ms: u32,
        /// Between digits.
        next_digit_ms: u32,
        /// Digits are masked in logs, facts and recordings.
        #[serde(default)]
        secret: bool,
    },
    /// Plays music and announcements until a command or an offer's answer ends it.
    Hold {
        /// Looped.
        music: Prompt,
        /// Played in between; replaced by [`NodeAction::Announce`].
        #[serde(default)]
        announce: Vec<Announcement>,
        /// Whoever waits is asked for these keys; a press ends the verb with [`VerbResult::Digits`].
        #[serde(default)]
        keys: String,
    },
    /// Rings an agent's phone while whatever is playing goes on; joins the legs at its answer.
    Ring(RingAgent),
    /// Records the caller (voicemail).
    Record {
        /// Which recording.
        recording: RecordingId,
        /// Longest message.
        max_ms: u32,
        /// A silence of this length ends it; 0: never.
        silence_ms: u32,
        /// A tone before it.
        beep: bool,
        /// Keys that end it.
        #[serde(default)]
        terminators: String,
    },
    /// Calls an outside address and joins it to the caller.
    Transfer {
        /// A SIP URI or an E.164 number for the outbound trunk.
        target: String,
        /// How long it may ring.
        ring_timeout_ms: u32,
        /// Recorded where given.
        #[serde(default)]
        record: Option<RecordingId>,
        /// Sent to the other side as soon as it has answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keys: Option<SentKeys>,
    },
    /// Sends keys on the caller's leg, as if a telephone's were pressed: as telephone events where they were
    /// agreed on (RFC 4733), else by INFO to a peer that takes it, else as tones.
    SendKeys(SentKeys),
    /// Ends the call.
    Hangup,
}

/// Keys that the node sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentKeys {
    /// `0` to `9`, `*`, `#` and `A` to `D`; `,` waits for half a second, `w` for one. At most
    /// [`SENT_KEYS`] count, any other character is left out.
    pub keys: Redacted<String>,
    /// Neither captured nor recorded.
    #[serde(default)]
    pub secret: bool,
}

/// Rings an agent and joins the legs when the phone answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RingAgent {
    /// Which offer.
    pub offer: OfferId,
    /// Whom.
    pub agent: AgentId,
    /// The SIP user name of the agent's phone, as it registers.
    pub sip_user: String,
    /// The node at which the phone is registered.
    pub phone_node: NodeId,
    /// How long it may ring.
    pub ring_timeout_ms: u32,
    /// Shown on the phone: the caller's number and the queue.
    pub caller_label: Redacted<String>,
    /// Played to the agent alone before the legs are joined.
    #[serde(default)]
    pub whisper: Vec<Prompt>,
    /// Both legs are recorded under this id from the moment they are joined; not used where a
    /// recording of the conversation runs already, which goes on as long as any agent is there.
    #[serde(default)]
    pub record: Option<RecordingId>,
    /// The SIP address (`host:port`) of `phone_node`, where that is not the node that carries the
    /// call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_address: Option<String>,
    /// At the answer: who hears whom from then on. `None`: joined with the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrange: Option<Arrangement>,
    /// A dialog of the same phone on a lost node, which this call replaces (RFC 3891): the phone
    /// takes it without ringing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<DialogRef>,
    /// Somebody outside instead of an agent: a number in E.164 for the outbound trunk. `agent`,
    /// `sip_user` and `phone_node` say nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Redacted<String>>,
}

/// A sound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Prompt {
    /// An object in the prompts bucket: raw µ-law, 8 kHz, mono.
    Audio {
        /// The object key.
        key: String,
    },
    /// A tone made by the node.
    Tone {
        /// Hertz; two for a pair; empty for silence.
        hz: Vec<u16>,
        /// Milliseconds of sound.
        on_ms: u32,
        /// Milliseconds of silence after it.
        off_ms: u32,
        /// How many times.
        times: u16,
        /// Further bursts of the same tone within each time.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        then: Vec<Burst>,
    },
}

/// A part of a tone with a cadence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burst {
    /// Milliseconds of sound.
    pub on_ms: u32,
    /// Milliseconds of silence after it.
    pub off_ms: u32,
}

/// An announcement in a waiting loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// After the start of the hold and then again after each such time; 0: once, at once.
    pub every_ms: u32,
    /// What.
    pub prompts: Vec<Prompt>,
}

/// What the node does by itself while decisions fail: it keeps the caller, plays this and retries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// Said once.
    pub apology: Vec<Prompt>,
    /// Looped until a decision comes.
    pub music: Prompt,
    /// The language of the caller.
    pub lang: Lang,
    /// Give up after this and hang up politely.
    pub give_up_ms: u32,
}

/// A command on a node's queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeCommand {
    /// Repeats carry the same id.
    pub id: CommandId,
    /// Which call.
    pub contact: ContactId,
    /// Dropped after this moment.
    pub expires: Timestamp,
    /// What to do.
    pub action: NodeAction,
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum NodeAction {
    /// Rings an agent for a waiting caller.
    Ring(RingAgent),
    /// Takes an offer back: stops ringing.
    Rescind {
        /// Which.
        offer: OfferId,
    },
    /// Replaces what the caller hears from now on.
    Script {
        /// As in [`Decision::label`].
        label: String,
        /// The new script.
        script: MediaScript,
    },
    /// Replaces the announcements of the running hold.
    Announce {
        /// From now on.
        announce: Vec<Announcement>,
    },
    /// Ends the agent's leg; the caller stays, and so do other agents as they are arranged.
    ReleaseAgent {
        /// Which.
        offer: OfferId,
    },
    /// Says who hears whom from now on (hold, consult, conference, listen, whisper).
    Arrange {
        /// The whole picture.
        arrangement: Arrangement,
    },
    /// Calls a party: the node carries a new call, named by the command's contact.
    Dial {
        /// Whose.
        tenant: TenantId,
        /// Whom.
        party: DialParty,
        /// What keeps the party company while decisions fail.
        fallback: Fallback,
    },
    /// Takes the caller's leg over from a lost node and plays the script.
    Reanchor {
        /// Whose.
        tenant: TenantId,
        /// The leg's dialog at the lost node.
        dialog: DialogRef,
        /// As in [`Decision::label`].
        label: String,
        /// Played once the leg is here.
        script: MediaScript,
        /// What keeps the caller company while decisions fail.
        fallback: Fallback,
        /// The number of the last input that the lost node had sent; the new node counts on.
        seq: u32,
    },
    /// Pauses or resumes a recording that runs (a card number is being said).
    PauseRecording {
        /// Which.
        recording: RecordingId,
        /// Silence is recorded while it is paused.
        paused: bool,
    },
    /// Ends the call.
    End,
}

/// A node's question about a SIP user name (direct invoke of the `directory` function).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DirectoryInput {
    /// Who is this user, and what are the digest hashes?
    Lookup {
        /// The user part, such as `fang.demo`.
        sip_user: String,
    },
    /// A phone registered, refreshed or left.
    Registered {
        /// Whose phone.
        tenant: TenantId,
        /// Whose phone.
        agent: AgentId,
        /// Where it is registered.
        node: NodeId,
        /// `None`: it left.
        expires: Option<Timestamp>,
    },
    /// A phone that registered before is still there: told again by a node that was away. A registration
    /// at another node counts more.
    StillRegistered {
        /// Whose phone.
        tenant: TenantId,
        /// Whose phone.
        agent: AgentId,
        /// Where it is registered.
        node: NodeId,
        /// Until when.
        expires: Timestamp,
    },
    /// The node is alive; sent every few seconds.
    NodeAlive {
        /// Which.
        node: NodeId,
        /// The SIP address other nodes reach it at, `host:port`.
        sip_address: String,
        /// Calls it carries.
        calls: u32,
        /// No new calls, please.
        draining: bool,
        /// When its lease lapses unless renewed.
        expires: Timestamp,
        /// When this process of the node started, by its own clock: calls that it named before
        /// are lost, although the lease may never have lapsed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
    },
}

/// The answer to a [`DirectoryInput`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DirectoryOutput {
    /// The account behind a SIP user name.
    Account {
        /// Whose.
        tenant: TenantId,
        /// Whose.
        agent: AgentId,
        /// H(user:realm:password), hex, MD5 (RFC 2617) and SHA-256 (RFC 8760).
        ha1_md5: Redacted<String>,
        /// As above.
        ha1_sha256: Redacted<String>,
    },
    /// No such user; the node answers as it would to a wrong password.
    Unknown,
    /// Noted.
    Noted,
    /// Noted; but the node's lease had lapsed: the calls that it carried before are lost to it, taken over by
    /// others or called back, and its phones are forgotten.
    TakenOver {
        /// When the lease had lapsed, by the node's clock: calls of before are to be ended, and phones told again.
        before: Timestamp,
    },
}
