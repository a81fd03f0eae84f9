//! Writing and sending requests and responses of our own.

use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Instant;

use super::Endpoint;
use super::call::{Call, Dialog, Phase, SentAck};
use super::layer::{Head, Owner, Purpose, TxId};
use super::timer::{CallTimer, TimerKey};
use crate::api::{CallHandle, Header, Output, Path, Transport};
use crate::draft::{ALLOW, Draft, SUPPORTED, uri_transport, via_transport};
use crate::message::{Message, Name};
use crate::reason::Reason;
use crate::uri::{Scheme, parse_uri};

/// A request to be written.
pub(super) struct Request<'a> {
    pub method: &'static str,
    pub uri: Bytes,
    pub routes: Vec<Bytes>,
    pub from: Bytes,
    pub to: Bytes,
    pub call_id: Bytes,
    pub cseq: u32,
    pub path: Path,
    /// Our Contact, where the method establishes or refreshes a dialog.
    pub contact: Option<String>,
    pub headers: Vec<(&'a str, String)>,
    pub body: Option<(&'a str, &'a [u8])>,
}

impl Endpoint {
    /// Host and port that peers see of us.
    pub(super) fn advertised(&self, path: Path) -> String {
        let found = self.config.advertised.iter().find(|a| a.transport == path.transport && a.local == path.local);
        match found {
            Some(a) => format!("{}:{}", a.host, a.port),
            None => SocketAddr::new(path.local.ip().to_canonical(), path.local.port()).to_string(),
        }
    }

    /// Our Contact value on a path; to a `sips:` URI it is one too (RFC 3261 §8.1.1.8, §12.1.1).
    pub(super) fn contact(&self, path: Path, peer: &[u8]) -> String {
        let secure = parse_uri(peer).is_ok_and(|uri| uri.scheme == Scheme::Sips);
        let (scheme, transport) = match (secure, path.transport) {
            // The scheme says it; `transport=tls` is of the past (RFC 3261 §26.2.2).
            (true, Transport::Tls) => ("sips", ""),
            (true, transport) => ("sips", uri_transport(transport)),
            (false, transport) => ("sip", uri_transport(transport)),
        };
        format!("<{scheme}:{}{transport}>", self.advertised(path))
    }

    /// A Call-ID of this endpoint's shard.
    pub(super) fn fresh_call_id(&mut self) -> Bytes {
        let shard = self.config.shard;
        loop {
            let id = format!("{:016x}{:016x}", self.entropy.next_u64(), self.entropy.next_u64());
            // One in `count` fits; the first always does where there is one shard.
            if crate::shard_of_call_id(id.as_bytes(), shard.count) == shard.index % shard.count.max(1) {
                return id.into();
            }
        }
    }

    /// Sends a request in a client transaction of its own.
    pub(super) fn send_request(&mut self, now: Instant, owner: Owner, request: Request<'_>) -> TxId {
        let (id, branch) = self.next_branch();
        let via = format!(
            "SIP/2.0/{} {};rport;branch={branch}",
            via_transport(request.path.transport),
            self.advertised(request.path)
        );
        let mut draft = Draft::request(request.method.as_bytes(), &request.uri);
        draft.header("Via", &via).header("Max-Forwards", "70");
        for route in &request.routes {
            draft.header("Route", route);
        }
        draft
            .header("From", &request.from)
            .header("To", &request.to)
            .header("Call-ID", &request.call_id)
            .header("CSeq", format!("{} {}", request.cseq, request.method));
        if let Some(contact) = &request.contact {
            draft.header("Contact", contact);
        }
        if matches!(request.method, "INVITE" | "UPDATE") {
            draft.header("Allow", ALLOW).header("Supported", SUPPORTED);
        }
        for (name, value) in &request.headers {
            draft.header(name, value);
        }
        let bytes = draft.finish(request.body);
        let head = (request.method == "INVITE").then(|| {
            Box::new(Head {
                uri: request.uri,
                via,
                from: request.from,
                to: request.to,
                call_id: request.call_id,
                cseq: request.cseq,
                routes: request.routes,
            })
        });
        self.start_client(now, (id, branch), request.path, owner, head, bytes);
        id
    }

    /// Sends a request within the dialog of a call (§12.2.1.1).
    pub(super) fn send_in_dialog(
        &mut self,
        now: Instant,
        handle: CallHandle,
        method: &'static str,
        purpose: Purpose,
        headers: Vec<(&str, String)>,
        body: Option<(&str, &[u8])>,
    ) -> Option<TxId> {
        let call = self.calls.get_mut(&handle)?;
        call.dialog.local_cseq += 1;
        let (uri, routes) = call.dialog.route();
        let path = call.dialog.next_hop();
        let (from, to) = (call.dialog.local.clone(), call.dialog.remote.clone());
        let (call_id, cseq) = (call.dialog.call_id.clone(), call.dialog.local_cseq);
        let call_target = call.dialog.target.clone();
        let contact = matches!(method, "INVITE" | "UPDATE" | "REFER").then(|| self.contact(path, &call_target));
        let request = Request { method, uri, routes, from, to, call_id, cseq, path, contact, headers, body };
        Some(self.send_request(now, Owner::Call(handle, purpose), request))
    }

