//! The demo flow on a whole node: real sockets and tones, the real use-cases over memory ports.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::{Peer, start, until};
use hotline_base::{AgentId, Name, NodeId, TenantId, Timestamp};
use hotline_ports::memory::Memory;
use hotline_ports::{Bucket, Fault, NodeCommands, Ports, ReceivedCommand, WorkQueue};
use hotline_routing::QueueConfig;
use hotline_routing::agent::{AgentProfile, Membership, Requested};
use hotline_service::config::{self, Did, Kind};
use hotline_service::{Service, ServiceError, agents, directory, facts, flows, ivr, tickets, timers, work};
use hotline_sla::Calendar;
use hotline_ticket::ticket_of;
use hotline_wire::node::{CallInput, Decision, DirectoryInput, DirectoryOutput, NodeCommand};
use media_node::Source;
use media_node::decisions::Decisions;

const TENANT: TenantId = TenantId::from_u128(1);
const AGENT: AgentId = AgentId::from_u128(501);
const DEMO: &str = include_str!("../../../shared/flow/examples/demo.flow.yaml");

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The functions, in this process.
struct Functions {
    service: Service,
}

fn fault(error: ServiceError) -> Fault {
    match error {
        ServiceError::Fault(fault) => fault,
        other => Fault::permanent("service", other),
    }
}

#[async_trait]
impl Decisions for Functions {
    async fn decide(&self, input: &CallInput) -> Result<Decision, Fault> {
        ivr::handle(&self.service, input.clone()).await.map_err(fault)
    }
    async fn directory(&self, input: &DirectoryInput) -> Result<DirectoryOutput, Fault> {
        directory::handle(&self.service, input.clone()).await.map_err(fault)
    }
}

/// The memory queue, polled.
struct Polled(Arc<dyn NodeCommands>);

#[async_trait]
impl NodeCommands for Polled {
    async fn open(&self, node: NodeId) -> Result<String, Fault> {
        self.0.open(node).await
    }
    async fn send(&self, node: NodeId, command: &NodeCommand) -> Result<(), Fault> {
        self.0.send(node, command).await
    }
    async fn receive(&self, node: NodeId, wait: Duration) -> Result<Vec<ReceivedCommand>, Fault> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.0.receive(node, wait).await
    }
    async fn acknowledge(&self, node: NodeId, receipt: &str) -> Result<(), Fault> {
        self.0.acknowledge(node, receipt).await
    }
    async fn close(&self, node: NodeId) -> Result<(), Fault> {
        self.0.close(node).await
    }
}

fn wall() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis() as i64)
}

struct Functioning {
    memory: Arc<Memory>,
    service: Service,
    stop: Arc<AtomicBool>,
}

async fn configure(service: &Service) {
    for queue in ["technical", "billing", "general"] {
        let config = QueueConfig::new(name(queue));
        config::put(service, TENANT, Kind::QUEUE, queue, &config, None, "test").await.unwrap();
    }
    let office = Calendar::always(name("office"));
    config::put(service, TENANT, Kind::CALENDAR, "office", &office, None, "test").await.unwrap();
    let parsed = hotline_flow::parse(DEMO).unwrap();
    flows::publish(service, TENANT, &parsed.name, DEMO, "test").await.unwrap();
    let did = Did { tenant: TENANT, flow: parsed.name };
    config::put(service, TenantId::PLATFORM, Kind::DID, "100", &did, None, "test").await.unwrap();
    let ha1 = hotline_sip::api::Ha1::of("fang.demo", "hotline", "secret");
    let account = serde_json::json!({
        "tenant": TENANT, "agent": AGENT, "ha1_md5": ha1.md5, "ha1_sha256": ha1.sha256,
    });
    let account: config::SipUser = serde_json::from_value(account).unwrap();
    config::put(service, TenantId::PLATFORM, Kind::SIP_USER, "fang.demo", &account, None, "test").await.unwrap();
    let profile = AgentProfile {
        agent: AGENT,
        display_name: "Fang".to_string().into(),
        sip_user: "fang.demo".into(),
        voice: true,
        capacity: Default::default(),
        skills: BTreeMap::new(),
        queues: [(name("technical"), Membership::default())].into(),
        groups: vec![],
    };
    agents::configure(service, TENANT, profile).await.unwrap();
}

