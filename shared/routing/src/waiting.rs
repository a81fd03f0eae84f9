//! A waiting contact as an index row, ordered by virtual enqueue time.
//!
//! Virtual enqueue time = enqueue time − credit. A credit of five minutes places a contact where
//! one that came five minutes earlier would be, so that priority and ageing need no re-sorting.

use hotline_base::{AgentId, ContactId, IndexRow, Lang, Name, Timestamp, shard};
use serde::{Deserialize, Serialize};

use crate::queue::{LanguagePolicy, PriorityMode, QueueConfig};
use crate::skill::{MAX_NEEDS, Need, language_skill};

/// The largest credit, milliseconds: a day.
pub const MAX_CREDIT_MS: i64 = 86_400_000;
/// The highest strict priority class.
pub const MAX_PRIORITY: u8 = 9;

/// Why and how much earlier a contact is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Priority {
    /// Milliseconds, 0 to [`MAX_CREDIT_MS`].
    pub credit_ms: i64,
    /// 0 (normal) to 9 (most urgent); orders before time in queues with strict priority.
    #[serde(default)]
    pub class: u8,
}

/// An agent whom this contact is for, for a limited time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// Who.
    pub agent: AgentId,
    /// Until when it counts.
    pub until: Timestamp,
    /// Nobody else is offered the contact until then; otherwise the agent is only preferred.
    #[serde(default)]
    pub only: bool,
}

/// A contact waiting in a queue; the body of a row in `waiting/<queue>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingEntry {
    /// Who waits.
    #[serde(rename = "c")]
    pub contact: ContactId,
    /// When it came to this queue; kept when it returns after an offer that failed.
    #[serde(rename = "t")]
    pub enqueued_at: Timestamp,
    /// How much earlier it is placed.
    #[serde(rename = "p", default)]
    pub priority: Priority,
    /// An agent must have these.
    #[serde(rename = "n", default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<Need>,
    /// An agent had better have these.
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    pub preferred: Vec<Need>,
    /// Whom it is for: who handled this party last, or a direct call.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Agents who are not offered this contact again: at most eight, oldest first.
    #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<AgentId>,
    /// Same text = same caller; for limits per caller. Not a telephone number.
    #[serde(rename = "k", default, skip_serializing_if = "String::is_empty")]
    pub caller: String,
    /// Parts of the queue's list when the contact came.
    #[serde(rename = "h", default, skip_serializing_if = "crate::queue::is_whole")]
    pub shards: u8,
}

/// Waiting contacts of a queue, first come first; in as many parts by contact as the queue's
/// configuration says.
pub fn waiting_partition(queue: &Name) -> String {
    format!("waiting/{queue}")
}

impl WaitingEntry {
    /// A contact that comes to a queue now, with the queue's needs and, by its policy, its language.
    pub fn new(
        contact: ContactId,
        queue: &QueueConfig,
        lang: Option<Lang>,
        priority: Priority,
        now: Timestamp,
    ) -> Self {
        let mut required = queue.required.clone();
        let mut preferred = queue.preferred.clone();
        required.truncate(MAX_NEEDS);
        preferred.truncate(MAX_NEEDS);
        if let Some(lang) = lang {
            let into = match queue.language {
                LanguagePolicy::Required => Some(&mut required),
                LanguagePolicy::Preferred => Some(&mut preferred),
                LanguagePolicy::Ignored => None,
            };
            if let Some(needs) = into {
                needs.insert(0, Need::new(language_skill(lang), 1));
                needs.truncate(MAX_NEEDS);
            }
        }
        Self {
            contact,
            enqueued_at: now,
            priority: Priority {
                credit_ms: priority.credit_ms.clamp(0, MAX_CREDIT_MS),
                class: if queue.priority == PriorityMode::Strict { priority.class.min(MAX_PRIORITY) } else { 0 },
            },
            required,
            preferred,
            affinity: None,
            not: Vec::new(),
            caller: String::new(),
            shards: if queue.shards > 1 { queue.shards } else { 0 },
        }
    }

    /// Enqueue time − credit.
    pub fn virtual_time(&self) -> Timestamp {
        Timestamp::from_millis((self.enqueued_at.as_millis() - self.priority.credit_ms.clamp(0, MAX_CREDIT_MS)).max(0))
    }

    /// How long it has waited, milliseconds, not below 0.
    pub fn waited_ms(&self, now: Timestamp) -> i64 {
        now.since_ms(self.enqueued_at).max(0)
    }

    /// The row's sort key: class (most urgent first), virtual time, contact.
    pub fn sort(&self) -> String {
        let class = MAX_PRIORITY - self.priority.class.min(MAX_PRIORITY);
        format!("{class}/{:015}/{}", self.virtual_time().as_millis(), self.contact)
    }

