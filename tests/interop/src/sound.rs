//! What a phone records while it still writes.

use std::path::Path;

/// The samples after the 44-byte head of a mono 16-bit WAV that is still being written, and its rate
/// in hertz.
pub fn growing_wav(file: &Path) -> (Vec<i16>, u32) {
    let bytes = std::fs::read(file).unwrap_or_default();
    let (Some(head), Some(sound)) = (bytes.get(..44), bytes.get(44..)) else { return (Vec::new(), 8_000) };
    let rate = head.get(24..28).and_then(|b| b.try_into().ok()).map_or(8_000, u32::from_le_bytes);
    (sound.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect(), rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_phone::{tone_ms, write_tone};

    #[test]
    fn a_tone_is_heard_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tone.wav");
        write_tone(&file, 440, 1).unwrap();
        let (samples, rate) = growing_wav(&file);
        assert_eq!(rate, 8_000);
        assert!(tone_ms(&samples, 440.0, rate) >= 900);
        assert_eq!(tone_ms(&samples, 880.0, rate), 0);
        assert_eq!(tone_ms(&[0; 8_000], 440.0, rate), 0);
        assert!(growing_wav(&folder.path().join("none.wav")).0.is_empty());
    }
}
