//! A node on a network that loses, delays, repeats and reorders.
//!
//! What may be asked for follows from the weather: a share of `(1 - loss)` for every crossing of the
//! wire, and four standard deviations of chance. A node that loses more than the network does fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hotline_base::TenantId;
use hotline_net::{Weather, World};
use hotline_phone::{Microphone, Phone, PhoneConfig, PhoneEvent, tone_share};
use hotline_ports::memory::MemoryObjects;
use hotline_ports::{Fault, NodeCommands, ReceivedCommand};
use hotline_wire::node::{
    CallEvent, CallInput, Decision, DirectoryInput, DirectoryOutput, NodeCommand, Verb, VerbResult,
};
use media_node::config::Config;
use media_node::decisions::Decisions;
use media_node::standalone::DecisionFile;
use media_node::{Node, Source};

const PATIENCE: Duration = Duration::from_secs(30);
const SIP_PORT: u16 = 5_060;

/// Loss 5 %, jitter 30 ms, 1 % twice, 1 % too early.
const BAD: Weather = Weather {
    loss: 0.05,
    duplicate: 0.01,
    reorder: 0.01,
    delay: Duration::from_millis(40),
    jitter: Duration::from_millis(30),
};

/// Loss 10 %.
const WORSE: Weather = Weather { loss: 0.10, ..BAD };

/// A node in its place; it ends with this.
struct Running {
    world: World,
    node: Arc<Mutex<Option<Node>>>,
    runtime: Arc<tokio::runtime::Runtime>,
    folder: PathBuf,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

impl Running {
    fn start(name: &str, seed: u64, source: Source) -> Running {
        let world = World::new(seed).unwrap();
        let folder = std::env::temp_dir().join(format!("hotline-net-{name}-{}", std::process::id()));
        let vars: BTreeMap<String, String> = [
            ("SIP_LISTEN", format!("udp:{}:{SIP_PORT}", World::NODE)),
            ("SIP_TRUSTED", format!("{}/32", World::PHONES)),
            ("SIP_REGISTER_AUTH", "false".into()),
            ("MEDIA_BIND", World::NODE.to_string()),
            ("MEDIA_PORTS", "20000-20199".into()),
            ("HTTP_LISTEN", "127.0.0.1:9060".into()),
            ("NODE_DATA_DIR", folder.display().to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (format!("HOTLINE_NODE_{key}"), value))
        .collect();
        let config = Config::read("", &vars).unwrap();
        let (node, runtime) = world.node.run(move || {
            let runtime = runtime();
            let node = runtime.block_on(Node::start(config, source)).unwrap();
            (node, runtime)
        });
        Running { world, node: Arc::new(Mutex::new(Some(node))), runtime: Arc::new(runtime), folder }
    }

    /// A figure of the node's own.
    fn metric(&self, name: &'static str) -> u64 {
        self.world.node.run(move || {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect("127.0.0.1:9060").unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("hotline_node_{name} ")));
            line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
        })
    }

