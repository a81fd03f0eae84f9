//! Between 8 and 16 kHz: a half-band filter of 39 taps, flat to 3.3 kHz, 50 dB down from 4.7 kHz.

use std::sync::LazyLock;

/// Taps other than zero on either side of the middle.
const SIDE: usize = 10;
/// Samples at the lower rate that the filter looks at.
const SPAN: usize = 2 * SIDE;

/// The taps at distances 1, 3, … 19; each stands on both sides. They sum up to a quarter.
static TAPS: LazyLock<[f32; SIDE]> = LazyLock::new(|| {
    let mut taps = [0.0f32; SIDE];
    for (index, tap) in taps.iter_mut().enumerate() {
        let at = (2 * index + 1) as f32;
        let sinc = (std::f32::consts::FRAC_PI_2 * at).sin() / (std::f32::consts::PI * at);
        // Blackman's window, which is zero just beyond the last tap.
        let phase = std::f32::consts::PI * at / SPAN as f32;
        *tap = sinc * (0.42 + 0.5 * phase.cos() + 0.08 * (2.0 * phase).cos());
    }
    let sum: f32 = taps.iter().sum();
    taps.map(|tap| tap * 0.25 / sum)
});

fn clamp(value: f32) -> i16 {
    value.clamp(-32_768.0, 32_767.0) as i16
}

/// 8 to 16 kHz.
#[derive(Debug, Clone)]
pub struct Doubler {
    past: [f32; SPAN],
}

impl Default for Doubler {
    fn default() -> Self {
        Self { past: [0.0; SPAN] }
    }
}

impl Doubler {
    /// Takes a sample and gives two; 1.2 ms late.
    pub fn step(&mut self, sample: i16) -> [i16; 2] {
        self.past.copy_within(1.., 0);
        self.past[SPAN - 1] = f32::from(sample);
        let between: f32 =
            TAPS.iter().enumerate().map(|(i, tap)| tap * (self.past[SIDE - 1 - i] + self.past[SIDE + i])).sum();
        [clamp(self.past[SIDE - 1]), clamp(2.0 * between)]
    }
}

/// 16 to 8 kHz.
#[derive(Debug, Clone)]
pub struct Halver {
    /// The samples between those that are kept.
    odd: [f32; SPAN],
    even: [f32; SIDE + 1],
}

impl Default for Halver {
    fn default() -> Self {
        Self { odd: [0.0; SPAN], even: [0.0; SIDE + 1] }
    }
}

impl Halver {
    /// Takes two samples and gives one; 1.2 ms late.
    pub fn step(&mut self, first: i16, second: i16) -> i16 {
        self.even.copy_within(1.., 0);
        self.even[SIDE] = f32::from(first);
        self.odd.copy_within(1.., 0);
        self.odd[SPAN - 1] = f32::from(second);
        // Between the two newest thirds of the odd samples lies the even one of ten steps ago.
        let sides: f32 =
            TAPS.iter().enumerate().map(|(i, tap)| tap * (self.odd[SIDE - 1 - i] + self.odd[SIDE + i])).sum();
        clamp(0.5 * self.even[1] + sides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32, rate: f32, count: usize) -> Vec<i16> {
        (0..count).map(|n| (10_000.0 * (std::f32::consts::TAU * hz * n as f32 / rate).sin()) as i16).collect()
    }

    fn level(samples: &[i16]) -> f32 {
        (samples.iter().map(|s| f32::from(*s).powi(2)).sum::<f32>() / samples.len() as f32).sqrt()
    }

    /// How much of a tone at `hz` is left, in decibels.
    fn halved_db(hz: f32) -> f32 {
        let mut halver = Halver::default();
        let wide = tone(hz, 16_000.0, 4_000);
        let narrow: Vec<i16> = wide.chunks_exact(2).map(|pair| halver.step(pair[0], pair[1])).collect();
        20.0 * (level(&narrow[100..]).max(0.1) / level(&wide)).log10()
    }

    #[test]
    fn what_a_telephone_carries_passes_and_what_would_fold_back_does_not() {
        for hz in [100.0, 1_000.0, 2_000.0, 3_000.0, 3_300.0] {
            assert!(halved_db(hz).abs() < 0.5, "{hz}: {}", halved_db(hz));
        }
        for hz in [5_000.0, 5_500.0, 6_500.0, 7_500.0] {
            assert!(halved_db(hz) < -50.0, "{hz}: {}", halved_db(hz));
        }
    }

    #[test]
    fn there_and_back_is_the_same_a_little_later() {
        let (mut up, mut down) = (Doubler::default(), Halver::default());
        let narrow = tone(1_100.0, 8_000.0, 800);
        let back: Vec<i16> = narrow
            .iter()
            .map(|sample| {
                let [first, second] = up.step(*sample);
                down.step(first, second)
            })
            .collect();
        let delay = (0..40)
            .min_by_key(|delay| {
                (100..600).map(|n| (i64::from(back[n + delay]) - i64::from(narrow[n])).pow(2)).sum::<i64>()
            })
            .unwrap();
        let worst = (100..600).map(|n| (i32::from(back[n + delay]) - i32::from(narrow[n])).abs()).max().unwrap();
        assert!(worst < 150, "{worst} at {delay}");
    }

    #[test]
    fn no_image_is_heard_above_4_khz() {
        let mut up = Doubler::default();
        let wide: Vec<f32> =
            tone(1_000.0, 8_000.0, 1_600).into_iter().flat_map(|s| up.step(s)).map(f32::from).collect();
        // At 16 kHz a frequency reads as half of itself for a meter made for 8 kHz.
        let share = |hz: f32| crate::goertzel::power_share(&wide[320..], hz / 2.0);
        assert!(share(1_000.0) > 0.99 && share(7_000.0) < 1e-4, "{} {}", share(1_000.0), share(7_000.0));
    }
}
