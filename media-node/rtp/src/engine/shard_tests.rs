//! A shard in virtual time, with sockets in memory.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;

use super::events::{EventReceiver, event_queue};
use super::io::MediaSocket;
use super::leg::Leg;
use super::shard::{Shard, ShardConfig, Slot, SpoolAccess};
use super::tick::TICK_US;
use super::web::DtlsContext;
use crate::api::*;
use crate::dtls::Identity;
use crate::packet::{HEADER_LEN, Header, Patch};
use crate::rtcp;
use crate::spool::tests::Scratch;
use crate::spool::{Spool, SpoolWriter};
use crate::srtp::{MasterKey, Srtp, SrtpKeys, Suite};
use crate::stream::Micros;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Instant;

pub(super) static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::make().unwrap());

pub(super) type Sent = Rc<RefCell<Vec<(Micros, Vec<u8>)>>>;

/// Keeps what is sent, with its time.
pub(super) struct Memory {
    clock: Rc<RefCell<Micros>>,
    sent: Sent,
}

impl MediaSocket for Memory {
    fn send(&mut self, _to: Option<SocketAddr>, datagram: &[u8]) -> bool {
        self.sent.borrow_mut().push((*self.clock.borrow(), datagram.to_vec()));
        true
    }

    fn connect(&mut self, _peer: Option<SocketAddr>) -> bool {
        true
    }
}

pub(super) struct World {
    pub shard: Shard<Memory>,
    events: EventReceiver,
    clock: Rc<RefCell<Micros>>,
    pub rtp: Vec<Sent>,
    pub rtcp: Vec<Sent>,
    writer: SpoolWriter,
    _scratch: Scratch,
}

impl Drop for World {
    fn drop(&mut self) {
        self.writer.stop();
    }
}

pub(super) fn peer(leg: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4_000 + 2 * leg as u16))
}

pub(super) fn packet(payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADER_LEN];
    let patch = Patch { payload_type, marker: false, sequence, timestamp, ssrc: 5 };
    patch.write((&mut packet[..]).try_into().unwrap());
    packet.extend_from_slice(payload);
    packet
}

impl World {
    pub fn new(legs: usize) -> World {
        let scratch = Scratch::new();
        let spool = Spool::open(&scratch.0, u64::MAX, 0).unwrap();
        let (writer, _thread) = SpoolWriter::start(spool.clone()).unwrap();
        let (sink, events) = event_queue(10_000, || {});
        let config = ShardConfig {
            silence_ms: 3_000,
            stats_interval_us: 5_000_000,
            digits_at_start: false,
            connect: true,
            wall_start_us: 1_700_000_000_000_000,
            dtls: DtlsContext { identity: IDENTITY.clone(), epoch: Instant::now() },
        };
        let access = SpoolAccess { spool, writer: writer.clone() };
        let mut world = World {
            shard: Shard::new(config, vec![sink], access, 0),
            events,
            clock: Rc::default(),
            rtp: Vec::new(),
            rtcp: Vec::new(),
            writer,
            _scratch: scratch,
        };
        for index in 0..legs {
            let (rtp, rtcp) = (Sent::default(), Sent::default());
            let socket = |sent: &Sent| Memory { clock: world.clock.clone(), sent: sent.clone() };
            let leg =
                Leg::new(MediaLegId(index as u64), 0, 20_000, socket(&rtp), socket(&rtcp), index as u64 + 9, false, 0);
            world.shard.adopt(leg, 0);
            world.rtp.push(rtp);
            world.rtcp.push(rtcp);
            let remote = Remote {
                rtp: peer(index),
                rtcp: peer(index),
                format: Law::Mu.into(),
                dtmf_pt: Some(101),
                dtmf_khz: 8,
                receives: true,
                sends: true,
                relatch: false,
            };
            world.command(MediaCommand::SetRemote { leg: MediaLegId(index as u64), remote });
        }
        world
    }

    pub fn now(&self) -> Micros {
        *self.clock.borrow()
    }

