//! Signing in, and the ticket for the WebSocket.

use hotline_wire::api::{Me, RefreshSession, Session, SignIn, WsTicket};
use hotline_wire::problem::Problem;
use serde_json::json;

use crate::call::Call;
use crate::reply::{Failure, Reply};
use crate::ws;

pub fn health() -> Result<Reply, Failure> {
    Reply::json(200, &json!({"status": "ok"}))
}

pub async fn sign_in(call: &Call<'_>) -> Result<Reply, Failure> {
    let body: SignIn = call.body()?;
    let name = body.name.expose().trim().to_lowercase();
    if name.is_empty() || name.len() > 120 || body.password.expose().len() > 200 {
        return Err(Problem::field("name", "write the e-mail address you sign in with, and its password").into());
    }
    let tokens = call.service.ports.identity.sign_in(&name, body.password.expose()).await?;
    session(tokens)
}

pub async fn refresh(call: &Call<'_>) -> Result<Reply, Failure> {
    let body: RefreshSession = call.body()?;
    let tokens = call.service.ports.identity.refresh(body.refresh_token.expose()).await?;
    session(tokens)
}

fn session(tokens: hotline_ports::Tokens) -> Result<Reply, Failure> {
    let session = Session {
        id_token: tokens.id_token.into(),
        refresh_token: tokens.refresh_token.map(Into::into),
        expires_in_s: tokens.expires_in_s,
    };
    Reply::json(200, &session)
}

pub fn me(call: &Call<'_>) -> Result<Reply, Failure> {
    let me = Me { user: call.who.user, tenant: call.who.tenant, role: call.who.role, agent: call.who.agent() };
    Reply::json(200, &me)
}

pub async fn ws_ticket(call: &Call<'_>) -> Result<Reply, Failure> {
    let (ticket, expires_at) = ws::ticket(call.service, &call.who).await?;
    let ticket = WsTicket { ticket: ticket.into(), expires_at: expires_at.as_millis() };
    Ok(Reply::json(201, &ticket)?.hiding(&["ticket"]))
}
