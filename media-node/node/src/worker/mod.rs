//! A SIP worker: one thread that owns an endpoint and the sessions of its calls.

mod calls;
mod events;
mod keeper;
mod outside;
mod placed;
mod relays;
mod routes;
mod taps;

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hotline_base::{CommandId, ContactId, Timestamp};
use hotline_rtp::EventReceiver;
use hotline_rtp::api::{MediaEvent, MediaLegId};
use hotline_session::SessionConfig;
use hotline_sip::Endpoint;
use hotline_sip::api::{CallHandle, Output, Path, Transport};

use crate::capture::{self, Capture};
use crate::clock;
use crate::mailbox::Mail;
use crate::metrics::Metrics;
use crate::remembered::Remembered;
use crate::shared::Shared;

use calls::Entry;
use relays::Relays;
pub use routes::Wanted;

/// Datagrams read of one socket before anything else gets its turn.
const BATCH: usize = 64;
/// The longest sleep; bounds the effect of a clock that jumps.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What is done with a call's messages.
#[derive(Clone)]
struct Traced {
    /// The contact; of another node's call to a phone here, the offer.
    of: String,
    logged: bool,
    capture: Option<Capture>,
}

/// One worker.
pub struct Worker {
    index: usize,
    shared: Arc<Shared>,
    endpoint: Endpoint,
    session_config: Arc<SessionConfig>,
    media_events: EventReceiver,
    slots: Vec<Option<Box<Entry>>>,
    free: Vec<usize>,
    /// Where to find a call by whatever names it.
    by_call: HashMap<CallHandle, usize>,
    by_media: HashMap<MediaLegId, usize>,
    by_serial: HashMap<u64, usize>,
    by_contact: HashMap<ContactId, usize>,
    timers: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    next_serial: u64,
    /// The moment of the last signature for another node.
    ring_signed_at: Cell<Timestamp>,
    /// Calls whose messages are logged or captured, by Call-ID.
    traced: HashMap<String, Traced>,
    /// Other nodes' calls to phones here.
    relays: Relays,
    /// Contacts whose end was reported, with the number of the last report.
    ended: Remembered<ContactId, u32>,
    /// Contacts that were reported as lost.
    lost: Remembered<ContactId>,
    /// Commands that placed calls.
    placed: Remembered<CommandId>,
    keeper: keeper::Keeper,
    stopped: bool,
}

/// Contacts and commands remembered, of each kind.
const REMEMBERED: usize = 8_192;

impl Worker {
    /// A worker around its endpoint.
    pub fn new(
        index: usize,
        shared: Arc<Shared>,
        endpoint: Endpoint,
        session_config: Arc<SessionConfig>,
        media_events: EventReceiver,
    ) -> Self {
        Self {
            index,
            shared,
            endpoint,
            session_config,
            media_events,
            slots: Vec::new(),
            free: Vec::new(),
            by_call: HashMap::new(),
            by_media: HashMap::new(),
            by_serial: HashMap::new(),
            by_contact: HashMap::new(),
            timers: BinaryHeap::new(),
            // Serials of different workers must differ: they name media threads' work.
            next_serial: ((index as u64) << 40) | 1,
            ring_signed_at: Cell::new(Timestamp::from_millis(0)),
            traced: HashMap::new(),
            relays: Relays::default(),
            ended: Remembered::new(REMEMBERED),
            lost: Remembered::new(REMEMBERED),
            placed: Remembered::new(REMEMBERED),
            keeper: keeper::Keeper::new(Instant::now()),
            stopped: false,
        }
    }

    /// Runs until [`Mail::Stop`].
    pub fn run(mut self) {
        let mut buffer = vec![0u8; 65_536];
        let mut events = Vec::new();
        let mut polls = self.polls();
        while !self.stopped {
            self.sleep(&mut polls);
            for index in 0..self.shared.udp.len() {
                if polls.get(index + 1).is_some_and(|p| p.revents != 0) {
                    self.read_socket(index, &mut buffer);
                }
            }
            if polls.first().is_some_and(|p| p.revents != 0) {
                self.mailbox_woken();
            }
            self.media_events.drain(&mut events);
            for event in events.drain(..) {
                self.media_event(event);
            }
            self.timeouts();
        }
    }

    fn polls(&self) -> Vec<libc::pollfd> {
        let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mailbox = self.shared.mailboxes.get(self.index).map(|m| m.fd());
        mailbox.into_iter().chain(self.shared.udp.iter().map(|l| l.socket.as_raw_fd())).map(entry).collect()
    }

