//! The smallest shell around an endpoint: one UDP socket, one thread. It answers every call with a
//! fixed description, and registers every user whose password equals the user name (realm `demo`).
//!
//! `cargo run --release --example answer -- 127.0.0.1:5062 [digest]`

use bytes::Bytes;
use hotline_sip::api::{Command, Event, Ha1, Output, Path, Transport};
use hotline_sip::{Endpoint, EndpointConfig, Trust};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:5062".into());
    let digest = arguments.next().is_some_and(|a| a == "digest");
    let socket = UdpSocket::bind(&address)?;
    let local = socket.local_addr()?;
    let mut config = EndpointConfig::new("demo");
    if digest {
        config.auth = Box::new(|_| Trust::Digest);
    }
    let mut endpoint = Endpoint::new(config, [42; 32]);
    let sdp = Bytes::from(format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\na=sendrecv\r\n",
        ip = local.ip()
    ));
    let mut buffer = [0; 65_536];
    loop {
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Transmit { path, bytes } => drop(socket.send_to(&bytes, path.remote)),
                Output::Close { .. } => {}
                Output::Event(event) => {
                    let command = match event {
                        Event::Incoming { call, .. } => Command::Answer { call, sdp: sdp.clone(), headers: Vec::new() },
                        Event::Reoffered { call, .. } => Command::AnswerReoffer { call, sdp: Some(sdp.clone()) },
                        Event::Authenticate { request, user, realm, .. } => {
                            let ha1 = Some(Ha1::of(&user, &realm, &user));
                            Command::Account { request, ha1 }
                        }
                        Event::Registering { request, register } => {
                            let contact = |(uri, seconds): &(String, u32)| {
                                ("Contact".into(), format!("<{uri}>;expires={seconds}"))
                            };
                            let headers = register.contacts.iter().filter(|(_, s)| *s > 0).map(contact).collect();
                            Command::Reply { request, status: 200, headers }
                        }
                        other => {
                            if std::env::var_os("VERBOSE").is_some() {
                                eprintln!("{other:?}");
                            }
                            continue;
                        }
                    };
                    if let Err(error) = endpoint.handle_command(Instant::now(), command) {
                        eprintln!("{error}");
                    }
                }
            }
        }
        let now = Instant::now();
        let wait = endpoint.poll_timeout().map_or(Duration::from_secs(1), |at| at.saturating_duration_since(now));
        socket.set_read_timeout(Some(wait.clamp(Duration::from_millis(1), Duration::from_secs(1))))?;
        match socket.recv_from(&mut buffer) {
            Ok((length, remote)) => {
                let path = Path { transport: Transport::Udp, local, remote, connection: 0 };
                endpoint.handle_packet(Instant::now(), path, &buffer[..length]);
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            // Linux reports an earlier datagram's port as unreachable here.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
        endpoint.handle_timeout(Instant::now());
    }
}
