//! A running node: started whole or not at all, drained, stopped.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hotline_base::{Lang, NodeId};
use hotline_ports::{NodeCommands, Objects};
use hotline_rtp::spool::UploaderConfig;
use hotline_rtp::{MediaConfig, MediaEngine, PortRange, event_queue};
use hotline_session::SessionConfig;
use hotline_sip::api::Transport;
use hotline_sip::{Advertised, AuthPolicy, Endpoint, EndpointConfig, Limits, Shard, Trust};
use hotline_wire::node::{Fallback, Prompt};

use crate::capture::Captures;
use crate::config::{Config, Listen, Network};
use crate::decisions::{Accounts, Decider, Decisions};
use crate::dispatch::Dispatch;
use crate::dns::Dns;
use crate::files::FileObjects;
use crate::fleet::{RING_HEADER, Rings};
use crate::gateways::Gateways;
use crate::mailbox::{Mail, Mailbox};
use crate::metrics::Metrics;
use crate::registrar::Registrar;
use crate::shared::{Relayed, Shared, UdpListener};
use crate::sounds::SoundCache;
use crate::standalone::{DecisionFile, StandAlone};
use crate::streams::tls::{self, Tls};
use crate::streams::{self, Streams};
use crate::tap::Taps;
use crate::trace::Trace;
use crate::uploads::{self, Uploads};
use crate::worker::Worker;
use crate::{clock, commands, fleet, http, lease, limits, metadata};

/// Media events that may wait for a worker.
const MEDIA_EVENTS: usize = 16_384;
/// Receive and send buffers of UDP sockets, bytes: a burst must not be lost while a worker works.
const SOCKET_BUFFER: usize = 4 << 20;
/// A browser that is not heard may come back for so long; the others hear music.
const RESUME_MS: u64 = 40_000;
/// Reports of calls that are not here, on their way at a time.
const LOST_REPORTS: usize = 32;
/// After the last call its reports and recordings may take so long.
const FAREWELL: Duration = Duration::from_secs(15);

