//! The canonical lines of each kind of step.

use super::{Page, inline, key, names, refs, scalar};
use crate::*;

/// A step's canonical lines: indent and text.
pub(crate) fn step_text(kind: &StepKind) -> Vec<(usize, String)> {
    let mut page = Page::default();
    step_lines(kind, &mut page);
    page.lines.into_iter().map(|line| (line.indent, line.text)).collect()
}

pub(super) fn step_lines(kind: &StepKind, page: &mut Page) {
    let none = Pos::default();
    let mut put = |at: Pos, text: String| page.put(2, at, text);
    let first = |refs: &[Ref]| refs.first().map_or(none, |r| r.at);
    let goes = |go: &Ref| (go.at, go.name.clone());
    match kind {
        StepKind::Play(play) => {
            put(first(&play.say), format!("play: {}", refs(&play.say)));
            if play.must_hear {
                put(none, "must_hear: true".into());
            }
            put(play.then.at, format!("then: {}", play.then.name));
        }
        StepKind::Menu(menu) => menu_lines(menu, page),
        StepKind::Gather(gather) => gather_lines(gather, page),
        StepKind::Branch(branch) => {
            put(none, if branch.cases.is_empty() { "branch: []".into() } else { "branch:".into() });
            for case in &branch.cases {
                let mut lines = condition_lines(&case.when).into_iter();
                page.put(3, case.go.at, format!("- {}", lines.next().unwrap_or_default()));
                for line in lines {
                    page.put(4, none, line);
                }
                page.put(4, case.go.at, format!("go: {}", case.go.name));
            }
            page.put(2, branch.otherwise.at, format!("else: {}", branch.otherwise.name));
        }
        StepKind::Set(set) => set_lines(set, page),
        StepKind::Queue(queue) => queue_lines(queue, page),
        StepKind::Ring(ring) => {
            match &ring.target {
                RingRef::Agent(agent) => put(agent.at, format!("ring: {{agent: {}}}", agent.name)),
                RingRef::Group(group) => put(group.at, format!("ring: {{group: {}}}", group.name)),
            }
            put(none, format!("timeout: {}", ring.timeout));
            let (at, name) = goes(&ring.no_answer);
            put(at, format!("no_answer: {name}"));
            put(ring.then.at, format!("then: {}", ring.then.name));
        }
        StepKind::Voicemail(mail) => {
            put(first(&mail.say), format!("voicemail: {}", refs(&mail.say)));
            put(none, format!("max: {}", mail.max));
            if mail.silence != Millis(5_000) {
                put(none, format!("silence: {}", mail.silence));
            }
            if !mail.beep {
                put(none, "beep: false".into());
            }
            if let Some(queue) = &mail.queue {
                put(queue.at, format!("queue: {}", queue.name));
            }
            if let Some(go) = &mail.no_message {
                put(go.at, format!("no_message: {}", go.name));
            }
            put(mail.then.at, format!("then: {}", mail.then.name));
        }
        StepKind::Callback(callback) => {
            put(callback.queue.at, format!("callback: {}", callback.queue.name));
            match &callback.to {
                CallbackTo::Caller => put(none, "to: caller".into()),
                CallbackTo::Variable(name) => put(name.at, format!("to: {{variable: {}}}", name.name)),
            }
            put(callback.refused.at, format!("refused: {}", callback.refused.name));
            put(callback.then.at, format!("then: {}", callback.then.name));
        }
        StepKind::Survey(survey) => {
            put(first(&survey.say), format!("survey: {}", refs(&survey.say)));
            if survey.timeout != Millis(5_000) {
                put(none, format!("timeout: {}", survey.timeout));
            }
            if survey.retries != 1 {
                put(none, format!("retries: {}", survey.retries));
            }
            put(survey.then.at, format!("then: {}", survey.then.name));
        }
        StepKind::Transfer(transfer) => {
            put(none, format!("transfer: {}", scalar(&transfer.target)));
            put(none, format!("timeout: {}", transfer.timeout));
            if let Some(keys) = &transfer.keys {
                put(none, format!("keys: {}", quoted(&keys.text)));
            }
            put(transfer.no_answer.at, format!("no_answer: {}", transfer.no_answer.name));
            put(transfer.then.at, format!("then: {}", transfer.then.name));
        }
        StepKind::SendKeys(send) => {
            put(none, format!("send_keys: {}", quoted(&send.keys.text)));
            if send.secret {
                put(none, "secret: true".into());
            }
            put(send.then.at, format!("then: {}", send.then.name));
        }
        StepKind::Hangup(hangup) => {
            let say = if hangup.say.is_empty() { "[]".into() } else { refs(&hangup.say) };
            put(first(&hangup.say), format!("hangup: {say}"));
        }
        StepKind::Reject(RejectReason::Busy) => put(none, "reject: busy".into()),
        StepKind::Reject(RejectReason::Declined) => put(none, "reject: declined".into()),
        StepKind::Subflow(sub) => {
            put(sub.flow.at, format!("subflow: {}", sub.flow.name));
            put(sub.then.at, format!("then: {}", sub.then.name));
        }
        StepKind::Return => put(none, "return:".into()),
        StepKind::Hook(hook) => {
            put(none, format!("hook: {}", scalar(&hook.target)));
            put(none, format!("timeout: {}", hook.timeout));
            if !hook.send.is_empty() {
                put(first(&hook.send), format!("send: {}", refs(&hook.send)));
            }
            if !hook.receive.is_empty() {
                put(none, format!("receive: {}", names(&hook.receive)));
            }
            put(hook.on_error.at, format!("on_error: {}", hook.on_error.name));
            put(hook.then.at, format!("then: {}", hook.then.name));
        }
    }
}

