//! How long a queue is, where it is too long to be counted by everybody who comes.
//!
//! Whoever looks at a queue reads the heads of its three lists. Only where one of them is full is
//! the gauge read: one row that says how many there are and which sort key stands at every
//! hundredth place. Who finds it old counts anew, one at a time; the others take the old one.

use futures::future::try_join3;
use hotline_base::{IndexRow, Name, TenantId, Timestamp};
use hotline_ports::{Fault, Range};
use hotline_routing::agent::{available_partition, staffed_partition};
use hotline_routing::waiting::waiting_partition;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::future::Future;

use crate::{Service, ServiceError, lists, setting};

/// Rows of each list that everybody reads.
pub(crate) const HEAD: usize = 50;
/// A gauge is counted anew after this, milliseconds.
const FRESH_MS: i64 = 5_000;
/// Counting stops here.
const MOST: usize = 10_000;
/// Rows read at a time.
const PAGE: usize = 1_000;
/// One of so many places is remembered.
const EVERY: usize = 100;

const GAUGES: &str = "gauges";
const TURNS: &str = "gauge-turns";

/// How long a queue was a moment ago.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gauge {
    /// Contacts that waited.
    pub(crate) waiting: u32,
    /// Agents at work for it.
    pub(crate) staffed: u32,
    /// Free agents.
    pub(crate) free: u32,
    /// The sort keys at the places 0, 100, 200…
    places: Vec<String>,
}

impl Gauge {
    /// How many stand before this sort key, to the nearest hundred.
    pub(crate) fn ahead(&self, sort: &str) -> u32 {
        let passed = self.places.partition_point(|place| place.as_str() < sort);
        let ahead = (passed * EVERY).saturating_sub(EVERY / 2);
        u32::try_from(ahead).unwrap_or(u32::MAX).min(self.waiting)
    }
}

/// The gauge of a queue, counted now where it is old and nobody else is at it.
///
/// # Errors
/// Faults of the store.
pub(crate) async fn read(service: &Service, tenant: TenantId, queue: &Name) -> Result<Gauge, ServiceError> {
    fresh(service, tenant, queue.as_str(), FRESH_MS, || count(service, tenant, queue)).await
}

/// A figure with the moment at which it was counted.
#[derive(Serialize, Deserialize)]
struct Dated<T> {
    at: Timestamp,
    of: T,
}

/// A figure that is counted anew when it is older than `fresh_ms` and nobody else is at it.
///
/// # Errors
/// Faults of the store.
pub(crate) async fn fresh<T, Counting>(
    service: &Service,
    tenant: TenantId,
    sort: &str,
    fresh_ms: i64,
    count: impl FnOnce() -> Counting,
) -> Result<T, ServiceError>
where
    T: Serialize + DeserializeOwned,
    Counting: Future<Output = Result<T, ServiceError>>,
{
    let (store, now) = (&service.ports.store, service.now());
    let range = Range { tenant, partition: GAUGES, from: Some(sort), below: None, limit: 1, descending: false };
    let rows = store.rows(range).await?;
    let row = rows.first().filter(|row| row.sort == sort);
    let old: Option<Dated<T>> = row.and_then(|row| serde_json::from_str(&row.body).ok());
    let old = match old {
        Some(old) if now.since_ms(old.at) < fresh_ms => return Ok(old.of),
        old => old,
    };
    let turn = format!("{sort}/{:015}", now.as_millis().div_euclid(fresh_ms).max(0));
    let turn = IndexRow { partition: TURNS.into(), sort: turn, body: "{}".into() };
    let mine = store.put_row_new(tenant, turn, Some(now.plus_ms(3_600_000))).await?;
    if let (Some(old), false) = (old, mine) {
        return Ok(old.of);
    }
    let counted = Dated { at: service.now(), of: count().await? };
    let body = serde_json::to_string(&counted).map_err(|error| Fault::permanent("gauge", error))?;
    store.put_row(tenant, IndexRow { partition: GAUGES.into(), sort: sort.into(), body }, None).await?;
    Ok(counted.of)
}

async fn count(service: &Service, tenant: TenantId, queue: &Name) -> Result<Gauge, ServiceError> {
    let parts = setting::queue(service, tenant, queue).await?.shards;
    let (waiting, free, staffed) = (waiting_partition(queue), available_partition(queue), staffed_partition(queue));
    let lists = try_join3(
        sorts(service, tenant, &waiting, parts),
        sorts(service, tenant, &free, parts),
        sorts(service, tenant, &staffed, 1),
    );
    let (waiting, free, staffed) = lists.await?;
    let long = |list: &Vec<String>| u32::try_from(list.len()).unwrap_or(u32::MAX);
    Ok(Gauge {
        waiting: long(&waiting),
        staffed: long(&staffed),
        free: long(&free),
        places: waiting.into_iter().step_by(EVERY).collect(),
    })
}

async fn sorts(service: &Service, tenant: TenantId, partition: &str, parts: u8) -> Result<Vec<String>, ServiceError> {
    let mut found: Vec<String> = Vec::new();
    loop {
        let from = found.last().map(|sort| format!("{sort}\u{1}"));
        let range = Range { tenant, partition, from: from.as_deref(), below: None, limit: PAGE, descending: false };
        let page = lists::rows(service, parts, range).await?;
        let last = page.len() < PAGE;
        found.extend(page.into_iter().map(|row| row.sort));
        if last || found.len() >= MOST {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use hotline_ports::memory::Memory;

    const TENANT: TenantId = TenantId::from_u128(1);

    fn put(service: &Service, partition: &str, n: usize) {
        let row = IndexRow { partition: partition.into(), sort: format!("{n:06}"), body: "{}".into() };
        block_on(service.ports.store.put_row(TENANT, row, None)).unwrap();
    }

    #[test]
    fn it_is_counted_once_and_again_when_it_is_old() {
        let memory = Memory::new(Timestamp::from_millis(1_795_000_000_000), 1);
        let service = Service::new(memory.ports());
        let queue: Name = "desk".parse().unwrap();
        for n in 0..2_345 {
            put(&service, "waiting/desk", n);
        }
        for n in 0..1_000 {
            put(&service, "staffed/desk", n);
        }
        let first = block_on(read(&service, TENANT, &queue)).unwrap();
        assert_eq!((first.waiting, first.staffed, first.free), (2_345, 1_000, 0));
        assert_eq!(first.ahead("000000"), 0);
        assert_eq!(first.ahead("001234"), 1_250);
        assert_eq!(first.ahead("999999"), 2_345);
        put(&service, "waiting/desk", 5_000);
        assert_eq!(block_on(read(&service, TENANT, &queue)).unwrap(), first, "it is fresh");
        memory.world.advance_ms(FRESH_MS);
        assert_eq!(block_on(read(&service, TENANT, &queue)).unwrap().waiting, 2_346);
    }
}
