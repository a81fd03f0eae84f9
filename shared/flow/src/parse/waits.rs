//! Steps that wait for somebody or something outside the call: queues, agents, other numbers, hooks.

use hotline_base::{E164, Name};
use std::collections::BTreeMap;

use super::fields::{Fields, Findings, key, millis, reference, references, short, text};
use super::max_wait;
use super::steps::{names, question, then};
use crate::yaml::Node;
use crate::*;

pub(super) fn queue(fields: &mut Fields<'_>, found: &mut Findings) -> Option<QueueStep> {
    let queue = fields.reference("queue", found);
    let say = fields.references("say", found);
    let music = fields.reference("music", found);
    let announce = fields.take("announce").map(|node| announce(node, fields.what(), found)).unwrap_or_default();
    let credit = fields.millis("credit", Millis(0), 0..=86_400_000, found);
    let skills = names("skills", fields, found);
    let max_wait = max_wait(fields, found);
    let not_staffed = fields.reference("not_staffed", found);
    let self_service = fields.reference("self_service", found);
    let overflow = fields.take("overflow").map(|node| overflow(node, fields.what(), found)).unwrap_or_default();
    let mut leave = BTreeMap::new();
    if let Some(node) = fields.take("leave") {
        let what = format!("{}: leave", fields.what());
        match node {
            Node::Map { entries, .. } => {
                for entry in entries {
                    let pressed = key(&entry.key, entry.key_at, &what, found);
                    if let (Some(pressed), Some(go)) = (pressed, reference(&entry.value, &what, found)) {
                        leave.insert(pressed, go);
                    }
                }
            }
            other => found.error(
                other.at(),
                "wrong-type",
                format!("{what}: expected a mapping, got {}", other.noun()),
                "write '9: step'",
            ),
        }
    }
    let then = then(fields, found);
    Some(QueueStep {
        queue: queue?,
        say,
        music,
        announce,
        credit,
        skills,
        max_wait: max_wait?,
        not_staffed,
        overflow,
        self_service,
        leave,
        then: then?,
    })
}

/// `{voicemail: step, callback: step, message: step, link: step}`, any of them.
fn overflow(node: &Node, what: &str, found: &mut Findings) -> BTreeMap<Overflow, Ref> {
    let mut ways = BTreeMap::new();
    let Some(mut fields) = Fields::of(node, format!("{what}: overflow"), found) else {
        return ways;
    };
    for (word, way) in Overflow::ALL {
        if let Some(go) = fields.reference(word, found) {
            ways.insert(way, go);
        }
    }
    fields.finish(found);
    ways
}

fn announce(node: &Node, what: &str, found: &mut Findings) -> Vec<AnnounceRule> {
    let items = match node {
        Node::List { items, .. } => items.iter().collect(),
        node => vec![node],
    };
    let mut rules = Vec::new();
    for (i, item) in items.into_iter().take(10).enumerate() {
        let Some(mut fields) = Fields::of(item, format!("{what}: announce {}", i + 1), found) else {
            continue;
        };
        let every = match fields.take("every") {
            Some(node) => millis(node, &format!("{what}: every"), 0..=3_600_000, found),
            None => Some(Millis(0)),
        };
        let say = question("say", &mut fields, found);
        fields.finish(found);
        if let Some(every) = every {
            if (1..5_000).contains(&every.0) {
                found.error(
                    item.at(),
                    "bad-value",
                    format!("{what}: announcing every {every} leaves no time between"),
                    "announce every 5s or more, or 'every: 0s' for once at the start",
                );
            }
            rules.push(AnnounceRule { every, say });
        }
    }
    rules
}

