//! The one way in which a state machine meets storage: load → `step` → one conditional
//! transaction with state, facts, outbox, timers and index rows → dispatch → settle.
//!
//! ```ignore
//! let mut attempts = Attempts::new(ports);
//! loop {
//!     let mut unit = attempts.unit();
//!     unit.step::<Contact>(&contact, id, &offer).await?;
//!     unit.step::<Agent>(&agent, id, &offered).await?;
//!     if let Some(done) = attempts.commit(unit).await? {
//!         done.finish(ports, sink).await;
//!         break;
//!     }
//! }
//! ```
//!
//! A *unit of work* ([`Unit`]) steps any number of entities and commits them together, each
//! conditional on the version it was loaded with. An input whose id an entity has seen is a
//! repeat and changes nothing. A stale version makes [`Attempts::commit`] ask for another round;
//! so does a transient fault, after which the inputs' ids tell whether the commit had happened.

mod attempts;
mod derive;
#[cfg(test)]
mod tests;
mod unit;

pub use attempts::{Attempts, Committed, MAX_CONFLICTS, MAX_FAULTS, SOON_MS, dispatch, hand_over};
pub use derive::{derived_id, derived_input};
pub use unit::{Outcome, Unit};

use async_trait::async_trait;
use hotline_base::{EntityKey, InputId, Machine, Reject, Timestamp};

use crate::{Fault, OutboxRow, Ports};

/// Why a step did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The machine said no; nothing was changed.
    #[error(transparent)]
    Reject(#[from] Reject),
    /// A dependency failed, or too many others changed the same entity.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Carries out effects. The same row may be handed over more than once: its
/// [`OutboxRow::id`] is the idempotency key.
#[async_trait]
pub trait EffectSink: Send + Sync {
    /// Does what the row asks for. A transient fault leaves the row for the sweeper, a permanent
    /// one drops it with an error in the log.
    async fn dispatch(&self, row: &OutboxRow) -> Result<(), Fault>;
}

/// Steps one entity with an input that does not depend on what is stored, and carries out the
/// effects.
///
/// # Errors
/// [`RunError::Reject`] from the machine; [`RunError::Fault`] after bounded retries.
pub async fn apply<M: Machine>(
    ports: &Ports,
    sink: &dyn EffectSink,
    key: &EntityKey,
    id: InputId,
    input: &M::Input,
) -> Result<Outcome<M>, RunError>
where
    M::State: Send + Sync,
    M::Input: Sync,
    M::Fact: Send,
{
    let mut attempts = Attempts::new(ports);
    loop {
        let mut unit = attempts.unit();
        let outcome = unit.step::<M>(key, id, input).await?;
        if let Some(done) = attempts.commit(unit).await? {
            done.finish(ports, sink).await;
            return Ok(outcome);
        }
    }
}

/// Whether the stored state still wants this timer to fire by now. A fired timer is only a hint.
pub fn is_due<M: Machine>(state: &M::State, timer: &str, now: Timestamp) -> bool {
    M::deadlines(state).get(timer).is_some_and(|due| *due <= now)
}
