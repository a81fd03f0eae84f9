//! A whole node with functions, queue and objects of a test: registration, offers, fallback,
//! drain, TCP, several workers.

mod common;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use common::{Peer, start, until};
use hotline_base::{AgentId, CommandId, ContactId, NodeId, OfferId, TenantId, Timestamp};
use hotline_ports::memory::MemoryObjects;
use hotline_ports::{Bucket, Fault, NodeCommands, Objects, ReceivedCommand};
use hotline_wire::node::{
    CallEvent, CallInput, Decision, DirectoryInput, DirectoryOutput, Fallback, NodeAction, NodeCommand, Prompt,
    RingAgent, Verb,
};
use media_node::Source;
use media_node::decisions::Decisions;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Functions that a test looks into.
#[derive(Default)]
struct Functions {
    inputs: Mutex<Vec<CallInput>>,
    directory: Mutex<Vec<DirectoryInput>>,
    away: AtomicBool,
}

fn tone(hz: u16, on_ms: u32) -> Prompt {
    Prompt::Tone { hz: vec![hz], on_ms, off_ms: 0, times: 1, then: vec![] }
}

#[async_trait]
impl Decisions for Functions {
    async fn decide(&self, input: &CallInput) -> Result<Decision, Fault> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Fault::transient("test", "away"));
        }
        self.inputs.lock().unwrap().push(input.clone());
        let script = match &input.event {
            CallEvent::Arrived { did, .. } if did == "prompt" => Some(vec![
                Verb::Answer,
                Verb::Play { prompts: vec![Prompt::Audio { key: "p.ulaw".into() }] },
                Verb::Hangup,
            ]),
            CallEvent::Arrived { .. } => {
                Some(vec![Verb::Answer, Verb::Hold { music: tone(300, 1_000), announce: vec![], keys: String::new() }])
            }
            CallEvent::AgentLegEnded { .. } | CallEvent::ScriptEnded { .. } => Some(vec![Verb::Hangup]),
            _ => None,
        };
        Ok(Decision {
            tenant: TenantId::from_u128(9),
            label: "test".into(),
            fallback: Some(Fallback {
                apology: vec![tone(600, 500)],
                music: tone(700, 1_000),
                lang: Default::default(),
                give_up_ms: 60_000,
            }),
            tap: None,
            script,
        })
    }

    async fn directory(&self, input: &DirectoryInput) -> Result<DirectoryOutput, Fault> {
        self.directory.lock().unwrap().push(input.clone());
        Ok(match input {
            DirectoryInput::Lookup { sip_user } if sip_user.starts_with("fang") => {
                let ha1 = hotline_sip::api::Ha1::of(sip_user, "hotline", "secret");
                DirectoryOutput::Account {
                    tenant: TenantId::from_u128(9),
                    agent: AgentId::from_u128(5),
                    ha1_md5: ha1.md5.into(),
                    ha1_sha256: ha1.sha256.into(),
                }
            }
            DirectoryInput::Lookup { .. } => DirectoryOutput::Unknown,
            _ => DirectoryOutput::Noted,
        })
    }
}

impl Functions {
    fn events(&self) -> Vec<CallEvent> {
        self.inputs.lock().unwrap().iter().map(|i| i.event.clone()).collect()
    }

    fn contact(&self, index: usize) -> Option<ContactId> {
        let inputs = self.inputs.lock().unwrap();
        let mut arrived = inputs.iter().filter(|i| matches!(i.event, CallEvent::Arrived { .. }));
        arrived.nth(index).map(|i| i.contact)
    }

    fn phone_until(&self) -> Option<Option<Timestamp>> {
        let directory = self.directory.lock().unwrap();
        directory.iter().rev().find_map(|input| match input {
            DirectoryInput::Registered { expires, .. } => Some(*expires),
            DirectoryInput::StillRegistered { expires, .. } => Some(Some(*expires)),
            _ => None,
        })
    }
}

/// A queue in this process.
struct Queue {
    sender: UnboundedSender<NodeCommand>,
    receiver: AsyncMutex<UnboundedReceiver<NodeCommand>>,
    closed: AtomicBool,
}

impl Queue {
    fn new() -> Arc<Self> {
        let (sender, receiver) = unbounded_channel();
        Arc::new(Self { sender, receiver: AsyncMutex::new(receiver), closed: AtomicBool::new(false) })
    }
}

