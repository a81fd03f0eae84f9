//! How each verb begins: what it waits for first, and what it starts.

use hotline_base::{RecordingId, Redacted};
use hotline_rtp::api::{MediaCommand, Sound, Token};
use hotline_sip::api::Command;
use hotline_wire::node::{Announcement, EndCause, Prompt, Verb, VerbResult};
use std::time::Instant;

use super::{BEEP, RING_BACK, Running, State, Step, ended, missing_prompt, next_digit, take_digit};
use crate::reason;
use crate::session::{CallerState, Session};
use crate::sounds::{Resolved, prompts_of};
use crate::types::{LegNo, Note};

impl Session {
    /// Begins a verb.
    pub(super) fn begin(&mut self, verb: &Verb, is_last: bool, running: &mut Running) -> Step {
        match verb {
            Verb::Answer => match self.caller.media {
                Some(media) => {
                    self.answer_caller(media, None);
                    Step::Next(VerbResult::Done)
                }
                None => {
                    self.open_caller();
                    Step::Wait(State::Begin)
                }
            },
            Verb::Hangup => {
                self.end(EndCause::Script, None);
                Step::Stop
            }
            Verb::Reject { status, prompts, retry_after_s } => {
                let (status, retry_after_s) = ((*status).clamp(400, 699), *retry_after_s);
                if prompts.is_empty() || self.caller.description.is_none() {
                    self.refuse(status, retry_after_s);
                    return Step::Stop;
                }
                match self.play_prompts(prompts, running) {
                    Ok(token) => Step::Wait(State::Playing { token }),
                    Err(Some(wait)) => wait,
                    Err(None) => {
                        self.refuse(status, retry_after_s);
                        Step::Stop
                    }
                }
            }
            Verb::Play { prompts } => match self.play_prompts(prompts, running) {
                Ok(token) => Step::Wait(State::Playing { token }),
                Err(Some(wait)) => wait,
                Err(None) => Step::Next(ended(running)),
            },
            Verb::Gather { .. } => self.begin_gather(verb, running),
            Verb::Hold { .. } => self.begin_hold(verb, running),
            Verb::Record { recording, beep, .. } => {
                if !self.audio_ready() {
                    return Step::Wait(State::Begin);
                }
                self.typed.clear();
                if *beep {
                    let token = self.play(vec![BEEP], false);
                    Step::Wait(State::Beeping { token })
                } else {
                    self.begin_recording(*recording, verb)
                }
            }
            Verb::Ring(agent) => {
                self.ring_agent(agent.clone());
                if is_last {
                    self.ring_back();
                    // The offer's own reports go on from here.
                    return Step::Stop;
                }
                Step::Next(VerbResult::Done)
            }
            Verb::SendKeys(keys) => {
                if !self.audio_ready() {
                    return Step::Wait(State::Begin);
                }
                // Whoever recognises keys is not to hear music beside them.
                self.stop_play();
                match self.send_keys(LegNo::CALLER, keys) {
                    true => Step::Wait(State::SendingKeys),
                    false => Step::Next(VerbResult::Done),
                }
            }
            Verb::Transfer { target, ring_timeout_ms, record, keys } => {
                match self.transfer(target, *ring_timeout_ms, *record, keys.clone()) {
                    Some(leg) => Step::Wait(State::Partner { leg }),
                    None => Step::Next(VerbResult::Transferred { answered: false, reasons: vec![] }),
                }
            }
        }
    }

    /// The final refusal, where that is still possible; else the call ends with BYE.
    pub(super) fn refuse(&mut self, status: u16, retry_after_s: Option<u32>) {
        if self.caller.state == CallerState::Answered {
            self.end(EndCause::Script, None);
        } else {
            if let Some(call) = self.caller.call {
                let retry_after = retry_after_s.map(|seconds| ("Retry-After".into(), seconds.to_string()));
                let reason = reason::of_status(status).map(|reason| ("Reason".into(), reason));
                self.sip(Command::Refuse { call, status, headers: retry_after.into_iter().chain(reason).collect() });
            }
            self.caller_gone(EndCause::Script, &[]);
        }
    }

    /// Whether the caller can hear us: media open, and answered or early media agreed.
    pub(crate) fn audio_ready(&mut self) -> bool {
        if !self.open_caller() {
            return false;
        }
        let Some(media) = self.caller.media else {
            return false;
        };
        match self.caller.state {
            CallerState::Ended | CallerState::Absent => false,
            CallerState::Answered => self.caller.description.is_some(),
            CallerState::Early => true,
            CallerState::Arriving => {
                if self.early_media(media) {
                    return true;
                }
                // A late offer knows no early media: the call is answered, and its ACK awaited.
                self.answer_caller(media, None);
                false
            }
        }
    }

    /// Plays to the caller, replacing what plays.
    pub(crate) fn play(&mut self, sounds: Vec<Sound>, looped: bool) -> Token {
        let token = self.fresh_token();
        if let Some(media) = self.caller.media {
            self.media(MediaCommand::Play { leg: media.id, token, sounds, looped });
        }
        token
    }

    pub(crate) fn stop_play(&mut self) {
        if let Some(media) = self.caller.media {
            self.media(MediaCommand::StopPlay { leg: media.id });
        }
    }

    /// Ring-back for an answered caller who would hear nothing.
    pub(crate) fn ring_back(&mut self) {
        if self.caller.state == CallerState::Answered {
            self.play(vec![RING_BACK], true);
        }
    }

    pub(super) fn secret(&mut self, on: bool) {
        if let Some(media) = self.caller.media {
            self.media(MediaCommand::Secret { leg: media.id, on });
        }
    }

