//! The caller goes from one agent to somebody else, and comes back where that fails.

use hotline_base::{Name, OfferId, Redacted, Reject, Timestamp, UserId};
use hotline_flow::run::{Ask, Input, QueueAsk, RingTarget};
use hotline_flow::{Builtin, PromptRef};
use hotline_routing::WaitingEntry;
use hotline_routing::waiting::MAX_CREDIT_MS;
use hotline_wire::node::{NodeAction, Verb};

use crate::step::Work;
use crate::{By, ContactFact, LeftQueue, Phase, Place, TransferKind, TransferTarget};

/// How long a colleague's phone rings for a transferred caller, milliseconds.
const AGENT_RING_MS: u32 = 20_000;
/// How long an outside number rings for a transferred caller, milliseconds.
pub(crate) const NUMBER_RING_MS: u32 = 45_000;

pub(crate) fn not_talking() -> Reject {
    Reject::new("not-talking", "nobody talks with this caller now")
}

/// The same place in the order, or one so much earlier, with the wait counted from `from`.
pub(crate) fn placed(mut entry: WaitingEntry, from: Timestamp, extra_ms: i64) -> WaitingEntry {
    let credit = from.since_ms(entry.virtual_time()).saturating_add(extra_ms);
    entry.priority.credit_ms = credit.clamp(0, MAX_CREDIT_MS);
    entry.enqueued_at = from;
    entry
}

