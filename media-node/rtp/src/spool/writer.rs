//! The thread that writes spool files, so that a slow disk never delays a call.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::Spool;
use super::format::{SpoolHeader, write_end};
use crate::api::{MediaEvent, Token};
use crate::engine::EventSender;

/// Bytes waiting for the disk above which frames are refused: some seconds of a full node.
const MAX_WAITING: usize = 64 << 20;
/// Buffers kept for reuse.
const MAX_SPARE: usize = 1_024;

enum Job {
    Open { id: u64, path: PathBuf, header: Box<SpoolHeader>, slot: Arc<RecordingSlot> },
    Append { id: u64, bytes: Vec<u8> },
    Close { id: u64, frames: u32, failure: Option<String> },
}

/// What media thread and writer share about one recording.
#[derive(Debug)]
pub(crate) struct RecordingSlot {
    token: Token,
    sink: EventSender,
    failed: AtomicBool,
}

impl RecordingSlot {
    /// The writer has given this recording up.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    spare: Vec<Vec<u8>>,
    stopping: bool,
}

struct Shared {
    spool: Arc<Spool>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    bytes: AtomicUsize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Hands recordings to the writer thread; cloned into each media thread.
#[derive(Clone)]
pub(crate) struct SpoolWriter(Arc<Shared>);

impl std::fmt::Debug for SpoolWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpoolWriter")
    }
}

impl SpoolWriter {
    /// Starts the thread; it ends, with all written, after [`SpoolWriter::stop`].
    pub fn start(spool: Arc<Spool>) -> std::io::Result<(SpoolWriter, JoinHandle<()>)> {
        let shared =
            Arc::new(Shared { spool, waiting: Mutex::default(), wake: Condvar::new(), bytes: AtomicUsize::new(0) });
        let writer = SpoolWriter(shared.clone());
        let thread =
            std::thread::Builder::new().name("spool".into()).stack_size(256 * 1024).spawn(move || run(&shared))?;
        Ok((writer, thread))
    }

    /// Begins a recording. A failure is told to `sink` as `RecordingStopped`, now or later.
    pub fn open(
        &self,
        id: u64,
        path: PathBuf,
        header: SpoolHeader,
        token: Token,
        sink: EventSender,
    ) -> Arc<RecordingSlot> {
        let slot = Arc::new(RecordingSlot { token, sink, failed: AtomicBool::new(false) });
        self.push(Job::Open { id, path, header: Box::new(header), slot: slot.clone() });
        slot
    }

    /// An empty buffer.
    pub fn buffer(&self) -> Vec<u8> {
        self.0.lock().spare.pop().unwrap_or_default()
    }

    /// Appends a record; `false` where the disk is so far behind that it was dropped.
    pub fn append(&self, id: u64, bytes: Vec<u8>) -> bool {
        if self.0.bytes.load(Ordering::Relaxed) > MAX_WAITING {
            return false;
        }
        self.0.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        self.push(Job::Append { id, bytes });
        true
    }

    /// Ends a recording; `RecordingStopped` follows.
    pub fn close(&self, id: u64, frames: u32, failure: Option<String>) {
        self.push(Job::Close { id, frames, failure });
    }

    /// The thread ends when all is written.
    pub fn stop(&self) {
        self.0.lock().stopping = true;
        self.0.wake.notify_one();
    }

    fn push(&self, job: Job) {
        let was_empty = {
            let mut waiting = self.0.lock();
            waiting.jobs.push_back(job);
            waiting.jobs.len() == 1
        };
        if was_empty {
            self.0.wake.notify_one();
        }
    }
}

struct Open {
    file: File,
    path: PathBuf,
    slot: Arc<RecordingSlot>,
}

