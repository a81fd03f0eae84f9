//! Calls as ladders in virtual time: what went in on the left, what came out indented.

mod agents;
mod arranged;
mod ivr;
mod keys;
mod outbound;
mod protected;
mod reasons;
mod refer;
mod relay;
mod trouble;
mod voicemail;
mod walks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hotline_base::{AgentId, CommandId, ContactId, Lang, NodeId, OfferId, RecordingId, TenantId, Timestamp};
use hotline_rtp::api::{Codec, HeardBy, LegStats, MediaCommand, MediaEvent, MediaLegId, Security, Sound, Token};
use hotline_rtp::dtls::{DtlsRole, Fingerprint};
use hotline_session::sdp::CodecList;
use hotline_sip::api::{CallHandle, Command, Event, Path, Transport};
use hotline_wire::node::{
    Announcement, CallEvent, CallInput, Decision, Fallback, MediaScript, NodeAction, NodeCommand, Prompt, RingAgent,
    Verb,
};

use hotline_session::{
    Arrival, DecisionFailure, DialError, Dialed, LegSecret, Mission, Now, OfferedSecurity, OpenedLeg, Outbound, Output,
    Session, SessionConfig, SrtpPolicy, Target,
};
use hotline_wire::legs::{Arrangement, CallerMode, DialFailure, DialParty, DialogRef, LegMode};

const CALLER: CallHandle = CallHandle(1);
const OFFER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

/// A session with its surroundings.
struct World {
    session: Session,
    start: Instant,
    elapsed_ms: u64,
    lines: Vec<String>,
    /// The latest question.
    asked: Option<CallInput>,
    /// The token of the latest sounds of each leg.
    playing: Option<Token>,
    recording: Option<Token>,
    next_media: u64,
    next_call: u64,
    commands: u128,
    /// Addresses and numbers that were dialled.
    dialled: Vec<String>,
    /// Nobody can be dialled.
    no_route: bool,
    /// Ways to whoever is dialled.
    gateways: u32,
    /// What offers to whoever is dialled say of protection.
    offers: OfferedSecurity,
    /// Prompt objects do not come by themselves.
    slow_prompts: bool,
    over: bool,
    /// Every command to the media engine.
    sent: Vec<MediaCommand>,
}

fn config() -> SessionConfig {
    SessionConfig {
        node: NodeId::from_u128(1),
        host: "hotline".into(),
        company_after_ms: 2_000,
        load_ms: 3_000,
        fallback: Fallback { apology: vec![], music: tone(440), lang: Lang::En, give_up_ms: 60_000 },
        farewell_ms: 600_000,
        ring_at_once: true,
        own_hosts: vec!["hotline".into()],
        srtp: SrtpPolicy::Accept,
        codecs: CodecList::default(),
        fingerprint: Fingerprint([7; 32]),
        resume_ms: 40_000,
    }
}

fn tone(hz: u16) -> Prompt {
    Prompt::Tone { hz: vec![hz], on_ms: 1_000, off_ms: 0, times: 1, then: vec![] }
}

fn audio(key: &str) -> Prompt {
    Prompt::Audio { key: key.into() }
}

fn gather(prompt: &str, max_digits: u8) -> Verb {
    Verb::Gather {
        prompts: vec![audio(prompt)],
        max_digits,
        terminators: "#".into(),
        first_digit_ms: 5_000,
        next_digit_ms: 2_000,
        secret: false,
    }
}

fn hold() -> Verb {
    Verb::Hold {
        music: audio("music"),
        announce: vec![Announcement { every_ms: 20_000, prompts: vec![audio("wait")] }],
        keys: "9".into(),
    }
}

fn offer_id(n: u128) -> OfferId {
    OfferId::from_u128(n)
}

