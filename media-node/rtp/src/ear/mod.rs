//! What is heard of one stream: an adaptive jitter buffer, its codec's decoder, and concealment of
//! what is missing. Used only where audio is decoded; what is relayed never comes here.
//!
//! Packets go in as they arrive, frames of 20 ms come out as they are asked for. Playing starts
//! when a packet and a *margin* are there; the margin follows the observed jitter (RFC 3550
//! §6.4.1) and, at once, every packet that came too late. Where packets stop, playing stands still
//! behind made-up voice, so that late ones are still heard; where more waits than the margin asks
//! for, whole periods of the voice are taken out.

mod conceal;
mod noise;

use std::collections::VecDeque;

use crate::codec::{Codec, Decoder, FRAME_MS, MAX_PACKET_MS, Rate};
use crate::stream::Micros;
use conceal::{Concealer, GONE_MS, shorten};
use noise::Noise;

/// Most packets waiting; the oldest is dropped above it.
const MAX_PACKETS: usize = 64;
/// More than this waiting, milliseconds, is thrown away down to the margin.
const MAX_WAITING_MS: usize = 400;
/// Bounds of the margin, milliseconds.
const MIN_MARGIN_MS: f32 = 5.0;
const MAX_MARGIN_MS: f32 = 180.0;
/// The margin in units of the observed jitter.
const MARGIN_JITTERS: f32 = 3.0;
/// Assumed before anything is observed, milliseconds.
const FIRST_JITTER_MS: f32 = 4.0;
/// What a packet that came too late asks for is forgotten by this share with each packet.
const FORGET: f32 = 1.0 / 512.0;
/// Frames between two looks at whether too much waits: a second.
const LOOK_FRAMES: u32 = 50;
/// So much more than needed, milliseconds, is too much: the longest period that is taken out.
const TOO_MUCH_MS: usize = 15;
/// A step of the sender's clock above this, milliseconds, is a pause and no jitter.
const PAUSE_MS: f32 = 1_000.0;
/// A hole of more packets is a jump: it is not filled.
const MAX_HOLE: i64 = 25;

/// What a frame is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// Nothing has come yet, or nothing for long.
    Nothing,
    /// The hiss of a peer that said it is silent.
    ComfortNoise,
    /// Partly or wholly made up.
    Concealed,
    /// All of it came.
    Voice,
}

/// Counted since the stream began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EarStats {
    /// Packets decoded.
    pub decoded: u64,
    /// Packets that never came in time and were made up or recovered.
    pub missing: u64,
    /// Packets that came after their turn.
    pub late: u64,
    /// Packets thrown away because too many waited.
    pub dropped: u64,
    /// Milliseconds of made-up voice.
    pub concealed_ms: u64,
    /// Milliseconds taken out to catch up.
    pub shortened_ms: u64,
}

#[derive(Debug)]
struct Packet {
    sequence: i64,
    timestamp: u32,
    comfort_noise: bool,
    payload: Vec<u8>,
}

/// The receiving end of one stream.
#[derive(Debug)]
pub struct Ear {
    codec: Codec,
    rate: Rate,
    decoder: Decoder,
    packets: VecDeque<Packet>,
    /// Payload buffers to be used again.
    spare: Vec<Vec<u8>>,
    /// Decoded and not yet played.
    waiting: Vec<i16>,
    /// How much of `waiting`, from its end, came from packets (the rest was made up).
    made_up: usize,
    concealer: Concealer,
    noise: Option<Noise>,
    highest: Option<i64>,
    expected: Option<i64>,
    /// Playing has begun and not run dry for long.
    playing: bool,
    /// Samples played while nothing was there, since the last packet.
    stalled: usize,
    packet_ms: usize,
    /// The timestamp of the first sample after `waiting`, in steps of the RTP clock.
    clock: u32,
    arrival: Option<(Micros, u32)>,
    jitter_ms: f32,
    late_ms: f32,
    least_ms: usize,
    looked: u32,
    excess_ms: usize,
    stats: EarStats,
}

