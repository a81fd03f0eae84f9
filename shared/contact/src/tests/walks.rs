//! Random lives: whatever comes in whatever order, some things always hold.

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn event(random: &mut Random, life: &Life) -> Event {
    let offer = offer_id(u128::from(random.below(4)));
    let seq = life.seq + 1;
    let node = |event| node_event(seq, event);
    let script = life.contact.as_ref().map(|contact| contact.script.clone());
    let label = script.as_ref().map(|script| script.label.clone()).unwrap_or_default();
    let label = if random.below(8) == 0 { "1:main/ask".into() } else { label };
    let timers = [TIMER_OFFER, TIMER_WAIT, TIMER_REMATCH, TIMER_ANNOUNCE, TIMER_RECORDING];
    match random.below(16) {
        0..=3 => {
            let recording = RecordingId::from_u128(99);
            let result = match random.below(5) {
                0 => VerbResult::Done,
                1 => VerbResult::Recorded { recording, duration_ms: random.below(3) * 1_000 },
                2 => VerbResult::Failed { reason: "x".into() },
                _ => {
                    let digit = "1239#"[random.below(5) as usize..].chars().next();
                    VerbResult::Digits { digits: digit.map(String::from).unwrap_or_default().into() }
                }
            };
            node(CallEvent::ScriptEnded { label, result })
        }
        4 => node(CallEvent::OfferRinging { offer }),
        5 => node(CallEvent::OfferAnswered { offer, dialog: None }),
        6 => {
            let reasons =
                [OfferFailure::TimedOut, OfferFailure::Declined, OfferFailure::Unreachable, OfferFailure::Rescinded];
            let reason = reasons[random.below(4) as usize];
            node(CallEvent::OfferFailed { offer, reason, sip_status: None, reasons: vec![] })
        }
        7 => node(CallEvent::AgentLegEnded { offer, cause: EndCause::HungUp, reasons: vec![] }),
        8 if random.below(6) == 0 => {
            node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] })
        }
        9 => node(CallEvent::RecordingEnded {
            recording: RecordingId::from_u128(u128::from(random.below(4))),
            manifest: if random.below(2) == 0 { String::new() } else { "m".into() },
            duration_ms: 2_000,
            failure: None,
        }),
        10 | 11 => super::offer(u128::from(random.below(4))),
        12 => Event::OfferReturned { offer, declined: random.below(2) == 0 },
        13 if random.below(10) == 0 => Event::NodeLost { node: NODE, to: None, before: life.now },
        14 => Event::NobodyStaffed { queue: "billing".parse().unwrap() },
        _ => Event::Timer { timer: timers[random.below(5) as usize].into() },
    }
}

fn check(seed: u64, life: &Life) {
    let contact = life.contact();
    let ends = life.facts.iter().filter(|fact| fact.name() == "ContactEnded").count();
    assert_eq!(ends, usize::from(!contact.is_alive()), "seed {seed}: one terminal fact");
    let waits = ContactMachine::rows(contact).iter().any(|row| row.partition == "waiting/billing");
    assert_eq!(waits, matches!(contact.phase, Phase::Waiting(_)), "seed {seed}: waiting row");
    if contact.is_alive() {
        assert!(ContactMachine::deadlines(contact).contains_key(TIMER_GUARD), "seed {seed}");
        assert!(!contact.script.verbs.is_empty(), "seed {seed}: something to play");
    }
    // Whoever was offered the contact was told how that ended, once.
    let mut open = BTreeMap::new();
    for effect in &life.effects {
        if let ContactEffect::TellAgent { offer, news, .. } = effect {
            let told: &mut Vec<AgentNews> = open.entry(*offer).or_default();
            told.push(*news);
            let good = matches!(told.as_slice(), [AgentNews::Accepted] | [AgentNews::Accepted, AgentNews::Ended])
                || matches!(told.as_slice(), [only] if *only != AgentNews::Ended);
            assert!(good, "seed {seed}: {told:?}");
        }
    }
    let text = serde_json::to_string(contact).unwrap();
    let back: Contact = serde_json::from_str(&text).unwrap();
    assert_eq!(back, *contact, "seed {seed}: it comes back from storage");
}

#[test]
fn random_lives_keep_the_promises() {
    for seed in 0..120 {
        let mut random = Random(seed);
        let mut life = Life::in_flow();
        let mut offers = std::collections::BTreeSet::new();
        for _ in 0..60 {
            life.now = life.now.plus_ms(random.below(20_000) as i64);
            let event = event(&mut random, &life);
            if let Event::Offer { offer, .. } = &event
                && !offers.insert(*offer)
            {
                continue; // Offer ids are fresh.
            }
            if matches!(event, Event::Node { .. }) {
                life.seq += 1;
            }
            match life.step(event) {
                Ok(()) => {}
                Err(reject) => assert_eq!(reject.code, "not-waiting", "seed {seed}"),
            }
            check(seed, &life);
        }
    }
}
