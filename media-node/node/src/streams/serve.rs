//! The life of one connection: agreeing on TLS and WebSocket, then messages in and out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hotline_sip::api::{Path, Transport};
use hotline_sip::{Frame, FrameError, Framer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::websocket::{self, Upgrade, WebSocket};
use super::{tls, unreachable_by};
use crate::config::StreamLimits;
use crate::mailbox::Mail;
use crate::metrics::Metrics;
use crate::shared::Shared;

/// Connecting may take so long, TLS included.
const CONNECT: Duration = Duration::from_secs(4);
/// A WebSocket that is silent for so long is asked whether somebody is there; a connection of ours is
/// kept open through NAT (RFC 5626 §4.4.1).
const QUIET: Duration = Duration::from_secs(45);
/// Saying goodbye may take so long.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection that somebody opened, until its end.
pub(super) async fn incoming(shared: Arc<Shared>, stream: TcpStream, path: Path, mut outgoing: mpsc::Receiver<Bytes>) {
    Metrics::add(&shared.metrics.streams);
    let _ = stream.set_nodelay(true);
    let deadline = Instant::now() + shared.streams.settings.limits.handshake;
    match (path.transport, shared.streams.tls()) {
        (Transport::Tls | Transport::Wss, Some(tls)) => {
            let browser = path.transport == Transport::Wss;
            let agreed = timeout_at(deadline, tls.acceptor(browser).accept(stream)).await;
            match agreed {
                Ok(Ok(stream)) => {
                    recognise(&shared, path, stream.get_ref().1);
                    agree(&shared, stream, path, &mut outgoing, deadline).await;
                }
                Ok(Err(error)) => refused(&shared, path, &error),
                Err(_) => refused(&shared, path, &"TLS was not agreed on in time"),
            }
        }
        _ => agree(&shared, stream, path, &mut outgoing, deadline).await,
    }
    Metrics::sub(&shared.metrics.streams);
    ended(&shared, path);
}

/// A connection that we open, until its end.
pub(super) async fn outgoing(shared: Arc<Shared>, path: Path, mut receiver: mpsc::Receiver<Bytes>) {
    Metrics::add(&shared.metrics.streams);
    let deadline = Instant::now() + CONNECT;
    let connected = match timeout_at(deadline, TcpStream::connect(path.remote)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    let result = match connected {
        Ok(stream) => {
            let _ = stream.set_nodelay(true);
            if path.transport == Transport::Tls {
                secure(&shared, stream, path, &mut receiver, deadline).await
            } else {
                let framing = Framing::Sip(Framer::default());
                exchange(&shared, stream, path, framing, &mut receiver, true).await;
                Ok(())
            }
        }
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = result {
        Metrics::add(&shared.metrics.sip_send_failures);
        tracing::info!(error, remote = %path.remote, "cannot connect");
    }
    Metrics::sub(&shared.metrics.streams);
    ended(&shared, path);
    // What was sent before the peer's first answer knew no connection.
    if !shared.streams.reaches(path) {
        unreachable_by(&shared, path);
    }
}

/// TLS as a client: the peer must bear the name that was dialled.
async fn secure(
    shared: &Shared,
    stream: TcpStream,
    path: Path,
    receiver: &mut mpsc::Receiver<Bytes>,
    deadline: Instant,
) -> Result<(), String> {
    let tls = shared.streams.tls().ok_or("sip.tls_cert is empty: TLS needs a certificate")?;
    let name = shared.streams.name_of(path.remote);
    let name = tls::server_name(&name).ok_or_else(|| format!("{name:?} is no name for a certificate"))?;
    match timeout_at(deadline, tls.connector().connect(name, stream)).await {
        Ok(Ok(stream)) => {
            recognise(shared, path, stream.get_ref().1);
            exchange(shared, stream, path, Framing::Sip(Framer::default()), receiver, true).await;
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("TLS was not agreed on in time".into()),
    }
}

/// Whether a connection is a gateway's, by the certificate that its other side showed.
fn recognise(shared: &Shared, path: Path, tls: &rustls::CommonState) {
    if let Some(shown) = tls.peer_certificates().and_then(<[_]>::first) {
        let gateway = shared.gateways.of_certificate(|name| tls::bears(shown, name));
        shared.streams.known_as(path.connection, gateway);
    }
}

/// Everybody learns that a connection is gone.
fn ended(shared: &Arc<Shared>, path: Path) {
    let connection = path.connection;
    shared.streams.close(connection);
    for mailbox in &shared.mailboxes {
        mailbox.post(Mail::Closed { connection });
    }
    crate::lease::phones_gone(shared, shared.registrar.connection_closed(connection));
}

fn refused(shared: &Shared, path: Path, error: &dyn std::fmt::Display) {
    Metrics::add(&shared.metrics.handshakes_failed);
    tracing::debug!(%error, remote = %path.remote, transport = ?path.transport, "closing a connection");
}

/// Agrees on WebSocket, where that is spoken, and exchanges messages.
async fn agree<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    mut stream: S,
    path: Path,
    outgoing: &mut mpsc::Receiver<Bytes>,
    deadline: Instant,
) {
    if !matches!(path.transport, Transport::Ws | Transport::Wss) {
        exchange(shared, stream, path, Framing::Sip(Framer::default()), outgoing, false).await;
        return;
    }
    match timeout_at(deadline, upgrade(shared, &mut stream)).await {
        Ok(Ok(socket)) => {
            exchange(shared, stream, path, Framing::WebSocket(Box::new(socket)), outgoing, false).await;
        }
        Ok(Err(error)) => {
            refused(shared, path, &error);
            let _ = timeout(GOODBYE, stream.shutdown()).await;
        }
        Err(_) => refused(shared, path, &"WebSocket was not agreed on in time"),
    }
}

/// Answers the upgrade request.
async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(shared: &Shared, stream: &mut S) -> Result<WebSocket, String> {
    let mut handshake = websocket::Handshake::new(shared.streams.settings.ws_origins.clone());
    let mut buffer = [0u8; 2_048];
    loop {
        let count = stream.read(&mut buffer).await.map_err(|e| e.to_string())?;
        if count == 0 {
            return Err("closed before the upgrade".into());
        }
        let (reply, next) = handshake.take(buffer.get(..count).unwrap_or_default());
        if !reply.is_empty() {
            stream.write_all(&reply).await.map_err(|e| e.to_string())?;
            stream.flush().await.map_err(|e| e.to_string())?;
        }
        match next {
            Upgrade::More(more) => handshake = more,
            Upgrade::Done(socket) => return Ok(socket),
            Upgrade::Refused(reason) => return Err(reason),
        }
    }
}

/// How messages are told apart.
enum Framing {
    Sip(Framer),
    WebSocket(Box<WebSocket>),
}

/// Why a connection can be of no more use.
enum Broken {
    Stream(FrameError),
    WebSocket(String),
}

impl Framing {
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Sip(framer) => framer.push(bytes),
            Self::WebSocket(socket) => socket.push(bytes),
        }
    }

    fn next(&mut self) -> Result<Option<Frame>, Broken> {
        match self {
            Self::Sip(framer) => framer.next_frame().map_err(Broken::Stream),
            Self::WebSocket(socket) => socket.next_frame().map_err(Broken::WebSocket),
        }
    }

    /// Whether a part of a message is here.
    fn partial(&self) -> bool {
        match self {
            Self::Sip(framer) => !framer.is_empty(),
            Self::WebSocket(socket) => socket.is_partial(),
        }
    }

    /// A message as it goes over the wire.
    fn wrap(&mut self, message: Bytes) -> Bytes {
        match self {
            Self::Sip(_) => message,
            Self::WebSocket(socket) => socket.wrap(&message),
        }
    }

    /// What must be sent because of what came.
    fn replies(&mut self) -> Vec<u8> {
        match self {
            Self::Sip(_) => Vec::new(),
            Self::WebSocket(socket) => socket.take_output(),
        }
    }

    /// What asks a silent peer whether it is there; `None`: nothing does.
    fn ping(&mut self, ours: bool) -> Option<Vec<u8>> {
        match self {
            Self::WebSocket(socket) => Some(socket.ping()),
            Self::Sip(_) => ours.then(|| b"\r\n\r\n".to_vec()),
        }
    }

    /// Only a WebSocket must answer.
    fn must_answer(&self) -> bool {
        matches!(self, Self::WebSocket(_))
    }
}

/// How long the next bytes of a connection are waited for. A message that has begun has one deadline,
/// however slowly its bytes come, and so has the first message.
#[derive(Debug)]
struct Patience {
    limits: StreamLimits,
    whole_by: Option<Instant>,
    /// Until the first message.
    first_by: Option<Instant>,
    idle_since: Instant,
    /// Since then nothing came and the peer was asked.
    asked: Option<Instant>,
}

impl Patience {
    fn new(limits: StreamLimits, now: Instant, ours: bool) -> Self {
        let first_by = (!ours).then(|| now + limits.message);
        Self { limits, whole_by: None, first_by, idle_since: now, asked: None }
    }

    /// A message was whole.
    fn message(&mut self) {
        (self.whole_by, self.first_by) = (None, None);
    }

    /// Bytes came; `partial`: a part of a message is here.
    fn heard(&mut self, now: Instant, partial: bool) {
        (self.idle_since, self.asked) = (now, None);
        if partial {
            self.whole_by.get_or_insert(now + self.limits.message);
        } else {
            self.whole_by = None;
        }
    }

    /// The moment at which the connection is given up.
    fn until(&self, must_answer: bool) -> Instant {
        let unanswered = self.asked.filter(|_| must_answer).map(|asked| asked + self.limits.message);
        let idle = self.idle_since + self.limits.idle;
        [self.whole_by, self.first_by, unanswered].into_iter().flatten().fold(idle, Instant::min)
    }

    /// The moment at which a silent peer is asked.
    fn ask_at(&self) -> Instant {
        self.asked.unwrap_or(self.idle_since) + QUIET
    }
}

/// Until either side is done; `ours`: we opened it.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    mut stream: S,
    path: Path,
    mut framing: Framing,
    outgoing: &mut mpsc::Receiver<Bytes>,
    ours: bool,
) {
    let limits = &shared.streams.settings.limits;
    let mut buffer = vec![0u8; 4_096];
    let mut patience = Patience::new(limits.clone(), Instant::now(), ours);
    let mut proven = ours;
    let mut goodbye = true;
    loop {
        let until = patience.until(framing.must_answer());
        let asks = framing.must_answer() || ours;
        tokio::select! {
            () = tokio::time::sleep_until(until) => {
                tracing::debug!(remote = %path.remote, "closing a silent connection");
                break;
            }
            () = tokio::time::sleep_until(patience.ask_at()), if asks => {
                patience.asked = Some(Instant::now());
                if let Some(ping) = framing.ping(ours) && !write(&mut stream, &ping, limits.message).await {
                    goodbye = false;
                    break;
                }
            }
            read = stream.read(&mut buffer) => {
                let Ok(count @ 1..) = read else { break };
                framing.push(buffer.get(..count).unwrap_or_default());
                let mut pinged = false;
                let ended = loop {
                    match framing.next() {
                        Ok(Some(Frame::Message(bytes))) => {
                            patience.message();
                            if !proven {
                                proven = true;
                                shared.streams.proven(path.connection);
                            }
                            deliver(shared, path, bytes);
                        }
                        // One answer for all that came at once.
                        Ok(Some(Frame::Ping)) => pinged = true,
                        Ok(None) => break false,
                        Err(Broken::Stream(error)) => {
                            tracing::debug!(%error, remote = %path.remote, "closing a connection");
                            break true;
                        }
                        Err(Broken::WebSocket(error)) => {
                            tracing::debug!(error, remote = %path.remote, "closing a WebSocket");
                            break true;
                        }
                    }
                };
                patience.heard(Instant::now(), framing.partial());
                let mut replies = framing.replies();
                if pinged && !ended {
                    replies.extend_from_slice(&framing.wrap(Bytes::from_static(b"\r\n")));
                }
                if !replies.is_empty() && !write(&mut stream, &replies, limits.message).await {
                    goodbye = false;
                    break;
                }
                if ended {
                    break;
                }
            }
            message = outgoing.recv() => {
                let Some(bytes) = message else { break };
                if !write(&mut stream, &framing.wrap(bytes), limits.message).await {
                    goodbye = false;
                    break;
                }
            }
        }
    }
    if goodbye {
        let farewell = match &mut framing {
            Framing::Sip(_) => Vec::new(),
            Framing::WebSocket(socket) => socket.close(),
        };
        let _ = timeout(GOODBYE, async {
            stream.write_all(&farewell).await?;
            stream.shutdown().await
        })
        .await;
    }
}

