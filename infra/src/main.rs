//! The `hotline` command.

mod call;
mod client;
mod deploy_cmd;
mod flow_cmd;
mod lifecycle;
mod node_cmd;
mod place;
mod process;
mod run_state;
mod say;
mod sim_cmd;
mod test_cmd;
mod trace_cmd;
mod up;
mod whatif_cmd;
mod yaml;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A support hotline: callers dial, flows answer, agents ring, tickets and recordings appear.
#[derive(Parser)]
#[command(name = "hotline", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything on this machine: local cloud, the AWS template, a demo tenant, a media node
    Up(up::UpOptions),
    /// Stop what `up` started; the state is kept
    Down,
    /// Say what runs
    Status,
    /// Show the end of a part's log
    Logs(lifecycle::LogOptions),
    /// Throw the local state away
    Reset(lifecycle::ResetOptions),
    /// Take one media node away from a running hotline, or bring it back
    #[command(subcommand)]
    Node(node_cmd::NodeCommand),
    /// Place a real SIP call with a built-in caller and a built-in agent's phone
    Call(call::CallOptions),
    /// Show what happened to a contact, with times
    Trace(trace_cmd::TraceOptions),
    /// Explain why a contact went to whom it went
    Why {
        /// The contact's id (con_…)
        contact: String,
    },
    /// Decide again what was decided about a contact; fails where the answer differs by a byte
    Replay(whatif_cmd::ReplayOptions),
    /// Run a recorded period again under other rules, skills or staffing, and compare
    Whatif(whatif_cmd::WhatifOptions),
    /// Check, test, draw, compare and format flows
    #[command(subcommand)]
    Flow(flow_cmd::FlowCommand),
    /// Run simulated worlds with faulty ports
    Sim(sim_cmd::SimOptions),
    /// Deploy the template to an AWS account
    Deploy(deploy_cmd::DeployOptions),
    /// Run all the tests
    Test(test_cmd::TestOptions),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hotline: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let command = match command {
        Command::Flow(command) => return flow_cmd::run(command),
        Command::Sim(options) => return sim_cmd::run(&options),
        other => other,
    };
    let place = place::Place::find()?;
    match command {
        Command::Node(command) => node_cmd::run(&place, &command)?,
        Command::Call(options) => call::run(&place, &options)?,
        Command::Trace(options) => trace_cmd::run(&place, &options)?,
        Command::Why { contact } => trace_cmd::why(&place, &contact)?,
        Command::Replay(options) => return whatif_cmd::replay(&place, &options),
        Command::Whatif(options) => whatif_cmd::whatif(&place, &options)?,
        Command::Deploy(options) => deploy_cmd::run(&place, &options)?,
        Command::Flow(_) | Command::Sim(_) => {}
        Command::Up(options) => up::run(&place, &options)?,
        Command::Down => lifecycle::down(&place)?,
        Command::Status => lifecycle::status(&place)?,
        Command::Logs(options) => lifecycle::logs(&place, &options)?,
        Command::Reset(options) => lifecycle::reset(&place, &options)?,
        Command::Test(options) => return test_cmd::run(&place, &options),
    }
    Ok(ExitCode::SUCCESS)
}
