//! The transaction layer: matching (RFC 3261 §17.1.3, §17.2.3), clocks and retransmission.

use bytes::Bytes;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::timer::TimerKey;
use crate::api::{CallHandle, Event, Path, Transport};
use crate::draft::Draft;
use crate::message::Message;
use crate::transaction::{Act, invite_client as ic, invite_server as is, plain_client as pc, plain_server as ps};

/// Names a transaction of this endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TxId(pub u64);

/// Which of the four machines, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    InviteClient(ic::State),
    PlainClient(pc::State),
    InviteServer(is::State),
    PlainServer(ps::State),
}

/// An event of one of the four machines.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TxEvent {
    InviteClient(ic::Event),
    PlainClient(pc::Event),
    InviteServer(is::Event),
    PlainServer(ps::Event),
}

/// What a client transaction was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Invite,
    Reinvite,
    Refresh,
    Bye,
    Cancel,
    Prack,
    Info,
    Refer,
    Notify,
}

/// Who is told about a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Call(CallHandle, Purpose),
    Registration(CallHandle),
    Ping(CallHandle),
    Nobody,
}

/// What ACK and CANCEL repeat of an INVITE (§17.1.1.3, §9.1).
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub uri: Bytes,
    pub via: String,
    pub from: Bytes,
    pub to: Bytes,
    pub call_id: Bytes,
    pub cseq: u32,
    pub routes: Vec<Bytes>,
}

impl Head {
    /// ACK or CANCEL in the transaction of this INVITE.
    pub fn draft(&self, method: &str, to: &[u8], reason: Option<&str>) -> Bytes {
        let mut draft = Draft::request(method.as_bytes(), &self.uri);
        draft.header("Via", &self.via).header("Max-Forwards", "70");
        for route in &self.routes {
            draft.header("Route", route);
        }
        draft
            .header("From", &self.from)
            .header("To", to)
            .header("Call-ID", &self.call_id)
            .header("CSeq", format!("{} {method}", self.cseq));
        if let Some(reason) = reason {
            draft.header("Reason", reason);
        }
        draft.finish(None)
    }
}

/// One transaction.
pub(crate) struct Tx {
    pub machine: Machine,
    /// Where its messages go.
    pub path: Path,
    /// The last message sent, for repeating it.
    message: Bytes,
    pub owner: Owner,
    /// Client: our branch.
    pub branch: String,
    /// Server: its key among the server transactions.
    key: Box<[u8]>,
    /// Server: its key among the requests that could be merged (§8.2.2.2).
    merge_key: Option<Box<[u8]>>,
    /// INVITE client: its CANCEL, which shares its branch.
    pub cancel: Option<TxId>,
    /// INVITE client: for ACK and CANCEL.
    pub head: Option<Box<Head>>,
    /// Server: the request, until a final response was sent.
    pub request: Option<Box<Message>>,
    interval: Duration,
    retransmit_at: Option<Instant>,
    timeout_at: Option<Instant>,
    linger_at: Option<Instant>,
    /// It ended, and only absorbs late messages.
    lingers: bool,
}

impl Tx {
    /// Lets go of what an ended transaction does not need.
    fn shed(&mut self) {
        match self.machine {
            // Its refusal or final response is repeated.
            Machine::InviteServer(is::State::Completed) | Machine::PlainServer(_) => {}
            // The ACK of a refusal is repeated.
            Machine::InviteClient(ic::State::Completed) => self.message = Bytes::new(),
            _ => {
                self.message = Bytes::new();
                self.head = None;
            }
        }
    }
}

/// What a step of a machine leaves for the layer above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Upward {
    pub report: bool,
    pub timeout: bool,
    pub broken: bool,
    pub ack: bool,
}

impl Endpoint {
    fn reliable(path: Path) -> bool {
        path.transport != Transport::Udp
    }

