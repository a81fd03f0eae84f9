//! From text to model. Everything that is wrong is collected, with line and column.

mod branch;
pub(crate) mod fields;
mod steps;
mod waits;

use hotline_base::{Lang, Name, limits};
use std::collections::BTreeMap;

use crate::yaml::{self, Node};
use crate::{Diagnostic, FallbackRule, Flow, Millis, Pos, Prompt, Ref, Utterance};
use fields::{Fields, Findings, lang, millis, name, reference, short, text};

/// Steps of one flow.
pub const MAX_STEPS: usize = 500;
/// Prompts of one flow.
pub const MAX_PROMPTS: usize = 500;

/// Reads the text of a flow; on failure every error found, in order of place, at most 100.
///
/// References are not followed: [`crate::check`] does that.
pub fn parse(source: &str) -> Result<Flow, Vec<Diagnostic>> {
    let mut found = Findings::default();
    if source.len() > limits::FLOW_BYTES {
        found.error(
            Pos::default(),
            "too-large",
            format!("the flow has {} bytes; at most {} are allowed", source.len(), limits::FLOW_BYTES),
            "split it into subflows",
        );
        return Err(found.0);
    }
    // A byte order mark is what some editors leave; it is no error of the author.
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let root = yaml::read(source, &mut found.0)?;
    let Some(root) = root else {
        found.error(Pos { line: 1, column: 1 }, "empty", "the flow is empty", "start with 'flow: name'");
        return Err(found.0);
    };
    let flow = flow(&root, &mut found);
    let mut found = found.0;
    found.sort_by_key(|d| (d.line, d.column));
    match flow {
        Some(flow) if found.is_empty() => Ok(flow),
        _ => Err(found),
    }
}

fn flow(root: &Node, found: &mut Findings) -> Option<Flow> {
    let mut fields = Fields::of(root, "flow", found)?;
    let own_name = fields.need_reference("flow", "start with 'flow: name'", found);
    let note = fields.text("note", found);
    let languages = match fields.need("languages", "write 'languages: [zh, en]'", found) {
        Some(node) => languages(node, found),
        None => Vec::new(),
    };
    let voices = fields.take("voices").map(|node| voices(node, found)).unwrap_or_default();
    let fallback = fields.take("fallback").and_then(|node| fallback(node, found));
    let start = fields.need_reference("start", "name the first step: 'start: welcome'", found);
    let prompts = fields.take("prompts").map(|node| prompts(node, &languages, found)).unwrap_or_default();
    let steps =
        fields.need("steps", "add 'steps:' with at least one step", found).map(|node| steps::steps(node, found));
    fields.finish(found);
    let own_name = own_name?;
    let (name, at) = (own_name.name, own_name.at);
    Some(Flow { name, at, note, languages, voices, fallback, start: start?, prompts, steps: steps? })
}

fn languages(node: &Node, found: &mut Findings) -> Vec<Lang> {
    let items = match node {
        Node::List { items, .. } => items.iter().collect(),
        node => vec![node],
    };
    let mut languages = Vec::new();
    for item in items {
        let Some(text) = text(item, "languages", found) else {
            continue;
        };
        let Some(lang) = lang(&text, item.at(), "languages", found) else {
            continue;
        };
        if languages.contains(&lang) {
            found.error(item.at(), "duplicate-key", format!("languages: {lang} is named twice"), "remove one");
        } else {
            languages.push(lang);
        }
    }
    if languages.is_empty() && found.0.is_empty() {
        found.error(node.at(), "bad-value", "languages: none is named", "write 'languages: [zh, en]' or one of them");
    }
    languages
}

fn voices(node: &Node, found: &mut Findings) -> BTreeMap<Lang, String> {
    let mut voices = BTreeMap::new();
    if let Some(mut fields) = Fields::of(node, "voices", found) {
        for lang in Lang::ALL {
            if let Some(voice) = fields.text(lang.as_str(), found) {
                voices.insert(lang, voice);
            }
        }
        fields.finish(found);
    }
    voices
}

fn fallback(node: &Node, found: &mut Findings) -> Option<FallbackRule> {
    let mut fields = Fields::of(node, "fallback", found)?;
    let rule = FallbackRule {
        say: fields.references("say", found),
        music: fields.reference("music", found),
        give_up: fields.millis("give_up", Millis(120_000), 10_000..=3_600_000, found),
    };
    fields.finish(found);
    Some(rule)
}

