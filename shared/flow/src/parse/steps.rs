//! The steps of a flow.

use hotline_base::Name;
use std::collections::{BTreeMap, BTreeSet};

use super::MAX_STEPS;
use super::branch::branch;
use super::fields::{self, Fields, Findings, key, lang, name, reference, short, text};
use super::waits::{callback_to, hook, queue, ring, transfer_target};
use crate::run::MAX_KEYS;
use crate::units::{is_key, is_pause};
use crate::yaml::Node;
use crate::*;

const KINDS: [&str; 17] = [
    "play",
    "menu",
    "gather",
    "branch",
    "set",
    "queue",
    "ring",
    "voicemail",
    "callback",
    "survey",
    "transfer",
    "send_keys",
    "hangup",
    "reject",
    "subflow",
    "return",
    "hook",
];
const THEN: &str = "name the step after it: 'then: step'";

pub(super) fn steps(node: &Node, found: &mut Findings) -> BTreeMap<Name, Step> {
    let mut steps = BTreeMap::new();
    let Node::Map { entries, .. } = node else {
        found.error(
            node.at(),
            "wrong-type",
            format!("steps: expected a mapping, got {}", node.noun()),
            "write 'step-name:' and under it what it does",
        );
        return steps;
    };
    if entries.len() > MAX_STEPS {
        found.error(node.at(), "too-large", format!("more than {MAX_STEPS} steps"), "split the flow into subflows");
        return steps;
    }
    for entry in entries {
        let what = format!("step {}", short(&entry.key));
        let step_name = name(&entry.key, entry.key_at, &what, found);
        let step = step(&entry.value, what, entry.key_at, found);
        if let (Some(step_name), Some(step)) = (step_name, step) {
            steps.insert(step_name, step);
        }
    }
    steps
}

fn step(node: &Node, what: String, at: Pos, found: &mut Findings) -> Option<Step> {
    let mut fields = Fields::of(node, what, found)?;
    let kinds: Vec<&'static str> = KINDS.into_iter().filter(|kind| fields.keys().any(|k| k == *kind)).collect();
    // `queue` is also a field of a voicemail: whose people get the message.
    let kinds = match kinds.as_slice() {
        ["queue", "voicemail"] => vec!["voicemail"],
        _ => kinds,
    };
    let [kind] = kinds.as_slice() else {
        let message = match kinds.as_slice() {
            [] => format!("{}: does not say what it does", fields.what()),
            many => format!("{}: does {} things at once: {}", fields.what(), many.len(), many.join(", ")),
        };
        let remedy = match kinds.len() {
            0 => match fields.keys().find_map(|k| fields::nearest(k, KINDS.into_iter())) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("add one of: {}", KINDS.join(", ")),
            },
            _ => "make a step of each and join them with 'then'".into(),
        };
        found.error(at, "step-kind", message, remedy);
        return None;
    };
    let note = fields.text("note", found);
    let kind = step_kind(kind, &mut fields, found);
    fields.finish(found);
    Some(Step { at, note, kind: kind? })
}

