//! What one media thread owns: its legs, bridges and recordings. Commands are carried out here,
//! packets in `relay`, the passing of time in `tick`. No clock and no sockets of its own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::events::EventSender;
use super::io::MediaSocket;
use super::leg::{HOT_BYTES, Latch, Leg, QuietWatch};
use super::mix::Mix;
use super::play::Play;
use super::recording::Recording;
use super::tick::Wheel;
use super::web::DtlsContext;
use crate::api::{MediaCommand, MediaEvent, MediaLegId, Remote, Sound, Token};
use crate::dtmf::EventSender as DigitSender;
use crate::goertzel::{InbandReceiver, key_tones};
use crate::spool::{Spool, SpoolWriter};
use crate::stream::Micros;

/// What a shard is told once.
#[derive(Debug, Clone)]
pub(super) struct ShardConfig {
    pub silence_ms: u32,
    pub stats_interval_us: Micros,
    pub digits_at_start: bool,
    /// Sockets are connected to a settled peer (cheaper, and the kernel drops strangers).
    pub connect: bool,
    /// Microseconds since 1970 at the engine's start.
    pub wall_start_us: u64,
    pub dtls: DtlsContext,
}

/// Counted by a shard, read by everyone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    pub received: u64,
    pub sent: u64,
    pub rejected: u64,
    pub send_failures: u64,
}

/// Where recordings go.
#[derive(Clone)]
pub(super) struct SpoolAccess {
    pub spool: Arc<Spool>,
    pub writer: SpoolWriter,
}

/// A slot number of a leg, as it is used as an epoll key.
pub(super) type Slot = u32;

/// The state of one media thread.
pub(super) struct Shard<S> {
    pub config: ShardConfig,
    pub sinks: Vec<EventSender>,
    pub spool: SpoolAccess,
    pub legs: Vec<Option<Box<Leg<S>>>>,
    free: Vec<Slot>,
    by_id: HashMap<MediaLegId, Slot>,
    pub recordings: Vec<Option<Box<Recording>>>,
    pub recording_tokens: HashMap<Token, u32>,
    pub next_recording_id: u64,
    pub wheel: Wheel,
    pub counters: Counters,
    pub mixes: HashMap<u32, Box<Mix>>,
    pub next_mix: u32,
    /// Ports of legs that were closed.
    pub closed_ports: Vec<u16>,
    /// DTLS handshakes under way.
    pub handshakes: usize,
}

impl<S: MediaSocket> Shard<S> {
    pub fn new(config: ShardConfig, sinks: Vec<EventSender>, spool: SpoolAccess, recording_ids_from: u64) -> Self {
        Self {
            config,
            sinks,
            spool,
            legs: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            recordings: Vec::new(),
            recording_tokens: HashMap::new(),
            next_recording_id: recording_ids_from,
            wheel: Wheel::default(),
            counters: Counters::default(),
            mixes: HashMap::new(),
            next_mix: 0,
            closed_ports: Vec::new(),
            handshakes: 0,
        }
    }

