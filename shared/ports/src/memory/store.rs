//! Tables in memory, with the conditions of the real ones.

use async_trait::async_trait;
use hotline_base::{EntityKey, IndexRow, TenantId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::memory::lock;
use crate::{Commit, CommitError, FactRow, Fault, OutboxRow, Range, Store, Stored, TimerRow};

type RowPlace = (TenantId, String, String);

#[derive(Default)]
struct Tables {
    states: BTreeMap<EntityKey, Stored>,
    rows: BTreeMap<RowPlace, String>,
    facts: BTreeMap<(EntityKey, u64, u32), FactRow>,
    outbox: BTreeMap<(Timestamp, EntityKey, u64, u32), OutboxRow>,
    timers: BTreeSet<TimerRow>,
    added: BTreeSet<(RowPlace, String)>,
    arrivals: Vec<FactRow>,
    ignore_versions: bool,
}

/// Tables in memory.
#[derive(Default)]
pub struct MemoryStore(Mutex<Tables>);

impl MemoryStore {
    /// Facts in the order of their commits since the last call: what a table stream would give.
    pub fn take_stream(&self) -> Vec<FactRow> {
        std::mem::take(&mut lock(&self.0).arrivals)
    }

    /// Every entity.
    pub fn states(&self) -> Vec<(EntityKey, Stored)> {
        lock(&self.0).states.iter().map(|(key, stored)| (key.clone(), stored.clone())).collect()
    }

    /// Every armed timer, earliest first.
    pub fn timers(&self) -> Vec<TimerRow> {
        lock(&self.0).timers.iter().cloned().collect()
    }

    /// Every effect not settled, oldest first.
    pub fn unsettled(&self) -> Vec<OutboxRow> {
        lock(&self.0).outbox.values().cloned().collect()
    }

    /// Every fact of every entity, by entity.
    pub fn all_facts(&self) -> Vec<FactRow> {
        lock(&self.0).facts.values().cloned().collect()
    }

    /// Every index row.
    pub fn all_rows(&self) -> Vec<(TenantId, IndexRow)> {
        let row = |(place, body): (&RowPlace, &String)| {
            let (tenant, partition, sort) = place.clone();
            (tenant, IndexRow { partition, sort, body: body.clone() })
        };
        lock(&self.0).rows.iter().map(row).collect()
    }

    /// Stops checking versions: what the simulator must notice.
    pub fn ignore_versions(&self) {
        lock(&self.0).ignore_versions = true;
    }
}

impl Tables {
    fn check(&self, commit: &Commit) -> Result<(), CommitError> {
        let mut places = BTreeSet::new();
        let rows = commit.rows_put.iter().map(|(tenant, row)| (*tenant, &row.partition, &row.sort));
        let gone = commit.rows_delete.iter().map(|(tenant, part, sort)| (*tenant, part, sort));
        for place in rows.chain(gone) {
            if !places.insert(place) {
                // A real table refuses two operations on one item in one transaction.
                return Err(Fault::permanent("store", format!("row {place:?} twice in one commit")).into());
            }
        }
        if commit.items() > 100 {
            return Err(Fault::permanent("store", "more than 100 items in one commit").into());
        }
        for write in &commit.writes {
            let version = self.states.get(&write.key).map_or(0, |stored| stored.version);
            if version != write.expected && !self.ignore_versions {
                return Err(CommitError::Conflict);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, key: &EntityKey) -> Result<Option<Stored>, Fault> {
        Ok(lock(&self.0).states.get(key).cloned())
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let mut tables = lock(&self.0);
        tables.check(&commit)?;
        for write in commit.writes {
            tables.states.insert(write.key, write.next);
        }
        for (tenant, partition, sort) in commit.rows_delete {
            tables.rows.remove(&(tenant, partition, sort));
        }
        for (tenant, row) in commit.rows_put {
            tables.rows.insert((tenant, row.partition, row.sort), row.body);
        }
        for fact in commit.facts {
            tables.arrivals.push(fact.clone());
            tables.facts.insert((fact.subject.clone(), fact.version, fact.index), fact);
        }
        for row in commit.outbox {
            tables.outbox.insert((row.at, row.subject.clone(), row.version, row.index), row);
        }
        for timer in commit.timers_delete {
            tables.timers.remove(&timer);
        }
        tables.timers.extend(commit.timers_put);
        Ok(())
    }

    async fn rows(&self, range: Range<'_>) -> Result<Vec<IndexRow>, Fault> {
        let tables = lock(&self.0);
        let place = |sort: &str| (range.tenant, range.partition.to_string(), sort.to_string());
        let own = |(tenant, part, _): &RowPlace| *tenant == range.tenant && part == range.partition;
        let below = |(_, _, sort): &RowPlace| range.below.is_none_or(|below| sort.as_str() < below);
        let row = |((_, partition, sort), body): (&RowPlace, &String)| IndexRow {
            partition: partition.clone(),
            sort: sort.clone(),
            body: body.clone(),
        };
        // Only what is asked for is gone through: a partition may hold many thousands.
        if !range.descending {
            let found =
                tables.rows.range(place(range.from.unwrap_or_default())..).take_while(|(at, _)| own(at) && below(at));
            return Ok(found.take(range.limit).map(row).collect());
        }
        let found = tables.rows.range(place("")..).take_while(|(at, _)| own(at) && below(at));
        let found = found.take_while(|((_, _, sort), _)| range.from.is_none_or(|from| sort.as_str() <= from));
        let mut rows: Vec<IndexRow> = found.map(row).collect();
        rows.reverse();
        rows.truncate(range.limit);
        Ok(rows)
    }

    async fn facts(&self, subject: &EntityKey, after: Option<(u64, u32)>, limit: usize) -> Result<Vec<FactRow>, Fault> {
        let tables = lock(&self.0);
        let found = tables
            .facts
            .range((subject.clone(), 0, 0)..)
            .take_while(|((key, _, _), _)| key == subject)
            .filter(|((_, version, index), _)| after.is_none_or(|after| (*version, *index) > after));
        Ok(found.take(limit).map(|(_, fact)| fact.clone()).collect())
    }

    async fn due(&self, from: Timestamp, until: Timestamp, limit: usize) -> Result<Vec<TimerRow>, Fault> {
        let tables = lock(&self.0);
        let due = tables.timers.iter().filter(|timer| timer.due >= from && timer.due < until);
        Ok(due.take(limit).cloned().collect())
    }

    async fn outbox(&self, before: Timestamp, limit: usize) -> Result<Vec<OutboxRow>, Fault> {
        let tables = lock(&self.0);
        Ok(tables.outbox.values().filter(|row| row.at < before).take(limit).cloned().collect())
    }

    async fn settle(&self, row: &OutboxRow) -> Result<(), Fault> {
        let place = (row.at, row.subject.clone(), row.version, row.index);
        lock(&self.0).outbox.remove(&place);
        Ok(())
    }

    async fn put_row(&self, tenant: TenantId, row: IndexRow, _expires: Option<Timestamp>) -> Result<(), Fault> {
        lock(&self.0).rows.insert((tenant, row.partition, row.sort), row.body);
        Ok(())
    }

    async fn put_row_new(&self, tenant: TenantId, row: IndexRow, _expires: Option<Timestamp>) -> Result<bool, Fault> {
        let mut tables = lock(&self.0);
        let place = (tenant, row.partition, row.sort);
        if tables.rows.contains_key(&place) {
            return Ok(false);
        }
        tables.rows.insert(place, row.body);
        Ok(true)
    }

    async fn delete_row(&self, tenant: TenantId, partition: &str, sort: &str) -> Result<(), Fault> {
        lock(&self.0).rows.remove(&(tenant, partition.into(), sort.into()));
        Ok(())
    }

    async fn add(
        &self,
        tenant: TenantId,
        partition: &str,
        sort: &str,
        counters: &[(&str, i64)],
        once: &str,
    ) -> Result<bool, Fault> {
        let mut tables = lock(&self.0);
        let place = (tenant, partition.to_string(), sort.to_string());
        if !tables.added.insert((place.clone(), once.to_string())) {
            return Ok(false);
        }
        let body = tables.rows.get(&place).map_or("{}", String::as_str);
        let mut sums: BTreeMap<String, i64> = serde_json::from_str(body)
            .map_err(|error| Fault::permanent("store", format!("counters {sort}: {error}")))?;
        for (name, more) in counters {
            let sum = sums.entry((*name).to_string()).or_default();
            *sum = sum.saturating_add(*more);
        }
        let body = serde_json::to_string(&sums).map_err(|e| Fault::permanent("store", e))?;
        tables.rows.insert(place, body);
        Ok(true)
    }
}
