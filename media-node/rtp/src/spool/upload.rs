//! Uploads spool files: decides what is to be put next, without doing any network I/O itself.
//!
//! The shell loops: [`Uploader::next_work`] gives an object to put, [`Uploader::work_done`] takes
//! how that went. Each chunk is followed by the manifest that names it. Both calls read or write
//! local files: call them where blocking is allowed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hotline_base::{ContactId, RecordingId, TenantId};
use hotline_wire::recording::{ChannelInfo, Manifest, RecordingEnd, SAMPLE_RATE, manifest_key};

use super::cut::{Chunk, Cursor, Source, join_gaps, read_chunk, read_file};
use super::format::SpoolHeader;
use super::{STATE_SUFFIX, Spool};

/// How uploads are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploaderConfig {
    /// Frames of 20 ms in a chunk.
    pub chunk_frames: u32,
    /// Objects on their way at a time.
    pub parallel: usize,
    /// The first pause after a failure; it doubles each time.
    pub retry_min_ms: u64,
    /// The longest pause.
    pub retry_max_ms: u64,
    /// Spool files stay until [`Uploader::confirm`]: after a crash in between, `Complete` is told
    /// again, so that whoever must know of a recording learns of it at least once.
    pub keep_until_confirmed: bool,
}

impl Default for UploaderConfig {
    fn default() -> Self {
        Self { chunk_frames: 500, parallel: 8, retry_min_ms: 500, retry_max_ms: 30_000, keep_until_confirmed: false }
    }
}

/// Names a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkId(u64);

