//! A stack's state, outputs and events.

use anyhow::{Context, Result, bail};
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::config::http::HttpResponse;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudformation::types::{Stack, StackEvent};
use hotline_aws::{Sdk, describe as words};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The stack, `None` where there is none (or only a deleted one).
pub async fn describe(client: &Client, name: &str) -> Result<Option<Stack>> {
    match client.describe_stacks().stack_name(name).send().await {
        Ok(answer) => {
            Ok(answer.stacks.and_then(|all| all.into_iter().next()).filter(|s| status(s) != "DELETE_COMPLETE"))
        }
        Err(error) => {
            let missing = error.as_service_error().is_some_and(|e| {
                e.code() == Some("ValidationError") && e.message().is_some_and(|m| m.contains("does not exist"))
            });
            if missing { Ok(None) } else { Err(explain(&error)) }
        }
    }
}

/// An error with the usual remedies.
pub fn explain<E>(error: &SdkError<E, HttpResponse>) -> anyhow::Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let text = words(error);
    let remedy = if text.contains("dispatch failure") || text.contains("ConnectError") {
        "\n  The endpoint does not answer: is the local cloud running, is AWS_REGION right?"
    } else if text.contains("no providers in chain") || text.contains("CredentialsNotLoaded") {
        "\n  No credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run\n  \
         eval \"$(aws configure export-credentials --format env)\""
    } else if text.contains("AccessDenied") || text.contains("not authorized") {
        "\n  These credentials may not do that: deploy with a role that may manage this stack's services."
    } else if text.contains("ExpiredToken") {
        "\n  The credentials have expired: sign in again."
    } else {
        ""
    };
    anyhow::anyhow!("{text}{remedy}")
}

/// A stack's status as CloudFormation writes it.
pub fn status(stack: &Stack) -> &str {
    stack.stack_status().map_or("", |s| s.as_str())
}

/// The outputs of an existing stack.
pub async fn outputs(sdk: &Sdk, name: &str) -> Result<BTreeMap<String, String>> {
    let client = Client::new(sdk.config());
    let stack = describe(&client, name).await?;
    let stack = stack.with_context(|| format!("there is no stack {name}: deploy it first"))?;
    Ok(stack
        .outputs()
        .iter()
        .filter_map(|o| Some((o.output_key()?.to_string(), o.output_value()?.to_string())))
        .collect())
}

/// One output, or an error that names it.
pub fn output<'a>(outputs: &'a BTreeMap<String, String>, key: &str) -> Result<&'a str> {
    outputs
        .get(key)
        .map(String::as_str)
        .with_context(|| format!("the stack has no output {key}: deploy the current template"))
}

/// Follows a stack's events from now on.
pub struct Watch<'a> {
    client: &'a Client,
    id: String,
    pause: Duration,
    seen: BTreeSet<String>,
    failures: Vec<String>,
}

impl<'a> Watch<'a> {
    /// Events that exist already are not shown. `id` is the stack's id, which outlives its name.
    pub async fn start(client: &'a Client, id: &str, local: bool, existed: bool) -> Result<Watch<'a>> {
        let pause = Duration::from_millis(if local { 150 } else { 3_000 });
        let mut watch = Watch { client, id: id.into(), pause, seen: BTreeSet::new(), failures: Vec::new() };
        if existed {
            for event in watch.fresh().await? {
                watch.seen.insert(event.event_id().unwrap_or_default().into());
            }
        }
        Ok(watch)
    }

    async fn fresh(&self) -> Result<Vec<StackEvent>> {
        let mut fresh = Vec::new();
        let mut pages = self.client.describe_stack_events().stack_name(&self.id).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| explain(&e))?;
            let before = fresh.len();
            let new = page.stack_events().iter().filter(|e| !self.seen.contains(e.event_id().unwrap_or_default()));
            fresh.extend(new.cloned());
            if fresh.len() == before {
                break;
            }
        }
        fresh.reverse();
        Ok(fresh)
    }

    async fn show(&mut self) -> Result<()> {
        for event in self.fresh().await? {
            self.seen.insert(event.event_id().unwrap_or_default().into());
            let name = event.logical_resource_id().unwrap_or("?");
            let state = event.resource_status().map_or("", |s| s.as_str());
            if state.ends_with("_FAILED") {
                let reason = event.resource_status_reason().unwrap_or("no reason given");
                self.failures.push(format!("{name} ({}): {reason}", event.resource_type().unwrap_or("?")));
                println!("  ✗ {name}: {reason}");
            } else if state.ends_with("_COMPLETE") {
                println!("  ✓ {name} {}", state.to_lowercase().replace('_', " "));
            }
        }
        Ok(())
    }

    /// Waits until the stack is at rest; an error with every failure where it did not succeed.
    pub async fn finish(mut self, wanted: &[&str]) -> Result<Option<Stack>> {
        loop {
            self.show().await?;
            let stack = describe(self.client, &self.id).await?;
            let state = stack.as_ref().map_or("DELETE_COMPLETE", status);
            if state.ends_with("_IN_PROGRESS") {
                tokio::time::sleep(self.pause).await;
                continue;
            }
            self.show().await?;
            if wanted.contains(&state) {
                return Ok(stack);
            }
            let why = stack.as_ref().and_then(Stack::stack_status_reason).unwrap_or("");
            // The first failure is the cause; later ones are mostly "creation cancelled".
            self.failures.retain(|f| !f.contains("cancelled"));
            bail!(
                "the stack ended as {state}: {why}\n  {}{}",
                self.failures.join("\n  "),
                remedy(&self.failures.join(" "), why)
            );
        }
    }
}

fn remedy(failures: &str, why: &str) -> String {
    let text = format!("{failures} {why}");
    let hint = if text.contains("AlreadyExists") || text.contains("already exists") {
        "A resource of that name exists outside of this stack: choose another --stack, or remove the old one."
    } else if text.contains("ReservedConcurrentExecutions") || text.contains("UnreservedConcurrentExecution") {
        "The account's Lambda concurrency is too low to reserve any: raise the quota or deploy with --param IvrConcurrency=0."
    } else if text.contains("not authorized") || text.contains("AccessDenied") {
        "The deploying role lacks that permission."
    } else if text.contains("LimitExceeded") || text.contains("limit") {
        "A service quota is reached: raise it in Service Quotas."
    } else if text.contains("EIP") || text.contains("AddressLimit") {
        "The fleet needs three Elastic IP addresses: raise the quota."
    } else {
        return String::new();
    };
    format!("\n  What to do: {hint}")
}
