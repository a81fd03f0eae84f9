//! What a queue does with a contact when it cannot keep up.

use hotline_base::{Name, Reject};
use hotline_flow::Overflow;
use hotline_flow::run::{Input, Turn};
use hotline_routing::QueueConfig;
use hotline_routing::overflow::{self, OverflowAction, OverflowWhen, QueueView};
use hotline_routing::service_model::Asking;

use crate::step::Work;
use crate::{ContactEffect, ContactFact, LeftQueue, Phase, Place, Wait};

/// Rules about a queue's state, not about time, are looked at this often, milliseconds.
const LOOK_MS: i64 = 15_000;
/// Times that queues may send a contact on to another.
const MAX_MOVES: u8 = 8;
/// Full queues that a contact may be turned away from in one step; at the next one it waits.
const MAX_TURNED_AWAY: u8 = 3;

impl Work<'_> {
    /// The flow's next turn where people do not serve the contact, or so many wait, or so often the
    /// same caller, that nobody else may; `None`: there is room.
    pub(crate) fn turned_away(&mut self, config: &QueueConfig, class: u8) -> Result<Option<Turn>, Reject> {
        if let Some(turn) = self.left_to_machines(config, class)? {
            return Ok(Some(turn));
        }
        let setting = self.setting()?;
        let view = setting.env.queues.get(&config.name);
        let same = setting.same_caller.get(&config.name).copied().unwrap_or(0);
        let full =
            view.is_some_and(|view| view.waiting >= config.max_waiting) || same >= u32::from(config.max_per_caller);
        if !full || self.turned_away >= MAX_TURNED_AWAY {
            return Ok(None);
        }
        self.turned_away += 1;
        let turn = self.next_turn(&Input::QueueTimedOut)?;
        self.left_at_once(config, turn, LeftQueue::Overflowed)
    }

    /// The flow's next turn where the queue leaves the contact to machines; `None`: people take it.
    fn left_to_machines(&mut self, config: &QueueConfig, class: u8) -> Result<Option<Turn>, Reject> {
        let asking = Asking { view: self.view(&config.name)?, class, left: self.contact.self_serviced };
        if config.service_model.people_take(&config.hand_over, &asking) || self.turned_away >= MAX_TURNED_AWAY {
            return Ok(None);
        }
        self.turned_away += 1;
        let turn = self.next_turn(&Input::SelfService)?;
        if turn.is_some() {
            self.contact.self_serviced = self.contact.self_serviced.saturating_add(1);
        }
        self.left_at_once(config, turn, LeftQueue::SelfService)
    }

    fn left_at_once(
        &mut self,
        config: &QueueConfig,
        turn: Option<Turn>,
        why: LeftQueue,
    ) -> Result<Option<Turn>, Reject> {
        if turn.is_some() {
            self.facts.push(ContactFact::QueueLeft { queue: config.name.clone(), wait_ms: 0, why });
        }
        Ok(turn)
    }

    /// Applies the overflow rules that are due, one after the other.
    pub(crate) fn overflow(&mut self) -> Result<(), Reject> {
        // Each rule applies once in a queue, and there are at most 32.
        for _ in 0..64 {
            let Phase::Waiting(Wait { place: Place::Queue { ask }, entry, applied, .. }) = &self.contact.phase else {
                return Ok(());
            };
            let (queue, applied) = (ask.queue.clone(), *applied);
            let config = self.queue_config(&queue)?;
            let view = self.view(&queue)?;
            let Some((rule, action)) = overflow::due(&config, entry, &view, applied, self.now) else {
                let next = overflow::next_due(&config, entry, applied, self.now);
                self.look_again(&config, applied, next);
                return Ok(());
            };
            let action = action.clone();
            if let Phase::Waiting(wait) = &mut self.contact.phase {
                wait.applied |= 1 << rule;
            }
            self.apply(&queue, action)?;
        }
        Ok(())
    }

    fn apply(&mut self, queue: &Name, action: OverflowAction) -> Result<(), Reject> {
        let now = self.now;
        let Phase::Waiting(wait) = &mut self.contact.phase else { return Ok(()) };
        match action {
            OverflowAction::Relax => {
                wait.entry.relax_all();
                wait.looked_at = now;
                self.facts.push(ContactFact::OverflowApplied { queue: queue.clone(), reserve: false });
                self.effects.push(ContactEffect::MatchQueue { queue: queue.clone() });
            }
            OverflowAction::Reserve => {
                self.facts.push(ContactFact::OverflowApplied { queue: queue.clone(), reserve: true });
            }
            OverflowAction::Queue { queue: next } if wait.moves < MAX_MOVES => {
                let wait = wait.clone();
                self.move_to(wait, queue, next, LeftQueue::Overflowed)?;
            }
            OverflowAction::Queue { .. } => {}
            OverflowAction::Voicemail => return self.sent_on(Overflow::Voicemail),
            OverflowAction::Callback => return self.sent_on(Overflow::Callback),
            OverflowAction::Message => return self.sent_on(Overflow::Message),
            OverflowAction::Link => return self.sent_on(Overflow::Link),
        }
        Ok(())
    }

    /// The flow goes on by one of its ways out of the queue; where it has none, the wait goes on.
    fn sent_on(&mut self, way: Overflow) -> Result<(), Reject> {
        let input = Input::Overflowed { way };
        if self.next_turn(&input)?.is_some() {
            return self.leave_queue(&input, LeftQueue::Overflowed);
        }
        Ok(())
    }

    /// To another queue, with the wait kept and the music going on.
    pub(crate) fn move_to(&mut self, wait: Wait, from: &Name, to: Name, why: LeftQueue) -> Result<(), Reject> {
        let Place::Queue { ask } = &wait.place else { return Ok(()) };
        let mut ask = ask.clone();
        ask.queue = to.clone();
        let config = self.queue_config(&to)?;
        let mut entry = self.entry(&config, &ask);
        entry.not.clone_from(&wait.entry.not);
        self.facts.push(ContactFact::QueueLeft { queue: from.clone(), wait_ms: wait.entry.waited_ms(self.now), why });
        self.enqueued(&ask, &entry);
        self.effects.push(ContactEffect::MatchQueue { queue: to.clone() });
        if let Some(order) = &mut self.contact.order {
            order.queue.clone_from(&to);
        }
        self.contact.queue = Some(to);
        self.contact.phase = Phase::Waiting(Wait {
            place: Place::Queue { ask },
            entry,
            looked_at: self.now,
            applied: 0,
            moves: wait.moves + 1,
            ..wait
        });
        Ok(())
    }

    /// What the queue looks like to this contact; one that nobody looked at looks well.
    fn view(&self, queue: &Name) -> Result<QueueView, Reject> {
        let setting = self.setting()?;
        let unknown = QueueView { ahead: 0, staffed: 1, free: 1, estimated_wait_ms: None };
        Ok(setting.env.queues.get(queue).map_or(unknown, |view| QueueView {
            ahead: setting.position.map_or(view.waiting, |place| place.saturating_sub(1)),
            staffed: view.staffed,
            free: view.free,
            estimated_wait_ms: view.estimated_wait_ms.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)),
        }))
    }

    fn look_again(&mut self, config: &QueueConfig, applied: u32, next: Option<hotline_base::Timestamp>) {
        let open = |rule: usize| rule < 32 && applied & (1 << rule) == 0;
        let by_state = config
            .overflow
            .iter()
            .enumerate()
            .any(|(rule, overflow)| open(rule) && !matches!(overflow.when, OverflowWhen::Waited { .. }));
        let again = by_state.then(|| self.now.plus_ms(LOOK_MS));
        if let Phase::Waiting(wait) = &mut self.contact.phase {
            wait.overflow_at = again.into_iter().chain(next).min();
        }
    }
}
