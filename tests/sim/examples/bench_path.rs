//! The whole decision path over tables in memory: `cargo run -p hotline-sim --release --example bench_path`.
//!
//! A call comes, waits beside so many others, is offered to the agent who becomes free, answered and
//! hung up. Everything is done as a function does it, with its effects, on one core; what a table
//! service would take is not in it.

use futures::executor::block_on;
use hotline_base::{AgentId, ContactId, Name, NodeId, Redacted, TenantId, Timestamp};
use hotline_ports::memory::Memory;
use hotline_ports::{NodeCommands, Store};
use hotline_routing::agent::{AgentProfile, Capacity, Requested};
use hotline_routing::waiting::Priority;
use hotline_routing::{QueueConfig, WaitingEntry};
use hotline_service::config::{self, Did, Kind};
use hotline_service::{Service, ServiceError, agents, flows, ivr};
use hotline_wire::node::{CallEvent, CallInput, EndCause, NodeAction};
use std::time::Instant;

const TENANT: TenantId = TenantId::from_u128(1);
const NODE: NodeId = NodeId::from_u128(7);
const AGENT: AgentId = AgentId::from_u128(9);
const DID: &str = "+861012345678";
const FLOW: &str = "flow: main\nlanguages: [en]\nstart: wait\nprompts:\n  bye: {en: Goodbye.}\nsteps:\n  wait:\n    queue: desk\n    max_wait: 30m\n    on_max_wait: bye\n    then: bye\n  bye:\n    hangup: bye\n";

fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

async fn fill(memory: &Memory, service: &Service, others: usize) -> Result<(), ServiceError> {
    let mut desk = QueueConfig::new(name("desk"));
    desk.wrap_up_ms = 0;
    desk.max_waiting = 100_000;
    config::put(service, TENANT, Kind::QUEUE, "desk", &desk, None, "bench").await?;
    flows::publish(service, TENANT, &name("main"), FLOW, "bench").await?;
    let did = Did { tenant: TENANT, flow: name("main") };
    config::put(service, TenantId::PLATFORM, Kind::DID, DID, &did, None, "bench").await?;
    memory.nodes.open(NODE).await?;
    let profile = AgentProfile {
        agent: AGENT,
        display_name: Redacted::new("Fang".into()),
        sip_user: "fang.bench".into(),
        voice: true,
        capacity: Capacity::default(),
        skills: Default::default(),
        queues: [(name("desk"), Default::default())].into(),
        groups: Vec::new(),
    };
    agents::configure(service, TENANT, profile).await?;
    let expires = Some(service.now().plus_ms(3_600_000));
    agents::phone(service, TENANT, AGENT, NODE, expires).await?;
    // Others come later than all calls of this benchmark, so that they stay where they are.
    let later = service.now().plus_ms(36_000_000);
    for n in 0..others {
        let entry = WaitingEntry::new(ContactId::new(later, n as u128), &desk, None, Priority::default(), later);
        memory.store.put_row(TENANT, entry.row(&desk.name), None).await?;
    }
    Ok(())
}

async fn one_call(memory: &Memory, service: &Service, n: u128) -> Result<(), ServiceError> {
    let contact = ContactId::new(service.now(), n);
    let send = |seq: u32, event: CallEvent| {
        let input =
            CallInput { contact, tenant: (seq > 1).then_some(TENANT), node: NODE, seq, at: service.now(), event };
        ivr::handle(service, input)
    };
    let from = Redacted::new(format!("+8613{n:09}"));
    let display_name = Redacted::new(String::new());
    send(
        1,
        CallEvent::Arrived {
            did: DID.into(),
            from,
            display_name,
            sip_call_id: "x".into(),
            dialog: None,
            diverted: None,
        },
    )
    .await?;
    agents::request_state(service, TENANT, AGENT, Requested::Available).await?;
    let offers = memory.nodes.take(NODE).into_iter().filter_map(|command| match command.action {
        NodeAction::Ring(ring) => Some(ring.offer),
        _ => None,
    });
    for offer in offers.collect::<Vec<_>>() {
        send(2, CallEvent::OfferAnswered { offer, dialog: None }).await?;
    }
    agents::request_state(service, TENANT, AGENT, Requested::Away { reason: name("pause") }).await?;
    send(3, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] }).await?;
    memory.store.take_stream();
    Ok(())
}

fn main() {
    println!("{:>8} {:>14} {:>12}", "others", "calls/s", "µs each");
    for others in [0, 100, 1_000, 10_000, 100_000] {
        let memory = Memory::new(Timestamp::from_millis(1_795_000_000_000), 1);
        let service = Service::new(memory.ports());
        block_on(fill(&memory, &service, others)).unwrap_or_else(|error| panic!("{error}"));
        let rounds: u32 = 1_000;
        let start = Instant::now();
        for n in 0..rounds {
            block_on(one_call(&memory, &service, u128::from(n))).unwrap_or_else(|error| panic!("{error}"));
        }
        let each = start.elapsed().as_secs_f64() / f64::from(rounds);
        println!("{others:>8} {:>14.0} {:>12.1}", 1.0 / each, each * 1e6);
    }
}
