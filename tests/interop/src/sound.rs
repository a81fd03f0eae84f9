//! Files to speak from and what was recorded.

use anyhow::{Context, Result};
use std::f64::consts::TAU;
use std::path::Path;

/// Writes a mono 16-bit WAV at 8 kHz with a steady tone.
pub fn write_tone(file: &Path, hz: f64, seconds: u32) -> Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(file, spec).with_context(|| file.display().to_string())?;
    for n in 0..8_000 * seconds {
        writer.write_sample(((TAU * hz * f64::from(n) / 8_000.0).sin() * 9_000.0) as i16)?;
    }
    Ok(writer.finalize()?)
}

/// The samples after the 44-byte head of a mono 16-bit WAV that is still being written, and its rate
/// in hertz.
pub fn growing_wav(file: &Path) -> (Vec<i16>, u32) {
    let bytes = std::fs::read(file).unwrap_or_default();
    let (Some(head), Some(sound)) = (bytes.get(..44), bytes.get(44..)) else { return (Vec::new(), 8_000) };
    let rate = head.get(24..28).and_then(|b| b.try_into().ok()).map_or(8_000, u32::from_le_bytes);
    (sound.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect(), rate.max(1))
}

/// Milliseconds of 100 ms windows in which a tone holds most of the energy (Goertzel).
pub fn tone_ms(samples: &[i16], hz: f64, rate: u32) -> u64 {
    let window = (rate as usize / 10).max(1);
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
        let folder = crate::Folder::new("sound").unwrap();
        let file = folder.path().join("tone.wav");
        write_tone(&file, 440.0, 1).unwrap();
        let (samples, rate) = growing_wav(&file);
        assert_eq!(rate, 8_000);
        assert!(tone_ms(&samples, 440.0, rate) >= 900);
        assert_eq!(tone_ms(&samples, 880.0, rate), 0);
        assert_eq!(tone_ms(&[0; 8_000], 440.0, rate), 0);
        assert!(growing_wav(&folder.path().join("none.wav")).0.is_empty());
    }
}
