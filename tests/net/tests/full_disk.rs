//! A node whose disk is really full while calls are recorded.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hotline_base::{NodeId, RecordingId, TenantId};
use hotline_net::Disk;
use hotline_phone::{Microphone, Phone, PhoneConfig, tone_share};
use hotline_ports::memory::MemoryObjects;
use hotline_ports::{Fault, NodeCommands, ReceivedCommand};
use hotline_wire::node::{CallEvent, CallInput, Decision, DirectoryInput, DirectoryOutput, NodeCommand, Prompt, Verb};
use media_node::config::Config;
use media_node::decisions::Decisions;
use media_node::{Node, Source};

const PATIENCE: Duration = Duration::from_secs(30);

/// Joins every caller with one phone, recorded, and keeps what it is told of recordings.
struct Functions {
    phone: SocketAddr,
    calls: Mutex<u128>,
    recordings: Mutex<BTreeMap<RecordingId, Option<String>>>,
}

#[async_trait]
impl Decisions for Functions {
    async fn decide(&self, input: &CallInput) -> Result<Decision, Fault> {
        let mut script = None;
        match &input.event {
            CallEvent::Arrived { .. } => {
                let mut calls = self.calls.lock().unwrap();
                *calls += 1;
                let target = format!("sip:agent@{}", self.phone);
                let record = Some(RecordingId::from_u128(*calls));
                script =
                    Some(vec![Verb::Answer, Verb::Transfer { target, ring_timeout_ms: 20_000, record, keys: None }]);
            }
            CallEvent::RecordingEnded { recording, failure, .. } => {
                self.recordings.lock().unwrap().insert(*recording, failure.clone());
            }
            _ => {}
        }
        let music = Prompt::Tone { hz: vec![300], on_ms: 1_000, off_ms: 0, times: 1, then: vec![] };
        let fallback =
            hotline_wire::node::Fallback { apology: vec![], music, lang: Default::default(), give_up_ms: 60_000 };
        let fallback = Some(fallback);
        Ok(Decision { tenant: TenantId::from_u128(1), label: "joined".into(), script, fallback, tap: None })
    }

    async fn directory(&self, _: &DirectoryInput) -> Result<DirectoryOutput, Fault> {
        Ok(DirectoryOutput::Noted)
    }
}

impl Functions {
    /// How the nth recording ended.
    fn ended(&self, nth: u128) -> Option<Option<String>> {
        self.recordings.lock().unwrap().get(&RecordingId::from_u128(nth)).cloned()
    }
}

/// A queue that stays empty.
struct Nothing;