    /// Waits for a socket, for mail or for a timer.
    fn sleep(&mut self, polls: &mut [libc::pollfd]) {
        let next_session = self.timers.peek().map(|Reverse((at, ..))| *at);
        let next = [self.endpoint.poll_timeout(), next_session, self.keeper_due()].into_iter().flatten().min();
        let wait = next.map_or(LONGEST_SLEEP, |at| at.saturating_duration_since(Instant::now()).min(LONGEST_SLEEP));
        let limit =
            libc::timespec { tv_sec: wait.as_secs() as libc::time_t, tv_nsec: wait.subsec_nanos() as libc::c_long };
        for poll in polls.iter_mut() {
            poll.revents = 0;
        }
        // SAFETY: pointer and length describe `polls`, and `limit` lives through the call.
        let ready = unsafe { libc::ppoll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, &limit, std::ptr::null()) };
        if ready < 0 {
            // Interrupted: look at everything once.
            for poll in polls.iter_mut() {
                poll.revents = 0;
            }
        }
    }

    fn read_socket(&mut self, listener: usize, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let shared = self.shared.clone();
            let Some(listener) = shared.udp.get(listener) else {
                return;
            };
            let (length, remote) = match listener.socket.recv_from(buffer) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error of an earlier send; the socket is fine.
                Err(_) => continue,
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            let path = Path { transport: Transport::Udp, local: listener.local, remote, connection: 0 };
            let owner = shared.dispatch.worker_of(bytes);
            if owner == self.index {
                self.message(path, bytes);
            } else if let Some(mailbox) = shared.mailboxes.get(owner) {
                let bytes = bytes::Bytes::copy_from_slice(bytes);
                if !mailbox.post(Mail::Message { path, bytes }) {
                    Metrics::add(&shared.metrics.sip_dropped);
                }
            }
        }
    }

    /// One SIP message of a call of ours.
    fn message(&mut self, path: Path, bytes: &[u8]) {
        Metrics::add(&self.shared.metrics.sip_received);
        self.trace_message("in", &path, bytes);
        self.endpoint.handle_packet(Instant::now(), path, bytes);
        self.pump();
    }

    /// Carries out what the endpoint hands out, until it has nothing more.
    fn pump(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { path, bytes } => {
                    self.trace_message("out", &path, &bytes);
                    self.shared.transmit(path, bytes);
                }
                Output::Event(event) => self.sip_event(event),
                Output::Close { connection } => self.shared.streams.close(connection),
            }
        }
    }

    fn mailbox_woken(&mut self) {
        let shared = self.shared.clone();
        let Some(mailbox) = shared.mailboxes.get(self.index) else {
            return;
        };
        mailbox.woken();
        for mail in mailbox.take() {
            self.mail(mail);
        }
    }

    fn mail(&mut self, mail: Mail) {
        match mail {
            Mail::Message { path, bytes } => {
                self.message(path, &bytes);
                return;
            }
            Mail::Closed { connection } => {
                self.endpoint.handle_closed(Instant::now(), connection);
            }
            Mail::Unreachable { path } => {
                self.endpoint.handle_unreachable(Instant::now(), path);
            }
            Mail::Decided { contact, seq, result } => {
                match &result {
                    Ok(decision) => self.tap_decided(contact, decision),
                    Err(_) => Metrics::add(&self.shared.metrics.decisions_failed),
                }
                self.with_contact(contact, |session, now| session.decided(now, seq, result));
            }
            Mail::Command(command) => {
                Metrics::add(&self.shared.metrics.commands);
                let contact = command.contact;
                if self.waits_for_end(&command) {
                    tracing::debug!(%contact, "the contact's next call waits for the end of this one");
                } else if self.by_contact.contains_key(&contact) {
                    self.with_contact(contact, |session, now| session.command(now, *command));
                } else {
                    self.command_without_call(*command);
                }
            }
            Mail::Guessed { user, source } => {
                self.command(hotline_sip::api::Command::CountGuess { user, source });
            }
            Mail::Account { request, ha1 } => {
                self.command(hotline_sip::api::Command::Account { request, ha1 });
            }
            Mail::Loaded { contact, sounds } => {
                self.with_contact(contact, |session, now| session.loaded(now, sounds));
            }
            Mail::Resolved { contact, leg, wanted, hop } => self.resolved(contact, leg, *wanted, hop),
            Mail::Attends(attending) => self.attends(*attending),
            Mail::GatewayFound { gateway, found } => self.gateway_found(gateway, found),
            Mail::RefuseNewCalls(refuse) => {
                let retry_after = self.endpoint.config().limits.retry_after_s;
                self.endpoint.refuse_new_calls(refuse.then_some(retry_after));
                self.leave_gateways(refuse);
            }
            Mail::EndAll => {
                let contacts: Vec<ContactId> = self.by_contact.keys().copied().collect();
                for contact in contacts {
                    self.with_contact(contact, |session, now| session.drain(now));
                }
                self.drain_relays();
            }
            Mail::TakenOver { before } => {
                for contact in self.carried_before(before) {
                    self.with_contact(contact, |session, now| session.taken_over(now));
                }
            }
            Mail::RungAnew { user } => self.give_way(&user),
            Mail::Stop => self.stopped = true,
        }
        self.pump();
    }

    fn media_event(&mut self, event: MediaEvent) {
        let slot = match &event {
            MediaEvent::PlayEnded { leg, .. }
            | MediaEvent::Digit { leg, .. }
            | MediaEvent::Latched { leg, .. }
            | MediaEvent::Silent { leg, .. }
            | MediaEvent::Quiet { leg, .. }
            | MediaEvent::Secured { leg }
            | MediaEvent::SecureFailed { leg, .. }
            | MediaEvent::Away { leg, .. }
            | MediaEvent::Stats { leg, .. } => self.by_media.get(leg),
            MediaEvent::RecordingStopped { token, .. } => self.by_serial.get(&(token.0 >> 16)),
        };
        if let Some(slot) = slot.copied() {
            self.with_slot(slot, |session, now| session.handle_media(now, event));
            self.pump();
        } else if self.relay_media(&event) {
            self.pump();
        }
    }

    fn timeouts(&mut self) {
        let now = Instant::now();
        if self.keeper_due().is_some_and(|at| at <= now) {
            self.keep(now);
        }
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now);
            self.pump();
        }
        self.relay_timeouts(now);
        self.pump();
        while let Some(Reverse((at, slot, serial))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let entry = self.slots.get_mut(slot).and_then(Option::as_mut);
            let Some(entry) = entry.filter(|e| e.serial == serial) else {
                continue;
            };
            entry.armed = None;
            if entry.session.poll_timeout().is_some_and(|due| due <= now) {
                self.with_slot(slot, |session, now| session.handle_timeout(now));
                self.pump();
            } else {
                self.arm(slot);
            }
        }
    }

    /// Makes sure that a session's next deadline is not slept through.
    fn arm(&mut self, slot: usize) {
        let Some(entry) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        // Never in the past: a session that is always due must not stop the others.
        let soonest = Instant::now() + Duration::from_millis(1);
        if let Some(due) = entry.session.poll_timeout().map(|due| due.max(soonest))
            && entry.armed.is_none_or(|armed| due < armed)
        {
            entry.armed = Some(due);
            self.timers.push(Reverse((due, slot, entry.serial)));
        }
    }

    /// Hands a command to the endpoint; a refusal is counted and said.
    fn command(&mut self, command: hotline_sip::api::Command) {
        if let Err(error) = self.endpoint.handle_command(clock::now().mono, command) {
            Metrics::add(&self.shared.metrics.sip_command_errors);
            tracing::debug!(%error, "the SIP endpoint refused a command");
        }
    }

    fn trace_message(&self, direction: &str, path: &Path, bytes: &[u8]) {
        let collects = self.shared.captures.collects();
        if self.traced.is_empty() && !collects {
            return;
        }
        let head = String::from_utf8_lossy(bytes.get(..bytes.len().min(4_096)).unwrap_or(bytes));
        let call = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_call_id = name.trim_end().eq_ignore_ascii_case("call-id") || name.trim_end() == "i";
            is_call_id.then(|| value.trim())
        });
        let outgoing = direction == "out";
        if let (Some(call), true) = (call, collects) {
            let packet = capture::packet(outgoing, path, bytes);
            self.shared.captures.collect(&self.shared, &packet, path, call);
        }
        let Some(Traced { of, logged, capture }) = call.and_then(|call| self.traced.get(call)) else { return };
        if *logged {
            let message = crate::trace::redacted(bytes);
            tracing::info!(contact = of, direction, peer = %path.remote, message, "sip");
        }
        if let Some(capture) = capture
            && !capture.add(capture::packet(outgoing, path, bytes))
        {
            Metrics::add(&self.shared.metrics.capture_dropped);
        }
    }
}
