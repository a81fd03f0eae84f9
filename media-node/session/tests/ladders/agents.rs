//! Waiting, ringing agents, joining, parting, transfers, hold.

use super::*;

#[test]
fn an_agent_is_rung_while_music_plays_and_joined_at_the_answer() {
    let mut w = World::new();
    w.decide("queue", Some(vec![Verb::Answer, hold()]));
    w.pass(20_000);
    w.played();
    w.command("ring", NodeAction::Ring(ring(1)));
    w.ringing(2);
    w.decide("queue", None);
    w.answered(2, 8);
    w.decide("talk", None);
    w.bye(2);
    w.decide("survey", Some(vec![gather("survey", 1)]));
    let stopped = MediaEvent::RecordingStopped { token: w.recording.unwrap(), duration_ms: 4_000, failure: None };
    w.media("recording stopped", stopped);
    w.bye(1);
    w.pass(300);
    w.decide("ended", None);
    expect(
        &w,
        "
INVITE
    180
    ask 1: arrived
decision 1: queue
    media 1: 192.0.2.9:4000 A
    200 [20002 RTP/AVP 8 101]
    media 1: play music looped
+20.0s
    media 1: play wait
played
    media 1: play music looped
ring
    call 2: INVITE \"billing\" <sip:+8613800138000@hotline> [20004 RTP/AVP 8 0 101]
call 2 180
    ask 2: offer 1 rings
decision 2: queue
call 2 200
    media 2: 192.0.2.20:6000 A
    media 1: stop
    bridge 1 2
    record 1 2
    ask 3: offer 1 answered
decision 3: talk
call 2 BYE
    stop recording
    unbridge 1
    media 1: stop
    media 2: close
    ask 4: agent 1 ended: HungUp
decision 4: survey
    media 1: play survey
recording stopped
    spooled 4000 ms
call 1 BYE
    media 1: close
+20.3s
    ask 5: call ended: HungUp
decision 5: ended
    over",
    );
}

#[test]
fn the_caller_leaves_while_the_agent_rings_or_talks() {
    let mut w = in_script(vec![hold()]);
    w.command("ring", NodeAction::Ring(ring(1)));
    w.bye(1);
    w.pass(300);
    expect(
        &w,
        "
ring
    call 2: INVITE \"billing\" <sip:+8613800138000@hotline> [20004 RTP/AVP 8 0 101]
call 1 BYE
    call 2: hang up
    media 2: close
    media 1: close
+0.3s
    ask 2: call ended: HungUp",
    );

    let mut w = in_script(vec![hold()]);
    w.command("ring", NodeAction::Ring(ring(1)));
    w.answered(2, 8);
    w.forget();
    w.bye(1);
    expect(
        &w,
        "
call 1 BYE
    stop recording
    call 2: hang up
    media 2: close
    media 1: close",
    );
    // An answer that crosses the CANCEL, or anything else of that leg, changes nothing.
    w.forget();
    w.answered(2, 8);
    w.bye(2);
    expect(&w, "call 2 200\ncall 2 BYE");
}

#[test]
fn an_offer_that_is_not_taken_goes_back_while_the_music_goes_on() {
    let failed = |status| Event::Failed { call: CallHandle(2), status, phrase: String::new(), reasons: vec![] };
    for (event, line) in [
        (failed(486), "offer 1 Declined Some(486)"),
        (failed(603), "offer 1 Declined Some(603)"),
        (failed(408), "offer 1 Unreachable Some(408)"),
        (failed(503), "offer 1 Unreachable Some(503)"),
    ] {
        let mut w = in_script(vec![hold()]);
        w.command("ring", NodeAction::Ring(ring(1)));
        w.forget();
        w.sip("refused", event);
        expect(&w, &format!("refused\n media 2: close\n ask 2: {line}"));
    }

    let mut w = in_script(vec![hold()]);
    w.command("ring", NodeAction::Ring(ring(1)));
    w.forget();
    w.pass(15_000);
    expect(&w, "+15.0s\n call 2: hang up (Q850 18 no user responding)\n media 2: close\n ask 2: offer 1 TimedOut None");

    let mut w = in_script(vec![hold()]);
    w.no_route = true;
    w.command("ring", NodeAction::Ring(ring(1)));
    expect(&w, "ring\n ask 2: offer 1 Unreachable None");

    let mut w = in_script(vec![hold()]);
    w.command("ring", NodeAction::Ring(ring(1)));
    w.forget();
    w.command("rescind", NodeAction::Rescind { offer: offer_id(1) });
    expect(
        &w,
        "rescind\n call 2: hang up (Q850 31 normal, unspecified)\n media 2: close\n ask 2: offer 1 Rescinded None",
    );
}

