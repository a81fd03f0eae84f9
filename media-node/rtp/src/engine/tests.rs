//! The engine on loopback: real sockets, real threads, audio recognised by its frequency.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::api::{HeardBy, Law, LegStats, MediaEvent, MixLeg, Remote, Sound, Token};
use crate::goertzel::power_share;
use crate::packet::{HEADER_LEN, Header, Patch};
use crate::spool::tests::Scratch;
use crate::tone::Tone;

/// No wait in these tests lasts so long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct World {
    pub(super) engine: Option<MediaEngine>,
    pub(super) events: EventReceiver,
    pub(super) woken: mpsc::Receiver<()>,
    pub(super) seen: Vec<MediaEvent>,
    pub(super) scratch: Scratch,
}

impl World {
    pub(super) fn new(first: u16, change: impl FnOnce(&mut MediaConfig)) -> World {
        let scratch = Scratch::new();
        let (wake, woken) = mpsc::channel();
        let (sender, events) = event_queue(1_000, move || {
            let _ = wake.send(());
        });
        let mut config = MediaConfig {
            ports: PortRange { first, last: first + 199 },
            spool_dir: scratch.0.clone(),
            spool_min_free_bytes: 0,
            stats_interval_ms: 500,
            ..MediaConfig::default()
        };
        change(&mut config);
        World {
            engine: Some(MediaEngine::start(config, vec![sender]).unwrap()),
            events,
            woken,
            seen: Vec::new(),
            scratch,
        }
    }

    pub(super) fn handle(&self) -> MediaHandle {
        self.engine.as_ref().unwrap().handle()
    }

    pub(super) fn send(&self, command: MediaCommand) {
        self.handle().send(command).unwrap();
    }

    /// Waits until all commands so far are carried out.
    pub(super) fn settle(&mut self) {
        let leg = self.handle().open_leg(CallKey(0), 0).unwrap().leg;
        self.send(MediaCommand::Close { leg });
        self.wait(|event| matches!(event, MediaEvent::Stats { leg: closed, .. } if *closed == leg));
    }

    /// Waits until an event fits.
    pub(super) fn wait(&mut self, fits: impl Fn(&MediaEvent) -> bool) -> MediaEvent {
        let until = std::time::Instant::now() + 4 * PATIENCE;
        loop {
            if let Some(index) = self.seen.iter().position(&fits) {
                return self.seen.remove(index);
            }
            assert!(std::time::Instant::now() < until, "only {:?}", self.seen);
            self.woken.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("only {:?}", self.seen));
            self.events.drain(&mut self.seen);
        }
    }

    pub(super) fn phone(&self, call: u64, law: Law, dtmf_pt: Option<u8>) -> Phone {
        let opened = self.handle().open_leg(CallKey(call), 0).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(opened.rtp).unwrap();
        let phone = Phone {
            socket,
            leg: opened.leg,
            law,
            dtmf_pt,
            sequence: 65_500,
            timestamp: 4_294_960_000,
            ssrc: call as u32 + opened.rtp.port() as u32,
        };
        self.send(MediaCommand::SetRemote { leg: phone.leg, remote: phone.remote() });
        phone
    }
}

/// A peer with a socket of its own.
pub(super) struct Phone {
    pub(super) socket: UdpSocket,
    pub(super) leg: MediaLegId,
    pub(super) law: Law,
    pub(super) dtmf_pt: Option<u8>,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
}

