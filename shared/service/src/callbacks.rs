//! Call backs: promised, asked for, merged with a call of the same person.

use hotline_base::{ContactId, E164, Invalid, Name, Redacted, Reject, TenantId, Timestamp};
use hotline_contact::{
    CALLBACK_LIFE_MS, CALLBACKS_PARTITION, CallbackOrder, CallbackRefusal, Contact, ContactInput, ContactMachine,
    Event, FlowPin, MAX_CALLBACKS_PER_CALLER, MAX_CALLBACKS_PER_TENANT, NewCallback, PartyLeg, Phase,
    callbacks_partition,
};
use hotline_flow::run;
use hotline_ports::Range;
use hotline_ports::runner::{Attempts, RunError, derived_id, derived_input};
use hotline_routing::QueueConfig;
use hotline_routing::callback::CallFirst;
use hotline_sla::Calendar;

use crate::config::{self, Did, Kind};
use crate::{Effects, Service, ServiceError, contact_key, contacts, setting, settings};

/// Where a calendar has no opening at all, hours are looked at again after this, milliseconds.
const LOOK_AGAIN_MS: i64 = 86_400_000;

/// A call back that somebody of the tenant asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whom to call.
    pub number: Redacted<String>,
    /// The person's name; empty where not known.
    pub name: Redacted<String>,
    /// Which queue calls.
    pub queue: Name,
    /// The tenant's number that is shown.
    pub did: String,
}

/// When a queue may call somebody next; `None`: now.
///
/// # Errors
/// A fault of the store.
pub(crate) async fn opens(
    service: &Service,
    tenant: TenantId,
    queue: &Name,
) -> Result<Option<Timestamp>, ServiceError> {
    let config = setting::queue(service, tenant, queue).await?;
    let Some(hours) = config.callback.hours else {
        return Ok(None);
    };
    let calendar: Option<Calendar> = config::cached(service, tenant, Kind::CALENDAR, hours.as_str()).await?;
    let now = service.now();
    Ok(calendar
        .filter(|calendar| !calendar.is_open(now))
        .map(|calendar| calendar.next_open(now).unwrap_or(now.plus_ms(LOOK_AGAIN_MS))))
}

/// Why a number is not promised a call back, by what the tables know.
///
/// # Errors
/// A fault of the store.
pub(crate) async fn refusal(
    service: &Service,
    tenant: TenantId,
    number: &str,
) -> Result<Option<CallbackRefusal>, ServiceError> {
    let own: Option<Did> = config::cached(service, TenantId::PLATFORM, Kind::DID, number).await?;
    if own.is_some() {
        return Ok(Some(CallbackRefusal::OwnNumber));
    }
    if count(service, tenant, &callbacks_partition(number), MAX_CALLBACKS_PER_CALLER).await? {
        return Ok(Some(CallbackRefusal::CallerLimit));
    }
    let full = count(service, tenant, CALLBACKS_PARTITION, MAX_CALLBACKS_PER_TENANT).await?;
    Ok(full.then_some(CallbackRefusal::TenantLimit))
}

async fn count(service: &Service, tenant: TenantId, partition: &str, most: u32) -> Result<bool, ServiceError> {
    let range = Range { tenant, partition, from: None, below: None, limit: most as usize, descending: false };
    Ok(service.ports.store.rows(range).await?.len() >= most as usize)
}

/// What a contact was promised.
pub(crate) struct Promise {
    /// The contact.
    pub(crate) of: ContactId,
    /// Names the promise: the fact's id.
    pub(crate) id: String,
    /// When it was made.
    pub(crate) at: Timestamp,
    /// Whom to call.
    pub(crate) number: Redacted<String>,
    /// Which queue calls.
    pub(crate) queue: Name,
    /// The moment from which its place counts.
    pub(crate) since: Timestamp,
    /// The moment from which its wait counts; `None`: as its place.
    pub(crate) entered: Option<Timestamp>,
    /// The call was lost with its node.
    pub(crate) lost_call: bool,
}

