//! SIP over WebSocket (RFC 7118) without I/O: the upgrade and the frames, by tungstenite over memory.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hotline_sip::{Frame, MESSAGE_BYTES};
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::MidHandshake;
use tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::http::{HeaderValue, StatusCode};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, Utf8Bytes};

/// The head of an upgrade request, bytes.
const HEAD: usize = 8_192;

/// What came and was not read, and what was written and not sent.
#[derive(Default)]
struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
}

/// Stands for the connection: reading more than came would block.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Buffers>>);

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn feed(&self, bytes: &[u8]) {
        self.lock().input.extend_from_slice(bytes);
    }

    fn drain(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().output)
    }
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buffers = self.lock();
        if buffers.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffers.input.len().min(into.len());
        for (place, byte) in into.iter_mut().zip(buffers.input.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Which requests are upgraded (RFC 7118 §4): for `/`, with the sub-protocol `sip`, from pages that may.
struct Admission {
    origins: Vec<String>,
}

fn refusal(status: StatusCode, text: &str) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(Some(format!("{text}\n")));
    *refusal.status_mut() = status;
    let headers = refusal.headers_mut();
    headers.insert("Connection", HeaderValue::from_static("close"));
    headers.insert("Content-Length", HeaderValue::from(text.len() + 1));
    refusal
}

impl Callback for Admission {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        if request.uri().path() != "/" {
            return Err(refusal(StatusCode::NOT_FOUND, "SIP is at /"));
        }
        if let Some(origin) = request.headers().get("Origin")
            && !self.origins.is_empty()
        {
            let origin = String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase();
            if !self.origins.contains(&origin) {
                return Err(refusal(StatusCode::FORBIDDEN, "pages of this origin may not connect"));
            }
        }
        let offered = request.headers().get_all("Sec-WebSocket-Protocol");
        let sip = offered
            .iter()
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .any(|name| name.trim_ascii().eq_ignore_ascii_case(b"sip"));
        if !sip {
            return Err(refusal(StatusCode::BAD_REQUEST, "the sub-protocol is sip"));
        }
        response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("sip"));
        Ok(response)
    }
}

/// An upgrade under way.
pub(super) struct Handshake {
    pipe: Pipe,
    machine: MidHandshake<ServerHandshake<Pipe, Admission>>,
    taken: usize,
}

/// How an upgrade goes on.
pub(super) enum Upgrade {
    /// The request is not whole.
    More(Handshake),
    /// Messages may come.
    Done(WebSocket),
    /// The connection is to be closed, for this reason.
    Refused(String),
}

impl Handshake {
    /// `origins`: pages that may connect; empty: all.
    pub fn new(origins: Vec<String>) -> Self {
        let pipe = Pipe::default();
        let config = WebSocketConfig::default()
            .read_buffer_size(4_096)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let machine = ServerHandshake::start(pipe.clone(), Admission { origins }, Some(config));
        Self { pipe, machine, taken: 0 }
    }

    /// Bytes of the request; what must be answered, and how it goes on.
    pub fn take(self, bytes: &[u8]) -> (Vec<u8>, Upgrade) {
        let Self { pipe, machine, mut taken } = self;
        taken += bytes.len();
        if taken > HEAD {
            return (plain("431 Request Header Fields Too Large"), Upgrade::Refused("the request is too long".into()));
        }
        pipe.feed(bytes);
        match machine.handshake() {
            Ok(socket) => {
                let socket = WebSocket { pipe, socket, raw: Vec::new(), fragmented: false };
                (socket.pipe.drain(), Upgrade::Done(socket))
            }
            Err(HandshakeError::Interrupted(machine)) => (pipe.drain(), Upgrade::More(Self { pipe, machine, taken })),
            Err(HandshakeError::Failure(error)) => {
                let mut reply = pipe.drain();
                if reply.is_empty() {
                    // Plain HTTP, or no HTTP at all.
                    reply = plain("426 Upgrade Required\r\nUpgrade: websocket");
                }
                (reply, Upgrade::Refused(error.to_string()))
            }
        }
    }
}

