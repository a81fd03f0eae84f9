//! The transitions.

use hotline_base::{AgentId, Name, Reject, Timestamp, Transition};

use super::offers::not_current;
use super::{
    Agent, AgentEffect, AgentFact, AgentInput, AgentProfile, AgentState, MAX_QUEUES, OfferOutcome, PHONE_LEASE_MAX_MS,
    PhoneRegistration, Reason, Requested, TIMER_BUSY, TIMER_OFFER, TIMER_PHONE, TIMER_PRESENCE, TIMER_WRAP_UP,
    WRAP_UP_MAX_MS, Window,
};
use crate::skill::{MAX_LEVEL, MAX_SKILLS};

type Step = Transition<Agent, AgentFact, AgentEffect>;

/// Reasons that the machine itself gives.
pub(super) mod why {
    pub const SIGNED_OUT: &str = "signed-out";
    pub const REQUESTED: &str = "requested";
    pub const OFFERED: &str = "offered";
    pub const ANSWERED: &str = "answered";
    pub const RESCINDED: &str = "rescinded";
    pub const CONTACT_ENDED: &str = "contact-ended";
    pub const WRAP_UP_ENDED: &str = "wrap-up-ended";
    pub const PRESENCE_LAPSED: &str = "presence-lapsed";
    pub const MISSED_OFFER: &str = "missed-offer";
    pub const DECLINED_OFFER: &str = "declined-offer";
    pub const PHONE_UNREACHABLE: &str = "phone-unreachable";
    pub const NO_PHONE: &str = "no-phone";
    pub const PHONE_BACK: &str = "phone-back";
    pub const NO_MICROPHONE: &str = "no-microphone";
    pub const MICROPHONE_BACK: &str = "microphone-back";
    pub const PARTY_NOT_REACHED: &str = "party-not-reached";
}

pub(super) fn reason(text: &str) -> Reason {
    match text.parse() {
        Ok(name) => name,
        Err(_) => unreachable!("the reasons above are valid names"),
    }
}

/// The agent under change, with what is being recorded about it.
pub(super) struct Work {
    pub(super) agent: Agent,
    pub(super) facts: Vec<AgentFact>,
    pub(super) effects: Vec<AgentEffect>,
    pub(super) now: Timestamp,
}

pub(super) fn step(state: Option<&Agent>, input: &AgentInput, now: Timestamp) -> Result<Step, Reject> {
    let agent = match (state, input) {
        (Some(agent), _) => agent.clone(),
        (None, AgentInput::Configure { profile }) => {
            check(profile)?;
            return Ok(created(profile, now));
        }
        (None, _) => {
            return Err(Reject::new("no-such-agent", "there is no such agent; create it first"));
        }
    };
    let mut work = Work { agent, facts: Vec::new(), effects: Vec::new(), now };
    work.apply(input)?;
    Ok(Transition { state: work.agent, facts: work.facts, effects: work.effects })
}

fn created(profile: &AgentProfile, now: Timestamp) -> Step {
    let agent = Agent {
        profile: profile.clone(),
        state: AgentState::Offline,
        since: now,
        idle_since: now,
        next: None,
        returned: None,
        consoles: Default::default(),
        microphones: Default::default(),
        phone: None,
        shift_since: None,
        window: Window::default(),
    };
    let facts = vec![AgentFact::AgentConfigured { agent: profile.agent }];
    Transition { state: agent, facts, effects: Vec::new() }
}

fn check(profile: &AgentProfile) -> Result<(), Reject> {
    let no = |message: String| Err(Reject::new("agent-invalid", message));
    if profile.queues.len() > MAX_QUEUES {
        return no(format!("queues: {} given; an agent serves at most {MAX_QUEUES}", profile.queues.len()));
    }
    if profile.skills.len() > MAX_SKILLS {
        return no(format!("skills: {} given; an agent has at most {MAX_SKILLS}", profile.skills.len()));
    }
    if let Some((skill, level)) = profile.skills.iter().find(|(_, l)| !(1..=MAX_LEVEL).contains(*l)) {
        return no(format!("skills.{skill}: level {level}; write 1 to {MAX_LEVEL}"));
    }
    if profile.groups.len() > MAX_QUEUES {
        return no(format!("groups: {} given; at most {MAX_QUEUES}", profile.groups.len()));
    }
    if profile.display_name.expose().chars().count() > 80 {
        return no("display_name: longer than 80 characters".into());
    }
    if profile.sip_user.len() > 64 {
        return no("sip_user: longer than 64 characters".into());
    }
    Ok(())
}

