//! A leg that another node sends to a phone here.

use super::*;
use hotline_session::{Relay, RelayArrival, RelayOutput};
use hotline_sip::api::RequestHandle;

struct Legs {
    relay: Relay,
    lines: Vec<String>,
}

/// The other node is call 1 and media 1, the phone call 2 and media 2.
fn relay() -> Legs {
    relay_to(OfferedSecurity::Plain)
}

fn relay_to(offers: OfferedSecurity) -> Legs {
    let mut w = World::new();
    w.next_media = 2;
    w.offers = offers;
    let phone = w.dialed();
    let arrival = RelayArrival {
        call: CallHandle(1),
        sdp: Bytes::from_static(OFFER),
        media: OpenedLeg { id: MediaLegId(1), rtp: "192.0.2.1:20002".parse().unwrap(), secret: LegSecret([1; 32]) },
        from: "\"billing\" <sip:+861@hotline>".into(),
        phone,
    };
    let relay = Relay::arrive(Arc::new(config()), arrival, vec![("Require".into(), "replaces".into())]).unwrap();
    let mut legs = Legs { relay, lines: vec!["INVITE".into()] };
    legs.drain();
    legs
}

impl Legs {
    fn drain(&mut self) {
        while let Some(output) = self.relay.poll_output() {
            self.lines.push(match output {
                RelayOutput::Sip(command) => match &command {
                    Command::Progress { call, .. } | Command::Answer { call, .. } | Command::Refuse { call, .. } => {
                        format!("    call {}:{}", call.0, sip_line(&command).trim_start_matches("   "))
                    }
                    _ => sip_line(&command),
                },
                RelayOutput::Media(command) => media_line(&command),
                RelayOutput::Over => "    over".into(),
            });
        }
    }

    fn sip(&mut self, line: &str, event: Event) {
        self.lines.push(line.into());
        self.relay.handle_sip(event);
        self.drain();
    }

    fn expect(&self, expected: &str) {
        let clean = |text: &str| text.lines().map(|l| l.trim().to_string()).collect::<Vec<_>>().join("\n");
        let got = self.lines.join("\n");
        assert!(clean(got.trim()) == clean(expected.trim()), "the ladder is\n\n{got}\n\nand not\n{expected}");
    }

    fn up() -> Self {
        let mut legs = relay();
        let sdp = Bytes::from_static(
            b"v=0\r\nc=IN IP4 192.0.2.20\r\nm=audio 6000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n",
        );
        legs.sip("phone 200", Event::Answered { call: CallHandle(2), sdp: Some(sdp) });
        legs
    }

    /// The phone is a browser.
    fn up_with_a_browser() -> Self {
        let mut legs = relay_to(OfferedSecurity::Web);
        let sdp = protected::browser("aaaa", "active", "sendrecv");
        legs.sip("phone 200", Event::Answered { call: CallHandle(2), sdp: Some(sdp) });
        legs
    }

    fn up_and_forgotten() -> Self {
        let mut legs = Self::up();
        legs.lines.clear();
        legs
    }
}

#[test]
fn the_phone_rings_answers_and_hangs_up() {
    let mut legs = relay();
    legs.sip("phone 180", Event::Progressed { call: CallHandle(2), status: 180, sdp: None });
    let sdp = Bytes::from_static(b"v=0\r\nc=IN IP4 192.0.2.20\r\nm=audio 6000 RTP/AVP 0\r\n");
    legs.sip("phone 200", Event::Answered { call: CallHandle(2), sdp: Some(sdp) });
    assert!(legs.relay.is_up());
    legs.sip("phone BYE", Event::Ended { call: CallHandle(2), by_peer: true, fault: None, reasons: vec![] });
    legs.sip("late", Event::Ended { call: CallHandle(1), by_peer: true, fault: None, reasons: vec![] });
    legs.expect(
        "
INVITE
    media 1: 192.0.2.9:4000 A
    bridge 1 2
    call 2: INVITE \"billing\" <sip:+861@hotline> [20004 RTP/AVP 8 0 101] Require: replaces
phone 180
    call 1: 180
phone 200
    media 2: 192.0.2.20:6000 Mu
    media 1: 192.0.2.9:4000 Mu
    call 1: 200 [20002 RTP/AVP 0 101]
phone BYE
    call 1: hang up
    media 1: close
    media 2: close
    over
late",
    );
}

