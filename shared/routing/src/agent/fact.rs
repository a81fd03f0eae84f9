//! What happened to an agent, and what is asked of the world.

use hotline_base::{AgentId, ContactId, FactBody, Name, NodeId, OfferId};
use serde::{Deserialize, Serialize};

use super::{OfferOrigin, Reason, Requested, StateName};

/// How an offer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferOutcome {
    /// The agent answered.
    Accepted,
    /// The agent refused.
    Declined,
    /// Nobody answered in time.
    TimedOut,
    /// No phone answered at all.
    Unreachable,
    /// The caller left, or the contact took it back.
    Rescinded,
    /// Every presence lease of the agent lapsed, or the agent signed out.
    PresenceLost,
}

/// What happened to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact")]
pub enum AgentFact {
    /// The profile was set or changed.
    AgentConfigured {
        /// Which agent.
        agent: AgentId,
    },
    /// A state was left and another entered.
    StateEntered {
        /// Which agent.
        agent: AgentId,
        /// The state left.
        from: StateName,
        /// The state entered.
        to: StateName,
        /// How long the state left had lasted, milliseconds.
        for_ms: i64,
        /// Why.
        reason: Reason,
        /// The contact that the states are about.
        contact: Option<ContactId>,
        /// The queue that the states are about.
        queue: Option<Name>,
    },
    /// A state was asked for and will be entered when the present work ends.
    StateRequested {
        /// Which agent.
        agent: AgentId,
        /// Which state.
        to: Requested,
    },
    /// A contact was offered.
    OfferReceived {
        /// Which agent.
        agent: AgentId,
        /// Which offer.
        offer: OfferId,
        /// Which contact.
        contact: ContactId,
        /// For which queue.
        queue: Option<Name>,
        /// How it came about.
        origin: OfferOrigin,
    },
    /// An offer ended, in whichever way.
    OfferClosed {
        /// Which agent.
        agent: AgentId,
        /// Which offer.
        offer: OfferId,
        /// Which contact.
        contact: ContactId,
        /// For which queue.
        queue: Option<Name>,
        /// How.
        outcome: OfferOutcome,
        /// How long it had been open, milliseconds.
        after_ms: i64,
    },
    /// A phone appeared, or moved to another node.
    PhoneRegistered {
        /// Which agent.
        agent: AgentId,
        /// Where.
        node: NodeId,
    },
    /// The phone left or its registration lapsed.
    PhoneLost {
        /// Which agent.
        agent: AgentId,
        /// Where it had been.
        node: NodeId,
    },
    /// A console or phone that was the last sign of presence stopped renewing.
    PresenceLapsed {
        /// Which agent.
        agent: AgentId,
    },
    /// The agent came out of Offline.
    ShiftStarted {
        /// Which agent.
        agent: AgentId,
    },
    /// The agent went Offline.
    ShiftEnded {
        /// Which agent.
        agent: AgentId,
        /// How long the shift was, milliseconds.
        for_ms: i64,
    },
    /// Wrap-up was lengthened.
    WrapUpExtended {
        /// Which agent.
        agent: AgentId,
        /// By how much, milliseconds.
        by_ms: i64,
    },
}

impl FactBody for AgentFact {
    fn name(&self) -> &'static str {
        match self {
            AgentFact::AgentConfigured { .. } => "AgentConfigured",
            AgentFact::StateEntered { .. } => "StateEntered",
            AgentFact::StateRequested { .. } => "StateRequested",
            AgentFact::OfferReceived { .. } => "OfferReceived",
            AgentFact::OfferClosed { .. } => "OfferClosed",
            AgentFact::PhoneRegistered { .. } => "PhoneRegistered",
            AgentFact::PhoneLost { .. } => "PhoneLost",
            AgentFact::PresenceLapsed { .. } => "PresenceLapsed",
            AgentFact::ShiftStarted { .. } => "ShiftStarted",
            AgentFact::ShiftEnded { .. } => "ShiftEnded",
            AgentFact::WrapUpExtended { .. } => "WrapUpExtended",
        }
    }
}

/// What an agent's step asks of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum AgentEffect {
    /// The agent is free: look for a contact in each of these queues, in this order.
    MatchAgent {
        /// Which agent.
        agent: AgentId,
        /// Most preferred first.
        queues: Vec<Name>,
    },
    /// The offer ended on the agent's side: tell the contact, which returns to the head of its queue.
    ReturnContact {
        /// Which offer.
        offer: OfferId,
        /// Which contact.
        contact: ContactId,
        /// Why.
        outcome: OfferOutcome,
    },
    /// Look the contact up: send `ContactAlive` if it still talks under this offer, `ContactEnded` if not.
    CheckContact {
        /// Which agent.
        agent: AgentId,
        /// The offer that brought it.
        offer: OfferId,
        /// Which contact.
        contact: ContactId,
    },
}
