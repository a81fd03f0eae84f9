//! Call backs from the promise to the talk, or to the last attempt.

use super::*;
use hotline_routing::callback::{CallFirst, CallbackPolicy, NumberRefusal};
use hotline_wire::node::Prompt;

fn with_policy(policy: CallbackPolicy, opens: Option<Timestamp>) -> Arc<Setting> {
    let mut setting = setting().as_ref().clone();
    let mut billing = QueueConfig::new(name("billing"));
    billing.callback = policy;
    setting.queues = Arc::new([(name("billing"), billing)].into());
    setting.callback = Some(CallbackView { refused: None, opens });
    Arc::new(setting)
}

impl Life {
    fn step_in(&mut self, event: Event, setting: &Arc<Setting>) {
        let input = ContactInput { event, setting: Some(setting.clone()) };
        let done = ContactMachine::step(self.contact.as_ref(), &input, self.now).unwrap();
        self.contact = Some(done.state);
        self.facts.extend(done.facts);
        self.effects.extend(done.effects);
    }
}

fn waits(life: &Life) -> bool {
    ContactMachine::rows(life.contact()).iter().any(|row| row.partition == "waiting/billing")
}

#[test]
fn a_call_back_waits_in_its_old_place_without_a_leg() {
    let life = Life::callback();
    assert_eq!(life.names(), ["ContactArrived", "ContactEnqueued"]);
    assert!(waits(&life));
    assert_eq!(life.contact().wait().unwrap().entry.virtual_time(), at(-600_000));
    let rows = ContactMachine::rows(life.contact());
    assert!(!rows.iter().any(|row| row.partition.starts_with("contacts/node/")), "no node carries it");
    assert!(rows.iter().any(|row| row.partition == CALLBACKS_PARTITION));
    let lost = Life::called_back(CallbackOrder { lost_call: true, ..order() });
    assert_eq!(lost.contact().wait().unwrap().entry.virtual_time(), at(-600_000 - LOST_CREDIT_MS));
}

#[test]
fn agent_first_the_party_hears_a_person_at_once() {
    let mut life = Life::callback_offered();
    let asked = life.asked();
    let [NodeAction::Dial { party, .. }] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((party.target.expose().as_str(), party.caller_id.as_str()), ("+8613800138000", "+8610555"));
    assert_eq!(party.agent.as_ref().map(|ring| ring.offer), Some(offer_id(1)));
    life.now = at(3_000);
    life.clear().node(CallEvent::OfferAnswered { offer: offer_id(1), dialog: None });
    assert_eq!(life.names(), ["PartyDialled"]);
    assert_eq!(life.told(), [(1, AgentNews::Accepted)]);
    life.now = at(10_000);
    life.clear().node(CallEvent::PartyAnswered { dialog: Some(dialog("party")) });
    assert_eq!(life.names(), ["PartyReached", "OfferAccepted", "LegsBridged", "RecordingStarted"]);
    assert_eq!(life.contact().listing().phase, PhaseName::Talking);
    assert!(!ContactMachine::rows(life.contact()).iter().any(|row| row.partition == CALLBACKS_PARTITION));
    // The agent leaves first: there is no flow to go on.
    life.now = at(40_000);
    life.clear().node(CallEvent::AgentLegEnded { offer: offer_id(1), cause: EndCause::HungUp, reasons: vec![] });
    let ContactFact::ContactEnded(ending) = last(&life) else { panic!("{:?}", last(&life)) };
    assert_eq!((ending.talk_ms, ending.callback_of), (30_000, Some(ContactId::from_u128(4))));
}

