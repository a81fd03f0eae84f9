//! Brings waiting contacts and free agents together.
//!
//! Both sides write before they look: a contact its waiting row, an agent its availability rows.
//! Reads are strongly consistent and the claim is one transaction on both versions, so that no
//! wake-up is lost and nobody is offered twice.

use hotline_base::{AgentId, ContactId, IndexRow, Name, OfferId, RecordingId, Redacted, TenantId};
use hotline_contact::{Contact, ContactInput, ContactMachine, Event, Phase};
use hotline_flow::run::RingTarget;
use hotline_ports::Range;
use hotline_ports::runner::{Attempts, RunError, derived_input};
use hotline_routing::agent::{AgentListing, NewOffer, OfferOrigin, StateName, agents_partition};
use hotline_routing::queue::RecordingPolicy;
use hotline_routing::search::{Ask, Search};
use hotline_routing::select::Record;
use hotline_routing::{Agent, AgentInput, AgentMachine, Decision, QueueConfig};

use crate::{Effects, Service, ServiceError, agent_key, contact_key, contacts, setting};

/// Pairs made by one call at most; what is left has its own wake-ups.
const MAX_PAIRS: usize = 50;
/// Refused claims accepted by one call.
const MAX_REFUSALS: usize = 20;
/// Agents looked at for a direct ring.
const MAX_DIRECT: usize = 200;

/// A ring of certain people, not of a queue.
pub(crate) struct Direct {
    pub(crate) target: RingTarget,
    pub(crate) ring_timeout_ms: u32,
    pub(crate) not: Vec<AgentId>,
}

/// How an attempt to offer a contact to an agent ended.
#[derive(PartialEq)]
enum Claim {
    Made,
    /// The contact does not wait any more.
    ContactGone,
    /// The agent cannot take it.
    AgentGone,
}

/// Offers contacts of a queue to free agents until nobody fits any more; gives how many.
///
/// # Errors
/// Faults of the store, after bounded retries.
pub async fn match_queue(service: &Service, tenant: TenantId, queue: &Name) -> Result<usize, ServiceError> {
    let config = setting::queue(service, tenant, queue).await?;
    let mut made = 0;
    let mut refused: Vec<AgentId> = Vec::new();
    let mut refusals = 0;
    while made < MAX_PAIRS && refusals < MAX_REFUSALS {
        let Some((snapshot, contact, agent)) = choose(service, tenant, &config, &refused).await? else {
            break;
        };
        match claim(service, tenant, &config, contact, agent, &snapshot).await? {
            Claim::Made => made += 1,
            Claim::ContactGone => refusals += 1,
            Claim::AgentGone => {
                refusals += 1;
                refused.push(agent);
            }
        }
    }
    Ok(made)
}

async fn choose(
    service: &Service,
    tenant: TenantId,
    config: &QueueConfig,
    refused: &[AgentId],
) -> Result<Option<(Record, ContactId, AgentId)>, ServiceError> {
    let mut search = Search::new(config, service.now());
    loop {
        match search.next() {
            Ask::Read { partition, from, limit } => {
                let range = Range {
                    tenant,
                    partition: &partition,
                    from: from.as_deref(),
                    below: None,
                    limit,
                    descending: false,
                };
                let mut rows = service.ports.store.rows(range).await?;
                // An agent who refused the claim a moment ago is not free for this round.
                for agent in refused {
                    let id = agent.to_string();
                    rows.retain(|row| !row.sort.ends_with(&id));
                }
                search.give(rows);
            }
            Ask::Done { snapshot, decision } => {
                let Decision::Match { contact, agent, .. } = decision else {
                    return Ok(None);
                };
                return Ok(Some((Record::new(&snapshot, decision), contact, agent)));
            }
        }
    }
}

/// The partition that holds why a contact was offered to whom: one record per offer.
pub fn decisions_partition(contact: ContactId) -> String {
    format!("decisions/{contact}")
}

/// One transaction on both sides, with the snapshot that the choice was made from.
async fn claim(
    service: &Service,
    tenant: TenantId,
    config: &QueueConfig,
    contact: ContactId,
    agent: AgentId,
    record: &Record,
) -> Result<Claim, ServiceError> {
    let terms = Terms {
        queue: Some(config.name.clone()),
        label: config.title().to_string(),
        ring_timeout_ms: config.ring_timeout_ms,
        wrap_up_ms: config.wrap_up_ms,
        record: config.recording == RecordingPolicy::Always,
    };
    let offer = OfferId::new(service.now(), service.ports.world.random());
    let row = IndexRow {
        partition: decisions_partition(contact),
        sort: offer.to_string(),
        body: String::from_utf8(record.bytes()).unwrap_or_default(),
    };
    offer_to(service, tenant, contact, agent, offer, &terms, Some(row)).await
}

struct Terms {
    queue: Option<Name>,
    label: String,
    ring_timeout_ms: u32,
    wrap_up_ms: u32,
    record: bool,
}

