//! Audio of a leg for a listener outside the call, such as a speech engine: 20 ms frames of 8 kHz
//! samples through a ring that neither side ever waits for.
//!
//! The media thread writes; with the ring full a frame is lost and counted. Whoever reads polls
//! every 20 ms or so. Dropping the [`TapReader`] ends the tap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::ear::Heard;

/// Samples in a frame.
pub const TAP_SAMPLES: usize = 160;
/// Words of a frame in the ring: a head of two, and four samples in each.
const WORDS: usize = 2 + TAP_SAMPLES / 4;
/// Bounds of a ring, frames: one to ten seconds of both directions.
const MIN_FRAMES: usize = 2;
const MAX_FRAMES: usize = 1_000;

/// Which directions of a leg are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapDirection {
    /// What the party says.
    In,
    /// What the party hears from us.
    Out,
    /// Both, as separate frames with equal times.
    Both,
}

impl TapDirection {
    /// Whether what this way carries is wanted.
    pub fn has(self, way: TapWay) -> bool {
        matches!(
            (self, way),
            (TapDirection::Both, _) | (TapDirection::In, TapWay::In) | (TapDirection::Out, TapWay::Out)
        )
    }
}

/// The direction of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapWay {
    /// From the party.
    In,
    /// To the party.
    Out,
}

/// 20 ms of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapFrame {
    /// Samples since the tap began, a multiple of 160, equal in both directions. A step of more
    /// than 160 is what the reader lost.
    pub at: u64,
    /// The stream's RTP timestamp of the frame's first sample, on the codec's clock.
    pub rtp_timestamp: u32,
    /// Which direction.
    pub way: TapWay,
    /// Whether it came, was made up, or is silence that fills a gap.
    pub heard: Heard,
    /// Left out on purpose: while keys are secret, or what is recorded of the leg pauses.
    pub withheld: bool,
    /// The samples.
    pub samples: [i16; TAP_SAMPLES],
}

#[derive(Debug)]
struct Ring {
    words: Box<[AtomicU64]>,
    frames: usize,
    /// Frames written and read so far; their difference is what waits.
    written: AtomicUsize,
    read: AtomicUsize,
    lost: AtomicU64,
    writer_gone: AtomicBool,
    reader_gone: AtomicBool,
}

/// The media thread's end.
#[derive(Debug)]
pub struct TapWriter(Arc<Ring>);

/// The listener's end; may live on any thread.
#[derive(Debug)]
pub struct TapReader(Arc<Ring>);

/// A ring for so many frames (2 to 1,000).
pub fn tap_ring(frames: usize) -> (TapWriter, TapReader) {
    let frames = frames.clamp(MIN_FRAMES, MAX_FRAMES);
    let ring = Arc::new(Ring {
        words: (0..frames * WORDS).map(|_| AtomicU64::new(0)).collect(),
        frames,
        written: AtomicUsize::new(0),
        read: AtomicUsize::new(0),
        lost: AtomicU64::new(0),
        writer_gone: AtomicBool::new(false),
        reader_gone: AtomicBool::new(false),
    });
    (TapWriter(ring.clone()), TapReader(ring))
}

impl Ring {
    fn slot(&self, number: usize) -> &[AtomicU64] {
        let start = number % self.frames * WORDS;
        self.words.get(start..start + WORDS).unwrap_or_default()
    }
}

fn heard_code(heard: Heard) -> u64 {
    match heard {
        Heard::Nothing => 0,
        Heard::ComfortNoise => 1,
        Heard::Concealed => 2,
        Heard::Voice => 3,
    }
}

