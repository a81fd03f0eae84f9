//! All ports of a function, made once per process.

use hotline_ports::{Ports, Tts};
use std::sync::Arc;

use crate::{
    CloudHooks, CognitoIdentity, Config, DynamoStore, Engine, Espeak, GatewayPush, Polly, S3Objects, Sdk,
    SqsNodeCommands, SqsQueues, SystemWorld, Tables,
};

/// Every port over the resources that the configuration names.
pub fn ports(sdk: &Sdk, config: &Config) -> Ports {
    let tables = Tables {
        state: config.state_table.clone(),
        facts: config.facts_table.clone(),
        timers: config.timers_table.clone(),
        outbox: config.outbox_table.clone(),
    };
    let tts: Arc<dyn Tts> = match config.engine {
        Engine::Polly => Arc::new(Polly::new(sdk)),
        Engine::Espeak => Arc::new(Espeak::default()),
    };
    Ports {
        world: Arc::new(SystemWorld),
        store: Arc::new(DynamoStore::new(sdk, tables)),
        queues: Arc::new(SqsQueues::new(sdk, config)),
        nodes: Arc::new(SqsNodeCommands::new(sdk, &config.node_queue_prefix)),
        objects: Arc::new(S3Objects::new(sdk, config.buckets.clone())),
        tts,
        push: Arc::new(GatewayPush::new(sdk, &config.websocket_endpoint)),
        identity: Arc::new(CognitoIdentity::new(sdk, &config.user_pool, &config.user_pool_client)),
        hooks: Arc::new(CloudHooks::new(sdk, &config.hook_prefix)),
    }
}
