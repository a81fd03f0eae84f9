//! The spool file of a recording: a header, then records that are only ever appended.
//!
//! ```text
//! "HLSPOOL1"  length:u32  header JSON  crc:u32
//! kind:u8     length:u32  body         crc:u32      (crc over kind, length and body)
//!   kind 1: frames   first:u32  then for each frame: flags:u8, 160 bytes a channel
//!   kind 2: end      frames:u32  failure text (empty: none)
//! ```
//! All numbers are little-endian. What a crash tore off is noticed by length or checksum; all
//! before it is good.

use hotline_wire::recording::{ChannelLaw, RecordingMeta};
use serde::{Deserialize, Serialize};

use crate::align::FrameFlags;
use crate::api::Law;
use crate::g711::FRAME_SAMPLES;

const MAGIC: &[u8; 8] = b"HLSPOOL1";
const KIND_FRAMES: u8 = 1;
const KIND_END: u8 = 2;
/// Longest header; the metadata is a few hundred bytes.
const MAX_HEADER: usize = 64 * 1024;
/// Longest body of a record.
const MAX_BODY: usize = 64 * 1024;
/// Most frames in a record.
pub const MAX_FRAMES: usize = 100;

/// CRC-32 (ISO-HDLC).
fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// The first thing in a spool file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolHeader {
    /// As given when the recording started.
    pub meta: RecordingMeta,
    /// One for each channel, left first.
    pub laws: Vec<ChannelLaw>,
}

/// A spool file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// It does not begin as a spool file does.
    #[error("not a spool file")]
    NotASpool,
    /// Its header is damaged.
    #[error("spool header: {0}")]
    Header(String),
}

/// The law in terms of the wire.
pub fn wire_law(law: Law) -> ChannelLaw {
    match law {
        Law::Mu => ChannelLaw::Mu,
        Law::A => ChannelLaw::A,
    }
}

/// The byte that means no sound.
pub fn silence(law: ChannelLaw) -> u8 {
    match law {
        ChannelLaw::Mu => Law::Mu.silence(),
        ChannelLaw::A => Law::A.silence(),
    }
}

impl SpoolHeader {
    /// Checks the metadata of `StartRecording` and joins it with the channels' laws.
    pub fn new(meta: &str, laws: &[Law]) -> Result<SpoolHeader, SpoolError> {
        let meta: RecordingMeta =
            serde_json::from_str(meta).map_err(|error| SpoolError::Header(format!("meta: {error}")))?;
        Self { meta, laws: laws.iter().map(|law| wire_law(*law)).collect() }.checked()
    }

    fn checked(self) -> Result<SpoolHeader, SpoolError> {
        let channels = self.laws.len();
        if !(1..=2).contains(&channels) || self.meta.roles.len() != channels {
            return Err(SpoolError::Header(format!(
                "meta.roles: {} roles for {channels} channels",
                self.meta.roles.len()
            )));
        }
        Ok(self)
    }

    /// Channels, 1 or 2.
    pub fn channels(&self) -> usize {
        self.laws.len()
    }

    /// Bytes of one frame within a record.
    pub fn frame_len(&self) -> usize {
        1 + self.channels() * FRAME_SAMPLES
    }

    /// The bytes at the front of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut bytes = Vec::with_capacity(json.len() + 16);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&json);
        bytes.extend_from_slice(&crc(&json).to_le_bytes());
        bytes
    }

    /// Reads the front of a file; gives its length too, or `None` while it is not all there.
    pub fn read(bytes: &[u8]) -> Result<Option<(SpoolHeader, usize)>, SpoolError> {
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(SpoolError::NotASpool);
        }
        let Some(length) = number(bytes, 8) else {
            return Ok(None);
        };
        let length = length as usize;
        if length > MAX_HEADER {
            return Err(SpoolError::Header(format!("{length} bytes long")));
        }
        let (Some(json), Some(sum)) = (bytes.get(12..12 + length), number(bytes, 12 + length)) else {
            return Ok(None);
        };
        if crc(json) != sum {
            return Err(SpoolError::Header("wrong checksum".into()));
        }
        let header: SpoolHeader =
            serde_json::from_slice(json).map_err(|error| SpoolError::Header(error.to_string()))?;
        Ok(Some((header.checked()?, 12 + length + 4)))
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Starts a record of frames in `into`; frames are appended as [`crate::align::Aligner::take`]
/// gives them, then [`finish_record`] closes it. Returns where the record starts.
pub fn start_frames(into: &mut Vec<u8>, first_frame: u32) -> usize {
    let at = into.len();
    into.push(KIND_FRAMES);
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&first_frame.to_le_bytes());
    at
}

/// Writes the length and checksum of the record that starts at `at` and ends with `into`.
pub fn finish_record(into: &mut Vec<u8>, at: usize) {
    let length = (into.len() - at - 5) as u32;
    into[at + 1..at + 5].copy_from_slice(&length.to_le_bytes());
    let sum = crc(&into[at..]);
    into.extend_from_slice(&sum.to_le_bytes());
}

/// Appends the record that ends a recording.
pub fn write_end(into: &mut Vec<u8>, frames: u32, failure: Option<&str>) {
    let at = into.len();
    into.push(KIND_END);
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&frames.to_le_bytes());
    let text = failure.unwrap_or_default();
    let mut end = text.len().min(1_000);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    into.extend_from_slice(&text.as_bytes()[..end]);
    finish_record(into, at);
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// Frames in order.
    Frames {
        /// The number of the first one.
        first: u32,
        /// A byte of flags and 160 bytes a channel, for each.
        bytes: &'a [u8],
    },
    /// The end.
    End {
        /// Frames in all.
        frames: u32,
        /// What went wrong.
        failure: Option<String>,
    },
}