    /// Acknowledges a 200 to an INVITE (§13.2.2.4) and remembers the ACK for its repetitions.
    pub(super) fn acknowledge(&mut self, dialog: &Dialog, cseq: u32, sdp: Option<&[u8]>) -> SentAck {
        let (_, branch) = self.next_branch();
        let (uri, routes) = dialog.route();
        let path = dialog.next_hop();
        let via = format!("SIP/2.0/{} {};rport;branch={branch}", via_transport(path.transport), self.advertised(path));
        let mut draft = Draft::request(b"ACK", &uri);
        draft.header("Via", &via).header("Max-Forwards", "70");
        for route in &routes {
            draft.header("Route", route);
        }
        draft
            .header("From", &dialog.local)
            .header("To", &dialog.remote)
            .header("Call-ID", &dialog.call_id)
            .header("CSeq", format!("{cseq} ACK"));
        let bytes = draft.finish(sdp.map(|sdp| ("application/sdp", sdp)));
        self.outputs.push_back(Output::Transmit { path, bytes: bytes.clone() });
        SentAck { cseq, remote_tag: dialog.remote_tag.clone(), path, bytes }
    }

    /// Sends BYE; the call only waits for its end.
    pub(super) fn bye(&mut self, now: Instant, handle: CallHandle) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        call.phase = Phase::Ending;
        call.ok = None;
        call.reinvite = None;
        call.deadlines = Default::default();
        let reason = Reason::header(&std::mem::take(&mut call.reasons));
        let pending = call.reoffer.take();
        if let Some(tx) = pending {
            self.refuse_request(now, tx, 487);
        }
        let headers = reason.map(|r| ("Reason", r)).into_iter().collect();
        self.send_in_dialog(now, handle, "BYE", Purpose::Bye, headers, None);
    }

    /// Answers a server transaction with a refusal without a body.
    pub(super) fn refuse_request(&mut self, now: Instant, tx: TxId, status: u16) {
        self.reply_simply(now, tx, status, &[]);
    }

    /// Answers a server transaction without a body.
    pub(super) fn reply_simply(&mut self, now: Instant, tx: TxId, status: u16, headers: &[Header]) {
        let Some(state) = self.txs.get_mut(&tx) else {
            return;
        };
        let Some(request) = state.request.take() else {
            return;
        };
        let path = state.path;
        let tag = self.stable_tag(&request);
        let mut draft = Draft::reply(&request, path, status, &tag);
        draft.headers(headers);
        if matches!(status, 405 | 501) {
            draft.header("Allow", ALLOW);
        }
        let bytes = draft.finish(None);
        self.put_back(tx, status, request);
        self.respond(now, tx, status, bytes);
    }

    /// The request of a transaction stays until its final response.
    fn put_back(&mut self, tx: TxId, status: u16, request: Box<Message>) {
        if status < 200
            && let Some(state) = self.txs.get_mut(&tx)
        {
            state.request = Some(request);
        }
    }

    /// A To tag for answers that make no dialog: the same for one transaction.
    fn stable_tag(&self, request: &Message) -> String {
        format!(
            "{:x}",
            self.entropy.keyed("stateless", &[request.get(request.call_id), request.get(request.via.branch)])
        )
    }

    /// Writes a response to the INVITE, re-INVITE or UPDATE of a call.
    pub(super) fn call_response(
        &self,
        call: &Call,
        tx: TxId,
        status: u16,
        headers: &[Header],
        sdp: Option<&[u8]>,
    ) -> Option<Bytes> {
        let state = self.txs.get(&tx)?;
        let request = state.request.as_deref()?;
        let mut draft = Draft::reply(request, call.dialog.path, status, &call.dialog.local_tag);
        if status > 100 && status < 300 {
            // §12.1.1: the route set is copied into what makes a dialog.
            for route in request.all(Name::RecordRoute) {
                draft.header("Record-Route", route);
            }
            draft.header("Contact", self.contact(call.dialog.path, &call.dialog.target));
            draft.header("Allow", ALLOW);
            if status >= 200 {
                draft.header("Supported", SUPPORTED);
            }
        }
        draft.headers(headers);
        Some(draft.finish(sdp.map(|sdp| ("application/sdp", sdp))))
    }

    /// Starts or moves a timer of a call.
    pub(super) fn arm_call(&mut self, handle: CallHandle, timer: CallTimer, at: Instant) {
        if let Some(call) = self.calls.get_mut(&handle) {
            *call.deadline(timer) = Some(at);
            self.timers.arm(at, TimerKey::Call(handle, timer));
        }
    }
}
