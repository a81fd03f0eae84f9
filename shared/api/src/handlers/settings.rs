//! What a tenant sets for itself as a whole, and whose calls its limits kept out.

use hotline_service::config::Document;
use hotline_service::flood;
use hotline_service::settings::{self, Settings};
use serde_json::{Value, json};

use crate::call::{Call, page_reply};
use crate::reply::{Failure, Reply};

fn reply(version: u64, settings: &Settings) -> Result<Reply, Failure> {
    Ok(Reply::json(200, &json!({"version": version, "doc": settings}))?.at(version))
}

pub async fn get(call: &Call<'_>) -> Result<Reply, Failure> {
    let Document { version, body, .. } = settings::get(call.service, call.tenant()).await?;
    reply(version, &body)
}

pub async fn put(call: &Call<'_>) -> Result<Reply, Failure> {
    let body: Settings = call.body()?;
    let version = settings::put(call.service, call.tenant(), &body, call.expected()?, &call.by()).await?;
    reply(version, &body)
}

pub async fn floods(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    let found = flood::list(call.service, call.tenant(), page.after.as_deref(), page.limit + 1).await?;
    let item = |(sort, flood)| Ok((sort, serde_json::to_value(flood)?));
    page_reply(&page, found.into_iter().map(item).collect::<Result<Vec<(String, Value)>, serde_json::Error>>()?)
}
