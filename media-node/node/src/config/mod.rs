//! Configuration: a TOML file, overridden by `HOTLINE_NODE_<SECTION>_<KEY>`, checked whole.

mod codecs;
mod metadata;
mod read;
mod streams;
mod tap;
mod trunk;

pub use metadata::MetadataSection;
pub use read::{ConfigErrors, EXAMPLE};
pub use streams::{StreamLimits, StreamSettings, TlsFiles};
pub use tap::{TapSection, TapTarget};
pub use trunk::{Gateway, Identity, NumberForm, TrunkSection};

use hotline_base::NodeId;
use hotline_session::SrtpPolicy;
use hotline_session::sdp::CodecList;
use hotline_sip::api::Transport;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Everything a node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[node]`
    pub node: NodeSection,
    /// `[sip]`
    pub sip: SipSection,
    /// `[media]`
    pub media: MediaSection,
    /// Addresses that are asked for at the start.
    pub metadata: MetadataSection,
    /// `[http]`
    pub http: HttpSection,
    /// `[cloud]`
    pub cloud: CloudSection,
    /// `[trunk]`
    pub trunk: TrunkSection,
    /// `[capture]`
    pub capture: CaptureSection,
    /// `[tap]`
    pub tap: TapSection,
    /// `[log]`
    pub log: LogSection,
}

/// Who the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSection {
    /// `None`: made at the first start and kept in `data_dir`.
    pub id: Option<NodeId>,
    /// Holds the node's id and the recordings' spool.
    pub data_dir: PathBuf,
    /// After SIGTERM calls may go on for so long, seconds.
    pub drain_s: u64,
    /// Shared by all nodes: signs calls from one to a phone of another. `None`: there are no others.
    pub fleet_key: Option<FleetKey>,
}

/// A secret that nodes share.
#[derive(Clone, PartialEq, Eq)]
pub struct FleetKey(pub String);

impl std::fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FleetKey(…)")
    }
}

/// One listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// How.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Its address.
    pub ip: IpAddr,
    /// Bits that count.
    pub prefix: u8,
}

impl Network {
    /// Whether an address lies in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let ((a, a_len), (b, b_len)) = (bits(self.ip), bits(ip.to_canonical()));
        let prefix = u32::from(self.prefix);
        a_len == b_len && (prefix == 0 || (a ^ b) >> (128 - prefix) == 0)
    }
}

/// SIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipSection {
    /// Sockets.
    pub listen: Vec<Listen>,
    /// Digest realm, and the host in `From` towards agents' phones.
    pub realm: String,
    /// Host or address that peers reach the node at, where it differs from the sockets'.
    pub advertise: Option<String>,
    /// Sources that may call without a digest (trunks).
    pub trusted: Vec<Network>,
    /// Phones must prove their account to register.
    pub register_auth: bool,
    /// Threads for SIP and call logic; 0: by the number of cores.
    pub workers: usize,
    /// Call halves; above it new calls get 503.
    pub max_calls: usize,
    /// Longest life of a registration, seconds.
    pub register_max_s: u32,
    /// Country code for dialled numbers without one, such as `86`; empty: left as they are.
    pub country_code: String,
    /// Name servers; empty: those of the system.
    pub dns: Vec<SocketAddr>,
    /// TCP, TLS and WebSocket.
    pub streams: StreamSettings,
}

/// Media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSection {
    /// Sockets bind here.
    pub bind: IpAddr,
    /// Written into session descriptions, where it differs.
    pub advertise: Option<IpAddr>,
    /// First RTP port.
    pub first_port: u16,
    /// Last RTP port.
    pub last_port: u16,
    /// Threads; 0: by the number of cores.
    pub threads: usize,
    /// No new recordings while the spool holds more, megabytes.
    pub spool_limit_mb: u64,
    /// A call without audio from its caller ends after so long, seconds; 0: never.
    pub silence_s: u32,
    /// Sounds kept in memory, megabytes.
    pub prompt_cache_mb: u64,
    /// SRTP with keys in descriptions.
    pub srtp: SrtpPolicy,
    /// The codecs that are spoken, the preferred one first.
    pub codecs: CodecList,
}

/// Health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSection {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
}

/// Names in the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloudSection {
    /// The function that decides about calls.
    pub ivr_function: String,
    /// The function that knows SIP users and nodes.
    pub directory_function: String,
    /// A node's queue is called this and its id.
    pub node_queue_prefix: String,
    /// Bucket.
    pub recordings_bucket: String,
    /// Bucket.
    pub prompts_bucket: String,
}

/// Captures of SIP messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureSection {
    /// `host:port` of a HEP collector that gets every message; `None`: there is none.
    pub hep: Option<String>,
    /// Names this node there.
    pub hep_id: u32,
    /// Files kept, below `data_dir`.
    pub max_files: usize,
    /// The size of each at most, megabytes.
    pub max_mb: u64,
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSection {
    /// A filter such as `info` or `media_node=debug`.
    pub level: String,
    /// JSON lines instead of text.
    pub json: bool,
}

impl Config {
    /// SIP worker threads.
    pub fn workers(&self) -> usize {
        match self.sip.workers {
            0 => (cores() / 2).clamp(1, 16),
            n => n,
        }
    }

    /// Media threads.
    pub fn media_threads(&self) -> usize {
        match self.media.threads {
            0 => cores().clamp(1, 64),
            n => n,
        }
    }

    /// The address in session descriptions.
    pub fn media_ip(&self) -> IpAddr {
        self.media.advertise.unwrap_or(self.media.bind)
    }

    /// The host that peers see.
    pub fn host(&self) -> String {
        self.sip.advertise.clone().unwrap_or_else(|| {
            self.sip.listen.first().map_or_else(|| "localhost".into(), |l| l.address.ip().to_string())
        })
    }

    /// `host:port` that other nodes reach this one at.
    pub fn sip_address(&self) -> String {
        let port = self.sip.listen.first().map_or(5060, |l| l.address.port());
        format!("{}:{port}", self.host())
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let net = |ip: &str, prefix| Network { ip: ip.parse().unwrap(), prefix };
        assert!(net("127.0.0.1", 32).contains("127.0.0.1".parse().unwrap()));
        assert!(net("10.0.0.0", 8).contains("10.255.0.1".parse().unwrap()));
        assert!(!net("10.0.0.0", 8).contains("11.0.0.1".parse().unwrap()));
        assert!(net("0.0.0.0", 0).contains("8.8.8.8".parse().unwrap()));
        assert!(!net("0.0.0.0", 0).contains("::1".parse().unwrap()));
        assert!(net("2001:db8::", 32).contains("2001:db8:1::1".parse().unwrap()));
        assert!(net("127.0.0.0", 8).contains("::ffff:127.0.0.1".parse().unwrap()));
    }
}
