//! What the resources do, through the API, over memory ports.

mod common;

use common::{World, request, with};
use futures::executor::block_on;
use hotline_base::Timestamp;
use hotline_wire::api::Role;
use serde_json::{Value, json};

#[test]
fn a_session_begins_with_name_and_password() {
    let (world, demo, _) = World::with_tenants();
    let sign_in = |password: &str| {
        world
            .send(None, request("POST", "/v1/sign-in", json!({"name": "Admin@demo.example.com", "password": password})))
    };
    let session = sign_in("Correct-Horse-9");
    assert_eq!(session.status, 200);
    let account = world.memory.identity.account(session.body["id_token"].as_str().unwrap()).unwrap();
    assert_eq!((account.tenant, account.user), (demo.tenant, demo.user));
    let wrong = sign_in("wrong");
    assert_eq!((wrong.status, wrong.body["code"].as_str()), (401, Some("sign-in-refused")));
    assert_eq!(wrong.raw.headers["content-type"], "application/problem+json");
    let again = json!({"refresh_token": session.body["refresh_token"]});
    assert_eq!(world.send(None, request("POST", "/v1/sign-in/refresh", again)).status, 200);
    let me = world.get(&demo, "/v1/me");
    assert_eq!((&me.body["role"], &me.body["tenant"]), (&json!("admin"), &json!(demo.tenant)));
}

