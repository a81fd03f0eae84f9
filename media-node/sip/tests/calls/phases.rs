//! Every phase of a call half with every command and every request: one golden table.

use hotline_sip::EndpointConfig;
use hotline_sip::api::{CallHandle, Command, Event, RequestHandle};

use crate::flows::{ANSWER, OFFER, answering, golden_at};
use crate::net::Net;

const CALL: CallHandle = CallHandle(1);

fn plain(_: &'static str, _: &mut EndpointConfig) {}

fn invite(net: &Net, late: bool) -> Command {
    Command::Invite {
        call: CALL,
        uri: "sip:bob@192.0.2.2".into(),
        path: net.path("alice", "bob"),
        from: "<sip:alice@home.test>".into(),
        to: "<sip:bob@shop.test>".into(),
        sdp: (!late).then_some(OFFER),
        headers: Vec::new(),
        credentials: None,
    }
}

/// A call in a phase: the net, who is looked at, and who is the peer.
fn in_phase(phase: &str) -> (Net, &'static str, &'static str) {
    let mut net = Net::new(plain);
    net.strict = false;
    let late = phase == "late offer";
    let answers = !matches!(phase, "called, ringing" | "calling, ringing");
    net.handler = Box::new(move |who, event| match event {
        Event::Incoming { .. } if answers => answering(who, event),
        Event::Incoming { call, .. } => vec![Command::Progress { call: *call, status: 180, sdp: None }],
        _ => Vec::new(),
    });
    if phase == "calling" {
        net.faults = Box::new(|_, _| crate::net::Fate::Lost);
    }
    if phase == "answered, no ACK yet" {
        net.faults = Box::new(|_, what| if what == "ACK" { crate::net::Fate::Lost } else { crate::net::Fate::Arrives });
    }
    let command = invite(&net, late);
    net.command("alice", command);
    net.run(100);
    net.faults = Box::new(|_, _| crate::net::Fate::Arrives);
    net.handler = Box::new(|_, _| Vec::new());
    match phase {
        "called, ringing" | "answered, no ACK yet" => (net, "bob", "alice"),
        "reoffered" => {
            net.command("alice", Command::Reoffer { call: CALL, sdp: OFFER });
            net.run(100);
            (net, "bob", "alice")
        }
        "reoffering" => {
            net.command("alice", Command::Reoffer { call: CALL, sdp: OFFER });
            net.run(100);
            (net, "alice", "bob")
        }
        "ending" => {
            net.faults =
                Box::new(
                    |_, what| if what.starts_with("BYE") { crate::net::Fate::Lost } else { crate::net::Fate::Arrives },
                );
            net.command("alice", Command::Hangup { call: CALL, status: None, reasons: vec![] });
            (net, "alice", "bob")
        }
        _ => (net, "alice", "bob"),
    }
}

const PHASES: [&str; 9] = [
    "called, ringing",
    "calling",
    "calling, ringing",
    "late offer",
    "answered, no ACK yet",
    "up",
    "reoffered",
    "reoffering",
    "ending",
];

fn commands() -> Vec<(&'static str, Command)> {
    vec![
        ("Progress", Command::Progress { call: CALL, status: 183, sdp: None }),
        ("Answer", Command::Answer { call: CALL, sdp: ANSWER, headers: Vec::new() }),
        ("Refuse", Command::Refuse { call: CALL, status: 486, headers: Vec::new() }),
        ("AnswerReoffer", Command::AnswerReoffer { call: CALL, sdp: Some(ANSWER) }),
        ("AnswerReoffer none", Command::AnswerReoffer { call: CALL, sdp: None }),
        ("Reoffer", Command::Reoffer { call: CALL, sdp: OFFER }),
        ("AnswerLateOffer", Command::AnswerLateOffer { call: CALL, sdp: ANSWER }),
        ("Info", Command::Info { call: CALL, content_type: "a/b".into(), body: OFFER }),
        ("Refer", Command::Refer { call: CALL, refer_to: "<sip:x@y>".into() }),
        ("Notify", Command::Notify { call: CALL, status: 200, last: true }),
        ("Hangup", Command::Hangup { call: CALL, status: None, reasons: vec![] }),
        ("Account", Command::Account { request: RequestHandle(1), ha1: None }),
        ("Reply", Command::Reply { request: RequestHandle(1), status: 200, headers: Vec::new() }),
    ]
}

/// What one end sent and reported since `from` lines of its ladder.
fn since(net: &Net, who: &str, from: usize) -> String {
    let lines = net.ladder.lines().skip(from).filter_map(|line| {
        let (_, what) = line.trim_start().split_once("  ")?;
        let sent = match who {
            "alice" => what.strip_prefix("alice -> bob: "),
            _ => what.strip_prefix("alice <- bob: "),
        };
        let reported = what.strip_prefix(who).and_then(|w| w.strip_prefix(": ")).map(|e| format!("[{e}]"));
        sent.map(str::to_owned).or(reported)
    });
    lines.collect::<Vec<_>>().join(", ")
}

#[test]
fn every_phase_with_every_command() {
    let mut out = String::new();
    for phase in PHASES {
        out += &format!("{phase}\n");
        for (name, command) in commands() {
            let (mut net, who, _) = in_phase(phase);
            let from = net.ladder.lines().count();
            let now = net.now;
            let result = net.end(who).handle_command(now, command);
            net.run(0);
            let what = match result {
                Ok(()) => since(&net, who, from),
                Err(error) => format!("refused: {error}"),
            };
            out += &format!("    {name:<20} {what}\n");
        }
    }
    golden_at("commands", &out);
}

/// A request of the peer within the dialog, as it would write it.
fn within(net: &Net, who: &str, method: &str, body: bool) -> Option<String> {
    let header = |text: &str, name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::to_owned);
    let (_, invite) = net.packets.iter().find(|(_, text)| text.starts_with("INVITE"))?;
    let answered = net.packets.iter().rev().find(|(from, text)| {
        *from == "bob" && text.contains("INVITE") && text.contains("To: <sip:bob@shop.test>;tag=")
    });
    let (alice, call_id) = (header(invite, "From: ")?, header(invite, "Call-ID: ")?);
    let bob = answered.and_then(|(_, text)| header(text, "To: ")).unwrap_or("<sip:bob@shop.test>;tag=none".into());
    let (from, to, host) = if who == "alice" { (bob, alice, "192.0.2.2") } else { (alice, bob, "192.0.2.1") };
    let sdp = "v=0\r\n";
    let rest = if body {
        format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len())
    } else {
        "Content-Length: 0\r\n\r\n".into()
    };
    Some(format!(
        "{method} sip:x@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP {host}:5060;branch=z9hG4bKtest\r\nFrom: {from}\r\nTo: {to}\r\n\
         Call-ID: {call_id}\r\nCSeq: 100 {method}\r\nContact: <sip:{host}>\r\nRefer-To: <sip:x@y>\r\nRAck: 1 1 INVITE\r\n{rest}"
    ))
}

#[test]
fn every_phase_with_every_request() {
    let mut out = String::new();
    for phase in PHASES {
        out += &format!("{phase}\n");
        for (method, body) in [
            ("INVITE", true),
            ("INVITE", false),
            ("UPDATE", true),
            ("UPDATE", false),
            ("ACK", false),
            ("BYE", false),
            ("CANCEL", false),
            ("PRACK", false),
            ("INFO", false),
            ("REFER", false),
            ("NOTIFY", false),
            ("OPTIONS", false),
            ("MESSAGE", false),
        ] {
            let (mut net, who, peer) = in_phase(phase);
            let Some(request) = within(&net, who, method, body) else { continue };
            let from = net.ladder.lines().count();
            let (now, path) = (net.now, net.path(who, peer));
            net.end(who).handle_packet(now, path, request.as_bytes());
            net.run(0);
            let name = format!("{method}{}", if body { " +sdp" } else { "" });
            out += &format!("    {name:<20} {}\n", since(&net, who, from));
        }
    }
    golden_at("requests", &out);
}