    /// Starts prompts. `Err(Some)`: wait for something first; `Err(None)`: there is nothing to play.
    pub(super) fn play_prompts(&mut self, prompts: &[Prompt], running: &mut Running) -> Result<Token, Option<Step>> {
        if !self.audio_ready() {
            return Err(Some(Step::Wait(State::Begin)));
        }
        match self.sounds.resolve(prompts) {
            Resolved::Waiting => Err(Some(Step::Wait(State::Loading { until: self.now.after_ms(self.cfg.load_ms) }))),
            Resolved::Ready(sounds, missing) => {
                running.failed = missing;
                if sounds.is_empty() {
                    return Err(None);
                }
                Ok(self.play(sounds, false))
            }
        }
    }

    pub(super) fn begin_gather(&mut self, verb: &Verb, running: &mut Running) -> Step {
        let Verb::Gather { prompts, max_digits, terminators, first_digit_ms, secret, .. } = verb else {
            return Step::Next(VerbResult::Done);
        };
        if !self.audio_ready() {
            return Step::Wait(State::Begin);
        }
        // Digits pressed ahead of the question answer it.
        let mut digits = String::new();
        let typed = std::mem::take(&mut self.typed);
        let mut rest = typed.chars();
        while let Some(digit) = rest.next() {
            if take_digit(&mut digits, digit, *max_digits, terminators) {
                self.typed = rest.collect();
                return Step::Next(VerbResult::Digits { digits: Redacted::new(digits) });
            }
        }
        if !digits.is_empty() {
            self.secret_for(*secret);
            let until = self.now.mono + next_digit(verb);
            return Step::Wait(State::Gathering { digits, playing: None, until: Some(until) });
        }
        let first = self.now.after_ms(u64::from(*first_digit_ms));
        let step = match self.play_prompts(prompts, running) {
            Ok(token) => State::Gathering { digits, playing: Some(token), until: None },
            Err(Some(wait)) => return wait,
            Err(None) => State::Gathering { digits, playing: None, until: Some(first) },
        };
        self.secret_for(*secret);
        Step::Wait(step)
    }

    /// Asks to be told when the caller has said nothing for so long; 0: no more.
    pub(super) fn watch_quiet(&mut self, for_ms: u32) {
        if let Some(media) = self.caller.media {
            self.media(MediaCommand::WatchQuiet { leg: media.id, for_ms });
        }
    }

    pub(super) fn secret_for(&mut self, secret: bool) {
        if secret {
            self.secret(true);
        }
    }

    pub(super) fn begin_hold(&mut self, verb: &Verb, running: &mut Running) -> Step {
        let Verb::Hold { music, announce, .. } = verb else {
            return Step::Next(VerbResult::Done);
        };
        if !self.audio_ready() {
            return Step::Wait(State::Begin);
        }
        match self.sounds.resolve(std::slice::from_ref(music)) {
            Resolved::Waiting => Step::Wait(State::Loading { until: self.now.after_ms(self.cfg.load_ms) }),
            Resolved::Ready(sounds, missing) => {
                if let Some(key) = missing {
                    self.note(Note::VerbFailed { label: running.label.clone(), reason: missing_prompt(&key) });
                }
                self.typed.clear();
                if sounds.is_empty() {
                    self.stop_play();
                } else {
                    self.play(sounds, true);
                }
                let due = self.first_due(announce);
                Step::Wait(State::Holding { announcing: None, announce: announce.clone(), due })
            }
        }
    }

    pub(super) fn first_due(&self, announce: &[Announcement]) -> Vec<Option<Instant>> {
        announce.iter().map(|a| Some(self.now.after_ms(u64::from(a.every_ms)))).collect()
    }

    /// Replaces the announcements of the running hold, or of the one that is to come.
    pub(crate) fn new_announcements(&mut self, new: Vec<Announcement>) {
        let kept = self.script.iter().flat_map(|s| s.verbs.iter().flat_map(prompts_of));
        let said = new.iter().flat_map(|a| a.prompts.iter());
        let lasting: Vec<_> = self.lasting_prompts().cloned().collect();
        self.sounds.keep_only(kept.chain(said.clone()).chain(&lasting));
        let fetch = self.sounds.want(said);
        self.load(fetch);
        let fresh = self.first_due(&new);
        let Some(running) = self.script.as_mut() else {
            self.note(Note::CommandDropped("no hold is running"));
            return;
        };
        if let State::Holding { announce, due, .. } = &mut running.state {
            // Each keeps its turn: news that come often must not put it off for ever.
            *due = fresh
                .into_iter()
                .enumerate()
                .map(|(i, fresh)| match due.get(i).copied().flatten() {
                    Some(old) => fresh.map(|fresh| fresh.min(old)),
                    None => fresh,
                })
                .collect();
            *announce = new;
            return;
        }
        let later = running.verbs.iter_mut().skip(running.at).find_map(|verb| match verb {
            Verb::Hold { announce, .. } => Some(announce),
            _ => None,
        });
        match later {
            Some(announce) => *announce = new,
            None => self.note(Note::CommandDropped("no hold is running")),
        }
    }

    pub(super) fn begin_recording(&mut self, recording: RecordingId, verb: &Verb) -> Step {
        let Verb::Record { max_ms, silence_ms, .. } = verb else {
            return Step::Next(VerbResult::Done);
        };
        self.record_voicemail(recording);
        if *silence_ms > 0 {
            self.watch_quiet(*silence_ms);
        }
        Step::Wait(State::Recording { until: self.now.after_ms(u64::from(*max_ms)) })
    }
}
