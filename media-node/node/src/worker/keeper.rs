//! Keeps the gateways: asks how they are, registers there, follows their names. The first worker
//! does it for all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hotline_sip::api::{CallHandle, Command, Credentials, Path, Transport};

use super::Worker;
use super::outside::tell_change;
use crate::config::Gateway;
use crate::dns::{Found, Service};
use crate::gateways::{Job, Registered, Way};
use crate::mailbox::Mail;

/// A name is not looked up more often than this.
const LOOK_UP: Duration = Duration::from_secs(5);
/// A name without an address is looked up again after so long.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(10);

/// A registration of ours.
struct Registration {
    gateway: usize,
    /// Which of the gateway's lines it goes by: its place among them, and itself.
    line: usize,
    way: Way,
}

/// What the keeper remembers.
pub(super) struct Keeper {
    pings: HashMap<CallHandle, Way>,
    registrations: HashMap<CallHandle, Registration>,
    /// When the name of a gateway is looked up next; absent while it is.
    look_ups: HashMap<usize, Instant>,
    /// It begins at once, and only then.
    begins: Option<Instant>,
    /// We are leaving: nothing is registered any more.
    leaving: bool,
}

impl Keeper {
    /// One that begins at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            pings: HashMap::new(),
            registrations: HashMap::new(),
            look_ups: HashMap::new(),
            begins: Some(now),
            leaving: false,
        }
    }
}

impl Worker {
    /// When the keeper has something to do.
    pub(super) fn keeper_due(&self) -> Option<Instant> {
        if self.index != 0 || self.shared.gateways.trunk().gateways.is_empty() {
            return None;
        }
        if self.keeper.begins.is_some() {
            return self.keeper.begins;
        }
        self.keeper.look_ups.values().copied().chain(self.shared.gateways.due()).min()
    }

    /// Does what is due.
    pub(super) fn keep(&mut self, now: Instant) {
        if self.keeper.begins.take().is_some() {
            let count = self.shared.gateways.trunk().gateways.len();
            for gateway in 0..count {
                let named = self.shared.gateways.gateway(gateway).is_some_and(|g| g.address().is_none());
                if named {
                    self.keeper.look_ups.insert(gateway, now);
                } else {
                    self.register_at(gateway, 0);
                }
            }
        }
        let due: Vec<usize> =
            self.keeper.look_ups.iter().filter(|(_, at)| **at <= now).map(|(gateway, _)| *gateway).collect();
        for gateway in due {
            self.keeper.look_ups.remove(&gateway);
            self.look_up_gateway(gateway);
        }
        for job in self.shared.gateways.jobs(now) {
            match job {
                Job::Changed(way, change) => tell_change(&self.shared.gateways, way, Some(change)),
                Job::Ask(way) => self.ask_gateway(way, now),
            }
        }
        self.pump();
    }

    fn look_up_gateway(&mut self, gateway: usize) {
        let (shared, index) = (self.shared.clone(), self.index);
        self.shared.runtime.spawn(async move {
            let found = match shared.gateways.gateway(gateway) {
                Some(Gateway { host, port, transport, .. }) => {
                    shared.dns.find(Service { host, port: *port, transport: *transport }, Instant::now()).await
                }
                None => return,
            };
            if let Some(mailbox) = shared.mailboxes.get(index) {
                mailbox.post(Mail::GatewayFound { gateway, found });
            }
        });
    }

    /// The addresses of a gateway came, or not: then it keeps those that it has.
    pub(super) fn gateway_found(&mut self, gateway: usize, found: Result<Found, crate::dns::NotFound>) {
        let now = Instant::now();
        let name = self.shared.gateways.gateway(gateway).map_or("", |gateway| gateway.name.as_str());
        match found {
            Ok(found) => {
                self.shared.gateways.resolved(gateway, &found.hops, now);
                self.keeper.look_ups.insert(gateway, found.until.max(now + LOOK_UP));
                // A registration by an address that is no longer the gateway's would go nowhere.
                let lines = self.shared.gateways.lines(gateway);
                if !self.keeper.registrations.values().any(|r| r.gateway == gateway && lines.contains(&r.way)) {
                    self.register_at(gateway, 0);
                }
            }
            Err(error) => {
                tracing::warn!(gateway = name, %error, "a gateway's address cannot be found");
                self.keeper.look_ups.insert(gateway, now + LOOK_UP_AGAIN);
            }
        }
    }

    fn gateway_path(&self, way: Way) -> Option<Path> {
        let local = self.shared.local_for(way.transport, way.address)?;
        if way.transport == Transport::Tls
            && let Some(gateway) = self.shared.gateways.gateway(way.gateway)
        {
            self.shared.streams.name_peer(way.address, &gateway.host);
        }
        Some(Path { transport: way.transport, local, remote: way.address, connection: 0 })
    }

