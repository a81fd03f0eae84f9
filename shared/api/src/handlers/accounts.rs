//! Tenants, numbers, people.

use hotline_base::{E164, Name, TenantId, UserId};
use hotline_service::accounts::{self, Added, NewPerson, PersonChanges, REALM, TENANT, Tenant, USER, User, Work};
use hotline_service::config::{self, Did, Document, Kind};
use hotline_wire::api::{
    DidFlow, DidTarget, DidView, NewTenant, NewUser, Role, SipAccount, TenantCreated, TenantView, UserChanges,
    UserCreated, UserView,
};
use hotline_wire::problem::Problem;

use crate::call::{Call, Page, page_reply};
use crate::reply::{Failure, Reply};

/// Numbers looked through for a tenant's own.
const DIDS: usize = 10_000;

fn tenant_view(tenant: &Tenant) -> TenantView {
    TenantView {
        id: tenant.id,
        slug: tenant.slug.clone(),
        display_name: tenant.display_name.clone(),
        created_at: tenant.created_at.as_millis(),
    }
}

fn user_view(doc: &Document<User>) -> UserView {
    let user = &doc.body;
    UserView {
        id: user.id,
        agent: user.agent(),
        name: user.name.clone(),
        display_name: user.display_name.clone(),
        role: user.role,
        active: user.active,
        sip_user: user.sip_user.clone(),
        version: doc.version,
    }
}

fn created(added: Added) -> UserCreated {
    let sip_user = added.user.body.sip_user.clone();
    let sip =
        sip_user.zip(added.sip_password).map(|(user, password)| SipAccount { user, password, realm: REALM.into() });
    UserCreated { user: user_view(&added.user), password: added.password, sip }
}

fn did_view(number: &str, did: &Did) -> DidView {
    DidView { number: number.into(), tenant: did.tenant, flow: did.flow.clone() }
}

pub async fn create_tenant(call: &Call<'_>) -> Result<Reply, Failure> {
    let new: NewTenant = call.body()?;
    let admin = NewPerson {
        name: new.admin.name,
        display_name: new.admin.display_name,
        role: Role::Admin,
        password: new.admin.password,
        sip_name: None,
        work: Work::default(),
    };
    let (tenant, added) =
        accounts::create_tenant(call.service, &new.slug, &new.display_name, admin, &call.by()).await?;
    let body = TenantCreated { tenant: tenant_view(&tenant), admin: created(added) };
    Ok(Reply::json(201, &body)?.hiding(&["password"]))
}

/// A page of documents by name.
async fn documents<T: serde::de::DeserializeOwned>(
    call: &Call<'_>,
    tenant: TenantId,
    kind: Kind,
    page: &Page,
) -> Result<Vec<Document<T>>, Failure> {
    Ok(config::list(call.service, tenant, kind, page.after.as_deref(), page.limit + 1).await?)
}

pub async fn list_tenants(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    let docs = documents::<Tenant>(call, TenantId::PLATFORM, TENANT, &page).await?;
    page_reply(&page, docs.into_iter().map(|doc| (doc.name, tenant_view(&doc.body))).collect())
}

pub async fn get_tenant(call: &Call<'_>) -> Result<Reply, Failure> {
    let tenant = accounts::tenant(call.service, call.param("slug")).await?;
    let tenant = tenant.ok_or_else(|| Problem::not_found("tenant"))?;
    Reply::json(200, &tenant_view(&tenant))
}

pub async fn put_did(call: &Call<'_>) -> Result<Reply, Failure> {
    let target: DidTarget = call.body()?;
    let number = call.param("number");
    let (number, did) = accounts::set_did(call.service, number, &target.tenant, &target.flow, &call.by()).await?;
    Reply::json(200, &did_view(number.as_str(), &did))
}

