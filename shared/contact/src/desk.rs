//! Hold, advice from a colleague, conference, supervision: legs beside the agent's.

use hotline_base::{AgentId, OfferId, Redacted, Reject};
use hotline_flow::run::Ask;
use hotline_wire::legs::{Arrangement, CallerMode, DialogRef, LegMode};
use hotline_wire::node::{NodeAction, OfferFailure, RingAgent, VerbResult};
use std::collections::BTreeMap;

use crate::legs::arrangement_with;
use crate::queueing::offer_deadline;
use crate::step::Work;
use crate::transfer::{NUMBER_RING_MS, not_talking};
use crate::{
    AgentNews, By, ContactFact, DeskAction, Interaction, Leg, LegFailure, LegRole, MAX_LEGS, NewLeg, Offer, Phase,
    Phone, RecordingKind, RecordingStatus, TransferKind, TransferTarget,
};

impl Work<'_> {
    /// Rings a colleague or supervisor for the call.
    pub(crate) fn add_leg(&mut self, new: &NewLeg, role: LegRole, by: By) -> Result<(), Reject> {
        self.main()?;
        if new.number.is_none() && self.contact.holders().iter().any(|(_, agent)| *agent == new.agent) {
            return Err(Reject::new("already-on-call", "this person is on the call already, or is rung for it"));
        }
        let life_ms = i64::from(new.ring_timeout_ms);
        let leg = Leg {
            offer: Offer {
                offer: new.offer,
                agent: new.agent,
                made_at: self.now,
                rings_until: self.now.plus_ms(life_ms),
                ringing: false,
                record: None,
                phone: Some(Phone {
                    sip_user: new.sip_user.clone(),
                    node: new.phone_node,
                    address: new.phone_address.clone(),
                }),
                dialog: None,
            },
            role,
            queue: new.queue.clone(),
            joined_at: None,
            outside: new.number.clone(),
        };
        let Phase::Talking { others, .. } = &mut self.contact.phase else {
            return Err(not_talking());
        };
        if others.len() >= MAX_LEGS {
            return Err(Reject::new("too-many-legs", "so many people are on this call that nobody else can join"));
        }
        if role == LegRole::Consulted && others.iter().any(|leg| leg.role == LegRole::Consulted) {
            return Err(Reject::new(
                "consulting-already",
                "one colleague is asked at a time: cancel or complete first",
            ));
        }
        others.push(leg.clone());
        self.facts.push(ContactFact::LegAsked {
            offer: new.offer,
            agent: new.agent,
            role,
            by,
            number: new.number.clone(),
        });
        let ring = RingAgent {
            offer: new.offer,
            agent: new.agent,
            sip_user: new.sip_user.clone(),
            phone_node: new.phone_node,
            ring_timeout_ms: new.ring_timeout_ms,
            caller_label: new.caller_label.clone(),
            whisper: Vec::new(),
            record: None,
            phone_address: new.phone_address.clone(),
            arrange: arrangement_with(&self.contact, &leg),
            replaces: None,
            number: new.number.clone(),
        };
        self.command(NodeAction::Ring(ring), Some(life_ms));
        Ok(())
    }

    fn others(&mut self) -> Option<&mut Vec<Leg>> {
        match &mut self.contact.phase {
            Phase::Talking { others, .. } => Some(others),
            _ => None,
        }
    }

    fn leg(&mut self, offer: OfferId) -> Option<&mut Leg> {
        self.others()?.iter_mut().find(|leg| leg.offer.offer == offer)
    }

    fn take_leg(&mut self, offer: OfferId) -> Option<Leg> {
        let others = self.others()?;
        let place = others.iter().position(|leg| leg.offer.offer == offer)?;
        Some(others.remove(place))
    }

    /// A leg's phone rings; `false`: the offer is not that of a leg.
    pub(crate) fn leg_ringing(&mut self, offer: OfferId) -> bool {
        let Some(leg) = self.leg(offer) else { return false };
        leg.offer.ringing = true;
        true
    }

    /// A leg's phone answered; `false`: the offer is not that of a leg.
    pub(crate) fn leg_answered(&mut self, offer: OfferId, dialog: Option<&DialogRef>) -> bool {
        let now = self.now;
        let Some(leg) = self.leg(offer) else { return false };
        leg.offer.dialog = dialog.cloned();
        if leg.joined_at.is_none() {
            leg.joined_at = Some(now);
            let leg = leg.clone();
            self.facts.push(ContactFact::LegJoined { offer, agent: leg.offer.agent, role: leg.role });
            self.tell_leg(&leg, AgentNews::Accepted);
        }
        true
    }

    /// A leg's phone did not take the call; `false`: the offer is not that of a leg.
    pub(crate) fn leg_failed(&mut self, offer: OfferId, reason: OfferFailure, agent_knows: bool) -> bool {
        let Some(leg) = self.take_leg(offer) else { return false };
        let agent = leg.offer.agent;
        if leg.joined_at.is_some() {
            self.leg_left(&leg);
            return true;
        }
        let (why, news) = match reason {
            OfferFailure::Declined => (LegFailure::Declined, AgentNews::Declined),
            OfferFailure::TimedOut => (LegFailure::TimedOut, AgentNews::TimedOut),
            OfferFailure::Unreachable => (LegFailure::Unreachable, AgentNews::Unreachable),
            OfferFailure::Rescinded => (LegFailure::Rescinded, AgentNews::Rescinded),
        };
        self.facts.push(ContactFact::LegFailed { offer, agent, why });
        if agent_knows {
            self.command(NodeAction::Rescind { offer }, None);
        } else {
            self.tell_leg(&leg, news);
        }
        true
    }

    /// Tells the agent of a leg; nobody outside hears of offers.
    fn tell_leg(&mut self, leg: &Leg, news: AgentNews) {
        if leg.outside.is_none() {
            self.tell(leg.offer.agent, leg.offer.offer, news);
        }
    }

    /// A leg ended while the caller is still there; `false`: it is not one beside the agent's.
    pub(crate) fn leg_ended(&mut self, offer: OfferId) -> bool {
        // The report may overtake that of the answer.
        if !self.leg_answered(offer, None) {
            return false;
        }
        if let Some(leg) = self.take_leg(offer) {
            self.leg_left(&leg);
        }
        true
    }

    fn leg_left(&mut self, leg: &Leg) {
        let (offer, agent) = (leg.offer.offer, leg.offer.agent);
        let for_ms = leg.joined_at.map_or(0, |at| self.now.since_ms(at).max(0));
        self.facts.push(ContactFact::LegLeft { offer, agent, role: leg.role, for_ms });
        self.tell_leg(leg, AgentNews::Ended);
    }

    fn drop_leg(&mut self, leg: &Leg, at_node: bool) {
        let (offer, agent) = (leg.offer.offer, leg.offer.agent);
        if leg.joined_at.is_some() {
            if at_node {
                self.command(NodeAction::ReleaseAgent { offer }, None);
            }
            self.leg_left(leg);
        } else {
            if at_node {
                self.command(NodeAction::Rescind { offer }, None);
            }
            self.facts.push(ContactFact::LegFailed { offer, agent, why: LegFailure::Rescinded });
            self.tell_leg(leg, AgentNews::Rescinded);
        }
    }

    /// Everybody but the agent leaves. `at_node`: the node does not know yet.
    pub(crate) fn drop_others(&mut self, at_node: bool) {
        let legs = self.others().map(std::mem::take).unwrap_or_default();
        for leg in &legs {
            self.drop_leg(leg, at_node);
        }
    }

    /// Rings of colleagues and supervisors whose time is over and of which nobody said how they ended.
    pub(crate) fn legs_overdue(&mut self) {
        let now = self.now;
        let late = |leg: &&Leg| leg.joined_at.is_none() && offer_deadline(&leg.offer) <= now;
        let Phase::Talking { others, .. } = &self.contact.phase else { return };
        let overdue: Vec<(OfferId, bool)> =
            others.iter().filter(late).map(|leg| (leg.offer.offer, leg.offer.ringing)).collect();
        for (offer, ringing) in overdue {
            self.command(NodeAction::Rescind { offer }, None);
            let why = if ringing { OfferFailure::TimedOut } else { OfferFailure::Rescinded };
            self.leg_failed(offer, why, false);
        }
    }

    /// The agent's leg ended while the caller is still there: whoever talks with them takes over;
    /// a caller who was to be advised goes back to the queue.
    pub(crate) fn main_left(&mut self) -> Result<bool, Reject> {
        let Phase::Talking { others, .. } = &self.contact.phase else {
            return Ok(false);
        };
        let talks = |leg: &&Leg| matches!(leg.role, LegRole::Consulted | LegRole::Conferenced);
        let heir = others.iter().filter(talks).find(|leg| leg.joined_at.is_some()).map(|leg| leg.offer.offer);
        let advised = others.iter().any(|leg| leg.role == LegRole::Consulted);
        if let Some(heir) = heir {
            let by = By::from_u128(self.contact.agent().map_or(0, AgentId::as_u128));
            self.hand_over(heir, by, &String::new().into());
            return Ok(true);
        }
        self.drop_others(true);
        if !advised {
            return Ok(false);
        }
        self.close_talk(true);
        if !self.requeue(0)? {
            self.go_on()?;
        }
        Ok(true)
    }

    /// A leg becomes that of the agent who has the call.
    fn hand_over(&mut self, heir: OfferId, by: By, reason: &Redacted<String>) {
        let Some(leg) = self.take_leg(heir) else { return };
        let Phase::Talking { interaction, others, .. } = self.contact.phase.clone() else { return };
        if let Some(number) = leg.outside {
            return self.hand_outside(heir, number, &interaction, by, reason);
        }
        let agent = leg.offer.agent;
        let name = leg.offer.phone.as_ref().and_then(|phone| phone.sip_user.split('.').next()?.parse().ok());
        let name = name.unwrap_or_else(|| self.contact.cursor.at.step.clone());
        let target = TransferTarget::Agent { agent, name };
        self.transferred(&interaction, target, TransferKind::Consultative, by, reason.clone());
        self.close_talk(true);
        let queue = leg.queue.clone().or(interaction.queue);
        self.facts.push(ContactFact::LegsBridged { offer: heir, agent, queue: queue.clone() });
        let interaction =
            Interaction { offer: heir, agent, queue, talk_ms: 0, phone: leg.offer.phone, dialog: leg.offer.dialog };
        self.contact.phase = Phase::Talking { since: self.now, interaction, others, held: None, rejoin: None };
    }

    /// The caller goes on with somebody outside; nobody of the tenant's is on the call any more.
    fn hand_outside(
        &mut self,
        leg: OfferId,
        number: Redacted<String>,
        main: &Interaction,
        by: By,
        reason: &Redacted<String>,
    ) {
        let target = TransferTarget::Number { number: number.clone() };
        self.transferred(main, target, TransferKind::Consultative, by, reason.clone());
        self.drop_others(true);
        self.close_talk(true);
        let agents = BTreeMap::from([(leg, LegMode::Talks)]);
        let arrangement = Arrangement { caller: CallerMode::Talks, agents };
        self.command(NodeAction::Arrange { arrangement }, None);
        self.contact.outside = Some(leg);
        let ask = Ask::Transfer { target: number.into_inner(), ring_timeout_ms: NUMBER_RING_MS, keys: None };
        self.contact.phase = Phase::InFlow { ask };
    }

    /// The leg of somebody outside ended, to whom the caller had been left: the flow goes on.
    /// `false`: the offer is not that of such a leg.
    pub(crate) fn outside_left(&mut self, offer: OfferId) -> Result<bool, Reject> {
        if self.contact.outside != Some(offer) {
            return Ok(false);
        }
        self.contact.outside = None;
        if let Phase::InFlow { ask } = self.contact.phase.clone() {
            self.ask_ended(&ask, &VerbResult::Transferred { answered: true, reasons: vec![] })?;
        }
        Ok(true)
    }

    /// Somebody on the call does something.
    pub(crate) fn desk(&mut self, by: By, action: &DeskAction) -> Result<(), Reject> {
        let main = self.main()?;
        let now = self.now;
        let consult = |work: &Self| match &work.contact.phase {
            Phase::Talking { others, .. } => others.iter().find(|leg| leg.role == LegRole::Consulted).cloned(),
            _ => None,
        };
        let nobody = || Reject::new("not-consulting", "no colleague is asked for advice now");
        let joined = |leg: Leg| match leg.joined_at {
            Some(_) => Ok(leg),
            None => Err(Reject::new("consult-not-answered", "the colleague has not answered yet")),
        };
        match action {
            DeskAction::Hold => {
                if let Phase::Talking { held: held @ None, .. } = &mut self.contact.phase {
                    *held = Some(now);
                    self.facts.push(ContactFact::CallerHeld { agent: main.agent });
                }
            }
            DeskAction::Resume => {
                if let Phase::Talking { held, .. } = &mut self.contact.phase
                    && let Some(since) = held.take()
                {
                    let held_ms = now.since_ms(since).max(0);
                    self.facts.push(ContactFact::CallerResumed { agent: main.agent, held_ms });
                }
            }
            DeskAction::Complete { reason } => {
                let leg = joined(consult(self).ok_or_else(nobody)?)?;
                self.command(NodeAction::ReleaseAgent { offer: main.offer }, None);
                self.hand_over(leg.offer.offer, by, reason);
            }
            DeskAction::CancelConsult => {
                let leg = consult(self).ok_or_else(nobody)?;
                self.take_leg(leg.offer.offer);
                self.drop_leg(&leg, true);
            }
            DeskAction::Conference => {
                let leg = joined(consult(self).ok_or_else(nobody)?)?;
                self.change(leg.offer.offer, LegRole::Conferenced, by);
                if let Phase::Talking { held, .. } = &mut self.contact.phase {
                    *held = None;
                }
            }
            DeskAction::Supervise { agent, mode } => {
                let offer = self.leg_of(*agent, true)?;
                self.change(offer, LegRole::Supervisor { mode: *mode }, by);
            }
            DeskAction::Leave { agent } => {
                let offer = self.leg_of(*agent, false)?;
                if let Some(leg) = self.take_leg(offer) {
                    self.drop_leg(&leg, true);
                }
            }
            DeskAction::PauseRecording { paused } => {
                let running =
                    |r: &&crate::Recording| r.kind == RecordingKind::Call && r.status == RecordingStatus::Running;
                let last = self.contact.recordings.iter().rev().find(running).map(|r| r.recording);
                let recording =
                    last.ok_or_else(|| Reject::new("not-recorded", "this conversation is not being recorded"))?;
                self.command(NodeAction::PauseRecording { recording, paused: *paused }, None);
                self.facts.push(ContactFact::RecordingPaused { recording, paused: *paused, by });
            }
        }
        Ok(())
    }

    fn change(&mut self, offer: OfferId, role: LegRole, by: By) {
        if let Some(leg) = self.leg(offer)
            && leg.role != role
        {
            leg.role = role;
            let agent = leg.offer.agent;
            self.facts.push(ContactFact::LegChanged { offer, agent, role, by });
        }
    }

    fn leg_of(&mut self, agent: AgentId, supervises: bool) -> Result<OfferId, Reject> {
        let fits = |leg: &&mut Leg| {
            leg.offer.agent == agent && (!supervises || matches!(leg.role, LegRole::Supervisor { .. }))
        };
        let found = self.others().and_then(|others| others.iter_mut().find(fits).map(|leg| leg.offer.offer));
        found.ok_or_else(|| Reject::new("not-on-call", "this person is not on the call beside the agent"))
    }
}
