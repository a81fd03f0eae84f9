//! Tones: making them, and how much of a recording is one (Goertzel).

/// A sine with a running phase.
#[derive(Debug, Clone)]
pub struct Tone {
    step: f64,
    phase: f64,
    amplitude: f64,
}

impl Tone {
    /// `hz` at 8 kHz, about -10 dBFS.
    pub fn new(hz: u32) -> Self {
        Self { step: f64::from(hz) * std::f64::consts::TAU / 8_000.0, phase: 0.0, amplitude: 10_000.0 }
    }

    /// The next sample.
    pub fn sample(&mut self) -> i16 {
        let value = self.phase.sin() * self.amplitude;
        self.phase = (self.phase + self.step) % std::f64::consts::TAU;
        value as i16
    }
}

/// Samples of one frame, 20 ms.
const FRAME: usize = 160;

/// The share of a frame's energy that lies at `hz`, 0 to 1.
fn share(frame: &[i16], hz: u32) -> f64 {
    let w = f64::from(hz) * std::f64::consts::TAU / 8_000.0;
    let (mut a, mut b, mut energy) = (0.0, 0.0, 0.0);
    for sample in frame {
        let x = f64::from(*sample);
        let next = x + 2.0 * w.cos() * a - b;
        (b, a) = (a, next);
        energy += x * x;
    }
    let power = a * a + b * b - 2.0 * w.cos() * a * b;
    let length = frame.len() as f64;
    if energy < length * 400.0 { 0.0 } else { (2.0 * power / (length * energy)).min(1.0) }
}

/// The share of a recording, in 20 ms frames, in which a tone of `hz` is clearly the loudest
/// thing; 0 to 1. Speech and other tones count as not.
pub fn tone_share(samples: &[i16], hz: u32) -> f64 {
    let frames = samples.chunks_exact(FRAME);
    let count = frames.len();
    let hits = frames.filter(|frame| share(frame, hz) > 0.7).count();
    if count == 0 { 0.0 } else { hits as f64 / count as f64 }
}

/// Samples looked at for one tone among others, 50 ms: tones 60 Hz apart are told from each other.
const WINDOW: usize = 400;

/// The share of a recording, in windows of 50 ms, in which a tone of `hz` can be heard, others
/// sounding with it or not; 0 to 1. For conferences: up to five tones at a time.
pub fn tone_presence(samples: &[i16], hz: u32) -> f64 {
    let windows = samples.chunks_exact(WINDOW);
    let count = windows.len();
    let hits = windows.filter(|window| share(window, hz) > 0.12).count();
    if count == 0 { 0.0 } else { hits as f64 / count as f64 }
}

/// Milliseconds of 100 ms windows in which a tone holds most of the energy (Goertzel).
pub fn tone_ms(samples: &[i16], hz: f64, rate: u32) -> u64 {
    let window = (rate as usize / 10).max(1);
    let hits = samples.chunks_exact(window).filter(|chunk| {
        let coefficient = 2.0 * (std::f64::consts::TAU * hz / f64::from(rate)).cos();
        let (mut s1, mut s2, mut energy) = (0.0, 0.0, 0.0);
        for sample in *chunk {
            let x = f64::from(*sample);
            let s0 = x + coefficient * s1 - s2;
            (s2, s1) = (s1, s0);
            energy += x * x;
        }
        let power = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
        energy > window as f64 * 1e4 && power / (energy * window as f64 / 2.0) > 0.7
    });
    hits.count() as u64 * 100
}

/// Root mean square, 0 to 32767.
pub fn loudness(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let sum: f64 = samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    (sum / samples.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::g711::{Law, decode, encode};

    #[test]
    fn a_tone_is_told_from_others_through_g711() {
        for hz in [300u32, 440, 600, 880, 1_000, 2_500] {
            let mut tone = Tone::new(hz);
            let heard: Vec<i16> = (0..8_000).map(|_| decode(Law::Mu, encode(Law::Mu, tone.sample()))).collect();
            assert!(tone_share(&heard, hz) > 0.95, "{hz}");
            for other in [300u32, 440, 600, 880, 1_000, 2_500].into_iter().filter(|o| *o != hz) {
                assert!(tone_share(&heard, other) < 0.05, "{other} in {hz}");
            }
        }
        assert_eq!(tone_share(&[0; 8_000], 440), 0.0);
        assert_eq!(tone_share(&[], 440), 0.0);
        let half: Vec<i16> = {
            let mut tone = Tone::new(440);
            (0..8_000).map(|i| if i < 4_000 { tone.sample() } else { 0 }).collect()
        };
        assert!((tone_share(&half, 440) - 0.5).abs() < 0.03);
    }

    #[test]
    fn a_tone_is_counted_in_milliseconds_at_any_rate() {
        for rate in [8_000u32, 48_000] {
            let step = std::f64::consts::TAU * 440.0 / f64::from(rate);
            let samples: Vec<i16> = (0..rate).map(|n| ((step * f64::from(n)).sin() * 8_000.0) as i16).collect();
            assert_eq!(tone_ms(&samples, 440.0, rate), 1_000);
            assert_eq!(tone_ms(&samples, 880.0, rate), 0);
            assert_eq!(tone_ms(&[0; 8_000], 440.0, rate), 0);
        }
    }

    #[test]
    fn tones_are_recognised_among_others() {
        let mut tones: Vec<Tone> = [440, 620, 880].map(Tone::new).into();
        let mixed: Vec<i16> = (0..8_000)
            .map(|_| {
                let sum: i32 = tones.iter_mut().map(|tone| i32::from(tone.sample())).sum();
                let sum = sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
                decode(Law::Mu, encode(Law::Mu, sum))
            })
            .collect();
        for hz in [440, 620, 880] {
            assert!(tone_presence(&mixed, hz) > 0.95, "{hz}");
            assert!(tone_share(&mixed, hz) < 0.05, "none is the loudest");
        }
        for hz in [300, 530, 750, 1_000] {
            assert!(tone_presence(&mixed, hz) < 0.05, "{hz}");
        }
        assert_eq!(tone_presence(&[0; 8_000], 440), 0.0);
    }
}
