//! One RTP stream in each direction: what a received sequence means (RFC 3550 appendix A), and an
//! outgoing one that stays continuous whatever feeds it.

use crate::packet::{Header, Patch};

/// Microseconds on the engine's own clock, counted from its start.
pub type Micros = u64;

/// A jump forward of more than this is another stream or a guess (RFC 3550 appendix A.1).
const MAX_DROPOUT: u16 = 3_000;
/// A packet older than this is another stream or a guess.
const MAX_MISORDER: u16 = 100;
/// Packets in order that a new source must show.
const PROBATION: u8 = 3;
/// A source that sent within this time is not replaced by another.
const ACTIVE_US: Micros = 50_000;

/// What to do with a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Part of the stream.
    Accept,
    /// Part of a stream that has just replaced another: timestamps start anew.
    Restart,
    /// The newest packet once more.
    Duplicate,
    /// Not part of the stream.
    Reject,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    ssrc: u32,
    next: u16,
    seen: u8,
}

/// Steps of a stream's RTP clock in a millisecond.
#[derive(Debug, Clone, Copy)]
struct Khz(u32);

impl Default for Khz {
    fn default() -> Self {
        Self(8)
    }
}

/// A received stream.
#[derive(Debug, Clone, Default)]
pub struct Receiver {
    started: bool,
    ssrc: u32,
    max_seq: u16,
    cycles: u32,
    base_seq: u32,
    /// Of streams before the present one.
    expected_before: u64,
    received: u64,
    received_here: u64,
    expected_prior: u64,
    received_prior: u64,
    transit: i64,
    khz: Khz,
    /// Sixteen times the jitter in samples.
    jitter_q4: i64,
    last_at: Micros,
    candidate: Option<Candidate>,
}

impl Receiver {
    /// The stream's RTP clock runs so many steps a millisecond (8 until it is told).
    pub fn set_khz(&mut self, khz: u32) {
        self.khz = Khz(khz.max(1));
    }

    /// Judges and counts a packet; `now` is its arrival.
    pub fn receive(&mut self, ssrc: u32, sequence: u16, timestamp: u32, now: Micros) -> Verdict {
        let verdict = self.judge(ssrc, sequence, now);
        if matches!(verdict, Verdict::Accept | Verdict::Restart) {
            self.received += 1;
            self.received_here += 1;
            self.measure_jitter(timestamp, now, verdict == Verdict::Restart || self.received_here == 1);
            self.last_at = now;
        }
        verdict
    }

    fn judge(&mut self, ssrc: u32, sequence: u16, now: Micros) -> Verdict {
        if !self.started {
            self.restart(ssrc, sequence);
            return Verdict::Restart;
        }
        if ssrc == self.ssrc {
            let ahead = sequence.wrapping_sub(self.max_seq);
            if ahead == 0 {
                return Verdict::Duplicate;
            }
            if ahead < MAX_DROPOUT {
                if sequence < self.max_seq {
                    self.cycles = self.cycles.wrapping_add(1 << 16);
                }
                self.max_seq = sequence;
                self.candidate = None;
                return Verdict::Accept;
            }
            if self.max_seq.wrapping_sub(sequence) <= MAX_MISORDER {
                return Verdict::Accept;
            }
        }
        self.consider(ssrc, sequence, now)
    }

    /// Another source, or a jump within the same: believed after some packets in order, and only
    /// while the present source is not heard.
    fn consider(&mut self, ssrc: u32, sequence: u16, now: Micros) -> Verdict {
        let seen = match self.candidate {
            Some(candidate) if candidate.ssrc == ssrc && candidate.next == sequence => candidate.seen.saturating_add(1),
            _ => 1,
        };
        self.candidate = Some(Candidate { ssrc, next: sequence.wrapping_add(1), seen });
        if seen < PROBATION || now.saturating_sub(self.last_at) < ACTIVE_US {
            return Verdict::Reject;
        }
        self.restart(ssrc, sequence);
        Verdict::Restart
    }

