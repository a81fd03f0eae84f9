//! Phones that speak G.722 and Opus, with the project's own softphone over the loopback: what each
//! hears, the keys that pass, and both channels of the recording.

mod common;

use std::time::{Duration, Instant};

use common::{Running, file, find, start};
use hotline_phone::{Codec, Microphone, Phone, PhoneConfig, PhoneEvent, decode, tone_share};
use hotline_wire::recording::{ChannelLaw, Manifest};

/// How long anything may take before it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(15);

/// What callers speak, and the phones that they are joined with.
const PAIRS: [(Codec, Codec); 9] = [
    (Codec::Opus, Codec::Pcmu),
    (Codec::G722, Codec::Pcma),
    (Codec::Opus, Codec::Pcma),
    (Codec::Opus, Codec::G722),
    (Codec::G722, Codec::Opus),
    (Codec::Opus, Codec::Opus),
    (Codec::G722, Codec::G722),
    // Offered no wideband codec, these refuse and are rung again.
    (Codec::Pcmu, Codec::G722),
    (Codec::Pcmu, Codec::Opus),
];

fn caller_hz(pair: usize) -> u32 {
    400 + 60 * pair as u32
}

fn agent_hz(pair: usize) -> u32 {
    1_000 + 120 * pair as u32
}

fn config(server: &str, codec: Codec, hz: u32) -> PhoneConfig {
    let mut config = PhoneConfig::new("127.0.0.1:0".parse().unwrap(), server.parse().unwrap());
    config.codecs = vec![codec];
    config.microphone = Microphone::Tone(hz);
    config
}

/// Waits until the last half second that a phone heard is this tone.
async fn hears(phone: &Phone, hz: u32, who: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let heard = phone.heard();
        let share = tone_share(&heard[heard.len().saturating_sub(4_000)..], hz);
        if heard.len() >= 4_000 && share > 0.9 {
            return;
        }
        assert!(Instant::now() < end, "{who} does not hear {hz} Hz: {share}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn hears_key(phone: &mut Phone, digit: char) {
    phone.wait("key", PATIENCE, |event| (*event == PhoneEvent::Digit(digit)).then_some(Ok(()))).await.unwrap();
}

async fn call(node: &Running, agents: &mut [Phone], pair: usize) {
    let who = format!("{:?}", PAIRS[pair]);
    let agent = &mut agents[pair];
    let mut caller = Phone::start(config(&node.sip.to_string(), PAIRS[pair].0, caller_hz(pair))).await.unwrap();
    caller.call(&format!("sip:70{pair}@{}", node.sip)).await.unwrap();
    caller.wait_answered(PATIENCE).await.unwrap();
    hears(&caller, agent_hz(pair), &format!("the caller of {who}")).await;
    hears(agent, caller_hz(pair), &format!("the agent of {who}")).await;
    // Keys pass between clocks of 8 and 48 kHz, and the voices come back.
    caller.send_digits("1").await.unwrap();
    hears_key(agent, '1').await;
    agent.send_digits("#").await.unwrap();
    hears_key(&mut caller, '#').await;
    let digits = |phone: &Phone| phone.heard_digits().iter().map(|heard| heard.digit).collect::<String>();
    assert_eq!((digits(&caller).as_str(), digits(agent).as_str()), ("#", "1"), "{who}: each key comes once");
    caller.forget_heard();
    agent.forget_heard();
    hears(&caller, agent_hz(pair), &format!("the caller of {who} after keys")).await;
    hears(agent, caller_hz(pair), &format!("the agent of {who} after keys")).await;
    caller.hangup().await.unwrap();
    agent.wait_ended(PATIENCE).await.unwrap();
    caller.stop().await;
}

/// The channels of a recording, as samples.
fn channels(node: &Running, manifest: &Manifest) -> Vec<Vec<i16>> {
    let count = manifest.channels.len();
    let bytes: Vec<u8> =
        manifest.chunks.iter().flat_map(|chunk| std::fs::read(node.folder.join(&chunk.key)).unwrap()).collect();
    let law = |channel: usize| match manifest.channels[channel].law {
        ChannelLaw::Mu => hotline_phone::Law::Mu,
        ChannelLaw::A => hotline_phone::Law::A,
    };
    let of = |channel: usize| {
        let frames = bytes.chunks_exact(160 * count);
        let own = frames.flat_map(|frame| &frame[channel * 160..(channel + 1) * 160]);
        own.map(|byte| decode(law(channel), *byte)).collect()
    };
    (0..count).map(of).collect()
}

#[test]
fn wideband_phones_talk_with_all_others_and_are_recorded() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut agents: Vec<Phone> = Vec::new();
    let mut rules = String::from("rules:\n");
    for (pair, (_, codec)) in PAIRS.iter().enumerate() {
        let mut config = config("127.0.0.1:9", *codec, agent_hz(pair));
        config.auto_answer = Some(Duration::ZERO);
        let agent = runtime.block_on(Phone::start(config)).unwrap();
        rules +=
            &format!("  - dial: \"70{pair}\"\n    bridge: {{to: \"sip:a@{}\", record: true}}\n", agent.local_addr());
        agents.push(agent);
    }
    let node = start("wideband", "46400-46499", || file(&rules), &[]);
    for pair in 0..PAIRS.len() {
        runtime.block_on(call(&node, &mut agents, pair));
    }
    let end = Instant::now() + PATIENCE;
    let mut manifests = Vec::new();
    while manifests.len() < PAIRS.len() {
        assert!(Instant::now() < end, "{} recordings of {}", manifests.len(), PAIRS.len());
        let mut files = Vec::new();
        find(&node.folder.join("recordings"), &mut files);
        let read = |path: &std::path::PathBuf| serde_json::from_slice::<Manifest>(&std::fs::read(path).ok()?).ok();
        let whole = files.iter().filter(|path| path.ends_with("manifest.json")).filter_map(read);
        manifests = whole.filter(|manifest| manifest.complete).collect();
        std::thread::sleep(Duration::from_millis(20));
    }
    let recordings: Vec<Vec<Vec<i16>>> = manifests.iter().map(|manifest| channels(&node, manifest)).collect();
    for (pair, codecs) in PAIRS.iter().enumerate() {
        // Keys leave holes in the voices, and both need a moment to come.
        let holds = |channel: &[i16], hz: u32| tone_share(channel, hz) > 0.7;
        let found: Vec<&Vec<Vec<i16>>> =
            recordings.iter().filter(|channels| holds(&channels[0], caller_hz(pair))).collect();
        let [channels] = found[..] else { panic!("{codecs:?}: {} recordings have the caller", found.len()) };
        assert!(holds(&channels[1], agent_hz(pair)), "{codecs:?}: the agent is on the right");
        for (channel, other) in [(0, agent_hz(pair)), (1, caller_hz(pair))] {
            assert!(tone_share(&channels[channel], other) < 0.02, "{codecs:?}: only one voice on channel {channel}");
        }
        let length = channels[0].len();
        assert!(length > 8_000 && length == channels[1].len(), "{codecs:?}: {length}");
    }
    assert_eq!(node.metric("joins"), PAIRS.len() as u64);
}
