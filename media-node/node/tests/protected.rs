//! Protected calls by a whole node, with real sockets and real tones.

mod common;

use common::secure::Kind;
use common::{Peer, file, find, start, until};
use hotline_rtp::api::Law;
use hotline_rtp::srtp::Suite;
use hotline_sip::shard_of_call_id;
use std::time::{Duration, Instant};

const MENU: &str = "
rules:
  - dial: \"600\"
    menu:
      prompt: {tone: 440, ms: 8000}
      wait_ms: 300
      keys: {\"1\": {play: {tone: 880, ms: 900}}}
";

#[test]
fn a_menu_is_heard_and_its_key_taken_however_the_call_is_protected() {
    let node = start("protected-menu", "43000-43099", || file(MENU), &[]);
    for kind in [
        Kind::Keys(Suite::Aes128Sha1Tag80),
        Kind::Keys(Suite::Aes128Sha1Tag32),
        Kind::Keys(Suite::Aes256Gcm),
        Kind::Browser,
    ] {
        let mut caller = Peer::new(node.sip);
        caller.protects = Some(kind);
        let line = caller.dial("600", 0.0);
        until("the prompt", &mut [&mut caller], |p| p[0].lines[line].hears(440.0, 400) > 0.9);
        caller.press(line, 1);
        until("the second prompt", &mut [&mut caller], |p| p[0].lines[line].hears(880.0, 300) > 0.9);
        until("BYE", &mut [&mut caller], |p| p[0].lines[line].ended);
    }
    until("the end of all calls", &mut [], |_| node.metric("sessions") == 0);
    assert_eq!(node.metric("media_legs"), 0);
}

#[test]
fn two_legs_protected_otherwise_are_joined_held_and_recorded() {
    for (kind, ports) in [(Kind::Keys(Suite::Aes128Sha1Tag80), "43100-43149"), (Kind::Browser, "43150-43199")] {
        let mut agent = Peer::new("127.0.0.1:9".parse().unwrap());
        agent.auto_answer_hz = Some(880.0);
        let rules =
            format!("rules: [{{dial: \"701\", bridge: {{to: \"sip:agent@{}\", record: true}}}}]", agent.address());
        let node = start(&format!("protected-{ports}"), ports, || file(&rules), &[]);
        let mut caller = Peer::new(node.sip);
        caller.protects = Some(kind);
        let line = caller.dial("701", 440.0);
        let both = |p: &[&mut Peer]| {
            p[0].lines[line].hears(880.0, 500) > 0.9 && p[1].lines.first().is_some_and(|l| l.hears(440.0, 500) > 0.9)
        };
        until("both voices", &mut [&mut caller, &mut agent], both);
        caller.reoffer(line, "sendonly");
        let mut quiet = (caller.lines[line].heard.len(), Instant::now());
        until("hold", &mut [&mut caller, &mut agent], |p| {
            let heard = p[0].lines[line].heard.len();
            if heard != quiet.0 {
                quiet = (heard, Instant::now());
            }
            quiet.1.elapsed() > Duration::from_millis(300)
        });
        caller.reoffer(line, "sendrecv");
        caller.lines[line].heard.clear();
        agent.lines[0].heard.clear();
        until("both voices again", &mut [&mut caller, &mut agent], both);
        caller.hang_up(line);
        until("the agent's BYE", &mut [&mut caller, &mut agent], |p| p[1].lines[0].ended);
        let uploaded = |_: &[&mut Peer]| node.metric("uploads_pending") == 0 && node.metric("uploads") >= 2;
        until("the manifest", &mut [&mut caller], uploaded);
        let mut files = Vec::new();
        find(&node.folder.join("recordings"), &mut files);
        let chunk = files.iter().find(|f| f.extension().is_some_and(|e| e == "g711")).unwrap();
        let bytes = std::fs::read(chunk).unwrap();
        for (channel, hz) in [(0, 440.0), (1, 880.0)] {
            let frames = bytes.chunks_exact(320).map(|frame| &frame[channel * 160..][..160]);
            let samples: Vec<i16> = frames.flatten().map(|byte| Law::Mu.decode(*byte)).collect();
            let most = samples.chunks(2_000).map(|part| common::share(part, hz)).fold(0.0, f64::max);
            assert!(most > 0.6, "channel {channel}: {most}");
        }
    }
}

#[test]
fn a_browser_that_is_loaded_again_gets_its_call_back_while_the_other_hears_music() {
    let mut agent = Peer::new("127.0.0.1:9".parse().unwrap());
    agent.auto_answer_hz = Some(880.0);
    let rules = format!("rules: [{{dial: \"700\", bridge: {{to: \"sip:agent@{}\"}}}}]", agent.address());
    let node = start("reload", "43200-43249", || file(&rules), &[]);
    let mut caller = Peer::new(node.sip);
    caller.protects = Some(Kind::Browser);
    let line = caller.dial("700", 440.0);
    until("both voices", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[line].hears(880.0, 500) > 0.9 && p[1].lines.first().is_some_and(|l| l.hears(440.0, 500) > 0.9)
    });
    let replaces = caller.replaces(line);
    caller.lines[line].guard.as_mut().unwrap().gone = true;
    // The stand-alone fallback's music: a tone of 440 Hz for 250 ms in 4 s; the voice was there all the time.
    agent.lines[0].heard.clear();
    until("music", &mut [&mut caller, &mut agent], |p| {
        let heard = &p[1].lines[0].heard;
        heard.len() > 3 * 8_000 && heard.rchunks(800).take(10).any(|part| part.iter().all(|s| s.abs() < 50))
    });
    // Somebody else's tags are worth nothing.
    let wrong = ("Replaces".to_string(), replaces.1.replace("from-tag=", "from-tag=x"));
    let require = ("Require".to_string(), "replaces".to_string());
    let refused = caller.dial_headers("700", 0.0, None, vec![wrong, require.clone()]);
    until("481", &mut [&mut caller, &mut agent], |p| p[0].lines[refused].failed == Some(481));
    let again = caller.dial_headers("700", 600.0, None, vec![replaces, require]);
    until("the old dialog's BYE", &mut [&mut caller, &mut agent], |p| p[0].lines[line].ended);
    until("both voices again", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[again].hears(880.0, 500) > 0.9 && p[1].lines[0].hears(600.0, 500) > 0.9
    });
    assert!(!agent.lines[0].ended);
    assert_eq!(node.metric("sessions"), 1);
    caller.hang_up(again);
    until("the agent's BYE", &mut [&mut caller, &mut agent], |p| p[1].lines[0].ended);
    until("the end", &mut [&mut caller, &mut agent], |_| {
        node.metric("sessions") == 0 && node.metric("media_legs") == 0
    });
}

