//! A choice that reads further than the heads when it must.
//!
//! Usually the first page of each side holds a pair. Where the first waiting contacts and the
//! longest idle agents do not suit each other (languages, rare skills), the next pages are read,
//! so that nobody waits behind a head that cannot be served. Without I/O: the search says which
//! page it wants, the caller reads it.
//!
//! ```
//! # use hotline_base::{IndexRow, Timestamp};
//! # use hotline_routing::{QueueConfig, search::{Ask, Search}};
//! # fn read(_partition: &str, _from: Option<&str>, _limit: usize) -> Vec<IndexRow> { Vec::new() }
//! let queue = QueueConfig::new("billing".parse().unwrap());
//! let mut search = Search::new(&queue, Timestamp::from_millis(0));
//! let (snapshot, decision) = loop {
//!     match search.next() {
//!         Ask::Read { partition, from, limit } => search.give(read(&partition, from.as_deref(), limit)),
//!         Ask::Done { snapshot, decision } => break (snapshot, decision),
//!     }
//! };
//! # let _ = (snapshot, decision);
//! ```

use hotline_base::{AgentId, ContactId, IndexRow, Timestamp};

use crate::agent::available_partition;
use crate::available::AvailableAgent;
use crate::queue::QueueConfig;
use crate::select::{Decision, HEAD, Nothing, Snapshot, choose};
use crate::waiting::{WaitingEntry, waiting_partition};

/// Pages read of each side at most: rows beyond are not looked at until those before have gone.
pub const MAX_PAGES: usize = 20;

/// Pairs that one search may give: each choice still sees half of a full head.
pub const MAX_PAIRS: usize = HEAD / 2;

/// What a search wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Read rows of this partition in order and give them.
    Read {
        /// Which index.
        partition: String,
        /// First sort key, inclusive; `None`: from the start.
        from: Option<String>,
        /// At most this many.
        limit: usize,
    },
    /// The result, with the pages it was made from.
    Done {
        /// What to store with it and to explain it by.
        snapshot: Snapshot,
        /// What was chosen.
        decision: Decision,
    },
}

/// Pages of one side.
#[derive(Debug)]
struct Side<T> {
    pages: Vec<Vec<T>>,
    /// Where the next page starts; `None` after the last.
    next: Option<Option<String>>,
}

impl<T> Side<T> {
    fn new() -> Self {
        Self { pages: Vec::new(), next: Some(None) }
    }

    fn give(&mut self, rows: &[IndexRow], page: Vec<T>) {
        let full = rows.len() >= HEAD && self.pages.len() + 1 < MAX_PAGES;
        // The key after the last one: sort keys are compared as text.
        self.next = rows.last().filter(|_| full).map(|row| Some(format!("{}\u{1}", row.sort)));
        self.pages.push(page);
    }

    fn read(&self, partition: String) -> Option<Ask> {
        let from = self.next.clone()?;
        Some(Ask::Read { partition, from, limit: HEAD })
    }
}

/// A search for one pair in one queue.
#[derive(Debug)]
pub struct Search<'a> {
    queue: &'a QueueConfig,
    now: Timestamp,
    waiting: Side<WaitingEntry>,
    available: Side<AvailableAgent>,
    /// The waiting page that is looked at.
    row: usize,
    /// The available page that is looked at.
    column: usize,
    /// Which side was asked for last.
    reads_waiting: bool,
    /// Pairs taken out.
    taken: usize,
}

impl<'a> Search<'a> {
    /// A search in this queue at this moment.
    pub fn new(queue: &'a QueueConfig, now: Timestamp) -> Self {
        Self {
            queue,
            now,
            waiting: Side::new(),
            available: Side::new(),
            row: 0,
            column: 0,
            reads_waiting: true,
            taken: 0,
        }
    }

    /// Takes the rows that were asked for. A row that cannot be read is left out: it stands for
    /// an entity whose next step writes it anew.
    pub fn give(&mut self, rows: Vec<IndexRow>) {
        if self.reads_waiting {
            let page = rows.iter().filter_map(|row| WaitingEntry::from_row(row).ok()).collect();
            self.waiting.give(&rows, page);
        } else {
            let page = rows.iter().filter_map(|row| AvailableAgent::from_row(row).ok()).collect();
            self.available.give(&rows, page);
        }
    }

