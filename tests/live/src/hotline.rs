//! A whole hotline, started by the command a person would type, on ports of its own.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Ports that a developer's own `hotline up` does not use.
const PORTS: [(&str, &str); 9] = [
    ("HOTLINE_CLOUD_PORT", "14566"),
    ("HOTLINE_SIP_PORT", "15062"),
    ("HOTLINE_WSS_PORT", "15066"),
    ("HOTLINE_HEALTH_PORT", "18070"),
    ("HOTLINE_RTP_PORT_MIN", "30000"),
    ("HOTLINE_RTP_PORT_MAX", "31999"),
    ("HOTLINE_NODES", "2"),
    ("HOTLINE_GATEWAYS", GATEWAY),
    ("HOTLINE_DIAL_ALLOW", "+86"),
];

/// Where calls to outside numbers go: a test that wants them has a phone there.
pub const GATEWAY: &str = "127.0.0.1:17800";

/// A running hotline; dropped, it is stopped.
pub struct Hotline {
    root: PathBuf,
    local: PathBuf,
    target: PathBuf,
    /// For browsers: the nodes' certificate and its key.
    tls: [PathBuf; 2],
    since: Instant,
    endpoints: Value,
}

impl Hotline {
    /// Starts from an empty state.
    pub fn fresh() -> Result<Self> {
        let root: PathBuf = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../..").components().collect();
        let cache = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let tls = certificate(&cache.join("live-tls"))?;
        let local = cache.join("live-state");
        let mut hotline = Self { local, target: cache, root, tls, since: Instant::now(), endpoints: Value::Null };
        hotline.command(&["down"])?;
        hotline.command(&["reset", "--yes"])?;
        hotline.up()?;
        Ok(hotline)
    }

    /// Starts with the state there is.
    pub fn up(&mut self) -> Result<()> {
        self.command(&["up", "--detach"])?;
        self.since = Instant::now();
        let text = std::fs::read_to_string(self.local.join("endpoints.json")).context("endpoints.json")?;
        self.endpoints = serde_json::from_str(&text)?;
        Ok(())
    }

    /// Waits until nodes' leases are looked through: by the sweep of each minute, the first of which comes a minute
    /// after the start of the local cloud.
    pub fn watches_leases(&self) {
        let watched = self.since + Duration::from_secs(62);
        while Instant::now() < watched {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Stops; the state is kept.
    pub fn down(&self) -> Result<()> {
        self.command(&["down"]).map(drop)
    }

    /// Runs `./hotline …` against this hotline's state and fails where it fails.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let output = self.try_command(arguments)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "hotline {}: {}\n{said}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(said)
    }

    /// Runs `./hotline …`, whatever it answers.
    pub fn try_command(&self, arguments: &[&str]) -> Result<Output> {
        self.try_command_with(arguments, &[])
    }

    /// Runs `./hotline …` with other settings in its environment.
    pub fn try_command_with(&self, arguments: &[&str], change: &[(&str, &str)]) -> Result<Output> {
        let mut command = Command::new(self.root.join("hotline"));
        // What cargo tells this test is not meant for the cargo that `hotline up` runs: build
        // scripts look at these names and would build half of the tree again.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let kept = ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_TERM_COLOR"];
            if text.starts_with("CARGO") && !kept.contains(&text.as_ref()) {
                command.env_remove(&name);
            }
        }
        command
            .args(arguments)
            .envs(PORTS)
            .env("HOTLINE_LOCAL", &self.local)
            .env("HOTLINE_TLS_CERT", &self.tls[0])
            .env("HOTLINE_TLS_KEY", &self.tls[1])
            .envs(change.iter().copied())
            .stdin(Stdio::null())
            .output()
            .context("cannot run ./hotline")
    }

    /// A folder for what a test writes, empty.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.local.join("scratch").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The state folder.
    pub fn local(&self) -> &Path {
        &self.local
    }

    /// The SIP address, `host:port`.
    pub fn sip(&self) -> &str {
        self.endpoints["sip"].as_str().unwrap_or_default()
    }

    /// The `nth` node's SIP address.
    pub fn node(&self, nth: usize) -> Result<String> {
        let node = self.endpoints["nodes"][nth].as_str();
        Ok(node.with_context(|| format!("there is no node number {nth}"))?.to_owned())
    }

    /// Where browsers' phones connect at the `nth` node.
    pub fn browsers(&self, nth: usize) -> Result<&str> {
        self.endpoints["browsers"][nth].as_str().with_context(|| format!("node number {nth} takes no browsers"))
    }

