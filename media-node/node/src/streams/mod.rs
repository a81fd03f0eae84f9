//! SIP over TCP, TLS and WebSocket: connections, framing, and which worker gets which message.

mod serve;
pub mod tls;
mod websocket;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use hotline_sip::api::{Path, Transport};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::{Listen, StreamSettings};
use crate::mailbox::Mail;
use crate::metrics::Metrics;
use crate::shared::Shared;

use tls::Tls;

/// Messages that may wait for a slow reader; above it the connection is closed.
const QUEUED: usize = 256;
/// Peers whose host names are remembered until they are connected to.
const NAMES: usize = 1_024;

struct Connection {
    sender: mpsc::Sender<Bytes>,
    transport: Transport,
    remote: SocketAddr,
    /// A whole message came, or we opened it.
    proven: bool,
    /// The gateway that its certificate shows it to be.
    gateway: Option<usize>,
}

#[derive(Default)]
struct Table {
    connections: HashMap<u64, Connection>,
    /// Connections that each address opened.
    sources: HashMap<IpAddr, usize>,
    /// Those of `connections` that have not proven anything, oldest first; some may be gone.
    unproven: std::collections::VecDeque<u64>,
}

impl Table {
    /// The connection of a path, else another one to the same peer.
    fn by_peer(&self, path: Path) -> Option<u64> {
        if self.connections.contains_key(&path.connection) {
            return Some(path.connection);
        }
        let same = |c: &Connection| c.remote == path.remote && c.transport == path.transport;
        self.connections.iter().find(|(_, c)| same(c)).map(|(id, _)| *id)
    }

    fn remove(&mut self, id: u64) -> Option<Connection> {
        let gone = self.connections.remove(&id)?;
        let ip = gone.remote.ip().to_canonical();
        if let Some(count) = self.sources.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&ip);
            }
        }
        Some(gone)
    }
}

/// All stream connections.
pub struct Streams {
    table: Mutex<Table>,
    next: AtomicU64,
    shared: OnceLock<Weak<Shared>>,
    settings: StreamSettings,
    /// What is really listened to.
    listening: Vec<Listen>,
    /// Where there is a certificate.
    tls: Option<Arc<Tls>>,
    /// The host names that certificates of peers must bear.
    names: Mutex<HashMap<SocketAddr, String>>,
}

