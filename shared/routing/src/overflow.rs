//! What a queue does with a contact when it cannot keep up.

use hotline_base::{Name, Timestamp};
use serde::{Deserialize, Serialize};

use crate::queue::QueueConfig;
use crate::waiting::WaitingEntry;

/// One rule: when, then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverflowRule {
    /// When it applies.
    pub when: OverflowWhen,
    /// What is done.
    pub then: OverflowAction,
}

/// When a rule applies to a waiting contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum OverflowWhen {
    /// It has waited so long.
    Waited {
        /// Milliseconds.
        ms: u32,
    },
    /// So many wait before it, or it is that many-th.
    Length {
        /// Contacts.
        waiting: u32,
    },
    /// The estimated wait is so long.
    EstimatedWait {
        /// Milliseconds.
        ms: u32,
    },
    /// No agent of the queue is signed in and working.
    NobodyStaffed,
    /// No agent of the queue is free now; staffed is not the same as free.
    NobodyFree,
}

/// What is done with the contact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum OverflowAction {
    /// It no longer needs any skill but goes on waiting.
    Relax,
    /// It goes to another queue and keeps its wait.
    Queue {
        /// Which.
        queue: Name,
    },
    /// Reserve agents are called in; it goes on waiting.
    Reserve,
    /// The flow goes on by its way `overflow: voicemail`, or where a wait that was too long leads.
    Voicemail,
    /// The same by `callback`.
    Callback,
    /// The same by `message`: it says something and ends.
    Message,
    /// The same by `link`: it sends one to another channel.
    Link,
}

impl OverflowAction {
    /// Whether the contact goes on waiting in this queue.
    pub fn keeps_waiting(&self) -> bool {
        matches!(self, OverflowAction::Relax | OverflowAction::Reserve)
    }
}

/// What a queue looks like to one of its contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueueView {
    /// Contacts waiting before this one.
    pub ahead: u32,
    /// Agents working for the queue, free or not.
    pub staffed: u32,
    /// Free agents.
    pub free: u32,
    /// Milliseconds; `None`: unknown.
    pub estimated_wait_ms: Option<u32>,
}

/// The first rule that applies to a contact and whose bit is not set in `applied`.
///
/// Returns its place in [`QueueConfig::overflow`]; the caller sets that bit.
pub fn due<'a>(
    queue: &'a QueueConfig,
    entry: &WaitingEntry,
    view: &QueueView,
    applied: u32,
    now: Timestamp,
) -> Option<(usize, &'a OverflowAction)> {
    queue.overflow.iter().enumerate().take(32).find_map(|(i, rule)| {
        let applies = match rule.when {
            OverflowWhen::Waited { ms } => entry.waited_ms(now) >= i64::from(ms),
            OverflowWhen::Length { waiting } => view.ahead.saturating_add(1) >= waiting,
            OverflowWhen::EstimatedWait { ms } => view.estimated_wait_ms.is_some_and(|w| w >= ms),
            OverflowWhen::NobodyStaffed => view.staffed == 0,
            OverflowWhen::NobodyFree => view.free == 0,
        };
        (applies && applied & (1 << i) == 0).then_some((i, &rule.then))
    })
}

/// The next moment after `after` at which a rule applies by time alone.
pub fn next_due(queue: &QueueConfig, entry: &WaitingEntry, applied: u32, after: Timestamp) -> Option<Timestamp> {
    queue
        .overflow
        .iter()
        .enumerate()
        .take(32)
        .filter(|(i, _)| applied & (1 << i) == 0)
        .filter_map(|(_, rule)| match rule.when {
            OverflowWhen::Waited { ms } => Some(entry.enqueued_at.plus_ms(i64::from(ms))),
            _ => None,
        })
        .filter(|t| *t > after)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::Priority;
    use hotline_base::ContactId;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    fn rule(when: OverflowWhen, then: OverflowAction) -> OverflowRule {
        OverflowRule { when, then }
    }

    #[test]
    fn rules_apply_in_order_and_once() {
        let mut queue = QueueConfig::new("billing".parse().unwrap());
        queue.overflow = vec![
            rule(OverflowWhen::Waited { ms: 30_000 }, OverflowAction::Relax),
            rule(OverflowWhen::Waited { ms: 60_000 }, OverflowAction::Reserve),
            rule(OverflowWhen::NobodyStaffed, OverflowAction::Voicemail),
        ];
        let entry = WaitingEntry::new(ContactId::from_u128(1), &queue, None, Priority::default(), at(0));
        let busy = QueueView { ahead: 3, staffed: 2, free: 0, estimated_wait_ms: None };
        assert_eq!(due(&queue, &entry, &busy, 0, at(29_999)), None);
        assert_eq!(next_due(&queue, &entry, 0, at(0)), Some(at(30_000)));
        assert_eq!(due(&queue, &entry, &busy, 0, at(30_000)), Some((0, &OverflowAction::Relax)));
        assert_eq!(due(&queue, &entry, &busy, 1, at(30_000)), None);
        assert_eq!(next_due(&queue, &entry, 1, at(30_000)), Some(at(60_000)));
        assert_eq!(due(&queue, &entry, &busy, 1, at(60_000)), Some((1, &OverflowAction::Reserve)));
        assert_eq!(next_due(&queue, &entry, 3, at(60_000)), None);
        let nobody = QueueView { staffed: 0, ..busy };
        assert_eq!(due(&queue, &entry, &nobody, 3, at(1)), Some((2, &OverflowAction::Voicemail)));
    }

    #[test]
    fn length_and_estimate_and_free() {
        let mut queue = QueueConfig::new("billing".parse().unwrap());
        queue.overflow = vec![
            rule(OverflowWhen::Length { waiting: 5 }, OverflowAction::Callback),
            rule(OverflowWhen::EstimatedWait { ms: 120_000 }, OverflowAction::Message),
            rule(OverflowWhen::NobodyFree, OverflowAction::Queue { queue: "other".parse().unwrap() }),
        ];
        let entry = WaitingEntry::new(ContactId::from_u128(1), &queue, None, Priority::default(), at(0));
        let place = |view: QueueView| due(&queue, &entry, &view, 0, at(0)).map(|(i, _)| i);
        let quiet = QueueView { ahead: 0, staffed: 3, free: 1, estimated_wait_ms: Some(1_000) };
        assert_eq!(place(quiet), None);
        assert_eq!(place(QueueView { ahead: 4, ..quiet }), Some(0));
        assert_eq!(place(QueueView { estimated_wait_ms: Some(120_000), ..quiet }), Some(1));
        assert_eq!(place(QueueView { free: 0, ..quiet }), Some(2));
    }
}