    /// Runs one event through a transaction's table. `message`: what to send, for events that send.
    pub(super) fn drive(&mut self, now: Instant, id: TxId, event: TxEvent, message: Option<Bytes>) -> Upward {
        let mut upward = Upward::default();
        let timers = self.config.timers;
        let Some(tx) = self.txs.get_mut(&id) else {
            return upward;
        };
        let reliable = Self::reliable(tx.path);
        let step = match (tx.machine, event) {
            (Machine::InviteClient(s), TxEvent::InviteClient(e)) => {
                ic::step(s, e, reliable).map(|(s, a)| (Machine::InviteClient(s), a))
            }
            (Machine::PlainClient(s), TxEvent::PlainClient(e)) => {
                pc::step(s, e, reliable).map(|(s, a)| (Machine::PlainClient(s), a))
            }
            (Machine::InviteServer(s), TxEvent::InviteServer(e)) => {
                is::step(s, e, reliable).map(|(s, a)| (Machine::InviteServer(s), a))
            }
            (Machine::PlainServer(s), TxEvent::PlainServer(e)) => {
                ps::step(s, e, reliable).map(|(s, a)| (Machine::PlainServer(s), a))
            }
            _ => None,
        };
        let Some((next, acts)) = step else {
            return upward;
        };
        if next != tx.machine {
            // The timers of a state end with it; the acts start those of the next one.
            tx.retransmit_at = None;
            let keeps_timeout = matches!(
                (tx.machine, next),
                (Machine::PlainClient(pc::State::Trying), Machine::PlainClient(pc::State::Proceeding))
            );
            if keeps_timeout {
                // Timer E runs on with T2 (§17.1.2.2).
                if !reliable {
                    tx.interval = timers.t2;
                    let at = now + timers.t2;
                    tx.retransmit_at = Some(at);
                    self.timers.arm(at, TimerKey::Retransmit(id));
                }
            } else {
                tx.timeout_at = None;
            }
        }
        tx.machine = next;
        if let Some(message) = message {
            tx.message = message;
        }
        for act in acts {
            match act {
                Act::Send | Act::Resend => {
                    let (path, bytes) = (tx.path, tx.message.clone());
                    if !bytes.is_empty() {
                        self.outputs.push_back(crate::api::Output::Transmit { path, bytes });
                    }
                }
                Act::Retransmit => {
                    tx.interval = timers.t1;
                    let at = now + tx.interval;
                    tx.retransmit_at = Some(at);
                    self.timers.arm(at, TimerKey::Retransmit(id));
                }
                Act::Backoff => {
                    tx.interval *= 2;
                    // Timer A doubles without a limit (§17.1.1.2).
                    if !matches!(tx.machine, Machine::InviteClient(_)) {
                        tx.interval = tx.interval.min(timers.t2);
                    }
                    let at = now + tx.interval;
                    tx.retransmit_at = Some(at);
                    self.timers.arm(at, TimerKey::Retransmit(id));
                }
                Act::BackoffT2 => {
                    let at = now + timers.t2;
                    tx.retransmit_at = Some(at);
                    self.timers.arm(at, TimerKey::Retransmit(id));
                }
                Act::Timeout => {
                    let at = now + timers.t1 * 64;
                    tx.timeout_at = Some(at);
                    self.timers.arm(at, TimerKey::Timeout(id));
                }
                Act::Linger => {
                    let length = match tx.machine {
                        // Timers I and K; D is "at least 32 s", J, L and M are 64·T1.
                        Machine::InviteServer(is::State::Confirmed) | Machine::PlainClient(_) => timers.t4,
                        _ => timers.t1 * 64,
                    };
                    let at = now + length;
                    if !tx.lingers {
                        tx.lingers = true;
                        self.lingering += 1;
                        self.linger_order.push_back(id);
                        tx.shed();
                    }
                    tx.linger_at = Some(at);
                    self.timers.arm(at, TimerKey::Linger(id));
                }
                Act::Ack => upward.ack = true,
                Act::Report => upward.report = true,
                Act::ReportTimeout => upward.timeout = true,
                Act::ReportBroken => upward.broken = true,
            }
        }
        let finished = matches!(
            next,
            Machine::InviteClient(ic::State::Terminated)
                | Machine::PlainClient(pc::State::Terminated)
                | Machine::InviteServer(is::State::Terminated)
                | Machine::PlainServer(ps::State::Terminated)
        );
        if finished && !upward.ack {
            self.forget(id);
        }
        while self.linger_order.len() > self.config.limits.lingering {
            let Some(oldest) = self.linger_order.pop_front() else { break };
            if self.txs.get(&oldest).is_some_and(|tx| tx.lingers) {
                self.forget(oldest);
            }
        }
        upward
    }

