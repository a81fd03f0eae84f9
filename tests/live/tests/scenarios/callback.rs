//! Somebody is called back: the agent's phone rings first, then theirs, behind the carrier's gateway.

use anyhow::{Context, Result, ensure};
use hotline_live::hotline::{GATEWAY, Hotline};
use hotline_phone::{Microphone, Phone, PhoneConfig};
use serde_json::json;
use std::time::Duration;

use super::{AGENT_HZ, CALLER_HZ, SoftAgent, block_on, go, hears_tone, wait_for_facts};

const NUMBER: &str = "+8613800138013";

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let supervisor = hotline.session("supervisor", 0)?;
    let ask = |number: &str| {
        let body =
            json!({"number": number, "name": "Li Wei", "queue": "technical", "did": format!("+{}", hotline.number())});
        supervisor.send("POST", "/v1/callbacks", Some(&body))
    };
    let wrong = ask("12")?;
    ensure!(wrong.status == 422 || wrong.status == 400, "a number of two digits got {} {}", wrong.status, wrong.body);
    ensure!(wrong.body.to_string().contains("number"), "the field is not named: {}", wrong.body);

    let (contact, session) = block_on(async {
        let party = party().await?;
        let answer = tokio::task::block_in_place(|| ask(NUMBER))?;
        ensure!(answer.status == 202, "{} {}", answer.status, answer.body);
        let contact = answer.body["contact"].as_str().context("the call back's id")?.to_owned();
        let agent = SoftAgent::available(hotline, 0, &hotline.node(0)?, AGENT_HZ).await?;
        hears_tone(&party, AGENT_HZ, 2_000).await?;
        hears_tone(&agent.phone, CALLER_HZ, 2_000).await?;
        let SoftAgent { mut phone, session, .. } = agent;
        phone.hangup().await?;
        let wanted = ["PartyDialled", "PartyReached", "LegsBridged", "AgentLegEnded"];
        tokio::task::block_in_place(|| wait_for_facts(&supervisor, &contact, &wanted, Duration::from_secs(10)))?;
        drop(party);
        Ok((contact, session))
    })?;
    wait_for_facts(&supervisor, &contact, &["ContactEnded"], Duration::from_secs(60))?;
    go(&session, "offline")
}

/// The phone behind the carrier's gateway: it takes every call and speaks.
pub async fn party() -> Result<Phone> {
    let mut config = PhoneConfig::new(GATEWAY.parse()?, GATEWAY.parse()?);
    config.auto_answer = Some(Duration::from_millis(300));
    config.microphone = Microphone::Tone(CALLER_HZ);
    Ok(Phone::start(config).await?)
}
