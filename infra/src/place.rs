//! Where things are: the repository, the state folder, and the settings.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
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
    /// First UDP port for audio.
    pub rtp_port_min: u16,
    /// Last UDP port for audio.
    pub rtp_port_max: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: IpAddr::from([127, 0, 0, 1]),
            cloud_port: 4566,
            sip_port: 5060,
            health_port: 8070,
            rtp_port_min: 20_000,
            rtp_port_max: 29_999,
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
        if self.rtp_port_max.saturating_sub(self.rtp_port_min) < 99 {
            wrong.push("rtp_port_max must be at least 99 above rtp_port_min (four ports a call)".to_owned());
        }
        for (name, port) in
            [("cloud_port", self.cloud_port), ("sip_port", self.sip_port), ("health_port", self.health_port)]
        {
            if port == 0 || (self.rtp_port_min..=self.rtp_port_max).contains(&port) {
                wrong.push(format!("{name} = {port} must not be 0 nor lie in the RTP range"));
            }
        }
        if self.cloud_port == self.health_port {
            wrong.push("cloud_port and health_port must differ".into());
        }
        if wrong.is_empty() { Ok(()) } else { bail!("settings (hotline.toml, HOTLINE_*):\n  {}", wrong.join("\n  ")) }
    }
}

fn override_from_env(settings: &mut Settings) -> Result<()> {
    fn set<T: std::str::FromStr>(name: &str, place: &mut T) -> Result<()>
    where
        T::Err: std::fmt::Display,
    {
        if let Ok(text) = std::env::var(name) {
            *place = text.parse().map_err(|e| anyhow::anyhow!("{name}={text}: {e}"))?;
        }
        Ok(())
    }
    set("HOTLINE_BIND", &mut settings.bind)?;
    set("HOTLINE_CLOUD_PORT", &mut settings.cloud_port)?;
    set("HOTLINE_SIP_PORT", &mut settings.sip_port)?;
    set("HOTLINE_HEALTH_PORT", &mut settings.health_port)?;
    set("HOTLINE_RTP_PORT_MIN", &mut settings.rtp_port_min)?;
    set("HOTLINE_RTP_PORT_MAX", &mut settings.rtp_port_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_wrong_settings_are_named_at_once() {
        let settings = Settings { rtp_port_min: 10_001, rtp_port_max: 10_010, sip_port: 0, ..Settings::default() };
        let text = settings.check().unwrap_err().to_string();
        for name in ["rtp_port_min", "rtp_port_max", "sip_port"] {
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Settings>("sip_prot = 5070").unwrap_err().to_string().contains("sip_prot"));
    }
}
