//! The other legs, from being called to their answer: agents, transfers, a party that is called.

use bytes::Bytes;
use hotline_base::{OfferId, RecordingId};
use hotline_rtp::api::{Codec, MediaCommand, Token};
use hotline_sip::api::{CallHandle, Command, Header};
use hotline_wire::legs::{DialFailure, DialogRef};
use hotline_wire::node::{CallEvent, EndCause, OfferFailure, Prompt, RingAgent, SentKeys};
use hotline_wire::reason::{Reason, answered_elsewhere, q850_cause};
use std::time::Instant;

use crate::protection::{OfferedSecurity, Protection};
use crate::reason::{self, verdict};
use crate::sdp;
use crate::session::{CallerState, Session};
use crate::sounds::Resolved;
use crate::types::{DialError, Dialed, LegNo, Note, OpenedLeg, Output, Target, name_addr, replaces};

/// Legs besides the caller's at a time.
const PARTNERS: usize = 8;
/// Without any answer for so long the next way to a number is tried, milliseconds.
const NEXT_WAY_MS: u64 = 4_000;
/// Ways tried at most.
const WAYS: u32 = 8;

/// Why a partner was called.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    Agent(Box<RingAgent>),
    Transfer {
        record: Option<RecordingId>,
        /// Sent to it when it has answered.
        keys: Option<SentKeys>,
    },
    /// Becomes the caller's leg when it answers.
    Party,
}

/// Where a partner's leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
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
    /// Takes part in the conversation.
    Joined,
}

/// Which codecs a partner is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    /// All that may be of use.
    Enough,
    /// Beside a narrowband caller no wideband ones.
    Narrowband,
    /// It has none of these: all.
    All,
}

/// One leg.
pub(crate) struct Partner {
    pub(crate) leg: LegNo,
    pub(crate) call: Option<CallHandle>,
    /// The ring's end, or the whisper's patience.
    pub(crate) until: Option<Instant>,
    /// Then the next way is tried, unless something answers before.
    next_way: Option<Instant>,
    target: Target,
    attempt: u32,
    more: bool,
    /// What it is offered of what we speak.
    offered: Offered,
    /// It was told that this one rings.
    rang: bool,
    pub(crate) purpose: Purpose,
    pub(crate) state: State,
    pub(crate) media: Option<OpenedLeg>,
    pub(crate) codec: Codec,
    pub(crate) held: bool,
    /// A browser that is not heard: it may come back until then.
    pub(crate) away: Option<Instant>,
    pub(crate) protection: Protection,
    /// It agreed on telephone events.
    pub(crate) events: bool,
    /// It takes keys by INFO.
    pub(crate) takes_info: bool,
    /// Its early audio is heard by the caller.
    pub(crate) early: bool,
    pub(crate) sdp_version: u32,
    pub(crate) dialog: Option<DialogRef>,
    /// It asked for a transfer and is owed its outcome until then.
    pub(crate) refer_until: Option<Instant>,
    /// The dialog that its REFER names, where that is one of ours.
    pub(crate) attends: Option<DialogRef>,
}

impl Partner {
    /// Prompts for it alone.
    pub(crate) fn whisper(&self) -> &[Prompt] {
        match &self.purpose {
            Purpose::Agent(agent) => &agent.whisper,
            _ => &[],
        }
    }

    pub(crate) fn offer(&self) -> Option<OfferId> {
        match &self.purpose {
            Purpose::Agent(agent) => Some(agent.offer),
            _ => None,
        }
    }

    /// When it wants to be looked at.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.until, self.next_way, self.refer_until, self.away].into_iter().flatten().min()
    }
}

impl Session {
    pub(crate) fn partner(&mut self, leg: LegNo) -> Option<&mut Partner> {
        self.partners.iter_mut().find(|p| p.leg == leg)
    }

    pub(crate) fn partner_by_call(&mut self, call: CallHandle) -> Option<&mut Partner> {
        self.partners.iter_mut().find(|p| p.call == Some(call))
    }

