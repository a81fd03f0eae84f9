//! The use-cases that a world runs, one task each.

use hotline_base::{AgentId, ContactId, Name, NameError, NodeId, OfferId, Redacted, TenantId, TicketId, UserId};
use hotline_contact::{DeskAction, SuperviseMode};
use hotline_ports::memory::Message;
use hotline_ports::{FactRow, Fault, WorkQueue};
use hotline_routing::agent::{AgentProfile, Requested};
use hotline_service::floor::{self, To};
use hotline_service::reconcile::{self, Mismatch};
use hotline_service::{
    Service, ServiceError, agents, contacts, directory, facts, flows, ivr, nodes, outbox, thresholds, tickets, timers,
    work,
};
use hotline_ticket::{Action, Actor};
use hotline_wire::node::{CallInput, Decision, DirectoryInput};

/// One use-case to run.
#[derive(Debug, Clone)]
pub enum Job {
    /// A node asks for a decision.
    Ask { input: Box<CallInput>, attempt: u32 },
    /// A node reports a phone or itself.
    Directory(DirectoryInput),
    /// A console renews presence.
    Heartbeat { tenant: TenantId, agent: AgentId },
    /// An agent asks for a state.
    Request { tenant: TenantId, agent: AgentId, to: Requested },
    /// An agent refuses on the console.
    Decline { tenant: TenantId, agent: AgentId, offer: OfferId },
    /// An agent ends wrap-up.
    EndWrapUp { tenant: TenantId, agent: AgentId },
    /// An agent lengthens wrap-up.
    ExtendWrapUp { tenant: TenantId, agent: AgentId },
    /// Somebody does something with a call.
    Floor { tenant: TenantId, contact: ContactId, by: UserId, floor: Box<Floor> },
    /// A supervisor ends a call.
    End { tenant: TenantId, contact: ContactId },
    /// An administrator changes an agent.
    Configure { tenant: TenantId, profile: Box<AgentProfile> },
    /// An administrator publishes a flow, or goes back to its first version.
    Publish { tenant: TenantId, text: Option<String> },
    /// Somebody works on a ticket.
    Ticket { tenant: TenantId, ticket: TicketId, action: Box<Action> },
    /// A message of a managed queue.
    Deliver(Message),
    /// A fact from the stream.
    Consume(Box<FactRow>),
    /// The minute's hand-over of timers.
    SweepTimers,
    /// Effects left behind.
    SweepOutbox,
    /// Leases of nodes.
    CheckLeases,
    /// Thresholds of queues.
    Thresholds,
    /// The reconciler. Nothing may be wrong with rows and timers in any world, and nothing at all
    /// in a calm one.
    Reconcile { calm: bool },
}

/// What people do with calls.
#[derive(Debug, Clone)]
pub enum Floor {
    /// Gives the caller to somebody else.
    Transfer(To),
    /// Asks a colleague.
    Consult(To),
    /// Does something with the call.
    Desk(DeskAction),
    /// Supervises.
    Supervise(SuperviseMode),
    /// Moves a waiting contact.
    Move(Name),
    /// Gives a waiting contact to somebody.
    Assign(AgentId),
    /// Takes an offer back.
    TakeBack,
}

async fn on_the_floor(
    service: &Service,
    tenant: TenantId,
    contact: ContactId,
    by: UserId,
    what: Floor,
) -> Result<(), ServiceError> {
    let reason: Redacted<String> = "because".to_owned().into();
    let done = match what {
        Floor::Transfer(to) => floor::transfer(service, tenant, contact, by, to, reason).await,
        Floor::Consult(to) => floor::consult(service, tenant, contact, by, to).await,
        Floor::Desk(action) => floor::desk(service, tenant, contact, by, action).await,
        Floor::Supervise(mode) => floor::supervise(service, tenant, contact, by, mode).await,
        Floor::Move(queue) => floor::move_to(service, tenant, contact, queue, by, reason).await,
        Floor::Assign(agent) => floor::assign(service, tenant, contact, agent, by, reason).await,
        Floor::TakeBack => floor::take_back(service, tenant, contact, by, reason).await,
    };
    done.map(drop)
}

