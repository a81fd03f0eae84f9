//! Agents: profiles, presence, states, offers; then matching, which their effects ask for.

use hotline_base::{AgentId, InputId, Name, NodeId, OfferId, TenantId, Timestamp};
use hotline_contact::{ContactMachine, Event};
use hotline_ports::Range;
use hotline_ports::runner::{self, Attempts, derived_input};
use hotline_routing::agent::{
    AGENTS_SHARDS, AgentListing, AgentProfile, Requested, agents_partition, staffed_partition,
};
use hotline_routing::{Agent, AgentInput, AgentMachine, WaitingEntry};

use crate::{Effects, Service, ServiceError, agent_key, contact_key, contacts, lists};

/// Waiting contacts told at once that a queue's last agent left.
const MAX_TOLD: usize = 200;

/// Steps an agent's machine and carries out what follows.
///
/// # Errors
/// A refusal of the machine (its code is stable), or a fault.
pub async fn apply(
    service: &Service,
    tenant: TenantId,
    agent: AgentId,
    id: InputId,
    input: &AgentInput,
) -> Result<Agent, ServiceError> {
    let key = agent_key(tenant, agent);
    let done = runner::apply::<AgentMachine>(&service.ports, &Effects(service), &key, id, input).await?;
    Ok(done.into_state())
}

async fn once(service: &Service, tenant: TenantId, agent: AgentId, input: AgentInput) -> Result<Agent, ServiceError> {
    apply(service, tenant, agent, service.fresh_input(), &input).await
}

/// An agent; `None` where there is none.
///
/// # Errors
/// A fault of the store.
pub async fn get(service: &Service, tenant: TenantId, agent: AgentId) -> Result<Option<Agent>, ServiceError> {
    let mut unit = Attempts::new(&service.ports).unit();
    Ok(unit.state::<AgentMachine>(&agent_key(tenant, agent)).await?)
}

/// Agents by id, after `after`, at most `limit`.
///
/// # Errors
/// A fault of the store.
pub async fn list(
    service: &Service,
    tenant: TenantId,
    after: Option<AgentId>,
    limit: usize,
) -> Result<Vec<AgentListing>, ServiceError> {
    let from = after.map(|agent| format!("{agent}\u{1}"));
    let range =
        Range { tenant, partition: agents_partition(), from: from.as_deref(), below: None, limit, descending: false };
    let rows = lists::rows(service, AGENTS_SHARDS, range).await?;
    Ok(rows.iter().filter_map(|row| serde_json::from_str(&row.body).ok()).collect())
}

/// Makes or changes an agent.
///
/// # Errors
/// A refusal naming what is wrong with the profile, or a fault.
pub async fn configure(service: &Service, tenant: TenantId, profile: AgentProfile) -> Result<Agent, ServiceError> {
    once(service, tenant, profile.agent, AgentInput::Configure { profile }).await
}

/// Asks for a state; during an offer or a call it takes effect at its end.
///
/// # Errors
/// Such as a refusal of Available without a registered phone.
pub async fn request_state(
    service: &Service,
    tenant: TenantId,
    agent: AgentId,
    to: Requested,
) -> Result<Agent, ServiceError> {
    once(service, tenant, agent, AgentInput::RequestState { to }).await
}

/// A console is open.
///
/// # Errors
/// A refusal or a fault.
pub async fn heartbeat(
    service: &Service,
    tenant: TenantId,
    agent: AgentId,
    console: String,
) -> Result<Agent, ServiceError> {
    once(service, tenant, agent, AgentInput::Heartbeat { console }).await
}

/// A console is open and says whether its microphone can be used.
///
/// # Errors
/// A refusal or a fault.
pub async fn heard(
    service: &Service,
    tenant: TenantId,
    agent: AgentId,
    console: String,
    microphone: Option<bool>,
) -> Result<Agent, ServiceError> {
    let after = heartbeat(service, tenant, agent, console.clone()).await?;
    match microphone {
        Some(works) if after.microphones.get(&console) != Some(&works) => {
            once(service, tenant, agent, AgentInput::Microphone { console, works }).await
        }
        _ => Ok(after),
    }
}

/// A console was closed.
///
/// # Errors
/// A refusal or a fault.
pub async fn close_console(
    service: &Service,
    tenant: TenantId,
    agent: AgentId,
    console: String,
) -> Result<Agent, ServiceError> {
    once(service, tenant, agent, AgentInput::CloseConsole { console }).await
}

/// The agent refuses an offer on the console.
///
/// # Errors
/// A refusal or a fault.
pub async fn decline(
    service: &Service,
    tenant: TenantId,
    agent: AgentId,
    offer: OfferId,
) -> Result<Agent, ServiceError> {
    once(service, tenant, agent, AgentInput::DeclineOffer { offer }).await
}

/// Lengthens wrap-up.
///
/// # Errors
/// A refusal or a fault.
pub async fn extend_wrap_up(
    service: &Service,
    tenant: TenantId,
    agent: AgentId,
    by_ms: u32,
) -> Result<Agent, ServiceError> {
    once(service, tenant, agent, AgentInput::ExtendWrapUp { by_ms }).await
}

/// Ends wrap-up now.
///
/// # Errors
/// A refusal or a fault.
pub async fn end_wrap_up(service: &Service, tenant: TenantId, agent: AgentId) -> Result<Agent, ServiceError> {
    once(service, tenant, agent, AgentInput::EndWrapUp).await
}

/// A phone registered, refreshed or left.
///
/// # Errors
/// A refusal or a fault.
pub async fn phone(
    service: &Service,
    tenant: TenantId,
    agent: AgentId,
    node: NodeId,
    expires: Option<Timestamp>,
) -> Result<Agent, ServiceError> {
    let input = match expires {
        Some(expires) => AgentInput::PhoneRegistered { node, expires },
        None => AgentInput::PhoneLeft { node },
    };
    once(service, tenant, agent, input).await
}

/// A phone that registered before is still there: it counts where none is registered elsewhere.
///
/// # Errors
/// A refusal or a fault.
pub async fn phone_stays(
    service: &Service,
    tenant: TenantId,
    agent: AgentId,
    node: NodeId,
    expires: Timestamp,
) -> Result<Agent, ServiceError> {
    once(service, tenant, agent, AgentInput::PhoneStays { node, expires }).await
}

/// Where the last agent of a queue has gone, contacts whose flow wants to know are told.
///
/// # Errors
/// A fault of the store; told again, nothing happens twice.
pub(crate) async fn tell_if_unstaffed(
    service: &Service,
    tenant: TenantId,
    queues: &[Name],
    cause: &str,
) -> Result<(), ServiceError> {
    for queue in queues {
        let staffed = staffed_partition(queue);
        if !service.ports.store.rows(head(tenant, &staffed, 1)).await?.is_empty() {
            continue;
        }
        for row in lists::waiting(service, tenant, queue, MAX_TOLD).await? {
            let Ok(entry) = WaitingEntry::from_row(&row) else {
                continue;
            };
            let mut unit = Attempts::new(&service.ports).unit();
            let key = contact_key(tenant, entry.contact);
            if unit.state::<ContactMachine>(&key).await?.is_none() {
                continue;
            }
            let id = derived_input(&["unstaffed", cause, queue.as_str()]);
            let event = Event::NobodyStaffed { queue: queue.clone() };
            contacts::step(service, tenant, entry.contact, id, event, None).await?;
        }
    }
    Ok(())
}

fn head(tenant: TenantId, partition: &str, limit: usize) -> Range<'_> {
    Range { tenant, partition, from: None, below: None, limit, descending: false }
}
