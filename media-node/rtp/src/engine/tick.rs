//! The passing of time: every 5 ms a quarter of the playing legs sends its frame, recordings are
//! written, and a few legs are looked after.

use super::io::MediaSocket;
use super::shard::{Shard, Slot};
use crate::api::{Law, MediaEvent, MediaLegId};
use crate::dtmf::SendStep;
use crate::g711::FRAME_SAMPLES;
use crate::packet::HEADER_LEN;
use crate::rtcp::{self, MAX_REPORT_LEN};
use crate::stream::Micros;

/// Length of a tick, microseconds.
pub(super) const TICK_US: u32 = 5_000;
/// Ticks in a frame: legs are spread over so many groups.
const FRAME_TICKS: usize = 4;
/// Ticks between two writes of a recording: 400 ms, for which the aligner has room.
const FLUSH_TICKS: usize = 80;
/// Ticks between two looks at a leg: 100 ms.
const CARE_TICKS: usize = 20;

/// Who has its turn at which tick.
#[derive(Debug)]
pub(super) struct Wheel {
    tick: usize,
    playing: [Vec<(Slot, MediaLegId)>; FRAME_TICKS],
    listening: [Vec<(Slot, MediaLegId)>; FRAME_TICKS],
    mixes: [Vec<u32>; FRAME_TICKS],
    recordings: [Vec<(u32, u64)>; FLUSH_TICKS],
    next_flush: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            tick: 0,
            playing: Default::default(),
            listening: Default::default(),
            mixes: Default::default(),
            recordings: std::array::from_fn(|_| Vec::new()),
            next_flush: 0,
        }
    }
}

impl Wheel {
    /// A recording is written from now on; recordings are spread over the ticks, but several share
    /// one, so that the writer is woken for them once.
    pub fn add_recording(&mut self, index: u32, id: u64) {
        self.next_flush = (self.next_flush + FRAME_TICKS) % FLUSH_TICKS;
        if let Some(list) = self.recordings.get_mut(self.next_flush) {
            list.push((index, id));
        }
    }

    /// A mix is made from the next tick on.
    pub fn add_mix(&mut self, mix: u32) {
        if let Some(list) = self.mixes.get_mut((self.tick + 1) % FRAME_TICKS) {
            list.push(mix);
        }
    }
}

impl<S: MediaSocket> Shard<S> {
    /// The leg has something to send every 20 ms, from the next tick on.
    pub fn start_ticking(&mut self, slot: Slot) {
        let phase = (self.wheel.tick + 1) % FRAME_TICKS;
        let Some(leg) = self.leg(slot) else { return };
        if leg.ticking {
            return;
        }
        leg.ticking = true;
        let entry = (slot, leg.id);
        if let Some(list) = self.wheel.playing.get_mut(phase) {
            list.push(entry);
        }
    }

    /// The leg is listened to every 20 ms, from the next tick on.
    pub fn start_listening(&mut self, slot: Slot) {
        let phase = (self.wheel.tick + 1) % FRAME_TICKS;
        let Some(leg) = self.leg(slot).filter(|leg| !leg.listening) else { return };
        leg.listening = true;
        let entry = (slot, leg.id);
        if let Some(list) = self.wheel.listening.get_mut(phase) {
            list.push(entry);
        }
    }

    /// 5 ms have passed.
    pub fn tick(&mut self, now: Micros) {
        self.wheel.tick = self.wheel.tick.wrapping_add(1);
        let tick = self.wheel.tick;
        let phase = tick % FRAME_TICKS;
        let mut playing = std::mem::take(&mut self.wheel.playing[phase]);
        playing.retain(|(slot, id)| self.tick_leg(*slot, *id, now));
        self.wheel.playing[phase].append(&mut playing);
        let mut listening = std::mem::take(&mut self.wheel.listening[phase]);
        listening.retain(|(slot, id)| self.tick_listening(*slot, *id, now));
        self.wheel.listening[phase].append(&mut listening);
        let mut mixes = std::mem::take(&mut self.wheel.mixes[phase]);
        mixes.retain(|mix| self.tick_mix(*mix, now));
        self.wheel.mixes[phase].append(&mut mixes);
        let mut due = std::mem::take(&mut self.wheel.recordings[tick % FLUSH_TICKS]);
        due.retain(|(index, id)| self.is_recording(*index, *id) && self.flush_recording(*index, now, false));
        self.wheel.recordings[tick % FLUSH_TICKS].append(&mut due);
        for slot in ((tick % CARE_TICKS)..self.legs.len()).step_by(CARE_TICKS) {
            self.care(slot as Slot, now);
        }
    }

