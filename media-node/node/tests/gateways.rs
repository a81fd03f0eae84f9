//! Gateways that die and come back, that want registrations and their own form of numbers, that are
//! found by name; limits and emergencies.

mod common;

use common::fleet::{Member, contact, dial, failed, wait};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hotline_sip::api::{Command, Event, Ha1, Invite, Output, Path, Transport};
use hotline_sip::{Endpoint, EndpointConfig, Trust};
use hotline_wire::diverted::DiversionReason;
use hotline_wire::legs::DialFailure;
use hotline_wire::node::{CallEvent, NodeAction, Verb};

/// What a gateway of a test does, and what it saw.
#[derive(Default)]
struct Saw {
    invites: Vec<Invite>,
    registered: Vec<Vec<(String, u32)>>,
    /// Statuses that refuse REGISTERs, one each, with a header.
    refusals: Vec<(u16, &'static str, &'static str)>,
    /// INVITEs ring and are not refused.
    rings: bool,
    ended: usize,
    /// INVITEs are refused so instead of with 486, one each: the status and its Reason.
    refuses: Vec<(u16, &'static str)>,
    /// Calls that are placed go on when they are answered.
    stays: bool,
    /// Headers of the calls that are placed.
    place_headers: Vec<(String, String)>,
    /// Calls to be placed: the number, and by whom.
    places: Vec<(String, String)>,
}

/// A gateway in a thread: it refuses every call with 486, which proves that the call came to it.
struct Gateway {
    address: SocketAddr,
    alive: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    saw: Arc<Mutex<Saw>>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    fn start(node: Option<SocketAddr>, digest: bool) -> Gateway {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let alive = Arc::new(AtomicBool::new(true));
        let (stop, saw) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Saw::default())));
        let (lives, until, seen) = (alive.clone(), stop.clone(), saw.clone());
        let thread = std::thread::spawn(move || serve(&socket, node, digest, &lives, &until, &seen));
        Gateway { address, alive, stop, saw, thread: Some(thread) }
    }

    fn invites(&self) -> usize {
        self.saw.lock().unwrap().invites.len()
    }

    fn invite(&self, index: usize) -> Invite {
        self.saw.lock().unwrap().invites[index].clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(
    socket: &UdpSocket,
    node: Option<SocketAddr>,
    digest: bool,
    alive: &AtomicBool,
    stop: &AtomicBool,
    saw: &Mutex<Saw>,
) {
    let local = socket.local_addr().unwrap();
    let mut config = EndpointConfig::new("carrier");
    config.auth = Box::new(move |request| match request.method {
        "REGISTER" if digest => Trust::Digest,
        _ => Trust::Trusted,
    });
    let mut endpoint = Endpoint::new(config, [local.port() as u8; 32]);
    let mut buffer = [0u8; 65_536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, remote)) = socket.recv_from(&mut buffer)
            && alive.load(Ordering::Relaxed)
        {
            let path = Path { transport: Transport::Udp, local, remote, connection: 0 };
            endpoint.handle_packet(Instant::now(), path, &buffer[..length]);
        }
        let (places, headers) = {
            let mut saw = saw.lock().unwrap();
            (std::mem::take(&mut saw.places), saw.place_headers.clone())
        };
        for (number, from) in places {
            let node = node.unwrap();
            let call = endpoint.fresh_call();
            let command = Command::Invite {
                call,
                uri: format!("sip:{number}@{node}"),
                path: Path { transport: Transport::Udp, local, remote: node, connection: 0 },
                from: format!("<sip:{from}@{local}>"),
                to: format!("<sip:{number}@{node}>"),
                sdp: Some(sdp()),
                headers: headers.clone(),
                credentials: None,
            };
            endpoint.handle_command(Instant::now(), command).unwrap();
        }
        if endpoint.poll_timeout().is_some_and(|at| at <= Instant::now()) {
            endpoint.handle_timeout(Instant::now());
        }
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Transmit { path, bytes } => {
                    socket.send_to(&bytes, path.remote).unwrap();
                }
                Output::Event(event) => {
                    for command in react(event, saw) {
                        let _ = endpoint.handle_command(Instant::now(), command);
                    }
                }
                Output::Close { .. } => {}
            }
        }
    }
}

fn sdp() -> bytes::Bytes {
    bytes::Bytes::from_static(
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n",
    )
}

