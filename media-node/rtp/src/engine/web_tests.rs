//! Browsers at a shard, in virtual time: checks, the handshake, packets, reloads, and strangers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::leg::Latch;
use super::shard_tests::{IDENTITY, World, packet};
use crate::api::*;
use crate::dtls::{Association, DtlsPeer, DtlsRole, Fingerprint, Identity};
use crate::ice::{self, IceCredentials};
use crate::packet::{HEADER_LEN, Header};
use crate::srtp::{RTP_OVERHEAD, Srtp};

/// Leg 0 is the browser's, leg 1 a telephone's.
const LEG: MediaLegId = MediaLegId(0);

struct Browser {
    identity: Identity,
    local: IceCredentials,
    node: IceCredentials,
    association: Association,
    srtp: Option<Srtp>,
    address: SocketAddr,
    epoch: Instant,
    checks: u8,
    /// Datagrams of the node that were looked at.
    seen: usize,
    mapped: Option<SocketAddr>,
    sequence: u16,
}

fn node() -> IceCredentials {
    IceCredentials::derive(b"node", 0)
}

impl Browser {
    fn new(name: &str, address: &str, role: DtlsRole) -> Self {
        let identity = Identity::make().unwrap();
        let epoch = Instant::now();
        let association = Association::new(&identity, role, IDENTITY.fingerprint(), epoch);
        Self {
            association,
            identity,
            local: IceCredentials::derive(name.as_bytes(), 0),
            node: node(),
            srtp: None,
            address: address.parse().unwrap(),
            epoch,
            checks: 0,
            seen: 0,
            mapped: None,
            sequence: 100,
        }
    }

    /// What the node is told of it.
    fn peer(&self, role: DtlsRole) -> Security {
        Security::Dtls(Box::new(DtlsPeer {
            local: self.node.clone(),
            remote: self.local.clone(),
            fingerprint: self.identity.fingerprint(),
            role,
        }))
    }

    fn check(&mut self, world: &mut World, nominate: bool) {
        self.checks += 1;
        let mut request = ice::request([self.checks; 12], &self.local, &self.node, nominate);
        world.shard.rtp(0, &mut request, Some(self.address), world.now());
    }

    fn say(&mut self, world: &mut World, byte: u8) {
        self.sequence += 1;
        let plain = packet(0, self.sequence, u32::from(self.sequence) * 160, &[byte; 160]);
        let mut secret = [&plain[..], &[0; RTP_OVERHEAD]].concat();
        if let Some(srtp) = &mut self.srtp {
            let length = srtp.protect_rtp(&mut secret, plain.len()).unwrap();
            world.shard.rtp(0, &mut secret[..length], Some(self.address), world.now());
        }
    }

    /// Reads what the node sent; the first payload bytes of audio.
    fn read(&mut self, world: &mut World) -> Vec<u8> {
        let fresh: Vec<Vec<u8>> = world.rtp[0].borrow().iter().skip(self.seen).map(|(_, d)| d.clone()).collect();
        self.seen += fresh.len();
        let at = self.epoch + Duration::from_micros(world.now());
        let (mut heard, mut replies) = (Vec::new(), Vec::new());
        for mut datagram in fresh {
            if ice::is_stun(&datagram) {
                self.mapped = self.mapped.or(ice::answered(&datagram, [self.checks; 12], &self.node));
            } else if ice::is_dtls(&datagram) {
                let keys = self.association.receive(&datagram, at, |bytes| replies.push(bytes.to_vec())).unwrap();
                if let Some(keys) = keys {
                    self.srtp = Some(Srtp::new(&keys));
                }
            } else if let Some(srtp) = &mut self.srtp
                && let Ok(length) = srtp.unprotect_rtp(&mut datagram)
                && Header::read(&datagram[..length]).is_some()
            {
                heard.push(datagram[HEADER_LEN]);
            }
        }
        let keys = self.association.pass(at, |bytes| replies.push(bytes.to_vec())).unwrap();
        if let Some(keys) = keys {
            self.srtp = Some(Srtp::new(&keys));
        }
        for mut reply in replies {
            world.shard.rtp(0, &mut reply, Some(self.address), world.now());
        }
        heard
    }

    /// Runs until the handshake is over; how many frames were heard meanwhile.
    fn connect(&mut self, world: &mut World) -> usize {
        let mut heard = 0;
        for turn in 0..40 {
            if turn % 20 == 0 {
                self.check(world, true);
            }
            heard += self.read(world).len();
            world.run_ms(20);
        }
        assert!(self.srtp.is_some(), "no handshake");
        heard
    }
}

