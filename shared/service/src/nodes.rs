//! Media nodes: leases, and what happens to the calls of a node whose lease lapsed.

use futures::future::try_join_all;
use hotline_base::{ContactId, IndexRow, NodeId, TenantId, Timestamp};
use hotline_contact::{Event, node_partition};
use hotline_ports::runner::derived_input;
use hotline_ports::{Fault, Range, WorkQueue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Service, ServiceError, agents, contacts};

/// A lease reaches at most so far ahead, milliseconds: a wrong clock cannot pin it.
pub const MAX_LEASE_MS: i64 = 60_000;
/// A lease that lapsed no longer ago than this, milliseconds, may still be renewed.
const GRACE_MS: i64 = 1_000;
/// Leases are looked through this often, milliseconds: with a lease of 8 s a node that dies is
/// found within 14 s.
pub const CHECK_MS: i64 = 5_000;
/// The message by which leases are looked through.
const CHECK: &str = r#"{"check":"leases"}"#;
/// Nodes, tenants of a node, contacts of a tenant on a node, looked at in one page.
const PAGE: usize = 500;
/// Contacts of a lost node that are told at the same time.
const AT_ONCE: usize = 16;

const NODES: &str = "nodes";
/// Which lapses were dealt with: node → the moment at which its lease had lapsed.
const ENDED: &str = "nodes-ended";
/// Lapses that are being dealt with, as above; written before the node's calls are looked for.
const LAPSED: &str = "nodes-lapsed";
/// When leases were looked through last.
const CHECKED: &str = "nodes-checked";
/// A check that comes so much later than it should, milliseconds, shows that nothing here worked
/// meanwhile: nodes may have found nobody who takes their renewals.
const LATE_MS: i64 = 2_500;
/// After such a pause no lease lapses for this long, milliseconds; nodes renew more often.
const BREATH_MS: i64 = 5_000;
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
    let lost = lose_contacts(service, lease.node, started_at, true).await?;
    if lost > 0 {
        tracing::warn!(node = %lease.node, lost, "the node was started anew and has lost its calls");
    }
    write(service, &Lease { tidied: true, ..lease }).await
}

/// When this life of a node was found lapsed last, by its own clock: the calls that it carried then were taken
/// from it. It is told with every renewal, as an answer may be lost.
///
/// # Errors
/// A fault of the store.
pub(crate) async fn lapse(
    service: &Service,
    node: NodeId,
    started_at: Option<Timestamp>,
) -> Result<Option<Timestamp>, ServiceError> {
    let Some(started_at) = started_at else {
        return Ok(None);
    };
    let found = row_of(service, LAPSED, node).await?.and_then(|row| row.body.parse().ok());
    Ok(found.map(Timestamp::from_millis).filter(|lapse| *lapse > started_at))
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
    let row = row_of(service, NODES, node).await?;
    Ok(row.and_then(|row| serde_json::from_str(&row.body).ok()))
}

/// A node's row in one of the lists of nodes.
async fn row_of(service: &Service, partition: &str, node: NodeId) -> Result<Option<IndexRow>, ServiceError> {
    let sort = node.to_string();
    let from = Some(sort.as_str());
    let range = Range { tenant: TenantId::PLATFORM, partition, from, below: None, limit: 1, descending: false };
    let rows = service.ports.store.rows(range).await?;
    Ok(rows.into_iter().find(|row| row.sort == sort))
}

/// When a node died after it had named this contact: a call whose arrival was told late; `None`: it
/// lives. A node without a lease is given the benefit of the doubt: it may have started a moment ago.
///
/// # Errors
/// A fault of the store.
pub(crate) async fn has_lost(
    service: &Service,
    node: NodeId,
    contact: ContactId,
) -> Result<Option<Timestamp>, ServiceError> {
    let Some(lease) = get(service, node).await? else {
        return Ok(None);
    };
    // A call that it named after the lapse shows that it lives and only its reports are lost.
    let named_at = contact.created_at();
    let restarted = lease.started_at.filter(|started_at| *started_at > named_at);
    if lease.is_live(service.now()) || named_at > lease.expires {
        return Ok(restarted);
    }
    // A lease that only could not be renewed is not the node's death until a check says so.
    let lapse = row_of(service, LAPSED, node).await?;
    let found = lapse.is_some_and(|row| row.body == lease.expires.as_millis().to_string());
    Ok(if found { Some(lease.expires) } else { restarted })
}

