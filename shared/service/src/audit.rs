//! Who looked at what: facts about access, kept like any other history.

use hotline_base::{EntityKey, TenantId};
use hotline_ports::runner::MAX_CONFLICTS;
use hotline_ports::{Commit, CommitError, FactRow, Fault, Stored, Write};
use serde_json::{Value, json};

use crate::{Service, ServiceError};

/// The history of accesses to one thing, such as `recording/rec_…`.
pub fn subject(tenant: TenantId, what: &str) -> EntityKey {
    EntityKey { tenant, kind: "audit".into(), id: what.into() }
}

/// Appends a fact to the history of accesses to `what`.
///
/// # Errors
/// Faults of the store; without the fact there is no access.
pub async fn note(
    service: &Service,
    tenant: TenantId,
    what: &str,
    name: &str,
    body: Value,
) -> Result<(), ServiceError> {
    let key = subject(tenant, what);
    for _ in 0..MAX_CONFLICTS {
        let stored = service.ports.store.load(&key).await?;
        let expected = stored.map_or(0, |stored| stored.version);
        let version = expected + 1;
        let commit = Commit {
            writes: vec![Write {
                key: key.clone(),
                expected,
                next: Stored { version, body: json!({"accesses": version}), seen: Vec::new() },
                expires: None,
            }],
            facts: vec![FactRow {
                subject: key.clone(),
                version,
                index: 0,
                at: service.now(),
                name: name.into(),
                body: body.clone(),
            }],
            ..Commit::default()
        };
        match service.ports.store.commit(commit).await {
            Ok(()) => return Ok(()),
            Err(CommitError::Conflict) => {}
            Err(CommitError::Fault(fault)) => return Err(fault.into()),
        }
    }
    Err(Fault::transient("store", "too many accesses at once").into())
}
