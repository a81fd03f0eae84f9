//! Transfers that an agent's phone asks for.

use super::*;
use hotline_sip::api::RequestHandle;

fn refer(w: &mut World, call: u64, to: &str) {
    let event = Event::Referred { call: CallHandle(call), request: RequestHandle(9), refer_to: to.into() };
    w.sip(&format!("call {call} REFER {to}"), event);
}

fn talking() -> World {
    let mut w = in_script(vec![hold()]);
    w.talking(ring(1), 2);
    w
}

#[test]
fn a_transfer_is_asked_for_and_made() {
    let mut w = talking();
    refer(&mut w, 2, "sip:600@hotline");
    w.decide("asked", None);
    w.command("release", NodeAction::ReleaseAgent { offer: offer_id(1) });
    expect(
        &w,
        "
call 2 REFER sip:600@hotline
    reply 202
    call 2: NOTIFY 100
    ask 3: agent 1 asks for 600
decision 3: asked
release
    call 2: NOTIFY 200 last
    call 2: hang up
    stop recording
    unbridge 1
    media 1: stop
    media 2: close
    ask 4: agent 1 ended: Command",
    );
}

fn second_call() -> hotline_wire::legs::DialogRef {
    hotline_wire::legs::DialogRef {
        sip_call_id: "second@phone".into(),
        local_tag: "phone".into(),
        remote_tag: "node".into(),
        remote_target: "sip:lee@192.0.2.1".to_string().into(),
        peer: "192.0.2.1:5060;transport=udp".into(),
    }
}

fn transfer() -> Verb {
    Verb::Transfer { target: "600".into(), ring_timeout_ms: 10_000, record: None, keys: None }
}

#[test]
fn an_attended_transfer_takes_the_second_call_over() {
    let mut w = talking();
    w.session.attends(CallHandle(2), second_call());
    refer(&mut w, 2, "sip:600@hotline?Replaces=second%40phone%3Bto-tag%3Dnode%3Bfrom-tag%3Dphone");
    w.decide("9:transfer", Some(vec![transfer()]));
    let ladder = w.ladder();
    let asked = ladder.find("ask 3: agent 1 asks for 600").unwrap();
    let told = ladder.find("call 2: NOTIFY 200 last\n    call 2: hang up").unwrap();
    let invited = ladder.find("Replaces: second@phone;to-tag=node;from-tag=phone").unwrap();
    assert!(asked < told && told < invited, "{ladder}");
    // Once: another transfer dials.
    w.forget();
    w.command("script", NodeAction::Script { label: "10:again".into(), script: vec![transfer()] });
    assert!(!w.ladder().contains("Replaces"), "{}", w.ladder());
}

#[test]
fn a_second_call_that_is_taken_over_too_late_is_dialled_instead() {
    let mut w = talking();
    w.session.attends(CallHandle(2), second_call());
    refer(&mut w, 2, "sip:600@hotline?Replaces=x");
    w.pass(10_001);
    w.command("script", NodeAction::Script { label: "9:late".into(), script: vec![transfer()] });
    let ladder = w.ladder();
    assert!(ladder.contains("NOTIFY 603 last") && !ladder.contains("Replaces:"), "{ladder}");
}

#[test]
fn a_transfer_that_nobody_makes_is_declined_in_the_end() {
    let mut w = talking();
    refer(&mut w, 2, "tel:+8610086");
    w.forget();
    refer(&mut w, 2, "sip:601@hotline");
    w.pass(10_000);
    refer(&mut w, 2, "sip:602@hotline");
    let ladder = w.ladder();
    assert!(ladder.contains("REFER sip:601@hotline\n    reply 603\n"), "one at a time: {ladder}");
    assert!(ladder.contains("call 2: NOTIFY 603 last\ncall 2 REFER sip:602@hotline\n    reply 202"), "{ladder}");
}

#[test]
fn callers_and_ringing_phones_may_not_transfer() {
    let mut w = talking();
    refer(&mut w, 1, "sip:600@hotline");
    refer(&mut w, 2, "sip:600@hotline?Replaces=x");
    refer(&mut w, 2, "mailto:x@y");
    expect(
        &w,
        "call 1 REFER sip:600@hotline\n reply 603\ncall 2 REFER sip:600@hotline?Replaces=x\n reply 603\n\
         call 2 REFER mailto:x@y\n reply 603",
    );
}
