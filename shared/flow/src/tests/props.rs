//! Properties: nothing panics, canonical text is stable, and a flow that passes `check` ends.

use super::*;
use crate::run::*;
use hotline_base::Timestamp;
use proptest::prelude::*;

/// Steps that the generator may name.
const STEPS: usize = 8;

fn step_name() -> impl Strategy<Value = String> {
    (0..STEPS).prop_map(|i| format!("s{i}"))
}

fn queue_max() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("max_wait: forever".to_owned()),
        step_name().prop_map(|s| format!("max_wait: 5m, on_max_wait: {s}"))
    ]
}

fn step() -> impl Strategy<Value = String> {
    let s = step_name;
    prop_oneof![
        s().prop_map(|a| format!("{{play: hello, then: {a}}}")),
        (s(), s(), s(), s(), 0u8..3).prop_map(|(a, b, c, d, r)| format!(
            "{{menu: question, options: {{1: {a}, \"#\": {{go: {b}, language: en, category: x}}}}, retries: {r}, no_input: {c}, no_match: {{say: hello, go: {d}}}}}"
        )),
        (s(), s(), s()).prop_map(|(a, b, c)| format!(
            "{{gather: question, into: x, digits: 2-4, no_input: {a}, no_match: {b}, then: {c}}}"
        )),
        (s(), s(), s()).prop_map(|(a, b, c)| format!(
            "{{branch: [{{open: office, go: {a}}}, {{queue: q, is: staffed, go: {b}}}], else: {c}}}"
        )),
        s().prop_map(|a| format!("{{set: {{priority: high, variables: {{v: \"1\"}}}}, then: {a}}}")),
        (s(), queue_max(), s(), s()).prop_map(|(a, m, b, c)| format!(
            "{{queue: q, {m}, not_staffed: {a}, leave: {{9: {b}}}, then: {c}}}"
        )),
        (s(), queue_max(), s(), s()).prop_map(|(a, m, b, c)| format!(
            "{{queue: q, {m}, overflow: {{voicemail: {a}, link: {b}}}, self_service: {b}, then: {c}}}"
        )),
        (s(), s()).prop_map(|(a, b)| format!("{{ring: {{group: g}}, no_answer: {a}, then: {b}}}")),
        (s(), s()).prop_map(|(a, b)| format!("{{voicemail: hello, no_message: {a}, then: {b}}}")),
        (s(), s()).prop_map(|(a, b)| format!("{{callback: q, refused: {a}, then: {b}}}")),
        s().prop_map(|a| format!("{{survey: question, then: {a}}}")),
        (s(), s()).prop_map(|(a, b)| format!("{{transfer: \"sip:a@b\", no_answer: {a}, then: {b}}}")),
        (s(), s()).prop_map(|(a, b)| format!("{{hook: f, receive: [v], on_error: {a}, then: {b}}}")),
        Just("{reject: busy}".to_owned()),
        Just("{hangup: hello}".to_owned()),
        Just("{hangup: []}".to_owned()),
    ]
}

/// Flows that read well; many of them go round for ever.
fn flow() -> impl Strategy<Value = Flow> {
    prop::collection::vec(step(), STEPS).prop_map(|steps| {
        let steps: String = steps.iter().enumerate().map(|(i, s)| format!("  s{i}: {s}\n")).collect();
        let text = small(&steps).replace("start: first", "start: s0");
        crate::parse(&text).unwrap_or_else(|found| panic!("{}\n{text}", lines(&found)))
    })
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        Just(Input::PromptsDone),
        "[0-9*#]{0,5}".prop_map(|d| Input::Digits { digits: d.into() }),
        Just(Input::QueueTimedOut),
        prop::sample::select(Overflow::ALL.to_vec()).prop_map(|(_, way)| Input::Overflowed { way }),
        Just(Input::SelfService),
        prop::sample::select(vec!['9', '1', '#']).prop_map(|c| Input::QueueLeft { key: Key::new(c).unwrap() }),
        Just(Input::NobodyStaffed),
        Just(Input::AgentDone),
        Just(Input::RingFailed),
        (0u64..3).prop_map(|duration_ms| Input::Recorded { duration_ms }),
        Just(Input::HookDone { vars: [("v".to_owned(), "x".repeat(400))].into() }),
        Just(Input::HookFailed),
        any::<bool>().prop_map(|answered| Input::Transferred { answered }),
        Just(Input::CallbackAccepted),
        Just(Input::CallbackRefused),
        Just(Input::Failed),
    ]
}

fn env() -> impl Strategy<Value = Env> {
    (any::<bool>(), any::<bool>()).prop_map(|(open, staffed)| Env {
        open_calendars: if open { [name("office")].into() } else { Default::default() },
        queues: [(name("q"), QueueView { staffed: u32::from(staffed), ..QueueView::default() })].into(),
        vip_lists: Default::default(),
    })
}

