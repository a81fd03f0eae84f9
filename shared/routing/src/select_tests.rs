use super::*;
use crate::explain::explain;
use crate::skill::{Need, Relax};
use crate::waiting::{Affinity, Priority};
use proptest::prelude::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + ms)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn con(n: u128) -> ContactId {
    ContactId::from_u128(n)
}

fn agt(n: u128) -> AgentId {
    AgentId::from_u128(n)
}

fn waits(n: u128, since_ms: i64) -> WaitingEntry {
    WaitingEntry::new(con(n), &QueueConfig::new(name("q")), None, Priority::default(), at(since_ms))
}

fn free(n: u128, since_ms: i64, skills: &[(&str, u8)]) -> AvailableAgent {
    AvailableAgent {
        agent: agt(n),
        skills: skills.iter().map(|(s, l)| (name(s), *l)).collect(),
        idle_since: at(since_ms),
        occupancy_pm: 0,
    }
}

fn snapshot(waiting: Vec<WaitingEntry>, available: Vec<AvailableAgent>) -> Snapshot {
    Snapshot::new(&QueueConfig::new(name("q")), waiting, available, at(100_000))
}

fn pair(snapshot: &Snapshot) -> Option<(u128, u128)> {
    match choose(snapshot) {
        Decision::Match { contact, agent, .. } => Some((contact.as_u128(), agent.as_u128())),
        Decision::Nothing { .. } => None,
    }
}

#[test]
fn first_come_gets_longest_idle() {
    let s = snapshot(vec![waits(2, 50), waits(1, 40)], vec![free(1, 900, &[]), free(2, 100, &[])]);
    assert_eq!(pair(&s), Some((1, 2)));
}

#[test]
fn nobody_qualified_holds_nobody_up() {
    let mut first = waits(1, 0);
    first.required = vec![Need::new(name("router"), 5)];
    let s = snapshot(vec![first.clone(), waits(2, 10)], vec![free(1, 0, &[("router", 4)])]);
    assert_eq!(pair(&s), Some((2, 1)));
    assert!(matches!(choose(&s), Decision::Match { passed_over: 1, .. }));
    let alone = snapshot(vec![first.clone()], vec![free(1, 0, &[("router", 4)])]);
    assert_eq!(choose(&alone), Decision::Nothing { why: Nothing::NobodyQualified });
    first.required[0].relax = vec![Relax { after_ms: 60_000, level: 4 }];
    assert_eq!(pair(&snapshot(vec![first], alone.available)), Some((1, 1)), "relaxed by now");
}

#[test]
fn fit_beats_idle_and_affinity_beats_fit() {
    let mut entry = waits(1, 0);
    entry.preferred = vec![Need::new(name("lang-en"), 1)];
    let agents = vec![free(1, 0, &[]), free(2, 5_000, &[("lang-en", 2)]), free(3, 9_000, &[])];
    assert_eq!(pair(&snapshot(vec![entry.clone()], agents.clone())), Some((1, 2)));
    entry.affinity = Some(Affinity { agent: agt(3), until: at(200_000), only: false });
    assert_eq!(pair(&snapshot(vec![entry.clone()], agents.clone())), Some((1, 3)));
    entry.affinity = Some(Affinity { agent: agt(3), until: at(100_000), only: false });
    assert_eq!(pair(&snapshot(vec![entry], agents)), Some((1, 2)), "its time is over");
}

#[test]
fn reserved_and_excluded() {
    let mut entry = waits(1, 0);
    entry.affinity = Some(Affinity { agent: agt(3), until: at(200_000), only: true });
    let s = snapshot(vec![entry.clone()], vec![free(1, 0, &[])]);
    assert_eq!(pair(&s), None);
    entry.affinity = None;
    entry.exclude(agt(1));
    assert_eq!(pair(&snapshot(vec![entry], s.available)), None);
}

