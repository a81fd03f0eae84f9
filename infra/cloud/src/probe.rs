//! Tries every adapter against the stack's own resources, with the credentials at hand.

use anyhow::{Context, Result, ensure};
use hotline_aws::{Config, Sdk, SystemWorld};
use hotline_base::{ContactId, IndexRow, Lang, NodeId, TenantId};
use hotline_ports::{Bucket, IdentityError, Ports, Range, World, command_id};
use hotline_wire::node::{NodeAction, NodeCommand};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::stack::output;

/// What a probe leaves and overwrites.
const KEY: &str = "verify/probe.txt";

/// Every port over the stack's resources, from its outputs.
pub fn ports(sdk: &Sdk, outputs: &BTreeMap<String, String>) -> Result<Ports> {
    let get = |key| output(outputs, key).map(String::from);
    let vars = [
        ("HOTLINE_TABLE_STATE", get("StateTable")?),
        ("HOTLINE_TABLE_FACTS", get("FactsTable")?),
        ("HOTLINE_TABLE_TIMERS", get("TimersTable")?),
        ("HOTLINE_TABLE_OUTBOX", get("OutboxTable")?),
        ("HOTLINE_BUCKET_RECORDINGS", get("RecordingsBucket")?),
        ("HOTLINE_BUCKET_PROMPTS", get("PromptsBucket")?),
        ("HOTLINE_QUEUE_TIMERS", get("TimersQueue")?),
        ("HOTLINE_QUEUE_WORK", get("WorkQueue")?),
        ("HOTLINE_NODE_QUEUE_PREFIX", get("NodeQueuePrefix")?),
        ("HOTLINE_USER_POOL", get("UserPool")?),
        ("HOTLINE_USER_POOL_CLIENT", get("UserPoolClient")?),
        ("HOTLINE_WEBSOCKET_ENDPOINT", get("WebSocketUrl")?.replacen("ws", "http", 1)),
        ("HOTLINE_TTS_ENGINE", get("TtsEngine")?),
        ("HOTLINE_HOOK_PREFIX", get("HookPrefix")?),
    ];
    let vars = vars.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    Ok(hotline_aws::ports(sdk, &Config::from_vars(&vars)?))
}

/// Rows that are written once, read and removed.
pub async fn store(ports: &Ports) -> Result<()> {
    let world = SystemWorld;
    let row = IndexRow { partition: "verify".into(), sort: format!("{:032x}", world.random()), body: "{}".into() };
    let expires = Some(world.now() + 60_000);
    let put = || ports.store.put_row_new(TenantId::PLATFORM, row.clone(), expires);
    ensure!(put().await?, "a new row was taken for an old one");
    ensure!(!put().await?, "an old row was written again");
    let range = Range {
        tenant: TenantId::PLATFORM,
        partition: "verify",
        from: Some(&row.sort),
        below: None,
        limit: 1,
        descending: false,
    };
    ensure!(ports.store.rows(range).await? == std::slice::from_ref(&row), "the row was not read back");
    Ok(ports.store.delete_row(TenantId::PLATFORM, &row.partition, &row.sort).await?)
}

/// An object that is written, listed, read, and fetched by its link.
pub async fn objects(ports: &Ports) -> Result<()> {
    let body = format!("{:032x}", SystemWorld.random()).into_bytes();
    ports.objects.put(Bucket::Prompts, KEY, body.clone(), "text/plain").await?;
    ensure!(ports.objects.get(Bucket::Prompts, KEY).await? == Some(body.clone()), "the object reads differently");
    ensure!(ports.objects.get(Bucket::Prompts, "verify/none").await?.is_none(), "an object that was never written");
    ensure!(ports.objects.list(Bucket::Prompts, "verify/", 10).await? == [KEY], "the list lacks it");
    let link = ports.objects.presign(Bucket::Prompts, KEY, Duration::from_secs(60)).await?;
    let fetched = ureq::get(&link).call().context("fetching by link")?.body_mut().read_to_vec()?;
    ensure!(fetched == body, "the link gives something else");
    Ok(())
}

/// A node's queue from its opening to its end, with one command.
pub async fn node_queue(ports: &Ports) -> Result<()> {
    let world = SystemWorld;
    let node = NodeId::new(world.now(), world.random());
    let command = NodeCommand {
        id: command_id(&world),
        contact: ContactId::new(world.now(), world.random()),
        expires: world.now() + 60_000,
        action: NodeAction::End,
    };
    ensure!(ports.nodes.send(node, &command).await.is_err(), "a node without a queue took a command");
    ports.nodes.open(node).await?;
    let tried = async {
        ports.nodes.send(node, &command).await?;
        let received = ports.nodes.receive(node, Duration::from_secs(10)).await?;
        let [one] = received.as_slice() else { anyhow::bail!("{} commands instead of one", received.len()) };
        ensure!(one.command == Ok(command.clone()), "the command reads differently");
        Ok(ports.nodes.acknowledge(node, &one.receipt).await?)
    }
    .await;
    ports.nodes.close(node).await?;
    tried
}

/// A wrong password is refused as such.
pub async fn identity(ports: &Ports) -> Result<()> {
    let nobody = ports.identity.sign_in("nobody@example.com", "Wrong-password-1").await;
    ensure!(matches!(nobody, Err(IdentityError::Refused)), "a wrong password: {nobody:?}");
    Ok(())
}

/// A connection that does not exist is gone.
pub async fn push(ports: &Ports) -> Result<()> {
    ensure!(!ports.push.push("bm9ib2R5PQ==", "{}").await?, "a push to nobody arrived");
    Ok(())
}

/// Both languages can be heard.
pub async fn speech(ports: &Ports) -> Result<()> {
    for (lang, text) in [(Lang::En, "One moment, please."), (Lang::Zh, "请稍候。")] {
        let samples = ports.tts.speak(text, lang, None).await?;
        let loudest = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
        ensure!(samples.len() > 2_000 && loudest > 500, "{lang}: {} samples, loudest {loudest}", samples.len());
    }
    Ok(())
}
