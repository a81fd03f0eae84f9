//! Tables that count: request units as DynamoDB charges them, conflicts as its transactions have
//! them, and how hot each partition gets.

use async_trait::async_trait;
use hotline_base::{EntityKey, IndexRow, TenantId, Timestamp, shards, unsharded};
use hotline_ports::{Commit, CommitError, FactRow, Fault, OutboxRow, Range, Store, Stored, TimerRow, World};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::clock::Clock;
use super::prices::{COMMIT_MS, LOAD_MS, RANGE_MS, WRITE_MS};

/// What was read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Units {
    /// Items and ranges read.
    pub reads: u64,
    /// Items written or removed.
    pub writes: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Read request units, strongly consistent.
    pub read_units: u64,
    /// Write request units.
    pub write_units: u64,
    /// Transactions.
    pub commits: u64,
    /// Transactions that met another one or a newer version.
    pub conflicts: u64,
}

impl Units {
    /// What was added since `before`.
    pub fn since(&self, before: &Units) -> Units {
        Units {
            reads: self.reads - before.reads,
            writes: self.writes - before.writes,
            bytes_read: self.bytes_read - before.bytes_read,
            bytes_written: self.bytes_written - before.bytes_written,
            read_units: self.read_units - before.read_units,
            write_units: self.write_units - before.write_units,
            commits: self.commits - before.commits,
            conflicts: self.conflicts - before.conflicts,
        }
    }
}

/// The busiest second of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heat {
    second: i64,
    reads: u64,
    writes: u64,
    /// Most read units in a second.
    pub most_reads: u64,
    /// Most write units in a second.
    pub most_writes: u64,
}

impl Heat {
    fn add(&mut self, second: i64, reads: u64, writes: u64) {
        if second != self.second {
            *self = Self { second, reads: 0, writes: 0, ..*self };
        }
        self.reads += reads;
        self.writes += writes;
        self.most_reads = self.most_reads.max(self.reads);
        self.most_writes = self.most_writes.max(self.writes);
    }
}

type Place = (TenantId, String);

#[derive(Default)]
struct Tables {
    states: HashMap<EntityKey, (Stored, usize)>,
    rows: HashMap<Place, BTreeMap<String, String>>,
    /// Rows of counters, by partition and sort.
    counters: HashMap<Place, BTreeMap<String, BTreeMap<String, i64>>>,
    timers: BTreeSet<TimerRow>,
    outbox: BTreeMap<(Timestamp, EntityKey, u64, u32), OutboxRow>,
    /// Facts for the consumer, oldest first.
    stream: Vec<FactRow>,
    /// Items that a transaction under way writes.
    busy: HashSet<u64>,
    units: Units,
    heat: HashMap<String, Heat>,
    /// Refused transactions by the kinds of entities or the counters that they were about.
    refused: BTreeMap<String, u64>,
}

/// Tables in memory that count and take their time.
pub struct CountingStore {
    clock: Clock,
    tables: Mutex<Tables>,
}

fn write_units(bytes: usize) -> u64 {
    bytes.div_ceil(1_024).max(1) as u64
}

/// Counts what is written to it.
struct Bytes(usize);

impl std::io::Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The length of a value as JSON.
fn length(value: &Value) -> usize {
    let mut bytes = Bytes(0);
    let written = serde_json::to_writer(&mut bytes, value);
    written.map_or(usize::MAX, |()| bytes.0)
}