#[test]
fn lowest_occupancy_where_the_queue_says_so() {
    let mut busy = free(1, 0, &[]);
    busy.occupancy_pm = 800;
    let mut s = snapshot(vec![waits(1, 0)], vec![busy, free(2, 90_000, &[])]);
    assert_eq!(pair(&s), Some((1, 1)));
    s.selection = Selection::LowestOccupancy;
    assert_eq!(pair(&s), Some((1, 2)));
}

#[test]
fn why_not_me() {
    let mut first = waits(1, 0);
    first.required = vec![Need::new(name("router"), 5)];
    let mut second = waits(2, 10);
    second.preferred = vec![Need::new(name("lang-en"), 1)];
    let agents = vec![free(1, 1_000, &[]), free(2, 2_000, &[("lang-en", 2)]), free(3, 500, &[("lang-en", 1)])];
    let s = snapshot(vec![first, second, waits(3, 20)], agents);
    let text: String = explain(&s, &choose(&s))
        .iter()
        .map(|l| {
            let c = l.contact.map_or(0, ContactId::as_u128);
            let a = l.agent.map_or(0, AgentId::as_u128);
            format!("contact {c} agent {a} [{}] {}\n", l.code, l.text)
        })
        .collect();
    assert_eq!(
        text,
        "contact 2 agent 2 [chosen] chosen: fit 2, free for 98 s, occupied 0.0 %\n\
         contact 1 agent 0 [nobody-qualifies] came first, but no free agent qualified\n\
         contact 1 agent 1 [skill] needs router at level 5; has none\n\
         contact 1 agent 2 [skill] needs router at level 5; has none\n\
         contact 1 agent 3 [skill] needs router at level 5; has none\n\
         contact 2 agent 1 [fit] skill fit 0 against 2\n\
         contact 2 agent 3 [fit] skill fit 1 against 2\n\
         contact 3 agent 0 [later] comes later: virtual time 2027-01-15T08:00:00.020Z\n"
    );
}

/// The slowest possible router: every pair, tested against every rule of the module's first
/// paragraph, with no shared code but the data types.
fn reference(s: &Snapshot) -> Option<(ContactId, AgentId)> {
    let fits = |e: &WaitingEntry, a: &AvailableAgent| {
        let level = |skill: &Name| a.skills.get(skill).copied().unwrap_or(0);
        let waited = s.now.as_millis() - e.enqueued_at.as_millis();
        let wanted = |n: &Need| {
            let mut lowest = n.level;
            for r in &n.relax {
                if i64::from(r.after_ms) <= waited.max(0) && r.level < lowest {
                    lowest = r.level;
                }
            }
            lowest
        };
        let mut ok = !e.not.contains(&a.agent);
        for n in &e.required {
            ok &= level(&n.skill) >= wanted(n);
        }
        let mut meant = false;
        if let Some(f) = e.affinity
            && s.now < f.until
        {
            ok &= !f.only || f.agent == a.agent;
            meant = f.agent == a.agent;
        }
        let fit: u32 =
            e.preferred.iter().filter(|n| level(&n.skill) >= wanted(n)).map(|n| u32::from(level(&n.skill))).sum();
        ok.then_some((meant, fit))
    };
    let mut best: Option<(ContactId, AgentId)> = None;
    for e in &s.waiting {
        for a in &s.available {
            let Some((meant, fit)) = fits(e, a) else {
                continue;
            };
            let better = match best {
                None => true,
                Some((contact, agent)) => {
                    let other = s.waiting.iter().find(|x| x.contact == contact).unwrap();
                    let rival = s.available.iter().find(|x| x.agent == agent).unwrap();
                    let key = |x: &WaitingEntry| {
                        (-i64::from(x.priority.class), x.enqueued_at.as_millis() - x.priority.credit_ms, x.contact)
                    };
                    if e.contact != other.contact {
                        key(e) < key(other)
                    } else {
                        let (rival_meant, rival_fit) = fits(other, rival).unwrap();
                        let occupancy = |x: &AvailableAgent| match s.selection {
                            Selection::LongestIdle => 0,
                            Selection::LowestOccupancy => x.occupancy_pm,
                        };
                        if meant != rival_meant {
                            meant
                        } else if fit != rival_fit {
                            fit > rival_fit
                        } else {
                            (occupancy(a), a.idle_since, a.agent) < (occupancy(rival), rival.idle_since, rival.agent)
                        }
                    }
                }
            };
            if better {
                best = Some((e.contact, a.agent));
            }
        }
    }
    best
}

