//! Decisions questioned over the API: replay, what-if, alarms.

mod common;

use common::World;
use futures::executor::block_on;
use hotline_base::{NodeId, TenantId};
use hotline_service::{agents, facts};
use hotline_wire::api::Role;
use serde_json::json;

const DID: &str = "+861012345";

#[test]
fn a_match_can_be_replayed_and_run_again_under_other_rules() {
    let (world, demo, other) = World::with_tenants();
    let agent = world.user(&demo, "fang", Role::Agent);
    let boss = world.user(&demo, "boss", Role::Supervisor);
    let contact = world.contact(&demo, "demo", DID);
    let path = format!("/v1/contacts/{contact}/replay");
    let none = world.get(&boss, &path);
    assert_eq!((none.status, &none.body["agrees"], &none.body["decisions"]), (200, &json!(true), &json!([])));

    // The agent serves the queue, has a phone and becomes free.
    let tenant: TenantId = demo.tenant;
    let mut profile = block_on(agents::get(&world.service, tenant, agent.agent())).unwrap().unwrap().profile;
    profile.queues.insert("technical".parse().unwrap(), Default::default());
    block_on(agents::configure(&world.service, tenant, profile)).unwrap();
    world.memory.world.advance_ms(30_000);
    let expires = Some(world.service.now().plus_ms(3_600_000));
    block_on(agents::phone(&world.service, tenant, agent.agent(), NodeId::from_u128(1), expires)).unwrap();
    let free = world.put(&agent, "/v1/agents/me/state", json!({"state": "available"}));
    assert_eq!(free.status, 200, "{free:?}");

    let replay = world.get(&boss, &path);
    assert_eq!(replay.body["agrees"], true, "{replay:?}");
    let decision = &replay.body["decisions"][0];
    assert_eq!(decision["stored_sha256"], decision["replayed_sha256"]);
    assert_eq!(decision["stored"]["match"]["agent"], json!(agent.agent()));
    assert_eq!(world.get(&other, &path).status, 404);
    assert_eq!(world.get(&agent, &path).status, 403);

    world.memory.world.advance_ms(60_000);
    let rules = json!({"staffing": [{"add": 2, "queues": ["technical"]}], "queues": {"technical": {"wrap_up_ms": 0}}});
    let told = world.post(&boss, "/v1/whatif", json!({"rules": rules}));
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!((&told.body["calls"], &told.body["truncated"]), (&json!(1), &json!(false)));
    assert_eq!(told.body["changed"]["total"]["answered"], 1);
    assert!(told.body["method"].as_array().unwrap().len() > 2);
}

#[test]
fn mistakes_in_the_rules_are_named() {
    let (world, demo, _) = World::with_tenants();
    let wrong = json!({"from": 5, "to": 4, "rules": {}});
    let told = world.post(&demo, "/v1/whatif", wrong);
    assert_eq!((told.status, &told.body["errors"][0]["field"]), (400, &json!("to")), "{told:?}");
    let wrong = json!({"rules": {"queues": {"technical": {"ring_timeout_ms": "long"}}, "staffing": [{}]}});
    let told = world.post(&demo, "/v1/whatif", wrong);
    let fields: Vec<&str> =
        told.body["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!((told.status, fields), (400, vec!["rules.queues.technical", "rules.staffing[0]"]), "{told:?}");
    let told = world.post(&demo, "/v1/whatif", json!({"rules": {"staffing": [{"add": 1, "sins": 3}]}}));
    assert_eq!((told.status, &told.body["errors"][0]["field"]), (400, &json!("rules.staffing[0].sins")), "{told:?}");
    let told = world.post(&demo, "/v1/whatif", json!({"from": "yesterday"}));
    assert_eq!((told.status, &told.body["errors"][0]["field"]), (400, &json!("from")), "{told:?}");
}

#[test]
fn open_alarms_are_listed() {
    let (world, demo, other) = World::with_tenants();
    let thresholds = json!({"thresholds": [{"metric": "waiting", "raise": 1, "clear": 0}]});
    assert_eq!(world.put(&demo, "/v1/queues/technical", thresholds).status, 200);
    assert_eq!(world.get(&demo, "/v1/alarms").body["items"], json!([]));
    world.contact(&demo, "demo", DID);
    for fact in world.memory.store.take_stream() {
        block_on(facts::consume(&world.service, &fact)).unwrap();
    }
    let open = world.get(&demo, "/v1/alarms");
    let alarm = &open.body["items"][0];
    assert_eq!(
        (&alarm["queue"], &alarm["metric"], &alarm["value"]),
        (&json!("technical"), &json!("waiting"), &json!(1))
    );
    assert_eq!(world.get(&other, "/v1/alarms").body["items"], json!([]));
}
