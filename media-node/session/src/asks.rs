//! Asking for decisions: in order, one at a time, with retries, and company for the caller
//! while they fail.

use hotline_rtp::api::{Sound, Token};
use hotline_wire::node::{CallEvent, CallInput, Decision, EndCause};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::session::{CallerState, Session};
use crate::sounds::Resolved;
use crate::types::{DecisionFailure, Note, Output};

/// Inputs that may wait; more than a call can cause while decisions are away for minutes.
const WAITING: usize = 128;
/// First pause before a decision is asked for again, milliseconds; it doubles.
const FIRST_PAUSE_MS: u64 = 250;
/// Longest pause, milliseconds.
const LONGEST_PAUSE_MS: u64 = 5_000;
/// The fallback's own end where its author set none, milliseconds.
const GIVE_UP_MS: u64 = 600_000;

/// Where the first waiting input stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    /// Asked; the answer is awaited.
    Asked,
    /// Failed; asked again then.
    Pausing { until: Instant },
}

/// What keeps the caller company.
#[derive(Debug)]
struct Company {
    since: Instant,
    /// The apology, while it plays.
    apology: Option<Token>,
    /// Nothing plays yet: media or prompts are on their way.
    silent: bool,
}

/// The inputs that wait for decisions.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    pub(crate) seq: u32,
    queue: VecDeque<CallInput>,
    state: State,
    attempts: u32,
    /// Since when the first input waits.
    since: Option<Instant>,
    company: Option<Company>,
    /// Scripts decided for inputs before this one know nothing of the agent's answer.
    pub(crate) joined_seq: u32,
}