#[test]
fn refusals_and_cancels_are_passed_through() {
    let mut legs = relay();
    legs.lines.clear();
    let (call, status, reasons) = (CallHandle(2), 486, vec![hotline_sip::Reason::q850(17, "")]);
    legs.sip("phone 486", Event::Failed { call, status, phrase: String::new(), reasons });
    legs.expect("phone 486\n call 1: 486 Reason: Q.850;cause=17\n media 1: close\n media 2: close\n over");

    let mut legs = relay();
    legs.lines.clear();
    let reasons = vec![hotline_sip::Reason::sip(200, "elsewhere")];
    legs.sip("node CANCEL", Event::Cancelled { call: CallHandle(1), reasons });
    legs.expect("node CANCEL\n call 2: hang up (Sip 200 elsewhere)\n media 1: close\n media 2: close\n over");

    let mut legs = Legs::up_and_forgotten();
    legs.sip("node BYE", Event::Ended { call: CallHandle(1), by_peer: true, fault: None, reasons: vec![] });
    legs.expect("node BYE\n call 2: hang up\n media 1: close\n media 2: close\n over");
}

#[test]
fn a_phone_that_is_wanted_for_another_call_stops_ringing() {
    let mut legs = relay();
    legs.lines.clear();
    legs.relay.give_way();
    legs.drain();
    legs.expect("call 1: 480\n call 2: hang up (Q850 31 normal, unspecified)\n media 1: close\n media 2: close\n over");

    let mut legs = Legs::up_and_forgotten();
    legs.relay.give_way();
    legs.drain();
    legs.expect("");
}

#[test]
fn hold_keys_and_transfers_are_passed_through() {
    let mut legs = Legs::up_and_forgotten();
    let held = Bytes::from_static(b"v=0\r\nc=IN IP4 192.0.2.20\r\nm=audio 6000 RTP/AVP 0\r\na=sendonly\r\n");
    legs.sip("phone holds", Event::Reoffered { call: CallHandle(2), sdp: Some(held) });
    let answer = Bytes::from_static(b"v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 0\r\na=recvonly\r\n");
    legs.sip("node agrees", Event::ReofferAnswered { call: CallHandle(1), result: Ok(answer) });
    let refer = Event::Referred { call: CallHandle(2), request: RequestHandle(3), refer_to: "sip:600@hotline".into() };
    legs.sip("phone REFER", refer);
    let attended = "sip:601@hotline?Replaces=x".to_string();
    let refer = Event::Referred { call: CallHandle(2), request: RequestHandle(3), refer_to: attended };
    legs.sip("attended REFER", refer);
    let body = Bytes::from_static(b"SIP/2.0 200 OK\r\n");
    let content_type = "message/sipfrag".to_string();
    legs.sip("node NOTIFY", Event::Info { call: CallHandle(1), content_type, body });
    let refer = Event::Referred { call: CallHandle(1), request: RequestHandle(4), refer_to: "sip:600@hotline".into() };
    legs.sip("node REFER", refer);
    legs.expect(
        "
phone holds
    call 2: reanswer [20004 RTP/AVP 0 recvonly]
    media 2: 192.0.2.20:6000 Mu mute
    call 1: reoffer [20002 RTP/AVP 0 8 101 sendonly]
node agrees
    media 1: 192.0.2.9:4000 Mu deaf
phone REFER
    reply 202
    call 1: REFER sip:600@hotline
attended REFER
    reply 603
node NOTIFY
    call 2: NOTIFY 200 last
node REFER
    reply 603",
    );
}

#[test]
fn a_node_that_says_nothing_is_asked_whether_it_is_there() {
    let mut legs = Legs::up_and_forgotten();
    legs.relay.handle_media(&MediaEvent::Silent { leg: MediaLegId(2), for_ms: 60_000 });
    legs.relay.handle_media(&MediaEvent::Silent { leg: MediaLegId(1), for_ms: 60_000 });
    legs.drain();
    legs.expect("call 1: reoffer [20002 RTP/AVP 0 8 101]");
    legs.relay.drain();
    legs.drain();
    assert!(legs.lines.join("\n").ends_with("over"));
}

