//! Calls and registrations between endpoints over a virtual network: the flows of RFC 3665 that
//! two user agents can make, and what loss, races and time do to them.
//!
//! Ladders are golden files in `golden/ladders`; `UPDATE_GOLDEN=1` writes them anew.

use crate::net::{Fate, Net};
use bytes::Bytes;
use hotline_sip::api::{CallHandle, Command, Event, Transport};
use hotline_sip::{EndpointConfig, Reason, Timers};
use std::time::Duration;

pub const OFFER: Bytes = Bytes::from_static(b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n");
pub const ANSWER: Bytes = Bytes::from_static(b"v=0\r\no=- 2 2 IN IP4 192.0.2.2\r\n");
pub const CALL: CallHandle = CallHandle(100);

fn plain(_: &'static str, _: &mut EndpointConfig) {}

pub fn invite(net: &Net, sdp: Option<Bytes>) -> Command {
    Command::Invite {
        call: CALL,
        uri: "sip:bob@192.0.2.2".into(),
        path: net.path("alice", "bob"),
        from: "\"Alice\" <sip:alice@home.test>".into(),
        to: "<sip:bob@shop.test>".into(),
        sdp,
        headers: Vec::new(),
        credentials: None,
    }
}

pub fn hang_up(call: CallHandle) -> Command {
    Command::Hangup { call, status: None, reasons: vec![] }
}

/// Bob rings and answers; Alice hangs up when told to by the test.
pub fn answering(who: &'static str, event: &Event) -> Vec<Command> {
    match (who, event) {
        ("bob", Event::Incoming { call, .. }) => vec![
            Command::Progress { call: *call, status: 180, sdp: None },
            Command::Answer { call: *call, sdp: ANSWER, headers: Vec::new() },
        ],
        (_, Event::Reoffered { call, .. }) => vec![Command::AnswerReoffer { call: *call, sdp: Some(ANSWER) }],
        _ => Vec::new(),
    }
}

pub fn golden(name: &str, ladder: &str) {
    golden_at(&format!("ladders/{name}"), ladder);
}

pub fn golden_at(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}.txt", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{path} says:\n{expected}\nbut this happened:\n{text}");
}

/// Nothing is left behind once late messages can no longer come.
pub fn assert_quiet(net: &mut Net) {
    net.run(200_000);
    for name in ["alice", "bob"] {
        let usage = net.end(name).usage();
        assert_eq!((usage.calls, usage.transactions, usage.streams), (0, 0, 0), "{name}\n{}", net.ladder);
    }
    for name in ["alice", "bob"] {
        assert_eq!(net.end(name).poll_timeout(), None, "{name} waits for nothing");
    }
}

