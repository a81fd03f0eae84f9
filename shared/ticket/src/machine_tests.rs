use super::*;
use crate::state::{Requester, TicketType, Verification, ticket_of};
use hotline_base::{AgentId, ContactId, FactBody, TicketId, UserId};
use hotline_sla::{Basis, Calendar, Priority};
use proptest::prelude::*;

const MIN: i64 = 60_000;
const SOMEBODY: Actor = Actor::User(UserId::from_u128(5));

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_millis(1_795_168_200_000 + minutes * MIN)
}

fn opening(answered_at: Option<Timestamp>) -> Opening {
    let contact = ContactId::from_u128(77);
    Opening {
        id: ticket_of(contact),
        received_at: at(0),
        subject: "printer".to_string().into(),
        category: Some("technical".into()),
        kind: TicketType::Hardware,
        priority: Priority::Medium,
        requester: Requester { number: Some("+8613800138000".to_string().into()), ..Default::default() },
        owner: answered_at.map(|_| AgentId::from_u128(9)),
        queue: "technical".parse().ok(),
        contact: Some(contact),
        recordings: vec![],
        answered_at,
        custom: BTreeMap::new(),
    }
}

fn act(action: Action) -> TicketInput {
    TicketInput::act(SOMEBODY, Terms::standard(), action)
}

fn opened(answered_at: Option<Timestamp>) -> Ticket {
    TicketMachine::step(None, &act(Action::Open(Box::new(opening(answered_at)))), at(1)).unwrap().state
}

fn step(ticket: &mut Ticket, action: Action, now: Timestamp) -> Vec<&'static str> {
    input(ticket, act(action), now)
}

fn input(ticket: &mut Ticket, input: TicketInput, now: Timestamp) -> Vec<&'static str> {
    let transition = TicketMachine::step(Some(ticket), &input, now).unwrap();
    *ticket = transition.state;
    transition.facts.iter().map(FactBody::name).collect()
}

fn refused(ticket: &Ticket, action: Action, now: Timestamp) -> String {
    TicketMachine::step(Some(ticket), &act(action), now).unwrap_err().code
}

fn fire(key: &str) -> TicketInput {
    TicketInput::Timer { key: key.into() }
}

#[test]
fn a_repeated_contact_end_opens_one_ticket() {
    let mut ticket = opened(Some(at(1)));
    let before = ticket.clone();
    assert!(step(&mut ticket, Action::Open(Box::new(opening(Some(at(1))))), at(3)).is_empty());
    assert_eq!(ticket, before);
    assert_eq!(ticket.id, TicketId::from_u128(77));
    assert_eq!((ticket.status, ticket.response.met_at()), (Status::Open, Some(at(1))));
}

#[test]
fn an_unanswered_contact_reminds_then_escalates() {
    let mut ticket = opened(None);
    let deadlines = TicketMachine::deadlines(&ticket);
    assert_eq!(deadlines[timer::RESPONSE_REMINDER], at(10));
    assert_eq!(deadlines[timer::RESPONSE_BREACH], at(15));
    assert_eq!(deadlines[timer::RESOLUTION_BREACH], at(24 * 60));
    assert_eq!(input(&mut ticket, fire(timer::RESPONSE_REMINDER), at(9)), Vec::<&str>::new(), "too early: only a hint");
    assert_eq!(input(&mut ticket, fire(timer::RESPONSE_REMINDER), at(10)), ["SlaReminderDue"]);
    assert_eq!(input(&mut ticket, fire(timer::RESPONSE_REMINDER), at(10)), Vec::<&str>::new());
    assert_eq!(input(&mut ticket, fire(timer::RESPONSE_BREACH), at(15)), ["SlaBreached", "TicketEscalated"]);
    assert_eq!((ticket.tier, ticket.owner), (Tier::Two, None));
    assert!(!TicketMachine::deadlines(&ticket).contains_key(timer::RESPONSE_BREACH));
    assert_eq!(
        step(&mut ticket, Action::Comment { kind: NoteKind::Reply, text: "on it".to_string().into() }, at(20)),
        ["TicketCommented", "SlaMet", "StatusChanged"]
    );
    assert_eq!(ticket.status, Status::Open);
}

#[test]
fn a_second_breach_goes_a_tier_higher() {
    let mut ticket = opened(None);
    input(&mut ticket, fire(timer::RESPONSE_BREACH), at(15));
    assert_eq!(input(&mut ticket, fire(timer::RESOLUTION_BREACH), at(24 * 60)), ["SlaBreached", "TicketEscalated"]);
    assert_eq!(ticket.tier, Tier::Three);
}

