//! Transfers, advice, conference, supervision: every way in and out.

use hotline_wire::node::LegQuality;
use hotline_wire::quality::{AgentLegQuality, CallQuality, SoundBand};

use super::*;

fn transfer_of(life: &Life) -> Option<&ContactFact> {
    life.facts.iter().find(|fact| matches!(fact, ContactFact::ContactTransferred { .. }))
}

fn arranged(life: &mut Life) -> Option<hotline_wire::legs::Arrangement> {
    life.asked().into_iter().rev().find_map(|action| match action {
        NodeAction::Arrange { arrangement } => Some(arrangement),
        _ => None,
    })
}

#[test]
fn a_blind_transfer_keeps_the_place_and_frees_the_agent() {
    let mut life = Life::talking();
    life.now = at(69_000);
    life.clear().step(to_queue("billing")).unwrap();
    assert!(matches!(transfer_of(&life), Some(ContactFact::ContactTransferred { from: AGENT, .. })));
    assert!(life.facts.iter().any(|f| matches!(f, ContactFact::AgentLegEnded { talk_ms: 60_000, .. })));
    let wait = life.contact().wait().expect("waits again").clone();
    assert_eq!(wait.entry.virtual_time(), at(0), "as if it had waited since it came first");
    assert_eq!(wait.entry.enqueued_at, at(69_000), "but its wait is counted from now");
    let asked = life.asked();
    assert!(matches!(
        asked.as_slice(),
        [NodeAction::ReleaseAgent { .. }, NodeAction::Script { script, .. }] if matches!(script[..], [Verb::Hold { .. }])
    ));
    life.node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    let ContactFact::ContactEnded(ending) = last(&life) else { panic!("{:?}", last(&life)) };
    assert_eq!((ending.transfers, ending.wait_ms, ending.talk_ms), (1, 9_000, 60_000));
}

#[test]
fn a_transfer_to_an_agent_that_fails_comes_back_to_the_queue() {
    let mut life = Life::talking();
    life.now = at(60_000);
    life.step(to_agent()).unwrap();
    assert!(life.effects.iter().any(|e| matches!(e, ContactEffect::RingDirect { .. })));
    life.clear().step(Event::NobodyFree).unwrap();
    assert_eq!(life.names(), ["ContactEnqueued", "TransferReturned"]);
    let wait = life.contact().wait().expect("waits");
    assert_eq!((wait.place.queue(), wait.entry.virtual_time()), (Some(&name("billing")), at(0)));
    // The colleague rings in vain: the same.
    let mut life = Life::talking();
    life.step(to_agent()).unwrap();
    life.step(offer(6)).unwrap();
    let failed = CallEvent::OfferFailed {
        offer: offer_id(6),
        reason: OfferFailure::TimedOut,
        sip_status: None,
        reasons: vec![],
    };
    life.clear().node(failed);
    assert_eq!(life.names(), ["OfferTimedOut", "ContactEnqueued", "TransferReturned"]);
    assert_eq!(decision(life.contact(), life.seq, &arrived()).label, life.contact().script.label);
}

#[test]
fn a_transfer_to_a_number_that_nobody_answers_comes_back_and_an_answered_one_goes_on() {
    for (answered, phase) in [(false, PhaseName::Waiting), (true, PhaseName::InFlow)] {
        let mut life = Life::talking();
        life.now = at(60_000);
        life.step(to_number()).unwrap();
        let asked = life.asked();
        let Some(NodeAction::Script { script, .. }) = asked.last() else { panic!("{asked:?}") };
        assert!(matches!(script.as_slice(), [Verb::Transfer { .. }]));
        life.ended(VerbResult::Transferred { answered, reasons: vec![] });
        assert_eq!(life.contact().listing().phase, phase, "answered: {answered}");
        assert!(life.facts.iter().any(|f| matches!(f, ContactFact::TransferEnded { .. })));
    }
}

