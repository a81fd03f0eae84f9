//! Contacts, agents and nodes against each other; repairs go through the normal inputs.

use hotline_base::{Machine, NodeId, TenantId};
use hotline_contact::{Contact, ContactMachine, Event, Phase, node_partition};
use hotline_ports::runner::derived_input;
use hotline_routing::{Agent, AgentInput, AgentState};

use super::{Mismatch, Run, subject_of};
use crate::{ServiceError, agent_key, agents, contact_key, contacts, nodes};

/// Both sides of an offer or call are told by effects, which a sweep repeats each minute, and each
/// side has timers of its own: only after this, milliseconds, does a difference count.
const AGREE_MS: i64 = 7 * 60_000;
/// A node that is not known may have started a moment ago, milliseconds.
const UNKNOWN_MS: i64 = 5 * 60_000;
/// The calls of a node are recovered within seconds of its lease's lapse; after this, milliseconds,
/// they were forgotten.
const LAPSED_MS: i64 = 3 * 60_000;

/// An agent who holds something that is over.
pub(super) async fn agent(run: &mut Run<'_>, tenant: TenantId, agent: &Agent) -> Result<(), ServiceError> {
    let (Some(contact), Some(offer)) = (agent.state.contact(), agent.state.offer()) else { return Ok(()) };
    let now = run.service.now();
    if now.since_ms(agent.since) < AGREE_MS {
        return Ok(());
    }
    let over = match contacts::get(run.service, tenant, contact).await? {
        None => true,
        Some(Contact { phase: Phase::Ended { at, .. }, .. }) => now.since_ms(at) >= AGREE_MS,
        Some(_) => false,
    };
    let id = agent.profile.agent;
    let (what, input) = match &agent.state {
        AgentState::Busy { .. } if over => (Mismatch::AgentWithoutContact, AgentInput::ContactEnded { offer }),
        AgentState::Offered { .. } if over => (Mismatch::AgentWithoutContact, AgentInput::OfferRescinded { offer }),
        AgentState::Offered { rings_until, .. } if now.since_ms(*rings_until) >= AGREE_MS => {
            (Mismatch::OfferForgotten, AgentInput::OfferRescinded { offer })
        }
        _ => return Ok(()),
    };
    let input_id = derived_input(&["reconcile", &id.to_string(), &offer.to_string()]);
    let repaired = agents::apply(run.service, tenant, id, input_id, &input).await.is_ok();
    run.found(tenant, what, subject_of(&agent_key(tenant, id)), format!("{offer} of {contact}"), repaired);
    Ok(())
}

/// A live contact whose node, offer or agent is gone.
pub(super) async fn contact(run: &mut Run<'_>, tenant: TenantId, contact: &Contact) -> Result<(), ServiceError> {
    if !contact.is_alive() {
        return Ok(());
    }
    let now = run.service.now();
    let subject = subject_of(&contact_key(tenant, contact.id));
    // Only what stands in a node's list is carried by a node.
    let carried = ContactMachine::rows(contact).iter().any(|row| row.partition == node_partition(contact.node));
    if carried && is_gone(run, contact.node, contact) {
        let node = contact.node;
        let to = nodes::Takers::find(run.service).await?.take(Some(node));
        let done = nodes::lose(run.service, tenant, contact.id, node, now, to).await;
        run.found(tenant, Mismatch::NodeGone, subject, node.to_string(), done.is_ok());
        return Ok(());
    }
    match &contact.phase {
        Phase::Offered { offer, .. } if now.since_ms(offer.rings_until) >= AGREE_MS => {
            let id = derived_input(&["reconcile", &offer.offer.to_string()]);
            let event = Event::OfferReturned { offer: offer.offer, declined: false };
            let done = contacts::step(run.service, tenant, contact.id, id, event, None).await;
            run.found(tenant, Mismatch::OfferForgotten, subject, offer.offer.to_string(), done.is_ok());
        }
        Phase::Talking { since, .. } if now.since_ms(*since) >= AGREE_MS => {
            let Some(id) = contact.agent() else { return Ok(()) };
            let idle = match agents::get(run.service, tenant, id).await? {
                None => true,
                Some(agent) => agent.state.offer().is_none() && now.since_ms(agent.since) >= AGREE_MS,
            };
            if idle {
                // Whether somebody talks is known on the node alone: nothing is ended on suspicion.
                run.found(tenant, Mismatch::ContactWithoutAgent, subject, id.to_string(), false);
            }
        }
        _ => {}
    }
    Ok(())
}

fn is_gone(run: &Run<'_>, node: NodeId, contact: &Contact) -> bool {
    let now = run.service.now();
    match run.leases.get(&node) {
        // Without any lease there is no fleet: a test, or one node that never reports.
        None => !run.leases.is_empty() && now.since_ms(contact.arrived_at) >= UNKNOWN_MS,
        Some(lease) => now.since_ms(lease.expires) >= LAPSED_MS && contact.id.created_at() <= lease.expires,
    }
}
