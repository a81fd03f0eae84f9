//! Tables: state, index rows, facts, timers and outbox, written in one conditional transaction.

use async_trait::async_trait;
use hotline_base::{EntityKey, IndexRow, InputId, TenantId, TimerKey, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Fault;

/// A state as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Counts up by one per committed step; 1 is the first.
    pub version: u64,
    /// The state.
    pub body: serde_json::Value,
    /// The last inputs applied, newest last, at most `limits::SEEN_INPUTS`.
    pub seen: Vec<InputId>,
}

/// One entity's change within a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Which entity.
    pub key: EntityKey,
    /// The version it must have now; 0: it must not exist.
    pub expected: u64,
    /// What it becomes; its version is `expected + 1`.
    pub next: Stored,
    /// After this moment the item may be removed by the table's TTL.
    pub expires: Option<Timestamp>,
}

/// One fact as stored: its place is (subject, version, index), which is also its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactRow {
    /// Whose history it is part of.
    pub subject: EntityKey,
    /// The version that the step made.
    pub version: u64,
    /// The place within the step.
    pub index: u32,
    /// When.
    pub at: Timestamp,
    /// Past-tense name.
    pub name: String,
    /// The fact.
    pub body: serde_json::Value,
}

/// One effect waiting to be dispatched; (subject, version, index) is its idempotency key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// Whose effect.
    pub subject: EntityKey,
    /// The version that the step made.
    pub version: u64,
    /// The place within the step.
    pub index: u32,
    /// When it was asked for.
    pub at: Timestamp,
    /// The effect.
    pub body: serde_json::Value,
}

impl OutboxRow {
    /// The idempotency key of the effect: `ten_…/contact/con_…/7/0`.
    pub fn id(&self) -> String {
        format!("{:?}/{}/{}", self.subject, self.version, self.index)
    }
}

/// One armed timer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimerRow {
    /// When it wants to fire.
    pub due: Timestamp,
    /// Whose timer.
    pub subject: EntityKey,
    /// Which timer.
    pub timer: TimerKey,
}

/// Everything that one step changes; all of it happens or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    /// Entities, each conditional on its version.
    pub writes: Vec<Write>,
    /// Index rows to put.
    pub rows_put: Vec<(TenantId, IndexRow)>,
    /// Index rows to remove: tenant, partition, sort.
    pub rows_delete: Vec<(TenantId, String, String)>,
    /// History to append.
    pub facts: Vec<FactRow>,
    /// Effects to dispatch after the commit.
    pub outbox: Vec<OutboxRow>,
    /// Timers to arm.
    pub timers_put: Vec<TimerRow>,
    /// Timers to disarm.
    pub timers_delete: Vec<TimerRow>,
}

impl Commit {
    /// Items in the transaction; a store may refuse more than 100.
    pub fn items(&self) -> usize {
        self.writes.len()
            + self.rows_put.len()
            + self.rows_delete.len()
            + self.facts.len()
            + self.outbox.len()
            + self.timers_put.len()
            + self.timers_delete.len()
    }
}

/// Why a commit did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A version was stale or another transaction was in the way: load again and retry.
    #[error("a newer version exists")]
    Conflict,
    /// The store failed. A transient fault leaves open whether the commit happened; a retry
    /// recognises it by its input id.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A range of index rows.
#[derive(Debug, Clone)]
pub struct Range<'a> {
    /// Whose rows.
    pub tenant: TenantId,
    /// Which index.
    pub partition: &'a str,
    /// First sort key to return, inclusive; `None`: from the start (or end, if descending).
    pub from: Option<&'a str>,
    /// Only sort keys that are less than this.
    pub below: Option<&'a str>,
    /// At most this many.
    pub limit: usize,
    /// Highest sort key first.
    pub descending: bool,
}

/// The tables. All reads are strongly consistent.
#[async_trait]
pub trait Store: Send + Sync {
    /// One entity.
    async fn load(&self, key: &EntityKey) -> Result<Option<Stored>, Fault>;
    /// One step, whole or not at all.
    async fn commit(&self, commit: Commit) -> Result<(), CommitError>;
    /// Index rows in order.
    async fn rows(&self, range: Range<'_>) -> Result<Vec<IndexRow>, Fault>;
    /// An entity's history after (version, index), oldest first.
    async fn facts(&self, subject: &EntityKey, after: Option<(u64, u32)>, limit: usize) -> Result<Vec<FactRow>, Fault>;
    /// Armed timers due before `until`, over all tenants, earliest minute first.
    async fn due(&self, from: Timestamp, until: Timestamp, limit: usize) -> Result<Vec<TimerRow>, Fault>;
    /// Effects asked for before `before` and not yet settled.
    async fn outbox(&self, before: Timestamp, limit: usize) -> Result<Vec<OutboxRow>, Fault>;
    /// Removes a dispatched effect.
    async fn settle(&self, row: &OutboxRow) -> Result<(), Fault>;
    /// Puts a row outside any step (counters, connections, caches). `expires`: table TTL.
    async fn put_row(&self, tenant: TenantId, row: IndexRow, expires: Option<Timestamp>) -> Result<(), Fault>;
    /// Puts a row only where none has its partition and sort; `false` where one has.
    async fn put_row_new(&self, tenant: TenantId, row: IndexRow, expires: Option<Timestamp>) -> Result<bool, Fault>;
    /// Removes a row.
    async fn delete_row(&self, tenant: TenantId, partition: &str, sort: &str) -> Result<(), Fault>;
    /// Adds to the named counters of one row and creates it where missing, unless `once` was
    /// added to this row before; `false` where it was. For rollups.
    async fn add(
        &self,
        tenant: TenantId,
        partition: &str,
        sort: &str,
        counters: &[(&str, i64)],
        once: &str,
    ) -> Result<bool, Fault>;
}
