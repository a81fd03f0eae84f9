//! A node that learns its public address from the metadata service, and says it to its peers.

mod common;

use common::{file, start};
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

/// EC2's service, as far as it matters.
fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0u8; 2_048];
            let length = stream.read(&mut head).unwrap_or(0);
            let text = String::from_utf8_lossy(&head[..length]).into_owned();
            let body = match text.split(' ').nth(1) {
                Some("/latest/api/token") if text.starts_with("PUT ") => "secret",
                Some("/latest/meta-data/public-ipv4") if text.contains("metadata-token: secret\r\n") => "203.0.113.7",
                _ => "",
            };
            let status = if body.is_empty() { "401 Unauthorized" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    endpoint
}

#[test]
fn the_address_of_the_metadata_service_is_told_in_sip_and_sdp() {
    let endpoint = service();
    // The address is told for sockets that are named in the configuration.
    let listen = format!("udp:{}", UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let env = [
        ("HOTLINE_NODE_SIP_LISTEN", &listen[..]),
        ("HOTLINE_NODE_SIP_ADVERTISE", "metadata"),
        ("HOTLINE_NODE_MEDIA_ADVERTISE", "metadata"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint[..]),
    ];
    let rules = "rules: [{dial: \"600\", play: {tone: 440, ms: 3000}}]";
    let node = start("advertised", "47400-47449", || file(rules), &env);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let own = phone.local_addr().unwrap();
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
    let invite = format!(
        "INVITE sip:600@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKa;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:a@{own}>;tag=1\r\nTo: <sip:600@{to}>\r\nCall-ID: advertised\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:a@{own}>\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{sdp}",
        to = node.sip,
        length = sdp.len()
    );
    phone.send_to(invite.as_bytes(), node.sip).unwrap();
    let mut buffer = [0u8; 4_096];
    let answer = loop {
        let length = phone.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with("SIP/2.0 200 ") {
            break text;
        }
    };
    let contact = answer.lines().find(|line| line.starts_with("Contact: ")).unwrap();
    assert!(contact.contains("@203.0.113.7:") || contact.contains("sip:203.0.113.7:"), "{answer}");
    assert!(answer.contains("c=IN IP4 203.0.113.7\r\n"), "{answer}");
}