/// What lies at the front of some bytes of a spool file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<'a> {
    /// A record, and how many bytes it takes.
    Record(Record<'a>, usize),
    /// The bytes end within a record: more may come, or a crash tore it.
    Incomplete,
    /// No record: the file is damaged from here on.
    Damaged,
}

/// Reads one record; `frame_len` is [`SpoolHeader::frame_len`].
pub fn read_record(bytes: &[u8], frame_len: usize) -> Read<'_> {
    let (Some(kind), Some(length)) = (bytes.first().copied(), number(bytes, 1)) else {
        return Read::Incomplete;
    };
    let length = length as usize;
    if length > MAX_BODY || !matches!(kind, KIND_FRAMES | KIND_END) || length < 4 {
        return Read::Damaged;
    }
    let (Some(whole), Some(sum)) = (bytes.get(..5 + length), number(bytes, 5 + length)) else {
        return Read::Incomplete;
    };
    if crc(whole) != sum {
        return Read::Damaged;
    }
    let (Some(value), Some(body)) = (number(whole, 5), whole.get(9..)) else {
        return Read::Damaged;
    };
    let record = if kind == KIND_FRAMES {
        if frame_len == 0 || body.len() % frame_len != 0 || body.len() / frame_len > MAX_FRAMES {
            return Read::Damaged;
        }
        Record::Frames { first: value, bytes: body }
    } else {
        let text = String::from_utf8_lossy(body).into_owned();
        Record::End { frames: value, failure: (!text.is_empty()).then_some(text) }
    };
    Read::Record(record, 5 + length + 4)
}

/// Splits a frame of a record into its flags and audio.
pub fn split_frame(frame: &[u8]) -> Option<(FrameFlags, &[u8])> {
    let (flags, audio) = frame.split_first()?;
    Some((FrameFlags::from_byte(*flags), audio))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use hotline_base::{ContactId, RecordingId, TenantId, Timestamp};
    use hotline_wire::recording::ChannelRole;
    use proptest::prelude::*;

    /// A header for tests.
    pub(crate) fn header(channels: usize) -> SpoolHeader {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let roles = [ChannelRole::Caller, ChannelRole::Agent][..channels].to_vec();
        let meta = RecordingMeta {
            tenant: TenantId::new(at, 1),
            contact: ContactId::new(at, 2),
            recording: RecordingId::new(at, 3),
            started_at: at,
            roles,
        };
        SpoolHeader { meta, laws: vec![ChannelLaw::Mu; channels] }
    }

    /// A record of frames whose bytes all are `value`.
    pub(crate) fn frames(first: u32, count: usize, channels: usize, flags: u8, value: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        let at = start_frames(&mut bytes, first);
        for _ in 0..count {
            bytes.push(flags);
            bytes.extend(vec![value; channels * 160]);
        }
        finish_record(&mut bytes, at);
        bytes
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_file_is_read_back_and_every_torn_tail_is_noticed() {
        let header = header(2);
        let mut file = header.to_bytes();
        let front = file.len();
        file.extend(frames(0, 10, 2, 0, 7));
        let first_end = file.len();
        write_end(&mut file, 10, Some("disk full"));
        for cut in 0..front {
            assert_eq!(SpoolHeader::read(&file[..cut]), Ok(None));
        }
        assert_eq!(SpoolHeader::read(&file), Ok(Some((header.clone(), front))));
        for cut in front..file.len() {
            let rest = &file[front..cut];
            let Read::Record(Record::Frames { first: 0, bytes }, length) = read_record(rest, header.frame_len()) else {
                assert!(cut < first_end);
                continue;
            };
            assert_eq!(bytes.len(), 10 * 321);
            assert_eq!(read_record(&rest[length..], header.frame_len()), Read::Incomplete);
        }
        let end = Record::End { frames: 10, failure: Some("disk full".into()) };
        assert_eq!(read_record(&file[first_end..], 321), Read::Record(end, file.len() - first_end));
    }

    #[test]
    fn damage_is_noticed() {
        let good = frames(3, 2, 1, 0, 9);
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x10;
            assert!(!matches!(read_record(&bad, 161), Read::Record(..)), "byte {index}");
        }
        assert_eq!(SpoolHeader::read(b"RIFF"), Err(SpoolError::NotASpool));
        let mut bad = header(1).to_bytes();
        bad[20] ^= 1;
        assert!(matches!(SpoolHeader::read(&bad), Err(SpoolError::Header(_))));
        assert!(SpoolHeader::new("{}", &[Law::Mu]).unwrap_err().to_string().contains("tenant"));
        let meta = serde_json::to_string(&header(2).meta).unwrap();
        assert!(SpoolHeader::new(&meta, &[Law::Mu]).unwrap_err().to_string().contains("2 roles for 1 channels"));
    }

    proptest! {
        #[test]
        fn random_files_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0u8..4, length in 0u8..255) {
            let _ = SpoolHeader::read(&bytes);
            let mut shaped = bytes;
            if shaped.len() > 5 {
                shaped[0] = kind;
                shaped[1..5].copy_from_slice(&[length, 0, 0, 0]);
            }
            let _ = read_record(&shaped, 161);
        }
    }
}
