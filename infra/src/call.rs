//! `hotline call`: a real SIP call without a softphone. A built-in caller dials and presses keys,
//! a built-in agent's phone rings and answers; what both heard is kept, and the ladder printed.

use anyhow::{Context, Result, bail};
use hotline_phone::{Microphone, Phone, PhoneConfig, loudness, read_wav, write_wav};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::client::{Client, encode};
use crate::place::Place;
use crate::trace_cmd;
use crate::up::{Endpoints, UserAccess};

/// What `call` may be asked for.
#[derive(clap::Args, Debug)]
pub struct CallOptions {
    /// The number to dial; the demo's number where absent
    #[arg(long)]
    pub to: Option<String>,
    /// The caller's number
    #[arg(long, default_value = "+8613800138000")]
    pub from: String,
    /// Keys to press: seconds to wait, colon, key, for example 2.5:2,2:1
    #[arg(long, default_value = "2.5:2,2.5:1", value_parser = parse_keys)]
    pub keys: Keys,
    /// What the caller says: a WAV file, 16 bit mono
    #[arg(long, value_name = "WAV")]
    pub microphone: Option<PathBuf>,
    /// Seconds that caller and agent talk
    #[arg(long, default_value_t = 5.0)]
    pub talk: f32,
    /// The survey key pressed after the agent has hung up; empty: the caller hangs up first
    #[arg(long, default_value = "5")]
    pub survey: String,
    /// Do not start the agent's phone: ring one that is registered already
    #[arg(long)]
    pub no_agent: bool,
}

/// Seconds and keys, in order.
#[derive(Debug, Clone)]
pub struct Keys(Vec<(Duration, char)>);

fn parse_keys(text: &str) -> Result<Keys, String> {
    let one = |part: &str| {
        let (seconds, key) = part.split_once(':')?;
        let seconds: f32 = seconds.trim().parse().ok().filter(|s| (0.0..=600.0).contains(s))?;
        let mut keys = key.trim().chars();
        let key = keys.next().filter(|k| k.is_ascii_digit() || "*#ABCD".contains(*k))?;
        keys.next().is_none().then_some((Duration::from_secs_f32(seconds), key))
    };
    text.split(',')
        .filter(|p| !p.trim().is_empty())
        .map(|p| one(p).ok_or_else(|| format!("{p:?}: write seconds, a colon and one key of 0-9 * #, such as 2.5:1")))
        .collect::<Result<_, _>>()
        .map(Keys)
}

/// Places the call.
pub fn run(place: &Place, options: &CallOptions) -> Result<()> {
    let endpoints = Endpoints::read(place)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(place_call(place, options, &endpoints))
}