/// A promise becomes a contact that waits in its place without a leg.
///
/// # Errors
/// Faults of the store; the promise may be kept again, nothing happens twice.
pub(crate) async fn keep(service: &Service, tenant: TenantId, promise: Promise) -> Result<(), ServiceError> {
    let Some(original) = contacts::get(service, tenant, promise.of).await? else {
        return Ok(());
    };
    let number = promise.number.expose().parse::<E164>().map_or(promise.number.clone(), |n| n.to_string().into());
    let contact = ContactId::new(promise.at, derived_id(&["callback", &promise.id]));
    // A call back that is lost in its turn belongs to the same matter.
    let of = original.order.as_ref().and_then(|order| order.of).unwrap_or(promise.of);
    let own = own_flow(service, tenant, &setting::queue(service, tenant, &promise.queue).await?).await?;
    let order = CallbackOrder {
        of: Some(of),
        queue: promise.queue,
        since: promise.since,
        entered: promise.entered,
        waited_ms: None,
        lost_call: promise.lost_call,
        tries: 0,
        reached: false,
        asks: own.is_some(),
        kept: None,
        expires: promise.at.plus_ms(CALLBACK_LIFE_MS),
    };
    let new = NewCallback {
        tenant,
        contact,
        order,
        number,
        display_name: original.display_name.clone(),
        did: original.did.clone(),
        cursor: original.cursor.clone(),
    };
    let id = derived_input(&["callback", &promise.id]);
    begin(service, tenant, id, new, own.as_ref().unwrap_or(&original.flow)).await
}

/// The flow that a queue's parties go through when they are called back, in its present version.
async fn own_flow(service: &Service, tenant: TenantId, queue: &QueueConfig) -> Result<Option<FlowPin>, ServiceError> {
    let Some(flow) = queue.callback.flow.as_ref().filter(|_| queue.callback.first == CallFirst::Party) else {
        return Ok(None);
    };
    let pin = setting::current(service, tenant, flow).await?;
    if pin.is_none() {
        tracing::error!(%tenant, %flow, queue = %queue.name, "a queue calls back with a flow that was never published");
    }
    Ok(pin)
}

async fn begin(
    service: &Service,
    tenant: TenantId,
    id: hotline_base::InputId,
    new: NewCallback,
    pin: &FlowPin,
) -> Result<(), ServiceError> {
    let contact = new.contact;
    match contacts::step(service, tenant, contact, id, Event::CallBack(Box::new(new)), Some(pin)).await {
        Err(ServiceError::Reject(reject)) if reject.code == "contact-exists" => Ok(()),
        other => other.map(drop),
    }
}

/// Somebody of the tenant asks for a call back.
///
/// # Errors
/// Every mistake with its field; `callback-limit` where so many are open that no more are taken;
/// faults of the store.
pub async fn request(service: &Service, tenant: TenantId, request: Request) -> Result<Contact, ServiceError> {
    let queue: Option<QueueConfig> = config::cached(service, tenant, Kind::QUEUE, request.queue.as_str()).await?;
    let queue = queue.ok_or_else(|| Invalid::one("queue", "there is no such queue; create it first"))?;
    let home = settings::of(service, tenant).await?.calls;
    let number = queue.callback.admit(&home, request.number.expose());
    let number = number.map_err(|why| Invalid::one("number", why.remedy()))?;
    let did: Option<Did> = config::cached(service, TenantId::PLATFORM, Kind::DID, &request.did).await?;
    let did = did.filter(|did| did.tenant == tenant);
    let flow = did.ok_or_else(|| Invalid::one("did", "is no number of yours; give one of your own numbers"))?.flow;
    let pin = setting::current(service, tenant, &flow).await?;
    let pin = pin.ok_or_else(|| Invalid::one("did", "leads to a flow that was never published"))?;
    match refusal(service, tenant, number.as_str()).await? {
        None => {}
        Some(CallbackRefusal::CallerLimit) => {
            let said = format!("{MAX_CALLBACKS_PER_CALLER} call backs of this number are open already");
            return Err(Reject::new("callback-limit", said).into());
        }
        Some(CallbackRefusal::TenantLimit) => {
            let said = format!("{MAX_CALLBACKS_PER_TENANT} call backs are open: no more are taken");
            return Err(Reject::new("callback-limit", said).into());
        }
        Some(_) => return Err(Invalid::one("number", "belongs to the hotline itself; give the person's own").into()),
    }
    let own = own_flow(service, tenant, &queue).await?;
    let pinned = setting::pinned(service, tenant, &pin).await?;
    let number: Redacted<String> = number.to_string().into();
    let caller = run::Caller { number: number.clone(), ..run::Caller::default() };
    let now = service.now();
    let contact = ContactId::new(now, service.ports.world.random());
    let order = CallbackOrder {
        of: None,
        queue: request.queue,
        since: now,
        entered: None,
        waited_ms: None,
        lost_call: false,
        tries: 0,
        reached: false,
        asks: own.is_some(),
        kept: None,
        expires: now.plus_ms(CALLBACK_LIFE_MS),
    };
    let new = NewCallback {
        tenant,
        contact,
        order,
        number,
        display_name: request.name,
        did: request.did,
        cursor: run::start(&pinned.flow, &caller, &run::Env::default(), now).cursor,
    };
    begin(service, tenant, service.fresh_input(), new, own.as_ref().unwrap_or(&pin)).await?;
    contacts::get(service, tenant, contact).await?.ok_or_else(|| ServiceError::not_found("the call back"))
}