fn secured(role: DtlsRole) -> (World, Browser) {
    let mut world = World::new(2);
    let theirs = if role == DtlsRole::Server { DtlsRole::Client } else { DtlsRole::Server };
    let mut browser = Browser::new("browser", "198.51.100.7:40000", theirs);
    world.command(MediaCommand::Secure { leg: LEG, security: browser.peer(role) });
    browser.connect(&mut world);
    assert_eq!(browser.mapped, Some(browser.address));
    let told = world.told();
    assert!(told.contains(&MediaEvent::Latched { leg: LEG, from: browser.address }), "{told:?}");
    assert_eq!(told.iter().filter(|e| **e == MediaEvent::Secured { leg: LEG }).count(), 1, "{told:?}");
    assert_eq!(world.shard.handshakes, 0);
    (world, browser)
}

fn heard(world: &World, leg: usize) -> Vec<u8> {
    world.rtp[leg].borrow().iter().map(|(_, datagram)| datagram[HEADER_LEN]).collect()
}

#[test]
fn a_browser_is_found_secured_and_joined_whoever_begins() {
    for role in [DtlsRole::Server, DtlsRole::Client] {
        let (mut world, mut browser) = secured(role);
        world.command(MediaCommand::Bridge { a: LEG, b: MediaLegId(1) });
        for byte in 1..=5 {
            browser.say(&mut world, byte);
            world.hear(1, packet(0, u16::from(byte), u32::from(byte) * 160, &[0x80 + byte; 160]));
        }
        assert_eq!(heard(&world, 1), [1, 2, 3, 4, 5]);
        assert_eq!(browser.read(&mut world), [0x81, 0x82, 0x83, 0x84, 0x85]);
        // Reports come by the same port.
        world.run_ms(5_200);
        assert!(world.rtcp[0].borrow().is_empty());
        let reports =
            world.rtp[0].borrow().iter().filter(|(_, d)| d[0] >> 6 == 2 && (200..=201).contains(&d[1])).count();
        assert!(reports >= 1);
    }
}

#[test]
fn a_prompt_waits_for_the_handshake() {
    let mut world = World::new(1);
    let mut browser = Browser::new("browser", "198.51.100.7:40000", DtlsRole::Client);
    world.command(MediaCommand::Secure { leg: LEG, security: browser.peer(DtlsRole::Server) });
    let sounds = vec![Sound::Tone { hz: [440, 0], on_ms: 200, off_ms: 0, times: 1 }];
    world.command(MediaCommand::Play { leg: LEG, token: Token(1), sounds, looped: false });
    world.run_ms(1_000);
    assert!(world.told().is_empty() && world.rtp[0].borrow().is_empty());
    let mut frames = browser.connect(&mut world);
    for _ in 0..30 {
        world.run_ms(20);
        frames += browser.read(&mut world).len();
    }
    assert!(world.told().contains(&MediaEvent::PlayEnded { leg: LEG, token: Token(1) }));
    assert_eq!(frames, 10, "all of it");
}

#[test]
fn strangers_and_copies_move_nothing() {
    let (mut world, mut browser) = secured(DtlsRole::Server);
    world.command(MediaCommand::Bridge { a: LEG, b: MediaLegId(1) });
    let elsewhere: SocketAddr = "203.0.113.66:666".parse().unwrap();
    let sent = world.rtp[0].borrow().len();
    let before = world.shard.counters.rejected;
    // A check with wrong credentials, noise, a handshake and a packet from elsewhere.
    let stranger = IceCredentials::derive(b"stranger", 0);
    let mut wrong = ice::request([9; 12], &stranger, &node(), true);
    world.shard.rtp(0, &mut wrong, Some(elsewhere), world.now());
    let mut guessed = ice::request([9; 12], &browser.local, &stranger, true);
    world.shard.rtp(0, &mut guessed, Some(elsewhere), world.now());
    for mut noise in [vec![], vec![0], vec![22; 60], vec![0x80, 0, 1, 2], vec![255; 200]] {
        world.shard.rtp(0, &mut noise, Some(elsewhere), world.now());
    }
    assert_eq!(world.shard.counters.rejected, before + 7);
    assert_eq!(world.rtp[0].borrow().len(), sent, "nobody is answered");
    // A copy of a right check, sent from elsewhere.
    let mut copy = ice::request([browser.checks; 12], &browser.local, &node(), true);
    world.shard.rtp(0, &mut copy, Some(elsewhere), world.now());
    assert!(matches!(world.shard.leg(0).unwrap().latch, Latch::Settled { from, .. } if from == browser.address));
    // Without nomination an address is answered and not used.
    let home = browser.address;
    browser.address = "198.51.100.8:50000".parse().unwrap();
    browser.check(&mut world, false);
    assert_eq!(world.rtp[0].borrow().len(), sent + 1);
    assert!(matches!(world.shard.leg(0).unwrap().latch, Latch::Settled { from, .. } if from == home));
    // With it the browser has moved: its packets count from there, and only from there.
    browser.check(&mut world, true);
    browser.say(&mut world, 7);
    let moved = browser.address;
    browser.address = home;
    browser.say(&mut world, 8);
    assert_eq!(heard(&world, 1), [7]);
    assert!(matches!(world.shard.leg(0).unwrap().latch, Latch::Settled { from, .. } if from == moved));
}

