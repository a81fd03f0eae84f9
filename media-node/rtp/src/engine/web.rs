//! Protection of legs: keys from descriptions, and browsers, whose checks (ICE) say where they are,
//! whose handshake (DTLS) gives the keys, and whose RTP and RTCP come to one port (RFC 5761).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::io::MediaSocket;
use super::leg::{Latch, Leg};
use super::shard::{Shard, Slot};
use crate::api::{MediaEvent, MediaLegId, SecureFailure, Security};
use crate::dtls::{Association, DtlsFailure, DtlsPeer, HANDSHAKE_LIMIT, Identity};
use crate::ice;
use crate::srtp::{Srtp, SrtpKeys};
use crate::stream::Micros;

/// Handshakes under way on one thread; each costs about as much as 2,000 packets.
const MAX_HANDSHAKES: usize = 1_024;
/// A browser that was not heard for so long is away: checks come every 2 to 5 s, packets each 20 ms.
const AWAY_US: Micros = 6_000_000;
/// Without a check for so long nothing is sent any more (RFC 7675 §5.1).
const CONSENT_US: Micros = 30_000_000;
/// Checks remembered, so that none of them is believed again from elsewhere.
const REMEMBERED: usize = 16;

/// What handshakes need of the process.
#[derive(Debug, Clone)]
pub(super) struct DtlsContext {
    pub identity: Identity,
    /// The moment at which `Micros` are 0.
    pub epoch: Instant,
}

impl DtlsContext {
    fn at(&self, now: Micros) -> Instant {
        self.epoch + Duration::from_micros(now)
    }
}

/// A leg's protection: nothing is heard or sent before `srtp` is there.
pub(super) struct Shield {
    pub srtp: Option<Srtp>,
    pub web: Option<Box<Web>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Shaking { until: Micros },
    Secured,
    Failed,
}

/// A browser.
pub(super) struct Web {
    peer: DtlsPeer,
    association: Association,
    state: State,
    /// Where it is, by its latest nominating check.
    address: Option<SocketAddr>,
    /// The newest authentic check or packet.
    last_heard: Micros,
    last_check: Micros,
    away: bool,
    checks: [Option<([u8; 12], SocketAddr)>; REMEMBERED],
    next_check: usize,
}

impl Web {
    fn new(peer: DtlsPeer, context: &DtlsContext, now: Micros) -> Self {
        let association = Association::new(&context.identity, peer.role, peer.fingerprint, context.at(now));
        let until = now + HANDSHAKE_LIMIT.as_micros() as Micros;
        Self {
            peer,
            association,
            state: State::Shaking { until },
            address: None,
            last_heard: now,
            last_check: now,
            away: false,
            checks: [None; REMEMBERED],
            next_check: 0,
        }
    }

    fn is_shaking(&self) -> bool {
        matches!(self.state, State::Shaking { .. })
    }

    /// Whether this check was made from another address before: somebody sends a copy.
    fn is_copy(&mut self, transaction: [u8; 12], from: SocketAddr) -> bool {
        let known = self.checks.iter().flatten().find(|(seen, _)| *seen == transaction);
        if let Some((_, address)) = known {
            return *address != from;
        }
        if let Some(place) = self.checks.get_mut(self.next_check) {
            *place = Some((transaction, from));
        }
        self.next_check = (self.next_check + 1) % REMEMBERED;
        false
    }
}

impl Shield {
    fn keys(keys: &SrtpKeys) -> Box<Self> {
        Box::new(Self { srtp: Some(Srtp::new(keys)), web: None })
    }

    /// An authentic packet came.
    pub fn heard(&mut self, now: Micros) {
        if let Some(web) = &mut self.web {
            web.last_heard = now;
        }
    }
}

impl<S> Leg<S> {
    /// Its address comes from checks, and RTCP by the port of RTP.
    pub fn is_web(&self) -> bool {
        self.shield.as_ref().is_some_and(|shield| shield.web.is_some())
    }