/// Keys are a text, whatever they look like.
fn quoted(keys: &str) -> String {
    format!("\"{keys}\"")
}

fn miss(field: &str, miss: &Miss) -> String {
    if miss.say.is_empty() {
        format!("{field}: {}", miss.go.name)
    } else {
        format!("{field}: {{say: {}, go: {}}}", refs(&miss.say), miss.go.name)
    }
}

fn menu_lines(menu: &Menu, page: &mut Page) {
    let none = Pos::default();
    page.put(2, menu.say.first().map_or(none, |r| r.at), format!("menu: {}", refs(&menu.say)));
    page.put(2, none, if menu.options.is_empty() { "options: {}" } else { "options:" });
    for (pressed, option) in &menu.options {
        let mut fields = Vec::new();
        fields.extend(option.label.iter().map(|label| format!("label: {}", inline(label))));
        fields.extend(option.category.iter().map(|category| format!("category: {category}")));
        fields.extend(option.language.iter().map(|lang| format!("language: {lang}")));
        let value = if fields.is_empty() {
            option.go.name.to_string()
        } else {
            fields.push(format!("go: {}", option.go.name));
            format!("{{{}}}", fields.join(", "))
        };
        page.put(3, option.go.at, format!("{}: {value}", key(*pressed)));
    }
    if menu.timeout != Millis(5_000) {
        page.put(2, none, format!("timeout: {}", menu.timeout));
    }
    if menu.retries != 2 {
        page.put(2, none, format!("retries: {}", menu.retries));
    }
    page.put(2, menu.no_input.go.at, miss("no_input", &menu.no_input));
    page.put(2, menu.no_match.go.at, miss("no_match", &menu.no_match));
}

fn gather_lines(gather: &Gather, page: &mut Page) {
    let none = Pos::default();
    page.put(2, gather.say.first().map_or(none, |r| r.at), format!("gather: {}", refs(&gather.say)));
    page.put(2, none, format!("into: {}", gather.into));
    let (low, high) = (gather.min_digits, gather.max_digits);
    let digits = if low == high { low.to_string() } else { format!("{low}-{high}") };
    page.put(2, none, format!("digits: {digits}"));
    match gather.finish {
        Some(finish) if finish.as_char() == '#' => {}
        Some(finish) => page.put(2, none, format!("finish: {}", key(finish))),
        None => page.put(2, none, "finish: none"),
    }
    if gather.timeout != Millis(5_000) {
        page.put(2, none, format!("timeout: {}", gather.timeout));
    }
    if gather.between != Millis(3_000) {
        page.put(2, none, format!("between: {}", gather.between));
    }
    if gather.secret {
        page.put(2, none, "secret: true");
    }
    if gather.retries != 2 {
        page.put(2, none, format!("retries: {}", gather.retries));
    }
    page.put(2, gather.no_input.go.at, miss("no_input", &gather.no_input));
    page.put(2, gather.no_match.go.at, miss("no_match", &gather.no_match));
    page.put(2, gather.then.at, format!("then: {}", gather.then.name));
}

