//! WAV files to 8 kHz mono.

use hotline_service::wave;
use hotline_wire::recording::ChannelLaw;
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use std::io::Cursor;

/// The rate of the telephone network, hertz.
const RATE: u32 = 8_000;
/// The longest prompt, seconds.
const LONGEST_S: u32 = 300;
/// The shortest prompt, milliseconds.
const SHORTEST_MS: usize = 50;
/// Zero crossings of the interpolation kernel on either side.
const CROSSINGS: f64 = 16.0;

/// The samples of a WAV file at 8 kHz, channels mixed; or what is wrong and what to send instead.
pub fn read(bytes: &[u8]) -> Result<Vec<i16>, String> {
    if bytes.is_empty() {
        return Err("empty; send the WAV file as the body".into());
    }
    let unreadable = |e: hound::Error| format!("not a readable WAV file ({e}); save it as WAV, PCM 16 bits");
    let expanded = expand(bytes).map_err(unreadable)?;
    let reader = WavReader::new(expanded.as_deref().unwrap_or(bytes)).map_err(unreadable)?;
    let spec = reader.spec();
    if !(RATE..=192_000).contains(&spec.sample_rate) {
        return Err(format!("{} samples a second; save it with 8,000 to 48,000", spec.sample_rate));
    }
    if !(1..=2).contains(&spec.channels) {
        return Err(format!("{} channels; save it as mono or stereo", spec.channels));
    }
    let channels = usize::from(spec.channels);
    let most = LONGEST_S as usize * spec.sample_rate as usize * channels;
    let samples = linear(reader, most)?;
    if samples.len() > most {
        return Err(format!("longer than {LONGEST_S} seconds; split it"));
    }
    let mono: Vec<f32> =
        samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    if mono.len() * 1_000 / (spec.sample_rate as usize) < SHORTEST_MS {
        return Err(format!("shorter than {SHORTEST_MS} milliseconds; is this the right file?"));
    }
    let resampled = if spec.sample_rate == RATE { mono } else { resample(&mono, spec.sample_rate) };
    Ok(resampled.into_iter().map(|x| (x * 32_767.0).round().clamp(-32_768.0, 32_767.0) as i16).collect())
}

/// A WAV file of telephone samples (ITU-T G.711, format tags 6 and 7) with linear ones instead, which
/// the reader does not do by itself; `None`: it is another kind of file.
fn expand(bytes: &[u8]) -> Result<Option<Vec<u8>>, hound::Error> {
    let word = |chunk: &[u8], at: usize| chunk.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    let (Some(format), Some(data)) = (chunk(bytes, b"fmt "), chunk(bytes, b"data")) else {
        return Ok(None);
    };
    let law = match (word(format, 0), word(format, 14)) {
        (6, 8) => ChannelLaw::A,
        (7, 8) => ChannelLaw::Mu,
        _ => return Ok(None),
    };
    if word(format, 2) == 0 {
        return Ok(None);
    }
    let sample_rate = u32::from(word(format, 4)) | (u32::from(word(format, 6)) << 16);
    let spec =
        WavSpec { channels: word(format, 2), sample_rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut linear = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut linear, spec)?;
    for sample in data.iter().filter_map(|byte| wave::linear(law).get(usize::from(*byte))) {
        writer.write_sample(*sample)?;
    }
    writer.finalize()?;
    Ok(Some(linear.into_inner()))
}

/// The body of the first chunk of a kind, as far as it is there.
fn chunk<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    let mut rest = bytes.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WAVE")?;
    while let Some((head, body)) = rest.split_at_checked(8) {
        let size = u32::from_le_bytes(head.get(4..)?.try_into().ok()?) as usize;
        if head.starts_with(kind) {
            return Some(body.get(..size).unwrap_or(body));
        }
        rest = body.get(size + size % 2..)?;
    }
    None
}

/// Samples between -1 and 1, at most one more than `most`.
fn linear(reader: WavReader<&[u8]>, most: usize) -> Result<Vec<f32>, String> {
    let broken = |e: hound::Error| format!("the file is cut off or broken ({e}); export it again");
    let spec = reader.spec();
    match spec.sample_format {
        SampleFormat::Float => reader
            .into_samples::<f32>()
            .take(most + 1)
            .map(|x| x.map(|x| if x.is_finite() { x.clamp(-1.0, 1.0) } else { 0.0 }).map_err(broken))
            .collect(),
        SampleFormat::Int => {
            let scale = 2f32.powi(i32::from(spec.bits_per_sample) - 1);
            reader.into_samples::<i32>().take(most + 1).map(|x| x.map(|x| x as f32 / scale).map_err(broken)).collect()
        }
    }
}