#[test]
fn the_first_of_several_to_answer_wins() {
    let mut w = in_script(vec![hold()]);
    w.command("ring 1", NodeAction::Ring(ring(1)));
    w.command("ring 2", NodeAction::Ring(ring(2)));
    w.forget();
    w.answered(3, 8);
    expect(
        &w,
        "
call 3 200
    media 3: 192.0.2.20:6000 A
    call 2: hang up (Sip 200 Call completed elsewhere)
    media 2: close
    ask 2: offer 1 Rescinded None
    media 1: stop
    bridge 1 3
    record 1 3",
    );
    // One who comes later is told at once.
    w.forget();
    w.decide("queue", None);
    w.decide("talk", None);
    w.command("ring 3", NodeAction::Ring(ring(3)));
    expect(
        &w,
        "
decision 2: queue
    ask 3: offer 2 answered
decision 3: talk
ring 3
    ask 4: offer 3 Rescinded None",
    );
}

#[test]
fn a_script_decided_before_the_answer_does_not_part_the_legs() {
    let mut w = in_script(vec![gather("menu", 1)]);
    w.press("1");
    w.command("ring overtakes the decision", NodeAction::Ring(ring(1)));
    w.answered(2, 8);
    w.forget();
    w.decide("queue", Some(vec![hold()]));
    w.decide("talk", None);
    expect(&w, "decision 2: queue\n ask 3: offer 1 answered\ndecision 3: talk");
}

#[test]
fn a_whisper_is_for_the_agent_alone() {
    let mut w = in_script(vec![hold()]);
    let mut offer = ring(1);
    offer.whisper = vec![audio("vip")];
    w.command("ring", NodeAction::Ring(offer));
    w.forget();
    w.answered(2, 8);
    w.played();
    expect(
        &w,
        "
call 2 200
    media 2: 192.0.2.20:6000 A
    media 2: play vip
played
    media 1: stop
    bridge 1 2
    record 1 2
    ask 2: offer 1 answered",
    );
}

#[test]
fn a_command_ends_the_agents_leg_or_everything() {
    let mut w = in_script(vec![hold()]);
    w.command("ring", NodeAction::Ring(ring(1)));
    w.answered(2, 8);
    w.forget();
    w.decide("talk", None);
    w.command("release", NodeAction::ReleaseAgent { offer: offer_id(1) });
    expect(
        &w,
        "
decision 2: talk
release
    call 2: hang up
    stop recording
    unbridge 1
    media 1: stop
    media 2: close
    ask 3: agent 1 ended: Command",
    );
    w.forget();
    w.command("end", NodeAction::End);
    assert!(w.ladder().starts_with("end\n    call 1: hang up"), "{}", w.ladder());
}

#[test]
fn a_new_script_takes_the_caller_from_the_agent() {
    let mut w = in_script(vec![hold()]);
    w.command("ring", NodeAction::Ring(ring(1)));
    w.answered(2, 8);
    w.decide("talk", None);
    w.forget();
    let script = vec![Verb::Play { prompts: vec![audio("closing")] }];
    w.command("script", NodeAction::Script { label: "closing".into(), script });
    expect(
        &w,
        "
script
    call 2: hang up
    stop recording
    unbridge 1
    media 1: stop
    media 2: close
    ask 3: agent 1 ended: Command
    media 1: play closing",
    );
}

#[test]
fn a_waiting_caller_may_press_a_key_and_hears_new_announcements() {
    let mut w = in_script(vec![hold()]);
    let announce = vec![Announcement { every_ms: 0, prompts: vec![audio("position")] }];
    w.command("announce", NodeAction::Announce { announce });
    w.pass(1);
    w.played();
    w.press("5");
    w.press("9");
    expect(
        &w,
        "
announce
+0.0s
    media 1: play position
played
    media 1: play music looped
key 5
key 9
    media 1: stop
    ask 2: s ended: digits \"9\"",
    );
}