/// What comes when the caller does nothing and everything else takes its course.
fn nothing_pressed(ask: &Ask, lucky: bool) -> Option<Input> {
    Some(match ask {
        Ask::Play => Input::PromptsDone,
        Ask::Gather { .. } => Input::Digits { digits: String::new().into() },
        Ask::Queue(queue) if lucky || queue.max_wait_ms.is_none() => Input::AgentDone,
        Ask::Queue(_) => Input::QueueTimedOut,
        Ask::Ring { .. } if lucky => Input::AgentDone,
        Ask::Ring { .. } => Input::RingFailed,
        Ask::Record { .. } => Input::Recorded { duration_ms: u64::from(lucky) },
        Ask::Callback { .. } if lucky => Input::CallbackAccepted,
        Ask::Callback { .. } => Input::CallbackRefused,
        Ask::Transfer { .. } => Input::Transferred { answered: lucky },
        Ask::SendKeys(_) => Input::KeysSent,
        Ask::Hook { .. } if lucky => Input::HookDone { vars: Default::default() },
        Ask::Hook { .. } => Input::HookFailed,
        Ask::Hangup | Ask::Reject { .. } => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = crate::parse(&text);
    }

    #[test]
    fn a_damaged_flow_is_read_or_refused(at in 0usize..4_000, length in 0usize..40, junk in "[\\n :{}\\[\\]\"'#&*!|>%@a-z0-9-]{0,6}") {
        let chars: Vec<char> = DEMO.chars().collect();
        let at = at.min(chars.len());
        let end = (at + length).min(chars.len());
        let text: String = chars[..at].iter().copied().chain(junk.chars()).chain(chars[end..].iter().copied()).collect();
        match crate::parse(&text) {
            Ok(flow) => {
                let _ = crate::check(&flow, &Catalog::empty());
                prop_assert_eq!(crate::parse(&format_keeping_comments(&flow, &text)), Ok(flow));
            }
            Err(found) => {
                let lines = text.lines().count() as u32;
                prop_assert!(!found.is_empty());
                prop_assert!(found.iter().all(|d| d.line >= 1 && d.line <= lines.max(1)), "{:?}", found);
            }
        }
    }

    #[test]
    fn the_canonical_text_is_stable(flow in flow()) {
        let text = format(&flow);
        let again = crate::parse(&text).map_err(|f| TestCaseError::fail(lines(&f)))?;
        prop_assert_eq!(&again, &flow);
        prop_assert_eq!(format(&again), text);
    }

    #[test]
    fn any_inputs_keep_a_running_flow_in_bounds(flow in flow(), inputs in prop::collection::vec((input(), env()), 0..60)) {
        let compiled = Compiled::new(flow, &Default::default()).unwrap();
        let mut turn = start(&compiled, &Caller::default(), &Env::default(), Timestamp::default());
        for (i, (input, env)) in inputs.into_iter().enumerate() {
            if let Ok(next) = resume(&compiled, turn.cursor.clone(), &input, &env, Timestamp::from_millis(i as i64)) {
                turn = next;
            }
            prop_assert!(turn.notes.len() <= MAX_NOTES);
            prop_assert!(turn.cursor.pending.len() <= MAX_PENDING + 1);
            let stored = serde_json::to_string(&turn.cursor).unwrap();
            prop_assert!(stored.len() < 64 * 1024);
            prop_assert_eq!(&serde_json::from_str::<Cursor>(&stored).unwrap(), &turn.cursor);
        }
    }

    #[test]
    fn whoever_does_nothing_reaches_the_end_of_a_checked_flow(
        flow in flow(), inputs in prop::collection::vec(input(), 0..20), env in env(), luck in any::<u64>(), number in any::<bool>(),
    ) {
        prop_assume!(crate::check(&flow, &Catalog::assume_all()).iter().all(|d| !d.is_error()));
        let compiled = Compiled::new(flow, &Default::default()).unwrap();
        let number = if number { "+8610".to_owned() } else { String::new() };
        let mut turn = start(&compiled, &Caller { number: number.into(), ..Caller::default() }, &env, Timestamp::default());
        for input in inputs {
            if let Ok(next) = resume(&compiled, turn.cursor.clone(), &input, &env, Timestamp::default()) {
                turn = next;
            }
        }
        // From here on nobody presses anything. Each step is left within its retries.
        let mut asks = 0;
        while let Some(input) = nothing_pressed(&turn.ask, luck >> (asks % 64) & 1 == 1) {
            prop_assert!(asks <= STEPS * 4, "still going after {} asks", asks);
            asks += 1;
            turn = resume(&compiled, turn.cursor, &input, &env, Timestamp::default())
                .map_err(|e| TestCaseError::fail(e.to_string()))?;
            let faulted = turn.notes.iter().any(|n| matches!(n, Note::FlowFaulted { .. }));
            prop_assert!(!faulted, "{:?}", turn.notes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_flow_is_drawn_and_compared(old in flow(), new in flow()) {
        let svg = render(&old);
        prop_assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"));
        prop_assert_eq!(diff(&old, &old), []);
        prop_assert_eq!(diff(&old, &new).is_empty(), old == new);
    }
}