    pub fn command(&mut self, command: MediaCommand) {
        let now = self.now();
        self.shard.command(command, now);
    }

    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms / 5 {
            *self.clock.borrow_mut() += Micros::from(TICK_US);
            let now = self.now();
            self.shard.tick(now);
        }
    }

    pub fn hear(&mut self, leg: usize, mut datagram: Vec<u8>) {
        let now = self.now();
        self.shard.rtp(leg as Slot, &mut datagram, Some(peer(leg)), now);
    }

    pub fn told(&self) -> Vec<MediaEvent> {
        let mut told = Vec::new();
        self.events.drain(&mut told);
        told
    }

    fn sent(&self, leg: usize) -> Vec<(Micros, Header)> {
        let sent = self.rtp[leg].borrow();
        sent.iter().map(|(at, bytes)| (*at, Header::read(bytes).unwrap())).collect()
    }
}

fn tone(on_ms: u32) -> Sound {
    Sound::Tone { hz: [440, 0], on_ms, off_ms: 0, times: 1 }
}

#[test]
fn a_prompt_is_paced_and_its_end_is_told_when_it_was_heard() {
    let mut world = World::new(1);
    let leg = MediaLegId(0);
    world.command(MediaCommand::Play { leg, token: Token(3), sounds: vec![tone(150), tone(90)], looped: false });
    world.run_ms(240);
    assert!(world.told().is_empty());
    world.run_ms(20);
    assert_eq!(world.told(), [MediaEvent::PlayEnded { leg, token: Token(3) }]);
    let sent = world.sent(0);
    assert_eq!(sent.len(), 12);
    for pair in sent.windows(2) {
        assert_eq!(pair[1].0 - pair[0].0, 20_000);
        assert_eq!(pair[1].1.timestamp.wrapping_sub(pair[0].1.timestamp), 160);
        assert_eq!(pair[1].1.sequence.wrapping_sub(pair[0].1.sequence), 1);
    }
    assert_eq!(sent.iter().map(|(_, header)| header.marker).filter(|marker| *marker).count(), 1);
    // A replaced sound is not told; the next one is.
    world.command(MediaCommand::Play { leg, token: Token(4), sounds: vec![tone(1_000)], looped: true });
    world.run_ms(100);
    world.command(MediaCommand::Play { leg, token: Token(5), sounds: vec![tone(20)], looped: false });
    world.run_ms(60);
    assert_eq!(world.told(), [MediaEvent::PlayEnded { leg, token: Token(5) }]);
    world.command(MediaCommand::Play { leg, token: Token(6), sounds: vec![], looped: true });
    world.run_ms(40);
    assert_eq!(world.told(), [MediaEvent::PlayEnded { leg, token: Token(6) }]);
}

