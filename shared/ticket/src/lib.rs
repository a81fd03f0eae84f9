//! Tickets: what a caller wants done, who does it by when, and how it went.
//!
//! One state machine, [`TicketMachine`]. The ticket of a contact has an id derived from the
//! contact's, so that a repeated end of the contact opens it once. Its two SLA clocks run by the
//! [`Terms`] that come with every input; what is due at an input's time is noticed before the
//! input is applied, so a breach never depends on when a timer fired.

mod fact;
mod input;
mod machine;
mod rows;
mod state;

pub use fact::TicketFact;
pub use input::{Action, Actor, FieldChanges, Opening, Terms, TicketInput, bounds};
pub use machine::{TicketEffect, TicketMachine, timer};
pub use rows::{Summary, partition};
pub use state::{Note, NoteKind, Promise, Requester, Status, Ticket, TicketType, Verification, ticket_of};
