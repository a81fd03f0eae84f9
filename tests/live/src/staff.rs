//! A queue with its flow, number and agents, made through the API for one test alone.

use anyhow::{Context, Result, bail};
use hotline_phone::PhoneConfig;
use serde_json::{Value, json};
use std::net::SocketAddr;

use crate::hotline::{Answer, Hotline, Session};

/// A queue that a number leads to.
#[derive(Debug, Clone, Copy)]
pub struct Desk<'a> {
    /// The queue; the flow has the same name.
    pub queue: &'a str,
    /// The number, with its plus sign.
    pub number: &'a str,
    /// The flow's text.
    pub flow: &'a str,
    /// Wrap-up after each call, milliseconds.
    pub wrap_up_ms: u32,
}

/// An agent who was made.
#[derive(Debug, Clone)]
pub struct Hired {
    /// Signs in.
    pub name: String,
    /// Signs in.
    pub password: String,
    /// The agent's id.
    pub agent: String,
    /// The phone's user name.
    pub sip_user: String,
    /// The phone's password.
    pub sip_password: String,
}

/// A flow that leads into a queue of the same name and nowhere else.
pub fn straight(queue: &str) -> String {
    format!(
        "flow: {queue}\nlanguages: [en]\nstart: wait\nprompts:\n  bye: {{en: Goodbye.}}\nsteps:\n  wait:\n    queue: {queue}\n    \
         max_wait: 30m\n    on_max_wait: bye\n    then: bye\n  bye:\n    hangup: bye\n"
    )
}

/// What an answer of success holds.
fn done(answer: Answer) -> Result<Value> {
    match answer.status {
        200..=299 => Ok(answer.body),
        status => bail!("{status} {}", answer.body),
    }
}

impl Desk<'_> {
    /// Makes the queue, publishes the flow and gives the number to it.
    pub fn open(&self, hotline: &Hotline) -> Result<()> {
        let admin = hotline.session("admin", 0)?;
        let queue = json!({"name": self.queue, "display_name": self.queue, "wrap_up_ms": self.wrap_up_ms,
                           "ring_timeout_ms": 60_000, "max_waiting": 1_000,
                           "service_level": {"threshold_s": 20, "target_pct": 80}});
        done(admin.send("PUT", &format!("/v1/queues/{}", self.queue), Some(&queue))?)?;
        let flow = json!({"text": self.flow});
        done(admin.send("POST", &format!("/v1/flows/{}/versions", self.queue), Some(&flow))?)?;
        let path = format!("/v1/dids/{}", self.number.replace('+', "%2B"));
        let did = json!({"tenant": "demo", "flow": self.queue});
        done(hotline.session("operator", 0)?.send("PUT", &path, Some(&did))?)?;
        Ok(())
    }

    /// Makes an agent of this queue alone.
    pub fn hire(&self, admin: &Session, nth: usize) -> Result<Hired> {
        let (name, password) = (format!("{}{nth}@demo.example", self.queue), format!("Agent-{nth}-of-the-queue"));
        let person = json!({"name": name, "display_name": name, "role": "agent", "password": password,
                            "queues": {self.queue: 0}, "skills": {}});
        let made = done(admin.send("POST", "/v1/users", Some(&person))?)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("the new agent's account");
        Ok(Hired {
            agent: text(&made["user"]["agent"])?,
            sip_user: text(&made["sip"]["user"])?,
            sip_password: text(&made["sip"]["password"])?,
            name,
            password,
        })
    }

    /// The number as it is dialled.
    pub fn dialled(&self) -> &str {
        self.number.trim_start_matches('+')
    }
}

impl Hired {
    /// Signs in at the API.
    pub fn sign_in(&self, hotline: &Hotline) -> Result<Session> {
        hotline.sign_in(&self.name, &self.password)
    }

    /// A phone at `own` address that registers at a node.
    pub fn phone(&self, own: SocketAddr, node: SocketAddr) -> PhoneConfig {
        let mut config = PhoneConfig::new(own, node);
        config.user.clone_from(&self.sip_user);
        config.password = Some(self.sip_password.clone());
        config
    }
}
