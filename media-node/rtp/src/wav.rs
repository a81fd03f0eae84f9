//! WAV files: prompts in, recordings out.

use std::io::Cursor;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use crate::api::Law;

/// Samples a second of everything here.
const RATE: u32 = 8_000;
/// The longest sound taken: half an hour.
const MAX_SECONDS: u64 = 1_800;
/// Taps of the low-pass on each side of a sample, counted at the lower rate.
const REACH: f64 = 16.0;

/// Why a WAV file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// It is damaged, or no WAV file of linear samples.
    #[error("not a usable WAV file: {0}; save it as 16-bit PCM")]
    Format(String),
    /// Its sample rate makes no sense for speech.
    #[error("{0} samples a second; 8000 to 96000 are taken")]
    Rate(u32),
    /// Too many channels.
    #[error("{0} channels; one or two are taken")]
    Channels(u16),
    /// Too long.
    #[error("longer than {MAX_SECONDS} s")]
    TooLong,
}

/// Reads a WAV file as 8 kHz mono; two channels are joined, other rates converted.
///
/// # Errors
/// The file is damaged, too long, or of a kind that is not taken.
pub fn read(bytes: &[u8]) -> Result<Vec<i16>, WavError> {
    let format = |error: hound::Error| WavError::Format(error.to_string());
    let mut reader = WavReader::new(Cursor::new(bytes)).map_err(format)?;
    let spec = reader.spec();
    if !(RATE..=96_000).contains(&spec.sample_rate) {
        return Err(WavError::Rate(spec.sample_rate));
    }
    if !(1..=2).contains(&spec.channels) {
        return Err(WavError::Channels(spec.channels));
    }
    if u64::from(reader.duration()) > MAX_SECONDS * u64::from(spec.sample_rate) {
        return Err(WavError::TooLong);
    }
    let samples: Vec<f32> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().collect::<Result<_, _>>().map_err(format)?,
        SampleFormat::Int => {
            let scale = 1.0 / (1u64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
            let scaled = reader.samples::<i32>().map(|sample| sample.map(|sample| sample as f32 * scale));
            scaled.collect::<Result<_, _>>().map_err(format)?
        }
    };
    let channels = usize::from(spec.channels);
    let mono: Vec<f32> =
        samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    let at_rate = if spec.sample_rate == RATE { mono } else { resampled(&mono, spec.sample_rate) };
    Ok(at_rate.into_iter().map(|sample| (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).collect())
}

/// Reads a WAV file as raw µ-law: what `Sound::Mulaw` plays.
///
/// # Errors
/// As [`read`].
pub fn read_mulaw(bytes: &[u8]) -> Result<Vec<u8>, WavError> {
    Ok(read(bytes)?.into_iter().map(|sample| Law::Mu.encode(sample)).collect())
}

/// Down to 8 kHz through a windowed sinc that keeps what lies below 3.8 kHz.
fn resampled(samples: &[f32], rate: u32) -> Vec<f32> {
    let ratio = f64::from(rate) / f64::from(RATE);
    let cutoff = 0.95 / ratio;
    let reach = REACH * ratio;
    let count = (samples.len() as f64 / ratio) as usize;
    let value = |index: usize| {
        let centre = index as f64 * ratio;
        let (from, to) = ((centre - reach).ceil().max(0.0) as usize, (centre + reach) as usize);
        let window = samples.get(from..=to.min(samples.len().saturating_sub(1))).unwrap_or_default();
        let taps = window.iter().zip(from..).map(|(sample, at)| {
            let distance = at as f64 - centre;
            let angle = std::f64::consts::PI * distance * cutoff;
            let sinc = if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle };
            let taper = 0.5 + 0.5 * (std::f64::consts::PI * distance / reach).cos();
            f64::from(*sample) * sinc * taper * cutoff
        });
        taps.sum::<f64>() as f32
    };
    (0..count).map(value).collect()
}

/// Writes 16-bit samples at 8 kHz; with two channels they alternate, left first.
///
/// # Errors
/// More than 4 GB, which is what the format can hold.
pub fn write(samples: &[i16], channels: u16) -> Result<Vec<u8>, WavError> {
    let format = |error: hound::Error| WavError::Format(error.to_string());
    let spec = WavSpec { channels, sample_rate: RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).map_err(format)?;
    for sample in samples {
        writer.write_sample(*sample).map_err(format)?;
    }
    writer.finalize().map_err(format)?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goertzel::power_share;
    use proptest::prelude::*;

    fn file(rate: u32, channels: u16, hz: f32) -> Vec<u8> {
        let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        for index in 0..rate {
            let sample = (std::f32::consts::TAU * hz * index as f32 / rate as f32).sin() * 12_000.0;
            for _ in 0..channels {
                writer.write_sample(sample as i16).unwrap();
            }
        }
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_second_at_any_rate_is_the_same_second() {
        for (rate, channels) in [(8_000, 1), (16_000, 1), (22_050, 2), (44_100, 2), (48_000, 1)] {
            let samples: Vec<f32> = read(&file(rate, channels, 1_000.0)).unwrap().into_iter().map(f32::from).collect();
            assert!((7_999..=8_000).contains(&samples.len()), "{rate}: {}", samples.len());
            assert!(power_share(&samples[400..7_600], 1_000.0) > 0.98, "{rate}");
            let loudness = samples[400..7_600].iter().map(|sample| sample * sample).sum::<f32>() / 7_200.0;
            assert!((0.9..1.1).contains(&(loudness / 7.2e7)), "{rate}: {loudness}");
        }
    }

    #[test]
    fn what_telephones_cannot_carry_does_not_come_back_as_another_tone() {
        let samples: Vec<f32> = read(&file(48_000, 1, 6_000.0)).unwrap().into_iter().map(f32::from).collect();
        assert!(samples[400..7_600].iter().all(|sample| sample.abs() < 150.0));
    }

    #[test]
    fn sixteen_bits_come_back_as_they_were() {
        let samples: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        assert_eq!(read(&write(&samples, 1).unwrap()).unwrap(), samples);
    }

    #[test]
    fn what_was_written_is_read_and_nonsense_named() {
        let samples = [0, 1_000, -1_000, i16::MAX, i16::MIN];
        assert_eq!(read(&write(&samples, 1).unwrap()).unwrap(), samples);
        assert_eq!(read_mulaw(&write(&[0; 3], 1).unwrap()).unwrap(), [0xFF; 3]);
        assert!(read(b"RIFFnonsense").unwrap_err().to_string().contains("16-bit PCM"));
        assert_eq!(read(&file(4_000, 1, 100.0)), Err(WavError::Rate(4_000)));
        assert_eq!(read(&file(8_000, 3, 100.0)), Err(WavError::Channels(3)));
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0usize..60, value in any::<u8>(), cut in 0usize..200) {
            let mut bytes = file(8_000, 1, 300.0);
            bytes[at] = value;
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = read(&bytes);
        }
    }
}
