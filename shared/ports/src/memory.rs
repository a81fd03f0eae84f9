//! In-memory fakes of every port: real conditional semantics, deterministic order, no I/O.
//!
//! Tests and the simulator share them. [`Memory`] keeps the concrete fakes for looking inside,
//! [`Memory::ports`] gives them as the use-cases want them.

mod media;
mod people;
mod queues;
mod store;
mod world;

pub use media::{MemoryObjects, ToneTts};
pub use people::{MemoryHooks, MemoryIdentity, MemoryPush};
pub use queues::{MemoryNodes, MemoryQueues, Message};
pub use store::MemoryStore;
pub use world::MemoryWorld;

use hotline_base::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::Ports;

/// All fakes together.
#[derive(Clone)]
pub struct Memory {
    /// The virtual clock and the seeded randomness.
    pub world: Arc<MemoryWorld>,
    /// Tables.
    pub store: Arc<MemoryStore>,
    /// Queues with virtual delivery.
    pub queues: Arc<MemoryQueues>,
    /// Node command queues.
    pub nodes: Arc<MemoryNodes>,
    /// Object storage.
    pub objects: Arc<MemoryObjects>,
    /// Speech as tones.
    pub tts: Arc<ToneTts>,
    /// What was pushed.
    pub push: Arc<MemoryPush>,
    /// Accounts.
    pub identity: Arc<MemoryIdentity>,
    /// Answers to hooks.
    pub hooks: Arc<MemoryHooks>,
}

impl Memory {
    /// Empty fakes; `seed` decides every fresh id.
    pub fn new(now: Timestamp, seed: u64) -> Self {
        let world = Arc::new(MemoryWorld::new(now, seed));
        Self {
            queues: Arc::new(MemoryQueues::new(world.clone())),
            world,
            store: Arc::default(),
            nodes: Arc::default(),
            objects: Arc::default(),
            tts: Arc::default(),
            push: Arc::default(),
            identity: Arc::default(),
            hooks: Arc::default(),
        }
    }

    /// The fakes as ports.
    pub fn ports(&self) -> Ports {
        Ports {
            world: self.world.clone(),
            store: self.store.clone(),
            queues: self.queues.clone(),
            nodes: self.nodes.clone(),
            objects: self.objects.clone(),
            tts: self.tts.clone(),
            push: self.push.clone(),
            identity: self.identity.clone(),
            hooks: self.hooks.clone(),
        }
    }
}

/// Locks; a panic elsewhere while holding the lock does not spread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
