//! `.local/endpoints.json`: where everything is, for scripts.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::place::Place;

/// Addresses, names and sign-ins of the running hotline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoints {
    /// `host:port` of the first media node, UDP and TCP.
    pub sip: String,
    /// The same of every media node.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Where browsers' phones connect, node by node; empty: nowhere (`ws_port` and `wss_port`).
    #[serde(default)]
    pub browsers: Vec<String>,
    /// Base address of the HTTP API, without the trailing slash.
    pub api: String,
    /// Address of the WebSocket API.
    pub websocket: String,
    /// The demo tenant.
    pub tenant: String,
    /// The number to dial.
    pub did: String,
    /// Who can sign in.
    pub users: Vec<UserAccess>,
    /// Where recordings are.
    pub recordings_bucket: String,
}

/// One person of the demo tenant, or the platform operator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserAccess {
    /// `operator`, `admin`, `supervisor` or `agent`.
    pub role: String,
    /// The sign-in name.
    pub name: String,
    /// The sign-in password.
    pub password: String,
    /// The agent's id, for agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The phone account, for agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip: Option<SipAccount>,
}

/// What a SIP phone needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SipAccount {
    /// User name, which is also the authentication name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl Endpoints {
    /// Reads the file of the last `up`.
    pub fn read(place: &Place) -> Result<Self> {
        let file = place.local("endpoints.json");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("{} is not there: start the hotline with `hotline up`", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged: run `hotline up` again", file.display()))
    }

    /// Replaces the file; only its owner may read it (it holds the demo passwords).
    pub fn write(&self, place: &Place) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let fresh = place.local("endpoints.json.new");
        let _ = std::fs::remove_file(&fresh);
        let file = std::fs::File::options().create_new(true).write(true).mode(0o600).open(&fresh)?;
        serde_json::to_writer_pretty(file, self)?;
        std::fs::rename(fresh, place.local("endpoints.json"))?;
        Ok(())
    }

    /// The first user with a role.
    pub fn user(&self, role: &str) -> Result<&UserAccess> {
        self.users.iter().find(|u| u.role == role).with_context(|| format!("endpoints.json names no {role}"))
    }
}
