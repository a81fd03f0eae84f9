//! `hotline node`: one media node is taken away, or comes back, while the rest runs on.

use anyhow::{Context, Result, bail};
use std::time::Duration;

use crate::place::{NodePlace, Place};
use crate::say::stepped;
use crate::{process, run_state};

/// What may be done to one node of a running hotline.
#[derive(clap::Subcommand, Debug)]
pub enum NodeCommand {
    /// Stop a node and keep it stopped until `hotline node start`
    Stop {
        /// Which: 1 is the first
        node: usize,
        /// Kill it at once (SIGKILL); without this it drains first
        #[arg(long)]
        hard: bool,
    },
    /// Start a node that was stopped
    Start {
        /// Which: 1 is the first
        node: usize,
    },
}

/// Carries a command out and waits until it is done.
pub fn run(place: &Place, command: &NodeCommand) -> Result<()> {
    match command {
        NodeCommand::Stop { node, hard } => stop(place, *node, *hard),
        NodeCommand::Start { node } => start(place, *node),
    }
}

/// The file that keeps the supervisor from starting a node again.
fn marker(place: &Place, node: &NodePlace) -> std::path::PathBuf {
    place.local(format!("run/{}.stopped", node.name))
}

/// Whether somebody wants a node stopped.
pub fn is_stopped(place: &Place, node: &NodePlace) -> bool {
    marker(place, node).exists()
}

/// A fresh `up` starts all nodes.
pub fn forget_stopped(place: &Place) {
    for node in place.nodes() {
        let _ = std::fs::remove_file(marker(place, &node));
    }
}

/// The node by its number, and its process.
fn find(place: &Place, number: usize) -> Result<(NodePlace, u32)> {
    let state = run_state::read(place).filter(|state| state.ready && process::alive(state.supervisor));
    let state = state.context("the hotline is not running; start it with `hotline up`")?;
    let found = number.checked_sub(1).and_then(|index| Some((place.nodes().get(index)?.clone(), index)));
    let Some((node, index)) = found else {
        bail!("there is no node {number}: the nodes are 1 to {}", place.nodes().len());
    };
    let pid = state.nodes.get(index).with_context(|| format!("{} was not started yet", node.name))?;
    Ok((node, *pid))
}

fn stop(place: &Place, number: usize, hard: bool) -> Result<()> {
    let (node, pid) = find(place, number)?;
    // Written before the node ends: the supervisor may look at once.
    std::fs::write(marker(place, &node), "")?;
    stepped(&node.name, || {
        process::signal(pid, if hard { libc::SIGKILL } else { libc::SIGTERM });
        if !process::wait_gone(pid, Duration::from_secs(30)) {
            bail!("pid {pid} did not stop within 30 s; its log: {}", place.log(&node.name).display());
        }
        Ok(((), (if hard { "killed" } else { "stopped" }).into()))
    })
}

fn start(place: &Place, number: usize) -> Result<()> {
    let (node, before) = find(place, number)?;
    if process::alive(before) {
        bail!("{} runs already (pid {before})", node.name);
    }
    let _ = std::fs::remove_file(marker(place, &node));
    stepped(&node.name, || {
        for _ in 0..300 {
            if let Ok((_, pid)) = find(place, number)
                && pid != before
            {
                return Ok(((), format!("sip {}, pid {pid}", node.sip)));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("it was not started within 30 s; see {}", place.log("up").display())
    })
}
