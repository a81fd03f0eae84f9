//! A store that tells what was committed, for the checks after every step.

use async_trait::async_trait;
use hotline_base::{EntityKey, IndexRow, TenantId, Timestamp};
use hotline_ports::memory::MemoryStore;
use hotline_ports::{Commit, CommitError, FactRow, Fault, OutboxRow, Range, Store, Stored, TimerRow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The tables in memory with a list of what was committed.
pub struct Watch {
    inner: Arc<MemoryStore>,
    commits: Mutex<Vec<Commit>>,
}

impl Watch {
    /// Watches these tables.
    pub fn new(inner: Arc<MemoryStore>) -> Self {
        Self { inner, commits: Mutex::default() }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Commit>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits since the last call, oldest first.
    pub fn take(&self) -> Vec<Commit> {
        std::mem::take(&mut *self.list())
    }
}

#[async_trait]
impl Store for Watch {
    async fn load(&self, key: &EntityKey) -> Result<Option<Stored>, Fault> {
        self.inner.load(key).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let copy = commit.clone();
        self.inner.commit(commit).await?;
        self.list().push(copy);
        Ok(())
    }

    async fn rows(&self, range: Range<'_>) -> Result<Vec<IndexRow>, Fault> {
        self.inner.rows(range).await
    }

    async fn facts(&self, subject: &EntityKey, after: Option<(u64, u32)>, limit: usize) -> Result<Vec<FactRow>, Fault> {
        self.inner.facts(subject, after, limit).await
    }

    async fn due(&self, from: Timestamp, until: Timestamp, limit: usize) -> Result<Vec<TimerRow>, Fault> {
        self.inner.due(from, until, limit).await
    }

    async fn outbox(&self, before: Timestamp, limit: usize) -> Result<Vec<OutboxRow>, Fault> {
        self.inner.outbox(before, limit).await
    }

    async fn settle(&self, row: &OutboxRow) -> Result<(), Fault> {
        self.inner.settle(row).await
    }

    async fn put_row(&self, tenant: TenantId, row: IndexRow, expires: Option<Timestamp>) -> Result<(), Fault> {
        self.inner.put_row(tenant, row, expires).await
    }

    async fn put_row_new(&self, tenant: TenantId, row: IndexRow, expires: Option<Timestamp>) -> Result<bool, Fault> {
        self.inner.put_row_new(tenant, row, expires).await
    }

    async fn delete_row(&self, tenant: TenantId, partition: &str, sort: &str) -> Result<(), Fault> {
        self.inner.delete_row(tenant, partition, sort).await
    }

    async fn add(
        &self,
        tenant: TenantId,
        partition: &str,
        sort: &str,
        counters: &[(&str, i64)],
        once: &str,
    ) -> Result<bool, Fault> {
        self.inner.add(tenant, partition, sort, counters, once).await
    }
}
