//! Reads: every one strongly consistent, every one bounded.

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use hotline_base::{EntityKey, IndexRow, Timestamp};
use hotline_ports::{FactRow, Fault, OutboxRow, Range, Stored, TimerRow};
use std::collections::BTreeSet;

use super::DynamoStore;
use super::items::{self, Item, PART, text};
use super::keys::{self, SHARDS};
use crate::error::fault;

/// A longer range than this is read by a scan: after a gap of hours nearly all of its minutes'
/// partitions would be asked for nothing.
const MINUTES_BY_QUERY: i64 = 60;
/// Minutes read at the same time.
const MINUTES_AT_ONCE: i64 = 8;

pub(super) async fn load(store: &DynamoStore, key: &EntityKey) -> Result<Option<Stored>, Fault> {
    let key = keys::entity(key);
    let answer = store
        .client
        .get_item()
        .table_name(&store.tables.state)
        .key("pk", text(key.pk))
        .key("sk", text(key.sk))
        .consistent_read(true)
        .send()
        .await
        .map_err(|e| fault(PART, &e))?;
    answer.item().map(items::read_stored).transpose()
}

/// A condition on the sort key within one partition.
enum Sort {
    All,
    From(String),
    UpTo(String),
    Below(String),
    After(String),
    Between(String, String),
}

