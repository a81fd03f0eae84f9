//! Reason headers (RFC 3326, RFC 6432): with every end, in both directions.

use crate::flows::{CALL, OFFER, answering, hang_up, invite};
use crate::net::{Fate, Net};
use hotline_sip::Reason;
use hotline_sip::api::{CallHandle, Command, Event};

fn elsewhere() -> Vec<Reason> {
    vec![Reason::sip(200, "Call completed elsewhere"), Reason::q850(26, "")]
}

fn calling(handler: impl FnMut(&'static str, &Event) -> Vec<Command> + 'static) -> Net {
    let mut net = Net::new(|_, _| {});
    net.handler = Box::new(handler);
    let command = invite(&net, Some(OFFER));
    net.command("alice", command);
    net.run(100);
    net
}

#[test]
fn a_cancel_says_why() {
    let mut net = calling(|who, event| match (who, event) {
        ("bob", Event::Incoming { call, .. }) => vec![Command::Progress { call: *call, status: 180, sdp: None }],
        _ => Vec::new(),
    });
    net.command("alice", Command::Hangup { call: CALL, status: None, reasons: elsewhere() });
    net.run(1_000);
    let last = net.events.last().unwrap();
    assert_eq!(last, "bob: Cancelled (SIP;cause=200;text=\"Call completed elsewhere\", Q.850;cause=26)");
}

#[test]
fn a_cancel_that_waits_and_a_bye_that_comes_instead_say_why() {
    let mut net = Net::new(|_, _| {});
    net.faults = Box::new(|_, what| if what.starts_with("INVITE") { Fate::Lost } else { Fate::Arrives });
    let command = invite(&net, Some(OFFER));
    net.command("alice", command);
    net.command("alice", Command::Hangup { call: CALL, status: None, reasons: elsewhere() });
    assert!(!net.packets.iter().any(|(_, text)| text.starts_with("CANCEL")), "not before anything answered (§9.1)");
    let invite = net.packets[0].1.clone();
    let line = |name: &str| invite.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
    let response = |status: &str| {
        let head: Vec<String> = ["Via", "From", "Call-ID", "CSeq"].iter().map(|name| line(name)).collect();
        let (head, to) = (head.join("\r\n"), line("To"));
        let contact = "Contact: <sip:bob@192.0.2.2>";
        format!("SIP/2.0 {status}\r\n{head}\r\n{to};tag=b\r\n{contact}\r\nContent-Length: 0\r\n\r\n")
    };
    net.inject("bob", "alice", &response("180 Ringing"));
    net.inject("bob", "alice", &response("200 OK"));
    net.run(50);
    for method in ["CANCEL", "BYE"] {
        let (_, sent) = net.packets.iter().find(|(_, text)| text.starts_with(method)).unwrap();
        assert!(
            sent.contains("\r\nReason: SIP;cause=200;text=\"Call completed elsewhere\", Q.850;cause=26\r\n"),
            "{sent}"
        );
    }
}

#[test]
fn a_refusal_says_why() {
    let net = calling(|who, event| match (who, event) {
        ("bob", Event::Incoming { call, .. }) => {
            let reasons = vec![Reason::q850(17, "User busy")];
            vec![Command::Hangup { call: *call, status: Some(486), reasons }]
        }
        _ => Vec::new(),
    });
    assert_eq!(net.events.last().unwrap(), "alice: Failed 486 Busy Here (Q.850;cause=17;text=\"User busy\")");

    let mut net = calling(answering);
    net.command("bob", Command::Hangup { call: CallHandle(1), status: None, reasons: vec![Reason::q850(16, "")] });
    net.run(1_000);
    assert_eq!(net.events.last().unwrap(), "alice: Ended by peer (Q.850;cause=16)");
    let mut net = calling(answering);
    net.command("alice", hang_up(CALL));
    net.run(1_000);
    assert_eq!(net.events.last().unwrap(), "bob: Ended by peer");
}
