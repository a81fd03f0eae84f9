//! Requests: matching, and those outside any dialog (RFC 3261 §8.2).

use std::time::Instant;

use super::Endpoint;
use super::call::{Call, Dialog, Peer, Phase};
use super::layer::{Machine, Owner, Purpose, TxEvent, TxId, merge_key, server_key};
use crate::api::{CallHandle, Event, Invite, Path};
use crate::config::Trust;
use crate::draft::{ALLOW, SUPPORTED};
use crate::message::{Message, Name};
use crate::reason::reasons_of;
use crate::transaction::{invite_server as is, plain_server as ps};
use crate::uri::{Scheme, parse_uri, unescape, unquote};

/// Methods known to us or to RFCs, which get 405 where they do not fit; all others get 501.
const KNOWN: [&[u8]; 14] = [
    b"INVITE",
    b"ACK",
    b"CANCEL",
    b"BYE",
    b"OPTIONS",
    b"REGISTER",
    b"PRACK",
    b"UPDATE",
    b"INFO",
    b"REFER",
    b"NOTIFY",
    b"SUBSCRIBE",
    b"MESSAGE",
    b"PUBLISH",
];

impl Endpoint {
    pub(super) fn on_request(&mut self, now: Instant, path: Path, message: Message) {
        let key = server_key(&message, message.method());
        if let Some(id) = self.server_keys.get(&key).copied() {
            self.on_repetition(now, path, id, &message);
            return;
        }
        match message.method() {
            b"ACK" => self.on_ack(now, path, &message),
            b"CANCEL" => self.on_cancel(now, path, message, key),
            _ if !message.get(message.to_tag).is_empty() => self.on_request_within(now, path, message, key),
            _ => self.on_request_outside(now, path, message, key),
        }
    }

    /// A request of a transaction that exists: its repetition, or the ACK of a refusal.
    fn on_repetition(&mut self, now: Instant, path: Path, id: TxId, message: &Message) {
        let Some(tx) = self.txs.get(&id) else { return };
        let event = match (tx.machine, message.method()) {
            (Machine::InviteServer(_), b"ACK") => TxEvent::InviteServer(is::Event::Ack),
            (Machine::InviteServer(_), _) => TxEvent::InviteServer(is::Event::Invite),
            (_, b"ACK") => return,
            _ => TxEvent::PlainServer(ps::Event::Request),
        };
        if self.drive(now, id, event, None).report {
            // The ACK of a 200 with the branch of its INVITE, as RFC 2543 peers send it.
            self.on_ack(now, path, message);
        }
    }

    /// §9.2.
    fn on_cancel(&mut self, now: Instant, path: Path, message: Message, key: Box<[u8]>) {
        let invite = server_key(&message, b"INVITE");
        let Some(target) = self.server_keys.get(&invite).copied() else {
            if self.admits_stray(now, path, &message) {
                self.answer_stateless(path, &message, 481, &[]);
            }
            return;
        };
        let reasons = reasons_of(&message);
        let cancel = self.start_server(path, Box::new(message), key);
        self.refuse_request(now, cancel, 200);
        let open =
            matches!(self.txs.get(&target).map(|tx| tx.machine), Some(Machine::InviteServer(is::State::Proceeding)));
        if !open {
            return;
        }
        let request = crate::api::RequestHandle(target.0);
        if self.waiting.remove(&request).is_some() {
            self.refuse_request(now, target, 487);
            return;
        }
        let owner = self.txs.get(&target).map(|tx| tx.owner);
        self.refuse_request(now, target, 487);
        match owner {
            Some(Owner::Call(handle, Purpose::Invite)) => {
                let silent = self.calls.remove(&handle).is_some_and(|call| call.silent);
                if !silent {
                    self.event(Event::Cancelled { call: handle, reasons });
                }
            }
            Some(Owner::Call(handle, _)) => {
                if let Some(call) = self.calls.get_mut(&handle) {
                    call.reoffer = None;
                }
            }
            _ => {}
        }
    }

    fn on_request_outside(&mut self, now: Instant, path: Path, message: Message, key: Box<[u8]>) {
        let method = message.method();
        let uri_user = user_of(message.uri());
        let from_user = message.caller().map(|a| unescape(a.uri.user)).unwrap_or_default();
        let trust = self.trust_request(path, &message, &uri_user, &from_user);
        if trust != Trust::Trusted && !self.flood.admit(now, path.remote.ip().to_canonical()) {
            return;
        }
        if let Trust::Refused(status) = trust {
            self.answer_stateless(path, &message, status.clamp(400, 699), &[]);
            return;
        }
        if !KNOWN.contains(&method) {
            self.answer_stateless(path, &message, 501, &[("Allow", ALLOW.into())]);
            return;
        }
        match method {
            // These live within dialogs or transactions only (§15.1.2, RFC 3262 §3, RFC 3515 §2.4.4).
            b"BYE" | b"PRACK" | b"UPDATE" | b"INFO" | b"NOTIFY" => {
                self.answer_stateless(path, &message, 481, &[]);
                return;
            }
            b"INVITE" | b"REGISTER" | b"OPTIONS" => {}
            _ => {
                self.answer_stateless(path, &message, 405, &[("Allow", ALLOW.into())]);
                return;
            }
        }
        if let Some((status, headers)) = self.inspect(&message) {
            self.answer_stateless(path, &message, status, &headers);
            return;
        }
        let limits = self.config.limits;
        let full = self.transactions_in_progress() >= limits.transactions;
        let refusing = self.refusing.or((self.calls.len() >= limits.calls).then_some(limits.retry_after_s));
        let refusing = match method {
            b"REGISTER" => None,
            _ => refusing,
        };
        if let Some(seconds) = refusing.or(full.then_some(limits.retry_after_s)) {
            self.answer_stateless(path, &message, 503, &[("Retry-After", seconds.to_string())]);
            return;
        }
        if method == b"OPTIONS" {
            // §11.2: answered like an INVITE would be, without keeping anything.
            let headers = [
                ("Allow", ALLOW.to_owned()),
                ("Accept", "application/sdp".to_owned()),
                ("Supported", SUPPORTED.to_owned()),
            ];
            self.answer_stateless(path, &message, 200, &headers);
            self.event(Event::Pinged { path });
            return;
        }
        if self.merged.contains_key(&merge_key(&message)) {
            self.answer_stateless(path, &message, 482, &[]);
            return;
        }
        match trust {
            Trust::Refused(_) => {}
            Trust::Digest => self.authenticate(now, path, message, key),
            Trust::Trusted => {
                let invite = method == b"INVITE";
                let id = self.start_server(path, Box::new(message), key);
                if invite {
                    self.accept_invite(now, path, id, None);
                } else {
                    self.accept_register(now, path, id, None);
                }
            }
        }
    }