/// When leases were looked through.
#[derive(Debug, Serialize, Deserialize)]
struct Checked {
    at: Timestamp,
    /// No lease lapses before.
    breath_until: Timestamp,
}

/// Notes that leases are looked through now; `true`: nothing worked for a while, and nodes are
/// given the time to renew.
async fn after_a_pause(service: &Service, now: Timestamp) -> Result<bool, ServiceError> {
    let rows = page(service, TenantId::PLATFORM, CHECKED).await?;
    let before: Option<Checked> = rows.first().and_then(|row| serde_json::from_str(&row.body).ok());
    let breath_until = match before {
        Some(before) if now.since_ms(before.at) > CHECK_MS + LATE_MS => now.plus_ms(BREATH_MS),
        Some(before) => before.breath_until,
        None => now,
    };
    let body = serde_json::to_string(&Checked { at: now, breath_until }).map_err(|e| Fault::permanent("nodes", e))?;
    let row = IndexRow { partition: CHECKED.into(), sort: "-".into(), body };
    service.ports.store.put_row(TenantId::PLATFORM, row, None).await?;
    Ok(now < breath_until)
}

/// Looks through the leases where nobody did when it was time: whatever schedules the checks may fail, and
/// the nodes that live are the first to know that time passes.
pub(crate) async fn check_if_overdue(service: &Service) -> Result<usize, ServiceError> {
    let rows = page(service, TenantId::PLATFORM, CHECKED).await?;
    let before: Option<Checked> = rows.first().and_then(|row| serde_json::from_str(&row.body).ok());
    match before {
        Some(before) if service.now().since_ms(before.at) > CHECK_MS => check_leases(service).await,
        _ => Ok(0),
    }
}

impl Lease {
    /// Whether the node can be asked for something: it has not lapsed.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.expires.plus_ms(GRACE_MS) > now
    }
}

/// What a phone's node is to the node that carries the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PhoneNode {
    /// The same, or one of which nothing is known yet.
    Here,
    /// Another one, with this SIP address.
    At(String),
    /// It died: whoever registered there cannot be rung.
    Dead,
}

/// Where a phone that is registered at `phone` is rung from `carrier`.
///
/// # Errors
/// A fault of the store.
pub(crate) async fn phone_node(service: &Service, carrier: NodeId, phone: NodeId) -> Result<PhoneNode, ServiceError> {
    if carrier == phone {
        return Ok(PhoneNode::Here);
    }
    Ok(match get(service, phone).await? {
        Some(lease) if !lease.is_live(service.now()) => PhoneNode::Dead,
        Some(lease) => PhoneNode::At(lease.sip_address),
        None => PhoneNode::Here,
    })
}

/// Live nodes that take calls, with the calls that they carry: whoever is given the next one is
/// the least busy.
pub(crate) struct Takers(Vec<(u32, NodeId)>);

impl Takers {
    /// Those there are now.
    ///
    /// # Errors
    /// A fault of the store.
    pub(crate) async fn find(service: &Service) -> Result<Self, ServiceError> {
        let now = service.now();
        let live = list(service).await?.into_iter().filter(|lease| lease.is_live(now) && !lease.draining);
        Ok(Self(live.map(|lease| (lease.calls, lease.node)).collect()))
    }

    /// The least busy one but `not`, which counts one call more from now on.
    pub(crate) fn take(&mut self, not: Option<NodeId>) -> Option<NodeId> {
        let best = self.0.iter_mut().filter(|(_, node)| Some(*node) != not).min()?;
        best.0 = best.0.saturating_add(1);
        Some(best.1)
    }

    /// `wanted` where it takes calls, else the least busy one.
    pub(crate) fn prefer(&mut self, wanted: NodeId) -> Option<NodeId> {
        if self.0.iter().any(|(_, node)| *node == wanted) { Some(wanted) } else { self.take(None) }
    }
}

