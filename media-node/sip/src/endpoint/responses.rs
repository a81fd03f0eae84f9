//! Responses to our requests.

use std::time::{Duration, Instant};

use super::Endpoint;
use super::call::{FORKS, Peer, Phase};
use super::layer::{Machine, Owner, Purpose, TxEvent, TxId};
use super::refresh;
use super::register::answer_challenge;
use super::timer::CallTimer;
use crate::api::{CallHandle, Event, Output, Path};
use crate::draft::reason;
use crate::message::{Message, Name, Start};
use crate::reason::reasons_of;
use crate::transaction::{invite_client as ic, plain_client as pc};

impl Endpoint {
    pub(super) fn on_response(&mut self, now: Instant, path: Path, message: Message) {
        // §8.1.3.3: more than one Via means that it is not for us.
        if message.via_count != 1 {
            return;
        }
        let Some(id) = self.match_response(&message) else {
            return;
        };
        let Some(tx) = self.txs.get_mut(&id) else {
            return;
        };
        if tx.path.transport == path.transport && tx.path.connection == 0 {
            // The shell opened the connection: ACK and CANCEL go by it.
            tx.path.connection = path.connection;
        }
        let owner = tx.owner;
        let event = match (tx.machine, message.status()) {
            (Machine::InviteClient(_), 100..=199) => TxEvent::InviteClient(ic::Event::Provisional),
            (Machine::InviteClient(_), 200..=299) => TxEvent::InviteClient(ic::Event::Success),
            (Machine::InviteClient(_), _) => TxEvent::InviteClient(ic::Event::Refusal),
            (_, 100..=199) => TxEvent::PlainClient(pc::Event::Provisional),
            _ => TxEvent::PlainClient(pc::Event::Final),
        };
        self.note_connection(path);
        let upward = self.drive(now, id, event, None);
        if upward.ack
            && let Some(tx) = self.txs.get(&id)
        {
            // §17.1.1.3: by the same way as the INVITE.
            let path = tx.path;
            if let Some(head) = &tx.head {
                let bytes = head.draft("ACK", message.get(message.to), None);
                self.outputs.push_back(Output::Transmit { path, bytes });
            }
            if tx.machine == Machine::InviteClient(ic::State::Terminated) {
                self.forget(id);
            }
        }
        if !upward.report {
            return;
        }
        match owner {
            Owner::Nobody => {}
            Owner::Registration(call) => self.on_registration(now, path, call, &message),
            Owner::Ping(call) if message.status() >= 200 => {
                self.event(Event::Pong { call, status: message.status() });
            }
            Owner::Ping(_) => {}
            Owner::Call(call, purpose) => self.on_call_response(now, path, id, call, purpose, &message),
        }
    }

    fn on_call_response(
        &mut self,
        now: Instant,
        path: Path,
        id: TxId,
        call: CallHandle,
        purpose: Purpose,
        message: &Message,
    ) {
        let status = message.status();
        match purpose {
            Purpose::Invite => self.on_invite_response(now, path, id, call, message),
            Purpose::Reinvite => self.on_reinvite_response(now, path, id, call, message),
            Purpose::Refresh if status >= 200 => self.on_refresh_response(now, path, call, message),
            Purpose::Bye if status >= 200 => {
                self.calls.remove(&call);
            }
            // §12.2.1.2: these end the dialog, whatever was asked.
            Purpose::Info | Purpose::Refer | Purpose::Prack | Purpose::Notify
                if matches!(status, 481 | 408) && self.calls.get(&call).is_some_and(|c| c.phase == Phase::Up) =>
            {
                self.end_dead(now, call, "the peer does not know the dialog");
            }
            _ => {}
        }
    }

    /// Nothing came (408), or nothing can be sent (503).
    pub(super) fn client_failed(&mut self, now: Instant, id: TxId, owner: Owner, status: u16) {
        let (handle, purpose) = match owner {
            Owner::Nobody => return,
            Owner::Registration(call) => {
                self.registration_failed(now, call, status, None);
                return;
            }
            Owner::Ping(call) => {
                self.event(Event::Pong { call, status });
                return;
            }
            Owner::Call(handle, purpose) => (handle, purpose),
        };
        let Some(call) = self.calls.get(&handle) else {
            return;
        };
        match (purpose, call.phase) {
            (Purpose::Invite, Phase::Calling { tx, .. }) if tx == id => {
                let silent = call.silent;
                self.calls.remove(&handle);
                if !silent {
                    let phrase = reason(status).into_owned();
                    self.event(Event::Failed { call: handle, status, phrase, reasons: Vec::new() });
                }
            }
            (Purpose::Bye, _) => {
                self.calls.remove(&handle);
            }
            (Purpose::Reinvite | Purpose::Refresh | Purpose::Info | Purpose::Refer, Phase::Up) if status == 408 => {
                self.end_dead(now, handle, "no answer within the dialog");
            }
            (Purpose::Reinvite, Phase::Up) => {
                let ours = self.calls.get_mut(&handle).and_then(|c| c.reinvite.take_if(|r| r.tx == Some(id)));
                if ours.is_some_and(|r| !r.refresh) {
                    self.event(Event::ReofferAnswered { call: handle, result: Err(status) });
                }
            }
            _ => {}
        }
    }