#[async_trait]
impl NodeCommands for Queue {
    async fn open(&self, _: NodeId) -> Result<String, Fault> {
        Ok("test".into())
    }
    async fn send(&self, _: NodeId, command: &NodeCommand) -> Result<(), Fault> {
        self.sender.send(command.clone()).map_err(|e| Fault::permanent("test", e))
    }
    async fn receive(&self, _: NodeId, wait: Duration) -> Result<Vec<ReceivedCommand>, Fault> {
        let mut receiver = self.receiver.lock().await;
        let got = tokio::time::timeout(wait, receiver.recv()).await;
        let command = got.ok().flatten();
        Ok(command.map(|c| ReceivedCommand { command: Ok(c), receipt: "r".into() }).into_iter().collect())
    }
    async fn acknowledge(&self, _: NodeId, _: &str) -> Result<(), Fault> {
        Ok(())
    }
    async fn close(&self, _: NodeId) -> Result<(), Fault> {
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

struct Surroundings {
    functions: Arc<Functions>,
    queue: Arc<Queue>,
    objects: Arc<MemoryObjects>,
}

impl Surroundings {
    fn new() -> Self {
        Self {
            functions: Arc::new(Functions::default()),
            queue: Queue::new(),
            objects: Arc::new(MemoryObjects::default()),
        }
    }

    fn source(&self) -> Source {
        Source::Remote {
            decisions: self.functions.clone(),
            commands: self.queue.clone(),
            objects: self.objects.clone(),
        }
    }

    fn ring(&self, number: u128, contact: ContactId, node: NodeId) {
        let ring = RingAgent {
            offer: OfferId::from_u128(number),
            agent: AgentId::from_u128(5),
            sip_user: "fang".into(),
            phone_node: node,
            ring_timeout_ms: 10_000,
            caller_label: "billing".to_string().into(),
            whisper: vec![],
            record: None,
            phone_address: None,
            arrange: None,
            replaces: None,
            number: None,
        };
        let command = NodeCommand {
            id: CommandId::from_u128(number),
            contact,
            expires: Timestamp::from_millis(i64::MAX),
            action: NodeAction::Ring(ring),
        };
        // Twice: a queue may repeat.
        self.queue.sender.send(command.clone()).unwrap();
        self.queue.sender.send(command).unwrap();
    }
}

#[test]
fn a_registered_agent_is_rung_by_a_command_and_talks() {
    let around = Surroundings::new();
    let node = start("agent", "41400-41499", || around.source(), &[]);
    let mut agent = Peer::new(node.sip);
    agent.auto_answer_hz = Some(880.0);
    agent.register("fang", "wrong", 600);
    until("the refusal", &mut [&mut agent], |p| p[0].registered.is_some());
    assert!(agent.registered.unwrap().is_err());
    agent.register("nobody", "secret", 600);
    until("the refusal", &mut [&mut agent], |p| p[0].registered.is_some());
    assert!(agent.registered.unwrap().is_err());
    assert_eq!(node.metric("phones"), 0);
    agent.register("fang", "secret", 600);
    until("the registration", &mut [&mut agent], |p| p[0].registered.is_some());
    assert_eq!(agent.registered, Some(Ok(600)));
    until("the phone's lease", &mut [&mut agent], |_| matches!(around.functions.phone_until(), Some(Some(_))));

    let mut caller = Peer::new(node.sip);
    let line = caller.dial("1", 440.0);
    until("music", &mut [&mut caller, &mut agent], |p| p[0].lines[line].hears(300.0, 300) > 0.9);
    around.ring(1, around.functions.contact(0).unwrap(), node.node().id());
    until("both voices", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[line].hears(880.0, 300) > 0.9 && p[1].lines.first().is_some_and(|l| l.hears(440.0, 300) > 0.9)
    });
    agent.hang_up(0);
    until("the end", &mut [&mut caller, &mut agent], |p| p[0].lines[line].ended);
    until("all reports", &mut [&mut caller, &mut agent], |_| node.metric("sessions") == 0);
    let events = around.functions.events();
    let kinds: Vec<bool> = vec![
        matches!(events[0], CallEvent::Arrived { .. }),
        matches!(events[1], CallEvent::OfferAnswered { .. } | CallEvent::OfferRinging { .. }),
        matches!(events.last(), Some(CallEvent::CallEnded { .. })),
    ];
    assert!(kinds.iter().all(|k| *k), "{events:?}");
    let seqs: Vec<u32> = around.functions.inputs.lock().unwrap().iter().map(|i| i.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u32).collect::<Vec<_>>());
    assert_eq!(node.metric("commands"), 2);
    assert_eq!(node.metric("joins"), 1);

