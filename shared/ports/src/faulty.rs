//! Ports with injected faults. A caller-supplied [`Faults`] decides what happens to each call;
//! the simulator gives a seeded one. Every call yields once before it begins and once before it
//! returns, so that an executor which polls by hand can interleave use-cases at every await.

mod outside;
mod store;
mod yielding;

pub use outside::{FaultyNodes, FaultyObjects, FaultyPush, FaultyQueues};
pub use store::FaultyStore;
pub use yielding::yield_once;

use std::sync::Arc;
use std::time::Duration;

use crate::{Fault, Ports};

/// A call on a port that is about to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A strongly consistent read of the store.
    Read,
    /// [`crate::Store::commit`].
    Commit,
    /// Another write of the store: settle, rows, counters.
    Write,
    /// A message to a managed queue.
    Queue,
    /// A command to a node's queue.
    Command,
    /// Object storage.
    Object,
    /// A message to a console.
    Push,
}

/// What is to happen to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Injection {
    /// It goes through.
    #[default]
    None,
    /// A transient fault; nothing was done.
    FaultBefore,
    /// It is done, but the caller sees a transient fault.
    FaultAfter,
    /// A commit finds another transaction in its way; elsewhere like `FaultBefore`.
    Conflict,
    /// A message or command is sent twice; elsewhere like `None`.
    Duplicate,
    /// A message arrives so much later; elsewhere like `None`.
    Delay(Duration),
}

/// Decides the fate of each call.
pub trait Faults: Send + Sync {
    /// Asked once per call, in the order of the calls.
    fn decide(&self, call: Call) -> Injection;
}

impl<F: Fn(Call) -> Injection + Send + Sync> Faults for F {
    fn decide(&self, call: Call) -> Injection {
        self(call)
    }
}

/// Wraps the store, the queues, the node commands, the objects and the push port.
pub fn wrap(ports: &Ports, faults: Arc<dyn Faults>) -> Ports {
    Ports {
        store: Arc::new(FaultyStore::new(ports.store.clone(), faults.clone())),
        queues: Arc::new(FaultyQueues::new(ports.queues.clone(), faults.clone())),
        nodes: Arc::new(FaultyNodes::new(ports.nodes.clone(), faults.clone())),
        objects: Arc::new(FaultyObjects::new(ports.objects.clone(), faults.clone())),
        push: Arc::new(FaultyPush::new(ports.push.clone(), faults)),
        ..ports.clone()
    }
}

fn injected(part: &'static str) -> Fault {
    Fault::transient(part, "injected")
}
