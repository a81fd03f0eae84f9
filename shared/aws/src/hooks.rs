//! What a flow's hook calls: an https address outside, or a function of this account.

use async_trait::async_trait;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use hotline_base::Name;
use hotline_ports::{Fault, Hooks};
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::Sdk;
use crate::error::fault;

const PART: &str = "the hook";
/// The longest answer that is read.
const ANSWER_BYTES: u64 = 64 * 1024;

/// Calls https addresses and functions whose names start with the deployment's hook prefix.
#[derive(Debug, Clone)]
pub struct CloudHooks {
    client: Client,
    prefix: String,
    agent: ureq::Agent,
}

impl CloudHooks {
    /// A flow that says `crm-lookup` reaches the function `<prefix>crm-lookup`.
    pub fn new(sdk: &Sdk, prefix: &str) -> Self {
        let config = ureq::Agent::config_builder().https_only(true).max_redirects(0).http_status_as_error(true).build();
        Self {
            client: Client::new(sdk.config()),
            prefix: prefix.into(),
            agent: ureq::Agent::with_parts(config, DefaultConnector::default(), PublicOnly(DefaultResolver::default())),
        }
    }

    async fn function(&self, name: &str, body: &Value) -> Result<Value, Fault> {
        let name: Name = name.parse().map_err(|e| Fault::permanent(PART, e))?;
        let payload = Blob::new(body.to_string());
        let request = self.client.invoke().function_name(format!("{}{name}", self.prefix)).payload(payload);
        let answer = request.send().await.map_err(|e| fault(PART, &e))?;
        let bytes = answer.payload().map(|b| b.as_ref()).unwrap_or_default();
        if answer.function_error().is_some() {
            return Err(Fault::permanent(PART, format!("function {name}: {}", String::from_utf8_lossy(bytes))));
        }
        read(&bytes[..bytes.len().min(ANSWER_BYTES as usize)])
    }

    async fn web(&self, target: &str, body: &Value, limit: Duration) -> Result<Value, Fault> {
        let (agent, target, body) = (self.agent.clone(), target.to_string(), body.to_string());
        let call = move || -> Result<Vec<u8>, Fault> {
            let request = agent
                .post(&target)
                .config()
                .timeout_global(Some(limit))
                .build()
                .header("content-type", "application/json");
            let mut answer = request.send(&body).map_err(|e| web_fault(&e))?;
            answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec().map_err(|e| web_fault(&e))
        };
        let bytes = tokio::task::spawn_blocking(call).await.map_err(|e| Fault::transient(PART, e))??;
        read(&bytes)
    }
}

fn read(bytes: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice(bytes).map_err(|e| Fault::permanent(PART, format!("its answer is not JSON: {e}")))
}

fn web_fault(error: &ureq::Error) -> Fault {
    match error {
        ureq::Error::StatusCode(status) if *status < 500 && *status != 429 => Fault::permanent(PART, error),
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) | ureq::Error::BodyExceedsLimit(_) => {
            Fault::permanent(PART, error)
        }
        _ => Fault::transient(PART, error),
    }
}

#[async_trait]
impl Hooks for CloudHooks {
    async fn call(&self, target: &str, body: &Value, limit: Duration) -> Result<Value, Fault> {
        let work = async {
            if target.contains("://") { self.web(target, body, limit).await } else { self.function(target, body).await }
        };
        tokio::time::timeout(limit, work)
            .await
            .map_err(|_| Fault::transient(PART, format!("no answer within {} ms", limit.as_millis())))?
    }
}

/// Resolves to addresses of the public Internet only: a tenant's flow must not reach into the
/// network that the functions run in. It filters what is then connected to, so that a name
/// cannot resolve differently between check and use.
#[derive(Debug)]
struct PublicOnly(DefaultResolver);

impl Resolver for PublicOnly {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut public = self.empty();
        for address in self.0.resolve(uri, config, timeout)?.iter() {
            if is_public(address.ip()) {
                public.push(*address);
            }
        }
        if public.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(public) }
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            // Global unicast, without the prefixes that carry an IPv4 address inside (6to4,
            // Teredo, NAT64) and the documentation prefix.
            (first & 0xe000) == 0x2000 && first != 0x2002 && !(first == 0x2001 && matches!(v6.segments()[1], 0 | 0xdb8))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "192.168.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "255.255.255.255",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "203.0.114.1", "2606:4700::1111"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