async fn offer_to(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    agent: AgentId,
    offer: OfferId,
    terms: &Terms,
    row: Option<IndexRow>,
) -> Result<Claim, ServiceError> {
    let (contact_at, agent_at) = (contact_key(tenant, contact), agent_key(tenant, agent));
    let recording = RecordingId::from_u128(offer.as_u128());
    let mut attempts = Attempts::new(&service.ports);
    loop {
        let mut unit = attempts.unit();
        let id = derived_input(&["offer", &offer.to_string()]);
        let seen = unit.has_seen(&contact_at, id).await?;
        let Some(waiting) = unit.state::<ContactMachine>(&contact_at).await? else {
            return Ok(Claim::ContactGone);
        };
        let Some(free) = unit.state::<AgentMachine>(&agent_at).await? else {
            return Ok(Claim::AgentGone);
        };
        if !seen && !waits_for(&waiting, terms.queue.as_ref()) {
            return Ok(Claim::ContactGone);
        }
        let Some(phone) = free.live_phone(unit.now()).copied().or(seen.then_some(free.phone).flatten()) else {
            return Ok(Claim::AgentGone);
        };
        let event = Event::Offer {
            offer,
            agent,
            sip_user: free.profile.sip_user.clone(),
            phone_node: phone.node,
            ring_timeout_ms: terms.ring_timeout_ms,
            caller_label: label(&waiting, &terms.label),
            record: terms.record.then_some(recording),
        };
        let new = NewOffer {
            offer,
            contact,
            queue: terms.queue.clone(),
            ring_timeout_ms: terms.ring_timeout_ms,
            wrap_up_ms: terms.wrap_up_ms,
            origin: OfferOrigin::Routed,
        };
        match unit.step::<AgentMachine>(&agent_at, id, &AgentInput::Offer { offer: new }).await {
            Ok(_) => {}
            Err(RunError::Reject(_)) => return Ok(Claim::AgentGone),
            Err(RunError::Fault(fault)) => return Err(fault.into()),
        }
        let input = ContactInput { event, setting: None };
        match unit.step::<ContactMachine>(&contact_at, id, &input).await {
            Ok(_) => {}
            Err(RunError::Reject(_)) => return Ok(Claim::ContactGone),
            Err(RunError::Fault(fault)) => return Err(fault.into()),
        }
        if let (Some(row), false) = (&row, seen) {
            unit.put_row(tenant, row.clone());
        }
        if let Some(done) = attempts.commit(unit).await? {
            done.finish(&service.ports, &Effects(service)).await;
            return Ok(Claim::Made);
        }
    }
}

fn waits_for(contact: &Contact, queue: Option<&Name>) -> bool {
    matches!(&contact.phase, Phase::Waiting(wait) if wait.place.queue() == queue)
}

/// What the agent's phone shows: the caller's number and the queue.
fn label(contact: &Contact, queue: &str) -> Redacted<String> {
    let number = contact.from.expose();
    let who = if number.is_empty() { "anonymous" } else { number };
    Redacted::new(if queue.is_empty() { who.to_string() } else { format!("{who} ({queue})") })
}

/// Rings a certain agent or one of a group; nobody free is an answer too.
pub(crate) async fn ring_direct(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    effect: &str,
    ring: Direct,
) -> Result<(), ServiceError> {
    for (n, agent) in candidates(service, tenant, &ring).await?.into_iter().enumerate() {
        let hash = hotline_ports::runner::derived_id(&["direct", effect, &n.to_string()]);
        let terms = Terms {
            queue: None,
            label: String::new(),
            ring_timeout_ms: ring.ring_timeout_ms,
            wrap_up_ms: 0,
            record: true,
        };
        let offer = OfferId::from_u128(hash);
        match offer_to(service, tenant, contact, agent, offer, &terms, None).await? {
            Claim::Made | Claim::ContactGone => return Ok(()),
            Claim::AgentGone => {}
        }
    }
    let id = derived_input(&["nobody-free", effect]);
    contacts::step(service, tenant, contact, id, Event::NobodyFree, None).await?;
    Ok(())
}

/// Free agents whom a direct ring is for, longest idle first.
async fn candidates(service: &Service, tenant: TenantId, ring: &Direct) -> Result<Vec<AgentId>, ServiceError> {
    let range =
        Range { tenant, partition: agents_partition(), from: None, below: None, limit: MAX_DIRECT, descending: false };
    let mut found: Vec<(hotline_base::Timestamp, AgentId)> = Vec::new();
    for row in service.ports.store.rows(range).await? {
        let Ok(listing) = serde_json::from_str::<AgentListing>(&row.body) else {
            continue;
        };
        if listing.state != StateName::Available || ring.not.contains(&listing.agent) {
            continue;
        }
        let Some(agent) = crate::agents::get(service, tenant, listing.agent).await? else {
            continue;
        };
        if is_meant(&agent, &ring.target) {
            found.push((agent.idle_since, listing.agent));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, agent)| agent).collect())
}

/// An agent is named by the part of their SIP user name before the dot.
fn is_meant(agent: &Agent, target: &RingTarget) -> bool {
    match target {
        RingTarget::Agent(name) => agent.profile.sip_user.split('.').next() == Some(name.as_str()),
        RingTarget::Group(name) => agent.profile.groups.contains(name),
    }
}
