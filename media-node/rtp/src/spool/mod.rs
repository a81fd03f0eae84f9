//! Recordings on their way to object storage: the spool folder, its files, and the uploader.
//!
//! Media threads hand finished frames to one writer thread (a slow disk never delays a call); the
//! [`Uploader`] cuts the files into chunks, during the call and, after a crash, from what is left.

mod cut;
pub mod format;
mod upload;
mod writer;

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub use upload::{UploadEvent, UploadWork, Uploader, UploaderConfig, WorkId};
pub(crate) use writer::{RecordingSlot, SpoolWriter};

/// The end of a spool file's name.
pub const SPOOL_SUFFIX: &str = "spool";
/// The end of the name of the uploader's notes beside it.
pub const STATE_SUFFIX: &str = "state";

const LOCK_NAME: &str = ".lock";

/// What is known about a spool file of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileState {
    /// Bytes written.
    pub bytes: u64,
    /// Nothing more will be written; why it is not whole, where it is not.
    pub closed: Option<Option<String>>,
}

/// The spool folder, shared by media threads, writer and uploader.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    limit_bytes: u64,
    min_free_bytes: u64,
    used: AtomicU64,
    /// By path as text: comparing paths part by part is many times slower.
    files: Mutex<BTreeMap<OsString, FileState>>,
    /// Locked as long as this process uses the folder; a crash unlocks it too.
    _lock: File,
}

impl Spool {
    /// Opens (or makes) the folder. Files found in it were left by a process that died: they are
    /// closed as they are, and the uploader sends them.
    ///
    /// # Errors
    /// The folder cannot be used, or another process uses it: its live files would be taken for
    /// leftovers.
    pub fn open(dir: &Path, limit_bytes: u64, min_free_bytes: u64) -> io::Result<Arc<Spool>> {
        fs::create_dir_all(dir)?;
        let lock = File::create(dir.join(LOCK_NAME))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("{} is in use by another media node; give each its own folder", dir.display()),
            ),
            TryLockError::Error(error) => error,
        })?;
        let mut files = BTreeMap::new();
        let mut used = 0;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_some_and(|suffix| suffix == SPOOL_SUFFIX) {
                let bytes = entry.metadata()?.len();
                used += bytes;
                files.insert(
                    path.into_os_string(),
                    FileState { bytes, closed: Some(Some("the node stopped during the recording".into())) },
                );
            }
        }
        Ok(Arc::new(Spool {
            dir: dir.to_path_buf(),
            limit_bytes,
            min_free_bytes,
            used: AtomicU64::new(used),
            files: Mutex::new(files),
            _lock: lock,
        }))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes in spool files.
    pub fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Where a recording of this name is spooled: `name` may be a plain file name or a path within
    /// the folder; the suffix is added where it is missing.
    pub fn path_for(&self, name: &Path) -> Result<PathBuf, String> {
        let relative = name.strip_prefix(&self.dir).unwrap_or(name);
        let mut components = relative.components();
        let (Some(Component::Normal(file)), None) = (components.next(), components.next()) else {
            return Err(format!("spool: {} is not a file name within the spool folder", name.display()));
        };
        let mut path = self.dir.join(file);
        if path.extension().is_none_or(|suffix| suffix != SPOOL_SUFFIX) {
            path.as_mut_os_string().push(format!(".{SPOOL_SUFFIX}"));
        }
        Ok(path)
    }

    /// Whether a new recording may begin; the reason where not. What has begun is never refused.
    pub fn admit(&self) -> Result<(), String> {
        let used = self.used_bytes();
        if used >= self.limit_bytes {
            return Err(format!(
                "the recording spool holds {used} bytes, its limit is {}: object storage does not take them",
                self.limit_bytes
            ));
        }
        match free_bytes(&self.dir) {
            Ok(free) if free < self.min_free_bytes => {
                Err(format!("the spool's disk has {free} bytes left, {} are kept free", self.min_free_bytes))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(format!("spool folder {}: {error}", self.dir.display())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<OsString, FileState>> {
        self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A file of this process begins; `false` where the name is taken.
    pub(crate) fn begin(&self, path: &Path) -> bool {
        let mut files = self.lock();
        if files.contains_key(path.as_os_str()) {
            return false;
        }
        files.insert(path.into(), FileState::default());
        true
    }

    pub(crate) fn wrote(&self, path: &Path, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(file) = self.lock().get_mut(path.as_os_str()) {
            file.bytes += bytes;
        }
    }

    pub(crate) fn close(&self, path: &Path, failure: Option<String>) {
        if let Some(file) = self.lock().get_mut(path.as_os_str()) {
            file.closed = Some(failure);
        }
    }

    pub(crate) fn state(&self, path: &Path) -> Option<FileState> {
        self.lock().get(path.as_os_str()).cloned()
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.lock().keys().map(PathBuf::from).collect()
    }

    /// Forgets a file that is gone.
    pub(crate) fn forget(&self, path: &Path) {
        if let Some(file) = self.lock().remove(path.as_os_str()) {
            let _ = self
                .used
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(file.bytes)));
        }
    }
}

/// Bytes that an ordinary process may still write on the disk of `dir`.
fn free_bytes(dir: &Path) -> io::Result<u64> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` is a C string and `stat` is large enough; it is read only after success.
    if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, and filled in by the successful call.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// A folder of its own for a test, removed at the end.
    pub(crate) struct Scratch(pub PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("hotline-rtp-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    /// What is left in a spool folder.
    pub(crate) fn leftovers(dir: &Path) -> usize {
        let entries = fs::read_dir(dir).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().file_name() != LOCK_NAME).count()
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn names_stay_within_the_folder() {
        let scratch = Scratch::new();
        let spool = Spool::open(&scratch.0, 1, 0).unwrap();
        let inside = scratch.0.join("rec_1.spool");
        assert_eq!(spool.path_for(Path::new("rec_1")), Ok(inside.clone()));
        assert_eq!(spool.path_for(&inside), Ok(inside));
        for bad in ["../x", "/etc/passwd", "a/b", "", "."] {
            assert!(spool.path_for(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_full_spool_refuses_the_new_and_says_why() {
        let scratch = Scratch::new();
        fs::write(scratch.0.join("old.spool"), [0; 100]).unwrap();
        let spool = Spool::open(&scratch.0, 100, 0).unwrap();
        assert!(spool.admit().unwrap_err().contains("100 bytes"));
        spool.forget(&scratch.0.join("old.spool"));
        assert_eq!(spool.admit(), Ok(()));
        let second = Spool::open(&scratch.0, 1_000, 0).unwrap_err();
        assert!(second.to_string().contains("another media node"), "{second}");
        drop(spool);
        let spool = Spool::open(&scratch.0, 1_000, u64::MAX).unwrap();
        assert!(spool.admit().unwrap_err().contains("kept free"));
        assert!(Spool::open(Path::new("/dev/null/x"), 1, 0).is_err());
    }
}
