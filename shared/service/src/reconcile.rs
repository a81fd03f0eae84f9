//! Compares tables, leases and nodes, repairs what does not fit together and says what it found.
//!
//! A state and everything that follows from it are written in one transaction, so in a healthy
//! hotline there is nothing to find. Whatever is found was damaged from outside, by a restore, by
//! hand or by a mistake of ours, and somebody should know.
//!
//! A row or timer is compared with its entity's state between two reads of the same version: what
//! changes meanwhile is looked at again, never called damaged.

mod entity;
mod pairs;

use hotline_base::{AgentId, ContactId, IndexRow, NodeId, TenantId, shards, unsharded};
use hotline_contact::{
    CONTACTS_PARTITION, CONTACTS_SHARDS, ContactListing, ContactMachine, GUARD_MS, PhaseName, node_partition,
};
use hotline_ports::{Fault, Range, runner};
use hotline_routing::agent::{
    AGENTS_SHARDS, agents_partition, available_partition, staffed_partition, standby_partition,
};
use hotline_routing::waiting::waiting_partition;
use hotline_routing::{AgentMachine, QueueConfig, WaitingEntry};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

use crate::accounts::{TENANT, Tenant};
use crate::config::{self, Kind};
use crate::nodes::{self, Lease};
use crate::{Effects, Service, ServiceError, agent_key, audit, contact_key, timers};

/// Rows looked at by one run.
const PER_RUN: usize = 200;
/// Tenants, queues of one, and rows read at a time.
const PAGE: usize = 500;
/// Effects and timers that are late, looked at by one run.
const MAX_LATE: usize = 100;
/// An effect or timer that nobody took up within this, milliseconds, was left behind.
const LATE_MS: i64 = 5 * 60_000;
/// Timers late by more than this, milliseconds, belong to the sweep's longer look back.
const LONG_LATE_MS: i64 = 25 * 60_000;
/// Facts about findings per run and tenant.
const MAX_TOLD: usize = 50;

const PARTITION: &str = "reconcile";

/// What does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mismatch {
    /// A row that does not follow from its entity's state.
    StrayRow,
    /// A row that follows from a state and is not there.
    MissingRow,
    /// A deadline without an armed timer.
    MissingTimer,
    /// An agent holds an offer or call of a contact that is over.
    AgentWithoutContact,
    /// An offer that nobody ended long after its time.
    OfferForgotten,
    /// A contact talks with an agent who is not in a call.
    ContactWithoutAgent,
    /// A live contact on a node that is dead or that nobody knows.
    NodeGone,
    /// An effect that nobody carried out.
    EffectLeft,
    /// A timer that nobody fired.
    TimerLate,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Whose.
    pub tenant: TenantId,
    /// What does not fit.
    pub what: Mismatch,
    /// The entity: `contact/con_…`.
    pub subject: String,
    /// The row, timer or offer.
    pub detail: String,
    /// It was put right; otherwise somebody has to look.
    pub repaired: bool,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Rows looked at.
    pub looked: usize,
    /// What was found, in the order of looking.
    pub found: Vec<Found>,
    /// The last row of all was reached: the next run begins anew.
    pub complete: bool,
}

/// Where the next run goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    tenant: TenantId,
    partition: String,
    after: Option<String>,
}

/// What the checks of one run share.
pub(crate) struct Run<'a> {
    service: &'a Service,
    leases: BTreeMap<NodeId, Lease>,
    report: Report,
}

impl Run<'_> {
    fn found(&mut self, tenant: TenantId, what: Mismatch, subject: String, detail: String, repaired: bool) {
        tracing::warn!(%tenant, ?what, subject, detail, repaired, "tables do not fit together");
        self.report.found.push(Found { tenant, what, subject, detail, repaired });
    }
}

