//! `hotline up`: everything on this machine, step by step, then kept running.

mod build;
mod card;
mod cloud;
mod deploy;
mod endpoints;
mod node;
mod requirements;
mod seed;

use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::place::{NodePlace, Place};
use crate::say::{seconds, stepped};
use crate::{node_cmd, process, run_state};

pub use build::CLOUD_BUILD;
pub use endpoints::{Endpoints, UserAccess};

/// Set by Ctrl-C and SIGTERM; looked at between steps and while supervising.
static STOP: AtomicBool = AtomicBool::new(false);

/// What `up` may be asked for.
#[derive(clap::Args, Debug, Clone)]
pub struct UpOptions {
    /// Return as soon as everything runs; stop it later with `hotline down`
    #[arg(long)]
    pub detach: bool,
}

/// Runs `up` in the foreground, or starts it in the background and follows it until it is ready.
pub fn run(place: &Place, options: &UpOptions) -> Result<()> {
    if options.detach { detach(place) } else { foreground(place) }
}

fn detach(place: &Place) -> Result<()> {
    if let Some(state) = run_state::read(place).filter(|s| process::alive(s.supervisor)) {
        bail!("already running (pid {}); see `hotline status`, stop it with `hotline down`", state.supervisor);
    }
    let log = place.log("up");
    std::fs::create_dir_all(log.parent().context("log folder")?)?;
    let out = File::create(&log)?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("up")
        .env("HOTLINE_ROOT", &place.root)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0)
        .spawn()?;
    let mut shown = 0;
    loop {
        shown += show_from(&log, shown)?;
        if run_state::read(place).is_some_and(|s| s.supervisor == child.id() && s.ready) {
            show_from(&log, shown)?;
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            show_from(&log, shown)?;
            bail!("`hotline up` ended with {status}; its output is also in {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn show_from(log: &std::path::Path, from: usize) -> Result<usize> {
    let bytes = std::fs::read(log)?;
    let new = bytes.get(from..).unwrap_or_default();
    std::io::stdout().write_all(new)?;
    std::io::stdout().flush()?;
    Ok(new.len())
}

fn foreground(place: &Place) -> Result<()> {
    let started = Instant::now();
    ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst)).context("signal handler")?;
    std::fs::create_dir_all(place.local("run"))?;
    let lock = File::options().create(true).truncate(false).write(true).open(place.local("run/up.lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let who = run_state::read(place).map_or_else(String::new, |s| format!(" (pid {})", s.supervisor));
            bail!("already running{who}; see `hotline status`, stop it with `hotline down`");
        }
        Err(TryLockError::Error(error)) => return Err(error).context("run/up.lock"),
    }
    println!("Hotline, on this machine. State: {}", place.local.display());
    let built_before = place.program("media-node").exists();
    let mut parts = Parts::default();
    let outcome = bring_up(place, &mut parts, started, built_before).and_then(|()| supervise(place, &mut parts));
    let stopped = parts.stop();
    run_state::clear(place);
    outcome.and(stopped)
}

/// The child processes, stopped in the right order.
#[derive(Default)]
struct Parts {
    cloud: Option<std::process::Child>,
    nodes: Vec<NodeChild>,
}

/// A node that dies so soon after its start, so often in a row, will not do better the next time.
const QUICK_DEATH: Duration = Duration::from_secs(10);
const QUICK_DEATHS: u32 = 10;

/// A media node's process.
struct NodeChild {
    child: std::process::Child,
    since: Instant,
    quick_deaths: u32,
}

impl Parts {
    fn stop(&mut self) -> Result<()> {
        if self.cloud.is_none() && self.nodes.is_empty() {
            return Ok(());
        }
        println!("Stopping.");
        for node in &mut self.nodes {
            // All drain at the same time; the pid of one that is gone may be somebody else's.
            if node.child.try_wait()?.is_none() {
                process::signal(node.child.id(), libc::SIGTERM);
            }
        }
        let nodes = self.nodes.drain(..).map(|node| ("media node", node.child, Duration::from_secs(20)));
        let cloud = self.cloud.take().map(|cloud| ("local cloud (saves its state)", cloud, Duration::from_secs(60)));
        for (name, mut child, patience) in nodes.chain(cloud) {
            stepped(name, || {
                let clean = process::stop(&mut child, patience)?;
                Ok(((), if clean { "stopped".into() } else { "did not stop in time, killed".into() }))
            })?;
        }
        Ok(())
    }
}

fn go_on() -> Result<()> {
    if STOP.load(Ordering::SeqCst) { bail!("interrupted") } else { Ok(()) }
}

