//! What an [`crate::Endpoint`] is told at its construction.

use std::net::SocketAddr;
use std::time::Duration;

use crate::api::{Path, Transport};

/// What the policy says about the sender of a request outside any dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Accepted as it is (a trunk's address, the loopback).
    Trusted,
    /// Must prove an account by digest.
    Digest,
    /// Refused with this status, 400 to 699.
    Refused(u16),
}

/// What the authentication policy looks at.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The way it came.
    pub path: Path,
    /// INVITE, REGISTER, ...; empty for a message too malformed to have one.
    pub method: &'a str,
    /// The Request-URI as text.
    pub uri: &'a str,
    /// The user part of the Request-URI, unescaped.
    pub uri_user: &'a str,
    /// The user part of `From`, unescaped.
    pub from_user: &'a str,
    /// The value of the header that [`EndpointConfig::token_header`] names, where the request has it.
    pub token: Option<&'a str>,
}

/// Decides how far a request outside any dialog is trusted.
pub type AuthPolicy = Box<dyn Fn(&RequestFacts<'_>) -> Trust + Send>;

/// An address of ours as peers see it, where it differs from the socket's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// For this transport.
    pub transport: Transport,
    /// The socket's address, as in [`Path::local`].
    pub local: SocketAddr,
    /// Host name or address written into `Via` and `Contact`.
    pub host: String,
    /// Port written into `Via` and `Contact`.
    pub port: u16,
}

/// The timers of RFC 3261 table 4, from which all others follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Round-trip estimate.
    pub t1: Duration,
    /// Longest interval of a retransmission.
    pub t2: Duration,
    /// Longest life of a message in the network.
    pub t4: Duration,
    /// Session-Expires we ask for (RFC 4028); `None`: only where the peer asks.
    pub session_expires: Option<Duration>,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            session_expires: Some(Duration::from_secs(1_800)),
        }
    }
}

/// How many requests outside calls a source may send that is not [`Trust::Trusted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerSource {
    /// Refilled each second.
    pub per_second: u32,
    /// At most at once: as many phones as may start behind one address, twice.
    pub burst: u32,
}

/// The bounds of everything a peer can make grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Call halves, counting both directions; above it new INVITEs get 503.
    pub calls: usize,
    /// Transactions in progress; above it new requests outside a dialog get a stateless 503.
    pub transactions: usize,
    /// Ended transactions that absorb late repetitions (up to 64·T1 each); above it the oldest are
    /// forgotten.
    pub lingering: usize,
    /// Seconds in the Retry-After of these 503s.
    pub retry_after_s: u32,
    /// Stream connections with a partial message.
    pub streams: usize,
    /// Nonces remembered for nc replay checks.
    pub nonces: usize,
    /// A nonce's life.
    pub nonce_life: Duration,
    /// Failed digests of one user from one address before the lock-out.
    pub auth_failures: u32,
    /// How long a lock-out lasts.
    pub lock_out: Duration,
    /// Requests above it are dropped without an answer; `None`: no limit.
    pub per_source: Option<PerSource>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 20_000,
            transactions: 60_000,
            lingering: 100_000,
            retry_after_s: 10,
            streams: 4_096,
            nonces: 20_000,
            nonce_life: Duration::from_secs(300),
            auth_failures: 10,
            lock_out: Duration::from_secs(300),
            per_source: Some(PerSource { per_second: 50, burst: 300 }),
        }
    }
}

/// Which part of the Call-IDs this endpoint owns, when several share the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// 0 to `count - 1`.
    pub index: usize,
    /// At least 1.
    pub count: usize,
}

/// Everything an endpoint needs to know.
pub struct EndpointConfig {
    /// The realm of our challenges.
    pub realm: String,
    /// Addresses that differ from the sockets'; for the others `Path::local` is written.
    pub advertised: Vec<Advertised>,
    /// Who must authenticate.
    pub auth: AuthPolicy,
    /// A header that the policy wants to see, such as one that other nodes sign.
    pub token_header: Option<&'static str>,
    /// User-Agent prefixes that are offered MD5 alone: they fail on a challenge they do not know
    /// instead of passing on to the next, as RFC 8760 §2.4 asks (measured: baresip 1.0, SIPp 3.6).
    pub md5_only_agents: Vec<String>,
    /// Timers.
    pub timers: Timers,
    /// Bounds.
    pub limits: Limits,
    /// Call-IDs made here belong to this shard (see [`crate::shard_of`]).
    pub shard: Shard,
}

impl EndpointConfig {
    /// Defaults: everybody is trusted, one shard.
    pub fn new(realm: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            advertised: Vec::new(),
            auth: Box::new(|_| Trust::Trusted),
            token_header: None,
            md5_only_agents: ["baresip v0.", "baresip v1.", "SIPp"].map(String::from).to_vec(),
            timers: Timers::default(),
            limits: Limits::default(),
            shard: Shard { index: 0, count: 1 },
        }
    }
}
