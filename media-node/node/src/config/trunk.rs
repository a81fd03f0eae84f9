//! `[trunk]`: the ways to the telephone network, which numbers may be called, how many calls.

use std::net::{IpAddr, SocketAddr};

use hotline_rtp::api::Codec;
use hotline_sip::api::Transport;

use super::codecs::by_name;
use super::read::Reader;

/// Gateways at most.
const GATEWAYS: usize = 64;
/// Numbers that are called whatever the lists and limits say.
const EMERGENCY: [&str; 6] = ["110", "112", "119", "120", "911", "999"];
/// The settings of a `[[trunk.gateway]]`.
const KEYS: [&str; 26] = [
    "name",
    "host",
    "port",
    "transport",
    "priority",
    "weight",
    "user",
    "password",
    "register",
    "register_s",
    "options_s",
    "max_calls",
    "calls_per_second",
    "numbers",
    "country",
    "strip",
    "prepend",
    "in_strip",
    "in_prepend",
    "identity",
    "diversion",
    "history_info",
    "in_diversion",
    "accept_calls",
    "tls_name",
    "codecs",
];

/// Where numbers outside are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkSection {
    /// Empty: numbers cannot be called.
    pub gateways: Vec<Gateway>,
    /// A number must begin with one of these; `+` allows every international one.
    pub allow: Vec<String>,
    /// Numbers that begin so are denied, unless `allow` names as much of them.
    pub premium: Vec<String>,
    /// Whole numbers that are called in any case.
    pub emergency: Vec<String>,
    /// Calls to outside at a time.
    pub max_calls: usize,
    /// Of each tenant; 0: no limit of its own.
    pub tenant_max_calls: usize,
    /// New calls of each tenant a second; 0: no limit.
    pub tenant_calls_per_second: u32,
}

impl Default for TrunkSection {
    fn default() -> Self {
        Self {
            gateways: Vec::new(),
            allow: Vec::new(),
            premium: Vec::new(),
            emergency: EMERGENCY.map(String::from).to_vec(),
            max_calls: 50,
            tenant_max_calls: 0,
            tenant_calls_per_second: 0,
        }
    }
}

/// How a gateway wants numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NumberForm {
    /// `+8613800138000`
    #[default]
    E164,
    /// `8613800138000`
    Plain,
    /// `008613800138000`
    International,
    /// `13800138000` and `02012345678` of its own country, the others as `International`.
    National,
}

/// How a gateway is told who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    /// The number in `From`.
    #[default]
    From,
    /// The account in `From`, the number in `P-Asserted-Identity` (RFC 3325).
    Asserted,
    /// The number in both.
    Both,
}

/// A way to the telephone network.
#[derive(Clone, PartialEq, Eq)]
pub struct Gateway {
    /// For metrics and logs; unique.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// `None`: by DNS (SRV), else 5060, or 5061 for TLS.
    pub port: Option<u16>,
    /// `None`: by DNS (NAPTR, SRV), else UDP.
    pub transport: Option<Transport>,
    /// The lowest is tried first.
    pub priority: u16,
    /// Its share among those of the same priority.
    pub weight: u16,
    /// Digest user; empty: none.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Whether we register there.
    pub register: bool,
    /// For so long, seconds.
    pub register_s: u32,
    /// OPTIONS are sent so often while nothing else comes, seconds; 0: never.
    pub options_s: u32,
    /// Calls to it at a time; 0: no limit of its own.
    pub max_calls: usize,
    /// New calls to it a second; 0: no limit.
    pub calls_per_second: u32,
    /// The form of numbers towards it.
    pub numbers: NumberForm,
    /// Its country code, such as `86`; empty: `sip.country_code`.
    pub country: String,
    /// Taken from the beginning of what is dialled, after its form.
    pub strip: String,
    /// Put before it.
    pub prepend: String,
    /// Taken from the beginning of numbers that come from it.
    pub in_strip: String,
    /// Put before them.
    pub in_prepend: String,
    /// How it is told who calls.
    pub identity: Identity,
    /// Whether it is told who forwarded a call (`Diversion`, RFC 5806).
    pub diversion: bool,
    /// Whether it is told the same by `History-Info` (RFC 7044).
    pub history_info: bool,
    /// Whether it is believed who forwarded a call that comes from it.
    pub in_diversion: bool,
    /// Calls that come from its addresses need no digest.
    pub accept_calls: bool,
    /// Calls count as its own only over TLS with a certificate for this name; empty: by its addresses.
    pub tls_name: String,
    /// What it is offered, the preferred one first; empty: all.
    pub codecs: Vec<Codec>,
}

