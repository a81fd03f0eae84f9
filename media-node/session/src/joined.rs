//! Legs that take part in the conversation: the join, hold and resume, the parting.

use bytes::Bytes;
use hotline_base::OfferId;
use hotline_rtp::api::{MediaCommand, MediaLegId};
use hotline_sip::api::Command;
use hotline_wire::node::{CallEvent, EndCause, OfferFailure};
use hotline_wire::reason::Reason;

use crate::partners::{Partner, Purpose, State};
use crate::reason;
use crate::sdp::{self, Description};
use crate::session::{CallerState, Session};
use crate::types::{LegNo, Note};

impl Session {
    /// Joins a partner that answered with the caller, or as its arrangement says.
    pub(crate) fn join(&mut self, leg: LegNo) {
        if self.caller.state == CallerState::Absent {
            self.agent_waits_for_party(leg);
            return;
        }
        let Some(caller) = self.caller.media else {
            self.hang_up(leg, reason::ours(EndCause::Failed));
            self.not_taken(leg, OfferFailure::Unreachable, None, vec![]);
            return;
        };
        let others_talk = self.is_joined();
        let Some(partner) = self.partner(leg) else {
            return;
        };
        let (codec, purpose, dialog) = (partner.codec, partner.purpose.clone(), partner.dialog.clone());
        partner.state = State::Joined;
        self.end_company();
        let was_answered = self.caller.state == CallerState::Answered;
        self.answer_caller(caller, Some(codec));
        if was_answered && !others_talk {
            self.stop_play();
        }
        if let Purpose::Agent(agent) = &purpose {
            self.arrangement = agent.arrange.clone();
        }
        self.rearrange();
        self.note(Note::Joined(leg));
        let record = match &purpose {
            Purpose::Agent(agent) => agent.record,
            Purpose::Transfer { record, .. } => *record,
            Purpose::Party => None,
        };
        if let Some(recording) = record {
            self.record_conversation(recording);
        }
        if let Purpose::Transfer { keys: Some(keys), .. } = &purpose {
            self.send_keys(leg, keys);
        }
        if let Purpose::Agent(agent) = purpose {
            self.drop_script();
            self.ask(CallEvent::OfferAnswered { offer: agent.offer, dialog });
            self.asks.joined_seq = self.asks.seq;
        }
    }

    /// Removes a partner: media closed, legs parted, the recording stopped with the last one.
    pub(crate) fn remove(&mut self, leg: LegNo) -> Option<Partner> {
        let index = self.partners.iter().position(|p| p.leg == leg)?;
        // Its last statistics come when it is gone.
        if let Some(media) = self.partners.get(index).and_then(|partner| partner.media) {
            self.know_leg(media.id);
        }
        let partner = self.partners.remove(index);
        self.sending.retain(|sending| sending.leg != leg);
        let took_part = partner.state == State::Joined || partner.early;
        if took_part {
            self.unheard(leg);
            if !self.is_joined() {
                self.arrangement = None;
                self.stop_conversation_recording();
            }
            if !self.caller_left() {
                self.rearrange();
                if !self.is_joined() {
                    self.stop_play();
                }
            }
        }
        if let Some(media) = partner.media {
            self.media(MediaCommand::Close { leg: media.id });
        }
        Some(partner)
    }

    /// A joined partner is over.
    pub(crate) fn parted(&mut self, leg: LegNo, cause: EndCause, reasons: Vec<Reason>) {
        let Some(partner) = self.remove(leg) else {
            return;
        };
        self.note(Note::Parted(leg, cause));
        match partner.offer() {
            Some(offer) => {
                self.ask(CallEvent::AgentLegEnded { offer, cause, reasons });
                self.mission_agent_left();
            }
            None => self.transfer_ended(leg, true, reasons),
        }
    }

