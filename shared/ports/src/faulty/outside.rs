//! Queues, node commands, objects and pushes that sometimes fail, double or delay.

use async_trait::async_trait;
use hotline_base::NodeId;
use hotline_wire::node::NodeCommand;
use std::sync::Arc;
use std::time::Duration;

use crate::faulty::{Call, Faults, Injection, injected, yield_once};
use crate::{Bucket, Fault, NodeCommands, Objects, Push, Queues, ReceivedCommand, WorkQueue};

macro_rules! wrapper {
    ($(#[$doc:meta])* $name:ident, $port:ident) => {
        $(#[$doc])*
        pub struct $name {
            inner: Arc<dyn $port>,
            faults: Arc<dyn Faults>,
        }

        impl $name {
            /// Wraps the port.
            pub fn new(inner: Arc<dyn $port>, faults: Arc<dyn Faults>) -> Self {
                Self { inner, faults }
            }
        }
    };
}

wrapper!(
    /// Managed queues with injected faults.
    FaultyQueues, Queues
);
wrapper!(
    /// Node command queues with injected faults on `send`.
    FaultyNodes, NodeCommands
);
wrapper!(
    /// Object storage with injected faults on `put` and `get`.
    FaultyObjects, Objects
);
wrapper!(
    /// Console pushes with injected faults.
    FaultyPush, Push
);

#[async_trait]
impl Queues for FaultyQueues {
    async fn send(&self, queue: WorkQueue, body: String, delay: Duration) -> Result<(), Fault> {
        yield_once().await;
        match self.faults.decide(Call::Queue) {
            Injection::FaultBefore | Injection::Conflict => Err(injected("queue")),
            Injection::FaultAfter => {
                self.inner.send(queue, body, delay).await?;
                Err(injected("queue"))
            }
            Injection::Duplicate => {
                self.inner.send(queue, body.clone(), delay).await?;
                self.inner.send(queue, body, delay).await
            }
            Injection::Delay(more) => {
                let delay = (delay + more).min(Duration::from_secs(900));
                self.inner.send(queue, body, delay).await
            }
            Injection::None => self.inner.send(queue, body, delay).await,
        }
    }
}

#[async_trait]
impl NodeCommands for FaultyNodes {
    async fn open(&self, node: NodeId) -> Result<String, Fault> {
        self.inner.open(node).await
    }

    async fn send(&self, node: NodeId, command: &NodeCommand) -> Result<(), Fault> {
        yield_once().await;
        match self.faults.decide(Call::Command) {
            Injection::FaultBefore | Injection::Conflict => Err(injected("node queue")),
            Injection::FaultAfter => {
                self.inner.send(node, command).await?;
                Err(injected("node queue"))
            }
            Injection::Duplicate => {
                self.inner.send(node, command).await?;
                self.inner.send(node, command).await
            }
            Injection::None | Injection::Delay(_) => self.inner.send(node, command).await,
        }
    }

    async fn receive(&self, node: NodeId, wait: Duration) -> Result<Vec<ReceivedCommand>, Fault> {
        self.inner.receive(node, wait).await
    }

    async fn acknowledge(&self, node: NodeId, receipt: &str) -> Result<(), Fault> {
        self.inner.acknowledge(node, receipt).await
    }

    async fn close(&self, node: NodeId) -> Result<(), Fault> {
        self.inner.close(node).await
    }
}

#[async_trait]
impl Objects for FaultyObjects {
    async fn put(&self, bucket: Bucket, key: &str, body: Vec<u8>, content_type: &str) -> Result<(), Fault> {
        yield_once().await;
        match self.faults.decide(Call::Object) {
            Injection::FaultBefore | Injection::Conflict => Err(injected("objects")),
            Injection::FaultAfter => {
                self.inner.put(bucket, key, body, content_type).await?;
                Err(injected("objects"))
            }
            _ => self.inner.put(bucket, key, body, content_type).await,
        }
    }

    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        yield_once().await;
        match self.faults.decide(Call::Object) {
            Injection::FaultBefore | Injection::FaultAfter | Injection::Conflict => Err(injected("objects")),
            _ => self.inner.get(bucket, key).await,
        }
    }

    async fn list(&self, bucket: Bucket, prefix: &str, limit: usize) -> Result<Vec<String>, Fault> {
        self.inner.list(bucket, prefix, limit).await
    }

    async fn presign(&self, bucket: Bucket, key: &str, valid: Duration) -> Result<String, Fault> {
        self.inner.presign(bucket, key, valid).await
    }
}

#[async_trait]
impl Push for FaultyPush {
    async fn push(&self, connection: &str, body: &str) -> Result<bool, Fault> {
        yield_once().await;
        match self.faults.decide(Call::Push) {
            Injection::FaultBefore | Injection::Conflict => Err(injected("push")),
            Injection::FaultAfter => {
                self.inner.push(connection, body).await?;
                Err(injected("push"))
            }
            Injection::Duplicate => {
                self.inner.push(connection, body).await?;
                self.inner.push(connection, body).await
            }
            Injection::None | Injection::Delay(_) => self.inner.push(connection, body).await,
        }
    }
}
