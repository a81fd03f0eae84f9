//! Sounds to speak with and ears to hear them.

use anyhow::{Context, Result};
use std::f64::consts::TAU;
use std::path::Path;

/// Writes a mono 16-bit WAV with a steady tone.
pub fn write_tone(file: &Path, hz: f64, seconds: u32, rate: u32) -> Result<()> {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(file, spec).with_context(|| file.display().to_string())?;
    for n in 0..rate * seconds {
        writer.write_sample(((TAU * hz * f64::from(n) / f64::from(rate)).sin() * 9_000.0) as i16)?;
    }
    Ok(writer.finalize()?)
}

/// A WAV's channels as samples, and its rate in hertz.
pub fn read_wav(bytes: &[u8]) -> Result<(Vec<Vec<i16>>, u32)> {
    let mut reader = hound::WavReader::new(std::io::Cursor::new(bytes))?;
    let spec = reader.spec();
    let mut channels = vec![Vec::new(); usize::from(spec.channels)];
    for (n, sample) in reader.samples::<i16>().enumerate() {
        channels[n % usize::from(spec.channels)].push(sample?);
    }
    Ok((channels, spec.sample_rate))
}

/// Milliseconds of 100 ms windows in which a tone holds most of the energy (Goertzel).
pub fn tone_ms(samples: &[i16], hz: f64, rate: u32) -> u64 {
    let window = rate as usize / 10;
    let hits = samples.chunks_exact(window).filter(|chunk| {
        let coefficient = 2.0 * (TAU * hz / f64::from(rate)).cos();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_heard_and_another_is_not() {
        let samples: Vec<i16> =
            (0..8_000).map(|n| ((TAU * 440.0 * f64::from(n) / 8_000.0).sin() * 8_000.0) as i16).collect();
        assert_eq!(tone_ms(&samples, 440.0, 8_000), 1_000);
        assert_eq!(tone_ms(&samples, 880.0, 8_000), 0);
        assert_eq!(tone_ms(&[0; 8_000], 440.0, 8_000), 0);
    }
}
