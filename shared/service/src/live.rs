//! Live connections of consoles, and what is pushed to them.

use hotline_base::{AgentId, IndexRow, TenantId, UserId};
use hotline_ports::{Fault, Range};
use hotline_wire::api::Role;
use hotline_wire::push::PushEvent;
use serde::{Deserialize, Serialize};

use crate::{Service, ServiceError};

const CONNECTIONS: &str = "ws";
/// Connections of one tenant that are pushed to.
const MAX_CONNECTIONS: usize = 2_000;
/// A connection lives no longer, milliseconds (the gateway's own limit is two hours).
const LIFE_MS: i64 = 7_200_000;

/// A console's connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The gateway's name for it.
    pub connection: String,
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
}

/// Who hears an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// One agent (an agent's id has the bits of the user's id), supervisors and administrators.
    AgentAndSupervisors(AgentId),
    /// Supervisors and administrators.
    Supervisors,
    /// Everybody of the tenant.
    Everybody,
}

fn home(connection: &str) -> String {
    format!("ws-home/{}", connection.bytes().map(u32::from).sum::<u32>() % 64)
}

fn sort(connection: &Connection) -> String {
    format!("{}/{}", connection.user, connection.connection)
}

fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::permanent("push", error))
}

/// Remembers a connection.
///
/// # Errors
/// A fault of the store.
pub async fn connect(service: &Service, tenant: TenantId, connection: &Connection) -> Result<(), ServiceError> {
    let expires = Some(service.now().plus_ms(LIFE_MS));
    let row = IndexRow { partition: CONNECTIONS.into(), sort: sort(connection), body: json(connection)? };
    service.ports.store.put_row(tenant, row, expires).await?;
    let row = IndexRow {
        partition: home(&connection.connection),
        sort: connection.connection.clone(),
        body: json(&(tenant, connection))?,
    };
    Ok(service.ports.store.put_row(TenantId::PLATFORM, row, expires).await?)
}

/// Whose connection this is; `None` where it is not known.
///
/// # Errors
/// A fault of the store.
pub async fn whose(service: &Service, connection: &str) -> Result<Option<(TenantId, Connection)>, ServiceError> {
    let partition = home(connection);
    let range = Range {
        tenant: TenantId::PLATFORM,
        partition: &partition,
        from: Some(connection),
        below: None,
        limit: 1,
        descending: false,
    };
    let rows = service.ports.store.rows(range).await?;
    let row = rows.first().filter(|row| row.sort == connection);
    Ok(row.and_then(|row| serde_json::from_str(&row.body).ok()))
}

/// Forgets a connection; gives whose it was.
///
/// # Errors
/// A fault of the store.
pub async fn disconnect(service: &Service, connection: &str) -> Result<Option<(TenantId, Connection)>, ServiceError> {
    let found = whose(service, connection).await?;
    if let Some((tenant, connection)) = &found {
        let store = &service.ports.store;
        store.delete_row(*tenant, CONNECTIONS, &sort(connection)).await?;
        let partition = home(&connection.connection);
        store.delete_row(TenantId::PLATFORM, &partition, &connection.connection).await?;
    }
    Ok(found)
}

/// Sends to all connections of an audience; gone ones are forgotten. A push that fails is lost:
/// consoles read again after a gap.
///
/// # Errors
/// A fault of the store.
pub async fn push(
    service: &Service,
    tenant: TenantId,
    audience: Audience,
    event: &PushEvent,
) -> Result<(), ServiceError> {
    let range =
        Range { tenant, partition: CONNECTIONS, from: None, below: None, limit: MAX_CONNECTIONS, descending: false };
    let body = json(event)?;
    for row in service.ports.store.rows(range).await? {
        let Ok(to) = serde_json::from_str::<Connection>(&row.body) else {
            continue;
        };
        let supervises = matches!(to.role, Role::Supervisor | Role::Admin);
        let wanted = match audience {
            Audience::AgentAndSupervisors(agent) => supervises || agent.as_u128() == to.user.as_u128(),
            Audience::Supervisors => supervises,
            Audience::Everybody => true,
        };
        if !wanted {
            continue;
        }
        match service.ports.push.push(&to.connection, &body).await {
            Ok(true) => {}
            Ok(false) => {
                disconnect(service, &to.connection).await?;
            }
            Err(fault) => tracing::warn!(%fault, "push failed"),
        }
    }
    Ok(())
}
