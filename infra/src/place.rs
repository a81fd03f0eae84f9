//! Where things are: the repository, the state folder, and the settings.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The repository and its state folder.
#[derive(Debug, Clone)]
pub struct Place {
    /// The repository.
    pub root: PathBuf,
    /// `.local/`: everything that `up` makes.
    pub local: PathBuf,
    /// What the person may change.
    pub settings: Settings,
}

/// `hotline.toml` beside the README; every key is optional.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The address to bind to.
    pub bind: IpAddr,
    /// The local cloud's port (all AWS APIs).
    pub cloud_port: u16,
    /// The media node's SIP port, UDP and TCP.
    pub sip_port: u16,
    /// The media node's health and metrics port.
    pub health_port: u16,
    /// The media node's WebSocket port for browsers; 0: none. Each further node has one [`SIP_STEP`] above.
    pub ws_port: u16,
    /// The same under TLS; needs `tls_cert` and `tls_key`.
    pub wss_port: u16,
    /// PEM file: the certificate for TLS, then its chain.
    pub tls_cert: PathBuf,
    /// PEM file: the certificate's private key.
    pub tls_key: PathBuf,
    /// First UDP port for audio.
    pub rtp_port_min: u16,
    /// Last UDP port for audio.
    pub rtp_port_max: u16,
    /// Media nodes, 1 to [`MAX_NODES`]. They share the audio ports; each further one has a SIP port
    /// [`SIP_STEP`] and a health port 1 above the one before.
    pub nodes: u16,
    /// Where calls to outside numbers go: `host:port`, tried in this order.
    pub gateways: Vec<String>,
    /// What outside numbers must begin with, such as `+86`; `+` allows all.
    pub dial_allow: Vec<String>,
}

/// Media nodes on one machine.
pub const MAX_NODES: u16 = 4;
/// Between the SIP ports of two nodes.
pub const SIP_STEP: u16 = 10;

/// What one media node uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlace {
    /// `node`, `node-2` and so on: its folder, log and settings file.
    pub name: String,
    /// SIP, UDP and TCP.
    pub sip: SocketAddr,
    /// SIP over WebSocket, where it is wanted.
    pub ws: Option<SocketAddr>,
    /// The same under TLS.
    pub wss: Option<SocketAddr>,
    /// Health and metrics.
    pub health: SocketAddr,
    /// Audio, first and last port.
    pub rtp: (u16, u16),
}

impl NodePlace {
    /// Where a browser's phone connects: by TLS where there is both.
    pub fn browsers(&self) -> Option<String> {
        let secure = self.wss.map(|socket| format!("wss://{socket}/"));
        secure.or_else(|| self.ws.map(|socket| format!("ws://{socket}/")))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: IpAddr::from([127, 0, 0, 1]),
            cloud_port: 4566,
            sip_port: 5060,
            health_port: 8070,
            ws_port: 0,
            wss_port: 0,
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            rtp_port_min: 20_000,
            rtp_port_max: 29_999,
            nodes: 1,
            gateways: Vec::new(),
            dial_allow: Vec::new(),
        }
    }
}

