//! Carrying out a script: one verb after the other, each until the world answers.

mod begin;

use hotline_base::{RecordingId, Redacted};
use hotline_rtp::api::{Sound, Token};
use hotline_wire::node::{Announcement, CallEvent, EndCause, MediaScript, Prompt, Verb, VerbResult};
use hotline_wire::reason::Reason;
use std::time::{Duration, Instant};

use crate::arrange::music_of;
use crate::partners::Purpose;
use crate::session::{CallerState, Session};
use crate::sounds::{Resolved, prompts_of};
use crate::types::{LegNo, Note};

/// Digits of one input at most.
const DIGITS: usize = 64;
/// The tone before a voicemail.
const BEEP: Sound = Sound::Tone { hz: [1_000, 0], on_ms: 300, off_ms: 100, times: 1 };
/// Heard by an answered caller while a phone rings and nothing else plays (ITU-T E.180).
const RING_BACK: Sound = Sound::Tone { hz: [425, 0], on_ms: 1_000, off_ms: 4_000, times: 1 };

/// How soon an announcement whose prompts are still being fetched is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What the verb at hand waits for.
#[derive(Debug)]
enum State {
    /// Not begun, or waiting for the caller's media leg.
    Begin,
    /// Its prompts are being fetched.
    Loading { until: Instant },
    /// Play, or the early media of a refusal.
    Playing { token: Token },
    Gathering {
        digits: String,
        /// The prompts, while they play.
        playing: Option<Token>,
        until: Option<Instant>,
    },
    Holding {
        /// The announcement, while it plays.
        announcing: Option<Token>,
        announce: Vec<Announcement>,
        /// When each is due; `None`: never again.
        due: Vec<Option<Instant>>,
    },
    /// The tone before a voicemail.
    Beeping { token: Token },
    /// A voicemail.
    Recording { until: Instant },
    /// Its file is being closed.
    RecordingStopping,
    /// Keys are on their way to the caller.
    SendingKeys,
    /// A transfer, until that leg is gone.
    Partner { leg: LegNo },
}

/// A script that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) label: String,
    verbs: MediaScript,
    at: usize,
    state: State,
    last: VerbResult,
    /// The first prompt of the verb at hand that is missing.
    failed: Option<String>,
}

impl Running {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Loading { until } | State::Recording { until } => Some(*until),
            State::Gathering { until, .. } => *until,
            State::Holding { announcing: None, due, .. } => due.iter().flatten().min().copied(),
            _ => None,
        }
    }
}

/// Whether a verb ended and how, or what it waits for.
enum Step {
    Wait(State),
    Next(VerbResult),
    /// The call, or the script, is over.
    Stop,
}

impl Session {
    /// Replaces what runs. The same script again changes nothing while it runs.
    pub(crate) fn new_script(&mut self, label: String, verbs: MediaScript) {
        if matches!(self.caller.state, CallerState::Ended | CallerState::Absent) || verbs.is_empty() {
            return;
        }
        if let Some(running) = &self.script
            && running.label == label
            && running.verbs == verbs
        {
            return;
        }
        let number = script_number(&label);
        if number.is_some() && number <= self.last_script {
            self.note(Note::CommandDropped("a script that is out of date"));
            return;
        }
        self.last_script = number.or(self.last_script);
        self.leave_verb();
        self.release_joined(EndCause::Command);
        let lasting: Vec<Prompt> = self.lasting_prompts().cloned().collect();
        self.sounds.keep_only(verbs.iter().flat_map(prompts_of).chain(&lasting));
        let fetch = self.sounds.want(verbs.iter().flat_map(prompts_of));
        self.load(fetch);
        self.script = Some(Running { label, verbs, at: 0, state: State::Begin, last: VerbResult::Done, failed: None });
    }

    /// Drops the script because an agent was joined.
    pub(crate) fn drop_script(&mut self) {
        self.leave_verb();
        self.script = None;
    }

