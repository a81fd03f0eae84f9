//! Waiting, offers, talking.

use hotline_base::{Name, OfferId, Redacted, Reject};
use hotline_flow::run::{Input, QueueAsk, RingTarget};
use hotline_flow::{Part, Priority as FlowPriority};
use hotline_routing::waiting::{Affinity, Priority};
use hotline_routing::{Need, QueueConfig, Relax, WaitingEntry};
use hotline_wire::legs::DialogRef;
use hotline_wire::node::{NodeAction, OfferFailure, RingAgent, Verb};

use crate::state::MAX_INTERACTIONS;
use crate::step::Work;
use crate::{
    AgentNews, By, ContactEffect, ContactFact, Event, Interaction, LeftQueue, OFFER_BACKSTOP_MS, Offer, Phase, Phone,
    Place, RecordingKind, Wait,
};

/// After this wait a skill that the flow asked for is no longer insisted on, milliseconds.
const SKILL_RELAX_MS: u32 = 60_000;
/// For so long whoever talked with the caller last is preferred, milliseconds.
const LAST_AGENT_MS: i64 = 600_000;
/// Announcements with numbers are brought up to date this often, milliseconds.
const ANNOUNCE_MS: (u32, u32) = (15_000, 60_000);
/// A direct ring is given up so long after its ring time, milliseconds.
const DIRECT_EXTRA_MS: i64 = 15_000;

/// Why an offer came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackReason {
    Declined,
    TimedOut,
    Unreachable(Option<u16>),
    Rescinded,
}

/// What a priority adds to a step's own credit, milliseconds.
fn credit_ms(priority: FlowPriority) -> i64 {
    match priority {
        FlowPriority::Low | FlowPriority::Medium => 0,
        FlowPriority::High => 120_000,
        FlowPriority::Urgent => 600_000,
    }
}

fn class(priority: FlowPriority) -> u8 {
    match priority {
        FlowPriority::Low => 0,
        FlowPriority::Medium => 1,
        FlowPriority::High => 2,
        FlowPriority::Urgent => 3,
    }
}

