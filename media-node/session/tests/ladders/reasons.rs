//! Reasons (RFC 3326): told to the functions, passed on to the other legs, and decisive where a
//! gateway's status says less.

use super::*;
use hotline_sip::Reason;

fn failed(call: u64, status: u16, reasons: Vec<Reason>) -> Event {
    Event::Failed { call: CallHandle(call), status, phrase: String::new(), reasons }
}

fn ended(call: u64, reasons: Vec<Reason>) -> Event {
    Event::Ended { call: CallHandle(call), by_peer: true, fault: None, reasons }
}

fn dialling() -> World {
    let party = DialParty {
        target: "+8613800138000".to_string().into(),
        caller_id: "+861055550100".into(),
        ring_timeout_ms: 30_000,
        agent: None,
        ringback: vec![],
    };
    let mut w = World::placing(Mission::Call(Box::new(party)), 2);
    w.forget();
    w
}

#[test]
fn the_causes_of_gateways_decide_where_they_are_plain() {
    for (status, cause, line) in [
        (480, 17, "party failed: Busy Some(480) (Q850 17 said)"),
        (503, 17, "party failed: Busy Some(503) (Q850 17 said)"),
        (503, 1, "party failed: NoSuchNumber Some(503) (Q850 1 said)"),
        (500, 21, "party failed: Declined Some(500) (Q850 21 said)"),
        (404, 19, "party failed: NoAnswer Some(404) (Q850 19 said)"),
    ] {
        let mut w = dialling();
        w.sip("refused", failed(2, status, vec![Reason::q850(cause, "said")]));
        expect(&w, &format!("refused\n media 1: close\n ask 41: {line}"));
    }
    // The network is full on this way: the next one is tried, whatever the status.
    for cause in [34, 38, 41, 42] {
        let mut w = dialling();
        w.sip("refused", failed(2, 480, vec![Reason::q850(cause, "")]));
        assert!(w.ladder().contains("call 3: INVITE"), "{cause}:\n{}", w.ladder());
    }
}

#[test]
fn what_a_phone_says_is_told() {
    for (status, reasons, line) in [
        (480, vec![Reason::q850(17, "")], "offer 1 Declined Some(480) (Q850 17 )"),
        (480, vec![Reason::q850(19, "")], "offer 1 TimedOut Some(480) (Q850 19 )"),
        (603, vec![Reason::sip(200, "elsewhere")], "offer 1 Unreachable Some(603) (Sip 200 elsewhere)"),
    ] {
        let mut w = in_script(vec![hold()]);
        w.command("ring", NodeAction::Ring(ring(1)));
        w.forget();
        w.sip("refused", failed(2, status, reasons));
        expect(&w, &format!("refused\n media 2: close\n ask 2: {line}"));
    }
    let mut w = in_script(vec![hold()]);
    w.talking(RingAgent { record: None, ..ring(1) }, 2);
    w.sip("phone BYE", ended(2, vec![Reason::q850(27, "unplugged")]));
    assert!(w.ladder().contains("agent 1 ended: HungUp (Q850 27 unplugged)"), "{}", w.ladder());
}

#[test]
fn the_end_of_the_caller_is_passed_on_and_told() {
    let mut w = World::new();
    w.decide("s", Some(vec![Verb::Ring(RingAgent { record: None, ..ring(1) })]));
    w.forget();
    let reasons = vec![Reason::sip(200, "Call completed elsewhere")];
    w.sip("CANCEL", Event::Cancelled { call: CALLER, reasons });
    w.pass(300);
    expect(
        &w,
        "
CANCEL
    call 2: hang up (Sip 200 Call completed elsewhere)
    media 2: close
    media 1: close
+0.3s
    ask 2: call ended: Cancelled (Sip 200 Call completed elsewhere)",
    );
}

#[test]
fn who_was_not_first_is_told_that_another_one_was() {
    let mut w = in_script(vec![hold()]);
    for n in [1, 2] {
        w.command("ring", NodeAction::Ring(RingAgent { record: None, ..ring(n) }));
    }
    w.forget();
    w.answered(3, 8);
    assert!(w.ladder().contains("call 2: hang up (Sip 200 Call completed elsewhere)"), "{}", w.ladder());

    let mut w = in_script(vec![hold()]);
    w.command("ring", NodeAction::Ring(ring(1)));
    w.ringing(2);
    w.forget();
    w.pass(15_000);
    assert!(w.ladder().contains("call 2: hang up (Q850 19 no answer from user)"), "{}", w.ladder());
}

#[test]
fn a_transfer_that_failed_says_why_and_a_refusal_has_its_cause() {
    let transfer = Verb::Transfer { target: "+8610".into(), ring_timeout_ms: 20_000, record: None, keys: None };
    let mut w = in_script(vec![transfer]);
    w.sip("refused", failed(2, 486, vec![Reason::q850(17, "")]));
    assert!(w.ladder().contains("s ended: transferred false (Q850 17 )"), "{}", w.ladder());

    let mut w = World::new();
    w.forget();
    w.decide("s", Some(vec![Verb::Reject { status: 486, prompts: vec![], retry_after_s: Some(5) }]));
    let said = "486 Retry-After: 5 Reason: Q.850;cause=17;text=\"user busy\"";
    assert!(w.ladder().contains(said), "{}", w.ladder());
}