    // The phone leaves; its lease is given back and it cannot be rung.
    agent.register("fang", "secret", 0);
    until("the lease's end", &mut [&mut agent], |_| matches!(around.functions.phone_until(), Some(None)));
    let line = caller.dial("1", 440.0);
    until("music", &mut [&mut caller], |p| p[0].lines[line].hears(300.0, 300) > 0.9);
    around.ring(2, around.functions.contact(1).unwrap(), node.node().id());
    until("the failed offer", &mut [&mut caller], |_| {
        around.functions.events().iter().any(|e| {
            matches!(e, CallEvent::OfferFailed { reason, .. } if *reason == hotline_wire::node::OfferFailure::Unreachable)
        })
    });
}

#[test]
fn a_restarted_node_still_finds_its_phones() {
    let around = Surroundings::new();
    let mut node = start("restart", "42400-42499", || around.source(), &[]);
    let mut agent = Peer::new(node.sip);
    agent.auto_answer_hz = Some(880.0);
    agent.register("fang", "secret", 600);
    until("the registration", &mut [&mut agent], |p| p[0].registered == Some(Ok(600)));
    let file = node.folder.join("registrations.json");
    until("its writing down", &mut [&mut agent], |_| file.exists());
    around.functions.directory.lock().unwrap().clear();

    node.restart(around.source());
    assert_eq!(node.metric("phones"), 1);
    until("the phone's lease", &mut [&mut agent], |_| matches!(around.functions.phone_until(), Some(Some(_))));
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("1", 440.0);
    until("music", &mut [&mut caller, &mut agent], |p| p[0].lines[line].hears(300.0, 300) > 0.9);
    around.ring(1, around.functions.contact(0).unwrap(), node.node().id());
    until("the agent's voice", &mut [&mut caller, &mut agent], |p| p[0].lines[line].hears(880.0, 300) > 0.9);
}

#[test]
fn prompts_come_from_objects_and_the_fallback_keeps_the_caller() {
    let around = Surroundings::new();
    let samples: Vec<u8> = (0..8_000)
        .map(|i| {
            let phase = f64::from(i) * 500.0 * std::f64::consts::TAU / 8_000.0;
            hotline_rtp::api::Law::Mu.encode((phase.sin() * 8_000.0) as i16)
        })
        .collect();
    let node = start("fallback", "41500-41599", || around.source(), &[]);
    node.runtime.block_on(around.objects.put(Bucket::Prompts, "p.ulaw", samples, "audio/basic")).unwrap();
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("prompt", 0.0);
    until("the prompt", &mut [&mut caller], |p| p[0].lines[line].hears(500.0, 300) > 0.9);
    until("its end", &mut [&mut caller], |p| p[0].lines[line].ended);
    assert_eq!(node.metric("prompt_cache_bytes"), 8_000);

    // The functions are away when the agent's answer and end are to be reported.
    let mut agent = Peer::new(node.sip);
    agent.auto_answer_hz = Some(880.0);
    agent.register("fang", "secret", 600);
    until("the registration", &mut [&mut agent], |p| p[0].registered == Some(Ok(600)));
    let line = caller.dial("1", 440.0);
    until("music", &mut [&mut caller, &mut agent], |p| p[0].lines[line].hears(300.0, 300) > 0.9);
    around.functions.away.store(true, Ordering::Relaxed);
    around.ring(1, around.functions.contact(1).unwrap(), node.node().id());
    until("the agent's voice", &mut [&mut caller, &mut agent], |p| p[0].lines[line].hears(880.0, 300) > 0.9);
    agent.hang_up(0);
    until("the apology's music", &mut [&mut caller, &mut agent], |p| p[0].lines[line].hears(700.0, 300) > 0.9);
    around.functions.away.store(false, Ordering::Relaxed);
    until("the decision", &mut [&mut caller, &mut agent], |p| p[0].lines[line].ended);
    until("all reports", &mut [&mut caller, &mut agent], |_| node.metric("sessions") == 0);
    let ended = around.functions.events().iter().filter(|e| matches!(e, CallEvent::CallEnded { .. })).count();
    assert_eq!(ended, 2);
}

