//! A history told: every fact with its time, and a ladder for people.

use hotline_base::Timestamp;
use hotline_ports::FactRow;
use serde::Serialize;
use serde_json::Value;

/// Facts told in one answer.
pub const MOST: usize = 1_000;

/// One fact.
#[derive(Debug, Serialize)]
pub struct Step {
    /// When, milliseconds since the epoch.
    pub at: Timestamp,
    /// Since the first fact, milliseconds.
    pub after_ms: i64,
    /// Its name.
    pub fact: String,
    /// The fact.
    pub body: Value,
    /// Its place: version and index.
    pub place: (u64, u32),
}

/// A history.
#[derive(Debug, Serialize)]
pub struct Trace {
    /// Oldest first.
    pub steps: Vec<Step>,
    /// One line a step: time since the first, name, what matters.
    pub ladder: Vec<String>,
}

/// Tells a history.
pub fn tell(facts: Vec<FactRow>) -> Trace {
    let start = facts.first().map(|f| f.at).unwrap_or_default();
    let steps: Vec<Step> = facts
        .into_iter()
        .map(|fact| Step {
            at: fact.at,
            after_ms: fact.at - start,
            fact: fact.name,
            body: fact.body,
            place: (fact.version, fact.index),
        })
        .collect();
    let ladder = steps.iter().map(line).collect();
    Trace { steps, ladder }
}

fn line(step: &Step) -> String {
    let mut text = format!("+{:>9.3} s  {:<20}", step.after_ms as f64 / 1_000.0, step.fact);
    let Some(fields) = step.body.as_object() else { return text.trim_end().into() };
    for (name, value) in fields {
        let shown = match value {
            _ if name == "fact" => continue,
            Value::Null => continue,
            Value::String(value) if value.is_empty() => continue,
            Value::String(value) => value.chars().take(80).collect(),
            Value::Number(value) => value.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Array(items) if items.is_empty() => continue,
            Value::Array(items) => format!("({})", items.len()),
            Value::Object(_) => inner(value),
        };
        text.push_str(&format!(" {name}={shown}"));
    }
    text.trim_end().into()
}

fn inner(value: &Value) -> String {
    let text = value.to_string();
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_base::{EntityKey, TenantId};
    use serde_json::json;

    #[test]
    fn a_ladder_shows_times_and_what_matters() {
        let subject = EntityKey { tenant: TenantId::from_u128(1), kind: "contact".into(), id: "x".into() };
        let fact = |version, ms, name: &str, body| FactRow {
            subject: subject.clone(),
            version,
            index: 0,
            at: Timestamp::from_millis(ms),
            name: name.into(),
            body,
        };
        let trace = tell(vec![
            fact(1, 1_000, "ContactArrived", json!({"fact": "contact_arrived", "did": "+8610", "display_name": ""})),
            fact(2, 4_210, "MenuChosen", json!({"digit": "1", "label": null, "list": [1, 2]})),
        ]);
        assert_eq!(
            trace.ladder,
            ["+    0.000 s  ContactArrived       did=+8610", "+    3.210 s  MenuChosen           digit=1 list=(2)",]
        );
    }
}
