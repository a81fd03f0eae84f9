//! What changed between two flows, in meaning: order, comments and layout do not count.

use hotline_base::Name;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::format::step_text;
use crate::graph::{condition_label, reading_order};
use crate::*;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What was done.
    pub kind: ChangeKind,
    /// To what: `flow`, `step main-menu`, `prompt greeting`.
    pub subject: String,
    /// To which part of it; `None`: to the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What was done to a part of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another name and does the same.
    Renamed,
    /// It is different.
    Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            ChangeKind::Renamed => '>',
            ChangeKind::Changed => '~',
        };
        write!(f, "{sign} {}", self.subject)?;
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, ": {before} → {after}"),
            (None, Some(after)) => write!(f, ": {after}"),
            (Some(before), None) => write!(f, ": {before} → nothing"),
            (None, None) => Ok(()),
        }
    }
}

type Fields = BTreeMap<String, String>;

/// The changes that lead from `old` to `new`: of the flow, then its prompts, then its steps.
pub fn diff(old: &Flow, new: &Flow) -> Vec<Change> {
    let mut changes = Vec::new();
    compare("flow".into(), &flow_fields(old), &flow_fields(new), &mut changes);
    prompts(old, new, &mut changes);
    steps(old, new, &mut changes);
    changes
}

fn whole(kind: ChangeKind, subject: String, before: Option<String>, after: Option<String>) -> Change {
    Change { kind, subject, field: None, before, after }
}

fn compare(subject: String, old: &Fields, new: &Fields, changes: &mut Vec<Change>) {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (before, after) = (old.get(key), new.get(key));
        if before != after {
            changes.push(Change {
                kind: ChangeKind::Changed,
                subject: subject.clone(),
                field: Some(key.clone()),
                before: before.cloned(),
                after: after.cloned(),
            });
        }
    }
}

