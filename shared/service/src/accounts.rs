//! Tenants, people, their phones, and the numbers that lead to tenants.

use hotline_base::{AgentId, E164, FieldError, IndexRow, Invalid, Name, Redacted, Reject, TenantId, Timestamp, UserId};
use hotline_ports::runner::derived_id;
use hotline_ports::{Account, Fault, IdentityError, Range};
use hotline_routing::QueueConfig;
use hotline_routing::agent::{AgentProfile, Membership};
use hotline_wire::api::Role;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

use crate::config::{self, Did, Document, Kind, SipUser};
use crate::{Service, ServiceError, agents, turns};

/// The digest realm of every phone account.
pub const REALM: &str = "hotline";

/// Tenants, by slug; in the platform's scope.
pub const TENANT: Kind = Kind("tenant");
/// [`User`], by id.
pub const USER: Kind = Kind("user");

/// Who rents a hotline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id; follows from the slug.
    pub id: TenantId,
    /// Part of SIP user names; unique.
    pub slug: Name,
    /// What it calls itself.
    pub display_name: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A person who signs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its id; follows from tenant and sign-in name. The agent's id has the same bits.
    pub id: UserId,
    /// The sign-in name: an e-mail address, lower-case.
    pub name: Redacted<String>,
    /// Shown to colleagues.
    pub display_name: Redacted<String>,
    /// What they may do.
    pub role: Role,
    /// The phone's user name, where they have one.
    pub sip_user: Option<String>,
    /// Whether they may sign in.
    pub active: bool,
    /// When they were added.
    pub created_at: Timestamp,
}

impl User {
    /// The agent that this user is.
    pub fn agent(&self) -> AgentId {
        AgentId::from_u128(self.id.as_u128())
    }
}

/// A person to add; unchecked.
#[derive(Debug, Clone)]
pub struct NewPerson {
    /// An e-mail address.
    pub name: Redacted<String>,
    /// Shown to colleagues.
    pub display_name: Redacted<String>,
    /// What they may do.
    pub role: Role,
    /// Made where absent.
    pub password: Option<Redacted<String>>,
    /// The first part of the phone's user name; made of the e-mail address where absent.
    pub sip_name: Option<String>,
    /// What they take as an agent.
    pub work: Work,
}

/// What an agent takes; unchecked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// Skill and level.
    pub skills: BTreeMap<Name, u8>,
    /// Queue and preference.
    pub queues: BTreeMap<Name, u8>,
    /// Groups.
    pub groups: Vec<Name>,
}

/// An added person with the secrets that were made; nobody can read them again.
#[derive(Debug, Clone)]
pub struct Added {
    /// The person.
    pub user: Document<User>,
    /// The made password; `None` where one was given.
    pub password: Option<Redacted<String>>,
    /// The phone's password; `None` where they have no phone.
    pub sip_password: Option<Redacted<String>>,
}

/// The tenant of a slug; `None` where there is none.
///
/// # Errors
/// Faults of the store.
pub async fn tenant(service: &Service, slug: &str) -> Result<Option<Tenant>, ServiceError> {
    let found = config::get::<Tenant>(service, TenantId::PLATFORM, TENANT, slug).await?;
    Ok(found.map(|doc| doc.body))
}

/// Creates a tenant with its first administrator. A creation that failed half-way can be repeated.
///
/// # Errors
/// Every mistake in the input; `tenant-exists`, `name-taken`; faults.
pub async fn create_tenant(
    service: &Service,
    slug: &str,
    display_name: &str,
    admin: NewPerson,
    by: &str,
) -> Result<(Tenant, Added), ServiceError> {
    let mut errors = Vec::new();
    let slug = slug.parse::<Name>().map_err(|e| errors.push(FieldError::new("slug", e.to_string())));
    let shown = display_name.trim();
    if shown.is_empty() || shown.chars().count() > 80 {
        errors.push(FieldError::new("display_name", "1 to 80 characters"));
    }
    person_errors("admin.", &admin, &mut errors);
    Invalid::check(errors)?;
    let Ok(slug) = slug else {
        return Err(Invalid::one("slug", "missing").into());
    };
    if tenant(service, slug.as_str()).await?.is_some() {
        let message = format!("there is a tenant {slug} already; choose another slug");
        return Err(Reject::new("tenant-exists", message).into());
    }
    let id = TenantId::from_u128(derived_id(&["tenant", slug.as_str()]));
    let made = Tenant { id, slug, display_name: shown.into(), created_at: service.now() };
    // The tenant's own row comes last: until then everything before it can be done again.
    let added = add(service, &made, admin, by, true).await?;
    let name = made.slug.as_str();
    config::put(service, TenantId::PLATFORM, TENANT, name, &made, Some(0), by).await?;
    let back = IndexRow { partition: "tenant-slug".into(), sort: "-".into(), body: made.slug.to_string() };
    service.ports.store.put_row(id, back, None).await?;
    Ok((made, added))
}

