//! The HTTP and WebSocket API: resources, roles, problems.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Takes contacts, works on tickets.
    Agent,
    /// Sees and steers a tenant's floor.
    Supervisor,
    /// Configures a tenant.
    Admin,
    /// Runs the platform: tenants, numbers. Sees no tenant's content.
    Operator,
}
