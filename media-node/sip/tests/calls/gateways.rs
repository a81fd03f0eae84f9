//! What a gateway needs of us: OPTIONS that ask how it is, and registrations that survive refusals.

use hotline_sip::api::{CallHandle, Command, Credentials, Event, Ha1, Path};
use hotline_sip::{EndpointConfig, Trust};
use std::time::Duration;

use crate::flows::assert_quiet;
use crate::net::Net;

const PING: CallHandle = CallHandle(70);
const LINE: CallHandle = CallHandle(71);

/// `nobody` is an address without an end.
fn way(net: &Net, to: &str) -> Path {
    match to {
        "nobody" => Path { remote: "192.0.2.9:5060".parse().unwrap(), ..net.path("alice", "bob") },
        to => net.path("alice", to),
    }
}

fn ping(net: &Net, to: &str) -> Command {
    Command::Ping {
        call: PING,
        uri: "sip:gateway.test".into(),
        path: way(net, to),
        from: "<sip:node@192.0.2.1>".into(),
    }
}

fn register(net: &Net, to: &str, seconds: u64) -> Command {
    Command::Register {
        call: LINE,
        registrar: "sip:shop.test".into(),
        path: way(net, to),
        aor: "sip:alice@shop.test".into(),
        contact: "sip:alice@192.0.2.1:5060".into(),
        expires: Duration::from_secs(seconds),
        credentials: Some(Credentials { user: "alice".into(), password: "wonder".into() }),
    }
}

fn registrations(net: &Net) -> Vec<&str> {
    net.events.iter().filter_map(|event| event.strip_prefix("alice: Registration ")).collect()
}

fn registers(net: &Net) -> usize {
    net.packets.iter().filter(|(from, text)| *from == "alice" && text.starts_with("REGISTER ")).count()
}

#[test]
fn a_ping_is_answered_or_missed() {
    let mut net = Net::new(|_, _| {});
    let command = ping(&net, "bob");
    net.command("alice", command);
    net.run(1_000);
    assert_eq!(net.events, ["bob: Pinged", "alice: Pong 200"]);
    let command = ping(&net, "nobody");
    net.command("alice", command);
    net.run(31_000);
    assert_eq!(net.events.len(), 2, "it is repeated");
    net.run(2_000);
    assert_eq!(net.events.last().unwrap(), "alice: Pong 408");
    let bad = Command::Ping { call: PING, uri: "x y".into(), path: net.path("alice", "bob"), from: "<sip:a@b>".into() };
    assert!(net.end("alice").handle_command(std::time::Instant::now(), bad).is_err());
    assert_quiet(&mut net);
}

#[test]
fn a_registration_survives_too_brief_refusals_and_silence() {
    let mut net = Net::new(|_, _| {});
    let mut answers = 0;
    net.handler = Box::new(move |who, event| match (who, event) {
        ("bob", Event::Registering { request, register }) => {
            answers += 1;
            let header = |name: &str, value: &str| (name.to_string(), value.to_string());
            let (status, headers) = match answers {
                1 => (423, vec![header("Min-Expires", "100")]),
                2 => (503, vec![header("Retry-After", "30")]),
                _ => {
                    let uri = register.contacts.first().map(|(uri, _)| uri.clone()).unwrap_or_default();
                    (200, vec![header("Contact", &format!("<{uri}>;expires=100"))])
                }
            };
            vec![Command::Reply { request: *request, status, headers }]
        }
        _ => vec![],
    });
    let command = register(&net, "bob", 60);
    net.command("alice", command);
    net.run(29_000);
    assert_eq!(registrations(&net), ["Err(503)"], "423 is answered with a longer time at once");
    net.run(2_000);
    assert_eq!(registrations(&net), ["Err(503)", "Ok(100)"], "after the Retry-After");
    net.run(80_000);
    assert_eq!(registrations(&net).len(), 3, "refreshed at four fifths");

    // A registrar that is not there: asked again and again, less and less often.
    let command = register(&net, "nobody", 60);
    net.command("alice", command);
    net.run(40_000);
    assert_eq!(registrations(&net).last(), Some(&"Err(408)"));
    net.run(600_000);
    let failures = registrations(&net).iter().filter(|result| **result == "Err(408)").count();
    assert!((5..=9).contains(&failures), "{failures}");
    let command = register(&net, "bob", 60);
    net.command("alice", command);
    net.run(1_000);
    assert_eq!(registrations(&net).last(), Some(&"Ok(60)"));
}

#[test]
fn a_stale_nonce_is_taken_anew_but_not_for_ever() {
    let stale = |life| {
        let mut net = Net::new(move |name, config: &mut EndpointConfig| {
            if name == "bob" {
                config.auth = Box::new(|_| Trust::Digest);
                config.limits.nonce_life = life;
            }
        });
        net.handler = Box::new(|who, event| match (who, event) {
            ("bob", Event::Authenticate { request, realm, .. }) => {
                vec![Command::Account { request: *request, ha1: Some(Ha1::of("alice", realm, "wonder")) }]
            }
            ("bob", Event::Registering { request, .. }) => {
                vec![Command::Reply { request: *request, status: 200, headers: vec![] }]
            }
            _ => vec![],
        });
        let command = register(&net, "bob", 60);
        net.command("alice", command);
        net.run(4_000);
        (registrations(&net).join(" "), registers(&net))
    };
    assert_eq!(stale(Duration::from_secs(60)), ("Ok(60)".into(), 2));
    // Every nonce is too old before it is used.
    assert_eq!(stale(Duration::ZERO), ("Err(401)".into(), 4));
}
