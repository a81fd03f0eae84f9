//! The lifecycle of one contact: the reducer that joins flow, routing and legs.
//!
//! [`ContactMachine`] steps on what the node reports, what routing offers and what timers say.
//! What the node is to play next is not an effect but follows from the state: [`decision`] gives
//! the answer to a node's input, the same for a repeat of it.

mod ending;
mod fact;
mod flowing;
mod input;
mod overflow;
mod queueing;
mod recording;
mod rows;
mod sound;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use fact::{ContactFact, EndReason, Ending, FlowPin, LeftQueue, RecordingKind};
pub use input::{AgentNews, ContactEffect, ContactInput, Event, Saved, Setting};
pub use queueing::caller_key;
pub use rows::{CONTACTS_PARTITION, ContactListing, PhaseName, node_partition, party_partition};
pub use sound::{HOLD_MUSIC_KEY, PromptBook, ringback, silence, special_information};
pub use state::{Contact, Interaction, Offer, Phase, Place, Recording, RecordingStatus, Script, Wait};
pub use step::{decision, fallback};

use hotline_base::{IndexRow, Machine, Reject, TimerKey, Timestamp, Transition};
use std::collections::{BTreeMap, BTreeSet};

/// An offer is taken back this long after its ring time, milliseconds, if nobody said how it
/// ended; sooner than the agent's own backstop.
pub const OFFER_BACKSTOP_MS: i64 = 8_000;
/// A call that lasts so long, milliseconds, is ended: its end must have been lost.
pub const GUARD_MS: i64 = 6 * 3_600_000;
/// A recording that the node has not delivered so long after the end, milliseconds, is lost.
pub const RECORDING_WAIT_MS: i64 = 24 * 3_600_000;

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
