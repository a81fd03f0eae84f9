//! One matcher at a time per queue.
//!
//! Where many contacts come and many agents become free at the same moment, matchers beside each
//! other all choose the same head of the queue and refuse each other's claims. So whoever sees a
//! pair takes the queue's turn, and whoever finds it taken leaves the work to its holder.
//!
//! No wake-up is lost: whoever skips has written its row before it saw the turn taken; the holder
//! gives the turn up *before* it looks for the last time, and so sees that row. Where the holder
//! dies instead, its turn ends with its slot of time, and the first who skipped in that slot has
//! sent a message to look again then. Two matchers at once are only slow, never wrong: a claim is
//! one transaction on both versions.

use hotline_base::{IndexRow, Name, TenantId, Timestamp};
use hotline_ports::{Fault, Range, WorkQueue};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::{Service, ServiceError};

/// A turn ends with its slot of so many milliseconds at the latest.
pub(crate) const SLOT_MS: i64 = 2_000;
/// Clocks of different machines differ by less, milliseconds.
const SKEW_MS: u64 = 500;
/// Rows that a crash left are removed by the table after this, milliseconds.
const KEPT_MS: i64 = 600_000;
/// A changed configuration is known everywhere after this: twice the time that it is remembered.
pub(crate) const KNOWN_EVERYWHERE: Duration = Duration::from_secs(10);
/// When a queue is looked at again after a node did not answer.
const SOON: Duration = Duration::from_secs(5);
/// How a message that asks for a look begins.
const LOOK: &str = "{\"match\":";

fn partition(queue: &Name) -> String {
    format!("matching/{queue}")
}

fn slot(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(SLOT_MS).max(0)
}

/// The right to match a queue.
#[must_use = "a turn is given up by `leave`"]
pub(crate) struct Hold {
    tenant: TenantId,
    queue: Name,
    sort: String,
    ends: Timestamp,
}

fn sort(slot: i64) -> String {
    format!("{slot:013}")
}

fn asking(slot: i64) -> String {
    format!("{slot:013}/look")
}

/// A message that asks for a look at a queue.
#[derive(Debug, Serialize, Deserialize)]
struct Look {
    r#match: Name,
    tenant: TenantId,
}

/// What stands about a queue's present slot of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Present {
    /// Somebody matches the queue.
    pub(crate) is_taken: bool,
    /// A message that asks for a look at the slot's end was sent.
    pub(crate) is_asked: bool,
}

/// Who is at it now.
///
/// # Errors
/// A fault of the store.
pub(crate) async fn present(service: &Service, tenant: TenantId, queue: &Name) -> Result<Present, ServiceError> {
    let slot = slot(service.now());
    let (partition, from) = (partition(queue), sort(slot));
    let range = Range { tenant, partition: &partition, from: Some(&from), below: None, limit: 2, descending: false };
    let rows = service.ports.store.rows(range).await?;
    let has = |sort: &str| rows.iter().any(|row| row.sort == sort);
    Ok(Present { is_taken: has(&from), is_asked: has(&asking(slot)) })
}

impl Hold {
    /// Takes the turn; `None` where somebody has it.
    ///
    /// # Errors
    /// A fault of the store.
    pub(crate) async fn take(service: &Service, tenant: TenantId, queue: &Name) -> Result<Option<Hold>, ServiceError> {
        let now = service.now();
        let sort = sort(slot(now));
        let row = IndexRow { partition: partition(queue), sort: sort.clone(), body: "{}".into() };
        let mine = service.ports.store.put_row_new(tenant, row, Some(now.plus_ms(KEPT_MS))).await?;
        let ends = Timestamp::from_millis((slot(now) + 1) * SLOT_MS);
        Ok(mine.then(|| Hold { tenant, queue: queue.clone(), sort, ends }))
    }

    /// Whether its slot of time is over, so that others may match beside.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.ends <= now
    }

    /// Gives the turn up. Look once more afterwards, for those who found it taken.
    ///
    /// # Errors
    /// A fault of the store; the turn ends with its slot.
    pub(crate) async fn leave(self, service: &Service) -> Result<(), ServiceError> {
        Ok(service.ports.store.delete_row(self.tenant, &partition(&self.queue), &self.sort).await?)
    }
}

/// Asks for a look when the present turn has ended at the latest: once for all who skip in it, or
/// for few who skip at the same moment.
///
/// # Errors
/// Faults of the store or the queue.
pub(crate) async fn look_after(service: &Service, tenant: TenantId, queue: &Name) -> Result<(), ServiceError> {
    let now = service.now();
    let slot = slot(now);
    let ms = Timestamp::from_millis((slot + 1) * SLOT_MS).since_ms(now).max(0) as u64;
    look_in(service, tenant, queue, Duration::from_millis(ms + SKEW_MS)).await?;
    // Only now: who finds the mark relies on the message.
    let row = IndexRow { partition: partition(queue), sort: asking(slot), body: "{}".into() };
    Ok(service.ports.store.put_row(tenant, row, Some(now.plus_ms(KEPT_MS))).await?)
}

/// Asks for a look after [`SOON`]: once for all who ask in the same slot of time, or for few who
/// ask at the same moment.
///
/// # Errors
/// Faults of the store or the queue.
pub(crate) async fn look_soon(service: &Service, tenant: TenantId, queue: &Name) -> Result<(), ServiceError> {
    let now = service.now();
    let (partition, sort) = (partition(queue), format!("{:013}/soon", slot(now)));
    let range = Range { tenant, partition: &partition, from: Some(&sort), below: None, limit: 1, descending: false };
    if service.ports.store.rows(range).await?.iter().any(|row| row.sort == sort) {
        return Ok(());
    }
    look_in(service, tenant, queue, SOON).await?;
    // Only now: who finds the mark relies on the message.
    let row = IndexRow { partition, sort, body: "{}".into() };
    Ok(service.ports.store.put_row(tenant, row, Some(now.plus_ms(KEPT_MS))).await?)
}

/// Asks for a look by a message that comes after `delay`.
///
/// # Errors
/// A fault of the queue.
pub(crate) async fn look_in(
    service: &Service,
    tenant: TenantId,
    queue: &Name,
    delay: Duration,
) -> Result<(), ServiceError> {
    let look = Look { r#match: queue.clone(), tenant };
    let body = serde_json::to_string(&look).map_err(|error| Fault::permanent("matching", error))?;
    let delay = Duration::from_secs(u64::try_from(delay.as_millis().div_ceil(1_000)).unwrap_or(1));
    Ok(service.ports.queues.send(WorkQueue::Timers, body, delay).await?)
}

/// The queue that a message of the timer queue asks to look at.
pub(crate) fn asked(body: &str) -> Option<(TenantId, Name)> {
    let look: Look = body.starts_with(LOOK).then(|| serde_json::from_str(body).ok())??;
    Some((look.tenant, look.r#match))
}
