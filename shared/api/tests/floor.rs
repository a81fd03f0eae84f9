//! What people do with calls, through the API: who may, what it leads to, what is refused.

mod common;

use common::World;
use futures::executor::block_on;
use hotline_base::{ContactId, NodeId, TenantId};
use hotline_contact::CALLBACKS_PARTITION;
use hotline_ports::Range;
use hotline_service::{agents, contacts, ivr};
use hotline_wire::api::Role;
use hotline_wire::node::{CallEvent, CallInput};
use serde_json::{Value, json};

const DID: &str = "+861055550000";
const NODE: NodeId = NodeId::from_u128(1);

/// A tenant with an agent who talks, a colleague, a supervisor, and the contact.
struct Floor {
    world: World,
    admin: hotline_api::Principal,
    agent: hotline_api::Principal,
    colleague: hotline_api::Principal,
    boss: hotline_api::Principal,
    contact: ContactId,
    seq: u32,
}

fn sign_in(world: &World, who: &hotline_api::Principal) {
    let expires = world.service.now().plus_ms(3_600_000);
    let agent = who.agent();
    block_on(agents::phone(&world.service, who.tenant, agent, NODE, Some(expires))).unwrap();
    let set = world.put(who, "/v1/agents/me/state", json!({"state": "available"}));
    assert_eq!(set.status, 200, "{set:?}");
}

impl Floor {
    fn waiting() -> Self {
        let (world, admin, _) = World::with_tenants();
        let made = world.put(&admin, "/v1/queues/general", json!({"next_tier": "technical"}));
        assert_eq!(made.status, 200, "{made:?}");
        let [agent, colleague] = ["fang", "bo"].map(|name| world.user(&admin, name, Role::Agent));
        let boss = world.user(&admin, "boss", Role::Supervisor);
        for who in [&agent, &colleague] {
            let path = format!("/v1/users/{}", who.user);
            let set = world
                .send(Some(&admin), common::request("PATCH", &path, json!({"queues": {"technical": 0, "general": 1}})));
            assert_eq!(set.status, 200, "{set:?}");
        }
        let contact = world.contact(&admin, "demo", DID);
        Self { world, admin, agent, colleague, boss, contact, seq: 1 }
    }

    fn talking() -> Self {
        let mut floor = Self::waiting();
        sign_in(&floor.world, &floor.agent);
        let offer = floor.state()["offer"].as_str().expect("offered").parse().unwrap();
        floor.node(CallEvent::OfferAnswered { offer, dialog: None });
        floor
    }

    fn node(&mut self, event: CallEvent) {
        self.seq += 1;
        let at = self.world.service.now();
        let (contact, seq) = (self.contact, self.seq);
        let tenant = Some(self.admin.tenant);
        let input = CallInput { contact, tenant, node: NODE, seq, at, event };
        block_on(ivr::handle(&self.world.service, input)).unwrap();
    }

    fn state(&self) -> Value {
        self.world.get(&self.admin, &format!("/v1/contacts/{}", self.contact)).body
    }

    fn act(&self, who: &hotline_api::Principal, body: Value) -> (u16, Value) {
        let answer = self.world.post(who, &format!("/v1/contacts/{}/actions", self.contact), body);
        (answer.status, answer.body)
    }

    fn leg(&self, who: &hotline_api::Principal) -> Option<hotline_base::OfferId> {
        let state = self.state();
        let legs = state["on_call"].as_array().unwrap().clone();
        let mine = legs.iter().find(|leg| leg["agent"] == json!(who.agent()))?;
        mine["offer"].as_str().unwrap().parse().ok()
    }
}

