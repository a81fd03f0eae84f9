//! A peer that shares no code with us dials, over UDP and over TCP.

use anyhow::{Context, Result, bail};
use hotline_live::hotline::Hotline;
use std::process::{Command, Stdio};

pub fn run(hotline: &mut Hotline) -> Result<()> {
    for (transport, port) in [("u1", "17500"), ("t1", "17510")] {
        let folder = hotline.scratch(&format!("sipp-{transport}"))?;
        let output = Command::new("sipp")
            .args([hotline.sip(), "-sn", "uac", "-s", hotline.number(), "-i", "127.0.0.1", "-p", port, "-t", transport])
            .args(["-m", "3", "-r", "2", "-d", "1500", "-nostdin", "-timeout", "30s", "-timeout_error", "-trace_err"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output()
            .context("sipp (Debian package sip-tester)")?;
        if !output.status.success() {
            let errors: String =
                std::fs::read_dir(&folder)?.flatten().filter_map(|e| std::fs::read_to_string(e.path()).ok()).collect();
            bail!("sipp over {transport}: {}\n{}\n{errors}", output.status, String::from_utf8_lossy(&output.stdout));
        }
    }
    Ok(())
}