/// Where decisions, prompts and commands come from.
pub enum Source {
    /// A decision file; recordings are written below the data folder.
    File {
        /// Checked.
        file: DecisionFile,
        /// Read again on a reload.
        path: Option<PathBuf>,
    },
    /// The functions.
    Remote {
        /// `ivr` and `directory`.
        decisions: Arc<dyn Decisions>,
        /// The node's queue.
        commands: Arc<dyn NodeCommands>,
        /// Prompts and recordings.
        objects: Arc<dyn Objects>,
    },
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A setting that this machine does not allow.
    #[error("{0}")]
    Setting(String),
    /// The media engine refused its configuration.
    #[error("media: {0}")]
    Media(#[from] hotline_rtp::MediaError),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        source: io::Error,
    },
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> NodeError {
    let what = what.into();
    move |source| NodeError::Io { what, source }
}

/// A running node.
pub struct Node {
    shared: Arc<Shared>,
    trusted: Arc<RwLock<Vec<Network>>>,
    commands: Option<Arc<dyn NodeCommands>>,
    workers: Vec<JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    uploads: Option<JoinHandle<()>>,
    engine: MediaEngine,
    http: Option<SocketAddr>,
}

impl Node {
    /// Starts everything; within the given runtime.
    ///
    /// # Errors
    /// What is missing or taken, with its remedy; nothing keeps running then.
    pub async fn start(mut config: Config, source: Source) -> Result<Node, NodeError> {
        metadata::resolve(&mut config).await.map_err(|e| NodeError::Setting(e.to_string()))?;
        std::fs::create_dir_all(&config.node.data_dir)
            .map_err(io_error(format!("node.data_dir: {} cannot be made", config.node.data_dir.display())))?;
        let node = node_id(&config)?;

        // Sockets first: a taken port is the most likely trouble.
        let udp = bind_udp(&config.sip.listen)?;
        let tls = Tls::load(&config.sip.streams).map_err(|e| NodeError::Setting(e.to_string()))?;
        let listeners = bind_streams(&config.sip.listen).await?;
        let listening = listeners.iter().map(|(_, listen)| *listen).collect();
        let web = match config.http.listen {
            Some(address) => Some(listen_tcp("http.listen", address).await?),
            None => None,
        };

        let pairs = u64::from(config.media.last_port - config.media.first_port).div_ceil(2);
        let voices = config.tap.connect.as_ref().map_or(0, |_| config.tap.max_streams as u64);
        if let Some(short) = limits::raise_descriptors(pairs, voices) {
            tracing::warn!("{short}");
        }

        let count = config.workers();
        let mailboxes: Vec<Mailbox> = (0..count)
            .map(|_| Mailbox::new())
            .collect::<Result<_, _>>()
            .map_err(io_error("a worker's wake-up descriptor"))?;
        let (senders, receivers): (Vec<_>, Vec<_>) = mailboxes
            .iter()
            .map(|mailbox| {
                let mailbox = mailbox.clone();
                event_queue(MEDIA_EVENTS, move || mailbox.wake())
            })
            .unzip();
        let engine = MediaEngine::start(media_config(&config, pairs), senders)?;

        let (decider, commands, objects): (_, _, Arc<dyn Objects>) = match source {
            Source::File { file, .. } if file.taps() && config.tap.connect.is_none() => {
                let remedy = "tap.connect: is empty, and the decision file asks for a tap: name the place where \
                              the speech engine listens";
                return Err(NodeError::Setting(remedy.into()));
            }
            Source::File { file, path } => {
                let stand_alone = Arc::new(StandAlone::new(node, file, path));
                let objects = FileObjects::new(config.node.data_dir.clone());
                (Decider::Local(stand_alone), None, Arc::new(objects))
            }
            Source::Remote { decisions, commands, objects } => (Decider::Remote(decisions), Some(commands), objects),
        };
        let trusted = Arc::new(RwLock::new(config.sip.trusted.clone()));
        let shared = Arc::new(Shared {
            registrar: Registrar::new(config.sip.register_max_s),
            sounds: SoundCache::new((config.media.prompt_cache_mb as usize) << 20),
            node,
            started_at: clock::wall(),
            decider,
            accounts: Accounts::default(),
            objects,
            uploads: Uploads::default(),
            metrics: Metrics::default(),
            media: engine.handle(),
            dispatch: Dispatch::new(mailboxes.len()),
            mailboxes,
            runtime: tokio::runtime::Handle::current(),
            udp,
            streams: Streams::new(config.sip.streams.clone(), listening, tls),
            trace: Trace::default(),
            captures: Captures::new(&config.capture, &config.node.data_dir),
            taps: Taps::new(&config.tap),
            draining: AtomicBool::new(false),
            gateways: Gateways::new(&config.trunk, Instant::now()),
            dns: dns(&config),
            gate: Arc::default(),
            rings: Rings::default(),
            relayed: Relayed::default(),
            own_token: format!("own {}", hex::encode(clock::random::<32>())),
            phone_reports: Default::default(),
            lost_reports: Arc::new(tokio::sync::Semaphore::new(LOST_REPORTS)),
            config,
        });
        shared.streams.attach(&shared);
        lease::restore_phones(&shared);

        let session_config = Arc::new(session_config(&shared));
        let mut workers = Vec::new();
        for (index, receiver) in receivers.into_iter().enumerate() {
            let endpoint = Endpoint::new(endpoint_config(&shared, index, trusted.clone()), clock::random());
            let worker = Worker::new(index, shared.clone(), endpoint, session_config.clone(), receiver);
            let thread = std::thread::Builder::new()
                .name(format!("sip-{index}"))
                .spawn(move || worker.run())
                .map_err(io_error("a SIP worker thread"))?;
            workers.push(thread);
        }
        // A crash after the last upload must not cost its report.
        let uploader = engine.uploader(UploaderConfig { keep_until_confirmed: true, ..UploaderConfig::default() });
        let uploads = uploads::start(shared.clone(), uploader).map_err(io_error("the upload thread"))?;

        let mut tasks = Vec::new();
        if let Some(queue) = &commands {
            // Agents are only sent here once their commands can arrive.
            let opened = commands::open(&shared, queue.as_ref());
            if tokio::time::timeout(Duration::from_secs(10), opened).await.is_err() {
                tracing::error!("the command queue is not open yet; it is tried on");
            }
            tasks.push(tokio::spawn(commands::receive(shared.clone(), queue.clone())));
        }
        for (listener, listen) in listeners {
            tasks.push(tokio::spawn(streams::accept(shared.clone(), listener, listen)));
        }
        if shared.streams.tls().is_some() {
            tasks.push(tokio::spawn(tls::watch(shared.clone())));
        }
        tasks.push(tokio::spawn(lease::renew(shared.clone())));
        tasks.push(tokio::spawn(lease::housekeeping(shared.clone())));
        let http = web.as_ref().and_then(|l| l.local_addr().ok());
        if let Some(listener) = web {
            tasks.push(tokio::spawn(http::serve(shared.clone(), listener)));
        }
        tracing::info!(
            node = %shared.node,
            sip = ?shared.config.sip.listen.iter().map(|l| l.address).collect::<Vec<_>>(),
            http = ?http,
            workers = count,
            media_threads = shared.config.media_threads(),
            "ready"
        );
        Ok(Node { shared, trusted, commands, workers, tasks, uploads: Some(uploads), engine, http })
    }

