//! Asks everything that the stack claims to have made: a green stack proves little.

use anyhow::{Result, bail};
use aws_sdk_dynamodb::types::{TimeToLiveSpecification, TimeToLiveStatus};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_sqs::types::QueueAttributeName;
use clap::Args;
use hotline_aws::{Sdk, describe};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::stack::{self, output};
use crate::{Target, cors, probe};

/// Options of `verify`.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Set what the local cloud leaves out: table TTL and CORS. Refused on AWS.
    #[arg(long)]
    repair_local: bool,
    /// Also try every adapter: rows, objects and links, a node's queue, sign-in, push, speech.
    #[arg(long)]
    deep: bool,
}

type Outputs = BTreeMap<String, String>;

/// What was found, in words; the failures separately.
#[derive(Default)]
struct Report {
    good: usize,
    repaired: usize,
    bad: Vec<String>,
}

impl Report {
    fn note(&mut self, what: &str, result: Result<(), String>) {
        match result {
            Ok(()) => self.good += 1,
            Err(why) => self.bad.push(format!("✗ {what}: {why}")),
        }
    }
}

/// Checks tables, queues, functions, mappings, routes, authorizer, CORS and WebSocket.
pub async fn run(options: &Options) -> Result<()> {
    let sdk = options.target.sdk().await?;
    if options.repair_local && !sdk.is_local() {
        bail!("--repair-local is for a local cloud (--endpoint-url); on AWS deploy the template again");
    }
    let outputs = stack::outputs(&sdk, &options.target.stack).await?;
    let mut report = Report::default();
    tables(&sdk, &outputs, options.repair_local, &mut report).await?;
    queues(&sdk, &outputs, &mut report).await?;
    functions(&sdk, &outputs, &options.target.stack, &mut report).await?;
    http(&sdk, &outputs, options.repair_local, &mut report)?;
    if options.deep {
        let ports = probe::ports(&sdk, &outputs)?;
        let words = |result: Result<()>| result.map_err(|e| format!("{e:#}"));
        report.note("rows", words(probe::store(&ports).await));
        report.note("objects", words(probe::objects(&ports).await));
        report.note("a node's queue", words(probe::node_queue(&ports).await));
        report.note("sign-in", words(probe::identity(&ports).await));
        report.note("push", words(probe::push(&ports).await));
        report.note("speech", words(probe::speech(&ports).await));
    }
    if !report.bad.is_empty() {
        bail!(
            "{} of {} checks failed:\n  {}",
            report.bad.len(),
            report.bad.len() + report.good,
            report.bad.join("\n  ")
        );
    }
    let repaired = if report.repaired > 0 { format!(", {} settings repaired", report.repaired) } else { String::new() };
    println!("{} checks passed{repaired}", report.good);
    Ok(())
}

async fn tables(sdk: &Sdk, outputs: &Outputs, repair: bool, report: &mut Report) -> Result<()> {
    let client = aws_sdk_dynamodb::Client::new(sdk.config());
    for key in ["StateTable", "FactsTable", "TimersTable", "OutboxTable"] {
        let name = output(outputs, key)?;
        let described = client.describe_table().table_name(name).send().await;
        let table = described.as_ref().ok().and_then(|d| d.table());
        let active = table.and_then(|t| t.table_status()).is_some_and(|s| s.as_str() == "ACTIVE");
        report.note(key, if active { Ok(()) } else { Err("is not active".into()) });
        if key == "FactsTable" {
            let stream = table.and_then(|t| t.stream_specification()).is_some_and(|s| s.stream_enabled());
            report.note("facts stream", if stream { Ok(()) } else { Err("is off".into()) });
        }
        let ttl = client.describe_time_to_live().table_name(name).send().await;
        let on = ttl.ok().and_then(|t| t.time_to_live_description).and_then(|d| d.time_to_live_status);
        if matches!(on, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            report.good += 1;
        } else if repair {
            let ttl = TimeToLiveSpecification::builder().attribute_name("expires").enabled(true).build()?;
            let set = client.update_time_to_live().table_name(name).time_to_live_specification(ttl).send().await;
            report.repaired += usize::from(set.is_ok());
            report.note(&format!("{key} TTL"), set.map(drop).map_err(|e| describe(&e)));
        } else {
            report.note(&format!("{key} TTL"), Err("is off".into()));
        }
    }
    Ok(())
}

