//! SIP over TLS and WebSocket at a whole node, with real sockets.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use common::secure::{Guard, Kind};
use common::streams::{Browser, Certificate, Stream, StreamPhone, Wire, closes, connect, header, sdp, start_streams};
use common::{Peer, Running, rtp_address, until};
use hotline_sip::api::Transport;
use rustls::{ServerConnection, StreamOwned};
use tungstenite::Message;

const RULES: &str = "
rules:
  - dial: \"600\"
    menu: {prompt: {tone: 440, ms: 20000}}
  - dial: \"700\"
    bridge: {to: fang, ring_timeout_ms: 20000}
";

/// A phone registers, calls, is called from a UDP phone, and is gone with its connection.
fn serves<W: Wire>(node: &Running, mut phone: StreamPhone<W>, via: &str) -> StreamPhone<W> {
    let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
    rtp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let media = sdp(rtp.local_addr().unwrap().port());
    // Whoever registers over WebSocket is offered what browsers speak.
    let mut guard = via.contains("/WS").then(|| Guard::new(Kind::Browser, rtp.local_addr().unwrap().port()));
    let ok = phone.register();
    assert!(header(&ok, "Contact").contains("expires="), "{ok}");
    assert_eq!(node.metric("phones"), 1);

    phone.call_and_hang_up("600", &media);

    let mut caller = Peer::new(node.sip);
    let line = caller.dial("700", 440.0);
    let mut ring = None;
    until("the phone rings", &mut [&mut caller], |_| {
        ring = phone.wire.receive().filter(|m| m.starts_with("INVITE"));
        ring.is_some()
    });
    let ring = ring.unwrap();
    assert!(header(&ring, "Via").starts_with(via), "{ring}");
    phone.answer(&ring, "180 Ringing", "");
    let answer = guard.as_mut().map_or(media, |guard| guard.answer(&ring, rtp.local_addr().unwrap()));
    phone.answer(&ring, "200 OK", &answer);
    phone.wait("ACK", |m| m.starts_with("ACK"));
    until("the caller is answered", &mut [&mut caller], |p| p[0].lines[line].answered);
    // The caller's tone arrives at the phone.
    let mut packet = [0u8; 2_048];
    let node_rtp = rtp_address(ring.as_bytes()).unwrap();
    if guard.is_some() {
        rtp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    }
    until("the caller's voice", &mut [&mut caller], |_| {
        if let Some(guard) = &mut guard {
            guard.step(&rtp, node_rtp);
        }
        let Ok((length, from)) = rtp.recv_from(&mut packet) else { return false };
        let plain = match &mut guard {
            Some(guard) => guard.receive(&mut packet[..length], &rtp, from),
            None => Some(length),
        };
        plain == Some(172)
    });
    caller.hang_up(line);
    until("BYE is sent", &mut [&mut caller], |_| {
        phone.wire.receive().is_some_and(|m| {
            let bye = m.starts_with("BYE");
            if bye {
                phone.answer(&m, "200 OK", "");
            }
            bye
        })
    });
    phone
}

fn phones_are_gone(node: &Running) {
    until("no phone is registered", &mut [], |_| node.metric("phones") == 0 && node.metric("streams") == 0);
}

#[test]
fn a_phone_registers_calls_and_is_called_over_tls() {
    let certificate = Certificate::new();
    let node = start_streams("tls", "44000-44099", RULES, &certificate, &[]);
    let address = node.stream(Transport::Tls);
    let stream = certificate.connect(address).unwrap();
    stream.sock.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let phone =
        StreamPhone::new(Stream::new(stream), "fang", "TLS 127.0.0.1:5061", "sip:fang@127.0.0.1:5061;transport=tls");
    let mut phone = serves(&node, phone, &format!("SIP/2.0/TLS {address}"));

    // RFC 5626 §4.4.1: one CRLF for two.
    phone.wire.0.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0u8; 2];
    phone.wire.0.sock.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    phone.wire.0.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
    drop(phone);
    phones_are_gone(&node);
}

