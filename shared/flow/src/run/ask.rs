//! What each step asks of the outside.

use hotline_base::{Name, Timestamp};

use super::say::{announcements, later, sounds};
use super::walk::Walk;
use super::*;
use crate::units::{is_key, is_pause};
use crate::{
    Builtin, CallbackTo, Condition, Flow, Gather, Keys, MaxWait, Menu, PromptRef, QueueStep, QueueTest, Ref, RingRef,
    Step, StepKind, Survey,
};

pub(super) fn music(name: Option<&Ref>) -> PromptRef {
    match name {
        Some(name) => PromptRef::Audio { name: name.name.clone() },
        None => PromptRef::Builtin { sound: Builtin::HoldMusic },
    }
}

impl<'a> Walk<'a> {
    /// Begins a step: its ask, or `None` after moving on to the next step.
    pub(super) fn ask(&mut self, flow: &'a Flow, step: &'a Step) -> Option<Ask> {
        match &step.kind {
            StepKind::Play(play) => {
                let prompts = sounds(flow, &play.say, &self.cursor);
                later(&mut self.cursor, prompts, play.must_hear);
                self.go(&play.then);
                // A node's script is bounded; long chains of prompts are played in between.
                (self.cursor.pending.len() > MAX_PENDING).then_some(Ask::Play)
            }
            StepKind::Menu(menu) => Some(self.ask_menu(flow, menu)),
            StepKind::Gather(gather) => Some(self.ask_digits(flow, gather)),
            StepKind::Survey(survey) => Some(self.ask_score(flow, survey)),
            StepKind::Branch(branch) => {
                let case = branch.cases.iter().find(|case| self.holds(&case.when));
                self.go(case.map_or(&branch.otherwise, |case| &case.go));
                None
            }
            StepKind::Set(set) => {
                if let Some(lang) = set.language {
                    self.set_lang(flow, lang);
                }
                if let Some(category) = &set.category {
                    self.set_category(category);
                }
                if let Some(priority) = set.priority {
                    self.cursor.priority = priority;
                    self.notes.push(Note::PrioritySet { priority });
                }
                self.add_skills(&set.skills);
                for (name, value) in &set.variables {
                    self.set_variable(name, value, false);
                }
                self.go(&set.then);
                None
            }
            StepKind::Queue(queue) => self.ask_queue(flow, queue),
            StepKind::Ring(ring) => Some(Ask::Ring {
                target: match &ring.target {
                    RingRef::Agent(agent) => RingTarget::Agent(agent.name.clone()),
                    RingRef::Group(group) => RingTarget::Group(group.name.clone()),
                },
                ring_timeout_ms: ring.timeout.0,
            }),
            StepKind::Voicemail(mail) => {
                let prompts = sounds(flow, &mail.say, &self.cursor);
                later(&mut self.cursor, prompts, false);
                Some(Ask::Record {
                    max_ms: mail.max.0,
                    silence_ms: mail.silence.0,
                    beep: mail.beep,
                    terminators: "#".into(),
                    queue: mail.queue.as_ref().map(|q| q.name.clone()),
                })
            }
            StepKind::Callback(callback) => {
                let number = match &callback.to {
                    CallbackTo::Caller => self.cursor.number.clone(),
                    CallbackTo::Variable(name) => {
                        self.cursor.vars.get(&name.name).map(|v| v.value.clone()).unwrap_or_default()
                    }
                };
                if number.expose().is_empty() {
                    self.go(&callback.refused);
                    return None;
                }
                Some(Ask::Callback {
                    number,
                    // Whichever queue calls back: the time waited so far counts.
                    since: self.cursor.queued.as_ref().map_or(self.now, |(_, since)| *since),
                    queue: callback.queue.name.clone(),
                })
            }
            StepKind::Transfer(transfer) => Some(Ask::Transfer {
                target: transfer.target.clone(),
                ring_timeout_ms: transfer.timeout.0,
                keys: transfer.keys.as_ref().and_then(|keys| self.keys(keys, false)),
            }),
            StepKind::SendKeys(send) => {
                let keys = self.keys(&send.keys, send.secret);
                if keys.is_none() {
                    // A variable without a value: there is nothing to send.
                    self.go(&send.then);
                }
                keys.map(Ask::SendKeys)
            }
            StepKind::Hangup(hangup) => {
                let prompts = sounds(flow, &hangup.say, &self.cursor);
                later(&mut self.cursor, prompts, false);
                Some(Ask::Hangup)
            }
            StepKind::Reject(reason) => {
                let unheard = !self.cursor.answered && self.cursor.pending.is_empty();
                Some(if unheard { Ask::Reject { reason: *reason } } else { Ask::Hangup })
            }
            StepKind::Subflow(sub) => {
                let inner = self.compiled.flow(&sub.flow.name);
                let Some(inner) = inner.filter(|_| self.cursor.stack.len() < MAX_DEPTH) else {
                    let reason = format!("flow {} cannot be called from here", sub.flow.name);
                    self.notes.push(Note::FlowFaulted { step: self.cursor.at.step.clone(), reason });
                    self.go(&sub.then);
                    return None;
                };
                let back = Frame { flow: self.cursor.at.flow.clone(), step: sub.then.name.clone() };
                self.cursor.stack.push(back);
                self.cursor.at.flow = inner.name.clone();
                self.go(&inner.start);
                None
            }
            StepKind::Return => match self.cursor.stack.pop() {
                Some(back) => {
                    self.cursor.at = back;
                    self.cursor.attempts = 0;
                    None
                }
                None => Some(Ask::Hangup),
            },
            StepKind::Hook(hook) => {
                if !self.cursor.pending.is_empty() {
                    // The step begins, and is noted, after the prompts.
                    self.notes.pop();
                    return Some(Ask::Play);
                }
                let value = |r: &Ref| self.cursor.vars.get(&r.name).map(|v| v.value.clone()).unwrap_or_default();
                Some(Ask::Hook {
                    target: hook.target.clone(),
                    timeout_ms: hook.timeout.0,
                    body: hook.send.iter().map(|r| (r.name.to_string(), value(r))).collect(),
                })
            }
        }
    }

