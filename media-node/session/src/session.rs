//! The session itself: the caller's leg and where every input goes.

use bytes::Bytes;
use hotline_base::{CommandId, ContactId, Redacted, TenantId};
use hotline_rtp::api::{Codec, MediaCommand, MediaEvent, Security, Token};
use hotline_sip::Reason;
use hotline_sip::api::{CallHandle, Command, Event};
use hotline_wire::legs::{Arrangement, DialogRef};
use hotline_wire::node::{CallEvent, Decision, EndCause, Fallback, NodeAction, NodeCommand};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::arrange::{Audio, Tune};
use crate::asks::Asks;
use crate::keys::{Sending, info_digit};
use crate::partners::Partner;
use crate::protection::{OfferedSecurity, Protection, SrtpPolicy};
use crate::quality::Quality;
use crate::reason;
use crate::recordings::Recordings;
use crate::script::Running;
use crate::sdp::{self, Description};
use crate::sounds::Sounds;
use crate::types::{
    Arrival, DecisionFailure, DialError, Dialed, LegNo, Loaded, Mission, Note, Now, OpenedLeg, Output, Refusal,
    SessionConfig,
};

/// Command ids remembered to recognise repeats.
const COMMANDS_REMEMBERED: usize = 64;
/// How long the last statistics of a closed leg may take, milliseconds.
const LAST_STATS_MS: u64 = 300;

/// Where the caller's leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallerState {
    /// A party whom we call and who is not there yet.
    Absent,
    /// Not answered yet.
    Arriving,
    /// 183 with our description was sent.
    Early,
    /// 200 was sent.
    Answered,
    /// The leg is gone.
    Ended,
}

/// The caller's leg.
pub(crate) struct CallerLeg {
    /// `None` while it is absent.
    pub(crate) call: Option<CallHandle>,
    pub(crate) state: CallerState,
    /// The peer's latest description; `None` until the answer to a late offer came.
    pub(crate) description: Option<Description>,
    pub(crate) codec: Codec,
    pub(crate) media: Option<OpenedLeg>,
    pub(crate) media_asked: bool,
    pub(crate) held: bool,
    /// A browser that is not heard: it may come back until then.
    pub(crate) away: Option<Instant>,
    pub(crate) protection: Protection,
    pub(crate) sdp_version: u32,
    pub(crate) from: String,
    /// It takes keys by INFO.
    pub(crate) takes_info: bool,
}

/// The report of the call's end, while it waits for the last statistics.
struct Farewell {
    cause: EndCause,
    until: Instant,
    reasons: Vec<hotline_wire::reason::Reason>,
}

/// One caller's call, incoming or placed, and everything done for it.
pub struct Session {
    pub(crate) cfg: Arc<SessionConfig>,
    pub(crate) now: Now,
    pub(crate) contact: ContactId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) caller: CallerLeg,
    pub(crate) partners: Vec<Partner>,
    /// Why the call was placed; `None` for one that came, and once its party is there.
    pub(crate) mission: Option<Mission>,
    /// Who hears whom, as a command said; `None`: everybody.
    pub(crate) arrangement: Option<Arrangement>,
    /// How the media engine has the legs joined.
    pub(crate) audio: Audio,
    /// What legs outside the conversation hear, and whether it plays already.
    pub(crate) tunes: BTreeMap<LegNo, (Tune, bool)>,
    pub(crate) script: Option<Running>,
    /// The number of the last script started.
    pub(crate) last_script: Option<u64>,
    pub(crate) asks: Asks,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) sounds: Sounds,
    pub(crate) recordings: Recordings,
    pub(crate) quality: Quality,
    /// Digits pressed while nothing asked for them.
    pub(crate) typed: String,
    /// Keys on their way to a leg.
    pub(crate) sending: Vec<Sending>,
    commands: VecDeque<CommandId>,
    next_leg: u32,
    next_token: u64,
    /// Set when the caller's leg ended.
    farewell: Option<Farewell>,
    /// A transfer to somebody who is on the line with us already: the next one, until then.
    pub(crate) attended: Option<(Instant, DialogRef)>,
    over: bool,
    out: VecDeque<Output>,
}