fn run(shared: &Shared) {
    let mut files: HashMap<u64, Open> = HashMap::new();
    let mut batch = VecDeque::new();
    loop {
        {
            let mut waiting = shared.lock();
            while waiting.jobs.is_empty() {
                if waiting.stopping {
                    return;
                }
                waiting = shared.wake.wait(waiting).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            std::mem::swap(&mut waiting.jobs, &mut batch);
        }
        for job in batch.drain(..) {
            work(shared, &mut files, job);
        }
    }
}

fn work(shared: &Shared, files: &mut HashMap<u64, Open>, job: Job) {
    match job {
        Job::Open { id, path, header, slot } => match create(shared, &path, &header) {
            Ok(file) => {
                files.insert(id, Open { file, path, slot });
            }
            Err(reason) => fail(&slot, 0, reason),
        },
        Job::Append { id, mut bytes } => {
            shared.bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            append(shared, files, id, &bytes);
            bytes.clear();
            let mut waiting = shared.lock();
            if waiting.spare.len() < MAX_SPARE {
                waiting.spare.push(bytes);
            }
        }
        Job::Close { id, frames, failure } => {
            let mut bytes = Vec::new();
            write_end(&mut bytes, frames, failure.as_deref());
            append(shared, files, id, &bytes);
            let Some(open) = files.remove(&id) else {
                return;
            };
            shared.spool.close(&open.path, failure.clone());
            let duration_ms = u64::from(frames) * 20;
            open.slot.sink.send(MediaEvent::RecordingStopped { token: open.slot.token, duration_ms, failure });
        }
    }
}

fn create(shared: &Shared, path: &PathBuf, header: &SpoolHeader) -> Result<File, String> {
    let named = |error: std::io::Error| format!("spool file {}: {error}", path.display());
    if !shared.spool.begin(path) {
        return Err(format!("spool file {}: a recording of this name is there already", path.display()));
    }
    let bytes = header.to_bytes();
    let file = OpenOptions::new().create_new(true).append(true).open(path).map_err(named);
    let written = file.and_then(|mut file| file.write_all(&bytes).map(|()| file).map_err(named));
    match &written {
        Ok(_) => shared.spool.wrote(path, bytes.len() as u64),
        Err(_) => {
            // Nothing of the recording exists yet: nothing is to be uploaded.
            let _ = std::fs::remove_file(path);
            shared.spool.forget(path);
        }
    }
    written
}

fn append(shared: &Shared, files: &mut HashMap<u64, Open>, id: u64, bytes: &[u8]) {
    let Some(open) = files.get_mut(&id) else {
        return;
    };
    match open.file.write_all(bytes) {
        Ok(()) => shared.spool.wrote(&open.path, bytes.len() as u64),
        Err(error) => {
            let reason = format!("spool file {}: {error}", open.path.display());
            shared.spool.close(&open.path, Some(reason.clone()));
            let Some(open) = files.remove(&id) else {
                return;
            };
            let duration_ms = open.file.metadata().map_or(0, |meta| meta.len()) / 16;
            fail(&open.slot, duration_ms, reason);
        }
    }
}

fn fail(slot: &RecordingSlot, duration_ms: u64, reason: String) {
    slot.failed.store(true, Ordering::Relaxed);
    tracing::error!(reason, "a recording failed; its call goes on");
    slot.sink.send(MediaEvent::RecordingStopped { token: slot.token, duration_ms, failure: Some(reason) });
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::{frames, header};
    use super::super::tests::Scratch;
    use super::*;
    use crate::engine::event_queue;

    #[test]
    fn a_recording_is_written_and_its_end_told() {
        let scratch = Scratch::new();
        let spool = Spool::open(&scratch.0, u64::MAX, 0).unwrap();
        let (writer, thread) = SpoolWriter::start(spool.clone()).unwrap();
        let (sink, events) = event_queue(16, || {});
        let path = scratch.0.join("a.spool");
        writer.open(1, path.clone(), header(1), Token(9), sink.clone());
        assert!(writer.append(1, frames(0, 10, 1, 0, 5)));
        writer.close(1, 10, None);
        let taken = writer.open(2, path.clone(), header(1), Token(10), sink.clone());
        let nowhere = writer.open(3, scratch.0.join("no/such/folder.spool"), header(1), Token(11), sink);
        writer.stop();
        thread.join().unwrap();
        let mut told = Vec::new();
        events.drain(&mut told);
        assert_eq!(told[0], MediaEvent::RecordingStopped { token: Token(9), duration_ms: 200, failure: None });
        for (event, token) in told[1..].iter().zip([10, 11]) {
            assert!(
                matches!(event, MediaEvent::RecordingStopped { token: t, failure: Some(_), .. } if t.0 == token),
                "{event:?}"
            );
        }
        assert!(taken.failed() && nowhere.failed());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), spool.used_bytes());
        assert_eq!(spool.state(&path).unwrap().closed, Some(None));
    }

    #[test]
    fn a_full_disk_fails_the_recording_and_nothing_else() {
        let scratch = Scratch::new();
        let spool = Spool::open(&scratch.0, u64::MAX, 0).unwrap();
        let (writer, thread) = SpoolWriter::start(spool).unwrap();
        let (sink, events) = event_queue(16, || {});
        writer.open(1, scratch.0.join("a.spool"), header(1), Token(1), sink.clone());
        // `/dev/full` says ENOSPC to every write.
        std::os::unix::fs::symlink("/dev/full", scratch.0.join("full.spool")).unwrap();
        let shared = &writer.0;
        let slot = Arc::new(RecordingSlot { token: Token(2), sink, failed: AtomicBool::new(false) });
        let mut files = HashMap::new();
        let path = scratch.0.join("full.spool");
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        files.insert(2, Open { file, path, slot: slot.clone() });
        append(shared, &mut files, 2, &[1, 2, 3]);
        assert!(files.is_empty() && slot.failed());
        writer.append(1, frames(0, 1, 1, 0, 5));
        writer.close(1, 1, None);
        writer.stop();
        thread.join().unwrap();
        let mut told = Vec::new();
        events.drain(&mut told);
        assert!(
            matches!(&told[0], MediaEvent::RecordingStopped { failure: Some(reason), .. } if reason.contains("full.spool"))
        );
        assert_eq!(told[1], MediaEvent::RecordingStopped { token: Token(1), duration_ms: 20, failure: None });
    }
}