fn ring(n: u128) -> RingAgent {
    RingAgent {
        offer: offer_id(n),
        agent: AgentId::from_u128(n),
        sip_user: format!("agent{n}"),
        phone_node: NodeId::from_u128(1),
        ring_timeout_ms: 15_000,
        caller_label: "billing".to_string().into(),
        whisper: vec![],
        record: Some(RecordingId::from_u128(n)),
        phone_address: None,
        arrange: None,
        replaces: None,
        number: None,
    }
}

fn arrival(sdp: Option<&'static [u8]>) -> Arrival {
    Arrival {
        contact: ContactId::from_u128(7),
        call: CALLER,
        did: "+861".into(),
        from: "+8613800138000".into(),
        display_name: String::new(),
        sip_call_id: "x".into(),
        sdp: sdp.map(Bytes::from_static),
        dialog: None,
        diverted: None,
        takes_info: false,
        first_token: 100,
    }
}

impl World {
    fn new() -> Self {
        Self::with(Some(OFFER))
    }

    fn with(sdp: Option<&'static [u8]>) -> Self {
        let start = Instant::now();
        let now = Now { mono: start, wall: Timestamp::from_millis(1_000_000) };
        let session = Session::arrive(Arc::new(config()), now, arrival(sdp)).unwrap();
        Self::around(session, start, "INVITE")
    }

    /// A call that the node places.
    fn placing(mission: Mission, gateways: u32) -> Self {
        let start = Instant::now();
        let now = Now { mono: start, wall: Timestamp::from_millis(1_000_000) };
        let outbound = Outbound {
            contact: ContactId::from_u128(7),
            tenant: TenantId::from_u128(3),
            fallback: Fallback { apology: vec![], music: tone(440), lang: Lang::En, give_up_ms: 60_000 },
            seq: 40,
            first_token: 100,
            mission,
        };
        let session = Session::outbound(Arc::new(config()), now, outbound);
        let mut world = Self::around_unpolled(session, start, "dial");
        world.gateways = gateways;
        world.drain();
        world
    }

    fn around(session: Session, start: Instant, first: &str) -> Self {
        let mut world = Self::around_unpolled(session, start, first);
        world.drain();
        world
    }

    fn around_unpolled(session: Session, start: Instant, first: &str) -> Self {
        Self {
            session,
            start,
            elapsed_ms: 0,
            lines: vec![first.into()],
            asked: None,
            playing: None,
            recording: None,
            next_media: 1,
            next_call: 2,
            commands: 0,
            dialled: Vec::new(),
            no_route: false,
            gateways: 1,
            offers: OfferedSecurity::Plain,
            slow_prompts: false,
            over: false,
            sent: vec![],
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: self.start + Duration::from_millis(self.elapsed_ms),
            wall: Timestamp::from_millis(1_000_000 + self.elapsed_ms as i64),
        }
    }

    fn log(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, ms: u64) {
        let end = self.elapsed_ms + ms;
        let due = |world: &World| {
            let at = world.session.poll_timeout()?;
            let ms = at.saturating_duration_since(world.start).as_millis() as u64;
            (ms <= end).then_some(ms)
        };
        while let Some(at) = due(self) {
            self.elapsed_ms = self.elapsed_ms.max(at);
            let before = self.lines.len();
            self.session.handle_timeout(self.now());
            self.drain();
            if self.lines.len() > before {
                let time = format!("+{:.1}s", self.elapsed_ms as f64 / 1_000.0);
                self.lines.insert(before, time);
            }
        }
        self.elapsed_ms = end;
    }

    fn sip(&mut self, line: &str, event: Event) {
        self.log(line);
        self.session.handle_sip(self.now(), event);
        self.drain();
    }

    fn media(&mut self, line: &str, event: MediaEvent) {
        self.log(line);
        self.session.handle_media(self.now(), event);
        self.drain();
    }

    fn press(&mut self, digits: &str) {
        for digit in digits.chars() {
            let event = MediaEvent::Digit { leg: MediaLegId(1), digit, duration_ms: 100 };
            self.media(&format!("key {digit}"), event);
        }
    }