fn prompts(node: &Node, languages: &[Lang], found: &mut Findings) -> BTreeMap<Name, Prompt> {
    let mut prompts = BTreeMap::new();
    if node.is_null() {
        return prompts;
    }
    let Node::Map { entries, .. } = node else {
        found.error(
            node.at(),
            "wrong-type",
            format!("prompts: expected a mapping, got {}", node.noun()),
            "write 'prompt-name:' and under it a text for each language",
        );
        return prompts;
    };
    if entries.len() > MAX_PROMPTS {
        found.error(node.at(), "too-large", format!("more than {MAX_PROMPTS} prompts"), "split the flow into subflows");
        return prompts;
    }
    for entry in entries {
        let what = format!("prompt {}", short(&entry.key));
        let Some(prompt_name) = name(&entry.key, entry.key_at, &what, found) else {
            continue;
        };
        let by_lang = prompt(&entry.value, &what, languages, found);
        prompts.insert(prompt_name, Prompt { at: entry.key_at, by_lang });
    }
    prompts
}

fn prompt(node: &Node, what: &str, languages: &[Lang], found: &mut Findings) -> BTreeMap<Lang, Utterance> {
    let mut by_lang = BTreeMap::new();
    let Some(mut fields) = Fields::of(node, what, found) else {
        return by_lang;
    };
    if let Some(audio) = fields.take("audio") {
        let audio = reference(audio, &format!("{what}: audio"), found);
        if fields.keys().count() > 1 {
            found.error(
                fields.at(),
                "bad-value",
                format!("{what}: 'audio' stands for every language, beside it nothing else can be written"),
                "write 'zh: {audio: name}' to give one language a recording",
            );
        }
        return audio
            .map(|r| languages.iter().map(|l| (*l, Utterance::Audio(r.clone()))).collect())
            .unwrap_or_default();
    }
    for lang in Lang::ALL {
        let Some(node) = fields.take(lang.as_str()) else {
            continue;
        };
        if let Some(utterance) = utterance(node, &format!("{what}: {lang}"), found) {
            by_lang.insert(lang, utterance);
        }
    }
    fields.finish(found);
    by_lang
}

fn utterance(node: &Node, what: &str, found: &mut Findings) -> Option<Utterance> {
    if matches!(node, Node::Map { .. }) {
        let mut fields = Fields::of(node, what, found)?;
        let Some(node) = fields.take("text") else {
            let audio = fields.need_reference("audio", "write a text, {audio: name} or {text: …, spoken: en}", found);
            fields.finish(found);
            return audio.map(Utterance::Audio);
        };
        let said = spoken_text(node, what, found);
        let spoken = fields.text("spoken", found).and_then(|word| lang(&word, node.at(), what, found));
        fields.finish(found);
        return said.map(|text| Utterance::Text { text, spoken });
    }
    spoken_text(node, what, found).map(|text| Utterance::Text { text, spoken: None })
}

fn spoken_text(node: &Node, what: &str, found: &mut Findings) -> Option<String> {
    let text = text(node, what, found)?;
    match crate::pieces(&text) {
        Ok(pieces) if pieces.is_empty() => {
            found.error(node.at(), "bad-value", format!("{what}: there is nothing to say"), "write a text");
            None
        }
        Ok(_) => Some(text),
        Err(why) => {
            found.error(
                node.at(),
                "bad-variable",
                format!("{what}: {why}"),
                "write {position}, {ahead}, {wait_minutes} or the name of a variable between braces",
            );
            None
        }
    }
}

/// `forever`, or a length of time that needs a step to go to.
fn max_wait(fields: &mut Fields<'_>, found: &mut Findings) -> Option<crate::MaxWait> {
    let remedy = "write 'max_wait: 10m' with 'on_max_wait: step', or 'max_wait: forever'";
    let node = fields.need("max_wait", remedy, found);
    let go: Option<Ref> = fields.reference("on_max_wait", found);
    let node = node?;
    let what = format!("{}: max_wait", fields.what());
    if text(node, &what, found).as_deref() == Some("forever") {
        if let Some(go) = go {
            found.error(
                go.at,
                "bad-value",
                format!("{}: 'on_max_wait' is never reached where callers wait for ever", fields.what()),
                "remove it, or give 'max_wait' a time",
            );
        }
        return Some(crate::MaxWait::Forever);
    }
    let after = millis(node, &what, 1_000..=86_400_000, found)?;
    match go {
        Some(go) => Some(crate::MaxWait::Limit { after, go }),
        None => {
            found.error(
                fields.at(),
                "missing-field",
                format!("{}: 'on_max_wait' is missing", fields.what()),
                "name the step for callers who waited so long",
            );
            None
        }
    }
}
