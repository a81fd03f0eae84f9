use super::*;
use crate::run::*;
use hotline_base::{Lang, Timestamp};

const T0: Timestamp = Timestamp::from_millis(1_000);

fn compiled(text: &str) -> Compiled {
    let flow = crate::parse(text).unwrap_or_else(|found| panic!("{}", lines(&found)));
    Compiled::new(flow, &Default::default()).unwrap()
}

fn office_open() -> Env {
    let staffed = QueueView { staffed: 2, free: 1, ..QueueView::default() };
    Env {
        open_calendars: [name("office")].into(),
        queues: [(name("technical"), staffed), (name("general"), staffed)].into(),
        vip_lists: Default::default(),
    }
}

fn digits(text: &str) -> Input {
    Input::Digits { digits: text.to_owned().into() }
}

fn texts(prompts: &[PromptRef]) -> Vec<&str> {
    fn text(prompt: &PromptRef) -> &str {
        match prompt {
            PromptRef::Speech(s) => s.text.as_str(),
            PromptRef::Audio { name } => name.as_str(),
            PromptRef::Builtin { .. } => "music",
        }
    }
    prompts.iter().map(text).collect()
}

fn gathers(turn: &Turn) -> Vec<&str> {
    match &turn.ask {
        Ask::Gather { prompts, .. } => texts(prompts),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_english_caller_reaches_technical_support_and_scores() {
    let (flow, env) = (compiled(DEMO), office_open());
    let caller = Caller { number: "+8613800138000".to_owned().into(), ..Caller::default() };
    let turn = start(&flow, &caller, &env, T0);
    assert_eq!(gathers(&turn), ["您好，欢迎致电演示热线。", "中文服务请按一。", "For English, press two."]);
    assert!(turn.say.is_empty(), "a key press may cut everything short");

    let turn = resume(&flow, turn.cursor, &digits("2"), &env, T0 + 4_000).unwrap();
    assert_eq!(texts(&turn.say), ["This call is recorded."], "must be heard");
    assert_eq!(gathers(&turn), ["For technical support, press one. For billing, press two. For an agent, press zero."]);
    assert_eq!(turn.cursor.lang, Lang::En);
    assert!(turn.notes.contains(&Note::LanguageSet { lang: Lang::En }));

    let turn = resume(&flow, turn.cursor, &digits("1"), &env, T0 + 9_000).unwrap();
    let Ask::Queue(queue) = &turn.ask else { panic!("{:?}", turn.ask) };
    assert_eq!((queue.queue.as_str(), queue.lang, queue.max_wait_ms), ("technical", Lang::En, Some(600_000)));
    assert_eq!((queue.since, queue.leave_keys.as_str()), (T0 + 9_000, "9"));
    assert_eq!(queue.category, Some(name("technical")));
    assert_eq!(
        texts(&queue.announcements[0].prompts(Some(2), Some(90_000))),
        ["You are number", "2", "in the queue.", "The wait is about", "2", "minutes."]
    );
    let chosen = turn.notes.iter().find_map(|n| match n {
        Note::MenuChosen { digit, label, .. } => Some((digit.as_char(), label.clone())),
        _ => None,
    });
    assert_eq!(chosen, Some(('1', Some("技术支持 Technical".into()))));

    let stored = serde_json::to_string(&turn.cursor).unwrap();
    let cursor: Cursor = serde_json::from_str(&stored).unwrap();
    let turn = resume(&flow, cursor, &Input::AgentDone, &env, T0 + 90_000).unwrap();
    assert_eq!(gathers(&turn).len(), 1);
    let turn = resume(&flow, turn.cursor, &digits("5"), &env, T0 + 95_000).unwrap();
    assert!(turn.notes.contains(&Note::SurveyAnswered { step: name("survey"), score: 5 }));
    assert_eq!((&turn.ask, texts(&turn.say)), (&Ask::Hangup, vec!["Thank you for calling. Goodbye."]));
    assert!(resume(&flow, turn.cursor, &digits("1"), &env, T0).is_err(), "nothing comes after the end");
}

#[test]
fn a_silent_caller_out_of_hours_is_let_go() {
    let (flow, env) = (compiled(DEMO), Env::default());
    let turn = start(&flow, &Caller::default(), &env, T0);
    let turn = resume(&flow, turn.cursor, &digits(""), &env, T0).unwrap();
    assert_eq!(gathers(&turn), ["中文服务请按一。", "For English, press two."], "asked once more");
    let turn = resume(&flow, turn.cursor, &digits(""), &env, T0).unwrap();
    assert_eq!(gathers(&turn), ["现在是非工作时间。", "留言请按一，预约回电请按二。"]);
    let turn = resume(&flow, turn.cursor, &digits("7"), &env, T0).unwrap();
    assert_eq!(gathers(&turn), ["按键有误。", "留言请按一，预约回电请按二。"]);
    assert!(turn.notes.contains(&Note::NoMatch { step: name("message-menu") }));
    let turn = resume(&flow, turn.cursor, &digits(""), &env, T0).unwrap();
    assert_eq!(turn.ask, Ask::Hangup);
}

#[test]
fn a_hidden_number_cannot_be_called_back() {
    let (flow, env) = (compiled(DEMO), Env::default());
    let ask = |caller: Caller| {
        let mut turn = start(&flow, &caller, &env, T0);
        for key in ["1", "2"] {
            turn = resume(&flow, turn.cursor, &digits(key), &env, T0).unwrap();
        }
        turn
    };
    let turn = ask(Caller::default());
    assert!(matches!(turn.ask, Ask::Record { .. }), "offered a message instead");
    assert_eq!(texts(&turn.say)[0], "抱歉，我们无法回拨您的号码。");
    let turn = ask(Caller { number: "+8613800138000".to_owned().into(), lang: Some(Lang::Zh), diverted: None });
    let Ask::Callback { number, queue, since } = &turn.ask else { panic!("{:?}", turn.ask) };
    assert_eq!((number.expose().as_str(), queue.as_str(), *since), ("+8613800138000", "general", T0));
    let turn = resume(&flow, turn.cursor, &Input::CallbackAccepted, &env, T0).unwrap();
    assert_eq!((turn.ask, texts(&turn.say).len()), (Ask::Hangup, 2));
}

#[test]
fn the_place_in_a_queue_is_kept_until_an_agent_has_answered() {
    let flow = compiled(&small(
        "  first: {queue: a, max_wait: forever, leave: {9: ask}, then: ask}
  ask:
    menu: question
    options: {1: first, 2: other}
    no_input: bye
    no_match: bye
  other: {queue: b, max_wait: forever, then: bye}
  bye: {hangup: }",
    ));
    let env = Env::default();
    let since = |turn: &Turn| match &turn.ask {
        Ask::Queue(queue) => queue.since,
        other => panic!("{other:?}"),
    };
    let left = |key| Input::QueueLeft { key: Key::new(key).unwrap() };
    let turn = start(&flow, &Caller::default(), &env, T0);
    assert_eq!(since(&turn), T0);
    assert!(resume(&flow, turn.cursor.clone(), &left('8'), &env, T0).is_err(), "no such key");
    let turn = resume(&flow, turn.cursor, &left('9'), &env, T0 + 60_000).unwrap();
    let turn = resume(&flow, turn.cursor, &digits("1"), &env, T0 + 65_000).unwrap();
    assert_eq!(since(&turn), T0, "the place is kept");
    let turn = resume(&flow, turn.cursor, &Input::AgentDone, &env, T0 + 80_000).unwrap();
    let again = resume(&flow, turn.cursor.clone(), &digits("1"), &env, T0 + 81_000).unwrap();
    assert_eq!(since(&again), T0 + 81_000, "served once, queued anew");
    let other = resume(&flow, turn.cursor, &digits("2"), &env, T0 + 82_000).unwrap();
    assert_eq!(since(&other), T0 + 82_000);
}

#[test]
fn secrets_are_not_noted_and_digits_are_said_one_by_one() {
    let text = "flow: a\nlanguages: [en]\nstart: order\nprompts:\n  ask: {en: Please}\n  back: {en: 'You said {order}, thank you.'}\nsteps:\n  order: {gather: ask, into: order, digits: 2-4, no_input: bye, no_match: bye, then: pin}\n  pin: {gather: back, into: pin, digits: 4, secret: true, no_input: bye, no_match: bye, then: web}\n  web: {hook: check-pin, send: [order, pin], receive: [tier], on_error: bye, then: which}\n  which: {branch: [{variable: tier, equals: gold, go: gold}], else: bye}\n  gold: {ring: {agent: fang}, no_answer: bye, then: bye}\n  bye: {hangup: back}\n";
    let (flow, env) = (compiled(text), Env::default());
    let turn = start(&flow, &Caller::default(), &env, T0);
    let turn = resume(&flow, turn.cursor, &digits("907"), &env, T0).unwrap();
    assert_eq!(gathers(&turn), ["You said", "9", "0", "7", "thank you."]);
    let shown = |notes: &[Note]| -> Vec<Option<String>> {
        let value = |n: &Note| match n {
            Note::VariableSet { value, .. } => Some(value.as_ref().map(|v| v.expose().clone())),
            _ => None,
        };
        notes.iter().filter_map(value).collect()
    };
    assert_eq!(shown(&turn.notes), [Some("907".into())]);
    let turn = resume(&flow, turn.cursor, &digits("1234"), &env, T0).unwrap();
    assert_eq!(shown(&turn.notes), [None]);
    let Ask::Hook { target, timeout_ms, body } = &turn.ask else { panic!("{:?}", turn.ask) };
    assert_eq!((target.as_str(), *timeout_ms, body["pin"].expose().as_str()), ("check-pin", 2_000, "1234"));
    let vars = [("tier".to_owned(), "gold".to_owned()), ("other".to_owned(), "x".to_owned())].into();
    let answered = resume(&flow, turn.cursor.clone(), &Input::HookDone { vars }, &env, T0).unwrap();
    assert!(matches!(answered.ask, Ask::Ring { .. }));
    assert!(!answered.cursor.vars.contains_key(&name("other")), "not received");
    let failed = resume(&flow, turn.cursor, &Input::HookFailed, &env, T0).unwrap();
    assert_eq!(failed.ask, Ask::Hangup);
}

#[test]
fn keys_are_sent_with_the_values_of_their_variables() {
    let text = "flow: a\nlanguages: [en]\nstart: ask\nprompts:\n  ask: {en: Please}\nsteps:\n  ask: {gather: ask, into: pin, digits: 4, secret: true, no_input: out, no_match: out, then: pass}\n  pass: {send_keys: 'w,{pin}#', then: out}\n  out: {send_keys: '{extra}', then: last}\n  last: {transfer: '+861', keys: '9{pin}', no_answer: bye, then: bye}\n  bye: {hangup: }\n";
    let (flow, env) = (compiled(text), Env::default());
    let turn = start(&flow, &Caller::default(), &env, T0);
    let without = resume(&flow, turn.cursor.clone(), &digits(""), &env, T0).unwrap();
    let without = (0..2).fold(without, |turn, _| resume(&flow, turn.cursor, &digits(""), &env, T0).unwrap());
    let Ask::Transfer { keys: Some(keys), .. } = &without.ask else { panic!("{:?}", without.ask) };
    assert_eq!((keys.keys.expose().as_str(), keys.secret), ("9", false), "a step without keys is gone through");

    let turn = resume(&flow, turn.cursor, &digits("4711"), &env, T0).unwrap();
    let Ask::SendKeys(keys) = &turn.ask else { panic!("{:?}", turn.ask) };
    assert_eq!((keys.keys.expose().as_str(), keys.secret), ("w,4711#", true), "as secret as the PIN");
    assert!(!format!("{:?}", turn.ask).contains("4711"), "{:?}", turn.ask);
    let turn = resume(&flow, turn.cursor, &Input::KeysSent, &env, T0).unwrap();
    let Ask::Transfer { keys: Some(keys), .. } = &turn.ask else { panic!("{:?}", turn.ask) };
    assert_eq!((keys.keys.expose().as_str(), keys.secret), ("94711", true));
}

#[test]
fn a_call_that_was_sent_on_brings_its_variables() {
    let text = "flow: a\nlanguages: [en]\nstart: sort\nprompts:\n  shop: {en: 'Sent by {diverted-from}.'}\nsteps:\n  sort: {branch: [{variable: diversion-reason, equals: no-answer, go: shop}, {variable: first-called, go: bye}], else: busy}\n  shop: {play: shop, then: bye}\n  bye: {hangup: }\n  busy: {reject: busy}\n";
    let (flow, env) = (compiled(text), Env::default());
    assert_eq!(crate::check(&crate::parse(text).unwrap(), &Catalog::assume_all()), [], "nothing needs to set them");
    let diverted = |first: &str, reason: &str| Caller {
        diverted: Some(Diverted {
            first: first.to_owned().into(),
            last: "+8610".to_owned().into(),
            reason: reason.into(),
        }),
        ..Caller::default()
    };
    let turn = start(&flow, &diverted("", "no-answer"), &env, T0);
    assert_eq!(texts(&turn.say), ["Sent by", "8", "6", "1", "0"]);
    assert_eq!(start(&flow, &diverted("+861", "away"), &env, T0).ask, Ask::Hangup);
    let busy = Ask::Reject { reason: RejectReason::Busy };
    assert_eq!(start(&flow, &diverted("", "away"), &env, T0).ask, busy, "a number that is withheld is not set");
    assert_eq!(start(&flow, &Caller::default(), &env, T0).ask, busy);
}

#[test]
fn prompts_before_a_hook_are_played_before_it() {
    let flow = compiled(&small(
        "  first: {play: hello, then: web}\n  web: {hook: orders, on_error: bye, then: bye}\n  bye: {hangup: }",
    ));
    let env = Env::default();
    let turn = start(&flow, &Caller::default(), &env, T0);
    assert_eq!((&turn.ask, texts(&turn.say)), (&Ask::Play, vec!["您好"]));
    assert!(resume(&flow, turn.cursor.clone(), &Input::HookFailed, &env, T0).is_err());
    let turn = resume(&flow, turn.cursor, &Input::PromptsDone, &env, T0).unwrap();
    assert!(matches!(turn.ask, Ask::Hook { .. }));
    assert_eq!(turn.notes.len(), 1, "{:?}", turn.notes);
    assert!(resume(&flow, turn.cursor, &Input::PromptsDone, &env, T0).is_err());
}

#[test]
fn a_call_is_refused_only_before_it_is_answered() {
    let flow = compiled(&small(
        "  first: {branch: [{caller_in: spam, go: no}], else: hi}\n  hi: {play: hello, then: no}\n  no: {reject: busy}",
    ));
    let spam = Env { vip_lists: [name("spam")].into(), ..Env::default() };
    assert_eq!(start(&flow, &Caller::default(), &spam, T0).ask, Ask::Reject { reason: RejectReason::Busy });
    assert_eq!(start(&flow, &Caller::default(), &Env::default(), T0).ask, Ask::Hangup);
}

#[test]
fn subflows_return_to_their_caller() {
    let outer = crate::parse(&small("  first: {subflow: inner, then: bye}\n  bye: {hangup: hello}")).unwrap();
    let inner =
        small("  first: {gather: question, into: x, no_input: back, no_match: back, then: back}\n  back: {return: }");
    let inner = crate::parse(&inner.replace("flow: small", "flow: inner")).unwrap();
    let flow = Compiled::new(outer, &[(inner.name.clone(), inner)].into()).unwrap();
    let env = Env::default();
    let turn = start(&flow, &Caller::default(), &env, T0);
    assert_eq!((turn.cursor.at.flow.as_str(), turn.cursor.stack.len()), ("inner", 1));
    let turn = resume(&flow, turn.cursor, &digits("12"), &env, T0).unwrap();
    assert_eq!((turn.ask, turn.cursor.at.flow.as_str(), turn.cursor.stack.len()), (Ask::Hangup, "small", 0));
}

#[test]
fn a_cursor_of_another_version_ends_the_call_instead_of_failing() {
    let (flow, env) = (compiled(DEMO), office_open());
    let mut turn = start(&flow, &Caller::default(), &env, T0);
    turn.cursor.at.step = name("gone");
    let turn = resume(&flow, turn.cursor, &digits("1"), &env, T0).unwrap();
    assert_eq!(turn.ask, Ask::Hangup);
    assert!(matches!(turn.notes.last(), Some(Note::FlowFaulted { .. })));
}

#[test]
fn nobody_staffed_leads_on() {
    let (flow, open) = (compiled(DEMO), office_open());
    let mut turn = start(&flow, &Caller::default(), &open, T0);
    for key in ["1", "2"] {
        turn = resume(&flow, turn.cursor, &digits(key), &open, T0).unwrap();
    }
    assert_eq!(gathers(&turn)[0], "目前没有客服可以接听。", "nobody serves billing");
    let turn = {
        let turn = start(&flow, &Caller::default(), &open, T0);
        let turn = resume(&flow, turn.cursor, &digits("1"), &open, T0).unwrap();
        resume(&flow, turn.cursor, &digits("1"), &open, T0).unwrap()
    };
    assert!(matches!(&turn.ask, Ask::Queue(q) if q.leave_when_not_staffed));
    let turn = resume(&flow, turn.cursor, &Input::NobodyStaffed, &open, T0).unwrap();
    assert_eq!(gathers(&turn)[0], "目前没有客服可以接听。");
}

#[test]
fn the_fallback_is_in_the_callers_language() {
    let flow = compiled(DEMO);
    let fallback = run::fallback(&flow, Lang::En);
    assert_eq!(texts(&fallback.apology), ["We are having a short delay. Please hold on."]);
    assert_eq!((fallback.give_up_ms, fallback.music), (180_000, PromptRef::Builtin { sound: Builtin::HoldMusic }));
}