    fn restart(&mut self, ssrc: u32, sequence: u16) {
        self.expected_before = self.expected();
        self.started = true;
        self.ssrc = ssrc;
        self.max_seq = sequence;
        self.cycles = 0;
        self.base_seq = u32::from(sequence);
        self.received_here = 0;
        self.candidate = None;
    }

    /// RFC 3550 appendix A.8.
    fn measure_jitter(&mut self, timestamp: u32, now: Micros, first: bool) {
        let arrival = (now * u64::from(self.khz.0) / 1_000) as u32;
        let transit = i64::from(arrival.wrapping_sub(timestamp) as i32);
        let difference = (transit - self.transit).abs();
        self.transit = transit;
        // A stop of the sender's clock (a menu that fell silent) is no jitter.
        if !first && difference < 1_000 * i64::from(self.khz.0) {
            self.jitter_q4 += difference - ((self.jitter_q4 + 8) >> 4);
        }
    }

    /// The next packet from anywhere starts the stream anew (a new offer).
    pub fn forget_source(&mut self) {
        if self.started {
            self.expected_before = self.expected();
            self.started = false;
            self.received_here = 0;
        }
    }

    /// The highest sequence number with its cycles (RFC 3550 §6.4.1).
    pub fn extended_max(&self) -> u32 {
        self.cycles.wrapping_add(u32::from(self.max_seq))
    }

    fn expected(&self) -> u64 {
        let here = if self.started { u64::from(self.extended_max().wrapping_sub(self.base_seq)) + 1 } else { 0 };
        self.expected_before + here
    }

    /// Packets counted.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets missing so far (RFC 3550 appendix A.3); never negative here.
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    /// Interarrival jitter, steps of the RTP clock.
    pub fn jitter(&self) -> u32 {
        (self.jitter_q4 >> 4).max(0) as u32
    }

    /// Interarrival jitter, milliseconds.
    pub fn jitter_ms(&self) -> f32 {
        self.jitter_q4.max(0) as f32 / 16.0 / self.khz.0 as f32
    }

    /// The present source, once a packet has come.
    pub fn ssrc(&self) -> Option<u32> {
        self.started.then_some(self.ssrc)
    }

    /// The arrival of the newest accepted packet.
    pub fn last_at(&self) -> Micros {
        self.last_at
    }

    /// The fraction lost since the last call, in 1/256 (RFC 3550 appendix A.3).
    pub fn take_fraction_lost(&mut self) -> u8 {
        let (expected, received) = (self.expected(), self.received);
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let received_interval = received.saturating_sub(self.received_prior);
        self.expected_prior = expected;
        self.received_prior = received;
        if expected_interval == 0 || expected_interval <= received_interval {
            return 0;
        }
        (((expected_interval - received_interval) << 8) / expected_interval).min(255) as u8
    }
}

#[derive(Debug, Clone, Copy)]
struct RelayMap {
    ssrc: u32,
    sequence_offset: u16,
    timestamp_offset: u32,
    first: u16,
}

/// An outgoing stream: one source, one sequence, one clock, from the first packet to the last.
#[derive(Debug, Clone)]
pub struct Sender {
    ssrc: u32,
    sequence: u16,
    /// The timestamp that belongs to `clock_at`.
    clock: u32,
    clock_at: Micros,
    started: bool,
    khz: Khz,
    map: Option<RelayMap>,
    /// The last packet was made here: the next one made here follows it at once.
    local: bool,
    packets: u32,
    octets: u32,
}

impl Sender {
    /// A stream that will start with these random numbers.
    pub fn new(ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        Self {
            ssrc,
            sequence,
            clock: timestamp,
            clock_at: 0,
            started: false,
            khz: Khz::default(),
            map: None,
            local: false,
            packets: 0,
            octets: 0,
        }
    }

    /// The RTP clock runs so many steps a millisecond from now on (8 until it is told).
    pub fn set_khz(&mut self, khz: u32) {
        self.khz = Khz(khz.max(1));
    }

