//! Calls to numbers outside, by gateways; and SIP addresses whose host must be looked up.

use std::net::SocketAddr;
use std::time::Instant;

use hotline_base::ContactId;
use hotline_session::{DialError, LegNo, verdict};
use hotline_sip::Reason;
use hotline_sip::api::{CallHandle, Credentials, Event, Header, Path, RequestHandle, Transport};
use hotline_wire::legs::DialogRef;

use super::Worker;
use super::calls::Entry;
use super::routes::{Found, Route, Wanted};
use crate::clock;
use crate::config::{Gateway, Identity};
use crate::dial;
use crate::dns::{Hop, Service};
use crate::gateways::{self, Change, OutsideCall, Policy, Refused, Way, Wish};
use crate::mailbox::{Attending, Mail};
use crate::metrics::Metrics;

/// A session's calls to outside: they count as long as they last.
#[derive(Default)]
pub(super) struct Outside {
    tried: Vec<(LegNo, Way)>,
    calls: Vec<(CallHandle, Way, OutsideCall)>,
}

impl Outside {
    /// The line that a leg was sent to last.
    pub(super) fn last_tried(&self, leg: LegNo) -> Option<Way> {
        self.tried.iter().rev().find(|(l, _)| *l == leg).map(|(_, way)| *way)
    }

    /// A call begins by the line that its leg tried last.
    pub(super) fn began(&mut self, call: CallHandle, leg: LegNo, room: OutsideCall) {
        if let Some(way) = self.last_tried(leg) {
            self.calls.push((call, way, room));
        }
    }

    /// A call is over; the line that had it.
    pub(super) fn ended(&mut self, call: CallHandle) -> Option<Way> {
        let index = self.calls.iter().position(|(c, ..)| *c == call)?;
        Some(self.calls.swap_remove(index).1)
    }

    fn way(&self, call: CallHandle) -> Option<Way> {
        self.calls.iter().find(|(c, ..)| *c == call).map(|(_, way, _)| *way)
    }
}

/// A change of a line's health, for people.
pub(super) fn tell_change(gateways: &gateways::Gateways, way: Way, change: Option<Change>) {
    let name = gateways.gateway(way.gateway).map_or("", |gateway| gateway.name.as_str());
    match change {
        Some(Change::Up) => tracing::info!(gateway = name, address = %way.address, "a gateway answers again"),
        Some(Change::Down) => tracing::warn!(gateway = name, address = %way.address, "a gateway does not answer"),
        None => {}
    }
}

impl Worker {
    /// A SIP address, unless it is a way round the rules for numbers. `attempt`: of its addresses.
    pub(super) fn to_address(&self, uri: String, attempt: u32) -> Result<Found, DialError> {
        // The allow-list is not to be got round by writing the gateway's address.
        if self.shared.gateways.is_at(dial::address(&uri), dial::host(&uri)) {
            let number = dial::normalise(dial::user(&uri), &self.shared.config.sip.country_code);
            if let Policy::Forbidden(why) = gateways::policy(self.shared.gateways.trunk(), &number) {
                return Err(DialError::Forbidden(why.into()));
            }
        }
        self.find(Wanted { attempt, ..Wanted::at(uri) })
    }

