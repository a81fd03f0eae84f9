//! Writes with an `Idempotency-Key` happen once: the stored answer is given again for a day.

use hotline_base::IndexRow;
use hotline_ports::Range;
use hotline_service::Service;
use hotline_wire::problem::{ErrorKind, Problem};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::reply::{Failure, Reply};
use crate::{ApiRequest, ApiResponse, Principal};

/// How long an answer is kept, milliseconds.
const KEPT_MS: i64 = 86_400_000;
/// A write that has not ended after this was given up by its function, milliseconds.
const RUNNING_MS: i64 = 60_000;

/// What is stored under a key.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// Of the request.
    print: String,
    /// When it began, milliseconds since the epoch.
    at: i64,
    /// Its answer, once there is one.
    answer: Option<ApiResponse>,
}

/// A key that is being used.
pub struct Claim {
    partition: String,
    sort: String,
    print: String,
    at: i64,
}

/// What a key says.
pub enum Begin {
    /// No key was sent.
    NoKey,
    /// The first time: do it, then [`end`].
    First(Claim),
    /// Done before: give this again.
    Again(ApiResponse),
}

fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// Looks at the request's key.
pub async fn begin(service: &Service, who: &Principal, request: &ApiRequest) -> Result<Begin, Failure> {
    let Some(key) = request.header("idempotency-key") else { return Ok(Begin::NoKey) };
    if !(1..=200).contains(&key.len()) || !key.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(
            Problem::field("idempotency-key", "write 1 to 200 printable ASCII characters, such as a UUID").into()
        );
    }
    let query = request.query.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&");
    let parts = [request.method.as_bytes(), request.path.as_bytes(), query.as_bytes(), &request.body];
    let now = service.now().as_millis();
    let claim = Claim {
        partition: format!("idempotency/{}", who.user),
        sort: hash(&[key.as_bytes()]),
        print: hash(&parts),
        at: now,
    };
    let store = &service.ports.store;
    if store.put_row_new(who.tenant, claim.row(None)?, claim.expires()).await? {
        return Ok(Begin::First(claim));
    }
    let range = Range {
        tenant: who.tenant,
        partition: &claim.partition,
        from: Some(&claim.sort),
        below: None,
        limit: 1,
        descending: false,
    };
    let rows = store.rows(range).await?;
    let known = rows.iter().find(|row| row.sort == claim.sort);
    let known: Option<Entry> = known.and_then(|row| serde_json::from_str(&row.body).ok());
    match known {
        Some(entry) if now - entry.at < KEPT_MS && entry.print != claim.print => {
            let detail = "this key came with another request before; use a new key for each write";
            Err(Problem::new(ErrorKind::Rejected, "idempotency-key-reused", detail).into())
        }
        Some(Entry { answer: Some(mut answer), at, .. }) if now - at < KEPT_MS => {
            answer.headers.insert("idempotency-replayed".into(), "true".into());
            Ok(Begin::Again(answer))
        }
        Some(entry) if entry.answer.is_none() && now - entry.at < RUNNING_MS => {
            let detail = "the first request with this key has not ended; ask again in some seconds";
            Err(Problem::new(ErrorKind::Rejected, "idempotency-in-progress", detail).into())
        }
        _ => {
            store.put_row(who.tenant, claim.row(None)?, claim.expires()).await?;
            Ok(Begin::First(claim))
        }
    }
}

impl Claim {
    fn row(&self, answer: Option<ApiResponse>) -> Result<IndexRow, Failure> {
        let entry = Entry { print: self.print.clone(), at: self.at, answer };
        Ok(IndexRow {
            partition: self.partition.clone(),
            sort: self.sort.clone(),
            body: serde_json::to_string(&entry)?,
        })
    }

    fn expires(&self) -> Option<hotline_base::Timestamp> {
        Some(hotline_base::Timestamp::from_millis(self.at.saturating_add(KEPT_MS)))
    }
}

/// Stores the answer, without secrets. After a failure the key may be used again: what the
/// handlers do can be repeated.
pub async fn end(service: &Service, who: &Principal, claim: Claim, answer: &Result<Reply, Failure>) {
    let store = &service.ports.store;
    let done = match answer {
        Ok(reply) => match claim.row(Some(reply.stored().into())) {
            Ok(row) => store.put_row(who.tenant, row, claim.expires()).await,
            Err(_) => store.delete_row(who.tenant, &claim.partition, &claim.sort).await,
        },
        Err(_) => store.delete_row(who.tenant, &claim.partition, &claim.sort).await,
    };
    if let Err(fault) = done {
        tracing::warn!(%fault, "the answer to an idempotent request was not stored");
    }
}
