//! The one canonical text of a flow.
//!
//! Steps stand in reading order from the start, prompts in the order in which they are first
//! said; defaults are left out. [`format_keeping_comments`] carries the author's comments over.

mod steps;

pub(crate) use steps::step_text;

use hotline_base::{Lang, Name};
use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::graph::{reading_order, says};
use crate::*;

struct Line {
    indent: usize,
    text: String,
    /// The line of the source that it comes from; 0: not known.
    source: u32,
}

#[derive(Default)]
struct Page {
    lines: Vec<Line>,
}

impl Page {
    fn put(&mut self, indent: usize, source: Pos, text: impl Into<String>) {
        self.lines.push(Line { indent, text: text.into(), source: source.line });
    }

    fn blank(&mut self) {
        self.put(0, Pos::default(), "");
    }
}

/// The canonical text of a flow: two flows that mean the same have the same.
pub fn format(flow: &Flow) -> String {
    print(page(flow))
}

/// As [`format`], with the comments of `source`, the text that `flow` was read from: a comment
/// stays before the line, or behind the value, that it was written for.
pub fn format_keeping_comments(flow: &Flow, source: &str) -> String {
    let mut page = page(flow);
    let mut comments = comments(source);
    comments.reverse();
    // From the last to the first, so that comments of one place keep their order.
    for comment in comments {
        let place = page
            .lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.source >= comment.line && line.source > 0)
            .min_by_key(|(i, line)| (line.source, *i))
            .map(|(i, _)| i);
        match place.and_then(|i| page.lines.get_mut(i).map(|line| (i, line))) {
            Some((_, line)) if comment.behind && line.source == comment.line => {
                let _ = write!(line.text, "  {}", comment.text);
            }
            Some((i, line)) => {
                let (indent, source) = (line.indent, line.source);
                page.lines.insert(i, Line { indent, text: comment.text, source });
            }
            None => page.lines.push(Line { indent: 0, text: comment.text, source: 0 }),
        }
    }
    print(page)
}

fn print(page: Page) -> String {
    let mut text = String::new();
    for line in page.lines {
        if !line.text.is_empty() {
            text.extend(std::iter::repeat_n(' ', line.indent * 2));
            text.push_str(&line.text);
        }
        text.push('\n');
    }
    text
}

struct Comment {
    line: u32,
    text: String,
    /// It stands behind a value, not on a line of its own.
    behind: bool,
}

/// The comments of a text. A `#` within quotes or a block text is none.
fn comments(source: &str) -> Vec<Comment> {
    let mut found = Vec::new();
    let mut quote: Option<char> = None;
    let mut block: Option<usize> = None;
    for (i, line) in source.lines().enumerate() {
        let number = u32::try_from(i + 1).unwrap_or(u32::MAX);
        let indent = line.len() - line.trim_start().len();
        if let Some(outer) = block {
            if line.trim().is_empty() || indent > outer {
                continue;
            }
            block = None;
        }
        let mut before = ' ';
        let mut escaped = false;
        for (at, c) in line.char_indices() {
            match quote {
                Some('"') if escaped => escaped = false,
                Some('"') if c == '\\' => escaped = true,
                Some(q) if c == q => quote = None,
                Some(_) => {}
                // Quotes open only where a value begins: "it's" holds none.
                None if matches!(c, '"' | '\'') && " [{,:-".contains(before) => quote = Some(c),
                None if c == '#' && before == ' ' => {
                    let (value, text) = line.split_at(at);
                    found.push(Comment {
                        line: number,
                        text: text.trim_end().into(),
                        behind: !value.trim().is_empty(),
                    });
                    break;
                }
                None => {}
            }
            before = c;
        }
        let value = line.split(" #").next().unwrap_or_default().trim_end();
        if quote.is_none()
            && (value.ends_with(": |") || value.ends_with(": >") || value.ends_with(": >-") || value.ends_with(": |-"))
        {
            block = Some(indent);
        }
    }
    found
}

/// A text as YAML within braces or brackets, where a comma would end it.
fn inline(text: &str) -> String {
    if text.contains(',') { quoted(text) } else { scalar(text) }
}