    /// A number outside, by the next gateway.
    pub(super) fn to_number(&self, number: &str, leg: LegNo, entry: &mut Entry) -> Result<Found, DialError> {
        let (shared, trunk) = (&self.shared, self.shared.gateways.trunk());
        if trunk.gateways.is_empty() {
            return Err(DialError::NoRoute("a number: there are no gateways in [trunk]".into()));
        }
        let number = dial::normalise(number, &shared.config.sip.country_code);
        let emergency = match gateways::policy(trunk, &number) {
            Policy::Allowed => false,
            Policy::Emergency => true,
            Policy::Forbidden(why) => return Err(DialError::Forbidden(why.into())),
        };
        let tried: Vec<Way> = entry.outside.tried.iter().filter(|(l, _)| *l == leg).map(|(_, way)| *way).collect();
        let random = u64::from_ne_bytes(clock::random());
        let wish = Wish { tenant: entry.session.tenant(), emergency, tried: &tried, random };
        let choice = shared.gateways.choose(&wish, Instant::now()).map_err(|refused| match refused {
            Refused::Limit(which) => DialError::Forbidden(format!("{which} is reached")),
            Refused::NoLine => DialError::NoRoute("all gateways were tried, or none has an address".into()),
        })?;
        let gateway = shared.gateways.gateway(choice.way.gateway);
        let gateway = gateway.ok_or_else(|| DialError::NoRoute("the gateway".into()))?;
        entry.outside.tried.push((leg, choice.way));
        Metrics::add(&shared.metrics.outside_dials);
        if emergency {
            Metrics::add(&shared.metrics.outside_emergency);
            let contact = entry.session.contact();
            tracing::warn!(%contact, number, gateway = gateway.name, "an emergency number is called");
            if tried.is_empty() {
                entry.session.emergency_called(clock::now(), number.clone(), gateway.name.clone());
            }
        }
        let dialled = gateways::outward(gateway, &shared.config.sip.country_code, &number);
        let transport = match gateway.transport {
            Some(Transport::Tcp) => ";transport=tcp",
            Some(Transport::Tls) => ";transport=tls",
            _ => "",
        };
        let mut wanted = Wanted::at(format!("sip:{dialled}@{}{transport}", gateway.place()));
        wanted.more = choice.more;
        wanted.outside = Some(choice.call);
        let (from, headers) = self.identity(gateway, entry, leg, &dialled);
        (wanted.from, wanted.headers) = (Some(from), headers);
        wanted.codecs.clone_from(&gateway.codecs);
        if !gateway.user.is_empty() {
            wanted.credentials = Some(Credentials { user: gateway.user.clone(), password: gateway.password.clone() });
        }
        self.route_by(wanted, choice.way.transport, choice.way.address).map(Found::Route)
    }

    /// Who calls, as a gateway wants to be told: `From`, and what stands beside it.
    fn identity(&self, gateway: &Gateway, entry: &Entry, leg: LegNo, dialled: &str) -> (String, Vec<Header>) {
        let host = &self.shared.config.sip.realm;
        let shown = entry.session.presents(leg);
        let safe = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-_.*#".contains(&b));
        let number = gateways::written(gateway, &self.shared.config.sip.country_code, &shown);
        let number = Some(number).filter(|number| !number.is_empty() && safe(number));
        let account = Some(gateway.user.as_str()).filter(|user| !user.is_empty() && safe(user));
        let mut headers = Vec::new();
        let mut header = |name: &str, value: String| headers.push((name.to_string(), value));
        let asserted = match (gateway.identity, &number, account) {
            (Identity::From, ..) => None,
            (_, Some(number), _) => Some(number.clone()),
            (_, None, account) => account.map(ToString::to_string),
        };
        if let Some(asserted) = asserted {
            header("P-Asserted-Identity", format!("<sip:{asserted}@{host}>"));
        }
        if number.is_none() {
            // RFC 3323 §4.1.1.3, RFC 3325 §9.3.
            header("Privacy", "id".into());
        }
        if entry.came_in() && safe(entry.did()) && !entry.did().is_empty() {
            let did = gateways::written(gateway, &self.shared.config.sip.country_code, entry.did());
            if gateway.diversion {
                header("Diversion", format!("<sip:{did}@{host}>;reason=unconditional"));
            }
            if gateway.history_info {
                // RFC 7044 §10.2: who was called, and whom this call goes to instead (RFC 4458: 302).
                let target = format!("<sip:{dialled}@{};cause=302>;index=1.1;mp=1", gateway.place());
                header("History-Info", format!("<sip:{did}@{host}>;index=1, {target}"));
            }
        }
        let from = match (gateway.identity, number, account) {
            (_, None, _) => "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_string(),
            (Identity::Asserted, Some(_), Some(account)) => format!("<sip:{account}@{host}>"),
            (_, Some(number), _) => format!("<sip:{number}@{host}>"),
        };
        (from, headers)
    }

