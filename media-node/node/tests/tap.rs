//! A speech engine gets the voices of a call, with real sockets, and no call ever waits for it.

mod common;

use common::{Peer, file, share, start, until};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Bytes of a frame: its head and 160 samples.
const FRAME: usize = 8 + 320;

/// What an engine got.
enum Got {
    Head(serde_json::Value),
    Frame { leg: String, number: u32, kind: u8, samples: Vec<i16> },
    End { leg: String },
}

/// Reads one voice, `limit` frames at most: then the engine is gone.
fn read(stream: impl Read, into: &Sender<Got>, limit: usize) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let head: serde_json::Value = serde_json::from_str(&line).unwrap();
    let leg = head["leg"].as_str().unwrap().to_string();
    into.send(Got::Head(head)).ok()?;
    let mut frame = [0; FRAME];
    for _ in 0..limit {
        if stream.read_exact(&mut frame).is_err() {
            into.send(Got::End { leg }).ok()?;
            return None;
        }
        assert_eq!((frame[5], u16::from_le_bytes([frame[6], frame[7]])), (0, 320));
        let number = u32::from_le_bytes(frame[..4].try_into().unwrap());
        let samples = frame[8..].chunks(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect();
        into.send(Got::Frame { leg: leg.clone(), number, kind: frame[4], samples }).ok()?;
    }
    Some(())
}

fn socket(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("hotline-tap-{name}-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// An engine at a socket; what it gets. Each voice is broken off after so many frames.
fn engine(path: &PathBuf, limit: usize) -> Receiver<Got> {
    let listener = UnixListener::bind(path).unwrap();
    let (into, got) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let into = into.clone();
            std::thread::spawn(move || read(stream, &into, limit));
        }
    });
    got
}

fn rules(agent: &Peer, tap: &str) -> String {
    format!("rules: [{{dial: \"70*\", tap: {tap}, bridge: {{to: \"sip:agent@{}\"}}}}]", agent.address())
}

fn answering() -> Peer {
    let mut agent = Peer::new("127.0.0.1:9".parse().unwrap());
    agent.auto_answer_hz = Some(880.0);
    agent
}

/// What an engine has of one leg.
#[derive(Default)]
struct Voice {
    samples: Vec<i16>,
    numbers: Vec<u32>,
    kinds: Vec<u8>,
    ended: bool,
}

impl Voice {
    fn take(&mut self, got: &Receiver<Got>, heads: &mut Vec<serde_json::Value>, wanted: &str) {
        for item in got.try_iter() {
            match item {
                Got::Head(head) => heads.push(head),
                Got::Frame { leg, number, kind, samples } if leg == wanted => {
                    self.numbers.push(number);
                    self.kinds.push(kind);
                    self.samples.extend(samples);
                }
                Got::End { leg } if leg == wanted => self.ended = true,
                Got::Frame { .. } | Got::End { .. } => {}
            }
        }
    }

    fn hears(&self, hz: f64) -> bool {
        self.samples.len() > 8_000 && share(&self.samples[self.samples.len() - 4_000..], hz) > 0.9
    }
}

#[test]
fn an_engine_hears_each_voice_apart() {
    let path = socket("both");
    let listener = UnixListener::bind(&path).unwrap();
    let (into, got) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let into = into.clone();
            std::thread::spawn(move || read(stream, &into, usize::MAX));
        }
    });
    let mut agent = answering();
    let target = format!("unix:{}", path.display());
    let text = rules(&agent, "both");
    let node = start("tap", "46000-46099", || file(&text), &[("HOTLINE_NODE_TAP_CONNECT", &target)]);
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("701", 440.0);
    let (mut heads, mut voices) = (Vec::new(), [Voice::default(), Voice::default()]);
    let mut sort = |voices: &mut [Voice; 2]| {
        for item in got.try_iter() {
            match item {
                Got::Head(head) => heads.push(head),
                Got::Frame { leg, number, kind, samples } => {
                    let voice = &mut voices[usize::from(leg != "caller")];
                    voice.numbers.push(number);
                    voice.kinds.push(kind);
                    voice.samples.extend(samples);
                }
                Got::End { leg } => voices[usize::from(leg != "caller")].ended = true,
            }
        }
        heads.clone()
    };
    until("both voices at the engine", &mut [&mut caller, &mut agent], |_| {
        sort(&mut voices);
        voices[0].hears(440.0) && voices[1].hears(880.0)
    });
    assert_eq!(node.metric("tap_streams"), 2);
    caller.hang_up(line);
    until("the end of both voices", &mut [&mut caller, &mut agent], |_| {
        sort(&mut voices);
        voices.iter().all(|voice| voice.ended)
    });
    for voice in &voices {
        assert!(voice.numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "nothing is lost while it reads");
        let whole = voice.kinds.iter().filter(|kind| **kind == 3).count();
        assert!(whole * 10 > voice.kinds.len() * 8, "{:?}", voice.kinds);
    }
    let heads = sort(&mut voices);
    let mut legs: Vec<&str> = heads.iter().map(|head| head["leg"].as_str().unwrap()).collect();
    legs.sort_unstable();
    assert_eq!(legs, ["caller", "leg1"]);
    for head in &heads {
        assert_eq!((head["number"].as_str(), head["rate"].as_u64()), (Some("701"), Some(8_000)));
        assert_eq!((head["format"].as_str(), head["direction"].as_str()), (Some("s16le"), Some("in")));
        assert!(head["tenant"].is_string() && head["contact"].is_string() && head["version"] == 1);
    }
    assert_eq!((node.metric("tap_frames_lost"), node.metric("tap_failures")), (0, 0));
    let frames: usize = voices.iter().map(|voice| voice.numbers.len()).sum();
    until("the count of frames", &mut [&mut caller], |_| {
        node.metric("tap_frames") == frames as u64 && node.metric("tap_streams") == 0
    });
    let _ = std::fs::remove_file(&path);
}

