//! Flows, prompts and what remains of calls, through the API, over memory ports.

mod common;

use common::{FLOW, World, request, with};
use hotline_base::Timestamp;
use hotline_ports::Objects;
use hotline_wire::api::Role;
use serde_json::{Value, json};

#[test]
fn a_flow_is_checked_published_compared_drawn_and_rolled_back() {
    let (world, demo, _) = World::with_tenants();
    let broken = FLOW.replace("then: bye", "then: nowhere").replace("technical", "unknown");
    let report = world.post(&demo, "/v1/flows/check", json!({"text": broken}));
    assert_eq!((report.status, &report.body["publishable"]), (200, &json!(false)));
    assert!(report.body["findings"].as_array().unwrap().len() >= 2, "{report:?}");
    let refused = world.post(&demo, "/v1/flows/main/versions", json!({"text": broken}));
    assert_eq!(refused.status, 400);
    assert!(refused.body["errors"][0]["field"].as_str().unwrap().starts_with("text:"));

    let publish = |text: &str| world.post(&demo, "/v1/flows/main/versions", json!({"text": text}));
    assert_eq!(publish(FLOW).body["version"], 1);
    assert_eq!(publish(FLOW).body["version"], 1, "the same meaning is the same version");
    assert_eq!(publish(&FLOW.replace("5m", "6m")).body["version"], 2);
    let diff = world.get(&demo, "/v1/flows/main/diff");
    assert_eq!((diff.status, diff.body["changes"].as_array().unwrap().len()), (200, 1), "{diff:?}");
    let drawing = world.get(&demo, "/v1/flows/main/render?version=1");
    assert_eq!(drawing.raw.headers["content-type"], "image/svg+xml");
    assert!(drawing.raw.body.starts_with("<svg") || drawing.raw.body.contains("<svg"));
    let back = world.post(&demo, "/v1/flows/main/rollback", json!({"version": 1}));
    assert_eq!((back.status, &back.body["current"]), (200, &json!(1)));
    assert_eq!(world.post(&demo, "/v1/flows/main/rollback", json!({"version": 9})).status, 404);
    assert!(world.get(&demo, "/v1/flows/main").body["text"].as_str().unwrap().contains("5m"));
    let versions = world.get(&demo, "/v1/flows/main/versions?limit=1");
    let next = versions.body["next"].as_str().unwrap();
    let rest = world.get(&demo, &format!("/v1/flows/main/versions?limit=1&cursor={next}"));
    assert_eq!((&rest.body["items"][0]["version"], &rest.body["next"]), (&json!(2), &Value::Null));
}

fn wav() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    (0..16_000).for_each(|n| writer.write_sample((n % 200) as i16).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner()
}

#[test]
fn an_uploaded_prompt_is_converted_and_usable_in_a_flow() {
    let (world, demo, _) = World::with_tenants();
    let mut upload = request("PUT", "/v1/prompts/bye-bye", Value::Null);
    upload.body = wav();
    let made = world.send(Some(&demo), upload.clone());
    assert_eq!((made.status, &made.body["duration_ms"]), (200, &json!(1_000)), "{made:?}");
    let text = FLOW.replace("bye: {en: Goodbye.}", "bye: {audio: bye-bye}");
    let published = world.post(&demo, "/v1/flows/main/versions", json!({"text": text}));
    assert_eq!(published.status, 201, "{published:?}");
    upload.body.truncate(1_000);
    let bad = world.send(Some(&demo), upload);
    assert!(bad.body["errors"][0]["message"].as_str().unwrap().contains("cut off"), "{bad:?}");
}

