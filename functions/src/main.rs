//! The functions: one program, deployed as many. The handler's name says which one this is.
//!
//! | handler | event | does |
//! |---|---|---|
//! | `ivr` | a node's direct invoke: `CallInput` | decides about a call: `Decision` |
//! | `directory` | a node's direct invoke: `DirectoryInput` | SIP users, phones, node leases |
//! | `api` | HTTP API, payload 2.0 | the HTTP API |
//! | `ws` | WebSocket API | connections of consoles |
//! | `timers` | SQS batch | fires timers |
//! | `work` | SQS batch | composes recordings |
//! | `facts` | table stream batch | tickets, rollups, pushes |
//! | `sweep` | schedule, every minute | timers of the next minute, effects left behind, leases, thresholds |
//! | `reconcile` | schedule, every minute | tables, leases and nodes against each other |

mod background;
mod calls;
mod failure;
mod http;
mod socket;

use hotline_aws::{Config, Sdk};
use hotline_service::Service;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use failure::Failure;

/// Which function this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handler {
    Ivr,
    Directory,
    Api,
    Socket,
    Timers,
    Work,
    Facts,
    Sweep,
    Reconcile,
}

impl Handler {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ivr" => Self::Ivr,
            "directory" => Self::Directory,
            "api" => Self::Api,
            "ws" => Self::Socket,
            "timers" => Self::Timers,
            "work" => Self::Work,
            "facts" => Self::Facts,
            "sweep" => Self::Sweep,
            "reconcile" => Self::Reconcile,
            _ => return None,
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let filter = EnvFilter::try_from_env("HOTLINE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .init();
    let name = std::env::var("_HANDLER").unwrap_or_default();
    let handler = Handler::named(&name).ok_or_else(|| {
        format!("the handler is {name:?}: ivr, directory, api, ws, timers, work, facts, sweep or reconcile")
    })?;
    let config = Config::from_env()?;
    let sdk = Sdk::from_env().await;
    let service = Service::new(hotline_aws::ports(&sdk, &config));
    let (service, name) = (&service, &name);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
        // `hotline-cloud verify` asks every function whether it starts at all.
        if event.payload.get("hotline").and_then(Value::as_str) == Some("ping") {
            return Ok(json!({"hotline": name}));
        }
        handle(handler, service, event).await
    }))
    .await
}

async fn handle(handler: Handler, service: &Service, event: LambdaEvent<Value>) -> Result<Value, Failure> {
    let LambdaEvent { payload, context } = event;
    let request = context.request_id.as_str();
    match handler {
        Handler::Ivr => calls::ivr(service, payload, request).await,
        Handler::Directory => calls::directory(service, payload, request).await,
        Handler::Api => http::handle(service, payload, request).await,
        Handler::Socket => socket::handle(service, payload, request).await,
        Handler::Timers => background::timers(service, payload).await,
        Handler::Work => background::work(service, payload).await,
        Handler::Facts => background::facts(service, payload).await,
        Handler::Sweep => background::sweep(service).await,
        Handler::Reconcile => background::reconcile(service).await,
    }
}
