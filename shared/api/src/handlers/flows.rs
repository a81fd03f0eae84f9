//! Flows and their versions.

use hotline_base::Name;
use hotline_contact::FlowPin;
use hotline_flow::Compiled;
use hotline_service::config::{self, Document, Kind};
use hotline_service::flows::{self, FlowDoc, FlowVersion};
use hotline_wire::api::{FlowText, FlowVersionRef};
use hotline_wire::problem::{ErrorKind, Problem};
use serde_json::{Value, json};

use crate::call::{Call, page_reply};
use crate::reply::{Content, Failure, Reply};

fn name(call: &Call<'_>) -> Result<Name, Failure> {
    call.id("name", "flow")
}

async fn doc(call: &Call<'_>, name: &Name) -> Result<Document<FlowDoc>, Failure> {
    let found = config::get::<FlowDoc>(call.service, call.tenant(), Kind::FLOW, name.as_str()).await?;
    found.ok_or_else(|| Problem::not_found("flow").into())
}

async fn load(call: &Call<'_>, name: &Name, version: u32) -> Result<FlowVersion, Failure> {
    let found = flows::load(call.service, call.tenant(), name, version).await?;
    found.ok_or_else(|| Problem::not_found("version of this flow").into())
}

fn view(doc: &Document<FlowDoc>) -> Value {
    json!({
        "name": doc.name,
        "current": doc.body.current,
        "latest": doc.body.latest,
        "at": doc.body.at,
        "by": doc.body.by,
    })
}

fn version_view(pin: &FlowPin, version: &FlowVersion) -> Value {
    json!({
        "name": pin.name,
        "version": pin.version,
        "hash": version.hash,
        "text": version.source,
        "canonical": version.text,
        "published_at": version.published_at,
        "by": version.by,
    })
}

pub async fn check(call: &Call<'_>) -> Result<Reply, Failure> {
    let body: FlowText = call.body()?;
    let found = flows::check(call.service, call.tenant(), &body.text).await?;
    let good = found.iter().all(|finding| finding.severity != hotline_flow::Severity::Error);
    Reply::json(200, &json!({"publishable": good, "findings": found}))
}

pub async fn publish(call: &Call<'_>) -> Result<Reply, Failure> {
    let name: Name =
        call.param("name").parse().map_err(|e: hotline_base::NameError| Problem::field("name", e.to_string()))?;
    let body: FlowText = call.body()?;
    let done = flows::publish(call.service, call.tenant(), &name, &body.text, &call.by()).await?;
    let answer = json!({
        "name": name,
        "version": done.version,
        "hash": done.hash,
        "spoken": done.spoken,
        "warnings": done.warnings,
    });
    Reply::json(201, &answer)
}

pub async fn list(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    let docs: Vec<Document<FlowDoc>> =
        config::list(call.service, call.tenant(), Kind::FLOW, page.after.as_deref(), page.limit + 1).await?;
    page_reply(&page, docs.iter().map(|doc| (doc.name.clone(), view(doc))).collect())
}

pub async fn get(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = name(call)?;
    let version = doc(call, &name).await?.body.current;
    let found = load(call, &name, version).await?;
    Reply::json(200, &version_view(&FlowPin { name, version }, &found))
}

pub async fn versions(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    let name = name(call)?;
    doc(call, &name).await?;
    let after = match page.after.as_deref().map(str::parse::<u32>) {
        None => None,
        Some(Ok(after)) => Some(after),
        Some(Err(_)) => return Err(Problem::field("cursor", "not a cursor of this list").into()),
    };
    let found = flows::versions(call.service, call.tenant(), &name, after, page.limit + 1).await?;
    page_reply(&page, found.into_iter().map(|info| (info.version.to_string(), info)).collect())
}

pub async fn version(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = name(call)?;
    let version: u32 = call.id("version", "version of this flow")?;
    let found = load(call, &name, version).await?;
    Reply::json(200, &version_view(&FlowPin { name, version }, &found))
}

pub async fn roll_back(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = name(call)?;
    let body: FlowVersionRef = call.body()?;
    flows::rollback(call.service, call.tenant(), &name, body.version, &call.by()).await?;
    Reply::json(200, &view(&doc(call, &name).await?))
}

fn compiled(version: &FlowVersion) -> Result<Compiled, Failure> {
    Compiled::load(&version.text).map_err(|found| {
        let said = found.first().map(ToString::to_string).unwrap_or_default();
        Failure {
            problem: Box::new(Problem::new(
                ErrorKind::Permanent,
                "failed",
                "a stored version cannot be read; the operator has been told",
            )),
            cause: Some(said),
        }
    })
}

/// The version that a query parameter names.
async fn chosen(call: &Call<'_>, parameter: &str) -> Result<Option<u32>, Failure> {
    call.parsed(parameter, "not a version; write a number such as 3")
}

pub async fn diff(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = name(call)?;
    let current = doc(call, &name).await?.body.current;
    let to = chosen(call, "to").await?.unwrap_or(current);
    let from = chosen(call, "from").await?.unwrap_or(to.saturating_sub(1));
    let (old, new) = (load(call, &name, from).await?, load(call, &name, to).await?);
    let (old, new) = (compiled(&old)?, compiled(&new)?);
    let changes = match (old.flow(&name), new.flow(&name)) {
        (Some(old), Some(new)) => hotline_flow::diff(old, new),
        _ => Vec::new(),
    };
    let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    Reply::json(200, &json!({"name": name, "from": from, "to": to, "changes": changes, "lines": lines}))
}

pub async fn render(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = name(call)?;
    let version = match chosen(call, "version").await? {
        Some(version) => version,
        None => doc(call, &name).await?.body.current,
    };
    let found = compiled(&load(call, &name, version).await?)?;
    let flow = found.flow(&name).ok_or_else(|| Problem::not_found("flow"))?;
    Ok(Reply { status: 200, content: Content::Svg(hotline_flow::render(flow)), version: None, secrets: &[] })
}
