//! Decisions questioned: replayed, or run again under other rules; and what raises alarms.

use hotline_base::{ContactId, Timestamp};
use hotline_routing::whatif::{Moment, Rules};
use hotline_service::{contacts, replay as again, thresholds, whatif as rerun};
use hotline_wire::problem::Problem;
use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::reply::{Failure, Reply};

const DAY_MS: i64 = 86_400_000;

/// What a rerun is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhatIf {
    /// Calls that came from here on; a day before `to` where absent.
    from: Option<Moment>,
    /// And before this; now where absent.
    to: Option<Moment>,
    /// What is different.
    #[serde(default)]
    rules: Rules,
}

pub async fn replay(call: &Call<'_>) -> Result<Reply, Failure> {
    let id: ContactId = call.id("id", "contact")?;
    if contacts::get(call.service, call.tenant(), id).await?.is_none() {
        return Err(Problem::not_found("contact").into());
    }
    let decisions = again::replay(call.service, call.tenant(), id).await?;
    let agrees = decisions.iter().all(|decision| decision.agrees);
    Reply::json(200, &json!({"contact": id, "agrees": agrees, "decisions": decisions}))
}

pub async fn whatif(call: &Call<'_>) -> Result<Reply, Failure> {
    let WhatIf { from, to, rules } = call.body()?;
    let to: Timestamp = to.map_or_else(|| call.service.now(), |moment| moment.0);
    let from = from.map_or(to.plus_ms(-DAY_MS), |moment| moment.0);
    let comparison = rerun::compare(call.service, call.tenant(), from, to, &rules).await?;
    Reply::json(200, &comparison)
}

pub async fn alarms(call: &Call<'_>) -> Result<Reply, Failure> {
    let open = thresholds::open(call.service, call.tenant()).await?;
    Reply::json(200, &json!({"items": open, "next": null}))
}
