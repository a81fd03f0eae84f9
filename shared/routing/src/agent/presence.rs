//! Presence: consoles and the phone, each a lease.

use hotline_base::Reject;

use super::step::{Work, reason, why};
use super::{Agent, AgentFact, AgentState, MAX_CONSOLES, OfferOutcome, PRESENCE_LEASE_MS, PhoneRegistration};

impl Work {
    pub(super) fn heartbeat(&mut self, console: &str) -> Result<(), Reject> {
        if console.is_empty() || console.len() > 64 {
            return Err(Reject::new("console-invalid", "console: write 1 to 64 characters that name the browser tab"));
        }
        let now = self.now;
        let consoles = &mut self.agent.consoles;
        consoles.retain(|_, until| *until > now);
        consoles.insert(console.to_owned(), now.plus_ms(PRESENCE_LEASE_MS));
        if consoles.len() > MAX_CONSOLES {
            let first = consoles.iter().filter(|(name, _)| *name != console).min_by_key(|(_, until)| **until);
            if let Some(name) = first.map(|(name, _)| name.clone()) {
                consoles.remove(&name);
            }
        }
        self.check_microphones();
        Ok(())
    }

    pub(super) fn microphone(&mut self, console: &str, works: bool) -> Result<(), Reject> {
        if !self.agent.consoles.contains_key(console) {
            return Err(Reject::new("console-unknown", "this console is not open: send its heartbeat first"));
        }
        self.agent.microphones.insert(console.to_owned(), works);
        let parked = AgentState::Away { reason: reason(why::NO_MICROPHONE) };
        if self.agent.has_microphone() && self.agent.state == parked {
            self.free(why::MICROPHONE_BACK);
        }
        self.check_microphones();
        Ok(())
    }

    /// What consoles that are gone said does not count; whoever cannot be heard is not free.
    pub(super) fn check_microphones(&mut self) {
        let Agent { consoles, microphones, .. } = &mut self.agent;
        microphones.retain(|console, _| consoles.contains_key(console));
        if !self.agent.has_microphone() {
            self.unheard(why::NO_MICROPHONE);
        }
    }

    pub(super) fn phone(&mut self, phone: PhoneRegistration) {
        if phone.expires <= self.now {
            if self.agent.phone.is_some_and(|p| p.node == phone.node) {
                self.lose_phone();
                self.check_presence();
            }
            return;
        }
        let before = self.agent.live_phone(self.now).map(|p| p.node);
        self.agent.phone = Some(phone);
        if before != Some(phone.node) {
            self.facts.push(AgentFact::PhoneRegistered { agent: self.id(), node: phone.node });
        }
        let parked = AgentState::Away { reason: reason(why::NO_PHONE) };
        if self.agent.state == parked {
            self.free(why::PHONE_BACK);
        }
    }

    /// Forgets the phone; an agent who needs one to be free is parked with a visible reason.
    pub(super) fn lose_phone(&mut self) {
        if let Some(phone) = self.agent.phone.take() {
            self.facts.push(AgentFact::PhoneLost { agent: self.id(), node: phone.node });
        }
        self.unheard(why::NO_PHONE);
    }

    /// Whoever is free for calls and cannot take any is parked; a running call is left alone.
    fn unheard(&mut self, because: &str) {
        if !self.agent.profile.voice {
            return;
        }
        match self.agent.state {
            AgentState::Available => self.enter(AgentState::Away { reason: reason(because) }, because),
            AgentState::Offered { .. } => {
                self.give_back(OfferOutcome::Unreachable);
                self.park(because);
            }
            _ => {}
        }
    }

    /// Where every lease has lapsed: Offline, and an open offer goes back. A call is left alone.
    pub(super) fn check_presence(&mut self) {
        if self.agent.is_present(self.now) || matches!(self.agent.state, AgentState::Offline | AgentState::Busy { .. })
        {
            return;
        }
        self.facts.push(AgentFact::PresenceLapsed { agent: self.id() });
        self.give_back(OfferOutcome::PresenceLost);
        self.agent.next = None;
        self.enter(AgentState::Offline, why::PRESENCE_LAPSED);
    }
}