    /// Where SIP over UDP is received, for tests that ask for any port.
    pub fn udp_address(&self) -> Option<SocketAddr> {
        self.shared.udp.first().map(|l| l.local)
    }

    /// Where SIP over a stream transport is received, for tests that ask for any port.
    pub fn stream_address(&self, transport: Transport) -> Option<SocketAddr> {
        self.shared.streams.listening().iter().find(|l| l.transport == transport).map(|l| l.address)
    }

    /// Where health and metrics are answered.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.shared.node
    }

    /// Takes over what can change while calls go on: trusted networks and the decision file.
    pub fn reload(&self, config: &Config) {
        *self.trusted.write().unwrap_or_else(|e| e.into_inner()) = config.sip.trusted.clone();
        tls::look(&self.shared);
        if let Decider::Local(stand_alone) = &self.shared.decider
            && let Err(errors) = stand_alone.reload()
        {
            tracing::error!(%errors, "the decision file is wrong; the old one stays");
        }
        let mut comparable = config.clone();
        comparable.sip.trusted = self.shared.config.sip.trusted.clone();
        comparable.log = self.shared.config.log.clone();
        if config.metadata.sip {
            comparable.sip.advertise = self.shared.config.sip.advertise.clone();
        }
        if config.metadata.media {
            comparable.media.advertise = self.shared.config.media.advertise;
        }
        if comparable != self.shared.config {
            tracing::warn!("some changed settings take effect only after a restart");
        }
        tracing::info!("reloaded");
    }

    /// Takes no new calls and waits until the others end, at most `limit` and until `hurry`.
    pub async fn drain(&self, limit: Duration, hurry: impl Future<Output = ()>) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.mail_all(|| Mail::RefuseNewCalls(true));
        let calls = self.calls();
        tracing::info!(calls, limit_s = limit.as_secs(), "draining: no new calls");
        let finished = self.wait_until(limit, || self.calls() == 0);
        tokio::select! {
            _ = finished => {}
            () = hurry => tracing::info!("told to hurry"),
        }
        if self.calls() > 0 {
            tracing::warn!(calls = self.calls(), "ending the calls that are left");
            self.mail_all(|| Mail::EndAll);
        }
        let quiet = || {
            self.shared.metrics.sessions.load(Ordering::Relaxed) == 0
                && self.shared.media.metrics().recordings == 0
                && self.shared.uploads.pending.load(Ordering::Relaxed) == 0
        };
        // The uploads' figure is a second old at most.
        if calls > 0 {
            tokio::time::sleep(Duration::from_millis(1_200)).await;
        }
        if !self.wait_until(FAREWELL, quiet).await {
            tracing::warn!("some reports or recordings were not delivered; recordings stay in the spool");
        }
        if let Some(queue) = &self.commands {
            lease::give_back(&self.shared).await;
            if let Err(fault) = queue.close(self.shared.node).await {
                tracing::warn!(error = %fault, "the command queue was not closed");
            }
        }
    }

    fn calls(&self) -> u64 {
        self.shared.metrics.calls.load(Ordering::Relaxed) + self.shared.metrics.relays.load(Ordering::Relaxed)
    }

    fn mail_all(&self, mail: impl Fn() -> Mail) {
        for mailbox in &self.shared.mailboxes {
            mailbox.post(mail());
        }
    }

    async fn wait_until(&self, limit: Duration, done: impl Fn() -> bool) -> bool {
        let until = Instant::now() + limit;
        while !done() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        true
    }

    /// Ends all threads and tasks; calls that are left end without a word to anybody. Not to be
    /// called from within an async task.
    pub fn stop(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = self.shared.runtime.block_on(task);
        }
        self.shared.streams.close_all();
        self.mail_all(|| Mail::Stop);
        for worker in self.workers {
            let _ = worker.join();
        }
        self.shared.uploads.stop();
        if let Some(uploads) = self.uploads {
            let _ = uploads.join();
        }
        self.engine.shutdown();
    }
}

