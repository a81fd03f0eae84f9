//! SIPVicious against a node that asks for accounts.

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use hotline_base::{AgentId, NodeId, TenantId};
use hotline_interop::eventually;
use hotline_interop::sipvicious::{Attacker, Helper};
use hotline_phone::{Phone, PhoneConfig};
use hotline_ports::memory::MemoryObjects;
use hotline_ports::{Fault, NodeCommands, ReceivedCommand};
use hotline_sip::api::Ha1;
use hotline_wire::node::{CallEvent, CallInput, Decision, DirectoryInput, DirectoryOutput, NodeCommand, Prompt, Verb};
use media_node::Source;
use media_node::decisions::Decisions;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::node::RunningNode;
use super::{hears, udp};

/// A user whose phone is registered, one whose phone is away, and one that does not exist.
const USERS: [&str; 3] = ["120", "150", "180"];
/// Users with an account and their passwords.
pub const ACCOUNTS: [(&str, &str); 3] = [("120", "word39"), ("150", "word39"), ("160", "word3")];
const ATTACKER: Attacker = Attacker(Ipv4Addr::new(127, 0, 0, 66));
/// Somebody else who has no account.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 67);

/// The functions: some accounts, and music for whoever calls.
#[derive(Default)]
pub struct Functions {
    looked_up: Mutex<BTreeMap<String, u32>>,
    /// How often the node said that it is alive.
    pub renewals: AtomicU32,
}

