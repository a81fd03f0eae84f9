//! Messages to open WebSocket connections through API Gateway.

use async_trait::async_trait;
use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use hotline_ports::{Fault, Push};

use crate::Sdk;
use crate::error::{code, fault};

/// The connections of one WebSocket API stage.
#[derive(Debug, Clone)]
pub struct GatewayPush {
    client: Client,
}

impl GatewayPush {
    /// `endpoint` is the stage's management address, such as
    /// `https://a1b2.execute-api.eu-central-1.amazonaws.com/live`.
    pub fn new(sdk: &Sdk, endpoint: &str) -> Self {
        let config = aws_sdk_apigatewaymanagement::config::Builder::from(sdk.config()).endpoint_url(endpoint).build();
        Self { client: Client::from_conf(config) }
    }
}

#[async_trait]
impl Push for GatewayPush {
    async fn push(&self, connection: &str, body: &str) -> Result<bool, Fault> {
        let request = self.client.post_to_connection().connection_id(connection).data(Blob::new(body));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error) if code(&error) == Some("GoneException") => Ok(false),
            Err(error) => Err(fault("the WebSocket API", &error)),
        }
    }
}
