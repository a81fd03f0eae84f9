//! Every phase against every event: what it becomes, what happened, what is asked. After a
//! deliberate change run it with `UPDATE_GOLDEN=1` and read what changed in `table.txt`.

use super::*;

fn phases() -> Vec<(&'static str, Life)> {
    vec![
        ("nothing", Life::new()),
        ("in flow", Life::in_flow()),
        ("waiting", Life::waiting()),
        ("offered", Life::offered()),
        ("talking", Life::talking()),
        ("consulting", Life::consulting()),
        ("advised", Life::advised()),
        ("conference", Life::conference()),
        ("supervised", Life::supervised()),
        ("moving", Life::moving()),
        ("rejoining", Life::rejoining()),
        ("callback", Life::callback()),
        ("c-offered", Life::callback_offered()),
        ("c-dialling", Life::callback_dialling()),
        ("c-resting", Life::callback_resting()),
        ("ended", Life::over()),
    ]
}

fn events(life: &Life) -> Vec<(&'static str, Event)> {
    let life = Life { seq: life.seq + 1, ..life.clone() };
    let node = |event| life.reported(event);
    let label = life.contact.as_ref().map(|c| c.script.label.clone()).unwrap_or_default();
    let failed =
        |reason| node(CallEvent::OfferFailed { offer: offer_id(1), reason, sip_status: None, reasons: vec![] });
    let delivered = |manifest: &str| {
        node(CallEvent::RecordingEnded {
            recording: RecordingId::from_u128(1),
            manifest: manifest.into(),
            duration_ms: 5_000,
            failure: None,
        })
    };
    let result = VerbResult::Digits { digits: "9".to_string().into() };
    let timer = |timer: &str| Event::Timer { timer: timer.into() };
    vec![
        ("Arrived", node(arrived())),
        ("ScriptEnded", node(CallEvent::ScriptEnded { label, result: result.clone() })),
        ("ScriptEnded stale", node(CallEvent::ScriptEnded { label: "0:x/y".into(), result })),
        ("OfferRinging", node(CallEvent::OfferRinging { offer: offer_id(1) })),
        ("OfferAnswered", node(CallEvent::OfferAnswered { offer: offer_id(1), dialog: None })),
        ("OfferAnswered other", node(CallEvent::OfferAnswered { offer: offer_id(2), dialog: None })),
        ("OfferFailed declined", failed(OfferFailure::Declined)),
        ("OfferFailed timed out", failed(OfferFailure::TimedOut)),
        (
            "AgentLegEnded",
            node(CallEvent::AgentLegEnded { offer: offer_id(1), cause: EndCause::HungUp, reasons: vec![] }),
        ),
        ("CallEnded", node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] })),
        ("RecordingEnded", delivered("manifest")),
        ("RecordingEnded empty", delivered("")),
        ("Offer", offer(2)),
        ("OfferReturned", Event::OfferReturned { offer: offer_id(1), declined: true }),
        ("NobodyFree", Event::NobodyFree),
        ("NobodyStaffed", Event::NobodyStaffed { queue: "billing".parse().unwrap() }),
        (
            "AgentLegEnded other",
            node(CallEvent::AgentLegEnded { offer: offer_id(2), cause: EndCause::HungUp, reasons: vec![] }),
        ),
        ("OfferReturned other", Event::OfferReturned { offer: offer_id(2), declined: true }),
        ("PartyAnswered", node(CallEvent::PartyAnswered { dialog: Some(dialog("party")) })),
        (
            "PartyFailed busy",
            node(CallEvent::PartyFailed { reason: DialFailure::Busy, sip_status: Some(486), reasons: vec![] }),
        ),
        (
            "PartyFailed number",
            node(CallEvent::PartyFailed { reason: DialFailure::NoSuchNumber, sip_status: None, reasons: vec![] }),
        ),
        ("Reanchored", node(CallEvent::Reanchored { dialog: dialog("new") })),
        ("ReanchorFailed", node(CallEvent::ReanchorFailed { sip_status: Some(481) })),
        ("TransferAsked", node(CallEvent::TransferAsked { offer: offer_id(1), target: "x".to_string().into() })),
        ("Transfer queue", to_queue("billing")),
        ("Transfer agent", to_agent()),
        ("Transfer number", to_number()),
        ("Consult", consult(4)),
        ("Supervise", Event::Supervise { leg: leg(5), mode: SuperviseMode::Whisper, by: BOSS }),
        ("Desk hold", desk(DeskAction::Hold)),
        ("Desk complete", desk(DeskAction::Complete { reason: String::new().into() })),
        ("Desk cancel", desk(DeskAction::CancelConsult)),
        ("Desk conference", desk(DeskAction::Conference)),
        ("Desk pause", desk(DeskAction::PauseRecording { paused: true })),
        ("Move", Event::Move { to: "general".parse().unwrap(), by: BOSS, reason: String::new().into() }),
        ("TakeBack", Event::TakeBack { by: BOSS, reason: String::new().into() }),
        ("DialParty", Event::DialParty { node: NODE }),
        ("Postpone", Event::Postpone { until: at(900_000), closed: true }),
        ("Merge", Event::Merge { into: ContactId::from_u128(6) }),
        ("TakePlace", Event::TakePlace { from: ContactId::from_u128(6), since: at(-900_000), waited_ms: 500_000 }),
        ("NodeLost, moves", Event::NodeLost { node: life.node, to: Some(NodeId::from_u128(99)), before: at(150_000) }),
        ("NodeLost", Event::NodeLost { node: life.node, to: None, before: at(150_000) }),
        ("End", Event::End),
        ("Timer offer", timer(TIMER_OFFER)),
        ("Timer queue-wait", timer(TIMER_WAIT)),
        ("Timer dial", timer(TIMER_DIAL)),
        ("Timer move", timer(TIMER_MOVE)),
        ("Timer rejoin", timer(TIMER_REJOIN)),
        ("Timer guard", timer(TIMER_GUARD)),
    ]
}

