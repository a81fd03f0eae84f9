//! The other legs: agents that are rung, transfers, the join and the parting.

use bytes::Bytes;
use hotline_base::{OfferId, RecordingId};
use hotline_rtp::api::{Law, MediaCommand, MediaLegId, Token};
use hotline_sip::api::{CallHandle, Command};
use hotline_wire::node::{CallEvent, EndCause, OfferFailure, Prompt, RingAgent};
use std::time::Instant;

use crate::sdp::{self, Description};
use crate::session::{CallerState, Session};
use crate::sounds::Resolved;
use crate::types::{DialError, Dialed, LegNo, Note, OpenedLeg, Output, Target, name_addr};

/// Legs besides the caller's at a time.
const PARTNERS: usize = 8;

/// Why a partner was called.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    Agent(RingAgent),
    Transfer { record: Option<RecordingId> },
}

/// Where a partner's leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A way to it is being looked for.
    Dialing,
    /// INVITE sent.
    Inviting,
    /// 180 or 183 came.
    Ringing,
    /// Answered; prompts for it alone are on their way.
    WhisperLoading,
    /// They play.
    Whispering(Token),
    /// Joined with the caller.
    Joined,
}

/// One leg.
pub(crate) struct Partner {
    pub(crate) leg: LegNo,
    pub(crate) call: Option<CallHandle>,
    /// The ring's end, or the whisper's patience.
    pub(crate) until: Option<Instant>,
    purpose: Purpose,
    state: State,
    media: Option<OpenedLeg>,
    law: Law,
    held: bool,
    /// Its early audio is heard by the caller.
    early: bool,
    sdp_version: u32,
}

impl Partner {
    /// Prompts for it alone.
    pub(crate) fn whisper(&self) -> &[Prompt] {
        match &self.purpose {
            Purpose::Agent(agent) => &agent.whisper,
            Purpose::Transfer { .. } => &[],
        }
    }

    fn offer(&self) -> Option<OfferId> {
        match &self.purpose {
            Purpose::Agent(agent) => Some(agent.offer),
            Purpose::Transfer { .. } => None,
        }
    }
}

impl Session {
    fn partner(&mut self, leg: LegNo) -> Option<&mut Partner> {
        self.partners.iter_mut().find(|p| p.leg == leg)
    }

    fn partner_by_call(&mut self, call: CallHandle) -> Option<&mut Partner> {
        self.partners.iter_mut().find(|p| p.call == Some(call))
    }

    /// Calls an agent's phone while whatever is playing goes on.
    pub(crate) fn ring_agent(&mut self, agent: RingAgent) {
        let offer = agent.offer;
        if self.partners.iter().any(|p| p.offer() == Some(offer)) {
            self.note(Note::CommandDropped("the offer rings already"));
            return;
        }
        if self.joined.is_some() || self.partners.len() >= PARTNERS {
            self.ask(CallEvent::OfferFailed { offer, reason: OfferFailure::Rescinded, sip_status: None });
            return;
        }
        let fetch = self.sounds.want(agent.whisper.iter());
        self.load(fetch);
        let target = Target::Agent { sip_user: agent.sip_user.clone(), node: agent.phone_node };
        let limit = agent.ring_timeout_ms;
        self.dial(target, limit, Purpose::Agent(agent));
    }

    /// Calls an outside address for the script; `None` where there is no room.
    pub(crate) fn transfer(
        &mut self,
        target: &str,
        ring_timeout_ms: u32,
        record: Option<RecordingId>,
    ) -> Option<LegNo> {
        if self.joined.is_some() || self.partners.len() >= PARTNERS {
            return None;
        }
        let target = Target::Address(target.to_string());
        Some(self.dial(target, ring_timeout_ms, Purpose::Transfer { record }))
    }

