//! From a target to an INVITE: registered phones here and at other nodes, SIP addresses, gateways,
//! the other side of a lost node's dialog.

use std::net::SocketAddr;
use std::time::Instant;

use hotline_base::{AgentId, ContactId, OfferId};
use hotline_session::{DialError, Dialed, LegNo, Target};
use hotline_sip::api::{CallHandle, Credentials, Event, Header, Path, Transport};
use hotline_wire::legs::DialogRef;

use super::Worker;
use super::calls::Entry;
use crate::clock;
use crate::dial;
use crate::fleet;
use crate::gateways::{self, OutsideCall};
use crate::mailbox::Mail;
use crate::metrics::Metrics;

/// A way to somebody.
struct Route {
    wanted: Wanted,
    path: Path,
}

/// Somebody whose address may still have to be looked up.
pub struct Wanted {
    uri: String,
    headers: Vec<Header>,
    credentials: Option<Credentials>,
    /// There is another way to try.
    more: bool,
    replaces: Option<DialogRef>,
    outside: Option<OutsideCall>,
}

impl Wanted {
    fn at(uri: String) -> Self {
        Self { uri, headers: Vec::new(), credentials: None, more: false, replaces: None, outside: None }
    }
}

/// A session's calls to outside: they count as long as they last.
#[derive(Default)]
pub(super) struct Outside {
    tried: Vec<(LegNo, usize)>,
    calls: Vec<(CallHandle, Option<usize>, OutsideCall)>,
}

impl Outside {
    /// The gateway that a leg was sent to last.
    pub(super) fn last_tried(&self, leg: LegNo) -> Option<usize> {
        self.tried.iter().rev().find(|(l, _)| *l == leg).map(|(_, gateway)| *gateway)
    }

    /// A call is over; the gateway that had it.
    pub(super) fn ended(&mut self, call: CallHandle) -> Option<usize> {
        let index = self.calls.iter().position(|(c, ..)| *c == call)?;
        self.calls.swap_remove(index).1
    }
}

fn no_route(what: &str) -> DialError {
    DialError::NoRoute(what.to_string())
}

impl Worker {
    /// Looks for a way to a target and tells the session.
    pub(super) fn dial(&mut self, slot: usize, entry: &mut Entry, leg: LegNo, target: Target, attempt: u32) {
        let found = match target {
            Target::Agent { sip_user, .. } if sip_user.starts_with("sip:") => self.to_address(sip_user),
            Target::Agent { sip_user, node, address, offer, agent, replaces } => {
                let here = node == self.shared.node || address.is_none();
                match (self.to_phone(&sip_user), address, replaces) {
                    (Some(mut route), _, replaces) if here => {
                        route.wanted.replaces = replaces.map(|dialog| self.behind_relay(dialog));
                        Ok(Found::Route(route))
                    }
                    (_, Some(address), replaces) if !here => {
                        self.to_other_node(&sip_user, &address, offer, agent, replaces)
                    }
                    // Its node is lost: by the way the dialog knew.
                    (_, _, Some(dialog)) => self.to_dialog(&dialog),
                    _ => Err(DialError::NoRoute(format!("{sip_user}: no phone is registered"))),
                }
            }
            Target::Dialog(dialog) => self.to_dialog(&dialog),
            Target::Address(address) if address.starts_with("sip:") => self.to_address(address),
            Target::Address(name) => match self.to_phone(&name) {
                // A phone that registered here counts before the world outside.
                Some(route) if attempt == 0 => Ok(Found::Route(route)),
                _ => self.to_number(&name, leg, &mut entry.outside),
            },
        };
        match found {
            Ok(Found::Route(route)) => self.dial_route(slot, entry, leg, Ok(route)),
            Ok(Found::Name(wanted)) => self.resolve(entry.session.contact(), leg, wanted),
            Err(error) => self.dial_route(slot, entry, leg, Err(error)),
        }
    }

