//! What no linter knows about the template: that it fits the programs it deploys.

use hotline_aws::Config;
use std::collections::{BTreeMap, BTreeSet};

const TEMPLATE: &str = include_str!("../../template.yaml");

/// The resources of a type with their text, by logical id.
fn resources(kind: &str) -> BTreeMap<&'static str, &'static str> {
    let body = TEMPLATE.split_once("\nResources:\n").unwrap().1.split_once("\nOutputs:\n").unwrap().0;
    let mut found = BTreeMap::new();
    let mut rest = body;
    while let Some(at) = rest.find("    Type: ") {
        let name = rest[..at].trim_end().rsplit(['\n', ' ']).next().unwrap().trim_end_matches(':');
        let after = &rest[at..];
        let end = after.find("\n\n").unwrap_or(after.len());
        if after.lines().next().unwrap().trim() == format!("Type: {kind}") {
            found.insert(name, &after[..end]);
        }
        rest = &after[end..];
    }
    found
}

#[test]
fn functions_are_told_what_they_read_and_nothing_else() {
    let names: BTreeSet<String> = TEMPLATE
        .lines()
        .filter_map(|line| line.strip_prefix("        HOTLINE_"))
        .map(|rest| format!("HOTLINE_{}", rest.split(':').next().unwrap()))
        .collect();
    let vars: BTreeMap<String, String> = names.iter().map(|n| (n.clone(), "polly".to_string())).collect();
    Config::from_vars(&vars).unwrap();
    for name in &names {
        let mut fewer = vars.clone();
        fewer.remove(name);
        let error = Config::from_vars(&fewer).unwrap_err();
        assert_eq!(error.0, [format!("{name} is not set")]);
    }
}

#[test]
fn every_function_has_a_role_and_a_log_of_its_own() {
    let functions = resources("AWS::Serverless::Function");
    let handlers: BTreeSet<&str> =
        functions.values().map(|text| text.lines().find_map(|l| l.trim().strip_prefix("Handler: ")).unwrap()).collect();
    assert_eq!(
        handlers,
        BTreeSet::from(["api", "directory", "facts", "ivr", "reconcile", "sweep", "timers", "work", "ws"])
    );
    let (roles, logs) = (resources("AWS::IAM::Role"), resources("AWS::Logs::LogGroup"));
    for (name, text) in &functions {
        let part = name.strip_suffix("Function").unwrap();
        assert!(text.contains(&format!("Role: !GetAtt {part}Role.Arn")), "{name}");
        assert!(text.contains(&format!("LogGroup: !Ref {part}Logs")), "{name}");
        assert!(roles.contains_key(format!("{part}Role").as_str()), "{name}");
        assert!(logs[format!("{part}Logs").as_str()].contains("RetentionInDays"), "{name}");
    }
}

#[test]
fn data_is_kept_encrypted_and_private() {
    let tables = resources("AWS::DynamoDB::Table");
    assert_eq!(tables.len(), 4);
    for (name, text) in tables {
        for needed in ["PointInTimeRecoveryEnabled: true", "SSEEnabled: true", "AttributeName: expires, Enabled: true"]
        {
            assert!(text.contains(needed), "{name}: {needed}");
        }
        assert!(text.contains("DeletionPolicy: Retain"), "{name}");
    }
    let (buckets, policies) = (resources("AWS::S3::Bucket"), resources("AWS::S3::BucketPolicy"));
    assert_eq!(buckets.len(), 2);
    for (name, text) in buckets {
        for needed in
            ["RestrictPublicBuckets: true", "SSEAlgorithm", "LifecycleConfiguration", "DeletionPolicy: Retain"]
        {
            assert!(text.contains(needed), "{name}: {needed}");
        }
        assert!(policies[format!("{name}Policy").as_str()].contains("aws:SecureTransport"), "{name}");
    }
    for (name, text) in resources("AWS::SQS::Queue") {
        assert!(text.contains("SqsManagedSseEnabled: true"), "{name}");
        assert!(name.ends_with("DeadLetters") || text.contains("deadLetterTargetArn"), "{name}");
    }
}

#[test]
fn cloudformation_can_read_it() {
    // CloudFormation refuses YAML anchors and aliases, which local tools resolve silently.
    for (at, line) in TEMPLATE.lines().enumerate() {
        let code = line.split(" #").next().unwrap_or("");
        let aliased = code.contains(": &") || code.contains(": *") || code.contains("<<: ") || code.contains("- *");
        assert!(!aliased, "line {}: {line}", at + 1);
    }
    assert!(TEMPLATE.len() < 1_000_000, "the limit of a template in a bucket");
}
