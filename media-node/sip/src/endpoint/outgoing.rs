//! Outgoing calls: INVITE, its repetition with credentials, CANCEL; hanging up; the timers of calls.

use bytes::Bytes;
use std::time::Instant;

use super::call::{Call, Dialog, Outgoing, Phase};
use super::layer::{Owner, Purpose, TxId};
use super::send::Request;
use super::timer::CallTimer;
use super::{CommandError, Endpoint};
use crate::api::{CallHandle, Credentials, Header, Output, Path};
use crate::draft::clean;
use crate::reason::Reason;
use crate::uri::{parse_name_addr, parse_uri};

impl Endpoint {
    #[expect(clippy::too_many_arguments, reason = "the fields of one command")]
    pub(super) fn invite(
        &mut self,
        now: Instant,
        handle: CallHandle,
        uri: String,
        path: Path,
        from: &str,
        to: &str,
        sdp: Option<Bytes>,
        headers: Vec<Header>,
        credentials: Option<Credentials>,
    ) -> Result<(), CommandError> {
        if self.calls.contains_key(&handle) {
            return Err(CommandError::CallExists(handle));
        }
        if self.calls.len() >= self.config.limits.calls
            || self.transactions_in_progress() >= self.config.limits.transactions
        {
            return Err(CommandError::Full);
        }
        if parse_uri(uri.as_bytes()).is_err() {
            return Err(CommandError::BadField { field: "uri", remedy: "write a sip:, sips: or tel: URI without <>" });
        }
        for (field, text) in [("from", from), ("to", to)] {
            let address = parse_name_addr(text.as_bytes());
            if !clean(text) || !address.is_ok_and(|a| a.param("tag").is_none()) {
                return Err(CommandError::BadField {
                    field,
                    remedy: "write a name-addr without tag: \"name\" <sip:user@host>",
                });
            }
        }
        // A handle chosen by the caller must never be given out again.
        self.next_call = self.next_call.max(handle.0.saturating_add(1));
        let local_tag = format!("{:x}-{:x}", handle.0, self.entropy.next_u64());
        let dialog = Dialog {
            call_id: self.fresh_call_id(),
            local: format!("{from};tag={local_tag}").into(),
            local_tag,
            remote: to.to_owned().into(),
            remote_tag: Bytes::new(),
            local_cseq: 0,
            remote_cseq: None,
            routes: Vec::new(),
            target: uri.clone().into(),
            path,
        };
        let phase = Phase::Calling { tx: TxId(0), provisional: false, cancelled: false };
        let mut call = Call::new(phase, dialog, true);
        call.local_sdp = sdp.clone().unwrap_or_default();
        call.credentials = credentials;
        call.outgoing = Some(Box::new(Outgoing {
            uri,
            to: to.to_owned().into(),
            sdp,
            headers,
            attempts: 0,
            min_se_s: None,
            cseq: 0,
        }));
        self.calls.insert(handle, call);
        self.send_invite(now, handle, None);
        Ok(())
    }

