//! The one table that maps an error to its HTTP status, SIP status and queue action, and the
//! problem document that tells a client about it (RFC 9457).

use hotline_base::{FieldError, Invalid, Reject};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// Bad outside input.
    Invalid,
    /// Nobody signed in, or the token is not good.
    Unauthenticated,
    /// Signed in, but the role does not allow it.
    Forbidden,
    /// It does not exist, or not for this tenant.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The domain says no in this state.
    Rejected,
    /// Somebody else changed it since it was read.
    Stale,
    /// More than is accepted.
    TooLarge,
    /// Too often.
    Throttled,
    /// A dependency is not answering just now.
    Transient,
    /// A dependency refused for good.
    Permanent,
    /// A bug of ours.
    Bug,
}

/// What becomes of a queue message whose handling failed so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueAction {
    /// Done with: a repeat would end the same and nobody needs to look.
    Acknowledge,
    /// Delivered again.
    Retry,
    /// Kept apart for a person to look at.
    DeadLetter,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// HTTP status.
    pub http: u16,
    /// SIP status (RFC 3261 §21).
    pub sip: u16,
    /// What becomes of a queue message.
    pub queue: QueueAction,
    /// Short, the same for every problem of the kind.
    pub title: &'static str,
}

impl ErrorKind {
    /// The table.
    pub const fn outcome(self) -> Outcome {
        use QueueAction::{Acknowledge, DeadLetter, Retry};
        let (http, sip, queue, title) = match self {
            ErrorKind::Invalid => (400, 400, DeadLetter, "The request has mistakes"),
            ErrorKind::Unauthenticated => (401, 401, DeadLetter, "Sign in first"),
            ErrorKind::Forbidden => (403, 403, DeadLetter, "Your role does not allow this"),
            ErrorKind::NotFound => (404, 404, Acknowledge, "There is no such thing"),
            ErrorKind::MethodNotAllowed => (405, 405, DeadLetter, "This cannot be done here"),
            ErrorKind::Rejected => (409, 480, Acknowledge, "Not possible in the present state"),
            ErrorKind::Stale => (412, 500, Retry, "Somebody else changed it"),
            ErrorKind::TooLarge => (413, 513, DeadLetter, "More than is accepted"),
            ErrorKind::Throttled => (429, 503, Retry, "Too many requests"),
            ErrorKind::Transient => (503, 503, Retry, "Not available just now"),
            ErrorKind::Permanent => (502, 500, DeadLetter, "A part of the hotline failed"),
            ErrorKind::Bug => (500, 500, DeadLetter, "The hotline made a mistake"),
        };
        Outcome { http, sip, queue, title }
    }
}

/// An error that is told to a client: RFC 9457 with a stable code and all field errors at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:hotline:problem:` and the code.
    #[serde(rename = "type")]
    pub kind_uri: String,
    /// Short, the same for every problem of the kind.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable, kebab-case.
    pub code: String,
    /// What happened and what to do.
    pub detail: String,
    /// Every mistake in the request; empty where the problem lies elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemField>,
}

/// One mistake in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemField {
    /// Where, as a path: `weekly.mon[0].from`; a header or query parameter by its name.
    pub field: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Problem {
    /// A problem of a kind with a stable code.
    pub fn new(kind: ErrorKind, code: &str, detail: impl Into<String>) -> Self {
        let outcome = kind.outcome();
        Self {
            kind_uri: format!("urn:hotline:problem:{code}"),
            title: outcome.title.into(),
            status: outcome.http,
            code: code.into(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// Bad input.
    pub fn invalid(errors: &[FieldError]) -> Self {
        let detail = match errors {
            [one] => one.to_string(),
            many => format!("{} mistakes; see errors", many.len()),
        };
        let fields = errors.iter().map(|e| ProblemField { field: e.field.clone(), message: e.message.clone() });
        Self { errors: fields.collect(), ..Self::new(ErrorKind::Invalid, "invalid", detail) }
    }

    /// One mistake.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::invalid(&[FieldError::new(field, message)])
    }

    /// Not there, or not for this tenant.
    pub fn not_found(what: &str) -> Self {
        Self::new(ErrorKind::NotFound, "not-found", format!("there is no such {what}"))
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(invalid.fields())
    }
}

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        Self::new(ErrorKind::Rejected, &reject.code, reject.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_errors_and_only_what_may_pass_is_retried() {
        use ErrorKind::*;
        for kind in [
            Invalid,
            Unauthenticated,
            Forbidden,
            NotFound,
            MethodNotAllowed,
            Rejected,
            Stale,
            TooLarge,
            Throttled,
            Transient,
            Permanent,
            Bug,
        ] {
            let outcome = kind.outcome();
            assert!((400..600).contains(&outcome.http) && (400..700).contains(&outcome.sip), "{kind:?}");
            let passes = matches!(kind, Stale | Throttled | Transient);
            assert_eq!(outcome.queue == QueueAction::Retry, passes, "{kind:?}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let problem = Problem::invalid(&[FieldError::new("a", "x"), FieldError::new("b[0]", "y")]);
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:hotline:problem:invalid");
        assert_eq!(json["status"], 400);
        assert_eq!(json["errors"][1]["field"], "b[0]");
    }
}