    /// What happens to calls to outside: one that ended makes room, one that its gateway could not
    /// take is a mark against the gateway, and whatever comes proves that it is there.
    pub(super) fn outside_call_event(&mut self, event: &Event) {
        let (call, over, unavailable) = match event {
            Event::Failed { call, status, reasons, .. } => {
                (*call, true, verdict(*status, Reason::q850_of(reasons)).next_way)
            }
            Event::Ended { call, .. } | Event::Cancelled { call, .. } => (*call, true, false),
            Event::Trying { call } | Event::Progressed { call, .. } | Event::Answered { call, .. } => {
                (*call, false, false)
            }
            _ => return,
        };
        let slot = self.by_call.get(&call).copied();
        let Some(entry) = slot.and_then(|slot| self.slots.get_mut(slot)).and_then(Option::as_mut) else { return };
        let way = if over { entry.outside.ended(call) } else { entry.outside.way(call) };
        let Some(way) = way else { return };
        let now = Instant::now();
        if unavailable {
            self.shared.gateways.failed(way, now);
        } else {
            let change = self.shared.gateways.answered(way, true, now);
            tell_change(&self.shared.gateways, way, change);
        }
    }

    /// Asks for the address of a host name.
    pub(super) fn resolve(&mut self, contact: ContactId, leg: LegNo, mut wanted: Wanted) {
        let (shared, index) = (self.shared.clone(), self.index);
        self.shared.runtime.spawn(async move {
            let hop = look_up(&shared.dns, contact, &mut wanted).await;
            if let Some(mailbox) = shared.mailboxes.get(index) {
                mailbox.post(Mail::Resolved { contact, leg, wanted: Box::new(wanted), hop });
            }
        });
    }

    /// A host name's address came, or not.
    pub(super) fn resolved(
        &mut self,
        contact: ContactId,
        leg: LegNo,
        wanted: Wanted,
        hop: Result<(Transport, SocketAddr), DialError>,
    ) {
        let Some(slot) = self.by_contact.get(&contact).copied() else {
            return;
        };
        let Some(mut entry) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let route = hop.and_then(|(transport, remote)| self.route_by(wanted, transport, remote));
        self.dial_route(slot, &mut entry, leg, route);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(entry);
        }
        // Carries out what the session asks for now.
        self.with_slot(slot, |_, _| {});
    }

    /// The dialog that an attended REFER names, where this worker has it: as we would name it in an
    /// INVITE to ourselves.
    pub(super) fn attended(&self, refer_to: &str) -> Option<DialogRef> {
        let value = replaces_of(refer_to)?;
        self.by_call.get(&self.endpoint.replaced(&value)?)?;
        let (call_id, params) = value.split_once(';')?;
        let param = |name: &str| params.split(';').find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('='));
        let own = self.shared.own_address()?;
        Some(DialogRef {
            sip_call_id: call_id.trim().to_string(),
            local_tag: param("from-tag")?.to_string(),
            remote_tag: param("to-tag")?.to_string(),
            remote_target: format!("sip:{own}").into(),
            peer: format!("{own};transport=udp"),
        })
    }

    /// A REFER with a Replaces whose dialog another worker may have: that one is asked. `true`: so it is.
    pub(super) fn asks_around(&self, call: CallHandle, request: RequestHandle, refer_to: &str) -> bool {
        let Some(value) = replaces_of(refer_to) else { return false };
        let call_id = value.split(';').next().unwrap_or_default().trim();
        let owner = self.shared.dispatch.worker_of_call_id(call_id.as_bytes());
        let Some(mailbox) = self.shared.mailboxes.get(owner).filter(|_| owner != self.index) else { return false };
        let refer_to = refer_to.to_string();
        let attending = Attending { asker: self.index, call, request, refer_to, found: None };
        mailbox.post(Mail::Attends(Box::new(attending)))
    }

    /// Another worker asks for a dialog, or has answered.
    pub(super) fn attends(&mut self, mut attending: Attending) {
        if attending.asker != self.index {
            attending.found = self.attended(&attending.refer_to);
            if let Some(mailbox) = self.shared.mailboxes.get(attending.asker) {
                mailbox.post(Mail::Attends(Box::new(attending)));
            }
            return;
        }
        let Attending { call, request, refer_to, found, .. } = attending;
        let Some(slot) = self.by_call.get(&call).copied() else { return };
        self.with_slot(slot, |session, now| {
            if let Some(dialog) = found {
                session.attends(call, dialog);
            }
            session.handle_sip(now, Event::Referred { call, request, refer_to });
        });
    }

    /// The way by a transport to an address.
    pub(super) fn route_by(
        &self,
        wanted: Wanted,
        transport: Transport,
        remote: SocketAddr,
    ) -> Result<Route, DialError> {
        if transport == Transport::Tls {
            self.shared.streams.name_peer(remote, dial::host(&wanted.uri));
        }
        let local = self
            .shared
            .local_for(transport, remote)
            .ok_or_else(|| DialError::NoRoute(format!("{}: no socket for its transport", wanted.uri)))?;
        Ok(Route { wanted, path: Path { transport, local, remote, connection: 0 } })
    }
}

