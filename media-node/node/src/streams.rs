//! SIP over TCP: connections, framing, and which worker gets which message.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use hotline_sip::api::{Path, Transport};
use hotline_sip::{Frame, Framer, shard_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::mailbox::Mail;
use crate::metrics::Metrics;
use crate::shared::Shared;

/// Connections at a time.
const CONNECTIONS: usize = 4_096;
/// Connections of one address that has not sent a whole message yet, or at all.
const CONNECTIONS_PER_SOURCE: usize = 256;
/// Messages that may wait for a slow reader; above it the connection is closed.
const QUEUED: usize = 256;
/// A connection that says nothing for so long is closed (keep-alives count, RFC 5626 §4.4.1).
const IDLE: Duration = Duration::from_secs(900);
/// A message must be whole after so long.
const PARTIAL: Duration = Duration::from_secs(15);
/// Connecting may take so long.
const CONNECT: Duration = Duration::from_secs(4);

struct Connection {
    sender: mpsc::Sender<Bytes>,
    remote: SocketAddr,
}

/// All stream connections.
pub struct Streams {
    connections: Mutex<HashMap<u64, Connection>>,
    next: AtomicU64,
    shared: OnceLock<Weak<Shared>>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            connections: Mutex::new(HashMap::new()),
            // 0 means "no connection yet" in a path.
            next: AtomicU64::new(1),
            shared: OnceLock::new(),
        }
    }
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        self.connections.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Lets outgoing connections find their way back; called once.
    pub fn attach(&self, shared: &Arc<Shared>) {
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    /// Sends by a path's connection, by another one to the same peer, or by a new one.
    pub fn send(&self, path: Path, bytes: Bytes) {
        let mut connections = self.lock();
        let id = if connections.contains_key(&path.connection) {
            Some(path.connection)
        } else {
            let found = connections.iter().find(|(_, c)| c.remote == path.remote);
            found.map(|(id, _)| *id)
        };
        if let Some(id) = id {
            let full = connections.get(&id).is_some_and(|c| c.sender.try_send(bytes).is_err());
            if full {
                // Dropping the sender ends the connection's task.
                connections.remove(&id);
            }
            return;
        }
        drop(connections);
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else {
            return;
        };
        let runtime = shared.runtime.clone();
        runtime.spawn(async move {
            let connect = TcpStream::connect(path.remote);
            match tokio::time::timeout(CONNECT, connect).await {
                Ok(Ok(stream)) => {
                    let id = shared.streams.add(path.remote);
                    if let Some((id, receiver)) = id {
                        shared.streams.send(Path { connection: id, ..path }, bytes);
                        serve(shared, stream, path.local, id, receiver).await;
                    }
                }
                Ok(Err(error)) => {
                    Metrics::add(&shared.metrics.sip_send_failures);
                    tracing::debug!(%error, remote = %path.remote, "cannot connect");
                }
                Err(_) => Metrics::add(&shared.metrics.sip_send_failures),
            }
        });
    }

    /// Closes a connection.
    pub fn close(&self, connection: u64) {
        self.lock().remove(&connection);
    }

    fn add(&self, remote: SocketAddr) -> Option<(u64, mpsc::Receiver<Bytes>)> {
        let mut connections = self.lock();
        let of_source = connections.values().filter(|c| c.remote.ip() == remote.ip()).count();
        if connections.len() >= CONNECTIONS || of_source >= CONNECTIONS_PER_SOURCE {
            return None;
        }
        let (sender, receiver) = mpsc::channel(QUEUED);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        connections.insert(id, Connection { sender, remote });
        Some((id, receiver))
    }
}

