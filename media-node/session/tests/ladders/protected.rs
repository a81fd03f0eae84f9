//! Protected legs: keys in descriptions, browsers, and what becomes of them when they are away.

use super::*;
use hotline_rtp::api::SecureFailure;
use hotline_rtp::ice::IceCredentials;
use hotline_session::sdp;

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const OTHER_KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
const PRINT: &str = "AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89";

fn savp(suites: &[(u32, &str, &str)]) -> Bytes {
    let keys: String =
        suites.iter().map(|(tag, suite, key)| format!("a=crypto:{tag} {suite} inline:{key}\r\n")).collect();
    Bytes::from(format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
         m=audio 4000 RTP/SAVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n{keys}"
    ))
}

/// As a browser writes it, cut to what matters.
pub(crate) fn browser(ufrag: &str, setup: &str, direction: &str) -> Bytes {
    Bytes::from(format!(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS x\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
         a=candidate:1 1 udp 2113937151 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 54596 typ host generation 0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:yg6xE8RsDwGIyCA1dVn5nlh0\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {PRINT}\r\na=setup:{setup}\r\na=mid:0\r\na={direction}\r\na=rtcp-mux\r\n\
         a=rtpmap:111 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=rtcp-mux\r\n"
    ))
}

fn leak(bytes: Bytes) -> &'static [u8] {
    Box::leak(bytes.to_vec().into_boxed_slice())
}

/// The text of the only answer in a world's commands.
fn keys_of(command: &MediaCommand) -> hotline_rtp::srtp::SrtpKeys {
    match command {
        MediaCommand::Secure { security: Security::Keys(keys), .. } => (**keys).clone(),
        other => panic!("{other:?}"),
    }
}

fn secured(world: &World) -> Vec<&MediaCommand> {
    world.sent.iter().filter(|c| matches!(c, MediaCommand::Secure { .. })).collect()
}

#[test]
fn a_trunk_with_keys_is_answered_and_the_plain_phone_behind_it_stays_plain() {
    let offer = savp(&[
        (1, "F8_128_HMAC_SHA1_80", KEY),
        (2, "AES_CM_128_HMAC_SHA1_32", KEY),
        (3, "AES_CM_128_HMAC_SHA1_80", OTHER_KEY),
    ]);
    let mut w = World::with(Some(leak(offer)));
    w.decide("s", Some(vec![Verb::Answer, hold()]));
    w.command("ring", NodeAction::Ring(ring(1)));
    w.answered(2, 8);
    expect(
        &w,
        "INVITE
             180
             ask 1: arrived
         decision 1: s
             media 1: Aes128Sha1Tag32
             media 1: 192.0.2.9:4000 A
             200 [20002 RTP/SAVP 8 101]
             media 1: play music looped
         ring
             call 2: INVITE \"billing\" <sip:+8613800138000@hotline> [20004 RTP/AVP 8 0 101]
         call 2 200
             media 2: 192.0.2.20:6000 A
             media 1: stop
             bridge 1 2
             record 1 2
             ask 2: offer 1 answered",
    );
    let before = keys_of(secured(&w)[0]);
    // The trunk changes its key: ours stays, and its counters.
    w.forget();
    w.sip("reINVITE", Event::Reoffered { call: CALLER, sdp: Some(savp(&[(3, "AES_CM_128_HMAC_SHA1_32", OTHER_KEY)])) });
    let after = keys_of(secured(&w)[1]);
    assert_eq!(after.outbound, before.outbound);
    assert_ne!(after.inbound, before.inbound);
    assert!(!format!("{w:?}", w = w.sent).contains(KEY));
}

