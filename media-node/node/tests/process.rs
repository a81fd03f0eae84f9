//! The command itself: configuration errors, SIGTERM, and what `kill -9` leaves behind.

mod common;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use common::{Peer, find, until};
use tempfile::TempDir;

/// Writes a file of a folder.
fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_media-node"));
    command.env_clear();
    command
}

fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

/// A running node; killed at the end of the test.
struct Running {
    child: Child,
    sip: SocketAddr,
}

fn start(folder: &Path, decisions: &Path) -> Running {
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut child = command()
        .arg("--decisions")
        .arg(decisions)
        .env("HOTLINE_NODE_SIP_LISTEN", format!("udp:{port}"))
        .env("HOTLINE_NODE_HTTP_LISTEN", "")
        .env("HOTLINE_NODE_MEDIA_PORTS", "42300-42399")
        .env("HOTLINE_NODE_NODE_DATA_DIR", folder.join("data"))
        .env("HOTLINE_NODE_NODE_DRAIN_S", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("\"ready\""));
    assert!(ready, "the node ended at its start");
    // Keeps the pipe empty, so that the node never waits for a reader.
    std::thread::spawn(move || lines.count());
    Running { child, sip: port }
}

impl Running {
    fn signal(&self, signal: i32) {
        // SAFETY: the process is our child and was not waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn mistakes_are_all_listed_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(&folder, "node.toml", "[sip]\nlisten = [\"5060\"]\nmax_calls = -1\n");
    let decisions = write(&folder, "d.yaml", "rules: [{dial: \"1\", sing: {}}]");
    let output = run(&["--check", "--config", config.to_str().unwrap(), "--decisions", decisions.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for part in ["sip.listen", "sip.max_calls", "`sing` is unknown"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }

    let output = run(&["--check", "--decisions", write(&folder, "ok.yaml", "rules: []").to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(&[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--decisions"));
    let output = run(&["--help"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("register_max_s = 3600"));
}

#[test]
fn a_taken_port_is_reported_with_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = command()
        .args(["--decisions", write(&folder, "d.yaml", "rules: []").to_str().unwrap()])
        .env("HOTLINE_NODE_SIP_LISTEN", format!("udp:{address}"))
        .env("HOTLINE_NODE_NODE_DATA_DIR", folder.path().join("data"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&format!("port {}", address.port())), "{said}");
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
}

#[test]
fn a_killed_node_loses_at_most_the_last_second_of_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Peer::new("127.0.0.1:9".parse().unwrap());
    agent.auto_answer_hz = Some(880.0);
    let rule = format!("rules: [{{dial: \"701\", bridge: {{to: \"sip:agent@{}\", record: true}}}}]", agent.address());
    let decisions = write(&folder, "d.yaml", &rule);
    let node = start(folder.path(), &decisions);
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("701", 440.0);
    until("both voices", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[line].hears(880.0, 200) > 0.9 && p[1].lines.first().is_some_and(|l| l.hears(440.0, 200) > 0.9)
    });
    let talking = Instant::now();
    let heard = caller.lines[line].heard.len();
    until("three seconds of talk", &mut [&mut caller, &mut agent], |p| p[0].lines[line].heard.len() > heard + 24_000);
    let talked_ms = talking.elapsed().as_millis() as u64;
    node.signal(libc::SIGKILL);
    drop(node);

    let next = start(folder.path(), &decisions);
    let mut manifest = None;
    until("the upload of what was left", &mut [&mut caller], |_| {
        let mut files = Vec::new();
        find(&folder.path().join("data").join("recordings"), &mut files);
        let file = files.iter().find(|f| f.ends_with("manifest.json"));
        let text = file.and_then(|f| std::fs::read(f).ok());
        manifest = text.and_then(|t| serde_json::from_slice::<hotline_wire::recording::Manifest>(&t).ok());
        manifest.as_ref().is_some_and(|m| m.complete)
    });
    let manifest = manifest.unwrap();
    let end = manifest.ended.unwrap();
    assert!(end.failure.is_some(), "it says that it is not whole");
    assert!(end.duration_ms + 1_000 >= talked_ms, "{} ms of {talked_ms} ms", end.duration_ms);

    // SIGTERM ends it within its drain.
    let mut next = next;
    next.signal(libc::SIGTERM);
    assert!(next.child.wait().unwrap().success());
}
