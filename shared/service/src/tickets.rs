//! Tickets through the runner, with the tenant's promises.

use hotline_base::{InputId, TenantId, TicketId};
use hotline_ports::runner::{self, Attempts};
use hotline_sla::{Basis, Calendar, Policy};
use hotline_ticket::{Action, Actor, Terms, Ticket, TicketInput, TicketMachine};

use crate::config::{self, DEFAULT_POLICY, Kind};
use crate::{Effects, Service, ServiceError, ticket_key};

/// The promises that a new ticket of this tenant follows, with the calendar they count by.
///
/// # Errors
/// Faults of the store.
pub async fn terms(service: &Service, tenant: TenantId) -> Result<Terms, ServiceError> {
    let policy: Option<Policy> = config::cached(service, tenant, Kind::POLICY, DEFAULT_POLICY).await?;
    let policy = policy.unwrap_or_else(|| Policy::standard(None));
    with_calendar(service, tenant, policy).await
}

async fn with_calendar(service: &Service, tenant: TenantId, policy: Policy) -> Result<Terms, ServiceError> {
    let calendar: Option<Calendar> = match &policy.counts {
        Basis::AllTime => None,
        Basis::Business { calendar } => config::cached(service, tenant, Kind::CALENDAR, calendar.as_str()).await?,
    };
    Ok(Terms { policy, calendar })
}

/// The promises that a ticket was opened under, with the calendar as it is now.
///
/// # Errors
/// Faults of the store.
pub async fn terms_of(service: &Service, tenant: TenantId, ticket: &Ticket) -> Result<Terms, ServiceError> {
    with_calendar(service, tenant, ticket.policy.clone()).await
}

/// A ticket; `None` where there is none.
///
/// # Errors
/// A fault of the store.
pub async fn get(service: &Service, tenant: TenantId, ticket: TicketId) -> Result<Option<Ticket>, ServiceError> {
    let mut unit = Attempts::new(&service.ports).unit();
    Ok(unit.state::<TicketMachine>(&ticket_key(tenant, ticket)).await?)
}

/// Somebody does something to a ticket, once per input id.
///
/// # Errors
/// A refusal of the machine, or a fault.
pub async fn act(
    service: &Service,
    tenant: TenantId,
    ticket: TicketId,
    id: InputId,
    by: Actor,
    action: Action,
) -> Result<Ticket, ServiceError> {
    action.validate()?;
    let terms = match get(service, tenant, ticket).await? {
        Some(ticket) => terms_of(service, tenant, &ticket).await?,
        None => terms(service, tenant).await?,
    };
    let input = TicketInput::act(by, terms, action);
    let key = ticket_key(tenant, ticket);
    let sink = Effects(service);
    let done = runner::apply::<TicketMachine>(&service.ports, &sink, &key, id, &input).await?;
    Ok(done.into_state())
}
