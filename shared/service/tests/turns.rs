//! Matchers beside each other: no wake-up is lost whatever the interleaving and wherever one dies,
//! nobody gets in the way of others, and a queue in several parts keeps its order.

mod common;

use common::{AGENT, DID, NODE, PATIENT, START, TENANT, World, arrived, name};
use futures::executor::block_on;
use hotline_base::{AgentId, ContactId, unsharded};
use hotline_ports::faulty::{Call as PortCall, Injection, wrap};
use hotline_routing::agent::{AgentProfile, Membership, Requested};
use hotline_routing::{AgentState, QueueConfig};
use hotline_service::config::{self, Kind};
use hotline_service::{Service, accounts, agents, contacts, ivr};
use hotline_wire::node::CallInput;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Every call on a port yields; nothing fails. Counts transactions.
fn stepwise(world: &World, commits: &Arc<AtomicUsize>) -> Service {
    let commits = commits.clone();
    let faults = move |call: PortCall| {
        commits.fetch_add(usize::from(call == PortCall::Commit), Ordering::SeqCst);
        Injection::None
    };
    world.service.with_ports(wrap(&world.memory.ports(), Arc::new(faults)))
}

/// Goes on so many times; `None`: it came to its end.
fn go_on(mut work: Work, steps: usize) -> Option<Work> {
    for _ in 0..steps {
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return None;
        }
    }
    Some(work)
}

fn calls(service: Service, input: CallInput) -> Work {
    Box::pin(async move {
        ivr::handle(&service, input).await.unwrap();
    })
}

fn becomes_free(service: Service, agent: AgentId) -> Work {
    Box::pin(async move {
        agents::request_state(&service, TENANT, agent, Requested::Available).await.unwrap();
    })
}

fn input(world: &World, n: u128) -> CallInput {
    let at = world.service.now();
    CallInput { contact: ContactId::new(at, n), tenant: None, node: NODE, seq: 1, at, event: arrived(DID) }
}

/// Moments at which contacts were offered, milliseconds after the start.
fn offers(world: &World) -> Vec<i64> {
    let facts = world.memory.store.all_facts();
    facts.iter().filter(|fact| fact.name == "OfferMade").map(|fact| fact.at.as_millis() - START).collect()
}

/// A call comes and an agent becomes free: the one so many steps, then the other so many, then both
/// to their ends, or one of them dies where it is. `false`: the first has no so many steps.
fn interleaved(agent_first: bool, steps: [usize; 2], dies: bool) -> bool {
    let mut world = World::new(PATIENT);
    world.sign_in();
    let service = stepwise(&world, &Arc::default());
    let input = input(&world, 4711);
    let (call, agent) = (calls(service.clone(), input.clone()), becomes_free(service, AGENT));
    let (one, two) = if agent_first { (agent, call) } else { (call, agent) };
    let Some(one) = go_on(one, steps[0]) else { return false };
    let two = go_on(two, steps[1]);
    let what = format!("agent first: {agent_first}, {steps:?}, dies: {dies}");
    if dies {
        drop(one);
        two.and_then(|two| go_on(two, usize::MAX));
        // Who had no answer asks again.
        block_on(ivr::handle(&world.service, input)).unwrap();
        let _ = block_on(agents::request_state(&world.service, TENANT, AGENT, Requested::Available));
        world.pass_ms(61_000);
        assert!(!offers(&world).is_empty(), "{what}");
    } else {
        go_on(one, usize::MAX);
        two.and_then(|two| go_on(two, usize::MAX));
        // A look that was left to a dead or slow matcher comes with the end of its turn.
        world.pass_ms(4_000);
        assert_eq!(offers(&world).len(), 1, "{what}");
        assert!(matches!(world.agent().state, AgentState::Offered { .. }), "{what}");
    }
    true
}

#[test]
fn a_call_and_an_agent_find_each_other_in_every_interleaving() {
    for agent_first in [true, false] {
        let mut one = 0;
        while interleaved(agent_first, [one, 0], false) {
            for two in (1..60).step_by(6) {
                interleaved(agent_first, [one, two + one % 6], false);
            }
            one += 1;
        }
        assert!(one > 10, "{one} steps");
    }
}