    /// What [`Self::sort`] orders by.
    pub fn rank(&self) -> (u8, Timestamp, ContactId) {
        (MAX_PRIORITY - self.priority.class.min(MAX_PRIORITY), self.virtual_time(), self.contact)
    }

    /// The row under which it is found.
    pub fn row(&self, queue: &Name) -> IndexRow {
        IndexRow {
            partition: shard(&waiting_partition(queue), self.shards, self.contact.as_u128()),
            sort: self.sort(),
            // Holds only strings, numbers and lists: it always serialises.
            body: serde_json::to_string(self).unwrap_or_default(),
        }
    }

    /// The entry of a row.
    pub fn from_row(row: &IndexRow) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&row.body)
    }

    /// Remembers an agent who should not be offered this contact again.
    pub fn exclude(&mut self, agent: AgentId) {
        if !self.not.contains(&agent) {
            self.not.push(agent);
            if self.not.len() > 8 {
                self.not.remove(0);
            }
        }
    }

    /// The next moment after `after` at which more agents qualify than before: a need relaxes or
    /// an affinity ends. Match the queue again then.
    pub fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let relaxed =
            self.required.iter().flat_map(|n| n.relax.iter()).map(|r| self.enqueued_at.plus_ms(i64::from(r.after_ms)));
        let released = self.affinity.iter().filter(|a| a.only).map(|a| a.until);
        relaxed.chain(released).filter(|t| *t > after).min()
    }

    /// Lowers every need to nothing, as an overflow rule may ask.
    pub fn relax_all(&mut self) {
        self.required.clear();
        self.affinity = self.affinity.map(|a| Affinity { only: false, ..a });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skill::Relax;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    fn contact(n: u128) -> ContactId {
        ContactId::new(at(0), n)
    }

    fn queue() -> QueueConfig {
        QueueConfig::new("billing".parse().unwrap())
    }

    #[test]
    fn credit_places_a_contact_earlier_and_ageing_beats_it_in_the_end() {
        let vip = Priority { credit_ms: 300_000, class: 0 };
        let first = WaitingEntry::new(contact(1), &queue(), None, Priority::default(), at(0));
        let vip_soon = WaitingEntry::new(contact(2), &queue(), None, vip, at(100_000));
        let vip_late = WaitingEntry::new(contact(3), &queue(), None, vip, at(300_001));
        assert!(vip_soon.sort() < first.sort());
        assert!(first.sort() < vip_late.sort());
    }

    #[test]
    fn class_counts_only_where_priority_is_strict() {
        let urgent = Priority { credit_ms: 0, class: 9 };
        let mut strict = queue();
        strict.priority = PriorityMode::Strict;
        let old = WaitingEntry::new(contact(1), &strict, None, Priority::default(), at(0));
        assert!(WaitingEntry::new(contact(2), &strict, None, urgent, at(9_999)).sort() < old.sort());
        assert!(WaitingEntry::new(contact(2), &queue(), None, urgent, at(9_999)).sort() > old.sort());
    }

    #[test]
    fn the_row_gives_the_entry_back() {
        let mut entry = WaitingEntry::new(contact(1), &queue(), Some(Lang::En), Priority::default(), at(5));
        entry.required.push(Need {
            skill: "router".parse().unwrap(),
            level: 4,
            relax: vec![Relax { after_ms: 30_000, level: 1 }],
        });
        entry.affinity = Some(Affinity { agent: AgentId::from_u128(4), until: at(60_000), only: true });
        entry.exclude(AgentId::from_u128(9));
        let row = entry.row(&"billing".parse().unwrap());
        assert_eq!(row.partition, "waiting/billing");
        assert_eq!(WaitingEntry::from_row(&row).unwrap(), entry);
        assert_eq!(entry.next_change(at(5)), Some(at(30_005)));
        assert_eq!(entry.next_change(at(30_005)), Some(at(60_000)));
        assert_eq!(entry.next_change(at(60_000)), None);
    }

    #[test]
    fn absurd_credit_is_clamped() {
        let absurd = Priority { credit_ms: i64::MIN, class: 255 };
        let entry = WaitingEntry::new(contact(1), &queue(), None, absurd, at(0));
        assert_eq!(entry.virtual_time(), at(0));
        let mut strict = queue();
        strict.priority = PriorityMode::Strict;
        let absurd = Priority { credit_ms: i64::MAX, class: 255 };
        let entry = WaitingEntry::new(contact(1), &strict, None, absurd, at(0));
        assert_eq!(entry.virtual_time(), at(-MAX_CREDIT_MS));
        assert!(entry.sort().starts_with("0/"));
    }
}
