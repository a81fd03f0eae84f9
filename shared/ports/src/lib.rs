//! What the core asks of the outside, in our own types.
//!
//! Each port is a trait; `memory` holds fakes that tests and the simulator share, `faulty`
//! wraps any port with injected faults, and `runner` is the one way in which a state machine
//! meets storage. Adapters to a cloud live in `hotline-aws`, nowhere else.

pub mod contract;
pub mod faulty;
pub mod memory;
pub mod runner;
mod store;

pub use store::*;

use async_trait::async_trait;
use hotline_base::{CommandId, NodeId, TenantId, Timestamp};
use hotline_wire::node::NodeCommand;
use std::sync::Arc;
use std::time::Duration;

/// A dependency failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Worth another try: a time-out, throttling, a lost connection.
    #[error("{part} is not answering just now: {message}")]
    Transient {
        /// Which dependency.
        part: &'static str,
        /// What it said.
        message: String,
    },
    /// The same call will fail again: missing bucket, refused permission, corrupt item.
    #[error("{part} refused: {message}")]
    Permanent {
        /// Which dependency.
        part: &'static str,
        /// What it said.
        message: String,
    },
}

impl Fault {
    /// A fault that may pass.
    pub fn transient(part: &'static str, message: impl ToString) -> Self {
        Self::Transient { part, message: message.to_string() }
    }
    /// A fault that will not pass by itself.
    pub fn permanent(part: &'static str, message: impl ToString) -> Self {
        Self::Permanent { part, message: message.to_string() }
    }
}

/// Every port, as the use-cases take them.
#[derive(Clone)]
pub struct Ports {
    /// Time and randomness.
    pub world: Arc<dyn World>,
    /// Tables.
    pub store: Arc<dyn Store>,
    /// Managed queues between functions.
    pub queues: Arc<dyn Queues>,
    /// Command queues of media nodes.
    pub nodes: Arc<dyn NodeCommands>,
    /// Object storage.
    pub objects: Arc<dyn Objects>,
    /// Speech from text.
    pub tts: Arc<dyn Tts>,
    /// Live messages to consoles.
    pub push: Arc<dyn Push>,
    /// Sign-in and accounts.
    pub identity: Arc<dyn Identity>,
    /// What a flow's `hook` step calls.
    pub hooks: Arc<dyn Hooks>,
}

/// Time and randomness, the two things the core may not reach for.
pub trait World: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// 128 random bits, for fresh ids.
    fn random(&self) -> u128;
}

/// The managed queues between functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkQueue {
    /// Timers that are due within minutes; the body is a [`TimerRow`].
    Timers,
    /// Work that may wait: compose a recording, dispatch an outbox row, call a webhook.
    Work,
}

/// Sends to managed queues.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Appends one message; it becomes visible after `delay` (at most 15 minutes, whole seconds).
    async fn send(&self, queue: WorkQueue, body: String, delay: Duration) -> Result<(), Fault>;
}

/// A received command with the receipt that acknowledges it.
#[derive(Debug, Clone)]
pub struct ReceivedCommand {
    /// The command, or why its text could not be read.
    pub command: Result<NodeCommand, String>,
    /// Hand back to [`NodeCommands::acknowledge`].
    pub receipt: String,
}

/// The command queue of each media node.
#[async_trait]
pub trait NodeCommands: Send + Sync {
    /// Creates the node's queue where it does not exist yet and returns its address.
    async fn open(&self, node: NodeId) -> Result<String, Fault>;
    /// Appends a command to a node's queue. Fails permanently where the node has no queue.
    async fn send(&self, node: NodeId, command: &NodeCommand) -> Result<(), Fault>;
    /// Waits up to `wait` for up to ten commands.
    async fn receive(&self, node: NodeId, wait: Duration) -> Result<Vec<ReceivedCommand>, Fault>;
    /// Forgets a received command.
    async fn acknowledge(&self, node: NodeId, receipt: &str) -> Result<(), Fault>;
    /// Deletes the queue of a node that has drained.
    async fn close(&self, node: NodeId) -> Result<(), Fault>;
}

/// Object storage.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Writes an object whole, replacing any before it.
    async fn put(&self, bucket: Bucket, key: &str, body: Vec<u8>, content_type: &str) -> Result<(), Fault>;
    /// Reads an object; `None` where there is none.
    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Vec<u8>>, Fault>;
    /// Keys that start with `prefix`, in order, at most `limit`.
    async fn list(&self, bucket: Bucket, prefix: &str, limit: usize) -> Result<Vec<String>, Fault>;
    /// A link that gives the object to whoever holds it until it expires.
    async fn presign(&self, bucket: Bucket, key: &str, valid: Duration) -> Result<String, Fault>;
}

/// The two buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bucket {
    /// Call recordings: chunks, manifests, composed files.
    Recordings,
    /// Prompts by content hash, and flow versions.
    Prompts,
}

/// Speech from text.
#[async_trait]
pub trait Tts: Send + Sync {
    /// 8 kHz mono linear PCM.
    async fn speak(&self, text: &str, lang: hotline_base::Lang, voice: Option<&str>) -> Result<Vec<i16>, Fault>;
    /// Names the engine and its settings: part of the cache key.
    fn engine(&self) -> String;
}

/// Live messages to consoles.
#[async_trait]
pub trait Push: Send + Sync {
    /// Sends to one connection; `Ok(false)` where the connection is gone.
    async fn push(&self, connection: &str, body: &str) -> Result<bool, Fault>;
}

/// Sign-in and accounts (Cognito).
#[async_trait]
pub trait Identity: Send + Sync {
    /// Creates an account, or leaves an existing one with the same name as it is; returns its subject.
    async fn create(&self, account: &Account, password: &str) -> Result<String, IdentityError>;
    /// Exchanges name and password for tokens.
    async fn sign_in(&self, name: &str, password: &str) -> Result<Tokens, IdentityError>;
    /// Exchanges a refresh token for new tokens.
    async fn refresh(&self, refresh_token: &str) -> Result<Tokens, IdentityError>;
    /// Ends an account's access.
    async fn disable(&self, name: &str) -> Result<(), IdentityError>;
}

/// A person's account in the identity provider.
#[derive(Debug, Clone)]
pub struct Account {
    /// The sign-in name: an e-mail address.
    pub name: String,
    /// The tenant claim.
    pub tenant: TenantId,
    /// The role claim.
    pub role: hotline_wire::api::Role,
    /// The user id claim.
    pub user: hotline_base::UserId,
}

/// What a sign-in gives.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Sent as `Authorization: Bearer …`.
    pub id_token: String,
    /// For [`Identity::refresh`]; absent from a refresh.
    pub refresh_token: Option<String>,
    /// Seconds.
    pub expires_in_s: u32,
}

/// Why an account operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Wrong name or password; which of the two is not said.
    #[error("wrong name or password")]
    Refused,
    /// The password does not meet the policy.
    #[error("password: {0}")]
    WeakPassword(String),
    /// Too many attempts.
    #[error("too many attempts; wait a minute")]
    Throttled,
    /// The provider failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What a flow's `hook` step calls.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// Posts JSON and returns JSON, or says why not, within `limit`.
    async fn call(&self, target: &str, body: &serde_json::Value, limit: Duration) -> Result<serde_json::Value, Fault>;
}

/// A fresh command id.
pub fn command_id(world: &dyn World) -> CommandId {
    CommandId::new(world.now(), world.random())
}
