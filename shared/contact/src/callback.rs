//! Call backs: a place in the queue without a leg, until the party is dialled.

use hotline_base::{AgentId, ContactId, NodeId, OfferId, Reject, Timestamp};
use hotline_flow::run::{self, QueueAsk};
use hotline_routing::callback::{CallFirst, CallbackPolicy};
use hotline_routing::waiting::MAX_CREDIT_MS;
use hotline_wire::legs::{DialFailure, DialParty, DialogRef};
use hotline_wire::node::{NodeAction, RingAgent, Verb};

use crate::step::Work;
use crate::transfer::placed;
use crate::{
    AgentNews, CallbackEnd, Contact, ContactEffect, ContactFact, EndReason, LOST_CREDIT_MS, LeftQueue, Offer, PartyLeg,
    Phase, Place, Wait,
};

/// After a dial that was broken off, the next is not begun sooner, milliseconds: the node has to
/// forget the first.
const BREATH_MS: i64 = 30_000;
/// After an offer that this side took back, milliseconds: so long the node may need to hear of it.
pub(crate) const TAKEN_BACK_MS: i64 = 5_000;
/// A node may take this long to carry out a dial, milliseconds.
const DIAL_LIFE_MS: i64 = 15_000;

fn under_way() -> Reject {
    Reject::new("callback-under-way", "the party is being called back now")
}

/// The wait as it goes on after a pause: in the same place, and no longer than before.
fn resumed(mut wait: Wait, paused: Option<Timestamp>, now: Timestamp) -> Wait {
    let ms = paused.map_or(0, |paused| now.since_ms(paused).max(0));
    let place = wait.entry.virtual_time();
    wait.entry.enqueued_at = wait.entry.enqueued_at.plus_ms(ms);
    wait.entry.priority.credit_ms = wait.entry.enqueued_at.since_ms(place).clamp(0, MAX_CREDIT_MS);
    wait
}

impl Contact {
    /// How long it has waited where it is now, milliseconds, without pauses that are not the
    /// hotline's; `None`: it does not wait.
    pub fn waited_ms(&self, now: Timestamp) -> Option<i64> {
        let until = match &self.phase {
            Phase::Resting { paused: Some(paused), .. } => *paused,
            _ => now,
        };
        Some(self.wait()?.entry.waited_ms(until))
    }
}

