//! Uploaded prompts.

use hotline_base::Name;
use hotline_ports::Bucket;
use hotline_service::config::{self, Audio, Document, Kind};
use hotline_service::wave::to_mu_law;
use hotline_wire::problem::Problem;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::wav;
use crate::call::{Call, page_reply};
use crate::reply::{Failure, Reply};

fn view(doc: &Document<Audio>) -> Value {
    json!({"name": doc.name, "duration_ms": doc.body.duration_ms, "version": doc.version})
}

pub async fn put(call: &Call<'_>) -> Result<Reply, Failure> {
    let name: Name =
        call.param("name").parse().map_err(|e: hotline_base::NameError| Problem::field("name", e.to_string()))?;
    let expected = call.expected()?;
    let samples = wav::read(&call.request.body).map_err(|remedy| Problem::field("body", remedy))?;
    let duration_ms = samples.len() as u64 / 8;
    let body = to_mu_law(&samples);
    let hash = hex::encode(Sha256::digest(&body));
    // Named by its content: versions of flows that use it keep what they were published with.
    let key = format!("prompts/{}/audio/{hash}.ulaw", call.tenant());
    call.service.ports.objects.put(Bucket::Prompts, &key, body, "audio/basic").await?;
    let audio = Audio { key, duration_ms };
    let (tenant, by) = (call.tenant(), call.by());
    let version = config::put(call.service, tenant, Kind::AUDIO, name.as_str(), &audio, expected, &by).await?;
    Ok(Reply::json(200, &view(&Document { name: name.to_string(), version, body: audio }))?.at(version))
}

pub async fn list(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    let docs: Vec<Document<Audio>> =
        config::list(call.service, call.tenant(), Kind::AUDIO, page.after.as_deref(), page.limit + 1).await?;
    page_reply(&page, docs.iter().map(|doc| (doc.name.clone(), view(doc))).collect())
}

pub async fn delete(call: &Call<'_>) -> Result<Reply, Failure> {
    let expected = call.expected()?;
    config::delete(call.service, call.tenant(), Kind::AUDIO, call.param("name"), expected, &call.by()).await?;
    Ok(Reply::nothing())
}
