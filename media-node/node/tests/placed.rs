//! Calls that a node places, takes over, hands on; commands for calls that it does not have.

mod common;

use common::fleet::{
    MUSIC, Member, TEN, contact, dial, ended, failed, fallback, hears, hears_only, offer, ring, tone, wait,
};
use std::sync::atomic::Ordering;

use hotline_base::{ContactId, TenantId};
use hotline_phone::{Phone, PhoneEvent};
use hotline_ports::{Bucket, Objects};
use hotline_wire::legs::{DialFailure, DialogRef};
use hotline_wire::node::{CallEvent, EndCause, NodeAction, RingAgent, Verb};
use hotline_wire::recording::Manifest;

/// A node whose gateways are a dead address and then this phone's.
fn with_gateway(name: &str, ports: &str, gateway: &Phone) -> Member {
    let dead = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // Bound and never read: it takes everything and answers nothing.
    let gateways = format!("{}, {}", dead.local_addr().unwrap(), gateway.local_addr());
    std::mem::forget(dead);
    let env = [
        ("HOTLINE_NODE_TRUNK_GATEWAYS", gateways.as_str()),
        ("HOTLINE_NODE_TRUNK_ALLOW", "+86"),
        ("HOTLINE_NODE_TRUNK_MAX_CALLS", "1"),
    ];
    Member::start(name, ports, &env)
}

#[test]
fn a_party_is_called_by_the_gateway_that_answers() {
    let world = Member::start("world", "44000-44049", &[]);
    let mut party = world.phone("gateway", 880, true);
    let mut node = with_gateway("caller", "44100-44199", &party);
    let (first, second, third) = (contact(1), contact(2), contact(3));

    node.command(first, dial("+8613800138000", None));
    wait("the decision's music", || hears(&party, 500));
    let from = world.block_on(party.wait_incoming(TEN)).unwrap();
    assert_eq!(from, "+861055550100");
    let dialog = node.told("the answer", |e| match e {
        CallEvent::PartyAnswered { dialog } => Some(dialog.clone()),
        _ => None,
    });
    assert_eq!(dialog.unwrap().peer, format!("{};transport=udp", party.local_addr()));
    assert_eq!(node.running.metric("gateway_failovers"), 1);
    assert_eq!(node.running.metric("outside_dials"), 2);
    assert_eq!(node.running.metric("outside_calls"), 1);

    // Beyond the limit, and beyond the allowed numbers.
    node.command(second, dial("+8613800138001", None));
    node.command(third, dial("+18005550100", None));
    wait("two refusals", || failed(&node, second).is_some() && failed(&node, third).is_some());
    assert_eq!(failed(&node, second), Some((DialFailure::Forbidden, None)));
    assert_eq!(failed(&node, third), Some((DialFailure::Forbidden, None)));
    let around = contact(4);
    node.command(around, dial(&format!("sip:+18005550100@{}", party.local_addr()), None));
    wait("a refusal", || failed(&node, around).is_some());
    assert_eq!(failed(&node, around), Some((DialFailure::Forbidden, None)));

    world.block_on(party.hangup()).unwrap();
    node.told("the end", |e| matches!(e, CallEvent::CallEnded { cause: EndCause::HungUp, .. }).then_some(()));
    wait("room", || node.running.metric("outside_calls") == 0 && node.running.metric("sessions") == 0);
    assert_eq!(node.running.metric("media_legs"), 0);
}

