//! The tables on DynamoDB: four of them, one transaction per step.
//!
//! | table | pk | sk |
//! |---|---|---|
//! | state, entities | `<tenant>#e#<kind>#<id>` | `-` |
//! | state, rows | `<tenant>#r#<partition>` | the row's sort |
//! | state, counted | `<tenant>#o#<partition>#<sort>` | what was added once |
//! | facts | `<tenant>#<kind>#<id>` | `<version:020>#<index:04>` |
//! | timers | `due#<minute>#<shard>` | `<due ms>#<tenant>#<kind>#<id>#<timer>` |
//! | outbox | `outbox#<shard>` | `<at ms>#<tenant>#<kind>#<id>#<version>#<index>` |

mod items;
mod keys;
mod read;
mod write;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use hotline_base::{EntityKey, IndexRow, TenantId, Timestamp};
use hotline_ports::{Commit, CommitError, FactRow, Fault, OutboxRow, Range, Store, Stored, TimerRow};

use crate::Sdk;

pub use items::fact_from_image;

/// The four tables' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// Entities and rows.
    pub state: String,
    /// History.
    pub facts: String,
    /// Armed timers.
    pub timers: String,
    /// Effects to dispatch.
    pub outbox: String,
}

/// The store on DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoStore {
    client: Client,
    tables: Tables,
}

impl DynamoStore {
    /// Over given tables.
    pub fn new(sdk: &Sdk, tables: Tables) -> Self {
        Self { client: Client::new(sdk.config()), tables }
    }
}

#[async_trait]
impl Store for DynamoStore {
    async fn load(&self, key: &EntityKey) -> Result<Option<Stored>, Fault> {
        read::load(self, key).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        write::commit(self, &commit).await
    }

    async fn rows(&self, range: Range<'_>) -> Result<Vec<IndexRow>, Fault> {
        read::rows(self, &range).await
    }

    async fn facts(&self, subject: &EntityKey, after: Option<(u64, u32)>, limit: usize) -> Result<Vec<FactRow>, Fault> {
        read::facts(self, subject, after, limit).await
    }

    async fn due(&self, from: Timestamp, until: Timestamp, limit: usize) -> Result<Vec<TimerRow>, Fault> {
        read::due(self, from, until, limit).await
    }

    async fn outbox(&self, before: Timestamp, limit: usize) -> Result<Vec<OutboxRow>, Fault> {
        read::outbox(self, before, limit).await
    }

    async fn settle(&self, row: &OutboxRow) -> Result<(), Fault> {
        write::delete(self, &self.tables.outbox, &keys::outbox(row)).await
    }

    async fn put_row(&self, tenant: TenantId, row: IndexRow, expires: Option<Timestamp>) -> Result<(), Fault> {
        write::put_row(self, tenant, &row, expires).await
    }

    async fn put_row_new(&self, tenant: TenantId, row: IndexRow, expires: Option<Timestamp>) -> Result<bool, Fault> {
        write::put_row_new(self, tenant, &row, expires).await
    }

    async fn delete_row(&self, tenant: TenantId, partition: &str, sort: &str) -> Result<(), Fault> {
        write::delete(self, &self.tables.state, &keys::row(tenant, partition, sort)).await
    }

    async fn add(
        &self,
        tenant: TenantId,
        partition: &str,
        sort: &str,
        counters: &[(&str, i64)],
        once: &str,
    ) -> Result<bool, Fault> {
        write::add(self, tenant, partition, sort, counters, once).await
    }
}
