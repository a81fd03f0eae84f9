//! Objects in memory and speech as tones.

use async_trait::async_trait;
use hotline_base::Lang;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::memory::lock;
use crate::{Bucket, Fault, Objects, Tts};

/// Objects in memory.
#[derive(Default)]
pub struct MemoryObjects(Mutex<BTreeMap<(Bucket, String), Vec<u8>>>);

impl MemoryObjects {
    /// Removes an object.
    pub fn remove(&self, bucket: Bucket, key: &str) {
        lock(&self.0).remove(&(bucket, key.to_string()));
    }
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn put(&self, bucket: Bucket, key: &str, body: Vec<u8>, _content_type: &str) -> Result<(), Fault> {
        lock(&self.0).insert((bucket, key.to_string()), body);
        Ok(())
    }

    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(lock(&self.0).get(&(bucket, key.to_string())).cloned())
    }

    async fn list(&self, bucket: Bucket, prefix: &str, limit: usize) -> Result<Vec<String>, Fault> {
        let objects = lock(&self.0);
        let found = objects
            .range((bucket, prefix.to_string())..)
            .map(|((at, key), _)| (at, key))
            .take_while(|(at, key)| **at == bucket && key.starts_with(prefix));
        Ok(found.take(limit).map(|(_, key)| key.clone()).collect())
    }

    async fn presign(&self, bucket: Bucket, key: &str, valid: Duration) -> Result<String, Fault> {
        Ok(format!("memory://{bucket:?}/{key}?valid_s={}", valid.as_secs()))
    }
}

/// Speech as a tone: pitch from the text, 20 ms a character. Deterministic.
#[derive(Default)]
pub struct ToneTts;

#[async_trait]
impl Tts for ToneTts {
    async fn speak(&self, text: &str, lang: Lang, voice: Option<&str>) -> Result<Vec<i16>, Fault> {
        let id = crate::runner::derived_id(&[text, lang.as_str(), voice.unwrap_or("")]);
        let hz = 300.0 + (id % 700) as f64;
        let samples = 160 * text.chars().count().clamp(1, 500);
        let wave = |n: usize| (n as f64 * hz * std::f64::consts::TAU / 8000.0).sin() * 8000.0;
        Ok((0..samples).map(|n| wave(n) as i16).collect())
    }

    fn engine(&self) -> String {
        "tone".into()
    }
}
