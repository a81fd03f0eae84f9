//! The functions stop answering in mid-call: the caller hears the flow's fallback and is served after.

use anyhow::{Result, ensure};
use hotline_live::hotline::Hotline;
use std::time::Duration;

use super::{block_on, caller, contact_of, wait_for_facts};

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
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        signal(libc::SIGSTOP);
        phone.send_digits("2").await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        phone.forget_heard();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let loud = hotline_phone::loudness(&phone.heard());
        signal(libc::SIGCONT);
        ensure!(loud > 50.0, "the caller heard nothing while decisions were away: loudness {loud}");
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
