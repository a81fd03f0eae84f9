//! YAML as a small tree with places: scalars stay text, and nothing clever is allowed.
//!
//! Anchors, aliases, tags and merged keys are refused: a flow must read the same to a person as
//! to the program, and a few lines must not unfold into millions.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::{Diagnostic, Pos};

/// Mappings within mappings.
const DEPTH: usize = 12;
/// Nodes in one document.
const NODES: usize = 50_000;
/// Keys in one mapping.
const KEYS: usize = 2_000;

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Scalar { text: String, quoted: bool, at: Pos },
    List { items: Vec<Node>, at: Pos },
    Map { entries: Vec<Entry>, at: Pos },
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub key_at: Pos,
    pub value: Node,
}

impl Node {
    pub(crate) fn at(&self) -> Pos {
        match self {
            Node::Scalar { at, .. } | Node::List { at, .. } | Node::Map { at, .. } => *at,
        }
    }

    /// Says what it is, for messages.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Node::Scalar { .. } if self.is_null() => "nothing",
            Node::Scalar { .. } => "a text",
            Node::List { .. } => "a list",
            Node::Map { .. } => "a mapping",
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Node::Scalar { text, quoted: false, .. } if matches!(text.as_str(), "" | "~" | "null"))
    }
}

fn pos(span: Span) -> Pos {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Pos { line: small(span.start.line()), column: small(span.start.col()).saturating_add(1) }
}

enum Open {
    List { items: Vec<Node>, at: Pos },
    Map { entries: Vec<Entry>, key: Option<(String, Pos)>, at: Pos },
}

/// Reads the one document of `text`; `None` where it is empty. Keys written twice go to `found`.
pub(crate) fn read(text: &str, found: &mut Vec<Diagnostic>) -> Result<Option<Node>, Vec<Diagnostic>> {
    let refuse = |at, code, message: String, remedy: &str| Err(vec![Diagnostic::error(at, code, message, remedy)]);
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    let mut count = 0usize;
    let mut documents = 0usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let mark = error.marker();
                let mut at = pos(Span::empty(*mark));
                // What is missing at the very end is shown behind the last line.
                let last = u32::try_from(text.lines().count()).unwrap_or(u32::MAX);
                if at.line > last {
                    let column = text.lines().last().map_or(0, |l| l.chars().count());
                    at = Pos { line: last, column: u32::try_from(column + 1).unwrap_or(u32::MAX) };
                }
                return refuse(
                    at,
                    "yaml-syntax",
                    format!("this is not YAML: {}", error.info()),
                    "look at the indentation, and put texts with special characters into double quotes",
                );
            }
        };
        let at = pos(span);
        count += 1;
        if count > NODES {
            return refuse(at, "too-large", format!("more than {NODES} values"), "split the flow into subflows");
        }
        let closed = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return refuse(
                        at,
                        "yaml-documents",
                        "a second document begins here".into(),
                        "keep one flow in one file",
                    );
                }
                continue;
            }
            Event::Alias(_) => {
                return refuse(
                    at,
                    "yaml-alias",
                    "aliases are not allowed".into(),
                    "write the value out, or use a named prompt or subflow",
                );
            }
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                return refuse(
                    at,
                    "yaml-alias",
                    "anchors are not allowed".into(),
                    "remove the '&' name, or quote the text",
                );
            }
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                return refuse(at, "yaml-tag", "tags are not allowed".into(), "remove the '!' word, or quote the text");
            }
            Event::Scalar(text, style, _, None) => {
                Node::Scalar { text: text.into_owned(), quoted: style != ScalarStyle::Plain, at }
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() >= DEPTH {
                    return refuse(at, "too-deep", format!("more than {DEPTH} levels"), "write it flatter");
                }
                open.push(match event {
                    Event::SequenceStart(..) => Open::List { items: Vec::new(), at },
                    _ => Open::Map { entries: Vec::new(), key: None, at },
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List { items, at }) => Node::List { items, at },
                Some(Open::Map { entries, at, .. }) => Node::Map { entries, at },
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            None => root = Some(closed),
            Some(Open::List { items, .. }) => items.push(closed),
            Some(Open::Map { entries, key, .. }) => match (key.take(), closed) {
                (Some((key, key_at)), value) => {
                    if entries.len() >= KEYS {
                        return refuse(
                            key_at,
                            "too-large",
                            format!("more than {KEYS} keys"),
                            "split the flow into subflows",
                        );
                    }
                    match entries.iter().find(|e| e.key == key) {
                        Some(before) => found.push(Diagnostic::error(
                            key_at,
                            "duplicate-key",
                            format!("{key:?} is written twice; the first is in line {}", before.key_at.line),
                            "remove or rename one of them",
                        )),
                        None => entries.push(Entry { key, key_at, value }),
                    }
                }
                (None, Node::Scalar { text, at, .. }) => *key = Some((text, at)),
                (None, other) => {
                    return refuse(other.at(), "yaml-key", format!("{} cannot be a key", other.noun()), "use a name");
                }
            },
        }
    }
    Ok(root.filter(|node| !node.is_null()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_stay_text_with_places() {
        let Some(Node::Map { entries, .. }) = read("a: no\n\"0\": 07\nb:\n  - 说: x", &mut Vec::new()).unwrap() else {
            panic!()
        };
        let Node::Scalar { text, at, .. } = &entries[0].value else { panic!() };
        assert_eq!((text.as_str(), at.line, at.column), ("no", 1, 4));
        let Node::Scalar { text, .. } = &entries[1].value else { panic!() };
        assert_eq!((entries[1].key.as_str(), text.as_str()), ("0", "07"));
        let Node::List { items, .. } = &entries[2].value else { panic!() };
        assert_eq!((items[0].at().line, items[0].at().column), (4, 5));
    }

    #[test]
    fn clever_yaml_is_refused_with_its_place() {
        let code = |text: &str| {
            let mut found = Vec::new();
            if let Err(more) = read(text, &mut found) {
                found = more;
            }
            format!("{}:{} {}", found[0].line, found[0].column, found[0].code)
        };
        assert_eq!(code("a: &x 1\nb: *x"), "1:4 yaml-alias");
        assert_eq!(code("a: 1\nb: 2\na: 3"), "3:1 duplicate-key");
        assert_eq!(code("a: !!int 1"), "1:4 yaml-tag");
        assert_eq!(code("a: 1\n---\nb: 1"), "2:1 yaml-documents");
        assert_eq!(code("a: [1, 2"), "1:9 yaml-syntax");
        assert_eq!(code("a: \"x"), "1:4 yaml-syntax");
        assert!(code(&format!("{}{}", "[".repeat(50), "]".repeat(50))).ends_with("too-deep"));
        assert!(code(&"[".repeat(5_000)).ends_with("yaml-syntax"));
        assert!(code(&"- ".repeat(5_000)).ends_with("too-deep"));
        assert!(read("", &mut Vec::new()).unwrap().is_none());
        assert!(read("# only a comment\n", &mut Vec::new()).unwrap().is_none());
    }
}