    fn dial(&mut self, target: Target, ring_timeout_ms: u32, purpose: Purpose) -> LegNo {
        // The join needs the caller's leg at once.
        self.open_caller();
        let leg = self.fresh_leg();
        self.partners.push(Partner {
            leg,
            call: None,
            until: Some(self.now.after_ms(u64::from(ring_timeout_ms))),
            purpose,
            state: State::Dialing,
            media: None,
            law: self.caller.law,
            held: false,
            early: false,
            sdp_version: 1,
        });
        self.note(Note::Dialing(leg));
        self.output(Output::Dial { leg, target });
        leg
    }

    /// The way to a partner was found, or not.
    pub(crate) fn partner_dialed(&mut self, leg: LegNo, result: Result<Dialed, DialError>) {
        let (law, caller) = (self.caller.law, self.caller.from.clone());
        let host = self.cfg.host.clone();
        let Some(partner) = self.partner(leg) else {
            // Taken back in the meantime.
            if let Ok(dialed) = result {
                self.media(MediaCommand::Close { leg: dialed.media.id });
            }
            return;
        };
        let dialed = match result {
            Ok(dialed) => dialed,
            Err(_) => {
                self.not_taken(leg, OfferFailure::Unreachable, None);
                return;
            }
        };
        partner.call = Some(dialed.call);
        partner.media = Some(dialed.media);
        partner.state = State::Inviting;
        let label = match &partner.purpose {
            Purpose::Agent(agent) => agent.caller_label.expose().clone(),
            Purpose::Transfer { .. } => String::new(),
        };
        let local = sdp::Local { rtp: dialed.media.rtp, session: dialed.call.0, version: 1 };
        self.sip(Command::Invite {
            call: dialed.call,
            to: format!("<{}>", dialed.uri),
            uri: dialed.uri,
            path: dialed.path,
            from: name_addr(&label, &caller, &host),
            sdp: Some(sdp::offer(&local, law)),
            headers: dialed.headers,
            credentials: dialed.credentials,
        });
    }

    /// 1xx from a partner.
    pub(crate) fn partner_progress(&mut self, call: CallHandle, status: u16, sdp: Option<Bytes>) {
        let Some(partner) = self.partner_by_call(call) else {
            return;
        };
        let leg = partner.leg;
        let first = partner.state == State::Inviting;
        if first && status >= 180 {
            partner.state = State::Ringing;
            let offer = partner.offer();
            self.note(Note::Ringing(leg));
            match offer {
                Some(offer) => self.ask(CallEvent::OfferRinging { offer }),
                None => {
                    if sdp.is_none() {
                        self.ring_back();
                    }
                }
            }
        }
        if let Some(sdp) = sdp {
            self.early_audio(leg, &sdp);
        }
    }

    /// A transfer's early audio is for the caller to hear; an agent's phone has none to offer.
    fn early_audio(&mut self, leg: LegNo, sdp: &Bytes) {
        let Some(partner) = self.partner(leg) else {
            return;
        };
        if partner.early || partner.offer().is_some() {
            return;
        }
        if self.set_partner_remote(leg, sdp).is_none() || !self.audio_ready() {
            return;
        }
        let Some(partner) = self.partner(leg) else {
            return;
        };
        partner.early = true;
        let b = partner.media.map(|m| m.id);
        if let (Some(a), Some(b)) = (self.caller.media.map(|m| m.id), b) {
            self.stop_play();
            self.media(MediaCommand::Bridge { a, b });
        }
    }

    /// Tells the media engine where a partner is; `None` where its description is of no use.
    fn set_partner_remote(&mut self, leg: LegNo, sdp: &Bytes) -> Option<()> {
        let description = sdp::parse(sdp).ok()?;
        let law = description.choose(None)?;
        let partner = self.partner(leg)?;
        partner.law = law;
        partner.held = description.is_hold();
        let media = partner.media?.id;
        let remote = description.remote(law, true);
        self.media(MediaCommand::SetRemote { leg: media, remote });
        Some(())
    }

