//! `hotline-load`: runs the scenarios, prints one JSON line a run and the table.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use hotline_load::bare;
use hotline_load::bench::{Bench, Row, loopback};
use hotline_load::chart::charts;
use hotline_load::process::{Subject, answers_options};
use hotline_load::report::table;
use hotline_load::rtp::{Rtp, udp_floor_us};
use hotline_load::sip::Sip;
use hotline_load::soak::soak;
use hotline_load::yardstick::{Rtpengine, kamailio};
use serde::Serialize;

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Start and empty memory.
    Start,
    /// Two legs joined, audio both ways.
    Bridge,
    /// The same, recorded in stereo.
    Record,
    /// Prompt, key, prompt.
    Ivr,
    /// Set-ups without audio.
    Setup,
    /// 500 callers for 50 agents.
    Queue,
    /// Calls while the node is flooded; only where asked for.
    Attack,
    /// Constant churn for long; only where asked for.
    Soak,
    /// A relay that does nothing else, rtpengine and Kamailio.
    Yardstick,
}

/// Places load on a media node on this machine and prints what it cost.
#[derive(Debug, Parser)]
#[command(name = "hotline-load")]
struct Options {
    /// The media-node program.
    #[arg(long, default_value = "target/release/media-node")]
    node: PathBuf,
    /// Its configuration.
    #[arg(long, default_value = "media-node/examples/bench.toml")]
    config: PathBuf,
    /// Its decisions.
    #[arg(long, default_value = "media-node/examples/bench.yaml")]
    decisions: PathBuf,
    /// Its SIP address.
    #[arg(long, default_value = "127.0.0.1:5060")]
    address: SocketAddr,
    /// What to run.
    #[arg(long, value_delimiter = ',', default_values_t = [Scenario::Start, Scenario::Bridge, Scenario::Record, Scenario::Ivr, Scenario::Setup, Scenario::Queue, Scenario::Yardstick], value_enum)]
    scenarios: Vec<Scenario>,
    /// Bridged calls held at a time, one run each.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 500, 1000, 1600])]
    bridged: Vec<usize>,
    /// Seconds each hold is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// IVR calls a second.
    #[arg(long, default_value_t = 100.0)]
    ivr_rate: f64,
    /// Set-ups a second.
    #[arg(long, value_delimiter = ',', default_values_t = [500.0, 1000.0])]
    setup_rate: Vec<f64>,
    /// Hostile packets a second.
    #[arg(long, default_value_t = 20_000)]
    attack_rate: u64,
    /// Minutes of the soak.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
    /// Draws the calls of the soak: the same seed, the same calls.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the node tells its own figures.
    #[arg(long, default_value = "127.0.0.1:9060")]
    http: SocketAddr,
    /// JSON lines are appended here as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where logs and the yardsticks' files go.
    #[arg(long, default_value = "target/load")]
    scratch: PathBuf,
    /// Be the relay of so many calls that others are compared with.
    #[arg(long, hide = true, value_parser = clap::value_parser!(u16).range(1..=i64::from(bare::MOST_CALLS)))]
    bare_relay: Option<u16>,
}

const CALLER_PORT: u16 = 15_060;
const AGENT_PORT: u16 = 15_080;
const RTP_PORTS: [u16; 2] = [40_000, 40_001];

struct Runs {
    rows: Vec<Row>,
    json: Option<PathBuf>,
}

impl Runs {
    fn add(&mut self, subject: &str, mut row: Row) -> Result<()> {
        row.subject = subject.into();
        if row.packets_sent.is_some() {
            row.bare_udp_us = Some(udp_floor_us()?);
        }
        write_line(self.json.as_deref(), &row)?;
        self.rows.push(row);
        Ok(())
    }
}

