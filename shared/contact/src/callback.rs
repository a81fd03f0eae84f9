//! Call backs: a place in the queue without a leg, until the party is dialled.

use hotline_base::{AgentId, ContactId, NodeId, OfferId, Reject, Timestamp};
use hotline_routing::callback::{CallFirst, CallbackPolicy};
use hotline_wire::legs::{DialFailure, DialParty, DialogRef};
use hotline_wire::node::{NodeAction, RingAgent, Verb};

use crate::step::Work;
use crate::{
    AgentNews, CallbackEnd, ContactEffect, ContactFact, EndReason, LOST_CREDIT_MS, Offer, PartyLeg, Phase, Place, Wait,
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
        let mut ask = self.plain_ask(order.queue.clone(), order.since);
        ask.priority_credit_ms = 0;
        let config = self.queue_config(&order.queue)?;
        let mut entry = self.entry(&config, &ask);
        if order.lost_call && config.priority == hotline_routing::queue::PriorityMode::Strict {
            entry.priority.class = hotline_routing::waiting::MAX_PRIORITY;
        }
        let entry = self.placed(entry, if order.lost_call { LOST_CREDIT_MS } else { 0 });
        self.facts.push(ContactFact::ContactEnqueued {
            queue: order.queue.clone(),
            credit_ms: entry.priority.credit_ms,
            since: order.since,
        });
        self.contact.queue = Some(order.queue.clone());
        let wait = Wait {
            place: Place::Queue { ask: Box::new(ask) },
            entry,
            until: None,
            looked_at: self.now,
            announce_at: None,
            told: None,
            overflow_at: None,
            applied: 0,
            moves: 0,
            transferred: false,
        };
        match self.opens() {
            Some(until) => self.rest(wait, until),
            None => self.wait_again(wait),
        }
        Ok(())
    }

    fn opens(&self) -> Option<Timestamp> {
        self.setting.and_then(|setting| setting.callback).and_then(|view| view.opens).filter(|at| *at > self.now)
    }

    pub(crate) fn rest(&mut self, wait: Wait, until: Timestamp) {
        self.facts.push(ContactFact::CallbackPostponed { until });
        self.contact.phase = Phase::Resting { wait, until };
    }

    fn wait_again(&mut self, mut wait: Wait) {
        wait.looked_at = self.now;
        if let Some(queue) = wait.place.queue().cloned() {
            self.effects.push(ContactEffect::MatchQueue { queue });
        }
        self.contact.phase = Phase::Waiting(wait);
    }

    /// It is its turn, but nobody may be called now.
    pub(crate) fn postpone(&mut self, until: Timestamp) -> Result<(), Reject> {
        match self.contact.phase.clone() {
            Phase::Waiting(wait) if self.is_absent() && until > self.now => {
                self.rest(wait, until);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The next attempt is due.
    pub(crate) fn retry(&mut self) {
        if let Phase::Resting { wait, .. } = self.contact.phase.clone() {
            match self.opens() {
                Some(until) => self.rest(wait, until),
                None => self.wait_again(wait),
            }
        }
    }

    /// A node is asked to dial; the inputs of this attempt are counted anew.
    pub(crate) fn dial(&mut self, node: NodeId, agent: Option<RingAgent>) {
        let policy = self.policy();
        let contact = &mut self.contact;
        contact.node = node;
        contact.seq = 0;
        contact.anchored_at = Some(self.now);
        contact.script.answers = None;
        let party = DialParty {
            target: contact.from.clone(),
            caller_id: contact.did.clone(),
            ring_timeout_ms: policy.ring_timeout_ms,
            ringback: if agent.is_some() { vec![crate::ringback()] } else { Vec::new() },
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
        let attempt = match &mut self.contact.order {
            Some(order) => {
                order.tries = order.tries.saturating_add(1);
                order.tries
            }
            None => 1,
        };
        let agent = with.as_ref().map(|offer| offer.agent);
        self.facts.push(ContactFact::PartyDialled { node, attempt, agent });
        self.contact.phase = Phase::Dialling { wait, with, since: self.now };
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
                if let Some(order) = &mut self.contact.order {
                    order.tries = order.tries.saturating_add(1);
                }
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
            self.contact.phase = Phase::Resting { wait, until: self.now };
            self.give_up(if never { CallbackEnd::Number } else { CallbackEnd::Attempts });
            return;
        }
        let pause = i64::from(policy.retry_after_ms).max(BREATH_MS);
        self.rest(wait, self.now.plus_ms(pause));
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
    pub(crate) fn take_place(&mut self, from: ContactId, since: Timestamp) -> Result<(), Reject> {
        let now = self.now;
        let Phase::Waiting(wait) = &mut self.contact.phase else {
            return Err(Reject::new("not-waiting", "the contact does not wait any more"));
        };
        let earlier = wait.entry.virtual_time().since_ms(since).max(0);
        wait.entry.priority.credit_ms =
            (wait.entry.priority.credit_ms + earlier).min(hotline_routing::waiting::MAX_CREDIT_MS);
        wait.looked_at = now;
        if let Place::Queue { ask } = &mut wait.place {
            ask.since = ask.since.min(since);
            self.effects.push(ContactEffect::MatchQueue { queue: ask.queue.clone() });
        }
        self.facts.push(ContactFact::PlaceTaken { from, since });
        Ok(())
    }
}
