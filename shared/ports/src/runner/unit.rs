//! A unit of work: entities stepped in memory, committed together.

use hotline_base::limits::{FACTS_PER_STEP, SEEN_INPUTS, STATE_BYTES};
use hotline_base::{EntityKey, FactBody, IndexRow, InputId, Machine, TenantId, TimerKey, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::runner::RunError;
use crate::{Commit, FactRow, Fault, OutboxRow, Store, Stored, TimerRow, Write};

/// What a step did to one entity.
pub enum Outcome<M: Machine> {
    /// The input was applied (or changed nothing).
    Applied {
        /// The state after it.
        state: M::State,
        /// What happened.
        facts: Vec<M::Fact>,
    },
    /// The input had been applied before.
    Repeat {
        /// The state as it is now.
        state: M::State,
    },
}

impl<M: Machine> fmt::Debug for Outcome<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Applied { state, facts } => {
                f.debug_struct("Applied").field("state", state).field("facts", facts).finish()
            }
            Outcome::Repeat { state } => f.debug_struct("Repeat").field("state", state).finish(),
        }
    }
}

impl<M: Machine> Outcome<M> {
    /// The state after the input.
    pub fn state(&self) -> &M::State {
        match self {
            Outcome::Applied { state, .. } | Outcome::Repeat { state } => state,
        }
    }

    /// The state after the input.
    pub fn into_state(self) -> M::State {
        match self {
            Outcome::Applied { state, .. } | Outcome::Repeat { state } => state,
        }
    }
}

/// What follows from a state.
#[derive(Debug, Clone, Default)]
struct Derived {
    deadlines: BTreeMap<TimerKey, Timestamp>,
    rows: BTreeSet<IndexRow>,
}

impl Derived {
    fn of<M: Machine>(state: &M::State) -> Self {
        Self { deadlines: M::deadlines(state), rows: M::rows(state) }
    }
}

/// One entity as loaded and as it has become.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) version: u64,
    pub(super) body: Option<Arc<Value>>,
    loaded: Option<Arc<Value>>,
    seen: Vec<InputId>,
    before: Option<Derived>,
    after: Derived,
    facts: Vec<FactRow>,
    outbox: Vec<OutboxRow>,
    expires: Option<Timestamp>,
}

/// A unit of work over a store: steps entities in memory, then becomes one [`Commit`].
pub struct Unit<'a> {
    store: &'a dyn Store,
    now: Timestamp,
    pub(super) slots: BTreeMap<EntityKey, Slot>,
    rows: Vec<(TenantId, IndexRow)>,
}

impl<'a> Unit<'a> {
    /// An empty unit; everything stepped in it happens at `now`.
    pub fn new(store: &'a dyn Store, now: Timestamp) -> Self {
        Self { store, now, slots: BTreeMap::new(), rows: Vec::new() }
    }

