//! Reading and checking the configuration: every mistake at once, each with its remedy.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hotline_session::SrtpPolicy;
use hotline_sip::api::Transport;

use super::{
    CaptureSection, CloudSection, Config, FleetKey, HttpSection, Listen, LogSection, MediaSection, Network,
    NodeSection, SipSection,
};

/// The shortest secret that nodes may share.
const FLEET_KEY_CHARS: usize = 16;

/// All settings with their defaults, as `--help` shows them.
pub const EXAMPLE: &str = r#"[node]
# id = "nod_01JD0000000000000000000000"   # made at the first start and kept in data_dir
data_dir = "node-data"                    # the node's id and the recordings' spool
drain_s = 600                             # after SIGTERM calls may go on for so long
fleet_key = ""                            # the same secret on all nodes: they ring each other's phones

[sip]
listen = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
realm = "hotline"
# advertise = "203.0.113.7"               # needed when listening on 0.0.0.0; "metadata": asked of EC2 (IMDSv2)
trusted = ["127.0.0.1/32"]                # may call without a digest
register_auth = true                      # phones prove their account to register
workers = 0                               # 0: by the number of cores
max_calls = 20000                         # call halves; above it new calls get 503
register_max_s = 3600
country_code = ""                         # for dialled numbers without one, such as "86"
dns = []                                  # name servers, such as "192.0.2.53:53"; [] for the system's
tls_listen = []                           # such as "203.0.113.7:5061"; needs tls_cert and tls_key
ws_listen = []                            # WebSocket: for the loopback, behind a proxy
wss_listen = []                           # WebSocket under TLS, for browsers
tls_cert = ""                             # PEM: the certificate, then its chain; read again when it changes
tls_key = ""                              # PEM: its private key
tls_ca = ""                               # PEM: who is believed when we connect; "": tls_cert alone
tls_client_ca = ""                        # PEM: whose certificates show that a gateway (tls_name) calls by TLS
tls_client_cert = ""                      # PEM: shown when we connect and are asked for one; "": none is
tls_client_key = ""
ws_origins = []                           # pages that may connect, such as "https://desk.example"; [] for all
ws_auth = true                            # by WebSocket a digest is needed from trusted addresses too
stream_connections = 4096                 # TCP, TLS and WebSocket together
stream_connections_per_source = 256
stream_handshake_s = 5                    # TLS and WebSocket must be agreed on within this
stream_message_s = 15                     # a message that has begun must be whole within this
stream_idle_s = 900                       # a connection that says nothing for so long is closed

[media]
bind = "127.0.0.1"
# advertise = "203.0.113.7"               # or "metadata"
ports = "20000-39999"
threads = 0
spool_limit_mb = 10240
silence_s = 60                            # a call without audio ends after so long
prompt_cache_mb = 64
codecs = ["opus", "g722", "pcmu", "pcma"] # in this order, after the one the other side of a call speaks
srtp = "accept"                           # or off, prefer (offered to phones over TLS), require

[http]
listen = "127.0.0.1:9060"                 # /healthz /readyz /metrics; "" for none

[cloud]                                   # empty: stand-alone only (--decisions)
ivr_function = ""
directory_function = ""
node_queue_prefix = ""
recordings_bucket = ""
prompts_bucket = ""