    /// Whether the script waits for this partner (a transfer).
    pub(crate) fn script_waits_for(&self, leg: LegNo) -> bool {
        matches!(
            self.script.as_ref().map(|s| &s.state),
            Some(State::Partner { leg: l }) if *l == leg
        )
    }

    /// Undoes what the verb at hand has set up, because something else comes in its place.
    fn leave_verb(&mut self) {
        let Some(running) = self.script.as_mut() else {
            return;
        };
        let verb = running.verbs.get(running.at);
        let secret = matches!(verb, Some(Verb::Gather { secret: true, .. }));
        let state = std::mem::replace(&mut running.state, State::Begin);
        match state {
            State::Gathering { .. } if secret => self.secret(false),
            State::Recording { .. } => self.stop_voicemail_recording(),
            State::SendingKeys => self.stop_keys(LegNo::CALLER),
            State::Partner { leg } => self.hang_up_partner(leg, EndCause::Command),
            _ => {}
        }
    }

    /// Runs verbs until one has to wait.
    pub(crate) fn advance(&mut self) {
        loop {
            let Some(mut running) = self.script.take() else {
                return;
            };
            if !matches!(running.state, State::Begin) {
                self.script = Some(running);
                return;
            }
            let Some(verb) = running.verbs.get(running.at).cloned() else {
                // The end: report how the last verb ended.
                self.ask(CallEvent::ScriptEnded { label: running.label, result: running.last });
                return;
            };
            let is_last = running.at + 1 == running.verbs.len();
            let step = self.begin(&verb, is_last, &mut running);
            match step {
                Step::Wait(state) => {
                    let waits_for_media = matches!(state, State::Begin);
                    if !waits_for_media {
                        self.note(Note::Verb { label: running.label.clone(), verb: verb_name(&verb) });
                    }
                    running.state = state;
                    self.script = Some(running);
                    return;
                }
                Step::Next(result) => {
                    self.finish(&mut running, result);
                    self.script = Some(running);
                }
                Step::Stop => return,
            }
        }
    }

    /// Notes a verb's end and moves on to the next one.
    fn finish(&mut self, running: &mut Running, result: VerbResult) {
        if let VerbResult::Failed { reason } = &result {
            self.note(Note::VerbFailed { label: running.label.clone(), reason: reason.clone() });
        }
        running.last = result;
        running.at += 1;
        running.state = State::Begin;
    }

    /// Ends the verb that waits; [`Session::advance`] then goes on.
    fn verb_ended(&mut self, result: VerbResult) {
        if let Some(mut running) = self.script.take() {
            self.finish(&mut running, result);
            self.script = Some(running);
        }
    }

    /// The verb at hand.
    fn verb(&self) -> Option<Verb> {
        let running = self.script.as_ref()?;
        running.verbs.get(running.at).cloned()
    }

    fn state(&mut self) -> Option<&mut State> {
        self.script.as_mut().map(|s| &mut s.state)
    }

    /// Sounds came to their end.
    pub(crate) fn play_ended(&mut self, ended_token: Token) {
        if self.whisper_ended(ended_token) || self.company_play_ended(ended_token) {
            return;
        }
        let Some(verb) = self.verb() else { return };
        let now = self.now;
        match self.state() {
            Some(State::Playing { token }) if *token == ended_token => {
                if let Verb::Reject { status, retry_after_s, .. } = verb {
                    self.script = None;
                    self.refuse(status.clamp(400, 699), retry_after_s);
                } else {
                    let result = self.script.as_mut().map_or(VerbResult::Done, ended);
                    self.verb_ended(result);
                }
            }
            Some(State::Gathering { playing, until, .. }) if *playing == Some(ended_token) => {
                *playing = None;
                if let Verb::Gather { first_digit_ms, .. } = verb {
                    *until = Some(now.after_ms(u64::from(first_digit_ms)));
                }
            }
            Some(State::Holding { announcing, .. }) if *announcing == Some(ended_token) => {
                *announcing = None;
                if let Verb::Hold { music, .. } = verb
                    && let Resolved::Ready(sounds, _) = self.sounds.resolve(&[music])
                    && !sounds.is_empty()
                {
                    self.play(sounds, true);
                }
                self.script_timeout();
            }
            Some(State::Beeping { token }) if *token == ended_token => {
                if let Verb::Record { recording, .. } = verb {
                    let step = self.begin_recording(recording, &verb);
                    if let (Step::Wait(next), Some(state)) = (step, self.state()) {
                        *state = next;
                    }
                }
            }
            _ => {}
        }
    }