#[test]
fn a_phone_transfers_where_its_target_is_known_and_is_told_where_not() {
    let mut life = Life::talking();
    let asked = CallEvent::TransferAsked { offer: offer_id(1), target: "sip:nowhere@x".to_string().into() };
    life.clear().node(asked.clone());
    assert!(matches!(last(&life), ContactFact::TransferRefused { why, .. } if why == "unknown-target"));
    let mut known = setting().as_ref().clone();
    known.refer = Some(TransferTarget::Queue { queue: name("billing") });
    let seq = life.seq + 1;
    let input = ContactInput { event: node_event(seq, asked.clone()), setting: Some(Arc::new(known)) };
    let done = ContactMachine::step(life.contact.as_ref(), &input, life.now).unwrap();
    assert!(
        done.facts
            .iter()
            .any(|fact| matches!(fact, ContactFact::ContactTransferred { kind: TransferKind::Phone, from: AGENT, .. }))
    );
    let answer = decision(&done.state, seq, &asked);
    assert!(matches!(answer.script.as_deref(), Some([Verb::Hold { .. }])), "the music is the answer");
}

#[test]
fn a_call_to_an_emergency_number_is_a_fact_and_changes_nothing() {
    let mut life = Life::talking();
    let (before, number) = (life.contact().listing(), "110".to_string());
    life.clear().node(CallEvent::EmergencyCalled { number: number.clone().into(), gateway: "carrier".into() });
    assert_eq!(life.facts, [ContactFact::EmergencyCalled { number: number.into(), gateway: "carrier".into() }]);
    assert_eq!(life.contact().listing(), before);
    assert!(life.asked().is_empty());
}

#[test]
fn how_a_leg_sounds_is_a_fact_of_whoever_it_is_and_changes_nothing() {
    let mut life = Life::talking();
    let (before, band) = (life.contact().listing(), SoundBand::Poor);
    let quality = LegQuality { packets: 200, lost: 50, jitter_ms: 30.0, round_trip_ms: None, mos: 2.1 };
    let sounds = |offer| CallEvent::SoundChanged { offer, band, quality };
    life.clear();
    for offer in [None, Some(offer_id(1)), Some(offer_id(9))] {
        life.node(sounds(offer));
    }
    let fact = |offer, agent| ContactFact::SoundChanged { offer, agent, band, quality };
    let of_agent = fact(Some(offer_id(1)), Some(AGENT));
    assert_eq!(life.facts, [fact(None, None), of_agent, fact(Some(offer_id(9)), None)]);
    assert_eq!(life.contact().listing(), before);
    assert!(life.asked().is_empty());
    let agents = vec![AgentLegQuality { offer: offer_id(1), quality }];
    let measured = CallQuality { caller: quality, agents };
    life.node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: Some(measured.clone()), reasons: vec![] });
    assert!(matches!(last(&life), ContactFact::ContactEnded(ending) if ending.quality == Some(measured)));
}

#[test]
fn while_a_colleague_is_asked_the_caller_hears_music() {
    let mut life = Life::talking();
    life.clear().step(consult(2)).unwrap();
    let asked = life.asked();
    let [NodeAction::Ring(ring), NodeAction::Arrange { arrangement }] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(matches!(arrangement.caller, CallerMode::Held { .. }));
    assert_eq!(arrangement.agents.len(), 1);
    let at_answer = ring.arrange.as_ref().expect("who hears whom when the colleague answers");
    assert!(matches!(at_answer.caller, CallerMode::Held { .. }));
    assert_eq!(at_answer.agents[&offer_id(2)], LegMode::Talks);
    life.node(CallEvent::OfferAnswered { offer: offer_id(2), dialog: None });
    let now = arranged(&mut life).expect("said again, for a ring that was asked before a change");
    assert_eq!(now.agents.len(), 2);
}