impl Phone {
    pub(super) fn remote(&self) -> Remote {
        let rtp = self.socket.local_addr().unwrap();
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port().wrapping_add(1).max(1));
        Remote {
            rtp,
            rtcp,
            format: self.law.into(),
            dtmf_pt: self.dtmf_pt,
            dtmf_khz: 8,
            receives: true,
            sends: true,
            relatch: false,
        }
    }

    pub(super) fn packet(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = vec![0; HEADER_LEN];
        let patch = Patch { payload_type, marker, sequence: self.sequence, timestamp, ssrc: self.ssrc };
        patch.write((&mut packet[..]).try_into().unwrap());
        packet.extend_from_slice(payload);
        self.socket.send(&packet).unwrap();
    }

    /// Sends 20 ms of a tone.
    pub(super) fn speak(&mut self, tone: &mut Tone) {
        let mut frame = [0; 160];
        tone.fill(&mut frame, self.law);
        self.packet(self.law.payload_type(), false, self.timestamp, &frame);
        self.timestamp = self.timestamp.wrapping_add(160);
    }

    /// A key as a phone sends it: 80 ms, three ends.
    pub(super) fn press(&mut self, event: u8) {
        let (pt, timestamp) = (self.dtmf_pt.unwrap(), self.timestamp);
        for step in 1..=7u16 {
            let flags = if step > 4 { 0x8A } else { 0x0A };
            let [high, low] = (160 * step.min(4)).to_be_bytes();
            self.packet(pt, step == 1, timestamp, &[event, flags, high, low]);
        }
        self.timestamp = timestamp.wrapping_add(640);
    }

    pub(super) fn hear(&self) -> (Header, Vec<u8>) {
        let mut buffer = [0; 2_048];
        let length = self.socket.recv(&mut buffer).expect("nothing to hear");
        let header = Header::read(&buffer[..length]).unwrap();
        let payload = buffer[header.payload_start..header.payload_end].to_vec();
        (header, payload)
    }

    /// Listens until this frequency dominates 100 ms; checks that it is one stream throughout.
    pub(super) fn hears(&self, hz: f32) {
        let (mut samples, mut last) = (Vec::new(), None::<Header>);
        for _ in 0..2_000 {
            let (header, payload) = self.hear();
            if let Some(last) = last {
                assert_eq!(header.ssrc, last.ssrc);
                assert!(header.sequence.wrapping_sub(last.sequence) < 100, "{last:?} {header:?}");
                assert!(header.timestamp.wrapping_sub(last.timestamp) < 80_000, "{last:?} {header:?}");
            }
            assert_eq!(header.payload_type, self.law.payload_type());
            last = Some(header);
            samples.extend(payload.iter().map(|byte| f32::from(self.law.decode(*byte))));
            let tail = samples.len().saturating_sub(800);
            if tail > 0 && power_share(&samples[tail..], hz) > 0.9 {
                return;
            }
        }
        panic!("{hz} Hz was not heard");
    }
}

pub(super) fn tone(hz: u16) -> Tone {
    Tone::new([hz, 0], 3_600_000, 0, 1)
}

pub(super) fn sound(hz: u16, on_ms: u32) -> Sound {
    Sound::Tone { hz: [hz, 0], on_ms, off_ms: 0, times: 1 }
}