fn plain(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// A WebSocket whose other side is a browser.
pub(super) struct WebSocket {
    pipe: Pipe,
    socket: tungstenite::WebSocket<Pipe>,
    /// Bytes of a frame that is not whole.
    raw: Vec<u8>,
    /// A message in several frames has begun.
    fragmented: bool,
}

/// The head of a frame (RFC 6455 §5.2).
struct FrameHead {
    last: bool,
    control: bool,
    /// With its head.
    length: u64,
}

/// `None`: the head is not whole.
fn frame_head(raw: &[u8]) -> Option<FrameHead> {
    let (first, second) = (*raw.first()?, *raw.get(1)?);
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (head, payload) = match second & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(raw.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(raw.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    Some(FrameHead { last: first & 0x80 != 0, control: first & 0x08 != 0, length: payload.saturating_add(head + mask) })
}

impl WebSocket {
    /// Bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
    }

    /// Whether a part of a message is here.
    pub fn is_partial(&self) -> bool {
        self.fragmented || !self.raw.is_empty()
    }

    /// What has to be sent: answers to pings, the end.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.pipe.drain()
    }

    /// The next SIP message or keep-alive; `None`: more bytes are needed.
    ///
    /// # Errors
    /// Why the connection must be closed; [`WebSocket::take_output`] has the close frame.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, String> {
        loop {
            let Some(head) = frame_head(&self.raw) else { return Ok(None) };
            let whole = usize::try_from(head.length).unwrap_or(usize::MAX);
            if whole > MESSAGE_BYTES + 14 {
                return Err(self.fail(CloseCode::Size, "a frame over 65536 bytes".into()));
            }
            if self.raw.len() < whole {
                return Ok(None);
            }
            let rest = self.raw.split_off(whole);
            self.pipe.feed(&std::mem::replace(&mut self.raw, rest));
            if !head.control {
                self.fragmented = !head.last;
            }
            let message = match self.socket.read() {
                Ok(Message::Text(text)) => Bytes::from(text),
                Ok(Message::Binary(bytes)) => bytes,
                Ok(Message::Ping(_)) => {
                    // The answer waits in the socket.
                    let _ = self.socket.flush();
                    continue;
                }
                Ok(Message::Close(_)) => {
                    let _ = self.socket.flush();
                    return Err("closed by the peer".into());
                }
                Ok(Message::Pong(_) | Message::Frame(_)) => continue,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    let code = match &error {
                        Error::Capacity(_) => CloseCode::Size,
                        Error::Utf8(_) => CloseCode::Invalid,
                        _ => CloseCode::Protocol,
                    };
                    return Err(self.fail(code, error.to_string()));
                }
            };
            match &message[..] {
                b"\r\n\r\n" => return Ok(Some(Frame::Ping)),
                blank if blank.iter().all(u8::is_ascii_whitespace) => {}
                _ => return Ok(Some(Frame::Message(message))),
            }
        }
    }

    fn fail(&mut self, code: CloseCode, reason: String) -> String {
        let _ = self.socket.close(Some(CloseFrame { code, reason: Utf8Bytes::from_static("") }));
        reason
    }

    /// One SIP message as one WebSocket message (RFC 7118 §5.2): text where it is.
    pub fn wrap(&mut self, message: &Bytes) -> Bytes {
        let message = match Utf8Bytes::try_from(message.clone()) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(message.clone()),
        };
        // Refused only when closing: then nothing more is said.
        let _ = self.socket.send(message);
        self.pipe.drain().into()
    }

    /// Asks whether somebody is there.
    pub fn ping(&mut self) -> Vec<u8> {
        let _ = self.socket.send(Message::Ping(Bytes::new()));
        self.pipe.drain()
    }

    /// The close frame, unless there was one.
    pub fn close(&mut self) -> Vec<u8> {
        let _ = self.socket.close(Some(CloseFrame { code: CloseCode::Away, reason: Utf8Bytes::from_static("") }));
        self.pipe.drain()
    }
}

