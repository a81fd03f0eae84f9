//! What every [`Store`] must do, as one suite: the memory store and each adapter run it.

use hotline_base::{EntityKey, IndexRow, InputId, TenantId, Timestamp};
use serde_json::json;

use crate::{Commit, CommitError, FactRow, OutboxRow, Range, Store, Stored, TimerRow, Write};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + ms)
}

fn key(tenant: TenantId, id: &str) -> EntityKey {
    EntityKey { tenant, kind: "thing".into(), id: id.into() }
}

fn write(key: &EntityKey, expected: u64) -> Write {
    let seen = vec![InputId::from_u128(u128::from(expected) + 7)];
    Write {
        key: key.clone(),
        expected,
        next: Stored { version: expected + 1, body: json!({ "n": expected, "t": "中文" }), seen },
        expires: None,
    }
}

fn row(partition: &str, sort: &str, body: &str) -> IndexRow {
    IndexRow { partition: partition.into(), sort: sort.into(), body: body.into() }
}

fn range<'a>(tenant: TenantId, partition: &'a str) -> Range<'a> {
    Range { tenant, partition, from: None, below: None, limit: 100, descending: false }
}

/// Runs the whole suite against a store that holds nothing yet.
///
/// # Panics
/// Where the store breaks the contract, naming what it did.
pub async fn check(store: &dyn Store) {
    let ours = TenantId::from_u128(1);
    let theirs = TenantId::from_u128(2);
    versions(store, ours).await;
    whole_or_nothing(store, ours).await;
    rows(store, ours, theirs).await;
    facts(store, ours, theirs).await;
    timers(store, ours).await;
    outbox(store, ours).await;
    single_rows(store, ours, theirs).await;
    counters(store, ours).await;
}

async fn versions(store: &dyn Store, tenant: TenantId) {
    let key = key(tenant, "versions");
    assert_eq!(store.load(&key).await, Ok(None), "an unknown entity is None");
    let first = write(&key, 0);
    let commit = Commit { writes: vec![first.clone()], ..Commit::default() };
    assert_eq!(store.commit(commit.clone()).await, Ok(()), "the first version");
    assert_eq!(store.load(&key).await, Ok(Some(first.next)), "what was written is read");
    assert_eq!(store.commit(commit).await, Err(CommitError::Conflict), "it exists already");
    let third = Commit { writes: vec![write(&key, 2)], ..Commit::default() };
    assert_eq!(store.commit(third).await, Err(CommitError::Conflict), "a version was skipped");
    let second = Commit { writes: vec![write(&key, 1)], ..Commit::default() };
    assert_eq!(store.commit(second).await, Ok(()), "the second version");
}

async fn whole_or_nothing(store: &dyn Store, tenant: TenantId) {
    let (old, new) = (key(tenant, "old"), key(tenant, "new"));
    let first = Commit { writes: vec![write(&old, 0)], ..Commit::default() };
    assert_eq!(store.commit(first).await, Ok(()));
    let both = Commit {
        writes: vec![write(&new, 0), write(&old, 0)],
        rows_put: vec![(tenant, row("whole", "a", "{}"))],
        timers_put: vec![TimerRow { due: at(1), subject: new.clone(), timer: "t".into() }],
        ..Commit::default()
    };
    assert_eq!(store.commit(both).await, Err(CommitError::Conflict), "one of two is stale");
    assert_eq!(store.load(&new).await, Ok(None), "then the other is not written");
    assert_eq!(store.rows(range(tenant, "whole")).await, Ok(vec![]), "nor its rows");
    assert_eq!(store.due(at(0), at(10), 10).await, Ok(vec![]), "nor its timers");
    let both = Commit { writes: vec![write(&new, 0), write(&old, 1)], ..Commit::default() };
    assert_eq!(store.commit(both).await, Ok(()), "two entities in one commit");
}

