//! Phones that speak SIP over streams, message by message, and certificates for them.

#![allow(dead_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hotline_sip::{Frame, Framer};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tempfile::TempDir;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::Running;

/// A certificate and its key in files of their own.
pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    /// For 127.0.0.1 and the name `node.test`.
    pub fn new() -> Self {
        let certificate = Self { folder: tempfile::tempdir().unwrap() };
        certificate.renew();
        certificate
    }

    /// Writes another certificate with another key.
    pub fn renew(&self) {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_string(), "node.test".to_string()];
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        std::fs::write(self.cert(), certificate.pem()).unwrap();
        std::fs::write(self.key(), key.serialize_pem()).unwrap();
    }

    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.cert()).unwrap()
    }

    /// Believes this certificate alone.
    fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    /// Serves TLS with it.
    pub fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(self.key()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(vec![self.der()], key).unwrap())
    }

    /// Connects and checks the node's certificate; an error where it is another one.
    pub fn connect(&self, node: SocketAddr) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(self.client(), name).unwrap();
        let mut stream = StreamOwned::new(connection, connect(node, "127.0.0.1"));
        stream.sock.set_read_timeout(Some(Duration::from_secs(10)))?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }
}

/// A TCP connection from a loopback address.
pub fn connect(node: SocketAddr, from: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&node.into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    socket.into()
}

/// Whether the other side closes within ten seconds; what it says before is read.
pub fn closes(stream: &mut impl Read) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    let mut buffer = [0u8; 4_096];
    while Instant::now() < end {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => return true,
        }
    }
    false
}

/// What messages travel in.
pub trait Wire {
    fn send(&mut self, text: &str);
    /// The next message, if one came within 50 ms or so.
    fn receive(&mut self) -> Option<String>;
}

/// A byte stream.
pub struct Stream<S>(pub S, Framer);

impl<S: Read + Write> Stream<S> {
    pub fn new(stream: S) -> Self {
        Self(stream, Framer::default())
    }
}

impl<S: Read + Write> Wire for Stream<S> {
    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
        self.0.flush().unwrap();
    }

    fn receive(&mut self) -> Option<String> {
        let mut buffer = [0u8; 4_096];
        loop {
            if let Some(Frame::Message(message)) = self.1.next_frame().unwrap() {
                return Some(String::from_utf8(message.to_vec()).unwrap());
            }
            match self.0.read(&mut buffer) {
                Ok(count @ 1..) => self.1.push(&buffer[..count]),
                _ => return None,
            }
        }
    }
}

/// A browser's WebSocket.
pub struct Browser<S>(pub WebSocket<S>);

impl<S: Read + Write> Browser<S> {
    /// Upgrades a connection.
    pub fn open(stream: S, scheme: &str, origin: &str) -> Self {
        let mut request = format!("{scheme}://127.0.0.1/").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
        headers.insert("Origin", origin.parse().unwrap());
        let (socket, response) = tungstenite::client(request, stream).map_err(|e| e.to_string()).unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "sip");
        Self(socket)
    }
}

impl<S: Read + Write> Wire for Browser<S> {
    fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    fn receive(&mut self) -> Option<String> {
        match self.0.read() {
            Ok(Message::Text(text)) => Some(text.to_string()),
            _ => None,
        }
    }
}

/// A phone on a wire, whose messages the test writes.
pub struct StreamPhone<W> {
    pub wire: W,
    via: String,
    contact: String,
    user: String,
    pub received: Vec<String>,
    cseq: u32,
    number: u32,
    /// Different for each phone of a process.
    serial: u32,
}

/// The value of a header.
pub fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let line = message.lines().find(|l| l.to_ascii_lowercase().starts_with(&format!("{}:", name.to_lowercase())));
    line.and_then(|l| l.split_once(':')).map_or("", |(_, value)| value.trim())
}

impl<W: Wire> StreamPhone<W> {
    /// `via`: such as `TLS 127.0.0.1:5061`; `contact`: such as `sip:fang@x.invalid;transport=ws`.
    pub fn new(wire: W, user: &str, via: &str, contact: &str) -> Self {
        static PHONES: AtomicU32 = AtomicU32::new(0);
        let serial = PHONES.fetch_add(1, Ordering::Relaxed);
        let (via, contact, user) = (via.into(), contact.into(), user.into());
        Self { wire, via, contact, user, received: Vec::new(), cseq: 0, number: 0, serial }
    }

