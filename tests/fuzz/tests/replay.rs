//! The committed corpora, input by input: what once was found stays found.

use hotline_fuzz::TARGETS;
use std::path::Path;

#[test]
fn every_input_of_every_corpus_is_taken() {
    for (name, target) in TARGETS {
        let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("corpus").join(name);
        let mut inputs: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{} has no input", folder.display());
        for input in inputs {
            let data = std::fs::read(&input).unwrap();
            let taken = std::panic::catch_unwind(|| target(&data));
            assert!(taken.is_ok(), "{}", input.display());
            // Cut off anywhere it is taken as well.
            for end in (0..data.len().min(200)).step_by(7) {
                target(&data[..end]);
            }
        }
    }
}