impl Asks {
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Session {
    /// Reports an event; its decision is applied when it comes.
    pub(crate) fn ask(&mut self, event: CallEvent) {
        if self.asks.queue.len() == WAITING {
            // Ringing tells least; nothing else can come in such numbers.
            let Some(index) =
                self.asks.queue.iter().skip(1).position(|i| matches!(i.event, CallEvent::OfferRinging { .. }))
            else {
                return;
            };
            self.asks.queue.remove(index + 1);
        }
        self.asks.seq += 1;
        self.asks.queue.push_back(CallInput {
            contact: self.contact,
            tenant: None,
            node: self.cfg.node,
            seq: self.asks.seq,
            at: self.now.wall,
            event,
        });
        if self.asks.state == State::Idle {
            self.ask_first();
        }
    }

    /// Sends the first waiting input.
    fn ask_first(&mut self) {
        let tenant = self.tenant;
        let Some(input) = self.asks.queue.front_mut() else {
            self.asks.state = State::Idle;
            self.asks.since = None;
            return;
        };
        input.tenant = tenant;
        let input = input.clone();
        self.asks.state = State::Asked;
        self.asks.since.get_or_insert(self.now.mono);
        self.note(Note::Asked { seq: input.seq, event: event_name(&input.event) });
        self.output(Output::Ask(Box::new(input)));
    }

    /// When this part wants to be looked at.
    pub(crate) fn asks_deadline(&self) -> Option<Instant> {
        let pause = match self.asks.state {
            State::Pausing { until } => Some(until),
            _ => None,
        };
        let company = match (&self.asks.company, self.asks.since) {
            (Some(company), _) => Some(company.since + self.give_up()),
            (None, Some(since)) if self.is_idle_caller() => {
                Some(since + Duration::from_millis(self.cfg.company_after_ms))
            }
            _ => None,
        };
        let farewell = match self.asks.since {
            Some(since) if self.caller_left() => Some(since + Duration::from_millis(self.cfg.farewell_ms)),
            _ => None,
        };
        [pause, company, farewell].into_iter().flatten().min()
    }

    fn give_up(&self) -> Duration {
        let ms = match self.fallback.as_ref().map(|f| f.give_up_ms) {
            Some(ms) if ms > 0 => u64::from(ms),
            _ => GIVE_UP_MS,
        };
        Duration::from_millis(ms)
    }

    /// Whether a caller is there for whom nothing is being done.
    fn is_idle_caller(&self) -> bool {
        let there = !matches!(self.caller.state, CallerState::Absent | CallerState::Ended);
        there && self.script.is_none() && self.partners.is_empty()
    }

    /// A decision, or its failure.
    pub(crate) fn decision(&mut self, seq: u32, result: Result<Decision, DecisionFailure>) {
        // A late answer to an earlier attempt, or to something given up.
        if self.asks.queue.front().map(|i| i.seq) != Some(seq) || self.asks.state == State::Idle {
            return;
        }
        match result {
            Ok(decision) => {
                self.asks.queue.pop_front();
                self.asks.attempts = 0;
                self.asks.since = None;
                self.asks.state = State::Idle;
                self.note(Note::Decided { seq, label: decision.label.clone() });
                self.apply(seq, decision);
                if self.asks.state == State::Idle {
                    self.ask_first();
                }
            }
            Err(failure) => {
                if self.asks.state != State::Asked {
                    return;
                }
                self.asks.attempts += 1;
                let attempts = self.asks.attempts;
                let pause = FIRST_PAUSE_MS << attempts.saturating_sub(1).min(8);
                let pause = pause.min(LONGEST_PAUSE_MS);
                // Spread by contact, so that the calls of a node do not all come back at once.
                let spread = (self.contact.as_u128() as u64 ^ u64::from(attempts)) % (pause / 2 + 1);
                self.asks.state = State::Pausing { until: self.now.after_ms(pause + spread) };
                self.note(Note::DecisionFailed { seq, attempts, reason: failure.0 });
                if self.is_idle_caller() {
                    self.keep_company();
                }
            }
        }
    }

    fn apply(&mut self, seq: u32, decision: Decision) {
        self.tenant = Some(decision.tenant);
        if let Some(fallback) = decision.fallback
            && self.fallback.as_ref() != Some(&fallback)
        {
            let fetch = {
                let prompts = fallback.apology.iter().chain([&fallback.music]);
                self.sounds.want(prompts)
            };
            self.load(fetch);
            self.fallback = Some(fallback);
        }
        if self.caller_left() {
            return;
        }
        let Some(verbs) = decision.script else {
            return;
        };
        // Decided before the agent's answer was known: the conversation goes on.
        if self.is_joined() && seq < self.asks.joined_seq {
            return;
        }
        if !verbs.is_empty() && self.asks.company.take().is_some() {
            self.stop_play();
        }
        self.new_script(decision.label, verbs);
    }

    /// An agent was joined: nobody needs company any more.
    pub(crate) fn end_company(&mut self) {
        if self.asks.company.take().is_some() {
            self.stop_play();
        }
    }

    /// The caller left: there is nobody to keep company.
    pub(crate) fn forget_company(&mut self) {
        self.asks.company = None;
    }

    /// Starts the fallback for a caller for whom nothing is being done.
    fn keep_company(&mut self) {
        if self.asks.company.is_some() {
            return;
        }
        self.asks.company = Some(Company { since: self.now.mono, apology: None, silent: true });
        self.note(Note::Company);
        self.company_loaded();
    }

    /// Begins to play as soon as the caller's media and the prompts are there.
    pub(crate) fn company_loaded(&mut self) {
        let waits = self.asks.company.as_ref().is_some_and(|c| c.silent);
        if !waits || self.caller_left() || !self.audio_ready() {
            return;
        }
        let Some(fallback) = self.fallback.clone() else {
            return;
        };
        let apology = match self.sounds.resolve(&fallback.apology) {
            Resolved::Ready(sounds, _) if !sounds.is_empty() => Some(self.play(sounds, false)),
            _ => None,
        };
        if apology.is_none() {
            self.company_music();
        }
        if let Some(company) = self.asks.company.as_mut() {
            company.silent = false;
            company.apology = apology;
        }
    }

    fn company_music(&mut self) {
        let Some(fallback) = self.fallback.clone() else {
            return;
        };
        let sounds = match self.sounds.resolve(std::slice::from_ref(&fallback.music)) {
            Resolved::Ready(sounds, _) if !sounds.is_empty() => sounds,
            // The music cannot be had either: a soft tone says that the line is alive.
            _ => vec![Sound::Tone { hz: [440, 0], on_ms: 200, off_ms: 3_800, times: 1 }],
        };
        self.play(sounds, true);
    }

    /// Whether the ended sound was the apology: the music follows.
    pub(crate) fn company_play_ended(&mut self, token: Token) -> bool {
        let Some(company) = self.asks.company.as_mut() else {
            return false;
        };
        if company.apology != Some(token) {
            return false;
        }
        company.apology = None;
        self.company_music();
        true
    }

    /// Retries, company and its end.
    pub(crate) fn asks_timeout(&mut self) {
        let now = self.now.mono;
        if let State::Pausing { until } = self.asks.state
            && until <= now
        {
            self.ask_first();
        }
        let Some(since) = self.asks.since else { return };
        if self.caller_left() {
            if since + Duration::from_millis(self.cfg.farewell_ms) <= now {
                if let Some(first) = self.asks.queue.front() {
                    let seq = first.seq;
                    self.note(Note::GivenUp { seq });
                }
                self.asks.queue.clear();
                self.asks.state = State::Idle;
                self.asks.since = None;
            }
            return;
        }
        match &self.asks.company {
            None => {
                let late = since + Duration::from_millis(self.cfg.company_after_ms) <= now;
                if late && self.is_idle_caller() {
                    self.keep_company();
                }
            }
            Some(company) => {
                if company.since + self.give_up() <= now {
                    self.end(EndCause::Failed, Some(503));
                }
            }
        }
    }

    /// Asks for prompt objects.
    pub(crate) fn load(&mut self, keys: Vec<String>) {
        if !keys.is_empty() {
            self.output(Output::Load(keys));
        }
    }
}

/// For logs and counters.
fn event_name(event: &CallEvent) -> &'static str {
    match event {
        CallEvent::Arrived { .. } => "arrived",
        CallEvent::ScriptEnded { .. } => "script ended",
        CallEvent::OfferRinging { .. } => "offer ringing",
        CallEvent::OfferAnswered { .. } => "offer answered",
        CallEvent::OfferFailed { .. } => "offer failed",
        CallEvent::AgentLegEnded { .. } => "agent leg ended",
        CallEvent::CallEnded { .. } => "call ended",
        CallEvent::RecordingEnded { .. } => "recording ended",
        CallEvent::PartyRinging => "party ringing",
        CallEvent::PartyAnswered { .. } => "party answered",
        CallEvent::PartyFailed { .. } => "party failed",
        CallEvent::Reanchored { .. } => "reanchored",
        CallEvent::ReanchorFailed { .. } => "reanchor failed",
        CallEvent::TransferAsked { .. } => "transfer asked",
        CallEvent::EmergencyCalled { .. } => "emergency called",
        CallEvent::SoundChanged { .. } => "sound changed",
    }
}
