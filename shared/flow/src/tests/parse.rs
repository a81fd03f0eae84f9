use super::*;

fn errors(text: &str) -> String {
    match crate::parse(text) {
        Ok(flow) => panic!("no error in {flow:?}"),
        Err(found) => lines(&found),
    }
}

#[test]
fn the_demo_flow_is_clean_and_canonical() {
    let flow = crate::parse(DEMO).unwrap();
    assert_eq!(crate::check(&flow, &Catalog::assume_all()), []);
    assert_eq!(crate::parse(&format(&flow)).unwrap(), flow);
    let formatted = format_keeping_comments(&flow, DEMO);
    assert!(formatted == DEMO, "the example is not in canonical form; it should be:\n{formatted}");
}

#[test]
fn every_error_is_collected_with_its_place_and_remedy() {
    let text = "\
flow: Shop
languages: [zh, fr]
start: first
voice: x
prompts:
  hello: {zh: '{position', en: Hello}
steps:
  first:
    plya: hello
    then: second
  second:
    menu: hello
    options:
      12: third
      2: {go: third, lable: x}
    timeout: 5
    no_input: third
  third:
    queue: a
    max_wait: 10m
    then: third
  fourth:
    play: hello
    hangup: hello
";
    let found = errors(text);
    let expected = "\
1:7: error[bad-name]: flow: flow: \"Shop\" is not a name: 1 to 40 of a-z, 0-9 and '-', starting with a letter; rename it, such as 'main-menu'
2:17: error[bad-value]: languages: \"fr\" is not a language; write zh or en
4:1: error[unknown-field]: flow: 'voice' is not known here; did you mean 'voices'?
6:15: error[bad-variable]: prompt hello: zh: a '{' needs its '}' and the other way round; write {position}, {ahead}, {wait_minutes} or the name of a variable between braces
8:3: error[step-kind]: step first: does not say what it does; did you mean 'play'?
12:5: error[missing-field]: step second: 'no_match' is missing; name the step for it: 'no_match: step', or 'no_match: {say: prompt, go: step}'
14:7: error[bad-key]: step second: options: 12: \"12\" is not a key of a telephone; use 0 to 9, \"*\" or \"#\"
15:22: error[unknown-field]: step second: options: 2: 'lable' is not known here; did you mean 'label'?
16:14: error[bad-value]: step second: timeout: \"5\" is not a length of time; write it with its unit: 300ms, 5s, 1.5s, 10m or 2h
19:5: error[missing-field]: step third: 'on_max_wait' is missing; name the step for callers who waited so long
22:3: error[step-kind]: step fourth: does 2 things at once: play, hangup; make a step of each and join them with 'then'
";
    assert_eq!(found, expected);
}

#[test]
fn values_are_judged() {
    let case = |steps: &str| errors(&small(steps)).lines().next().unwrap_or_default().to_owned();
    for (steps, expected) in [
        ("  first: {hook: 'http://x', on_error: a, then: b}", "is neither an https address nor the name of a function"),
        ("  first: {hook: 'https://x', timeout: 6s, on_error: a, then: b}", "6s is not between 100ms and 5s"),
        ("  first: {transfer: '12', no_answer: a, then: b}", "is neither a number nor a SIP address"),
        ("  first: {ring: {agent: a, group: b}, no_answer: a, then: b}", "name either an agent or a group"),
        ("  first: {gather: hello, into: x, digits: 9-3, no_input: a, no_match: a, then: b}", "\"9-3\" is not a count"),
        ("  first: {branch: [{open: a, closed: b, go: x}], else: y}", "has 2 conditions: open, closed"),
        ("  first: {branch: [{queue: a, go: x}], else: y}", "asks 0 things about the queue"),
        ("  first: {reject: rude}", "\"rude\" is no reason"),
        ("  first: {set: {priority: highest}, then: x}", "\"highest\" is not known"),
        (
            "  first: {queue: a, max_wait: forever, on_max_wait: b, then: c}",
            "is never reached where callers wait for ever",
        ),
        (
            "  first: {queue: a, max_wait: forever, announce: [{every: 1s, say: hello}], then: c}",
            "leaves no time between",
        ),
        ("  first: {survey: [], then: c}", "asks nothing"),
        ("  first: {send_keys: '12x', then: c}", "send_keys: 'x' is no key"),
        ("  first: {send_keys: 'ww,', then: c}", "there is no key to send"),
        ("  first: {send_keys: '1{pin', then: c}", "a '{' needs its '}'"),
        ("  first: {send_keys: '{Pin}', then: c}", "between braces"),
        ("  first: {transfer: '+861', keys: 'p', no_answer: a, then: b}", "keys: 'p' is no key"),
        ("  first: {callback: q, to: me, refused: a, then: b}", "\"me\" is not known"),
        ("  first: [play]", "expected a mapping, got a list"),
    ] {
        let found = case(steps);
        assert!(found.contains(expected), "{steps}\n{found}\nshould say: {expected}");
    }
}

