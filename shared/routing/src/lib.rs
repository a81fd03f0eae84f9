//! Queues, skills, agents, offers, selection and estimated wait.
//!
//! * [`agent`]: the state machine of one agent, with presence as a lease.
//! * [`queue`]: what a queue is and does; [`overflow`] when it cannot keep up; [`service_model`]:
//!   whether people serve it at all.
//! * [`waiting`] and [`available`]: the two sides of the market, as index rows.
//! * [`select`]: who gets whom, deterministically; [`search`] reads the pages it needs;
//!   [`explain`] answers "why not me?".
//! * [`callback`]: how a queue calls people back, and which numbers.
//! * [`estimate`]: the wait that callers are told.
//! * [`whatif`]: a recorded period run again under other rules.
//! * [`threshold`] and [`alarm`]: what is raised when a queue cannot keep up.
//!
//! Pure: no clock, no randomness, no I/O.

pub mod agent;
pub mod alarm;
pub mod available;
pub mod callback;
pub mod estimate;
pub mod explain;
pub mod overflow;
pub mod queue;
pub mod search;
pub mod select;
pub mod service_model;
pub mod skill;
pub mod threshold;
pub mod waiting;
pub mod whatif;

pub use agent::{Agent, AgentEffect, AgentFact, AgentInput, AgentMachine, AgentState};
pub use alarm::{AlarmFact, AlarmMachine};
pub use available::AvailableAgent;
pub use queue::QueueConfig;
pub use select::{Decision, Snapshot, choose};
pub use skill::{Need, Relax, Skills};
pub use waiting::WaitingEntry;
