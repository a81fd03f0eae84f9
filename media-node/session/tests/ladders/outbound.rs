//! Calls that the node places: call-backs with an agent first or the party first, gateways that
//! fail, legs taken over from a lost node.

use super::*;

fn party(agent: Option<RingAgent>) -> Mission {
    Mission::Call(Box::new(DialParty {
        target: "+8613800138000".to_string().into(),
        caller_id: "+861055550100".into(),
        ring_timeout_ms: 30_000,
        agent,
        ringback: vec![audio("ringback")],
    }))
}

fn lost_dialog() -> DialogRef {
    DialogRef {
        sip_call_id: "abc".into(),
        local_tag: "ours".into(),
        remote_tag: "theirs".into(),
        remote_target: "sip:caller@192.0.2.9".to_string().into(),
        peer: "192.0.2.9:5060;transport=udp".into(),
    }
}

#[test]
fn the_party_is_called_and_the_decision_plays() {
    let mut w = World::placing(party(None), 1);
    w.ringing(2);
    w.decide("1:wait", None);
    w.answered(2, 8);
    w.decide("2:hello", Some(vec![Verb::Play { prompts: vec![audio("hello")] }, Verb::Hangup]));
    w.played();
    w.pass(300);
    w.decide("3:end", None);
    expect(
        &w,
        "
dial
    call 2: INVITE <sip:+861055550100@hotline> [20002 RTP/AVP 0 8 101]
call 2 180
    ask 41: party rings
decision 41: 1:wait
call 2 200
    media 1: 192.0.2.20:6000 A
    ask 42: party answered
decision 42: 2:hello
    media 1: play hello
played
    call 2: hang up
    media 1: close
+0.3s
    ask 43: call ended: Script
decision 43: 3:end
    over",
    );
}

#[test]
fn the_agent_first_hears_ringback_until_the_party_answers() {
    let mut w = World::placing(party(Some(ring(1))), 1);
    w.ringing(2);
    w.decide("1:ring", None);
    w.answered(2, 0);
    w.decide("1:ring", None);
    w.ringing(3);
    w.decide("1:ring", None);
    w.answered(3, 0);
    w.decide("2:talk", None);
    w.forget();
    w.bye(3);
    w.pass(300);
    let mut all = World::placing(party(Some(ring(1))), 1);
    all.answered(2, 0);
    all.ringing(3);
    all.answered(3, 0);
    expect(
        &all,
        "
dial
    call 2: INVITE \"billing\" <sip:+8613800138000@hotline> [20002 RTP/AVP 0 8 101]
call 2 200
    media 1: 192.0.2.20:6000 Mu
    ask 41: offer 1 answered
    media 1: play ringback looped
    call 3: INVITE <sip:+861055550100@hotline> [20004 RTP/AVP 0 8 101]
call 3 180
call 3 200
    media 2: 192.0.2.20:6000 Mu
    media 1: stop
    bridge 2 1
    record 2 1",
    );
    expect(
        &w,
        "
call 3 BYE
    stop recording
    call 2: hang up
    media 1: close
    media 2: close
+0.3s
    ask 45: call ended: HungUp",
    );
}

#[test]
fn the_agent_hangs_up_before_or_after_the_party_answers() {
    let mut w = World::placing(party(Some(ring(1))), 1);
    w.answered(2, 0);
    w.forget();
    w.bye(2);
    w.decide("1:ring", None);
    w.decide("1:gone", None);
    w.decide("1:over", None);
    expect(
        &w,
        "
call 2 BYE
    media 1: close
    call 3: hang up
    media 2: close
decision 41: 1:ring
    ask 42: agent 1 ended: HungUp
decision 42: 1:gone
    ask 43: party failed: NoAnswer None
decision 43: 1:over
    over",
    );

    let mut w = World::placing(party(Some(ring(1))), 1);
    w.answered(2, 0);
    w.answered(3, 0);
    w.decide("1:ring", None);
    w.decide("2:talk", None);
    w.forget();
    w.bye(2);
    w.decide("3:survey", Some(vec![gather("survey", 1)]));
    expect(
        &w,
        "
call 2 BYE
    stop recording
    unbridge 2
    media 2: stop
    media 1: close
    ask 43: agent 1 ended: HungUp
decision 43: 3:survey
    media 2: play survey",
    );
}

#[test]
fn an_agent_who_does_not_take_the_call_back_leaves_the_party_alone() {
    let mut w = World::placing(party(Some(ring(1))), 1);
    w.forget();
    w.refused(2, 486);
    w.decide("1:no", None);
    expect(&w, "call 2 486\n media 1: close\n ask 41: offer 1 Declined Some(486)\ndecision 41: 1:no\n over");
}