/// A client's side over the same memory, for tests.
#[cfg(test)]
fn client(pipe: Pipe) -> tungstenite::WebSocket<Pipe> {
    tungstenite::WebSocket::from_raw_socket(pipe, tungstenite::protocol::Role::Client, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

    fn upgrade(origins: &[&str], headers: &str) -> (String, Upgrade) {
        let handshake = Handshake::new(origins.iter().map(ToString::to_string).collect());
        let (reply, upgrade) = handshake.take(format!("{REQUEST}{headers}\r\n").as_bytes());
        (String::from_utf8(reply).unwrap(), upgrade)
    }

    fn connected() -> (WebSocket, tungstenite::WebSocket<Pipe>, Pipe) {
        let (_, upgrade) = upgrade(&[], "Sec-WebSocket-Protocol: sip\r\n");
        let Upgrade::Done(socket) = upgrade else { panic!("not upgraded") };
        let pipe = Pipe::default();
        (socket, client(pipe.clone()), pipe)
    }

    #[test]
    fn the_upgrade_names_sip_however_the_request_comes() {
        let (reply, done) =
            upgrade(&["https://desk.example"], "Origin: https://Desk.example\r\nSec-WebSocket-Protocol: xmpp, SIP\r\n");
        assert!(matches!(done, Upgrade::Done(_)));
        assert!(reply.starts_with("HTTP/1.1 101 ") && reply.to_lowercase().contains("sec-websocket-protocol: sip\r\n"));
        // The accept key of RFC 6455 §1.3.
        assert!(reply.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{reply}");

        let text = format!("{REQUEST}Sec-WebSocket-Protocol: sip\r\n\r\n");
        let mut handshake = Handshake::new(Vec::new());
        let mut left = text.len();
        for part in text.as_bytes().chunks(40) {
            left -= part.len();
            match handshake.take(part) {
                (reply, Upgrade::More(more)) => {
                    assert!(reply.is_empty());
                    handshake = more;
                }
                (_, Upgrade::Done(_)) => return assert_eq!(left, 0),
                (_, Upgrade::Refused(reason)) => panic!("{reason}"),
            }
        }
        panic!("never done");
    }

    #[test]
    fn who_may_not_connect_is_told() {
        let refused = |origins: &[&str], headers: &str| {
            let (reply, upgrade) = upgrade(origins, headers);
            assert!(matches!(upgrade, Upgrade::Refused(_)));
            reply.split(' ').nth(1).unwrap().to_owned()
        };
        let sip = "Sec-WebSocket-Protocol: sip\r\n";
        assert_eq!(refused(&[], ""), "400", "no sub-protocol");
        assert_eq!(refused(&[], "Sec-WebSocket-Protocol: sips\r\n"), "400");
        assert_eq!(refused(&["https://a.example"], &format!("{sip}Origin: https://b.example\r\n")), "403");
        let of = |request: &str| {
            let (reply, upgrade) = Handshake::new(Vec::new()).take(request.as_bytes());
            assert!(matches!(upgrade, Upgrade::Refused(_)), "{request}");
            String::from_utf8(reply).unwrap().split(' ').nth(1).unwrap().to_owned()
        };
        assert_eq!(of("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "426");
        assert_eq!(of("OPTIONS sip:a SIP/2.0\r\n\r\n"), "426");
        assert_eq!(of(&format!("{}{sip}\r\n", REQUEST.replace("GET / ", "GET /other "))), "404");
        assert_eq!(of(&"x".repeat(HEAD + 1)), "431");
    }

    #[test]
    fn messages_pass_whole_however_the_bytes_come() {
        let (mut node, mut browser, pipe) = connected();
        browser.send(Message::text("REGISTER sip:a SIP/2.0\r\n\r\n")).unwrap();
        browser.send(Message::binary(vec![b'B', 0xff])).unwrap();
        browser.send(Message::text("\r\n\r\n")).unwrap();
        browser.send(Message::text("\r\n")).unwrap();
        let wire = pipe.drain();
        for step in [1, 2, 3, 7, wire.len()] {
            let mut got = Vec::new();
            for part in wire.chunks(step) {
                node.push(part);
                while let Some(frame) = node.next_frame().unwrap() {
                    got.push(frame);
                }
            }
            let message = |bytes: &'static [u8]| Frame::Message(Bytes::from_static(bytes));
            assert_eq!(got, [message(b"REGISTER sip:a SIP/2.0\r\n\r\n"), message(b"B\xff"), Frame::Ping]);
            assert!(!node.is_partial());
        }
    }

    #[test]
    fn messages_go_out_as_text_where_they_are() {
        let (mut node, mut browser, pipe) = connected();
        pipe.feed(&node.wrap(&Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n")));
        assert_eq!(browser.read().unwrap(), Message::text("SIP/2.0 200 OK\r\n\r\n"));
        pipe.feed(&node.wrap(&Bytes::from_static(b"\xff")));
        assert_eq!(browser.read().unwrap(), Message::binary(vec![0xff]));
    }

    #[test]
    fn pings_are_answered_and_closing_is_agreed_on() {
        let (mut node, mut browser, pipe) = connected();
        browser.send(Message::Ping(Bytes::from_static(b"there?"))).unwrap();
        node.push(&pipe.drain());
        assert_eq!(node.next_frame(), Ok(None));
        pipe.feed(&node.take_output());
        assert_eq!(browser.read().unwrap(), Message::Pong(Bytes::from_static(b"there?")));

        pipe.feed(&node.ping());
        assert!(matches!(browser.read().unwrap(), Message::Ping(_)));
        browser.flush().unwrap();
        node.push(&pipe.drain());
        assert_eq!(node.next_frame(), Ok(None), "its answer");

        browser.close(None).unwrap();
        node.push(&pipe.drain());
        assert_eq!(node.next_frame(), Err("closed by the peer".into()));
        pipe.feed(&node.take_output());
        assert!(matches!(browser.read(), Ok(Message::Close(_))));
        assert!(node.close().is_empty(), "said once");
    }

    #[test]
    fn a_message_in_parts_is_put_together_within_the_limit() {
        let (mut node, ..) = connected();
        // Text "ab" and continuation "c", masked with zeros.
        node.push(&[0x01, 0x82, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(node.next_frame(), Ok(None));
        assert!(node.is_partial());
        node.push(&[0x80, 0x81, 0, 0, 0, 0, b'c']);
        assert_eq!(node.next_frame(), Ok(Some(Frame::Message(Bytes::from_static(b"abc")))));
        assert!(!node.is_partial());

        let part = |first: u8| {
            let mut frame = vec![first, 0xfe, 0x80, 0, 0, 0, 0, 0];
            frame.extend_from_slice(&[b'x'; 0x8000]);
            frame
        };
        node.push(&part(0x01));
        node.push(&part(0x00));
        assert_eq!(node.next_frame(), Ok(None));
        node.push(&part(0x80));
        assert!(node.next_frame().is_err());
        assert_eq!(close_code(&node.take_output()), 1_009);
    }

    fn close_code(frame: &[u8]) -> u16 {
        assert_eq!(frame[0], 0x88);
        u16::from_be_bytes([frame[2], frame[3]])
    }

    #[test]
    fn what_breaks_the_rules_is_closed_with_its_code() {
        for (what, bytes, code) in [
            // A length that never came, and never will be waited for.
            ("a huge frame", &[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0][..], 1_009),
            ("no mask", &[0x81, 0x01, b'a'][..], 1_002),
            ("reserved bits", &[0xc1, 0x81, 0, 0, 0, 0, b'a'][..], 1_002),
            ("a long ping", &[0x89, 0xfe, 0, 126, 0, 0, 0, 0][..], 1_002),
            ("a continuation of nothing", &[0x80, 0x81, 0, 0, 0, 0, b'c'][..], 1_002),
            ("text that is none", &[0x81, 0x81, 0, 0, 0, 0, 0xff][..], 1_007),
        ] {
            let (mut node, ..) = connected();
            node.push(bytes);
            if what == "a long ping" {
                node.push(&[0; 126]);
            }
            assert!(node.next_frame().is_err(), "{what}");
            assert_eq!(close_code(&node.take_output()), code, "{what}");
        }
    }
}
