//! The ticket desk: what people do to tickets, on the version that they saw.

use hotline_base::{InputId, Lang, Reject, TenantId, TicketId};
use hotline_ports::runner::Attempts;
use hotline_sla::{Clock, Explanation, explain};
use hotline_ticket::{Action, Actor, Ticket, TicketInput, TicketMachine};

use crate::{Effects, Service, ServiceError, ticket_key, tickets};

/// A ticket with its version; `None` where there is none.
///
/// # Errors
/// Faults of the store.
pub async fn get(service: &Service, tenant: TenantId, ticket: TicketId) -> Result<Option<(Ticket, u64)>, ServiceError> {
    let key = ticket_key(tenant, ticket);
    let mut unit = Attempts::new(&service.ports).unit();
    let state = unit.state::<TicketMachine>(&key).await?;
    let version = unit.version(&key).await?;
    Ok(state.map(|ticket| (ticket, version)))
}

/// Somebody does something to a ticket. `expected`: the version it must have. An `id` that was
/// applied before changes nothing.
///
/// # Errors
/// Every mistake in the action; `not-found`, `version-conflict`, what the machine refuses; faults.
pub async fn act(
    service: &Service,
    tenant: TenantId,
    ticket: TicketId,
    by: Actor,
    action: Action,
    expected: Option<u64>,
    id: InputId,
) -> Result<(Ticket, u64), ServiceError> {
    action.validate()?;
    let key = ticket_key(tenant, ticket);
    let mut attempts = Attempts::new(&service.ports);
    loop {
        let mut unit = attempts.unit();
        let version = unit.version(&key).await?;
        let repeat = version > 0 && unit.has_seen(&key, id).await?;
        if let Some(expected) = expected.filter(|&expected| !repeat && expected != version) {
            let message = format!("the ticket is at version {version}, not {expected}: read it again");
            return Err(Reject::new("version-conflict", message).into());
        }
        let terms = match unit.state::<TicketMachine>(&key).await? {
            Some(ticket) => tickets::terms_of(service, tenant, &ticket).await?,
            None if matches!(action, Action::Open(_)) => tickets::terms(service, tenant).await?,
            None => return Err(ServiceError::not_found("the ticket")),
        };
        let input = TicketInput::act(by, terms, action.clone());
        let outcome = unit.step::<TicketMachine>(&key, id, &input).await?;
        let changed = !unit.is_empty();
        let Some(done) = attempts.commit(unit).await? else {
            continue;
        };
        done.finish(&service.ports, &Effects(service)).await;
        return Ok((outcome.into_state(), version + u64::from(changed)));
    }
}

/// How a ticket's two deadlines came about: response, resolution.
///
/// # Errors
/// `not-found`; faults of the store.
pub async fn explanations(
    service: &Service,
    tenant: TenantId,
    ticket: TicketId,
    lang: Lang,
) -> Result<(Explanation, Explanation), ServiceError> {
    let found = tickets::get(service, tenant, ticket).await?;
    let ticket = found.ok_or_else(|| ServiceError::not_found("the ticket"))?;
    let terms = tickets::terms_of(service, tenant, &ticket).await?;
    let told = |clock: &Clock| explain(clock, terms.hours(), lang);
    Ok((told(&ticket.response), told(&ticket.resolution)))
}