#[async_trait]
impl NodeCommands for Nothing {
    async fn open(&self, _: NodeId) -> Result<String, Fault> {
        Ok("none".into())
    }
    async fn send(&self, _: NodeId, _: &NodeCommand) -> Result<(), Fault> {
        Ok(())
    }
    async fn receive(&self, _: NodeId, wait: Duration) -> Result<Vec<ReceivedCommand>, Fault> {
        tokio::time::sleep(wait).await;
        Ok(Vec::new())
    }
    async fn acknowledge(&self, _: NodeId, _: &str) -> Result<(), Fault> {
        Ok(())
    }
    async fn close(&self, _: NodeId) -> Result<(), Fault> {
        Ok(())
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        // Paces the loop; nothing depends on its length.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn http(address: SocketAddr, target: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn metric(address: SocketAddr, name: &str) -> u64 {
    let text = http(address, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("hotline_node_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

fn phone(runtime: &tokio::runtime::Runtime, server: SocketAddr, user: &str, hz: u32, answers: bool) -> Phone {
    let mut config = PhoneConfig::new("127.0.0.1:0".parse().unwrap(), server);
    config.user = user.into();
    config.microphone = Microphone::Tone(hz);
    config.auto_answer = answers.then_some(Duration::ZERO);
    runtime.block_on(Phone::start(config)).unwrap()
}

fn hears(phone: &Phone, hz: u32) -> bool {
    let heard = phone.heard();
    let last = &heard[heard.len().saturating_sub(4_000)..];
    last.len() >= 4_000 && tone_share(last, hz) > 0.9
}

#[test]
fn a_full_disk_costs_recordings_and_nothing_else() {
    Disk::with("full", calls_on).unwrap();
}

fn calls_on(disk: &Disk) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let agent = phone(&runtime, "127.0.0.1:9".parse().unwrap(), "agent", 880, true);
    let functions =
        Arc::new(Functions { phone: agent.local_addr(), calls: Mutex::default(), recordings: Mutex::default() });
    let settings: BTreeMap<String, String> = [
        ("SIP_LISTEN", "udp:127.0.0.1:0"),
        ("SIP_REGISTER_AUTH", "false"),
        ("SIP_WORKERS", "1"),
        ("MEDIA_PORTS", "45700-45749"),
        ("HTTP_LISTEN", "127.0.0.1:0"),
        ("NODE_DATA_DIR", disk.folder().to_str().unwrap()),
    ]
    .into_iter()
    .map(|(key, value)| (format!("HOTLINE_NODE_{key}"), value.to_string()))
    .collect();
    let source = Source::Remote {
        decisions: functions.clone(),
        commands: Arc::new(Nothing),
        objects: Arc::new(MemoryObjects::default()),
    };
    let node = runtime.block_on(Node::start(Config::read("", &settings).unwrap(), source)).unwrap();
    let (sip, web) = (node.udp_address().unwrap(), node.http_address().unwrap());
    let call = |caller: &mut Phone| {
        agent.forget_heard();
        runtime.block_on(async {
            caller.call(&format!("sip:100@{sip}")).await.unwrap();
            caller.wait_answered(PATIENCE).await.unwrap();
        });
        wait("both voices", || hears(caller, 880) && hears(&agent, 440));
    };
    let mut caller = phone(&runtime, sip, "caller", 440, false);

    // The disk is full in the middle of a recording.
    call(&mut caller);
    wait("the recording's file", || metric(web, "spool_bytes") > 20_000);
    disk.fill().unwrap();
    let spooled = metric(web, "spool_bytes");
    // What the node keeps of it: phones register, and nobody can write that down.
    let mut other = phone(&runtime, sip, "other", 500, false);
    assert!(runtime.block_on(other.register()).unwrap() > 0);
    wait("the failure", || metric(web, "recordings") == 0);
    caller.forget_heard();
    wait("both voices, on the full disk", || hears(&caller, 880));
    assert!(http(web, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(http(web, "/readyz").starts_with("HTTP/1.1 200"));
    runtime.block_on(caller.hangup()).unwrap();
    wait("the report", || functions.ended(1).is_some());
    let failure = functions.ended(1).flatten().expect("a recording that failed");
    assert!(failure.contains("space") || failure.contains("spool file"), "{failure}");
    assert!(metric(web, "spool_bytes") <= spooled + (64 << 10), "nothing piles up");
    runtime.block_on(caller.wait_ended(PATIENCE)).unwrap();

    // A call that begins now is not recorded, with a reason, and is a call.
    call(&mut caller);
    runtime.block_on(caller.hangup()).unwrap();
    wait("the second report", || functions.ended(2).is_some());
    let failure = functions.ended(2).flatten().expect("a recording that was refused");
    assert!(failure.contains("kept free"), "{failure}");
    runtime.block_on(caller.wait_ended(PATIENCE)).unwrap();

    // With room again all is as before.
    disk.make_room().unwrap();
    call(&mut caller);
    runtime.block_on(caller.hangup()).unwrap();
    wait("the third report", || functions.ended(3).is_some());
    assert_eq!(functions.ended(3), Some(None));
    wait("an empty spool", || metric(web, "spool_bytes") == 0 && metric(web, "uploads_pending") == 0);
    assert_eq!((metric(web, "sessions"), metric(web, "media_legs"), metric(web, "phones")), (0, 0, 1));
    runtime.block_on(async {
        caller.stop().await;
        other.stop().await;
    });
    runtime.block_on(agent.stop());
    node.stop();
}
