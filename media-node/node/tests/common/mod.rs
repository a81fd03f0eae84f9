//! A small SIP and RTP peer for tests: an endpoint, two sockets and a tone.

#![allow(dead_code)]

pub mod fleet;
pub mod secure;
pub mod streams;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hotline_rtp::api::Law;
use hotline_sip::api::{CallHandle, Command, Credentials, Event, Output, Path, Transport};
use hotline_sip::{Endpoint, EndpointConfig};
use media_node::config::Config;
use media_node::standalone::DecisionFile;
use media_node::{Node, Source};

use secure::{Guard, Kind};

/// How long anything in a test may take before it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(20);

/// A call of a peer.
pub struct Line {
    pub call: CallHandle,
    rtp: UdpSocket,
    pub remote: Option<SocketAddr>,
    /// The tone that is sent, Hz; 0: silence.
    pub tone_hz: f64,
    sent: u32,
    next_packet: Option<Instant>,
    /// Everything heard, as samples.
    pub heard: Vec<i16>,
    digits: Vec<u8>,
    digit_step: u32,
    pub ended: bool,
    pub failed: Option<u16>,
    pub answered: bool,
    /// Protects it.
    pub guard: Option<Guard>,
}

/// A phone with as many lines as calls come.
pub struct Peer {
    endpoint: Endpoint,
    sip: UdpSocket,
    node: SocketAddr,
    pub lines: Vec<Line>,
    /// Answers incoming calls with this tone.
    pub auto_answer_hz: Option<f64>,
    pub registered: Option<Result<u32, u16>>,
    /// How lines from now on are protected.
    pub protects: Option<Kind>,
    pub statuses: Vec<u16>,
}

fn description(rtp: SocketAddr, law: &str) -> Bytes {
    Bytes::from(format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {} RTP/AVP {law} 101\r\na=rtpmap:101 telephone-event/8000\r\n",
        rtp.port()
    ))
}

pub fn rtp_address(sdp: &[u8]) -> Option<SocketAddr> {
    let text = String::from_utf8_lossy(sdp);
    let port = text.lines().find_map(|l| l.strip_prefix("m=audio "))?.split(' ').next()?;
    format!("127.0.0.1:{port}").parse().ok()
}

