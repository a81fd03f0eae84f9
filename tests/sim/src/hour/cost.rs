//! What one enqueue, one match and one agent's state change cost, beside so many others who wait
//! or are free.

use hotline_base::{AgentId, ContactId, IndexRow, Timestamp};
use hotline_ports::{Store, World as _};
use hotline_routing::agent::{Requested, available_partition, staffed_partition};
use hotline_routing::waiting::Priority;
use hotline_routing::{AvailableAgent, QueueConfig, WaitingEntry};
use hotline_service::{Service, agents, directory, ivr};
use hotline_wire::node::{CallEvent, CallInput, DirectoryInput};
use std::fmt;

use super::store::Units;
use super::{DID, Hour, HourPlan, NODE, TENANT, agent_id, name};

/// What each operation read and wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// Others who wait, or who are free.
    pub others: usize,
    /// A call comes and is put into a queue, where nobody is free.
    pub enqueue: Units,
    /// A queue is looked at, and a contact is offered to an agent.
    pub matched: Units,
    /// An agent becomes available, where nobody waits.
    pub available: Units,
    /// An agent goes away.
    pub away: Units,
    /// A console's heartbeat.
    pub heartbeat: Units,
}

fn filler(n: usize, queue: &QueueConfig, now: Timestamp) -> WaitingEntry {
    let since = now.plus_ms(n as i64);
    let mut entry = WaitingEntry::new(ContactId::new(since, n as u128), queue, None, Priority::default(), since);
    entry.caller = format!("{n:016x}");
    entry
}

fn free(n: usize, now: Timestamp) -> AvailableAgent {
    AvailableAgent {
        agent: AgentId::from_u128((2 << 64) | n as u128),
        skills: [(name("lang-zh"), 5), (name("router"), 3)].into(),
        idle_since: now.plus_ms(-(n as i64) * 10),
        occupancy_pm: 0,
    }
}

/// Rows of others, who are not there otherwise: what they cost is only to be read.
fn put_others(hour: &mut Hour, others: usize, waiting: Option<Timestamp>, available: bool) {
    let queue = QueueConfig::new(name("main"));
    let (store, now) = (hour.store.clone(), hour.clock.now());
    let work = async move {
        for n in 0..others {
            if let Some(since) = waiting {
                let _ = store.put_row(TENANT, filler(n, &queue, since).row(&queue.name), None).await;
            }
            let agent = free(n, now);
            let row = |partition, sort, body| IndexRow { partition, sort, body };
            if available {
                let body = serde_json::to_string(&agent).unwrap_or_default();
                let row = row(available_partition(&queue.name), agent.sort(queue.selection), body);
                let _ = store.put_row(TENANT, row, None).await;
            }
            let row = row(staffed_partition(&queue.name), agent.agent.to_string(), "{}".into());
            let _ = store.put_row(TENANT, row, None).await;
        }
    };
    hour.measured(work);
}

fn hour() -> Result<Hour, String> {
    // So few calls a second that the queue is not split.
    let mut hour = Hour::new(HourPlan { agents: 2, burst_per_s: 30.0, ..HourPlan::full() });
    hour.fill()?;
    Ok(hour)
}

async fn comes(service: Service, n: u64) -> Result<(), String> {
    let expires = Some(service.now().plus_ms(3_600_000));
    let input = DirectoryInput::Registered { tenant: TENANT, agent: agent_id(n), node: NODE, expires };
    directory::handle(&service, input).await.map_err(|error| error.to_string())?;
    Ok(())
}

async fn state(service: Service, n: u64, to: Requested) -> Result<(), String> {
    agents::request_state(&service, TENANT, agent_id(n), to).await.map(drop).map_err(|error| error.to_string())
}

async fn call(service: Service, contact: ContactId) -> Result<(), String> {
    let event = CallEvent::Arrived {
        did: format!("{DID}m"),
        from: "+8613800138000".to_string().into(),
        display_name: String::new().into(),
        sip_call_id: "cost".into(),
        dialog: None,
        diverted: None,
    };
    let at = service.now();
    let input = CallInput { contact, tenant: None, node: NODE, seq: 1, at, event };
    ivr::handle(&service, input).await.map(drop).map_err(|error| error.to_string())
}

/// Measures each operation beside so many others. Caches are warm, as in a function that runs.
///
/// # Errors
/// What a use-case refused.
pub fn costs(others: usize) -> Result<Costs, String> {
    // One who waits more or less makes no difference; two calls, so that caches are warm.
    let mut world = hour()?;
    let now = world.clock.now();
    put_others(&mut world, others, Some(now), false);
    let (first, second) = (ContactId::new(world.clock.now(), 71), ContactId::new(world.clock.now(), 72));
    let service = world.service().clone();
    world.measured(call(service.clone(), first)).0?;
    let (done, enqueue) = world.measured(call(service, second));
    done?;

    let mut world = hour()?;
    let service = world.service().clone();
    world.measured(comes(service.clone(), 0)).0?;
    world.measured(state(service.clone(), 0, Requested::Available)).0?;
    world.measured(state(service.clone(), 0, Requested::Away { reason: name("pause") })).0?;
    put_others(&mut world, others, None, true);
    let (done, available) = world.measured(state(service.clone(), 0, Requested::Available));
    done?;
    let (done, away) = world.measured(state(service.clone(), 0, Requested::Away { reason: name("pause") }));
    done?;
    let beat = agents::heartbeat;
    let again = service.clone();
    world
        .measured(async move { beat(&again, TENANT, agent_id(0), "desk".into()).await.map(drop) })
        .0
        .map_err(|e| e.to_string())?;
    let (_, heartbeat) =
        world.measured(async move { beat(&service, TENANT, agent_id(0), "desk".into()).await.map(drop) });

    // The first in the queue is real, and so is the agent who has been free longest.
    let mut world = hour()?;
    let service = world.service().clone();
    let contact = ContactId::new(world.clock.now(), 73);
    world.measured(call(service.clone(), contact)).0?;
    world.measured(comes(service.clone(), 0)).0?;
    // They came after it.
    let later = world.clock.now().plus_ms(3_600_000);
    put_others(&mut world, others, Some(later), false);
    let (done, matched) = world.measured(state(service, 0, Requested::Available));
    done?;
    Ok(Costs { others, enqueue, matched, available, away, heartbeat })
}

impl Costs {
    /// The operations with their names.
    pub fn all(&self) -> [(&'static str, Units); 5] {
        [
            ("enqueue", self.enqueue),
            ("agent free and matched", self.matched),
            ("agent becomes available", self.available),
            ("agent goes away", self.away),
            ("console heartbeat", self.heartbeat),
        ]
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (operation, units) in self.all() {
            writeln!(
                f,
                "| {operation:<24} | {:>6} | {:>5} | {:>6} | {:>7} | {:>10} | {:>12} |",
                self.others,
                units.reads,
                units.writes,
                units.read_units,
                units.write_units,
                units.bytes_read + units.bytes_written
            )?;
        }
        Ok(())
    }
}
