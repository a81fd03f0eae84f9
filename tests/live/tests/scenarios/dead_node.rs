//! A node is killed and stays dead, with a call in every state on it: each is found, heard again at the other node
//! or called back at its old place, and every agent is freed.

use anyhow::{Context, Result, bail, ensure};
use hotline_live::hotline::{Hotline, Session, eventually};
use hotline_live::staff::Desk;
use hotline_phone::{Microphone, Phone, PhoneConfig, tone_presence};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

use super::callback::party;
use super::{CALLER_HZ, SoftAgent, block_on, contact_of, facts, go, hears_a_prompt, press, until, wait_for_facts};

/// The promise: found within 15 s; the phones then need a moment.
const HEARD_AGAIN: Duration = Duration::from_secs(20);

/// A menu, a queue and a survey that wait long enough to be found in them.
pub const FLOW: &str = "\
flow: FLOW
languages: [en]
start: menu
prompts:
  question: {en: \"For an agent, press one.\"}
  survey: {en: \"How satisfied are you? Press one to five.\"}
  bye: {en: Goodbye.}
steps:
  menu:
    menu: question
    options:
      1: {label: Agent, go: wait}
    timeout: 60s
    no_input: bye
    no_match: bye
  wait:
    queue: FLOW
    max_wait: 30m
    on_max_wait: bye
    then: survey
  survey:
    survey: survey
    timeout: 60s
    then: bye
  bye:
    hangup: bye
";

const DESK: Desk<'_> = Desk { queue: "lifeboat", number: "+861055550191", flow: "", wrap_up_ms: 120_000 };

/// Who calls: a number, a tone, and a name for messages.
struct Caller {
    name: &'static str,
    number: String,
    hz: u32,
    phone: Phone,
    contact: String,
}

/// Calls the first node and waits until the menu speaks.
async fn calls(hotline: &Hotline, session: &Session, name: &'static str, nth: u32) -> Result<Caller> {
    let (number, hz) = (format!("+86138001381{nth:02}"), 360 + 60 * nth);
    let mut config = PhoneConfig::new("127.0.0.1:0".parse()?, hotline.node(0)?.parse()?);
    config.user.clone_from(&number);
    config.microphone = Microphone::Tone(hz);
    let mut phone = Phone::start(config).await?;
    phone.call(&format!("sip:{}@{}", DESK.dialled(), hotline.node(0)?)).await?;
    phone.wait_answered(Duration::from_secs(10)).await?;
    hears_a_prompt(&phone).await?;
    let contact = tokio::task::block_in_place(|| eventually(Duration::from_secs(5), || contact_of(session, &number)))?;
    Ok(Caller { name, number, hz, phone, contact })
}

impl Caller {
    /// Takes the queue, and goes on until a fact.
    async fn queues(mut self, session: &Session, fact: &str) -> Result<Self> {
        press(&mut self.phone, "1", session, &self.contact, fact).await?;
        Ok(self)
    }

    fn has(&self, session: &Session, wanted: &[&str]) -> Result<Vec<Value>> {
        tokio::task::block_in_place(|| wait_for_facts(session, &self.contact, wanted, Duration::from_secs(40)))
            .with_context(|| self.name)
    }

    /// How long until this caller hears anything at all.
    async fn hears_something(&self, since: Instant) -> Result<Duration> {
        until(&format!("{} hears something", self.name), HEARD_AGAIN, || {
            hotline_phone::loudness(&self.phone.heard()) > 50.0
        })
        .await?;
        Ok(since.elapsed())
    }

    /// How long until this caller and an agent hear each other.
    async fn talks_with(&self, agent: &Phone, agent_hz: u32, since: Instant) -> Result<Duration> {
        let both = || hears_now(&self.phone, agent_hz) && hears_now(agent, self.hz);
        until(&format!("{} and the agent hear each other", self.name), HEARD_AGAIN, both).await?;
        Ok(since.elapsed())
    }
}

/// Whether a tone is in the last half second.
pub fn hears_now(phone: &Phone, hz: u32) -> bool {
    let heard = phone.heard();
    let last = heard.len().checked_sub(4_000).and_then(|from| heard.get(from..));
    last.is_some_and(|last| tone_presence(last, hz) > 0.8)
}

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let flow = FLOW.replace("FLOW", DESK.queue);
    Desk { flow: &flow, ..DESK }.open(hotline)?;
    let outcome = block_on(every_state(hotline));
    hotline.command(&["node", "start", "1"])?;
    outcome
}

async fn every_state(hotline: &Hotline) -> Result<()> {
    let supervisor = hotline.session("supervisor", 0)?;
    let admin = hotline.session("admin", 0)?;
    let (near, far) = (hotline.node(0)?, hotline.node(1)?);
    let hired = (0..4).map(|nth| DESK.hire(&admin, nth)).collect::<Result<Vec<_>>>()?;
    let hz = [900, 960, 1_020, 1_080];
    tokio::task::block_in_place(|| hotline.watches_leases());

    // The first has the talk that is over before the node dies: its agent is in wrap-up.
    let mut wrapping = SoftAgent::hired(hotline, &hired[0], &far, hz[0], true).await?;
    let surveyed = calls(hotline, &supervisor, "who is asked", 0).await?.queues(&supervisor, "LegsBridged").await?;
    let talking = SoftAgent::hired(hotline, &hired[1], &far, hz[1], true).await?;
    let talker = calls(hotline, &supervisor, "who talks", 1).await?.queues(&supervisor, "LegsBridged").await?;
    let mut holding = SoftAgent::hired(hotline, &hired[2], &near, hz[2], true).await?;
    let held = calls(hotline, &supervisor, "who is on hold", 2).await?.queues(&supervisor, "LegsBridged").await?;
    let mut ringing = SoftAgent::hired(hotline, &hired[3], &far, hz[3], false).await?;
    let offered = calls(hotline, &supervisor, "who is offered", 3).await?.queues(&supervisor, "OfferRinging").await?;
    ringing.phone.wait_incoming(Duration::from_secs(10)).await?;
    let lost = calls(hotline, &supervisor, "who is lost", 4).await?.queues(&supervisor, "ContactEnqueued").await?;
    let queued = calls(hotline, &supervisor, "who waits", 5).await?.queues(&supervisor, "ContactEnqueued").await?;
    let chooser = calls(hotline, &supervisor, "who chooses", 6).await?;
    let party = party().await?;
    holding.phone.hold(true).await?;
    surveyed.phone.forget_heard();
    wrapping.phone.hangup().await?;
    surveyed.has(&supervisor, &["AgentLegEnded"])?;
    hears_a_prompt(&surveyed.phone).await?;

    let Caller { phone: gone, number: lost_number, contact: lost, .. } = lost;
    drop(gone);
    let killed = Instant::now();
    tokio::task::block_in_place(|| hotline.command(&["node", "stop", "1", "--hard"]))?;
    let stay = [&surveyed, &talker, &held, &offered, &queued, &chooser];
    stay.iter().for_each(|caller| caller.phone.forget_heard());
    talking.phone.forget_heard();
    holding.phone.forget_heard();
    let again = tokio::join!(
        talker.talks_with(&talking.phone, hz[1], killed),
        held.talks_with(&holding.phone, hz[2], killed),
        surveyed.hears_something(killed),
        queued.hears_something(killed),
        chooser.hears_something(killed),
        offered.hears_something(killed),
    );
    let times = [again.0?, again.1?, again.2?, again.3?, again.4?, again.5?];
    let times: Vec<String> = times.iter().map(|time| format!("{:.1}", time.as_secs_f32())).collect();
    println!(
        "    heard again after the kill, s: talking {}, on hold {}, survey {}, queue {}, menu {}, ringing {}",
        times[0], times[1], times[2], times[3], times[4], times[5]
    );

    // The phone that rang for the dead node stopped, and rings for whoever is next.
    ringing.phone.wait_ended(Duration::from_secs(10)).await?;
    ringing.phone.wait_incoming(Duration::from_secs(20)).await?;
    ringing.phone.answer().await?;
    let (first, second) = {
        let either = || hears_now(&ringing.phone, offered.hz) || hears_now(&ringing.phone, queued.hz);
        until("the agent whose phone rang hears somebody", Duration::from_secs(10), either).await?;
        if hears_now(&ringing.phone, offered.hz) { (offered, queued) } else { (queued, offered) }
    };
    first.talks_with(&ringing.phone, hz[3], Instant::now()).await?;
    ensure!(!hears_now(&second.phone, hz[3]), "two callers hear one agent");

    // What was asked is asked again, and answered.
    let mut surveyed = surveyed;
    press(&mut surveyed.phone, "5", &supervisor, &surveyed.contact, "SurveyAnswered").await?;
    let mut chooser = chooser.queues(&supervisor, "ContactEnqueued").await?;

    // Who could not be reached is called back at the old place: before whoever waits.
    let lost_facts = tokio::task::block_in_place(|| {
        wait_for_facts(&supervisor, &lost, &["ReanchorFailed", "CallbackRequested"], Duration::from_secs(40))
    })?;
    let back = tokio::task::block_in_place(|| {
        eventually(Duration::from_secs(20), || match contact_of(&supervisor, &lost_number)? {
            id if id != lost => Ok(id),
            _ => bail!("there is no call back of the lost caller"),
        })
    })?;
    let mut talker = talker;
    talker.phone.hangup().await?;
    free(&talking.session)?;
    until("the lost caller is called back", Duration::from_secs(30), || {
        hears_now(&party, hz[1]) && hears_now(&talking.phone, CALLER_HZ)
    })
    .await?;
    let mut held = held;
    held.phone.hangup().await?;
    // Its phone is registered at the dead node: nobody can ring it, so the next is somebody else's.
    free(&wrapping.session)?;
    let mut second = second;
    second.talks_with(&wrapping.phone, hz[0], Instant::now()).await?;
    second.phone.hangup().await?;
    free(&wrapping.session)?;
    chooser.talks_with(&wrapping.phone, hz[0], Instant::now()).await?;

    // Everybody hangs up; each has one end, and nobody is kept busy.
    let mut first = first;
    first.phone.hangup().await?;
    chooser.phone.hangup().await?;
    drop(party);
    let mut talking = talking;
    talking.phone.hangup().await?;
    for caller in [&first, &second, &chooser, &talker, &held, &surveyed] {
        let facts = caller.has(&supervisor, &["NodeLost", "CallReanchored", "ContactEnded"])?;
        one_end(caller.name, &facts)?;
    }
    one_end("who is lost", &lost_facts)?;
    tokio::task::block_in_place(|| -> Result<()> {
        wait_for_facts(&supervisor, &back, &["PartyReached", "ContactEnded"], Duration::from_secs(40))?;
        let place = |id: &str| -> Result<Value> {
            let facts = facts(&supervisor, id)?;
            let enqueued = facts.iter().find(|fact| fact["fact"] == "ContactEnqueued");
            Ok(enqueued.context("ContactEnqueued")?["body"]["since"].clone())
        };
        ensure!(place(&back)?.as_i64() <= place(&lost)?.as_i64(), "the call back has lost its place");
        [&wrapping, &talking, &holding, &ringing].iter().try_for_each(|agent| go(&agent.session, "offline"))
    })
}

fn one_end(name: &str, facts: &[Value]) -> Result<()> {
    let ends = facts.iter().filter(|fact| fact["fact"] == "ContactEnded").count();
    ensure!(ends == 1, "{name}: {ends} terminal facts");
    Ok(())
}

/// Ends an agent's wrap-up as soon as there is one, where the agent is not free by itself.
pub fn free(session: &Session) -> Result<()> {
    tokio::task::block_in_place(|| {
        eventually(Duration::from_secs(15), || {
            let answer = session.send("POST", "/v1/agents/me/wrap-up", Some(&json!({"do": "end"})))?;
            let me = session.get("/v1/agents/me")?;
            let is_free = answer.status == 200 || me["state"]["state"] == "available";
            ensure!(is_free, "{} {} in {}", answer.status, answer.body, me["state"]);
            Ok(())
        })
    })
}
