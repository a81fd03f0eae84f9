//! Cuts a spool file into chunks: the same file is always cut the same way.

use std::fs::File;
use std::io::{Read as _, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use hotline_wire::recording::{ChunkInfo, FRAME_MS, Gap, GapReason, Manifest, RecordingEnd, chain_input, chunk_key};
use sha2::{Digest, Sha256};

use super::format::{MAX_FRAMES, Read, Record, SpoolHeader, read_record, silence, split_frame};
use super::{FileState, Spool};

/// The most that a hole in the frame numbers is filled with: an hour.
const MAX_HOLE: u32 = 180_000;
/// Read from a file at a time.
const BLOCK: usize = 256 * 1024;

/// Where the next chunk starts in a spool file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    /// The record that holds its first frame.
    pub offset: u64,
    /// Frames of that record which belong to the chunk before.
    pub skip: u32,
    /// The number of its first frame.
    pub frame: u32,
}

/// A chunk ready to be put.
pub(super) struct Chunk {
    pub info: ChunkInfo,
    pub gaps: Vec<Gap>,
    pub next: Cursor,
    pub end: Option<RecordingEnd>,
}

/// A spool file and how far it has been cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub header: &'a SpoolHeader,
    pub manifest: &'a Manifest,
    pub cursor: Cursor,
}

/// Appends up to `most` bytes of a file from `offset` on to `into` and returns how many.
pub(super) fn read_file(path: &Path, offset: u64, into: &mut Vec<u8>, most: usize) -> Result<usize, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    file.take(most as u64).read_to_end(into).map_err(failed)
}

/// Cuts the next chunk; `None` while there is not enough for one. An empty body means that the
/// recording ended with the chunk before.
pub(super) fn read_chunk(
    source: Source<'_>,
    spool: &Spool,
    chunk_frames: u32,
) -> Result<Option<(Chunk, Bytes)>, String> {
    let frame_len = source.header.frame_len();
    let state = spool.state(source.path);
    let closed = state.as_ref().is_none_or(|state| state.closed.is_some());
    if let Some(state) = &state {
        let wanted = u64::from(chunk_frames + source.cursor.skip) * frame_len as u64;
        if !closed && state.bytes.saturating_sub(source.cursor.offset) < wanted {
            return Ok(None);
        }
    }
    let mut cut = Cut::new(source, chunk_frames);
    let (mut block, mut used, mut at) = (Vec::new(), 0, source.cursor.offset);
    let end = loop {
        match read_record(block.get(used..).unwrap_or_default(), frame_len) {
            Read::Record(Record::Frames { first, bytes }, length) => {
                if cut.take(first, bytes, frame_len, at)? {
                    break None;
                }
                used += length;
                at += length as u64;
                cut.next = Cursor { offset: at, skip: 0, frame: cut.frame };
            }
            Read::Record(Record::End { frames, failure }, _) => {
                cut.fill_to(frames);
                break Some(RecordingEnd { duration_ms: u64::from(cut.frame) * FRAME_MS, failure });
            }
            Read::Incomplete => {
                block.drain(..used);
                used = 0;
                let offset = at + block.len() as u64;
                if read_file(source.path, offset, &mut block, BLOCK)? == 0 {
                    if !closed {
                        return Ok(None);
                    }
                    break Some(cut.torn(state.as_ref()));
                }
            }
            Read::Damaged => {
                let mut end = cut.torn(state.as_ref());
                end.failure = Some(format!("the spool file is damaged {at} bytes from its start"));
                break Some(end);
            }
        }
    };
    Ok(Some(cut.finish(source, end)))
}

/// Collects the frames of one chunk.
struct Cut {
    audio: Vec<u8>,
    gaps: Vec<Gap>,
    first: u32,
    /// The next frame's number.
    frame: u32,
    limit: u32,
    skip: u32,
    next: Cursor,
    silence: Vec<u8>,
}

