//! The functions stop answering in mid-call: the caller hears the flow's fallback and is served after.

use anyhow::{Context, Result, bail};
use hotline_live::hotline::Hotline;
use hotline_phone::Phone;
use std::time::Duration;

use super::{block_on, caller, contact_of, hears_a_prompt, wait_for_facts};

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
        signal(libc::SIGSTOP);
        phone.send_digits("2").await?;
        // The key ends the prompt; what is heard after the pause is the fallback.
        falls_silent(&phone).await?;
        let company = hears_a_prompt(&phone).await;
        signal(libc::SIGCONT);
        company.context("the caller hears nothing while decisions are away")?;
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

/// Waits until nothing was heard for 300 ms, and forgets what was.
async fn falls_silent(phone: &Phone) -> Result<()> {
    for _ in 0..50 {
        phone.forget_heard();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if hotline_phone::loudness(&phone.heard()) < 10.0 {
            return Ok(());
        }
    }
    bail!("the prompt goes on after the key")
}