    /// A partner answered: whisper to it, or join at once.
    pub(crate) fn partner_answered(&mut self, call: CallHandle, sdp: Option<Bytes>) {
        let Some(partner) = self.partner_by_call(call) else {
            return;
        };
        let leg = partner.leg;
        if !matches!(partner.state, State::Inviting | State::Ringing) {
            return;
        }
        partner.until = None;
        let usable = sdp.and_then(|sdp| self.set_partner_remote(leg, &sdp));
        if usable.is_none() {
            self.hang_up(leg);
            self.not_taken(leg, OfferFailure::Unreachable, Some(488));
            return;
        }
        self.rescind_others(leg);
        let patience = self.now.after_ms(self.cfg.load_ms);
        match self.partner(leg) {
            Some(partner) if !partner.whisper().is_empty() => {
                partner.state = State::WhisperLoading;
                partner.until = Some(patience);
                self.whispers_loaded();
            }
            _ => self.join(leg),
        }
    }

    /// The first answer wins: the others stop ringing.
    fn rescind_others(&mut self, winner: LegNo) {
        let others: Vec<LegNo> = self.partners.iter().map(|p| p.leg).filter(|leg| *leg != winner).collect();
        for leg in others {
            self.hang_up(leg);
            self.not_taken(leg, OfferFailure::Rescinded, None);
        }
    }

    /// Plays whispers whose prompts have come.
    pub(crate) fn whispers_loaded(&mut self) {
        let waiting: Vec<LegNo> =
            self.partners.iter().filter(|p| p.state == State::WhisperLoading).map(|p| p.leg).collect();
        for leg in waiting {
            self.start_whisper(leg, false);
        }
    }

    fn start_whisper(&mut self, leg: LegNo, patience_is_over: bool) {
        let Some(partner) = self.partner(leg) else {
            return;
        };
        let (whisper, media) = (partner.whisper().to_vec(), partner.media);
        let sounds = match self.sounds.resolve(&whisper) {
            Resolved::Ready(sounds, _) => sounds,
            Resolved::Waiting if patience_is_over => Vec::new(),
            Resolved::Waiting => return,
        };
        let (Some(media), false) = (media, sounds.is_empty()) else {
            self.join(leg);
            return;
        };
        let token = self.fresh_token();
        self.media(MediaCommand::Play { leg: media.id, token, sounds, looped: false });
        if let Some(partner) = self.partner(leg) {
            partner.state = State::Whispering(token);
            partner.until = None;
        }
    }

    /// Whether the ended sound was a whisper: the legs are joined then.
    pub(crate) fn whisper_ended(&mut self, token: Token) -> bool {
        let found = self.partners.iter().find(|p| p.state == State::Whispering(token)).map(|p| p.leg);
        if let Some(leg) = found {
            self.join(leg);
        }
        found.is_some()
    }

    /// Joins a partner that answered with the caller.
    fn join(&mut self, leg: LegNo) {
        let Some(caller) = self.caller.media else {
            self.hang_up(leg);
            self.not_taken(leg, OfferFailure::Unreachable, None);
            return;
        };
        let Some(partner) = self.partner(leg) else {
            return;
        };
        let (law, purpose, held) = (partner.law, partner.purpose.clone(), partner.held);
        let Some(media) = partner.media else { return };
        partner.state = State::Joined;
        self.joined = Some(leg);
        self.end_company();
        let was_answered = self.caller.state == CallerState::Answered;
        self.answer_caller(caller, Some(law));
        if was_answered {
            self.stop_play();
        }
        if held || self.caller.held {
            self.hold_music();
        } else {
            self.media(MediaCommand::Bridge { a: caller.id, b: media.id });
        }
        self.note(Note::Joined(leg));
        let record = match &purpose {
            Purpose::Agent(agent) => agent.record,
            Purpose::Transfer { record } => *record,
        };
        if let Some(recording) = record {
            self.start_recording(recording, Some((leg, media.id)));
        }
        if let Purpose::Agent(agent) = purpose {
            self.drop_script();
            self.ask(CallEvent::OfferAnswered { offer: agent.offer, dialog: None });
            self.asks.joined_seq = self.asks.seq;
        }
    }

