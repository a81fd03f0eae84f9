//! Ears for what was recorded.

use anyhow::Result;

pub use hotline_phone::tone_ms;

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
