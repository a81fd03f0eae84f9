//! Single messages against an endpoint: what a peer may send at the wrong time, twice, by two ways,
//! or with somebody else's names.

use crate::net::{Fate, Net};
use bytes::Bytes;
use hotline_sip::api::{CallHandle, Command, Event, Output, Transport};
use hotline_sip::{CommandError, EndpointConfig, PerSource, Shard, Trust};

const SDP: Bytes = Bytes::from_static(b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n");

fn plain(_: &'static str, _: &mut EndpointConfig) {}

/// A request of Carol, who speaks SIP by hand.
fn request(method: &str, branch: &str, cseq: u32, to_tag: &str, extra: &str) -> String {
    let to_tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    format!(
        "{method} sip:bob@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.3:5060;branch=z9hG4bK{branch}\r\n\
         From: <sip:carol@home.test>;tag=c\r\nTo: <sip:bob@shop.test>{to_tag}\r\nCall-ID: by-hand\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:carol@192.0.2.3>\r\nMax-Forwards: 70\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

/// The statuses Bob answered, with the method.
fn answers(net: &Net) -> Vec<String> {
    net.packets
        .iter()
        .filter(|(from, text)| *from == "bob" && text.starts_with("SIP/2.0 "))
        .map(|(_, text)| {
            let method =
                text.lines().find_map(|l| l.strip_prefix("CSeq: ")).and_then(|c| c.split(' ').nth(1)).unwrap_or("?");
            format!("{} {method}", &text[8..11])
        })
        .collect()
}

fn tag_of_bob(net: &Net) -> String {
    let (_, text) = net.packets.iter().find(|(from, text)| *from == "bob" && text.contains(";tag=1-")).unwrap();
    let line = text.lines().find(|l| l.starts_with("To: ")).unwrap();
    line.rsplit_once("tag=").unwrap().1.to_owned()
}

fn carol_calls(net: &mut Net) {
    net.handler = Box::new(|who, event| match (who, event) {
        ("bob", Event::Incoming { call, .. }) => vec![Command::Progress { call: *call, status: 180, sdp: None }],
        _ => Vec::new(),
    });
    net.inject("carol", "bob", &request("INVITE", "1", 5, "", ""));
    net.run(50);
}

fn bob_answers(net: &mut Net) {
    net.command("bob", Command::Answer { call: CallHandle(1), sdp: SDP, headers: Vec::new() });
    net.run(50);
}

#[test]
fn requests_for_dialogs_and_transactions_that_are_not_here() {
    let mut net = Net::new(plain);
    for (branch, method, to_tag) in [
        ("a", "BYE", "nobody"),
        ("b", "BYE", ""),
        ("c", "CANCEL", ""),
        ("d", "INVITE", "1-zzz"),
        ("e", "UPDATE", "ffffffffffffffffff-1"),
        ("f", "PRACK", ""),
        ("g", "ACK", "x"),
        ("h", "SUBSCRIBE", ""),
        ("i", "FLY", ""),
    ] {
        net.inject("carol", "bob", &request(method, branch, 1, to_tag, ""));
    }
    net.run(50);
    assert_eq!(
        answers(&net),
        ["481 BYE", "481 BYE", "481 CANCEL", "481 INVITE", "481 UPDATE", "481 PRACK", "405 SUBSCRIBE", "501 FLY"]
    );
    assert_eq!(net.end("bob").usage().transactions, 0, "answered without keeping anything");
}

#[test]
fn an_invite_by_two_ways_is_merged() {
    let mut net = Net::new(plain);
    carol_calls(&mut net);
    net.inject("carol", "bob", &request("INVITE", "1", 5, "", ""));
    net.inject("carol", "bob", &request("INVITE", "2", 5, "", ""));
    net.run(50);
    assert_eq!(answers(&net), ["100 INVITE", "180 INVITE", "180 INVITE", "482 INVITE"]);
    assert_eq!(net.events.len(), 1);
}

#[test]
fn a_cancel_ends_only_what_is_open() {
    let mut net = Net::new(plain);
    carol_calls(&mut net);
    net.inject("carol", "bob", &request("CANCEL", "1", 5, "", ""));
    net.inject("carol", "bob", &request("CANCEL", "1", 5, "", ""));
    net.run(50);
    assert_eq!(answers(&net)[2..], ["200 CANCEL", "487 INVITE", "200 CANCEL"]);
    assert_eq!(net.events, ["bob: Incoming bob from carol", "bob: Cancelled"]);
    let error = net.now;
    let answer = Command::Answer { call: CallHandle(1), sdp: SDP, headers: Vec::new() };
    assert_eq!(net.end("bob").handle_command(error, answer), Err(CommandError::UnknownCall(CallHandle(1))));

    let mut net = Net::new(plain);
    carol_calls(&mut net);
    bob_answers(&mut net);
    net.inject("carol", "bob", &request("CANCEL", "1", 5, "", ""));
    net.run(50);
    assert_eq!(answers(&net)[2..], ["200 INVITE", "200 CANCEL"]);
    assert_eq!(net.events.len(), 1, "the call goes on");
}

#[test]
fn a_bye_before_the_answer_ends_the_call() {
    let mut net = Net::new(plain);
    carol_calls(&mut net);
    let tag = tag_of_bob(&net);
    net.inject("carol", "bob", &request("BYE", "2", 6, &tag, "Reason: Q.850;cause=19\r\n"));
    net.run(50);
    assert_eq!(answers(&net)[2..], ["200 BYE", "487 INVITE"]);
    assert_eq!(net.events[1], "bob: Ended by peer (Q.850;cause=19)");
}

#[test]
fn requests_out_of_order_and_in_the_middle() {
    let mut net = Net::new(plain);
    carol_calls(&mut net);
    let tag = tag_of_bob(&net);
    // A second INVITE before the answer to the first (§14.2), and an old CSeq.
    net.inject("carol", "bob", &request("INVITE", "2", 6, &tag, ""));
    net.inject("carol", "bob", &request("OPTIONS", "3", 4, &tag, ""));
    net.inject("carol", "bob", &request("OPTIONS", "4", 7, &tag, ""));
    net.inject("carol", "bob", &request("INFO", "5", 8, &tag, "Require: telepathy\r\n"));
    net.run(50);
    assert_eq!(answers(&net)[2..], ["500 INVITE", "500 OPTIONS", "200 OPTIONS", "420 INFO"]);
    assert!(net.packets.iter().any(|(_, text)| text.contains("Retry-After: ")));
    // Somebody else's From tag is another dialog.
    net.inject("carol", "bob", &request("BYE", "6", 9, &tag, "").replace("tag=c\r\n", "tag=d\r\n"));
    net.run(50);
    assert_eq!(answers(&net).last().unwrap(), "481 BYE");
}

#[test]
fn an_ack_with_the_branch_of_its_invite_counts() {
    let mut net = Net::new(plain);
    carol_calls(&mut net);
    bob_answers(&mut net);
    let tag = tag_of_bob(&net);
    net.inject("carol", "bob", &request("ACK", "1", 5, &tag, ""));
    net.run(50);
    assert_eq!(net.events[1..], ["bob: Confirmed"]);
}

#[test]
fn a_bye_waits_for_the_ack() {
    let mut net = Net::new(plain);
    carol_calls(&mut net);
    bob_answers(&mut net);
    net.command("bob", Command::Hangup { call: CallHandle(1), status: None, reasons: vec![] });
    net.run(50);
    assert!(!net.packets.iter().any(|(_, text)| text.starts_with("BYE")));
    let tag = tag_of_bob(&net);
    net.inject("carol", "bob", &request("ACK", "9", 5, &tag, ""));
    net.run(50);
    assert!(net.packets.iter().any(|(_, text)| text.starts_with("BYE sip:carol@192.0.2.3 ")));
    assert_eq!(net.events.len(), 1, "after Hangup nothing more is reported");
}

/// Alice calls Bob by hand-written answers.
fn alice_calls(net: &mut Net) -> String {
    net.faults = Box::new(|_, what| if what.starts_with("INVITE") { Fate::Lost } else { Fate::Arrives });
    let path = net.path("alice", "bob");
    net.command(
        "alice",
        Command::Invite {
            call: CallHandle(1),
            uri: "sip:bob@192.0.2.2".into(),
            path,
            from: "<sip:alice@home.test>".into(),
            to: "<sip:bob@shop.test>".into(),
            sdp: Some(SDP),
            headers: Vec::new(),
            credentials: None,
        },
    );
    net.packets[0].1.clone()
}

/// A response to that INVITE.
fn response(invite: &str, status: &str, tag: &str, extra: &str) -> String {
    let line = |name: &str| invite.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
    format!(
        "SIP/2.0 {status}\r\n{}\r\n{}\r\n{};tag={tag}\r\n{}\r\n{}\r\n{extra}Content-Length: 0\r\n\r\n",
        line("Via"),
        line("From"),
        line("To"),
        line("Call-ID"),
        line("CSeq")
    )
}

#[test]
fn the_second_fork_is_acknowledged_and_ended() {
    let mut net = Net::new(plain);
    let invite = alice_calls(&mut net);
    net.inject("bob", "alice", &response(&invite, "180 Ringing", "one", "Contact: <sip:bob@192.0.2.2>\r\n"));
    net.inject("bob", "alice", &response(&invite, "183 Progress", "two", "Contact: <sip:bob@192.0.2.2>\r\n"));
    net.inject("bob", "alice", &response(&invite, "200 OK", "one", "Contact: <sip:one@192.0.2.2>\r\n"));
    net.inject("bob", "alice", &response(&invite, "200 OK", "two", "Contact: <sip:two@192.0.2.2>\r\n"));
    net.inject("bob", "alice", &response(&invite, "200 OK", "two", "Contact: <sip:two@192.0.2.2>\r\n"));
    net.inject("bob", "alice", &response(&invite, "200 OK", "one", "Contact: <sip:one@192.0.2.2>\r\n"));
    net.run(50);
    let sent: Vec<String> = net
        .packets
        .iter()
        .filter(|(from, _)| *from == "alice")
        .map(|(_, text)| text.lines().next().unwrap().replace(" SIP/2.0", ""))
        .collect();
    assert_eq!(
        sent,
        [
            "INVITE sip:bob@192.0.2.2",
            "ACK sip:one@192.0.2.2",
            "ACK sip:two@192.0.2.2",
            "BYE sip:two@192.0.2.2",
            "ACK sip:two@192.0.2.2",
            "ACK sip:one@192.0.2.2"
        ]
    );
    assert_eq!(net.events, ["alice: Progressed 180", "alice: Progressed 183", "alice: Answered"]);
    assert_eq!(net.end("alice").usage().calls, 1);
}

#[test]
fn forged_and_foreign_responses_are_dropped() {
    let mut net = Net::new(plain);
    let invite = alice_calls(&mut net);
    let good = response(&invite, "200 OK", "x", "");
    for forged in [
        good.replace("branch=z9hG4bK1.", "branch=z9hG4bK1.0"),
        good.replace("branch=z9hG4bK1.", "branch=z9hG4bKffffffffffffffff."),
        good.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"),
        good.replace("From:", "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK2\r\nFrom:"),
    ] {
        net.inject("bob", "alice", &forged);
    }
    net.run(50);
    assert_eq!(net.events, Vec::<String>::new());
    net.inject("bob", "alice", &good);
    net.run(50);
    assert_eq!(net.events, ["alice: Answered"]);
}

#[test]
fn routes_and_targets_are_followed() {
    let mut net = Net::new(plain);
    let invite = alice_calls(&mut net);
    let routes = "Record-Route: <sip:192.0.2.3;lr>, <sip:p2.test;lr>\r\nRecord-Route: <sip:192.0.2.2;lr>\r\nContact: <sip:bob@10.0.0.9:5099>\r\n";
    net.inject("bob", "alice", &response(&invite, "200 OK", "r", routes));
    net.run(50);
    net.command("alice", Command::Hangup { call: CallHandle(1), status: None, reasons: vec![] });
    net.run(50);
    let (_, bye) = net.packets.iter().find(|(_, text)| text.starts_with("BYE")).unwrap();
    assert!(bye.starts_with("BYE sip:bob@10.0.0.9:5099 SIP/2.0\r\n"), "{bye}");
    let routes: Vec<&str> = bye.lines().filter(|l| l.starts_with("Route")).collect();
    assert_eq!(routes, ["Route: <sip:192.0.2.2;lr>", "Route: <sip:p2.test;lr>", "Route: <sip:192.0.2.3;lr>"]);
    assert!(net.ladder.contains("alice -> bob: BYE"), "to the first route:\n{}", net.ladder);
}

#[test]
fn a_phone_behind_nat_is_reached_where_its_messages_come_from() {
    let mut net = Net::new(plain);
    let invite = alice_calls(&mut net);
    net.inject("bob", "alice", &response(&invite, "200 OK", "n", "Contact: <sip:bob@192.168.1.20:5062>\r\n"));
    net.run(50);
    assert!(net.ladder.contains("alice -> bob: ACK"), "{}", net.ladder);
}

#[test]
fn a_broken_connection_fails_what_is_open() {
    let mut net = Net::new(plain);
    net.transport = Transport::Tcp;
    let _ = alice_calls(&mut net);
    let now = net.now;
    net.end("alice").handle_closed(now, 7);
    net.run(50);
    assert_eq!(net.events, ["alice: Failed 503 Service Unavailable"]);
    assert_eq!(net.end("alice").usage().calls, 0);

    let mut net = Net::new(plain);
    net.transport = Transport::Tcp;
    carol_calls(&mut net);
    let now = net.now;
    net.end("bob").handle_closed(now, 7);
    net.run(50);
    assert_eq!(net.events, ["bob: Incoming bob from carol", "bob: Cancelled"]);
    assert_eq!(net.end("bob").usage().calls, 0);
}

#[test]
fn a_flood_of_one_source_is_dropped_and_calls_go_on() {
    let mut net = Net::new(|name, config| {
        if name == "bob" {
            let carol = "192.0.2.3".parse::<std::net::IpAddr>().unwrap();
            config.auth =
                Box::new(move |facts| if facts.path.remote.ip() == carol { Trust::Digest } else { Trust::Trusted });
            config.limits.per_source = Some(PerSource { per_second: 10, burst: 20 });
        }
    });
    let path = net.path("alice", "bob");
    net.handler = Box::new(|who, event| match (who, event) {
        ("bob", Event::Incoming { call, .. }) => {
            vec![Command::Answer { call: *call, sdp: SDP, headers: Vec::new() }]
        }
        (_, Event::Reoffered { call, .. }) => {
            vec![Command::AnswerReoffer { call: *call, sdp: Some(SDP) }]
        }
        _ => Vec::new(),
    });
    let invite = |call| Command::Invite {
        call: CallHandle(call),
        uri: "sip:bob@192.0.2.2".into(),
        path,
        from: "<sip:alice@home.test>".into(),
        to: "<sip:bob@shop.test>".into(),
        sdp: Some(SDP),
        headers: Vec::new(),
        credentials: None,
    };
    net.command("alice", invite(1));
    net.run(100);
    for n in 0..1_000 {
        let method = ["REGISTER", "INVITE", "OPTIONS", "BYE", "CANCEL"][n % 5];
        net.inject("carol", "bob", &request(method, &format!("f{n}"), 1, "", ""));
        net.inject("carol", "bob", &request("INFO", &format!("g{n}"), 1, "1-stray", ""));
        net.inject("carol", "bob", "INVITE x SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n\r\n");
    }
    net.command("alice", Command::Reoffer { call: CallHandle(1), sdp: SDP });
    net.command("alice", invite(2));
    net.run(100);
    let answered = answers(&net).iter().filter(|a| !a.ends_with("INVITE")).count();
    assert!(answered <= 20, "{answered}");
    let alice: Vec<&String> = net.events.iter().filter(|e| e.starts_with("alice")).collect();
    assert_eq!(alice, ["alice: Answered +sdp", "alice: ReofferAnswered +sdp", "alice: Answered +sdp"]);
    let to_carol = net.packets.iter().filter(|(from, text)| *from == "bob" && !text.contains("alice")).count();
    assert!(to_carol <= 20, "{to_carol}");
    assert_eq!(net.end("bob").usage().calls, 2);
}

#[test]
fn ended_transactions_do_not_count_against_new_calls_and_are_bounded() {
    let mut net = Net::new(|name, config| {
        if name == "bob" {
            config.limits.transactions = 3;
            config.limits.lingering = 20;
        }
    });
    net.handler = Box::new(|who, event| match (who, event) {
        ("bob", Event::Incoming { call, .. }) => {
            vec![Command::Refuse { call: *call, status: 486, headers: Vec::new() }]
        }
        _ => Vec::new(),
    });
    for n in 0..100 {
        let invite = request("INVITE", &format!("n{n}"), 1, "", "").replace("by-hand", &format!("call-{n}"));
        let tag = |net: &Net| {
            let (_, text) = net.packets.last().unwrap();
            text.lines().find_map(|l| l.strip_prefix("To: ")).and_then(|t| t.rsplit_once("tag=")).unwrap().1.to_owned()
        };
        net.inject("carol", "bob", &invite);
        net.run(11);
        let ack = request("ACK", &format!("n{n}"), 1, &tag(&net), "").replace("by-hand", &format!("call-{n}"));
        net.inject("carol", "bob", &ack);
        net.run(11);
    }
    assert_eq!(answers(&net).iter().filter(|a| *a == "486 INVITE").count(), 100, "{}", net.ladder);
    let usage = net.end("bob").usage();
    assert!(usage.lingering <= 20 && usage.transactions == usage.lingering, "{usage:?}");
}

#[test]
fn a_refused_source_learns_nothing() {
    let mut net = Net::new(|_, config| config.auth = Box::new(|_| Trust::Refused(403)));
    for (n, method) in ["INVITE", "REGISTER", "OPTIONS", "FLY", "BYE"].into_iter().enumerate() {
        net.inject("carol", "bob", &request(method, &format!("r{n}"), 1, "", ""));
    }
    net.run(50);
    assert_eq!(answers(&net), ["403 INVITE", "403 REGISTER", "403 OPTIONS", "403 FLY", "403 BYE"]);
    assert!(net.packets.iter().all(|(_, text)| !text.contains("Allow:")));
    assert!(net.events.is_empty() && net.end("bob").usage().transactions == 0);
}

#[test]
fn a_call_that_replaces_another_is_found() {
    let mut net = Net::new(plain);
    carol_calls(&mut net);
    bob_answers(&mut net);
    let tag = tag_of_bob(&net);
    net.inject("carol", "bob", &request("ACK", "9", 5, &tag, ""));
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let into = seen.clone();
    net.handler = Box::new(move |_, event| {
        if let Event::Incoming { invite, .. } = event {
            into.borrow_mut().push((**invite).clone());
        }
        Vec::new()
    });
    let transfer = |branch: &str, replaces: &str| {
        request("INVITE", branch, 1, "", &format!("Replaces: {replaces}\r\n"))
            .replace("Call-ID: by-hand", &format!("Call-ID: call-{branch}"))
    };
    net.inject("carol", "bob", &transfer("x", &format!("by-hand;to-tag={tag};from-tag=c")));
    net.inject("carol", "bob", &transfer("y", &format!("by-hand;to-tag={tag};from-tag=guess")));
    net.inject("carol", "bob", &transfer("z", "by-hand"));
    net.run(50);
    let found: Vec<Option<CallHandle>> = seen.borrow().iter().map(|i| net.end("bob").replaced_call(i)).collect();
    assert_eq!(found, [Some(CallHandle(1)), None, None]);
}

#[test]
fn call_ids_made_here_belong_to_the_shard() {
    for index in 0..3 {
        let mut net = Net::new(|_, config| config.shard = Shard { index, count: 3 });
        let invite = alice_calls(&mut net);
        assert_eq!(hotline_sip::shard_of(invite.as_bytes(), 3), index);
    }
}

#[test]
fn a_cause_is_reported() {
    let mut net = Net::new(plain);
    let invite = alice_calls(&mut net);
    net.inject("bob", "alice", &response(&invite, "486 Busy", "b", "Reason: Q.850;cause=17\r\n"));
    net.run(50);
    assert_eq!(net.events, ["alice: Failed 486 Busy (Q.850;cause=17)"]);
}

#[test]
fn both_address_families_on_one_socket() {
    let mut net = Net::new(plain);
    let mut path = net.path("alice", "bob");
    path.local = "[::ffff:192.0.2.1]:5060".parse().unwrap();
    path.remote = "[::ffff:192.0.2.2]:5060".parse().unwrap();
    let text = request("INVITE", "m", 1, "", "").replace("sip:carol@192.0.2.3", "sip:carol@192.0.2.9:5071");
    let now = net.now;
    let alice = net.end("alice");
    alice.handle_packet(now, path, text.as_bytes());
    alice.handle_command(now, Command::Answer { call: CallHandle(1), sdp: SDP, headers: Vec::new() }).unwrap();
    let mut sent = Vec::new();
    while let Some(output) = alice.poll_output() {
        if let Output::Transmit { bytes, .. } = output {
            sent.push(String::from_utf8(bytes.to_vec()).unwrap());
        }
    }
    let ok = sent.last().unwrap();
    assert!(ok.contains("Contact: <sip:192.0.2.1:5060>\r\n"), "{ok}");
    let tag = ok.lines().find(|l| l.starts_with("To: ")).and_then(|l| l.rsplit_once("tag=")).unwrap().1.to_owned();
    alice.handle_packet(now, path, request("ACK", "n", 1, &tag, "").as_bytes());
    alice.handle_command(now, Command::Hangup { call: CallHandle(1), status: None, reasons: vec![] }).unwrap();
    let to = std::iter::from_fn(|| alice.poll_output()).find_map(|output| match output {
        Output::Transmit { path, .. } => Some(path.remote.to_string()),
        _ => None,
    });
    assert_eq!(to.as_deref(), Some("[::ffff:192.0.2.9]:5071"));
}

#[test]
fn commands_that_do_not_fit_change_nothing() {
    let mut net = Net::new(plain);
    let _ = alice_calls(&mut net);
    let now = net.now;
    let call = CallHandle(1);
    let alice = net.end("alice");
    let mut wrong = |command| alice.handle_command(now, command).unwrap_err().to_string();
    assert!(wrong(Command::Reoffer { call, sdp: SDP }).contains("calling, not answered"));
    assert!(wrong(Command::Answer { call, sdp: SDP, headers: Vec::new() }).contains("calling, not answered"));
    assert!(wrong(Command::AnswerReoffer { call, sdp: None }).contains("without an open offer"));
    assert!(wrong(Command::Progress { call: CallHandle(9), status: 180, sdp: None }).contains("unknown"));
    let headers = vec![("Via".to_owned(), "x".to_owned())];
    assert!(wrong(Command::Answer { call, sdp: SDP, headers }).contains("leave out"));
    let mut config = Net::new(plain);
    let path = config.path("alice", "bob");
    let bad = Command::Invite {
        call: CallHandle(2),
        uri: "bob".into(),
        path,
        from: "<sip:a@b>".into(),
        to: "<sip:a@b>".into(),
        sdp: None,
        headers: Vec::new(),
        credentials: None,
    };
    assert!(config.end("alice").handle_command(now, bad).unwrap_err().to_string().contains("uri"));
}

#[test]
fn random_bytes_commands_and_corrupted_calls_never_panic() {
    // More on demand: `HOTLINE_FUZZ_WORLDS=100000`.
    let worlds = std::env::var("HOTLINE_FUZZ_WORLDS").ok().and_then(|w| w.parse().ok()).unwrap_or(300);
    for seed in 1u64..worlds {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut net = Net::new(plain);
        net.strict = false;
        net.handler = Box::new(|who, event| match (who, event) {
            ("bob", Event::Incoming { call, .. }) => vec![
                Command::Progress { call: *call, status: 183, sdp: Some(SDP) },
                Command::Answer { call: *call, sdp: SDP, headers: Vec::new() },
            ],
            _ => Vec::new(),
        });
        let path = net.path("alice", "bob");
        let invite = Command::Invite {
            call: CallHandle(1),
            uri: "sip:bob@192.0.2.2".into(),
            path,
            from: "<sip:alice@home.test>".into(),
            to: "<sip:bob@shop.test>".into(),
            sdp: Some(SDP),
            headers: Vec::new(),
            credentials: None,
        };
        net.command("alice", invite);
        for _ in 0..30 {
            net.run(random(400));
            // One packet of this call again, with a few bytes changed.
            let index = random(net.packets.len() as u64) as usize;
            let (from, text) = net.packets[index].clone();
            let mut bytes = text.into_bytes();
            for _ in 0..random(4) {
                let at = random(bytes.len() as u64) as usize;
                bytes[at] = random(256) as u8;
            }
            let to = if from == "alice" { "bob" } else { "alice" };
            let back = net.path(to, from);
            let now = net.now;
            net.end(to).handle_packet(now, back, &bytes);
            let who = if random(2) == 0 { "alice" } else { "bob" };
            let call = CallHandle(random(3));
            let command = match random(9) {
                0 => Command::Progress { call, status: 180, sdp: None },
                1 => Command::Answer { call, sdp: SDP, headers: Vec::new() },
                2 => Command::Refuse { call, status: 486, headers: Vec::new() },
                3 => Command::AnswerReoffer { call, sdp: Some(SDP) },
                4 => Command::Reoffer { call, sdp: SDP },
                5 => Command::AnswerLateOffer { call, sdp: SDP },
                6 => Command::Refer { call, refer_to: "<sip:x@y>".into() },
                7 => Command::Hangup { call, status: None, reasons: vec![] },
                _ => Command::Info { call, content_type: "a/b".into(), body: SDP },
            };
            // Most do not fit; none may do harm.
            let _ = net.end(who).handle_command(now, command);
        }
        let now = net.now;
        for who in ["alice", "bob"] {
            for call in 0..40 {
                let _ = net
                    .end(who)
                    .handle_command(now, Command::Hangup { call: CallHandle(call), status: None, reasons: vec![] });
            }
        }
        net.run(400_000);
        for who in ["alice", "bob"] {
            let usage = net.end(who).usage();
            assert_eq!((usage.calls, usage.transactions), (0, 0), "seed {seed}, {who}\n{}", net.ladder);
        }
    }
}
