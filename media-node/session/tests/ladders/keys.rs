//! Keys that are sent: to the caller by a verb, to the other side of a transfer.

use super::*;
use hotline_wire::node::SentKeys;

/// An offer without telephone events.
const NO_EVENTS: &[u8] = b"v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 8\r\n";

fn keys(keys: &str, secret: bool) -> SentKeys {
    SentKeys { keys: keys.to_string().into(), secret }
}

/// An answered caller who made this offer.
fn answered(sdp: &'static [u8], takes_info: bool) -> World {
    let start = Instant::now();
    let now = Now { mono: start, wall: Timestamp::from_millis(1_000_000) };
    let arrival = Arrival { takes_info, ..arrival(Some(sdp)) };
    let session = Session::arrive(Arc::new(config()), now, arrival).unwrap();
    let mut w = World::around(session, start, "INVITE");
    w.decide("1:s", Some(vec![Verb::Answer, Verb::Play { prompts: vec![audio("hello")] }]));
    w.played();
    w.forget();
    w
}

#[test]
fn a_verb_sends_keys_with_pauses_and_ends_after_the_last() {
    let mut w = answered(OFFER, true);
    w.decide("2:k", Some(vec![Verb::SendKeys(keys("12,w3x#", false)), Verb::Play { prompts: vec![audio("bye")] }]));
    w.pass(5_000);
    expect(
        &w,
        "
decision 2: 2:k
    media 1: stop
    media 1: keys 12
+1.9s
    media 1: keys 3#
+2.3s
    media 1: play bye",
    );
}

#[test]
fn info_is_used_where_nothing_was_agreed_on_and_the_peer_takes_it() {
    let mut w = answered(NO_EVENTS, true);
    w.decide("2:k", Some(vec![Verb::SendKeys(keys("w4#", true))]));
    w.pass(2_000);
    expect(
        &w,
        "
decision 2: 2:k
    media 1: stop
    media 1: secret true
+1.0s
    call 1: INFO Signal=4 Duration=100
+1.2s
    call 1: INFO Signal=# Duration=100
+1.4s
    media 1: secret false
    ask 3: 2:k ended: Done",
    );
    // Otherwise the engine makes tones of them.
    let mut w = answered(NO_EVENTS, false);
    w.decide("2:k", Some(vec![Verb::SendKeys(keys("4#", false))]));
    w.pass(2_000);
    expect(&w, "decision 2: 2:k\n media 1: stop\n media 1: keys 4#\n +0.4s\n ask 3: 2:k ended: Done");
}

#[test]
fn nothing_to_send_is_no_wait_and_whatever_comes_instead_stops_it() {
    let mut w = answered(OFFER, false);
    w.decide("2:k", Some(vec![Verb::SendKeys(keys("xyz", true))]));
    expect(&w, "decision 2: 2:k\n media 1: stop\n ask 3: 2:k ended: Done");

    let mut w = answered(OFFER, false);
    w.decide("2:k", Some(vec![Verb::SendKeys(keys("1w2", true))]));
    let script = vec![Verb::Play { prompts: vec![audio("other")] }];
    w.command("script", NodeAction::Script { label: "3:other".into(), script });
    w.pass(5_000);
    expect(
        &w,
        "
decision 2: 2:k
    media 1: stop
    media 1: secret true
    media 1: keys 1
script
    media 1: secret false
    media 1: play other",
    );
    // Somebody who hangs up hears no more.
    let mut w = answered(OFFER, false);
    w.decide("2:k", Some(vec![Verb::SendKeys(keys("1w2", false))]));
    w.forget();
    w.sip("BYE", Event::Ended { call: CALLER, by_peer: true, fault: None, reasons: vec![] });
    w.pass(5_000);
    assert!(!w.ladder().contains("keys"), "{}", w.ladder());
}

#[test]
fn an_extension_is_sent_to_the_other_side_of_a_transfer() {
    let (target, keys) = ("+8610".to_string(), Some(keys("w77", false)));
    let mut w = in_script(vec![Verb::Transfer { target, ring_timeout_ms: 20_000, record: None, keys }]);
    w.forget();
    w.answered(2, 8);
    w.forget();
    w.pass(3_000);
    expect(&w, "+1.0s\n media 2: keys 77");
}
