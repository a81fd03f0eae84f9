//! A baresip phone as a process: registers, answers by itself, speaks a tone, writes what it hears.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::hotline::eventually;

/// A running phone; dropped, it is stopped.
pub struct Baresip {
    child: Child,
    folder: PathBuf,
    control_port: u16,
}

/// How the phone is set up.
pub struct Setup<'a> {
    /// Where its files go; must be empty.
    pub folder: &'a Path,
    /// Its SIP port.
    pub sip_port: u16,
    /// Its control port.
    pub control_port: u16,
    /// First of its audio ports.
    pub rtp_port: u16,
    /// SIP user name, also the authentication name.
    pub user: &'a str,
    /// Password.
    pub password: &'a str,
    /// `host:port` to register at.
    pub registrar: &'a str,
    /// The tone it speaks, hertz.
    pub tone_hz: u32,
    /// `udp` or `tcp`.
    pub transport: &'a str,
}

impl Baresip {
    /// Starts it; it registers on its own and answers every call.
    pub fn start(setup: &Setup<'_>) -> Result<Self> {
        let folder = setup.folder;
        let microphone = folder.join("microphone.wav");
        hotline_phone::write_tone(&microphone, setup.tone_hz, 120)?;
        let config = format!(
            "sip_listen 127.0.0.1:{sip}\nrtp_ports {rtp}-{rtp_last}\naudio_player aufile,{out}\naudio_source aufile,{mic}\n\
             audio_alert aufile,/dev/null\nausrc_srate 8000\nauplay_srate 8000\naudio_buffer 20-160\n\
             module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule aufile.so\nmodule sndfile.so\nmodule_tmp account.so\n\
             module_app menu.so\nmodule ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{control}\nsnd_path {folder}\n",
            sip = setup.sip_port,
            rtp = setup.rtp_port,
            rtp_last = setup.rtp_port + 20,
            out = folder.join("player.wav").display(),
            mic = microphone.display(),
            control = setup.control_port,
            folder = folder.display(),
        );
        std::fs::write(folder.join("config"), config)?;
        std::fs::write(
            folder.join("accounts"),
            format!(
                "<sip:{user}@{registrar};transport={transport}>;auth_user={user};auth_pass={password};answermode=auto;audio_codecs=PCMU;regint=60\n",
                user = setup.user,
                registrar = setup.registrar,
                transport = setup.transport,
                password = setup.password,
            ),
        )?;
        std::fs::write(folder.join("contacts"), "")?;
        let log = std::fs::File::create(folder.join("log"))?;
        let child = Command::new("baresip")
            .arg("-f")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start baresip (Debian package baresip-core)")?;
        let phone = Self { child, folder: folder.to_path_buf(), control_port: setup.control_port };
        eventually(Duration::from_secs(10), || {
            let log = phone.log();
            if log.contains("200 OK") { Ok(()) } else { bail!("baresip has not registered:\n{log}") }
        })?;
        Ok(phone)
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read(self.folder.join("log")).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Hangs up whatever call there is.
    pub fn hang_up(&self) -> Result<()> {
        self.control(r#"{"command":"hangup"}"#)
    }

    fn control(&self, command: &str) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.control_port)).context("baresip's control port")?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        // A netstring: length and colon before, comma behind.
        write!(stream, "{}:{command},", command.len())?;
        let mut answer = [0; 512];
        let _ = stream.read(&mut answer)?;
        Ok(())
    }

    /// Everything it heard, over all its calls, 16-bit samples and their rate.
    pub fn heard(&self) -> Result<(Vec<i16>, u32)> {
        let mut samples = Vec::new();
        let mut rate = 8_000;
        for entry in std::fs::read_dir(&self.folder)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("dump-") && name.ends_with("-dec.wav") {
                let (channels, found) = crate::sound::read_wav(&std::fs::read(entry.path())?)?;
                samples.extend(channels.into_iter().next().unwrap_or_default());
                rate = found;
            }
        }
        Ok((samples, rate))
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
