//! What the whole decision path takes on the local cloud: functions, queues and tables included.
//!
//! `rush ring`: one caller waits, one agent becomes Available: how long until the phone rings.
//! `rush queue`: 500 sipp callers arrive in ten seconds for 50 agents; nobody may be lost.
//! The local cloud is a correctness engine of a few hundred table operations a second: its share
//! of these figures is large, and they are upper limits for a real one.

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use hotline_live::hotline::{Hotline, Session, eventually};
use hotline_live::load::{PatientCallers, contacts};
use hotline_live::staff::{Desk, straight};
use hotline_phone::{Phone, PhoneConfig, PhoneEvent};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const NUMBER: &str = "+861055550188";

/// Loads a hotline of its own with real phones and prints what it took.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// An agent becomes Available: how long until the phone rings
    Ring {
        /// How often
        #[arg(long, default_value_t = 50)]
        rounds: usize,
    },
    /// Callers arrive faster than agents can answer
    Queue {
        /// sipp callers
        #[arg(long, default_value_t = 500)]
        callers: usize,
        /// In so many seconds
        #[arg(long, default_value_t = 10)]
        within_s: usize,
        /// Agents, each at a phone
        #[arg(long, default_value_t = 50)]
        agents: usize,
        /// An agent hangs up after so long, milliseconds
        #[arg(long, default_value_t = 3_000)]
        talk_ms: u64,
        /// Nobody waits longer for the end of it all, seconds
        #[arg(long, default_value_t = 400)]
        patience_s: u64,
    },
}

fn main() -> Result<()> {
    let options = Options::parse();
    let hotline = Hotline::fresh()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match options.what {
            What::Ring { rounds } => ring(&hotline, rounds).await,
            What::Queue { callers, within_s, agents, talk_ms, patience_s } => {
                let load = Load { callers, within_s, talk: Duration::from_millis(talk_ms) };
                queue(&hotline, &load, agents, Duration::from_secs(patience_s)).await
            }
        }
    })
}

/// An agent of the queue, at a phone that is registered.
struct Agent {
    phone: Phone,
    session: Arc<Session>,
}

/// Makes the queue, its flow and number, and so many agents.
async fn staff(hotline: &Hotline, agents: usize) -> Result<Vec<Agent>> {
    let flow = straight("rush");
    let desk = Desk { queue: "rush", number: NUMBER, flow: &flow, wrap_up_ms: 0 };
    desk.open(hotline)?;
    let admin = hotline.session("admin", 0)?;
    let mut staff = Vec::with_capacity(agents);
    for nth in 0..agents {
        let hired = desk.hire(&admin, nth)?;
        let mut phone = Phone::start(hired.phone("127.0.0.1:0".parse()?, hotline.node(nth % 2)?.parse()?)).await?;
        phone.register().await?;
        staff.push(Agent { phone, session: Arc::new(hired.sign_in(hotline)?) });
        if nth % 10 == 9 {
            println!("{} of {agents} agents are there", nth + 1);
        }
    }
    Ok(staff)
}

/// Asks for a state; a phone that has just registered may not be known everywhere yet.
fn go(session: &Session, state: &str) -> Result<()> {
    eventually(Duration::from_secs(10), || {
        let answer = session.send("PUT", "/v1/agents/me/state", Some(&json!({"state": state})))?;
        ensure!(answer.status == 200, "state {state}: {} {}", answer.status, answer.body);
        Ok(())
    })
}