async fn rows(store: &dyn Store, ours: TenantId, theirs: TenantId) {
    let put = ["c", "a", "b", "d"].map(|sort| (ours, row("letters", sort, sort)));
    let commit = Commit { rows_put: put.to_vec(), ..Commit::default() };
    assert_eq!(store.commit(commit).await, Ok(()));
    let all = range(ours, "letters");
    let sorts = |rows: Vec<IndexRow>| rows.into_iter().map(|row| row.sort).collect::<String>();
    let read = |range| async { sorts(store.rows(range).await.unwrap_or_default()) };
    assert_eq!(read(all.clone()).await, "abcd", "in order");
    assert_eq!(read(Range { limit: 2, ..all.clone() }).await, "ab", "limited");
    assert_eq!(read(Range { from: Some("b"), ..all.clone() }).await, "bcd", "from, inclusive");
    let middle = Range { from: Some("b"), below: Some("d"), ..all.clone() };
    assert_eq!(read(middle).await, "bc", "below, exclusive");
    assert_eq!(read(Range { descending: true, ..all.clone() }).await, "dcba", "descending");
    let down = Range { descending: true, from: Some("c"), limit: 2, ..all.clone() };
    assert_eq!(read(down).await, "cb", "descending from");
    let below = Range { descending: true, below: Some("c"), ..all.clone() };
    assert_eq!(read(below).await, "ba", "descending below");
    assert_eq!(read(range(theirs, "letters")).await, "", "another tenant sees nothing");
    assert_eq!(read(range(ours, "letter")).await, "", "a partition is no prefix");
    let change = Commit {
        rows_put: vec![(ours, row("letters", "a", "new"))],
        rows_delete: vec![(ours, "letters".into(), "b".into()), (ours, "letters".into(), "z".into())],
        ..Commit::default()
    };
    assert_eq!(store.commit(change).await, Ok(()), "a missing row may be deleted");
    let left = store.rows(all).await.unwrap_or_default();
    assert_eq!(left.first(), Some(&row("letters", "a", "new")), "replaced");
    assert_eq!(sorts(left), "acd", "deleted");
}

async fn facts(store: &dyn Store, ours: TenantId, theirs: TenantId) {
    let subject = key(ours, "history");
    let fact = |version: u64, index: u32| FactRow {
        subject: subject.clone(),
        version,
        index,
        at: at(version as i64),
        name: "Happened".into(),
        body: json!({ "v": version, "i": index, "ratio": 0.5 }),
    };
    let order = [(2, 0), (1, 1), (1, 0), (10, 0)];
    let commit = Commit { facts: order.iter().map(|(v, i)| fact(*v, *i)).collect(), ..Commit::default() };
    assert_eq!(store.commit(commit).await, Ok(()));
    let all = vec![fact(1, 0), fact(1, 1), fact(2, 0), fact(10, 0)];
    assert_eq!(store.facts(&subject, None, 10).await, Ok(all), "in order of version and index");
    let rest = vec![fact(1, 1), fact(2, 0)];
    assert_eq!(store.facts(&subject, Some((1, 0)), 2).await, Ok(rest), "after, limited");
    assert_eq!(store.facts(&key(theirs, "history"), None, 10).await, Ok(vec![]));
}

async fn timers(store: &dyn Store, tenant: TenantId) {
    let timer = |due: i64, id: &str| TimerRow { due: at(due), subject: key(tenant, id), timer: "offer".into() };
    let minute = 60_000;
    let rows = [timer(1_000, "x"), timer(2_000, "y"), timer(3 * minute, "x"), timer(2_000, "z")];
    let commit = Commit { timers_put: rows.to_vec(), ..Commit::default() };
    assert_eq!(store.commit(commit).await, Ok(()));
    let due = |from: i64, until: i64| async move {
        let mut rows = store.due(at(from), at(until), 100).await.unwrap_or_default();
        rows.sort();
        rows
    };
    let early = vec![timer(1_000, "x"), timer(2_000, "y"), timer(2_000, "z")];
    assert_eq!(due(0, minute).await, early, "due before");
    assert_eq!(due(1_000, 2_000).await, vec![timer(1_000, "x")], "until is exclusive");
    assert_eq!(due(0, 10 * minute).await.len(), 4, "over several minutes");
    let gone = Commit { timers_delete: rows.to_vec(), ..Commit::default() };
    assert_eq!(store.commit(gone).await, Ok(()));
    assert_eq!(due(0, 10 * minute).await, vec![], "disarmed");
}

