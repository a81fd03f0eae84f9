//! A flood of calls beside those of the hour, to see that nobody else notices it.

use hotline_base::{ContactId, TenantId};
use hotline_routing::QueueConfig;
use hotline_service::config::{self, Did, Kind};
use hotline_service::settings::{self, CallLimits, Settings};
use hotline_service::{Service, ServiceError, flows};

use super::{DID, TENANT, calls, name};

/// The tenant that is flooded beside the hour's own.
pub(super) const OTHER: TenantId = TenantId::from_u128(2);
const OTHER_DID: &str = "+861087654321";
/// Calls of the flooded tenant at the same time.
const AT_ONCE: u32 = 50;
/// Callers of a flood hang up after this, milliseconds.
pub(super) const PATIENCE_MS: i64 = 30_000;

/// Whose calls a flood is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// One number's, which calls the busiest queue.
    OneCaller,
    /// Many numbers', to a tenant that has nobody who answers.
    OtherTenant,
}

/// A flood.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Whose calls.
    pub whose: Whose,
    /// Calls a second.
    pub per_s: u64,
    /// It begins so long after the first call, seconds.
    pub at_s: u64,
    /// It lasts so long, seconds.
    pub for_s: u64,
}

impl Flood {
    pub(super) fn tenant(self) -> TenantId {
        if self.whose == Whose::OtherTenant { OTHER } else { TENANT }
    }

    /// The dialled and the calling number of its n-th call.
    pub(super) fn numbers(self, n: u64) -> (String, String) {
        match self.whose {
            Whose::OneCaller => (format!("{DID}m"), "+4930123456".into()),
            Whose::OtherTenant => (OTHER_DID.into(), format!("+4931{n:08}")),
        }
    }

    /// Calls in all.
    pub(super) fn calls(self) -> u64 {
        self.per_s * self.for_s
    }
}

/// What became of a flood's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FloodCounts {
    /// They came.
    pub came: u64,
    /// Limits kept them out.
    pub refused: u64,
    /// They were let in.
    pub let_in: u64,
}

/// The second tenant.
pub(super) async fn fill(service: &Service) -> Result<(), ServiceError> {
    let by = "hour";
    let queue = QueueConfig::new(name("main"));
    config::put(service, OTHER, Kind::QUEUE, "main", &queue, None, by).await?;
    flows::publish(service, OTHER, &name("main"), &calls::FLOW.replace("QUEUE", "main"), by).await?;
    let did = Did { tenant: OTHER, flow: name("main") };
    config::put(service, TenantId::PLATFORM, Kind::DID, OTHER_DID, &did, None, by).await?;
    let limits = CallLimits { calls_at_once: AT_ONCE, ..CallLimits::default() };
    settings::put(service, OTHER, &Settings { limits, ..Settings::default() }, None, by).await.map(drop)
}

/// Twenty bits of a contact's id that tell a flood's calls from the others.
const MASK: u128 = 0xfffff << 40;
const MARK: u128 = 0xf100d << 40;

/// The random part of the id of a flood's call.
pub(super) fn marked(random: u128) -> u128 {
    random & !MASK | MARK
}

/// Whether an entity is a flood's call.
pub(super) fn is_flood(id: &str) -> bool {
    id.parse::<ContactId>().is_ok_and(|contact| contact.as_u128() & MASK == MARK)
}
