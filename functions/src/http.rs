//! API Gateway's HTTP events (payload format 2.0) to and from the API's own types.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hotline_api::{ApiRequest, ApiResponse, Principal};
use hotline_service::Service;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tracing::Instrument;

use crate::failure::Failure;

fn texts(object: Option<&Value>) -> BTreeMap<String, String> {
    let Some(object) = object.and_then(Value::as_object) else { return BTreeMap::new() };
    let pair = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_string()));
    object.iter().filter_map(pair).collect()
}

/// The request in an event.
fn request(event: &Value) -> Result<ApiRequest, Failure> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let body = text("/body");
    let encoded = event.get("isBase64Encoded").and_then(Value::as_bool).unwrap_or(false);
    let body = if encoded {
        STANDARD.decode(body).map_err(|e| Failure::event("a gateway's event", e))?
    } else {
        body.as_bytes().to_vec()
    };
    let headers = texts(event.get("headers"));
    Ok(ApiRequest {
        method: text("/requestContext/http/method").to_uppercase(),
        path: text("/rawPath").to_string(),
        query: texts(event.get("queryStringParameters")),
        headers: headers.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect(),
        body,
    })
}

/// Who the authorizer says it is; `None` on public routes and where a claim is missing.
fn principal(event: &Value) -> Option<Principal> {
    let claims = event.pointer("/requestContext/authorizer/jwt/claims")?;
    // An access token carries none of our claims and would be refused here; only the id token counts.
    Principal::from_claims(|name| claims.get(name).and_then(Value::as_str))
}

fn response(answer: ApiResponse) -> Value {
    let headers: Map<String, Value> = answer.headers.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
    json!({"statusCode": answer.status, "headers": headers, "body": answer.body, "isBase64Encoded": false})
}

/// Answers one request.
pub async fn handle(service: &Service, event: Value, id: &str) -> Result<Value, Failure> {
    let request = request(&event)?;
    if request.method == "OPTIONS" {
        // The gateway adds what the browser asked for.
        return Ok(json!({"statusCode": 204}));
    }
    let principal = principal(&event);
    let (tenant, user) = principal.as_ref().map(|p| (p.tenant.to_string(), p.user.to_string())).unzip();
    let span = tracing::info_span!("request", tenant, user, request = id);
    let answer = hotline_api::handle(service, principal, request).instrument(span).await;
    Ok(response(answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_wire::api::Role;

    fn event() -> Value {
        json!({
            "version": "2.0", "rawPath": "/v1/dids/%2B861", "headers": {"Idempotency-Key": "k"},
            "queryStringParameters": {"limit": "5"}, "body": "eyJhIjoxfQ==", "isBase64Encoded": true,
            "requestContext": {
                "http": {"method": "put", "path": "/v1/dids/%2B861"},
                "authorizer": {"jwt": {"claims": {
                    "custom:tenant": "ten_00000000000000000000000001", "custom:role": "admin",
                    "custom:user": "usr_00000000000000000000000002",
                }}},
            },
        })
    }

    #[test]
    fn an_event_becomes_a_request() {
        let request = request(&event()).unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/v1/dids/%2B861"));
        assert_eq!(request.header("idempotency-key"), Some("k"));
        assert_eq!(request.query["limit"], "5");
        assert_eq!(request.body, br#"{"a":1}"#);
    }

    #[test]
    fn who_comes_from_the_verified_claims_only() {
        let mut event = event();
        assert_eq!(principal(&event).unwrap().role, Role::Admin);
        event["headers"]["custom:role"] = json!("operator");
        assert_eq!(principal(&event).unwrap().role, Role::Admin);
        event["requestContext"]["authorizer"]["jwt"]["claims"]["custom:role"] = json!("owner");
        assert_eq!(principal(&event), None);
        event["requestContext"]["authorizer"] = Value::Null;
        assert_eq!(principal(&event), None);
    }
}