#[test]
fn an_agent_asks_a_colleague_and_hands_over() {
    let mut floor = Floor::talking();
    let (agent, colleague) = (floor.agent.clone(), floor.colleague.clone());
    let ask = json!({"do": "consult", "to": {"agent": colleague.agent()}});
    let (status, body) = floor.act(&agent, ask.clone());
    assert_eq!((status, body["code"].as_str()), (409, Some("no-phone")), "{body}");
    sign_in(&floor.world, &colleague);
    assert_eq!(floor.act(&agent, ask).0, 200);
    let complete = json!({"do": "complete", "reason": "router"});
    assert_eq!(floor.act(&agent, complete.clone()).1["code"], "consult-not-answered");
    assert_eq!(floor.act(&colleague, json!({"do": "hold"})).1["code"], "not-your-call");
    let offer = floor.leg(&colleague).expect("rung");
    floor.node(CallEvent::OfferAnswered { offer, dialog: None });
    let (status, body) = floor.act(&agent, complete);
    assert_eq!((status, &body["agent"], &body["transfers"]), (200, &json!(colleague.agent()), &json!(1)), "{body}");
    assert_eq!(floor.world.get(&agent, "/v1/agents/me").body["state"]["state"], "wrap_up");
    assert_eq!(floor.world.get(&colleague, "/v1/agents/me").body["state"]["state"], "busy");
    let trace = floor.world.get(&floor.admin, &format!("/v1/contacts/{}/trace", floor.contact));
    assert!(trace.raw.body.contains("ContactTransferred"), "{:?}", trace.body);
}

#[test]
fn somebody_outside_is_asked_for_advice_where_the_tenant_may_call() {
    let mut floor = Floor::talking();
    let (agent, admin) = (floor.agent.clone(), floor.admin.clone());
    let settings = json!({"calls": {"country": "CN", "allowed": ["+86"]}});
    assert_eq!(floor.world.put(&admin, "/v1/settings", settings).status, 200);
    let ask = |number: &str| json!({"do": "consult", "to": {"number": number}});
    for refused in ["+4930123456", "110", "12345678"] {
        let (status, body) = floor.act(&agent, ask(refused));
        assert_eq!((status, body["errors"][0]["field"].as_str()), (400, Some("to.number")), "{body}");
    }
    let (status, body) = floor.act(&agent, ask("0755 8234 5678"));
    assert_eq!((status, &body["on_call"][1]["number"]), (200, &json!("+8675582345678")), "{body}");
    let offer = body["on_call"][1]["offer"].as_str().unwrap().parse().unwrap();
    floor.node(CallEvent::OfferAnswered { offer, dialog: None });
    let (status, body) = floor.act(&agent, json!({"do": "complete", "reason": "the lab knows"}));
    assert_eq!((status, &body["phase"], &body["transfers"]), (200, &json!("in_flow"), &json!(1)), "{body}");
    assert_eq!(floor.world.get(&agent, "/v1/agents/me").body["state"]["state"], "wrap_up");
}

#[test]
fn transfers_name_what_is_wrong_and_the_caller_stays() {
    let floor = Floor::talking();
    let agent = &floor.agent;
    for (to, field) in [
        (json!({"queue": "nowhere"}), "to.queue"),
        (json!({"number": "12345"}), "to.number"),
        (json!({"number": "+19005550100"}), "to.number"),
        (json!({"number": DID}), "to.number"),
        (json!({"agent": "agt_00000000000000000000000042"}), "to.agent"),
    ] {
        let (status, body) = floor.act(agent, json!({"do": "transfer", "to": to}));
        assert_eq!((status, body["errors"][0]["field"].as_str()), (400, Some(field)), "{body}");
    }
    assert_eq!(floor.act(agent, json!({"do": "transfer", "to": "next_tier"})).1["code"], "no-next-tier");
    assert_eq!(floor.act(agent, json!({"do": "transfer"})).0, 400);
    let long = json!({"do": "transfer", "to": {"queue": "general"}, "reason": "x".repeat(501)});
    assert_eq!(floor.act(agent, long).1["errors"][0]["field"], "reason");
    assert_eq!(floor.state()["phase"], "talking");
    let moved = floor.act(agent, json!({"do": "transfer", "to": {"queue": "general"}, "reason": "billing"})).1;
    assert_eq!((&moved["phase"], &moved["queue"]), (&json!("waiting"), &json!("general")), "{moved}");
    let late = floor.act(agent, json!({"do": "hold"}));
    assert_eq!(late.0, 404, "it is not this agent's call any more: {late:?}");
}

