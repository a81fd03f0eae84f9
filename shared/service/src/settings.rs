//! What a tenant sets for itself as a whole: its country, whom it may call, how many calls it takes.

use hotline_base::{FieldError, Invalid, Name, TenantId};
use hotline_routing::callback::Home;
use hotline_wire::node::TapVoices;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::config::{self, Document, Kind, VipList};
use crate::{Service, ServiceError};

/// [`Settings`]; one document a tenant.
const SETTINGS: Kind = Kind("settings");
/// Its name.
const NAME: &str = "tenant";
/// Lists of exempt callers at most.
const MAX_LISTS: usize = 10;

/// How many calls are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRate {
    /// At the same time, 1 to 1,000.
    pub at_once: u32,
    /// Within a minute of the clock, 1 to 1,000.
    pub per_minute: u32,
}

/// Which calls are let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallLimits {
    /// Calls of one number.
    pub per_caller: CallRate,
    /// Calls that withhold their number, by the place they come from (a trunk, mostly).
    pub anonymous: CallRate,
    /// Calls of the tenant at the same time, 1 to 100,000. They are counted every two seconds.
    pub calls_at_once: u32,
    /// Callers on these VIP lists are always let in.
    pub exempt_lists: BTreeSet<Name>,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            per_caller: CallRate { at_once: 5, per_minute: 10 },
            anonymous: CallRate { at_once: 50, per_minute: 200 },
            calls_at_once: 1_000,
            exempt_lists: BTreeSet::new(),
        }
    }
}

/// What a tenant sets for itself as a whole; everything has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How numbers are written and whom the tenant may call.
    pub calls: Home,
    /// Which calls are let in.
    pub limits: CallLimits,
    /// Whose voices of its calls nodes hand to their speech engine; `None`: nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tap: Option<TapVoices>,
}

impl Settings {
    fn errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut range = |field: &str, value: u32, high: u32| {
            if !(1..=high).contains(&value) {
                errors.push(FieldError::new(format!("limits.{field}"), format!("is {value}; write 1 to {high}")));
            }
        };
        for (field, rate) in [("per_caller", self.limits.per_caller), ("anonymous", self.limits.anonymous)] {
            range(&format!("{field}.at_once"), rate.at_once, 1_000);
            range(&format!("{field}.per_minute"), rate.per_minute, 1_000);
        }
        range("calls_at_once", self.limits.calls_at_once, 100_000);
        if self.limits.exempt_lists.len() > MAX_LISTS {
            errors.push(FieldError::new("limits.exempt_lists", format!("at most {MAX_LISTS}; join some lists")));
        }
        self.calls.validate("calls", &mut errors);
        errors
    }
}

/// A tenant's settings as they were within the last seconds; the defaults where none were set.
///
/// # Errors
/// A fault of the store.
pub async fn of(service: &Service, tenant: TenantId) -> Result<Settings, ServiceError> {
    if let Some(settings) = config::cached(service, tenant, SETTINGS, NAME).await? {
        return Ok(settings);
    }
    // Most tenants set nothing: that is remembered as well.
    let settings = Settings::default();
    service.cache.keep_document((tenant, SETTINGS.0, NAME.into()), settings.clone(), service.now());
    Ok(settings)
}

/// A tenant's settings with their version; version 0 and the defaults where none were set.
///
/// # Errors
/// A fault of the store.
pub async fn get(service: &Service, tenant: TenantId) -> Result<Document<Settings>, ServiceError> {
    let found = config::get(service, tenant, SETTINGS, NAME).await?;
    Ok(found.unwrap_or_else(|| Document { name: NAME.into(), version: 0, body: Settings::default() }))
}

/// Sets all of a tenant's settings; gives the new version. They hold for new calls within seconds.
///
/// # Errors
/// Every mistake with its field; `version-conflict`; faults of the store.
pub async fn put(
    service: &Service,
    tenant: TenantId,
    settings: &Settings,
    expected: Option<u64>,
    by: &str,
) -> Result<u64, ServiceError> {
    let mut errors = settings.errors();
    for list in &settings.limits.exempt_lists {
        if config::get::<VipList>(service, tenant, Kind::VIP_LIST, list.as_str()).await?.is_none() {
            let message = format!("there is no VIP list {list}; create it first");
            errors.push(FieldError::new("limits.exempt_lists", message));
        }
    }
    Invalid::check(errors)?;
    config::put(service, tenant, SETTINGS, NAME, settings, expected, by).await
}
