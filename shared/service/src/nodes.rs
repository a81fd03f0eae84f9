//! Media nodes: leases, and what happens to the calls of a node whose lease lapsed.

use hotline_base::{ContactId, IndexRow, NodeId, TenantId, Timestamp};
use hotline_contact::{Event, node_partition};
use hotline_ports::runner::derived_input;
use hotline_ports::{Fault, Range};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::{Service, ServiceError, agents, contacts};

/// A lease reaches at most so far ahead, milliseconds: a wrong clock cannot pin it.
pub const MAX_LEASE_MS: i64 = 60_000;
/// A lease that lapsed no longer ago than this, milliseconds, may still be renewed.
const GRACE_MS: i64 = 5_000;
/// Nodes, tenants of a node, contacts of a tenant on a node, looked at in one page.
const PAGE: usize = 500;

const NODES: &str = "nodes";
/// Which lapses were dealt with: node → the moment at which its lease had lapsed.
const ENDED: &str = "nodes-ended";
/// A lapsed lease is forgotten after this, milliseconds.
const FORGET_MS: i64 = 3_600_000;

/// A node's lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Which node.
    pub node: NodeId,
    /// The SIP address other nodes reach it at, `host:port`.
    pub sip_address: String,
    /// Calls it carries.
    pub calls: u32,
    /// It takes no new calls.
    pub draining: bool,
    /// When it lapses unless renewed.
    pub expires: Timestamp,
    /// When the node's present process started, by its own clock.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// The calls of the node's former lives were ended.
    #[serde(default)]
    pub tidied: bool,
    /// When it was renewed last.
    pub seen_at: Timestamp,
}

/// Renews a node's lease. A node that was started anew under the same id has lost the calls it
/// named before, although its lease may never have lapsed.
///
/// # Errors
/// Faults of the store; the next renewal does what was left undone.
pub(crate) async fn renew(service: &Service, lease: Lease) -> Result<(), ServiceError> {
    let Some(started_at) = lease.started_at else {
        return write(service, &Lease { tidied: true, ..lease }).await;
    };
    let before = get(service, lease.node).await?;
    if before.as_ref().and_then(|before| before.started_at).is_some_and(|before| before > started_at) {
        // A report that was overtaken by one of the node's next life.
        return Ok(());
    }
    if before.is_some_and(|before| before.started_at == Some(started_at) && before.tidied) {
        return write(service, &Lease { tidied: true, ..lease }).await;
    }
    // Written before it is looked: a call that arrives late sees this life, or is seen here.
    write(service, &Lease { tidied: false, ..lease.clone() }).await?;
    let lost = end_contacts(service, lease.node, Some(started_at)).await?;
    if lost > 0 {
        tracing::warn!(node = %lease.node, lost, "the node was started anew and has lost its calls");
    }
    write(service, &Lease { tidied: true, ..lease }).await
}

async fn write(service: &Service, lease: &Lease) -> Result<(), ServiceError> {
    let row = IndexRow {
        partition: NODES.into(),
        sort: lease.node.to_string(),
        body: serde_json::to_string(lease).map_err(|e| Fault::permanent("nodes", e))?,
    };
    Ok(service.ports.store.put_row(TenantId::PLATFORM, row, None).await?)
}

async fn get(service: &Service, node: NodeId) -> Result<Option<Lease>, ServiceError> {
    let sort = node.to_string();
    let from = Some(sort.as_str());
    let range = Range { tenant: TenantId::PLATFORM, partition: NODES, from, below: None, limit: 1, descending: false };
    let rows = service.ports.store.rows(range).await?;
    let row = rows.first().filter(|row| row.sort == sort);
    Ok(row.and_then(|row| serde_json::from_str(&row.body).ok()))
}

/// Whether a node had died after it named this contact: a call whose arrival was told late. A node
/// without a lease is given the benefit of the doubt: it may have started a moment ago.
///
/// # Errors
/// A fault of the store.
pub(crate) async fn has_lost(service: &Service, node: NodeId, contact: ContactId) -> Result<bool, ServiceError> {
    let lease = get(service, node).await?;
    Ok(lease.is_some_and(|lease| {
        // A call that it named after the lapse shows that it lives and only its reports are lost.
        let named_at = contact.created_at();
        let lapsed = lease.expires.plus_ms(GRACE_MS) <= service.now() && named_at <= lease.expires;
        lapsed || lease.started_at.is_some_and(|started_at| started_at > named_at)
    }))
}