async fn queues(sdk: &Sdk, outputs: &Outputs, report: &mut Report) -> Result<()> {
    let client = aws_sdk_sqs::Client::new(sdk.config());
    for key in ["TimersQueue", "WorkQueue"] {
        let request = client.get_queue_attributes().queue_url(output(outputs, key)?);
        let answer = request.attribute_names(QueueAttributeName::RedrivePolicy).send().await;
        let result = match answer {
            Ok(answer) => {
                let redrive = answer.attributes().and_then(|a| a.get(&QueueAttributeName::RedrivePolicy));
                redrive.filter(|r| r.contains("deadLetterTargetArn")).map(drop).ok_or("has no dead-letter queue".into())
            }
            Err(error) => Err(describe(&error)),
        };
        report.note(key, result);
    }
    Ok(())
}

/// Every function answers a ping without touching anything, and every mapping is on.
async fn functions(sdk: &Sdk, outputs: &Outputs, stack: &str, report: &mut Report) -> Result<()> {
    let client = aws_sdk_lambda::Client::new(sdk.config());
    for handler in ["ivr", "directory", "api", "ws", "timers", "work", "facts", "sweep", "reconcile"] {
        let name = format!("{stack}-{handler}");
        let ping = Blob::new(r#"{"hotline":"ping"}"#);
        let result = match client.invoke().function_name(&name).payload(ping).send().await {
            Ok(answer) => {
                let said = answer.payload().map(|b| b.as_ref()).unwrap_or_default();
                let right = serde_json::from_slice::<Value>(said).is_ok_and(|v| v == json!({"hotline": handler}));
                if right { Ok(()) } else { Err(String::from_utf8_lossy(said).into_owned()) }
            }
            Err(error) => Err(describe(&error)),
        };
        report.note(&format!("function {handler}"), result);
    }
    for key in ["FactsFunction", "TimersFunction", "WorkFunction"] {
        let answer = client.list_event_source_mappings().function_name(output(outputs, key)?).send().await;
        let result = match answer {
            Ok(answer) if answer.event_source_mappings().iter().any(|m| m.state() == Some("Enabled")) => Ok(()),
            Ok(answer) => {
                let states: Vec<_> = answer.event_source_mappings().iter().filter_map(|m| m.state()).collect();
                Err(format!("its event source mapping is not enabled: {states:?}"))
            }
            Err(error) => Err(describe(&error)),
        };
        report.note(&format!("{key} events"), result);
    }
    Ok(())
}

fn http(sdk: &Sdk, outputs: &Outputs, repair: bool, report: &mut Report) -> Result<()> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(10)))
        .build();
    let agent = ureq::Agent::from(config);
    let api = output(outputs, "ApiUrl")?;
    let expect = |got: Result<u16, String>, wanted: &[u16]| match got {
        Ok(status) if wanted.contains(&status) => Ok(()),
        Ok(status) => Err(format!("answered {status} instead of {wanted:?}")),
        Err(error) => Err(error),
    };
    let get = |path: &str, token: Option<&str>| {
        let mut request = agent.get(format!("{api}{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.call().map(|r| r.status().as_u16()).map_err(|e| e.to_string())
    };
    report.note("GET /v1/health", expect(get("/v1/health", None), &[200]));
    report.note("authorizer without a token", expect(get("/v1/me", None), &[401]));
    report.note("authorizer with a wrong token", expect(get("/v1/me", Some("no.such.token")), &[401]));
    let sign_in =
        agent.post(format!("{api}/v1/sign-in")).send("{}").map(|r| r.status().as_u16()).map_err(|e| e.to_string());
    report.note("POST /v1/sign-in", expect(sign_in, &[400, 401, 422]));

    let origins = output(outputs, "ConsoleOrigins")?;
    let origin = origins.split(',').next().filter(|o| *o != "*").unwrap_or("https://console.example");
    let preflight = || {
        let request = agent
            .options(format!("{api}/v1/me"))
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization");
        let answer = request.call().map_err(|e| e.to_string())?;
        let allowed = answer.headers().get("access-control-allow-origin").is_some();
        let accepted = answer.status().is_success();
        if allowed && accepted {
            Ok(())
        } else {
            Err(format!("a preflight is answered {} without permission", answer.status()))
        }
    };
    if repair
        && let Some(endpoint) = sdk.config().endpoint_url()
        && preflight().is_err()
    {
        cors::repair(endpoint, output(outputs, "HttpApiId")?, origins)?;
        report.repaired += 1;
    }
    report.note("CORS", preflight());

    // A connection without a ticket is refused by the function, not by a missing route.
    let url = output(outputs, "WebSocketUrl")?.replacen("ws", "http", 1);
    let handshake = agent
        .get(&url)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "aG90bGluZS12ZXJpZnkhIQ==")
        .call()
        .map(|r| r.status().as_u16())
        .map_err(|e| e.to_string());
    report.note("WebSocket without a ticket", expect(handshake, &[401, 403]));
    Ok(())
}
