//! The store on a DynamoDB that lives in this process: the same suite as the memory store, and
//! what only the adapter can get wrong.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use hotline_aws::{DynamoStore, Sdk, Tables};
use hotline_base::{EntityKey, IndexRow, TenantId, Timestamp};
use hotline_ports::{Commit, CommitError, Fault, Range, Store, Stored, TimerRow, Write};
use serde_json::json;
use tokio::net::TcpListener;

/// A store over four new tables.
async fn store() -> DynamoStore {
    // Credentials and region of a stand-in: any will do, but there must be some.
    for (name, value) in [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "us-east-1")]
    {
        // SAFETY: every test of this process sets the same values, before any thread reads them.
        unsafe { std::env::set_var(name, value) };
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let database = dynoxide::Database::memory().unwrap();
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    let sdk = Sdk::new(Some(endpoint)).await;
    let client = Client::new(sdk.config());
    for name in ["state", "facts", "timers", "outbox"] {
        let mut table = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
        for (key, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
            let attribute = AttributeDefinition::builder().attribute_name(key).attribute_type(ScalarAttributeType::S);
            table = table
                .attribute_definitions(attribute.build().unwrap())
                .key_schema(KeySchemaElement::builder().attribute_name(key).key_type(kind).build().unwrap());
        }
        table.send().await.unwrap();
    }
    let tables =
        Tables { state: "state".into(), facts: "facts".into(), timers: "timers".into(), outbox: "outbox".into() };
    DynamoStore::new(&sdk, tables)
}

fn key(id: &str) -> EntityKey {
    EntityKey { tenant: TenantId::from_u128(1), kind: "thing".into(), id: id.into() }
}

fn write(id: &str, body: serde_json::Value) -> Write {
    Write { key: key(id), expected: 0, next: Stored { version: 1, body, seen: vec![] }, expires: None }
}

#[tokio::test]
async fn keeps_the_contract() {
    hotline_ports::contract::check(&store().await).await;
}

#[tokio::test]
async fn many_writers_one_winner() {
    let store = store().await;
    let commits = (0..8).map(|i| {
        let commit = Commit { writes: vec![write("contested", json!(i))], ..Commit::default() };
        store.commit(commit)
    });
    let results = futures::future::join_all(commits).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
    assert!(results.iter().all(|r| matches!(r, Ok(()) | Err(CommitError::Conflict))), "{results:?}");
}

#[tokio::test]
async fn concurrent_additions_all_count() {
    let store = store().await;
    let tenant = TenantId::from_u128(1);
    let names: Vec<String> = (0..12).map(|i| format!("fact-{}", i % 6)).collect();
    let adds = names.iter().map(|once| store.add(tenant, "sums", "q", &[("calls", 1)], once));
    let results = futures::future::join_all(adds).await;
    assert_eq!(results.iter().filter(|r| **r == Ok(true)).count(), 6, "each once: {results:?}");
    let range = Range { tenant, partition: "sums", from: None, below: None, limit: 9, descending: false };
    assert_eq!(store.rows(range).await.unwrap()[0].body, r#"{"calls":6}"#);
}

#[tokio::test]
async fn too_much_is_refused_before_it_is_sent() {
    let store = store().await;
    let large = Commit { writes: vec![write("large", json!("x".repeat(300_000)))], ..Commit::default() };
    let Err(CommitError::Fault(Fault::Permanent { message, .. })) = store.commit(large).await else {
        panic!("accepted")
    };
    assert!(message.contains("300002 bytes, more than 262144"), "{message}");
    let row = |i: usize| {
        (TenantId::from_u128(1), IndexRow { partition: "p".into(), sort: format!("{i:03}"), body: "{}".into() })
    };
    let many = Commit { rows_put: (0..101).map(row).collect(), ..Commit::default() };
    let Err(CommitError::Fault(Fault::Permanent { message, .. })) = store.commit(many).await else {
        panic!("accepted")
    };
    assert!(message.contains("101 items, more than 100"), "{message}");
}

#[tokio::test]
async fn a_page_ends_at_a_megabyte_but_an_answer_does_not() {
    let store = store().await;
    let tenant = TenantId::from_u128(1);
    for i in 0..6 {
        let row =
            IndexRow { partition: "wide".into(), sort: format!("{i}"), body: format!("\"{}\"", "x".repeat(300_000)) };
        store.put_row(tenant, row, None).await.unwrap();
    }
    let range = |descending| Range { tenant, partition: "wide", from: None, below: None, limit: 100, descending };
    let sorts = |rows: Vec<IndexRow>| rows.into_iter().map(|r| r.sort).collect::<String>();
    assert_eq!(sorts(store.rows(range(false)).await.unwrap()), "012345");
    assert_eq!(sorts(store.rows(range(true)).await.unwrap()), "543210");
}

#[tokio::test]
async fn bounds_of_a_range_meet_at_the_ends() {
    let store = store().await;
    let tenant = TenantId::from_u128(1);
    for sort in ["a", "b", "c"] {
        store
            .put_row(tenant, IndexRow { partition: "p".into(), sort: sort.into(), body: "1".into() }, None)
            .await
            .unwrap();
    }
    let read = async |from: Option<&str>, below: Option<&str>, limit, descending| {
        let range = Range { tenant, partition: "p", from, below, limit, descending };
        store.rows(range).await.unwrap().into_iter().map(|r| r.sort).collect::<String>()
    };
    assert_eq!(read(Some("a"), Some("c"), 2, false).await, "ab");
    assert_eq!(read(Some("a"), Some("c"), 9, false).await, "ab");
    assert_eq!(read(Some("b"), Some("b"), 9, false).await, "");
    assert_eq!(read(Some("c"), Some("a"), 9, false).await, "");
    assert_eq!(read(Some("c"), Some("b"), 9, true).await, "a");
    assert_eq!(read(Some("b"), Some("c"), 9, true).await, "ba");
    assert_eq!(read(Some(""), Some("b"), 9, false).await, "a");
    assert_eq!(read(Some(""), None, 1, false).await, "a");
    assert_eq!(read(None, None, 0, false).await, "");
}

#[tokio::test]
async fn timers_of_a_long_gap_are_found_in_order() {
    let store = store().await;
    let now = Timestamp::from_millis(1_795_000_000_000);
    let timer = |minutes_ago: i64| TimerRow {
        due: now + -minutes_ago * 60_000,
        subject: key("late"),
        timer: format!("t{minutes_ago}"),
    };
    let rows = [timer(300), timer(20), timer(1)];
    store.commit(Commit { timers_put: rows.to_vec(), ..Commit::default() }).await.unwrap();
    assert_eq!(store.due(now + -86_400_000, now, 10).await.unwrap(), rows);
    assert_eq!(store.due(Timestamp::from_millis(0), now, 2).await.unwrap(), rows[..2]);
    assert_eq!(store.due(now, now, 2).await.unwrap(), []);
}