[trunk]                                   # calls to outside numbers
gateways = []                             # "host:port" or "user:password@host:port", tried in this order
allow = []                                # numbers must begin so, such as "+86"; "+" allows all
premium = []                              # denied where "allow" does not name as much of the number
emergency = ["110", "112", "119", "120", "911", "999"]   # called whatever lists and limits say
max_calls = 50                            # to outside at a time
tenant_max_calls = 0                      # of each tenant; 0: no limit of its own
tenant_calls_per_second = 0               # new calls of each tenant; 0: no limit
# [[trunk.gateway]]                       # a gateway with settings of its own, as many as there are
# name = "carrier"                        # for logs and metrics; HOTLINE_NODE_TRUNK_PASSWORD_CARRIER
# host = "sip.carrier.example"            # a name (NAPTR, SRV, A) or an address
# port = 5060                             # without it: by DNS
# transport = "udp"                       # udp, tcp, tls; without it: by DNS, else udp
# priority = 1                            # the lowest first; those of the same share by weight
# weight = 1
# user = ""                               # digest
# password = ""
# register = false                        # register there as user, for register_s
# register_s = 600
# options_s = 30                          # asked by OPTIONS so often while idle; 0: never
# max_calls = 0                           # 0: no limit of its own
# calls_per_second = 0
# numbers = "e164"                        # +86…, "plain" 86…, "international" 0086…, "national" 0…
# country = ""                            # its country code; "": sip.country_code
# strip = ""                              # taken from what is dialled, then
# prepend = ""                            # put before it
# in_strip = ""                           # the same for numbers that come from it
# in_prepend = ""
# identity = "from"                       # the caller's number: "from", "asserted" (P-Asserted-Identity), "both"
# diversion = false                       # says which of our numbers forwarded the call (Diversion)
# history_info = false                    # the same, by History-Info
# in_diversion = true                     # believes it who forwarded a call that comes from it
# accept_calls = false                    # its addresses may call without a digest
# tls_name = ""                           # only by TLS, with a certificate for this name (sip.tls_client_ca)
# codecs = []                             # in this order, such as ["PCMA"]; [] for all

[capture]                                 # POST /capture?number=600&calls=3 writes data_dir/captures
hep = ""                                  # host:port of a HEP collector that gets every SIP message
hep_id = 1                                # names this node there
max_files = 20                            # the oldest go
max_mb = 16                               # of each

[tap]                                     # voices of calls for a speech engine, where decisions ask for them
connect = ""                              # where it listens: "unix:/run/speech.sock" or "tcp:127.0.0.1:9092"
max_streams = 200                         # voices at a time

[log]
level = "info"
json = true
"#;

/// The settings of each section.
const KEYS: &[(&str, &[&str])] = &[
    ("node", &["id", "data_dir", "drain_s", "fleet_key"]),
    (
        "sip",
        &[
            "listen",
            "realm",
            "advertise",
            "trusted",
            "register_auth",
            "workers",
            "max_calls",
            "register_max_s",
            "country_code",
            "dns",
            "tls_listen",
            "ws_listen",
            "wss_listen",
            "tls_cert",
            "tls_key",
            "tls_ca",
            "tls_client_ca",
            "tls_client_cert",
            "tls_client_key",
            "ws_origins",
            "ws_auth",
            "stream_connections",
            "stream_connections_per_source",
            "stream_handshake_s",
            "stream_message_s",
            "stream_idle_s",
        ],
    ),
    (
        "media",
        &["bind", "advertise", "ports", "threads", "spool_limit_mb", "silence_s", "prompt_cache_mb", "codecs", "srtp"],
    ),
    ("http", &["listen"]),
    ("cloud", &["ivr_function", "directory_function", "node_queue_prefix", "recordings_bucket", "prompts_bucket"]),
    (
        "trunk",
        &[
            "gateways",
            "gateway",
            "allow",
            "premium",
            "emergency",
            "max_calls",
            "tenant_max_calls",
            "tenant_calls_per_second",
        ],
    ),
    ("capture", &["hep", "hep_id", "max_files", "max_mb"]),
    ("tap", &["connect", "max_streams"]),
    ("log", &["level", "json"]),
];

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            f.write_str(error)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

pub(super) struct Reader<'a> {
    pub(super) table: toml::Table,
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) errors: Vec<String>,
}