#[test]
fn agent_first_the_agent_hears_the_ringing_tone_of_the_tenants_country() {
    let mut setting = setting().as_ref().clone();
    setting.home.country = "GB".parse().ok();
    let mut life = Life::callback();
    life.clear().step_in(Life::callback_offer(), &Arc::new(setting));
    let asked = life.asked();
    let [NodeAction::Dial { party, .. }] = asked.as_slice() else { panic!("{asked:?}") };
    let [Prompt::Tone { hz, on_ms: 400, off_ms: 200, then, .. }] = &party.ringback[..] else {
        panic!("{:?}", party.ringback)
    };
    assert_eq!((&hz[..], then.len()), (&[400, 450][..], 1));
}

#[test]
fn party_first_the_caller_is_told_why_and_waits_at_the_head() {
    let policy = CallbackPolicy { first: CallFirst::Party, ..CallbackPolicy::default() };
    let setting = with_policy(policy, None);
    let mut life = Life::called_back(CallbackOrder { lost_call: true, ..order() });
    let mut contact = life.contact().clone();
    contact.fallback.apology = special_information();
    life.contact = Some(contact);
    life.clear().step_in(Event::DialParty { node: NODE }, &setting);
    assert!(matches!(life.asked().as_slice(), [NodeAction::Dial { party, .. }] if party.agent.is_none()));
    assert!(!waits(&life), "nobody is offered while the phone rings");
    life.seq += 1;
    let event = life.reported(CallEvent::PartyAnswered { dialog: None });
    life.clear().step_in(event.clone(), &setting);
    let Event::Node { event, .. } = event else { unreachable!() };
    let answer = decision(life.contact(), life.seq, &event);
    assert!(matches!(answer.script.as_deref(), Some([Verb::Play { .. }, Verb::Hold { .. }])), "{answer:?}");
    assert!(waits(&life) && life.effects.iter().any(|e| matches!(e, ContactEffect::MatchQueue { .. })));
    life.step(offer(2)).unwrap();
    assert!(matches!(life.asked().last(), Some(NodeAction::Ring(_))), "rung like for any caller");
}

#[test]
fn attempts_are_counted_postponed_and_given_up() {
    let mut life = Life::callback_dialling();
    for attempt in 1..=3_u8 {
        life.clear().node(CallEvent::PartyFailed {
            reason: DialFailure::NoAnswer,
            sip_status: Some(480),
            reasons: vec![],
        });
        assert!(matches!(life.facts[0], ContactFact::PartyMissed { attempt: a, .. } if a == attempt));
        assert_eq!(life.told(), [(1, AgentNews::NotReached)], "the agent owes no wrap-up");
        if attempt == 3 {
            break;
        }
        assert!(matches!(life.contact().phase, Phase::Resting { .. }) && !waits(&life));
        life.now = life.now.plus_ms(300_000);
        life.clear().step(Event::Timer { timer: TIMER_RETRY.into() }).unwrap();
        assert!(waits(&life), "the place is as before");
        let Phase::Resting { .. } = Life::callback_resting().contact().phase else { panic!() };
        let mut again = Life { contact: life.contact.clone(), ..Life::callback_offered() };
        again.now = life.now;
        let Event::Offer { agent, sip_user, phone_node, ring_timeout_ms, caller_label, record, .. } = offer(1) else {
            unreachable!()
        };
        let dial = Some(NODE);
        let (offer, phone_address, by) = (offer_id(1), None, None);
        again
            .step(Event::Offer {
                offer,
                agent,
                sip_user,
                phone_node,
                ring_timeout_ms,
                caller_label,
                record,
                phone_address,
                dial,
                by,
            })
            .unwrap();
        again.node(CallEvent::OfferAnswered { offer: offer_id(1), dialog: None });
        life = again;
    }
    assert!(life.facts.iter().any(|f| matches!(f, ContactFact::CallbackFailed { attempts: 3, .. })));
    assert!(matches!(last(&life), ContactFact::ContactEnded(e) if e.reason == EndReason::NotReached));
}