#[test]
fn a_matcher_that_dies_anywhere_holds_nobody_up_for_long() {
    for agent_first in [true, false] {
        let mut one = 0;
        while interleaved(agent_first, [one, 0], true) {
            interleaved(agent_first, [one, 20], true);
            one += 1;
        }
    }
}

fn profile(n: u128) -> AgentProfile {
    AgentProfile {
        agent: AgentId::from_u128(9_000 + n),
        display_name: format!("Agent {n}").into(),
        sip_user: format!("agent{n}.demo"),
        voice: true,
        capacity: Default::default(),
        skills: Default::default(),
        queues: [(name("technical"), Membership::default())].into(),
        groups: Vec::new(),
    }
}

fn signs_in(world: &World, n: u128) -> AgentId {
    let agent = profile(n).agent;
    block_on(agents::configure(&world.service, TENANT, profile(n))).unwrap();
    let expires = Some(world.service.now().plus_ms(3_600_000));
    block_on(agents::phone(&world.service, TENANT, agent, NODE, expires)).unwrap();
    agent
}

fn queue(world: &World, shards: u8) -> QueueConfig {
    let config = QueueConfig { max_per_caller: 100, shards, ..QueueConfig::new(name("technical")) };
    block_on(config::put(&world.service, TENANT, Kind::QUEUE, "technical", &config, None, "test")).unwrap();
    config
}

#[test]
fn many_who_come_at_once_do_not_get_in_each_others_way() {
    const MANY: usize = 40;
    let mut world = World::new(PATIENT);
    queue(&world, 1);
    for n in 0..MANY as u128 {
        block_on(ivr::handle(&world.service, input(&world, n))).unwrap();
    }
    let agents: Vec<AgentId> = (0..MANY as u128).map(|n| signs_in(&world, n)).collect();
    let commits = Arc::new(AtomicUsize::new(0));
    let mut work: Vec<Work> = agents.iter().map(|agent| becomes_free(stepwise(&world, &commits), *agent)).collect();
    while !work.is_empty() {
        work = work.into_iter().filter_map(|one| go_on(one, 1)).collect();
    }
    world.pass_ms(4_000);
    assert_eq!(offers(&world).len(), MANY);
    for agent in agents {
        let state = block_on(agents::get(&world.service, TENANT, agent)).unwrap().unwrap().state;
        assert!(matches!(state, AgentState::Offered { .. }), "{state:?}");
    }
    // One for each agent's state and one for each pair; hardly any is refused.
    let commits = commits.load(Ordering::SeqCst);
    assert!(commits < 2 * MANY + MANY / 4, "{commits} transactions");
}

#[test]
fn a_queue_in_several_parts_keeps_its_order_also_while_it_is_split() {
    let mut world = World::new(PATIENT);
    queue(&world, 1);
    let mut waiting = Vec::new();
    for n in 0..24_u128 {
        if n == 8 {
            let split = queue(&world, 4);
            block_on(accounts::follow_queue(&world.service, TENANT, &split)).unwrap();
            world.pass_ms(11_000);
        }
        world.pass_ms(1_000);
        // Ids of later contacts are not larger.
        let input = input(&world, (n * 7919) % 100);
        waiting.push(input.contact);
        block_on(ivr::handle(&world.service, input)).unwrap();
    }
    let rows = world.memory.store.all_rows();
    let parts: std::collections::BTreeSet<String> = rows
        .into_iter()
        .map(|(_, row)| row.partition)
        .filter(|partition| unsharded(partition) == "waiting/technical")
        .collect();
    assert!(parts.contains("waiting/technical") && parts.len() > 3, "{parts:?}");
    for (n, contact) in waiting.into_iter().enumerate() {
        let agent = signs_in(&world, n as u128);
        block_on(agents::request_state(&world.service, TENANT, agent, Requested::Available)).unwrap();
        let found = block_on(contacts::get(&world.service, TENANT, contact)).unwrap().unwrap();
        assert_eq!(found.agent(), Some(agent), "the {n}th is the next");
    }
}
