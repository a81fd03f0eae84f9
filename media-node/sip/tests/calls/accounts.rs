//! Registration and digest between two endpoints (RFC 3665 §2).

use hotline_sip::api::{Command, Credentials, Event, Ha1};
use hotline_sip::{EndpointConfig, Trust};
use std::time::Duration;

use crate::flows::{CALL, OFFER, answering, assert_quiet, golden, hang_up, invite};
use crate::net::Net;

fn with_digest(name: &'static str, config: &mut EndpointConfig) {
    if name == "bob" {
        config.auth = Box::new(|_| Trust::Digest);
    }
}

/// Bob is a registrar that knows one account.
fn registrar(who: &'static str, event: &Event) -> Vec<Command> {
    match (who, event) {
        ("bob", Event::Authenticate { request, user, realm, .. }) => {
            let ha1 = (user == "alice").then(|| Ha1::of("alice", realm, "wonder"));
            vec![Command::Account { request: *request, ha1 }]
        }
        ("bob", Event::Registering { request, register }) => {
            let headers = register
                .contacts
                .iter()
                .filter(|(_, seconds)| *seconds > 0)
                .map(|(uri, seconds)| ("Contact".to_owned(), format!("<{uri}>;expires={seconds}")))
                .collect();
            vec![Command::Reply { request: *request, status: 200, headers }]
        }
        _ => answering(who, event),
    }
}

fn register(net: &Net, user: &str, password: &str, seconds: u64) -> Command {
    Command::Register {
        call: CALL,
        registrar: "sip:shop.test".into(),
        path: net.path("alice", "bob"),
        aor: format!("sip:{user}@shop.test"),
        contact: "sip:alice@192.0.2.1:5060".into(),
        expires: Duration::from_secs(seconds),
        credentials: Some(Credentials { user: user.into(), password: password.into() }),
    }
}

#[test]
fn rfc3665_2_registration() {
    let mut net = Net::new(with_digest);
    net.handler = Box::new(registrar);
    let command = register(&net, "alice", "wonder", 60);
    net.command("alice", command);
    // One refresh at 4/5 of the time granted, with a new challenge.
    net.run(50_000);
    let command = register(&net, "alice", "wonder", 0);
    net.command("alice", command);
    net.run(1_000);
    golden("3665-2-registration", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn wrong_passwords_and_unknown_users_look_alike_and_lock_out() {
    let answers = |user: &str| {
        let mut net = Net::new(|name, config| {
            with_digest(name, config);
            config.limits.auth_failures = 3;
        });
        net.handler = Box::new(registrar);
        for _ in 0..5 {
            let command = register(&net, user, "guess", 60);
            net.command("alice", command);
            net.run(1_000);
        }
        let sizes: Vec<usize> =
            net.packets.iter().filter(|(from, _)| *from == "bob").map(|(_, text)| text.len()).collect();
        let results: Vec<String> = net.events.iter().filter(|e| e.contains("Registration")).cloned().collect();
        (results, sizes)
    };
    let (known, known_sizes) = answers("alice");
    let (unknown, unknown_sizes) = answers("nobod");
    assert_eq!(known, unknown);
    assert_eq!(known_sizes, unknown_sizes);
    let refused = |status: u16| format!("alice: Registration Err({status})");
    assert_eq!(known, [refused(401), refused(401), refused(401), refused(403), refused(403)]);
}

#[test]
fn guesses_at_another_shard_count() {
    let mut net = Net::new(|name, config| {
        with_digest(name, config);
        config.limits.auth_failures = 3;
    });
    net.handler = Box::new(registrar);
    let command = register(&net, "alice", "guess", 60);
    net.command("alice", command);
    net.run(1_000);
    assert!(net.events.contains(&"bob: Guessed alice".to_owned()), "{:?}", net.events);
    // Two more, that another shard saw; then the right password comes too late, and for this address only.
    let source = net.path("alice", "bob").local.ip();
    for _ in 0..2 {
        net.command("bob", Command::CountGuess { user: "alice".into(), source });
    }
    let command = register(&net, "alice", "wonder", 60);
    net.command("alice", command);
    net.run(1_000);
    assert_eq!(net.events.last().unwrap(), "alice: Registration Err(403)");
}

#[test]
fn an_invite_proves_its_account() {
    let mut net = Net::new(with_digest);
    net.handler = Box::new(registrar);
    let Command::Invite { call, uri, path, from, to, sdp, headers, .. } = invite(&net, Some(OFFER)) else {
        unreachable!()
    };
    let credentials = Some(Credentials { user: "alice".into(), password: "wonder".into() });
    net.command("alice", Command::Invite { call, uri, path, from, to, sdp, headers, credentials });
    net.run(100);
    net.command("alice", hang_up(CALL));
    net.run(1_000);
    golden("invite-with-digest", &net.ladder);
    assert_quiet(&mut net);
}

#[test]
fn a_captured_registration_cannot_be_played_again_or_turned_against_another_target() {
    let mut net = Net::new(with_digest);
    net.handler = Box::new(registrar);
    let command = register(&net, "alice", "wonder", 60);
    net.command("alice", command);
    net.run(100);
    let find =
        |net: &Net| net.packets.iter().rev().find(|(_, text)| text.contains("Authorization: ")).unwrap().1.clone();
    let captured = find(&net);
    let registered = |net: &Net| net.events.iter().filter(|e| e.contains("Registering")).count();
    let last_answer = |net: &Net| net.packets.iter().rev().find(|(from, _)| *from == "bob").unwrap().1.clone();
    assert_eq!(registered(&net), 1);

    // The same counter again, in a new transaction and with another Contact.
    let replay = captured
        .replace("branch=z9hG4bK", "branch=z9hG4bKreplay")
        .replace("CSeq: 2 ", "CSeq: 3 ")
        .replace("sip:alice@192.0.2.1:5060>", "sip:thief@192.0.2.1:5060>");
    net.inject("alice", "bob", &replay);
    net.run(100);
    assert_eq!(registered(&net), 1);
    let answer = last_answer(&net);
    assert!(answer.starts_with("SIP/2.0 401 ") && answer.contains("stale=true"), "{answer}");

    // From another address the nonce is not known.
    net.inject("carol", "bob", &replay.replace("branch=z9hG4bKreplay", "branch=z9hG4bKelsewhere"));
    net.run(100);
    assert_eq!(registered(&net), 1);

    // A digest made for one address of record does not register another one.
    let other = captured
        .replace("REGISTER sip:shop.test", "REGISTER sip:other.test")
        .replace("branch=z9hG4bK", "branch=z9hG4bKother")
        .replace("CSeq: 2 ", "CSeq: 4 ")
        .replace("nc=00000001", "nc=00000002");
    net.inject("alice", "bob", &other);
    net.run(100);
    assert_eq!(registered(&net), 1);
    assert!(last_answer(&net).starts_with("SIP/2.0 400 "));
}

#[test]
fn an_account_registers_itself_only() {
    let mut net = Net::new(with_digest);
    net.handler = Box::new(registrar);
    let Command::Register { call, registrar, path, contact, expires, credentials, .. } =
        register(&net, "alice", "wonder", 60)
    else {
        unreachable!()
    };
    let aor = "sip:boss@shop.test".into();
    net.command("alice", Command::Register { call, registrar, path, aor, contact, expires, credentials });
    net.run(100);
    assert_eq!(net.events.last().unwrap(), "alice: Registration Err(403)");
}