#[test]
fn a_number_that_does_not_exist_is_not_tried_again() {
    let mut life = Life::callback_dialling();
    life.clear().node(CallEvent::PartyFailed {
        reason: DialFailure::NoSuchNumber,
        sip_status: Some(404),
        reasons: vec![],
    });
    assert!(life.facts.iter().any(|f| matches!(f, ContactFact::CallbackFailed { why: CallbackEnd::Number, .. })));
    assert!(!life.contact().is_alive());
}

#[test]
fn nobody_is_called_outside_the_hours() {
    let closed = with_policy(CallbackPolicy::default(), Some(at(7_200_000)));
    let mut life = Life::callback();
    life.clear().step(Event::Postpone { until: at(3_600_000), closed: true }).unwrap();
    assert!(!waits(&life));
    life.now = at(3_600_000);
    life.step_in(Event::Timer { timer: TIMER_RETRY.into() }, &closed);
    assert!(matches!(life.contact().phase, Phase::Resting { until, .. } if until == at(7_200_000)), "still closed");
    life.now = at(7_200_000);
    life.step(Event::Timer { timer: TIMER_RETRY.into() }).unwrap();
    assert!(waits(&life));
}

#[test]
fn an_attempt_whose_end_nobody_tells_is_over_in_time() {
    let mut life = Life::callback_dialling();
    let due = ContactMachine::deadlines(life.contact())[TIMER_DIAL];
    life.now = due;
    life.clear().step(Event::Timer { timer: TIMER_DIAL.into() }).unwrap();
    assert!(matches!(life.contact().phase, Phase::Resting { .. }));
    assert!(matches!(life.asked()[0], NodeAction::End));
    // An answer after that: the line is closed again.
    life.clear().node(CallEvent::PartyAnswered { dialog: None });
    assert!(matches!(life.asked().as_slice(), [NodeAction::End]));
}

#[test]
fn an_agent_who_hangs_up_before_the_answer_is_free_and_the_call_back_waits() {
    let mut life = Life::callback_dialling();
    life.clear().node(CallEvent::AgentLegEnded { offer: offer_id(1), cause: EndCause::HungUp, reasons: vec![] });
    assert!(matches!(life.contact().phase, Phase::Resting { .. }));
    assert_eq!(life.told(), [(1, AgentNews::NotReached)]);
    life.clear().node(CallEvent::CallEnded { cause: EndCause::Command, quality: None, reasons: vec![] });
    assert!(life.contact().is_alive() && life.facts.is_empty(), "what is left of the attempt");
}

#[test]
fn a_node_that_dies_while_dialling_leaves_the_call_back_as_it_was() {
    for mut life in [Life::callback_offered(), Life::callback_dialling()] {
        life.now = at(9_000);
        life.clear().step(lost(Some(OTHER), at(9_000))).unwrap();
        assert!(waits(&life));
        assert_eq!(life.contact().order.as_ref().unwrap().tries, 0, "that attempt does not count");
        assert_eq!(life.told().len(), 1, "the agent is free");
    }
}

#[test]
fn a_call_back_merges_with_a_call_of_the_party_unless_it_is_being_made() {
    let into = ContactId::from_u128(6);
    let mut life = Life::callback();
    life.clear().step(Event::Merge { into }).unwrap();
    assert_eq!(life.names(), ["CallbackMerged", "ContactEnded"]);
    let mut life = Life::callback_dialling();
    assert_eq!(life.step(Event::Merge { into }).unwrap_err().code, "callback-under-way");
    let mut new = Life::waiting();
    new.now = at(60_000);
    new.clear()
        .step(Event::TakePlace { from: ContactId::from_u128(6), since: at(-600_000), waited_ms: 400_000 })
        .unwrap();
    assert_eq!(new.contact().wait().unwrap().entry.virtual_time(), at(-600_000));
    assert_eq!(new.names(), ["PlaceTaken"]);
}