#[test]
fn keys_are_demanded_refused_or_offered_by_policy() {
    let arrive = |policy, sdp: &'static [u8]| {
        let now = Now { mono: Instant::now(), wall: Timestamp::from_millis(1) };
        let config = SessionConfig { srtp: policy, ..config() };
        Session::arrive(Arc::new(config), now, arrival(Some(sdp))).map(|_| ()).map_err(|r| (r.status, r.reason))
    };
    let secret = leak(savp(&[(1, "AES_CM_128_HMAC_SHA1_80", KEY)]));
    let browser = leak(browser("abcd", "actpass", "sendrecv"));
    for (policy, plain, keys) in [
        (SrtpPolicy::Off, true, false),
        (SrtpPolicy::Accept, true, true),
        (SrtpPolicy::Prefer, true, true),
        (SrtpPolicy::Require, false, true),
    ] {
        assert_eq!(arrive(policy, OFFER).is_ok(), plain, "{policy:?}");
        assert_eq!(arrive(policy, secret).is_ok(), keys, "{policy:?}");
        assert_eq!(arrive(policy, browser), Ok(()), "{policy:?}");
    }
    let (status, reason) = arrive(SrtpPolicy::Require, OFFER).unwrap_err();
    assert_eq!(status, 488);
    assert!(reason.contains("media.srtp"), "{reason}");
    let (_, reason) = arrive(SrtpPolicy::Accept, leak(savp(&[(1, "F8_128_HMAC_SHA1_80", KEY)]))).unwrap_err();
    assert!(reason.contains("a=crypto"), "{reason}");
    use Transport::{Tcp, Tls, Udp, Ws, Wss};
    let offers = |policy: SrtpPolicy| [Udp, Tcp, Tls, Ws, Wss].map(|transport| policy.offers(transport));
    let (plain, keys, web) = (OfferedSecurity::Plain, OfferedSecurity::Keys, OfferedSecurity::Web);
    assert_eq!(offers(SrtpPolicy::Accept), [plain, plain, plain, web, web]);
    assert_eq!(offers(SrtpPolicy::Prefer), [plain, plain, keys, web, web]);
    assert_eq!(offers(SrtpPolicy::Require), [keys, keys, keys, web, web]);
}

#[test]
fn a_phone_that_is_offered_keys_must_answer_with_one() {
    for (answer, fits) in [
        (savp(&[(2, "AES_CM_128_HMAC_SHA1_32", KEY)]), true),
        (savp(&[(7, "AES_CM_128_HMAC_SHA1_32", KEY)]), false),
        (Bytes::from_static(OFFER), false),
    ] {
        let mut w = in_script(vec![hold()]);
        w.offers = OfferedSecurity::Keys;
        w.command("ring", NodeAction::Ring(ring(1)));
        assert!(w.ladder().contains("[20004 RTP/SAVP 8 0 101]"), "{}", w.ladder());
        w.sip("200", Event::Answered { call: CallHandle(2), sdp: Some(answer) });
        assert_eq!(w.ladder().contains("bridge 1 2"), fits, "{}", w.ladder());
        assert_eq!(w.ladder().contains("media 2: Aes128Sha1Tag32"), fits, "{}", w.ladder());
        assert_eq!(w.ladder().contains("call 2: hang up"), !fits, "{}", w.ladder());
    }
}

