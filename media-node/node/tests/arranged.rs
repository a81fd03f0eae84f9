//! Hold, consultation, conference and listening on a whole node, by tones.

mod common;

use common::fleet::{MUSIC, Member, hears, hears_only, offer, ring, tone, wait};
use hotline_base::RecordingId;
use hotline_ports::{Bucket, Objects};
use hotline_rtp::api::Law;
use hotline_wire::legs::{Arrangement, CallerMode, LegMode};
use hotline_wire::node::{CallEvent, NodeAction, RingAgent};
use hotline_wire::recording::{GapReason, Manifest};

const CALLER: u32 = 440;
const FIRST: u32 = 620;
const SECOND: u32 = 880;

fn picture(caller: CallerMode, agents: &[(u128, LegMode)]) -> Arrangement {
    Arrangement { caller, agents: agents.iter().map(|(n, mode)| (offer(*n), mode.clone())).collect() }
}

fn held() -> CallerMode {
    CallerMode::Held { music: tone(MUSIC) }
}

#[test]
fn from_consultation_to_conference_to_transfer() {
    use LegMode::{Listens, Talks};
    let mut node = Member::start("arranged", "43700-43799", &[]);
    let first = node.agent("first", FIRST, true);
    let second = node.agent("second", SECOND, true);
    let caller = node.caller(CALLER);
    let contact = node.contact(0);
    let music = u32::from(MUSIC);

    node.command(contact, NodeAction::Ring(ring(1, "first", &node)));
    wait("two talk", || hears_only(&caller, &[FIRST], &[music]) && hears(&first, CALLER));

    // The caller waits while the agents talk.
    let consult = picture(held(), &[(1, Talks), (2, Talks)]);
    let join = RingAgent { arrange: Some(consult), record: None, ..ring(2, "second", &node) };
    node.command(contact, NodeAction::Ring(join));
    wait("a consultation", || {
        hears_only(&caller, &[music], &[FIRST, SECOND])
            && hears_only(&first, &[SECOND], &[CALLER])
            && hears_only(&second, &[FIRST], &[CALLER])
    });

    // All three.
    node.command(contact, NodeAction::Arrange { arrangement: picture(CallerMode::Talks, &[(1, Talks), (2, Talks)]) });
    wait("a conference", || {
        hears_only(&caller, &[FIRST, SECOND], &[music])
            && hears_only(&first, &[CALLER, SECOND], &[])
            && hears_only(&second, &[CALLER, FIRST], &[])
    });

    // The second one only listens; the caller does not notice.
    node.command(contact, NodeAction::Arrange { arrangement: picture(CallerMode::Talks, &[(1, Talks), (2, Listens)]) });
    wait("a listener", || {
        hears_only(&caller, &[FIRST], &[SECOND])
            && hears_only(&first, &[CALLER], &[SECOND])
            && hears_only(&second, &[CALLER, FIRST], &[])
    });

    // A whisper reaches the first agent alone.
    let whisper = LegMode::Whispers { to: offer(1) };
    let action = NodeAction::Arrange { arrangement: picture(CallerMode::Talks, &[(1, Talks), (2, whisper)]) };
    node.command(contact, action);
    wait("a whisper", || hears_only(&caller, &[FIRST], &[SECOND]) && hears_only(&first, &[CALLER, SECOND], &[]));

    // The card number is not recorded.
    let pause = |paused| NodeAction::PauseRecording { recording: RecordingId::from_u128(1), paused };
    node.command(contact, pause(true));
    node.command(contact, NodeAction::Arrange { arrangement: picture(CallerMode::Talks, &[(1, Talks), (2, Talks)]) });
    wait("a conference", || hears_only(&caller, &[FIRST, SECOND], &[]));
    node.command(contact, pause(false));

    // The first agent leaves: two remain, relayed, and the recording goes on.
    node.command(contact, NodeAction::ReleaseAgent { offer: offer(1) });
    wait("a transfer", || hears_only(&caller, &[SECOND], &[FIRST]) && hears_only(&second, &[CALLER], &[FIRST]));
    node.told("the first agent's end", |e| match e {
        CallEvent::AgentLegEnded { offer: o, .. } if *o == offer(1) => Some(()),
        _ => None,
    });
    assert_eq!(node.running.metric("recordings"), 1);
    node.command(contact, NodeAction::End);
    let (manifest, failure) = node.told("the recording", |e| match e {
        CallEvent::RecordingEnded { manifest, failure, .. } => Some((manifest.clone(), failure.clone())),
        _ => None,
    });
    assert_eq!(failure, None);

    let get = |key: &str| node.block_on(node.objects.get(Bucket::Recordings, key)).unwrap().unwrap();
    let manifest: Manifest = serde_json::from_slice(&get(&manifest)).unwrap();
    let audio: Vec<u8> = manifest.chunks.iter().flat_map(|chunk| get(&chunk.key)).collect();
    let channel = |n: usize| -> Vec<i16> {
        audio.chunks_exact(320).flat_map(|f| &f[n * 160..(n + 1) * 160]).map(|b| Law::Mu.decode(*b)).collect()
    };
    let presence = |samples: &[i16], hz: u32| hotline_phone::tone_presence(samples, hz);
    // In windows of 50 ms: the phases of the call last as long as this machine likes.
    let windows = |samples: &[i16], hz: u32| (presence(samples, hz) * (samples.len() / 400) as f64).round() as usize;
    let (left, right) = (channel(0), channel(1));
    assert!(windows(&left, CALLER) > 8, "the caller is on the left");
    assert!(presence(&left, FIRST) < 0.05 && presence(&left, SECOND) < 0.05, "and nobody else");
    assert!(windows(&right, FIRST) > 8 && windows(&right, SECOND) > 8, "the agents are on the right");
    assert!(presence(&right, CALLER) < 0.05, "without the caller");
    let both = right.chunks(400).filter(|w| presence(w, FIRST) > 0.5 && presence(w, SECOND) > 0.5).count();
    assert!(both > 4, "the conference is mixed");
    assert!(manifest.gaps.iter().any(|gap| gap.reason == GapReason::Paused), "the pause is told");
}
