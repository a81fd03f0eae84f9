//! Tickets.

use hotline_base::{AgentId, ContactId, E164, FieldError, Lang, Name, Redacted, TicketId};
use hotline_ports::Range;
use hotline_routing::callback::Home;
use hotline_service::{agents, contacts, desk, settings, ticket_key, tickets};
use hotline_sla::Priority;
use hotline_ticket::{Action, Opening, Requester, Status, Summary, Ticket, TicketType, partition, ticket_of};
use hotline_wire::problem::Problem;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::trace::{MOST, tell};
use crate::call::{Call, page_reply};
use crate::reply::{Failure, Reply};

/// A ticket to open by hand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTicket {
    subject: Redacted<String>,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    kind: TicketType,
    #[serde(default)]
    priority: Priority,
    #[serde(default)]
    requester: Requester,
    #[serde(default)]
    owner: Option<AgentId>,
    #[serde(default)]
    queue: Option<Name>,
    /// The contact it is about: its one ticket is opened, or linked where it exists.
    #[serde(default)]
    contact: Option<ContactId>,
    #[serde(default)]
    custom: BTreeMap<String, String>,
}

fn versioned(ticket: &Ticket, version: u64, status: u16) -> Result<Reply, Failure> {
    Ok(Reply::json(status, &json!({"version": version, "doc": ticket}))?.at(version))
}

pub async fn create(call: &Call<'_>) -> Result<Reply, Failure> {
    let mut new: NewTicket = call.body()?;
    let home = settings::of(call.service, call.tenant()).await?.calls;
    if let Some(number) = new.requester.number.as_mut()
        && let Some(party) = home.party(number.expose())
    {
        *number = party.to_string().into();
    }
    let now = call.service.now();
    let input = call.input();
    if let Some(owner) = new.owner {
        known_owner(call, owner).await?;
    }
    let mut received_at = now;
    let id = match new.contact {
        Some(contact) => {
            let found = contacts::get(call.service, call.tenant(), contact).await?;
            let found = found.ok_or_else(|| Problem::field("contact", "there is no such contact"))?;
            received_at = found.arrived_at;
            ticket_of(contact)
        }
        None => TicketId::from_u128(input.as_u128()),
    };
    let opening = Opening {
        id,
        received_at,
        subject: new.subject,
        category: new.category,
        kind: new.kind,
        priority: new.priority,
        requester: new.requester,
        owner: new.owner,
        queue: new.queue,
        contact: new.contact,
        recordings: Vec::new(),
        answered_at: None,
        custom: new.custom,
    };
    let action = Action::Open(Box::new(opening));
    let (ticket, version) = desk::act(call.service, call.tenant(), id, call.actor(), action, None, input).await?;
    versioned(&ticket, version, 201)
}

async fn known_owner(call: &Call<'_>, owner: AgentId) -> Result<(), Failure> {
    match agents::get(call.service, call.tenant(), owner).await? {
        Some(_) => Ok(()),
        None => Err(Problem::field("owner", "there is no such agent; GET /v1/agents lists them").into()),
    }
}

pub async fn get(call: &Call<'_>) -> Result<Reply, Failure> {
    let id: TicketId = call.id("id", "ticket")?;
    let found = desk::get(call.service, call.tenant(), id).await?;
    let (ticket, version) = found.ok_or_else(|| Problem::not_found("ticket"))?;
    versioned(&ticket, version, 200)
}

pub async fn act(call: &Call<'_>) -> Result<Reply, Failure> {
    let id: TicketId = call.id("id", "ticket")?;
    let action: Action = call.body()?;
    match &action {
        Action::Open(_) => return Err(Problem::field("action", "a ticket is opened with POST /v1/tickets").into()),
        Action::Assign { owner: Some(owner), .. } => known_owner(call, *owner).await?,
        Action::LinkContact { contact } if contacts::get(call.service, call.tenant(), *contact).await?.is_none() => {
            return Err(Problem::field("contact", "there is no such contact").into());
        }
        _ => {}
    }
    let expected = call.expected()?;
    let (ticket, version) =
        desk::act(call.service, call.tenant(), id, call.actor(), action, expected, call.input()).await?;
    versioned(&ticket, version, 200)
}