    fn ask_gateway(&mut self, way: Way, now: Instant) {
        let Some(gateway) = self.shared.gateways.gateway(way.gateway) else { return };
        let uri = format!("sip:{}", gateway.place());
        let from = format!("<sip:{}>", self.shared.config.sip.realm);
        let call = self.endpoint.fresh_call();
        let sent = self
            .gateway_path(way)
            .map(|path| self.endpoint.handle_command(now, Command::Ping { call, uri, path, from }));
        match sent {
            Some(Ok(())) => {
                self.keeper.pings.insert(call, way);
            }
            _ => {
                let change = self.shared.gateways.missed(way, now);
                tell_change(&self.shared.gateways, way, change);
            }
        }
    }

    /// A gateway answered, or did not.
    pub(super) fn gateway_answered(&mut self, call: CallHandle, status: u16) {
        let Some(way) = self.keeper.pings.remove(&call) else { return };
        let now = Instant::now();
        // What it refuses, it has understood: it is there. What came too late was missed already.
        let change = match status {
            408 => None,
            500 | 502..=504 => self.shared.gateways.missed(way, now),
            _ => self.shared.gateways.answered(way, false, now),
        };
        tell_change(&self.shared.gateways, way, change);
    }

    /// Registers by a line of a gateway, where that is wanted.
    fn register_at(&mut self, gateway: usize, line: usize) {
        let Some(settings) = self.shared.gateways.gateway(gateway).filter(|g| g.register).cloned() else { return };
        if self.keeper.leaving {
            return;
        }
        let Some(way) = self.shared.gateways.lines(gateway).get(line).copied() else { return };
        let known = self.keeper.registrations.iter().find(|(_, r)| r.gateway == gateway).map(|(call, _)| *call);
        let call = known.unwrap_or_else(|| self.endpoint.fresh_call());
        self.keeper.registrations.insert(call, Registration { gateway, line, way });
        self.send_registration(call, &settings, way, Duration::from_secs(u64::from(settings.register_s)));
    }

    fn send_registration(&mut self, call: CallHandle, settings: &Gateway, way: Way, expires: Duration) {
        let Some(path) = self.gateway_path(way) else {
            tracing::warn!(gateway = settings.name, "there is no socket to register by: see sip.listen");
            return;
        };
        let host = match &self.shared.config.sip.advertise {
            Some(host) => host.clone(),
            None if path.local.ip().is_ipv6() => format!("[{}]", path.local.ip()),
            None => path.local.ip().to_string(),
        };
        let transport = match path.transport {
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
            _ => "",
        };
        let user = &settings.user;
        let command = Command::Register {
            call,
            registrar: format!("sip:{}", settings.place()),
            path,
            aor: format!("sip:{user}@{}", settings.host),
            contact: format!("<sip:{user}@{host}:{}{transport}>", path.local.port()),
            expires,
            credentials: Some(Credentials { user: user.clone(), password: settings.password.clone() }),
        };
        self.command(command);
    }

    /// A registrar answered, or did not. It is tried again by the endpoint, here by the next line.
    pub(super) fn gateway_registration(&mut self, call: CallHandle, result: Result<u32, u16>) {
        let Some(Registration { gateway, line, .. }) = self.keeper.registrations.get(&call) else { return };
        let (gateway, line) = (*gateway, *line);
        let name = self.shared.gateways.gateway(gateway).map_or("", |gateway| gateway.name.as_str()).to_string();
        let state = match result {
            Ok(seconds) => Registered::Granted(seconds),
            Err(status) => Registered::Failed(status),
        };
        let before = self.shared.gateways.registration(gateway, state);
        match (state, before) {
            (Registered::Granted(_), Some(Registered::Granted(_))) => {}
            (Registered::Granted(seconds), _) => {
                tracing::info!(gateway = name, seconds, "registered at a gateway");
            }
            (Registered::Failed(status), _) => {
                tracing::warn!(gateway = name, status, "not registered at a gateway; it is tried again");
                let lines = self.shared.gateways.lines(gateway).len();
                let elsewhere = matches!(status, 408 | 500 | 503 | 504) && line + 1 < lines;
                if elsewhere {
                    self.register_at(gateway, line + 1);
                } else if let Some(registration) = self.keeper.registrations.get_mut(&call) {
                    registration.line = 0;
                }
            }
            _ => {}
        }
    }

    /// The node takes no new calls: gateways shall send none. Or it does again.
    pub(super) fn leave_gateways(&mut self, leaving: bool) {
        self.keeper.leaving = leaving;
        let registered: Vec<(CallHandle, usize, Way)> =
            self.keeper.registrations.iter().map(|(call, r)| (*call, r.gateway, r.way)).collect();
        for (call, gateway, way) in registered {
            if !leaving {
                self.register_at(gateway, 0);
                continue;
            }
            if let Some(settings) = self.shared.gateways.gateway(gateway).cloned() {
                self.send_registration(call, &settings, way, Duration::ZERO);
            }
        }
    }
}