#[test]
fn why_a_party_is_not_reached() {
    for (status, reason) in [
        (486, DialFailure::Busy),
        (600, DialFailure::Busy),
        (404, DialFailure::NoSuchNumber),
        (484, DialFailure::NoSuchNumber),
        (480, DialFailure::NoAnswer),
        (603, DialFailure::Declined),
        (403, DialFailure::Declined),
        (407, DialFailure::Unreachable),
        (503, DialFailure::Unreachable),
    ] {
        let mut w = World::placing(party(None), 1);
        w.forget();
        w.refused(2, status);
        w.decide("end", None);
        let line = format!("call 2 {status}\n media 1: close\n ask 41: party failed: {reason:?} Some({status})");
        expect(&w, &format!("{line}\ndecision 41: end\n over"));
    }

    let mut w = World::placing(party(None), 1);
    w.ringing(2);
    w.decide("1:wait", None);
    w.forget();
    w.pass(30_000);
    expect(
        &w,
        "+30.0s\n call 2: hang up (Q850 19 no answer from user)\n media 1: close\n ask 42: party failed: NoAnswer None",
    );

    let w = World::placing(party(None), 0);
    expect(&w, "dial\n ask 41: party failed: Unreachable None");
}

#[test]
fn the_next_gateway_is_tried_where_one_refuses_or_says_nothing() {
    let mut w = World::placing(party(None), 3);
    w.refused(2, 503);
    w.pass(4_000);
    w.sip("call 4 100", Event::Trying { call: CallHandle(4) });
    w.pass(10_000);
    w.answered(4, 8);
    expect(
        &w,
        "
dial
    call 2: INVITE <sip:+861055550100@hotline> [20002 RTP/AVP 0 8 101]
call 2 503
    media 1: close
    call 3: INVITE <sip:+861055550100@hotline> [20004 RTP/AVP 0 8 101]
+4.0s
    call 3: hang up (Q850 102 recovery on timer expiry)
    media 2: close
    call 4: INVITE <sip:+861055550100@hotline> [20006 RTP/AVP 0 8 101]
call 4 100
call 4 200
    media 3: 192.0.2.20:6000 A
    ask 41: party answered",
    );

    // A busy party is busy everywhere.
    let mut w = World::placing(party(None), 3);
    w.forget();
    w.refused(2, 486);
    expect(&w, "call 2 486\n media 1: close\n ask 41: party failed: Busy Some(486)");
}

#[test]
fn a_command_ends_a_call_that_is_being_placed() {
    let mut w = World::placing(party(Some(ring(1))), 1);
    w.answered(2, 0);
    w.forget();
    w.command("end", NodeAction::End);
    w.decide("1:ring", None);
    expect(
        &w,
        "
end
    call 2: hang up (Q850 31 normal, unspecified)
    media 1: close
    call 3: hang up (Q850 31 normal, unspecified)
    media 2: close
decision 41: 1:ring
    ask 42: call ended: Command",
    );
}

#[test]
fn a_leg_is_taken_over_from_a_lost_node() {
    let script = vec![Verb::Play { prompts: vec![audio("sorry")] }, hold()];
    let mission = Mission::TakeOver { dialog: lost_dialog(), label: "7:again".into(), script };
    let mut w = World::placing(mission.clone(), 1);
    let new = DialogRef { sip_call_id: "new".into(), ..lost_dialog() };
    w.session.dialog_known(CallHandle(2), new, false);
    w.answered(2, 8);
    w.decide("7:again", None);
    w.command("stale", NodeAction::Script { label: "6:old".into(), script: vec![Verb::Hangup] });
    expect(
        &w,
        "
dial
    call 2: INVITE <sip:anonymous@hotline> [20002 RTP/AVP 0 8 101] Replaces: abc;to-tag=theirs;from-tag=ours Require: replaces
call 2 200
    media 1: 192.0.2.20:6000 A
    ask 41: reanchored as new
    media 1: play sorry
decision 41: 7:again
stale",
    );

    let mut w = World::placing(mission.clone(), 1);
    w.forget();
    w.refused(2, 481);
    w.decide("end", None);
    expect(&w, "call 2 481\n media 1: close\n ask 41: reanchor failed: Some(481)\ndecision 41: end\n over");

    let mut w = World::placing(mission, 1);
    w.ringing(2);
    w.forget();
    w.pass(8_000);
    expect(
        &w,
        "+8.0s\n call 2: hang up (Q850 19 no answer from user)\n media 1: close\n ask 41: reanchor failed: None",
    );
}

#[test]
fn an_agents_phone_is_asked_to_replace_its_dialog() {
    let mut w = in_script(vec![hold()]);
    let mut agent = ring(1);
    agent.replaces = Some(lost_dialog());
    w.command("ring", NodeAction::Ring(agent));
    assert!(w.ladder().ends_with("Replaces: abc;to-tag=theirs;from-tag=ours Require: replaces"), "{}", w.ladder());
}

#[test]
fn scripts_that_are_out_of_date_are_ignored() {
    let mut w = World::new();
    w.decide("1:menu", Some(vec![Verb::Answer, gather("menu", 1)]));
    w.forget();
    let play = |key: &str| vec![Verb::Play { prompts: vec![audio(key)] }];
    w.command("third", NodeAction::Script { label: "3:c".into(), script: play("third") });
    w.command("second", NodeAction::Script { label: "2:b".into(), script: play("second") });
    w.command("again", NodeAction::Script { label: "3:c".into(), script: play("other") });
    w.command("fourth", NodeAction::Script { label: "4:d".into(), script: play("fourth") });
    expect(&w, "third\n media 1: play third\nsecond\nagain\nfourth\n media 1: play fourth");
}