impl Gateway {
    /// One of this host with all defaults.
    pub fn at(host: &str) -> Self {
        Self {
            name: host.into(),
            host: host.into(),
            port: None,
            transport: None,
            priority: 1,
            weight: 1,
            user: String::new(),
            password: String::new(),
            register: false,
            register_s: 600,
            options_s: 30,
            max_calls: 0,
            calls_per_second: 0,
            numbers: NumberForm::E164,
            country: String::new(),
            strip: String::new(),
            prepend: String::new(),
            in_strip: String::new(),
            in_prepend: String::new(),
            identity: Identity::From,
            diversion: false,
            history_info: false,
            in_diversion: true,
            accept_calls: false,
            tls_name: String::new(),
            codecs: Vec::new(),
        }
    }

    /// Where it is, unless that must be looked up.
    pub fn address(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        let usual = if self.transport == Some(Transport::Tls) { 5_061 } else { 5_060 };
        Some(SocketAddr::new(ip, self.port.unwrap_or(usual)))
    }

    /// `host` or `host:port`, as URIs write it.
    pub fn place(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gateway({})", self.place())
    }
}

/// `host:port` or `user:password@host:port`.
fn short(text: &str) -> Option<Gateway> {
    let (account, place) = match text.rsplit_once('@') {
        Some((account, place)) => (Some(account), place),
        None => (None, text),
    };
    let (user, password) = match account {
        Some(account) => account.split_once(':')?,
        None => ("", ""),
    };
    let (host, port) = place.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    is_host(host).then(|| Gateway {
        name: place.into(),
        port: Some(port),
        user: user.into(),
        password: password.into(),
        ..Gateway::at(host)
    })
}

fn is_host(host: &str) -> bool {
    let v6 = host.starts_with('[') && host.ends_with(']');
    v6 || (!host.is_empty()
        && host.len() < 254
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)))
}

fn is_digits(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'*' | b'#'))
}

/// One `[[trunk.gateway]]`: its mistakes are collected with its number.
struct Table<'a, 'b> {
    table: &'a toml::Table,
    errors: &'b mut Vec<String>,
    number: usize,
}

impl Table<'_, '_> {
    fn wrong(&mut self, key: &str, remedy: impl std::fmt::Display) {
        self.errors.push(format!("trunk.gateway {}: {key}: {remedy}", self.number));
    }

    fn text(&mut self, key: &str) -> String {
        match self.table.get(key) {
            None => String::new(),
            Some(toml::Value::String(text)) => text.clone(),
            Some(_) => {
                self.wrong(key, "write a text in quotes");
                String::new()
            }
        }
    }

    fn number<T: TryFrom<i64>>(&mut self, key: &str, default: T, limits: std::ops::RangeInclusive<i64>) -> T {
        let value = match self.table.get(key) {
            None => return default,
            Some(value) => value.as_integer().filter(|n| limits.contains(n)).and_then(|n| T::try_from(n).ok()),
        };
        value.unwrap_or_else(|| {
            self.wrong(key, format_args!("write a whole number from {} to {}", limits.start(), limits.end()));
            default
        })
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.table.get(key) {
            None => false,
            Some(toml::Value::Boolean(flag)) => *flag,
            Some(_) => {
                self.wrong(key, "write true or false");
                false
            }
        }
    }

    fn digits(&mut self, key: &str) -> String {
        let text = self.text(key);
        if !is_digits(&text) {
            self.wrong(key, format_args!("{text:?}: write digits, such as \"0\" or \"+\""));
        }
        text
    }

