//! The interpreter: from an answer through the steps to the next ask.

use hotline_base::{Lang, Name, Redacted, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

use super::ask::music;
use super::say::{later, plain, sounds};
use super::*;
use crate::{Compiled, FallbackAsk, Flow, Ref, Step};

/// The first turn of a call.
pub fn start(compiled: &Compiled, caller: &Caller, env: &Env, now: Timestamp) -> Turn {
    let flow = compiled.flow(compiled.name());
    let first = flow.and_then(|f| f.languages.first().copied()).unwrap_or_default();
    let known = caller.lang.filter(|l| flow.is_some_and(|f| f.languages.contains(l)));
    let step = flow.map_or_else(|| compiled.name().clone(), |f| f.start.name.clone());
    let cursor = Cursor {
        at: Frame { flow: compiled.name().clone(), step },
        stack: Vec::new(),
        vars: given(caller.diverted.as_ref()),
        lang: known.unwrap_or(first),
        category: None,
        priority: Priority::default(),
        skills: BTreeSet::new(),
        attempts: 0,
        turns: 0,
        waits: Waits::Answer,
        answered: false,
        queued: None,
        pending: Vec::new(),
        number: caller.number.clone(),
    };
    let walk = Walk { compiled, env, now, cursor, notes: Vec::new() };
    walk.run()
}

/// The variables that a call brings.
fn given(diverted: Option<&Diverted>) -> BTreeMap<Name, Variable> {
    let Some(Diverted { first, last, reason }) = diverted else { return BTreeMap::new() };
    let known = GIVEN.into_iter().zip([first.clone(), last.clone(), reason.clone().into()]);
    let set = known.filter(|(_, value)| !value.expose().is_empty());
    let variable = |value: Redacted<String>| {
        let value: String = value.expose().chars().take(MAX_VALUE_CHARS).collect();
        Variable { value: value.into(), secret: false }
    };
    set.filter_map(|(name, value)| Some((name.parse().ok()?, variable(value)))).collect()
}

/// The next turn, after the ask of the last one ended with `input`.
///
/// An input that does not answer the ask changes nothing and is an error.
pub fn resume(
    compiled: &Compiled,
    cursor: Cursor,
    input: &Input,
    env: &Env,
    now: Timestamp,
) -> Result<Turn, Unexpected> {
    let at = cursor.at.clone();
    let unexpected = || Unexpected { flow: at.flow.clone(), step: at.step.clone(), got: input.word() };
    let mut walk = Walk { compiled, env, now, cursor, notes: Vec::new() };
    if walk.cursor.waits == Waits::Nothing {
        return Err(unexpected());
    }
    let Some((flow, step)) = walk.here() else {
        return Ok(walk.fault("the flow has no such step"));
    };
    if walk.cursor.turns >= MAX_TURNS {
        return Ok(walk.fault("the call took too many turns"));
    }
    if walk.cursor.waits == Waits::Prompts {
        return match input {
            Input::PromptsDone | Input::Failed => Ok(walk.run()),
            _ => Err(unexpected()),
        };
    }
    match walk.answer(flow, step, input) {
        Some(Answer::Go(next)) => {
            walk.go(next);
            Ok(walk.run())
        }
        Some(Answer::Again(say)) => {
            let again = sounds(flow, say, &walk.cursor);
            later(&mut walk.cursor, again, false);
            walk.cursor.attempts = walk.cursor.attempts.saturating_add(1);
            match walk.ask(flow, step) {
                Some(ask) => Ok(walk.turn(ask)),
                None => Ok(walk.run()),
            }
        }
        None => Err(unexpected()),
    }
}

/// What callers in `lang` hear while decisions cannot be had.
pub fn fallback(compiled: &Compiled, lang: Lang) -> FallbackAsk {
    let flow = compiled.flow(compiled.name());
    let rule = flow.and_then(|f| f.fallback.as_ref().map(|rule| (f, rule)));
    match rule {
        Some((flow, rule)) => FallbackAsk {
            apology: plain(flow, &rule.say, lang),
            music: music(rule.music.as_ref()),
            give_up_ms: rule.give_up.0,
        },
        None => FallbackAsk { apology: Vec::new(), music: music(None), give_up_ms: 120_000 },
    }
}

pub(super) enum Answer<'f> {
    Go(&'f Ref),
    /// The same question once more, after these prompts.
    Again(&'f [Ref]),
}

pub(super) struct Walk<'a> {
    pub(super) compiled: &'a Compiled,
    pub(super) env: &'a Env,
    pub(super) now: Timestamp,
    pub(super) cursor: Cursor,
    pub(super) notes: Vec<Note>,
}

impl<'a> Walk<'a> {
    fn here(&self) -> Option<(&'a Flow, &'a Step)> {
        let flow = self.compiled.flow(&self.cursor.at.flow)?;
        flow.steps.get(&self.cursor.at.step).map(|step| (flow, step))
    }

    pub(super) fn go(&mut self, next: &Ref) {
        self.cursor.at.step = next.name.clone();
        self.cursor.attempts = 0;
    }

    /// Walks from the current step until one asks.
    fn run(mut self) -> Turn {
        for _ in 0..MAX_STEPS_PER_TURN {
            let Some((flow, step)) = self.here() else {
                return self.fault("the flow has no such step");
            };
            self.notes.push(Note::StepEntered {
                flow: self.cursor.at.flow.clone(),
                step: self.cursor.at.step.clone(),
                kind: step.kind.word().into(),
            });
            if let Some(ask) = self.ask(flow, step) {
                return self.turn(ask);
            }
        }
        self.fault("the flow walks in a circle")
    }

    fn fault(mut self, reason: &str) -> Turn {
        self.notes.push(Note::FlowFaulted { step: self.cursor.at.step.clone(), reason: reason.into() });
        self.turn(Ask::Hangup)
    }

    /// Joins what is to be said with the ask, and closes the turn.
    fn turn(mut self, mut ask: Ask) -> Turn {
        let mut pending = Vec::new();
        // Neither needs media: what is to be said is said with the ask after it.
        if !matches!(ask, Ask::Callback { .. }) {
            pending = std::mem::take(&mut self.cursor.pending);
        }
        let say = match &mut ask {
            Ask::Gather { prompts, .. } => {
                // Everything up to the last one that must be heard is played through.
                let heard = pending.iter().rposition(|p| p.must_hear).map_or(0, |i| i + 1);
                let skippable = pending.split_off(heard).into_iter().map(|p| p.prompt);
                *prompts = skippable.chain(std::mem::take(prompts)).collect();
                pending.into_iter().map(|p| p.prompt).collect()
            }
            _ => pending.into_iter().map(|p| p.prompt).collect(),
        };
        if !matches!(ask, Ask::Callback { .. } | Ask::Hook { .. } | Ask::Reject { .. }) {
            self.cursor.answered = true;
        }
        self.cursor.waits = match ask {
            Ask::Play => Waits::Prompts,
            Ask::Hangup | Ask::Reject { .. } => Waits::Nothing,
            _ => Waits::Answer,
        };
        self.cursor.turns = self.cursor.turns.saturating_add(1);
        let mut extra = self.notes.len().saturating_sub(MAX_NOTES);
        self.notes.retain(|note| {
            let drop = extra > 0 && matches!(note, Note::StepEntered { .. });
            extra -= usize::from(drop);
            !drop
        });
        self.notes.truncate(MAX_NOTES);
        Turn { cursor: self.cursor, say, ask, notes: self.notes }
    }

    pub(super) fn set_lang(&mut self, flow: &Flow, lang: Lang) {
        if self.cursor.lang != lang && flow.languages.contains(&lang) {
            self.cursor.lang = lang;
            self.notes.push(Note::LanguageSet { lang });
        }
    }

    pub(super) fn set_category(&mut self, category: &Name) {
        self.cursor.category = Some(category.clone());
        self.notes.push(Note::CategorySet { category: category.clone() });
    }

    pub(super) fn add_skills(&mut self, skills: &BTreeSet<Name>) {
        self.cursor.skills.extend(skills.iter().cloned());
    }

    pub(super) fn set_variable(&mut self, name: &Name, value: &str, secret: bool) {
        if self.cursor.vars.len() >= MAX_VARS && !self.cursor.vars.contains_key(name) {
            return;
        }
        let value: Redacted<String> = value.chars().take(MAX_VALUE_CHARS).collect::<String>().into();
        let shown = (!secret).then(|| value.clone());
        self.cursor.vars.insert(name.clone(), Variable { value, secret });
        self.notes.push(Note::VariableSet { name: name.clone(), value: shown });
    }
}
