//! The way of a packet: judged, recorded, and on to the peer with its header patched in place.

use std::net::SocketAddr;

use super::io::MediaSocket;
use super::leg::{Admission, Kind, Latch};
use super::play::Play;
use super::shard::{Shard, Slot};
use crate::api::{Codec, MediaEvent, Sound};
use crate::dtmf::{self, Press};
use crate::g711::translate;
use crate::goertzel::key_tones;
use crate::packet::Header;
use crate::rtcp;
use crate::stream::Micros;

impl<S: MediaSocket> Shard<S> {
    /// Takes an RTP datagram that arrived at a leg. `from` is `None` where its socket is connected.
    pub fn rtp(&mut self, slot: Slot, datagram: &mut [u8], from: Option<SocketAddr>, now: Micros) {
        self.counters.received += 1;
        let connect = self.config.connect;
        let Some(leg) = self.legs.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let plain = match &mut leg.shield {
            Some(shield) => {
                if let (Some(_), Some(from)) = (&shield.web, from)
                    && !self.web(slot, datagram, from, now)
                {
                    return;
                }
                self.mirror(slot, datagram, from);
                self.unprotect(slot, datagram, now)
            }
            None => {
                if leg.mirror.is_some() {
                    self.mirror(slot, datagram, from);
                }
                datagram.len()
            }
        };
        let Some(leg) = self.legs.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let datagram = datagram.get_mut(..plain).unwrap_or_default();
        let header = Header::read(datagram);
        let admission = header.as_ref().map_or(Admission::Rejected, |header| leg.admit(header, from, now));
        let (Some(header), Admission::Accepted { kind, latched, restart }) = (header, admission) else {
            leg.rejected += 1;
            self.counters.rejected += 1;
            return;
        };
        if connect
            && let Latch::Settled { from, connected: false } = leg.latch
            && !leg.is_web()
        {
            let connected = leg.rtp.connect(Some(from));
            leg.latch = Latch::Settled { from, connected };
        }
        leg.silent_told = false;
        if let Some(from) = latched {
            let (sink, leg) = (leg.sink, leg.id);
            self.tell(sink, MediaEvent::Latched { leg, from });
        }
        if restart {
            self.stream_restarted(slot);
        }
        match kind {
            Kind::Audio => self.audio(slot, &header, datagram, now),
            Kind::Event => self.event(slot, &header, datagram, now),
            // It has a payload type the peer may not know, and says nothing.
            Kind::ComfortNoise => {
                let payload = datagram.get(header.payload_start..header.payload_end).unwrap_or_default();
                let Some(leg) = self.leg(slot) else { return };
                if let Some(ear) = &mut leg.ear {
                    ear.take_comfort_noise(header.sequence, header.timestamp, payload);
                }
                let peer = leg.peer;
                self.keep_back(peer, &header);
            }
        }
    }

    /// A packet from the network, for a capture.
    fn mirror(&mut self, slot: Slot, datagram: &[u8], from: Option<SocketAddr>) {
        if let Some(leg) = self.leg(slot)
            && let Some(mirror) = &leg.mirror
            && let Some(from) = from.or_else(|| leg.latch.address())
        {
            mirror.came(from, datagram, leg.secret);
        }
    }

    /// Makes a protected packet plain in place; its new length, 0 where it is not authentic.
    fn unprotect(&mut self, slot: Slot, datagram: &mut [u8], now: Micros) -> usize {
        let Some(shield) = self.leg(slot).and_then(|leg| leg.shield.as_mut()) else {
            return 0;
        };
        let plain = shield.srtp.as_mut().and_then(|srtp| srtp.unprotect_rtp(datagram).ok());
        if plain.is_some() {
            shield.heard(now);
        }
        plain.unwrap_or(0)
    }

    fn stream_restarted(&mut self, slot: Slot) {
        let Some(leg) = self.leg(slot) else { return };
        let press = leg.events.restart();
        if let Some(ear) = &mut leg.ear {
            ear.restart();
        }
        leg.scribe = None;
        if let Some((index, channel)) = leg.recording
            && let Some(Some(recording)) = self.recordings.get_mut(index as usize)
        {
            recording.aligner.restart(usize::from(channel));
        }
        let peer = self.leg(slot).and_then(|leg| leg.peer);
        if let Some(peer) = peer.and_then(|peer| self.leg(peer)) {
            peer.relayed_event = None;
        }
        self.report(slot, press);
    }

    fn audio(&mut self, slot: Slot, header: &Header, datagram: &mut [u8], now: Micros) {
        let Some(leg) = self.legs.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let Some(remote) = &leg.remote else { return };
        let codec = remote.format.codec;
        let Some(law) = codec.law() else {
            self.wide_audio(slot, header, datagram, codec, now);
            return;
        };
        let Some(payload) = datagram.get_mut(header.payload_start..header.payload_end) else {
            return;
        };
        if let Some((index, channel)) = leg.recording
            && !leg.secret
            && let Some(Some(recording)) = self.recordings.get_mut(index as usize)
        {
            recording.aligner.put(usize::from(channel), header.timestamp, payload, law, now);
        }
        let mut press = None;
        if let Some(inband) = &mut leg.inband {
            let (heard, sounds_like_a_key) = inband.receive(payload, law);
            press = heard;
            // Without telephone-event a key is only known after its first frames: hear nothing at all.
            if leg.secret && (sounds_like_a_key || remote.dtmf_pt.is_none()) {
                payload.fill(law.silence());
            }
        }
        let quiet = if leg.quiet.is_some() { leg.watch_quiet(Some((payload, law)), now) } else { None };
        if press.is_some() || quiet.is_some() {
            let (sink, id) = (leg.sink, leg.id);
            if let Some(for_ms) = quiet {
                self.tell(sink, MediaEvent::Quiet { leg: id, for_ms });
            }
            self.report(slot, press);
        }
        self.pass_on(slot, header, datagram, codec, now);
    }