pub async fn list_dids(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    if call.who.role == Role::Operator {
        let docs = documents::<Did>(call, TenantId::PLATFORM, Kind::DID, &page).await?;
        let items = docs.iter().map(|doc| (doc.name.clone(), did_view(&doc.name, &doc.body)));
        return page_reply(&page, items.collect());
    }
    let docs: Vec<Document<Did>> = config::list(call.service, TenantId::PLATFORM, Kind::DID, None, DIDS).await?;
    let after = page.after.clone().unwrap_or_default();
    let own = docs.iter().filter(|doc| doc.body.tenant == call.tenant() && doc.name > after);
    let items = own.take(page.limit + 1).map(|doc| (doc.name.clone(), did_view(&doc.name, &doc.body)));
    page_reply(&page, items.collect())
}

pub async fn delete_did(call: &Call<'_>) -> Result<Reply, Failure> {
    let number: E164 = call.id("number", "number")?;
    config::delete(call.service, TenantId::PLATFORM, Kind::DID, number.as_str(), None, &call.by()).await?;
    Ok(Reply::nothing())
}

pub async fn set_did_flow(call: &Call<'_>) -> Result<Reply, Failure> {
    let body: DidFlow = call.body()?;
    let flow: Name = body.flow.parse().map_err(|e: hotline_base::NameError| Problem::field("flow", e.to_string()))?;
    let number: E164 = call.id("number", "number")?;
    let found = config::get::<Did>(call.service, TenantId::PLATFORM, Kind::DID, number.as_str()).await?;
    let doc = found.filter(|doc| doc.body.tenant == call.tenant()).ok_or_else(|| Problem::not_found("number"))?;
    let did = Did { flow, ..doc.body };
    let version = Some(doc.version);
    config::put(call.service, TenantId::PLATFORM, Kind::DID, number.as_str(), &did, version, &call.by()).await?;
    Reply::json(200, &did_view(number.as_str(), &did))
}

pub async fn add_user(call: &Call<'_>) -> Result<Reply, Failure> {
    let new: NewUser = call.body()?;
    let person = NewPerson {
        name: new.name,
        display_name: new.display_name,
        role: new.role,
        password: new.password,
        sip_name: new.sip_name,
        work: Work { skills: new.skills, queues: new.queues, groups: new.groups },
    };
    let added = accounts::add_user(call.service, call.tenant(), person, &call.by()).await?;
    let version = added.user.version;
    Ok(Reply::json(201, &created(added))?.at(version).hiding(&["password"]))
}

pub async fn list_users(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    let docs = documents::<User>(call, call.tenant(), USER, &page).await?;
    page_reply(&page, docs.iter().map(|doc| (doc.name.clone(), user_view(doc))).collect())
}

pub async fn get_user(call: &Call<'_>) -> Result<Reply, Failure> {
    let id: UserId = call.id("id", "user")?;
    let doc = config::get::<User>(call.service, call.tenant(), USER, &id.to_string()).await?;
    let doc = doc.ok_or_else(|| Problem::not_found("user"))?;
    Ok(Reply::json(200, &user_view(&doc))?.at(doc.version))
}

pub async fn change_user(call: &Call<'_>) -> Result<Reply, Failure> {
    let id: UserId = call.id("id", "user")?;
    let body: UserChanges = call.body()?;
    if id == call.who.user && body.active == Some(false) {
        return Err(Problem::field("active", "you cannot end your own access; ask another administrator").into());
    }
    let changes = PersonChanges {
        display_name: body.display_name,
        active: body.active,
        skills: body.skills,
        queues: body.queues,
        groups: body.groups,
    };
    let expected = call.expected()?;
    let doc = accounts::change_user(call.service, call.tenant(), id, changes, expected, &call.by()).await?;
    Ok(Reply::json(200, &user_view(&doc))?.at(doc.version))
}

pub async fn renew_phone(call: &Call<'_>) -> Result<Reply, Failure> {
    let id: UserId = call.id("id", "user")?;
    let (user, password) = accounts::renew_phone(call.service, call.tenant(), id, &call.by()).await?;
    Ok(Reply::json(200, &SipAccount { user, password, realm: REALM.into() })?.hiding(&["password"]))
}
