//! The way of a packet: judged, recorded, and on to the peer with its header patched in place.

use std::net::SocketAddr;

use super::io::MediaSocket;
use super::leg::{Admission, Kind, Latch};
use super::play::Play;
use super::shard::{Shard, Slot};
use crate::api::{Law, MediaEvent, Sound};
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
        let plain = match &mut leg.srtp {
            Some(srtp) => srtp.unprotect_rtp(datagram).unwrap_or(0),
            None => datagram.len(),
        };
        let datagram = datagram.get_mut(..plain).unwrap_or_default();
        let header = Header::read(datagram);
        let admission = header.as_ref().map_or(Admission::Rejected, |header| leg.admit(header, from, now));
        let (Some(header), Admission::Accepted { kind, latched, restart }) = (header, admission) else {
            leg.rejected += 1;
            self.counters.rejected += 1;
            return;
        };
        if connect && let Latch::Settled { from, connected: false } = leg.latch {
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
                let peer = self.leg(slot).and_then(|leg| leg.peer);
                self.keep_back(peer, &header);
            }
        }
    }

    fn stream_restarted(&mut self, slot: Slot) {
        let Some(leg) = self.leg(slot) else { return };
        let press = leg.events.restart();
        if let Some((index, channel)) = leg.recording
            && let Some(Some(recording)) = self.recordings.get_mut(index as usize)
        {
            recording.aligner.restart(usize::from(channel));
        }
        self.report(slot, press);
    }

    fn audio(&mut self, slot: Slot, header: &Header, datagram: &mut [u8], now: Micros) {
        let Some(leg) = self.legs.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let Some(remote) = &leg.remote else { return };
        let law = remote.law;
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
        let quiet = if leg.quiet.is_some() { leg.watch_quiet(Some(payload), now) } else { None };
        let (peer, mix) = (leg.peer, leg.mix);
        if press.is_some() || quiet.is_some() {
            let (sink, id) = (leg.sink, leg.id);
            if let Some(for_ms) = quiet {
                self.tell(sink, MediaEvent::Quiet { leg: id, for_ms });
            }
            self.report(slot, press);
        }
        match (peer, mix) {
            (Some(peer), _) => self.relay(peer, header, datagram, law, None, now),
            (None, Some(mix)) => self.mix_input(
                mix,
                slot,
                datagram.get(header.payload_start..header.payload_end).unwrap_or_default(),
                law,
            ),
            (None, None) => {}
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
        let digit = payload.first().copied().and_then(dtmf::digit);
        for press in presses {
            self.report(slot, press);
        }
        let Some(peer) = peer.filter(|_| !secret) else {
            self.keep_back(peer, header);
            return;
        };
        let peer_pt = self.leg(peer).and_then(|peer| peer.remote).and_then(|remote| remote.dtmf_pt);
        match (peer_pt, digit) {
            (Some(pt), _) => self.relay(peer, header, datagram, Law::Mu, Some(pt), now),
            (None, Some(digit)) if begins => self.sound_key(peer, digit),
            _ => self.keep_back(Some(peer), header),
        }
    }

    /// A packet is not passed on to the peer, which must not take that for a loss.
    fn keep_back(&mut self, peer: Option<Slot>, header: &Header) {
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

    fn relay(&mut self, to: Slot, header: &Header, datagram: &mut [u8], law: Law, event_pt: Option<u8>, now: Micros) {
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
        let payload_type = event_pt.unwrap_or(remote.law.payload_type());
        if event_pt.is_none()
            && remote.law != law
            && let Some(payload) = datagram.get_mut(header.payload_start..header.payload_end)
        {
            translate(payload, law, remote.law);
        }
        let patch = leg.sender.next_relayed(header, payload_type, event_pt.is_some(), now);
        let Some(patch) = patch else { return };
        patch.apply(datagram);
        if leg.send_rtp(destination, datagram) {
            self.counters.sent += 1;
        } else {
            self.counters.send_failures += 1;
        }
        leg.sender.sent(header.payload_end - header.payload_start);
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
        let Some(srtp) = &mut leg.srtp else {
            leg.receive_rtcp(datagram, from, now, now_ntp);
            return;
        };
        let mut plain = datagram.to_vec();
        if let Ok(length) = srtp.unprotect_rtcp(&mut plain) {
            leg.receive_rtcp(plain.get(..length).unwrap_or_default(), from, now, now_ntp);
        }
    }
}
