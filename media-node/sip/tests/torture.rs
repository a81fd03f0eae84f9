//! Malformed and unusual messages: RFC 4475's own where they lie beside the repository, and ours.

use hotline_sip::api::{Event, Output, Path, Transport};
use hotline_sip::{Endpoint, EndpointConfig, Trust, inspect};
use std::time::Instant;

/// What an endpoint makes of one message.
fn verdict(message: &[u8]) -> String {
    let mut config = EndpointConfig::new("shop");
    config.auth = Box::new(|facts| if facts.uri.contains("secure.test") { Trust::Digest } else { Trust::Trusted });
    let mut endpoint = Endpoint::new(config, [1; 32]);
    let path = Path {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.77:5060".parse().unwrap(),
        connection: 0,
    };
    endpoint.handle_packet(Instant::now(), path, message);
    let mut status = None;
    while let Some(output) = endpoint.poll_output() {
        match output {
            Output::Event(Event::Incoming { .. }) => return "Incoming".into(),
            Output::Event(Event::Registering { .. }) => return "Registering".into(),
            Output::Event(_) | Output::Close { .. } => {}
            Output::Transmit { bytes, .. } => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                // The answer to a malformed request repeats what was malformed.
                let echo = inspect(message).is_err();
                assert!(echo || inspect(&bytes).is_ok(), "what we send is well-formed:\n{text}");
                status = text.get(8..11).map(str::to_owned).filter(|s| s != "100").or(status);
            }
        }
    }
    let is_response = message.starts_with(b"SIP/");
    status.unwrap_or_else(|| {
        if is_response && inspect(message).is_ok() && vias(message) == 1 { "response".into() } else { "dropped".into() }
    })
}

fn vias(message: &[u8]) -> usize {
    message.windows(6).filter(|w| *w == b"\r\nVia:").count()
}

/// Verdicts for the messages of RFC 4475: 17 valid ones are served (an unknown method is served by
/// 501), 16 invalid ones are refused or dropped, the others as said.
const RFC_4475: [(&str, &str); 49] = [
    // It has a To tag, so it belongs to a dialog that is not here.
    ("wsinv", "481"),
    ("intmeth", "501"),
    ("esc01", "Incoming"),
    ("escnull", "Registering"),
    ("esc02", "501"),
    ("lwsdisp", "200"),
    ("longreq", "Incoming"),
    ("dblreq", "Registering"),
    ("semiuri", "200"),
    ("transports", "200"),
    ("mpart01", "405"),
    ("unreason", "response"),
    ("noreason", "response"),
    ("cparam01", "Registering"),
    ("cparam02", "Registering"),
    ("regescrt", "Registering"),
    ("inv2543", "Incoming"),
    ("badinv01", "400"),
    ("clerr", "400"),
    ("ncl", "400"),
    ("scalar02", "400"),
    ("scalarlg", "dropped"),
    ("quotbal", "400"),
    ("ltgtruri", "400"),
    ("lwsruri", "400"),
    ("lwsstart", "400"),
    ("multi01", "400"),
    ("mcl01", "400"),
    ("badvers", "505"),
    ("mismatch01", "400"),
    ("mismatch02", "400"),
    ("bigcode", "dropped"),
    ("insuf", "400"),
    // Well-formed, and refused by what we are.
    ("unkscm", "416"),
    ("novelsc", "416"),
    ("unksm2", "404"),
    ("bext01", "420"),
    ("invut", "415"),
    ("sdp01", "406"),
    // Served: the scheme is judged only where a digest is wanted, no hop follows us, and a branch
    // that is only the cookie is matched as RFC 2543 does.
    ("regaut01", "Registering"),
    ("zeromf", "200"),
    ("badbranch", "200"),
    // A second Via: not for us (§8.1.3.3).
    ("bcast", "dropped"),
    // "Reject or be liberal": strict, but for a Date, which nothing here reads.
    ("trws", "400"),
    ("escruri", "400"),
    ("baddate", "Incoming"),
    ("regbadct", "400"),
    ("badaspec", "400"),
    ("baddn", "400"),
];

