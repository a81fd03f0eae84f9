//! What all threads of a node share.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hotline_base::NodeId;
use hotline_rtp::MediaHandle;
use hotline_sip::api::{Path, Transport};
use hotline_wire::legs::DialogRef;

use crate::config::Config;
use crate::decisions::{Accounts, Decider};
use crate::dispatch::Dispatch;
use crate::fleet::Rings;
use crate::gate::Gate;
use crate::gateways::Gateways;
use crate::mailbox::{Mail, Mailbox};
use crate::metrics::Metrics;
use crate::registrar::Registrar;
use crate::sounds::SoundCache;
use crate::streams::Streams;
use crate::trace::Trace;
use crate::uploads::Uploads;

/// One bound UDP socket.
pub struct UdpListener {
    /// What it is bound to.
    pub local: SocketAddr,
    /// All workers read and write it.
    pub socket: UdpSocket,
}

/// Everything that lives as long as the process.
pub struct Shared {
    /// As it was read at the start.
    pub config: Config,
    /// This node.
    pub node: NodeId,
    /// When this process started.
    pub started_at: hotline_base::Timestamp,
    /// Who decides.
    pub decider: Decider,
    /// How many decisions are asked for at a time.
    pub gate: Arc<Gate>,
    /// Digest accounts.
    pub accounts: Accounts,
    /// Phones.
    pub registrar: Registrar,
    /// Prompt objects.
    pub sounds: SoundCache,
    /// Where prompt objects come from, and recordings go.
    pub objects: Arc<dyn hotline_ports::Objects>,
    /// Recordings on their way.
    pub uploads: Uploads,
    /// Counters.
    pub metrics: Metrics,
    /// The media engine.
    pub media: MediaHandle,
    /// One for each worker.
    pub mailboxes: Vec<Mailbox>,
    /// Whose messages are whose.
    pub dispatch: Dispatch,
    /// For what takes time.
    pub runtime: tokio::runtime::Handle,
    /// UDP.
    pub udp: Vec<UdpListener>,
    /// TCP, TLS and WebSocket.
    pub streams: Streams,
    /// Which calls are traced.
    pub trace: Trace,
    /// Which calls are captured.
    pub captures: crate::capture::Captures,
    /// Voices for a speech engine.
    pub taps: crate::tap::Taps,
    /// No new calls.
    pub draining: AtomicBool,
    /// The ways to the telephone network.
    pub gateways: Gateways,
    /// Names of hosts.
    pub dns: crate::dns::Dns,
    /// Rings of other nodes.
    pub rings: Rings,
    /// Phones' dialogs that are relayed for other nodes.
    pub relayed: Relayed,
    /// Shows that an INVITE is this process's own.
    pub own_token: String,
    /// News of phones on their way to the directory.
    pub phone_reports: crate::lease::PhoneReports,
    /// Reports of calls that are not here, on their way at a time.
    pub lost_reports: Arc<tokio::sync::Semaphore>,
}

/// Relayed calls by the Call-ID that the other node gave them: our tag there, and our dialog with
/// the phone. Whoever takes the other node's calls over names that Call-ID, which the phone does
/// not know.
#[derive(Debug, Default)]
pub struct Relayed(Mutex<HashMap<String, (String, DialogRef)>>);

impl Relayed {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (String, DialogRef)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A phone answered.
    pub fn insert(&self, sip_call_id: String, our_tag: String, phone: DialogRef) {
        self.lock().insert(sip_call_id, (our_tag, phone));
    }

    /// It is over.
    pub fn remove(&self, sip_call_id: &str) {
        self.lock().remove(sip_call_id);
    }

    /// The phone's dialog behind the one with this Call-ID and this tag of ours.
    pub fn get(&self, sip_call_id: &str, our_tag: &str) -> Option<DialogRef> {
        self.lock().get(sip_call_id).filter(|(tag, _)| tag == our_tag).map(|(_, phone)| phone.clone())
    }
}

impl Shared {
    /// Which worker owns a contact: it is part of the id's randomness.
    pub fn worker_of(&self, contact: hotline_base::ContactId) -> usize {
        (contact.as_u128() & 0xff) as usize % self.mailboxes.len().max(1)
    }

    /// Hands something to the worker that owns a contact.
    pub fn mail_contact(&self, contact: hotline_base::ContactId, mail: Mail) {
        if let Some(mailbox) = self.mailboxes.get(self.worker_of(contact)) {
            mailbox.post(mail);
        }
    }

    /// Sends a message.
    pub fn transmit(&self, path: Path, bytes: Bytes) {
        Metrics::add(&self.metrics.sip_sent);
        if path.transport != Transport::Udp {
            self.streams.send(path, bytes);
            return;
        }
        let listener = self
            .udp
            .iter()
            .find(|l| l.local == path.local)
            .or_else(|| self.udp.iter().find(|l| l.local.is_ipv4() == path.remote.is_ipv4()));
        let sent = listener.map(|l| l.socket.send_to(&bytes, path.remote));
        if !matches!(sent, Some(Ok(_))) {
            Metrics::add(&self.metrics.sip_send_failures);
        }
    }

    /// Whether a token is the one that only this process knows; in a time that tells nothing.
    pub fn is_own(&self, token: &str) -> bool {
        let differences = token.bytes().zip(self.own_token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        token.len() == self.own_token.len() && differences == 0
    }

    /// Where this node's datagrams reach itself.
    pub fn own_address(&self) -> Option<SocketAddr> {
        let local = self.udp.first()?.local;
        let ip = match local.ip() {
            std::net::IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Some(SocketAddr::new(ip, local.port()))
    }

    /// Whether new calls are refused.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The local address of requests we send by a transport to a remote address.
    pub fn local_for(&self, transport: Transport, remote: SocketAddr) -> Option<SocketAddr> {
        let wanted = |l: &&crate::config::Listen| l.transport == transport && l.address.is_ipv4() == remote.is_ipv4();
        match transport {
            Transport::Udp => self.udp.iter().find(|l| l.local.is_ipv4() == remote.is_ipv4()).map(|l| l.local),
            _ => self.streams.listening().iter().find(wanted).map(|l| l.address),
        }
    }
}
