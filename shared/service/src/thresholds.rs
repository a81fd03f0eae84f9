//! Thresholds of queues: looked at when something happens in a queue, at the moment at which its
//! longest wait would pass one, and every minute.
//!
//! Percentages are counted over the present quarter of an hour and the one before it, from the
//! counters of reports.

use futures::future::try_join_all;
use hotline_base::{EntityKey, IndexRow, Machine, Name, TenantId, Timestamp};
use hotline_contact::{ContactFact, ContactMachine};
use hotline_ports::runner::{Attempts, hand_over};
use hotline_ports::{FactRow, Range, TimerRow};
use hotline_report::{INTERVAL_MS, ROWS_PER_INTERVAL, interval_of, partition, sort_of};
use hotline_routing::alarm::{AlarmMachine, Observe, Observed, OpenAlarm, alarms_partition};
use hotline_routing::threshold::{MAX_WAITING, Metric};
use hotline_routing::waiting::waiting_partition;
use hotline_routing::{QueueConfig, WaitingEntry};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::{Effects, Service, ServiceError, lists, setting, timers};

/// A queue in which much happens is looked at no more often than this, milliseconds.
const LOOK_EVERY_MS: i64 = 2_000;
/// The longest wait is that of so many contacts at the head; with credit an older one may be
/// further behind.
const HEAD: usize = 100;
/// Rows read at a time.
const PAGE: usize = 1_000;
/// Queues looked at by one tick.
const PER_TICK: usize = 1_000;
/// Open alarms in one list.
const MAX_OPEN: usize = 500;
/// Queues that were ever looked at, over all tenants.
const WATCHED: &str = "watched-queues";

fn key(tenant: TenantId, queue: &Name) -> EntityKey {
    EntityKey::of::<AlarmMachine>(tenant, queue)
}

/// The open alarms of a tenant, by queue.
///
/// # Errors
/// A fault of the store.
pub async fn open(service: &Service, tenant: TenantId) -> Result<Vec<OpenAlarm>, ServiceError> {
    let partition = alarms_partition();
    let range = Range { tenant, partition, from: None, below: None, limit: MAX_OPEN, descending: false };
    let rows = service.ports.store.rows(range).await?;
    Ok(rows.iter().filter_map(|row| serde_json::from_str(&row.body).ok()).collect())
}

/// Looks at a queue and raises or clears what has changed.
///
/// # Errors
/// Faults of the store.
pub async fn look(service: &Service, tenant: TenantId, queue: &Name) -> Result<(), ServiceError> {
    let config = setting::queue(service, tenant, queue).await?;
    let observed = observe(service, tenant, &config).await?;
    let input = Observe { queue: queue.clone(), thresholds: config.thresholds.clone(), observed };
    let (key, id) = (key(tenant, queue), service.fresh_input());
    let mut attempts = Attempts::new(&service.ports);
    loop {
        let mut unit = attempts.unit();
        let is_new = unit.version(&key).await? == 0;
        unit.step::<AlarmMachine>(&key, id, &input).await?;
        if is_new {
            let sort = format!("{tenant}/{queue}");
            unit.put_row(TenantId::PLATFORM, IndexRow { partition: WATCHED.into(), sort, body: "{}".into() });
        }
        if let Some(done) = attempts.commit(unit).await? {
            done.finish(&service.ports, &Effects(service)).await;
            return Ok(());
        }
    }
}

/// Looks at every queue that has thresholds or open alarms; gives how many. Run it every minute.
///
/// # Errors
/// Faults of the store; the next tick looks again.
pub async fn tick(service: &Service) -> Result<usize, ServiceError> {
    let store = &service.ports.store;
    let range = Range {
        tenant: TenantId::PLATFORM,
        partition: WATCHED,
        from: None,
        below: None,
        limit: PER_TICK,
        descending: false,
    };
    let mut looked = 0;
    for row in store.rows(range).await? {
        let Some((tenant, queue)) = row.sort.split_once('/') else { continue };
        let (Ok(tenant), Ok(queue)) = (tenant.parse::<TenantId>(), queue.parse::<Name>()) else { continue };
        let mut unit = Attempts::new(&service.ports).unit();
        let state = unit.state::<AlarmMachine>(&key(tenant, &queue)).await?;
        let idle = state.is_none_or(|state| state.open.is_empty());
        if idle && setting::queue(service, tenant, &queue).await?.thresholds.is_empty() {
            // Its thresholds were removed; the first look after they come back lists it again.
            continue;
        }
        look(service, tenant, &queue).await?;
        looked += 1;
    }
    Ok(looked)
}

