//! Nodes with functions that a test looks into, and softphones around them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hotline_base::{AgentId, CommandId, ContactId, NodeId, OfferId, RecordingId, TenantId, Timestamp};
use hotline_phone::{Codec, Microphone, Phone, PhoneConfig, PhoneEvent, tone_presence};
use hotline_ports::memory::MemoryObjects;
use hotline_ports::{Fault, NodeCommands, ReceivedCommand};
use hotline_wire::legs::{DialFailure, DialParty};
use hotline_wire::node::{
    CallEvent, CallInput, Decision, DirectoryInput, DirectoryOutput, Fallback, MediaScript, NodeAction, NodeCommand,
    Prompt, RingAgent, Verb,
};
use media_node::Source;
use media_node::decisions::Decisions;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Running, start_with};

pub const TEN: Duration = Duration::from_secs(10);
/// The tone of whoever waits.
pub const MUSIC: u16 = 300;
/// The tone of the fallback.
pub const CALM: u16 = 700;

pub fn tone(hz: u16) -> Prompt {
    Prompt::Tone { hz: vec![hz], on_ms: 1_000, off_ms: 0, times: 1, then: vec![] }
}

pub fn fallback() -> Fallback {
    Fallback { apology: vec![], music: tone(CALM), lang: Default::default(), give_up_ms: 60_000 }
}

/// Plays music to whoever calls, and something else to a party who is called without an agent.
fn usual(event: &CallEvent, has_agent: bool) -> Option<MediaScript> {
    match event {
        CallEvent::PartyAnswered { .. } if has_agent => None,
        CallEvent::Arrived { .. } => {
            Some(vec![Verb::Answer, Verb::Hold { music: tone(MUSIC), announce: vec![], keys: String::new() }])
        }
        CallEvent::PartyAnswered { .. } => {
            Some(vec![Verb::Hold { music: tone(500), announce: vec![], keys: String::new() }])
        }
        _ => None,
    }
}

/// What the functions were told.
#[derive(Default)]
pub struct Functions {
    pub inputs: Mutex<Vec<CallInput>>,
    /// Reports of failed offers are noted at once and answered when this is over.
    pub slow_on_failures: AtomicBool,
    /// Reports of recordings fail.
    pub deaf_to_recordings: AtomicBool,
    /// What phones and nodes said of themselves.
    pub directory: Mutex<Vec<DirectoryInput>>,
    /// The node is told that its calls of before were taken over.
    pub taken_over: Mutex<Option<Timestamp>>,
}

#[async_trait]
impl Decisions for Functions {
    async fn decide(&self, input: &CallInput) -> Result<Decision, Fault> {
        let recording = matches!(input.event, CallEvent::RecordingEnded { .. });
        if recording && self.deaf_to_recordings.load(Ordering::Relaxed) {
            return Err(Fault::transient("test", "deaf"));
        }
        let has_agent = {
            let mut inputs = self.inputs.lock().unwrap();
            inputs.push(input.clone());
            let answered = |i: &CallInput| matches!(i.event, CallEvent::OfferAnswered { .. });
            inputs.iter().any(|i| i.contact == input.contact && answered(i))
        };
        let failure = matches!(input.event, CallEvent::OfferFailed { .. });
        while failure && self.slow_on_failures.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Decision {
            tenant: TenantId::from_u128(9),
            label: "test".into(),
            fallback: Some(fallback()),
            script: usual(&input.event, has_agent),
            tap: None,
        })
    }

    async fn directory(&self, input: &DirectoryInput) -> Result<DirectoryOutput, Fault> {
        self.directory.lock().unwrap().push(input.clone());
        let taken_over = *self.taken_over.lock().unwrap();
        Ok(match input {
            DirectoryInput::NodeAlive { .. } if taken_over.is_some() => {
                DirectoryOutput::TakenOver { before: taken_over.unwrap() }
            }
            DirectoryInput::Lookup { sip_user } => {
                let ha1 = hotline_sip::api::Ha1::of(sip_user, "hotline", "secret");
                DirectoryOutput::Account {
                    tenant: TenantId::from_u128(9),
                    agent: AgentId::from_u128(5),
                    ha1_md5: ha1.md5.into(),
                    ha1_sha256: ha1.sha256.into(),
                }
            }
            _ => DirectoryOutput::Noted,
        })
    }
}

/// A queue in this process.
struct Queue {
    receiver: AsyncMutex<UnboundedReceiver<NodeCommand>>,
}

