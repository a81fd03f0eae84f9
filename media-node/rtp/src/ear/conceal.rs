//! What is heard in place of a lost packet: the voice's last period repeated and faded out, in the
//! spirit of G.711 appendix I; and voice shortened by a period where too much of it is waiting.

use crate::codec::Rate;

/// Periods looked for: 66 to 200 Hz, in 1/8 ms.
const MIN_PERIOD: usize = 40;
const MAX_PERIOD: usize = 120;
/// What is compared to find a period, in 1/8 ms: 20 ms.
const TEMPLATE: usize = 160;
/// What is remembered, in 1/8 ms: 50 ms.
const HISTORY: usize = 400;
/// Made-up voice is as loud as before for so long, milliseconds, and gone after [`GONE_MS`].
const LOUD_MS: usize = 10;
/// Made-up voice is silence from here on, milliseconds.
pub const GONE_MS: usize = 60;
/// The crossfade back to what really came, in 1/8 ms: 5 ms.
const FADE: usize = 40;
/// Correlation from which on two stretches are alike enough to be joined.
const ALIKE: f32 = 0.65;
/// Mean square below which anything may be cut out unheard.
const QUIET: f32 = 10_000.0;

/// How alike two stretches are, −1 to 1, looking at every `step`th sample.
fn likeness(one: &[i16], other: &[i16], step: usize) -> f32 {
    let (mut product, mut one_power, mut other_power) = (0.0f32, 1.0f32, 1.0f32);
    for (a, b) in one.iter().step_by(step).zip(other.iter().step_by(step)) {
        let (a, b) = (f32::from(*a), f32::from(*b));
        product += a * b;
        one_power += a * a;
        other_power += b * b;
    }
    product / (one_power * other_power).sqrt()
}

fn blend(from: i16, to: i16, share: f32) -> i16 {
    (f32::from(from) * (1.0 - share) + f32::from(to) * share) as i16
}

/// Remembers what was heard and goes on from there.
#[derive(Debug)]
pub struct Concealer {
    scale: usize,
    history: Vec<i16>,
    /// The period that is repeated while something is missing.
    period: Vec<i16>,
    /// Samples made up so far in this gap.
    made_up: usize,
}

impl Concealer {
    /// For samples at this rate.
    pub fn new(rate: Rate) -> Self {
        let scale = rate.khz() / 8;
        Self { scale, history: vec![0; HISTORY * scale], period: Vec::new(), made_up: 0 }
    }

    /// Takes what is played; its beginning is blended with what was made up before it.
    pub fn heard(&mut self, samples: &mut [i16]) {
        if self.made_up > 0 {
            let fade = (FADE * self.scale).min(samples.len());
            for index in 0..fade {
                let made_up = self.next_made_up();
                if let Some(sample) = samples.get_mut(index) {
                    *sample = blend(made_up, *sample, index as f32 / fade as f32);
                }
            }
            self.made_up = 0;
        }
        self.remember(samples);
    }

    /// Takes what somebody else made up: nothing is blended after it.
    pub fn remember(&mut self, samples: &[i16]) {
        let room = self.history.len();
        let new = samples.get(samples.len().saturating_sub(room)..).unwrap_or(samples);
        self.history.copy_within(new.len().., 0);
        if let Some(end) = self.history.get_mut(room - new.len()..) {
            end.copy_from_slice(new);
        }
    }

    /// Fills in for what is missing.
    pub fn conceal(&mut self, into: &mut [i16]) {
        if self.made_up == 0 {
            self.find_period();
        }
        for sample in into.iter_mut() {
            *sample = self.next_made_up();
        }
        self.remember(into);
    }

    fn next_made_up(&mut self) -> i16 {
        let per_ms = 8 * self.scale;
        let at = self.made_up;
        self.made_up += 1;
        let faded = at.saturating_sub(LOUD_MS * per_ms) as f32 / ((GONE_MS - LOUD_MS) * per_ms) as f32;
        if faded >= 1.0 || self.period.is_empty() {
            return 0;
        }
        let sample = self.period.get(at % self.period.len()).copied().unwrap_or_default();
        (f32::from(sample) * (1.0 - faded)) as i16
    }

