//! A second `up`, a call without a token, an unknown contact: each gets a clear answer.

use anyhow::{Result, ensure};
use hotline_live::hotline::Hotline;
use serde_json::json;

pub fn run(hotline: &mut Hotline) -> Result<()> {
    let second = hotline.try_command(&["up"])?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(!second.status.success() && said.contains("already running"), "a second up said: {said}");

    let agent = hotline.session("agent", 0)?;
    let forbidden = agent.send("POST", "/v1/users", Some(&json!({})))?;
    ensure!(forbidden.status == 403, "an agent adding a user got {} {}", forbidden.status, forbidden.body);
    let admin = hotline.session("admin", 0)?;
    let unknown = admin.send("GET", "/v1/contacts/con_00000000000000000000000000", None)?;
    ensure!(
        unknown.status == 404 && unknown.body["code"].is_string(),
        "an unknown contact got {} {}",
        unknown.status,
        unknown.body
    );
    let broken = admin.send("POST", "/v1/flows/demo/versions", Some(&json!({"text": "flow: demo\nsteps: ["})))?;
    ensure!((400..500).contains(&broken.status), "a broken flow got {} {}", broken.status, broken.body);
    ensure!(broken.body.to_string().contains("line"), "no line in {}", broken.body);
    Ok(())
}