fn established(configure: impl FnMut(&'static str, &mut EndpointConfig)) -> Net {
    let mut net = Net::new(configure);
    net.handler = Box::new(answering);
    let command = invite(&net, Some(OFFER));
    net.command("alice", command);
    net.run(100);
    assert_eq!(net.events.last().unwrap(), "bob: Confirmed");
    net
}

#[test]
fn rfc3665_3_1_session() {
    let mut net = established(plain);
    net.command("alice", hang_up(CALL));
    net.run(1_000);
    golden("3665-3.1-session", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn the_called_side_hangs_up() {
    let mut net = established(plain);
    net.handler = Box::new(|_, _| Vec::new());
    net.command("bob", Command::Hangup { call: CallHandle(1), status: None, reasons: vec![Reason::q850(16, "")] });
    net.run(1_000);
    golden("called-side-hangs-up", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn a_session_over_tcp_repeats_nothing() {
    let mut net = Net::new(plain);
    net.transport = Transport::Tcp;
    net.handler = Box::new(answering);
    let command = invite(&net, Some(OFFER));
    net.command("alice", command);
    net.run(100);
    net.command("alice", hang_up(CALL));
    net.run(40_000);
    golden("session-over-tcp", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn rfc3665_3_8_no_answer() {
    let mut net = Net::new(plain);
    net.handler = Box::new(|who, event| match (who, event) {
        ("bob", Event::Incoming { call, .. }) => vec![Command::Progress { call: *call, status: 180, sdp: None }],
        _ => Vec::new(),
    });
    let command = invite(&net, Some(OFFER));
    net.command("alice", command);
    net.run(3_000);
    net.command("alice", hang_up(CALL));
    net.run(1_000);
    golden("3665-3.8-no-answer", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn rfc3665_3_9_busy() {
    let mut net = Net::new(plain);
    net.handler = Box::new(|who, event| match (who, event) {
        ("bob", Event::Incoming { call, .. }) => {
            vec![Command::Refuse { call: *call, status: 486, headers: Vec::new() }]
        }
        _ => Vec::new(),
    });
    let command = invite(&net, Some(OFFER));
    net.command("alice", command);
    net.run(1_000);
    golden("3665-3.9-busy", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn rfc3665_3_10_no_response() {
    let mut net = Net::new(plain);
    net.faults = Box::new(|_, _| Fate::Lost);
    let command = invite(&net, Some(OFFER));
    net.command("alice", command);
    net.run(40_000);
    golden("3665-3.10-no-response", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn a_cancel_waits_for_a_provisional_response_and_may_come_too_late() {
    // Bob answers at once; Alice hangs up before anything reached her.
    let mut net = Net::new(plain);
    net.handler = Box::new(answering);
    net.faults =
        Box::new(|_, what| if what.starts_with("100") || what.starts_with("180") { Fate::Lost } else { Fate::Arrives });
    let command = invite(&net, Some(OFFER));
    net.command("alice", command);
    net.command("alice", hang_up(CALL));
    net.run(1_000);
    golden("cancel-too-late", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn hold_and_resume_and_a_refused_offer() {
    let mut net = established(plain);
    net.command("alice", Command::Reoffer { call: CALL, sdp: OFFER });
    net.run(100);
    net.handler = Box::new(|_, event| match event {
        Event::Reoffered { call, .. } => vec![Command::AnswerReoffer { call: *call, sdp: None }],
        _ => Vec::new(),
    });
    net.command("bob", Command::Reoffer { call: CallHandle(1), sdp: OFFER });
    net.run(100);
    net.command(
        "alice",
        Command::Info { call: CALL, content_type: "application/dtmf-relay".into(), body: "Signal=5".into() },
    );
    net.run(100);
    net.command("alice", hang_up(CALL));
    net.run(1_000);
    golden("reoffers", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn both_sides_reoffer_at_once() {
    let mut net = established(plain);
    net.command("alice", Command::Reoffer { call: CALL, sdp: OFFER });
    net.command("bob", Command::Reoffer { call: CallHandle(1), sdp: OFFER });
    net.run(10_000);
    let answered: Vec<&String> = net.events.iter().filter(|e| e.contains("ReofferAnswered")).collect();
    assert_eq!(answered, ["bob: ReofferAnswered +sdp", "alice: ReofferAnswered +sdp"], "{}", net.ladder);
    assert_eq!(net.ladder.matches("491").count(), 2, "{}", net.ladder);
    net.command("alice", hang_up(CALL));
    assert_quiet(&mut net);
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut net = Net::new(plain);
    net.handler = Box::new(|who, event| match (who, event) {
        ("alice", Event::Answered { call, .. }) => vec![Command::AnswerLateOffer { call: *call, sdp: ANSWER }],
        _ => answering(who, event),
    });
    let command = invite(&net, None);
    net.command("alice", command);
    net.run(100);
    net.command("alice", hang_up(CALL));
    net.run(1_000);
    golden("late-offer", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn a_lost_ack_is_repeated_with_the_200() {
    let mut net = Net::new(plain);
    net.handler = Box::new(answering);
    let mut lost = 0;
    net.faults = Box::new(move |_, what| {
        lost += usize::from(what == "ACK");
        if what == "ACK" && lost <= 2 { Fate::Lost } else { Fate::Arrives }
    });
    let command = invite(&net, Some(OFFER));
    net.command("alice", command);
    net.run(5_000);
    net.command("bob", hang_up(CallHandle(1)));
    net.run(1_000);
    golden("lost-acks", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn without_any_ack_the_call_ends() {
    let mut net = Net::new(plain);
    net.handler = Box::new(answering);
    net.faults = Box::new(|_, what| if what == "ACK" { Fate::Lost } else { Fate::Arrives });
    let command = invite(&net, Some(OFFER));
    net.command("alice", command);
    net.run(33_000);
    assert!(net.events.contains(&"bob: Ended (no ACK)".into()), "{}", net.ladder);
    assert!(net.events.contains(&"alice: Ended by peer".into()), "{}", net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn a_reliable_early_answer() {
    let mut net = Net::new(plain);
    net.handler = Box::new(|who, event| match (who, event) {
        ("bob", Event::Incoming { call, .. }) => vec![
            Command::Progress { call: *call, status: 183, sdp: Some(ANSWER) },
            Command::Answer { call: *call, sdp: ANSWER, headers: Vec::new() },
        ],
        _ => Vec::new(),
    });
    let mut lost = false;
    net.faults = Box::new(move |_, what| {
        let first = what.starts_with("183") && !std::mem::replace(&mut lost, true);
        if first { Fate::Lost } else { Fate::Arrives }
    });
    let command = invite(&net, Some(OFFER));
    net.command("alice", command);
    net.run(2_000);
    net.command("alice", hang_up(CALL));
    net.run(1_000);
    golden("reliable-183", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn a_session_is_refreshed_and_ends_when_the_peer_is_gone() {
    let mut net = established(|_, config| {
        config.timers = Timers { session_expires: Some(Duration::from_secs(100)), ..Timers::default() };
    });
    net.run(130_000);
    assert_eq!(net.ladder.matches("alice -> bob: UPDATE").count(), 2, "{}", net.ladder);
    net.faults = Box::new(|_, _| Fate::Lost);
    net.run(200_000);
    let ended: Vec<&String> = net.events.iter().filter(|e| e.contains("Ended")).collect();
    assert_eq!(ended, ["bob: Ended (session expired)", "alice: Ended (no answer within the dialog)"], "{}", net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn blind_transfer_is_asked_for_and_reported() {
    let mut net = established(plain);
    net.handler = Box::new(|who, event| match (who, event) {
        ("bob", Event::Referred { call, request, .. }) => vec![
            Command::Reply { request: *request, status: 202, headers: Vec::new() },
            Command::Notify { call: *call, status: 200, last: true },
        ],
        _ => Vec::new(),
    });
    net.command("alice", Command::Refer { call: CALL, refer_to: "<sip:carol@shop.test>".into() });
    net.run(100);
    net.command("alice", hang_up(CALL));
    net.run(1_000);
    golden("refer", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn any_loss_repetition_and_reordering_leaves_nothing_behind() {
    for seed in 1..200u64 {
        let mut net = Net::new(plain);
        net.handler = Box::new(answering);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        net.faults = Box::new(move |_, _| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state % 10 {
                0..3 => Fate::Lost,
                3 => Fate::Twice,
                4 => Fate::Late,
                _ => Fate::Arrives,
            }
        });
        let command = invite(&net, Some(OFFER));
        net.command("alice", command);
        net.run(seed * 50 % 4_000);
        // The call may have failed before.
        let now = net.now;
        let _ = net.end("alice").handle_command(now, hang_up(CALL));
        net.run(1);
        assert_quiet(&mut net);
        let incoming = net.events.iter().filter(|e| e.starts_with("bob: Incoming")).count();
        let ends = net.events.iter().filter(|e| e.starts_with("bob: Ended") || e.starts_with("bob: Cancelled")).count();
        assert!(incoming <= 1, "seed {seed}\n{}", net.ladder);
        assert_eq!(incoming, ends, "seed {seed}\n{}", net.ladder);
    }
}

#[test]
fn above_the_limit_new_calls_get_503_and_calls_in_progress_go_on() {
    let mut net = established(|name, config| {
        if name == "bob" {
            config.limits.calls = 1;
        }
    });
    let Command::Invite { uri, path, from, to, sdp, headers, credentials, .. } = invite(&net, Some(OFFER)) else {
        unreachable!()
    };
    net.command("alice", Command::Invite { call: CallHandle(200), uri, path, from, to, sdp, headers, credentials });
    net.run(100);
    assert_eq!(net.events.last().unwrap(), "alice: Failed 503 Service Unavailable");
    assert!(net.packets.iter().any(|(from, text)| *from == "bob" && text.contains("Retry-After: 10\r\n")));
    net.command("alice", Command::Reoffer { call: CALL, sdp: OFFER });
    net.run(100);
    assert_eq!(net.events.last().unwrap(), "alice: ReofferAnswered +sdp");
    net.command("alice", hang_up(CALL));
    assert_quiet(&mut net);
}
