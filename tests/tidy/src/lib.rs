//! The rules of the house that a compiler does not know, checked over the tree.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The repository, as cargo says at run time: a build may be kept and run where the checkout lies
/// elsewhere.
///
/// # Panics
/// Where it is not run by cargo.
pub fn root() -> PathBuf {
    let own = std::env::var("CARGO_MANIFEST_DIR").expect("run by cargo");
    Path::new(&own).join("../..").components().collect()
}

/// Every file under `folder` that git would keep, by ending, in order.
pub fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                let skipped = ["target", "node_modules", ".git", ".local", "corpus"];
                if !skipped.contains(&name.as_str()) {
                    folders.push(entry.path());
                }
            } else if endings.iter().any(|e| name.ends_with(e)) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// One workspace member, as its manifest says.
#[derive(Debug, Clone)]
pub struct Member {
    /// Folder, relative to the root.
    pub folder: String,
    /// What a normal build needs; optional dependencies are not in it.
    pub dependencies: BTreeSet<String>,
    /// Optional dependencies.
    pub optional: BTreeSet<String>,
}

/// All workspace members by package name, and the folders of the default members.
pub fn workspace() -> Result<(BTreeMap<String, Member>, BTreeSet<String>)> {
    let top: toml::Table = read(&root().join("Cargo.toml"))?;
    let list = |key: &str| -> Vec<String> {
        let values = top.get("workspace").and_then(|w| w.get(key)).and_then(|m| m.as_array());
        values.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let mut members = BTreeMap::new();
    for folder in list("members") {
        let manifest = read(&root().join(&folder).join("Cargo.toml"))?;
        let name = manifest["package"]["name"].as_str().context("package.name")?.to_owned();
        let (mut dependencies, mut optional) = (BTreeSet::new(), BTreeSet::new());
        for (dependency, detail) in manifest.get("dependencies").and_then(|d| d.as_table()).into_iter().flatten() {
            let is_optional = detail.get("optional").and_then(|o| o.as_bool()).unwrap_or(false);
            if is_optional {
                optional.insert(dependency.clone())
            } else {
                dependencies.insert(dependency.clone())
            };
        }
        members.insert(name, Member { folder, dependencies, optional });
    }
    Ok((members, list("default-members").into_iter().collect()))
}

fn read(file: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    toml::from_str(&text).with_context(|| file.display().to_string())
}

/// Rust source without its comments and without what follows `#[cfg(test)]`.
pub fn product_code(text: &str) -> String {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end].lines().map(|l| l.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}