    /// The clock's value at `now`, at least one frame after the last packet.
    fn resumed_clock(&self, now: Micros) -> u32 {
        if !self.started {
            return self.clock;
        }
        let khz = u64::from(self.khz.0);
        let elapsed = now.saturating_sub(self.clock_at) * khz / 1_000;
        self.clock.wrapping_add(elapsed.clamp(20 * khz, u64::from(u32::MAX / 4)) as u32)
    }

    /// The header of the next packet made here: `samples` is what the clock moves on by after the
    /// last one. `event` packets (RFC 4733) keep the clock where it is.
    pub fn next_local(&mut self, payload_type: u8, samples: u32, now: Micros) -> Patch {
        let resumed = !self.local || !self.started;
        self.clock = if resumed { self.resumed_clock(now) } else { self.clock.wrapping_add(samples) };
        self.clock_at = now;
        self.started = true;
        self.local = true;
        self.map = None;
        self.sequence = self.sequence.wrapping_add(1);
        Patch { payload_type, marker: resumed, sequence: self.sequence, timestamp: self.clock, ssrc: self.ssrc }
    }

    /// The header of the next telephone-event packet made here, for an event that started at
    /// `timestamp` (see [`Sender::event_start`]).
    pub fn next_event(&mut self, payload_type: u8, timestamp: u32, marker: bool) -> Patch {
        self.sequence = self.sequence.wrapping_add(1);
        self.map = None;
        Patch { payload_type, marker, sequence: self.sequence, timestamp, ssrc: self.ssrc }
    }

    /// The timestamp of an event that starts now.
    pub fn event_start(&mut self, now: Micros) -> u32 {
        self.clock = self.resumed_clock(now);
        self.clock_at = now;
        self.started = true;
        self.local = false;
        self.map = None;
        self.clock
    }

    /// What a relayed packet's header becomes; `None` for a late packet from before the relay
    /// began. `event`: a telephone-event, whose timestamp is not the clock of the audio.
    pub fn next_relayed(&mut self, header: &Header, payload_type: u8, event: bool, now: Micros) -> Option<Patch> {
        let &Header { ssrc, sequence, timestamp, marker, .. } = header;
        let map = match self.map {
            Some(map)
                if map.ssrc == ssrc
                    && sequence.wrapping_add(map.sequence_offset).wrapping_sub(self.sequence) < MAX_DROPOUT =>
            {
                map
            }
            // Out of order: still the same stream unless it is from before its start.
            Some(map)
                if map.ssrc == ssrc
                    && self.sequence.wrapping_sub(sequence.wrapping_add(map.sequence_offset)) <= MAX_MISORDER =>
            {
                if sequence.wrapping_sub(map.first) >= 0x8000 {
                    return None;
                }
                let sequence = sequence.wrapping_add(map.sequence_offset);
                let timestamp = timestamp.wrapping_add(map.timestamp_offset);
                return Some(Patch { payload_type, marker, sequence, timestamp, ssrc: self.ssrc });
            }
            _ => {
                let clock = self.resumed_clock(now);
                let map = RelayMap {
                    ssrc,
                    sequence_offset: self.sequence.wrapping_add(1).wrapping_sub(sequence),
                    timestamp_offset: clock.wrapping_sub(timestamp),
                    first: sequence,
                };
                self.map = Some(map);
                self.sequence = sequence.wrapping_add(map.sequence_offset);
                self.clock = clock;
                self.clock_at = now;
                self.started = true;
                self.local = false;
                return Some(Patch {
                    payload_type,
                    marker: true,
                    sequence: self.sequence,
                    timestamp: clock,
                    ssrc: self.ssrc,
                });
            }
        };
        self.sequence = sequence.wrapping_add(map.sequence_offset);
        let timestamp = timestamp.wrapping_add(map.timestamp_offset);
        if !event {
            self.clock = timestamp;
            self.clock_at = now;
        }
        Some(Patch { payload_type, marker, sequence: self.sequence, timestamp, ssrc: self.ssrc })
    }

