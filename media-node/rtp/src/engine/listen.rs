//! Where audio is decoded: a bridge between codecs that differ, a conference, a tap, and what is
//! recorded of a wideband leg. What is merely relayed never comes here.

use super::io::MediaSocket;
use super::recording::Recording;
use super::shard::{Shard, Slot};
use crate::api::{Law, MediaEvent, MediaLegId};
use crate::codec::resample::Halver;
use crate::codec::{Codec, Decoder, Encoder, FRAME_MS, MAX_FRAME_BYTES, Rate};
use crate::ear::{Ear, Heard};
use crate::g711::FRAME_SAMPLES;
use crate::packet::{HEADER_LEN, Header, Patch};
use crate::stream::Micros;
use crate::tap::{TAP_SAMPLES, TapDirection, TapFrame, TapWay, TapWriter};

/// 20 ms of samples at a rate.
pub(super) struct Frame {
    pub rate: Rate,
    samples: [i16; Rate::Wide.frame()],
}

impl Frame {
    pub fn silent(rate: Rate) -> Self {
        Self { rate, samples: [0; Rate::Wide.frame()] }
    }

    pub fn samples(&self) -> &[i16] {
        self.samples.get(..self.rate.frame()).unwrap_or_default()
    }

    pub fn samples_mut(&mut self) -> &mut [i16] {
        self.samples.get_mut(..self.rate.frame()).unwrap_or_default()
    }
}

/// A wideband leg as a recording and the detectors take it: µ-law as its packets come.
#[derive(Debug)]
pub(super) struct Scribe {
    codec: Codec,
    decoder: Decoder,
    samples: Vec<i16>,
    mulaw: Vec<u8>,
    /// A timestamp of the stream and the same moment on a clock of 8 kHz.
    clock: Option<(u32, u32)>,
}

impl Scribe {
    fn new(codec: Codec) -> Self {
        let decoder = Decoder::new(codec, Rate::Narrow);
        Self { codec, decoder, samples: Vec::new(), mulaw: Vec::new(), clock: None }
    }

    /// The packet's time on a clock of 8 kHz, which wraps where it should.
    fn timestamp(&mut self, timestamp: u32) -> u32 {
        let (stamp, narrow) = self.clock.unwrap_or((timestamp, timestamp));
        let steps = i64::from(timestamp.wrapping_sub(stamp) as i32) * 8 / i64::from(self.codec.clock_khz());
        let narrow = narrow.wrapping_add(steps as u32);
        self.clock = Some((timestamp, narrow));
        narrow
    }

    fn write(&mut self, payload: &[u8]) -> &[u8] {
        self.mulaw.clear();
        self.decoder.decode_to_mulaw(payload, &mut self.samples, &mut self.mulaw);
        &self.mulaw
    }
}

/// So long after a secret or a pause the tap stays silent, frames: the ear's longest delay and a little.
const HUSH_FRAMES: u8 = 11;

/// A listener outside the call.
pub(super) struct Tap {
    direction: TapDirection,
    into: TapWriter,
    at: u64,
    /// Frames for which what is said stays withheld: the ear holds back what was said before.
    hushed: u8,
    halver: Halver,
    /// What the party hears: what we send, decoded again.
    sent: Option<Ear>,
}

impl Tap {
    pub fn new(direction: TapDirection, into: TapWriter) -> Self {
        Self { direction, into, at: 0, hushed: 0, halver: Halver::default(), sent: None }
    }

    /// A packet that went to the party.
    pub fn takes(&mut self, codec: Codec, patch: &Patch, payload: &[u8], now: Micros) {
        if !self.direction.has(TapWay::Out) {
            return;
        }
        let known = self.sent.take().filter(|ear| ear.listens_to().0 == codec);
        let ear = self.sent.insert(known.unwrap_or_else(|| Ear::new(codec, Rate::Narrow)));
        ear.take(patch.sequence, patch.timestamp, payload, now);
    }