impl Ear {
    /// Listens to a stream in this codec; its frames come at `rate`.
    pub fn new(codec: Codec, rate: Rate) -> Self {
        Self {
            codec,
            rate,
            decoder: Decoder::new(codec, rate),
            packets: VecDeque::new(),
            spare: Vec::new(),
            waiting: Vec::new(),
            made_up: 0,
            concealer: Concealer::new(rate),
            noise: None,
            highest: None,
            expected: None,
            playing: false,
            stalled: 0,
            packet_ms: FRAME_MS,
            clock: 0,
            arrival: None,
            jitter_ms: FIRST_JITTER_MS,
            late_ms: 0.0,
            least_ms: usize::MAX,
            looked: 0,
            excess_ms: 0,
            stats: EarStats::default(),
        }
    }

    /// What it was made for.
    pub fn listens_to(&self) -> (Codec, Rate) {
        (self.codec, self.rate)
    }

    /// Counters.
    pub fn stats(&self) -> EarStats {
        self.stats
    }

    /// How long a packet waits beyond its own length, milliseconds.
    pub fn margin_ms(&self) -> usize {
        (MARGIN_JITTERS * self.jitter_ms).max(self.late_ms).clamp(MIN_MARGIN_MS, MAX_MARGIN_MS) as usize
    }

    /// What waits to be played, milliseconds.
    pub fn waiting_ms(&self) -> usize {
        self.waiting.len() / self.rate.khz() + self.packets.len() * self.packet_ms
    }

    /// Another stream follows: what was heard of this one is played to its end.
    pub fn restart(&mut self) {
        while let Some(packet) = self.packets.pop_front() {
            self.recycle(packet);
        }
        (self.highest, self.expected, self.arrival) = (None, None, None);
        self.playing = false;
    }

    fn recycle(&mut self, packet: Packet) {
        if self.spare.len() < 8 {
            self.spare.push(packet.payload);
        }
    }

    /// Takes a packet that arrived at `now`.
    pub fn take(&mut self, sequence: u16, timestamp: u32, payload: &[u8], now: Micros) {
        self.measure(timestamp, now);
        self.put(sequence, timestamp, payload, false);
    }

    /// Takes a comfort noise packet (RFC 3389).
    pub fn take_comfort_noise(&mut self, sequence: u16, timestamp: u32, payload: &[u8]) {
        self.put(sequence, timestamp, payload, true);
    }

