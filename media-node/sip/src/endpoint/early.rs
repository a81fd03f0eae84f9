//! Provisional responses, reliable ones among them (RFC 3262).

use bytes::Bytes;
use std::time::Instant;

use super::call::{Call, Early, FORKS, PendingProvisional, Phase};
use super::layer::{Owner, Purpose, TxId};
use super::send::Request;
use super::timer::CallTimer;
use super::{CommandError, Endpoint};
use crate::api::{CallHandle, Event, Header, Path};
use crate::message::{Message, Name};
use crate::uri::parse_number;

impl Endpoint {
    /// Sends 101 to 199 for an incoming call.
    pub(super) fn progress(
        &mut self,
        now: Instant,
        handle: CallHandle,
        status: u16,
        sdp: Option<Bytes>,
    ) -> Result<(), CommandError> {
        let call = self.known_call(handle)?;
        let Phase::Incoming(tx) = call.phase else {
            return Err(CommandError::WrongState { command: "Progress", state: call.phase.name() });
        };
        if !(101..=199).contains(&status) {
            return Err(CommandError::BadField { field: "status", remedy: "a provisional status is 101 to 199" });
        }
        let reliable = call.peer.prack_required || (call.peer.prack && sdp.is_some());
        if reliable && call.provisional.is_some() {
            // RFC 3262 §3: one at a time. What matters is repeated by the final answer.
            return Ok(());
        }
        let rseq = call.next_rseq;
        let mut headers: Vec<Header> = Vec::new();
        if reliable {
            headers.push(("Require".into(), "100rel".into()));
            headers.push(("RSeq".into(), rseq.to_string()));
        }
        let bytes =
            self.call_response(call, tx, status, &headers, sdp.as_deref()).ok_or(CommandError::UnknownCall(handle))?;
        self.respond(now, tx, status, bytes.clone());
        if let Some(call) = self.calls.get_mut(&handle) {
            if let Some(sdp) = sdp {
                call.local_sdp = sdp;
            }
            if reliable {
                call.next_rseq = call.next_rseq.wrapping_add(1);
                let interval = self.config.timers.t1;
                call.provisional = Some(PendingProvisional { bytes, rseq, interval, held_answer: None });
                self.arm_call(handle, CallTimer::RepeatProvisional, now + self.config.timers.t1);
                self.arm_call(handle, CallTimer::NoPrack, now + self.config.timers.t1 * 64);
            }
        }
        Ok(())
    }

    /// RFC 3262 §3: the interval doubles without a limit.
    pub(super) fn repeat_provisional(&mut self, now: Instant, handle: CallHandle) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        let (Phase::Incoming(tx), Some(pending)) = (call.phase, call.provisional.as_mut()) else {
            return;
        };
        pending.interval *= 2;
        let (at, bytes) = (now + pending.interval, pending.bytes.clone());
        self.respond(now, tx, 180, bytes);
        self.arm_call(handle, CallTimer::RepeatProvisional, at);
    }

    /// RFC 3262 §3: without a PRACK the INVITE is refused.
    pub(super) fn no_prack(&mut self, now: Instant, handle: CallHandle) {
        let Some(call) = self.calls.get(&handle) else {
            return;
        };
        let Phase::Incoming(tx) = call.phase else {
            return;
        };
        let silent = call.silent;
        self.calls.remove(&handle);
        self.refuse_request(now, tx, 504);
        if !silent {
            self.event(Event::Ended { call: handle, by_peer: false, fault: Some("no PRACK"), reasons: Vec::new() });
        }
    }

    /// PRACK came in the dialog of a call.
    pub(super) fn on_prack(&mut self, now: Instant, handle: CallHandle, id: TxId) {
        let Some(message) = self.txs.get(&id).and_then(|tx| tx.request.as_deref()) else {
            return;
        };
        let rack = message.header(Name::RAck).and_then(parse_rack);
        let offers = crate::body::sdp_of(message).is_some();
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        let expected = match (&call.provisional, call.dialog.remote_cseq) {
            (Some(pending), Some(_)) => {
                rack.as_ref().is_some_and(|(rseq, _, method)| *rseq == pending.rseq && method == b"INVITE")
            }
            _ => false,
        };
        if !expected {
            self.refuse_request(now, id, 481);
            return;
        }
        let held = call.provisional.take().and_then(|p| p.held_answer);
        *call.deadline(CallTimer::RepeatProvisional) = None;
        *call.deadline(CallTimer::NoPrack) = None;
        // An offer in a PRACK is refused; the answer in the provisional response stands.
        self.refuse_request(now, id, if offers { 488 } else { 200 });
        if let Some((sdp, headers)) = held {
            // The call may have ended meanwhile; then there is nothing to answer.
            let _ = self.answer(now, handle, sdp, headers);
        }
    }

    /// 1xx to our INVITE: the early dialog, and PRACK where it is asked for (RFC 3262 §4).
    pub(super) fn on_provisional(&mut self, now: Instant, path: Path, handle: CallHandle, message: &Message) -> bool {
        let Some(call) = self.calls.get_mut(&handle) else {
            return false;
        };
        if message.get(message.to_tag).is_empty() {
            return true;
        }
        let last_cseq = call.dialog.local_cseq;
        let Some(early) = early_dialog(call, message, path) else {
            return true;
        };
        if !message.has_token(Name::Require, "100rel") {
            return true;
        }
        let Some(rseq) = message.number(Name::RSeq) else {
            return true;
        };
        if early.rseq != 0 && rseq != early.rseq.wrapping_add(1) {
            // A repetition, or one out of order: not reported and not acknowledged.
            return false;
        }
        early.rseq = rseq;
        early.dialog.local_cseq = early.dialog.local_cseq.max(last_cseq) + 1;
        let cseq = early.dialog.local_cseq;
        let (uri, routes) = early.dialog.route();
        let path = early.dialog.next_hop();
        let request = Request {
            method: "PRACK",
            uri,
            routes,
            from: early.dialog.local.clone(),
            to: early.dialog.remote.clone(),
            call_id: early.dialog.call_id.clone(),
            cseq,
            path,
            contact: None,
            headers: vec![("RAck", format!("{rseq} {} INVITE", message.cseq))],
            body: None,
        };
        call.dialog.local_cseq = cseq;
        self.send_request(now, Owner::Call(handle, Purpose::Prack), request);
        true
    }
}

/// The early dialog of a response, made where it is new and there is room.
fn early_dialog<'a>(call: &'a mut Call, message: &Message, path: Path) -> Option<&'a mut Early> {
    let tag = message.get(message.to_tag);
    let known = call.early.iter().position(|e| e.dialog.remote_tag == tag);
    let index = match known {
        Some(index) => index,
        None if call.early.len() >= FORKS => return None,
        None => {
            let mut dialog = call.dialog.clone();
            dialog.learn(message, path);
            call.early.push(Early { dialog, rseq: 0 });
            call.early.len() - 1
        }
    };
    call.early.get_mut(index)
}

/// `RSeq CSeq Method`.
fn parse_rack(value: &[u8]) -> Option<(u32, u32, Vec<u8>)> {
    let mut parts = value.split(u8::is_ascii_whitespace).filter(|p| !p.is_empty());
    let rseq = parse_number(parts.next()?).ok()?;
    let cseq = parse_number(parts.next()?).ok()?;
    Some((rseq, cseq, parts.next()?.to_vec()))
}
