//! A flow as a graph: which step can follow which, and what must happen for it.

use hotline_base::Name;
use std::collections::{BTreeMap, BTreeSet};

use crate::{Condition, Flow, Key, MaxWait, Overflow, QueueTest, Ref, StepKind};

/// What must happen for one step to follow another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why<'f> {
    /// Nothing: the step is done.
    Then,
    /// The caller chose, answered or left: it does not happen by itself.
    Key(Key, Option<&'f str>),
    /// The caller gave enough digits.
    Digits,
    /// The caller pressed nothing.
    NoInput,
    /// The caller pressed something wrong.
    NoMatch,
    /// A case of a branch.
    Case(&'f Condition),
    /// No case of a branch.
    Else,
    /// The longest wait is over.
    WaitedTooLong,
    /// Nobody serves the queue.
    NotStaffed,
    /// A rule of the queue that cannot keep up.
    Overflow(Overflow),
    /// The queue leaves it to machines.
    SelfService,
    /// Nobody answered.
    NoAnswer,
    /// Nothing was recorded.
    NoMessage,
    /// The callback was refused.
    Refused,
    /// The hook failed.
    Failed,
}

impl Why<'_> {
    /// Whether it happens only because the caller acts.
    pub(crate) fn by_caller(&self) -> bool {
        matches!(self, Why::Key(..) | Why::Digits)
    }

    /// A short label for drawings; empty for the plain next step.
    pub(crate) fn label(&self) -> String {
        match self {
            Why::Then => String::new(),
            Why::Key(key, Some(label)) => format!("{key} {label}"),
            Why::Key(key, None) => key.to_string(),
            Why::Digits => "digits".into(),
            Why::NoInput => "no input".into(),
            Why::NoMatch => "no match".into(),
            Why::Case(condition) => condition_label(condition),
            Why::Else => "else".into(),
            Why::WaitedTooLong => "waited too long".into(),
            Why::NotStaffed => "not staffed".into(),
            Why::Overflow(way) => format!("overflow: {}", way.word()),
            Why::SelfService => "self-service".into(),
            Why::NoAnswer => "no answer".into(),
            Why::NoMessage => "no message".into(),
            Why::Refused => "refused".into(),
            Why::Failed => "failed".into(),
        }
    }
}

/// A condition in a few words.
pub(crate) fn condition_label(condition: &Condition) -> String {
    match condition {
        Condition::Open(c) => format!("{} open", c.name),
        Condition::Closed(c) => format!("{} closed", c.name),
        Condition::CallerStarts(prefixes) => format!("caller {}…", prefixes.join(" ")),
        Condition::CallerIn(list) => format!("caller in {}", list.name),
        Condition::CallerHidden => "caller hidden".into(),
        Condition::Language(lang) => format!("language {lang}"),
        Condition::Queue(queue, test) => match test {
            QueueTest::Staffed => format!("{} staffed", queue.name),
            QueueTest::NotStaffed => format!("{} not staffed", queue.name),
            QueueTest::Free => format!("{} free", queue.name),
            QueueTest::WaitingOver(n) => format!("{} waiting > {n}", queue.name),
            QueueTest::LongestWaitOver(ms) => format!("{} longest wait > {ms}", queue.name),
            QueueTest::EstimatedWaitOver(ms) => format!("{} estimated wait > {ms}", queue.name),
        },
        Condition::VariableEquals(name, value) => format!("{} = {value}", name.name),
        Condition::VariableSet(name) => format!("{} is set", name.name),
    }
}

/// One way from a step to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge<'f> {
    pub to: &'f Ref,
    pub why: Why<'f>,
}