    /// Our own end of a partner's call at the endpoint, and of its media.
    fn hang_up(&mut self, leg: LegNo) {
        let Some(call) = self.partner(leg).and_then(|p| p.call) else {
            return;
        };
        self.sip(Command::Hangup { call, status: None, reason: None });
    }

    /// Removes a partner: media closed, legs parted, its recording stopped.
    fn remove(&mut self, leg: LegNo) -> Option<Partner> {
        let index = self.partners.iter().position(|p| p.leg == leg)?;
        let partner = self.partners.remove(index);
        if self.joined == Some(leg) {
            self.joined = None;
            self.stop_recording_with(Some(leg));
        }
        if (partner.state == State::Joined || partner.early)
            && let Some(caller) = self.caller.media
            && !self.caller_left()
        {
            self.media(MediaCommand::Unbridge { leg: caller.id });
            self.stop_play();
        }
        if let Some(media) = partner.media {
            self.media(MediaCommand::Close { leg: media.id });
        }
        Some(partner)
    }

    /// A partner that was not joined is over.
    fn not_taken(&mut self, leg: LegNo, reason: OfferFailure, sip_status: Option<u16>) {
        let Some(partner) = self.remove(leg) else {
            return;
        };
        self.note(Note::NotTaken(leg, reason));
        match partner.offer() {
            Some(offer) => {
                // The ring-back of a script that ended with this ring has no more reason.
                if self.script.is_none() && self.partners.is_empty() {
                    self.stop_play();
                }
                self.ask(CallEvent::OfferFailed { offer, reason, sip_status });
            }
            None => {
                self.stop_play();
                self.transfer_ended(leg, false);
            }
        }
    }

    /// A joined partner is over.
    fn parted(&mut self, leg: LegNo, cause: EndCause) {
        let Some(partner) = self.remove(leg) else {
            return;
        };
        self.note(Note::Parted(leg, cause));
        match partner.offer() {
            Some(offer) => self.ask(CallEvent::AgentLegEnded { offer, cause }),
            None => self.transfer_ended(leg, true),
        }
    }

    /// 300 to 699 from a partner.
    pub(crate) fn partner_refused(&mut self, call: CallHandle, status: u16) {
        let Some(leg) = self.partner_by_call(call).map(|p| p.leg) else {
            return;
        };
        let reason = match status {
            486 | 600 | 603 => OfferFailure::Declined,
            _ => OfferFailure::Unreachable,
        };
        self.not_taken(leg, reason, Some(status));
    }

    /// A partner's dialog ended.
    pub(crate) fn partner_ended(&mut self, call: CallHandle, cause: EndCause) {
        let Some(partner) = self.partner_by_call(call) else {
            return;
        };
        let leg = partner.leg;
        if partner.state == State::Joined {
            self.parted(leg, cause);
        } else {
            self.not_taken(leg, OfferFailure::Declined, None);
        }
    }

    /// No audio from a partner for too long.
    pub(crate) fn partner_silent(&mut self, media: MediaLegId) {
        let found =
            self.partners.iter().find(|p| p.media.map(|m| m.id) == Some(media) && p.state == State::Joined && !p.held);
        if let Some(leg) = found.map(|p| p.leg) {
            self.hang_up(leg);
            self.parted(leg, EndCause::Lost);
        }
    }

    /// An offer is taken back while it rings.
    pub(crate) fn rescind(&mut self, offer: OfferId) {
        let found = self.partners.iter().find(|p| p.offer() == Some(offer) && p.state != State::Joined);
        match found.map(|p| p.leg) {
            Some(leg) => {
                self.hang_up(leg);
                self.not_taken(leg, OfferFailure::Rescinded, None);
            }
            None => self.note(Note::CommandDropped("no such offer rings")),
        }
    }

    /// Ends the agent's leg; the caller stays.
    pub(crate) fn release(&mut self, offer: OfferId) {
        let found = self.partners.iter().find(|p| p.offer() == Some(offer) && p.state == State::Joined);
        match found.map(|p| p.leg) {
            Some(leg) => {
                self.hang_up(leg);
                self.parted(leg, EndCause::Command);
            }
            None => self.note(Note::CommandDropped("no such agent is joined")),
        }
    }

