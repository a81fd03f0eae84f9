//! Plays every `flows/*.script` against its flow and compares the ladders with `*.ladder`.
//!
//! `UPDATE_GOLDEN=1` writes ladders and canonical flows anew; look at the difference before committing it.

use hotline_flow::{Catalog, Compiled, Flow, check, format_keeping_comments, parse, script};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("flows")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn flow(path: &Path) -> Flow {
    let text = read(path);
    let flow = parse(&text).unwrap_or_else(|found| panic!("{}: {found:#?}", path.display()));
    let formatted = format_keeping_comments(&flow, &text);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &formatted).unwrap();
    } else {
        assert!(formatted == text, "{} should read:\n{formatted}", path.display());
    }
    flow
}

/// The flows of the folder and the demo flow, by name.
fn flows() -> BTreeMap<hotline_base::Name, Flow> {
    let demo =
        Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../shared/flow/examples/demo.flow.yaml");
    let here = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = here.filter(|p| p.to_string_lossy().ends_with(".flow.yaml")).collect();
    paths.push(demo);
    paths.iter().map(|path| flow(path)).map(|flow| (flow.name.clone(), flow)).collect()
}

fn golden(name: &str) {
    let flows = flows();
    let main = flows[&name.parse().unwrap()].clone();
    let catalog = Catalog { subflows: Some(flows.clone()), ..Catalog::assume_all() };
    assert_eq!(check(&main, &catalog), []);
    let steps: Vec<String> = main.steps.keys().map(|step| format!("{name}/{step}")).collect();
    let compiled = Compiled::new(main, &flows).unwrap();
    let tests = script::read(&read(&folder().join(format!("{name}.script")))).unwrap();
    let report = script::play(&compiled, &tests);
    let ladder = report.to_string();
    assert!(report.passed(), "{ladder}");
    let path = folder().join(format!("{name}.ladder"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &ladder).unwrap();
    }
    let expected = read(&path);
    assert!(ladder == expected, "the ladder is now (UPDATE_GOLDEN=1 writes it):\n{ladder}");
    let never: Vec<&String> =
        steps.iter().filter(|step| !report.tests.iter().any(|t| t.steps.contains(step))).collect();
    assert!(never.is_empty(), "no script comes to {never:?}");
}

#[test]
fn every_script_plays_as_written() {
    golden("demo");
    golden("support");
    golden("machine");
}
