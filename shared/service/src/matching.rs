//! Brings waiting contacts and free agents together.
//!
//! Both sides write before they look: a contact its waiting row, an agent its availability rows.
//! Reads are strongly consistent and the claim is one transaction on both versions, so that no
//! wake-up is lost and nobody is offered twice. One matcher at a time works on a queue and claims
//! many pairs at once ([`crate::turns`]).

use futures::future::join_all;
use hotline_base::{AgentId, ContactId, IndexRow, Name, NodeId, OfferId, RecordingId, Redacted, TenantId, UserId};
use hotline_contact::{Contact, ContactInput, ContactMachine, Event, PartyLeg, Phase};
use hotline_flow::run::RingTarget;
use hotline_ports::Range;
use hotline_ports::runner::{Attempts, RunError, derived_input};
use hotline_routing::agent::{AGENTS_SHARDS, AgentListing, NewOffer, OfferOrigin, StateName, agents_partition};
use hotline_routing::callback::CallFirst;
use hotline_routing::queue::RecordingPolicy;
use hotline_routing::search::{Ask, Search};
use hotline_routing::select::Record;
use hotline_routing::{Agent, AgentInput, AgentMachine, Decision, QueueConfig};
use std::collections::BTreeSet;
use std::time::Duration;

use crate::nodes::{self, PhoneNode};
use crate::turns::{self, Hold};
use crate::{Effects, Service, ServiceError, agent_key, callbacks, contact_key, contacts, lists, setting};

/// Pairs made by one call, about; what is left is looked at by a message.
const MAX_PAIRS: usize = 50;
/// Refused claims accepted by one call.
const MAX_REFUSALS: usize = 20;
/// A call back that no node can make now is looked at again after this, milliseconds.
const NO_NODE_MS: i64 = 15_000;
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
pub(crate) enum Claim {
    Made,
    /// The contact does not wait any more.
    ContactGone,
    /// The agent cannot take it.
    AgentGone,
    /// The node of the agent's phone does not answer just now: it may be back in a moment, or its
    /// phones are lost.
    NodeAway,
}

/// Offers contacts of a queue to free agents until nobody fits any more, or leaves it to who is at
/// it already; gives how many were offered.
///
/// # Errors
/// Faults of the store, after bounded retries.
pub async fn match_queue(service: &Service, tenant: TenantId, queue: &Name) -> Result<usize, ServiceError> {
    let present = turns::present(service, tenant, queue).await?;
    if present.is_taken {
        if !present.is_asked {
            turns::look_after(service, tenant, queue).await?;
        }
        return Ok(0);
    }
    let config = setting::queue(service, tenant, queue).await?;
    let mut run = Run { service, tenant, config: &config, made: 0, refusals: 0, refused: BTreeSet::new() };
    loop {
        // After a turn this is the look for those who found it taken.
        let first = run.look().await?;
        if first.pairs.is_empty() {
            return Ok(run.made);
        }
        if run.is_tired() {
            turns::look_in(service, tenant, queue, Duration::ZERO).await?;
            return Ok(run.made);
        }
        let Some(turn) = Hold::take(service, tenant, queue).await? else {
            turns::look_after(service, tenant, queue).await?;
            return Ok(run.made);
        };
        let done = run.work(first, &turn).await;
        let left = turn.leave(service).await;
        done?;
        left?;
    }
}

/// What one look at the heads of a queue found.
struct Found {
    pairs: Vec<(Record, ContactId, AgentId)>,
    /// There may be more.
    more: bool,
}

/// One call of [`match_queue`].
struct Run<'a> {
    service: &'a Service,
    tenant: TenantId,
    config: &'a QueueConfig,
    made: usize,
    refusals: usize,
    /// Who could not be claimed a moment ago is left out for the rest of the call.
    refused: BTreeSet<String>,
}

