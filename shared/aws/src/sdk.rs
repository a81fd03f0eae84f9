//! One SDK configuration for every client: TLS without a C build, short time-outs, few retries.

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_smithy_http_client::{Builder, tls};
use std::time::Duration;

/// Region, credentials, endpoint and HTTP client, shared by all clients of a process.
#[derive(Debug, Clone)]
pub struct Sdk {
    config: SdkConfig,
}

impl Sdk {
    /// Reads region, credentials and `AWS_ENDPOINT_URL` as every AWS tool does.
    pub async fn from_env() -> Self {
        let endpoint = std::env::var("AWS_ENDPOINT_URL").ok().filter(|url| !url.is_empty());
        Self::new(endpoint).await
    }

    /// The same with an explicit endpoint for every service; `None`: the real ones.
    pub async fn new(endpoint: Option<String>) -> Self {
        let plain = endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
        // Reading the system's root certificates costs milliseconds of a cold start.
        let http = if plain {
            Builder::new().build_http()
        } else {
            Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https()
        };
        let mut loader = aws_config::from_env()
            .http_client(http)
            .timeout_config(timeouts(3, 8))
            .retry_config(RetryConfig::standard().with_max_attempts(4).with_initial_backoff(Duration::from_millis(50)));
        if let Some(url) = endpoint {
            loader = loader.endpoint_url(url);
        }
        Self { config: loader.load().await }
    }

    /// What clients are made from.
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Whether an endpoint stands in for the real services.
    pub fn is_local(&self) -> bool {
        self.config.endpoint_url().is_some()
    }
}

/// Time limits for one attempt and for the whole operation, in seconds.
pub(crate) fn timeouts(attempt_s: u64, operation_s: u64) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(attempt_s))
        .operation_timeout(Duration::from_secs(operation_s))
        .build()
}