/// The ways out of a step, in the order in which they are written.
pub(crate) fn edges(kind: &StepKind) -> Vec<Edge<'_>> {
    let edge = |to, why| Edge { to, why };
    let mut out = Vec::new();
    match kind {
        StepKind::Play(play) => out.push(edge(&play.then, Why::Then)),
        StepKind::Menu(menu) => {
            for (key, option) in &menu.options {
                out.push(edge(&option.go, Why::Key(*key, option.label.as_deref())));
            }
            out.push(edge(&menu.no_input.go, Why::NoInput));
            out.push(edge(&menu.no_match.go, Why::NoMatch));
        }
        StepKind::Gather(gather) => {
            out.push(edge(&gather.then, Why::Digits));
            out.push(edge(&gather.no_input.go, Why::NoInput));
            out.push(edge(&gather.no_match.go, Why::NoMatch));
        }
        StepKind::Branch(branch) => {
            for case in &branch.cases {
                out.push(edge(&case.go, Why::Case(&case.when)));
            }
            out.push(edge(&branch.otherwise, Why::Else));
        }
        StepKind::Set(set) => out.push(edge(&set.then, Why::Then)),
        StepKind::Queue(queue) => {
            out.push(edge(&queue.then, Why::Then));
            for (key, go) in &queue.leave {
                out.push(edge(go, Why::Key(*key, None)));
            }
            if let MaxWait::Limit { go, .. } = &queue.max_wait {
                out.push(edge(go, Why::WaitedTooLong));
            }
            out.extend(queue.not_staffed.iter().map(|go| edge(go, Why::NotStaffed)));
            out.extend(queue.overflow.iter().map(|(way, go)| edge(go, Why::Overflow(*way))));
            out.extend(queue.self_service.iter().map(|go| edge(go, Why::SelfService)));
        }
        StepKind::Ring(ring) => {
            out.push(edge(&ring.then, Why::Then));
            out.push(edge(&ring.no_answer, Why::NoAnswer));
        }
        StepKind::Voicemail(mail) => {
            out.push(edge(&mail.then, Why::Then));
            out.extend(mail.no_message.iter().map(|go| edge(go, Why::NoMessage)));
        }
        StepKind::Callback(callback) => {
            out.push(edge(&callback.then, Why::Then));
            out.push(edge(&callback.refused, Why::Refused));
        }
        StepKind::Survey(survey) => out.push(edge(&survey.then, Why::Then)),
        StepKind::Transfer(transfer) => {
            out.push(edge(&transfer.then, Why::Then));
            out.push(edge(&transfer.no_answer, Why::NoAnswer));
        }
        StepKind::SendKeys(send) => out.push(edge(&send.then, Why::Then)),
        StepKind::Subflow(sub) => out.push(edge(&sub.then, Why::Then)),
        StepKind::Hook(hook) => {
            out.push(edge(&hook.then, Why::Then));
            out.push(edge(&hook.on_error, Why::Failed));
        }
        StepKind::Hangup(_) | StepKind::Reject(_) | StepKind::Return => {}
    }
    out
}

/// The prompts that a step can say, in the order in which they are written.
pub(crate) fn says(kind: &StepKind) -> Vec<&Ref> {
    match kind {
        StepKind::Play(play) => play.say.iter().collect(),
        StepKind::Menu(menu) => menu.say.iter().chain(&menu.no_input.say).chain(&menu.no_match.say).collect(),
        StepKind::Gather(gather) => gather.say.iter().chain(&gather.no_input.say).chain(&gather.no_match.say).collect(),
        StepKind::Queue(queue) => queue.say.iter().chain(queue.announce.iter().flat_map(|a| &a.say)).collect(),
        StepKind::Voicemail(mail) => mail.say.iter().collect(),
        StepKind::Survey(survey) => survey.say.iter().collect(),
        StepKind::Hangup(hangup) => hangup.say.iter().collect(),
        _ => Vec::new(),
    }
}

