//! An agent's phone brings its caller together with somebody whom it has on a second call.

mod common;

use common::Peer;
use common::fleet::{Member, hears, hears_only, offer, ring, wait};
use std::time::{Duration, Instant};

use hotline_wire::node::{CallEvent, NodeAction, Verb};

/// Steps the agent's phone until something is so.
fn until(what: &str, agent: &mut Peer, mut done: impl FnMut(&mut Peer) -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done(agent) {
        assert!(Instant::now() < end, "waited in vain: {what}");
        agent.step();
        // Paces the loop; nothing depends on its length.
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_caller_and_the_colleague_go_on_without_the_agent() {
    attends(1, "attended", "48600-48699");
}

#[test]
fn the_agents_two_calls_may_be_at_different_workers() {
    attends(3, "attended-workers", "46700-46799");
}

/// The worker that has a dialog of the agent's phone.
fn worker_of(agent: &Peer, line: usize, workers: usize) -> usize {
    let (_, replaces) = agent.replaces(line);
    hotline_sip::shard_of_call_id(replaces.split(';').next().unwrap().as_bytes(), workers)
}

fn attends(workers: usize, name: &str, ports: &str) {
    let mut node = Member::start(name, ports, &[("HOTLINE_NODE_SIP_WORKERS", &workers.to_string())]);
    let mut agent = Peer::new(node.running.sip);
    agent.auto_answer_hz = Some(880.0);
    agent.register("fang", "secret", 60);
    until("the registration", &mut agent, |agent| agent.registered == Some(Ok(60)));
    let colleague = node.agent("lee", 620, true);
    let mut caller = node.caller(440);

    // The first call: the caller with the agent.
    node.command(node.contact(0), NodeAction::Ring(ring(1, "fang", &node)));
    until("both voices", &mut agent, |agent| {
        hears(&caller, 880) && agent.lines.first().is_some_and(|line| line.hears(440.0, 300) > 0.9)
    });
    // The second: the agent calls, and the colleague is rung. With several workers, until another one
    // than that of the first has it.
    let mut calls = 1;
    let second = loop {
        let line = agent.dial("200", 880.0);
        until("the second call", &mut agent, |agent| agent.lines[line].answered);
        calls += 1;
        if workers == 1 || worker_of(&agent, line, workers) != worker_of(&agent, 0, workers) {
            break line;
        }
        agent.hang_up(line);
        until("its end", &mut agent, |_| node.running.metric("calls") == 1);
    };
    node.command(node.contact(calls - 1), NodeAction::Ring(ring(2, "lee", &node)));
    until("the colleague", &mut agent, |agent| agent.lines[second].hears(620.0, 300) > 0.9 && hears(&colleague, 880));

    // A dialog that is not here cannot be taken.
    agent.refer(0, format!("<sip:lee@{}?Replaces=other%3Bto-tag%3D1%3Bfrom-tag%3D2>", node.running.sip));
    agent.step();
    let (_, replaces) = agent.replaces(second);
    let escaped = replaces.replace('@', "%40").replace(';', "%3B").replace('=', "%3D");
    agent.refer(0, format!("<sip:lee@{}?Replaces={escaped}>", node.running.sip));
    until("the question", &mut agent, |_| {
        node.events().iter().any(|event| matches!(event, CallEvent::TransferAsked { .. }))
    });
    let asked: Vec<_> = node
        .events()
        .into_iter()
        .filter_map(|event| match event {
            CallEvent::TransferAsked { offer, target } => Some((offer, target.expose().clone())),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [(offer(1), "lee".to_string())]);
    let script = vec![Verb::Transfer { target: "lee".into(), ring_timeout_ms: 10_000, record: None, keys: None }];
    node.command(node.contact(0), NodeAction::Script { label: "9:transfer".into(), script });
    until("the agent is out of both", &mut agent, |agent| agent.lines.iter().all(|line| line.ended));
    assert!(agent.statuses.ends_with(&[100, 200]), "{:?}", agent.statuses);
    wait("the two together", || hears_only(&caller, &[620], &[880]) && hears_only(&colleague, &[440], &[880]));

    node.block_on(caller.hangup()).unwrap();
    wait("the end of all", || node.running.metric("sessions") == 0 && node.running.metric("media_legs") == 0);
    assert_eq!(node.running.metric("calls_started"), calls as u64, "no further call was made");
}
