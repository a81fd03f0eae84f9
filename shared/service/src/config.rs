//! Configuration as documents: one entity each, with a version, found in a list by name.

use hotline_base::{EntityKey, IndexRow, Name, TenantId};
use hotline_ports::{Commit, CommitError, FactRow, Fault, Range, Stored, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

use crate::{Service, ServiceError};

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind(pub &'static str);

impl Kind {
    /// `hotline_routing::QueueConfig`, by name.
    pub const QUEUE: Kind = Kind("queue");
    /// `hotline_sla::Calendar`, by name.
    pub const CALENDAR: Kind = Kind("calendar");
    /// `hotline_sla::Policy`, by name; new tickets use [`DEFAULT_POLICY`].
    pub const POLICY: Kind = Kind("policy");
    /// [`VipList`], by name.
    pub const VIP_LIST: Kind = Kind("vip-list");
    /// A skill that agents may have.
    pub const SKILL: Kind = Kind("skill");
    /// [`Audio`], by name.
    pub const AUDIO: Kind = Kind("audio");
    /// `crate::flows::FlowDoc`, by name.
    pub const FLOW: Kind = Kind("flow");
    /// `crate::flows::FlowVersion`, by `<name>/<version:06>`.
    pub const FLOW_VERSION: Kind = Kind("flow-version");
    /// [`Did`], by number; in the platform's scope.
    pub const DID: Kind = Kind("did");
    /// [`SipUser`], by SIP user name; in the platform's scope.
    pub const SIP_USER: Kind = Kind("sip-user");
}

/// The name of the policy that new tickets follow.
pub const DEFAULT_POLICY: &str = "default";

/// Callers' numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VipList {
    /// In international form.
    pub numbers: BTreeSet<String>,
}

/// An uploaded recording, converted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audio {
    /// The object in the prompts bucket: raw µ-law, 8 kHz, mono.
    pub key: String,
    /// Length, milliseconds.
    pub duration_ms: u64,
}

/// Whom a dialled number belongs to and what it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Did {
    /// Whose.
    pub tenant: TenantId,
    /// The flow, in its current version.
    pub flow: Name,
}

/// The account of a SIP phone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipUser {
    /// Whose.
    pub tenant: TenantId,
    /// Whose.
    pub agent: hotline_base::AgentId,
    /// H(user:realm:password), hex, MD5.
    pub ha1_md5: String,
    /// H(user:realm:password), hex, SHA-256.
    pub ha1_sha256: String,
}

/// A document with its version.
#[derive(Debug, Clone, PartialEq)]
pub struct Document<T> {
    /// Its name within its kind.
    pub name: String,
    /// Counts up from 1 with each change; given back in [`put`] to change what was read.
    pub version: u64,
    /// The content.
    pub body: T,
}

/// What a document's row in the list holds.
#[derive(Serialize, Deserialize)]
struct Listed {
    v: u64,
    b: Value,
}

fn key(tenant: TenantId, kind: Kind, name: &str) -> EntityKey {
    EntityKey { tenant, kind: format!("config-{}", kind.0), id: name.into() }
}

fn partition(kind: Kind) -> String {
    format!("config/{}", kind.0)
}

fn read<T: DeserializeOwned>(what: &EntityKey, body: &Value) -> Result<T, Fault> {
    T::deserialize(body).map_err(|error| Fault::permanent("store", format!("{what:?} cannot be read: {error}")))
}

/// A document; `None` where there is none.
///
/// # Errors
/// A fault of the store, or a document that cannot be read.
pub async fn get<T: DeserializeOwned>(
    service: &Service,
    tenant: TenantId,
    kind: Kind,
    name: &str,
) -> Result<Option<Document<T>>, ServiceError> {
    let key = key(tenant, kind, name);
    match service.ports.store.load(&key).await? {
        Some(stored) if !stored.body.is_null() => {
            Ok(Some(Document { name: name.into(), version: stored.version, body: read(&key, &stored.body)? }))
        }
        _ => Ok(None),
    }
}

/// A document's content as it was within the last seconds; `None` where there is none.
///
/// # Errors
/// As [`get`].
pub async fn cached<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    service: &Service,
    tenant: TenantId,
    kind: Kind,
    name: &str,
) -> Result<Option<T>, ServiceError> {
    let place = (tenant, kind.0, name.to_string());
    let now = service.now();
    if let Some(body) = service.cache.document(&place, now) {
        return Ok(Some(body));
    }
    let found: Option<T> = get(service, tenant, kind, name).await?.map(|document| document.body);
    if let Some(body) = &found {
        service.cache.keep_document(place, body.clone(), now);
    }
    Ok(found)
}