/// The slug of a tenant.
///
/// # Errors
/// `not-found`; faults of the store.
pub async fn slug_of(service: &Service, tenant: TenantId) -> Result<Name, ServiceError> {
    let range = Range { tenant, partition: "tenant-slug", from: None, below: None, limit: 1, descending: false };
    let rows = service.ports.store.rows(range).await?;
    rows.first().and_then(|row| row.body.parse().ok()).ok_or_else(|| ServiceError::not_found("the tenant"))
}

/// Adds a person to a tenant: sign-in account, and for agents and supervisors a phone account
/// and an agent. An addition that failed half-way can be repeated.
///
/// # Errors
/// Every mistake in the input; `user-exists`, `name-taken`, `sip-name-taken`; faults.
pub async fn add_user(service: &Service, tenant: TenantId, person: NewPerson, by: &str) -> Result<Added, ServiceError> {
    let mut errors = Vec::new();
    person_errors("", &person, &mut errors);
    let unknown = unknown_queues(service, tenant, &person.work).await?;
    errors.extend(unknown);
    Invalid::check(errors)?;
    let slug = slug_of(service, tenant).await?;
    let home = Tenant { id: tenant, slug, display_name: String::new(), created_at: service.now() };
    add(service, &home, person, by, false).await
}

async fn add(
    service: &Service,
    home: &Tenant,
    person: NewPerson,
    by: &str,
    again: bool,
) -> Result<Added, ServiceError> {
    let name = person.name.expose().trim().to_lowercase();
    let id = UserId::from_u128(derived_id(&["user", &home.id.to_string(), &name]));
    let known = config::get::<User>(service, home.id, USER, &id.to_string()).await?;
    if known.is_some() && !again {
        let message = "there is a user with this e-mail address already; change that one";
        return Err(Reject::new("user-exists", message).into());
    }
    claim_name(service, home.id, id, &name).await?;
    let made = person.password.is_none().then(|| password(service));
    let chosen = person.password.clone().or_else(|| made.clone()).unwrap_or_default();
    let account = Account { name: name.clone(), tenant: home.id, role: person.role, user: id };
    service.ports.identity.create(&account, chosen.expose()).await.map_err(identity)?;
    let mut user = User {
        id,
        name: name.clone().into(),
        display_name: person.display_name.clone(),
        role: person.role,
        sip_user: None,
        active: true,
        created_at: service.now(),
    };
    let mut sip_password = None;
    if matches!(person.role, Role::Agent | Role::Supervisor) {
        let local = name.split('@').next().unwrap_or_default();
        let first = person.sip_name.clone().unwrap_or_else(|| sip_name(local));
        let sip_user = format!("{first}.{}", home.slug);
        sip_password = Some(phone_account(service, home.id, user.agent(), &sip_user, by).await?);
        configure(service, home.id, &user, &sip_user, &person.work).await?;
        user.sip_user = Some(sip_user);
    }
    let key = id.to_string();
    let expected = known.map_or(0, |doc| doc.version);
    let version = config::put(service, home.id, USER, &key, &user, Some(expected), by).await?;
    Ok(Added { user: Document { name: key, version, body: user }, password: made, sip_password })
}

/// Changes to a person; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct PersonChanges {
    /// Shown to colleagues.
    pub display_name: Option<Redacted<String>>,
    /// `false` ends the access for good.
    pub active: Option<bool>,
    /// All skills.
    pub skills: Option<BTreeMap<Name, u8>>,
    /// All queues.
    pub queues: Option<BTreeMap<Name, u8>>,
    /// All groups.
    pub groups: Option<Vec<Name>>,
}

