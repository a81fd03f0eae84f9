//! Flow versions: checked, spoken, published, rolled back.

use futures::future::join_all;
use hotline_base::{FieldError, Invalid, Name, TenantId, Timestamp};
use hotline_contact::PromptBook;
use hotline_flow::{Catalog, Compiled, Diagnostic, Flow, SpeechItem, speech};
use hotline_ports::{Bucket, Fault};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::config::{self, Audio, Document, Kind};
use crate::{Service, ServiceError, agents, setting, sounds, wave};

/// Names of one kind that a check knows of.
const MAX_NAMES: usize = 2_000;
/// Agents whose groups and skills a check reads; where there are more, any agent, group and skill
/// is taken to exist.
const MAX_AGENTS: usize = 300;
/// Texts synthesised, or agents read, at the same time.
const AT_ONCE: usize = 8;

/// Which version of a flow new contacts start with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowDoc {
    /// The version.
    pub current: u32,
    /// The highest version there is.
    pub latest: u32,
    /// When this was decided.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

/// An immutable version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowVersion {
    /// The canonical text, subflows included.
    pub text: String,
    /// What somebody wrote, comments included.
    pub source: String,
    /// SHA-256 of the canonical text, hex.
    pub hash: String,
    /// The speech engine, as a path segment.
    pub engine: String,
    /// Uploaded recordings used: name → object key.
    pub audio: BTreeMap<Name, String>,
    /// When.
    pub published_at: Timestamp,
    /// By whom.
    pub by: String,
}

/// A version in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowVersionInfo {
    /// The flow.
    pub flow: Name,
    /// The version.
    pub version: u32,
    /// SHA-256 of the canonical text, hex.
    pub hash: String,
    /// When.
    pub published_at: Timestamp,
    /// By whom.
    pub by: String,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The version that is now current.
    pub version: u32,
    /// SHA-256 of the canonical text, hex.
    pub hash: String,
    /// Texts that were synthesised; others had been before.
    pub spoken: usize,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
}

/// The name of a version's document.
pub fn version_name(flow: &Name, version: u32) -> String {
    format!("{flow}/{version:06}")
}

/// All findings about a text, by the names that the tenant has now; empty: it can be published.
///
/// # Errors
/// Faults of the store.
pub async fn check(service: &Service, tenant: TenantId, text: &str) -> Result<Vec<Diagnostic>, ServiceError> {
    let flow = match hotline_flow::parse(text) {
        Ok(flow) => flow,
        Err(diagnostics) => return Ok(diagnostics),
    };
    let catalog = catalog(service, tenant).await?;
    Ok(hotline_flow::check(&flow, &catalog))
}

/// The names that a flow of this tenant may use.
///
/// # Errors
/// Faults of the store.
pub async fn catalog(service: &Service, tenant: TenantId) -> Result<Catalog, ServiceError> {
    let people = people(service, tenant).await?;
    let (agents, groups, mut skills) = match people {
        Some(People { agents, groups, skills }) => (Some(agents), Some(groups), Some(skills)),
        None => (None, None, None),
    };
    if let Some(skills) = &mut skills {
        skills.extend(names(service, tenant, Kind::SKILL).await?);
    }
    Ok(Catalog {
        agents,
        groups,
        skills,
        queues: Some(names(service, tenant, Kind::QUEUE).await?),
        calendars: Some(names(service, tenant, Kind::CALENDAR).await?),
        vip_lists: Some(names(service, tenant, Kind::VIP_LIST).await?),
        audio: Some(names(service, tenant, Kind::AUDIO).await?),
        subflows: Some(published(service, tenant).await?),
        // Functions live outside: a hook that finds none goes its failure's way.
        functions: None,
    })
}

/// What the agents of a tenant are called, belong to and can do.
#[derive(Default)]
struct People {
    agents: BTreeSet<Name>,
    groups: BTreeSet<Name>,
    skills: BTreeSet<Name>,
}

/// `None`: there are too many to read.
async fn people(service: &Service, tenant: TenantId) -> Result<Option<People>, ServiceError> {
    let listed = agents::list(service, tenant, None, MAX_AGENTS + 1).await?;
    if listed.len() > MAX_AGENTS {
        return Ok(None);
    }
    let mut people = People::default();
    for some in listed.chunks(AT_ONCE) {
        for agent in join_all(some.iter().map(|listed| agents::get(service, tenant, listed.agent))).await {
            let Some(profile) = agent?.map(|agent| agent.profile) else {
                continue;
            };
            people.agents.extend(profile.sip_user.split('.').next().and_then(|name| name.parse().ok()));
            people.groups.extend(profile.groups);
            people.skills.extend(profile.skills.into_keys());
        }
    }
    Ok(Some(people))
}

