//! Which live events follow from a fact, and who hears them.

use hotline_base::{AgentId, ContactId, Machine, TicketId, Timestamp};
use hotline_contact::{ContactFact, ContactMachine, LegFailure};
use hotline_ports::FactRow;
use hotline_routing::{AgentFact, AgentMachine, AlarmFact, AlarmMachine};
use hotline_ticket::{TicketFact, TicketMachine};
use hotline_wire::push::{OfferChange, PushEvent, QueueChange};
use serde::Deserialize;

use crate::live::Audience;

type Events = Vec<(Audience, PushEvent)>;

/// The live events of a fact.
pub(super) fn events(fact: &FactRow) -> Events {
    match fact.subject.kind.as_str() {
        ContactMachine::KIND => match (fact.subject.id.parse(), ContactFact::deserialize(&fact.body)) {
            (Ok(contact), Ok(body)) => contact_events(fact, contact, body),
            _ => Vec::new(),
        },
        AgentMachine::KIND => match AgentFact::deserialize(&fact.body) {
            Ok(AgentFact::StateEntered { agent, to, reason, .. }) => {
                let state = to.to_string();
                let reason = reason.to_string();
                let event = PushEvent::Agent { at: fact.at, agent, state, reason };
                vec![(Audience::AgentAndSupervisors(agent), event)]
            }
            _ => Vec::new(),
        },
        AlarmMachine::KIND => AlarmFact::deserialize(&fact.body).map(|body| alarm(fact, body)).unwrap_or_default(),
        TicketMachine::KIND => match fact.subject.id.parse() {
            Ok(ticket) => vec![ticket_event(fact, ticket)],
            Err(_) => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn contact_events(fact: &FactRow, contact: ContactId, body: ContactFact) -> Events {
    let at = fact.at;
    let offer = |offer, agent: AgentId, queue, change| {
        let event = PushEvent::Offer { at, offer, agent, contact, queue, change };
        (Audience::AgentAndSupervisors(agent), event)
    };
    let queue = |queue, change| (Audience::Everybody, PushEvent::Queue { at, queue, contact, change });
    let closed = |outcome: &str| OfferChange::Closed { outcome: outcome.into() };
    let step = |at: Timestamp| {
        let event = PushEvent::Contact { at, contact, fact: fact.name.clone() };
        (Audience::Supervisors, event)
    };
    match body {
        ContactFact::ContactEnqueued { queue: name, .. } => {
            vec![queue(name, QueueChange::Enqueued)]
        }
        ContactFact::QueueLeft { queue: name, .. } => vec![queue(name, QueueChange::Left)],
        ContactFact::OfferMade { offer: id, agent, queue: name, wait_ms } => {
            let change = OfferChange::Made { caller: String::new().into(), category: None, wait_ms };
            vec![offer(id, agent, name, change)]
        }
        ContactFact::OfferAccepted { offer: id, agent, queue: name, .. } => {
            let mut all = vec![offer(id, agent, name.clone(), OfferChange::Accepted)];
            all.extend(name.map(|name| queue(name, QueueChange::Answered)));
            all
        }
        ContactFact::OfferDeclined { offer: id, agent } => {
            vec![offer(id, agent, None, closed("declined"))]
        }
        ContactFact::OfferTimedOut { offer: id, agent } => {
            vec![offer(id, agent, None, closed("timed-out"))]
        }
        ContactFact::OfferUnreachable { offer: id, agent, .. } => {
            vec![offer(id, agent, None, closed("unreachable"))]
        }
        ContactFact::OfferRescinded { offer: id, agent } => {
            vec![offer(id, agent, None, closed("rescinded"))]
        }
        ContactFact::AgentLegEnded { offer: id, agent, queue: name, .. } => {
            vec![offer(id, agent, name, OfferChange::Ended)]
        }
        ContactFact::LegAsked { offer: id, agent, .. } => {
            let change = OfferChange::Made { caller: String::new().into(), category: None, wait_ms: 0 };
            vec![offer(id, agent, None, change)]
        }
        ContactFact::LegJoined { offer: id, agent, .. } => vec![offer(id, agent, None, OfferChange::Accepted)],
        ContactFact::LegFailed { offer: id, agent, why } => {
            let outcome = match why {
                LegFailure::Declined => "declined",
                LegFailure::TimedOut => "timed-out",
                LegFailure::Unreachable => "unreachable",
                LegFailure::Rescinded => "rescinded",
            };
            vec![offer(id, agent, None, closed(outcome))]
        }
        ContactFact::LegLeft { offer: id, agent, .. } => vec![offer(id, agent, None, OfferChange::Ended)],
        ContactFact::CallerHeld { agent } | ContactFact::CallerResumed { agent, .. } => {
            vec![(Audience::AgentAndSupervisors(agent), step(at).1)]
        }
        ContactFact::RecordingSaved { recording, .. } => {
            let event = PushEvent::Recording { at, recording, contact, saved: true };
            vec![(Audience::Supervisors, event)]
        }
        ContactFact::RecordingFailed { recording, .. } => {
            let event = PushEvent::Recording { at, recording, contact, saved: false };
            vec![(Audience::Supervisors, event)]
        }
        ContactFact::ContactEnded(ending) => {
            let abandoned = ending.abandoned_after_ms.and(ending.queue.clone());
            let mut all = vec![step(at)];
            all.extend(abandoned.map(|name| queue(name, QueueChange::Abandoned)));
            all
        }
        // Reserves are among everybody.
        ContactFact::OverflowApplied { reserve: true, .. } => {
            let event = PushEvent::Contact { at, contact, fact: fact.name.clone() };
            vec![(Audience::Everybody, event)]
        }
        ContactFact::ContactArrived { .. }
        | ContactFact::CallDiverted { .. }
        | ContactFact::LegsBridged { .. }
        | ContactFact::VoicemailLeft { .. }
        | ContactFact::CallbackRequested { .. }
        | ContactFact::CallbackRefused { .. }
        | ContactFact::PartyDialled { .. }
        | ContactFact::PartyReached { .. }
        | ContactFact::PartyMissed { .. }
        | ContactFact::CallbackFailed { .. }
        | ContactFact::CallbackMerged { .. }
        | ContactFact::ContactTransferred { .. }
        | ContactFact::TransferRefused { .. }
        | ContactFact::TransferReturned { .. }
        | ContactFact::LegChanged { .. }
        | ContactFact::ContactAssigned { .. }
        | ContactFact::ContactMoved { .. }
        | ContactFact::OfferTakenBack { .. }
        | ContactFact::NodeLost { .. }
        | ContactFact::CallReanchored { .. }
        | ContactFact::ReanchorFailed { .. }
        | ContactFact::AgentRejoined { .. }
        | ContactFact::RejoinFailed { .. }
        | ContactFact::SoundChanged { .. } => vec![step(at)],
        _ => Vec::new(),
    }
}

/// Whether the agent who has the call is told of it: what became of a colleague who was asked, of
/// a transfer by phone, of the call when it changed nodes or sounds otherwise.
pub(super) fn concerns_the_agent(fact: &FactRow) -> bool {
    fact.subject.kind == ContactMachine::KIND
        && (fact.name.starts_with("Leg") && fact.name != "LegsBridged"
            || matches!(
                fact.name.as_str(),
                "TransferRefused" | "NodeLost" | "CallReanchored" | "AgentRejoined" | "SoundChanged"
            ))
}

fn alarm(fact: &FactRow, body: AlarmFact) -> Events {
    let event = match body {
        AlarmFact::ThresholdRaised { queue, metric, raise, value } => {
            let metric = metric.name().into();
            PushEvent::Alarm { at: fact.at, queue, metric, raised: true, raise, value: Some(value) }
        }
        AlarmFact::ThresholdCleared { queue, metric, raise, value, .. } => {
            let metric = metric.name().into();
            PushEvent::Alarm { at: fact.at, queue, metric, raised: false, raise, value }
        }
    };
    vec![(Audience::Supervisors, event)]
}

fn ticket_event(fact: &FactRow, ticket: TicketId) -> (Audience, PushEvent) {
    let deadline = match TicketFact::deserialize(&fact.body) {
        Ok(TicketFact::SlaReminderDue { deadline, .. } | TicketFact::SlaBreached { deadline, .. }) => Some(deadline),
        _ => None,
    };
    let event = PushEvent::Ticket { at: fact.at, ticket, fact: fact.name.clone(), deadline };
    // A ticket's owner may be anybody; it names no contact's content.
    (Audience::Everybody, event)
}
