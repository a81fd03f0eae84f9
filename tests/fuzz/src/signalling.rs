//! Messages and descriptions, one at a time.

use hotline_rtp::api::Codec;
use hotline_rtp::ice::{self, IceCredentials};
use hotline_session::sdp::{self, Local, LocalSecurity, LocalWeb, PeerSecurity, Setup};
use hotline_sip::api::{Output, Path, Transport};
use hotline_sip::{Endpoint, EndpointConfig, Frame, Framer, MESSAGE_BYTES, inspect, shard_of};
use std::time::Instant;

use crate::Bytes;
use crate::websocket::{Handshake, Upgrade};

/// One SIP message: as a datagram, and cut from a stream in parts of a size it names itself.
pub fn sip(data: &[u8]) {
    let whole = inspect(data);
    assert!(shard_of(data, 7) < 7);
    if let Err((status, reason)) = whole {
        assert!((400..=699).contains(&status) && !reason.is_empty());
    }
    let step = data.first().map_or(1, |byte| usize::from(*byte).max(1));
    let mut framer = Framer::default();
    let mut framed = 0;
    'stream: for part in data.chunks(step) {
        framer.push(part);
        loop {
            match framer.next_frame() {
                Ok(Some(Frame::Message(message))) => {
                    framed += message.len();
                    let _ = inspect(&message);
                }
                Ok(Some(Frame::Ping)) => {}
                Ok(None) => break,
                Err(_) => break 'stream,
            }
        }
    }
    assert!(framed <= data.len());
}

/// One datagram of STUN, on the SIP port and at a browser's leg; half of the time its front is made right.
pub fn stun(data: &[u8]) {
    let mut datagram = data.to_vec();
    if let [mode, rest @ ..] = data
        && mode & 1 == 1
    {
        datagram =
            [&[0, 1], &(rest.len().saturating_sub(12) as u16).to_be_bytes()[..], &[0x21, 0x12, 0xa4, 0x42], rest]
                .concat();
    }
    let remote = if data.len().is_multiple_of(2) { "192.0.2.7:4711" } else { "[2001:db8::7]:4711" };
    let (Ok(local), Ok(remote)) = ("192.0.2.1:5060".parse(), remote.parse()) else { return };
    // Nobody guesses the password: whatever passes would be a hole.
    let node = IceCredentials::derive(b"node", 0);
    assert!(ice::check(&datagram, &node, "brow").is_err());
    assert!(ice::answered(&datagram, [1; 12], &node).is_none());
    let mut endpoint = Endpoint::new(EndpointConfig::new("fuzz"), [7; 32]);
    let path = Path { transport: Transport::Udp, local, remote, connection: 0 };
    endpoint.handle_packet(Instant::now(), path, &datagram);
    while let Some(output) = endpoint.poll_output() {
        if let Output::Transmit { bytes, .. } = output
            && datagram.first().is_some_and(|first| *first < 4)
        {
            assert_eq!(bytes.get(..2), Some(&[1, 1][..]));
            assert_eq!(bytes.get(8..20), datagram.get(8..20));
            assert!(bytes.len() <= 44);
        }
    }
}

/// A session description: what is understood can be answered, and the answer is understood.
pub fn sdp(data: &[u8]) {
    let Ok(description) = sdp::parse(data) else { return };
    assert!(!description.codecs.is_empty());
    let Ok(rtp) = "192.0.2.1:20000".parse() else { return };
    let security = match &description.security {
        PeerSecurity::Plain => LocalSecurity::Plain,
        PeerSecurity::Keys(key) => LocalSecurity::Keys(vec![key.clone()]),
        PeerSecurity::Web(web) => LocalSecurity::Web(Box::new(LocalWeb {
            credentials: web.credentials.clone(),
            fingerprint: web.fingerprint,
            setup: Setup::Passive,
        })),
    };
    let local = Local { rtp, session: 1, version: 1, security };
    for codec in description.codecs.iter().map(|format| format.codec) {
        assert_eq!(description.choose(Some(codec)), Some(codec));
        let answer = sdp::answer(&local, &description, codec);
        let read = sdp::parse(&answer);
        assert!(read.is_ok(), "{read:?}: {}", String::from_utf8_lossy(&answer));
        if let Ok(read) = read {
            let codecs: Vec<Codec> = read.codecs.iter().map(|format| format.codec).collect();
            assert_eq!((codecs, read.rtp), (vec![codec], rtp));
            assert_eq!(read.sections.len(), description.sections.len());
        }
        let _ = description.remote(codec, true);
    }
}

/// A WebSocket connection of a browser: its upgrade (made right where the first byte is odd), then
/// frames, both cut in parts of a size that the second byte names.
pub fn websocket(data: &[u8]) {
    const GOOD: &[u8] =
        b"GET / HTTP/1.1\r\nHost: n\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: \
        sip\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut data = Bytes(data);
    let (mode, step) = (data.byte(), usize::from(data.byte()).max(1));
    let mut handshake = Handshake::new(if mode & 2 == 2 { vec!["https://desk.example".into()] } else { Vec::new() });
    let mut stream = if mode & 1 == 1 { vec![GOOD] } else { Vec::new() };
    stream.extend(data.0.chunks(step));
    let mut parts = stream.into_iter();
    let mut socket = loop {
        let Some(part) = parts.next() else { return };
        let (reply, next) = handshake.take(part);
        assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 "));
        match next {
            Upgrade::More(more) => handshake = more,
            Upgrade::Done(socket) => break socket,
            Upgrade::Refused(reason) => {
                assert!(!reason.is_empty() && !reply.starts_with(b"HTTP/1.1 101"));
                return;
            }
        }
    };
    let mut came = 0;
    for part in parts {
        came += part.len();
        socket.push(part);
        loop {
            match socket.next_frame() {
                Ok(Some(Frame::Message(message))) => {
                    assert!(message.len() <= MESSAGE_BYTES && message.len() <= came);
                    let _ = inspect(&message);
                    let wrapped = socket.wrap(&message);
                    assert!(wrapped.is_empty() || wrapped.len() > message.len());
                }
                Ok(Some(Frame::Ping)) => {}
                Ok(None) => break,
                Err(reason) => {
                    assert!(!reason.is_empty());
                    return;
                }
            }
        }
        // A ping's answer, a close frame: never more than what came, and the heads.
        assert!(socket.take_output().len() <= 2 * came + 16);
    }
}
