//! A store that sometimes fails.

use async_trait::async_trait;
use hotline_base::{EntityKey, IndexRow, TenantId, Timestamp};
use std::sync::Arc;

use crate::faulty::{Call, Faults, Injection, injected, yield_once};
use crate::{Commit, CommitError, FactRow, Fault, OutboxRow, Range, Store, Stored, TimerRow};

/// A store with injected faults.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Arc<dyn Faults>,
}

impl FaultyStore {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Store>, faults: Arc<dyn Faults>) -> Self {
        Self { inner, faults }
    }

    async fn around<T>(&self, call: Call, work: impl Future<Output = Result<T, Fault>> + Send) -> Result<T, Fault> {
        yield_once().await;
        let injection = self.faults.decide(call);
        if matches!(injection, Injection::FaultBefore | Injection::Conflict) {
            return Err(injected("store"));
        }
        let done = work.await;
        yield_once().await;
        if injection == Injection::FaultAfter { Err(injected("store")) } else { done }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn load(&self, key: &EntityKey) -> Result<Option<Stored>, Fault> {
        self.around(Call::Read, self.inner.load(key)).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        yield_once().await;
        match self.faults.decide(Call::Commit) {
            Injection::Conflict => Err(CommitError::Conflict),
            Injection::FaultBefore => Err(injected("store").into()),
            Injection::FaultAfter => {
                self.inner.commit(commit).await?;
                yield_once().await;
                Err(injected("store").into())
            }
            Injection::None | Injection::Duplicate | Injection::Delay(_) => {
                let done = self.inner.commit(commit).await;
                yield_once().await;
                done
            }
        }
    }

    async fn rows(&self, range: Range<'_>) -> Result<Vec<IndexRow>, Fault> {
        self.around(Call::Read, self.inner.rows(range)).await
    }

    async fn facts(&self, subject: &EntityKey, after: Option<(u64, u32)>, limit: usize) -> Result<Vec<FactRow>, Fault> {
        self.around(Call::Read, self.inner.facts(subject, after, limit)).await
    }

    async fn due(&self, from: Timestamp, until: Timestamp, limit: usize) -> Result<Vec<TimerRow>, Fault> {
        self.around(Call::Read, self.inner.due(from, until, limit)).await
    }

    async fn outbox(&self, before: Timestamp, limit: usize) -> Result<Vec<OutboxRow>, Fault> {
        self.around(Call::Read, self.inner.outbox(before, limit)).await
    }

    async fn settle(&self, row: &OutboxRow) -> Result<(), Fault> {
        self.around(Call::Write, self.inner.settle(row)).await
    }

    async fn put_row(&self, tenant: TenantId, row: IndexRow, expires: Option<Timestamp>) -> Result<(), Fault> {
        self.around(Call::Write, self.inner.put_row(tenant, row, expires)).await
    }

    async fn put_row_new(&self, tenant: TenantId, row: IndexRow, expires: Option<Timestamp>) -> Result<bool, Fault> {
        self.around(Call::Write, self.inner.put_row_new(tenant, row, expires)).await
    }

    async fn delete_row(&self, tenant: TenantId, partition: &str, sort: &str) -> Result<(), Fault> {
        self.around(Call::Write, self.inner.delete_row(tenant, partition, sort)).await
    }

    async fn add(
        &self,
        tenant: TenantId,
        partition: &str,
        sort: &str,
        counters: &[(&str, i64)],
        once: &str,
    ) -> Result<bool, Fault> {
        self.around(Call::Write, self.inner.add(tenant, partition, sort, counters, once)).await
    }
}
