//! An agent in a browser (JsSIP over WSS): takes a queue's call, is loaded again in mid-call, transfers and is
//! transferred to, through the API and by the phone itself; beside a phone at the same node and one at another.

use anyhow::{Context, Result, bail, ensure};
use hotline_interop::browser::Browser;
use hotline_live::hotline::{Hotline, Session, eventually};
use hotline_live::staff::{Desk, Hired, straight};
use hotline_phone::{Microphone, Phone, PhoneConfig, loudness};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::dead_node::{free, hears_now};
use super::{CALLER_HZ, COLLEAGUE_HZ, SoftAgent, block_on, contact_of, go, until, wait_for_facts};

const DESK: Desk<'_> = Desk { queue: "web", number: "+861055550192", flow: "", wrap_up_ms: 60_000 };
/// What the browser says before it is loaded again, and after.
const BEFORE_HZ: u32 = 700;
const AFTER_HZ: u32 = 760;
const PATIENCE: Duration = Duration::from_secs(15);

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let flow = straight(DESK.queue);
    Desk { flow: &flow, ..DESK }.open(hotline)?;
    let admin = hotline.session("admin", 0)?;
    let (hired, colleague) = (DESK.hire(&admin, 0)?, DESK.hire(&admin, 1)?);
    // The caller's call is at the browser's node first, then at the other one.
    let agent = WebAgent::start(hotline, &hired)?;
    block_on(reloaded(hotline, &agent, 0, "+8613800138201")).context("a call at the browser's node")?;
    drop(agent);
    let agent = WebAgent::start(hotline, &hired)?;
    block_on(reloaded(hotline, &agent, 1, "+8613800138202")).context("a call at another node")?;
    block_on(handed_round(hotline, &agent, &hired, &colleague))?;
    go(&agent.session, "offline")
}

/// A browser that is registered at the first node, and its agent's session.
struct WebAgent {
    browser: Browser,
    session: Arc<Session>,
    account: (String, String, String),
}

impl WebAgent {
    fn start(hotline: &Hotline, hired: &Hired) -> Result<Self> {
        let browser = Browser::start()?;
        let account = (hotline.browsers(0)?.to_owned(), hired.sip_user.clone(), hired.sip_password.clone());
        let session = Arc::new(hired.sign_in(hotline)?);
        let agent = Self { browser, session, account };
        agent.register()?;
        go(&agent.session, "available")?;
        Ok(agent)
    }

    fn register(&self) -> Result<()> {
        let (url, user, password) = &self.account;
        self.browser.register_with(url, user, password)
    }

    fn answer(&self, hz: u32) -> Result<()> {
        self.browser.wait("incoming")?;
        self.browser.ask("answer", json!({"hz": hz}))?;
        self.browser.wait("confirmed").map(drop)
    }

    fn state(&self) -> Result<String> {
        Ok(self.session.get("/v1/agents/me")?["state"]["state"].as_str().context("state")?.to_owned())
    }
}

/// Looks at an agent's state again and again; gives every other one than Busy.
struct Watch {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Watch {
    fn start(session: &Arc<Session>) -> Self {
        let (over, session) = (Arc::new(AtomicBool::new(false)), session.clone());
        let until = over.clone();
        let thread = std::thread::spawn(move || {
            let mut other = Vec::new();
            while !until.load(Ordering::Relaxed) {
                match session.get("/v1/agents/me") {
                    Ok(me) if me["state"]["state"] == "busy" => {}
                    Ok(me) => other.push(me["state"].to_string()),
                    Err(error) => other.push(format!("{error:#}")),
                }
                // Paces the loop; nothing depends on its length.
                std::thread::sleep(Duration::from_millis(50));
            }
            other
        });
        Self { over, thread }
    }