    fn dial_route(&mut self, slot: usize, entry: &mut Entry, leg: LegNo, route: Result<Route, DialError>) {
        let dialed = route.and_then(|Route { wanted, path }| {
            let media = self.open_media(slot, entry)?;
            let call = self.endpoint.fresh_call();
            self.own_call(slot, entry, call);
            if let Some(outside) = wanted.outside {
                let gateway = entry.outside.last_tried(leg);
                entry.outside.calls.push((call, gateway, outside));
            }
            Ok(Dialed {
                call,
                uri: wanted.uri,
                path,
                headers: wanted.headers,
                credentials: wanted.credentials,
                media,
                more: wanted.more,
                replaces: wanted.replaces,
            })
        });
        if let Err(error) = &dialed {
            if matches!(error, DialError::Forbidden(_)) {
                Metrics::add(&self.shared.metrics.outside_forbidden);
                tracing::warn!(contact = %entry.session.contact(), %error, "a call to outside was not made");
            } else {
                tracing::info!(contact = %entry.session.contact(), %error, "cannot dial");
            }
        }
        entry.session.dialed(clock::now(), leg, dialed);
    }

    /// A phone that registered here.
    fn to_phone(&self, user: &str) -> Option<Route> {
        let binding = self.shared.registrar.find(Instant::now(), user)?;
        Some(Route { wanted: Wanted::at(binding.uri), path: binding.path })
    }

    /// A lost node may have reached the phone by way of us: then the phone knows our dialog only.
    fn behind_relay(&self, dialog: DialogRef) -> DialogRef {
        self.shared.relayed.get(&dialog.sip_call_id, &dialog.remote_tag).unwrap_or(dialog)
    }

