//! What was accepted is there after a stop and a start.

use anyhow::{Result, ensure};
use hotline_live::hotline::Hotline;

use super::contact_of;

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let count = |hotline: &Hotline| -> Result<(usize, usize)> {
        let supervisor = hotline.session("supervisor", 0)?;
        let length = |path: &str| Ok::<_, anyhow::Error>(supervisor.get(path)?["items"].as_array().map_or(0, Vec::len));
        Ok((length("/v1/contacts?limit=100")?, length("/v1/tickets?limit=100")?))
    };
    let before = count(hotline)?;
    ensure!(before.0 > 0, "there are no contacts to keep");
    hotline.down()?;
    let status = hotline.command(&["status"])?;
    ensure!(status.contains("not running"), "after down: {status}");
    hotline.up()?;
    let after = count(hotline)?;
    // The ticket of the last call may have been under way when everything stopped.
    ensure!(after.0 == before.0 && after.1 >= before.1, "contacts and tickets before {before:?}, after {after:?}");
    let said = hotline.command(&["call", "--from", "+8613800138006", "--talk", "2"])?;
    ensure!(said.contains("ContactEnded"), "after a restart: {said}");
    contact_of(&hotline.session("supervisor", 0)?, "+8613800138006").map(drop)
}