/// Checks what the configuration refers to, without starting anything.
///
/// # Errors
/// What is wrong with the certificate, with its remedy.
pub fn check(config: &Config) -> Result<(), NodeError> {
    Tls::load(&config.sip.streams).map(drop).map_err(|e| NodeError::Setting(e.to_string()))
}

/// The configured id, or the one that was made at the first start.
fn node_id(config: &Config) -> Result<NodeId, NodeError> {
    if let Some(id) = config.node.id {
        return Ok(id);
    }
    let path = config.node.data_dir.join("node-id");
    match std::fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|e| NodeError::Setting(format!("{}: {e}: correct or delete the file", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = NodeId::new(clock::wall(), u128::from_be_bytes(clock::random()));
            std::fs::write(&path, format!("{id}\n")).map_err(io_error(format!("{}", path.display())))?;
            Ok(id)
        }
        Err(error) => Err(io_error(format!("{}", path.display()))(error)),
    }
}

fn bind_udp(listen: &[Listen]) -> Result<Vec<UdpListener>, NodeError> {
    let wanted = listen.iter().filter(|l| l.transport == Transport::Udp);
    wanted
        .map(|l| {
            let failed = |e: io::Error| NodeError::Setting(limits::explain("sip.listen", "udp", l.address, &e));
            let socket = UdpSocket::bind(l.address).map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            let sizes = socket2::SockRef::from(&socket);
            let _ = sizes.set_recv_buffer_size(SOCKET_BUFFER);
            let _ = sizes.set_send_buffer_size(SOCKET_BUFFER);
            let local = socket.local_addr().map_err(failed)?;
            Ok(UdpListener { local, socket })
        })
        .collect()
}

async fn listen_tcp(setting: &str, address: SocketAddr) -> Result<tokio::net::TcpListener, NodeError> {
    tokio::net::TcpListener::bind(address)
        .await
        .map_err(|e| NodeError::Setting(limits::explain(setting, "tcp", address, &e)))
}

async fn bind_streams(listen: &[Listen]) -> Result<Vec<(tokio::net::TcpListener, Listen)>, NodeError> {
    let mut listeners = Vec::new();
    for l in listen {
        let setting = match l.transport {
            Transport::Udp => continue,
            Transport::Tcp => "sip.listen",
            Transport::Tls => "sip.tls_listen",
            Transport::Ws => "sip.ws_listen",
            Transport::Wss => "sip.wss_listen",
        };
        let listener = listen_tcp(setting, l.address).await?;
        let address = listener.local_addr().map_err(io_error(setting))?;
        listeners.push((listener, Listen { transport: l.transport, address }));
    }
    Ok(listeners)
}

fn media_config(config: &Config, pairs: u64) -> MediaConfig {
    MediaConfig {
        threads: config.media_threads(),
        bind_ip: config.media.bind,
        ports: PortRange { first: config.media.first_port, last: config.media.last_port },
        spool_dir: spool_dir(&config.node.data_dir),
        spool_limit_bytes: config.media.spool_limit_mb << 20,
        silence_ms: config.media.silence_s.saturating_mul(1_000),
        max_legs: pairs as usize,
        ..MediaConfig::default()
    }
}

