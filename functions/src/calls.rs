//! What media nodes ask by direct invoke.

use hotline_service::{Service, directory as users, ivr as decide};
use hotline_wire::node::{CallInput, DirectoryInput};
use serde_json::Value;

use crate::failure::Failure;

/// Decides about a call.
pub async fn ivr(service: &Service, payload: Value, request: &str) -> Result<Value, Failure> {
    let event = payload.pointer("/event/type").and_then(Value::as_str).unwrap_or_default().to_string();
    let input: CallInput = serde_json::from_value(payload).map_err(|e| Failure::event("a call's input", e))?;
    let (contact, node, seq) = (input.contact, input.node, input.seq);
    match decide::handle(service, input).await {
        Ok(decision) => {
            let tenant = decision.tenant;
            let scripted = decision.script.is_some();
            tracing::info!(%tenant, %contact, %node, seq, event, label = decision.label, scripted, request, "decided");
            serde_json::to_value(decision).map_err(Failure::transient)
        }
        Err(error) => {
            tracing::error!(%contact, %node, seq, event, request, %error, "no decision");
            Err(error.into())
        }
    }
}

/// Answers about SIP users; notes phones and nodes.
pub async fn directory(service: &Service, payload: Value, request: &str) -> Result<Value, Failure> {
    let input: DirectoryInput =
        serde_json::from_value(payload).map_err(|e| Failure::event("a question to the directory", e))?;
    match &input {
        DirectoryInput::Registered { tenant, agent, node, expires } => {
            let here = expires.is_some();
            tracing::info!(%tenant, %agent, %node, here, request, "phone");
        }
        DirectoryInput::StillRegistered { tenant, agent, node, .. } => {
            tracing::info!(%tenant, %agent, %node, request, "phone told again");
        }
        DirectoryInput::NodeAlive { node, calls, draining, .. } => {
            tracing::debug!(%node, calls, draining, request, "node alive");
        }
        DirectoryInput::Lookup { .. } => tracing::debug!(request, "lookup"),
    }
    match users::handle(service, input).await {
        Ok(output) => serde_json::to_value(output).map_err(Failure::transient),
        Err(error) => {
            tracing::error!(request, %error, "the directory does not answer");
            Err(error.into())
        }
    }
}