fn needs() -> impl Strategy<Value = Vec<Need>> {
    let skill = prop_oneof![Just("a"), Just("b"), Just("lang-zh")];
    let relax = prop::option::of((0_u32..200_000, 0_u8..3));
    proptest::collection::vec((skill, 1_u8..5, relax), 0..3).prop_map(|list| {
        list.into_iter()
            .map(|(skill, level, relax)| Need {
                skill: name(skill),
                level,
                relax: relax.map(|(after_ms, level)| Relax { after_ms, level }).into_iter().collect(),
            })
            .collect()
    })
}

fn affinity() -> impl Strategy<Value = Option<Affinity>> {
    prop::option::weighted(
        0.3,
        (0_u128..8, 0_i64..200_000, any::<bool>()).prop_map(|(n, until, only)| Affinity {
            agent: agt(n),
            until: at(until),
            only,
        }),
    )
}

prop_compose! {
    fn waiting()(
        list in proptest::collection::vec((0_i64..100, 0_i64..60, 0_u8..2, needs(), needs(), affinity(), prop::option::of(0_u128..8)), 0..8)
    ) -> Vec<WaitingEntry> {
        list.into_iter().enumerate().map(|(i, (t, credit, class, required, preferred, affinity, not))| WaitingEntry {
            contact: con(i as u128),
            enqueued_at: at(t * 1_000),
            priority: Priority { credit_ms: credit * 1_000, class },
            required,
            preferred,
            affinity,
            not: not.map(agt).into_iter().collect(),
            caller: "someone".into(),
            shards: 0,
        }).collect()
    }
}

prop_compose! {
    fn agents()(
        list in proptest::collection::vec((0_i64..5, 0_u16..4, 0_u8..5, 0_u8..5, 0_u8..3), 0..8)
    ) -> Vec<AvailableAgent> {
        list.into_iter().enumerate().map(|(i, (idle, occupancy, a, b, zh))| {
            let mut agent = free(i as u128, idle * 1_000, &[("a", a), ("b", b), ("lang-zh", zh), ("unused", 1)]);
            agent.skills.retain(|_, l| *l > 0);
            agent.occupancy_pm = occupancy * 250;
            agent
        }).collect()
    }
}