async fn names(service: &Service, tenant: TenantId, kind: Kind) -> Result<BTreeSet<Name>, ServiceError> {
    let all: Vec<Document<serde_json::Value>> = config::list(service, tenant, kind, None, MAX_NAMES).await?;
    Ok(all.iter().filter_map(|document| document.name.parse().ok()).collect())
}

/// The published flows in their current versions, each without the flows it calls.
async fn published(service: &Service, tenant: TenantId) -> Result<BTreeMap<Name, Flow>, ServiceError> {
    let all: Vec<Document<FlowDoc>> = config::list(service, tenant, Kind::FLOW, None, MAX_NAMES).await?;
    let mut flows = BTreeMap::new();
    for document in all {
        let Ok(name) = document.name.parse::<Name>() else {
            continue;
        };
        let pin = hotline_contact::FlowPin { name: name.clone(), version: document.body.current };
        let pinned = setting::pinned(service, tenant, &pin).await?;
        if let Some(flow) = pinned.flow.flow(&name) {
            flows.insert(name, flow.clone());
        }
    }
    Ok(flows)
}

/// Checks a text, makes its speech, stores it as a new version and makes that the current one.
/// A text that means the same as the current version publishes nothing new.
///
/// # Errors
/// [`ServiceError::Invalid`] with a finding per field, `text:<line>:<column>`; faults.
pub async fn publish(
    service: &Service,
    tenant: TenantId,
    name: &Name,
    text: &str,
    by: &str,
) -> Result<Published, ServiceError> {
    let flow = hotline_flow::parse(text).map_err(|found| invalid(&found))?;
    if flow.name != *name {
        let message = format!("the text calls itself {}, but it is published as {name}", flow.name);
        return Err(Invalid::one("flow", message).into());
    }
    let catalog = catalog(service, tenant).await?;
    let (errors, warnings): (Vec<_>, Vec<_>) =
        hotline_flow::check(&flow, &catalog).into_iter().partition(Diagnostic::is_error);
    if !errors.is_empty() {
        return Err(invalid(&errors).into());
    }
    let subflows = catalog.subflows.unwrap_or_default();
    let compiled = Compiled::new(flow, &subflows).map_err(|found| invalid(&found))?;
    let hash = compiled.hash().as_str().to_string();
    let audio = audio(service, tenant, &compiled).await?;
    let book = PromptBook::new(tenant, &service.ports.tts.engine(), audio);
    sounds::ensure(service).await?;
    let spoken = speak(service, &book, speech(&compiled)).await?;

    let document: Option<Document<FlowDoc>> = config::get(service, tenant, Kind::FLOW, name.as_str()).await?;
    let latest = document.as_ref().map_or(0, |document| document.body.latest);
    if let Some(document) = &document {
        let current = load(service, tenant, name, document.body.current).await?;
        let same = current.is_some_and(|current| {
            current.hash == hash && current.engine == book.engine && current.audio == book.audio
        });
        if same {
            return Ok(Published { version: document.body.current, hash, spoken, warnings });
        }
    }
    let version = latest + 1;
    let now = service.now();
    let stored = FlowVersion {
        text: compiled.text().into(),
        source: text.into(),
        hash: hash.clone(),
        engine: book.engine.clone(),
        audio: book.audio.clone(),
        published_at: now,
        by: by.into(),
    };
    let info = FlowVersionInfo { flow: name.clone(), version, hash: hash.clone(), published_at: now, by: by.into() };
    let place = version_name(name, version);
    // A version number is given once: whoever publishes at the same time sees a conflict.
    config::put_listed(service, tenant, Kind::FLOW_VERSION, &place, &stored, &info, Some(0), by).await?;
    let next = FlowDoc { current: version, latest: version, at: now, by: by.into() };
    let expected = document.map_or(0, |document| document.version);
    config::put(service, tenant, Kind::FLOW, name.as_str(), &next, Some(expected), by).await?;
    Ok(Published { version, hash, spoken, warnings })
}

