//! One file a scenario, and what they share.

pub mod browser;
pub mod built_in_call;
pub mod callback;
pub mod cloud_away;
pub mod consult;
pub mod damaged;
pub mod dead_node;
pub mod journey;
pub mod killed_node;
pub mod other_node;
pub mod partition;
pub mod presence;
pub mod sipp;
pub mod survives;
pub mod unknown_number;
pub mod wrong_use;

use anyhow::{Context, Result, bail};
use hotline_live::baresip::{Baresip, Setup};
use hotline_live::hotline::{Hotline, Session, eventually};
use hotline_live::staff::Hired;
use hotline_phone::{Microphone, Phone, PhoneConfig};
use serde_json::{Value, json};
use std::time::Duration;

/// The tone that callers speak, hertz.
pub const CALLER_HZ: u32 = 440;
/// The tone that agents speak, hertz.
pub const AGENT_HZ: u32 = 660;
/// The tone that a second agent speaks, hertz.
pub const COLLEAGUE_HZ: u32 = 880;

/// Runs asynchronous work to its end.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}

/// A caller who speaks a tone.
pub async fn caller(hotline: &Hotline, number: &str) -> Result<Phone> {
    let mut config = PhoneConfig::new("127.0.0.1:0".parse()?, hotline.sip().parse()?);
    config.user = number.into();
    config.microphone = Microphone::Tone(CALLER_HZ);
    Ok(Phone::start(config).await?)
}

/// An agent at a baresip phone, signed in and Available.
pub struct Agent {
    /// The phone.
    pub phone: Baresip,
    /// The agent's API session.
    pub session: Session,
}

impl Agent {
    /// The `nth` demo agent; each has ports of its own.
    pub fn available(hotline: &Hotline, nth: usize, name: &str, transport: &str) -> Result<Self> {
        let user = hotline.user("agent", nth)?;
        let port = 17_000 + 100 * nth as u16;
        let phone = Baresip::start(&Setup {
            folder: &hotline.scratch(name)?,
            sip_port: port,
            control_port: port + 5,
            rtp_port: port + 10,
            user: user["sip"]["user"].as_str().context("sip user")?,
            password: user["sip"]["password"].as_str().context("sip password")?,
            registrar: hotline.sip(),
            tone_hz: AGENT_HZ,
            transport,
        })?;
        let session = hotline.session("agent", nth)?;
        let agent = Self { phone, session };
        agent.go("available")?;
        Ok(agent)
    }

    /// Asks for a state and waits until it is so.
    pub fn go(&self, state: &str) -> Result<()> {
        go(&self.session, state)
    }
}

/// An agent at our own phone, which can transfer, be moved to another node and be asked what it hears.
pub struct SoftAgent {
    /// The phone; answers by itself and speaks a tone.
    pub phone: Phone,
    /// The agent's API session.
    pub session: Session,
    /// The agent's id.
    pub id: String,
}

impl SoftAgent {
    /// The `nth` demo agent, registered at a node and Available.
    pub async fn available(hotline: &Hotline, nth: usize, node: &str, hz: u32) -> Result<Self> {
        let user = hotline.user("agent", nth)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a demo agent's account");
        let hired = Hired {
            name: text(&user["name"])?,
            password: text(&user["password"])?,
            agent: text(&user["agent"])?,
            sip_user: text(&user["sip"]["user"])?,
            sip_password: text(&user["sip"]["password"])?,
        };
        Self::hired(hotline, &hired, node, hz, true).await
    }

    /// An agent of a test's own, registered at a node and Available.
    pub async fn hired(hotline: &Hotline, hired: &Hired, node: &str, hz: u32, auto_answer: bool) -> Result<Self> {
        let mut config = hired.phone("127.0.0.1:0".parse()?, node.parse()?);
        config.auto_answer = auto_answer.then_some(Duration::from_millis(200));
        config.microphone = Microphone::Tone(hz);
        let mut phone = Phone::start(config).await?;
        phone.register().await?;
        let agent = Self { phone, session: hired.sign_in(hotline)?, id: hired.agent.clone() };
        tokio::task::block_in_place(|| go(&agent.session, "available"))?;
        Ok(agent)
    }
}

/// Asks for an agent's state and waits until it is so.
pub fn go(session: &Session, state: &str) -> Result<()> {
    let path = "/v1/agents/me";
    let now = || Ok::<_, anyhow::Error>(session.get(path)?.to_string().to_lowercase());
    session.send("POST", &format!("{path}/heartbeat"), Some(&json!({"console": "live-test"})))?;
    if now()?.contains("wrap") {
        session.send("POST", &format!("{path}/wrap-up"), Some(&json!({"do": "end"})))?;
    }
    // A phone that has just registered may not be known everywhere yet.
    eventually(Duration::from_secs(10), || {
        let answer = session.send("PUT", &format!("{path}/state"), Some(&json!({"state": state})))?;
        if answer.status != 200 {
            bail!("state {state}: {} {}", answer.status, answer.body);
        }
        // Where somebody waits, an Available agent is offered a call at once.
        let reached: &[&str] = if state == "available" { &["available", "offered", "busy"] } else { &[state] };
        let now = now()?;
        if reached.iter().any(|state| now.contains(state)) { Ok(()) } else { bail!("the agent is {now}, not {state}") }
    })
}