/// Prints a JSON line and appends it to a file.
fn write_line(path: Option<&Path>, line: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(line)?;
    println!("{line}");
    if let Some(path) = path {
        let file = OpenOptions::new().create(true).append(true).open(path);
        writeln!(file.with_context(|| format!("{}", path.display()))?, "{line}")?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(calls) = options.bare_relay {
        return bare::relay(calls, RTP_PORTS);
    }
    let address = loopback(options.address)?;
    std::fs::create_dir_all(&options.scratch).with_context(|| format!("{}", options.scratch.display()))?;
    println!("one UDP send and receive on this machine: {:.2} µs", udp_floor_us()?);
    let sip = Sip::new(address, CALLER_PORT, AGENT_PORT, RTP_PORTS)?;
    let mut bench = Bench::new(sip, Rtp::new(RTP_PORTS[0], RTP_PORTS[1])?);
    let mut runs = Runs { rows: Vec::new(), json: options.json.clone() };
    let wants = |scenario| options.scenarios.contains(&scenario);
    if options.scenarios.iter().any(|scenario| *scenario != Scenario::Yardstick) {
        let mut node = start_node(&options, address)?;
        if wants(Scenario::Start) {
            bench.run_ms(1_000);
            let row = Row { start_s: Some(node.start_s), memory_kb: Some(node.memory_kb()), ..Row::new("start", "") };
            runs.add("node", row)?;
        }
        if wants(Scenario::Setup) {
            for rate in &options.setup_rate {
                let row = bench.setups(&node, "700", *rate, 5);
                runs.add("node", row)?;
            }
        }
        if wants(Scenario::Ivr) {
            let row = bench.ivr(&node, options.ivr_rate, 10);
            runs.add("node", row)?;
        }
        for (scenario, name, number) in
            [(Scenario::Bridge, "bridge", "700"), (Scenario::Record, "bridge+record", "701")]
        {
            for calls in options.bridged.iter().filter(|_| wants(scenario)) {
                let row = bench.bridge(&node, name, number, *calls, options.seconds);
                runs.add("node", row)?;
            }
        }
        if wants(Scenario::Attack) {
            let SocketAddr::V4(to) = address else { anyhow::bail!("--address must be of IPv4 for attacks") };
            for row in bench.attack(&node, to, (20_000, 39_999), options.attack_rate)? {
                runs.add("node", row)?;
            }
        }
        if wants(Scenario::Queue) {
            let row = bench.queue(500, 10_000, 3_000);
            runs.add("node", row)?;
        }
        if wants(Scenario::Soak) {
            let level = options.bridged.first().copied().unwrap_or(100);
            let verdict =
                soak(&mut bench, &node, loopback(options.http)?, (options.minutes, level, options.seed), |line| {
                    if let Err(error) = write_line(options.json.as_deref(), line) {
                        eprintln!("{error:#}");
                    }
                });
            write_line(options.json.as_deref(), &verdict)?;
            anyhow::ensure!(verdict.ok, "the soak found: {}", verdict.faults.join("; "));
        }
        node.stop();
    }
    if wants(Scenario::Yardstick) {
        yardsticks(&options, &mut bench, &mut runs, address)?;
    }
    println!("\n{}\n{}", table(&runs.rows), charts(&runs.rows));
    Ok(())
}

fn start_node(options: &Options, address: SocketAddr) -> Result<Subject> {
    let text = |path: &Path| path.to_str().map(str::to_string).context("a path is not text");
    let args = ["--config".to_string(), text(&options.config)?, "--decisions".to_string(), text(&options.decisions)?];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Subject::start(&options.node, &args, &options.scratch.join("node.log"), answers_options(address)?)
}

fn yardsticks(options: &Options, bench: &mut Bench, runs: &mut Runs, address: SocketAddr) -> Result<()> {
    for calls in &options.bridged {
        let few = u16::try_from(*calls).ok().filter(|calls| *calls <= bare::MOST_CALLS);
        let Some(few) = few else { continue };
        let relay = bare::start(few, &options.scratch)?;
        bench.add_pairs(&bare::pairs(few));
        bench.run_ms(2_000);
        let row = bench.measure(&relay, "bridge", *calls, options.seconds);
        bench.rtp.clear();
        bench.run_ms(500);
        runs.add("bare relay", row)?;
    }
    match Rtpengine::start(&options.scratch) {
        Ok(mut engine) => {
            let empty = engine.subject.memory_kb();
            let mut pairs = Vec::new();
            for calls in &options.bridged {
                while pairs.len() < *calls {
                    pairs.push(engine.call(pairs.len(), RTP_PORTS)?);
                }
                bench.add_pairs(pairs.get(..*calls).unwrap_or_default());
                bench.run_ms(2_000);
                let mut row = bench.measure(&engine.subject, "bridge", *calls, options.seconds);
                row.memory_kb_per_call = Some(engine.subject.memory_kb().saturating_sub(empty) as f64 / *calls as f64);
                bench.rtp.clear();
                bench.run_ms(500);
                runs.add("rtpengine", row)?;
            }
        }
        Err(error) => println!("rtpengine is left out: {error:#}"),
    }
    let agents = SocketAddr::from(([127, 0, 0, 1], AGENT_PORT));
    match kamailio(&options.scratch, address, agents) {
        Ok(proxy) => {
            for rate in &options.setup_rate {
                let row = bench.setups(&proxy, "700", *rate, 5);
                runs.add("kamailio", row)?;
            }
        }
        Err(error) => println!("Kamailio is left out: {error:#}"),
    }
    Ok(())
}