    /// No audio from a partner for too long.
    pub(crate) fn partner_silent(&mut self, media: MediaLegId) {
        let silent = |p: &&Partner| {
            p.media.map(|m| m.id) == Some(media) && p.state == State::Joined && !p.held && p.away.is_none()
        };
        let found = self.partners.iter().find(silent);
        if let Some(leg) = found.map(|p| p.leg) {
            self.hang_up(leg, reason::lost());
            self.parted(leg, EndCause::Lost, vec![]);
        }
    }

    /// Ends the agent's leg; the caller stays.
    pub(crate) fn release(&mut self, offer: OfferId) {
        let found = self.partners.iter().find(|p| p.offer() == Some(offer) && p.state == State::Joined);
        match found.map(|p| p.leg) {
            Some(leg) => self.release_leg(leg, EndCause::Command),
            None => self.note(Note::CommandDropped("no such agent is joined")),
        }
    }

    fn release_leg(&mut self, leg: LegNo, cause: EndCause) {
        // Whoever asked for a transfer learns that it was made.
        self.tell_referrer(leg, 200);
        self.hang_up(leg, reason::normal());
        self.parted(leg, cause, vec![]);
    }

    /// Parts whoever is joined, because a new script takes the caller.
    pub(crate) fn release_joined(&mut self, cause: EndCause) {
        let legs: Vec<LegNo> = self.joined().map(|p| p.leg).collect();
        for leg in legs {
            self.release_leg(leg, cause);
        }
    }

    /// Ends a transfer whose script was replaced.
    pub(crate) fn hang_up_partner(&mut self, leg: LegNo, cause: EndCause) {
        self.hang_up(leg, reason::normal());
        if self.remove(leg).is_some() {
            self.note(Note::Parted(leg, cause));
        }
    }

    /// The caller is gone: nobody else stays, for the same reasons.
    pub(crate) fn drop_partners(&mut self, reasons: &[hotline_sip::Reason]) {
        self.forget_audio();
        let legs: Vec<LegNo> = self.partners.iter().map(|p| p.leg).collect();
        for leg in legs {
            self.hang_up(leg, reasons.to_vec());
            self.remove(leg);
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
        if before != held && self.is_joined() {
            self.rearrange();
        }
    }

    /// A partner's new offer: hold, resume, another address or codec.
    pub(crate) fn partner_reoffered(&mut self, leg: LegNo, sdp: Option<Bytes>) {
        let (fingerprint, accepts, spoken) = (self.cfg.fingerprint, self.cfg.accepts(), self.cfg.codecs);
        let Some(partner) = self.partner(leg) else {
            return;
        };
        let (Some(call), Some(media), codec) = (partner.call, partner.media, partner.codec) else {
            return;
        };
        partner.sdp_version += 1;
        let (rtp, session, version) = (media.rtp, call.0, partner.sdp_version);
        let Some(bytes) = sdp else {
            let security = partner.protection.offer(&media.secret, fingerprint);
            let sdp = Some(sdp::offer(&sdp::Local { rtp, session, version, security }, &spoken.led_by(codec)));
            self.sip(Command::AnswerReoffer { call, sdp });
            return;
        };
        let parsed: Option<Description> = sdp::parse_as(&bytes, accepts).ok();
        let Some((codec, description)) = parsed.and_then(|d| Some((d.choose(Some(codec))?, d))) else {
            self.sip(Command::AnswerReoffer { call, sdp: None });
            return;
        };
        partner.codec = codec;
        partner.events = description.event(codec).is_some();
        let (security, agreed) = partner.protection.answer(&description, &media.secret, fingerprint);
        let secure = partner.protection.command(media.id, agreed);
        let answer = sdp::answer(&sdp::Local { rtp, session, version, security }, &description, codec);
        self.sip(Command::AnswerReoffer { call, sdp: Some(answer) });
        if let Some(secure) = secure {
            self.media(secure);
        }
        self.media(MediaCommand::SetRemote { leg: media.id, remote: description.remote(codec, true) });
        self.leg_held(leg, description.is_hold());
    }
}
