//! The phone's task: two sockets, one endpoint, one call.

use bytes::Bytes;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use hotline_sip::api::{CallHandle, Command, Credentials, Event, Invite, Output, Path};
use hotline_sip::{Endpoint, EndpointConfig, Reason};

use crate::config::PhoneConfig;
use crate::media::{Heard, Speaker};
use crate::phone::{Ask, PhoneError, PhoneEvent, Shared, lock};
use crate::sdp::{self, Agreed};
use crate::wire::{Came, Wire};

/// One call.
struct Call {
    handle: CallHandle,
    incoming: bool,
    up: bool,
    /// The peer's offer, of an incoming call.
    offer: Option<Bytes>,
    agreed: Option<Agreed>,
    /// Where sound really comes from: the first source, for peers that do not know their address.
    source: Option<SocketAddr>,
    /// When sound began: the zero of the recording.
    began: Option<Instant>,
    speaker: Speaker,
    held: bool,
    digits_sent: Option<oneshot::Sender<()>>,
    answer_at: Option<Instant>,
}

/// Everything the task owns.
pub(crate) struct Shell {
    config: PhoneConfig,
    endpoint: Endpoint,
    wire: Wire,
    rtp: UdpSocket,
    local: SocketAddr,
    rtp_local: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    report: mpsc::Sender<PhoneEvent>,
    started: Instant,
    registration: Option<CallHandle>,
    call: Option<Call>,
    sdp_version: u64,
}

fn random() -> u64 {
    // The standard library seeds it from the operating system.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u8(0);
    hasher.finish()
}

/// The status in a `message/sipfrag`.
fn fragment_status(body: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(body).ok()?;
    text.strip_prefix("SIP/2.0 ")?.split_whitespace().next()?.parse().ok()
}

async fn bind_rtp(ip: IpAddr, port: u16) -> Result<UdpSocket, PhoneError> {
    let address = SocketAddr::new(ip, port);
    let wrong = |source| PhoneError::Bind { address, source };
    if port != 0 {
        return UdpSocket::bind(address).await.map_err(wrong);
    }
    // RTP likes even ports (RFC 3550 §11); whichever comes after some tries.
    let mut last = UdpSocket::bind(address).await.map_err(wrong)?;
    for _ in 0..16 {
        if last.local_addr().is_ok_and(|a| a.port() % 2 == 0) {
            break;
        }
        last = UdpSocket::bind(address).await.map_err(wrong)?;
    }
    Ok(last)
}

impl Shell {
    pub async fn bind(
        config: PhoneConfig,
        shared: Arc<Mutex<Shared>>,
        report: mpsc::Sender<PhoneEvent>,
    ) -> Result<Self, PhoneError> {
        if config.bind.ip().is_unspecified() {
            return Err(PhoneError::Unspecified(config.bind));
        }
        let wrong = |source| PhoneError::Bind { address: config.bind, source };
        let (wire, local) = Wire::open(&config).await?;
        let rtp = bind_rtp(config.bind.ip(), config.rtp_port).await?;
        let rtp_local = rtp.local_addr().map_err(wrong)?;
        let mut seed = config.seed.unwrap_or([0; 32]);
        if config.seed.is_none() {
            for chunk in seed.chunks_mut(8) {
                chunk.copy_from_slice(&random().to_be_bytes());
            }
        }
        let endpoint = Endpoint::new(EndpointConfig::new("phone"), seed);
        Ok(Self {
            config,
            endpoint,
            wire,
            rtp,
            local,
            rtp_local,
            shared,
            report,
            started: Instant::now(),
            registration: None,
            call: None,
            sdp_version: 1,
        })
    }

    pub fn local(&self) -> SocketAddr {
        self.local
    }

    fn path(&self) -> Path {
        self.wire.path(self.local, self.config.server)
    }

