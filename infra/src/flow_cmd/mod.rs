//! `hotline flow`: check, test, draw, compare and format flows, without any cloud.

mod show;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use hotline_base::Name;
use hotline_flow::{Catalog, Compiled, Diagnostic, Flow, check, diff, format_keeping_comments, parse, render, script};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to do with flows.
#[derive(Subcommand)]
pub enum FlowCommand {
    /// Prove that flows can be published: every path ends, every name exists
    Check(CheckOptions),
    /// Play script files against a flow in virtual time
    Test(TestOptions),
    /// Draw a flow as SVG
    Render(RenderOptions),
    /// Say what changed between two flows, in meaning
    Diff(DiffOptions),
    /// Write flows in their canonical form; comments stay
    Fmt(FmtOptions),
}

/// `hotline flow check`.
#[derive(Args)]
pub struct CheckOptions {
    /// Flow files; a subflow is looked for beside its caller as NAME.flow.yaml
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The names that exist, as YAML: 'queues: [technical]', calendars, vip_lists, agents, groups, skills, audio, functions
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// How to print the findings
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// `hotline flow test`.
#[derive(Args)]
pub struct TestOptions {
    /// The flow file; a subflow is looked for beside it as NAME.flow.yaml
    flow: PathBuf,
    /// Script files
    #[arg(required = true)]
    scripts: Vec<PathBuf>,
    /// Print the ladders of passed tests too
    #[arg(long)]
    ladder: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// `hotline flow render`.
#[derive(Args)]
pub struct RenderOptions {
    /// The flow file
    flow: PathBuf,
    /// Where to write the SVG; standard output if not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `hotline flow diff`.
#[derive(Args)]
pub struct DiffOptions {
    /// The flow as it was
    old: PathBuf,
    /// The flow as it is
    new: PathBuf,
    /// Exit with 1 where the flows differ
    #[arg(long)]
    exit_code: bool,
    /// How to print the changes
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// `hotline flow fmt`.
#[derive(Args)]
pub struct FmtOptions {
    /// Flow files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; exit with 1 where a file is not in canonical form
    #[arg(long)]
    check: bool,
}

/// How to print.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Runs a `hotline flow` command. The exit code is 1 where something was found wrong.
pub fn run(command: FlowCommand) -> Result<ExitCode> {
    match command {
        FlowCommand::Check(options) => run_check(&options),
        FlowCommand::Test(options) => run_test(&options),
        FlowCommand::Render(options) => run_render(&options),
        FlowCommand::Diff(options) => run_diff(&options),
        FlowCommand::Fmt(options) => run_fmt(&options),
    }
}

fn verdict(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn read(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > 16 * 1024 * 1024 {
        bail!("{} has {size} bytes; this is no flow or script", path.display());
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8 text: save it as UTF-8", path.display()))
}

/// Prints to standard output; a closed pipe is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn print_json(value: &serde_json::Value) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// A flow that must be readable for the command to make sense.
fn load(path: &Path) -> Result<Flow> {
    let text = read(path)?;
    match parse(&text) {
        Ok(flow) => Ok(flow),
        Err(found) => {
            print(&show::findings(path, &text, &found))?;
            bail!("{} has {}", path.display(), plural(found.len(), "error"));
        }
    }
}

/// The flows that `flow` calls, directly or through others, from the folder of its file.
fn subflows(path: &Path, flow: &Flow) -> Result<BTreeMap<Name, Flow>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut known: BTreeMap<Name, Flow> = BTreeMap::new();
    let mut open: Vec<Name> = hotline_flow::References::of(flow).subflows.into_iter().collect();
    while let Some(name) = open.pop() {
        let file = folder.join(format!("{name}.flow.yaml"));
        if known.contains_key(&name) || !file.is_file() {
            continue;
        }
        let inner = load(&file)?;
        if inner.name != name {
            bail!("{} calls itself '{}': name it '{name}', or rename the file", file.display(), inner.name);
        }
        open.extend(hotline_flow::References::of(&inner).subflows);
        known.insert(name, inner);
    }
    Ok(known)
}

fn run_check(options: &CheckOptions) -> Result<ExitCode> {
    let catalog = match &options.catalog {
        None => Catalog::assume_all(),
        Some(path) => {
            let text = read(path)?;
            match Catalog::parse(&text) {
                Ok(catalog) => catalog,
                Err(found) => {
                    print(&show::findings(path, &text, &found))?;
                    bail!("{} cannot be used as a catalog", path.display());
                }
            }
        }
    };
    let mut files = Vec::new();
    let mut assumed: Vec<&str> = Vec::new();
    let (mut errors, mut warnings) = (0, 0);
    for path in &options.files {
        let text = read(path)?;
        let found = match parse(&text) {
            Err(found) => found,
            Ok(flow) => {
                // Subflows are looked for beside the file, so they are never assumed.
                let catalog = Catalog { subflows: Some(subflows(path, &flow)?), ..catalog.clone() };
                for kind in catalog.assumed(&flow) {
                    if !assumed.contains(&kind) {
                        assumed.push(kind);
                    }
                }
                check(&flow, &catalog)
            }
        };
        errors += found.iter().filter(|d| d.is_error()).count();
        warnings += found.iter().filter(|d| !d.is_error()).count();
        match options.format {
            Format::Text => print(&show::findings(path, &text, &found))?,
            Format::Json => files.push(serde_json::json!({
                "file": path.display().to_string(),
                "ok": !found.iter().any(Diagnostic::is_error),
                "diagnostics": found,
            })),
        }
    }
    match options.format {
        Format::Json => print_json(&serde_json::json!({ "files": files, "assumed": assumed }))?,
        Format::Text => {
            if !assumed.is_empty() {
                print(&format!("note: taken to exist, because no --catalog names them: {}\n", assumed.join(", ")))?;
            }
            let count = plural(options.files.len(), "flow");
            let summary = match (errors, warnings) {
                (0, 0) => format!("{count} checked: every path ends, every menu is complete, nothing is missing\n"),
                _ => format!("{count} checked: {}, {}\n", plural(errors, "error"), plural(warnings, "warning")),
            };
            print(&summary)?;
        }
    }
    Ok(verdict(errors == 0))
}

fn run_test(options: &TestOptions) -> Result<ExitCode> {
    let flow = load(&options.flow)?;
    let known = subflows(&options.flow, &flow)?;
    let compiled = match Compiled::new(flow, &known) {
        Ok(compiled) => compiled,
        Err(found) => {
            print(&show::findings(&options.flow, &read(&options.flow)?, &found))?;
            bail!("{} cannot be run", options.flow.display());
        }
    };
    let (mut passed, mut failed) = (0, 0);
    let mut reports = Vec::new();
    for path in &options.scripts {
        let text = read(path)?;
        let read = match script::read(&text) {
            Ok(read) => read,
            Err(found) => {
                print(&show::findings(path, &text, &found))?;
                bail!("{} has {}", path.display(), plural(found.len(), "error"));
            }
        };
        let report = script::play(&compiled, &read);
        for test in &report.tests {
            let good = test.failures.is_empty();
            if good {
                passed += 1
            } else {
                failed += 1
            }
            if options.format == Format::Text {
                print(&show::test(path, test, options.ladder || !good))?;
            }
        }
        reports.push(serde_json::json!({ "script": path.display().to_string(), "tests": report.tests }));
    }
    match options.format {
        Format::Json => print_json(&serde_json::json!({ "passed": passed, "failed": failed, "scripts": reports }))?,
        Format::Text => print(&format!("{} passed, {failed} failed\n", plural(passed, "test")))?,
    }
    Ok(verdict(failed == 0))
}

fn run_render(options: &RenderOptions) -> Result<ExitCode> {
    let svg = render(&load(&options.flow)?);
    match &options.output {
        Some(path) => std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?,
        None => print(&svg)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_diff(options: &DiffOptions) -> Result<ExitCode> {
    let changes = diff(&load(&options.old)?, &load(&options.new)?);
    match options.format {
        Format::Json => print_json(&serde_json::json!({ "changes": changes }))?,
        Format::Text if changes.is_empty() => print("the flows mean the same\n")?,
        Format::Text => {
            for change in &changes {
                print(&format!("{change}\n"))?;
            }
        }
    }
    Ok(verdict(changes.is_empty() || !options.exit_code))
}

fn run_fmt(options: &FmtOptions) -> Result<ExitCode> {
    let mut good = true;
    for path in &options.files {
        let text = read(path)?;
        let formatted = format_keeping_comments(&load(path)?, &text);
        if formatted == text {
            continue;
        }
        if options.check {
            good = false;
            print(&format!("{}: not in canonical form; run 'hotline flow fmt' on it\n", path.display()))?;
            continue;
        }
        // Written beside it first: an interrupted write must not cost the author the flow.
        let beside = path.with_extension("yaml.new");
        std::fs::write(&beside, &formatted).with_context(|| format!("cannot write {}", beside.display()))?;
        std::fs::rename(&beside, path).with_context(|| format!("cannot replace {}", path.display()))?;
        print(&format!("{}: formatted\n", path.display()))?;
    }
    Ok(verdict(good))
}
