//! Real peers: a browser with JsSIP, linphone, Kamailio; and SIPVicious, which is nobody's friend.
//!
//! The peers are Debian's packages; JsSIP comes from npm. `hotline test --only interop` installs them.

pub mod browser;
mod bundle;
pub mod kamailio;
pub mod linphone;
mod page;
pub mod sipvicious;
pub mod sound;

use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

/// Tries again until it works, and gives the last error when the time is over.
pub fn eventually<T>(within: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + within;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= until => return Err(error),
            // Paces the loop; nothing depends on its length.
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a program is there, else what installs it.
fn need(program: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    match folders.map(|folder| folder.join(program)).find(|file| file.is_file()) {
        Some(found) => Ok(found),
        None => bail!("{program} is not here: `./hotline test --only interop` installs it (Debian package {package})"),
    }
}