impl Work<'_> {
    /// The agent who has the call, where nothing is in the way of changing it.
    pub(crate) fn main(&self) -> Result<crate::Interaction, Reject> {
        match &self.contact.phase {
            Phase::Talking { rejoin: Some(_), .. } => {
                Err(Reject::new("call-moving", "the call is moving to another node; try again in some seconds"))
            }
            Phase::Talking { .. } if self.is_moving() => {
                Err(Reject::new("call-moving", "the call is moving to another node; try again in some seconds"))
            }
            Phase::Talking { interaction, .. } => Ok(interaction.clone()),
            _ => Err(not_talking()),
        }
    }

    /// Gives the caller to somebody else at once; the agent and everybody else leaves.
    pub(crate) fn transfer(
        &mut self,
        target: &TransferTarget,
        kind: TransferKind,
        by: By,
        reason: &Redacted<String>,
    ) -> Result<(), Reject> {
        let main = self.main()?;
        self.transferred(&main, target.clone(), kind, by, reason.clone());
        self.drop_others(true);
        self.command(NodeAction::ReleaseAgent { offer: main.offer }, None);
        self.close_talk(true);
        match target {
            TransferTarget::Queue { queue } => {
                let mut ask = self.ask_of_last_wait();
                ask.queue = queue.clone();
                ask.leave_when_not_staffed = false;
                let config = self.queue_config(queue)?;
                let entry = self.entry(&config, &ask);
                self.wait_in(ask, entry, 0, true)
            }
            TransferTarget::Agent { name, .. } => {
                let music = self.contact.fallback.music.clone();
                self.play(vec![Verb::Hold { music, announce: Vec::new(), keys: String::new() }]);
                self.ring_direct(RingTarget::Agent(name.clone()), AGENT_RING_MS)?;
                if let Phase::Waiting(wait) = &mut self.contact.phase {
                    wait.transferred = true;
                }
                Ok(())
            }
            TransferTarget::Number { number } => {
                let target = number.expose().clone();
                let ask = Ask::Transfer { target: target.clone(), ring_timeout_ms: NUMBER_RING_MS, keys: None };
                self.contact.phase = Phase::InFlow { ask };
                self.play(vec![Verb::Transfer { target, ring_timeout_ms: NUMBER_RING_MS, record: None, keys: None }]);
                Ok(())
            }
        }
    }

    pub(crate) fn transferred(
        &mut self,
        main: &crate::Interaction,
        target: TransferTarget,
        kind: TransferKind,
        by: By,
        reason: Redacted<String>,
    ) {
        self.contact.transfers += 1;
        let (from, queue) = (main.agent, main.queue.clone());
        self.facts.push(ContactFact::ContactTransferred { kind, from, queue, target, by, reason });
    }

    /// An agent's phone asks for a transfer (REFER).
    pub(crate) fn transfer_asked(&mut self, offer: OfferId, target: &Redacted<String>) -> Result<(), Reject> {
        let Some(agent) = self.contact.holder(offer) else {
            return Ok(());
        };
        let refer = self.setting()?.refer.clone();
        let why = match (self.main(), refer) {
            (Ok(main), Some(to)) if main.offer == offer => {
                let by = UserId::from_u128(agent.as_u128());
                return self.transfer(&to, TransferKind::Phone, by, &Redacted::new(String::new()));
            }
            (Ok(main), _) if main.offer != offer => "not-your-call",
            (Ok(_), _) => "unknown-target",
            (Err(_), _) => "call-moving",
        };
        self.facts.push(ContactFact::TransferRefused { agent, target: target.clone(), why: why.into() });
        Ok(())
    }

    /// What the flow asked of the queue that the contact waited in last.
    fn ask_of_last_wait(&self) -> QueueAsk {
        let contact = &self.contact;
        if let Some(Place::Queue { ask }) = contact.last_wait.as_ref().map(|wait| &wait.place) {
            return ask.as_ref().clone();
        }
        let queue = contact.queue.clone().unwrap_or_else(|| contact.cursor.at.step.clone());
        self.plain_ask(queue, contact.arrived_at)
    }

    /// A wait in a queue that no flow asked for.
    pub(crate) fn plain_ask(&self, queue: Name, since: Timestamp) -> QueueAsk {
        let cursor = &self.contact.cursor;
        QueueAsk {
            queue,
            music: PromptRef::Builtin { sound: Builtin::HoldMusic },
            announcements: Vec::new(),
            priority: cursor.priority,
            priority_credit_ms: 0,
            since,
            max_wait_ms: None,
            leave_when_not_staffed: false,
            skills: cursor.skills.clone(),
            lang: cursor.lang,
            category: cursor.category.clone(),
            leave_keys: String::new(),
        }
    }

    /// Waits in a queue, in the place that the entry had; its wait is counted from now on.
    pub(crate) fn wait_in(
        &mut self,
        ask: QueueAsk,
        entry: WaitingEntry,
        extra_ms: i64,
        transferred: bool,
    ) -> Result<(), Reject> {
        let entry = placed(entry, self.now, extra_ms);
        let config = self.queue_config(&ask.queue)?;
        self.enqueued(&ask, &entry);
        self.wait_for(Vec::new(), ask, entry, &config, transferred)
    }

    /// Back to the queue that the last answer came from, in the old place; `false` where there
    /// was none.
    pub(crate) fn requeue(&mut self, extra_ms: i64) -> Result<bool, Reject> {
        let Some(last) = self.contact.last_wait.clone() else {
            return Ok(false);
        };
        let Place::Queue { ask } = &last.place else {
            return Ok(false);
        };
        self.wait_in(ask.as_ref().clone(), last.entry.clone(), extra_ms, last.transferred)?;
        Ok(true)
    }

    /// A transfer came to nothing: nobody answered.
    pub(crate) fn transfer_returns(&mut self) -> Result<bool, Reject> {
        if let Phase::Waiting(wait) | Phase::Offered { wait, .. } = self.contact.phase.clone() {
            self.close_wait(&wait);
        }
        let back = self.requeue(0)?;
        if let (true, Some(queue)) = (back, self.contact.queue.clone()) {
            self.facts.push(ContactFact::TransferReturned { queue });
        }
        Ok(back)
    }

    /// The flow goes on after something that it had not asked for.
    pub(crate) fn go_on(&mut self) -> Result<(), Reject> {
        for input in [Input::RingFailed, Input::AgentDone] {
            if let Some(turn) = self.next_turn(&input)? {
                return self.turn(turn);
            }
        }
        self.end_by_command();
        Ok(())
    }

    /// A supervisor moves a waiting contact to another queue.
    pub(crate) fn moved(&mut self, to: &Name, by: By, reason: &Redacted<String>) -> Result<(), Reject> {
        let Phase::Waiting(wait) = self.contact.phase.clone() else {
            return Err(Reject::new(
                "not-waiting",
                "only a contact that waits can be moved; take the offer back first",
            ));
        };
        let from = wait.place.queue().cloned();
        if from.as_ref() == Some(to) {
            return Err(Reject::new("same-queue", "the contact waits in this queue already"));
        }
        self.facts.push(ContactFact::ContactMoved { from: from.clone(), to: to.clone(), by, reason: reason.clone() });
        match from {
            Some(from) => self.move_to(wait, &from, to.clone(), LeftQueue::Moved),
            None => {
                self.close_wait(&wait);
                let mut ask = self.ask_of_last_wait();
                ask.queue = to.clone();
                let config = self.queue_config(to)?;
                let entry = self.entry(&config, &ask);
                self.wait_in(ask, entry, 0, true)
            }
        }
    }
}
