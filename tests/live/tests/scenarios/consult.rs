//! An agent at one node asks a colleague at another, all three talk, the colleague goes on alone.

use anyhow::{Result, ensure};
use hotline_live::hotline::Hotline;
use hotline_phone::{Phone, tone_presence};
use serde_json::json;
use std::time::Duration;

use super::{
    AGENT_HZ, CALLER_HZ, COLLEAGUE_HZ, SoftAgent, block_on, go, reach_an_agent, recording, until, wait_for_facts,
};

const NUMBER: &str = "+8613800138012";

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let supervisor = hotline.session("supervisor", 0)?;
    let (contact, sessions) = block_on(async {
        let agent = SoftAgent::available(hotline, 0, &hotline.node(0)?, AGENT_HZ).await?;
        let (mut caller, contact) = reach_an_agent(hotline, &supervisor, NUMBER).await?;
        hears(&caller, "the caller, at first", &[AGENT_HZ], &[]).await?;
        let mut colleague = SoftAgent::available(hotline, 1, &hotline.node(1)?, COLLEAGUE_HZ).await?;
        let act = |action: serde_json::Value| -> Result<()> {
            let path = format!("/v1/contacts/{contact}/actions");
            let answer = tokio::task::block_in_place(|| agent.session.send("POST", &path, Some(&action)))?;
            ensure!(answer.status == 200, "{action}: {} {}", answer.status, answer.body);
            Ok(())
        };

        act(json!({"do": "consult", "to": {"agent": colleague.id}}))?;
        hears(&colleague.phone, "the colleague, asked", &[AGENT_HZ], &[CALLER_HZ]).await?;
        hears(&caller, "the caller, on hold", &[], &[AGENT_HZ, COLLEAGUE_HZ]).await?;

        act(json!({"do": "conference"}))?;
        hears(&caller, "the caller, of three", &[AGENT_HZ, COLLEAGUE_HZ], &[]).await?;
        hears(&agent.phone, "the agent, of three", &[CALLER_HZ, COLLEAGUE_HZ], &[]).await?;
        hears(&colleague.phone, "the colleague, of three", &[CALLER_HZ, AGENT_HZ], &[]).await?;

        // Who hangs up leaves the others to talk.
        let SoftAgent { phone: mut first, session, .. } = agent;
        first.hangup().await?;
        hears(&caller, "the caller, handed over", &[COLLEAGUE_HZ], &[AGENT_HZ]).await?;
        hears(&colleague.phone, "the colleague, alone", &[CALLER_HZ], &[AGENT_HZ]).await?;

        colleague.phone.hangup().await?;
        caller.hangup().await?;
        Ok((contact, [session, colleague.session]))
    })?;
    let facts = wait_for_facts(&supervisor, &contact, &["ContactEnded", "RecordingSaved"], Duration::from_secs(60))?;
    let ended = facts.iter().filter(|fact| fact["fact"] == "ContactEnded").count();
    ensure!(ended == 1, "{ended} terminal facts");
    let channels = recording(&supervisor, &contact)?;
    ensure!(tone_presence(&channels[0], CALLER_HZ) > 0.2, "the caller is not in the recording");
    sessions.iter().try_for_each(|session| go(session, "offline"))
}

/// Waits until a second of what a phone hears has all of these tones in it and none of those.
async fn hears(phone: &Phone, who: &str, all: &[u32], none: &[u32]) -> Result<()> {
    let what = format!("{who} hears {all:?} Hz and not {none:?} Hz");
    until(&what, Duration::from_secs(20), || {
        let heard = phone.heard();
        let Some(last) = heard.len().checked_sub(8_000).and_then(|from| heard.get(from..)) else {
            return false;
        };
        all.iter().all(|hz| tone_presence(last, *hz) > 0.8) && none.iter().all(|hz| tone_presence(last, *hz) < 0.1)
    })
    .await
}
