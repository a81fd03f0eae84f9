//! Blind transfers that an agent's phone asks for.

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