    /// Transactions that have not ended.
    pub(super) fn transactions_in_progress(&self) -> usize {
        self.txs.len().saturating_sub(self.lingering)
    }

    /// Removes a transaction and its keys.
    pub(super) fn forget(&mut self, id: TxId) {
        let Some(tx) = self.txs.remove(&id) else {
            return;
        };
        self.lingering -= usize::from(tx.lingers);
        if !tx.key.is_empty() {
            self.server_keys.remove(&tx.key);
        }
        if let Some(key) = tx.merge_key {
            self.merged.remove(&key);
        }
    }

    /// The id the next transaction will have: its branch is made from it.
    pub(super) fn next_branch(&mut self) -> (TxId, String) {
        let id = TxId(self.next_tx);
        self.next_tx += 1;
        (id, format!("z9hG4bK{:x}.{:x}", id.0, self.entropy.next_u64()))
    }

    /// Starts a client transaction with a request that is written already.
    pub(super) fn start_client(
        &mut self,
        now: Instant,
        (id, branch): (TxId, String),
        path: Path,
        owner: Owner,
        head: Option<Box<Head>>,
        message: Bytes,
    ) {
        let (machine, event) = if head.is_some() {
            (Machine::InviteClient(ic::State::Calling), TxEvent::InviteClient(ic::Event::Invite))
        } else {
            (Machine::PlainClient(pc::State::Trying), TxEvent::PlainClient(pc::Event::Request))
        };
        self.note_connection(path);
        let tx = Tx {
            machine,
            path,
            message: Bytes::new(),
            owner,
            branch,
            key: Box::default(),
            merge_key: None,
            cancel: None,
            head,
            request: None,
            interval: Duration::ZERO,
            retransmit_at: None,
            timeout_at: None,
            linger_at: None,
            lingers: false,
        };
        self.txs.insert(id, Box::new(tx));
        self.drive(now, id, event, Some(message));
    }

    /// Starts a server transaction for a request that matches none.
    pub(super) fn start_server(&mut self, path: Path, message: Box<Message>, key: Box<[u8]>) -> TxId {
        let id = TxId(self.next_tx);
        self.next_tx += 1;
        let machine = if message.method() == b"INVITE" {
            Machine::InviteServer(is::State::Proceeding)
        } else {
            Machine::PlainServer(ps::State::Trying)
        };
        let merge_key = message.get(message.to_tag).is_empty().then(|| merge_key(&message));
        if let Some(key) = &merge_key {
            self.merged.insert(key.clone(), id);
        }
        self.note_connection(path);
        self.server_keys.insert(key.clone(), id);
        let tx = Tx {
            machine,
            path: crate::draft::response_path(&message, path),
            message: Bytes::new(),
            owner: Owner::Nobody,
            branch: String::new(),
            key,
            merge_key,
            cancel: None,
            head: None,
            request: Some(message),
            interval: Duration::ZERO,
            retransmit_at: None,
            timeout_at: None,
            linger_at: None,
            lingers: false,
        };
        self.txs.insert(id, Box::new(tx));
        id
    }