impl Work {
    pub(super) fn id(&self) -> AgentId {
        self.agent.profile.agent
    }

    fn apply(&mut self, input: &AgentInput) -> Result<(), Reject> {
        match input {
            AgentInput::Configure { profile } => self.configure(profile),
            AgentInput::Heartbeat { console } => self.heartbeat(console),
            AgentInput::Microphone { console, works } => self.microphone(console, *works),
            AgentInput::CloseConsole { console } => {
                self.agent.consoles.remove(console);
                self.check_microphones();
                self.check_presence();
                Ok(())
            }
            AgentInput::PhoneStays { node, .. } if self.agent.live_phone(self.now).is_some_and(|p| p.node != *node) => {
                Ok(())
            }
            AgentInput::PhoneRegistered { node, expires } | AgentInput::PhoneStays { node, expires } => {
                let expires = (*expires).min(self.now.plus_ms(PHONE_LEASE_MAX_MS));
                self.phone(PhoneRegistration { node: *node, expires });
                Ok(())
            }
            AgentInput::PhoneLeft { node } => {
                if self.agent.phone.is_some_and(|p| p.node == *node) {
                    self.lose_phone();
                    self.check_presence();
                }
                Ok(())
            }
            AgentInput::RequestState { to } => self.request(to),
            AgentInput::Offer { offer } => self.offer(offer),
            AgentInput::OfferAccepted { offer } => self.accepted(*offer),
            AgentInput::OfferDeclined { offer } => self.offer_failed(*offer, OfferOutcome::Declined),
            AgentInput::OfferTimedOut { offer } => self.offer_failed(*offer, OfferOutcome::TimedOut),
            AgentInput::OfferUnreachable { offer } => self.offer_failed(*offer, OfferOutcome::Unreachable),
            AgentInput::OfferRescinded { offer } => self.contact_over(*offer),
            AgentInput::DeclineOffer { offer } => {
                if self.agent.state.offer() != Some(*offer) || !self.give_back(OfferOutcome::Declined) {
                    return Err(not_current());
                }
                self.park(why::DECLINED_OFFER);
                Ok(())
            }
            AgentInput::ContactEnded { offer } => self.contact_over(*offer),
            AgentInput::PartyNotReached { offer } => self.not_reached(*offer),
            AgentInput::ContactAlive { offer } => {
                let now = self.now;
                match &mut self.agent.state {
                    AgentState::Busy { offer: current, checked_at, .. } if current == offer => {
                        *checked_at = now;
                        Ok(())
                    }
                    _ => Err(not_current()),
                }
            }
            AgentInput::ExtendWrapUp { by_ms } => self.extend_wrap_up(*by_ms),
            AgentInput::EndWrapUp => match self.agent.state {
                AgentState::WrapUp { .. } => {
                    self.end_wrap_up();
                    Ok(())
                }
                _ => Err(Reject::new("not-in-wrap-up", "there is no wrap-up to end")),
            },
            AgentInput::Timer { timer } => self.timer(timer),
        }
    }

    fn configure(&mut self, profile: &AgentProfile) -> Result<(), Reject> {
        check(profile)?;
        if profile.agent != self.id() {
            return Err(Reject::new("agent-invalid", "agent: the profile is of another agent"));
        }
        let newly: Vec<Name> =
            profile.queues.keys().filter(|q| !self.agent.profile.queues.contains_key(*q)).cloned().collect();
        let skilled = profile.skills != self.agent.profile.skills;
        self.agent.profile = profile.clone();
        self.facts.push(AgentFact::AgentConfigured { agent: profile.agent });
        if self.agent.state == AgentState::Available {
            if !self.can_ring() {
                self.park_unheard();
            } else if skilled || !newly.is_empty() {
                self.look_for_work();
            }
        }
        Ok(())
    }