/// Looks at the next rows, at late timers and at effects left behind. Run it every minute.
///
/// # Errors
/// Faults of the store; the next run begins where this one had begun.
pub async fn run(service: &Service) -> Result<Report, ServiceError> {
    let leases = nodes::list(service).await?.into_iter().map(|lease| (lease.node, lease)).collect();
    let mut run = Run { service, leases, report: Report::default() };
    left_behind(&mut run).await?;
    let all = partitions(service, run.leases.keys().copied()).await?;
    let cursor = read_cursor(service).await?;
    let begin = cursor.as_ref().map(|cursor| (cursor.tenant, cursor.partition.clone()));
    let mut next = None;
    'partitions: for (tenant, partition) in all {
        if begin.as_ref().is_some_and(|begin| (tenant, partition.as_str()) < (begin.0, begin.1.as_str())) {
            continue;
        }
        let same = begin.as_ref().is_some_and(|begin| *begin == (tenant, partition.clone()));
        let mut after = cursor.as_ref().filter(|_| same).and_then(|cursor| cursor.after.clone());
        loop {
            let limit = PER_RUN - run.report.looked;
            if limit == 0 {
                next = Some(Cursor { tenant, partition, after });
                break 'partitions;
            }
            let rows = page(&run, tenant, &partition, after.as_deref(), limit).await?;
            let last = rows.len() < limit;
            for row in rows {
                after = Some(row.sort.clone());
                run.report.looked += 1;
                look(&mut run, tenant, &row).await?;
            }
            if last {
                break;
            }
        }
    }
    run.report.complete = next.is_none();
    write_cursor(service, next.as_ref()).await?;
    let report = run.report;
    tell(service, &report).await?;
    Ok(report)
}

