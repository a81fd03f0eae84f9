//! Makes one script of CommonJS modules, as browsers need it: what npm installs is for Node.js.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The script that runs `entry` with everything it requires, found below `node_modules`.
pub fn bundle(entry: &Path, node_modules: &Path) -> Result<String> {
    let entry = entry.canonicalize().with_context(|| entry.display().to_string())?;
    let node_modules = node_modules
        .canonicalize()
        .with_context(|| format!("{}: `./hotline test --only interop` installs JsSIP there", node_modules.display()))?;
    let mut modules: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut open = vec![entry.clone()];
    while let Some(file) = open.pop() {
        if modules.contains_key(&file) {
            continue;
        }
        let mut text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let mut names = BTreeMap::new();
        if file.extension().is_some_and(|e| e == "json") {
            text = format!("module.exports = {text};");
        } else {
            for name in required(&text) {
                // What is only there in Node.js is never reached in a browser.
                if let Some(found) = resolve(&name, &file, &node_modules)? {
                    names.insert(name, Value::from(found.display().to_string()));
                    open.push(found);
                }
            }
        }
        let names = serde_json::to_string(&names)?;
        modules.insert(file, format!("[function (module, exports, require) {{\n{text}\n}}, {names}]"));
    }
    let mut script = String::from("(() => {\nconst modules = {\n");
    for (file, module) in &modules {
        writeln!(script, "{}: {module},", Value::from(file.display().to_string()))?;
    }
    writeln!(
        script,
        "}};\nconst loaded = {{}};\nfunction load(file) {{\n  if (!loaded[file]) {{\n    const [run, names] = modules[file];\n    \
         const module = (loaded[file] = {{ exports: {{}} }});\n    run(module, module.exports, (name) => load(names[name]));\n  }}\n  \
         return loaded[file].exports;\n}}\nload({});\n}})();",
        Value::from(entry.display().to_string())
    )?;
    Ok(script)
}

/// The names in `require('…')`.
fn required(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for part in text.split("require(").skip(1) {
        let Some(quote) = part.chars().next().filter(|c| matches!(c, '\'' | '"')) else { continue };
        if let Some((name, after)) = part[1..].split_once(quote)
            && after.starts_with(')')
        {
            names.push(name.to_owned());
        }
    }
    names
}

fn resolve(name: &str, from: &Path, node_modules: &Path) -> Result<Option<PathBuf>> {
    let relative = name.starts_with('.');
    let base =
        if relative { from.parent().context("a file without folder")?.join(name) } else { node_modules.join(name) };
    if !relative && !base.exists() {
        return Ok(None);
    }
    let mut candidates = Vec::new();
    if let Ok(package) = std::fs::read_to_string(base.join("package.json")) {
        let package: Value = serde_json::from_str(&package)?;
        let main = package["browser"].as_str().or(package["main"].as_str()).unwrap_or("index.js");
        candidates.extend([base.join(main), base.join(format!("{main}.js")), base.join(main).join("index.js")]);
    }
    let with = |extension: &str| PathBuf::from(format!("{}.{extension}", base.display()));
    candidates.extend([base.clone(), with("js"), with("json"), base.join("index.js")]);
    match candidates.into_iter().find(|file| file.is_file()) {
        Some(file) => Ok(Some(file.canonicalize()?)),
        None => bail!("{name}, required by {}, is not there", from.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_like_node_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("page.js", "const a = require('a'); require(\"./near\"); require(dynamic); require('fs');");
        write("near.js", "module.exports = require('./data.json').n;");
        write("data.json", "{\"n\": 1}");
        write("node_modules/a/package.json", "{\"main\": \"./lib/\"}");
        write("node_modules/a/lib/index.js", "exports.a = 1;");
        let script = bundle(&folder.path().join("page.js"), &folder.path().join("node_modules")).unwrap();
        for part in ["exports.a = 1;", "module.exports = {\"n\": 1};", "a/lib/index.js\"", "\"./near\":"] {
            assert!(script.contains(part), "no {part} in\n{script}");
        }
        assert!(!script.contains("\"fs\""));
        write("page.js", "require('./gone')");
        assert!(bundle(&folder.path().join("page.js"), &folder.path().join("node_modules")).is_err());
    }
}
