//! Sounds: files in stand-alone mode, and a bounded cache in front of object storage.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hotline_rtp::api::Law;

/// Reads raw µ-law (`.ulaw`) or an 8 kHz mono 16-bit WAV file.
///
/// # Errors
/// What is wrong with the file and what would be right.
pub fn read_file(path: &Path, limit: usize) -> Result<Arc<[u8]>, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    if bytes.len() > limit.saturating_mul(2) + 4_096 {
        return Err("the sound is too long".into());
    }
    if bytes.starts_with(b"RIFF") {
        return wav(&bytes);
    }
    if bytes.is_empty() {
        return Err("the file is empty: write raw µ-law or a WAV file".into());
    }
    Ok(bytes.into())
}

fn wav(bytes: &[u8]) -> Result<Arc<[u8]>, String> {
    const WANTED: &str = "convert it to a WAV of 8000 Hz, one channel, 16 bits";
    let mut reader = hound::WavReader::new(bytes).map_err(|e| format!("not a WAV file ({e}): {WANTED}"))?;
    let spec = reader.spec();
    if spec.sample_rate != 8_000 || spec.channels != 1 || spec.bits_per_sample != 16 {
        return Err(WANTED.into());
    }
    reader.samples::<i16>().map(|sample| sample.map(|s| Law::Mu.encode(s)).map_err(|e| e.to_string())).collect()
}

#[derive(Default)]
struct Entries {
    map: HashMap<String, (Arc<[u8]>, u64)>,
    bytes: usize,
    clock: u64,
}

/// The least recently used sounds are forgotten above a limit.
pub struct SoundCache {
    entries: Mutex<Entries>,
    limit: usize,
}

impl SoundCache {
    /// A cache of at most `limit` bytes of sound.
    pub fn new(limit: usize) -> Self {
        Self { entries: Mutex::new(Entries::default()), limit }
    }

    /// A sound that is there.
    pub fn get(&self, key: &str) -> Option<Arc<[u8]>> {
        let mut entries = self.entries.lock().unwrap_or_else(|e| e.into_inner());
        entries.clock += 1;
        let clock = entries.clock;
        let (sound, used) = entries.map.get_mut(key)?;
        *used = clock;
        Some(sound.clone())
    }

    /// Keeps a sound, and forgets others where there is no room.
    pub fn put(&self, key: &str, sound: Arc<[u8]>) {
        if sound.len() > self.limit {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(|e| e.into_inner());
        entries.clock += 1;
        let clock = entries.clock;
        entries.bytes += sound.len();
        if let Some((old, _)) = entries.map.insert(key.to_string(), (sound, clock)) {
            entries.bytes -= old.len();
        }
        while entries.bytes > self.limit {
            let oldest = entries.map.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            let Some((old, _)) = oldest.and_then(|key| entries.map.remove(&key)) else {
                break;
            };
            entries.bytes -= old.len();
        }
    }

    /// Bytes of sound in memory.
    pub fn bytes(&self) -> usize {
        self.entries.lock().unwrap_or_else(|e| e.into_inner()).bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = SoundCache::new(100);
        let sound = |n: usize| -> Arc<[u8]> { vec![0u8; n].into() };
        cache.put("a", sound(40));
        cache.put("b", sound(40));
        assert!(cache.get("a").is_some());
        cache.put("c", sound(40));
        assert!(cache.get("b").is_none());
        assert!(cache.get("a").is_some() && cache.get("c").is_some());
        assert_eq!(cache.bytes(), 80);
        cache.put("huge", sound(101));
        assert!(cache.get("huge").is_none());
        cache.put("a", sound(10));
        assert_eq!(cache.bytes(), 50);
    }
}
