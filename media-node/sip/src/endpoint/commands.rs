//! Commands of the layer above.

use bytes::Bytes;
use std::time::Instant;

use super::call::{Call, PendingOk, Phase, Reinvite};
use super::layer::Purpose;
use super::timer::CallTimer;
use super::{CommandError, Endpoint, refresh};
use crate::api::{CallHandle, Command, Header};
use crate::draft::clean;
use crate::uri::parse_name_addr;

/// Headers the endpoint writes itself.
const OWN: [&str; 11] = [
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "Content-Length",
    "Content-Type",
    "Route",
    "Record-Route",
    "Max-Forwards",
];

fn check_headers(headers: &[Header], contact: bool) -> Result<(), CommandError> {
    for (name, value) in headers {
        let token = !name.is_empty() && name.bytes().all(crate::uri::is_token);
        if !token || !clean(value) {
            return Err(CommandError::BadField { field: "headers", remedy: "no line ends or control characters" });
        }
        if OWN.iter().any(|own| name.eq_ignore_ascii_case(own) && !(contact && *own == "Contact")) {
            return Err(CommandError::BadField {
                field: "headers",
                remedy: "leave out what the endpoint writes itself",
            });
        }
    }
    Ok(())
}

fn check_status(status: u16, least: u16) -> Result<(), CommandError> {
    if (least..=699).contains(&status) {
        Ok(())
    } else {
        Err(CommandError::BadField {
            field: "status",
            remedy: "a final status: 300 to 699 to refuse, 200 to 699 to reply",
        })
    }
}

impl Endpoint {
    pub(super) fn on_command(&mut self, now: Instant, command: Command) -> Result<(), CommandError> {
        match command {
            Command::Progress { call, status, sdp } => self.progress(now, call, status, sdp),
            Command::Answer { call, sdp, headers } => {
                check_headers(&headers, false)?;
                self.answer(now, call, sdp, headers)
            }
            Command::Refuse { call, status, headers } => {
                check_headers(&headers, true)?;
                check_status(status, 300)?;
                self.refuse(now, call, status, &headers)
            }
            Command::Invite { call, uri, path, from, to, sdp, headers, credentials } => {
                check_headers(&headers, false)?;
                self.invite(now, call, uri, path, &from, &to, sdp, headers, credentials)
            }
            Command::AnswerReoffer { call, sdp } => self.answer_reoffer(now, call, sdp),
            Command::Reoffer { call, sdp } => self.reoffer(now, call, sdp),
            Command::AnswerLateOffer { call, sdp } => self.answer_late_offer(call, &sdp),
            Command::Info { call, content_type, body } => {
                if !clean(&content_type) || content_type.is_empty() {
                    return Err(CommandError::BadField { field: "content_type", remedy: "write a media type" });
                }
                self.need_up(call, "Info")?;
                self.send_in_dialog(now, call, "INFO", Purpose::Info, Vec::new(), Some((&content_type, &body)));
                Ok(())
            }
            Command::Refer { call, refer_to } => {
                if !clean(&refer_to) || parse_name_addr(refer_to.as_bytes()).is_err() {
                    return Err(CommandError::BadField { field: "refer_to", remedy: "write a URI or a name-addr" });
                }
                self.need_up(call, "Refer")?;
                self.send_in_dialog(now, call, "REFER", Purpose::Refer, vec![("Refer-To", refer_to)], None);
                Ok(())
            }
            Command::Notify { call, status, last } => {
                self.need_up(call, "Notify")?;
                check_notify(status)?;
                let fragment = format!("SIP/2.0 {status} {}\r\n", crate::draft::reason(status));
                let state = if last { "terminated;reason=noresource" } else { "active;expires=60" };
                let headers = vec![("Event", "refer".to_owned()), ("Subscription-State", state.to_owned())];
                let body = Some(("message/sipfrag", fragment.as_bytes()));
                self.send_in_dialog(now, call, "NOTIFY", Purpose::Notify, headers, body);
                Ok(())
            }
            Command::Hangup { call, status, reasons } => self.hang_up(now, call, status, reasons),
            Command::Account { request, ha1 } => self.account(now, request, ha1),
            Command::CountGuess { user, source } => {
                self.guard.failed(now, &user, source);
                Ok(())
            }
            Command::Reply { request, status, headers } => {
                check_headers(&headers, true)?;
                check_status(status, 200)?;
                self.reply(now, request, status, &headers)
            }
            Command::Ping { call, uri, path, from } => self.ping(now, call, uri, path, &from),
            Command::Register { call, registrar, path, aor, contact, expires, credentials } => {
                self.register(now, call, registrar, path, aor, contact, expires, credentials)
            }
        }
    }

    /// A call the layer above may still speak of.
    pub(super) fn known_call(&self, handle: CallHandle) -> Result<&Call, CommandError> {
        self.calls.get(&handle).filter(|call| !call.silent).ok_or(CommandError::UnknownCall(handle))
    }

    /// The same, to change it.
    pub(super) fn call_mut(&mut self, handle: CallHandle) -> Result<&mut Call, CommandError> {
        match self.calls.get_mut(&handle) {
            Some(call) if !call.silent => Ok(call),
            _ => Err(CommandError::UnknownCall(handle)),
        }
    }

    fn need_up(&mut self, handle: CallHandle, command: &'static str) -> Result<(), CommandError> {
        let call = self.call_mut(handle)?;
        match call.phase {
            Phase::Up => Ok(()),
            phase => Err(CommandError::WrongState { command, state: phase.name() }),
        }
    }

