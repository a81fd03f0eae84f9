//! Plays a script against a flow in virtual time.

use chrono::{TimeZone, Utc};
use chrono_tz::Tz;
use hotline_base::{Name, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

use super::{Act, Failure, Given, Line, Opening, Report, Script, Test, TestReport, judge};
use crate::run::{Ask, Caller, Diverted, Env, Input, Note, QueueAsk, QueueView, Turn, resume, start};
use crate::{Compiled, Key, PromptRef};

/// Lines of one ladder.
const MAX_LADDER: usize = 500;
/// Turns that may follow one another by themselves between two lines.
const MAX_TURNS: usize = 200;
/// When a call comes where the script names no moment: a Wednesday at 10:00 UTC.
const DEFAULT_START: Timestamp = Timestamp::from_millis(1_768_989_600_000);

/// Plays every test of a script.
pub fn play(compiled: &Compiled, script: &Script) -> Report {
    Report { tests: script.tests.iter().map(|test| play_test(compiled, test)).collect() }
}

fn play_test(compiled: &Compiled, test: &Test) -> TestReport {
    let mut stage = Stage::new(compiled);
    for (number, line) in &test.lines {
        match line {
            Line::At { local, zone } => {
                if stage.turn.is_some() {
                    stage.fail(*number, "the call has begun already: 'at' must stand before it");
                    continue;
                }
                match zone.from_local_datetime(local).earliest() {
                    Some(at) => {
                        stage.zone = *zone;
                        stage.began = Timestamp::from_millis(at.timestamp_millis());
                    }
                    None => stage.fail(*number, format!("{local} does not exist in {zone}: clocks were set forward")),
                }
            }
            Line::Given(given) => stage.given(given),
            Line::Then(after, act) => {
                stage.begin();
                stage.window.clear();
                stage.pass(*after);
                stage.act(*number, act);
            }
            Line::Expect { not, what } => {
                stage.begin();
                if let Err(found) = judge::judge(&stage, *not, what) {
                    stage.fail(*number, found);
                }
            }
        }
    }
    stage.begin();
    TestReport {
        name: test.name.clone(),
        failures: stage.failures,
        ladder: stage.ladder,
        steps: stage.steps.into_iter().collect(),
    }
}

/// The world around one call.
pub(super) struct Stage<'a> {
    pub(super) compiled: &'a Compiled,
    began: Timestamp,
    zone: Tz,
    /// Milliseconds since the call began.
    now: u64,
    caller: Option<String>,
    diverted: Option<Diverted>,
    calendars: BTreeMap<Name, Opening>,
    queues: BTreeMap<Name, QueueView>,
    /// Queues that send callers on.
    sent_on: BTreeMap<Name, Input>,
    lists: BTreeSet<Name>,
    hooks: BTreeMap<String, Option<BTreeMap<String, String>>>,
    refuse_callbacks: bool,
    pub(super) turn: Option<Turn>,
    /// When the running ask began, and when what is said before it is over.
    asked: u64,
    said: u64,
    /// Keys pressed within a running gather, and when the last came.
    keys: String,
    last_key: u64,
    /// An agent or another side talks with the caller.
    talking: bool,
    pub(super) ended: bool,
    /// Announcements made in the running wait.
    announced: u64,
    /// What happened since the last act.
    pub(super) window: Vec<Seen>,
    failures: Vec<Failure>,
    ladder: Vec<String>,
    steps: BTreeSet<String>,
}

/// Something that an `expect` can look back at.
pub(super) enum Seen {
    Said(Vec<PromptRef>),
    Noted(Note),
    Asked(Ask),
}

