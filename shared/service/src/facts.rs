//! The consumer of the facts stream: tickets, counters, pushes. Each part is done once per fact,
//! however often the fact comes.

mod pushes;

use hotline_base::{AgentId, ContactId, InputId, Machine, TenantId};
use hotline_contact::{CallbackEnd, ContactFact, ContactMachine, EndReason, Ending};
use hotline_flow::Priority as FlowPriority;
use hotline_ports::runner::{derived_id, derived_input};
use hotline_ports::{FactRow, Fault};
use hotline_routing::agent::StateName;
use hotline_routing::{AgentFact, AgentMachine};
use hotline_sla::Priority;
use hotline_ticket::{Action, Actor, NoteKind, Opening, Requester, TicketType, ticket_of};
use hotline_wire::push::{OfferChange, PushEvent};
use serde::de::DeserializeOwned;

use crate::callbacks::Promise;
use crate::live::Audience;
use crate::views::{HANDLE_PARTITION, handle_sort};
use crate::{Service, ServiceError, agents, callbacks, contacts, live, thresholds, tickets};

/// The fact's id: its place in its subject's history.
pub fn fact_id(fact: &FactRow) -> String {
    format!("{:?}/{}/{}", fact.subject, fact.version, fact.index)
}

/// Takes one fact of the stream.
///
/// # Errors
/// Faults: the fact should come again. One that cannot be read is logged and passed over.
pub async fn consume(service: &Service, fact: &FactRow) -> Result<(), ServiceError> {
    match follow(service, fact).await {
        Err(ServiceError::Fault(fault @ Fault::Transient { .. })) => return Err(fault.into()),
        Err(error) => tracing::error!(fact = fact_id(fact), %error, "fact not followed up"),
        Ok(()) => {}
    }
    count(service, fact).await?;
    thresholds::notice(service, fact).await?;
    for (audience, mut event) in pushes::events(fact) {
        if let PushEvent::Offer { contact, change: OfferChange::Made { caller, category, .. }, .. } = &mut event
            && let Some(state) = contacts::get(service, fact.subject.tenant, *contact).await?
        {
            // Who rings: the agent sees it before answering.
            *category = state.cursor.category.as_ref().map(ToString::to_string);
            *caller = state.from;
        }
        live::push(service, fact.subject.tenant, audience, &event).await?;
    }
    if pushes::concerns_the_agent(fact)
        && let Ok(contact) = fact.subject.id.parse()
        && let Some(agent) = contacts::get(service, fact.subject.tenant, contact).await?.and_then(|c| c.agent())
    {
        let event = PushEvent::Contact { at: fact.at, contact, fact: fact.name.clone() };
        live::push(service, fact.subject.tenant, Audience::AgentAndSupervisors(agent), &event).await?;
    }
    Ok(())
}

async fn follow(service: &Service, fact: &FactRow) -> Result<(), ServiceError> {
    let tenant = fact.subject.tenant;
    match fact.subject.kind.as_str() {
        ContactMachine::KIND => contact(service, tenant, fact).await,
        AgentMachine::KIND => agent(service, tenant, fact).await,
        _ => Ok(()),
    }
}

fn read<T: DeserializeOwned>(fact: &FactRow) -> Result<T, Fault> {
    T::deserialize(&fact.body)
        .map_err(|error| Fault::permanent("facts", format!("{} cannot be read: {error}", fact_id(fact))))
}

/// Adds to the counters of reports and of the estimate of waits.
async fn count(service: &Service, fact: &FactRow) -> Result<(), ServiceError> {
    let tenant = fact.subject.tenant;
    let once = fact_id(fact);
    let store = &service.ports.store;
    match hotline_report::fold(&fact.subject.kind, &fact.name, &fact.body, fact.at) {
        Ok(increments) => {
            for add in increments {
                let (partition, sort) = hotline_report::place(&add, derived_id(&[&once]));
                store.add(tenant, &partition, &sort, &add.counters, &once).await?;
            }
        }
        Err(error) => tracing::error!(fact = once, %error, "fact not counted"),
    }
    if fact.subject.kind == ContactMachine::KIND
        && fact.name == "AgentLegEnded"
        && let Ok(ContactFact::AgentLegEnded { queue: Some(queue), talk_ms, .. }) = read(fact)
    {
        let sums = [("talks", 1), ("talk_ms", talk_ms)];
        store.add(tenant, HANDLE_PARTITION, &handle_sort(&queue, &once), &sums, &once).await?;
    }
    // Who wraps up is not free yet.
    if fact.subject.kind == AgentMachine::KIND
        && fact.name == "StateEntered"
        && let Ok(AgentFact::StateEntered { from: StateName::WrapUp, queue: Some(queue), for_ms, .. }) = read(fact)
    {
        store.add(tenant, HANDLE_PARTITION, &handle_sort(&queue, &once), &[("wrap_ms", for_ms)], &once).await?;
    }
    Ok(())
}

fn input(fact: &FactRow) -> InputId {
    derived_input(&["fact", &fact_id(fact)])
}

