//! A media node in this process.

use anyhow::{Context, Result, bail};
use hotline_sip::api::Transport;
use media_node::config::Config;
use media_node::standalone::DecisionFile;
use media_node::{Node, Source};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hotline_interop::eventually;
use tempfile::TempDir;

/// A running node; dropped, it is stopped.
pub struct RunningNode {
    runtime: tokio::runtime::Runtime,
    node: Option<Node>,
    folder: TempDir,
}

impl RunningNode {
    /// Starts it with these rules, on free ports of the loopback; nobody needs an account.
    pub fn start(rtp_ports: &str, rules: &str) -> Result<Self> {
        let file = DecisionFile::read(rules, std::path::Path::new(".")).map_err(|e| anyhow::anyhow!("{e:?}"))?;
        let open = [("SIP_REGISTER_AUTH", "false"), ("SIP_WS_AUTH", "false"), ("SIP_WORKERS", "4")];
        Self::start_with(rtp_ports, Source::File { file, path: None }, &open)
    }

    /// With these settings, as the environment has them.
    pub fn start_with(rtp_ports: &str, source: Source, more: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let key = rcgen::KeyPair::generate()?;
        let names = vec!["127.0.0.1".to_string(), "localhost".to_string()];
        let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
        let (cert, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, certificate.pem())?;
        std::fs::write(&key_file, key.serialize_pem())?;
        let any = "127.0.0.1:0".to_string();
        let settings = [
            ("SIP_LISTEN", "udp:127.0.0.1:0,tcp:127.0.0.1:0".to_string()),
            ("SIP_TLS_LISTEN", any.clone()),
            ("SIP_WS_LISTEN", any.clone()),
            ("SIP_WSS_LISTEN", any.clone()),
            ("SIP_TLS_CERT", cert.display().to_string()),
            ("SIP_TLS_KEY", key_file.display().to_string()),
            ("HTTP_LISTEN", any),
            ("MEDIA_PORTS", rtp_ports.into()),
            ("NODE_DATA_DIR", folder.path().join("data").display().to_string()),
        ];
        let more = more.iter().map(|(key, value)| (*key, value.to_string()));
        let settings: BTreeMap<String, String> =
            settings.into_iter().chain(more).map(|(key, value)| (format!("HOTLINE_NODE_{key}"), value)).collect();
        let config = Config::read("", &settings).map_err(|e| anyhow::anyhow!("{e}"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let node = runtime.block_on(Node::start(config, source))?;
        Ok(Self { runtime, node: Some(node), folder })
    }

    fn node(&self) -> Result<&Node> {
        self.node.as_ref().context("the node was stopped")
    }

    /// Where a transport is received.
    pub fn address(&self, transport: Transport) -> Result<SocketAddr> {
        let node = self.node()?;
        let address = if transport == Transport::Udp { node.udp_address() } else { node.stream_address(transport) };
        address.with_context(|| format!("no socket for {transport:?}"))
    }

    /// Its certificate, which is its own authority.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Runs something asynchronous.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// A figure of `/metrics`.
    pub fn metric(&self, name: &str) -> Result<u64> {
        let address = self.node()?.http_address().context("no HTTP")?;
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let line = text.lines().find_map(|l| l.strip_prefix(&format!("hotline_node_{name} ")));
        Ok(line.with_context(|| format!("no metric {name}"))?.parse()?)
    }

    /// Waits until a figure is as expected, 20 s at most.
    pub fn until(&self, name: &str, expected: u64) -> Result<()> {
        eventually(Duration::from_secs(20), || {
            let value = self.metric(name)?;
            if value == expected { Ok(()) } else { bail!("{name} is {value}, not {expected}") }
        })
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop();
        }
    }
}