#[test]
fn announcements_keep_their_turn_and_wait_for_their_prompts() {
    let announce = |key: &str| vec![Announcement { every_ms: 20_000, prompts: vec![audio(key)] }];
    let mut w = in_script(vec![hold()]);
    // News every 15 s do not put the announcement off.
    w.pass(15_000);
    w.command("second", NodeAction::Announce { announce: announce("second") });
    w.pass(5_000);
    expect(&w, "second\n+20.0s\n media 1: play second");

    // One that is said at once is said when its prompt has come.
    let mut w = in_script(vec![hold()]);
    w.slow_prompts = true;
    let once = vec![Announcement { every_ms: 0, prompts: vec![audio("news")] }];
    w.command("news", NodeAction::Announce { announce: once });
    w.pass(1_000);
    w.session.loaded(w.now(), vec![("news".into(), Some(b"news"[..].into()))]);
    w.pass(1_000);
    assert!(w.ladder().ends_with("media 1: play news"), "{}", w.ladder());
    assert_eq!(w.ladder().matches("play").count(), 1);

    // Before the hold begins, its announcements are replaced for when it does.
    let mut w = in_script(vec![Verb::Play { prompts: vec![audio("hello")] }, hold()]);
    w.command("first", NodeAction::Announce { announce: announce("first") });
    w.played();
    w.forget();
    w.pass(20_000);
    expect(&w, "+20.0s\n media 1: play first");
}

#[test]
fn the_same_script_again_does_not_restart_the_music() {
    let mut w = in_script(vec![]);
    w.decide("queue", Some(vec![hold()]));
    w.command("ring", NodeAction::Ring(ring(1)));
    w.sip("486", Event::Failed { call: CallHandle(2), status: 486, phrase: String::new(), reasons: vec![] });
    w.forget();
    w.decide("queue", Some(vec![hold()]));
    expect(&w, "decision 3: queue");
}

#[test]
fn a_transfer_answers_the_caller_when_the_other_side_does() {
    let mut w = World::new();
    let transfer =
        Verb::Transfer { target: "sip:x@192.0.2.20".into(), ring_timeout_ms: 10_000, record: None, keys: None };
    w.decide("bridge", Some(vec![transfer.clone(), Verb::Hangup]));
    w.ringing(2);
    w.answered(2, 0);
    w.bye(2);
    expect(
        &w,
        "
INVITE
    180
    ask 1: arrived
decision 1: bridge
    media 1: 192.0.2.9:4000 A
    call 2: INVITE <sip:+8613800138000@hotline> [20004 RTP/AVP 8 0 101]
call 2 180
call 2 200
    media 2: 192.0.2.20:6000 Mu
    media 1: 192.0.2.9:4000 Mu
    200 [20002 RTP/AVP 0 101]
    bridge 1 2
call 2 BYE
    unbridge 1
    media 1: stop
    media 2: close
    call 1: hang up
    media 1: close",
    );

    let mut w = in_script(vec![transfer]);
    w.pass(10_000);
    expect(
        &w,
        "
+10.0s
    call 2: hang up (Q850 18 no user responding)
    media 2: close
    media 1: stop
    ask 2: s ended: transferred false",
    );
}

#[test]
fn early_audio_of_a_transfer_reaches_the_caller() {
    let mut w = World::new();
    let transfer = Verb::Transfer { target: "10086".into(), ring_timeout_ms: 10_000, record: None, keys: None };
    w.decide("out", Some(vec![transfer]));
    w.forget();
    let sdp = Bytes::from_static(b"v=0\r\nc=IN IP4 192.0.2.20\r\nm=audio 6000 RTP/AVP 8\r\n");
    w.sip("183", Event::Progressed { call: CallHandle(2), status: 183, sdp: Some(sdp) });
    w.answered(2, 8);
    expect(
        &w,
        "
183
    media 2: 192.0.2.20:6000 A
    183 [20002 RTP/AVP 8 101]
    media 1: stop
    bridge 1 2
call 2 200
    media 2: 192.0.2.20:6000 A
    200 [20002 RTP/AVP 8 101]",
    );
}

#[test]
fn hold_and_resume() {
    let mut w = in_script(vec![hold()]);
    w.command("ring", NodeAction::Ring(ring(1)));
    w.answered(2, 8);
    w.forget();
    let offer = |direction: &str| {
        let sdp = format!("v=0\r\nc=IN IP4 192.0.2.20\r\nm=audio 6000 RTP/AVP 8\r\na={direction}\r\n");
        Event::Reoffered { call: CallHandle(2), sdp: Some(sdp.into()) }
    };
    w.sip("hold", offer("sendonly"));
    w.sip("resume", offer("sendrecv"));
    w.sip("without a description", Event::Reoffered { call: CallHandle(2), sdp: None });
    w.sip("nonsense", Event::Reoffered { call: CallHandle(2), sdp: Some(Bytes::from_static(b"x")) });
    expect(
        &w,
        "
hold
    call 2: reanswer [20004 RTP/AVP 8 recvonly]
    media 2: 192.0.2.20:6000 A mute
    unbridge 1
    media 1: play 440 Hz looped
resume
    call 2: reanswer [20004 RTP/AVP 8]
    media 2: 192.0.2.20:6000 A
    media 1: stop
    bridge 1 2
without a description
    call 2: reanswer [20004 RTP/AVP 8 0 101]
nonsense
    call 2: reanswer",
    );
}