/// Changes a person; `expected`: the version it must have.
///
/// # Errors
/// Every mistake in the input; `not-found`, `version-conflict`, `user-ended`; faults.
pub async fn change_user(
    service: &Service,
    tenant: TenantId,
    id: UserId,
    changes: PersonChanges,
    expected: Option<u64>,
    by: &str,
) -> Result<Document<User>, ServiceError> {
    let key = id.to_string();
    let found = config::get::<User>(service, tenant, USER, &key).await?;
    let Document { version, body: mut user, .. } = found.ok_or_else(|| ServiceError::not_found("the user"))?;
    if expected.is_some_and(|expected| expected != version) {
        let message = format!("the user is at version {version}: read it again");
        return Err(Reject::new("version-conflict", message).into());
    }
    if !user.active && changes.active != Some(false) {
        return Err(Reject::new("user-ended", "this access was ended for good; add the person anew").into());
    }
    let mut errors = Vec::new();
    if let Some(shown) = &changes.display_name {
        display_errors("", shown, &mut errors);
    }
    let before = agents::get(service, tenant, user.agent()).await?;
    let mut work = before.map_or_else(Work::default, |agent| Work {
        skills: agent.profile.skills,
        queues: agent.profile.queues.into_iter().map(|(name, seat)| (name, seat.preference)).collect(),
        groups: agent.profile.groups,
    });
    work.skills = changes.skills.unwrap_or(work.skills);
    work.queues = changes.queues.unwrap_or(work.queues);
    work.groups = changes.groups.unwrap_or(work.groups);
    work_errors(&work, &mut errors);
    errors.extend(unknown_queues(service, tenant, &work).await?);
    Invalid::check(errors)?;
    if let Some(shown) = changes.display_name {
        user.display_name = shown;
    }
    if changes.active == Some(false) {
        user.active = false;
        service.ports.identity.disable(user.name.expose()).await.map_err(identity)?;
        if let Some(sip_user) = user.sip_user.take() {
            let known = config::get::<SipUser>(service, TenantId::PLATFORM, Kind::SIP_USER, &sip_user).await?;
            if known.is_some_and(|doc| doc.body.agent == user.agent()) {
                config::delete(service, TenantId::PLATFORM, Kind::SIP_USER, &sip_user, None, by).await?;
            }
            configure(service, tenant, &user, &sip_user, &Work::default()).await?;
        }
    } else if let Some(sip_user) = user.sip_user.clone() {
        configure(service, tenant, &user, &sip_user, &work).await?;
    }
    let version = config::put(service, tenant, USER, &key, &user, Some(version), by).await?;
    Ok(Document { name: key, version, body: user })
}

/// Gives a person's phone a new password.
///
/// # Errors
/// `not-found`, `no-phone`; faults.
pub async fn renew_phone(
    service: &Service,
    tenant: TenantId,
    id: UserId,
    by: &str,
) -> Result<(String, Redacted<String>), ServiceError> {
    let found = config::get::<User>(service, tenant, USER, &id.to_string()).await?;
    let user = found.ok_or_else(|| ServiceError::not_found("the user"))?.body;
    let Some(sip_user) = user.sip_user.clone() else {
        return Err(Reject::new("no-phone", "this person has no phone account").into());
    };
    let password = phone_account(service, tenant, user.agent(), &sip_user, by).await?;
    Ok((sip_user, password))
}

/// Points a number at a tenant's flow.
///
/// # Errors
/// Every mistake in the input, an unknown tenant among them; faults.
pub async fn set_did(
    service: &Service,
    number: &str,
    slug: &str,
    flow: &str,
    by: &str,
) -> Result<(E164, Did), ServiceError> {
    let mut errors = Vec::new();
    let number = number.parse::<E164>().map_err(|e| errors.push(FieldError::new("number", e.to_string())));
    let flow = flow.parse::<Name>().map_err(|e| errors.push(FieldError::new("flow", e.to_string())));
    let home = tenant(service, slug).await?;
    if home.is_none() {
        errors.push(FieldError::new("tenant", "there is no tenant with this slug; create it first"));
    }
    Invalid::check(errors)?;
    let (Ok(number), Ok(flow), Some(home)) = (number, flow, home) else {
        return Err(Invalid::one("number", "missing").into());
    };
    let did = Did { tenant: home.id, flow };
    config::put(service, TenantId::PLATFORM, Kind::DID, number.as_str(), &did, None, by).await?;
    Ok((number, did))
}

