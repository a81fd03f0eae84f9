//! Each test is one rule; its message says what to do.

use hotline_tidy::{Member, files, product_code, root, workspace};
use std::collections::{BTreeMap, BTreeSet};

/// Crates without clock, randomness, I/O, threads or async.
const PURE: &[&str] = &[
    "shared/base",
    "shared/flow",
    "shared/routing",
    "shared/sla",
    "shared/ticket",
    "shared/contact",
    "shared/report",
    "shared/wire",
    "media-node/sip",
    "media-node/session",
];

/// The deploy tool speaks CloudFormation; everything else meets the cloud through `hotline-aws`.
const MAY_NAME_THE_SDK: &[&str] = &["hotline-aws", "hotline-cloud"];

#[test]
fn pure_crates_touch_nothing_outside() {
    let forbidden = [
        "Instant::now",
        "SystemTime",
        "std::fs",
        "std::io::Read",
        "std::io::Write",
        "std::process",
        "std::thread",
        "std::env::",
        "TcpStream",
        "UdpSocket",
        "TcpListener",
        "tokio::",
        "async fn",
        "async move",
        "rand::",
        "getrandom",
        "println!",
        "eprintln!",
    ];
    let mut wrong = Vec::new();
    for folder in PURE {
        let source = root().join(folder).join("src");
        for file in files(&source, &[".rs"]).unwrap().into_iter().filter(|file| !file.starts_with(source.join("tests")))
        {
            let code = product_code(&std::fs::read_to_string(&file).unwrap());
            for word in forbidden {
                if code.contains(word) {
                    wrong.push(format!("{}: {word}", file.strip_prefix(root()).unwrap().display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "pure crates must take time, ids and I/O from their inputs:\n{}", wrong.join("\n"));
}

fn reached(members: &BTreeMap<String, Member>, name: &str, seen: &mut BTreeSet<String>) {
    if seen.insert(name.to_owned()) {
        for dependency in members.get(name).into_iter().flat_map(|m| &m.dependencies) {
            reached(members, dependency, seen);
        }
    }
}

#[test]
fn default_members_reach_no_cloud_sdk() {
    let (members, default) = workspace().unwrap();
    for (name, member) in &members {
        let mut seen = BTreeSet::new();
        reached(&members, name, &mut seen);
        let cloud: Vec<_> = seen.iter().filter(|d| d.starts_with("aws-")).collect();
        if default.contains(&member.folder) {
            assert!(cloud.is_empty(), "{name} is a default member and reaches {cloud:?}");
        }
        let named: Vec<_> = member.dependencies.union(&member.optional).filter(|d| d.starts_with("aws-sdk-")).collect();
        assert!(
            named.is_empty() || MAY_NAME_THE_SDK.contains(&name.as_str()),
            "{name} names {named:?}: go through hotline-aws"
        );
    }
}

#[test]
fn arrows_point_one_way() {
    let order: &[&[&str]] = &[
        &["hotline-base"],
        &["hotline-flow", "hotline-routing", "hotline-sla", "hotline-wire"],
        &["hotline-ticket", "hotline-contact"],
        &["hotline-report"],
        &["hotline-ports"],
        &["hotline-service"],
        &["hotline-api"],
        &["hotline-aws"],
        &["hotline-functions", "media-node", "hotline-cloud"],
    ];
    let rank: BTreeMap<&str, usize> =
        order.iter().enumerate().flat_map(|(i, names)| names.iter().map(move |n| (*n, i))).collect();
    let (members, _) = workspace().unwrap();
    for (name, member) in &members {
        let Some(own) = rank.get(name.as_str()) else { continue };
        for dependency in member.dependencies.union(&member.optional) {
            if let Some(other) = rank.get(dependency.as_str()) {
                assert!(other < own, "{name} must not depend on {dependency}: the arrows point from shell to core");
            }
        }
    }
}

#[test]
fn no_file_is_the_file_nobody_can_read() {
    let mut long = Vec::new();
    for file in files(&root(), &[".rs", ".ts", ".tsx", ".py"]).unwrap() {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        if lines > 700 {
            long.push(format!("{} has {lines} lines", file.strip_prefix(root()).unwrap().display()));
        }
    }
    assert!(long.is_empty(), "split by input or topic:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_half_said() {
    let words = ["todo!(", "unimplemented!(", "TODO", "FIXME", "XXX", "HACK"];
    let mut wrong = Vec::new();
    for file in files(&root(), &[".rs", ".ts", ".tsx", ".py", ".sh", ".yaml"]).unwrap() {
        if file.starts_with(root().join("tests/tidy")) {
            continue;
        }
        for (number, line) in std::fs::read_to_string(&file).unwrap_or_default().lines().enumerate() {
            if words.iter().any(|w| line.contains(w)) {
                wrong.push(format!("{}:{}: {}", file.strip_prefix(root()).unwrap().display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "finish it, or say in the docs that it is missing:\n{}", wrong.join("\n"));
}

#[test]
fn no_path_of_a_developers_machine() {
    let words = ["/home/", concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let mut wrong = Vec::new();
    for file in files(&root(), &[".rs", ".toml", ".yaml", ".yml", ".py", ".sh", ".md", ".json", ".ts", ".tsx"]).unwrap()
    {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if let Some(word) = words.iter().find(|w| text.contains(**w)).filter(|_| !file.ends_with("tests/tidy.rs")) {
            wrong.push(format!("{}: {word}", file.strip_prefix(root()).unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
