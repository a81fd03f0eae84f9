//! Streams under attack: limits answer, calls go on, descriptors come back. One test: it counts the
//! descriptors of the whole process.

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::streams::{Browser, Certificate, StreamPhone, Wire, closes, connect, start_streams};
use common::{Peer, Running, until};
use hotline_sip::api::Transport;

/// Connections of one source.
const SHARE: usize = 64;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A caller gets through and hears the menu.
fn calls_go_on(node: &Running) {
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("600", 0.0);
    until("the menu", &mut [&mut caller], |p| p[0].lines[line].hears(440.0, 200) > 0.9);
    caller.hang_up(line);
    until("the end", &mut [&mut caller], |_| node.metric("calls") == 0);
}

fn all_gone(node: &Running, what: &str) {
    until(what, &mut [], |_| node.metric("streams") == 0);
}

/// Says one byte of a message again and again, and is closed meanwhile.
fn dribbles(mut stream: TcpStream, text: &[u8]) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    for byte in text.iter().cycle() {
        // The read waits 50 ms: this is the pace.
        let mut one = [0u8; 1];
        match std::io::Read::read(&mut stream, &mut one) {
            Ok(0) => return true,
            Err(e) if !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                return true;
            }
            _ => {}
        }
        if stream.write_all(&[*byte]).is_err() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
    }
    false
}

#[test]
fn streams_under_attack_cost_their_share_and_no_more() {
    let certificate = Certificate::new();
    let share = SHARE.to_string();
    let env = [
        ("HOTLINE_NODE_SIP_STREAM_CONNECTIONS_PER_SOURCE", &share[..]),
        ("HOTLINE_NODE_SIP_STREAM_CONNECTIONS", "100"),
        ("HOTLINE_NODE_SIP_STREAM_HANDSHAKE_S", "1"),
        ("HOTLINE_NODE_SIP_STREAM_MESSAGE_S", "1"),
    ];
    let rules = "rules: [{dial: \"600\", menu: {prompt: {tone: 440, ms: 20000}}}]";
    let node = start_streams("attacks", "44600-44699", rules, &certificate, &env);
    let (tcp, tls, ws) = (node.stream(Transport::Tcp), node.stream(Transport::Tls), node.stream(Transport::Ws));
    calls_go_on(&node);
    all_gone(&node, "no connections at first");
    let before = descriptors();

    // A message that never ends, byte by byte.
    assert!(dribbles(connect(tcp, "127.0.0.2"), b"x"), "a slow client");
    // A handshake that never begins, and one that stops in its middle.
    assert!(closes(&mut connect(tls, "127.0.0.2")), "TLS that says nothing");
    let mut half = connect(tls, "127.0.0.2");
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).unwrap();
    assert!(closes(&mut half), "half a ClientHello");
    assert!(dribbles(connect(ws, "127.0.0.2"), b"GET / HTTP/1.1\r\nX: y\r\n"), "an upgrade request that never ends");
    assert!(closes(&mut connect(ws, "127.0.0.2")), "a WebSocket that is never asked for");
    // A WebSocket that is open and says nothing, or half a frame.
    let mut mute = Browser::open(connect(ws, "127.0.0.2"), "ws", "https://desk.test");
    assert!(closes(mute.0.get_mut()), "no first message");
    let mut begun = Browser::open(connect(ws, "127.0.0.2"), "ws", "https://desk.test");
    begun.0.get_mut().write_all(&[0x81, 0xfe, 0x10]).unwrap();
    assert!(closes(begun.0.get_mut()), "half a frame");
    // Frames that say they are huge are not waited for.
    let mut huge = Browser::open(connect(ws, "127.0.0.2"), "ws", "https://desk.test");
    huge.0.get_mut().write_all(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).unwrap();
    assert!(closes(huge.0.get_mut()), "a huge frame");
    drop((half, mute, begun, huge));
    all_gone(&node, "the broken ones are gone");
    assert!(node.metric("handshakes_failed") >= 4);

    // Thousands of idle connections of one source: its share, and no more.
    let mut idle: Vec<TcpStream> = Vec::new();
    let mut most = 0;
    for n in 0..2_000 {
        let from = if n % 2 == 0 { tcp } else { ws };
        idle.push(connect(from, "127.0.0.2"));
        if n % 500 == 499 {
            most = most.max(node.metric("streams"));
            calls_go_on(&node);
            // Refused ones are closed by the node; ours would only fill this process.
            idle.clear();
        }
    }
    assert!(most <= SHARE as u64, "{most} connections of one source");
    assert!(node.metric("streams_refused") >= 1_000, "{}", node.metric("streams_refused"));

    // From many sources: the table is full of mute ones, and a phone still gets in.
    let crowd: Vec<TcpStream> = (0..200).map(|n| connect(tcp, &format!("127.0.1.{}", n + 1))).collect();
    let browser = Browser::open(connect(ws, "127.0.0.1"), "ws", "https://desk.test");
    let mut phone = StreamPhone::new(browser, "fang", "WS x.invalid", "sip:fang@x.invalid;transport=ws");
    phone.register();
    calls_go_on(&node);
    drop(crowd);
    phone.wire.send("\r\n\r\n");
    phone.register();
    drop(phone);

    all_gone(&node, "everybody is gone");
    until("descriptors come back", &mut [], |_| descriptors() <= before);
}
