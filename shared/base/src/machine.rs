//! The one shape of every state machine.
//!
//! `step` takes the state, an input and the time and gives the next state with *facts*
//! (past-tense history) and *effects* (what the world is asked to do). Timers and index
//! rows are never emitted: the runner derives them by comparing [`Machine::deadlines`] and
//! [`Machine::rows`] before and after the step.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::{TenantId, Timestamp};

/// The name of one timer of one entity, such as `offer` or `sla-response`.
pub type TimerKey = String;

/// Which state machine instance: tenant first, then kind (`contact`), then its id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityKey {
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// The kind: [`Machine::KIND`].
    pub kind: String,
    /// The id or name within the tenant.
    pub id: String,
}

impl EntityKey {
    /// The key of an instance of machine `M`.
    pub fn of<M: Machine>(tenant: TenantId, id: impl fmt::Display) -> Self {
        Self { tenant, kind: M::KIND.into(), id: id.to_string() }
    }
}

impl fmt::Debug for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.kind, self.id)
    }
}

/// A row of an index that is derived from a state: found by partition, ordered by `sort`.
///
/// `(partition, sort)` is its identity within the tenant; `body` is what a reader of the
/// index needs without loading the entity.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct IndexRow {
    /// Such as `waiting/billing`.
    pub partition: String,
    /// Sorted as text; numbers are zero-padded.
    pub sort: String,
    /// JSON text.
    pub body: String,
}

/// A fact's stable name and its content.
pub trait FactBody: Serialize + DeserializeOwned + Clone + fmt::Debug {
    /// The past-tense name, such as `OfferAccepted`.
    fn name(&self) -> &'static str;
}

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition<S, F, E> {
    /// The state after it.
    pub state: S,
    /// What happened, oldest first.
    pub facts: Vec<F>,
    /// What the world is asked to do, in this order.
    pub effects: Vec<E>,
}

/// The domain says no; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Reject {
    /// Stable, kebab-case: `offer-rescinded`.
    pub code: String,
    /// What it means and what to do, for a person.
    pub message: String,
}

impl Reject {
    /// A refusal with a stable code.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// A pure state machine with its derived timers and index rows.
pub trait Machine {
    /// The entity kind, kebab-case; part of every key.
    const KIND: &'static str;
    /// What is stored.
    type State: Serialize + DeserializeOwned + Clone + fmt::Debug;
    /// Imperative or observed.
    type Input: fmt::Debug;
    /// Past tense.
    type Fact: FactBody;
    /// Verb and object.
    type Effect: Serialize + DeserializeOwned + Clone + fmt::Debug;

    /// One step. `state` is `None` where the entity does not exist yet.
    #[allow(clippy::type_complexity)]
    fn step(
        state: Option<&Self::State>,
        input: &Self::Input,
        now: Timestamp,
    ) -> Result<Transition<Self::State, Self::Fact, Self::Effect>, Reject>;

    /// The moments at which this state wants to be looked at again.
    fn deadlines(state: &Self::State) -> BTreeMap<TimerKey, Timestamp>;

    /// The index rows under which this state is found.
    fn rows(state: &Self::State) -> BTreeSet<IndexRow>;
}
