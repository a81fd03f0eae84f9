//! A queue as callers see it: who serves it, who waits, how long it may take.

use futures::future::try_join4;
use hotline_base::{Name, TenantId};
use hotline_contact::{Contact, Place, caller_key};
use hotline_flow::run::QueueView;
use hotline_ports::Range;
use hotline_routing::WaitingEntry;
use hotline_routing::agent::{available_partition, staffed_partition};
use hotline_routing::estimate::{HandleTime, estimate_ms};
use hotline_routing::waiting::waiting_partition;
use std::collections::BTreeMap;

use crate::{Service, ServiceError};

/// Counting stops here: beyond it a place or a crowd is only "many".
const MANY: usize = 500;
/// Sums of talk times by queue, for the estimate of waits.
pub(crate) const HANDLE_PARTITION: &str = "handle-time";

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
    let all = |partition| Range { tenant, partition, from: None, below: None, limit: MANY, descending: false };
    let handle = Range { from: Some(queue.as_str()), limit: 1, ..all(HANDLE_PARTITION) };
    let (waiting, available, staffed, handle) = try_join4(
        store.rows(all(&waiting)),
        store.rows(all(&available)),
        store.rows(all(&staffed)),
        store.rows(handle),
    )
    .await?;
    let own = contact.and_then(|contact| match contact.wait()? {
        wait if wait.place.queue() == Some(queue) => Some(wait.entry.sort()),
        _ => None,
    });
    let ahead = match &own {
        Some(own) => waiting.iter().filter(|row| row.sort < *own).count(),
        None => waiting.len(),
    };
    let now = service.now();
    let entries: Vec<WaitingEntry> = waiting.iter().filter_map(|row| WaitingEntry::from_row(row).ok()).collect();
    let longest_wait_ms = entries.iter().map(|entry| entry.waited_ms(now)).max().unwrap_or(0);
    let caller = caller_key(number);
    let own = contact.map(|contact| contact.id);
    let same = |entry: &&WaitingEntry| !caller.is_empty() && entry.caller == caller && Some(entry.contact) != own;
    let same_caller = entries.iter().filter(same).count() as u32;
    let handle = handle.first().filter(|row| row.sort == queue.as_str());
    let handle = handle.map_or_else(HandleTime::default, |row| handle_time(&row.body));
    let (staffed, free) = (staffed.len() as u32, available.len() as u32);
    let view = QueueView {
        staffed,
        free,
        waiting: waiting.len() as u32,
        longest_wait_ms: u64::try_from(longest_wait_ms).unwrap_or(0),
        estimated_wait_ms: estimate_ms(ahead as u32, staffed, free, &handle).map(u64::from),
    };
    Ok(Seen { view, position: ahead as u32 + 1, same_caller })
}

fn handle_time(counters: &str) -> HandleTime {
    let sums: BTreeMap<String, i64> = serde_json::from_str(counters).unwrap_or_default();
    let sum = |name: &str| sums.get(name).copied().unwrap_or(0);
    match sum("talks") {
        talks if talks > 0 => HandleTime {
            mean_ms: u32::try_from(sum("talk_ms") / talks).unwrap_or(u32::MAX),
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