/// Band-limited interpolation with a Hann-windowed sinc. The places between input samples repeat,
/// so there is one kernel for each.
fn resample(input: &[f32], from: u32) -> Vec<f32> {
    let common = gcd(from, RATE);
    let (up, down) = ((RATE / common) as usize, (from / common) as usize);
    // Cut off a little below half of the new rate, in cycles an input sample.
    let cutoff = 0.46 * f64::from(RATE) / f64::from(from);
    let half = (CROSSINGS / (2.0 * cutoff)).ceil() as usize;
    let kernels: Vec<Vec<f32>> = (0..up).map(|phase| kernel(phase as f64 / up as f64, cutoff, half)).collect();
    let count = input.len() * up / down;
    (0..count)
        .map(|n| {
            let place = n * down;
            let (centre, phase) = (place / up, place % up);
            let first = centre.saturating_sub(half);
            let skipped = first + half - centre;
            let taps = kernels.get(phase).and_then(|kernel| kernel.get(skipped..)).unwrap_or_default();
            let samples = input.get(first..).unwrap_or_default();
            samples.iter().zip(taps).map(|(x, tap)| x * tap).sum()
        })
        .collect()
}

/// Weights of the samples from `half` before to `half` after a place that lies `phase` behind a
/// sample; they add up to one.
fn kernel(phase: f64, cutoff: f64, half: usize) -> Vec<f32> {
    use std::f64::consts::PI;
    let weight = |k: usize| {
        let d = k as f64 - half as f64 - phase;
        let angle = 2.0 * PI * cutoff * d;
        let sinc = if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle };
        sinc * (0.5 + 0.5 * (PI * d / (half as f64 + 1.0)).cos())
    };
    let weights: Vec<f64> = (0..=2 * half).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| (w / sum) as f32).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(rate: u32, channels: u16, seconds: f64, hz: f64) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        for n in 0..(f64::from(rate) * seconds) as usize {
            let x = (2.0 * std::f64::consts::PI * hz * n as f64 / f64::from(rate)).sin();
            for _ in 0..channels {
                writer.write_sample((x * 16_000.0) as i16).unwrap();
            }
        }
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    /// The amplitude of one frequency (Goertzel).
    fn amplitude(samples: &[i16], hz: f64) -> f64 {
        let w = 2.0 * std::f64::consts::PI * hz / 8_000.0;
        let (mut re, mut im) = (0.0, 0.0);
        for (n, x) in samples.iter().enumerate() {
            re += f64::from(*x) * (w * n as f64).cos();
            im += f64::from(*x) * (w * n as f64).sin();
        }
        2.0 * (re * re + im * im).sqrt() / samples.len() as f64
    }

    #[test]
    fn a_tone_keeps_its_pitch_and_strength_at_every_rate() {
        for (rate, channels) in [(8_000, 1), (11_025, 1), (12_347, 1), (16_000, 2), (44_100, 2), (48_000, 1)] {
            let samples = read(&wav(rate, channels, 0.5, 1_000.0)).unwrap();
            assert!((samples.len() as i64 - 4_000).abs() <= 1, "{rate}: {}", samples.len());
            let strength = amplitude(&samples, 1_000.0);
            assert!((15_000.0..17_000.0).contains(&strength), "{rate}: {strength}");
        }
    }

    #[test]
    fn telephone_samples_are_expanded() {
        for (tag, law) in [(6u8, ChannelLaw::A), (7, ChannelLaw::Mu)] {
            let tone: Vec<i16> = read(&wav(8_000, 1, 0.5, 1_000.0)).unwrap();
            let coded = |sample: &i16| {
                let nearest = |byte: &u8| wave::linear(law)[usize::from(*byte)].abs_diff(*sample);
                (0..=255u8).min_by_key(nearest).unwrap()
            };
            let data: Vec<u8> = tone.iter().map(coded).collect();
            let mut file = b"RIFF\0\0\0\0WAVEfmt \x12\0\0\0".to_vec();
            file.extend([tag, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x40, 0x1f, 0, 0, 1, 0, 8, 0, 0, 0]);
            file.extend(b"fact\x04\0\0\0\xa0\x0f\0\0data\xa0\x0f\0\0");
            file.extend(&data);
            let samples = read(&file).unwrap();
            assert_eq!(samples.len(), 4_000);
            assert!((15_000.0..17_000.0).contains(&amplitude(&samples, 1_000.0)));
            for cut in 0..60 {
                let _ = read(&file[..cut]);
            }
        }
    }

    #[test]
    fn what_the_telephone_cannot_carry_does_not_fold_back() {
        let samples = read(&wav(48_000, 1, 0.5, 7_000.0)).unwrap();
        assert!(amplitude(&samples, 1_000.0) < 160.0, "40 dB down");
    }

    #[test]
    fn mistakes_are_named_with_a_remedy() {
        let good = wav(8_000, 1, 0.5, 440.0);
        let cases: [(Vec<u8>, &str); 5] = [
            (vec![], "empty"),
            (b"ID3 this is an mp3".to_vec(), "save it as WAV"),
            (good[..good.len() - 101].to_vec(), "cut off"),
            (wav(8_000, 1, 0.01, 440.0), "shorter than 50"),
            (wav(8_000, 1, 301.0, 440.0), "longer than 300"),
        ];
        for (bytes, expected) in cases {
            let message = read(&bytes).unwrap_err();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }
}