#[test]
fn a_protected_leg_is_joined_with_a_plain_one() {
    let mut world = World::new(2);
    let master = |byte| MasterKey::new(Suite::Aes128Sha1Tag80, &[byte; 16], &[byte; 14]).unwrap();
    let keys = SrtpKeys { suite: Suite::Aes128Sha1Tag80, inbound: master(1), outbound: master(2) };
    let phone = SrtpKeys { inbound: master(2), outbound: master(1), ..keys.clone() };
    let mut phone = Srtp::new(&phone);
    let (secure, plain) = (MediaLegId(0), MediaLegId(1));
    let security = Security::Keys(Box::new(keys));
    world.command(MediaCommand::Secure { leg: secure, security: security.clone() });
    world.command(MediaCommand::Bridge { a: secure, b: plain });
    for sequence in 1..=5 {
        let said = packet(0, sequence, u32::from(sequence) * 160, &[sequence as u8; 160]);
        let mut secret = [&said[..], &[0; 10]].concat();
        assert_eq!(phone.protect_rtp(&mut secret, said.len()), Ok(182));
        world.hear(0, secret.clone());
        world.hear(0, secret);
        world.hear(0, said);
        world.hear(1, packet(0, sequence, u32::from(sequence) * 160, &[0x80 + sequence as u8; 160]));
        // The same keys in a new description do not start the counters anew.
        world.command(MediaCommand::Secure { leg: secure, security: security.clone() });
    }
    let heard: Vec<u8> = world.rtp[1].borrow().iter().map(|(_, datagram)| datagram[HEADER_LEN]).collect();
    assert_eq!(heard, [1, 2, 3, 4, 5], "each once, and nothing that came unprotected");
    let mut sent: Vec<Vec<u8>> = world.rtp[0].borrow().iter().map(|(_, datagram)| datagram.clone()).collect();
    let mut heard = Vec::new();
    for datagram in &mut sent {
        assert_eq!(phone.unprotect_rtp(datagram), Ok(HEADER_LEN + 160));
        heard.push(datagram[HEADER_LEN]);
    }
    assert_eq!(heard, [0x81, 0x82, 0x83, 0x84, 0x85]);
    world.run_ms(5_200);
    let mut report = world.rtcp[0].borrow().first().unwrap().1.clone();
    let length = phone.unprotect_rtcp(&mut report).unwrap();
    assert!(rtcp::read(&report[..length], 0).unwrap().sender.is_some());
    let rejected = world.told().into_iter().find_map(|event| match event {
        MediaEvent::Stats { leg, stats, .. } if leg == secure => Some((stats.packets, stats.rejected)),
        _ => None,
    });
    assert_eq!(rejected, Some((5, 10)));
}

#[test]
fn a_sound_waits_for_the_answer_and_goes_on_unheard_while_held() {
    let mut world = World::new(1);
    let leg = MediaLegId(0);
    world.shard.leg(0).unwrap().remote = None;
    world.command(MediaCommand::Play { leg, token: Token(1), sounds: vec![tone(100)], looped: false });
    world.run_ms(500);
    assert!(world.told().is_empty() && world.sent(0).is_empty());
    let held = Remote {
        rtp: peer(0),
        rtcp: peer(0),
        format: Law::A.into(),
        dtmf_pt: None,
        dtmf_khz: 8,
        receives: false,
        sends: false,
        relatch: false,
    };
    world.command(MediaCommand::SetRemote { leg, remote: held });
    world.run_ms(60);
    world.command(MediaCommand::SetRemote { leg, remote: Remote { sends: true, ..held } });
    world.run_ms(100);
    assert_eq!(world.sent(0).len(), 2);
    assert_eq!(world.told(), [MediaEvent::PlayEnded { leg, token: Token(1) }]);
}

#[test]
fn silence_is_told_once_and_again_after_a_sign_of_life() {
    let mut world = World::new(1);
    let silences =
        |world: &World| world.told().iter().filter(|event| matches!(event, MediaEvent::Silent { .. })).count();
    world.run_ms(2_900);
    assert_eq!(silences(&world), 0);
    world.run_ms(5_000);
    assert_eq!(silences(&world), 1);
    world.hear(0, packet(0, 1, 0, &[0xFF; 160]));
    world.run_ms(2_900);
    assert_eq!(silences(&world), 0);
    world.run_ms(300);
    assert_eq!(silences(&world), 1);
}

#[test]
fn statistics_and_reports_leave_every_five_seconds() {
    let mut world = World::new(1);
    for index in 0..300u16 {
        world.run_ms(20);
        // One packet in ten is lost.
        if index % 10 != 9 {
            world.hear(0, packet(0, index, u32::from(index) * 160, &[0xFF; 160]));
        }
    }
    let stats: Vec<LegStats> = world
        .told()
        .into_iter()
        .filter_map(|event| if let MediaEvent::Stats { stats, .. } = event { Some(stats) } else { None })
        .collect();
    assert_eq!(stats.len(), 1);
    assert!((220..=226).contains(&stats[0].packets) && (23..=26).contains(&stats[0].lost), "{stats:?}");
    assert!(stats[0].mos < 4.0);
    let reports = world.rtcp[0].borrow().clone();
    assert_eq!(reports.len(), 1);
    let report = rtcp::read(&reports[0].1, 5).unwrap();
    let block = report.block.unwrap();
    assert!((24..=27).contains(&block.fraction_lost), "{block:?}");
    assert_eq!(report.sender, None);
}

