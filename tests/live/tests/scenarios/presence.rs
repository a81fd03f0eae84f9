//! Two consoles and a phone of one agent: offers declined and taken back, sign-out at the moment of the answer, a
//! microphone that is missing.

use anyhow::{Context, Result, bail, ensure};
use hotline_live::hotline::{Hotline, Session, eventually};
use hotline_live::push::Console;
use hotline_live::staff::{Desk, straight};
use hotline_phone::{Microphone, Phone, PhoneConfig};
use serde_json::{Value, json};
use std::time::Duration;

use super::{AGENT_HZ, CALLER_HZ, SoftAgent, block_on, contact_of, go, until, wait_for_facts};

const DESK: Desk<'_> = Desk { queue: "presence", number: "+861055550194", flow: "", wrap_up_ms: 0 };
const PATIENCE: Duration = Duration::from_secs(15);

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let flow = straight(DESK.queue);
    Desk { flow: &flow, ..DESK }.open(hotline)?;
    block_on(one_agent(hotline))
}

/// What an agent is doing, as the API says.
fn state(session: &Session) -> Result<Value> {
    Ok(session.get("/v1/agents/me")?["state"].clone())
}

fn reaches(session: &Session, wanted: &Value) -> Result<()> {
    tokio::task::block_in_place(|| {
        eventually(PATIENCE, || {
            let state = state(session)?;
            let same = |(name, value): (&String, &Value)| state[name] == *value;
            ensure!(wanted.as_object().context("wanted")?.iter().all(same), "the agent is {state}, not {wanted}");
            Ok(())
        })
    })
}

fn ask(session: &Session, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
    let answer = tokio::task::block_in_place(|| session.send(method, path, Some(body)))?;
    Ok((answer.status, answer.body))
}

async fn one_agent(hotline: &Hotline) -> Result<()> {
    let supervisor = hotline.session("supervisor", 0)?;
    let hired = DESK.hire(&hotline.session("admin", 0)?, 0)?;
    let SoftAgent { mut phone, session, .. } =
        SoftAgent::hired(hotline, &hired, &hotline.node(1)?, AGENT_HZ, false).await?;
    let consoles = tokio::task::block_in_place(|| {
        anyhow::Ok([Console::connect(hotline, &session)?, Console::connect(hotline, &session)?])
    })?;

    let (caller, _) = calls(hotline, &supervisor, 1).await?;

    // Both consoles show the offer; what one declines is gone from the other, and from the phone.
    phone.wait_incoming(PATIENCE).await?;
    let offer = tokio::task::block_in_place(|| {
        let made = |event: &Value| event["event"] == "offer" && event["change"]["state"] == "made";
        let [one, other] = &consoles;
        let offer = one.wait_for("the offer", made)?["offer"].clone();
        ensure!(other.wait_for("the offer", made)?["offer"] == offer, "the consoles show different offers");
        Ok(offer)
    })?;
    ensure!(ask(&session, "POST", "/v1/agents/me/decline", &json!({"offer": offer}))?.0 == 200, "it is declined");
    phone.wait_ended(PATIENCE).await?;
    reaches(&session, &json!({"state": "away", "reason": "declined-offer"}))?;
    let (again, _) = ask(&session, "POST", "/v1/agents/me/decline", &json!({"offer": offer}))?;
    ensure!(again == 409, "an offer that is gone was declined: {again}");
    caller.stop().await;

    // Whoever signs out while the phone rings is gone, and the caller waits on.
    let (caller, contact) = calls(hotline, &supervisor, 2).await?;
    tokio::task::block_in_place(|| go(&session, "available"))?;
    phone.wait_incoming(PATIENCE).await?;
    ensure!(ask(&session, "PUT", "/v1/agents/me/state", &json!({"state": "offline"}))?.0 == 200, "signed out");
    phone.wait_ended(PATIENCE).await?;
    reaches(&session, &json!({"state": "offline"}))?;
    ensure!(phase(&supervisor, &contact)? == "waiting", "the caller does not wait on");
    caller.stop().await;

    // The answer and the sign-out at the same moment: either they talk, and the agent leaves afterwards, or they do
    // not; contact and agent always agree.
    let mut talked = 0;
    for round in 3..6 {
        let (caller, contact) = calls(hotline, &supervisor, round).await?;
        tokio::task::block_in_place(|| go(&session, "available"))?;
        phone.wait_incoming(PATIENCE).await?;
        let (answered, signed_out) = std::thread::scope(|scope| {
            let asked = scope.spawn(|| session.send("PUT", "/v1/agents/me/state", Some(&json!({"state": "offline"}))));
            let answered = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(phone.answer()));
            (answered, asked.join())
        });
        ensure!(signed_out.ok().context("the sign-out")??.status == 200, "the sign-out was refused");
        talked += usize::from(settles(&supervisor, &session, &contact, &mut phone, answered.is_ok()).await?);
        caller.stop().await;
        reaches(&session, &json!({"state": "offline"}))?;
        tokio::task::block_in_place(|| wait_for_facts(&supervisor, &contact, &["ContactEnded"], PATIENCE))?;
    }
    println!("    of 3 answers at the moment of the sign-out {talked} became a talk");

    // A microphone that is missing: not Available, and no more so when it is lost.
    let says = |works: bool| json!({"console": "tab", "microphone": works});
    ensure!(ask(&session, "POST", "/v1/agents/me/heartbeat", &says(false))?.0 == 200, "a heartbeat");
    let (status, problem) = ask(&session, "PUT", "/v1/agents/me/state", &json!({"state": "available"}))?;
    ensure!(status == 409 && problem["code"] == "no-microphone", "without a microphone: {status} {problem}");
    ensure!(ask(&session, "POST", "/v1/agents/me/heartbeat", &says(true))?.0 == 200, "a heartbeat");
    tokio::task::block_in_place(|| go(&session, "available"))?;
    consoles[0].say(&json!({"type": "heartbeat", "microphone": false}))?;
    reaches(&session, &json!({"state": "available"}))?;
    ensure!(ask(&session, "POST", "/v1/agents/me/heartbeat", &says(false))?.0 == 200, "a heartbeat");
    reaches(&session, &json!({"state": "away", "reason": "no-microphone"}))?;
    consoles[1].say(&json!({"type": "heartbeat", "microphone": true}))?;
    reaches(&session, &json!({"state": "available"}))?;

    // With the consoles closed the phone alone keeps the agent there; without it nobody is left.
    drop(consoles);
    reaches(&session, &json!({"state": "away", "reason": "no-microphone"}))?;
    ensure!(ask(&session, "POST", "/v1/agents/me/heartbeat", &says(true))?.0 == 200, "a heartbeat");
    reaches(&session, &json!({"state": "available"}))?;
    phone.unregister().await?;
    reaches(&session, &json!({"state": "away", "reason": "no-phone"}))?;
    tokio::task::block_in_place(|| go(&session, "offline"))
}

