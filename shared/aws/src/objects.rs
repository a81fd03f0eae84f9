//! Recordings and prompts on S3.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use hotline_ports::{Bucket, Fault, Objects};
use std::time::Duration;

use crate::error::{code, fault};
use crate::sdk::timeouts;
use crate::{Buckets, Sdk};

const PART: &str = "the object store";

/// The two buckets on S3.
#[derive(Debug, Clone)]
pub struct S3Objects {
    client: Client,
    buckets: Buckets,
}

impl S3Objects {
    /// Over given buckets; addresses them by path where an endpoint stands in for S3.
    pub fn new(sdk: &Sdk, buckets: Buckets) -> Self {
        let config = aws_sdk_s3::config::Builder::from(sdk.config())
            .force_path_style(sdk.is_local())
            // A composed recording of an hour has 115 MB.
            .timeout_config(timeouts(30, 90))
            .build();
        Self { client: Client::from_conf(config), buckets }
    }

    fn name(&self, bucket: Bucket) -> &str {
        match bucket {
            Bucket::Recordings => &self.buckets.recordings,
            Bucket::Prompts => &self.buckets.prompts,
        }
    }
}

#[async_trait]
impl Objects for S3Objects {
    async fn put(&self, bucket: Bucket, key: &str, body: Vec<u8>, content_type: &str) -> Result<(), Fault> {
        let request = self
            .client
            .put_object()
            .bucket(self.name(bucket))
            .key(key)
            .body(ByteStream::from(body))
            .content_type(content_type);
        request.send().await.map_err(|e| fault(PART, &e))?;
        Ok(())
    }

    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let answer = match self.client.get_object().bucket(self.name(bucket)).key(key).send().await {
            Ok(answer) => answer,
            Err(error) if code(&error) == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(fault(PART, &error)),
        };
        let body = answer.body.collect().await.map_err(|e| Fault::transient(PART, e))?;
        Ok(Some(body.to_vec()))
    }

    async fn list(&self, bucket: Bucket, prefix: &str, limit: usize) -> Result<Vec<String>, Fault> {
        let mut keys: Vec<String> = Vec::new();
        let mut next: Option<String> = None;
        while keys.len() < limit {
            let page = i32::try_from((limit - keys.len()).min(1_000)).unwrap_or(1_000);
            let request = self
                .client
                .list_objects_v2()
                .bucket(self.name(bucket))
                .prefix(prefix)
                .max_keys(page)
                .set_continuation_token(next.take());
            let answer = request.send().await.map_err(|e| fault(PART, &e))?;
            keys.extend(answer.contents().iter().filter_map(|o| o.key().map(String::from)));
            next = answer.next_continuation_token;
            if next.is_none() {
                break;
            }
        }
        keys.truncate(limit);
        Ok(keys)
    }

    async fn presign(&self, bucket: Bucket, key: &str, valid: Duration) -> Result<String, Fault> {
        let valid = PresigningConfig::expires_in(valid).map_err(|e| Fault::permanent(PART, e))?;
        let request = self.client.get_object().bucket(self.name(bucket)).key(key).presigned(valid);
        Ok(request.await.map_err(|e| fault(PART, &e))?.uri().into())
    }
}
