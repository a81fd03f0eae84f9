//! Answering, playing, collecting digits, refusing.

use super::*;

#[test]
fn a_menu_with_barge_in() {
    let mut w = World::new();
    w.decide("menu", Some(vec![Verb::Answer, gather("welcome", 1)]));
    w.press("2");
    w.decide("bye", Some(vec![Verb::Play { prompts: vec![audio("bye")] }, Verb::Hangup]));
    w.played();
    let stats = LegStats { mos: 4.2, ..Default::default() };
    w.media("last statistics", MediaEvent::Stats { leg: MediaLegId(1), stats, last: true });
    w.decide("ended", None);
    expect(
        &w,
        "
INVITE
    180
    ask 1: arrived
decision 1: menu
    media 1: 192.0.2.9:4000 A
    200 [20002 RTP/AVP 8 101]
    media 1: play welcome
key 2
    media 1: stop
    ask 2: menu ended: digits \"2\"
decision 2: bye
    media 1: play bye
played
    call 1: hang up
    media 1: close
last statistics
    ask 3: call ended: Script mos 4.2
decision 3: ended
    over",
    );
}

#[test]
fn digits_end_by_number_terminator_or_silence() {
    let mut w = in_script(vec![gather("account", 4)]);
    w.press("12");
    w.pass(2_000);
    expect(
        &w,
        "
key 1
    media 1: stop
key 2
+2.0s
    ask 2: s ended: digits \"12\"",
    );

    let mut w = in_script(vec![gather("account", 0)]);
    w.press("123#");
    assert!(w.ladder().ends_with("ask 2: s ended: digits \"123\""));

    let mut w = in_script(vec![gather("account", 4)]);
    w.played();
    w.pass(10_000);
    expect(
        &w,
        "
played
+5.0s
    ask 2: s ended: digits \"\"
+7.0s
    media 1: play 440 Hz looped",
    );
}

#[test]
fn digits_pressed_ahead_answer_the_next_question() {
    let mut w = in_script(vec![gather("language", 1)]);
    w.press("12");
    w.forget();
    w.decide("menu", Some(vec![gather("topic", 1)]));
    expect(&w, "decision 2: menu\n ask 3: menu ended: digits \"2\"");
}

#[test]
fn a_secret_input_is_masked_while_it_lasts() {
    let mut w = World::new();
    let pin = Verb::Gather {
        prompts: vec![audio("pin")],
        max_digits: 2,
        terminators: String::new(),
        first_digit_ms: 5_000,
        next_digit_ms: 2_000,
        secret: true,
    };
    w.decide("pin", Some(vec![Verb::Answer, pin.clone()]));
    w.press("12");
    let ladder = w.ladder();
    let (on, off) = (ladder.find("secret true").unwrap(), ladder.find("secret false").unwrap());
    assert!(on < ladder.find("key 1").unwrap() && off > ladder.find("key 2").unwrap(), "{ladder}");

    // Also where something else comes in its place.
    let mut w = in_script(vec![pin]);
    w.command("script", NodeAction::Script { label: "x".into(), script: vec![hold()] });
    assert!(w.ladder().contains("secret false"), "{}", w.ladder());
}

#[test]
fn a_refusal_speaks_before_it_refuses() {
    let mut w = World::new();
    let prompts = vec![tone(950), audio("unknown")];
    w.decide("unknown", Some(vec![Verb::Reject { status: 404, prompts, retry_after_s: None }]));
    w.played();
    w.pass(300);
    expect(
        &w,
        "
INVITE
    180
    ask 1: arrived
decision 1: unknown
    media 1: 192.0.2.9:4000 A
    183 [20002 RTP/AVP 8 101]
    media 1: play 950 Hz + unknown
played
    404 Reason: Q.850;cause=1;text=\"unallocated number\"
    media 1: close
+0.3s
    ask 2: call ended: Script",
    );

    let mut w = World::new();
    w.decide("busy", Some(vec![Verb::Reject { status: 486, prompts: vec![], retry_after_s: Some(30) }]));
    assert!(
        w.ladder().contains(
            "    486 Retry-After: 30 Reason: Q.850;cause=17;text=\"user busy\"\n    ask 2: call ended: Script"
        ),
        "{}",
        w.ladder()
    );
}

#[test]
fn a_missing_prompt_is_said_and_the_call_goes_on() {
    let mut w = in_script(vec![]);
    w.decide("s2", Some(vec![Verb::Play { prompts: vec![audio("missing-a"), audio("hello")] }]));
    w.played();
    expect(
        &w,
        "
decision 2: s2
    media 1: play hello
played
    ask 3: s2 ended: Failed { reason: \"the prompt \\\"missing-a\\\" is not in the prompts bucket, or could not be fetched\" }",
    );

    // One that does not come counts as missing after a while; a menu then asks without words.
    let mut w = World::new();
    w.slow_prompts = true;
    w.decide("menu", Some(vec![Verb::Answer, gather("slow", 1)]));
    w.forget();
    w.pass(3_000);
    w.press("5");
    expect(&w, "key 5\n ask 2: menu ended: digits \"5\"");
}

#[test]
fn a_late_offer_is_answered_with_ours() {
    let mut w = World::with(None);
    w.decide("menu", Some(vec![Verb::Answer, gather("welcome", 1)]));
    let answer = Bytes::from_static(b"v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 8\r\n");
    w.sip("ACK with an answer", Event::Confirmed { call: CALLER, sdp: Some(answer) });
    expect(
        &w,
        "
INVITE
    180
    ask 1: arrived
decision 1: menu
    200 [20002 RTP/AVP 0 8 101]
ACK with an answer
    media 1: 192.0.2.9:4000 A
    media 1: play welcome",
    );
}

#[test]
fn an_unusable_description_is_refused() {
    let now = World::new().now();
    for (sdp, status) in [(&b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4 RTP/AVP 18\r\n"[..], 488), (b"nonsense", 488)] {
        let refused = Session::arrive(Arc::new(config()), now, arrival(Some(sdp)));
        assert_eq!(refused.err().map(|r| r.status), Some(status));
    }
}

#[test]
fn info_brings_digits_too() {
    let mut w = in_script(vec![gather("welcome", 1)]);
    let info = |content_type: &str, body: &'static str| Event::Info {
        call: CALLER,
        content_type: content_type.into(),
        body: Bytes::from_static(body.as_bytes()),
    };
    w.sip("INFO text", info("text/plain", "5"));
    w.sip("INFO dtmf-relay", info("application/dtmf-relay", "Signal= 5\r\nDuration=160\r\n"));
    expect(&w, "INFO text\nINFO dtmf-relay\n media 1: stop\n ask 2: s ended: digits \"5\"");
}