    /// 20 ms have passed: hands on what was heard (`None`: nothing is) and what was sent, but for
    /// what is to be withheld.
    fn tick(&mut self, heard: Option<(&Frame, Heard, u32)>, secret: bool, paused: bool) {
        self.hushed = if secret || paused { HUSH_FRAMES } else { self.hushed.saturating_sub(1) };
        let hushed = self.hushed > 0;
        let mut frame = TapFrame {
            at: self.at,
            rtp_timestamp: 0,
            way: TapWay::In,
            heard: Heard::Nothing,
            withheld: hushed,
            samples: [0; TAP_SAMPLES],
        };
        self.at += TAP_SAMPLES as u64;
        if self.direction.has(TapWay::In) {
            if let Some((said, heard, timestamp)) = heard.filter(|_| !hushed) {
                frame.heard = heard;
                frame.rtp_timestamp = timestamp;
                match said.rate {
                    Rate::Narrow => {
                        for (into, sample) in frame.samples.iter_mut().zip(said.samples()) {
                            *into = *sample;
                        }
                    }
                    Rate::Wide => {
                        for (into, pair) in frame.samples.iter_mut().zip(said.samples().chunks_exact(2)) {
                            *into = self.halver.step(pair[0], pair[1]);
                        }
                    }
                }
            }
            self.into.write(&frame);
        }
        if self.direction.has(TapWay::Out) {
            frame.way = TapWay::Out;
            frame.samples.fill(0);
            (frame.heard, frame.rtp_timestamp, frame.withheld) = (Heard::Nothing, 0, paused);
            if let Some(ear) = &mut self.sent {
                frame.rtp_timestamp = ear.timestamp();
                frame.heard = ear.hear(&mut frame.samples);
            }
            if paused {
                frame.samples.fill(0);
                frame.heard = Heard::Nothing;
            }
            self.into.write(&frame);
        }
    }
}

/// Whether packets of one codec can go out as packets of the other without being decoded: G.711 is
/// translated by table.
fn relayable(from: Codec, to: Codec) -> bool {
    from == to || (from.law().is_some() && to.law().is_some())
}

impl<S: MediaSocket> Shard<S> {
    fn codec_of(&self, slot: Slot) -> Option<Codec> {
        let leg = self.legs.get(slot as usize)?.as_deref()?;
        leg.remote.map(|remote| remote.format.codec)
    }

    /// The rate a conference of these legs is mixed at: wide where two can hear the difference.
    pub fn rate_for(&self, slots: impl Iterator<Item = Slot>) -> Rate {
        let wide = slots.filter(|slot| self.codec_of(*slot).is_some_and(Codec::is_wideband)).count();
        if wide >= 2 { Rate::Wide } else { Rate::Narrow }
    }

    /// After a change of codec, peer, conference or tap: decides whether the leg's audio, and its
    /// peer's, is decoded from now on.
    pub fn tune(&mut self, slot: Slot) {
        let Some(leg) = self.leg(slot) else { return };
        let (peer, mix) = (leg.peer, leg.mix);
        if let Some(mix) = mix {
            self.tune_mix(mix);
            return;
        }
        self.tune_one(slot, None);
        if let Some(peer) = peer {
            self.tune_one(peer, None);
        }
    }

    /// The same for one leg; in a conference with its rate.
    pub fn tune_one(&mut self, slot: Slot, mixed: Option<Rate>) {
        let own = self.codec_of(slot);
        let Some(peer) = self.leg(slot).map(|leg| leg.peer) else { return };
        let theirs = peer.and_then(|peer| self.codec_of(peer));
        let Some(leg) = self.leg(slot) else { return };
        leg.transcodes = own.zip(theirs).is_some_and(|(own, theirs)| !relayable(own, theirs));
        let tapped = leg.tap.as_ref().is_some_and(|tap| tap.direction.has(TapWay::In));
        let rate = match (mixed, own.zip(theirs)) {
            (Some(rate), _) => rate,
            (None, Some((own, theirs))) if leg.transcodes && own.is_wideband() && theirs.is_wideband() => Rate::Wide,
            _ => Rate::Narrow,
        };
        let wanted = own.filter(|_| leg.transcodes || mixed.is_some() || tapped).map(|codec| (codec, rate));
        if wanted != leg.ear.as_ref().map(|ear| ear.listens_to()) {
            leg.ear = wanted.map(|(codec, rate)| Box::new(Ear::new(codec, rate)));
        }
        if mixed.is_none() && (leg.ear.is_some() || leg.tap.is_some()) {
            self.start_listening(slot);
        }
    }

