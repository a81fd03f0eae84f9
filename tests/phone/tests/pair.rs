//! Two phones over the loopback, and a phone at a small registrar.

use hotline_phone::{Microphone, Phone, PhoneConfig, PhoneError, PhoneEvent, tone_share};
use hotline_sip::api::{Command, Event, Ha1, Output, Path, Transport};
use hotline_sip::{Endpoint, EndpointConfig, Trust};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const TEN: Duration = Duration::from_secs(10);

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn pair(auto_answer: Option<Duration>) -> (Phone, Phone) {
    let mut config = PhoneConfig::new(loopback(), "127.0.0.1:9".parse().unwrap());
    config.user = "agent".into();
    config.auto_answer = auto_answer;
    config.microphone = Microphone::Tone(880);
    let agent = Phone::start(config).await.unwrap();
    let mut config = PhoneConfig::new(loopback(), agent.local_addr());
    config.user = "caller".into();
    config.microphone = Microphone::Tone(440);
    let caller = Phone::start(config).await.unwrap();
    (caller, agent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_tones_both_ways_and_digits() {
    let (mut caller, mut agent) = pair(Some(Duration::ZERO)).await;
    caller.call("sip:agent@127.0.0.1").await.unwrap();
    assert_eq!(agent.wait_incoming(TEN).await.unwrap(), "caller");
    caller.wait_answered(TEN).await.unwrap();
    assert!(matches!(caller.call("sip:agent@127.0.0.1").await, Err(PhoneError::Busy)));
    caller.send_digits("12#").await.unwrap();
    agent.wait("digit #", TEN, |event| (*event == PhoneEvent::Digit('#')).then_some(Ok(()))).await.unwrap();
    caller.hold(true).await.unwrap();
    agent.wait("hold", TEN, |event| matches!(event, PhoneEvent::Reoffered { .. }).then_some(Ok(()))).await.unwrap();
    caller.hangup().await.unwrap();
    let ended = agent.wait_ended(TEN).await.unwrap();
    assert_eq!(ended, PhoneEvent::Ended { by_peer: true, status: None, reason: String::new() });

    let digits: Vec<char> = agent.heard_digits().iter().map(|d| d.digit).collect();
    assert_eq!(digits, ['1', '2', '#']);
    // The agent hears the caller's tone but for the presses; the caller hears the agent all along.
    assert!(tone_share(&agent.heard(), 440) > 0.15);
    assert!(tone_share(&agent.heard(), 880) < 0.05);
    assert!(tone_share(&caller.heard(), 880) > 0.5);
    let ladder = caller.ladder().to_string();
    for line in ["--> ", "INVITE sip:agent@127.0.0.1", "180 Ringing (INVITE)", "200 OK (INVITE)", "ACK", "BYE"] {
        assert!(ladder.contains(line), "{line} in\n{ladder}");
    }
}

#[tokio::test]
async fn a_refused_and_a_cancelled_call() {
    let (mut caller, mut agent) = pair(None).await;
    caller.call("sip:agent@127.0.0.1").await.unwrap();
    agent.wait_incoming(TEN).await.unwrap();
    agent.refuse(486).await.unwrap();
    assert!(matches!(caller.wait_answered(TEN).await, Err(PhoneError::Refused { status: 486, .. })));
    caller.call("sip:agent@127.0.0.1").await.unwrap();
    agent.wait_incoming(TEN).await.unwrap();
    caller
        .wait("ringing", TEN, |event| matches!(event, PhoneEvent::Ringing { status: 180, .. }).then_some(Ok(())))
        .await
        .unwrap();
    caller.hangup().await.unwrap();
    let ended = agent
        .wait("cancel", TEN, |event| match event {
            PhoneEvent::Ended { by_peer: true, .. } => Some(Ok(event.clone())),
            _ => None,
        })
        .await
        .unwrap();
    assert_eq!(ended, PhoneEvent::Ended { by_peer: true, status: Some(487), reason: "cancelled".into() });
    assert!(matches!(caller.hangup().await, Err(PhoneError::NoCall)));
}

#[tokio::test]
async fn a_transfer_that_the_peer_declines() {
    let (mut caller, mut agent) = pair(Some(Duration::ZERO)).await;
    assert!(matches!(caller.transfer("sip:600@127.0.0.1").await, Err(PhoneError::NoCall)));
    caller.call("sip:agent@127.0.0.1").await.unwrap();
    caller.wait_answered(TEN).await.unwrap();
    agent.wait_incoming(TEN).await.unwrap();
    assert!(matches!(caller.transfer("no uri").await, Err(PhoneError::Command(_))));
    caller.transfer("sip:600@127.0.0.1").await.unwrap();
    // The call goes on after the 603.
    caller.send_digits("5").await.unwrap();
    agent.wait("digit", TEN, |event| (*event == PhoneEvent::Digit('5')).then_some(Ok(()))).await.unwrap();
    let ladder = caller.ladder().to_string();
    assert!(ladder.contains("603 Decline (REFER)"), "{ladder}");
}

/// A node's side of a call that another one takes over: one endpoint a node.
struct Node {
    endpoint: Endpoint,
    socket: std::net::UdpSocket,
    local: SocketAddr,
}

impl Node {
    fn new(seed: u8) -> Self {
        let socket = std::net::UdpSocket::bind(loopback()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let local = socket.local_addr().unwrap();
        Self { endpoint: Endpoint::new(EndpointConfig::new("node"), [seed; 32]), socket, local }
    }

    /// Runs until an event is as wanted.
    fn until<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let end = Instant::now() + TEN;
        let mut buffer = [0; 65_536];
        while Instant::now() < end {
            if let Ok((length, remote)) = self.socket.recv_from(&mut buffer) {
                let path = Path { transport: Transport::Udp, local: self.local, remote, connection: 0 };
                self.endpoint.handle_packet(Instant::now(), path, &buffer[..length]);
            }
            while let Some(output) = self.endpoint.poll_output() {
                match output {
                    Output::Transmit { path, bytes } => {
                        self.socket.send_to(&bytes, path.remote).unwrap();
                    }
                    Output::Event(event) => {
                        if let Some(found) = wanted(&event) {
                            self.flush();
                            return found;
                        }
                    }
                    Output::Close { .. } => {}
                }
            }
        }
        panic!("waited in vain");
    }

    fn flush(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            if let Output::Transmit { path, bytes } = output {
                self.socket.send_to(&bytes, path.remote).unwrap();
            }
        }
    }

    fn invite(&mut self, phone: SocketAddr, headers: Vec<(String, String)>) -> hotline_sip::api::CallHandle {
        let call = self.endpoint.fresh_call();
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n",
            self.local.port() + 1
        );
        let command = Command::Invite {
            call,
            uri: format!("sip:agent@{phone}"),
            path: Path { transport: Transport::Udp, local: self.local, remote: phone, connection: 0 },
            from: "<sip:node@127.0.0.1>".into(),
            to: format!("<sip:agent@{phone}>"),
            sdp: Some(sdp.into()),
            headers,
            credentials: None,
        };
        self.endpoint.handle_command(Instant::now(), command).unwrap();
        self.flush();
        call
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_taken_over_by_another_node() {
    let mut config = PhoneConfig::new(loopback(), "127.0.0.1:9".parse().unwrap());
    config.user = "agent".into();
    config.auto_answer = Some(Duration::ZERO);
    let mut phone = Phone::start(config).await.unwrap();
    let address = phone.local_addr();
    let replaces = tokio::task::spawn_blocking(move || {
        let mut lost = Node::new(1);
        let call = lost.invite(address, vec![]);
        lost.until(|event| matches!(event, Event::Answered { .. }).then_some(()));
        let dialog = lost.endpoint.dialog(call).unwrap();
        format!("{};to-tag={};from-tag={}", dialog.sip_call_id, dialog.remote_tag, dialog.local_tag)
    })
    .await
    .unwrap();
    phone.wait("answer", TEN, |e| (*e == PhoneEvent::Answered).then_some(Ok(()))).await.unwrap();
    let status = tokio::task::spawn_blocking(move || {
        let mut other = Node::new(2);
        let header = |value: &str| vec![("Replaces".to_string(), value.to_string())];
        // A dialog that the phone does not have.
        other.invite(address, header("nobody;to-tag=a;from-tag=b"));
        let status = other.until(|event| match event {
            Event::Failed { status, .. } => Some(*status),
            _ => None,
        });
        other.invite(address, header(&replaces));
        other.until(|event| matches!(event, Event::Answered { .. }).then_some(()));
        status
    })
    .await
    .unwrap();
    assert_eq!(status, 481);
    phone.wait("taking over", TEN, |e| (*e == PhoneEvent::Replaced).then_some(Ok(()))).await.unwrap();
    assert!(!phone.seen().iter().any(|e| matches!(e, PhoneEvent::Ended { .. })));
    assert_eq!(phone.seen().iter().filter(|e| matches!(e, PhoneEvent::Incoming { .. })).count(), 1);
    // The call is up in its new dialog.
    phone.hangup().await.unwrap();
}

/// A registrar with one account, on a thread of its own, until its socket is told to stop.
fn registrar() -> SocketAddr {
    let socket = std::net::UdpSocket::bind(loopback()).unwrap();
    let local = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut config = EndpointConfig::new("shop");
        config.auth = Box::new(|_| Trust::Digest);
        let mut endpoint = Endpoint::new(config, [3; 32]);
        let mut buffer = [0; 65_536];
        while let Ok((length, remote)) = socket.recv_from(&mut buffer) {
            let path = Path { transport: Transport::Udp, local, remote, connection: 0 };
            endpoint.handle_packet(Instant::now(), path, &buffer[..length]);
            while let Some(output) = endpoint.poll_output() {
                let command = match output {
                    Output::Transmit { path, bytes } => {
                        socket.send_to(&bytes, path.remote).unwrap();
                        continue;
                    }
                    Output::Event(Event::Authenticate { request, user, realm, .. }) => {
                        let ha1 = (user == "kim").then(|| Ha1::of("kim", &realm, "secret"));
                        Command::Account { request, ha1 }
                    }
                    Output::Event(Event::Registering { request, register }) => {
                        let (uri, seconds) = &register.contacts[0];
                        let contact = ("Contact".to_owned(), format!("<{uri}>;expires={seconds}"));
                        Command::Reply { request, status: 200, headers: vec![contact] }
                    }
                    _ => continue,
                };
                endpoint.handle_command(Instant::now(), command).unwrap();
            }
        }
    });
    local
}