/// All leases, lapsed ones included.
///
/// # Errors
/// A fault of the store.
pub async fn list(service: &Service) -> Result<Vec<Lease>, ServiceError> {
    let rows = page(service, TenantId::PLATFORM, NODES).await?;
    Ok(rows.iter().filter_map(|row| serde_json::from_str(&row.body).ok()).collect())
}

/// Ends the contacts of nodes whose lease lapsed; gives how many. The leases stay for an hour, so
/// that a call which arrives late finds its node dead.
///
/// # Errors
/// Faults of the store; what was not done is done by the next check.
pub async fn check_leases(service: &Service) -> Result<usize, ServiceError> {
    let now = service.now();
    let store = &service.ports.store;
    let ended: BTreeMap<String, String> =
        page(service, TenantId::PLATFORM, ENDED).await?.into_iter().map(|row| (row.sort, row.body)).collect();
    let mut lost = 0;
    for lease in list(service).await? {
        if lease.expires.plus_ms(GRACE_MS) > now {
            continue;
        }
        let (node, lapse) = (lease.node.to_string(), lease.expires.as_millis().to_string());
        if ended.get(&node) != Some(&lapse) {
            tracing::warn!(node, calls = lease.calls, "the lease of a node lapsed");
            lost += end_contacts(service, lease.node, None).await?;
            let row = IndexRow { partition: ENDED.into(), sort: node, body: lapse };
            store.put_row(TenantId::PLATFORM, row, Some(now.plus_ms(2 * FORGET_MS))).await?;
        } else if now.since_ms(lease.expires) > FORGET_MS {
            store.delete_row(TenantId::PLATFORM, NODES, &node).await?;
            store.delete_row(TenantId::PLATFORM, ENDED, &node).await?;
        }
    }
    Ok(lost)
}

/// Remembers that a node serves a tenant, so that its death is told there. The row is written
/// apart from any call's transaction: all calls of the pair would be in each other's way.
pub(crate) async fn serves(service: &Service, node: NodeId, tenant: TenantId) -> Result<(), ServiceError> {
    if service.cache.is_served(node, tenant) {
        return Ok(());
    }
    let row = IndexRow { partition: tenants_of(node), sort: tenant.to_string(), body: "{}".into() };
    service.ports.store.put_row_new(TenantId::PLATFORM, row, None).await?;
    service.cache.keep_served(node, tenant);
    Ok(())
}

fn tenants_of(node: NodeId) -> String {
    format!("node-tenants/{node}")
}

/// Phones that were registered at the node are gone; whoever has one elsewhere is not touched.
async fn forget_phones(service: &Service, tenant: TenantId, node: NodeId) -> Result<(), ServiceError> {
    let mut after = None;
    loop {
        let listed = agents::list(service, tenant, after, PAGE).await?;
        for listing in listed.iter().filter(|listing| listing.phone) {
            let agent = agents::get(service, tenant, listing.agent).await?;
            if agent.and_then(|agent| agent.phone).is_some_and(|phone| phone.node == node) {
                agents::phone(service, tenant, listing.agent, node, None).await?;
            }
        }
        after = listed.last().map(|listing| listing.agent);
        if listed.len() < PAGE {
            return Ok(());
        }
    }
}

/// Ends the contacts of a node, all or those that it named before a moment. The rows that tell
/// its tenants stay: a call may arrive at this very moment.
async fn end_contacts(service: &Service, node: NodeId, named_before: Option<Timestamp>) -> Result<usize, ServiceError> {
    let tenants = tenants_of(node);
    let mut lost = 0;
    for row in page(service, TenantId::PLATFORM, &tenants).await? {
        let Ok(tenant) = row.sort.parse::<TenantId>() else {
            continue;
        };
        loop {
            let contacts = page(service, tenant, &node_partition(node)).await?;
            let before = lost;
            for contact in &contacts {
                let Ok(id) = contact.sort.parse::<ContactId>() else {
                    continue;
                };
                if named_before.is_some_and(|moment| id.created_at() >= moment) {
                    continue;
                }
                let input = derived_input(&["node-lost", &node.to_string(), &contact.sort]);
                let event = Event::NodeLost { node };
                contacts::step(service, tenant, id, input, event, None).await?;
                lost += 1;
            }
            if contacts.len() < PAGE || lost == before {
                break;
            }
        }
        if named_before.is_none() {
            forget_phones(service, tenant, node).await?;
        }
    }
    Ok(lost)
}

async fn page(service: &Service, tenant: TenantId, partition: &str) -> Result<Vec<IndexRow>, ServiceError> {
    let range = Range { tenant, partition, from: None, below: None, limit: PAGE, descending: false };
    Ok(service.ports.store.rows(range).await?)
}
