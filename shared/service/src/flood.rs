//! Which calls are let in: limits of one caller and of a tenant, looked at where a call arrives and
//! before anything is begun for it. What was let in is never turned away afterwards.
//!
//! A call that is let in costs three reads (calls of the caller within the minute, calls of the
//! caller at present, the tenant's gauge) and one conditional write, its ticket for the minute;
//! its contact writes and removes one row more. One that is refused costs the reads, one more that
//! tells a repeat from a new call, a transaction of two items and one row. The tenant's calls are
//! counted at most every two seconds, as far as its limit.

use futures::future::{try_join, try_join_all};
use hotline_base::{ContactId, EntityKey, FactBody, IndexRow, Redacted, TenantId, Timestamp};
use hotline_contact::{CallLimit, CallRefused, caller_key, counted_as, live_partition, node_partition};
use hotline_ports::{Commit, CommitError, FactRow, Fault, Range, Stored, Write};
use hotline_wire::legs::DialogRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::config::{self, Kind, VipList};
use crate::settings::{CallRate, Settings};
use crate::{Service, ServiceError, contacts, gauge, nodes, settings};

const MINUTE_MS: i64 = 60_000;
/// A ticket of a minute is kept so long, milliseconds.
const TICKET_MS: i64 = 600_000;
/// What is told of refused calls is kept so long, milliseconds.
const TOLD_MS: i64 = 7 * 86_400_000;
/// Where the tenant's calls are too many, a caller is asked to come again after so long, seconds.
const TENANT_RETRY_S: u32 = 10;
/// Where a caller's calls are too many at the same time, seconds.
const CALLER_RETRY_S: u32 = 30;
/// A tenant's calls are counted anew after this, milliseconds.
const FRESH_MS: i64 = 2_000;
/// Rows read at a time.
const PAGE: usize = 1_000;
/// Who was refused lately, by minute.
const FLOODS: &str = "floods";
/// The tenant's gauge of calls; queues have gauges of their own.
const CALLS: &str = "calls in all";

/// A call that knocks.
pub(crate) struct Arrival<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) contact: ContactId,
    pub(crate) node: hotline_base::NodeId,
    pub(crate) did: &'a str,
    pub(crate) from: &'a str,
    pub(crate) dialog: Option<&'a DialogRef>,
}

/// Why a call is not let in, and when it may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) limit: CallLimit,
    pub(crate) retry_after_s: u32,
}

/// Somebody whose calls were refused within a minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flood {
    /// The last refusal of the minute.
    pub at: Timestamp,
    /// The call that it was.
    pub call: ContactId,
    /// Which number, by which limit.
    #[serde(flatten)]
    pub refused: CallRefused,
}

/// Lets a call in, or says why not. The same call is always let in again.
///
/// # Errors
/// Faults of the store: the node asks again.
pub(crate) async fn admit(service: &Service, arrival: &Arrival<'_>) -> Result<Option<Refusal>, ServiceError> {
    let settings = settings::of(service, arrival.tenant).await?;
    if is_exempt(service, arrival, &settings).await? {
        return Ok(None);
    }
    let counted = counted_as(arrival.from, arrival.dialog, arrival.node);
    let limits = &settings.limits;
    let rate = if arrival.from.is_empty() { limits.anonymous } else { limits.per_caller };
    let (caller, full) =
        try_join(knock(service, arrival, &counted, rate), is_full(service, arrival.tenant, limits.calls_at_once))
            .await?;
    let (limit, most) = match caller {
        Knock::Repeat => return Ok(None),
        Knock::Refused(limit, most) => (limit, most),
        Knock::Good(_) if full => (CallLimit::TenantAtOnce, limits.calls_at_once),
        Knock::Good(taken) => match take_ticket(service, arrival, &counted, rate, taken).await? {
            true => return Ok(None),
            false => (CallLimit::CallerPerMinute, rate.per_minute),
        },
    };
    // A repeat in another minute, or after its answer was lost: the call is there.
    if contacts::get(service, arrival.tenant, arrival.contact).await?.is_some() {
        return Ok(None);
    }
    let refused = CallRefused {
        did: arrival.did.into(),
        from: arrival.from.to_string().into(),
        counted_as: Redacted::new(counted),
        limit,
        most,
    };
    tell(service, arrival, refused).await?;
    let retry_after_s = match limit {
        CallLimit::TenantAtOnce => TENANT_RETRY_S,
        CallLimit::CallerAtOnce => CALLER_RETRY_S,
        CallLimit::CallerPerMinute => {
            let left = MINUTE_MS - service.now().as_millis().rem_euclid(MINUTE_MS);
            u32::try_from(left.div_euclid(1_000) + 1).unwrap_or(CALLER_RETRY_S)
        }
    };
    Ok(Some(Refusal { limit, retry_after_s }))
}