/// All items of a partition that meet the condition, in order, at most `limit`.
async fn query(
    store: &DynamoStore,
    table: &str,
    pk: String,
    sort: Sort,
    descending: bool,
    limit: usize,
) -> Result<Vec<Item>, Fault> {
    let (condition, values) = match sort {
        Sort::All => ("pk = :pk", vec![]),
        Sort::From(from) => ("pk = :pk AND sk >= :a", vec![from]),
        Sort::UpTo(to) => ("pk = :pk AND sk <= :a", vec![to]),
        Sort::Below(below) => ("pk = :pk AND sk < :a", vec![below]),
        Sort::After(after) => ("pk = :pk AND sk > :a", vec![after]),
        Sort::Between(a, b) if a > b => return Ok(Vec::new()),
        Sort::Between(a, b) => ("pk = :pk AND sk BETWEEN :a AND :b", vec![a, b]),
    };
    // The table refuses an empty text as a key value; no stored key is less than it.
    let condition = if values.first().is_some_and(String::is_empty) {
        match condition {
            "pk = :pk AND sk >= :a" | "pk = :pk AND sk > :a" => "pk = :pk",
            _ => return Ok(Vec::new()),
        }
    } else {
        condition
    };
    let mut found: Vec<Item> = Vec::new();
    let mut start: Option<Item> = None;
    while found.len() < limit {
        let mut request = store
            .client
            .query()
            .table_name(table)
            .consistent_read(true)
            .scan_index_forward(!descending)
            .key_condition_expression(condition)
            .expression_attribute_values(":pk", text(&pk))
            .limit(i32::try_from(limit - found.len()).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start.take());
        for (name, value) in [":a", ":b"].into_iter().zip(&values) {
            if condition.contains(name) {
                request = request.expression_attribute_values(name, AttributeValue::S(value.clone()));
            }
        }
        let mut answer = request.send().await.map_err(|e| fault(PART, &e))?;
        found.append(answer.items.get_or_insert_default());
        start = answer.last_evaluated_key;
        if start.is_none() {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

pub(super) async fn rows(store: &DynamoStore, range: &Range<'_>) -> Result<Vec<IndexRow>, Fault> {
    if range.limit == 0 {
        return Ok(Vec::new());
    }
    // `BETWEEN` includes both ends, `below` excludes its own: one more is read and dropped.
    let own = |t: &str| t.to_string();
    let (sort, extra) = match (range.descending, range.from, range.below) {
        (_, None, None) => (Sort::All, 0),
        (false, Some(from), None) => (Sort::From(own(from)), 0),
        (true, Some(from), None) => (Sort::UpTo(own(from)), 0),
        (_, None, Some(below)) => (Sort::Below(own(below)), 0),
        (false, Some(""), Some(below)) => (Sort::Below(own(below)), 0),
        (false, Some(from), Some(below)) => (Sort::Between(own(from), own(below)), 1),
        (true, Some(from), Some(below)) if from < below => (Sort::UpTo(own(from)), 0),
        (true, Some(_), Some(below)) => (Sort::Below(own(below)), 0),
    };
    let pk = keys::partition(range.tenant, range.partition);
    let limit = range.limit.saturating_add(extra);
    let items = query(store, &store.tables.state, pk, sort, range.descending, limit).await?;
    let mut rows = Vec::with_capacity(items.len());
    for item in &items {
        let row = items::read_row(item, range.partition)?;
        if range.below.is_none_or(|below| row.sort.as_str() < below) {
            rows.push(row);
        }
    }
    rows.truncate(range.limit);
    Ok(rows)
}

pub(super) async fn facts(
    store: &DynamoStore,
    subject: &EntityKey,
    after: Option<(u64, u32)>,
    limit: usize,
) -> Result<Vec<FactRow>, Fault> {
    let sort = after.map_or(Sort::All, |(version, index)| Sort::After(keys::place(version, index)));
    let items = query(store, &store.tables.facts, keys::history(subject), sort, false, limit).await?;
    items.iter().map(items::read_fact).collect()
}

pub(super) async fn due(
    store: &DynamoStore,
    from: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<TimerRow>, Fault> {
    if until <= from || limit == 0 {
        return Ok(Vec::new());
    }
    let (first, last) = (keys::minute(from), keys::minute(until + -1));
    if last - first > MINUTES_BY_QUERY {
        return due_by_scan(store, from, until, limit).await;
    }
    let mut found: Vec<TimerRow> = Vec::new();
    let mut minute = first;
    while minute <= last && found.len() < limit {
        let end = (minute + MINUTES_AT_ONCE - 1).min(last);
        let partitions = (minute..=end).flat_map(|m| (0..SHARDS).map(move |shard| keys::due(m, shard)));
        let reads = partitions.map(|pk| {
            // A sort key starts with the padded moment, so the bounds are prefixes.
            let sort = Sort::Between(keys::moment(from), keys::moment(until));
            query(store, &store.tables.timers, pk, sort, false, limit)
        });
        for items in try_join_all(reads).await? {
            for item in &items {
                found.push(items::read_timer(item)?);
            }
        }
        minute = end + 1;
    }
    found.sort();
    found.truncate(limit);
    Ok(found)
}

async fn due_by_scan(
    store: &DynamoStore,
    from: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<TimerRow>, Fault> {
    let mut found: BTreeSet<TimerRow> = BTreeSet::new();
    let mut pages = store
        .client
        .scan()
        .table_name(&store.tables.timers)
        .consistent_read(true)
        // A sort key is the padded moment and more: `until` itself is less than any key of its moment.
        .filter_expression("sk BETWEEN :from AND :until")
        .expression_attribute_values(":from", text(keys::moment(from)))
        .expression_attribute_values(":until", text(keys::moment(until)))
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        for item in page.map_err(|e| fault(PART, &e))?.items() {
            found.insert(items::read_timer(item)?);
            if found.len() > limit {
                found.pop_last();
            }
        }
    }
    Ok(found.into_iter().collect())
}

pub(super) async fn outbox(store: &DynamoStore, before: Timestamp, limit: usize) -> Result<Vec<OutboxRow>, Fault> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let reads = (0..SHARDS).map(|shard| {
        let sort = Sort::Below(keys::moment(before));
        query(store, &store.tables.outbox, keys::outbox_shard(shard), sort, false, limit)
    });
    let mut found = Vec::new();
    for items in try_join_all(reads).await? {
        for item in &items {
            found.push(items::read_outbox(item)?);
        }
    }
    found.sort_by(|a, b| (a.at, &a.subject, a.version, a.index).cmp(&(b.at, &b.subject, b.version, b.index)));
    found.truncate(limit);
    Ok(found)
}
