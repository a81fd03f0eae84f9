//! SIP messages and RTP of a call, written to a file on demand; messages sent to a collector.

mod common;

use common::fleet::{self, Member, hears, offer, ring};
use common::secure::Kind;
use common::{Peer, file, find, start, until};
use hotline_rtp::srtp::Suite;
use hotline_wire::node::NodeAction;
use std::net::UdpSocket;

/// The payloads of a file of raw IPv4 packets, with the ports they went between.
fn datagrams(bytes: &[u8]) -> Vec<(u16, u16, String)> {
    let mut found = Vec::new();
    let mut rest = bytes.get(24..).unwrap_or_default();
    while rest.len() > 44 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let Some(ip) = rest.get(16..16 + length) else { break };
        let port = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
        found.push((port(20), port(22), String::from_utf8_lossy(&ip[28..]).into_owned()));
        rest = &rest[16 + length..];
    }
    found
}

#[test]
fn the_messages_of_the_calls_that_were_asked_for() {
    let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
    collector.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let hep = collector.local_addr().unwrap().to_string();
    let mut agent = Peer::new("127.0.0.1:9".parse().unwrap());
    agent.auto_answer_hz = Some(880.0);
    let text = format!("rules: [{{dial: \"70*\", bridge: {{to: \"sip:agent@{}\"}}}}]", agent.address());
    let node = start("capture", "48500-48599", || file(&text), &[("HOTLINE_NODE_CAPTURE_HEP", &hep)]);
    assert!(node.http("POST /capture?calls=x").contains("400 Bad Request"));
    assert!(node.http("GET /capture").contains("405"));
    let told = node.http("POST /capture?number=700&calls=1");
    assert!(told.contains("the next 1 calls are written to "), "{told}");
    let mut caller = Peer::new(node.sip);
    for (number, wanted) in [("701", 1), ("700", 2), ("700", 3)] {
        let line = caller.dial(number, 440.0);
        until("the answer", &mut [&mut caller, &mut agent], |p| {
            p[0].lines[line].answered && p[1].lines.len() == wanted
        });
        caller.hang_up(line);
        until("the agent's BYE", &mut [&mut caller, &mut agent], |p| p[1].lines[wanted - 1].ended);
    }
    until("no session", &mut [&mut caller, &mut agent], |_| node.metric("sessions") == 0);
    let mut files = Vec::new();
    find(&node.folder.join("captures"), &mut files);
    let [path] = &files[..] else { panic!("{files:?}") };
    let mut messages = Vec::new();
    until("the whole file", &mut [&mut caller, &mut agent], |_| {
        messages = datagrams(&std::fs::read(path).unwrap());
        messages.iter().filter(|(.., text)| text.starts_with("BYE ")).count() >= 2
    });
    let (callers, agents) = (caller.address().port(), agent.address().port());
    let count = |from: u16, to: u16, start: &str| {
        messages.iter().filter(|(f, t, text)| *f == from && *t == to && text.starts_with(start)).count()
    };
    let here = node.sip.port();
    assert_eq!(count(callers, here, "INVITE sip:700@"), 1, "one call of three");
    assert_eq!(count(here, callers, "SIP/2.0 200 OK"), 2, "to the INVITE and to the BYE");
    assert_eq!((count(callers, here, "ACK "), count(callers, here, "BYE ")), (1, 1));
    // The other leg as well.
    assert_eq!((count(here, agents, "INVITE "), count(here, agents, "BYE ")), (1, 1));
    // The answer to the BYE comes when the call may be forgotten already.
    assert!((1..=2).contains(&count(agents, here, "SIP/2.0 200 OK")));
    assert!(messages.iter().any(|(.., text)| text.contains("\r\n\r\nv=0\r\n")), "bodies are there");

    // The collector gets the calls that were not asked for too.
    let mut buffer = [0u8; 65_536];
    let mut invites = 0;
    while invites < 2 {
        let length = collector.recv(&mut buffer).unwrap();
        assert!(buffer.starts_with(b"HEP3"));
        invites += usize::from(String::from_utf8_lossy(&buffer[..length]).contains("INVITE sip:70"));
    }
}

/// An RTP packet in a file: ports, sequence number, bytes kept of it and bytes that it had.
struct Rtp {
    ports: (u16, u16),
    sequence: u16,
    at_us: u64,
    kept: usize,
    length: usize,
}