    fn wait(&self, what: &str, name: &'static str, value: u64) {
        let end = Instant::now() + PATIENCE;
        while self.metric(name) != value {
            assert!(Instant::now() < end, "waited in vain: {what}");
            // Paces the loop; nothing depends on its length.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Does something where the phones are.
    fn at_phones<T: Send + 'static, F: Future<Output = T>>(&self, what: impl FnOnce() -> F + Send + 'static) -> T {
        self.world.phones.run(move || runtime().block_on(what()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (node, runtime) = (self.node.clone(), self.runtime.clone());
        self.world.node.run(move || {
            let node = node.lock().unwrap().take();
            if let Some(node) = node {
                node.stop();
            }
            drop(runtime);
        });
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn file(text: &str) -> Source {
    Source::File { file: DecisionFile::read(text, std::path::Path::new(".")).unwrap(), path: None }
}

fn config(user: &str, port: u16) -> PhoneConfig {
    let node = SocketAddr::from((World::NODE, SIP_PORT));
    let mut config = PhoneConfig::new(SocketAddr::from((World::PHONES, port)), node);
    config.user = user.into();
    config
}

fn number(dialled: &str) -> String {
    format!("sip:{dialled}@{}:{SIP_PORT}", World::NODE)
}

/// The least share of `frames` frames that a network which passes `share` lets through.
fn least(share: f64, frames: usize) -> f64 {
    share - 4.0 * (share * (1.0 - share) / frames as f64).sqrt()
}

/// What was heard but for the ends, where the tone may not be there yet or any more.
fn middle(heard: &[i16]) -> &[i16] {
    let end = heard.len().saturating_sub(4_000);
    heard.get(4_000..end).unwrap_or_default()
}

/// The best figure that a recording gives, whichever of its samples a packet begins with (they come at
/// whole milliseconds): a lost packet is one lost frame then.
fn aligned(heard: &[i16], figure: impl Fn(&[i16]) -> f64) -> f64 {
    (0..160).step_by(8).filter_map(|first| heard.get(first..)).map(figure).fold(0.0, f64::max)
}

/// Segmental signal-to-noise ratio, dB, of what was heard against the sine that fits each frame best;
/// a frame that is missing counts as 0, none as more than 35 (the ceiling of µ-law).
fn segmental_snr(heard: &[i16], hz: u32) -> f64 {
    let step = f64::from(hz) * std::f64::consts::TAU / 8_000.0;
    let frames: Vec<f64> = heard
        .chunks_exact(160)
        .map(|frame| {
            let (mut s, mut c, mut energy) = (0.0, 0.0, 0.0);
            for (n, sample) in frame.iter().enumerate() {
                let (x, angle) = (f64::from(*sample), step * n as f64);
                s += x * angle.sin();
                c += x * angle.cos();
                energy += x * x;
            }
            let signal = 2.0 * (s * s + c * c) / 160.0;
            let noise = (energy - signal).max(energy * 1e-4);
            if energy < 160.0 * 400.0 { 0.0 } else { (10.0 * (signal / noise).log10()).clamp(0.0, 35.0) }
        })
        .collect();
    frames.iter().sum::<f64>() / frames.len().max(1) as f64
}

struct Talk {
    caller: Vec<i16>,
    agent: Vec<i16>,
    took: Duration,
}

/// A caller (440 Hz) and an agent (1,000 Hz) talk by way of the node for so long. Multiples of 50 Hz
/// fill a frame with whole waves.
fn talk(node: &Running, for_ms: u64) -> Talk {
    node.at_phones(move || async move {
        let mut agent = config("agent", 15_080);
        agent.auto_answer = Some(Duration::ZERO);
        agent.microphone = Microphone::Tone(1_000);
        let mut agent = Phone::start(agent).await.unwrap();
        let mut caller = config("caller", 15_060);
        caller.microphone = Microphone::Tone(400);
        let mut caller = Phone::start(caller).await.unwrap();
        caller.call(&number("701")).await.unwrap();
        caller.wait_answered(PATIENCE).await.unwrap();
        let begin = Instant::now();
        while caller.heard().len() < for_ms as usize * 8 {
            assert!(begin.elapsed() < PATIENCE, "the voice ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = begin.elapsed();
        let (of_caller, of_agent) = (caller.heard(), agent.heard());
        caller.hangup().await.unwrap();
        agent.wait_ended(PATIENCE).await.unwrap();
        agent.stop().await;
        caller.stop().await;
        Talk { caller: of_caller, agent: of_agent, took }
    })
}

#[test]
fn voices_stay_intelligible_and_recordings_keep_time() {
    let text =
        format!("rules: [{{dial: \"70*\", bridge: {{to: \"sip:agent@{}:15080\", record: true}}}}]", World::PHONES);
    let node = Running::start("talk", 1, file(&text));
    let clean = talk(&node, 3_000);
    for (heard, hz) in [(&clean.caller, 1_000), (&clean.agent, 400)] {
        assert!(tone_share(middle(heard), hz) > 0.99, "in fine weather all is heard: {hz} Hz");
    }
    const WORSE_THAN_GOOD: &str = "leg_mos_bucket{le=\"4.2\"}";
    node.wait("the end of the first call", "sessions", 0);
    assert!(node.metric("leg_mos_count") >= 2 && node.metric(WORSE_THAN_GOOD) == 0, "in fine weather all sounds good");
    let before = node.world.counts();
    node.world.set(BAD);
    let bad = talk(&node, 8_000);
    let after = node.world.counts();
    assert!(after.lost - before.lost > 50 && after.duplicated > 5 && after.reordered > 5, "{after:?}");
    for (heard, clean, hz) in [(&bad.caller, &clean.caller, 1_000), (&bad.agent, &clean.agent, 400)] {
        let heard = middle(heard);
        let share = aligned(heard, |heard| tone_share(heard, hz));
        // Two crossings: what one side says to the node, and the node to the other side.
        let least = least(0.95 * 0.95, heard.len() / 160);
        println!("{hz} Hz: {:.1} % of the frames are heard, at least {:.1} % are due", share * 100.0, least * 100.0);
        assert!(share >= least, "{share} of {hz} Hz is heard, {least} is due");
        let snr_of = |heard: &[i16]| aligned(heard, |heard| segmental_snr(heard, hz));
        let (snr, best) = (snr_of(heard), snr_of(middle(clean)));
        println!("{hz} Hz: segmental SNR {snr:.1} dB, {best:.1} dB in fine weather");
        assert!(snr >= best * least * 0.97, "{snr} dB, {best} dB in fine weather");
    }
    node.wait("the end of the calls", "sessions", 0);
    let (of, all) = (node.metric(WORSE_THAN_GOOD), node.metric("leg_mos_count"));
    println!("{of} of {all} stretches of up to 5 s had a mean opinion score of at most 4.2");
    assert!(of >= 1);
    node.wait("the uploads", "uploads_pending", 0);
    let mut folders = Vec::new();
    find(&node.folder.join("recordings"), &mut folders);
    let mut lengths: Vec<f64> = folders
        .iter()
        .filter(|path| path.ends_with("manifest.json"))
        .map(|path| {
            let manifest: hotline_wire::recording::Manifest =
                serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            assert!(manifest.complete);
            // Two channels of 8,000 bytes a second.
            manifest.chunks.iter().map(|chunk| chunk.bytes).sum::<u64>() as f64 / 16_000.0
        })
        .collect();
    lengths.sort_by(f64::total_cmp);
    let [short, long] = lengths[..] else { panic!("{lengths:?}") };
    for (recorded, took) in [(short, clean.took), (long, bad.took)] {
        let took = took.as_secs_f64();
        // The answer and the BYE travel as well, and may have to be repeated.
        assert!((took - 0.3..took + 2.5).contains(&recorded), "{recorded} s were recorded of {took} s");
    }
}

fn find(folder: &std::path::Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { find(&path, into) } else { into.push(path) }
    }
}

#[test]
fn calls_are_set_up_and_ended_at_ten_percent_loss() {
    let node = Running::start("setup", 2, file("rules: [{dial: \"600\", play: {tone: 440, ms: 6000}}]"));
    node.world.set(WORSE);
    const CALLS: u16 = 20;
    node.at_phones(move || async move {
        let mut callers = Vec::new();
        for n in 0..CALLS {
            let mut caller = Phone::start(config(&format!("caller{n}"), 0)).await.unwrap();
            caller.register().await.unwrap();
            callers.push(caller);
        }
        for caller in &mut callers {
            caller.call(&number("600")).await.unwrap();
        }
        for caller in &mut callers {
            caller.wait_answered(PATIENCE).await.unwrap();
        }
        for (n, caller) in callers.iter_mut().enumerate() {
            if n % 2 == 0 {
                // Where the others took long to be set up, this one may be over.
                let _ = caller.hangup().await;
            }
            let ended = caller.wait_ended(PATIENCE).await.unwrap();
            assert!(matches!(ended, PhoneEvent::Ended { .. }), "{ended:?}");
        }
    });
    node.wait("the end of all calls", "sessions", 0);
    assert_eq!(node.metric("calls_started"), u64::from(CALLS), "no repetition became a call of its own");
    assert_eq!(node.metric("calls_answered"), u64::from(CALLS));
    assert_eq!(node.metric("calls_ended"), u64::from(CALLS));
    assert_eq!(node.metric("media_legs"), 0);
    assert_eq!(node.metric("registrations"), u64::from(CALLS));
    let counts = node.world.counts();
    println!("{CALLS} calls and registrations; of the datagrams {} were lost, {} passed", counts.lost, counts.passed);
    assert!(counts.lost > 10, "{counts:?}");
}

/// Answers, and collects fifty digits.
struct Collects(Mutex<Vec<String>>);

const DIGITS: &str = "12345678901122334455667788990000*#1470258036963852";

#[async_trait]
impl Decisions for Collects {
    async fn decide(&self, input: &CallInput) -> Result<Decision, Fault> {
        let script = match &input.event {
            CallEvent::Arrived { .. } => Some(vec![
                Verb::Answer,
                Verb::Gather {
                    prompts: vec![],
                    max_digits: 50,
                    terminators: String::new(),
                    first_digit_ms: 20_000,
                    next_digit_ms: 5_000,
                    secret: false,
                },
            ]),
            CallEvent::ScriptEnded { result: VerbResult::Digits { digits }, .. } => {
                self.0.lock().unwrap().push(digits.expose().clone());
                Some(vec![Verb::Hangup])
            }
            _ => None,
        };
        let label = format!("{}:test", input.seq);
        Ok(Decision { tenant: TenantId::from_u128(1), label, script, fallback: None, tap: None })
    }

    async fn directory(&self, _: &DirectoryInput) -> Result<DirectoryOutput, Fault> {
        Ok(DirectoryOutput::Noted)
    }
}

/// A queue that stays empty.
struct Nothing;

#[async_trait]
impl NodeCommands for Nothing {
    async fn open(&self, _: hotline_base::NodeId) -> Result<String, Fault> {
        Ok("none".into())
    }
    async fn send(&self, _: hotline_base::NodeId, _: &NodeCommand) -> Result<(), Fault> {
        Ok(())
    }
    async fn receive(&self, _: hotline_base::NodeId, wait: Duration) -> Result<Vec<ReceivedCommand>, Fault> {
        tokio::time::sleep(wait).await;
        Ok(Vec::new())
    }
    async fn acknowledge(&self, _: hotline_base::NodeId, _: &str) -> Result<(), Fault> {
        Ok(())
    }
    async fn close(&self, _: hotline_base::NodeId) -> Result<(), Fault> {
        Ok(())
    }
}

#[test]
fn fifty_keys_are_right_at_ten_percent_loss() {
    let collects = Arc::new(Collects(Mutex::new(Vec::new())));
    let source = Source::Remote {
        decisions: collects.clone(),
        commands: Arc::new(Nothing),
        objects: Arc::new(MemoryObjects::default()),
    };
    let node = Running::start("digits", 3, source);
    node.world.set(WORSE);
    node.at_phones(|| async {
        let mut caller = Phone::start(config("caller", 0)).await.unwrap();
        caller.call(&number("100")).await.unwrap();
        caller.wait_answered(PATIENCE).await.unwrap();
        caller.send_digits(DIGITS).await.unwrap();
        caller.wait_ended(PATIENCE).await.unwrap();
    });
    assert_eq!(*collects.0.lock().unwrap(), [DIGITS]);
    let counts = node.world.counts();
    println!("50 keys; of the datagrams {} were lost, {} passed", counts.lost, counts.passed);
    assert!(counts.lost > 20, "{counts:?}");
}