#[test]
fn a_consultation_ends_in_each_of_its_ways() {
    // Completed: the colleague has the caller, the agent is free.
    let mut life = Life::advised();
    life.clear().step(desk(DeskAction::Complete { reason: "router".to_string().into() })).unwrap();
    assert_eq!(life.names(), ["ContactTransferred", "AgentLegEnded", "LegsBridged"]);
    assert_eq!(life.contact().agent(), Some(AgentId::from_u128(102)));
    let released = life.asked();
    assert!(matches!(released[0], NodeAction::ReleaseAgent { offer } if offer == offer_id(1)));
    let NodeAction::Arrange { arrangement } = &released[1] else { panic!("{released:?}") };
    assert_eq!((arrangement.caller.clone(), arrangement.agents.len()), (CallerMode::Talks, 1));
    life.node(CallEvent::AgentLegEnded { offer: offer_id(1), cause: EndCause::Command, reasons: vec![] });
    assert_eq!(life.contact().listing().phase, PhaseName::Talking, "the first agent's leg is history");

    // Completed before the answer: not yet.
    let mut life = Life::consulting();
    let refused = life.step(desk(DeskAction::Complete { reason: String::new().into() })).unwrap_err();
    assert_eq!(refused.code, "consult-not-answered");

    // Cancelled, ringing and answered.
    for (mut life, told) in [(Life::consulting(), AgentNews::Rescinded), (Life::advised(), AgentNews::Ended)] {
        life.clear().step(desk(DeskAction::CancelConsult)).unwrap();
        let effects = life.effects.clone();
        assert_eq!(life.told(), [(2, told)]);
        life.effects = effects;
        assert_eq!(arranged(&mut life).map(|a| a.caller), Some(CallerMode::Talks), "the caller is back");
        assert_eq!(life.contact().agent(), Some(AGENT));
    }

    // The colleague declines on the phone or the console, or does not answer.
    for reason in [OfferFailure::Declined, OfferFailure::TimedOut, OfferFailure::Unreachable] {
        let mut life = Life::consulting();
        life.clear().node(CallEvent::OfferFailed { offer: offer_id(2), reason, sip_status: None, reasons: vec![] });
        assert_eq!(life.names(), ["LegFailed"]);
        assert_eq!(arranged(&mut life).map(|a| a.caller), Some(CallerMode::Talks));
    }
    let mut life = Life::consulting();
    life.clear().step(Event::OfferReturned { offer: offer_id(2), declined: true }).unwrap();
    assert!(matches!(life.asked()[0], NodeAction::Rescind { .. }));
    let mut life = Life::consulting();
    life.now = at(60_000);
    life.clear().step(Event::Timer { timer: TIMER_OFFER.into() }).unwrap();
    assert_eq!(life.names(), ["LegFailed"], "nobody said how the ring ended");

    // All three talk; whoever leaves, the others go on.
    let mut life = Life::conference();
    assert_eq!(arranged(&mut life).map(|a| a.caller), Some(CallerMode::Talks));
    let mut left = life.clone();
    left.clear().node(CallEvent::AgentLegEnded { offer: offer_id(2), cause: EndCause::HungUp, reasons: vec![] });
    assert_eq!((left.names(), left.contact().agent()), (vec!["LegLeft"], Some(AGENT)));
    life.clear().node(CallEvent::AgentLegEnded { offer: offer_id(1), cause: EndCause::HungUp, reasons: vec![] });
    assert_eq!(life.contact().agent(), Some(AgentId::from_u128(102)), "the colleague has the call");
}

#[test]
fn whoever_hangs_up_during_a_consultation_everybody_is_accounted_for() {
    // The agent, while the colleague talks: the colleague takes over.
    let mut life = Life::advised();
    life.clear().node(CallEvent::AgentLegEnded { offer: offer_id(1), cause: EndCause::HungUp, reasons: vec![] });
    assert!(transfer_of(&life).is_some());
    let effects = life.effects.clone();
    assert_eq!(arranged(&mut life).map(|a| a.caller), Some(CallerMode::Talks));
    life.effects = effects;
    assert_eq!(life.told(), [(1, AgentNews::Ended)]);
    // The agent, while it rings: the caller had been promised help and goes back to the queue.
    let mut life = Life::consulting();
    life.clear().node(CallEvent::AgentLegEnded { offer: offer_id(1), cause: EndCause::HungUp, reasons: vec![] });
    assert_eq!(life.names(), ["LegFailed", "AgentLegEnded", "ContactEnqueued"]);
    assert_eq!(life.told(), [(2, AgentNews::Rescinded), (1, AgentNews::Ended)]);
    // The caller, in each state.
    for mut life in [Life::consulting(), Life::advised(), Life::conference(), Life::supervised()] {
        life.clear().node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
        let told = life.told();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().any(|(offer, news)| *offer == 1 && *news == AgentNews::Ended));
        assert_eq!(life.contact().holders(), []);
    }
}

