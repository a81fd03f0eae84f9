//! Puts the packets of a recording's channels on one clock: 20 ms frames, gaps filled with silence.

use crate::api::Law;
use crate::g711::{FRAME_SAMPLES, translate};
use crate::stream::Micros;

/// Samples kept for each channel: 800 ms, of which 400 lie between two writes.
const RING: u64 = 6_400;
/// How long a frame waits for late packets: 120 ms.
const LAG: u64 = 960;
/// A packet this far ahead of its arrival (100 ms) shows that the peer's clock has jumped.
const MAX_AHEAD: i64 = 800;
/// Packets too late in a row after which the peer's clock is taken anew.
const MAX_LATE: u8 = 3;
/// Masked stretches remembered; more within the lag are joined.
const MAX_MASKS: usize = 16;

const FRAME: u64 = FRAME_SAMPLES as u64;

/// Why a frame of a channel is (partly) silence that nobody sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameFlags(u8);

impl FrameFlags {
    /// Audio is missing from this channel's frame.
    pub fn missing(self, channel: usize) -> bool {
        self.0 & (1 << (channel & 1)) != 0
    }

    /// This channel's frame was masked.
    pub fn masked(self, channel: usize) -> bool {
        self.0 & (16 << (channel & 1)) != 0
    }

    /// The byte in a spool record.
    pub fn to_byte(self) -> u8 {
        self.0
    }

    /// From the byte in a spool record.
    pub fn from_byte(byte: u8) -> Self {
        Self(byte)
    }
}

#[derive(Debug)]
struct Channel {
    law: Law,
    ring: Box<[u8]>,
    filled: [u8; (RING / FRAME) as usize],
    /// A timestamp and the sample of the recording it belongs to.
    anchor: Option<(u32, u64)>,
    late: u8,
    /// Stretches of samples that must not be heard; the last may be open (`u64::MAX`).
    masks: Vec<(u64, u64)>,
}

impl Channel {
    fn new(law: Law) -> Self {
        Self {
            law,
            ring: vec![law.silence(); RING as usize].into_boxed_slice(),
            filled: [0; (RING / FRAME) as usize],
            anchor: None,
            late: 0,
            masks: Vec::new(),
        }
    }

    /// Where a packet belongs; `None` where it came too late.
    fn place(&mut self, timestamp: u32, length: u64, arrival: u64, cursor: u64) -> Option<u64> {
        let expected = arrival.saturating_sub(length);
        if let Some((anchor, at)) = self.anchor {
            let position = at as i64 + i64::from(timestamp.wrapping_sub(anchor) as i32);
            if position - (expected as i64) <= MAX_AHEAD {
                if position >= cursor as i64 {
                    self.late = 0;
                    self.anchor = Some((timestamp, position as u64));
                    return Some(position as u64);
                }
                self.late = self.late.saturating_add(1);
                if self.late < MAX_LATE {
                    return None;
                }
            }
        }
        self.late = 0;
        self.anchor = Some((timestamp, expected));
        Some(expected)
    }

    fn put(&mut self, position: u64, payload: &[u8], law: Law, cursor: u64) {
        let before = cursor.saturating_sub(position);
        let room = (cursor + RING).saturating_sub(position.max(cursor));
        let first = usize::try_from(before).unwrap_or(usize::MAX).min(payload.len());
        let Some(mut rest) = payload.get(first..) else { return };
        rest = rest.get(..rest.len().min(room as usize)).unwrap_or_default();
        let mut at = position + first as u64;
        // Frame by frame: a frame lies whole within the ring.
        while !rest.is_empty() {
            let slot = (at % RING) as usize;
            let length = (FRAME_SAMPLES - slot % FRAME_SAMPLES).min(rest.len());
            let (piece, more) = rest.split_at(length);
            let Some(place) = self.ring.get_mut(slot..slot + length) else { return };
            place.copy_from_slice(piece);
            if law != self.law {
                translate(place, law, self.law);
            }
            if let Some(filled) = self.filled.get_mut(slot / FRAME_SAMPLES) {
                *filled = filled.saturating_add(length as u8);
            }
            rest = more;
            at += length as u64;
        }
    }

    fn masked(&self, from: u64) -> bool {
        self.masks.iter().any(|(start, end)| *start < from + FRAME && *end > from)
    }

