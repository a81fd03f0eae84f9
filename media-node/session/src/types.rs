//! What a session is told and what it asks for.

use bytes::Bytes;
use hotline_base::{AgentId, ContactId, NodeId, OfferId, RecordingId, TenantId, Timestamp};
use hotline_rtp::api::{Codec, MediaCommand, MediaLegId, SecureFailure};
use hotline_rtp::dtls::Fingerprint;
use hotline_sip::api::{CallHandle, Command, Credentials, Header, Path};
use hotline_wire::diverted::Diverted;
use hotline_wire::legs::{DialParty, DialogRef};
use hotline_wire::node::{CallInput, EndCause, Fallback, MediaScript, OfferFailure};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::protection::{LegSecret, OfferedSecurity, SrtpPolicy};
use crate::sdp::{Accepts, CodecList};

/// The time of an input, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For time limits.
    pub mono: Instant,
    /// For what is reported.
    pub wall: Timestamp,
}

impl Now {
    /// The moment `ms` milliseconds from now.
    pub fn after_ms(&self, ms: u64) -> Instant {
        self.mono + Duration::from_millis(ms)
    }
}

/// What all sessions of a node share.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// This node.
    pub node: NodeId,
    /// Host part of the `From` that agents' phones see.
    pub host: String,
    /// A decision may take so long before the caller is kept company, milliseconds.
    pub company_after_ms: u64,
    /// How long prompts may take to load before they count as missing, milliseconds.
    pub load_ms: u64,
    /// Keeps the caller company until the first decision pins the flow's own.
    pub fallback: Fallback,
    /// How long inputs of an ended call are retried before they are given up, milliseconds.
    pub farewell_ms: u64,
    /// Send 180 as soon as an INVITE arrives.
    pub ring_at_once: bool,
    /// Hosts that are this node: a transfer target there is a user of ours.
    pub own_hosts: Vec<String>,
    /// What is offered and answered of SRTP.
    pub srtp: SrtpPolicy,
    /// The codecs that are offered and answered.
    pub codecs: CodecList,
    /// Of the certificate that browsers see.
    pub fingerprint: Fingerprint,
    /// A browser that is away may come back for so long, milliseconds.
    pub resume_ms: u64,
}

impl SessionConfig {
    /// What an offer may hold.
    pub fn accepts(&self) -> Accepts {
        self.srtp.accepts(self.codecs)
    }
}

/// Names a leg within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegNo(pub u32);

impl LegNo {
    /// The caller's leg.
    pub const CALLER: LegNo = LegNo(0);
}

impl fmt::Display for LegNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("caller"),
            n => write!(f, "leg{n}"),
        }
    }
}

/// The call that a session is made for.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// A fresh id.
    pub contact: ContactId,
    /// The call at the endpoint.
    pub call: CallHandle,
    /// The dialled number, normalised.
    pub did: String,
    /// The caller's number; empty where withheld.
    pub from: String,
    /// The caller's display name.
    pub display_name: String,
    /// For traces.
    pub sip_call_id: String,
    /// The offer of the INVITE.
    pub sdp: Option<Bytes>,
    /// What another node needs to take the leg over.
    pub dialog: Option<DialogRef>,
    /// Who sent the call on to us.
    pub diverted: Option<Diverted>,
    /// The caller takes INFO.
    pub takes_info: bool,
    /// Tokens of this session are this number and the following 65,535.
    pub first_token: u64,
}

/// A call that this node places.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// Whose it is.
    pub contact: ContactId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What keeps the party company while decisions fail.
    pub fallback: Fallback,
    /// The first input is numbered one higher.
    pub seq: u32,
    /// Tokens of this session are this number and the following 65,535.
    pub first_token: u64,
    /// What for.
    pub mission: Mission,
}

/// Why a node places a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Mission {
    /// To reach somebody.
    Call(Box<DialParty>),
    /// To take the caller's leg over from a lost node.
    TakeOver {
        /// The leg there.
        dialog: DialogRef,
        /// As in a decision.
        label: String,
        /// Played once the leg is here.
        script: MediaScript,
    },
}

/// Whom to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An agent's registered phone.
    Agent {
        /// As it registers.
        sip_user: String,
        /// The node it is registered at.
        node: NodeId,
        /// That node's SIP address, where it is another one.
        address: Option<String>,
        /// For the other node's ears.
        offer: OfferId,
        /// For the other node's ears.
        agent: AgentId,
        /// The phone's dialog with a lost node, which this call replaces.
        replaces: Option<DialogRef>,
    },
    /// A SIP URI, or a number for the outbound gateways.
    Address(String),
    /// The other side of a dialog with a lost node.
    Dialog(DialogRef),
}