    /// Waits for a message.
    pub fn wait(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(at) = self.received.iter().position(|m| wanted(m)) {
                return self.received.remove(at);
            }
            assert!(Instant::now() < end, "{what} did not come; there came {:#?}", self.received);
            if let Some(message) = self.wire.receive() {
                self.received.push(message);
            }
        }
    }

    fn request(&mut self, method: &str, uri: &str, to: &str, call: &str, extra: &str, body: &str) {
        if method != "ACK" {
            self.cseq += 1;
        }
        self.number += 1;
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        self.wire.send(&format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{};branch=z9hG4bK{call}{}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@hotline>;tag=t-{user}\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: {} {method}\r\n\
             Contact: <{}>\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
            self.via,
            self.number,
            self.cseq,
            self.contact,
            body.len(),
            user = self.user,
        ));
    }

    /// Registers for ten minutes and gives the 200.
    pub fn register(&mut self) -> String {
        let to = format!("<sip:{}@hotline>", self.user);
        let call = format!("reg-{}-{}", self.user, self.serial);
        self.request("REGISTER", "sip:hotline", &to, &call, "Expires: 600\r\n", "");
        self.wait("200 to REGISTER", |m| m.starts_with("SIP/2.0 200") && header(m, "CSeq").ends_with("REGISTER"))
    }

    /// Calls a number; `To` and the Call-ID.
    pub fn invite(&mut self, number: &str, sdp: &str) -> (String, String) {
        let to = format!("<sip:{number}@hotline>");
        let call = format!("call-{}-{number}-{}", self.user, self.serial);
        self.request("INVITE", &format!("sip:{number}@hotline"), &to, &call, "", sdp);
        (to, call)
    }

    /// Calls a number, waits for its answer, and hangs up.
    pub fn call_and_hang_up(&mut self, number: &str, sdp: &str) {
        let (_, call) = self.invite(number, sdp);
        let ok = self.wait("the answer", |m| m.starts_with("SIP/2.0 200") && header(m, "CSeq").ends_with("INVITE"));
        let to = header(&ok, "To").to_owned();
        let target = header(&ok, "Contact").trim_matches(['<', '>']).to_owned();
        self.request("ACK", &target, &to, &call, "", "");
        self.request("BYE", &target, &to, &call, "", "");
        self.wait("200 to BYE", |m| m.starts_with("SIP/2.0 200") && header(m, "CSeq").ends_with("BYE"));
    }

    /// Answers a request.
    pub fn answer(&mut self, request: &str, status: &str, sdp: &str) {
        let copied: String = request
            .lines()
            .take_while(|l| !l.is_empty())
            .filter(|l| ["Via", "From", "Call-ID", "CSeq"].iter().any(|name| l.starts_with(&format!("{name}:"))))
            .map(|l| format!("{l}\r\n"))
            .collect();
        let to = header(request, "To");
        let tag = if to.contains(";tag=") { "" } else { ";tag=answer" };
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        self.wire.send(&format!(
            "SIP/2.0 {status}\r\n{copied}To: {to}{tag}\r\nContact: <{}>\r\n{kind}Content-Length: {}\r\n\r\n{sdp}",
            self.contact,
            sdp.len()
        ));
    }
}

/// A description with a port for sound.
pub fn sdp(port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
         a=rtpmap:101 telephone-event/8000\r\n"
    )
}

/// A node that listens by TLS, WS and WSS too.
pub fn start_streams(name: &str, ports: &str, text: &str, certificate: &Certificate, env: &[(&str, &str)]) -> Running {
    let (cert, key) = (path_text(&certificate.cert()), path_text(&certificate.key()));
    let mut all = vec![
        ("HOTLINE_NODE_SIP_LISTEN", "udp:127.0.0.1:0,tcp:127.0.0.1:0"),
        ("HOTLINE_NODE_SIP_TLS_LISTEN", "127.0.0.1:0"),
        ("HOTLINE_NODE_SIP_WS_LISTEN", "127.0.0.1:0"),
        ("HOTLINE_NODE_SIP_WSS_LISTEN", "127.0.0.1:0"),
        ("HOTLINE_NODE_SIP_TLS_CERT", &cert[..]),
        ("HOTLINE_NODE_SIP_TLS_KEY", &key[..]),
        ("HOTLINE_NODE_SIP_REGISTER_AUTH", "false"),
        ("HOTLINE_NODE_SIP_WS_AUTH", "false"),
        ("HOTLINE_NODE_SIP_TRUSTED", "127.0.0.0/8"),
    ];
    all.extend_from_slice(env);
    super::start(name, ports, || super::file(text), &all)
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}
