//! What is stored about an agent.

use hotline_base::{AgentId, ContactId, Name, NodeId, OfferId, Redacted, TimerKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

use super::{
    BUSY_CHECK_MS, OFFER_BACKSTOP_MS, Requested, TIMER_BUSY, TIMER_OFFER, TIMER_PHONE, TIMER_PRESENCE, TIMER_WRAP_UP,
    Window,
};
use crate::queue::Selection;
use crate::skill::Skills;

/// Who the agent is and what they may take; changed by administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProfile {
    /// Which agent.
    pub agent: AgentId,
    /// Shown to colleagues.
    pub display_name: Redacted<String>,
    /// The SIP user name of their phone.
    pub sip_user: String,
    /// Takes calls, so needs a phone to be Available.
    #[serde(default = "yes")]
    pub voice: bool,
    /// What fits beside the one call.
    #[serde(default)]
    pub capacity: Capacity,
    /// Skills and levels.
    #[serde(default)]
    pub skills: Skills,
    /// Queues served, at most [`super::MAX_QUEUES`].
    #[serde(default)]
    pub queues: BTreeMap<Name, Membership>,
    /// Groups that a flow can ring as one.
    #[serde(default)]
    pub groups: Vec<Name>,
}

fn yes() -> bool {
    true
}

/// What an agent handles at the same time: one call, and so many chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capacity {
    /// Chats at once; 0: none.
    pub chats: u8,
    /// A call may be offered while chats are open.
    pub interruptible: bool,
}

/// How an agent serves a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Membership {
    /// Lower first, when several queues have somebody waiting.
    #[serde(default)]
    pub preference: u8,
    /// The queue's way to order its free agents, copied from its configuration.
    #[serde(default)]
    pub selection: Selection,
    /// The parts of the queue's list of free agents, copied from its configuration.
    #[serde(default, skip_serializing_if = "crate::queue::is_whole")]
    pub shards: u8,
}

/// Where the agent's phone is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneRegistration {
    /// The node that holds the registration.
    pub node: NodeId,
    /// When it lapses unless renewed.
    pub expires: Timestamp,
}

/// Why an agent is in a state: kebab-case, 1 to 40 characters.
pub type Reason = Name;

/// What an agent is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AgentState {
    /// Not signed in, or every presence lease has lapsed.
    Offline,
    /// Free for offers.
    Available,
    /// A contact is being offered.
    Offered {
        /// Which offer.
        offer: OfferId,
        /// Which contact.
        contact: ContactId,
        /// For which queue; `None`: offered directly.
        queue: Option<Name>,
        /// When the phone stops ringing.
        rings_until: Timestamp,
        /// Wrap-up granted afterwards, milliseconds.
        wrap_up_ms: u32,
    },
    /// In a call.
    Busy {
        /// The offer that brought it.
        offer: OfferId,
        /// Which contact.
        contact: ContactId,
        /// For which queue; `None`: offered directly.
        queue: Option<Name>,
        /// Wrap-up granted afterwards, milliseconds.
        wrap_up_ms: u32,
        /// When the contact was last known to be alive.
        checked_at: Timestamp,
    },
    /// After-contact work.
    WrapUp {
        /// Of which contact.
        contact: ContactId,
        /// For which queue.
        queue: Option<Name>,
        /// When it ends by itself.
        until: Timestamp,
    },
    /// Signed in, not working on contacts.
    Away {
        /// Chosen by the agent, or `missed-offer`, `declined-offer`, `phone-unreachable`, `no-phone`,
        /// `no-microphone`.
        reason: Reason,
    },
    /// In reserve: notified when a queue calls reserves in.
    Standby,
}

/// The name of a state without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// See [`AgentState::Offline`].
    Offline,
    /// See [`AgentState::Available`].
    Available,
    /// See [`AgentState::Offered`].
    Offered,
    /// See [`AgentState::Busy`].
    Busy,
    /// See [`AgentState::WrapUp`].
    WrapUp,
    /// See [`AgentState::Away`].
    Away,
    /// See [`AgentState::Standby`].
    Standby,
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateName::Offline => "offline",
            StateName::Available => "available",
            StateName::Offered => "offered",
            StateName::Busy => "busy",
            StateName::WrapUp => "wrap_up",
            StateName::Away => "away",
            StateName::Standby => "standby",
        })
    }
}

impl AgentState {
    /// The name of the state.
    pub fn name(&self) -> StateName {
        match self {
            AgentState::Offline => StateName::Offline,
            AgentState::Available => StateName::Available,
            AgentState::Offered { .. } => StateName::Offered,
            AgentState::Busy { .. } => StateName::Busy,
            AgentState::WrapUp { .. } => StateName::WrapUp,
            AgentState::Away { .. } => StateName::Away,
            AgentState::Standby => StateName::Standby,
        }
    }

    /// Working or free for work: counted as staff of the agent's queues.
    pub fn is_staffed(&self) -> bool {
        matches!(
            self,
            AgentState::Available | AgentState::Offered { .. } | AgentState::Busy { .. } | AgentState::WrapUp { .. }
        )
    }

