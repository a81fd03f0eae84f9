//! Sessions: made for a call, driven by inputs, forgotten at their end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hotline_base::{ContactId, Redacted, Timestamp};
use hotline_rtp::CallKey;
use hotline_rtp::api::{MediaCommand, MediaLegId};
use hotline_session::{
    Arrival, DecisionFailure, DialError, LegNo, LegSecret, Note, Now, OpenedLeg, Outbound, Output, Session,
};
use hotline_sip::api::{CallHandle, Command, Event, Invite};
use hotline_wire::diverted::{DiversionReason, Diverted};
use hotline_wire::legs::DialogRef;
use hotline_wire::node::{CallInput, NodeCommand};

use super::outside::Outside;
use super::taps::Voices;
use super::{Traced, Worker};
use crate::capture::{self, Capture};
use crate::clock;
use crate::config::Gateway;
use crate::decisions::Decider;
use crate::dial;
use crate::fleet::RING_HEADER;
use crate::gate::About;
use crate::mailbox::Mail;
use crate::metrics::Metrics;

/// A session and what the worker knows of it.
pub(super) struct Entry {
    pub(super) session: Session,
    /// Never used again, unlike slots.
    pub(super) serial: u64,
    /// The deadline in the timer queue.
    pub(super) armed: Option<Instant>,
    calls: Vec<CallHandle>,
    /// Whose the calls are, where that was proved or is known.
    pub(super) owners: Vec<(CallHandle, String)>,
    pub(super) voices: Voices,
    pub(super) outside: Outside,
    /// Places the contact's next call when the reports of this one are delivered: the command may
    /// overtake the answer to the last of them.
    pub(super) next: Option<Box<NodeCommand>>,
    arrived: Instant,
    did: String,
    sip_call_id: String,
    traced: bool,
    /// Its messages are logged or captured.
    messages: Option<Box<Messages>>,
    answered: bool,
}

impl Entry {
    /// The number that was dialled.
    pub(super) fn did(&self) -> &str {
        &self.did
    }

    /// Whether the call came, and was not placed.
    pub(super) fn came_in(&self) -> bool {
        !self.sip_call_id.is_empty()
    }
}

impl Worker {
    /// An INVITE: makes a session of it, or refuses it.
    pub(super) fn incoming(&mut self, call: CallHandle, invite: &Invite) {
        if let Some(user) = &invite.user {
            self.shared.accounts.proved(user, invite.path.remote.ip().to_canonical());
        }
        if let Some(token) = header(invite, RING_HEADER).filter(|token| !self.shared.is_own(token)) {
            self.incoming_ring(call, invite, token);
            return;
        }
        if header(invite, "Replaces").is_some() {
            if let Err(status) = self.resume(call, invite) {
                Metrics::add(&self.shared.metrics.calls_refused);
                self.command(Command::Refuse { call, status, headers: Vec::new() });
            }
            return;
        }
        let now = clock::now();
        let did = self.number_from(invite, &invite.uri_user);
        let from = self.number_from(invite, caller_of(invite));
        let from = if from.eq_ignore_ascii_case("anonymous") { String::new() } else { from };
        let random: [u8; 16] = clock::random();
        // The last byte says which worker owns the contact.
        let workers = self.shared.mailboxes.len().max(1);
        let high = random[15] as usize / workers * workers + self.index;
        let low = if high > 0xff { self.index } else { high };
        let random = (u128::from_be_bytes(random) & !0xff) | low as u128;
        let contact = ContactId::new(now.wall, random);
        let serial = self.next_serial;
        self.next_serial += 1;
        let traced = self.shared.trace.wants(&did, &from);
        let capture = self.shared.captures.wants(&did, &from);
        let session = Session::arrive(
            self.session_config.clone(),
            now,
            Arrival {
                contact,
                call,
                did: did.clone(),
                from,
                display_name: invite.from_name.clone(),
                sip_call_id: invite.sip_call_id.clone(),
                sdp: invite.sdp.clone(),
                dialog: self.dialog_ref(call),
                diverted: self.diverted(invite),
                takes_info: self.endpoint.takes_info(call),
                first_token: serial << 16,
            },
        );
        let session = match session {
            Ok(session) => session,
            Err(refusal) => {
                Metrics::add(&self.shared.metrics.calls_refused);
                tracing::info!(reason = %refusal, "call refused");
                self.command(Command::Refuse { call, status: refusal.status, headers: Vec::new() });
                return;
            }
        };
        let mut messages = Messages::of(contact, traced, capture);
        self.follow_messages(&mut messages, Some(invite.sip_call_id.clone()));
        if let Some(messages) = &messages {
            messages.first(invite);
        }
        let entry = Entry {
            session,
            serial,
            armed: None,
            calls: vec![call],
            owners: invite.user.iter().map(|user| (call, user.clone())).collect(),
            voices: Voices::default(),
            outside: Outside::default(),
            next: None,
            arrived: now.mono,
            did,
            sip_call_id: invite.sip_call_id.clone(),
            traced,
            messages,
            answered: false,
        };
        self.adopt(entry);
    }

