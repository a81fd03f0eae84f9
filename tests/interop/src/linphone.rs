//! linphone's console phone: registers, calls, answers by itself, speaks from a file and records.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Process, eventually, need, sound};

/// A running phone; dropped, it is stopped.
pub struct Linphone {
    folder: TempDir,
    /// What it records into.
    heard: PathBuf,
    commands: ChildStdin,
    _process: Process,
}

/// How it is set up.
pub struct Setup<'a> {
    /// `udp`, `tcp` or `tls`.
    pub transport: &'a str,
    /// `address:port` to register at.
    pub registrar: String,
    /// SIP user name.
    pub user: &'a str,
    /// Its SIP port; the next one is for TLS.
    pub sip_port: u16,
    /// First of its audio ports.
    pub rtp_port: u16,
    /// The tone it speaks, hertz.
    pub tone_hz: u32,
    /// Whose certificates it believes, a PEM file.
    pub root_ca: Option<PathBuf>,
}

impl Linphone {
    /// Starts it; it registers on its own and answers every call.
    pub fn start(setup: &Setup<'_>) -> Result<Self> {
        let program = need("linphonec", "linphone-cli")?;
        let folder = tempfile::tempdir()?;
        let home = folder.path();
        std::fs::create_dir_all(home.join(".local/share/linphone"))?;
        hotline_phone::write_tone(&home.join("microphone.wav"), setup.tone_hz, 60)?;
        let ca = setup.root_ca.as_ref().map(|ca| format!("root_ca={}\n", ca.display())).unwrap_or_default();
        let config = format!(
            "[sip]\nsip_port={port}\nsip_tcp_port={port}\nsip_tls_port={tls}\ndefault_proxy=0\nuse_ipv6=0\n\
             register_only_when_network_is_up=0\nmedia_encryption=none\nverify_server_certs=1\nverify_server_cn=1\n{ca}\
             [net]\nfirewall_policy=0\n[rtp]\naudio_rtp_port={rtp}\n[video]\nenabled=0\n[proxy_0]\n\
             reg_proxy=<sip:{registrar};transport={transport}>\nreg_route=<sip:{registrar};transport={transport};lr>\n\
             reg_identity=sip:{user}@{registrar}\nreg_expires=600\nreg_sendregister=1\npublish=0\n",
            port = setup.sip_port,
            tls = setup.sip_port + 1,
            rtp = setup.rtp_port,
            registrar = setup.registrar,
            transport = setup.transport,
            user = setup.user,
        );
        std::fs::write(home.join("config"), config)?;
        let log = std::fs::File::create(home.join("log"))?;
        let mut child = Command::new(program)
            .args(["-a", "-d", "0", "-c"])
            .arg(home.join("config"))
            .env("HOME", home)
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start linphonec")?;
        let commands = child.stdin.take().context("linphone's input")?;
        let mut phone = Self { heard: PathBuf::new(), folder, commands, _process: Process(child) };
        phone.command("soundcard use files")?;
        phone.record("first.wav")?;
        let microphone = phone.folder.path().join("microphone.wav");
        phone.command(&format!("play {}", microphone.display()))?;
        Ok(phone)
    }

    /// Records into a file of its own from the next call on: calls differ in their sampling rates.
    pub fn record(&mut self, name: &str) -> Result<()> {
        self.heard = self.folder.path().join(name);
        let command = format!("record {}", self.heard.display());
        self.command(&command)
    }

    /// Types a command at its prompt.
    pub fn command(&mut self, command: &str) -> Result<()> {
        writeln!(self.commands, "{command}")
            .with_context(|| format!("linphone took no {command:?}:\n{}", self.log()))?;
        Ok(self.commands.flush()?)
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it hears a tone for some time, 15 s at most.
    pub fn hears(&self, hz: f64, ms: u64) -> Result<()> {
        eventually(Duration::from_secs(15), || {
            let (samples, rate) = sound::growing_wav(&self.heard);
            let found = hotline_phone::tone_ms(&samples, hz, rate);
            if found >= ms {
                return Ok(());
            }
            bail!("linphone heard {found} ms of {hz} Hz in {} samples at {rate}:\n{}", samples.len(), self.log())
        })
    }

    /// Waits for a line in what it prints.
    pub fn says(&self, text: &str) -> Result<()> {
        eventually(Duration::from_secs(15), || match self.log().contains(text) {
            true => Ok(()),
            false => bail!("linphone did not say {text:?}:\n{}", self.log()),
        })
    }
}
