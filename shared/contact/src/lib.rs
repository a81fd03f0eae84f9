//! The lifecycle of one contact: the reducer that joins flow, routing and legs.
//!
//! [`ContactMachine`] steps on what the node reports, what routing offers and what timers say.
//! What the node is to play next is not an effect but follows from the state: [`decision`] gives
//! the answer to a node's input, the same for a repeat of it.

mod callback;
mod desk;
mod ending;
mod fact;
mod flowing;
mod input;
mod legs;
mod losing;
mod overflow;
mod queueing;
mod reasons;
mod recording;
mod refused;
mod rows;
mod sound;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod transfer;

pub use fact::ContactFact;
pub use input::{
    AgentNews, CallbackView, ContactEffect, ContactInput, DeskAction, Event, NewCallback, NewLeg, Saved, Setting,
};
pub use legs::{By, CallbackOrder, Leg, LegRole, MAX_LEGS, PartyLeg, SuperviseMode, TransferKind, TransferTarget};
pub use queueing::caller_key;
pub use reasons::{
    CallbackEnd, CallbackRefusal, EndReason, EndedLeg, Ending, FlowPin, LeftQueue, LegFailure, RecordingKind,
};
pub use refused::{CallLimit, CallRefused};
pub use rows::{
    CALLBACKS_PARTITION, CONTACTS_PARTITION, CONTACTS_SHARDS, ContactListing, PhaseName, callbacks_partition,
    live_partition, node_partition, party_partition,
};
pub use sound::{HOLD_MUSIC_KEY, PromptBook, ringback, silence, special_information};
pub use state::{Contact, Interaction, Offer, Phase, Phone, Place, Recording, RecordingStatus, Rejoin, Script, Wait};
pub use step::{counted_as, decision, fallback};

use hotline_base::{IndexRow, Machine, Reject, TimerKey, Timestamp, Transition};
use std::collections::{BTreeMap, BTreeSet};

/// An offer is taken back this long after its ring time, milliseconds, if nobody said how it
/// ended; sooner than the agent's own backstop.
pub const OFFER_BACKSTOP_MS: i64 = 8_000;
/// A call that lasts so long, milliseconds, is ended: its end must have been lost.
pub const GUARD_MS: i64 = 6 * 3_600_000;
/// A recording that the node has not delivered so long after the end, milliseconds, is lost.
pub const RECORDING_WAIT_MS: i64 = 24 * 3_600_000;
/// A call that another node is asked to take over is given up after this, milliseconds.
pub const MOVE_LIMIT_MS: i64 = 10_000;
/// An agent whose call changed nodes is rung again for so long, milliseconds.
pub const REJOIN_MS: i64 = 8_000;
/// So much earlier is placed who was lost with a node, milliseconds.
pub const LOST_CREDIT_MS: i64 = 3_600_000;
/// Nodes that may be lost under one call before it is called back instead.
pub const MAX_LOST_NODES: u8 = 3;
/// A call back that never had its turn is given up after this, milliseconds.
pub const CALLBACK_LIFE_MS: i64 = 3 * 86_400_000;
/// Open call backs of one number at most.
pub const MAX_CALLBACKS_PER_CALLER: u32 = 2;
/// Open call backs of one tenant at most; those of lost calls are made beyond it.
pub const MAX_CALLBACKS_PER_TENANT: u32 = 500;

/// The timer that takes an unanswered offer back.
pub const TIMER_OFFER: &str = "offer";
/// The timer at the end of the longest wait.
pub const TIMER_WAIT: &str = "queue-wait";
/// The timer at which more agents qualify than before.
pub const TIMER_REMATCH: &str = "rematch";
/// The timer that brings announcements up to date.
pub const TIMER_ANNOUNCE: &str = "announce";
/// The timer at which the queue's overflow rules are looked at.
pub const TIMER_OVERFLOW: &str = "overflow";
/// The timer that ends calls whose end was lost.
pub const TIMER_GUARD: &str = "guard";
/// The timer that gives up dialling whose end was lost.
pub const TIMER_DIAL: &str = "dial";
/// The timer of a call back's next attempt.
pub const TIMER_RETRY: &str = "retry";
/// The timer that gives up on another node taking a call over.
pub const TIMER_MOVE: &str = "move";
/// The timer that gives up on an agent coming back onto a call that changed nodes.
pub const TIMER_REJOIN: &str = "rejoin";
/// The timer that gives up on recordings.
pub const TIMER_RECORDING: &str = "recording";

/// The contact machine; its stored state is [`Contact`].
#[derive(Debug, Clone, Copy)]
pub enum ContactMachine {}

impl Machine for ContactMachine {
    const KIND: &'static str = "contact";
    type State = Contact;
    type Input = ContactInput;
    type Fact = ContactFact;
    type Effect = ContactEffect;

    fn step(
        state: Option<&Contact>,
        input: &ContactInput,
        now: Timestamp,
    ) -> Result<Transition<Contact, ContactFact, ContactEffect>, Reject> {
        step::step(state, input, now)
    }

    fn deadlines(state: &Contact) -> BTreeMap<TimerKey, Timestamp> {
        rows::deadlines(state)
    }

    fn rows(state: &Contact) -> BTreeSet<IndexRow> {
        rows::rows(state)
    }
}