impl Reader<'_> {
    /// A setting as text: from the environment, else from the file.
    fn raw(&mut self, section: &str, key: &str) -> Option<Result<toml::Value, String>> {
        let name = env_name(section, key);
        if let Some(text) = self.env.get(&name) {
            return Some(Err(text.clone()));
        }
        let value = self.table.get(section)?.as_table()?.get(key)?;
        Some(Ok(value.clone()))
    }

    pub(super) fn wrong(&mut self, section: &str, key: &str, remedy: impl fmt::Display) {
        self.errors.push(format!("{section}.{key}: {remedy}"));
    }

    pub(super) fn text(&mut self, section: &str, key: &str, default: &str) -> String {
        match self.raw(section, key) {
            None => default.into(),
            Some(Err(text) | Ok(toml::Value::String(text))) => text,
            Some(Ok(other)) => {
                let kind = other.type_str();
                self.wrong(section, key, format_args!("is a {kind}: write a text in quotes"));
                default.into()
            }
        }
    }

    pub(super) fn flag(&mut self, section: &str, key: &str, default: bool) -> bool {
        match self.raw(section, key) {
            None => default,
            Some(Ok(toml::Value::Boolean(value))) => value,
            Some(Err(text)) if text == "true" || text == "1" => true,
            Some(Err(text)) if text == "false" || text == "0" => false,
            Some(_) => {
                self.wrong(section, key, "write true or false");
                default
            }
        }
    }

    pub(super) fn number(&mut self, section: &str, key: &str, default: u64, min: u64, max: u64) -> u64 {
        let value = match self.raw(section, key) {
            None => return default,
            Some(Ok(toml::Value::Integer(value))) => u64::try_from(value).ok(),
            Some(Err(text)) => text.trim().parse().ok(),
            Some(Ok(_)) => None,
        };
        match value {
            Some(value) if (min..=max).contains(&value) => value,
            _ => {
                self.wrong(section, key, format_args!("write a whole number from {min} to {max}"));
                default
            }
        }
    }

    pub(super) fn list(&mut self, section: &str, key: &str, default: &[&str]) -> Vec<String> {
        let of = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        match self.raw(section, key) {
            None => of(default),
            Some(Err(text)) => {
                text.split(',').map(|part| part.trim().to_string()).filter(|part| !part.is_empty()).collect()
            }
            Some(Ok(toml::Value::Array(values))) => {
                let texts: Option<Vec<String>> = values.iter().map(|v| v.as_str().map(ToString::to_string)).collect();
                texts.unwrap_or_else(|| {
                    self.wrong(section, key, "write a list of texts in quotes");
                    of(default)
                })
            }
            Some(Ok(_)) => {
                self.wrong(section, key, "write a list of texts: [\"…\", \"…\"]");
                of(default)
            }
        }
    }

    /// A text that may be empty, parsed.
    pub(super) fn parsed<T: FromStr>(&mut self, section: &str, key: &str, remedy: &str) -> Option<T> {
        let text = self.text(section, key, "");
        if text.trim().is_empty() {
            return None;
        }
        let value = text.trim().parse().ok();
        if value.is_none() {
            self.wrong(section, key, format_args!("{text:?} cannot be read: {remedy}"));
        }
        value
    }

    fn srtp(&mut self) -> SrtpPolicy {
        match self.text("media", "srtp", "accept").as_str() {
            "off" => SrtpPolicy::Off,
            "accept" => SrtpPolicy::Accept,
            "prefer" => SrtpPolicy::Prefer,
            "require" => SrtpPolicy::Require,
            other => {
                self.wrong("media", "srtp", format_args!("{other:?}: write off, accept, prefer or require"));
                SrtpPolicy::Accept
            }
        }
    }

    fn unknown_keys(&mut self) {
        let mut unknown = Vec::new();
        for (section, value) in &self.table {
            let Some((_, keys)) = KEYS.iter().find(|(name, _)| name == section) else {
                let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
                unknown.push(format!("[{section}]: no such section: use one of {}", names.join(", ")));
                continue;
            };
            let Some(table) = value.as_table() else {
                unknown.push(format!("{section}: write it as a section: [{section}]"));
                continue;
            };
            for key in table.keys() {
                if !keys.contains(&key.as_str()) {
                    unknown.push(format!("{section}.{key}: no such setting: use one of {}", keys.join(", ")));
                }
            }
        }
        self.errors.extend(unknown);
    }
}

