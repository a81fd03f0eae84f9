//! Writes: a step is one transaction, and why it was refused is read from its reasons.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, Delete, Put, TransactWriteItem, Update};
use hotline_base::limits::STATE_BYTES;
use hotline_base::{IndexRow, TenantId, Timestamp};
use hotline_ports::{Commit, CommitError, Fault, Write};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::DynamoStore;
use super::items::{self, COUNTER, Item, PART, number, text};
use super::keys::{self, Key};
use crate::error::{code, fault};

/// What one transaction may hold.
const TRANSACTION_ITEMS: usize = 100;
/// How long a counter row remembers what was added to it: longer than any replay of a stream
/// or redrive of a dead-letter queue.
const ONCE_KEPT_S: u64 = 35 * 86_400;
/// Tries against other additions to the same counter row.
const ADD_TRIES: u32 = 8;

fn refused(message: String) -> CommitError {
    CommitError::Fault(Fault::permanent(PART, message))
}

fn put(table: &str, item: Item) -> Result<TransactWriteItem, Fault> {
    let put = Put::builder().table_name(table).set_item(Some(item)).build();
    Ok(TransactWriteItem::builder().put(put.map_err(|e| Fault::permanent(PART, e))?).build())
}

fn remove(table: &str, key: &Key) -> Result<TransactWriteItem, Fault> {
    let delete = Delete::builder().table_name(table).key("pk", text(&key.pk)).key("sk", text(&key.sk)).build();
    Ok(TransactWriteItem::builder().delete(delete.map_err(|e| Fault::permanent(PART, e))?).build())
}

/// An entity's next state, conditional on its version.
fn entity(table: &str, write: &Write) -> Result<TransactWriteItem, Fault> {
    let item = items::stored(&write.next, &keys::entity(&write.key), write.expires);
    let size = item.get("body").and_then(|v| v.as_s().ok()).map_or(0, String::len);
    if size > STATE_BYTES {
        return Err(Fault::permanent(
            PART,
            format!("the state of {:?} has {size} bytes, more than {STATE_BYTES}", write.key),
        ));
    }
    let mut put = Put::builder().table_name(table).set_item(Some(item));
    put = if write.expected == 0 {
        put.condition_expression("attribute_not_exists(pk)")
    } else {
        put.condition_expression("v = :v").expression_attribute_values(":v", number(write.expected))
    };
    Ok(TransactWriteItem::builder().put(put.build().map_err(|e| Fault::permanent(PART, e))?).build())
}

pub(super) async fn commit(store: &DynamoStore, commit: &Commit) -> Result<(), CommitError> {
    let tables = &store.tables;
    let mut all = Vec::with_capacity(commit.items());
    for write in &commit.writes {
        all.push(entity(&tables.state, write)?);
    }
    // A transaction may name a key once: where a row is removed and put, it is put.
    let mut rows: BTreeMap<Key, Option<&str>> = BTreeMap::new();
    for (tenant, partition, sort) in &commit.rows_delete {
        rows.insert(keys::row(*tenant, partition, sort), None);
    }
    for (tenant, row) in &commit.rows_put {
        rows.insert(keys::row(*tenant, &row.partition, &row.sort), Some(&row.body));
    }
    for (key, body) in rows {
        all.push(match body {
            Some(body) => put(&tables.state, items::index_row(&key, body, None))?,
            None => remove(&tables.state, &key)?,
        });
    }
    for fact in &commit.facts {
        all.push(put(&tables.facts, items::fact(fact))?);
    }
    for row in &commit.outbox {
        all.push(put(&tables.outbox, items::outbox(row))?);
    }
    let mut timers: BTreeMap<Key, Option<Item>> = BTreeMap::new();
    for timer in &commit.timers_delete {
        timers.insert(keys::timer(timer), None);
    }
    for timer in &commit.timers_put {
        timers.insert(keys::timer(timer), Some(items::timer(timer)));
    }
    for (key, item) in timers {
        all.push(match item {
            Some(item) => put(&tables.timers, item)?,
            None => remove(&tables.timers, &key)?,
        });
    }
    if all.is_empty() {
        return Ok(());
    }
    if all.len() > TRANSACTION_ITEMS {
        return Err(refused(format!("a step writes {} items, more than {TRANSACTION_ITEMS}", all.len())));
    }
    match store.client.transact_write_items().set_transact_items(Some(all)).send().await {
        Ok(_) => Ok(()),
        Err(error) => match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                Err(cancellation(cancelled.cancellation_reasons()))
            }
            _ => Err(CommitError::Fault(fault(PART, &error))),
        },
    }
}

/// What the reasons of a cancelled transaction say, the worst one first: what will never
/// succeed, then what may by itself, then a stale version.
fn cancellation(reasons: &[CancellationReason]) -> CommitError {
    let mut transient = None;
    let mut conflict = false;
    for reason in reasons {
        match reason.code() {
            None | Some("None") => {}
            Some("ConditionalCheckFailed" | "TransactionConflict") => conflict = true,
            Some(code @ ("ThrottlingError" | "ProvisionedThroughputExceeded" | "RequestLimitExceeded")) => {
                transient = Some(Fault::transient(PART, code));
            }
            Some(code) => {
                let message = reason.message().unwrap_or("no message");
                return refused(format!("{code}: {message}"));
            }
        }
    }
    match transient {
        Some(fault) => CommitError::Fault(fault),
        None if conflict => CommitError::Conflict,
        None => CommitError::Fault(Fault::transient(PART, "the transaction was cancelled without a reason")),
    }
}