    /// The other legs of the conversation.
    pub(crate) fn joined(&self) -> impl Iterator<Item = &Partner> {
        self.partners.iter().filter(|p| p.state == State::Joined)
    }

    /// Whether there is a conversation.
    pub(crate) fn is_joined(&self) -> bool {
        self.joined().next().is_some()
    }

    /// Calls an agent's phone while whatever is playing goes on.
    pub(crate) fn ring_agent(&mut self, agent: RingAgent) {
        let offer = agent.offer;
        if self.partners.iter().any(|p| p.offer() == Some(offer)) {
            self.note(Note::CommandDropped("the offer rings already"));
            return;
        }
        // Whoever comes to a conversation must be told whom to talk with.
        if (self.is_joined() && agent.arrange.is_none()) || self.partners.len() >= PARTNERS {
            self.ask(CallEvent::OfferFailed {
                offer,
                reason: OfferFailure::Rescinded,
                sip_status: None,
                reasons: vec![],
            });
            return;
        }
        let mut fetch = self.sounds.want(agent.whisper.iter());
        if let Some(arrangement) = &agent.arrange {
            fetch.extend(self.sounds.want(crate::arrange::music_of(arrangement)));
        }
        self.load(fetch);
        let target = match &agent.number {
            Some(number) => Target::Address(number.expose().clone()),
            None => Target::Agent {
                sip_user: agent.sip_user.clone(),
                node: agent.phone_node,
                address: agent.phone_address.clone(),
                offer,
                agent: agent.agent,
                replaces: agent.replaces.clone(),
            },
        };
        let limit = agent.ring_timeout_ms;
        self.dial(target, limit, Purpose::Agent(Box::new(agent)));
    }

    /// Calls an outside address for the script; `None` where there is no room.
    pub(crate) fn transfer(
        &mut self,
        target: &str,
        ring_timeout_ms: u32,
        record: Option<RecordingId>,
        keys: Option<SentKeys>,
    ) -> Option<LegNo> {
        if self.is_joined() || self.partners.len() >= PARTNERS {
            return None;
        }
        // Whoever asked for it has the target on the line: that call is taken over.
        let target = match self.attended.take().filter(|(until, _)| *until > self.now.mono) {
            Some((_, dialog)) => Target::Dialog(dialog),
            None => Target::Address(target.to_string()),
        };
        Some(self.dial(target, ring_timeout_ms, Purpose::Transfer { record, keys }))
    }

    pub(crate) fn dial(&mut self, target: Target, ring_timeout_ms: u32, purpose: Purpose) -> LegNo {
        // The join needs the caller's leg at once.
        self.open_caller();
        let leg = self.fresh_leg();
        self.partners.push(Partner {
            leg,
            call: None,
            until: Some(self.now.after_ms(u64::from(ring_timeout_ms))),
            next_way: None,
            target: target.clone(),
            attempt: 0,
            more: false,
            offered: Offered::Enough,
            rang: false,
            purpose,
            state: State::Dialing,
            media: None,
            codec: self.caller.codec,
            held: false,
            away: None,
            protection: Protection::offering(OfferedSecurity::Plain),
            events: false,
            takes_info: false,
            early: false,
            sdp_version: 1,
            dialog: None,
            refer_until: None,
            attends: None,
        });
        self.note(Note::Dialing(leg));
        self.output(Output::Dial { leg, target, attempt: 0 });
        leg
    }