fn bring_up(place: &Place, parts: &mut Parts, started: Instant, warm: bool) -> Result<()> {
    run_state::write(place, &run_state::RunState::starting())?;
    node_cmd::forget_stopped(place);
    stepped("requirements", || Ok(((), requirements::check(place)?)))?;
    stepped("ports", || {
        let s = &place.settings;
        process::check_tcp_port(s.bind, s.cloud_port, "the local cloud", "cloud_port")?;
        for node in place.nodes() {
            process::check_udp_port(s.bind, node.sip.port(), "the media node", "sip_port")?;
            process::check_tcp_port(s.bind, node.sip.port(), "the media node", "sip_port")?;
            process::check_tcp_port(s.bind, node.health.port(), "the media node's health page", "health_port")?;
            for (socket, setting) in [(node.ws, "ws_port"), (node.wss, "wss_port")] {
                if let Some(socket) = socket {
                    process::check_tcp_port(s.bind, socket.port(), "the media node's WebSocket", setting)?;
                }
            }
        }
        Ok(((), format!("cloud {}, sip {}, health {}", s.cloud_port, s.sip_port, s.health_port)))
    })?;
    go_on()?;
    stepped("local cloud's packages", || Ok(((), requirements::cloud_environment(place)?)))?;
    go_on()?;
    stepped("build", || Ok(((), build::programs(place)?)))?;
    go_on()?;
    parts.cloud = Some(stepped("local cloud", || cloud::start(place))?);
    go_on()?;
    let stack = stepped("deploy the template", || deploy::deploy(place))?;
    stepped("verify the deployment", || Ok(((), deploy::verify(place)?)))?;
    go_on()?;
    let mut endpoints = stepped("demo tenant", || seed::seed(place, &stack))?;
    go_on()?;
    for node in place.nodes() {
        let child = stepped(&format!("media {}", node.name), || node::start(place, &node, &stack))?;
        parts.nodes.push(NodeChild { child, since: Instant::now(), quick_deaths: 0 });
    }
    endpoints.nodes = place.nodes().iter().map(|node| node.sip.to_string()).collect();
    endpoints.browsers = place.nodes().iter().filter_map(NodePlace::browsers).collect();
    endpoints.sip = endpoints.nodes.first().cloned().unwrap_or_default();
    endpoints.write(place)?;
    let mut state = run_state::RunState::starting();
    state.cloud = parts.cloud.as_ref().map(std::process::Child::id);
    state.nodes = parts.nodes.iter().map(|node| node.child.id()).collect();
    run_state::write(place, &state)?;
    let memory = process::resident_mib(std::process::id());
    let (kind, target) = if warm { ("warm", "20 s") } else { ("cold", "15 min") };
    println!(
        "  {kind} start took {} (target {target}); resident memory {memory} MiB (target 1536)",
        seconds(started.elapsed())
    );
    card::print(place, &endpoints);
    state.ready = true;
    run_state::write(place, &state)?;
    Ok(())
}

/// Waits for a signal; restarts a node that died (its spool is uploaded at the start).
fn supervise(place: &Place, parts: &mut Parts) -> Result<()> {
    let stack = deploy::outputs(place)?;
    while !STOP.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(200));
        if let Some(cloud) = &mut parts.cloud
            && let Some(status) = cloud.try_wait()?
        {
            parts.cloud = None;
            bail!("the local cloud ended with {status}; its log: {}", place.log("cloud").display());
        }
        for (running, node) in parts.nodes.iter_mut().zip(place.nodes()) {
            let Some(status) = running.child.try_wait()?.filter(|_| !node_cmd::is_stopped(place, &node)) else {
                continue;
            };
            running.quick_deaths = if running.since.elapsed() < QUICK_DEATH { running.quick_deaths + 1 } else { 0 };
            if running.quick_deaths > QUICK_DEATHS {
                bail!(
                    "{} dies again and again, last with {status}; its log: {}",
                    node.name,
                    place.log(&node.name).display()
                );
            }
            println!("The media node {} ended with {status}; starting it again.", node.name);
            std::thread::sleep(Duration::from_millis(200));
            let before = running.child.id();
            (running.child, _) = node::start(place, &node, &stack)?;
            running.since = Instant::now();
            let mut state = run_state::read(place).unwrap_or_else(run_state::RunState::starting);
            for pid in &mut state.nodes {
                if *pid == before {
                    *pid = running.child.id();
                }
            }
            run_state::write(place, &state)?;
        }
    }
    Ok(())
}
