//! One agent: presence, states, offers, wrap-up.
//!
//! Presence is a lease: consoles renew it with heartbeats and the phone with its registration.
//! When every lease has lapsed the agent is Offline and an open offer goes back to its queue; a
//! running call is left alone until it ends.

mod fact;
mod input;
mod offers;
mod presence;
mod rows;
mod state;
mod step;
mod window;

pub use fact::{AgentEffect, AgentFact, OfferOutcome};
pub use input::{AgentInput, NewOffer, OfferOrigin, Requested};
pub use rows::{
    AGENTS_SHARDS, AgentListing, agents_partition, available_partition, staffed_partition, standby_partition,
};
pub use state::{
    Agent, AgentProfile, AgentState, Capacity, Membership, PhoneRegistration, Reason, Returned, StateName,
};
pub use window::Window;

use hotline_base::{IndexRow, Machine, Reject, TimerKey, Timestamp, Transition};
use std::collections::{BTreeMap, BTreeSet};

/// A console renews its agent's presence for this long, milliseconds; renew every third of it.
pub const PRESENCE_LEASE_MS: i64 = 45_000;
/// A phone's lease reaches at most this far ahead, milliseconds: a node's wrong clock cannot pin it.
pub const PHONE_LEASE_MAX_MS: i64 = 3_600_000;
/// An offer is taken back this long after its ring time, milliseconds, if nobody said how it ended.
pub const OFFER_BACKSTOP_MS: i64 = 10_000;
/// While Busy the agent's contact is looked up this often, milliseconds, in case its end was lost.
pub const BUSY_CHECK_MS: i64 = 300_000;
/// Wrap-up never lasts longer than this in all, milliseconds.
pub const WRAP_UP_MAX_MS: i64 = 3_600_000;
/// Queues of one agent at most: it bounds the rows that a state change writes.
pub const MAX_QUEUES: usize = 20;
/// Consoles of one agent that are remembered at most; the one due to lapse first gives way.
pub const MAX_CONSOLES: usize = 4;

/// The timer that takes an unanswered offer back.
pub const TIMER_OFFER: &str = "offer";
/// The timer at which every presence lease has lapsed.
pub const TIMER_PRESENCE: &str = "presence";
/// The timer at which the phone's registration has lapsed.
pub const TIMER_PHONE: &str = "phone";
/// The timer at the end of wrap-up.
pub const TIMER_WRAP_UP: &str = "wrap-up";
/// The timer that looks after a Busy agent's contact.
pub const TIMER_BUSY: &str = "busy-check";

/// The agent machine; its stored state is [`Agent`].
#[derive(Debug, Clone, Copy)]
pub enum AgentMachine {}

impl Machine for AgentMachine {
    const KIND: &'static str = "agent";
    type State = Agent;
    type Input = AgentInput;
    type Fact = AgentFact;
    type Effect = AgentEffect;

    fn step(
        state: Option<&Agent>,
        input: &AgentInput,
        now: Timestamp,
    ) -> Result<Transition<Agent, AgentFact, AgentEffect>, Reject> {
        step::step(state, input, now)
    }

    fn deadlines(state: &Agent) -> BTreeMap<TimerKey, Timestamp> {
        state.deadlines()
    }

    fn rows(state: &Agent) -> BTreeSet<IndexRow> {
        rows::rows(state)
    }
}
