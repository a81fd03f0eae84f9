//! The WebSocket: a console connects with a one-time ticket, then hears events and sends
//! heartbeats. Browsers cannot send an `Authorization` header here, and a token in a URL would
//! reach logs; the ticket is worthless after its first use.

use hotline_base::{IndexRow, TenantId, Timestamp};
use hotline_ports::Range;
use hotline_service::live::{self, Connection};
use hotline_service::{Service, ServiceError, agents};
use hotline_wire::api::Role;
use hotline_wire::problem::{ErrorKind, Problem};
use hotline_wire::push::{ConsoleMessage, PushEvent};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Principal;
use crate::reply::Failure;

/// How long a ticket is good, milliseconds.
const TICKET_MS: i64 = 60_000;
/// Bytes of a console's message.
const MESSAGE_BYTES: usize = 4_096;

#[derive(Serialize, Deserialize)]
struct Ticket {
    tenant: TenantId,
    user: hotline_base::UserId,
    role: Role,
    until: Timestamp,
}

fn place(hash: &str) -> String {
    format!("ws-tickets/{}", hash.get(..2).unwrap_or("00"))
}

/// Makes a ticket; it is stored as its hash only.
pub(crate) async fn ticket(service: &Service, who: &Principal) -> Result<(String, Timestamp), Failure> {
    let world = &service.ports.world;
    let text = format!("{:032x}{:032x}", world.random(), world.random());
    let hash = hex::encode(Sha256::digest(&text));
    let until = world.now().plus_ms(TICKET_MS);
    let ticket = Ticket { tenant: who.tenant, user: who.user, role: who.role, until };
    let row = IndexRow { partition: place(&hash), sort: hash, body: serde_json::to_string(&ticket)? };
    service.ports.store.put_row(TenantId::PLATFORM, row, Some(until)).await?;
    Ok((text, until))
}

/// A console connects with a ticket.
///
/// # Errors
/// A problem whose status the shell gives back: 401 for a ticket that is unknown, used or over.
pub async fn connect(service: &Service, connection: &str, ticket: &str) -> Result<(), Box<Problem>> {
    redeem(service, connection, ticket).await.map_err(|failure| {
        if let Some(cause) = &failure.cause {
            tracing::error!(cause, "a console could not connect");
        }
        failure.problem
    })
}

async fn redeem(service: &Service, connection: &str, ticket: &str) -> Result<(), Failure> {
    let refused = || {
        let detail = "this ticket is unknown, used or over; get one with POST /v1/ws-tickets and connect with ?ticket=";
        Failure::from(Problem::new(ErrorKind::Unauthenticated, "ws-ticket-refused", detail))
    };
    if ticket.len() != 64 {
        return Err(refused());
    }
    let hash = hex::encode(Sha256::digest(ticket));
    let partition = place(&hash);
    let range = Range {
        tenant: TenantId::PLATFORM,
        partition: &partition,
        from: Some(&hash),
        below: None,
        limit: 1,
        descending: false,
    };
    let store = &service.ports.store;
    let rows = store.rows(range).await?;
    let row = rows.into_iter().find(|row| row.sort == hash).ok_or_else(refused)?;
    let ticket: Ticket = serde_json::from_str(&row.body)?;
    // Of two consoles with the same ticket one writes this row.
    let used = IndexRow { partition: format!("used-{partition}"), sort: hash.clone(), body: "{}".into() };
    let first = store.put_row_new(TenantId::PLATFORM, used, Some(ticket.until.plus_ms(TICKET_MS))).await?;
    if !first || ticket.until < service.now() {
        return Err(refused());
    }
    store.delete_row(TenantId::PLATFORM, &partition, &hash).await?;
    let connection = Connection { connection: connection.into(), user: ticket.user, role: ticket.role };
    Ok(live::connect(service, ticket.tenant, &connection).await?)
}

/// A console's name for the agent's presence.
fn console(connection: &str) -> String {
    connection.chars().take(64).collect()
}

fn is_agent(role: Role) -> bool {
    matches!(role, Role::Agent | Role::Supervisor)
}

/// A console went away; its part in the agent's presence ends.
///
/// # Errors
/// Faults of the store.
pub async fn disconnect(service: &Service, connection: &str) -> Result<(), ServiceError> {
    let Some((tenant, whose)) = live::disconnect(service, connection).await? else { return Ok(()) };
    if is_agent(whose.role) {
        let agent = hotline_base::AgentId::from_u128(whose.user.as_u128());
        match agents::close_console(service, tenant, agent, console(connection)).await {
            Err(ServiceError::Reject(_)) | Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A console said something; the answer goes back on the same connection.
///
/// # Errors
/// Faults of the store or of the push.
pub async fn message(service: &Service, connection: &str, text: &str) -> Result<(), ServiceError> {
    let Some((tenant, whose)) = live::whose(service, connection).await? else {
        // The gateway closes what nobody knows.
        return Ok(());
    };
    let answer = match understand(text) {
        Ok(ConsoleMessage::Heartbeat { microphone }) => {
            if is_agent(whose.role) {
                let agent = hotline_base::AgentId::from_u128(whose.user.as_u128());
                match agents::heard(service, tenant, agent, console(connection), microphone).await {
                    Err(ServiceError::Reject(reject)) => tracing::info!(%reject, "heartbeat refused"),
                    other => drop(other?),
                }
            }
            PushEvent::Alive { at: service.now() }
        }
        Err(detail) => PushEvent::Misunderstood { detail },
    };
    let body = serde_json::to_string(&answer).map_err(|e| hotline_ports::Fault::permanent("push", e))?;
    if !service.ports.push.push(connection, &body).await? {
        disconnect(service, connection).await?;
    }
    Ok(())
}

fn understand(text: &str) -> Result<ConsoleMessage, String> {
    if text.len() > MESSAGE_BYTES {
        return Err(format!("longer than {MESSAGE_BYTES} bytes"));
    }
    serde_json::from_str(text).map_err(|e| format!("{e}; send {{\"type\":\"heartbeat\"}} every 20 s"))
}
