//! One real call seen from outside: everything is set up, and everything is found again, through
//! the API; only the node's part is played by hand.

mod common;

use common::{World, request};
use futures::executor::block_on;
use hotline_api::Principal;
use hotline_base::{ContactId, NodeId, RecordingId, Timestamp};
use hotline_ports::{Bucket, WorkQueue};
use hotline_service::{agents, facts, ivr, timers, work};
use hotline_wire::api::Role;
use hotline_wire::node::{CallEvent, CallInput, Decision, EndCause, NodeAction, VerbResult};
use hotline_wire::recording::{
    ChannelInfo, ChannelLaw, ChannelRole, ChunkInfo, Manifest, RecordingEnd, chain_input, chunk_key, manifest_key,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const DID: &str = "+861055550100";
const DEMO: &str = include_str!("../../flow/examples/demo.flow.yaml");
const NODE: NodeId = NodeId::from_u128(77);

struct Call {
    contact: ContactId,
    tenant: hotline_base::TenantId,
    seq: u32,
    label: String,
}

/// Delivers queues and stream until nothing is left.
fn settle(world: &World) {
    for _ in 0..100 {
        let messages = world.memory.queues.take_visible();
        let stream = world.memory.store.take_stream();
        if messages.is_empty() && stream.is_empty() {
            return;
        }
        for message in messages {
            match message.queue {
                WorkQueue::Timers => block_on(timers::handle(&world.service, &message.body)).unwrap(),
                WorkQueue::Work => block_on(work::handle(&world.service, &message.body)).unwrap(),
            }
        }
        for fact in stream {
            block_on(facts::consume(&world.service, &fact)).unwrap();
        }
    }
    panic!("the world does not become quiet");
}

fn pass(world: &World, ms: i64) {
    let now = world.memory.ports().world.now();
    world.memory.world.set(now.plus_ms(ms));
}

fn send(world: &World, call: &mut Call, event: CallEvent) -> Decision {
    call.seq += 1;
    let at = world.memory.ports().world.now();
    let input = CallInput { contact: call.contact, tenant: Some(call.tenant), node: NODE, seq: call.seq, at, event };
    let decision = block_on(ivr::handle(&world.service, input)).unwrap();
    if decision.script.is_some() {
        call.label = decision.label.clone();
    }
    settle(world);
    decision
}

fn press(world: &World, call: &mut Call, digits: &str) {
    pass(world, 2_000);
    let result = VerbResult::Digits { digits: digits.to_string().into() };
    let label = call.label.clone();
    send(world, call, CallEvent::ScriptEnded { label, result });
}

/// The tenant `demo` as `hotline up` seeds it; its agent.
fn seed(world: &World, admin: &Principal) -> Principal {
    for queue in ["technical", "billing", "general"] {
        assert_eq!(world.put(admin, &format!("/v1/queues/{queue}"), json!({})).status, 200);
    }
    let days =
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].map(|day| (day, json!([{"from": "00:00", "to": "24:00"}])));
    let weekly: serde_json::Map<String, Value> =
        days.into_iter().map(|(day, hours)| (day.to_string(), hours)).collect();
    let calendar = json!({"time_zone": "Asia/Shanghai", "weekly": weekly});
    assert_eq!(world.put(admin, "/v1/calendars/office", calendar).status, 200);
    let published = world.post(admin, "/v1/flows/demo/versions", json!({"text": DEMO}));
    assert_eq!(published.status, 201, "{published:?}");
    let path = format!("/v1/dids/{}", DID.replace('+', "%2B"));
    assert_eq!(world.put(&World::operator(), &path, json!({"tenant": "demo", "flow": "demo"})).status, 200);
    let body = json!({"name": "fang@example.com", "display_name": "王芳", "role": "agent",
        "skills": {"lang-zh": 9}, "queues": {"technical": 1, "general": 2}});
    let made = world.post(admin, "/v1/users", body);
    assert_eq!(made.status, 201, "{made:?}");
    let user = made.body["user"]["id"].as_str().unwrap().parse().unwrap();
    Principal { tenant: admin.tenant, role: Role::Agent, user }
}

