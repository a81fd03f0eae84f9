//! A call's inputs from its node, and the answers.

use hotline_base::{ContactId, IndexRow, TenantId};
use hotline_contact::{CallLimit, Event, FlowPin, special_information};
use hotline_ports::Range;
use hotline_ports::runner::derived_input;
use hotline_wire::node::{CallEvent, CallInput, Decision, EndCause, Prompt, Verb};

use crate::config::{self, Did, Kind};
use crate::flood::{self, Arrival, Refusal};
use crate::{Service, ServiceError, contacts, nodes, setting, settings, sounds};

/// A hang-up that overtook its arrival is remembered so long, milliseconds.
const TOMBSTONE_MS: i64 = 3_600_000;

/// Takes what happened to a call and answers what the node is to do. A repeat of an input gets
/// the same answer.
///
/// # Errors
/// Faults, after bounded retries; the node keeps the caller company and asks again.
pub async fn handle(service: &Service, input: CallInput) -> Result<Decision, ServiceError> {
    let CallInput { contact, tenant, node, seq, at, mut event } = input;
    let (tenant, arriving) = match (&event, tenant) {
        (CallEvent::Arrived { did, .. }, _) => match dialled(service, did).await? {
            Some((tenant, pin)) => (tenant, Some(pin)),
            None => return unknown_number(service).await,
        },
        (_, Some(tenant)) => (tenant, None),
        (event, None) => match home(service, contact, event).await? {
            Some(tenant) => (tenant, None),
            None => return Ok(over(TenantId::PLATFORM)),
        },
    };
    if tenant == TenantId::PLATFORM {
        return Ok(over(tenant));
    }
    if let CallEvent::Arrived { did, from, dialog, .. } = &mut event {
        let home = settings::of(service, tenant).await?.calls;
        // One person is one party, however the trunk writes the number.
        if let Some(number) = home.party(from.expose()) {
            *from = number.to_string().into();
        }
        let from = from.expose();
        let arrival = Arrival { tenant, contact, node, did, from, dialog: dialog.as_ref() };
        if let Some(refusal) = flood::admit(service, &arrival).await? {
            return Ok(refused(tenant, refusal));
        }
    }
    let tap = match &event {
        // The node has the leg from now on.
        CallEvent::Arrived { .. } | CallEvent::PartyAnswered { .. } | CallEvent::Reanchored { .. } => {
            settings::of(service, tenant).await?.tap
        }
        _ => None,
    };
    // A call back is dialled more than once, and each time the node counts anew.
    let told_at = at.as_millis().to_string();
    let id = derived_input(&["node", &node.to_string(), &contact.to_string(), &seq.to_string(), &told_at]);
    let step = Event::Node { tenant, contact, node, seq, at, event: event.clone() };
    let stepped = contacts::step(service, tenant, contact, id, step, arriving.as_ref()).await;
    let mut stepped = match stepped {
        // A contact that is not here cannot go on: one that was never told of, or was forgotten.
        // Neither can one that another node has taken over.
        Err(ServiceError::Reject(reject)) if matches!(reject.code.as_str(), "unknown-contact" | "other-node") => {
            return Ok(Decision { script: gone(&event), ..over(tenant) });
        }
        other => other?,
    };
    if arriving.is_some() && stepped.contact.is_alive() {
        let (buried, lost) =
            futures::future::join(buried(service, contact), nodes::has_lost(service, node, contact)).await;
        if buried? {
            let id = derived_input(&["tombstone", &contact.to_string()]);
            let event = CallEvent::CallEnded { cause: EndCause::Cancelled, quality: None, reasons: vec![] };
            let step = Event::Node { tenant, contact, node, seq, at, event };
            stepped = contacts::step(service, tenant, contact, id, step, None).await?;
        } else if let Some(moment) = lost? {
            // The caller had no answer yet: there is nothing to take over.
            stepped = nodes::lose(service, tenant, contact, node, moment, None).await?;
        }
    }
    if !stepped.moved_on {
        return Ok(Decision { tap, ..hotline_contact::decision(&stepped.contact, seq, &event) });
    }
    // What was asked of the world was answered meanwhile: the newest script is the answer.
    let newest = contacts::get(service, tenant, contact).await?.unwrap_or(stepped.contact);
    Ok(Decision { tap, ..hotline_contact::decision(&newest, seq, &event) })
}