    /// The way to a partner was found, or not.
    pub(crate) fn partner_dialed(&mut self, leg: LegNo, result: Result<Dialed, DialError>) {
        let (codec, caller) = (self.caller.codec, self.caller.from.clone());
        let caller_id = self.caller_id();
        let host = self.cfg.host.clone();
        let next_way = self.now.after_ms(NEXT_WAY_MS);
        let (fingerprint, spoken) = (self.cfg.fingerprint, self.cfg.codecs);
        let Some(partner) = self.partner(leg).filter(|p| p.state == State::Dialing) else {
            // Taken back in the meantime.
            if let Ok(dialed) = result {
                self.media(MediaCommand::Close { leg: dialed.media.id });
            }
            return;
        };
        let dialed = match result {
            Ok(dialed) => dialed,
            Err(error) => {
                self.not_dialed(leg, &error);
                return;
            }
        };
        partner.call = Some(dialed.call);
        partner.protection = Protection::offering(dialed.security);
        let security = partner.protection.offer(&dialed.media.secret, fingerprint);
        partner.media = Some(dialed.media);
        partner.state = State::Inviting;
        partner.more = dialed.more;
        partner.next_way = dialed.more.then_some(next_way);
        let codecs = match &dialed.codecs[..] {
            [] if partner.offered == Offered::All => spoken.all_led_by(codec),
            [] => spoken.led_by(codec),
            own => own.to_vec(),
        };
        // A gateway is not asked again: it refuses for other reasons.
        let phone = dialed.from.is_none() && dialed.codecs.is_empty();
        if phone && partner.offered == Offered::Enough && codecs.len() < spoken.all_led_by(codec).len() {
            partner.offered = Offered::Narrowband;
        }
        let from = match &partner.purpose {
            _ if dialed.from.is_some() => dialed.from.unwrap_or_default(),
            Purpose::Agent(agent) => name_addr(agent.caller_label.expose(), &caller, &host),
            Purpose::Transfer { .. } => name_addr("", &caller, &host),
            Purpose::Party => name_addr("", &caller_id, &host),
        };
        let mut headers: Vec<Header> = dialed.headers;
        if let Some(dialog) = &dialed.replaces {
            // A phone that cannot must say so, and not ring (RFC 3891 §4).
            headers.push(replaces(dialog));
            headers.push(("Require".into(), "replaces".into()));
        }
        let local = sdp::Local { rtp: dialed.media.rtp, session: dialed.call.0, version: 1, security };
        self.sip(Command::Invite {
            call: dialed.call,
            to: format!("<{}>", dialed.uri),
            uri: dialed.uri,
            path: dialed.path,
            from,
            sdp: Some(sdp::offer(&local, &codecs)),
            headers,
            credentials: dialed.credentials,
        });
    }

    /// Somebody is there and tries: patience.
    pub(crate) fn partner_tries(&mut self, call: CallHandle) {
        if let Some(partner) = self.partner_by_call(call) {
            partner.next_way = None;
        }
    }

    /// Tries the next way to a partner that did not answer by the last one; whether there is one.
    fn try_next_way(&mut self, leg: LegNo) -> bool {
        let Some(partner) = self.partner(leg) else {
            return false;
        };
        if !partner.more || partner.state != State::Inviting || partner.attempt + 1 >= WAYS {
            return false;
        }
        partner.attempt += 1;
        self.note(Note::NextWay(leg));
        self.dial_again(leg);
        true
    }

    /// Rings a phone that speaks only wideband codecs again, with all that we speak; whether that is to be tried.
    fn ring_with_all_codecs(&mut self, leg: LegNo) -> bool {
        let rings = |p: &&mut Partner| matches!(p.state, State::Inviting | State::Ringing);
        let narrow = |p: &&mut Partner| rings(p) && p.offered == Offered::Narrowband;
        let Some(partner) = self.partner(leg).filter(narrow) else {
            return false;
        };
        partner.offered = Offered::All;
        self.note(Note::AllCodecs(leg));
        self.dial_again(leg);
        true
    }

    fn dial_again(&mut self, leg: LegNo) {
        let Some(partner) = self.partner(leg) else {
            return;
        };
        partner.state = State::Dialing;
        partner.next_way = None;
        partner.call = None;
        let (target, attempt) = (partner.target.clone(), partner.attempt);
        if let Some(media) = partner.media.take() {
            self.media(MediaCommand::Close { leg: media.id });
        }
        self.output(Output::Dial { leg, target, attempt });
    }