/// A text as YAML: plain where no reader could take it for anything else.
pub(crate) fn scalar(text: &str) -> String {
    let reserved = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let plain = text.chars().next().is_some_and(char::is_alphabetic)
        && text.chars().all(|c| c.is_alphanumeric() || " ,-_./;!?()+=@，。；！？、（）：“”…".contains(c))
        && !text.ends_with(' ')
        && !reserved.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.into() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn key(key: Key) -> String {
    if key.as_char().is_ascii_digit() { key.to_string() } else { format!("\"{key}\"") }
}

/// One name as it is, several as a list.
fn names<'n>(names: impl IntoIterator<Item = &'n Name>) -> String {
    let names: Vec<&str> = names.into_iter().map(Name::as_str).collect();
    match names.as_slice() {
        [one] => (*one).into(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn refs(refs: &[Ref]) -> String {
    names(refs.iter().map(|r| &r.name))
}

fn page(flow: &Flow) -> Page {
    let mut page = Page::default();
    page.put(0, flow.at, format!("flow: {}", flow.name));
    if let Some(note) = &flow.note {
        page.put(0, Pos::default(), format!("note: {}", scalar(note)));
    }
    let languages: Vec<&str> = flow.languages.iter().map(|l| l.as_str()).collect();
    page.put(0, Pos::default(), format!("languages: [{}]", languages.join(", ")));
    if !flow.voices.is_empty() {
        page.put(0, Pos::default(), "voices:");
        for (lang, voice) in &flow.voices {
            page.put(1, Pos::default(), format!("{lang}: {}", scalar(voice)));
        }
    }
    if let Some(fallback) = &flow.fallback {
        page.put(0, Pos::default(), "fallback:");
        if let Some(first) = fallback.say.first() {
            page.put(1, first.at, format!("say: {}", refs(&fallback.say)));
        }
        if let Some(music) = &fallback.music {
            page.put(1, music.at, format!("music: {}", music.name));
        }
        page.put(1, Pos::default(), format!("give_up: {}", fallback.give_up));
    }
    page.put(0, flow.start.at, format!("start: {}", flow.start.name));
    let order = reading_order(flow);
    prompts(flow, &order, &mut page);
    page.blank();
    page.put(0, Pos::default(), "steps:");
    for (i, (name, step)) in order.iter().filter_map(|name| flow.steps.get_key_value(*name)).enumerate() {
        if i > 0 {
            page.blank();
        }
        page.put(1, step.at, format!("{name}:"));
        if let Some(note) = &step.note {
            page.put(2, Pos::default(), format!("note: {}", scalar(note)));
        }
        steps::step_lines(&step.kind, &mut page);
    }
    page
}

fn prompts(flow: &Flow, order: &[&Name], page: &mut Page) {
    if flow.prompts.is_empty() {
        return;
    }
    let mut seen = BTreeSet::new();
    let fallback = flow.fallback.iter().flat_map(|f| &f.say);
    let said = order.iter().filter_map(|name| flow.steps.get(*name)).flat_map(|s| says(&s.kind));
    let first_said: Vec<&Name> = fallback.chain(said).map(|r| &r.name).chain(flow.prompts.keys()).collect();
    page.blank();
    page.put(0, Pos::default(), "prompts:");
    for name in first_said {
        let Some(prompt) = flow.prompts.get(name).filter(|_| seen.insert(name)) else {
            continue;
        };
        let empty = if prompt.by_lang.is_empty() { " {}" } else { "" };
        page.put(1, prompt.at, format!("{name}:{empty}"));
        let all: Vec<(&Lang, &Utterance)> = prompt.by_lang.iter().collect();
        if let Some((_, Utterance::Audio(audio))) = all.first()
            && all.len() == flow.languages.len()
            && all.iter().all(|(_, u)| matches!(u, Utterance::Audio(a) if a.name == audio.name))
        {
            page.put(2, audio.at, format!("audio: {}", audio.name));
            continue;
        }
        for (lang, utterance) in all {
            match utterance {
                Utterance::Text { text, spoken: None } => {
                    page.put(2, Pos::default(), format!("{lang}: {}", scalar(text)));
                }
                Utterance::Text { text, spoken: Some(spoken) } => {
                    page.put(2, Pos::default(), format!("{lang}: {{text: {}, spoken: {spoken}}}", inline(text)));
                }
                Utterance::Audio(audio) => page.put(2, audio.at, format!("{lang}: {{audio: {}}}", audio.name)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_quoted_where_needed() {
        for plain in ["Hello", "您好，欢迎。", "a-b, c"] {
            assert_eq!(scalar(plain), plain);
        }
        for (text, quoted) in
            [("no", "\"no\""), ("+86", "\"+86\""), ("a: b", "\"a: b\""), ("说 \"x\"", "\"说 \\\"x\\\"\""), ("", "\"\"")]
        {
            assert_eq!(scalar(text), quoted);
        }
        assert_eq!(inline("a, b"), "\"a, b\"");
    }
}
