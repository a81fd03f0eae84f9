//! `kill -9` of the node in mid-call: another takes the call over; what was said before is recorded;
//! who cannot be taken over is called back.

use anyhow::{Context, Result, bail, ensure};
use hotline_live::hotline::{Hotline, eventually};
use hotline_phone::Phone;
use std::time::{Duration, Instant};

use super::callback::party;
use super::{
    AGENT_HZ, CALLER_HZ, SoftAgent, block_on, contact_of, go, hears, hears_tone, reach_an_agent, recordings,
    wait_for_facts,
};

/// The call survives; both go on talking.
pub fn taken_over(hotline: &mut Hotline) -> Result<()> {
    const NUMBER: &str = "+8613800138002";
    let supervisor = hotline.session("supervisor", 0)?;
    let (contact, session) = block_on(async {
        let agent = SoftAgent::available(hotline, 0, &hotline.node(0)?, AGENT_HZ).await?;
        let (mut caller, contact) = reach_an_agent(hotline, &supervisor, NUMBER).await?;
        hears_tone(&caller, AGENT_HZ, 11_500).await?;
        kill_first_node(hotline)?;
        let killed = Instant::now();
        both_hear(&caller, &agent.phone).await?;
        println!("    both hear each other again {:.1} s after the kill", killed.elapsed().as_secs_f32() - 1.5);
        let SoftAgent { mut phone, session, .. } = agent;
        phone.hangup().await?;
        caller.hangup().await?;
        Ok((contact, session))
    })?;
    let facts = wait_for_facts(&supervisor, &contact, &["ContactEnded", "NodeLost"], Duration::from_secs(60))?;
    let ended = facts.iter().filter(|fact| fact["fact"] == "ContactEnded").count();
    ensure!(ended == 1, "{ended} terminal facts");
    let all = eventually(Duration::from_secs(60), || {
        let all = recordings(&supervisor, &contact)?;
        if all.len() >= 2 { Ok(all) } else { bail!("{} recordings", all.len()) }
    })?;
    let first = all.iter().max_by_key(|channels| channels[0].len()).context("recordings")?;
    hears("the recording's left channel", &first[0], 8_000, CALLER_HZ, 10_000)?;
    hears("the recording's right channel", &first[1], 8_000, AGENT_HZ, 10_000)?;
    go(&session, "offline")
}

/// The caller is gone with the node: the agent is free at once and the caller is called back.
pub fn called_back(hotline: &mut Hotline) -> Result<()> {
    const NUMBER: &str = "+8613800138014";
    let supervisor = hotline.session("supervisor", 0)?;
    let (contact, again, session) = block_on(async {
        let agent = SoftAgent::available(hotline, 0, &hotline.node(0)?, AGENT_HZ).await?;
        let (caller, contact) = reach_an_agent(hotline, &supervisor, NUMBER).await?;
        hears_tone(&caller, AGENT_HZ, 1_000).await?;
        drop(caller);
        kill_first_node(hotline)?;
        let party = party().await?;
        tokio::task::block_in_place(|| {
            wait_for_facts(&supervisor, &contact, &["NodeLost", "ContactEnded"], Duration::from_secs(60))
        })?;
        let SoftAgent { phone, session, id } = agent;
        drop(phone);
        drop(id);
        // The phone of before is at a dead call; a person would pick up anew.
        let agent = SoftAgent::available(hotline, 0, &hotline.node(0)?, AGENT_HZ).await?;
        both_hear(&party, &agent.phone).await?;
        let again = tokio::task::block_in_place(|| contact_of(&supervisor, NUMBER))?;
        let SoftAgent { mut phone, .. } = agent;
        phone.hangup().await?;
        drop(party);
        Ok((contact, again, session))
    })?;
    ensure!(again != contact, "there is no second contact of this caller");
    wait_for_facts(&supervisor, &again, &["PartyReached", "LegsBridged", "ContactEnded"], Duration::from_secs(60))?;
    go(&session, "offline")
}

/// Kills the first node without a word and waits until it was started again.
fn kill_first_node(hotline: &Hotline) -> Result<()> {
    let node = hotline.pid("nodes/0")?;
    // SAFETY: kill(2) takes plain integers.
    ensure!(unsafe { libc::kill(node as i32, libc::SIGKILL) } == 0, "cannot kill the node");
    tokio::task::block_in_place(|| {
        eventually(Duration::from_secs(20), || {
            if hotline.pid("nodes/0")? != node { Ok(()) } else { bail!("the node was not started again") }
        })
    })
}

/// Waits until both have heard the other for 1.5 s from now on.
async fn both_hear(caller: &Phone, agent: &Phone) -> Result<()> {
    caller.forget_heard();
    agent.forget_heard();
    super::until("caller and agent hear each other", Duration::from_secs(60), || {
        let ms = |phone: &Phone, hz: u32| hotline_live::sound::tone_ms(&phone.heard(), f64::from(hz), 8_000);
        ms(caller, AGENT_HZ) >= 1_500 && ms(agent, CALLER_HZ) >= 1_500
    })
    .await
}
