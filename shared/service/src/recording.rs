//! Makes one playable file of a recording's chunks.

use hotline_base::{ContactId, RecordingId, TenantId};
use hotline_contact::{Event, Saved};
use hotline_ports::runner::derived_input;
use hotline_ports::{Bucket, Fault};
use hotline_wire::recording::{ChannelLaw, ChunkInfo, FRAME_BYTES, Manifest, RecordingEnd, chain_input};
use sha2::{Digest, Sha256};

use crate::wave::{linear, wav_header};
use crate::{Service, ServiceError, contacts};

/// The longest recording that is composed, milliseconds; of a longer one the beginning.
const MAX_MS: u64 = 4 * 3_600_000;
/// Chunks that a manifest may name: more than a day of them.
const MAX_CHUNKS: usize = 20_000;
/// Remarks about missing parts that are told one by one.
const MAX_REMARKS: usize = 5;

/// The object key of a composed recording in the recordings bucket.
pub fn composed_key(tenant: TenantId, contact: ContactId, recording: RecordingId) -> String {
    format!("recordings/{tenant}/{contact}/{recording}.wav")
}

/// Reads manifest and chunks, verifies the hash chain, writes one WAV file (16 bits, 8 kHz, a
/// channel each) and tells the contact. Done again, the outcome is the same.
///
/// # Errors
/// Transient faults of object storage or the store: it should be tried again.
pub async fn compose(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    recording: RecordingId,
    manifest_key: &str,
) -> Result<(), ServiceError> {
    let result = match build(service, tenant, contact, recording, manifest_key).await {
        Ok(result) => result,
        Err(Fault::Permanent { part, message }) => Err(format!("{part}: {message}")),
        Err(transient) => return Err(transient.into()),
    };
    if let Err(reason) = &result {
        tracing::error!(%tenant, %contact, %recording, reason, "recording lost");
    }
    let outcome = match &result {
        Ok(saved) => saved.sha256.as_str(),
        Err(_) => "failed",
    };
    let id = derived_input(&["composed", &recording.to_string(), outcome]);
    let event = Event::RecordingComposed { recording, result };
    contacts::step(service, tenant, contact, id, event, None).await?;
    Ok(())
}

async fn build(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    recording: RecordingId,
    manifest_key: &str,
) -> Result<Result<Saved, String>, Fault> {
    let objects = &service.ports.objects;
    let Some(text) = objects.get(Bucket::Recordings, manifest_key).await? else {
        return Ok(Err(format!("there is no manifest at {manifest_key}")));
    };
    let manifest: Manifest = match serde_json::from_slice(&text) {
        Ok(manifest) => manifest,
        Err(error) => return Ok(Err(format!("the manifest cannot be read: {error}"))),
    };
    if (manifest.tenant, manifest.contact, manifest.recording) != (tenant, contact, recording) {
        return Ok(Err("the manifest belongs to another recording".into()));
    }
    if !(1..=2).contains(&manifest.channels.len()) || manifest.chunks.len() > MAX_CHUNKS {
        return Ok(Err("the manifest names no, or too many, channels or chunks".into()));
    }
    let laws: Vec<ChannelLaw> = manifest.channels.iter().map(|channel| channel.law).collect();
    let mut track = Track::new(laws);
    let mut previous = String::new();
    for (seq, chunk) in manifest.chunks.iter().enumerate() {
        if chunk.offset_ms.saturating_add(chunk.duration_ms) > MAX_MS {
            track.remark(format!("only the first {} minutes are here", MAX_MS / 60_000));
            break;
        }
        let chain = hex::encode(Sha256::digest(chain_input(&previous, &chunk.sha256)));
        if chunk.seq as usize != seq || chunk.chain != chain {
            return Ok(Err(format!("the hash chain is broken at chunk {seq}")));
        }
        previous = chain;
        match objects.get(Bucket::Recordings, &chunk.key).await? {
            Some(bytes) if hex::encode(Sha256::digest(&bytes)) == chunk.sha256 => {
                track.add(chunk, &bytes);
            }
            Some(_) => {
                track.remark(format!("chunk {seq} is not what was recorded"));
                track.silence(chunk);
            }
            None => {
                track.remark(format!("chunk {seq} is missing"));
                track.silence(chunk);
            }
        }
    }
    if track.data.is_empty() {
        return Ok(Err("nothing was recorded".into()));
    }
    match &manifest.ended {
        Some(RecordingEnd { failure: Some(failure), .. }) => track.remark(failure.clone()),
        Some(_) if manifest.complete => {}
        _ => track.remark("the end is missing".into()),
    }
    let (wav, duration_ms, missing) = track.finish();
    let key = composed_key(tenant, contact, recording);
    let sha256 = hex::encode(Sha256::digest(&wav));
    objects.put(Bucket::Recordings, &key, wav, "audio/wav").await?;
    Ok(Ok(Saved { key, duration_ms, sha256, missing }))
}

/// Samples of all channels side by side, as the WAV file has them.
struct Track {
    laws: Vec<ChannelLaw>,
    data: Vec<u8>,
    remarks: Vec<String>,
}

impl Track {
    fn new(laws: Vec<ChannelLaw>) -> Self {
        Self { laws, data: Vec::new(), remarks: Vec::new() }
    }

    fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    fn bytes_per_ms(&self) -> usize {
        self.laws.len() * 16
    }

    /// Fills up with silence to a place in time; offsets in the manifest are the truth.
    fn align(&mut self, offset_ms: u64) {
        let wanted = usize::try_from(offset_ms.min(MAX_MS)).unwrap_or(0) * self.bytes_per_ms();
        if self.data.len() < wanted {
            self.data.resize(wanted, 0);
        }
    }

    fn silence(&mut self, chunk: &ChunkInfo) {
        self.align(chunk.offset_ms + chunk.duration_ms);
    }

    fn add(&mut self, chunk: &ChunkInfo, bytes: &[u8]) {
        self.align(chunk.offset_ms);
        let channels = self.laws.len();
        for block in bytes.chunks(FRAME_BYTES * channels) {
            let frames: Vec<&[u8]> = block.chunks(FRAME_BYTES).collect();
            for n in 0..FRAME_BYTES {
                // A torn last block ends all channels at the same place.
                if frames.len() < channels || frames.iter().all(|frame| n >= frame.len()) {
                    break;
                }
                for (frame, law) in frames.iter().zip(&self.laws) {
                    let sample = frame.get(n).map_or(0, |byte| linear(*law)[usize::from(*byte)]);
                    self.data.extend(sample.to_le_bytes());
                }
            }
        }
    }

    fn finish(mut self) -> (Vec<u8>, u64, Option<String>) {
        let duration_ms = (self.data.len() / self.bytes_per_ms().max(1)) as u64;
        let more = self.remarks.len().saturating_sub(MAX_REMARKS);
        self.remarks.truncate(MAX_REMARKS);
        if more > 0 {
            self.remarks.push(format!("and {more} more"));
        }
        let missing = (!self.remarks.is_empty()).then(|| self.remarks.join("; "));
        let length = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
        let mut wav = wav_header(self.laws.len() as u16, length).to_vec();
        wav.append(&mut self.data);
        (wav, duration_ms, missing)
    }
}
