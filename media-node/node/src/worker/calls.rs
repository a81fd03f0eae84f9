//! Sessions: made for a call, driven by inputs, forgotten at their end.

use std::sync::Arc;
use std::time::Instant;

use hotline_base::ContactId;
use hotline_rtp::CallKey;
use hotline_rtp::api::MediaLegId;
use hotline_session::{Arrival, DecisionFailure, DialError, Note, Now, OpenedLeg, Outbound, Output, Session};
use hotline_sip::api::{CallHandle, Command, Event, Invite};
use hotline_wire::legs::DialogRef;
use hotline_wire::node::{CallInput, NodeCommand};

use super::Worker;
use super::routes::Outside;
use crate::clock;
use crate::decisions::Decider;
use crate::dial;
use crate::fleet::RING_HEADER;
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
    media: Vec<MediaLegId>,
    pub(super) outside: Outside,
    /// Places the contact's next call when the reports of this one are delivered: the command may
    /// overtake the answer to the last of them.
    pub(super) next: Option<Box<NodeCommand>>,
    arrived: Instant,
    did: String,
    sip_call_id: String,
    traced: bool,
    answered: bool,
}

impl Worker {
    /// An INVITE: makes a session of it, or refuses it.
    pub(super) fn incoming(&mut self, call: CallHandle, invite: &Invite) {
        if let Some(token) = header(invite, RING_HEADER) {
            self.incoming_ring(call, invite, token);
            return;
        }
        if header(invite, "Replaces").is_some() {
            // RFC 3891 §3: 481 where there is no such dialog. Ours are not for callers to take over.
            let status = if self.endpoint.replaced_call(invite).is_some() { 603 } else { 481 };
            Metrics::add(&self.shared.metrics.calls_refused);
            self.command(Command::Refuse { call, status, headers: Vec::new() });
            return;
        }
        let now = clock::now();
        let country_code = &self.shared.config.sip.country_code;
        let did = dial::normalise(&invite.uri_user, country_code);
        let from = dial::normalise(caller_of(invite), country_code);
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
        if traced {
            self.traced.insert(invite.sip_call_id.clone(), contact);
            let headers: String = invite.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            let message = crate::trace::redacted(format!("INVITE {} SIP/2.0\n{headers}", invite.uri).as_bytes());
            tracing::info!(%contact, direction = "in", peer = %invite.path.remote, message, "sip");
        }
        let entry = Entry {
            session,
            serial,
            armed: None,
            calls: vec![call],
            media: Vec::new(),
            outside: Outside::default(),
            next: None,
            arrived: now.mono,
            did,
            sip_call_id: invite.sip_call_id.clone(),
            traced,
            answered: false,
        };
        self.adopt(entry);
    }

    /// A session for a call that this node places.
    pub(super) fn outgoing(&mut self, outbound: impl FnOnce(u64) -> Outbound, number: String) {
        let now = clock::now();
        let serial = self.next_serial;
        self.next_serial += 1;
        let traced = self.shared.trace.wants(&number, "");
        let session = Session::outbound(self.session_config.clone(), now, outbound(serial << 16));
        Metrics::add(&self.shared.metrics.calls_placed);
        let entry = Entry {
            session,
            serial,
            armed: None,
            calls: Vec::new(),
            media: Vec::new(),
            outside: Outside::default(),
            next: None,
            arrived: now.mono,
            did: number,
            sip_call_id: String::new(),
            traced,
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

    fn forget(&mut self, slot: usize, entry: &Entry) {
        for call in &entry.calls {
            self.by_call.remove(call);
        }
        for leg in &entry.media {
            self.by_media.remove(leg);
        }
        self.by_serial.remove(&entry.serial);
        self.by_contact.remove(&entry.session.contact());
        self.ended.add(entry.session.contact(), entry.session.last_seq());
        if entry.traced {
            self.traced.remove(&entry.sip_call_id);
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
                let opened = self.open_media(slot, entry);
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
            return;
        };
        tracing::debug!(contact = %entry.session.contact(), %error, "the SIP endpoint refused a command");
        Metrics::add(&self.shared.metrics.sip_command_errors);
        if let Some(call) = invite {
            let failed = Event::Failed { call, status: 503, reason: error.to_string() };
            entry.session.handle_sip(clock::now(), failed);
        }
    }

    /// Opens a media leg on the call's thread.
    pub(super) fn open_media(&mut self, slot: usize, entry: &mut Entry) -> Result<OpenedLeg, DialError> {
        match self.shared.media.open_leg(CallKey(entry.serial), self.index) {
            Ok(opened) => {
                self.by_media.insert(opened.leg, slot);
                entry.media.push(opened.leg);
                let ip = self.shared.config.media_ip();
                Ok(OpenedLeg { id: opened.leg, rtp: std::net::SocketAddr::new(ip, opened.rtp.port()) })
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
                    let limit = std::time::Duration::from_secs(10);
                    let result = match tokio::time::timeout(limit, decisions.decide(&input)).await {
                        Ok(Ok(decision)) => Ok(decision),
                        Ok(Err(fault)) => Err(DecisionFailure(fault.to_string())),
                        Err(_) => Err(DecisionFailure("no answer within 10 s".into())),
                    };
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
            Note::GivenUp { .. } => Metrics::add(&metrics.given_up),
            Note::CommandDropped(_) => Metrics::add(&metrics.commands_dropped),
            Note::Ended(cause) => {
                Metrics::add(&metrics.calls_ended);
                Metrics::sub(&metrics.calls);
                tracing::info!(
                    contact = %entry.session.contact(),
                    tenant = entry.session.tenant().map(tracing::field::display),
                    did = %hotline_base::Redacted::new(entry.did.as_str()),
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