fn condition_lines(condition: &Condition) -> Vec<String> {
    match condition {
        Condition::Open(calendar) => vec![format!("open: {}", calendar.name)],
        Condition::Closed(calendar) => vec![format!("closed: {}", calendar.name)],
        Condition::CallerStarts(prefixes) => {
            let prefixes: Vec<String> = prefixes.iter().map(|p| inline(p)).collect();
            vec![format!("caller_starts: [{}]", prefixes.join(", "))]
        }
        Condition::CallerIn(list) => vec![format!("caller_in: {}", list.name)],
        Condition::CallerHidden => vec!["caller_hidden: true".into()],
        Condition::Language(lang) => vec![format!("language: {lang}")],
        Condition::Queue(queue, test) => {
            let test = match test {
                QueueTest::Staffed => "is: staffed".into(),
                QueueTest::NotStaffed => "is: not-staffed".into(),
                QueueTest::Free => "is: free".into(),
                QueueTest::WaitingOver(n) => format!("waiting_over: {n}"),
                QueueTest::LongestWaitOver(ms) => format!("longest_wait_over: {ms}"),
                QueueTest::EstimatedWaitOver(ms) => format!("estimated_wait_over: {ms}"),
            };
            vec![format!("queue: {}", queue.name), test]
        }
        Condition::VariableEquals(name, value) => {
            vec![format!("variable: {}", name.name), format!("equals: {}", scalar(value))]
        }
        Condition::VariableSet(name) => vec![format!("variable: {}", name.name)],
    }
}

fn set_lines(set: &Set, page: &mut Page) {
    let none = Pos::default();
    let mut fields = Vec::new();
    fields.extend(set.language.iter().map(|lang| format!("language: {lang}")));
    fields.extend(set.category.iter().map(|category| format!("category: {category}")));
    fields.extend(set.priority.iter().map(|priority| format!("priority: {}", priority.as_str())));
    if !set.skills.is_empty() {
        fields.push(format!("skills: {}", names(&set.skills)));
    }
    if fields.is_empty() && set.variables.is_empty() {
        page.put(2, none, "set: {}");
    } else {
        page.put(2, none, "set:");
    }
    for field in fields {
        page.put(3, none, field);
    }
    if !set.variables.is_empty() {
        page.put(3, none, "variables:");
        for (name, value) in &set.variables {
            page.put(4, none, format!("{name}: {}", scalar(value)));
        }
    }
    page.put(2, set.then.at, format!("then: {}", set.then.name));
}

fn queue_lines(queue: &QueueStep, page: &mut Page) {
    let none = Pos::default();
    page.put(2, queue.queue.at, format!("queue: {}", queue.queue.name));
    if let Some(first) = queue.say.first() {
        page.put(2, first.at, format!("say: {}", refs(&queue.say)));
    }
    if let Some(music) = &queue.music {
        page.put(2, music.at, format!("music: {}", music.name));
    }
    if !queue.announce.is_empty() {
        page.put(2, none, "announce:");
        for rule in &queue.announce {
            let at = rule.say.first().map_or(none, |r| r.at);
            page.put(3, at, format!("- {{every: {}, say: {}}}", rule.every, refs(&rule.say)));
        }
    }
    if queue.credit != Millis(0) {
        page.put(2, none, format!("credit: {}", queue.credit));
    }
    if !queue.skills.is_empty() {
        page.put(2, none, format!("skills: {}", names(&queue.skills)));
    }
    match &queue.max_wait {
        MaxWait::Forever => page.put(2, none, "max_wait: forever"),
        MaxWait::Limit { after, go } => {
            page.put(2, none, format!("max_wait: {after}"));
            page.put(2, go.at, format!("on_max_wait: {}", go.name));
        }
    }
    if let Some(go) = &queue.not_staffed {
        page.put(2, go.at, format!("not_staffed: {}", go.name));
    }
    if !queue.overflow.is_empty() {
        page.put(2, none, "overflow:");
        for (way, go) in &queue.overflow {
            page.put(3, go.at, format!("{}: {}", way.word(), go.name));
        }
    }
    if let Some(go) = &queue.self_service {
        page.put(2, go.at, format!("self_service: {}", go.name));
    }
    if !queue.leave.is_empty() {
        page.put(2, none, "leave:");
        for (pressed, go) in &queue.leave {
            page.put(3, go.at, format!("{}: {}", key(*pressed), go.name));
        }
    }
    page.put(2, queue.then.at, format!("then: {}", queue.then.name));
}
