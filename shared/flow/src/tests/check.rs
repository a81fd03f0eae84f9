use super::*;
use std::collections::BTreeSet;

fn assume() -> Catalog {
    Catalog::assume_all()
}

#[test]
fn references_must_exist() {
    let known = Catalog { queues: Some([name("technical")].into()), ..Catalog::empty() };
    let found = checked(
        "  first: {play: [hello, helo], then: secnd}
  second:
    queue: technicl
    music: jazz
    skills: linux
    max_wait: 1m
    on_max_wait: third
    then: third
  third:
    branch: [{open: office, go: first}, {caller_in: vip, go: second}, {queue: technical, is: free, go: second}]
    else: fourth
  fourth: {ring: {agent: fang}, no_answer: fifth, then: fifth}
  fifth: {hook: orders, on_error: sixth, then: sixth}
  sixth: {hangup: hello}",
        &known,
    );
    let expected = "\
12:25: error[unknown-prompt]: there is no prompt 'helo'; did you mean 'hello'?
12:38: error[unknown-step]: there is no step 'secnd'; did you mean 'second'?
13:3: error[unknown-skill]: there is no skill 'linux'; create it first, or correct the name
13:3: warning[unreachable-step]: no call ever comes to step second; remove it, or lead a step to it
14:12: error[unknown-queue]: there is no queue 'technicl'; did you mean 'technical'?
15:12: error[unknown-recording]: there is no recording 'jazz'; upload it first, or correct the name
20:3: warning[unreachable-step]: no call ever comes to step third; remove it, or lead a step to it
21:21: error[unknown-calendar]: there is no calendar 'office'; create it first, or correct the name
21:53: error[unknown-list-of-callers]: there is no list of callers 'vip'; create it first, or correct the name
23:3: warning[unreachable-step]: no call ever comes to step fourth; remove it, or lead a step to it
23:26: error[unknown-agent]: there is no agent 'fang'; create it first, or correct the name
24:3: error[unknown-function]: there is no function 'orders'; create it first, or correct the name
24:3: warning[unreachable-step]: no call ever comes to step fifth; remove it, or lead a step to it
25:3: warning[unreachable-step]: no call ever comes to step sixth; remove it, or lead a step to it
";
    assert_eq!(found, expected);
}

#[test]
fn whoever_does_nothing_comes_to_an_end() {
    let endless = checked(
        "  first: {play: hello, then: ask}
  ask:
    menu: question
    options: {1: bye}
    no_input: wait
    no_match: first
  wait: {queue: a, max_wait: 5m, on_max_wait: again, then: bye}
  again: {branch: [{open: office, go: wait}], else: bye}
  bye: {hangup: hello}",
        &assume(),
    );
    assert_eq!(
        endless,
        "\
12:3: error[endless-circle]: a caller who does nothing goes round for ever: first → ask → first; lead one of these to a hangup, voicemail or callback; to repeat a question use 'retries', to wait on use 'max_wait: forever'
18:3: error[endless-circle]: a caller who does nothing goes round for ever: wait → again → wait; lead one of these to a hangup, voicemail or callback; to repeat a question use 'retries', to wait on use 'max_wait: forever'
"
    );
    let chosen = checked(
        "  first:
    menu: question
    options: {1: first, 2: wait, 3: digits}
    no_input: bye
    no_match: bye
  digits: {gather: question, into: x, no_input: bye, no_match: bye, then: first}
  wait: {queue: a, max_wait: forever, leave: {9: first}, then: bye}
  bye: {hangup: hello}",
        &assume(),
    );
    assert_eq!(chosen, "");
}