fn react(event: Event, saw: &Mutex<Saw>) -> Vec<Command> {
    let mut saw = saw.lock().unwrap();
    match event {
        Event::Incoming { call, invite } => {
            saw.invites.push(*invite);
            match (saw.rings, saw.refuses.pop()) {
                (true, _) => vec![Command::Progress { call, status: 180, sdp: None }],
                (false, Some((status, reason))) => {
                    vec![Command::Refuse { call, status, headers: vec![("Reason".into(), reason.into())] }]
                }
                (false, None) => vec![Command::Refuse { call, status: 486, headers: vec![] }],
            }
        }
        Event::Authenticate { request, user, realm, .. } => {
            vec![Command::Account { request, ha1: Some(Ha1::of(&user, &realm, "s3cret")) }]
        }
        Event::Registering { request, register } => {
            if let Some((status, name, value)) = saw.refusals.pop() {
                return vec![Command::Reply { request, status, headers: vec![(name.into(), value.into())] }];
            }
            let contacts = register.contacts.iter();
            let headers = contacts.map(|(uri, s)| ("Contact".to_string(), format!("<{uri}>;expires={s}"))).collect();
            saw.registered.push(register.contacts);
            vec![Command::Reply { request, status: 200, headers }]
        }
        Event::Cancelled { .. } | Event::Ended { .. } => {
            saw.ended += 1;
            vec![]
        }
        Event::Answered { .. } if saw.stays => vec![],
        Event::Answered { call, .. } => vec![Command::Hangup { call, status: None, reasons: vec![] }],
        _ => vec![],
    }
}

/// Calls a number and tells how it ended.
fn call(node: &mut Member, n: u128, number: &str) -> (DialFailure, Option<u16>) {
    let of = contact(n);
    node.command(of, dial(number, None));
    wait("the outcome", || failed(node, of).is_some());
    failed(node, of).unwrap()
}

const BUSY: (DialFailure, Option<u16>) = (DialFailure::Busy, Some(486));

fn has_metric(node: &Member, line: &str) -> bool {
    node.running.http("GET /metrics").lines().any(|l| l == format!("hotline_node_{line}"))
}

#[test]
fn a_gateway_that_dies_is_gone_round_and_used_again_when_it_is_back() {
    let (first, second) = (Gateway::start(None, false), Gateway::start(None, false));
    let table = |name: &str, gateway: &Gateway, priority: u8| {
        let port = gateway.address.port();
        format!(
            "[[trunk.gateway]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\npriority = {priority}\noptions_s = 1\n"
        )
    };
    let text = format!("[trunk]\nallow = [\"+86\"]\n{}{}", table("one", &first, 1), table("two", &second, 2));
    let mut node = Member::start_with(&text, "gateways", "48000-48049", &[]);
    assert_eq!(call(&mut node, 1, "+8613800138000"), BUSY);
    assert_eq!((first.invites(), second.invites()), (1, 0));

    first.alive.store(false, Ordering::Relaxed);
    let up = |value| format!("gateway_up{{gateway=\"one\",address=\"{}\"}} {value}", first.address);
    wait("the death to be seen", || has_metric(&node, &up(0)));
    let ready = node.running.http("GET /readyz");
    assert!(ready.contains(&format!("gateway one {}: down", first.address)), "{ready}");
    assert!(ready.contains(&format!("gateway two {}: up", second.address)), "{ready}");
    let before = Instant::now();
    assert_eq!(call(&mut node, 2, "+8613800138000"), BUSY);
    assert_eq!((first.invites(), second.invites()), (1, 1), "in {:?}", before.elapsed());
    assert_eq!(node.running.metric("gateway_failovers"), 0, "nobody waited for the dead one");

    first.alive.store(true, Ordering::Relaxed);
    wait("the return to be seen", || has_metric(&node, &up(1)));
    assert_eq!(call(&mut node, 3, "+8613800138000"), BUSY);
    assert_eq!((first.invites(), second.invites()), (2, 1));
}

