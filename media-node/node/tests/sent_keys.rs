//! Keys that a decision has the node send: the other side recognises them in each of the three ways.

mod common;

use common::fleet::{Member, wait};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use hotline_rtp::api::Law;
use hotline_rtp::dtmf::EventReceiver;
use hotline_rtp::goertzel::InbandReceiver;
use hotline_wire::node::{NodeAction, SentKeys, Verb};

/// A caller that writes its messages itself: what it says of events and of INFO is the test's.
struct ByHand {
    sip: UdpSocket,
    rtp: UdpSocket,
    node: SocketAddr,
    name: &'static str,
    acknowledged: bool,
    events: EventReceiver,
    inband: InbandReceiver,
    /// Keys by the way they came.
    as_events: String,
    as_info: String,
    as_tones: String,
}

impl ByHand {
    fn call(node: SocketAddr, name: &'static str, events: bool, allow: &str) -> Self {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let (sip, rtp) = (socket(), socket());
        let port = rtp.local_addr().unwrap().port();
        let (types, map) = match events {
            true => ("0 101", "a=rtpmap:101 telephone-event/8000\r\n"),
            false => ("0", ""),
        };
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {types}\r\n{map}"
        );
        let by_hand = Self {
            sip,
            rtp,
            node,
            name,
            acknowledged: false,
            events: EventReceiver::new(false),
            inband: InbandReceiver::new(false),
            as_events: String::new(),
            as_info: String::new(),
            as_tones: String::new(),
        };
        let head = by_hand.head("INVITE", "", "1 INVITE");
        by_hand.send(&format!(
            "{head}Allow: {allow}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        ));
        by_hand
    }

    fn head(&self, method: &str, to_tag: &str, cseq: &str) -> String {
        let (own, node, name) = (self.sip.local_addr().unwrap(), self.node, self.name);
        format!(
            "{method} sip:100@{node} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{name}{method}\r\nMax-Forwards: 70\r\n\
             From: <sip:hand@{own}>;tag={name}\r\nTo: <sip:100@{node}>{to_tag}\r\nCall-ID: {name}@hand\r\n\
             CSeq: {cseq}\r\nContact: <sip:hand@{own}>\r\n"
        )
    }

    fn send(&self, text: &str) {
        self.sip.send_to(text.as_bytes(), self.node).unwrap();
    }

    /// Takes what has come.
    fn step(&mut self) {
        let mut buffer = [0u8; 4_096];
        while let Ok((length, _)) = self.sip.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let line = |name: &str| text.lines().find(|l| l.starts_with(name)).unwrap_or_default().to_owned();
            if text.starts_with("SIP/2.0 200") && line("CSeq").ends_with("INVITE") {
                let tag = line("To").split_once(";tag=").map(|(_, tag)| format!(";tag={tag}")).unwrap();
                self.send(&format!("{}Content-Length: 0\r\n\r\n", self.head("ACK", &tag, "1 ACK")));
                self.acknowledged = true;
            } else if text.starts_with("INFO ") {
                self.as_info.push_str(line("Signal=").trim_start_matches("Signal="));
                let head: Vec<String> =
                    ["Via", "From", "To", "Call-ID", "CSeq"].iter().map(|name| line(name)).collect();
                self.send(&format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", head.join("\r\n")));
            }
        }
        let now = common::fleet::TEN.as_micros() as u64;
        while let Ok((length, _)) = self.rtp.recv_from(&mut buffer) {
            if length <= 12 {
                continue;
            }
            let timestamp = u32::from_be_bytes(buffer[4..8].try_into().unwrap());
            match buffer[1] & 0x7f {
                101 => {
                    let presses = self.events.receive(timestamp, &buffer[12..length], now);
                    self.as_events.extend(presses.into_iter().flatten().map(|press| press.digit));
                }
                0 => {
                    let (press, _) = self.inband.receive(&buffer[12..length], Law::Mu);
                    self.as_tones.extend(press.map(|press| press.digit));
                }
                _ => {}
            }
        }
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + common::fleet::TEN;
        while !done(self) {
            self.step();
            let heard = (&self.as_events, &self.as_info, &self.as_tones);
            assert!(Instant::now() < end, "{}: waited in vain: {what}; keys came as {heard:?}", self.name);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn keys_come_by_event_by_info_or_as_tones() {
    let mut node = Member::start("sentkeys", "46500-46549", &[]);
    let all = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO";
    let none = "INVITE, ACK, CANCEL, BYE, OPTIONS";
    for (n, (name, events, allow)) in
        [("events", true, all), ("info", false, all), ("tones", false, none)].into_iter().enumerate()
    {
        let mut caller = ByHand::call(node.running.sip, name, events, allow);
        caller.until("the answer", |caller| caller.acknowledged);
        let contact = node.contact(n);
        let keys = SentKeys { keys: "1,9#0A".to_string().into(), secret: n == 1 };
        node.command(contact, NodeAction::Script { label: "1:keys".into(), script: vec![Verb::SendKeys(keys)] });
        caller.until("all keys", |caller| {
            let came = [&caller.as_events, &caller.as_info, &caller.as_tones][n];
            came.len() >= 5
        });
        // The report comes after the last key and its rest.
        wait("the report", || {
            caller.step();
            node.find(|input| match &input.event {
                hotline_wire::node::CallEvent::ScriptEnded { label, .. } if input.contact == contact => {
                    (label == "1:keys").then_some(())
                }
                _ => None,
            })
            .is_some()
        });
        let came = [caller.as_events.as_str(), caller.as_info.as_str(), caller.as_tones.as_str()];
        for (way, came) in came.into_iter().enumerate() {
            assert_eq!(came, if way == n { "19#0A" } else { "" }, "{name}: by way {way}");
        }
    }
}
