//! Reading typed fields out of a mapping, collecting everything that is wrong.

use hotline_base::{Lang, Name};
use std::collections::BTreeSet;

use crate::yaml::{Entry, Node};
use crate::{Diagnostic, Key, Millis, Pos, Ref};

/// Findings beyond this number are not collected.
const MOST: usize = 100;
/// Characters of a text that is spoken or shown.
pub(super) const TEXT_CHARS: usize = 2_000;

/// Collects findings.
#[derive(Default)]
pub(crate) struct Findings(pub(crate) Vec<Diagnostic>);

impl Findings {
    pub(crate) fn error(&mut self, at: Pos, code: &str, message: impl Into<String>, remedy: impl Into<String>) {
        if self.0.len() < MOST {
            self.0.push(Diagnostic::error(at, code, message, remedy));
        }
    }
}

/// The fields of one mapping; each may be taken once, the rest are unknown.
pub(crate) struct Fields<'a> {
    /// For messages: `step main-menu`.
    what: String,
    at: Pos,
    entries: &'a [Entry],
    taken: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(node: &'a Node, what: impl Into<String>, found: &mut Findings) -> Option<Self> {
        let what = what.into();
        match node {
            Node::Map { entries, at } => Some(Self { what, at: *at, entries, taken: BTreeSet::new() }),
            other => {
                found.error(
                    other.at(),
                    "wrong-type",
                    format!("{what}: expected a mapping, got {}", other.noun()),
                    "write 'field: value' lines, indented",
                );
                None
            }
        }
    }

    pub(super) fn at(&self) -> Pos {
        self.at
    }

    pub(super) fn what(&self) -> &str {
        &self.what
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.entries.iter().map(|e| e.key.as_str())
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.taken.insert(key);
        self.entries.iter().find(|e| e.key == key).map(|e| &e.value)
    }

    pub(super) fn need(&mut self, key: &'static str, remedy: &str, found: &mut Findings) -> Option<&'a Node> {
        let node = self.take(key);
        if node.is_none() {
            found.error(self.at, "missing-field", format!("{}: '{key}' is missing", self.what), remedy);
        }
        node
    }

    /// Reports the fields that nobody took.
    pub(crate) fn finish(self, found: &mut Findings) {
        for entry in self.entries {
            if self.taken.contains(entry.key.as_str()) {
                continue;
            }
            let known: Vec<&str> = self.taken.iter().copied().collect();
            let remedy = match nearest(&entry.key, known.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("remove it; known here: {}", known.join(", ")),
            };
            let message = format!("{}: '{}' is not known here", self.what, short(&entry.key));
            found.error(entry.key_at, "unknown-field", message, remedy);
        }
    }

    pub(super) fn text(&mut self, key: &'static str, found: &mut Findings) -> Option<String> {
        let node = self.take(key)?;
        text(node, &format!("{}: {key}", self.what), found)
    }

    pub(super) fn name(&mut self, key: &'static str, found: &mut Findings) -> Option<Name> {
        self.reference(key, found).map(|r| r.name)
    }

    pub(super) fn reference(&mut self, key: &'static str, found: &mut Findings) -> Option<Ref> {
        let node = self.take(key)?;
        reference(node, &format!("{}: {key}", self.what), found)
    }

    pub(super) fn need_reference(&mut self, key: &'static str, remedy: &str, found: &mut Findings) -> Option<Ref> {
        let node = self.need(key, remedy, found)?;
        reference(node, &format!("{}: {key}", self.what), found)
    }

    pub(super) fn references(&mut self, key: &'static str, found: &mut Findings) -> Vec<Ref> {
        match self.take(key) {
            Some(node) => references(node, &format!("{}: {key}", self.what), found),
            None => Vec::new(),
        }
    }

    /// A list of any length.
    pub(crate) fn name_list(&mut self, key: &'static str, found: &mut Findings) -> BTreeSet<Name> {
        let what = format!("{}: {key}", self.what);
        match self.take(key) {
            Some(Node::List { items, .. }) => {
                items.iter().filter_map(|item| reference(item, &what, found)).map(|r| r.name).collect()
            }
            Some(node) => references(node, &what, found).into_iter().map(|r| r.name).collect(),
            None => BTreeSet::new(),
        }
    }

    pub(super) fn millis(
        &mut self,
        key: &'static str,
        default: Millis,
        allowed: std::ops::RangeInclusive<u32>,
        found: &mut Findings,
    ) -> Millis {
        let Some(node) = self.take(key) else {
            return default;
        };
        let what = format!("{}: {key}", self.what);
        millis(node, &what, allowed, found).unwrap_or(default)
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: u8,
        allowed: std::ops::RangeInclusive<u8>,
        found: &mut Findings,
    ) -> u8 {
        let Some(node) = self.take(key) else {
            return default;
        };
        let what = format!("{}: {key}", self.what);
        let Some(text) = text(node, &what, found) else {
            return default;
        };
        match text.parse::<u8>() {
            Ok(n) if allowed.contains(&n) => n,
            _ => {
                found.error(
                    node.at(),
                    "bad-value",
                    format!("{what}: {:?} is not a number from {} to {}", short(&text), allowed.start(), allowed.end()),
                    "write such a number",
                );
                default
            }
        }
    }

    pub(super) fn flag(&mut self, key: &'static str, default: bool, found: &mut Findings) -> bool {
        let Some(node) = self.take(key) else {
            return default;
        };
        let what = format!("{}: {key}", self.what);
        match text(node, &what, found).as_deref() {
            Some("true" | "yes") => true,
            Some("false" | "no") => false,
            Some(other) => {
                found.error(
                    node.at(),
                    "bad-value",
                    format!("{what}: {:?} is neither true nor false", short(other)),
                    "write true or false",
                );
                default
            }
            None => default,
        }
    }
}