impl Work<'_> {
    pub(crate) fn is_absent(&self) -> bool {
        self.contact.leg == PartyLeg::Absent
    }

    /// How the queue of this call back calls.
    pub(crate) fn policy(&self) -> CallbackPolicy {
        let queue = self.contact.order.as_ref().map(|order| &order.queue);
        let config = queue.and_then(|queue| self.setting?.queues.get(queue));
        config.map(|config| config.callback.clone()).unwrap_or_default()
    }

    /// A new call back takes its place.
    pub(crate) fn order_placed(&mut self) -> Result<(), Reject> {
        let Some(order) = self.contact.order.clone() else {
            return Ok(());
        };
        let entered = order.entered.unwrap_or(order.since).min(self.now);
        let mut ask = self.plain_ask(order.queue.clone(), order.since);
        ask.priority_credit_ms = 0;
        let config = self.queue_config(&order.queue)?;
        let mut entry = self.entry(&config, &ask);
        if order.lost_call && config.priority == hotline_routing::queue::PriorityMode::Strict {
            entry.priority.class = hotline_routing::waiting::MAX_PRIORITY;
        }
        let entry = placed(entry, entered, if order.lost_call { LOST_CREDIT_MS } else { 0 });
        ask.since = entered;
        self.enqueued(&ask, &entry);
        self.contact.queue = Some(order.queue.clone());
        let wait = Wait::new(Place::Queue { ask: Box::new(ask) }, entry, self.now);
        match self.opens() {
            Some(until) => self.pause(wait, until),
            None => self.wait_again(wait),
        }
        Ok(())
    }

    fn opens(&self) -> Option<Timestamp> {
        self.setting.and_then(|setting| setting.callback).and_then(|view| view.opens).filter(|at| *at > self.now)
    }

    pub(crate) fn rest(&mut self, wait: Wait, until: Timestamp) {
        self.facts.push(ContactFact::CallbackPostponed { until });
        self.contact.phase = Phase::Resting { wait, until, paused: None };
    }

    /// Rests for no reason of the hotline's making: its wait stands still meanwhile.
    fn pause(&mut self, wait: Wait, until: Timestamp) {
        self.facts.push(ContactFact::CallbackPostponed { until });
        self.contact.phase = Phase::Resting { wait, until, paused: Some(self.now) };
    }

    fn wait_again(&mut self, mut wait: Wait) {
        wait.looked_at = self.now;
        if let Some(queue) = wait.place.queue().cloned() {
            self.effects.push(ContactEffect::MatchQueue { queue });
        }
        self.contact.phase = Phase::Waiting(wait);
    }

    /// It is its turn, but nobody may be called now.
    pub(crate) fn postpone(&mut self, until: Timestamp, closed: bool) -> Result<(), Reject> {
        match self.contact.phase.clone() {
            Phase::Waiting(wait) if self.is_absent() && until > self.now => match closed {
                true => self.pause(wait, until),
                false => self.rest(wait, until),
            },
            _ => {}
        }
        Ok(())
    }

    /// The next attempt is due.
    pub(crate) fn retry(&mut self) {
        if let Phase::Resting { wait, paused, .. } = self.contact.phase.clone() {
            let wait = resumed(wait, paused, self.now);
            match self.opens() {
                Some(until) => self.pause(wait, until),
                None => self.wait_again(wait),
            }
        }
    }

    /// A node is asked to dial; the inputs of this attempt are counted anew.
    pub(crate) fn dial(&mut self, node: NodeId, agent: Option<RingAgent>) {
        let policy = self.policy();
        let ringback = crate::ringback(self.setting.and_then(|setting| setting.home.country));
        let contact = &mut self.contact;
        contact.node = node;
        contact.seq = 0;
        contact.anchored_at = Some(self.now);
        contact.script.answers = None;
        let party = DialParty {
            target: contact.from.clone(),
            caller_id: contact.did.clone(),
            ring_timeout_ms: policy.ring_timeout_ms,
            ringback: if agent.is_some() { vec![ringback] } else { Vec::new() },
            agent,
        };
        let (tenant, fallback) = (contact.tenant, contact.fallback.clone());
        self.command(NodeAction::Dial { tenant, party, fallback }, Some(DIAL_LIFE_MS));
    }

    /// It is its turn and the party is rung first.
    pub(crate) fn dial_party(&mut self, node: NodeId) -> Result<(), Reject> {
        let Phase::Waiting(wait) = self.contact.phase.clone() else {
            return Err(Reject::new("not-waiting", "this call back does not wait any more"));
        };
        if !self.is_absent() || self.policy().first != CallFirst::Party {
            return Err(Reject::new("not-a-callback", "nobody is to be dialled for this contact now"));
        }
        self.dial(node, None);
        self.attempt(wait, None);
        Ok(())
    }

    fn attempt(&mut self, wait: Wait, with: Option<Offer>) {
        let node = self.contact.node;
        let attempt = self.tried();
        let agent = with.as_ref().map(|offer| offer.agent);
        self.facts.push(ContactFact::PartyDialled { node, attempt, agent });
        self.contact.phase = Phase::Dialling { wait, with, since: self.now };
    }

    fn tried(&mut self) -> u8 {
        let waited_ms = self.contact.waited_ms(self.now);
        let Some(order) = &mut self.contact.order else { return 1 };
        order.waited_ms = order.waited_ms.or(waited_ms);
        order.tries = order.tries.saturating_add(1);
        order.tries
    }

    /// The agent is on the line; the party is dialled.
    pub(crate) fn agent_ready(&mut self, wait: Wait, mut open: Offer, dialog: Option<&DialogRef>) {
        self.tell(open.agent, open.offer, AgentNews::Accepted);
        open.dialog = dialog.cloned();
        self.attempt(wait, Some(open));
    }

    /// The party answered.
    pub(crate) fn party_answered(&mut self, dialog: Option<&DialogRef>) -> Result<(), Reject> {
        let Phase::Dialling { wait, with, .. } = self.contact.phase.clone() else {
            // The attempt had been given up.
            if self.is_absent() {
                self.command(NodeAction::End, None);
            }
            return Ok(());
        };
        self.contact.leg = PartyLeg::Here;
        self.contact.answered = true;
        self.contact.dialog = dialog.cloned();
        if with.is_none() && self.contact.order.as_ref().is_some_and(|order| order.asks) {
            return self.ask_party(wait);
        }
        let (mut attempt, mut lost_call) = (1, false);
        if let Some(order) = &mut self.contact.order {
            order.reached = true;
            (attempt, lost_call) = (order.tries, order.lost_call);
        }
        self.facts.push(ContactFact::PartyReached { attempt });
        if let Some(open) = with {
            self.talk(wait, open);
            return Ok(());
        }
        let mut verbs = Vec::new();
        let apology = self.contact.fallback.apology.clone();
        if lost_call && !apology.is_empty() {
            verbs.push(Verb::Play { prompts: apology });
        }
        let music = self.contact.fallback.music.clone();
        verbs.push(Verb::Hold { music, announce: Vec::new(), keys: String::new() });
        self.play(verbs);
        self.wait_again(wait);
        Ok(())
    }

    /// The party goes through the flow for those who are called back.
    fn ask_party(&mut self, wait: Wait) -> Result<(), Reject> {
        if let Some(order) = &mut self.contact.order {
            order.kept = Some(Box::new(wait));
        }
        let setting = self.setting()?;
        let before = &self.contact.cursor;
        let caller = run::Caller { number: self.contact.from.clone(), lang: Some(before.lang), diverted: None };
        let mut turn = run::start(&setting.flow, &caller, &setting.env, self.now);
        turn.cursor.category = turn.cursor.category.or_else(|| before.category.clone());
        turn.cursor.priority = before.priority;
        turn.cursor.skills.extend(before.skills.iter().cloned());
        self.turn(turn)
    }

    /// Whether the party has answered and not yet confirmed to be there.
    pub(crate) fn is_asked(&self) -> bool {
        self.contact.order.as_ref().is_some_and(|order| order.kept.is_some())
    }

    /// The flow comes to a queue: the party is there, and has the place that was kept.
    pub(crate) fn confirmed(&mut self, verbs: Vec<Verb>, mut ask: QueueAsk) -> Result<(), Reject> {
        let Some(order) = &mut self.contact.order else { return Ok(()) };
        let Some(kept) = order.kept.take() else { return Ok(()) };
        order.reached = true;
        self.facts.push(ContactFact::PartyReached { attempt: order.tries });
        ask.since = kept.entry.enqueued_at;
        let config = self.queue_config(&ask.queue)?;
        let mut entry = self.entry(&config, &ask);
        entry.priority.credit_ms = ask.since.since_ms(kept.entry.virtual_time()).clamp(0, MAX_CREDIT_MS);
        entry.not.clone_from(&kept.entry.not);
        if let Some(queue) = kept.place.queue().filter(|queue| **queue != ask.queue) {
            let (queue, wait_ms) = (queue.clone(), kept.entry.waited_ms(self.now));
            self.facts.push(ContactFact::QueueLeft { queue, wait_ms, why: LeftQueue::Key });
            self.enqueued(&ask, &entry);
        }
        self.wait_for(verbs, ask, entry, &config, false)
    }

    /// The party's call ended before it confirmed to be there. `broken`: the node is told to end it.
    pub(crate) fn unconfirmed(&mut self, broken: bool) {
        let kept = self.contact.order.as_mut().and_then(|order| order.kept.take());
        let Some(kept) = kept else { return };
        self.hung_up();
        self.contact.phase = Phase::Dialling { wait: *kept, with: None, since: self.now };
        self.party_failed(DialFailure::Unconfirmed, None, broken);
    }

    /// The party has no leg any more.
    fn hung_up(&mut self) {
        self.contact.leg = PartyLeg::Absent;
        self.contact.answered = false;
        self.contact.dialog = None;
    }

    /// The party was not reached this time. `broken`: the node is told to end what is left.
    pub(crate) fn party_failed(&mut self, reason: DialFailure, sip_status: Option<u16>, broken: bool) {
        let wait = match self.contact.phase.clone() {
            Phase::Dialling { wait, with, .. } => {
                if let Some(open) = with {
                    self.tell(open.agent, open.offer, AgentNews::NotReached);
                }
                wait
            }
            Phase::Offered { wait, offer } if self.is_absent() => {
                self.facts.push(ContactFact::OfferRescinded { offer: offer.offer, agent: offer.agent });
                self.tell(offer.agent, offer.offer, AgentNews::Rescinded);
                self.tried();
                wait
            }
            _ => return,
        };
        if broken {
            self.command(NodeAction::End, None);
        }
        let attempt = self.contact.order.as_ref().map_or(1, |order| order.tries);
        self.facts.push(ContactFact::PartyMissed { attempt, reason, sip_status });
        let policy = self.policy();
        let never = matches!(reason, DialFailure::NoSuchNumber | DialFailure::Forbidden);
        if never || attempt >= policy.attempts {
            self.contact.phase = Phase::Resting { wait, until: self.now, paused: None };
            self.give_up(if never { CallbackEnd::Number } else { CallbackEnd::Attempts });
            return;
        }
        let pause = i64::from(policy.retry_after_ms).max(BREATH_MS);
        self.pause(wait, self.now.plus_ms(pause));
    }

    /// The agent left before the party answered; `false`: that agent was not waiting for a party.
    pub(crate) fn dialling_agent_left(&mut self, offer: OfferId) -> bool {
        let Phase::Dialling { wait, with: Some(open), .. } = self.contact.phase.clone() else {
            return false;
        };
        if open.offer != offer {
            return false;
        }
        self.command(NodeAction::End, None);
        self.tell(open.agent, offer, AgentNews::NotReached);
        self.rest(wait, self.now.plus_ms(BREATH_MS));
        true
    }

    /// The node that was dialling is gone: the call back is as it was before.
    pub(crate) fn dial_lost(&mut self, node: NodeId) -> Result<(), Reject> {
        if let Some(wait) = self.contact.order.as_mut().and_then(|order| order.kept.take()) {
            self.hung_up();
            self.contact.phase = Phase::Dialling { wait: *wait, with: None, since: self.now };
        }
        let (wait, agent): (Wait, Option<(AgentId, OfferId, AgentNews)>) = match self.contact.phase.clone() {
            Phase::Offered { wait, offer } => {
                self.facts.push(ContactFact::NodeLost { node, to: None });
                self.facts.push(ContactFact::OfferRescinded { offer: offer.offer, agent: offer.agent });
                (wait, Some((offer.agent, offer.offer, AgentNews::Rescinded)))
            }
            Phase::Dialling { wait, with, .. } => {
                self.facts.push(ContactFact::NodeLost { node, to: None });
                if let Some(order) = &mut self.contact.order {
                    order.tries = order.tries.saturating_sub(1);
                }
                (wait, with.map(|open| (open.agent, open.offer, AgentNews::NotReached)))
            }
            _ => return Ok(()),
        };
        if let Some((agent, offer, news)) = agent {
            self.tell(agent, offer, news);
        }
        self.wait_again(wait);
        Ok(())
    }

    pub(crate) fn give_up(&mut self, why: CallbackEnd) {
        let attempts = self.contact.order.as_ref().map_or(0, |order| order.tries);
        let waited_ms = self.contact.order.as_ref().and_then(|order| order.waited_ms);
        // Nobody waits any more once the party was called; a number that is none waits for nothing.
        let waited_ms = waited_ms.or_else(|| self.contact.waited_ms(self.now));
        self.gave_up_after_ms = waited_ms.filter(|_| why != CallbackEnd::Number);
        self.facts.push(ContactFact::CallbackFailed { number: self.contact.from.clone(), attempts, why });
        self.end(EndReason::NotReached, None, None);
    }

    /// The party called in: the new call has the place.
    pub(crate) fn merge(&mut self, into: ContactId) -> Result<(), Reject> {
        match &self.contact.phase {
            Phase::Waiting(_) | Phase::Resting { .. } if self.is_absent() => {}
            Phase::Ended { .. } => return Err(Reject::new("contact-ended", "this call back is over already")),
            _ => return Err(under_way()),
        }
        self.facts.push(ContactFact::CallbackMerged { into });
        self.end(EndReason::Merged, None, None);
        Ok(())
    }

    /// A call back of the same caller gives its place to this call.
    pub(crate) fn take_place(&mut self, from: ContactId, since: Timestamp, waited_ms: i64) -> Result<(), Reject> {
        let now = self.now;
        let Phase::Waiting(wait) = &mut self.contact.phase else {
            return Err(Reject::new("not-waiting", "the contact does not wait any more"));
        };
        let place = wait.entry.virtual_time().min(since);
        wait.entry.enqueued_at = wait.entry.enqueued_at.plus_ms(-waited_ms.max(0));
        let credit_ms = wait.entry.enqueued_at.since_ms(place);
        wait.entry.priority.credit_ms = credit_ms.clamp(0, MAX_CREDIT_MS);
        wait.looked_at = now;
        if let Place::Queue { ask } = &mut wait.place {
            ask.since = ask.since.min(since);
            self.effects.push(ContactEffect::MatchQueue { queue: ask.queue.clone() });
        }
        self.facts.push(ContactFact::PlaceTaken { from, since, waited_ms });
        Ok(())
    }
}