    /// Takes a fresh leg in.
    pub fn adopt(&mut self, mut leg: Leg<S>, now: Micros) -> Slot {
        leg.remote_since = now;
        leg.next_stats = now + self.config.stats_interval_us;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.legs.push(None);
            (self.legs.len() - 1) as Slot
        });
        self.by_id.insert(leg.id, slot);
        if let Some(place) = self.legs.get_mut(slot as usize) {
            *place = Some(Box::new(leg));
        }
        slot
    }

    /// The leg in a slot.
    pub fn leg(&mut self, slot: Slot) -> Option<&mut Leg<S>> {
        self.legs.get_mut(slot as usize)?.as_deref_mut()
    }

    /// A packet for this leg is taken soon.
    pub fn prefetch(&self, slot: Slot) {
        if let Some(Some(leg)) = self.legs.get(slot as usize) {
            super::io::prefetch(&**leg, HOT_BYTES);
        }
    }

    /// A packet for this leg is taken next: so its peer sends one.
    pub fn prefetch_peer(&self, slot: Slot) {
        if let Some(Some(leg)) = self.legs.get(slot as usize)
            && let Some(peer) = leg.peer
        {
            self.prefetch(peer);
        }
    }

    pub fn slot_of(&self, id: MediaLegId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// Legs open now.
    pub fn open_legs(&self) -> usize {
        self.by_id.len()
    }

    pub fn tell(&self, sink: usize, event: MediaEvent) {
        if let Some(sink) = self.sinks.get(sink) {
            sink.send(event);
        }
    }

    /// Carries out a command; one to a leg that is gone does nothing.
    pub fn command(&mut self, command: MediaCommand, now: Micros) {
        match command {
            MediaCommand::SetRemote { leg, remote } => self.set_remote(leg, remote, now),
            MediaCommand::Secure { leg, security } => self.secure(leg, security, now),
            MediaCommand::Play { leg, token, sounds, looped } => self.play(leg, Play::new(Some(token), sounds, looped)),
            MediaCommand::StopPlay { leg } => self.stop_play(leg),
            MediaCommand::Bridge { a, b } => self.bridge(a, b),
            MediaCommand::Unbridge { leg } => {
                if let Some(slot) = self.slot_of(leg) {
                    self.unbridge(slot);
                }
            }
            MediaCommand::StartRecording { token, legs, spool, meta } => {
                self.start_recording(token, legs, spool, &meta, now)
            }
            MediaCommand::PauseRecording { token, paused } => self.pause_recording(token, paused, now),
            MediaCommand::RecordLeg { token, leg, channel } => self.record_leg(token, leg, channel, now),
            MediaCommand::StopRecording { token } => {
                if let Some(index) = self.recording_tokens.get(&token).copied() {
                    self.finish_recording(index, now);
                }
            }
            MediaCommand::WatchQuiet { leg, for_ms } => {
                if let Some(leg) = self.slot_of(leg).and_then(|slot| self.leg(slot)) {
                    leg.quiet = (for_ms > 0).then(|| Box::new(QuietWatch { for_ms, last_voice: now }));
                }
            }
            MediaCommand::InbandDigits { leg, on } => {
                if let Some(slot) = self.slot_of(leg) {
                    self.inband(slot, Some(on));
                }
            }
            MediaCommand::Mix { legs } => self.mix(&legs, now),
            MediaCommand::Tap { leg, direction, into } => self.tap(leg, direction, into),
            MediaCommand::Mirror { leg, into } => {
                if let Some(leg) = self.slot_of(leg).and_then(|slot| self.leg(slot)) {
                    leg.mirror = Some(Box::new(into));
                }
            }
            MediaCommand::Secret { leg, on } => {
                let Some(slot) = self.slot_of(leg) else {
                    return;
                };
                let Some(leg) = self.leg(slot) else { return };
                leg.secret = on;
                self.mask_recording(slot, now);
            }
            MediaCommand::SendDigits { leg, digits } => self.send_digits(leg, &digits),
            MediaCommand::Close { leg } => self.close(leg, now),
        }
    }

    fn set_remote(&mut self, id: MediaLegId, remote: Remote, now: Micros) {
        let Some(slot) = self.slot_of(id) else { return };
        let Some(leg) = self.leg(slot) else { return };
        let was_connected = matches!(leg.latch, Latch::Settled { connected: true, .. });
        if leg.set_remote(remote, now) && was_connected {
            leg.rtp.connect(None);
        }
        self.inband(slot, None);
        self.tune(slot);
    }

    /// Listens for in-band digits while no telephone-event is negotiated, or where asked to.
    fn inband(&mut self, slot: Slot, forced: Option<bool>) {
        let at_start = self.config.digits_at_start;
        let Some(leg) = self.leg(slot) else { return };
        leg.inband_forced = forced.unwrap_or(leg.inband_forced);
        let wanted = leg.inband_forced || leg.remote.is_some_and(|remote| remote.dtmf_pt.is_none());
        if !wanted {
            leg.inband = None;
        } else if leg.inband.is_none() {
            leg.inband = Some(Box::new(InbandReceiver::new(at_start)));
        }
    }

    pub fn play(&mut self, id: MediaLegId, play: Play) {
        let Some(slot) = self.slot_of(id) else { return };
        let Some(leg) = self.leg(slot) else { return };
        leg.play = Some(Box::new(play));
        self.start_ticking(slot);
    }

    fn stop_play(&mut self, id: MediaLegId) {
        let Some(leg) = self.slot_of(id).and_then(|slot| self.leg(slot)) else {
            return;
        };
        if leg.play.take().is_some() {
            leg.sender.forget_relay();
        }
    }

    fn bridge(&mut self, a: MediaLegId, b: MediaLegId) {
        let (Some(left), Some(right)) = (self.slot_of(a), self.slot_of(b)) else {
            tracing::warn!(?a, ?b, "legs to be bridged are not both open on this thread");
            return;
        };
        if left == right {
            return;
        }
        for slot in [left, right] {
            self.leave_mix(slot);
            self.unbridge(slot);
        }
        for (slot, other) in [(left, right), (right, left)] {
            if let Some(leg) = self.leg(slot) {
                leg.peer = Some(other);
                leg.relayed_event = None;
            }
        }
        self.tune(left);
    }

    pub fn unbridge(&mut self, slot: Slot) {
        let Some(leg) = self.leg(slot) else { return };
        let peer = leg.peer.take();
        leg.sender.forget_relay();
        if let Some(peer) = peer.and_then(|peer| self.leg(peer)) {
            peer.sender.forget_relay();
            if peer.peer == Some(slot) {
                peer.peer = None;
            }
        }
        self.tune_one(slot, None);
        if let Some(peer) = peer {
            self.tune_one(peer, None);
        }
    }

    fn send_digits(&mut self, id: MediaLegId, digits: &str) {
        let Some(slot) = self.slot_of(id) else { return };
        let Some(leg) = self.leg(slot) else { return };
        if leg.remote.is_some_and(|remote| remote.dtmf_pt.is_some()) {
            leg.digits_out.get_or_insert_with(|| Box::new(DigitSender::default())).push(digits);
            self.start_ticking(slot);
            return;
        }
        let tone = |digit| Some(Sound::Tone { hz: key_tones(digit)?, on_ms: 100, off_ms: 80, times: 1 });
        let sounds: Vec<Sound> = digits.chars().take(DigitSender::MAX_WAITING).filter_map(tone).collect();
        self.play(id, Play::new(None, sounds, false));
    }

    fn close(&mut self, id: MediaLegId, now: Micros) {
        let Some(slot) = self.slot_of(id) else { return };
        self.unbridge(slot);
        self.leave_mix(slot);
        self.leave_recording(slot, now);
        self.forget_handshake(slot);
        self.by_id.remove(&id);
        let Some(leg) = self.legs.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.tell(leg.sink, MediaEvent::Stats { leg: id, stats: leg.stats(), last: true });
        self.closed_ports.push(leg.port);
        self.free.push(slot);
    }

    /// Closes everything: recordings are ended in their files.
    pub fn close_all(&mut self, now: Micros) {
        for index in 0..self.recordings.len() {
            self.finish_recording(index as u32, now);
        }
        let ids: Vec<MediaLegId> = self.by_id.keys().copied().collect();
        for id in ids {
            self.close(id, now);
        }
    }

    /// The file of a recording within the spool.
    pub fn spool_path(&self, path: &std::path::Path) -> Result<PathBuf, String> {
        self.spool.spool.path_for(path)
    }
}