/// Writes all of it to a peer that reads; `false` for one that does not.
async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8], limit: Duration) -> bool {
    let written = timeout(limit, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    });
    matches!(written.await, Ok(Ok(())))
}

fn deliver(shared: &Shared, path: Path, bytes: Bytes) {
    let worker = shared.dispatch.worker_of(&bytes);
    let posted = shared.mailboxes.get(worker).is_some_and(|m| m.post(Mail::Message { path, bytes }));
    if !posted {
        Metrics::add(&shared.metrics.sip_dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(begin: Instant, ours: bool) -> (Patience, StreamLimits) {
        let limits = crate::config::Config::read("", &Default::default()).unwrap().sip.streams.limits;
        (Patience::new(limits.clone(), begin, ours), limits)
    }

    #[test]
    fn a_message_has_one_deadline_however_slowly_it_comes() {
        let begin = Instant::now();
        let (mut patience, limits) = patience(begin, true);
        let second = |n| begin + Duration::from_secs(n);
        assert_eq!(patience.until(false), begin + limits.idle);
        for n in 1..10 {
            patience.heard(second(n), true);
            assert_eq!(patience.until(false), second(1) + limits.message, "the {n}th byte");
        }
        patience.message();
        patience.heard(second(10), true);
        assert_eq!(patience.until(false), second(10) + limits.message, "the begin of the next one");
        patience.message();
        patience.heard(second(11), false);
        assert_eq!(patience.until(false), second(11) + limits.idle);
    }

    #[test]
    fn the_first_message_is_not_waited_for_in_vain() {
        let begin = Instant::now();
        let (mut patience, limits) = patience(begin, false);
        patience.heard(begin + Duration::from_secs(3), false);
        assert_eq!(patience.until(false), begin + limits.message, "keep-alives do not count");
        patience.message();
        assert_eq!(patience.until(false), begin + Duration::from_secs(3) + limits.idle);
    }

    #[test]
    fn a_silent_browser_is_asked_and_then_given_up() {
        let begin = Instant::now();
        let (mut patience, limits) = patience(begin, true);
        assert_eq!(patience.ask_at(), begin + QUIET);
        patience.asked = Some(begin + QUIET);
        assert_eq!(patience.until(true), begin + QUIET + limits.message);
        assert_eq!(patience.until(false), begin + limits.idle, "a stream need not answer");
        patience.heard(begin + QUIET, false);
        assert_eq!(patience.until(true), begin + QUIET + limits.idle);
    }
}