#[test]
fn a_breach_is_noticed_without_its_timer() {
    let mut ticket = opened(None);
    let comment = Action::Comment { kind: NoteKind::Reply, text: "late".to_string().into() };
    assert_eq!(
        step(&mut ticket, comment, at(16)),
        ["SlaBreached", "TicketEscalated", "TicketCommented", "SlaMet", "StatusChanged"]
    );
    assert_eq!(ticket.response.breached_at(), Some(at(15)));
}

#[test]
fn an_answer_in_time_told_late_is_no_breach_and_a_late_answer_is_one() {
    let mut ticket = opened(None);
    assert_eq!(step(&mut ticket, Action::FirstResponse { at: at(14) }, at(30)), ["SlaMet", "StatusChanged"]);
    assert_eq!(ticket.response.breached_at(), None);
    let mut late = opened(None);
    assert_eq!(
        step(&mut late, Action::FirstResponse { at: at(20) }, at(30)),
        ["SlaBreached", "SlaMet", "StatusChanged"]
    );
    assert_eq!(late.response.breached_at(), Some(at(15)));
}

#[test]
fn waiting_for_the_customer_stops_the_resolution_clock() {
    let mut ticket = opened(Some(at(1)));
    assert_eq!(
        step(&mut ticket, Action::SetStatus { status: Status::Pending }, at(60)),
        ["StatusChanged", "SlaPaused"]
    );
    assert!(TicketMachine::deadlines(&ticket).is_empty());
    assert_eq!(
        step(&mut ticket, Action::SetStatus { status: Status::Open }, at(5_000)),
        ["StatusChanged", "SlaStarted"]
    );
    assert_eq!(TicketMachine::deadlines(&ticket)[timer::RESOLUTION_BREACH], at(5_000 + 24 * 60 - 60));
}

#[test]
fn no_close_before_the_solution_is_verified() {
    let mut ticket = opened(Some(at(1)));
    let yes = Verification { solved: true, system_normal: true, no_side_effects: true };
    let close = || Action::SetStatus { status: Status::Closed };
    assert_eq!(refused(&ticket, close(), at(2)), "ticket-status");
    assert_eq!(refused(&ticket, Action::Verify(yes), at(2)), "ticket-not-resolved");
    assert_eq!(step(&mut ticket, Action::SetStatus { status: Status::Resolved }, at(3)), ["StatusChanged", "SlaMet"]);
    assert_eq!(refused(&ticket, close(), at(4)), "ticket-not-verified");
    step(&mut ticket, Action::Verify(Verification { no_side_effects: false, ..yes }), at(4));
    assert_eq!(refused(&ticket, close(), at(4)), "ticket-not-verified");
    step(&mut ticket, Action::Verify(yes), at(5));
    assert_eq!(step(&mut ticket, close(), at(6)), ["StatusChanged"]);
    assert_eq!(
        step(&mut ticket, Action::SetStatus { status: Status::Reopened }, at(100)),
        ["StatusChanged", "SlaStarted"]
    );
    assert_eq!((ticket.verification, ticket.reopened), (None, 1));
    assert_eq!(TicketMachine::deadlines(&ticket)[timer::RESOLUTION_BREACH], at(100 + 24 * 60));
}

#[test]
fn a_higher_priority_moves_the_deadline() {
    let mut ticket = opened(Some(at(1)));
    let changes = FieldChanges { priority: Some(Priority::Urgent), ..Default::default() };
    assert_eq!(step(&mut ticket, Action::SetFields(changes.clone()), at(30)), ["FieldsChanged", "SlaStarted"]);
    assert_eq!(ticket.next_deadline(), Some(at(240)));
    assert!(step(&mut ticket, Action::SetFields(changes.clone()), at(31)).is_empty());
    let mut late = opened(Some(at(1)));
    assert_eq!(
        step(&mut late, Action::SetFields(changes), at(300)),
        ["FieldsChanged", "SlaStarted", "SlaBreached", "TicketEscalated"],
        "a promise that is over the moment it is made is broken at once"
    );
}

#[test]
fn business_hours_come_with_the_terms() {
    let calendar: Calendar = serde_json::from_str(
        r#"{"name":"office","time_zone":"Asia/Shanghai","weekly":{"fri":[{"from":"09:00","to":"18:00"}],"mon":[{"from":"09:00","to":"18:00"}]}}"#,
    )
    .unwrap();
    let mut policy = hotline_sla::Policy::standard(None);
    policy.counts = Basis::Business { calendar: "office".parse().unwrap() };
    let terms = Terms { policy, calendar: Some(calendar) };
    // Friday 2026-11-20, 17:50 in Shanghai.
    let input = TicketInput::act(Actor::System, terms, Action::Open(Box::new(opening(None))));
    let ticket = TicketMachine::step(None, &input, at(0)).unwrap().state;
    assert_eq!(ticket.response.deadline(), Some(at(63 * 60 + 15)));
}

