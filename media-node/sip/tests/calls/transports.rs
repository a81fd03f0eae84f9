//! What the transports change: names in Via and Contact, repetitions, the way back.

use bytes::Bytes;
use hotline_sip::api::{CallHandle, Command, Credentials, Event, Ha1, Output, Path, Register, Transport};
use hotline_sip::{Endpoint, EndpointConfig, Trust};
use std::time::{Duration, Instant};

use crate::flows::{CALL, OFFER, answering, assert_quiet, golden_at, hang_up, invite};
use crate::net::{Fate, Net};

const ALL: [Transport; 5] = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

fn net(transport: Transport) -> Net {
    let mut net = Net::new(|_, _| {});
    net.transport = transport;
    net
}

/// First line, Via and Contact of what was sent.
fn ways(packets: &[(&'static str, String)]) -> String {
    let mut out = String::new();
    for (who, text) in packets {
        for (n, line) in text.lines().enumerate() {
            if n == 0 {
                out += &format!("{who}: {line}\n");
            } else if line.starts_with("Via: ") || line.starts_with("Contact: ") {
                out += &format!("    {}\n", line.split(";branch=").next().unwrap_or_default());
            }
        }
    }
    out
}

#[test]
fn every_transport_names_itself_and_sips_stays_sips() {
    let mut text = String::new();
    for transport in ALL {
        for scheme in ["sip", "sips"] {
            if scheme == "sips" && !matches!(transport, Transport::Tls | Transport::Wss) {
                continue;
            }
            let mut net = net(transport);
            net.handler = Box::new(answering);
            let Command::Invite { path, from, to, sdp, .. } = invite(&net, Some(OFFER)) else { unreachable!() };
            let uri = format!("{scheme}:bob@192.0.2.2");
            let (headers, credentials) = (Vec::new(), None);
            net.command("alice", Command::Invite { call: CALL, uri, path, from, to, sdp, headers, credentials });
            net.run(100);
            net.command("alice", hang_up(CALL));
            net.run(1_000);
            text += &format!("== {transport:?}, {scheme}:\n{}", ways(&net.packets));
            assert_quiet(&mut net);
        }
    }
    golden_at("transports", &text);
}

#[test]
fn only_datagrams_are_repeated() {
    for transport in ALL {
        let mut net = net(transport);
        net.faults = Box::new(|_, _| Fate::Lost);
        let command = invite(&net, None);
        net.command("alice", command);
        net.run(40_000);
        let sent = net.packets.len();
        // §17.1.1.2: at 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s again.
        assert_eq!(sent, if transport == Transport::Udp { 7 } else { 1 }, "{transport:?}");
        assert_eq!(net.events, ["alice: Failed 408 Request Timeout"], "{transport:?}");
    }
}

#[test]
fn who_cannot_be_reached_fails_at_once() {
    let mut net = net(Transport::Tls);
    net.faults = Box::new(|_, _| Fate::Lost);
    let Command::Invite { call, uri, mut path, from, to, sdp, headers, credentials } = invite(&net, None) else {
        unreachable!()
    };
    path.connection = 0;
    net.command("alice", Command::Invite { call, uri, path, from, to, sdp, headers, credentials });
    let now = net.now;
    net.end("alice").handle_unreachable(now, Path { transport: Transport::Tcp, ..path });
    net.run(10);
    assert!(net.events.is_empty(), "another transport");
    net.end("alice").handle_unreachable(now, Path { connection: 9, ..path });
    net.run(10);
    assert_eq!(net.events, ["alice: Failed 503 Service Unavailable"]);
    assert_eq!(net.end("alice").usage().calls, 0);
}

#[test]
fn a_digest_over_a_uri_with_a_transport_is_right() {
    for transport in [Transport::Ws, Transport::Wss, Transport::Tls] {
        let mut net = Net::new(|name, config| {
            if name == "bob" {
                config.auth = Box::new(|_| Trust::Digest);
            }
        });
        net.transport = transport;
        net.handler = Box::new(|who, event| match (who, event) {
            ("bob", Event::Authenticate { request, realm, .. }) => {
                vec![Command::Account { request: *request, ha1: Some(Ha1::of("alice", realm, "wonder")) }]
            }
            ("bob", Event::Registering { request, .. }) => {
                vec![Command::Reply { request: *request, status: 200, headers: Vec::new() }]
            }
            _ => Vec::new(),
        });
        let command = Command::Register {
            call: CALL,
            registrar: "sip:shop.test;transport=ws".into(),
            path: net.path("alice", "bob"),
            aor: "sip:alice@shop.test".into(),
            contact: "sip:alice@df7jal23ls0d.invalid;transport=ws".into(),
            expires: Duration::from_secs(60),
            credentials: Some(Credentials { user: "alice".into(), password: "wonder".into() }),
        };
        net.command("alice", command);
        net.run(1_000);
        assert_eq!(net.events.last().unwrap(), "alice: Registration Ok(60)", "{transport:?}\n{}", net.ladder);
    }
}

/// What RFC 7118 §8.1 shows, with the flow of RFC 5626, and no Content-Length.
const REGISTER: &str = "REGISTER sip:shop.test SIP/2.0\r\n\
    Via: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bKasudf\r\n\
    From: <sip:alice@shop.test>;tag=65bnmj.34asd\r\n\
    To: <sip:alice@shop.test>\r\n\
    Call-ID: aiuy7k9njasd\r\n\
    CSeq: 1 REGISTER\r\n\
    Max-Forwards: 70\r\n\
    Supported: path, outbound, gruu\r\n\
    Contact: <sip:alice@df7jal23ls0d.invalid;transport=ws>;reg-id=1;\
    +sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\"\r\n\r\n";

/// A browser's REGISTER at an endpoint that trusts it.
fn registered(endpoint: &mut Endpoint, path: Path, text: &str) -> Register {
    let now = Instant::now();
    endpoint.handle_packet(now, path, text.as_bytes());
    let mut found = None;
    while let Some(output) = endpoint.poll_output() {
        if let Output::Event(Event::Registering { request, register }) = output {
            let headers = vec![("Contact".into(), format!("<{}>;expires=600", register.contacts[0].0))];
            endpoint.handle_command(now, Command::Reply { request, status: 200, headers }).unwrap();
            found = Some(*register);
        }
    }
    found.unwrap()
}

#[test]
fn a_browser_is_reached_by_the_connection_it_registered_on() {
    let mut endpoint = Endpoint::new(EndpointConfig::new("shop"), [7; 32]);
    let path = Path {
        transport: Transport::Wss,
        local: "192.0.2.2:443".parse().unwrap(),
        remote: "198.51.100.7:50123".parse().unwrap(),
        connection: 42,
    };
    endpoint.handle_packet(Instant::now(), path, REGISTER.as_bytes());
    let Some(Output::Event(Event::Registering { request, register })) = endpoint.poll_output() else { panic!() };
    assert_eq!(register.contacts, [("sip:alice@df7jal23ls0d.invalid;transport=ws".to_string(), 3_600)]);
    assert_eq!(register.flow.as_deref(), Some("\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\" 1"));
    let reply = Command::Reply { request, status: 200, headers: Vec::new() };
    endpoint.handle_command(Instant::now(), reply).unwrap();
    let Some(Output::Transmit { path: back, bytes }) = endpoint.poll_output() else { panic!() };
    assert_eq!(back, path, "by the connection, whatever the Via says");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains("Via: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bKasudf;received=198.51.100.7"), "{text}");

    let ring = Command::Invite {
        call: CallHandle(1),
        uri: register.contacts[0].0.clone(),
        path: register.path,
        from: "<sip:caller@shop.test>".into(),
        to: "<sip:alice@shop.test>".into(),
        sdp: Some(Bytes::from_static(b"v=0\r\n")),
        headers: Vec::new(),
        credentials: None,
    };
    endpoint.handle_command(Instant::now(), ring).unwrap();
    let Some(Output::Transmit { path: way, bytes }) = endpoint.poll_output() else { panic!() };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert_eq!(way, path);
    assert!(text.starts_with("INVITE sip:alice@df7jal23ls0d.invalid;transport=ws SIP/2.0\r\n"), "{text}");
    assert!(text.contains("\r\nVia: SIP/2.0/WSS 192.0.2.2:443;rport;branch="), "{text}");
    assert!(text.contains("\r\nContact: <sip:192.0.2.2:443;transport=ws>\r\n"), "{text}");
}

#[test]
fn flows_are_told_apart_by_instance_and_number() {
    let mut endpoint = Endpoint::new(EndpointConfig::new("shop"), [7; 32]);
    let path = Path {
        transport: Transport::Ws,
        local: "192.0.2.2:80".parse().unwrap(),
        remote: "198.51.100.7:50123".parse().unwrap(),
        connection: 1,
    };
    let mut n = 0;
    let mut flow = |contact: &str| {
        n += 1;
        let text = REGISTER.replace("z9hG4bKasudf", &format!("z9hG4bK{n}")).replace("CSeq: 1", &format!("CSeq: {n}"));
        let (before, _) = text.split_once("Contact: ").unwrap();
        registered(&mut endpoint, path, &format!("{before}Contact: {contact}\r\n\r\n")).flow
    };
    assert_eq!(
        flow("<sip:a@x.invalid>;+sip.instance=\"<urn:uuid:1>\";reg-id=2").as_deref(),
        Some("\"<urn:uuid:1>\" 2")
    );
    assert_eq!(flow("<sip:a@x.invalid>;+sip.instance=\"<urn:uuid:1>\"").as_deref(), Some("\"<urn:uuid:1>\" 0"));
    assert_eq!(flow("<sip:a@x.invalid>;reg-id=2"), None);
    assert_eq!(flow("<sip:a@x.invalid>;+sip.instance=\"<urn:uuid:1>\", <sip:b@x.invalid>"), None, "of which one?");
}
