//! One mapping of every SDK error to a [`Fault`].

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use hotline_ports::Fault;
use std::error::Error;

/// Codes that ask for another try although their HTTP status is 400.
const TRANSIENT: [&str; 14] = [
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "TransactionConflictException",
    "SlowDown",
    "InternalServerError",
    "ServiceUnavailable",
    "LimitExceededException",
    "KMSThrottlingException",
];

/// The service's error code, where it answered with one.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// An SDK error in one line: the service's code and message, or what kept the call from it.
pub fn describe<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(service) = error.as_service_error()
        && let Some(code) = service.code()
    {
        return format!("{code}: {}", service.message().unwrap_or("no message"));
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What a failed SDK call means for the core.
pub(crate) fn fault<E>(part: &'static str, error: &SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let Some(service) = error.as_service_error() else {
        return match error {
            // Nothing was sent: no credentials, a malformed endpoint.
            SdkError::ConstructionFailure(_) => Fault::permanent(part, describe(error)),
            _ => Fault::transient(part, describe(error)),
        };
    };
    let code = service.code().unwrap_or("unknown error");
    let message = describe(error);
    let overloaded = error.raw_response().is_some_and(|r| r.status().as_u16() >= 500 || r.status().as_u16() == 429);
    if overloaded || TRANSIENT.contains(&code) {
        Fault::transient(part, message)
    } else {
        Fault::permanent(part, message)
    }
}
