//! What an answer means at the step that asked.

use super::walk::{Answer, Walk};
use super::*;
use crate::{Flow, Key, MaxWait, Miss, Step, StepKind};

impl<'a> Walk<'a> {
    /// What an input means at the step that asked; `None`: nothing.
    pub(super) fn answer(&mut self, flow: &'a Flow, step: &'a Step, input: &Input) -> Option<Answer<'a>> {
        Some(match (&step.kind, input) {
            (StepKind::Menu(menu), Input::Digits { .. } | Input::Failed) => {
                let digits = digits_of(input);
                let key = digits.chars().next().and_then(Key::new);
                if let Some((key, option)) = key.and_then(|key| menu.options.get_key_value(&key)) {
                    self.notes.push(Note::MenuChosen {
                        step: self.cursor.at.step.clone(),
                        digit: *key,
                        label: option.label.clone(),
                        category: option.category.clone(),
                    });
                    if let Some(lang) = option.language {
                        self.set_lang(flow, lang);
                    }
                    if let Some(category) = &option.category {
                        self.set_category(category);
                    }
                    Answer::Go(&option.go)
                } else {
                    self.missed(digits.is_empty(), menu.retries, &menu.no_input, &menu.no_match)
                }
            }
            (StepKind::Gather(gather), Input::Digits { .. } | Input::Failed) => {
                let digits = digits_of(input);
                let digits: String = digits.chars().filter(|c| Key::new(*c).is_some()).collect();
                let count = digits.len();
                if count >= usize::from(gather.min_digits.max(1)) && count <= usize::from(gather.max_digits) {
                    self.set_variable(&gather.into, &digits, gather.secret);
                    Answer::Go(&gather.then)
                } else {
                    self.missed(digits.is_empty(), gather.retries, &gather.no_input, &gather.no_match)
                }
            }
            (StepKind::Survey(survey), Input::Digits { .. } | Input::Failed) => {
                let digits = digits_of(input);
                match digits.chars().next().and_then(|c| c.to_digit(10)) {
                    Some(score @ 1..=5) => {
                        let score = u8::try_from(score).unwrap_or(5);
                        self.notes.push(Note::SurveyAnswered { step: self.cursor.at.step.clone(), score });
                        Answer::Go(&survey.then)
                    }
                    _ if digits.is_empty() => {
                        self.notes.push(Note::NoInput { step: self.cursor.at.step.clone() });
                        Answer::Go(&survey.then)
                    }
                    _ => {
                        self.notes.push(Note::NoMatch { step: self.cursor.at.step.clone() });
                        let again = self.cursor.attempts < survey.retries;
                        if again { Answer::Again(&[]) } else { Answer::Go(&survey.then) }
                    }
                }
            }
            (StepKind::Queue(queue), input) => match (input, &queue.max_wait) {
                (Input::AgentDone, _) => {
                    // Served: whoever comes back queues anew.
                    self.cursor.queued = None;
                    Answer::Go(&queue.then)
                }
                (Input::QueueTimedOut, MaxWait::Limit { go, .. }) => Answer::Go(go),
                (Input::Overflowed { way }, wait) => match (queue.overflow.get(way), wait) {
                    (Some(go), _) | (None, MaxWait::Limit { go, .. }) => Answer::Go(go),
                    (None, MaxWait::Forever) => return None,
                },
                (Input::SelfService, wait) => {
                    match (queue.self_service.as_ref().or(queue.not_staffed.as_ref()), wait) {
                        (Some(go), _) | (None, MaxWait::Limit { go, .. }) => Answer::Go(go),
                        (None, MaxWait::Forever) => Answer::Go(&queue.then),
                    }
                }
                // A wait that cannot be carried out ends as one that was too long.
                (Input::Failed, MaxWait::Limit { go, .. }) => Answer::Go(go),
                (Input::Failed, MaxWait::Forever) => Answer::Go(queue.not_staffed.as_ref().unwrap_or(&queue.then)),
                (Input::NobodyStaffed, _) => Answer::Go(queue.not_staffed.as_ref()?),
                (Input::QueueLeft { key }, _) => Answer::Go(queue.leave.get(key)?),
                _ => return None,
            },
            (StepKind::Ring(ring), Input::AgentDone) => Answer::Go(&ring.then),
            (StepKind::Ring(ring), Input::RingFailed | Input::Failed) => Answer::Go(&ring.no_answer),
            (StepKind::Voicemail(mail), Input::Recorded { duration_ms }) if *duration_ms > 0 => Answer::Go(&mail.then),
            (StepKind::Voicemail(mail), Input::Recorded { .. } | Input::Failed) => {
                Answer::Go(mail.no_message.as_ref().unwrap_or(&mail.then))
            }
            (StepKind::Callback(callback), Input::CallbackAccepted) => Answer::Go(&callback.then),
            (StepKind::Callback(callback), Input::CallbackRefused | Input::Failed) => Answer::Go(&callback.refused),
            (StepKind::Transfer(transfer), Input::Transferred { answered: true }) => Answer::Go(&transfer.then),
            (StepKind::Transfer(transfer), Input::Transferred { .. } | Input::Failed) => {
                Answer::Go(&transfer.no_answer)
            }
            (StepKind::SendKeys(send), Input::KeysSent | Input::Failed) => Answer::Go(&send.then),
            (StepKind::Hook(hook), Input::HookDone { vars }) => {
                for name in &hook.receive {
                    if let Some(value) = vars.get(name.as_str()) {
                        self.set_variable(name, value, false);
                    }
                }
                Answer::Go(&hook.then)
            }
            (StepKind::Hook(hook), Input::HookFailed | Input::Failed) => Answer::Go(&hook.on_error),
            _ => return None,
        })
    }

    fn missed<'f>(&mut self, silent: bool, retries: u8, no_input: &'f Miss, no_match: &'f Miss) -> Answer<'f> {
        let step = self.cursor.at.step.clone();
        let (note, miss) = if silent { (Note::NoInput { step }, no_input) } else { (Note::NoMatch { step }, no_match) };
        self.notes.push(note);
        if self.cursor.attempts < retries { Answer::Again(&miss.say) } else { Answer::Go(&miss.go) }
    }
}

fn digits_of(input: &Input) -> String {
    match input {
        Input::Digits { digits } => digits.expose().clone(),
        _ => String::new(),
    }
}

impl Input {
    /// The word for it in messages.
    pub fn word(&self) -> &'static str {
        match self {
            Input::PromptsDone => "the end of prompts",
            Input::Digits { .. } => "digits",
            Input::QueueTimedOut => "the end of the longest wait",
            Input::Overflowed { .. } => "a rule of a full queue",
            Input::SelfService => "a queue that machines serve",
            Input::QueueLeft { .. } => "a leave key",
            Input::NobodyStaffed => "an empty queue",
            Input::AgentDone => "the end of a talk",
            Input::RingFailed => "an unanswered ring",
            Input::Recorded { .. } => "a recording",
            Input::HookDone { .. } => "a hook's answer",
            Input::HookFailed => "a hook's failure",
            Input::Transferred { .. } => "the end of a transfer",
            Input::KeysSent => "the end of sent keys",
            Input::CallbackAccepted => "an accepted callback",
            Input::CallbackRefused => "a refused callback",
            Input::Failed => "a failure",
        }
    }
}