#[test]
fn configuration_is_versioned_and_conditional() {
    let (world, demo, _) = World::with_tenants();
    let put = |body: Value, header: Option<(&str, &str)>| {
        let mut r = request("PUT", "/v1/calendars/office", body);
        if let Some((name, value)) = header {
            r = with(r, name, value);
        }
        world.send(Some(&demo), r)
    };
    let body = || json!({"time_zone": "Asia/Shanghai", "weekly": {"mon": [{"from": "09:00", "to": "18:00"}]}});
    let made = put(body(), Some(("if-none-match", "*")));
    assert_eq!((made.status, made.raw.headers["etag"].as_str()), (200, "\"1\""));
    assert_eq!(put(body(), Some(("if-none-match", "*"))).status, 412);
    assert_eq!(put(body(), Some(("if-match", "\"1\""))).body["version"], 2);
    assert_eq!(put(body(), Some(("if-match", "\"1\""))).status, 412);
    assert_eq!(put(body(), None).body["version"], 3);
    let bad = put(json!({"time_zone": "Mars/North", "weekly": {"mon": [{"from": "9", "to": "18:00"}]}}), None);
    let fields: Vec<&str> =
        bad.body["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!((bad.status, fields), (400, vec!["time_zone", "weekly.mon[0].from"]));
    let typo = put(json!({"time_zone": "UTC", "weekly": {"mon": [{"from": "09:00", "until": "18:00"}]}}), None);
    assert_eq!(typo.body["errors"][0]["field"], "weekly.mon[0].until");
    let other = put(json!({"name": "shop", "time_zone": "UTC"}), None);
    assert_eq!(other.body["errors"][0]["field"], "name");
    assert_eq!(world.get(&demo, "/v1/calendars/office").body["doc"]["time_zone"], "Asia/Shanghai");
    assert_eq!(world.send(Some(&demo), request("DELETE", "/v1/calendars/office", Value::Null)).status, 204);
    assert_eq!(world.get(&demo, "/v1/calendars/office").status, 404);
}

#[test]
fn policies_name_calendars_that_exist_and_queues_do_not_run_in_circles() {
    let (world, demo, _) = World::with_tenants();
    let hours = json!({"response_min": 15, "resolution_min": 240});
    let policy = json!({"targets": {"urgent": hours, "high": hours, "medium": hours, "low": hours},
        "counts": {"basis": "business", "calendar": "office"}, "reminder_before_min": 5, "escalate_to": 2});
    let refused = world.put(&demo, "/v1/policies/default", policy.clone());
    assert_eq!(refused.body["errors"][0]["field"], "counts.calendar");
    let calendar = json!({"time_zone": "UTC", "weekly": {"mon": [{"from": "09:00", "to": "18:00"}]}});
    world.put(&demo, "/v1/calendars/office", calendar);
    assert_eq!(world.put(&demo, "/v1/policies/default", policy).status, 200);
    let vip = world.put(&demo, "/v1/vip-lists/gold", json!({"numbers": ["+8613800138000", "12345"]}));
    assert_eq!(vip.body["errors"][0]["field"], "numbers[1]");
}

#[test]
fn lists_come_in_pages() {
    let (world, demo, _) = World::with_tenants();
    for name in ["a", "b", "c", "d", "e"] {
        world.put(&demo, &format!("/v1/skills/{name}"), json!({}));
    }
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world.get(&demo, &format!("/v1/skills?limit=2{cursor}"));
        names.extend(
            page.body["items"].as_array().unwrap().iter().map(|i| i["doc"]["name"].as_str().unwrap().to_string()),
        );
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let bad = world.get(&demo, "/v1/skills?limit=0&cursor=!");
    assert_eq!(bad.body["errors"].as_array().unwrap().len(), 2);
}

#[test]
fn an_idempotency_key_makes_a_write_happen_once() {
    let (world, demo, _) = World::with_tenants();
    let body = json!({"subject": "printer"});
    let post = |key: &str, body: &Value| {
        world.send(Some(&demo), with(request("POST", "/v1/tickets", body.clone()), "idempotency-key", key))
    };
    let first = post("k1", &body);
    let second = post("k1", &body);
    assert_eq!((first.status, &first.raw.body), (201, &second.raw.body));
    assert_eq!(second.raw.headers["idempotency-replayed"], "true");
    assert_eq!(post("k1", &json!({"subject": "scanner"})).body["code"], "idempotency-key-reused");
    assert_ne!(post("k2", &body).body["doc"]["id"], first.body["doc"]["id"]);
    assert_eq!(world.get(&demo, "/v1/tickets").body["items"].as_array().unwrap().len(), 2);
    assert_eq!(post("\u{7f}", &body).body["errors"][0]["field"], "idempotency-key");
    let refused = post("k3", &json!({"subject": ""}));
    assert_eq!(refused.status, 400);
    assert_eq!(post("k3", &body).status, 201, "a refused write leaves its key free");
}

#[test]
fn secrets_are_shown_once_and_not_stored() {
    let (world, demo, _) = World::with_tenants();
    let body = json!({"name": "fang@example.com", "display_name": "Fang", "role": "agent", "queues": {"technical": 0}});
    let post = || world.send(Some(&demo), with(request("POST", "/v1/users", body.clone()), "idempotency-key", "u1"));
    let made = post();
    assert_eq!(made.body["sip"]["user"], "fang.demo");
    let password = made.body["sip"]["password"].as_str().unwrap().to_string();
    assert!(made.body["password"].as_str().unwrap().len() >= 20);
    let replay = post();
    assert_eq!((replay.status, &replay.body["user"]), (201, &made.body["user"]));
    assert!(replay.body["sip"]["password"].is_null() && replay.body["password"].is_null());
    let stored = format!("{:?}", world.memory.store.all_rows());
    assert!(!stored.contains(&password));
}

#[test]
fn a_ticket_lives_through_the_api() {
    let (world, demo, _) = World::with_tenants();
    let agent = world.user(&demo, "fang", Role::Agent);
    let made = world.post(
        &agent,
        "/v1/tickets",
        json!({"subject": "printer", "priority": "high", "queue": "technical",
        "requester": {"number": "+8613800138000"}, "owner": agent.agent()}),
    );
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["doc"]["id"].as_str().unwrap().to_string();
    let path = format!("/v1/tickets/{id}");
    let act = |body: Value, version: u64| {
        let r = with(request("POST", &format!("{path}/actions"), body), "if-match", &format!("\"{version}\""));
        world.send(Some(&agent), r)
    };
    let answered = act(json!({"action": "comment", "kind": "reply", "text": "on it"}), 1);
    assert_eq!((answered.status, &answered.body["doc"]["status"]), (200, &json!("open")), "{answered:?}");
    assert_eq!(act(json!({"action": "comment", "text": "again"}), 1).body["code"], "version-conflict");
    assert_eq!(act(json!({"action": "set_status", "status": "closed"}), 2).body["code"], "ticket-status");
    act(json!({"action": "set_status", "status": "resolved"}), 2);
    assert_eq!(act(json!({"action": "set_status", "status": "closed"}), 3).body["code"], "ticket-not-verified");
    act(json!({"action": "verify", "solved": true, "system_normal": true, "no_side_effects": true}), 3);
    assert_eq!(act(json!({"action": "set_status", "status": "closed"}), 4).body["doc"]["status"], "closed");
    assert_eq!(act(json!({"action": "dance"}), 5).status, 400);
    let told = world.get(&agent, &format!("{path}/explain?lang=en"));
    assert!(told.body["response"]["lines"][0].as_str().unwrap().starts_with("First response promised within 15 min"));
    let history = world.get(&agent, &format!("{path}/history"));
    assert!(history.body["ladder"][0].as_str().unwrap().contains("TicketOpened"));
    let found =
        |query: &str| world.get(&agent, &format!("/v1/tickets?{query}")).body["items"].as_array().unwrap().len();
    assert_eq!((found("status=closed"), found("status=open"), found("requester=+8613800138000")), (1, 0, 1));
    assert_eq!(world.get(&agent, "/v1/tickets?status=odd&owner=me").body["errors"].as_array().unwrap().len(), 2);
}

#[test]
fn agents_change_their_own_state_and_supervisors_that_of_others() {
    let (world, demo, _) = World::with_tenants();
    let fang = world.user(&demo, "fang", Role::Agent);
    let boss = world.user(&demo, "boss", Role::Supervisor);
    let beat = world.post(&fang, "/v1/agents/me/heartbeat", json!({"console": "tab-1"}));
    assert_eq!(beat.status, 200, "{beat:?}");
    let refused = world.put(&fang, "/v1/agents/me/state", json!({"state": "available"}));
    assert_eq!(refused.status, 409, "no phone, no Available: {refused:?}");
    let away = world.put(&fang, "/v1/agents/me/state", json!({"state": "away", "reason": "lunch"}));
    assert_eq!(away.body["state"]["state"], "away");
    let path = format!("/v1/agents/{}/state", fang.agent());
    assert_eq!(world.put(&boss, &path, json!({"state": "offline"})).body["state"]["state"], "offline");
    assert_eq!(world.get(&boss, "/v1/agents").body["items"].as_array().unwrap().len(), 2);
    assert_eq!(world.get(&boss, "/v1/queue-states").body["items"][0]["queue"], "technical");
}

#[test]
fn a_number_belongs_to_a_tenant_who_chooses_its_flow() {
    let (world, demo, other) = World::with_tenants();
    let operator = World::operator();
    let set = world.put(&operator, "/v1/dids/%2B861012345", json!({"tenant": "demo", "flow": "main"}));
    assert_eq!(set.body["number"], "+861012345");
    assert_eq!(
        world.put(&operator, "/v1/dids/12345", json!({"tenant": "nobody", "flow": "Main"})).body["errors"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(world.put(&demo, "/v1/dids/%2B861012345/flow", json!({"flow": "night"})).body["flow"], "night");
    assert_eq!(world.put(&other, "/v1/dids/%2B861012345/flow", json!({"flow": "night"})).status, 404);
    assert_eq!(world.get(&demo, "/v1/dids").body["items"].as_array().unwrap().len(), 1);
    assert_eq!(world.get(&other, "/v1/dids").body["items"].as_array().unwrap().len(), 0);
}

#[test]
fn a_report_of_nothing_is_empty_and_a_bad_period_is_named() {
    let (world, demo, _) = World::with_tenants();
    let report = world.get(&demo, "/v1/reports/summary?interval=1h");
    assert_eq!((report.status, &report.body["total"]["offered"]), (200, &json!(0)));
    assert!(report.body["queues"]["technical"].is_object());
    let bad = world.get(&demo, "/v1/reports/summary?from=2026-11-20T00:00:00Z&to=2026-11-19T00:00:00Z");
    assert_eq!(bad.body["errors"][0]["field"], "to");
    assert_eq!(world.get(&demo, "/v1/reports/summary?from=yesterday").body["errors"][0]["field"], "from");
    assert_eq!(world.get(&demo, "/v1/reports/agents").status, 200);
}

#[test]
fn a_console_connects_once_per_ticket_and_beats() {
    let (world, demo, _) = World::with_tenants();
    let fang = world.user(&demo, "fang", Role::Agent);
    let made = world.post(&fang, "/v1/ws-tickets", Value::Null);
    let ticket = made.body["ticket"].as_str().unwrap();
    block_on(async {
        hotline_api::ws::connect(&world.service, "c1", ticket).await.unwrap();
        let again = hotline_api::ws::connect(&world.service, "c2", ticket).await.unwrap_err();
        assert_eq!((again.status, again.code.as_str()), (401, "ws-ticket-refused"));
        hotline_api::ws::message(&world.service, "c1", r#"{"type":"heartbeat"}"#).await.unwrap();
        hotline_api::ws::message(&world.service, "c1", "hello").await.unwrap();
        hotline_api::ws::message(&world.service, "c9", "hello").await.unwrap();
        hotline_api::ws::disconnect(&world.service, "c1").await.unwrap();
        hotline_api::ws::message(&world.service, "c1", "hello").await.unwrap();
    });
    let sent: Vec<(String, Value)> =
        world.memory.push.take().into_iter().map(|(c, body)| (c, serde_json::from_str(&body).unwrap())).collect();
    let answers: Vec<_> = sent.iter().map(|(c, body)| (c.as_str(), body["event"].as_str().unwrap())).collect();
    assert_eq!(answers, [("c1", "alive"), ("c1", "misunderstood")]);
}

#[test]
fn an_old_ws_ticket_is_refused() {
    let (world, demo, _) = World::with_tenants();
    let made = world.post(&demo, "/v1/ws-tickets", Value::Null);
    world.memory.world.set(Timestamp::from_millis(made.body["expires_at"].as_i64().unwrap() + 1));
    let refused = block_on(hotline_api::ws::connect(&world.service, "c1", made.body["ticket"].as_str().unwrap()));
    assert_eq!(refused.unwrap_err().status, 401);
}

#[test]
fn odd_requests_get_problems() {
    let (world, demo, _) = World::with_tenants();
    let nobody = world.send(None, request("GET", "/v1/me", Value::Null));
    assert_eq!((nobody.status, nobody.body["code"].as_str()), (401, Some("not-signed-in")));
    assert_eq!(world.get(&demo, "/v1/nothing").body["code"], "no-such-path");
    let method = world.send(Some(&demo), request("BREW", "/v1/tickets", Value::Null));
    assert_eq!((method.status, method.raw.headers["allow"].as_str()), (405, "POST, GET"));
    let mut big = request("POST", "/v1/tickets", Value::Null);
    big.body = vec![b' '; hotline_base::limits::BODY_BYTES + 1];
    assert_eq!(world.send(Some(&demo), big).status, 413);
    for body in ["", "{", "[]", "null", "{\"subject\":1}", "{\"subject\":\"x\"} x"] {
        let mut r = request("POST", "/v1/tickets", Value::Null);
        r.body = body.as_bytes().to_vec();
        let answer = world.send(Some(&demo), r);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(!answer.body["errors"][0]["message"].as_str().unwrap().is_empty());
    }
    for path in ["/v1/tickets/tkt_x", "/v1/contacts/con_x", "/v1/users/usr_x", "/v1/queues/none"] {
        assert_eq!(world.get(&demo, path).status, 404, "{path}");
    }
}

#[test]
fn an_ended_access_is_over_at_once() {
    let (world, demo, _) = World::with_tenants();
    let fang = world.user(&demo, "fang", Role::Agent);
    assert_eq!(world.get(&fang, "/v1/me").status, 200);
    let path = format!("/v1/users/{}", fang.user);
    let ended = world.send(Some(&demo), request("PATCH", &path, json!({"active": false})));
    assert_eq!(ended.status, 200, "{ended:?}");
    assert_eq!(world.get(&fang, "/v1/me").body["code"], "access-ended");
    let own = world.send(Some(&demo), request("PATCH", &format!("/v1/users/{}", demo.user), json!({"active": false})));
    assert_eq!(own.body["errors"][0]["field"], "active");
}

#[test]
fn a_tenant_sets_its_country_and_its_limits_and_sees_who_was_kept_out() {
    let (world, demo, other) = World::with_tenants();
    let before = world.get(&demo, "/v1/settings");
    assert_eq!((before.status, &before.body["version"]), (200, &json!(0)), "the defaults");
    assert_eq!(before.body["doc"]["limits"]["per_caller"], json!({"at_once": 5, "per_minute": 10}));
    let bad = json!({"calls": {"country": "XX"}, "limits": {"calls_at_once": 0}});
    let refused = world.put(&demo, "/v1/settings", bad);
    assert_eq!(
        (refused.status, refused.body["errors"][0]["field"].as_str()),
        (400, Some("calls.country")),
        "{refused:?}"
    );
    let one = json!({"calls": {"country": "CN"}, "limits": {"per_caller": {"at_once": 1, "per_minute": 5}}});
    assert_eq!(world.put(&demo, "/v1/settings", one.clone()).body["version"], 1);
    let stale = with(request("PUT", "/v1/settings", one), "if-match", "\"7\"");
    assert_eq!(world.send(Some(&demo), stale).status, 412);
    assert_eq!(world.get(&other, "/v1/settings").body["version"], 0, "another tenant's are its own");

    let first = world.contact(&demo, "demo", "+861012345");
    let (node, at) = (hotline_base::NodeId::from_u128(1), Timestamp::from_millis(0));
    let event = hotline_wire::node::CallEvent::Arrived {
        did: "+861012345".into(),
        from: "13800138000".to_string().into(),
        display_name: String::new().into(),
        sip_call_id: "y".into(),
        dialog: None,
        diverted: None,
    };
    let contact = hotline_base::ContactId::from_u128(first.as_u128() + 1);
    let input = hotline_wire::node::CallInput { contact, tenant: None, node, seq: 1, at, event };
    let decision = block_on(hotline_service::ivr::handle(&world.service, input)).unwrap();
    assert_eq!(decision.label, "1:refused", "the same number, written as within the country");
    let floods = world.get(&demo, "/v1/floods").body;
    let told = &floods["items"][0];
    assert_eq!(
        (&told["from"], &told["limit"], &told["most"]),
        (&json!("+8613800138000"), &json!("caller-at-once"), &json!(1))
    );
    assert_eq!(world.get(&other, "/v1/floods").body["items"], json!([]));
    let parties = world.get(&demo, "/v1/contacts?party=13800138000").body;
    assert_eq!(parties["items"].as_array().map(Vec::len), Some(1));
}