pub(super) fn short(text: &str) -> String {
    if text.chars().count() <= 60 { text.into() } else { text.chars().take(59).chain(['…']).collect() }
}

pub(super) fn text(node: &Node, what: &str, found: &mut Findings) -> Option<String> {
    match node {
        Node::Scalar { text, at, .. } if !node.is_null() => {
            let text = text.trim();
            if text.chars().count() > TEXT_CHARS {
                found.error(
                    *at,
                    "too-long",
                    format!("{what}: longer than {TEXT_CHARS} characters"),
                    "make it shorter, or split it into several prompts",
                );
                return None;
            }
            if let Some(bad) = text.chars().find(|c| c.is_control() && *c != '\n' && *c != '\t') {
                found.error(
                    *at,
                    "bad-value",
                    format!("{what}: contains the control character U+{:04X}", u32::from(bad)),
                    "remove it",
                );
                return None;
            }
            // Line breaks mean nothing to a listener; one form keeps the text's hash stable.
            Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        other => {
            found.error(
                other.at(),
                "wrong-type",
                format!("{what}: expected a text, got {}", other.noun()),
                "write one value",
            );
            None
        }
    }
}

pub(super) fn name(text: &str, at: Pos, what: &str, found: &mut Findings) -> Option<Name> {
    match text.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            found.error(at, "bad-name", format!("{what}: {error}"), "rename it, such as 'main-menu'");
            None
        }
    }
}

pub(super) fn reference(node: &Node, what: &str, found: &mut Findings) -> Option<Ref> {
    let text = text(node, what, found)?;
    let name = name(&text, node.at(), what, found)?;
    Some(Ref { name, at: node.at() })
}

/// One name or a list of names.
pub(super) fn references(node: &Node, what: &str, found: &mut Findings) -> Vec<Ref> {
    match node {
        Node::List { items, at } => {
            if items.len() > 50 {
                found.error(*at, "too-long", format!("{what}: more than 50 names"), "make the list shorter");
            }
            items.iter().filter_map(|item| reference(item, what, found)).take(50).collect()
        }
        node if node.is_null() => Vec::new(),
        node => reference(node, what, found).into_iter().collect(),
    }
}

pub(super) fn millis(
    node: &Node,
    what: &str,
    allowed: std::ops::RangeInclusive<u32>,
    found: &mut Findings,
) -> Option<Millis> {
    let text = text(node, what, found)?;
    match Millis::parse(&text) {
        Some(ms) if allowed.contains(&ms.0) => Some(ms),
        Some(_) => {
            let (low, high) = (Millis(*allowed.start()), Millis(*allowed.end()));
            found.error(
                node.at(),
                "bad-value",
                format!("{what}: {} is not between {low} and {high}", short(&text)),
                "choose a time in that range",
            );
            None
        }
        None => {
            found.error(
                node.at(),
                "bad-value",
                format!("{what}: {:?} is not a length of time", short(&text)),
                "write it with its unit: 300ms, 5s, 1.5s, 10m or 2h",
            );
            None
        }
    }
}

pub(super) fn lang(text: &str, at: Pos, what: &str, found: &mut Findings) -> Option<Lang> {
    let lang = Lang::ALL.into_iter().find(|l| l.as_str() == text);
    if lang.is_none() {
        found.error(at, "bad-value", format!("{what}: {:?} is not a language", short(text)), "write zh or en");
    }
    lang
}

pub(super) fn key(text: &str, at: Pos, what: &str, found: &mut Findings) -> Option<Key> {
    let mut chars = text.chars();
    let key = chars.next().filter(|_| chars.next().is_none()).and_then(Key::new);
    if key.is_none() {
        found.error(
            at,
            "bad-key",
            format!("{what}: {:?} is not a key of a telephone", short(text)),
            "use 0 to 9, \"*\" or \"#\"",
        );
    }
    key
}

/// The known word that differs least, if it is close enough to be meant.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > 60 {
        return None;
    }
    known
        .map(|k| (distance(word, k), k))
        .filter(|(d, k)| *d <= (k.len().max(word.len()) / 3).max(1))
        .min()
        .map(|(_, k)| k)
}

/// Insertions, deletions, replacements and swaps of neighbours that make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut above2: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut before = None;
    for (i, ca) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        let mut cb_before = None;
        for (j, &cb) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (at(&above, j + 1) + 1).min(at(&row, j) + 1).min(at(&above, j) + usize::from(ca != cb));
            if j > 0 && cb_before == Some(ca) && before == Some(cb) {
                cost = cost.min(at(&above2, j - 1) + 1);
            }
            row.push(cost);
            cb_before = Some(cb);
        }
        above2 = std::mem::replace(&mut above, row);
        before = Some(ca);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_words() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("plya", "play"), 1);
        assert_eq!(nearest("no_imput", ["no_input", "no_match"].into_iter()), Some("no_input"));
        assert_eq!(nearest("banana", ["no_input"].into_iter()), None);
    }
}
