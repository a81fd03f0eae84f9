//! Two nodes in two network namespaces: one loses its link, is taken for dead while it lives, and comes back. Nobody
//! is rung twice, no two conversations come of one, and the node learns that its calls are others'.

use anyhow::{Context, Result, ensure};
use hotline_live::apart::Apart;
use hotline_live::hotline::{Hotline, Session, eventually};
use hotline_live::staff::{Desk, Hired, straight};
use hotline_phone::{Microphone, Phone, PhoneEvent, tone_presence};
use std::time::{Duration, Instant};

use super::dead_node::{free, hears_now};
use super::{block_on, contact_of, go, until, wait_for_facts};

const DESK: Desk<'_> = Desk { queue: "apart", number: "+861055550193", flow: "", wrap_up_ms: 60_000 };
const PATIENCE: Duration = Duration::from_secs(15);
/// Found within 15 s; the phones then need a moment.
const HEARD_AGAIN: Duration = Duration::from_secs(20);
const TALKS_HZ: u32 = 420;
const RINGS_HZ: u32 = 480;
const NEXT_HZ: u32 = 540;
const AGENT_HZ: u32 = 900;
const OTHER_HZ: u32 = 980;

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let flow = straight(DESK.queue);
    Desk { flow: &flow, ..DESK }.open(hotline)?;
    let outcome = block_on(cut_off(hotline));
    for nth in ["1", "2"] {
        hotline.command(&["node", "start", nth])?;
    }
    outcome
}

/// A caller at the first node.
struct Caller {
    phone: Phone,
    number: &'static str,
    hz: u32,
}

async fn calls(apart: &Apart, number: &'static str, hz: u32) -> Result<Caller> {
    let mut phone = apart
        .phone(Apart::sip(0), |config| {
            config.user = number.into();
            config.microphone = Microphone::Tone(hz);
        })
        .await?;
    phone.call(&format!("sip:{}@{}", DESK.dialled(), Apart::sip(0))).await?;
    phone.wait_answered(PATIENCE).await?;
    Ok(Caller { phone, number, hz })
}

impl Caller {
    fn contact(&self, session: &Session) -> Result<String> {
        tokio::task::block_in_place(|| eventually(Duration::from_secs(5), || contact_of(session, self.number)))
    }

    fn has(&self, session: &Session, facts: &[&str]) -> Result<String> {
        let contact = self.contact(session)?;
        tokio::task::block_in_place(|| wait_for_facts(session, &contact, facts, Duration::from_secs(40)))?;
        Ok(contact)
    }

    async fn talks_with(&self, agent: &Phone, hz: u32, within: Duration) -> Result<()> {
        let both = || hears_now(&self.phone, hz) && hears_now(agent, self.hz);
        until(&format!("{} and the agent hear each other", self.number), within, both).await
    }
}

/// An agent whose phone registers at the second node.
async fn agent(hotline: &Hotline, apart: &Apart, hired: &Hired, hz: u32, auto: bool) -> Result<(Phone, Session)> {
    let account = hired.phone("127.0.0.1:0".parse()?, Apart::sip(1));
    let mut phone = apart
        .phone(Apart::sip(1), |config| {
            config.user = account.user;
            config.password = account.password;
            config.microphone = Microphone::Tone(hz);
            config.auto_answer = auto.then_some(Duration::from_millis(100));
        })
        .await?;
    phone.register().await?;
    let session = hired.sign_in(hotline)?;
    tokio::task::block_in_place(|| go(&session, "available"))?;
    Ok((phone, session))
}

/// How often a phone was rung or its call taken over; none of it while it was busy.
async fn rings(phone: &mut Phone) -> Result<usize> {
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(1), phone.next_event()).await {}
    let refused = phone.ladder().lines().iter().any(|line| line.sent && line.summary.starts_with("486"));
    ensure!(!refused, "the phone was rung while it was busy:\n{}", phone.ladder());
    let rang = |event: &&PhoneEvent| matches!(event, PhoneEvent::Incoming { .. } | PhoneEvent::Replaced);
    Ok(phone.seen().iter().filter(rang).count())
}