fn step_kind(kind: &'static str, fields: &mut Fields<'_>, found: &mut Findings) -> Option<StepKind> {
    Some(match kind {
        "play" => {
            let say = question("play", fields, found);
            let must_hear = fields.flag("must_hear", false, found);
            StepKind::Play(Play { say, must_hear, then: then(fields, found)? })
        }
        "menu" => StepKind::Menu(menu(fields, found)?),
        "gather" => StepKind::Gather(gather(fields, found)?),
        "branch" => StepKind::Branch(branch(fields, found)?),
        "set" => StepKind::Set(set(fields, found)?),
        "queue" => StepKind::Queue(queue(fields, found)?),
        "ring" => StepKind::Ring(ring(fields, found)?),
        "voicemail" => {
            let say = fields.references("voicemail", found);
            let max = fields.millis("max", Millis(120_000), 1_000..=600_000, found);
            let silence = fields.millis("silence", Millis(5_000), 0..=60_000, found);
            let beep = fields.flag("beep", true, found);
            let queue = fields.reference("queue", found);
            let no_message = fields.reference("no_message", found);
            StepKind::Voicemail(Voicemail { say, max, silence, beep, queue, no_message, then: then(fields, found)? })
        }
        "callback" => {
            let queue = fields.reference("callback", found);
            let to = callback_to(fields, found);
            let refused = fields.need_reference("refused", "name the step for numbers that cannot be called", found);
            let then = then(fields, found);
            StepKind::Callback(CallbackStep { queue: queue?, to: to?, refused: refused?, then: then? })
        }
        "survey" => {
            let say = question("survey", fields, found);
            let timeout = fields.millis("timeout", Millis(5_000), 500..=60_000, found);
            let retries = fields.number("retries", 1, 0..=9, found);
            StepKind::Survey(Survey { say, timeout, retries, then: then(fields, found)? })
        }
        "transfer" => {
            let target = fields.take("transfer").and_then(|node| transfer_target(node, fields.what(), found));
            let timeout = fields.millis("timeout", Millis(30_000), 1_000..=300_000, found);
            let keys = sent_keys("keys", fields, found);
            let no_answer = fields.need_reference("no_answer", "name the step for an unanswered transfer", found);
            let then = then(fields, found);
            StepKind::Transfer(Transfer { target: target?, timeout, keys, no_answer: no_answer?, then: then? })
        }
        "send_keys" => {
            let keys = sent_keys("send_keys", fields, found);
            let secret = fields.flag("secret", false, found);
            let then = then(fields, found);
            StepKind::SendKeys(SendKeys { keys: keys?, secret, then: then? })
        }
        "hangup" => StepKind::Hangup(Hangup { say: fields.references("hangup", found) }),
        "reject" => {
            let node = fields.take("reject")?;
            match text(node, "reject", found).as_deref() {
                Some("busy") => StepKind::Reject(RejectReason::Busy),
                Some("declined") => StepKind::Reject(RejectReason::Declined),
                other => {
                    if let Some(other) = other {
                        found.error(
                            node.at(),
                            "bad-value",
                            format!("{}: reject: {:?} is no reason", fields.what(), short(other)),
                            "write busy or declined",
                        );
                    }
                    return None;
                }
            }
        }
        "subflow" => {
            let flow = fields.reference("subflow", found);
            let then = then(fields, found);
            StepKind::Subflow(Subflow { flow: flow?, then: then? })
        }
        "return" => {
            let node = fields.take("return")?;
            if !node.is_null() {
                found.error(
                    node.at(),
                    "bad-value",
                    format!("{}: 'return' takes no value", fields.what()),
                    "write 'return:' and nothing after it",
                );
            }
            StepKind::Return
        }
        _ => StepKind::Hook(hook(fields, found)?),
    })
}

pub(super) fn then(fields: &mut Fields<'_>, found: &mut Findings) -> Option<Ref> {
    fields.need_reference("then", THEN, found)
}

/// The prompts of a step that asks; there must be some.
pub(super) fn question(kind: &'static str, fields: &mut Fields<'_>, found: &mut Findings) -> Vec<Ref> {
    let before = found.0.len();
    let say = fields.references(kind, found);
    if say.is_empty() && found.0.len() == before {
        found.error(
            fields.at(),
            "missing-field",
            format!("{}: asks nothing", fields.what()),
            format!("name its prompt: '{kind}: prompt'"),
        );
    }
    say
}

fn miss(field: &'static str, fields: &mut Fields<'_>, found: &mut Findings) -> Option<Miss> {
    let remedy = format!("name the step for it: '{field}: step', or '{field}: {{say: prompt, go: step}}'");
    let node = fields.need(field, &remedy, found)?;
    let what = format!("{}: {field}", fields.what());
    if matches!(node, Node::Map { .. }) {
        let mut inner = Fields::of(node, what, found)?;
        let say = inner.references("say", found);
        let go = inner.need_reference("go", "name the step: 'go: step'", found);
        inner.finish(found);
        return Some(Miss { say, go: go? });
    }
    reference(node, &what, found).map(|go| Miss { say: Vec::new(), go })
}