#[test]
fn a_carrier_gets_its_registration_and_its_form_of_numbers() {
    let carrier = Gateway::start(None, true);
    carrier.alive.store(false, Ordering::Relaxed);
    carrier.saw.lock().unwrap().refusals.push((423, "Min-Expires", "120"));
    let text = format!(
        "[trunk]\nallow = [\"+86\"]\npremium = [\"+86168\"]\n[[trunk.gateway]]\nname = \"carrier\"\nhost = \"127.0.0.1\"\n\
         port = {}\nuser = \"me\"\nregister = true\nregister_s = 60\nnumbers = \"national\"\ncountry = \"86\"\n\
         prepend = \"9\"\nidentity = \"asserted\"\nin_strip = \"77\"\naccept_calls = true\ndiversion = true\nhistory_info = true\ncodecs = [\"PCMA\"]\n",
        carrier.address.port()
    );
    let env = [("HOTLINE_NODE_TRUNK_PASSWORD_CARRIER", "s3cret"), ("HOTLINE_NODE_SIP_TRUSTED", "192.0.2.1/32")];
    let mut node = Member::start_with(&text, "registers", "48100-48149", &env);
    assert!(has_metric(&node, "gateway_registered{gateway=\"carrier\"} 0"));
    // It was silent; then it challenges, then it wants a longer time.
    carrier.alive.store(true, Ordering::Relaxed);
    wait("the registration", || has_metric(&node, "gateway_registered{gateway=\"carrier\"} 1"));
    let registered = carrier.saw.lock().unwrap().registered.clone();
    assert_eq!(registered, [vec![(format!("sip:me@{}", node.running.sip), 120)]]);

    assert_eq!(call(&mut node, 1, "+862012345678"), BUSY);
    let invite = carrier.invite(0);
    let header = |name: &str| invite.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!(invite.uri_user, "902012345678");
    assert_eq!(invite.from_user, "me");
    let sdp = String::from_utf8_lossy(invite.sdp.as_deref().unwrap()).into_owned();
    assert!(sdp.contains("RTP/AVP 8 101\r\n"), "PCMA alone: {sdp}");
    assert_eq!(header("P-Asserted-Identity"), Some("<sip:01055550100@hotline>"));
    assert_eq!(call(&mut node, 2, "+8616812345678"), (DialFailure::Forbidden, None), "a premium number");
    assert_eq!(call(&mut node, 3, "110"), BUSY);
    assert_eq!((carrier.invite(1).uri_user.as_str(), node.running.metric("outside_emergency")), ("9110", 1));
    let (number, gateway) = node.told("the emergency", |event| match event {
        CallEvent::EmergencyCalled { number, gateway } => Some((number.expose().clone(), gateway.clone())),
        _ => None,
    });
    assert_eq!((number.as_str(), gateway.as_str()), ("110", "carrier"));

    // A call from there needs no digest; its number loses what the carrier puts before it.
    let place = ("7702012345678".to_string(), "01012345678".to_string());
    let gateway = Gateway::start(Some(node.running.sip), false);
    let history = "<sip:01099990000@x>;index=1, <sip:7702088880000@x;cause=486>;index=1.1;mp=1, \
                   <sip:7702012345678@x;cause=408>;index=1.1.1;mp=1.1";
    {
        let mut saw = gateway.saw.lock().unwrap();
        saw.place_headers.push(("History-Info".into(), history.into()));
        saw.places.push(place);
        saw.stays = true;
    }
    let (did, from) = node.told("the call", |event| match event {
        CallEvent::Arrived { did, from, .. } => Some((did.clone(), from.expose().clone())),
        _ => None,
    });
    assert_eq!((did.as_str(), from.as_str()), ("+862012345678", "+861012345678"));
    let diverted = node.told("who sent it on", |event| match event {
        CallEvent::Arrived { diverted, .. } => diverted.clone(),
        _ => None,
    });
    assert_eq!((diverted.first.expose().as_str(), diverted.last.expose().as_str()), ("+861099990000", "+862088880000"));
    assert_eq!((diverted.reason, diverted.times), (DiversionReason::NoAnswer, 2));

    // Sent on to outside, it is told whose call it was.
    let target = "+8613800138000".to_string();
    let transfer = Verb::Transfer { target, ring_timeout_ms: 5_000, record: None, keys: None };
    let arrived = node.contact(0);
    node.command(arrived, NodeAction::Script { label: "1:on".into(), script: vec![transfer] });
    wait("the transfer", || carrier.invites() == 3);
    let invite = carrier.invite(2);
    let header = |name: &str| invite.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!(header("Diversion"), Some("<sip:02012345678@hotline>;reason=unconditional"));
    let (own, port) = ("<sip:02012345678@hotline>;index=1", carrier.address.port());
    let history = format!("{own}, <sip:913800138000@127.0.0.1:{port};cause=302>;index=1.1;mp=1");
    assert_eq!(header("History-Info"), Some(history.as_str()));

    // The node leaves: the carrier shall send nothing more.
    node.block_on(node.running.node().drain(Duration::from_millis(1), async {}));
    wait("the goodbye", || carrier.saw.lock().unwrap().registered.last().is_some_and(|c| c[0].1 == 0));
}

