//! An endpoint under a sequence of packets, commands and passing time.

use bytes::Bytes as Body;
use hotline_sip::api::{CallHandle, Command, Event, Ha1, Output, Path, RequestHandle, Transport};
use hotline_sip::{Diverted, Endpoint, EndpointConfig, Limits, PerSource, Reason, Trust, inspect};
use std::time::{Duration, Instant};

use crate::Bytes;

const SDP: &[u8] =
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0\r\n";

struct World {
    endpoint: Endpoint,
    calls: Vec<CallHandle>,
    requests: Vec<RequestHandle>,
    /// What was sent last: the fuzzer may answer it.
    sent: Vec<u8>,
    /// The last packet was malformed, and its answer repeats what was.
    echo: bool,
}

/// Packets are separated by the byte 0xFE and start with a byte that says how they travel; one with
/// nothing else is a command or time that passes.
pub fn endpoint(data: &[u8]) {
    let mut config = EndpointConfig::new("fuzz");
    config.auth = Box::new(|facts| match facts.method {
        "REGISTER" => Trust::Digest,
        _ if facts.uri_user == "no" => Trust::Refused(403),
        _ => Trust::Trusted,
    });
    config.limits = Limits {
        calls: 8,
        transactions: 32,
        lingering: 16,
        streams: 4,
        nonces: 4,
        per_source: Some(PerSource { per_second: 5, burst: 50 }),
        ..Limits::default()
    };
    let endpoint = Endpoint::new(config, [3; 32]);
    let mut world = World { endpoint, calls: Vec::new(), requests: Vec::new(), sent: Vec::new(), echo: false };
    let begin = Instant::now();
    let mut passed = Duration::ZERO;
    for (number, part) in data.split(|byte| *byte == 0xFE).take(64).enumerate() {
        let mut part = Bytes(part);
        let mode = part.byte();
        passed += Duration::from_millis(u64::from(mode & 3) * 700);
        let now = begin + passed;
        if part.0.len() < 4 {
            world.command(now, mode, part.byte(), number as u64);
        } else {
            world.packet(now, mode, part.0);
        }
        if mode & 0x10 != 0 {
            passed += Duration::from_secs(40);
        }
        world.endpoint.handle_timeout(begin + passed);
        world.drain();
        let usage = world.endpoint.usage();
        assert!(usage.calls <= 40 && usage.streams <= 4, "bounds hold");
    }
    // Everything ends by itself within the longest timers.
    for _ in 0..64 {
        let Some(next) = world.endpoint.poll_timeout() else { break };
        world.endpoint.handle_timeout(next);
        world.drain();
    }
}

impl World {
    fn path(mode: u8) -> Option<Path> {
        let transport = if mode & 4 == 0 { Transport::Udp } else { Transport::Tcp };
        let connection = if mode & 4 == 0 { 0 } else { u64::from(mode >> 5) + 1 };
        Some(Path {
            transport,
            local: "192.0.2.1:5060".parse().ok()?,
            remote: "192.0.2.9:5060".parse().ok()?,
            connection,
        })
    }

    fn packet(&mut self, now: Instant, mode: u8, bytes: &[u8]) {
        let Some(path) = Self::path(mode) else { return };
        self.echo = mode & 4 != 0 || inspect(bytes).is_err();
        if mode & 8 != 0 && self.sent.starts_with(b"SIP/2.0 401") {
            return;
        }
        if mode & 8 != 0 && !self.sent.starts_with(b"SIP/") && !self.sent.is_empty() {
            let answer = answer_to(&self.sent, bytes);
            self.endpoint.handle_packet(now, path, &answer);
        } else if mode & 4 != 0 {
            self.endpoint.handle_stream_data(now, path, bytes);
        } else {
            self.endpoint.handle_packet(now, path, bytes);
        }
    }

