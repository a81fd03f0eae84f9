//! What the machine must have: found, installed, or named with the command that installs it.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

use crate::place::Place;

/// The local cloud's package, pinned: our launcher relies on its internals.
pub const MINISTACK: &str = "ministack[full]==1.5.33";

/// Checks the tools; installs Debian packages where it may (root with apt-get).
pub fn check(place: &Place) -> Result<String> {
    let mut missing = Vec::new();
    let mut packages = Vec::new();
    if !runs("python3", &["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]) {
        missing.push("Python 3.11 or newer as python3".to_owned());
        packages.push("python3");
    }
    if !runs("python3", &["-c", "import venv, ensurepip"]) {
        missing.push("Python's venv module".to_owned());
        packages.push("python3-venv");
    }
    if !runs("espeak-ng", &["--version"]) {
        missing.push("espeak-ng (speaks the prompts)".to_owned());
        packages.push("espeak-ng");
    }
    if !runs("cc", &["--version"]) {
        missing.push("a C compiler as cc (links Rust programs)".to_owned());
        packages.push("gcc");
    }
    if missing.is_empty() {
        return Ok("python3, espeak-ng, cc".into());
    }
    let command = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    // SAFETY: geteuid(2) has no preconditions.
    let may_install = unsafe { libc::geteuid() } == 0 && runs("apt-get", &["--version"]);
    if !may_install {
        bail!("missing: {}\n  install with: sudo {command}", missing.join(", "));
    }
    let log = place.log("install");
    install(&packages, &log).with_context(|| format!("`{command}` failed; its output: {}", log.display()))?;
    Ok(format!("installed {}", packages.join(" ")))
}

fn install(packages: &[&str], log: &Path) -> Result<()> {
    std::fs::create_dir_all(log.parent().context("log folder")?)?;
    let out = std::fs::File::create(log)?;
    for arguments in [vec!["update"], [vec!["install", "-y", "--no-install-recommends"], packages.to_vec()].concat()] {
        let status = Command::new("apt-get")
            .args(&arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(std::process::Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out.try_clone()?)
            .status()?;
        if !status.success() {
            bail!("apt-get {} ended with {status}", arguments[0]);
        }
    }
    Ok(())
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Makes the virtual environment of the local cloud under `.local/venv`, once.
pub fn cloud_environment(place: &Place) -> Result<String> {
    let venv = place.local("venv");
    let stamp = venv.join("hotline-stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|s| s == MINISTACK) && venv.join("bin/python").exists() {
        return Ok(MINISTACK.into());
    }
    let log = place.log("install");
    std::fs::create_dir_all(log.parent().context("log folder")?)?;
    let out = std::fs::File::options().create(true).append(true).open(&log)?;
    let run = |program: &Path, arguments: &[&str]| -> Result<()> {
        let status = Command::new(program)
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out.try_clone()?)
            .status()
            .with_context(|| program.display().to_string())?;
        if status.success() {
            return Ok(());
        }
        bail!(
            "{} {} ended with {status}; its output: {}\n  Is the Python package index reachable? Then run this again.",
            program.display(),
            arguments.join(" "),
            log.display()
        )
    };
    let _ = std::fs::remove_dir_all(&venv);
    run(Path::new("python3"), &["-m", "venv", &venv.display().to_string()])?;
    run(&venv.join("bin/python"), &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", MINISTACK])?;
    std::fs::write(&stamp, MINISTACK)?;
    Ok(format!("installed {MINISTACK}"))
}
