//! What a ticket is asked to do, and the check of what people write.

use hotline_base::{
    AgentId, ContactId, FieldError, Invalid, Name, RecordingId, Redacted, TicketId, TimerKey, Timestamp, UserId,
};
use hotline_sla::{Calendar, Hours, Policy, Priority, Tier};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::state::{NoteKind, Requester, Status, TicketType, Verification};

/// How much a ticket holds.
pub mod bounds {
    /// Characters of a subject.
    pub const SUBJECT_CHARS: usize = 200;
    /// Characters of a note, a promise or a reason.
    pub const TEXT_CHARS: usize = 2_000;
    /// Notes kept in the state; older ones stay in the facts.
    pub const NOTES: usize = 100;
    /// Bytes of notes kept in the state.
    pub const NOTES_BYTES: usize = 96 * 1024;
    /// Contacts of one ticket.
    pub const CONTACTS: usize = 50;
    /// Recordings of one ticket.
    pub const RECORDINGS: usize = 50;
    /// Promises of one ticket.
    pub const PROMISES: usize = 20;
    /// Custom fields of one ticket.
    pub const CUSTOM_FIELDS: usize = 40;
    /// Characters of a custom field's value.
    pub const CUSTOM_CHARS: usize = 500;
    /// Characters of a category or a name.
    pub const LABEL_CHARS: usize = 80;
}

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", content = "user", rename_all = "snake_case")]
pub enum Actor {
    /// The hotline itself.
    System,
    /// Somebody who signed in.
    User(UserId),
}

/// The promises that apply: the policy and the calendar it counts by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Used when a ticket is opened, and kept by it.
    pub policy: Policy,
    /// The calendar the policy names; where it is missing, all time counts.
    pub calendar: Option<Calendar>,
}

impl Terms {
    /// The standard promise over all time.
    pub fn standard() -> Self {
        Self { policy: Policy::standard(None), calendar: None }
    }

    /// Which time counts.
    pub fn hours(&self) -> Hours<'_> {
        self.calendar.as_ref().map_or(Hours::Always, Hours::Business)
    }
}

/// An input to the machine.
#[derive(Clone, Debug, PartialEq)]
pub enum TicketInput {
    /// A timer fired; what is due by the stored clocks is noticed, whichever it was.
    Timer {
        /// Its key.
        key: TimerKey,
    },
    /// Somebody does something.
    Act {
        /// Who.
        by: Actor,
        /// The promises of the tenant now.
        terms: Box<Terms>,
        /// What.
        action: Action,
    },
}

/// What a new ticket starts with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// Its id; [`crate::ticket_of`] for a contact's ticket.
    pub id: TicketId,
    /// When the customer turned to us.
    pub received_at: Timestamp,
    /// One line.
    pub subject: Redacted<String>,
    /// The menu's choice.
    pub category: Option<String>,
    /// What kind of matter.
    pub kind: TicketType,
    /// How soon it matters.
    pub priority: Priority,
    /// Who wants it.
    pub requester: Requester,
    /// Who handled the contact or opened it by hand.
    pub owner: Option<AgentId>,
    /// Where the contact waited.
    pub queue: Option<Name>,
    /// The contact it is about.
    pub contact: Option<ContactId>,
    /// Its recordings.
    pub recordings: Vec<RecordingId>,
    /// When an agent answered; `None` where nobody spoke to the customer.
    pub answered_at: Option<Timestamp>,
    /// The tenant's own fields.
    pub custom: BTreeMap<String, String>,
}

/// Fields to change; what is absent stays.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldChanges {
    /// One line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Redacted<String>>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What kind of matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<TicketType>,
    /// How soon it matters; moves the deadlines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Who wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Requester>,
    /// The tenant's own fields; `null` removes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<String, Option<String>>,
}

/// What somebody does to a ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Opens it, or links one more contact to it where it exists.
    Open(Box<Opening>),
    /// Adds to the work log.
    Comment {
        /// What it is.
        #[serde(default)]
        kind: NoteKind,
        /// The text.
        text: Redacted<String>,
    },
    /// Gives it to somebody; what is absent stays.
    Assign {
        /// The new owner.
        #[serde(default)]
        owner: Option<AgentId>,
        /// The new group.
        #[serde(default)]
        queue: Option<Name>,
        /// The new line of support.
        #[serde(default)]
        tier: Option<Tier>,
    },
    /// Moves it on.
    SetStatus {
        /// Where to.
        status: Status,
    },
    /// Changes fields.
    SetFields(FieldChanges),
    /// Checks the solution; needed before closing.
    Verify(Verification),
    /// Hands it to a higher line of support because of its difficulty.
    Escalate {
        /// Why.
        reason: Redacted<String>,
    },
    /// The customer was answered.
    FirstResponse {
        /// When.
        at: Timestamp,
    },
    /// One more contact is about it.
    LinkContact {
        /// Which.
        contact: ContactId,
    },
    /// A recording belongs to it.
    LinkRecording {
        /// Which.
        recording: RecordingId,
    },
    /// The caller rated the contact.
    Rate {
        /// 1 to 5.
        score: u8,
    },
    /// Promises the customer something.
    Promise {
        /// What.
        text: Redacted<String>,
        /// By when.
        #[serde(default)]
        due: Option<Timestamp>,
    },
    /// A promise was kept.
    KeepPromise {
        /// Its place in the list, from 0.
        index: usize,
    },
}