#[test]
fn every_message_of_rfc_4475() {
    let folder = format!("{}/../../../shared/rfc4475", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    if !std::path::Path::new(&folder).is_dir() {
        return;
    }
    let mut wrong = Vec::new();
    for (name, expected) in RFC_4475 {
        let message = std::fs::read(format!("{folder}/{name}.dat")).unwrap();
        let got = verdict(&message);
        if got != expected {
            wrong.push(format!("{name}: expected {expected}, got {got} ({:?})", inspect(&message)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The messages of `golden/torture.txt`.
fn golden() -> Vec<(String, String, Vec<u8>)> {
    let text = include_str!("golden/torture.txt");
    text.split("\n=== ")
        .skip(1)
        .map(|section| {
            let (title, body) = section.split_once('\n').unwrap();
            let (title, verdict) = title.rsplit_once(": ").unwrap();
            let mut bytes = Vec::new();
            let mut rest = body;
            while let Some(c) = rest.chars().next() {
                if let Some(escape) = rest.strip_prefix("\\x") {
                    bytes.push(u8::from_str_radix(&escape[..2], 16).unwrap());
                    rest = &escape[2..];
                    continue;
                }
                match c {
                    '\n' => bytes.extend_from_slice(b"\r\n"),
                    c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
                rest = &rest[c.len_utf8()..];
            }
            // Sections end with the empty line of a message without body.
            if !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
                bytes.extend_from_slice(b"\r\n");
            }
            (title.to_owned(), verdict.to_owned(), bytes)
        })
        .collect()
}

#[test]
fn our_own_messages_for_the_same_points() {
    let golden = golden();
    assert_eq!(golden.len(), 49);
    let mut wrong = Vec::new();
    for (title, expected, message) in &golden {
        let got = verdict(message);
        if got != *expected {
            wrong.push(format!("{title}: expected {expected}, got {got} ({:?})", inspect(message)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A small generator, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn mutated_messages_never_panic_and_answers_are_well_formed() {
    let seeds: Vec<Vec<u8>> = golden().into_iter().map(|(_, _, bytes)| bytes).collect();
    let mut random = Random(0x1234_5678_9abc_def1);
    // More on demand: `HOTLINE_FUZZ_ROUNDS=10000000`.
    let rounds = std::env::var("HOTLINE_FUZZ_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(20_000);
    for round in 0..rounds {
        let mut message = seeds[round % seeds.len()].clone();
        for _ in 0..=random.next(4) {
            if message.is_empty() {
                break;
            }
            let at = random.next(message.len());
            match random.next(5) {
                0 => message[at] = random.next(256) as u8,
                1 => drop(message.remove(at)),
                2 => message.insert(at, b"\r\n \t;,<>\"=:%@?\\\0\xff"[random.next(17)]),
                3 => message.truncate(at),
                _ => {
                    let other = &seeds[random.next(seeds.len())];
                    let from = random.next(other.len());
                    message.splice(at..at, other[from..].iter().copied().take(40));
                }
            }
        }
        verdict(&message);
    }
}

#[test]
fn limits_are_kept() {
    let head = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n";
    let with = |extra: String| verdict(format!("{head}{extra}\r\n").as_bytes());
    assert_eq!(with(String::new()), "200");
    assert_eq!(inspect(format!("{head}{}\r\n", "Y: y\r\n".repeat(250)).as_bytes()), Ok(()));
    assert_eq!(with("Y: y\r\n".repeat(250)), "200");
    assert_eq!(with("Y: y\r\n".repeat(252)), "400");
    assert_eq!(with(format!("Y: {}\r\n", "y".repeat(8_100))), "200");
    assert_eq!(with(format!("Y: {}\r\n", "y".repeat(8_200))), "400");
    assert_eq!(with(format!("Y:{}", format!(" {}\r\n", "y".repeat(1_000)).repeat(66))), "dropped");
    assert_eq!(with("Y y\r\n".into()), "400");
    assert_eq!(with("Y: y\nZ: a\r\n".into()), "400");
}