/// Both phones speak in step until the other side has been heard.
pub(super) fn talk(a: &mut Phone, b: &mut Phone, frames: usize) {
    let (mut low, mut high) = (tone(440), tone(880));
    for _ in 0..frames {
        a.speak(&mut low);
        b.speak(&mut high);
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_prompt_a_bridge_and_a_prompt_are_one_stream() {
    let mut world = World::new(31_000, |_| {});
    let (mut caller, mut agent) = (world.phone(1, Law::Mu, Some(101)), world.phone(1, Law::A, Some(96)));
    world.send(MediaCommand::Play {
        leg: caller.leg,
        token: Token(1),
        sounds: vec![sound(600, 200), sound(700, 200)],
        looped: false,
    });
    caller.hears(600.0);
    caller.hears(700.0);
    world.wait(|event| *event == MediaEvent::PlayEnded { leg: caller.leg, token: Token(1) });
    world.send(MediaCommand::Bridge { a: caller.leg, b: agent.leg });
    world.settle();
    talk(&mut caller, &mut agent, 60);
    caller.hears(880.0);
    agent.hears(440.0);
    let latched = caller.socket.local_addr().unwrap();
    world.wait(|event| *event == MediaEvent::Latched { leg: caller.leg, from: latched });
    world.send(MediaCommand::Play { leg: caller.leg, token: Token(2), sounds: vec![sound(500, 100)], looped: true });
    caller.hears(500.0);
    world.send(MediaCommand::StopPlay { leg: caller.leg });
    talk(&mut caller, &mut agent, 60);
    caller.hears(880.0);
    world.send(MediaCommand::Close { leg: caller.leg });
    let MediaEvent::Stats { stats: LegStats { packets, lost, sent, mos, .. }, .. } =
        world.wait(|event| matches!(event, MediaEvent::Stats { leg, last: true, .. } if *leg == caller.leg))
    else {
        panic!("no statistics")
    };
    assert_eq!((packets, lost), (120, 0));
    assert!(sent > 100 && mos > 4.0, "{sent} {mos}");
    world.send(MediaCommand::Close { leg: agent.leg });
    world.wait(|event| matches!(event, MediaEvent::Stats { leg, last: true, .. } if *leg == agent.leg));
    let metrics = world.handle().metrics();
    assert!(metrics.packets_received >= 240 && metrics.send_failures == 0, "{metrics:?}");
}

#[test]
fn digits_are_told_once_and_reach_the_peer_with_its_payload_type() {
    let mut world = World::new(31_200, |_| {});
    let (mut caller, agent) = (world.phone(1, Law::Mu, Some(101)), world.phone(1, Law::Mu, Some(96)));
    world.send(MediaCommand::Bridge { a: caller.leg, b: agent.leg });
    world.settle();
    for event in [1, 11] {
        caller.press(event);
    }
    let mut codes = Vec::new();
    while codes.len() < 14 {
        let (header, payload) = agent.hear();
        assert_eq!(header.payload_type, 96);
        codes.push(payload[0]);
    }
    assert_eq!(codes, [vec![1; 7], vec![11; 7]].concat());
    for digit in ['1', '#'] {
        world.wait(|event| *event == MediaEvent::Digit { leg: caller.leg, digit, duration_ms: 80 });
    }
    // A secret digit is told but not relayed; the next open one arrives.
    world.send(MediaCommand::Secret { leg: caller.leg, on: true });
    world.send(MediaCommand::SendDigits { leg: caller.leg, digits: "5".into() });
    while caller.hear().0.payload_type != 101 {}
    caller.press(4);
    world.wait(|event| matches!(event, MediaEvent::Digit { digit: '4', .. }));
    world.send(MediaCommand::Secret { leg: caller.leg, on: false });
    world.send(MediaCommand::SendDigits { leg: caller.leg, digits: "6".into() });
    while caller.hear().1[0] != 6 {}
    caller.press(7);
    assert_eq!(agent.hear().1[0], 7);
}

#[test]
fn keys_cross_between_a_phone_with_and_one_without_telephone_events() {
    let mut world = World::new(31_400, |_| {});
    let (mut modern, mut old) = (world.phone(1, Law::Mu, Some(101)), world.phone(1, Law::A, None));
    world.send(MediaCommand::Bridge { a: modern.leg, b: old.leg });
    world.settle();
    modern.press(8);
    let (mut row, mut heard) = (0, Vec::new());
    while row < 3 {
        heard.extend(old.hear().1.iter().map(|byte| f32::from(Law::A.decode(*byte))));
        let tail = &heard[heard.len() - 160..];
        row += usize::from(power_share(tail, 852.0) > 0.3 && power_share(tail, 1_336.0) > 0.3);
    }
    world.wait(|event| matches!(event, MediaEvent::Digit { digit: '8', .. }));
    let mut keys = Tone::new([770, 1_477], 100, 100, 1);
    for _ in 0..10 {
        old.speak(&mut keys);
    }
    world.wait(|event| matches!(event, MediaEvent::Digit { leg, digit: '6', .. } if *leg == old.leg));
}

#[test]
fn strangers_are_neither_relayed_nor_believed() {
    let mut world = World::new(31_600, |_| {});
    let (mut caller, mut agent) = (world.phone(1, Law::Mu, None), world.phone(1, Law::Mu, None));
    world.send(MediaCommand::Bridge { a: caller.leg, b: agent.leg });
    world.settle();
    let target = caller.socket.peer_addr().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tone_a = tone(440);
    caller.speak(&mut tone_a);
    agent.hear();
    for index in 0..50u16 {
        let mut packet = [0x55; 172];
        Patch { payload_type: 0, marker: false, sequence: index, timestamp: 0, ssrc: 9 }
            .write((&mut packet[..12]).try_into().unwrap());
        stranger.send_to(&packet, target).unwrap();
    }
    for _ in 0..50 {
        caller.speak(&mut tone_a);
    }
    agent.hears(440.0);
    let mut tone_b = tone(880);
    for _ in 0..10 {
        agent.speak(&mut tone_b);
    }
    caller.hears(880.0);
    world.send(MediaCommand::Close { leg: caller.leg });
    // The kernel may drop some of a burst on a busy machine; none of the stranger's may count.
    world.wait(|event| matches!(event, MediaEvent::Stats { leg, last: true, stats } if *leg == caller.leg && stats.packets <= 51));
    // A new offer with another address is believed.
    let moved = UdpSocket::bind("127.0.0.1:0").unwrap();
    moved.set_read_timeout(Some(PATIENCE)).unwrap();
    moved.connect(agent.socket.peer_addr().unwrap()).unwrap();
    agent.socket = moved;
    world.send(MediaCommand::SetRemote { leg: agent.leg, remote: agent.remote() });
    world.send(MediaCommand::Play { leg: agent.leg, token: Token(1), sounds: vec![sound(700, 400)], looped: false });
    agent.hears(700.0);
    agent.speak(&mut tone_b);
    let at = agent.socket.local_addr().unwrap();
    world.wait(|event| *event == MediaEvent::Latched { leg: agent.leg, from: at });
}

#[test]
fn three_hear_each_other_and_a_whisper_reaches_one() {
    let mut world = World::new(32_400, |_| {});
    let mut phones = [world.phone(1, Law::Mu, None), world.phone(1, Law::A, None), world.phone(1, Law::Mu, None)];
    let [caller, agent, supervisor] = [phones[0].leg, phones[1].leg, phones[2].leg];
    let party = |leg, heard_by| MixLeg { leg, heard_by };
    world.send(MediaCommand::Mix {
        legs: vec![
            party(caller, HeardBy::Everybody),
            party(agent, HeardBy::Everybody),
            party(supervisor, HeardBy::Only(agent)),
        ],
    });
    world.settle();
    let mut tones = [tone(440), tone(880), tone(1_300)];
    let mut heard = vec![Vec::new(); 3];
    for _ in 0..60 {
        for (phone, tone) in phones.iter_mut().zip(&mut tones) {
            phone.speak(tone);
        }
        for (phone, heard) in phones.iter().zip(&mut heard) {
            heard.extend(phone.hear().1.iter().map(|byte| f32::from(phone.law.decode(*byte))));
        }
    }
    let share = |index: usize, hz| power_share(&heard[index][4_000..], hz);
    assert!(share(0, 880.0) > 0.9 && share(0, 440.0) < 0.01 && share(0, 1_300.0) < 0.01);
    assert!(share(1, 440.0) > 0.4 && share(1, 1_300.0) > 0.4);
    assert!(share(2, 440.0) > 0.4 && share(2, 880.0) > 0.4 && share(2, 1_300.0) < 0.01);
    // Back to a bridge.
    world.send(MediaCommand::Bridge { a: caller, b: agent });
    world.settle();
    let [first, second, _] = &mut phones;
    talk(first, second, 30);
    first.hears(880.0);
}

#[test]
fn ports_are_bounded_rest_and_come_back() {
    let mut world = World::new(32_600, |config| {
        config.ports = PortRange { first: 32_600, last: 32_603 };
        config.port_quarantine_ms = 0;
    });
    let handle = world.handle();
    let legs: Vec<_> = (0..2).map(|call| handle.open_leg(CallKey(call), 0).unwrap()).collect();
    assert!(matches!(handle.open_leg(CallKey(9), 0), Err(MediaError::NoPort { in_use: 2, .. })));
    assert!(matches!(handle.open_leg(CallKey(9), 5), Err(MediaError::Config { field: "sink", .. })));
    world.send(MediaCommand::Close { leg: legs[0].leg });
    world.wait(|event| matches!(event, MediaEvent::Stats { last: true, .. }));
    // The port is given back right after the event.
    let until = Instant::now() + PATIENCE;
    let again = loop {
        match handle.open_leg(CallKey(3), 0) {
            Ok(opened) => break opened,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        std::thread::yield_now();
    };
    assert_eq!(again.rtp, legs[0].rtp);
    assert_ne!(again.leg, legs[0].leg);
    assert_eq!(again.rtcp.port(), again.rtp.port() + 1);
    assert!(matches!(handle.send(MediaCommand::StopPlay { leg: MediaLegId(77 << 56) }), Err(MediaError::UnknownLeg)));
    drop(world.engine.take());
    assert!(matches!(handle.open_leg(CallKey(1), 0), Err(MediaError::Stopped)));
}

#[test]
fn wrong_settings_are_named() {
    let config =
        MediaConfig { threads: 0, ports: PortRange { first: 5, last: 4 }, max_legs: 0, ..MediaConfig::default() };
    let told: Vec<String> = config.problems().iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3);
    for (problem, field) in told.iter().zip(["threads", "ports", "max_legs"]) {
        assert!(problem.starts_with(field), "{problem}");
    }
    let unusable = MediaConfig { spool_dir: Path::new("/dev/null/spool").into(), ..MediaConfig::default() };
    let (sender, _events) = event_queue(1, || {});
    assert!(MediaEngine::start(unusable, vec![sender]).unwrap_err().to_string().starts_with("spool_dir"));
}