fn env_name(section: &str, key: &str) -> String {
    format!("HOTLINE_NODE_{}_{}", section.to_uppercase(), key.to_uppercase())
}

fn listen(text: &str) -> Option<Listen> {
    let (transport, address) = text.split_once(':')?;
    let transport = match transport {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        _ => return None,
    };
    Some(Listen { transport, address: address.parse().ok()? })
}

fn network(text: &str) -> Option<Network> {
    let (ip, prefix) = match text.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let ip: std::net::IpAddr = ip.trim().parse().ok()?;
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(longest);
    (prefix <= longest).then_some(Network { ip, prefix })
}

fn ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first >= 1_024 && last > first).then_some((first, last))
}

impl Config {
    /// Reads a configuration text with its overrides.
    ///
    /// # Errors
    /// Every mistake, each with its setting and what to write instead.
    pub fn read(text: &str, env: &BTreeMap<String, String>) -> Result<Config, ConfigErrors> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| ConfigErrors(vec![e.to_string()]))?;
        let mut r = Reader { table, env, errors: Vec::new() };
        r.unknown_keys();

        let node = NodeSection {
            id: r.parsed("node", "id", "write an id such as nod_01JD0000000000000000000000"),
            data_dir: PathBuf::from(r.text("node", "data_dir", "node-data")),
            drain_s: r.number("node", "drain_s", 600, 0, 86_400),
            fleet_key: Some(r.text("node", "fleet_key", "")).filter(|key| !key.is_empty()).map(FleetKey),
        };
        if node.fleet_key.as_ref().is_some_and(|key| key.0.len() < FLEET_KEY_CHARS) {
            r.wrong(
                "node",
                "fleet_key",
                format_args!("is too short: write at least {FLEET_KEY_CHARS} random characters"),
            );
        }

        let mut sockets = Vec::new();
        for text in r.list("sip", "listen", &["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]) {
            match listen(&text) {
                Some(socket) => sockets.push(socket),
                None => r.wrong("sip", "listen", format_args!("{text:?}: write udp:address:port or tcp:address:port")),
            }
        }
        if sockets.is_empty() && r.errors.is_empty() {
            r.wrong("sip", "listen", "name at least one socket, such as udp:127.0.0.1:5060");
        }
        let streams = r.streams(&mut sockets);
        let (advertise, media_advertise, metadata) = r.advertised();
        if advertise.is_none() && !metadata.sip && sockets.iter().any(|s| s.address.ip().is_unspecified()) {
            r.wrong("sip", "advertise", "listening on every address: name the address that peers reach the node at");
        }
        let mut trusted = Vec::new();
        for text in r.list("sip", "trusted", &["127.0.0.1/32"]) {
            match network(&text) {
                Some(network) => trusted.push(network),
                None => r.wrong("sip", "trusted", format_args!("{text:?}: write a network such as 192.0.2.0/24")),
            }
        }
        let country_code = r.text("sip", "country_code", "");
        if country_code.len() > 3 || !country_code.bytes().all(|b| b.is_ascii_digit()) {
            r.wrong("sip", "country_code", "write 1 to 3 digits without the +, or nothing");
        }
        let mut dns = Vec::new();
        for text in r.list("sip", "dns", &[]) {
            match text.parse() {
                Ok(server) => dns.push(server),
                Err(_) => r.wrong("sip", "dns", format_args!("{text:?}: write address:port, such as 192.0.2.53:53")),
            }
        }
        let realm = r.text("sip", "realm", "hotline");
        if realm.is_empty() || realm.bytes().any(|b| b == b'"' || b == b'\\' || b < 0x20) {
            r.wrong("sip", "realm", "write a name without quotes, such as hotline.example");
        }
        let sip = SipSection {
            listen: sockets,
            realm,
            advertise,
            trusted,
            register_auth: r.flag("sip", "register_auth", true),
            workers: r.number("sip", "workers", 0, 0, 64) as usize,
            max_calls: r.number("sip", "max_calls", 20_000, 2, 1_000_000) as usize,
            register_max_s: r.number("sip", "register_max_s", 3_600, 60, 86_400) as u32,
            country_code,
            dns,
            streams,
        };

        let bind: std::net::IpAddr = r
            .parsed("media", "bind", "write an address such as 127.0.0.1")
            .unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
        if bind.is_unspecified() && media_advertise.is_none() && !metadata.media {
            r.wrong("media", "advertise", "binding to every address: name the address that peers send audio to");
        }
        let range = r.text("media", "ports", "20000-39999");
        let (first_port, last_port) = ports(&range).unwrap_or_else(|| {
            r.wrong("media", "ports", format_args!("{range:?}: write first-last above 1023, such as 20000-39999"));
            (20_000, 39_999)
        });
        let media = MediaSection {
            bind,
            advertise: media_advertise,
            first_port,
            last_port,
            threads: r.number("media", "threads", 0, 0, 64) as usize,
            spool_limit_mb: r.number("media", "spool_limit_mb", 10_240, 1, 10_000_000),
            silence_s: r.number("media", "silence_s", 60, 0, 86_400) as u32,
            prompt_cache_mb: r.number("media", "prompt_cache_mb", 64, 1, 65_536),
            codecs: r.codecs(),
            srtp: r.srtp(),
        };

        let listen = match r.text("http", "listen", "127.0.0.1:9060").trim() {
            "" => None,
            text => match text.parse() {
                Ok(address) => Some(address),
                Err(_) => {
                    let remedy = format!("{text:?}: write address:port, or \"\" for none");
                    r.wrong("http", "listen", remedy);
                    None
                }
            },
        };

        let cloud = CloudSection {
            ivr_function: r.text("cloud", "ivr_function", ""),
            directory_function: r.text("cloud", "directory_function", ""),
            node_queue_prefix: r.text("cloud", "node_queue_prefix", ""),
            recordings_bucket: r.text("cloud", "recordings_bucket", ""),
            prompts_bucket: r.text("cloud", "prompts_bucket", ""),
        };
        let names = [
            ("ivr_function", &cloud.ivr_function),
            ("directory_function", &cloud.directory_function),
            ("node_queue_prefix", &cloud.node_queue_prefix),
            ("recordings_bucket", &cloud.recordings_bucket),
            ("prompts_bucket", &cloud.prompts_bucket),
        ];
        if names.iter().any(|(_, value)| !value.is_empty()) {
            for (key, value) in names {
                if value.is_empty() {
                    r.wrong("cloud", key, "is empty: the stack's outputs hold the name");
                }
            }
        }

        let trunk = r.trunk();
        let hep = Some(r.text("capture", "hep", "")).filter(|to| !to.is_empty());
        let named = |to: &str| to.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if hep.as_deref().is_some_and(|to| !named(to)) {
            r.wrong("capture", "hep", "write host:port, such as homer.example:9060");
        }
        let capture = CaptureSection {
            hep,
            hep_id: r.number("capture", "hep_id", 1, 0, u64::from(u32::MAX)) as u32,
            max_files: r.number("capture", "max_files", 20, 1, 1_000) as usize,
            max_mb: r.number("capture", "max_mb", 16, 1, 1_024),
        };
        let tap = r.tap();
        let log = LogSection { level: r.text("log", "level", "info"), json: r.flag("log", "json", true) };
        if tracing_subscriber::EnvFilter::try_new(&log.level).is_err() {
            r.wrong("log", "level", "write error, warn, info, debug or trace");
        }

        if r.errors.is_empty() {
            Ok(Config { node, sip, media, metadata, http: HttpSection { listen }, cloud, trunk, capture, tap, log })
        } else {
            Err(ConfigErrors(r.errors))
        }
    }

    /// Whether the cloud's names are given.
    pub fn has_cloud(&self) -> bool {
        !self.cloud.ivr_function.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn the_example_is_the_default() {
        let example = Config::read(EXAMPLE, &env(&[])).unwrap();
        assert_eq!(example, Config::read("", &env(&[])).unwrap());
        assert!(!example.has_cloud());
        assert_eq!(example.sip_address(), "127.0.0.1:5060");
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = Config::read(
            "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\nmax_calls = 10\n",
            &env(&[
                ("HOTLINE_NODE_SIP_LISTEN", "udp:127.0.0.1:7000, tcp:127.0.0.1:7001"),
                ("HOTLINE_NODE_SIP_MAX_CALLS", "20"),
                ("HOTLINE_NODE_LOG_JSON", "false"),
            ]),
        )
        .unwrap();
        assert_eq!(config.sip.listen.len(), 2);
        assert_eq!(config.sip.listen[1].address.port(), 7001);
        assert_eq!(config.sip.max_calls, 20);
        assert!(!config.log.json);
    }

    #[test]
    fn gateways_and_the_fleets_key() {
        let config = Config::read(
            "[trunk]\ngateways = [\"192.0.2.4:5060\", \"me:p:w@x@sip.example:5070\"]\nallow = [\"+86\", \"110\"]\n",
            &env(&[("HOTLINE_NODE_NODE_FLEET_KEY", "0123456789abcdef")]),
        )
        .unwrap();
        let [first, second] = &config.trunk.gateways[..] else { panic!("{:?}", config.trunk) };
        assert_eq!(first.address(), "192.0.2.4:5060".parse().ok());
        assert_eq!((&second.user[..], &second.password[..]), ("me", "p:w@x"));
        assert_eq!(second.address(), None);
        let shown = format!("{config:?}");
        assert!(!shown.contains("p:w") && !shown.contains("abcdef"), "{shown}");
        let wrong = |text: &str, part: &str| {
            let errors = Config::read(text, &env(&[])).unwrap_err().to_string();
            assert!(errors.contains(part), "{errors}");
        };
        wrong("[trunk]\ngateways = [\"192.0.2.4:5060\"]", "trunk.allow: is empty");
        wrong("[trunk]\ngateways = [\"secret@x\"]", "trunk.gateways: write host:port");
        wrong("[trunk]\nallow = [\"+86x\"]", "trunk.allow: \"+86x\": write the first digits");
        wrong("[node]\nfleet_key = \"short\"", "node.fleet_key: is too short");
    }

    #[test]
    fn every_mistake_is_listed_with_its_remedy() {
        let text = "
[sip]
listen = [\"5060\"]
trusted = [\"10.0.0.0/99\"]
max_calls = \"many\"
colour = 1
[media]
bind = \"0.0.0.0\"
ports = \"9-1\"
srtp = \"maybe\"
codecs = [\"g729\"]
[cloud]
ivr_function = \"x\"
[extra]
a = 1
";
        let errors = Config::read(text, &env(&[])).unwrap_err();
        let shown = errors.to_string();
        for part in [
            "sip.listen: \"5060\": write udp:address:port",
            "sip.trusted: \"10.0.0.0/99\": write a network",
            "sip.max_calls: write a whole number from 2 to 1000000",
            "sip.colour: no such setting",
            "media.advertise: binding to every address",
            "media.ports: \"9-1\": write first-last",
            "media.codecs: write some of opus, g722, pcmu, pcma",
            "media.srtp: \"maybe\": write off, accept, prefer or require",
            "cloud.directory_function: is empty",
            "cloud.prompts_bucket: is empty",
            "[extra]: no such section",
        ] {
            assert!(shown.contains(part), "missing {part:?} in\n{shown}");
        }
        assert!(Config::read("[sip", &env(&[])).unwrap_err().to_string().contains("line 1"));
    }
}
