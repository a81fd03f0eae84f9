//! The ports of the hour: what is sent arrives after its time.

use async_trait::async_trait;
use hotline_base::{NodeId, Timestamp};
use hotline_ports::memory::Memory;
use hotline_ports::{Fault, NodeCommands, Ports, Push, Queues, ReceivedCommand, WorkQueue, World};
use hotline_wire::node::NodeCommand;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Happening;
use super::clock::Clock;
use super::prices::{COMMAND_MS, DELIVERY_MS, QUEUE_MS};
use super::store::CountingStore;

/// Messages and commands on their way.
#[derive(Clone)]
pub(super) struct Wires {
    clock: Clock,
    sent: Arc<Mutex<Vec<(Timestamp, Happening)>>>,
}

impl Wires {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, sent: Arc::default() }
    }

    fn send(&self, ms: i64, happening: Happening) {
        let at = self.clock.now().plus_ms(ms);
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push((at, happening));
    }

    /// What was sent since the last call, with its moment of arrival.
    pub(super) fn take(&self) -> Vec<(Timestamp, Happening)> {
        std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Queues for Wires {
    async fn send(&self, queue: WorkQueue, body: String, delay: Duration) -> Result<(), Fault> {
        self.clock.sleep(QUEUE_MS).await;
        if queue == WorkQueue::Timers {
            Wires::send(self, delay.as_millis() as i64 + DELIVERY_MS, Happening::Message(body));
        }
        Ok(())
    }
}

#[async_trait]
impl NodeCommands for Wires {
    async fn open(&self, node: NodeId) -> Result<String, Fault> {
        Ok(format!("hour:{node}"))
    }

    async fn send(&self, _: NodeId, command: &NodeCommand) -> Result<(), Fault> {
        self.clock.sleep(QUEUE_MS).await;
        Wires::send(self, COMMAND_MS, Happening::Command(command.contact, Box::new(command.action.clone())));
        Ok(())
    }

    async fn receive(&self, _: NodeId, _: Duration) -> Result<Vec<ReceivedCommand>, Fault> {
        Ok(Vec::new())
    }

    async fn acknowledge(&self, _: NodeId, _: &str) -> Result<(), Fault> {
        Ok(())
    }

    async fn close(&self, _: NodeId) -> Result<(), Fault> {
        Ok(())
    }
}

/// Nobody watches.
struct NoConsoles;

#[async_trait]
impl Push for NoConsoles {
    async fn push(&self, _: &str, _: &str) -> Result<bool, Fault> {
        Ok(true)
    }
}

/// All ports; what no call needs is the memory's.
pub(super) fn ports(clock: Clock, store: Arc<CountingStore>, wires: &Wires) -> Ports {
    let rest = Memory::new(clock.now(), 1).ports();
    Ports {
        world: Arc::new(clock),
        store,
        queues: Arc::new(wires.clone()),
        nodes: Arc::new(wires.clone()),
        push: Arc::new(NoConsoles),
        ..rest
    }
}
