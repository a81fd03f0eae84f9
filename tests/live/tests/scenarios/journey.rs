//! The main job: a caller, a menu, an agent's real phone, two-way audio, a survey, and what is kept.

use anyhow::{Context, Result, bail, ensure};
use hotline_live::hotline::{Hotline, eventually};
use hotline_live::push::Console;
use std::time::Duration;

use super::{
    AGENT_HZ, Agent, CALLER_HZ, block_on, hears, hears_a_prompt, hears_tone, reach_an_agent, recording, wait_for_facts,
};

const NUMBER: &str = "+8613800138001";

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let supervisor = hotline.session("supervisor", 0)?;
    let agent = Agent::available(hotline, 0, "journey-agent", "udp")?;
    let consoles = [Console::connect(hotline, &agent.session)?, Console::connect(hotline, &supervisor)?];
    let (heard, contact) = block_on(async {
        let (mut phone, contact) = reach_an_agent(hotline, &supervisor, NUMBER).await?;
        phone.forget_heard();
        hears_tone(&phone, AGENT_HZ, 4_500).await?;
        let heard = phone.heard();
        agent.phone.hang_up()?;
        tokio::task::block_in_place(|| {
            wait_for_facts(&supervisor, &contact, &["AgentLegEnded"], Duration::from_secs(10))
        })?;
        phone.forget_heard();
        hears_a_prompt(&phone).await?;
        phone.send_digits("4").await?;
        phone.wait_ended(Duration::from_secs(20)).await?;
        Ok((heard, contact))
    })?;
    hears("the caller", &heard, 8_000, AGENT_HZ, 3_500)?;
    let (heard, rate) = agent.phone.heard()?;
    hears("the agent", &heard, rate, CALLER_HZ, 3_500)?;

    let wanted = [
        "ContactArrived",
        "LanguageSet",
        "MenuChosen",
        "ContactEnqueued",
        "OfferMade",
        "OfferAccepted",
        "LegsBridged",
        "RecordingStarted",
        "AgentLegEnded",
        "SurveyAnswered",
        "ContactEnded",
        "RecordingSaved",
    ];
    let facts = wait_for_facts(&supervisor, &contact, &wanted, Duration::from_secs(30))?;
    let survey = facts.iter().find(|f| f["fact"] == "SurveyAnswered").context("survey")?;
    ensure!(survey["body"].to_string().contains('4'), "the survey says {}", survey["body"]);
    let terminal = facts.iter().filter(|f| f["fact"] == "ContactEnded").count();
    ensure!(terminal == 1, "{terminal} terminal facts");

    let channels = recording(&supervisor, &contact)?;
    hears("the recording's left channel", &channels[0], 8_000, CALLER_HZ, 3_500)?;
    hears("the recording's right channel", &channels[1], 8_000, AGENT_HZ, 3_500)?;

    let found = supervisor.get(&format!("/v1/contacts/{contact}"))?;
    let ticket = found["ticket"].as_str().context("ticket id")?.to_owned();
    let ticket = eventually(Duration::from_secs(15), || supervisor.get(&format!("/v1/tickets/{ticket}")))?;
    let text = ticket.to_string();
    for part in [contact.as_str(), "technical"] {
        ensure!(text.contains(part), "the ticket does not mention {part}: {text}");
    }
    let explained =
        supervisor.get(&format!("/v1/tickets/{}/explain?lang=en", found["ticket"].as_str().unwrap_or_default()))?;
    ensure!(explained.to_string().contains("15"), "no 15 minutes in {explained}");

    for console in &consoles {
        let offer = console.wait_for("the offer", |event| {
            event["event"] == "offer" && event["contact"] == contact.as_str() && event["change"]["state"] == "made"
        })?;
        ensure!(offer["change"]["caller"].to_string().contains("8001"), "the story on the screen is {offer}");
        for change in ["accepted", "ended"] {
            console.wait_for(change, |event| event["offer"] == offer["offer"] && event["change"]["state"] == change)?;
        }
        console.wait_for("the queue", |event| event["contact"] == contact.as_str() && event["change"] == "enqueued")?;
    }
    let [_, watching] = &consoles;
    watching.wait_for("the ticket", |event| event["event"] == "ticket" && event["ticket"] == found["ticket"])?;
    drop(consoles);

    // The agent is in WrapUp until its time is over or it is ended.
    agent.go("available")?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    eventually(Duration::from_secs(10), || {
        let report = supervisor.get(&format!("/v1/reports/summary?from={}&to={}", now - 3_600_000, now + 3_600_000))?;
        if report.to_string().contains("technical") { Ok(()) } else { bail!("the report is {report}") }
    })
}
