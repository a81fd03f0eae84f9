//! Recording a message.

use super::*;

fn record(beep: bool) -> Verb {
    Verb::Record {
        recording: RecordingId::from_u128(5),
        max_ms: 60_000,
        silence_ms: 4_000,
        beep,
        terminators: "#".into(),
    }
}

fn stopped(w: &mut World, duration_ms: u64, failure: Option<&str>) {
    let event =
        MediaEvent::RecordingStopped { token: w.recording.unwrap(), duration_ms, failure: failure.map(str::to_string) };
    w.media("recording stopped", event);
}

#[test]
fn a_message_after_the_beep_until_the_caller_falls_silent() {
    let mut w = in_script(vec![record(true)]);
    w.forget();
    w.played();
    w.media("quiet", MediaEvent::Quiet { leg: MediaLegId(1), for_ms: 4_000 });
    stopped(&mut w, 9_000, None);
    expect(
        &w,
        "
played
    record 1
    media 1: quiet 4000
quiet
    media 1: quiet 0
    stop recording
recording stopped
    spooled 9000 ms
    ask 2: s ended: recorded 9000 ms",
    );
}

#[test]
fn a_message_ends_by_key_or_by_its_length() {
    let mut w = in_script(vec![record(false)]);
    w.forget();
    w.press("1#");
    stopped(&mut w, 3_000, None);
    expect(
        &w,
        "
key 1
key #
    media 1: quiet 0
    stop recording
recording stopped
    spooled 3000 ms
    ask 2: s ended: recorded 3000 ms",
    );

    let mut w = in_script(vec![record(false)]);
    w.forget();
    w.pass(60_000);
    assert!(w.ladder().contains("+60.0s\n    media 1: quiet 0\n    stop recording"));
}

#[test]
fn a_full_disk_fails_the_message_and_not_the_call() {
    let mut w = in_script(vec![record(false)]);
    w.forget();
    stopped(&mut w, 0, Some("the disk is full"));
    w.decide("noted", None);
    expect(
        &w,
        "
recording stopped
    spooled 0 ms
    ask 2: recording ended
decision 2: noted
    ask 3: s ended: Failed { reason: \"the disk is full\" }",
    );
}

#[test]
fn the_caller_hangs_up_in_the_middle_and_the_message_is_kept() {
    let mut w = in_script(vec![record(false)]);
    w.forget();
    w.bye(1);
    w.pass(300);
    w.decide("ended", None);
    assert!(!w.over, "the recording is not closed yet");
    stopped(&mut w, 3_000, None);
    expect(
        &w,
        "
call 1 BYE
    stop recording
    media 1: close
+0.3s
    ask 2: call ended: HungUp
decision 2: ended
recording stopped
    spooled 3000 ms
    over",
    );
}

#[test]
fn a_recording_whose_end_is_never_confirmed_is_given_up() {
    let mut w = in_script(vec![record(false)]);
    w.bye(1);
    w.pass(300);
    w.decide("ended", None);
    w.pass(5_000);
    assert!(w.ladder().ends_with("spooled 0 ms\n    ask 3: recording ended"), "{}", w.ladder());
    w.decide("noted", None);
    assert!(w.over);
}