    fn played(&mut self) {
        let event = MediaEvent::PlayEnded { leg: MediaLegId(1), token: self.playing.unwrap() };
        self.media("played", event);
    }

    fn decide(&mut self, label: &str, script: Option<MediaScript>) {
        self.decide_with(label, script, None);
    }

    fn decide_with(&mut self, label: &str, script: Option<MediaScript>, fallback: Option<Fallback>) {
        let seq = self.asked.take().unwrap().seq;
        self.log(format!("decision {seq}: {label}"));
        let decision = Decision { tenant: TenantId::from_u128(3), label: label.into(), script, fallback, tap: None };
        self.session.decided(self.now(), seq, Ok(decision));
        self.drain();
    }

    fn fail_decision(&mut self) {
        let seq = self.asked.take().unwrap().seq;
        self.log(format!("decision {seq} fails"));
        let failure = DecisionFailure("away".into());
        self.session.decided(self.now(), seq, Err(failure));
        self.drain();
    }

    fn command(&mut self, line: &str, action: NodeAction) {
        self.commands += 1;
        let command = NodeCommand {
            id: CommandId::from_u128(self.commands),
            contact: ContactId::from_u128(7),
            expires: self.now().wall.plus_ms(5_000),
            action,
        };
        self.send(line, command);
    }

    fn send(&mut self, line: &str, command: NodeCommand) {
        self.log(line);
        self.session.command(self.now(), command);
        self.drain();
    }

    fn answered(&mut self, call: u64, law: u8) {
        let sdp = format!(
            "v=0\r\nc=IN IP4 192.0.2.20\r\nm=audio 6000 RTP/AVP {law} 101\r\na=rtpmap:101 telephone-event/8000\r\n"
        );
        let event = Event::Answered { call: CallHandle(call), sdp: Some(sdp.into()) };
        self.sip(&format!("call {call} 200"), event);
    }

    fn ringing(&mut self, call: u64) {
        let event = Event::Progressed { call: CallHandle(call), status: 180, sdp: None };
        self.sip(&format!("call {call} 180"), event);
    }

    fn refused(&mut self, call: u64, status: u16) {
        let event = Event::Failed { call: CallHandle(call), status, phrase: String::new(), reasons: vec![] };
        self.sip(&format!("call {call} {status}"), event);
    }

    /// An agent is rung and answers; what came before is forgotten.
    fn talking(&mut self, agent: RingAgent, call: u64) {
        self.command("ring", NodeAction::Ring(agent));
        self.answered(call, 8);
        self.decide("talk", None);
        self.forget();
    }

    fn bye(&mut self, call: u64) {
        let event = Event::Ended { call: CallHandle(call), by_peer: true, fault: None, reasons: vec![] };
        self.sip(&format!("call {call} BYE"), event);
    }