    /// The moment at which everything in this unit happens.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    async fn slot(&mut self, key: &EntityKey) -> Result<&mut Slot, Fault> {
        if !self.slots.contains_key(key) {
            let stored = self.store.load(key).await?;
            let slot = match stored {
                Some(Stored { version, body, seen }) => Slot::new(version, Some(Arc::new(body)), seen),
                None => Slot::new(0, None, Vec::new()),
            };
            self.slots.insert(key.clone(), slot);
        }
        self.slots.get_mut(key).ok_or_else(|| Fault::permanent("runner", "slot vanished"))
    }

    /// The state of an entity as this unit sees it; `None` where it does not exist.
    ///
    /// # Errors
    /// A fault of the store, or a permanent one where the stored state cannot be read.
    pub async fn state<M: Machine>(&mut self, key: &EntityKey) -> Result<Option<M::State>, Fault> {
        let slot = self.slot(key).await?;
        slot.body.as_ref().map(|body| read::<M>(key, body)).transpose()
    }

    /// The version that this unit loaded; 0 where the entity did not exist.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn version(&mut self, key: &EntityKey) -> Result<u64, Fault> {
        Ok(self.slot(key).await?.version)
    }

    /// Whether the entity has applied this input already.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn has_seen(&mut self, key: &EntityKey, id: InputId) -> Result<bool, Fault> {
        Ok(self.slot(key).await?.seen.contains(&id))
    }

    /// Steps an entity. Several steps of one entity in a unit make one version.
    ///
    /// # Errors
    /// [`RunError::Reject`] from the machine (the unit is as it was before this step);
    /// [`RunError::Fault`] from the store, or where a bound was passed.
    pub async fn step<M: Machine>(
        &mut self,
        key: &EntityKey,
        id: InputId,
        input: &M::Input,
    ) -> Result<Outcome<M>, RunError> {
        let now = self.now;
        let slot = self.slot(key).await?;
        let state = slot.body.as_ref().map(|body| read::<M>(key, body)).transpose()?;
        if let (true, Some(state)) = (slot.seen.contains(&id), &state) {
            return Ok(Outcome::Repeat { state: state.clone() });
        }
        let next = M::step(state.as_ref(), input, now)?;
        if next.facts.len() > FACTS_PER_STEP {
            let said = format!("{key:?}: {} facts in one step", next.facts.len());
            return Err(Fault::permanent("runner", said).into());
        }
        let body = write(key, &next.state)?;
        let same = slot.body.as_deref() == Some(&body);
        if same && next.facts.is_empty() && next.effects.is_empty() {
            return Ok(Outcome::Applied { state: next.state, facts: next.facts });
        }
        if slot.before.is_none() {
            slot.before = Some(state.as_ref().map(Derived::of::<M>).unwrap_or_default());
        }
        slot.after = Derived::of::<M>(&next.state);
        slot.body = Some(Arc::new(body));
        slot.seen.push(id);
        let extra = slot.seen.len().saturating_sub(SEEN_INPUTS);
        slot.seen.drain(..extra);
        let version = slot.version + 1;
        for fact in &next.facts {
            slot.facts.push(FactRow {
                subject: key.clone(),
                version,
                index: slot.facts.len() as u32,
                at: now,
                name: fact.name().into(),
                body: value(key, fact)?,
            });
        }
        for effect in &next.effects {
            slot.outbox.push(OutboxRow {
                subject: key.clone(),
                version,
                index: slot.outbox.len() as u32,
                at: now,
                body: value(key, effect)?,
            });
        }
        Ok(Outcome::Applied { state: next.state, facts: next.facts })
    }

    /// Puts a row in the same transaction (a decision snapshot, a history entry).
    pub fn put_row(&mut self, tenant: TenantId, row: IndexRow) {
        self.rows.push((tenant, row));
    }

    /// Lets the table forget an entity after `at`, where this unit changes it.
    pub fn expire(&mut self, key: &EntityKey, at: Timestamp) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.expires = Some(at);
        }
    }

    /// Whether committing would change anything.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.slots.values().all(|slot| slot.before.is_none())
    }

    /// The transaction that this unit asks for.
    pub(super) fn into_commit(self) -> Commit {
        let mut commit = Commit { rows_put: self.rows, ..Commit::default() };
        for (key, slot) in self.slots {
            let (Some(before), Some(body)) = (slot.before, slot.body) else {
                continue;
            };
            derive_rows(&mut commit, key.tenant, &before.rows, &slot.after.rows);
            derive_timers(&mut commit, &key, &before.deadlines, &slot.after.deadlines);
            commit.facts.extend(slot.facts);
            commit.outbox.extend(slot.outbox);
            drop(slot.loaded);
            let body = Arc::unwrap_or_clone(body);
            commit.writes.push(Write {
                expected: slot.version,
                next: Stored { version: slot.version + 1, body, seen: slot.seen },
                expires: slot.expires,
                key,
            });
        }
        commit
    }
}

impl Slot {
    fn new(version: u64, body: Option<Arc<Value>>, seen: Vec<InputId>) -> Self {
        Self {
            version,
            loaded: body.clone(),
            body,
            seen,
            before: None,
            after: Derived::default(),
            facts: Vec::new(),
            outbox: Vec::new(),
            expires: None,
        }
    }

    /// The body as it was loaded.
    pub(super) fn loaded(&self) -> Option<&Value> {
        self.loaded.as_deref()
    }
}

fn derive_rows(commit: &mut Commit, tenant: TenantId, before: &BTreeSet<IndexRow>, after: &BTreeSet<IndexRow>) {
    let places: BTreeSet<(&str, &str)> = after.iter().map(|row| (row.partition.as_str(), row.sort.as_str())).collect();
    for row in before.difference(after) {
        if !places.contains(&(row.partition.as_str(), row.sort.as_str())) {
            commit.rows_delete.push((tenant, row.partition.clone(), row.sort.clone()));
        }
    }
    commit.rows_put.extend(after.difference(before).map(|row| (tenant, row.clone())));
}

fn derive_timers(
    commit: &mut Commit,
    key: &EntityKey,
    before: &BTreeMap<TimerKey, Timestamp>,
    after: &BTreeMap<TimerKey, Timestamp>,
) {
    let row = |timer: &TimerKey, due: &Timestamp| TimerRow { due: *due, subject: key.clone(), timer: timer.clone() };
    for (timer, due) in before {
        if after.get(timer) != Some(due) {
            commit.timers_delete.push(row(timer, due));
        }
    }
    for (timer, due) in after {
        if before.get(timer) != Some(due) {
            commit.timers_put.push(row(timer, due));
        }
    }
}

/// A state from its stored form.
pub(super) fn read<M: Machine>(key: &EntityKey, body: &Value) -> Result<M::State, Fault> {
    serde::Deserialize::deserialize(body)
        .map_err(|error| Fault::permanent("store", format!("{key:?} cannot be read: {error}")))
}

fn value(key: &EntityKey, of: &impl serde::Serialize) -> Result<Value, Fault> {
    serde_json::to_value(of).map_err(|error| Fault::permanent("runner", format!("{key:?} cannot be written: {error}")))
}

fn write(key: &EntityKey, state: &impl serde::Serialize) -> Result<Value, Fault> {
    let body = value(key, state)?;
    let bytes = serde_json::to_vec(&body).map(|text| text.len()).unwrap_or(usize::MAX);
    if bytes > STATE_BYTES {
        let said = format!("{key:?} would take {bytes} bytes, more than {STATE_BYTES}");
        return Err(Fault::permanent("runner", said));
    }
    Ok(body)
}
