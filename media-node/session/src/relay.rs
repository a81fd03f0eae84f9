//! A leg that another node sends to a phone registered here: rung, relayed, ended, nothing more.
//! It is no contact of this node; nothing is decided or recorded.

use bytes::Bytes;
use hotline_rtp::api::{Codec, MediaCommand, MediaEvent, MediaLegId, SecureFailure};
use hotline_rtp::dtls::Fingerprint;
use hotline_sip::Reason;
use hotline_sip::api::{CallHandle, Command, Event, Header, RequestHandle};
use std::collections::VecDeque;
use std::sync::Arc;

use crate::protection::Protection;
use crate::reason;
use crate::refer::target;
use crate::sdp::{self, Description, Direction};
use crate::types::{Dialed, OpenedLeg, Refusal, SessionConfig};

/// What a relay is made of.
#[derive(Clone)]
pub struct RelayArrival {
    /// The other node's call.
    pub call: CallHandle,
    /// Its offer.
    pub sdp: Bytes,
    /// Our leg towards the other node.
    pub media: OpenedLeg,
    /// What the phone shows: a name-addr.
    pub from: String,
    /// The way to the phone.
    pub phone: Dialed,
}

/// What the shell must do, in this order.
pub enum RelayOutput {
    /// Hand to the SIP endpoint.
    Sip(Command),
    /// Hand to the media engine.
    Media(MediaCommand),
    /// Nothing more will come: forget it.
    Over,
}

/// One side.
struct Side {
    call: CallHandle,
    media: OpenedLeg,
    codec: Codec,
    sdp_version: u32,
    protection: Protection,
}

impl Side {
    /// Our side of an offer.
    fn local(&mut self, fingerprint: Fingerprint) -> sdp::Local {
        let security = self.protection.offer(&self.media.secret, fingerprint);
        self.described(security)
    }

    /// Our side of the answer to an offer, and what the media engine is to be told first.
    fn answering(&mut self, offer: &Description, fingerprint: Fingerprint) -> (sdp::Local, Option<MediaCommand>) {
        let (security, agreed) = self.protection.answer(offer, &self.media.secret, fingerprint);
        let secure = self.protection.command(self.media.id, agreed);
        (self.described(security), secure)
    }

    fn described(&mut self, security: sdp::LocalSecurity) -> sdp::Local {
        self.sdp_version += 1;
        sdp::Local { rtp: self.media.rtp, session: self.call.0, version: self.sdp_version, security }
    }

    /// The answer to our offer came; `None`: it does not fit.
    fn answered(&mut self, answer: &Description) -> Option<Option<MediaCommand>> {
        let security = self.protection.answered(answer, &self.media.secret)?;
        Some(self.protection.command(self.media.id, security))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ringing,
    Up,
    Over,
}

/// One relayed leg.
pub struct Relay {
    cfg: Arc<SessionConfig>,
    node: Side,
    phone: Side,
    offer: Description,
    state: State,
    away: Away,
    out: VecDeque<RelayOutput>,
}

/// The phone is a browser that is not heard: for the other node it holds, so that its caller hears music.
#[derive(Default)]
struct Away {
    is: bool,
    told: bool,
    /// An offer that tells of it has no answer yet.
    offering: bool,
}

impl Relay {
    /// Rings the phone.
    ///
    /// # Errors
    /// [`Refusal`]: the offer cannot be used; answer with that status and close both media legs.
    pub fn arrive(cfg: Arc<SessionConfig>, arrival: RelayArrival, headers: Vec<Header>) -> Result<Relay, Refusal> {
        let refusal = |e: sdp::SdpError| Refusal { status: 488, reason: e.to_string() };
        let offer = sdp::parse(&arrival.sdp).map_err(refusal)?;
        let codec = offer.choose(None).unwrap_or(Codec::Pcmu);
        let RelayArrival { call, media, from, phone, .. } = arrival;
        let mut relay = Relay {
            cfg,
            node: Side { call, media, codec, sdp_version: 0, protection: Protection::default() },
            phone: Side {
                call: phone.call,
                media: phone.media,
                codec,
                sdp_version: 0,
                protection: Protection::offering(phone.security),
            },
            offer,
            state: State::Ringing,
            away: Away::default(),
            out: VecDeque::new(),
        };
        let (fingerprint, spoken) = (relay.cfg.fingerprint, relay.cfg.codecs);
        let (_, agreed) = relay.node.protection.answer(&relay.offer, &media.secret, fingerprint);
        let secure = relay.node.protection.command(media.id, agreed);
        relay.secure(secure);
        relay.media(MediaCommand::SetRemote { leg: media.id, remote: relay.offer.remote(codec, false) });
        relay.media(MediaCommand::Bridge { a: media.id, b: phone.media.id });
        let local = relay.phone.local(fingerprint);
        // Beside a narrowband caller wideband is offered only when the phone refused the rest (488).
        let rung_again = !codec.is_wideband() && relay.offer.codecs.iter().any(|format| format.codec.is_wideband());
        let codecs = if rung_again { spoken.all_led_by(codec) } else { spoken.led_by(codec) };
        let mut all = phone.headers;
        all.extend(headers);
        relay.sip(Command::Invite {
            call: phone.call,
            to: format!("<{}>", phone.uri),
            uri: phone.uri,
            path: phone.path,
            from,
            sdp: Some(sdp::offer(&local, &codecs)),
            headers: all,
            credentials: phone.credentials,
        });
        Ok(relay)
    }