#[test]
fn a_key_whose_end_was_lost_is_told_all_the_same() {
    let mut world = World::new(2);
    world.command(MediaCommand::Bridge { a: MediaLegId(0), b: MediaLegId(1) });
    world.hear(0, packet(101, 1, 0, &[5, 10, 0, 160]));
    world.hear(0, packet(101, 2, 0, &[5, 10, 1, 64]));
    world.run_ms(400);
    let digits: Vec<_> = world.told().into_iter().filter(|event| matches!(event, MediaEvent::Digit { .. })).collect();
    assert_eq!(digits, [MediaEvent::Digit { leg: MediaLegId(0), digit: '5', duration_ms: 40 }]);
    assert_eq!(world.sent(1).len(), 2);
}

#[test]
fn digits_are_sent_as_events_between_the_packets_of_a_relay() {
    let mut world = World::new(2);
    world.command(MediaCommand::Bridge { a: MediaLegId(0), b: MediaLegId(1) });
    let mut sequence = 0;
    for frame in 0..60u16 {
        if frame == 20 {
            world.command(MediaCommand::SendDigits { leg: MediaLegId(1), digits: "42".into() });
        }
        world.run_ms(20);
        sequence += 1;
        world.hear(0, packet(0, sequence, u32::from(frame) * 160, &[0x80; 160]));
    }
    let sent = world.sent(1);
    for pair in sent.windows(2) {
        assert_eq!(pair[1].1.sequence.wrapping_sub(pair[0].1.sequence), 1);
        assert_eq!(pair[1].1.ssrc, pair[0].1.ssrc);
    }
    let events: Vec<_> = sent.iter().filter(|(_, header)| header.payload_type == 101).collect();
    assert_eq!(events.len(), 2 * 8);
    let mut starts: Vec<u32> = events.iter().map(|(_, header)| header.timestamp).collect();
    starts.dedup();
    assert_eq!(starts.len(), 2);
    assert_eq!(sent.last().unwrap().1.payload_type, 0);
}

#[test]
fn quiet_is_told_when_the_voice_ends_even_if_packets_end_with_it() {
    let mut world = World::new(1);
    world.command(MediaCommand::WatchQuiet { leg: MediaLegId(0), for_ms: 2_000 });
    for index in 0..100u16 {
        world.run_ms(20);
        world.hear(0, packet(0, index, u32::from(index) * 160, &[0x85; 160]));
    }
    assert!(!world.told().iter().any(|event| matches!(event, MediaEvent::Quiet { .. })));
    world.run_ms(2_200);
    assert!(world.told().iter().any(|event| matches!(event, MediaEvent::Quiet { leg: MediaLegId(0), .. })));
}

#[test]
fn a_closed_legs_slot_starts_afresh() {
    let mut world = World::new(2);
    world.command(MediaCommand::Bridge { a: MediaLegId(0), b: MediaLegId(1) });
    world.command(MediaCommand::Play { leg: MediaLegId(0), token: Token(1), sounds: vec![tone(500)], looped: true });
    world.run_ms(40);
    world.command(MediaCommand::Close { leg: MediaLegId(0) });
    let sent = Sent::default();
    let socket = || Memory { clock: world.clock.clone(), sent: sent.clone() };
    let fresh = Leg::new(MediaLegId(7), 0, 20_002, socket(), socket(), 1, false, 0);
    assert_eq!(world.shard.adopt(fresh, 0), 0);
    world.hear(1, packet(0, 1, 0, &[0x80; 160]));
    world.run_ms(200);
    assert!(sent.borrow().is_empty());
    assert_eq!(world.shard.open_legs(), 2);
    world.command(MediaCommand::Play { leg: MediaLegId(0), token: Token(2), sounds: vec![tone(20)], looped: false });
    world.run_ms(100);
    assert!(!world.told().iter().any(|event| matches!(event, MediaEvent::PlayEnded { .. })));
}

