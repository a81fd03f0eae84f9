//! Answers and errors on their way out.

use hotline_ports::{Fault, IdentityError};
use hotline_service::ServiceError;
use hotline_wire::problem::{ErrorKind, Problem};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

use crate::ApiResponse;

/// An error with what is only logged.
#[derive(Debug)]
pub struct Failure {
    /// What the client is told.
    pub problem: Box<Problem>,
    /// What the log is told; the client is not.
    pub cause: Option<String>,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), cause: None }
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(invalid) => Problem::from(invalid).into(),
            ServiceError::Reject(reject) => {
                let kind = match reject.code.as_str() {
                    "not-found" | "unknown-contact" | "unknown-agent" | "ticket-unknown" => ErrorKind::NotFound,
                    "version-conflict" => ErrorKind::Stale,
                    _ => ErrorKind::Rejected,
                };
                let code = if kind == ErrorKind::NotFound { "not-found" } else { reject.code.as_str() };
                Problem::new(kind, code, reject.message).into()
            }
            ServiceError::Fault(fault) => fault.into(),
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let (kind, code, detail) = match &fault {
            Fault::Transient { .. } => (
                ErrorKind::Transient,
                "unavailable",
                "a part of the hotline is not answering just now; try again in some seconds",
            ),
            Fault::Permanent { .. } => {
                (ErrorKind::Permanent, "failed", "a part of the hotline failed; the operator has been told")
            }
        };
        Self { problem: Box::new(Problem::new(kind, code, detail)), cause: Some(fault.to_string()) }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Refused => {
                Problem::new(ErrorKind::Unauthenticated, "sign-in-refused", "wrong name or password").into()
            }
            IdentityError::WeakPassword(message) => Problem::field("password", message).into(),
            IdentityError::Throttled => {
                Problem::new(ErrorKind::Throttled, "too-many-attempts", "too many attempts; wait a minute").into()
            }
            IdentityError::Fault(fault) => fault.into(),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self {
            problem: Box::new(Problem::new(
                ErrorKind::Bug,
                "bug",
                "the hotline made a mistake; the operator has been told",
            )),
            cause: Some(error.to_string()),
        }
    }
}

/// A successful answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// 200 to 299.
    pub status: u16,
    /// What is in it.
    pub content: Content,
    /// The resource's version, as an `etag`.
    pub version: Option<u64>,
    /// Fields that are shown this once: a stored copy for replays goes without them.
    pub secrets: &'static [&'static str],
}

/// What is in an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing.
    None,
    /// JSON.
    Json(Value),
    /// A drawing.
    Svg(String),
}

impl Reply {
    /// JSON.
    pub fn json(status: u16, body: &impl Serialize) -> Result<Self, Failure> {
        let content = Content::Json(serde_json::to_value(body)?);
        Ok(Self { status, content, version: None, secrets: &[] })
    }

    /// 204.
    pub fn nothing() -> Self {
        Self { status: 204, content: Content::None, version: None, secrets: &[] }
    }

    /// With a version.
    pub fn at(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// With secrets in these top-level or nested fields.
    pub fn hiding(mut self, secrets: &'static [&'static str]) -> Self {
        self.secrets = secrets;
        self
    }

    /// Without the secrets.
    pub fn stored(&self) -> Self {
        let mut copy = self.clone();
        if let Content::Json(body) = &mut copy.content {
            strip(body, self.secrets);
        }
        copy
    }
}

fn strip(value: &mut Value, fields: &[&str]) {
    match value {
        Value::Object(map) => {
            map.retain(|name, _| !fields.contains(&name.as_str()));
            map.values_mut().for_each(|v| strip(v, fields));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| strip(v, fields)),
        _ => {}
    }
}

impl From<Reply> for ApiResponse {
    fn from(reply: Reply) -> Self {
        let mut headers = BTreeMap::from([("cache-control".to_string(), "no-store".to_string())]);
        if let Some(version) = reply.version {
            headers.insert("etag".into(), format!("\"{version}\""));
        }
        let (kind, body) = match reply.content {
            Content::None => (None, String::new()),
            Content::Json(body) => (Some("application/json"), body.to_string()),
            Content::Svg(body) => (Some("image/svg+xml"), body),
        };
        if let Some(kind) = kind {
            headers.insert("content-type".into(), kind.into());
        }
        Self { status: reply.status, headers, body }
    }
}

impl From<&Problem> for ApiResponse {
    fn from(problem: &Problem) -> Self {
        let mut headers = BTreeMap::from([
            ("content-type".to_string(), "application/problem+json".to_string()),
            ("cache-control".to_string(), "no-store".to_string()),
        ]);
        if matches!(problem.status, 429 | 503) {
            headers.insert("retry-after".into(), "5".into());
        }
        Self { status: problem.status, headers, body: serde_json::to_string(problem).unwrap_or_default() }
    }
}