    /// A key for the verb at hand; `false` where it has no use for it.
    pub(crate) fn script_digit(&mut self, digit: char) -> bool {
        let Some(verb) = self.verb() else {
            return false;
        };
        let next = self.now.mono + next_digit(&verb);
        match (&verb, self.state()) {
            (Verb::Gather { max_digits, terminators, .. }, Some(State::Gathering { digits, playing, until })) => {
                let stop = playing.take().is_some();
                *until = Some(next);
                let done = take_digit(digits, digit, *max_digits, terminators);
                if stop {
                    self.stop_play();
                }
                if done {
                    self.gathered();
                }
                true
            }
            (Verb::Hold { keys, .. }, Some(State::Holding { .. })) => {
                if keys.contains(digit) {
                    self.stop_play();
                    self.verb_ended(VerbResult::Digits { digits: Redacted::new(digit.to_string()) });
                }
                true
            }
            (Verb::Record { terminators, .. }, Some(State::Recording { .. })) => {
                if terminators.contains(digit) {
                    self.stop_voicemail();
                }
                true
            }
            _ => false,
        }
    }

    /// The input is complete.
    fn gathered(&mut self) {
        if let Some(Verb::Gather { secret: true, .. }) = self.verb() {
            self.secret(false);
        }
        if let Some(State::Gathering { digits, .. }) = self.state() {
            let digits = Redacted::new(std::mem::take(digits));
            self.verb_ended(VerbResult::Digits { digits });
        }
    }

    /// The caller has been silent for so long.
    pub(crate) fn quiet(&mut self, for_ms: u32) {
        if let Some(Verb::Record { silence_ms, .. }) = self.verb()
            && silence_ms > 0
            && for_ms >= silence_ms
            && matches!(self.state(), Some(State::Recording { .. }))
        {
            self.stop_voicemail();
        }
    }

    fn stop_voicemail(&mut self) {
        if let Some(Verb::Record { silence_ms, .. }) = self.verb()
            && silence_ms > 0
        {
            self.watch_quiet(0);
        }
        self.stop_voicemail_recording();
        if let Some(state) = self.state() {
            *state = State::RecordingStopping;
        }
    }

    /// A recording ended; if the verb at hand made it, the verb ended too.
    pub(crate) fn verb_recorded(&mut self, recording: RecordingId, duration_ms: u64, failure: Option<String>) {
        let Some(Verb::Record { recording: own, .. }) = self.verb() else {
            return;
        };
        let waits = matches!(self.state(), Some(State::Recording { .. } | State::RecordingStopping));
        if own == recording && waits {
            self.verb_ended(match failure {
                Some(reason) if duration_ms == 0 => VerbResult::Failed { reason },
                _ => VerbResult::Recorded { recording, duration_ms },
            });
        }
    }

    /// All keys are sent to the caller; if the verb at hand did so, it ended.
    pub(crate) fn keys_sent(&mut self) {
        if matches!(self.state(), Some(State::SendingKeys)) {
            self.verb_ended(VerbResult::Done);
        }
    }

    /// The leg a transfer waits for is gone.
    pub(crate) fn transfer_ended(&mut self, leg: LegNo, answered: bool, reasons: Vec<Reason>) {
        if self.script_waits_for(leg) {
            self.verb_ended(VerbResult::Transferred { answered, reasons });
        }
    }

    /// Prompts came: a verb that waited for them begins again.
    pub(crate) fn sounds_changed(&mut self) {
        if let Some(state @ State::Loading { .. }) = self.state() {
            *state = State::Begin;
        }
        self.whispers_loaded();
        self.start_tunes();
    }