async fn cut_off(hotline: &Hotline) -> Result<()> {
    let supervisor = hotline.session("supervisor", 0)?;
    let admin = hotline.session("admin", 0)?;
    let hired = (0..2).map(|nth| DESK.hire(&admin, nth)).collect::<Result<Vec<_>>>()?;
    let apart = tokio::task::block_in_place(|| Apart::start(hotline, 2))?;

    let (mut talking, talking_session) = agent(hotline, &apart, &hired[0], AGENT_HZ, true).await?;
    let mut talks = calls(&apart, "+8613800138301", TALKS_HZ).await?;
    talks.has(&supervisor, &["LegsBridged"])?;
    talks.talks_with(&talking, AGENT_HZ, PATIENCE).await?;

    // A short cut, within the node's lease, costs nothing but the silence.
    apart.cut(0)?;
    let (mut heard, mut still) = (0, 0);
    let silent = || {
        let now = talks.phone.heard().len();
        still = if now == heard { still + 1 } else { 0 };
        heard = now;
        still >= 10
    };
    until("the caller hears nothing", PATIENCE, silent).await?;
    apart.mend(0)?;
    talks.talks_with(&talking, AGENT_HZ, PATIENCE).await?;

    let (mut ringing, ringing_session) = agent(hotline, &apart, &hired[1], OTHER_HZ, false).await?;
    let rung = calls(&apart, "+8613800138302", RINGS_HZ).await?;
    rung.has(&supervisor, &["OfferRinging"])?;
    ringing.wait_incoming(PATIENCE).await?;
    let next = calls(&apart, "+8613800138303", NEXT_HZ).await?;
    next.has(&supervisor, &["ContactEnqueued"])?;
    let rung_before = [rings(&mut talking).await?, rings(&mut ringing).await?];

    tokio::task::block_in_place(|| hotline.watches_leases());
    apart.cut(0)?;
    let cut = Instant::now();
    talks.phone.forget_heard();
    talking.forget_heard();
    talks.talks_with(&talking, AGENT_HZ, HEARD_AGAIN).await?;
    println!("    both hear each other again {:.1} s after the cut", cut.elapsed().as_secs_f32());
    ringing.wait_ended(HEARD_AGAIN).await?;
    ringing.wait_incoming(HEARD_AGAIN).await?;
    ringing.answer().await?;
    let either = || hears_now(&ringing, RINGS_HZ) || hears_now(&ringing, NEXT_HZ);
    until("the agent whose phone rang hears somebody", PATIENCE, either).await?;
    let (first, mut second) = if hears_now(&ringing, RINGS_HZ) { (rung, next) } else { (next, rung) };
    first.talks_with(&ringing, OTHER_HZ, PATIENCE).await?;

    apart.mend(0)?;
    let mended = Instant::now();
    tokio::task::block_in_place(|| {
        eventually(Duration::from_secs(20), || {
            let sessions = apart.metric(0, "sessions")?;
            ensure!(sessions == 0, "the node that came back still has {sessions} calls");
            Ok(())
        })
    })?;
    println!("    it had learned that its calls are others' {:.1} s after the mending", mended.elapsed().as_secs_f32());
    // They talk on, and hear nobody else.
    for (caller, agent, hz, strangers) in
        [(&talks, &talking, AGENT_HZ, OTHER_HZ), (&first, &ringing, OTHER_HZ, AGENT_HZ)]
    {
        caller.phone.forget_heard();
        agent.forget_heard();
        caller.talks_with(agent, hz, PATIENCE).await?;
        let stranger = tone_presence(&caller.phone.heard(), strangers);
        ensure!(stranger < 0.1, "{} hears the other agent: {stranger}", caller.number);
    }
    ensure!(!hears_now(&second.phone, AGENT_HZ) && !hears_now(&second.phone, OTHER_HZ), "who waits hears an agent");
    let rung_now = [rings(&mut talking).await?, rings(&mut ringing).await?];
    ensure!(rung_now == rung_before.map(|n| n + 1), "the phones were rung {rung_before:?} and then {rung_now:?} times");

    // What the node recorded before is there, and it takes calls as before.
    talking.hangup().await?;
    free(&talking_session)?;
    second.talks_with(&talking, AGENT_HZ, PATIENCE).await?;
    second.phone.hangup().await?;
    free(&talking_session)?;
    let mut fresh = calls(&apart, "+8613800138304", TALKS_HZ).await?;
    fresh.talks_with(&talking, AGENT_HZ, PATIENCE).await.context("a new call at the node that came back")?;
    let mut first = first;
    for caller in [&mut talks, &mut first, &mut fresh] {
        // The flow may have said goodbye meanwhile.
        let _ = caller.phone.hangup().await;
    }
    for caller in [&talks, &first, &second] {
        let contact = caller.has(&supervisor, &["NodeLost", "CallReanchored", "ContactEnded"])?;
        let facts = tokio::task::block_in_place(|| super::facts(&supervisor, &contact))?;
        let count = |name: &str| facts.iter().filter(|fact| fact["fact"] == name).count();
        ensure!(count("ContactEnded") == 1 && count("NodeLost") == 1, "{}: {facts:?}", caller.number);
    }
    tokio::task::block_in_place(|| {
        eventually(Duration::from_secs(60), || {
            let all = super::recordings(&supervisor, &talks.contact(&supervisor)?)?;
            ensure!(all.len() >= 2, "{} recordings of the call that moved", all.len());
            Ok(())
        })
    })?;
    drop(apart);
    tokio::task::block_in_place(|| {
        [&talking_session, &ringing_session].iter().try_for_each(|session| go(session, "offline"))
    })
}