/// Something done to a shard.
#[derive(Debug, Clone)]
enum Deed {
    Packet { leg: usize, datagram: Vec<u8> },
    Rtcp { leg: usize, datagram: Vec<u8> },
    Wait { ms: u64 },
    Bridge,
    Unbridge { leg: u64 },
    Mix,
    Play { leg: u64, on_ms: u32, looped: bool },
    Digits { leg: u64 },
    Secret { leg: u64, on: bool },
    Inband { leg: u64 },
    Close { leg: u64 },
}

fn deeds() -> impl Strategy<Value = Deed> {
    let payload = prop_oneof![Just(0u8), Just(101), Just(13), any::<u8>()];
    let shaped = (0..3usize, payload, any::<u16>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..200));
    prop_oneof![
        8 => shaped.prop_map(|(leg, pt, sequence, timestamp, payload)| Deed::Packet { leg, datagram: packet(pt, sequence, timestamp, &payload) }),
        2 => (0..3usize, prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(leg, datagram)| Deed::Packet { leg, datagram }),
        1 => (0..3usize, prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(leg, datagram)| Deed::Rtcp { leg, datagram }),
        4 => (0..400u64).prop_map(|ms| Deed::Wait { ms }),
        1 => Just(Deed::Bridge),
        1 => (0..4u64).prop_map(|leg| Deed::Unbridge { leg }),
        1 => Just(Deed::Mix),
        1 => (0..4u64, 0..100u32, any::<bool>()).prop_map(|(leg, on_ms, looped)| Deed::Play { leg, on_ms, looped }),
        1 => (0..4u64).prop_map(|leg| Deed::Digits { leg }),
        1 => (0..4u64, any::<bool>()).prop_map(|(leg, on)| Deed::Secret { leg, on }),
        1 => (0..4u64).prop_map(|leg| Deed::Inband { leg }),
        1 => (0..6u64).prop_map(|leg| Deed::Close { leg }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn nothing_that_comes_breaks_a_shard(deeds in prop::collection::vec(deeds(), 0..80)) {
        let mut world = World::new(3);
        for deed in deeds {
            let id = MediaLegId;
            match deed {
                Deed::Packet { leg, datagram } => world.hear(leg, datagram),
                Deed::Rtcp { leg, datagram } => {
                    let now = world.now();
                    world.shard.rtcp(leg as Slot, &datagram, peer(leg), now);
                }
                Deed::Wait { ms } => world.run_ms(ms),
                Deed::Bridge => world.command(MediaCommand::Bridge { a: id(0), b: id(1) }),
                Deed::Unbridge { leg } => world.command(MediaCommand::Unbridge { leg: id(leg) }),
                Deed::Mix => {
                    let legs = (0..3).map(|leg| MixLeg { leg: id(leg), heard_by: HeardBy::Everybody }).collect();
                    world.command(MediaCommand::Mix { legs });
                }
                Deed::Play { leg, on_ms, looped } => {
                    world.command(MediaCommand::Play { leg: id(leg), token: Token(1), sounds: vec![tone(on_ms)], looped });
                }
                Deed::Digits { leg } => world.command(MediaCommand::SendDigits { leg: id(leg), digits: "1#".into() }),
                Deed::Secret { leg, on } => world.command(MediaCommand::Secret { leg: id(leg), on }),
                Deed::Inband { leg } => world.command(MediaCommand::InbandDigits { leg: id(leg), on: true }),
                Deed::Close { leg } => world.command(MediaCommand::Close { leg: id(leg) }),
            }
        }
        world.run_ms(500);
        for leg in 0..3 {
            let ssrcs: std::collections::BTreeSet<u32> = world.sent(leg).iter().map(|(_, header)| header.ssrc).collect();
            prop_assert!(ssrcs.len() <= 1);
        }
    }
}