    /// A phone that registered at another node: that node rings it.
    fn to_other_node(
        &self,
        user: &str,
        address: &str,
        offer: OfferId,
        agent: AgentId,
        replaces: Option<DialogRef>,
    ) -> Result<Found, DialError> {
        let Some(key) = &self.shared.config.node.fleet_key else {
            return Err(DialError::NoRoute(format!(
                "{user}: its phone is at another node and node.fleet_key is not set"
            )));
        };
        if address.is_empty() || !address.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b)) {
            return Err(DialError::NoRoute(format!("{user}: {address:?} is no address of a node")));
        }
        Metrics::add(&self.shared.metrics.remote_rings);
        let value = fleet::sign(key, offer, agent, user, clock::wall());
        let mut wanted = Wanted::at(format!("sip:{}@{address}", fleet::escape_user(user)));
        wanted.headers.push((fleet::RING_HEADER.to_string(), value));
        wanted.replaces = replaces;
        self.find(wanted)
    }

    /// The other side of a dialog, where its packets came from.
    fn to_dialog(&self, dialog: &DialogRef) -> Result<Found, DialError> {
        let mut wanted = Wanted::at(dialog.remote_target.expose().clone());
        wanted.replaces = Some(dialog.clone());
        match dial::datagram_peer(&dialog.peer) {
            Some(remote) => self.route(wanted, remote).map(Found::Route),
            // Its connection is gone with the node: by its address.
            None => self.find(wanted),
        }
    }

    fn to_address(&self, uri: String) -> Result<Found, DialError> {
        let trunk = &self.shared.config.trunk;
        let remote = dial::address(&uri);
        let by_gateway = trunk.gateways.iter().any(|g| match (g.address(), remote) {
            (Some(gateway), Some(remote)) => gateway.ip() == remote.ip() && gateway.port() == remote.port(),
            _ => uri.to_ascii_lowercase().contains(&format!("@{}", g.host.to_ascii_lowercase())),
        });
        // The allow-list is not to be got round by writing the gateway's address.
        if by_gateway && !gateways::allowed(trunk, dial::user(&uri)) {
            return Err(DialError::Forbidden("the number is not in trunk.allow".into()));
        }
        self.find(Wanted::at(uri))
    }

    /// The way to a URI's host, or its name to be looked up.
    fn find(&self, wanted: Wanted) -> Result<Found, DialError> {
        match dial::address(&wanted.uri) {
            Some(remote) => self.route(wanted, remote).map(Found::Route),
            None => Ok(Found::Name(wanted)),
        }
    }

    fn route(&self, wanted: Wanted, remote: SocketAddr) -> Result<Route, DialError> {
        let transport = if dial::wants_tcp(&wanted.uri) { Transport::Tcp } else { Transport::Udp };
        let local = self
            .shared
            .local_for(transport, remote)
            .ok_or_else(|| DialError::NoRoute(format!("{}: no socket for its transport", wanted.uri)))?;
        Ok(Route { wanted, path: Path { transport, local, remote, connection: 0 } })
    }

    /// A number outside, by the next gateway.
    fn to_number(&self, number: &str, leg: LegNo, outside: &mut Outside) -> Result<Found, DialError> {
        let (shared, trunk) = (&self.shared, &self.shared.config.trunk);
        if trunk.gateways.is_empty() {
            return Err(no_route("a number: trunk.gateways is empty"));
        }
        let number = dial::normalise(number, &shared.config.sip.country_code);
        if !gateways::allowed(trunk, &number) {
            return Err(DialError::Forbidden("the number is not in trunk.allow".into()));
        }
        let tried: Vec<usize> = outside.tried.iter().filter(|(l, _)| *l == leg).map(|(_, g)| *g).collect();
        let next = shared.gateways.next(trunk, &tried, Instant::now());
        let (index, more) = next.ok_or_else(|| no_route("the telephone network: all gateways were tried"))?;
        let gateway = trunk.gateways.get(index).ok_or_else(|| no_route("the gateway"))?;
        let room = shared.gateways.enter(trunk);
        let room =
            room.ok_or_else(|| DialError::Forbidden("trunk.max_calls calls to outside are in progress".into()))?;
        outside.tried.push((leg, index));
        Metrics::add(&shared.metrics.outside_dials);
        let mut wanted = Wanted::at(format!("sip:{number}@{}:{}", gateway.host, gateway.port));
        wanted.more = more;
        wanted.outside = Some(room);
        if !gateway.user.is_empty() {
            wanted.credentials = Some(Credentials { user: gateway.user.clone(), password: gateway.password.clone() });
        }
        self.find(wanted)
    }

    /// A call to outside that ended makes room; one that its gateway could not take is a mark
    /// against the gateway.
    pub(super) fn outside_call_event(&mut self, event: &Event) {
        let (call, unavailable) = match event {
            Event::Failed { call, status, .. } => (*call, matches!(status, 408 | 500 | 502 | 503 | 504)),
            Event::Ended { call, .. } | Event::Cancelled { call } => (*call, false),
            _ => return,
        };
        let slot = self.by_call.get(&call).copied();
        let entry = slot.and_then(|slot| self.slots.get_mut(slot)).and_then(Option::as_mut);
        if let Some(gateway) = entry.and_then(|entry| entry.outside.ended(call))
            && unavailable
        {
            self.shared.gateways.failed(gateway, Instant::now());
        }
    }

    /// Asks for the address of a host name.
    fn resolve(&mut self, contact: ContactId, leg: LegNo, wanted: Wanted) {
        let (shared, index) = (self.shared.clone(), self.index);
        self.shared.runtime.spawn(async move {
            let address = look_up(&wanted.uri).await;
            if let Some(mailbox) = shared.mailboxes.get(index) {
                mailbox.post(Mail::Resolved { contact, leg, wanted: Box::new(wanted), address });
            }
        });
    }

    /// A host name's address came, or not.
    pub(super) fn resolved(
        &mut self,
        contact: ContactId,
        leg: LegNo,
        wanted: Wanted,
        address: Result<SocketAddr, DialError>,
    ) {
        let Some(slot) = self.by_contact.get(&contact).copied() else {
            return;
        };
        let Some(mut entry) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let route = address.and_then(|remote| self.route(wanted, remote));
        self.dial_route(slot, &mut entry, leg, route);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(entry);
        }
        // Carries out what the session asks for now.
        self.with_slot(slot, |_, _| {});
    }
}

/// A way, or a name to be looked up first.
enum Found {
    Route(Route),
    Name(Wanted),
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