#[test]
fn one_that_never_had_its_turn_expires_and_one_can_be_ended() {
    let mut life = Life::callback();
    life.now = at(CALLBACK_LIFE_MS);
    life.clear().step(Event::Timer { timer: TIMER_GUARD.into() }).unwrap();
    assert!(life.facts.iter().any(|f| matches!(f, ContactFact::CallbackFailed { why: CallbackEnd::Expired, .. })));
    let mut life = Life::callback();
    life.clear().step(Event::End).unwrap();
    assert!(life.asked().is_empty(), "no node has anything to end");
    assert!(!life.contact().is_alive());
}

/// A flow that offers a call back at once.
const OFFERS: &str = "\
flow: main
languages: [en]
start: call
prompts:
  bye: {en: We call you back.}
  no: {en: We cannot call this number.}
steps:
  call:
    callback: billing
    then: good
    refused: bad
  good:
    hangup: bye
  bad:
    hangup: no
";

#[test]
fn a_bad_number_is_refused_at_once_with_a_reason() {
    let mut setting = setting().as_ref().clone();
    let flow = hotline_flow::parse(OFFERS).expect("the test's flow is good");
    setting.flow = Arc::new(Compiled::new(flow, &BTreeMap::new()).unwrap());
    for (number, refused, wanted) in [
        ("+8613800138000", None, None),
        ("+19005550100", None, Some(CallbackRefusal::Number(NumberRefusal::Forbidden))),
        ("anonymous", None, Some(CallbackRefusal::Number(NumberRefusal::Malformed))),
        ("+8610555", None, Some(CallbackRefusal::OwnNumber)),
        ("+8613800138000", Some(CallbackRefusal::CallerLimit), Some(CallbackRefusal::CallerLimit)),
    ] {
        setting.callback = Some(CallbackView { refused, opens: None });
        let mut event = arrived();
        if let CallEvent::Arrived { from, did, .. } = &mut event {
            *from = number.to_string().into();
            *did = "+8610555".into();
        }
        let input = ContactInput { event: node_event(1, event), setting: Some(Arc::new(setting.clone())) };
        let done = ContactMachine::step(None, &input, at(0)).unwrap();
        let found = done.facts.iter().find_map(|fact| match fact {
            ContactFact::CallbackRefused { why, .. } => Some(*why),
            _ => None,
        });
        assert_eq!(found, wanted, "{number}");
        let promised = done.facts.iter().any(|f| matches!(f, ContactFact::CallbackRequested { .. }));
        assert_eq!((promised, done.state.callback), (wanted.is_none(), wanted.is_none()), "{number}");
        let last = done.facts.iter().rev().find_map(|fact| match fact {
            ContactFact::FlowStepEntered { step, .. } => Some(step.to_string()),
            _ => None,
        });
        assert_eq!(last.as_deref(), Some(if wanted.is_none() { "good" } else { "bad" }));
    }
}

/// The last fact, where it ends the contact.
fn ending(life: &Life) -> crate::Ending {
    let ContactFact::ContactEnded(ending) = last(life) else { panic!("{:?}", last(life)) };
    ending.as_ref().clone()
}

#[test]
fn its_wait_counts_from_the_first_entry_but_not_while_nobody_may_be_called() {
    let entered = |life: &Life| {
        life.facts.iter().find_map(|fact| match fact {
            ContactFact::ContactEnqueued { since, .. } => Some(*since),
            _ => None,
        })
    };
    let life = Life::callback();
    assert_eq!(entered(&life), Some(at(-600_000)), "the wait before the promise counts");
    assert_eq!(life.contact().waited_ms(at(5_000)), Some(605_000));
    // A call that was lost while it waited goes on waiting; its credit is none of the wait.
    let lost = Life::called_back(CallbackOrder { lost_call: true, entered: Some(at(-60_000)), ..order() });
    assert_eq!(lost.contact().waited_ms(at(0)), Some(60_000));
    assert_eq!(lost.contact().wait().unwrap().entry.virtual_time(), at(-600_000 - LOST_CREDIT_MS));

    let mut life = Life::callback();
    life.now = at(60_000);
    life.clear().step(Event::Postpone { until: at(3_600_000), closed: true }).unwrap();
    assert_eq!(life.contact().waited_ms(at(1_800_000)), Some(660_000), "closed");
    life.now = at(3_600_000);
    life.step(Event::Timer { timer: TIMER_RETRY.into() }).unwrap();
    assert_eq!(life.contact().waited_ms(at(3_601_000)), Some(661_000));
    assert_eq!(life.contact().wait().unwrap().entry.virtual_time(), at(-600_000), "the place is as it was");
    // Where no node can call, the party does wait.
    life.clear().step(Event::Postpone { until: at(3_615_000), closed: false }).unwrap();
    assert_eq!(life.contact().waited_ms(at(3_610_000)), Some(670_000));
}