    /// Its handshake is under way.
    pub fn is_shaking(&self) -> bool {
        self.shield.as_ref().and_then(|shield| shield.web.as_ref()).is_some_and(|web| web.is_shaking())
    }
}

impl<S: MediaSocket> Shard<S> {
    /// Carries out `Secure`.
    pub fn secure(&mut self, id: MediaLegId, security: Security, now: Micros) {
        let Some(slot) = self.slot_of(id) else { return };
        let busy = self.handshakes >= MAX_HANDSHAKES;
        let context = self.config.dtls.clone();
        let Some(leg) = self.leg(slot) else { return };
        let was_shaking = leg.is_shaking();
        let sink = leg.sink;
        let mut refused = false;
        match (security, leg.shield.as_deref_mut()) {
            (Security::Plain, _) => leg.shield = None,
            (Security::Keys(keys), Some(Shield { srtp: Some(srtp), web: None })) => srtp.change(&keys),
            (Security::Keys(keys), _) => leg.shield = Some(Shield::keys(&keys)),
            // The association goes on: other credentials are an ICE restart.
            (Security::Dtls(peer), Some(Shield { web: Some(web), .. }))
                if web.peer.fingerprint == peer.fingerprint
                    && web.peer.role == peer.role
                    && web.state != State::Failed =>
            {
                web.peer = *peer;
            }
            (Security::Dtls(_), _) if busy && !was_shaking => {
                leg.shield = Some(Box::new(Shield { srtp: None, web: None }));
                refused = true;
            }
            (Security::Dtls(peer), _) => {
                let web = Web::new(*peer, &context, now);
                leg.shield = Some(Box::new(Shield { srtp: None, web: Some(Box::new(web)) }));
                // Another browser, or the same one after a reload: from wherever it is now.
                if matches!(leg.latch, Latch::Settled { connected: true, .. }) {
                    leg.rtp.connect(None);
                }
                leg.latch = Latch::Open { stranger: None };
                leg.receiver.forget_source();
                leg.forget_reports();
            }
        }
        let shakes = leg.is_shaking();
        self.handshakes = self.handshakes + usize::from(shakes) - usize::from(was_shaking);
        if refused {
            self.tell(sink, MediaEvent::SecureFailed { leg: id, why: SecureFailure::TooMany });
        }
    }

    /// A leg that closes leaves the count.
    pub fn forget_handshake(&mut self, slot: Slot) {
        if self.leg(slot).is_some_and(|leg| leg.is_shaking()) {
            self.handshakes = self.handshakes.saturating_sub(1);
        }
    }

    /// Takes a datagram that arrived at a browser's leg (RFC 7983); whether it is RTP, to be gone on with.
    pub fn web(&mut self, slot: Slot, datagram: &mut [u8], from: SocketAddr, now: Micros) -> bool {
        if ice::is_stun(datagram) {
            self.check(slot, datagram, from, now);
            return false;
        }
        let Some(leg) = self.leg(slot) else { return false };
        let web = leg.shield.as_ref().and_then(|shield| shield.web.as_ref());
        if web.is_none_or(|web| web.address != Some(from)) {
            leg.rejected += 1;
            self.counters.rejected += 1;
            return false;
        }
        if ice::is_dtls(datagram) {
            self.shake(slot, Some(datagram), now);
            return false;
        }
        let is_report = datagram.get(1).is_some_and(|byte| matches!(byte & 0x7F, 64..=95));
        if is_report {
            self.rtcp(slot, datagram, from, now);
        }
        !is_report
    }