impl Functions {
    fn looked_up(&self, user: &str) -> u32 {
        self.looked_up.lock().unwrap_or_else(PoisonError::into_inner).get(user).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Decisions for Functions {
    async fn decide(&self, input: &CallInput) -> Result<Decision, Fault> {
        let music = Prompt::Tone { hz: vec![440], on_ms: 1_000, off_ms: 0, times: 1, then: vec![] };
        let script = matches!(input.event, CallEvent::Arrived { .. })
            .then(|| vec![Verb::Answer, Verb::Hold { music, announce: vec![], keys: String::new() }]);
        Ok(Decision { tenant: TenantId::from_u128(1), label: "music".into(), script, fallback: None, tap: None })
    }

    async fn directory(&self, input: &DirectoryInput) -> Result<DirectoryOutput, Fault> {
        if matches!(input, DirectoryInput::NodeAlive { .. }) {
            self.renewals.fetch_add(1, Ordering::Relaxed);
        }
        let DirectoryInput::Lookup { sip_user } = input else { return Ok(DirectoryOutput::Noted) };
        *self.looked_up.lock().unwrap_or_else(PoisonError::into_inner).entry(sip_user.clone()).or_default() += 1;
        Ok(match ACCOUNTS.iter().find(|(user, _)| user == sip_user) {
            Some((user, password)) => {
                let ha1 = Ha1::of(user, "hotline", password);
                DirectoryOutput::Account {
                    tenant: TenantId::from_u128(1),
                    agent: AgentId::from_u128(2),
                    ha1_md5: ha1.md5.into(),
                    ha1_sha256: ha1.sha256.into(),
                }
            }
            None => DirectoryOutput::Unknown,
        })
    }
}

/// A queue that stays empty.
struct Nothing;

#[async_trait]
impl NodeCommands for Nothing {
    async fn open(&self, _: NodeId) -> Result<String, Fault> {
        Ok("none".into())
    }
    async fn send(&self, _: NodeId, _: &NodeCommand) -> Result<(), Fault> {
        Ok(())
    }
    async fn receive(&self, _: NodeId, wait: Duration) -> Result<Vec<ReceivedCommand>, Fault> {
        tokio::time::sleep(wait).await;
        Ok(Vec::new())
    }
    async fn acknowledge(&self, _: NodeId, _: &str) -> Result<(), Fault> {
        Ok(())
    }
    async fn close(&self, _: NodeId) -> Result<(), Fault> {
        Ok(())
    }
}

/// A node with several workers, its functions, and the phone of the first user, registered from an address of its own.
pub fn setup(rtp_ports: &str) -> Result<(RunningNode, Arc<Functions>, Phone)> {
    let functions = Arc::new(Functions::default());
    let source = Source::Remote {
        decisions: functions.clone(),
        commands: Arc::new(Nothing),
        objects: Arc::new(MemoryObjects::default()),
    };
    // Nobody is trusted: svwar calls from 127.0.0.1, whatever address it is told to take.
    let settings = [("SIP_WORKERS", "4"), ("SIP_TRUSTED", "10.99.99.99/32")];
    let node = RunningNode::start_with(rtp_ports, source, &settings)?;
    let phone = node.run(registered(udp(&node)?, ACCOUNTS[0]))?;
    Ok((node, functions, phone))
}

/// The phone of an account, registered from an address of its own.
pub async fn registered(node: SocketAddr, (user, password): (&str, &str)) -> Result<Phone> {
    let mut config = PhoneConfig::new("127.0.0.2:0".parse()?, node);
    (config.user, config.password) = (user.into(), Some(password.into()));
    let mut phone = Phone::start(config).await?;
    phone.register().await?;
    Ok(phone)
}

/// Asks for users, one after the other with one Call-ID: so all are asked of one worker.
struct Prober {
    socket: UdpSocket,
    node: SocketAddr,
    sent: u32,
}

impl Prober {
    fn new(address: Ipv4Addr, node: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(Self { socket, node, sent: 0 })
    }

    /// The final answer to a request for a user.
    fn raw(&mut self, user: &str, method: &str, more: &str) -> Result<String> {
        self.sent += 1;
        let (own, node, sent) = (self.socket.local_addr()?, self.node, self.sent);
        let branch = format!("z9hG4bK-probe-{sent:04}");
        let uri = if method == "REGISTER" { format!("sip:{node}") } else { format!("sip:{user}@{node}") };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@{node}>;tag=1\r\nTo: <sip:{user}@{node}>\r\nCall-ID: scan\r\nCSeq: {sent} {method}\r\n\
             Contact: <sip:{user}@{own}>\r\n{more}Content-Length: 0\r\n\r\n"
        );
        let mut buffer = [0u8; 8_192];
        let answer = eventually(Duration::from_secs(10), || {
            self.socket.send_to(text.as_bytes(), node)?;
            loop {
                let length = self.socket.recv(&mut buffer).with_context(|| format!("no answer to {text}"))?;
                let answer = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                if answer.contains(&branch) && !answer.starts_with("SIP/2.0 1") {
                    return Ok(answer);
                }
            }
        })?;
        Ok(answer.replace(&branch, "BRANCH").replace(&format!("CSeq: {sent} "), "CSeq: "))
    }

    /// The same with whatever differs by itself made equal: tags, nonces and the user.
    fn ask(&mut self, user: &str, method: &str, more: &str) -> Result<String> {
        let answer = self.raw(user, method, more)?.replace(&format!("sip:{user}@"), "sip:USER@");
        let lines = answer.split("\r\n").map(|line| {
            let line = match line.split_once(" nonce=\"") {
                Some((before, rest)) => format!("{before} nonce={}", rest.split_once('"').map_or("", |(_, end)| end)),
                None => line.to_owned(),
            };
            match line.split_once(">;tag=") {
                Some((before, _)) if line.starts_with("To:") => format!("{before}>;tag="),
                _ => line,
            }
        });
        Ok(lines.collect::<Vec<_>>().join("\r\n"))
    }

    /// A digest with a right nonce and a wrong response.
    fn guess(&mut self, user: &str, method: &str) -> Result<String> {
        let challenge = self.raw(user, method, "")?;
        let nonce = challenge.split(" nonce=\"").nth(1).and_then(|rest| rest.split('"').next());
        let nonce = nonce.with_context(|| format!("no challenge: {challenge}"))?.to_owned();
        let uri = if method == "REGISTER" { format!("sip:{}", self.node) } else { format!("sip:{user}@{}", self.node) };
        let header = format!(
            "Authorization: Digest username=\"{user}\", realm=\"hotline\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{}\", algorithm=MD5\r\n",
            "0".repeat(32)
        );
        self.ask(user, method, &header)
    }
}

pub fn learn_nothing() -> Result<()> {
    let (node, functions, phone) = setup("45500-45549")?;
    let target = udp(&node)?;
    for method in ["OPTIONS", "REGISTER", "INVITE"] {
        let found = ATTACKER.map(target, method)?;
        ensure!(found == [(target.to_string(), "unknown".to_owned())], "svmap by {method}: {found:?}");
    }
    // It finds users where they are told apart.
    let leaky = Leaky::start()?;
    let found = ATTACKER.users(leaky.address, "REGISTER", "118-121")?;
    ensure!(found == [("120".to_owned(), "reqauth".to_owned())], "svwar does not work: {found:?}");
    for method in ["REGISTER", "INVITE", "OPTIONS"] {
        let found = ATTACKER.users(target, method, "100-199")?;
        ensure!(found.is_empty(), "svwar by {method}: {found:?}");
    }

    // Byte for byte, whatever is asked.
    let mut prober = Prober::new(STRANGER, target)?;
    let methods =
        ["REGISTER", "INVITE", "OPTIONS", "SUBSCRIBE", "MESSAGE", "PUBLISH", "BYE", "CANCEL", "NOTIFY", "REFER"];
    for method in methods {
        let answers = USERS.map(|user| prober.ask(user, method, ""));
        same(method, answers)?;
    }
    let mut words = String::new();
    for guess in 0..12 {
        for method in ["REGISTER", "INVITE"] {
            let answers = USERS.map(|user| prober.guess(user, method));
            let answer = same(&format!("guess {guess} by {method}"), answers)?;
            words = answer;
        }
    }
    ensure!(words.starts_with("SIP/2.0 403 "), "no lock-out: {words}");
    let lookups = USERS.map(|user| functions.looked_up(user));
    // That the first one's own phone was looked up a moment ago spared the stranger nothing.
    ensure!(lookups[0] >= 2 && lookups[1] >= 1 && lookups[2] >= 1, "{USERS:?} were looked up {lookups:?} times");
    node.run(phone.stop());
    Ok(())
}

/// One answer for all users, which names nobody's product.
fn same(what: &str, answers: [Result<String>; 3]) -> Result<String> {
    let [registered, away, unknown] = answers;
    let (registered, away, unknown) = (registered?, away?, unknown?);
    ensure!(registered == unknown, "{what}: a registered user is told apart:\n{registered}\n{unknown}");
    ensure!(away == unknown, "{what}: a user is told apart:\n{away}\n{unknown}");
    for header in ["server:", "user-agent:", "organization:", "warning:", "x-"] {
        let named = unknown.to_ascii_lowercase().lines().any(|line| line.starts_with(header));
        ensure!(!named, "{what}: {header} is in the answer:\n{unknown}");
    }
    Ok(unknown)
}

pub fn guesses_in_vain() -> Result<()> {
    let (node, _functions, mut phone) = setup("45550-45599")?;
    let target = udp(&node)?;
    let words: Vec<String> = (0..60).map(|n| format!("word{n}")).collect();
    // A password that comes before the lock-out is found: the tool works.
    let helper = Helper::new(ATTACKER, target)?;
    let found = ATTACKER.password(helper.address, "160", &words)?;
    ensure!(found == [("160".to_owned(), "word3".to_owned())], "svcrack does not work: {found:?}");
    drop(helper);

    let helper = Helper::new(ATTACKER, target)?;
    let address = helper.address;
    let guesser = std::thread::spawn(move || ATTACKER.password(address, ACCOUNTS[0].0, &words));
    eventually(Duration::from_secs(20), || {
        ensure!(helper.answered(403) > 0, "no lock-out yet");
        Ok(())
    })?;
    // Meanwhile the user's own phone registers and calls from elsewhere.
    node.run(async {
        phone.register().await?;
        phone.call(&format!("sip:600@{target}")).await?;
        phone.wait_answered(Duration::from_secs(10)).await?;
        hears(&phone, 440).await?;
        phone.hangup().await?;
        phone.wait_ended(Duration::from_secs(10)).await?;
        anyhow::Ok(())
    })?;
    let found = guesser.join().map_err(|_| anyhow::anyhow!("the guesser broke down"))??;
    ensure!(found.is_empty(), "svcrack found {found:?}");
    let (judged, refused) = (helper.answered(401), helper.answered(403));
    // Ten, and what was on its way to the other workers.
    ensure!((10..=16).contains(&judged), "{judged} guesses were judged, {refused} refused unseen");
    ensure!(judged + refused >= 60, "{judged} guesses were judged, {refused} refused");
    node.run(phone.stop());
    Ok(())
}

/// A registrar that tells users apart, as many do.
struct Leaky {
    address: SocketAddr,
    socket: UdpSocket,
}

impl Leaky {
    fn start() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let (address, own) = (socket.local_addr()?, socket.try_clone()?);
        std::thread::spawn(move || {
            let mut buffer = [0u8; 8_192];
            while let Ok((length @ 1.., from)) = own.recv_from(&mut buffer) {
                let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
                let headers = text.split("\r\n").filter(|line| copied.iter().any(|name| line.starts_with(name)));
                let headers: String = headers.map(|line| format!("{line}\r\n")).collect();
                let known = headers.lines().any(|line| line.starts_with("To:") && line.contains("sip:120@"));
                let status = if known { "401 Unauthorized" } else { "404 Not Found" };
                let _ = own.send_to(format!("SIP/2.0 {status}\r\n{headers}Content-Length: 0\r\n\r\n").as_bytes(), from);
            }
        });
        Ok(Self { address, socket })
    }
}

impl Drop for Leaky {
    fn drop(&mut self) {
        // An empty datagram ends its thread.
        let _ = self.socket.send_to(&[], self.address);
    }
}
