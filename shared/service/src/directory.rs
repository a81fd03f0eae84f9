//! A node's questions about SIP users, and what it reports about phones and itself.

use hotline_base::{AgentId, Reject, TenantId};
use hotline_routing::Agent;
use hotline_wire::node::{DirectoryInput, DirectoryOutput};

use crate::config::{self, Kind, SipUser};
use crate::nodes::{self, Lease};
use crate::{Service, ServiceError, agents};

/// The answer about a phone.
fn noted(
    tenant: TenantId,
    agent: AgentId,
    stepped: Result<Agent, ServiceError>,
) -> Result<DirectoryOutput, ServiceError> {
    match stepped {
        Ok(_) => Ok(DirectoryOutput::Noted),
        // An agent who was removed since the node looked the account up.
        Err(ServiceError::Reject(Reject { code, .. })) => {
            tracing::info!(%tenant, %agent, code, "registration not noted");
            Ok(DirectoryOutput::Unknown)
        }
        Err(other) => Err(other),
    }
}

/// Answers a node.
///
/// # Errors
/// Faults of the store.
pub async fn handle(service: &Service, input: DirectoryInput) -> Result<DirectoryOutput, ServiceError> {
    match input {
        DirectoryInput::Lookup { sip_user } => {
            let found: Option<config::Document<SipUser>> =
                config::get(service, TenantId::PLATFORM, Kind::SIP_USER, &sip_user).await?;
            Ok(match found {
                Some(document) => DirectoryOutput::Account {
                    tenant: document.body.tenant,
                    agent: document.body.agent,
                    ha1_md5: document.body.ha1_md5.into(),
                    ha1_sha256: document.body.ha1_sha256.into(),
                },
                None => DirectoryOutput::Unknown,
            })
        }
        DirectoryInput::Registered { tenant, agent, node, expires } => {
            if expires.is_some() {
                nodes::serves(service, node, tenant).await?;
            }
            noted(tenant, agent, agents::phone(service, tenant, agent, node, expires).await)
        }
        DirectoryInput::StillRegistered { tenant, agent, node, expires } => {
            nodes::serves(service, node, tenant).await?;
            noted(tenant, agent, agents::phone_stays(service, tenant, agent, node, expires).await)
        }
        DirectoryInput::NodeAlive { node, sip_address, calls, draining, expires, started_at } => {
            let now = service.now();
            let expires = expires.min(now.plus_ms(nodes::MAX_LEASE_MS));
            let lease = Lease { node, sip_address, calls, draining, expires, started_at, tidied: false, seen_at: now };
            let (renewed, lapse) =
                futures::future::join(nodes::renew(service, lease), nodes::lapse(service, node, started_at)).await;
            renewed?;
            if let Err(error) = nodes::check_if_overdue(service).await {
                tracing::warn!(%error, "an overdue check of the leases failed; the next renewal repeats it");
            }
            Ok(lapse?.map_or(DirectoryOutput::Noted, |before| DirectoryOutput::TakenOver { before }))
        }
    }
}