    /// The gateway that a call came from.
    fn gateway_of(&self, invite: &Invite) -> Option<&Gateway> {
        let gateways = &self.shared.gateways;
        let shown = self.shared.streams.gateway_of(&invite.path);
        let source = shown.or_else(|| gateways.of_source(invite.path.remote.ip())).filter(|_| invite.user.is_none());
        gateways.gateway(source?)
    }

    /// Who sent a call on to us, where it came from a gateway that is believed.
    fn diverted(&self, invite: &Invite) -> Option<Diverted> {
        self.gateway_of(invite).filter(|gateway| gateway.in_diversion)?;
        let said = hotline_sip::Diverted::of(&invite.headers)?;
        let number = |user: &str| match user {
            "" => Redacted::new(String::new()),
            user => Redacted::new(self.number_from(invite, user)),
        };
        let (first, last, reason) = (number(&said.first), number(&said.last), DiversionReason::of(said.reason));
        Some(Diverted { first, last, reason, times: said.times })
    }

    /// A number in international form, by the rules of the gateway that it came from.
    fn number_from(&self, invite: &Invite, number: &str) -> String {
        let country_code = &self.shared.config.sip.country_code;
        match self.gateway_of(invite) {
            Some(gateway) => {
                let country = if gateway.country.is_empty() { country_code } else { &gateway.country };
                dial::normalise(&crate::gateways::inward(gateway, number), country)
            }
            None => dial::normalise(number, country_code),
        }
    }

