//! The flow's turns become scripts for the node and phases of the contact.

use hotline_base::{E164, Name, RecordingId, Reject};
use hotline_flow::run::{self, Ask, Input, Note, QueueAsk, Turn};
use hotline_flow::{Key, PromptRef, RejectReason};
use hotline_routing::estimate::{Announced, announce};
use hotline_wire::node::{Prompt, SentKeys, Verb, VerbResult};
use std::collections::BTreeMap;

use crate::step::Work;
use crate::{
    CallbackRefusal, ContactEffect, ContactFact, LeftQueue, Phase, Place, Recording, RecordingKind, RecordingStatus,
};

/// Turns taken within one step; a good flow needs at most a few.
const MAX_TURNS_PER_STEP: usize = 32;

impl Work<'_> {
    /// Takes a turn of the flow, and those after it that need neither the caller nor the world.
    pub(crate) fn turn(&mut self, turn: Turn) -> Result<(), Reject> {
        let mut turn = turn;
        let mut say: Vec<PromptRef> = Vec::new();
        for _ in 0..MAX_TURNS_PER_STEP {
            self.note(turn.notes);
            self.contact.cursor = turn.cursor;
            self.contact.fallback = crate::fallback(self.setting()?, self.contact.cursor.lang);
            say.extend(turn.say);
            let Ask::Callback { number, queue, since } = &turn.ask else {
                return self.begin(say, turn.ask);
            };
            let (number, queue, since) = (number.clone(), queue.clone(), *since);
            let input = match self.callback_number(number.expose(), &queue)? {
                Ok(number) => {
                    self.contact.callback = true;
                    let number = number.to_string().into();
                    let (entered, lost_call) = (None, false);
                    self.facts.push(ContactFact::CallbackRequested { number, queue, since, entered, lost_call });
                    Input::CallbackAccepted
                }
                Err(why) => {
                    self.facts.push(ContactFact::CallbackRefused { number, queue, why });
                    Input::CallbackRefused
                }
            };
            turn = match self.next_turn(&input)? {
                Some(turn) => turn,
                None => break,
            };
        }
        // A flow that passed `check` never comes here: end the call rather than loop.
        self.begin(say, Ask::Hangup)
    }

    /// The number that is called back in its one form, or why it is not.
    fn callback_number(&self, number: &str, queue: &Name) -> Result<Result<E164, CallbackRefusal>, Reject> {
        let config = self.queue_config(queue)?;
        let setting = self.setting()?;
        Ok(match config.callback.admit(&setting.home, number) {
            Err(why) => Err(CallbackRefusal::Number(why)),
            Ok(number) if number.as_str() == self.contact.did => Err(CallbackRefusal::OwnNumber),
            Ok(number) => setting.callback.and_then(|view| view.refused).map_or(Ok(number), Err),
        })
    }

    /// The turn that an answer leads to; `None`: the flow does not wait for it.
    pub(crate) fn next_turn(&mut self, input: &Input) -> Result<Option<Turn>, Reject> {
        // No flow runs behind a call back, unless it has one of its own.
        if self.contact.order.as_ref().is_some_and(|order| !order.asks) {
            return Ok(None);
        }
        let setting = self.setting()?;
        let cursor = self.contact.cursor.clone();
        Ok(run::resume(&setting.flow, cursor, input, &setting.env, self.now).ok())
    }

    /// Gives the flow an answer; one that it does not wait for changes nothing.
    pub(crate) fn resume(&mut self, input: &Input) -> Result<(), Reject> {
        match self.next_turn(input)? {
            Some(turn) => self.turn(turn),
            None => Ok(()),
        }
    }

    pub(crate) fn begin(&mut self, say: Vec<PromptRef>, ask: Ask) -> Result<(), Reject> {
        let setting = self.setting()?;
        let book = &setting.prompts;
        let mut verbs = Vec::new();
        let said = book.prompts(&say);
        if let Ask::Reject { reason } = &ask {
            let status = match reason {
                RejectReason::Busy => 486,
                RejectReason::Declined => 603,
            };
            // Too late to refuse a call that was answered.
            let end = if self.contact.answered {
                Verb::Hangup
            } else {
                Verb::Reject { status, prompts: said, retry_after_s: None }
            };
            self.contact.phase = Phase::InFlow { ask };
            self.play(vec![end]);
            return Ok(());
        }
        if !self.contact.answered {
            self.contact.answered = true;
            verbs.push(Verb::Answer);
        }
        if !said.is_empty() {
            verbs.push(Verb::Play { prompts: said });
        }
        match &ask {
            Ask::Play => {
                if !verbs.iter().any(|verb| matches!(verb, Verb::Play { .. })) {
                    verbs.push(Verb::Play { prompts: Vec::new() });
                }
            }
            Ask::Gather { prompts, max_digits, terminators, first_digit_ms, next_digit_ms, secret } => {
                verbs.push(Verb::Gather {
                    prompts: book.prompts(prompts),
                    max_digits: *max_digits,
                    terminators: terminators.clone(),
                    first_digit_ms: *first_digit_ms,
                    next_digit_ms: *next_digit_ms,
                    secret: *secret,
                });
            }
            Ask::Queue(queue) => return self.enqueue(verbs, queue.clone()),
            Ask::Ring { target, ring_timeout_ms } => {
                verbs.push(hold(crate::ringback(setting.home.country)));
                self.play(verbs);
                return self.ring_direct(target.clone(), *ring_timeout_ms);
            }
            Ask::Record { max_ms, silence_ms, beep, terminators, .. } => {
                let recording = RecordingId::new(self.now, setting.fresh);
                self.add_recording(recording, RecordingKind::Voicemail, None);
                verbs.push(Verb::Record {
                    recording,
                    max_ms: *max_ms,
                    silence_ms: *silence_ms,
                    beep: *beep,
                    terminators: terminators.clone(),
                });
            }
            Ask::Transfer { target, ring_timeout_ms, keys } => {
                let (target, ring_timeout_ms) = (target.clone(), *ring_timeout_ms);
                verbs.push(Verb::Transfer { target, ring_timeout_ms, record: None, keys: keys.as_ref().map(sent) });
            }
            Ask::SendKeys(keys) => verbs.push(Verb::SendKeys(sent(keys))),
            Ask::Hook { target, timeout_ms, body } => {
                self.contact.hooks += 1;
                self.effects.push(ContactEffect::CallHook {
                    number: self.contact.hooks,
                    target: target.clone(),
                    timeout_ms: *timeout_ms,
                    body: body.clone(),
                });
                verbs.push(hold(crate::silence()));
            }
            Ask::Hangup | Ask::Callback { .. } | Ask::Reject { .. } => verbs.push(Verb::Hangup),
        }
        self.contact.phase = Phase::InFlow { ask };
        self.play(verbs);
        Ok(())
    }

    /// The node says that the present script came to its end.
    pub(crate) fn script_ended(&mut self, label: &str, result: &VerbResult) -> Result<(), Reject> {
        if label != self.contact.script.label {
            return Ok(());
        }
        match self.contact.phase.clone() {
            Phase::InFlow { ask } => self.ask_ended(&ask, result),
            Phase::Waiting(_) | Phase::Offered { .. } => self.hold_ended(result),
            Phase::Talking { .. } | Phase::Dialling { .. } | Phase::Resting { .. } | Phase::Ended { .. } => Ok(()),
        }
    }

    pub(crate) fn ask_ended(&mut self, ask: &Ask, result: &VerbResult) -> Result<(), Reject> {
        let input = match (ask, result) {
            (Ask::Hangup | Ask::Reject { .. } | Ask::Hook { .. }, _) => return Ok(()),
            (_, VerbResult::Failed { .. }) => Input::Failed,
            (Ask::Play, _) => Input::PromptsDone,
            (Ask::SendKeys(_), _) => Input::KeysSent,
            (Ask::Gather { .. }, VerbResult::Digits { digits }) => Input::Digits { digits: digits.clone() },
            (Ask::Gather { .. }, _) => Input::Digits { digits: String::new().into() },
            (Ask::Record { queue, .. }, VerbResult::Recorded { recording, duration_ms }) => {
                if *duration_ms > 0 {
                    self.contact.voicemail = true;
                    self.facts.push(ContactFact::VoicemailLeft {
                        recording: *recording,
                        duration_ms: *duration_ms,
                        queue: queue.clone(),
                    });
                }
                Input::Recorded { duration_ms: *duration_ms }
            }
            (Ask::Record { .. }, _) => Input::Recorded { duration_ms: 0 },
            (Ask::Transfer { target, .. }, result) => {
                let answered = matches!(result, VerbResult::Transferred { answered: true, .. });
                self.facts.push(ContactFact::TransferEnded { target: target.clone().into(), answered });
                let input = Input::Transferred { answered };
                // An agent may have asked for it, not the flow.
                return match self.next_turn(&input)? {
                    Some(turn) => self.turn(turn),
                    None if !answered && self.transfer_returns()? => Ok(()),
                    None => self.go_on(),
                };
            }
            _ => Input::Failed,
        };
        self.resume(&input)
    }

    fn hold_ended(&mut self, result: &VerbResult) -> Result<(), Reject> {
        let VerbResult::Digits { digits } = result else {
            return self.leave_queue(&Input::Failed, LeftQueue::Failed);
        };
        let pressed = digits.expose().chars().last();
        let leaves = |key: &char| match self.contact.wait().map(|wait| &wait.place) {
            Some(Place::Queue { ask }) => ask.leave_keys.contains(*key),
            _ => false,
        };
        match pressed.filter(leaves).and_then(Key::new) {
            Some(key) => self.leave_queue(&Input::QueueLeft { key }, LeftQueue::Key),
            None => {
                self.hold_again();
                Ok(())
            }
        }
    }

    /// A hook's answer; one to an earlier question is too late.
    pub(crate) fn hook_answered(&mut self, number: u32, vars: Option<&BTreeMap<String, String>>) -> Result<(), Reject> {
        let Phase::InFlow { ask: Ask::Hook { target, .. } } = &self.contact.phase else {
            return Ok(());
        };
        if number != self.contact.hooks {
            return Ok(());
        }
        self.inherits = self.contact.script.answers;
        self.facts.push(ContactFact::HookAnswered { target: target.clone(), ok: vars.is_some() });
        let input = match vars {
            Some(vars) => Input::HookDone { vars: vars.clone() },
            None => Input::HookFailed,
        };
        self.resume(&input)
    }

    pub(crate) fn add_recording(
        &mut self,
        recording: RecordingId,
        kind: RecordingKind,
        agent: Option<hotline_base::AgentId>,
    ) {
        self.facts.push(ContactFact::RecordingStarted { recording, kind, agent });
        let status = RecordingStatus::Running;
        self.contact.recordings.push(Recording { recording, kind, agent, status });
        let extra = self.contact.recordings.len().saturating_sub(crate::state::MAX_RECORDINGS);
        self.contact.recordings.drain(..extra);
    }

    fn note(&mut self, notes: Vec<Note>) {
        for note in notes {
            let fact = match note {
                Note::StepEntered { flow, step, kind } => ContactFact::FlowStepEntered { flow, step, kind },
                Note::MenuChosen { step, digit, label, category } => {
                    ContactFact::MenuChosen { step, digit: digit.as_char(), label, category }
                }
                Note::NoInput { step } => ContactFact::InputMissed { step, pressed: false },
                Note::NoMatch { step } => ContactFact::InputMissed { step, pressed: true },
                Note::LanguageSet { lang } => ContactFact::LanguageSet { lang },
                Note::VariableSet { name, value } => ContactFact::VariableSet { name, value },
                Note::CategorySet { category } => ContactFact::CategorySet { category },
                Note::PrioritySet { priority } => ContactFact::PrioritySet { priority },
                Note::SurveyAnswered { step, score } => {
                    self.contact.survey = Some(score);
                    let last = self.contact.interactions.last();
                    ContactFact::SurveyAnswered {
                        step,
                        score,
                        agent: last.map(|interaction| interaction.agent),
                        queue: last.and_then(|interaction| interaction.queue.clone()),
                    }
                }
                Note::FlowFaulted { step, reason } => ContactFact::FlowFaulted { step, reason },
            };
            self.facts.push(fact);
        }
    }

    /// The waiting loop of a queue with the numbers known now, and what they tell of the wait. A
    /// figure told before does not rise by jitter.
    pub(crate) fn hold_verb(
        &self,
        ask: &QueueAsk,
        before: Option<Announced>,
    ) -> Result<(Verb, Option<Announced>), Reject> {
        let setting = self.setting()?;
        let estimate = setting.env.queues.get(&ask.queue).and_then(|view| view.estimated_wait_ms);
        let estimate = estimate.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX));
        let ahead = setting.position.map_or(0, |place| place.saturating_sub(1));
        let told = announce(before, ahead, estimate, self.now);
        let wait_ms = told.map(|told| u64::from(told.minutes) * 60_000);
        let say = |announcement: &hotline_flow::Announcement| {
            let prompts = setting.prompts.prompts(&announcement.prompts(setting.position, wait_ms));
            hotline_wire::node::Announcement { every_ms: announcement.every_ms, prompts }
        };
        let hold = Verb::Hold {
            music: setting.prompts.prompt(&ask.music).unwrap_or_else(crate::silence),
            announce: ask
                .announcements
                .iter()
                .map(say)
                .filter(|announcement| !announcement.prompts.is_empty())
                .collect(),
            keys: ask.leave_keys.clone(),
        };
        Ok((hold, told))
    }
}

fn sent(keys: &run::KeysAsk) -> SentKeys {
    SentKeys { keys: keys.keys.clone(), secret: keys.secret }
}

fn hold(music: Prompt) -> Verb {
    Verb::Hold { music, announce: Vec::new(), keys: String::new() }
}
