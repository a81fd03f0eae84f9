//! Reports read back from the counters that the facts' consumer keeps.

use futures::future::try_join_all;
use hotline_base::{AgentId, Invalid, Name, TenantId, Timestamp};
use hotline_ports::Range;
use hotline_report::{
    AgentFigures, CounterRow, INTERVAL_MS, Summary, interval_in, partition, parts, sort_of, summarise,
};
use hotline_routing::QueueConfig;
use serde_json::Value;
use std::collections::BTreeMap;

use crate::config::{self, Kind};
use crate::{Service, ServiceError, agents};

/// The longest period of one report: 93 days.
pub const PERIOD_MAX_MS: i64 = 93 * 86_400_000;
/// Rows read at a time.
const PAGE: usize = 1_000;
/// Queues in one report.
const QUEUES: usize = 500;
/// Agents in one report.
const AGENTS: usize = 200;

/// A period of whole quarters of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    from: Timestamp,
    to: Timestamp,
}

impl Period {
    /// From the quarter that `from` lies in to the one that `to` lies in, that one included.
    ///
    /// # Errors
    /// `to` before `from`, or more than [`PERIOD_MAX_MS`].
    pub fn new(from: Timestamp, to: Timestamp) -> Result<Self, Invalid> {
        if to <= from {
            return Err(Invalid::one("to", "not after `from`"));
        }
        if to - from > PERIOD_MAX_MS {
            return Err(Invalid::one("from", "more than 93 days before `to`; ask for a shorter period"));
        }
        Ok(Self { from, to })
    }
}

/// The counters of a list by interval, its parts added up.
async fn rows(
    service: &Service,
    tenant: TenantId,
    partition: &str,
    period: Period,
) -> Result<Vec<CounterRow>, ServiceError> {
    let parts = parts(partition);
    let reads = parts.iter().map(|part| rows_of_part(service, tenant, part, period));
    let mut sums: BTreeMap<Timestamp, BTreeMap<String, i64>> = BTreeMap::new();
    for row in try_join_all(reads).await?.into_iter().flatten() {
        let counters = sums.entry(row.start).or_default();
        for (name, more) in row.counters {
            let sum = counters.entry(name).or_default();
            *sum = sum.saturating_add(more);
        }
    }
    Ok(sums.into_iter().map(|(start, counters)| CounterRow { start, counters }).collect())
}

async fn rows_of_part(
    service: &Service,
    tenant: TenantId,
    partition: &str,
    period: Period,
) -> Result<Vec<CounterRow>, ServiceError> {
    let below = sort_of(period.to.plus_ms(INTERVAL_MS - 1));
    let mut from = sort_of(period.from);
    let mut found = Vec::new();
    loop {
        let range = Range { tenant, partition, from: Some(&from), below: Some(&below), limit: PAGE, descending: false };
        let page = service.ports.store.rows(range).await?;
        let more = page.len() == PAGE;
        for row in &page {
            let (Ok(start), Ok(body)) =
                (interval_in(&row.sort).parse(), serde_json::from_str::<BTreeMap<String, Value>>(&row.body))
            else {
                tracing::error!(partition, sort = row.sort, "a row of counters cannot be read");
                continue;
            };
            let counters = body.into_iter().filter_map(|(name, n)| Some((name, n.as_i64()?))).collect();
            found.push(CounterRow { start: Timestamp::from_millis(start), counters });
        }
        match page.last() {
            Some(last) if more => from = format!("{}\u{1}", last.sort),
            _ => return Ok(found),
        }
    }
}

/// The summary of a period, its intervals `interval_ms` wide.
///
/// # Errors
/// Faults of the store.
pub async fn summary(
    service: &Service,
    tenant: TenantId,
    period: Period,
    interval_ms: i64,
) -> Result<Summary, ServiceError> {
    let all = rows(service, tenant, partition::ALL, period).await?;
    let mut queues = BTreeMap::new();
    for doc in config::list::<QueueConfig>(service, tenant, Kind::QUEUE, None, QUEUES).await? {
        let counters = rows(service, tenant, &partition::queue(&doc.body.name), period).await?;
        let name: Name = doc.body.name.clone();
        queues.insert(name, (doc.body.service_level.threshold_s, counters));
    }
    Ok(summarise(&all, &queues, interval_ms))
}

/// The figures of each agent in a period.
///
/// # Errors
/// Faults of the store.
pub async fn by_agent(
    service: &Service,
    tenant: TenantId,
    period: Period,
) -> Result<BTreeMap<AgentId, AgentFigures>, ServiceError> {
    let mut found = BTreeMap::new();
    for listing in agents::list(service, tenant, None, AGENTS).await? {
        let counters = rows(service, tenant, &partition::agent(listing.agent), period).await?;
        found.insert(listing.agent, AgentFigures::of(&counters));
    }
    Ok(found)
}