    pub async fn run(mut self, mut asks: mpsc::Receiver<(Ask, oneshot::Sender<Result<(), PhoneError>>)>) {
        let mut rtp_buffer = vec![0; 2_048];
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        let mut sounded = false;
        loop {
            self.flush().await;
            let far = Instant::now() + Duration::from_secs(3_600);
            let answer_at = self.call.as_ref().and_then(|c| c.answer_at);
            let due = [self.endpoint.poll_timeout(), answer_at].into_iter().flatten().min().unwrap_or(far);
            let sounding = self.call.as_ref().is_some_and(|c| c.agreed.is_some());
            if sounding && !sounded {
                // Else all ticks of the silence before would come at once.
                tick.reset();
            }
            sounded = sounding;
            tokio::select! {
                came = self.wire.receive() => match came {
                    Came::Message { from, bytes } => self.take(from, &bytes),
                    Came::Closed => {
                        self.endpoint.handle_closed(Instant::now(), self.path().connection);
                        self.wire = Wire::Closed;
                    }
                    Came::Nothing => {}
                },
                received = self.rtp.recv_from(&mut rtp_buffer) => {
                    if let Ok((length, remote)) = received {
                        self.hear(remote, rtp_buffer.get(..length).unwrap_or_default());
                    }
                }
                ask = asks.recv() => {
                    let Some((ask, answer)) = ask else { return };
                    if matches!(ask, Ask::Stop) {
                        self.farewell().await;
                        // Nobody may wait for it any more.
                        let _ = answer.send(Ok(()));
                        return;
                    }
                    let result = self.obey(ask);
                    let _ = answer.send(result);
                }
                () = tokio::time::sleep_until(due.into()) => {
                    self.endpoint.handle_timeout(Instant::now());
                    if answer_at.is_some_and(|at| at <= Instant::now()) {
                        // A call that ended meanwhile needs no answer.
                        let _ = self.accept();
                    }
                }
                _ = tick.tick(), if sounding => self.speak().await,
            }
        }
    }

    /// One SIP message.
    fn take(&mut self, from: SocketAddr, message: &[u8]) {
        lock(&self.shared).ladder.add(self.started.elapsed(), false, from, message);
        let path = self.wire.path(self.local, from);
        self.endpoint.handle_packet(Instant::now(), path, message);
    }