impl Peer {
    pub fn new(node: SocketAddr) -> Self {
        let sip = UdpSocket::bind("127.0.0.1:0").unwrap();
        sip.set_nonblocking(true).unwrap();
        // No two of a process may make the same Call-IDs, also where the second has the port of the first.
        static PEERS: AtomicU64 = AtomicU64::new(1);
        let mut seed = [sip.local_addr().unwrap().port() as u8; 32];
        seed[..8].copy_from_slice(&PEERS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Self {
            endpoint: Endpoint::new(EndpointConfig::new("peer"), seed),
            sip,
            node,
            lines: Vec::new(),
            auto_answer_hz: None,
            registered: None,
            protects: None,
            statuses: Vec::new(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.sip.local_addr().unwrap()
    }

    fn path(&self) -> Path {
        Path { transport: Transport::Udp, local: self.address(), remote: self.node, connection: 0 }
    }

    fn line(&mut self, call: CallHandle, remote: Option<SocketAddr>, tone_hz: f64) -> SocketAddr {
        let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
        rtp.set_nonblocking(true).unwrap();
        let address = rtp.local_addr().unwrap();
        let guard = self.protects.map(|kind| Guard::new(kind, address.port()));
        self.lines.push(Line {
            call,
            rtp,
            remote,
            tone_hz,
            sent: 0,
            next_packet: None,
            heard: Vec::new(),
            digits: Vec::new(),
            digit_step: 0,
            ended: false,
            failed: None,
            answered: false,
            guard,
        });
        address
    }

    /// Calls a number; the line's index.
    pub fn dial(&mut self, number: &str, tone_hz: f64) -> usize {
        self.dial_with(number, tone_hz, None)
    }

    pub fn dial_with(&mut self, number: &str, tone_hz: f64, credentials: Option<Credentials>) -> usize {
        self.dial_headers(number, tone_hz, credentials, Vec::new())
    }

    pub fn dial_headers(
        &mut self,
        number: &str,
        tone_hz: f64,
        credentials: Option<Credentials>,
        headers: Vec<hotline_sip::api::Header>,
    ) -> usize {
        let call = self.endpoint.fresh_call();
        let rtp = self.line(call, None, tone_hz);
        let command = Command::Invite {
            call,
            uri: format!("sip:{number}@{}", self.node),
            path: self.path(),
            from: format!("<sip:+8613800138000@{}>", self.address()),
            to: format!("<sip:{number}@{}>", self.node),
            sdp: Some(self.offer(self.lines.len() - 1, rtp, "sendrecv")),
            headers,
            credentials,
        };
        self.endpoint.handle_command(Instant::now(), command).unwrap();
        self.lines.len() - 1
    }

    fn offer(&self, line: usize, rtp: SocketAddr, direction: &str) -> Bytes {
        match &self.lines[line].guard {
            Some(guard) => guard.description(rtp, "0", direction),
            None => description(rtp, "0"),
        }
    }

    /// The Replaces header that a new call of ours needs to take this one over.
    pub fn replaces(&self, line: usize) -> hotline_sip::api::Header {
        let dialog = self.endpoint.dialog(self.lines[line].call).unwrap();
        let (call_id, ours, theirs) = (dialog.sip_call_id, dialog.local_tag, dialog.remote_tag);
        ("Replaces".into(), format!("{call_id};to-tag={theirs};from-tag={ours}"))
    }

    /// A new offer with this direction.
    pub fn reoffer(&mut self, line: usize, direction: &str) {
        let rtp = self.lines[line].rtp.local_addr().unwrap();
        let command = Command::Reoffer { call: self.lines[line].call, sdp: self.offer(line, rtp, direction) };
        self.endpoint.handle_command(Instant::now(), command).unwrap();
    }

    pub fn register(&mut self, user: &str, password: &str, seconds: u64) {
        let call = self.endpoint.fresh_call();
        self.registered = None;
        let command = Command::Register {
            call,
            registrar: format!("sip:{}", self.node),
            path: self.path(),
            aor: format!("sip:{user}@{}", self.node),
            contact: format!("sip:{user}@{}", self.address()),
            expires: Duration::from_secs(seconds),
            credentials: Some(Credentials { user: user.into(), password: password.into() }),
        };
        self.endpoint.handle_command(Instant::now(), command).unwrap();
    }

    /// Asks for a transfer of a line.
    pub fn refer(&mut self, line: usize, refer_to: String) {
        let command = Command::Refer { call: self.lines[line].call, refer_to };
        self.endpoint.handle_command(Instant::now(), command).unwrap();
    }

    pub fn hang_up(&mut self, line: usize) {
        let call = self.lines[line].call;
        self.lines[line].ended = true;
        let command = Command::Hangup { call, status: None, reasons: vec![] };
        let _ = self.endpoint.handle_command(Instant::now(), command);
    }

    /// Sends a key as a telephone event (RFC 4733) in place of the tone.
    pub fn press(&mut self, line: usize, digit: u8) {
        self.lines[line].digits.push(digit);
    }

    /// Does what is due; called again and again.
    pub fn step(&mut self) {
        let mut buffer = [0u8; 65_536];
        let mut path = self.path();
        while let Ok((length, remote)) = self.sip.recv_from(&mut buffer) {
            path.remote = remote;
            self.endpoint.handle_packet(Instant::now(), path, &buffer[..length]);
        }
        if self.endpoint.poll_timeout().is_some_and(|at| at <= Instant::now()) {
            self.endpoint.handle_timeout(Instant::now());
        }
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { path, bytes } => {
                    self.sip.send_to(&bytes, path.remote).unwrap();
                }
                Output::Event(event) => self.event(event),
                Output::Close { .. } => {}
            }
        }
        for line in &mut self.lines {
            line.step(&mut buffer);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Incoming { call, invite } => {
                let now = Instant::now();
                let Some(hz) = self.auto_answer_hz else {
                    let progress = Command::Progress { call, status: 180, sdp: None };
                    self.endpoint.handle_command(now, progress).unwrap();
                    self.line(call, None, 0.0);
                    return;
                };
                let remote = invite.sdp.as_deref().and_then(rtp_address);
                let rtp = self.line(call, remote, hz);
                self.lines.last_mut().unwrap().answered = true;
                let offer = invite.sdp.clone().unwrap_or_default();
                let guard = self.lines.last_mut().and_then(|line| line.guard.as_mut());
                let sdp = guard.map_or_else(|| description(rtp, "0"), |guard| guard.take(&offer, rtp));
                let answer = Command::Answer { call, sdp, headers: Vec::new() };
                self.endpoint.handle_command(now, answer).unwrap();
            }
            Event::Progressed { status, .. } => self.statuses.push(status),
            Event::Answered { call, sdp } => {
                let remote = sdp.as_deref().and_then(rtp_address);
                if let Some(line) = self.lines.iter_mut().find(|l| l.call == call) {
                    line.answered = true;
                    line.remote = remote;
                    if let (Some(guard), Some(sdp)) = (&mut line.guard, &sdp) {
                        guard.learn(sdp);
                    }
                }
            }
            Event::Failed { call, status, .. } => {
                if let Some(line) = self.lines.iter_mut().find(|l| l.call == call) {
                    line.failed = Some(status);
                    line.ended = true;
                }
            }
            Event::Ended { call, .. } | Event::Cancelled { call, .. } => {
                if let Some(line) = self.lines.iter_mut().find(|l| l.call == call) {
                    line.ended = true;
                }
            }
            Event::ReofferAnswered { call, result: Ok(sdp) } => {
                let line = self.lines.iter_mut().find(|l| l.call == call);
                if let Some(guard) = line.and_then(|line| line.guard.as_mut()) {
                    guard.learn(&sdp);
                }
            }
            Event::Registration { result, .. } => self.registered = Some(result),
            Event::Info { content_type, body, .. } if content_type == "message/sipfrag" => {
                let text = String::from_utf8_lossy(&body).into_owned();
                let status: Option<u16> = text.split(' ').nth(1).and_then(|status| status.parse().ok());
                self.statuses.extend(status);
            }
            _ => {}
        }
    }
}

impl Line {
    fn step(&mut self, buffer: &mut [u8]) {
        while let Ok((length, from)) = self.rtp.recv_from(buffer) {
            let length = match &mut self.guard {
                Some(guard) => guard.receive(&mut buffer[..length], &self.rtp, from).unwrap_or(0),
                None => length,
            };
            if length > 12 && buffer[1] & 0x7f == 0 {
                let audio = buffer[12..length].iter().map(|b| Law::Mu.decode(*b));
                self.heard.extend(audio);
            }
        }
        let Some(remote) = self.remote.filter(|_| !self.ended) else {
            return;
        };
        if let Some(guard) = &mut self.guard {
            guard.step(&self.rtp, remote);
        }
        let now = Instant::now();
        let due = *self.next_packet.get_or_insert(now);
        if due > now {
            return;
        }
        self.next_packet = Some(due + Duration::from_millis(20));
        let mut packet = vec![0x80, 0];
        packet.extend_from_slice(&(self.sent as u16).to_be_bytes());
        let start = match self.digits.first() {
            Some(_) => (self.sent - self.digit_step) * 160,
            None => self.sent * 160,
        };
        packet.extend_from_slice(&start.to_be_bytes());
        packet.extend_from_slice(&[1, 2, 3, self.rtp.local_addr().unwrap().port() as u8]);
        match self.digits.first() {
            Some(digit) => {
                // Five packets of the key, then three of its end.
                let end = self.digit_step >= 5;
                packet[1] = 101 | if self.digit_step == 0 { 0x80 } else { 0 };
                let duration = (self.digit_step.min(5) + 1) as u16 * 160;
                packet.extend_from_slice(&[*digit, if end { 0x8a } else { 0x0a }]);
                packet.extend_from_slice(&duration.to_be_bytes());
                self.digit_step += 1;
                if self.digit_step == 8 {
                    self.digits.remove(0);
                    self.digit_step = 0;
                }
            }
            None => {
                let at = self.sent * 160;
                packet.extend((at..at + 160).map(|i| {
                    let phase = f64::from(i) * self.tone_hz * std::f64::consts::TAU / 8_000.0;
                    let sample = if self.tone_hz > 0.0 { phase.sin() * 8_000.0 } else { 0.0 };
                    Law::Mu.encode(sample as i16)
                }));
            }
        }
        self.sent += 1;
        match &mut self.guard {
            Some(guard) => guard.send(&self.rtp, remote, &packet),
            None => {
                let _ = self.rtp.send_to(&packet, remote);
            }
        }
    }