async fn outbox(store: &dyn Store, tenant: TenantId) {
    let effect = |ms: i64, version: u64| OutboxRow {
        subject: key(tenant, "sender"),
        version,
        index: 0,
        at: at(ms),
        body: json!({ "do": "it" }),
    };
    let rows = vec![effect(10, 1), effect(20, 2)];
    let commit = Commit { outbox: rows.clone(), ..Commit::default() };
    assert_eq!(store.commit(commit).await, Ok(()));
    let mut all = store.outbox(at(100), 10).await.unwrap_or_default();
    all.sort_by_key(|row| row.version);
    assert_eq!(all, rows, "not settled yet");
    assert_eq!(store.outbox(at(20), 10).await, Ok(vec![effect(10, 1)]), "asked for before");
    for row in &rows {
        assert_eq!(store.settle(row).await, Ok(()));
    }
    assert_eq!(store.settle(&rows[0]).await, Ok(()), "settling twice is fine");
    assert_eq!(store.outbox(at(100), 10).await, Ok(vec![]), "settled");
}

async fn single_rows(store: &dyn Store, ours: TenantId, theirs: TenantId) {
    let one = row("single", "a", "1");
    assert_eq!(store.put_row_new(ours, one.clone(), None).await, Ok(true));
    assert_eq!(store.put_row_new(ours, row("single", "a", "2"), None).await, Ok(false));
    assert_eq!(store.put_row_new(theirs, one.clone(), None).await, Ok(true), "tenants are apart");
    assert_eq!(store.rows(range(ours, "single")).await, Ok(vec![one]), "the first one stays");
    assert_eq!(store.put_row(ours, row("single", "a", "3"), Some(at(0))).await, Ok(()));
    assert_eq!(store.rows(range(ours, "single")).await, Ok(vec![row("single", "a", "3")]));
    assert_eq!(store.delete_row(ours, "single", "a").await, Ok(()));
    assert_eq!(store.delete_row(ours, "single", "a").await, Ok(()), "deleting twice is fine");
    assert_eq!(store.rows(range(ours, "single")).await, Ok(vec![]));
    assert_eq!(store.rows(range(theirs, "single")).await.map(|rows| rows.len()), Ok(1));
}

async fn counters(store: &dyn Store, tenant: TenantId) {
    let add =
        |counters: &'static [(&'static str, i64)], once: &'static str| store.add(tenant, "sums", "day", counters, once);
    assert_eq!(add(&[("calls", 1), ("wait_ms", 500)], "fact-1").await, Ok(true));
    assert_eq!(add(&[("calls", 1), ("lost", -1)], "fact-2").await, Ok(true));
    assert_eq!(add(&[("calls", 1), ("wait_ms", 500)], "fact-1").await, Ok(false), "once");
    let rows = store.rows(range(tenant, "sums")).await.unwrap_or_default();
    assert_eq!(rows.len(), 1, "the counters are one row, and what was added is not in the way");
    let body: serde_json::Value = serde_json::from_str(&rows[0].body).unwrap_or_default();
    assert_eq!(body, json!({ "calls": 2, "wait_ms": 500, "lost": -1 }), "summed");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_memory_store_keeps_the_contract() {
        futures::executor::block_on(super::check(&crate::memory::MemoryStore::default()));
    }
}