    /// Appends the frame that starts at `from`, forgets it, and says (how much came, masked).
    fn take(&mut self, from: u64, into: &mut Vec<u8>) -> (u8, bool) {
        let slot = (from % RING) as usize;
        let frame = &mut self.ring[slot..slot + FRAME_SAMPLES];
        let masked = self.masks.iter().any(|(start, end)| *start < from + FRAME && *end > from);
        if masked {
            frame.fill(self.law.silence());
        }
        into.extend_from_slice(frame);
        frame.fill(self.law.silence());
        let filled = std::mem::take(&mut self.filled[slot / FRAME_SAMPLES]);
        self.masks.retain(|(_, end)| *end > from + FRAME);
        (filled, masked)
    }
}

/// Lines up one or two channels and gives out finished frames.
///
/// A channel has one source to begin with, numbered like the channel; more may be added, which are
/// mixed with it.
#[derive(Debug)]
pub struct Aligner {
    channels: Vec<Channel>,
    /// Further sources and the channel each is mixed into; numbered from the number of channels on.
    added: Vec<(usize, Channel)>,
    started: Micros,
    /// The first sample not given out yet; a multiple of a frame.
    cursor: u64,
}

impl Aligner {
    /// A recording that starts now; each channel keeps its law to the end.
    pub fn new(laws: &[Law], now: Micros) -> Self {
        Self {
            channels: laws.iter().map(|law| Channel::new(*law)).collect(),
            added: Vec::new(),
            started: now,
            cursor: 0,
        }
    }

    /// Adds a source to a channel; its number. `None`: no such channel.
    pub fn add_source(&mut self, channel: usize) -> Option<usize> {
        let law = self.channels.get(channel)?.law;
        self.added.push((channel, Channel::new(law)));
        Some(self.channels.len() + self.added.len() - 1)
    }

    /// Sources in all, and the channel of each.
    pub fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.channels.len()).chain(self.added.iter().map(|(channel, _)| *channel))
    }

    fn source(&mut self, source: usize) -> Option<&mut Channel> {
        match source.checked_sub(self.channels.len()) {
            None => self.channels.get_mut(source),
            Some(added) => self.added.get_mut(added).map(|(_, channel)| channel),
        }
    }

    fn sample_at(&self, now: Micros) -> u64 {
        now.saturating_sub(self.started) * 8 / 1_000
    }

    /// Takes the payload of a packet that arrived at `now`.
    pub fn put(&mut self, source: usize, timestamp: u32, payload: &[u8], law: Law, now: Micros) {
        let (arrival, cursor) = (self.sample_at(now), self.cursor);
        let Some(channel) = self.source(source) else {
            return;
        };
        let position = channel.place(timestamp, payload.len() as u64, arrival, cursor);
        if let Some(position) = position {
            channel.put(position, payload, law, cursor);
        }
    }

    /// The peer's timestamps start anew.
    pub fn restart(&mut self, source: usize) {
        if let Some(channel) = self.source(source) {
            channel.anchor = None;
        }
    }

    /// From now on nothing (or something again) may be heard of this source.
    pub fn mask(&mut self, source: usize, on: bool, now: Micros) {
        let at = self.sample_at(now);
        let Some(channel) = self.source(source) else {
            return;
        };
        let full = channel.masks.len() >= MAX_MASKS;
        match channel.masks.last_mut() {
            Some((_, end)) if *end == u64::MAX && !on => *end = at,
            Some((_, end)) if *end == u64::MAX => {}
            Some((_, end)) if on && full => *end = u64::MAX,
            _ if on => channel.masks.push((at, u64::MAX)),
            _ => {}
        }
    }

    /// Whether nothing may be heard on this channel at present.
    pub fn is_masked(&self, channel: usize, now: Micros) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.masked(self.sample_at(now)))
    }

    /// The number of the next frame, counted from 0.
    pub fn next_frame(&self) -> u64 {
        self.cursor / FRAME
    }

    /// Appends the frames that no packet can change any more (all frames begun, with `all`) to
    /// `into`: a byte of flags, then 160 bytes a channel. Returns how many. A frame is at least
    /// 120 ms old then.
    pub fn take(&mut self, now: Micros, all: bool, most: usize, into: &mut Vec<u8>) -> usize {
        let now = self.sample_at(now);
        let until = if all { now.div_ceil(FRAME) * FRAME } else { now.saturating_sub(LAG) };
        let mut count = 0;
        while self.cursor + FRAME <= until && count < most {
            let at = into.len();
            into.push(0);
            let mut flags = 0;
            for (index, channel) in self.channels.iter_mut().enumerate() {
                let (mut filled, mut masked) = channel.take(self.cursor, into);
                for (_, added) in self.added.iter_mut().filter(|(of, _)| *of == index) {
                    let end = into.len();
                    let (more, hidden) = added.take(self.cursor, into);
                    if more > 0 && !hidden {
                        mix_last_frames(into, channel.law);
                    }
                    into.truncate(end);
                    filled = filled.max(more);
                    masked |= hidden;
                }
                let missing = usize::from(filled) < FRAME_SAMPLES;
                if masked {
                    flags |= 16 << (index & 1);
                } else if missing {
                    flags |= 1 << (index & 1);
                }
            }
            into[at] = flags;
            self.cursor += FRAME;
            count += 1;
        }
        count
    }
}

