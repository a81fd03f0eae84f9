//! REGISTER: as the registrar's front (RFC 3261 §10.3) and as a client (§10.2).

use bytes::Bytes;
use std::time::{Duration, Instant};

use super::authenticate::Waiting;
use super::layer::{Owner, TxId};
use super::send::Request;
use super::timer::TimerKey;
use super::{CommandError, Endpoint};
use crate::api::{CallHandle, Credentials, Event, Path, Register};
use crate::digest::Challenge;
use crate::draft::clean;
use crate::message::{Message, Name};
use crate::uri::{parse_name_addr, parse_number, parse_uri, unescape};

/// Contacts in one REGISTER.
const CONTACTS: usize = 16;
/// Challenges answered in a round; a registrar that finds every nonce stale is wrong.
const CHALLENGES: u8 = 3;
/// Pause after the first failed round, milliseconds; it doubles.
const FIRST_PAUSE_MS: u64 = 10_000;
/// The longest pause, milliseconds.
const LONGEST_PAUSE_MS: u64 = 120_000;
/// A Retry-After above it is not believed, seconds.
const RETRY_AFTER_S: u32 = 3_600;
/// Seconds where neither the Contact nor an Expires header says any (§10.2).
const DEFAULT_EXPIRES_S: u32 = 3_600;

/// Our own registration at a registrar.
pub(super) struct Registration {
    registrar: String,
    path: Path,
    aor: String,
    contact: String,
    expires_s: u32,
    credentials: Option<Credentials>,
    call_id: Bytes,
    tag: String,
    cseq: u32,
    /// A challenge was answered in this round.
    authorized: bool,
    /// Challenges of this round.
    challenges: u8,
    /// Rounds that failed in a row.
    failures: u32,
    next: Option<Instant>,
}

impl Endpoint {
    /// A REGISTER from somebody we believe.
    pub(super) fn accept_register(&mut self, now: Instant, path: Path, id: TxId, auth_user: Option<String>) {
        let Some(message) = self.txs.get(&id).and_then(|tx| tx.request.as_deref()) else {
            return;
        };
        let user = message.callee().map(|to| unescape(to.uri.user)).unwrap_or_default();
        if auth_user.as_ref().is_some_and(|a| *a != user) {
            self.refuse_request(now, id, 403);
            return;
        }
        let Some(contacts) = contacts(message) else {
            self.refuse_request(now, id, 400);
            return;
        };
        let register = Box::new(Register {
            path,
            flow: flow(message),
            auth_user: auth_user.unwrap_or_else(|| user.clone()),
            user,
            contacts,
            sip_call_id: message.text(message.call_id).into_owned(),
            cseq: message.cseq,
        });
        let request = self.await_reply(now, id, Waiting::Reply);
        self.event(Event::Registering { request, register });
    }

    /// Starts, changes or ends our registration.
    #[expect(clippy::too_many_arguments, reason = "the fields of one command")]
    pub(super) fn register(
        &mut self,
        now: Instant,
        call: CallHandle,
        registrar: String,
        path: Path,
        aor: String,
        contact: String,
        expires: Duration,
        credentials: Option<Credentials>,
    ) -> Result<(), CommandError> {
        for (field, text) in [("registrar", &registrar), ("aor", &aor), ("contact", &contact)] {
            let address = parse_name_addr(text.as_bytes()).is_ok() || parse_uri(text.as_bytes()).is_ok();
            if !clean(text) || !address {
                return Err(CommandError::BadField { field, remedy: "write a SIP URI" });
            }
        }
        let expires_s = u32::try_from(expires.as_secs()).unwrap_or(u32::MAX);
        match self.registrations.get_mut(&call) {
            Some(known) => {
                (known.registrar, known.path, known.aor) = (registrar, path, aor);
                (known.contact, known.expires_s, known.credentials) = (contact, expires_s, credentials);
            }
            None => {
                let registration = Registration {
                    registrar,
                    path,
                    aor,
                    contact,
                    expires_s,
                    credentials,
                    call_id: self.fresh_call_id(),
                    tag: format!("{:x}", self.entropy.next_u64()),
                    cseq: 0,
                    authorized: false,
                    challenges: 0,
                    failures: 0,
                    next: None,
                };
                self.registrations.insert(call, registration);
            }
        }
        self.send_register(now, call, None);
        Ok(())
    }