    fn request(&mut self, to: &Requested) -> Result<(), Reject> {
        match (&self.agent.state, to) {
            (AgentState::Offered { .. }, Requested::Offline) => {
                self.give_back(OfferOutcome::PresenceLost);
                if let Some(returned) = &mut self.agent.returned {
                    returned.leaving = true;
                }
                self.sign_out();
                Ok(())
            }
            (AgentState::Offered { .. } | AgentState::Busy { .. }, Requested::Available) => {
                self.agent.next = None;
                Ok(())
            }
            (AgentState::Offered { .. } | AgentState::Busy { .. }, later) => {
                if self.agent.next.as_ref() != Some(later) {
                    self.agent.next = Some(later.clone());
                    self.facts.push(AgentFact::StateRequested { agent: self.id(), to: later.clone() });
                }
                Ok(())
            }
            (_, Requested::Offline) => {
                self.sign_out();
                Ok(())
            }
            (AgentState::Available, Requested::Available) => {
                self.look_for_work();
                Ok(())
            }
            (_, Requested::Available) => {
                self.must_be_present()?;
                if let Some(missing) = self.missing() {
                    let said = match missing {
                        why::NO_MICROPHONE => {
                            "the console's microphone cannot be used: plug it in or allow it for the page, and try again"
                        }
                        _ => "no phone is registered: switch the phone on, or allow the microphone, and try again",
                    };
                    return Err(Reject::new(missing, said));
                }
                self.agent.next = None;
                self.free(why::REQUESTED);
                Ok(())
            }
            (AgentState::Away { reason: present }, Requested::Away { reason }) if present == reason => Ok(()),
            (_, Requested::Away { reason }) => {
                self.must_be_present()?;
                self.agent.next = None;
                self.enter(AgentState::Away { reason: reason.clone() }, reason.as_str());
                Ok(())
            }
            (AgentState::Standby, Requested::Standby) => Ok(()),
            (_, Requested::Standby) => {
                self.must_be_present()?;
                self.agent.next = None;
                self.enter(AgentState::Standby, why::REQUESTED);
                Ok(())
            }
        }
    }

    fn must_be_present(&self) -> Result<(), Reject> {
        if self.agent.is_present(self.now) {
            return Ok(());
        }
        Err(Reject::new("not-present", "neither a console nor a phone of this agent is connected: open one first"))
    }

    /// Consoles are forgotten: one that stays open shows Offline until a state is asked for.
    fn sign_out(&mut self) {
        self.agent.next = None;
        if self.agent.state != AgentState::Offline {
            self.enter(AgentState::Offline, why::SIGNED_OUT);
        }
    }

    pub(super) fn can_ring(&self) -> bool {
        self.missing().is_none()
    }