fn text(field: &str, value: &Redacted<String>, most: usize, errors: &mut Vec<FieldError>) {
    let value = value.expose();
    if value.trim().is_empty() {
        errors.push(FieldError::new(field, "empty; write what it is"));
    } else if value.chars().count() > most {
        errors.push(FieldError::new(field, format!("at most {most} characters")));
    }
}

fn label(field: &str, value: &str, errors: &mut Vec<FieldError>) {
    if value.trim().is_empty() || value.chars().count() > bounds::LABEL_CHARS {
        errors.push(FieldError::new(field, format!("1 to {} characters", bounds::LABEL_CHARS)));
    }
}

fn requester(value: &Requester, errors: &mut Vec<FieldError>) {
    for (part, text) in [("number", &value.number), ("name", &value.name)] {
        if let Some(text) = text {
            label(&format!("requester.{part}"), text.expose(), errors);
        }
    }
}

fn custom_key(key: &str, errors: &mut Vec<FieldError>) {
    let good = (1..=40).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if !good {
        let shown: String = key.chars().take(40).collect();
        errors.push(FieldError::new(format!("custom.{shown}"), "a field's name is 1 to 40 of a-z, 0-9, '_' and '-'"));
    }
}

fn custom_value(key: &str, value: &str, errors: &mut Vec<FieldError>) {
    if value.chars().count() > bounds::CUSTOM_CHARS {
        let message = format!("at most {} characters", bounds::CUSTOM_CHARS);
        errors.push(FieldError::new(format!("custom.{key}"), message));
    }
}

impl TicketInput {
    /// Somebody's action.
    pub fn act(by: Actor, terms: Terms, action: Action) -> Self {
        Self::Act { by, terms: Box::new(terms), action }
    }
}

impl Action {
    /// Every mistake in what was written, with its field.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut errors = Vec::new();
        match self {
            Action::Open(opening) => {
                text("subject", &opening.subject, bounds::SUBJECT_CHARS, &mut errors);
                if let Some(category) = &opening.category {
                    label("category", category, &mut errors);
                }
                requester(&opening.requester, &mut errors);
                if opening.custom.len() > bounds::CUSTOM_FIELDS {
                    errors.push(FieldError::new("custom", format!("at most {} fields", bounds::CUSTOM_FIELDS)));
                }
                for (key, value) in opening.custom.iter().take(bounds::CUSTOM_FIELDS) {
                    custom_key(key, &mut errors);
                    custom_value(key, value, &mut errors);
                }
                if opening.recordings.len() > bounds::RECORDINGS {
                    errors.push(FieldError::new("recordings", format!("at most {}", bounds::RECORDINGS)));
                }
            }
            Action::Comment { text: value, .. } | Action::Promise { text: value, .. } => {
                text("text", value, bounds::TEXT_CHARS, &mut errors);
            }
            Action::Escalate { reason } => text("reason", reason, bounds::TEXT_CHARS, &mut errors),
            Action::SetFields(changes) => {
                if let Some(subject) = &changes.subject {
                    text("subject", subject, bounds::SUBJECT_CHARS, &mut errors);
                }
                if let Some(category) = &changes.category {
                    label("category", category, &mut errors);
                }
                if let Some(value) = &changes.requester {
                    requester(value, &mut errors);
                }
                if changes.custom.len() > bounds::CUSTOM_FIELDS {
                    errors.push(FieldError::new("custom", format!("at most {} fields", bounds::CUSTOM_FIELDS)));
                }
                for (key, value) in changes.custom.iter().take(bounds::CUSTOM_FIELDS) {
                    custom_key(key, &mut errors);
                    if let Some(value) = value {
                        custom_value(key, value, &mut errors);
                    }
                }
            }
            Action::Rate { score } if !(1..=5).contains(score) => {
                errors.push(FieldError::new("score", format!("{score} is not a rating; write 1 to 5")));
            }
            Action::Assign { owner: None, queue: None, tier: None } => {
                errors.push(FieldError::new("owner", "nothing to assign; give an owner, a queue or a tier"));
            }
            _ => {}
        }
        Invalid::check(errors)
    }
}
