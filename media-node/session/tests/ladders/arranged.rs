//! Hold, consult, conference, listen, whisper: who hears whom, and what is recorded of it.

use super::*;

fn music() -> Prompt {
    audio("music")
}

/// Everybody named with a mode, the caller talking or held.
fn picture(caller_held: bool, agents: &[(u128, LegMode)]) -> Arrangement {
    Arrangement {
        caller: if caller_held { CallerMode::Held { music: music() } } else { CallerMode::Talks },
        agents: agents.iter().map(|(n, mode)| (offer_id(*n), mode.clone())).collect(),
    }
}

fn arrange(arrangement: Arrangement) -> NodeAction {
    NodeAction::Arrange { arrangement }
}

/// An offer that comes to a conversation.
fn joining(n: u128, arrangement: Arrangement) -> RingAgent {
    RingAgent { arrange: Some(arrangement), record: None, ..ring(n) }
}

use LegMode::{Held, Listens, Talks, Whispers};

/// A caller who talks with agent 1.
fn talking() -> World {
    let mut w = in_script(vec![hold()]);
    w.talking(ring(1), 2);
    w
}

#[test]
fn a_caller_on_hold_hears_music_and_is_not_recorded() {
    let mut w = talking();
    w.command("hold", arrange(picture(true, &[(1, Talks)])));
    w.command("again", arrange(picture(true, &[(1, Talks)])));
    w.command("resume", arrange(picture(false, &[(1, Talks)])));
    expect(
        &w,
        "
hold
    unbridge 1
    media 1: play music looped
    record no more media 1
again
resume
    media 1: stop
    bridge 1 2
    record media 1 on 0",
    );
}

#[test]
fn a_consultation_becomes_a_conference_and_then_a_transfer() {
    let mut w = talking();
    w.command("consult", NodeAction::Ring(joining(2, picture(true, &[(1, Talks), (2, Talks)]))));
    w.answered(3, 8);
    w.decide("consult", None);
    w.command("conference", arrange(picture(false, &[(1, Talks), (2, Talks)])));
    w.command("release 1", NodeAction::ReleaseAgent { offer: offer_id(1) });
    w.decide("transferred", None);
    w.bye(3);
    expect(
        &w,
        "
consult
    call 3: INVITE \"billing\" <sip:+8613800138000@hotline> [20006 RTP/AVP 8 0 101]
call 3 200
    media 3: 192.0.2.20:6000 A
    bridge 2 3
    media 1: play music looped
    record no more media 1
    record media 3 on 1
    ask 3: offer 2 answered
decision 3: consult
conference
    media 1: stop
    mix 1, 2, 3
    record media 1 on 0
release 1
    call 2: hang up
    bridge 1 3
    media 2: close
    ask 4: agent 1 ended: Command
decision 4: transferred
call 3 BYE
    stop recording
    unbridge 1
    media 1: stop
    media 3: close
    ask 5: agent 2 ended: HungUp",
    );
}

#[test]
fn a_supervisor_listens_whispers_and_barges_in() {
    let mut w = talking();
    w.command("listen", NodeAction::Ring(joining(9, picture(false, &[(1, Talks), (9, Listens)]))));
    w.answered(3, 8);
    w.decide("listened to", None);
    w.forget();
    w.command("whisper", arrange(picture(false, &[(1, Talks), (9, Whispers { to: offer_id(1) })])));
    w.command("barge", arrange(picture(false, &[(1, Talks), (9, Talks)])));
    w.command("mute the agent", arrange(picture(false, &[(1, Listens), (9, Talks)])));
    w.bye(3);
    expect(
        &w,
        "
whisper
    mix 1, 2, 3 to 2
barge
    mix 1, 2, 3
    record media 3 on 1
mute the agent
    mix 1, 2 mute, 3
    record no more media 2
call 3 BYE
    mix 1, 2 mute
    media 3: close
    ask 4: agent 9 ended: HungUp",
    );
}

#[test]
fn a_listener_is_mixed_in_without_being_heard_or_recorded() {
    let mut w = talking();
    w.command("listen", NodeAction::Ring(joining(9, picture(false, &[(1, Talks), (9, Listens)]))));
    w.forget();
    w.answered(3, 8);
    expect(&w, "call 3 200\n media 3: 192.0.2.20:6000 A\n mix 1, 2, 3 mute\n ask 3: offer 9 answered");
}

