//! Which C library a program needs: Amazon Linux 2023 has glibc 2.34, a builder often a newer one.

use anyhow::{Result, bail};
use std::str::FromStr;

/// A glibc version such as 2.34.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl FromStr for Version {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.').and_then(|(a, b)| Some(Version(a.parse().ok()?, b.parse().ok()?)));
        parts.ok_or_else(|| format!("{text:?} is not a glibc version such as 2.34"))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The newest `GLIBC_x.y` symbol version that a program's bytes name; `None`: it names none.
pub fn needed(program: &[u8]) -> Option<Version> {
    const TAG: &[u8] = b"GLIBC_";
    let mut newest = None;
    let mut rest = program;
    while let Some(at) = rest.windows(TAG.len()).position(|w| w == TAG) {
        rest = &rest[at + TAG.len()..];
        let end = rest.iter().position(|b| !b.is_ascii_digit() && *b != b'.').unwrap_or(rest.len()).min(16);
        let mut parts = std::str::from_utf8(&rest[..end]).unwrap_or("").split('.');
        let version = (|| Some(Version(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)))();
        newest = newest.max(version);
    }
    newest
}

/// Refuses a program that needs a newer C library than `most`.
pub fn check(program: &[u8], most: Version) -> Result<()> {
    match needed(program) {
        Some(version) if version > most => bail!(
            "the program needs glibc {version}, the functions have {most}: build it with\n  \
             cargo lambda build --release -p hotline-functions --target x86_64-unknown-linux-gnu.{most}\n\
             (cargo-lambda is on PyPI: pip install cargo-lambda)"
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_newest_version() {
        let bytes = b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0GLIBC_";
        assert_eq!(needed(bytes), Some(Version(2, 34)));
        assert!(check(bytes, Version(2, 34)).is_ok());
        assert!(check(bytes, Version(2, 28)).unwrap_err().to_string().contains("needs glibc 2.34"));
        assert_eq!(needed(b"static"), None);
    }
}
