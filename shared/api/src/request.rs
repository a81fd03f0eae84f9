//! What a shell hands in and gets back: plain data, no gateway's event format.

use hotline_base::{AgentId, TenantId, UserId};
use hotline_wire::api::Role;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who asks, as the verified token says; never taken from the request itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The tenant claim; [`TenantId::PLATFORM`] for operators.
    pub tenant: TenantId,
    /// The role claim.
    pub role: Role,
    /// The user id claim.
    pub user: UserId,
}

impl Principal {
    /// The agent this user is, when it takes contacts: the same 128 bits.
    pub fn agent(&self) -> AgentId {
        AgentId::from_u128(self.user.as_u128())
    }

    /// Reads the claims of a verified token (`custom:tenant`, `custom:role`, `custom:user`);
    /// `None` where one is missing or malformed.
    pub fn from_claims<'a>(claim: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        Some(Self {
            tenant: claim("custom:tenant")?.parse().ok()?,
            role: serde_json::from_value(serde_json::Value::String(claim("custom:role")?.into())).ok()?,
            user: claim("custom:user")?.parse().ok()?,
        })
    }
}

/// One HTTP request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiRequest {
    /// Upper-case.
    pub method: String,
    /// Such as `/v1/tickets`, still percent-encoded, without stage and query.
    pub path: String,
    /// Decoded query parameters.
    pub query: BTreeMap<String, String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body's bytes, already decoded from base64 where the gateway encoded them.
    pub body: Vec<u8>,
}

impl ApiRequest {
    /// A header's value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// One HTTP response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiResponse {
    /// 200 to 599.
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// UTF-8 text: JSON, or SVG for a rendered flow.
    pub body: String,
}