#[test]
fn several_workers_share_the_calls_and_a_drain_waits_for_them() {
    let around = Surroundings::new();
    let env = [("HOTLINE_NODE_SIP_WORKERS", "3")];
    let node = start("drain", "41600-41699", || around.source(), &env);
    let mut agent = Peer::new(node.sip);
    agent.auto_answer_hz = Some(880.0);
    agent.register("fang", "secret", 600);
    until("the registration", &mut [&mut agent], |p| p[0].registered == Some(Ok(600)));
    let mut callers = Peer::new(node.sip);
    for _ in 0..9 {
        callers.dial("1", 440.0);
    }
    until("music for all", &mut [&mut callers, &mut agent], |p| p[0].lines.iter().all(|l| l.hears(300.0, 200) > 0.9));
    // Each contact's command finds its worker, and each agent leg its answer.
    for index in 0..9 {
        let contact = around.functions.contact(index).unwrap();
        around.ring(index as u128 + 1, contact, node.node().id());
    }
    until("everybody talks", &mut [&mut callers, &mut agent], |p| p[0].lines.iter().all(|l| l.hears(880.0, 200) > 0.9));

    let drained = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let never = std::future::pending();
            node.runtime.block_on(node.node().drain(Duration::from_secs(60), never));
            drained.store(true, Ordering::Relaxed);
        });
        until("the drain's beginning", &mut [&mut callers, &mut agent], |_| node.metric("draining") == 1);
        let mut late = Peer::new(node.sip);
        let line = late.dial("1", 0.0);
        until("503", &mut [&mut callers, &mut agent, &mut late], |p| p[2].lines[line].failed == Some(503));
        assert!(!drained.load(Ordering::Relaxed));
        for line in 0..9 {
            callers.hang_up(line);
        }
        until("the drain's end", &mut [&mut callers, &mut agent], |_| drained.load(Ordering::Relaxed));
    });
    assert!(around.queue.closed.load(Ordering::Relaxed));
    assert_eq!(node.metric("sessions"), 0);
    let directory = around.functions.directory.lock().unwrap();
    assert!(matches!(directory.last(), Some(DirectoryInput::NodeAlive { draining: true, .. })));
    drop(directory);
}

#[test]
fn tcp_carries_messages_in_pieces_and_keep_alives() {
    let around = Surroundings::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let listen = format!("udp:127.0.0.1:0, tcp:{address}");
    let node = start("tcp", "41700-41799", || around.source(), &[("HOTLINE_NODE_SIP_LISTEN", &listen)]);
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0u8; 2];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
    let local = stream.local_addr().unwrap();
    let invite = format!(
        "INVITE sip:prompt@{address} SIP/2.0\r\nVia: SIP/2.0/TCP {local};branch=z9hG4bK1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@{local}>;tag=1\r\nTo: <sip:prompt@{address}>\r\n\
         Call-ID: tcp-1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{local};transport=tcp>\r\n\
         Content-Type: application/sdp\r\nContent-Length: 94\r\n\r\n"
    );
    let body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\n";
    let invite = invite.replace("Content-Length: 94", &format!("Content-Length: {}", body.len()));
    let message = format!("{invite}{body}");
    let (first, second) = message.split_at(100);
    stream.write_all(first.as_bytes()).unwrap();
    stream.flush().unwrap();
    stream.write_all(second.as_bytes()).unwrap();
    let mut text = String::new();
    let mut buffer = [0u8; 4_096];
    while !text.contains("SIP/2.0 200 OK") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "closed after\n{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(text.contains("SIP/2.0 100"), "{text}");
    assert!(text.contains("SIP/2.0 180"), "{text}");
    assert_eq!(node.metric("streams"), 1);

    // Nonsense closes the connection.
    let mut broken = std::net::TcpStream::connect(address).unwrap();
    broken.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    broken.write_all(b"HELLO\r\nContent-Length: x\r\n\r\n").unwrap();
    assert_eq!(broken.read(&mut buffer).unwrap_or(0), 0);
}