/// Makes an older (or any existing) version the current one.
///
/// # Errors
/// `not-found` where there is no such version; `version-conflict`; faults.
pub async fn rollback(
    service: &Service,
    tenant: TenantId,
    name: &Name,
    version: u32,
    by: &str,
) -> Result<(), ServiceError> {
    let missing = || ServiceError::not_found(format!("version {version} of flow {name}"));
    load(service, tenant, name, version).await?.ok_or_else(missing)?;
    let document: Document<FlowDoc> = config::get(service, tenant, Kind::FLOW, name.as_str())
        .await?
        .ok_or_else(|| ServiceError::not_found(format!("flow {name}")))?;
    let next = FlowDoc { current: version, latest: document.body.latest, at: service.now(), by: by.into() };
    let expected = Some(document.version);
    config::put(service, tenant, Kind::FLOW, name.as_str(), &next, expected, by).await?;
    Ok(())
}

/// A version; `None` where there is none.
///
/// # Errors
/// Faults of the store.
pub async fn load(
    service: &Service,
    tenant: TenantId,
    name: &Name,
    version: u32,
) -> Result<Option<FlowVersion>, ServiceError> {
    let place = version_name(name, version);
    let found = config::get(service, tenant, Kind::FLOW_VERSION, &place).await?;
    Ok(found.map(|document| document.body))
}

/// The versions of a flow, oldest first, after version `after`.
///
/// # Errors
/// Faults of the store.
pub async fn versions(
    service: &Service,
    tenant: TenantId,
    name: &Name,
    after: Option<u32>,
    limit: usize,
) -> Result<Vec<FlowVersionInfo>, ServiceError> {
    let after = version_name(name, after.unwrap_or(0));
    let all: Vec<Document<FlowVersionInfo>> =
        config::list(service, tenant, Kind::FLOW_VERSION, Some(&after), limit).await?;
    Ok(all.into_iter().map(|document| document.body).filter(|info| info.flow == *name).collect())
}

fn invalid(found: &[Diagnostic]) -> Invalid {
    let field = |finding: &Diagnostic| {
        let mut message = format!("{} [{}]", finding.message, finding.code);
        if !finding.remedy.is_empty() {
            message.push_str("; ");
            message.push_str(&finding.remedy);
        }
        FieldError::new(format!("text:{}:{}", finding.line, finding.column), message)
    };
    let fields: Vec<FieldError> = found.iter().map(field).collect();
    match Invalid::check(fields) {
        Err(invalid) => invalid,
        Ok(()) => Invalid::one("text", "cannot be read"),
    }
}

async fn audio(
    service: &Service,
    tenant: TenantId,
    compiled: &Compiled,
) -> Result<BTreeMap<Name, String>, ServiceError> {
    let mut keys = BTreeMap::new();
    for name in compiled.references().audio {
        let found: Option<Document<Audio>> = config::get(service, tenant, Kind::AUDIO, name.as_str()).await?;
        if let Some(document) = found {
            keys.insert(name, document.body.key);
        }
    }
    Ok(keys)
}

/// Synthesises what is not there yet; gives how many texts.
async fn speak(service: &Service, book: &PromptBook, items: Vec<SpeechItem>) -> Result<usize, ServiceError> {
    let prefix = format!("prompts/{}/{}/", book.tenant, book.engine);
    let there = service.ports.objects.list(Bucket::Prompts, &prefix, 100_000).await?;
    let there: BTreeSet<String> = there.into_iter().collect();
    let missing: Vec<(String, SpeechItem)> = items
        .into_iter()
        .map(|item| (book.speech_key(&item.speech), item))
        .filter(|(key, _)| !there.contains(key))
        .collect();
    for batch in missing.chunks(AT_ONCE) {
        let all = batch.iter().map(|(key, item)| say(service, key, item));
        join_all(all).await.into_iter().collect::<Result<Vec<()>, Fault>>()?;
    }
    Ok(missing.len())
}

async fn say(service: &Service, key: &str, item: &SpeechItem) -> Result<(), Fault> {
    let speech = &item.speech;
    let voice = speech.voice.as_deref();
    let samples = service.ports.tts.speak(&speech.text, speech.lang, voice).await?;
    let body = wave::to_mu_law(&samples);
    service.ports.objects.put(Bucket::Prompts, key, body, sounds::MU_LAW_TYPE).await
}