/// An object to put.
#[derive(Debug, Clone)]
pub struct UploadWork {
    /// Hand back to [`Uploader::work_done`].
    pub id: WorkId,
    /// The object's key in the recordings bucket.
    pub key: String,
    /// The whole object.
    pub body: Bytes,
    /// Its media type.
    pub content_type: &'static str,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadEvent {
    /// All of a recording is in object storage; its spool file is gone.
    Complete {
        /// Whose.
        tenant: TenantId,
        /// Of which call.
        contact: ContactId,
        /// Which.
        recording: RecordingId,
        /// The manifest's object key.
        manifest: String,
        /// Length, milliseconds.
        duration_ms: u64,
        /// What is missing, in words.
        failure: Option<String>,
    },
    /// A spool file is no recording; it was set aside under this name.
    Unreadable {
        /// The file now.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

enum Flight {
    Chunk(Box<Chunk>),
    Manifest,
}

struct Entry {
    path: PathBuf,
    header: SpoolHeader,
    manifest: Manifest,
    cursor: Cursor,
    manifest_due: bool,
    flight: Option<(WorkId, Flight)>,
    not_before_ms: u64,
    failures: u32,
    /// `Complete` was told; the file waits for its confirmation.
    told: bool,
}

/// Sends spool files to object storage.
pub struct Uploader {
    spool: Arc<Spool>,
    config: UploaderConfig,
    entries: BTreeMap<OsString, Entry>,
    /// The file to look at first next time: everyone gets a turn.
    turn: Option<PathBuf>,
    events: Vec<UploadEvent>,
    next_id: u64,
}

impl Uploader {
    /// An uploader for a spool; what an earlier process left is sent too.
    pub fn new(spool: Arc<Spool>, config: UploaderConfig) -> Self {
        let config = UploaderConfig {
            chunk_frames: config.chunk_frames.clamp(1, 15_000),
            parallel: config.parallel.max(1),
            ..config
        };
        Self { spool, config, entries: BTreeMap::new(), turn: None, events: Vec::new(), next_id: 0 }
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<UploadEvent> {
        std::mem::take(&mut self.events)
    }

    /// Files not yet uploaded whole (recordings under way included).
    pub fn pending(&self) -> usize {
        self.spool.paths().len()
    }

    /// The next object to put, if there is one; `now_ms` may be any clock that only goes forward.
    /// Ask again after a second (recordings grow), or at once after [`Uploader::work_done`].
    pub fn next_work(&mut self, now_ms: u64) -> Option<UploadWork> {
        if self.entries.values().filter(|entry| entry.flight.is_some()).count() >= self.config.parallel {
            return None;
        }
        let mut paths = self.spool.paths();
        if let Some(turn) = &self.turn {
            let split = paths.partition_point(|path| path.as_os_str() <= turn.as_os_str());
            paths.rotate_left(split);
        }
        for path in paths {
            if self
                .entries
                .get(path.as_os_str())
                .is_some_and(|entry| entry.told || entry.flight.is_some() || entry.not_before_ms > now_ms)
            {
                continue;
            }
            match self.work_of(&path) {
                Ok(Some(work)) => {
                    self.turn = Some(path);
                    return Some(work);
                }
                Ok(None) => {}
                Err(reason) => self.set_aside(&path, reason, now_ms),
            }
        }
        None
    }

    fn work_of(&mut self, path: &Path) -> Result<Option<UploadWork>, String> {
        if !self.entries.contains_key(path.as_os_str()) {
            let Some(entry) = open(path, &self.spool, self.config.chunk_frames)? else {
                return Ok(None);
            };
            self.entries.insert(path.into(), entry);
        }
        let Some(entry) = self.entries.get_mut(path.as_os_str()) else {
            return Ok(None);
        };
        let (flight, key, body, content_type) = if entry.manifest_due {
            let body = serde_json::to_vec(&entry.manifest).map_err(|error| error.to_string())?;
            (Flight::Manifest, entry.manifest_key(), Bytes::from(body), "application/json")
        } else {
            let Some((mut chunk, body)) = read_chunk(entry.source(), &self.spool, self.config.chunk_frames)? else {
                return Ok(None);
            };
            if body.is_empty() {
                // Nothing after the last full chunk: only the end is to be told.
                entry.finish(chunk.end.take());
                return self.work_of(path);
            }
            let key = chunk.info.key.clone();
            (Flight::Chunk(Box::new(chunk)), key, body, "application/octet-stream")
        };
        let id = WorkId(self.next_id);
        self.next_id += 1;
        entry.flight = Some((id, flight));
        Ok(Some(UploadWork { id, key, body, content_type }))
    }

    /// Tells how putting an object went.
    pub fn work_done(&mut self, id: WorkId, result: Result<(), String>, now_ms: u64) {
        let flying = |entry: &&mut Entry| entry.flight.as_ref().is_some_and(|(flying, _)| *flying == id);
        let Some(entry) = self.entries.values_mut().find(flying) else {
            return;
        };
        let Some((_, flight)) = entry.flight.take() else {
            return;
        };
        if let Err(reason) = result {
            let pause =
                self.config.retry_min_ms.saturating_mul(1 << entry.failures.min(16)).min(self.config.retry_max_ms);
            entry.failures = entry.failures.saturating_add(1);
            entry.not_before_ms = now_ms.saturating_add(pause);
            tracing::warn!(recording = %entry.manifest.recording, reason, pause_ms = pause, "an upload failed and is tried again");
            return;
        }
        entry.failures = 0;
        entry.not_before_ms = 0;
        match flight {
            Flight::Chunk(chunk) => {
                entry.manifest.chunks.push(chunk.info);
                join_gaps(&mut entry.manifest.gaps, chunk.gaps);
                entry.cursor = chunk.next;
                if chunk.end.is_some() {
                    entry.finish(chunk.end);
                }
                entry.manifest_due = true;
                save_state(&entry.path, &entry.manifest);
            }
            Flight::Manifest => {
                entry.manifest_due = false;
                if entry.manifest.complete {
                    let path = entry.path.clone();
                    self.complete(&path);
                }
            }
        }
    }

    fn complete(&mut self, path: &Path) {
        let Some(entry) = self.entries.get_mut(path.as_os_str()) else {
            return;
        };
        entry.told = true;
        let end = entry.manifest.ended.clone().unwrap_or(RecordingEnd { duration_ms: 0, failure: None });
        self.events.push(UploadEvent::Complete {
            tenant: entry.manifest.tenant,
            contact: entry.manifest.contact,
            recording: entry.manifest.recording,
            manifest: entry.manifest_key(),
            duration_ms: end.duration_ms,
            failure: end.failure,
        });
        if !self.config.keep_until_confirmed {
            let path = path.to_path_buf();
            self.remove(&path);
        }
    }

    /// A recording's `Complete` has reached whoever must know: its spool file goes.
    pub fn confirm(&mut self, recording: RecordingId) {
        let done = self.entries.values().find(|entry| entry.told && entry.manifest.recording == recording);
        if let Some(path) = done.map(|entry| entry.path.clone()) {
            self.remove(&path);
        }
    }

    fn remove(&mut self, path: &Path) {
        self.entries.remove(path.as_os_str());
        // The state goes last: a crash in between finds a state without a spool, which is nothing.
        let _ = fs::remove_file(path);
        let _ = fs::remove_file(path.with_extension(STATE_SUFFIX));
        self.spool.forget(path);
    }

    /// A file that cannot be read stays on the disk under another name, for a person to look at.
    fn set_aside(&mut self, path: &Path, reason: String, now_ms: u64) {
        if let Some(entry) = self.entries.get_mut(path.as_os_str()) {
            // The recording is known: its file may be readable again (an I/O error).
            entry.failures = entry.failures.saturating_add(1);
            entry.not_before_ms = now_ms.saturating_add(self.config.retry_max_ms);
            tracing::error!(path = %path.display(), reason, "a spool file cannot be read; tried again");
            return;
        }
        let aside = path.with_extension("unreadable");
        tracing::error!(path = %path.display(), reason, "a spool file cannot be read; set aside");
        let _ = fs::rename(path, &aside);
        self.spool.forget(path);
        self.events.push(UploadEvent::Unreadable { path: aside, reason });
    }
}

impl Entry {
    fn source(&self) -> Source<'_> {
        Source { path: &self.path, header: &self.header, manifest: &self.manifest, cursor: self.cursor }
    }

    fn manifest_key(&self) -> String {
        manifest_key(self.manifest.tenant, self.manifest.contact, self.manifest.recording)
    }

    fn finish(&mut self, end: Option<RecordingEnd>) {
        self.manifest.ended = end.or(self.manifest.ended.take());
        self.manifest.complete = self.manifest.ended.is_some();
        self.manifest_due = true;
    }
}

/// Begins with a file: its header, and what an earlier process had sent of it.
fn open(path: &Path, spool: &Spool, chunk_frames: u32) -> Result<Option<Entry>, String> {
    // Before it is read: what is written afterwards must not make it look torn.
    let closed = spool.state(path).is_none_or(|state| state.closed.is_some());
    let mut front = Vec::new();
    match read_file(path, 0, &mut front, 80 * 1024) {
        // A recording that has just begun may have no file yet.
        Err(_) if !closed => return Ok(None),
        read => read?,
    };
    let Some((header, length)) = SpoolHeader::read(&front).map_err(|error| error.to_string())? else {
        return if closed { Err("torn within its header".into()) } else { Ok(None) };
    };
    let channels =
        header.laws.iter().zip(&header.meta.roles).map(|(law, role)| ChannelInfo { law: *law, role: *role }).collect();
    let fresh = Manifest {
        tenant: header.meta.tenant,
        contact: header.meta.contact,
        recording: header.meta.recording,
        started_at: header.meta.started_at,
        sample_rate: SAMPLE_RATE,
        channels,
        chunks: Vec::new(),
        gaps: Vec::new(),
        ended: None,
        complete: false,
    };
    let mut entry = Entry {
        path: path.to_path_buf(),
        header,
        manifest: fresh,
        cursor: Cursor { offset: length as u64, ..Cursor::default() },
        manifest_due: false,
        flight: None,
        not_before_ms: 0,
        failures: 0,
        told: false,
    };
    let Some(known) = load_state(path).filter(|known| known.recording == entry.manifest.recording) else {
        return Ok(Some(entry));
    };
    // Chunks are cut the same way from the same file: go through those that were sent.
    for info in &known.chunks {
        match read_chunk(entry.source(), spool, chunk_frames)? {
            Some((chunk, _)) if chunk.info == *info => {
                entry.manifest.chunks.push(chunk.info);
                join_gaps(&mut entry.manifest.gaps, chunk.gaps);
                entry.cursor = chunk.next;
                if chunk.end.is_some() {
                    entry.finish(chunk.end);
                }
            }
            _ => break,
        }
    }
    entry.manifest_due = true;
    Ok(Some(entry))
}

fn load_state(path: &Path) -> Option<Manifest> {
    serde_json::from_slice(&fs::read(path.with_extension(STATE_SUFFIX)).ok()?).ok()
}

/// Without it chunks are only sent once more after a crash: a failure is no harm.
fn save_state(path: &Path, manifest: &Manifest) {
    let state = path.with_extension(STATE_SUFFIX);
    let fresh = path.with_extension("state-new");
    if let Ok(json) = serde_json::to_vec(manifest)
        && fs::write(&fresh, json).is_ok()
    {
        let _ = fs::rename(&fresh, &state);
    }
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
