//! Reports.

use hotline_service::figures::{self, Period};
use hotline_wire::problem::Problem;
use serde_json::{Value, json};

use crate::call::Call;
use crate::reply::{Failure, Reply};

const DAY_MS: i64 = 86_400_000;

fn period(call: &Call<'_>) -> Result<(Period, i64, i64), Failure> {
    let to = call.moment("to")?.unwrap_or_else(|| call.service.now());
    let from = call.moment("from")?.unwrap_or_else(|| to.plus_ms(-DAY_MS));
    let period = Period::new(from, to).map_err(Problem::from)?;
    Ok((period, from.as_millis(), to.as_millis()))
}

fn interval(call: &Call<'_>) -> Result<i64, Failure> {
    match call.query("interval") {
        None | Some("15m") => Ok(900_000),
        Some("30m") => Ok(1_800_000),
        Some("1h") => Ok(3_600_000),
        Some("1d") => Ok(DAY_MS),
        Some(_) => Err(Problem::field("interval", "write 15m, 30m, 1h or 1d").into()),
    }
}

pub async fn summary(call: &Call<'_>) -> Result<Reply, Failure> {
    let (period, from, to) = period(call)?;
    let interval_ms = interval(call)?;
    let summary = figures::summary(call.service, call.tenant(), period, interval_ms).await?;
    let mut body = serde_json::to_value(summary)?;
    if let Value::Object(map) = &mut body {
        map.insert("from".into(), json!(from));
        map.insert("to".into(), json!(to));
        map.insert("interval_ms".into(), json!(interval_ms));
    }
    Reply::json(200, &body)
}

pub async fn agents(call: &Call<'_>) -> Result<Reply, Failure> {
    let (period, from, to) = period(call)?;
    let by_agent = figures::by_agent(call.service, call.tenant(), period).await?;
    let items: Vec<Value> =
        by_agent.into_iter().map(|(agent, figures)| json!({"agent": agent, "figures": figures})).collect();
    Reply::json(200, &json!({"from": from, "to": to, "agents": items}))
}
