//! A record-routing proxy between node and phones: calls in, calls out, ended by either side.

use anyhow::Result;
use hotline_interop::kamailio::Kamailio;
use hotline_phone::{Microphone, Phone, PhoneConfig};
use hotline_sip::api::Transport;
use std::time::Duration;

use super::node::RunningNode;
use super::{hears, rules, softphone};

/// Waits for requests within a dialog that went by the proxy.
fn routed(phone: &Phone, method: &str) -> bool {
    phone.ladder().to_string().contains(method)
}

pub fn both_ways() -> Result<()> {
    let patience = Duration::from_secs(15);
    // The agent's phone stands behind the proxy; the node sends to the proxy.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (mut agent, agent_address) = runtime.block_on(async {
        let mut config = PhoneConfig::new("127.0.0.1:0".parse()?, "127.0.0.1:9".parse()?);
        config.auto_answer = Some(Duration::from_millis(50));
        config.microphone = Microphone::Tone(620);
        let phone = Phone::start(config).await?;
        let address = phone.local_addr();
        anyhow::Ok((phone, address))
    })?;
    // The node's rules name the proxy, and the proxy's routes the node: the proxy's port is chosen first.
    let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    for transport in [Transport::Udp, Transport::Tcp] {
        let suffix = if transport == Transport::Tcp { ";transport=tcp" } else { "" };
        let node = RunningNode::start("45300-45399", &rules(&format!("sip:agent@{port}{suffix}")))?;
        let proxy = Kamailio::start_at(
            port,
            node.address(transport)?,
            if transport == Transport::Tcp { "tcp" } else { "udp" },
            &[("agent", format!("sip:{agent_address}"))],
        )?;

        // In through the proxy, to the menu; the node ends it (BYE goes by the route set).
        node.run(async {
            let mut caller = softphone(proxy.address(), 980).await?;
            caller.call(&format!("sip:600@{}", proxy.address())).await?;
            caller.wait_answered(patience).await?;
            hears(&caller, 440).await?;
            caller.send_digits("1").await?;
            hears(&caller, 880).await?;
            caller.wait_ended(patience).await?;
            anyhow::Ok(())
        })?;

        // In and out again through the proxy: both hear each other, hold works, the caller ends it.
        node.run(async {
            let mut caller = softphone(proxy.address(), 980).await?;
            caller.call(&format!("sip:700@{}", proxy.address())).await?;
            caller.wait_answered(patience).await?;
            hears(&caller, 620).await?;
            hears(&agent, 980).await?;
            agent.hold(true).await?;
            // Refused while the first offer has no answer.
            let until = tokio::time::Instant::now() + patience;
            while let Err(error) = agent.hold(false).await {
                anyhow::ensure!(tokio::time::Instant::now() < until, "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            caller.forget_heard();
            hears(&caller, 620).await?;
            caller.hangup().await?;
            agent.wait_ended(patience).await?;
            anyhow::ensure!(routed(&agent, "BYE"), "no BYE at the agent:\n{}", agent.ladder());
            agent.forget_heard();
            anyhow::Ok(())
        })?;
        node.until("sessions", 0)?;
        drop(proxy);
    }
    runtime.block_on(agent.stop());
    Ok(())
}