    /// Occupied with a contact: talking or wrapping up.
    pub fn is_occupied(&self) -> bool {
        matches!(self, AgentState::Busy { .. } | AgentState::WrapUp { .. })
    }

    /// The contact this state holds, if any.
    pub fn contact(&self) -> Option<ContactId> {
        match self {
            AgentState::Offered { contact, .. } | AgentState::Busy { contact, .. } => Some(*contact),
            _ => None,
        }
    }

    /// The offer this state holds, if any.
    pub fn offer(&self) -> Option<OfferId> {
        match self {
            AgentState::Offered { offer, .. } | AgentState::Busy { offer, .. } => Some(*offer),
            _ => None,
        }
    }
}

/// An offer that the agent's side gave back before the contact had said how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// Which offer.
    pub offer: OfferId,
    /// Which contact.
    pub contact: ContactId,
    /// For which queue.
    pub queue: Option<Name>,
    /// Wrap-up granted afterwards, milliseconds.
    pub wrap_up_ms: u32,
    /// The agent signed out instead of answering: should they talk after all, they leave afterwards.
    #[serde(default)]
    pub leaving: bool,
}

/// Everything stored about an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Who they are and what they may take.
    pub profile: AgentProfile,
    /// What they are doing.
    pub state: AgentState,
    /// Since when.
    pub since: Timestamp,
    /// Since when they have been waiting for work: kept over an offer that was rescinded.
    pub idle_since: Timestamp,
    /// What they asked for and what takes effect when the present work ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Requested>,
    /// The last offer given back, until the contact agrees or another offer comes. If the phone
    /// was answered after all, the agent is Busy: who talks is not free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<Returned>,
    /// Consoles and when their leases lapse.
    #[serde(default)]
    pub consoles: BTreeMap<String, Timestamp>,
    /// What consoles say of their microphones: whether it can be used. One that says nothing is not asked: its
    /// agent may have a telephone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub microphones: BTreeMap<String, bool>,
    /// The phone, where one is registered.
    #[serde(default)]
    pub phone: Option<PhoneRegistration>,
    /// When they came out of Offline last.
    #[serde(default)]
    pub shift_since: Option<Timestamp>,
    /// Time staffed and time occupied in the last hour.
    #[serde(default)]
    pub window: Window,
}

impl Agent {
    /// The phone, if its lease holds.
    pub fn live_phone(&self, now: Timestamp) -> Option<&PhoneRegistration> {
        self.phone.as_ref().filter(|p| p.expires > now)
    }

    /// Whether the agent can be heard, as far as is known: no console says that its microphone is missing, or another
    /// one has one.
    pub fn has_microphone(&self) -> bool {
        self.microphones.is_empty() || self.microphones.values().any(|works| *works)
    }

    /// When the last of all leases lapses; `None`: there is none.
    pub fn present_until(&self) -> Option<Timestamp> {
        self.consoles.values().copied().chain(self.phone.map(|p| p.expires)).max()
    }

    /// Whether some lease holds.
    pub fn is_present(&self, now: Timestamp) -> bool {
        self.present_until().is_some_and(|t| t > now)
    }

    /// Occupied per 1,000 of staffed time over the last hour, up to `now`.
    pub fn occupancy_pm(&self, now: Timestamp) -> u16 {
        let mut window = self.window;
        window.add(self.since, now, self.state.is_staffed(), self.state.is_occupied());
        window.occupancy_pm(now)
    }

    /// The queues this agent serves, most preferred first.
    pub fn queues_by_preference(&self) -> Vec<Name> {
        let mut queues: Vec<_> = self.profile.queues.iter().map(|(n, m)| (m.preference, n)).collect();
        queues.sort();
        queues.into_iter().map(|(_, n)| n.clone()).collect()
    }

    pub(super) fn deadlines(&self) -> BTreeMap<TimerKey, Timestamp> {
        let mut at = BTreeMap::new();
        let mut arm = |key: &str, moment: Timestamp| {
            at.insert(key.to_owned(), moment);
        };
        let needs_phone =
            matches!(self.state, AgentState::Available | AgentState::Offered { .. }) && self.profile.voice;
        match (&self.state, self.phone) {
            // A running call is left alone until it ends.
            (AgentState::Busy { .. }, _) => {}
            (_, Some(phone)) => arm(TIMER_PHONE, phone.expires),
            (_, None) if needs_phone => arm(TIMER_PHONE, self.since),
            _ => {}
        }
        match &self.state {
            AgentState::Offline => {}
            AgentState::Busy { checked_at, .. } => arm(TIMER_BUSY, checked_at.plus_ms(BUSY_CHECK_MS)),
            _ => arm(TIMER_PRESENCE, self.present_until().unwrap_or(self.since)),
        }
        match &self.state {
            AgentState::Offered { rings_until, .. } => arm(TIMER_OFFER, rings_until.plus_ms(OFFER_BACKSTOP_MS)),
            AgentState::WrapUp { until, .. } => arm(TIMER_WRAP_UP, *until),
            _ => {}
        }
        at
    }
}
