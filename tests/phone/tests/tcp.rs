//! A phone over TCP: it registers, and is called back by the same connection (RFC 5626).

use hotline_phone::{Phone, PhoneConfig, PhoneError, PhoneEvent};
use hotline_sip::api::{Command, Event, Output, Path, Transport};
use hotline_sip::{Endpoint, EndpointConfig};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

const TEN: Duration = Duration::from_secs(10);

/// Takes one connection; who registers by it is called by it, and hung up once it has answered.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, remote) = listener.accept().unwrap();
        let path = Path { transport: Transport::Tcp, local, remote, connection: 5 };
        let mut endpoint = Endpoint::new(EndpointConfig::new("shop"), [4; 32]);
        let mut buffer = [0; 4_096];
        loop {
            let length = stream.read(&mut buffer).unwrap_or(0);
            if length == 0 {
                return;
            }
            endpoint.handle_stream_data(Instant::now(), path, &buffer[..length]);
            while let Some(output) = endpoint.poll_output() {
                let commands = match output {
                    Output::Transmit { path, bytes } => {
                        assert_eq!(path.connection, 5);
                        stream.write_all(&bytes).unwrap();
                        vec![]
                    }
                    Output::Event(Event::Registering { request, register }) => {
                        let (uri, seconds) = register.contacts[0].clone();
                        let contact = ("Contact".to_owned(), format!("<{uri}>;expires={seconds}"));
                        let call = endpoint.fresh_call();
                        vec![
                            Command::Reply { request, status: 200, headers: vec![contact] },
                            Command::Invite {
                                call,
                                uri,
                                path: register.path,
                                from: "<sip:+8613800138000@shop.test>".into(),
                                to: "<sip:kim@shop.test>".into(),
                                sdp: Some("v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 9 RTP/AVP 0\r\n".into()),
                                headers: Vec::new(),
                                credentials: None,
                            },
                        ]
                    }
                    Output::Event(Event::Answered { call, .. }) => {
                        vec![Command::Hangup { call, status: None, reasons: vec![hotline_sip::Reason::q850(16, "")] }]
                    }
                    _ => vec![],
                };
                for command in commands {
                    endpoint.handle_command(Instant::now(), command).unwrap();
                }
            }
        }
    });
    local
}

#[tokio::test]
async fn a_registered_connection_carries_the_call_back() {
    let mut config = PhoneConfig::new("127.0.0.1:0".parse().unwrap(), server());
    config.tcp = true;
    config.user = "kim".into();
    config.auto_answer = Some(Duration::ZERO);
    let mut phone = Phone::start(config).await.unwrap();
    assert_eq!(phone.register().await.unwrap(), 60);
    assert_eq!(phone.wait_incoming(TEN).await.unwrap(), "+8613800138000");
    let ended = phone.wait_ended(TEN).await.unwrap();
    assert_eq!(ended, PhoneEvent::Ended { by_peer: true, status: None, reason: "Q.850;cause=16".into() });
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let mut config = PhoneConfig::new("127.0.0.1:0".parse().unwrap(), nobody);
    config.tcp = true;
    let error = Phone::start(config).await.err().unwrap();
    assert!(matches!(error, PhoneError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&nobody.to_string()), "{error}");
}