    /// The next thing to do, until `None`; poll after every input.
    pub fn poll_output(&mut self) -> Option<RelayOutput> {
        self.out.pop_front()
    }

    /// The call of the other node, and that of the phone.
    pub fn calls(&self) -> (CallHandle, CallHandle) {
        (self.node.call, self.phone.call)
    }

    /// Both media legs.
    pub fn media_legs(&self) -> [MediaLegId; 2] {
        [self.node.media.id, self.phone.media.id]
    }

    /// Whether the phone has answered.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    fn sip(&mut self, command: Command) {
        self.out.push_back(RelayOutput::Sip(command));
    }

    fn media(&mut self, command: MediaCommand) {
        self.out.push_back(RelayOutput::Media(command));
    }

    fn secure(&mut self, command: Option<MediaCommand>) {
        if let Some(command) = command {
            self.media(command);
        }
    }

    /// The side an event is about, and the other one.
    fn sides(&mut self, call: CallHandle) -> Option<(&mut Side, &mut Side)> {
        if call == self.node.call {
            Some((&mut self.node, &mut self.phone))
        } else if call == self.phone.call {
            Some((&mut self.phone, &mut self.node))
        } else {
            None
        }
    }

    /// A SIP event of one of the two calls.
    pub fn handle_sip(&mut self, event: Event) {
        if self.state == State::Over {
            return;
        }
        match event {
            Event::Progressed { call, status, .. } if call == self.phone.call && status >= 180 => {
                // The phone's own early audio, if it has any, begins with its answer.
                self.sip(Command::Progress { call: self.node.call, status: 180, sdp: None });
            }
            Event::Answered { call, sdp } if call == self.phone.call => self.answered(sdp),
            Event::Failed { call, status, reasons, .. } if call == self.phone.call => {
                let reason = Reason::header(&reasons).map(|reason| ("Reason".to_string(), reason));
                let headers = reason.into_iter().collect();
                self.sip(Command::Refuse { call: self.node.call, status, headers });
                self.over();
            }
            Event::Cancelled { call, reasons } if call == self.node.call => {
                self.hang_up(self.phone.call, reasons);
                self.over();
            }
            Event::Ended { call, reasons, .. } if [self.node.call, self.phone.call].contains(&call) => {
                let other = if call == self.node.call { self.phone.call } else { self.node.call };
                self.hang_up(other, reasons);
                self.over();
            }
            Event::Reoffered { call, sdp } => self.reoffered(call, sdp),
            Event::ReofferAnswered { call, result } => {
                if let Ok(sdp) = &result {
                    self.reoffer_answered(call, sdp);
                }
                if call == self.node.call {
                    self.away.offering = false;
                    if result.is_ok() {
                        self.tell_away();
                    }
                }
            }
            Event::Info { call, content_type, body } => self.info(call, content_type, body),
            Event::Referred { call, request, refer_to } => self.referred(call, request, refer_to),
            _ => {}
        }
    }

