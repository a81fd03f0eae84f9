//! The `media-node` command.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use media_node::config::{Config, EXAMPLE};
use media_node::{Node, Source, standalone};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// A SIP and RTP node of the hotline.
///
/// Takes calls, plays, records and joins them as the functions decide, or as a decision file says.
/// SIGTERM drains (a second one hurries), SIGHUP reads the configuration and the decision file
/// again.
#[derive(Parser)]
#[command(name = "media-node", version, after_long_help = after_help())]
struct Arguments {
    /// The configuration file; without it the defaults hold.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Runs without a cloud, by this decision file.
    #[arg(long, value_name = "FILE")]
    decisions: Option<PathBuf>,
    /// Checks configuration and decision file, lists every error, and ends.
    #[arg(long)]
    check: bool,
}

fn after_help() -> String {
    format!(
        "Every setting can be given as HOTLINE_NODE_<SECTION>_<KEY>, such as HOTLINE_NODE_SIP_LISTEN.\n\
         All settings with their defaults:\n\n{EXAMPLE}"
    )
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn read_config(arguments: &Arguments) -> Result<Config, String> {
    let text = match &arguments.config {
        Some(path) => std::fs::read_to_string(path).map_err(|e| format!("--config {}: {e}", path.display()))?,
        None => String::new(),
    };
    // Only texts: a variable that is not UTF-8 is none of ours.
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Config::read(&text, &env).map_err(|errors| {
        let path = arguments.config.as_ref().map_or("configuration".into(), |p| p.display().to_string());
        format!("{path}: {} errors:\n{errors}", errors.0.len())
    })
}

fn read_decisions(arguments: &Arguments) -> Result<Option<standalone::DecisionFile>, String> {
    let Some(path) = &arguments.decisions else {
        return Ok(None);
    };
    standalone::read(path)
        .map(Some)
        .map_err(|errors| format!("{}: {} errors:\n{errors}", path.display(), errors.0.len()))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let (config, decisions) = match (read_config(arguments), read_decisions(arguments)) {
        (Ok(config), Ok(decisions)) => (config, decisions),
        (Err(a), Err(b)) => return Err(format!("{a}\n{b}")),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    if decisions.is_none() && !config.has_cloud() {
        return Err("nobody decides about calls: fill in [cloud], or give --decisions for stand-alone mode".into());
    }
    if arguments.check {
        media_node::node::check(&config).map_err(|e| e.to_string())?;
        println!("configuration and decisions are right");
        return Ok(());
    }
    let (filter, levels) = reload::Layer::new(EnvFilter::new(&config.log.level));
    let plain = (!config.log.json).then(|| tracing_subscriber::fmt::layer().with_target(false));
    let json = config.log.json.then(|| {
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false)
    });
    Registry::default().with(filter).with(plain).with(json).init();

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(if decisions.is_some() { 1 } else { 2 })
        .enable_all()
        .build()
        .map_err(|e| format!("the runtime cannot start: {e}"))?;
    let result = runtime.block_on(live(arguments, config, decisions, levels));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn live(
    arguments: &Arguments,
    config: Config,
    decisions: Option<standalone::DecisionFile>,
    levels: reload::Handle<EnvFilter, Registry>,
) -> Result<(), String> {
    let drain = Duration::from_secs(config.node.drain_s);
    let source = match decisions {
        Some(file) => Source::File { file, path: arguments.decisions.clone() },
        None => remote(&config).await?,
    };
    let wanted = |kind| signal(kind).map_err(|e| format!("signals cannot be handled: {e}"));
    let mut terminate = wanted(SignalKind::terminate())?;
    let mut interrupt = wanted(SignalKind::interrupt())?;
    let mut hang_up = wanted(SignalKind::hangup())?;
    let node = Node::start(config, source).await.map_err(|e| e.to_string())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => match read_config(arguments) {
                Ok(config) => {
                    let _ = levels.reload(EnvFilter::new(&config.log.level));
                    node.reload(&config);
                }
                Err(errors) => tracing::error!(errors, "the configuration is wrong; the old one stays"),
            },
        }
    }
    node.drain(drain, async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await;
    let stopped = tokio::task::spawn_blocking(|| node.stop());
    stopped.await.map_err(|e| format!("stopping: {e}"))?;
    tracing::info!("stopped");
    Ok(())
}

#[cfg(feature = "cloud")]
async fn remote(config: &Config) -> Result<Source, String> {
    Ok(media_node::cloud::source(config).await)
}

#[cfg(not(feature = "cloud"))]
async fn remote(_: &Config) -> Result<Source, String> {
    Err("this build has no cloud: build with `--features cloud`, or give --decisions".into())
}
