//! A script that is wrong says so.

use super::*;
use crate::{Compiled, parse};

fn report(script: &str) -> Report {
    let flow = parse(include_str!("../../examples/demo.flow.yaml")).unwrap();
    let compiled = Compiled::new(flow, &Default::default()).unwrap();
    play(&compiled, &read(script).unwrap())
}

#[test]
fn what_does_not_hold_is_said_with_its_line() {
    let report = report(
        "test a
given calendar office closed
expect say goodbye
expect language en
expect not menu
dtmf 1
expect queue technical
agent answers
expect score 5
caller hangs up
dtmf 1
at 2026-01-01T00:00
test b
at 2026-03-29T02:30 Europe/Berlin
",
    );
    let failures: Vec<String> =
        report.tests.iter().flat_map(|t| &t.failures).map(|f| format!("{}: {}", f.line, f.message)).collect();
    assert_eq!(
        failures,
        [
            "3: expected prompt goodbye, but “您好，欢迎致电演示热线。 中文服务请按一。 For English, press two.” was said",
            "4: expected language en, but it is zh",
            "5: did not expect a question",
            "7: expected queue technical, but the call waits for keys",
            "8: nobody is called just now",
            "9: expected score 5, but there is none",
            "11: the call is over already",
            "12: the call has begun already: 'at' must stand before it",
            "14: 2026-03-29 02:30:00 does not exist in Europe/Berlin: clocks were set forward",
        ]
    );
    assert!(!report.passed());
    assert!(report.to_string().starts_with("FAILED  a\n"));
}

#[test]
fn calendars_follow_the_clock_of_the_call() {
    let passed = report(
        "test closes while the caller thinks
at 2026-11-20T17:59 Asia/Shanghai
given calendar office 09:00-18:00 mon-fri
given queue general staffed 1
expect menu
+3s dtmf 1
expect say main-question
test a minute later
at 2026-11-20T18:00 Asia/Shanghai
given calendar office 09:00-18:00 mon-fri
+3s dtmf 1
expect say closed
",
    );
    assert!(passed.passed(), "{passed}");
}

#[test]
fn queues_send_callers_on_by_their_rules() {
    let flow = parse(
        "flow: ways
languages: [en]
start: wait
prompts:
  hello: {en: Hello.}
  bye: {en: Goodbye.}
steps:
  wait:
    queue: orders
    max_wait: forever
    overflow: {voicemail: mail}
    self_service: robot
    then: bye
  mail: {voicemail: hello, then: bye}
  robot: {menu: hello, options: {0: wait}, no_input: bye, no_match: bye}
  bye: {hangup: bye}
",
    )
    .unwrap();
    let compiled = Compiled::new(flow, &Default::default()).unwrap();
    let script = read(
        "test the queue is full after a while
expect queue orders
+5s given queue orders overflows voicemail
+1s
expect voicemail
test there is no such way
given queue orders overflows link
+1s
expect queue orders
test machines first
given queue orders self-service
+1s
expect menu
",
    )
    .unwrap();
    let report = play(&compiled, &script);
    assert!(report.passed(), "{report}");
    let wrong = read("test a\ngiven queue orders overflows letter\n").unwrap_err();
    assert!(wrong[0].to_string().contains("write voicemail, callback, message or link"), "{}", wrong[0]);
}
