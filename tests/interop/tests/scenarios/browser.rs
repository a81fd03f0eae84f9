//! Chromium with JsSIP.

use anyhow::Result;
use hotline_interop::browser::Browser;
use hotline_sip::api::Transport;
use serde_json::json;
use std::time::Duration;

use super::node::RunningNode;
use super::{hears, rules, softphone, udp};

fn url(node: &RunningNode, transport: Transport) -> Result<String> {
    let scheme = if transport == Transport::Wss { "wss" } else { "ws" };
    Ok(format!("{scheme}://{}/", node.address(transport)?))
}

pub fn registers() -> Result<()> {
    let node = RunningNode::start("45400-45409", &rules("fang"))?;
    for transport in [Transport::Wss, Transport::Ws] {
        let browser = Browser::start()?;
        browser.register(&url(&node, transport)?, "fang")?;
        node.until("phones", 1)?;
        // A page that is loaded anew registers in its own place.
        browser.reload()?;
        browser.register(&url(&node, transport)?, "fang")?;
        node.until("phones", 1)?;
        // A number nobody knows.
        browser.ask("call", json!({"target": "sip:999@hotline", "hz": 700}))?;
        let failed = browser.wait("failed")?;
        anyhow::ensure!(failed["originator"] == "remote", "{failed}");
        drop(browser);
        node.until("phones", 0)?;
    }
    Ok(())
}

pub fn calls_a_menu() -> Result<()> {
    let node = RunningNode::start("45410-45449", &rules("fang"))?;
    let browser = Browser::start()?;
    browser.register(&url(&node, Transport::Wss)?, "fang")?;
    for by in ["rtp", "info"] {
        browser.ask("call", json!({"target": "sip:600@hotline", "hz": 700}))?;
        browser.wait("confirmed")?;
        browser.hears(440.0)?;
        browser.ask("dtmf", json!({"tones": "1", "by": by}))?;
        browser.hears(880.0)?;
        let ended = browser.wait("ended")?;
        anyhow::ensure!(ended["originator"] == "remote", "{ended}");
    }
    node.until("sessions", 0)
}

pub fn is_called() -> Result<()> {
    let patience = Duration::from_secs(15);
    // With several workers the INVITE after the reload begins at any of them.
    let node = RunningNode::start("45450-45499", &rules("fang"))?;
    let browser = Browser::start()?;
    browser.register(&url(&node, Transport::Wss)?, "fang")?;
    node.run(async {
        let mut caller = softphone(udp(&node)?, 980).await?;
        caller.call(&format!("sip:700@{}", udp(&node)?)).await?;
        browser.wait("incoming")?;
        browser.ask("answer", json!({"hz": 700}))?;
        caller.wait_answered(patience).await?;
        browser.hears(980.0)?;
        hears(&caller, 700).await?;

        browser.hold(true)?;
        browser.hold(false)?;
        caller.forget_heard();
        hears(&caller, 700).await?;
        browser.hears(980.0)?;

        // It asks to be replaced by somebody else. Stand-alone, nobody grants that, and the talk goes on.
        browser.ask("refer", json!({"target": "sip:600@hotline"}))?;
        browser.wait("referRefused")?;
        caller.forget_heard();
        hears(&caller, 700).await?;

        // The page is loaded anew in the middle of the call, and has it back.
        let dialog = browser.ask("dialog", json!({}))?;
        browser.reload()?;
        browser.register(&url(&node, Transport::Wss)?, "fang")?;
        node.until("phones", 1)?;
        let headers = [format!("Replaces: {}", dialog.as_str().unwrap_or_default()), "Require: replaces".into()];
        browser.ask("call", json!({"target": "sip:resume@hotline", "hz": 760, "headers": headers}))?;
        browser.wait("confirmed")?;
        caller.forget_heard();
        hears(&caller, 760).await?;
        browser.hears(980.0)?;
        caller.hangup().await?;
        caller.wait_ended(patience).await?;
        browser.wait("ended")?;

        // It can be called again.
        caller.call(&format!("sip:700@{}", udp(&node)?)).await?;
        browser.wait("incoming")?;
        browser.ask("answer", json!({"hz": 700}))?;
        caller.wait_answered(patience).await?;
        caller.forget_heard();
        hears(&caller, 700).await?;
        browser.ask("hang_up", json!({}))?;
        caller.wait_ended(patience).await?;
        anyhow::Ok(())
    })?;
    node.until("sessions", 0)
}
