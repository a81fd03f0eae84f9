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
                    Output::Event(Event::Authenticate { request, user, realm }) => {
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