/// Writes a document. `expected`: the version it must have (0: none yet); `None`: whatever is
/// there is replaced. Returns the new version.
///
/// # Errors
/// `version-conflict` where `expected` is not what is there; faults of the store.
pub async fn put<T: Serialize>(
    service: &Service,
    tenant: TenantId,
    kind: Kind,
    name: &str,
    body: &T,
    expected: Option<u64>,
    by: &str,
) -> Result<u64, ServiceError> {
    let body = value(body)?;
    write(service, tenant, kind, name, body.clone(), Some(body), expected, by).await
}

/// As [`put`], with something shorter than the document in the list.
///
/// # Errors
/// As [`put`].
#[allow(clippy::too_many_arguments)]
pub async fn put_listed<T: Serialize, L: Serialize>(
    service: &Service,
    tenant: TenantId,
    kind: Kind,
    name: &str,
    body: &T,
    listed: &L,
    expected: Option<u64>,
    by: &str,
) -> Result<u64, ServiceError> {
    write(service, tenant, kind, name, value(body)?, Some(value(listed)?), expected, by).await
}

/// Removes a document; its name can be used again.
///
/// # Errors
/// `not-found`, `version-conflict`; faults of the store.
pub async fn delete(
    service: &Service,
    tenant: TenantId,
    kind: Kind,
    name: &str,
    expected: Option<u64>,
    by: &str,
) -> Result<(), ServiceError> {
    if get::<Value>(service, tenant, kind, name).await?.is_none() {
        return Err(ServiceError::not_found(format!("{} {name}", kind.0)));
    }
    write(service, tenant, kind, name, Value::Null, None, expected, by).await?;
    Ok(())
}

/// Documents by name, after `after`, at most `limit`.
///
/// # Errors
/// A fault of the store, or a row that cannot be read.
pub async fn list<L: DeserializeOwned>(
    service: &Service,
    tenant: TenantId,
    kind: Kind,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Document<L>>, ServiceError> {
    let partition = partition(kind);
    let from = after.map(|name| format!("{name}\u{1}"));
    let range = Range { tenant, partition: &partition, from: from.as_deref(), below: None, limit, descending: false };
    let rows = service.ports.store.rows(range).await?;
    rows.into_iter()
        .map(|row| {
            let wrong = |error| Fault::permanent("store", format!("{partition} {} cannot be read: {error}", row.sort));
            let listed: Listed = serde_json::from_str(&row.body).map_err(wrong)?;
            let body = L::deserialize(&listed.b).map_err(wrong)?;
            Ok(Document { name: row.sort.clone(), version: listed.v, body })
        })
        .collect()
}

fn value(body: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(body).map_err(|error| Fault::permanent("configuration", error))
}

#[allow(clippy::too_many_arguments)]
async fn write(
    service: &Service,
    tenant: TenantId,
    kind: Kind,
    name: &str,
    body: Value,
    listed: Option<Value>,
    expected: Option<u64>,
    by: &str,
) -> Result<u64, ServiceError> {
    let key = key(tenant, kind, name);
    let now = service.now();
    for _ in 0..hotline_ports::runner::MAX_CONFLICTS {
        let stored = service.ports.store.load(&key).await?;
        let there = stored.as_ref().map_or(0, |stored| stored.version);
        let gone = stored.as_ref().is_none_or(|stored| stored.body.is_null());
        let seen = if gone { 0 } else { there };
        if expected.is_some_and(|expected| expected != seen) {
            let message = format!("{} {name} is at version {seen}: read it again", kind.0);
            return Err(hotline_base::Reject::new("version-conflict", message).into());
        }
        let version = there + 1;
        let mut commit = Commit {
            writes: vec![Write {
                key: key.clone(),
                expected: there,
                next: Stored { version, body: body.clone(), seen: Vec::new() },
                expires: None,
            }],
            facts: vec![FactRow {
                subject: key.clone(),
                version,
                index: 0,
                at: now,
                name: if listed.is_some() { "ConfigChanged" } else { "ConfigRemoved" }.into(),
                body: serde_json::json!({ "kind": kind.0, "name": name, "by": by }),
            }],
            ..Commit::default()
        };
        match &listed {
            Some(listed) => {
                let row = IndexRow {
                    partition: partition(kind),
                    sort: name.into(),
                    body: value(&Listed { v: version, b: listed.clone() })?.to_string(),
                };
                commit.rows_put.push((tenant, row));
            }
            None => commit.rows_delete.push((tenant, partition(kind), name.into())),
        }
        match service.ports.store.commit(commit).await {
            Ok(()) => {
                let place = (tenant, kind.0, name.to_string());
                service.cache.forget_document(&place);
                return Ok(version);
            }
            Err(CommitError::Conflict) => continue,
            Err(CommitError::Fault(fault)) => return Err(fault.into()),
        }
    }
    Err(Fault::transient("store", format!("{} {name} is changed by many at once", kind.0)).into())
}