    /// Takes the pair that was chosen out of what was read, so that [`Self::next`] chooses among the
    /// others at the same moment, as a new search would once both had left their lists. `false`:
    /// [`MAX_PAIRS`] were taken, so that too little of the heads is left; search anew.
    #[must_use]
    pub fn take(&mut self, contact: ContactId, agent: AgentId) -> bool {
        self.taken += 1;
        for page in &mut self.waiting.pages {
            page.retain(|entry| entry.contact != contact);
        }
        for page in &mut self.available.pages {
            page.retain(|free| free.agent != agent);
        }
        self.taken < MAX_PAIRS
    }

    /// The next page wanted, or the result.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Ask {
        loop {
            let Some(waiting) = self.waiting.pages.get(self.row) else {
                self.reads_waiting = true;
                match self.waiting.read(waiting_partition(&self.queue.name)) {
                    Some(ask) => return ask,
                    None => return self.nothing(),
                }
            };
            if waiting.is_empty() && self.row == 0 && self.waiting.next.is_none() {
                return self.nothing();
            }
            let Some(available) = self.available.pages.get(self.column) else {
                self.reads_waiting = false;
                match self.available.read(available_partition(&self.queue.name)) {
                    Some(ask) => return ask,
                    None => {
                        self.row += 1;
                        self.column = 0;
                        continue;
                    }
                }
            };
            if available.is_empty() && self.column == 0 && self.available.next.is_none() {
                return self.nothing();
            }
            let snapshot = Snapshot::new(self.queue, waiting.clone(), available.clone(), self.now);
            let decision = choose(&snapshot);
            if matches!(decision, Decision::Match { .. }) {
                return Ask::Done { snapshot, decision };
            }
            self.column += 1;
        }
    }

    /// Nothing on all pages; told by the first ones.
    fn nothing(&self) -> Ask {
        let waiting = self.waiting.pages.first().cloned().unwrap_or_default();
        let available = self.available.pages.first().cloned().unwrap_or_default();
        let why = if waiting.is_empty() && self.waiting.pages.len() < 2 {
            Nothing::NobodyWaiting
        } else if available.is_empty() && self.available.pages.len() < 2 {
            Nothing::NobodyFree
        } else {
            Nothing::NobodyQualified
        };
        let snapshot = Snapshot::new(self.queue, waiting, available, self.now);
        Ask::Done { snapshot, decision: Decision::Nothing { why } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Selection;
    use crate::skill::Need;
    use crate::waiting::Priority;
    use std::collections::BTreeMap;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    /// Index rows as a table would give them.
    struct Rows(BTreeMap<(String, String), IndexRow>);

    impl Rows {
        fn new(queue: &QueueConfig, waiting: &[WaitingEntry], available: &[AvailableAgent]) -> Self {
            let free = available.iter().map(|a| IndexRow {
                partition: available_partition(&queue.name),
                sort: a.sort(Selection::LongestIdle),
                body: serde_json::to_string(a).unwrap(),
            });
            let rows = waiting.iter().map(|e| e.row(&queue.name)).chain(free);
            Self(rows.map(|r| ((r.partition.clone(), r.sort.clone()), r)).collect())
        }

        fn run(&self, queue: &QueueConfig) -> (Decision, usize) {
            let mut search = Search::new(queue, at(10_000));
            let mut reads = 0;
            loop {
                match search.next() {
                    Ask::Read { partition, from, limit } => {
                        reads += 1;
                        let from = (partition.clone(), from.unwrap_or_default());
                        let page = self.0.range(from..).take_while(|(k, _)| k.0 == partition).take(limit);
                        search.give(page.map(|(_, r)| r.clone()).collect());
                    }
                    Ask::Done { decision, .. } => return (decision, reads),
                }
            }
        }
    }

    fn agent(n: u128, skill: &str) -> AvailableAgent {
        AvailableAgent {
            agent: AgentId::from_u128(n),
            skills: [(skill.parse().unwrap(), 1)].into(),
            idle_since: at(n as i64),
            occupancy_pm: 0,
        }
    }

    fn waits(queue: &QueueConfig, n: u128, skill: &str) -> WaitingEntry {
        let mut entry = WaitingEntry::new(ContactId::from_u128(n), queue, None, Priority::default(), at(n as i64));
        entry.required = vec![Need::new(skill.parse().unwrap(), 1)];
        entry
    }

    fn queue() -> QueueConfig {
        QueueConfig::new("q".parse().unwrap())
    }

    #[test]
    fn usually_one_page_of_each() {
        let rows = Rows::new(&queue(), &[waits(&queue(), 1, "zh")], &[agent(1, "zh")]);
        let (decision, reads) = rows.run(&queue());
        assert!(matches!(decision, Decision::Match { .. }));
        assert_eq!(reads, 2);
    }

    #[test]
    fn a_head_that_cannot_be_served_holds_nobody_up() {
        let mut waiting: Vec<_> = (0..120).map(|n| waits(&queue(), n, "zh")).collect();
        waiting.push(waits(&queue(), 500, "en"));
        let mut free: Vec<_> = (0..130).map(|n| agent(n, "fr")).collect();
        free.push(agent(700, "en"));
        let (decision, reads) = Rows::new(&queue(), &waiting, &free).run(&queue());
        let Decision::Match { contact, agent, .. } = decision else { panic!("{decision:?}") };
        assert_eq!((contact, agent), (ContactId::from_u128(500), AgentId::from_u128(700)));
        assert_eq!(reads, 3 + 3, "each page is read once");
    }

    /// Pairs of one search and of many, each after the last pair had left.
    #[test]
    fn a_search_gives_the_pairs_that_one_after_the_other_would_be() {
        let skills = ["zh", "en", "fr"];
        for (waits_n, free_n) in [(3, 3), (20, 7), (49, 49), (130, 130), (7, 60)] {
            let mut waiting: Vec<_> = (0..waits_n).map(|n| waits(&queue(), n, skills[(n * 7 % 3) as usize])).collect();
            let mut free: Vec<_> = (0..free_n).map(|n| agent(n, skills[(n * n % 3) as usize])).collect();
            let all = Rows::new(&queue(), &waiting, &free);
            let queue = queue();
            let mut search = Search::new(&queue, at(10_000));
            let mut pairs = Vec::new();
            loop {
                match search.next() {
                    Ask::Read { partition, from, limit } => {
                        let from = (partition.clone(), from.unwrap_or_default());
                        let page = all.0.range(from..).take_while(|(k, _)| k.0 == partition).take(limit);
                        search.give(page.map(|(_, r)| r.clone()).collect());
                    }
                    Ask::Done { decision: Decision::Match { contact, agent, .. }, snapshot } => {
                        assert!(snapshot.waiting.iter().any(|entry| entry.contact == contact));
                        pairs.push((contact, agent));
                        if !search.take(contact, agent) {
                            break;
                        }
                    }
                    Ask::Done { .. } => break,
                }
            }
            assert!(pairs.len() <= MAX_PAIRS && !pairs.is_empty());
            for (n, pair) in pairs.iter().enumerate() {
                let (Decision::Match { contact, agent, .. }, _) = Rows::new(&queue, &waiting, &free).run(&queue) else {
                    panic!("{n} of {waits_n}/{free_n}");
                };
                assert_eq!(*pair, (contact, agent), "{n} of {waits_n}/{free_n}");
                waiting.retain(|entry| entry.contact != contact);
                free.retain(|other| other.agent != agent);
            }
        }
    }

    #[test]
    fn nothing_is_told_by_its_reason_and_reads_are_bounded() {
        let nobody = Rows::new(&queue(), &[], &[agent(1, "zh")]).run(&queue());
        assert_eq!(nobody, (Decision::Nothing { why: Nothing::NobodyWaiting }, 1));
        let none_free = Rows::new(&queue(), &[waits(&queue(), 1, "zh")], &[]).run(&queue());
        assert_eq!(none_free, (Decision::Nothing { why: Nothing::NobodyFree }, 2));
        let waiting: Vec<_> = (0..3_000).map(|n| waits(&queue(), n, "zh")).collect();
        let free: Vec<_> = (0..3_000).map(|n| agent(n, "en")).collect();
        let (decision, reads) = Rows::new(&queue(), &waiting, &free).run(&queue());
        assert_eq!(decision, Decision::Nothing { why: Nothing::NobodyQualified });
        assert_eq!(reads, 2 * MAX_PAGES);
    }
}
