//! The endpoint: packets, time and commands in; packets and events out.

mod authenticate;
mod call;
mod commands;
mod early;
mod layer;
mod outgoing;
mod ping;
mod refresh;
mod register;
mod requests;
mod responses;
mod send;
mod timer;
mod within;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use crate::api::{CallHandle, Command, Event, Output, Path, RequestHandle, Transport};
use crate::config::{EndpointConfig, RequestFacts, Trust};
use crate::entropy::Entropy;
use crate::flood::Flood;
use crate::guard::Guard;
use crate::message::{Message, Start};
use crate::parse::{Refusal, parse};
use crate::stream::{Frame, Framer, SHARD_SHIFT};
use authenticate::Waiting;
use call::Call;
use layer::{Tx, TxId};
use register::Registration;
use timer::{TimerKey, Timers};

/// A command that cannot be carried out; nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The call ended or never was.
    #[error("call {0:?} is unknown: it ended, or its handle is wrong")]
    UnknownCall(CallHandle),
    /// The request was answered already, or timed out.
    #[error("the request was answered already, or its transaction ended")]
    UnknownRequest,
    /// The handle is in use.
    #[error("call {0:?} exists already: take a fresh handle from `fresh_call`")]
    CallExists(CallHandle),
    /// The call is not in a state for it.
    #[error("{command} is not possible now: the call is {state}")]
    WrongState {
        /// What was asked.
        command: &'static str,
        /// What the call is doing.
        state: &'static str,
    },
    /// A field of the command cannot be sent.
    #[error("{field}: {remedy}")]
    BadField {
        /// Which.
        field: &'static str,
        /// What to write instead.
        remedy: &'static str,
    },
    /// A bound of [`crate::Limits`] is reached.
    #[error("the limit of calls or transactions is reached: try again later")]
    Full,
}

/// How full the endpoint's tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Call halves.
    pub calls: usize,
    /// Client and server transactions, those that only absorb late messages included.
    pub transactions: usize,
    /// Of these, the ones that only absorb late messages.
    pub lingering: usize,
    /// Outputs not yet polled.
    pub outputs: usize,
    /// Stream connections with a partial message.
    pub streams: usize,
}

/// A SIP endpoint (user agent and registrar front) without I/O, clock or randomness.
pub struct Endpoint {
    config: EndpointConfig,
    entropy: Entropy,
    outputs: VecDeque<Output>,
    timers: Timers,
    txs: HashMap<TxId, Box<Tx>>,
    /// How many of them only absorb late messages, and these in the order of their end; some may
    /// be gone.
    lingering: usize,
    linger_order: VecDeque<TxId>,
    server_keys: HashMap<Box<[u8]>, TxId>,
    merged: HashMap<Box<[u8]>, TxId>,
    calls: HashMap<CallHandle, Call>,
    waiting: HashMap<RequestHandle, Waiting>,
    registrations: HashMap<CallHandle, Registration>,
    guard: Guard,
    flood: Flood,
    streams: HashMap<u64, Framer>,
    /// Connections that transactions or calls use.
    used_connections: HashSet<u64>,
    refusing: Option<u32>,
    next_call: u64,
    next_tx: u64,
}

impl Endpoint {
    /// An endpoint whose branches, tags and nonces derive from `seed`: give 32 random bytes.
    pub fn new(config: EndpointConfig, seed: [u8; 32]) -> Self {
        let shard = config.shard.index as u64;
        Self {
            guard: Guard::new(&config.limits),
            flood: Flood::new(config.limits.per_source),
            config,
            entropy: Entropy::new(seed),
            outputs: VecDeque::new(),
            timers: Timers::default(),
            txs: HashMap::new(),
            lingering: 0,
            linger_order: VecDeque::new(),
            server_keys: HashMap::new(),
            merged: HashMap::new(),
            calls: HashMap::new(),
            waiting: HashMap::new(),
            registrations: HashMap::new(),
            streams: HashMap::new(),
            used_connections: HashSet::new(),
            refusing: None,
            // Which endpoint a call is at shows in our tags.
            next_call: (shard << SHARD_SHIFT) | 1,
            next_tx: 1,
        }
    }

    /// A handle that no call of this endpoint has or had.
    pub fn fresh_call(&mut self) -> CallHandle {
        let handle = CallHandle(self.next_call);
        self.next_call += 1;
        handle
    }

    /// While `Some`, new INVITEs get 503 with these seconds in Retry-After; calls in progress go on.
    pub fn refuse_new_calls(&mut self, retry_after_s: Option<u32>) {
        self.refusing = retry_after_s;
    }

