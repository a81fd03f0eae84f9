//! Any rate to 8 kHz by a windowed-sinc low-pass.

use std::f64::consts::PI;

/// Taps on each side of a sample, in periods of the slower rate.
const HALF_WIDTH: f64 = 16.0;
/// Where the low-pass cuts, as a part of half the target rate: the telephone band ends at 3.4 kHz.
const CUT: f64 = 0.9;

/// The same sound at 8 kHz.
pub(crate) fn to_8k(samples: &[i16], rate: u32) -> Vec<i16> {
    if rate == 8_000 || rate == 0 {
        return samples.to_vec();
    }
    let step = f64::from(rate) / 8_000.0;
    // Half the target rate when slowing down, half the source rate when speeding up.
    let cutoff = CUT * 0.5 / step.max(1.0);
    let reach = HALF_WIDTH * step.max(1.0);
    let length = (samples.len() as f64 / step).floor() as usize;
    (0..length)
        .map(|i| {
            let centre = i as f64 * step;
            let first = (centre - reach).ceil().max(0.0) as usize;
            let last = ((centre + reach).floor() as usize).min(samples.len().saturating_sub(1));
            let mut sum = 0.0;
            let mut gain = 0.0;
            for (offset, sample) in samples.get(first..=last).unwrap_or_default().iter().enumerate() {
                let distance = (first + offset) as f64 - centre;
                let weight = tap(distance, cutoff, reach);
                sum += weight * f64::from(*sample);
                gain += weight;
            }
            if gain.abs() < 1e-9 { 0 } else { (sum / gain).round().clamp(-32_768.0, 32_767.0) as i16 }
        })
        .collect()
}

/// A sinc under a Hann window.
fn tap(distance: f64, cutoff: f64, reach: f64) -> f64 {
    let x = 2.0 * PI * cutoff * distance;
    let sinc = if x.abs() < 1e-9 { 1.0 } else { x.sin() / x };
    sinc * (0.5 + 0.5 * (PI * distance / reach).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: u32, samples: usize) -> Vec<i16> {
        (0..samples).map(|i| (10_000.0 * (2.0 * PI * hz * i as f64 / f64::from(rate)).sin()) as i16).collect()
    }

    fn level(samples: &[i16]) -> f64 {
        let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
        (middle.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / middle.len() as f64).sqrt()
    }

    #[test]
    fn keeps_the_band_and_drops_what_would_alias() {
        let low = to_8k(&tone(1_000.0, 22_050, 22_050), 22_050);
        assert_eq!(low.len(), 8_000);
        assert!((level(&low) - 7_071.0).abs() < 150.0, "{}", level(&low));
        // 5 kHz would come back as 3 kHz.
        let high = to_8k(&tone(5_000.0, 22_050, 22_050), 22_050);
        assert!(level(&high) < 70.0, "{}", level(&high));
    }

    #[test]
    fn silence_and_nothing_stay_so() {
        assert!(to_8k(&[], 22_050).is_empty());
        assert!(to_8k(&[0; 500], 22_050).iter().all(|s| *s == 0));
    }
}