    /// Sends the INVITE of an outgoing call, the first time or again (§8.1.3.5).
    pub(super) fn send_invite(
        &mut self,
        now: Instant,
        handle: CallHandle,
        authorization: Option<(&'static str, String)>,
    ) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        let Some(outgoing) = call.outgoing.take() else {
            return;
        };
        call.dialog.local_cseq += 1;
        call.early.clear();
        let (from, call_id) = (call.dialog.local.clone(), call.dialog.call_id.clone());
        let (cseq, path) = (call.dialog.local_cseq, call.dialog.path);
        let mut headers = self.session_headers(None, outgoing.min_se_s);
        headers.extend(authorization);
        headers.extend(outgoing.headers.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let request = Request {
            method: "INVITE",
            uri: outgoing.uri.clone().into(),
            routes: Vec::new(),
            from,
            to: outgoing.to.clone(),
            call_id,
            cseq,
            path,
            contact: Some(self.contact(path, outgoing.uri.as_bytes())),
            headers,
            body: outgoing.sdp.as_deref().map(|sdp| ("application/sdp", sdp)),
        };
        let tx = self.send_request(now, Owner::Call(handle, Purpose::Invite), request);
        if let Some(call) = self.calls.get_mut(&handle) {
            call.outgoing = Some(outgoing);
            call.phase = Phase::Calling { tx, provisional: false, cancelled: false };
        }
    }

    /// CANCEL in the transaction of the INVITE (§9.1), and a limit for its end.
    pub(super) fn send_cancel(&mut self, now: Instant, handle: CallHandle, invite: TxId) {
        let Some(tx) = self.txs.get(&invite) else {
            return;
        };
        let path = tx.path;
        let Some(head) = &tx.head else { return };
        let reason = self.calls.get(&handle).and_then(|call| Reason::header(&call.reasons));
        let bytes = head.draft("CANCEL", &head.to, reason.as_deref());
        let branch = tx.branch.clone();
        let (id, _) = self.next_branch();
        self.start_client(now, (id, branch), path, Owner::Call(handle, Purpose::Cancel), None, bytes);
        if let Some(tx) = self.txs.get_mut(&invite) {
            tx.cancel = Some(id);
        }
        self.arm_call(handle, CallTimer::Cancelled, now + self.config.timers.t1 * 64);
    }

    pub(super) fn hang_up(
        &mut self,
        now: Instant,
        handle: CallHandle,
        status: Option<u16>,
        reasons: Vec<Reason>,
    ) -> Result<(), CommandError> {
        let call = self.call_mut(handle)?;
        match call.phase {
            Phase::Incoming(_) => {
                let reason = Reason::header(&reasons);
                let headers: Vec<Header> = reason.into_iter().map(|r| ("Reason".to_owned(), r)).collect();
                self.refuse(now, handle, status.unwrap_or(480).clamp(300, 699), &headers)?;
            }
            Phase::Calling { tx, provisional, .. } => {
                call.silent = true;
                call.reasons = reasons;
                call.phase = Phase::Calling { tx, provisional, cancelled: true };
                if provisional {
                    self.send_cancel(now, handle, tx);
                }
            }
            Phase::LateOffer => {
                call.silent = true;
                call.reasons = reasons;
                let cseq = call.outgoing.as_ref().map(|o| o.cseq).unwrap_or_default();
                let dialog = call.dialog.clone();
                let ack = self.acknowledge(&dialog, cseq, None);
                if let Some(call) = self.calls.get_mut(&handle) {
                    call.ack = Some(ack);
                }
                self.bye(now, handle);
            }
            Phase::Up => {
                call.silent = true;
                call.reasons = reasons;
                // §15: not before the ACK of our 200 is here.
                if call.ok.as_ref().is_some_and(|ok| ok.initial) {
                    call.bye_after_ack = true;
                } else {
                    self.bye(now, handle);
                }
            }
            Phase::Ending => {}
        }
        Ok(())
    }

    /// A timer of a call has come.
    pub(super) fn fire_call(&mut self, now: Instant, handle: CallHandle, timer: CallTimer) {
        match timer {
            CallTimer::RepeatOk => {
                let t2 = self.config.timers.t2;
                let Some(ok) = self.calls.get_mut(&handle).and_then(|c| c.ok.as_mut()) else {
                    return;
                };
                ok.interval = (ok.interval * 2).min(t2);
                let (at, tx, bytes) = (now + ok.interval, ok.tx, ok.bytes.clone());
                if let Some(tx) = self.txs.get(&tx) {
                    let path = tx.path;
                    self.outputs.push_back(Output::Transmit { path, bytes });
                }
                self.arm_call(handle, CallTimer::RepeatOk, at);
            }
            CallTimer::NoAck => self.end_dead(now, handle, "no ACK"),
            CallTimer::RepeatProvisional => self.repeat_provisional(now, handle),
            CallTimer::NoPrack => self.no_prack(now, handle),
            CallTimer::Refresh => self.refresh_session(now, handle),
            CallTimer::Expired => self.end_dead(now, handle, "session expired"),
            CallTimer::Glare => {
                if self.calls.get(&handle).is_some_and(|c| c.phase == Phase::Up && c.reinvite.is_some()) {
                    self.send_reinvite(now, handle, None);
                }
            }
            CallTimer::Cancelled => {
                // §9.1: no final answer 64·T1 after the CANCEL; the INVITE counts as ended.
                if let Some(call) = self.calls.remove(&handle)
                    && let Phase::Calling { tx, .. } = call.phase
                {
                    self.forget(tx);
                }
            }
        }
    }
}
