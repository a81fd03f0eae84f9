//! A browser's leg: checks, DTLS, RTP and RTCP on one port, from the browser and from anybody.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Instant;

use hotline_rtp::api::MediaEvent;
use hotline_rtp::dtls::{Association, DtlsPeer, DtlsRole, Identity};
use hotline_rtp::engine::probe::{Probe, ProbeGround};
use hotline_rtp::ice::{self, IceCredentials};

use crate::Bytes;

/// Things that happen to one leg.
const STEPS: usize = 300;
/// Datagrams of the browser on their way.
const ON_THE_WAY: usize = 64;

struct Parties {
    ground: ProbeGround,
    node: Identity,
    browser: Identity,
}

static PARTIES: LazyLock<Parties> = LazyLock::new(|| {
    let (Ok(node), Ok(browser)) = (Identity::make(), Identity::make()) else { panic!("no certificate") };
    let folder = std::env::temp_dir().join(format!("hotline-fuzz-{}", std::process::id()));
    let ground = ProbeGround::new(node.clone(), &folder).unwrap_or_else(|error| panic!("no spool: {error}"));
    // Its lock is held by an open file: nobody needs the name.
    let _ = std::fs::remove_dir_all(&folder);
    Parties { ground, node, browser }
});

/// The real browser's side, whose datagrams may be lost, damaged, repeated or late.
struct Browser {
    association: Association,
    queue: VecDeque<Vec<u8>>,
    last: Vec<u8>,
    broken: bool,
}

impl Browser {
    fn take(&mut self, datagram: Option<&[u8]>, now: Instant) {
        if self.broken {
            return;
        }
        let Self { association, queue, .. } = self;
        let mut send = |bytes: &[u8]| {
            if queue.len() < ON_THE_WAY {
                queue.push_back(bytes.to_vec());
            }
        };
        let result = match datagram {
            Some(datagram) => association.receive(datagram, now, &mut send),
            None => association.pass(now, &mut send),
        };
        self.broken = result.is_err();
    }
}

/// What happens to a browser's leg, one thing after the other.
pub fn dtls(data: &[u8]) {
    let mut data = Bytes(data);
    let role = if data.byte() & 1 == 0 { DtlsRole::Server } else { DtlsRole::Client };
    let theirs = if role == DtlsRole::Server { DtlsRole::Client } else { DtlsRole::Server };
    let (node, far) = (IceCredentials::derive(b"node", 0), IceCredentials::derive(b"browser", 0));
    let places: [SocketAddr; 2] =
        [SocketAddr::from(([192, 0, 2, 7], 4_711)), SocketAddr::from(([198, 51, 100, 9], 999))];
    let epoch = Instant::now();
    let peer = DtlsPeer { local: node.clone(), remote: far.clone(), fingerprint: PARTIES.browser.fingerprint(), role };
    let mut probe = Probe::new(&PARTIES.ground, peer, places[0], epoch);
    let mut browser = Browser {
        association: Association::new(&PARTIES.browser, theirs, PARTIES.node.fingerprint(), epoch),
        queue: VecDeque::new(),
        last: Vec::new(),
        broken: false,
    };
    let (mut checks, mut came, mut secured, mut failed) = (0u8, 0, 0, 0);
    for _ in 0..STEPS {
        if data.is_empty() {
            break;
        }
        let op = data.byte();
        let from = places[usize::from(op >> 7)];
        match op & 0x0F {
            0 => {
                let length = usize::from(data.word() % 1_500);
                probe.receive(data.take(length), from);
            }
            1 | 2 => {
                checks = checks.wrapping_add(1);
                probe.receive(&ice::request([checks; 12], &far, &node, op & 1 == 1), from);
            }
            3 => {
                probe.pass_ms(u32::from(data.word()));
                browser.take(None, probe.now());
            }
            4 => {
                // A record with a head that is nearly right.
                let (kind, number, length) = (20 + data.byte() % 7, data.long(), usize::from(data.byte()));
                let body = data.take(length);
                let [a, b, c, d] = number.to_be_bytes();
                let head = [kind, 0xFE, 0xFD, 0, a & 1, 0, 0, 0, b & 3, c, d];
                let record = [&head[..], &(body.len() as u16).to_be_bytes(), body].concat();
                probe.receive(&record, from);
            }
            5 => {
                if let Some(mut datagram) = browser.queue.pop_front() {
                    let (at, change) = (usize::from(data.word()) % datagram.len().max(1), data.byte());
                    if let Some(byte) = datagram.get_mut(at) {
                        *byte ^= change;
                    }
                    came += 1;
                    probe.receive(&datagram, from);
                }
            }
            6 => drop(browser.queue.pop_front()),
            7 => {
                let last = browser.last.clone();
                probe.receive(&last, from);
            }
            8 => {
                if let Some(datagram) = browser.queue.pop_front() {
                    browser.queue.push_back(datagram);
                }
            }
            _ => {
                if let Some(datagram) = browser.queue.pop_front() {
                    came += 1;
                    probe.receive(&datagram, from);
                    browser.last = datagram;
                }
            }
        }
        for (to, datagram) in probe.take_sent() {
            assert!(checks > 0, "nothing is sent to somebody whose password is unknown");
            assert!(to.is_some_and(|to| places.contains(&to)), "{to:?} asked for nothing");
            if ice::is_dtls(&datagram) {
                browser.take(Some(&datagram), probe.now());
            }
        }
        for event in probe.take_events() {
            match event {
                MediaEvent::Secured { .. } => secured += 1,
                MediaEvent::SecureFailed { .. } => failed += 1,
                _ => {}
            }
        }
        assert!(secured <= 1 && failed <= 1, "each is said once");
        assert!(secured == 0 || came >= 2, "only the browser's own messages give keys");
    }
}