/// Tells the same caller from others without the number itself (FNV-1a).
pub fn caller_key(number: &str) -> String {
    if number.is_empty() {
        return String::new();
    }
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in number.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

impl Work<'_> {
    /// The flow sends the contact to a queue.
    pub(crate) fn enqueue(&mut self, verbs: Vec<Verb>, ask: QueueAsk) -> Result<(), Reject> {
        if self.is_asked() {
            return self.confirmed(verbs, ask);
        }
        let config = self.queue_config(&ask.queue)?;
        if let Some(turn) = self.turned_away(&config, class(ask.priority))? {
            // What was to be said before the wait is not said: the flow says something else.
            self.answers_now |= verbs.iter().any(|verb| matches!(verb, Verb::Answer));
            return self.turn(turn);
        }
        let entry = self.entry(&config, &ask);
        self.enqueued(&ask, &entry);
        self.wait_for(verbs, ask, entry, &config, false)?;
        // Rules about the queue's state may apply to whoever comes.
        self.overflow()
    }

    /// A stay in a queue begins.
    pub(crate) fn enqueued(&mut self, ask: &QueueAsk, entry: &WaitingEntry) {
        let (queue, credit_ms, since) = (ask.queue.clone(), entry.priority.credit_ms, ask.since);
        self.facts.push(ContactFact::ContactEnqueued { queue, credit_ms, since });
    }

    /// Waits in a queue with its music, after these verbs.
    pub(crate) fn wait_for(
        &mut self,
        mut verbs: Vec<Verb>,
        ask: QueueAsk,
        entry: WaitingEntry,
        config: &QueueConfig,
        transferred: bool,
    ) -> Result<(), Reject> {
        let (hold, told) = self.hold_verb(&ask, None)?;
        verbs.push(hold);
        self.play(verbs);
        self.contact.queue = Some(ask.queue.clone());
        self.effects.push(ContactEffect::MatchQueue { queue: ask.queue.clone() });
        self.contact.phase = Phase::Waiting(Wait {
            until: ask.max_wait_ms.map(|ms| self.now.plus_ms(i64::from(ms))),
            announce_at: refresh_ms(&ask).map(|ms| self.now.plus_ms(ms)),
            told,
            overflow_at: (!config.overflow.is_empty()).then_some(self.now),
            transferred,
            ..Wait::new(Place::Queue { ask: Box::new(ask) }, entry, self.now)
        });
        Ok(())
    }

    /// A queue's rules; the defaults where it was removed since the flow was published.
    pub(crate) fn queue_config(&self, queue: &Name) -> Result<QueueConfig, Reject> {
        let found = self.setting()?.queues.get(queue).cloned();
        Ok(found.unwrap_or_else(|| QueueConfig::new(queue.clone())))
    }

    /// The contact's place in a queue's order and what it needs there.
    pub(crate) fn entry(&self, config: &QueueConfig, ask: &QueueAsk) -> WaitingEntry {
        let priority = Priority {
            credit_ms: i64::from(ask.priority_credit_ms) + credit_ms(ask.priority),
            class: class(ask.priority),
        };
        let mut entry = WaitingEntry::new(self.contact.id, config, Some(ask.lang), priority, ask.since);
        entry.caller = caller_key(self.contact.from.expose());
        let last = self.setting.and_then(|setting| setting.last_agent);
        entry.affinity = last
            .filter(|(_, until)| self.now.since_ms(*until) < i64::from(config.last_agent_ms))
            .map(|(agent, _)| Affinity { agent, until: self.now.plus_ms(LAST_AGENT_MS), only: false });
        let relax = vec![Relax { after_ms: SKILL_RELAX_MS, level: 0 }];
        let wanted = ask.skills.iter().map(|skill| Need { skill: skill.clone(), level: 1, relax: relax.clone() });
        entry.required.extend(wanted);
        entry.required.truncate(hotline_routing::skill::MAX_NEEDS);
        entry
    }

    /// The flow rings a certain agent or a group.
    pub(crate) fn ring_direct(&mut self, target: RingTarget, ring_timeout_ms: u32) -> Result<(), Reject> {
        let name = self.contact.cursor.at.step.clone();
        let config = QueueConfig::new(name);
        let entry = WaitingEntry::new(self.contact.id, &config, None, Priority::default(), self.now);
        self.effects.push(ContactEffect::RingDirect { target: target.clone(), ring_timeout_ms, not: Vec::new() });
        self.contact.phase = Phase::Waiting(Wait {
            until: Some(self.now.plus_ms(i64::from(ring_timeout_ms) + DIRECT_EXTRA_MS)),
            ..Wait::new(Place::Direct { target, ring_timeout_ms }, entry, self.now)
        });
        Ok(())
    }

    /// The wait ends without an agent; the flow goes on.
    pub(crate) fn leave_queue(&mut self, input: &Input, why: LeftQueue) -> Result<(), Reject> {
        let Some(wait) = self.contact.wait().cloned() else {
            return Ok(());
        };
        // A colleague did not take the transferred caller: back to the queue.
        if wait.transferred && wait.place.queue().is_none() && self.transfer_returns()? {
            return Ok(());
        }
        let mut turn = self.next_turn(input)?;
        if turn.is_none() && wait.transferred {
            // The flow did not ask for this wait, so it knows no way on from it.
            turn = match self.next_turn(&Input::RingFailed)? {
                Some(turn) => Some(turn),
                None => self.next_turn(&Input::AgentDone)?,
            };
        }
        let Some(turn) = turn else {
            // The flow has no way on: it would wait for ever.
            self.end_by_command();
            return Ok(());
        };
        if let Phase::Offered { offer, .. } = &self.contact.phase {
            let (agent, offer) = (offer.agent, offer.offer);
            self.command(NodeAction::Rescind { offer }, None);
            self.facts.push(ContactFact::OfferRescinded { offer, agent });
            self.tell(agent, offer, AgentNews::Rescinded);
        }
        self.close_wait(&wait);
        if let Some(queue) = wait.place.queue() {
            let wait_ms = wait.entry.waited_ms(self.now);
            self.facts.push(ContactFact::QueueLeft { queue: queue.clone(), wait_ms, why });
        }
        self.turn(turn)
    }

    /// The waiting loop again, after something had replaced or ended it.
    pub(crate) fn hold_again(&mut self) {
        let verbs = self.contact.script.verbs.iter();
        let hold = verbs.filter(|verb| matches!(verb, Verb::Hold { .. })).cloned().collect();
        self.play(hold);
    }

    /// Adds the wait that just ended to the contact's sum.
    pub(crate) fn close_wait(&mut self, wait: &Wait) {
        self.contact.waited_ms += wait.entry.waited_ms(self.now);
    }

    pub(crate) fn wait_over(&mut self) -> Result<(), Reject> {
        match &self.contact.phase {
            Phase::Waiting(wait) if wait.place.queue().is_some() => {
                self.leave_queue(&Input::QueueTimedOut, LeftQueue::TimedOut)
            }
            Phase::Waiting(_) => self.leave_queue(&Input::RingFailed, LeftQueue::NoAnswer),
            _ => Ok(()),
        }
    }

    pub(crate) fn nobody_free(&mut self) -> Result<(), Reject> {
        match &self.contact.phase {
            Phase::Waiting(wait) if wait.place.queue().is_none() => {
                self.leave_queue(&Input::RingFailed, LeftQueue::NoAnswer)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn nobody_staffed(&mut self, queue: &Name) -> Result<(), Reject> {
        match &self.contact.phase {
            Phase::Waiting(Wait { place: Place::Queue { ask }, .. })
                if ask.queue == *queue && ask.leave_when_not_staffed =>
            {
                self.leave_queue(&Input::NobodyStaffed, LeftQueue::NobodyStaffed)
            }
            _ => Ok(()),
        }
    }

    /// More agents qualify than before: look again.
    pub(crate) fn rematch(&mut self) {
        let now = self.now;
        if let Phase::Waiting(wait) = &mut self.contact.phase {
            wait.looked_at = now;
            if let Some(queue) = wait.place.queue().cloned() {
                self.effects.push(ContactEffect::MatchQueue { queue });
            }
        }
    }

    /// Brings the numbers in announcements up to date.
    pub(crate) fn announce(&mut self) -> Result<(), Reject> {
        let Phase::Waiting(Wait { place: Place::Queue { ask }, .. }) = &self.contact.phase else {
            return Ok(());
        };
        let ask = ask.clone();
        let before = self.contact.wait().and_then(|wait| wait.told);
        let (fresh, told) = self.hold_verb(&ask, before)?;
        let next = refresh_ms(&ask).map(|ms| self.now.plus_ms(ms));
        if let Phase::Waiting(wait) = &mut self.contact.phase {
            wait.announce_at = next;
            wait.told = told;
        }
        let Some(hold) = self.contact.script.verbs.last_mut() else {
            return Ok(());
        };
        if let (Verb::Hold { announce, .. }, false) = (&fresh, *hold == fresh) {
            let announce = announce.clone();
            *hold = fresh;
            self.command(NodeAction::Announce { announce }, None);
        }
        Ok(())
    }

    /// Routing proposes an agent.
    pub(crate) fn offer(&mut self, event: &Event) -> Result<(), Reject> {
        let Event::Offer {
            offer,
            agent,
            sip_user,
            phone_node,
            ring_timeout_ms,
            caller_label,
            record,
            phone_address,
            dial,
            by,
        } = event
        else {
            return Ok(());
        };
        let Phase::Waiting(wait) = self.contact.phase.clone() else {
            return Err(Reject::new("not-waiting", "the contact does not wait for an agent any more"));
        };
        if self.is_moving() {
            return Err(Reject::new("not-waiting", "the call is moving to another node"));
        }
        if self.is_absent() && dial.is_none() {
            return Err(Reject::new("no-node", "no node can call the party now"));
        }
        let life_ms = i64::from(*ring_timeout_ms);
        if let Some((by, reason)) = by {
            let (agent, by, reason) = (*agent, *by, reason.clone());
            self.facts.push(ContactFact::ContactAssigned { agent, by, reason });
        }
        self.facts.push(ContactFact::OfferMade {
            offer: *offer,
            agent: *agent,
            queue: wait.place.queue().cloned(),
            wait_ms: wait.entry.waited_ms(self.now),
        });
        let ring = RingAgent {
            offer: *offer,
            agent: *agent,
            sip_user: sip_user.clone(),
            phone_node: *phone_node,
            ring_timeout_ms: *ring_timeout_ms,
            caller_label: caller_label.clone(),
            whisper: Vec::new(),
            record: *record,
            phone_address: phone_address.clone(),
            arrange: None,
            replaces: None,
            number: None,
        };
        match dial {
            Some(node) if self.is_absent() => self.dial(*node, Some(ring)),
            _ => self.command(NodeAction::Ring(ring), Some(life_ms)),
        }
        self.contact.phase = Phase::Offered {
            wait,
            offer: Offer {
                offer: *offer,
                agent: *agent,
                made_at: self.now,
                rings_until: self.now.plus_ms(life_ms),
                ringing: false,
                record: *record,
                phone: Some(Phone { sip_user: sip_user.clone(), node: *phone_node, address: phone_address.clone() }),
                dialog: None,
            },
        };
        Ok(())
    }

    /// A supervisor takes an offer back; this agent is not asked again.
    pub(crate) fn take_back(&mut self, by: By, reason: &Redacted<String>) -> Result<(), Reject> {
        let Phase::Offered { offer, .. } = &self.contact.phase else {
            return Err(Reject::new("not-offered", "the contact is not offered to anybody now"));
        };
        let (offer, agent) = (offer.offer, offer.agent);
        self.facts.push(ContactFact::OfferTakenBack { offer, agent, by, reason: reason.clone() });
        self.command(NodeAction::Rescind { offer }, None);
        self.offer_back(offer, BackReason::Rescinded, false)?;
        if let Phase::Waiting(wait) | Phase::Resting { wait, .. } = &mut self.contact.phase {
            wait.entry.exclude(agent);
        }
        Ok(())
    }

    pub(crate) fn offer_ringing(&mut self, offer: OfferId) {
        if self.leg_ringing(offer) {
            return;
        }
        if let Phase::Offered { offer: open, .. } = &mut self.contact.phase
            && open.offer == offer
            && !open.ringing
        {
            open.ringing = true;
            let agent = open.agent;
            self.facts.push(ContactFact::OfferRinging { offer, agent });
        }
    }

    pub(crate) fn offer_answered(&mut self, offer: OfferId, dialog: Option<&DialogRef>) -> Result<(), Reject> {
        if self.leg_answered(offer, dialog) || self.contact.outside == Some(offer) {
            return Ok(());
        }
        let (wait, mut open) = match self.contact.phase.clone() {
            Phase::Offered { wait, offer: open } if open.offer == offer => (wait, open),
            Phase::Talking { interaction, .. } if interaction.offer == offer => {
                self.rejoined(dialog);
                return Ok(());
            }
            Phase::Dialling { with: Some(open), .. } if open.offer == offer => return Ok(()),
            _ => {
                // The phone answered after the offer was gone: the agent is not ours any more.
                if self.contact.stray != Some(offer) {
                    self.contact.stray = Some(offer);
                    self.command(NodeAction::ReleaseAgent { offer }, None);
                }
                return Ok(());
            }
        };
        if self.is_absent() {
            self.agent_ready(wait, open, dialog);
            return Ok(());
        }
        open.dialog = dialog.cloned();
        self.tell(open.agent, offer, AgentNews::Accepted);
        self.talk(wait, open);
        Ok(())
    }

    /// Party and agent hear each other.
    pub(crate) fn talk(&mut self, wait: Wait, open: Offer) {
        let queue = wait.place.queue().cloned();
        let (offer, agent) = (open.offer, open.agent);
        self.close_wait(&wait);
        self.facts.push(ContactFact::OfferAccepted {
            offer,
            agent,
            queue: queue.clone(),
            wait_ms: wait.entry.waited_ms(self.now),
            ring_ms: self.now.since_ms(open.made_at),
        });
        self.facts.push(ContactFact::LegsBridged { offer, agent, queue: queue.clone() });
        if let Some(recording) = open.record {
            self.add_recording(recording, RecordingKind::Call, Some(agent));
        }
        self.contact.answered_at.get_or_insert(self.now);
        // Whoever was rung directly on a transfer came from this queue all the same.
        if queue.is_some() || !wait.transferred {
            self.contact.last_wait = Some(Box::new(wait));
        }
        let interaction = Interaction { offer, agent, queue, talk_ms: 0, phone: open.phone, dialog: open.dialog };
        self.contact.phase =
            Phase::Talking { since: self.now, interaction, others: Vec::new(), held: None, rejoin: None };
    }

    pub(crate) fn offer_failed(
        &mut self,
        offer: OfferId,
        reason: OfferFailure,
        sip_status: Option<u16>,
    ) -> Result<(), Reject> {
        if self.leg_failed(offer, reason, false) {
            return Ok(());
        }
        if matches!(&self.contact.phase,
            Phase::Talking { interaction, rejoin: Some(_), .. } if interaction.offer == offer)
        {
            return self.agent_lost();
        }
        if self.dialling_agent_left(offer) {
            return Ok(());
        }
        let why = match reason {
            OfferFailure::Declined => BackReason::Declined,
            OfferFailure::TimedOut => BackReason::TimedOut,
            OfferFailure::Unreachable => BackReason::Unreachable(sip_status),
            OfferFailure::Rescinded => BackReason::Rescinded,
        };
        self.offer_back(offer, why, false)
    }

    /// The offer's time is over and nobody said how it ended.
    pub(crate) fn offer_overdue(&mut self) -> Result<(), Reject> {
        self.legs_overdue();
        let Phase::Offered { offer, .. } = &self.contact.phase else {
            return Ok(());
        };
        // Where not even ringing was reported, the command or the report was lost: that is no
        // fault of the agent's.
        let why = if offer.ringing { BackReason::TimedOut } else { BackReason::Rescinded };
        let offer = offer.offer;
        self.command(NodeAction::Rescind { offer }, None);
        self.offer_back(offer, why, false)
    }

    /// An offer ended without a conversation: back to the wait, which goes on where it was.
    pub(crate) fn offer_back(&mut self, offer: OfferId, why: BackReason, agent_knows: bool) -> Result<(), Reject> {
        if agent_knows {
            let reason = if why == BackReason::Declined { OfferFailure::Declined } else { OfferFailure::Unreachable };
            if self.leg_failed(offer, reason, true) {
                return Ok(());
            }
        }
        let Phase::Offered { mut wait, offer: open } = self.contact.phase.clone() else {
            return Ok(());
        };
        if open.offer != offer {
            return Ok(());
        }
        let agent = open.agent;
        let (fact, news) = match why {
            BackReason::Declined => (ContactFact::OfferDeclined { offer, agent }, AgentNews::Declined),
            BackReason::TimedOut => (ContactFact::OfferTimedOut { offer, agent }, AgentNews::TimedOut),
            BackReason::Unreachable(sip_status) => {
                (ContactFact::OfferUnreachable { offer, agent, sip_status }, AgentNews::Unreachable)
            }
            BackReason::Rescinded => (ContactFact::OfferRescinded { offer, agent }, AgentNews::Rescinded),
        };
        self.facts.push(fact);
        if agent_knows {
            self.command(NodeAction::Rescind { offer }, None);
        } else {
            self.tell(agent, offer, news);
        }
        wait.looked_at = self.now;
        wait.entry.exclude(agent);
        if self.is_absent() && (agent_knows || why == BackReason::Rescinded) {
            if why != BackReason::Declined {
                wait.entry.not.retain(|other| *other != agent);
            }
            self.rest(wait, self.now.plus_ms(crate::callback::TAKEN_BACK_MS));
            return Ok(());
        }
        match &wait.place {
            Place::Queue { ask } => {
                // Only who refused is passed over from now on; a phone that was out of reach, or
                // a desk left for a moment, may be back before anybody else is free.
                if why != BackReason::Declined {
                    wait.entry.not.retain(|other| *other != agent);
                }
                self.effects.push(ContactEffect::MatchQueue { queue: ask.queue.clone() });
            }
            Place::Direct { target: target @ RingTarget::Group(_), ring_timeout_ms } => {
                let again = i64::from(*ring_timeout_ms) + DIRECT_EXTRA_MS;
                wait.until = Some(self.now.plus_ms(again));
                self.effects.push(ContactEffect::RingDirect {
                    target: target.clone(),
                    ring_timeout_ms: *ring_timeout_ms,
                    not: wait.entry.not.clone(),
                });
            }
            Place::Direct { target: RingTarget::Agent(_), .. } => {
                self.contact.phase = Phase::Waiting(wait);
                return self.leave_queue(&Input::RingFailed, LeftQueue::NoAnswer);
            }
        }
        self.contact.phase = Phase::Waiting(wait);
        Ok(())
    }

    /// The agent's leg ended while the caller is still there.
    pub(crate) fn agent_leg_ended(&mut self, offer: OfferId) -> Result<(), Reject> {
        if self.contact.stray == Some(offer) {
            self.contact.stray = None;
            // The bridge had replaced what was playing.
            match &self.contact.phase {
                Phase::Waiting(_) | Phase::Offered { .. } => self.hold_again(),
                Phase::InFlow { .. } => {
                    let verbs = self.contact.script.verbs.iter();
                    let rest = verbs.filter(|verb| !matches!(verb, Verb::Answer)).cloned();
                    let rest = rest.collect();
                    self.play(rest);
                }
                Phase::Talking { .. } | Phase::Dialling { .. } | Phase::Resting { .. } | Phase::Ended { .. } => {}
            }
            return Ok(());
        }
        if self.leg_ended(offer) || self.dialling_agent_left(offer) || self.outside_left(offer)? {
            return Ok(());
        }
        if matches!(&self.contact.phase,
            Phase::Talking { interaction, rejoin: Some(_), .. } if interaction.offer == offer)
        {
            return self.agent_lost();
        }
        let ours = matches!(&self.contact.phase,
            Phase::Talking { interaction, .. } if interaction.offer == offer);
        if ours {
            return self.talk_over();
        }
        // The report overtook that of the answer: the conversation was short but it was one.
        if matches!(&self.contact.phase, Phase::Offered { offer: open, .. } if open.offer == offer) {
            self.offer_answered(offer, None)?;
            if self.dialling_agent_left(offer) {
                return Ok(());
            }
            return self.talk_over();
        }
        Ok(())
    }

    /// The agent left first: the flow goes on with the caller.
    fn talk_over(&mut self) -> Result<(), Reject> {
        if self.main_left()? {
            return Ok(());
        }
        match self.next_turn(&Input::AgentDone)? {
            Some(turn) => {
                self.close_talk(true);
                self.turn(turn)
            }
            None => {
                self.end_by_command();
                Ok(())
            }
        }
    }

    /// The conversation is over.
    pub(crate) fn close_talk(&mut self, agent_first: bool) {
        let Phase::Talking { since, interaction, held, .. } = self.contact.phase.clone() else {
            return;
        };
        let talk_ms = self.now.since_ms(since).max(0);
        if let Some(held) = held {
            let held_ms = self.now.since_ms(held).max(0);
            self.facts.push(ContactFact::CallerResumed { agent: interaction.agent, held_ms });
        }
        let Interaction { offer, agent, queue, .. } = interaction;
        self.facts.push(ContactFact::AgentLegEnded { offer, agent, queue: queue.clone(), talk_ms, agent_first });
        self.tell(agent, offer, AgentNews::Ended);
        let contact = &mut self.contact;
        contact.talked_ms += talk_ms;
        contact.interaction_count += 1;
        contact.interactions.push(Interaction { offer, agent, queue, talk_ms, phone: None, dialog: None });
        let extra = contact.interactions.len().saturating_sub(MAX_INTERACTIONS);
        contact.interactions.drain(..extra);
    }
}

/// How often announcements are brought up to date, milliseconds; `None`: they say no numbers.
fn refresh_ms(ask: &QueueAsk) -> Option<i64> {
    let changes = |announcement: &&hotline_flow::Announcement| {
        let mut parts = announcement.prompts.iter().flatten();
        parts.any(|part| matches!(part, Part::Number { .. })) && announcement.every_ms > 0
    };
    let every = ask.announcements.iter().filter(changes).map(|a| a.every_ms).min()?;
    Some(i64::from(every.clamp(ANNOUNCE_MS.0, ANNOUNCE_MS.1)))
}

/// The moment at which an offer is taken back.
pub(crate) fn offer_deadline(offer: &Offer) -> hotline_base::Timestamp {
    offer.rings_until.plus_ms(OFFER_BACKSTOP_MS)
}