/// A leg's port pair at the media engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedLeg {
    /// At the engine.
    pub id: MediaLegId,
    /// Where the peer shall send RTP.
    pub rtp: SocketAddr,
    /// What its keys are made of.
    pub secret: LegSecret,
}

/// The answer to [`Output::Dial`]: everything an INVITE needs.
#[derive(Clone)]
pub struct Dialed {
    /// A fresh handle.
    pub call: CallHandle,
    /// Request-URI.
    pub uri: String,
    /// The way to it.
    pub path: Path,
    /// `From`, where the way there wants its own form of it; else the session writes it.
    pub from: Option<String>,
    /// Extra headers.
    pub headers: Vec<Header>,
    /// For a trunk that challenges.
    pub credentials: Option<Credentials>,
    /// The leg's ports.
    pub media: OpenedLeg,
    /// What is offered, the preferred one first; empty: all, the caller's first.
    pub codecs: Vec<Codec>,
    /// What the offer says of protection.
    pub security: OfferedSecurity,
    /// There is another way, which the next attempt would take.
    pub more: bool,
    /// The dialog that the call replaces, as its other side is to be told: a relay here may stand
    /// between the one that was asked for and the phone.
    pub replaces: Option<DialogRef>,
}

/// Why a leg could not be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// No phone is registered, or there is no route to the address.
    #[error("no route to {0}")]
    NoRoute(String),
    /// The node's policy forbids the number, or calls to outside are at their limit.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// Out of ports, calls or descriptors.
    #[error("the node is out of {0}")]
    Exhausted(&'static str),
}

/// Why a decision did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no decision: {0}")]
pub struct DecisionFailure(pub String);

/// A prompt object's bytes, or `None` where there is no such object or it cannot be had.
pub type Loaded = (String, Option<Arc<[u8]>>);

/// What the shell must do, in this order.
pub enum Output {
    /// Hand to the SIP endpoint.
    Sip(Command),
    /// Hand to the media engine.
    Media(MediaCommand),
    /// Open the caller's media leg and say so with [`crate::Session::media_opened`].
    OpenMedia,
    /// Find a way to the target, open a media leg and say so with [`crate::Session::dialed`].
    Dial {
        /// Repeated in the answer.
        leg: LegNo,
        /// Whom.
        target: Target,
        /// Counts the ways tried, from 0.
        attempt: u32,
    },
    /// Ask for a decision and hand it to [`crate::Session::decided`].
    Ask(Box<CallInput>),
    /// Fetch prompt objects and hand them to [`crate::Session::loaded`].
    Load(Vec<String>),
    /// A recording's spool file is complete.
    Spooled {
        /// Which.
        recording: RecordingId,
        /// Length, milliseconds.
        duration_ms: u64,
        /// What is missing, in words.
        failure: Option<String>,
    },
    /// For the log.
    Note(Note),
    /// Nothing more will come: forget the session.
    Over,
}

