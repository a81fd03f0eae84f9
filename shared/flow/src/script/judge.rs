//! Whether an expectation holds.

use hotline_base::Name;
use std::collections::BTreeMap;

use super::Expect;
use super::play::{Seen, Stage, text};
use crate::prompt::parts;
use crate::run::{Ask, Note, RingTarget};
use crate::{Part, PromptRef};

/// `Err` says what was found instead.
pub(super) fn judge(stage: &Stage<'_>, not: bool, what: &Expect) -> Result<(), String> {
    let (holds, found) = look(stage, what);
    match (holds, not) {
        (true, false) | (false, true) => Ok(()),
        (false, false) => Err(format!("expected {}, but {found}", words(what))),
        (true, true) => Err(format!("did not expect {}", words(what))),
    }
}

fn look(stage: &Stage<'_>, what: &Expect) -> (bool, String) {
    let cursor = stage.turn.as_ref().map(|t| &t.cursor);
    let asked: Vec<&Ask> = stage
        .window
        .iter()
        .filter_map(|seen| match seen {
            Seen::Asked(ask) => Some(ask),
            _ => None,
        })
        .chain(stage.ask())
        .collect();
    let said: Vec<&PromptRef> = stage
        .window
        .iter()
        .filter_map(|seen| match seen {
            Seen::Said(prompts) => Some(prompts),
            _ => None,
        })
        .flatten()
        .collect();
    let now = || match (stage.ended, stage.ask()) {
        (true, _) => "the call is over".to_owned(),
        (_, Some(ask)) => format!("the call {}", doing(ask)),
        (_, None) => "nothing happened".to_owned(),
    };
    let heard = || {
        let said: Vec<String> = said.iter().map(|p| text(p)).collect();
        if said.is_empty() { "nothing was said".to_owned() } else { format!("“{}” was said", said.join(" ")) }
    };
    match what {
        Expect::SayPrompt(name) => (says(stage, &said, name), heard()),
        Expect::SayText(part) => {
            let said: Vec<String> = said.iter().map(|p| text(p)).collect();
            (said.join(" ").contains(part.as_str()), heard())
        }
        Expect::Step(step) => {
            let at = cursor.map(|c| &c.at.step);
            (at == Some(step), format!("the call is at {}", at.map_or("no step", Name::as_str)))
        }
        Expect::Menu => (matches!(stage.ask(), Some(Ask::Gather { .. })), now()),
        Expect::Survey => (kind_here(stage) == Some("survey"), now()),
        Expect::Queue(name) => (matches!(stage.ask(), Some(Ask::Queue(q)) if &q.queue == name), now()),
        Expect::Ring(name) => {
            let rings = |ask: &&Ask| match ask {
                Ask::Ring { target: RingTarget::Agent(whom) | RingTarget::Group(whom), .. } => whom == name,
                _ => false,
            };
            (asked.iter().any(rings), now())
        }
        Expect::Voicemail => (asked.iter().any(|a| matches!(a, Ask::Record { .. })), now()),
        Expect::Callback => (asked.iter().any(|a| matches!(a, Ask::Callback { .. })), now()),
        Expect::Transfer(to) => {
            (asked.iter().any(|a| matches!(a, Ask::Transfer { target, .. } if target == to)), now())
        }
        Expect::Keys(keys) => {
            (asked.iter().any(|a| matches!(a, Ask::SendKeys(sent) if sent.keys.expose() == keys)), now())
        }
        Expect::Hook(to) => (asked.iter().any(|a| matches!(a, Ask::Hook { target, .. } if target == to)), now()),
        Expect::Reject => (asked.iter().any(|a| matches!(a, Ask::Reject { .. })), now()),
        Expect::Hangup => (asked.iter().any(|a| matches!(a, Ask::Hangup)), now()),
        Expect::Score(expected) => {
            let score = stage.window.iter().rev().find_map(|seen| match seen {
                Seen::Noted(Note::SurveyAnswered { score, .. }) => Some(*score),
                _ => None,
            });
            (score == Some(*expected), score.map_or_else(|| "there is none".into(), |s| format!("it is {s}")))
        }
        Expect::Language(lang) => {
            let is = cursor.map(|c| c.lang);
            (is == Some(*lang), is.map_or_else(String::new, |l| format!("it is {l}")))
        }
        Expect::Category(category) => {
            let is = cursor.and_then(|c| c.category.as_ref());
            (is == Some(category), is.map_or_else(|| "there is none".into(), |c| format!("it is {c}")))
        }
        Expect::Priority(priority) => {
            let is = cursor.map(|c| c.priority);
            (is == Some(*priority), is.map_or_else(String::new, |p| format!("it is {}", p.as_str())))
        }
        Expect::Variable(name, value) => {
            let is = cursor.and_then(|c| c.vars.get(name)).map(|v| v.value.expose());
            (is == Some(value), is.map_or_else(|| "it has no value".into(), |v| format!("it is {v:?}")))
        }
    }
}

