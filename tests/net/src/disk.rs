//! A disk of its own, in a mount namespace that nobody else sees, that can be full.

use std::ffi::{CString, c_ulong};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Room while it is not full, bytes; only what is written costs memory.
const ROOM: u64 = 1 << 30;
/// What it grows by where more was written in the meantime, bytes.
const STEP: u64 = 16 << 10;

/// A disk in memory. It is there for the thread that it was made for, and for threads that this one starts.
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Makes one for a thread of its own, and waits for what is done there.
    ///
    /// # Errors
    /// The rights for it are missing.
    ///
    /// # Panics
    /// Where `what` panics.
    pub fn with<T: Send + 'static>(name: &str, what: impl FnOnce(&Disk) -> T + Send + 'static) -> Result<T> {
        let folder = std::env::temp_dir().join(format!("hotline-net-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let own = folder.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let disk = Disk::mount(own)?;
            let result = what(&disk);
            anyhow::Ok(result)
        })?;
        let result = thread.join();
        let _ = std::fs::remove_dir_all(&folder);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn mount(folder: PathBuf) -> Result<Disk> {
        // SAFETY: takes no pointers; only this thread is moved.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            let error = io::Error::last_os_error();
            bail!("no mount namespace ({error}): run this test as root, as CI does");
        }
        // What is mounted here is to stay here.
        mount("none", Path::new("/"), "none", libc::MS_REC | libc::MS_PRIVATE, "").context("a private mount tree")?;
        mount("tmpfs", &folder, "tmpfs", 0, &format!("size={ROOM}")).context("a disk in memory")?;
        Ok(Disk { folder })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// It has no more room than what is written.
    ///
    /// # Errors
    /// What the system says.
    pub fn fill(&self) -> Result<()> {
        let mut size = self.used()?;
        loop {
            size += STEP;
            match self.resize(size) {
                // Somebody wrote in the meantime.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) && size < ROOM => {}
                other => return Ok(other?),
            }
        }
    }

    /// It has room again.
    ///
    /// # Errors
    /// What the system says.
    pub fn make_room(&self) -> Result<()> {
        Ok(self.resize(ROOM)?)
    }

    fn resize(&self, bytes: u64) -> io::Result<()> {
        mount("tmpfs", &self.folder, "tmpfs", libc::MS_REMOUNT, &format!("size={bytes}"))
    }

    fn used(&self) -> Result<u64> {
        let path = CString::new(self.folder.as_os_str().as_bytes())?;
        let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
        // SAFETY: `path` is a C string and `stat` is large enough; it is read only after success.
        if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: zeroed, and filled in by the successful call.
        let stat = unsafe { stat.assume_init() };
        Ok((stat.f_blocks - stat.f_bfree) * stat.f_frsize)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Ok(path) = CString::new(self.folder.as_os_str().as_bytes()) {
            // SAFETY: a C string that lives through the call. Whoever still uses the disk keeps it until then.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

fn mount(source: &str, target: &Path, kind: &str, flags: c_ulong, data: &str) -> io::Result<()> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::other);
    let (source, target, kind, data) = (
        text(source.as_bytes())?,
        text(target.as_os_str().as_bytes())?,
        text(kind.as_bytes())?,
        text(data.as_bytes())?,
    );
    // SAFETY: all pointers are C strings that live through the call.
    let result = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_until_it_has_room_again_and_nobody_else_sees_it() {
        let folder = Disk::with("disk", |disk| {
            let file = disk.folder().join("file");
            std::fs::write(&file, [7; 100_000]).unwrap();
            disk.fill().unwrap();
            let error = std::fs::write(disk.folder().join("more"), vec![7; 1 << 20]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
            disk.make_room().unwrap();
            std::fs::write(disk.folder().join("more"), vec![7; 1 << 20]).unwrap();
            let own = file.clone();
            assert!(std::thread::spawn(move || own.exists()).join().unwrap(), "threads of ours have it too");
            file
        });
        assert!(!folder.unwrap().exists());
    }
}