#[test]
fn prompts_speak_every_language_and_only_what_is_known() {
    let flow = crate::parse(
        "flow: a\nlanguages: [zh]\nstart: first\nprompts:\n  one: {en: 'Number {position}'}\n  two: {zh: '{pin}'}\n  three: {zh: '{nothing}'}\nsteps:\n  first: {gather: [one, two, three], into: pin, secret: true, no_input: bye, no_match: bye, then: bye}\n  bye: {hangup: }\n",
    )
    .unwrap();
    let codes: Vec<String> =
        crate::check(&flow, &assume()).into_iter().map(|d| format!("{}:{}", d.line, d.code)).collect();
    assert_eq!(
        codes,
        ["5:missing-language", "5:queue-number", "5:undeclared-language", "6:secret-said", "7:unknown-variable"]
    );
}

#[test]
fn flows_may_not_call_one_another_in_a_circle() {
    let calls = |own: &str, inner: &str| {
        let text = small(&format!("  first: {{subflow: {inner}, then: bye}}\n  bye: {{hangup: hello}}"));
        crate::parse(&text.replace("flow: small", &format!("flow: {own}"))).unwrap()
    };
    let codes = |flow: &Flow, known: Vec<Flow>| -> Vec<String> {
        let subflows = known.into_iter().map(|f| (f.name.clone(), f)).collect();
        let catalog = Catalog { subflows: Some(subflows), ..assume() };
        let found = crate::check(flow, &catalog);
        found.into_iter().filter(|d| d.is_error()).map(|d| d.message).collect()
    };
    let a = calls("a", "b");
    assert_eq!(codes(&a, vec![]), ["there is no flow 'b'"]);
    assert_eq!(
        codes(&a, vec![calls("b", "c"), calls("c", "a"), a.clone()]),
        ["flows call one another in a circle: a → b → c → a"]
    );
    assert_eq!(
        codes(&a, vec![calls("b", "c"), calls("c", "b")]),
        ["flows call one another in a circle: a → b → c → b"]
    );
    assert_eq!(codes(&calls("a", "a"), vec![]), ["flow a calls itself"]);
    let chain: Vec<Flow> = (1..12).map(|i| calls(&format!("f{i}"), &format!("f{}", i + 1))).collect();
    assert_eq!(codes(&calls("a", "f1"), chain), ["more than 8 flows call one another"]);
}

#[test]
fn a_late_reject_is_pointed_out() {
    let early =
        "  first: {branch: [{caller_in: spam, go: no}], else: bye}\n  no: {reject: busy}\n  bye: {hangup: hello}";
    assert_eq!(checked(early, &assume()), "");
    let late = "  first: {play: hello, then: no}\n  no: {reject: busy}";
    assert!(checked(late, &assume()).contains("late-reject"));
}

#[test]
fn the_largest_flow_is_checked_drawn_and_compared() {
    // Every step leads to the next and, by eleven keys, all over the place.
    let steps: String = (0..MAX_STEPS)
        .map(|i| {
            let keys: Vec<String> = (0..11)
                .filter_map(|k| {
                    "1234567890*".chars().nth(k).map(|c| format!("\"{c}\": s{}", (i * 37 + k * 101) % MAX_STEPS))
                })
                .collect();
            let next = (i + 1) % MAX_STEPS;
            format!("  s{i}: {{menu: question, options: {{{}}}, no_input: s{next}, no_match: s0}}\n", keys.join(", "))
        })
        .collect();
    let flow = crate::parse(&small(&steps).replace("start: first", "start: s0")).unwrap();
    let found = crate::check(&flow, &assume());
    assert!(found.iter().any(|d| d.code == "endless-circle"), "the last step leads to the first");
    assert_eq!(crate::parse(&format(&flow)).unwrap(), flow);
    assert!(render(&flow).contains(">s499</text>"));
    assert_eq!(diff(&flow, &flow), []);
}

#[test]
fn references_are_listed() {
    let compiled = Compiled::new(crate::parse(DEMO).unwrap(), &Default::default()).unwrap();
    let refs = compiled.references();
    assert_eq!(refs.queues, BTreeSet::from([name("billing"), name("general"), name("technical")]));
    assert_eq!(refs.calendars, BTreeSet::from([name("office")]));
    assert!(refs.audio.is_empty() && refs.skills.is_empty());
}