    fn always_busy(self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let other = self.thread.join().ok().context("the watch")?;
        ensure!(other.is_empty(), "the agent was not always Busy: {other:?}");
        Ok(())
    }
}

/// A caller at a node, who speaks and was given to the browser.
async fn call(hotline: &Hotline, node: usize, number: &str) -> Result<Phone> {
    let mut config = PhoneConfig::new("127.0.0.1:0".parse()?, hotline.node(node)?.parse()?);
    config.user = number.into();
    config.microphone = Microphone::Tone(CALLER_HZ);
    let mut phone = Phone::start(config).await?;
    phone.call(&format!("sip:{}@{}", DESK.dialled(), hotline.node(node)?)).await?;
    phone.wait_answered(PATIENCE).await?;
    Ok(phone)
}

/// The page is loaded again in mid-call: the caller hears music, then the agent; the agent stays Busy.
async fn reloaded(hotline: &Hotline, agent: &WebAgent, node: usize, number: &str) -> Result<()> {
    let supervisor = hotline.session("supervisor", 0)?;
    let browser = &agent.browser;
    let mut caller = call(hotline, node, number).await?;
    tokio::task::block_in_place(|| agent.answer(BEFORE_HZ))?;
    until("the caller hears the browser", PATIENCE, || hears_now(&caller, BEFORE_HZ)).await?;
    tokio::task::block_in_place(|| browser.hears(f64::from(CALLER_HZ)))?;
    let contact = tokio::task::block_in_place(|| {
        let contact = eventually(Duration::from_secs(5), || contact_of(&supervisor, number))?;
        wait_for_facts(&supervisor, &contact, &["LegsBridged"], Duration::from_secs(10))?;
        eventually(Duration::from_secs(5), || match agent.state()?.as_str() {
            "busy" => Ok(contact.clone()),
            other => bail!("the agent is {other}"),
        })
    })?;

    let watch = Watch::start(&agent.session);
    let dialog = tokio::task::block_in_place(|| {
        let dialog = browser.ask("dialog", json!({}))?;
        browser.reload()?;
        anyhow::Ok(dialog)
    })?;
    let gone = std::time::Instant::now();
    let music = || {
        let heard = caller.heard();
        let last = heard.get(heard.len().saturating_sub(4_000)..).unwrap_or_default();
        loudness(last) > 50.0 && !hears_now(&caller, BEFORE_HZ)
    };
    until("the caller hears music", PATIENCE, music).await?;
    println!("    music {:.1} s after the reload", gone.elapsed().as_secs_f32() - 0.5);
    tokio::task::block_in_place(|| {
        agent.register()?;
        let headers = [format!("Replaces: {}", dialog.as_str().unwrap_or_default()), "Require: replaces".into()];
        browser.ask("call", json!({"target": "sip:resume@hotline", "hz": AFTER_HZ, "headers": headers}))?;
        browser.wait("confirmed")
    })?;
    until("the caller hears the browser again", PATIENCE, || hears_now(&caller, AFTER_HZ)).await?;
    tokio::task::block_in_place(|| browser.hears(f64::from(CALLER_HZ)))?;
    tokio::task::block_in_place(|| watch.always_busy())?;

    caller.hangup().await?;
    tokio::task::block_in_place(|| {
        browser.wait("ended")?;
        wait_for_facts(&supervisor, &contact, &["ContactEnded"], Duration::from_secs(15))
    })?;
    free(&agent.session)?;
    // The phone is registered and the agent free: nothing of the reload is left.
    tokio::task::block_in_place(|| {
        eventually(Duration::from_secs(10), || {
            let me = agent.session.get("/v1/agents/me")?;
            ensure!(me["state"]["state"] == "available" && me["phone"] == true, "the agent is {me}");
            Ok(())
        })
    })
}

/// The browser gives the call to a colleague (API), who gives it back (REFER), and the browser once more (REFER).
async fn handed_round(hotline: &Hotline, agent: &WebAgent, hired: &Hired, colleague: &Hired) -> Result<()> {
    let supervisor = hotline.session("supervisor", 0)?;
    let mut caller = call(hotline, 0, "+8613800138203").await?;
    tokio::task::block_in_place(|| agent.answer(BEFORE_HZ))?;
    until("the caller hears the browser", PATIENCE, || hears_now(&caller, BEFORE_HZ)).await?;
    let contact = tokio::task::block_in_place(|| contact_of(&supervisor, "+8613800138203"))?;
    let mut other = SoftAgent::hired(hotline, colleague, &hotline.node(1)?, COLLEAGUE_HZ, true).await?;

    let action = json!({"do": "transfer", "to": {"agent": other.id}, "reason": "knows more"});
    tokio::task::block_in_place(|| -> Result<()> {
        let answer = agent.session.send("POST", &format!("/v1/contacts/{contact}/actions"), Some(&action))?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
        agent.browser.wait("ended")?;
        Ok(())
    })?;
    talk(&caller, &other.phone).await.context("after the transfer through the API")?;
    free(&agent.session)?;

    other.phone.transfer(&format!("sip:{}@{}", hired.sip_user, hotline.node(1)?)).await?;
    tokio::task::block_in_place(|| agent.answer(AFTER_HZ)).context("after the colleague's REFER")?;
    until("the caller hears the browser again", PATIENCE, || hears_now(&caller, AFTER_HZ)).await?;
    ensure!(other.phone.wait_transferred(PATIENCE).await? == 200, "the colleague's REFER");
    other.phone.wait_ended(PATIENCE).await?;
    free(&other.session)?;

    tokio::task::block_in_place(|| {
        agent.browser.ask("refer", json!({"target": format!("sip:{}@hotline", colleague.sip_user)}))?;
        agent.browser.wait("referAccepted")?;
        agent.browser.wait("ended")
    })?;
    talk(&caller, &other.phone).await.context("after the browser's REFER")?;
    caller.hangup().await?;
    other.phone.wait_ended(PATIENCE).await?;
    let facts = tokio::task::block_in_place(|| {
        wait_for_facts(&supervisor, &contact, &["ContactEnded"], Duration::from_secs(15))
    })?;
    let transfers = facts.iter().filter(|fact: &&Value| fact["fact"] == "ContactTransferred").count();
    ensure!(transfers == 3, "{transfers} transfers");
    tokio::task::block_in_place(|| go(&other.session, "offline"))
}

async fn talk(caller: &Phone, other: &Phone) -> Result<()> {
    let both = || hears_now(caller, COLLEAGUE_HZ) && hears_now(other, CALLER_HZ);
    until("caller and colleague hear each other", PATIENCE, both).await
}