#[test]
fn supervisors_listen_in_and_agents_do_not() {
    let mut floor = Floor::talking();
    let listen = json!({"do": "supervise", "mode": "listen"});
    assert_eq!(floor.act(&floor.agent, listen.clone()).0, 403);
    assert_eq!(floor.act(&floor.colleague, json!({"do": "hold"})).0, 404, "what is not theirs is not there");
    let boss = floor.boss.clone();
    assert_eq!(floor.act(&boss, listen.clone()).1["code"], "no-phone");
    sign_in(&floor.world, &boss);
    assert_eq!(floor.act(&boss, listen).0, 200);
    let offer = floor.leg(&boss).expect("rung");
    floor.node(CallEvent::OfferAnswered { offer, dialog: None });
    assert_eq!(floor.act(&boss, json!({"do": "supervise", "mode": "barge"})).0, 200);
    assert_eq!(floor.act(&boss, json!({"do": "leave"})).0, 200);
    assert_eq!(floor.leg(&boss), None);
    assert_eq!(floor.state()["phase"], "talking");
}

#[test]
fn waiting_contacts_are_taken_given_and_moved() {
    let floor = Floor::waiting();
    let pull = json!({"do": "pull", "reason": "I know them"});
    let (status, body) = floor.act(&floor.agent, pull.clone());
    assert_eq!((status, body["code"].as_str()), (409, Some("agent-not-available")), "{body}");
    let moved = floor.act(&floor.boss, json!({"do": "move", "queue": "general", "reason": "wrong menu"}));
    assert_eq!((moved.0, &moved.1["queue"]), (200, &json!("general")), "{moved:?}");
    assert_eq!(floor.act(&floor.boss, json!({"do": "move", "queue": "general"})).1["code"], "same-queue");
    assert_eq!(floor.act(&floor.boss, json!({"do": "take_back"})).1["code"], "not-offered");
    sign_in(&floor.world, &floor.agent);
    assert_eq!(floor.state()["phase"], "offered");
    let taken = floor.act(&floor.boss, json!({"do": "take_back", "reason": "lunch"})).1;
    assert_eq!(taken["phase"], "waiting", "{taken}");
    let given = floor.act(&floor.boss, json!({"do": "assign", "agent": floor.agent.agent()}));
    assert_eq!((given.0, &given.1["phase"]), (200, &json!("offered")), "{given:?}");
    assert_eq!(floor.act(&floor.agent, json!({"do": "assign", "agent": floor.agent.agent()})).0, 403);
}

#[test]
fn call_backs_are_asked_for_refused_and_bounded() {
    let floor = Floor::waiting();
    let ask = |number: &str, did: &str, queue: &str| {
        let body = json!({"number": number, "queue": queue, "did": did, "name": "Li"});
        floor.world.post(&floor.agent, "/v1/callbacks", body)
    };
    for (number, did, queue, field) in [
        ("13800138000", DID, "technical", "number"),
        ("+97912345678", DID, "technical", "number"),
        (DID, DID, "technical", "number"),
        ("+8613900139000", "+861000000000", "technical", "did"),
        ("+8613900139000", DID, "nowhere", "queue"),
    ] {
        let refused = ask(number, did, queue);
        assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (400, &json!(field)), "{refused:?}");
    }
    let made = ask("+86 139-0013-9000", DID, "technical");
    assert_eq!((made.status, &made.body["phase"], &made.body["is_callback"]), (202, &json!("waiting"), &json!(true)));
    let id: ContactId = made.body["contact"].as_str().unwrap().parse().unwrap();
    let state = block_on(contacts::get(&floor.world.service, floor.admin.tenant, id)).unwrap().unwrap();
    assert_eq!(state.from.expose(), "+8613900139000", "in its one form");
    assert_eq!(ask("+8613900139000", DID, "technical").status, 202);
    let third = ask("+8613900139000", DID, "technical");
    assert_eq!((third.status, &third.body["code"]), (409, &json!("callback-limit")), "{third:?}");
    let open = |tenant: TenantId| {
        let partition = CALLBACKS_PARTITION;
        let range = Range { tenant, partition, from: None, below: None, limit: 10, descending: false };
        block_on(floor.world.service.ports.store.rows(range)).unwrap().len()
    };
    assert_eq!(open(floor.admin.tenant), 2);
    assert_eq!(floor.world.post(&floor.boss, &format!("/v1/contacts/{id}/end"), Value::Null).status, 202);
    assert_eq!(open(floor.admin.tenant), 1, "one that is ended is not open");
}
