//! A queue as callers see it: who serves it, who waits, how long it may take.

use futures::future::try_join4;
use hotline_base::{ContactId, IndexRow, Name, TenantId};
use hotline_contact::{Contact, Place, caller_key, party_partition};
use hotline_flow::run::QueueView;
use hotline_ports::Range;
use hotline_ports::runner::derived_id;
use hotline_routing::WaitingEntry;
use hotline_routing::agent::{available_partition, staffed_partition};
use hotline_routing::estimate::{HandleTime, estimate_ms};
use hotline_routing::waiting::waiting_partition;
use std::collections::BTreeMap;

use crate::gauge::{self, Gauge, HEAD};
use crate::{Service, ServiceError, contacts, lists, setting};

/// Contacts of one caller looked at where the queue is too long to look through.
const LATEST: usize = 12;
/// Sums of talk times by queue, for the estimate of waits.
pub(crate) const HANDLE_PARTITION: &str = "handle-time";
/// Rows that hold the sums of one queue.
const HANDLE_ROWS: usize = 8;

/// What was seen of a queue.
pub(crate) struct Seen {
    /// As flows see it.
    pub(crate) view: QueueView,
    /// The place of the contact if it waits there, or else of a newcomer, from 1.
    pub(crate) position: u32,
    /// Others who wait there and have the same caller.
    pub(crate) same_caller: u32,
}

/// Looks at a queue on behalf of `contact`, which may wait there, and its caller.
pub(crate) async fn queue_view(
    service: &Service,
    tenant: TenantId,
    queue: &Name,
    contact: Option<&Contact>,
    number: &str,
) -> Result<Seen, ServiceError> {
    let store = &service.ports.store;
    let (waiting, available) = (waiting_partition(queue), available_partition(queue));
    let staffed = staffed_partition(queue);
    let all = |partition| Range { tenant, partition, from: None, below: None, limit: HEAD, descending: false };
    let handle = Range { from: Some(queue.as_str()), limit: HANDLE_ROWS + 1, ..all(HANDLE_PARTITION) };
    let parts = setting::queue(service, tenant, queue).await?.shards;
    let (waiting, available, staffed, handle) = try_join4(
        lists::rows(service, parts, all(&waiting)),
        lists::rows(service, parts, all(&available)),
        store.rows(all(&staffed)),
        store.rows(handle),
    )
    .await?;
    let own = contact.and_then(|contact| match contact.wait()? {
        wait if wait.place.queue() == Some(queue) => Some(wait.entry.sort()),
        _ => None,
    });
    // Long lists are counted by the queue's gauge, a moment old.
    let is_long = waiting.len() == HEAD;
    let gauge = match is_long || available.len() == HEAD || staffed.len() == HEAD {
        true => gauge::read(service, tenant, queue).await?,
        false => Gauge::default(),
    };
    let count = |head: usize, all: u32| if head < HEAD { head as u32 } else { all.max(head as u32) };
    let beyond =
        waiting.last().filter(|_| is_long).is_some_and(|last| own.as_ref().is_some_and(|own| *own > last.sort));
    let ahead = match &own {
        Some(own) if beyond => gauge.ahead(own).max(HEAD as u32),
        Some(own) => waiting.iter().filter(|row| row.sort < *own).count() as u32,
        None => count(waiting.len(), gauge.waiting),
    };
    let now = service.now();
    let entries: Vec<WaitingEntry> = waiting.iter().filter_map(|row| WaitingEntry::from_row(row).ok()).collect();
    let longest_wait_ms = entries.iter().map(|entry| entry.waited_ms(now)).max().unwrap_or(0);
    let own = contact.map(|contact| contact.id);
    let same_caller = match is_long {
        true => waits_of(service, tenant, queue, number, own).await?,
        false => {
            let caller = caller_key(number);
            let same = |e: &&WaitingEntry| !caller.is_empty() && e.caller == caller && Some(e.contact) != own;
            entries.iter().filter(same).count() as u32
        }
    };
    let handle = handle_time(handle.iter().filter(|row| handle_queue(&row.sort) == queue.as_str()));
    let (staffed, free) = (count(staffed.len(), gauge.staffed), count(available.len(), gauge.free));
    let view = QueueView {
        staffed,
        free,
        waiting: count(waiting.len(), gauge.waiting),
        longest_wait_ms: u64::try_from(longest_wait_ms).unwrap_or(0),
        estimated_wait_ms: estimate_ms(ahead, staffed, free, &handle).map(u64::from),
    };
    Ok(Seen { view, position: ahead + 1, same_caller })
}

/// How many others of this caller's latest contacts wait in the queue.
async fn waits_of(
    service: &Service,
    tenant: TenantId,
    queue: &Name,
    number: &str,
    own: Option<ContactId>,
) -> Result<u32, ServiceError> {
    if number.is_empty() {
        return Ok(0);
    }
    let mut waiting = 0;
    for row in contacts::list(service, tenant, &party_partition(number), None, LATEST).await? {
        let Ok(id) = row.body.parse::<ContactId>() else { continue };
        if Some(id) != own
            && let Some(contact) = contacts::get(service, tenant, id).await?
        {
            waiting += u32::from(waits_in(&contact) == Some(queue));
        }
    }
    Ok(waiting)
}

/// Where a fact adds to a queue's sums of talk times: in one of several rows beside each other,
/// because additions to one row wait for each other.
pub(crate) fn handle_sort(queue: &Name, fact: &str) -> String {
    format!("{queue}!{}", derived_id(&[fact]) % HANDLE_ROWS as u128 + 1)
}

fn handle_queue(sort: &str) -> &str {
    sort.split_once('!').map_or(sort, |(queue, _)| queue)
}

fn handle_time<'a>(rows: impl Iterator<Item = &'a IndexRow>) -> HandleTime {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for row in rows {
        let counters: BTreeMap<String, i64> = serde_json::from_str(&row.body).unwrap_or_default();
        for (name, more) in counters {
            let sum = sums.entry(name).or_default();
            *sum = sum.saturating_add(more);
        }
    }
    let sum = |name: &str| sums.get(name).copied().unwrap_or(0);
    match sum("talks") {
        talks if talks > 0 => HandleTime {
            mean_ms: u32::try_from((sum("talk_ms") + sum("wrap_ms")) / talks).unwrap_or(u32::MAX),
            samples: u32::try_from(talks).unwrap_or(u32::MAX),
        },
        _ => HandleTime::default(),
    }
}

/// Whether a contact waits in a queue, and which.
pub(crate) fn waits_in(contact: &Contact) -> Option<&Name> {
    match &contact.wait()?.place {
        Place::Queue { ask } => Some(&ask.queue),
        Place::Direct { .. } => None,
    }
}
