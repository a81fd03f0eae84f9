//! Tones made sample by sample: prompts, ring-back, beeps, DTMF.

use std::f32::consts::TAU;

use crate::api::Law;

/// Peak of one of two frequencies, about −10 dBm0 each; one alone is as loud as both.
const AMPLITUDE: f32 = 7_000.0;

#[derive(Debug, Clone, Copy, Default)]
struct Oscillator {
    cosine: f32,
    sine: f32,
    step_cosine: f32,
    step_sine: f32,
}

impl Oscillator {
    fn new(hz: u16) -> Self {
        let angle = TAU * f32::from(hz.min(4_000)) / 8_000.0;
        Self { cosine: 1.0, sine: 0.0, step_cosine: angle.cos(), step_sine: angle.sin() }
    }

    fn next(&mut self) -> f32 {
        let value = self.sine;
        let cosine = self.cosine * self.step_cosine - self.sine * self.step_sine;
        self.sine = self.cosine * self.step_sine + self.sine * self.step_cosine;
        self.cosine = cosine;
        value
    }

    /// Takes out what rounding added, once in a while.
    fn settle(&mut self) {
        let size = (self.cosine * self.cosine + self.sine * self.sine).sqrt();
        if size > 0.0 {
            self.cosine /= size;
            self.sine /= size;
        }
    }
}

/// A tone of up to two frequencies with cadence.
#[derive(Debug, Clone)]
pub struct Tone {
    oscillators: [Oscillator; 2],
    amplitudes: [f32; 2],
    on: u32,
    period: u32,
    position: u32,
    times_left: u16,
}

impl Tone {
    /// Frequencies in hertz (0: none), cadence in milliseconds, and how many times.
    pub fn new(hz: [u16; 2], on_ms: u32, off_ms: u32, times: u16) -> Self {
        let both = hz[0] > 0 && hz[1] > 0;
        let amplitude = |hz: u16| match (hz, both) {
            (0, _) => 0.0,
            (_, true) => AMPLITUDE,
            (_, false) => 2.0 * AMPLITUDE,
        };
        let on = on_ms.min(86_400_000) * 8;
        Self {
            oscillators: [Oscillator::new(hz[0]), Oscillator::new(hz[1])],
            amplitudes: [amplitude(hz[0]), amplitude(hz[1])],
            on,
            period: on + off_ms.min(86_400_000) * 8,
            position: 0,
            times_left: if on == 0 && off_ms == 0 { 0 } else { times },
        }
    }

    /// Fills the front of `into` and returns how many bytes that were: fewer than asked for at the
    /// tone's end.
    pub fn fill(&mut self, into: &mut [u8], law: Law) -> usize {
        for oscillator in &mut self.oscillators {
            oscillator.settle();
        }
        for (index, byte) in into.iter_mut().enumerate() {
            if self.times_left == 0 {
                return index;
            }
            *byte = if self.position < self.on {
                let [first, second] = &mut self.oscillators;
                let mut sample = self.amplitudes[0] * first.next();
                if self.amplitudes[1] > 0.0 {
                    sample += self.amplitudes[1] * second.next();
                }
                law.encode(sample as i16)
            } else {
                law.silence()
            };
            self.position += 1;
            if self.position >= self.period {
                self.position = 0;
                self.times_left -= 1;
            }
        }
        into.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goertzel::power_share;

    #[test]
    fn a_tone_has_its_frequency_length_and_cadence() {
        let mut tone = Tone::new([440, 0], 100, 50, 2);
        let mut bytes = vec![0; 4_000];
        assert_eq!(tone.fill(&mut bytes, Law::Mu), 2_400);
        for at in [0, 400, 1_200] {
            let samples: Vec<f32> = bytes[at..at + 400].iter().map(|byte| f32::from(Law::Mu.decode(*byte))).collect();
            assert!(power_share(&samples, 440.0) > 0.95, "at {at}");
        }
        assert!(bytes[800..1_200].iter().all(|byte| *byte == 0xFF));
        assert_eq!(tone.fill(&mut bytes, Law::Mu), 0);
        assert_eq!(Tone::new([440, 0], 0, 0, 9).fill(&mut bytes, Law::A), 0);
    }

    #[test]
    fn a_pair_shares_its_power_after_an_hour_too() {
        let mut tone = Tone::new([350, 440], 3_600_000, 0, 1);
        let mut bytes = [0; 160];
        for _ in 0..179_980 {
            assert_eq!(tone.fill(&mut bytes, Law::A), 160);
        }
        let mut tail = Vec::new();
        for _ in 0..10 {
            tone.fill(&mut bytes, Law::A);
            tail.extend(bytes.iter().map(|byte| f32::from(Law::A.decode(*byte))));
        }
        for hz in [350.0, 440.0] {
            let share = power_share(&tail, hz);
            assert!((0.45..0.55).contains(&share), "{hz}: {share}");
        }
    }
}