impl Run<'_> {
    /// Whether it is somebody else's turn: the rest is asked for by a message.
    fn is_tired(&self) -> bool {
        self.made >= MAX_PAIRS || self.refusals >= MAX_REFUSALS
    }

    /// Claims what was found, and what there is after it while the turn lasts.
    async fn work(&mut self, first: Found, turn: &Hold) -> Result<(), ServiceError> {
        let mut found = first;
        loop {
            let more = found.more;
            self.claim_all(found).await?;
            if !more || self.is_tired() || turn.is_over(self.service.now()) {
                return Ok(());
            }
            found = self.look().await?;
            if found.pairs.is_empty() {
                return Ok(());
            }
        }
    }

    /// Who gets whom: the choices that the router makes one after the other.
    async fn look(&self) -> Result<Found, ServiceError> {
        let mut search = Search::new(self.config, self.service.now());
        let mut pairs = Vec::new();
        loop {
            match search.next() {
                Ask::Read { partition, from, limit } => {
                    let range = Range {
                        tenant: self.tenant,
                        partition: &partition,
                        from: from.as_deref(),
                        below: None,
                        limit,
                        descending: false,
                    };
                    let mut rows = lists::rows(self.service, self.config.shards, range).await?;
                    rows.retain(|row| !row.sort.rsplit('/').next().is_some_and(|id| self.refused.contains(id)));
                    search.give(rows);
                }
                Ask::Done { snapshot, decision } => {
                    let Decision::Match { contact, agent, .. } = decision else {
                        return Ok(Found { pairs, more: false });
                    };
                    pairs.push((Record::new(&snapshot, decision), contact, agent));
                    if !search.take(contact, agent) {
                        return Ok(Found { pairs, more: true });
                    }
                }
            }
        }
    }

    /// Claims pairs at the same time: they share neither contact nor agent.
    async fn claim_all(&mut self, found: Found) -> Result<(), ServiceError> {
        let Self { service, tenant, config, .. } = *self;
        let claims =
            found.pairs.iter().map(|(record, contact, agent)| claim(service, tenant, config, *contact, *agent, record));
        let mut failed = None;
        for ((_, contact, agent), claim) in found.pairs.iter().zip(join_all(claims).await) {
            match claim {
                Ok(Claim::Made) => self.made += 1,
                Ok(Claim::ContactGone) => {
                    self.refusals += 1;
                    self.refused.insert(contact.to_string());
                }
                Ok(Claim::AgentGone) => {
                    self.refusals += 1;
                    self.refused.insert(agent.to_string());
                }
                Ok(Claim::NodeAway) => {
                    self.refusals += 1;
                    self.refused.insert(agent.to_string());
                    // A node that is back in time tells nobody.
                    if let Err(error) = turns::look_soon(service, tenant, &config.name).await {
                        failed = failed.or(Some(error));
                    }
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
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
        origin: OfferOrigin::Routed,
        by: None,
    };
    let offer = OfferId::new(service.now(), service.ports.world.random());
    let row = IndexRow {
        partition: decisions_partition(contact),
        sort: offer.to_string(),
        body: String::from_utf8(record.bytes()).unwrap_or_default(),
    };
    offer_to(service, tenant, contact, agent, offer, &terms, Some(row)).await
}

/// On what terms a contact is offered.
pub(crate) struct Terms {
    pub(crate) queue: Option<Name>,
    pub(crate) label: String,
    pub(crate) ring_timeout_ms: u32,
    pub(crate) wrap_up_ms: u32,
    pub(crate) record: bool,
    pub(crate) origin: OfferOrigin,
    /// Who asked for this agent and why, where it was not the contact's turn.
    pub(crate) by: Option<(UserId, Redacted<String>)>,
}

/// Calls a party back, where that is what the contact waits for.
enum Turn {
    /// The contact is here: an agent is offered.
    Offer,
    /// This node calls the party, the agent first.
    Dial(NodeId),
    /// The party is rung first, or nobody may be called now: nothing is left to offer.
    Done,
}

/// What to do when it is a contact's turn.
async fn turn(service: &Service, tenant: TenantId, contact: &Contact, phone: NodeId) -> Result<Turn, ServiceError> {
    let (Some(order), PartyLeg::Absent) = (&contact.order, contact.leg) else {
        return Ok(Turn::Offer);
    };
    let step = async |event, what: &str| {
        let moment = contact.wait().map_or(0, |wait| wait.looked_at.as_millis()).to_string();
        let tries = order.tries.to_string();
        let id = derived_input(&["turn", what, &contact.id.to_string(), &tries, &moment]);
        match contacts::step(service, tenant, contact.id, id, event, None).await {
            Err(ServiceError::Reject(_)) | Ok(_) => Ok(Turn::Done),
            Err(error) => Err(error),
        }
    };
    if let Some(until) = callbacks::opens(service, tenant, &order.queue).await? {
        return step(Event::Postpone { until, closed: true }, "postpone").await;
    }
    let mut takers = nodes::Takers::find(service).await?;
    let Some(node) = takers.prefer(phone) else {
        // No node can call now; the next look is soon.
        let until = service.now().plus_ms(NO_NODE_MS);
        return step(Event::Postpone { until, closed: false }, "postpone").await;
    };
    let config = setting::queue(service, tenant, &order.queue).await?;
    match config.callback.first {
        CallFirst::Agent => Ok(Turn::Dial(node)),
        CallFirst::Party => step(Event::DialParty { node }, "dial").await,
    }
}

/// Offers a contact to an agent in one transaction on both.
pub(crate) async fn offer_to(
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
        let turn = if seen { Turn::Offer } else { turn(service, tenant, &waiting, phone.node).await? };
        let dial = match turn {
            Turn::Offer => None,
            Turn::Dial(node) => Some(node),
            Turn::Done => return Ok(Claim::ContactGone),
        };
        let carrier = dial.unwrap_or(waiting.node);
        let phone_address = match nodes::phone_node(service, carrier, phone.node).await? {
            PhoneNode::Here => None,
            PhoneNode::At(address) => Some(address),
            PhoneNode::Dead => return Ok(Claim::NodeAway),
        };
        let event = Event::Offer {
            offer,
            agent,
            sip_user: free.profile.sip_user.clone(),
            phone_node: phone.node,
            ring_timeout_ms: terms.ring_timeout_ms,
            caller_label: label(&waiting, &terms.label),
            record: terms.record.then_some(recording),
            phone_address,
            dial,
            by: terms.by.clone(),
        };
        let new = NewOffer {
            offer,
            contact,
            queue: terms.queue.clone(),
            ring_timeout_ms: terms.ring_timeout_ms,
            wrap_up_ms: terms.wrap_up_ms,
            origin: terms.origin,
        };
        match unit.step::<AgentMachine>(&agent_at, id, &AgentInput::Offer { offer: new }).await {
            Ok(_) => {}
            Err(RunError::Reject(_)) => return Ok(Claim::AgentGone),
            Err(RunError::Fault(fault)) => return Err(fault.into()),
        }
        let setting = match dial {
            Some(_) => contacts::setting_for(service, tenant, Some(&waiting), &event, None, unit.now()).await?,
            None => None,
        };
        let input = ContactInput { event, setting };
        match unit.step::<ContactMachine>(&contact_at, id, &input).await {
            Ok(outcome) => contacts::serves(service, Some(&waiting), outcome.state()).await?,
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
pub(crate) fn label(contact: &Contact, queue: &str) -> Redacted<String> {
    let number = contact.from.expose();
    let who = if number.is_empty() { "anonymous" } else { number };
    let back = match &contact.order {
        Some(order) if order.lost_call => ", call back after a lost call",
        Some(_) => ", call back",
        None => "",
    };
    Redacted::new(match queue {
        "" => format!("{who}{back}"),
        queue => format!("{who} ({queue}{back})"),
    })
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
            origin: OfferOrigin::Routed,
            by: None,
        };
        let offer = OfferId::from_u128(hash);
        match offer_to(service, tenant, contact, agent, offer, &terms, None).await? {
            Claim::Made | Claim::ContactGone => return Ok(()),
            Claim::AgentGone | Claim::NodeAway => {}
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
    for row in lists::rows(service, AGENTS_SHARDS, range).await? {
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