    /// §8.2.2, §8.2.3: whether we can understand it at all.
    fn inspect(&self, message: &Message) -> Option<(u16, Vec<(&'static str, String)>)> {
        let plain = |status| Some((status, Vec::new()));
        match parse_uri(message.uri()).map(|uri| uri.scheme) {
            Ok(Scheme::Sip | Scheme::Sips | Scheme::Tel) => {}
            _ => return plain(416),
        }
        let unknown: Vec<String> = [Name::Require, Name::ProxyRequire]
            .into_iter()
            .flat_map(|name| message.list(name))
            .filter(|tag| !["100rel", "timer", "replaces"].iter().any(|t| tag.eq_ignore_ascii_case(t.as_bytes())))
            .map(|tag| String::from_utf8_lossy(tag).into_owned())
            .take(16)
            .collect();
        if !unknown.is_empty() {
            return Some((420, vec![("Unsupported", unknown.join(", "))]));
        }
        match message.method() {
            b"INVITE" => {
                if !message.body.is_empty() {
                    if message.header(Name::ContentEncoding).is_some_and(|e| !e.eq_ignore_ascii_case(b"identity")) {
                        return Some((415, vec![("Accept-Encoding", "identity".into())]));
                    }
                    let kind = message.content_type();
                    if !kind.is_empty() && crate::body::sdp_of(message).is_none() {
                        return Some((415, vec![("Accept", "application/sdp".into())]));
                    }
                }
                let accepts = |kind: &[u8]| {
                    let (kind, _) = crate::uri::cut(kind, b';');
                    [&b"application/sdp"[..], b"application/*", b"*/*"]
                        .iter()
                        .any(|k| kind.trim_ascii().eq_ignore_ascii_case(k))
                };
                if message.list(Name::Accept).next().is_some() && !message.list(Name::Accept).any(accepts) {
                    return plain(406);
                }
                super::refresh::too_brief(message)
            }
            b"REGISTER" => match message.callee().map(|to| to.uri.scheme) {
                // §10.3 step 5: no address of record of ours.
                Some(Scheme::Sip | Scheme::Sips | Scheme::Tel) => None,
                _ => plain(404),
            },
            _ => None,
        }
    }

    /// A new call: 100 at once, the event, and the call half.
    pub(super) fn accept_invite(&mut self, now: Instant, path: Path, id: TxId, user: Option<String>) {
        let Some(message) = self.txs.get(&id).and_then(|tx| tx.request.as_deref()) else {
            return;
        };
        let handle = CallHandle(self.next_call);
        let tag = format!("{:x}-{:x}", handle.0, self.entropy.next_u64());
        let dialog = Dialog::incoming(message, path, tag);
        let mut call = Call::new(Phase::Incoming(id), dialog, false);
        call.peer = Peer::of(message);
        call.next_rseq = (self.entropy.next_u64() as u32 >> 2) + 1;
        // An INVITE with credentials got its 100 when they were looked up.
        let trying = user.is_none().then(|| crate::draft::Draft::reply(message, path, 100, "").finish(None));
        let invite = Box::new(describe(message, path, user));
        self.next_call += 1;
        self.calls.insert(handle, call);
        if let Some(tx) = self.txs.get_mut(&id) {
            tx.owner = Owner::Call(handle, Purpose::Invite);
        }
        if let Some(trying) = trying {
            self.respond(now, id, 100, trying);
        }
        self.event(Event::Incoming { call: handle, invite });
    }
}

/// What the layer above sees of an INVITE.
fn describe(message: &Message, path: Path, user: Option<String>) -> Invite {
    let from = message.caller();
    let to = message.callee();
    Invite {
        path,
        uri: String::from_utf8_lossy(message.uri()).into_owned(),
        uri_user: user_of(message.uri()),
        from_user: from.map(|a| unescape(a.uri.user)).unwrap_or_default(),
        from_name: from.map(|a| unquote(a.display)).unwrap_or_default(),
        to_user: to.map(|a| unescape(a.uri.user)).unwrap_or_default(),
        sip_call_id: message.text(message.call_id).into_owned(),
        sdp: crate::body::sdp_of(message),
        headers: message.headers(),
        user,
    }
}

/// The unescaped user part of a URI.
pub(super) fn user_of(uri: &[u8]) -> String {
    parse_uri(uri).map(|uri| unescape(uri.user)).unwrap_or_default()
}