#[test]
fn a_browser_that_is_away_holds_for_the_other_node_and_ends_where_it_stays_away() {
    let mut legs = Legs::up_with_a_browser();
    legs.lines.clear();
    let answer = || Ok(Bytes::from_static(b"v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 8\r\n"));
    let away = |legs: &mut Legs, away| {
        legs.lines.push(format!("away {away}"));
        legs.relay.handle_media(&MediaEvent::Away { leg: MediaLegId(2), away });
        legs.drain();
    };
    away(&mut legs, true);
    // It is back before the other node has answered: that is told next.
    away(&mut legs, false);
    legs.sip("node agrees", Event::ReofferAnswered { call: CallHandle(1), result: answer() });
    legs.sip("node agrees", Event::ReofferAnswered { call: CallHandle(1), result: answer() });
    legs.relay.handle_media(&MediaEvent::Silent { leg: MediaLegId(2), for_ms: 60_000 });
    legs.drain();
    away(&mut legs, true);
    legs.sip("node agrees", Event::ReofferAnswered { call: CallHandle(1), result: answer() });
    legs.relay.handle_media(&MediaEvent::Silent { leg: MediaLegId(2), for_ms: 60_000 });
    legs.drain();
    legs.expect(
        "away true
             call 1: reoffer [20002 RTP/AVP 8 0 101 sendonly]
         away false
         node agrees
             media 1: 192.0.2.9:4000 A
             call 1: reoffer [20002 RTP/AVP 8 0 101]
         node agrees
             media 1: 192.0.2.9:4000 A
         away true
             call 1: reoffer [20002 RTP/AVP 8 0 101 sendonly]
         node agrees
             media 1: 192.0.2.9:4000 A
             call 1: hang up (Q850 102 recovery on timer expiry)
             call 2: hang up (Q850 102 recovery on timer expiry)
             media 1: close
             media 2: close
             over",
    );
}

#[test]
fn an_offer_of_no_use_is_refused() {
    let w = &mut World::new();
    let arrival = RelayArrival {
        call: CallHandle(1),
        sdp: Bytes::from_static(b"nonsense"),
        media: w.open(),
        from: "<sip:a@b>".into(),
        phone: w.dialed(),
    };
    assert_eq!(Relay::arrive(Arc::new(config()), arrival, vec![]).err().unwrap().status, 488);
}

#[test]
fn a_browser_behind_a_relay_is_loaded_again() {
    let mut legs = Legs::up_with_a_browser();
    let text = legs.lines.join("\n");
    assert!(text.contains("[20004 UDP/TLS/RTP/SAVPF 8 0 101]"), "{text}");
    assert!(text.contains("media 2: dtls passive with aaaa"), "{text}");
    assert!(text.contains("200 [20002 RTP/AVP 8 101]"), "{text}");
    legs.lines.clear();
    let offer = protected::browser("bbbb", "actpass", "sendrecv");
    assert_eq!(legs.relay.resume(CallHandle(1), CallHandle(9), Some(&offer)).unwrap_err().status, 603);
    assert_eq!(legs.relay.resume(CallHandle(2), CallHandle(9), None).unwrap_err().status, 488);
    legs.relay.resume(CallHandle(2), CallHandle(9), Some(&offer)).unwrap();
    legs.drain();
    legs.sip("old BYE", Event::Ended { call: CallHandle(2), by_peer: true, fault: None, reasons: vec![] });
    legs.sip("new BYE", Event::Ended { call: CallHandle(9), by_peer: true, fault: None, reasons: vec![] });
    legs.expect(
        "    call 9: 200 [20004 UDP/TLS/RTP/SAVPF 8 126]
             call 2: hang up (Sip 200 Call completed elsewhere)
             media 2: dtls passive with bbbb
             media 2: 0.0.0.0:9 A
         old BYE
         new BYE
             call 1: hang up
             media 1: close
             media 2: close
             over",
    );
}