    fn on_invite_response(&mut self, now: Instant, path: Path, id: TxId, handle: CallHandle, message: &Message) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        let status = message.status();
        let (provisional, cancelled) = match call.phase {
            Phase::Calling { tx, provisional, cancelled } if tx == id => (provisional, cancelled),
            _ => {
                if (200..=299).contains(&status) {
                    self.on_later_success(now, path, handle, message);
                }
                return;
            }
        };
        match status {
            100..=199 => {
                call.phase = Phase::Calling { tx: id, provisional: true, cancelled };
                let silent = call.silent;
                if cancelled {
                    if !provisional {
                        self.send_cancel(now, handle, id);
                    }
                    return;
                }
                if status == 100 && !provisional && !silent {
                    self.event(Event::Trying { call: handle });
                }
                let news = self.on_provisional(now, path, handle, message);
                if status != 100 && news && !silent {
                    let sdp = crate::body::sdp_of(message);
                    self.event(Event::Progressed { call: handle, status, sdp });
                }
            }
            200..=299 => self.on_success(now, path, handle, cancelled, message),
            _ => {
                let silent = call.silent;
                if matches!(status, 401 | 407 | 422) && !cancelled && self.try_again(now, handle, message) {
                    return;
                }
                self.calls.remove(&handle);
                if !silent {
                    let phrase = match message.start {
                        Start::Response { reason, .. } => message.text(reason).into_owned(),
                        Start::Request { .. } => String::new(),
                    };
                    let reasons = reasons_of(message);
                    self.event(Event::Failed { call: handle, status, phrase, reasons });
                }
            }
        }
    }

    /// The first 200 of our INVITE (§13.2.2.4).
    fn on_success(&mut self, now: Instant, path: Path, handle: CallHandle, cancelled: bool, message: &Message) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        call.dialog.learn(message, path);
        call.peer = Peer::of(message);
        call.early.clear();
        *call.deadline(CallTimer::Cancelled) = None;
        let sdp = crate::body::sdp_of(message);
        let offered = call.outgoing.as_ref().is_none_or(|o| o.sdp.is_some());
        if !offered && !cancelled {
            call.phase = Phase::LateOffer;
            // Its ACK needs the CSeq of the INVITE.
            call.ack = None;
            call.dialog.local_cseq = call.dialog.local_cseq.max(message.cseq);
            if let Some(outgoing) = &mut call.outgoing {
                outgoing.cseq = message.cseq;
            }
            self.restart_session(now, handle, refresh::agreed(message));
            self.event(Event::Answered { call: handle, sdp });
            return;
        }
        call.phase = Phase::Up;
        let dialog = call.dialog.clone();
        let ack = self.acknowledge(&dialog, message.cseq, None);
        if let Some(call) = self.calls.get_mut(&handle) {
            call.ack = Some(ack);
        }
        if cancelled {
            // The CANCEL came too late (§9.1).
            self.bye(now, handle);
            return;
        }
        self.restart_session(now, handle, refresh::agreed(message));
        self.event(Event::Answered { call: handle, sdp });
    }

    /// A 200 after the first: its repetition, or another fork (§13.2.2.4).
    fn on_later_success(&mut self, now: Instant, path: Path, handle: CallHandle, message: &Message) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        let tag = message.get(message.to_tag);
        let known = call.ack.iter().chain(&call.forks).find(|a| a.cseq == message.cseq && a.remote_tag == tag);
        if let Some(ack) = known {
            let (path, bytes) = (ack.path, ack.bytes.clone());
            self.outputs.push_back(Output::Transmit { path, bytes });
            return;
        }
        if call.dialog.remote_tag == tag || call.forks.len() >= FORKS {
            return;
        }
        let mut dialog = call.dialog.clone();
        dialog.learn(message, path);
        let ack = self.acknowledge(&dialog, message.cseq, None);
        dialog.local_cseq = dialog.local_cseq.max(message.cseq) + 1;
        let (uri, routes) = dialog.route();
        let request = super::send::Request {
            method: "BYE",
            uri,
            routes,
            from: dialog.local.clone(),
            to: dialog.remote.clone(),
            call_id: dialog.call_id.clone(),
            cseq: dialog.local_cseq,
            path: dialog.next_hop(),
            contact: None,
            headers: Vec::new(),
            body: None,
        };
        self.send_request(now, Owner::Nobody, request);
        if let Some(call) = self.calls.get_mut(&handle) {
            call.forks.push(ack);
        }
    }

    /// Sends the INVITE again with credentials or a longer session interval.
    fn try_again(&mut self, now: Instant, handle: CallHandle, message: &Message) -> bool {
        let cnonce = format!("{:x}", self.entropy.next_u64());
        let Some(call) = self.calls.get_mut(&handle) else {
            return false;
        };
        let Some(outgoing) = &mut call.outgoing else {
            return false;
        };
        if outgoing.attempts >= 3 {
            return false;
        }
        let answered = outgoing.attempts > 0;
        let authorization = if message.status() == 422 {
            let Some(least) = message.number(Name::MinSe).filter(|s| *s <= 86_400) else {
                return false;
            };
            outgoing.min_se_s = Some(least);
            None
        } else {
            let uri = outgoing.uri.clone();
            let answer = answer_challenge(message, call.credentials.as_ref(), "INVITE", &uri, &cnonce, answered);
            match answer {
                None => return false,
                answer => answer,
            }
        };
        outgoing.attempts += 1;
        self.send_invite(now, handle, authorization);
        true
    }

    fn on_reinvite_response(&mut self, now: Instant, path: Path, id: TxId, handle: CallHandle, message: &Message) {
        let status = message.status();
        let cnonce = format!("{:x}", self.entropy.next_u64());
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        if call.reinvite.as_ref().and_then(|r| r.tx) != Some(id) {
            if (200..=299).contains(&status) {
                self.on_later_success(now, path, handle, message);
            }
            return;
        }
        match status {
            100..=199 => {}
            200..=299 => {
                let refresh_only = call.reinvite.take().is_some_and(|r| r.refresh);
                call.dialog.refresh(message, path);
                let dialog = call.dialog.clone();
                let ack = self.acknowledge(&dialog, message.cseq, None);
                if let Some(call) = self.calls.get_mut(&handle) {
                    call.ack = Some(ack);
                }
                self.restart_session(now, handle, refresh::agreed(message));
                if !refresh_only {
                    let result = crate::body::sdp_of(message).ok_or(488);
                    self.event(Event::ReofferAnswered { call: handle, result });
                }
            }
            491 => {
                // §14.1: the owner of the Call-ID waits longer.
                if let Some(reinvite) = &mut call.reinvite {
                    reinvite.tx = None;
                }
                let (least, steps) = if call.we_called { (2_100, 190) } else { (0, 200) };
                let wait = Duration::from_millis(least + 10 * self.entropy.below(steps + 1));
                self.arm_call(handle, CallTimer::Glare, now + wait);
            }
            408 | 481 => self.end_dead(now, handle, "the peer does not know the dialog"),
            _ => {
                let (uri, _) = call.dialog.route();
                let uri = String::from_utf8_lossy(&uri).into_owned();
                let answered = call.reinvite.as_ref().is_some_and(|r| r.authorized);
                let answer = match status {
                    401 | 407 => {
                        answer_challenge(message, call.credentials.as_ref(), "INVITE", &uri, &cnonce, answered)
                    }
                    _ => None,
                };
                if let Some(answer) = answer {
                    self.send_reinvite(now, handle, Some(answer));
                } else if call.reinvite.take().is_some_and(|r| !r.refresh) {
                    self.event(Event::ReofferAnswered { call: handle, result: Err(status) });
                }
            }
        }
    }

    fn on_refresh_response(&mut self, now: Instant, path: Path, handle: CallHandle, message: &Message) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        match message.status() {
            200..=299 => {
                call.dialog.refresh(message, path);
                self.restart_session(now, handle, refresh::agreed(message));
            }
            405 | 501 => {
                call.peer.update = false;
                self.refresh_session(now, handle);
            }
            408 | 481 => self.end_dead(now, handle, "the peer does not know the dialog"),
            _ => self.arm_call(handle, CallTimer::Refresh, now + Duration::from_secs(5)),
        }
    }
}