/// Adds the last frame to the one before it.
fn mix_last_frames(frames: &mut [u8], law: Law) {
    let Some(middle) = frames.len().checked_sub(FRAME_SAMPLES) else {
        return;
    };
    let (before, last) = frames.split_at_mut(middle);
    let Some(start) = before.len().checked_sub(FRAME_SAMPLES) else {
        return;
    };
    for (into, byte) in before.iter_mut().skip(start).zip(last) {
        let sum = i32::from(law.decode(*into)) + i32::from(law.decode(*byte));
        *into = law.encode(sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Micros = 1_000;

    /// Takes all frames and draws each channel: a letter for the byte in the middle of a frame,
    /// `-` missing, `x` masked, `.` silence that was sent.
    fn drawn(aligner: &mut Aligner, now: Micros, channels: usize) -> Vec<String> {
        let mut bytes = Vec::new();
        aligner.take(now, true, 1_000, &mut bytes);
        let mut rows = vec![String::new(); channels];
        for frame in bytes.chunks(1 + 160 * channels) {
            let flags = FrameFlags::from_byte(frame[0]);
            for (index, row) in rows.iter_mut().enumerate() {
                let byte = frame[1 + index * 160 + 80];
                row.push(match () {
                    () if flags.masked(index) => {
                        assert!(frame[1 + index * 160..1 + (index + 1) * 160].iter().all(|byte| *byte == 0xFF));
                        'x'
                    }
                    () if byte == 0xFF && flags.missing(index) => '-',
                    () if byte == 0xFF => '.',
                    () => char::from(byte),
                });
            }
        }
        rows
    }

    fn speak(aligner: &mut Aligner, channel: usize, text: &str, timestamp: u32, from: Micros) {
        for (index, letter) in text.bytes().enumerate() {
            if letter != b'-' {
                aligner.put(
                    channel,
                    timestamp.wrapping_add(index as u32 * 160),
                    &[letter; 160],
                    Law::Mu,
                    from + (index as Micros + 1) * 20 * MS,
                );
            }
        }
    }

    #[test]
    fn both_channels_lie_on_one_clock() {
        let mut aligner = Aligner::new(&[Law::Mu, Law::Mu], 5_000 * MS);
        speak(&mut aligner, 0, "abcdef", 0xFFFF_FF00, 5_000 * MS);
        // The agent's phone starts 60 ms later, and a packet is lost.
        speak(&mut aligner, 1, "ABC-EF", 77, 5_060 * MS);
        assert_eq!(drawn(&mut aligner, 5_180 * MS, 2), ["abcdef---", "---ABC-EF"]);
    }

    #[test]
    fn late_and_reordered_packets_find_their_place_and_too_late_ones_do_not() {
        let mut aligner = Aligner::new(&[Law::Mu], 0);
        for (letter, frame, arrival) in
            [(b'a', 0, 20), (b'c', 2, 60), (b'b', 1, 61), (b'd', 3, 80), (b'f', 5, 120), (b'e', 4, 219)]
        {
            aligner.put(0, frame * 160, &[letter; 160], Law::Mu, arrival * MS);
        }
        let mut early = Vec::new();
        // Nothing younger than 120 ms leaves.
        assert_eq!(aligner.take(219 * MS, false, 100, &mut early), 4);
        aligner.put(0, 160, &[b'z'; 160], Law::Mu, 219 * MS);
        assert_eq!(drawn(&mut aligner, 220 * MS, 1), ["ef-----"]);
        assert_eq!(early.chunks(161).map(|frame| char::from(frame[1])).collect::<String>(), "abcd");
    }

    #[test]
    fn a_jump_of_the_peers_clock_is_followed() {
        let mut aligner = Aligner::new(&[Law::Mu], 0);
        speak(&mut aligner, 0, "ab", 0, 0);
        speak(&mut aligner, 0, "cd", 90_000_000, 40 * MS);
        // Backwards: only believed after some packets that would be too late.
        let mut bytes = Vec::new();
        speak(&mut aligner, 0, "efghij", 1_000, 80 * MS);
        aligner.take(200 * MS, true, 100, &mut bytes);
        let row: String = bytes.chunks(161).map(|frame| char::from(frame[81])).collect();
        assert!(row.starts_with("abcd\u{ff}\u{ff}g") && row.ends_with("hij"), "{row}");
    }

    #[test]
    fn what_is_masked_cannot_be_heard() {
        let mut aligner = Aligner::new(&[Law::Mu, Law::Mu], 0);
        speak(&mut aligner, 1, "ABCDEF", 0, 0);
        speak(&mut aligner, 0, "ab", 0, 0);
        aligner.mask(0, true, 40 * MS);
        assert!(aligner.is_masked(0, 41 * MS) && !aligner.is_masked(1, 41 * MS));
        speak(&mut aligner, 0, "cd", 320, 40 * MS);
        aligner.mask(0, false, 80 * MS);
        speak(&mut aligner, 0, "ef", 640, 80 * MS);
        assert_eq!(drawn(&mut aligner, 120 * MS, 2), ["abxxef", "ABCDEF"]);
        for index in 0..100 {
            aligner.mask(0, index % 2 == 0, (121 + index) * MS);
        }
        assert!(aligner.channels[0].masks.len() <= MAX_MASKS);
    }

    #[test]
    fn an_added_source_is_mixed_into_its_channel() {
        let mut aligner = Aligner::new(&[Law::Mu, Law::Mu], 0);
        let level = |sample: i16| [Law::Mu.encode(sample); 160];
        assert_eq!(aligner.add_source(2), None);
        let second = aligner.add_source(1).unwrap();
        assert_eq!(aligner.sources().collect::<Vec<_>>(), [0, 1, 1]);
        for frame in 0..3u32 {
            let arrival = Micros::from(frame + 1) * 20 * MS;
            aligner.put(1, frame * 160, &level(4_000), Law::Mu, arrival);
            if frame > 0 {
                // Its own clock.
                aligner.put(second, 90_000 + frame * 160, &level(2_000), Law::Mu, arrival);
            }
        }
        aligner.mask(second, true, 40 * MS);
        let mut bytes = Vec::new();
        assert_eq!(aligner.take(60 * MS, true, 10, &mut bytes), 3);
        let heard: Vec<i16> = bytes.chunks(321).map(|frame| Law::Mu.decode(frame[1 + 160 + 80])).collect();
        let near = |sample: i16, wanted: i16| (sample - wanted).abs() < 200;
        assert!(near(heard[0], 4_000) && near(heard[1], 6_000) && near(heard[2], 4_000), "{heard:?}");
        let flags: Vec<u8> = bytes.chunks(321).map(|frame| frame[0]).collect();
        // The caller said nothing; the last frame of the second source was masked.
        assert_eq!(flags, [1, 1, 1 | 32]);
    }

    #[test]
    fn another_law_in_mid_call_is_translated_and_odd_lengths_fit() {
        let mut aligner = Aligner::new(&[Law::Mu], 0);
        aligner.put(0, 0, &[Law::A.encode(8_000); 80], Law::A, 10 * MS);
        aligner.put(0, 80, &[Law::Mu.encode(8_000); 240], Law::Mu, 40 * MS);
        let mut bytes = Vec::new();
        assert_eq!(aligner.take(40 * MS, true, 10, &mut bytes), 2);
        let spread = bytes[1..161].iter().map(|byte| (Law::Mu.decode(*byte) - 8_000).abs()).max();
        assert!(spread < Some(400), "{spread:?}");
        assert_eq!((bytes[0], bytes[161]), (0, 0));
    }
}