/// What a use-case came to.
#[derive(Debug)]
pub enum Done {
    /// A decision for a node.
    Decision { node: NodeId, contact: ContactId, seq: u32, attempt: u32, result: Result<Decision, String> },
    /// Anything else; the job comes back where it should be tried again.
    Other { job: Job, result: Result<(), ServiceError> },
}

/// Runs a job.
pub async fn run(service: Service, job: Job) -> Done {
    if let Job::Ask { input, attempt } = job {
        let (node, contact, seq) = (input.node, input.contact, input.seq);
        let result = ivr::handle(&service, *input).await.map_err(|e| e.to_string());
        return Done::Decision { node, contact, seq, attempt, result };
    }
    let result = other(&service, job.clone()).await;
    Done::Other { job, result }
}

async fn other(service: &Service, job: Job) -> Result<(), ServiceError> {
    match job {
        Job::Ask { .. } => {}
        Job::Directory(input) => {
            directory::handle(service, input).await?;
        }
        Job::Heartbeat { tenant, agent } => {
            agents::heartbeat(service, tenant, agent, "desk".into()).await?;
        }
        Job::Request { tenant, agent, to } => {
            agents::request_state(service, tenant, agent, to).await?;
        }
        Job::Decline { tenant, agent, offer } => {
            agents::decline(service, tenant, agent, offer).await?;
        }
        Job::EndWrapUp { tenant, agent } => {
            agents::end_wrap_up(service, tenant, agent).await?;
        }
        Job::ExtendWrapUp { tenant, agent } => {
            agents::extend_wrap_up(service, tenant, agent, 20_000).await?;
        }
        Job::Floor { tenant, contact, by, floor } => on_the_floor(service, tenant, contact, by, *floor).await?,
        Job::End { tenant, contact } => contacts::end(service, tenant, contact).await?,
        Job::Configure { tenant, profile } => {
            agents::configure(service, tenant, *profile).await?;
        }
        Job::Publish { tenant, text } => publish(service, tenant, text).await?,
        Job::Ticket { tenant, ticket, action } => {
            tickets::act(service, tenant, ticket, service.fresh_input(), Actor::System, *action).await?;
        }
        Job::Deliver(message) => match message.queue {
            WorkQueue::Timers => timers::handle(service, &message.body).await?,
            WorkQueue::Work => work::handle(service, &message.body).await?,
        },
        Job::Consume(fact) => facts::consume(service, &fact).await?,
        Job::SweepTimers => {
            timers::sweep(service).await?;
        }
        Job::SweepOutbox => {
            outbox::sweep(service).await?;
        }
        Job::CheckLeases => {
            nodes::check_leases(service).await?;
        }
        Job::Thresholds => {
            thresholds::tick(service).await?;
        }
        Job::Reconcile { calm } => {
            let report = reconcile::run(service).await?;
            let torn = [Mismatch::StrayRow, Mismatch::MissingRow, Mismatch::MissingTimer];
            let wrong: Vec<_> = report.found.iter().filter(|found| calm || torn.contains(&found.what)).collect();
            if !wrong.is_empty() {
                return Err(Fault::permanent("reconciler", format!("found in a healthy world: {wrong:?}")).into());
            }
        }
    }
    Ok(())
}

async fn publish(service: &Service, tenant: TenantId, text: Option<String>) -> Result<(), ServiceError> {
    let wrong = |error: NameError| Fault::permanent("sim", error);
    let name = "main".parse().map_err(wrong)?;
    let done = match text {
        Some(text) => flows::publish(service, tenant, &name, &text, "office").await.map(drop),
        None => flows::rollback(service, tenant, &name, 1, "office").await,
    };
    match done {
        // Two people published at the same time.
        Err(ServiceError::Reject(reject)) if reject.code == "version-conflict" => Ok(()),
        other => other,
    }
}