    /// What keeps the agent from taking calls.
    fn missing(&self) -> Option<&'static str> {
        if !self.agent.profile.voice {
            None
        } else if self.agent.live_phone(self.now).is_none() {
            Some(why::NO_PHONE)
        } else {
            (!self.agent.has_microphone()).then_some(why::NO_MICROPHONE)
        }
    }

    /// Away, for what is missing.
    fn park_unheard(&mut self) {
        let because = self.missing().unwrap_or(why::NO_PHONE);
        self.enter(AgentState::Away { reason: reason(because) }, because);
    }

    fn extend_wrap_up(&mut self, by_ms: u32) -> Result<(), Reject> {
        let most = self.agent.since.plus_ms(WRAP_UP_MAX_MS);
        let AgentState::WrapUp { until, .. } = &mut self.agent.state else {
            return Err(Reject::new("not-in-wrap-up", "there is no wrap-up to lengthen"));
        };
        let longer = until.plus_ms(i64::from(by_ms)).min(most);
        let by_ms = longer.since_ms(*until);
        if by_ms <= 0 {
            return Err(Reject::new("wrap-up-too-long", "wrap-up lasts an hour at most"));
        }
        *until = longer;
        self.facts.push(AgentFact::WrapUpExtended { agent: self.id(), by_ms });
        Ok(())
    }

    fn offer_overdue(&mut self) {
        if self.give_back(OfferOutcome::TimedOut) {
            self.park(why::MISSED_OFFER);
        }
    }

    fn end_wrap_up(&mut self) {
        self.free(why::WRAP_UP_ENDED);
    }

    fn timer(&mut self, timer: &str) -> Result<(), Reject> {
        let due = self.agent.deadlines().get(timer).is_some_and(|t| *t <= self.now);
        if !due {
            return Err(Reject::new("timer-not-due", "the deadline has moved or is gone"));
        }
        match timer {
            TIMER_PRESENCE => {
                let now = self.now;
                self.agent.consoles.retain(|_, until| *until > now);
                self.check_microphones();
                if self.agent.phone.is_some_and(|p| p.expires <= now) {
                    self.lose_phone();
                }
                self.check_presence();
            }
            TIMER_PHONE => {
                self.lose_phone();
                self.check_presence();
            }
            TIMER_OFFER => self.offer_overdue(),
            TIMER_WRAP_UP => self.end_wrap_up(),
            TIMER_BUSY => {
                let (agent, now) = (self.id(), self.now);
                if let AgentState::Busy { offer, contact, checked_at, .. } = &mut self.agent.state {
                    *checked_at = now;
                    self.effects.push(AgentEffect::CheckContact { agent, offer: *offer, contact: *contact });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Work is over: what was asked for, or Available if the agent can be rung, or parked.
    pub(super) fn free(&mut self, because: &str) {
        if !self.agent.is_present(self.now) {
            self.agent.next = None;
            if self.agent.state != AgentState::Offline {
                self.facts.push(AgentFact::PresenceLapsed { agent: self.id() });
                self.enter(AgentState::Offline, why::PRESENCE_LAPSED);
            }
        } else if self.agent.next.is_some() {
            self.enter_next(AgentState::Available, because);
        } else if self.can_ring() {
            self.agent.idle_since = self.now;
            self.enter(AgentState::Available, because);
            self.look_for_work();
        } else {
            self.park_unheard();
        }
    }

    /// Enters what was asked for; `otherwise` where nothing was. Never Available.
    fn enter_next(&mut self, otherwise: AgentState, because: &str) {
        match self.agent.next.take() {
            Some(Requested::Offline) => self.enter(AgentState::Offline, why::SIGNED_OUT),
            Some(Requested::Away { reason }) => {
                let text = reason.as_str().to_owned();
                self.enter(AgentState::Away { reason }, &text);
            }
            Some(Requested::Standby) => self.enter(AgentState::Standby, why::REQUESTED),
            Some(Requested::Available) | None => self.enter(otherwise, because),
        }
    }

    fn look_for_work(&mut self) {
        let queues = self.agent.queues_by_preference();
        if !queues.is_empty() {
            self.effects.push(AgentEffect::MatchAgent { agent: self.id(), queues });
        }
    }

    /// What was asked for, or Away with this reason.
    pub(super) fn park(&mut self, because: &str) {
        self.enter_next(AgentState::Away { reason: reason(because) }, because);
    }

    /// The one place where the state changes: counts its time and leaves the facts.
    pub(super) fn enter(&mut self, to: AgentState, because: &str) {
        let agent = &mut self.agent;
        let id = agent.profile.agent;
        let from = std::mem::replace(&mut agent.state, to);
        agent.window.add(agent.since, self.now, from.is_staffed(), from.is_occupied());
        let about = |state: &AgentState| match state {
            AgentState::Offered { contact, queue, .. }
            | AgentState::Busy { contact, queue, .. }
            | AgentState::WrapUp { contact, queue, .. } => (Some(*contact), queue.clone()),
            _ => (None, None),
        };
        let (contact, queue) = match about(&agent.state) {
            (None, _) => about(&from),
            new => new,
        };
        self.facts.push(AgentFact::StateEntered {
            agent: id,
            from: from.name(),
            to: agent.state.name(),
            for_ms: self.now.since_ms(agent.since).max(0),
            reason: because.parse().unwrap_or_else(|_| reason(why::REQUESTED)),
            contact,
            queue,
        });
        agent.since = self.now;
        if from == AgentState::Offline {
            agent.shift_since = Some(self.now);
            self.facts.push(AgentFact::ShiftStarted { agent: id });
        }
        if agent.state == AgentState::Offline
            && let Some(since) = agent.shift_since.take()
        {
            self.facts.push(AgentFact::ShiftEnded { agent: id, for_ms: self.now.since_ms(since).max(0) });
        }
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
