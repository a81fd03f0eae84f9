//! Who serves a queue: people, machines, or machines that hand over by rule.

use serde::{Deserialize, Serialize};

use crate::overflow::QueueView;

/// Who serves a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceModel {
    /// People.
    #[default]
    Human,
    /// Machines: the flow goes on by its way `self_service` whenever a contact asks for a person.
    Automated,
    /// Machines first; people where a rule of `hand_over` says so, or always where there is none.
    Hybrid,
}

/// When a hybrid queue hands a contact over to people; one rule that holds is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum HandOver {
    /// An agent of the queue is signed in and working.
    Staffed,
    /// An agent of the queue is free now.
    Free,
    /// It would wait at most so long; does not hold while there is no estimate.
    EstimatedWait {
        /// Milliseconds, 1,000 to 86,400,000.
        at_most_ms: u32,
    },
    /// Its class is at least this: 0 low, 1 medium, 2 high, 3 urgent.
    Class {
        /// Which, 1 to 3.
        at_least: u8,
    },
    /// It was left to machines so often before.
    Asked {
        /// How often, 1 to 10.
        times: u8,
    },
}

/// What is known of a contact that asks for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// The queue as it stands.
    pub view: QueueView,
    /// The contact's class, 0 to 3.
    pub class: u8,
    /// How often it was left to machines before.
    pub left: u8,
}

impl HandOver {
    fn holds(self, asking: &Asking) -> bool {
        match self {
            HandOver::Staffed => asking.view.staffed > 0,
            HandOver::Free => asking.view.free > 0,
            HandOver::EstimatedWait { at_most_ms } => {
                asking.view.estimated_wait_ms.is_some_and(|wait_ms| wait_ms <= at_most_ms)
            }
            HandOver::Class { at_least } => asking.class >= at_least,
            HandOver::Asked { times } => asking.left >= times,
        }
    }
}

impl ServiceModel {
    /// Whether people take a contact that asks for one.
    pub fn people_take(self, hand_over: &[HandOver], asking: &Asking) -> bool {
        match self {
            ServiceModel::Human => true,
            ServiceModel::Automated => false,
            ServiceModel::Hybrid => hand_over.is_empty() || hand_over.iter().any(|rule| rule.holds(asking)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Asking =
        Asking { view: QueueView { ahead: 0, staffed: 0, free: 0, estimated_wait_ms: None }, class: 1, left: 0 };

    #[test]
    fn people_machines_and_both() {
        let busy = QueueView { staffed: 2, estimated_wait_ms: Some(60_000), ..QUIET.view };
        let free = QueueView { free: 1, ..busy };
        let rules = [HandOver::Class { at_least: 3 }, HandOver::Asked { times: 2 }];
        let hybrid = |rules: &[HandOver], asking| ServiceModel::Hybrid.people_take(rules, &asking);
        assert!(ServiceModel::Human.people_take(&rules, &QUIET));
        assert!(!ServiceModel::Automated.people_take(&[], &Asking { view: free, class: 3, left: 9 }));
        assert!(hybrid(&[], QUIET), "no rule: always");
        assert!(!hybrid(&rules, QUIET));
        assert!(hybrid(&rules, Asking { class: 3, ..QUIET }) && hybrid(&rules, Asking { left: 2, ..QUIET }));
        for (rule, in_peace, when_busy, when_free) in [
            (HandOver::Staffed, false, true, true),
            (HandOver::Free, false, false, true),
            (HandOver::EstimatedWait { at_most_ms: 60_000 }, false, true, true),
            (HandOver::EstimatedWait { at_most_ms: 59_999 }, false, false, false),
        ] {
            let taken = [QUIET.view, busy, free].map(|view| hybrid(&[rule], Asking { view, ..QUIET }));
            assert_eq!(taken, [in_peace, when_busy, when_free], "{rule:?}");
        }
    }
}
