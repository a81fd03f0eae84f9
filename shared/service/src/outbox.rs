//! The sweeper of effects that were committed but not carried out.

use hotline_ports::runner;

use crate::{Effects, Service, ServiceError};

/// A younger effect is still being carried out by whoever committed it, milliseconds.
const YOUNG_MS: i64 = 10_000;
/// Effects per sweep.
const PER_SWEEP: usize = 500;

/// Carries out effects that were left behind by a crash or a fault; gives how many there were.
/// Run it every minute.
///
/// # Errors
/// A fault of the store on reading; effects that fail again wait for the next sweep.
pub async fn sweep(service: &Service) -> Result<usize, ServiceError> {
    let before = service.now().plus_ms(-YOUNG_MS);
    let rows = service.ports.store.outbox(before, PER_SWEEP).await?;
    runner::dispatch(&service.ports, &Effects(service), &rows).await;
    Ok(rows.len())
}