fn spool_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("spool")
}

fn session_config(shared: &Shared) -> SessionConfig {
    let tone = |hz: u16, on_ms, off_ms, times| Prompt::Tone { hz: vec![hz], on_ms, off_ms, times, then: Vec::new() };
    SessionConfig {
        node: shared.node,
        host: shared.config.sip.realm.clone(),
        company_after_ms: 2_000,
        load_ms: 4_000,
        // Until a flow pins its own words: a tone that says the line is alive.
        fallback: Fallback {
            apology: Vec::new(),
            music: tone(440, 250, 3_750, 1),
            lang: Lang::default(),
            give_up_ms: 120_000,
        },
        farewell_ms: 600_000,
        ring_at_once: true,
        own_hosts: own_hosts(&shared.config),
        srtp: shared.config.media.srtp,
        codecs: shared.config.media.codecs,
        fingerprint: shared.media.fingerprint(),
        resume_ms: RESUME_MS,
    }
}

/// Looks names up for what this node can send by.
fn dns(config: &Config) -> Dns {
    let transports: Vec<Transport> = config.sip.listen.iter().map(|l| l.transport).collect();
    let v6 = config.sip.listen.iter().any(|l| l.address.is_ipv6());
    Dns::new(&config.sip.dns, transports, v6)
}

/// Hosts in URIs that mean this node.
fn own_hosts(config: &Config) -> Vec<String> {
    let listen = config.sip.listen.iter().map(|l| l.address.ip().to_string());
    [config.sip.realm.clone(), config.host()].into_iter().chain(listen).collect()
}

fn endpoint_config(shared: &Arc<Shared>, index: usize, trusted: Arc<RwLock<Vec<Network>>>) -> EndpointConfig {
    let config = &shared.config;
    let workers = shared.mailboxes.len();
    let limits = Limits {
        calls: config.sip.max_calls.div_ceil(workers),
        transactions: (config.sip.max_calls * 3).div_ceil(workers),
        ..Limits::default()
    };
    let advertised = match &config.sip.advertise {
        None => Vec::new(),
        Some(host) => config
            .sip
            .listen
            .iter()
            .map(|l| Advertised {
                transport: l.transport,
                local: l.address,
                host: host.clone(),
                port: l.address.port(),
            })
            .collect(),
    };
    let register_auth = config.sip.register_auth;
    let ws_auth = config.sip.streams.ws_auth;
    let at = shared.clone();
    let auth: AuthPolicy = Box::new(move |request| {
        // Another node shows its signature instead of a digest.
        if let ("INVITE", Some(token)) = (request.method, request.token) {
            if at.is_own(token) {
                return Trust::Trusted;
            }
            return match fleet::verify(at.config.node.fleet_key.as_ref(), token, request.uri_user, clock::wall()) {
                Ok(_) => Trust::Trusted,
                Err(error) => {
                    // Said less and less often: anybody may send these.
                    let refused = at.metrics.relays_refused.fetch_add(1, Ordering::Relaxed) + 1;
                    if refused.is_power_of_two() {
                        let source = request.path.remote;
                        tracing::warn!(%error, %source, refused, "a ring of another node was refused");
                    }
                    Trust::Refused(403)
                }
            };
        }
        let ip = request.path.remote.ip();
        let networks = trusted.read().unwrap_or_else(|e| e.into_inner());
        // Behind a proxy all browsers come from its address.
        let browser = ws_auth && matches!(request.path.transport, Transport::Ws | Transport::Wss);
        let trusted = !browser
            && (networks.iter().any(|n| n.contains(ip))
                || at.gateways.accepts(ip, at.streams.gateway_of(&request.path)));
        match (trusted, request.method) {
            (true, "REGISTER") if register_auth => Trust::Digest,
            (true, _) => Trust::Trusted,
            (false, _) => Trust::Digest,
        }
    });
    EndpointConfig {
        advertised,
        auth,
        limits,
        shard: Shard { index, count: workers },
        token_header: Some(RING_HEADER),
        ..EndpointConfig::new(config.sip.realm.clone())
    }
}
