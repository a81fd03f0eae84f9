//! What a ticket is.

use hotline_base::{AgentId, ContactId, Name, PartyId, RecordingId, Redacted, TicketId, Timestamp};
use hotline_sla::{Clock, Policy, Priority, Tier};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

use crate::input::Actor;

/// The id of the ticket that a contact opens: always the same one.
pub fn ticket_of(contact: ContactId) -> TicketId {
    TicketId::from_u128(contact.as_u128())
}

/// What kind of matter it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketType {
    /// A device.
    Hardware,
    /// A program.
    Software,
    /// A connection.
    Network,
    /// A question.
    Consulting,
    /// Something went wrong between us and the customer.
    Complaint,
    /// A wish.
    Suggestion,
    /// Not yet known.
    #[default]
    Other,
}

/// Where the work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody has worked on it.
    #[default]
    New,
    /// In work.
    Open,
    /// Waiting for the customer: the resolution clock is paused.
    Pending,
    /// Solved, to be verified.
    Resolved,
    /// Verified and done.
    Closed,
    /// Solved or closed before, and back.
    Reopened,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 6] =
        [Status::New, Status::Open, Status::Pending, Status::Resolved, Status::Closed, Status::Reopened];

    /// The text used in rows and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::New => "new",
            Status::Open => "open",
            Status::Pending => "pending",
            Status::Resolved => "resolved",
            Status::Closed => "closed",
            Status::Reopened => "reopened",
        }
    }

    /// What may follow.
    pub fn next(self) -> &'static [Status] {
        match self {
            Status::New => &[Status::Open, Status::Pending, Status::Resolved],
            Status::Open | Status::Reopened => &[Status::Pending, Status::Resolved],
            Status::Pending => &[Status::Open, Status::Resolved],
            Status::Resolved => &[Status::Closed, Status::Reopened],
            Status::Closed => &[Status::Reopened],
        }
    }

    /// Whether somebody still has to work on it.
    pub fn is_live(self) -> bool {
        !matches!(self, Status::Resolved | Status::Closed)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who wants it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Requester {
    /// The person, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<PartyId>,
    /// The number they called from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Redacted<String>>,
    /// Their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Redacted<String>>,
}

/// What an entry of the work log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// For colleagues.
    #[default]
    Note,
    /// Something that was done.
    Action,
    /// Something the customer was told: counts as the first response.
    Reply,
}

/// An entry of the work log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Actor,
    /// What it is.
    pub kind: NoteKind,
    /// The text.
    pub text: Redacted<String>,
}

/// Something the customer was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// What.
    pub text: Redacted<String>,
    /// By when, if a time was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_at: Option<Timestamp>,
}

/// Three answers without which a ticket is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// The problem is solved.
    pub solved: bool,
    /// The system works as it should.
    pub system_normal: bool,
    /// Nothing else broke.
    pub no_side_effects: bool,
}

impl Verification {
    /// Whether all three answers are yes.
    pub fn passed(&self) -> bool {
        self.solved && self.system_normal && self.no_side_effects
    }
}

/// A ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Its id.
    pub id: TicketId,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When the customer first turned to us: the SLA clocks start here.
    pub received_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
    /// One line.
    pub subject: Redacted<String>,
    /// What the caller chose in the menu, or an agent found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What kind of matter.
    pub kind: TicketType,
    /// How soon it matters.
    pub priority: Priority,
    /// Where it stands.
    pub status: Status,
    /// Since when it stands there.
    pub status_since: Timestamp,
    /// Which line of support has it.
    pub tier: Tier,
    /// Who wants it.
    pub requester: Requester,
    /// Who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<AgentId>,
    /// Which group has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Name>,
    /// The contacts about it, oldest first.
    #[serde(default)]
    pub contacts: Vec<ContactId>,
    /// Their recordings, oldest first.
    #[serde(default)]
    pub recordings: Vec<RecordingId>,
    /// The newest part of the work log, oldest first; all of it is in the facts.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// Entries that only the facts still hold.
    #[serde(default)]
    pub notes_dropped: u32,
    /// What the customer was promised.
    #[serde(default)]
    pub promises: Vec<Promise>,
    /// The tenant's own fields.
    #[serde(default)]
    pub custom: BTreeMap<String, String>,
    /// The caller's rating, 1 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survey_score: Option<u8>,
    /// The check before closing; forgotten when the ticket comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// How often it came back.
    #[serde(default)]
    pub reopened: u32,
    /// The policy in force when it was opened.
    pub policy: Policy,
    /// Until somebody answers.
    pub response: Clock,
    /// Until it is solved.
    pub resolution: Clock,
}

impl Ticket {
    /// The next deadline that is still open.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let open = |clock: &Clock| clock.met_at().is_none().then(|| clock.deadline()).flatten();
        open(&self.response).into_iter().chain(open(&self.resolution)).min()
    }
}