impl<'a> Stage<'a> {
    fn new(compiled: &'a Compiled) -> Self {
        Self {
            compiled,
            began: DEFAULT_START,
            zone: chrono_tz::UTC,
            now: 0,
            caller: Some("+8613800138000".into()),
            diverted: None,
            calendars: BTreeMap::new(),
            queues: BTreeMap::new(),
            sent_on: BTreeMap::new(),
            lists: BTreeSet::new(),
            hooks: BTreeMap::new(),
            refuse_callbacks: false,
            turn: None,
            asked: 0,
            said: 0,
            keys: String::new(),
            last_key: 0,
            talking: false,
            ended: false,
            announced: 0,
            window: Vec::new(),
            failures: Vec::new(),
            ladder: Vec::new(),
            steps: BTreeSet::new(),
        }
    }

    fn fail(&mut self, line: u32, message: impl Into<String>) {
        self.failures.push(Failure { line, message: message.into() });
    }

    fn log(&mut self, who: &str, arrow: &str, what: impl AsRef<str>) {
        if self.ladder.len() < MAX_LADDER {
            let (minutes, tenths) = (self.now / 60_000, self.now % 60_000 / 100);
            let time = format!("{minutes}:{:02}.{}", tenths / 10, tenths % 10);
            self.ladder.push(format!("{time:>9}  {who:<6} {arrow} {}", what.as_ref()));
        }
    }

    fn at(&self) -> Timestamp {
        self.began.plus_ms(i64::try_from(self.now).unwrap_or(i64::MAX))
    }

    fn env(&self) -> Env {
        let at = Utc.timestamp_millis_opt(self.at().as_millis()).single().unwrap_or_default();
        let open = self.calendars.iter().filter(|(_, opening)| match opening {
            Opening::Open => true,
            Opening::Closed => false,
            Opening::Hours(hours) => hours.open(at, self.zone),
        });
        Env {
            open_calendars: open.map(|(name, _)| name.clone()).collect(),
            queues: self.queues.clone(),
            vip_lists: self.lists.clone(),
        }
    }

    fn given(&mut self, given: &Given) {
        match given {
            Given::Caller(number) => self.caller = number.clone(),
            Given::Diverted(from, reason) => {
                let (first, last) = (from.clone().into(), from.clone().into());
                self.diverted = Some(Diverted { first, last, reason: reason.clone() });
            }
            Given::Calendar(name, opening) => drop(self.calendars.insert(name.clone(), opening.clone())),
            Given::List(list) => drop(self.lists.insert(list.clone())),
            Given::Hook(target, answer) => drop(self.hooks.insert(target.clone(), answer.clone())),
            Given::SentOn(queue, input) => drop(self.sent_on.insert(queue.clone(), input.clone())),
            Given::CallbackRefused => self.refuse_callbacks = true,
            Given::Queue(name, view) => {
                self.queues.insert(name.clone(), *view);
                let leaves = match self.ask() {
                    Some(Ask::Queue(q)) => &q.queue == name && q.leave_when_not_staffed && view.staffed == 0,
                    _ => false,
                };
                if leaves && !self.talking {
                    self.log("agents", "──▶", "nobody is signed in any more");
                    self.answer(&Input::NobodyStaffed);
                }
            }
        }
    }

    pub(super) fn ask(&self) -> Option<&Ask> {
        self.turn.as_ref().filter(|_| !self.ended).map(|t| &t.ask)
    }

    /// The call comes in, once.
    fn begin(&mut self) {
        if self.turn.is_some() {
            return;
        }
        let number = self.caller.clone().unwrap_or_default();
        let shown = if number.is_empty() { "a hidden number" } else { &number };
        let said = format!("calls from {shown}");
        self.log("caller", "──▶", said);
        let caller = Caller { number: number.into(), lang: None, diverted: self.diverted.clone() };
        let turn = start(self.compiled, &caller, &self.env(), self.at());
        self.take(turn);
    }

