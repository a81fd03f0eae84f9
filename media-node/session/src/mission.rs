//! Calls that the node places: to a party, with an agent on the line before or without, and to the
//! other side of a lost node's dialog. The party's leg is a partner's until it answers; then it is
//! the caller's.

use hotline_wire::legs::DialFailure;
use hotline_wire::node::{CallEvent, EndCause, OfferFailure, Prompt};
use hotline_wire::reason::{Reason, q850_cause};
use std::sync::Arc;

use crate::partners::{Purpose, State};
use crate::reason::{self, verdict};
use crate::sdp::Description;
use crate::session::{CallerState, Session};
use crate::types::{DialError, LegNo, Mission, Note, Now, Outbound, SessionConfig, Target};

/// A lost node's leg must be here after so long, milliseconds.
const TAKE_OVER_MS: u32 = 8_000;

impl Session {
    /// A session for a call that this node places.
    pub fn outbound(cfg: Arc<SessionConfig>, now: Now, outbound: Outbound) -> Session {
        let Outbound { contact, tenant, fallback, seq, first_token, mission } = outbound;
        let mut session = Session::empty(cfg, now, contact, first_token);
        session.tenant = Some(tenant);
        session.asks.seq = seq;
        let mut prompts: Vec<&Prompt> = fallback.apology.iter().chain([&fallback.music]).collect();
        if let Mission::Call(party) = &mission {
            session.caller.from = user_of(party.target.expose());
            prompts.extend(&party.ringback);
        }
        let fetch = session.sounds.want(prompts.into_iter());
        session.load(fetch);
        session.fallback = Some(fallback);
        session.mission = Some(mission.clone());
        match mission {
            Mission::Call(party) => match party.agent {
                Some(agent) => session.ring_agent(agent),
                None => session.call_party(),
            },
            Mission::TakeOver { dialog, .. } => {
                session.dial(Target::Dialog(dialog), TAKE_OVER_MS, Purpose::Party);
            }
        }
        session
    }

    fn call_party(&mut self) {
        if let Some(Mission::Call(party)) = &self.mission {
            let target = Target::Address(party.target.expose().clone());
            let limit = party.ring_timeout_ms;
            self.dial(target, limit, Purpose::Party);
        }
    }

    /// The number that a party sees.
    pub(crate) fn caller_id(&self) -> String {
        match &self.mission {
            Some(Mission::Call(party)) => party.caller_id.clone(),
            _ => String::new(),
        }
    }

    /// The number that whoever is called by a leg is shown; empty where the caller withholds it.
    pub fn presents(&self, leg: LegNo) -> String {
        match self.partners.iter().find(|p| p.leg == leg).map(|p| &p.purpose) {
            Some(Purpose::Party) => self.caller_id(),
            _ => self.caller.from.clone(),
        }
    }

    /// What an agent hears until the party answers.
    pub(crate) fn mission_ringback(&self) -> Vec<Prompt> {
        match &self.mission {
            Some(Mission::Call(party)) => party.ringback.clone(),
            _ => Vec::new(),
        }
    }

    /// The agent is on the line before the party: it is dialled now.
    pub(crate) fn agent_waits_for_party(&mut self, leg: LegNo) {
        let Some(partner) = self.partner(leg) else {
            return;
        };
        partner.state = State::Joined;
        let (offer, dialog) = (partner.offer(), partner.dialog.clone());
        self.note(Note::Joined(leg));
        if let Some(offer) = offer {
            self.ask(CallEvent::OfferAnswered { offer, dialog });
        }
        if !self.partners.iter().any(|p| matches!(p.purpose, Purpose::Party)) {
            self.call_party();
        }
        self.rearrange();
    }

    pub(crate) fn party_rings(&mut self) {
        if matches!(self.mission, Some(Mission::Call(_))) {
            self.ask(CallEvent::PartyRinging);
        }
    }

