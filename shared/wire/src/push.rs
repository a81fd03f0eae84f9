//! What the WebSocket tells consoles, and what consoles say.

use hotline_base::{AgentId, ContactId, Name, OfferId, RecordingId, Redacted, TicketId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A live event. Repeats and gaps are possible: whoever needs certainty reads the resource again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PushEvent {
    /// An offer to an agent changed; goes to that agent and to supervisors.
    Offer {
        /// When, milliseconds since the epoch.
        #[schema(value_type = i64)]
        at: Timestamp,
        /// Which offer.
        #[schema(value_type = String)]
        offer: OfferId,
        /// To whom.
        #[schema(value_type = String)]
        agent: AgentId,
        /// Which contact.
        #[schema(value_type = String)]
        contact: ContactId,
        /// For which queue.
        #[schema(value_type = Option<String>)]
        queue: Option<Name>,
        /// What became of it.
        change: OfferChange,
    },
    /// A contact came to a queue or left it; goes to supervisors and to the queue's agents.
    Queue {
        /// When, milliseconds since the epoch.
        #[schema(value_type = i64)]
        at: Timestamp,
        /// Which queue.
        #[schema(value_type = String)]
        queue: Name,
        /// Which contact.
        #[schema(value_type = String)]
        contact: ContactId,
        /// What happened.
        change: QueueChange,
    },
    /// A step in a contact's journey; goes to supervisors.
    Contact {
        /// When, milliseconds since the epoch.
        #[schema(value_type = i64)]
        at: Timestamp,
        /// Which contact.
        #[schema(value_type = String)]
        contact: ContactId,
        /// The fact's name, such as `LegsBridged`.
        fact: String,
    },
    /// An agent's state changed; goes to that agent and to supervisors.
    Agent {
        /// When, milliseconds since the epoch.
        #[schema(value_type = i64)]
        at: Timestamp,
        /// Which agent.
        #[schema(value_type = String)]
        agent: AgentId,
        /// The state entered, such as `available`.
        state: String,
        /// Why.
        reason: String,
    },
    /// Something happened to a ticket; goes to its owner and to supervisors.
    Ticket {
        /// When, milliseconds since the epoch.
        #[schema(value_type = i64)]
        at: Timestamp,
        /// Which ticket.
        #[schema(value_type = String)]
        ticket: TicketId,
        /// The fact's name, such as `SlaReminderDue`.
        fact: String,
        /// The deadline that the fact is about.
        #[schema(value_type = Option<i64>)]
        deadline: Option<Timestamp>,
    },
    /// A threshold of a queue was passed, or an alarm is over; goes to supervisors.
    Alarm {
        /// When, milliseconds since the epoch.
        #[schema(value_type = i64)]
        at: Timestamp,
        /// Which queue.
        #[schema(value_type = String)]
        queue: Name,
        /// `waiting`, `longest-wait-s`, `service-level-pct` or `abandoned-pct`.
        metric: String,
        /// Raised; otherwise cleared.
        raised: bool,
        /// The value that counts as bad.
        raise: u32,
        /// The value found; absent where there is none any more.
        value: Option<u32>,
    },
    /// A recording can be played; goes to supervisors.
    Recording {
        /// When, milliseconds since the epoch.
        #[schema(value_type = i64)]
        at: Timestamp,
        /// Which recording.
        #[schema(value_type = String)]
        recording: RecordingId,
        /// Of which contact.
        #[schema(value_type = String)]
        contact: ContactId,
        /// Whether it can be played.
        saved: bool,
    },
    /// The answer to a heartbeat.
    Alive {
        /// The hotline's time, milliseconds since the epoch.
        #[schema(value_type = i64)]
        at: Timestamp,
    },
    /// A message from the console was not understood.
    Misunderstood {
        /// What to send instead.
        detail: String,
    },
}

/// What became of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum OfferChange {
    /// It was made: the phone will ring.
    Made {
        /// Shown to the agent.
        #[schema(value_type = String)]
        caller: Redacted<String>,
        /// What the caller chose.
        category: Option<String>,
        /// The caller's wait so far, milliseconds.
        wait_ms: i64,
    },
    /// The agent answered.
    Accepted,
    /// It ended otherwise: `declined`, `timed-out`, `unreachable`, `rescinded`.
    Closed {
        /// How.
        outcome: String,
    },
    /// The conversation is over.
    Ended,
}

/// What happened in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueChange {
    /// A contact came.
    Enqueued,
    /// An agent took it.
    Answered,
    /// The caller gave up.
    Abandoned,
    /// It went on in the flow.
    Left,
}

/// What a console sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ConsoleMessage {
    /// Every 20 s: the console is open; renews the agent's presence.
    Heartbeat {
        /// Whether its microphone can be used; left out where the agent has a telephone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        microphone: Option<bool>,
    },
}
