//! The functions' zip: one program called `bootstrap`, the same bytes for the same program.

use anyhow::{Context, Result, bail};
use clap::Args;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::glibc;

/// Options of `package`.
#[derive(Args, Debug)]
pub struct Options {
    /// The built program.
    #[arg(long)]
    binary: PathBuf,
    /// The zip to write.
    #[arg(long, default_value = "functions.zip")]
    out: PathBuf,
    /// The program's name in the zip: `bootstrap` for the functions, `media-node` for a node.
    #[arg(long, default_value = "bootstrap")]
    name: String,
    /// Refuse a program that needs a newer glibc than this (AWS: 2.34).
    #[arg(long)]
    max_glibc: Option<glibc::Version>,
}

/// Writes the zip unless it is there already.
pub fn run(options: &Options) -> Result<()> {
    let program = fs::read(&options.binary).with_context(|| {
        format!("{}: build it with `cargo build --release -p hotline-functions`", options.binary.display())
    })?;
    if program.get(..4) != Some(b"\x7fELF") {
        bail!("{} is not a Linux program", options.binary.display());
    }
    if let Some(most) = options.max_glibc {
        glibc::check(&program, most)?;
    }
    let hash = hex::encode(Sha256::digest(&program));
    if comment(&options.out).as_deref() == Some(hash.as_bytes()) {
        println!("{}: up to date", options.out.display());
        return Ok(());
    }
    let fresh = options.out.with_extension("new");
    let mut zip = ZipWriter::new(fs::File::create(&fresh).with_context(|| fresh.display().to_string())?);
    let entry = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(6))
        .last_modified_time(DateTime::default())
        .unix_permissions(0o755);
    zip.start_file(options.name.as_str(), entry)?;
    zip.write_all(&program)?;
    zip.set_comment(hash)?;
    zip.finish()?.sync_all()?;
    fs::rename(&fresh, &options.out)?;
    let mega = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "{}: {:.1} MB from {:.1} MB",
        options.out.display(),
        mega(fs::metadata(&options.out)?.len()),
        mega(program.len() as u64)
    );
    Ok(())
}

/// The hash of the program that an existing zip was made from.
fn comment(zip: &Path) -> Option<Vec<u8>> {
    Some(ZipArchive::new(fs::File::open(zip).ok()?).ok()?.comment().to_vec())
}