pub async fn explain(call: &Call<'_>) -> Result<Reply, Failure> {
    let id: TicketId = call.id("id", "ticket")?;
    let lang = match call.query("lang") {
        None | Some("zh") => Lang::Zh,
        Some("en") => Lang::En,
        Some(_) => return Err(Problem::field("lang", "write zh or en").into()),
    };
    let (response, resolution) = desk::explanations(call.service, call.tenant(), id, lang).await?;
    Reply::json(200, &json!({"response": response, "resolution": resolution}))
}

pub async fn history(call: &Call<'_>) -> Result<Reply, Failure> {
    let id: TicketId = call.id("id", "ticket")?;
    if tickets::get(call.service, call.tenant(), id).await?.is_none() {
        return Err(Problem::not_found("ticket").into());
    }
    let key = ticket_key(call.tenant(), id);
    let facts = call.service.ports.store.facts(&key, None, MOST).await?;
    Reply::json(200, &tell(facts))
}

/// Which list a request asks for, and whether it runs from new to old.
fn listed(call: &Call<'_>, home: &Home) -> Result<(String, bool), Failure> {
    const FILTERS: [&str; 6] = ["status", "priority", "owner", "queue", "requester", "contact"];
    let given: Vec<&str> = FILTERS.into_iter().filter(|name| call.query(name).is_some()).collect();
    if given.len() > 1 {
        let errors: Vec<FieldError> =
            given.iter().map(|name| FieldError::new(*name, "filter by one thing at a time")).collect();
        return Err(Problem::invalid(&errors).into());
    }
    let one = |text: &str| serde_json::from_value::<Priority>(json!(text)).ok();
    let Some(&name) = given.first() else { return Ok((partition::ALL.into(), true)) };
    let text = call.query(name).unwrap_or_default();
    let wrong = |remedy: &str| Failure::from(Problem::field(name, remedy));
    match name {
        "status" => {
            let status = Status::ALL.into_iter().find(|status| status.as_str() == text);
            let status = status.ok_or_else(|| wrong("write new, open, pending, resolved, closed or reopened"))?;
            Ok((partition::status(status), false))
        }
        "priority" => {
            let priority = one(text).ok_or_else(|| wrong("write urgent, high, medium or low"))?;
            Ok((partition::priority(priority), false))
        }
        "owner" if text == "me" => Ok((partition::owner(call.who.agent()), false)),
        "owner" => Ok((partition::owner(text.parse().map_err(|_| wrong("not an agent's id; or write me"))?), false)),
        "queue" => Ok((partition::queue(&text.parse().map_err(|_| wrong("not a queue's name"))?), false)),
        "requester" => Ok((
            partition::requester(home.party(text).as_ref().map_or(text, E164::as_str))
                .ok_or_else(|| wrong("not a number"))?,
            true,
        )),
        _ => Ok((partition::contact(text.parse().map_err(|_| wrong("not a contact's id"))?), false)),
    }
}

pub async fn list(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    let home = settings::of(call.service, call.tenant()).await?.calls;
    let (partition, descending) = listed(call, &home)?;
    let from = page.after.as_ref().map(|after| format!("{after}\u{1}"));
    let (from, below) = if descending { (None, page.after.as_deref()) } else { (from.as_deref(), None) };
    let range = Range { tenant: call.tenant(), partition: &partition, from, below, limit: page.limit + 1, descending };
    let rows = call.service.ports.store.rows(range).await?;
    let mut items: Vec<(String, Value)> = Vec::new();
    for row in rows {
        let summary = match serde_json::from_str::<Summary>(&row.body) {
            Ok(summary) => Some(summary),
            // Rows by contact hold only the id.
            Err(_) => match row.sort.parse() {
                Ok(id) => tickets::get(call.service, call.tenant(), id).await?.map(|t| Summary::from(&t)),
                Err(_) => None,
            },
        };
        if let Some(summary) = summary {
            items.push((row.sort, serde_json::to_value(summary)?));
        }
    }
    page_reply(&page, items)
}
