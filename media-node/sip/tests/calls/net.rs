//! A virtual network: endpoints joined by wires with delay, loss, repetition and reordering, in
//! virtual time, with the ladder of what happened.

use bytes::Bytes;
use hotline_sip::api::{Command, Event, Output, Path, Transport};
use hotline_sip::{Endpoint, EndpointConfig, Reason};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What happens to a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Arrives,
    Lost,
    Twice,
    /// Arrives 30 ms later, so that others overtake it.
    Late,
}

struct Flying {
    at: Instant,
    sequence: u64,
    to: &'static str,
    path: Path,
    bytes: Bytes,
}

type Handler = Box<dyn FnMut(&'static str, &Event) -> Vec<Command>>;
type Faults = Box<dyn FnMut(usize, &str) -> Fate>;

pub struct Net {
    start: Instant,
    pub now: Instant,
    ends: BTreeMap<&'static str, Endpoint>,
    flying: Vec<Flying>,
    sequence: u64,
    sent: usize,
    pub transport: Transport,
    /// Reacts to the events of all ends.
    pub handler: Handler,
    pub faults: Faults,
    pub ladder: String,
    /// Commands of the handler must be accepted.
    pub strict: bool,
    /// `name: event`, in order.
    pub events: Vec<String>,
    /// Every packet that was sent.
    pub packets: Vec<(&'static str, String)>,
}

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

fn address(name: &str) -> SocketAddr {
    let index = NAMES.iter().position(|n| *n == name).unwrap();
    format!("192.0.2.{}:5060", index + 1).parse().unwrap()
}

impl Net {
    pub fn new(mut configure: impl FnMut(&'static str, &mut EndpointConfig)) -> Self {
        let start = Instant::now();
        let mut ends = BTreeMap::new();
        for (index, name) in NAMES.into_iter().enumerate() {
            let mut config = EndpointConfig::new("shop");
            config.timers.session_expires = None;
            configure(name, &mut config);
            ends.insert(name, Endpoint::new(config, [index as u8 + 1; 32]));
        }
        Self {
            start,
            now: start,
            ends,
            flying: Vec::new(),
            sequence: 0,
            sent: 0,
            transport: Transport::Udp,
            handler: Box::new(|_, _| Vec::new()),
            faults: Box::new(|_, _| Fate::Arrives),
            ladder: String::new(),
            strict: true,
            events: Vec::new(),
            packets: Vec::new(),
        }
    }

    pub fn path(&self, from: &str, to: &str) -> Path {
        // One connection per pair of ends.
        let connection = if self.transport == Transport::Udp { 0 } else { 7 };
        Path { transport: self.transport, local: address(from), remote: address(to), connection }
    }

    pub fn end(&mut self, name: &str) -> &mut Endpoint {
        self.ends.get_mut(name).unwrap()
    }

    pub fn command(&mut self, name: &'static str, command: Command) {
        let now = self.now;
        self.end(name).handle_command(now, command).unwrap();
        self.flush(name);
    }

    /// Puts a packet on the wire towards `to`, as if `from` had sent it.
    pub fn inject(&mut self, from: &'static str, to: &'static str, text: &str) {
        let path = self.path(to, from);
        self.fly(to, path, Bytes::copy_from_slice(text.as_bytes()), Duration::from_millis(10));
    }

    fn fly(&mut self, to: &'static str, path: Path, bytes: Bytes, delay: Duration) {
        self.sequence += 1;
        self.flying.push(Flying { at: self.now + delay, sequence: self.sequence, to, path, bytes });
    }

    fn note(&mut self, line: String) {
        let ms = (self.now - self.start).as_millis();
        self.ladder += &format!("{:>4}.{:03}  {line}\n", ms / 1_000, ms % 1_000);
    }

    fn flush(&mut self, name: &'static str) {
        while let Some(output) = self.end(name).poll_output() {
            match output {
                Output::Transmit { path, bytes } => {
                    let to = NAMES.into_iter().find(|n| address(n) == path.remote);
                    let summary = summary(&bytes);
                    if bytes.is_ascii() && self.strict {
                        // A parser that is not ours reads what we send.
                        let read = rsip::SipMessage::try_from(&bytes[..]);
                        assert!(read.is_ok(), "{read:?}\n{}", String::from_utf8_lossy(&bytes));
                    }
                    self.packets.push((name, String::from_utf8_lossy(&bytes).into_owned()));
                    let Some(to) = to else {
                        self.note(format!("{name} -> {}: {summary}", path.remote));
                        continue;
                    };
                    self.sent += 1;
                    let fate = (self.faults)(self.sent, &summary);
                    let arrow = if name < to { "->" } else { "<-" };
                    let (left, right) = if name < to { (name, to) } else { (to, name) };
                    let mark = match fate {
                        Fate::Arrives => "",
                        Fate::Lost => "  (lost)",
                        Fate::Twice => "  (twice)",
                        Fate::Late => "  (late)",
                    };
                    self.note(format!("{left} {arrow} {right}: {summary}{mark}"));
                    let back = Path { local: path.remote, remote: path.local, ..path };
                    let ten = Duration::from_millis(10);
                    match fate {
                        Fate::Lost => {}
                        Fate::Arrives => self.fly(to, back, bytes, ten),
                        Fate::Late => self.fly(to, back, bytes, ten * 4),
                        Fate::Twice => {
                            self.fly(to, back, bytes.clone(), ten);
                            self.fly(to, back, bytes, ten + Duration::from_millis(1));
                        }
                    }
                }
                // Every call has it; the ladders show the 100 itself.
                Output::Event(Event::Trying { .. }) => {}
                Output::Event(event) => {
                    let text = describe(&event);
                    self.note(format!("{name}: {text}"));
                    self.events.push(format!("{name}: {text}"));
                    let commands = (self.handler)(name, &event);
                    for command in commands {
                        let now = self.now;
                        let result = self.end(name).handle_command(now, command);
                        assert!(result.is_ok() || !self.strict, "{result:?}");
                    }
                }
                Output::Close { connection } => self.note(format!("{name}: closes {connection}")),
            }
        }
    }

    /// Lets time pass until nothing is due within `for_ms` from now.
    pub fn run(&mut self, for_ms: u64) {
        let end = self.now + Duration::from_millis(for_ms);
        for name in NAMES {
            self.flush(name);
        }
        loop {
            let packet = self.flying.iter().map(|f| f.at).min();
            let timer = self.ends.values().filter_map(Endpoint::poll_timeout).min();
            let next = match (packet, timer) {
                (Some(a), Some(b)) => a.min(b),
                (Some(a), None) | (None, Some(a)) => a,
                (None, None) => break,
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            let due = self
                .flying
                .iter()
                .enumerate()
                .filter(|(_, f)| f.at <= self.now)
                .min_by_key(|(_, f)| (f.at, f.sequence))
                .map(|(index, _)| index);
            if let Some(index) = due {
                let Flying { to, path, bytes, .. } = self.flying.swap_remove(index);
                let now = self.now;
                if matches!(path.transport, Transport::Udp | Transport::Ws | Transport::Wss) {
                    self.end(to).handle_packet(now, path, &bytes);
                } else {
                    // In two parts, as streams do.
                    let (a, b) = bytes.split_at(bytes.len() / 2);
                    self.end(to).handle_stream_data(now, path, a);
                    self.end(to).handle_stream_data(now, path, b);
                }
                self.flush(to);
            } else {
                for name in NAMES {
                    let now = self.now;
                    self.end(name).handle_timeout(now);
                    self.flush(name);
                }
            }
        }
        self.now = self.now.max(end);
    }
}

/// Method or status with the method it answers, and whether a description is in it.
fn summary(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let first = text.lines().next().unwrap_or_default();
    let header = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    let mut out = match first.strip_prefix("SIP/2.0 ") {
        Some(status) => format!("{status} ({})", header("CSeq: ").split_once(' ').map_or("", |(_, m)| m)),
        None => first.split(' ').next().unwrap_or_default().to_owned(),
    };
    if !first.starts_with("SIP") && text.contains("uthorization: ") {
        out += " +credentials";
    }
    if text.contains("application/sdp\r\n") && !text.ends_with("\r\n\r\n") {
        out += " +sdp";
    }
    out
}

fn why(fault: Option<&str>, reasons: &[Reason]) -> String {
    let said = fault.map(ToString::to_string).or_else(|| Reason::header(reasons));
    said.map(|said| format!(" ({said})")).unwrap_or_default()
}

/// An event in a few words.
fn describe(event: &Event) -> String {
    let sdp = |sdp: &Option<Bytes>| if sdp.is_some() { " +sdp" } else { "" };
    match event {
        Event::Incoming { invite, .. } => format!(
            "Incoming {} from {}{}{}",
            invite.uri_user,
            invite.from_user,
            invite.user.as_ref().map(|u| format!(" as {u}")).unwrap_or_default(),
            sdp(&invite.sdp)
        ),
        Event::Cancelled { reasons, .. } => format!("Cancelled{}", why(None, reasons)),
        Event::Confirmed { sdp: s, .. } => format!("Confirmed{}", sdp(s)),
        Event::Trying { .. } => "Trying".into(),
        Event::Progressed { status, sdp: s, .. } => format!("Progressed {status}{}", sdp(s)),
        Event::Answered { sdp: s, .. } => format!("Answered{}", sdp(s)),
        Event::Failed { status, phrase, reasons, .. } => format!("Failed {status} {phrase}{}", why(None, reasons)),
        Event::Reoffered { sdp: s, .. } => format!("Reoffered{}", sdp(s)),
        Event::ReofferAnswered { result, .. } => {
            format!("ReofferAnswered {}", result.as_ref().map_or_else(|s| s.to_string(), |_| "+sdp".into()))
        }
        Event::Info { content_type, .. } => format!("Info {content_type}"),
        Event::Referred { refer_to, .. } => format!("Referred {refer_to}"),
        Event::Ended { by_peer, fault, reasons, .. } => {
            format!("Ended{}{}", if *by_peer { " by peer" } else { "" }, why(*fault, reasons))
        }
        Event::Authenticate { user, .. } => format!("Authenticate {user}"),
        Event::Registering { register, .. } => {
            format!("Registering {} {:?}", register.user, register.contacts)
        }
        Event::Registration { result, .. } => format!("Registration {result:?}"),
        Event::Pong { status, .. } => format!("Pong {status}"),
        Event::Pinged { .. } => "Pinged".into(),
        Event::Guessed { user, .. } => format!("Guessed {user}"),
    }
}
