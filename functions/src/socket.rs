//! API Gateway's WebSocket events: connect, messages, disconnect.

use hotline_api::ws;
use hotline_service::Service;
use serde_json::{Value, json};

use crate::failure::Failure;

/// Answers one event of a connection.
pub async fn handle(service: &Service, event: Value, id: &str) -> Result<Value, Failure> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let connection = text("/requestContext/connectionId");
    let kind = text("/requestContext/eventType");
    let status = match kind {
        "CONNECT" => match ws::connect(service, connection, text("/queryStringParameters/ticket")).await {
            Ok(()) => 200,
            // The gateway refuses the handshake with this status; a browser sees only that it failed.
            Err(problem) => problem.status,
        },
        "DISCONNECT" => ws::disconnect(service, connection).await.map(|()| 200)?,
        "MESSAGE" => ws::message(service, connection, text("/body")).await.map(|()| 200)?,
        other => return Err(Failure::event("a connection's event", other)),
    };
    tracing::info!(connection, kind, status, request = id, "console");
    Ok(json!({"statusCode": status}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_base::Timestamp;
    use hotline_ports::memory::Memory;

    #[tokio::test]
    async fn without_a_ticket_the_handshake_is_refused() {
        let service = Service::new(Memory::new(Timestamp::from_millis(1_795_000_000_000), 1).ports());
        let context = json!({"connectionId": "abc", "eventType": "CONNECT"});
        let answer = handle(&service, json!({"requestContext": context}), "r").await.unwrap();
        assert_eq!(answer, json!({"statusCode": 401}));
        let context = json!({"connectionId": "abc", "eventType": "DISCONNECT"});
        let answer = handle(&service, json!({"requestContext": context}), "r").await.unwrap();
        assert_eq!(answer, json!({"statusCode": 200}));
        assert!(handle(&service, json!({}), "r").await.is_err());
    }
}