impl Functioning {
    fn new() -> Self {
        let memory = Arc::new(Memory::new(wall(), 1));
        let service = Service::new(memory.ports());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(configure(&service));
        let stop = Arc::new(AtomicBool::new(false));
        let (m, s, stopped) = (memory.clone(), service.clone(), stop.clone());
        // Queues, stream and clock of the world around the functions.
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                m.world.set(wall());
                for message in m.queues.take_visible() {
                    let done = match message.queue {
                        WorkQueue::Timers => runtime.block_on(timers::handle(&s, &message.body)),
                        WorkQueue::Work => runtime.block_on(work::handle(&s, &message.body)),
                    };
                    if done.is_err() {
                        m.queues.put_back(message, Duration::from_secs(1));
                    }
                }
                for fact in m.store.take_stream() {
                    let _ = runtime.block_on(facts::consume(&s, &fact));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { memory, service, stop }
    }

    fn ports(&self) -> Ports {
        self.memory.ports()
    }

    fn source(&self) -> Source {
        Source::Remote {
            decisions: Arc::new(Functions { service: self.service.clone() }),
            commands: Arc::new(Polled(self.ports().nodes)),
            objects: self.ports().objects,
        }
    }

    fn facts(&self) -> Vec<String> {
        let facts = self.memory.store.all_facts();
        facts.iter().filter(|f| f.subject.kind == "contact").map(|f| f.name.clone()).collect()
    }
}

impl Drop for Functioning {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How loud the last `ms` heard is.
fn loud(peer: &Peer, line: usize, ms: usize) -> bool {
    let heard = &peer.lines[line].heard;
    let tail = &heard[heard.len().saturating_sub(ms * 8)..];
    tail.len() == ms * 8 && tail.iter().any(|s| s.unsigned_abs() > 500)
}

#[test]
fn the_demo_call_from_invite_to_ticket_and_recording() {
    let world = Functioning::new();
    let node = start("journey", "41800-41899", || world.source(), &[]);
    let mut agent = Peer::new(node.sip);
    agent.auto_answer_hz = Some(880.0);
    agent.register("fang.demo", "secret", 600);
    until("the registration", &mut [&mut agent], |p| p[0].registered == Some(Ok(600)));
    until("available", &mut [&mut agent], |_| {
        node.runtime.block_on(async {
            let _ = agents::heartbeat(&world.service, TENANT, AGENT, "tab".into()).await;
            agents::request_state(&world.service, TENANT, AGENT, Requested::Available).await.is_ok()
        })
    });

    let mut caller = Peer::new(node.sip);
    let line = caller.dial("100", 440.0);
    until("the greeting", &mut [&mut caller, &mut agent], |p| loud(p[0], line, 100));
    caller.press(line, 2);
    until("the language", &mut [&mut caller, &mut agent], |_| world.facts().contains(&"LanguageSet".to_string()));
    let heard = caller.lines[line].heard.len();
    until("the menu", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[line].heard.len() > heard + 4_000 && loud(p[0], line, 100)
    });
    caller.press(line, 1);
    until("both voices", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[line].hears(880.0, 500) > 0.9 && p[1].lines.first().is_some_and(|l| l.hears(440.0, 500) > 0.9)
    });
    agent.hang_up(0);
    until("the survey", &mut [&mut caller, &mut agent], |p| {
        world.facts().contains(&"AgentLegEnded".to_string())
            && p[0].lines[line].hears(880.0, 200) < 0.5
            && loud(p[0], line, 100)
    });
    caller.press(line, 5);
    until("BYE", &mut [&mut caller, &mut agent], |p| p[0].lines[line].ended);
    until("the recording", &mut [&mut caller, &mut agent], |_| {
        let facts = world.facts();
        facts.contains(&"ContactEnded".to_string()) && facts.contains(&"RecordingSaved".to_string())
    });

    let facts = world.facts();
    for fact in [
        "ContactArrived",
        "LanguageSet",
        "MenuChosen",
        "ContactEnqueued",
        "OfferMade",
        "OfferAccepted",
        "LegsBridged",
        "RecordingStarted",
        "AgentLegEnded",
        "SurveyAnswered",
        "ContactEnded",
        "RecordingSaved",
    ] {
        assert!(facts.contains(&fact.to_string()), "{fact} is missing in {facts:?}");
    }
    let contact =
        world.memory.store.all_facts().iter().find(|f| f.name == "ContactArrived").unwrap().subject.id.clone();
    let contact = contact.parse().unwrap();
    let ticket = || node.runtime.block_on(tickets::get(&world.service, TENANT, ticket_of(contact))).unwrap();
    until("the ticket with its survey", &mut [&mut caller, &mut agent], |_| {
        ticket().is_some_and(|t| t.survey_score == Some(5))
    });
    until("the composed recording", &mut [&mut caller, &mut agent], |_| {
        let list = world.ports().objects;
        let objects = node.runtime.block_on(list.list(Bucket::Recordings, "", 100)).unwrap();
        objects.iter().any(|key| key.ends_with(".wav"))
    });
    let objects = node.runtime.block_on(world.ports().objects.list(Bucket::Recordings, "", 100)).unwrap();
    assert!(objects.iter().any(|key| key.ends_with("manifest.json")), "{objects:?}");
}

#[test]
fn a_caller_to_an_unknown_number_hears_it_and_gets_404() {
    let world = Functioning::new();
    let node = start("unknown", "41900-41999", || world.source(), &[]);
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("555", 440.0);
    until("404", &mut [&mut caller], |p| p[0].lines[line].failed == Some(404));
    assert!(caller.statuses.contains(&183), "{:?}", caller.statuses);
}