    /// Sends an RTCP packet.
    pub fn report(&mut self, report: &[u8]) {
        let remote = self.remote.unwrap();
        match &mut self.guard {
            Some(guard) => guard.report(&self.rtp, remote, report),
            None => {
                let _ = self.rtp.send_to(report, SocketAddr::new(remote.ip(), remote.port() + 1));
            }
        }
    }

    /// How much of the last `ms` milliseconds heard is this tone, 0 to 1.
    pub fn hears(&self, hz: f64, ms: usize) -> f64 {
        let samples = &self.heard[self.heard.len().saturating_sub(ms * 8)..];
        share(samples, hz)
    }
}

/// How much of the energy lies at a frequency, 0 to 1.
pub fn share(samples: &[i16], hz: f64) -> f64 {
    let (mut re, mut im, mut energy) = (0.0, 0.0, 1e-9);
    for (i, sample) in samples.iter().enumerate() {
        let (s, phase) = (f64::from(*sample), i as f64 * hz * std::f64::consts::TAU / 8_000.0);
        re += s * phase.cos();
        im += s * phase.sin();
        energy += s * s;
    }
    2.0 * (re * re + im * im) / samples.len().max(1) as f64 / energy
}

/// Steps all peers until something is so.
pub fn until(what: &str, peers: &mut [&mut Peer], mut done: impl FnMut(&[&mut Peer]) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done(peers) {
        assert!(Instant::now() < end, "waited in vain: {what}");
        for peer in peers.iter_mut() {
            peer.step();
        }
        // Paces the loop; nothing depends on its length.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A node on free ports with its own runtime and folder.
pub struct Running {
    pub runtime: tokio::runtime::Runtime,
    node: Option<Node>,
    pub folder: std::path::PathBuf,
    pub config: Config,
    pub sip: SocketAddr,
    pub http: SocketAddr,
}

pub fn start(name: &str, ports: &str, source: impl FnOnce() -> Source, env: &[(&str, &str)]) -> Running {
    start_with("", name, ports, source, env)
}

/// With a configuration text besides.
pub fn start_with(
    text: &str,
    name: &str,
    ports: &str,
    source: impl FnOnce() -> Source,
    env: &[(&str, &str)],
) -> Running {
    let folder = std::env::temp_dir().join(format!("media-node-{name}-{}", std::process::id()));
    let mut vars: BTreeMap<String, String> = [
        ("HOTLINE_NODE_SIP_LISTEN", "udp:127.0.0.1:0"),
        ("HOTLINE_NODE_HTTP_LISTEN", "127.0.0.1:0"),
        ("HOTLINE_NODE_MEDIA_PORTS", ports),
    ]
    .into_iter()
    .chain(env.iter().copied())
    .map(|(k, v)| (k.to_string(), v.to_string()))
    .collect();
    vars.insert("HOTLINE_NODE_NODE_DATA_DIR".into(), folder.display().to_string());
    let config = Config::read(text, &vars).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let node = runtime.block_on(Node::start(config.clone(), source())).unwrap();
    Running {
        sip: node.udp_address().unwrap(),
        http: node.http_address().unwrap(),
        runtime,
        node: Some(node),
        folder,
        config,
    }
}

pub fn file(text: &str) -> Source {
    Source::File { file: DecisionFile::read(text, std::path::Path::new(".")).unwrap(), path: None }
}

impl Running {
    /// Ends the node without a word and starts another at the same addresses and folder.
    pub fn restart(&mut self, source: Source) {
        self.node.take().unwrap().stop();
        self.config.sip.listen[0].address = self.sip;
        let node = self.runtime.block_on(Node::start(self.config.clone(), source)).unwrap();
        self.http = node.http_address().unwrap();
        self.node = Some(node);
    }

    /// Where a stream transport is received.
    pub fn stream(&self, transport: Transport) -> SocketAddr {
        self.node().stream_address(transport).unwrap()
    }

    pub fn node(&self) -> &Node {
        self.node.as_ref().unwrap()
    }

    /// The reply to an HTTP request such as `GET /healthz`.
    pub fn http(&self, request: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.http).unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// A figure of `/metrics`.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.http("GET /metrics");
        let line = text.lines().find_map(|l| l.strip_prefix(&format!("hotline_node_{name} ")));
        line.unwrap_or_else(|| panic!("no metric {name} in\n{text}")).parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// All files below a folder.
pub fn find(folder: &std::path::Path, into: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, into);
        } else {
            into.push(path);
        }
    }
}
