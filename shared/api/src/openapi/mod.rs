//! The OpenAPI document: made from the table of routes and the types of bodies.

mod documents;

use hotline_wire::api;
use hotline_wire::problem::{Problem, ProblemField};
use hotline_wire::push::{ConsoleMessage, OfferChange, PushEvent, QueueChange};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::{PartialSchema, ToSchema};

use crate::route::{Access, Body, Route, routes};

/// The document, as JSON with sorted keys.
pub fn document() -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in routes() {
        let path = paths.entry(route.path.into()).or_default();
        path.insert(route.method.to_lowercase(), operation(route));
    }
    sorted(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hotline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The API of a hotline. Lists come in pages (`cursor`, `limit`); writes take an `Idempotency-Key`, whose answer is given again for 24 hours; errors are problems (RFC 9457) with a stable `code` and all field errors at once; the tenant follows from the token.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }))
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn content(body: Body) -> Option<Value> {
    let json = |schema: Value| Some(json!({"application/json": {"schema": schema}}));
    let versioned = |schema: &str| {
        json!({
            "type": "object",
            "required": ["version", "doc"],
            "properties": {
                "version": {"type": "integer", "format": "int64", "description": "Counts up with each change; the etag."},
                "doc": reference(schema),
            },
        })
    };
    let page = |item: Value| {
        json!({
            "type": "object",
            "required": ["items"],
            "properties": {
                "items": {"type": "array", "items": item},
                "next": {"type": ["string", "null"], "description": "The `cursor` of the next page; null on the last."},
            },
        })
    };
    match body {
        Body::None => None,
        Body::Json(schema) => json(reference(schema)),
        Body::Page(schema) => json(page(reference(schema))),
        Body::Versioned(schema) => json(versioned(schema)),
        Body::Versions(schema) => json(page(versioned(schema))),
        Body::Wav => Some(json!({"audio/wav": {"schema": {"type": "string", "format": "binary"}}})),
        Body::Svg => Some(json!({"image/svg+xml": {"schema": {"type": "string"}}})),
    }
}

fn operation(route: &Route) -> Value {
    let mut parameters = Vec::new();
    let names = route.path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}'));
    for name in names {
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    }
    for (name, meaning) in route.query {
        parameters.push(json!({"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}));
    }
    if route.method != "GET" && route.access != Access::Public {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 200},
            "description": "The same key with the same request gives the same answer for 24 hours.",
        }));
    }
    if matches!(route.gives.1, Body::Versioned(_)) && route.method != "GET" || route.method == "PATCH" {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "schema": {"type": "string"},
            "description": "The etag that was read; 412 where it has changed since.",
        }));
    }
    let (status, gives) = route.gives;
    let mut success = json!({"description": "Done."});
    if let (Some(content), Some(map)) = (content(gives), success.as_object_mut()) {
        map.insert("content".into(), content);
    }
    let problem = json!({
        "description": "A problem.",
        "content": {"application/problem+json": {"schema": reference("Problem")}},
    });
    let roles: Vec<&str> = api::Role::ALL.iter().filter(|r| route.access.allows(**r)).map(|r| r.as_str()).collect();
    let tag = route.path.split('/').nth(2).unwrap_or("v1");
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [tag],
        "parameters": parameters,
        "responses": {status.to_string(): success, "default": problem},
        "x-roles": roles,
    });
    if let Some(map) = operation.as_object_mut() {
        if route.access == Access::Public {
            map.remove("x-roles");
            map.insert("security".into(), json!([]));
        } else {
            map.insert("security".into(), json!([{"token": []}]));
        }
        if let Some(content) = content(route.takes) {
            map.insert("requestBody".into(), json!({"required": true, "content": content}));
        }
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let text: String = format!("{:?}", route.op).chars().filter(char::is_ascii_alphanumeric).collect();
    let mut chars = text.chars();
    chars.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

/// Object keys in order, whatever map the JSON library was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<String, Value> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn schemas() -> Map<String, Value> {
    let mut all = Map::new();
    macro_rules! derived {
        ($($kind:ty),* $(,)?) => {$(
            all.insert(<$kind as ToSchema>::name().into_owned(), serde_json::to_value(<$kind as PartialSchema>::schema()).unwrap_or_default());
        )*};
    }
    derived!(
        Problem,
        ProblemField,
        PushEvent,
        OfferChange,
        QueueChange,
        ConsoleMessage,
        api::Role,
        api::SignIn,
        api::RefreshSession,
        api::Session,
        api::Me,
        api::NewTenant,
        api::NewAdmin,
        api::TenantCreated,
        api::TenantView,
        api::DidTarget,
        api::DidFlow,
        api::DidView,
        api::NewUser,
        api::UserChanges,
        api::UserView,
        api::UserCreated,
        api::SipAccount,
        api::StateRequest,
        api::Heartbeat,
        api::WrapUpRequest,
        api::OfferRef,
        api::CallTarget,
        api::SuperviseHow,
        api::ContactAction,
        api::CallbackRequest,
        api::FlowText,
        api::FlowVersionRef,
        api::WsTicket,
        api::RecordingLink,
    );
    for (name, schema) in documents::documents() {
        all.insert(name.into(), schema);
    }
    all
}
