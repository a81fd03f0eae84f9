//! `[tap]`: the speech engine that voices of calls are handed to.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::read::Reader;

/// Who gets voices, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapSection {
    /// Where the engine listens; `None`: there is none.
    pub connect: Option<TapTarget>,
    /// Voices at a time.
    pub max_streams: usize,
}

/// A place on this machine where a speech engine listens: what is said goes over no network
/// unprotected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TapTarget {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A loopback port.
    Tcp(SocketAddr),
}

/// A text that names no such place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write unix:/path/of/socket, or tcp:127.0.0.1:port (it must be on this machine)")]
pub struct NoTapTarget;

impl fmt::Display for TapTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TapTarget::Unix(path) => write!(f, "unix:{}", path.display()),
            TapTarget::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl FromStr for TapTarget {
    type Err = NoTapTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(TapTarget::Unix(path.into())),
            Some(("tcp", address)) => match address.parse::<SocketAddr>() {
                Ok(address) if address.ip().is_loopback() && address.port() != 0 => Ok(TapTarget::Tcp(address)),
                _ => Err(NoTapTarget),
            },
            _ => Err(NoTapTarget),
        }
    }
}

impl Reader<'_> {
    /// `[tap]`, whole.
    pub(super) fn tap(&mut self) -> TapSection {
        let text = self.text("tap", "connect", "");
        let connect = match text.as_str() {
            "" => None,
            text => match text.parse() {
                Ok(target) => Some(target),
                Err(remedy) => {
                    self.wrong("tap", "connect", format_args!("{text:?}: {remedy}"));
                    None
                }
            },
        };
        TapSection { connect, max_streams: self.number("tap", "max_streams", 200, 1, 10_000) as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_speech_engine_is_on_this_machine() {
        for good in ["unix:/run/x.sock", "tcp:127.0.0.1:9000", "tcp:[::1]:9000"] {
            assert_eq!(good.parse::<TapTarget>().unwrap().to_string(), good);
        }
        for bad in ["", "unix:x", "tcp:192.0.2.1:9", "tcp:127.0.0.1:0", "/run/x.sock"] {
            assert!(bad.parse::<TapTarget>().is_err(), "{bad}");
        }
        let text = "[tap]\nconnect = \"tcp:192.0.2.1:9\"\nmax_streams = 0\n";
        let errors = Config::read(text, &Default::default()).unwrap_err().to_string();
        assert!(errors.contains("tap.connect: \"tcp:192.0.2.1:9\": write unix:/path"), "{errors}");
        assert!(errors.contains("tap.max_streams: write a whole number from 1 to 10000"), "{errors}");
    }
}
