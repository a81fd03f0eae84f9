//! Bounded retries of a unit of work, and what follows a commit.

use std::time::Duration;

use crate::runner::{EffectSink, Unit};
use crate::{Commit, CommitError, Fault, OutboxRow, Ports, TimerRow, WorkQueue};

/// Stale versions accepted before giving up.
pub const MAX_CONFLICTS: u32 = 20;
/// Transient faults of the store accepted before giving up.
pub const MAX_FAULTS: u32 = 3;
/// A timer due within this time goes to the timer queue at once; the sweep hands over the rest.
pub const SOON_MS: i64 = 120_000;
/// Items that one transaction may hold.
const MAX_ITEMS: usize = 100;

/// The retries of one unit of work.
pub struct Attempts<'a> {
    ports: &'a Ports,
    conflicts: u32,
    faults: u32,
    unsure: Option<Commit>,
}

impl<'a> Attempts<'a> {
    /// A fresh count.
    pub fn new(ports: &'a Ports) -> Self {
        Self { ports, conflicts: 0, faults: 0, unsure: None }
    }

    /// An empty unit at the present moment.
    pub fn unit(&self) -> Unit<'a> {
        Unit::new(self.ports.store.as_ref(), self.ports.world.now())
    }

    /// Commits. `None`: something newer was in the way, or it is not known whether it happened;
    /// do the whole unit again.
    ///
    /// # Errors
    /// A permanent fault, or a transient one after [`MAX_CONFLICTS`] or [`MAX_FAULTS`] rounds.
    pub async fn commit(&mut self, unit: Unit<'a>) -> Result<Option<Committed>, Fault> {
        if unit.is_empty() {
            return Ok(Some(self.recognise(&unit)));
        }
        let commit = unit.into_commit();
        if commit.items() > MAX_ITEMS {
            let said = format!("{} items in one transaction, more than {MAX_ITEMS}", commit.items());
            return Err(Fault::permanent("runner", said));
        }
        match self.ports.store.commit(commit.clone()).await {
            Ok(()) => Ok(Some(Committed::of(commit))),
            Err(CommitError::Conflict) => {
                self.conflicts += 1;
                if self.conflicts >= MAX_CONFLICTS {
                    let said = format!("{} conflicts in a row", self.conflicts);
                    return Err(Fault::transient("store", said));
                }
                Ok(None)
            }
            Err(CommitError::Fault(fault @ Fault::Transient { .. })) => {
                self.faults += 1;
                if self.faults >= MAX_FAULTS {
                    return Err(fault);
                }
                self.unsure = Some(commit);
                Ok(None)
            }
            Err(CommitError::Fault(fault)) => Err(fault),
        }
    }

    /// After a commit of unknown outcome, a unit in which nothing is left to do: where the store
    /// holds exactly what that commit would have written, it was ours, and its effects and timers
    /// are ours to hand on. Otherwise somebody else did it and hands them on.
    fn recognise(&mut self, unit: &Unit<'_>) -> Committed {
        let Some(commit) = self.unsure.take() else {
            return Committed::default();
        };
        let ours = !commit.writes.is_empty()
            && commit.writes.iter().all(|write| {
                unit.slots
                    .get(&write.key)
                    .is_some_and(|slot| slot.version == write.next.version && slot.loaded() == Some(&write.next.body))
            });
        if ours { Committed::of(commit) } else { Committed::default() }
    }
}

/// What a commit left to do.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "effects and near timers are handed on by `finish`"]
pub struct Committed {
    /// Effects to carry out.
    pub outbox: Vec<OutboxRow>,
    /// Timers that were armed.
    pub timers: Vec<TimerRow>,
}

impl Committed {
    fn of(commit: Commit) -> Self {
        Self { outbox: commit.outbox, timers: commit.timers_put }
    }

    /// Hands near timers to the timer queue, carries out the effects in order and settles them.
    /// What fails here is found again by the sweepers, so nothing is returned.
    pub async fn finish(self, ports: &Ports, sink: &dyn EffectSink) {
        let now = ports.world.now();
        for timer in self.timers.iter().filter(|timer| timer.due.since_ms(now) <= SOON_MS) {
            let mut tries = 1;
            while let Err(fault) = hand_over(ports, timer).await {
                if tries == MAX_FAULTS {
                    let TimerRow { subject, timer, .. } = timer;
                    tracing::warn!(%fault, timer, ?subject, "timer waits for the sweep");
                    break;
                }
                tries += 1;
            }
        }
        dispatch(ports, sink, &self.outbox).await;
    }
}

/// Sends one timer to the timer queue so that it arrives at its due time, to the second.
///
/// # Errors
/// A fault of the queue.
pub async fn hand_over(ports: &Ports, timer: &TimerRow) -> Result<(), Fault> {
    let wait_ms = timer.due.since_ms(ports.world.now()).clamp(0, 900_000) as u64;
    let delay = Duration::from_secs(wait_ms.div_ceil(1000).min(900));
    let body = serde_json::to_string(timer).map_err(|error| Fault::permanent("runner", error))?;
    ports.queues.send(WorkQueue::Timers, body, delay).await
}

/// Carries out effects in order and settles each; `true` where all were. One that fails for the
/// moment is tried [`MAX_FAULTS`] times, then it waits for the sweep.
pub async fn dispatch(ports: &Ports, sink: &dyn EffectSink, rows: &[OutboxRow]) -> bool {
    let mut all = true;
    for row in rows {
        match carry_out(sink, row).await {
            Ok(()) => {}
            Err(fault @ Fault::Transient { .. }) => {
                tracing::warn!(%fault, effect = row.id(), "effect waits for the sweep");
                all = false;
                continue;
            }
            Err(fault) => tracing::error!(%fault, effect = row.id(), "effect given up"),
        }
        if let Err(fault) = ports.store.settle(row).await {
            tracing::warn!(%fault, effect = row.id(), "effect done but not settled");
            all = false;
        }
    }
    all
}

async fn carry_out(sink: &dyn EffectSink, row: &OutboxRow) -> Result<(), Fault> {
    let mut tries = 1;
    loop {
        match sink.dispatch(row).await {
            Err(Fault::Transient { .. }) if tries < MAX_FAULTS => tries += 1,
            done => return done,
        }
    }
}