#[test]
fn a_browser_calls_holds_and_restarts_ice() {
    let mut w = World::with(Some(leak(browser("aaaa", "actpass", "sendrecv"))));
    w.decide("s", Some(vec![Verb::Answer, hold()]));
    assert!(w.ladder().contains("media 1: dtls passive with aaaa"), "{}", w.ladder());
    assert!(w.ladder().contains("200 [20002 UDP/TLS/RTP/SAVPF 111 110"), "{}", w.ladder());
    w.talking(ring(1), 2);
    w.forget();
    let reoffer = |sdp| Event::Reoffered { call: CALLER, sdp: Some(sdp) };
    w.sip("hold", reoffer(browser("aaaa", "actpass", "sendonly")));
    w.sip("resume", reoffer(browser("aaaa", "actpass", "sendrecv")));
    w.sip("ICE restart", reoffer(browser("bbbb", "actpass", "sendrecv")));
    let peers: Vec<_> = secured(&w)
        .into_iter()
        .map(|command| match command {
            MediaCommand::Secure { security: Security::Dtls(peer), .. } => (**peer).clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(peers[0], peers[1]);
    assert_eq!(peers[1], peers[2]);
    assert_eq!((peers[3].remote.ufrag.as_str(), peers[3].fingerprint), ("bbbb", peers[0].fingerprint));
    assert_ne!(peers[3].local, peers[0].local, "both sides change their credentials");
    assert!(w.ladder().contains("reanswer [20002 UDP/TLS/RTP/SAVPF 111 110 recvonly]"), "{}", w.ladder());
    // No plain packets to a browser, whatever it offers later.
    w.forget();
    w.sip("plain", reoffer(Bytes::from_static(OFFER)));
    assert!(w.ladder().contains("media 1: plain"), "{}", w.ladder());
}

#[test]
fn the_answer_to_a_browser_is_what_it_expects() {
    let offer = sdp::parse(&browser("aaaa", "actpass", "sendrecv")).unwrap();
    assert_eq!(offer.direction, sdp::Direction::SendRecv, "c=0.0.0.0 is no hold here");
    let local = sdp::Local {
        rtp: "192.0.2.1:20000".parse().unwrap(),
        session: 7,
        version: 1,
        security: sdp::LocalSecurity::Web(Box::new(sdp::LocalWeb {
            credentials: IceCredentials { ufrag: "nnnn".into(), pwd: "p".repeat(24) },
            fingerprint: PRINT.parse().unwrap(),
            setup: sdp::Setup::Passive,
        })),
    };
    let text = sdp::answer(&local, &offer, Codec::Pcmu);
    assert_eq!(
        std::str::from_utf8(&text).unwrap(),
        format!(
            "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             a=group:BUNDLE 0\r\na=ice-lite\r\n\
             m=audio 20000 UDP/TLS/RTP/SAVPF 0 126\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-15\r\na=ptime:20\r\na=sendrecv\r\na=mid:0\r\n\
             a=ice-ufrag:nnnn\r\na=ice-pwd:pppppppppppppppppppppppp\r\na=fingerprint:sha-256 {PRINT}\r\n\
             a=setup:passive\r\na=rtcp-mux\r\na=candidate:1 1 UDP 2130706431 192.0.2.1 20000 typ host\r\n\
             a=end-of-candidates\r\na=msid:hotline audio\r\n\
             m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n"
        )
    );
    // What we write can be read again.
    let again = sdp::parse(&sdp::offer(&local, &[Codec::Pcmu])).unwrap();
    assert!(again.bundled && matches!(again.security, sdp::PeerSecurity::Web(_)));
    for missing in ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup", "a=rtcp-mux"] {
        let text = String::from_utf8(browser("aaaa", "actpass", "sendrecv").to_vec()).unwrap();
        let first = text.split("m=video").next().unwrap();
        let cut: Vec<&str> = first.lines().filter(|line| !line.starts_with(missing)).collect();
        let error = sdp::parse(cut.join("\n").as_bytes()).unwrap_err().to_string();
        assert!(error.contains(missing), "{missing}: {error}");
    }
}

/// The caller on a telephone, the agent (call 2, media 2) at a browser, talking.
fn agent_at_a_browser() -> World {
    let mut w = in_script(vec![hold()]);
    w.offers = OfferedSecurity::Web;
    w.command("ring", NodeAction::Ring(ring(1)));
    assert!(w.ladder().contains("[20004 UDP/TLS/RTP/SAVPF 8 0 101]"), "{}", w.ladder());
    w.sip("200", Event::Answered { call: CallHandle(2), sdp: Some(browser("aaaa", "active", "sendrecv")) });
    w.media("secured", MediaEvent::Secured { leg: MediaLegId(2) });
    assert!(w.ladder().contains("media 2: dtls passive with aaaa"), "{}", w.ladder());
    assert!(w.ladder().contains("bridge 1 2"), "{}", w.ladder());
    w.decide("talk", None);
    w.forget();
    w
}

#[test]
fn an_agent_who_reloads_gets_the_call_back_while_the_caller_hears_music() {
    let mut w = agent_at_a_browser();
    w.media("away", MediaEvent::Away { leg: MediaLegId(2), away: true });
    w.pass(30_000);
    w.media("silent", MediaEvent::Silent { leg: MediaLegId(2), for_ms: 36_000 });
    w.log("INVITE with Replaces");
    let now = w.now();
    let offer = browser("bbbb", "actpass", "sendrecv");
    w.session.resume(now, CallHandle(2), CallHandle(9), Some(&offer), None).unwrap();
    w.drain();
    w.bye(2);
    w.media("secured", MediaEvent::Secured { leg: MediaLegId(2) });
    w.bye(9);
    expect(
        &w,
        "away
             unbridge 1
             media 1: play 440 Hz looped
         silent
         INVITE with Replaces
             200 [20004 UDP/TLS/RTP/SAVPF 8 126]
             call 2: hang up (Sip 200 Call completed elsewhere)
             media 2: dtls passive with bbbb
             media 2: 0.0.0.0:9 A
             media 1: stop
             bridge 1 2
         call 2 BYE
         secured
         call 9 BYE
             stop recording
             unbridge 1
             media 1: stop
             media 2: close
             ask 3: agent 1 ended: HungUp",
    );
}

#[test]
fn whoever_does_not_come_back_is_lost_and_whoever_does_by_itself_goes_on() {
    let mut w = agent_at_a_browser();
    w.media("away", MediaEvent::Away { leg: MediaLegId(2), away: true });
    w.pass(5_000);
    w.media("back", MediaEvent::Away { leg: MediaLegId(2), away: false });
    assert!(w.ladder().ends_with("media 1: stop\n    bridge 1 2"), "{}", w.ladder());
    w.pass(50_000);
    w.media("away", MediaEvent::Away { leg: MediaLegId(2), away: true });
    w.pass(39_000);
    assert!(!w.ladder().contains("ended"), "{}", w.ladder());
    w.pass(1_500);
    assert!(w.ladder().contains("agent 1 ended: Lost"), "{}", w.ladder());

    let mut w = World::with(Some(leak(browser("aaaa", "actpass", "sendrecv"))));
    w.decide("s", Some(vec![Verb::Answer, hold()]));
    w.media("away", MediaEvent::Away { leg: MediaLegId(1), away: true });
    w.pass(41_000);
    assert!(w.ladder().contains("call ended: Lost"), "{}", w.ladder());
}

#[test]
fn a_resumption_that_does_not_fit_changes_nothing() {
    let mut w = agent_at_a_browser();
    let now = w.now();
    let offer = browser("bbbb", "actpass", "sendrecv");
    let mut resume = |old, offer: Option<&Bytes>| {
        w.session.resume(now, CallHandle(old), CallHandle(9), offer, None).unwrap_err().status
    };
    assert_eq!(resume(77, Some(&offer)), 481);
    assert_eq!(resume(2, None), 488);
    assert_eq!(resume(2, Some(&Bytes::from_static(b"v=0\r\n"))), 488);
    w.drain();
    assert_eq!(w.ladder(), "");
    w.bye(2);
    assert!(w.ladder().contains("agent 1 ended: HungUp"));
}

#[test]
fn a_browser_that_cannot_be_protected_is_not_kept() {
    let mut w = agent_at_a_browser();
    let failed = |leg, why| MediaEvent::SecureFailed { leg: MediaLegId(leg), why };
    w.media("failed", failed(2, SecureFailure::TimedOut));
    assert!(w.ladder().contains("agent 1 ended: Lost"), "{}", w.ladder());
    let mut w = agent_at_a_browser();
    w.media("closed", failed(2, SecureFailure::Closed));
    assert!(w.ladder().contains("media 1: play 440 Hz looped"), "{}", w.ladder());
    let mut w = World::with(Some(leak(browser("aaaa", "actpass", "sendrecv"))));
    w.decide("s", Some(vec![Verb::Answer, hold()]));
    w.media("failed", failed(1, SecureFailure::WrongCertificate));
    w.pass(400);
    assert!(w.ladder().contains("call ended: Lost"), "{}", w.ladder());
}
