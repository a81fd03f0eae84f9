//! YAML as JSON, for files that people write and the API reads.

use anyhow::{Result, anyhow, bail};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Nodes of a file at most.
const NODES: usize = 20_000;
/// Levels at most.
const DEPTH: usize = 16;

enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// Reads one document; an empty one is an empty object.
///
/// # Errors
/// The line and what is wrong there.
pub fn to_json(text: &str) -> Result<Value> {
    let mut open: Vec<Open> = Vec::new();
    let mut count = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| anyhow!("line {}: not YAML: {}", e.marker().line(), e.info()))?;
        let line = span.start.line();
        count += 1;
        if count > NODES || open.len() > DEPTH {
            bail!("line {line}: the file is too large or too deep");
        }
        let value = match event {
            Event::Alias(_) => bail!("line {line}: write aliases out"),
            Event::Scalar(text, ScalarStyle::Plain, ..) => plain(&text),
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Value::Array(items),
                Some(Open::Map(map, _)) => Value::Object(map),
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(if value.is_null() { Value::Object(Map::new()) } else { value }),
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map(map, key)) => match key.take() {
                Some(name) => {
                    if map.insert(name.clone(), value).is_some() {
                        bail!("line {line}: {name:?} is written twice");
                    }
                }
                None => match value {
                    Value::String(text) => *key = Some(text),
                    Value::Number(number) => *key = Some(number.to_string()),
                    _ => bail!("line {line}: a key must be a text"),
                },
            },
        }
    }
    Ok(Value::Object(Map::new()))
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        text => match text.replace('_', "").parse::<i64>() {
            Ok(number) if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Value::from(number),
            _ => Value::String(text.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_texts_and_lists() {
        let text = "queues:\n  billing:\n    ring_timeout_ms: 15_000\n    required: [{skill: lang-zh, level: 2}]\nstaffing:\n  - add: 3\n    from: \"2026-11-20T09:00:00Z\"\n";
        let read = to_json(text).unwrap();
        assert_eq!(read["queues"]["billing"]["ring_timeout_ms"], 15_000);
        assert_eq!(read["queues"]["billing"]["required"], json!([{"skill": "lang-zh", "level": 2}]));
        assert_eq!(read["staffing"][0]["from"], "2026-11-20T09:00:00Z");
        assert_eq!(to_json("# nothing\n").unwrap(), json!({}));
    }

    #[test]
    fn mistakes_have_a_line() {
        for (text, line) in [("a: 1\na: 2\n", "line 2"), ("a: [1\n", "line"), ("a: &x 1\nb: *x\n", "line 2")] {
            let error = to_json(text).unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
        }
    }
}
