//! Queues, skills, calendars, policies and VIP lists: checked documents by name.

use hotline_base::{E164, FieldError, Name};
use hotline_flow::Compiled;
use hotline_routing::QueueConfig;
use hotline_routing::queue::Known;
use hotline_service::config::{self, Document, Kind};
use hotline_service::flows::{self, FlowDoc};
use hotline_service::{accounts, agents};
use hotline_sla::{Basis, Calendar, CalendarDraft, Policy};
use hotline_wire::problem::{ErrorKind, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

use crate::call::{Call, page_reply, read_value};
use crate::reply::{Failure, Reply};
use crate::route::Config;

/// Numbers on one VIP list.
const VIP_NUMBERS: usize = 5_000;
/// Queues looked at for cycles of overflow.
const QUEUES: usize = 2_000;
/// Documents of each kind in a tenant.
const MOST: usize = 1_000;

/// A skill that agents may have.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skill {
    name: Name,
    #[serde(default)]
    description: String,
}

/// A VIP list as sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VipDraft {
    #[serde(rename = "name")]
    _name: Name,
    numbers: Vec<String>,
}

fn kind_of(config: Config) -> (Kind, &'static str) {
    match config {
        Config::Queue => (Kind::QUEUE, "queue"),
        Config::Skill => (Kind::SKILL, "skill"),
        Config::Calendar => (Kind::CALENDAR, "calendar"),
        Config::Policy => (Kind::POLICY, "policy"),
        Config::VipList => (Kind::VIP_LIST, "VIP list"),
    }
}

fn versioned(doc: Document<Value>) -> Value {
    let mut body = doc.body;
    if let Some(map) = body.as_object_mut() {
        map.insert("name".into(), json!(doc.name));
    }
    json!({"version": doc.version, "doc": body})
}

pub async fn get(call: &Call<'_>, config: Config) -> Result<Reply, Failure> {
    let (kind, what) = kind_of(config);
    let found = config::get::<Value>(call.service, call.tenant(), kind, call.param("name")).await?;
    let doc = found.ok_or_else(|| Problem::not_found(what))?;
    let version = doc.version;
    Ok(Reply::json(200, &versioned(doc))?.at(version))
}

pub async fn list(call: &Call<'_>, config: Config) -> Result<Reply, Failure> {
    let page = call.page()?;
    let (kind, _) = kind_of(config);
    let docs: Vec<Document<Value>> =
        config::list(call.service, call.tenant(), kind, page.after.as_deref(), page.limit + 1).await?;
    page_reply(&page, docs.into_iter().map(|doc| (doc.name.clone(), versioned(doc))).collect())
}

pub async fn delete(call: &Call<'_>, config: Config) -> Result<Reply, Failure> {
    let (kind, what) = kind_of(config);
    let expected = call.expected()?;
    if let Some(user) = user_of(call, config).await? {
        let detail = format!("{user} uses this {what}; change that first");
        return Err(Problem::new(ErrorKind::Rejected, "in-use", detail).into());
    }
    config::delete(call.service, call.tenant(), kind, call.param("name"), expected, &call.by()).await?;
    Ok(Reply::nothing())
}

/// Something that runs now and refers to the document of the path: a current flow, an agent, a policy.
async fn user_of(call: &Call<'_>, config: Config) -> Result<Option<String>, Failure> {
    let Ok(name) = call.param("name").parse::<Name>() else { return Ok(None) };
    let (service, tenant) = (call.service, call.tenant());
    if matches!(config, Config::Queue | Config::Calendar | Config::VipList) {
        let docs: Vec<Document<FlowDoc>> = config::list(service, tenant, Kind::FLOW, None, MOST).await?;
        for doc in docs {
            let Ok(flow) = doc.name.parse::<Name>() else { continue };
            let version = flows::load(service, tenant, &flow, doc.body.current).await?;
            let Some(compiled) = version.and_then(|version| Compiled::load(&version.text).ok()) else { continue };
            let references = compiled.references();
            let used = match config {
                Config::Queue => references.queues.contains(&name),
                Config::Calendar => references.calendars.contains(&name),
                _ => references.vip_lists.contains(&name),
            };
            if used {
                return Ok(Some(format!("the current version of flow {flow}")));
            }
        }
    }
    if config == Config::Queue {
        let listed = agents::list(service, tenant, None, MOST).await?;
        if let Some(agent) = listed.iter().find(|agent| agent.queues.contains(&name)) {
            return Ok(Some(format!("agent {}", agent.agent)));
        }
    }
    if config == Config::Calendar {
        let policies: Vec<Document<Policy>> = config::list(service, tenant, Kind::POLICY, None, MOST).await?;
        let counts = Basis::Business { calendar: name };
        if let Some(doc) = policies.iter().find(|doc| doc.body.counts == counts) {
            return Ok(Some(format!("policy {}", doc.name)));
        }
    }
    Ok(None)
}

