use async_trait::async_trait;
use futures::executor::block_on;
use hotline_base::{EntityKey, FactBody, IndexRow, Machine, Reject, TenantId, TimerKey, Timestamp, Transition};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::*;
use crate::Store;
use crate::faulty::{Call, Injection, wrap};
use crate::memory::Memory;

/// A box that holds at most three things.
struct Box3;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    held: u32,
    due: Option<Timestamp>,
}

#[derive(Debug)]
enum Input {
    Put,
    Look,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Held(u32);

impl FactBody for Held {
    fn name(&self) -> &'static str {
        "Held"
    }
}

impl Machine for Box3 {
    const KIND: &'static str = "box";
    type State = State;
    type Input = Input;
    type Fact = Held;
    type Effect = String;

    fn step(state: Option<&State>, input: &Input, now: Timestamp) -> Result<Transition<State, Held, String>, Reject> {
        let held = state.map_or(0, |state| state.held);
        match input {
            Input::Look => {
                let state = State { held, due: state.and_then(|state| state.due) };
                Ok(Transition { state, facts: vec![], effects: vec![] })
            }
            Input::Put if held >= 3 => Err(Reject::new("box-full", "take something out")),
            Input::Put => Ok(Transition {
                state: State { held: held + 1, due: Some(now.plus_ms(5_000)) },
                facts: vec![Held(held + 1)],
                effects: vec![format!("tell {}", held + 1)],
            }),
        }
    }

    fn deadlines(state: &State) -> BTreeMap<TimerKey, Timestamp> {
        state.due.filter(|_| state.held < 3).map(|due| ("look".into(), due)).into_iter().collect()
    }