/// Puts a minute's lease checks on the timer queue, where there are nodes; gives how many. Run it
/// every minute.
///
/// # Errors
/// Faults of the store or the queue; the next minute comes by itself.
pub async fn schedule_checks(service: &Service) -> Result<usize, ServiceError> {
    if list(service).await?.is_empty() {
        return Ok(0);
    }
    let mut sent = 0;
    for after_ms in (0..60_000).step_by(CHECK_MS as usize) {
        let delay = Duration::from_millis(after_ms);
        service.ports.queues.send(WorkQueue::Timers, CHECK.into(), delay).await?;
        sent += 1;
    }
    Ok(sent)
}

/// Whether a message of the timer queue asks for a lease check.
pub(crate) fn is_check(body: &str) -> bool {
    body == CHECK
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
    if after_a_pause(service, now).await? {
        return Ok(0);
    }
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
            let row = IndexRow { partition: LAPSED.into(), sort: node.clone(), body: lapse.clone() };
            store.put_row(TenantId::PLATFORM, row, Some(now.plus_ms(2 * FORGET_MS))).await?;
            lost += lose_contacts(service, lease.node, lease.expires, false).await?;
            let row = IndexRow { partition: ENDED.into(), sort: node, body: lapse };
            store.put_row(TenantId::PLATFORM, row, Some(now.plus_ms(2 * FORGET_MS))).await?;
        } else if now.since_ms(lease.expires) > FORGET_MS {
            store.delete_row(TenantId::PLATFORM, NODES, &node).await?;
            store.delete_row(TenantId::PLATFORM, ENDED, &node).await?;
            store.delete_row(TenantId::PLATFORM, LAPSED, &node).await?;
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

/// The tenants that a node has served.
///
/// # Errors
/// A fault of the store.
pub(crate) async fn tenants(service: &Service, node: NodeId) -> Result<Vec<TenantId>, ServiceError> {
    let rows = page(service, TenantId::PLATFORM, &tenants_of(node)).await?;
    Ok(rows.iter().filter_map(|row| row.sort.parse().ok()).collect())
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

/// Tells the contacts of a node that it is lost: all, or after a new start those that it named
/// before `moment`. The rows that tell its tenants stay: a call may arrive at this very moment.
async fn lose_contacts(
    service: &Service,
    node: NodeId,
    moment: Timestamp,
    restarted: bool,
) -> Result<usize, ServiceError> {
    let mut takers = Takers::find(service).await?;
    let mut lost = 0;
    for tenant in tenants(service, node).await? {
        let partition = node_partition(node);
        let mut from: Option<String> = None;
        loop {
            let range = Range {
                tenant,
                partition: &partition,
                from: from.as_deref(),
                below: None,
                limit: PAGE,
                descending: false,
            };
            let rows = service.ports.store.rows(range).await?;
            let ids = rows.iter().filter_map(|row| row.sort.parse::<ContactId>().ok());
            let ids: Vec<_> = ids.filter(|id| !restarted || id.created_at() < moment).collect();
            for some in ids.chunks(AT_ONCE) {
                let told = some.iter().map(|id| {
                    let to = takers.take((!restarted).then_some(node));
                    lose(service, tenant, *id, node, moment, to)
                });
                try_join_all(told).await?;
            }
            lost += ids.len();
            from = rows.last().map(|row| format!("{}\u{1}", row.sort));
            if rows.len() < PAGE {
                break;
            }
        }
        if !restarted {
            forget_phones(service, tenant, node).await?;
        }
    }
    Ok(lost)
}

/// Tells one contact that its node is lost.
pub(crate) async fn lose(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    node: NodeId,
    before: Timestamp,
    to: Option<NodeId>,
) -> Result<contacts::Stepped, ServiceError> {
    let moment = before.as_millis().to_string();
    let input = derived_input(&["node-lost", &node.to_string(), &contact.to_string(), &moment]);
    contacts::step(service, tenant, contact, input, Event::NodeLost { node, to, before }, None).await
}

async fn page(service: &Service, tenant: TenantId, partition: &str) -> Result<Vec<IndexRow>, ServiceError> {
    let range = Range { tenant, partition, from: None, below: None, limit: PAGE, descending: false };
    Ok(service.ports.store.rows(range).await?)
}
