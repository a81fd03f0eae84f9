//! What happened to a ticket.

use hotline_base::{AgentId, ContactId, FactBody, Name, RecordingId, Redacted, TicketId, Timestamp};
use hotline_sla::{Goal, Priority, Tier};
use serde::{Deserialize, Serialize};

use crate::input::{Actor, FieldChanges};
use crate::state::{NoteKind, Status, TicketType, Verification};

/// A ticket's history, past tense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact")]
pub enum TicketFact {
    /// It exists.
    TicketOpened {
        /// Which.
        ticket: TicketId,
        /// Who opened it.
        by: Actor,
        /// The contact it is about.
        contact: Option<ContactId>,
        /// What it is about.
        category: Option<String>,
        /// What kind of matter.
        kind: TicketType,
        /// How soon it matters.
        priority: Priority,
        /// Which group has it.
        queue: Option<Name>,
        /// Who has it.
        owner: Option<AgentId>,
    },
    /// One more contact is about it.
    ContactLinked {
        /// Which.
        contact: ContactId,
    },
    /// A recording belongs to it.
    RecordingLinked {
        /// Which.
        recording: RecordingId,
    },
    /// The work log grew.
    TicketCommented {
        /// Who wrote.
        by: Actor,
        /// What it is.
        kind: NoteKind,
        /// The text.
        text: Redacted<String>,
    },
    /// Somebody else has it.
    TicketAssigned {
        /// Who gave it.
        by: Actor,
        /// Who has it now.
        owner: Option<AgentId>,
        /// Which group has it now.
        queue: Option<Name>,
        /// Which line of support has it now.
        tier: Tier,
    },
    /// It went to a higher line of support.
    TicketEscalated {
        /// From.
        from: Tier,
        /// To.
        to: Tier,
        /// Whose it was.
        owner_before: Option<AgentId>,
        /// `response-breach`, `resolution-breach`, or what a person wrote.
        reason: Redacted<String>,
    },
    /// It moved on.
    StatusChanged {
        /// Who moved it.
        by: Actor,
        /// From.
        from: Status,
        /// To.
        to: Status,
        /// How long it was in the former status, milliseconds.
        for_ms: i64,
    },
    /// Fields were changed.
    FieldsChanged {
        /// Who changed them.
        by: Actor,
        /// To what.
        changes: FieldChanges,
    },
    /// The solution was checked.
    TicketVerified {
        /// Who checked.
        by: Actor,
        /// The answers.
        answers: Verification,
    },
    /// The caller rated it.
    TicketRated {
        /// 1 to 5.
        score: u8,
    },
    /// The customer was promised something.
    PromiseMade {
        /// Who promised.
        by: Actor,
        /// What.
        text: Redacted<String>,
        /// By when.
        due: Option<Timestamp>,
    },
    /// A promise was kept.
    PromiseKept {
        /// Its place in the list.
        index: usize,
    },
    /// A clock runs, from now or again.
    SlaStarted {
        /// Which promise.
        goal: Goal,
        /// Its deadline.
        deadline: Timestamp,
    },
    /// A clock waits for the customer.
    SlaPaused {
        /// Which promise.
        goal: Goal,
    },
    /// A deadline comes near.
    SlaReminderDue {
        /// Which promise.
        goal: Goal,
        /// Its deadline.
        deadline: Timestamp,
        /// Whom to remind.
        owner: Option<AgentId>,
    },
    /// A deadline passed.
    SlaBreached {
        /// Which promise.
        goal: Goal,
        /// Which moment.
        deadline: Timestamp,
        /// How soon it mattered.
        priority: Priority,
    },
    /// A promise was fulfilled.
    SlaMet {
        /// Which promise.
        goal: Goal,
        /// When.
        at: Timestamp,
        /// Counted time it took, milliseconds.
        took_ms: i64,
        /// Whether the deadline had passed.
        late: bool,
    },
}

impl FactBody for TicketFact {
    fn name(&self) -> &'static str {
        match self {
            TicketFact::TicketOpened { .. } => "TicketOpened",
            TicketFact::ContactLinked { .. } => "ContactLinked",
            TicketFact::RecordingLinked { .. } => "RecordingLinked",
            TicketFact::TicketCommented { .. } => "TicketCommented",
            TicketFact::TicketAssigned { .. } => "TicketAssigned",
            TicketFact::TicketEscalated { .. } => "TicketEscalated",
            TicketFact::StatusChanged { .. } => "StatusChanged",
            TicketFact::FieldsChanged { .. } => "FieldsChanged",
            TicketFact::TicketVerified { .. } => "TicketVerified",
            TicketFact::TicketRated { .. } => "TicketRated",
            TicketFact::PromiseMade { .. } => "PromiseMade",
            TicketFact::PromiseKept { .. } => "PromiseKept",
            TicketFact::SlaStarted { .. } => "SlaStarted",
            TicketFact::SlaPaused { .. } => "SlaPaused",
            TicketFact::SlaReminderDue { .. } => "SlaReminderDue",
            TicketFact::SlaBreached { .. } => "SlaBreached",
            TicketFact::SlaMet { .. } => "SlaMet",
        }
    }
}