    async fn flush(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { path, bytes } => {
                    lock(&self.shared).ladder.add(self.started.elapsed(), true, path.remote, &bytes);
                    self.wire.send(&bytes, path.remote).await;
                }
                Output::Event(event) => self.on_event(event),
                Output::Close { .. } => {}
            }
        }
    }

    fn tell(&self, event: PhoneEvent) {
        // A test that does not listen loses events after the first thousand.
        let _ = self.report.try_send(event);
    }

    fn command(&mut self, command: Command) -> Result<(), PhoneError> {
        Ok(self.endpoint.handle_command(Instant::now(), command)?)
    }

    fn obey(&mut self, ask: Ask) -> Result<(), PhoneError> {
        match ask {
            Ask::Register { on } => self.register(on),
            Ask::Call { uri, headers } => self.dial(uri, headers),
            Ask::Answer => self.accept(),
            Ask::Refuse { status } => {
                let call = self.call.take_if(|c| c.incoming && !c.up).ok_or(PhoneError::NoCall)?;
                self.command(Command::Refuse { call: call.handle, status, headers: Vec::new() })?;
                self.tell(PhoneEvent::Ended { by_peer: false, status: Some(status), reason: "refused".into() });
                Ok(())
            }
            Ask::HangUp => {
                let call = self.call.take().ok_or(PhoneError::NoCall)?;
                self.command(Command::Hangup { call: call.handle, status: None, reasons: vec![] })?;
                self.tell(PhoneEvent::Ended { by_peer: false, status: None, reason: String::new() });
                Ok(())
            }
            Ask::Digits { events, sent } => {
                let call = self.call.as_mut().ok_or(PhoneError::NoCall)?;
                if call.agreed.is_none_or(|a| a.dtmf.is_none()) {
                    return Err(PhoneError::Digits(format!("{} keys", events.len())));
                }
                call.speaker.press_keys(events);
                call.digits_sent = Some(sent);
                Ok(())
            }
            Ask::Hold { on } => {
                let version = self.next_version();
                let call = self.call.as_mut().ok_or(PhoneError::NoCall)?;
                let (handle, agreed) = (call.handle, call.agreed.ok_or(PhoneError::NoCall)?);
                call.held = on;
                let direction = if on { "sendonly" } else { "sendrecv" };
                let sdp = sdp::answer(self.rtp_local, &agreed, version, direction);
                self.command(Command::Reoffer { call: handle, sdp: sdp.into() })
            }
            Ask::Transfer { to } => {
                let call = self.call.as_ref().filter(|c| c.up).ok_or(PhoneError::NoCall)?.handle;
                self.command(Command::Refer { call, refer_to: to })
            }
            Ask::Microphone(microphone) => {
                if let Some(call) = &mut self.call {
                    call.speaker.set_microphone(microphone.clone());
                }
                self.config.microphone = microphone;
                Ok(())
            }
            Ask::Stop => Ok(()),
        }
    }

    fn next_version(&mut self) -> u64 {
        self.sdp_version += 1;
        self.sdp_version
    }

    fn register(&mut self, on: bool) -> Result<(), PhoneError> {
        let handle = match self.registration {
            Some(handle) => handle,
            None => self.endpoint.fresh_call(),
        };
        self.registration = on.then_some(handle);
        let domain = self.config.domain.clone().unwrap_or_else(|| self.config.server.to_string());
        self.command(Command::Register {
            call: handle,
            registrar: format!("sip:{domain}"),
            path: self.path(),
            aor: format!("sip:{}", self.config.address()),
            contact: format!(
                "sip:{}@{}{}",
                self.config.user,
                self.local,
                if self.config.tcp { ";transport=tcp" } else { "" }
            ),
            expires: if on { self.config.register_expires } else { Duration::ZERO },
            credentials: self.credentials(),
        })
    }

    fn credentials(&self) -> Option<Credentials> {
        let password = self.config.password.clone()?;
        Some(Credentials { user: self.config.user.clone(), password })
    }

    fn new_call(&self, handle: CallHandle, incoming: bool) -> Call {
        lock(&self.shared).heard = Heard::of_call();
        Call {
            handle,
            incoming,
            up: false,
            offer: None,
            agreed: None,
            source: None,
            began: None,
            speaker: Speaker::new(self.config.microphone.clone(), random()),
            held: false,
            digits_sent: None,
            answer_at: None,
        }
    }

    fn dial(&mut self, uri: String, headers: Vec<(String, String)>) -> Result<(), PhoneError> {
        if self.call.is_some() {
            return Err(PhoneError::Busy);
        }
        let handle = self.endpoint.fresh_call();
        let version = self.next_version();
        let sdp = sdp::offer(self.rtp_local, &self.config.codecs, version);
        self.command(Command::Invite {
            call: handle,
            to: format!("<{uri}>"),
            uri,
            path: self.path(),
            from: self.config.name_addr(),
            sdp: Some(sdp.into()),
            headers,
            credentials: self.credentials(),
        })?;
        self.call = Some(self.new_call(handle, false));
        Ok(())
    }

    /// Answers the incoming call.
    fn accept(&mut self) -> Result<(), PhoneError> {
        let version = self.next_version();
        let (codecs, local) = (self.config.codecs.clone(), self.rtp_local);
        let call = self.call.as_mut().filter(|c| c.incoming && !c.up).ok_or(PhoneError::NoCall)?;
        call.answer_at = None;
        let handle = call.handle;
        let sdp = match &call.offer {
            None => sdp::offer(local, &codecs, version),
            Some(offer) => match sdp::agree(offer, &codecs) {
                Some(agreed) => {
                    call.agreed = Some(agreed);
                    call.began = Some(Instant::now());
                    sdp::answer(local, &agreed, version, "sendrecv")
                }
                None => {
                    self.call = None;
                    self.command(Command::Refuse { call: handle, status: 488, headers: Vec::new() })?;
                    self.tell(PhoneEvent::Ended {
                        by_peer: false,
                        status: Some(488),
                        reason: "no shared codec".into(),
                    });
                    return Ok(());
                }
            },
        };
        call.up = true;
        self.command(Command::Answer { call: handle, sdp: sdp.into(), headers: Vec::new() })?;
        self.tell(PhoneEvent::Answered);
        Ok(())
    }

    fn on_event(&mut self, event: Event) {
        let ours = self.call.as_ref().map(|c| c.handle);
        match event {
            Event::Registration { result: Ok(expires_s), .. } => self.tell(PhoneEvent::Registered { expires_s }),
            Event::Registration { result: Err(status), .. } => self.tell(PhoneEvent::RegistrationFailed { status }),
            Event::Incoming { call, invite } if invite.headers.iter().any(|(name, _)| name == "Replaces") => {
                self.on_replaces(call, &invite);
            }
            Event::Incoming { call, invite } => {
                let busy = ours.is_some();
                let command = if busy {
                    Command::Refuse { call, status: 486, headers: Vec::new() }
                } else {
                    Command::Progress { call, status: 180, sdp: None }
                };
                // The caller may be gone already.
                let _ = self.command(command);
                if !busy {
                    let mut new = self.new_call(call, true);
                    new.offer = invite.sdp.clone();
                    new.answer_at = self.config.auto_answer.map(|after| Instant::now() + after);
                    self.call = Some(new);
                    self.tell(PhoneEvent::Incoming { from: invite.from_user, to: invite.uri_user });
                }
            }
            Event::Progressed { call, status, sdp } if ours == Some(call) => {
                let early_media = sdp.is_some();
                self.agree(sdp.as_deref());
                self.tell(PhoneEvent::Ringing { status, early_media });
            }
            Event::Answered { call, sdp } if ours == Some(call) => {
                self.agree(sdp.as_deref());
                if let Some(call) = &mut self.call {
                    call.up = true;
                }
                self.tell(PhoneEvent::Answered);
            }
            // The answer to our offer in a 200 without one in the INVITE.
            Event::Confirmed { call, sdp: Some(sdp) } if ours == Some(call) => self.agree(Some(&sdp)),
            Event::Reoffered { call, sdp } => self.on_reoffer(call, sdp),
            Event::ReofferAnswered { call, result: Ok(sdp) } if ours == Some(call) => self.agree(Some(&sdp)),
            Event::Info { call, content_type, body }
                if ours == Some(call) && content_type.starts_with("message/sipfrag") =>
            {
                if let Some(status) = fragment_status(&body) {
                    self.tell(PhoneEvent::Transfer { status });
                }
            }
            Event::Referred { request, .. } => {
                // Nothing to transfer to; a refusal is all the peer needs.
                let _ = self.command(Command::Reply { request, status: 603, headers: Vec::new() });
            }
            Event::Cancelled { call, .. } if ours == Some(call) => {
                self.call = None;
                self.tell(PhoneEvent::Ended { by_peer: true, status: Some(487), reason: "cancelled".into() });
            }
            Event::Failed { call, status, phrase, reasons } if ours == Some(call) => {
                self.call = None;
                // A cause (RFC 3326) says more than the phrase.
                let reason = Reason::header(&reasons).unwrap_or(phrase);
                self.tell(PhoneEvent::Ended { by_peer: true, status: Some(status), reason });
            }
            Event::Ended { call, by_peer, fault, reasons } if ours == Some(call) => {
                self.call = None;
                let reason = Reason::header(&reasons).or(fault.map(ToString::to_string)).unwrap_or_default();
                self.tell(PhoneEvent::Ended { by_peer, status: None, reason });
            }
            _ => {}
        }
    }

    /// A call that takes the place of ours (RFC 3891 §3): taken without ringing, the old dialog ended
    /// in silence. Any other is refused.
    fn on_replaces(&mut self, new: CallHandle, invite: &Invite) {
        let replaced = self.endpoint.replaced_call(invite);
        let agreed = invite.sdp.as_deref().and_then(|offer| sdp::agree(offer, &self.config.codecs));
        let version = self.next_version();
        let (Some(call), Some(agreed)) = (self.call.as_mut().filter(|c| c.up && replaced == Some(c.handle)), agreed)
        else {
            let status = if replaced.is_none() { 481 } else { 488 };
            // The caller may be gone already.
            let _ = self.command(Command::Refuse { call: new, status, headers: Vec::new() });
            return;
        };
        let old = std::mem::replace(&mut call.handle, new);
        call.agreed = Some(agreed);
        call.source = None;
        call.held = false;
        let sdp = sdp::answer(self.rtp_local, &agreed, version, "sendrecv");
        // Both may be gone already.
        let _ = self.command(Command::Answer { call: new, sdp: sdp.into(), headers: Vec::new() });
        let _ = self.command(Command::Hangup { call: old, status: None, reasons: vec![] });
        self.tell(PhoneEvent::Replaced);
    }

    /// Takes over the peer's description.
    fn agree(&mut self, sdp: Option<&[u8]>) {
        let Some(agreed) = sdp.and_then(|sdp| sdp::agree(sdp, &self.config.codecs)) else {
            return;
        };
        if let Some(call) = &mut self.call {
            if call.agreed.is_some_and(|before| before.remote != agreed.remote) {
                call.source = None;
            }
            call.agreed = Some(agreed);
            call.began.get_or_insert_with(Instant::now);
        }
    }

    fn on_reoffer(&mut self, handle: CallHandle, offer: Option<Bytes>) {
        let version = self.next_version();
        let codecs = self.config.codecs.clone();
        let answer = match &offer {
            None => Some(sdp::offer(self.rtp_local, &codecs, version)),
            Some(offer) => sdp::agree(offer, &codecs).map(|agreed| {
                let direction = if agreed.send { "sendrecv" } else { "recvonly" };
                sdp::answer(self.rtp_local, &agreed, version, direction)
            }),
        };
        let accepted = answer.is_some();
        // The dialog may have ended meanwhile.
        let _ = self.command(Command::AnswerReoffer { call: handle, sdp: answer.map(Bytes::from) });
        if accepted && let Some(offer) = offer {
            self.agree(Some(&offer));
            let hears_us = self.call.as_ref().and_then(|c| c.agreed).is_some_and(|a| a.send);
            self.tell(PhoneEvent::Reoffered { hears_us });
        }
    }

    /// One packet from the RTP socket.
    fn hear(&mut self, remote: SocketAddr, packet: &[u8]) {
        let mut shared = lock(&self.shared);
        let known = self.call.as_mut().and_then(|c| {
            let agreed = c.agreed?;
            let source = *c.source.get_or_insert(remote);
            Some((agreed, c.began?, remote == source || remote == agreed.remote))
        });
        match known {
            Some((agreed, began, true)) => {
                let digit = shared.heard.receive(&agreed, began.elapsed(), packet);
                drop(shared);
                if let Some(digit) = digit {
                    self.tell(PhoneEvent::Digit(digit));
                }
            }
            _ => shared.heard.counts.rejected += 1,
        }
    }

    /// The next 20 ms.
    async fn speak(&mut self) {
        let Some(call) = &mut self.call else { return };
        let Some(agreed) = call.agreed else { return };
        let packet = call.speaker.next_packet(&agreed);
        if call.speaker.idle()
            && let Some(sent) = call.digits_sent.take()
        {
            // Nobody may wait for it any more.
            let _ = sent.send(());
        }
        let held_us = !agreed.send;
        if let Some(packet) = packet.filter(|_| !held_us) {
            lock(&self.shared).heard.counts.sent += 1;
            // Lost like any other packet.
            let _ = self.rtp.send_to(&packet, agreed.remote).await;
        }
    }

    /// Ends call and registration, waiting at most a second for the answers.
    async fn farewell(&mut self) {
        if let Some(call) = self.call.take() {
            // It may have ended by itself.
            let _ = self.command(Command::Hangup { call: call.handle, status: None, reasons: vec![] });
        }
        if self.registration.is_some() {
            let _ = self.register(false);
        }
        let until = tokio::time::Instant::now() + Duration::from_secs(1);
        self.flush().await;
        while self.endpoint.usage().calls > 0 {
            let Ok(Came::Message { from, bytes }) = tokio::time::timeout_at(until, self.wire.receive()).await else {
                return;
            };
            self.take(from, &bytes);
            self.flush().await;
        }
    }
}