    /// The WebSocket's address.
    pub fn websocket(&self) -> &str {
        self.endpoints["websocket"].as_str().unwrap_or_default()
    }

    /// The number to dial, without the plus sign.
    pub fn number(&self) -> &str {
        self.endpoints["did"].as_str().unwrap_or_default().trim_start_matches('+')
    }

    /// The `nth` user with a role, as endpoints.json says.
    pub fn user(&self, role: &str, nth: usize) -> Result<&Value> {
        let users = self.endpoints["users"].as_array().context("users")?;
        users.iter().filter(|u| u["role"] == role).nth(nth).with_context(|| format!("no {role} number {nth}"))
    }

    /// A figure of the `nth` node's own.
    pub fn node_metric(&self, nth: u16, name: &str) -> Result<u64> {
        let port = port("HOTLINE_HEALTH_PORT")? + nth;
        let text = ureq::get(format!("http://127.0.0.1:{port}/metrics")).call()?.body_mut().read_to_string()?;
        metric(&text, name)
    }

    /// A program that `./hotline up` built.
    pub fn program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// The port of the local cloud, on the loopback.
    pub fn cloud_port() -> Result<u16> {
        port("HOTLINE_CLOUD_PORT")
    }

    /// The process id of a part (`cloud`, `nodes/0`), as `.local/run/state.json` says.
    pub fn pid(&self, part: &str) -> Result<u32> {
        let state: Value = serde_json::from_str(&std::fs::read_to_string(self.local.join("run/state.json"))?)?;
        let pid = state.pointer(&format!("/{part}")).and_then(Value::as_u64);
        pid.map(|p| p as u32).with_context(|| format!("{part} has no pid"))
    }

    /// An API session of the `nth` user with a role.
    pub fn session(&self, role: &str, nth: usize) -> Result<Session> {
        let user = self.user(role, nth)?;
        let text = |name: &str| user[name].as_str().with_context(|| format!("a {role} without {name}"));
        self.sign_in(text("name")?, text("password")?)
    }

    /// An API session of anybody.
    pub fn sign_in(&self, name: &str, password: &str) -> Result<Session> {
        let mut session =
            Session { base: self.endpoints["api"].as_str().unwrap_or_default().to_owned(), token: String::new() };
        let answer = session.send("POST", "/v1/sign-in", Some(&json!({"name": name, "password": password})))?;
        session.token = answer.body["id_token"].as_str().context("no id_token")?.to_owned();
        Ok(session)
    }
}

/// One of [`PORTS`].
fn port(setting: &str) -> Result<u16> {
    let found = PORTS.iter().find(|(name, _)| *name == setting).with_context(|| setting.to_owned())?;
    Ok(found.1.parse()?)
}

/// A figure in the text of a node's `/metrics`.
pub fn metric(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("hotline_node_{name} ")));
    Ok(line.with_context(|| format!("no metric {name}"))?.trim().parse()?)
}

/// A certificate for the loopback and its key, made anew in a folder.
fn certificate(folder: &Path) -> Result<[PathBuf; 2]> {
    std::fs::create_dir_all(folder)?;
    let key = rcgen::KeyPair::generate()?;
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
    let files = [folder.join("cert.pem"), folder.join("key.pem")];
    std::fs::write(&files[0], certificate.pem())?;
    std::fs::write(&files[1], key.serialize_pem())?;
    Ok(files)
}

impl Drop for Hotline {
    fn drop(&mut self) {
        let _ = self.down();
    }
}

/// A signed-in person's view of the API.
pub struct Session {
    base: String,
    token: String,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON, or null.
    pub body: Value,
}

impl Session {
    /// GET that must succeed.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = self.send("GET", path, None)?;
        if answer.status != 200 {
            bail!("GET {path}: {} {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }

    /// Any request, whatever the answer.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build();
        let agent = ureq::Agent::from(config);
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        let mut answer = match body {
            Some(body) => agent.run(request.header("content-type", "application/json").body(body.to_string())?)?,
            None => agent.run(request.body(())?)?,
        };
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string()?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }

    /// The bytes behind a link that the API gave.
    pub fn download(&self, url: &str) -> Result<Vec<u8>> {
        Ok(ureq::get(url).call()?.body_mut().read_to_vec()?)
    }
}

/// Asks again and again until there is an answer; fails with the last reason after `patience`.
pub fn eventually<T>(patience: Duration, mut question: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        match question() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > until => {
                return Err(error.context(format!("still so after {patience:?}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
