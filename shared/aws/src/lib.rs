//! The ports on AWS, and on the local cloud that stands in for it: the only library that names
//! the cloud SDK.

mod config;
mod decisions;
mod error;
mod hooks;
mod identity;
mod objects;
mod ports;
mod push;
mod queues;
mod sdk;
mod speech;
mod store;
mod world;

pub use config::{Buckets, Config, ConfigError, Engine, NodeConfig};
pub use decisions::{LambdaDecisions, TRANSIENT};
pub use error::describe;
pub use hooks::CloudHooks;
pub use identity::CognitoIdentity;
pub use objects::S3Objects;
pub use ports::ports;
pub use push::GatewayPush;
pub use queues::{SqsNodeCommands, SqsQueues};
pub use sdk::Sdk;
pub use speech::{Espeak, Polly};
pub use store::{DynamoStore, Tables, fact_from_image};
pub use world::SystemWorld;
