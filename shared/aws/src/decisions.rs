//! The media node's side: asks the functions by direct invoke.

use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use hotline_ports::Fault;
use hotline_wire::node::{CallInput, Decision, DirectoryInput, DirectoryOutput};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::fault;
use crate::sdk::timeouts;
use crate::{NodeConfig, Sdk};

const PART: &str = "the decision functions";

/// What a function that failed answers instead of its result.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error_message: String,
}

/// The error type by which a function says that the same call may succeed later.
pub const TRANSIENT: &str = "Transient";

/// Decisions from the `ivr` and `directory` functions.
#[derive(Debug, Clone)]
pub struct LambdaDecisions {
    client: Client,
    ivr: String,
    directory: String,
}

impl LambdaDecisions {
    /// Over the functions that the configuration names.
    pub fn new(sdk: &Sdk, config: &NodeConfig) -> Self {
        let settings = aws_sdk_lambda::config::Builder::from(sdk.config()).timeout_config(timeouts(8, 20)).build();
        Self {
            client: Client::from_conf(settings),
            ivr: config.ivr_function.clone(),
            directory: config.directory_function.clone(),
        }
    }

    /// What to do now that this has happened to a call. The same input may be asked again.
    pub async fn decide(&self, input: &CallInput) -> Result<Decision, Fault> {
        self.ask(&self.ivr, input).await
    }

    /// Looks up a SIP user, notes a phone's registration or that the node is alive.
    pub async fn directory(&self, input: &DirectoryInput) -> Result<DirectoryOutput, Fault> {
        self.ask(&self.directory, input).await
    }

    async fn ask<I: Serialize, O: DeserializeOwned>(&self, function: &str, input: &I) -> Result<O, Fault> {
        let payload = serde_json::to_vec(input).map_err(|e| Fault::permanent(PART, e))?;
        let request = self.client.invoke().function_name(function).payload(Blob::new(payload));
        let answer = request.send().await.map_err(|e| fault(PART, &e))?;
        let body = answer.payload().map(|blob| blob.as_ref()).unwrap_or_default();
        if let Some(kind) = answer.function_error() {
            return Err(failure(function, kind, body));
        }
        serde_json::from_slice(body)
            .map_err(|e| Fault::permanent(PART, format!("{function} answered something else: {e}")))
    }
}

/// A function's failure: transient where it says so, and where it did not come to say anything
/// (a time-out, a crash).
fn failure(function: &str, kind: &str, body: &[u8]) -> Fault {
    let said: Failure =
        serde_json::from_slice(body).unwrap_or(Failure { error_type: String::new(), error_message: kind.into() });
    let message = format!("{function}: {}", said.error_message);
    let crashed = said.error_type.is_empty()
        || said.error_type.starts_with("Runtime.")
        || said.error_type.starts_with("Sandbox.")
        || said.error_message.contains("Task timed out");
    if crashed || said.error_type == TRANSIENT {
        Fault::transient(PART, message)
    } else {
        Fault::permanent(PART, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_failure_says_whether_to_try_again() {
        let of = |body: &str| failure("ivr", "Unhandled", body.as_bytes());
        assert!(matches!(of(r#"{"errorType":"Transient","errorMessage":"x"}"#), Fault::Transient { .. }));
        assert!(matches!(of(r#"{"errorType":"Permanent","errorMessage":"x"}"#), Fault::Permanent { .. }));
        assert!(matches!(of(r#"{"errorMessage":"2026 Task timed out after 3.00 seconds"}"#), Fault::Transient { .. }));
        assert!(matches!(of("garbage"), Fault::Transient { .. }));
    }
}