    /// A turn begins: writes down what it brings, and plays on what needs nobody.
    fn take(&mut self, turn: Turn) {
        self.asked = self.now;
        self.keys.clear();
        self.talking = false;
        self.announced = 0;
        for note in &turn.notes {
            let line = match note {
                Note::StepEntered { flow, step, kind } => {
                    self.steps.insert(format!("{flow}/{step}"));
                    format!("{kind} {step}")
                }
                Note::MenuChosen { digit, label: Some(label), .. } => format!("chosen {digit}: {label}"),
                Note::MenuChosen { digit, .. } => format!("chosen {digit}"),
                Note::NoInput { step } => format!("no input at {step}"),
                Note::NoMatch { step } => format!("no match at {step}"),
                Note::LanguageSet { lang } => format!("language {lang}"),
                Note::CategorySet { category } => format!("category {category}"),
                Note::PrioritySet { priority } => format!("priority {}", priority.as_str()),
                Note::VariableSet { name, value: Some(value) } => format!("{name} = {}", value.expose()),
                Note::VariableSet { name, value: None } => format!("{name} = (secret)"),
                Note::SurveyAnswered { score, .. } => format!("score {score}"),
                Note::FlowFaulted { reason, .. } => format!("FAULT: {reason}"),
            };
            self.log("", " · ", line);
            self.window.push(Seen::Noted(note.clone()));
        }
        let mut prompts = turn.say.clone();
        let blocking = prompts.iter().map(duration_ms).sum::<u64>();
        let mut length = blocking;
        if let Ask::Gather { prompts: question, .. } = &turn.ask {
            length += question.iter().map(duration_ms).sum::<u64>();
            prompts.extend(question.iter().cloned());
        }
        self.said = self.now + length;
        self.say(prompts);
        self.window.push(Seen::Asked(turn.ask.clone()));
        let line = match &turn.ask {
            Ask::Queue(queue) => Some(format!("waits in queue {}{}", queue.queue, limit(queue.max_wait_ms))),
            Ask::Ring { target, .. } => Some(format!("rings {target:?}")),
            Ask::Record { .. } => Some("records a message".into()),
            Ask::Callback { number, queue, .. } => Some(format!("promises {} a call from {queue}", number.expose())),
            Ask::Transfer { target, .. } => Some(format!("calls {target}")),
            Ask::SendKeys(sent) if sent.secret => Some("hears secret keys".into()),
            Ask::SendKeys(sent) => Some(format!("hears keys {}", sent.keys.expose())),
            Ask::Hook { target, .. } => Some(format!("asks {target}")),
            Ask::Hangup => Some("hangs up".into()),
            Ask::Reject { reason } => Some(format!("refuses the call: {reason:?}").to_lowercase()),
            Ask::Play | Ask::Gather { .. } => None,
        };
        if let Some(line) = line {
            self.log("caller", "◀──", line);
        }
        self.ended |= matches!(turn.ask, Ask::Hangup | Ask::Reject { .. });
        self.turn = Some(turn);
    }

    fn say(&mut self, prompts: Vec<PromptRef>) {
        if prompts.is_empty() {
            return;
        }
        let words: Vec<String> = prompts.iter().map(text).collect();
        self.log("caller", "◀──", format!("“{}”", words.join(" ")));
        self.window.push(Seen::Said(prompts));
    }

    /// Answers the ask.
    fn answer(&mut self, input: &Input) {
        let Some(turn) = self.turn.take() else { return };
        let (env, at) = (self.env(), self.at());
        match resume(self.compiled, turn.cursor.clone(), input, &env, at) {
            Ok(next) => self.take(next),
            Err(_) => self.turn = Some(turn),
        }
    }

    /// Lets time pass; what ends by itself ends in between.
    fn pass(&mut self, ms: u32) {
        let until = self.now + u64::from(ms);
        for _ in 0..MAX_TURNS {
            let Some((due, input)) = self.by_itself().filter(|(due, _)| *due <= until) else {
                break;
            };
            self.announce(due);
            self.now = due.max(self.now);
            match &input {
                Input::Digits { digits } if digits.expose().is_empty() => {
                    self.log("caller", "──▶", "(presses nothing)")
                }
                Input::QueueTimedOut => self.log("", " · ", "waited too long"),
                Input::SelfService => self.log("", " · ", "left to machines"),
                Input::Overflowed { way } => {
                    self.log("", " · ", format!("overflows: {}", way.word()));
                    // A rule applies once.
                    if let Some(Ask::Queue(queue)) = self.ask() {
                        let queue = queue.queue.clone();
                        self.sent_on.remove(&queue);
                    }
                }
                Input::RingFailed | Input::Transferred { answered: false } => self.log("", " · ", "no answer"),
                Input::HookFailed => self.log("", " · ", "the hook fails"),
                _ => {}
            }
            self.answer(&input);
        }
        self.announce(until);
        self.now = until;
    }

