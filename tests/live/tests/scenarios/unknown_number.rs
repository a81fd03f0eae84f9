//! A number that nobody owns: the caller hears so and gets 404.

use anyhow::{Result, ensure};
use hotline_live::hotline::Hotline;
use hotline_phone::PhoneEvent;
use std::time::Duration;

use super::{block_on, caller};

pub fn run(hotline: &mut Hotline) -> Result<()> {
    block_on(async {
        let mut phone = caller(hotline, "+8613800138003").await?;
        phone.call(&format!("sip:861099999999@{}", hotline.sip())).await?;
        let ended = phone.wait_ended(Duration::from_secs(20)).await?;
        ensure!(matches!(ended, PhoneEvent::Ended { status: Some(404), .. }), "ended as {ended:?}");
        let loud = hotline_phone::loudness(&phone.heard());
        ensure!(loud > 100.0, "nothing was heard before the 404: loudness {loud}");
        Ok(())
    })
}