    /// Time limits of the verb at hand.
    pub(crate) fn script_timeout(&mut self) {
        let now = self.now.mono;
        let due_now = |until: &Instant| *until <= now;
        match self.script.as_mut().map(|s| &mut s.state) {
            Some(state @ State::Loading { .. }) => {
                if let State::Loading { until } = state
                    && due_now(until)
                {
                    *state = State::Begin;
                    self.sounds.give_up();
                }
            }
            Some(State::Gathering { until, .. }) if until.as_ref().is_some_and(due_now) => {
                self.gathered();
            }
            Some(State::Recording { until }) if due_now(until) => self.stop_voicemail(),
            Some(State::Holding { announcing: None, announce, due }) => {
                let next = due.iter_mut().zip(announce.iter()).find(|(due, _)| due.as_ref().is_some_and(due_now));
                let Some((due, announcement)) = next else {
                    return;
                };
                let sounds = match self.sounds.resolve(&announcement.prompts) {
                    Resolved::Ready(sounds, _) => sounds,
                    // On their way: said as soon as they are there.
                    Resolved::Waiting => {
                        *due = Some(now + LOOK_AGAIN);
                        return;
                    }
                };
                *due = match announcement.every_ms {
                    0 => None,
                    every => Some(now + Duration::from_millis(u64::from(every))),
                };
                if !sounds.is_empty() {
                    let token = self.play(sounds, false);
                    if let Some(State::Holding { announcing, .. }) = self.state() {
                        *announcing = Some(token);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Session {
    /// Prompts that outlive a script: the fallback's, the whispers', the music of arrangements.
    pub(crate) fn lasting_prompts(&self) -> impl Iterator<Item = &Prompt> {
        let fallback = self.fallback.iter().flat_map(|f| f.apology.iter().chain(std::iter::once(&f.music)));
        let whispers = self.partners.iter().flat_map(|p| p.whisper());
        let to_come = self.partners.iter().filter_map(|p| match &p.purpose {
            Purpose::Agent(agent) => agent.arrange.as_ref(),
            _ => None,
        });
        let music = self.arrangement.iter().chain(to_come).flat_map(music_of);
        fallback.chain(whispers).chain(music)
    }
}

/// The number that a label begins with: `3:main/menu`.
fn script_number(label: &str) -> Option<u64> {
    let (number, _) = label.split_once(':')?;
    number.parse().ok()
}

/// The result of a verb whose prompts were played as far as they exist.
fn ended(running: &mut Running) -> VerbResult {
    match running.failed.take() {
        Some(key) => VerbResult::Failed { reason: missing_prompt(&key) },
        None => VerbResult::Done,
    }
}

fn missing_prompt(key: &str) -> String {
    format!("the prompt {key:?} is not in the prompts bucket, or could not be fetched")
}

/// Adds a digit; whether the input is complete.
fn take_digit(digits: &mut String, digit: char, max_digits: u8, terminators: &str) -> bool {
    if terminators.contains(digit) {
        return true;
    }
    digits.push(digit);
    let most = match usize::from(max_digits) {
        0 => DIGITS,
        n => n.min(DIGITS),
    };
    digits.len() >= most
}

fn next_digit(verb: &Verb) -> Duration {
    match verb {
        Verb::Gather { next_digit_ms, .. } => Duration::from_millis(u64::from(*next_digit_ms)),
        _ => Duration::ZERO,
    }
}

fn verb_name(verb: &Verb) -> &'static str {
    match verb {
        Verb::Answer => "answer",
        Verb::Reject { .. } => "reject",
        Verb::Play { .. } => "play",
        Verb::Gather { .. } => "gather",
        Verb::Hold { .. } => "hold",
        Verb::Ring(_) => "ring",
        Verb::Record { .. } => "record",
        Verb::Transfer { .. } => "transfer",
        Verb::SendKeys(_) => "send keys",
        Verb::Hangup => "hangup",
    }
}