    /// What is said while waiting until `until`.
    fn announce(&mut self, until: u64) {
        let Some(Ask::Queue(queue)) = self.ask().cloned() else {
            return;
        };
        if self.talking {
            return;
        }
        let began = self.asked;
        while let Some((at, prompts)) = self.next_announcement(&queue, began).filter(|(at, _)| *at <= until) {
            let now = std::mem::replace(&mut self.now, at);
            self.say(prompts);
            self.now = now.max(at);
            self.announced += 1;
            if self.ladder.len() >= MAX_LADDER {
                break;
            }
        }
    }

    /// The announcement number `announced` of the wait, all rules merged in order of time.
    fn next_announcement(&self, queue: &QueueAsk, began: u64) -> Option<(u64, Vec<PromptRef>)> {
        let view = self.queues.get(&queue.queue).copied().unwrap_or_default();
        let mut left = self.announced;
        let mut next: Vec<(u64, usize)> =
            queue.announcements.iter().enumerate().map(|(i, a)| (u64::from(a.every_ms), i)).collect();
        loop {
            let slot = next.iter_mut().min_by_key(|slot| **slot)?;
            let (after, which) = *slot;
            let rule = queue.announcements.get(which)?;
            if left == 0 {
                let position = view.waiting.saturating_add(1);
                return Some((began + after, rule.prompts(Some(position), view.estimated_wait_ms)));
            }
            left -= 1;
            slot.0 = if rule.every_ms == 0 { u64::MAX / 2 } else { after + u64::from(rule.every_ms) };
        }
    }

    /// What happens next if nobody does anything, and when.
    fn by_itself(&self) -> Option<(u64, Input)> {
        let ask = self.ask()?;
        if self.talking {
            return None;
        }
        let after = |ms: &u32| self.said + u64::from(*ms);
        Some(match ask {
            Ask::Play => (self.said, Input::PromptsDone),
            Ask::Gather { first_digit_ms, next_digit_ms, .. } => {
                let due = match self.keys.is_empty() {
                    true => after(first_digit_ms),
                    false => self.last_key + u64::from(*next_digit_ms),
                };
                (due, Input::Digits { digits: self.keys.clone().into() })
            }
            Ask::Queue(queue) if self.sent_on.contains_key(&queue.queue) => {
                (self.asked, self.sent_on.get(&queue.queue)?.clone())
            }
            Ask::Queue(queue) => (self.asked + u64::from(queue.max_wait_ms?), Input::QueueTimedOut),
            Ask::Ring { ring_timeout_ms, .. } => (after(ring_timeout_ms), Input::RingFailed),
            Ask::Transfer { ring_timeout_ms, .. } => (after(ring_timeout_ms), Input::Transferred { answered: false }),
            Ask::Record { max_ms, silence_ms, .. } => {
                let silent = if *silence_ms == 0 { max_ms } else { silence_ms };
                (after(silent), Input::Recorded { duration_ms: 0 })
            }
            Ask::SendKeys(sent) => {
                let ms = |key: char| match key {
                    ',' => 500,
                    'w' => 1_000,
                    _ => 200,
                };
                (self.said + sent.keys.expose().chars().map(ms).sum::<u64>(), Input::KeysSent)
            }
            Ask::Callback { .. } if self.refuse_callbacks => (self.now, Input::CallbackRefused),
            Ask::Callback { .. } => (self.now, Input::CallbackAccepted),
            Ask::Hook { target, timeout_ms, .. } => match self.hooks.get(target) {
                Some(Some(vars)) => (self.now, Input::HookDone { vars: vars.clone() }),
                Some(None) => (self.now, Input::HookFailed),
                None => (self.now + u64::from(*timeout_ms), Input::HookFailed),
            },
            Ask::Hangup | Ask::Reject { .. } => return None,
        })
    }

