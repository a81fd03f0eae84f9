//! One question to a name server, and its answer (RFC 1035, 2782, 3403, 6891).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::clock;

/// The largest datagram that arrives whole nearly everywhere (DNS flag day 2020).
const DATAGRAM: u16 = 1_232;
/// Records of one answer that are read.
const RECORDS: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    A,
    Aaaa,
    Srv,
    Naptr,
}

impl Kind {
    fn wire(self) -> TYPE {
        match self {
            Kind::A => TYPE::A,
            Kind::Aaaa => TYPE::AAAA,
            Kind::Srv => TYPE::SRV,
            Kind::Naptr => TYPE::NAPTR,
        }
    }
}

/// A record of such a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Address(IpAddr),
    Srv { priority: u16, weight: u16, port: u16, target: String },
    Naptr { order: u16, preference: u16, flags: String, service: String, replacement: String },
}

/// What a name server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// None: there is no such name, or nothing of this kind.
    pub records: Vec<Record>,
    /// Good for so long, seconds.
    pub ttl_s: u32,
    truncated: bool,
}

fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(name).ok()?,
        QTYPE::TYPE(kind.wire()),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: DATAGRAM, version: 0 });
    packet.build_bytes_vec().ok()
}

/// Reads an answer to a question; `None` where it is none to this one, or of no use.
fn answer(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Option<Answer> {
    let packet = Packet::parse(bytes).ok()?;
    let asked = packet.questions.first()?;
    let same = asked.qname.to_string().eq_ignore_ascii_case(name) && asked.qtype == QTYPE::TYPE(kind.wire());
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !same {
        return None;
    }
    if !matches!(packet.rcode(), RCODE::NoError | RCODE::NameError) {
        return None;
    }
    let mut ttl_s = u32::MAX;
    let mut records = Vec::new();
    for record in packet.answers.iter().take(RECORDS) {
        let found = match (&record.rdata, kind) {
            (RData::A(a), Kind::A) => Record::Address(Ipv4Addr::from(a.address).into()),
            (RData::AAAA(a), Kind::Aaaa) => Record::Address(Ipv6Addr::from(a.address).into()),
            (RData::SRV(srv), Kind::Srv) => Record::Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_string(),
            },
            (RData::NAPTR(naptr), Kind::Naptr) => Record::Naptr {
                order: naptr.order,
                preference: naptr.preference,
                flags: String::try_from(naptr.flags.clone()).ok()?,
                service: String::try_from(naptr.services.clone()).ok()?,
                replacement: naptr.replacement.to_string(),
            },
            // The way there through aliases bounds the life as well.
            (RData::CNAME(_), _) => {
                ttl_s = ttl_s.min(record.ttl);
                continue;
            }
            _ => continue,
        };
        ttl_s = ttl_s.min(record.ttl);
        records.push(found);
    }
    Some(Answer { records, ttl_s, truncated: packet.has_flags(PacketFlag::TRUNCATION) })
}

/// Asks one server, by UDP and where the answer does not fit by TCP.
pub async fn ask(server: SocketAddr, name: &str, kind: Kind, limit: Duration) -> Option<Answer> {
    let id = u16::from_be_bytes(clock::random());
    let question = question(id, name, kind)?;
    let answer = tokio::time::timeout(limit, by_udp(server, &question, id, name, kind)).await.ok()??;
    if !answer.truncated {
        return Some(answer);
    }
    tokio::time::timeout(limit, by_tcp(server, &question, id, name, kind)).await.ok()?
}

async fn by_udp(server: SocketAddr, question: &[u8], id: u16, name: &str, kind: Kind) -> Option<Answer> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(server).await.ok()?;
    socket.send(question).await.ok()?;
    let mut buffer = [0u8; 4_096];
    // What does not answer the question may come from somebody who guesses.
    for _ in 0..16 {
        let length = socket.recv(&mut buffer).await.ok()?;
        if let Some(answer) = answer(buffer.get(..length)?, id, name, kind) {
            return Some(answer);
        }
    }
    None
}

async fn by_tcp(server: SocketAddr, question: &[u8], id: u16, name: &str, kind: Kind) -> Option<Answer> {
    let mut stream = TcpStream::connect(server).await.ok()?;
    stream.write_u16(u16::try_from(question.len()).ok()?).await.ok()?;
    stream.write_all(question).await.ok()?;
    let length = stream.read_u16().await.ok()?;
    let mut buffer = vec![0u8; usize::from(length)];
    stream.read_exact(&mut buffer).await.ok()?;
    answer(&buffer, id, name, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let asked = question(7, "sip.example", Kind::A).unwrap();
        let packet = Packet::parse(&asked).unwrap();
        assert!(packet.has_flags(PacketFlag::RECURSION_DESIRED) && packet.opt().is_some());
        let mut reply = Packet::new_reply(7);
        reply.questions = packet.questions.clone();
        let bytes = reply.build_bytes_vec().unwrap();
        let empty = answer(&bytes, 7, "SIP.example", Kind::A).unwrap();
        assert!(empty.records.is_empty() && !empty.truncated);
        assert_eq!(answer(&bytes, 8, "sip.example", Kind::A), None, "another id");
        assert_eq!(answer(&bytes, 7, "sip.test", Kind::A), None, "another name");
        assert_eq!(answer(&bytes, 7, "sip.example", Kind::Srv), None, "another kind");
        assert_eq!(answer(&asked, 7, "sip.example", Kind::A), None, "a question");
        assert_eq!(answer(&[], 7, "sip.example", Kind::A), None);
        assert_eq!(question(7, &"x".repeat(300), Kind::A), None);
    }
}
