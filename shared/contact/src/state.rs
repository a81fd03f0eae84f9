//! What is stored of a contact.

use hotline_base::{AgentId, ContactId, Lang, Name, NodeId, OfferId, RecordingId, Redacted, TenantId, Timestamp};
use hotline_flow::run::{Ask, Cursor, QueueAsk, RingTarget};
use hotline_routing::WaitingEntry;
use hotline_routing::estimate::Announced;
use hotline_wire::node::{Fallback, MediaScript};
use serde::{Deserialize, Serialize};

use crate::{EndReason, FlowPin, RecordingKind};

/// Conversations remembered with their details; older ones only count.
pub const MAX_INTERACTIONS: usize = 20;
/// Recordings of one contact.
pub const MAX_RECORDINGS: usize = 40;

/// One contact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub id: ContactId,
    /// The node that carries the call.
    pub node: NodeId,
    /// The dialled number.
    pub did: String,
    /// The caller's number; empty where withheld.
    pub from: Redacted<String>,
    /// The caller's display name; empty where absent.
    pub display_name: Redacted<String>,
    /// When it came.
    pub arrived_at: Timestamp,
    /// What it runs.
    pub flow: FlowPin,
    /// Where it stands in the flow.
    pub cursor: Cursor,
    /// What it does.
    pub phase: Phase,
    /// What the node plays, or should.
    pub script: Script,
    /// What the node does while decisions fail.
    pub fallback: Fallback,
    /// The answer to the INVITE is part of a script already.
    pub answered: bool,
    /// Commands sent to nodes so far; numbers their ids.
    pub commands: u32,
    /// Hooks asked so far; an answer names the one it belongs to.
    pub hooks: u32,
    /// Conversations, the last ones with details.
    pub interactions: Vec<Interaction>,
    /// Conversations in all.
    pub interaction_count: u32,
    /// Recordings.
    pub recordings: Vec<Recording>,
    /// An agent whom the node joined after the offer was gone; released, not yet confirmed.
    #[serde(default)]
    pub stray: Option<OfferId>,
    /// When an agent answered first.
    #[serde(default)]
    pub answered_at: Option<Timestamp>,
    /// In queues before the present wait, milliseconds.
    pub waited_ms: i64,
    /// With agents before the present talk, milliseconds.
    pub talked_ms: i64,
    /// The last queue.
    pub queue: Option<Name>,
    /// A message was left.
    pub voicemail: bool,
    /// A call back was promised.
    pub callback: bool,
    /// The last score.
    pub survey: Option<u8>,
}

/// What a contact does. It is in exactly one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// The flow waits for the caller or for the world.
    InFlow {
        /// For what.
        ask: Ask,
    },
    /// Waits for an agent.
    Waiting(Wait),
    /// An agent's phone is asked to ring.
    Offered {
        /// The wait that goes on.
        wait: Wait,
        /// The offer.
        offer: Offer,
    },
    /// Talks with an agent.
    Talking {
        /// Since when.
        since: Timestamp,
        /// Who, and for which queue.
        interaction: Interaction,
    },
    /// Over.
    Ended {
        /// When.
        at: Timestamp,
        /// How.
        reason: EndReason,
    },
}

/// A wait for an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// For whom.
    pub place: Place,
    /// Its place in the order, as in the waiting row.
    pub entry: WaitingEntry,
    /// The flow goes on after this; `None`: never.
    pub until: Option<Timestamp>,
    /// When its chances were looked at last.
    pub looked_at: Timestamp,
    /// When announcements are brought up to date; `None`: they say no numbers.
    pub announce_at: Option<Timestamp>,
    /// What the caller was told of the wait.
    #[serde(default)]
    pub told: Option<Announced>,
    /// When the queue's overflow rules are looked at next; `None`: none can apply any more.
    #[serde(default)]
    pub overflow_at: Option<Timestamp>,
    /// A bit for each overflow rule of the queue that was applied.
    #[serde(default)]
    pub applied: u32,
    /// Queues that sent it on.
    #[serde(default)]
    pub moves: u8,
}

/// For whom a contact waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "place", rename_all = "snake_case")]
pub enum Place {
    /// Anybody who serves the queue.
    Queue {
        /// As the flow asked.
        ask: Box<QueueAsk>,
    },
    /// A certain agent, or any of a group.
    Direct {
        /// Whom.
        target: RingTarget,
        /// How long each phone may ring.
        ring_timeout_ms: u32,
    },
}

impl Place {
    /// The queue, where it is one.
    pub fn queue(&self) -> Option<&Name> {
        match self {
            Place::Queue { ask } => Some(&ask.queue),
            Place::Direct { .. } => None,
        }
    }
}

/// An open offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Which.
    pub offer: OfferId,
    /// To whom.
    pub agent: AgentId,
    /// When.
    pub made_at: Timestamp,
    /// The phone stops ringing then.
    pub rings_until: Timestamp,
    /// The phone said that it rings.
    pub ringing: bool,
    /// The conversation will be recorded under this id.
    pub record: Option<RecordingId>,
}

/// A conversation with an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interaction {
    /// The offer that brought it.
    pub offer: OfferId,
    /// Who.
    pub agent: AgentId,
    /// For which queue; `None`: rung directly.
    pub queue: Option<Name>,
    /// How long it lasted, milliseconds; 0 while it lasts.
    pub talk_ms: i64,
}

/// A recording of this contact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// Which.
    pub recording: RecordingId,
    /// Of what.
    pub kind: RecordingKind,
    /// Of whose talk.
    pub agent: Option<AgentId>,
    /// How far it is.
    pub status: RecordingStatus,
}

/// How far a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingStatus {
    /// The node has it.
    Running,
    /// The node delivered it; it is being composed.
    Delivered,
    /// It can be played.
    Saved,
    /// It is lost.
    Failed,
}

/// What the node plays, or should.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// Counts up with each script.
    pub number: u32,
    /// `3:main/menu`: number and place in the flow.
    pub label: String,
    /// The verbs.
    pub verbs: MediaScript,
    /// The number of the node's input that this script answers; `None`: it went as a command.
    pub answers: Option<u32>,
}

impl Contact {
    /// Whether the call is still there.
    pub fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Ended { .. })
    }

    /// The caller's language.
    pub fn lang(&self) -> Lang {
        self.cursor.lang
    }

    /// The wait, open offers included.
    pub fn wait(&self) -> Option<&Wait> {
        match &self.phase {
            Phase::Waiting(wait) | Phase::Offered { wait, .. } => Some(wait),
            _ => None,
        }
    }

    /// The agent who is offered the contact or talks.
    pub fn agent(&self) -> Option<AgentId> {
        match &self.phase {
            Phase::Offered { offer, .. } => Some(offer.agent),
            Phase::Talking { interaction, .. } => Some(interaction.agent),
            _ => None,
        }
    }

    /// The offer that is open or brought the agent who talks.
    pub fn offer(&self) -> Option<OfferId> {
        match &self.phase {
            Phase::Offered { offer, .. } => Some(offer.offer),
            Phase::Talking { interaction, .. } => Some(interaction.offer),
            _ => None,
        }
    }
}