#[test]
fn a_contact_tells_its_journey() {
    let (world, demo, _) = World::with_tenants();
    let contact = world.contact(&demo, "demo", "+861012345");
    let listed = world.get(&demo, "/v1/contacts");
    assert_eq!(
        (&listed.body["items"][0]["contact"], &listed.body["items"][0]["phase"]),
        (&json!(contact), &json!("waiting"))
    );
    assert_eq!(world.get(&demo, "/v1/contacts?party=+8613800138000").body["items"].as_array().unwrap().len(), 1);
    assert_eq!(world.get(&demo, "/v1/queue-states").body["items"][0]["waiting"], 1);
    let trace = world.get(&demo, &format!("/v1/contacts/{contact}/trace"));
    let ladder: Vec<&str> = trace.body["ladder"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    assert!(ladder[0].contains("ContactArrived") && ladder.iter().any(|l| l.contains("ContactEnqueued")), "{ladder:?}");
    let why = world.get(&demo, &format!("/v1/contacts/{contact}/why"));
    assert_eq!((why.status, why.body["decisions"].as_array().unwrap().len()), (200, 0));
    let ended = world.post(&demo, &format!("/v1/contacts/{contact}/end"), Value::Null);
    assert_eq!((ended.status, &ended.body["phase"]), (202, &json!("ended")), "{ended:?}");
    let again = world.post(&demo, &format!("/v1/contacts/{contact}/end"), Value::Null);
    assert_eq!(again.body["code"], "contact-ended");
}

/// Facts of the store, given to their consumer as the stream would.
fn follow(world: &World) {
    for fact in world.memory.store.all_facts() {
        futures::executor::block_on(hotline_service::facts::consume(&world.service, &fact)).unwrap();
    }
}

#[test]
fn an_abandoned_call_leaves_a_ticket_with_running_clocks_and_a_report() {
    let (world, demo, other) = World::with_tenants();
    let contact = world.contact(&demo, "demo", "+861012345");
    world.memory.world.set(Timestamp::from_millis(1_795_168_800_000 + 30_000));
    let input = hotline_wire::node::CallInput {
        contact,
        tenant: Some(demo.tenant),
        node: hotline_base::NodeId::from_u128(1),
        seq: 2,
        at: Timestamp::from_millis(1_795_168_800_000 + 30_000),
        event: hotline_wire::node::CallEvent::CallEnded {
            cause: hotline_wire::node::EndCause::HungUp,
            quality: None,
            reasons: vec![],
        },
    };
    futures::executor::block_on(hotline_service::ivr::handle(&world.service, input)).unwrap();
    follow(&world);
    follow(&world);
    let tickets = world.get(&demo, &format!("/v1/tickets?contact={contact}"));
    let items = tickets.body["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["status"]), (1, &json!("new")), "{tickets:?}");
    let ticket = world.get(&demo, &format!("/v1/tickets/{}", items[0]["id"].as_str().unwrap()));
    assert_eq!(ticket.body["doc"]["response"]["phase"]["phase"], "running", "{ticket:?}");
    let report = world.get(&demo, "/v1/reports/summary");
    assert_eq!(
        (&report.body["contacts"], &report.body["queues"]["technical"]["offered"]),
        (&json!(1), &json!(1)),
        "{report:?}"
    );
    assert_eq!(report.body["queues"]["technical"]["abandoned"], 1, "{report:?}");
    assert_eq!(report.body["tickets"]["opened"], 1, "counted once although every fact came twice");
    let foreign = world.get(&other, "/v1/reports/summary");
    assert_eq!(foreign.body["contacts"], 0);
}

#[test]
fn agents_follow_a_queue_that_orders_them_anew() {
    let (world, demo, _) = World::with_tenants();
    let body = json!({"name": "fang@example.com", "display_name": "Fang", "role": "agent", "queues": {"technical": 0}});
    let made = world.post(&demo, "/v1/users", body);
    let agent = made.body["user"]["agent"].as_str().unwrap().parse().unwrap();
    world.put(&demo, "/v1/queues/technical", json!({"selection": "lowest-occupancy"}));
    let agent =
        futures::executor::block_on(hotline_service::agents::get(&world.service, demo.tenant, agent)).unwrap().unwrap();
    let seat = agent.profile.queues.values().next().unwrap();
    assert_eq!(seat.selection, hotline_routing::queue::Selection::LowestOccupancy);
}

#[test]
fn a_recording_is_linked_only_once_it_is_there() {
    let (world, demo, _) = World::with_tenants();
    let contact = world.contact(&demo, "demo", "+861012345");
    assert_eq!(world.get(&demo, &format!("/v1/contacts/{contact}/recordings")).body["items"], json!([]));
    assert_eq!(world.get(&demo, "/v1/recordings").body["items"], json!([]));
    let link = format!("/v1/contacts/{contact}/recordings/rec_00000000000000000000000001/link");
    assert_eq!(world.post(&demo, &link, Value::Null).status, 404);
    let agent = world.user(&demo, "fang", Role::Agent);
    assert_eq!(world.post(&agent, &link, Value::Null).status, 403);
    let keyed = with(request("GET", "/v1/me", Value::Null), "idempotency-key", "reads need none");
    assert_eq!(world.send(Some(&agent), keyed).status, 200);
    let objects: &dyn Objects = world.memory.objects.as_ref();
    let there = futures::executor::block_on(objects.list(hotline_ports::Bucket::Recordings, "", 10)).unwrap();
    assert!(there.is_empty());
}

#[test]
fn what_is_in_use_stays() {
    let (world, demo, _) = World::with_tenants();
    let delete = |path: &str| world.send(Some(&demo), request("DELETE", path, Value::Null));
    world.contact(&demo, "demo", "+861012345");
    let refused = delete("/v1/queues/technical");
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("in-use")), "{refused:?}");
    assert!(refused.body["detail"].as_str().unwrap().contains("flow main"));
    world.put(&demo, "/v1/queues/spare", json!({}));
    let body = json!({"name": "fang@example.com", "display_name": "Fang", "role": "agent", "queues": {"spare": 0}});
    assert_eq!(world.post(&demo, "/v1/users", body).status, 201);
    assert!(delete("/v1/queues/spare").body["detail"].as_str().unwrap().contains("agent agt_"));
}