    /// Takes a wideband leg's packet: for the recording, the detectors, and whoever hears it.
    pub fn wide_audio(&mut self, slot: Slot, header: &Header, datagram: &mut [u8], codec: Codec, now: Micros) {
        let Some(leg) = self.legs.get_mut(slot as usize).and_then(Option::as_deref_mut) else { return };
        let Some(payload) = datagram.get(header.payload_start..header.payload_end) else { return };
        let (mut press, mut quiet, mut hushed) = (None, None, false);
        if leg.recording.is_some() || leg.inband.is_some() || leg.quiet.is_some() {
            let known = leg.scribe.take().filter(|scribe| scribe.codec == codec);
            let mut scribe = known.unwrap_or_else(|| Box::new(Scribe::new(codec)));
            let timestamp = scribe.timestamp(header.timestamp);
            let mulaw = scribe.write(payload);
            if let Some((index, channel)) = leg.recording
                && !leg.secret
                && let Some(Some(recording)) = self.recordings.get_mut(index as usize)
            {
                recording.aligner.put(usize::from(channel), timestamp, mulaw, Law::Mu, now);
            }
            if let Some(inband) = &mut leg.inband {
                let (heard, sounds_like_a_key) = inband.receive(mulaw, Law::Mu);
                press = heard;
                let events = leg.remote.is_some_and(|remote| remote.dtmf_pt.is_some());
                hushed = leg.secret && (sounds_like_a_key || !events);
            }
            if leg.quiet.is_some() {
                quiet = leg.watch_quiet(Some((mulaw, Law::Mu)), now);
            }
            leg.scribe = Some(scribe);
        }
        let (sink, id, peer) = (leg.sink, leg.id, leg.peer);
        if let Some(for_ms) = quiet {
            self.tell(sink, MediaEvent::Quiet { leg: id, for_ms });
        }
        self.report(slot, press);
        if hushed {
            // It cannot be silenced in place: nobody hears the packet at all.
            self.keep_back(peer, header);
        } else {
            self.pass_on(slot, header, datagram, codec, now);
        }
    }

    /// Every 20 ms for a leg that is decoded outside a conference; `false` when it is no more.
    pub fn tick_listening(&mut self, slot: Slot, id: MediaLegId, now: Micros) -> bool {
        let Some(leg) = self.leg(slot).filter(|leg| leg.id == id) else { return false };
        if leg.mix.is_some() || (leg.ear.is_none() && leg.tap.is_none()) {
            leg.listening = false;
            return false;
        }
        let (peer, transcodes, pressed) = (leg.peer, leg.transcodes, leg.events.is_pressed());
        let heard = self.listen(slot);
        let Some(peer) = peer.filter(|_| transcodes) else { return true };
        match heard {
            // While a key is down its events go out alone, as they came.
            Some((frame, heard)) if heard != Heard::Nothing && !pressed => self.send_frame(peer, &frame, now),
            _ => {
                if let Some(peer) = self.leg(peer) {
                    peer.sender.forget_relay();
                }
            }
        }
        true
    }

    /// The next 20 ms of what a leg says, which its tap gets too.
    pub fn listen(&mut self, slot: Slot) -> Option<(Frame, Heard)> {
        let leg = self.legs.get_mut(slot as usize)?.as_deref_mut()?;
        let said = leg.ear.as_mut().map(|ear| {
            let mut frame = Frame::silent(ear.listens_to().1);
            let timestamp = ear.timestamp();
            let heard = ear.hear(frame.samples_mut());
            (frame, heard, timestamp)
        });
        if let Some(tap) = &mut leg.tap {
            let recording = leg.recording.and_then(|(index, _)| self.recordings.get(index as usize)?.as_deref());
            let paused = recording.is_some_and(Recording::is_paused);
            tap.tick(said.as_ref().map(|(frame, heard, timestamp)| (frame, *heard, *timestamp)), leg.secret, paused);
            if tap.into.is_abandoned() {
                leg.tap = None;
                self.tune(slot);
            }
        }
        said.map(|(frame, heard, _)| (frame, heard))
    }

    /// Lets somebody outside listen to a leg, instead of whoever did before.
    pub fn tap(&mut self, id: MediaLegId, direction: TapDirection, into: TapWriter) {
        let Some(slot) = self.slot_of(id) else { return };
        let Some(leg) = self.leg(slot) else { return };
        leg.tap = Some(Box::new(Tap::new(direction, into)));
        self.tune(slot);
    }

