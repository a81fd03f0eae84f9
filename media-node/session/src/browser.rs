//! Browsers: away for a moment, back by a new INVITE after a reload, or not to be protected at all.

use bytes::Bytes;
use hotline_rtp::api::{MediaCommand, MediaLegId, SecureFailure};
use hotline_sip::api::{CallHandle, Command};
use hotline_wire::legs::DialogRef;
use hotline_wire::node::{EndCause, OfferFailure};
use std::time::Instant;

use crate::partners::State;
use crate::reason;
use crate::sdp;
use crate::session::{CallerState, Session};
use crate::types::{LegNo, Note, Now, Refusal};

impl Session {
    fn leg_of_media(&self, media: MediaLegId) -> Option<LegNo> {
        if self.caller.media.is_some_and(|m| m.id == media) {
            return Some(LegNo::CALLER);
        }
        self.partners.iter().find(|p| p.media.is_some_and(|m| m.id == media)).map(|p| p.leg)
    }

    /// A browser is not heard any more, or is again: others hear music meanwhile.
    pub(crate) fn away(&mut self, media: MediaLegId, away: bool) {
        let until = away.then(|| self.now.after_ms(self.cfg.resume_ms));
        let Some(leg) = self.leg_of_media(media) else { return };
        self.set_away(leg, until);
        self.note(Note::Away(leg, away));
    }

    fn set_away(&mut self, leg: LegNo, until: Option<Instant>) {
        if leg == LegNo::CALLER {
            self.caller.away = until;
        } else if let Some(partner) = self.partner(leg) {
            partner.away = until;
        }
        if self.is_joined() && !self.caller_left() {
            self.rearrange();
        }
    }

    /// Whoever did not come back in time is lost.
    pub(crate) fn away_timeouts(&mut self) {
        let now = self.now.mono;
        let due = |away: Option<Instant>| away.is_some_and(|until| until <= now);
        if due(self.caller.away) {
            self.caller.away = None;
            self.end(EndCause::Lost, None);
        }
        let lost: Vec<LegNo> = self.partners.iter().filter(|p| due(p.away)).map(|p| p.leg).collect();
        for leg in lost {
            self.lose(leg);
        }
    }

    fn lose(&mut self, leg: LegNo) {
        let Some(partner) = self.partner(leg) else { return };
        partner.away = None;
        let joined = partner.state == State::Joined;
        self.hang_up(leg, reason::lost());
        if joined {
            self.parted(leg, EndCause::Lost, vec![]);
        } else {
            self.not_taken(leg, OfferFailure::Unreachable, None, vec![]);
        }
    }

    /// A leg's packets cannot be protected: it is of no use.
    pub(crate) fn unprotected(&mut self, media: MediaLegId, why: SecureFailure) {
        let Some(leg) = self.leg_of_media(media) else { return };
        self.note(Note::Unprotected(leg, why));
        // Whoever closes a page says so, and may load it again.
        let reloads = why == SecureFailure::Closed;
        match (leg, reloads) {
            (_, true) => self.away(media, true),
            (LegNo::CALLER, false) => self.end(EndCause::Lost, None),
            (_, false) => self.lose(leg),
        }
    }

    /// A browser was loaded again: its new INVITE replaces (RFC 3891) `old`, a call of this session,
    /// and takes its leg over. Everybody else notices nothing but the pause.
    ///
    /// # Errors
    /// [`Refusal`]: the leg stays as it was; answer the INVITE with that status.
    pub fn resume(
        &mut self,
        now: Now,
        old: CallHandle,
        new: CallHandle,
        offer: Option<&Bytes>,
        dialog: Option<DialogRef>,
    ) -> Result<(), Refusal> {
        self.now = now;
        let refused = |status, reason: &str| Refusal { status, reason: reason.into() };
        let leg = self.leg_of(old).filter(|_| !self.caller_left()).ok_or_else(|| refused(481, "no such call"))?;
        let bytes = offer.ok_or_else(|| refused(488, "it makes no offer"))?;
        let description = sdp::parse_as(bytes, self.cfg.accepts()).map_err(|error| refused(488, &error.to_string()))?;
        let fingerprint = self.cfg.fingerprint;
        let (media, codec, protection) = match leg {
            LegNo::CALLER if self.caller.state == CallerState::Answered => {
                (self.caller.media, &mut self.caller.codec, &mut self.caller.protection)
            }
            LegNo::CALLER => return Err(refused(603, "it was not answered")),
            _ => match self.partner(leg) {
                Some(partner) if partner.state == State::Joined => {
                    (partner.media, &mut partner.codec, &mut partner.protection)
                }
                _ => return Err(refused(603, "it was not answered")),
            },
        };
        let media = media.ok_or_else(|| refused(603, "it has no media"))?;
        *codec = description.choose(Some(*codec)).ok_or_else(|| refused(488, "no codec in common"))?;
        *protection = protection.afresh();
        let codec = *codec;
        let (security, agreed) = protection.answer(&description, &media.secret, fingerprint);
        let secure = protection.command(media.id, agreed);
        let local = sdp::Local { rtp: media.rtp, session: new.0, version: 1, security };
        let held = description.is_hold();
        let answer = sdp::answer(&local, &description, codec);
        let remote = description.remote(codec, true);
        if leg == LegNo::CALLER {
            self.caller.call = Some(new);
            self.caller.sdp_version = 1;
            self.caller.description = Some(description);
            self.caller.held = held;
        } else if let Some(partner) = self.partner(leg) {
            partner.call = Some(new);
            partner.sdp_version = 1;
            partner.dialog = dialog;
            partner.held = held;
        }
        self.sip(Command::Answer { call: new, sdp: answer, headers: Vec::new() });
        self.sip(Command::Hangup { call: old, status: None, reasons: reason::elsewhere() });
        if let Some(secure) = secure {
            self.media(secure);
        }
        self.media(MediaCommand::SetRemote { leg: media.id, remote });
        self.set_away(leg, None);
        self.note(Note::Resumed(leg));
        Ok(())
    }
}