impl TapWriter {
    /// Hands a frame over; a full ring loses it.
    pub fn write(&mut self, frame: &TapFrame) {
        let ring = &*self.0;
        let written = ring.written.load(Ordering::Relaxed);
        if written.wrapping_sub(ring.read.load(Ordering::Acquire)) >= ring.frames {
            ring.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let way = u64::from(frame.way == TapWay::Out);
        let (heard, withheld) = (heard_code(frame.heard) << 40, u64::from(frame.withheld) << 33);
        let head = [frame.at, u64::from(frame.rtp_timestamp) | way << 32 | withheld | heard];
        let samples = frame
            .samples
            .chunks_exact(4)
            .map(|four| four.iter().rev().fold(0u64, |word, sample| word << 16 | u64::from(*sample as u16)));
        for (word, value) in ring.slot(written).iter().zip(head.into_iter().chain(samples)) {
            word.store(value, Ordering::Relaxed);
        }
        ring.written.store(written.wrapping_add(1), Ordering::Release);
    }

    /// Nobody reads any more.
    pub fn is_abandoned(&self) -> bool {
        self.0.reader_gone.load(Ordering::Relaxed)
    }
}

impl Drop for TapWriter {
    fn drop(&mut self) {
        self.0.writer_gone.store(true, Ordering::Release);
    }
}

impl TapReader {
    /// The next frame; `None`: none is there now.
    pub fn read(&mut self) -> Option<TapFrame> {
        let ring = &*self.0;
        let read = ring.read.load(Ordering::Relaxed);
        if ring.written.load(Ordering::Acquire) == read {
            return None;
        }
        let mut words = ring.slot(read).iter().map(|word| word.load(Ordering::Relaxed));
        let (at, head) = (words.next()?, words.next()?);
        let mut samples = [0; TAP_SAMPLES];
        for (four, word) in samples.chunks_exact_mut(4).zip(words) {
            for (index, sample) in four.iter_mut().enumerate() {
                *sample = (word >> (16 * index)) as u16 as i16;
            }
        }
        ring.read.store(read.wrapping_add(1), Ordering::Release);
        let heard = match head >> 40 {
            0 => Heard::Nothing,
            1 => Heard::ComfortNoise,
            2 => Heard::Concealed,
            _ => Heard::Voice,
        };
        let way = if head >> 32 & 1 == 1 { TapWay::Out } else { TapWay::In };
        let withheld = head >> 33 & 1 == 1;
        Some(TapFrame { at, rtp_timestamp: head as u32, way, heard, withheld, samples })
    }

    /// Frames lost so far because this end was too slow.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// The leg is gone, or another tap took this one's place: nothing will follow what waits.
    pub fn is_over(&self) -> bool {
        self.0.writer_gone.load(Ordering::Acquire)
            && self.0.written.load(Ordering::Acquire) == self.0.read.load(Ordering::Relaxed)
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        self.0.reader_gone.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64) -> TapFrame {
        let mut samples = [0; TAP_SAMPLES];
        for (index, sample) in samples.iter_mut().enumerate() {
            *sample = (number as i16).wrapping_mul(211).wrapping_sub(index as i16 * 199);
        }
        TapFrame {
            at: number * 160,
            rtp_timestamp: u32::MAX - number as u32,
            way: if number.is_multiple_of(2) { TapWay::In } else { TapWay::Out },
            heard: [Heard::Nothing, Heard::ComfortNoise, Heard::Concealed, Heard::Voice][number as usize % 4],
            withheld: number % 5 == 1,
            samples,
        }
    }

    #[test]
    fn what_was_written_is_read_and_a_full_ring_loses_the_newest() {
        let (mut writer, mut reader) = tap_ring(4);
        assert_eq!(reader.read(), None);
        for number in 0..6 {
            writer.write(&frame(number));
        }
        assert_eq!(reader.lost(), 2);
        for number in 0..4 {
            assert_eq!(reader.read(), Some(frame(number)));
        }
        assert_eq!(reader.read(), None);
        writer.write(&frame(9));
        drop(writer);
        assert!(!reader.is_over());
        assert_eq!(reader.read(), Some(frame(9)));
        assert!(reader.is_over());
        let (writer, reader) = tap_ring(0);
        assert!(!writer.is_abandoned());
        drop(reader);
        assert!(writer.is_abandoned());
    }

    #[test]
    fn two_threads_see_whole_frames_in_order() {
        let (mut writer, mut reader) = tap_ring(8);
        let writing = std::thread::spawn(move || {
            for number in 0..20_000 {
                writer.write(&frame(number));
            }
        });
        let (mut seen, mut last) = (0u64, None);
        while !reader.is_over() {
            let Some(got) = reader.read() else {
                std::thread::yield_now();
                continue;
            };
            let number = got.at / 160;
            assert_eq!(got, frame(number));
            assert!(last.is_none_or(|last| number > last));
            last = Some(number);
            seen += 1;
        }
        writing.join().unwrap();
        assert_eq!(seen + reader.lost(), 20_000);
    }
}
