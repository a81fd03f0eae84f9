//! Digest for requests outside dialogs: challenge, look-up, verdict (RFC 3261 §22, RFC 8760).

use std::time::Instant;

use super::layer::TxId;
use super::requests::user_of;
use super::timer::TimerKey;
use super::{CommandError, Endpoint};
use crate::api::{Event, Ha1, Header, Path, RequestHandle};
use crate::digest::{Algorithm, Response};
use crate::draft::Draft;
use crate::guard::NonceState;
use crate::message::{Message, Name};
use crate::uri::parse_uri;

/// What a request handle stands for.
pub(super) enum Waiting {
    /// `Command::Account` is awaited.
    Digest { path: Path, response: Box<Response>, count: u32 },
    /// `Command::Reply` is awaited.
    Reply,
}

impl Endpoint {
    /// A request whose sender must prove an account.
    pub(super) fn authenticate(&mut self, now: Instant, path: Path, message: Message, key: Box<[u8]>) {
        let source = path.remote.ip().to_canonical();
        let found = [Name::Authorization, Name::ProxyAuthorization]
            .into_iter()
            .flat_map(|name| message.all(name))
            .filter_map(Response::parse)
            .find(|r| r.realm == self.config.realm);
        let Some(response) = found else {
            self.challenge(now, path, &message, false);
            return;
        };
        if self.guard.locked(now, &response.user, source) {
            self.answer_stateless(path, &message, 403, &[]);
            return;
        }
        let count = response.count().unwrap_or_default();
        match self.guard.judge(now, &self.entropy, source, &response.nonce, count) {
            NonceState::Fresh => {}
            // A nonce of another shard or an earlier start is no wrong password either.
            NonceState::Stale | NonceState::Foreign => {
                self.challenge(now, path, &message, true);
                return;
            }
        }
        // Some peers (measured: SIPp) hash the address they send to instead of the Request-URI.
        let ours = parse_uri(response.uri.as_bytes()).is_ok_and(|uri| {
            let advertised = self.advertised(path);
            uri.ip() == Some(path.local.ip().to_canonical())
                || advertised.rsplit_once(':').is_some_and(|(host, _)| uri.host.eq_ignore_ascii_case(host.as_bytes()))
        });
        if !ours && !same_target(response.uri.as_bytes(), message.uri()) {
            self.answer_stateless(path, &message, 400, &[]);
            return;
        }
        let invite = message.method() == b"INVITE";
        let trying = invite.then(|| Draft::reply(&message, path, 100, "").finish(None));
        let id = self.start_server(path, Box::new(message), key);
        if let Some(trying) = trying {
            self.respond(now, id, 100, trying);
        }
        let (user, realm) = (response.user.clone(), response.realm.clone());
        let request = self.await_reply(now, id, Waiting::Digest { path, response: Box::new(response), count });
        self.event(Event::Authenticate { request, user, realm, source });
    }

    /// Notes that the layer above owes an answer, and until when.
    pub(super) fn await_reply(&mut self, now: Instant, id: TxId, waiting: Waiting) -> RequestHandle {
        let request = RequestHandle(id.0);
        self.waiting.insert(request, waiting);
        // Before the peer's own timer F or B (64·T1) runs out.
        self.timers.arm(now + self.config.timers.t1 * 40, TimerKey::Unanswered(id));
        request
    }

    /// The layer above did not answer in time.
    pub(super) fn fire_unanswered(&mut self, now: Instant, id: TxId) {
        if self.waiting.remove(&RequestHandle(id.0)).is_some() {
            self.refuse_request(now, id, 503);
        }
    }