    /// An INVITE with Replaces: a browser that was loaded again takes its own call over (RFC 3891).
    /// `Err`: 481 where there is no such dialog, 603 where it is somebody else's.
    fn resume(&mut self, call: CallHandle, invite: &Invite) -> Result<(), u16> {
        let old = self.endpoint.replaced_call(invite).ok_or(481u16)?;
        if let Some(resumed) = self.resume_relay(old, call, invite) {
            return resumed;
        }
        let slot = self.by_call.get(&old).copied().ok_or(603u16)?;
        let entry = self.slots.get(slot).and_then(Option::as_ref).ok_or(603u16)?;
        // Its own user, who proved it again; from trusted networks the tags of the dialog are enough.
        let owner = entry.owners.iter().find(|(leg, _)| *leg == old).map(|(_, user)| user);
        if owner.is_some_and(|user| invite.user.as_ref().is_some_and(|shown| shown != user)) {
            return Err(603);
        }
        let dialog = self.dialog_ref(call);
        let mut resumed = Ok(());
        self.with_slot(slot, |session, now| {
            resumed = session.resume(now, old, call, invite.sdp.as_ref(), dialog);
        });
        if let Err(refusal) = resumed {
            tracing::info!(reason = %refusal, "a call was not resumed");
            return Err(refusal.status);
        }
        self.by_call.insert(call, slot);
        if let Some(entry) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            entry.calls.push(call);
            entry.owners.extend(invite.user.clone().map(|user| (call, user)));
        }
        Ok(())
    }

    /// A session for a call that this node places.
    pub(super) fn outgoing(&mut self, outbound: impl FnOnce(u64) -> Outbound, number: String) {
        let now = clock::now();
        let serial = self.next_serial;
        self.next_serial += 1;
        let traced = self.shared.trace.wants(&number, "");
        let capture = self.shared.captures.wants(&number, "");
        let session = Session::outbound(self.session_config.clone(), now, outbound(serial << 16));
        let messages = Messages::of(session.contact(), traced, capture);
        Metrics::add(&self.shared.metrics.calls_placed);
        let entry = Entry {
            session,
            serial,
            armed: None,
            calls: Vec::new(),
            owners: Vec::new(),
            voices: Voices::default(),
            outside: Outside::default(),
            next: None,
            arrived: now.mono,
            did: number,
            sip_call_id: String::new(),
            traced,
            messages,
            answered: false,
        };
        self.adopt(entry);
    }

    /// Takes a fresh session in and carries out what it asks for first.
    fn adopt(&mut self, entry: Entry) {
        Metrics::add(&self.shared.metrics.calls_started);
        Metrics::add(&self.shared.metrics.calls);
        Metrics::add(&self.shared.metrics.sessions);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        for call in &entry.calls {
            self.by_call.insert(*call, slot);
        }
        self.by_serial.insert(entry.serial, slot);
        self.by_contact.insert(entry.session.contact(), slot);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(Box::new(entry));
        }
        self.with_slot(slot, |_, _| {});
    }

    /// What another node needs to take a call's leg over.
    pub(super) fn dialog_ref(&self, call: CallHandle) -> Option<DialogRef> {
        let view = self.endpoint.dialog(call)?;
        Some(DialogRef {
            sip_call_id: view.sip_call_id,
            local_tag: view.local_tag,
            remote_tag: view.remote_tag,
            remote_target: view.remote_target.into(),
            peer: dial::peer(view.peer),
        })
    }

    /// The contacts whose sessions began before a moment.
    pub(super) fn carried_before(&self, before: Timestamp) -> Vec<ContactId> {
        let now = clock::now();
        let age = Duration::from_millis(now.wall.since_ms(before).max(0).unsigned_abs());
        let old = self.slots.iter().flatten().filter(|entry| now.mono.duration_since(entry.arrived) >= age);
        old.map(|entry| entry.session.contact()).collect()
    }

    /// Feeds the session of a contact.
    pub(super) fn with_contact(&mut self, contact: ContactId, feed: impl FnOnce(&mut Session, Now)) {
        if let Some(slot) = self.by_contact.get(&contact).copied() {
            self.with_slot(slot, feed);
        }
    }

    /// Feeds a session and carries out what it asks for. The endpoint is pumped by the caller.
    pub(super) fn with_slot(&mut self, slot: usize, feed: impl FnOnce(&mut Session, Now)) {
        let Some(mut entry) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        feed(&mut entry.session, clock::now());
        let mut over = false;
        while let Some(output) = entry.session.poll_output() {
            over |= matches!(output, Output::Over);
            self.perform(slot, &mut entry, output);
        }
        if over {
            self.forget(slot, &entry);
            if let (Some(command), Some(mailbox)) = (entry.next, self.shared.mailboxes.get(self.index)) {
                mailbox.post(Mail::Command(command));
            }
            return;
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(entry);
        }
        self.arm(slot);
    }

    /// The calls are over.
    pub(super) fn forget_messages(&mut self, messages: &Messages) {
        for call_id in &messages.call_ids {
            self.traced.remove(call_id);
        }
    }

    /// Copies of a leg's packets, for a capture that wants them.
    pub(super) fn mirror(&self, messages: &Option<Box<Messages>>, leg: MediaLegId, rtp: std::net::SocketAddr) {
        let capture = messages.as_ref().and_then(|messages| messages.traced.capture.as_ref());
        if let Some(sink) = capture.and_then(Capture::rtp)
            && let Err(error) = self.shared.media.send(MediaCommand::Mirror { leg, into: sink.at(rtp) })
        {
            tracing::warn!(%error, "a leg's RTP is not captured");
        }
    }

    /// Logs or captures the messages of one more call of a session.
    pub(super) fn follow_messages(&mut self, messages: &mut Option<Box<Messages>>, call_id: Option<String>) {
        if let (Some(messages), Some(call_id)) = (messages, call_id) {
            self.traced.insert(call_id.clone(), messages.traced.clone());
            messages.call_ids.push(call_id);
        }
    }

    fn forget(&mut self, slot: usize, entry: &Entry) {
        for call in &entry.calls {
            self.by_call.remove(call);
        }
        for leg in entry.voices.legs() {
            self.by_media.remove(&leg);
        }
        self.by_serial.remove(&entry.serial);
        self.by_contact.remove(&entry.session.contact());
        self.ended.add(entry.session.contact(), entry.session.last_seq());
        if let Some(messages) = &entry.messages {
            self.forget_messages(messages);
        }
        self.free.push(slot);
        Metrics::sub(&self.shared.metrics.sessions);
    }

    fn perform(&mut self, slot: usize, entry: &mut Entry, output: Output) {
        match output {
            Output::Sip(command) => self.session_command(entry, command),
            Output::Media(command) => {
                if let Err(error) = self.shared.media.send(command) {
                    Metrics::add(&self.shared.metrics.media_command_errors);
                    tracing::warn!(contact = %entry.session.contact(), %error, "the media engine refused a command");
                }
            }
            Output::OpenMedia => {
                let opened = self.open_media(slot, entry, LegNo::CALLER);
                entry.session.media_opened(clock::now(), opened);
            }
            Output::Dial { leg, target, attempt } => self.dial(slot, entry, leg, target, attempt),
            Output::Ask(input) => self.ask(entry, *input),
            Output::Load(keys) => self.load(entry, keys),
            Output::Spooled { recording, duration_ms, failure } => {
                if let Some(failure) = failure {
                    tracing::warn!(contact = %entry.session.contact(), %recording, duration_ms, failure, "recording incomplete");
                }
            }
            Output::Note(note) => self.note(entry, &note),
            Output::Over => {}
        }
    }

    /// A command whose refusal a session must learn of.
    fn session_command(&mut self, entry: &mut Entry, command: Command) {
        let invite = match &command {
            Command::Invite { call, .. } => Some(*call),
            _ => None,
        };
        if let Command::Hangup { call, .. } = &command {
            entry.outside.ended(*call);
        }
        let Err(error) = self.endpoint.handle_command(Instant::now(), command) else {
            if let Some(call) = invite {
                let call_id = self.endpoint.sip_call_id(call);
                self.follow_messages(&mut entry.messages, call_id);
            }
            return;
        };
        tracing::debug!(contact = %entry.session.contact(), %error, "the SIP endpoint refused a command");
        Metrics::add(&self.shared.metrics.sip_command_errors);
        if let Some(call) = invite {
            let failed = Event::Failed { call, status: 503, phrase: error.to_string(), reasons: vec![] };
            entry.session.handle_sip(clock::now(), failed);
        }
    }

    /// Opens a media leg on the call's thread.
    pub(super) fn open_media(&mut self, slot: usize, entry: &mut Entry, leg: LegNo) -> Result<OpenedLeg, DialError> {
        match self.shared.media.open_leg(CallKey(entry.serial), self.index) {
            Ok(opened) => {
                self.by_media.insert(opened.leg, slot);
                self.tap_opened(entry, leg, opened.leg);
                let ip = self.shared.config.media_ip();
                let rtp = std::net::SocketAddr::new(ip, opened.rtp.port());
                self.mirror(&entry.messages, opened.leg, rtp);
                Ok(OpenedLeg { id: opened.leg, rtp, secret: LegSecret(clock::random()) })
            }
            Err(error) => {
                tracing::error!(contact = %entry.session.contact(), %error, "no media leg");
                Err(DialError::Exhausted("media legs"))
            }
        }
    }

    /// Remembers that a call handle belongs to a session.
    pub(super) fn own_call(&mut self, slot: usize, entry: &mut Entry, call: CallHandle) {
        self.by_call.insert(call, slot);
        entry.calls.push(call);
    }

    fn ask(&mut self, entry: &mut Entry, input: CallInput) {
        Metrics::add(&self.shared.metrics.decisions);
        match &self.shared.decider {
            Decider::Local(stand_alone) => {
                let (decision, commands) = stand_alone.decide(&input);
                self.tap_wanted(entry, &decision);
                entry.session.decided(clock::now(), input.seq, Ok(decision));
                for command in commands {
                    self.shared.mail_contact(command.contact, Mail::Command(Box::new(command)));
                }
            }
            Decider::Remote(decisions) => {
                let (decisions, shared) = (decisions.clone(), self.shared.clone());
                let index = self.index;
                self.shared.runtime.spawn(async move {
                    let (contact, seq) = (input.contact, input.seq);
                    let about = if input.tenant.is_none() { About::NewCall } else { About::CallInProgress };
                    let pass = shared.gate.enter(about).await;
                    let asked_at = std::time::Instant::now();
                    let limit = std::time::Duration::from_secs(10);
                    let result = match tokio::time::timeout(limit, decisions.decide(&input)).await {
                        Ok(Ok(decision)) => Ok(decision),
                        Ok(Err(fault)) => Err(DecisionFailure(fault.to_string())),
                        Err(_) => Err(DecisionFailure("no answer within 10 s".into())),
                    };
                    shared.gate.learn(asked_at, std::time::Instant::now(), result.is_ok());
                    drop(pass);
                    if let Some(mailbox) = shared.mailboxes.get(index) {
                        mailbox.post(Mail::Decided { contact, seq, result });
                    }
                });
            }
        }
    }

    fn load(&mut self, entry: &mut Entry, keys: Vec<String>) {
        if let Decider::Local(stand_alone) = &self.shared.decider {
            let sounds = keys
                .into_iter()
                .map(|key| {
                    let sound = stand_alone.sound(&key);
                    (key, sound)
                })
                .collect();
            entry.session.loaded(clock::now(), sounds);
            return;
        }
        let mut here = Vec::new();
        for key in keys {
            if let Some(sound) = self.shared.sounds.get(&key) {
                here.push((key, Some(sound)));
                continue;
            }
            let (shared, contact) = (self.shared.clone(), entry.session.contact());
            self.shared.runtime.spawn(async move {
                let sound = fetch(&shared, &key).await;
                let sounds = vec![(key, sound)];
                shared.mail_contact(contact, Mail::Loaded { contact, sounds });
            });
        }
        if !here.is_empty() {
            entry.session.loaded(clock::now(), here);
        }
    }

    fn note(&mut self, entry: &mut Entry, note: &Note) {
        let metrics = &self.shared.metrics;
        match note {
            Note::Answered => {
                Metrics::add(&metrics.calls_answered);
                metrics.set_up(entry.arrived.elapsed());
                entry.answered = true;
            }
            Note::Company => Metrics::add(&metrics.company),
            Note::Dialing(_) => Metrics::add(&metrics.dials),
            Note::NextWay(leg) => {
                if let Some(gateway) = entry.outside.last_tried(*leg) {
                    Metrics::add(&metrics.gateway_failovers);
                    self.shared.gateways.failed(gateway, Instant::now());
                }
            }
            Note::Joined(_) => Metrics::add(&metrics.joins),
            Note::Sounded(_, mos) => metrics.sounded(*mos),
            Note::GivenUp { .. } => Metrics::add(&metrics.given_up),
            Note::CommandDropped(_) => Metrics::add(&metrics.commands_dropped),
            Note::Ended(cause) => {
                Metrics::add(&metrics.calls_ended);
                Metrics::sub(&metrics.calls);
                tracing::info!(
                    contact = %entry.session.contact(),
                    tenant = entry.session.tenant().map(tracing::field::display),
                    did = %Redacted::new(entry.did.as_str()),
                    answered = entry.answered,
                    ms = u64::try_from(entry.arrived.elapsed().as_millis()).unwrap_or(u64::MAX),
                    ?cause,
                    "call ended"
                );
            }
            _ => {}
        }
        let warns = matches!(
            note,
            Note::DecisionFailed { .. } | Note::VerbFailed { .. } | Note::GivenUp { .. } | Note::Company
        );
        if warns {
            tracing::warn!(contact = %entry.session.contact(), "{note}");
        } else if entry.traced {
            tracing::info!(contact = %entry.session.contact(), "{note}");
        } else {
            tracing::debug!(contact = %entry.session.contact(), "{note}");
        }
    }
}

