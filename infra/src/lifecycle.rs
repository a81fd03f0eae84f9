//! `down`, `status`, `logs`, `reset`.

use anyhow::{Context, Result, bail};
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use crate::place::Place;
use crate::say::stepped;
use crate::up::Endpoints;
use crate::{node_cmd, process, run_state};

/// Stops a running `up` and waits until nothing of it is left.
pub fn down(place: &Place) -> Result<()> {
    let Some(state) = run_state::read(place).filter(|s| process::alive(s.supervisor)) else {
        sweep_leftovers(place)?;
        println!("Nothing is running.");
        return Ok(());
    };
    stepped("hotline", || {
        process::signal(state.supervisor, libc::SIGTERM);
        if !process::wait_gone(state.supervisor, Duration::from_secs(90)) {
            bail!("pid {} did not stop within 90 s; see {}", state.supervisor, place.log("up").display());
        }
        Ok(((), "stopped".into()))
    })?;
    sweep_leftovers(place)
}

/// Children of an `up` that was killed outlive it: they are stopped by their recorded pids.
pub fn sweep_leftovers(place: &Place) -> Result<()> {
    let Some(state) = run_state::read(place) else {
        return Ok(());
    };
    if process::alive(state.supervisor) && state.supervisor != std::process::id() {
        return Ok(());
    }
    let nodes = state.nodes.iter().map(|pid| ("media node", *pid, "media-node"));
    for (name, pid, marker) in nodes.chain(state.cloud.map(|pid| ("local cloud", pid, "cloud.py"))) {
        if !process::alive(pid) || !is_ours(pid, marker) {
            continue;
        }
        println!("  a {name} (pid {pid}) was left over; stopping it");
        process::signal(pid, libc::SIGTERM);
        if !process::wait_gone(pid, Duration::from_secs(30)) {
            process::signal(pid, libc::SIGKILL);
            process::wait_gone(pid, Duration::from_secs(5));
        }
    }
    run_state::clear(place);
    Ok(())
}

/// A pid may have been given to another program since.
fn is_ours(pid: u32, marker: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| String::from_utf8_lossy(&c).contains(marker))
}

/// Says what runs.
pub fn status(place: &Place) -> Result<()> {
    let Some(state) = run_state::read(place).filter(|s| process::alive(s.supervisor)) else {
        println!("Hotline is not running. Start it with `hotline up`.");
        return Ok(());
    };
    println!("Hotline is {}.", if state.ready { "up" } else { "starting" });
    let mut parts = vec![("supervisor", Some(state.supervisor)), ("local cloud", state.cloud)];
    parts.extend((0..place.nodes().len()).map(|n| ("media node", state.nodes.get(n).copied())));
    for (name, pid) in parts {
        match pid {
            Some(pid) if process::alive(pid) => {
                println!("  ✓ {name:<12} pid {pid:<8} {} MiB with its children", process::resident_mib(pid))
            }
            Some(pid) => println!("  ✗ {name:<12} pid {pid} is gone; log: {}", place.local("log").display()),
            None => println!("  … {name:<12} not started yet"),
        }
    }
    if let Ok(endpoints) = Endpoints::read(place) {
        println!("  sip {}   did {}   api {}", endpoints.sip, endpoints.did, endpoints.api);
    }
    let config =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).http_status_as_error(false).build();
    let agent = ureq::Agent::from(config);
    for node in place.nodes() {
        let health = format!("http://{}/readyz", node.health);
        if node_cmd::is_stopped(place, &node) {
            println!("  {}: stopped; `hotline node start` brings it back", node.name);
            continue;
        }
        match agent.get(&health).call() {
            Ok(mut answer) => {
                let said = answer.body_mut().read_to_string().unwrap_or_default();
                println!("  {}: {} {}", node.name, answer.status(), said.trim());
            }
            Err(error) => println!("  {}: no answer from {health} ({error})", node.name),
        }
    }
    Ok(())
}

/// What `logs` may be asked for.
#[derive(clap::Args, Debug)]
pub struct LogOptions {
    /// up, cloud, node, build or install; without it: the list
    pub part: Option<String>,
    /// How many lines from the end
    #[arg(short = 'n', long, default_value_t = 40)]
    pub lines: usize,
    /// Go on showing what is added
    #[arg(short, long)]
    pub follow: bool,
}

/// Shows the end of a part's log.
pub fn logs(place: &Place, options: &LogOptions) -> Result<()> {
    let Some(part) = &options.part else {
        let mut names: Vec<String> = std::fs::read_dir(place.local("log"))
            .with_context(|| format!("no logs yet in {}", place.local("log").display()))?
            .flatten()
            .filter_map(|e| e.file_name().to_str().and_then(|n| n.strip_suffix(".log")).map(str::to_owned))
            .collect();
        names.sort();
        println!("logs: {}", names.join(" "));
        return Ok(());
    };
    if part.contains(['/', '.']) {
        bail!("{part:?} is no part; `hotline logs` lists them");
    }
    let file = place.log(part);
    let mut file =
        std::fs::File::open(&file).with_context(|| format!("no log for {part:?}; `hotline logs` lists the parts"))?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(1 << 20)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(options.lines)..] {
        println!("{line}");
    }
    if !options.follow {
        return Ok(());
    }
    loop {
        let mut more = Vec::new();
        file.read_to_end(&mut more)?;
        std::io::stdout().write_all(&more)?;
        std::io::stdout().flush()?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What `reset` may be asked for.
#[derive(clap::Args, Debug)]
pub struct ResetOptions {
    /// Also remove the virtual environment of the local cloud
    #[arg(long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Throws the local state away.
pub fn reset(place: &Place, options: &ResetOptions) -> Result<()> {
    if run_state::read(place).is_some_and(|s| process::alive(s.supervisor)) {
        bail!("the hotline is running; stop it first with `hotline down`");
    }
    sweep_leftovers(place)?;
    if !place.local.exists() {
        println!("There is no state at {}.", place.local.display());
        return Ok(());
    }
    if !options.yes {
        print!("Remove tenants, calls, recordings and tickets in {}? [y/N] ", place.local.display());
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            println!("Nothing was removed.");
            return Ok(());
        }
    }
    for entry in std::fs::read_dir(&place.local)?.flatten() {
        let keep = !options.all && entry.file_name() == "venv";
        if !keep {
            let path = entry.path();
            if entry.file_type()?.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }
                .with_context(|| path.display().to_string())?;
        }
    }
    println!("Removed. `hotline up` starts afresh.");
    Ok(())
}
