//! Builds what runs: the functions, the node, the deploy tool; and zips the functions.

use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

use crate::place::Place;

/// What is built together for the cloud. Another choice of packages or features would build the
/// cloud SDK, the better part of all building, once more.
pub const CLOUD_BUILD: [&str; 10] = [
    "--locked",
    "--release",
    "-p",
    "hotline-functions",
    "-p",
    "hotline-cloud",
    "-p",
    "media-node",
    "--features",
    "media-node/cloud",
];

/// Builds with cargo, showing its own progress while something is compiled.
pub fn programs(place: &Place) -> Result<String> {
    let log = place.log("build");
    std::fs::create_dir_all(log.parent().context("log folder")?)?;
    let mut child = Command::new("cargo")
        .arg("build")
        .args(CLOUD_BUILD)
        .current_dir(&place.root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stderr = child.stderr.take().context("cargo's output")?;
    let mut whole = std::fs::File::create(&log)?;
    let compiled = follow(stderr, &mut whole)?;
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "the build failed; the compiler's words: {}\n  To see them here: cargo build {}",
            log.display(),
            CLOUD_BUILD.join(" ")
        );
    }
    Ok(if compiled == 0 { "nothing to do".into() } else { format!("{compiled} crates compiled") })
}

fn follow(stderr: impl std::io::Read, log: &mut impl std::io::Write) -> Result<usize> {
    use std::io::{BufRead, IsTerminal, Write};
    let live = std::io::stdout().is_terminal();
    let mut compiled = 0;
    for line in std::io::BufReader::new(stderr).lines() {
        let line = line?;
        writeln!(log, "{line}")?;
        if let Some(name) = line.trim_start().strip_prefix("Compiling ") {
            compiled += 1;
            if live {
                print!("\r\x1b[K  … build: {compiled} crates, now {name}");
                std::io::stdout().flush()?;
            } else if compiled % 50 == 0 {
                println!("    build: {compiled} crates so far");
            }
        }
    }
    Ok(compiled)
}
