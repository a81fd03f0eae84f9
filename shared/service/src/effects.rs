//! Carries out what steps ask of the world. A row may come twice; its id makes that harmless.

use async_trait::async_trait;
use hotline_base::{Machine, TenantId};
use hotline_contact::{AgentNews, ContactEffect, ContactMachine, Event};
use hotline_ports::runner::{EffectSink, derived_input};
use hotline_ports::{Fault, OutboxRow};
use hotline_routing::agent::OfferOutcome;
use hotline_routing::{AgentEffect, AgentInput, AgentMachine};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::work::Work;
use crate::{Service, ServiceError, agents, contacts, matching, work};

/// Carries out effects of contacts and agents.
pub struct Effects<'a>(pub &'a Service);

#[async_trait]
impl EffectSink for Effects<'_> {
    async fn dispatch(&self, row: &OutboxRow) -> Result<(), Fault> {
        let tenant = row.subject.tenant;
        let done = match row.subject.kind.as_str() {
            ContactMachine::KIND => self.contact(tenant, row, read(row)?).await,
            AgentMachine::KIND => self.agent(tenant, row, read(row)?).await,
            other => Err(Fault::permanent("effects", format!("no effects of {other}")).into()),
        };
        match done {
            Ok(()) => Ok(()),
            // The other side has moved on; that is an answer.
            Err(ServiceError::Reject(reject)) => {
                tracing::info!(effect = row.id(), %reject, "effect refused");
                Ok(())
            }
            Err(ServiceError::Invalid(invalid)) => Err(Fault::permanent("effects", invalid)),
            Err(ServiceError::Fault(fault)) => Err(fault),
        }
    }
}

fn read<T: DeserializeOwned>(row: &OutboxRow) -> Result<T, Fault> {
    T::deserialize(&row.body)
        .map_err(|error| Fault::permanent("effects", format!("{} cannot be read: {error}", row.id())))
}

impl Effects<'_> {
    async fn contact(&self, tenant: TenantId, row: &OutboxRow, effect: ContactEffect) -> Result<(), ServiceError> {
        let Effects(service) = self;
        let contact = || row.subject.id.parse().map_err(|error| Fault::permanent("effects", error));
        match effect {
            ContactEffect::MatchQueue { queue } => {
                matching::match_queue(service, tenant, &queue).await?;
            }
            ContactEffect::RingDirect { target, ring_timeout_ms, not } => {
                let ring = matching::Direct { target, ring_timeout_ms, not };
                matching::ring_direct(service, tenant, contact()?, &row.id(), ring).await?;
            }
            ContactEffect::CommandNode { node, command } => {
                service.ports.nodes.send(node, &command).await?;
            }
            ContactEffect::TellAgent { agent, offer, news } => {
                let input = match news {
                    AgentNews::Accepted => AgentInput::OfferAccepted { offer },
                    AgentNews::Declined => AgentInput::OfferDeclined { offer },
                    AgentNews::TimedOut => AgentInput::OfferTimedOut { offer },
                    AgentNews::Unreachable => AgentInput::OfferUnreachable { offer },
                    AgentNews::Rescinded => AgentInput::OfferRescinded { offer },
                    AgentNews::Ended => AgentInput::ContactEnded { offer },
                    AgentNews::NotReached => AgentInput::PartyNotReached { offer },
                };
                let id = derived_input(&["effect", &row.id()]);
                agents::apply(service, tenant, agent, id, &input).await?;
            }
            ContactEffect::ComposeRecording { recording, manifest } => {
                let contact = contact()?;
                work::send(service, &Work::Compose { tenant, contact, recording, manifest }).await?;
            }
            ContactEffect::CallHook { number, target, timeout_ms, body } => {
                let body: BTreeMap<String, String> =
                    body.into_iter().map(|(name, value)| (name, value.into_inner())).collect();
                let body = serde_json::to_value(body).map_err(|e| Fault::permanent("hook", e))?;
                let limit = Duration::from_millis(u64::from(timeout_ms.min(5_000)));
                let answer = service.ports.hooks.call(&target, &body, limit).await;
                if let Err(fault) = &answer {
                    tracing::warn!(%fault, target, "hook failed");
                }
                let vars = answer.ok().map(|answer| texts(&answer));
                let id = derived_input(&["effect", &row.id()]);
                let event = Event::HookAnswered { number, vars };
                contacts::step(service, tenant, contact()?, id, event, None).await?;
            }
        }
        Ok(())
    }

    async fn agent(&self, tenant: TenantId, row: &OutboxRow, effect: AgentEffect) -> Result<(), ServiceError> {
        let Effects(service) = self;
        let id = derived_input(&["effect", &row.id()]);
        match effect {
            AgentEffect::MatchAgent { agent: _, queues } => {
                // A queue that cannot be looked at now keeps the agent from none of the others.
                let mut failed = None;
                for queue in queues {
                    if let Err(error) = matching::match_queue(service, tenant, &queue).await {
                        failed = failed.or(Some(error));
                    }
                }
                if let Some(error) = failed {
                    return Err(error);
                }
            }
            AgentEffect::ReturnContact { offer, contact, outcome } => {
                let declined = outcome == OfferOutcome::Declined;
                let event = Event::OfferReturned { offer, declined };
                contacts::step(service, tenant, contact, id, event, None).await?;
            }
            AgentEffect::CheckContact { agent, offer, contact } => {
                let found = contacts::get(service, tenant, contact).await?;
                let talks = found.is_some_and(|contact| contact.holder(offer) == Some(agent));
                let input = if talks { AgentInput::ContactAlive { offer } } else { AgentInput::ContactEnded { offer } };
                agents::apply(service, tenant, agent, id, &input).await?;
            }
        }
        Ok(())
    }
}

/// The texts of a hook's answer, by name; numbers and truths as they are written.
fn texts(answer: &serde_json::Value) -> BTreeMap<String, String> {
    let Some(fields) = answer.as_object() else {
        return BTreeMap::new();
    };
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    fields.iter().take(50).filter_map(|(name, v)| Some((name.clone(), text(v)?))).collect()
}