    /// Answers the session's questions to its shell and writes everything down.
    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            let now = self.now();
            match output {
                Output::Sip(command) => {
                    let line = sip_line(&command);
                    self.log(line);
                }
                Output::Media(command) => {
                    if let MediaCommand::Play { token, .. } = &command {
                        self.playing = Some(*token);
                    }
                    if let MediaCommand::StartRecording { token, .. } = &command {
                        self.recording = Some(*token);
                    }
                    let line = media_line(&command);
                    self.log(line);
                    self.sent.push(command);
                }
                Output::OpenMedia => {
                    let opened = self.open();
                    self.session.media_opened(now, Ok(opened));
                }
                Output::Dial { leg, attempt, .. } if self.no_route || attempt >= self.gateways => {
                    let error = DialError::NoRoute("agent".into());
                    self.session.dialed(now, leg, Err(error));
                }
                Output::Dial { leg, target, .. } => {
                    let replaces = match target {
                        Target::Agent { replaces, .. } => replaces,
                        Target::Dialog(dialog) => Some(dialog),
                        Target::Address(address) => {
                            self.dialled.push(address);
                            None
                        }
                    };
                    let dialed = Dialed { replaces, ..self.dialed() };
                    self.session.dialed(now, leg, Ok(dialed));
                }
                Output::Ask(input) => {
                    self.log(format!("    ask {}: {}", input.seq, event_line(&input.event)));
                    self.asked = Some(*input);
                }
                Output::Load(keys) => {
                    if !self.slow_prompts {
                        let sounds = keys
                            .into_iter()
                            .map(|key| {
                                let bytes: Option<Arc<[u8]>> =
                                    (!key.starts_with("missing")).then(|| key.as_bytes().into());
                                (key, bytes)
                            })
                            .collect();
                        self.session.loaded(now, sounds);
                    }
                }
                Output::Spooled { duration_ms, .. } => {
                    self.log(format!("    spooled {duration_ms} ms"));
                }
                Output::Note(_) => {}
                Output::Over => {
                    self.over = true;
                    self.log("    over");
                }
            }
        }
    }

    fn open(&mut self) -> OpenedLeg {
        let id = self.next_media;
        self.next_media += 1;
        let rtp = format!("192.0.2.1:{}", 20_000 + id * 2).parse().unwrap();
        OpenedLeg { id: MediaLegId(id), rtp, secret: LegSecret([id as u8; 32]) }
    }

    fn dialed(&mut self) -> Dialed {
        let call = CallHandle(self.next_call);
        self.next_call += 1;
        let address = "192.0.2.20:5060".parse().unwrap();
        Dialed {
            call,
            uri: "sip:agent@192.0.2.20".into(),
            path: Path { transport: Transport::Udp, local: address, remote: address, connection: 0 },
            from: None,
            codecs: vec![],
            headers: vec![],
            credentials: None,
            media: self.open(),
            security: self.offers,
            more: self.gateways > 1,
            replaces: None,
        }
    }

    fn ladder(&self) -> String {
        self.lines.join("\n")
    }

    /// Forgets what was written so far: a test looks at the rest.
    fn forget(&mut self) {
        self.lines.clear();
    }
}

/// Compares ladders line by line; white space at the start of the expectation's lines is its own.
fn expect(world: &World, expected: &str) {
    let got = world.ladder();
    let clean = |text: &str| {
        let lines: Vec<String> = text.lines().map(|l| l.trim().to_string()).collect();
        lines.join("\n").trim().to_string()
    };
    assert!(clean(&got) == clean(expected), "the ladder is\n\n{got}\n\nand not\n{expected}");
}

fn has(sdp: &Option<Bytes>) -> String {
    sdp.as_ref().map_or(String::new(), sdp_line)
}

fn sdp_line(sdp: &Bytes) -> String {
    let text = String::from_utf8_lossy(sdp);
    let media = text.lines().find(|l| l.starts_with("m=")).unwrap_or("?");
    let direction = ["sendonly", "recvonly", "inactive"]
        .iter()
        .find(|d| text.contains(*d))
        .map_or(String::new(), |d| format!(" {d}"));
    format!(" [{}{direction}]", media.trim_start_matches("m=audio "))
}

