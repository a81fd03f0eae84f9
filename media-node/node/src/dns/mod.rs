//! From a host name to the addresses of its SIP service (RFC 3263), remembered as long as DNS
//! allows, and longer while DNS is away: calls go on with the last known addresses.

mod wire;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hotline_sip::api::Transport;

use wire::{Kind, Record};

/// Whoever asks has an answer within this.
const PATIENCE: Duration = Duration::from_secs(2);
/// One server has so long.
const SERVER_PATIENCE: Duration = Duration::from_millis(800);
/// Answers remembered.
const REMEMBERED: usize = 1_024;
/// What does not exist is not asked for again so soon, seconds.
const NOTHING_S: u32 = 30;
/// Bounds of what DNS says about the life of an answer, seconds.
const LIFE_S: (u32, u32) = (5, 86_400);
/// While DNS is away it is not asked about a name again for so long.
const AWAY: Duration = Duration::from_secs(10);
/// Services of one name that are looked at.
const SERVICES: usize = 8;
/// Hops at most.
const HOPS: usize = 32;

/// One way to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Where.
    pub address: SocketAddr,
    /// How.
    pub transport: Transport,
    /// The lowest first.
    pub priority: u16,
    /// Its share among those of the same priority.
    pub weight: u16,
}

/// What a name led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// In the order of their priority.
    pub hops: Vec<Hop>,
    /// To be asked again then.
    pub until: Instant,
}

/// Whose service is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    /// A name, or an address.
    pub host: &'a str,
    /// Where it is given.
    pub port: Option<u16>,
    /// Where it is given.
    pub transport: Option<Transport>,
}

/// No address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// No name server answers, and none did before.
    #[error("DNS does not answer")]
    Away,
    /// There is none.
    #[error("there is no such service")]
    NoSuchService,
}

struct Entry {
    records: Vec<Record>,
    until: Instant,
}

/// Asks name servers and remembers.
pub struct Dns {
    servers: Vec<SocketAddr>,
    /// Ways that we can go.
    transports: Vec<Transport>,
    v6: bool,
    cache: Mutex<HashMap<(String, Kind), Entry>>,
}

/// How a look-up goes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Ask,
    /// Only what is remembered, however old.
    Remember,
}

impl Dns {
    /// With these name servers, else those of the system; `transports`: what we can send by.
    pub fn new(servers: &[SocketAddr], transports: Vec<Transport>, v6: bool) -> Self {
        let servers = if servers.is_empty() { system_servers() } else { servers.to_vec() };
        Self { servers, transports, v6, cache: Mutex::new(HashMap::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, Kind), Entry>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of a service.
    ///
    /// # Errors
    /// [`NotFound`], within two seconds.
    pub async fn find(&self, service: Service<'_>, now: Instant) -> Result<Found, NotFound> {
        let host = service.host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let service = Service { host, ..service };
        let literal =
            if host.eq_ignore_ascii_case("localhost") { Some(IpAddr::from([127, 0, 0, 1])) } else { host.parse().ok() };
        if let Some(ip) = literal {
            let transport = service.transport.unwrap_or(Transport::Udp);
            let address = SocketAddr::new(ip, service.port.unwrap_or(usual_port(transport)));
            let hops = vec![Hop { address, transport, priority: 0, weight: 0 }];
            return Ok(Found { hops, until: now + Duration::from_secs(u64::from(LIFE_S.1)) });
        }
        let asked = tokio::time::timeout(PATIENCE, self.follow(service, Mode::Ask, now)).await;
        match asked {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(NotFound::NoSuchService)) => {}
            _ => {
                if let Ok(mut found) = self.follow(service, Mode::Remember, now).await {
                    found.until = now + AWAY;
                    return Ok(found);
                }
            }
        }
        self.ask_system(service, now).await.ok_or(match asked {
            Ok(Err(error)) => error,
            _ => NotFound::Away,
        })
    }

    /// The system knows names that are in no DNS (`/etc/hosts`).
    async fn ask_system(&self, service: Service<'_>, now: Instant) -> Option<Found> {
        let transport = service.transport.unwrap_or(Transport::Udp);
        let port = service.port.unwrap_or(usual_port(transport));
        let looked = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((service.host, port))).await;
        let hops: Vec<Hop> = looked
            .ok()?
            .ok()?
            .filter(|address| address.is_ipv4() || self.v6)
            .take(HOPS)
            .map(|address| Hop { address, transport, priority: 0, weight: 0 })
            .collect();
        (!hops.is_empty()).then(|| Found { hops, until: now + Duration::from_secs(60) })
    }

    /// RFC 3263 §4.1 and §4.2.
    async fn follow(&self, service: Service<'_>, mode: Mode, now: Instant) -> Result<Found, NotFound> {
        let mut found = Found { hops: Vec::new(), until: now + Duration::from_secs(u64::from(LIFE_S.1)) };
        if service.port.is_none() {
            let mut services: Vec<(Transport, String)> = match service.transport {
                Some(transport) => vec![(transport, srv_name(transport, service.host))],
                None => self.by_naptr(service.host, mode, now, &mut found).await?,
            };
            if services.is_empty() {
                let usual = [Transport::Udp, Transport::Tcp];
                services.extend(usual.map(|transport| (transport, srv_name(transport, service.host))));
            }
            services.retain(|(transport, _)| self.transports.contains(transport));
            let mut rank = 0;
            for (transport, name) in services.into_iter().take(SERVICES) {
                self.by_srv(transport, &name, mode, now, &mut rank, &mut found).await?;
            }
        }
        if found.hops.is_empty() {
            let transport = service.transport.unwrap_or(Transport::Udp);
            let port = service.port.unwrap_or(usual_port(transport));
            self.by_name(service.host, (port, transport), (0, 0), mode, now, &mut found).await?;
        }
        if found.hops.is_empty() { Err(NotFound::NoSuchService) } else { Ok(found) }
    }

