//! Contacts, their journeys, decisions and recordings.

use hotline_base::{ContactId, RecordingId};
use hotline_contact::{CONTACTS_PARTITION, Contact, ContactListing, Phase, RecordingStatus, party_partition};
use hotline_ports::{Bucket, Range};
use hotline_routing::explain::explain;
use hotline_routing::select::Record;
use hotline_service::{audit, contacts, matching, recording, settings};
use hotline_ticket::ticket_of;
use hotline_wire::api::{RecordingLink, Role};
use hotline_wire::problem::{ErrorKind, Problem};
use serde_json::{Value, json};
use std::time::Duration;

use super::trace::{MOST, tell};
use crate::call::{Call, cursor, page_reply};
use crate::reply::{Failure, Reply};

/// A link to a recording is good for so long.
const LINK_S: u64 = 300;
/// Decisions told about one contact.
const DECISIONS: usize = 20;

/// The contact of the path, where the principal may see it: agents see those they handle or handled.
async fn contact(call: &Call<'_>) -> Result<Contact, Failure> {
    let id: ContactId = call.id("id", "contact")?;
    let found = contacts::get(call.service, call.tenant(), id).await?;
    let me = call.who.agent();
    let visible = |contact: &Contact| {
        call.who.role != Role::Agent
            || contact.holders().iter().any(|(_, agent)| *agent == me)
            || contact.interactions.iter().any(|interaction| interaction.agent == me)
    };
    found.filter(visible).ok_or_else(|| Problem::not_found("contact").into())
}

/// Everybody on a call or rung for it: agents, and numbers outside.
fn on_call(contact: &Contact) -> Vec<Value> {
    let agents = contact.holders().into_iter().map(|(offer, agent)| json!({"offer": offer, "agent": agent}));
    let others = match &contact.phase {
        Phase::Talking { others, .. } => others.as_slice(),
        _ => &[],
    };
    let outside =
        others.iter().filter_map(|leg| Some(json!({"offer": leg.offer.offer, "number": leg.outside.as_ref()?})));
    agents.chain(outside).collect()
}

