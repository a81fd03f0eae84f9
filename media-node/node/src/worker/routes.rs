//! From a target to an INVITE: registered phones here and at other nodes, SIP addresses, gateways,
//! the other side of a lost node's dialog.

use std::net::SocketAddr;
use std::time::Instant;

use hotline_base::{AgentId, OfferId};
use hotline_rtp::api::Codec;
use hotline_session::{DialError, Dialed, LegNo, Target};
use hotline_sip::api::{Credentials, Header, Path};
use hotline_wire::legs::DialogRef;

use super::Worker;
use super::calls::Entry;
use crate::clock;
use crate::dial;
use crate::fleet;
use crate::gateways::OutsideCall;
use crate::metrics::Metrics;

/// A way to somebody.
pub(super) struct Route {
    pub(super) wanted: Wanted,
    pub(super) path: Path,
}

/// Somebody whose address may still have to be looked up.
pub struct Wanted {
    pub(super) uri: String,
    /// `From`, where it is not the session's to say.
    pub(super) from: Option<String>,
    /// What is offered; empty: all.
    pub(super) codecs: Vec<Codec>,
    pub(super) headers: Vec<Header>,
    pub(super) credentials: Option<Credentials>,
    /// There is another way to try.
    pub(super) more: bool,
    /// Ways to it that were tried.
    pub(super) attempt: u32,
    pub(super) replaces: Option<DialogRef>,
    pub(super) outside: Option<OutsideCall>,
    /// The registered user.
    pub(super) owner: Option<String>,
}

impl Wanted {
    pub(super) fn at(uri: String) -> Self {
        Self {
            uri,
            from: None,
            codecs: Vec::new(),
            headers: Vec::new(),
            credentials: None,
            more: false,
            attempt: 0,
            replaces: None,
            outside: None,
            owner: None,
        }
    }
}

/// Whether a target is a SIP URI and not a name or number.
fn is_uri(target: &str) -> bool {
    target.starts_with("sip:") || target.starts_with("sips:")
}

impl Worker {
    /// Looks for a way to a target and tells the session.
    pub(super) fn dial(&mut self, slot: usize, entry: &mut Entry, leg: LegNo, target: Target, attempt: u32) {
        if let Target::Agent { agent, .. } = &target {
            entry.voices.rings(leg, *agent);
        }
        let found = match target {
            Target::Agent { sip_user, .. } if is_uri(&sip_user) => self.to_address(sip_user, attempt),
            Target::Agent { sip_user, node, address, offer, agent, replaces } => {
                let here = node == self.shared.node || address.is_none();
                match (self.to_phone(&sip_user), address, replaces) {
                    (Some(mut route), _, replaces) if here => {
                        if replaces.is_none() {
                            self.rings_anew(&sip_user);
                        }
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
            Target::Address(address) if is_uri(&address) => self.to_address(address, attempt),
            Target::Address(name) => match self.to_phone(&name) {
                // A phone that registered here counts before the world outside.
                Some(route) if attempt == 0 => Ok(Found::Route(route)),
                _ => self.to_number(&name, leg, entry),
            },
        };
        match found {
            Ok(Found::Route(route)) => self.dial_route(slot, entry, leg, Ok(route)),
            Ok(Found::Name(wanted)) => self.resolve(entry.session.contact(), leg, wanted),
            Err(error) => self.dial_route(slot, entry, leg, Err(error)),
        }
    }

    pub(super) fn dial_route(&mut self, slot: usize, entry: &mut Entry, leg: LegNo, route: Result<Route, DialError>) {
        let dialed = route.and_then(|Route { wanted, path }| {
            let media = self.open_media(slot, entry, leg)?;
            let call = self.endpoint.fresh_call();
            self.own_call(slot, entry, call);
            entry.owners.extend(wanted.owner.map(|user| (call, user)));
            if let Some(outside) = wanted.outside {
                entry.outside.began(call, leg, outside);
            }
            Ok(Dialed {
                call,
                uri: wanted.uri,
                path,
                from: wanted.from,
                codecs: wanted.codecs,
                headers: wanted.headers,
                credentials: wanted.credentials,
                media,
                security: self.shared.config.media.srtp.offers(path.transport),
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
        let wanted = Wanted { owner: Some(user.to_string()), ..Wanted::at(binding.uri) };
        Some(Route { wanted, path: binding.path })
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
        // Rung twice in one millisecond, the phone's node must not take it for a repetition. A clock that was set
        // back by more must not make signatures of the future.
        let (now, last) = (clock::wall(), self.ring_signed_at.get());
        let now = if (-1_000..=0).contains(&now.since_ms(last)) { last.plus_ms(1) } else { now };
        let value = fleet::sign(key, offer, agent, user, now);
        self.ring_signed_at.set(now);
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
            Some(remote) => {
                if Some(remote) == self.shared.own_address() {
                    wanted.headers.push((fleet::RING_HEADER.to_string(), self.shared.own_token.clone()));
                }
                self.route(wanted, remote).map(Found::Route)
            }
            // Its connection is gone with the node: by its address.
            None => self.find(wanted),
        }
    }

    /// The way to a URI's host, or its name to be looked up.
    pub(super) fn find(&self, wanted: Wanted) -> Result<Found, DialError> {
        match dial::address(&wanted.uri) {
            Some(remote) => self.route(wanted, remote).map(Found::Route),
            None => Ok(Found::Name(wanted)),
        }
    }

    fn route(&self, wanted: Wanted, remote: SocketAddr) -> Result<Route, DialError> {
        let transport = dial::transport(&wanted.uri);
        self.route_by(wanted, transport, remote)
    }
}

/// A way, or a name to be looked up first.
pub(super) enum Found {
    Route(Route),
    Name(Wanted),
}