#[test]
fn keys_to_send_are_bounded_and_keep_their_form() {
    let text =
        |keys: &str| small(&format!("  first: {{send_keys: '{keys}', secret: true, then: bye}}\n  bye: {{hangup: }}"));
    let flow = crate::parse(&text("0w,{pin}#A")).unwrap();
    assert!(format(&flow).contains("send_keys: \"0w,{pin}#A\"\n    secret: true\n"), "{}", format(&flow));
    assert_eq!(crate::parse(&format(&flow)).unwrap(), flow);
    assert!(errors(&text(&"1".repeat(65))).contains("64 are the most"));
    let unknown = lines(&crate::check(&flow, &Catalog::assume_all()));
    assert!(unknown.contains("pin") && unknown.contains("nothing sets it"), "{unknown}");
}

#[test]
fn what_is_no_flow_is_refused() {
    assert!(errors("").contains("the flow is empty"));
    assert!(errors("[]").contains("expected a mapping, got a list"));
    assert!(errors("hello").contains("expected a mapping"));
    assert!(errors(&"x".repeat(hotline_base::limits::FLOW_BYTES + 1)).contains("at most"));
    let steps: String = (0..=MAX_STEPS).map(|i| format!("  s{i}: {{return: }}\n")).collect();
    assert!(errors(&small(&steps)).contains("more than 500 steps"));
    assert!(crate::parse(&format!("\u{feff}{DEMO}")).is_ok());
    assert!(crate::parse(&DEMO.replace('\n', "\r\n")).is_ok());
}

#[test]
fn every_kind_of_step_survives_the_canonical_form() {
    let text = small(
        r##"  first: {note: "Say: it", play: [hello, hello], must_hear: true, then: ask}
  ask:
    gather: question
    into: order
    digits: 4-8
    finish: none
    timeout: 7s
    between: 1.5s
    secret: true
    retries: 0
    no_input: {say: hello, go: branch}
    no_match: branch
    then: branch
  branch:
    branch:
      - {open: office, go: set}
      - {closed: "office", go: set}
      - {caller_starts: ["+8610", "+44"], go: set}
      - {caller_in: vip, go: set}
      - {caller_hidden: yes, go: set}
      - {language: en, go: set}
      - {queue: tech, is: not-staffed, go: set}
      - {queue: tech, waiting_over: 5, go: set}
      - {queue: tech, longest_wait_over: 90s, go: set}
      - {queue: tech, estimated_wait_over: 5m, go: set}
      - {variable: order, equals: "0a, b: c", go: set}
      - {variable: order, go: set}
    else: set
  set:
    set: {language: en, category: tech, priority: urgent, skills: [linux, english], variables: {x: "1", y: "a 'b'"}}
    then: queue
  queue:
    queue: tech
    say: hello
    music: jazz
    announce: [{every: 0s, say: hello}, {every: 30s, say: [hello, question]}]
    credit: 2m
    skills: linux
    max_wait: 90s
    on_max_wait: ring
    not_staffed: ring
    leave: {"*": mail, 9: mail}
    then: survey
  ring: {ring: {group: tier-2}, timeout: 15s, no_answer: mail, then: survey}
  mail: {voicemail: hello, max: 90s, silence: 0s, beep: no, queue: tech, no_message: bye, then: sub}
  sub: {subflow: other, then: back}
  back: {callback: tech, to: {variable: order}, refused: out, then: out}
  out: {transfer: "+86 10 1234 5678", timeout: 10s, no_answer: web, then: survey}
  web: {hook: "https://example.com/a?b=c", timeout: 800ms, send: [order], receive: [tier, name], on_error: no, then: bye}
  survey: {survey: question, timeout: 8s, retries: 0, then: bye}
  bye: {hangup: }
  no: {reject: declined}
  end: {return: }"##,
    );
    let flow = crate::parse(&text).unwrap_or_else(|found| panic!("{}", lines(&found)));
    assert_eq!(flow.steps.len(), 15);
    let canonical = format(&flow);
    let again = crate::parse(&canonical).unwrap_or_else(|found| panic!("{}\n{canonical}", lines(&found)));
    assert_eq!(again, flow);
    assert_eq!(format(&again), canonical);
}

