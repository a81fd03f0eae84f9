//! `hotline test`: every layer in order, one closing line.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::place::Place;
use crate::say::seconds;
use crate::up::CLOUD_BUILD;

/// What `test` may be asked for.
#[derive(clap::Args, Debug)]
pub struct TestOptions {
    /// Only these layers: style, unit, interop, template, cloud, live; or adapters, which is not part of a full
    /// run because it builds the cloud SDK once more (may be repeated)
    #[arg(long, value_name = "LAYER")]
    pub only: Vec<String>,
}

const LAYERS: [&str; 7] = ["style", "unit", "interop", "template", "cloud", "live", "adapters"];

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

/// Runs the layers; all of them run even when one fails.
pub fn run(place: &Place, options: &TestOptions) -> Result<ExitCode> {
    if let Some(wrong) = options.only.iter().find(|l| !LAYERS.contains(&l.as_str())) {
        bail!("--only {wrong}: the layers are {}", LAYERS.join(", "));
    }
    let wanted = |layer: &str| match options.only.is_empty() {
        true => layer != "adapters",
        false => options.only.iter().any(|only| only == layer),
    };
    let started = Instant::now();
    let mut tally = Tally::default();
    type Layer = fn(&Place, &mut Tally) -> Result<()>;
    let layers: [(&str, Layer); 7] = [
        ("style", style),
        ("unit", unit),
        ("interop", interop),
        ("template", template),
        ("cloud", cloud),
        ("live", live),
        ("adapters", adapters),
    ];
    for (name, layer) in layers {
        if !wanted(name) {
            continue;
        }
        let begun = Instant::now();
        println!("── {name}");
        if let Err(error) = layer(place, &mut tally) {
            println!("   {name} could not run to its end: {error:#}");
            tally.failed += 1;
        }
        println!("── {name} took {}", seconds(begun.elapsed()));
    }
    println!("All layers took {}.", seconds(started.elapsed()));
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Formatting and clippy, counted as one test each.
fn style(place: &Place, tally: &mut Tally) -> Result<()> {
    check(tally, "cargo fmt", cargo(place).args(["fmt", "--all", "--check"]))?;
    check(
        tally,
        "cargo clippy",
        cargo(place).args(["clippy", "--locked", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    )
}

/// Everything that builds without a cloud SDK.
fn unit(place: &Place, tally: &mut Tally) -> Result<()> {
    cargo_test(tally, cargo(place).args(["test", "--locked", "--no-fail-fast"]))
}

/// A node without a cloud: against real peers (a browser, linphone, Kamailio, SIPVicious), and in bad networks.
fn interop(place: &Place, tally: &mut Tally) -> Result<()> {
    install(
        place,
        &[
            ("chromium", "chromium"),
            ("linphonec", "linphone-cli"),
            ("kamailio", "kamailio"),
            ("svwar", "sipvicious"),
            ("faketime", "faketime"),
            ("npm", "npm"),
            ("ip", "iproute2"),
        ],
    )?;
    install_browser_phone(place)?;
    cargo_test(
        tally,
        cargo(place).args(["test", "--locked", "--no-fail-fast", "-p", "hotline-interop", "-p", "hotline-net"]),
    )
}

/// The functions and the deploy tool, in the very build that `up` uses (another choice of packages
/// would build the cloud SDK again); and that AWS can run what was built.
fn cloud(place: &Place, tally: &mut Tally) -> Result<()> {
    check(tally, "build for the cloud", cargo(place).arg("build").args(CLOUD_BUILD))?;
    cargo_test(
        tally,
        cargo(place).args(["test", "--no-fail-fast"]).args(CLOUD_BUILD).args([
            "--bin",
            "bootstrap",
            "--bin",
            "hotline-cloud",
        ]),
    )?;
    let zip = place.local("functions-test.zip");
    std::fs::create_dir_all(&place.local)?;
    let mut package = Command::new(place.program("hotline-cloud"));
    package.args(["package", "--max-glibc", "2.34", "--binary"]).arg(place.program("bootstrap"));
    check(tally, "the functions need no glibc newer than 2.34", package.arg("--out").arg(&zip))
}

/// The adapters over a DynamoDB in process. That one's features make it another build of the SDK, kept
/// in the target folder beside the first.
fn adapters(place: &Place, tally: &mut Tally) -> Result<()> {
    cargo_test(tally, cargo(place).args(["test", "--locked", "--release", "--no-fail-fast", "-p", "hotline-aws"]))
}

/// The template, by AWS's own tools.
fn template(place: &Place, tally: &mut Tally) -> Result<()> {
    let tools = python_tools(place, "lint", &["cfn-lint==1.58.0", "aws-sam-cli==1.170.0"])?;
    let file = place.root.join("infra/template.yaml");
    check(tally, "cfn-lint", Command::new(tools.join("cfn-lint")).arg(&file))?;
    let mut sam = Command::new(tools.join("sam"));
    sam.args(["validate", "--lint", "--template"])
        .arg(&file)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("SAM_CLI_TELEMETRY", "0");
    check(tally, "sam validate --lint", &mut sam)
}

/// Real phones against a hotline of its own: other ports, a state folder of its own.
fn live(place: &Place, tally: &mut Tally) -> Result<()> {
    install_peers(place)?;
    cargo_test(
        tally,
        cargo(place).args([
            "test",
            "--locked",
            "--release",
            "--no-fail-fast",
            "-p",
            "hotline-live",
            "--",
            "--test-threads=1",
        ]),
    )
}

/// A virtual environment in the cache folder, made once per set of packages.
fn python_tools(place: &Place, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let cache = cache()?;
    let venv = cache.join(format!("venv-{name}"));
    let stamp = venv.join("stamp");
    if std::fs::read_to_string(&stamp).ok().as_deref() != Some(&packages.join(" ")) {
        println!("   installing {}", packages.join(" "));
        let _ = std::fs::remove_dir_all(&venv);
        std::fs::create_dir_all(&cache)?;
        quiet(place, Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        quiet(
            place,
            Command::new(venv.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check"])
                .args(packages),
        )?;
        std::fs::write(&stamp, packages.join(" "))?;
    }
    Ok(venv.join("bin"))
}

/// This project's folder for what is downloaded.
fn cache() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join("hotline"))
}

/// JsSIP, in the cache folder, made once per lock file.
fn install_browser_phone(place: &Place) -> Result<()> {
    let from = place.root.join("tests/interop/browser");
    let lock = std::fs::read_to_string(from.join("package-lock.json"))?;
    let folder = cache()?.join("interop-browser");
    let stamp = folder.join("stamp");
    if std::fs::read_to_string(&stamp).ok().as_deref() == Some(&lock) {
        return Ok(());
    }
    println!("   installing JsSIP");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(from.join(file), folder.join(file))?;
    }
    let mut npm = Command::new("npm");
    quiet(place, npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder))?;
    Ok(std::fs::write(&stamp, lock)?)
}

/// The SIP peers of the live tests, from Debian, and the browser's phone.
fn install_peers(place: &Place) -> Result<()> {
    install(
        place,
        &[
            ("sipp", "sip-tester"),
            ("baresip", "baresip-core"),
            ("espeak-ng", "espeak-ng"),
            ("chromium", "chromium"),
            ("npm", "npm"),
            ("ip", "iproute2"),
        ],
    )?;
    install_browser_phone(place)
}

/// Programs and the Debian packages they are in.
fn install(place: &Place, wanted: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(program, _)| {
            !Command::new("sh")
                .args(["-c", &format!("PATH=$PATH:/usr/sbin; command -v {program} >/dev/null")])
                .status()
                .is_ok_and(|s| s.success())
        })
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("   installing {}", missing.join(" "));
    let mut update = Command::new("apt-get");
    quiet(place, update.arg("update"))?;
    let mut install = Command::new("apt-get");
    quiet(
        place,
        install
            .args(["install", "-y", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .with_context(|| format!("install them by hand: sudo apt-get install {}", missing.join(" ")))
}

fn quiet(place: &Place, command: &mut Command) -> Result<()> {
    let log = place.log("tools");
    std::fs::create_dir_all(log.parent().context("log folder")?)?;
    let out = std::fs::File::options().create(true).append(true).open(&log)?;
    let status = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).status()?;
    if status.success() { Ok(()) } else { bail!("{command:?} ended with {status}; its output: {}", log.display()) }
}

fn cargo(place: &Place) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(&place.root).stdin(Stdio::null());
    command
}

/// A command that is one test: it passes when it exits with 0.
fn check(tally: &mut Tally, name: &str, command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| name.to_owned())?;
    if output.status.success() {
        println!("   {name}: ok");
        tally.passed += 1;
    } else {
        println!(
            "   {name}: FAILED\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        tally.failed += 1;
    }
    Ok(())
}

/// Runs cargo test, shows what it shows and adds up its result lines.
fn cargo_test(tally: &mut Tally, command: &mut Command) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let mut failed = 0;
    for line in BufReader::new(child.stdout.take().context("output")?).lines() {
        let line = line?;
        if let Some((passed, broken)) = result_line(&line) {
            tally.passed += passed;
            failed += broken;
        }
        let dull = line.is_empty() || line.starts_with("running ") || line.ends_with(" ... ok");
        if !dull {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    tally.failed += failed;
    if !status.success() && failed == 0 {
        bail!("cargo test ended with {status}");
    }
    Ok(())
}

fn result_line(line: &str) -> Option<(usize, usize)> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        rest.split([';', '.']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<usize>().ok())
    };
    Some((number("passed")?, number("failed")?))
}

#[cfg(test)]
mod tests {
    use super::result_line;

    #[test]
    fn reads_cargos_result_line() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(result_line(line), Some((12, 3)));
        assert_eq!(result_line("test foo ... ok"), None);
    }
}