#[test]
fn an_agent_without_a_voice_is_let_go() {
    let mut w = in_script(vec![hold()]);
    w.command("ring", NodeAction::Ring(ring(1)));
    w.answered(2, 8);
    w.decide("talk", None);
    w.forget();
    w.media("silent", MediaEvent::Silent { leg: MediaLegId(2), for_ms: 60_000 });
    expect(
        &w,
        "
silent
    call 2: hang up (Q850 102 recovery on timer expiry)
    stop recording
    unbridge 1
    media 1: stop
    media 2: close
    ask 3: agent 1 ended: Lost",
    );
}

#[test]
fn a_wideband_caller_is_joined_without_transcoding_where_the_agents_phone_can() {
    let offer: &'static [u8] = b"v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 96 9 8 97 98\r\n\
        a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/8000\r\na=rtpmap:98 telephone-event/48000\r\n";
    let joined = |agent: u8| {
        let mut w = World::with(Some(offer));
        w.decide("queue", Some(vec![Verb::Answer, hold()]));
        w.command("ring", NodeAction::Ring(ring(1)));
        w.ringing(2);
        w.decide("queue", None);
        w.answered(2, agent);
        w.ladder()
    };
    let same = joined(9);
    assert!(same.contains("media 1: 192.0.2.9:4000 opus"), "{same}");
    assert!(same.contains("200 [20002 RTP/AVP 96 98]"), "{same}");
    assert!(same.contains("[20004 RTP/AVP 111 9 0 8 101 110]"), "{same}");
    assert!(same.contains("media 2: 192.0.2.20:6000 G722"), "{same}");
    // The caller was answered in Opus before the agent's phone was known: what it has is taken.
    let narrow = joined(8);
    assert!(narrow.contains("media 2: 192.0.2.20:6000 A\n    media 1: stop\n    bridge 1 2"), "{narrow}");
}

#[test]
fn how_legs_sound_is_told_when_it_changes_and_of_all_at_the_end() {
    let mut w = World::new();
    w.decide("queue", Some(vec![Verb::Answer, hold()]));
    w.talking(ring(1), 2);
    w.forget();
    let stats = |packets, lost| LegStats { packets, lost, mos: 3.9, ..Default::default() };
    let measure = |w: &mut World, name: &str, leg, packets, lost, last| {
        w.media(name, MediaEvent::Stats { leg: MediaLegId(leg), stats: stats(packets, lost), last });
    };
    measure(&mut w, "agent clean", 2, 250, 0, false);
    measure(&mut w, "agent loses a fifth", 2, 450, 50, false);
    w.decide("talk", None);
    measure(&mut w, "agent still does", 2, 650, 100, false);
    measure(&mut w, "caller says nothing", 1, 10, 20, false);
    w.pass(5_000);
    measure(&mut w, "agent clean, just told", 2, 900, 100, false);
    w.pass(10_000);
    measure(&mut w, "agent clean", 2, 1_150, 100, false);
    w.decide("talk", None);
    w.bye(2);
    w.decide("survey", Some(vec![gather("survey", 1)]));
    measure(&mut w, "agent's last", 2, 1_200, 100, true);
    w.bye(1);
    measure(&mut w, "caller's last", 1, 1_000, 20, true);
    expect(
        &w,
        "
agent clean
agent loses a fifth
    ask 3: agent 1 sounds Poor: 50 of 250 lost
decision 3: talk
agent still does
caller says nothing
agent clean, just told
agent clean
    ask 4: agent 1 sounds Good: 0 of 250 lost
decision 4: talk
call 2 BYE
    stop recording
    unbridge 1
    media 1: stop
    media 2: close
    ask 5: agent 1 ended: HungUp
decision 5: survey
    media 1: play survey
agent's last
call 1 BYE
    media 1: close
caller's last
    ask 6: call ended: HungUp mos 3.9, agent 1 mos 3.9",
    );
}