#[test]
fn the_cause_of_a_refusal_decides_whether_the_next_gateway_is_tried() {
    let (first, second) = (Gateway::start(None, false), Gateway::start(None, false));
    let table = |name: &str, gateway: &Gateway, priority: u8| {
        let port = gateway.address.port();
        format!(
            "[[trunk.gateway]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\npriority = {priority}\noptions_s = 0\n"
        )
    };
    let text = format!("[trunk]\nallow = [\"+86\"]\n{}{}", table("one", &first, 1), table("two", &second, 2));
    let mut node = Member::start_with(&text, "causes", "48150-48199", &[]);
    // The network behind the gateway knows: nobody else could do better.
    first.saw.lock().unwrap().refuses.push((503, "Q.850;cause=1;text=\"unallocated\""));
    assert_eq!(call(&mut node, 1, "+8613800138000"), (DialFailure::NoSuchNumber, Some(503)));
    first.saw.lock().unwrap().refuses.push((503, "SIP;cause=503, Q.850;cause=17"));
    assert_eq!(call(&mut node, 2, "+8613800138000"), (DialFailure::Busy, Some(503)));
    assert_eq!((first.invites(), second.invites()), (2, 0));
    let said = node.told("the reasons", |event| match event {
        CallEvent::PartyFailed { reasons, reason: DialFailure::Busy, .. } => Some(reasons.clone()),
        _ => None,
    });
    assert_eq!(said.iter().map(|reason| reason.cause).collect::<Vec<_>>(), [503, 17]);
    // No circuit on this way: the next one is tried, although the status would not say so.
    first.saw.lock().unwrap().refuses.push((480, "Q.850;cause=34"));
    assert_eq!(call(&mut node, 3, "+8613800138000"), BUSY);
    assert_eq!((first.invites(), second.invites()), (3, 1));
    assert_eq!(node.running.metric("gateway_failovers"), 1);
}

#[test]
fn a_full_gateway_takes_no_more_but_emergencies() {
    let carrier = Gateway::start(None, false);
    carrier.saw.lock().unwrap().rings = true;
    let text = format!(
        "[trunk]\nallow = [\"+86\"]\n[[trunk.gateway]]\nname = \"small\"\nhost = \"127.0.0.1\"\nport = {}\nmax_calls = 1\n",
        carrier.address.port()
    );
    let mut node = Member::start_with(&text, "full", "48200-48249", &[]);
    node.command(contact(1), dial("+8613800138000", None));
    wait("the first call", || carrier.invites() == 1);
    assert!(has_metric(&node, "gateway_calls{gateway=\"small\"} 1"));
    assert_eq!(call(&mut node, 2, "+8613800138001"), (DialFailure::Forbidden, None));
    node.command(contact(3), dial("110", None));
    wait("the emergency call", || carrier.invites() == 2);
    assert_eq!(node.running.metric("outside_forbidden"), 1);
    // Nobody answers: both calls end by themselves.
    wait("their end", || carrier.saw.lock().unwrap().ended == 2);
    wait("room", || has_metric(&node, "gateway_calls{gateway=\"small\"} 0"));
}

#[test]
fn a_gateway_is_found_by_its_name_and_stays_known_while_dns_is_away() {
    use simple_dns::rdata::{A, RData, SRV};
    use simple_dns::{CLASS, Name, Packet, QTYPE, ResourceRecord, TYPE};
    let carrier = Gateway::start(None, false);
    let port = carrier.address.port();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (server, answers) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(true)));
    let speaks = answers.clone();
    std::thread::spawn(move || {
        let mut buffer = [0u8; 1_500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let packet = Packet::parse(&buffer[..length]).unwrap();
            let question = packet.questions[0].clone();
            let mut reply = Packet::new_reply(packet.id());
            let data = match (question.qname.to_string().as_str(), question.qtype) {
                ("_sip._udp.carrier.example", QTYPE::TYPE(TYPE::SRV)) => Some(RData::SRV(SRV {
                    priority: 1,
                    weight: 1,
                    port,
                    target: Name::new("host.carrier.example").unwrap(),
                })),
                ("host.carrier.example", QTYPE::TYPE(TYPE::A)) => Some(RData::A(A { address: 0x7F00_0001 })),
                _ => None,
            };
            reply.answers.extend(data.map(|data| ResourceRecord::new(question.qname.clone(), CLASS::IN, 1, data)));
            reply.questions.push(question);
            if speaks.load(Ordering::Relaxed) {
                let _ = socket.send_to(&reply.build_bytes_vec().unwrap(), from);
            }
        }
    });
    let text = "[trunk]\nallow = [\"+86\"]\n[[trunk.gateway]]\nname = \"named\"\nhost = \"carrier.example\"\n";
    let server = server.to_string();
    let mut node = Member::start_with(text, "named", "48300-48349", &[("HOTLINE_NODE_SIP_DNS", &server)]);
    wait("the address", || {
        has_metric(&node, &format!("gateway_up{{gateway=\"named\",address=\"{}\"}} 1", carrier.address))
    });
    assert_eq!(call(&mut node, 1, "+8613800138000"), BUSY);
    assert_eq!(carrier.invite(0).uri, "sip:+8613800138000@carrier.example");
    // The answer lived for five seconds at most; then DNS is asked in vain.
    answers.store(false, Ordering::Relaxed);
    let around = format!("sip:+18005550100@carrier.example:{port}");
    assert_eq!(call(&mut node, 2, &around), (DialFailure::Forbidden, None), "not round the list by its name");
    assert_eq!(call(&mut node, 3, "+8613800138000"), BUSY);
    assert_eq!(carrier.invites(), 2);
}
