//! Commands of the functions: from the node's queue to the worker that owns the call.

use std::sync::Arc;
use std::time::Duration;

use hotline_ports::NodeCommands;

use crate::mailbox::Mail;
use crate::metrics::Metrics;
use crate::shared::Shared;

/// One long poll.
const WAIT: Duration = Duration::from_secs(20);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens the queue, retrying until that is done.
pub async fn open(shared: &Shared, queue: &dyn NodeCommands) {
    loop {
        match queue.open(shared.node).await {
            Ok(address) => {
                tracing::info!(address, "command queue open");
                return;
            }
            Err(fault) => tracing::error!(error = %fault, "the command queue cannot be opened"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Receives until the process ends.
pub async fn receive(shared: Arc<Shared>, queue: Arc<dyn NodeCommands>) {
    loop {
        let received = match queue.receive(shared.node, WAIT).await {
            Ok(received) => received,
            Err(fault) => {
                tracing::warn!(error = %fault, "commands cannot be received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        for one in received {
            match one.command {
                Ok(command) => shared.mail_contact(command.contact, Mail::Command(Box::new(command))),
                Err(reason) => {
                    Metrics::add(&shared.metrics.commands_dropped);
                    tracing::error!(reason, "a command cannot be read");
                }
            }
            // Handled twice is harmless, lost is not: acknowledged only now, and off the way.
            let (queue, node) = (queue.clone(), shared.node);
            tokio::spawn(async move {
                if let Err(fault) = queue.acknowledge(node, &one.receipt).await {
                    tracing::warn!(error = %fault, "a command was not acknowledged and will come again");
                }
            });
        }
    }
}
