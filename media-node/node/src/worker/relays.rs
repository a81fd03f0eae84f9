//! Other nodes' calls to phones that registered here.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hotline_rtp::CallKey;
use hotline_rtp::api::{MediaCommand, MediaEvent, MediaLegId};
use hotline_session::{Dialed, LegSecret, OpenedLeg, Relay, RelayArrival, RelayOutput, name_addr, replaces};
use hotline_sip::api::{CallHandle, Command, Event, Header, Invite};

use super::Worker;
use super::calls::{Messages, header};
use crate::clock;
use crate::fleet;
use crate::mailbox::Mail;
use crate::metrics::Metrics;

/// A relay and what the worker knows of it.
struct Entry {
    relay: Relay,
    /// Whose phone it rings.
    user: String,
    sip_call_id: String,
    /// Whoever takes the other node's calls over can find it.
    known: bool,
    since: Instant,
    messages: Option<Box<Messages>>,
}

/// No offer rings longer (a queue allows 120 s): the other node died and cannot take it back.
const RING_LIMIT: Duration = Duration::from_secs(125);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// All of a worker.
#[derive(Default)]
pub(super) struct Relays {
    entries: HashMap<u64, Entry>,
    by_call: HashMap<CallHandle, u64>,
    by_media: HashMap<MediaLegId, u64>,
    looked_at: Option<Instant>,
    /// Calls that are over; what is still said of them is captured until the next look.
    over: Vec<Messages>,
}

impl Worker {
    /// An INVITE with another node's signature: the phone is rung, or the call refused.
    pub(super) fn incoming_ring(&mut self, call: CallHandle, invite: &Invite, token: &str) {
        if let Err((status, reason)) = self.try_ring(call, invite, token) {
            Metrics::add(&self.shared.metrics.relays_refused);
            tracing::warn!(status, reason, source = %invite.path.remote, "a ring of another node was refused");
            self.command(Command::Refuse { call, status, headers: Vec::new() });
        }
    }