#[test]
fn bad_input_names_its_fields() {
    let mut bad = opening(None);
    bad.subject = " ".to_string().into();
    bad.custom.insert("Device Model".into(), "x".repeat(600));
    let error = TicketMachine::step(None, &act(Action::Open(Box::new(bad))), at(0)).unwrap_err();
    assert_eq!(error.code, "ticket-invalid");
    for expected in ["subject: empty", "custom.Device Model: a field's name", "at most 500 characters"] {
        assert!(error.message.contains(expected), "{}", error.message);
    }
    assert_eq!(refused(&opened(None), Action::Rate { score: 6 }, at(1)), "ticket-invalid");
    assert_eq!(TicketMachine::step(None, &act(Action::Rate { score: 5 }), at(1)).unwrap_err().code, "ticket-unknown");
    let typo = serde_json::from_str::<Action>(r#"{"action":"set_status","status":"open","stauts":1}"#);
    assert!(typo.unwrap_err().to_string().contains("stauts"));
}

#[test]
fn the_work_log_is_bounded_and_says_what_it_dropped() {
    let mut ticket = opened(Some(at(1)));
    for i in 0..150 {
        let text = format!("{i} {}", "很".repeat(1_900));
        step(&mut ticket, Action::Comment { kind: NoteKind::Action, text: text.into() }, at(2));
    }
    assert_eq!(ticket.notes.len() + ticket.notes_dropped as usize, 150);
    assert!(serde_json::to_string(&ticket).unwrap().len() < hotline_base::limits::STATE_BYTES / 2);
    assert!(ticket.notes.last().unwrap().text.expose().starts_with("149"));
}

#[test]
fn lists_follow_the_state() {
    let ticket = opened(Some(at(1)));
    let partitions: Vec<String> = TicketMachine::rows(&ticket).into_iter().map(|r| r.partition).collect();
    assert_eq!(
        partitions,
        [
            "tickets".to_string(),
            format!("tickets/contact/{}", ContactId::from_u128(77)),
            format!("tickets/owner/{}", AgentId::from_u128(9)),
            "tickets/priority/medium".into(),
            "tickets/queue/technical".into(),
            "tickets/requester/+8613800138000".into(),
            "tickets/status/open".into(),
        ]
    );
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (0usize..6).prop_map(|i| Action::SetStatus { status: Status::ALL[i] }),
        (0usize..4)
            .prop_map(|i| Action::SetFields(FieldChanges { priority: Some(Priority::ALL[i]), ..Default::default() })),
        Just(Action::Comment { kind: NoteKind::Reply, text: "x".to_string().into() }),
        Just(Action::Verify(Verification { solved: true, system_normal: true, no_side_effects: true })),
        Just(Action::Escalate { reason: "hard".to_string().into() }),
        (0i64..3_000).prop_map(|m| Action::FirstResponse { at: at(m) }),
        (0u128..60).prop_map(|c| Action::LinkContact { contact: ContactId::from_u128(c) }),
        (0u8..8).prop_map(|score| Action::Rate { score }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..Default::default() })]

    /// A breach is known exactly when an unmet, running clock has passed; every timer is in the future;
    /// a state reads back from storage; a ticket is closed only when verified.
    #[test]
    fn breach_exactly_when_the_clock_passed(actions in proptest::collection::vec((any_action(), 0i64..400), 1..40)) {
        let mut ticket = opened(None);
        let mut now = at(1);
        for (action, wait) in actions {
            now = now.plus_ms(wait * MIN);
            if let Ok(transition) = TicketMachine::step(Some(&ticket), &act(action), now) {
                ticket = transition.state;
                for clock in [&ticket.response, &ticket.resolution] {
                    if let Phase::Running { deadline, .. } = clock.phase() {
                        prop_assert_eq!(clock.breached_at().is_some(), deadline <= now);
                    }
                }
                prop_assert!(TicketMachine::deadlines(&ticket).values().all(|&due| due > now));
                prop_assert!(ticket.status != Status::Closed || ticket.verification.is_some_and(|v| v.passed()));
                let stored = serde_json::to_string(&ticket).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Ticket>(&stored).unwrap(), &ticket);
            }
        }
    }
}
