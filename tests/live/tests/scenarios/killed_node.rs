//! `kill -9` of the node in mid-call: the recording is saved, the contact ends, the agent is freed.

use anyhow::{Context, Result, ensure};
use hotline_live::hotline::{Hotline, eventually};
use std::time::{Duration, Instant};

use super::{AGENT_HZ, Agent, CALLER_HZ, block_on, hears, hears_tone, reach_an_agent, recording, wait_for_facts};

const NUMBER: &str = "+8613800138002";

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let supervisor = hotline.session("supervisor", 0)?;
    let agent = Agent::available(hotline, 0, "killed-agent", "udp")?;
    let (contact, talked) = block_on(async {
        let (mut phone, contact) = reach_an_agent(hotline, &supervisor, NUMBER).await?;
        let joined = Instant::now();
        hears_tone(&phone, AGENT_HZ, 11_500).await?;
        let node = hotline.pid("nodes/0")?;
        // SAFETY: kill(2) takes plain integers.
        ensure!(unsafe { libc::kill(node as i32, libc::SIGKILL) } == 0, "cannot kill the node");
        let talked = joined.elapsed();
        tokio::task::block_in_place(|| {
            eventually(Duration::from_secs(20), || {
                let new = hotline.pid("nodes/0")?;
                if new != node { Ok(()) } else { anyhow::bail!("the node was not started again") }
            })
        })?;
        let _ = phone.hangup().await;
        Ok((contact, talked))
    })?;
    let facts = wait_for_facts(&supervisor, &contact, &["ContactEnded", "RecordingSaved"], Duration::from_secs(60))?;
    let ended = facts.iter().find(|f| f["fact"] == "ContactEnded").context("ended")?;
    ensure!(ended["body"].to_string().contains("node"), "the contact ended as {}", ended["body"]);
    let channels = recording(&supervisor, &contact)?;
    let least = (talked.as_millis() as u64).saturating_sub(1_500);
    hears("the recording's left channel", &channels[0], 8_000, CALLER_HZ, least - 500)?;
    hears("the recording's right channel", &channels[1], 8_000, AGENT_HZ, least - 500)?;
    // The agent is free again: the phone registers anew and takes the next call.
    drop(agent);
    let agent = Agent::available(hotline, 0, "killed-agent-again", "udp")?;
    agent.go("offline")
}
