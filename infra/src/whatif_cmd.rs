//! `hotline replay` and `hotline whatif`: decisions questioned.

mod chart;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::encode;
use crate::place::Place;
use crate::trace_cmd::supervisor;
use crate::yaml;

const EXAMPLE: &str = "\
Example of new.yaml (every part is optional; what is not named stays as it is):

  queues:                       # fields of the queue's configuration
    billing:
      ring_timeout_ms: 15000
      selection: lowest-occupancy
      overflow:
        - when: {type: waited, ms: 60000}
          then: {type: queue, queue: general}
  agents:                       # by SIP user name or id
    fang:
      skills: {lang-zh: 5, router: 3}
      queues: {billing: 0, technical: 1}
  staffing:
    - add: 3                    # three more agents
      queues: [billing]
      skills: {lang-zh: 3}
      from: 2026-11-20T09:00:00Z
      to: 2026-11-20T12:00:00Z
    - remove: [chen.demo]

  hotline whatif --rules new.yaml --from 8h --svg day.svg";

/// What `replay` may be asked for.
#[derive(clap::Args, Debug)]
pub struct ReplayOptions {
    /// The contact's id (con_…)
    pub contact: String,
    /// The API's answer as it is
    #[arg(long)]
    pub json: bool,
}

/// What `whatif` may be asked for.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLE)]
pub struct WhatifOptions {
    /// What is different, as YAML or JSON; `hotline whatif --help` shows an example
    #[arg(long, value_name = "FILE")]
    pub rules: PathBuf,
    /// First moment: 2026-11-20T09:00:00Z, milliseconds, or how long ago, such as 90m, 8h, 2d
    #[arg(long, default_value = "24h")]
    pub from: String,
    /// Last moment, likewise; now where absent
    #[arg(long)]
    pub to: Option<String>,
    /// The API's answer as it is
    #[arg(long)]
    pub json: bool,
    /// Draw the service level over time into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// Decides again; fails where an answer differs.
pub fn replay(place: &Place, options: &ReplayOptions) -> Result<ExitCode> {
    let answer = supervisor(place)?.get(&format!("/v1/contacts/{}/replay", encode(&options.contact)))?;
    let agrees = answer["agrees"] == true;
    if options.json {
        println!("{answer:#}");
    } else {
        print!("{}", replayed(&answer));
    }
    Ok(if agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn replayed(answer: &Value) -> String {
    let decisions: Vec<&Value> = answer["decisions"].as_array().into_iter().flatten().collect();
    if decisions.is_empty() {
        return "No agent was ever matched with this contact: there is nothing to replay.\n".into();
    }
    let mut text = String::new();
    for decision in &decisions {
        let word = |name: &str| decision[name].as_str().unwrap_or_default().to_owned();
        let chosen = |which: &str| decision[which]["match"]["agent"].as_str().unwrap_or("nobody").to_owned();
        text.push_str(&format!("queue {}   offer {}   {} bytes\n", word("queue"), word("offer"), decision["bytes"]));
        text.push_str(&format!("  stored    {}  {}\n", word("stored_sha256"), chosen("stored")));
        text.push_str(&format!("  replayed  {}  {}\n", word("replayed_sha256"), chosen("replayed")));
        let verdict = if decision["agrees"] == true { "the same, byte for byte" } else { "DIFFERENT" };
        text.push_str(&format!("  {verdict}\n"));
    }
    let different = decisions.iter().filter(|decision| decision["agrees"] != true).count();
    text.push_str(&match different {
        0 => format!("{} of {} decisions replayed: all the same.\n", decisions.len(), decisions.len()),
        n => format!("{n} of {} decisions differ: the rules of choosing have changed since.\n", decisions.len()),
    });
    text
}

/// Runs a period again under other rules.
pub fn whatif(place: &Place, options: &WhatifOptions) -> Result<()> {
    let file = options.rules.display();
    let text = std::fs::read_to_string(&options.rules).with_context(|| format!("--rules {file}"))?;
    let rules = yaml::to_json(&text).with_context(|| format!("{file}"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let from = moment("--from", &options.from, now)?;
    let to = options.to.as_deref().map_or(Ok(json!(now)), |to| moment("--to", to, now))?;
    let answer = supervisor(place)?.post("/v1/whatif", &json!({"from": from, "to": to, "rules": rules}))?;
    if let Some(svg) = &options.svg {
        std::fs::write(svg, chart::draw(&answer)).with_context(|| format!("--svg {}", svg.display()))?;
    }
    if options.json {
        println!("{answer:#}");
    } else {
        print!("{}", table(&answer));
    }
    Ok(())
}

/// `8h` is eight hours before now; anything else is for the API to read.
fn moment(option: &str, text: &str, now_ms: i64) -> Result<Value> {
    let Some(unit) = text.chars().last() else { bail!("{option} is empty; write such as 8h or 2026-11-20T09:00:00Z") };
    let ms = match unit {
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => {
            return Ok(text.parse::<i64>().map_or_else(|_| json!(text), |ms| json!(ms)));
        }
    };
    let number: i64 = text[..text.len() - 1]
        .parse()
        .ok()
        .filter(|n| (0..=1_000_000).contains(n))
        .with_context(|| format!("{option} {text}: write such as 90m, 8h, 2d or 2026-11-20T09:00:00Z"))?;
    Ok(json!(now_ms - number * ms))
}

const COLUMNS: [(&str, &str); 3] = [("recorded", "recorded"), ("present", "run again"), ("changed", "new rules")];

/// The comparison as a table, all queues first.
fn table(answer: &Value) -> String {
    let mut text = format!(
        "{} calls, {} agents{}\n\n",
        answer["calls"],
        answer["agents"],
        if answer["truncated"] == true { " (only the first calls of the period: ask for a shorter one)" } else { "" }
    );
    let mut queues: Vec<Option<&str>> = vec![None];
    let named = COLUMNS.iter().filter_map(|(key, _)| answer[*key]["queues"].as_object());
    let mut names: Vec<&str> = named.flat_map(|map| map.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    queues.extend(names.into_iter().map(Some));
    for queue in queues {
        text.push_str(&format!("{:<24}", queue.unwrap_or("all queues")));
        for (_, title) in COLUMNS {
            text.push_str(&format!("{title:>14}"));
        }
        text.push('\n');
        let rows: [(&str, &str, Show); 10] = [
            ("offered", "offered", Show::Count),
            ("answered", "answered", Show::Count),
            ("abandoned", "abandoned", Show::Count),
            ("left or unserved", "left", Show::Left),
            ("transfers", "transfers", Show::Count),
            ("service level", "service_level_pct", Show::Percent),
            ("abandonment", "abandoned_pct", Show::Percent),
            ("wait, half within", "wait_p50_ms", Show::Seconds),
            ("wait, nine of ten within", "wait_p90_ms", Show::Seconds),
            ("longest wait", "wait_max_ms", Show::Seconds),
        ];
        for (title, field, show) in rows {
            text.push_str(&format!("  {title:<24}"));
            for (key, _) in COLUMNS {
                let column = match queue {
                    None => &answer[key]["total"],
                    Some(queue) => &answer[key]["queues"][queue],
                };
                text.push_str(&format!("{:>14}", show.of(column, field)));
            }
            text.push('\n');
        }
        if queue.is_none() {
            text.push_str(&format!("  {:<24}", "occupancy"));
            for (key, _) in COLUMNS {
                text.push_str(&format!("{:>14}", Show::Percent.of(&answer[key], "occupancy_pct")));
            }
            text.push('\n');
        }
        text.push('\n');
    }
    for line in answer["method"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        text.push_str(&format!("{line}\n"));
    }
    text
}

#[derive(Clone, Copy)]
enum Show {
    Count,
    Left,
    Percent,
    Seconds,
}

impl Show {
    fn of(self, column: &Value, field: &str) -> String {
        let value = &column[field];
        match self {
            Show::Count => value.as_i64().map_or("–".into(), |n| n.to_string()),
            Show::Left => {
                let sum = [&column["left"], &column["unserved"]].iter().filter_map(|v| v.as_i64()).sum::<i64>();
                if column.is_null() { "–".into() } else { sum.to_string() }
            }
            Show::Percent => value.as_f64().map_or("–".into(), |pct| format!("{pct:.1} %")),
            Show::Seconds => value.as_f64().map_or("–".into(), |ms| format!("{:.1} s", ms / 1_000.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_ago_or_as_written() {
        assert_eq!(moment("--from", "90m", 6_000_000).unwrap(), json!(600_000));
        assert_eq!(moment("--from", "2026-11-20T09:00:00Z", 0).unwrap(), json!("2026-11-20T09:00:00Z"));
        assert_eq!(moment("--to", "1700000000000", 0).unwrap(), json!(1_700_000_000_000_i64));
        let error = moment("--from", "xh", 0).unwrap_err().to_string();
        assert!(error.contains("--from xh"), "{error}");
        assert!(moment("--from", "", 0).is_err());
    }

    fn comparison() -> Value {
        let column = |level: f64| {
            let total = json!({"offered": 10, "answered": 9, "abandoned": 1, "left": 0, "unserved": 0, "transfers": 2,
                "service_level_pct": level, "abandoned_pct": 10.0, "wait_p50_ms": 4_000, "wait_p90_ms": 30_500, "wait_max_ms": 61_000});
            json!({"total": total, "queues": {"billing": total}, "occupancy_pct": 71.5,
                "intervals": [{"start": 1_800_000_000_000_i64, "offered": 4, "service_level_pct": level},
                    {"start": 1_800_000_900_000_i64, "offered": 6, "service_level_pct": null}]})
        };
        json!({"calls": 10, "agents": 3, "truncated": false, "method": ["As told."],
            "recorded": column(70.0), "present": column(71.0), "changed": column(95.0)})
    }

    #[test]
    fn the_table_has_a_column_for_each_run() {
        let text = table(&comparison());
        assert!(text.contains("all queues                    recorded     run again     new rules\n"), "{text}");
        assert!(text.contains("  service level                   70.0 %        71.0 %        95.0 %\n"), "{text}");
        assert!(text.contains("  wait, nine of ten within        30.5 s"), "{text}");
        assert!(text.contains("occupancy") && text.contains("billing") && text.ends_with("As told.\n"), "{text}");
    }

    #[test]
    fn the_chart_is_a_drawing_even_of_nothing() {
        let svg = chart::draw(&comparison());
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert!(chart::draw(&json!({})).contains("no calls"));
    }

    #[test]
    fn a_difference_is_said() {
        let decision = |agrees: bool| {
            json!({"queue": "billing", "offer": "off_1", "bytes": 900, "agrees": agrees,
            "stored_sha256": "aa", "replayed_sha256": if agrees { "aa" } else { "bb" },
            "stored": {"match": {"agent": "agt_1"}}, "replayed": {"match": {"agent": "agt_2"}}})
        };
        let same = replayed(&json!({"agrees": true, "decisions": [decision(true)]}));
        assert!(same.ends_with("1 of 1 decisions replayed: all the same.\n"), "{same}");
        let other = replayed(&json!({"agrees": false, "decisions": [decision(true), decision(false)]}));
        assert!(other.contains("DIFFERENT") && other.contains("1 of 2 decisions differ"), "{other}");
        assert!(replayed(&json!({"agrees": true, "decisions": []})).contains("nothing to replay"));
    }
}