    fn find_period(&mut self) {
        let (scale, end) = (self.scale, self.history.len());
        let template = self.history.get(end - TEMPLATE * scale..).unwrap_or_default();
        let at = |lag: usize| self.history.get(end - TEMPLATE * scale - lag..end - lag).unwrap_or_default();
        let lags = (MIN_PERIOD..=MAX_PERIOD).map(|lag| lag * scale);
        let best = lags
            .map(|lag| (lag, likeness(template, at(lag), 2 * scale)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(MAX_PERIOD * scale, |(lag, _)| lag);
        let last = self.history.get(end - best..).unwrap_or_default();
        let before = self.history.get(end - 2 * best..end - best).unwrap_or_default();
        // The last quarter leads over into the period's own beginning.
        let quarter = best / 4;
        let blended = last.iter().zip(before).enumerate().map(|(index, (sample, earlier))| {
            let into = (index + quarter).saturating_sub(best) as f32 / quarter.max(1) as f32;
            blend(*sample, *earlier, into)
        });
        self.period = blended.collect();
    }
}

/// Takes one period out of samples that wait to be played, where that is not heard (or `anyway`).
/// Returns the samples taken out: none where they are too few or too little alike.
pub fn shorten(waiting: &mut Vec<i16>, rate: Rate, anyway: bool) -> usize {
    let scale = rate.khz() / 8;
    let fade = 2 * FADE * scale;
    let Some(front) = waiting.get(..fade + MAX_PERIOD * scale) else {
        return 0;
    };
    let power = front.iter().map(|sample| f32::from(*sample).powi(2)).sum::<f32>() / front.len() as f32;
    let here = front.get(..fade).unwrap_or_default();
    let there = |lag: usize| front.get(lag..lag + fade).unwrap_or_default();
    let best = (MIN_PERIOD..=MAX_PERIOD)
        .map(|lag| lag * scale)
        .map(|lag| (lag, likeness(here, there(lag), 2 * scale)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((lag, _)) = best.filter(|(_, alike)| anyway || power < QUIET || *alike > ALIKE) else {
        return 0;
    };
    for index in 0..fade {
        let later = waiting.get(index + lag).copied().unwrap_or_default();
        if let Some(sample) = waiting.get_mut(index) {
            *sample = blend(*sample, later, index as f32 / fade as f32);
        }
    }
    waiting.drain(fade..fade + lag);
    lag
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A voice of `hz` with harmonics.
    fn voice(hz: f32, rate: Rate, count: usize) -> Vec<i16> {
        let step = std::f32::consts::TAU * hz / (rate.khz() * 1_000) as f32;
        (0..count)
            .map(|n| (1..8).map(|h| 4_000.0 * (step * (h * n) as f32).sin() / h as f32).sum::<f32>() as i16)
            .collect()
    }

    fn error_db(heard: &[i16], sent: &[i16]) -> f32 {
        let power = |samples: &mut dyn Iterator<Item = f32>| samples.map(|sample| sample * sample).sum::<f32>();
        let error = power(&mut heard.iter().zip(sent).map(|(a, b)| f32::from(*a) - f32::from(*b)));
        10.0 * (error / power(&mut sent.iter().map(|sample| f32::from(*sample)))).log10()
    }

    #[test]
    fn one_lost_frame_of_a_voice_is_hardly_missed() {
        for rate in [Rate::Narrow, Rate::Wide] {
            for hz in [80.0, 125.0, 190.0] {
                let sent = voice(hz, rate, 10 * rate.frame());
                let mut concealer = Concealer::new(rate);
                let mut heard = Vec::new();
                for (index, frame) in sent.chunks(rate.frame()).enumerate() {
                    let mut frame = frame.to_vec();
                    if index == 5 {
                        concealer.conceal(&mut frame)
                    } else {
                        concealer.heard(&mut frame)
                    }
                    heard.extend(frame);
                }
                let lost = 5 * rate.frame()..6 * rate.frame();
                let error = error_db(&heard[lost.clone()], &sent[lost]);
                assert!(error < -7.0, "{rate:?} {hz}: {error} dB");
                assert_eq!(heard[7 * rate.frame()..], sent[7 * rate.frame()..]);
                // No click: no step is much larger than those of the voice itself.
                let step = |samples: &[i16]| {
                    samples.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap()
                };
                assert!(step(&heard) < 2 * step(&sent), "{rate:?} {hz}: {} {}", step(&heard), step(&sent));
            }
        }
    }

    #[test]
    fn a_long_gap_fades_to_silence() {
        let mut concealer = Concealer::new(Rate::Narrow);
        concealer.heard(&mut voice(100.0, Rate::Narrow, 800));
        let mut gap = vec![1; 160 * 5];
        for frame in gap.chunks_mut(160) {
            concealer.conceal(frame);
        }
        let loudest = |range: std::ops::Range<usize>| gap[range].iter().map(|s| s.abs()).max().unwrap();
        assert!(loudest(0..80) > 4_000);
        assert!(loudest(240..320) < 4_000 && loudest(240..320) > 500);
        assert_eq!(loudest(480..800), 0);
    }

    #[test]
    fn shortening_takes_out_whole_periods() {
        for rate in [Rate::Narrow, Rate::Wide] {
            let period = rate.khz() * 8;
            let mut waiting = voice(125.0, rate, 60 * rate.khz());
            let before = waiting.len();
            let taken = shorten(&mut waiting, rate, false);
            assert_eq!((taken, waiting.len()), (period, before - period));
            let sent = voice(125.0, rate, waiting.len());
            assert!(error_db(&waiting, &sent) < -25.0);
        }
        assert_eq!(shorten(&mut voice(125.0, Rate::Narrow, 199), Rate::Narrow, true), 0);
    }

    #[test]
    fn noise_is_only_shortened_where_it_is_quiet_or_must_be() {
        let mut state = 5u32;
        let mut noise = |peak: i32| -> Vec<i16> {
            (0..480)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    ((state >> 16) as i32 % (2 * peak) - peak) as i16
                })
                .collect()
        };
        assert_eq!(shorten(&mut noise(8_000), Rate::Narrow, false), 0);
        assert!(shorten(&mut noise(8_000), Rate::Narrow, true) > 0);
        assert!(shorten(&mut noise(100), Rate::Narrow, false) > 0);
    }
}
