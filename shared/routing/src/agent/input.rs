//! What can happen to an agent.

use hotline_base::{ContactId, Name, NodeId, OfferId, TimerKey, Timestamp};
use serde::{Deserialize, Serialize};

use super::{AgentProfile, Reason};

/// A state that an agent, console or supervisor may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Requested {
    /// Free for offers.
    Available,
    /// Signed in, not working on contacts.
    Away {
        /// Why.
        reason: Reason,
    },
    /// In reserve.
    Standby,
    /// Signed out.
    Offline,
}

/// How an offer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferOrigin {
    /// Chosen by routing: the agent must be Available.
    Routed,
    /// The agent took it from the queue by hand.
    Pulled,
    /// A supervisor gave it to the agent.
    Assigned,
    /// A colleague who talks with the caller asks for advice.
    Consulted,
    /// The agent supervises a conversation of somebody else.
    Supervising,
}

/// A proposal of one contact to this agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewOffer {
    /// Its fresh id.
    pub offer: OfferId,
    /// Which contact.
    pub contact: ContactId,
    /// For which queue; `None`: directly.
    pub queue: Option<Name>,
    /// How long the phone may ring, milliseconds.
    pub ring_timeout_ms: u32,
    /// Wrap-up granted afterwards, milliseconds; 0: none.
    pub wrap_up_ms: u32,
    /// How it came about.
    pub origin: OfferOrigin,
}

/// What can happen to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentInput {
    /// An administrator made or changed the agent.
    Configure {
        /// The whole profile.
        profile: AgentProfile,
    },
    /// A console is open: renews presence by [`super::PRESENCE_LEASE_MS`] from now.
    Heartbeat {
        /// Names the console (browser tab), at most 64 characters.
        console: String,
    },
    /// An open console says whether its microphone can be used.
    Microphone {
        /// Which console.
        console: String,
        /// Somebody who speaks there is heard.
        works: bool,
    },
    /// A console was closed.
    CloseConsole {
        /// Which.
        console: String,
    },
    /// The phone registered or refreshed; it is a lease of presence too.
    PhoneRegistered {
        /// At which node.
        node: NodeId,
        /// Until when.
        expires: Timestamp,
    },
    /// The phone that registered before is still there, says a node that was away: a live registration at
    /// another node counts more.
    PhoneStays {
        /// At which node.
        node: NodeId,
        /// Until when.
        expires: Timestamp,
    },
    /// The phone left a node (a registration elsewhere is not touched).
    PhoneLeft {
        /// Which node.
        node: NodeId,
    },
    /// Asks for a state; during an offer or a call it takes effect at its end.
    RequestState {
        /// Which.
        to: Requested,
    },
    /// Offers a contact.
    Offer {
        /// The offer.
        offer: NewOffer,
    },
    /// The contact says: the agent answered.
    OfferAccepted {
        /// Which offer.
        offer: OfferId,
    },
    /// The contact says: the phone refused.
    OfferDeclined {
        /// Which offer.
        offer: OfferId,
    },
    /// The contact says: the phone rang until the offer's time was over.
    OfferTimedOut {
        /// Which offer.
        offer: OfferId,
    },
    /// The contact says: no phone answered at all.
    OfferUnreachable {
        /// Which offer.
        offer: OfferId,
    },
    /// The contact says: it left or took the offer back.
    OfferRescinded {
        /// Which offer.
        offer: OfferId,
    },
    /// The agent refuses on the console; the contact is told by an effect.
    DeclineOffer {
        /// Which offer.
        offer: OfferId,
    },
    /// The agent's part in the contact is over.
    ContactEnded {
        /// The offer that had brought it.
        offer: OfferId,
    },
    /// The contact says: the party that the agent waited for was not reached. No wrap-up follows.
    PartyNotReached {
        /// The offer that had brought it.
        offer: OfferId,
    },
    /// The contact of a Busy agent was looked up and is alive.
    ContactAlive {
        /// The offer that had brought it.
        offer: OfferId,
    },
    /// Lengthens wrap-up, within [`super::WRAP_UP_MAX_MS`] in all.
    ExtendWrapUp {
        /// By how much, milliseconds.
        by_ms: u32,
    },
    /// Ends wrap-up now.
    EndWrapUp,
    /// A timer fired; checked against the stored deadline.
    Timer {
        /// Which.
        timer: TimerKey,
    },
}
