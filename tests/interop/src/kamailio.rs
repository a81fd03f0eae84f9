//! Kamailio as a carrier's proxy: record-routes and relays by a table of users.

use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Process, eventually, need};

/// A running proxy; dropped, it is stopped with its children.
pub struct Kamailio {
    address: SocketAddr,
    folder: TempDir,
    process: Process,
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Its children end when it is asked to; killed, it would leave them.
        let asked = Command::new("kill").arg(self.process.0.id().to_string()).status();
        if asked.is_ok_and(|status| status.success()) {
            let _ = eventually(Duration::from_secs(5), || match self.process.0.try_wait()? {
                Some(_) => Ok(()),
                None => bail!("kamailio still runs"),
            });
        }
    }
}

impl Kamailio {
    /// Starts it at an address: requests for a user go to the URI given for it, all others to `node`
    /// by a transport.
    pub fn start_at(address: SocketAddr, node: SocketAddr, transport: &str, users: &[(&str, String)]) -> Result<Self> {
        let program = need("kamailio", "kamailio")?;
        let folder = tempfile::tempdir()?;
        let mut routes = String::new();
        for (user, uri) in users {
            writeln!(routes, "  if ($rU == \"{user}\") {{ $du = \"{uri}\"; t_relay(); exit; }}")?;
        }
        let config = format!(
            "debug=2\nlog_stderror=yes\nchildren=1\ntcp_children=1\nauto_aliases=no\nenable_tls=no\nlisten=udp:{address}\nlisten=tcp:{address}\n\
             loadmodule \"tm.so\"\nloadmodule \"sl.so\"\nloadmodule \"rr.so\"\nloadmodule \"maxfwd.so\"\nloadmodule \"pv.so\"\n\
             loadmodule \"textops.so\"\nloadmodule \"siputils.so\"\n\
             request_route {{\n  if (!mf_process_maxfwd_header(\"10\")) {{ sl_send_reply(\"483\", \"Too Many Hops\"); exit; }}\n  \
             if (has_totag()) {{\n    if (loose_route()) {{ t_relay(); exit; }}\n    if (is_method(\"ACK\") && t_check_trans()) {{ t_relay(); exit; }}\n    \
             sl_send_reply(\"404\", \"No Route\"); exit;\n  }}\n  \
             if (is_method(\"CANCEL\")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}\n  \
             t_check_trans();\n  if (is_method(\"INVITE\")) {{ record_route(); }}\n{routes}  \
             $du = \"sip:{node};transport={transport}\";\n  t_relay();\n}}\n"
        );
        let file = folder.path().join("kamailio.cfg");
        std::fs::write(&file, config)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(program)
            .args(["-DD", "-E", "-m", "32", "-M", "4", "-f"])
            .arg(&file)
            .arg("-Y")
            .arg(folder.path())
            .arg("-P")
            .arg(folder.path().join("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start kamailio")?;
        let proxy = Self { address, folder, process: Process(child) };
        proxy.answers()?;
        Ok(proxy)
    }

    /// Where it listens, UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until it answers a request that it must refuse.
    fn answers(&self) -> Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let own = socket.local_addr()?;
        eventually(Duration::from_secs(10), || {
            let text = format!(
                "OPTIONS sip:x@{} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKhello\r\nMax-Forwards: 0\r\nFrom: <sip:t@t>;tag=1\r\n\
                 To: <sip:x@x>\r\nCall-ID: hello\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
                self.address
            );
            socket.send_to(text.as_bytes(), self.address)?;
            let mut answer = [0u8; 2_048];
            match socket.recv(&mut answer) {
                Ok(count) if answer.get(..count).is_some_and(|a| a.starts_with(b"SIP/2.0 483")) => Ok(()),
                other => bail!("kamailio does not answer ({other:?}):\n{}", self.log()),
            }
        })
    }
}
