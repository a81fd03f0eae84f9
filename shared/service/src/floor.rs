//! What people do with calls under way: transfer, advice, conference, supervision; and with
//! those that wait: taking, giving, moving.

use hotline_base::{AgentId, ContactId, Invalid, Name, OfferId, Redacted, Reject, TenantId, UserId};
use hotline_contact::{
    Contact, ContactInput, ContactMachine, DeskAction, Event, NewLeg, Phase, Setting, SuperviseMode, TransferKind,
    TransferTarget,
};
use hotline_ports::runner::{Attempts, derived_input};
use hotline_routing::agent::{NewOffer, OfferOrigin};
use hotline_routing::queue::RecordingPolicy;
use hotline_routing::search::{Ask, Search};
use hotline_routing::waiting::waiting_partition;
use hotline_routing::{Agent, AgentInput, AgentMachine, AgentState, Decision, QueueConfig};

use crate::config::{self, Did, Kind, SipUser};
use crate::matching::{self, Claim, Terms};
use crate::nodes::{self, PhoneNode};
use crate::{Effects, Service, ServiceError, agent_key, agents, contact_key, contacts, lists, setting, settings};

/// How long a colleague's or supervisor's phone rings, milliseconds.
const LEG_RING_MS: u32 = 20_000;
/// How long a number outside rings, milliseconds.
const OUTSIDE_RING_MS: u32 = 45_000;
/// Characters of a reason at most.
pub const REASON_CHARS: usize = 500;

/// Whereto somebody wants to transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// Whoever serves this queue.
    Queue(Name),
    /// This agent.
    Agent(AgentId),
    /// This number outside.
    Number(Redacted<String>),
    /// The queue of the next line of support.
    NextTier,
}

fn checked(reason: &Redacted<String>) -> Result<(), Invalid> {
    if reason.expose().chars().count() > REASON_CHARS {
        return Err(Invalid::one("reason", format!("at most {REASON_CHARS} characters")));
    }
    Ok(())
}

async fn load(service: &Service, tenant: TenantId, contact: ContactId) -> Result<Contact, ServiceError> {
    contacts::get(service, tenant, contact).await?.ok_or_else(|| ServiceError::not_found("the contact"))
}

/// Gives a caller who talks to somebody else at once.
///
/// # Errors
/// Every mistake in the target; `agent-not-available`, `no-next-tier`, `not-talking`; faults.
pub async fn transfer(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    by: UserId,
    to: To,
    reason: Redacted<String>,
) -> Result<Contact, ServiceError> {
    checked(&reason)?;
    let state = load(service, tenant, contact).await?;
    let kind = if to == To::NextTier { TransferKind::Tier } else { TransferKind::Blind };
    let target = resolve(service, tenant, &state, to).await?;
    act(service, tenant, contact, Event::Transfer { target, kind, by, reason }).await
}

async fn act(service: &Service, tenant: TenantId, contact: ContactId, event: Event) -> Result<Contact, ServiceError> {
    let done = contacts::step(service, tenant, contact, service.fresh_input(), event, None).await?;
    Ok(done.contact)
}

async fn resolve(
    service: &Service,
    tenant: TenantId,
    contact: &Contact,
    to: To,
) -> Result<TransferTarget, ServiceError> {
    match to {
        To::Queue(queue) => {
            let found: Option<QueueConfig> = config::cached(service, tenant, Kind::QUEUE, queue.as_str()).await?;
            found.ok_or_else(|| Invalid::one("to.queue", "there is no such queue; create it first"))?;
            Ok(TransferTarget::Queue { queue })
        }
        To::Agent(agent) => {
            let found = agents::get(service, tenant, agent).await?;
            let found = found.ok_or_else(|| Invalid::one("to.agent", "there is no such agent"))?;
            free(service, &found)?;
            let name = found.profile.sip_user.split('.').next().and_then(|name| name.parse().ok());
            let name = name.ok_or_else(|| Invalid::one("to.agent", "has no phone account to be rung by"))?;
            Ok(TransferTarget::Agent { agent, name })
        }
        To::Number(number) => {
            let queue = match &contact.queue {
                Some(queue) => setting::queue(service, tenant, queue).await?.callback,
                None => Default::default(),
            };
            let home = settings::of(service, tenant).await?.calls;
            let number = queue.admit(&home, number.expose()).map_err(|why| Invalid::one("to.number", why.remedy()))?;
            let own: Option<Did> = config::cached(service, TenantId::PLATFORM, Kind::DID, number.as_str()).await?;
            if own.is_some() {
                return Err(Invalid::one("to.number", "belongs to the hotline itself; give a queue instead").into());
            }
            Ok(TransferTarget::Number { number: number.to_string().into() })
        }
        To::NextTier => {
            let none = || Reject::new("no-next-tier", "no queue is set as the next line of support: set `next_tier`");
            let queue = contact.queue.clone().ok_or_else(none)?;
            let next = setting::queue(service, tenant, &queue).await?.next_tier.ok_or_else(none)?;
            Ok(TransferTarget::Queue { queue: next })
        }
    }
}

