//! A hotline in memory with two tenants, spoken to through the API only.
#![allow(dead_code)]

use futures::executor::block_on;
use hotline_api::{ApiRequest, ApiResponse, Principal, handle};
use hotline_base::{TenantId, Timestamp, UserId};
use hotline_ports::memory::Memory;
use hotline_service::Service;
use hotline_wire::api::Role;
use serde_json::{Value, json};

pub struct World {
    pub memory: Memory,
    pub service: Service,
}

/// An answer with its body read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub raw: ApiResponse,
}

impl World {
    pub fn new() -> Self {
        let memory = Memory::new(Timestamp::from_millis(1_795_168_800_000), 11);
        let service = Service::new(memory.ports());
        Self { memory, service }
    }

    /// With the tenants `demo` and `other`, their administrators and the queue `technical` in each.
    pub fn with_tenants() -> (Self, Principal, Principal) {
        let world = Self::new();
        let demo = world.tenant("demo");
        let other = world.tenant("other");
        for admin in [&demo, &other] {
            let made = world.put(admin, "/v1/queues/technical", json!({}));
            assert_eq!(made.status, 200, "{made:?}");
        }
        (world, demo, other)
    }

    pub fn operator() -> Principal {
        Principal { tenant: TenantId::PLATFORM, role: Role::Operator, user: UserId::from_u128(99) }
    }

    /// Creates a tenant; its administrator.
    pub fn tenant(&self, slug: &str) -> Principal {
        let body = json!({"slug": slug, "display_name": slug, "admin": {
            "name": format!("admin@{slug}.example.com"), "display_name": "Admin", "password": "Correct-Horse-9"}});
        let made = self.post(&Self::operator(), "/v1/tenants", body);
        assert_eq!(made.status, 201, "{made:?}");
        principal(&made.body["tenant"]["id"], &made.body["admin"]["user"]["id"], Role::Admin)
    }

    /// Adds a person; who they are.
    pub fn user(&self, admin: &Principal, name: &str, role: Role) -> Principal {
        let body = json!({"name": format!("{name}@{}.example.com", admin.tenant), "display_name": name, "role": role, "sip_name": name});
        let made = self.post(admin, "/v1/users", body);
        assert_eq!(made.status, 201, "{made:?}");
        principal(&json!(admin.tenant), &made.body["user"]["id"], role)
    }

    pub fn send(&self, who: Option<&Principal>, request: ApiRequest) -> Answer {
        let raw = block_on(handle(&self.service, who.cloned(), request));
        let body = serde_json::from_str(&raw.body).unwrap_or(Value::Null);
        Answer { status: raw.status, body, raw }
    }

    pub fn get(&self, who: &Principal, path: &str) -> Answer {
        self.send(Some(who), request("GET", path, Value::Null))
    }

    pub fn post(&self, who: &Principal, path: &str, body: Value) -> Answer {
        self.send(Some(who), request("POST", path, body))
    }

    pub fn put(&self, who: &Principal, path: &str, body: Value) -> Answer {
        self.send(Some(who), request("PUT", path, body))
    }
}

pub fn request(method: &str, path: &str, body: Value) -> ApiRequest {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    ApiRequest {
        method: method.into(),
        path: path.into(),
        query: query.split('&').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect(),
        headers: Default::default(),
        body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
    }
}

pub fn with(mut request: ApiRequest, header: &str, value: &str) -> ApiRequest {
    request.headers.insert(header.into(), value.into());
    request
}

fn principal(tenant: &Value, user: &Value, role: Role) -> Principal {
    Principal { tenant: tenant.as_str().unwrap().parse().unwrap(), role, user: user.as_str().unwrap().parse().unwrap() }
}

/// A flow of one queue.
pub const FLOW: &str = "flow: main
languages: [en]
start: wait
prompts:
  bye: {en: Goodbye.}
steps:
  wait:
    queue: technical
    max_wait: 5m
    on_max_wait: bye
    then: bye
  bye:
    hangup: bye
";

impl World {
    /// A contact that waits in the tenant's queue `technical`; its id.
    pub fn contact(&self, admin: &Principal, slug: &str, did: &str) -> hotline_base::ContactId {
        let published = self.post(admin, "/v1/flows/main/versions", json!({"text": FLOW}));
        assert_eq!(published.status, 201, "{published:?}");
        let number = did.replace('+', "%2B");
        let set = self.put(&Self::operator(), &format!("/v1/dids/{number}"), json!({"tenant": slug, "flow": "main"}));
        assert_eq!(set.status, 200, "{set:?}");
        let contact = hotline_base::ContactId::new(self.memory.ports().world.now(), 5);
        let input = hotline_wire::node::CallInput {
            contact,
            tenant: None,
            node: hotline_base::NodeId::from_u128(1),
            seq: 1,
            at: self.memory.ports().world.now(),
            event: hotline_wire::node::CallEvent::Arrived {
                did: did.into(),
                from: "+8613800138000".to_string().into(),
                display_name: String::new().into(),
                sip_call_id: "x".into(),
                dialog: None,
                diverted: None,
            },
        };
        block_on(hotline_service::ivr::handle(&self.service, input)).unwrap();
        contact
    }
}