#[test]
fn a_call_back_with_the_agent_first() {
    let world = Member::start("world2", "44200-44249", &[]);
    let mut party = world.phone("gateway", 440, false);
    let mut node = with_gateway("callback", "44300-44399", &party);
    let mut agent = node.agent("fang", 880, true);
    let first = contact(1);

    node.command(first, dial("+8613800138000", Some(ring(1, "fang", &node))));
    wait("ringback", || hears(&agent, 500));
    world.block_on(party.wait_incoming(TEN)).unwrap();
    node.told("the ringing", |e| matches!(e, CallEvent::PartyRinging).then_some(()));
    world.block_on(party.answer()).unwrap();
    wait("both voices", || hears_only(&agent, &[440], &[500]) && hears(&party, 880));
    node.told("the answer", |e| matches!(e, CallEvent::PartyAnswered { .. }).then_some(()));
    world.block_on(party.hangup()).unwrap();
    node.block_on(agent.wait_ended(TEN)).unwrap();
    let saved = node.told("the recording", |e| match e {
        CallEvent::RecordingEnded { failure, .. } => Some(failure.clone()),
        _ => None,
    });
    assert_eq!(saved, None);

    // A party that is busy: the agent is let go.
    let second = contact(2);
    node.command(second, dial("+8613800138000", Some(ring(2, "fang", &node))));
    world.block_on(party.wait_incoming(TEN)).unwrap();
    world.block_on(party.refuse(486)).unwrap();
    wait("the failure", || failed(&node, second).is_some());
    assert_eq!(failed(&node, second), Some((DialFailure::Busy, Some(486))));
    node.block_on(agent.wait_ended(TEN)).unwrap();
    wait("nothing left", || node.running.metric("sessions") == 0 && node.running.metric("media_legs") == 0);
}

#[test]
fn the_next_attempt_may_overtake_the_end_of_the_last_one() {
    let world = Member::start("world3", "45300-45349", &[]);
    let party = world.phone("gateway", 440, true);
    let mut node = with_gateway("again", "45400-45499", &party);
    let mut agent = node.agent("fang", 880, false);
    let of = contact(1);
    node.functions.slow_on_failures.store(true, Ordering::Relaxed);
    node.command(of, dial("+8613800138000", Some(ring(1, "fang", &node))));
    node.block_on(agent.wait_incoming(TEN)).unwrap();
    node.block_on(agent.refuse(486)).unwrap();
    node.told("the failed offer", |e| matches!(e, CallEvent::OfferFailed { .. }).then_some(()));
    // The functions have decided already; only the node does not know it yet.
    node.command(of, dial("+8613800138000", Some(ring(2, "fang", &node))));
    wait("the command", || node.running.metric("commands") == 2);
    node.functions.slow_on_failures.store(false, Ordering::Relaxed);
    node.block_on(agent.wait_incoming(TEN)).unwrap();
    node.block_on(agent.answer()).unwrap();
    wait("both voices", || hears(&agent, 440) && hears(&party, 880));
    let seqs: Vec<u32> = node.functions.inputs.lock().unwrap().iter().map(|i| i.seq).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "no number comes twice: {seqs:?}");
    assert!(failed(&node, of).is_none());
}

