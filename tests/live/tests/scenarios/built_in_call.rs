//! `hotline call`, as somebody without a phone would try it.

use anyhow::{Result, ensure};
use hotline_live::hotline::Hotline;

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let said = hotline.command(&["call", "--from", "+8613800138005", "--talk", "3"])?;
    for part in ["INVITE", "LegsBridged", "ContactEnded", "Ticket tkt_", "recording.wav"] {
        ensure!(said.contains(part), "`hotline call` does not show {part}:\n{said}");
    }
    Ok(())
}