#[async_trait]
impl NodeCommands for Queue {
    async fn open(&self, _: NodeId) -> Result<String, Fault> {
        Ok("test".into())
    }
    async fn send(&self, _: NodeId, _: &NodeCommand) -> Result<(), Fault> {
        Ok(())
    }
    async fn receive(&self, _: NodeId, wait: Duration) -> Result<Vec<ReceivedCommand>, Fault> {
        let got = tokio::time::timeout(wait, async { self.receiver.lock().await.recv().await }).await;
        let command = got.ok().flatten();
        Ok(command.map(|c| ReceivedCommand { command: Ok(c), receipt: "r".into() }).into_iter().collect())
    }
    async fn acknowledge(&self, _: NodeId, _: &str) -> Result<(), Fault> {
        Ok(())
    }
    async fn close(&self, _: NodeId) -> Result<(), Fault> {
        Ok(())
    }
}

fn source(functions: &Arc<Functions>, objects: &Arc<MemoryObjects>) -> (UnboundedSender<NodeCommand>, Source) {
    let (sender, receiver) = unbounded_channel();
    let source = Source::Remote {
        decisions: functions.clone(),
        commands: Arc::new(Queue { receiver: AsyncMutex::new(receiver) }),
        objects: objects.clone(),
    };
    (sender, source)
}

/// A node of a fleet.
pub struct Member {
    pub running: Running,
    pub functions: Arc<Functions>,
    pub objects: Arc<MemoryObjects>,
    sender: UnboundedSender<NodeCommand>,
    next_command: u128,
}

impl Member {
    pub fn start(name: &str, ports: &str, env: &[(&str, &str)]) -> Self {
        Self::start_with("", name, ports, env)
    }

    /// With a configuration text besides.
    pub fn start_with(text: &str, name: &str, ports: &str, env: &[(&str, &str)]) -> Self {
        let functions = Arc::new(Functions::default());
        let objects = Arc::new(MemoryObjects::default());
        let (sender, source) = source(&functions, &objects);
        let running = start_with(text, name, ports, || source, env);
        Self { running, functions, objects, sender, next_command: 1 }
    }

    /// Ends the node without a word and starts another in its place.
    pub fn restart(&mut self) {
        let (sender, source) = source(&self.functions, &self.objects);
        self.running.restart(source);
        self.sender = sender;
    }

    pub fn events(&self) -> Vec<CallEvent> {
        self.functions.inputs.lock().unwrap().iter().map(|i| i.event.clone()).collect()
    }

    /// The first of the inputs that gives something.
    pub fn find<T>(&self, wanted: impl Fn(&CallInput) -> Option<T>) -> Option<T> {
        self.functions.inputs.lock().unwrap().iter().find_map(wanted)
    }

