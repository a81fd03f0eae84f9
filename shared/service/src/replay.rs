//! Decides again what was decided: the stored snapshot of each match, through the same router.

use hotline_base::{ContactId, Name, OfferId, TenantId, Timestamp};
use hotline_ports::{Fault, Range};
use hotline_routing::Decision;
use hotline_routing::select::Record;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::matching::decisions_partition;
use crate::{Service, ServiceError};

/// Decisions replayed about one contact.
const MAX_DECISIONS: usize = 200;

/// One decision beside the one that its snapshot gives now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// The offer that followed from it.
    pub offer: OfferId,
    /// When it was made.
    pub at: Timestamp,
    /// In which queue.
    pub queue: Name,
    /// Byte for byte the same.
    pub agrees: bool,
    /// Length of the stored record.
    pub bytes: usize,
    /// SHA-256 of the stored record, hex.
    pub stored_sha256: String,
    /// SHA-256 of the record made from it now, hex.
    pub replayed_sha256: String,
    /// What was decided.
    pub stored: Decision,
    /// What is decided now.
    pub replayed: Decision,
}

/// Replays the decisions about a contact, oldest first.
///
/// # Errors
/// A fault of the store, or a stored record that cannot be read.
pub async fn replay(service: &Service, tenant: TenantId, contact: ContactId) -> Result<Vec<Replayed>, ServiceError> {
    let partition = decisions_partition(contact);
    let range =
        Range { tenant, partition: &partition, from: None, below: None, limit: MAX_DECISIONS, descending: false };
    let mut all = Vec::new();
    for row in service.ports.store.rows(range).await? {
        let unreadable = |what: &dyn std::fmt::Display| {
            Fault::permanent("decisions", format!("the record of {} cannot be read: {what}", row.sort))
        };
        let record: Record = serde_json::from_str(&row.body).map_err(|error| unreadable(&error))?;
        let again = record.replay();
        let bytes = again.bytes();
        all.push(Replayed {
            offer: row.sort.parse().map_err(|error| unreadable(&error))?,
            at: record.snapshot.now,
            queue: record.snapshot.queue.clone(),
            agrees: bytes == row.body.as_bytes(),
            bytes: row.body.len(),
            stored_sha256: hex::encode(Sha256::digest(row.body.as_bytes())),
            replayed_sha256: hex::encode(Sha256::digest(&bytes)),
            stored: record.decision,
            replayed: again.decision,
        });
    }
    Ok(all)
}
