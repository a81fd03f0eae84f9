//! What the other side of a leg said about its end.

use super::*;
use hotline_wire::reason::{CauseOf, Reason};

fn reasons(causes: &[(CauseOf, u16)]) -> Vec<Reason> {
    causes.iter().map(|(protocol, cause)| Reason { protocol: *protocol, cause: *cause, text: "x".repeat(80) }).collect()
}

fn given(life: &Life) -> Vec<(EndedLeg, Option<OfferId>, u16, &str)> {
    life.facts
        .iter()
        .filter_map(|fact| match fact {
            ContactFact::ReasonGiven { leg, offer, cause, meaning, text, .. } => {
                assert_eq!(text.len(), 64, "bounded");
                Some((*leg, *offer, *cause, meaning.as_str()))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn reasons_are_facts_before_what_followed() {
    let mut life = Life::talking();
    let both = reasons(&[(CauseOf::Sip, 200), (CauseOf::Q850, 16)]);
    life.clear().node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: both });
    assert_eq!(
        given(&life),
        [
            (EndedLeg::Caller, None, 200, "call completed elsewhere"),
            (EndedLeg::Caller, None, 16, "normal call clearing")
        ]
    );
    assert_eq!(life.names()[..3], ["ReasonGiven", "ReasonGiven", "AgentLegEnded"]);
    assert!(matches!(last(&life), ContactFact::ContactEnded(_)));

    let mut life = Life::offered();
    let busy = reasons(&[(CauseOf::Q850, 17)]);
    let (offer, reason) = (offer_id(1), OfferFailure::Declined);
    life.clear().node(CallEvent::OfferFailed { offer, reason, sip_status: Some(480), reasons: busy });
    assert_eq!(given(&life), [(EndedLeg::Agent, Some(offer), 17, "user busy")]);
    assert_eq!(life.names(), ["ReasonGiven", "OfferDeclined"]);
}

#[test]
fn a_party_that_was_not_reached_says_why_and_a_stale_report_says_nothing() {
    let mut life = Life::callback_dialling();
    let unallocated = reasons(&[(CauseOf::Q850, 1)]);
    let event = CallEvent::PartyFailed {
        reason: DialFailure::NoSuchNumber,
        sip_status: Some(503),
        reasons: unallocated.clone(),
    };
    life.clear().node(event);
    assert_eq!(given(&life), [(EndedLeg::Caller, None, 1, "unallocated number")]);
    assert_eq!(life.names()[..2], ["ReasonGiven", "PartyMissed"]);

    let mut life = Life::talking();
    life.clear().node(CallEvent::AgentLegEnded { offer: offer_id(77), cause: EndCause::HungUp, reasons: unallocated });
    assert_eq!(life.names(), Vec::<&str>::new(), "nothing is known of that offer");
}

#[test]
fn a_call_that_was_sent_on_says_so_after_its_arrival() {
    let mut event = arrived();
    if let CallEvent::Arrived { diverted, .. } = &mut event {
        *diverted = Some(hotline_wire::diverted::Diverted {
            first: "+861".to_string().into(),
            last: "+862".to_string().into(),
            reason: hotline_wire::diverted::DiversionReason::NoAnswer,
            times: 2,
        });
    }
    let mut life = Life::new();
    life.node(event);
    assert_eq!(life.names()[..2], ["ContactArrived", "CallDiverted"]);
    let vars = &life.contact().cursor.vars;
    let value = |name: &str| vars.get(&name.parse::<Name>().unwrap()).map(|v| v.value.expose().as_str());
    assert_eq!(value("diverted-from"), Some("+862"));
    assert_eq!((value("first-called"), value("diversion-reason")), (Some("+861"), Some("no-answer")));
}

#[test]
fn keys_are_sent_by_the_node_and_the_flow_goes_on() {
    let text = "flow: main\nlanguages: [en]\nstart: pass\nprompts: {}\nsteps:\n  pass: {send_keys: 'w1#', secret: true, then: on}\n  on: {transfer: '+861', keys: '77', no_answer: bye, then: bye}\n  bye: {hangup: }\n";
    let flow = hotline_flow::parse(text).unwrap();
    let mut own = setting().as_ref().clone();
    own.flow = Arc::new(Compiled::new(flow, &BTreeMap::new()).unwrap());
    let own = Some(Arc::new(own));
    let step = |contact: Option<&Contact>, seq, event| {
        let input = ContactInput { event: node_event(seq, event), setting: own.clone() };
        ContactMachine::step(contact, &input, at(0)).unwrap().state
    };
    let contact = step(None, 1, arrived());
    let [Verb::Answer, Verb::SendKeys(keys)] = &contact.script.verbs[..] else { panic!("{:?}", contact.script) };
    assert_eq!((keys.keys.expose().as_str(), keys.secret), ("w1#", true));
    let label = contact.script.label.clone();
    let contact = step(Some(&contact), 2, CallEvent::ScriptEnded { label, result: VerbResult::Done });
    let [Verb::Transfer { keys: Some(keys), .. }] = &contact.script.verbs[..] else { panic!("{:?}", contact.script) };
    assert_eq!((keys.keys.expose().as_str(), keys.secret), ("77", false));
}