    fn rows(state: &State) -> BTreeSet<IndexRow> {
        let sort = format!("{:03}", state.held);
        [IndexRow { partition: "boxes".into(), sort, body: "{}".into() }].into()
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

#[async_trait]
impl EffectSink for Heard {
    async fn dispatch(&self, row: &OutboxRow) -> Result<(), Fault> {
        self.0.lock().unwrap().push(row.body.as_str().unwrap_or_default().to_string());
        Ok(())
    }
}

fn memory() -> (Memory, EntityKey) {
    let memory = Memory::new(Timestamp::from_millis(1_000_000), 1);
    (memory, EntityKey::of::<Box3>(TenantId::from_u128(9), "a"))
}

#[test]
fn one_commit_holds_everything_that_follows_from_a_step() {
    let (memory, key) = memory();
    let heard = Heard::default();
    for n in 1..=3 {
        let id = derived_input(&[&n.to_string()]);
        let done = block_on(apply::<Box3>(&memory.ports(), &heard, &key, id, &Input::Put)).unwrap();
        assert_eq!(done.state().held, n);
        assert_eq!(memory.store.timers().len(), if n < 3 { 1 } else { 0 }, "derived timers");
    }
    let rows = memory.store.all_rows();
    assert_eq!(rows.iter().map(|(_, row)| row.sort.as_str()).collect::<Vec<_>>(), ["003"]);
    let facts = memory.store.all_facts();
    assert_eq!(facts.iter().map(|f| (f.version, f.index)).collect::<Vec<_>>(), [(1, 0), (2, 0), (3, 0)]);
    assert_eq!(*heard.0.lock().unwrap(), ["tell 1", "tell 2", "tell 3"]);
    assert!(memory.store.unsettled().is_empty(), "settled");
    assert_eq!(memory.queues.next_visible(), Some(Timestamp::from_millis(1_005_000)), "near timer");
    let error = block_on(apply::<Box3>(&memory.ports(), &heard, &key, derived_input(&["4"]), &Input::Put));
    assert!(matches!(error, Err(RunError::Reject(reject)) if reject.code == "box-full"));
}

#[test]
fn a_repeat_changes_nothing() {
    let (memory, key) = memory();
    let heard = Heard::default();
    let id = derived_input(&["once"]);
    for _ in 0..3 {
        let done = block_on(apply::<Box3>(&memory.ports(), &heard, &key, id, &Input::Put)).unwrap();
        assert_eq!(done.state().held, 1);
    }
    assert_eq!(memory.store.all_facts().len(), 1);
    assert_eq!(heard.0.lock().unwrap().len(), 1);
}

#[test]
fn an_input_that_changes_nothing_writes_nothing() {
    let (memory, key) = memory();
    let heard = Heard::default();
    let ports = memory.ports();
    block_on(apply::<Box3>(&ports, &heard, &key, derived_input(&["1"]), &Input::Put)).unwrap();
    block_on(apply::<Box3>(&ports, &heard, &key, derived_input(&["2"]), &Input::Look)).unwrap();
    assert_eq!(block_on(memory.store.load(&key)).unwrap().unwrap().version, 1);
}

/// Injects `what` into the first `times` commits.
fn with(memory: &Memory, what: Injection, times: u32) -> Ports {
    let left = Mutex::new(times);
    let faults = move |call: Call| {
        let mut left = left.lock().unwrap();
        if call != Call::Commit || *left == 0 {
            return Injection::None;
        }
        *left -= 1;
        what
    };
    wrap(&memory.ports(), Arc::new(faults))
}

#[test]
fn a_conflict_or_a_fault_before_the_commit_is_tried_again() {
    for what in [Injection::Conflict, Injection::FaultBefore] {
        let (memory, key) = memory();
        let heard = Heard::default();
        let ports = with(&memory, what, 2);
        block_on(apply::<Box3>(&ports, &heard, &key, derived_input(&["1"]), &Input::Put)).unwrap();
        assert_eq!(memory.store.all_facts().len(), 1);
        assert_eq!(*heard.0.lock().unwrap(), ["tell 1"]);
    }
}

#[test]
fn a_fault_after_the_commit_is_recognised_and_its_effects_are_ours() {
    let (memory, key) = memory();
    let heard = Heard::default();
    let ports = with(&memory, Injection::FaultAfter, 1);
    let done = block_on(apply::<Box3>(&ports, &heard, &key, derived_input(&["1"]), &Input::Put));
    assert_eq!(done.unwrap().state().held, 1);
    assert_eq!(memory.store.all_facts().len(), 1, "applied once");
    assert_eq!(*heard.0.lock().unwrap(), ["tell 1"], "dispatched once");
    assert!(memory.store.unsettled().is_empty());
    assert!(memory.queues.next_visible().is_some(), "the timer was handed over");
}

#[test]
fn retries_are_bounded_and_counted() {
    let (memory, key) = memory();
    let heard = Heard::default();
    for (what, said) in [(Injection::Conflict, "20 conflicts"), (Injection::FaultBefore, "injected")] {
        let ports = with(&memory, what, u32::MAX);
        let error = block_on(apply::<Box3>(&ports, &heard, &key, derived_input(&["1"]), &Input::Put));
        assert!(error.unwrap_err().to_string().contains(said));
    }
    assert!(memory.store.all_facts().is_empty());
}

#[test]
fn several_entities_commit_together_or_not_at_all() {
    let (memory, a) = memory();
    let ports = memory.ports();
    let b = EntityKey::of::<Box3>(TenantId::from_u128(10), "b");
    let mut attempts = Attempts::new(&ports);
    let mut unit = attempts.unit();
    block_on(unit.step::<Box3>(&a, derived_input(&["a"]), &Input::Put)).unwrap();
    block_on(unit.step::<Box3>(&b, derived_input(&["b"]), &Input::Put)).unwrap();
    // Somebody else is faster with b.
    let heard = Heard::default();
    block_on(apply::<Box3>(&ports, &heard, &b, derived_input(&["c"]), &Input::Put)).unwrap();
    assert_eq!(block_on(attempts.commit(unit)).unwrap(), None, "again, please");
    assert_eq!(block_on(memory.store.load(&a)).unwrap(), None);
    let mut unit = attempts.unit();
    for (key, id) in [(&a, "a"), (&a, "a2"), (&b, "b")] {
        block_on(unit.step::<Box3>(key, derived_input(&[id]), &Input::Put)).unwrap();
    }
    let done = block_on(attempts.commit(unit)).unwrap().unwrap();
    assert_eq!(done.outbox.len(), 3);
    let stored = block_on(memory.store.load(&a)).unwrap().unwrap();
    assert_eq!((stored.version, stored.seen.len()), (1, 2), "two steps made one version");
    assert_eq!(memory.store.timers().len(), 2, "only the last deadline of each is armed");
}

#[test]
fn a_fired_timer_is_only_a_hint() {
    let state = State { held: 1, due: Some(Timestamp::from_millis(50)) };
    assert!(!is_due::<Box3>(&state, "look", Timestamp::from_millis(49)));
    assert!(is_due::<Box3>(&state, "look", Timestamp::from_millis(50)));
    assert!(!is_due::<Box3>(&state, "other", Timestamp::from_millis(50)));
}