    /// To whoever hears this leg: the peer as it is, or the ear that decodes it.
    pub fn pass_on(&mut self, slot: Slot, header: &Header, datagram: &mut [u8], codec: Codec, now: Micros) {
        let Some(leg) = self.legs.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        if let Some(ear) = &mut leg.ear {
            let payload = datagram.get(header.payload_start..header.payload_end).unwrap_or_default();
            ear.take(header.sequence, header.timestamp, payload, now);
        }
        if let Some(peer) = leg.peer.filter(|_| !leg.transcodes) {
            self.relay(peer, header, datagram, codec, None, now);
        }
    }

    fn event(&mut self, slot: Slot, header: &Header, datagram: &mut [u8], now: Micros) {
        let Some(leg) = self.leg(slot) else { return };
        let payload = datagram.get(header.payload_start..header.payload_end).unwrap_or_default();
        let was_pressed = leg.events.is_pressed();
        let presses = leg.events.receive(header.timestamp, payload, now);
        let begins = !was_pressed && (leg.events.is_pressed() || presses.iter().any(Option::is_some));
        if leg.secret {
            leg.secret_event = Some(header.timestamp);
        }
        let (peer, secret) = (leg.peer, leg.secret_event == Some(header.timestamp));
        let Some(own) = leg.remote else { return };
        let transcodes = leg.transcodes;
        let digit = payload.first().copied().and_then(dtmf::digit);
        for press in presses {
            self.report(slot, press);
        }
        let Some(peer) = peer.filter(|_| !secret) else {
            self.keep_back(peer, header);
            return;
        };
        let theirs = self.leg(peer).and_then(|peer| peer.remote);
        match (theirs.and_then(|theirs| Some((theirs.dtmf_pt?, theirs.dtmf_khz))), digit) {
            (Some((pt, khz)), _) if khz == own.dtmf_khz && !transcodes => {
                self.relay(peer, header, datagram, own.format.codec, Some(pt), now);
            }
            (Some(_), _) => self.relay_event(peer, header, payload, u32::from(own.dtmf_khz), now),
            (None, Some(digit)) if begins => self.sound_key(peer, digit),
            _ => self.keep_back(Some(peer), header),
        }
    }

    /// A packet is not passed on to the peer, which must not take that for a loss.
    pub fn keep_back(&mut self, peer: Option<Slot>, header: &Header) {
        if let Some(peer) = peer.and_then(|peer| self.leg(peer)) {
            peer.sender.skip_relayed(header.ssrc);
        }
    }

    /// The peer knows no telephone-event: it hears the tones.
    fn sound_key(&mut self, slot: Slot, digit: char) {
        let Some(hz) = key_tones(digit) else { return };
        let Some(leg) = self.leg(slot) else { return };
        let id = leg.id;
        if leg.play.is_none() {
            self.play(id, Play::new(None, vec![Sound::Tone { hz, on_ms: 100, off_ms: 0, times: 1 }], false));
        }
    }

    fn relay(&mut self, to: Slot, header: &Header, datagram: &mut [u8], from: Codec, event: Option<u8>, now: Micros) {
        let Some(leg) = self.legs.get_mut(to as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        if leg.play.is_some() || leg.digits_out.is_some() {
            return;
        }
        let (Ok(destination), Some(remote)) = (leg.destination(), &leg.remote) else {
            leg.sender.forget_relay();
            return;
        };
        let (codec, payload_type) = (remote.format.codec, event.unwrap_or(remote.format.payload_type));
        if event.is_none()
            && codec != from
            && let Some(payload) = datagram.get_mut(header.payload_start..header.payload_end)
            && let (Some(from), Some(to)) = (from.law(), codec.law())
        {
            translate(payload, from, to);
        }
        let patch = leg.sender.next_relayed(header, payload_type, event.is_some(), now);
        let Some(patch) = patch else { return };
        patch.apply(datagram);
        if leg.send_rtp(destination, datagram) {
            self.counters.sent += 1;
        } else {
            self.counters.send_failures += 1;
        }
        leg.sender.sent(header.payload_end - header.payload_start);
        if event.is_none()
            && let Some(tap) = &mut leg.tap
        {
            let payload = datagram.get(header.payload_start..header.payload_end).unwrap_or_default();
            tap.takes(codec, &patch, payload, now);
        }
    }

    /// Reports a press; a secret one is reported as well (who asked for secrecy collects it).
    pub fn report(&mut self, slot: Slot, press: Option<Press>) {
        let (Some(press), Some(leg)) = (press, self.leg(slot)) else {
            return;
        };
        let (sink, leg) = (leg.sink, leg.id);
        self.tell(sink, MediaEvent::Digit { leg, digit: press.digit, duration_ms: press.duration_ms });
    }

    /// Takes an RTCP datagram that arrived at a leg.
    pub fn rtcp(&mut self, slot: Slot, datagram: &[u8], from: SocketAddr, now: Micros) {
        let now_ntp = rtcp::ntp(self.config.wall_start_us + now);
        let Some(leg) = self.leg(slot) else { return };
        if let Some(mirror) = &leg.mirror {
            mirror.report_came(from, datagram, leg.is_web());
        }
        let Some(shield) = &mut leg.shield else {
            leg.receive_rtcp(datagram, from, now, now_ntp);
            return;
        };
        let mut plain = datagram.to_vec();
        if let Some(length) = shield.srtp.as_mut().and_then(|srtp| srtp.unprotect_rtcp(&mut plain).ok()) {
            leg.receive_rtcp(plain.get(..length).unwrap_or_default(), from, now, now_ntp);
        }
    }
}
