//! A recorded period, read back from facts, run again under other rules.

use futures::{StreamExt, TryStreamExt, stream};
use hotline_base::{AgentId, ContactId, EntityKey, FieldError, Invalid, Lang, Name, TenantId, Timestamp};
use hotline_contact::{CONTACTS_PARTITION, CONTACTS_SHARDS, ContactFact, LeftQueue};
use hotline_ports::{FactRow, Range};
use hotline_routing::agent::StateName;
use hotline_routing::whatif::{
    Call, Column, MAX_PERIOD_MS, Member, Period, Rules, Seen, Shift, Visit, recorded, rerun,
};
use hotline_routing::{AgentFact, QueueConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::config::{self, Kind};
use crate::{Service, ServiceError, agent_key, agents, contact_key, lists};

/// Calls of one comparison at most; the first ones of the period are taken.
pub const MAX_CALLS: usize = 5_000;
/// Agents of one comparison at most.
const MAX_AGENTS: usize = 2_000;
/// Queues of a tenant.
const MAX_QUEUES: usize = 500;
/// Rows and facts read at a time.
const PAGE: usize = 500;
/// Facts of one entity read at most.
const MAX_FACTS: usize = 5_000;
/// Histories read at the same time.
const AT_ONCE: usize = 16;
/// Staffing is taken over for so long after the period, milliseconds, for the calls that wait.
const AFTER_MS: i64 = 3_600_000;

/// What was, what the model makes of it, and what would have been.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Calls that came from here on
    pub from: Timestamp,
    /// and before this.
    pub to: Timestamp,
    /// Calls that were run.
    pub calls: usize,
    /// Agents who were there.
    pub agents: usize,
    /// There were more calls than [`MAX_CALLS`]: only the first ones were run.
    pub truncated: bool,
    /// How it was done, in sentences.
    pub method: [&'static str; 4],
    /// As it was.
    pub recorded: Column,
    /// Run again under the present rules: how far this is from `recorded` shows how good the model is.
    pub present: Column,
    /// Run again under the other rules.
    pub changed: Column,
}

const METHOD: [&str; 4] = [
    "Calls, staffing, ring, talk and wrap-up times are the recorded ones; who gets whom is decided by the router itself.",
    "Who left leaves at the same wait unless answered before; the patience of the answered is drawn from the Kaplan-Meier estimate of their queue, given the wait that was seen.",
    "A call that nobody answered takes the times of another call of its queue; every offer is answered; an agent finishes the call at hand.",
    "Not repeated: affinity to the last agent, missed and declined offers, limits per caller, reserves called in, pauses between the attempts of a call back.",
];

/// Runs a period of a tenant under its present rules and under others.
///
/// # Errors
/// Everything that is wrong with the period or the rules, by field; faults of the store.
pub async fn compare(
    service: &Service,
    tenant: TenantId,
    from: Timestamp,
    to: Timestamp,
    rules: &Rules,
) -> Result<Comparison, ServiceError> {
    if to <= from {
        return Err(Invalid::one("to", "not after `from`").into());
    }
    if to.since_ms(from) > MAX_PERIOD_MS {
        return Err(Invalid::one("from", "more than 7 days before `to`; ask for a shorter period").into());
    }
    let queues = queues(service, tenant).await?;
    let (period, truncated) = record(service, tenant, from, to).await?;
    let changed = match rules.apply(&queues, &period) {
        Ok(changed) => changed,
        Err(errors) => return Err(errors_of(errors).under("rules").into()),
    };
    Ok(Comparison {
        from,
        to,
        calls: period.calls.len(),
        agents: period.staff.iter().filter(|member| !member.shifts.is_empty()).count(),
        truncated,
        method: METHOD,
        recorded: recorded(&period, &queues),
        present: rerun(&period, &queues, &period.staff),
        changed: rerun(&period, &changed.queues, &changed.staff),
    })
}

fn errors_of(errors: Vec<FieldError>) -> Invalid {
    match Invalid::check(errors) {
        Err(invalid) => invalid,
        Ok(()) => Invalid::one("", "cannot be used"),
    }
}

async fn queues(service: &Service, tenant: TenantId) -> Result<BTreeMap<Name, QueueConfig>, ServiceError> {
    let found = config::list::<QueueConfig>(service, tenant, Kind::QUEUE, None, MAX_QUEUES).await?;
    Ok(found.into_iter().map(|doc| (doc.body.name.clone(), doc.body)).collect())
}

/// The period as the facts tell it, and whether calls were left out.
///
/// # Errors
/// Faults of the store.
pub async fn record(
    service: &Service,
    tenant: TenantId,
    from: Timestamp,
    to: Timestamp,
) -> Result<(Period, bool), ServiceError> {
    let (found, truncated) = arrived(service, tenant, from, to).await?;
    let until = to.plus_ms(AFTER_MS).min(service.now());
    let staff = staff(service, tenant, from, until).await?;
    let wraps: BTreeMap<(AgentId, ContactId), i64> = staff
        .iter()
        .flat_map(|(member, wraps)| wraps.iter().map(|(contact, ms)| ((member.agent, *contact), *ms)))
        .collect();
    let mut calls: Vec<Call> = stream::iter(found)
        .map(|contact| async move {
            let facts = history(service, &contact_key(tenant, contact), None, None).await?;
            Ok::<_, ServiceError>((contact, facts))
        })
        .buffer_unordered(AT_ONCE)
        .map_ok(|(contact, facts)| call(contact, &facts, &wraps))
        .try_collect()
        .await?;
    calls.sort_by_key(|call| call.contact);
    let staff = staff.into_iter().map(|(member, _)| member).collect();
    Ok((Period { from, to, calls, staff }, truncated))
}

async fn arrived(
    service: &Service,
    tenant: TenantId,
    from: Timestamp,
    to: Timestamp,
) -> Result<(Vec<ContactId>, bool), ServiceError> {
    let sort = |at: Timestamp| format!("{:015}", at.as_millis().max(0));
    let (mut next, below) = (sort(from), sort(to));
    let mut found = Vec::new();
    loop {
        let range = Range {
            tenant,
            partition: CONTACTS_PARTITION,
            from: Some(&next),
            below: Some(&below),
            limit: PAGE,
            descending: false,
        };
        let rows = lists::rows(service, CONTACTS_SHARDS, range).await?;
        let ids = rows.iter().filter_map(|row| row.sort.rsplit('/').next()?.parse::<ContactId>().ok());
        found.extend(ids);
        if found.len() > MAX_CALLS {
            found.truncate(MAX_CALLS);
            return Ok((found, true));
        }
        match rows.last() {
            Some(last) if rows.len() == PAGE => next = format!("{}\u{1}", last.sort),
            _ => return Ok((found, false)),
        }
    }
}

/// An entity's facts after a place in its history, as long as they are before `until`.
async fn history(
    service: &Service,
    subject: &EntityKey,
    after: Option<(u64, u32)>,
    until: Option<Timestamp>,
) -> Result<Vec<FactRow>, ServiceError> {
    let mut found: Vec<FactRow> = Vec::new();
    let mut after = after;
    loop {
        let page = service.ports.store.facts(subject, after, PAGE).await?;
        let full = page.len() == PAGE;
        after = page.last().map(|fact| (fact.version, fact.index));
        let late = |fact: &FactRow| until.is_some_and(|until| fact.at >= until);
        let over = page.last().is_some_and(late);
        found.extend(page);
        if !full || over || found.len() >= MAX_FACTS {
            return Ok(found);
        }
    }
}

/// The stays in queues that a contact's facts tell of.
fn call(contact: ContactId, facts: &[FactRow], wraps: &BTreeMap<(AgentId, ContactId), i64>) -> Call {
    let mut told = Call { contact, lang: None, visits: Vec::new() };
    let mut lang: Option<Lang> = None;
    let mut open: Option<(Visit, Timestamp)> = None;
    let mut talks_since: Option<Timestamp> = None;
    let close = |open: &mut Option<(Visit, Timestamp)>, told: &mut Call, seen: Option<Seen>, at: Timestamp| {
        if let Some((mut visit, since)) = open.take() {
            visit.seen = seen.unwrap_or(Seen::Cut { wait_ms: at.since_ms(since) });
            told.visits.push(visit);
        }
    };
    for fact in facts {
        let Ok(body) = ContactFact::deserialize(&fact.body) else { continue };
        match body {
            ContactFact::ContactArrived { lang: first, .. } => lang = Some(first),
            ContactFact::LanguageSet { lang: other } => lang = Some(other),
            ContactFact::ContactEnqueued { queue, credit_ms, since } => {
                close(&mut open, &mut told, None, fact.at);
                if told.visits.is_empty() {
                    told.lang = lang;
                }
                let kept_ms = fact.at.since_ms(since).max(0);
                let seen = Seen::Cut { wait_ms: 0 };
                open = Some((Visit { queue, at: fact.at, kept_ms, credit_ms, seen }, since));
            }
            ContactFact::PlaceTaken { waited_ms, .. } => {
                if let Some((visit, since)) = &mut open {
                    visit.kept_ms += waited_ms.max(0);
                    *since = since.plus_ms(-waited_ms.max(0));
                }
            }
            ContactFact::QueueLeft { wait_ms, why, .. } => {
                let seen = match why {
                    LeftQueue::Overflowed => Seen::Overflowed { wait_ms },
                    _ => Seen::Left { wait_ms },
                };
                close(&mut open, &mut told, Some(seen), fact.at);
            }
            ContactFact::OfferAccepted { agent, wait_ms, ring_ms, queue: Some(_), .. } => {
                let wrap_ms = wraps.get(&(agent, contact)).copied();
                let seen = Seen::Answered { wait_ms, ring_ms, talk_ms: 0, wrap_ms };
                close(&mut open, &mut told, Some(seen), fact.at);
                talks_since = Some(fact.at);
            }
            ContactFact::AgentLegEnded { talk_ms, .. } => {
                talked(&mut told, talk_ms);
                talks_since = None;
            }
            ContactFact::ContactEnded(ending) => {
                let seen = ending.abandoned_after_ms.map(|wait_ms| Seen::Abandoned { wait_ms });
                close(&mut open, &mut told, seen, fact.at);
                if let Some(since) = talks_since.take() {
                    talked(&mut told, fact.at.since_ms(since));
                }
            }
            _ => {}
        }
    }
    if let Some(last) = facts.last() {
        close(&mut open, &mut told, None, last.at);
    }
    told
}

fn talked(call: &mut Call, ms: i64) {
    if let Some(Visit { seen: Seen::Answered { talk_ms, .. }, .. }) = call.visits.last_mut() {
        *talk_ms = ms.max(0);
    }
}

type Wraps = Vec<(ContactId, i64)>;

/// Who was there, and how long each wrapped up after which contact.
async fn staff(
    service: &Service,
    tenant: TenantId,
    from: Timestamp,
    until: Timestamp,
) -> Result<Vec<(Member, Wraps)>, ServiceError> {
    let mut ids = Vec::new();
    loop {
        let page = agents::list(service, tenant, ids.last().copied(), PAGE).await?;
        let full = page.len() == PAGE;
        ids.extend(page.into_iter().map(|listing| listing.agent));
        if !full || ids.len() >= MAX_AGENTS {
            break;
        }
    }
    ids.truncate(MAX_AGENTS);
    let mut staff: Vec<(Member, Wraps)> = stream::iter(ids)
        .map(|agent| member(service, tenant, agent, from, until))
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await?;
    staff.sort_by_key(|(member, _)| member.agent);
    Ok(staff)
}

/// The place in an agent's history behind which everything happened at `from` or later: a history
/// is ordered by time, so it is halved again and again.
async fn place_of(
    service: &Service,
    key: &EntityKey,
    newest: u64,
    from: Timestamp,
) -> Result<Option<(u64, u32)>, ServiceError> {
    let (mut low, mut high) = (0, newest);
    while low < high {
        let middle = low + (high - low) / 2;
        let next = service.ports.store.facts(key, Some((middle, u32::MAX)), 1).await?;
        match next.first() {
            Some(fact) if fact.at < from => low = fact.version.max(middle + 1),
            _ => high = middle,
        }
    }
    Ok((low > 0).then_some((low, u32::MAX)))
}

async fn member(
    service: &Service,
    tenant: TenantId,
    agent: AgentId,
    from: Timestamp,
    until: Timestamp,
) -> Result<Option<(Member, Wraps)>, ServiceError> {
    let key = agent_key(tenant, agent);
    let Some(state) = agents::get(service, tenant, agent).await? else { return Ok(None) };
    let newest = service.ports.store.load(&key).await?.map_or(0, |stored| stored.version);
    let after = place_of(service, &key, newest, from).await?;
    let facts = history(service, &key, after, Some(until)).await?;
    let mut member = Member {
        agent,
        name: state.profile.sip_user.clone(),
        skills: state.profile.skills.clone(),
        queues: state.profile.queues.iter().map(|(name, m)| (name.clone(), m.preference)).collect(),
        shifts: Vec::new(),
        occupied_ms: 0,
    };
    let mut wraps = Vec::new();
    let mut since = from;
    let mut last = None;
    for fact in facts {
        let Ok(AgentFact::StateEntered { from: left, to, for_ms, contact, .. }) = AgentFact::deserialize(&fact.body)
        else {
            continue;
        };
        spent(&mut member, left, since, fact.at.min(until));
        since = fact.at.min(until);
        last = Some(to);
        if let (StateName::WrapUp, Some(contact)) = (left, contact) {
            wraps.push((contact, for_ms));
        }
        if fact.at >= until {
            break;
        }
    }
    // Where nothing changed any more the agent is still as the last fact, or the state, says.
    spent(&mut member, last.unwrap_or(state.state.name()), since, until);
    Ok(Some((member, wraps)))
}

fn spent(member: &mut Member, state: StateName, from: Timestamp, to: Timestamp) {
    if to <= from {
        return;
    }
    let occupied = matches!(state, StateName::Offered | StateName::Busy | StateName::WrapUp);
    if occupied {
        member.occupied_ms += to.since_ms(from);
    }
    if occupied || state == StateName::Available {
        match member.shifts.last_mut() {
            Some(shift) if shift.to == from => shift.to = to,
            _ => member.shifts.push(Shift { from, to }),
        }
    }
}