async fn place_call(place: &Place, options: &CallOptions, endpoints: &Endpoints) -> Result<()> {
    let folder = place.local(format!("calls/{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let server = endpoints.sip.parse().context("endpoints.json: sip")?;
    let number = options.to.as_deref().unwrap_or(&endpoints.did).trim_start_matches('+').to_owned();
    let started = Instant::now();
    let say = |who: &str, what: &str| println!("  {:>7.2} s  {who:<7} {what}", started.elapsed().as_secs_f32());

    let mut agent = match options.no_agent {
        true => None,
        false => Some(start_agent(endpoints, server, &folder, &say).await?),
    };

    let mut config = PhoneConfig::new("127.0.0.1:0".parse()?, server);
    config.user = options.from.clone();
    config.microphone = match &options.microphone {
        Some(file) => Microphone::Samples { samples: read_wav(file)?.into(), repeat: true },
        None => voice(
            &folder,
            "caller",
            "en-us+f3",
            "Hello. My router blinks red since this morning. Can you help me?",
            440,
        ),
    };
    let mut caller = Phone::start(config).await?;
    say("caller", &format!("dials {number} at {}", endpoints.sip));
    caller.call(&format!("sip:{number}@{}", endpoints.sip)).await?;
    if let Err(error) = caller.wait_answered(Duration::from_secs(15)).await {
        print!("{}", caller.ladder());
        return Err(error).context("the hotline did not answer");
    }
    say("caller", "is answered and hears the menu");
    for (wait, key) in &options.keys.0 {
        tokio::time::sleep(*wait).await;
        caller.send_digits(&key.to_string()).await?;
        say("caller", &format!("presses {key}"));
    }
    if let Some(agent) = &mut agent {
        agent.phone.wait_answered(Duration::from_secs(40)).await.context("the agent's phone did not ring")?;
        say("agent", "answers: both talk");
        tokio::time::sleep(Duration::from_secs_f32(options.talk.clamp(0.0, 600.0))).await;
        if options.survey.is_empty() {
            caller.hangup().await?;
            say("caller", "hangs up");
        } else {
            agent.phone.hangup().await?;
            say("agent", "hangs up; the caller stays for the question");
            tokio::time::sleep(Duration::from_secs(3)).await;
            caller.send_digits(&options.survey).await?;
            say("caller", &format!("presses {}", options.survey));
        }
    }
    if let Err(error) = caller.wait_ended(Duration::from_secs(60)).await {
        caller.hangup().await?;
        say("caller", &format!("hangs up ({error})"));
    } else {
        say("caller", "the call is over");
    }
    println!("\nThe caller's SIP messages");
    print!("{}", caller.ladder());
    keep("caller", &caller.heard(), &folder)?;
    if let Some(agent) = &agent {
        keep("agent", &agent.phone.heard(), &folder)?;
    }
    let place = place.clone();
    let from = options.from.clone();
    tokio::task::spawn_blocking(move || afterwards(&place, &from, &folder)).await?
}

struct AgentPhone {
    phone: Phone,
    heartbeat: tokio::task::JoinHandle<()>,
}

impl Drop for AgentPhone {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

/// Registers the first demo agent's phone and makes the agent Available.
async fn start_agent(
    endpoints: &Endpoints,
    server: std::net::SocketAddr,
    folder: &Path,
    say: &impl Fn(&str, &str),
) -> Result<AgentPhone> {
    let user: UserAccess = endpoints.user("agent")?.clone();
    let sip = user.sip.clone().context("endpoints.json: the agent has no SIP account")?;
    let mut config = PhoneConfig::new("127.0.0.1:0".parse()?, server);
    config.user = sip.user.clone();
    config.password = Some(sip.password);
    config.auto_answer = Some(Duration::from_millis(1_200));
    config.microphone = voice(
        folder,
        "agent",
        "en-gb",
        "Hotline support, this is Fang. I see your call came in. Let us look at the router together.",
        660,
    );
    let mut phone = Phone::start(config).await?;
    phone.register().await.with_context(|| format!("the phone {} could not register", sip.user))?;
    say("agent", &format!("{} registered at {}", sip.user, endpoints.sip));
    let api = endpoints.api.clone();
    let session = tokio::task::spawn_blocking(move || -> Result<Client> {
        let session = Client::new(&api).sign_in(&user.name, &user.password)?;
        beat(&session)?;
        session.put("/v1/agents/me/state", &json!({"state": "available"}))?;
        Ok(session)
    })
    .await??;
    say("agent", "is Available");
    let heartbeat = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(15)).await;
            let session = session.clone();
            let _ = tokio::task::spawn_blocking(move || beat(&session)).await;
        }
    });
    Ok(AgentPhone { phone, heartbeat })
}

fn beat(session: &Client) -> Result<()> {
    session.post("/v1/agents/me/heartbeat", &json!({"console": "hotline-call"})).map(drop)
}

/// A spoken sentence again and again, or a tone where espeak-ng is missing.
fn voice(folder: &Path, who: &str, voice: &str, words: &str, tone_hz: u32) -> Microphone {
    let file = folder.join(format!("{who}-says.wav"));
    let spoken = std::process::Command::new("espeak-ng").args(["-v", voice, "-w"]).arg(&file).arg(words).status();
    match spoken.ok().filter(|s| s.success()).and_then(|_| read_wav(&file).ok()) {
        Some(samples) => Microphone::Samples { samples: samples.into(), repeat: true },
        None => Microphone::Tone(tone_hz),
    }
}

fn keep(who: &str, samples: &[i16], folder: &Path) -> Result<()> {
    let file = folder.join(format!("{who}-heard.wav"));
    write_wav(&file, samples)?;
    println!(
        "  {who} heard {:.1} s, loudness {:.0}: {}",
        samples.len() as f32 / 8_000.0,
        loudness(samples),
        file.display()
    );
    Ok(())
}