    async fn by_naptr(
        &self,
        host: &str,
        mode: Mode,
        now: Instant,
        found: &mut Found,
    ) -> Result<Vec<(Transport, String)>, NotFound> {
        let mut services = Vec::new();
        for record in self.records(host, Kind::Naptr, mode, now, found).await? {
            let Record::Naptr { order, preference, flags, service, replacement } = record else { continue };
            let transport = match service.to_ascii_uppercase().as_str() {
                "SIP+D2U" => Transport::Udp,
                "SIP+D2T" => Transport::Tcp,
                "SIPS+D2T" => Transport::Tls,
                _ => continue,
            };
            if flags.eq_ignore_ascii_case("s") && self.transports.contains(&transport) {
                services.push(((order, preference), transport, replacement));
            }
        }
        services.sort_by_key(|(order, ..)| *order);
        Ok(services.into_iter().map(|(_, transport, name)| (transport, name)).collect())
    }

    async fn by_srv(
        &self,
        transport: Transport,
        name: &str,
        mode: Mode,
        now: Instant,
        rank: &mut u16,
        found: &mut Found,
    ) -> Result<(), NotFound> {
        let mut servers: Vec<(u16, u16, u16, String)> = Vec::new();
        for record in self.records(name, Kind::Srv, mode, now, found).await? {
            if let Record::Srv { priority, weight, port, target } = record {
                servers.push((priority, weight, port, target));
            }
        }
        servers.sort_by_key(|(priority, ..)| *priority);
        let mut last = None;
        for (priority, weight, port, target) in servers {
            // `.` says that there is no such service (RFC 2782).
            if target.is_empty() || target == "." || found.hops.len() >= HOPS {
                continue;
            }
            if last.replace(priority).is_some_and(|last| last != priority) {
                *rank += 1;
            }
            self.by_name(&target, (port, transport), (*rank, weight), mode, now, found).await?;
        }
        *rank += 1;
        Ok(())
    }

    async fn by_name(
        &self,
        host: &str,
        (port, transport): (u16, Transport),
        (priority, weight): (u16, u16),
        mode: Mode,
        now: Instant,
        found: &mut Found,
    ) -> Result<(), NotFound> {
        let kinds: &[Kind] = if self.v6 { &[Kind::A, Kind::Aaaa] } else { &[Kind::A] };
        for kind in kinds {
            for record in self.records(host, *kind, mode, now, found).await? {
                if let Record::Address(ip) = record
                    && found.hops.len() < HOPS
                {
                    found.hops.push(Hop { address: SocketAddr::new(ip, port), transport, priority, weight });
                }
            }
        }
        Ok(())
    }

    /// The records of a name: remembered, or asked for.
    async fn records(
        &self,
        name: &str,
        kind: Kind,
        mode: Mode,
        now: Instant,
        found: &mut Found,
    ) -> Result<Vec<Record>, NotFound> {
        let key = (name.trim_end_matches('.').to_ascii_lowercase(), kind);
        if let Some(entry) = self.lock().get(&key)
            && (mode == Mode::Remember || entry.until > now)
        {
            found.until = found.until.min(entry.until);
            return Ok(entry.records.clone());
        }
        if mode == Mode::Remember {
            // What was not asked for when DNS answered was of no use then.
            return Ok(Vec::new());
        }
        // Twice round: a datagram may get lost.
        for server in self.servers.iter().chain(&self.servers).take(4) {
            let Some(answer) = wire::ask(*server, &key.0, kind, SERVER_PATIENCE).await else { continue };
            let seconds = if answer.records.is_empty() { NOTHING_S } else { answer.ttl_s.clamp(LIFE_S.0, LIFE_S.1) };
            let until = now + Duration::from_secs(u64::from(seconds));
            found.until = found.until.min(until);
            self.remember(key, Entry { records: answer.records.clone(), until }, now);
            return Ok(answer.records);
        }
        Err(NotFound::Away)
    }

    fn remember(&self, key: (String, Kind), entry: Entry, now: Instant) {
        let mut cache = self.lock();
        if cache.len() >= REMEMBERED && !cache.contains_key(&key) {
            cache.retain(|_, entry| entry.until > now);
            if cache.len() >= REMEMBERED {
                let first = cache.iter().min_by_key(|(_, entry)| entry.until).map(|(key, _)| key.clone());
                first.map(|key| cache.remove(&key));
            }
        }
        cache.insert(key, entry);
    }
}

fn usual_port(transport: Transport) -> u16 {
    match transport {
        Transport::Tls | Transport::Wss => 5_061,
        _ => 5_060,
    }
}

fn srv_name(transport: Transport, host: &str) -> String {
    let service = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp | Transport::Ws => "_sip._tcp",
        Transport::Tls | Transport::Wss => "_sips._tcp",
    };
    format!("{service}.{host}")
}

/// The name servers of `/etc/resolv.conf`.
fn system_servers() -> Vec<SocketAddr> {
    servers_in(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

fn servers_in(text: &str) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = addresses.filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok());
    addresses.take(3).map(|ip| SocketAddr::new(ip, 53)).collect()
}

#[cfg(test)]
mod tests;
