//! Calls under way and waiting: transfer, advice, supervision, taking and giving; call backs.

use hotline_base::{ContactId, Redacted};
use hotline_contact::{Contact, DeskAction, SuperviseMode};
use hotline_service::callbacks;
use hotline_service::floor::{self, To};
use hotline_service::{agents, contacts};
use hotline_wire::api::{CallTarget, CallbackRequest, ContactAction, Role, SuperviseHow};
use hotline_wire::problem::{ErrorKind, Problem};

use super::contacts::view;
use crate::call::Call;
use crate::reply::{Failure, Reply};

/// Characters of a name at most.
const NAME_CHARS: usize = 80;

/// What a person must be to the contact.
enum Part {
    /// The agent who has the call, or somebody who leads.
    Main,
    /// Anybody on the call.
    OnCall,
    /// Somebody who serves the queue that it waits in, or who leads.
    Serves,
    /// Somebody who leads.
    Leads,
}

fn part(action: &ContactAction) -> Part {
    match action {
        ContactAction::Transfer { .. }
        | ContactAction::Consult { .. }
        | ContactAction::Complete { .. }
        | ContactAction::CancelConsult
        | ContactAction::Conference
        | ContactAction::Hold
        | ContactAction::Resume
        | ContactAction::PauseRecording
        | ContactAction::ResumeRecording => Part::Main,
        ContactAction::Leave => Part::OnCall,
        ContactAction::Pull { .. } => Part::Serves,
        ContactAction::Supervise { .. }
        | ContactAction::Remove { .. }
        | ContactAction::Assign { .. }
        | ContactAction::Move { .. }
        | ContactAction::TakeBack { .. } => Part::Leads,
    }
}

/// Whether the principal may do this with the contact. What agents may not see is not there.
async fn allowed(call: &Call<'_>, contact: Contact, action: &ContactAction) -> Result<Contact, Failure> {
    if call.who.role != Role::Agent {
        return Ok(contact);
    }
    let me = call.who.agent();
    let on_call = contact.holders().iter().any(|(_, agent)| *agent == me);
    let good = match part(action) {
        Part::Main => contact.agent() == Some(me),
        Part::OnCall => on_call,
        Part::Serves => match contact.wait().and_then(|wait| wait.place.queue()) {
            Some(queue) => {
                let agent = agents::get(call.service, call.tenant(), me).await?;
                agent.is_some_and(|agent| agent.profile.queues.contains_key(queue))
            }
            None => false,
        },
        Part::Leads => {
            let said = "only supervisors and administrators do this";
            return Err(Problem::new(ErrorKind::Forbidden, "forbidden", said).into());
        }
    };
    match (good, on_call) {
        (true, _) => Ok(contact),
        (false, true) => Err(Problem::new(ErrorKind::Forbidden, "not-your-call", "a colleague has this call").into()),
        (false, false) => Err(Problem::not_found("contact").into()),
    }
}

fn to(target: CallTarget) -> To {
    match target {
        CallTarget::Queue(queue) => To::Queue(queue),
        CallTarget::Agent(agent) => To::Agent(agent),
        CallTarget::Number(number) => To::Number(number),
        CallTarget::NextTier => To::NextTier,
    }
}

fn mode(how: SuperviseHow) -> SuperviseMode {
    match how {
        SuperviseHow::Listen => SuperviseMode::Listen,
        SuperviseHow::Whisper => SuperviseMode::Whisper,
        SuperviseHow::Barge => SuperviseMode::Barge,
    }
}

pub async fn act(call: &Call<'_>) -> Result<Reply, Failure> {
    let id: ContactId = call.id("id", "contact")?;
    let found = contacts::get(call.service, call.tenant(), id).await?;
    let found = found.ok_or_else(|| Problem::not_found("contact"))?;
    let action: ContactAction = call.body()?;
    let contact = allowed(call, found, &action).await?.id;
    let (service, tenant, by) = (call.service, call.tenant(), call.who.user);
    let me = call.who.agent();
    let desk = |action| floor::desk(service, tenant, contact, by, action);
    let after = match action {
        ContactAction::Transfer { to: target, reason } => {
            floor::transfer(service, tenant, contact, by, to(target), reason).await?
        }
        ContactAction::Consult { to: target } => floor::consult(service, tenant, contact, by, to(target)).await?,
        ContactAction::Complete { reason } => desk(DeskAction::Complete { reason }).await?,
        ContactAction::CancelConsult => desk(DeskAction::CancelConsult).await?,
        ContactAction::Conference => desk(DeskAction::Conference).await?,
        ContactAction::Hold => desk(DeskAction::Hold).await?,
        ContactAction::Resume => desk(DeskAction::Resume).await?,
        ContactAction::PauseRecording => desk(DeskAction::PauseRecording { paused: true }).await?,
        ContactAction::ResumeRecording => desk(DeskAction::PauseRecording { paused: false }).await?,
        ContactAction::Leave => desk(DeskAction::Leave { agent: me }).await?,
        ContactAction::Remove { agent } => desk(DeskAction::Leave { agent }).await?,
        ContactAction::Pull { reason } => floor::assign(service, tenant, contact, me, by, reason).await?,
        ContactAction::Assign { agent, reason } => floor::assign(service, tenant, contact, agent, by, reason).await?,
        ContactAction::Supervise { mode: how } => floor::supervise(service, tenant, contact, by, mode(how)).await?,
        ContactAction::Move { queue, reason } => floor::move_to(service, tenant, contact, queue, by, reason).await?,
        ContactAction::TakeBack { reason } => floor::take_back(service, tenant, contact, by, reason).await?,
    };
    Reply::json(200, &view(&after)?)
}

pub async fn call_back(call: &Call<'_>) -> Result<Reply, Failure> {
    let CallbackRequest { number, name, queue, did } = call.body()?;
    if name.expose().chars().count() > NAME_CHARS {
        return Err(Problem::field("name", format!("at most {NAME_CHARS} characters")).into());
    }
    let name: Redacted<String> = name.into_inner().trim().to_string().into();
    let request = callbacks::Request { number, name, queue, did };
    let contact = callbacks::request(call.service, call.tenant(), request).await?;
    Reply::json(202, &view(&contact)?)
}
