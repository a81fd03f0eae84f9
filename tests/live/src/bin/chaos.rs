//! A hotline under load whose nodes are killed and whose cloud freezes, by a seed: nobody may be lost.
//!
//! Callers are sipp's (who know nothing of Replaces and are called back) and our own phones (who are taken over);
//! agents are our own phones at both nodes. At the end every contact has ended once and by a reason that can be
//! accounted for, no agent is kept busy, and the nodes carry nothing any more.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use fastrand::Rng;
use hotline_live::hotline::{GATEWAY, Hotline, Session, eventually};
use hotline_live::load::{PatientCallers, contacts};
use hotline_live::staff::{Desk, straight};
use hotline_phone::{Microphone, Phone, PhoneConfig, PhoneEvent};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const NUMBER: &str = "+861055550189";

/// Kills nodes and freezes the cloud under load, and counts who was lost.
#[derive(Parser)]
struct Options {
    /// For so long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Which disasters come when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// New sipp calls in a minute
    #[arg(long, default_value_t = 20)]
    calls_per_minute: usize,
    /// Callers who call again and again from phones that can be taken over
    #[arg(long, default_value_t = 4)]
    callers: usize,
    /// Agents
    #[arg(long, default_value_t = 10)]
    agents: usize,
}

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let hotline = Hotline::fresh()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(&hotline, &options))
}

async fn run(hotline: &Hotline, options: &Options) -> Result<()> {
    let flow = straight("chaos");
    let desk = Desk { queue: "chaos", number: NUMBER, flow: &flow, wrap_up_ms: 0 };
    desk.open(hotline)?;
    let admin = hotline.session("admin", 0)?;
    // Whoever is not reached is called again soon: the run is to end.
    let queue = json!({"name": "chaos", "wrap_up_ms": 0, "ring_timeout_ms": 10_000, "max_waiting": 1_000,
                       "callback": {"retry_after_ms": 30_000, "attempts": 10}});
    let answer = admin.send("PUT", "/v1/queues/chaos", Some(&queue))?;
    ensure!(answer.status < 300, "{} {}", answer.status, answer.body);
    let over = Arc::new(AtomicBool::new(false));
    let mut sessions = Vec::new();
    for nth in 0..options.agents {
        let hired = desk.hire(&admin, nth)?;
        let session = Arc::new(hired.sign_in(hotline)?);
        let mut config = hired.phone("127.0.0.1:0".parse()?, hotline.node(nth % 2)?.parse()?);
        config.auto_answer = Some(Duration::from_millis(300));
        tokio::spawn(agent(Phone::start(config).await?));
        sessions.push(session);
    }
    let closed = Arc::new(AtomicBool::new(false));
    let beats = std::thread::spawn({
        let (closed, sessions) = (closed.clone(), sessions.clone());
        move || keep_available(&sessions, &closed)
    });
    let gateway = Process(answerers(hotline)?);
    let calls = Arc::new(AtomicU64::new(0));
    let load = options.calls_per_minute as f64 * options.minutes;
    let sipp = PatientCallers {
        number: NUMBER,
        callers: load as usize,
        rate: options.calls_per_minute,
        first: "+86138",
        port: 17_600,
    };
    let mut sipp = Process(sipp.start_per(hotline, hotline.sip(), "chaos", Duration::from_secs(60))?);
    let mut callers = Vec::new();
    for nth in 0..options.callers {
        let node: std::net::SocketAddr = hotline.node(nth % 2)?.parse()?;
        let (over, calls) = (over.clone(), calls.clone());
        callers.push(tokio::spawn(caller(nth, node, over, calls)));
    }

    let until = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    let done = tokio::task::block_in_place(|| disasters(hotline, &mut Rng::with_seed(options.seed), until))?;
    println!("disasters: {done:?}; now everybody is served");
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await??;
    }
    let supervisor = hotline.session("supervisor", 0)?;
    let all = tokio::task::block_in_place(|| {
        eventually(Duration::from_secs(300), || {
            let all = contacts(&supervisor, NUMBER)?;
            let open: Vec<&Value> = all.iter().filter(|contact| contact["phase"] != "ended").collect();
            ensure!(open.is_empty(), "{} of {} contacts are open, such as {}", open.len(), all.len(), open[0]);
            Ok(all)
        })
    })?;
    let _ = sipp.0.kill();
    drop(gateway);
    let reasons = account(&supervisor, &all)?;
    let agents_kept = tokio::task::block_in_place(|| {
        eventually(Duration::from_secs(30), || {
            let kept: Vec<String> =
                sessions.iter().filter_map(|session| busy(session).transpose()).collect::<Result<_>>()?;
            ensure!(kept.is_empty(), "agents are kept: {kept:?}");
            Ok(())
        })
    });
    closed.store(true, Ordering::Relaxed);
    beats.join().ok().context("heartbeats")?;
    agents_kept?;
    for nth in 0..2 {
        for name in ["sessions", "relays", "media_legs"] {
            tokio::task::block_in_place(|| {
                eventually(Duration::from_secs(90), || {
                    let count = hotline.node_metric(nth, name)?;
                    ensure!(count == 0, "node {} still has {count} {name}", nth + 1);
                    Ok(())
                })
            })?;
        }
    }
    println!(
        "{}",
        json!({"scenario": "chaos", "minutes": options.minutes, "seed": options.seed, "disasters": done,
               "phones_calls": calls.load(Ordering::Relaxed), "contacts": all.len(), "became": reasons})
    );
    Ok(())
}

