use super::*;
use hotline_base::FieldError;
use serde_json::json;

fn at(s: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + s * 1_000)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn answered(wait_s: i64, talk_s: i64) -> Seen {
    Seen::Answered { wait_ms: wait_s * 1_000, ring_ms: 2_000, talk_ms: talk_s * 1_000, wrap_ms: Some(10_000) }
}

fn call(n: u128, s: i64, queue: &str, seen: Seen) -> Call {
    let visit = Visit { queue: name(queue), at: at(s), kept_ms: 0, credit_ms: 0, seen };
    Call { contact: ContactId::from_u128(n), lang: None, visits: vec![visit] }
}

fn member(n: u128, queues: &[&str]) -> Member {
    Member {
        agent: AgentId::from_u128(n),
        name: format!("agent{n}.demo"),
        skills: Skills::new(),
        queues: queues.iter().map(|queue| (name(queue), 0)).collect(),
        shifts: vec![Shift { from: at(0), to: at(7_200) }],
        occupied_ms: 0,
    }
}

fn queues() -> BTreeMap<Name, QueueConfig> {
    ["billing", "technical"].map(|queue| (name(queue), QueueConfig::new(name(queue)))).into()
}

fn period(calls: Vec<Call>, staff: Vec<Member>) -> Period {
    Period { from: at(0), to: at(3_600), calls, staff }
}

fn run(period: &Period) -> Column {
    rerun(period, &queues(), &period.staff)
}

#[test]
fn one_agent_serves_one_call_after_the_other() {
    let calls = (0..3).map(|n| call(n, 0, "billing", answered(0, 100))).collect();
    let column = run(&period(calls, vec![member(1, &["billing"])]));
    let total = &column.total;
    assert_eq!((total.offered, total.answered, total.unserved), (3, 3, 0));
    // 2 s of ringing; then 100 s of talk, 10 s of wrap-up and 2 s of ringing before each next one.
    let waits = (total.wait_p50_ms, total.wait_p90_ms, total.wait_max_ms);
    assert_eq!(waits, (Some(114_000), Some(226_000), Some(226_000)));
    assert_eq!(total.service_level_pct, Some(33.3));
    assert_eq!(column.occupancy_pct, Some(4.7), "3 × 112 s of two hours");
}

#[test]
fn a_caller_who_left_leaves_at_the_same_wait_unless_answered_before() {
    let calls =
        vec![call(1, 0, "billing", answered(0, 100)), call(2, 1, "billing", Seen::Abandoned { wait_ms: 30_000 })];
    let alone = period(calls, vec![member(1, &["billing"])]);
    let before = run(&alone);
    assert_eq!((before.total.abandoned, before.total.answered), (1, 1));
    let staff = vec![member(1, &["billing"]), member(2, &["billing"])];
    let after = rerun(&alone, &queues(), &staff);
    assert_eq!((after.total.abandoned, after.total.answered), (0, 2));
}

#[test]
fn a_rerun_under_the_same_rules_is_what_was_recorded() {
    // What a run gives, recorded and run again, gives the same.
    let calls: Vec<Call> = (0..40)
        .map(|n| call(n as u128, n * 37, if n % 3 == 0 { "billing" } else { "technical" }, answered(0, 90)))
        .collect();
    let staff = vec![member(1, &["billing", "technical"]), member(2, &["technical"])];
    let first = period(calls, staff);
    let (one, two) = (run(&first), run(&first));
    assert_eq!(one, two, "the same input gives the same figures");
    assert_eq!(one.total.answered, 40);
    assert_eq!(one.total.offered, recorded(&first, &queues()).total.offered);
}

#[test]
fn a_transfer_comes_after_the_talk_with_its_pause() {
    let mut two = call(1, 0, "technical", answered(2, 60));
    two.visits.push(Visit { at: at(67), ..call(1, 0, "billing", answered(2, 30)).visits[0].clone() });
    let p = period(vec![two], vec![member(1, &["technical"]), member(2, &["billing"])]);
    let column = run(&p);
    assert_eq!((column.total.offered, column.total.answered, column.total.transfers), (2, 2, 1));
    assert_eq!(column.queues[&name("billing")].transfers, 1);
    assert_eq!(recorded(&p, &queues()).total.transfers, 1);
}

