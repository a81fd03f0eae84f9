//! Opus (RFC 6716) by `ropus`, at the rate that is wanted rather than always at 48 kHz.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ropus::{Application, Bitrate, Channels, DecodeMode, InbandFec};

use super::resample::Doubler;
use super::{MAX_FRAME_BYTES, MAX_PACKET_MS, Rate};

/// Of ten: what of the processor's time goes into finding the best code.
const COMPLEXITY: u8 = 4;
/// Losses that the encoder prepares its packets for, percent.
const EXPECTED_LOSS: u8 = 8;

const fn bits_per_second(rate: Rate) -> u32 {
    match rate {
        Rate::Narrow => 18_000,
        Rate::Wide => 26_000,
    }
}

/// Runs the codec on bytes from outside: should it panic, one stream's state is lost, not a media
/// thread with all its calls.
fn guarded<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_default()
}

/// One stream being decoded, to mono.
pub struct Decoder {
    rate: Rate,
    inner: Option<ropus::Decoder>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "opus::Decoder({:?})", self.rate)
    }
}

impl Decoder {
    /// A decoder whose samples come at `rate`.
    pub fn new(rate: Rate) -> Self {
        Self { rate, inner: None }
    }

    fn run(&mut self, payload: &[u8], samples: usize, mode: DecodeMode, into: &mut Vec<i16>) -> bool {
        let rate = self.rate;
        let inner = &mut self.inner;
        let mut buffer = [0i16; MAX_PACKET_MS * 16];
        let count = guarded(|| {
            let fresh = || ropus::Decoder::new(rate.khz() as u32 * 1_000, Channels::Mono).ok();
            // Out of its place while it works: a panic leaves none behind.
            let mut decoder = inner.take().or_else(fresh)?;
            let count = decoder.decode(payload, buffer.get_mut(..samples)?, mode).ok();
            *inner = Some(decoder);
            count
        });
        let Some(samples) = count.filter(|count| *count > 0).and_then(|count| buffer.get(..count)) else {
            return false;
        };
        into.extend_from_slice(samples);
        true
    }

    /// Appends a packet's samples; `false`: it is no Opus packet.
    pub fn decode(&mut self, payload: &[u8], into: &mut Vec<i16>) -> bool {
        !payload.is_empty() && self.run(payload, MAX_PACKET_MS * self.rate.khz(), DecodeMode::Normal, into)
    }

    /// Appends `samples` in place of a lost packet: from the next one, or made up.
    pub fn recover(&mut self, next: Option<&[u8]>, samples: usize, into: &mut Vec<i16>) -> bool {
        // Multiples of 2.5 ms are what the codec can make.
        let step = self.rate.khz() * 5 / 2;
        let samples = (samples / step).clamp(1, MAX_PACKET_MS * 2 / 5) * step;
        match next.filter(|next| !next.is_empty()) {
            Some(next) => self.run(next, samples, DecodeMode::Fec, into),
            None => self.run(&[], samples, DecodeMode::Normal, into),
        }
    }
}

/// One stream being encoded, from mono: voice with forward error correction.
#[derive(Default)]
pub struct Encoder {
    inner: Option<(Rate, ropus::Encoder)>,
    doubler: Box<Doubler>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "opus::Encoder({:?})", self.inner.as_ref().map(|(rate, _)| rate))
    }
}

impl Encoder {
    fn fresh(rate: Rate) -> Option<ropus::Encoder> {
        ropus::Encoder::builder(rate.khz() as u32 * 1_000, Channels::Mono, Application::Voip)
            .bitrate(Bitrate::Bits(bits_per_second(rate)))
            .complexity(COMPLEXITY)
            .inband_fec(InbandFec::Enabled)
            .packet_loss_perc(EXPECTED_LOSS)
            .build()
            .ok()
    }

    /// Encodes 20 ms; returns the bytes written, 0 where it failed. The first wideband frame makes
    /// the stream wideband for good.
    pub fn encode(&mut self, frame: &[i16], rate: Rate, into: &mut [u8; MAX_FRAME_BYTES]) -> usize {
        let mut doubled = [0i16; Rate::Wide.frame()];
        let (frame, rate) = match (&self.inner, rate) {
            (Some((Rate::Wide, _)), Rate::Narrow) => {
                for (pair, sample) in doubled.chunks_exact_mut(2).zip(frame) {
                    pair.copy_from_slice(&self.doubler.step(*sample));
                }
                (&doubled[..], Rate::Wide)
            }
            _ => (frame, rate),
        };
        let inner = &mut self.inner;
        guarded(|| {
            let known = inner.take().filter(|(of, _)| *of == rate).map(|(_, encoder)| encoder);
            let mut encoder = known.or_else(|| Self::fresh(rate))?;
            let count = encoder.encode(frame, into).ok();
            *inner = Some((rate, encoder));
            count
        })
        .unwrap_or(0)
    }
}