/// The contact's ladder, its ticket with the SLA clock, and its recording.
fn afterwards(place: &Place, from: &str, folder: &Path) -> Result<()> {
    let api = trace_cmd::supervisor(place)?;
    let contact = wait_for(Duration::from_secs(10), || {
        let page = api.get(&format!("/v1/contacts?limit=1&party={}", encode(from)))?;
        trace_cmd::items(&page).next().cloned().context("no contact of this caller yet")
    })?;
    let id = contact["id"].as_str().or(contact["contact"].as_str()).context("the contact has no id")?.to_owned();
    let ended = |api: &Client| -> Result<Value> {
        let trace = api.get(&format!("/v1/contacts/{id}/trace"))?;
        let over = trace["steps"].as_array().into_iter().flatten().any(|s| s["fact"] == "ContactEnded");
        if over { Ok(trace) } else { bail!("the contact has not ended yet") }
    };
    wait_for(Duration::from_secs(15), || ended(&api))?;
    let recording = wait_for(Duration::from_secs(20), || recording_link(&api, &id));
    let ticket = wait_for(Duration::from_secs(15), || the_ticket(&api, &id));

    println!("\nContact {id}");
    trace_cmd::print_ladder(&ended(&api)?);
    match ticket {
        Ok((ticket, explained)) => {
            println!("\nTicket {}", ticket["id"].as_str().unwrap_or_default());
            for key in ["subject", "category", "priority", "status"] {
                if let Some(value) = ticket["body"]["doc"][key].as_str() {
                    println!("  {key:<9} {value}");
                }
            }
            println!("{}", explained.trim_end());
        }
        Err(error) => println!("\nNo ticket: {error:#}"),
    }
    match recording {
        Ok(url) => {
            let bytes = ureq::get(&url).call()?.body_mut().read_to_vec()?;
            let file = folder.join("recording.wav");
            std::fs::write(&file, &bytes)?;
            println!("\nRecording (caller left, agent right): {}", file.display());
        }
        Err(error) => println!("\nNo recording: {error:#}"),
    }
    println!("Again later: hotline trace {id}");
    Ok(())
}

fn recording_link(api: &Client, contact: &str) -> Result<String> {
    let page = api.get(&format!("/v1/contacts/{contact}/recordings"))?;
    let recording = trace_cmd::items(&page).next().context("the call was not recorded")?;
    let id = recording["recording"].as_str().context("recording id")?;
    let link = api.post(&format!("/v1/contacts/{contact}/recordings/{id}/link"), &json!({}))?;
    Ok(link["url"].as_str().context("url")?.to_owned())
}

fn the_ticket(api: &Client, contact: &str) -> Result<(Value, String)> {
    let found = api.get(&format!("/v1/contacts/{contact}"))?;
    let id = found["ticket"].as_str().context("the contact names no ticket")?.to_owned();
    let ticket = api.get(&format!("/v1/tickets/{id}"))?;
    let explained = api.get(&format!("/v1/tickets/{id}/explain?lang=en"))?;
    Ok((json!({"id": id, "body": ticket}), tell(&explained, 1)))
}

/// Names and texts of a JSON value, indented.
fn tell(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value {
                Value::Object(_) | Value::Array(_) => {
                    format!("{indent}{name}\n{}", tell(value, depth + 1))
                }
                other => {
                    format!("{indent}{name:<9} {}\n", other.as_str().map_or_else(|| other.to_string(), str::to_owned))
                }
            })
            .collect(),
        Value::Array(items) => items.iter().map(|i| tell(i, depth)).collect(),
        other => format!("{indent}{}\n", other.as_str().map_or_else(|| other.to_string(), str::to_owned)),
    }
}

fn wait_for<T>(patience: Duration, mut question: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        match question() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(150)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_wrong_ones_named() {
        let keys = parse_keys("2.5:2, 1:#").unwrap();
        assert_eq!(keys.0, [(Duration::from_millis(2_500), '2'), (Duration::from_secs(1), '#')]);
        for wrong in ["2", "x:1", "1:12", "1:x", "-1:1", "9999:1"] {
            assert!(parse_keys(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