#[test]
fn skills_and_overflow_are_those_of_the_router() {
    let calls = vec![call(1, 0, "technical", answered(0, 60))];
    let p = period(calls, vec![member(1, &["billing"])]);
    assert_eq!(run(&p).total.unserved + run(&p).total.left, 1, "nobody serves technical");
    let rules: Rules = serde_json::from_value(json!({"queues": {"technical": {"overflow": [
        {"when": {"type": "waited", "ms": 30_000}, "then": {"type": "queue", "queue": "billing"}}
    ]}}}))
    .unwrap();
    let changed = rules.apply(&queues(), &p).unwrap();
    let column = rerun(&p, &changed.queues, &changed.staff);
    assert_eq!((column.total.answered, column.total.transfers), (1, 1));
    assert_eq!(column.queues[&name("billing")].wait_max_ms, Some(32_000), "the wait is kept");
}

#[test]
fn staff_comes_and_goes() {
    let calls: Vec<Call> = (0..20).map(|n| call(n as u128, n * 60, "billing", answered(0, 100))).collect();
    let p = period(calls, vec![member(1, &["billing"])]);
    let wait = |rules: serde_json::Value| {
        let rules: Rules = serde_json::from_value(rules).unwrap();
        let changed = rules.apply(&queues(), &p).unwrap();
        rerun(&p, &changed.queues, &changed.staff).total.wait_max_ms.unwrap()
    };
    let one = wait(json!({}));
    let two = wait(json!({"staffing": [{"add": 1, "queues": ["billing"]}]}));
    assert!(two <= 4_000 && one > 300_000, "{one} {two}");
    let moment = at(600).to_string();
    let late = wait(json!({"staffing": [{"remove": ["agent1"], "to": moment}]}));
    assert!(late > one, "{late}");
}

fn told(errors: &[FieldError]) -> String {
    errors.iter().map(|error| format!("{}: {}\n", error.field, error.message)).collect()
}

#[test]
fn mistakes_are_named_by_field_all_at_once() {
    let rules: Rules = serde_json::from_value(json!({
        "queues": {"billing": {"ring_timeout_ms": 5}, "nowhere": {}, "technical": {"colour": "red"}},
        "agents": {"nobody": {"skills": {"router": 11}}, "agent1": {"queues": {"nowhere": 1}}},
        "staffing": [{"add": 2}, {"remove": ["ghost"]}, {}, {"add": 1, "queues": ["billing"], "from": 10_000, "to": 5_000}],
    }))
    .unwrap();
    let errors = rules.apply(&queues(), &period(Vec::new(), vec![member(1, &["billing"])])).unwrap_err();
    let text = told(&errors);
    for part in [
        "queues.nowhere: no such queue; there are: billing, technical\n",
        "queues.technical: unknown field colour; there are: ",
        "queues.billing.ring_timeout_ms: is 5; write 5000 to 120000\n",
        "agents.nobody.skills.router: is 11; write 1 to 10\n",
        "agents.nobody: nobody of this name was there",
        "agents.agent1.queues: no such queue: nowhere\n",
        "staffing[0].queues: empty",
        "staffing[1].remove: ghost was not there",
        "staffing[2]: neither add nor remove",
        "staffing[3].to: not after `from`\n",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn unknown_fields_of_the_file_are_refused() {
    for (text, word) in [
        (json!({"queue": {}}), "queue"),
        (json!({"staffing": [{"plus": 1}]}), "plus"),
        (json!({"staffing": [{"add": 1, "from": "noon"}]}), "not a moment"),
    ] {
        let error = serde_json::from_value::<Rules>(text).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn absurd_periods_end() {
    let odd = Seen::Answered { wait_ms: i64::MIN, ring_ms: i64::MIN, talk_ms: i64::MAX / 4, wrap_ms: Some(-5) };
    let mut absurd = call(1, -999_999, "billing", odd);
    absurd.visits[0].kept_ms = i64::MAX / 8;
    let staff =
        vec![Member { shifts: vec![Shift { from: at(10), to: at(-10) }; 3], ..member(1, &["billing", "ghost"]) }];
    let column = run(&period(vec![absurd, call(1, 5, "ghost", Seen::Cut { wait_ms: -4 })], staff));
    assert!(column.total.offered <= 2);
}