fn effect_word(effect: &ContactEffect) -> String {
    match effect {
        ContactEffect::CommandNode { command, .. } => {
            let action = match command.action {
                NodeAction::Ring(_) => "ring",
                NodeAction::Rescind { .. } => "rescind",
                NodeAction::Script { .. } => "script",
                NodeAction::Announce { .. } => "announce",
                NodeAction::ReleaseAgent { .. } => "release",
                NodeAction::End => "end",
                NodeAction::Arrange { .. } => "arrange",
                NodeAction::Dial { .. } => "dial",
                NodeAction::Reanchor { .. } => "reanchor",
                NodeAction::PauseRecording { .. } => "pause",
            };
            format!("node:{action}")
        }
        ContactEffect::TellAgent { news, .. } => format!("agent:{news:?}").to_lowercase(),
        ContactEffect::MatchQueue { .. } => "match".into(),
        ContactEffect::RingDirect { .. } => "ring-direct".into(),
        ContactEffect::ComposeRecording { .. } => "compose".into(),
        ContactEffect::CallHook { .. } => "hook".into(),
    }
}

fn render() -> String {
    let mut lines = String::new();
    for (phase, life) in phases() {
        for (name, event) in events(&life) {
            let mut life = Life { facts: Vec::new(), effects: Vec::new(), ..life.clone() };
            // Late enough for every timer of the phase but the guard.
            life.now = at(150_000);
            let before = life.contact.clone();
            let outcome = match life.step(event) {
                Err(reject) => format!("refused: {}", reject.code),
                Ok(()) if life.contact == before && life.facts.is_empty() => "-".into(),
                Ok(()) => {
                    let after = format!("{:?}", life.contact().listing().phase);
                    let facts: Vec<&str> = life.facts.iter().map(FactBody::name).collect();
                    let effects: Vec<String> = life.effects.iter().map(effect_word).collect();
                    format!("{after} [{}] [{}]", facts.join(" "), effects.join(" "))
                }
            };
            lines.push_str(&format!("{phase:10} {name:22} {outcome}\n"));
        }
    }
    lines
}

#[test]
fn every_phase_against_every_event() {
    let is = render();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let crate_folder = std::env::var("CARGO_MANIFEST_DIR").expect("run by cargo");
        let path = format!("{crate_folder}/src/tests/table.txt");
        std::fs::write(path, &is).expect("the golden file can be written");
        return;
    }
    let wanted = include_str!("table.txt");
    for (is, wanted) in is.lines().zip(wanted.lines()) {
        assert_eq!(is, wanted);
    }
    assert_eq!(is, wanted);
}
