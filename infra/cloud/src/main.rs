//! `hotline-cloud`: packages, deploys, checks and removes the stack, on AWS and on the local
//! cloud that stands in for it.

mod cors;
mod deploy;
mod destroy;
mod glibc;
mod operator;
mod package;
mod probe;
mod stack;
mod verify;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use hotline_aws::Sdk;
use std::process::ExitCode;

/// Packages, deploys, checks and removes the hotline's stack.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Which stack, and where.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// The stack's name.
    #[arg(long, default_value = "hotline")]
    stack: String,
    /// Where the services are instead of AWS.
    #[arg(long, env = "AWS_ENDPOINT_URL")]
    endpoint_url: Option<String>,
}

impl Target {
    async fn sdk(&self) -> Result<Sdk> {
        let sdk = Sdk::new(self.endpoint_url.clone().filter(|url| !url.is_empty())).await;
        if sdk.config().region().is_none() {
            anyhow::bail!("no region: set AWS_REGION, such as AWS_REGION=eu-central-1");
        }
        Ok(sdk)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Makes the functions' zip from the built program.
    Package(package::Options),
    /// Creates or updates the stack and waits until it is done.
    Deploy(deploy::Options),
    /// Checks that what the stack claims to have made really answers.
    Verify(verify::Options),
    /// Makes sure that a platform operator can sign in.
    Operator(operator::Options),
    /// Prints the stack's outputs as JSON.
    Outputs(Target),
    /// Removes the stack; data stays unless asked for.
    Destroy(destroy::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Package(options) => package::run(&options),
        Command::Deploy(options) => deploy::run(&options).await,
        Command::Verify(options) => verify::run(&options).await,
        Command::Operator(options) => operator::run(&options).await,
        Command::Outputs(target) => {
            let sdk = target.sdk().await?;
            println!("{}", serde_json::to_string_pretty(&stack::outputs(&sdk, &target.stack).await?)?);
            Ok(())
        }
        Command::Destroy(options) => destroy::run(&options).await,
    }
}