/// An item of a transaction; two of a few hundred under way at a time are never the same by chance.
fn item(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn read_units(bytes: usize) -> u64 {
    bytes.div_ceil(4_096).max(1) as u64
}

/// Additions to one row that are tried before the fact comes again, as in the adapter.
const ADD_TRIES: i64 = 8;
/// Keys and attribute names beside the content.
const OVERHEAD: usize = 40;
/// `ten_…#e#contact#con_…`, and the like.
const KEY: usize = 75;

impl Tables {
    fn written(&mut self, partition: Option<&str>, bytes: usize, factor: u64, second: i64) {
        let units = write_units(bytes) * factor;
        self.units.writes += 1;
        self.units.bytes_written += bytes as u64;
        self.units.write_units += units;
        self.heats(partition, second, 0, units);
    }

    fn heats(&mut self, partition: Option<&str>, second: i64, reads: u64, writes: u64) {
        let Some(partition) = partition else { return };
        match self.heat.get_mut(partition) {
            Some(heat) => heat.add(second, reads, writes),
            None => self.heat.entry(partition.to_string()).or_default().add(second, reads, writes),
        }
    }

    /// A refused transaction is charged as well.
    fn refuse(&mut self, what: &str, items: u64) {
        self.units.commits += 1;
        self.units.conflicts += 1;
        self.units.write_units += 2 * items;
        *self.refused.entry(what.to_string()).or_default() += 1;
    }

    fn put(&mut self, tenant: TenantId, row: IndexRow, second: i64) {
        let bytes = KEY + row.sort.len() + row.body.len() + OVERHEAD;
        self.written(shared(&row.partition), bytes, 1, second);
        self.rows.entry((tenant, row.partition)).or_default().insert(row.sort, row.body);
    }

    fn read(&mut self, partition: Option<&str>, bytes: usize, second: i64) {
        let units = read_units(bytes);
        self.units.reads += 1;
        self.units.bytes_read += bytes as u64;
        self.units.read_units += units;
        self.heats(partition, second, units, 0);
    }
}

/// Partitions of one thing each are never hot: only shared ones are watched.
fn shared(partition: &str) -> Option<&str> {
    let own = ["contacts/party/", "decisions/", "contact-home/", "tombstones/", "live/", "let-in/"];
    (!own.iter().any(|p| partition.starts_with(p))).then_some(partition)
}

fn shard(key: &EntityKey) -> u32 {
    key.id.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte))) % 4
}

/// Each minute of timers has four partitions.
fn timer_partition(timer: &TimerRow) -> String {
    format!("timers of minute {} shard {}", timer.due.as_millis().div_euclid(60_000) % 100_000, shard(&timer.subject))
}

impl CountingStore {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, tables: Mutex::default() }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn second(&self) -> i64 {
        self.clock.now().as_millis().div_euclid(1_000)
    }

    /// What was read and written so far.
    pub fn units(&self) -> Units {
        self.tables().units
    }

    /// The hottest shared partitions by writes, then by reads.
    pub fn hottest(&self, count: usize) -> Vec<(String, Heat)> {
        let tables = self.tables();
        let mut all: Vec<(String, Heat)> = tables.heat.iter().map(|(name, heat)| (name.clone(), *heat)).collect();
        all.sort_by_key(|(name, heat)| (std::cmp::Reverse(heat.most_writes.max(heat.most_reads / 3)), name.clone()));
        all.truncate(count);
        all
    }

    /// Refused transactions by what they were about, most first.
    pub fn refused(&self) -> Vec<(String, u64)> {
        let mut all: Vec<(String, u64)> = self.tables().refused.iter().map(|(what, n)| (what.clone(), *n)).collect();
        all.sort_by_key(|(what, n)| (std::cmp::Reverse(*n), what.clone()));
        all
    }

    pub(super) fn take_stream(&self) -> Vec<FactRow> {
        std::mem::take(&mut self.tables().stream)
    }

    /// Forgets an entity that nobody will ask for again, as a table's TTL does.
    pub(super) fn forget(&self, key: &EntityKey) {
        self.tables().states.remove(key);
    }

    /// Rows of a list in all its parts, not counted.
    pub(super) fn count_rows(&self, tenant: TenantId, list: &str) -> usize {
        let tables = self.tables();
        let parts = shards(list, hotline_routing::queue::MAX_SHARDS);
        parts.into_iter().filter_map(|part| tables.rows.get(&(tenant, part))).map(BTreeMap::len).sum()
    }

    fn apply(&self, commit: Commit) -> Result<(), CommitError> {
        let second = self.second();
        let mut tables = self.tables();
        for write in &commit.writes {
            let version = tables.states.get(&write.key).map_or(0, |(stored, _)| stored.version);
            if version != write.expected {
                return Err(CommitError::Conflict);
            }
        }
        for write in commit.writes {
            let bytes = KEY + OVERHEAD + length(&write.next.body) + write.next.seen.len() * 34;
            tables.written(None, bytes, 2, second);
            tables.states.insert(write.key, (write.next, bytes));
        }
        for (tenant, partition, sort) in commit.rows_delete {
            tables.written(shared(&partition), KEY + sort.len(), 2, second);
            if let Some(rows) = tables.rows.get_mut(&(tenant, partition)) {
                rows.remove(&sort);
            }
        }
        for (tenant, row) in commit.rows_put {
            let bytes = KEY + row.sort.len() + row.body.len() + OVERHEAD;
            tables.written(shared(&row.partition), bytes, 2, second);
            tables.rows.entry((tenant, row.partition)).or_default().insert(row.sort, row.body);
        }
        for fact in commit.facts {
            let bytes = KEY + OVERHEAD + 60 + length(&fact.body);
            tables.written(None, bytes, 2, second);
            tables.stream.push(fact);
        }
        for row in commit.outbox {
            let bytes = KEY + OVERHEAD + 160 + length(&row.body);
            tables.written(Some(&format!("outbox shard {}", shard(&row.subject))), bytes, 2, second);
            tables.outbox.insert((row.at, row.subject.clone(), row.version, row.index), row);
        }
        for timer in commit.timers_delete {
            tables.written(Some(&timer_partition(&timer)), KEY + 60, 2, second);
            tables.timers.remove(&timer);
        }
        for timer in commit.timers_put {
            tables.written(Some(&timer_partition(&timer)), KEY + OVERHEAD + 200, 2, second);
            tables.timers.insert(timer);
        }
        Ok(())
    }
}