#[test]
fn an_agent_who_is_held_or_not_named_hears_music() {
    let mut w = talking();
    w.command("both", NodeAction::Ring(joining(2, picture(false, &[(1, Held { music: music() }), (2, Talks)]))));
    w.forget();
    w.answered(3, 8);
    w.decide("held", None);
    w.command("agent 1 alone", arrange(picture(false, &[(1, Talks)])));
    w.bye(2);
    expect(
        &w,
        "
call 3 200
    media 3: 192.0.2.20:6000 A
    bridge 1 3
    media 2: play music looped
    record no more media 2
    record media 3 on 1
    ask 3: offer 2 answered
decision 3: held
agent 1 alone
    media 2: stop
    bridge 1 2
    media 3: play 440 Hz looped
    record no more media 3
    record media 2 on 1
call 2 BYE
    unbridge 1
    media 2: close
    ask 4: agent 1 ended: HungUp",
    );
}

#[test]
fn a_phone_on_hold_leaves_the_others_talking() {
    let mut w = talking();
    w.command("conference", NodeAction::Ring(joining(2, picture(false, &[(1, Talks), (2, Talks)]))));
    w.answered(3, 8);
    w.decide("conference", None);
    w.forget();
    let offer = |direction: &str| {
        let sdp = format!("v=0\r\nc=IN IP4 192.0.2.20\r\nm=audio 6000 RTP/AVP 8\r\na={direction}\r\n");
        Event::Reoffered { call: CallHandle(3), sdp: Some(sdp.into()) }
    };
    w.sip("hold", offer("sendonly"));
    w.sip("resume", offer("sendrecv"));
    expect(
        &w,
        "
hold
    call 3: reanswer [20006 RTP/AVP 8 recvonly]
    media 3: 192.0.2.20:6000 A mute
    mix 3
    bridge 1 2
resume
    call 3: reanswer [20006 RTP/AVP 8]
    media 3: 192.0.2.20:6000 A
    mix 1, 2, 3",
    );
}

#[test]
fn music_that_is_still_on_its_way_begins_when_it_comes() {
    let mut w = talking();
    w.slow_prompts = true;
    let held = Arrangement { caller: CallerMode::Held { music: audio("fresh") }, agents: Default::default() };
    w.command("hold", arrange(held));
    w.session.loaded(w.now(), vec![("fresh".into(), Some(b"fresh"[..].into()))]);
    w.drain();
    assert!(w.ladder().ends_with("media 1: play fresh looped"), "{}", w.ladder());
}

#[test]
fn nobody_is_arranged_before_anybody_is_joined() {
    let mut w = in_script(vec![hold()]);
    w.command("too early", arrange(picture(true, &[(1, Talks)])));
    expect(&w, "too early");
}

#[test]
fn the_caller_leaves_a_conference() {
    let mut w = talking();
    w.command("conference", NodeAction::Ring(joining(2, picture(false, &[(1, Talks), (2, Talks)]))));
    w.answered(3, 8);
    w.forget();
    w.bye(1);
    expect(
        &w,
        "
call 1 BYE
    stop recording
    call 2: hang up
    media 2: close
    call 3: hang up
    media 3: close
    media 1: close",
    );
}

#[test]
fn a_recording_is_paused_and_resumed() {
    let mut w = talking();
    let pause = |paused| NodeAction::PauseRecording { recording: RecordingId::from_u128(1), paused };
    w.command("pause", pause(true));
    w.command("resume", pause(false));
    w.command("another", NodeAction::PauseRecording { recording: RecordingId::from_u128(77), paused: true });
    expect(&w, "pause\n pause recording true\nresume\n pause recording false\nanother");
}

#[test]
fn somebody_outside_is_asked_for_advice_by_number_and_keeps_the_caller() {
    let mut w = talking();
    let number = Some("+4930123456".to_string().into());
    let asked = RingAgent { number, ..joining(2, picture(true, &[(1, Talks), (2, Talks)])) };
    w.command("consult", NodeAction::Ring(asked));
    w.answered(3, 8);
    w.decide("consult", None);
    assert_eq!(w.dialled, ["+4930123456"], "through a gateway, not to a phone");
    w.command("hand over", arrange(picture(false, &[(2, Talks)])));
    w.command("release 1", NodeAction::ReleaseAgent { offer: offer_id(1) });
    w.decide("handed over", None);
    let ladder = w.ladder();
    let end = ladder.split("hand over").nth(1).unwrap_or_default();
    assert!(end.contains("bridge 1 3"), "{ladder}");
    w.bye(3);
    assert!(w.ladder().contains("agent 2 ended"), "{}", w.ladder());
}
