//! What the layers above speak with the SIP endpoint: commands down, events up.
//!
//! A call half begins with [`Event::Incoming`] or [`Command::Invite`] and ends with exactly one of
//! [`Event::Cancelled`], [`Event::Failed`], [`Event::Ended`], [`Command::Refuse`] or
//! [`Command::Hangup`]; after it nothing more is reported for its handle, and commands for it give
//! [`crate::CommandError::UnknownCall`]. Answering and hanging up may cross: a command for a call
//! that ended a moment ago is no fault.
//!
//! The endpoint is sans-IO. The shell feeds it packets and time and sends what it hands out.

use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::reason::Reason;

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A byte stream.
    Tcp,
    /// A byte stream under TLS.
    Tls,
    /// RFC 7118.
    Ws,
    /// RFC 7118 under TLS.
    Wss,
}

/// One way to a peer: the address pair and, for streams, the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// How.
    pub transport: Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Names the connection of a stream transport; 0 for UDP, and for a connection to be opened.
    pub connection: u64,
}

/// Names a call half (a dialog or the early dialogs of one INVITE) at one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallHandle(pub u64);

/// Names a request that waits for [`Command::Reply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestHandle(pub u64);

/// A header as name and value, added to a message as it stands.
pub type Header = (String, String);

/// User name and password for answering challenges.
#[derive(Clone)]
pub struct Credentials {
    /// Digest user name.
    pub user: String,
    /// Password.
    pub password: String,
}

/// The digest hashes of an account, hex: H(user:realm:password).
#[derive(Clone)]
pub struct Ha1 {
    /// MD5 (RFC 2617).
    pub md5: String,
    /// SHA-256 (RFC 8760).
    pub sha256: String,
}

/// What the layer above asks for.
pub enum Command {
    /// Sends 180 (or 183 with `sdp`) for an incoming call: reliably where the caller demands it, or
    /// supports it and there is `sdp` (RFC 3262).
    Progress { call: CallHandle, status: u16, sdp: Option<Bytes> },
    /// Answers an incoming call with 200, which is repeated until its ACK comes
    /// ([`Event::Confirmed`]).
    Answer { call: CallHandle, sdp: Bytes, headers: Vec<Header> },
    /// Refuses an incoming call, 300 to 699.
    Refuse { call: CallHandle, status: u16, headers: Vec<Header> },
    /// Calls someone. The caller of the endpoint chooses a fresh `call`.
    Invite {
        call: CallHandle,
        /// Request-URI, such as the `Contact` a phone registered.
        uri: String,
        /// The way to it; `connection` of a registered phone's flow.
        path: Path,
        /// `From`, a name-addr: `"+8613…" <sip:+8613…@host>`.
        from: String,
        /// `To`, a name-addr.
        to: String,
        /// The offer; `None`: a late offer is wanted.
        sdp: Option<Bytes>,
        headers: Vec<Header>,
        /// Answers 401/407.
        credentials: Option<Credentials>,
    },
    /// Answers a re-INVITE or UPDATE that came as [`Event::Reoffered`]; `None` refuses with 488.
    AnswerReoffer { call: CallHandle, sdp: Option<Bytes> },
    /// Sends a re-INVITE with a new offer; both sides offering at once is settled by the endpoint
    /// (§14.1), the end is [`Event::ReofferAnswered`].
    Reoffer { call: CallHandle, sdp: Bytes },
    /// Sends the ACK's answer to a late offer.
    AnswerLateOffer { call: CallHandle, sdp: Bytes },
    /// Sends INFO (DTMF relay and the like).
    Info { call: CallHandle, content_type: String, body: Bytes },
    /// Sends REFER; the peer's NOTIFYs come as [`Event::Info`] with `message/sipfrag`.
    Refer { call: CallHandle, refer_to: String },
    /// Tells the sender of a REFER how its call goes (RFC 3515 §2.4.5); `last` ends the subscription.
    Notify { call: CallHandle, status: u16, last: bool },
    /// Ends a call in whatever state: CANCEL, BYE (after the ACK of our 200), or a refusal
    /// (`status`, else 480). `reasons` become the Reason header (RFC 3326).
    Hangup { call: CallHandle, status: Option<u16>, reasons: Vec<Reason> },
    /// The account behind [`Event::Authenticate`]; `None`: unknown user (answered alike).
    Account { request: RequestHandle, ha1: Option<Ha1> },
    /// Another shard's [`Event::Guessed`]: it counts for the lock-out here too.
    CountGuess { user: String, source: IpAddr },
    /// Answers a request that came as an event with a `request`.
    Reply { request: RequestHandle, status: u16, headers: Vec<Header> },
    /// Asks a peer by OPTIONS whether it is there; the answer is [`Event::Pong`]. The caller of the
    /// endpoint chooses a fresh `call`.
    Ping {
        call: CallHandle,
        uri: String,
        path: Path,
        /// `From`, a name-addr.
        from: String,
    },
    /// Registers us at a registrar (trunks, phones); refreshes by itself until `expires` is 0.
    Register {
        call: CallHandle,
        registrar: String,
        path: Path,
        aor: String,
        contact: String,
        expires: Duration,
        credentials: Option<Credentials>,
    },
}