#[test]
fn a_browser_that_is_loaded_again_finds_the_worker_that_has_its_call() {
    const WORKERS: usize = 4;
    let mut agent = Peer::new("127.0.0.1:9".parse().unwrap());
    agent.auto_answer_hz = Some(880.0);
    let rules = format!("rules: [{{dial: \"700\", bridge: {{to: \"sip:agent@{}\"}}}}]", agent.address());
    let workers = [("HOTLINE_NODE_SIP_WORKERS", "4")];
    let node = start("reload-workers", "47300-47349", || file(&rules), &workers);
    let mut caller = Peer::new(node.sip);
    caller.protects = Some(Kind::Browser);
    let worker_of =
        |replaces: &(String, String)| shard_of_call_id(replaces.1.split(';').next().unwrap().as_bytes(), WORKERS);
    let mut line = caller.dial("700", 440.0);
    until("both voices", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[line].hears(880.0, 500) > 0.9 && p[1].lines.first().is_some_and(|l| l.hears(440.0, 500) > 0.9)
    });
    let home = worker_of(&caller.replaces(line));
    // Call-IDs are random: three of four begin at another worker than the call's.
    let mut moved = 0;
    for round in 0..20 {
        if moved == 2 {
            break;
        }
        let (old, hz) = (line, 500.0 + 40.0 * f64::from(round));
        let require = ("Require".to_string(), "replaces".to_string());
        let replaces = caller.replaces(old);
        caller.lines[old].guard.as_mut().unwrap().gone = true;
        line = caller.dial_headers("700", hz, None, vec![replaces, require]);
        until("both voices again", &mut [&mut caller, &mut agent], |p| {
            p[0].lines[line].hears(880.0, 500) > 0.9 && p[1].lines[0].hears(hz, 500) > 0.9
        });
        until("the old dialog's BYE", &mut [&mut caller, &mut agent], |p| p[0].lines[old].ended);
        moved += u32::from(worker_of(&caller.replaces(line)) != home);
    }
    assert_eq!((moved, node.metric("sessions")), (2, 1));
    // What is said within the new dialog finds its worker too.
    caller.hang_up(line);
    until("the agent's BYE", &mut [&mut caller, &mut agent], |p| p[1].lines[0].ended);
    until("the end", &mut [&mut caller, &mut agent], |_| {
        node.metric("sessions") == 0 && node.metric("media_legs") == 0
    });
}

#[test]
fn who_demands_protection_refuses_plain_calls() {
    let mut agent = Peer::new("127.0.0.1:9".parse().unwrap());
    agent.auto_answer_hz = Some(880.0);
    agent.protects = Some(Kind::Keys(Suite::Aes128Sha1Tag32));
    let bridge = format!("{MENU}  - dial: \"700\"\n    bridge: {{to: \"sip:agent@{}\"}}\n", agent.address());
    let node = start("demands", "43250-43299", || file(&bridge), &[("HOTLINE_NODE_MEDIA_SRTP", "require")]);
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("600", 0.0);
    until("488", &mut [&mut caller], |p| p[0].lines[line].failed == Some(488));
    caller.protects = Some(Kind::Keys(Suite::Aes128Sha1Tag80));
    let line = caller.dial("600", 0.0);
    until("the prompt", &mut [&mut caller], |p| p[0].lines[line].hears(440.0, 400) > 0.9);
    caller.hang_up(line);
    // Whoever is called is offered keys too; both legs have their own.
    let line = caller.dial("700", 440.0);
    until("both voices", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[line].hears(880.0, 500) > 0.9 && p[1].lines.first().is_some_and(|l| l.hears(440.0, 500) > 0.9)
    });
    caller.hang_up(line);
    until("the agent's BYE", &mut [&mut caller, &mut agent], |p| p[1].lines[0].ended);
}