fn names(refs: &[Ref]) -> String {
    refs.iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn flow_fields(flow: &Flow) -> Fields {
    let languages: Vec<&str> = flow.languages.iter().map(|l| l.as_str()).collect();
    let mut fields = Fields::from([
        ("name".to_owned(), flow.name.to_string()),
        ("languages".into(), languages.join(", ")),
        ("start".into(), flow.start.name.to_string()),
    ]);
    fields.extend(flow.note.iter().map(|note| ("note".to_owned(), note.clone())));
    fields.extend(flow.voices.iter().map(|(lang, voice)| (format!("voice {lang}"), voice.clone())));
    if let Some(fallback) = &flow.fallback {
        fields.insert("fallback says".into(), names(&fallback.say));
        fields.insert("fallback gives up".into(), fallback.give_up.to_string());
        fields.extend(fallback.music.iter().map(|m| ("fallback music".to_owned(), m.name.to_string())));
    }
    fields
}

fn prompt_fields(prompt: &Prompt) -> Fields {
    let said = |utterance: &Utterance| match utterance {
        Utterance::Text { text, spoken: None } => format!("“{text}”"),
        Utterance::Text { text, spoken: Some(lang) } => format!("“{text}” spoken in {lang}"),
        Utterance::Audio(name) => format!("recording {}", name.name),
    };
    prompt.by_lang.iter().map(|(lang, utterance)| (lang.to_string(), said(utterance))).collect()
}

fn prompts(old: &Flow, new: &Flow, changes: &mut Vec<Change>) {
    for (name, prompt) in &old.prompts {
        let subject = format!("prompt {name}");
        match new.prompts.get(name) {
            Some(now) => compare(subject, &prompt_fields(prompt), &prompt_fields(now), changes),
            None => changes.push(whole(ChangeKind::Removed, subject, None, None)),
        }
    }
    for (name, prompt) in new.prompts.iter().filter(|(name, _)| !old.prompts.contains_key(*name)) {
        let said: Vec<String> =
            prompt_fields(prompt).into_iter().map(|(lang, said)| format!("{lang} {said}")).collect();
        changes.push(whole(ChangeKind::Added, format!("prompt {name}"), None, Some(said.join(", "))));
    }
}

fn steps(old: &Flow, new: &Flow, changes: &mut Vec<Change>) {
    let none = BTreeMap::new();
    let added: Vec<&Name> = reading_order(new).into_iter().filter(|n| !old.steps.contains_key(*n)).collect();
    let removed: Vec<&Name> = reading_order(old).into_iter().filter(|n| !new.steps.contains_key(*n)).collect();
    // A step that is gone and one that is new and does just the same are one, renamed.
    let mut renamed: BTreeMap<Name, Name> = BTreeMap::new();
    for was in &removed {
        let twin = added.iter().find(|is| {
            let (a, b) = (old.steps.get(*was), new.steps.get(**is));
            !renamed.values().any(|taken| taken == **is)
                && a.zip(b).is_some_and(|(a, b)| {
                    // Those who go round to themselves go round under the new name.
                    let own = BTreeMap::from([((*was).clone(), (**is).clone())]);
                    step_fields(a, &own) == step_fields(b, &none)
                })
        });
        if let Some(is) = twin {
            renamed.insert((*was).clone(), (*is).clone());
        }
    }
    for was in removed {
        let subject = format!("step {was}");
        match renamed.get(was) {
            Some(is) => changes.push(whole(ChangeKind::Renamed, subject, None, Some(is.to_string()))),
            None => {
                let kind = old.steps.get(was).map(|s| s.kind.word().to_owned());
                changes.push(whole(ChangeKind::Removed, subject, None, kind));
            }
        }
    }
    for name in reading_order(new) {
        let Some(is) = new.steps.get(name) else {
            continue;
        };
        let subject = format!("step {name}");
        match old.steps.get(name) {
            Some(was) if was.kind.word() != is.kind.word() => changes.push(Change {
                kind: ChangeKind::Changed,
                subject,
                field: Some("kind".into()),
                before: Some(was.kind.word().into()),
                after: Some(is.kind.word().into()),
            }),
            Some(was) => compare(subject, &step_fields(was, &renamed), &step_fields(is, &none), changes),
            None if renamed.values().any(|n| n == name) => {}
            None => changes.push(whole(ChangeKind::Added, subject, None, Some(is.kind.word().into()))),
        }
    }
}

/// Everything that a step says and does, with the names of other steps as they are `renamed`.
fn step_fields(step: &Step, renamed: &BTreeMap<Name, Name>) -> Fields {
    let target = |go: &Ref| renamed.get(&go.name).unwrap_or(&go.name).to_string();
    let mut fields = Fields::new();
    fields.extend(step.note.iter().map(|note| ("note".to_owned(), note.clone())));
    let miss = |field: &str, miss: &Miss, fields: &mut Fields| {
        if !miss.say.is_empty() {
            fields.insert(format!("{field} says"), names(&miss.say));
        }
        fields.insert(format!("{field} goes to"), target(&miss.go));
    };
    match &step.kind {
        StepKind::Menu(menu) => {
            fields.insert("asks".into(), names(&menu.say));
            for (key, option) in &menu.options {
                fields.insert(format!("option {key} goes to"), target(&option.go));
                fields.extend(option.label.iter().map(|l| (format!("option {key} label"), l.clone())));
                fields.extend(option.category.iter().map(|c| (format!("option {key} category"), c.to_string())));
                fields.extend(option.language.iter().map(|l| (format!("option {key} language"), l.to_string())));
            }
            fields.insert("timeout".into(), menu.timeout.to_string());
            fields.insert("retries".into(), menu.retries.to_string());
            miss("no_input", &menu.no_input, &mut fields);
            miss("no_match", &menu.no_match, &mut fields);
        }
        StepKind::Branch(branch) => {
            let mut order: Vec<String> = Vec::new();
            for case in &branch.cases {
                let when = condition_label(&case.when);
                // The first of equal cases is the one that counts.
                fields.entry(format!("{when} goes to")).or_insert_with(|| target(&case.go));
                order.push(when);
            }
            if order.len() > 1 {
                fields.insert("order".into(), order.join(", "));
            }
            fields.insert("else goes to".into(), target(&branch.otherwise));
        }
        kind => {
            if let StepKind::Gather(gather) = kind {
                miss("no_input", &gather.no_input, &mut fields);
                miss("no_match", &gather.no_match, &mut fields);
            }
            lines(kind, renamed, &mut fields);
        }
    }
    fields
}

/// The fields of a step as its canonical lines have them.
fn lines(kind: &StepKind, renamed: &BTreeMap<Name, Name>, fields: &mut Fields) {
    const GOES: [&str; 8] =
        ["then", "on_max_wait", "not_staffed", "self_service", "no_answer", "no_message", "refused", "on_error"];
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (indent, text) in step_text(kind) {
        above.retain(|(outer, _)| *outer < indent);
        let parent = above.last().map(|(_, key)| key.clone()).unwrap_or_default();
        let (key, value) = match text.strip_prefix("- ") {
            Some(item) => {
                let count = counts.entry(parent.clone()).or_default();
                *count += 1;
                (count.to_string(), item.to_owned())
            }
            None => text.split_once(':').map_or((text.clone(), String::new()), |(k, v)| (k.into(), v.trim().into())),
        };
        let path = if parent.is_empty() { key } else { format!("{parent} {key}") };
        if fields.keys().any(|known| known.starts_with("no_input") || known.starts_with("no_match"))
            && matches!(path.as_str(), "no_input" | "no_match")
        {
            continue;
        }
        if value.is_empty() && text.ends_with(':') {
            above.push((indent, path));
            continue;
        }
        let is_step = GOES.contains(&path.as_str()) || path.starts_with("leave ");
        match value.parse::<Name>().ok().filter(|_| is_step) {
            Some(name) => fields.insert(format!("{path} goes to"), renamed.get(&name).unwrap_or(&name).to_string()),
            None => fields.insert(path, value),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: &str = include_str!("../examples/demo.flow.yaml");

    fn changes(edits: &[(&str, &str)]) -> Vec<String> {
        let mut text = DEMO.to_owned();
        for (from, to) in edits {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let new = parse(&text).unwrap_or_else(|found| panic!("{found:#?}"));
        diff(&parse(DEMO).unwrap(), &new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn layout_and_order_do_not_count() {
        assert_eq!(
            changes(&[
                ("# The talk", "# A talk"),
                ("{every: 30s, say: [position, wait]}", "{say: [position, wait], every: 30s}")
            ]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn every_change_is_named_with_its_field() {
        let found = changes(&[
            ("您好，欢迎致电演示热线。", "您好！"),
            (
                "max_wait: 10m\n    on_max_wait: busy\n    not_staffed: busy\n    leave:\n      9: call-back\n    then: survey\n\n  billing",
                "max_wait: 5m\n    on_max_wait: busy\n    then: goodbye\n\n  billing",
            ),
            ("category: billing, go: billing", "category: money, go: general"),
            (
                "      - open: office\n        go: notice\n",
                "      - caller_in: vip\n        go: general\n      - open: office\n        go: notice\n",
            ),
            ("start: welcome", "start: language"),
            ("    survey: survey-question\n    then: goodbye", "    hangup: survey-question"),
        ]);
        assert_eq!(
            found,
            [
                "~ flow: start: welcome → language",
                "~ prompt greeting: zh: “您好，欢迎致电演示热线。” → “您好！”",
                "~ step hours: caller in vip goes to: general",
                "~ step hours: order: caller in vip, office open",
                "~ step main-menu: option 2 category: billing → money",
                "~ step main-menu: option 2 goes to: billing → general",
                "~ step technical: leave 9 goes to: call-back → nothing",
                "~ step technical: max_wait: 10m → 5m",
                "~ step technical: not_staffed goes to: busy → nothing",
                "~ step technical: then goes to: survey → goodbye",
                "~ step survey: kind: survey → hangup",
            ]
        );
    }

    #[test]
    fn a_renamed_step_is_one_change() {
        assert_eq!(
            changes(&[("  message-menu:\n", "  closed-menu:\n"), ("then: message-menu", "then: closed-menu")]),
            ["> step message-menu: closed-menu"]
        );
    }

    #[test]
    fn additions_and_removals() {
        let found = changes(&[
            (
                "  cannot-call:\n    zh: 抱歉，我们无法回拨您的号码。\n    en: Sorry, we cannot call your number.\n",
                "  hello: {zh: 喂, en: Hello}\n",
            ),
            (
                "  cannot-call:\n    play: cannot-call\n    then: message\n",
                "  hello:\n    play: hello\n    must_hear: true\n    then: goodbye\n",
            ),
            ("refused: cannot-call", "refused: hello"),
        ]);
        assert_eq!(
            found,
            [
                "- prompt cannot-call",
                "+ prompt hello: en “Hello”, zh “喂”",
                "- step cannot-call: play",
                "~ step call-back: refused goes to: cannot-call → hello",
                "+ step hello: play",
            ]
        );
    }
}
