//! The functions, queues and buckets of the cloud.

use std::sync::Arc;

use async_trait::async_trait;
use hotline_aws::{Buckets, LambdaDecisions, NodeConfig, S3Objects, Sdk, SqsNodeCommands};
use hotline_ports::Fault;
use hotline_wire::node::{CallInput, Decision, DirectoryInput, DirectoryOutput};

use crate::config::Config;
use crate::decisions::Decisions;
use crate::node::Source;

struct Functions(LambdaDecisions);

#[async_trait]
impl Decisions for Functions {
    async fn decide(&self, input: &CallInput) -> Result<Decision, Fault> {
        self.0.decide(input).await
    }
    async fn directory(&self, input: &DirectoryInput) -> Result<DirectoryOutput, Fault> {
        self.0.directory(input).await
    }
}

/// Clients for what the configuration names; region, credentials and endpoint from the environment.
pub async fn source(config: &Config) -> Source {
    let sdk = Sdk::from_env().await;
    let names = NodeConfig {
        ivr_function: config.cloud.ivr_function.clone(),
        directory_function: config.cloud.directory_function.clone(),
        node_queue_prefix: config.cloud.node_queue_prefix.clone(),
        buckets: Buckets {
            recordings: config.cloud.recordings_bucket.clone(),
            prompts: config.cloud.prompts_bucket.clone(),
        },
    };
    Source::Remote {
        decisions: Arc::new(Functions(LambdaDecisions::new(&sdk, &names))),
        commands: Arc::new(SqsNodeCommands::new(&sdk, &names.node_queue_prefix)),
        objects: Arc::new(S3Objects::new(&sdk, names.buckets)),
    }
}
