//! The pure router at growing sizes: `cargo run -p hotline-routing --release --example bench_router`.
//!
//! Both sides are held in ordered maps as text rows, as the tables hold them, and a decision reads
//! pages of fifty from their heads. Reading and parsing the rows is part of the time. The figures
//! are decisions per second on one core, and the growth against the smallest size: they should hardly
//! change, because a decision reads the heads alone.

use hotline_base::{AgentId, ContactId, IndexRow, Name, Timestamp};
use hotline_routing::search::{Ask, Search};
use hotline_routing::waiting::Priority;
use hotline_routing::{AvailableAgent, Decision, Need, QueueConfig, WaitingEntry};
use std::collections::BTreeMap;
use std::time::Instant;

struct Market {
    queue: QueueConfig,
    waiting: BTreeMap<String, IndexRow>,
    available: BTreeMap<String, IndexRow>,
}

/// A text known to be a name.
fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + ms)
}

impl Market {
    fn new(waiting: usize, agents: usize, skilled: bool, seed: &mut u64) -> Self {
        let queue = QueueConfig::new(name("bench"));
        let mut market = Self { queue, waiting: BTreeMap::new(), available: BTreeMap::new() };
        for n in 0..waiting {
            market.enqueue(n as u128, skilled, seed);
        }
        for n in 0..agents {
            market.free(n as u128, seed);
        }
        market
    }

    fn enqueue(&mut self, n: u128, skilled: bool, seed: &mut u64) {
        let since = at((random(seed) % 600_000) as i64);
        let priority = Priority { credit_ms: (random(seed) % 3 * 60_000) as i64, class: 0 };
        let mut entry = WaitingEntry::new(ContactId::from_u128(n), &self.queue, None, priority, since);
        if skilled {
            let skill = name(if random(seed).is_multiple_of(2) { "lang-zh" } else { "lang-en" });
            entry.required.push(Need::new(skill, 1));
            entry.preferred.push(Need::new(name("router"), (random(seed) % 5) as u8));
        }
        self.waiting.insert(entry.sort(), entry.row(&self.queue.name));
    }

    fn free(&mut self, n: u128, seed: &mut u64) {
        let lang = name(if random(seed).is_multiple_of(2) { "lang-zh" } else { "lang-en" });
        let agent = AvailableAgent {
            agent: AgentId::from_u128(n),
            skills: [(lang, 5), (name("router"), (random(seed) % 10 + 1) as u8)].into(),
            idle_since: at((random(seed) % 600_000) as i64),
            occupancy_pm: (random(seed) % 1_000) as u16,
        };
        let row = IndexRow {
            partition: "available/bench".into(),
            sort: agent.sort(self.queue.selection),
            body: serde_json::to_string(&agent).unwrap_or_default(),
        };
        self.available.insert(row.sort.clone(), row);
    }

    /// Searches page by page, takes the pair out and puts another pair in; gives the pages read.
    fn decide(&mut self, n: u128, skilled: bool, seed: &mut u64) -> Option<u32> {
        let queue = self.queue.clone();
        let mut search = Search::new(&queue, at(700_000));
        let mut reads = 0;
        let (snapshot, decision) = loop {
            match search.next() {
                Ask::Read { partition, from, limit } => {
                    reads += 1;
                    let side = if partition.starts_with("waiting") { &self.waiting } else { &self.available };
                    search
                        .give(side.range(from.unwrap_or_default()..).take(limit).map(|(_, row)| row.clone()).collect());
                }
                Ask::Done { snapshot, decision } => break (snapshot, decision),
            }
        };
        let Decision::Match { contact, agent, .. } = decision else {
            return None;
        };
        let entry = snapshot.waiting.iter().find(|e| e.contact == contact)?;
        let taken = snapshot.available.iter().find(|a| a.agent == agent)?;
        self.waiting.remove(&entry.sort());
        self.available.remove(&taken.sort(self.queue.selection));
        self.enqueue(1_000_000 + n, skilled, seed);
        self.free(1_000_000 + n, seed);
        Some(reads)
    }
}

/// Waiting contacts and free agents.
const SIZES: [(usize, usize); 9] = [
    (1_000, 100),
    (1_000, 1_000),
    (1_000, 50_000),
    (10_000, 100),
    (10_000, 1_000),
    (10_000, 10_000),
    (100_000, 100),
    (100_000, 10_000),
    (100_000, 50_000),
];

fn main() {
    let mut seed = 1;
    let head = ["waiting", "agents", "skills"].map(|text| format!("{text:>8}")).join(" ");
    println!("{head} {:>14} {:>12} {:>12} {:>8}", "decisions/s", "µs each", "pages read", "growth");
    for skilled in [false, true] {
        let mut first = None;
        for (waiting, agents) in SIZES {
            let mut market = Market::new(waiting, agents, skilled, &mut seed);
            let rounds: u32 = 5_000;
            let start = Instant::now();
            let reads: Vec<u32> =
                (0..rounds).filter_map(|n| market.decide(u128::from(n), skilled, &mut seed)).collect();
            let each = start.elapsed().as_secs_f64() / f64::from(rounds);
            assert_eq!(reads.len(), rounds as usize, "every decision of this benchmark finds a pair");
            let pages = f64::from(reads.iter().sum::<u32>()) / f64::from(rounds);
            let skills = if skilled { "yes" } else { "no" };
            let growth = each / *first.get_or_insert(each);
            let (rate, us) = (1.0 / each, each * 1e6);
            println!("{waiting:>8} {agents:>8} {skills:>8} {rate:>14.0} {us:>12.1} {pages:>12.2} {growth:>8.2}");
        }
    }
}