/// Whose number was dialled and what it runs now.
async fn dialled(service: &Service, did: &str) -> Result<Option<(TenantId, FlowPin)>, ServiceError> {
    let mut found: Option<Did> = config::cached(service, TenantId::PLATFORM, Kind::DID, did).await?;
    if found.is_none() && did.bytes().all(|b| b.is_ascii_digit()) {
        // Trunks and phones often leave the plus sign out.
        found = config::cached(service, TenantId::PLATFORM, Kind::DID, &format!("+{did}")).await?;
    }
    let Some(Did { tenant, flow }) = found else {
        return Ok(None);
    };
    let pin = setting::current(service, tenant, &flow).await?;
    if pin.is_none() {
        tracing::error!(%tenant, %flow, did, "a number leads to a flow that was never published");
    }
    Ok(pin.map(|pin| (tenant, pin)))
}

async fn unknown_number(service: &Service) -> Result<Decision, ServiceError> {
    let mut prompts = special_information();
    if sounds::has_unknown_number(service).await? {
        prompts.push(Prompt::Audio { key: sounds::UNKNOWN_NUMBER_KEY.into() });
    }
    Ok(Decision {
        tenant: TenantId::PLATFORM,
        label: "1:unknown-number".into(),
        script: Some(vec![Verb::Reject { status: 404, prompts, retry_after_s: None }]),
        fallback: None,
        tap: None,
    })
}

/// What the caller's trunk is told. Not 503: a trunk that believes it would keep the calls of every
/// other tenant away as well (RFC 3261 §21.5.4).
fn refused(tenant: TenantId, refusal: Refusal) -> Decision {
    let status = match refusal.limit {
        CallLimit::CallerAtOnce | CallLimit::CallerPerMinute => 486,
        CallLimit::TenantAtOnce => 480,
    };
    let retry_after_s = Some(refusal.retry_after_s);
    Decision {
        tenant,
        label: "1:refused".into(),
        script: Some(vec![Verb::Reject { status, prompts: Vec::new(), retry_after_s }]),
        fallback: None,
        tap: None,
    }
}

/// The tenant of a contact whose node does not know it yet. A hang-up of one that is not here
/// leaves a tombstone for the arrival that it overtook.
async fn home(service: &Service, contact: ContactId, event: &CallEvent) -> Result<Option<TenantId>, ServiceError> {
    // Both sides write before they look, so that one of them sees the other.
    if matches!(event, CallEvent::CallEnded { .. }) {
        let row = IndexRow { partition: tombstones(contact), sort: contact.to_string(), body: "{}".into() };
        let expires = service.now().plus_ms(TOMBSTONE_MS);
        service.ports.store.put_row(TenantId::PLATFORM, row, Some(expires)).await?;
    }
    let row = row(service, &contacts::home_partition(contact), contact).await?;
    Ok(row.and_then(|row| row.body.parse().ok()))
}

fn tombstones(contact: ContactId) -> String {
    format!("tombstones/{:02x}", contact.as_u128() & 0xff)
}

async fn buried(service: &Service, contact: ContactId) -> Result<bool, ServiceError> {
    Ok(row(service, &tombstones(contact), contact).await?.is_some())
}

async fn row(service: &Service, partition: &str, contact: ContactId) -> Result<Option<IndexRow>, ServiceError> {
    let sort = contact.to_string();
    let range =
        Range { tenant: TenantId::PLATFORM, partition, from: Some(&sort), below: None, limit: 1, descending: false };
    let rows = service.ports.store.rows(range).await?;
    Ok(rows.into_iter().find(|row| row.sort == sort))
}

fn over(tenant: TenantId) -> Decision {
    Decision { tenant, label: "ended".into(), script: None, fallback: None, tap: None }
}

fn gone(event: &CallEvent) -> Option<Vec<Verb>> {
    let quiet = matches!(
        event,
        CallEvent::CallEnded { .. }
            | CallEvent::RecordingEnded { .. }
            | CallEvent::PartyFailed { .. }
            | CallEvent::ReanchorFailed { .. }
    );
    (!quiet).then(|| vec![Verb::Hangup])
}