impl Cut {
    fn new(source: Source<'_>, chunk_frames: u32) -> Self {
        let frame = source.cursor.frame;
        let silence = source.header.laws.iter().flat_map(|law| [silence(*law); 160]).collect();
        let limit = frame.saturating_add(chunk_frames);
        Self {
            audio: Vec::new(),
            gaps: Vec::new(),
            first: frame,
            frame,
            limit,
            skip: source.cursor.skip,
            next: source.cursor,
            silence,
        }
    }

    /// Takes a record's frames; `true` once the chunk is full, `next` then says where to go on.
    fn take(&mut self, first: u32, bytes: &[u8], frame_len: usize, offset: u64) -> Result<bool, String> {
        if first.saturating_sub(self.frame) > MAX_HOLE {
            return Err(format!("frame {first} follows frame {}", self.frame));
        }
        if self.skip == 0 {
            self.fill_to(first);
        }
        for (index, frame) in bytes.chunks_exact(frame_len).enumerate().skip(self.skip as usize) {
            if self.frame >= self.limit {
                self.next = Cursor { offset, skip: index.min(MAX_FRAMES) as u32, frame: self.frame };
                return Ok(true);
            }
            let Some((flags, audio)) = split_frame(frame) else {
                continue;
            };
            self.audio.extend_from_slice(audio);
            for channel in 0..audio.len() / 160 {
                if flags.masked(channel) {
                    self.gap(channel, GapReason::Paused);
                } else if flags.missing(channel) {
                    self.gap(channel, GapReason::NoAudio);
                }
            }
            self.frame += 1;
        }
        self.skip = 0;
        if self.frame >= self.limit {
            let length = bytes.len() + 13;
            self.next = Cursor { offset: offset + length as u64, skip: 0, frame: self.frame };
            return Ok(true);
        }
        Ok(false)
    }

    /// Frames that never reached the file are silence.
    fn fill_to(&mut self, frame: u32) {
        while self.frame < frame.min(self.limit) {
            self.audio.extend_from_slice(&self.silence);
            for channel in 0..self.silence.len() / 160 {
                self.gap(channel, GapReason::NoAudio);
            }
            self.frame += 1;
        }
    }

    fn gap(&mut self, channel: usize, reason: GapReason) {
        let gap =
            Gap { channel: channel as u8, offset_ms: u64::from(self.frame) * FRAME_MS, duration_ms: FRAME_MS, reason };
        join_gaps(&mut self.gaps, vec![gap]);
    }

    /// The end of a file that has none.
    fn torn(&self, state: Option<&FileState>) -> RecordingEnd {
        let failure = state
            .and_then(|state| state.closed.clone().flatten())
            .unwrap_or_else(|| "the recording was cut off".into());
        RecordingEnd { duration_ms: u64::from(self.frame) * FRAME_MS, failure: Some(failure) }
    }

    fn finish(self, source: Source<'_>, end: Option<RecordingEnd>) -> (Chunk, Bytes) {
        let manifest = source.manifest;
        let seq = manifest.chunks.len() as u32;
        let sha256 = hex::encode(Sha256::digest(&self.audio));
        let previous = manifest.chunks.last().map_or("", |chunk| chunk.chain.as_str());
        let info = ChunkInfo {
            seq,
            key: chunk_key(manifest.tenant, manifest.contact, manifest.recording, seq),
            offset_ms: u64::from(self.first) * FRAME_MS,
            duration_ms: u64::from(self.frame - self.first) * FRAME_MS,
            bytes: self.audio.len() as u64,
            chain: hex::encode(Sha256::digest(chain_input(previous, &sha256))),
            sha256,
        };
        (Chunk { info, gaps: self.gaps, next: self.next, end }, Bytes::from(self.audio))
    }
}

/// Appends gaps in order, joining each with the one it continues.
pub(super) fn join_gaps(gaps: &mut Vec<Gap>, more: Vec<Gap>) {
    for gap in more {
        let recent = gaps.iter_mut().rev().take(4).find(|last| last.channel == gap.channel);
        match recent {
            Some(last) if last.reason == gap.reason && last.offset_ms + last.duration_ms == gap.offset_ms => {
                last.duration_ms += gap.duration_ms
            }
            _ => gaps.push(gap),
        }
    }
}
