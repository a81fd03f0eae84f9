//! What is stored of a contact.

use hotline_base::{AgentId, ContactId, Lang, Name, NodeId, OfferId, RecordingId, Redacted, TenantId, Timestamp};
use hotline_flow::run::{Ask, Cursor, QueueAsk, RingTarget};
use hotline_routing::WaitingEntry;
use hotline_routing::estimate::Announced;
use hotline_wire::legs::DialogRef;
use hotline_wire::node::{Fallback, MediaScript};
use serde::{Deserialize, Serialize};

use crate::{CallbackOrder, EndReason, FlowPin, Leg, PartyLeg, RecordingKind};

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
    /// Where the party's leg is.
    #[serde(default)]
    pub leg: PartyLeg,
    /// What another node needs to take the party's leg over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialog: Option<DialogRef>,
    /// The number of the last input of the node that carries the call.
    #[serde(default)]
    pub seq: u32,
    /// When the present node began to carry it, where that was not its arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchored_at: Option<Timestamp>,
    /// Nodes that were lost under it.
    #[serde(default)]
    pub lost_nodes: u8,
    /// The wait that the last answer ended: where the contact goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_wait: Option<Box<Wait>>,
    /// Transfers so far.
    #[serde(default)]
    pub transfers: u32,
    /// How often a queue left it to machines.
    #[serde(default)]
    pub self_serviced: u8,
    /// What is to be done, where it is a call back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Box<CallbackOrder>>,
    /// Who is counted for it while it lasts; empty: nobody. See [`crate::counted_as`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub counted_as: String,
    /// The leg of somebody outside who talks with the caller after the agent has left them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<OfferId>,
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
        /// Colleagues and supervisors on the call, or rung for it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<Leg>,
        /// Since when the caller is on hold.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<Timestamp>,
        /// The agent is rung again after the call changed nodes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rejoin: Option<Rejoin>,
    },
    /// A party is being called back.
    Dialling {
        /// Its place, should it not be reached.
        wait: Wait,
        /// The agent who is on the line already.
        with: Option<Offer>,
        /// Since when.
        since: Timestamp,
    },
    /// A call back that must not or need not be tried yet.
    Resting {
        /// Its place.
        wait: Wait,
        /// The next try.
        until: Timestamp,
        /// Since when the wait is not counted: nobody may be called, or the party was not reached.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        paused: Option<Timestamp>,
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
    /// An agent sent it here; the flow did not.
    #[serde(default)]
    pub transferred: bool,
}

impl Wait {
    /// A wait that begins now, without an end.
    pub(crate) fn new(place: Place, entry: WaitingEntry, now: Timestamp) -> Self {
        Self {
            place,
            entry,
            until: None,
            looked_at: now,
            announce_at: None,
            told: None,
            overflow_at: None,
            applied: 0,
            moves: 0,
            transferred: false,
        }
    }
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
    /// Where it rings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
    /// What another node needs to take the agent's leg over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialog: Option<DialogRef>,
}

/// An agent is rung again after the call changed nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejoin {
    /// Since when.
    pub since: Timestamp,
    /// What is said from then on is recorded under this id.
    pub record: Option<RecordingId>,
}

/// An agent's phone as it was rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phone {
    /// The SIP user name.
    pub sip_user: String,
    /// Where it is registered.
    pub node: NodeId,
    /// The SIP address of that node, where it is not the one that carries the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
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
    /// The phone, while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
    /// What another node needs to take the agent's leg over, while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialog: Option<DialogRef>,
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
            Phase::Waiting(wait)
            | Phase::Offered { wait, .. }
            | Phase::Dialling { wait, .. }
            | Phase::Resting { wait, .. } => Some(wait),
            _ => None,
        }
    }

    /// Whether an offer brought, or is to bring, somebody outside.
    pub(crate) fn is_outside(&self, offer: OfferId) -> bool {
        let beside = match &self.phase {
            Phase::Talking { others, .. } => others.iter().any(|leg| leg.offer.offer == offer && leg.outside.is_some()),
            _ => false,
        };
        beside || self.outside == Some(offer)
    }

    /// The agent whom an offer brought or is to bring, colleagues and supervisors included;
    /// `None`: the offer has nothing to do with this contact any more.
    pub fn holder(&self, offer: OfferId) -> Option<AgentId> {
        if self.offer() == Some(offer) {
            return self.agent();
        }
        let Phase::Talking { others, .. } = &self.phase else {
            return None;
        };
        let leg = others.iter().find(|leg| leg.offer.offer == offer && leg.outside.is_none());
        leg.map(|leg| leg.offer.agent)
    }

    /// Every open offer and every agent on the call.
    pub fn holders(&self) -> Vec<(OfferId, AgentId)> {
        let mut all: Vec<_> = self.offer().zip(self.agent()).into_iter().collect();
        if let Phase::Talking { others, .. } = &self.phase {
            let agents = others.iter().filter(|leg| leg.outside.is_none());
            all.extend(agents.map(|leg| (leg.offer.offer, leg.offer.agent)));
        }
        all
    }

    /// The agent who is offered the contact or talks.
    pub fn agent(&self) -> Option<AgentId> {
        match &self.phase {
            Phase::Offered { offer, .. } | Phase::Dialling { with: Some(offer), .. } => Some(offer.agent),
            Phase::Talking { interaction, .. } => Some(interaction.agent),
            _ => None,
        }
    }

    /// The offer that is open or brought the agent who talks.
    pub fn offer(&self) -> Option<OfferId> {
        match &self.phase {
            Phase::Offered { offer, .. } | Phase::Dialling { with: Some(offer), .. } => Some(offer.offer),
            Phase::Talking { interaction, .. } => Some(interaction.offer),
            _ => None,
        }
    }
}
