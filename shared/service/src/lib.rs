//! The use-cases: everything a function does, over [`Ports`], with no cloud in sight.
//!
//! Every use-case takes a [`Service`]: the ports and a small cache of configuration. What changes
//! state goes through the one runner in `hotline-ports`; what a step asks of the world is carried
//! out by [`Effects`].

pub mod accounts;
pub mod agents;
pub mod audit;
mod cache;
pub mod callbacks;
pub mod config;
pub mod contacts;
pub mod desk;
pub mod directory;
mod effects;
pub mod facts;
pub mod figures;
pub mod flood;
pub mod floor;
pub mod flows;
mod gauge;
pub mod ivr;
pub mod lists;
pub mod live;
pub mod matching;
pub mod nodes;
pub mod outbox;
pub mod reconcile;
pub mod recording;
pub mod replay;
mod setting;
pub mod settings;
pub mod sounds;
pub mod thresholds;
pub mod tickets;
pub mod timers;
mod turns;
mod views;
pub mod wave;
pub mod whatif;
pub mod work;

pub use effects::Effects;

use hotline_base::{EntityKey, InputId, Invalid, Reject, TenantId, Timestamp};
use hotline_contact::ContactMachine;
use hotline_ports::runner::RunError;
use hotline_ports::{Fault, Ports};
use hotline_routing::AgentMachine;
use hotline_ticket::TicketMachine;
use std::sync::Arc;

/// Why a use-case did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Bad outside input: every mistake with its field and remedy.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The domain says no; the code is stable. `not-found` and `version-conflict` are used
    /// throughout.
    #[error(transparent)]
    Reject(#[from] Reject),
    /// A dependency failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl ServiceError {
    /// What was asked for is not there (or belongs to another tenant, which is the same).
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::Reject(Reject::new("not-found", format!("{what} does not exist")))
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Fault(Fault::Transient { .. }))
    }
}

impl From<RunError> for ServiceError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Reject(reject) => Self::Reject(reject),
            RunError::Fault(fault) => Self::Fault(fault),
        }
    }
}

/// The ports with a cache of configuration; cheap to clone, one per process.
#[derive(Clone)]
pub struct Service {
    /// The outside.
    pub ports: Ports,
    cache: Arc<cache::Cache>,
}

impl Service {
    /// Use-cases over these ports.
    pub fn new(ports: Ports) -> Self {
        Self { ports, cache: Arc::default() }
    }

    /// The same cache over other ports: the simulator gives each use-case its own faults.
    pub fn with_ports(&self, ports: Ports) -> Self {
        Self { ports, cache: self.cache.clone() }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.ports.world.now()
    }

    /// A fresh input id, for what comes once by nature (a person's click).
    pub fn fresh_input(&self) -> InputId {
        InputId::new(self.now(), self.ports.world.random())
    }
}

/// The key of a contact.
pub fn contact_key(tenant: TenantId, contact: hotline_base::ContactId) -> EntityKey {
    EntityKey::of::<ContactMachine>(tenant, contact)
}

/// The key of an agent.
pub fn agent_key(tenant: TenantId, agent: hotline_base::AgentId) -> EntityKey {
    EntityKey::of::<AgentMachine>(tenant, agent)
}

/// The key of a ticket.
pub fn ticket_key(tenant: TenantId, ticket: hotline_base::TicketId) -> EntityKey {
    EntityKey::of::<TicketMachine>(tenant, ticket)
}
