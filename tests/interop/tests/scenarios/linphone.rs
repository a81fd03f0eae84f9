//! linphone registers, calls the menu and is called, over each transport.

use anyhow::Result;
use hotline_interop::linphone::{Linphone, Setup};
use hotline_sip::api::Transport;
use std::time::Duration;

use super::node::RunningNode;
use super::{hears, rules, softphone};

pub fn udp() -> Result<()> {
    talks(Transport::Udp, "udp", 25_160)
}

pub fn tcp() -> Result<()> {
    talks(Transport::Tcp, "tcp", 25_170)
}

pub fn tls() -> Result<()> {
    talks(Transport::Tls, "tls", 25_180)
}

fn talks(transport: Transport, name: &str, sip_port: u16) -> Result<()> {
    let node = RunningNode::start("45000-45099", &rules("linda"))?;
    let mut registrar = node.address(transport)?.to_string();
    if transport == Transport::Tls {
        // linphone's TLS does not find addresses in certificates, only names.
        registrar = registrar.replace("127.0.0.1", "localhost");
    }
    let mut phone = Linphone::start(&Setup {
        transport: name,
        registrar: registrar.clone(),
        user: "linda",
        sip_port,
        rtp_port: 45_200,
        tone_hz: 620,
        root_ca: (transport == Transport::Tls).then(|| node.certificate()),
    })?;
    node.until("phones", 1)?;

    // It calls: the menu is heard, a key (RFC 4733) is understood.
    phone.command(&format!("call sip:600@{registrar};transport={name}"))?;
    phone.hears(440.0, 500)?;
    phone.command("1")?;
    phone.hears(880.0, 500)?;
    node.until("calls", 0)?;
    phone.says("ended")?;

    // It is called: each hears the other.
    phone.record("second.wav")?;
    node.run(async {
        let mut caller = softphone(super::udp(&node)?, 980).await?;
        caller.call(&format!("sip:700@{}", super::udp(&node)?)).await?;
        caller.wait_answered(Duration::from_secs(15)).await?;
        hears(&caller, 620).await?;
        phone.hears(980.0, 500)?;
        // It hangs up.
        phone.command("terminate all")?;
        caller.wait_ended(Duration::from_secs(10)).await?;
        anyhow::Ok(())
    })?;
    node.until("sessions", 0)?;
    if transport != Transport::Udp {
        drop(phone);
        // Without its connection a phone is not registered any more.
        node.until("phones", 0)?;
    }
    Ok(())
}
