//! Flow texts and their test scripts.

use hotline_flow::{Catalog, Compiled, check, format, format_keeping_comments, parse, render, script};
use std::collections::BTreeMap;

const DEMO: &str = include_str!("../../../shared/flow/examples/demo.flow.yaml");

/// A flow: what parses can be checked, written and drawn, and what was written says the same.
pub fn flow(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = match parse(text) {
        Ok(flow) => flow,
        Err(findings) => {
            assert!(!findings.is_empty());
            return;
        }
    };
    let _ = check(&parsed, &Catalog::empty());
    let written = format(&parsed);
    match parse(&written) {
        Ok(again) => assert_eq!(format(&again), written, "written the same twice"),
        Err(findings) => panic!("what was written does not parse: {findings:?}\n{written}"),
    }
    let _ = format_keeping_comments(&parsed, text);
    let _ = render(&parsed);
    let _ = Compiled::new(parsed, &BTreeMap::new());
}

/// A test script, played on the demo flow.
pub fn script(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(script) = script::read(text) else { return };
    if let Ok(flow) = parse(DEMO)
        && let Ok(compiled) = Compiled::new(flow, &BTreeMap::new())
    {
        let _ = script::play(&compiled, &script);
    }
}