    fn send_register(&mut self, now: Instant, call: CallHandle, authorization: Option<(&'static str, String)>) {
        let Some(r) = self.registrations.get_mut(&call) else {
            return;
        };
        r.cseq += 1;
        r.next = None;
        r.authorized = authorization.is_some();
        r.challenges = if r.authorized { r.challenges.saturating_add(1) } else { 0 };
        let mut headers = vec![("Contact", name_addr(&r.contact)), ("Expires", r.expires_s.to_string())];
        headers.extend(authorization);
        let request = Request {
            method: "REGISTER",
            uri: r.registrar.clone().into(),
            routes: Vec::new(),
            from: format!("{};tag={}", name_addr(&r.aor), r.tag).into(),
            to: name_addr(&r.aor).into(),
            call_id: r.call_id.clone(),
            cseq: r.cseq,
            path: r.path,
            contact: None,
            headers,
            body: None,
        };
        self.send_request(now, Owner::Registration(call), request);
    }

    /// The registrar answered.
    pub(super) fn on_registration(&mut self, now: Instant, path: Path, call: CallHandle, message: &Message) {
        let cnonce = format!("{:x}", self.entropy.next_u64());
        let Some(r) = self.registrations.get_mut(&call) else {
            return;
        };
        if r.path.transport == path.transport && path.connection != 0 {
            r.path = path;
        }
        match message.status() {
            200..=299 => {
                let ours = parse_name_addr(r.contact.as_bytes()).map(|c| c.text.to_vec()).unwrap_or_default();
                let granted = message
                    .list(Name::Contact)
                    .filter_map(|c| parse_name_addr(c).ok())
                    .find(|c| c.text == ours)
                    .and_then(|c| c.param("expires").and_then(|e| parse_number(e).ok()))
                    .or_else(|| message.number(Name::Expires))
                    .unwrap_or(r.expires_s)
                    .min(r.expires_s);
                r.failures = 0;
                if r.expires_s == 0 {
                    self.registrations.remove(&call);
                } else {
                    // Well before the end, so that a lost round does not matter.
                    let at = now + Duration::from_secs(u64::from(granted.max(2)) * 4 / 5);
                    r.next = Some(at);
                    self.timers.arm(at, TimerKey::Register(call));
                }
                self.event(Event::Registration { call, result: Ok(granted) });
            }
            401 | 407 => {
                let uri = r.registrar.clone();
                if r.challenges >= CHALLENGES {
                    self.registration_failed(now, call, message.status(), None);
                    return;
                }
                match answer_challenge(message, r.credentials.as_ref(), "REGISTER", &uri, &cnonce, r.authorized) {
                    Some(authorization) => self.send_register(now, call, Some(authorization)),
                    None => self.registration_failed(now, call, message.status(), None),
                }
            }
            423 => match message.number(Name::MinExpires) {
                Some(least) if least > r.expires_s && least <= 86_400 => {
                    r.expires_s = least;
                    self.send_register(now, call, None);
                }
                _ => self.registration_failed(now, call, 423, None),
            },
            100..=199 => {}
            status => self.registration_failed(now, call, status, message.number(Name::RetryAfter)),
        }
    }

    /// No answer, or a refusal: reported, and tried again later and later, or when the registrar says
    /// (§10.2.7, RFC 5626 §4.5).
    pub(super) fn registration_failed(
        &mut self,
        now: Instant,
        call: CallHandle,
        status: u16,
        retry_after_s: Option<u32>,
    ) {
        // Between half and all of it, so that many who lost the same registrar do not come at once.
        let spread = self.entropy.below(50);
        let Some(r) = self.registrations.get_mut(&call) else {
            return;
        };
        if r.expires_s == 0 {
            self.registrations.remove(&call);
        } else {
            let wait = (FIRST_PAUSE_MS << r.failures.min(8)).min(LONGEST_PAUSE_MS);
            r.failures = r.failures.saturating_add(1);
            let own = Duration::from_millis(wait - wait * spread / 100);
            let asked = Duration::from_secs(u64::from(retry_after_s.unwrap_or(0).min(RETRY_AFTER_S)));
            let at = now + own.max(asked);
            r.next = Some(at);
            self.timers.arm(at, TimerKey::Register(call));
        }
        self.event(Event::Registration { call, result: Err(status) });
    }

    /// Whether a registration waits for this moment.
    pub(super) fn registration_waits(&self, at: Instant, call: CallHandle) -> bool {
        self.registrations.get(&call).is_some_and(|r| r.next == Some(at))
    }

    pub(super) fn fire_registration(&mut self, now: Instant, at: Instant, call: CallHandle) {
        if self.registration_waits(at, call) {
            self.send_register(now, call, None);
        }
    }
}

/// Each Contact URI with its seconds; `None` where `*` is not alone or not with 0 (§10.3 step 6).
fn contacts(message: &Message) -> Option<Vec<(String, u32)>> {
    let common = message.number(Name::Expires);
    let values: Vec<&[u8]> = message.list(Name::Contact).collect();
    if values.contains(&&b"*"[..]) {
        return (values.len() == 1 && common == Some(0)).then(|| vec![("*".to_owned(), 0)]);
    }
    if values.len() > CONTACTS {
        return None;
    }
    values
        .into_iter()
        .map(|value| {
            let address = parse_name_addr(value).ok()?;
            let own = address.param("expires").and_then(|e| parse_number(e).ok());
            let seconds = own.or(common).unwrap_or(DEFAULT_EXPIRES_S);
            Some((String::from_utf8_lossy(address.text).into_owned(), seconds))
        })
        .collect()
}

/// The instance and flow of a lone Contact (RFC 5626 §4.2).
fn flow(message: &Message) -> Option<String> {
    let mut values = message.list(Name::Contact);
    let (value, None) = (values.next()?, values.next()) else { return None };
    let address = parse_name_addr(value).ok()?;
    let instance = address.param("+sip.instance").filter(|value| !value.is_empty())?;
    let number = address.param("reg-id").and_then(|n| parse_number(n).ok()).unwrap_or(0);
    Some(format!("{} {number}", String::from_utf8_lossy(instance)))
}

/// In angle brackets, unless it has them.
fn name_addr(text: &str) -> String {
    if text.contains('<') { text.to_owned() } else { format!("<{text}>") }
}

/// The header that answers the strongest challenge we can; `None` without credentials, or when
/// they were refused already.
pub(super) fn answer_challenge(
    message: &Message,
    credentials: Option<&Credentials>,
    method: &str,
    uri: &str,
    cnonce: &str,
    answered: bool,
) -> Option<(&'static str, String)> {
    let credentials = credentials?;
    let (from, into) = match message.status() {
        401 => (Name::WwwAuthenticate, "Authorization"),
        _ => (Name::ProxyAuthenticate, "Proxy-Authorization"),
    };
    let challenges: Vec<Challenge> = message.all(from).filter_map(Challenge::parse).collect();
    let strong = challenges.iter().find(|c| c.algorithm == crate::digest::Algorithm::Sha256);
    let challenge = strong.or(challenges.first())?;
    if answered && !challenge.stale {
        return None;
    }
    Some((into, challenge.answer(credentials, method, uri, cnonce, 1)))
}