    /// Waits for an event.
    pub fn told<T>(&self, what: &str, wanted: impl Fn(&CallEvent) -> Option<T>) -> T {
        let end = Instant::now() + TEN;
        loop {
            if let Some(found) = self.find(|input| wanted(&input.event)) {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain: {what}; there were {:#?}", self.events());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The contact of the n-th call that arrived.
    pub fn contact(&self, n: usize) -> ContactId {
        let end = Instant::now() + TEN;
        loop {
            let arrived = |i: &&CallInput| matches!(i.event, CallEvent::Arrived { .. });
            let found = self.functions.inputs.lock().unwrap().iter().filter(arrived).nth(n).map(|i| i.contact);
            if let Some(contact) = found {
                return contact;
            }
            assert!(Instant::now() < end, "call {n} did not arrive");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn command(&mut self, contact: ContactId, action: NodeAction) {
        self.next_command += 1;
        self.sender
            .send(NodeCommand {
                id: CommandId::from_u128(self.next_command),
                contact,
                expires: Timestamp::from_millis(i64::MAX),
                action,
            })
            .unwrap();
    }

    pub fn phone(&self, user: &str, hz: u32, auto_answer: bool) -> Phone {
        self.phone_at(self, user, hz, auto_answer)
    }

    /// A phone of another node that outlives it: it runs with this one.
    fn phone_at(&self, node: &Member, user: &str, hz: u32, auto_answer: bool) -> Phone {
        self.phone_with(node, user, hz, auto_answer, |_| {})
    }

    fn phone_with(
        &self,
        node: &Member,
        user: &str,
        hz: u32,
        auto_answer: bool,
        more: impl FnOnce(&mut PhoneConfig),
    ) -> Phone {
        let mut config = PhoneConfig::new("127.0.0.1:0".parse().unwrap(), node.running.sip);
        config.user = user.into();
        config.password = Some("secret".into());
        config.microphone = Microphone::Tone(hz);
        config.auto_answer = auto_answer.then_some(Duration::ZERO);
        more(&mut config);
        self.running.runtime.block_on(Phone::start(config)).unwrap()
    }

    /// An agent's phone, registered.
    pub fn agent(&self, user: &str, hz: u32, auto_answer: bool) -> Phone {
        let mut phone = self.phone(user, hz, auto_answer);
        self.running.runtime.block_on(phone.register()).unwrap();
        phone
    }

    /// The same with other codecs; it answers by itself.
    pub fn agent_with(&self, user: &str, hz: u32, codecs: &[Codec]) -> Phone {
        let mut phone = self.phone_with(self, user, hz, true, |config| config.codecs = codecs.to_vec());
        self.running.runtime.block_on(phone.register()).unwrap();
        phone
    }

    /// A caller who hears the music.
    pub fn caller(&self, hz: u32) -> Phone {
        self.caller_at(self, hz)
    }

    /// A caller of another node who outlives it.
    pub fn caller_at(&self, node: &Member, hz: u32) -> Phone {
        let mut phone = self.phone_at(node, "caller", hz, false);
        self.running.runtime.block_on(async {
            phone.call(&format!("sip:100@{}", node.running.sip)).await.unwrap();
            phone.wait_answered(TEN).await.unwrap();
        });
        wait("the music", || hears(&phone, u32::from(MUSIC)));
        phone
    }

    pub fn block_on<T>(&self, what: impl Future<Output = T>) -> T {
        self.running.runtime.block_on(what)
    }
}

pub fn ring(n: u128, user: &str, at: &Member) -> RingAgent {
    RingAgent {
        offer: OfferId::from_u128(n),
        agent: AgentId::from_u128(n),
        sip_user: user.into(),
        phone_node: at.running.node().id(),
        ring_timeout_ms: 10_000,
        caller_label: "billing".to_string().into(),
        whisper: vec![],
        record: Some(RecordingId::from_u128(n)),
        phone_address: Some(at.running.sip.to_string()),
        arrange: None,
        replaces: None,
        number: None,
    }
}

pub fn offer(n: u128) -> OfferId {
    OfferId::from_u128(n)
}

/// Waits until something is so.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        // Paces the loop; nothing depends on its length.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a tone is in all that a phone heard last, 400 ms.
pub fn hears(phone: &Phone, hz: u32) -> bool {
    let heard = phone.heard();
    let tail = &heard[heard.len().saturating_sub(3_200)..];
    tail.len() == 3_200 && tone_presence(tail, hz) > 0.9
}

/// Whether these tones are heard and those are not, in what a phone heard last.
pub fn hears_only(phone: &Phone, these: &[u32], not_those: &[u32]) -> bool {
    let heard = phone.heard();
    let tail = &heard[heard.len().saturating_sub(3_200)..];
    tail.len() == 3_200
        && these.iter().all(|hz| tone_presence(tail, *hz) > 0.9)
        && not_those.iter().all(|hz| tone_presence(tail, *hz) < 0.1)
}

/// Whether a phone's call ended.
pub fn ended(phone: &mut Phone, member: &Member) -> bool {
    member.block_on(async {
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(1), phone.next_event()).await {}
    });
    phone.seen().iter().any(|event| matches!(event, PhoneEvent::Ended { .. }))
}

/// A contact named now; `n` tells it from others.
pub fn contact(n: u128) -> ContactId {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    ContactId::new(Timestamp::from_millis(now.as_millis() as i64), n << 8)
}

/// Calls somebody, by way of an agent first where there is one.
pub fn dial(target: &str, agent: Option<RingAgent>) -> NodeAction {
    NodeAction::Dial {
        tenant: TenantId::from_u128(9),
        party: DialParty {
            target: target.to_string().into(),
            caller_id: "+861055550100".into(),
            ring_timeout_ms: 10_000,
            agent,
            ringback: vec![tone(500)],
        },
        fallback: fallback(),
    }
}

/// How a call to outside failed, where it did.
pub fn failed(member: &Member, of: ContactId) -> Option<(DialFailure, Option<u16>)> {
    member.find(|input| match &input.event {
        CallEvent::PartyFailed { reason, sip_status, .. } if input.contact == of => Some((*reason, *sip_status)),
        _ => None,
    })
}