/// Somebody who calls in and has a call back waiting in the same queue gets its place.
///
/// # Errors
/// Faults of the store; done again, nothing happens twice.
pub(crate) async fn merge(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    queue: &Name,
) -> Result<(), ServiceError> {
    let Some(new) = contacts::get(service, tenant, contact).await? else {
        return Ok(());
    };
    let number = new.from.expose();
    if new.order.is_some() || number.is_empty() {
        return Ok(());
    }
    let partition = callbacks_partition(number);
    let limit = MAX_CALLBACKS_PER_CALLER as usize * 4;
    let range = Range { tenant, partition: &partition, from: None, below: None, limit, descending: false };
    for row in service.ports.store.rows(range).await? {
        if let (true, Ok(waiting)) = (row.body == queue.as_str(), row.sort.parse()) {
            merge_one(service, tenant, contact, waiting, queue).await?;
        }
    }
    Ok(())
}

async fn merge_one(
    service: &Service,
    tenant: TenantId,
    into: ContactId,
    from: ContactId,
    queue: &Name,
) -> Result<(), ServiceError> {
    let (into_at, from_at) = (contact_key(tenant, into), contact_key(tenant, from));
    let id = derived_input(&["merge", &from.to_string(), &into.to_string()]);
    let mut attempts = Attempts::new(&service.ports);
    loop {
        let mut unit = attempts.unit();
        let (Some(new), Some(old)) =
            (unit.state::<ContactMachine>(&into_at).await?, unit.state::<ContactMachine>(&from_at).await?)
        else {
            return Ok(());
        };
        let seen = unit.has_seen(&from_at, id).await?;
        let waits = matches!(&new.phase, Phase::Waiting(wait) if wait.place.queue() == Some(queue));
        // A call back that is being made goes on: its party will be engaged.
        let (true, PartyLeg::Absent, Some(wait)) = (waits || seen, old.leg, old.wait()) else {
            return Ok(());
        };
        let since = wait.entry.virtual_time();
        let waited_ms = old.waited_ms(unit.now()).unwrap_or(0);
        let take = Event::TakePlace { from, since, waited_ms };
        for (at, event) in [(&from_at, Event::Merge { into }), (&into_at, take)] {
            match unit.step::<ContactMachine>(at, id, &ContactInput { event, setting: None }).await {
                Ok(_) => {}
                Err(RunError::Reject(_)) => return Ok(()),
                Err(RunError::Fault(fault)) => return Err(fault.into()),
            }
        }
        if let Some(done) = attempts.commit(unit).await? {
            done.finish(&service.ports, &Effects(service)).await;
            return Ok(());
        }
    }
}
