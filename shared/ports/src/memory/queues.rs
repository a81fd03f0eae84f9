//! Queues with virtual delivery and the command queues of nodes.

use async_trait::async_trait;
use hotline_base::{NodeId, Timestamp};
use hotline_wire::node::NodeCommand;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::memory::{MemoryWorld, lock};
use crate::{Fault, NodeCommands, Queues, ReceivedCommand, WorkQueue, World};

/// A message on a managed queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Not delivered before.
    pub visible_at: Timestamp,
    /// Order of sending.
    pub number: u64,
    /// Which queue.
    pub queue: WorkQueue,
    /// The content.
    pub body: String,
}

/// Managed queues over a virtual clock.
pub struct MemoryQueues {
    world: Arc<MemoryWorld>,
    inner: Mutex<(u64, Vec<Message>)>,
}

impl MemoryQueues {
    /// Empty queues over this clock.
    pub fn new(world: Arc<MemoryWorld>) -> Self {
        Self { world, inner: Mutex::default() }
    }

    /// Takes what is visible by now, in order of visibility.
    pub fn take_visible(&self) -> Vec<Message> {
        let now = self.world.now();
        let mut inner = lock(&self.inner);
        let (mut visible, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut inner.1).into_iter().partition(|m| m.visible_at <= now);
        inner.1 = later;
        visible.sort();
        visible
    }

    /// The moment at which the next message becomes visible.
    pub fn next_visible(&self) -> Option<Timestamp> {
        lock(&self.inner).1.iter().map(|message| message.visible_at).min()
    }

    /// Puts a message back (a failed delivery), visible after `delay`.
    pub fn put_back(&self, message: Message, delay: Duration) {
        let visible_at = self.world.now().plus_ms(delay.as_millis() as i64);
        lock(&self.inner).1.push(Message { visible_at, ..message });
    }
}

#[async_trait]
impl Queues for MemoryQueues {
    async fn send(&self, queue: WorkQueue, body: String, delay: Duration) -> Result<(), Fault> {
        if delay > Duration::from_secs(900) {
            return Err(Fault::permanent("queue", "a delay of more than 15 minutes"));
        }
        let visible_at = self.world.now().plus_ms(delay.as_secs() as i64 * 1000);
        let mut inner = lock(&self.inner);
        inner.0 += 1;
        let number = inner.0;
        inner.1.push(Message { visible_at, number, queue, body });
        Ok(())
    }
}

type NodeQueue = (u64, Vec<(u64, NodeCommand)>);

/// Command queues of nodes. `receive` returns at once.
#[derive(Default)]
pub struct MemoryNodes(Mutex<BTreeMap<NodeId, NodeQueue>>);

impl MemoryNodes {
    /// Takes and acknowledges all commands of a node.
    pub fn take(&self, node: NodeId) -> Vec<NodeCommand> {
        let mut queues = lock(&self.0);
        let Some(queue) = queues.get_mut(&node) else {
            return Vec::new();
        };
        std::mem::take(&mut queue.1).into_iter().map(|(_, command)| command).collect()
    }
}

#[async_trait]
impl NodeCommands for MemoryNodes {
    async fn open(&self, node: NodeId) -> Result<String, Fault> {
        lock(&self.0).entry(node).or_default();
        Ok(format!("memory:{node}"))
    }

    async fn send(&self, node: NodeId, command: &NodeCommand) -> Result<(), Fault> {
        let mut queues = lock(&self.0);
        let Some(queue) = queues.get_mut(&node) else {
            return Err(Fault::permanent("node queue", format!("{node} has no queue")));
        };
        queue.0 += 1;
        let receipt = queue.0;
        queue.1.push((receipt, command.clone()));
        Ok(())
    }

    async fn receive(&self, node: NodeId, _wait: Duration) -> Result<Vec<ReceivedCommand>, Fault> {
        let queues = lock(&self.0);
        let Some(queue) = queues.get(&node) else {
            return Err(Fault::permanent("node queue", format!("{node} has no queue")));
        };
        let received = queue
            .1
            .iter()
            .take(10)
            .map(|(receipt, command)| ReceivedCommand { command: Ok(command.clone()), receipt: receipt.to_string() });
        Ok(received.collect())
    }

    async fn acknowledge(&self, node: NodeId, receipt: &str) -> Result<(), Fault> {
        if let Some(queue) = lock(&self.0).get_mut(&node) {
            queue.1.retain(|(number, _)| number.to_string() != receipt);
        }
        Ok(())
    }

    async fn close(&self, node: NodeId) -> Result<(), Fault> {
        lock(&self.0).remove(&node);
        Ok(())
    }
}