    /// A packet of the relayed stream is not passed on: the next one follows without a hole.
    pub fn skip_relayed(&mut self, ssrc: u32) {
        if let Some(map) = self.map.as_mut().filter(|map| map.ssrc == ssrc) {
            map.sequence_offset = map.sequence_offset.wrapping_sub(1);
        }
    }

    /// What was sent restarts its relation to the source at the next relayed packet.
    pub fn forget_relay(&mut self) {
        self.map = None;
        self.local = false;
    }

    /// Counts a packet that left.
    pub fn sent(&mut self, payload_bytes: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload_bytes as u32);
    }

    /// This stream's source.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Packets sent.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Payload bytes sent.
    pub fn octets(&self) -> u32 {
        self.octets
    }

    /// The RTP timestamp that belongs to `now`, for a sender report.
    pub fn timestamp_at(&self, now: Micros) -> u32 {
        self.clock.wrapping_add((now.saturating_sub(self.clock_at) * u64::from(self.khz.0) / 1_000) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Micros = 20_000;

    fn from(ssrc: u32, sequence: u16, timestamp: u32, marker: bool) -> Header {
        Header { payload_type: 0, marker, sequence, timestamp, ssrc, payload_start: 12, payload_end: 172 }
    }

    fn feed(receiver: &mut Receiver, sequences: impl IntoIterator<Item = u16>) -> Vec<Verdict> {
        let mut now = receiver.last_at();
        sequences
            .into_iter()
            .map(|sequence| {
                now += FRAME;
                receiver.receive(1, sequence, u32::from(sequence) * 160, now)
            })
            .collect()
    }

    #[test]
    fn counts_across_the_wrap_and_notices_loss() {
        let mut receiver = Receiver::default();
        feed(&mut receiver, (65_530..=65_535).chain([1, 2, 4]));
        assert_eq!(receiver.received(), 9);
        assert_eq!(receiver.lost(), 2);
        assert_eq!(receiver.extended_max(), (1 << 16) + 4);
        // 2 of 11 since the start, then nothing lost.
        assert_eq!(receiver.take_fraction_lost(), 46);
        feed(&mut receiver, [5, 6]);
        assert_eq!(receiver.take_fraction_lost(), 0);
    }

    #[test]
    fn reordering_is_accepted_and_a_repeat_noticed() {
        let mut receiver = Receiver::default();
        let verdicts = feed(&mut receiver, [10, 12, 11, 12, 13]);
        assert_eq!(verdicts, [Verdict::Restart, Verdict::Accept, Verdict::Accept, Verdict::Duplicate, Verdict::Accept]);
        assert_eq!(receiver.lost(), 0);
    }

    #[test]
    fn an_injected_source_is_refused_while_the_real_one_speaks() {
        let mut receiver = Receiver::default();
        let mut now = 0;
        for index in 0..50u16 {
            now += FRAME;
            assert_ne!(receiver.receive(1, index, u32::from(index) * 160, now), Verdict::Reject);
            assert_eq!(receiver.receive(2, 500 + index, 0, now + 1_000), Verdict::Reject);
            assert_eq!(receiver.receive(1, 40_000 + index * 7, 0, now + 2_000), Verdict::Reject);
        }
        assert_eq!((receiver.received(), receiver.lost(), receiver.ssrc()), (50, 0, Some(1)));
    }

    #[test]
    fn a_new_source_takes_over_when_the_old_one_is_gone() {
        let mut receiver = Receiver::default();
        feed(&mut receiver, 0..10);
        let mut now = receiver.last_at();
        let verdicts: Vec<_> = (7_000..7_005u16)
            .map(|sequence| {
                now += FRAME;
                receiver.receive(9, sequence, 5, now)
            })
            .collect();
        assert_eq!(verdicts, [Verdict::Reject, Verdict::Reject, Verdict::Restart, Verdict::Accept, Verdict::Accept]);
        assert_eq!((receiver.received(), receiver.lost()), (13, 0));
        receiver.forget_source();
        assert_eq!(receiver.receive(77, 1, 0, now + 1), Verdict::Restart);
        assert_eq!((receiver.received(), receiver.lost()), (14, 0));
    }

    #[test]
    fn jitter_of_a_steady_stream_is_nothing_and_of_a_shaken_one_its_shake() {
        let mut receiver = Receiver::default();
        feed(&mut receiver, 0..200);
        assert_eq!(receiver.jitter(), 0);
        for index in 200..600u16 {
            let shake = if index % 2 == 0 { 5_000 } else { 0 };
            receiver.receive(1, index, u32::from(index) * 160, Micros::from(index) * FRAME + FRAME + shake);
        }
        // 5 ms are 40 samples.
        assert!((38..=41).contains(&receiver.jitter()), "{}", receiver.jitter());
        assert!((4.7..5.2).contains(&receiver.jitter_ms()));
    }

    #[test]
    fn one_stream_through_prompt_relay_and_prompt() {
        let mut sender = Sender::new(7, 100, 1_000);
        let first = sender.next_local(0, 160, 0);
        assert_eq!((first.sequence, first.timestamp, first.marker), (101, 1_000, true));
        let second = sender.next_local(0, 160, FRAME);
        assert_eq!((second.sequence, second.timestamp, second.marker), (102, 1_160, false));
        // 60 ms later a peer's stream takes over.
        let relayed = sender.next_relayed(&from(55, 65_535, 4_000_000_000, false), 0, false, FRAME * 4).unwrap();
        assert_eq!((relayed.sequence, relayed.timestamp, relayed.marker, relayed.ssrc), (103, 1_160 + 480, true, 7));
        // Its loss stays visible.
        let after_loss = sender.next_relayed(&from(55, 1, 4_000_000_320, false), 0, false, FRAME * 6).unwrap();
        assert_eq!((after_loss.sequence, after_loss.timestamp, after_loss.marker), (105, 1_160 + 800, false));
        // The late packet fits in between; one from before the relay does not.
        let late = sender.next_relayed(&from(55, 0, 4_000_000_160, false), 0, false, FRAME * 6).unwrap();
        assert_eq!((late.sequence, late.timestamp), (104, 1_160 + 640));
        assert_eq!(sender.next_relayed(&from(55, 65_534, 3_999_999_840, false), 0, false, FRAME * 6), None);
        // Back to a prompt, at once: still at least a frame on.
        let prompt = sender.next_local(0, 160, FRAME * 6);
        assert_eq!((prompt.sequence, prompt.timestamp, prompt.marker), (106, 1_160 + 960, true));
    }

    #[test]
    fn a_packet_that_is_kept_back_leaves_no_hole() {
        let mut sender = Sender::new(7, 100, 0);
        let sequence = |patch: Option<Patch>| patch.map(|patch| patch.sequence);
        let first = sender.next_relayed(&from(5, 10, 0, false), 0, false, 0);
        sender.skip_relayed(5);
        sender.skip_relayed(99);
        let second = sender.next_relayed(&from(5, 12, 320, false), 0, false, 2 * FRAME);
        assert_eq!((sequence(first), sequence(second)), (Some(101), Some(102)));
    }

    #[test]
    fn events_do_not_move_the_clock_of_the_audio() {
        let mut sender = Sender::new(7, 0, 0);
        sender.next_relayed(&from(5, 10, 0, true), 0, false, 0);
        for index in 0..5u16 {
            let event = sender.next_relayed(&from(5, 11 + index, 160, index == 0), 101, true, FRAME).unwrap();
            assert_eq!((event.payload_type, event.timestamp, event.sequence), (101, 160, 2 + index));
        }
        let audio = sender.next_relayed(&from(5, 16, 960, false), 0, false, FRAME * 6).unwrap();
        assert_eq!((audio.timestamp, audio.sequence), (960, 7));
        let start = sender.event_start(FRAME * 7);
        assert_eq!(start, 1_120);
        assert_eq!(sender.next_event(101, start, true).timestamp, 1_120);
        assert_eq!(sender.next_local(0, 160, FRAME * 20).timestamp, 1_120 + 160 * 13);
    }
}
