//! What a contact's step needs to know, put together from configuration and index rows.

use hotline_base::{AgentId, Name, TenantId, Timestamp};
use hotline_contact::{
    Contact, ContactFact, Event, FlowPin, Phase, PromptBook, Setting, TransferTarget, party_partition,
};
use hotline_flow::run::Env;
use hotline_flow::{Compiled, Condition, References, StepKind};
use hotline_ports::Fault;
use hotline_routing::QueueConfig;
use hotline_sla::Calendar;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{self, Kind, VipList};
use crate::flows::{FlowDoc, FlowVersion, version_name};
use crate::{Service, ServiceError, contacts, settings};

/// Queues that one contact may get to: those of its flow and those that they overflow to.
const MAX_QUEUES: usize = 64;

/// Contacts of a caller looked at to find who talked with them last.
const LATEST: usize = 4;

/// A flow version, ready to run.
pub(crate) struct Pinned {
    pub(crate) flow: Arc<Compiled>,
    pub(crate) prompts: Arc<PromptBook>,
    pub(crate) references: References,
}

/// The version that new contacts of a flow start with.
pub(crate) async fn current(service: &Service, tenant: TenantId, flow: &Name) -> Result<Option<FlowPin>, ServiceError> {
    let found: Option<FlowDoc> = config::cached(service, tenant, Kind::FLOW, flow.as_str()).await?;
    Ok(found.map(|doc| FlowPin { name: flow.clone(), version: doc.current }))
}

/// A flow version; immutable, so remembered for as long as there is room.
pub(crate) async fn pinned(service: &Service, tenant: TenantId, pin: &FlowPin) -> Result<Arc<Pinned>, ServiceError> {
    let place = (tenant, pin.name.clone(), pin.version);
    if let Some(found) = service.cache.flow(&place) {
        return Ok(found);
    }
    let name = version_name(&pin.name, pin.version);
    let missing = || Fault::permanent("configuration", format!("flow version {name} is missing"));
    let found = config::get::<FlowVersion>(service, tenant, Kind::FLOW_VERSION, &name).await?;
    let version = found.ok_or_else(missing)?.body;
    let compiled = Compiled::load(&version.text).map_err(|diagnostics| {
        let first = diagnostics.first().map_or_else(String::new, ToString::to_string);
        Fault::permanent("configuration", format!("flow version {name} cannot be read: {first}"))
    })?;
    let pinned = Arc::new(Pinned {
        references: compiled.references(),
        prompts: Arc::new(PromptBook { tenant, engine: version.engine, audio: version.audio }),
        flow: Arc::new(compiled),
    });
    service.cache.keep_flow(place, pinned.clone());
    Ok(pinned)
}

/// A queue's configuration; the defaults where it was removed since the flow was published.
pub(crate) async fn queue(service: &Service, tenant: TenantId, name: &Name) -> Result<QueueConfig, ServiceError> {
    let found = config::cached(service, tenant, Kind::QUEUE, name.as_str()).await?;
    Ok(found.unwrap_or_else(|| QueueConfig::new(name.clone())))
}

/// Everything but the queues' present state, which [`needed_views`] asks for.
pub(crate) async fn build(
    service: &Service,
    tenant: TenantId,
    pin: &FlowPin,
    number: &str,
    also: &BTreeSet<Name>,
) -> Result<Setting, ServiceError> {
    let pinned = pinned(service, tenant, pin).await?;
    let now = service.now();
    let mut env = Env::default();
    for name in &pinned.references.calendars {
        let calendar: Option<Calendar> = config::cached(service, tenant, Kind::CALENDAR, name.as_str()).await?;
        if calendar.is_some_and(|calendar| calendar.is_open(now)) {
            env.open_calendars.insert(name.clone());
        }
    }
    for name in &pinned.references.vip_lists {
        let list: Option<VipList> = config::cached(service, tenant, Kind::VIP_LIST, name.as_str()).await?;
        if list.is_some_and(|list| list.numbers.contains(number)) {
            env.vip_lists.insert(name.clone());
        }
    }
    let mut queues = BTreeMap::new();
    let mut open: Vec<Name> = pinned.references.queues.iter().chain(also).cloned().collect();
    while let Some(name) = open.pop() {
        if queues.len() >= MAX_QUEUES || queues.contains_key(&name) {
            continue;
        }
        let config = queue(service, tenant, &name).await?;
        open.extend(config.overflow_queues());
        queues.insert(name, config);
    }
    Ok(Setting {
        flow: pinned.flow.clone(),
        pin: pin.clone(),
        prompts: pinned.prompts.clone(),
        env,
        queues: Arc::new(queues),
        same_caller: BTreeMap::new(),
        last_agent: None,
        position: None,
        callback: None,
        home: settings::of(service, tenant).await?.calls,
        refer: None,
        fresh: service.ports.world.random(),
    })
}