fn menu(fields: &mut Fields<'_>, found: &mut Findings) -> Option<Menu> {
    let say = question("menu", fields, found);
    let options = fields.need("options", "add 'options:' with a step for each key", found);
    let timeout = fields.millis("timeout", Millis(5_000), 500..=60_000, found);
    let retries = fields.number("retries", 2, 0..=9, found);
    let no_input = miss("no_input", fields, found);
    let no_match = miss("no_match", fields, found);
    let what = format!("{}: options", fields.what());
    let mut keys = BTreeMap::new();
    match options? {
        Node::Map { entries, .. } => {
            for entry in entries {
                let what = format!("{what}: {}", short(&entry.key));
                let pressed = key(&entry.key, entry.key_at, &what, found);
                if let (Some(pressed), Some(option)) = (pressed, option(&entry.value, what, found)) {
                    keys.insert(pressed, option);
                }
            }
        }
        other => found.error(
            other.at(),
            "wrong-type",
            format!("{what}: expected a mapping, got {}", other.noun()),
            "write '1: step' or '1: {label: …, go: step}'",
        ),
    }
    Some(Menu { say, options: keys, timeout, retries, no_input: no_input?, no_match: no_match? })
}

fn option(node: &Node, what: String, found: &mut Findings) -> Option<MenuOption> {
    if !matches!(node, Node::Map { .. }) {
        let go = reference(node, &what, found)?;
        return Some(MenuOption { label: None, category: None, language: None, go });
    }
    let mut fields = Fields::of(node, what, found)?;
    let label = fields.text("label", found);
    let category = fields.name("category", found);
    let language = language("language", &mut fields, found);
    let go = fields.need_reference("go", "name the step: 'go: step'", found);
    fields.finish(found);
    Some(MenuOption { label, category, language, go: go? })
}

pub(super) fn language(
    field: &'static str,
    fields: &mut Fields<'_>,
    found: &mut Findings,
) -> Option<hotline_base::Lang> {
    let node = fields.take(field)?;
    let what = format!("{}: {field}", fields.what());
    let text = text(node, &what, found)?;
    lang(&text, node.at(), &what, found)
}

fn gather(fields: &mut Fields<'_>, found: &mut Findings) -> Option<Gather> {
    let say = question("gather", fields, found);
    let into = fields.need_reference("into", "name the variable: 'into: order-number'", found).map(|r| r.name);
    let (min_digits, max_digits) = match fields.take("digits") {
        Some(node) => digits(node, fields.what(), found),
        None => (1, 20),
    };
    let finish = match fields.take("finish") {
        Some(node) => match text(node, "finish", found).as_deref() {
            Some("none") => None,
            Some(word) => key(word, node.at(), &format!("{}: finish", fields.what()), found),
            None => None,
        },
        None => Key::new('#'),
    };
    let timeout = fields.millis("timeout", Millis(5_000), 500..=60_000, found);
    let between = fields.millis("between", Millis(3_000), 500..=60_000, found);
    let secret = fields.flag("secret", false, found);
    let retries = fields.number("retries", 2, 0..=9, found);
    let no_input = miss("no_input", fields, found);
    let no_match = miss("no_match", fields, found);
    let then = then(fields, found);
    Some(Gather {
        say,
        into: into?,
        min_digits,
        max_digits,
        finish,
        timeout,
        between,
        secret,
        retries,
        no_input: no_input?,
        no_match: no_match?,
        then: then?,
    })
}