#[test]
fn supervisors_listen_whisper_and_barge_in_and_are_facts() {
    let mut life = Life::supervised();
    assert_eq!(arranged(&mut life).expect("mixed").agents[&offer_id(3)], LegMode::Listens);
    for (mode, heard) in [
        (SuperviseMode::Whisper, LegMode::Whispers { to: offer_id(1) }),
        (SuperviseMode::Barge, LegMode::Talks),
        (SuperviseMode::Listen, LegMode::Listens),
    ] {
        let agent = AgentId::from_u128(103);
        life.clear().step(desk(DeskAction::Supervise { agent, mode })).unwrap();
        assert!(matches!(last(&life), ContactFact::LegChanged { by: BOSS, .. }));
        assert_eq!(arranged(&mut life).expect("arranged anew").agents[&offer_id(3)], heard);
    }
    let twice = Event::Supervise { leg: leg(3), mode: SuperviseMode::Listen, by: BOSS };
    assert_eq!(life.step(twice).unwrap_err().code, "already-on-call");
    // A supervisor is no colleague: the agent leaves, the flow goes on.
    life.clear().node(CallEvent::AgentLegEnded { offer: offer_id(1), cause: EndCause::HungUp, reasons: vec![] });
    assert_eq!(life.names()[..2], ["LegLeft", "AgentLegEnded"]);
    assert_eq!(life.contact().listing().phase, PhaseName::InFlow);
}

#[test]
fn hold_and_resume_are_timed_and_a_repeat_does_no_harm() {
    let mut life = Life::talking();
    life.clear();
    life.now = at(20_000);
    life.step(desk(DeskAction::Hold)).unwrap();
    life.step(desk(DeskAction::Hold)).unwrap();
    assert!(matches!(arranged(&mut life).map(|a| a.caller), Some(CallerMode::Held { .. })));
    life.now = at(35_000);
    life.step(desk(DeskAction::Resume)).unwrap();
    life.step(desk(DeskAction::Resume)).unwrap();
    assert_eq!(life.names(), ["CallerHeld", "CallerResumed"]);
    assert!(matches!(last(&life), ContactFact::CallerResumed { held_ms: 15_000, .. }));
    assert_eq!(arranged(&mut life).map(|a| a.caller), Some(CallerMode::Talks));
}

#[test]
fn a_call_holds_so_many_legs_and_one_consultation() {
    let mut life = Life::consulting();
    assert_eq!(life.step(consult(4)).unwrap_err().code, "consulting-already");
    for n in 10..13 {
        life.step(Event::Supervise { leg: leg(n), mode: SuperviseMode::Listen, by: BOSS }).unwrap();
    }
    let one_more = Event::Supervise { leg: leg(20), mode: SuperviseMode::Listen, by: BOSS };
    assert_eq!(life.step(one_more).unwrap_err().code, "too-many-legs");
}

#[test]
fn supervisors_move_take_back_and_assign_and_it_is_said_who_and_why() {
    let mut life = Life::waiting();
    life.now = at(30_000);
    let moved = |to: &str| Event::Move { to: name(to), by: BOSS, reason: "too long".to_string().into() };
    assert_eq!(life.step(moved("billing")).unwrap_err().code, "same-queue");
    life.clear().step(moved("general")).unwrap();
    assert_eq!(life.names(), ["ContactMoved", "QueueLeft", "ContactEnqueued"]);
    assert_eq!(life.contact().wait().unwrap().place.queue(), Some(&name("general")));

    let mut life = Life::offered();
    life.clear().step(Event::TakeBack { by: BOSS, reason: "lunch".to_string().into() }).unwrap();
    assert_eq!(life.names(), ["OfferTakenBack", "OfferRescinded"]);
    let wait = life.contact().wait().unwrap();
    assert!(wait.entry.not.contains(&AGENT), "not to the same agent again");
    assert_eq!(life.told(), [(1, AgentNews::Rescinded)]);
}