async fn page(
    run: &Run<'_>,
    tenant: TenantId,
    partition: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<IndexRow>, ServiceError> {
    // Contacts are kept for ever; only those that can still be alive are looked at.
    let oldest = run.service.now().plus_ms(-GUARD_MS - 3_600_000);
    let from = match after {
        Some(after) => Some(format!("{after}\u{1}")),
        None if unsharded(partition) == CONTACTS_PARTITION => Some(format!("{:015}", oldest.as_millis().max(0))),
        None => None,
    };
    let range = Range { tenant, partition, from: from.as_deref(), below: None, limit, descending: false };
    Ok(run.service.ports.store.rows(range).await?)
}

/// The index of every tenant, part by part.
async fn partitions(
    service: &Service,
    nodes: impl Iterator<Item = NodeId>,
) -> Result<BTreeSet<(TenantId, String)>, ServiceError> {
    let nodes: Vec<NodeId> = nodes.collect();
    let mut tenants = BTreeSet::new();
    for doc in config::list::<Tenant>(service, TenantId::PLATFORM, TENANT, None, PAGE).await? {
        tenants.insert(doc.body.id);
    }
    for node in &nodes {
        tenants.extend(nodes::tenants(service, *node).await?);
    }
    let mut all = BTreeSet::new();
    for tenant in tenants {
        let queues = config::list::<QueueConfig>(service, tenant, Kind::QUEUE, None, PAGE).await?;
        let mut add = |list: &str, parts: u8| all.extend(shards(list, parts).into_iter().map(|part| (tenant, part)));
        add(agents_partition(), AGENTS_SHARDS);
        add(CONTACTS_PARTITION, CONTACTS_SHARDS);
        for node in &nodes {
            add(&node_partition(*node), 1);
        }
        for QueueConfig { name, shards, .. } in queues.iter().map(|doc| &doc.body) {
            add(&waiting_partition(name), *shards);
            add(&available_partition(name), *shards);
            add(&staffed_partition(name), 1);
            add(&standby_partition(name), 1);
        }
    }
    Ok(all)
}

/// Looks at one row and at the entity that it stands for.
async fn look(run: &mut Run<'_>, tenant: TenantId, row: &IndexRow) -> Result<(), ServiceError> {
    let last = row.sort.rsplit('/').next().unwrap_or_default();
    let is_contact = row.partition.starts_with("waiting/") || row.partition.starts_with("contacts");
    if is_contact {
        let id = match row.partition.starts_with("waiting/") {
            true => WaitingEntry::from_row(row).ok().map(|entry| entry.contact),
            false => last.parse::<ContactId>().ok(),
        };
        if unsharded(&row.partition) == CONTACTS_PARTITION
            && serde_json::from_str::<ContactListing>(&row.body).is_ok_and(|listing| listing.phase == PhaseName::Ended)
        {
            return Ok(());
        }
        let Some(id) = id else { return stray(run, tenant, row).await };
        let key = contact_key(tenant, id);
        if let Some(contact) = entity::check::<ContactMachine>(run, &key, row).await? {
            pairs::contact(run, tenant, &contact).await?;
        }
    } else {
        let Ok(id) = last.parse::<AgentId>() else { return stray(run, tenant, row).await };
        let key = agent_key(tenant, id);
        if let Some(agent) = entity::check::<AgentMachine>(run, &key, row).await?
            && unsharded(&row.partition) == agents_partition()
        {
            pairs::agent(run, tenant, &agent).await?;
        }
    }
    Ok(())
}

/// A row that names nobody.
async fn stray(run: &mut Run<'_>, tenant: TenantId, row: &IndexRow) -> Result<(), ServiceError> {
    run.service.ports.store.delete_row(tenant, &row.partition, &row.sort).await?;
    run.found(tenant, Mismatch::StrayRow, "nobody".into(), format!("{} {}", row.partition, row.sort), true);
    Ok(())
}

/// Effects and timers that the sweeps should have taken up long ago.
async fn left_behind(run: &mut Run<'_>) -> Result<(), ServiceError> {
    let service = run.service;
    let now = service.now();
    for row in service.ports.store.outbox(now.plus_ms(-LATE_MS), MAX_LATE).await? {
        let done = runner::dispatch(&service.ports, &Effects(service), std::slice::from_ref(&row)).await;
        let (tenant, subject) = (row.subject.tenant, subject_of(&row.subject));
        run.found(tenant, Mismatch::EffectLeft, subject, row.id(), done);
    }
    let late = service.ports.store.due(now.plus_ms(-LONG_LATE_MS), now.plus_ms(-LATE_MS), MAX_LATE).await?;
    for timer in late {
        timers::fire(service, &timer).await?;
        let (tenant, subject) = (timer.subject.tenant, subject_of(&timer.subject));
        run.found(tenant, Mismatch::TimerLate, subject, timer.timer, true);
    }
    Ok(())
}

pub(crate) fn subject_of(key: &hotline_base::EntityKey) -> String {
    format!("{}/{}", key.kind, key.id)
}

/// The findings as facts of each tenant, and in the log.
async fn tell(service: &Service, report: &Report) -> Result<(), ServiceError> {
    let repaired = report.found.iter().filter(|found| found.repaired).count();
    tracing::info!(looked = report.looked, found = report.found.len(), repaired, "reconciled");
    let tenants: BTreeSet<TenantId> = report.found.iter().map(|found| found.tenant).collect();
    for tenant in tenants {
        let own: Vec<&Found> = report.found.iter().filter(|found| found.tenant == tenant).take(MAX_TOLD).collect();
        audit::note(service, tenant, "reconciler", "TablesReconciled", json!({"found": own})).await?;
    }
    Ok(())
}

async fn read_cursor(service: &Service) -> Result<Option<Cursor>, ServiceError> {
    let (tenant, from) = (TenantId::PLATFORM, Some("cursor"));
    let range = Range { tenant, partition: PARTITION, from, below: None, limit: 1, descending: false };
    let rows = service.ports.store.rows(range).await?;
    Ok(rows.first().filter(|row| row.sort == "cursor").and_then(|row| serde_json::from_str(&row.body).ok()))
}

async fn write_cursor(service: &Service, cursor: Option<&Cursor>) -> Result<(), ServiceError> {
    let store = &service.ports.store;
    let Some(cursor) = cursor else {
        return Ok(store.delete_row(TenantId::PLATFORM, PARTITION, "cursor").await?);
    };
    let body = serde_json::to_string(cursor).map_err(|error| Fault::permanent("reconcile", error))?;
    let row = IndexRow { partition: PARTITION.into(), sort: "cursor".into(), body };
    Ok(store.put_row(TenantId::PLATFORM, row, None).await?)
}