    /// Sends a response through a server transaction.
    pub(super) fn respond(&mut self, now: Instant, id: TxId, status: u16, message: Bytes) -> Upward {
        let event = match self.txs.get_mut(&id) {
            None => return Upward::default(),
            Some(tx) => {
                if status >= 200 {
                    tx.request = None;
                }
                match (tx.machine, status) {
                    (Machine::InviteServer(_), 100..=199) => TxEvent::InviteServer(is::Event::Provisional),
                    (Machine::InviteServer(_), 200..=299) => TxEvent::InviteServer(is::Event::Success),
                    (Machine::InviteServer(_), _) => TxEvent::InviteServer(is::Event::Refusal),
                    (_, 100..=199) => TxEvent::PlainServer(ps::Event::Provisional),
                    _ => TxEvent::PlainServer(ps::Event::Final),
                }
            }
        };
        self.drive(now, id, event, Some(message))
    }

    /// The client transaction a response belongs to (§17.1.3).
    pub(super) fn match_response(&self, message: &Message) -> Option<TxId> {
        let branch = std::str::from_utf8(message.get(message.via.branch)).ok()?;
        let (id, _) = branch.strip_prefix("z9hG4bK")?.split_once('.')?;
        let id = TxId(u64::from_str_radix(id, 16).ok()?);
        let id = match message.method() {
            b"CANCEL" => self.txs.get(&id)?.cancel?,
            _ => id,
        };
        let tx = self.txs.get(&id)?;
        let invite = message.method() == b"INVITE";
        (tx.branch == branch && invite == matches!(tx.machine, Machine::InviteClient(_))).then_some(id)
    }

    /// Whether a transaction timer still counts.
    pub(super) fn transaction_waits(&self, at: Instant, key: TimerKey) -> bool {
        let (id, slot): (TxId, fn(&Tx) -> Option<Instant>) = match key {
            TimerKey::Retransmit(id) => (id, |tx| tx.retransmit_at),
            TimerKey::Timeout(id) => (id, |tx| tx.timeout_at),
            TimerKey::Linger(id) => (id, |tx| tx.linger_at),
            _ => return false,
        };
        self.txs.get(&id).and_then(|tx| slot(tx)) == Some(at)
    }

    /// Fires a transaction timer that is still armed for `at`.
    pub(super) fn fire_transaction(&mut self, now: Instant, at: Instant, key: TimerKey) {
        let (id, armed) = match key {
            TimerKey::Retransmit(id) => {
                (id, self.txs.get_mut(&id).and_then(|tx| tx.retransmit_at.take_if(|t| *t == at)))
            }
            TimerKey::Timeout(id) => (id, self.txs.get_mut(&id).and_then(|tx| tx.timeout_at.take_if(|t| *t == at))),
            TimerKey::Linger(id) => (id, self.txs.get_mut(&id).and_then(|tx| tx.linger_at.take_if(|t| *t == at))),
            _ => return,
        };
        let (Some(_), Some(tx)) = (armed, self.txs.get(&id)) else {
            return;
        };
        let event = match (tx.machine, key) {
            (Machine::InviteClient(_), TimerKey::Retransmit(_)) => TxEvent::InviteClient(ic::Event::TimerA),
            (Machine::InviteClient(_), TimerKey::Timeout(_)) => TxEvent::InviteClient(ic::Event::TimerB),
            (Machine::InviteClient(ic::State::Completed), _) => TxEvent::InviteClient(ic::Event::TimerD),
            (Machine::InviteClient(_), _) => TxEvent::InviteClient(ic::Event::TimerM),
            (Machine::PlainClient(_), TimerKey::Retransmit(_)) => TxEvent::PlainClient(pc::Event::TimerE),
            (Machine::PlainClient(_), TimerKey::Timeout(_)) => TxEvent::PlainClient(pc::Event::TimerF),
            (Machine::PlainClient(_), _) => TxEvent::PlainClient(pc::Event::TimerK),
            (Machine::InviteServer(_), TimerKey::Retransmit(_)) => TxEvent::InviteServer(is::Event::TimerG),
            (Machine::InviteServer(_), TimerKey::Timeout(_)) => TxEvent::InviteServer(is::Event::TimerH),
            (Machine::InviteServer(is::State::Confirmed), _) => TxEvent::InviteServer(is::Event::TimerI),
            (Machine::InviteServer(_), _) => TxEvent::InviteServer(is::Event::TimerL),
            (Machine::PlainServer(_), _) => TxEvent::PlainServer(ps::Event::TimerJ),
        };
        let owner = tx.owner;
        let upward = self.drive(now, id, event, None);
        if upward.timeout {
            self.client_failed(now, id, owner, 408);
        }
    }

