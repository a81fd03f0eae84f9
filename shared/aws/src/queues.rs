//! The managed queues between functions, and one queue per media node, on SQS.

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use hotline_base::NodeId;
use hotline_ports::{Fault, NodeCommands, Queues, ReceivedCommand, WorkQueue};
use hotline_wire::node::NodeCommand;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::{code, fault};
use crate::sdk::timeouts;
use crate::{Config, Sdk};

const PART: &str = "the queue service";
/// The longest delay that a message may have.
const MAX_DELAY_S: u64 = 900;
/// The longest time that one receive may wait.
const MAX_WAIT_S: u64 = 20;
/// A command nobody took for so long is of no use to any call.
const COMMAND_KEPT_S: u32 = 600;
/// A received command that is not acknowledged comes again after this, by the queue's own setting.
const COMMAND_HIDDEN_S: u32 = 15;
/// The same, as a node asks for it. Short: a node that was killed leaves its long poll behind, which
/// takes the first commands to its next life along; those are about the calls that it has lost.
const COMMAND_TAKEN_S: i32 = 2;

/// The timers and work queues.
#[derive(Debug, Clone)]
pub struct SqsQueues {
    client: Client,
    timers: String,
    work: String,
}

impl SqsQueues {
    /// Over the queues that the configuration names.
    pub fn new(sdk: &Sdk, config: &Config) -> Self {
        Self { client: Client::new(sdk.config()), timers: config.timers_queue.clone(), work: config.work_queue.clone() }
    }
}

#[async_trait]
impl Queues for SqsQueues {
    async fn send(&self, queue: WorkQueue, body: String, delay: Duration) -> Result<(), Fault> {
        let url = match queue {
            WorkQueue::Timers => &self.timers,
            WorkQueue::Work => &self.work,
        };
        // A part of a second is rounded up: early would be too early, late is only late.
        let whole = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        let delay_s = i32::try_from(whole.min(MAX_DELAY_S)).unwrap_or(0);
        let request = self.client.send_message().queue_url(url).message_body(body).delay_seconds(delay_s);
        request.send().await.map_err(|e| fault(PART, &e))?;
        Ok(())
    }
}

/// The command queues of the media nodes.
#[derive(Debug)]
pub struct SqsNodeCommands {
    client: Client,
    prefix: String,
    urls: Mutex<HashMap<NodeId, String>>,
}

impl SqsNodeCommands {
    /// Queues are called `prefix` and the node's id.
    pub fn new(sdk: &Sdk, prefix: &str) -> Self {
        Self { client: Client::new(sdk.config()), prefix: prefix.into(), urls: Mutex::default() }
    }

    fn name(&self, node: NodeId) -> String {
        format!("{}{node}", self.prefix)
    }

    fn remember(&self, node: NodeId, url: Option<&str>) {
        let mut urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        match url {
            Some(url) => urls.insert(node, url.into()),
            None => urls.remove(&node),
        };
    }

    async fn url(&self, node: NodeId) -> Result<String, Fault> {
        if let Some(url) = self.urls.lock().unwrap_or_else(PoisonError::into_inner).get(&node) {
            return Ok(url.clone());
        }
        let answer = self.client.get_queue_url().queue_name(self.name(node)).send().await;
        let answer = answer.map_err(|e| fault(PART, &e))?;
        let url = answer.queue_url().ok_or_else(|| Fault::permanent(PART, "no queue URL in the answer"))?;
        self.remember(node, Some(url));
        Ok(url.into())
    }

    /// Forgets a remembered URL where the queue turned out to be gone.
    fn checked<T, E>(
        &self,
        node: NodeId,
        result: Result<T, aws_sdk_sqs::error::SdkError<E, aws_sdk_sqs::config::http::HttpResponse>>,
    ) -> Result<T, Fault>
    where
        E: aws_sdk_sqs::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        result.map_err(|error| {
            if code(&error).is_some_and(|c| c.contains("NonExistentQueue") || c.contains("QueueDoesNotExist")) {
                self.remember(node, None);
            }
            fault(PART, &error)
        })
    }
}

#[async_trait]
impl NodeCommands for SqsNodeCommands {
    async fn open(&self, node: NodeId) -> Result<String, Fault> {
        let request = self
            .client
            .create_queue()
            .queue_name(self.name(node))
            .attributes(QueueAttributeName::MessageRetentionPeriod, COMMAND_KEPT_S.to_string())
            .attributes(QueueAttributeName::VisibilityTimeout, COMMAND_HIDDEN_S.to_string())
            .attributes(QueueAttributeName::SqsManagedSseEnabled, "true");
        let answer = request.send().await.map_err(|e| fault(PART, &e))?;
        let url = answer.queue_url().ok_or_else(|| Fault::permanent(PART, "no queue URL in the answer"))?;
        self.remember(node, Some(url));
        Ok(url.into())
    }

    async fn send(&self, node: NodeId, command: &NodeCommand) -> Result<(), Fault> {
        let body = serde_json::to_string(command).map_err(|e| Fault::permanent(PART, e))?;
        let url = self.url(node).await?;
        let result = self.client.send_message().queue_url(url).message_body(body).send().await;
        self.checked(node, result)?;
        Ok(())
    }

    async fn receive(&self, node: NodeId, wait: Duration) -> Result<Vec<ReceivedCommand>, Fault> {
        let wait_s = wait.as_secs().min(MAX_WAIT_S);
        let url = self.url(node).await?;
        let limits = aws_sdk_sqs::config::Builder::new().timeout_config(timeouts(wait_s + 5, wait_s + 15));
        let request = self
            .client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10)
            .visibility_timeout(COMMAND_TAKEN_S)
            .wait_time_seconds(i32::try_from(wait_s).unwrap_or(0))
            .customize()
            .config_override(limits);
        let answer = self.checked(node, request.send().await)?;
        let mut received = Vec::new();
        for message in answer.messages.unwrap_or_default() {
            let Some(receipt) = message.receipt_handle else { continue };
            let body = message.body.unwrap_or_default();
            let command = serde_json::from_str(&body).map_err(|e| format!("not a command: {e}"));
            received.push(ReceivedCommand { command, receipt });
        }
        Ok(received)
    }

    async fn acknowledge(&self, node: NodeId, receipt: &str) -> Result<(), Fault> {
        let url = self.url(node).await?;
        let result = self.client.delete_message().queue_url(url).receipt_handle(receipt).send().await;
        self.checked(node, result)?;
        Ok(())
    }

    async fn close(&self, node: NodeId) -> Result<(), Fault> {
        let url = self.url(node).await?;
        self.remember(node, None);
        self.client.delete_queue().queue_url(url).send().await.map_err(|e| fault(PART, &e))?;
        Ok(())
    }
}