/// The moment at which a longest wait was to be looked at.
///
/// # Errors
/// Faults of the store; the timer stays armed.
pub(crate) async fn fire(service: &Service, timer: &TimerRow) -> Result<(), ServiceError> {
    let mut unit = Attempts::new(&service.ports).unit();
    let state = unit.state::<AlarmMachine>(&timer.subject).await?;
    let due = state.as_ref().and_then(|state| AlarmMachine::deadlines(state).get(&timer.timer).copied());
    match (due, state) {
        (Some(due), _) if due == timer.due && due > unit.now() => Ok(hand_over(&service.ports, timer).await?),
        (Some(due), Some(state)) if due == timer.due => look(service, timer.subject.tenant, &state.queue).await,
        _ => timers::disarm(service, timer).await,
    }
}

/// Looks at the queue in which a fact happened, unless that was done a moment ago.
///
/// # Errors
/// Faults of the store.
pub(crate) async fn notice(service: &Service, fact: &FactRow) -> Result<(), ServiceError> {
    if fact.subject.kind != ContactMachine::KIND {
        return Ok(());
    }
    let moves = ["ContactEnqueued", "QueueLeft", "OfferMade", "OfferAccepted", "ContactEnded"];
    if !moves.contains(&fact.name.as_str()) {
        return Ok(());
    }
    let queue = match ContactFact::deserialize(&fact.body) {
        Ok(ContactFact::ContactEnqueued { queue, .. } | ContactFact::QueueLeft { queue, .. }) => Some(queue),
        Ok(ContactFact::OfferMade { queue, .. } | ContactFact::OfferAccepted { queue, .. }) => queue,
        Ok(ContactFact::ContactEnded(ending)) => ending.queue,
        _ => None,
    };
    let Some(queue) = queue else { return Ok(()) };
    let tenant = fact.subject.tenant;
    if setting::queue(service, tenant, &queue).await?.thresholds.is_empty() {
        return Ok(());
    }
    if service.cache.looked_lately((tenant, queue.clone()), service.now(), LOOK_EVERY_MS) {
        return Ok(());
    }
    look(service, tenant, &queue).await
}

/// What the queue looks like now; only what its thresholds ask for is read.
async fn observe(service: &Service, tenant: TenantId, config: &QueueConfig) -> Result<Observed, ServiceError> {
    let has = |metrics: &[Metric]| config.thresholds.iter().any(|t| metrics.contains(&t.metric));
    let mut observed = Observed::default();
    let counts = config.thresholds.iter().filter(|t| t.metric == Metric::Waiting).map(|t| t.raise).max();
    if let Some(most) = counts.or(has(&[Metric::LongestWaitS]).then_some(0)) {
        let most = (most.min(MAX_WAITING) as usize).max(HEAD);
        let rows = waiting(service, tenant, &config.name, most).await?;
        observed.waiting = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let entries = rows.iter().take(HEAD).filter_map(|row| WaitingEntry::from_row(row).ok());
        observed.oldest = entries.map(|entry| entry.enqueued_at).min();
    }
    if has(&[Metric::ServiceLevelPct, Metric::AbandonedPct]) {
        let counters = counters(service, tenant, &config.name).await?;
        let level = hotline_report::window(&counters, config.service_level.threshold_s);
        observed.counted = level.counted;
        observed.service_level_pct = level.service_level_pct;
        observed.abandoned_pct = level.abandoned_pct;
    }
    Ok(observed)
}

/// The first waiting rows, at most `most`.
async fn waiting(
    service: &Service,
    tenant: TenantId,
    queue: &Name,
    most: usize,
) -> Result<Vec<IndexRow>, ServiceError> {
    let partition = waiting_partition(queue);
    let mut found: Vec<IndexRow> = Vec::new();
    loop {
        let limit = PAGE.min(most - found.len());
        let from = found.last().map(|row| format!("{}\u{1}", row.sort));
        let range =
            Range { tenant, partition: &partition, from: from.as_deref(), below: None, limit, descending: false };
        let page = lists::of_queue(service, queue, range).await?;
        let more = page.len() == limit;
        found.extend(page);
        if !more || found.len() >= most {
            return Ok(found);
        }
    }
}

/// The queue's counters of the present quarter of an hour and the one before it, added up.
async fn counters(service: &Service, tenant: TenantId, queue: &Name) -> Result<BTreeMap<String, i64>, ServiceError> {
    let now = service.now();
    let before: Timestamp = interval_of(now).plus_ms(-INTERVAL_MS);
    let from = sort_of(before);
    let parts = hotline_report::parts(&partition::queue(queue));
    let limit = 2 * ROWS_PER_INTERVAL;
    let range = |partition| Range { tenant, partition, from: Some(&from), below: None, limit, descending: false };
    let pages = try_join_all(parts.iter().map(|part| service.ports.store.rows(range(part)))).await?;
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for row in pages.into_iter().flatten() {
        let read: BTreeMap<String, i64> = serde_json::from_str(&row.body).unwrap_or_default();
        for (name, more) in read {
            let sum = sums.entry(name).or_default();
            *sum = sum.saturating_add(more);
        }
    }
    Ok(sums)
}
