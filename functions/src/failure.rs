//! What a function that fails answers to whoever invoked it.

use hotline_aws::TRANSIENT;
use hotline_ports::Fault;
use hotline_service::ServiceError;
use hotline_wire::problem::{ErrorKind, QueueAction};
use lambda_runtime::Diagnostic;

/// A failed invocation: the type says whether the same call may succeed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: &'static str,
    message: String,
}

impl Failure {
    /// The same call may succeed later.
    pub fn transient(message: impl ToString) -> Self {
        Self { kind: TRANSIENT, message: message.to_string() }
    }

    /// The event is not what this function takes.
    pub fn event(what: &str, error: impl std::fmt::Display) -> Self {
        Self { kind: "Invalid", message: format!("not {what}: {error}") }
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let kind = match &error {
            ServiceError::Invalid(_) => "Invalid",
            ServiceError::Reject(_) => "Rejected",
            ServiceError::Fault(Fault::Transient { .. }) => TRANSIENT,
            ServiceError::Fault(Fault::Permanent { .. }) => "Permanent",
        };
        Self { kind, message: error.to_string() }
    }
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        Diagnostic { error_type: failure.kind.into(), error_message: failure.message }
    }
}

/// What becomes of a queue message whose handling failed so: the one table in `wire` says it.
pub fn queue_action(error: &ServiceError) -> QueueAction {
    let kind = match error {
        ServiceError::Invalid(_) => ErrorKind::Invalid,
        ServiceError::Reject(_) => ErrorKind::Rejected,
        ServiceError::Fault(Fault::Transient { .. }) => ErrorKind::Transient,
        ServiceError::Fault(Fault::Permanent { .. }) => ErrorKind::Permanent,
    };
    kind.outcome().queue
}