fn free(service: &Service, agent: &Agent) -> Result<(), Reject> {
    let now = service.now();
    if agent.state != AgentState::Available || !agent.is_present(now) || agent.live_phone(now).is_none() {
        let said = format!("the agent is {} now; choose somebody who is free, or a queue", agent.state.name());
        return Err(Reject::new("agent-not-available", said));
    }
    Ok(())
}

/// Where a transfer asked for by a phone leads: a SIP user or a part of its name, a queue, a number.
pub(crate) async fn refer(
    service: &Service,
    tenant: TenantId,
    state: Option<&Contact>,
    target: &str,
    setting: &mut Setting,
) -> Result<Option<TransferTarget>, ServiceError> {
    let Some(contact) = state else { return Ok(None) };
    let found = match refer_target(service, tenant, contact, target).await? {
        Some(to) => resolve(service, tenant, contact, to).await,
        None => return Ok(None),
    };
    match found {
        Ok(target) => {
            if let TransferTarget::Queue { queue } = &target {
                let config = setting::queue(service, tenant, queue).await?;
                let mut queues = setting.queues.as_ref().clone();
                queues.insert(queue.clone(), config);
                setting.queues = std::sync::Arc::new(queues);
            }
            Ok(Some(target))
        }
        Err(ServiceError::Fault(fault)) => Err(fault.into()),
        Err(_) => Ok(None),
    }
}

async fn refer_target(
    service: &Service,
    tenant: TenantId,
    contact: &Contact,
    target: &str,
) -> Result<Option<To>, ServiceError> {
    let target = target.trim().trim_start_matches('<').trim_end_matches('>');
    let rest = ["sips:", "sip:", "tel:"].iter().find_map(|scheme| target.strip_prefix(scheme)).unwrap_or(target);
    let user = rest.split(['@', ';', '?']).next().unwrap_or_default();
    if user.is_empty() || user.len() > 64 {
        return Ok(None);
    }
    if user.starts_with('+') {
        return Ok(Some(To::Number(user.to_string().into())));
    }
    let colleague = match &contact.phase {
        Phase::Talking { interaction, .. } => interaction.phone.as_ref().map(|phone| phone.sip_user.clone()),
        _ => None,
    };
    let tail = colleague.as_deref().and_then(|name| name.split_once('.')).map(|(_, tail)| tail);
    let names = [Some(user.to_string()), tail.map(|tail| format!("{user}.{tail}"))];
    for name in names.into_iter().flatten() {
        let found: Option<SipUser> = config::cached(service, TenantId::PLATFORM, Kind::SIP_USER, &name).await?;
        if let Some(account) = found.filter(|account| account.tenant == tenant) {
            return Ok(Some(To::Agent(account.agent)));
        }
    }
    Ok(user.parse().ok().map(To::Queue))
}

/// Asks a colleague, or somebody outside, for advice: the caller hears music meanwhile. A queue stands
/// for the best of its free agents.
///
/// # Errors
/// Every mistake in the target; `agent-not-available`, `nobody-free`, `not-talking`; faults.
pub async fn consult(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    by: UserId,
    to: To,
) -> Result<Contact, ServiceError> {
    let state = load(service, tenant, contact).await?;
    let (agent, queue) = match to {
        To::Agent(agent) => (agent, None),
        To::Queue(_) | To::NextTier => match resolve(service, tenant, &state, to).await? {
            TransferTarget::Queue { queue } => (best_of(service, tenant, &state, &queue).await?, Some(queue)),
            _ => return Err(ServiceError::not_found("the queue")),
        },
        To::Number(_) => return consult_outside(service, tenant, contact, &state, by, to).await,
    };
    let home = queue.clone().or(state.queue.clone());
    let wrap_up_ms = match &home {
        Some(queue) => setting::queue(service, tenant, queue).await?.wrap_up_ms,
        None => 0,
    };
    let seat = Seat { agent, queue, origin: OfferOrigin::Consulted, wrap_up_ms };
    join(service, tenant, contact, seat, move |leg| Event::Consult { leg, by }).await
}

