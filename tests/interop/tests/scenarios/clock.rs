//! The wall clock jumps by years while calls run: this program runs again with libfaketime, which moves the system's
//! time for it and leaves the monotonic clock as it is, as a clock that is set does.

use anyhow::{Context, Result, ensure};
use hotline_interop::eventually;
use hotline_phone::Phone;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::scanners::{self, ACCOUNTS};
use super::{hears, udp};

/// Names the file that says how far the clock is off, for the program's second run.
const FILE: &str = "HOTLINE_INTEROP_CLOCK";
const YEAR_S: u64 = 365 * 86_400;
const PATIENCE: Duration = Duration::from_secs(15);

pub fn jumps() -> Result<()> {
    if let Some(file) = std::env::var_os(FILE) {
        return calls_while_it_jumps(Path::new(&file));
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("offset");
    std::fs::write(&file, "+0\n")?;
    let output = Command::new(std::env::current_exe()?)
        .arg("a_clock_that_jumps")
        .env(FILE, &file)
        .env("LD_PRELOAD", library()?)
        .env("FAKETIME_TIMESTAMP_FILE", &file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .output()
        .context("cannot run this program again")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Where Debian puts it.
fn library() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path());
    let mut files = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    files
        .find(|file| file.is_file())
        .context("libfaketime is not here: `./hotline test --only interop` installs it (Debian package faketime)")
}

fn seconds() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

fn calls_while_it_jumps(file: &Path) -> Result<()> {
    let (node, functions, mut phone) = scanners::setup("45600-45649")?;
    let target = udp(&node)?;
    let number = format!("sip:600@{target}");
    let call = async |phone: &mut Phone| {
        phone.call(&number).await?;
        phone.wait_answered(PATIENCE).await?;
        hears(phone, 440).await
    };
    node.run(call(&mut phone))?;
    let start = seconds()?;
    for (offset, expected) in [("+10y", start + 10 * YEAR_S), ("-10y", start - 10 * YEAR_S), ("+0", start)] {
        std::fs::write(file, format!("{offset}\n"))?;
        let now = seconds()?;
        ensure!(now.abs_diff(expected) < YEAR_S, "{offset}: the clock does not jump: {now}, not about {expected}");
        let renewals = functions.renewals.load(Ordering::Relaxed);
        node.run(async {
            // Who talks goes on; who registers is asked for a digest, and its nonce is good.
            phone.forget_heard();
            hears(&phone, 440).await?;
            phone.register().await?;
            let mut other = scanners::registered(target, ACCOUNTS[1]).await?;
            call(&mut other).await?;
            other.hangup().await?;
            other.wait_ended(PATIENCE).await?;
            other.unregister().await?;
            other.stop().await;
            anyhow::Ok(())
        })
        .with_context(|| format!("with the clock at {offset}"))?;
        node.until("phones", 1)?;
        node.until("calls", 1)?;
        eventually(PATIENCE, || {
            ensure!(functions.renewals.load(Ordering::Relaxed) > renewals, "{offset}: the lease is not renewed");
            Ok(())
        })?;
    }
    node.run(async {
        phone.hangup().await?;
        phone.wait_ended(PATIENCE).await?;
        phone.stop().await;
        anyhow::Ok(())
    })?;
    node.until("sessions", 0)
}