/// The Replaces header within a Refer-To URI (RFC 3891 §7), unescaped.
fn replaces_of(refer_to: &str) -> Option<String> {
    let (_, headers) = refer_to.split_once('?')?;
    let value = headers.split('&').find_map(|header| {
        let (name, value) = header.split_once('=')?;
        name.eq_ignore_ascii_case("Replaces").then_some(value)
    })?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let digit = |b: Option<u8>| char::from(b?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

/// The address for this attempt at a URI, and whether there is another one after it.
async fn look_up(
    dns: &crate::dns::Dns,
    contact: ContactId,
    wanted: &mut Wanted,
) -> Result<(Transport, SocketAddr), DialError> {
    let lower = wanted.uri.to_ascii_lowercase();
    let says = lower.starts_with("sips:") || lower.contains(";transport=");
    let port = dial::port(&wanted.uri).map_err(|_| DialError::NoRoute(wanted.uri.clone()))?;
    let service =
        Service { host: dial::host(&wanted.uri), port, transport: says.then(|| dial::transport(&wanted.uri)) };
    let found = dns.find(service, Instant::now()).await;
    let mut hops = found.map_err(|error| DialError::NoRoute(format!("{}: {error}", wanted.uri)))?.hops;
    shuffle(&mut hops, contact.as_u128() as u64);
    let attempt = wanted.attempt as usize;
    wanted.more = attempt + 1 < hops.len();
    let hop = hops.get(attempt).ok_or_else(|| DialError::NoRoute(wanted.uri.clone()))?;
    Ok((hop.transport, hop.address))
}

/// Those of the same priority in an order drawn by weight (RFC 2782), the same for all attempts of a
/// call.
fn shuffle(hops: &mut [Hop], seed: u64) {
    let key = |index: usize, hop: &Hop| {
        let mut mixed = (seed ^ index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let drawn = ((mixed >> 11) as f64 / (1u64 << 53) as f64).max(f64::MIN_POSITIVE);
        -drawn.ln() / (f64::from(hop.weight) + 0.01)
    };
    let mut keyed: Vec<(f64, Hop)> = hops.iter().enumerate().map(|(index, hop)| (key(index, hop), *hop)).collect();
    keyed.sort_by(|a, b| a.1.priority.cmp(&b.1.priority).then(a.0.total_cmp(&b.0)));
    for (place, (_, hop)) in hops.iter_mut().zip(keyed) {
        *place = hop;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_within_refer_to() {
        let of = |uri: &str| replaces_of(uri);
        assert_eq!(
            of("sip:600@h?a=b&replaces=x%40y%3Bto-tag%3D1%3Bfrom-tag%3D2").as_deref(),
            Some("x@y;to-tag=1;from-tag=2")
        );
        for wrong in
            ["sip:600@h", "sip:600@h?Subject=x", "sip:h?Replaces=%4", "sip:h?Replaces=%zz", "sip:h?Replaces=a%0d"]
        {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn weights_draw_the_order_and_priorities_hold() {
        let hop = |port: u16, priority, weight| Hop {
            address: SocketAddr::from(([192, 0, 2, 1], port)),
            transport: Transport::Udp,
            priority,
            weight,
        };
        let order = |seed: u64| {
            let mut hops = [hop(1, 2, 0), hop(2, 1, 10), hop(3, 1, 30)];
            shuffle(&mut hops, seed);
            hops.map(|hop| hop.address.port())
        };
        let first = (0..1_000).filter(|seed| order(*seed) == [3, 2, 1]).count();
        let second = (0..1_000).filter(|seed| order(*seed) == [2, 3, 1]).count();
        assert_eq!(first + second, 1_000);
        assert!((700..800).contains(&first), "{first}");
        assert_eq!(order(5), order(5));
    }
}