    /// 1xx from a partner.
    pub(crate) fn partner_progress(&mut self, call: CallHandle, status: u16, sdp: Option<Bytes>) {
        let Some(partner) = self.partner_by_call(call) else {
            return;
        };
        let leg = partner.leg;
        partner.next_way = None;
        let (first, told) = (partner.state == State::Inviting, partner.rang);
        if first && status >= 180 {
            partner.state = State::Ringing;
            partner.rang = true;
        }
        if first && status >= 180 && !told {
            let purpose = partner.purpose.clone();
            self.note(Note::Ringing(leg));
            match purpose {
                Purpose::Agent(agent) => self.ask(CallEvent::OfferRinging { offer: agent.offer }),
                Purpose::Transfer { .. } if sdp.is_none() => self.ring_back(),
                Purpose::Transfer { .. } => {}
                Purpose::Party => self.party_rings(),
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
        if partner.early || !matches!(partner.purpose, Purpose::Transfer { .. }) {
            return;
        }
        if self.set_partner_remote(leg, sdp).is_none() || !self.audio_ready() {
            return;
        }
        let Some(partner) = self.partner(leg) else {
            return;
        };
        partner.early = true;
        self.stop_play();
        self.rearrange();
    }

    /// Tells the media engine where a partner is; `None` where its description is of no use.
    pub(crate) fn set_partner_remote(&mut self, leg: LegNo, sdp: &Bytes) -> Option<sdp::Description> {
        let description = sdp::parse(sdp).ok()?;
        let codec = description.choose(Some(self.caller.codec))?;
        let partner = self.partner(leg)?;
        let media = partner.media?;
        let security = partner.protection.answered(&description, &media.secret)?;
        partner.codec = codec;
        partner.held = description.is_hold();
        partner.events = description.event(codec).is_some();
        let secure = partner.protection.command(media.id, security);
        let remote = description.remote(codec, true);
        if let Some(secure) = secure {
            self.media(secure);
        }
        self.media(MediaCommand::SetRemote { leg: media.id, remote });
        Some(description)
    }

    /// What identifies the dialog of a call; told before its answer.
    pub(crate) fn partner_dialog(&mut self, call: CallHandle, dialog: DialogRef, takes_info: bool) {
        if let Some(partner) = self.partner_by_call(call) {
            partner.dialog = Some(dialog);
            partner.takes_info = takes_info;
        }
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
        partner.next_way = None;
        let usable = sdp.and_then(|sdp| self.set_partner_remote(leg, &sdp));
        let Some(description) = usable else {
            self.hang_up(leg, reason::incompatible());
            self.not_taken(leg, OfferFailure::Unreachable, Some(488), vec![]);
            return;
        };
        let patience = self.now.after_ms(self.cfg.load_ms);
        let purpose = match self.partner(leg) {
            Some(partner) => partner.purpose.clone(),
            None => return,
        };
        match purpose {
            Purpose::Party => {
                self.party_answered(leg, description);
                return;
            }
            Purpose::Agent(agent) if agent.arrange.is_some() => {}
            _ => self.rescind_others(leg),
        }
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
        let rings = |p: &&Partner| p.leg != winner && p.state != State::Joined;
        let others: Vec<LegNo> = self.partners.iter().filter(rings).map(|p| p.leg).collect();
        for leg in others {
            self.hang_up(leg, reason::elsewhere());
            self.not_taken(leg, OfferFailure::Rescinded, None, vec![]);
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

    /// Our own end of a partner's call at the endpoint.
    pub(crate) fn hang_up(&mut self, leg: LegNo, reasons: Vec<hotline_sip::Reason>) {
        let Some(call) = self.partner(leg).and_then(|p| p.call) else {
            return;
        };
        self.sip(Command::Hangup { call, status: None, reasons });
    }

    /// There is no way to a partner.
    fn not_dialed(&mut self, leg: LegNo, error: &DialError) {
        let party = self.partner(leg).is_some_and(|p| matches!(p.purpose, Purpose::Party));
        if party {
            self.party_not_dialed(error);
        } else {
            self.not_taken(leg, OfferFailure::Unreachable, None, vec![]);
        }
    }

    /// A partner that was not joined is over.
    pub(crate) fn not_taken(
        &mut self,
        leg: LegNo,
        reason: OfferFailure,
        sip_status: Option<u16>,
        reasons: Vec<Reason>,
    ) {
        let Some(partner) = self.remove(leg) else {
            return;
        };
        self.note(Note::NotTaken(leg, reason));
        match partner.purpose {
            Purpose::Agent(agent) => {
                // The ring-back of a script that ended with this ring has no more reason.
                if self.script.is_none() && self.partners.is_empty() && self.caller.state != CallerState::Absent {
                    self.stop_play();
                }
                self.ask(CallEvent::OfferFailed { offer: agent.offer, reason, sip_status, reasons });
                self.mission_agent_failed();
            }
            Purpose::Transfer { .. } => {
                self.stop_play();
                self.transfer_ended(leg, false, reasons);
            }
            Purpose::Party => self.party_not_taken(reason, sip_status, reasons),
        }
    }

    /// 300 to 699 from a partner, or nothing at all (408), or a broken connection (503).
    pub(crate) fn partner_refused(&mut self, call: CallHandle, status: u16, reasons: &[hotline_sip::Reason]) {
        let Some(leg) = self.partner_by_call(call).map(|p| p.leg) else {
            return;
        };
        let reasons = reason::said(reasons);
        let cause = q850_cause(&reasons);
        let verdict = verdict(status, cause);
        if verdict.next_way && self.try_next_way(leg) {
            return;
        }
        // Nothing of the offer is spoken there.
        if matches!(status, 488 | 606) && self.ring_with_all_codecs(leg) {
            return;
        }
        let reason = match (verdict.failure, status) {
            // Somebody took it at another phone: that is no refusal.
            _ if answered_elsewhere(&reasons) => OfferFailure::Unreachable,
            (DialFailure::Busy, _) | (_, 486 | 600 | 603) => OfferFailure::Declined,
            _ if cause == Some(21) => OfferFailure::Declined,
            _ if cause == Some(19) => OfferFailure::TimedOut,
            _ => OfferFailure::Unreachable,
        };
        self.not_taken(leg, reason, Some(status), reasons);
    }

    /// A partner's dialog ended.
    pub(crate) fn partner_ended(&mut self, call: CallHandle, cause: EndCause, reasons: Vec<Reason>) {
        let Some(partner) = self.partner_by_call(call) else {
            return;
        };
        let leg = partner.leg;
        if partner.state == State::Joined {
            self.parted(leg, cause, reasons);
        } else {
            self.not_taken(leg, OfferFailure::Declined, None, reasons);
        }
    }

    /// An offer is taken back while it rings.
    pub(crate) fn rescind(&mut self, offer: OfferId) {
        let found = self.partners.iter().find(|p| p.offer() == Some(offer) && p.state != State::Joined);
        match found.map(|p| p.leg) {
            Some(leg) => {
                self.hang_up(leg, reason::taken_back());
                self.not_taken(leg, OfferFailure::Rescinded, None, vec![]);
            }
            None => self.note(Note::CommandDropped("no such offer rings")),
        }
    }

    /// Ring limits, whisper patience, ways that do not answer, transfers whose outcome is owed.
    pub(crate) fn partner_timeouts(&mut self) {
        let now = self.now.mono;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let silent: Vec<LegNo> = self.partners.iter().filter(|p| due(p.next_way)).map(|p| p.leg).collect();
        for leg in silent {
            self.hang_up(leg, reason::lost());
            if !self.try_next_way(leg)
                && let Some(partner) = self.partner(leg)
            {
                partner.next_way = None;
            }
        }
        let over: Vec<(LegNo, State)> =
            self.partners.iter().filter(|p| due(p.until)).map(|p| (p.leg, p.state)).collect();
        for (leg, state) in over {
            if state == State::WhisperLoading {
                self.start_whisper(leg, true);
            } else {
                self.hang_up(leg, reason::no_answer(state == State::Ringing));
                self.not_taken(leg, OfferFailure::TimedOut, None, vec![]);
            }
        }
        let owed: Vec<LegNo> = self.partners.iter().filter(|p| due(p.refer_until)).map(|p| p.leg).collect();
        for leg in owed {
            self.tell_referrer(leg, 603);
        }
    }
}