prop_compose! {
    fn snapshots()(w in waiting(), a in agents(), lowest in any::<bool>()) -> Snapshot {
        let mut s = snapshot(w, a);
        s.selection = if lowest { Selection::LowestOccupancy } else { Selection::LongestIdle };
        s
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_brute_force_reference(s in snapshots()) {
        let chosen = match choose(&s) {
            Decision::Match { contact, agent, .. } => Some((contact, agent)),
            Decision::Nothing { .. } => None,
        };
        prop_assert_eq!(chosen, reference(&s));
    }

    #[test]
    fn the_order_of_the_rows_does_not_matter(s in snapshots(), turn in 0_usize..8) {
        let mut other = s.clone();
        other.waiting.reverse();
        let n = other.available.len().max(1);
        other.available.rotate_left(turn % n);
        prop_assert_eq!(choose(&s), choose(&other));
        prop_assert_eq!(Record::new(&s, choose(&s)).bytes(), Record::new(&other, choose(&other)).bytes());
    }

    #[test]
    fn a_record_replays_to_the_same_bytes(s in snapshots()) {
        let record = Record::new(&s, choose(&s));
        let bytes = record.bytes();
        let read: Record = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(read.replay().bytes(), bytes);
    }

    /// Nobody is starved: when all agents qualify for all, contacts leave in virtual order; and
    /// whoever is passed over had no agent who qualified.
    #[test]
    fn queues_drain_in_order(s in snapshots()) {
        let mut s = s;
        for _ in 0..20 {
            match choose(&s) {
                Decision::Match { contact, agent, .. } => {
                    let chosen = s.waiting.iter().find(|e| e.contact == contact).unwrap().clone();
                    for earlier in s.waiting.iter().filter(|e| e.rank() < chosen.rank()) {
                        for a in &s.available {
                            prop_assert!(qualifies(earlier, a, s.now).is_err());
                        }
                    }
                    s.waiting.retain(|e| e.contact != contact);
                    s.available.retain(|a| a.agent != agent);
                }
                Decision::Nothing { .. } => break,
            }
        }
        for e in &s.waiting {
            for a in &s.available {
                prop_assert!(qualifies(e, a, s.now).is_err(), "a free agent is left beside a contact they could take");
            }
        }
    }

    #[test]
    fn every_agent_gets_a_reason(s in snapshots()) {
        let decision = choose(&s);
        if let Decision::Match { contact, .. } = decision {
            let told = explain(&s, &decision).into_iter().filter(|l| l.contact == Some(contact) && l.agent.is_some()).count();
            prop_assert_eq!(told, s.available.len());
        }
    }
}

#[test]
fn row_order_is_the_order_of_choice() {
    let mut urgent = waits(1, 900);
    urgent.priority.class = 5;
    let mut vip = waits(2, 800);
    vip.priority.credit_ms = 500;
    let mut entries = [waits(3, 400), waits(4, 200), vip, urgent];
    entries.sort_by_key(WaitingEntry::sort);
    let by_row: Vec<u128> = entries.iter().map(|e| e.contact.as_u128()).collect();
    entries.sort_by_key(WaitingEntry::rank);
    let by_rank: Vec<u128> = entries.iter().map(|e| e.contact.as_u128()).collect();
    assert_eq!(by_row, by_rank);
    assert_eq!(by_row, [1, 4, 2, 3]);
}

#[test]
fn records_are_bounded_even_for_absurd_queues() {
    let long = |n: usize| name(&format!("{}-{n:03}", "s".repeat(36)));
    let entry = |n: usize| {
        let mut e = waits(n as u128, n as i64);
        let relax = vec![Relax { after_ms: u32::MAX, level: 0 }; 4];
        e.required = (0..8).map(|k| Need { skill: long(n * 8 + k), level: 10, relax: relax.clone() }).collect();
        e.preferred = e.required.clone();
        e.not = (0..8).map(|k| agt(1_000 + k)).collect();
        e
    };
    let agent = |n: usize| {
        let mut a = free(n as u128, n as i64, &[]);
        a.skills = (0..24).map(|k| (long(n * 4 + k), 9)).collect();
        a
    };
    let mut waiting: Vec<_> = (0..HEAD).map(entry).collect();
    waiting.push(waits(999, 99));
    waiting.remove(0);
    let s = snapshot(waiting, (0..HEAD).map(agent).collect());
    let record = Record::new(&s, choose(&s));
    let size = record.bytes().len();
    assert!(size <= RECORD_MAX_BYTES, "{size}");
    assert_eq!(record.replay().bytes(), record.bytes());

    let usual = snapshot(
        (0..HEAD).map(|n| waits(n as u128, n as i64)).collect(),
        (0..5).map(|n| free(n, 0, &[("a", 1)])).collect(),
    );
    let size = Record::new(&usual, choose(&usual)).bytes().len();
    assert!(size < 1_500, "a usual record is small: {size}");
}
