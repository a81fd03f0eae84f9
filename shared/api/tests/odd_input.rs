//! Whatever is sent, the answer is an answer: no panic, no 5xx, and errors are problems.

mod common;

use common::World;
use hotline_api::route::routes;
use hotline_api::{ApiRequest, Principal};
use hotline_wire::api::Role;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Words that mean something somewhere, and some that mean nothing.
const WORDS: [&str; 34] = [
    "name",
    "technical",
    "text",
    "action",
    "comment",
    "open",
    "status",
    "closed",
    "priority",
    "urgent",
    "numbers",
    "+8613800138000",
    "weekly",
    "mon",
    "from",
    "to",
    "09:00",
    "24:00",
    "time_zone",
    "Asia/Shanghai",
    "state",
    "away",
    "reason",
    "lunch",
    "subject",
    "custom",
    "version",
    "tkt_00000000000000000000000001",
    "",
    "\u{0}",
    "王芳",
    "me",
    "9999999999999999999999",
    "../../etc",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![9 => (0..WORDS.len()).prop_map(|i| WORDS[i].to_string()), 1 => ".{0,40}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3i64..100).prop_map(Value::from),
        any::<f64>().prop_map(|f| json!(f)),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(word(), inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => value().prop_map(|v| v.to_string().into_bytes()),
        1 => Just(Vec::new()),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
    ]
}

fn sent() -> impl Strategy<Value = (ApiRequest, usize)> {
    let pairs = || proptest::collection::btree_map(word(), word(), 0..3);
    let known = prop_oneof![
        Just("limit"),
        Just("cursor"),
        Just("from"),
        Just("to"),
        Just("interval"),
        Just("status"),
        Just("owner"),
        Just("contact"),
        Just("requester"),
        Just("party"),
        Just("lang"),
        Just("version"),
    ];
    let query = (pairs(), proptest::option::of((known, word())));
    let header =
        proptest::option::of((prop_oneof![Just("if-match"), Just("if-none-match"), Just("idempotency-key")], word()));
    (0..routes().len(), proptest::collection::vec(word(), 3), query, header, body(), 0usize..5).prop_map(
        |(route, words, (mut query, known), header, body, who)| {
            let route = &routes()[route];
            let mut words = words.into_iter();
            let segment = |part: &str| match part.starts_with('{') {
                true => words.next().unwrap_or_default().bytes().map(|b| format!("%{b:02x}")).collect(),
                false => part.to_string(),
            };
            let path = route.path.split('/').map(segment).collect::<Vec<_>>().join("/");
            query.extend(known.map(|(k, v)| (k.to_string(), v)));
            let headers: BTreeMap<String, String> = header.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
            (ApiRequest { method: route.method.into(), path, query, headers, body }, who)
        },
    )
}

#[test]
fn odd_requests_get_answers() {
    let (world, demo, _) = World::with_tenants();
    world.contact(&demo, "demo", "+861012345");
    let people: [Option<Principal>; 5] = [
        None,
        Some(world.user(&demo, "fang", Role::Agent)),
        Some(world.user(&demo, "boss", Role::Supervisor)),
        Some(demo),
        Some(World::operator()),
    ];
    let config = Config { cases: 1_000, failure_persistence: None, rng_seed: RngSeed::Fixed(3), ..Config::default() };
    let outcome = TestRunner::new(config).run(&sent(), |(request, who)| {
        let answer = world.send(people[who].as_ref(), request);
        prop_assert!(answer.status < 500, "{answer:?}");
        if answer.status >= 400 {
            prop_assert!(answer.body["code"].is_string() && answer.body["detail"].is_string(), "{answer:?}");
        }
        Ok(())
    });
    outcome.unwrap();
}