#[test]
fn a_browser_registers_calls_and_is_called_over_ws_and_wss() {
    let certificate = Certificate::new();
    let env = [("HOTLINE_NODE_SIP_WS_ORIGINS", "https://desk.test")];
    let node = start_streams("ws", "44100-44199", RULES, &certificate, &env);
    let contact = "sip:fang@df7jal23ls0d.invalid;transport=ws";

    let address = node.stream(Transport::Ws);
    let browser = Browser::open(connect(address, "127.0.0.1"), "ws", "https://desk.test");
    let phone = StreamPhone::new(browser, "fang", "WS df7jal23ls0d.invalid", contact);
    let mut phone = serves(&node, phone, &format!("SIP/2.0/WS {address}"));
    phone.wire.0.send(Message::Ping("there?".into())).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while !matches!(phone.wire.0.read(), Ok(Message::Pong(text)) if &text[..] == b"there?") {
        assert!(Instant::now() < end, "no pong");
    }
    phone.wire.0.close(None).unwrap();
    while phone.wire.0.read().is_ok() {}
    phones_are_gone(&node);

    let address = node.stream(Transport::Wss);
    let stream = certificate.connect(address).unwrap();
    let browser = Browser::open(stream, "ws", "https://desk.test");
    browser.0.get_ref().sock.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let phone = StreamPhone::new(browser, "fang", "WSS df7jal23ls0d.invalid", contact);
    drop(serves(&node, phone, &format!("SIP/2.0/WSS {address}")));
    phones_are_gone(&node);

    // Another page, another sub-protocol, plain HTTP.
    for (head, status) in [
        (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nOrigin: https://evil.test\r\n",
            "403",
        ),
        (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://desk.test\r\n",
            "400",
        ),
        ("", "426"),
    ] {
        let mut stream = connect(node.stream(Transport::Ws), "127.0.0.1");
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n{head}\r\n").unwrap();
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply);
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
    }
    until("all are counted", &mut [], |_| node.metric("handshakes_failed") == 3);
}

#[test]
fn who_comes_by_websocket_proves_an_account_from_trusted_addresses_too() {
    let certificate = Certificate::new();
    let node = start_streams("wsauth", "44200-44219", RULES, &certificate, &[("HOTLINE_NODE_SIP_WS_AUTH", "true")]);
    let browser = Browser::open(connect(node.stream(Transport::Ws), "127.0.0.1"), "ws", "https://desk.test");
    let mut phone = StreamPhone::new(browser, "fang", "WS x.invalid", "sip:fang@x.invalid;transport=ws");
    phone.wire.send(
        "REGISTER sip:hotline SIP/2.0\r\nVia: SIP/2.0/WS x.invalid;branch=z9hG4bK1\r\nFrom: <sip:fang@hotline>;tag=1\r\n\
         To: <sip:fang@hotline>\r\nCall-ID: a\r\nCSeq: 1 REGISTER\r\nContact: <sip:fang@x.invalid;transport=ws>\r\n\r\n",
    );
    phone.wait("a challenge", |m| m.starts_with("SIP/2.0 401"));
}

#[test]
fn a_changed_certificate_is_taken_over_and_connections_stay() {
    let certificate = Certificate::new();
    let node = start_streams("reload-tls", "44300-44319", RULES, &certificate, &[]);
    let address = node.stream(Transport::Tls);
    let old = certificate.connect(address).unwrap();
    old.sock.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut phone = StreamPhone::new(Stream::new(old), "fang", "TLS 127.0.0.1", "sip:fang@127.0.0.1;transport=tls");
    phone.register();

    certificate.renew();
    assert!(certificate.connect(address).is_err(), "still the old certificate");
    node.node().reload(&node.config);
    assert!(certificate.connect(address).is_ok());
    assert_eq!(node.metric("tls_reloads"), 1);
    phone.register();

    std::fs::write(certificate.key(), "no key").unwrap();
    node.node().reload(&node.config);
    assert_eq!(node.metric("tls_reload_failures"), 1);
    assert!(certificate.connect(address).is_ok(), "the last good one stays");
    assert!(node.metric("tls_certificate_not_after_seconds") > 1_700_000_000);
}