    /// The party is there: its leg is the caller's from now on.
    pub(crate) fn party_answered(&mut self, leg: LegNo, description: Description) {
        let Some(index) = self.partners.iter().position(|p| p.leg == leg) else {
            return;
        };
        let partner = self.partners.remove(index);
        self.caller.call = partner.call;
        self.caller.media = partner.media;
        self.caller.media_asked = true;
        self.caller.codec = partner.codec;
        self.caller.held = description.is_hold();
        self.caller.description = Some(description);
        self.caller.protection = partner.protection;
        self.caller.away = partner.away;
        self.caller.takes_info = partner.takes_info;
        self.caller.sdp_version = partner.sdp_version;
        self.caller.state = CallerState::Answered;
        self.note(Note::Answered);
        self.note(Note::Reached);
        let dialog = partner.dialog;
        match self.mission.take() {
            Some(Mission::TakeOver { dialog: lost, label, script }) => {
                self.ask(CallEvent::Reanchored { dialog: dialog.unwrap_or(lost) });
                self.new_script(label, script);
            }
            Some(Mission::Call(_)) | None => {
                let agent = self.joined().find_map(|p| match &p.purpose {
                    Purpose::Agent(agent) => Some(agent.clone()),
                    _ => None,
                });
                if let Some(agent) = &agent {
                    self.arrangement = agent.arrange.clone();
                    self.rearrange();
                }
                if let Some(recording) = agent.and_then(|agent| agent.record) {
                    self.record_conversation(recording);
                }
                self.ask(CallEvent::PartyAnswered { dialog });
                if self.is_joined() {
                    self.asks.joined_seq = self.asks.seq;
                }
            }
        }
    }

    /// There is no way to the party.
    pub(crate) fn party_not_dialed(&mut self, error: &DialError) {
        let reason = match error {
            DialError::Forbidden(_) => DialFailure::Forbidden,
            DialError::NoRoute(_) | DialError::Exhausted(_) => DialFailure::Unreachable,
        };
        self.party_failed(reason, None, vec![]);
    }

    /// The party did not take the call; its leg is gone.
    pub(crate) fn party_not_taken(&mut self, reason: OfferFailure, sip_status: Option<u16>, reasons: Vec<Reason>) {
        let reason = match (reason, sip_status) {
            (OfferFailure::TimedOut, _) => DialFailure::NoAnswer,
            (_, Some(status)) => verdict(status, q850_cause(&reasons)).failure,
            (_, None) => DialFailure::Unreachable,
        };
        self.party_failed(reason, sip_status, reasons);
    }

    fn party_failed(&mut self, reason: DialFailure, sip_status: Option<u16>, reasons: Vec<Reason>) {
        if self.caller_left() {
            return;
        }
        let event = match &self.mission {
            Some(Mission::TakeOver { .. }) => CallEvent::ReanchorFailed { sip_status },
            _ => CallEvent::PartyFailed { reason, sip_status, reasons },
        };
        self.over_without_caller();
        self.ask(event);
    }

    /// The agent who was rung first did not take the offer: the party is not bothered.
    pub(crate) fn mission_agent_failed(&mut self) {
        let waits = self.caller.state == CallerState::Absent && self.partners.is_empty();
        if waits && matches!(self.mission, Some(Mission::Call(_))) {
            self.over_without_caller();
        }
    }

    /// The agent who was on the line left before the party answered: the party is not bothered.
    pub(crate) fn mission_agent_left(&mut self) {
        if self.caller.state == CallerState::Absent && !self.is_joined() {
            self.party_failed(DialFailure::NoAnswer, None, vec![]);
        }
    }

    /// Everything ends; there never was a caller's leg.
    fn over_without_caller(&mut self) {
        self.caller.state = CallerState::Ended;
        self.script = None;
        self.stop_recordings();
        self.drop_partners(&reason::normal());
        self.note(Note::Ended(EndCause::Failed));
    }
}

/// The user part of a SIP URI, or the number itself.
fn user_of(target: &str) -> String {
    let rest = target.split_once(':').map_or(target, |(_, rest)| rest);
    rest.split(['@', ';', '?']).next().unwrap_or_default().to_string()
}