    /// Parts whoever is joined, because a new script takes the caller.
    pub(crate) fn release_joined(&mut self, cause: EndCause) {
        if let Some(leg) = self.joined {
            self.hang_up(leg);
            self.parted(leg, cause);
        }
    }

    /// Ends a transfer whose script was replaced.
    pub(crate) fn hang_up_partner(&mut self, leg: LegNo, cause: EndCause) {
        self.hang_up(leg);
        if self.remove(leg).is_some() {
            self.note(Note::Parted(leg, cause));
        }
    }

    /// The caller is gone: nobody else stays.
    pub(crate) fn drop_partners(&mut self) {
        let legs: Vec<LegNo> = self.partners.iter().map(|p| p.leg).collect();
        for leg in legs {
            self.hang_up(leg);
            self.remove(leg);
        }
    }

    /// Ring limits and whisper patience.
    pub(crate) fn partner_timeouts(&mut self) {
        let now = self.now.mono;
        let due: Vec<(LegNo, State)> = self
            .partners
            .iter()
            .filter(|p| p.until.is_some_and(|until| until <= now))
            .map(|p| (p.leg, p.state))
            .collect();
        for (leg, state) in due {
            if state == State::WhisperLoading {
                self.start_whisper(leg, true);
            } else {
                self.hang_up(leg);
                self.not_taken(leg, OfferFailure::TimedOut, None);
            }
        }
    }

    /// A leg went on hold or came back.
    pub(crate) fn leg_held(&mut self, leg: LegNo, held: bool) {
        let before = if leg == LegNo::CALLER {
            std::mem::replace(&mut self.caller.held, held)
        } else {
            match self.partner(leg) {
                Some(partner) => std::mem::replace(&mut partner.held, held),
                None => return,
            }
        };
        let Some(joined) = self.joined.filter(|_| before != held) else {
            return;
        };
        let caller_held = self.caller.held;
        let Some(caller) = self.caller.media else {
            return;
        };
        let Some(partner) = self.partner(joined) else {
            return;
        };
        let partner_held = partner.held;
        let Some(media) = partner.media else { return };
        if caller_held || partner_held {
            self.media(MediaCommand::Unbridge { leg: caller.id });
            if partner_held {
                self.hold_music();
            }
        } else {
            self.stop_play();
            self.media(MediaCommand::Bridge { a: caller.id, b: media.id });
        }
    }

    /// What the caller hears while the partner holds: the flow's music.
    fn hold_music(&mut self) {
        let Some(fallback) = self.fallback.clone() else {
            return;
        };
        if let Resolved::Ready(sounds, _) = self.sounds.resolve(&[fallback.music])
            && !sounds.is_empty()
        {
            self.play(sounds, true);
        }
    }

    /// A partner's new offer: hold, resume, another address or codec.
    pub(crate) fn partner_reoffered(&mut self, leg: LegNo, sdp: Option<Bytes>) {
        let Some(partner) = self.partner(leg) else {
            return;
        };
        let (Some(call), Some(media), law) = (partner.call, partner.media, partner.law) else {
            return;
        };
        partner.sdp_version += 1;
        let local = sdp::Local { rtp: media.rtp, session: call.0, version: partner.sdp_version };
        let Some(bytes) = sdp else {
            let sdp = Some(sdp::offer(&local, law));
            self.sip(Command::AnswerReoffer { call, sdp });
            return;
        };
        let parsed: Option<Description> = sdp::parse(&bytes).ok();
        let Some((law, description)) = parsed.and_then(|d| Some((d.choose(Some(law))?, d))) else {
            self.sip(Command::AnswerReoffer { call, sdp: None });
            return;
        };
        partner.law = law;
        let answer = sdp::answer(&local, &description, law);
        self.sip(Command::AnswerReoffer { call, sdp: Some(answer) });
        self.media(MediaCommand::SetRemote { leg: media.id, remote: description.remote(law, true) });
        self.leg_held(leg, description.is_hold());
    }
}