    fn put(&mut self, sequence: u16, timestamp: u32, payload: &[u8], comfort_noise: bool) {
        let sequence = match self.highest {
            Some(highest) => highest + i64::from(sequence.wrapping_sub(highest as u16) as i16),
            None => i64::from(sequence),
        };
        self.highest = Some(self.highest.map_or(sequence, |highest| highest.max(sequence)));
        if self.expected.is_some_and(|expected| sequence < expected) {
            self.stats.late += 1;
            return;
        }
        let place = self.packets.iter().rposition(|packet| packet.sequence <= sequence).map_or(0, |place| place + 1);
        if place > 0 && self.packets.get(place - 1).is_some_and(|packet| packet.sequence == sequence) {
            return;
        }
        if self.playing && self.stalled > 0 && self.noise.is_none() && place == 0 {
            // It came while its place was being made up: next time it shall find us waiting.
            let needed = self.margin_ms() + self.stalled / self.rate.khz();
            self.late_ms = (needed as f32).min(MAX_MARGIN_MS);
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(payload);
        self.packets.insert(place, Packet { sequence, timestamp, comfort_noise, payload: bytes });
        if self.packets.len() > MAX_PACKETS || self.waiting_ms() > MAX_WAITING_MS + 2 * self.packet_ms {
            self.throw_away();
        }
    }

    /// Down to what is needed, oldest first.
    fn throw_away(&mut self) {
        let keep = self.margin_ms() + self.packet_ms.max(FRAME_MS);
        while self.packets.len() > 1 && self.waiting_ms() > keep {
            let Some(packet) = self.packets.pop_front() else { return };
            self.expected = Some(packet.sequence + 1);
            self.stats.dropped += 1;
            self.recycle(packet);
        }
    }

    /// RFC 3550 appendix A.8, in milliseconds.
    fn measure(&mut self, timestamp: u32, now: Micros) {
        if let Some((before, stamp)) = self.arrival {
            let sent_ms = timestamp.wrapping_sub(stamp) as i32 as f32 / self.codec.clock_khz() as f32;
            let came_ms = now.saturating_sub(before) as f32 / 1_000.0;
            let difference = (came_ms - sent_ms).abs();
            if difference < PAUSE_MS {
                self.jitter_ms += (difference.min(MAX_MARGIN_MS) - self.jitter_ms) / 16.0;
            }
        }
        self.arrival = Some((now, timestamp));
        self.late_ms -= self.late_ms * FORGET;
    }

    /// The next frame's timestamp, on the stream's RTP clock.
    pub fn timestamp(&self) -> u32 {
        let waiting = (self.waiting.len() / self.rate.khz()) as u32 * self.codec.clock_khz();
        self.clock.wrapping_sub(waiting)
    }

    /// Fills a frame: 20 ms at this ear's rate.
    pub fn hear(&mut self, frame: &mut [i16]) -> Heard {
        let wanted = self.rate.frame().min(frame.len());
        if !self.playing {
            let enough = self.margin_ms() + self.packet_ms.max(FRAME_MS);
            if self.waiting_ms() < enough {
                return self.idle(frame);
            }
            self.playing = true;
            self.stalled = 0;
            (self.least_ms, self.looked) = (usize::MAX, 0);
        }
        self.look();
        let mut heard = Heard::Voice;
        while self.waiting.len() < wanted {
            match self.decode_next() {
                Some(step) => heard = heard.min(step),
                None => break,
            }
        }
        if self.waiting.len() < wanted {
            return self.stall(frame);
        }
        self.stalled = 0;
        self.catch_up(wanted);
        if self.made_up > 0 {
            self.made_up = self.made_up.saturating_sub(wanted);
            heard = heard.min(Heard::Concealed);
        }
        for (sample, waiting) in frame.iter_mut().zip(self.waiting.drain(..wanted)) {
            *sample = waiting;
        }
        if heard == Heard::Voice && self.noise.is_some() { Heard::ComfortNoise } else { heard }
    }

    /// Nothing is being played.
    fn idle(&mut self, frame: &mut [i16]) -> Heard {
        match &mut self.noise {
            Some(noise) => {
                noise.fill(frame);
                Heard::ComfortNoise
            }
            None => {
                frame.fill(0);
                Heard::Nothing
            }
        }
    }

    /// Nothing more is there just now: what waits is played, the rest made up.
    fn stall(&mut self, frame: &mut [i16]) -> Heard {
        let there = self.waiting.len().min(frame.len());
        let (front, rest) = frame.split_at_mut(there);
        for (sample, waiting) in front.iter_mut().zip(self.waiting.drain(..)) {
            *sample = waiting;
        }
        self.made_up = 0;
        self.stalled += rest.len();
        let stalled_ms = self.stalled / self.rate.khz();
        if let Some(noise) = &mut self.noise {
            noise.fill(rest);
            self.playing = false;
            return Heard::ComfortNoise;
        }
        let mut own = Vec::new();
        if stalled_ms <= GONE_MS && self.decoder.recover(None, rest.len(), &mut own) {
            for (sample, made_up) in rest.iter_mut().zip(&own) {
                *sample = *made_up;
            }
            self.concealer.remember(rest);
        } else {
            self.concealer.conceal(rest);
        }
        self.stats.concealed_ms += (rest.len() / self.rate.khz()) as u64;
        if stalled_ms > GONE_MS + FRAME_MS {
            self.playing = false;
        }
        Heard::Concealed
    }

    /// Decodes the next packet or fills the hole in its place; `None`: there is none.
    fn decode_next(&mut self) -> Option<Heard> {
        let front = self.packets.front()?;
        let hole = front.sequence - *self.expected.get_or_insert(front.sequence);
        let hole_ms = usize::try_from(hole).unwrap_or(0) * self.packet_ms;
        // What was made up while nothing was there has filled (part of) the hole.
        let filled_ms = self.stalled / self.rate.khz();
        if hole > 0 && hole <= MAX_HOLE && hole_ms > filled_ms && self.noise.is_none() {
            self.fill_hole(hole == 1);
            return Some(Heard::Concealed);
        }
        if hole > 0 {
            self.stats.missing += hole.unsigned_abs();
        }
        let packet = self.packets.pop_front()?;
        self.expected = Some(packet.sequence + 1);
        self.stalled = 0;
        let before = self.waiting.len();
        if packet.comfort_noise {
            self.noise = Noise::read(&packet.payload);
            let mut frame = [0; Rate::Wide.frame()];
            let length = self.rate.frame();
            if let (Some(noise), Some(frame)) = (&mut self.noise, frame.get_mut(..length)) {
                noise.fill(frame);
                self.waiting.extend_from_slice(frame);
            }
        } else {
            self.noise = None;
            if self.decoder.decode(&packet.payload, &mut self.waiting) {
                let new = self.waiting.get_mut(before..).unwrap_or_default();
                self.packet_ms = (new.len() / self.rate.khz()).clamp(1, MAX_PACKET_MS);
                self.concealer.heard(new);
                self.stats.decoded += 1;
            }
        }
        let added = ((self.waiting.len() - before) / self.rate.khz()) as u32;
        self.clock = packet.timestamp.wrapping_add(added * self.codec.clock_khz());
        self.recycle(packet);
        Some(Heard::Voice)
    }

    /// A packet is missing and later ones are there.
    fn fill_hole(&mut self, next_knows: bool) {
        let samples = self.packet_ms * self.rate.khz();
        let before = self.waiting.len();
        let next = self.packets.front().filter(|packet| next_knows && !packet.comfort_noise);
        if self.decoder.recover(next.map(|packet| packet.payload.as_slice()), samples, &mut self.waiting) {
            let made_up = self.waiting.get(before..).unwrap_or_default();
            self.concealer.remember(made_up);
        } else {
            self.waiting.resize(before + samples, 0);
            self.concealer.conceal(self.waiting.get_mut(before..).unwrap_or_default());
        }
        let made_up = self.waiting.len() - before;
        self.made_up = self.waiting.len();
        self.clock = self.clock.wrapping_add((made_up / self.rate.khz()) as u32 * self.codec.clock_khz());
        self.expected = self.expected.map(|expected| expected + 1);
        self.stats.missing += 1;
        self.stats.concealed_ms += (made_up / self.rate.khz()) as u64;
    }

    /// Follows how little was waiting over a second.
    fn look(&mut self) {
        self.least_ms = self.least_ms.min(self.waiting_ms());
        self.looked += 1;
        if self.looked >= LOOK_FRAMES {
            let needed = FRAME_MS + self.margin_ms();
            self.excess_ms = self.least_ms.saturating_sub(needed);
            if self.excess_ms < TOO_MUCH_MS {
                self.excess_ms = 0;
            }
            (self.least_ms, self.looked) = (usize::MAX, 0);
        }
    }

    /// Takes out a period where too much waits.
    fn catch_up(&mut self, wanted: usize) {
        if self.excess_ms == 0 {
            return;
        }
        // A period must be left over beside the frame.
        while self.waiting.len() < 2 * wanted && self.packets.front().is_some_and(|p| Some(p.sequence) == self.expected)
        {
            self.decode_next();
        }
        let taken = shorten(&mut self.waiting, self.rate, self.excess_ms > 100);
        if taken > 0 && self.waiting.len() < wanted {
            // Cannot be, as a period is shorter than a frame; nothing may be heard as a hole.
            self.waiting.resize(wanted, 0);
        }
        let taken_ms = taken / self.rate.khz();
        self.stats.shortened_ms += taken_ms as u64;
        self.excess_ms = self.excess_ms.saturating_sub(taken_ms);
        if self.excess_ms < TOO_MUCH_MS {
            self.excess_ms = 0;
        }
    }
}

#[cfg(test)]
mod tests;
