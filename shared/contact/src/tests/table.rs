//! Every phase against every event: what it becomes, what happened, what is asked. After a
//! deliberate change the line that differs is told; put it into `table.txt` and read what changed.

use super::*;

fn phases() -> Vec<(&'static str, Life)> {
    vec![
        ("nothing", Life::new()),
        ("in flow", Life::in_flow()),
        ("waiting", Life::waiting()),
        ("offered", Life::offered()),
        ("talking", Life::talking()),
        ("ended", Life::over()),
    ]
}

fn events(life: &Life) -> Vec<(&'static str, Event)> {
    let seq = life.seq + 1;
    let node = |event| node_event(seq, event);
    let label = life.contact.as_ref().map(|c| c.script.label.clone()).unwrap_or_default();
    let failed = |reason| node(CallEvent::OfferFailed { offer: offer_id(1), reason, sip_status: None });
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
        ("AgentLegEnded", node(CallEvent::AgentLegEnded { offer: offer_id(1), cause: EndCause::HungUp })),
        ("CallEnded", node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: None })),
        ("RecordingEnded", delivered("manifest")),
        ("RecordingEnded empty", delivered("")),
        ("Offer", offer(2)),
        ("OfferReturned", Event::OfferReturned { offer: offer_id(1), declined: true }),
        ("NobodyFree", Event::NobodyFree),
        ("NobodyStaffed", Event::NobodyStaffed { queue: "billing".parse().unwrap() }),
        ("NodeLost", Event::NodeLost { node: NODE }),
        ("End", Event::End),
        ("Timer offer", timer(TIMER_OFFER)),
        ("Timer queue-wait", timer(TIMER_WAIT)),
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
            lines.push_str(&format!("{phase:8} {name:22} {outcome}\n"));
        }
    }
    lines
}

#[test]
fn every_phase_against_every_event() {
    let is = render();
    let wanted = include_str!("table.txt");
    for (is, wanted) in is.lines().zip(wanted.lines()) {
        assert_eq!(is, wanted);
    }
    assert_eq!(is, wanted);
}