/// What is done with the messages of a session's calls.
pub(super) struct Messages {
    traced: Traced,
    call_ids: Vec<String>,
}

impl Messages {
    /// `None`: nothing is.
    pub(super) fn of(of: impl ToString, logged: bool, capture: Option<Capture>) -> Option<Box<Messages>> {
        let wanted = logged || capture.is_some();
        let of = || of.to_string();
        wanted.then(|| Box::new(Messages { traced: Traced { of: of(), logged, capture }, call_ids: Vec::new() }))
    }

    /// The first INVITE, which came before anybody knew that its messages are wanted.
    pub(super) fn first(&self, invite: &Invite) {
        if let Some(capture) = &self.traced.capture {
            capture.add(capture::packet(false, &invite.path, &message_of(invite)));
        }
        if self.traced.logged {
            let headers: String = invite.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            let message = crate::trace::redacted(format!("INVITE {} SIP/2.0\n{headers}", invite.uri).as_bytes());
            tracing::info!(contact = self.traced.of, direction = "in", peer = %invite.path.remote, message, "sip");
        }
    }
}

/// An INVITE as it came, but for the spelling of its headers.
fn message_of(invite: &Invite) -> Vec<u8> {
    let mut out = format!("INVITE {} SIP/2.0\r\n", invite.uri).into_bytes();
    for (name, value) in &invite.headers {
        out.extend(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend(b"\r\n");
    out.extend(invite.sdp.iter().flatten());
    out
}

/// The value of a header.
pub(super) fn header<'a>(invite: &'a Invite, name: &str) -> Option<&'a str> {
    invite.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The caller's number: what a trunk asserts counts more than what a caller writes (RFC 3325).
fn caller_of(invite: &Invite) -> &str {
    let asserted = invite.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("P-Asserted-Identity")).and_then(
        |(_, value)| {
            let start = value.find("sip:").map(|i| i + 4).or_else(|| value.find("tel:").map(|i| i + 4))?;
            let rest = value.get(start..)?;
            rest.split(['@', '>', ';']).next()
        },
    );
    // Only a peer that needed no digest is a trunk.
    match (asserted, &invite.user) {
        (Some(number), None) if !number.is_empty() => number,
        _ => &invite.from_user,
    }
}

/// A prompt object by way of the cache.
async fn fetch(shared: &Arc<crate::shared::Shared>, key: &str) -> Option<Arc<[u8]>> {
    let limit = std::time::Duration::from_secs(5);
    let got = shared.objects.get(hotline_ports::Bucket::Prompts, key);
    match tokio::time::timeout(limit, got).await {
        Ok(Ok(Some(bytes))) => {
            let sound: Arc<[u8]> = bytes.into();
            shared.sounds.put(key, sound.clone());
            Some(sound)
        }
        Ok(Ok(None)) => {
            tracing::error!(key, "no such prompt object");
            None
        }
        Ok(Err(fault)) => {
            tracing::warn!(key, error = %fault, "a prompt could not be fetched");
            None
        }
        Err(_) => {
            tracing::warn!(key, "a prompt could not be fetched within 5 s");
            None
        }
    }
}