#[async_trait]
impl Store for CountingStore {
    async fn load(&self, key: &EntityKey) -> Result<Option<Stored>, Fault> {
        self.clock.sleep(LOAD_MS).await;
        let second = self.second();
        let mut tables = self.tables();
        let found = tables.states.get(key).cloned();
        tables.read(None, found.as_ref().map_or(0, |(_, bytes)| *bytes), second);
        Ok(found.map(|(stored, _)| stored))
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let what: BTreeSet<String> = commit.writes.iter().map(|write| write.key.kind.to_string()).collect();
        let mut items: Vec<u64> = commit.writes.iter().map(|write| item(&write.key)).collect();
        let places = commit.rows_delete.iter().map(|(_, partition, sort)| (partition, sort));
        let places = places.chain(commit.rows_put.iter().map(|(_, row)| (&row.partition, &row.sort)));
        items.extend(places.map(|place| item(&place)));
        let clash = {
            let mut tables = self.tables();
            let clash = items.iter().any(|item| tables.busy.contains(item));
            if !clash {
                tables.busy.extend(&items);
            }
            clash
        };
        self.clock.sleep(COMMIT_MS).await;
        let done = if clash {
            Err(CommitError::Conflict)
        } else {
            let done = self.apply(commit);
            let mut tables = self.tables();
            tables.units.commits += u64::from(done.is_ok());
            for item in &items {
                tables.busy.remove(item);
            }
            done
        };
        if done == Err(CommitError::Conflict) {
            let what: Vec<String> = what.into_iter().collect();
            self.tables().refuse(&what.join(" and "), items.len() as u64);
        }
        done
    }

    async fn rows(&self, range: Range<'_>) -> Result<Vec<IndexRow>, Fault> {
        self.clock.sleep(RANGE_MS).await;
        let second = self.second();
        let mut tables = self.tables();
        let place = (range.tenant, range.partition.to_string());
        let row = |(sort, body): (&String, &String)| IndexRow {
            partition: range.partition.to_string(),
            sort: sort.clone(),
            body: body.clone(),
        };
        let mut found: Vec<IndexRow> = match tables.rows.get(&place) {
            None => Vec::new(),
            Some(rows) if range.descending => {
                let up_to = rows.iter().rev().filter(|(sort, _)| range.from.is_none_or(|from| sort.as_str() <= from));
                up_to.filter(|(s, _)| range.below.is_none_or(|b| s.as_str() < b)).take(range.limit).map(row).collect()
            }
            Some(rows) => {
                let from = rows.range(range.from.unwrap_or_default().to_string()..);
                from.take_while(|(s, _)| range.below.is_none_or(|b| s.as_str() < b))
                    .take(range.limit)
                    .map(row)
                    .collect()
            }
        };
        let bytes = found.iter().map(|row| KEY + OVERHEAD + row.sort.len() + row.body.len()).sum();
        tables.read(shared(range.partition), bytes, second);
        if let Some(counters) = tables.counters.get(&place) {
            let from = counters.range(range.from.unwrap_or_default().to_string()..);
            let rows = from.take(range.limit).map(|(sort, sums)| IndexRow {
                partition: range.partition.to_string(),
                sort: sort.clone(),
                body: serde_json::to_string(sums).unwrap_or_default(),
            });
            found.extend(rows);
        }
        Ok(found)
    }