#[test]
fn a_slow_engine_loses_frames_and_the_call_none() {
    let path = socket("slow");
    let listener = UnixListener::bind(&path).unwrap();
    let mut agent = answering();
    let target = format!("unix:{}", path.display());
    let text = rules(&agent, "caller");
    let node = start("tap-slow", "46100-46199", || file(&text), &[("HOTLINE_NODE_TAP_CONNECT", &target)]);
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("701", 440.0);
    until("both voices", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[line].hears(880.0, 300) > 0.9 && p[1].lines.first().is_some_and(|l| l.hears(440.0, 300) > 0.9)
    });
    // It takes the connection and reads nothing.
    listener.set_nonblocking(true).unwrap();
    let mut connection = None;
    until("the connection", &mut [&mut caller, &mut agent], |_| {
        connection = listener.accept().ok();
        connection.is_some()
    });
    let (stream, _) = connection.unwrap();
    stream.set_nonblocking(false).unwrap();
    let before = [caller.lines[line].heard.len(), agent.lines[0].heard.len()];
    until("frames that are lost", &mut [&mut caller, &mut agent], |_| node.metric("tap_frames_lost") > 50);
    for (heard, hz) in [(&caller.lines[line].heard[before[0]..], 880.0), (&agent.lines[0].heard[before[1]..], 440.0)] {
        assert!(heard.len() > 16_000);
        assert!(heard.chunks_exact(4_000).all(|half| share(half, hz) > 0.9), "{hz} Hz");
    }
    // Now it reads: what waited is whole, then come later frames, after a gap in their numbers.
    let (into, got) = channel();
    std::thread::spawn(move || read(stream, &into, usize::MAX));
    let (mut heads, mut voice) = (Vec::new(), Voice::default());
    // Less than ten seconds have passed: it was not given up.
    until("later frames", &mut [&mut caller, &mut agent], |_| {
        voice.take(&got, &mut heads, "caller");
        voice.numbers.windows(2).any(|pair| pair[1] > pair[0] + 1) && voice.hears(440.0)
    });
    assert!(voice.numbers.windows(2).all(|pair| pair[1] > pair[0]));
    assert_eq!(heads.len(), 1, "the callee's voice was not asked for");
    caller.hang_up(line);
    until("the agent's BYE", &mut [&mut caller, &mut agent], |p| p[1].lines[0].ended);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn an_engine_that_is_away_or_dies_is_found_again() {
    let path = socket("away");
    let mut agent = answering();
    let target = format!("unix:{}", path.display());
    let text = rules(&agent, "callee");
    let node = start("tap-away", "46200-46299", || file(&text), &[("HOTLINE_NODE_TAP_CONNECT", &target)]);
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("701", 440.0);
    // There is none.
    until("both voices, and a failure", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[line].hears(880.0, 300) > 0.9
            && p[1].lines.first().is_some_and(|l| l.hears(440.0, 300) > 0.9)
            && node.metric("tap_failures") == 1
    });
    // It comes, and breaks each voice off after half a second.
    let got = engine(&path, 25);
    let (mut heads, mut voice) = (Vec::new(), Voice::default());
    until("two streams of one voice", &mut [&mut caller, &mut agent], |_| {
        voice.take(&got, &mut heads, "leg1");
        voice.numbers.len() == 50
    });
    let resumed: Vec<u64> = heads.iter().map(|head| head["resumed"].as_u64().unwrap()).collect();
    assert!(resumed.len() == 2 && resumed[0] >= 1 && resumed[1] > resumed[0], "{resumed:?}");
    assert!(voice.numbers.windows(2).all(|pair| pair[1] > pair[0]), "frames are counted on");
    assert!(voice.numbers[25] > voice.numbers[24] + 1, "what was said meanwhile is lost");
    assert!(share(&voice.samples[..4_000], 880.0) > 0.9 && share(&voice.samples[4_000..], 880.0) > 0.9);
    assert!(node.metric("tap_frames_lost") > 0);
    assert!(caller.lines[line].hears(880.0, 1_000) > 0.9 && agent.lines[0].hears(440.0, 1_000) > 0.9);
    caller.hang_up(line);
    until("the agent's BYE", &mut [&mut caller, &mut agent], |p| p[1].lines[0].ended);
    until("no stream", &mut [&mut caller], |_| node.metric("tap_streams") == 0);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn above_the_limit_voices_are_refused_and_calls_are_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp:{}", listener.local_addr().unwrap());
    let mut agent = answering();
    let text = rules(&agent, "both");
    let env = [("HOTLINE_NODE_TAP_CONNECT", target.as_str()), ("HOTLINE_NODE_TAP_MAX_STREAMS", "1")];
    let node = start("tap-limit", "46300-46399", || file(&text), &env);
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("701", 440.0);
    until("both voices", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[line].hears(880.0, 300) > 0.9 && p[1].lines.first().is_some_and(|l| l.hears(440.0, 300) > 0.9)
    });
    assert_eq!((node.metric("tap_streams"), node.metric("tap_refused")), (1, 1));
    let (into, got) = channel();
    std::thread::spawn(move || read(listener.accept().unwrap().0, &into, usize::MAX));
    let (mut heads, mut voice) = (Vec::new(), Voice::default());
    until("the caller's voice", &mut [&mut caller, &mut agent], |_| {
        voice.take(&got, &mut heads, "caller");
        voice.hears(440.0)
    });
    caller.hang_up(line);
    until("the agent's BYE", &mut [&mut caller, &mut agent], |p| p[1].lines[0].ended);
}
