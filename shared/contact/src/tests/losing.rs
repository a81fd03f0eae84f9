//! A node dies under a call, in every phase.

use super::*;

fn reanchor(life: &mut Life) -> (DialogRef, Vec<Verb>, u32) {
    let asked = life.asked();
    let found = asked.iter().find_map(|action| match action {
        NodeAction::Reanchor { dialog, script, seq, .. } => Some((dialog.clone(), script.clone(), *seq)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{asked:?}"))
}

fn lose(life: &mut Life) {
    life.now = life.now.plus_ms(10_000);
    let before = life.now;
    life.clear().step(lost(Some(OTHER), before)).unwrap();
    life.node = OTHER;
}

#[test]
fn a_menu_is_asked_again_by_the_other_node() {
    let mut life = Life::in_flow();
    lose(&mut life);
    let (from, script, seq) = reanchor(&mut life);
    assert_eq!((from.sip_call_id.as_str(), seq), ("caller", 1));
    assert!(matches!(script.as_slice(), [Verb::Gather { .. }]), "no second answer: {script:?}");
    let old = Event::Node {
        tenant: TenantId::from_u128(1),
        contact: ContactId::from_u128(5),
        node: NODE,
        seq: 2,
        at: at(0),
        event: CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] },
    };
    assert_eq!(life.step(old).unwrap_err().code, "other-node", "the lost node has no say any more");
    life.node(CallEvent::Reanchored { dialog: dialog("new") });
    assert!(matches!(last(&life), ContactFact::CallReanchored { from: NODE, to: OTHER, .. }));
    life.press("1");
    assert_eq!(life.contact().listing().phase, PhaseName::Waiting, "and it goes on from there");
}

#[test]
fn who_waits_keeps_the_place_and_is_offered_only_once_the_leg_is_there() {
    let mut life = Life::waiting();
    let entry = life.contact().wait().unwrap().entry.clone();
    lose(&mut life);
    let (_, script, _) = reanchor(&mut life);
    assert!(matches!(script.as_slice(), [Verb::Hold { .. }]));
    assert_eq!(life.contact().wait().unwrap().entry, entry);
    assert!(!ContactMachine::rows(life.contact()).iter().any(|row| row.partition == "waiting/billing"));
    assert_eq!(life.step(offer(1)).unwrap_err().code, "not-waiting");
    life.clear().node(CallEvent::Reanchored { dialog: dialog("new") });
    assert!(matches!(life.effects.as_slice(), [ContactEffect::MatchQueue { .. }]));
    assert!(ContactMachine::rows(life.contact()).iter().any(|row| row.partition == "waiting/billing"));
    life.step(offer(1)).unwrap();
}

#[test]
fn an_offer_is_taken_back_and_the_contact_is_at_its_place() {
    let mut life = Life::offered();
    lose(&mut life);
    assert_eq!(life.names(), ["NodeLost", "OfferRescinded"]);
    assert_eq!(life.contact().wait().unwrap().entry.virtual_time(), at(0));
    assert_eq!(life.told(), [(1, AgentNews::Rescinded)]);
}

#[test]
fn who_talked_talks_on_with_the_same_agent() {
    let mut life = Life::talking();
    lose(&mut life);
    assert_eq!(life.told(), [], "the agent is not freed");
    life.clear().node(CallEvent::Reanchored { dialog: dialog("new") });
    let asked = life.asked();
    let [NodeAction::Ring(ring)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((ring.offer, ring.agent, ring.phone_node), (offer_id(1), AGENT, OTHER));
    assert_eq!(ring.replaces.as_ref().map(|d| d.sip_call_id.as_str()), Some("agent"));
    let answer = decision(life.contact(), life.seq, &CallEvent::Reanchored { dialog: dialog("new") });
    assert!(answer.script.is_some(), "music until the agent is back");
    life.node(CallEvent::OfferAnswered { offer: offer_id(1), dialog: None });
    assert!(life.names().ends_with(&["AgentRejoined", "RecordingStarted"]), "{:?}", life.names());
    life.now = at(60_000);
    life.clear().node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    let ContactFact::ContactEnded(ending) = last(&life) else { panic!("{:?}", last(&life)) };
    assert_eq!((ending.interactions, ending.talk_ms, ending.transfers), (1, 51_000, 0));
}

#[test]
fn an_agent_who_does_not_come_back_is_freed_and_the_caller_is_next() {
    let failed = CallEvent::OfferFailed {
        offer: offer_id(1),
        reason: OfferFailure::TimedOut,
        sip_status: None,
        reasons: vec![],
    };
    let mut life = Life::rejoining();
    life.clear().node(failed);
    assert_eq!(life.names(), ["RejoinFailed", "AgentLegEnded", "ContactEnqueued"]);
    let entry = &life.contact().wait().expect("waits").entry;
    assert_eq!(entry.virtual_time(), at(-LOST_CREDIT_MS), "an hour before its old place");
    assert_eq!(life.told(), [(1, AgentNews::Ended)]);
    // Nobody says anything at all.
    let mut life = Life::rejoining();
    life.now = life.now.plus_ms(REJOIN_MS + OFFER_BACKSTOP_MS);
    life.clear().step(Event::Timer { timer: TIMER_REJOIN.into() }).unwrap();
    assert_eq!(life.contact().listing().phase, PhaseName::Waiting);
    // A phone that was registered at the lost node and told no dialog cannot be rung.
    let mut life = Life::offered();
    life.node(CallEvent::OfferAnswered { offer: offer_id(1), dialog: None });
    lose(&mut life);
    life.clear().node(CallEvent::Reanchored { dialog: dialog("new") });
    assert_eq!(life.names()[1..], ["RejoinFailed", "AgentLegEnded", "ContactEnqueued"]);
}

#[test]
fn where_no_node_can_take_it_over_the_party_is_called_back_at_the_old_place() {
    let cases: [(&str, Life, i64); 4] = [
        ("menu", Life::in_flow(), 0),
        ("waiting", Life::waiting(), 0),
        ("offered", Life::offered(), 0),
        ("talking", Life::talking(), 0),
    ];
    for (name, mut life, since) in cases {
        life.now = at(100_000);
        life.clear().step(lost(None, at(100_000))).unwrap();
        let promise = life.facts.iter().find_map(|fact| match fact {
            ContactFact::CallbackRequested { since, lost_call: true, .. } => Some(*since),
            _ => None,
        });
        assert_eq!(promise, Some(at(since)), "{name}");
        assert!(matches!(last(&life), ContactFact::ContactEnded(e) if e.reason == EndReason::NodeLost), "{name}");
    }
    // The new node cannot either, says so or says nothing.
    let mut failed = Life::moving();
    failed.clear().node(CallEvent::ReanchorFailed { sip_status: Some(481) });
    assert_eq!(failed.names()[..2], ["ReanchorFailed", "CallbackRequested"]);
    let mut silent = Life::moving();
    silent.now = silent.now.plus_ms(MOVE_LIMIT_MS);
    silent.clear().step(Event::Timer { timer: TIMER_MOVE.into() }).unwrap();
    assert_eq!(silent.names()[..2], ["ReanchorFailed", "CallbackRequested"]);
    assert!(matches!(silent.asked()[0], NodeAction::End), "a leg that comes late is not left alone");
    // A dialog that no other node can take over.
    let mut bare = Life::new();
    let CallEvent::Arrived { did, from, display_name, sip_call_id, .. } = arrived() else { unreachable!() };
    bare.node(CallEvent::Arrived { did, from, display_name, sip_call_id, dialog: None, diverted: None });
    bare.step(lost(Some(OTHER), bare.now)).unwrap();
    assert!(!bare.contact().is_alive());
}

#[test]
fn a_loss_that_was_before_the_node_had_the_call_is_none_and_losses_are_bounded() {
    let mut life = Life::rejoining();
    let before = life.contact().clone();
    let stale = Event::NodeLost { node: OTHER, to: None, before: at(10_000) };
    life.step(stale).unwrap();
    assert_eq!(*life.contact(), before);
    let nodes: Vec<NodeId> = (20..30).map(NodeId::from_u128).collect();
    let mut survived = 0;
    for to in nodes {
        life.now = life.now.plus_ms(1_000);
        let node = life.contact().node;
        life.step(Event::NodeLost { node, to: Some(to), before: life.now }).unwrap();
        survived += u32::from(life.contact().is_alive());
    }
    assert_eq!(survived, u32::from(MAX_LOST_NODES) - 1, "one had been lost before");
}

#[test]
fn a_recording_of_the_lost_node_is_still_delivered() {
    let mut life = Life::rejoining();
    life.node = NODE;
    let recording = RecordingId::from_u128(1);
    life.clear().node(CallEvent::RecordingEnded { recording, manifest: "m".into(), duration_ms: 9, failure: None });
    assert!(matches!(life.effects.as_slice(), [ContactEffect::ComposeRecording { .. }]));
}