#[test]
fn one_that_nobody_took_is_abandoned_after_the_wait_for_the_first_attempt() {
    let mut life = Life::callback_dialling();
    let dialled = life.contact().order.as_ref().unwrap().waited_ms;
    assert!(dialled.is_some_and(|ms| (600_000..700_000).contains(&ms)), "{dialled:?}");
    life.now = at(40_000);
    life.clear().node(CallEvent::PartyFailed { reason: DialFailure::NoAnswer, sip_status: None, reasons: vec![] });
    let mut contact = life.contact().clone();
    contact.order.as_mut().unwrap().tries = 2;
    life.contact = Some(contact);
    life.now = at(340_000);
    life.step(Event::Timer { timer: TIMER_RETRY.into() }).unwrap();
    let policy = CallbackPolicy { first: CallFirst::Party, ..CallbackPolicy::default() };
    let setting = with_policy(policy, None);
    life.step_in(Event::DialParty { node: NODE }, &setting);
    life.clear().node(CallEvent::PartyFailed { reason: DialFailure::NoAnswer, sip_status: None, reasons: vec![] });
    assert_eq!((ending(&life).abandoned_after_ms, ending(&life).reason), (dialled, EndReason::NotReached));

    let mut life = Life::callback_dialling();
    life.clear().node(CallEvent::PartyFailed {
        reason: DialFailure::NoSuchNumber,
        sip_status: Some(404),
        reasons: vec![],
    });
    assert_eq!(ending(&life).abandoned_after_ms, None, "nobody waited there");
    let mut life = Life::callback();
    life.now = at(CALLBACK_LIFE_MS);
    life.clear().step(Event::Timer { timer: TIMER_GUARD.into() }).unwrap();
    assert_eq!(ending(&life).abandoned_after_ms, Some(CALLBACK_LIFE_MS + 600_000), "never its turn");
    let mut life = Life::callback();
    life.clear().step(Event::Merge { into: ContactId::from_u128(6) }).unwrap();
    assert_eq!(ending(&life).abandoned_after_ms, None, "the new call waits on");
    let mut new = Life::waiting();
    let own = new.contact().waited_ms(at(60_000)).unwrap();
    new.now = at(60_000);
    new.step(Event::TakePlace { from: ContactId::from_u128(6), since: at(-600_000), waited_ms: 400_000 }).unwrap();
    assert_eq!(new.contact().waited_ms(at(60_000)), Some(own + 400_000));
}

/// What a party goes through that is called back.
const THERE: &str = "\
flow: there
languages: [en]
start: ask
prompts:
  ask: {en: You asked for a call back. Press 1.}
  bye: {en: Goodbye.}
steps:
  ask:
    menu: ask
    options:
      1: {label: There, go: wait}
    retries: 1
    no_input: bye
    no_match: bye
  wait:
    queue: billing
    then: bye
    max_wait: 5m
    on_max_wait: bye
  bye:
    hangup: bye
";

