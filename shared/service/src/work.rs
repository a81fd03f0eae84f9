//! The queue of work that may wait.

use hotline_base::{ContactId, RecordingId, TenantId};
use hotline_ports::{Fault, WorkQueue};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::{Service, ServiceError, recording};

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Make a playable file of a delivered recording.
    Compose {
        /// Whose.
        tenant: TenantId,
        /// Of which contact.
        contact: ContactId,
        /// Which.
        recording: RecordingId,
        /// The manifest's object key.
        manifest: String,
    },
}

pub(crate) async fn send(service: &Service, work: &Work) -> Result<(), ServiceError> {
    let body = serde_json::to_string(work).map_err(|error| Fault::permanent("work", error))?;
    Ok(service.ports.queues.send(WorkQueue::Work, body, Duration::ZERO).await?)
}

/// A message of the work queue. It may come twice.
///
/// # Errors
/// A permanent fault where it cannot be read; a transient one where it should come again.
pub async fn handle(service: &Service, body: &str) -> Result<(), ServiceError> {
    let work: Work = serde_json::from_str(body)
        .map_err(|error| Fault::permanent("work queue", format!("unreadable work: {error}")))?;
    match work {
        Work::Compose { tenant, contact, recording, manifest } => {
            recording::compose(service, tenant, contact, recording, &manifest).await
        }
    }
}
