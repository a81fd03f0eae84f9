//! From a target to an INVITE: registered phones, SIP addresses, the trunk.

use std::net::SocketAddr;
use std::time::Instant;

use hotline_base::ContactId;
use hotline_session::{DialError, Dialed, LegNo, Target};
use hotline_sip::api::{Credentials, Path, Transport};

use super::Worker;
use super::calls::Entry;
use crate::clock;
use crate::dial;
use crate::mailbox::Mail;

/// A way to somebody.
struct Route {
    uri: String,
    path: Path,
    credentials: Option<Credentials>,
}

impl Worker {
    /// Looks for a way to a target and tells the session.
    pub(super) fn dial(&mut self, slot: usize, entry: &mut Entry, leg: LegNo, target: Target) {
        let route = match target {
            Target::Agent { sip_user, .. } if sip_user.starts_with("sip:") => self.to_address(&sip_user),
            Target::Agent { sip_user, node } => self.to_phone(&sip_user, node),
            Target::Address(address) if address.starts_with("sip:") => {
                if dial::address(&address).is_none() {
                    self.resolve(entry.session.contact(), leg, address);
                    return;
                }
                self.to_address(&address)
            }
            // A phone that registered here counts before the world outside.
            Target::Address(name) if self.shared.registrar.find(Instant::now(), &name).is_some() => {
                self.to_phone(&name, self.shared.node)
            }
            Target::Address(number) => self.to_number(&number),
        };
        self.dial_route(slot, entry, leg, route);
    }

    fn dial_route(&mut self, slot: usize, entry: &mut Entry, leg: LegNo, route: Result<Route, DialError>) {
        let dialed = route.and_then(|route| {
            let media = self.open_media(slot, entry)?;
            let call = self.endpoint.fresh_call();
            self.own_call(slot, entry, call);
            Ok(Dialed {
                call,
                uri: route.uri,
                path: route.path,
                headers: Vec::new(),
                credentials: route.credentials,
                media,
            })
        });
        if let Err(error) = &dialed {
            tracing::info!(contact = %entry.session.contact(), %error, "cannot dial");
        }
        entry.session.dialed(clock::now(), leg, dialed);
    }

    /// A phone that registered here.
    fn to_phone(&self, user: &str, node: hotline_base::NodeId) -> Result<Route, DialError> {
        if node != self.shared.node {
            return Err(DialError::NoRoute(format!("{user}: its phone is registered at {node}")));
        }
        let binding = self
            .shared
            .registrar
            .find(Instant::now(), user)
            .ok_or_else(|| DialError::NoRoute(format!("{user}: no phone is registered")))?;
        Ok(Route { uri: binding.uri, path: binding.path, credentials: None })
    }

    fn to_address(&self, uri: &str) -> Result<Route, DialError> {
        let no_route = || DialError::NoRoute(uri.to_string());
        let remote = dial::address(uri).ok_or_else(no_route)?;
        self.route(uri.to_string(), remote)
    }

    fn route(&self, uri: String, remote: SocketAddr) -> Result<Route, DialError> {
        let transport = if dial::wants_tcp(&uri) { Transport::Tcp } else { Transport::Udp };
        let local = self
            .shared
            .local_for(transport, remote)
            .ok_or_else(|| DialError::NoRoute(format!("{uri}: no socket for its transport")))?;
        Ok(Route { uri, path: Path { transport, local, remote, connection: 0 }, credentials: None })
    }

    /// A number outside, by the trunk.
    fn to_number(&self, number: &str) -> Result<Route, DialError> {
        let trunk = &self.shared.config.trunk;
        let plain = number.strip_prefix('+').unwrap_or(number);
        let good = (2..=20).contains(&plain.len()) && plain.bytes().all(|b| b.is_ascii_digit());
        let (Some(remote), true) = (trunk.address, good) else {
            let why = if good { "no trunk is configured" } else { "not a number" };
            return Err(DialError::NoRoute(why.into()));
        };
        let mut route = self.route(format!("sip:{number}@{remote}"), remote)?;
        if !trunk.user.is_empty() {
            route.credentials = Some(Credentials { user: trunk.user.clone(), password: trunk.password.clone() });
        }
        Ok(route)
    }

    /// Asks for the address of a host name.
    fn resolve(&mut self, contact: ContactId, leg: LegNo, uri: String) {
        let (shared, index) = (self.shared.clone(), self.index);
        self.shared.runtime.spawn(async move {
            let address = look_up(&uri).await;
            if let Some(mailbox) = shared.mailboxes.get(index) {
                mailbox.post(Mail::Resolved { contact, leg, uri, address });
            }
        });
    }

    /// A host name's address came, or not.
    pub(super) fn resolved(
        &mut self,
        contact: ContactId,
        leg: LegNo,
        uri: String,
        address: Result<SocketAddr, DialError>,
    ) {
        let Some(slot) = self.by_contact.get(&contact).copied() else {
            return;
        };
        let Some(mut entry) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let route = address.and_then(|remote| self.route(uri, remote));
        self.dial_route(slot, &mut entry, leg, route);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(entry);
        }
        // Carries out what the session asks for now.
        self.with_slot(slot, |_, _| {});
    }
}

async fn look_up(uri: &str) -> Result<SocketAddr, DialError> {
    let no_route = || DialError::NoRoute(uri.to_string());
    let rest = uri.strip_prefix("sip:").unwrap_or(uri);
    let rest = rest.split([';', '?', '>']).next().unwrap_or_default();
    let host = rest.rsplit('@').next().unwrap_or_default();
    let (host, port) = match host.split_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| no_route())?),
        None => (host, 5060),
    };
    let wait = std::time::Duration::from_secs(3);
    let found = tokio::time::timeout(wait, tokio::net::lookup_host((host, port))).await;
    match found {
        Ok(Ok(mut addresses)) => addresses.find(SocketAddr::is_ipv4).ok_or_else(no_route),
        _ => Err(no_route()),
    }
}
