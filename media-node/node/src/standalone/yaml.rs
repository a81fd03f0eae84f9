//! YAML as a small tree that knows its lines.

use saphyr_parser::{Event, Parser};

/// Nodes of a decision file at most.
const NODES: usize = 20_000;
/// Levels at most.
const DEPTH: usize = 16;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

enum Open {
    List(usize, Vec<Node>),
    Map(usize, Vec<(String, Node)>, Option<String>),
}

/// Reads one document; the error is one line of text with its place.
pub(super) fn read(text: &str) -> Result<Node, String> {
    let mut open: Vec<Open> = Vec::new();
    let mut count = 0usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| format!("line {}: not YAML: {}", e.marker().line(), e.info()))?;
        let line = span.start.line();
        count += 1;
        if count > NODES || open.len() > DEPTH {
            return Err(format!("line {line}: the file is too large or too deep"));
        }
        let node = match event {
            Event::Alias(_) => return Err(format!("line {line}: write aliases out")),
            Event::Scalar(text, ..) => Node { line, value: Value::Text(text.into_owned()) },
            Event::SequenceStart(..) => {
                open.push(Open::List(line, Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(line, Vec::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(line, items)) => Node { line, value: Value::List(items) },
                Some(Open::Map(line, entries, _)) => Node { line, value: Value::Map(entries) },
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, key)) => match (key.take(), node.value) {
                (Some(key), value) => {
                    if entries.iter().any(|(k, _)| *k == key) {
                        return Err(format!("line {}: {key:?} is written twice", node.line));
                    }
                    let line = node.line;
                    entries.push((key, Node { line, value }));
                }
                (None, Value::Text(text)) => *key = Some(text),
                (None, _) => {
                    return Err(format!("line {}: a key must be a text", node.line));
                }
            },
        }
    }
    Err("the file is empty: write `rules:` and a list".into())
}
