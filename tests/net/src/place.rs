//! A network namespace with a thread that lives in it.

use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace. Threads and programs that are started from within belong to it.
pub struct Place {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    handle: String,
}

impl Place {
    /// A fresh one, without any link.
    ///
    /// # Errors
    /// The rights for it are missing.
    pub fn new(name: &str) -> Result<Place> {
        let (jobs, queue) = channel::<Job>();
        let (ready, made) = channel();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            // SAFETY: takes no pointers; only this thread is moved.
            let failed = unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0;
            // SAFETY: takes no pointers and cannot fail.
            let thread_id = unsafe { libc::syscall(libc::SYS_gettid) };
            let error = failed.then(std::io::Error::last_os_error);
            if ready.send((thread_id, error)).is_ok() && !failed {
                queue.into_iter().for_each(|job| job());
            }
        })?;
        let (thread_id, error) = made.recv()?;
        if let Some(error) = error {
            bail!("no network namespace ({error}): run this test as root, as CI does");
        }
        let handle = format!("/proc/{}/task/{thread_id}/ns/net", std::process::id());
        Ok(Place { jobs: Some(jobs), thread: Some(thread), handle })
    }

    /// Names it for `ip link set … netns`.
    pub(crate) fn handle(&self) -> String {
        self.handle.clone()
    }

    /// Does something there and waits for it.
    ///
    /// # Panics
    /// Where it panics.
    pub fn run<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job: Job = Box::new(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what));
            let _ = done.send(result);
        });
        let sent = self
            .jobs
            .as_ref()
            .ok_or_else(|| anyhow!("ended"))
            .and_then(|jobs| jobs.send(job).map_err(|_| anyhow!("ended")));
        assert!(sent.is_ok(), "the place's thread is gone");
        match result.recv() {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => panic!("the place's thread is gone: {error}"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs `ip` in the namespace of the calling thread.
///
/// # Errors
/// What it says.
pub(crate) fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .context("the program `ip` cannot be run: install the Debian package iproute2")?;
    if !output.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