pub(super) fn ring(fields: &mut Fields<'_>, found: &mut Findings) -> Option<Ring> {
    let node = fields.take("ring")?;
    let timeout = fields.millis("timeout", Millis(20_000), 1_000..=300_000, found);
    let no_answer = fields.need_reference("no_answer", "name the step for an unanswered ring", found);
    let then = then(fields, found);
    let mut inner = Fields::of(node, format!("{}: ring", fields.what()), found)?;
    let agent = inner.reference("agent", found);
    let group = inner.reference("group", found);
    let at = inner.at();
    let what = inner.what().to_owned();
    inner.finish(found);
    let target = match (agent, group) {
        (Some(agent), None) => RingRef::Agent(agent),
        (None, Some(group)) => RingRef::Group(group),
        _ => {
            found.error(
                at,
                "bad-value",
                format!("{what}: name either an agent or a group"),
                "write '{agent: fang}' or '{group: tier-2}'",
            );
            return None;
        }
    };
    Some(Ring { target, timeout, no_answer: no_answer?, then: then? })
}

pub(super) fn callback_to(fields: &mut Fields<'_>, found: &mut Findings) -> Option<CallbackTo> {
    match fields.take("to") {
        None => Some(CallbackTo::Caller),
        Some(node) if matches!(node, Node::Map { .. }) => {
            let mut inner = Fields::of(node, format!("{}: to", fields.what()), found)?;
            let variable = inner.need_reference("variable", "name the variable with the number", found);
            inner.finish(found);
            variable.map(CallbackTo::Variable)
        }
        Some(node) => match text(node, "to", found).as_deref() {
            Some("caller") => Some(CallbackTo::Caller),
            Some(other) => {
                found.error(
                    node.at(),
                    "bad-value",
                    format!("{}: to: {:?} is not known", fields.what(), short(other)),
                    "write 'caller', or '{variable: name}' for a number that was gathered",
                );
                None
            }
            None => None,
        },
    }
}

pub(super) fn transfer_target(node: &Node, what: &str, found: &mut Findings) -> Option<String> {
    let target = text(node, &format!("{what}: transfer"), found)?;
    let sip = target.strip_prefix("sip:").or_else(|| target.strip_prefix("sips:"));
    let good = match sip {
        Some(rest) => {
            let plain = |c: char| c.is_ascii_graphic() && !"<>\"'\\{}|^`".contains(c);
            !rest.is_empty()
                && rest.len() <= 200
                && rest.chars().all(plain)
                && !rest.starts_with('@')
                && !rest.ends_with('@')
        }
        None => target.parse::<E164>().is_ok(),
    };
    if !good {
        found.error(
            node.at(),
            "bad-value",
            format!("{what}: transfer: {:?} is neither a number nor a SIP address", short(&target)),
            "write \"+861012345678\" or \"sip:desk@example.com\"",
        );
        return None;
    }
    // One form of a number, whatever spaces it was written with.
    Some(target.parse::<E164>().map_or(target, |number| number.to_string()))
}

pub(super) fn hook(fields: &mut Fields<'_>, found: &mut Findings) -> Option<Hook> {
    let node = fields.take("hook")?;
    let what = format!("{}: hook", fields.what());
    let target = text(node, &what, found);
    if let Some(target) = &target {
        let url = target.strip_prefix("https://");
        let good = match url {
            Some(rest) => !rest.is_empty() && target.len() <= 500 && target.chars().all(|c| c.is_ascii_graphic()),
            None => target.parse::<Name>().is_ok(),
        };
        if !good {
            found.error(
                node.at(),
                "bad-value",
                format!("{what}: {:?} is neither an https address nor the name of a function", short(target)),
                "write 'https://example.com/orders' or 'order-status'",
            );
        }
    }
    let timeout = fields.millis("timeout", Millis(2_000), 100..=5_000, found);
    let send = fields.take("send").map(|n| references(n, "send", found)).unwrap_or_default();
    let receive = names("receive", fields, found).into_iter().collect();
    let on_error = fields.need_reference("on_error", "name the step for a hook that failed", found);
    let then = then(fields, found);
    Some(Hook { target: target?, timeout, send, receive, on_error: on_error?, then: then? })
}
