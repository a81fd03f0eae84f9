//! One request on its way through a handler: who, what, and how to read it.

use hotline_base::{FieldError, InputId, TenantId, Timestamp};
use hotline_ports::runner::derived_input;
use hotline_service::Service;
use hotline_ticket::Actor;
use hotline_wire::problem::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::str::FromStr;

use crate::reply::{Failure, Reply};
use crate::{ApiRequest, Principal};

/// Items on a page where the request names no number.
const PAGE: usize = 50;

/// A request with its context.
pub struct Call<'a> {
    /// The use-cases.
    pub service: &'a Service,
    /// Who asks; on public routes nobody in particular.
    pub who: Principal,
    /// What was sent.
    pub request: &'a ApiRequest,
    /// From the path.
    pub params: BTreeMap<&'static str, String>,
}

/// A part of a list.
pub struct Page {
    /// The sort key of the last item of the page before.
    pub after: Option<String>,
    /// Items at most.
    pub limit: usize,
}

impl Call<'_> {
    /// The tenant, from the token.
    pub fn tenant(&self) -> TenantId {
        self.who.tenant
    }

    /// Who does it, for histories.
    pub fn by(&self) -> String {
        self.who.user.to_string()
    }

    /// Who does it, for tickets.
    pub fn actor(&self) -> Actor {
        Actor::User(self.who.user)
    }

    /// The id of the input this request makes: the same for a repeat with the same key.
    pub fn input(&self) -> InputId {
        match self.request.header("idempotency-key") {
            Some(key) => derived_input(&["api", &self.by(), &self.request.method, &self.request.path, key]),
            None => self.service.fresh_input(),
        }
    }

    /// A parameter of the path.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// A parameter of the path that is an id; what is no id names nothing.
    pub fn id<T: FromStr>(&self, name: &str, what: &str) -> Result<T, Failure> {
        self.param(name).parse().map_err(|_| Problem::not_found(what).into())
    }

    /// A query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.request.query.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// A query parameter that can be read as `T`.
    pub fn parsed<T: FromStr>(&self, name: &str, remedy: &str) -> Result<Option<T>, Failure> {
        match self.query(name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Problem::field(name, remedy).into()),
        }
    }

    /// The JSON body.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        read_json(&self.request.body)
    }

    /// The JSON body as an object with `name` set from the path; a body that names another is refused.
    pub fn named_body(&self) -> Result<Value, Failure> {
        let mut body: Value = self.body()?;
        let name = self.param("name").to_string();
        match body.as_object_mut() {
            None => Err(Problem::field("body", "not a JSON object").into()),
            Some(map) => match map.insert("name".into(), json!(name)) {
                Some(other) if other != json!(name) => {
                    let message = format!("differs from the path, which says {name}; write the same or leave it out");
                    Err(Problem::field("name", message).into())
                }
                _ => Ok(body),
            },
        }
    }

    /// The version that a change asks for: `If-Match: "3"`, or `If-None-Match: *` for none yet.
    pub fn expected(&self) -> Result<Option<u64>, Failure> {
        if let Some(value) = self.request.header("if-none-match") {
            return match value.trim() {
                "*" => Ok(Some(0)),
                _ => Err(Problem::field("if-none-match", "only * is understood: create, do not replace").into()),
            };
        }
        let Some(value) = self.request.header("if-match") else { return Ok(None) };
        let text = value.trim().trim_matches('"');
        let remedy = "not a version; send back the etag, such as \"3\"";
        text.parse().map(Some).map_err(|_| Problem::field("if-match", remedy).into())
    }

    /// The page asked for.
    pub fn page(&self) -> Result<Page, Failure> {
        let mut errors = Vec::new();
        let limit = match self.query("limit").map(str::parse::<usize>) {
            None => PAGE,
            Some(Ok(limit)) if (1..=hotline_base::limits::PAGE_ITEMS).contains(&limit) => limit,
            Some(_) => {
                errors.push(FieldError::new("limit", "write 1 to 100"));
                PAGE
            }
        };
        let after = self.query("cursor").map(|text| {
            use base64::Engine;
            let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok();
            bytes.and_then(|b| String::from_utf8(b).ok()).filter(|t| t.len() <= 400)
        });
        if after == Some(None) {
            errors.push(FieldError::new("cursor", "not a cursor; send back the `next` of the page before"));
        }
        if errors.is_empty() {
            Ok(Page { after: after.flatten(), limit })
        } else {
            Err(Problem::invalid(&errors).into())
        }
    }

    /// A moment in a query parameter: milliseconds since the epoch or RFC 3339.
    pub fn moment(&self, name: &str) -> Result<Option<Timestamp>, Failure> {
        let Some(text) = self.query(name) else { return Ok(None) };
        let remedy = "not a moment; write milliseconds since the epoch or such as 2026-11-20T09:00:00Z";
        moment(text).map(Some).ok_or_else(|| Problem::field(name, remedy).into())
    }
}

/// Reads JSON; a mistake is named by its path.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    if body.is_empty() {
        return Err(Problem::field("body", "empty; send JSON").into());
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "body".to_string() } else { path };
        Problem::field(&field, error.into_inner().to_string())
    })?;
    reader.end().map_err(|error| Problem::field("body", error.to_string()))?;
    Ok(value)
}

/// Reads a value that came as part of a request.
pub fn read_value<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "body".to_string() } else { path };
        Problem::field(&field, error.into_inner().to_string()).into()
    })
}

/// Milliseconds since the epoch, or RFC 3339 with seconds and an offset or `Z`.
pub fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(ms) = text.parse::<i64>() {
        return (0..=9_999_999_999_999).contains(&ms).then(|| Timestamp::from_millis(ms));
    }
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    let ms = at.timestamp_millis();
    (0..=9_999_999_999_999).contains(&ms).then(|| Timestamp::from_millis(ms))
}

/// A sort key as clients send it back.
pub fn cursor(sort: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sort)
}

/// A page of items with their sort keys: `items` may hold one more than the page, and then there
/// is a next page.
pub fn page_reply<T: Serialize>(page: &Page, mut items: Vec<(String, T)>) -> Result<Reply, Failure> {
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    let last = items.last().filter(|_| more);
    let next = last.map(|(sort, _)| cursor(sort));
    let items: Vec<T> = items.into_iter().map(|(_, item)| item).collect();
    Reply::json(200, &json!({"items": items, "next": next}))
}
