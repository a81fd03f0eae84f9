//! What a recording looks like in object storage: raw G.711 chunks, and one manifest that is
//! replaced after each chunk.
//!
//! A chunk holds 20 ms frames of 160 bytes a channel; with two channels the left frame comes
//! first, then the right one. Each chunk's hash is chained to the one before it, so that a chunk
//! can be neither changed, dropped nor moved without being noticed.

use hotline_base::{ContactId, RecordingId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

/// Samples a second of every recording.
pub const SAMPLE_RATE: u32 = 8_000;
/// Length of a frame, milliseconds.
pub const FRAME_MS: u64 = 20;
/// Bytes of one channel's frame.
pub const FRAME_BYTES: usize = 160;

/// What one channel's bytes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelLaw {
    /// G.711 µ-law; silence is `0xFF`.
    Mu,
    /// G.711 A-law; silence is `0xD5`.
    A,
}

/// Who is heard on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelRole {
    /// The customer: left.
    Caller,
    /// The agent, or the party a call was transferred to: right.
    Agent,
}

/// One channel of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelInfo {
    /// The law of its bytes.
    pub law: ChannelLaw,
    /// Whose voice.
    pub role: ChannelRole,
}

/// One object of raw G.711.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkInfo {
    /// Counts from 0 without holes.
    pub seq: u32,
    /// Object key.
    pub key: String,
    /// From the start of the recording, milliseconds.
    pub offset_ms: u64,
    /// Length, milliseconds; a multiple of 20.
    pub duration_ms: u64,
    /// Size of the object.
    pub bytes: u64,
    /// SHA-256 of the object, lower-case hex.
    pub sha256: String,
    /// SHA-256 of [`chain_input`], lower-case hex.
    pub chain: String,
}

/// A stretch of one channel in which (some) audio did not come; it is filled with silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// 0 is left.
    pub channel: u8,
    /// From the start of the recording, milliseconds.
    pub offset_ms: u64,
    /// Length, milliseconds.
    pub duration_ms: u64,
    /// Why.
    pub reason: GapReason,
}

/// Why audio is missing from a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// No packet came: lost, or the peer sent nothing (on hold, muted, silence suppression).
    NoAudio,
    /// The recording was paused (payment) or the input was secret.
    Paused,
}

/// How a recording ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingEnd {
    /// Length, milliseconds.
    pub duration_ms: u64,
    /// What is missing, in words; `None`: nothing.
    pub failure: Option<String>,
}

/// The index of a recording: one JSON object beside its chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Whose.
    pub tenant: TenantId,
    /// Of which call.
    pub contact: ContactId,
    /// Which.
    pub recording: RecordingId,
    /// The moment of its first sample.
    pub started_at: Timestamp,
    /// Always [`SAMPLE_RATE`].
    pub sample_rate: u32,
    /// One or two; left first.
    pub channels: Vec<ChannelInfo>,
    /// In order; all but the last have the same length.
    pub chunks: Vec<ChunkInfo>,
    /// In order of their offset, then of their channel.
    pub gaps: Vec<Gap>,
    /// `None` while the call goes on (or if the machine was lost).
    pub ended: Option<RecordingEnd>,
    /// All chunks are there and `ended` is set: no later version of this manifest will come.
    pub complete: bool,
}

/// What the node knows when a recording starts: the header of its spool file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingMeta {
    /// Whose.
    pub tenant: TenantId,
    /// Of which call.
    pub contact: ContactId,
    /// Which.
    pub recording: RecordingId,
    /// Now, at the start.
    pub started_at: Timestamp,
    /// Roles of the channels, left first.
    pub roles: Vec<ChannelRole>,
}

/// The object key of a recording's manifest.
pub fn manifest_key(tenant: TenantId, contact: ContactId, recording: RecordingId) -> String {
    format!("recordings/{tenant}/{contact}/{recording}/manifest.json")
}

/// The object key of a recording's chunk.
pub fn chunk_key(tenant: TenantId, contact: ContactId, recording: RecordingId, seq: u32) -> String {
    format!("recordings/{tenant}/{contact}/{recording}/{seq:06}.g711")
}

/// The text whose SHA-256 is a chunk's `chain`: the chain before it (empty for the first chunk),
/// then the chunk's own hash, both in lower-case hex.
pub fn chain_input(previous_chain: &str, sha256: &str) -> String {
    format!("{previous_chain}{sha256}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_sequence_and_start_with_the_tenant() {
        let at = Timestamp::from_millis(1);
        let (tenant, contact, recording) = (TenantId::new(at, 1), ContactId::new(at, 2), RecordingId::new(at, 3));
        let nine = chunk_key(tenant, contact, recording, 9);
        let ten = chunk_key(tenant, contact, recording, 10);
        assert!(nine < ten);
        assert!(ten < manifest_key(tenant, contact, recording));
        assert!(ten.starts_with(&format!("recordings/{tenant}/")));
    }
}