/// Asks somebody outside for advice, whom the tenant may call.
async fn consult_outside(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    state: &Contact,
    by: UserId,
    to: To,
) -> Result<Contact, ServiceError> {
    let TransferTarget::Number { number } = resolve(service, tenant, state, to).await? else {
        return Err(ServiceError::not_found("the number"));
    };
    let leg = NewLeg {
        offer: OfferId::new(service.now(), service.ports.world.random()),
        agent: AgentId::from_u128(0),
        sip_user: String::new(),
        phone_node: state.node,
        phone_address: None,
        ring_timeout_ms: OUTSIDE_RING_MS,
        caller_label: matching::label(state, state.queue.as_ref().map_or("", Name::as_str)),
        queue: state.queue.clone(),
        number: Some(number),
    };
    act(service, tenant, contact, Event::Consult { leg, by }).await
}

/// The best free agent of a queue for a caller who does not wait there.
async fn best_of(
    service: &Service,
    tenant: TenantId,
    contact: &Contact,
    queue: &Name,
) -> Result<AgentId, ServiceError> {
    let config = setting::queue(service, tenant, queue).await?;
    let now = service.now();
    let lang = Some(contact.cursor.lang);
    let entry = hotline_routing::WaitingEntry::new(contact.id, &config, lang, Default::default(), now);
    let mut search = Search::new(&config, now);
    loop {
        match search.next() {
            Ask::Read { partition, from, limit } => {
                if partition == waiting_partition(queue) {
                    search.give(if from.is_none() { vec![entry.row(queue)] } else { Vec::new() });
                    continue;
                }
                let from = from.as_deref();
                let range =
                    hotline_ports::Range { tenant, partition: &partition, from, below: None, limit, descending: false };
                search.give(lists::rows(service, config.shards, range).await?);
            }
            Ask::Done { decision: Decision::Match { agent, .. }, .. } => return Ok(agent),
            Ask::Done { .. } => {
                return Err(Reject::new("nobody-free", "nobody who serves this queue is free now").into());
            }
        }
    }
}

/// A supervisor listens in, whispers or barges in; one who is on the call changes the manner.
///
/// # Errors
/// `agent-not-available`, `not-talking`; faults.
pub async fn supervise(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    by: UserId,
    mode: SuperviseMode,
) -> Result<Contact, ServiceError> {
    let agent = AgentId::from_u128(by.as_u128());
    let state = load(service, tenant, contact).await?;
    if state.holders().iter().any(|(_, holder)| *holder == agent) {
        return desk(service, tenant, contact, by, DeskAction::Supervise { agent, mode }).await;
    }
    let seat = Seat { agent, queue: None, origin: OfferOrigin::Supervising, wrap_up_ms: 0 };
    join(service, tenant, contact, seat, move |leg| Event::Supervise { leg, mode, by }).await
}

/// Who is to come onto a call, and how.
struct Seat {
    agent: AgentId,
    queue: Option<Name>,
    origin: OfferOrigin,
    wrap_up_ms: u32,
}

/// One transaction on the contact and the agent who is rung for it.
async fn join(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    seat: Seat,
    event: impl Fn(NewLeg) -> Event,
) -> Result<Contact, ServiceError> {
    let Seat { agent, queue, origin, wrap_up_ms } = seat;
    let (contact_at, agent_at) = (contact_key(tenant, contact), agent_key(tenant, agent));
    let offer = OfferId::new(service.now(), service.ports.world.random());
    let id = derived_input(&["offer", &offer.to_string()]);
    let mut attempts = Attempts::new(&service.ports);
    loop {
        let mut unit = attempts.unit();
        let state = unit.state::<ContactMachine>(&contact_at).await?;
        let state = state.ok_or_else(|| ServiceError::not_found("the contact"))?;
        let person = unit.state::<AgentMachine>(&agent_at).await?;
        let person = person.ok_or_else(|| Reject::new("no-phone", "this person has no agent account with a phone"))?;
        let seen = unit.has_seen(&contact_at, id).await?;
        let phone = person.live_phone(unit.now()).copied().or(seen.then_some(person.phone).flatten());
        let phone = phone.ok_or_else(|| Reject::new("no-phone", "this person has no phone registered"))?;
        let phone_address = match nodes::phone_node(service, state.node, phone.node).await? {
            PhoneNode::Here => None,
            PhoneNode::At(address) => Some(address),
            PhoneNode::Dead => {
                return Err(Reject::new("no-phone", "the node of this person's phone does not answer").into());
            }
        };
        let new = NewOffer { offer, contact, queue: queue.clone(), ring_timeout_ms: LEG_RING_MS, wrap_up_ms, origin };
        unit.step::<AgentMachine>(&agent_at, id, &AgentInput::Offer { offer: new }).await?;
        let leg = NewLeg {
            number: None,
            offer,
            agent,
            sip_user: person.profile.sip_user.clone(),
            phone_node: phone.node,
            phone_address,
            ring_timeout_ms: LEG_RING_MS,
            caller_label: matching::label(&state, queue.as_ref().map_or("", Name::as_str)),
            queue: queue.clone(),
        };
        let input = ContactInput { event: event(leg), setting: None };
        let outcome = unit.step::<ContactMachine>(&contact_at, id, &input).await?;
        if let Some(done) = attempts.commit(unit).await? {
            done.finish(&service.ports, &Effects(service)).await;
            return Ok(outcome.into_state());
        }
    }
}

