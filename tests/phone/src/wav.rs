//! WAV files at 8 kHz.

use std::path::Path;

use crate::phone::PhoneError;
use crate::tone::Tone;

/// Reads a mono or stereo WAV of 16 bits at 8 kHz; of stereo the left channel.
///
/// # Errors
/// [`PhoneError::Wav`] with the file and what it must be.
pub fn read_wav(path: &Path) -> Result<Vec<i16>, PhoneError> {
    let wrong = |reason: String| PhoneError::Wav { file: path.display().to_string(), reason };
    let mut reader = hound::WavReader::open(path).map_err(|e| wrong(e.to_string()))?;
    let spec = reader.spec();
    if spec.sample_rate != 8_000 || spec.bits_per_sample != 16 || spec.sample_format != hound::SampleFormat::Int {
        return Err(wrong(format!(
            "16 bit samples at 8000 Hz are needed, it has {} bit at {} Hz; convert it, for example with sox",
            spec.bits_per_sample, spec.sample_rate
        )));
    }
    let channels = usize::from(spec.channels.max(1));
    reader.samples::<i16>().step_by(channels).map(|s| s.map_err(|e| wrong(e.to_string()))).collect()
}

/// Writes a mono WAV of 16 bits at 8 kHz with a steady tone: a microphone for phones that read files.
///
/// # Errors
/// [`PhoneError::Wav`] with the file and the reason.
pub fn write_tone(path: &Path, hz: u32, seconds: u32) -> Result<(), PhoneError> {
    let mut tone = Tone::new(hz);
    let samples: Vec<i16> = (0..8_000 * seconds).map(|_| tone.sample()).collect();
    write_wav(path, &samples)
}

/// Writes a mono WAV of 16 bits at 8 kHz.
///
/// # Errors
/// [`PhoneError::Wav`] with the file and the reason.
pub fn write_wav(path: &Path, samples: &[i16]) -> Result<(), PhoneError> {
    let wrong = |e: hound::Error| PhoneError::Wav { file: path.display().to_string(), reason: e.to_string() };
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).map_err(wrong)?;
    for sample in samples {
        writer.write_sample(*sample).map_err(wrong)?;
    }
    writer.finalize().map_err(wrong)
}
