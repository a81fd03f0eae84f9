//! Steps of contacts: the setting is put together, the step committed, its effects carried out.

use hotline_base::{ContactId, IndexRow, InputId, Machine, NodeId, Reject, TenantId};
use hotline_contact::{
    CONTACTS_PARTITION, CONTACTS_SHARDS, CallbackView, Contact, ContactFact, ContactInput, ContactMachine, Event,
    FlowPin, PartyLeg, TIMER_ANNOUNCE, TIMER_OVERFLOW,
};
use hotline_ports::runner::{Attempts, Outcome};
use hotline_ports::{FactRow, Range};
use hotline_wire::node::CallEvent;
use std::sync::Arc;

use crate::{Effects, Service, ServiceError, callbacks, contact_key, floor, lists, nodes, setting, views};

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
    let parts = if partition == CONTACTS_PARTITION { CONTACTS_SHARDS } else { 1 };
    Ok(lists::rows(service, parts, range).await?)
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
        if let Outcome::Applied { state: after, .. } = &outcome {
            serves(service, state.as_ref(), after).await?;
            if state.is_none() && after.leg != PartyLeg::Absent {
                unit.put_row(TenantId::PLATFORM, home_row(after));
            }
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

/// Remembers whose contacts a node carries, so that its death is told to them.
pub(crate) async fn serves(service: &Service, before: Option<&Contact>, after: &Contact) -> Result<(), ServiceError> {
    let carried = |contact: &Contact| contact.node != NodeId::from_u128(0);
    if carried(after) && before.is_none_or(|before| before.node != after.node) {
        nodes::serves(service, after.node, after.tenant).await?;
    }
    Ok(())
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
pub(crate) async fn setting_for(
    service: &Service,
    tenant: TenantId,
    state: Option<&Contact>,
    event: &Event,
    arriving: Option<&FlowPin>,
    now: hotline_base::Timestamp,
) -> Result<Option<Arc<hotline_contact::Setting>>, ServiceError> {
    let pin = match (state, arriving, event) {
        (Some(contact), _, _) if !contact.is_alive() => return Ok(None),
        (Some(contact), _, _) => &contact.flow,
        (None, Some(pin), _) => pin,
        _ => return Ok(None),
    };
    let number = match (state, event) {
        (Some(contact), _) => contact.from.expose().as_str(),
        (None, Event::Node { event: CallEvent::Arrived { from, .. }, .. }) => from.expose().as_str(),
        (None, Event::CallBack(new)) => new.number.expose().as_str(),
        _ => return Ok(None),
    };
    if !moves_flow(event) && !dials(state, event) {
        return Ok(None);
    }
    let mut setting = setting::build(service, tenant, pin, number, &setting::queues_of(state, event)).await?;
    let order = match (state, event) {
        (_, Event::CallBack(new)) => Some(&new.order),
        (state, _) => state.and_then(|contact| contact.order.as_deref()),
    };
    if let Some(order) = order {
        let opens = callbacks::opens(service, tenant, &order.queue).await?;
        setting.callback = Some(CallbackView { refused: None, opens });
    }
    if let Event::Node { event: CallEvent::TransferAsked { target, .. }, .. } = event {
        setting.refer = floor::refer(service, tenant, state, target.expose(), &mut setting).await?;
    }
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
        let promised = facts.iter().find_map(|fact| match fact {
            ContactFact::CallbackRequested { number, lost_call: false, .. } => Some(number.clone()),
            _ => None,
        });
        let ask = promised.filter(|_| setting.callback.is_none());
        if let Some(number) = &ask {
            let refused = callbacks::refusal(service, tenant, number.expose()).await?;
            setting.callback = Some(CallbackView { refused, opens: None });
        }
        let mut needed = setting::needed_views(&setting.flow, &facts);
        needed.retain(|queue| !setting.env.queues.contains_key(queue));
        if needed.is_empty() && ask.is_none() {
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
                | CallEvent::SoundChanged { .. }
                | CallEvent::CallEnded { .. }
                | CallEvent::RecordingEnded { .. }
        ),
        Event::Offer { .. }
        | Event::RecordingComposed { .. }
        | Event::End
        | Event::Postpone { .. }
        | Event::Merge { .. }
        | Event::Consult { .. }
        | Event::Supervise { .. } => false,
        Event::OfferReturned { .. }
        | Event::NobodyFree
        | Event::NobodyStaffed { .. }
        | Event::HookAnswered { .. }
        | Event::NodeLost { .. }
        | Event::Transfer { .. }
        | Event::Desk { .. }
        | Event::Move { .. }
        | Event::TakeBack { .. }
        | Event::CallBack(_)
        | Event::DialParty { .. }
        | Event::TakePlace { .. }
        | Event::Timer { .. } => true,
    }
}

/// Whether an event makes a node call somebody: the queue says how.
fn dials(state: Option<&Contact>, event: &Event) -> bool {
    let asked = |contact: &Contact| contact.order.as_ref().is_some_and(|order| order.kept.is_some());
    let absent = state.is_some_and(|contact| contact.leg == PartyLeg::Absent || asked(contact));
    absent && matches!(event, Event::Offer { .. } | Event::Node { .. })
}
