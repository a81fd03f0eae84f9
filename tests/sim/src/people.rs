//! Agents as people: they come, look at their console, pick up, ignore, vanish and leave.

use hotline_base::{ContactId, NodeId, OfferId};
use std::collections::BTreeMap;

use crate::plan::AgentPlan;

/// A console's heartbeat comes this often, milliseconds.
pub const BEAT_MS: i64 = 15_000;
/// A phone refreshes its registration this often, milliseconds.
pub const REGISTER_MS: i64 = 30_000;
/// A registration holds this long, milliseconds.
pub const REGISTERED_MS: i64 = 90_000;
/// People look at their console this often, milliseconds.
pub const LOOK_MS: i64 = 20_000;

/// What an agent's phone is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ear {
    /// It rings.
    Rings,
    /// It was picked up.
    Talks,
}

/// One agent's person, desk and phone.
#[derive(Debug)]
pub struct Person {
    /// Which tenant of the plan.
    pub tenant: usize,
    /// What was planned.
    pub plan: AgentPlan,
    /// At work: phone on, console open.
    pub here: bool,
    /// Gone for good.
    pub left: bool,
    /// The phone's calls: one may talk, others may ring for a moment.
    pub phone: BTreeMap<OfferId, (Ear, NodeId, ContactId)>,
}

impl Person {
    /// Whether console and phone have fallen silent for now.
    pub fn is_silent(&self, at_ms: i64) -> bool {
        self.plan.vanishes.is_some_and(|(from, until)| (from..until).contains(&at_ms))
    }

    /// Whether the phone is off the hook or rings already.
    pub fn is_engaged(&self) -> bool {
        !self.phone.is_empty()
    }
}

/// What an agent's person does at a later moment.
#[derive(Debug, Clone)]
pub enum Act {
    /// Comes to work.
    Come,
    /// The console renews presence.
    Beat,
    /// The phone refreshes its registration.
    Register,
    /// Looks at the console and acts on what it shows.
    Look,
    /// Picks the phone up.
    PickUp(OfferId),
    /// Refuses on the phone.
    Refuse(OfferId),
    /// Refuses on the console.
    Decline(OfferId),
    /// The phone cannot be reached.
    Unreachable(OfferId),
    /// Hangs up.
    HangUp(OfferId),
    /// Does something with the call: holds, asks a colleague, transfers.
    Works(OfferId),
    /// Goes home.
    Leave,
}
