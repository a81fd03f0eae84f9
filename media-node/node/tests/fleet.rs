//! Two nodes on the loopback: a caller at one, the agent's phone at the other.

mod common;

use common::find;
use common::fleet::{Member, TEN, hears, offer, ring, wait};
use hotline_base::Timestamp;
use hotline_phone::Codec;
use hotline_wire::node::{CallEvent, DirectoryInput, EndCause, NodeAction, OfferFailure};

const KEY: (&str, &str) = ("HOTLINE_NODE_NODE_FLEET_KEY", "a secret of all these nodes");
/// Nobody is trusted: what is not signed is challenged.
const STRICT: (&str, &str) = ("HOTLINE_NODE_SIP_TRUSTED", "10.99.99.99/32");

fn failure(member: &Member, n: u128) -> (OfferFailure, Option<u16>) {
    member.told("the failed offer", |event| match event {
        CallEvent::OfferFailed { offer: o, reason, sip_status, .. } if *o == offer(n) => Some((*reason, *sip_status)),
        _ => None,
    })
}

#[test]
fn a_phone_at_another_node_is_rung_and_both_talk() {
    let mut near = Member::start("near", "43000-43099", &[KEY]);
    let far = Member::start("far", "43100-43199", &[KEY, STRICT]);
    let mut agent = far.agent("fang", 880, true);
    let mut caller = near.caller(440);

    near.command(near.contact(0), NodeAction::Ring(ring(1, "fang", &far)));
    wait("both voices", || hears(&caller, 880) && hears(&agent, 440));
    near.told("ringing", |e| matches!(e, CallEvent::OfferRinging { .. }).then_some(()));
    let dialog = near.told("the answer", |e| match e {
        CallEvent::OfferAnswered { dialog, .. } => Some(dialog.clone()),
        _ => None,
    });
    assert!(dialog.unwrap().remote_target.expose().contains(&far.running.sip.to_string()));
    assert_eq!(near.running.metric("remote_rings"), 1);
    assert_eq!(far.running.metric("relays"), 1);
    assert!(far.events().is_empty(), "it is no contact of the other node");

    // The agent puts the caller on hold, and takes it back.
    far.block_on(agent.hold(true)).unwrap();
    wait("the hold's music", || hears(&caller, u32::from(common::fleet::CALM)));
    far.block_on(agent.hold(false)).unwrap();
    wait("both voices again", || hears(&caller, 880) && hears(&agent, 440));

    // The agent's phone asks for a transfer; it is the caller's node that is asked.
    far.block_on(agent.transfer(&format!("sip:600@{}", far.running.sip))).unwrap();
    let target = near.told("the question", |e| match e {
        CallEvent::TransferAsked { target, .. } => Some(target.expose().clone()),
        _ => None,
    });
    assert_eq!(target, "600");
    near.command(near.contact(0), NodeAction::ReleaseAgent { offer: offer(1) });
    assert_eq!(far.block_on(agent.wait_transferred(TEN)).unwrap(), 200);
    far.block_on(agent.wait_ended(TEN)).unwrap();

    // The agent hangs up: the caller stays.
    near.command(near.contact(0), NodeAction::Ring(ring(3, "fang", &far)));
    agent.forget_heard();
    wait("both voices once more", || hears(&agent, 440));
    far.block_on(agent.hangup()).unwrap();
    let cause = near.told("the agent's end", |e| match e {
        CallEvent::AgentLegEnded { cause, offer: o, .. } if *o == offer(3) => Some(*cause),
        _ => None,
    });
    assert_eq!(cause, EndCause::HungUp);
    wait("no relay", || far.running.metric("relays") == 0 && far.running.metric("media_legs") == 0);

    // Another agent leg; this time the caller hangs up.
    near.command(near.contact(0), NodeAction::Ring(ring(2, "fang", &far)));
    agent.forget_heard();
    wait("both voices", || hears(&agent, 440));
    near.block_on(caller.hangup()).unwrap();
    near.block_on(agent.wait_ended(TEN)).unwrap();
    wait("no relay", || far.running.metric("relays") == 0 && near.running.metric("sessions") == 0);
    assert_eq!(far.running.metric("relays_started"), 3);
    assert_eq!(far.running.metric("relays_refused"), 0);

    // Recorded where the caller is, and only there.
    let mut files = Vec::new();
    find(&far.running.folder.join("spool"), &mut files);
    files.retain(|file| file.extension().is_some_and(|e| e == "spool"));
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn a_wideband_phone_at_another_node_is_rung_again_with_all_codecs() {
    let mut near = Member::start("near-wide", "47000-47049", &[KEY]);
    let far = Member::start("far-wide", "47050-47099", &[KEY, STRICT]);
    let agent = far.agent_with("fang", 880, &[Codec::G722]);
    let caller = near.caller(440);
    near.command(near.contact(0), NodeAction::Ring(ring(1, "fang", &far)));
    wait("both voices", || hears(&caller, 880) && hears(&agent, 440));
    assert_eq!((near.running.metric("remote_rings"), far.running.metric("relays_started")), (2, 2));
    assert_eq!((far.running.metric("relays"), far.running.metric("relays_refused")), (1, 0));
}

#[test]
fn a_phone_at_another_node_is_busy_does_not_answer_or_is_not_there() {
    let mut near = Member::start("near2", "43200-43299", &[KEY]);
    let far = Member::start("far2", "43300-43399", &[KEY, STRICT]);
    let mut agent = far.agent("fang", 880, false);
    let _caller = near.caller(440);
    let contact = near.contact(0);

    near.command(contact, NodeAction::Ring(ring(1, "fang", &far)));
    near.block_on(agent.wait_incoming(TEN)).unwrap();
    near.block_on(agent.refuse(486)).unwrap();
    assert_eq!(failure(&near, 1), (OfferFailure::Declined, Some(486)));

    let mut short = ring(2, "fang", &far);
    short.ring_timeout_ms = 500;
    near.command(contact, NodeAction::Ring(short));
    near.block_on(agent.wait_incoming(TEN)).unwrap();
    assert_eq!(failure(&near, 2), (OfferFailure::TimedOut, None));
    near.block_on(agent.wait("the CANCEL", TEN, |event| match event {
        hotline_phone::PhoneEvent::Ended { by_peer: true, status: Some(487), .. } => Some(Ok(())),
        _ => None,
    }))
    .unwrap();

    near.command(contact, NodeAction::Ring(ring(3, "nobody", &far)));
    assert_eq!(failure(&near, 3), (OfferFailure::Unreachable, Some(480)));
    wait("no relay", || far.running.metric("relays") == 0 && far.running.metric("media_legs") == 0);
    assert_eq!(far.running.metric("relays_refused"), 1);
}

#[test]
fn a_phone_that_rings_for_a_lost_node_is_free_for_the_next_call() {
    let mut lost = Member::start("ringer", "43700-43799", &[KEY]);
    let mut near = Member::start("near3", "43800-43899", &[KEY]);
    let mut agent = near.agent("fang", 880, false);
    let stays = near.caller_at(&lost, 400);
    lost.command(lost.contact(0), NodeAction::Ring(ring(1, "fang", &near)));
    near.block_on(agent.wait_incoming(TEN)).unwrap();
    // It dies without a word: nobody cancels the ring.
    lost.restart();
    assert_eq!(near.running.metric("relays"), 1);

    let caller = near.caller(440);
    near.command(near.contact(0), NodeAction::Ring(ring(2, "fang", &near)));
    near.block_on(agent.wait_ended(TEN)).unwrap();
    near.block_on(agent.wait_incoming(TEN)).unwrap();
    near.block_on(agent.answer()).unwrap();
    wait("both voices", || hears(&caller, 880) && hears(&agent, 440));
    assert_eq!(near.running.metric("relays"), 0);
    drop(stays);
}

#[test]
fn a_node_that_was_taken_for_dead_ends_its_calls_and_tells_its_phones_again() {
    let mut node = Member::start("taken", "43900-43999", &[KEY]);
    let agent = node.agent("fang", 880, true);
    let mut caller = node.caller(440);
    node.command(node.contact(0), NodeAction::Ring(ring(1, "fang", &node)));
    wait("both voices", || hears(&caller, 880) && hears(&agent, 440));
    node.functions.directory.lock().unwrap().clear();
    let before = Timestamp::from_millis(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64,
    );
    *node.functions.taken_over.lock().unwrap() = Some(before);
    node.block_on(caller.wait_ended(TEN)).unwrap();
    wait("no call", || node.running.metric("sessions") == 0);
    let still = |input: &DirectoryInput| matches!(input, DirectoryInput::StillRegistered { .. });
    wait("the phone told again", || node.functions.directory.lock().unwrap().iter().any(still));

    // It is told so again and again, and calls that came since are its own.
    let caller = node.caller(400);
    let alive = |input: &&DirectoryInput| matches!(input, DirectoryInput::NodeAlive { .. });
    let told = || node.functions.directory.lock().unwrap().iter().filter(alive).count();
    let since = told();
    wait("two more renewals", || told() >= since + 2);
    assert_eq!(node.running.metric("sessions"), 1);
    drop(caller);
}

#[test]
fn without_the_fleets_key_nobody_is_rung() {
    let mut stranger = Member::start("stranger", "43400-43499", &[(KEY.0, "some other secret, long")]);
    let mut keyless = Member::start("keyless", "43500-43599", &[]);
    let far = Member::start("far3", "43600-43699", &[KEY]);
    let agent = far.agent("fang", 880, true);
    let _first = stranger.caller(440);
    let _second = keyless.caller(440);

    stranger.command(stranger.contact(0), NodeAction::Ring(ring(1, "fang", &far)));
    assert_eq!(failure(&stranger, 1), (OfferFailure::Unreachable, Some(403)));
    // A node without a key does not even try, and takes no ring of others.
    keyless.command(keyless.contact(0), NodeAction::Ring(ring(2, "fang", &far)));
    assert_eq!(failure(&keyless, 2), (OfferFailure::Unreachable, None));
    stranger.command(stranger.contact(0), NodeAction::Ring(ring(3, "fang", &keyless)));
    assert_eq!(failure(&stranger, 3), (OfferFailure::Unreachable, Some(403)));
    assert_eq!(agent.ladder().to_string().matches("INVITE").count(), 0);
    assert_eq!((far.running.metric("relays_refused"), keyless.running.metric("relays_refused")), (1, 1));
}
