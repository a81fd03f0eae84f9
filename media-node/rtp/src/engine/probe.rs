//! A browser's leg in virtual time, without sockets: what comes from the network goes in, what would be
//! sent comes out. For fuzzing; a node has no use for it.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::events::{EventReceiver, event_queue};
use super::io::MediaSocket;
use super::leg::Leg;
use super::shard::{Shard, ShardConfig, Slot, SpoolAccess};
use super::web::DtlsContext;
use crate::api::{Law, MediaCommand, MediaEvent, MediaLegId, Remote, Security};
use crate::dtls::{DtlsPeer, Identity};
use crate::spool::{Spool, SpoolWriter};
use crate::stream::Micros;

const LEG: MediaLegId = MediaLegId(1);
/// Events that may wait.
const EVENTS: usize = 4_096;

/// What all probes share: the node's certificate, and an empty spool.
#[derive(Clone)]
pub struct ProbeGround {
    identity: Identity,
    spool: SpoolAccess,
}

impl ProbeGround {
    /// Spools to a folder, which stays empty.
    ///
    /// # Errors
    /// The folder or a thread cannot be made.
    pub fn new(identity: Identity, folder: &Path) -> io::Result<Self> {
        let spool = Spool::open(folder, 0, 0)?;
        let (writer, _ends_with_the_process) = SpoolWriter::start(spool.clone())?;
        Ok(Self { identity, spool: SpoolAccess { spool, writer } })
    }
}

type Sent = Rc<RefCell<Vec<(Option<SocketAddr>, Vec<u8>)>>>;

struct Wire(Sent);

impl MediaSocket for Wire {
    fn send(&mut self, to: Option<SocketAddr>, datagram: &[u8]) -> bool {
        self.0.borrow_mut().push((to, datagram.to_vec()));
        true
    }

    fn connect(&mut self, _: Option<SocketAddr>) -> bool {
        true
    }
}

/// One leg.
pub struct Probe {
    shard: Shard<Wire>,
    slot: Slot,
    events: EventReceiver,
    sent: Sent,
    epoch: Instant,
    now: Micros,
}

impl Probe {
    /// A leg whose peer is to be found by ICE and proved by DTLS; its time begins at `epoch`.
    pub fn new(ground: &ProbeGround, peer: DtlsPeer, described: SocketAddr, epoch: Instant) -> Self {
        let (sink, events) = event_queue(EVENTS, || {});
        let config = ShardConfig {
            silence_ms: 0,
            stats_interval_us: 5_000_000,
            digits_at_start: false,
            connect: false,
            wall_start_us: 0,
            dtls: DtlsContext { identity: ground.identity.clone(), epoch },
        };
        let mut shard = Shard::new(config, vec![sink], ground.spool.clone(), 0);
        let sent = Sent::default();
        let leg = Leg::new(LEG, 0, 20_000, Wire(sent.clone()), Wire(Sent::default()), 7, false, 0);
        let slot = shard.adopt(leg, 0);
        shard.command(MediaCommand::Secure { leg: LEG, security: Security::Dtls(Box::new(peer)) }, 0);
        let remote = Remote {
            rtp: described,
            rtcp: described,
            format: Law::Mu.into(),
            dtmf_pt: Some(101),
            dtmf_khz: 8,
            receives: true,
            sends: true,
            relatch: false,
        };
        shard.command(MediaCommand::SetRemote { leg: LEG, remote }, 0);
        Self { shard, slot, events, sent, epoch, now: 0 }
    }

    /// The present moment of this leg.
    pub fn now(&self) -> Instant {
        self.epoch + Duration::from_micros(self.now)
    }

    /// A datagram came.
    pub fn receive(&mut self, datagram: &[u8], from: SocketAddr) {
        let mut datagram = datagram.to_vec();
        self.shard.rtp(self.slot, &mut datagram, Some(from), self.now);
    }

    /// Time passes.
    pub fn pass_ms(&mut self, ms: u32) {
        self.now += Micros::from(ms) * 1_000;
        self.shard.tick(self.now);
        self.shard.care_web(self.slot, self.now);
    }

    /// What was sent since the last time, and where to (`None`: where everything goes).
    pub fn take_sent(&mut self) -> Vec<(Option<SocketAddr>, Vec<u8>)> {
        std::mem::take(&mut *self.sent.borrow_mut())
    }

    /// What was reported since the last time.
    pub fn take_events(&mut self) -> Vec<MediaEvent> {
        let mut events = Vec::new();
        self.events.drain(&mut events);
        events
    }
}