#[test]
fn a_talking_call_survives_its_node() {
    let key = ("HOTLINE_NODE_NODE_FLEET_KEY", "a secret of all these nodes");
    // Whichever worker has a call, it is found.
    let env = [key, ("HOTLINE_NODE_SIP_WORKERS", "3")];
    let mut lost = Member::start("lost", "44400-44499", &env);
    let mut other = Member::start("other", "44500-44599", &env);
    let phones = Member::start("phones", "44600-44699", &env);
    let mut agent = phones.agent("fang", 880, true);
    let mut caller = phones.caller_at(&lost, 440);
    let contact = lost.contact(0);
    lost.command(contact, NodeAction::Ring(ring(1, "fang", &phones)));
    wait("both voices", || hears(&caller, 880) && hears(&agent, 440));
    let callers: DialogRef = lost.told("the caller's dialog", |e| match e {
        CallEvent::Arrived { dialog, .. } => dialog.clone(),
        _ => None,
    });
    let agents: DialogRef = lost.told("the agent's dialog", |e| match e {
        CallEvent::OfferAnswered { dialog, .. } => dialog.clone(),
        _ => None,
    });
    let seq = lost.functions.inputs.lock().unwrap().iter().map(|i| i.seq).max().unwrap();
    // Without a word to anybody.
    let Member { running, .. } = lost;
    drop(running);

    let reanchor = |dialog: DialogRef| NodeAction::Reanchor {
        tenant: TenantId::from_u128(9),
        dialog,
        label: "9:sorry".into(),
        script: vec![Verb::Hold { music: tone(MUSIC), announce: vec![], keys: String::new() }],
        fallback: fallback(),
        seq,
    };
    caller.forget_heard();
    agent.forget_heard();
    other.command(contact, reanchor(callers.clone()));
    wait("music from the other node", || hears(&caller, u32::from(MUSIC)));
    let told = other.find(|i| matches!(i.event, CallEvent::Reanchored { .. }).then_some((i.seq, i.contact)));
    assert_eq!(told, Some((seq + 1, contact)));
    // The agent's phone is at a third node: its relay is found and the phone changes over.
    let again = RingAgent { replaces: Some(agents), record: None, ..ring(1, "fang", &phones) };
    other.command(contact, NodeAction::Ring(again));
    wait("both voices again", || hears(&caller, 880) && hears(&agent, 440));
    for phone in [&mut caller, &mut agent] {
        assert!(!ended(phone, &other), "{:?}", phone.seen());
        assert!(phone.seen().contains(&PhoneEvent::Replaced));
    }
    wait("one relay", || phones.running.metric("relays") == 1);

    // What is no dialog of the phone cannot be taken over.
    let nobody = ContactId::from_u128(77 << 8);
    other.command(nobody, reanchor(callers));
    let status = other.told("the failure", |e| match e {
        CallEvent::ReanchorFailed { sip_status } => Some(*sip_status),
        _ => None,
    });
    assert_eq!(status, Some(481));
    other.block_on(caller.hangup()).unwrap();
    other.block_on(agent.wait_ended(TEN)).unwrap();
}

#[test]
fn a_call_moves_to_the_node_that_had_relayed_its_agent() {
    let key = ("HOTLINE_NODE_NODE_FLEET_KEY", "a secret of all these nodes");
    let mut lost = Member::start("lost2", "45100-45199", &[key]);
    let mut heir = Member::start("heir", "45200-45299", &[key]);
    let agent = heir.agent("fang", 880, true);
    let caller = heir.caller_at(&lost, 440);
    let contact = lost.contact(0);
    lost.command(contact, NodeAction::Ring(ring(1, "fang", &heir)));
    wait("both voices", || hears(&caller, 880) && hears(&agent, 440));
    let callers = lost.told("the caller's dialog", |e| match e {
        CallEvent::Arrived { dialog, .. } => dialog.clone(),
        _ => None,
    });
    let agents = lost.told("the agent's dialog", |e| match e {
        CallEvent::OfferAnswered { dialog, .. } => dialog.clone(),
        _ => None,
    });
    drop(lost);
    heir.command(
        contact,
        NodeAction::Reanchor {
            tenant: TenantId::from_u128(9),
            dialog: callers,
            label: "9:sorry".into(),
            script: vec![Verb::Hold { music: tone(MUSIC), announce: vec![], keys: String::new() }],
            fallback: fallback(),
            seq: 3,
        },
    );
    wait("music from the heir", || hears(&caller, u32::from(MUSIC)));
    agent.forget_heard();
    let here = RingAgent { replaces: Some(agents), phone_address: None, record: None, ..ring(1, "fang", &heir) };
    heir.command(contact, NodeAction::Ring(here));
    wait("both voices again", || hears(&caller, 880) && hears(&agent, 440));
    wait("the relay's end", || heir.running.metric("relays") == 0);
    assert_eq!(agent.ladder().to_string().matches("180 Ringing").count(), 1, "the phone rang once");
}