/// What a contact is doing.
fn phase(supervisor: &Session, contact: &str) -> Result<String> {
    let found = tokio::task::block_in_place(|| supervisor.get(&format!("/v1/contacts/{contact}")))?;
    let phase = found["phase"].as_str().or(found["phase"]["phase"].as_str());
    Ok(phase.with_context(|| format!("no phase in {found}"))?.to_owned())
}

/// A caller who waits in the queue, and the contact.
async fn calls(hotline: &Hotline, supervisor: &Session, nth: usize) -> Result<(Phone, String)> {
    let number = format!("+86138001384{nth:02}");
    let mut config = PhoneConfig::new("127.0.0.1:0".parse()?, hotline.sip().parse()?);
    config.user.clone_from(&number);
    config.microphone = Microphone::Tone(CALLER_HZ);
    let mut caller = Phone::start(config).await?;
    caller.call(&format!("sip:{}@{}", DESK.dialled(), hotline.sip())).await?;
    caller.wait_answered(PATIENCE).await?;
    let contact = tokio::task::block_in_place(|| {
        let contact = eventually(Duration::from_secs(5), || contact_of(supervisor, &number))?;
        wait_for_facts(supervisor, &contact, &["ContactEnqueued"], PATIENCE).map(|_| contact)
    })?;
    Ok((caller, contact))
}

/// Waits until contact and agent agree after an answer that met a sign-out; whether they talk.
async fn settles(
    supervisor: &Session,
    session: &Session,
    contact: &str,
    phone: &mut Phone,
    answered: bool,
) -> Result<bool> {
    let talks = tokio::task::block_in_place(|| {
        eventually(PATIENCE, || {
            let (phase, agent) = (phase(supervisor, contact)?, state(session)?);
            match (phase.as_str(), agent["state"].as_str()) {
                ("talking", Some("busy")) => Ok(true),
                ("waiting", Some("offline")) => Ok(false),
                _ => bail!("the contact is {phase}, the agent {agent}"),
            }
        })
    })?;
    if talks {
        ensure!(answered, "they talk although the phone was not answered");
        let hears = || super::dead_node::hears_now(phone, CALLER_HZ);
        until("the agent hears the caller", PATIENCE, hears).await?;
        phone.hangup().await?;
    } else if answered {
        phone.wait_ended(PATIENCE).await?;
    }
    Ok(talks)
}
