//! Routes about decisions and alarms.

use super::table::{LEADS, route};
use super::{Body, Op, Route};

/// Routes of this topic.
pub(super) fn routes() -> Vec<Route> {
    vec![
        route(
            "GET",
            "/v1/contacts/{id}/replay",
            Op::ReplayContact,
            LEADS,
            "Decides again from the stored snapshot of each routing decision and compares byte for byte.",
            Body::None,
            (200, Body::Json("Replay")),
        ),
        route(
            "POST",
            "/v1/whatif",
            Op::WhatIf,
            LEADS,
            "Runs a recorded period again under other rules, skills or staffing, and compares; changes nothing.",
            Body::Json("WhatIf"),
            (200, Body::Json("Comparison")),
        ),
        route(
            "GET",
            "/v1/alarms",
            Op::ListAlarms,
            LEADS,
            "Lists the open alarms of queues: thresholds that are passed now.",
            Body::None,
            (200, Body::Page("Alarm")),
        ),
    ]
}
