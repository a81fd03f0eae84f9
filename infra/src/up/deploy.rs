//! The template that goes to AWS, deployed unchanged to the local cloud.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::cloud::CLOUD_ENVIRONMENT;
use crate::place::Place;

/// The stack's name, locally.
pub const STACK: &str = "hotline";

/// What CloudFormation gave out, by output key.
#[derive(Debug, Clone)]
pub struct Stack(BTreeMap<String, String>);

impl Stack {
    /// One output; an error that names it where the template has none.
    pub fn output(&self, key: &str) -> Result<&str> {
        self.0.get(key).map(String::as_str).with_context(|| format!("the stack has no output {key}"))
    }
}

fn outputs_file(place: &Place) -> PathBuf {
    place.local("stack.json")
}

/// The outputs of the last deployment.
pub fn outputs(place: &Place) -> Result<Stack> {
    let file = outputs_file(place);
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(Stack(serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?))
}

/// Zips the functions and creates or updates the stack; does nothing where neither has changed.
pub fn deploy(place: &Place) -> Result<(Stack, String)> {
    let zip = place.local("functions.zip");
    tool(place, &["package", "--binary", &text(place.program("bootstrap")), "--out", &text(&zip)])?;
    let said = tool(
        place,
        &[
            "deploy",
            "--stack",
            STACK,
            "--template",
            &text(place.root.join("infra/template.yaml")),
            "--zip",
            &text(&zip),
            "--param",
            "WithNodes=false",
            "--param",
            "TtsEngine=espeak",
            "--param",
            &format!("AwsEndpointUrl={}", place.cloud_url()),
            "--outputs",
            &text(outputs_file(place)),
        ],
    )?;
    Ok((outputs(place)?, said.lines().last().unwrap_or_default().trim().to_owned()))
}

/// Checks that what CloudFormation says exists really answers.
pub fn verify(place: &Place) -> Result<String> {
    let said = tool(place, &["verify", "--stack", STACK, "--repair-local"])?;
    Ok(said.lines().last().unwrap_or_default().trim().to_owned())
}

/// Makes sure that the platform operator can sign in.
pub fn operator(place: &Place, name: &str, password: &str) -> Result<()> {
    tool(place, &["operator", "--stack", STACK, "--name", name, "--password", password]).map(drop)
}

fn text(path: impl AsRef<std::path::Path>) -> String {
    path.as_ref().display().to_string()
}

/// Runs `hotline-cloud` against the local cloud; its words go to the log and, when it fails, to the person.
fn tool(place: &Place, arguments: &[&str]) -> Result<String> {
    let output = Command::new(place.program("hotline-cloud"))
        .args(arguments)
        .args(
            (arguments[0] != "package").then(|| ["--endpoint-url".to_owned(), place.cloud_url()]).into_iter().flatten(),
        )
        .envs(CLOUD_ENVIRONMENT)
        .stdin(Stdio::null())
        .output()
        .context("cannot start hotline-cloud")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    let log = place.log("deploy");
    let before = std::fs::read_to_string(&log).unwrap_or_default();
    std::fs::write(&log, format!("{before}{said}{complained}"))?;
    if !output.status.success() {
        bail!("{} failed:\n{}{}", arguments[0], said.trim_end(), complained.trim_end());
    }
    Ok(said)
}
