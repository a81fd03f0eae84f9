//! Wrong ports, a taken port, a damaged state folder: `up` names each with its remedy, starts nothing
//! and loses nothing.

use anyhow::{Context, Result, ensure};
use hotline_live::hotline::Hotline;
use std::net::UdpSocket;
use std::path::Path;

pub fn run(hotline: &mut Hotline) -> Result<()> {
    hotline.down()?;
    let refused = |change: &[(&str, &str)], parts: &[&str]| -> Result<()> {
        let output = hotline.try_command_with(&["up", "--detach"], change)?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(!output.status.success(), "`up` with {change:?} succeeded:\n{said}");
        for part in parts {
            ensure!(said.contains(part), "`up` with {change:?} does not say {part:?}:\n{said}");
        }
        ensure!(hotline.command(&["status"])?.contains("not running"), "something was left running");
        Ok(())
    };
    refused(&[("HOTLINE_SIP_PORT", "99999")], &["HOTLINE_SIP_PORT=99999", "1 to 65535"])?;
    let taken = UdpSocket::bind(hotline.sip())?;
    refused(&[], &["sip_port", "held by", "pid"])?;
    drop(taken);

    let tables = hotline.local().join("cloud/state/dynamodb.json");
    cut_short(&tables, || refused(&[], &["damaged", "dynamodb.json", "hotline reset"]))?;
    let secrets = hotline.local().join("demo-secrets.json");
    cut_short(&secrets, || refused(&[], &["demo-secrets.json is damaged", "hotline reset"]))?;
    hotline.up()
}

/// Runs a check while a file is cut to its first 60 bytes, then puts the file back.
fn cut_short(file: &Path, check: impl FnOnce() -> Result<()>) -> Result<()> {
    let whole = std::fs::read(file).with_context(|| file.display().to_string())?;
    std::fs::write(file, whole.get(..60).unwrap_or_default())?;
    let outcome = check();
    std::fs::write(file, whole)?;
    outcome
}