/// The newest contact of a caller.
pub fn contact_of(session: &Session, number: &str) -> Result<String> {
    let page = session.get(&format!("/v1/contacts?limit=1&party={}", number.replace('+', "%2B")))?;
    let contact = page["items"].get(0).context("no contact of this caller")?;
    let id = contact["id"].as_str().or(contact["contact"].as_str());
    Ok(id.with_context(|| format!("no id in {contact}"))?.to_owned())
}

/// A contact's facts so far, oldest first.
pub fn facts(session: &Session, contact: &str) -> Result<Vec<Value>> {
    let trace = session.get(&format!("/v1/contacts/{contact}/trace"))?;
    Ok(trace["steps"].as_array().context("steps")?.clone())
}

/// Waits until a contact has all these facts, and returns all of its facts.
pub fn wait_for_facts(session: &Session, contact: &str, wanted: &[&str], patience: Duration) -> Result<Vec<Value>> {
    eventually(patience, || {
        let facts = facts(session, contact)?;
        let names: Vec<&str> = facts.iter().filter_map(|f| f["fact"].as_str()).collect();
        match wanted.iter().find(|w| !names.contains(w)) {
            None => Ok(facts.clone()),
            Some(missing) => bail!("no {missing} among {names:?}"),
        }
    })
}

/// The first composed recording of a contact: left and right samples, 8 kHz.
pub fn recording(session: &Session, contact: &str) -> Result<Vec<Vec<i16>>> {
    recordings(session, contact)?.into_iter().next().context("no recording")
}

/// All composed recordings of a contact, in the order in which they began.
pub fn recordings(session: &Session, contact: &str) -> Result<Vec<Vec<Vec<i16>>>> {
    let page = session.get(&format!("/v1/contacts/{contact}/recordings"))?;
    let items = page["items"].as_array().context("recordings")?;
    let ids = items.iter().map(|item| item["recording"].as_str().with_context(|| format!("no id in {item}")));
    ids.map(|id| composed(session, contact, id?)).collect()
}

fn composed(session: &Session, contact: &str, id: &str) -> Result<Vec<Vec<i16>>> {
    let link = eventually(Duration::from_secs(30), || {
        let answer = session.send("POST", &format!("/v1/contacts/{contact}/recordings/{id}/link"), Some(&json!({})))?;
        match answer.body["url"].as_str() {
            Some(url) => Ok(url.to_owned()),
            None => bail!("{} {}", answer.status, answer.body),
        }
    })?;
    let (channels, rate) = hotline_live::sound::read_wav(&session.download(&link)?)?;
    if rate != 8_000 || channels.len() != 2 {
        bail!("the recording has {} channels at {rate} Hz", channels.len());
    }
    Ok(channels)
}

/// Fails unless a tone was heard for at least so long.
pub fn hears(who: &str, samples: &[i16], rate: u32, hz: u32, at_least_ms: u64) -> Result<()> {
    let ms = hotline_live::sound::tone_ms(samples, f64::from(hz), rate);
    if ms < at_least_ms {
        bail!(
            "{who}: {hz} Hz for {ms} ms of {} ms, expected {at_least_ms} ms",
            samples.len() as u64 * 1_000 / u64::from(rate)
        );
    }
    Ok(())
}

/// Asks again and again, every 50 ms, until something is so; fails after `patience`.
pub async fn until(what: &str, patience: Duration, mut so: impl FnMut() -> bool) -> Result<()> {
    let end = tokio::time::Instant::now() + patience;
    while !so() {
        if tokio::time::Instant::now() > end {
            bail!("{what}: not within {patience:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Waits until the phone hears a prompt: from then on the menu takes keys.
pub async fn hears_a_prompt(phone: &Phone) -> Result<()> {
    until("a prompt is heard", Duration::from_secs(15), || hotline_phone::loudness(&phone.heard()) > 50.0).await
}

/// Waits until the phone has heard a tone for so long.
pub async fn hears_tone(phone: &Phone, hz: u32, ms: u64) -> Result<()> {
    let patience = Duration::from_millis(2 * ms + 10_000);
    let heard = || hotline_live::sound::tone_ms(&phone.heard(), f64::from(hz), 8_000) >= ms;
    until(&format!("{hz} Hz is heard for {ms} ms"), patience, heard).await
}

/// Presses a key and waits until the contact has the fact that it leads to; what was heard before
/// is forgotten.
pub async fn press(phone: &mut Phone, key: &str, session: &Session, contact: &str, fact: &str) -> Result<()> {
    phone.send_digits(key).await?;
    tokio::task::block_in_place(|| wait_for_facts(session, contact, &[fact], Duration::from_secs(15)))?;
    phone.forget_heard();
    Ok(())
}

/// Dials, takes English and technical support, and waits until the agent's side was joined.
pub async fn reach_an_agent(hotline: &Hotline, session: &Session, number: &str) -> Result<(Phone, String)> {
    let mut phone = caller(hotline, number).await?;
    phone.call(&format!("sip:{}@{}", hotline.number(), hotline.sip())).await?;
    phone.wait_answered(Duration::from_secs(10)).await?;
    hears_a_prompt(&phone).await?;
    let contact = tokio::task::block_in_place(|| eventually(Duration::from_secs(5), || contact_of(session, number)))?;
    press(&mut phone, "2", session, &contact, "LanguageSet").await?;
    hears_a_prompt(&phone).await?;
    press(&mut phone, "1", session, &contact, "MenuChosen").await?;
    tokio::task::block_in_place(|| wait_for_facts(session, &contact, &["LegsBridged"], Duration::from_secs(30)))?;
    Ok((phone, contact))
}