#[test]
fn a_phone_asks_for_a_transfer() {
    let mut node = Member::start("refer", "44700-44799", &[]);
    let mut agent = node.agent("fang", 880, true);
    let caller = node.caller(440);
    node.command(node.contact(0), NodeAction::Ring(ring(1, "fang", &node)));
    wait("both voices", || hears(&caller, 880) && hears(&agent, 440));
    let target = format!("sip:600@{}", node.running.sip);
    node.block_on(agent.transfer(&target)).unwrap();
    let asked = node.told("the question", |e| match e {
        CallEvent::TransferAsked { offer, target } => Some((*offer, target.expose().clone())),
        _ => None,
    });
    assert_eq!(asked, (offer(1), "600".to_string()));
    node.command(node.contact(0), NodeAction::ReleaseAgent { offer: offer(1) });
    assert_eq!(node.block_on(agent.wait_transferred(TEN)).unwrap(), 200);
    node.block_on(agent.wait_ended(TEN)).unwrap();
    assert!(agent.seen().contains(&PhoneEvent::Transfer { status: 100 }));
}

#[test]
fn a_call_that_is_not_here_is_reported_as_lost_once() {
    let mut node = Member::start("gone", "44800-44899", &[]);
    let unknown = contact(1);
    let mut caller = node.caller(440);
    let known = node.contact(0);
    node.command(unknown, NodeAction::Ring(ring(1, "fang", &node)));
    node.command(unknown, NodeAction::End);
    let lost = |member: &Member, of: ContactId| {
        let inputs = member.functions.inputs.lock().unwrap();
        let is_lost = |e: &CallEvent| matches!(e, CallEvent::CallEnded { cause: EndCause::Lost, .. });
        inputs.iter().filter(|i| i.contact == of && is_lost(&i.event)).count()
    };
    wait("the report", || lost(&node, unknown) == 1);
    // One that ended here is not lost.
    node.block_on(caller.hangup()).unwrap();
    wait("its end", || node.running.metric("sessions") == 0);
    node.command(known, NodeAction::End);
    node.command(unknown, NodeAction::End);
    wait("all commands", || node.running.metric("commands") == 4);
    assert_eq!((lost(&node, unknown), lost(&node, known)), (1, 0));
    assert_eq!(node.running.metric("lost_calls"), 1);
}

#[test]
fn a_recording_is_reported_although_its_node_died_after_the_upload() {
    let mut node = Member::start("unsaid", "45000-45099", &[]);
    let agent = node.agent("fang", 880, true);
    let mut caller = node.caller(440);
    let contact = node.contact(0);
    node.functions.deaf_to_recordings.store(true, Ordering::Relaxed);
    node.command(contact, NodeAction::Ring(ring(1, "fang", &node)));
    wait("both voices", || hears(&caller, 880) && hears(&agent, 440));
    node.block_on(caller.hangup()).unwrap();
    // The manifest comes last.
    wait("the upload", || {
        let keys = node.block_on(node.objects.list(Bucket::Recordings, "", 100)).unwrap();
        let manifest = keys.iter().find(|key| key.ends_with("manifest.json"));
        let bytes = manifest.and_then(|key| node.block_on(node.objects.get(Bucket::Recordings, key)).unwrap());
        bytes.is_some_and(|b| serde_json::from_slice::<Manifest>(&b).unwrap().complete)
    });
    node.restart();
    node.functions.deaf_to_recordings.store(false, Ordering::Relaxed);
    let reported = node.told("the report", |e| match e {
        CallEvent::RecordingEnded { failure, duration_ms, .. } => Some((failure.clone(), *duration_ms > 0)),
        _ => None,
    });
    assert_eq!(reported, (None, true));
    wait("an empty spool", || node.running.metric("uploads_pending") == 0);
}

#[test]
fn an_invite_that_would_replace_something_is_refused() {
    let node = Member::start("replace", "44900-44999", &[]);
    let mut phone = node.phone("caller", 440, false);
    let header = |value: &str| vec![("Replaces".to_string(), value.to_string())];
    let uri = format!("sip:100@{}", node.running.sip);
    node.block_on(async {
        phone.call_with(&uri, header("nothing;to-tag=a;from-tag=b")).await.unwrap();
        let refused = phone.wait_answered(TEN).await.unwrap_err().to_string();
        assert!(refused.contains("481"), "{refused}");
    });
    assert!(node.events().is_empty());
}