/// The steps in reading order: each after those that lead to it (but for circles), the first
/// way out first; then the unreachable ones by name.
pub(crate) fn reading_order(flow: &Flow) -> Vec<&Name> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    // Reverse postorder; the second visit of a step is the one after all that follows it.
    let mut work = vec![(&flow.start.name, false)];
    while let Some((name, done)) = work.pop() {
        let Some((name, step)) = flow.steps.get_key_value(name) else {
            continue;
        };
        if done {
            order.push(name);
        } else if seen.insert(name) {
            work.push((name, true));
            work.extend(edges(&step.kind).into_iter().map(|e| (&e.to.name, false)));
        }
    }
    order.reverse();
    order.extend(flow.steps.keys().filter(|name| !seen.contains(name)));
    order
}

/// The steps that a call can come to.
pub(crate) fn reachable(flow: &Flow) -> BTreeSet<&Name> {
    let mut seen = BTreeSet::new();
    let mut open = vec![&flow.start.name];
    while let Some(name) = open.pop() {
        let Some((name, step)) = flow.steps.get_key_value(name) else {
            continue;
        };
        if seen.insert(name) {
            open.extend(edges(&step.kind).into_iter().map(|e| &e.to.name));
        }
    }
    seen
}

/// The circles among `nodes` along `next`: each strongly connected part that holds one, in order.
pub(crate) fn circles<'n>(next: &BTreeMap<&'n Name, Vec<&'n Name>>) -> Vec<Vec<&'n Name>> {
    // Tarjan's algorithm with its own stack: a chain of 500 steps must not exhaust the thread's.
    struct Mark {
        index: usize,
        low: usize,
        on_stack: bool,
    }
    let mut marks: BTreeMap<&Name, Mark> = BTreeMap::new();
    let mut stack: Vec<&Name> = Vec::new();
    let mut found = Vec::new();
    for root in next.keys() {
        if marks.contains_key(root) {
            continue;
        }
        let mut work: Vec<(&Name, usize)> = vec![(root, 0)];
        while let Some((node, child)) = work.pop() {
            if child == 0 && !marks.contains_key(node) {
                let index = marks.len();
                marks.insert(node, Mark { index, low: index, on_stack: true });
                stack.push(node);
            }
            let children = next.get(node).map(Vec::as_slice).unwrap_or_default();
            if let Some(to) = children.get(child) {
                work.push((node, child + 1));
                match marks.get(to) {
                    None => work.push((to, 0)),
                    Some(mark) if mark.on_stack => {
                        let index = mark.index;
                        lower(&mut marks, node, index, |m| &mut m.low);
                    }
                    Some(_) => {}
                }
                continue;
            }
            let (index, low) = marks.get(node).map_or((0, 0), |m| (m.index, m.low));
            if let Some((parent, _)) = work.last() {
                lower(&mut marks, parent, low, |m| &mut m.low);
            }
            if index == low {
                let mut part = Vec::new();
                while let Some(member) = stack.pop() {
                    if let Some(mark) = marks.get_mut(member) {
                        mark.on_stack = false;
                    }
                    part.push(member);
                    if member == node {
                        break;
                    }
                }
                let itself = next.get(node).is_some_and(|to| to.contains(&node));
                if part.len() > 1 || itself {
                    part.reverse();
                    found.push(part);
                }
            }
        }
    }
    fn lower<'m>(
        marks: &mut BTreeMap<&'m Name, Mark>,
        node: &'m Name,
        to: usize,
        field: impl Fn(&mut Mark) -> &mut usize,
    ) {
        if let Some(mark) = marks.get_mut(node) {
            let low = field(mark);
            *low = (*low).min(to);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_once() {
        let names: Vec<Name> = ["a", "b", "c", "d", "e"].iter().map(|n| n.parse().unwrap()).collect();
        let [a, b, c, d, e] = names.as_slice() else { panic!() };
        let next = BTreeMap::from([(a, vec![b, d]), (b, vec![c]), (c, vec![b]), (d, vec![d]), (e, vec![a])]);
        let found: Vec<Vec<&str>> =
            circles(&next).into_iter().map(|part| part.into_iter().map(Name::as_str).collect()).collect();
        assert_eq!(found, [vec!["b", "c"], vec!["d"]]);
    }
}
