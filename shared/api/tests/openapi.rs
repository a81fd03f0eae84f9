//! `openapi.json` is what the code says; `HOTLINE_UPDATE=1` writes it anew.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn file() -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("openapi.json")
}

#[test]
fn the_committed_document_is_up_to_date() {
    let made = hotline_api::openapi::document();
    if std::env::var_os("HOTLINE_UPDATE").is_some() {
        let text = serde_json::to_string_pretty(&made).unwrap();
        std::fs::write(file(), text + "\n").unwrap();
    }
    let committed: Value =
        serde_json::from_str(&std::fs::read_to_string(file()).unwrap_or_default()).unwrap_or_default();
    assert!(committed == made, "run: HOTLINE_UPDATE=1 cargo test -p hotline-api --test openapi");
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get("$ref") {
                found.insert(target.clone());
            }
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_its_own_id() {
    let document = hotline_api::openapi::document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for target in &found {
        let name = target.strip_prefix("#/components/schemas/").unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{target}");
    }
    let mut ids = BTreeSet::new();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_string()), "{operation}");
            assert!(operation["summary"].as_str().unwrap().ends_with('.'), "{operation}");
        }
    }
    assert_eq!(ids.len(), hotline_api::route::routes().len());
}