async fn is_exempt(service: &Service, arrival: &Arrival<'_>, settings: &Settings) -> Result<bool, ServiceError> {
    for list in &settings.limits.exempt_lists {
        let found: Option<VipList> = config::cached(service, arrival.tenant, Kind::VIP_LIST, list.as_str()).await?;
        if found.is_some_and(|list| list.numbers.contains(arrival.from)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a caller's present calls say about one more.
enum Knock {
    /// There is room; these tickets of the minute are taken.
    Good(BTreeSet<String>),
    /// This very call has its ticket already.
    Repeat,
    Refused(CallLimit, u32),
}

fn tickets(counted: &str) -> String {
    format!("let-in/{counted}")
}

/// Tickets of a minute are together and before those of the next.
fn minute(now: Timestamp) -> String {
    format!("{:010}", now.as_millis().div_euclid(MINUTE_MS).max(0))
}

async fn knock(service: &Service, arrival: &Arrival<'_>, counted: &str, rate: CallRate) -> Result<Knock, ServiceError> {
    let tenant = arrival.tenant;
    let (partition, live) = (tickets(counted), live_partition(counted));
    let from = minute(service.now());
    let limit = rate.per_minute as usize;
    let given = Range { tenant, partition: &partition, from: Some(&from), below: None, limit, descending: false };
    let limit = rate.at_once as usize + 1;
    let present = Range { tenant, partition: &live, from: None, below: None, limit, descending: false };
    let (given, present) = try_join(service.ports.store.rows(given), service.ports.store.rows(present)).await?;
    let own = arrival.contact.to_string();
    if given.iter().any(|row| row.body == own) || present.iter().any(|row| row.sort == own) {
        return Ok(Knock::Repeat);
    }
    if given.len() >= rate.per_minute as usize {
        return Ok(Knock::Refused(CallLimit::CallerPerMinute, rate.per_minute));
    }
    if present.len() >= rate.at_once as usize {
        return Ok(Knock::Refused(CallLimit::CallerAtOnce, rate.at_once));
    }
    Ok(Knock::Good(given.into_iter().map(|row| row.sort).collect()))
}

/// Takes one of the minute's tickets that are left; `false` where others took them all meanwhile.
async fn take_ticket(
    service: &Service,
    arrival: &Arrival<'_>,
    counted: &str,
    rate: CallRate,
    taken: BTreeSet<String>,
) -> Result<bool, ServiceError> {
    let now = service.now();
    let minute = minute(now);
    // Calls that come together begin at different places, so that they are not in each other's way.
    let first = (arrival.contact.as_u128() % u128::from(rate.per_minute.max(1))) as u32;
    for n in 0..rate.per_minute {
        let sort = format!("{minute}/{:04}", (first + n) % rate.per_minute);
        if taken.contains(&sort) {
            continue;
        }
        let row = IndexRow { partition: tickets(counted), sort, body: arrival.contact.to_string() };
        if service.ports.store.put_row_new(arrival.tenant, row, Some(now.plus_ms(TICKET_MS))).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether as many calls of the tenant are there as it may have, by its gauge.
async fn is_full(service: &Service, tenant: TenantId, most: u32) -> Result<bool, ServiceError> {
    let live: u32 = gauge::fresh(service, tenant, CALLS, FRESH_MS, || count(service, tenant, most)).await?;
    Ok(live >= most)
}

/// The tenant's calls on all nodes, as far as `most`.
async fn count(service: &Service, tenant: TenantId, most: u32) -> Result<u32, ServiceError> {
    let now = service.now();
    let live = nodes::list(service).await?.into_iter().filter(|lease| lease.is_live(now));
    let counts = live.map(|lease| count_on(service, tenant, node_partition(lease.node), most as usize));
    let sum: usize = try_join_all(counts).await?.into_iter().sum();
    Ok(u32::try_from(sum).unwrap_or(u32::MAX))
}

async fn count_on(service: &Service, tenant: TenantId, partition: String, most: usize) -> Result<usize, ServiceError> {
    let mut count = 0;
    let mut after: Option<String> = None;
    while count < most {
        let (from, limit) = (after.as_deref(), PAGE.min(most - count));
        let range = Range { tenant, partition: &partition, from, below: None, limit, descending: false };
        let rows = service.ports.store.rows(range).await?;
        count += rows.len();
        match rows.last() {
            Some(last) if rows.len() == limit => after = Some(format!("{}\u{1}", last.sort)),
            _ => break,
        }
    }
    Ok(count)
}

/// Keeps the refusal as a fact, once, and lists who was refused.
async fn tell(service: &Service, arrival: &Arrival<'_>, refused: CallRefused) -> Result<(), ServiceError> {
    let (tenant, at) = (arrival.tenant, service.now());
    let subject = EntityKey { tenant, kind: CallRefused::KIND.into(), id: arrival.contact.to_string() };
    let wrong = |error| Fault::permanent("flood", error);
    let body = serde_json::to_value(&refused).map_err(wrong)?;
    let fact =
        FactRow { subject: subject.clone(), version: 1, index: 0, at, name: refused.name().into(), body: body.clone() };
    let next = Stored { version: 1, body, seen: Vec::new() };
    let write = Write { key: subject, expected: 0, next, expires: Some(at.plus_ms(TOLD_MS)) };
    match service.ports.store.commit(Commit { writes: vec![write], facts: vec![fact], ..Commit::default() }).await {
        // It was told already: the same call, asked again.
        Ok(()) | Err(CommitError::Conflict) => {}
        Err(CommitError::Fault(fault)) => return Err(fault.into()),
    }
    let sort = format!("{}/{}", minute(at), caller_key(refused.counted_as.expose()));
    let flood = Flood { at, call: arrival.contact, refused };
    let body = serde_json::to_string(&flood).map_err(wrong)?;
    let row = IndexRow { partition: FLOODS.into(), sort, body };
    Ok(service.ports.store.put_row(tenant, row, Some(at.plus_ms(TOLD_MS))).await?)
}

/// Callers who were refused within the last days, one row a caller and minute, newest first, below
/// the sort key `below`.
///
/// # Errors
/// A fault of the store.
pub async fn list(
    service: &Service,
    tenant: TenantId,
    below: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, Flood)>, ServiceError> {
    let range = Range { tenant, partition: FLOODS, from: None, below, limit, descending: true };
    let rows = service.ports.store.rows(range).await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.sort, serde_json::from_str(&row.body).ok()?))).collect())
}
