//! Decisions that fail, commands that repeat, calls that end early, nodes that leave.

use super::*;

fn pinned() -> Fallback {
    Fallback { apology: vec![audio("sorry")], music: audio("calm"), lang: Lang::Zh, give_up_ms: 30_000 }
}

#[test]
fn a_slow_decision_is_bridged_by_the_pinned_fallback() {
    let mut w = World::new();
    w.decide_with("menu", Some(vec![Verb::Answer, gather("menu", 1)]), Some(pinned()));
    w.press("1");
    w.forget();
    w.pass(1_999);
    expect(&w, "");
    w.pass(1);
    w.played();
    w.decide("next", Some(vec![gather("next", 1)]));
    expect(
        &w,
        "
+2.0s
    media 1: play sorry
played
    media 1: play calm looped
decision 2: next
    media 1: stop
    media 1: play next",
    );
}

#[test]
fn a_failed_decision_is_asked_for_again_and_again() {
    let mut w = World::new();
    w.decide_with("menu", Some(vec![Verb::Answer, gather("menu", 1)]), Some(pinned()));
    w.press("1");
    w.forget();
    w.fail_decision();
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let before = w.elapsed_ms;
        while w.asked.is_none() {
            w.pass(10);
        }
        pauses.push(w.elapsed_ms - before);
        assert_eq!(w.asked.as_ref().unwrap().seq, 2, "a repeat carries the same number");
        w.fail_decision();
    }
    assert!(pauses[0] >= 250 && pauses[0] < 400, "{pauses:?}");
    assert!(pauses.windows(2).all(|p| p[1] >= p[0]), "they grow: {pauses:?}");
    assert!(pauses.iter().all(|p| *p <= 7_600), "{pauses:?}");
    assert_eq!(w.ladder().matches("play sorry").count(), 1);
    while w.asked.is_none() {
        w.pass(10);
    }
    w.forget();
    w.decide("menu2", Some(vec![gather("again", 1)]));
    expect(&w, "decision 2: menu2\n media 1: stop\n media 1: play again");
}

#[test]
fn the_fallback_has_an_end() {
    let mut w = World::new();
    w.decide_with("menu", Some(vec![Verb::Answer, gather("menu", 1)]), Some(pinned()));
    w.press("1");
    w.pass(32_000);
    assert!(
        w.ladder().contains("call 1: hang up 503 (Q850 41 temporary failure)\n    media 1: close"),
        "{}",
        w.ladder()
    );
}

#[test]
fn without_a_first_decision_the_caller_hears_early_media() {
    let mut w = World::new();
    w.pass(2_000);
    expect(
        &w,
        "
INVITE
    180
    ask 1: arrived
+2.0s
    media 1: 192.0.2.9:4000 A
    183 [20002 RTP/AVP 8 101]
    media 1: play 440 Hz looped",
    );
    w.forget();
    w.decide("menu", Some(vec![Verb::Answer, gather("menu", 1)]));
    expect(&w, "decision 1: menu\n media 1: stop\n 200 [20002 RTP/AVP 8 101]\n media 1: play menu");
}

#[test]
fn neither_talk_nor_music_is_disturbed_by_failing_decisions() {
    let mut w = in_script(vec![hold()]);
    w.command("ring", NodeAction::Ring(ring(1)));
    w.ringing(2);
    w.forget();
    w.fail_decision();
    w.pass(1_000);
    w.answered(2, 8);
    w.pass(60_000);
    assert!(!w.ladder().contains("440 Hz"), "{}", w.ladder());
    assert!(w.ladder().contains("bridge 1 2"));
}

#[test]
fn inputs_wait_their_turn_and_keep_their_order() {
    let mut w = in_script(vec![hold()]);
    w.command("ring", NodeAction::Ring(ring(1)));
    w.ringing(2);
    w.answered(2, 8);
    w.bye(1);
    w.pass(300);
    w.forget();
    w.decide("queue", None);
    w.decide("talk", None);
    w.decide("ended", None);
    expect(
        &w,
        "
decision 2: queue
    ask 3: offer 1 answered
decision 3: talk
    ask 4: call ended: HungUp
decision 4: ended",
    );
}

#[test]
fn repeated_expired_and_late_commands_change_nothing() {
    let mut w = in_script(vec![hold()]);
    let command = |id: u128, expires: i64| NodeCommand {
        id: CommandId::from_u128(id),
        contact: ContactId::from_u128(7),
        expires: Timestamp::from_millis(expires),
        action: NodeAction::Ring(ring(id)),
    };
    w.send("expired", command(900, 999_999));
    w.send("fresh", command(901, 2_000_000));
    w.send("repeat", command(901, 2_000_000));
    w.bye(1);
    w.send("too late", command(902, 2_000_000));
    expect(
        &w,
        "
expired
fresh
    call 2: INVITE \"billing\" <sip:+8613800138000@hotline> [20004 RTP/AVP 8 0 101]
repeat
call 1 BYE
    call 2: hang up
    media 2: close
    media 1: close
too late",
    );
}

#[test]
fn a_caller_who_cancels_is_reported() {
    let mut w = World::new();
    w.sip("CANCEL", Event::Cancelled { call: CALLER, reasons: vec![] });
    w.decide("menu", Some(vec![Verb::Answer, gather("menu", 1)]));
    w.decide("ended", None);
    expect(
        &w,
        "
INVITE
    180
    ask 1: arrived
CANCEL
decision 1: menu
    ask 2: call ended: Cancelled
decision 2: ended
    over",
    );
}

#[test]
fn the_end_of_a_call_is_retried_long_and_then_given_up() {
    let mut w = in_script(vec![hold()]);
    w.bye(1);
    w.pass(300);
    w.fail_decision();
    let mut tries = 1;
    while !w.over {
        w.pass(1_000);
        if w.asked.is_some() {
            tries += 1;
            w.fail_decision();
        }
    }
    assert!(tries > 80, "{tries}");
    assert!((600_000..=610_000).contains(&w.elapsed_ms), "{}", w.elapsed_ms);
}

#[test]
fn a_draining_node_ends_what_is_left() {
    let mut w = in_script(vec![hold()]);
    w.session.drain(w.now());
    w.drain();
    w.pass(300);
    expect(
        &w,
        "call 1: hang up 503 (Q850 41 temporary failure)\n media 1: close\n+0.3s\n ask 2: call ended: NodeDrained",
    );
}

#[test]
fn a_caller_without_a_voice_is_lost() {
    let mut w = in_script(vec![hold()]);
    w.media("silent", MediaEvent::Silent { leg: MediaLegId(1), for_ms: 60_000 });
    w.pass(300);
    expect(
        &w,
        "silent\n call 1: hang up (Q850 102 recovery on timer expiry)\n media 1: close\n+0.3s\n ask 2: call ended: Lost",
    );
}

#[test]
fn an_answer_to_something_else_is_ignored() {
    let mut w = World::new();
    let decision = Decision {
        tenant: TenantId::from_u128(3),
        label: "x".into(),
        script: Some(vec![Verb::Hangup]),
        fallback: None,
        tap: None,
    };
    w.session.decided(w.now(), 9, Ok(decision.clone()));
    w.drain();
    w.decide("menu", Some(vec![Verb::Answer, gather("menu", 1)]));
    w.forget();
    w.session.decided(w.now(), 1, Ok(decision));
    w.drain();
    expect(&w, "");
}
