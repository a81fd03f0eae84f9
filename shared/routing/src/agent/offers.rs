//! Offers and what becomes of them.

use hotline_base::{OfferId, Reject};

use super::step::{Work, why};
use super::{
    AgentEffect, AgentFact, AgentState, NewOffer, OfferOrigin, OfferOutcome, Requested, Returned, WRAP_UP_MAX_MS,
};

pub(super) fn not_current() -> Reject {
    Reject::new("offer-not-current", "the agent holds no such offer now: it was answered, missed or taken back")
}

impl Work {
    pub(super) fn offer(&mut self, new: &NewOffer) -> Result<(), Reject> {
        let free = match (&self.agent.state, new.origin) {
            (AgentState::Available, _) => true,
            (
                AgentState::Away { .. } | AgentState::Standby,
                OfferOrigin::Pulled | OfferOrigin::Assigned | OfferOrigin::Consulted | OfferOrigin::Supervising,
            ) => true,
            // Supervisors need not sign in as agents to listen in.
            (AgentState::Offline, OfferOrigin::Supervising) => true,
            (AgentState::Offered { offer, .. } | AgentState::Busy { offer, .. }, _) if *offer == new.offer => {
                return Err(Reject::new("offer-repeated", "this offer was made already"));
            }
            _ => false,
        };
        if !free || !self.agent.is_present(self.now) {
            let message =
                format!("the agent is {}; only a free agent can be offered a contact", self.agent.state.name());
            return Err(Reject::new("agent-not-available", message));
        }
        if !self.can_ring() {
            return Err(Reject::new("no-phone", "the agent has no phone registered"));
        }
        self.facts.push(AgentFact::OfferReceived {
            agent: self.id(),
            offer: new.offer,
            contact: new.contact,
            queue: new.queue.clone(),
            origin: new.origin,
        });
        let offered = AgentState::Offered {
            offer: new.offer,
            contact: new.contact,
            queue: new.queue.clone(),
            rings_until: self.now.plus_ms(i64::from(new.ring_timeout_ms)),
            wrap_up_ms: new.wrap_up_ms,
        };
        self.agent.returned = None;
        // Whoever helps a colleague out goes back to what they were doing.
        if matches!(new.origin, OfferOrigin::Consulted | OfferOrigin::Supervising) && self.agent.next.is_none() {
            self.agent.next = match &self.agent.state {
                AgentState::Away { reason } => Some(Requested::Away { reason: reason.clone() }),
                AgentState::Standby => Some(Requested::Standby),
                AgentState::Offline => Some(Requested::Offline),
                _ => None,
            };
        }
        self.enter(offered, why::OFFERED);
        Ok(())
    }

    pub(super) fn accepted(&mut self, accepted: OfferId) -> Result<(), Reject> {
        match self.agent.state.clone() {
            AgentState::Offered { offer, contact, queue, wrap_up_ms, .. } if offer == accepted => {
                self.close_offer(OfferOutcome::Accepted);
                let busy = AgentState::Busy { offer, contact, queue, wrap_up_ms, checked_at: self.now };
                self.enter(busy, why::ANSWERED);
                Ok(())
            }
            AgentState::Busy { offer, .. } if offer == accepted => Ok(()),
            AgentState::Offered { .. } | AgentState::Busy { .. } => Err(not_current()),
            _ => self.answered_after_all(accepted),
        }
    }

    /// The phone was answered although this side had given the offer back: the agent talks.
    pub(super) fn answered_after_all(&mut self, accepted: OfferId) -> Result<(), Reject> {
        let Some(returned) = self.agent.returned.take_if(|r| r.offer == accepted) else {
            return Err(not_current());
        };
        let Returned { offer, contact, queue, wrap_up_ms, leaving } = returned;
        if leaving && self.agent.state == AgentState::Offline {
            self.agent.next = Some(Requested::Offline);
        }
        let checked_at = self.now;
        self.enter(AgentState::Busy { offer, contact, queue, wrap_up_ms, checked_at }, why::ANSWERED);
        Ok(())
    }

    /// The contact says how an offer ended that this side had given back: nothing is left to do.
    pub(super) fn settle_returned(&mut self, over: OfferId) -> Result<(), Reject> {
        match self.agent.returned.take_if(|r| r.offer == over) {
            Some(_) => Ok(()),
            None => Err(not_current()),
        }
    }

    pub(super) fn offer_failed(&mut self, failed: OfferId, outcome: OfferOutcome) -> Result<(), Reject> {
        match self.agent.state {
            AgentState::Offered { offer, .. } if offer == failed => {}
            _ => return self.settle_returned(failed),
        }
        let parked = match outcome {
            OfferOutcome::Declined => why::DECLINED_OFFER,
            OfferOutcome::Unreachable => why::PHONE_UNREACHABLE,
            _ => why::MISSED_OFFER,
        };
        self.close_offer(outcome);
        self.park(parked);
        Ok(())
    }

    /// The contact has left this agent, before or after the answer.
    pub(super) fn contact_over(&mut self, ended: OfferId) -> Result<(), Reject> {
        match self.agent.state.clone() {
            AgentState::Offered { offer, .. } if offer == ended => {
                self.close_offer(OfferOutcome::Rescinded);
                // The agent did nothing wrong: the place among the idle is kept.
                let idle_since = self.agent.idle_since;
                self.free(why::RESCINDED);
                self.agent.idle_since = idle_since;
                Ok(())
            }
            AgentState::Busy { offer, contact, queue, wrap_up_ms, .. } if offer == ended => {
                let leaving = !self.agent.is_present(self.now) || self.agent.next == Some(Requested::Offline);
                if wrap_up_ms == 0 || leaving {
                    self.free(why::CONTACT_ENDED);
                } else {
                    let until = self.now.plus_ms(i64::from(wrap_up_ms).min(WRAP_UP_MAX_MS));
                    self.enter(AgentState::WrapUp { contact, queue, until }, why::CONTACT_ENDED);
                }
                Ok(())
            }
            _ => self.settle_returned(ended),
        }
    }

    /// The party that this agent was to talk with was not reached: nothing is to be wrapped up.
    pub(super) fn not_reached(&mut self, ended: OfferId) -> Result<(), Reject> {
        match &mut self.agent.state {
            AgentState::Busy { offer, .. } if *offer == ended => {
                let idle_since = self.agent.idle_since;
                self.free(why::PARTY_NOT_REACHED);
                self.agent.idle_since = idle_since;
                Ok(())
            }
            _ => self.contact_over(ended),
        }
    }

    /// Ends an open offer from this side: the contact is told to go back to its queue. Gives
    /// `false` where no offer is open.
    pub(super) fn give_back(&mut self, outcome: OfferOutcome) -> bool {
        self.close_offer(outcome);
        let AgentState::Offered { offer, contact, queue, wrap_up_ms, .. } = self.agent.state.clone() else {
            return false;
        };
        self.agent.returned = Some(Returned { offer, contact, queue, wrap_up_ms, leaving: false });
        self.effects.push(AgentEffect::ReturnContact { offer, contact, outcome });
        true
    }

    pub(super) fn close_offer(&mut self, outcome: OfferOutcome) {
        if let AgentState::Offered { offer, contact, queue, .. } = &self.agent.state {
            self.facts.push(AgentFact::OfferClosed {
                agent: self.id(),
                offer: *offer,
                contact: *contact,
                queue: queue.clone(),
                outcome,
                after_ms: self.now.since_ms(self.agent.since).max(0),
            });
        }
    }
}
