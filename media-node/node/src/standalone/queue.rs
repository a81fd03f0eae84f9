//! Queues in memory: first come first served, the longest idle agent, one call each.

use std::collections::{BTreeMap, HashMap, VecDeque};

use hotline_base::{AgentId, ContactId, OfferId, Timestamp};

use super::file::{Action, DecisionFile};

/// An agent who did not take a call rests so long, milliseconds.
const PENALTY_MS: i64 = 2_000;

/// A caller and the agent to ring.
pub(super) struct Match {
    pub(super) contact: ContactId,
    pub(super) agent: AgentId,
    pub(super) offer: OfferId,
    pub(super) uri: String,
    pub(super) ring_timeout_ms: u32,
    pub(super) record: bool,
}

struct Queue {
    waiting: VecDeque<ContactId>,
    /// Indexes of agents with the moment from which they may be rung; longest idle first.
    idle: VecDeque<(usize, Timestamp)>,
    agents: Vec<String>,
    ring_timeout_ms: u32,
    wrap_up_ms: u32,
    record: bool,
}

/// All queues of a decision file, by their rule.
pub(super) struct Queues {
    queues: BTreeMap<usize, Queue>,
    /// Who waits where, or talks with whom.
    places: HashMap<ContactId, (usize, Option<usize>)>,
    offers: u128,
}

impl Queues {
    pub(super) fn new(file: &DecisionFile) -> Self {
        let mut queues = Self { queues: BTreeMap::new(), places: HashMap::new(), offers: 0 };
        queues.replace(file);
        queues
    }

    /// Takes over a changed file: a queue whose agents changed starts with all of them idle.
    pub(super) fn replace(&mut self, file: &DecisionFile) {
        let mut old = std::mem::take(&mut self.queues);
        for (rule, entry) in file.rules.iter().enumerate() {
            let Action::Queue { agents, ring_timeout_ms, wrap_up_ms, record, .. } = &entry.action else {
                continue;
            };
            let before = old.remove(&rule);
            let (waiting, idle) = match before {
                Some(queue) if queue.agents == *agents => (queue.waiting, queue.idle),
                other => {
                    let everybody = (0..agents.len()).map(|i| (i, Timestamp::default()));
                    (other.map(|q| q.waiting).unwrap_or_default(), everybody.collect())
                }
            };
            self.queues.insert(
                rule,
                Queue {
                    waiting,
                    idle,
                    agents: agents.clone(),
                    ring_timeout_ms: *ring_timeout_ms,
                    wrap_up_ms: *wrap_up_ms,
                    record: *record,
                },
            );
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.queues.values().map(|q| q.waiting.len()).sum()
    }

    /// A caller joins the end of a queue.
    pub(super) fn enter(&mut self, rule: usize, contact: ContactId) {
        if let Some(queue) = self.queues.get_mut(&rule) {
            queue.waiting.push_back(contact);
            self.places.insert(contact, (rule, None));
        }
    }

    /// The agent did not take the call: the caller goes back to the head, the agent rests.
    pub(super) fn offer_failed(&mut self, contact: ContactId, now: Timestamp) {
        let Some(place) = self.places.get_mut(&contact) else {
            return;
        };
        let (rule, Some(agent)) = *place else { return };
        place.1 = None;
        if let Some(queue) = self.queues.get_mut(&rule) {
            queue.waiting.push_front(contact);
            if agent < queue.agents.len() {
                queue.idle.push_back((agent, now.plus_ms(PENALTY_MS)));
            }
        }
    }

    /// A caller is gone, or parted from the agent.
    pub(super) fn call_ended(&mut self, contact: ContactId, now: Timestamp) {
        let Some((rule, agent)) = self.places.remove(&contact) else {
            return;
        };
        let Some(queue) = self.queues.get_mut(&rule) else {
            return;
        };
        match agent {
            Some(agent) if agent < queue.agents.len() => {
                let from = now.plus_ms(i64::from(queue.wrap_up_ms));
                queue.idle.push_back((agent, from));
            }
            Some(_) => {}
            None => queue.waiting.retain(|c| *c != contact),
        }
    }

    /// Pairs the longest waiting with the longest idle.
    pub(super) fn matches(&mut self, now: Timestamp) -> Vec<Match> {
        let mut found = Vec::new();
        for (rule, queue) in &mut self.queues {
            while !queue.waiting.is_empty() {
                let Some(at) = queue.idle.iter().position(|(_, from)| *from <= now) else {
                    break;
                };
                let (Some((agent, _)), Some(contact)) = (queue.idle.remove(at), queue.waiting.pop_front()) else {
                    break;
                };
                let Some(uri) = queue.agents.get(agent) else {
                    queue.waiting.push_front(contact);
                    continue;
                };
                self.offers += 1;
                self.places.insert(contact, (*rule, Some(agent)));
                found.push(Match {
                    contact,
                    agent: AgentId::from_u128(((*rule as u128) << 32) | agent as u128),
                    offer: OfferId::new(now, self.offers),
                    uri: uri.clone(),
                    ring_timeout_ms: queue.ring_timeout_ms,
                    record: queue.record,
                });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn queues(text: &str) -> Queues {
        Queues::new(&DecisionFile::read(text, Path::new(".")).unwrap())
    }

    const TWO: &str =
        "rules: [{dial: \"8\", queue: {music: {tone: 300}, wrap_up_ms: 500, agents: \"sip:a[1-2]@127.0.0.1:9\"}}]";

    #[test]
    fn first_come_first_served_one_call_each() {
        let mut q = queues(TWO);
        let at = Timestamp::from_millis(10_000);
        let callers: Vec<ContactId> = (1..=4).map(ContactId::from_u128).collect();
        for caller in &callers {
            q.enter(0, *caller);
        }
        let got: Vec<(ContactId, String)> = q.matches(at).into_iter().map(|m| (m.contact, m.uri)).collect();
        assert_eq!(
            got,
            [(callers[0], "sip:a1@127.0.0.1:9".to_string()), (callers[1], "sip:a2@127.0.0.1:9".to_string())]
        );
        assert!(q.matches(at).is_empty());

        // A declined offer: the caller is first again, the agent rests.
        q.offer_failed(callers[0], at);
        assert!(q.matches(at).is_empty());
        q.call_ended(callers[1], at);
        let after_wrap_up = at.plus_ms(500);
        assert!(q.matches(at.plus_ms(499)).is_empty());
        let next = q.matches(after_wrap_up);
        assert_eq!(next.len(), 1);
        assert_eq!(next[0].contact, callers[0]);
        assert_eq!(next[0].uri, "sip:a2@127.0.0.1:9");

        // Whoever hangs up while waiting is forgotten; the rested agent takes the next.
        q.call_ended(callers[2], after_wrap_up);
        let last = q.matches(at.plus_ms(PENALTY_MS));
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].contact, callers[3]);
        assert_eq!(q.waiting(), 0);
    }
}