/// An account name belongs to one person of one tenant for ever: the identity provider knows
/// names only.
async fn claim_name(service: &Service, tenant: TenantId, user: UserId, name: &str) -> Result<(), ServiceError> {
    let hash = hex::encode(Sha256::digest(name));
    let partition = format!("accounts/{}", hash.get(..2).unwrap_or("00"));
    let owner = format!("{tenant}/{user}");
    let row = IndexRow { partition: partition.clone(), sort: hash.clone(), body: owner.clone() };
    let store = &service.ports.store;
    if store.put_row_new(TenantId::PLATFORM, row, None).await? {
        return Ok(());
    }
    let range = Range {
        tenant: TenantId::PLATFORM,
        partition: &partition,
        from: Some(&hash),
        below: None,
        limit: 1,
        descending: false,
    };
    let rows = store.rows(range).await?;
    if rows.iter().any(|row| row.sort == hash && row.body == owner) {
        return Ok(());
    }
    let message = "this e-mail address signs in elsewhere already; use another";
    Err(Reject::new("name-taken", message).into())
}

/// Creates or renews a phone account; its new password.
async fn phone_account(
    service: &Service,
    tenant: TenantId,
    agent: AgentId,
    sip_user: &str,
    by: &str,
) -> Result<Redacted<String>, ServiceError> {
    let known = config::get::<SipUser>(service, TenantId::PLATFORM, Kind::SIP_USER, sip_user).await?;
    if known.as_ref().is_some_and(|doc| doc.body.agent != agent || doc.body.tenant != tenant) {
        let message = format!("the phone name {sip_user} is taken; give another sip_name");
        return Err(Reject::new("sip-name-taken", message).into());
    }
    let password = letters(service);
    let secret = format!("{sip_user}:{REALM}:{password}");
    let account = SipUser {
        tenant,
        agent,
        ha1_md5: hex::encode(Md5::digest(&secret)),
        ha1_sha256: hex::encode(Sha256::digest(&secret)),
    };
    let expected = Some(known.map_or(0, |doc| doc.version));
    config::put(service, TenantId::PLATFORM, Kind::SIP_USER, sip_user, &account, expected, by).await?;
    Ok(password.into())
}

/// Tells the agent's machine what the agent may take.
async fn configure(
    service: &Service,
    tenant: TenantId,
    user: &User,
    sip_user: &str,
    work: &Work,
) -> Result<(), ServiceError> {
    let mut queues = BTreeMap::new();
    for (name, preference) in &work.queues {
        let queue = config::get::<QueueConfig>(service, tenant, Kind::QUEUE, name.as_str()).await?;
        let (selection, shards) = queue.map(|doc| (doc.body.selection, seats(&doc.body))).unwrap_or_default();
        queues.insert(name.clone(), Membership { preference: *preference, selection, shards });
    }
    let profile = AgentProfile {
        agent: user.agent(),
        display_name: user.display_name.clone(),
        sip_user: sip_user.into(),
        voice: true,
        capacity: Default::default(),
        skills: work.skills.clone(),
        queues,
        groups: work.groups.clone(),
    };
    agents::configure(service, tenant, profile).await?;
    Ok(())
}

/// The parts of a queue's list of free agents as its agents remember them.
fn seats(queue: &QueueConfig) -> u8 {
    if queue.shards > 1 { queue.shards } else { 0 }
}

/// Tells the agents of a queue that it orders its free agents in another way or keeps them in more
/// parts, and has the queue looked at when every process knows.
///
/// # Errors
/// Faults; done again, the rest follows.
pub async fn follow_queue(service: &Service, tenant: TenantId, queue: &QueueConfig) -> Result<(), ServiceError> {
    const PAGE: usize = 100;
    let (selection, shards) = (queue.selection, seats(queue));
    turns::look_in(service, tenant, &queue.name, turns::KNOWN_EVERYWHERE).await?;
    let mut after = None;
    loop {
        let page = agents::list(service, tenant, after, PAGE).await?;
        for listing in page.iter().filter(|listing| listing.queues.contains(&queue.name)) {
            let Some(agent) = agents::get(service, tenant, listing.agent).await? else { continue };
            let mut profile = agent.profile;
            if let Some(seat) = profile.queues.get_mut(&queue.name)
                && (seat.selection, seat.shards) != (selection, shards)
            {
                (seat.selection, seat.shards) = (selection, shards);
                agents::configure(service, tenant, profile).await?;
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.agent),
            _ => return Ok(()),
        }
    }
}