/// A step of a call worth a log line.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// The caller's leg was answered.
    Answered,
    /// A decision was asked for.
    Asked {
        /// Which.
        seq: u32,
        /// The kind of event.
        event: &'static str,
    },
    /// A decision came.
    Decided {
        /// Which.
        seq: u32,
        /// Its label.
        label: String,
    },
    /// A decision failed and will be asked for again.
    DecisionFailed {
        /// Which.
        seq: u32,
        /// How often so far.
        attempts: u32,
        /// What was said.
        reason: String,
    },
    /// The fallback keeps the caller company.
    Company,
    /// A verb of a script began.
    Verb {
        /// Of the script.
        label: String,
        /// Its name.
        verb: &'static str,
    },
    /// A verb could not be carried out.
    VerbFailed {
        /// Of the script.
        label: String,
        /// What to look at.
        reason: String,
    },
    /// Somebody else's phone is being called.
    Dialing(LegNo),
    /// It rings.
    Ringing(LegNo),
    /// It does not answer; the next way to it is tried.
    NextWay(LegNo),
    /// A phone speaks none of the codecs that it was offered: it is rung again with all.
    AllCodecs(LegNo),
    /// The party that was called is there.
    Reached,
    /// Who hears whom has changed.
    Arranged,
    /// It is joined with the caller.
    Joined(LegNo),
    /// The mean opinion score of what came from a leg in the last seconds.
    Sounded(LegNo, f32),
    /// It did not take the call.
    NotTaken(LegNo, OfferFailure),
    /// It ended.
    Parted(LegNo, EndCause),
    /// A recording runs.
    RecordingStarted(RecordingId),
    /// Its browser is not heard any more, or is again.
    Away(LegNo, bool),
    /// Its browser was loaded again and has the call back.
    Resumed(LegNo),
    /// Its packets cannot be protected.
    Unprotected(LegNo, SecureFailure),
    /// A command was not carried out.
    CommandDropped(&'static str),
    /// The caller's leg ended.
    Ended(EndCause),
    /// An input could not be delivered for too long.
    GivenUp {
        /// The first of them.
        seq: u32,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Answered => f.write_str("answered"),
            Note::Asked { seq, event } => write!(f, "ask {seq}: {event}"),
            Note::Decided { seq, label } => write!(f, "decided {seq}: {label}"),
            Note::DecisionFailed { seq, attempts, reason } => {
                write!(f, "decision {seq} failed {attempts} times: {reason}")
            }
            Note::Company => f.write_str("fallback keeps the caller company"),
            Note::Verb { label, verb } => write!(f, "{label}: {verb}"),
            Note::VerbFailed { label, reason } => write!(f, "{label}: failed: {reason}"),
            Note::Dialing(leg) => write!(f, "{leg} dialled"),
            Note::Ringing(leg) => write!(f, "{leg} rings"),
            Note::NextWay(leg) => write!(f, "{leg}: the next way is tried"),
            Note::AllCodecs(leg) => write!(f, "{leg}: rung again with all codecs"),
            Note::Reached => f.write_str("the party is there"),
            Note::Arranged => f.write_str("arranged anew"),
            Note::Joined(leg) => write!(f, "{leg} joined"),
            Note::Sounded(leg, mos) => write!(f, "{leg} sounds like {mos:.1}"),
            Note::NotTaken(leg, why) => write!(f, "{leg} did not take the call: {why:?}"),
            Note::Parted(leg, cause) => write!(f, "{leg} ended: {cause:?}"),
            Note::RecordingStarted(id) => write!(f, "recording {id} started"),
            Note::Away(leg, true) => write!(f, "{leg} is away"),
            Note::Away(leg, false) => write!(f, "{leg} is back"),
            Note::Resumed(leg) => write!(f, "{leg} was resumed"),
            Note::Unprotected(leg, why) => write!(f, "{leg} cannot be protected: {why:?}"),
            Note::CommandDropped(why) => write!(f, "command dropped: {why}"),
            Note::Ended(cause) => write!(f, "caller ended: {cause:?}"),
            Note::GivenUp { seq } => write!(f, "input {seq} and later ones were given up"),
        }
    }
}

/// An INVITE that cannot become a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused with {status}: {reason}")]
pub struct Refusal {
    /// 488 or 400.
    pub status: u16,
    /// What was wrong with it.
    pub reason: String,
}

/// The Replaces header for the other side of a dialog (RFC 3891 §6.1): its own tag is `to-tag`.
pub fn replaces(dialog: &DialogRef) -> Header {
    let value = format!("{};to-tag={};from-tag={}", dialog.sip_call_id, dialog.remote_tag, dialog.local_tag);
    ("Replaces".to_string(), value)
}

/// The `From` of a leg towards an agent's phone.
pub fn name_addr(label: &str, user: &str, host: &str) -> String {
    let mut out = String::with_capacity(label.len() + user.len() + host.len() + 12);
    if !label.is_empty() {
        out.push('"');
        for c in label.chars().filter(|c| !c.is_control()).take(80) {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push_str("\" ");
    }
    out.push_str("<sip:");
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '_' | '.');
    let user: String = user.chars().filter(plain).take(64).collect();
    out.push_str(if user.is_empty() { "anonymous" } else { &user });
    out.push('@');
    out.push_str(host);
    out.push('>');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_header() {
        assert_eq!(name_addr("A \"B\"\r\nX: y", "+86 138<>", "h"), "\"A \\\"B\\\"X: y\" <sip:+86138@h>");
        assert_eq!(name_addr("", "", "h"), "<sip:anonymous@h>");
    }
}