    /// Sends a leg's next frame; `false` when it has none any more.
    fn tick_leg(&mut self, slot: Slot, id: MediaLegId, now: Micros) -> bool {
        let Some(leg) = self.leg(slot).filter(|leg| leg.id == id) else {
            return false;
        };
        if let Some(digits) = &mut leg.digits_out {
            match digits.step() {
                Some(SendStep::Event { first, payload, copies }) => self.send_event(slot, first, payload, copies, now),
                Some(SendStep::Rest) => {}
                None => {
                    leg.digits_out = None;
                    return self.tick_leg(slot, id, now);
                }
            }
            return true;
        }
        let shaking = leg.is_shaking();
        let Some(play) = &mut leg.play else {
            leg.ticking = false;
            return false;
        };
        // Before the answer there is nobody to hear it: the sound waits.
        let Some(remote) = leg.remote.filter(|_| !shaking) else {
            return true;
        };
        let mut frame = [0; FRAME_SAMPLES];
        let law = remote.format.codec.law();
        if play.fill(&mut frame, law.unwrap_or(Law::Mu)) {
            match law {
                Some(_) => self.send_payload(slot, &frame, now),
                None => self.send_prompt(slot, &frame, now),
            }
            return true;
        }
        let token = play.token;
        leg.play = None;
        leg.sender.forget_relay();
        leg.ticking = false;
        let sink = leg.sink;
        if let Some(token) = token {
            self.tell(sink, MediaEvent::PlayEnded { leg: id, token });
        }
        false
    }

    pub fn count_sent(&mut self, taken: bool) {
        if taken {
            self.counters.sent += 1;
        } else {
            self.counters.send_failures += 1;
        }
    }

    fn send_event(&mut self, slot: Slot, first: bool, payload: [u8; 4], copies: u8, now: Micros) {
        let mut packet = [0; HEADER_LEN + 4];
        packet[0] = 0x80;
        let khz = self.leg(slot).and_then(|leg| leg.remote).map_or(8, |remote| u16::from(remote.dtmf_khz));
        let [event, flags, high, low] = payload;
        let [high, low] = (u16::from_be_bytes([high, low]) / 8).saturating_mul(khz).to_be_bytes();
        packet[HEADER_LEN..].copy_from_slice(&[event, flags, high, low]);
        if first && let Some(leg) = self.leg(slot) {
            leg.digits_out_at = leg.sender.event_start(now);
        }
        for _ in 0..copies {
            let Some(leg) = self.leg(slot) else { return };
            let (Some(payload_type), Ok(destination)) =
                (leg.remote.and_then(|remote| remote.dtmf_pt), leg.destination())
            else {
                return;
            };
            leg.sender.next_event(payload_type, leg.digits_out_at, first).apply(&mut packet);
            leg.sender.sent(4);
            let taken = leg.send_rtp(destination, &packet);
            self.count_sent(taken);
        }
    }

    /// Every 100 ms: lost ends of digits, silence, statistics and RTCP.
    fn care(&mut self, slot: Slot, now: Micros) {
        let (silence_ms, interval) = (self.config.silence_ms, self.config.stats_interval_us);
        let wall = self.config.wall_start_us + now;
        if self.leg(slot).is_some_and(|leg| leg.is_web()) {
            self.care_web(slot, now);
        }
        let Some(leg) = self.leg(slot) else { return };
        let (id, sink) = (leg.id, leg.sink);
        let press = leg.events.timeout(now);
        let quiet = leg.watch_quiet(None, now);
        let silent_ms = leg.silent_ms(now);
        let silent = silence_ms > 0 && silent_ms >= silence_ms && !leg.silent_told;
        leg.silent_told |= silent;
        let mut stats = None;
        if now >= leg.next_stats {
            leg.next_stats = now + interval;
            stats = Some(leg.stats());
            let mut buffer = [0; MAX_REPORT_LEN];
            if let Some((length, to)) = leg.report(&mut buffer, now, rtcp::ntp(wall)) {
                leg.send_rtcp(to, &buffer, length);
            }
        }
        self.report(slot, press);
        if let Some(for_ms) = quiet {
            self.tell(sink, MediaEvent::Quiet { leg: id, for_ms });
        }
        if silent {
            self.tell(sink, MediaEvent::Silent { leg: id, for_ms: silent_ms });
        }
        if let Some(stats) = stats {
            self.tell(sink, MediaEvent::Stats { leg: id, stats, last: false });
        }
    }
}