pub(super) async fn delete(store: &DynamoStore, table: &str, key: &Key) -> Result<(), Fault> {
    let request = store.client.delete_item().table_name(table).key("pk", text(&key.pk)).key("sk", text(&key.sk));
    request.send().await.map_err(|e| fault(PART, &e))?;
    Ok(())
}

pub(super) async fn put_row(
    store: &DynamoStore,
    tenant: TenantId,
    row: &IndexRow,
    expires: Option<Timestamp>,
) -> Result<(), Fault> {
    let item = items::index_row(&keys::row(tenant, &row.partition, &row.sort), &row.body, expires);
    let request = store.client.put_item().table_name(&store.tables.state).set_item(Some(item));
    request.send().await.map_err(|e| fault(PART, &e))?;
    Ok(())
}

pub(super) async fn put_row_new(
    store: &DynamoStore,
    tenant: TenantId,
    row: &IndexRow,
    expires: Option<Timestamp>,
) -> Result<bool, Fault> {
    let item = items::index_row(&keys::row(tenant, &row.partition, &row.sort), &row.body, expires);
    let request = store
        .client
        .put_item()
        .table_name(&store.tables.state)
        .set_item(Some(item))
        .condition_expression("attribute_not_exists(pk)");
    match request.send().await {
        Ok(_) => Ok(true),
        Err(error) if code(&error) == Some("ConditionalCheckFailedException") => Ok(false),
        Err(error) => Err(fault(PART, &error)),
    }
}

pub(super) async fn add(
    store: &DynamoStore,
    tenant: TenantId,
    partition: &str,
    sort: &str,
    counters: &[(&str, i64)],
    once: &str,
) -> Result<bool, Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut mark = items::keyed(&keys::once(tenant, partition, sort, once), None);
    mark.insert("expires".into(), number(now + ONCE_KEPT_S));
    let permanent = |e: &dyn std::fmt::Display| Fault::permanent(PART, e);
    let mark = Put::builder()
        .table_name(&store.tables.state)
        .set_item(Some(mark))
        .condition_expression("attribute_not_exists(pk)")
        .build()
        .map_err(|e| permanent(&e))?;
    let row = keys::row(tenant, partition, sort);
    let mut update = Update::builder().table_name(&store.tables.state).key("pk", text(row.pk)).key("sk", text(row.sk));
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for (name, value) in counters {
        *sums.entry(name).or_default() += value;
    }
    if sums.is_empty() {
        return Err(Fault::permanent(PART, "nothing to add"));
    }
    let mut parts = Vec::with_capacity(sums.len());
    for (i, (name, value)) in sums.into_iter().enumerate() {
        parts.push(format!("#c{i} :c{i}"));
        update = update
            .expression_attribute_names(format!("#c{i}"), format!("{COUNTER}{name}"))
            .expression_attribute_values(format!(":c{i}"), number(value));
    }
    let update = update.update_expression(format!("ADD {}", parts.join(", "))).build().map_err(|e| permanent(&e))?;
    let both = [TransactWriteItem::builder().put(mark).build(), TransactWriteItem::builder().update(update).build()];
    for attempt in 1..=ADD_TRIES {
        let request = store.client.transact_write_items().set_transact_items(Some(both.to_vec()));
        let Err(error) = request.send().await else { return Ok(true) };
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
            return Err(fault(PART, &error));
        };
        let reasons = cancelled.cancellation_reasons();
        if reasons.first().and_then(CancellationReason::code) == Some("ConditionalCheckFailed") {
            return Ok(false);
        }
        match cancellation(reasons) {
            CommitError::Fault(fault) => return Err(fault),
            CommitError::Conflict => tokio::time::sleep(Duration::from_millis(u64::from(10 * attempt * attempt))).await,
        }
    }
    Err(Fault::transient(PART, "too many additions to the same counters at the same time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(codes: &[&str]) -> Vec<CancellationReason> {
        codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect()
    }

    #[test]
    fn reasons_become_conflict_transient_or_permanent() {
        let of = |codes: &[&str]| cancellation(&reasons(codes));
        assert_eq!(of(&["None", "ConditionalCheckFailed"]), CommitError::Conflict);
        assert_eq!(of(&["TransactionConflict", "None"]), CommitError::Conflict);
        // Throttled and stale at once: the version may be current after a retry of the same call.
        assert!(matches!(
            of(&["ConditionalCheckFailed", "ThrottlingError"]),
            CommitError::Fault(Fault::Transient { .. })
        ));
        assert!(matches!(
            of(&["ConditionalCheckFailed", "ValidationError"]),
            CommitError::Fault(Fault::Permanent { .. })
        ));
        assert!(matches!(of(&[]), CommitError::Fault(Fault::Transient { .. })));
    }
}
