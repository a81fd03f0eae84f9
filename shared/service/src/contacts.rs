//! Steps of contacts: the setting is put together, the step committed, its effects carried out.

use hotline_base::{ContactId, IndexRow, InputId, Machine, Reject, TenantId};
use hotline_contact::{
    Contact, ContactFact, ContactInput, ContactMachine, Event, FlowPin, TIMER_ANNOUNCE, TIMER_OVERFLOW,
};
use hotline_ports::runner::{Attempts, Outcome};
use hotline_ports::{FactRow, Range};
use hotline_wire::node::CallEvent;
use std::sync::Arc;

use crate::{Effects, Service, ServiceError, contact_key, nodes, setting, views};

/// What a step did.
pub(crate) struct Stepped {
    /// The contact after it.
    pub(crate) contact: Contact,
    /// An effect was carried out meanwhile that may have changed the contact again.
    pub(crate) moved_on: bool,
}

/// A contact; `None` where there is none.
///
/// # Errors
/// A fault of the store.
pub async fn get(service: &Service, tenant: TenantId, contact: ContactId) -> Result<Option<Contact>, ServiceError> {
    let mut unit = Attempts::new(&service.ports).unit();
    Ok(unit.state::<ContactMachine>(&contact_key(tenant, contact)).await?)
}

/// A contact's history from its start, at most `limit` facts after `after`.
///
/// # Errors
/// A fault of the store.
pub async fn trace(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    after: Option<(u64, u32)>,
    limit: usize,
) -> Result<Vec<FactRow>, ServiceError> {
    Ok(service.ports.store.facts(&contact_key(tenant, contact), after, limit).await?)
}

/// Lists contacts by time of arrival, newest first, below `below` (the sort key of the last row
/// of the page before); in `partition`: `hotline_contact::CONTACTS_PARTITION` or one of a party.
///
/// # Errors
/// A fault of the store.
pub async fn list(
    service: &Service,
    tenant: TenantId,
    partition: &str,
    below: Option<&str>,
    limit: usize,
) -> Result<Vec<IndexRow>, ServiceError> {
    let range = Range { tenant, partition, from: None, below, limit, descending: true };
    Ok(service.ports.store.rows(range).await?)
}

/// Ends a call on a supervisor's behalf.
///
/// # Errors
/// `unknown-contact`; faults of the store.
pub async fn end(service: &Service, tenant: TenantId, contact: ContactId) -> Result<(), ServiceError> {
    step(service, tenant, contact, service.fresh_input(), Event::End, None).await?;
    Ok(())
}

/// One step of a contact. `arriving`: the flow that a new contact starts with.
///
/// # Errors
/// A refusal of the machine; faults after bounded retries.
pub(crate) async fn step(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    id: InputId,
    event: Event,
    arriving: Option<&FlowPin>,
) -> Result<Stepped, ServiceError> {
    let key = contact_key(tenant, contact);
    let mut attempts = Attempts::new(&service.ports);
    loop {
        let mut unit = attempts.unit();
        let state = unit.state::<ContactMachine>(&key).await?;
        let repeat = state.is_some() && unit.has_seen(&key, id).await?;
        let setting = if repeat {
            None
        } else {
            setting_for(service, tenant, state.as_ref(), &event, arriving, unit.now()).await?
        };
        let input = ContactInput { event: event.clone(), setting };
        let outcome = unit.step::<ContactMachine>(&key, id, &input).await?;
        if let (None, Outcome::Applied { state, .. }) = (&state, &outcome) {
            nodes::serves(service, state.node, tenant).await?;
            unit.put_row(TenantId::PLATFORM, home_row(state));
        }
        let Some(done) = attempts.commit(unit).await? else {
            continue;
        };
        let moved_on = done.outbox.iter().any(|row| {
            let effect = row.body.get("effect").and_then(|effect| effect.as_str());
            matches!(effect, Some("call_hook" | "ring_direct"))
        });
        done.finish(&service.ports, &Effects(service)).await;
        return Ok(Stepped { contact: outcome.into_state(), moved_on });
    }
}

/// Where a contact that names no tenant is found.
fn home_row(contact: &Contact) -> IndexRow {
    IndexRow { partition: home_partition(contact.id), sort: contact.id.to_string(), body: contact.tenant.to_string() }
}

/// The partition that tells a contact's tenant; many, so that no one is hot.
pub(crate) fn home_partition(contact: ContactId) -> String {
    format!("contact-home/{:02x}", contact.as_u128() & 0xff)
}

/// What a step needs to know. The step is tried without looking at queues first: it shows which
/// ones it would look at.
async fn setting_for(
    service: &Service,
    tenant: TenantId,
    state: Option<&Contact>,
    event: &Event,
    arriving: Option<&FlowPin>,
    now: hotline_base::Timestamp,
) -> Result<Option<Arc<hotline_contact::Setting>>, ServiceError> {
    let (pin, number) = match (state, arriving, event) {
        (Some(contact), _, _) if !contact.is_alive() => return Ok(None),
        (Some(contact), _, _) => (&contact.flow, contact.from.expose().as_str()),
        (None, Some(pin), Event::Node { event: CallEvent::Arrived { from, .. }, .. }) => (pin, from.expose().as_str()),
        _ => return Ok(None),
    };
    if !moves_flow(event) {
        return Ok(None);
    }
    let mut setting = setting::build(service, tenant, pin, number).await?;
    if let (Event::Timer { timer }, Some(contact)) = (event, state)
        && (timer == TIMER_ANNOUNCE || timer == TIMER_OVERFLOW)
        && let Some(queue) = views::waits_in(contact)
    {
        let needed = [queue.clone()].into();
        setting::add_views(service, tenant, state, number, &needed, &mut setting).await?;
        return Ok(Some(Arc::new(setting)));
    }
    // Each round may walk other branches and so ask for other queues; a flow has few.
    for _ in 0..8 {
        let input = ContactInput { event: event.clone(), setting: Some(Arc::new(setting.clone())) };
        let facts: Vec<ContactFact> = match ContactMachine::step(state, &input, now) {
            Ok(step) => step.facts,
            Err(Reject { .. }) => break,
        };
        let mut needed = setting::needed_views(&setting.flow, &facts);
        needed.retain(|queue| !setting.env.queues.contains_key(queue));
        if needed.is_empty() {
            break;
        }
        setting::add_views(service, tenant, None, number, &needed, &mut setting).await?;
    }
    Ok(Some(Arc::new(setting)))
}

/// Whether an event can move the flow on.
fn moves_flow(event: &Event) -> bool {
    match event {
        Event::Node { event, .. } => !matches!(
            event,
            CallEvent::OfferRinging { .. }
                | CallEvent::OfferAnswered { .. }
                | CallEvent::CallEnded { .. }
                | CallEvent::RecordingEnded { .. }
        ),
        Event::Offer { .. } | Event::RecordingComposed { .. } | Event::NodeLost { .. } | Event::End => false,
        Event::OfferReturned { .. }
        | Event::NobodyFree
        | Event::NobodyStaffed { .. }
        | Event::HookAnswered { .. }
        | Event::Timer { .. } => true,
    }
}