    /// A connection broke: its transactions learn it.
    pub(super) fn break_transactions(&mut self, now: Instant, connection: u64) {
        self.break_where(now, |path| path.connection == connection && Self::reliable(path));
    }

    /// The transactions of such ways fail.
    pub(super) fn break_where(&mut self, now: Instant, which: impl Fn(Path) -> bool) {
        let mut broken: Vec<TxId> = self.txs.iter().filter(|(_, tx)| which(tx.path)).map(|(id, _)| *id).collect();
        broken.sort_unstable();
        for id in broken {
            let Some(tx) = self.txs.get(&id) else {
                continue;
            };
            let owner = tx.owner;
            let event = match tx.machine {
                Machine::InviteClient(_) => TxEvent::InviteClient(ic::Event::Broken),
                Machine::PlainClient(_) => TxEvent::PlainClient(pc::Event::Broken),
                Machine::InviteServer(_) => TxEvent::InviteServer(is::Event::Broken),
                Machine::PlainServer(_) => TxEvent::PlainServer(ps::Event::Broken),
            };
            let ringing = matches!(tx.machine, Machine::InviteServer(is::State::Proceeding));
            let is_server = matches!(tx.machine, Machine::InviteServer(_) | Machine::PlainServer(_));
            let broken = self.drive(now, id, event, None).broken;
            if broken && !is_server {
                self.client_failed(now, id, owner, 503);
            }
            if ringing && let Owner::Call(handle, Purpose::Invite) = owner {
                // Nobody is left to be answered.
                let silent = self.calls.remove(&handle).is_none_or(|call| call.silent);
                if !silent {
                    self.event(Event::Cancelled { call: handle, reasons: Vec::new() });
                }
            }
        }
    }
}

/// The key of a request's server transaction (§17.2.3); an ACK has its INVITE's, a CANCEL its own.
pub(super) fn server_key(message: &Message, method: &[u8]) -> Box<[u8]> {
    let method = if method == b"ACK" { b"INVITE" } else { method };
    let branch = message.get(message.via.branch);
    let mut key = Vec::with_capacity(96);
    let cookie = branch.get(..7).is_some_and(|c| c.eq_ignore_ascii_case(b"z9hG4bK")) && branch.len() > 7;
    if cookie {
        key.extend_from_slice(branch);
        key.push(0);
        key.extend(message.get(message.via.host).iter().map(u8::to_ascii_lowercase));
        key.extend_from_slice(&message.via.port.unwrap_or(5_060).to_be_bytes());
    } else {
        // RFC 2543: the whole Via, Call-ID, From tag and CSeq number.
        for part in [message.via.element, message.call_id, message.from_tag] {
            key.extend_from_slice(message.get(part));
            key.push(0);
        }
        key.extend_from_slice(message.uri());
        key.extend_from_slice(&message.cseq.to_be_bytes());
    }
    key.push(0);
    key.extend_from_slice(method);
    key.into_boxed_slice()
}

/// What two requests that came by different ways have in common (§8.2.2.2).
pub(super) fn merge_key(message: &Message) -> Box<[u8]> {
    let mut key = Vec::with_capacity(96);
    for part in [message.from_tag, message.call_id, message.cseq_method] {
        key.extend_from_slice(message.get(part));
        key.push(0);
    }
    key.extend_from_slice(&message.cseq.to_be_bytes());
    key.into_boxed_slice()
}
