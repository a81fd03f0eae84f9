//! Requests within dialogs (RFC 3261 §12.2.2) and the ACK of our 200s.

use std::time::Instant;

use super::Endpoint;
use super::authenticate::Waiting;
use super::call::{Peer, PendingOk, Phase};
use super::layer::{Owner, Purpose, TxId};
use super::refresh;
use super::timer::CallTimer;
use crate::api::{CallHandle, DialogView, Event, Invite, Path};
use crate::draft::{ALLOW, Draft};
use crate::message::{Message, Name};
use crate::reason::reasons_of;
use crate::uri::{Params, cut, parse_name_addr};

impl Endpoint {
    /// The call that an INVITE wants to take the place of (RFC 3891 §3): the layer above answers
    /// the new call and hangs up this one. `None`: no Replaces header, or no such dialog here.
    pub fn replaced_call(&self, invite: &Invite) -> Option<CallHandle> {
        let (_, value) = invite.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("Replaces"))?;
        self.replaced(value)
    }

    /// The call that the value of a Replaces header names, as somebody else would write it to us.
    pub fn replaced(&self, value: &str) -> Option<CallHandle> {
        let (call_id, params) = cut(value.as_bytes(), b';');
        let param = |name: &str| {
            let found = Params::new(params?).filter_map(Result::ok).find(|p| p.is(name))?;
            found.value.map(<[u8]>::to_vec)
        };
        let (ours, theirs) = (param("to-tag")?, param("from-tag")?);
        let (hex, _) = std::str::from_utf8(&ours).ok()?.split_once('-')?;
        let handle = CallHandle(u64::from_str_radix(hex, 16).ok()?);
        let call = self.calls.get(&handle)?;
        let matches = call.dialog.local_tag.as_bytes() == ours
            && call.dialog.remote_tag == theirs
            && call.dialog.call_id == call_id.trim_ascii()
            && call.phase == Phase::Up
            && !call.silent;
        matches.then_some(handle)
    }

    /// The Call-ID of a call half.
    pub fn sip_call_id(&self, handle: CallHandle) -> Option<String> {
        let call = self.calls.get(&handle)?;
        Some(String::from_utf8_lossy(&call.dialog.call_id).into_owned())
    }

    /// Whether the peer says that it takes INFO (RFC 6086, and keys before it).
    pub fn takes_info(&self, handle: CallHandle) -> bool {
        self.calls.get(&handle).is_some_and(|call| call.peer.info)
    }

    /// What identifies the dialog of a call half, so that another user agent can take it over.
    /// `None`: no such call, or its INVITE has no answer with a tag yet.
    pub fn dialog(&self, handle: CallHandle) -> Option<DialogView> {
        let dialog = &self.calls.get(&handle)?.dialog;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (!dialog.remote_tag.is_empty()).then(|| DialogView {
            sip_call_id: text(&dialog.call_id),
            local_tag: dialog.local_tag.clone(),
            remote_tag: text(&dialog.remote_tag),
            remote_target: text(&dialog.target),
            peer: dialog.path,
        })
    }

    /// The call a request belongs to: its handle is part of our tag.
    fn call_of(&self, message: &Message) -> Option<CallHandle> {
        let tag = message.get(message.to_tag);
        let (hex, _) = std::str::from_utf8(tag).ok()?.split_once('-')?;
        let handle = CallHandle(u64::from_str_radix(hex, 16).ok()?);
        let call = self.calls.get(&handle)?;
        let theirs = message.get(message.from_tag);
        let matches = call.dialog.matches(message, tag, theirs)
            || call.early.iter().any(|early| early.dialog.matches(message, tag, theirs));
        matches.then_some(handle)
    }

    /// The ACK of a 200 (§13.3.1.4): no transaction of its own.
    pub(super) fn on_ack(&mut self, now: Instant, _path: Path, message: &Message) {
        let Some(handle) = self.call_of(message) else {
            return;
        };
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        let Some(ok) = call.ok.take_if(|ok| ok.cseq == message.cseq) else {
            return;
        };
        *call.deadline(CallTimer::RepeatOk) = None;
        *call.deadline(CallTimer::NoAck) = None;
        let silent = call.silent;
        let bye = std::mem::take(&mut call.bye_after_ack);
        if !silent && (ok.initial || ok.late_offer) {
            let sdp = crate::body::sdp_of(message);
            self.event(Event::Confirmed { call: handle, sdp });
        }
        if bye {
            self.bye(now, handle);
        }
    }

    pub(super) fn on_request_within(&mut self, now: Instant, path: Path, message: Message, key: Box<[u8]>) {
        let Some(handle) = self.call_of(&message) else {
            if self.admits_stray(now, path, &message) {
                self.answer_stateless(path, &message, 481, &[]);
            }
            return;
        };
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        // §12.2.2: an old CSeq is out of order.
        if call.dialog.remote_cseq.is_some_and(|last| message.cseq < last) {
            self.answer_stateless(path, &message, 500, &[]);
            return;
        }
        call.dialog.remote_cseq = Some(message.cseq);
        let supported = ["100rel", "timer", "replaces"];
        let unknown: Vec<String> = message
            .list(Name::Require)
            .filter(|tag| !supported.iter().any(|t| tag.eq_ignore_ascii_case(t.as_bytes())))
            .map(|tag| String::from_utf8_lossy(tag).into_owned())
            .take(16)
            .collect();
        if !unknown.is_empty() {
            self.answer_stateless(path, &message, 420, &[("Unsupported", unknown.join(", "))]);
            return;
        }
        let ending = call.phase == Phase::Ending || call.silent;
        let method = message.method().to_vec();
        if ending && !matches!(&method[..], b"BYE" | b"OPTIONS") {
            self.answer_stateless(path, &message, 481, &[]);
            return;
        }
        match &method[..] {
            b"INVITE" => self.on_reoffer(now, path, handle, message, key),
            b"UPDATE" => self.on_reoffer(now, path, handle, message, key),
            b"BYE" => self.on_bye(now, path, handle, message, key),
            b"PRACK" => {
                let id = self.start_server(path, Box::new(message), key);
                self.on_prack(now, handle, id);
            }
            b"INFO" | b"NOTIFY" => {
                let content_type = message.content_type();
                let body = message.body.clone();
                let id = self.start_server(path, Box::new(message), key);
                self.refuse_request(now, id, 200);
                self.event(Event::Info { call: handle, content_type, body });
            }
            b"REFER" => {
                let to = message.header(Name::ReferTo).and_then(|value| parse_name_addr(value).ok());
                let Some(refer_to) = to.map(|to| String::from_utf8_lossy(to.text).into_owned()) else {
                    self.answer_stateless(path, &message, 400, &[]);
                    return;
                };
                let id = self.start_server(path, Box::new(message), key);
                let request = self.await_reply(now, id, Waiting::Reply);
                self.event(Event::Referred { call: handle, request, refer_to });
            }
            b"OPTIONS" => {
                let id = self.start_server(path, Box::new(message), key);
                let headers =
                    [("Allow".to_owned(), ALLOW.to_owned()), ("Accept".to_owned(), "application/sdp".to_owned())];
                self.reply_simply(now, id, 200, &headers);
            }
            _ => self.answer_stateless(path, &message, 405, &[("Allow", ALLOW.into())]),
        }
    }

    /// §15.1.2.
    fn on_bye(&mut self, now: Instant, path: Path, handle: CallHandle, message: Message, key: Box<[u8]>) {
        let reasons = reasons_of(&message);
        let Some(call) = self.calls.get(&handle) else {
            return;
        };
        if matches!(call.phase, Phase::Calling { .. }) {
            // The called side must not send BYE before its answer (§15).
            self.answer_stateless(path, &message, 481, &[]);
            return;
        }
        let (phase, reoffer) = (call.phase, call.reoffer);
        let silent = call.silent || phase == Phase::Ending;
        let id = self.start_server(path, Box::new(message), key);
        self.refuse_request(now, id, 200);
        if let Phase::Incoming(tx) = phase {
            self.refuse_request(now, tx, 487);
        }
        if let Some(tx) = reoffer {
            self.refuse_request(now, tx, 487);
        }
        if phase == Phase::Ending {
            // Our own BYE is under way: its answer ends the call half.
            return;
        }
        self.calls.remove(&handle);
        if !silent {
            self.event(Event::Ended { call: handle, by_peer: true, fault: None, reasons });
        }
    }

    /// A re-INVITE (§14.2) or UPDATE (RFC 3311 §5.2).
    fn on_reoffer(&mut self, now: Instant, path: Path, handle: CallHandle, message: Message, key: Box<[u8]>) {
        let Some(call) = self.calls.get(&handle) else {
            return;
        };
        let invite = message.method() == b"INVITE";
        let sdp = crate::body::sdp_of(&message);
        let early = matches!(call.phase, Phase::Incoming(_) | Phase::Calling { .. } | Phase::LateOffer);
        let offers = invite || sdp.is_some();
        if offers && (call.reoffer.is_some() || call.ok.is_some() || (early && invite)) {
            let seconds = self.entropy.below(10).to_string();
            self.answer_stateless(path, &message, 500, &[("Retry-After", seconds)]);
            return;
        }
        let glare = call.reinvite.as_ref().is_some_and(|r| r.tx.is_some()) || early;
        if offers && glare {
            self.answer_stateless(path, &message, 491, &[]);
            return;
        }
        if let Some((status, headers)) = refresh::too_brief(&message) {
            self.answer_stateless(path, &message, status, &headers);
            return;
        }
        let peer = Peer::of(&message);
        let trying = invite.then(|| Draft::reply(&message, path, 100, "").finish(None));
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        if !early {
            call.dialog.refresh(&message, path);
        }
        call.peer.update |= peer.update;
        let id = self.start_server(path, Box::new(message), key);
        if let Some(tx) = self.txs.get_mut(&id) {
            tx.owner = Owner::Call(handle, Purpose::Reinvite);
        }
        if !offers {
            self.answer_offer(now, handle, id, None);
            return;
        }
        if let Some(call) = self.calls.get_mut(&handle) {
            call.reoffer = Some(id);
        }
        if let Some(trying) = trying {
            self.respond(now, id, 100, trying);
        }
        self.event(Event::Reoffered { call: handle, sdp });
    }

    /// 200 to a re-INVITE or UPDATE, with our description where there was an offer or one is made.
    pub(super) fn answer_offer(
        &mut self,
        now: Instant,
        handle: CallHandle,
        id: TxId,
        sdp: Option<bytes::Bytes>,
    ) -> bool {
        let Some(request) = self.txs.get(&id).and_then(|tx| tx.request.as_deref()) else {
            return false;
        };
        let (headers, session) = refresh::agree(request);
        let invite = request.method() == b"INVITE";
        let late_offer = invite && crate::body::sdp_of(request).is_none();
        let cseq = request.cseq;
        let Some(call) = self.calls.get(&handle) else {
            return false;
        };
        let Some(bytes) = self.call_response(call, id, 200, &headers, sdp.as_deref()) else {
            return false;
        };
        self.respond(now, id, 200, bytes.clone());
        if session.is_some() {
            self.restart_session(now, handle, session);
        }
        let interval = self.config.timers.t1;
        let Some(call) = self.calls.get_mut(&handle) else {
            return false;
        };
        if let Some(sdp) = sdp {
            call.local_sdp = sdp;
        }
        if invite {
            call.ok = Some(PendingOk { tx: id, bytes, cseq, interval, initial: false, late_offer });
            self.arm_call(handle, CallTimer::RepeatOk, now + interval);
            self.arm_call(handle, CallTimer::NoAck, now + interval * 64);
        }
        true
    }
}
