//! rtpengine and Kamailio from Debian, driven over the same sockets in the same run: machines
//! differ, the ratio lasts.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Subject, answers_options};

const NG_PORT: u16 = 22_229;

/// rtpengine in user space.
pub struct Rtpengine {
    pub subject: Subject,
    control: UdpSocket,
    cookie: u32,
}

fn text(value: &str) -> String {
    format!("{}:{value}", value.len())
}

fn dictionary(entries: &[(&str, &str)]) -> String {
    let body: String = entries.iter().map(|(key, value)| text(key) + &text(value)).collect();
    format!("d{body}e")
}

/// The port in the SDP of an answer.
fn port_of(answer: &str) -> Option<u16> {
    let (_, rest) = answer.split_once("m=audio ")?;
    rest.split(' ').next()?.parse().ok()
}

impl Rtpengine {
    /// Starts it, without its kernel module.
    ///
    /// # Errors
    /// It is not installed (`apt-get install rtpengine-daemon`), or does not start.
    pub fn start(scratch: &Path) -> Result<Rtpengine> {
        let control = UdpSocket::bind("127.0.0.1:0")?;
        control.connect(("127.0.0.1", NG_PORT))?;
        control.set_read_timeout(Some(Duration::from_millis(200)))?;
        let ng = format!("127.0.0.1:{NG_PORT}");
        let args = [
            "--foreground",
            "--table=-1",
            "--interface=127.0.0.1",
            "--listen-ng",
            &ng,
            "--port-min=50000",
            "--port-max=64999",
            "--log-level=3",
            "--log-stderr",
            "--num-threads=2",
            "--no-redis-required",
        ];
        let probe = control.try_clone()?;
        let subject = Subject::start(Path::new("rtpengine"), &args, &scratch.join("rtpengine.log"), || {
            let _ = probe.send(b"probe d7:command4:pinge");
            probe.recv(&mut [0; 512]).is_ok()
        })?;
        Ok(Rtpengine { subject, control, cookie: 0 })
    }

    fn ask(&mut self, request: &str) -> Result<String> {
        self.cookie += 1;
        let cookie = format!("c{} ", self.cookie);
        let mut buffer = [0; 4_096];
        for _ in 0..5 {
            self.control.send(format!("{cookie}{request}").as_bytes())?;
            while let Ok(length) = self.control.recv(&mut buffer) {
                let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if let Some(answer) = answer.strip_prefix(&cookie) {
                    return Ok(answer.to_string());
                }
            }
        }
        bail!("rtpengine does not answer")
    }

    /// Tells it of a call between the two generator ports; gives its ports towards each.
    ///
    /// # Errors
    /// It refuses.
    pub fn call(&mut self, index: usize, ports: [u16; 2]) -> Result<(SocketAddrV4, SocketAddrV4)> {
        let sdp = |port: u16| {
            format!(
                "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
            )
        };
        let (id, from, to) = (format!("load-{index}"), format!("f{index}"), format!("t{index}"));
        let offer = self.ask(&dictionary(&[
            ("call-id", &id),
            ("command", "offer"),
            ("from-tag", &from),
            ("sdp", &sdp(ports[0])),
        ]))?;
        let answer = self.ask(&dictionary(&[
            ("call-id", &id),
            ("command", "answer"),
            ("from-tag", &from),
            ("sdp", &sdp(ports[1])),
            ("to-tag", &to),
        ]))?;
        let at = |text: &str| port_of(text).map(|port| SocketAddrV4::new([127, 0, 0, 1].into(), port));
        // The offer's answer is sent on to the agent: it holds the port that agents send to.
        let (agent, caller) = (at(&offer), at(&answer));
        caller.zip(agent).with_context(|| format!("rtpengine refused: {offer} {answer}"))
    }
}

/// Kamailio as a stateful proxy towards the agents.
///
/// # Errors
/// It is not installed (`apt-get install kamailio`), or does not start.
pub fn kamailio(scratch: &Path, listen: SocketAddr, agents: SocketAddr) -> Result<Subject> {
    let modules = [
        "/usr/lib/x86_64-linux-gnu/kamailio/modules/",
        "/usr/lib/aarch64-linux-gnu/kamailio/modules/",
        "/usr/lib64/kamailio/modules/",
    ];
    let modules = modules.into_iter().find(|path| Path::new(path).exists()).unwrap_or(modules[0]);
    let config = format!(
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\nchildren=2\nlisten=udp:{listen}\nauto_aliases=no\n\
         mpath=\"{modules}\"\nloadmodule \"tm.so\"\nloadmodule \"sl.so\"\nloadmodule \"pv.so\"\nloadmodule \"textops.so\"\n\
         loadmodule \"siputils.so\"\n\
         request_route {{\n  if (is_method(\"OPTIONS\")) {{ sl_send_reply(\"200\", \"OK\"); exit; }}\n\
         \x20 if (is_method(\"INVITE\")) {{ $du = \"sip:{agents}\"; }}\n  t_relay();\n}}\n"
    );
    let path = scratch.join("kamailio.cfg");
    std::fs::write(&path, config)?;
    let path = path.to_str().context("the scratch folder's name is not text")?;
    let run = scratch.to_str().context("the scratch folder's name is not text")?;
    let args = ["-f", path, "-DD", "-E", "-m", "256", "-M", "16", "-Y", run];
    Subject::start(Path::new("kamailio"), &args, &scratch.join("kamailio.log"), answers_options(listen)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_bencoded_and_ports_found() {
        assert_eq!(dictionary(&[("command", "ping"), ("sdp", "v=0\r\n")]), "d7:command4:ping3:sdp5:v=0\r\ne");
        assert_eq!(port_of("d3:sdp30:v=0\r\nm=audio 50012 RTP/AVP 0\r\n6:result2:oke"), Some(50_012));
        assert_eq!(port_of("d6:result5:errore"), None);
    }
}