fn kind_here(stage: &Stage<'_>) -> Option<&'static str> {
    let at = stage.turn.as_ref().filter(|_| !stage.ended).map(|t| &t.cursor.at)?;
    Some(stage.compiled.flow(&at.flow)?.steps.get(&at.step)?.kind.word())
}

/// Whether what makes up a prompt, in any language, was said one after the other.
fn says(stage: &Stage<'_>, said: &[&PromptRef], name: &Name) -> bool {
    let Some(cursor) = stage.turn.as_ref().map(|t| &t.cursor) else {
        return false;
    };
    let vars: BTreeMap<Name, String> =
        cursor.vars.iter().map(|(name, var)| (name.clone(), var.value.expose().clone())).collect();
    stage.compiled.flows().any(|flow| {
        flow.languages.iter().any(|lang| {
            let parts = parts(flow, name, *lang, &vars);
            !parts.is_empty()
                && said.windows(parts.len()).any(|window| {
                    window.iter().zip(&parts).all(|(said, part)| match part {
                        Part::Fixed { prompt } => *said == prompt,
                        Part::Number { .. } => true,
                    })
                })
        })
    })
}

fn doing(ask: &Ask) -> String {
    match ask {
        Ask::Play => "plays prompts".into(),
        Ask::Gather { .. } => "waits for keys".into(),
        Ask::Queue(queue) => format!("waits in queue {}", queue.queue),
        Ask::Ring { target, .. } => format!("rings {target:?}"),
        Ask::Record { .. } => "records a message".into(),
        Ask::Callback { .. } => "promises a call back".into(),
        Ask::Transfer { target, .. } => format!("calls {target}"),
        Ask::SendKeys(_) => "sends keys".into(),
        Ask::Hook { target, .. } => format!("asks {target}"),
        Ask::Hangup | Ask::Reject { .. } => "is over".into(),
    }
}

fn words(what: &Expect) -> String {
    match what {
        Expect::SayPrompt(name) => format!("prompt {name}"),
        Expect::SayText(text) => format!("“{text}”"),
        Expect::Step(name) => format!("step {name}"),
        Expect::Menu => "a question".into(),
        Expect::Queue(name) => format!("queue {name}"),
        Expect::Ring(name) => format!("{name} to ring"),
        Expect::Voicemail => "a voicemail".into(),
        Expect::Callback => "a callback".into(),
        Expect::Transfer(target) => format!("a transfer to {target}"),
        Expect::Keys(keys) => format!("keys {keys}"),
        Expect::Hook(target) => format!("hook {target}"),
        Expect::Survey => "a survey".into(),
        Expect::Score(score) => format!("score {score}"),
        Expect::Language(lang) => format!("language {lang}"),
        Expect::Category(name) => format!("category {name}"),
        Expect::Priority(priority) => format!("priority {}", priority.as_str()),
        Expect::Variable(name, value) => format!("{name} = {value}"),
        Expect::Reject => "the call to be refused".into(),
        Expect::Hangup => "a hangup".into(),
    }
}