impl Streams {
    /// None yet.
    pub fn new(settings: StreamSettings, listening: Vec<Listen>, tls: Option<Arc<Tls>>) -> Self {
        Self {
            table: Mutex::default(),
            // 0 means "no connection yet" in a path.
            next: AtomicU64::new(1),
            shared: OnceLock::new(),
            settings,
            listening,
            tls,
            names: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets outgoing connections find their way back; called once.
    pub fn attach(&self, shared: &Arc<Shared>) {
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    /// The sockets that are listened to.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// The certificate, where there is one.
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref()
    }

    /// The name that the certificate of a peer must bear when it is connected to by TLS; without
    /// one, it must bear the address.
    pub fn name_peer(&self, remote: SocketAddr, host: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES && !names.contains_key(&remote) {
            // Whoever is dialled again is named again.
            names.clear();
        }
        names.insert(remote, host.to_owned());
    }

    fn name_of(&self, remote: SocketAddr) -> String {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(&remote).cloned().unwrap_or_else(|| remote.ip().to_canonical().to_string())
    }

    /// Sends by a path's connection, by another one to the same peer, or by a new one.
    pub fn send(&self, path: Path, bytes: Bytes) {
        let mut table = self.lock();
        let id = table.by_peer(path);
        if let Some(id) = id {
            let full = table.connections.get(&id).is_some_and(|c| c.sender.try_send(bytes).is_err());
            if full {
                // Dropping the sender ends the connection's task.
                table.remove(id);
            }
            return;
        }
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else {
            return;
        };
        // Under the same lock: what is sent meanwhile waits in this one's queue.
        let added = match path.transport {
            Transport::Tcp | Transport::Tls => self.insert(&mut table, path.transport, path.remote, true),
            // A browser cannot be called up.
            Transport::Udp | Transport::Ws | Transport::Wss => None,
        };
        drop(table);
        let Some((id, receiver)) = added else {
            Metrics::add(&shared.metrics.sip_send_failures);
            unreachable_by(&shared, path);
            return;
        };
        self.send(Path { connection: id, ..path }, bytes);
        let path = Path { connection: id, ..path };
        shared.runtime.clone().spawn(async move { serve::outgoing(shared, path, receiver).await });
    }

    /// Its certificate shows that a connection comes from this gateway.
    fn known_as(&self, connection: u64, gateway: Option<usize>) {
        if let Some(connection) = self.lock().connections.get_mut(&connection) {
            connection.gateway = gateway;
        }
    }

    /// The gateway that the certificate of a connection shows.
    pub fn gateway_of(&self, path: &Path) -> Option<usize> {
        if path.transport != Transport::Tls {
            return None;
        }
        self.lock().connections.get(&path.connection)?.gateway
    }

    /// Whether a connection to a peer is there.
    fn reaches(&self, path: Path) -> bool {
        self.lock().by_peer(path).is_some()
    }

    /// Closes a connection.
    pub fn close(&self, connection: u64) {
        self.lock().remove(connection);
    }

    /// Closes all of them.
    pub fn close_all(&self) {
        *self.lock() = Table::default();
    }

    /// A whole message came by it.
    fn proven(&self, connection: u64) {
        if let Some(connection) = self.lock().connections.get_mut(&connection) {
            connection.proven = true;
        }
    }

    /// A place for a connection that somebody opened; `None`: too many.
    fn add(&self, transport: Transport, remote: SocketAddr) -> Option<(u64, mpsc::Receiver<Bytes>)> {
        let mut table = self.lock();
        let of_source = table.sources.get(&remote.ip().to_canonical()).copied().unwrap_or(0);
        if of_source >= self.settings.limits.per_source {
            return None;
        }
        while table.connections.len() >= self.settings.limits.connections {
            // Whoever has said nothing yet makes room, the oldest first.
            let oldest = table.unproven.pop_front()?;
            if table.connections.get(&oldest).is_some_and(|c| !c.proven) {
                table.remove(oldest);
            }
        }
        self.insert(&mut table, transport, remote, false)
    }

    fn insert(
        &self,
        table: &mut Table,
        transport: Transport,
        remote: SocketAddr,
        proven: bool,
    ) -> Option<(u64, mpsc::Receiver<Bytes>)> {
        if table.connections.len() >= self.settings.limits.connections {
            return None;
        }
        let (sender, receiver) = mpsc::channel(QUEUED);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        *table.sources.entry(remote.ip().to_canonical()).or_default() += 1;
        if !proven {
            if table.unproven.len() >= 2 * self.settings.limits.connections {
                let Table { connections, unproven, .. } = table;
                unproven.retain(|id| connections.get(id).is_some_and(|c| !c.proven));
            }
            table.unproven.push_back(id);
        }
        table.connections.insert(id, Connection { sender, transport, remote, proven, gateway: None });
        Some((id, receiver))
    }
}

/// Nothing can be sent there: what waits for an answer learns it.
fn unreachable_by(shared: &Shared, path: Path) {
    for mailbox in &shared.mailboxes {
        mailbox.post(Mail::Unreachable { path });
    }
}

/// Accepts connections until the process ends.
pub async fn accept(shared: Arc<Shared>, listener: TcpListener, listen: Listen) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => match shared.streams.add(listen.transport, remote) {
                Some((id, receiver)) => {
                    let path = Path { transport: listen.transport, local: listen.address, remote, connection: id };
                    tokio::spawn(serve::incoming(shared.clone(), stream, path, receiver));
                }
                None => Metrics::add(&shared.metrics.streams_refused),
            },
            Err(error) => {
                // Out of descriptors, mostly: others will be closed.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(connections: usize, per_source: usize) -> Streams {
        let env = [
            ("HOTLINE_NODE_SIP_STREAM_CONNECTIONS".to_string(), connections.to_string()),
            ("HOTLINE_NODE_SIP_STREAM_CONNECTIONS_PER_SOURCE".to_string(), per_source.to_string()),
        ];
        let config = crate::config::Config::read("", &env.into()).unwrap();
        Streams::new(config.sip.streams, Vec::new(), None)
    }

    fn at(ip: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, ip], port))
    }

    #[test]
    fn one_source_gets_no_more_than_its_share() {
        let streams = streams(100, 2);
        let (first, _a) = streams.add(Transport::Tcp, at(1, 1)).unwrap();
        let (_, _b) = streams.add(Transport::Wss, at(1, 2)).unwrap();
        assert!(streams.add(Transport::Tcp, at(1, 3)).is_none());
        assert!(streams.add(Transport::Tcp, at(2, 1)).is_some());
        streams.close(first);
        streams.close(first);
        assert!(streams.add(Transport::Tcp, at(1, 3)).is_some());
    }

    #[test]
    fn who_has_said_nothing_makes_room_and_who_has_stays() {
        let streams = streams(3, 3);
        let (talker, mut talks) = streams.add(Transport::Tcp, at(1, 1)).unwrap();
        streams.proven(talker);
        let (_, mut mute) = streams.add(Transport::Tcp, at(2, 1)).unwrap();
        let (later, _l) = streams.add(Transport::Tcp, at(3, 1)).unwrap();
        let (newcomer, _n) = streams.add(Transport::Tcp, at(4, 1)).unwrap();
        assert!(mute.blocking_recv().is_none(), "the oldest mute one was closed");
        streams.proven(later);
        streams.proven(newcomer);
        assert!(streams.add(Transport::Tcp, at(5, 1)).is_none(), "all have said something");
        assert!(talks.try_recv().is_err_and(|e| e == mpsc::error::TryRecvError::Empty));
    }

    #[test]
    fn messages_go_to_the_peer_by_its_transport_only() {
        let streams = streams(10, 10);
        let (_, mut tcp) = streams.add(Transport::Tcp, at(1, 1)).unwrap();
        let (tls, mut secure) = streams.add(Transport::Tls, at(1, 1)).unwrap();
        let path = |transport, connection| Path { transport, local: at(9, 9), remote: at(1, 1), connection };
        streams.send(path(Transport::Tls, 0), Bytes::from_static(b"a"));
        streams.send(path(Transport::Tls, tls), Bytes::from_static(b"b"));
        assert_eq!(secure.blocking_recv().unwrap(), "a");
        assert_eq!(secure.blocking_recv().unwrap(), "b");
        assert!(tcp.try_recv().is_err());
    }

    #[test]
    fn a_slow_reader_is_closed() {
        let streams = streams(10, 10);
        let (id, mut receiver) = streams.add(Transport::Tcp, at(1, 1)).unwrap();
        let path = Path { transport: Transport::Tcp, local: at(9, 9), remote: at(1, 1), connection: id };
        for _ in 0..=QUEUED {
            streams.send(path, Bytes::new());
        }
        let mut left = 0;
        while receiver.blocking_recv().is_some() {
            left += 1;
        }
        assert_eq!(left, QUEUED);
    }

    #[test]
    fn peers_are_known_by_name_where_one_was_looked_up() {
        let streams = streams(1, 1);
        streams.name_peer(at(1, 5061), "sip.example");
        assert_eq!(streams.name_of(at(1, 5061)), "sip.example");
        assert_eq!(streams.name_of(at(1, 5062)), "10.0.0.1");
    }
}