pub async fn put(call: &Call<'_>, config: Config) -> Result<Reply, Failure> {
    let name: Name =
        call.param("name").parse().map_err(|e: hotline_base::NameError| Problem::field("name", e.to_string()))?;
    let body = call.named_body()?;
    let expected = call.expected()?;
    let checked = match config {
        Config::Queue => queue(call, read_value(body)?).await?,
        Config::Skill => {
            let skill: Skill = read_value(body)?;
            if skill.description.chars().count() > 200 {
                return Err(Problem::field("description", "at most 200 characters").into());
            }
            serde_json::to_value(skill)?
        }
        Config::Calendar => {
            let draft: CalendarDraft = read_value(body)?;
            let calendar: Calendar = draft.validate().map_err(Problem::from)?;
            serde_json::to_value(calendar)?
        }
        Config::Policy => policy(call, read_value(body)?).await?,
        Config::VipList => vip_list(read_value(body)?)?,
    };
    let (kind, what) = kind_of(config);
    room(call, kind, what, &name).await?;
    let (tenant, by) = (call.tenant(), call.by());
    let before = match config {
        Config::Queue => config::get::<QueueConfig>(call.service, tenant, kind, name.as_str()).await?,
        _ => None,
    };
    if let (Some(before), Ok(now)) = (&before, serde_json::from_value::<QueueConfig>(checked.clone()))
        && now.shards < before.body.shards
    {
        let message = format!("is {}; never lowered: write {} or more", now.shards, before.body.shards);
        return Err(Problem::field("shards", message).into());
    }
    let version = config::put(call.service, tenant, kind, name.as_str(), &checked, expected, &by).await?;
    if let (Some(before), Ok(now)) = (before, serde_json::from_value::<QueueConfig>(checked.clone()))
        && (before.body.selection, before.body.shards) != (now.selection, now.shards)
    {
        accounts::follow_queue(call.service, tenant, &now).await?;
    }
    let doc = Document { name: name.to_string(), version, body: checked };
    Ok(Reply::json(200, &versioned(doc))?.at(version))
}

/// Refuses one more of a kind of which there are very many.
async fn room(call: &Call<'_>, kind: Kind, what: &str, name: &Name) -> Result<(), Failure> {
    let there = config::list::<Value>(call.service, call.tenant(), kind, None, MOST).await?;
    if there.len() >= MOST && there.iter().all(|doc| doc.name != name.as_str()) {
        return Err(Problem::field("name", format!("there are {MOST} already; remove a {what} first")).into());
    }
    Ok(())
}

async fn queue(call: &Call<'_>, queue: QueueConfig) -> Result<Value, Failure> {
    let others: Vec<Document<QueueConfig>> =
        config::list(call.service, call.tenant(), Kind::QUEUE, None, QUEUES).await?;
    let mut queues: BTreeMap<Name, BTreeSet<Name>> =
        others.into_iter().map(|doc| (doc.body.name.clone(), doc.body.overflow_queues())).collect();
    queues.insert(queue.name.clone(), queue.overflow_queues());
    // Skills need no declaration: agents have what administrators give them.
    let found = queue.validate(&Known { skills: None, queues: Some(queues) });
    let mut errors: Vec<FieldError> = found.into_iter().map(|e| FieldError::new(e.field, e.message)).collect();
    if let Some(flow) = &queue.callback.flow
        && config::get::<FlowDoc>(call.service, call.tenant(), Kind::FLOW, flow.as_str()).await?.is_none()
    {
        errors.push(FieldError::new("callback.flow", format!("there is no flow {flow}; publish it first")));
    }
    if errors.is_empty() { Ok(serde_json::to_value(queue)?) } else { Err(Problem::invalid(&errors).into()) }
}

async fn policy(call: &Call<'_>, policy: Policy) -> Result<Value, Failure> {
    let mut errors = policy.validate().err().map(|e| e.fields().to_vec()).unwrap_or_default();
    if let Basis::Business { calendar } = &policy.counts {
        let found = config::get::<Value>(call.service, call.tenant(), Kind::CALENDAR, calendar.as_str()).await?;
        if found.is_none() {
            let message = format!("there is no calendar {calendar}; create it first");
            errors.push(FieldError::new("counts.calendar", message));
        }
    }
    if errors.is_empty() { Ok(serde_json::to_value(policy)?) } else { Err(Problem::invalid(&errors).into()) }
}

fn vip_list(draft: VipDraft) -> Result<Value, Failure> {
    if draft.numbers.len() > VIP_NUMBERS {
        return Err(Problem::field("numbers", format!("at most {VIP_NUMBERS}; split the list")).into());
    }
    let mut errors = Vec::new();
    let mut numbers = BTreeSet::new();
    for (i, text) in draft.numbers.iter().enumerate() {
        match text.parse::<E164>() {
            Ok(number) => {
                numbers.insert(number.to_string());
            }
            Err(error) => errors.push(FieldError::new(format!("numbers[{i}]"), error.to_string())),
        }
    }
    if errors.is_empty() {
        Ok(serde_json::to_value(config::VipList { numbers })?)
    } else {
        Err(Problem::invalid(&errors).into())
    }
}