/// Somebody outside is asked for advice and has answered.
fn advised_outside() -> Life {
    let mut life = Life::talking();
    life.now = at(20_000);
    let number = Some("+4930123456".to_string().into());
    let outside = NewLeg { agent: AgentId::from_u128(0), sip_user: String::new(), number, ..leg(7) };
    life.clear().step(Event::Consult { leg: outside, by: BOSS }).unwrap();
    let ring = life.asked().into_iter().find_map(|action| match action {
        NodeAction::Ring(ring) => Some(ring),
        _ => None,
    });
    let ring = ring.expect("the number is called");
    assert_eq!(ring.number.as_ref().map(|number| number.expose().as_str()), Some("+4930123456"));
    life.node(CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    life
}

#[test]
fn somebody_outside_advises_and_no_agent_is_told_of_it() {
    let mut life = advised_outside();
    assert_eq!(life.told(), [], "there is no agent behind the number");
    assert_eq!(life.contact().holders().len(), 1, "only the agent holds the call");
    assert!(life.names().contains(&"LegJoined"), "{:?}", life.names());
    life.clear().step(desk(DeskAction::Conference)).unwrap();
    let all = arranged(&mut life).expect("everybody talks");
    assert_eq!((all.caller, all.agents.len()), (hotline_wire::legs::CallerMode::Talks, 2));
    life.clear().node(CallEvent::AgentLegEnded { offer: offer_id(7), cause: EndCause::HungUp, reasons: vec![] });
    assert_eq!(life.names(), ["LegLeft"]);
    assert_eq!((life.contact().listing().phase, life.told()), (PhaseName::Talking, vec![]));
}

#[test]
fn the_caller_goes_on_with_somebody_outside_and_the_flow_goes_on_after_it() {
    for agent_hangs_up in [false, true] {
        let mut life = advised_outside();
        life.now = at(60_000);
        life.clear();
        match agent_hangs_up {
            true => drop(life.node(CallEvent::AgentLegEnded {
                offer: offer_id(1),
                cause: EndCause::HungUp,
                reasons: vec![],
            })),
            false => life.step(desk(DeskAction::Complete { reason: "advice".to_string().into() })).unwrap(),
        }
        let target = transfer_of(&life);
        assert!(
            matches!(target, Some(ContactFact::ContactTransferred { target: TransferTarget::Number { .. }, .. })),
            "{target:?}"
        );
        let effects = life.effects.clone();
        let both = arranged(&mut life).expect("caller and number hear each other");
        assert_eq!((both.caller, both.agents.len()), (hotline_wire::legs::CallerMode::Talks, 1));
        life.effects = effects;
        assert_eq!(life.told(), [(1, AgentNews::Ended)], "the agent is free");
        assert_eq!((life.contact().listing().phase, life.contact().agent()), (PhaseName::InFlow, None));
        // A report of the answer that comes again releases nobody.
        life.clear().node(CallEvent::OfferAnswered { offer: offer_id(7), dialog: None });
        assert!(life.asked().is_empty());
        life.clear().node(CallEvent::AgentLegEnded { offer: offer_id(7), cause: EndCause::HungUp, reasons: vec![] });
        assert_eq!(life.names()[0], "TransferEnded");
        assert!(life.contact().is_alive() && life.contact().outside.is_none(), "the flow goes on");
    }
    let mut life = advised_outside();
    life.step(desk(DeskAction::Complete { reason: String::new().into() })).unwrap();
    life.clear().node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    let ContactFact::ContactEnded(ending) = last(&life) else { panic!("{:?}", last(&life)) };
    assert_eq!((ending.agent, ending.transfers), (Some(AGENT), 1));
}
