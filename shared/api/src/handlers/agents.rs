//! Agents and the state of queues.

use hotline_base::{AgentId, Name};
use hotline_ports::Range;
use hotline_routing::agent::{Requested, available_partition, staffed_partition};
use hotline_routing::waiting::waiting_partition;
use hotline_routing::{Agent, QueueConfig, WaitingEntry};
use hotline_service::config::{self, Document, Kind};
use hotline_service::{agents, lists};
use hotline_wire::api::{Heartbeat, OfferRef, StateRequest, WrapUpRequest};
use hotline_wire::problem::Problem;
use serde_json::{Value, json};

use crate::call::{Call, page_reply};
use crate::reply::{Failure, Reply};

/// Counting of a queue stops here.
const MANY: usize = 500;

fn view(agent: &Agent) -> Result<Value, Failure> {
    Ok(json!({
        "agent": agent.profile.agent,
        "display_name": agent.profile.display_name,
        "sip_user": agent.profile.sip_user,
        "state": serde_json::to_value(&agent.state)?,
        "since": agent.since,
        "phone": agent.phone.is_some(),
        "skills": agent.profile.skills,
        "queues": agent.profile.queues.keys().collect::<Vec<_>>(),
    }))
}

fn reply(agent: &Agent) -> Result<Reply, Failure> {
    Reply::json(200, &view(agent)?)
}

fn requested(request: StateRequest) -> Requested {
    match request {
        StateRequest::Available => Requested::Available,
        StateRequest::Away { reason } => Requested::Away { reason },
        StateRequest::Standby => Requested::Standby,
        StateRequest::Offline => Requested::Offline,
    }
}

pub async fn list(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    let after = match page.after.as_deref().map(str::parse::<AgentId>) {
        None => None,
        Some(Ok(agent)) => Some(agent),
        Some(Err(_)) => return Err(Problem::field("cursor", "not a cursor of this list").into()),
    };
    let found = agents::list(call.service, call.tenant(), after, page.limit + 1).await?;
    page_reply(&page, found.into_iter().map(|listing| (listing.agent.to_string(), listing)).collect())
}

pub async fn mine(call: &Call<'_>) -> Result<Reply, Failure> {
    let agent = agents::get(call.service, call.tenant(), call.who.agent()).await?;
    reply(&agent.ok_or_else(|| Problem::not_found("agent"))?)
}

pub async fn set_mine(call: &Call<'_>) -> Result<Reply, Failure> {
    let to = requested(call.body()?);
    reply(&agents::request_state(call.service, call.tenant(), call.who.agent(), to).await?)
}

pub async fn set(call: &Call<'_>) -> Result<Reply, Failure> {
    let agent: AgentId = call.id("id", "agent")?;
    let to = requested(call.body()?);
    if agents::get(call.service, call.tenant(), agent).await?.is_none() {
        return Err(Problem::not_found("agent").into());
    }
    reply(&agents::request_state(call.service, call.tenant(), agent, to).await?)
}

pub async fn beat(call: &Call<'_>) -> Result<Reply, Failure> {
    let body: Heartbeat = call.body()?;
    if !(1..=64).contains(&body.console.len()) {
        return Err(Problem::field("console", "1 to 64 characters that name the browser tab").into());
    }
    reply(&agents::heard(call.service, call.tenant(), call.who.agent(), body.console, body.microphone).await?)
}

pub async fn wrap_up(call: &Call<'_>) -> Result<Reply, Failure> {
    let me = call.who.agent();
    let agent = match call.body()? {
        WrapUpRequest::End => agents::end_wrap_up(call.service, call.tenant(), me).await?,
        WrapUpRequest::Extend { by_ms } => agents::extend_wrap_up(call.service, call.tenant(), me, by_ms).await?,
    };
    reply(&agent)
}

pub async fn decline(call: &Call<'_>) -> Result<Reply, Failure> {
    let body: OfferRef = call.body()?;
    reply(&agents::decline(call.service, call.tenant(), call.who.agent(), body.offer).await?)
}

/// Queues with who waits and who serves them.
pub async fn queue_states(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    let docs: Vec<Document<QueueConfig>> =
        config::list(call.service, call.tenant(), Kind::QUEUE, page.after.as_deref(), page.limit + 1).await?;
    let mut items = Vec::new();
    for doc in docs {
        let state = queue_state(call, &doc.body.name).await?;
        items.push((doc.name, state));
    }
    page_reply(&page, items)
}

async fn queue_state(call: &Call<'_>, queue: &Name) -> Result<Value, Failure> {
    let store = &call.service.ports.store;
    let (waiting, free, staffed) = (waiting_partition(queue), available_partition(queue), staffed_partition(queue));
    let tenant = call.tenant();
    let range = |partition| Range { tenant, partition, from: None, below: None, limit: MANY, descending: false };
    let waiting = lists::of_queue(call.service, queue, range(&waiting)).await?;
    let free = lists::of_queue(call.service, queue, range(&free)).await?.len();
    let staffed = store.rows(range(&staffed)).await?.len();
    let now = call.service.now();
    let waits = waiting.iter().filter_map(|row| WaitingEntry::from_row(row).ok());
    let longest_wait_ms = waits.map(|entry| entry.waited_ms(now)).max().unwrap_or(0);
    Ok(json!({
        "queue": queue,
        "waiting": waiting.len(),
        "longest_wait_ms": longest_wait_ms,
        "staffed": staffed,
        "free": free,
    }))
}