    fn one_of<T: Copy>(&mut self, key: &str, default: T, choices: &[(&str, T)]) -> T {
        let text = self.text(key);
        if text.is_empty() {
            return default;
        }
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => *value,
            None => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                self.wrong(key, format_args!("{text:?}: write {}", names.join(", ")));
                default
            }
        }
    }

    fn codecs(&mut self) -> Vec<Codec> {
        let codec = |value: &toml::Value| by_name(value.as_str()?);
        let read = match self.table.get("codecs") {
            None => return Vec::new(),
            Some(value) => value.as_array().and_then(|list| list.iter().map(codec).collect::<Option<Vec<Codec>>>()),
        };
        read.unwrap_or_else(|| {
            self.wrong("codecs", "write a list of \"PCMU\", \"PCMA\", \"G722\" and \"opus\"");
            Vec::new()
        })
    }

    fn gateway(mut self, passwords: impl Fn(&str) -> Option<String>) -> Gateway {
        let unknown: Vec<String> = self.table.keys().filter(|key| !KEYS.contains(&key.as_str())).cloned().collect();
        for key in unknown {
            self.wrong(&key, format_args!("no such setting: use one of {}", KEYS.join(", ")));
        }
        let host = self.text("host");
        if !is_host(&host) {
            self.wrong("host", "write a host name or an address (IPv6 in brackets)");
        }
        let name = Some(self.text("name")).filter(|name| !name.is_empty()).unwrap_or_else(|| host.clone());
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b)) {
            self.wrong("name", "write letters, digits, - and _");
        }
        let transports = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];
        let transports = transports.map(|(name, transport)| (name, Some(transport)));
        let forms = [
            ("e164", NumberForm::E164),
            ("plain", NumberForm::Plain),
            ("international", NumberForm::International),
            ("national", NumberForm::National),
        ];
        let identities = [("from", Identity::From), ("asserted", Identity::Asserted), ("both", Identity::Both)];
        let password = passwords(&name).unwrap_or_else(|| self.text("password"));
        let gateway = Gateway {
            port: Some(self.number("port", 0u16, 0..=65_535)).filter(|port| *port != 0),
            transport: self.one_of("transport", None, &transports),
            priority: self.number("priority", 1u16, 1..=1_000),
            weight: self.number("weight", 1u16, 1..=1_000),
            user: self.text("user"),
            password,
            register: self.flag("register"),
            register_s: self.number("register_s", 600u32, 60..=86_400),
            options_s: self.number("options_s", 30u32, 0..=3_600),
            max_calls: self.number("max_calls", 0u32, 0..=1_000_000) as usize,
            calls_per_second: self.number("calls_per_second", 0u32, 0..=10_000),
            numbers: self.one_of("numbers", NumberForm::E164, &forms),
            country: self.digits("country"),
            strip: self.digits("strip"),
            prepend: self.digits("prepend"),
            in_strip: self.digits("in_strip"),
            in_prepend: self.digits("in_prepend"),
            identity: self.one_of("identity", Identity::From, &identities),
            diversion: self.flag("diversion"),
            history_info: self.flag("history_info"),
            in_diversion: self.table.get("in_diversion").is_none() || self.flag("in_diversion"),
            accept_calls: self.flag("accept_calls"),
            tls_name: self.text("tls_name"),
            codecs: self.codecs(),
            name,
            ..Gateway::at(&host)
        };
        if gateway.user.contains(['"', '\\', '@', ' ']) || gateway.user.chars().any(char::is_control) {
            self.wrong("user", "write a user name without spaces, quotes or @");
        }
        if gateway.register && gateway.user.is_empty() {
            self.wrong("register", "needs a user to register as");
        }
        if !gateway.tls_name.is_empty() && !is_host(&gateway.tls_name) {
            self.wrong("tls_name", "write the name in the gateway's certificate, such as sip.carrier.example");
        }
        if !gateway.tls_name.is_empty() && !gateway.accept_calls {
            self.wrong("tls_name", "is of no use without accept_calls = true");
        }
        if gateway.country.len() > 3 || gateway.country.starts_with('+') {
            self.wrong("country", "write 1 to 3 digits without the +");
        }
        gateway
    }
}