    /// One datagram, one WebSocket message, or one message that [`crate::Framer`] cut from a stream.
    ///
    /// What is no message is answered with 400 where it can be, or dropped.
    pub fn handle_packet(&mut self, now: Instant, path: Path, bytes: &[u8]) {
        self.take_packet(now, path, bytes);
        self.drop_stale_timers();
    }

    fn take_packet(&mut self, now: Instant, path: Path, bytes: &[u8]) {
        if bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | 0 | b' ')) {
            // Keep-alives (RFC 5626 §4.4.1); on datagrams they want no answer.
            return;
        }
        if path.transport == Transport::Udp && bytes.first().is_some_and(|b| *b < 4) {
            // The smallest of answers, and still only within the limit of the source.
            if let Some(bytes) = crate::stun::answer(bytes, path.remote)
                && self.admits(now, path, "", b"", "", "")
            {
                self.outputs.push_back(Output::Transmit { path, bytes });
            }
            return;
        }
        match parse(bytes) {
            Err(refusal) => self.refuse_malformed(now, path, refusal),
            Ok(message) => match message.start {
                Start::Response { .. } => self.on_response(now, path, message),
                Start::Request { .. } => self.on_request(now, path, message),
            },
        }
    }

    /// Bytes of a stream connection as they arrive; framed here by Content-Length.
    ///
    /// [`Output::Close`] follows where the stream can no longer be cut into messages.
    pub fn handle_stream_data(&mut self, now: Instant, path: Path, bytes: &[u8]) {
        let connection = path.connection;
        let known = self.streams.contains_key(&connection);
        if !known && self.streams.len() >= self.config.limits.streams {
            self.outputs.push_back(Output::Close { connection });
            return;
        }
        let mut framer = self.streams.remove(&connection).unwrap_or_default();
        framer.push(bytes);
        loop {
            match framer.next_frame() {
                Ok(Some(Frame::Message(message))) => self.handle_packet(now, path, &message),
                Ok(Some(Frame::Ping)) => {
                    self.outputs.push_back(Output::Transmit { path, bytes: bytes::Bytes::from_static(b"\r\n") });
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, remote = %path.remote, "stream closed");
                    self.outputs.push_back(Output::Close { connection });
                    return;
                }
            }
        }
        if !framer.is_empty() {
            self.streams.insert(connection, framer);
        }
    }

    /// A stream connection is gone: its transactions fail; its calls go on over a new one
    /// (`connection` 0 asks the shell to open it).
    pub fn handle_closed(&mut self, now: Instant, connection: u64) {
        self.streams.remove(&connection);
        if !self.used_connections.remove(&connection) || connection == 0 {
            return;
        }
        for call in self.calls.values_mut() {
            if call.dialog.path.connection == connection && call.dialog.path.transport != Transport::Udp {
                call.dialog.path.connection = 0;
            }
        }
        self.break_transactions(now, connection);
    }

    /// No connection to this peer can be had: what was sent there by the path's connection, or
    /// before there was one, fails at once (RFC 3261 §18.4, §8.1.3.1).
    pub fn handle_unreachable(&mut self, now: Instant, path: Path) {
        if path.transport != Transport::Udp {
            let peer = (path.transport, path.remote);
            self.break_where(now, |p| (p.transport, p.remote) == peer && [0, path.connection].contains(&p.connection));
            self.drop_stale_timers();
        }
    }

    /// The moment of [`Endpoint::poll_timeout`] has come; calling it early or late does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, key)) = self.timers.pop(now) {
            match key {
                TimerKey::Retransmit(_) | TimerKey::Timeout(_) | TimerKey::Linger(_) => {
                    self.fire_transaction(now, at, key);
                }
                TimerKey::Call(handle, timer) => {
                    let due = self.calls.get_mut(&handle).and_then(|c| c.deadline(timer).take_if(|t| *t == at));
                    if due.is_some() {
                        self.fire_call(now, handle, timer);
                    }
                }
                TimerKey::Unanswered(id) => self.fire_unanswered(now, id),
                TimerKey::Register(handle) => self.fire_registration(now, at, handle),
            }
        }
        self.drop_stale_timers();
    }

    /// Carries out what the layer above asks.
    ///
    /// # Errors
    /// [`CommandError`]; nothing was sent then.
    pub fn handle_command(&mut self, now: Instant, command: Command) -> Result<(), CommandError> {
        let result = self.on_command(now, command);
        self.drop_stale_timers();
        result
    }

    /// The next thing to do, until `None`; poll after every `handle_…`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Endpoint::handle_timeout`] wants to be called; changes with every `handle_…`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.peek().map(|(at, _)| at)
    }

    /// How full the tables are.
    pub fn usage(&self) -> Usage {
        Usage {
            calls: self.calls.len(),
            transactions: self.txs.len(),
            lingering: self.lingering,
            outputs: self.outputs.len(),
            streams: self.streams.len(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &EndpointConfig {
        &self.config
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Most timers are stopped long before their moment (an answer came): the shell need not wake
    /// up for them.
    fn drop_stale_timers(&mut self) {
        while let Some((at, key)) = self.timers.peek() {
            let waits = match key {
                TimerKey::Retransmit(_) | TimerKey::Timeout(_) | TimerKey::Linger(_) => self.transaction_waits(at, key),
                TimerKey::Call(handle, timer) => self.calls.get(&handle).is_some_and(|c| c.due(timer) == Some(at)),
                TimerKey::Unanswered(id) => self.waiting.contains_key(&RequestHandle(id.0)),
                TimerKey::Register(handle) => self.registration_waits(at, handle),
            };
            if waits {
                return;
            }
            self.timers.drop_next();
        }
    }

    fn note_connection(&mut self, path: Path) {
        if path.transport != Transport::Udp {
            self.used_connections.insert(path.connection);
        }
    }

    /// §8.2: a malformed request is refused without keeping anything.
    fn refuse_malformed(&mut self, now: Instant, path: Path, refusal: Refusal) {
        let Some(echo) = refusal.echo else { return };
        tracing::debug!(status = refusal.status, reason = refusal.reason, remote = %path.remote, "malformed request");
        if echo.is_ack || !self.admits(now, path, "", b"", "", "") {
            return;
        }
        let tag = format!("{:x}", self.entropy.keyed("malformed", &[&echo.call_id, &echo.cseq]));
        let mut draft = crate::draft::Draft::response(refusal.status, refusal.reason);
        for via in &echo.vias {
            draft.header("Via", via);
        }
        for (name, value) in [("From", &echo.from), ("Call-ID", &echo.call_id), ("CSeq", &echo.cseq)] {
            if !value.is_empty() {
                draft.header(name, value);
            }
        }
        if !echo.to.is_empty() {
            let tagged = crate::uri::parse_name_addr(&echo.to).is_ok_and(|to| to.param("tag").is_none());
            if tagged {
                draft.header("To", [&echo.to[..], b";tag=", tag.as_bytes()].concat());
            } else {
                draft.header("To", &echo.to);
            }
        }
        self.outputs.push_back(Output::Transmit { path, bytes: draft.finish(None) });
    }

    /// What the policy says about a sender.
    fn trust(&self, path: Path, method: &str, uri: &[u8], uri_user: &str, from_user: &str) -> Trust {
        let uri = &String::from_utf8_lossy(uri);
        (self.config.auth)(&RequestFacts { path, method, uri, uri_user, from_user, token: None })
    }

    /// The same of a whole request, with its token.
    fn trust_request(&self, path: Path, message: &Message, uri_user: &str, from_user: &str) -> Trust {
        let method = &String::from_utf8_lossy(message.method());
        let uri = &String::from_utf8_lossy(message.uri());
        let token = self.config.token_header.and_then(|name| message.extension(name));
        let token = token.map(String::from_utf8_lossy);
        (self.config.auth)(&RequestFacts { path, method, uri, uri_user, from_user, token: token.as_deref() })
    }

    /// Whether a request that belongs to nothing is looked at: always from trusted senders, else
    /// within the limit of its source.
    fn admits(&mut self, now: Instant, path: Path, method: &str, uri: &[u8], uri_user: &str, from_user: &str) -> bool {
        self.trust(path, method, uri, uri_user, from_user) == Trust::Trusted
            || self.flood.admit(now, path.remote.ip().to_canonical())
    }

    /// The same for a request outside any dialog that is only refused.
    fn admits_stray(&mut self, now: Instant, path: Path, message: &Message) -> bool {
        let method = String::from_utf8_lossy(message.method()).into_owned();
        self.admits(now, path, &method, message.uri(), "", "")
    }

    /// Answers a request without a transaction (§8.2.7): the same answer to each repetition.
    fn answer_stateless(&mut self, path: Path, request: &Message, status: u16, headers: &[(&str, String)]) {
        let tag = format!(
            "{:x}",
            self.entropy.keyed("stateless", &[request.get(request.call_id), request.get(request.via.branch)])
        );
        let mut draft = crate::draft::Draft::reply(request, path, status, &tag);
        for (name, value) in headers {
            draft.header(name, value);
        }
        let path = crate::draft::response_path(request, path);
        self.outputs.push_back(Output::Transmit { path, bytes: draft.finish(None) });
    }
}