    /// The challenges for a client, the stronger first, those it cannot bear left out.
    fn challenges(&mut self, now: Instant, path: Path, agent: &[u8], stale: bool) -> Vec<Header> {
        let nonce = self.guard.issue(now, &mut self.entropy, path.remote.ip().to_canonical());
        let md5_only = self.config.md5_only_agents.iter().any(|prefix| agent.starts_with(prefix.as_bytes()));
        let offers: &[Algorithm] = if md5_only { &[Algorithm::Md5] } else { &[Algorithm::Sha256, Algorithm::Md5] };
        offers
            .iter()
            .map(|algorithm| {
                let value = format!(
                    "Digest realm=\"{}\", nonce=\"{nonce}\", qop=\"auth\", algorithm={}{}",
                    self.config.realm,
                    algorithm.name(),
                    if stale { ", stale=true" } else { "" }
                );
                ("WWW-Authenticate".to_owned(), value)
            })
            .collect()
    }

    /// 401 without keeping anything (RFC 3261 §26.3.2.4: floods cost no memory).
    fn challenge(&mut self, now: Instant, path: Path, message: &Message, stale: bool) {
        let agent = message.header(Name::UserAgent).unwrap_or_default();
        let headers = self.challenges(now, path, agent, stale);
        let headers: Vec<(&str, String)> = headers.into_iter().map(|(_, v)| ("WWW-Authenticate", v)).collect();
        self.answer_stateless(path, message, 401, &headers);
    }

    /// The account is here: the verdict. Unknown users cost the same and get the same answer.
    pub(super) fn account(
        &mut self,
        now: Instant,
        request: RequestHandle,
        ha1: Option<Ha1>,
    ) -> Result<(), CommandError> {
        let Some(Waiting::Digest { path, response, count }) = self.waiting.remove(&request) else {
            return Err(CommandError::UnknownRequest);
        };
        let id = TxId(request.0);
        let Some(message) = self.txs.get(&id).and_then(|tx| tx.request.as_deref()) else {
            return Err(CommandError::UnknownRequest);
        };
        let method = String::from_utf8_lossy(message.method()).into_owned();
        let agent = message.header(Name::UserAgent).unwrap_or_default().to_vec();
        let known = ha1.is_some();
        let ha1 = ha1.unwrap_or_else(|| Ha1 { md5: "0".repeat(32), sha256: "0".repeat(64) });
        let right = response.verify(&method, &ha1) && known;
        let source = path.remote.ip().to_canonical();
        // Two requests with one counter may have waited together: the first one wins.
        let fresh = self.guard.judge(now, &self.entropy, source, &response.nonce, count) == NonceState::Fresh;
        if !right || !fresh {
            if !right {
                self.guard.failed(now, &response.user, source);
                self.event(Event::Guessed { user: response.user.clone(), source });
            }
            let headers = self.challenges(now, path, &agent, right);
            self.reply_simply(now, id, 401, &headers);
            return Ok(());
        }
        self.guard.consume(&response.nonce, count);
        self.guard.succeeded(&response.user, source);
        if method == "INVITE" {
            self.accept_invite(now, path, id, Some(response.user));
        } else {
            self.accept_register(now, path, id, Some(response.user));
        }
        Ok(())
    }

    /// The answer of the layer above to REGISTER or REFER.
    pub(super) fn reply(
        &mut self,
        now: Instant,
        request: RequestHandle,
        status: u16,
        headers: &[Header],
    ) -> Result<(), CommandError> {
        if !matches!(self.waiting.get(&request), Some(Waiting::Reply)) {
            return Err(CommandError::UnknownRequest);
        }
        self.waiting.remove(&request);
        self.reply_simply(now, TxId(request.0), status, headers);
        Ok(())
    }
}

/// Whether the digest was made for this request: the same user and host, or the same text.
fn same_target(digest_uri: &[u8], request_uri: &[u8]) -> bool {
    if digest_uri == request_uri {
        return true;
    }
    match (parse_uri(digest_uri), parse_uri(request_uri)) {
        (Ok(a), Ok(b)) => user_of(digest_uri) == user_of(request_uri) && a.host.eq_ignore_ascii_case(b.host),
        _ => false,
    }
}
