//! The local cloud as a child process.

use anyhow::{Context, Result, bail};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::place::Place;
use crate::process;

/// What a program needs in its environment to speak to the local cloud.
pub const CLOUD_ENVIRONMENT: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "us-east-1")];

/// Starts it with a clean environment (functions inherit it) and waits until it answers.
pub fn start(place: &Place) -> Result<(Child, String)> {
    let log = place.log("cloud");
    let from = std::fs::metadata(&log).map_or(0, |m| m.len());
    let python = place.local("venv/bin/python");
    let mut command = Command::new(python);
    command
        .arg(place.root.join("infra/local/cloud.py"))
        .args(["--state".as_ref(), place.local("cloud").as_os_str()])
        .args(["--port", &place.settings.cloud_port.to_string()])
        .args(["--bind", &place.settings.bind.to_string()])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", place.local("cloud"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let mut child = process::spawn(&mut command, &log)?;
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let said: String = text.get(from as usize..).unwrap_or(&text).trim().to_owned();
            bail!("the local cloud ended with {status}:\n{said}");
        }
        if answers(place) {
            return Ok((child, place.cloud_url()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    process::stop(&mut child, Duration::from_secs(5)).context("stopping it")?;
    bail!("the local cloud did not answer within 60 s; its log: {}", log.display())
}

fn answers(place: &Place) -> bool {
    let url = format!("{}/_ministack/health", place.cloud_url());
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).build();
    ureq::Agent::from(config).get(&url).call().is_ok()
}
