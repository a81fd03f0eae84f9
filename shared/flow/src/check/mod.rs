//! Proves that a flow can be published: every path ends, every reference exists, every prompt
//! can be said in every language.

mod names;

use hotline_base::{Lang, Name};
use std::collections::{BTreeMap, BTreeSet};

use crate::compile::calls;
use crate::graph::{circles, edges, reachable, reading_order, says};
use crate::parse::fields::nearest;
use crate::run::MAX_DEPTH;
use crate::*;

/// All findings, in order of place; the flow can be published where none is an error.
pub fn check(flow: &Flow, catalog: &Catalog) -> Vec<Diagnostic> {
    let mut check = Check { flow, catalog, found: Vec::new() };
    check.step_references();
    check.prompts();
    check.names();
    check.variables();
    check.paths();
    check.subflows();
    let mut found = check.found;
    found.sort_by(|a, b| (a.line, a.column, &a.code, &a.message).cmp(&(b.line, b.column, &b.code, &b.message)));
    found.dedup();
    found
}

struct Check<'f> {
    flow: &'f Flow,
    catalog: &'f Catalog,
    found: Vec<Diagnostic>,
}

impl<'f> Check<'f> {
    fn error(&mut self, at: Pos, code: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(Diagnostic::error(at, code, message, remedy));
    }

    fn warning(&mut self, at: Pos, code: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(Diagnostic::warning(at, code, message, remedy));
    }

    /// Reports a name that does not exist among `known`.
    fn unknown<'n>(&mut self, what: &str, name: &Ref, known: impl Iterator<Item = &'n Name>, remedy: &str) {
        let remedy = match nearest(name.name.as_str(), known.map(Name::as_str)) {
            Some(near) => format!("did you mean '{near}'?"),
            None => remedy.into(),
        };
        self.error(
            name.at,
            &format!("unknown-{}", what.replace(' ', "-")),
            format!("there is no {what} '{}'", name.name),
            remedy,
        );
    }

    fn step_references(&mut self) {
        let flow = self.flow;
        let goes = flow.steps.values().flat_map(|s| edges(&s.kind)).map(|e| e.to);
        for to in std::iter::once(&flow.start).chain(goes) {
            if !flow.steps.contains_key(&to.name) {
                self.unknown("step", to, flow.steps.keys(), "add the step, or correct the name");
            }
        }
    }

    fn prompts(&mut self) {
        let flow = self.flow;
        let mut said = BTreeSet::new();
        let fallback = flow.fallback.iter().flat_map(|f| &f.say);
        for prompt in flow.steps.values().flat_map(|s| says(&s.kind)).chain(fallback) {
            said.insert(&prompt.name);
            if !flow.prompts.contains_key(&prompt.name) {
                self.unknown("prompt", prompt, flow.prompts.keys(), "add it under 'prompts:'");
            }
        }
        for (name, prompt) in &flow.prompts {
            for lang in &flow.languages {
                if !prompt.by_lang.contains_key(lang) {
                    self.error(
                        prompt.at,
                        "missing-language",
                        format!("prompt {name} has no text in '{lang}'"),
                        format!("add '{lang}: …', or remove {lang} from 'languages'"),
                    );
                }
            }
            for lang in prompt.by_lang.keys() {
                self.language(*lang, prompt.at, &format!("prompt {name}"));
            }
            if !said.contains(name) {
                self.warning(prompt.at, "unused-prompt", format!("prompt {name} is never said"), "remove it");
            }
        }
    }

    fn language(&mut self, lang: Lang, at: Pos, what: &str) {
        if !self.flow.languages.contains(&lang) {
            self.error(
                at,
                "undeclared-language",
                format!("{what} uses '{lang}', which the flow does not speak"),
                format!("add {lang} to 'languages'"),
            );
        }
    }

    fn paths(&mut self) {
        let flow = self.flow;
        let reachable = reachable(flow);
        for (name, step) in &flow.steps {
            if !reachable.contains(name) {
                self.warning(
                    step.at,
                    "unreachable-step",
                    format!("no call ever comes to step {name}"),
                    "remove it, or lead a step to it",
                );
            }
            match &step.kind {
                StepKind::Menu(menu) => {
                    if menu.options.is_empty() {
                        self.error(
                            step.at,
                            "empty-menu",
                            format!("menu {name} has no options"),
                            "add 'options:' with a step for each key",
                        );
                    }
                    for option in menu.options.values() {
                        if let Some(lang) = option.language {
                            self.language(lang, option.go.at, &format!("menu {name}"));
                        }
                    }
                }
                StepKind::Gather(gather) if gather.finish.is_some_and(|k| k.as_char().is_ascii_digit()) => self.error(
                    step.at,
                    "bad-value",
                    format!("step {name}: 'finish' is a digit and could never be part of the input"),
                    "use \"#\" or \"*\"",
                ),
                StepKind::Set(set) => {
                    if let Some(lang) = set.language {
                        self.language(lang, step.at, &format!("step {name}"));
                    }
                }
                StepKind::Branch(branch) => {
                    for case in &branch.cases {
                        if let Condition::Language(lang) = &case.when {
                            self.language(*lang, case.go.at, &format!("step {name}"));
                        }
                    }
                }
                StepKind::Reject(_) if name != &flow.start.name && self.hears_first(name) => self.warning(
                    step.at,
                    "late-reject",
                    format!("step {name} can come after the call is answered; then it only hangs up"),
                    "put 'reject' behind branches at the start",
                ),
                _ => {}
            }
        }
        self.circles(&reachable);
    }

    /// Whether some way to `target` says or asks something before it.
    fn hears_first(&self, target: &Name) -> bool {
        let mut quiet = BTreeSet::new();
        let mut open = vec![&self.flow.start.name];
        while let Some(name) = open.pop() {
            let Some(step) = self.flow.steps.get(name).filter(|_| quiet.insert(name)) else {
                continue;
            };
            if matches!(step.kind, StepKind::Branch(_) | StepKind::Set(_) | StepKind::Subflow(_)) {
                open.extend(edges(&step.kind).into_iter().map(|e| &e.to.name));
            }
        }
        let silent = |kind: &StepKind| matches!(kind, StepKind::Branch(_) | StepKind::Set(_) | StepKind::Subflow(_));
        self.flow.steps.iter().any(|(name, step)| {
            edges(&step.kind).iter().any(|e| &e.to.name == target) && (!quiet.contains(name) || !silent(&step.kind))
        })
    }

    /// A circle is allowed only where the caller must act to go round: whoever does nothing
    /// comes to an end.
    fn circles(&mut self, reachable: &BTreeSet<&'f Name>) {
        let next: BTreeMap<&Name, Vec<&Name>> = self
            .flow
            .steps
            .iter()
            .filter(|(name, _)| reachable.contains(name))
            .map(|(name, step)| {
                let silent = edges(&step.kind).into_iter().filter(|e| !e.why.by_caller());
                (name, silent.map(|e| &e.to.name).collect())
            })
            .collect();
        let order = reading_order(self.flow);
        for part in circles(&next) {
            let first = order.iter().find(|name| part.contains(*name)).copied().or(part.first().copied());
            let Some((name, step)) = first.and_then(|name| self.flow.steps.get_key_value(name)) else {
                continue;
            };
            let round = circle_from(name, &part, &next);
            let mut way: Vec<&str> = round.iter().map(|n| n.as_str()).collect();
            way.push(name.as_str());
            self.error(
                step.at,
                "endless-circle",
                format!("a caller who does nothing goes round for ever: {}", way.join(" → ")),
                "lead one of these to a hangup, voicemail or callback; to repeat a question use 'retries', to wait on use 'max_wait: forever'",
            );
        }
    }

    fn subflows(&mut self) {
        let flow = self.flow;
        for (name, at) in calls(flow) {
            if name == flow.name {
                self.error(
                    at,
                    "recursive-subflow",
                    format!("flow {name} calls itself"),
                    "go to one of its steps instead",
                );
            }
        }
        let Some(known) = &self.catalog.subflows else {
            return;
        };
        for step in flow.steps.values() {
            let StepKind::Subflow(sub) = &step.kind else {
                continue;
            };
            let Some(inner) = known.get(&sub.flow.name) else {
                if sub.flow.name != flow.name {
                    self.unknown("flow", &sub.flow, known.keys(), "publish it first, or correct the name");
                }
                continue;
            };
            for lang in &flow.languages {
                if !inner.languages.contains(lang) {
                    self.error(
                        sub.flow.at,
                        "missing-language",
                        format!("flow {} does not speak '{lang}'", inner.name),
                        format!("add {lang} to it, or remove it here"),
                    );
                }
            }
            match depth(inner, known, &mut vec![&flow.name]) {
                Ok(depth) if depth < MAX_DEPTH => {}
                Ok(_) => self.error(
                    sub.flow.at,
                    "too-deep",
                    format!("more than {MAX_DEPTH} flows call one another"),
                    "write it flatter",
                ),
                Err(way) => self.error(
                    sub.flow.at,
                    "recursive-subflow",
                    format!("flows call one another in a circle: {way}"),
                    "break the circle",
                ),
            }
        }
    }
}