/// Somebody on the call does something with it.
///
/// # Errors
/// What the machine refuses; faults.
pub async fn desk(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    by: UserId,
    action: DeskAction,
) -> Result<Contact, ServiceError> {
    if let DeskAction::Complete { reason } = &action {
        checked(reason)?;
    }
    load(service, tenant, contact).await?;
    act(service, tenant, contact, Event::Desk { by, action }).await
}

/// Gives a waiting contact to an agent out of turn: a supervisor assigns it, or the agent takes it.
///
/// # Errors
/// `agent-not-available`, `not-waiting`; faults.
pub async fn assign(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    agent: AgentId,
    by: UserId,
    reason: Redacted<String>,
) -> Result<Contact, ServiceError> {
    checked(&reason)?;
    let state = load(service, tenant, contact).await?;
    if agents::get(service, tenant, agent).await?.is_none() {
        return Err(Invalid::one("agent", "there is no such agent").into());
    }
    let queue = state.wait().and_then(|wait| wait.place.queue().cloned());
    let config = match &queue {
        Some(queue) => Some(setting::queue(service, tenant, queue).await?),
        None => None,
    };
    let pulled = by.as_u128() == agent.as_u128();
    let terms = Terms {
        label: config.as_ref().map_or_else(String::new, |config| config.title().to_string()),
        ring_timeout_ms: config.as_ref().map_or(LEG_RING_MS, |config| config.ring_timeout_ms),
        wrap_up_ms: config.as_ref().map_or(0, |config| config.wrap_up_ms),
        record: config.as_ref().is_none_or(|config| config.recording == RecordingPolicy::Always),
        queue,
        origin: if pulled { OfferOrigin::Pulled } else { OfferOrigin::Assigned },
        by: Some((by, reason)),
    };
    let offer = OfferId::new(service.now(), service.ports.world.random());
    match matching::offer_to(service, tenant, contact, agent, offer, &terms, None).await? {
        Claim::Made => load(service, tenant, contact).await,
        Claim::ContactGone => {
            Err(Reject::new("not-waiting", "the contact does not wait for an agent now, or cannot be called").into())
        }
        Claim::AgentGone | Claim::NodeAway => {
            Err(Reject::new("agent-not-available", "the agent cannot take a contact now").into())
        }
    }
}

/// Moves a waiting contact to another queue; its place is kept.
///
/// # Errors
/// An unknown queue; `not-waiting`, `same-queue`; faults.
pub async fn move_to(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    queue: Name,
    by: UserId,
    reason: Redacted<String>,
) -> Result<Contact, ServiceError> {
    checked(&reason)?;
    load(service, tenant, contact).await?;
    let found: Option<QueueConfig> = config::cached(service, tenant, Kind::QUEUE, queue.as_str()).await?;
    found.ok_or_else(|| Invalid::one("queue", "there is no such queue; create it first"))?;
    act(service, tenant, contact, Event::Move { to: queue, by, reason }).await
}

/// Takes an offer back; the contact goes on waiting and this agent is not asked again.
///
/// # Errors
/// `not-offered`; faults.
pub async fn take_back(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    by: UserId,
    reason: Redacted<String>,
) -> Result<Contact, ServiceError> {
    checked(&reason)?;
    load(service, tenant, contact).await?;
    act(service, tenant, contact, Event::TakeBack { by, reason }).await
}