fn sha(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What the node uploads of a recording of 100 ms.
fn record(world: &World, call: &Call, recording: RecordingId) -> String {
    let objects = world.memory.ports().objects;
    let mut frame = vec![0x80; 160];
    frame.extend([0xff; 160]);
    let body = frame.repeat(5);
    let sha256 = sha(&body);
    let key = chunk_key(call.tenant, call.contact, recording, 0);
    let chunk = ChunkInfo {
        seq: 0,
        key: key.clone(),
        offset_ms: 0,
        duration_ms: 100,
        bytes: body.len() as u64,
        chain: sha(chain_input("", &sha256)),
        sha256,
    };
    let channels = [ChannelRole::Caller, ChannelRole::Agent].map(|role| ChannelInfo { law: ChannelLaw::Mu, role });
    let manifest = Manifest {
        tenant: call.tenant,
        contact: call.contact,
        recording,
        started_at: Timestamp::from_millis(0),
        sample_rate: 8_000,
        channels: channels.to_vec(),
        chunks: vec![chunk],
        gaps: Vec::new(),
        ended: Some(RecordingEnd { duration_ms: 100, failure: None }),
        complete: true,
    };
    block_on(objects.put(Bucket::Recordings, &key, body, "x")).unwrap();
    let place = manifest_key(call.tenant, call.contact, recording);
    let text = serde_json::to_vec(&manifest).unwrap();
    block_on(objects.put(Bucket::Recordings, &place, text, "x")).unwrap();
    place
}

#[test]
fn a_call_is_taken_recorded_rated_and_found_again() {
    let world = World::new();
    let admin = world.tenant("demo");
    let fang = seed(&world, &admin);
    block_on(world.memory.ports().nodes.open(NODE)).unwrap();

    // The agent signs in: the phone registers, the console is open.
    let expires = Some(world.memory.ports().world.now().plus_ms(3_600_000));
    block_on(agents::phone(&world.service, fang.tenant, fang.agent(), NODE, expires)).unwrap();
    world.post(&fang, "/v1/agents/me/heartbeat", json!({"console": "tab"}));
    let free = world.put(&fang, "/v1/agents/me/state", json!({"state": "available"}));
    assert_eq!((free.status, &free.body["state"]["state"]), (200, &json!("available")), "{free:?}");
    settle(&world);

    // A caller arrives, chooses Chinese and technical support, and waits for nobody.
    let contact = ContactId::new(world.memory.ports().world.now(), 5);
    let mut call = Call { contact, tenant: fang.tenant, seq: 0, label: String::new() };
    send(
        &world,
        &mut call,
        CallEvent::Arrived {
            did: DID.into(),
            from: "+8613800138000".to_string().into(),
            display_name: String::new().into(),
            sip_call_id: "abc".into(),
            dialog: None,
            diverted: None,
        },
    );
    press(&world, &mut call, "1");
    press(&world, &mut call, "1");
    let commands = world.memory.nodes.take(NODE);
    let ring = commands.iter().find_map(|command| match &command.action {
        NodeAction::Ring(ring) => Some(ring.clone()),
        _ => None,
    });
    let ring =
        ring.unwrap_or_else(|| panic!("nobody rings: {commands:?}, {:?}", world.memory.store.all_facts().last()));
    assert_eq!(ring.sip_user, "fang.demo");
    pass(&world, 3_000);
    send(&world, &mut call, CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    assert_eq!(world.get(&fang, "/v1/agents/me").body["state"]["state"], "busy");
    assert_eq!(world.get(&fang, &format!("/v1/contacts/{contact}")).status, 200, "the agent sees the call in hand");

    // They talk; the agent hangs up; the caller gives five.
    pass(&world, 60_000);
    send(&world, &mut call, CallEvent::AgentLegEnded { offer: ring.offer, cause: EndCause::HungUp, reasons: vec![] });
    press(&world, &mut call, "5");
    send(&world, &mut call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    let recording = ring.record.expect("calls are recorded");
    let manifest = record(&world, &call, recording);
    send(&world, &mut call, CallEvent::RecordingEnded { recording, manifest, duration_ms: 100, failure: None });

    // The journey.
    let trace = world.get(&admin, &format!("/v1/contacts/{contact}/trace"));
    let names: Vec<&str> =
        trace.body["steps"].as_array().unwrap().iter().map(|s| s["fact"].as_str().unwrap()).collect();
    for fact in [
        "ContactArrived",
        "MenuChosen",
        "ContactEnqueued",
        "OfferMade",
        "LegsBridged",
        "SurveyAnswered",
        "ContactEnded",
        "RecordingSaved",
    ] {
        assert!(names.contains(&fact), "{fact} not in {names:?}");
    }
    let why = world.get(&admin, &format!("/v1/contacts/{contact}/why"));
    assert_eq!(why.body["decisions"][0]["replay_agrees"], true, "{why:?}");
    assert!(!why.body["decisions"][0]["lines"].as_array().unwrap().is_empty());

    // The recording, and who listened.
    let link = format!("/v1/contacts/{contact}/recordings/{recording}/link");
    let linked = world.post(&admin, &link, Value::Null);
    assert_eq!(linked.status, 200, "{linked:?}");
    assert!(!linked.body["url"].as_str().unwrap().is_empty());
    let audited = world.memory.store.all_facts().into_iter().find(|fact| fact.name == "RecordingLinkMade").unwrap();
    assert_eq!(audited.body["by"], json!(admin.user));
    assert_eq!(world.get(&admin, "/v1/recordings").body["items"][0]["status"], "saved");

    // The ticket: answered in time, its resolution clock running, the recording linked.
    let found = world.get(&admin, &format!("/v1/tickets?contact={contact}"));
    let ticket = format!("/v1/tickets/{}", found.body["items"][0]["id"].as_str().unwrap());
    let doc = world.get(&admin, &ticket).body["doc"].clone();
    assert_eq!(
        (&doc["status"], &doc["category"], &doc["survey_score"]),
        (&json!("open"), &json!("technical"), &json!(5)),
        "{doc}"
    );
    assert_eq!((&doc["recordings"][0], &doc["owner"]), (&json!(recording), &json!(fang.agent())));
    assert_eq!(
        (&doc["response"]["phase"]["phase"], &doc["resolution"]["phase"]["phase"]),
        (&json!("met"), &json!("running"))
    );
    let told = world.get(&admin, &format!("{ticket}/explain?lang=en"));
    assert!(
        told.body["resolution"]["lines"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .as_str()
            .unwrap()
            .ends_with("the deadline.")
    );

    // The figures.
    let report = world.get(&admin, "/v1/reports/summary").body;
    let queue = &report["queues"]["technical"];
    assert_eq!(
        (&queue["offered"], &queue["answered"], &queue["abandoned"]),
        (&json!(1), &json!(1), &json!(0)),
        "{report}"
    );
    assert_eq!(
        (&queue["service_level_pct"], &queue["mean_talk_ms"], &queue["mean_score"]),
        (&json!(100.0), &json!(60_000), &json!(5.0)),
        "{queue}"
    );
    assert_eq!(
        (&report["contacts"], &report["tickets"]["opened"], &report["tickets"]["response_in_time_pct"]),
        (&json!(1), &json!(1), &json!(100.0))
    );
    let agents = world.get(&admin, "/v1/reports/agents").body;
    assert_eq!(agents["agents"][0]["figures"]["handled"], 1, "{agents}");

    // Nobody listens to a deadline that nobody keeps: a day later it is broken and escalated.
    pass(&world, 25 * 3_600_000);
    block_on(timers::sweep(&world.service)).unwrap();
    settle(&world);
    let doc = world.get(&admin, &ticket).body["doc"].clone();
    assert_eq!((&doc["tier"], &doc["owner"]), (&json!(2), &Value::Null), "{doc}");
    let history = world.get(&admin, &format!("{ticket}/history")).body;
    let facts: Vec<&str> = history["steps"].as_array().unwrap().iter().map(|s| s["fact"].as_str().unwrap()).collect();
    assert!(facts.contains(&"SlaBreached") && facts.contains(&"TicketEscalated"), "{facts:?}");
    let nobody = world.send(None, request("GET", &ticket, Value::Null));
    assert_eq!(nobody.status, 401);
}