/// An ended contact opens a ticket; what comes after it is linked to it.
async fn contact(service: &Service, tenant: TenantId, fact: &FactRow) -> Result<(), ServiceError> {
    let Ok(contact) = fact.subject.id.parse() else {
        return Ok(());
    };
    let about;
    let action = match fact.name.as_str() {
        "ContactEnded" => match read(fact)? {
            ContactFact::ContactEnded(ending) => {
                about = ending.callback_of.unwrap_or(contact);
                Action::Open(Box::new(opening(&ending)))
            }
            _ => return Ok(()),
        },
        "RecordingSaved" => match read(fact)? {
            ContactFact::RecordingSaved { recording, .. } => {
                about = matter(service, tenant, contact).await?;
                Action::LinkRecording { recording }
            }
            _ => return Ok(()),
        },
        "CallbackFailed" => match read(fact)? {
            ContactFact::CallbackFailed { attempts, why, .. } => {
                about = matter(service, tenant, contact).await?;
                Action::Comment { kind: NoteKind::Action, text: not_reached(attempts, why).into() }
            }
            _ => return Ok(()),
        },
        "CallbackRequested" => {
            if let ContactFact::CallbackRequested { number, queue, since, entered, lost_call } = read(fact)? {
                let (of, id, at) = (contact, fact_id(fact), fact.at);
                let promise = Promise { of, id, at, number, queue, since, entered, lost_call };
                callbacks::keep(service, tenant, promise).await?;
            }
            return Ok(());
        }
        "ContactEnqueued" => {
            if let ContactFact::ContactEnqueued { queue, .. } = read(fact)? {
                callbacks::merge(service, tenant, contact, &queue).await?;
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    let ticket = ticket_of(about);
    if !matches!(action, Action::Open(_)) && tickets::get(service, tenant, ticket).await?.is_none() {
        // The recording of a call that goes on; its end will bring it along.
        return Ok(());
    }
    if matches!(action, Action::Open(_)) {
        // From now on the node knows the tenant, or has forgotten the call.
        let partition = contacts::home_partition(contact);
        let sort = contact.to_string();
        service.ports.store.delete_row(TenantId::PLATFORM, &partition, &sort).await?;
    }
    let score = match &action {
        Action::Open(_) => fact.body.get("survey").and_then(|score| score.as_u64()),
        _ => None,
    };
    tickets::act(service, tenant, ticket, input(fact), Actor::System, action).await?;
    if let Some(score) = score.and_then(|score| u8::try_from(score).ok()) {
        let id = derived_input(&["fact-score", &fact_id(fact)]);
        let rate = Action::Rate { score };
        tickets::act(service, tenant, ticket, id, Actor::System, rate).await?;
    }
    Ok(())
}

/// The contact whose ticket a contact belongs to: a call back to what it was promised for.
async fn matter(service: &Service, tenant: TenantId, contact: ContactId) -> Result<ContactId, ServiceError> {
    let found = contacts::get(service, tenant, contact).await?;
    Ok(found.and_then(|found| found.order?.of).unwrap_or(contact))
}

fn not_reached(attempts: u8, why: CallbackEnd) -> String {
    match why {
        CallbackEnd::Attempts => format!("Called back {attempts} times; the party was not reached."),
        CallbackEnd::Number => "Not called back: the number does not exist or must not be called.".into(),
        CallbackEnd::Expired => format!("Not called back in time; dialled {attempts} times."),
    }
}

fn opening(ending: &Ending) -> Opening {
    let number = ending.from.expose();
    let category = ending.category.as_ref().map(ToString::to_string);
    let who = if number.is_empty() { "anonymous" } else { number };
    let about = category.as_deref().map(|name| format!(" · {name}")).unwrap_or_default();
    let kind = match ending.reason {
        _ if ending.voicemail => "Voicemail",
        _ if ending.callback || ending.reason == EndReason::NotReached => "Callback",
        EndReason::NodeLost | EndReason::Lost | EndReason::NodeDrained => "Lost call",
        _ if ending.abandoned_after_ms.is_some() => "Abandoned call",
        _ => "Call",
    };
    let text = |value: &str| (!value.is_empty()).then(|| value.to_string().into());
    Opening {
        // A call back belongs to the ticket of the contact that it was promised to.
        id: ticket_of(ending.callback_of.unwrap_or(ending.contact)),
        received_at: ending.arrived_at,
        subject: format!("{kind} · {who}{about}").chars().take(200).collect::<String>().into(),
        category,
        kind: TicketType::Other,
        priority: match ending.priority {
            FlowPriority::Low => Priority::Low,
            FlowPriority::Medium => Priority::Medium,
            FlowPriority::High => Priority::High,
            FlowPriority::Urgent => Priority::Urgent,
        },
        requester: Requester {
            party: None,
            number: text(number).map(short),
            name: text(ending.display_name.expose()).map(short),
        },
        owner: ending.agent,
        queue: ending.queue.clone(),
        contact: Some(ending.contact),
        recordings: ending.recordings.clone(),
        answered_at: ending.answered_at,
        custom: Default::default(),
    }
}

fn short(value: hotline_base::Redacted<String>) -> hotline_base::Redacted<String> {
    value.into_inner().chars().take(80).collect::<String>().into()
}

/// The last agent of a queue may have left.
async fn agent(service: &Service, tenant: TenantId, fact: &FactRow) -> Result<(), ServiceError> {
    if fact.name != "StateEntered" {
        return Ok(());
    }
    let AgentFact::StateEntered { agent, to, .. } = read(fact)? else {
        return Ok(());
    };
    if !matches!(to, StateName::Offline | StateName::Away | StateName::Standby) {
        return Ok(());
    }
    let agent: AgentId = agent;
    let Some(state) = agents::get(service, tenant, agent).await? else {
        return Ok(());
    };
    let queues = state.queues_by_preference();
    agents::tell_if_unstaffed(service, tenant, &queues, &fact_id(fact)).await
}
