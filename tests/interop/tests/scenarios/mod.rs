//! What is tried.

pub mod browser;
pub mod clock;
pub mod linphone;
pub mod node;
pub mod proxy;
pub mod scanners;

use anyhow::Result;
use hotline_phone::{Microphone, Phone, PhoneConfig, tone_share};
use hotline_sip::api::Transport;
use node::RunningNode;
use std::net::SocketAddr;
use std::time::Duration;

/// A menu at 600, and phones by their names after a 7.
fn rules(callee: &str) -> String {
    format!(
        "rules:\n  - dial: \"600\"\n    menu: {{prompt: {{tone: 440, ms: 6000}}, wait_ms: 6000, keys: {{\"1\": {{play: {{tone: 880, ms: 3000}}}}}}}}\n  \
         - dial: \"700\"\n    bridge: {{to: \"{callee}\", ring_timeout_ms: 20000}}\n"
    )
}

/// A softphone that speaks a tone.
async fn softphone(server: SocketAddr, hz: u32) -> Result<Phone> {
    let mut config = PhoneConfig::new("127.0.0.1:0".parse()?, server);
    config.microphone = Microphone::Tone(hz);
    Ok(Phone::start(config).await?)
}

/// Waits until a softphone hears a tone, 15 s at most.
async fn hears(phone: &Phone, hz: u32) -> Result<()> {
    let until = tokio::time::Instant::now() + Duration::from_secs(15);
    loop {
        let heard = phone.heard();
        let last = heard.get(heard.len().saturating_sub(4_000)..).unwrap_or_default();
        let share = tone_share(last, hz);
        if last.len() >= 4_000 && share > 0.8 {
            return Ok(());
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < until,
            "{hz} Hz is not heard: {share:.2} of the last half second; {} samples\n{:?}",
            heard.len(),
            phone.seen()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The node's address for UDP.
fn udp(node: &RunningNode) -> Result<SocketAddr> {
    node.address(Transport::Udp)
}