/// `6` or `4-8`.
fn digits(node: &Node, what: &str, found: &mut Findings) -> (u8, u8) {
    let Some(text) = text(node, what, found) else {
        return (1, 20);
    };
    let (low, high) = text.split_once('-').unwrap_or((&text, &text));
    match (low.trim().parse::<u8>(), high.trim().parse::<u8>()) {
        (Ok(low), Ok(high)) if 1 <= low && low <= high && high <= 30 => (low, high),
        _ => {
            found.error(
                node.at(),
                "bad-value",
                format!("{what}: digits: {:?} is not a count", short(&text)),
                "write '6' or '4-8', from 1 to 30",
            );
            (1, 20)
        }
    }
}

/// `ww123#`, with variables in braces.
fn sent_keys(field: &'static str, fields: &mut Fields<'_>, found: &mut Findings) -> Option<Keys> {
    const REMEDY: &str =
        "write keys of 0-9, *, # and A-D, the pauses ',' (0.5 s) and 'w' (1 s), and variables as {pin}: \"ww{pin}#\"";
    let node = fields.take(field)?;
    let what = format!("{}: {field}", fields.what());
    let text = text(node, &what, found)?;
    let mut wrong = |said: String| {
        found.error(node.at(), "bad-value", format!("{what}: {said}"), REMEDY);
        None
    };
    let (mut variables, mut count) = (Vec::new(), 0);
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        if let Some(inner) = rest.strip_prefix('{') {
            let Some((name, after)) = inner.split_once('}') else {
                return wrong("a '{' needs its '}'".into());
            };
            match name.trim().parse() {
                Ok(name) => variables.push(Ref { name, at: node.at() }),
                Err(error) => return wrong(format!("between braces: {error}")),
            }
            rest = after;
        } else if is_key(first) || is_pause(first) {
            count += 1;
            rest = rest.get(1..).unwrap_or_default();
        } else {
            return wrong(format!("{first:?} is no key"));
        }
    }
    if variables.is_empty() && !text.chars().any(is_key) {
        return wrong("there is no key to send".into());
    }
    if count > MAX_KEYS || variables.len() > MAX_KEYS {
        return wrong(format!("{count} keys and pauses; {MAX_KEYS} are the most"));
    }
    Some(Keys { text, variables })
}

pub(super) fn names(field: &'static str, fields: &mut Fields<'_>, found: &mut Findings) -> BTreeSet<Name> {
    fields.references(field, found).into_iter().map(|r| r.name).collect()
}

fn set(fields: &mut Fields<'_>, found: &mut Findings) -> Option<Set> {
    let node = fields.take("set")?;
    let what = format!("{}: set", fields.what());
    let then = then(fields, found);
    let mut inner = Fields::of(node, what.clone(), found)?;
    let language = language("language", &mut inner, found);
    let category = inner.name("category", found);
    let priority = inner.take("priority").and_then(|node| {
        let word = text(node, &what, found)?;
        let all = [Priority::Low, Priority::Medium, Priority::High, Priority::Urgent];
        let priority = all.into_iter().find(|p| p.as_str() == word);
        if priority.is_none() {
            found.error(
                node.at(),
                "bad-value",
                format!("{what}: priority: {:?} is not known", short(&word)),
                "write low, medium, high or urgent",
            );
        }
        priority
    });
    let skills = names("skills", &mut inner, found);
    let mut variables = BTreeMap::new();
    if let Some(node) = inner.take("variables") {
        match node {
            Node::Map { entries, .. } => {
                for entry in entries {
                    let what = format!("{what}: variables: {}", short(&entry.key));
                    let variable = name(&entry.key, entry.key_at, &what, found);
                    if let (Some(variable), Some(value)) = (variable, text(&entry.value, &what, found)) {
                        variables.insert(variable, value);
                    }
                }
            }
            other => found.error(
                other.at(),
                "wrong-type",
                format!("{what}: variables: expected a mapping, got {}", other.noun()),
                "write 'name: value' lines",
            ),
        }
    }
    inner.finish(found);
    Some(Set { language, category, priority, skills, variables, then: then? })
}