/// An agent's phone: registers again and again until it is let, talks for three seconds, hangs up.
async fn agent(mut phone: Phone) -> Result<()> {
    while phone.register().await.is_err() {}
    while let Some(event) = phone.next_event().await {
        if matches!(event, PhoneEvent::Answered) {
            // The length of a talk; the caller may end it before.
            tokio::time::sleep(Duration::from_secs(3)).await;
            let _ = phone.hangup().await;
        }
    }
    Ok(())
}

/// Consoles of all agents: heartbeats, and Available again after whatever went wrong.
fn keep_available(sessions: &[Arc<Session>], over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        for session in sessions {
            let _ = session.send("POST", "/v1/agents/me/heartbeat", Some(&json!({"console": "chaos"})));
            let idle = session.get("/v1/agents/me").map(|me| me["state"]["state"].as_str().map(str::to_owned));
            if matches!(idle.ok().flatten().as_deref(), Some("away" | "offline")) {
                let _ = session.send("PUT", "/v1/agents/me/state", Some(&json!({"state": "available"})));
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// What an agent still has to do with a call.
fn busy(session: &Session) -> Result<Option<String>> {
    let me = session.get("/v1/agents/me")?;
    let state = me["state"]["state"].as_str().unwrap_or_default();
    Ok(matches!(state, "busy" | "offered").then(|| me["state"].to_string()))
}

/// Calls again and again; each call goes on until the other side ends it, or it is not answered.
async fn caller(nth: usize, node: std::net::SocketAddr, over: Arc<AtomicBool>, calls: Arc<AtomicU64>) -> Result<()> {
    let mut config = PhoneConfig::new("127.0.0.1:0".parse()?, node);
    config.user = format!("+8613700000{nth:03}");
    config.microphone = Microphone::Silence;
    let mut phone = Phone::start(config).await?;
    while !over.load(Ordering::Relaxed) {
        phone.call(&format!("sip:{}@{node}", NUMBER.trim_start_matches('+'))).await?;
        calls.fetch_add(1, Ordering::Relaxed);
        // A node that died says nothing: then the caller gives up.
        if phone.wait_ended(Duration::from_secs(120)).await.is_err() {
            let _ = phone.hangup().await;
            phone.wait_ended(Duration::from_secs(1)).await?;
        }
        // Nobody dials again within a blink.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Whoever is called back: sipp answers, listens for three seconds and hangs up.
fn answerers(hotline: &Hotline) -> Result<Child> {
    let folder = hotline.scratch("chaos-party")?;
    let (host, port) = GATEWAY.split_once(':').context("gateway")?;
    std::fs::write(folder.join("party.xml"), PARTY)?;
    Command::new("sipp")
        .args(["-sf", "party.xml", "-i", host, "-p", port, "-mp", "17950", "-nostdin", "-trace_err", "-rtp_echo"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("sipp (Debian package sip-tester)")
}

/// One disaster after the other; gives how many of which kind.
fn disasters(hotline: &Hotline, random: &mut Rng, until: Instant) -> Result<BTreeMap<&'static str, u32>> {
    let mut done = BTreeMap::new();
    loop {
        let quiet = Duration::from_millis(8_000 + random.u64(..14_000));
        let (kind, node, lasts) =
            (random.u64(..4), random.u64(..2), Duration::from_millis(2_000 + random.u64(..5_000)));
        if Instant::now() + quiet > until {
            return Ok(done);
        }
        std::thread::sleep(quiet);
        let name = match kind {
            0 | 1 => {
                signal(hotline.pid(&format!("nodes/{node}"))?, libc::SIGKILL);
                "node killed and started again"
            }
            2 => {
                let number = (node + 1).to_string();
                hotline.command(&["node", "stop", &number, "--hard"])?;
                std::thread::sleep(Duration::from_secs(20));
                hotline.command(&["node", "start", &number])?;
                "node killed and dead for 20 s"
            }
            _ => {
                let cloud = hotline.pid("cloud")?;
                signal(cloud, libc::SIGSTOP);
                std::thread::sleep(lasts);
                signal(cloud, libc::SIGCONT);
                "cloud frozen"
            }
        };
        println!("{name} (node {}, {lasts:?})", node + 1);
        *done.entry(name).or_default() += 1;
    }
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: kill(2) takes plain integers.
    unsafe { libc::kill(pid as i32, signal) };
}

/// What became of all contacts; fails where one has not ended exactly once, or by nothing that explains it.
fn account(supervisor: &Session, contacts: &[Value]) -> Result<BTreeMap<String, usize>> {
    let mut became = BTreeMap::<String, usize>::new();
    let mut wrong = Vec::new();
    for contact in contacts {
        let id = contact["contact"].as_str().context("a contact's id")?;
        let trace = supervisor.get(&format!("/v1/contacts/{id}/trace"))?;
        let steps = trace["steps"].as_array().context("steps")?;
        let facts: Vec<&str> = steps.iter().filter_map(|step| step["fact"].as_str()).collect();
        let end = steps.iter().find(|step| step["fact"] == "ContactEnded");
        let reason = end.and_then(|end| end["body"]["reason"].as_str()).unwrap_or("nothing");
        let count = |name: &str| facts.iter().filter(|fact| **fact == name).count();
        if count("ContactEnded") != 1 {
            wrong.push(format!("{id} has {} ends", count("ContactEnded")));
        }
        let has = |name: &str| count(name) > 0;
        let what = match (has("LegsBridged"), has("NodeLost"), has("CallbackRequested"), reason) {
            (true, false, ..) => "answered",
            (true, true, false, _) => "answered, and its node died",
            (true, true, true, _) => "answered, its node died, called back",
            (false, true, true, _) => "its node died, called back",
            (false, true, false, "caller_hung_up" | "cancelled") => "its node died, gone meanwhile",
            (false, false, false, "caller_hung_up" | "cancelled") => "gave up",
            (false, _, _, "merged") => "called in before the call back",
            _ => {
                wrong.push(format!("{id} ended by {reason}: {facts:?}"));
                "lost"
            }
        };
        *became.entry(what.to_owned()).or_default() += 1;
    }
    println!("{became:#?}");
    if !wrong.is_empty() {
        bail!("{} contacts are not accounted for:\n{}", wrong.len(), wrong.join("\n"));
    }
    Ok(became)
}

/// A party who answers and hangs up after three seconds.
const PARTY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<scenario name="party">
  <recv request="INVITE"/>
  <send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:party@[local_ip]:[local_port]>
Content-Length: 0

]]></send>
  <send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:party@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=party 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
  <recv request="ACK"/>
  <recv request="BYE" timeout="30000" ontimeout="over"/>
  <send next="end"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
  <label id="over"/>
  <nop/>
  <label id="end"/>
</scenario>
"#;