    /// 200 to the INVITE of a call, at once or when the PRACK of our early answer is here.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        handle: CallHandle,
        sdp: Bytes,
        headers: Vec<Header>,
    ) -> Result<(), CommandError> {
        let call = self.call_mut(handle)?;
        let Phase::Incoming(tx) = call.phase else {
            return Err(CommandError::WrongState { command: "Answer", state: call.phase.name() });
        };
        if let Some(pending) = &mut call.provisional {
            // RFC 3262 §3: no 200 while a description in a provisional response is unconfirmed.
            pending.held_answer = Some((sdp, headers));
            return Ok(());
        }
        let Some(request) = self.txs.get(&tx).and_then(|tx| tx.request.as_deref()) else {
            return Err(CommandError::UnknownCall(handle));
        };
        let cseq = request.cseq;
        let late_offer = crate::body::sdp_of(request).is_none();
        let (mut all, session) = refresh::agree(request);
        all.extend(headers);
        let Some(call) = self.calls.get(&handle) else {
            return Err(CommandError::UnknownCall(handle));
        };
        let bytes = self.call_response(call, tx, 200, &all, Some(&sdp)).ok_or(CommandError::UnknownCall(handle))?;
        self.respond(now, tx, 200, bytes.clone());
        let interval = self.config.timers.t1;
        let call = self.call_mut(handle)?;
        call.phase = Phase::Up;
        call.local_sdp = sdp;
        call.ok = Some(PendingOk { tx, bytes, cseq, interval, initial: true, late_offer });
        self.arm_call(handle, CallTimer::RepeatOk, now + interval);
        self.arm_call(handle, CallTimer::NoAck, now + interval * 64);
        self.restart_session(now, handle, session);
        Ok(())
    }

    pub(super) fn refuse(
        &mut self,
        now: Instant,
        handle: CallHandle,
        status: u16,
        headers: &[Header],
    ) -> Result<(), CommandError> {
        let call = self.call_mut(handle)?;
        let Phase::Incoming(tx) = call.phase else {
            return Err(CommandError::WrongState { command: "Refuse", state: call.phase.name() });
        };
        let Some(call) = self.calls.remove(&handle) else {
            return Ok(());
        };
        // With the tag of the provisional responses, so that the dialog is the same.
        let bytes = self.call_response(&call, tx, status, headers, None);
        if let Some(bytes) = bytes {
            self.respond(now, tx, status, bytes);
        }
        Ok(())
    }

    fn answer_reoffer(&mut self, now: Instant, handle: CallHandle, sdp: Option<Bytes>) -> Result<(), CommandError> {
        let call = self.call_mut(handle)?;
        let Some(tx) = call.reoffer.take() else {
            return Err(CommandError::WrongState { command: "AnswerReoffer", state: "without an open offer" });
        };
        match sdp {
            None => self.refuse_request(now, tx, 488),
            Some(sdp) => {
                if !self.answer_offer(now, handle, tx, Some(sdp)) {
                    return Err(CommandError::UnknownRequest);
                }
            }
        }
        Ok(())
    }

    fn reoffer(&mut self, now: Instant, handle: CallHandle, sdp: Bytes) -> Result<(), CommandError> {
        self.need_up(handle, "Reoffer")?;
        let call = self.call_mut(handle)?;
        if call.reinvite.is_some() || call.reoffer.is_some() || call.ok.is_some() {
            return Err(CommandError::WrongState { command: "Reoffer", state: "in the middle of another offer" });
        }
        call.reinvite = Some(Reinvite { tx: None, sdp, refresh: false, authorized: false });
        self.send_reinvite(now, handle, None);
        Ok(())
    }

    /// Sends the re-INVITE that is noted, the first time or again.
    pub(super) fn send_reinvite(
        &mut self,
        now: Instant,
        handle: CallHandle,
        authorization: Option<(&'static str, String)>,
    ) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        let Some(reinvite) = &mut call.reinvite else {
            return;
        };
        reinvite.authorized = authorization.is_some();
        let sdp = reinvite.sdp.clone();
        call.local_sdp = sdp.clone();
        let mut headers = match self.calls.get(&handle) {
            Some(call) if call.session.is_some() => self.session_headers(Some(call), None),
            _ => Vec::new(),
        };
        headers.extend(authorization);
        let tx =
            self.send_in_dialog(now, handle, "INVITE", Purpose::Reinvite, headers, Some(("application/sdp", &sdp)));
        if let Some(reinvite) = self.calls.get_mut(&handle).and_then(|c| c.reinvite.as_mut()) {
            reinvite.tx = tx;
        }
    }

    fn answer_late_offer(&mut self, handle: CallHandle, sdp: &[u8]) -> Result<(), CommandError> {
        let call = self.call_mut(handle)?;
        if call.phase != Phase::LateOffer {
            return Err(CommandError::WrongState { command: "AnswerLateOffer", state: call.phase.name() });
        }
        let cseq = call.outgoing.as_ref().map(|o| o.cseq).unwrap_or_default();
        call.phase = Phase::Up;
        call.local_sdp = Bytes::copy_from_slice(sdp);
        let dialog = call.dialog.clone();
        let ack = self.acknowledge(&dialog, cseq, Some(sdp));
        self.call_mut(handle)?.ack = Some(ack);
        Ok(())
    }
}

fn check_notify(status: u16) -> Result<(), CommandError> {
    if (100..=699).contains(&status) {
        Ok(())
    } else {
        Err(CommandError::BadField { field: "status", remedy: "a SIP status: 100 to 699" })
    }
}