pub(super) fn view(contact: &Contact) -> Result<Value, Failure> {
    let mut body = serde_json::to_value(contact.listing())?;
    let more = json!({
        "display_name": contact.display_name,
        "node": contact.node,
        "flow": contact.flow,
        "offer": contact.offer(),
        "interactions": contact.interactions,
        "recordings": contact.recordings,
        "voicemail": contact.voicemail,
        "callback": contact.callback,
        "survey": contact.survey,
        "on_call": on_call(contact),
        "transfers": contact.transfers,
        "callback_of": contact.order.as_ref().and_then(|order| order.of),
        "ticket": ticket_of(contact.order.as_ref().and_then(|order| order.of).unwrap_or(contact.id)),
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    Ok(body)
}

pub async fn list(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    let below = page.after.as_deref();
    let (tenant, limit) = (call.tenant(), page.limit + 1);
    match call.query("party") {
        None => {
            let rows = contacts::list(call.service, tenant, CONTACTS_PARTITION, below, limit).await?;
            let items = rows.into_iter().map(|row| {
                let listing = serde_json::from_str::<ContactListing>(&row.body)?;
                Ok((row.sort, serde_json::to_value(listing)?))
            });
            page_reply(&page, items.collect::<Result<_, serde_json::Error>>()?)
        }
        Some(party) if party.len() > 60 => Err(Problem::field("party", "at most 60 characters").into()),
        Some(party) => {
            let home = settings::of(call.service, tenant).await?.calls;
            let number = home.party(party).map_or_else(|| party.to_string(), |number| number.to_string());
            let partition = party_partition(&number);
            let rows = contacts::list(call.service, tenant, &partition, below, limit).await?;
            let mut items = Vec::new();
            for row in rows {
                let Ok(id) = row.body.parse::<ContactId>() else { continue };
                if let Some(contact) = contacts::get(call.service, tenant, id).await? {
                    items.push((row.sort, serde_json::to_value(contact.listing())?));
                }
            }
            page_reply(&page, items)
        }
    }
}

pub async fn get(call: &Call<'_>) -> Result<Reply, Failure> {
    Reply::json(200, &view(&contact(call).await?)?)
}

pub async fn end(call: &Call<'_>) -> Result<Reply, Failure> {
    let contact = contact(call).await?;
    if !contact.is_alive() {
        return Err(Problem::new(ErrorKind::Rejected, "contact-ended", "this contact is over already").into());
    }
    contacts::end(call.service, call.tenant(), contact.id).await?;
    let after = contacts::get(call.service, call.tenant(), contact.id).await?;
    Reply::json(202, &view(&after.unwrap_or(contact))?)
}

pub async fn trace(call: &Call<'_>) -> Result<Reply, Failure> {
    let contact = contact(call).await?;
    let facts = contacts::trace(call.service, call.tenant(), contact.id, None, MOST).await?;
    Reply::json(200, &tell(facts))
}

/// Explains each stored decision, and decides again from what it was made from.
pub async fn why(call: &Call<'_>) -> Result<Reply, Failure> {
    let contact = contact(call).await?;
    let partition = matching::decisions_partition(contact.id);
    let range = Range {
        tenant: call.tenant(),
        partition: &partition,
        from: None,
        below: None,
        limit: DECISIONS,
        descending: false,
    };
    let rows = call.service.ports.store.rows(range).await?;
    let mut decisions = Vec::new();
    for row in rows {
        let record: Record = serde_json::from_str(&row.body)?;
        let same = record.replay().bytes() == record.bytes();
        decisions.push(json!({
            "offer": row.sort,
            "at": record.snapshot.now,
            "queue": record.snapshot.queue,
            "decision": record.decision,
            "replay_agrees": same,
            "lines": explain(&record.snapshot, &record.decision),
        }));
    }
    Reply::json(200, &json!({"contact": contact.id, "decisions": decisions}))
}

pub async fn recordings(call: &Call<'_>) -> Result<Reply, Failure> {
    let contact = contact(call).await?;
    Reply::json(200, &json!({"items": contact.recordings, "next": null}))
}

/// Recordings of the newest contacts: a page looks at `limit` contacts, whatever they hold.
pub async fn all_recordings(call: &Call<'_>) -> Result<Reply, Failure> {
    let page = call.page()?;
    let (tenant, below) = (call.tenant(), page.after.as_deref());
    let mut rows = contacts::list(call.service, tenant, CONTACTS_PARTITION, below, page.limit + 1).await?;
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = rows.last().filter(|_| more).map(|row| cursor(&row.sort));
    let mut items = Vec::new();
    for row in rows {
        let listing: ContactListing = serde_json::from_str(&row.body)?;
        let Some(contact) = contacts::get(call.service, tenant, listing.contact).await? else { continue };
        for recording in contact.recordings {
            let mut item = serde_json::to_value(recording)?;
            if let Some(map) = item.as_object_mut() {
                map.insert("contact".into(), json!(contact.id));
                map.insert("arrived_at".into(), json!(contact.arrived_at));
            }
            items.push(item);
        }
    }
    Reply::json(200, &json!({"items": items, "next": next}))
}

pub async fn link(call: &Call<'_>) -> Result<Reply, Failure> {
    let contact = contact(call).await?;
    let id: RecordingId = call.id("recording", "recording")?;
    let found = contact.recordings.iter().find(|recording| recording.recording == id);
    let found = found.ok_or_else(|| Problem::not_found("recording"))?;
    match found.status {
        RecordingStatus::Saved => {}
        RecordingStatus::Failed => {
            return Err(Problem::new(
                ErrorKind::Rejected,
                "recording-lost",
                "this recording failed; the contact's trace says why",
            )
            .into());
        }
        RecordingStatus::Running | RecordingStatus::Delivered => {
            return Err(Problem::new(
                ErrorKind::Rejected,
                "recording-not-ready",
                "this recording is being made; ask again in some seconds",
            )
            .into());
        }
    }
    let key = recording::composed_key(call.tenant(), contact.id, id);
    let expires_at = call.service.now().plus_ms(LINK_S as i64 * 1_000);
    // First the fact, then the link: nobody listens without a trace.
    let body = json!({"by": call.who.user, "contact": contact.id, "recording": id, "until": expires_at});
    audit::note(call.service, call.tenant(), &format!("recording/{id}"), "RecordingLinkMade", body).await?;
    let url = call.service.ports.objects.presign(Bucket::Recordings, &key, Duration::from_secs(LINK_S)).await?;
    let link = RecordingLink { url: url.into(), expires_at: expires_at.as_millis() };
    Ok(Reply::json(200, &link)?.hiding(&["url"]))
}
