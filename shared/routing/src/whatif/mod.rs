//! What would have happened under other rules: a recorded period run again through the router.
//!
//! The calls, the staff and the handle times are the recorded ones; who is offered what is decided
//! by the same [`crate::search`] and [`crate::select`] that decide live calls, with a virtual clock.
//!
//! What is taken over and what is assumed:
//!
//! * A call comes when it came, with its credit and language. A later stay of the same call (a
//!   transfer) begins after the end of the stay before it, with the recorded pause.
//! * Ring, talk and wrap-up last as recorded; a call that was never answered gets those of another
//!   call of its queue, picked by its id. Every offer is answered.
//! * Patience: a caller who left leaves at the same wait again. For one who was answered it is only
//!   known that the patience was longer; it is drawn from the Kaplan-Meier estimate of its queue,
//!   given the wait that was seen, by a number that follows from the call's id.
//! * An agent is there when they were staffed, and finishes the call at hand. Affinity to the last
//!   agent, agents who gave a contact back, and limits per caller are not repeated.
//!
//! A rerun under the rules of the day beside what was recorded shows how good the model is.

mod engine;
mod figures;
mod moment;
mod patience;
mod rules;

pub use figures::{Column, Interval, QueueColumn, nearest_rank, recorded};
pub use moment::Moment;
pub use rules::{AgentRule, Changed, Rules, Staffing};

use hotline_base::{AgentId, ContactId, Lang, Name, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::QueueConfig;
use crate::skill::Skills;

/// Calls of one rerun at most.
pub const MAX_CALLS: usize = 100_000;
/// Agents of one rerun at most, added ones included.
pub const MAX_AGENTS: usize = 20_000;
/// The longest period of one rerun, milliseconds: a week.
pub const MAX_PERIOD_MS: i64 = 7 * 86_400_000;

/// How a stay in a queue ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum Seen {
    /// An agent answered.
    Answered {
        /// From entering the queue to the answer, milliseconds.
        wait_ms: i64,
        /// From the last offer to the answer, milliseconds.
        ring_ms: i64,
        /// With the agent, milliseconds.
        talk_ms: i64,
        /// The agent's wrap-up, milliseconds; `None` where it is not known.
        wrap_ms: Option<i64>,
    },
    /// The caller left.
    Abandoned {
        /// After so many milliseconds.
        wait_ms: i64,
    },
    /// The flow or the caller's key took it out of the queue.
    Left {
        /// After so many milliseconds.
        wait_ms: i64,
    },
    /// An overflow rule sent it on; it would have waited longer.
    Overflowed {
        /// After so many milliseconds.
        wait_ms: i64,
    },
    /// It was cut short: the call was lost, or is not over.
    Cut {
        /// After so many milliseconds.
        wait_ms: i64,
    },
}

impl Seen {
    /// How long it waited, milliseconds.
    pub fn wait_ms(&self) -> i64 {
        match self {
            Seen::Answered { wait_ms, .. }
            | Seen::Abandoned { wait_ms }
            | Seen::Left { wait_ms }
            | Seen::Overflowed { wait_ms }
            | Seen::Cut { wait_ms } => (*wait_ms).max(0),
        }
    }
}

/// One stay of a call in a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Which queue.
    pub queue: Name,
    /// When it came there.
    pub at: Timestamp,
    /// Milliseconds of earlier waiting that count.
    pub kept_ms: i64,
    /// Milliseconds by which it is placed earlier.
    pub credit_ms: i64,
    /// How it ended.
    pub seen: Seen,
}

/// A recorded call with its stays in queues, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Which contact.
    pub contact: ContactId,
    /// The caller's language.
    pub lang: Option<Lang>,
    /// Its stays.
    pub visits: Vec<Visit>,
}

/// A stretch in which an agent was there for contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// From.
    pub from: Timestamp,
    /// To.
    pub to: Timestamp,
}

/// An agent of the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub agent: AgentId,
    /// The name that rules may use: the SIP user name.
    pub name: String,
    /// Skills and levels.
    pub skills: Skills,
    /// Queues served, with their preference (lower first).
    pub queues: BTreeMap<Name, u8>,
    /// When they were there.
    pub shifts: Vec<Shift>,
    /// Talking, ringing or wrapping up in the period, milliseconds, as recorded.
    pub occupied_ms: i64,
}

/// A recorded period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// Calls that came from here on
    pub from: Timestamp,
    /// and before this.
    pub to: Timestamp,
    /// The calls, any order.
    pub calls: Vec<Call>,
    /// The agents, any order.
    pub staff: Vec<Member>,
}

/// Runs a period again under these rules. The same input gives the same figures.
pub fn rerun(period: &Period, queues: &BTreeMap<Name, QueueConfig>, staff: &[Member]) -> Column {
    engine::Engine::new(period, queues, staff).run()
}

#[cfg(test)]
mod tests;