impl Place {
    /// Finds the repository and reads the settings; `HOTLINE_BIND`, `HOTLINE_SIP_PORT` and so on
    /// override the file, `HOTLINE_LOCAL` moves the state folder.
    pub fn find() -> Result<Self> {
        let root = match std::env::var_os("HOTLINE_ROOT") {
            Some(root) => PathBuf::from(root),
            None => {
                let here = std::env::current_dir()?;
                here.ancestors()
                    .find(|d| d.join("infra/template.yaml").exists() && d.join("shared").is_dir())
                    .context("not inside a Hotline checkout; set HOTLINE_ROOT to one")?
                    .to_path_buf()
            }
        };
        let local = std::env::var_os("HOTLINE_LOCAL").map_or_else(|| root.join(".local"), PathBuf::from);
        let file = root.join("hotline.toml");
        let mut settings = match std::fs::read_to_string(&file) {
            Ok(text) => toml::from_str(&text).with_context(|| format!("{} is not right", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Settings::default(),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        override_from_env(&mut settings)?;
        settings.check()?;
        Ok(Self { root, local, settings })
    }

    /// A file or folder in the state folder.
    pub fn local(&self, name: impl AsRef<Path>) -> PathBuf {
        self.local.join(name)
    }

    /// The log of one part.
    pub fn log(&self, part: &str) -> PathBuf {
        self.local(format!("log/{part}.log"))
    }

    /// Where cargo puts optimised programs.
    pub fn program(&self, name: &str) -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from);
        target.join("release").join(name)
    }

    /// The media nodes.
    pub fn nodes(&self) -> Vec<NodePlace> {
        let s = &self.settings;
        // One pair less than there may be: the whole range would not fit the type.
        let share = (s.rtp_port_max - s.rtp_port_min) / s.nodes / 2 * 2;
        let browsers = |port: u16, n| (port != 0).then(|| SocketAddr::new(s.bind, port + SIP_STEP * n));
        let node = |n: u16| NodePlace {
            name: if n == 0 { "node".into() } else { format!("node-{}", n + 1) },
            sip: SocketAddr::new(s.bind, s.sip_port + SIP_STEP * n),
            ws: browsers(s.ws_port, n),
            wss: browsers(s.wss_port, n),
            health: SocketAddr::new(s.bind, s.health_port + n),
            rtp: (s.rtp_port_min + share * n, s.rtp_port_min + share * (n + 1) - 1),
        };
        (0..s.nodes).map(node).collect()
    }

    /// The local cloud's address.
    pub fn cloud_url(&self) -> String {
        format!("http://{}:{}", self.settings.bind, self.settings.cloud_port)
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        let mut wrong = Vec::new();
        if self.rtp_port_min % 2 == 1 {
            wrong.push("rtp_port_min must be even (RTP takes the even port of each pair)".to_owned());
        }
        let least = 100 * self.nodes.clamp(1, MAX_NODES) - 1;
        if self.rtp_port_max.saturating_sub(self.rtp_port_min) < least {
            wrong.push(format!(
                "rtp_port_max must be at least {least} above rtp_port_min (four ports a call, 100 ports a node)"
            ));
        }
        for (name, port) in
            [("cloud_port", self.cloud_port), ("sip_port", self.sip_port), ("health_port", self.health_port)]
        {
            if port == 0 || (self.rtp_port_min..=self.rtp_port_max).contains(&port) {
                wrong.push(format!("{name} = {port} must not be 0 nor lie in the RTP range"));
            }
        }
        if !(1..=MAX_NODES).contains(&self.nodes) {
            wrong.push(format!("nodes = {} must be 1 to {MAX_NODES}", self.nodes));
        }
        if self.wss_port != 0 && (self.tls_cert.as_os_str().is_empty() || self.tls_key.as_os_str().is_empty()) {
            wrong.push("tls_cert and tls_key must name the PEM files that wss_port needs".into());
        }
        for (name, port) in [("ws_port", self.ws_port), ("wss_port", self.wss_port)] {
            if (self.rtp_port_min..=self.rtp_port_max).contains(&port) || port > u16::MAX - SIP_STEP * MAX_NODES {
                wrong.push(format!("{name} = {port} must not lie in the RTP range and leave room for further nodes"));
            }
        }
        if self.sip_port > u16::MAX - SIP_STEP * MAX_NODES || self.health_port > u16::MAX - MAX_NODES {
            wrong.push("sip_port and health_port must leave room for further nodes' ports above them".into());
        }
        if (self.health_port..self.health_port.saturating_add(self.nodes)).contains(&self.cloud_port) {
            wrong.push("cloud_port and the nodes' health ports (health_port and those after it) must differ".into());
        }
        if wrong.is_empty() { Ok(()) } else { bail!("settings (hotline.toml, HOTLINE_*):\n  {}", wrong.join("\n  ")) }
    }
}

fn override_from_env(settings: &mut Settings) -> Result<()> {
    fn set<T: std::str::FromStr>(name: &str, wanted: &str, place: &mut T) -> Result<()> {
        if let Ok(text) = std::env::var(name) {
            *place = text.parse().map_err(|_| anyhow::anyhow!("{name}={text} is not {wanted}"))?;
        }
        Ok(())
    }
    const PORT: &str = "a port: a whole number from 1 to 65535";
    set("HOTLINE_BIND", "an IP address, such as 127.0.0.1", &mut settings.bind)?;
    set("HOTLINE_CLOUD_PORT", PORT, &mut settings.cloud_port)?;
    set("HOTLINE_SIP_PORT", PORT, &mut settings.sip_port)?;
    set("HOTLINE_HEALTH_PORT", PORT, &mut settings.health_port)?;
    set("HOTLINE_WS_PORT", PORT, &mut settings.ws_port)?;
    set("HOTLINE_WSS_PORT", PORT, &mut settings.wss_port)?;
    set("HOTLINE_TLS_CERT", "a file", &mut settings.tls_cert)?;
    set("HOTLINE_TLS_KEY", "a file", &mut settings.tls_key)?;
    set("HOTLINE_RTP_PORT_MIN", PORT, &mut settings.rtp_port_min)?;
    set("HOTLINE_RTP_PORT_MAX", PORT, &mut settings.rtp_port_max)?;
    set("HOTLINE_NODES", "a number of media nodes", &mut settings.nodes)?;
    for (name, list) in [("HOTLINE_GATEWAYS", &mut settings.gateways), ("HOTLINE_DIAL_ALLOW", &mut settings.dial_allow)]
    {
        if let Ok(text) = std::env::var(name) {
            *list = text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_wrong_settings_are_named_at_once() {
        let wrong =
            Settings { rtp_port_min: 10_001, rtp_port_max: 10_010, sip_port: 0, wss_port: 1, ..Settings::default() };
        let text = wrong.check().unwrap_err().to_string();
        for name in ["rtp_port_min", "rtp_port_max", "sip_port", "tls_cert"] {
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn nodes_share_the_audio_ports_and_have_ports_of_their_own() {
        let settings = Settings { nodes: 2, ws_port: 5_066, ..Settings::default() };
        let place = Place { root: PathBuf::new(), local: PathBuf::new(), settings };
        let [first, second] = <[NodePlace; 2]>::try_from(place.nodes()).unwrap();
        let port = |address: Option<SocketAddr>| address.map(|address| address.port());
        assert_eq!((port(first.ws), port(second.ws), first.wss), (Some(5_066), Some(5_076), None));
        assert_eq!(first.browsers().as_deref(), Some("ws://127.0.0.1:5066/"));
        assert!(first.rtp.1 < second.rtp.0 && first.sip != second.sip && first.health != second.health);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Settings>("sip_prot = 5070").unwrap_err().to_string().contains("sip_prot"));
    }
}
