//! Headless Chromium with a JsSIP phone in its page.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::page::Page;
use tempfile::TempDir;

use crate::{Process, bundle, eventually, need};

/// A running browser; dropped, it is stopped.
pub struct Browser {
    page: Page,
    _process: Process,
    folder: TempDir,
}

/// Where `hotline test` installs what npm has.
fn node_modules() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("HOTLINE_INTEROP_MODULES") {
        return Ok(given.into());
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join("hotline/interop-browser/node_modules"))
}

impl Browser {
    /// Starts it and loads the phone's page.
    pub fn start() -> Result<Self> {
        let chromium = need("chromium", "chromium")?;
        let here = std::env::var("CARGO_MANIFEST_DIR").context("run by cargo")?;
        // Other packages of tests/ use it as well.
        let script = bundle::bundle(&Path::new(&here).join("../interop/browser/page.js"), &node_modules()?)?;
        let page = Page::serve(script)?;
        let folder = tempfile::tempdir()?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(chromium)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--autoplay-policy=no-user-gesture-required",
                "--allow-loopback-in-peer-connection",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                // The node's certificate is one of this test's own.
                "--ignore-certificate-errors",
                "--enable-logging=stderr",
            ])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg(&page.address)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start chromium")?;
        let browser = Self { page, _process: Process(child), folder };
        browser.wait("loaded")?;
        Ok(browser)
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Asks the phone to do something.
    pub fn ask(&self, act: &str, more: Value) -> Result<Value> {
        self.page.ask(act, more)
    }

    /// Waits for an event by its name.
    pub fn wait(&self, event: &str) -> Result<Value> {
        self.page.take(event, |told| told["event"] == event).map_err(|error| {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            error.context(format!("chromium's last words:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n")))
        })
    }

    /// Registers at a node that asks for no password.
    pub fn register(&self, url: &str, user: &str) -> Result<()> {
        self.register_with(url, user, "")
    }

    /// Registers at a node.
    pub fn register_with(&self, url: &str, user: &str, password: &str) -> Result<()> {
        let instance = "8f1fa16a-1165-4a96-8341-785b1ef24f12";
        let account =
            json!({"url": url, "uri": format!("sip:{user}@hotline"), "password": password, "instance": instance});
        self.ask("start", account)?;
        self.wait("registered")?;
        Ok(())
    }

    /// Waits until a tone is what it hears, 15 s at most.
    pub fn hears(&self, hz: f64) -> Result<()> {
        eventually(Duration::from_secs(15), || {
            let heard = self.ask("hear", json!({}))?;
            let (found, level) = (heard["hz"].as_f64().unwrap_or(0.0), heard["level"].as_f64().unwrap_or(-200.0));
            if (found - hz).abs() < 15.0 && level > -60.0 {
                return Ok(());
            }
            bail!("{hz} Hz is not heard: the loudest is {found:.0} Hz at {level:.0} dB")
        })
    }

    /// Puts the other side on hold or takes it back, as soon as no other offer is under way.
    pub fn hold(&self, on: bool) -> Result<()> {
        eventually(Duration::from_secs(10), || match self.ask("hold", json!({"on": on}))? {
            Value::Bool(true) => Ok(()),
            other => bail!("the phone does not hold or resume: {other}"),
        })?;
        self.wait(if on { "hold" } else { "unhold" }).map(drop)
    }

    /// Loads the page again.
    pub fn reload(&self) -> Result<()> {
        self.page.forget();
        self.ask("reload", json!({}))?;
        self.wait("loaded")?;
        Ok(())
    }
}