    /// Sends 20 ms of samples to a leg in its codec, unless it hears something else at present.
    pub fn send_frame(&mut self, slot: Slot, frame: &Frame, now: Micros) {
        let Some(leg) = self.leg(slot) else { return };
        if leg.play.is_some() || leg.digits_out.is_some() {
            return;
        }
        let Some(remote) = leg.remote else { return };
        let codec = remote.format.codec;
        let mut payload = [0; MAX_FRAME_BYTES];
        let length = leg.encoder(codec).encode(frame.samples(), frame.rate, &mut payload);
        self.send_payload(slot, payload.get(..length).unwrap_or_default(), now);
    }

    /// Sends a µ-law frame of a prompt to a leg whose codec is not G.711.
    pub fn send_prompt(&mut self, slot: Slot, mulaw: &[u8; FRAME_SAMPLES], now: Micros) {
        let Some(leg) = self.leg(slot) else { return };
        let Some(remote) = leg.remote else { return };
        let samples = mulaw.map(|byte| Law::Mu.decode(byte));
        let mut payload = [0; MAX_FRAME_BYTES];
        let length = leg.encoder(remote.format.codec).encode(&samples, Rate::Narrow, &mut payload);
        self.send_payload(slot, payload.get(..length).unwrap_or_default(), now);
    }

    /// Sends 20 ms that are encoded already, as the next packet of what is made here.
    pub fn send_payload(&mut self, slot: Slot, payload: &[u8], now: Micros) {
        let Some(leg) = self.leg(slot) else { return };
        let (Ok(destination), Some(remote)) = (leg.destination(), leg.remote) else {
            leg.sender.forget_relay();
            return;
        };
        let mut packet = [0; HEADER_LEN + MAX_FRAME_BYTES];
        let Some(body) = packet.get_mut(HEADER_LEN..HEADER_LEN + payload.len()).filter(|body| !body.is_empty()) else {
            return;
        };
        body.copy_from_slice(payload);
        packet[0] = 0x80;
        let step = FRAME_MS as u32 * remote.format.codec.clock_khz();
        let patch = leg.sender.next_local(remote.format.payload_type, step, now);
        patch.apply(&mut packet);
        leg.sender.sent(payload.len());
        let taken = leg.send_rtp(destination, packet.get(..HEADER_LEN + payload.len()).unwrap_or_default());
        if let Some(tap) = &mut leg.tap {
            tap.takes(remote.format.codec, &patch, payload, now);
        }
        self.count_sent(taken);
    }

    /// Passes a key on where the audio's clocks differ: an event of our own with the same length.
    pub fn relay_event(&mut self, to: Slot, header: &Header, payload: &[u8], from_khz: u32, now: Micros) {
        let Some(leg) = self.leg(to) else { return };
        let (Ok(destination), Some(remote)) = (leg.destination(), leg.remote) else { return };
        let (Some(payload_type), &[event, flags, high, low, ..]) = (remote.dtmf_pt, payload) else { return };
        if leg.play.is_some() || leg.digits_out.is_some() {
            return;
        }
        let (start, first) = match leg.relayed_event {
            Some((of, start)) if of == header.timestamp => (start, false),
            // Late packets of the key before this one.
            Some((of, _)) if header.timestamp.wrapping_sub(of) as i32 <= 0 => return,
            _ => (leg.sender.event_start(now), true),
        };
        leg.relayed_event = Some((header.timestamp, start));
        let duration = u32::from(u16::from_be_bytes([high, low])) * u32::from(remote.dtmf_khz) / from_khz.max(1);
        let [high, low] = (duration.min(u32::from(u16::MAX)) as u16).to_be_bytes();
        let mut packet = [0; HEADER_LEN + 4];
        packet[0] = 0x80;
        packet[HEADER_LEN..].copy_from_slice(&[event, flags, high, low]);
        leg.sender.next_event(payload_type, start, first).apply(&mut packet);
        leg.sender.sent(4);
        let taken = leg.send_rtp(destination, &packet);
        self.count_sent(taken);
    }
}

impl<S> super::leg::Leg<S> {
    /// What makes this leg's payloads; kept while the codec stays.
    fn encoder(&mut self, codec: Codec) -> &mut Encoder {
        let known = self.voice.take().filter(|voice| voice.codec() == codec);
        self.voice.insert(known.unwrap_or_else(|| Box::new(Encoder::new(codec))))
    }
}