#[test]
fn a_wrong_certificate_is_named_at_the_start() {
    let certificate = Certificate::new();
    std::fs::write(certificate.key(), "no key").unwrap();
    let env = [
        ("HOTLINE_NODE_SIP_TLS_LISTEN".to_string(), "127.0.0.1:0".to_string()),
        ("HOTLINE_NODE_SIP_TLS_CERT".to_string(), certificate.cert().display().to_string()),
        ("HOTLINE_NODE_SIP_TLS_KEY".to_string(), certificate.key().display().to_string()),
        ("HOTLINE_NODE_NODE_DATA_DIR".to_string(), certificate.cert().with_file_name("data").display().to_string()),
        ("HOTLINE_NODE_SIP_LISTEN".to_string(), "udp:127.0.0.1:0".to_string()),
        ("HOTLINE_NODE_HTTP_LISTEN".to_string(), String::new()),
    ];
    let config = media_node::config::Config::read("", &env.into()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(media_node::Node::start(config, common::file("rules: []"))).err().unwrap().to_string();
    assert!(error.starts_with("sip.tls_key: ") && error.contains("holds no private key"), "{error}");
}

/// Takes one TLS connection, and answers an INVITE with 486.
fn busy_phone(listener: TcpListener, certificate: &Certificate) -> std::thread::JoinHandle<Option<String>> {
    let config = certificate.server();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
        let end = Instant::now() + Duration::from_secs(10);
        while stream.conn.is_handshaking() && Instant::now() < end {
            match stream.conn.complete_io(&mut stream.sock) {
                Err(e) if !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    return None;
                }
                _ => {}
            }
        }
        let mut phone = StreamPhone::new(Stream::new(stream), "agent", "TLS x", "sips:agent@127.0.0.1");
        let invite = phone.wait("INVITE", |m| m.starts_with("INVITE"));
        phone.answer(&invite, "486 Busy Here", "");
        phone.wait("ACK", |m| m.starts_with("ACK"));
        Some(invite)
    })
}

#[test]
fn calls_go_out_over_tls_to_those_whose_certificate_is_believed() {
    let certificate = Certificate::new();
    let stranger = Certificate::new();
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let at = |n: usize| listeners[n].local_addr().unwrap();
    let rules = format!(
        "rules:\n  - dial: \"1\"\n    bridge: {{to: \"sip:agent@{};transport=tls\"}}\n  - dial: \"2\"\n    bridge: {{to: \"sip:agent@{};transport=tls\"}}\n  \
         - dial: \"3\"\n    bridge: {{to: \"sip:agent@127.0.0.1:1;transport=tls\"}}\n",
        at(0),
        at(1),
    );
    let node = start_streams("outbound", "44400-44419", &rules, &certificate, &[]);
    let [friendly, strange] = listeners;
    let friend = busy_phone(friendly, &certificate);
    let liar = busy_phone(strange, &stranger);
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("1", 0.0);
    until("its refusal", &mut [&mut caller], |p| p[0].lines[line].failed.is_some());
    let invite = friend.join().unwrap().unwrap();
    assert!(header(&invite, "Via").starts_with("SIP/2.0/TLS "), "{invite}");

    // Neither a stranger nor a closed port keeps the caller waiting for a timer.
    for number in ["2", "3"] {
        let line = caller.dial(number, 0.0);
        // The patience of `until` is shorter than timer B.
        until("a refusal", &mut [&mut caller], |p| p[0].lines[line].failed.is_some());
    }
    assert!(liar.join().unwrap().is_none(), "nothing is said to a stranger");
}

#[test]
fn what_is_no_sip_ends_the_connection_or_gets_no_answer() {
    let certificate = Certificate::new();
    let node = start_streams("nonsense", "44500-44519", RULES, &certificate, &[]);
    for text in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n\r\n\r\n\r\n\0\0",
        "INVITE sip:a SIP/2.0\r\nContent-Length: 99999999\r\n\r\n",
    ] {
        let mut stream = connect(node.stream(Transport::Tcp), "127.0.0.1");
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(&[b'x'; 70_000]).ok();
        assert!(closes(&mut stream), "{text:?}");
    }
    // A browser's nonsense: the connection stays, and still serves.
    let browser = Browser::open(connect(node.stream(Transport::Ws), "127.0.0.1"), "ws", "https://desk.test");
    let mut phone = StreamPhone::new(browser, "fang", "WS x.invalid", "sip:fang@x.invalid;transport=ws");
    phone.wire.send("hello");
    phone.wire.send("{\"json\": true}\r\n\r\n");
    phone.wire.0.send(Message::binary(vec![0xff; 1_000])).unwrap();
    phone.register();
}