/// What the endpoint reports.
#[derive(Debug)]
pub enum Event {
    /// An INVITE outside any dialog; 100 was sent already.
    Incoming { call: CallHandle, invite: Box<Invite> },
    /// The caller gave up before the answer (487 was sent), or its connection is gone.
    Cancelled { call: CallHandle, reasons: Vec<Reason> },
    /// The ACK of our 200 came, with an answer where ours was the offer.
    Confirmed { call: CallHandle, sdp: Option<Bytes> },
    /// The first answer to our INVITE was 100: somebody is there and tries.
    Trying { call: CallHandle },
    /// 1xx to our INVITE. 100 is not reported.
    Progressed { call: CallHandle, status: u16, sdp: Option<Bytes> },
    /// 200 to our INVITE; the ACK was sent (or waits for [`Command::AnswerLateOffer`]).
    Answered { call: CallHandle, sdp: Option<Bytes> },
    /// A final refusal of our INVITE, no answer at all (408), or a broken connection (503).
    /// `phrase`: what stands behind the status; `reasons`: what the Reason header says (RFC 6432).
    Failed { call: CallHandle, status: u16, phrase: String, reasons: Vec<Reason> },
    /// A new offer within the dialog.
    Reoffered { call: CallHandle, sdp: Option<Bytes> },
    /// The peer's answer to our new offer; `Err`: its status.
    ReofferAnswered { call: CallHandle, result: Result<Bytes, u16> },
    /// INFO, or NOTIFY about a REFER of ours, came; 200 was sent.
    Info { call: CallHandle, content_type: String, body: Bytes },
    /// REFER came; reply with 202 or a refusal.
    Referred { call: CallHandle, request: RequestHandle, refer_to: String },
    /// The dialog ended: BYE came, with these `reasons`; or it is dead, for a `fault` that the endpoint
    /// found, such as a session timer that ran out.
    Ended { call: CallHandle, by_peer: bool, fault: Option<&'static str>, reasons: Vec<Reason> },
    /// A request needs an account's hashes (the digest's user name and the sender's address are known,
    /// nothing is checked yet).
    Authenticate { request: RequestHandle, user: String, realm: String, source: IpAddr },
    /// A digest was wrong: whoever runs several shards tells the others ([`Command::CountGuess`]), so
    /// that a guesser has no more tries than one shard allows.
    Guessed { user: String, source: IpAddr },
    /// A verified REGISTER; reply with 200 and the `Contact`s, or a refusal.
    Registering { request: RequestHandle, register: Box<Register> },
    /// The state of our own registration: seconds granted, or the status that refused it.
    Registration { call: CallHandle, result: Result<u32, u16> },
    /// The status that answered a [`Command::Ping`]: 408 where nothing came, 503 where nothing could
    /// be sent.
    Pong { call: CallHandle, status: u16 },
    /// An OPTIONS outside a dialog was answered by the endpoint itself; for counters.
    Pinged { path: Path },
}

/// A dialog as its peers know it (RFC 3261 §12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogView {
    /// Call-ID.
    pub sip_call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag.
    pub remote_tag: String,
    /// The URI of the peer's Contact.
    pub remote_target: String,
    /// The way its messages come.
    pub peer: Path,
}

/// An incoming call.
#[derive(Debug, Clone)]
pub struct Invite {
    /// The way it came; answers and later requests go back by it.
    pub path: Path,
    /// The Request-URI as text.
    pub uri: String,
    /// The user part of the Request-URI, unescaped; the number of a `tel:` URI.
    pub uri_user: String,
    /// The user part of `From`.
    pub from_user: String,
    /// The display name of `From`.
    pub from_name: String,
    /// The user part of `To`.
    pub to_user: String,
    /// Call-ID.
    pub sip_call_id: String,
    /// The offer.
    pub sdp: Option<Bytes>,
    /// All headers in order, long names.
    pub headers: Vec<Header>,
    /// The user whose digest was verified, where the endpoint asked for one.
    pub user: Option<String>,
}

/// A REGISTER whose digest was verified.
#[derive(Debug, Clone)]
pub struct Register {
    /// The way it came.
    pub path: Path,
    /// The user part of `To`: the address of record.
    pub user: String,
    /// The digest's user name; equal to `user`.
    pub auth_user: String,
    /// Each `Contact` URI with the seconds asked for; `*` with 0 clears all. Empty: a query.
    pub contacts: Vec<(String, u32)>,
    /// Names the one Contact's flow (RFC 5626 §4.2): its `+sip.instance` and `reg-id`. A later
    /// registration of the same flow takes the place of this one, whatever its URI.
    pub flow: Option<String>,
    /// Call-ID, and CSeq for ordering (RFC 3261 §10.3).
    pub sip_call_id: String,
    /// CSeq.
    pub cseq: u32,
}

/// What the shell must do.
#[derive(Debug)]
pub enum Output {
    /// Send this message.
    Transmit { path: Path, bytes: Bytes },
    /// Tell the layer above.
    Event(Event),
    /// Close a stream connection (a broken or abusive peer).
    Close { connection: u64 },
}
