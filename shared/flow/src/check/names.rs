//! References to what exists outside the flow, and variables.

use hotline_base::Name;
use std::collections::BTreeSet;

use super::Check;
use crate::compile::calls;
use crate::graph::says;
use crate::run::{GIVEN, MAX_VARS};
use crate::*;

impl Check<'_> {
    /// References to what exists outside the flow.
    pub(super) fn names(&mut self) {
        let (flow, catalog) = (self.flow, self.catalog);
        let mut known = |what: &str, name: &Ref, names: &Option<BTreeSet<Name>>, remedy: &str| {
            if let Some(names) = names
                && !names.contains(&name.name)
            {
                self.unknown(what, name, names.iter(), remedy);
            }
        };
        const MAKE: &str = "create it first, or correct the name";
        let mut audio = |name: &Ref| known("recording", name, &catalog.audio, "upload it first, or correct the name");
        for utterance in flow.prompts.values().flat_map(|p| p.by_lang.values()) {
            if let Utterance::Audio(name) = utterance {
                audio(name);
            }
        }
        flow.fallback.iter().filter_map(|f| f.music.as_ref()).for_each(&mut audio);
        for step in flow.steps.values() {
            let skill = |name: &Name| Ref { name: name.clone(), at: step.at };
            match &step.kind {
                StepKind::Branch(branch) => {
                    for case in &branch.cases {
                        match &case.when {
                            Condition::Open(c) | Condition::Closed(c) => known("calendar", c, &catalog.calendars, MAKE),
                            Condition::CallerIn(list) => known("list of callers", list, &catalog.vip_lists, MAKE),
                            Condition::Queue(queue, _) => known("queue", queue, &catalog.queues, MAKE),
                            _ => {}
                        }
                    }
                }
                StepKind::Set(set) => {
                    set.skills.iter().for_each(|s| known("skill", &skill(s), &catalog.skills, MAKE));
                }
                StepKind::Queue(queue) => {
                    known("queue", &queue.queue, &catalog.queues, MAKE);
                    if let Some(music) = &queue.music {
                        known("recording", music, &catalog.audio, "upload it first, or correct the name");
                    }
                    queue.skills.iter().for_each(|s| known("skill", &skill(s), &catalog.skills, MAKE));
                }
                StepKind::Ring(ring) => match &ring.target {
                    RingRef::Agent(agent) => known("agent", agent, &catalog.agents, MAKE),
                    RingRef::Group(group) => known("group", group, &catalog.groups, MAKE),
                },
                StepKind::Voicemail(mail) => {
                    mail.queue.iter().for_each(|queue| known("queue", queue, &catalog.queues, MAKE));
                }
                StepKind::Callback(callback) => known("queue", &callback.queue, &catalog.queues, MAKE),
                StepKind::Hook(hook) => {
                    if let Ok(name) = hook.target.parse() {
                        known("function", &Ref { name, at: step.at }, &catalog.functions, MAKE);
                    }
                }
                _ => {}
            }
        }
    }

    /// What variables exist, which may be said, and where numbers of the queue make sense.
    pub(super) fn variables(&mut self) {
        let flow = self.flow;
        let mut known = BTreeSet::new();
        let mut secret = BTreeSet::new();
        for step in flow.steps.values() {
            match &step.kind {
                StepKind::Gather(gather) => {
                    known.insert(&gather.into);
                    if gather.secret {
                        secret.insert(&gather.into);
                    }
                }
                StepKind::Set(set) => known.extend(set.variables.keys()),
                StepKind::Hook(hook) => known.extend(&hook.receive),
                _ => {}
            }
        }
        if known.len() > MAX_VARS {
            self.error(
                flow.start.at,
                "too-large",
                format!("the flow has {} variables; at most {MAX_VARS} are kept", known.len()),
                "use fewer names",
            );
        }
        let given: Vec<Name> = GIVEN.iter().filter_map(|name| name.parse().ok()).collect();
        known.extend(&given);
        // A subflow reads what the flows around it have set; only a flow that nobody calls and
        // that calls nobody can be judged.
        let alone = calls(flow).is_empty() && !flow.steps.values().any(|s| matches!(s.kind, StepKind::Return));
        let mut uses: Vec<&Ref> = Vec::new();
        for step in flow.steps.values() {
            match &step.kind {
                StepKind::Branch(branch) => uses.extend(branch.cases.iter().filter_map(|case| match &case.when {
                    Condition::VariableEquals(name, _) | Condition::VariableSet(name) => Some(name),
                    _ => None,
                })),
                StepKind::Callback(callback) => match &callback.to {
                    CallbackTo::Variable(name) => uses.push(name),
                    CallbackTo::Caller => {}
                },
                StepKind::Hook(hook) => uses.extend(&hook.send),
                StepKind::SendKeys(send) => uses.extend(&send.keys.variables),
                StepKind::Transfer(transfer) => uses.extend(transfer.keys.iter().flat_map(|keys| &keys.variables)),
                _ => {}
            }
        }
        for name in uses.into_iter().filter(|r| alone && !known.contains(&r.name)) {
            self.unknown("variable", name, known.iter().copied(), "nothing sets it: gather, set or receive it first");
        }
        let fallback = flow.fallback.iter().flat_map(|f| &f.say);
        let elsewhere: BTreeSet<&Name> = flow
            .steps
            .values()
            .flat_map(|step| match &step.kind {
                StepKind::Queue(queue) => queue.say.iter().collect(),
                kind => says(kind),
            })
            .chain(fallback)
            .map(|r| &r.name)
            .collect();
        for (name, prompt) in &flow.prompts {
            let pieces: Vec<Piece> = prompt
                .by_lang
                .values()
                .filter_map(|u| match u {
                    Utterance::Text { text, .. } => pieces(text).ok(),
                    Utterance::Audio(_) => None,
                })
                .flatten()
                .collect();
            for piece in pieces {
                match piece {
                    Piece::Queue(number) if elsewhere.contains(name) => self.error(
                        prompt.at,
                        "queue-number",
                        format!("prompt {name} says {{{}}}, which is known only while waiting", number.as_str()),
                        "say it in 'announce' of a queue step only",
                    ),
                    Piece::Variable(variable) if secret.contains(&variable) => self.error(
                        prompt.at,
                        "secret-said",
                        format!("prompt {name} says {{{variable}}}, which is secret"),
                        "leave it out, or remove 'secret: true' where it is gathered",
                    ),
                    Piece::Variable(variable) if alone && !known.contains(&variable) => self.unknown(
                        "variable",
                        &Ref { name: variable, at: prompt.at },
                        known.iter().copied(),
                        "nothing sets it: gather, set or receive it first",
                    ),
                    _ => {}
                }
            }
        }
    }
}
