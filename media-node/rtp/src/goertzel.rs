//! Tones recognised: one frequency's share of the power, and in-band DTMF (ITU-T Q.24).

use crate::api::Law;

const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const KEYS: [[char; 4]; 4] = [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];
/// Samples looked at together: 20 ms.
const FRAME: usize = 160;
/// The two tones' least share of all power; speech stays below it.
const MIN_SHARE: f32 = 0.62;
/// Mean square below which a frame is silence, about −45 dBm0.
const MIN_POWER: f32 = 4_000.0;
/// The most one tone may be stronger than the other: 8 dB.
const MAX_TWIST: f32 = 6.3;
/// The least by which a tone stands out of its group: 6 dB.
const MIN_LEAD: f32 = 4.0;
/// Frames without the tone that end a press.
const END_FRAMES: u8 = 2;

/// The squared magnitude of one frequency, scaled so that a pure tone gives its mean square.
fn power(samples: &[f32], coefficient: f32) -> f32 {
    let (mut s1, mut s2) = (0.0f32, 0.0f32);
    for sample in samples {
        let s0 = sample + coefficient * s1 - s2;
        s2 = s1;
        s1 = s0;
    }
    let count = samples.len() as f32;
    2.0 * (s1 * s1 + s2 * s2 - coefficient * s1 * s2) / (count * count)
}

fn coefficient(hz: f32) -> f32 {
    2.0 * (std::f32::consts::TAU * hz / 8_000.0).cos()
}

/// The share (0 to about 1) of the samples' power that lies at `hz`, at 8,000 samples a second;
/// 0 for silence.
pub fn power_share(samples: &[f32], hz: f32) -> f32 {
    let total = samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32;
    if total <= 1.0 { 0.0 } else { power(samples, coefficient(hz)) / total }
}

/// Hears keys in the audio.
#[derive(Debug, Clone)]
pub struct InbandReceiver {
    rows: [f32; 4],
    columns: [f32; 4],
    at_start: bool,
    buffer: [f32; FRAME],
    filled: usize,
    last: Option<char>,
    held: Option<char>,
    held_frames: u32,
    missing: u8,
}

impl InbandReceiver {
    /// `at_start`: a press is reported once it is sure instead of at its end.
    pub fn new(at_start: bool) -> Self {
        Self {
            rows: ROWS.map(coefficient),
            columns: COLUMNS.map(coefficient),
            at_start,
            buffer: [0.0; FRAME],
            filled: 0,
            last: None,
            held: None,
            held_frames: 0,
            missing: 0,
        }
    }

    /// Takes audio in order; gives the last press that became known within it and whether any of
    /// it sounded like a key.
    pub fn receive(&mut self, bytes: &[u8], law: Law) -> (Option<crate::dtmf::Press>, bool) {
        let (mut press, mut heard) = (None, self.held.is_some());
        for byte in bytes {
            self.buffer[self.filled] = f32::from(law.decode(*byte));
            self.filled += 1;
            if self.filled == FRAME {
                self.filled = 0;
                let key = self.key();
                heard |= key.is_some();
                press = self.follow(key).or(press);
            }
        }
        (press, heard)
    }

    fn follow(&mut self, key: Option<char>) -> Option<crate::dtmf::Press> {
        let sure = key.filter(|_| key == self.last);
        self.last = key;
        if let Some(held) = self.held {
            if key == Some(held) {
                self.held_frames += 1;
                self.missing = 0;
                return None;
            }
            self.missing += 1;
            if self.missing < END_FRAMES && sure.is_none() {
                return None;
            }
            self.held = None;
            let ended = crate::dtmf::Press { digit: held, duration_ms: self.held_frames * 20 };
            let begun = self.begin(sure);
            return if self.at_start { begun } else { Some(ended) };
        }
        self.begin(sure)
    }

    fn begin(&mut self, sure: Option<char>) -> Option<crate::dtmf::Press> {
        let key = sure?;
        self.held = Some(key);
        self.held_frames = 2;
        self.missing = 0;
        self.at_start.then_some(crate::dtmf::Press { digit: key, duration_ms: 40 })
    }

    /// The key that this frame sounds like.
    fn key(&self) -> Option<char> {
        let total = self.buffer.iter().map(|sample| sample * sample).sum::<f32>() / FRAME as f32;
        if total < MIN_POWER {
            return None;
        }
        let (row, row_power) = strongest(self.rows.map(|coefficient| power(&self.buffer, coefficient)))?;
        let (column, column_power) = strongest(self.columns.map(|coefficient| power(&self.buffer, coefficient)))?;
        let twisted = row_power > MAX_TWIST * column_power || column_power > MAX_TWIST * row_power;
        if twisted || row_power + column_power < MIN_SHARE * total {
            return None;
        }
        KEYS.get(row)?.get(column).copied()
    }
}

