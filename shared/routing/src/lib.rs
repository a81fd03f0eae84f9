//! Queues, skills, agents, offers, selection and estimated wait.
//!
//! * [`agent`]: the state machine of one agent, with presence as a lease.
//! * [`queue`]: what a queue is and does; [`overflow`] when it cannot keep up.
//! * [`waiting`] and [`available`]: the two sides of the market, as index rows.
//! * [`select`]: who gets whom, deterministically; [`search`] reads the pages it needs;
//!   [`explain`] answers "why not me?".
//! * [`estimate`]: the wait that callers are told.
//!
//! Pure: no clock, no randomness, no I/O.

pub mod agent;
pub mod available;
pub mod estimate;
pub mod explain;
pub mod overflow;
pub mod queue;
pub mod search;
pub mod select;
pub mod skill;
pub mod threshold;
pub mod waiting;

pub use agent::{Agent, AgentEffect, AgentFact, AgentInput, AgentMachine, AgentState};
pub use available::AvailableAgent;
pub use queue::QueueConfig;
pub use select::{Decision, Snapshot, choose};
pub use skill::{Need, Relax, Skills};
pub use waiting::WaitingEntry;