fn sip_line(command: &Command) -> String {
    let line = match command {
        Command::Progress { status, sdp, .. } => format!("{status}{}", has(sdp)),
        Command::Answer { sdp, .. } => format!("200{}", sdp_line(sdp)),
        Command::Refuse { status, headers, .. } => {
            let headers: Vec<String> = headers.iter().map(|(name, value)| format!(" {name}: {value}")).collect();
            format!("{status}{}", headers.concat())
        }
        Command::Invite { call, sdp, from, headers, .. } => {
            let headers: Vec<String> = headers.iter().map(|(name, value)| format!(" {name}: {value}")).collect();
            format!("call {}: INVITE {from}{}{}", call.0, has(sdp), headers.concat())
        }
        Command::Notify { call, status, last } => {
            format!("call {}: NOTIFY {status}{}", call.0, if *last { " last" } else { "" })
        }
        Command::Refer { call, refer_to } => format!("call {}: REFER {refer_to}", call.0),
        Command::Reoffer { call, sdp } => format!("call {}: reoffer{}", call.0, sdp_line(sdp)),
        Command::Hangup { call, status, reasons } => {
            let status = status.map_or(String::new(), |s| format!(" {s}"));
            // That a call is simply over goes without saying.
            let why: Vec<String> = match &reasons[..] {
                [only] if only.cause == 16 => vec![],
                all => all.iter().map(|r| format!(" ({:?} {} {})", r.protocol, r.cause, r.text)).collect(),
            };
            format!("call {}: hang up{status}{}", call.0, why.concat())
        }
        Command::AnswerReoffer { call, sdp } => format!("call {}: reanswer{}", call.0, has(sdp)),
        Command::Info { call, body, .. } => {
            format!("call {}: INFO {}", call.0, String::from_utf8_lossy(body).replace("\r\n", " ").trim_end())
        }
        Command::Reply { status, .. } => format!("reply {status}"),
        _ => "other".into(),
    };
    format!("    {line}")
}

