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
    let mut node = Member::start("attended", "48600-48699", &[]);
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
    // The second: the agent calls, and the colleague is rung.
    let second = agent.dial("200", 880.0);
    until("the second call", &mut agent, |agent| agent.lines[second].answered);
    node.command(node.contact(1), NodeAction::Ring(ring(2, "lee", &node)));
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
    let script = vec![Verb::Transfer { target: "lee".into(), ring_timeout_ms: 10_000, record: None }];
    node.command(node.contact(0), NodeAction::Script { label: "9:transfer".into(), script });
    until("the agent is out of both", &mut agent, |agent| agent.lines.iter().all(|line| line.ended));
    assert!(agent.statuses.ends_with(&[100, 200]), "{:?}", agent.statuses);
    wait("the two together", || hears_only(&caller, &[620], &[880]) && hears_only(&colleague, &[440], &[880]));

    node.block_on(caller.hangup()).unwrap();
    wait("the end of all", || node.running.metric("sessions") == 0 && node.running.metric("media_legs") == 0);
    assert_eq!(node.running.metric("calls_started"), 2, "no third call was made");
}