async fn unknown_queues(service: &Service, tenant: TenantId, work: &Work) -> Result<Vec<FieldError>, ServiceError> {
    let mut errors = Vec::new();
    for name in work.queues.keys().take(hotline_routing::agent::MAX_QUEUES) {
        if config::get::<QueueConfig>(service, tenant, Kind::QUEUE, name.as_str()).await?.is_none() {
            let message = "there is no such queue; create it first";
            errors.push(FieldError::new(format!("queues.{name}"), message));
        }
    }
    Ok(errors)
}

fn person_errors(prefix: &str, person: &NewPerson, errors: &mut Vec<FieldError>) {
    let name = person.name.expose().trim();
    let address = name.split_once('@').is_some_and(|(local, host)| {
        !local.is_empty() && host.contains('.') && !host.starts_with('.') && !host.ends_with('.') && !host.contains('@')
    });
    let plain = name.len() <= 120 && name.bytes().all(|b| b.is_ascii_graphic());
    if !address || !plain {
        errors.push(FieldError::new(
            format!("{prefix}name"),
            "not an e-mail address; write one such as fang@example.com",
        ));
    }
    display_errors(prefix, &person.display_name, errors);
    if person.role == Role::Operator {
        errors.push(FieldError::new(
            format!("{prefix}role"),
            "operators belong to no tenant; write agent, supervisor or admin",
        ));
    }
    if let Some(password) = &person.password {
        let text = password.expose();
        let has = |f: fn(&char) -> bool| text.chars().any(|c| f(&c));
        let good = (10..=128).contains(&text.chars().count())
            && has(char::is_ascii_uppercase)
            && has(char::is_ascii_lowercase)
            && has(char::is_ascii_digit);
        if !good {
            let message =
                "10 to 128 characters with upper case, lower case and a digit; or leave it out and one is made";
            errors.push(FieldError::new(format!("{prefix}password"), message));
        }
    }
    if let Some(sip_name) = &person.sip_name
        && let Err(error) = sip_name.parse::<Name>()
    {
        errors.push(FieldError::new(format!("{prefix}sip_name"), error.to_string()));
    }
    work_errors(&person.work, errors);
}

fn display_errors(prefix: &str, shown: &Redacted<String>, errors: &mut Vec<FieldError>) {
    let shown = shown.expose().trim();
    if shown.is_empty() || shown.chars().count() > 80 {
        errors.push(FieldError::new(format!("{prefix}display_name"), "1 to 80 characters"));
    }
}

fn work_errors(work: &Work, errors: &mut Vec<FieldError>) {
    for (skill, level) in &work.skills {
        if !(1..=hotline_routing::skill::MAX_LEVEL).contains(level) {
            let message = format!("level {level}; write 1 to {}", hotline_routing::skill::MAX_LEVEL);
            errors.push(FieldError::new(format!("skills.{skill}"), message));
        }
    }
    for (field, count, most) in [
        ("skills", work.skills.len(), hotline_routing::skill::MAX_SKILLS),
        ("queues", work.queues.len(), hotline_routing::agent::MAX_QUEUES),
        ("groups", work.groups.len(), 20),
    ] {
        if count > most {
            errors.push(FieldError::new(field, format!("{count} are too many; at most {most}")));
        }
    }
}

fn identity(error: IdentityError) -> ServiceError {
    match error {
        IdentityError::WeakPassword(message) => Invalid::one("password", message).into(),
        IdentityError::Refused => Reject::new("name-taken", "the identity provider refused this name").into(),
        IdentityError::Throttled => Fault::transient("identity", "too many attempts; wait a minute").into(),
        IdentityError::Fault(fault) => fault.into(),
    }
}

/// A phone name from the local part of an e-mail address.
fn sip_name(local: &str) -> String {
    let mut name: String =
        local.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(30).collect();
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.insert_str(0, "u-");
    }
    name
}

/// 110 bits of randomness in letters and digits.
fn letters(service: &Service) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = service.ports.world.random();
    let mut text = String::new();
    for _ in 0..22 {
        let place = (random & 31) as usize;
        text.push(ALPHABET.get(place).copied().map_or('x', char::from));
        random >>= 5;
    }
    text
}

/// A password that meets every usual policy.
fn password(service: &Service) -> Redacted<String> {
    format!("Hl7-{}", letters(service)).into()
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
