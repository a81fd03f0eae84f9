//! A client of the public API, used to seed, trace and test.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::time::Duration;

/// An API address with a bearer token.
#[derive(Clone)]
pub struct Client {
    base: String,
    token: Option<String>,
    agent: ureq::Agent,
}

/// An error answer: RFC 9457.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} answered {status} {code}: {detail}")]
pub struct Problem {
    method: String,
    path: String,
    /// HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    detail: String,
}

impl Client {
    /// A client without a token.
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Self { base: base.trim_end_matches('/').into(), token: None, agent: config.into() }
    }

    /// Signs in and returns a client that acts as that person.
    pub fn sign_in(&self, name: &str, password: &str) -> Result<Self> {
        let answer =
            self.send("POST", "/v1/sign-in", Some(&serde_json::json!({"name": name, "password": password})))?;
        let token = answer["id_token"].as_str().context("sign-in gave no id_token")?.to_owned();
        Ok(Self { token: Some(token), ..self.clone() })
    }

    /// GET.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.send("GET", path, None)
    }

    /// POST.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("POST", path, Some(body))
    }

    /// PUT.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("PUT", path, Some(body))
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}{path}", self.base);
        let mut request = ureq::http::Request::builder().method(method).uri(&url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if method != "GET" {
            request = request.header("idempotency-key", idempotency_key());
        }
        let mut answer = match body {
            Some(body) => self.agent.run(request.header("content-type", "application/json").body(body.to_string())?),
            None => self.agent.run(request.body(())?),
        }
        .with_context(|| format!("{method} {url}"))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string()?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if (200..300).contains(&status) {
            return Ok(value);
        }
        let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let detail = if value.is_object() { explain(&value) } else { text.chars().take(300).collect() };
        bail!(Problem { method: method.into(), path: path.into(), status, code: field("code"), detail })
    }
}

fn explain(problem: &Value) -> String {
    let mut text = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or_default().to_owned();
    for error in problem["errors"].as_array().into_iter().flatten() {
        let part = |n: &str| error[n].as_str().unwrap_or_default();
        text.push_str(&format!("\n  {}: {}", part("field"), part("message")));
    }
    text
}

fn idempotency_key() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("cli-{}-{}-{}", std::process::id(), now.as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Percent-encodes a path segment or query value.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
                (b as char).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn plus_signs_are_encoded() {
        assert_eq!(super::encode("+86 10"), "%2B86%2010");
    }
}
