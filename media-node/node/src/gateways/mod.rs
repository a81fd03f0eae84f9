//! The ways to the telephone network: which is next, which numbers are allowed, how many calls.
//!
//! A gateway has one line for each of its addresses. Lines that work come before those that a call
//! failed by a moment ago, these before those that do not answer; among equals the gateway's
//! priority decides, then its share (`weight`), then what DNS says of its lines.

mod health;
mod numbers;

pub use health::Change;
pub use numbers::{Policy, inward, outward, policy, written};

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hotline_base::TenantId;
use hotline_sip::api::Transport;

use crate::config::{Gateway, TrunkSection};
use crate::dns::Hop;
use health::Health;

/// Lines of a gateway at most.
const LINES: usize = 16;
/// Tenants whose rate is remembered.
const TENANTS: usize = 4_096;

/// One line: a gateway, and one of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Way {
    /// Its place in the configuration.
    pub gateway: usize,
    /// Where its messages go.
    pub address: SocketAddr,
    /// How.
    pub transport: Transport,
}

struct Line {
    way: Way,
    /// DNS wants it before those of a higher number.
    priority: u16,
    weight: u16,
    health: Health,
}

/// A bucket of new calls.
#[derive(Debug, Clone, Copy)]
struct Rate {
    tokens: f64,
    at: Instant,
}

impl Rate {
    /// Takes one, where there is one; a second's worth may come at once.
    fn take(rate: &mut Option<Rate>, per_second: u32, now: Instant) -> bool {
        if per_second == 0 {
            return true;
        }
        let full = f64::from(per_second);
        let known = rate.get_or_insert(Rate { tokens: full, at: now });
        known.tokens = (known.tokens + now.saturating_duration_since(known.at).as_secs_f64() * full).min(full);
        known.at = now;
        if known.tokens < 1.0 {
            return false;
        }
        known.tokens -= 1.0;
        true
    }
}

/// Where a registration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// None is wanted.
    NotNeeded,
    /// The first answer is awaited.
    Trying,
    /// For so many seconds from the last answer on.
    Granted(u32),
    /// The status of the last try; 408: nothing came.
    Failed(u16),
}

struct State {
    lines: Vec<Line>,
    registered: Vec<Registered>,
    calls: Vec<usize>,
    total: usize,
    rates: Vec<Option<Rate>>,
    tenant_calls: HashMap<TenantId, usize>,
    tenant_rates: HashMap<TenantId, Option<Rate>>,
}

/// What all workers know of the gateways.
pub struct Gateways {
    trunk: TrunkSection,
    state: Arc<Mutex<State>>,
}

/// A call to outside; dropped, it makes room for another.
pub struct OutsideCall {
    state: Arc<Mutex<State>>,
    gateway: usize,
    tenant: Option<TenantId>,
}

impl Drop for OutsideCall {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.total = state.total.saturating_sub(1);
        if let Some(calls) = state.calls.get_mut(self.gateway) {
            *calls = calls.saturating_sub(1);
        }
        if let Some(tenant) = self.tenant
            && let Some(calls) = state.tenant_calls.get_mut(&tenant)
        {
            *calls = calls.saturating_sub(1);
            if *calls == 0 {
                state.tenant_calls.remove(&tenant);
            }
        }
    }
}

/// Why no gateway is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A limit, by its setting.
    Limit(&'static str),
    /// All were tried, or none has an address.
    NoLine,
}

/// What a caller of the network wants.
pub struct Wish<'a> {
    /// Whose call it is.
    pub tenant: Option<TenantId>,
    /// Limits do not hold.
    pub emergency: bool,
    /// Lines that did not take it.
    pub tried: &'a [Way],
    /// For shares by weight.
    pub random: u64,
}

/// The line to try next.
pub struct Choice {
    /// Which.
    pub way: Way,
    /// There is another one after it.
    pub more: bool,
    /// Counts as long as it lives.
    pub call: OutsideCall,
}

/// What the gateways' keeper is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Ask a line how it is.
    Ask(Way),
    /// A line changed.
    Changed(Way, Change),
}