/// An RTCP packet in a file: ports, and what is there of it.
type Report = ((u16, u16), Vec<u8>);

fn rtp(bytes: &[u8]) -> Vec<Rtp> {
    media(bytes).0
}

/// RTP and RTCP, which differ in the second byte (RFC 5761 §4).
fn media(bytes: &[u8]) -> (Vec<Rtp>, Vec<Report>) {
    let (mut found, mut reports) = (Vec::new(), Vec::new());
    let mut rest = bytes.get(24..).unwrap_or_default();
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    while rest.len() >= 16 {
        let (kept, length) = (word(rest, 8) as usize, word(rest, 12) as usize);
        let Some(ip) = rest.get(16..16 + kept) else { break };
        let short = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
        assert_eq!(usize::from(short(2)), length, "the head says how long the packet was");
        if ip.get(28).is_some_and(|byte| byte >> 6 == 2) && (200..=204).contains(&ip[29]) {
            assert_eq!(kept, length, "reports are whole");
            reports.push(((short(20), short(22)), ip[28..].to_vec()));
        } else if ip.get(28).is_some_and(|byte| byte >> 6 == 2) {
            let at_us = u64::from(word(rest, 0)) * 1_000_000 + u64::from(word(rest, 4));
            let (kept, length) = (kept - 28, length - 28);
            found.push(Rtp { ports: (short(20), short(22)), sequence: short(30), at_us, kept, length });
        }
        rest = &rest[16 + kept..];
    }
    (found, reports)
}

/// A receiver report about nobody, by this source.
const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0xca, 0xfe, 0xba, 0xbe];

#[test]
fn reports_of_both_directions_are_there_as_on_the_wire() {
    let rules = "rules: [{dial: \"600\", play: {tone: 440, ms: 30000}}]";
    let node = start("capture-rtcp", "47100-47199", || file(rules), &[]);
    for kind in [None, Some(Kind::Keys(Suite::Aes128Sha1Tag80)), Some(Kind::Browser)] {
        let told = node.http("POST /capture?calls=1&rtp=headers");
        let path = told.split("written to ").nth(1).unwrap().trim().to_string();
        let mut caller = Peer::new(node.sip);
        caller.protects = kind;
        let line = caller.dial("600", 0.0);
        until("the tone", &mut [&mut caller], |p| p[0].lines[line].hears(440.0, 400) > 0.9);
        caller.lines[line].report(&REPORT);
        let port = caller.lines[line].remote.unwrap().port() + u16::from(kind != Some(Kind::Browser));
        let mut reports = Vec::new();
        // The node's own come every five seconds.
        until("reports of both sides", &mut [&mut caller], |_| {
            reports = media(&std::fs::read(&path).unwrap()).1;
            [true, false].iter().all(|ours| reports.iter().any(|(ways, _)| (ways.0 == port) == *ours))
        });
        for ((from, to), report) in &reports {
            if *from == port {
                assert_eq!(report[1], 200, "a sender's report");
                // Its lengths add up to the packet, unless it is protected: then there is more behind.
                let mut end = 0;
                while report.get(end).is_some_and(|byte| end < 64 && byte >> 6 == 2) && kind.is_none() {
                    end += 4 + 4 * usize::from(u16::from_be_bytes([report[end + 2], report[end + 3]]));
                }
                assert_eq!(end == report.len(), kind.is_none(), "{kind:?}: {report:02x?}");
            } else {
                assert_eq!(*to, port);
                assert_eq!(report[..8], REPORT);
                assert_eq!(report.len() > 8, kind.is_some(), "{kind:?}: as it is on the wire");
            }
        }
        caller.hang_up(line);
        until("the end", &mut [&mut caller], |_| node.metric("sessions") == 0);
    }
    assert_eq!(node.metric("capture_rtp_dropped"), 0);
}

