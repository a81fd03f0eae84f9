//! Who may do what, asked of the running API route by route: role × tenant × action.
//!
//! The answers are kept in `authz.golden.txt`; `HOTLINE_UPDATE=1` writes it anew, and the change
//! is to be read like code.

mod common;

use common::{World, request};
use hotline_api::Principal;
use hotline_api::route::{Access, Route, routes};
use hotline_wire::api::Role;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

const DID: &str = "+861012345";

struct Cast {
    world: World,
    people: BTreeMap<&'static str, Option<Principal>>,
    objects: BTreeMap<&'static str, String>,
}

/// Everybody, and one of each thing, all of the tenant `demo` but the people of `other`.
fn cast() -> Cast {
    let (world, demo, other) = World::with_tenants();
    let contact = world.contact(&demo, "demo", DID);
    let agent = world.user(&demo, "fang", Role::Agent);
    let supervisor = world.user(&demo, "boss", Role::Supervisor);
    let ticket = world.post(&demo, "/v1/tickets", json!({"subject": "printer"}));
    for path in ["skills", "vip-lists", "policies", "calendars"] {
        let hours = json!({"response_min": 15, "resolution_min": 240});
        let body = match path {
            "skills" => json!({}),
            "vip-lists" => json!({"numbers": []}),
            "policies" => {
                json!({"targets": {"urgent": hours, "high": hours, "medium": hours, "low": hours}, "reminder_before_min": 5, "escalate_to": 2})
            }
            _ => json!({"time_zone": "UTC", "weekly": {"mon": [{"from": "09:00", "to": "18:00"}]}}),
        };
        let made = world.put(&demo, &format!("/v1/{path}/thing"), body);
        assert_eq!(made.status, 200, "{made:?}");
    }
    let objects = BTreeMap::from([
        ("slug", "demo".to_string()),
        ("number", DID.replace('+', "%2B")),
        ("users", agent.user.to_string()),
        ("agents", agent.agent().to_string()),
        ("contacts", contact.to_string()),
        ("tickets", ticket.body["doc"]["id"].as_str().unwrap().to_string()),
        ("recording", "rec_00000000000000000000000001".to_string()),
        ("version", "1".to_string()),
        ("flows", "main".to_string()),
        ("queues", "technical".to_string()),
        ("name", "thing".to_string()),
    ]);
    let other_agent = world.user(&other, "spy", Role::Agent);
    let people = BTreeMap::from([
        ("1 nobody", None),
        ("2 agent", Some(agent)),
        ("3 supervisor", Some(supervisor)),
        ("4 admin", Some(demo)),
        ("5 operator", Some(World::operator())),
        ("6 other's agent", Some(other_agent)),
        ("7 other's admin", Some(other)),
    ]);
    Cast { world, people, objects }
}

fn path(route: &Route, objects: &BTreeMap<&'static str, String>) -> String {
    let kind = route.path.split('/').nth(2).unwrap_or_default();
    let fill = |part: &str| match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
        Some(name) => {
            objects.get(kind).filter(|_| name == "id" || name == "name").unwrap_or_else(|| &objects[name]).clone()
        }
        None => part.to_string(),
    };
    route.path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// A body that says what it must, where a route needs one to come to the thing itself.
fn body(route: &Route) -> Value {
    match route.path {
        "/v1/dids/{number}/flow" => json!({"flow": "main"}),
        "/v1/flows/{name}/rollback" => json!({"version": 1}),
        "/v1/flows/{name}/versions" => json!({"text": common::FLOW}),
        "/v1/agents/{id}/state" => json!({"state": "offline"}),
        "/v1/tickets/{id}/actions" => json!({"action": "comment", "text": "x"}),
        _ if route.method == "GET" || route.method == "DELETE" => Value::Null,
        _ => json!({}),
    }
}

fn matrix() -> String {
    let mut text = String::from(
        "# Status by route and role. The things in paths are demo's; nobody has no token; `other` is another tenant.\n# 401 no token, 403 the role may not, 404 not there (or another tenant's), 400 may, but sent no good body.\n",
    );
    text.push_str(&format!(
        "{:<6} {:<52} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}\n",
        "", "", "nobody", "agent", "superv", "admin", "operat", "o:agt", "o:adm"
    ));
    let mut scene = cast();
    for route in routes() {
        text.push_str(&format!("{:<6} {:<52}", route.method, route.path));
        let names: Vec<&str> = scene.people.keys().copied().collect();
        for name in names {
            let who = scene.people[name].clone();
            let sent = request(route.method, &path(route, &scene.objects), body(route));
            let answer = scene.world.send(who.as_ref(), sent);
            check(route, who.as_ref(), answer.status, name);
            text.push_str(&format!(" {:>6}", answer.status));
            // What one did must not change what the next one finds.
            if route.method != "GET" && answer.status < 300 {
                scene = cast();
            }
        }
        text.push('\n');
    }
    text
}

/// What must hold whatever the golden file says.
fn check(route: &Route, who: Option<&Principal>, status: u16, name: &str) {
    let shown = format!("{} {} by {name}: {status}", route.method, route.path);
    assert!(status < 500, "{shown}");
    match (route.access, who) {
        (Access::Public, _) => assert!(status != 403, "{shown}"),
        (_, None) => assert_eq!(status, 401, "{shown}"),
        (access, Some(who)) => assert_eq!(status == 403, !access.allows(who.role), "{shown}"),
    }
    // A thing that has its own id is another tenant's: it is not there.
    let own_id = ["{id}", "/flow"].iter().any(|part| route.path.contains(part)) && !route.path.starts_with("/v1/flows");
    if name.contains("other's") && own_id && status != 403 {
        assert_eq!(status, 404, "{shown}");
    }
}

#[test]
fn the_matrix_is_as_agreed() {
    let file = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/authz.golden.txt");
    let found = matrix();
    if std::env::var_os("HOTLINE_UPDATE").is_some() {
        std::fs::write(&file, &found).unwrap();
    }
    let agreed = std::fs::read_to_string(&file).unwrap_or_default();
    let differing: Vec<String> =
        found.lines().filter(|line| !agreed.lines().any(|a| a == *line)).map(String::from).collect();
    assert!(found == agreed, "HOTLINE_UPDATE=1 writes it anew; differing:\n{}", differing.join("\n"));
}
