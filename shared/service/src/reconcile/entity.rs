//! One entity against its rows and timers.

use hotline_base::{EntityKey, IndexRow, Machine, TenantId};
use hotline_ports::runner::hand_over;
use hotline_ports::{Commit, CommitError, Fault, Range, Stored, TimerRow, Write};

use super::{Mismatch, Run, subject_of};
use crate::ServiceError;

/// Looks before a busy entity is left for the next run.
const TRIES: usize = 3;
/// Timers of one millisecond, over all entities, that are looked through.
const SAME_MOMENT: usize = 500;

/// What is wrong with an entity's rows and timers.
#[derive(Default)]
struct Damage {
    missing: Vec<IndexRow>,
    stray: Option<IndexRow>,
    timers: Vec<TimerRow>,
}

impl Damage {
    fn is_none(&self) -> bool {
        self.missing.is_empty() && self.stray.is_none() && self.timers.is_empty()
    }
}

/// Compares an entity with the rows and timers that follow from its state, and with the row that
/// led to it; gives the state, where there is one.
pub(super) async fn check<M: Machine>(
    run: &mut Run<'_>,
    key: &EntityKey,
    row: &IndexRow,
) -> Result<Option<M::State>, ServiceError> {
    let store = &run.service.ports.store;
    for _ in 0..TRIES {
        let before = store.load(key).await?;
        let state = match &before {
            Some(stored) => Some(read::<M>(key, stored)?),
            None => None,
        };
        let damage = damage::<M>(run, key, state.as_ref(), row).await?;
        if damage.is_none() {
            return Ok(state);
        }
        let after = store.load(key).await?;
        if before.as_ref().map(|stored| stored.version) != after.as_ref().map(|stored| stored.version) {
            continue;
        }
        repair(run, key, before, damage).await?;
        return Ok(state);
    }
    Ok(None)
}

fn read<M: Machine>(key: &EntityKey, stored: &Stored) -> Result<M::State, Fault> {
    serde::Deserialize::deserialize(&stored.body)
        .map_err(|error| Fault::permanent("store", format!("{key:?} cannot be read: {error}")))
}

async fn damage<M: Machine>(
    run: &Run<'_>,
    key: &EntityKey,
    state: Option<&M::State>,
    row: &IndexRow,
) -> Result<Damage, ServiceError> {
    let store = &run.service.ports.store;
    let wanted = state.map(M::rows).unwrap_or_default();
    let mut damage = Damage::default();
    let follows = wanted.iter().any(|w| w.partition == row.partition && w.sort == row.sort);
    if !follows && there(run, key.tenant, row).await?.is_some() {
        damage.stray = Some(row.clone());
    }
    for wanted in wanted {
        if there(run, key.tenant, &wanted).await?.as_ref() != Some(&wanted) {
            damage.missing.push(wanted);
        }
    }
    let deadlines = state.map(M::deadlines).unwrap_or_default();
    for (timer, due) in deadlines {
        let armed = store.due(due, due.plus_ms(1), SAME_MOMENT).await?;
        let wanted = TimerRow { due, subject: key.clone(), timer };
        if !armed.contains(&wanted) && armed.len() < SAME_MOMENT {
            damage.timers.push(wanted);
        }
    }
    Ok(damage)
}

/// The row that stands in the place of this one now.
async fn there(run: &Run<'_>, tenant: TenantId, row: &IndexRow) -> Result<Option<IndexRow>, Fault> {
    let range =
        Range { tenant, partition: &row.partition, from: Some(&row.sort), below: None, limit: 1, descending: false };
    let rows = run.service.ports.store.rows(range).await?;
    Ok(rows.into_iter().find(|found| found.sort == row.sort))
}

/// Puts rows and timers right in one transaction, if the state is still the one they were compared with.
async fn repair(
    run: &mut Run<'_>,
    key: &EntityKey,
    stored: Option<Stored>,
    damage: Damage,
) -> Result<(), ServiceError> {
    let service = run.service;
    let Damage { missing, stray, timers } = damage;
    let mut commit = Commit {
        rows_put: missing.iter().map(|row| (key.tenant, row.clone())).collect(),
        rows_delete: stray.iter().map(|row| (key.tenant, row.partition.clone(), row.sort.clone())).collect(),
        timers_put: timers.clone(),
        ..Commit::default()
    };
    if let Some(stored) = stored {
        let next = Stored { version: stored.version + 1, ..stored.clone() };
        commit.writes.push(Write { key: key.clone(), expected: stored.version, next, expires: None });
    }
    match service.ports.store.commit(commit).await {
        Ok(()) => {}
        // It moved on; the next run sees whether the damage is still there.
        Err(CommitError::Conflict) => return Ok(()),
        Err(CommitError::Fault(fault)) => return Err(fault.into()),
    }
    for timer in &timers {
        hand_over(&service.ports, timer).await?;
    }
    let subject = subject_of(key);
    let place = |row: &IndexRow| format!("{} {}", row.partition, row.sort);
    for row in &missing {
        run.found(key.tenant, Mismatch::MissingRow, subject.clone(), place(row), true);
    }
    if let Some(row) = &stray {
        run.found(key.tenant, Mismatch::StrayRow, subject.clone(), place(row), true);
    }
    for timer in timers {
        run.found(key.tenant, Mismatch::MissingTimer, subject.clone(), timer.timer, true);
    }
    Ok(())
}