impl Life {
    /// The party of a call back with a flow of its own has answered.
    fn asked_party() -> (Self, Arc<Setting>) {
        let policy = CallbackPolicy { first: CallFirst::Party, ..CallbackPolicy::default() };
        let mut setting = with_policy(policy, None).as_ref().clone();
        let flow = hotline_flow::parse(THERE).expect("the test's flow is good");
        setting.flow = Arc::new(Compiled::new(flow, &BTreeMap::new()).unwrap());
        let setting = Arc::new(setting);
        let mut life = Self::called_back(CallbackOrder { asks: true, ..order() });
        life.step_in(Event::DialParty { node: NODE }, &setting);
        life.now = at(20_000);
        life.clear();
        life.seq += 1;
        let event = life.reported(CallEvent::PartyAnswered { dialog: None });
        life.step_in(event, &setting);
        (life, setting)
    }

    fn pressed(&mut self, digits: &str, setting: &Arc<Setting>) {
        let label = self.contact().script.label.clone();
        let result = VerbResult::Digits { digits: digits.to_string().into() };
        self.seq += 1;
        let event = self.reported(CallEvent::ScriptEnded { label, result });
        self.step_in(event, setting);
    }
}

#[test]
fn a_party_that_confirms_waits_in_the_place_that_was_kept() {
    let (mut life, setting) = Life::asked_party();
    assert_eq!(life.names(), ["FlowStepEntered"], "nobody is reached yet");
    assert!(matches!(life.contact().script.verbs.last(), Some(Verb::Gather { .. })), "{:?}", life.contact().script);
    assert!(!waits(&life), "no agent is offered to a machine");
    life.now = at(26_000);
    life.clear().pressed("1", &setting);
    assert!(life.names().contains(&"PartyReached") && !life.names().contains(&"ContactEnqueued"), "{:?}", life.names());
    assert!(waits(&life));
    let wait = life.contact().wait().unwrap();
    assert_eq!((wait.entry.virtual_time(), life.contact().waited_ms(at(26_000))), (at(-600_000), Some(626_000)));
    life.clear().step_in(offer(2), &setting);
    assert!(matches!(life.asked().as_slice(), [NodeAction::Ring(_)]), "rung like for any caller");
    life.node(CallEvent::OfferAnswered { offer: offer_id(2), dialog: None });
    assert_eq!(life.contact().listing().phase, PhaseName::Talking);
}

#[test]
fn a_machine_that_answers_is_nobody_and_is_called_again() {
    let (mut life, setting) = Life::asked_party();
    for _ in 0..2 {
        life.pressed("", &setting);
    }
    assert!(matches!(life.contact().script.verbs.last(), Some(Verb::Hangup)), "{:?}", life.contact().script);
    life.clear();
    life.seq += 1;
    let event = life.reported(CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] });
    life.step_in(event, &setting);
    assert!(
        matches!(life.facts[0], ContactFact::PartyMissed { attempt: 1, reason: DialFailure::Unconfirmed, .. }),
        "{:?}",
        life.facts
    );
    assert!(matches!(life.contact().phase, Phase::Resting { .. }) && life.contact().leg == PartyLeg::Absent);
    // The next time somebody is there.
    life.now = at(400_000);
    life.step_in(Event::Timer { timer: TIMER_RETRY.into() }, &setting);
    life.step_in(Event::DialParty { node: NODE }, &setting);
    life.seq = 1;
    let event = life.reported(CallEvent::PartyAnswered { dialog: None });
    life.step_in(event, &setting);
    life.clear().pressed("1", &setting);
    assert!(waits(&life) && life.contact().order.as_ref().unwrap().tries == 2, "{:?}", life.names());
}

#[test]
fn a_node_that_dies_while_the_party_is_asked_leaves_the_call_back_as_it_was() {
    let (mut life, setting) = Life::asked_party();
    life.now = at(30_000);
    life.clear().step_in(lost(Some(OTHER), at(30_000)), &setting);
    assert!(waits(&life) && life.contact().leg == PartyLeg::Absent);
    assert_eq!(life.contact().order.as_ref().unwrap().tries, 0, "that attempt does not count");
}
