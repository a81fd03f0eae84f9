//! The caller's call is at one node, the agent's phone at another.

use anyhow::{Result, ensure};
use hotline_live::hotline::Hotline;
use std::time::Duration;

use super::{
    AGENT_HZ, CALLER_HZ, SoftAgent, block_on, go, hears, hears_tone, reach_an_agent, recording, wait_for_facts,
};

const NUMBER: &str = "+8613800138011";

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let supervisor = hotline.session("supervisor", 0)?;
    let (session, contact) = block_on(async {
        let other = hotline.node(1)?;
        ensure!(other != hotline.sip(), "there is only one node");
        let agent = SoftAgent::available(hotline, 1, &other, AGENT_HZ).await?;
        let (mut caller, contact) = reach_an_agent(hotline, &supervisor, NUMBER).await?;
        caller.forget_heard();
        hears_tone(&caller, AGENT_HZ, 3_000).await?;
        hears_tone(&agent.phone, CALLER_HZ, 3_000).await?;
        let SoftAgent { mut phone, session, .. } = agent;
        phone.hangup().await?;
        tokio::task::block_in_place(|| {
            wait_for_facts(&supervisor, &contact, &["AgentLegEnded"], Duration::from_secs(10))
        })?;
        caller.hangup().await?;
        Ok((session, contact))
    })?;
    wait_for_facts(&supervisor, &contact, &["ContactEnded", "RecordingSaved"], Duration::from_secs(60))?;
    let channels = recording(&supervisor, &contact)?;
    hears("the recording's left channel", &channels[0], 8_000, CALLER_HZ, 2_000)?;
    hears("the recording's right channel", &channels[1], 8_000, AGENT_HZ, 2_000)?;
    go(&session, "offline")
}
