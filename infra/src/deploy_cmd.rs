//! `hotline deploy`: builds for AWS and deploys the template to an account.

use anyhow::{Context, Result, bail};
use std::process::Command;

use crate::place::Place;
use crate::say::stepped;

/// What `deploy` may be asked for.
#[derive(clap::Args, Debug)]
pub struct DeployOptions {
    /// The stack's name
    #[arg(long, default_value = "hotline")]
    pub stack: String,
    /// A template parameter as KEY=VALUE, such as WithNodes=true (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub param: Vec<String>,
    /// Build for arm64 (also set Architecture=arm64)
    #[arg(long)]
    pub arm64: bool,
    /// Where the stack's outputs are written
    #[arg(long, default_value = "stack.json")]
    pub outputs: std::path::PathBuf,
}

/// Builds with cargo-lambda (glibc 2.34, as Amazon Linux 2023 has) and deploys with the
/// credentials and region of the environment.
pub fn run(place: &Place, options: &DeployOptions) -> Result<()> {
    let target = if options.arm64 { "aarch64-unknown-linux-gnu.2.34" } else { "x86_64-unknown-linux-gnu.2.34" };
    stepped("build for AWS", || {
        let mut build = Command::new("cargo");
        build
            .args(["lambda", "build", "--release", "--locked", "-p", "hotline-functions", "--target", target])
            .current_dir(&place.root);
        succeed(&mut build).context("cargo-lambda is needed: pip install cargo-lambda")?;
        let mut tool = Command::new("cargo");
        tool.args(["build", "--release", "--locked", "--quiet", "-p", "hotline-cloud"]).current_dir(&place.root);
        succeed(&mut tool)?;
        Ok(((), target.to_owned()))
    })?;
    let binary = place
        .program("hotline-cloud")
        .parent()
        .and_then(|p| p.parent())
        .context("target folder")?
        .join("lambda/bootstrap/bootstrap");
    std::fs::create_dir_all(&place.local)?;
    let zip = place.local("functions-aws.zip");
    stepped("package", || {
        let mut package = Command::new(place.program("hotline-cloud"));
        package.args(["package", "--max-glibc", "2.34"]).arg("--binary").arg(&binary).arg("--out").arg(&zip);
        succeed(&mut package)?;
        Ok(((), zip.display().to_string()))
    })?;
    let mut deploy = Command::new(place.program("hotline-cloud"));
    deploy
        .args(["deploy", "--stack", &options.stack, "--template"])
        .arg(place.root.join("infra/template.yaml"))
        .arg("--zip")
        .arg(&zip);
    for param in &options.param {
        deploy.args(["--param", param]);
    }
    if options.arm64 {
        deploy.args(["--param", "Architecture=arm64"]);
    }
    deploy.arg("--outputs").arg(&options.outputs);
    succeed(&mut deploy)?;
    let mut verify = Command::new(place.program("hotline-cloud"));
    verify.args(["verify", "--stack", &options.stack]);
    succeed(&mut verify)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status =
        command.status().with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    if status.success() { Ok(()) } else { bail!("{command:?} ended with {status}") }
}