    async fn facts(&self, _: &EntityKey, _: Option<(u64, u32)>, _: usize) -> Result<Vec<FactRow>, Fault> {
        Err(Fault::permanent("store", "facts are not kept here"))
    }

    async fn due(&self, from: Timestamp, until: Timestamp, limit: usize) -> Result<Vec<TimerRow>, Fault> {
        self.clock.sleep(RANGE_MS).await;
        let second = self.second();
        let mut tables = self.tables();
        let due: Vec<TimerRow> = tables
            .timers
            .iter()
            .skip_while(|t| t.due < from)
            .take_while(|t| t.due < until)
            .take(limit)
            .cloned()
            .collect();
        let bytes = due.len() * (KEY + OVERHEAD + 200);
        tables.read(None, bytes, second);
        Ok(due)
    }

    async fn outbox(&self, before: Timestamp, limit: usize) -> Result<Vec<OutboxRow>, Fault> {
        self.clock.sleep(RANGE_MS).await;
        let second = self.second();
        let mut tables = self.tables();
        let rows: Vec<OutboxRow> =
            tables.outbox.values().take_while(|row| row.at < before).take(limit).cloned().collect();
        tables.read(None, rows.len() * 500, second);
        Ok(rows)
    }

    async fn settle(&self, row: &OutboxRow) -> Result<(), Fault> {
        self.clock.sleep(WRITE_MS).await;
        let second = self.second();
        let mut tables = self.tables();
        tables.written(Some(&format!("outbox shard {}", shard(&row.subject))), 1, 1, second);
        tables.outbox.remove(&(row.at, row.subject.clone(), row.version, row.index));
        Ok(())
    }

    async fn put_row(&self, tenant: TenantId, row: IndexRow, _: Option<Timestamp>) -> Result<(), Fault> {
        self.clock.sleep(WRITE_MS).await;
        let second = self.second();
        self.tables().put(tenant, row, second);
        Ok(())
    }

    async fn put_row_new(&self, tenant: TenantId, row: IndexRow, _: Option<Timestamp>) -> Result<bool, Fault> {
        self.clock.sleep(WRITE_MS).await;
        let second = self.second();
        let mut tables = self.tables();
        if tables.rows.get(&(tenant, row.partition.clone())).is_some_and(|rows| rows.contains_key(&row.sort)) {
            // A condition that does not hold is charged as the write that it was for.
            tables.written(shared(&row.partition), KEY, 1, second);
            return Ok(false);
        }
        tables.put(tenant, row, second);
        Ok(true)
    }

    async fn delete_row(&self, tenant: TenantId, partition: &str, sort: &str) -> Result<(), Fault> {
        self.clock.sleep(WRITE_MS).await;
        let second = self.second();
        let mut tables = self.tables();
        tables.written(shared(partition), KEY, 1, second);
        if let Some(rows) = tables.rows.get_mut(&(tenant, partition.to_string())) {
            rows.remove(sort);
        }
        Ok(())
    }

    async fn add(
        &self,
        tenant: TenantId,
        partition: &str,
        sort: &str,
        counters: &[(&str, i64)],
        _once: &str,
    ) -> Result<bool, Fault> {
        let item = item(&(partition, sort));
        let mut tries = 1;
        while !self.tables().busy.insert(item) {
            // Two transactions on one row: the adapter tries again after a while.
            self.clock.sleep(COMMIT_MS / 2).await;
            let list: Vec<&str> = unsharded(partition).split('/').take(2).collect();
            self.tables().refuse(&format!("counters {}", list.join("/")), 2);
            if tries == ADD_TRIES {
                return Err(Fault::transient("store", "too many additions to the same counters at the same time"));
            }
            self.clock.sleep(10 * tries * tries).await;
            tries += 1;
        }
        self.clock.sleep(COMMIT_MS).await;
        let second = self.second();
        let mut tables = self.tables();
        tables.busy.remove(&item);
        tables.units.commits += 1;
        // The mark that it was added, and the counters: one transaction.
        tables.written(None, KEY + 120, 2, second);
        tables.written(shared(partition), KEY + 400, 2, second);
        let rows = tables.counters.entry((tenant, partition.into())).or_default();
        let sums = rows.entry(sort.into()).or_default();
        for (name, more) in counters {
            *sums.entry((*name).to_string()).or_default() += more;
        }
        Ok(true)
    }
}