/// The place and value of the strongest, if it stands out.
fn strongest(powers: [f32; 4]) -> Option<(usize, f32)> {
    let (place, best) = powers.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let clear = powers.iter().enumerate().all(|(index, power)| index == place || *power * MIN_LEAD <= best);
    clear.then_some((place, best))
}

/// The two frequencies of a key.
pub fn key_tones(digit: char) -> Option<[u16; 2]> {
    let digit = digit.to_ascii_uppercase();
    for (row, keys) in KEYS.iter().enumerate() {
        if let Some(column) = keys.iter().position(|key| *key == digit) {
            return Some([ROWS[row] as u16, COLUMNS[column] as u16]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Tone;

    /// A fixed noise: no randomness in tests.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f32 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 33) as f32 / (1u64 << 31) as f32) * 2.0 - 1.0
        }
    }

    /// `offset` samples of noise, then the key for `ms`, then noise, all with noise of this peak.
    fn pressed(key: char, offset: usize, ms: u32, noise: f32, law: Law) -> Vec<u8> {
        let mut source = Noise(u64::from(key as u32) + offset as u64);
        let mut tone = vec![Law::Mu.silence(); ms as usize * 8];
        Tone::new(key_tones(key).unwrap(), ms, 0, 1).fill(&mut tone, Law::Mu);
        let silence = vec![Law::Mu.silence(); offset];
        let tail = vec![Law::Mu.silence(); 800];
        let whole = silence.iter().chain(&tone).chain(&tail);
        whole.map(|byte| law.encode((f32::from(Law::Mu.decode(*byte)) + noise * source.next()) as i16)).collect()
    }

    fn heard(bytes: &[u8], law: Law, receiver: &mut InbandReceiver) -> String {
        bytes.chunks(160).filter_map(|frame| receiver.receive(frame, law).0).map(|press| press.digit).collect()
    }

    #[test]
    fn every_key_at_every_offset_in_noise() {
        // Each tone has a mean square of 7000²/2; noise of peak p has p²/3: this is 6 dB.
        let noise = 6_000.0;
        let (mut right, mut wrong) = (0, 0);
        for key in "0123456789*#ABCD".chars() {
            for offset in (0..160).step_by(8) {
                for law in [Law::Mu, Law::A] {
                    let bytes = pressed(key, offset + 320, 80, noise, law);
                    let told = heard(&bytes, law, &mut InbandReceiver::new(false));
                    right += usize::from(told == key.to_string());
                    wrong += usize::from(!told.is_empty() && told != key.to_string());
                }
            }
        }
        assert_eq!(wrong, 0);
        assert!(right >= 636, "{right} of 640");
    }

    #[test]
    fn a_held_key_is_one_press_and_two_keys_are_two() {
        let mut receiver = InbandReceiver::new(false);
        let mut bytes = pressed('5', 100, 1_000, 0.0, Law::Mu);
        bytes.extend(pressed('5', 0, 100, 0.0, Law::Mu));
        bytes.extend(pressed('#', 37, 100, 0.0, Law::Mu));
        assert_eq!(heard(&bytes, Law::Mu, &mut receiver), "55#");
        assert_eq!(heard(&bytes, Law::Mu, &mut InbandReceiver::new(true)), "55#");
    }

    #[test]
    fn music_noise_and_single_tones_are_no_keys() {
        let mut receiver = InbandReceiver::new(true);
        let mut noise = Noise(3);
        let loud: Vec<u8> = (0..80_000).map(|_| Law::Mu.encode((noise.next() * 20_000.0) as i16)).collect();
        assert_eq!(heard(&loud, Law::Mu, &mut receiver), "");
        for hz in (300..3_400).step_by(10) {
            let mut bytes = vec![0; 1_600];
            Tone::new([hz, 0], 200, 0, 1).fill(&mut bytes, Law::Mu);
            assert_eq!(heard(&bytes, Law::Mu, &mut receiver), "", "{hz}");
            Tone::new([hz, hz * 6 / 5], 200, 0, 1).fill(&mut bytes, Law::Mu);
            let told = heard(&bytes, Law::Mu, &mut receiver);
            assert!(told.is_empty(), "{hz} and {}: {told}", hz * 6 / 5);
        }
    }
}
