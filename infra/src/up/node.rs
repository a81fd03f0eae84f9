//! The media node as a child process.

use anyhow::{Result, bail};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::cloud::CLOUD_ENVIRONMENT;
use super::deploy::Stack;
use super::seed;
use crate::place::{NodePlace, Place};
use crate::process;

/// Starts it and waits until it says that it is ready.
pub fn start(place: &Place, node: &NodePlace, stack: &Stack) -> Result<(Child, String)> {
    let log = place.log(&node.name);
    let mut command = Command::new(place.program("media-node"));
    command.args(["--config".as_ref(), config_file(place, node, stack)?.as_os_str()]);
    command.envs(CLOUD_ENVIRONMENT).env("AWS_ENDPOINT_URL", place.cloud_url());
    let mut child = process::spawn(&mut command, &log)?;
    let until = Instant::now() + Duration::from_secs(20);
    let ready = format!("http://{}/readyz", node.health);
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(1))).build();
    let agent = ureq::Agent::from(config);
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(12).collect();
            bail!("the media node ended with {status}:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        if agent.get(&ready).call().is_ok() {
            return Ok((child, format!("sip {}", node.sip)));
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    process::stop(&mut child, Duration::from_secs(5))?;
    bail!("the media node was not ready within 20 s; its log: {}", log.display())
}

/// What browsers' phones need.
fn browsers(place: &Place, node: &NodePlace) -> String {
    let mut lines = String::new();
    if let Some(ws) = node.ws {
        lines += &format!("ws_listen = [\"{ws}\"]\n");
    }
    if let Some(wss) = node.wss {
        let file = |file: &std::path::Path| place.root.join(file).display().to_string();
        let (cert, key) = (file(&place.settings.tls_cert), file(&place.settings.tls_key));
        lines += &format!("wss_listen = [\"{wss}\"]\ntls_cert = {cert:?}\ntls_key = {key:?}\n");
    }
    lines
}

/// Writes the node's settings from ours and the stack's outputs.
fn config_file(place: &Place, node: &NodePlace, stack: &Stack) -> Result<PathBuf> {
    let bind = place.settings.bind;
    let sip = node.sip;
    let text = format!(
        "# Written by `hotline up` at each start.\n\
         [node]\ndata_dir = {data:?}\ndrain_s = 10\nfleet_key = {fleet_key:?}\n\n\
         [sip]\nlisten = [\"udp:{sip}\", \"tcp:{sip}\"]\ntrusted = [{trusted}]\n{browsers}\n\
         [media]\nbind = \"{bind}\"\nports = \"{min}-{max}\"\n\n\
         [http]\nlisten = \"{http}\"\n\n\
         [cloud]\nivr_function = {ivr:?}\ndirectory_function = {directory:?}\nnode_queue_prefix = {prefix:?}\n\
         recordings_bucket = {recordings:?}\nprompts_bucket = {prompts:?}\n\n\
         [trunk]\ngateways = {gateways:?}\nallow = {allow:?}\n\n\
         [log]\nlevel = \"info\"\njson = true\n",
        fleet_key = seed::fleet_key(place)?,
        browsers = browsers(place, node),
        gateways = place.settings.gateways,
        allow = place.settings.dial_allow,
        data = place.local(&node.name).display().to_string(),
        trusted = if bind.is_loopback() { "\"127.0.0.0/8\"" } else { "" },
        min = node.rtp.0,
        max = node.rtp.1,
        http = node.health,
        ivr = stack.output("IvrFunction")?,
        directory = stack.output("DirectoryFunction")?,
        prefix = stack.output("NodeQueuePrefix")?,
        recordings = stack.output("RecordingsBucket")?,
        prompts = stack.output("PromptsBucket")?,
    );
    let file = place.local(format!("{}.toml", node.name));
    let _ = std::fs::remove_file(&file);
    let mut open = File::options().create_new(true).write(true).mode(0o600).open(&file)?;
    open.write_all(text.as_bytes())?;
    Ok(file)
}
