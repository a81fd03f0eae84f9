//! The lists a ticket is found in.

use hotline_base::{AgentId, ContactId, IndexRow, Name, Redacted, TicketId, Timestamp};
use hotline_sla::{Priority, Tier};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::state::{Status, Ticket, TicketType};

/// Names of the partitions.
pub mod partition {
    use super::{AgentId, ContactId, Name, Priority, Status};

    /// All tickets by opening time.
    pub const ALL: &str = "tickets";

    /// By next deadline.
    pub fn status(status: Status) -> String {
        format!("tickets/status/{status}")
    }

    /// Live ones, by next deadline.
    pub fn priority(priority: Priority) -> String {
        format!("tickets/priority/{priority}")
    }

    /// Live ones, by next deadline.
    pub fn owner(owner: AgentId) -> String {
        format!("tickets/owner/{owner}")
    }

    /// Live ones, by next deadline.
    pub fn queue(queue: &Name) -> String {
        format!("tickets/queue/{queue}")
    }

    /// By opening time; `None` where the number holds nothing to search by.
    pub fn requester(number: &str) -> Option<String> {
        let kept: String = number
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-' | '_' | '@'))
            .take(60)
            .collect();
        (!kept.is_empty()).then(|| format!("tickets/requester/{kept}"))
    }

    /// The tickets of a contact.
    pub fn contact(contact: ContactId) -> String {
        format!("tickets/contact/{contact}")
    }
}

/// What a list shows of a ticket: the body of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Which.
    pub id: TicketId,
    /// One line.
    pub subject: Redacted<String>,
    /// Where it stands.
    pub status: Status,
    /// How soon it matters.
    pub priority: Priority,
    /// Which line of support has it.
    pub tier: Tier,
    /// What kind of matter.
    pub kind: TicketType,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Who has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<AgentId>,
    /// Which group has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Name>,
    /// The requester's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Redacted<String>>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// The next deadline that is still open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Whether a promise was broken.
    pub breached: bool,
}

impl From<&Ticket> for Summary {
    fn from(ticket: &Ticket) -> Self {
        Self {
            id: ticket.id,
            subject: ticket.subject.clone(),
            status: ticket.status,
            priority: ticket.priority,
            tier: ticket.tier,
            kind: ticket.kind,
            category: ticket.category.clone(),
            owner: ticket.owner,
            queue: ticket.queue.clone(),
            number: ticket.requester.number.clone(),
            created_at: ticket.created_at,
            deadline: ticket.next_deadline(),
            breached: ticket.response.breached_at().is_some() || ticket.resolution.breached_at().is_some(),
        }
    }
}

fn sort(at: Option<Timestamp>, id: TicketId) -> String {
    let ms = at.map_or(9_999_999_999_999, |t| t.as_millis().clamp(0, 9_999_999_999_998));
    format!("{ms:013}/{id}")
}

pub(crate) fn rows(ticket: &Ticket) -> BTreeSet<IndexRow> {
    let summary = Summary::from(ticket);
    let body = serde_json::to_string(&summary).unwrap_or_default();
    let created = sort(Some(ticket.created_at), ticket.id);
    let deadline = sort(summary.deadline, ticket.id);
    let row = |partition: String, sort: &str| IndexRow { partition, sort: sort.into(), body: body.clone() };
    let mut rows =
        BTreeSet::from([row(partition::ALL.into(), &created), row(partition::status(ticket.status), &deadline)]);
    if ticket.status.is_live() {
        rows.insert(row(partition::priority(ticket.priority), &deadline));
        rows.extend(ticket.owner.map(|owner| row(partition::owner(owner), &deadline)));
        rows.extend(ticket.queue.as_ref().map(|queue| row(partition::queue(queue), &deadline)));
    }
    let number = ticket.requester.number.as_ref().and_then(|n| partition::requester(n.expose()));
    rows.extend(number.map(|p| row(p, &created)));
    rows.extend(ticket.contacts.iter().map(|&contact| IndexRow {
        partition: partition::contact(contact),
        sort: ticket.id.to_string(),
        body: format!("{{\"id\":\"{}\"}}", ticket.id),
    }));
    rows
}