/// Queues that a step may be about although the flow does not name them.
pub(crate) fn queues_of(state: Option<&Contact>, event: &Event) -> BTreeSet<Name> {
    let mut queues = BTreeSet::new();
    if let Some(contact) = state {
        queues.extend(contact.queue.clone());
        queues.extend(contact.order.as_ref().map(|order| order.queue.clone()));
        let waits = contact.wait().into_iter().chain(contact.last_wait.as_deref());
        queues.extend(waits.filter_map(|wait| wait.place.queue().cloned()));
    }
    match event {
        Event::Transfer { target: TransferTarget::Queue { queue }, .. } | Event::Move { to: queue, .. } => {
            queues.insert(queue.clone());
        }
        Event::CallBack(new) => {
            queues.insert(new.order.queue.clone());
        }
        _ => {}
    }
    queues
}

/// The queues whose present state a step looked at, judged by the flow steps it walked. Reading
/// them costs round trips, and most steps look at none.
pub(crate) fn needed_views(flow: &Compiled, facts: &[ContactFact]) -> BTreeSet<Name> {
    let mut needed = BTreeSet::new();
    for fact in facts {
        let ContactFact::FlowStepEntered { flow: name, step, .. } = fact else {
            continue;
        };
        let step = flow.flow(name).and_then(|flow| flow.steps.get(step));
        match step.map(|step| &step.kind) {
            Some(StepKind::Queue(queue)) => {
                needed.insert(queue.queue.name.clone());
            }
            Some(StepKind::Branch(branch)) => {
                needed.extend(branch.cases.iter().filter_map(|case| match &case.when {
                    Condition::Queue(queue, _) => Some(queue.name.clone()),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
    needed
}

/// Looks at queues and puts what was seen into the setting. `contact`: one that waits already and
/// so knows its place; otherwise the place is behind everybody.
pub(crate) async fn add_views(
    service: &Service,
    tenant: TenantId,
    contact: Option<&Contact>,
    number: &str,
    needed: &BTreeSet<Name>,
    setting: &mut Setting,
) -> Result<(), ServiceError> {
    for name in needed {
        if setting.env.queues.contains_key(name) {
            continue;
        }
        let seen = crate::views::queue_view(service, tenant, name, contact, number).await?;
        setting.env.queues.insert(name.clone(), seen.view);
        setting.same_caller.insert(name.clone(), seen.same_caller);
        setting.position = Some(seen.position);
        let wanted = setting.queues.get(name).is_some_and(|config| config.last_agent_ms > 0);
        if wanted && setting.last_agent.is_none() {
            setting.last_agent = last_agent(service, tenant, number).await?;
        }
    }
    Ok(())
}

/// Who talked with this caller last and when that ended, by the caller's latest contacts.
async fn last_agent(
    service: &Service,
    tenant: TenantId,
    number: &str,
) -> Result<Option<(AgentId, Timestamp)>, ServiceError> {
    if number.is_empty() {
        return Ok(None);
    }
    let partition = party_partition(number);
    for row in contacts::list(service, tenant, &partition, None, LATEST).await? {
        let Ok(contact) = row.body.parse() else { continue };
        let Some(contact) = contacts::get(service, tenant, contact).await? else { continue };
        if let (Phase::Ended { at, .. }, Some(last)) = (&contact.phase, contact.interactions.last()) {
            return Ok(Some((last.agent, *at)));
        }
    }
    Ok(None)
}