    /// An event of one of the two media legs.
    pub fn handle_media(&mut self, event: &MediaEvent) {
        match event {
            // The other node may only have nothing to say; a new offer shows whether it is there.
            MediaEvent::Silent { leg, .. } if *leg == self.node.media.id && self.state == State::Up => {
                let local = self.node.local(self.cfg.fingerprint);
                let sdp = sdp::offer(&local, &self.cfg.codecs.led_by(self.node.codec));
                self.sip(Command::Reoffer { call: self.node.call, sdp });
            }
            MediaEvent::Away { leg, away } if *leg == self.phone.media.id => self.set_away(*away),
            // A page that closes says so, and may be loaded again.
            MediaEvent::SecureFailed { leg, why: SecureFailure::Closed } if *leg == self.phone.media.id => {
                self.set_away(true);
            }
            // It did not come back, or its packets cannot be protected: for the other node it hung up.
            MediaEvent::Silent { leg, .. } if *leg == self.phone.media.id && self.away.is => self.drain(),
            MediaEvent::SecureFailed { leg, .. } if self.media_legs().contains(leg) => self.drain(),
            _ => {}
        }
    }

    fn set_away(&mut self, away: bool) {
        self.away.is = away;
        self.tell_away();
    }

    /// One offer after the other, until the other node knows.
    fn tell_away(&mut self) {
        if self.state != State::Up || self.away.offering || self.away.told == self.away.is {
            return;
        }
        self.away.offering = true;
        self.away.told = self.away.is;
        let direction = if self.away.is { Direction::SendOnly } else { Direction::SendRecv };
        let local = self.node.local(self.cfg.fingerprint);
        let sdp = sdp::offer_with(&local, &self.cfg.codecs.led_by(self.node.codec), direction);
        self.sip(Command::Reoffer { call: self.node.call, sdp });
    }

    /// The phone, a browser, was loaded again: its new INVITE replaces its call here.
    ///
    /// # Errors
    /// [`Refusal`]: nothing has changed; answer the INVITE with that status.
    pub fn resume(&mut self, old: CallHandle, new: CallHandle, offer: Option<&Bytes>) -> Result<(), Refusal> {
        let refused = |status, reason: &str| Refusal { status, reason: reason.into() };
        if self.state != State::Up || old != self.phone.call {
            return Err(refused(603, "only a phone takes its own call over"));
        }
        let bytes = offer.ok_or_else(|| refused(488, "it makes no offer"))?;
        let parsed = sdp::parse_as(bytes, self.cfg.accepts());
        let description = parsed.map_err(|error| refused(488, &error.to_string()))?;
        let codec = description.choose(Some(self.phone.codec)).ok_or_else(|| refused(488, "no codec in common"))?;
        let fingerprint = self.cfg.fingerprint;
        let phone = &mut self.phone;
        phone.call = new;
        phone.codec = codec;
        phone.sdp_version = 0;
        phone.protection = phone.protection.afresh();
        let (local, secure) = phone.answering(&description, fingerprint);
        let leg = phone.media.id;
        self.sip(Command::Answer { call: new, sdp: sdp::answer(&local, &description, codec), headers: Vec::new() });
        self.hang_up(old, reason::elsewhere());
        self.secure(secure);
        self.media(MediaCommand::SetRemote { leg, remote: description.remote(codec, true) });
        self.set_away(false);
        Ok(())
    }

    /// Ends both calls, such as because the node goes away.
    pub fn drain(&mut self) {
        if self.state != State::Over {
            let reasons = reason::lost();
            self.hang_up(self.node.call, reasons.clone());
            self.hang_up(self.phone.call, reasons);
            self.over();
        }
    }

    /// The phone is wanted for another call: where it still rings for this one, it stops.
    pub fn give_way(&mut self) {
        if self.state == State::Ringing {
            self.sip(Command::Refuse { call: self.node.call, status: 480, headers: Vec::new() });
            self.hang_up(self.phone.call, reason::taken_back());
            self.over();
        }
    }

    fn hang_up(&mut self, call: CallHandle, reasons: Vec<Reason>) {
        self.sip(Command::Hangup { call, status: None, reasons });
    }

    fn over(&mut self) {
        self.state = State::Over;
        for leg in self.media_legs() {
            self.media(MediaCommand::Close { leg });
        }
        self.out.push_back(RelayOutput::Over);
    }