    /// A connectivity check: answered, and followed where it nominates.
    fn check(&mut self, slot: Slot, datagram: &[u8], from: SocketAddr, now: Micros) {
        let Some(leg) = self.leg(slot) else { return };
        let Leg { rtp, shield, latch, rejected, .. } = leg;
        let Some(web) = shield.as_mut().and_then(|shield| shield.web.as_mut()) else { return };
        let check = ice::check(datagram, &web.peer.local, &web.peer.remote.ufrag);
        let check = check.ok().filter(|check| !web.is_copy(check.transaction, from));
        let Some(check) = check else {
            *rejected += 1;
            self.counters.rejected += 1;
            return;
        };
        rtp.send(Some(from), &ice::answer(&check, from, &web.peer.local));
        if check.conflict || check.unknown.is_some() {
            return;
        }
        web.last_heard = now;
        web.last_check = now;
        if check.nominated && web.address != Some(from) {
            web.address = Some(from);
            *latch = Latch::Settled { from, connected: false };
            let (sink, id) = (leg.sink, leg.id);
            self.tell(sink, MediaEvent::Latched { leg: id, from });
            // Where we begin the handshake, now is the time.
            self.shake(slot, None, now);
        }
    }

    /// Goes on with the handshake: with a datagram, or because time has passed.
    fn shake(&mut self, slot: Slot, datagram: Option<&[u8]>, now: Micros) {
        let at = self.config.dtls.at(now);
        let Some(leg) = self.leg(slot) else { return };
        let Leg { rtp, shield, .. } = leg;
        let Some(shield) = shield.as_mut() else { return };
        let Shield { srtp, web: Some(web) } = &mut **shield else { return };
        let (Some(to), true) = (web.address, web.state != State::Failed) else { return };
        let send = |bytes: &[u8]| {
            rtp.send(Some(to), bytes);
        };
        let result = match datagram {
            Some(datagram) => web.association.receive(datagram, at, send),
            None => web.association.pass(at, send),
        };
        let was_shaking = web.is_shaking();
        let event = match result {
            Ok(Some(keys)) => {
                *srtp = Some(Srtp::new(&keys));
                web.state = State::Secured;
                web.last_heard = now;
                Some(Ok(()))
            }
            Ok(None) => None,
            Err(failure) => {
                // What was agreed stays; only nothing more will be.
                let why = match failure {
                    DtlsFailure::WrongCertificate => SecureFailure::WrongCertificate,
                    DtlsFailure::Handshake => SecureFailure::Handshake,
                    DtlsFailure::Closed => SecureFailure::Closed,
                };
                web.state = State::Failed;
                Some(Err(why))
            }
        };
        if was_shaking && !web.is_shaking() {
            self.handshakes = self.handshakes.saturating_sub(1);
        }
        self.secured(slot, event);
    }

    fn secured(&mut self, slot: Slot, event: Option<Result<(), SecureFailure>>) {
        let (Some(event), Some(leg)) = (event, self.leg(slot)) else { return };
        let (sink, leg) = (leg.sink, leg.id);
        let event = match event {
            Ok(()) => MediaEvent::Secured { leg },
            Err(why) => MediaEvent::SecureFailed { leg, why },
        };
        self.tell(sink, event);
    }

    /// Every 100 ms: repetitions of the handshake, its limit, and whether the browser is there.
    pub fn care_web(&mut self, slot: Slot, now: Micros) {
        let at = self.config.dtls.at(now);
        let Some(leg) = self.leg(slot) else { return };
        let (sink, id) = (leg.sink, leg.id);
        let Leg { shield, latch, .. } = leg;
        let Some(web) = shield.as_mut().and_then(|shield| shield.web.as_mut()) else { return };
        match web.state {
            State::Shaking { until } if now >= until => {
                web.state = State::Failed;
                self.handshakes = self.handshakes.saturating_sub(1);
                self.secured(slot, Some(Err(SecureFailure::TimedOut)));
                return;
            }
            State::Failed => return,
            State::Shaking { .. } | State::Secured => {}
        }
        let silent = now.saturating_sub(web.last_heard) >= AWAY_US && web.state == State::Secured;
        let turned = silent != web.away;
        web.away = silent;
        if now.saturating_sub(web.last_check) >= CONSENT_US && web.address.take().is_some() {
            *latch = Latch::Open { stranger: None };
        }
        let due = web.association.wake().is_some_and(|wake| wake <= at);
        if turned {
            self.tell(sink, MediaEvent::Away { leg: id, away: silent });
        }
        if due {
            self.shake(slot, None, now);
        }
    }
}
