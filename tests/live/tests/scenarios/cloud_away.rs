//! The functions stop answering in mid-call: the caller hears the flow's fallback and is served after.

use anyhow::{Context, Result};
use hotline_live::hotline::Hotline;
use std::time::Duration;

use super::{block_on, caller, contact_of, hears_a_prompt, until, wait_for_facts};

const NUMBER: &str = "+8613800138004";

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let supervisor = hotline.session("supervisor", 0)?;
    let cloud = hotline.pid("cloud")? as i32;
    let signal = |signal| {
        // SAFETY: kill(2) takes plain integers.
        unsafe { libc::kill(cloud, signal) }
    };
    let outcome = block_on(async {
        let mut phone = caller(hotline, NUMBER).await?;
        phone.call(&format!("sip:{}@{}", hotline.number(), hotline.sip())).await?;
        phone.wait_answered(Duration::from_secs(10)).await?;
        hears_a_prompt(&phone).await?;
        let before = kept_company(hotline)?;
        signal(libc::SIGSTOP);
        phone.send_digits("2").await?;
        let company = until("the node begins to play the fallback", Duration::from_secs(15), || {
            kept_company(hotline).is_ok_and(|times| times > before)
        });
        company.await?;
        phone.forget_heard();
        hears_a_prompt(&phone).await.context("the caller hears nothing while decisions are away")?;
        signal(libc::SIGCONT);
        let contact = tokio::task::block_in_place(|| -> Result<String> {
            let contact = contact_of(&supervisor, NUMBER)?;
            wait_for_facts(&supervisor, &contact, &["LanguageSet"], Duration::from_secs(30))?;
            Ok(contact)
        })?;
        phone.hangup().await?;
        tokio::task::block_in_place(|| {
            wait_for_facts(&supervisor, &contact, &["ContactEnded"], Duration::from_secs(20))
        })?;
        Ok(())
    });
    signal(libc::SIGCONT);
    outcome
}

/// How often the node had to keep a caller company, by its metrics.
fn kept_company(hotline: &Hotline) -> Result<u64> {
    hotline.node_metric(0, "company")
}