    fn try_ring(&mut self, call: CallHandle, invite: &Invite, token: &str) -> Result<(), (u16, String)> {
        let shared = self.shared.clone();
        let now = clock::wall();
        let denied = |error: fleet::RingError| (403, error.to_string());
        let ring =
            fleet::verify(shared.config.node.fleet_key.as_ref(), token, &invite.uri_user, now).map_err(denied)?;
        shared.rings.take(&ring, now).map_err(denied)?;
        let sdp = invite.sdp.clone().ok_or((488, "it makes no offer".to_string()))?;
        let binding = shared.registrar.find(Instant::now(), &invite.uri_user);
        let binding = binding.ok_or((480, "no phone of this user is registered".to_string()))?;
        if header(invite, "Replaces").is_none() {
            self.rings_anew(&invite.uri_user);
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        let traced = shared.trace.wants(&invite.uri_user, &invite.from_user);
        let capture = shared.captures.wants(&invite.uri_user, &invite.from_user);
        let mut messages = Messages::of(ring.offer, traced, capture);
        let media = self.relay_leg(serial, &messages)?;
        let phone_media = match self.relay_leg(serial, &messages) {
            Ok(leg) => leg,
            Err(error) => {
                self.relay_media_command(MediaCommand::Close { leg: media.id });
                return Err(error);
            }
        };
        let security = shared.config.media.srtp.offers(binding.path.transport);
        let phone = Dialed {
            call: self.endpoint.fresh_call(),
            uri: binding.uri,
            path: binding.path,
            from: None,
            codecs: Vec::new(),
            headers: Vec::new(),
            credentials: None,
            media: phone_media,
            security,
            more: false,
            replaces: None,
        };
        let from = name_addr(&invite.from_name, &invite.from_user, &shared.config.sip.realm);
        let arrival = RelayArrival { call, sdp, media, from, phone };
        let relay = match Relay::arrive(self.session_config.clone(), arrival, self.replaced(invite)) {
            Ok(relay) => relay,
            Err(refusal) => {
                for leg in [media.id, phone_media.id] {
                    self.relay_media_command(MediaCommand::Close { leg });
                }
                return Err((refusal.status, refusal.reason));
            }
        };
        let (node_call, phone_call) = relay.calls();
        self.relays.by_call.extend([(node_call, serial), (phone_call, serial)]);
        self.relays.by_media.extend(relay.media_legs().map(|leg| (leg, serial)));
        let (user, sip_call_id) = (invite.uri_user.clone(), invite.sip_call_id.clone());
        self.follow_messages(&mut messages, Some(sip_call_id.clone()));
        if let Some(messages) = &messages {
            messages.first(invite);
        }
        let entry = Entry { relay, user, sip_call_id, known: false, since: Instant::now(), messages };
        self.relays.entries.insert(serial, entry);
        Metrics::add(&shared.metrics.relays);
        Metrics::add(&shared.metrics.relays_started);
        tracing::info!(offer = %ring.offer, agent = %ring.agent, "another node rings a phone here");
        self.with_relay(serial, |_| {});
        // The phone's INVITE is made now, and has a Call-ID.
        let call_id = self.endpoint.sip_call_id(phone_call);
        if let Some(mut entry) = self.relays.entries.remove(&serial) {
            self.follow_messages(&mut entry.messages, call_id);
            self.relays.entries.insert(serial, entry);
        }
        Ok(())
    }

    /// What the call to the phone replaces: the phone's own dialog where a relay of ours has it, or
    /// the one that the other node names.
    fn replaced(&self, invite: &Invite) -> Vec<Header> {
        let Some(value) = header(invite, "Replaces") else {
            return Vec::new();
        };
        let (call_id, params) = value.split_once(';').unwrap_or((value, ""));
        let our_tag = params.split(';').find_map(|p| p.trim().strip_prefix("to-tag="));
        let relayed = self.shared.relayed.get(call_id.trim(), our_tag.unwrap_or_default());
        let replaces = match relayed {
            Some(phone) => replaces(&phone),
            None => ("Replaces".to_string(), value.to_string()),
        };
        vec![replaces, ("Require".to_string(), "replaces".to_string())]
    }

    fn relay_leg(&mut self, serial: u64, messages: &Option<Box<Messages>>) -> Result<OpenedLeg, (u16, String)> {
        let opened = self.shared.media.open_leg(CallKey(serial), self.index).map_err(|e| (503, e.to_string()))?;
        let ip = self.shared.config.media_ip();
        let rtp = std::net::SocketAddr::new(ip, opened.rtp.port());
        self.mirror(messages, opened.leg, rtp);
        Ok(OpenedLeg { id: opened.leg, rtp, secret: LegSecret(clock::random()) })
    }

    fn relay_media_command(&self, command: MediaCommand) {
        if let Err(error) = self.shared.media.send(command) {
            Metrics::add(&self.shared.metrics.media_command_errors);
            tracing::warn!(%error, "the media engine refused a command");
        }
    }

    /// A SIP event of a relay; given back where it is none's.
    pub(super) fn relay_event(&mut self, call: CallHandle, event: Event) -> Option<Event> {
        let Some(serial) = self.relays.by_call.get(&call).copied() else {
            return Some(event);
        };
        self.with_relay(serial, |relay| relay.handle_sip(event));
        None
    }

    /// A media event; whether it was a relay's.
    pub(super) fn relay_media(&mut self, event: &MediaEvent) -> bool {
        let (MediaEvent::Silent { leg, .. } | MediaEvent::SecureFailed { leg, .. } | MediaEvent::Away { leg, .. }) =
            event
        else {
            return false;
        };
        let Some(serial) = self.relays.by_media.get(leg).copied() else {
            return false;
        };
        self.with_relay(serial, |relay| relay.handle_media(event));
        true
    }

    /// A phone takes its own relayed call over; `None`: the call is no relay's.
    pub(super) fn resume_relay(
        &mut self,
        old: CallHandle,
        new: CallHandle,
        invite: &Invite,
    ) -> Option<Result<(), u16>> {
        let serial = self.relays.by_call.get(&old).copied()?;
        // The same user, who proved it again; from trusted networks the tags of the dialog are enough.
        let owner = self.relays.entries.get(&serial).map(|entry| entry.user.clone());
        if invite.user.is_some() && invite.user != owner {
            return Some(Err(603));
        }
        let mut resumed = Ok(());
        self.with_relay(serial, |relay| resumed = relay.resume(old, new, invite.sdp.as_ref()));
        if resumed.is_ok() {
            self.relays.by_call.remove(&old);
            self.relays.by_call.insert(new, serial);
        }
        Some(resumed.map_err(|refusal| refusal.status))
    }

    /// A user's phone is about to be rung: where it rings for another node, that stops. A node that died, or that
    /// has not heard yet that its offer was taken back, must not keep the phone from what comes next.
    pub(super) fn rings_anew(&mut self, user: &str) {
        if self.shared.metrics.relays.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.give_way(user);
        let shared = self.shared.clone();
        for (_, mailbox) in shared.mailboxes.iter().enumerate().filter(|(index, _)| *index != self.index) {
            mailbox.post(Mail::RungAnew { user: user.to_string() });
        }
    }

    /// What rings a user's phone for other nodes stops.
    pub(super) fn give_way(&mut self, user: &str) {
        let ringing = self.relays.entries.iter().filter(|(_, entry)| entry.user == user);
        let ringing: Vec<u64> = ringing.map(|(serial, _)| *serial).collect();
        for serial in ringing {
            self.with_relay(serial, Relay::give_way);
        }
    }

    /// A phone that rings for a node which is gone stops after a while.
    pub(super) fn relay_timeouts(&mut self, now: Instant) {
        let relays = &mut self.relays;
        let idle = relays.entries.is_empty() && relays.over.is_empty();
        if idle || relays.looked_at.is_some_and(|at| now.duration_since(at) < LOOK) {
            return;
        }
        relays.looked_at = Some(now);
        for messages in std::mem::take(&mut self.relays.over) {
            self.forget_messages(&messages);
        }
        let relays = &self.relays;
        let too_long = |entry: &Entry| !entry.relay.is_up() && now.saturating_duration_since(entry.since) > RING_LIMIT;
        let over: Vec<u64> =
            relays.entries.iter().filter(|(_, entry)| too_long(entry)).map(|(serial, _)| *serial).collect();
        for serial in over {
            self.with_relay(serial, Relay::give_way);
        }
    }

    pub(super) fn drain_relays(&mut self) {
        let serials: Vec<u64> = self.relays.entries.keys().copied().collect();
        for serial in serials {
            self.with_relay(serial, Relay::drain);
        }
    }

    /// Feeds a relay and carries out what it asks for.
    fn with_relay(&mut self, serial: u64, feed: impl FnOnce(&mut Relay)) {
        let Some(mut entry) = self.relays.entries.remove(&serial) else {
            return;
        };
        feed(&mut entry.relay);
        let mut over = false;
        while let Some(output) = entry.relay.poll_output() {
            match output {
                RelayOutput::Sip(command) => self.relay_command(&mut entry.relay, command),
                RelayOutput::Media(command) => self.relay_media_command(command),
                RelayOutput::Over => over = true,
            }
        }
        if over {
            let (node, phone) = entry.relay.calls();
            self.relays.by_call.remove(&node);
            self.relays.by_call.remove(&phone);
            for leg in entry.relay.media_legs() {
                self.relays.by_media.remove(&leg);
            }
            if entry.known {
                self.shared.relayed.remove(&entry.sip_call_id);
            }
            self.relays.over.extend(entry.messages.map(|messages| *messages));
            Metrics::sub(&self.shared.metrics.relays);
            return;
        }
        if entry.relay.is_up() && !entry.known {
            let (node, phone) = entry.relay.calls();
            if let (Some(ours), Some(phone)) = (self.endpoint.dialog(node), self.dialog_ref(phone)) {
                self.shared.relayed.insert(entry.sip_call_id.clone(), ours.local_tag, phone);
                entry.known = true;
            }
        }
        self.relays.entries.insert(serial, entry);
    }

    fn relay_command(&mut self, relay: &mut Relay, command: Command) {
        let invite = match &command {
            Command::Invite { call, .. } => Some(*call),
            _ => None,
        };
        if let Err(error) = self.endpoint.handle_command(Instant::now(), command) {
            Metrics::add(&self.shared.metrics.sip_command_errors);
            tracing::debug!(%error, "the SIP endpoint refused a relay's command");
            if let Some(call) = invite {
                relay.handle_sip(Event::Failed { call, status: 503, phrase: error.to_string(), reasons: vec![] });
            }
        }
    }
}