impl Reader<'_> {
    /// `[trunk]`, whole.
    pub(super) fn trunk(&mut self) -> TrunkSection {
        let mut gateways = Vec::new();
        for text in self.list("trunk", "gateways", &[]) {
            match short(&text) {
                // In the order in which they stand.
                Some(gateway) => {
                    let priority = gateways.len() as u16 + 1;
                    gateways.push(Gateway { priority, ..gateway });
                }
                // The text may hold a password.
                None => self.wrong("trunk", "gateways", "write host:port or user:password@host:port"),
            }
        }
        gateways.extend(self.gateway_tables());
        if gateways.len() > GATEWAYS {
            self.wrong("trunk", "gateway", format_args!("{} are given: {GATEWAYS} at most", gateways.len()));
        }
        for (index, gateway) in gateways.iter().enumerate() {
            if gateways.iter().take(index).any(|other| other.name == gateway.name) {
                self.wrong("trunk", "gateway", format_args!("{:?} is there twice: give them names", gateway.name));
            }
        }
        if gateways.iter().any(|gateway| !gateway.tls_name.is_empty())
            && self.text("sip", "tls_client_ca", "").is_empty()
        {
            self.wrong("sip", "tls_client_ca", "is empty: a gateway's tls_name needs the authority of its certificate");
        }
        let allow = self.prefixes("allow", &[]);
        if !gateways.is_empty() && allow.is_empty() {
            self.wrong("trunk", "allow", "is empty: name the numbers that may be called, such as [\"+86\"]");
        }
        TrunkSection {
            gateways,
            allow,
            premium: self.prefixes("premium", &[]),
            emergency: self.prefixes("emergency", &EMERGENCY),
            max_calls: self.number("trunk", "max_calls", 50, 0, 1_000_000) as usize,
            tenant_max_calls: self.number("trunk", "tenant_max_calls", 0, 0, 1_000_000) as usize,
            tenant_calls_per_second: self.number("trunk", "tenant_calls_per_second", 0, 0, 10_000) as u32,
        }
    }

    fn prefixes(&mut self, key: &str, default: &[&str]) -> Vec<String> {
        let texts = self.list("trunk", key, default);
        for text in &texts {
            let digits = text.strip_prefix('+').unwrap_or(text);
            if text.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                let remedy = format!("{text:?}: write the first digits of numbers, such as \"+86\"");
                self.wrong("trunk", key, remedy);
            }
        }
        texts
    }

    fn gateway_tables(&mut self) -> Vec<Gateway> {
        let value = self.table.get("trunk").and_then(|trunk| trunk.get("gateway")).cloned();
        let tables: Option<Vec<toml::Table>> = match value {
            None => return Vec::new(),
            Some(toml::Value::Array(list)) => list.into_iter().map(|item| item.as_table().cloned()).collect(),
            Some(_) => None,
        };
        let Some(tables) = tables else {
            self.wrong("trunk", "gateway", "write each as a section of its own: [[trunk.gateway]]");
            return Vec::new();
        };
        let env = self.env;
        let password = |name: &str| {
            let name: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
            env.get(&format!("HOTLINE_NODE_TRUNK_PASSWORD_{name}")).cloned()
        };
        let errors = &mut self.errors;
        tables
            .iter()
            .enumerate()
            .map(|(index, table)| Table { table, errors, number: index + 1 }.gateway(password))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::collections::BTreeMap;

    #[test]
    fn a_gateway_with_everything() {
        let env = BTreeMap::from([("HOTLINE_NODE_TRUNK_PASSWORD_CARRIER_A".to_string(), "s3cret".to_string())]);
        let text = "
[trunk]
allow = [\"+86\"]
premium = [\"+86168\"]
tenant_max_calls = 3
[[trunk.gateway]]
name = \"carrier-a\"
host = \"sip.carrier.example\"
transport = \"tcp\"
user = \"me\"
register = true
numbers = \"national\"
country = \"86\"
strip = \"0\"
prepend = \"9\"
identity = \"asserted\"
codecs = [\"pcma\"]
[[trunk.gateway]]
host = \"192.0.2.4\"
port = 5070
weight = 3
";
        let trunk = Config::read(text, &env).unwrap().trunk;
        let [first, second] = &trunk.gateways[..] else { panic!("{trunk:?}") };
        assert_eq!((&first.name[..], &first.password[..], first.register), ("carrier-a", "s3cret", true));
        assert_eq!(
            (first.transport, first.address(), first.numbers),
            (Some(Transport::Tcp), None, NumberForm::National)
        );
        assert_eq!(first.codecs, [Codec::Pcma]);
        assert_eq!(second.address(), "192.0.2.4:5070".parse().ok());
        assert_eq!((second.weight, second.options_s, trunk.tenant_max_calls), (3, 30, 3));
        assert!(trunk.emergency.contains(&"112".to_string()));
        assert!(!format!("{trunk:?}").contains("s3cret"));
    }

    #[test]
    fn every_mistake_of_a_gateway_is_said() {
        let text = "
[trunk]
allow = [\"+86\"]
[[trunk.gateway]]
host = \"a b\"
register = true
colour = 1
weight = 0
transport = \"sctp\"
prepend = \"x\"
codecs = [\"G729\"]
[[trunk.gateway]]
host = \"h\"
[[trunk.gateway]]
host = \"h\"
country = \"+86\"
tls_name = \"a b\"
";
        let errors = Config::read(text, &BTreeMap::new()).unwrap_err().to_string();
        for part in [
            "trunk.gateway 1: host: write a host name",
            "trunk.gateway 1: register: needs a user",
            "trunk.gateway 1: colour: no such setting",
            "trunk.gateway 1: weight: write a whole number from 1 to 1000",
            "trunk.gateway 1: transport: \"sctp\": write udp, tcp, tls",
            "trunk.gateway 1: prepend: \"x\": write digits",
            "trunk.gateway 1: codecs: write a list",
            "trunk.gateway 3: country: write 1 to 3 digits",
            "trunk.gateway 3: tls_name: write the name",
            "trunk.gateway 3: tls_name: is of no use without accept_calls",
            "sip.tls_client_ca: is empty",
            "trunk.gateway: \"h\" is there twice",
        ] {
            assert!(errors.contains(part), "missing {part:?} in\n{errors}");
        }
    }
}