#[test]
fn comments_stay_where_they_belong() {
    let text = "\
# about the flow
flow: small
languages: [en]
start: first

prompts:
  hello:
    en: \"a # is no comment\"

steps:
  # about the step
  first:
    # about the prompts
    play: hello
    then: bye  # why

  bye:
    hangup: hello
# the end
";
    let flow = crate::parse(text).unwrap();
    assert_eq!(format_keeping_comments(&flow, text), text);
}

#[test]
fn a_version_is_named_by_its_meaning() {
    let flow = crate::parse(DEMO).unwrap();
    let compiled = Compiled::new(flow.clone(), &Default::default()).unwrap();
    let reordered = {
        let (head, steps) = DEMO.split_once("steps:\n").unwrap();
        let mut blocks: Vec<&str> = steps.trim_end().split("\n\n").collect();
        blocks.reverse();
        format!("{head}steps:\n{}\n", blocks.join("\n\n"))
    };
    let other = Compiled::new(crate::parse(&reordered).unwrap(), &Default::default()).unwrap();
    assert_eq!(compiled.hash(), other.hash());
    let changed = Compiled::new(crate::parse(&DEMO.replace("10m", "11m")).unwrap(), &Default::default()).unwrap();
    assert_ne!(compiled.hash(), changed.hash());
    assert_eq!(Compiled::load(compiled.text()).unwrap(), compiled);
}

#[test]
fn a_version_takes_its_subflows_with_it() {
    let outer = crate::parse(&small("  first: {subflow: inner, then: bye}\n  bye: {hangup: hello}")).unwrap();
    let inner = crate::parse(
        &small("  first: {play: question, then: back}\n  back: {return: }").replace("flow: small", "flow: inner"),
    )
    .unwrap();
    let missing = Compiled::new(outer.clone(), &Default::default()).unwrap_err();
    assert_eq!(missing[0].code, "unknown-subflow");
    let known = [(inner.name.clone(), inner)].into();
    let compiled = Compiled::new(outer, &known).unwrap();
    assert_eq!(compiled.flows().count(), 2);
    let stored = serde_json::to_string(&compiled).unwrap();
    assert_eq!(serde_json::from_str::<Compiled>(&stored).unwrap(), compiled);
    assert!(speech(&compiled).iter().any(|item| item.speech.text == "请按键"));
}

#[test]
fn speech_covers_everything_said() {
    let compiled = Compiled::new(crate::parse(DEMO).unwrap(), &Default::default()).unwrap();
    let items = speech(&compiled);
    let says = |lang, text: &str| items.iter().any(|i| i.speech.lang == lang && i.speech.text == text);
    use hotline_base::Lang::{En, Zh};
    assert!(says(Zh, "您排在第") && says(Zh, "位。") && says(Zh, "九十九") && says(En, "99") && says(En, "0"));
    assert!(says(En, "For English, press two.") && !says(Zh, "For English, press two."));
    assert!(items.windows(2).all(|w| w[0].speech < w[1].speech));
}

#[test]
fn what_the_readme_shows_works() {
    let readme = include_str!("../../README.md");
    let block = |word: &str| {
        let (_, rest) = readme.split_once(&format!("```{word}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let flow = crate::parse(block("yaml")).unwrap_or_else(|found| panic!("{}", lines(&found)));
    assert_eq!(crate::check(&flow, &Catalog::assume_all()), []);
    assert_eq!(format(&flow), block("yaml"));
    let compiled = Compiled::new(flow, &Default::default()).unwrap();
    let report = script::play(&compiled, &script::read(block("text")).unwrap());
    assert!(report.passed(), "{report}");
}

#[test]
fn json_is_read_as_well() {
    let json = r#"{
  "flow": "a", "languages": ["en"], "start": "bye",
  "prompts": {"p": {"en": "Good\u0062ye"}},
  "steps": {"bye": {"hangup": "p"}}
}"#;
    let yaml = "flow: a\nlanguages: [en]\nstart: bye\nprompts:\n  p: {en: Goodbye}\nsteps:\n  bye: {hangup: p}\n";
    assert_eq!(crate::parse(json).unwrap(), crate::parse(yaml).unwrap());
}
