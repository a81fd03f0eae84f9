//! A whole node by a decision file, with real sockets and real tones.

mod common;

use common::{Peer, file, find, share, start, until};
use hotline_rtp::api::Law;

#[test]
fn a_menu_plays_and_hears_its_key() {
    let node = start(
        "menu",
        "41000-41099",
        || {
            file(
                "
rules:
  - dial: \"600\"
    menu:
      prompt: {tone: 440, ms: 5000}
      wait_ms: 300
      keys: {\"1\": {play: {tone: 880, ms: 600}}}
",
            )
        },
        &[],
    );
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("600", 0.0);
    until("the prompt", &mut [&mut caller], |p| p[0].lines[line].hears(440.0, 400) > 0.9);
    caller.press(line, 1);
    until("the second prompt", &mut [&mut caller], |p| p[0].lines[line].hears(880.0, 300) > 0.9);
    until("BYE", &mut [&mut caller], |p| p[0].lines[line].ended);

    // Nobody presses: the prompt to its end, then BYE.
    let mut other = Peer::new(node.sip);
    let line = other.dial("600", 0.0);
    until("BYE", &mut [&mut other], |p| p[0].lines[line].ended);
    assert!(share(&other.lines[line].heard, 440.0) > 0.9);
    let heard_ms = other.lines[line].heard.len() / 8;
    assert!((4_900..=5_400).contains(&heard_ms), "heard {heard_ms} ms");

    let mut unknown = Peer::new(node.sip);
    let line = unknown.dial("999", 0.0);
    until("404", &mut [&mut unknown], |p| p[0].lines[line].failed == Some(404));
    until("the end of all calls", &mut [&mut unknown], |_| node.metric("sessions") == 0);
    assert_eq!(node.metric("calls_started"), 3);
    assert_eq!(node.metric("calls_ended"), 3);
    assert_eq!(node.metric("calls_answered"), 2);
    assert_eq!(node.metric("media_legs"), 0);
}

#[test]
fn a_bridge_carries_both_voices_and_records_them_apart() {
    let mut agent = Peer::new("127.0.0.1:9".parse().unwrap());
    agent.auto_answer_hz = Some(880.0);
    let text = format!("rules: [{{dial: \"70*\", bridge: {{to: \"sip:agent@{}\", record: true}}}}]", agent.address());
    let node = start("bridge", "41100-41199", || file(&text), &[]);
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("701", 440.0);
    until("both voices", &mut [&mut caller, &mut agent], |p| {
        p[0].lines[line].hears(880.0, 500) > 0.9 && p[1].lines.first().is_some_and(|l| l.hears(440.0, 500) > 0.9)
    });
    caller.hang_up(line);
    until("the agent's BYE", &mut [&mut caller, &mut agent], |p| p[1].lines[0].ended);

    // The recording: one chunk and its manifest, left 440 Hz, right 880 Hz.
    until("the manifest", &mut [&mut caller], |_| node.metric("uploads_pending") == 0 && node.metric("uploads") >= 2);
    let mut files = Vec::new();
    find(&node.folder.join("recordings"), &mut files);
    let chunk = files.iter().find(|f| f.extension().is_some_and(|e| e == "g711")).unwrap();
    let bytes = std::fs::read(chunk).unwrap();
    let channel = |n: usize| -> Vec<i16> {
        let frames = bytes.chunks_exact(320);
        frames.flat_map(|f| f[n * 160..(n + 1) * 160].iter().map(|b| Law::Mu.decode(*b)).collect::<Vec<_>>()).collect()
    };
    let middle = |samples: Vec<i16>| {
        let start = samples.len() / 4;
        samples[start..start + samples.len() / 4].to_vec()
    };
    assert!(share(&middle(channel(0)), 440.0) > 0.8, "left is the caller");
    assert!(share(&middle(channel(1)), 880.0) > 0.8, "right is the agent");
    let manifest = files.iter().find(|f| f.ends_with("manifest.json")).unwrap();
    let manifest: hotline_wire::recording::Manifest =
        serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    assert!(manifest.complete);
    assert_eq!(manifest.chunks.iter().map(|c| c.bytes).sum::<u64>(), bytes.len() as u64);
}

#[test]
fn the_callee_refuses_or_the_caller_gives_up() {
    let mut agent = Peer::new("127.0.0.1:9".parse().unwrap());
    let text =
        format!("rules: [{{dial: \"7\", bridge: {{to: \"sip:agent@{}\", ring_timeout_ms: 400}}}}]", agent.address());
    let node = start("refuse", "41200-41299", || file(&text), &[]);
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("7", 0.0);
    until("the ring's end", &mut [&mut caller, &mut agent], |p| p[0].lines[line].failed.is_some());
    assert_eq!(caller.lines[line].failed, Some(480));
    assert!(caller.statuses.contains(&180));
    until("CANCEL", &mut [&mut caller, &mut agent], |p| p[1].lines[0].ended);

    let line = caller.dial("7", 0.0);
    until("the second ring", &mut [&mut caller, &mut agent], |p| p[1].lines.len() == 2);
    caller.hang_up(line);
    until("CANCEL", &mut [&mut caller, &mut agent], |p| p[1].lines[1].ended);
    until("no session", &mut [&mut caller, &mut agent], |_| node.metric("sessions") == 0);
    assert_eq!(node.metric("joins"), 0);
}

#[test]
fn a_queue_serves_in_order_with_music_meanwhile() {
    let mut agents = Peer::new("127.0.0.1:9".parse().unwrap());
    agents.auto_answer_hz = Some(880.0);
    let text = format!(
        "rules: [{{dial: \"800\", queue: {{music: {{tone: 300, ms: 1000}}, agents: \"sip:agent[1-2]@{}\"}}}}]",
        agents.address()
    );
    let node = start("queue", "41300-41399", || file(&text), &[]);
    let mut callers = Peer::new(node.sip);
    for _ in 0..3 {
        callers.dial("800", 440.0);
        let count = callers.lines.len();
        until("the answer", &mut [&mut callers, &mut agents], |p| p[0].lines[count - 1].answered);
    }
    until("two talk, one hears music", &mut [&mut callers, &mut agents], |p| {
        p[0].lines[0].hears(880.0, 300) > 0.9
            && p[0].lines[1].hears(880.0, 300) > 0.9
            && p[0].lines[2].hears(300.0, 300) > 0.9
    });
    assert_eq!(node.metric("waiting"), 1);
    // The first agent hangs up: that caller is done, the third one is served.
    agents.hang_up(0);
    until("the third talks", &mut [&mut callers, &mut agents], |p| {
        p[0].lines[0].ended && p[0].lines[2].hears(880.0, 300) > 0.9
    });
    callers.hang_up(1);
    callers.hang_up(2);
    until("everybody is gone", &mut [&mut callers, &mut agents], |_| node.metric("sessions") == 0);
    assert_eq!(node.metric("joins"), 3);
    assert_eq!(node.metric("media_legs"), 0);
}

#[test]
fn above_the_limit_new_calls_get_503_and_others_go_on() {
    let text = "rules: [{dial: \"6\", menu: {prompt: {tone: 440, ms: 30000}}}]";
    let node = start("limit", "42000-42099", || file(text), &[("HOTLINE_NODE_SIP_MAX_CALLS", "2")]);
    let mut callers = Peer::new(node.sip);
    let (first, second) = (callers.dial("6", 0.0), callers.dial("6", 0.0));
    until("two answers", &mut [&mut callers], |p| p[0].lines.iter().all(|l| l.answered));
    let third = callers.dial("6", 0.0);
    until("503", &mut [&mut callers], |p| p[0].lines[third].failed == Some(503));
    let heard = callers.lines[first].heard.len();
    until("more of the prompt", &mut [&mut callers], |p| {
        p[0].lines[first].heard.len() > heard + 1_600 && p[0].lines[first].hears(440.0, 200) > 0.9
    });
    callers.hang_up(second);
    // The hung-up call lingers a moment until its BYE is answered.
    until("room again", &mut [&mut callers], |_| node.metric("calls") == 1);
    let fourth = callers.dial("6", 0.0);
    until("an answer", &mut [&mut callers], |p| p[0].lines[fourth].answered || p[0].lines[fourth].ended);
    assert!(callers.lines[fourth].answered);
}

#[test]
fn a_reload_takes_over_right_decisions_and_no_wrong_ones() {
    let path = std::env::temp_dir().join(format!("media-node-reload-{}.yaml", std::process::id()));
    let rule = |status: u16| format!("rules: [{{dial: \"1\", reject: {{status: {status}}}}}]");
    std::fs::write(&path, rule(486)).unwrap();
    let source =
        || media_node::Source::File { file: media_node::standalone::read(&path).unwrap(), path: Some(path.clone()) };
    let node = start("reload", "42100-42199", source, &[]);
    let mut caller = Peer::new(node.sip);
    let mut refused = |expected: u16| {
        let line = caller.dial("1", 0.0);
        until("the refusal", &mut [&mut caller], |p| p[0].lines[line].failed == Some(expected));
    };
    refused(486);
    std::fs::write(&path, rule(603)).unwrap();
    node.node().reload(&node.config);
    refused(603);
    std::fs::write(&path, "rules: nonsense").unwrap();
    node.node().reload(&node.config);
    refused(603);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn health_and_traces_are_answered() {
    let node = start("health", "42200-42299", || file("rules: []"), &[]);
    for (request, status) in [
        ("GET /healthz", "200"),
        ("GET /readyz", "200"),
        ("GET /", "404"),
        ("POST /healthz", "405"),
        ("POST /trace?number=%2B861&calls=2", "200"),
        ("POST /trace?calls=many", "400"),
    ] {
        let reply = node.http(request);
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {reply}");
    }
}