/// Accepts connections until the process ends.
pub async fn accept(shared: Arc<Shared>, listener: TcpListener, local: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if let Some((id, receiver)) = shared.streams.add(remote) {
                    tokio::spawn(serve(shared.clone(), stream, local, id, receiver));
                }
            }
            Err(error) => {
                // Out of descriptors, mostly: others will be closed.
                tracing::warn!(%error, "cannot accept a TCP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    mut stream: TcpStream,
    local: SocketAddr,
    connection: u64,
    mut outgoing: mpsc::Receiver<Bytes>,
) {
    Metrics::add(&shared.metrics.streams);
    if let Ok(remote) = stream.peer_addr() {
        let _ = stream.set_nodelay(true);
        let path = Path { transport: Transport::Tcp, local, remote, connection };
        exchange(&shared, &mut stream, path, &mut outgoing).await;
    }
    shared.streams.close(connection);
    Metrics::sub(&shared.metrics.streams);
    for mailbox in &shared.mailboxes {
        mailbox.post(Mail::Closed { connection });
    }
    crate::lease::phones_gone(&shared, shared.registrar.connection_closed(connection));
}

/// How long the next bytes of a connection are waited for. A message that has begun has one deadline,
/// however slowly its bytes come.
#[derive(Debug, Default)]
struct Patience {
    whole_by: Option<Instant>,
}

impl Patience {
    /// A message was whole.
    fn message(&mut self) {
        self.whole_by = None;
    }

    /// The moment at which waiting ends; `partial`: a part of a message is here.
    fn until(&mut self, now: Instant, partial: bool) -> Instant {
        if !partial {
            self.whole_by = None;
            return now + IDLE;
        }
        *self.whole_by.get_or_insert(now + PARTIAL)
    }
}

/// Until either side is done.
async fn exchange(shared: &Shared, stream: &mut TcpStream, path: Path, outgoing: &mut mpsc::Receiver<Bytes>) {
    let mut framer = Framer::default();
    let mut buffer = vec![0u8; 8_192];
    let mut patience = Patience::default();
    loop {
        let until = patience.until(Instant::now(), !framer.is_empty());
        tokio::select! {
            read = tokio::time::timeout_at(until, stream.read(&mut buffer)) => {
                let Ok(Ok(count @ 1..)) = read else { return };
                framer.push(buffer.get(..count).unwrap_or_default());
                let mut pinged = false;
                loop {
                    match framer.next_frame() {
                        Ok(Some(Frame::Message(bytes))) => {
                            patience.message();
                            deliver(shared, path, bytes);
                        }
                        // One answer for all that came at once.
                        Ok(Some(Frame::Ping)) => pinged = true,
                        Ok(None) => break,
                        Err(error) => {
                            tracing::debug!(%error, remote = %path.remote, "closing a connection");
                            return;
                        }
                    }
                }
                if pinged && !write(stream, b"\r\n").await {
                    return;
                }
            }
            message = outgoing.recv() => {
                let Some(bytes) = message else { return };
                if !write(stream, &bytes).await {
                    return;
                }
            }
        }
    }
}

/// Writes all of it to a peer that reads; `false` for one that does not.
async fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    matches!(tokio::time::timeout(PARTIAL, stream.write_all(bytes)).await, Ok(Ok(())))
}

fn deliver(shared: &Shared, path: Path, bytes: Bytes) {
    let worker = shard_of(&bytes, shared.mailboxes.len());
    let posted = shared.mailboxes.get(worker).is_some_and(|m| m.post(Mail::Message { path, bytes }));
    if !posted {
        Metrics::add(&shared.metrics.sip_dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_one_deadline_however_slowly_it_comes() {
        let (begin, mut patience) = (Instant::now(), Patience::default());
        assert_eq!(patience.until(begin, false), begin + IDLE);
        let second = |n| begin + Duration::from_secs(n);
        for n in 1..10 {
            assert_eq!(patience.until(second(n), true), second(1) + PARTIAL, "the {n}th byte");
        }
        patience.message();
        assert_eq!(patience.until(second(10), true), second(10) + PARTIAL, "the begin of the next one");
        assert_eq!(patience.until(second(11), false), second(11) + IDLE);
    }
}