#[test]
fn without_a_handshake_or_with_a_wrong_certificate_it_fails() {
    let mut world = World::new(1);
    let browser = Browser::new("browser", "198.51.100.7:40000", DtlsRole::Client);
    world.command(MediaCommand::Secure { leg: LEG, security: browser.peer(DtlsRole::Server) });
    assert_eq!(world.shard.handshakes, 1);
    world.run_ms(10_200);
    let failed = |why| MediaEvent::SecureFailed { leg: LEG, why };
    assert!(world.told().contains(&failed(SecureFailure::TimedOut)));
    assert_eq!(world.shard.handshakes, 0);

    let mut world = World::new(1);
    let mut browser = Browser::new("browser", "198.51.100.7:40000", DtlsRole::Client);
    let Security::Dtls(mut peer) = browser.peer(DtlsRole::Server) else { unreachable!() };
    peer.fingerprint = Fingerprint([1; 32]);
    world.command(MediaCommand::Secure { leg: LEG, security: Security::Dtls(peer) });
    for turn in 0..20 {
        if turn == 0 {
            browser.check(&mut world, true);
        }
        browser.read(&mut world);
        world.run_ms(20);
    }
    assert!(world.told().contains(&failed(SecureFailure::WrongCertificate)));
    assert_eq!(world.shard.handshakes, 0);
    assert!(world.shard.leg(0).unwrap().shield.as_ref().unwrap().srtp.is_none());
    world.command(MediaCommand::Close { leg: LEG });
    assert_eq!(world.shard.handshakes, 0);
}

#[test]
fn an_ice_restart_keeps_the_keys_and_a_reload_makes_new_ones() {
    let (mut world, mut browser) = secured(DtlsRole::Server);
    world.command(MediaCommand::Bridge { a: LEG, b: MediaLegId(1) });
    // The same browser with other credentials, from elsewhere.
    browser.local = IceCredentials::derive(b"browser", 1);
    browser.node = IceCredentials::derive(b"node", 1);
    browser.address = "198.51.100.7:41000".parse().unwrap();
    world.command(MediaCommand::Secure { leg: LEG, security: browser.peer(DtlsRole::Server) });
    browser.say(&mut world, 1);
    browser.check(&mut world, true);
    browser.say(&mut world, 2);
    assert_eq!(heard(&world, 1), [2]);
    assert!(!world.told().iter().any(|e| matches!(e, MediaEvent::Secured { .. })));
    // It is loaded again: another certificate, source and address.
    let mut again = Browser::new("again", "198.51.100.7:42000", DtlsRole::Client);
    again.seen = world.rtp[0].borrow().len();
    again.sequence = 60_000;
    world.command(MediaCommand::Secure { leg: LEG, security: again.peer(DtlsRole::Server) });
    browser.say(&mut world, 3);
    again.connect(&mut world);
    assert!(world.told().contains(&MediaEvent::Secured { leg: LEG }));
    again.say(&mut world, 4);
    browser.say(&mut world, 5);
    assert_eq!(heard(&world, 1), [2, 4]);
    world.hear(1, packet(0, 1, 160, &[0x91; 160]));
    assert_eq!(again.read(&mut world), [0x91]);
}

#[test]
fn a_browser_that_is_gone_is_away_and_nothing_is_sent_to_it() {
    let (mut world, mut browser) = secured(DtlsRole::Server);
    world.command(MediaCommand::Bridge { a: LEG, b: MediaLegId(1) });
    let away = |away| MediaEvent::Away { leg: LEG, away };
    for _ in 0..10 {
        world.run_ms(2_500);
        browser.check(&mut world, true);
    }
    assert!(!world.told().iter().any(|e| matches!(e, MediaEvent::Away { .. })), "checks are enough");
    world.run_ms(6_300);
    assert!(world.told().contains(&away(true)));
    browser.check(&mut world, true);
    world.run_ms(200);
    assert!(world.told().contains(&away(false)));
    world.run_ms(30_500);
    browser.seen = world.rtp[0].borrow().len();
    world.hear(1, packet(0, 1, 160, &[0x91; 160]));
    assert_eq!(world.rtp[0].borrow().len(), browser.seen, "without consent nothing is sent");
    browser.check(&mut world, true);
    world.hear(1, packet(0, 2, 320, &[0x92; 160]));
    assert_eq!(browser.read(&mut world), [0x92]);
}