impl Session {
    /// A session for an INVITE that arrived.
    ///
    /// # Errors
    /// [`Refusal`]: its description cannot be used; answer with that status.
    pub fn arrive(cfg: Arc<SessionConfig>, now: Now, arrival: Arrival) -> Result<Session, Refusal> {
        let description = match arrival.sdp.as_deref() {
            Some(bytes) => {
                let parsed = sdp::parse_as(bytes, cfg.accepts());
                Some(parsed.map_err(|e| Refusal { status: 488, reason: e.to_string() })?)
            }
            None => None,
        };
        let ring = cfg.ring_at_once;
        let mut session = Session::empty(cfg, now, arrival.contact, arrival.first_token);
        session.caller.call = Some(arrival.call);
        session.caller.state = CallerState::Arriving;
        session.caller.codec = description.as_ref().and_then(|d| d.choose(None)).unwrap_or(Codec::Pcmu);
        session.caller.held = description.as_ref().is_some_and(Description::is_hold);
        session.caller.description = description;
        if session.cfg.srtp == SrtpPolicy::Require {
            session.caller.protection = Protection::offering(OfferedSecurity::Keys);
        }
        session.caller.from.clone_from(&arrival.from);
        session.caller.takes_info = arrival.takes_info;
        if ring {
            session.sip(Command::Progress { call: arrival.call, status: 180, sdp: None });
        }
        session.ask(CallEvent::Arrived {
            did: arrival.did,
            from: Redacted::new(arrival.from),
            display_name: Redacted::new(arrival.display_name),
            sip_call_id: arrival.sip_call_id,
            dialog: arrival.dialog,
            diverted: arrival.diverted,
        });
        Ok(session)
    }

    /// A session that has no caller's leg yet.
    pub(crate) fn empty(cfg: Arc<SessionConfig>, now: Now, contact: ContactId, first_token: u64) -> Session {
        Session {
            asks: Asks::default(),
            now,
            contact,
            tenant: None,
            caller: CallerLeg {
                call: None,
                state: CallerState::Absent,
                description: None,
                codec: Codec::Pcmu,
                media: None,
                media_asked: false,
                held: false,
                away: None,
                protection: Protection::default(),
                sdp_version: 0,
                from: String::new(),
                takes_info: false,
            },
            partners: Vec::new(),
            mission: None,
            arrangement: None,
            audio: Audio::Apart,
            tunes: BTreeMap::new(),
            script: None,
            last_script: None,
            fallback: Some(cfg.fallback.clone()),
            sounds: Sounds::default(),
            recordings: Recordings::default(),
            quality: Quality::default(),
            typed: String::new(),
            sending: Vec::new(),
            commands: VecDeque::new(),
            next_leg: 1,
            next_token: first_token,
            farewell: None,
            attended: None,
            over: false,
            out: VecDeque::new(),
            cfg,
        }
    }