    /// Keys with the values of their variables; secret where one of those is. `None`: no key at all.
    fn keys(&self, keys: &Keys, secret: bool) -> Option<KeysAsk> {
        let (mut sent, mut secret) = (String::new(), secret);
        for piece in keys.text.split_inclusive('}') {
            let (plain, variable) = piece.trim_end_matches('}').split_once('{').unwrap_or((piece, ""));
            sent.push_str(plain);
            let known = self.cursor.vars.iter().find(|(name, _)| name.as_str() == variable.trim());
            if let Some((_, variable)) = known {
                sent.extend(variable.value.expose().chars().filter(|c| is_key(*c)));
                secret |= variable.secret;
            }
        }
        let sent: String = sent.chars().filter(|c| is_key(*c) || is_pause(*c)).take(MAX_KEYS).collect();
        sent.chars().any(is_key).then(|| KeysAsk { keys: sent.into(), secret })
    }

    fn ask_menu(&mut self, flow: &Flow, menu: &Menu) -> Ask {
        Ask::Gather {
            prompts: sounds(flow, &menu.say, &self.cursor),
            max_digits: 1,
            terminators: String::new(),
            first_digit_ms: menu.timeout.0,
            next_digit_ms: menu.timeout.0,
            secret: false,
        }
    }

    fn ask_digits(&mut self, flow: &Flow, gather: &Gather) -> Ask {
        Ask::Gather {
            prompts: sounds(flow, &gather.say, &self.cursor),
            max_digits: gather.max_digits,
            terminators: gather.finish.map(|k| k.to_string()).unwrap_or_default(),
            first_digit_ms: gather.timeout.0,
            next_digit_ms: gather.between.0,
            secret: gather.secret,
        }
    }

    fn ask_score(&mut self, flow: &Flow, survey: &Survey) -> Ask {
        Ask::Gather {
            prompts: sounds(flow, &survey.say, &self.cursor),
            max_digits: 1,
            terminators: String::new(),
            first_digit_ms: survey.timeout.0,
            next_digit_ms: survey.timeout.0,
            secret: false,
        }
    }

    fn ask_queue(&mut self, flow: &Flow, step: &QueueStep) -> Option<Ask> {
        if let Some(not_staffed) = &step.not_staffed
            && self.env.queues.get(&step.queue.name).is_none_or(|q| q.staffed == 0)
        {
            self.go(not_staffed);
            return None;
        }
        let prompts = sounds(flow, &step.say, &self.cursor);
        later(&mut self.cursor, prompts, false);
        self.add_skills(&step.skills);
        let since = self.since(&step.queue.name);
        self.cursor.queued = Some((step.queue.name.clone(), since));
        Some(Ask::Queue(QueueAsk {
            queue: step.queue.name.clone(),
            music: music(step.music.as_ref()),
            announcements: announcements(flow, &step.announce, &self.cursor),
            priority: self.cursor.priority,
            priority_credit_ms: step.credit.0,
            since,
            max_wait_ms: match step.max_wait {
                MaxWait::Forever => None,
                MaxWait::Limit { after, .. } => Some(after.0),
            },
            leave_when_not_staffed: step.not_staffed.is_some(),
            skills: self.cursor.skills.clone(),
            lang: self.cursor.lang,
            category: self.cursor.category.clone(),
            leave_keys: step.leave.keys().map(|k| k.as_char()).collect(),
        }))
    }

    /// When the caller first entered this queue; now, for another one.
    fn since(&self, queue: &Name) -> Timestamp {
        match &self.cursor.queued {
            Some((before, since)) if before == queue => *since,
            _ => self.now,
        }
    }

    fn holds(&self, condition: &Condition) -> bool {
        let number = self.cursor.number.expose();
        match condition {
            Condition::Open(calendar) => self.env.open_calendars.contains(&calendar.name),
            Condition::Closed(calendar) => !self.env.open_calendars.contains(&calendar.name),
            Condition::CallerStarts(prefixes) => prefixes.iter().any(|p| number.starts_with(p.as_str())),
            Condition::CallerIn(list) => self.env.vip_lists.contains(&list.name),
            Condition::CallerHidden => number.is_empty(),
            Condition::Language(lang) => self.cursor.lang == *lang,
            Condition::Queue(queue, test) => {
                let view = self.env.queues.get(&queue.name).copied().unwrap_or_default();
                match test {
                    QueueTest::Staffed => view.staffed > 0,
                    QueueTest::NotStaffed => view.staffed == 0,
                    QueueTest::Free => view.free > 0,
                    QueueTest::WaitingOver(n) => view.waiting > *n,
                    QueueTest::LongestWaitOver(ms) => view.longest_wait_ms > u64::from(ms.0),
                    QueueTest::EstimatedWaitOver(ms) => {
                        view.estimated_wait_ms.is_some_and(|wait| wait > u64::from(ms.0))
                    }
                }
            }
            Condition::VariableEquals(name, value) => {
                self.cursor.vars.get(&name.name).is_some_and(|v| v.value.expose() == value)
            }
            Condition::VariableSet(name) => self.cursor.vars.contains_key(&name.name),
        }
    }
}