    fn act(&mut self, line: u32, act: &Act) {
        if self.ended && !matches!(act, Act::Wait) {
            self.fail(line, "the call is over already");
            return;
        }
        match act {
            Act::Wait => {}
            Act::Given(given) => self.given(given),
            Act::CallerHangsUp => {
                self.log("caller", "──▶", "hangs up");
                self.ended = true;
            }
            Act::Dtmf(keys) => {
                self.log("caller", "──▶", format!("presses {keys}"));
                self.press(line, keys);
            }
            Act::Speaks(ms) => {
                if !matches!(self.ask(), Some(Ask::Record { .. })) {
                    return self.fail(line, "nothing is recorded just now");
                }
                self.log("caller", "──▶", format!("speaks for {}", crate::Millis(*ms)));
                self.now = self.now.max(self.said) + u64::from(*ms);
                self.answer(&Input::Recorded { duration_ms: u64::from(*ms) });
            }
            Act::Answers => match self.ask() {
                Some(Ask::Queue(_) | Ask::Ring { .. } | Ask::Transfer { .. }) if !self.talking => {
                    self.talking = true;
                    self.log("agent", "──▶", "answers");
                }
                _ => self.fail(line, "nobody is called just now"),
            },
            Act::OtherHangsUp => match self.ask() {
                Some(ask) if self.talking => {
                    let transfer = matches!(ask, Ask::Transfer { .. });
                    self.log("agent", "──▶", "hangs up");
                    self.answer(&if transfer { Input::Transferred { answered: true } } else { Input::AgentDone });
                }
                _ => self.fail(line, "nobody talks with the caller just now"),
            },
        }
        // What needs no time happens at once.
        self.pass(0);
    }

    fn press(&mut self, line: u32, keys: &str) {
        let mut keys = keys.chars();
        while let Some(key) = keys.next() {
            match self.ask().cloned() {
                Some(Ask::Gather { max_digits, terminators, .. }) => {
                    self.last_key = self.now;
                    let over = terminators.contains(key);
                    if !over {
                        self.keys.push(key);
                    }
                    if over || self.keys.chars().count() >= usize::from(max_digits) {
                        let digits = std::mem::take(&mut self.keys);
                        self.answer(&Input::Digits { digits: digits.into() });
                    }
                }
                Some(Ask::Queue(queue)) if !self.talking && queue.leave_keys.contains(key) => {
                    let Some(key) = Key::new(key) else { return };
                    self.answer(&Input::QueueLeft { key });
                }
                _ => {
                    let rest: String = std::iter::once(key).chain(keys).collect();
                    return self.fail(line, format!("nobody asks for keys just now; {rest:?} is lost"));
                }
            }
        }
    }
}

fn limit(max_wait_ms: Option<u32>) -> String {
    max_wait_ms.map_or_else(String::new, |ms| format!(", at most {}", crate::Millis(ms)))
}

pub(super) fn text(prompt: &PromptRef) -> String {
    match prompt {
        PromptRef::Speech(speech) => speech.text.clone(),
        PromptRef::Audio { name } => format!("[{name}]"),
        PromptRef::Builtin { .. } => "[music]".into(),
    }
}

/// A rough length of a prompt: nobody measures speech here, but waits need some.
fn duration_ms(prompt: &PromptRef) -> u64 {
    match prompt {
        PromptRef::Speech(speech) => {
            let a_char = |c: char| if c.is_ascii() { 65 } else { 220 };
            speech.text.chars().map(a_char).sum::<u64>().max(300)
        }
        PromptRef::Audio { .. } | PromptRef::Builtin { .. } => 3_000,
    }
}