    fn answered(&mut self, sdp: Option<Bytes>) {
        let parsed = sdp.and_then(|sdp| sdp::parse(&sdp).ok());
        let fits = parsed.and_then(|d| Some((d.choose(Some(self.phone.codec))?, self.phone.answered(&d)?, d)));
        let Some((codec, secure, description)) = fits else {
            self.hang_up(self.phone.call, reason::incompatible());
            self.sip(Command::Refuse { call: self.node.call, status: 488, headers: Vec::new() });
            self.over();
            return;
        };
        self.phone.codec = codec;
        self.secure(secure);
        self.media(MediaCommand::SetRemote { leg: self.phone.media.id, remote: description.remote(codec, true) });
        // No transcoding where the other node speaks the phone's codec.
        if let Some(shared) = self.offer.choose(Some(codec))
            && shared != self.node.codec
        {
            self.node.codec = shared;
            self.media(MediaCommand::SetRemote { leg: self.node.media.id, remote: self.offer.remote(shared, false) });
        }
        let (local, _) = self.node.answering(&self.offer, self.cfg.fingerprint);
        let sdp = sdp::answer(&local, &self.offer, self.node.codec);
        self.state = State::Up;
        self.sip(Command::Answer { call: self.node.call, sdp, headers: Vec::new() });
    }

    /// Hold, resume, another address: answered here, and its direction passed on.
    fn reoffered(&mut self, call: CallHandle, sdp: Option<Bytes>) {
        let up = self.state == State::Up;
        let fingerprint = self.cfg.fingerprint;
        let spoken = self.cfg.codecs;
        let Some((side, other)) = self.sides(call) else { return };
        let Some(bytes) = sdp else {
            let sdp = Some(sdp::offer(&side.local(fingerprint), &spoken.led_by(side.codec)));
            self.sip(Command::AnswerReoffer { call, sdp });
            return;
        };
        let parsed = sdp::parse(&bytes).ok();
        let Some((codec, description)) = parsed.and_then(|d| Some((d.choose(Some(side.codec))?, d))) else {
            self.sip(Command::AnswerReoffer { call, sdp: None });
            return;
        };
        side.codec = codec;
        let leg = side.media.id;
        let (local, secure) = side.answering(&description, fingerprint);
        let answer = sdp::answer(&local, &description, codec);
        let (other_call, other_codec) = (other.call, other.codec);
        let codecs = spoken.led_by(other_codec);
        let passed_on = sdp::offer_with(&other.local(fingerprint), &codecs, description.direction);
        self.sip(Command::AnswerReoffer { call, sdp: Some(answer) });
        self.secure(secure);
        self.media(MediaCommand::SetRemote { leg, remote: description.remote(codec, true) });
        if up {
            self.sip(Command::Reoffer { call: other_call, sdp: passed_on });
        }
    }

    fn reoffer_answered(&mut self, call: CallHandle, sdp: &Bytes) {
        let Some((side, _)) = self.sides(call) else { return };
        let Ok(description) = sdp::parse(sdp) else { return };
        let codec = description.choose(Some(side.codec)).unwrap_or(side.codec);
        let Some(secure) = side.answered(&description) else { return };
        side.codec = codec;
        let leg = side.media.id;
        self.secure(secure);
        self.media(MediaCommand::SetRemote { leg, remote: description.remote(codec, true) });
    }

    /// The other node has the call: it decides about transfers, and its NOTIFYs are passed on.
    fn referred(&mut self, call: CallHandle, request: RequestHandle, refer_to: String) {
        let target = target(&refer_to, &self.cfg.own_hosts);
        let passed = target.filter(|_| call == self.phone.call && self.state == State::Up);
        let status = if passed.is_some() { 202 } else { 603 };
        self.sip(Command::Reply { request, status, headers: Vec::new() });
        if let Some(target) = passed {
            // A user of ours is one of the other node's: by the name that all nodes have.
            let user_of_ours = !target.contains(':');
            let refer_to = if user_of_ours { format!("sip:{target}@{}", self.cfg.host) } else { refer_to };
            self.sip(Command::Refer { call: self.node.call, refer_to });
        }
    }

    /// Keys as INFO, and how a transfer goes.
    fn info(&mut self, call: CallHandle, content_type: String, body: Bytes) {
        if self.state != State::Up {
            return;
        }
        let from_node = call == self.node.call;
        if content_type.starts_with("message/sipfrag") {
            if let (true, Some(status)) = (from_node, fragment_status(&body)) {
                self.sip(Command::Notify { call: self.phone.call, status, last: status >= 200 });
            }
            return;
        }
        let other = if from_node { self.phone.call } else { self.node.call };
        self.sip(Command::Info { call: other, content_type, body });
    }
}

/// The status in a `message/sipfrag`: `SIP/2.0 200 OK`.
fn fragment_status(body: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(body.get(..body.len().min(128))?).ok()?;
    let status = text.strip_prefix("SIP/2.0 ")?.split_whitespace().next()?.parse().ok()?;
    (100..=699).contains(&status).then_some(status)
}