fn sound(sound: &Sound) -> String {
    match sound {
        Sound::Mulaw(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Sound::Tone { hz, .. } => format!("{} Hz", hz[0]),
    }
}

fn media_line(command: &MediaCommand) -> String {
    let line = match command {
        MediaCommand::SetRemote { leg, remote } => format!(
            "media {}: {} {}{}{}",
            leg.0,
            remote.rtp,
            remote.format.codec.law().map_or(remote.format.codec.name().to_string(), |law| format!("{law:?}")),
            if remote.sends { "" } else { " mute" },
            if remote.receives { "" } else { " deaf" }
        ),
        MediaCommand::Secure { leg, security } => match security {
            Security::Plain => format!("media {}: plain", leg.0),
            Security::Keys(keys) => format!("media {}: {:?}", leg.0, keys.suite),
            Security::Dtls(peer) => {
                let role = if peer.role == DtlsRole::Server { "passive" } else { "active" };
                format!("media {}: dtls {role} with {}", leg.0, peer.remote.ufrag)
            }
        },
        MediaCommand::Play { leg, sounds, looped, .. } => {
            let sounds: Vec<String> = sounds.iter().map(sound).collect();
            let looped = if *looped { " looped" } else { "" };
            format!("media {}: play {}{looped}", leg.0, sounds.join(" + "))
        }
        MediaCommand::StopPlay { leg } => format!("media {}: stop", leg.0),
        MediaCommand::Bridge { a, b } => format!("bridge {} {}", a.0, b.0),
        MediaCommand::Unbridge { leg } => format!("unbridge {}", leg.0),
        MediaCommand::StartRecording { legs, .. } => match legs.right {
            Some(right) => format!("record {} {}", legs.left.0, right.0),
            None => format!("record {}", legs.left.0),
        },
        MediaCommand::StopRecording { .. } => "stop recording".into(),
        MediaCommand::PauseRecording { paused, .. } => format!("pause recording {paused}"),
        MediaCommand::RecordLeg { leg, channel, .. } => match channel {
            Some(channel) => format!("record media {} on {channel}", leg.0),
            None => format!("record no more media {}", leg.0),
        },
        MediaCommand::Mix { legs } => {
            let legs: Vec<String> = legs
                .iter()
                .map(|l| match l.heard_by {
                    HeardBy::Everybody => format!("{}", l.leg.0),
                    HeardBy::Nobody => format!("{} mute", l.leg.0),
                    HeardBy::Only(to) => format!("{} to {}", l.leg.0, to.0),
                })
                .collect();
            format!("mix {}", legs.join(", "))
        }
        MediaCommand::Tap { leg, direction, .. } => format!("media {}: tap {direction:?}", leg.0),
        MediaCommand::SendDigits { leg, digits } => format!("media {}: keys {digits}", leg.0),
        MediaCommand::Secret { leg, on } => format!("media {}: secret {on}", leg.0),
        MediaCommand::WatchQuiet { leg, for_ms } => format!("media {}: quiet {for_ms}", leg.0),
        MediaCommand::Close { leg } => format!("media {}: close", leg.0),
        other => format!("{other:?}"),
    };
    format!("    {line}")
}

/// What the other side said.
fn said(reasons: &[hotline_wire::reason::Reason]) -> String {
    let one = |r: &hotline_wire::reason::Reason| format!(" ({:?} {} {})", r.protocol, r.cause, r.text);
    reasons.iter().map(one).collect()
}

fn event_line(event: &CallEvent) -> String {
    match event {
        CallEvent::Arrived { .. } => "arrived".into(),
        CallEvent::ScriptEnded { label, result } => {
            let result = match result {
                hotline_wire::node::VerbResult::Digits { digits } => {
                    format!("digits {:?}", digits.expose())
                }
                hotline_wire::node::VerbResult::Recorded { duration_ms, .. } => {
                    format!("recorded {duration_ms} ms")
                }
                hotline_wire::node::VerbResult::Transferred { answered, reasons } => {
                    format!("transferred {answered}{}", said(reasons))
                }
                other => format!("{other:?}"),
            };
            format!("{label} ended: {result}")
        }
        CallEvent::OfferRinging { offer } => format!("offer {} rings", offer.as_u128()),
        CallEvent::OfferAnswered { offer, .. } => format!("offer {} answered", offer.as_u128()),
        CallEvent::OfferFailed { offer, reason, sip_status, reasons } => {
            format!("offer {} {reason:?} {sip_status:?}{}", offer.as_u128(), said(reasons))
        }
        CallEvent::AgentLegEnded { offer, cause, reasons } => {
            format!("agent {} ended: {cause:?}{}", offer.as_u128(), said(reasons))
        }
        CallEvent::CallEnded { cause, quality, reasons } => {
            let mut text = format!("call ended: {cause:?}");
            if let Some(quality) = quality {
                text.push_str(&format!(" mos {:.1}", quality.caller.mos));
                for agent in &quality.agents {
                    text.push_str(&format!(", agent {} mos {:.1}", agent.offer.as_u128(), agent.quality.mos));
                }
            }
            text.push_str(&said(reasons));
            text
        }
        CallEvent::RecordingEnded { .. } => "recording ended".into(),
        CallEvent::PartyRinging => "party rings".into(),
        CallEvent::PartyAnswered { .. } => "party answered".into(),
        CallEvent::PartyFailed { reason, sip_status, reasons } => {
            format!("party failed: {reason:?} {sip_status:?}{}", said(reasons))
        }
        CallEvent::Reanchored { dialog } => format!("reanchored as {}", dialog.sip_call_id),
        CallEvent::ReanchorFailed { sip_status } => format!("reanchor failed: {sip_status:?}"),
        CallEvent::TransferAsked { offer, target } => {
            format!("agent {} asks for {}", offer.as_u128(), target.expose())
        }
        CallEvent::SoundChanged { offer, band, quality } => {
            let who = offer.map_or("caller".into(), |offer| format!("agent {}", offer.as_u128()));
            format!("{who} sounds {band:?}: {} of {} lost", quality.lost, quality.packets + quality.lost)
        }
        CallEvent::EmergencyCalled { number, gateway } => format!("{} is called by {gateway}", number.expose()),
    }
}

/// An answered call whose script is `verbs`; what came before is forgotten.
fn in_script(verbs: MediaScript) -> World {
    let mut world = World::new();
    let mut script = vec![Verb::Answer];
    script.extend(verbs);
    world.decide("s", Some(script));
    world.forget();
    world
}