async fn ring(hotline: &Hotline, rounds: usize) -> Result<()> {
    let mut agent = staff(hotline, 1).await?.pop().context("an agent")?;
    let supervisor = hotline.session("supervisor", 0)?;
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let number = format!("+86139{round:08}");
        let mut config = PhoneConfig::new("127.0.0.1:0".parse()?, hotline.sip().parse()?);
        config.user.clone_from(&number);
        let mut caller = Phone::start(config).await?;
        caller.call(&format!("sip:{}@{}", NUMBER.trim_start_matches('+'), hotline.sip())).await?;
        caller.wait_answered(Duration::from_secs(20)).await?;
        happened(&supervisor, &number, "ContactEnqueued")?;
        tokio::task::block_in_place(|| {
            agent.session.send("POST", "/v1/agents/me/heartbeat", Some(&json!({"console": "rush"})))
        })?;
        let session = agent.session.clone();
        let before = Instant::now();
        let request = tokio::task::spawn_blocking(move || go(&session, "available").map(|()| Instant::now()));
        agent.phone.wait_incoming(Duration::from_secs(30)).await?;
        let rang = Instant::now();
        let after = request.await??;
        asked.push(rang.duration_since(before));
        answered.push(rang.saturating_duration_since(after));
        agent.phone.answer().await?;
        agent.phone.wait_answered(Duration::from_secs(10)).await?;
        happened(&supervisor, &number, "LegsBridged")?;
        go(&agent.session, "offline")?;
        agent.phone.hangup().await?;
        caller.wait_ended(Duration::from_secs(20)).await?;
        offline(&agent.session)?;
    }
    println!(
        "{}",
        json!({"scenario": "ring", "rounds": rounds, "asked_to_ring_ms": spread(&mut asked),
               "answered_to_ring_ms": spread(&mut answered)})
    );
    println!("an agent asks to be Available → the phone has the INVITE: {}", said(&spread(&mut asked)));
    println!("of it after the API's answer: {}", said(&spread(&mut answered)));
    Ok(())
}

/// Waits until this caller's contact has a fact.
fn happened(supervisor: &Session, number: &str, fact: &str) -> Result<()> {
    tokio::task::block_in_place(|| {
        eventually(Duration::from_secs(20), || {
            let page = supervisor.get(&format!("/v1/contacts?limit=1&party={}", number.replace('+', "%2B")))?;
            let id = page["items"][0]["contact"].as_str().context("no contact of this caller")?;
            let trace = supervisor.get(&format!("/v1/contacts/{id}/trace"))?;
            let mut facts = trace["steps"].as_array().into_iter().flatten();
            ensure!(facts.any(|step| step["fact"] == fact), "no {fact} in {trace}");
            Ok(())
        })
    })
}

/// Waits until an agent is Offline.
fn offline(session: &Session) -> Result<()> {
    tokio::task::block_in_place(|| {
        eventually(Duration::from_secs(20), || {
            let me = session.get("/v1/agents/me")?;
            ensure!(me.to_string().to_lowercase().contains("offline"), "the agent is {me}");
            Ok(())
        })
    })
}

struct Load {
    callers: usize,
    within_s: usize,
    talk: Duration,
}

