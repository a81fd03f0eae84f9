//! What runs now: `.local/run/state.json`, written by `up`, read by the other commands.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::place::Place;

/// The processes of a running `up`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunState {
    /// The `hotline up` process itself.
    pub supervisor: u32,
    /// The local cloud.
    pub cloud: Option<u32>,
    /// The media nodes.
    #[serde(default)]
    pub nodes: Vec<u32>,
    /// Everything answers.
    pub ready: bool,
}

impl RunState {
    /// This process, with nothing started yet.
    pub fn starting() -> Self {
        Self { supervisor: std::process::id(), cloud: None, nodes: Vec::new(), ready: false }
    }
}

/// What the file says, if there is one that can be read.
pub fn read(place: &Place) -> Option<RunState> {
    serde_json::from_str(&std::fs::read_to_string(place.local("run/state.json")).ok()?).ok()
}

/// Replaces the file.
pub fn write(place: &Place, state: &RunState) -> Result<()> {
    let file = place.local("run/state.json");
    let fresh = place.local("run/state.json.new");
    std::fs::create_dir_all(place.local("run"))?;
    std::fs::write(&fresh, serde_json::to_string_pretty(state)?)?;
    std::fs::rename(fresh, file)?;
    Ok(())
}

/// Removes the file.
pub fn clear(place: &Place) {
    let _ = std::fs::remove_file(place.local("run/state.json"));
}
