//! What the endpoint keeps of a call half: its phase, its dialog, and what is under way in it.

use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::layer::TxId;
use super::timer::{CALL_TIMERS, CallTimer};
use crate::api::{Credentials, Header, Path, Transport};
use crate::message::{Message, Name};
use crate::reason::Reason;
use crate::uri::{parse_name_addr, parse_uri};

/// Early dialogs and forks kept of one INVITE.
pub(super) const FORKS: usize = 8;

/// Where a call half is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// An INVITE came and has no final answer yet.
    Incoming(TxId),
    /// Our INVITE has no final answer yet.
    Calling { tx: TxId, provisional: bool, cancelled: bool },
    /// Our INVITE without offer got a 200 with one; the ACK waits for the answer.
    LateOffer,
    /// Answered.
    Up,
    /// Our BYE is under way; nothing more is reported.
    Ending,
}

impl Phase {
    /// For [`super::CommandError::WrongState`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Incoming(_) => "incoming, not answered",
            Self::Calling { .. } => "calling, not answered",
            Self::LateOffer => "answered, waiting for AnswerLateOffer",
            Self::Up => "answered",
            Self::Ending => "ending",
        }
    }
}

/// The peer-to-peer relation of RFC 3261 §12.
#[derive(Debug, Clone)]
pub(super) struct Dialog {
    pub call_id: Bytes,
    /// Our From or To value with the tag.
    pub local: Bytes,
    pub local_tag: String,
    /// Theirs.
    pub remote: Bytes,
    /// Empty while an outgoing INVITE has no answer.
    pub remote_tag: Bytes,
    pub local_cseq: u32,
    pub remote_cseq: Option<u32>,
    /// Route values for our requests, in order.
    pub routes: Vec<Bytes>,
    /// The peer's Contact URI.
    pub target: Bytes,
    /// The way its messages come.
    pub path: Path,
}

impl Dialog {
    /// As the called side (§12.1.1).
    pub fn incoming(invite: &Message, path: Path, local_tag: String) -> Self {
        let local = [invite.get(invite.to), b";tag=", local_tag.as_bytes()].concat();
        Self {
            call_id: owned(invite, invite.get(invite.call_id)),
            local: local.into(),
            local_tag,
            remote: owned(invite, invite.get(invite.from)),
            remote_tag: owned(invite, invite.get(invite.from_tag)),
            local_cseq: 0,
            remote_cseq: Some(invite.cseq),
            routes: invite.list(Name::RecordRoute).map(|r| owned(invite, r)).collect(),
            target: contact_uri(invite).unwrap_or_else(|| {
                let uri = invite.caller().map(|a| a.text).unwrap_or_default();
                owned(invite, uri)
            }),
            path,
        }
    }

    /// As the calling side, from a response with a To tag (§12.1.2).
    pub fn learn(&mut self, response: &Message, path: Path) {
        self.remote = owned(response, response.get(response.to));
        self.remote_tag = owned(response, response.get(response.to_tag));
        self.routes = response.list(Name::RecordRoute).map(|r| owned(response, r)).collect();
        self.routes.reverse();
        self.refresh(response, path);
    }

    /// The remote target may move (§12.2.1.2), and the way to it.
    pub fn refresh(&mut self, message: &Message, path: Path) {
        if let Some(target) = contact_uri(message) {
            self.target = target;
        }
        if path.transport != Transport::Udp || self.path.transport == Transport::Udp {
            self.path = path;
        }
    }

    /// Whether a message from the peer belongs here; `ours` and `theirs` are its tags.
    pub fn matches(&self, message: &Message, ours: &[u8], theirs: &[u8]) -> bool {
        self.local_tag.as_bytes() == ours && self.remote_tag == theirs && self.call_id == message.get(message.call_id)
    }

    /// The Request-URI and Route values of a request (§12.2.1.1, strict routers included).
    pub fn route(&self) -> (Bytes, Vec<Bytes>) {
        let first = self.routes.first().and_then(|r| parse_name_addr(r).ok());
        match first {
            Some(address) if address.uri.param("lr").is_none() => {
                let uri = self.routes.first().map(|r| slice_of(r, address.text)).unwrap_or_default();
                let mut rest: Vec<Bytes> = self.routes.iter().skip(1).cloned().collect();
                rest.push([b"<", &self.target[..], b">"].concat().into());
                (uri, rest)
            }
            _ => (self.target.clone(), self.routes.clone()),
        }
    }