#[tokio::test]
async fn registering_with_the_right_and_the_wrong_password() {
    let server = registrar();
    let mut config = PhoneConfig::new(loopback(), server);
    config.user = "kim".into();
    config.password = Some("secret".into());
    let mut phone = Phone::start(config.clone()).await.unwrap();
    assert_eq!(phone.register().await.unwrap(), 60);
    assert_eq!(phone.unregister().await.unwrap(), 0);
    phone.stop().await;
    config.password = Some("guess".into());
    let mut phone = Phone::start(config).await.unwrap();
    assert!(matches!(phone.register().await, Err(PhoneError::Refused { status: 401, .. })));
}

#[tokio::test]
async fn bad_configurations_say_what_to_do() {
    let config = PhoneConfig::new("0.0.0.0:0".parse().unwrap(), loopback());
    let error = Phone::start(config).await.err().unwrap().to_string();
    assert!(error.contains("such as 127.0.0.1"), "{error}");
    let mut phone = Phone::start(PhoneConfig::new(loopback(), loopback())).await.unwrap();
    assert!(matches!(phone.call("not a uri").await, Err(PhoneError::Command(_))));
    assert!(matches!(phone.send_digits("1x").await, Err(PhoneError::Digits(_))));
    assert!(matches!(phone.send_digits("1").await, Err(PhoneError::NoCall)));
}