#[test]
fn a_call_that_is_relayed_for_another_node_is_captured_too() {
    let key = ("HOTLINE_NODE_NODE_FLEET_KEY", "a secret of all these nodes");
    let mut near = Member::start("capture-near", "47200-47249", &[key]);
    let far = Member::start("capture-far", "47250-47299", &[key]);
    let agent = far.agent("fang", 880, true);
    let caller = near.caller(440);
    let told = far.running.http("POST /capture?number=fang&calls=1&rtp=all");
    let path = told.split("written to ").nth(1).unwrap().trim().to_string();
    near.command(near.contact(0), NodeAction::Ring(ring(1, "fang", &far)));
    fleet::wait("both voices", || hears(&caller, 880) && hears(&agent, 440));
    near.command(near.contact(0), NodeAction::ReleaseAgent { offer: offer(1) });
    fleet::wait("no relay", || far.running.metric("relays") == 0);
    let phone = agent.local_addr().port();
    let (here, there) = (far.running.sip.port(), near.running.sip.port());
    let mut bytes = Vec::new();
    let count = |bytes: &[u8], from: u16, to: u16, start: &str| {
        datagrams(bytes).iter().filter(|(f, t, text)| *f == from && *t == to && text.starts_with(start)).count()
    };
    until("the ends of both calls", &mut [], |_| {
        bytes = std::fs::read(&path).unwrap();
        count(&bytes, there, here, "BYE ") > 0 && count(&bytes, here, phone, "BYE ") > 0
    });
    assert_eq!((count(&bytes, there, here, "INVITE "), count(&bytes, here, phone, "INVITE ")), (1, 1));
    let mut ways: Vec<(u16, u16)> = rtp(&bytes).iter().map(|packet| packet.ports).collect();
    ways.sort_unstable();
    ways.dedup();
    assert_eq!(ways.len(), 4, "two legs, two directions: {ways:?}");
}

#[test]
fn rtp_is_in_the_file_where_it_is_asked_for_and_what_is_said_only_with_all() {
    let mut agent = Peer::new("127.0.0.1:9".parse().unwrap());
    agent.auto_answer_hz = Some(880.0);
    let text = format!("rules: [{{dial: \"700\", bridge: {{to: \"sip:agent@{}\"}}}}]", agent.address());
    let node = start("capture-rtp", "46800-46899", || file(&text), &[]);
    assert!(node.http("POST /capture?rtp=some").contains("400 Bad Request"));
    let mut caller = Peer::new(node.sip);
    for (round, (detail, kept)) in [("headers", 12), ("all", 172)].into_iter().enumerate() {
        let told = node.http(&format!("POST /capture?calls=1&rtp={detail}"));
        let path = told.split("written to ").nth(1).unwrap().trim().to_string();
        let line = caller.dial("700", 440.0);
        until("both voices", &mut [&mut caller, &mut agent], |p| {
            let hears = |line: &common::Line, hz| line.heard.len() > 8_000 && line.hears(hz, 900) > 0.9;
            hears(&p[0].lines[line], 880.0) && p[1].lines.get(round).is_some_and(|line| hears(line, 440.0))
        });
        caller.hang_up(line);
        until("the agent's BYE", &mut [&mut caller, &mut agent], |p| p[1].lines[round].ended);
        until("the end of the session", &mut [&mut caller, &mut agent], |_| node.metric("media_legs") == 0);
        let mut size = (0, 0);
        until("the whole file", &mut [&mut caller, &mut agent], |_| {
            size = (std::fs::read(&path).unwrap().len(), size.0);
            datagrams(&std::fs::read(&path).unwrap()).iter().filter(|(.., text)| text.starts_with("BYE ")).count() == 2
                && size.0 == size.1
        });
        let packets = rtp(&std::fs::read(&path).unwrap());
        let mut ways: Vec<(u16, u16)> = packets.iter().map(|packet| packet.ports).collect();
        ways.sort_unstable();
        ways.dedup();
        assert_eq!(ways.len(), 4, "two legs, two directions: {ways:?}");
        for way in ways {
            let own: Vec<&Rtp> = packets.iter().filter(|packet| packet.ports == way).collect();
            assert!(own.len() > 40, "{} packets on {way:?}", own.len());
            assert!(own.iter().all(|packet| (packet.kept, packet.length) == (kept, 172)), "{detail}");
            assert!(
                own.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)),
                "in order, each once"
            );
            assert!(own.windows(2).all(|pair| pair[1].at_us >= pair[0].at_us));
        }
    }
    assert_eq!((node.metric("capture_rtp_dropped"), node.metric("capture_dropped")), (0, 0));
}