async fn queue(hotline: &Hotline, load: &Load, agents: usize, patience: Duration) -> Result<()> {
    let staff = staff(hotline, agents).await?;
    let sessions: Vec<Arc<Session>> = staff.iter().map(|agent| agent.session.clone()).collect();
    for session in &sessions {
        tokio::task::block_in_place(|| go(session, "available"))?;
    }
    let over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let beats = tokio::task::spawn_blocking({
        let over = over.clone();
        move || {
            while !over.load(Ordering::Relaxed) {
                for session in &sessions {
                    let _ = session.send("POST", "/v1/agents/me/heartbeat", Some(&json!({"console": "rush"})));
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
    });
    for Agent { mut phone, .. } in staff {
        let (talk, served) = (load.talk, served.clone());
        tokio::spawn(async move {
            while let Some(event) = phone.next_event().await {
                match event {
                    PhoneEvent::Incoming { .. } => drop(phone.answer().await),
                    PhoneEvent::Answered => {
                        tokio::time::sleep(talk).await;
                        if phone.hangup().await.is_ok() {
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    _ => (),
                }
            }
        });
    }
    let started = Instant::now();
    let rate = load.callers.div_ceil(load.within_s);
    let mut sipp = PatientCallers { number: NUMBER, callers: load.callers, rate, first: "+86138", port: 17_600 }
        .start(hotline, hotline.sip(), "rush")?;
    let status = loop {
        if let Some(status) = sipp.try_wait()? {
            break status;
        }
        if started.elapsed() > patience {
            sipp.kill()?;
            bail!("after {patience:?} {} of {} callers were served", served.load(Ordering::Relaxed), load.callers);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let drained = started.elapsed();
    let supervisor = hotline.session("supervisor", 0)?;
    let contacts = tokio::task::block_in_place(|| {
        eventually(Duration::from_secs(60), || {
            let contacts = contacts(&supervisor, NUMBER)?;
            let open = contacts.iter().filter(|c| c["phase"] != "ended").count();
            ensure!(open == 0 && contacts.len() >= load.callers, "{open} of {} contacts are open", contacts.len());
            Ok(contacts)
        })
    })?;
    over.store(true, Ordering::Relaxed);
    beats.await?;
    report(&supervisor, load, &contacts, status.success(), drained)
}

fn report(supervisor: &Session, load: &Load, contacts: &[Value], clean: bool, drained: Duration) -> Result<()> {
    let (mut waits, mut answered, mut reasons) = (Vec::new(), Vec::new(), BTreeMap::<String, usize>::new());
    for contact in contacts {
        let id = contact["contact"].as_str().context("a contact's id")?;
        let trace = supervisor.get(&format!("/v1/contacts/{id}/trace"))?;
        let steps = trace["steps"].as_array().context("steps")?;
        let find = |name: &str| steps.iter().find(|step| step["fact"] == name);
        let end = find("ContactEnded").context("ContactEnded")?;
        let text = end["body"]["reason"].as_str().unwrap_or("?");
        *reasons.entry(text.to_owned()).or_default() += 1;
        let number = |step: &Value, name: &str| step["body"][name].as_u64();
        if let (Some(enqueued), Some(accepted)) = (find("ContactEnqueued"), find("OfferAccepted")) {
            let wait_ms = number(accepted, "wait_ms").with_context(|| format!("no wait_ms in {accepted}"))?;
            let since = number(enqueued, "since").with_context(|| format!("no since in {enqueued}"))?;
            waits.push(Duration::from_millis(wait_ms));
            answered.push((since, since + wait_ms));
        }
    }
    answered.sort_unstable();
    // Who joined later and had an agent more than a second earlier than somebody before.
    let mut latest = 0;
    let overtaken = answered.iter().filter(|(_, at)| {
        let overtook = at + 1_000 < latest;
        latest = latest.max(*at);
        overtook
    });
    let overtaken = overtaken.count();
    println!(
        "{}",
        json!({"scenario": "queue", "callers": load.callers, "contacts": contacts.len(), "answered": waits.len(),
               "reasons": reasons, "wait_ms": spread(&mut waits), "overtakers": overtaken,
               "drained_ms": drained.as_millis() as u64, "sipp_clean": clean})
    );
    println!(
        "{} of {} callers had an agent; wait {}; {overtaken} overtook somebody by more than 1 s; all over after {:.1} s",
        waits.len(),
        load.callers,
        said(&spread(&mut waits)),
        drained.as_secs_f32()
    );
    ensure!(waits.len() == load.callers, "{} callers were lost: {reasons:?}", load.callers - waits.len());
    Ok(())
}

/// p50, p90, p99 and the largest, milliseconds.
fn spread(times: &mut [Duration]) -> Value {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share).ceil() as usize).saturating_sub(1);
        times.get(index).map(|time| time.as_millis() as u64)
    };
    json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "most": at(1.0)})
}

fn said(spread: &Value) -> String {
    format!("p50 {} ms, p90 {} ms, p99 {} ms, most {} ms", spread["p50"], spread["p90"], spread["p99"], spread["most"])
}
