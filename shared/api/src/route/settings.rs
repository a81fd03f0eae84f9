//! Routes about the tenant as a whole.

use hotline_wire::api::Role::Admin;

use super::table::{LEADS, PAGED, TENANT, route};
use super::{Access, Body, Op, Route};

/// Routes of this topic.
pub(super) fn routes() -> Vec<Route> {
    vec![
        route(
            "GET",
            "/v1/settings",
            Op::GetSettings,
            TENANT,
            "Reads what the tenant has set for itself; the defaults where it has set nothing.",
            Body::None,
            (200, Body::Versioned("Settings")),
        ),
        route(
            "PUT",
            "/v1/settings",
            Op::PutSettings,
            Access::Roles(&[Admin]),
            "Sets everything at once: the country, whom to call, how many calls are let in.",
            Body::Json("Settings"),
            (200, Body::Versioned("Settings")),
        ),
        route(
            "GET",
            "/v1/floods",
            Op::ListFloods,
            LEADS,
            "Lists callers whose calls were not let in within the last week, one item a caller and minute, newest first.",
            Body::None,
            (200, Body::Page("Flood")),
        )
        .asks(PAGED),
    ]
}
