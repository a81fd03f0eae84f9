//! What is stored of legs beside the first agent's, and of call backs.

use hotline_base::{AgentId, ContactId, Name, NodeId, Redacted, Timestamp, UserId};
use hotline_wire::legs::{Arrangement, CallerMode, LegMode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::{Contact, Offer, Phase, Wait};

/// Colleagues and supervisors on one call at most.
pub const MAX_LEGS: usize = 4;

/// Where the party's leg is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "leg", rename_all = "snake_case")]
pub enum PartyLeg {
    /// On the node that carries the call.
    #[default]
    Here,
    /// Nowhere: the party is to be called back.
    Absent,
    /// On its way from a lost node to the present one.
    Moving {
        /// The lost node.
        from: NodeId,
        /// Since when.
        since: Timestamp,
    },
}

/// A leg beside that of the agent who has the call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// What rang, or rings, the phone.
    pub offer: Offer,
    /// What for.
    pub role: LegRole,
    /// For which queue the colleague was found.
    pub queue: Option<Name>,
    /// Since when it is on the call; `None`: it rings.
    pub joined_at: Option<Timestamp>,
    /// Somebody outside, by this number; the offer's agent is nobody then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<Redacted<String>>,
}

/// What a leg is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum LegRole {
    /// Advises the agent while the caller is on hold.
    Consulted,
    /// Talks with agent and caller.
    Conferenced,
    /// Supervises.
    Supervisor {
        /// How.
        mode: SuperviseMode,
    },
}

/// How somebody supervises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuperviseMode {
    /// Hears everybody, is heard by nobody.
    Listen,
    /// Is heard by the agent only.
    Whisper,
    /// Is heard by everybody.
    Barge,
}

/// What a call back is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallbackOrder {
    /// The contact that it was promised to; `None`: asked for otherwise.
    pub of: Option<ContactId>,
    /// Which queue calls.
    pub queue: Name,
    /// The moment from which its place counts.
    pub since: Timestamp,
    /// The moment from which its wait counts; `None`: as its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered: Option<Timestamp>,
    /// How long it had waited when the party was dialled first, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<i64>,
    /// The first call was lost with its node: the party is told.
    pub lost_call: bool,
    /// How often the party was dialled.
    #[serde(default)]
    pub tries: u8,
    /// The party has answered, and has confirmed where it is asked to.
    #[serde(default)]
    pub reached: bool,
    /// The contact's flow is one for parties that are called back: it is gone through when the party answers.
    #[serde(default)]
    pub asks: bool,
    /// The place that the party gets when it has confirmed to be there; `None`: it is not being asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Box<Wait>>,
    /// Given up then.
    pub expires: Timestamp,
}

/// Whereto a caller is transferred.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum TransferTarget {
    /// Whoever serves a queue.
    Queue {
        /// Which.
        queue: Name,
    },
    /// A certain agent.
    Agent {
        /// Whom.
        agent: AgentId,
        /// As flows name the agent.
        name: Name,
    },
    /// A number outside.
    Number {
        /// In international form.
        number: Redacted<String>,
    },
}

/// How a transfer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferKind {
    /// At once.
    Blind,
    /// To the next line of support.
    Tier,
    /// By the agent's phone (REFER).
    Phone,
    /// After a talk with the colleague.
    Consultative,
}

/// Who hears whom; `None` where the node's own joining of two legs is right.
pub(crate) fn arrangement(contact: &Contact) -> Option<Arrangement> {
    let Phase::Talking { interaction, others, held, rejoin: None, .. } = &contact.phase else {
        return None;
    };
    if contact.leg != PartyLeg::Here {
        return None;
    }
    let consults = others.iter().any(|leg| leg.role == LegRole::Consulted);
    let caller = if held.is_some() || consults {
        CallerMode::Held { music: contact.fallback.music.clone() }
    } else {
        CallerMode::Talks
    };
    let mut agents = BTreeMap::from([(interaction.offer, LegMode::Talks)]);
    let joined = others.iter().filter(|leg| leg.joined_at.is_some());
    agents.extend(joined.map(|leg| (leg.offer.offer, mode(leg.role, interaction.offer))));
    Some(Arrangement { caller, agents })
}

/// The arrangement from the moment at which a leg that rings will be answered.
pub(crate) fn arrangement_with(contact: &Contact, leg: &Leg) -> Option<Arrangement> {
    let mut with = arrangement(contact)?;
    let Phase::Talking { interaction, .. } = &contact.phase else { return None };
    with.agents.insert(leg.offer.offer, mode(leg.role, interaction.offer));
    Some(with)
}

fn mode(role: LegRole, main: hotline_base::OfferId) -> LegMode {
    match role {
        LegRole::Consulted | LegRole::Conferenced | LegRole::Supervisor { mode: SuperviseMode::Barge } => {
            LegMode::Talks
        }
        LegRole::Supervisor { mode: SuperviseMode::Listen } => LegMode::Listens,
        LegRole::Supervisor { mode: SuperviseMode::Whisper } => LegMode::Whispers { to: main },
    }
}

/// Who asked for something: a person who signed in.
pub type By = UserId;