    /// Where a request goes. Streams: by the connection. Datagrams: to the address in the next
    /// hop's URI; back to where the peer's messages come from when that is a name, or a private
    /// address seen from outside (a phone behind NAT).
    pub fn next_hop(&self) -> Path {
        if self.path.transport != Transport::Udp {
            return self.path;
        }
        let uri = match self.routes.first().and_then(|r| parse_name_addr(r).ok()) {
            Some(address) => Some(address.uri),
            None => parse_uri(&self.target).ok(),
        };
        let Some(uri) = uri else { return self.path };
        let Some(ip) = uri.param("maddr").and_then(crate::uri::parse_ip).or_else(|| uri.ip()) else {
            return self.path;
        };
        let source = self.path.remote.ip().to_canonical();
        if ip != source && is_private(ip) {
            return self.path;
        }
        if ip.is_ipv4() != source.is_ipv4() {
            return self.path;
        }
        // A socket of both families wants IPv4 addresses mapped.
        let ip = match (self.path.remote.ip(), ip) {
            (IpAddr::V6(_), IpAddr::V4(v4)) => IpAddr::V6(v4.to_ipv6_mapped()),
            _ => ip,
        };
        Path { remote: SocketAddr::new(ip, uri.port.unwrap_or(5_060)), ..self.path }
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// A part of a message, kept with its buffer.
fn owned(message: &Message, part: &[u8]) -> Bytes {
    slice_of(&message.buffer, part)
}

fn slice_of(buffer: &Bytes, part: &[u8]) -> Bytes {
    if part.is_empty() { Bytes::new() } else { buffer.slice_ref(part) }
}

fn contact_uri(message: &Message) -> Option<Bytes> {
    message.contact().map(|c| owned(message, c.text))
}

/// A 200 to an INVITE that is repeated until its ACK comes.
#[derive(Debug, Clone)]
pub(super) struct PendingOk {
    pub tx: TxId,
    pub bytes: Bytes,
    pub cseq: u32,
    pub interval: Duration,
    /// The first INVITE: its ACK is reported.
    pub initial: bool,
    /// The 200 carried our offer: the ACK carries the answer.
    pub late_offer: bool,
}

/// The ACK of a 200, repeated with each repetition of the 200.
#[derive(Debug, Clone)]
pub(super) struct SentAck {
    pub cseq: u32,
    pub remote_tag: Bytes,
    pub path: Path,
    pub bytes: Bytes,
}

/// Our re-INVITE or UPDATE with an offer.
#[derive(Debug, Clone)]
pub(super) struct Reinvite {
    /// `None` while it waits after a 491.
    pub tx: Option<TxId>,
    pub sdp: Bytes,
    /// Sent by the endpoint itself to refresh the session: its end is not reported.
    pub refresh: bool,
    /// Credentials were given already.
    pub authorized: bool,
}

/// A provisional response that is repeated until its PRACK comes (RFC 3262).
#[derive(Debug, Clone)]
pub(super) struct PendingProvisional {
    pub bytes: Bytes,
    pub rseq: u32,
    pub interval: Duration,
    /// The answer that waits for the PRACK.
    pub held_answer: Option<(Bytes, Vec<Header>)>,
}

/// What was agreed about refreshing (RFC 4028).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionTimer {
    pub interval: Duration,
    pub we_refresh: bool,
}

/// What an outgoing INVITE needs to be sent again.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub uri: String,
    pub to: Bytes,
    pub sdp: Option<Bytes>,
    pub headers: Vec<Header>,
    /// A challenge was answered; a second one is final unless stale.
    pub attempts: u8,
    /// Seconds of the peer's Min-SE, after 422.
    pub min_se_s: Option<u32>,
    /// CSeq of the INVITE that was answered, for a late ACK.
    pub cseq: u32,
}

/// An early dialog of an outgoing INVITE.
#[derive(Debug, Clone)]
pub(super) struct Early {
    pub dialog: Dialog,
    /// The last reliable provisional response seen.
    pub rseq: u32,
}

/// What the peer said it can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Peer {
    pub update: bool,
    pub info: bool,
    pub timer: bool,
    pub prack: bool,
    pub prack_required: bool,
}

impl Peer {
    pub fn of(message: &Message) -> Self {
        Self {
            update: message.has_token(Name::Allow, "UPDATE"),
            info: message.has_token(Name::Allow, "INFO"),
            timer: message.has_token(Name::Supported, "timer"),
            prack: message.has_token(Name::Supported, "100rel"),
            prack_required: message.has_token(Name::Require, "100rel"),
        }
    }
}

/// A call half.
pub(super) struct Call {
    pub phase: Phase,
    pub dialog: Dialog,
    /// We made the Call-ID (for the waits after 491, §14.1).
    pub we_called: bool,
    pub peer: Peer,
    /// The layer above hung up: nothing more is reported.
    pub silent: bool,
    /// The 200 sent and not acknowledged.
    pub ok: Option<PendingOk>,
    /// BYE as soon as the ACK is here (§15).
    pub bye_after_ack: bool,
    /// Why we end it, for the BYE or CANCEL that is to come.
    pub reasons: Vec<Reason>,
    pub ack: Option<SentAck>,
    /// 200s of other forks, acknowledged and ended (§13.2.2.4).
    pub forks: Vec<SentAck>,
    pub early: Vec<Early>,
    /// The peer's re-INVITE or UPDATE that waits for AnswerReoffer.
    pub reoffer: Option<TxId>,
    pub reinvite: Option<Reinvite>,
    /// The last description we sent.
    pub local_sdp: Bytes,
    pub session: Option<SessionTimer>,
    pub provisional: Option<PendingProvisional>,
    pub next_rseq: u32,
    pub outgoing: Option<Box<Outgoing>>,
    pub credentials: Option<Credentials>,
    /// The moments its timers count for.
    pub deadlines: [Option<Instant>; CALL_TIMERS],
}

impl Call {
    pub fn new(phase: Phase, dialog: Dialog, we_called: bool) -> Self {
        Self {
            phase,
            dialog,
            we_called,
            peer: Peer::default(),
            silent: false,
            ok: None,
            bye_after_ack: false,
            reasons: Vec::new(),
            ack: None,
            forks: Vec::new(),
            early: Vec::new(),
            reoffer: None,
            reinvite: None,
            local_sdp: Bytes::new(),
            session: None,
            provisional: None,
            next_rseq: 1,
            outgoing: None,
            credentials: None,
            deadlines: [None; CALL_TIMERS],
        }
    }

    /// The moment a timer counts for, where it runs.
    pub fn deadline(&mut self, timer: CallTimer) -> &mut Option<Instant> {
        &mut self.deadlines[timer as usize]
    }

    /// The same, to look at.
    pub fn due(&self, timer: CallTimer) -> Option<Instant> {
        self.deadlines[timer as usize]
    }
}
