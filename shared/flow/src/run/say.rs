//! Prompts of a running flow: variables filled in, announcements prepared.

use hotline_base::{Lang, Name};
use std::collections::BTreeMap;

use super::{Cursor, Pending};
use crate::prompt::parts;
use crate::{AnnounceRule, Announcement, Flow, Part, PromptRef, Ref};

fn values(cursor: &Cursor) -> BTreeMap<Name, String> {
    cursor.vars.iter().map(|(name, var)| (name.clone(), var.value.expose().clone())).collect()
}

/// Prompts as sounds, in the caller's language. A number of the queue is not known outside of
/// announcements: a prompt that needs one is left out.
pub(super) fn sounds(flow: &Flow, say: &[Ref], cursor: &Cursor) -> Vec<PromptRef> {
    let vars = values(cursor);
    let fixed = |part| match part {
        Part::Fixed { prompt } => Some(prompt),
        Part::Number { .. } => None,
    };
    let prompt = |r: &Ref| parts(flow, &r.name, cursor.lang, &vars).into_iter().map(fixed).collect::<Option<Vec<_>>>();
    say.iter().filter_map(prompt).flatten().collect()
}

/// Prompts in a given language with no variables filled in.
pub(super) fn plain(flow: &Flow, say: &[Ref], lang: Lang) -> Vec<PromptRef> {
    let fixed = |part| match part {
        Part::Fixed { prompt } => Some(prompt),
        Part::Number { .. } => None,
    };
    say.iter().flat_map(|r| parts(flow, &r.name, lang, &BTreeMap::new())).filter_map(fixed).collect()
}

/// What is said while waiting.
pub(super) fn announcements(flow: &Flow, rules: &[AnnounceRule], cursor: &Cursor) -> Vec<Announcement> {
    let vars = values(cursor);
    let announcement = |rule: &AnnounceRule| Announcement {
        every_ms: rule.every.0,
        prompts: rule.say.iter().map(|r| parts(flow, &r.name, cursor.lang, &vars)).collect(),
    };
    rules.iter().map(announcement).collect()
}

/// Remembers sounds for the next ask.
pub(super) fn later(cursor: &mut Cursor, prompts: Vec<PromptRef>, must_hear: bool) {
    cursor.pending.extend(prompts.into_iter().map(|prompt| Pending { prompt, must_hear }));
}