    fn command(&mut self, now: Instant, mode: u8, what: u8, number: u64) {
        let call = self.calls.get(usize::from(mode >> 5)).or(self.calls.last()).copied().unwrap_or(CallHandle(number));
        let request = self.requests.pop().unwrap_or(RequestHandle(number));
        let Some(path) = Self::path(mode) else { return };
        let sdp = Body::from_static(SDP);
        let command = match what % 13 {
            0 => Command::Progress { call, status: 180, sdp: None },
            1 => Command::Progress { call, status: 183, sdp: Some(sdp) },
            2 => Command::Answer { call, sdp, headers: Vec::new() },
            3 => Command::Refuse { call, status: 486, headers: Vec::new() },
            4 => {
                let call = self.endpoint.fresh_call();
                self.calls.push(call);
                Command::Invite {
                    call,
                    uri: "sip:agent@192.0.2.9".into(),
                    path,
                    from: "<sip:us@192.0.2.1>".into(),
                    to: "<sip:agent@192.0.2.9>".into(),
                    sdp: (mode & 1 == 0).then_some(sdp),
                    headers: Vec::new(),
                    credentials: None,
                }
            }
            5 => Command::AnswerReoffer { call, sdp: (mode & 1 == 0).then_some(sdp) },
            6 => Command::Reoffer { call, sdp },
            7 => Command::AnswerLateOffer { call, sdp },
            8 => Command::Hangup { call, status: None, reasons: vec![] },
            9 => Command::Reply { request, status: 200, headers: Vec::new() },
            10 => Command::Account { request, ha1: Some(Ha1::of("kim", "fuzz", "secret")) },
            11 => Command::Refer { call, refer_to: "sip:other@192.0.2.9".into() },
            _ => {
                self.endpoint.handle_closed(now, path.connection);
                return;
            }
        };
        // A command that does not fit the state of its call is refused, not carried out.
        let _ = self.endpoint.handle_command(now, command);
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { bytes, .. } => {
                    let response = bytes.starts_with(b"SIP/");
                    if !(response && self.echo) && bytes.len() > 4 && bytes.first().is_some_and(|b| *b > 3) {
                        let text = String::from_utf8_lossy(&bytes);
                        assert!(inspect(&bytes).is_ok(), "what is sent is well-formed: {text}");
                    }
                    self.sent = bytes.to_vec();
                }
                Output::Event(Event::Incoming { call, invite }) => {
                    if let Some(diverted) = Diverted::of(&invite.headers) {
                        let bounded = |user: &str| user.chars().count() <= 64 && !user.chars().any(char::is_control);
                        assert!(bounded(&diverted.first) && bounded(&diverted.last), "{diverted:?}");
                    }
                    self.calls.push(call);
                }
                Output::Event(
                    Event::Cancelled { reasons, .. } | Event::Failed { reasons, .. } | Event::Ended { reasons, .. },
                ) => {
                    let bounded = |reason: &Reason| reason.text.chars().count() <= 64 && reason.cause < 700;
                    assert!(reasons.len() <= 4 && reasons.iter().all(bounded), "{reasons:?}");
                }
                Output::Event(
                    Event::Authenticate { request, .. }
                    | Event::Registering { request, .. }
                    | Event::Referred { request, .. },
                ) => self.requests.push(request),
                Output::Event(_) | Output::Close { .. } => {}
            }
        }
        self.calls.truncate(16);
        self.requests.truncate(16);
    }
}

/// A response to a request of ours: a status and some headers of the fuzzer's, the rest as it must be.
fn answer_to(request: &[u8], bytes: &[u8]) -> Vec<u8> {
    const STATUS: [&str; 12] = ["100", "180", "183", "200", "202", "302", "401", "407", "481", "486", "491", "503"];
    let choice = usize::from(bytes.first().copied().unwrap_or(0));
    let mut out = format!("SIP/2.0 {} x\r\n", STATUS[choice % STATUS.len()]).into_bytes();
    for line in request.split(|byte| *byte == b'\n').skip(1) {
        let kept = [&b"Via"[..], b"From", b"Call-ID", b"CSeq"].iter().any(|name| line.starts_with(name));
        if kept {
            out.extend_from_slice(line);
            out.push(b'\n');
        } else if line.starts_with(b"To:") {
            out.extend_from_slice(line.trim_ascii_end());
            if !line.windows(5).any(|window| window == b";tag=") {
                out.extend_from_slice(b";tag=t");
                out.push(b'0' + (choice >> 5) as u8);
            }
            out.extend_from_slice(b"\r\nContact: <sip:peer@192.0.2.9>\r\n");
        }
    }
    out.extend_from_slice(bytes.get(1..).unwrap_or_default());
    if !out.windows(4).any(|window| window == b"\r\n\r\n") {
        out.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
    }
    out
}