impl Gateways {
    /// Those of a configuration; the ones that are given by address have their line at once.
    pub fn new(trunk: &TrunkSection, now: Instant) -> Self {
        let count = trunk.gateways.len();
        let first = |gateway: &Gateway| if gateway.register { Registered::Trying } else { Registered::NotNeeded };
        let state = State {
            lines: Vec::new(),
            registered: trunk.gateways.iter().map(first).collect(),
            calls: vec![0; count],
            total: 0,
            rates: vec![None; count],
            tenant_calls: HashMap::new(),
            tenant_rates: HashMap::new(),
        };
        let gateways = Self { trunk: trunk.clone(), state: Arc::new(Mutex::new(state)) };
        for (index, gateway) in trunk.gateways.iter().enumerate() {
            if let Some(address) = gateway.address() {
                let transport = gateway.transport.unwrap_or(Transport::Udp);
                gateways.resolved(index, &[Hop { address, transport, priority: 0, weight: 0 }], now);
            }
        }
        gateways
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gateways' settings.
    pub fn trunk(&self) -> &TrunkSection {
        &self.trunk
    }

    /// One of them.
    pub fn gateway(&self, index: usize) -> Option<&Gateway> {
        self.trunk.gateways.get(index)
    }

    fn every(&self, gateway: usize) -> Option<Duration> {
        let seconds = self.gateway(gateway)?.options_s;
        (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
    }

    /// The addresses of a gateway, as DNS has them now; what is known of those that stay is kept.
    pub fn resolved(&self, gateway: usize, hops: &[Hop], now: Instant) {
        let every = self.every(gateway);
        let mut state = self.lock();
        let (mut old, others): (Vec<Line>, Vec<Line>) =
            std::mem::take(&mut state.lines).into_iter().partition(|line| line.way.gateway == gateway);
        state.lines = others;
        for hop in hops.iter().take(LINES) {
            let way = Way { gateway, address: hop.address, transport: hop.transport };
            let known = old.iter().position(|line| line.way == way).map(|index| old.swap_remove(index).health);
            let health = known.unwrap_or_else(|| Health::new(now, every));
            state.lines.push(Line { way, priority: hop.priority, weight: hop.weight, health });
        }
    }

    /// The line to try next, and room for the call.
    ///
    /// # Errors
    /// [`Refused`]: nothing was counted.
    pub fn choose(&self, wish: &Wish<'_>, now: Instant) -> Result<Choice, Refused> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let limited = !wish.emergency;
        if limited && state.total >= self.trunk.max_calls {
            return Err(Refused::Limit("trunk.max_calls"));
        }
        if let (Some(tenant), true) = (wish.tenant, limited) {
            let calls = state.tenant_calls.get(&tenant).copied().unwrap_or_default();
            if self.trunk.tenant_max_calls > 0 && calls >= self.trunk.tenant_max_calls {
                return Err(Refused::Limit("trunk.tenant_max_calls"));
            }
            if state.tenant_rates.len() >= TENANTS && !state.tenant_rates.contains_key(&tenant) {
                // A bucket that is forgotten counts as full.
                state.tenant_rates.clear();
            }
            // Further ways of one call are not new calls.
            let new = wish.tried.is_empty() && self.trunk.tenant_calls_per_second > 0;
            let rate = new.then(|| state.tenant_rates.entry(tenant).or_default());
            if rate.is_some_and(|rate| !Rate::take(rate, self.trunk.tenant_calls_per_second, now)) {
                return Err(Refused::Limit("trunk.tenant_calls_per_second"));
            }
        }
        let mut short = None;
        let mut left: Vec<usize> = Vec::new();
        for (index, line) in state.lines.iter().enumerate() {
            let Some(gateway) = self.trunk.gateways.get(line.way.gateway) else { continue };
            let calls = state.calls.get(line.way.gateway).copied().unwrap_or_default();
            if wish.tried.contains(&line.way) {
                continue;
            }
            if limited && gateway.max_calls > 0 && calls >= gateway.max_calls {
                short = Some("the gateways' max_calls");
                continue;
            }
            left.push(index);
        }
        let mut random = wish.random;
        while let Some(index) = self.best(state, &left, random, now) {
            random = random.rotate_left(17) ^ 0x9E37_79B9_7F4A_7C15;
            let Some(way) = state.lines.get(index).map(|line| line.way) else { break };
            let per_second = self.trunk.gateways.get(way.gateway).map_or(0, |g| g.calls_per_second);
            let rate = state.rates.get_mut(way.gateway);
            if limited && rate.is_some_and(|rate| !Rate::take(rate, per_second, now)) {
                short = Some("the gateways' calls_per_second");
                left.retain(|other| state.lines.get(*other).is_some_and(|line| line.way.gateway != way.gateway));
                continue;
            }
            state.total += 1;
            if let Some(calls) = state.calls.get_mut(way.gateway) {
                *calls += 1;
            }
            if let Some(tenant) = wish.tenant {
                *state.tenant_calls.entry(tenant).or_default() += 1;
            }
            let call = OutsideCall { state: self.state.clone(), gateway: way.gateway, tenant: wish.tenant };
            return Ok(Choice { way, more: left.len() > 1, call });
        }
        Err(short.map_or(Refused::NoLine, Refused::Limit))
    }

    /// The best of these lines; shares by weight.
    fn best(&self, state: &State, left: &[usize], random: u64, now: Instant) -> Option<usize> {
        let rank = |line: &Line| {
            let registered = state.registered.get(line.way.gateway);
            let ready = matches!(registered, Some(Registered::NotNeeded | Registered::Granted(_)));
            let class = match (line.health.is_up(), line.health.rests(now) || !ready) {
                (true, false) => 0u8,
                (true, true) => 1,
                (false, _) => 2,
            };
            (class, self.gateway(line.way.gateway).map_or(u16::MAX, |g| g.priority))
        };
        let lines = || left.iter().filter_map(|index| Some((*index, state.lines.get(*index)?)));
        let top = lines().map(|(_, line)| rank(line)).min()?;
        let equal: Vec<(usize, &Line)> = lines().filter(|(_, line)| rank(line) == top).collect();
        // A gateway's share does not grow with its addresses.
        let mut shares: Vec<(usize, u64)> = Vec::new();
        for (_, line) in &equal {
            if !shares.iter().any(|(gateway, _)| *gateway == line.way.gateway) {
                let weight = self.gateway(line.way.gateway).map_or(1, |g| u64::from(g.weight));
                shares.push((line.way.gateway, weight));
            }
        }
        let gateway = drawn(&shares, random)?;
        let own = || equal.iter().filter(|(_, line)| line.way.gateway == gateway);
        let first = own().map(|(_, line)| line.priority).min()?;
        let weights: Vec<(usize, u64)> = own()
            .filter(|(_, line)| line.priority == first)
            .map(|(index, line)| (*index, u64::from(line.weight) * 100 + 1))
            .collect();
        drawn(&weights, random.rotate_left(31))
    }

    fn line<T>(&self, way: Way, change: impl FnOnce(&mut Health) -> T) -> Option<T> {
        self.lock().lines.iter_mut().find(|line| line.way == way).map(|line| change(&mut line.health))
    }

    /// A line did not take a call.
    pub fn failed(&self, way: Way, now: Instant) {
        self.line(way, |health| health.call_failed(now));
    }

    /// Something came by a line: an answer to OPTIONS or to a call.
    pub fn answered(&self, way: Way, to_call: bool, now: Instant) -> Option<Change> {
        let every = self.every(way.gateway);
        self.line(way, |health| health.answered(now, every, to_call)).flatten()
    }

    /// A line answered that it cannot work.
    pub fn missed(&self, way: Way, now: Instant) -> Option<Change> {
        let every = self.every(way.gateway)?;
        self.line(way, |health| health.missed(now, every)).flatten()
    }

    /// What is to be done now.
    pub fn jobs(&self, now: Instant) -> Vec<Job> {
        let mut jobs = Vec::new();
        for line in &mut self.lock().lines {
            let Some(every) = self.every(line.way.gateway) else { continue };
            jobs.extend(line.health.overdue(now, every).map(|change| Job::Changed(line.way, change)));
            if line.health.ask(now) {
                jobs.push(Job::Ask(line.way));
            }
        }
        jobs
    }

    /// When there is something to do.
    pub fn due(&self) -> Option<Instant> {
        self.lock().lines.iter().filter_map(|line| line.health.due()).min()
    }

    /// The lines of a gateway, those that work first.
    pub fn lines(&self, gateway: usize) -> Vec<Way> {
        let state = self.lock();
        let mut lines: Vec<&Line> = state.lines.iter().filter(|line| line.way.gateway == gateway).collect();
        lines.sort_by_key(|line| (!line.health.is_up(), line.priority));
        lines.into_iter().map(|line| line.way).collect()
    }

    /// Where a registration stands now; what it was.
    pub fn registration(&self, gateway: usize, now: Registered) -> Option<Registered> {
        self.lock().registered.get_mut(gateway).map(|state| std::mem::replace(state, now))
    }

    /// The gateway that an address belongs to.
    pub fn of_source(&self, ip: IpAddr) -> Option<usize> {
        let ip = ip.to_canonical();
        self.lock().lines.iter().find(|line| line.way.address.ip().to_canonical() == ip).map(|line| line.way.gateway)
    }

    /// The gateway whose name a certificate bears.
    pub fn of_certificate(&self, bears: impl Fn(&str) -> bool) -> Option<usize> {
        self.trunk.gateways.iter().position(|gateway| !gateway.tls_name.is_empty() && bears(&gateway.tls_name))
    }

    /// Whether calls need no digest because they come from a gateway: from one of its addresses, or by
    /// a connection whose certificate bears its name where it has one.
    pub fn accepts(&self, ip: IpAddr, shown: Option<usize>) -> bool {
        let accepting = |wanted: &dyn Fn(&Gateway) -> bool, index: Option<usize>| {
            index.and_then(|index| self.gateway(index)).is_some_and(|gateway| gateway.accept_calls && wanted(gateway))
        };
        accepting(&|_| true, shown) || accepting(&|gateway| gateway.tls_name.is_empty(), self.of_source(ip))
    }

    /// Whether a URI leads to a gateway: by one of its addresses, or by its name.
    pub fn is_at(&self, remote: Option<SocketAddr>, host: &str) -> bool {
        self.trunk.gateways.iter().any(|gateway| gateway.host.eq_ignore_ascii_case(host))
            || remote.is_some_and(|remote| self.lock().lines.iter().any(|line| line.way.address == remote))
    }

    /// Calls to outside now.
    pub fn calls(&self) -> usize {
        self.lock().total
    }

    /// One line for each gateway's line: for people.
    pub fn report(&self) -> String {
        let state = self.lock();
        let mut out = String::new();
        for (index, gateway) in self.trunk.gateways.iter().enumerate() {
            let registered = match state.registered.get(index) {
                Some(Registered::Trying) => ", not registered yet".to_string(),
                Some(Registered::Granted(seconds)) => format!(", registered for {seconds} s"),
                Some(Registered::Failed(408)) => ", not registered: no answer".to_string(),
                Some(Registered::Failed(status)) => format!(", not registered: {status}"),
                _ => String::new(),
            };
            let mut any = false;
            for line in state.lines.iter().filter(|line| line.way.gateway == index) {
                any = true;
                let up = if line.health.is_up() { "up" } else { "down" };
                let _ = writeln!(out, "gateway {} {}: {up}{registered}", gateway.name, line.way.address);
            }
            if !any {
                let _ = writeln!(out, "gateway {}: no address{registered}", gateway.name);
            }
        }
        out
    }

    /// In the text format of Prometheus.
    pub fn metrics(&self, out: &mut String) {
        if self.trunk.gateways.is_empty() {
            return;
        }
        let state = self.lock();
        let mut metric = |name: &str, help: &str, values: &mut dyn Iterator<Item = (String, u64)>| {
            let _ = writeln!(out, "# HELP hotline_node_{name} {help}\n# TYPE hotline_node_{name} gauge");
            for (labels, value) in values {
                let _ = writeln!(out, "hotline_node_{name}{{{labels}}} {value}");
            }
        };
        let name = |index: usize| self.gateway(index).map_or("", |gateway| gateway.name.as_str());
        let mut lines = state.lines.iter().map(|line| {
            let (gateway, address) = (name(line.way.gateway), line.way.address);
            (format!("gateway=\"{gateway}\",address=\"{address}\""), u64::from(line.health.is_up()))
        });
        metric("gateway_up", "1 while a line of a gateway answers.", &mut lines);
        let wanted = |state: &Registered| *state != Registered::NotNeeded;
        let mut registered =
            state.registered.iter().enumerate().filter(|(_, state)| wanted(state)).map(|(index, state)| {
                (format!("gateway=\"{}\"", name(index)), u64::from(matches!(state, Registered::Granted(_))))
            });
        metric("gateway_registered", "1 while we are registered at a gateway.", &mut registered);
        let mut calls = state
            .calls
            .iter()
            .enumerate()
            .map(|(index, calls)| (format!("gateway=\"{}\"", name(index)), *calls as u64));
        metric("gateway_calls", "Calls by a gateway now.", &mut calls);
    }
}

/// One of these, by its weight.
fn drawn<T: Copy>(shares: &[(T, u64)], random: u64) -> Option<T> {
    let total: u64 = shares.iter().map(|(_, weight)| weight).sum();
    let mut at = random % total.max(1);
    for (item, weight) in shares {
        if at < *weight {
            return Some(*item);
        }
        at -= weight;
    }
    shares.first().map(|(item, _)| *item)
}

#[cfg(test)]
mod tests;
