//! What must hold.

use hotline_base::Machine;
use hotline_contact::{ContactMachine, Phase};
use hotline_routing::{AgentMachine, AgentState};
use std::collections::BTreeSet;

use super::people;
use super::world::World;

/// In every state.
pub(super) fn always(world: &World) -> Result<(), String> {
    if let Some(i) = world.ends.iter().position(|ends| *ends > 1) {
        return Err(format!("contact {i} ended twice"));
    }
    let mut talking = BTreeSet::new();
    let mut offers = BTreeSet::new();
    for contact in world.contacts.iter().flatten() {
        if let (Phase::Talking { .. }, Some(agent)) = (&contact.phase, contact.agent())
            && !talking.insert(agent)
        {
            return Err(format!("{agent} talks in two contacts"));
        }
        if let Some(offer) = contact.offer()
            && !offers.insert(offer)
        {
            return Err(format!("{offer} is held by two contacts"));
        }
    }
    Ok(())
}

/// Right after a claim: both sides hold the same offer.
pub(super) fn claimed(world: &World, contact: usize) -> Result<(), String> {
    let Some(Some(contact)) = world.contacts.get(contact) else { return Ok(()) };
    let Phase::Offered { offer, .. } = &contact.phase else { return Ok(()) };
    let agent = world.agents.get(people::agent_index(offer.agent));
    match agent.and_then(|agent| agent.state.offer()) {
        held if held == Some(offer.offer) => Ok(()),
        held => Err(format!("{} is offered to {}, who holds {held:?}", contact.id, offer.agent)),
    }
}

/// Where nothing is under way any more.
pub(super) fn quiet(world: &World) -> Result<(), String> {
    if let Some((contact, agent)) = world.look() {
        return Err(format!("a lost wake-up: contact {contact} waits while agent {agent} is free"));
    }
    for agent in &world.agents {
        let (Some(contact), Some(offer)) = (agent.state.contact(), agent.state.offer()) else { continue };
        let found = world.contacts.get(people::contact_index(contact)).and_then(Option::as_ref);
        let holds = found.is_some_and(|found| found.holder(offer) == Some(agent.profile.agent));
        if !holds && AgentMachine::deadlines(agent).is_empty() {
            return Err(format!("{} is stuck with {offer}", agent.profile.agent));
        }
        // Without a fault of the network both sides agree once everything was carried out.
        if !holds && !matches!(agent.state, AgentState::Offered { .. } | AgentState::Busy { .. }) {
            return Err(format!("{} holds {offer} alone", agent.profile.agent));
        }
    }
    for contact in world.contacts.iter().flatten().filter(|contact| contact.is_alive()) {
        if ContactMachine::deadlines(contact).is_empty() {
            return Err(format!("{} is alive and nothing will ever look at it", contact.id));
        }
    }
    Ok(())
}
