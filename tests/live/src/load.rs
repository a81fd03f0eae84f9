//! Load: sipp as many callers at once, and what became of them.

use anyhow::{Context, Result};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::hotline::{Hotline, Session};

/// Callers who wait until they are hung up on.
#[derive(Debug, Clone, Copy)]
pub struct PatientCallers<'a> {
    /// The number they dial, with its plus sign.
    pub number: &'a str,
    /// How many.
    pub callers: usize,
    /// So many a second.
    pub rate: usize,
    /// How their own numbers begin; eight digits that count up follow.
    pub first: &'a str,
    /// Their SIP port; sound comes 50 above.
    pub port: u16,
}

impl PatientCallers<'_> {
    /// sipp as all of them; it ends with the last.
    pub fn start(&self, hotline: &Hotline, node: &str, name: &str) -> Result<Child> {
        self.start_per(hotline, node, name, Duration::from_secs(1))
    }

    /// The same, at the rate for each such period.
    pub fn start_per(&self, hotline: &Hotline, node: &str, name: &str, period: Duration) -> Result<Child> {
        let folder = hotline.scratch(name)?;
        std::fs::write(folder.join("caller.xml"), PATIENT)?;
        let numbers: Vec<String> = (0..self.callers).map(|nth| format!("{}{nth:08};", self.first)).collect();
        std::fs::write(folder.join("numbers.csv"), format!("SEQUENTIAL\n{}\n", numbers.join("\n")))?;
        let (callers, rate) = (self.callers.to_string(), self.rate.to_string());
        let (port, media) = (self.port.to_string(), (self.port + 50).to_string());
        Command::new("sipp")
            .args([node, "-sf", "caller.xml", "-inf", "numbers.csv", "-s", self.number.trim_start_matches('+')])
            .args(["-i", "127.0.0.1", "-p", &port, "-m", &callers, "-r", &rate, "-l", "2000"])
            .args(["-rp", &period.as_millis().to_string()])
            .args(["-nostdin", "-trace_err", "-rtp_echo", "-mp", &media, "-recv_timeout", "600000"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("sipp (Debian package sip-tester)")
    }
}

/// All contacts of a number.
pub fn contacts(supervisor: &Session, number: &str) -> Result<Vec<Value>> {
    let (mut all, mut next) = (Vec::new(), String::new());
    loop {
        let page = supervisor.get(&format!("/v1/contacts?limit=100{next}"))?;
        all.extend(page["items"].as_array().into_iter().flatten().filter(|c| c["did"] == number).cloned());
        match page["next"].as_str() {
            Some(token) => next = format!("&cursor={token}"),
            None => return Ok(all),
        }
    }
}

/// A caller who waits until the other side hangs up.
const PATIENT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<scenario name="patient caller">
  <send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:[field0]@[local_ip]:[local_port]>;tag=[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=caller 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200"/>
  <send><![CDATA[
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:[field0]@[local_ip]:[local_port]>;tag=[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv request="BYE"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"#;