/// How many flows deep the calls of `flow` go, itself included, or the way round a circle.
fn depth<'f>(flow: &'f Flow, known: &'f BTreeMap<Name, Flow>, above: &mut Vec<&'f Name>) -> Result<usize, String> {
    if above.contains(&&flow.name) {
        let way: Vec<&str> = above.iter().map(|n| n.as_str()).chain([flow.name.as_str()]).collect();
        return Err(way.join(" → "));
    }
    if above.len() > MAX_DEPTH {
        return Ok(above.len());
    }
    above.push(&flow.name);
    let mut deepest = 0;
    let inner: BTreeSet<Name> = calls(flow).into_iter().map(|(name, _)| name).collect();
    for name in &inner {
        if let Some(inner) = known.get(name) {
            deepest = deepest.max(depth(inner, known, above)?);
        }
    }
    above.pop();
    Ok(deepest + 1)
}

/// The shortest way from `start` back to itself within a circle.
fn circle_from<'n>(start: &'n Name, part: &[&'n Name], next: &BTreeMap<&'n Name, Vec<&'n Name>>) -> Vec<&'n Name> {
    let mut came: BTreeMap<&Name, &Name> = BTreeMap::new();
    let mut open = std::collections::VecDeque::from([start]);
    while let Some(at) = open.pop_front() {
        for to in next.get(at).into_iter().flatten().filter(|to| part.contains(to)) {
            if *to == start {
                let mut way = vec![at];
                while let Some(before) = way.last().and_then(|n| came.get(n)) {
                    way.push(before);
                }
                way.reverse();
                return way;
            }
            if !came.contains_key(to) {
                came.insert(to, at);
                open.push_back(to);
            }
        }
    }
    vec![start]
}
