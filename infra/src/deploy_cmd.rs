//! `hotline deploy`: builds for AWS and deploys the template to an account.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

use crate::place::Place;
use crate::say::stepped;
use crate::up::CLOUD_BUILD;

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

impl DeployOptions {
    fn with_nodes(&self) -> bool {
        self.param.iter().any(|param| param == "WithNodes=true")
    }
}

/// Builds with cargo-lambda (its zig linker takes a glibc version; Amazon Linux 2023 has 2.34) and
/// deploys with the credentials and region of the environment.
///
/// # Errors
/// A tool that is missing, a build that fails, a stack that CloudFormation refuses: in its words.
pub fn run(place: &Place, options: &DeployOptions) -> Result<()> {
    let mut programs = vec![("functions", "hotline-functions", "bootstrap")];
    if options.with_nodes() {
        programs.push(("media-node", "media-node", "media-node"));
    }
    for (_, package, program) in &programs {
        stepped(&format!("build {program} for AWS"), || build(place, options, package, program))?;
    }
    stepped("build the deploy tool", || {
        let mut tool = Command::new("cargo");
        tool.args(["build", "--quiet"]).args(CLOUD_BUILD).current_dir(&place.root);
        succeed(&mut tool).map(|()| ((), "hotline-cloud".into()))
    })?;
    std::fs::create_dir_all(&place.local)?;
    let mut deploy = Command::new(place.program("hotline-cloud"));
    deploy.args(["deploy", "--stack", &options.stack, "--template"]).arg(place.root.join("infra/template.yaml"));
    for (name, _, program) in &programs {
        let zip = place.local(format!("{name}-aws.zip"));
        let flag = if *name == "functions" { "--zip" } else { "--node-zip" };
        stepped(&format!("package {name}"), || package(place, name, program, &zip))?;
        deploy.arg(flag).arg(&zip);
    }
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

fn build(place: &Place, options: &DeployOptions, package: &str, program: &str) -> Result<((), String)> {
    let target = if options.arm64 { "aarch64-unknown-linux-gnu.2.34" } else { "x86_64-unknown-linux-gnu.2.34" };
    let mut build = Command::new("cargo");
    build
        .args(["lambda", "build", "--release", "--locked", "-p", package, "--bin", program, "--target", target])
        .current_dir(&place.root);
    if package == "media-node" {
        build.args(["--features", "cloud"]);
    }
    succeed(&mut build).context(
        "cargo-lambda and the target are needed: pip install cargo-lambda; rustup target add \
         aarch64-unknown-linux-gnu (for --arm64)",
    )?;
    Ok(((), target.to_owned()))
}

fn package(place: &Place, name: &str, program: &str, zip: &Path) -> Result<((), String)> {
    let release = place.program("hotline-cloud");
    let built = release.parent().and_then(Path::parent).context("target folder")?;
    let binary = built.join("lambda").join(program).join("bootstrap");
    let mut package = Command::new(release);
    package.args(["package", "--max-glibc", "2.34", "--binary"]).arg(&binary).arg("--out").arg(zip);
    if name != "functions" {
        package.args(["--name", name]);
    }
    succeed(&mut package)?;
    Ok(((), zip.display().to_string()))
}

fn succeed(command: &mut Command) -> Result<()> {
    let status =
        command.status().with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    if status.success() { Ok(()) } else { bail!("{command:?} ended with {status}") }
}
