//! Against a small name server on the loopback.

use super::*;
use simple_dns::rdata::{A, NAPTR, RData, SRV};
use simple_dns::{CLASS, CharacterString, Name, Packet, PacketFlag, QTYPE, ResourceRecord, TYPE};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A zone for `sip.example`; `mute`: it hears and says nothing.
struct Server {
    address: SocketAddr,
    mute: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

fn name(text: &str) -> Name<'_> {
    Name::new(text).unwrap()
}

fn zone(asked: &str, kind: TYPE) -> Vec<(u32, RData<'static>)> {
    let srv =
        |priority, weight, port, target: &'static str| RData::SRV(SRV { priority, weight, port, target: name(target) });
    let naptr = |order, service: &'static [u8], replacement: &'static str| {
        let text = |bytes: &'static [u8]| CharacterString::new(bytes).unwrap();
        RData::NAPTR(NAPTR {
            order,
            preference: 1,
            flags: text(b"s"),
            services: text(service),
            regexp: text(b""),
            replacement: name(replacement),
        })
    };
    let a = |last: u8| RData::A(A { address: u32::from_be_bytes([192, 0, 2, last]) });
    match (asked, kind) {
        ("sip.example", TYPE::NAPTR) => vec![
            (600, naptr(20, b"SIP+D2U", "_sip._udp.sip.example")),
            (600, naptr(10, b"SIP+D2T", "_sip._tcp.sip.example")),
            (600, naptr(5, b"SIPS+D2T", "_sips._tcp.sip.example")),
        ],
        ("_sip._udp.sip.example", TYPE::SRV) => {
            vec![(60, srv(2, 0, 5_062, "b.sip.example")), (300, srv(1, 5, 5_061, "a.sip.example"))]
        }
        ("_sip._tcp.sip.example", TYPE::SRV) => vec![(60, srv(1, 0, 5_070, "a.sip.example"))],
        ("a.sip.example", TYPE::A) => vec![(120, a(1))],
        ("b.sip.example", TYPE::A) => vec![(120, a(2)), (120, a(3))],
        ("plain.example", TYPE::A) => vec![(1, a(9))],
        _ => vec![],
    }
}

impl Server {
    fn start() -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (mute, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (quiet, count) = (mute.clone(), asked.clone());
        std::thread::spawn(move || {
            let mut buffer = [0u8; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::Relaxed);
                let Ok(packet) = Packet::parse(&buffer[..length]) else { continue };
                let Some(question) = packet.questions.first() else { continue };
                if quiet.load(Ordering::Relaxed) {
                    continue;
                }
                let asked = question.qname.to_string();
                let QTYPE::TYPE(kind) = question.qtype else { continue };
                let mut reply = Packet::new_reply(packet.id());
                reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
                reply.questions.push(question.clone());
                for (ttl, data) in zone(&asked, kind) {
                    reply.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, ttl, data));
                }
                let _ = socket.send_to(&reply.build_bytes_vec_compressed().unwrap(), from);
            }
        });
        Server { address, mute, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn shown(found: &Found) -> Vec<String> {
    found.hops.iter().map(|h| format!("{:?} {} {}/{}", h.transport, h.address, h.priority, h.weight)).collect()
}

fn service(host: &str) -> Service<'_> {
    Service { host, port: None, transport: None }
}

#[tokio::test]
async fn naptr_then_srv_then_addresses_in_their_order() {
    let server = Server::start();
    let dns = Dns::new(&[server.address], vec![Transport::Udp, Transport::Tcp], false);
    let now = Instant::now();
    let found = dns.find(service("SIP.example."), now).await.unwrap();
    // TLS is what we cannot; TCP comes before UDP, as the zone wants.
    assert_eq!(
        shown(&found),
        ["Tcp 192.0.2.1:5070 0/0", "Udp 192.0.2.1:5061 1/5", "Udp 192.0.2.2:5062 2/0", "Udp 192.0.2.3:5062 2/0",]
    );
    assert_eq!(found.until, now + Duration::from_secs(60), "as long as the shortest life");
    let asked = server.asked();
    assert_eq!(dns.find(service("sip.example"), now + Duration::from_secs(59)).await, Ok(found));
    assert_eq!(server.asked(), asked, "it is remembered");
    let by_tcp = Service { transport: Some(Transport::Tcp), ..service("sip.example") };
    assert_eq!(shown(&dns.find(by_tcp, now).await.unwrap()), ["Tcp 192.0.2.1:5070 0/0"]);
    let by_port = Service { port: Some(7_000), ..service("a.sip.example") };
    assert_eq!(shown(&dns.find(by_port, now).await.unwrap()), ["Udp 192.0.2.1:7000 0/0"]);
    let plain = dns.find(service("plain.example"), now).await.unwrap();
    assert_eq!(shown(&plain), ["Udp 192.0.2.9:5060 0/0"]);
    assert_eq!(plain.until, now + Duration::from_secs(5), "lives shorter than that are not believed");
    let nothing = dns.find(service("nothing.invalid"), now).await;
    assert_eq!(nothing, Err(NotFound::NoSuchService));
}

#[tokio::test]
async fn while_dns_is_away_the_last_answer_holds() {
    let server = Server::start();
    let dns = Dns::new(&[server.address], vec![Transport::Udp], false);
    let now = Instant::now();
    let first = dns.find(service("sip.example"), now).await.unwrap();
    server.mute.store(true, Ordering::Relaxed);
    let later = now + Duration::from_secs(7_200);
    let still = dns.find(service("sip.example"), later).await.unwrap();
    assert_eq!(still.hops, first.hops);
    assert_eq!(still.until, later + AWAY, "it is asked for again soon");
    assert_eq!(dns.find(service("plain.invalid"), later).await, Err(NotFound::Away), "never known");
    server.mute.store(false, Ordering::Relaxed);
    let back = dns.find(service("sip.example"), later).await.unwrap();
    assert_eq!(back.until, later + Duration::from_secs(60));
}

#[test]
fn the_memory_is_bounded() {
    let (dns, now) = (Dns::new(&["127.0.0.1:9".parse().unwrap()], vec![Transport::Udp], false), Instant::now());
    for n in 0..REMEMBERED as u64 + 10 {
        let entry = Entry { records: Vec::new(), until: now + Duration::from_secs(n + 1) };
        dns.remember((format!("h{n}"), Kind::A), entry, now);
    }
    let cache = dns.lock();
    assert_eq!(cache.len(), REMEMBERED);
    assert!(!cache.contains_key(&("h0".into(), Kind::A)) && cache.contains_key(&("h1000".into(), Kind::A)));
}

#[test]
fn name_servers_of_the_system() {
    let text = "# x\nsearch a.b\nnameserver 192.0.2.53\n nameserver ::1 \nnameserver bad\n";
    let expected: Vec<SocketAddr> = vec!["192.0.2.53:53".parse().unwrap(), "[::1]:53".parse().unwrap()];
    assert_eq!(servers_in(text), expected);
}