    /// The next thing to do, until `None`; poll after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Session::handle_timeout`] wants to be called; changes with every input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let farewell = self.farewell.as_ref().map(|farewell| farewell.until);
        let script = self.script.as_ref().and_then(Running::deadline);
        let partners = self.partners.iter().filter_map(Partner::deadline).min();
        let others = [self.asks_deadline(), self.recordings.deadline(), self.caller.away, self.keys_deadline()];
        [farewell, script, partners].into_iter().chain(others).flatten().min()
    }

    /// The contact.
    pub fn contact(&self) -> ContactId {
        self.contact
    }

    /// The tenant, once a decision named it.
    pub fn tenant(&self) -> Option<TenantId> {
        self.tenant
    }

    /// Whether the caller's leg ended; inputs may still wait for delivery.
    pub fn caller_left(&self) -> bool {
        self.caller.state == CallerState::Ended
    }

    /// The number of the latest input reported.
    pub fn last_seq(&self) -> u32 {
        self.asks.seq
    }

    /// Which leg has this handle.
    pub(crate) fn leg_of(&self, call: CallHandle) -> Option<LegNo> {
        if Some(call) == self.caller.call {
            return Some(LegNo::CALLER);
        }
        let partner = self.partners.iter().find(|p| p.call == Some(call))?;
        Some(partner.leg)
    }

    /// What identifies the dialog of one of this session's calls, and whether its peer takes INFO,
    /// before its answer is reported.
    pub fn dialog_known(&mut self, call: CallHandle, dialog: DialogRef, takes_info: bool) {
        self.partner_dialog(call, dialog, takes_info);
    }

    /// The REFER that follows names a dialog of ours (RFC 3891): told before it is reported.
    pub fn attends(&mut self, call: CallHandle, dialog: DialogRef) {
        if let Some(partner) = self.partner_by_call(call) {
            partner.attends = Some(dialog);
        }
    }

    /// A SIP event of one of this session's calls.
    pub fn handle_sip(&mut self, now: Now, event: Event) {
        self.now = now;
        match event {
            Event::Cancelled { call, reasons } if Some(call) == self.caller.call => {
                self.caller_gone(EndCause::Cancelled, &reasons);
            }
            Event::Confirmed { call, sdp } => {
                if let (Some(sdp), Some(leg)) = (sdp, self.leg_of(call)) {
                    self.late_answer(leg, &sdp);
                }
            }
            Event::Trying { call } => self.partner_tries(call),
            Event::Progressed { call, status, sdp } => self.partner_progress(call, status, sdp),
            Event::Answered { call, sdp } => self.partner_answered(call, sdp),
            Event::Failed { call, status, reasons, .. } => self.partner_refused(call, status, &reasons),
            Event::Reoffered { call, sdp } => self.reoffered(call, sdp),
            Event::Info { call, content_type, body } => {
                if let (Some(LegNo::CALLER), Some(digit)) = (self.leg_of(call), info_digit(&content_type, &body)) {
                    self.digit(digit);
                }
            }
            Event::Referred { call, request, refer_to } => self.referred(call, request, &refer_to),
            Event::Ended { call, by_peer, reasons, .. } => {
                let cause = if by_peer { EndCause::HungUp } else { EndCause::Lost };
                if Some(call) == self.caller.call {
                    self.caller_gone(cause, &reasons);
                } else {
                    self.partner_ended(call, cause, reason::said(&reasons));
                }
            }
            _ => {}
        }
        self.settle();
    }

    /// An event of one of this session's media legs or recordings.
    pub fn handle_media(&mut self, now: Now, event: MediaEvent) {
        self.now = now;
        let caller = self.caller.media.map(|m| m.id);
        match event {
            MediaEvent::PlayEnded { token, .. } => self.play_ended(token),
            MediaEvent::Digit { leg, digit, .. } if Some(leg) == caller => self.digit(digit),
            MediaEvent::Quiet { leg, for_ms } if Some(leg) == caller => self.quiet(for_ms),
            // Whoever is away has a time of its own.
            MediaEvent::Silent { leg, .. } if Some(leg) == caller && self.caller.away.is_none() => {
                self.end(EndCause::Lost, None);
            }
            MediaEvent::Silent { leg, .. } => self.partner_silent(leg),
            MediaEvent::Away { leg, away } => self.away(leg, away),
            MediaEvent::SecureFailed { leg, why } => self.unprotected(leg, why),
            MediaEvent::Stats { leg, stats, last } => {
                self.measured(leg, stats);
                if let Some(farewell) = self.farewell.as_mut().filter(|_| last && Some(leg) == caller) {
                    farewell.until = now.mono;
                    self.say_farewell();
                }
            }
            MediaEvent::RecordingStopped { token, duration_ms, failure } => {
                self.recording_stopped(token, duration_ms, failure)
            }
            _ => {}
        }
        self.settle();
    }

    /// The answer to [`Output::Ask`].
    pub fn decided(&mut self, now: Now, seq: u32, result: Result<Decision, DecisionFailure>) {
        self.now = now;
        self.decision(seq, result);
        self.settle();
    }

    /// A command of the functions. Repeats and expired ones change nothing.
    pub fn command(&mut self, now: Now, command: NodeCommand) {
        self.now = now;
        if command.expires < now.wall {
            self.note(Note::CommandDropped("expired"));
            return;
        }
        if self.commands.contains(&command.id) {
            self.note(Note::CommandDropped("a repeat"));
            return;
        }
        if self.commands.len() == COMMANDS_REMEMBERED {
            self.commands.pop_front();
        }
        self.commands.push_back(command.id);
        if self.caller_left() {
            self.note(Note::CommandDropped("the caller left"));
            return;
        }
        match command.action {
            NodeAction::Ring(agent) => self.ring_agent(agent),
            NodeAction::Rescind { offer } => self.rescind(offer),
            NodeAction::Script { label, script } => self.new_script(label, script),
            NodeAction::Announce { announce } => self.new_announcements(announce),
            NodeAction::ReleaseAgent { offer } => self.release(offer),
            NodeAction::End => self.end(EndCause::Command, None),
            NodeAction::Arrange { arrangement } => self.arrange(arrangement),
            NodeAction::PauseRecording { recording, paused } => self.pause_recording(recording, paused),
            NodeAction::Dial { .. } | NodeAction::Reanchor { .. } => {
                self.note(Note::CommandDropped("the call is here already"))
            }
        }
        self.settle();
    }

    /// The answer to [`Output::OpenMedia`].
    pub fn media_opened(&mut self, now: Now, result: Result<OpenedLeg, DialError>) {
        self.now = now;
        match result {
            Ok(opened) if self.caller_left() => {
                self.media(MediaCommand::Close { leg: opened.id });
            }
            Ok(opened) => {
                self.caller.media = Some(opened);
                if let Some(description) = self.caller.description.clone() {
                    let fingerprint = self.cfg.fingerprint;
                    let (_, security) = self.caller.protection.answer(&description, &opened.secret, fingerprint);
                    self.secure_caller(opened, security);
                    let remote = description.remote(self.caller.codec, false);
                    self.media(MediaCommand::SetRemote { leg: opened.id, remote });
                }
            }
            Err(_) => self.end(EndCause::Failed, Some(503)),
        }
        self.settle();
    }

    /// The answer to [`Output::Dial`].
    pub fn dialed(&mut self, now: Now, leg: LegNo, result: Result<Dialed, DialError>) {
        self.now = now;
        self.partner_dialed(leg, result);
        self.settle();
    }

    /// The answer to [`Output::Load`]; may come in parts.
    pub fn loaded(&mut self, now: Now, sounds: Vec<Loaded>) {
        self.now = now;
        self.sounds.loaded(sounds);
        self.sounds_changed();
        self.settle();
    }

    /// A leg of this session is being sent to an emergency number.
    pub fn emergency_called(&mut self, now: Now, number: String, gateway: String) {
        self.now = now;
        self.ask(CallEvent::EmergencyCalled { number: number.into(), gateway });
        self.settle();
    }

    /// Ends the call because the node goes away.
    pub fn drain(&mut self, now: Now) {
        self.now = now;
        self.end(EndCause::NodeDrained, Some(503));
        self.settle();
    }

    /// The node was taken for dead and the call is another's, or promised back: it ends here.
    pub fn taken_over(&mut self, now: Now) {
        self.now = now;
        self.end(EndCause::Lost, Some(503));
        self.settle();
    }

    /// The moment of [`Session::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        if self.farewell.as_ref().is_some_and(|farewell| farewell.until <= now.mono) {
            self.say_farewell();
        }
        self.script_timeout();
        self.keys_timeout();
        self.partner_timeouts();
        self.away_timeouts();
        self.asks_timeout();
        self.recordings_timeout();
        self.settle();
    }

    // What the other modules use.

    pub(crate) fn sip(&mut self, command: Command) {
        self.out.push_back(Output::Sip(command));
    }

    pub(crate) fn media(&mut self, command: MediaCommand) {
        self.out.push_back(Output::Media(command));
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.out.push_back(output);
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.out.push_back(Output::Note(note));
    }

    pub(crate) fn fresh_token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    pub(crate) fn fresh_leg(&mut self) -> LegNo {
        let leg = LegNo(self.next_leg);
        self.next_leg += 1;
        leg
    }

    /// Asks for the caller's media leg unless that was done; whether it is there.
    pub(crate) fn open_caller(&mut self) -> bool {
        if !self.caller.media_asked && self.caller.state != CallerState::Absent {
            self.caller.media_asked = true;
            self.output(Output::OpenMedia);
        }
        self.caller.media.is_some()
    }

    /// Our side of the caller's session, for the answer to an offer or for the next offer.
    pub(crate) fn caller_local(&mut self, media: OpenedLeg, offer: Option<&Description>) -> sdp::Local {
        self.caller.sdp_version += 1;
        let fingerprint = self.cfg.fingerprint;
        let protection = &mut self.caller.protection;
        sdp::Local {
            rtp: media.rtp,
            session: self.caller.call.map_or(0, |call| call.0),
            version: self.caller.sdp_version,
            security: match offer {
                Some(offer) => protection.answer(offer, &media.secret, fingerprint).0,
                None => protection.offer(&media.secret, fingerprint),
            },
        }
    }

    /// Tells the media engine how the caller's packets are protected.
    pub(crate) fn secure_caller(&mut self, media: OpenedLeg, security: Security) {
        if let Some(command) = self.caller.protection.command(media.id, security) {
            self.media(command);
        }
    }

    /// Sends 183 with our description; `false` where the caller made no offer.
    pub(crate) fn early_media(&mut self, media: OpenedLeg) -> bool {
        if self.caller.state != CallerState::Arriving {
            return true;
        }
        let Some(offer) = self.caller.description.clone() else {
            return false;
        };
        let Some(call) = self.caller.call else {
            return false;
        };
        let local = self.caller_local(media, Some(&offer));
        let sdp = sdp::answer(&local, &offer, self.caller.codec);
        self.sip(Command::Progress { call, status: 183, sdp: Some(sdp) });
        self.caller.state = CallerState::Early;
        true
    }

    /// Answers the caller's INVITE, unless that was done. `codec` is wanted where the caller has it.
    pub(crate) fn answer_caller(&mut self, media: OpenedLeg, codec: Option<Codec>) {
        let Some(call) = self.caller.call else {
            return;
        };
        if self.caller.state == CallerState::Answered || self.caller_left() {
            return;
        }
        let sdp = match self.caller.description.clone() {
            Some(offer) => {
                // A description that went out in a 183 stays as it is (RFC 3261 §13.2.1).
                if self.caller.state == CallerState::Arriving
                    && let Some(codec) = offer.choose(codec)
                    && codec != self.caller.codec
                {
                    self.caller.codec = codec;
                    let remote = offer.remote(codec, false);
                    self.media(MediaCommand::SetRemote { leg: media.id, remote });
                }
                if self.caller.state == CallerState::Early {
                    self.caller.sdp_version -= 1;
                }
                let local = self.caller_local(media, Some(&offer));
                sdp::answer(&local, &offer, self.caller.codec)
            }
            None => {
                let local = self.caller_local(media, None);
                sdp::offer(&local, &self.cfg.codecs.led_by(codec.unwrap_or(self.caller.codec)))
            }
        };
        self.sip(Command::Answer { call, sdp, headers: Vec::new() });
        self.caller.state = CallerState::Answered;
        self.note(Note::Answered);
    }

    /// Ends the caller's leg from our side.
    pub(crate) fn end(&mut self, cause: EndCause, status: Option<u16>) {
        if self.caller_left() {
            return;
        }
        if let Some(call) = self.caller.call {
            self.sip(Command::Hangup { call, status, reasons: reason::ours(cause) });
        }
        self.caller_gone(cause, &[]);
    }

    /// The caller's leg is over at the endpoint, for these reasons where it ended itself: part the
    /// others and report.
    pub(crate) fn caller_gone(&mut self, cause: EndCause, reasons: &[Reason]) {
        if self.caller_left() {
            return;
        }
        self.caller.state = CallerState::Ended;
        self.script = None;
        self.forget_company();
        self.sending.clear();
        self.stop_recordings();
        // The others learn what ended the call, as if they had been called by the caller.
        let passed_on = if reasons.is_empty() { reason::ours(cause) } else { reasons.to_vec() };
        self.drop_partners(&passed_on);
        self.note(Note::Ended(cause));
        let until = match self.caller.media {
            Some(media) => {
                self.media(MediaCommand::Close { leg: media.id });
                self.now.after_ms(LAST_STATS_MS)
            }
            None => self.now.mono,
        };
        self.farewell = Some(Farewell { cause, until, reasons: reason::said(reasons) });
        if self.caller.media.is_none() {
            self.say_farewell();
        }
    }

    /// Reports the end of the call, with the last statistics where they came.
    fn say_farewell(&mut self) {
        let Some(Farewell { cause, reasons, .. }) = self.farewell.take() else {
            return;
        };
        let quality = self.quality.of_call();
        self.ask(CallEvent::CallEnded { cause, quality, reasons });
    }

    /// The answer to our late offer.
    fn late_answer(&mut self, leg: LegNo, bytes: &Bytes) {
        if leg != LegNo::CALLER || self.caller_left() {
            return;
        }
        let Ok(description) = sdp::parse(bytes) else {
            self.end(EndCause::Failed, None);
            return;
        };
        if let (Some(media), Some(codec)) = (self.caller.media, description.choose(None)) {
            let Some(security) = self.caller.protection.answered(&description, &media.secret) else {
                self.end(EndCause::Failed, None);
                return;
            };
            self.caller.codec = codec;
            self.secure_caller(media, security);
            let remote = description.remote(codec, true);
            self.media(MediaCommand::SetRemote { leg: media.id, remote });
        }
        let held = description.is_hold();
        self.caller.description = Some(description);
        self.leg_held(LegNo::CALLER, held);
    }

    /// A new offer within a dialog: hold, resume, another address or codec.
    fn reoffered(&mut self, call: CallHandle, sdp: Option<Bytes>) {
        let Some(leg) = self.leg_of(call) else { return };
        if leg != LegNo::CALLER {
            self.partner_reoffered(leg, sdp);
            return;
        }
        let Some(media) = self.caller.media else {
            self.sip(Command::AnswerReoffer { call, sdp: None });
            return;
        };
        let Some(bytes) = sdp else {
            let local = self.caller_local(media, None);
            let sdp = Some(sdp::offer(&local, &self.cfg.codecs.led_by(self.caller.codec)));
            self.sip(Command::AnswerReoffer { call, sdp });
            return;
        };
        let parsed = sdp::parse_as(&bytes, self.cfg.accepts()).ok();
        let chosen = parsed.and_then(|d| Some((d.choose(Some(self.caller.codec))?, d)));
        let Some((codec, description)) = chosen else {
            self.sip(Command::AnswerReoffer { call, sdp: None });
            return;
        };
        self.caller.codec = codec;
        let local = self.caller_local(media, Some(&description));
        let answer = sdp::answer(&local, &description, codec);
        let remote = description.remote(codec, true);
        self.sip(Command::AnswerReoffer { call, sdp: Some(answer) });
        let fingerprint = self.cfg.fingerprint;
        let (_, security) = self.caller.protection.answer(&description, &media.secret, fingerprint);
        self.secure_caller(media, security);
        self.media(MediaCommand::SetRemote { leg: media.id, remote });
        let held = description.is_hold();
        self.caller.description = Some(description);
        self.leg_held(LegNo::CALLER, held);
    }

    /// After every input: run the script on, and notice when everything is done.
    fn settle(&mut self) {
        if !self.caller_left() {
            self.advance();
            self.company_loaded();
        }
        let done = self.caller_left() && self.farewell.is_none() && self.asks.is_idle() && self.recordings.is_empty();
        if done && !self.over {
            self.over = true;
            self.output(Output::Over);
        }
    }
}
