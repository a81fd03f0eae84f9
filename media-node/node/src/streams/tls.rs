//! Certificates: read and checked whole, read again when their files change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::clock;
use crate::config::{StreamSettings, TlsFiles};
use crate::metrics::Metrics;
use crate::shared::Shared;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(30);

/// What is wrong with a setting, with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

fn wrong(key: &str, path: &Path, remedy: impl fmt::Display) -> TlsError {
    TlsError(format!("sip.{key}: {}: {remedy}", path.display()))
}

/// The certificate in use.
pub struct Tls {
    paths: Paths,
    current: RwLock<Current>,
}

/// The files.
#[derive(Clone)]
struct Paths {
    files: TlsFiles,
    ca: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    client: Option<TlsFiles>,
}

struct Current {
    /// Of all files.
    hash: [u8; 32],
    /// For SIP: asks for a certificate where there is an authority for it.
    server: Arc<ServerConfig>,
    /// For browsers: asks for none.
    web: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// Seconds since 1970.
    not_after: Option<i64>,
}

/// What a look at the files led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// Nothing changed.
    Same,
    /// New connections get the new certificate.
    New,
}

impl Tls {
    /// Reads the files; `None`: there is no certificate.
    ///
    /// # Errors
    /// The setting that is wrong, and its remedy.
    pub fn load(settings: &StreamSettings) -> Result<Option<Arc<Tls>>, TlsError> {
        let Some(files) = settings.tls.clone() else {
            return Ok(None);
        };
        let (ca, client_ca) = (settings.tls_ca.clone(), settings.tls_client_ca.clone());
        let paths = Paths { files, ca, client_ca, client: settings.tls_client.clone() };
        let current = read(&paths)?;
        warn_of_expiry(&paths.files.cert, &current);
        Ok(Some(Arc::new(Tls { paths, current: RwLock::new(current) })))
    }

    fn with<T>(&self, get: impl FnOnce(&Current) -> T) -> T {
        get(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// For a connection that comes.
    pub(super) fn acceptor(&self, browser: bool) -> TlsAcceptor {
        self.with(|current| TlsAcceptor::from(if browser { &current.web } else { &current.server }.clone()))
    }

    /// For a connection of ours.
    pub(super) fn connector(&self) -> TlsConnector {
        self.with(|current| TlsConnector::from(current.client.clone()))
    }

    /// When the certificate ends, seconds since 1970; 0 where it does not say.
    pub fn not_after(&self) -> u64 {
        self.with(|current| current.not_after.and_then(|at| u64::try_from(at).ok()).unwrap_or(0))
    }

    /// Takes changed files over; connections that are there go on.
    ///
    /// # Errors
    /// What is wrong with them; the old certificate stays.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        let fresh = read(&self.paths)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.hash == fresh.hash {
            return Ok(Reloaded::Same);
        }
        warn_of_expiry(&self.paths.files.cert, &fresh);
        *current = fresh;
        Ok(Reloaded::New)
    }
}

/// Looks at the files now; what is wrong is logged and counted.
pub fn look(shared: &Shared) {
    let Some(tls) = shared.streams.tls() else { return };
    match tls.reload() {
        Ok(Reloaded::Same) => {}
        Ok(Reloaded::New) => {
            Metrics::add(&shared.metrics.tls_reloads);
            tracing::info!("the new certificate is in use");
        }
        Err(error) => {
            Metrics::add(&shared.metrics.tls_reload_failures);
            tracing::error!(%error, "the new certificate cannot be used; the old one stays");
        }
    }
}

/// Looks at the files again and again until the process ends.
pub async fn watch(shared: Arc<Shared>) {
    let mut interval = tokio::time::interval(LOOK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let shared = shared.clone();
        let _ = tokio::task::spawn_blocking(move || look(&shared)).await;
    }
}

/// A host name or an address as certificates bear it.
pub(super) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

/// Whether a certificate that was believed is for this name.
pub(super) fn bears(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(certificate), Some(name)) = (ParsedCertificate::try_from(certificate), server_name(name)) else {
        return false;
    };
    verify_server_name(&certificate, &name).is_ok()
}

fn read(paths: &Paths) -> Result<Current, TlsError> {
    let mut hash = Sha256::new();
    let mut file = |key: &str, path: &Path| -> Result<Vec<u8>, TlsError> {
        let bytes = std::fs::read(path)
            .map_err(|e| wrong(key, path, format_args!("cannot be read ({e}): name a PEM file this user may read")))?;
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(&bytes);
        Ok(bytes)
    };
    let files = &paths.files;
    let own = (file("tls_cert", &files.cert)?, file("tls_key", &files.key)?);
    let ca = paths.ca.as_deref().map(|path| file("tls_ca", path).map(|bytes| (path, bytes))).transpose()?;
    let client_ca = paths.client_ca.as_deref();
    let client_ca = client_ca.map(|path| file("tls_client_ca", path).map(|bytes| (path, bytes))).transpose()?;
    let shown = match &paths.client {
        Some(shown) => Some((shown, file("tls_client_cert", &shown.cert)?, file("tls_client_key", &shown.key)?)),
        None => None,
    };

    let chain = certificates("tls_cert", &files.cert, &own.0)?;
    let key = private_key("tls_key", &files.key, &own.1)?;
    let roots = match ca {
        Some((path, bytes)) => authorities("tls_ca", path, certificates("tls_ca", path, &bytes)?)?,
        None => authorities("tls_cert", &files.cert, chain.clone())?,
    };
    let not_after = chain.first().and_then(|cert| not_after(cert));

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |e| unusable(("tls_cert", "tls_key"), files, e);
    let builder = || {
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(unusable)
    };
    let web = builder()?.with_no_client_auth().with_single_cert(chain.clone(), key.clone_key()).map_err(unusable)?;
    let server = match client_ca {
        None => web.clone(),
        Some((path, bytes)) => {
            let roots = authorities("tls_client_ca", path, certificates("tls_client_ca", path, &bytes)?)?;
            // Phones have none; who shows one must be believed.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()
                .map_err(|e| wrong("tls_client_ca", path, e))?;
            builder()?.with_client_cert_verifier(verifier).with_single_cert(chain, key).map_err(unusable)?
        }
    };
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots);
    let client = match shown {
        None => client.with_no_client_auth(),
        Some((files, cert, key)) => {
            let chain = certificates("tls_client_cert", &files.cert, &cert)?;
            let key = private_key("tls_client_key", &files.key, &key)?;
            let unusable = |e| self::unusable(("tls_client_cert", "tls_client_key"), files, e);
            client.with_client_auth_cert(chain, key).map_err(unusable)?
        }
    };
    let (server, web, client) = (Arc::new(server), Arc::new(web), Arc::new(client));
    Ok(Current { hash: hash.finalize().into(), server, web, client, not_after })
}

/// Why a certificate and its key cannot be used together; `keys`: their settings.
fn unusable(keys: (&str, &str), files: &TlsFiles, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => wrong(
            keys.1,
            &files.key,
            format_args!(
                "does not belong to the certificate in {}: name the key it was made with",
                files.cert.display()
            ),
        ),
        other => wrong(keys.0, &files.cert, format_args!("cannot be used with its key: {other}")),
    }
}

fn private_key(setting: &str, path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        wrong(setting, path, "holds no private key: write one in PEM without a passphrase (PKCS #8 or PKCS #1)")
    })
}

fn authorities(key: &str, path: &Path, anchors: Vec<CertificateDer<'static>>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots.add(anchor).map_err(|e| wrong(key, path, format_args!("a certificate in it is damaged: {e}")))?;
    }
    Ok(roots)
}

fn certificates(key: &str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(wrong(key, path, "holds no certificate: write PEM, the server's certificate first")),
        Err(error) => Err(wrong(key, path, format_args!("is no PEM file: {error}"))),
    }
}

fn warn_of_expiry(path: &Path, current: &Current) {
    let now = clock::wall().as_millis() / 1_000;
    match current.not_after {
        Some(at) if at <= now => {
            tracing::warn!(path = %path.display(), "the certificate in sip.tls_cert has expired: peers will refuse it");
        }
        Some(at) if at <= now + 14 * 86_400 => {
            let days = (at - now) / 86_400;
            tracing::warn!(path = %path.display(), days, "the certificate in sip.tls_cert expires soon");
        }
        _ => {}
    }
}

/// One DER value: its tag, its content, and what follows it.
fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0usize, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// The end of a certificate's validity (RFC 5280 §4.1.2.5), seconds since 1970.
fn not_after(certificate: &[u8]) -> Option<i64> {
    let (0x30, certificate, _) = der(certificate)? else { return None };
    let (0x30, mut fields, _) = der(certificate)? else { return None };
    if fields.first() == Some(&0xa0) {
        // The version.
        fields = der(fields)?.2;
    }
    // Serial number, signature, issuer.
    for _ in 0..3 {
        fields = der(fields)?.2;
    }
    let (0x30, validity, _) = der(fields)? else { return None };
    let (_, _, after) = der(validity)?;
    let (tag, text, _) = der(after)?;
    let text = std::str::from_utf8(text).ok()?;
    let (year, rest) = match tag {
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2_000 + year } else { 1_900 + year }, rest)
        }
        0x18 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !rest.ends_with('Z') {
        return None;
    }
    Some(days_from_1970(year, month, day) * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?)
}

/// Days of the Gregorian calendar, counted from March so that the leap day is the last of its year.
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    struct Files(TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        fn settings(&self) -> StreamSettings {
            let mut settings = crate::config::Config::read("", &Default::default()).unwrap().sip.streams;
            settings.tls = Some(TlsFiles { cert: self.0.path().join("cert.pem"), key: self.0.path().join("key.pem") });
            settings
        }

        /// A certificate until the first of a year, and its key.
        fn issue(&self, until: i32) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["node.example".to_string()]).unwrap();
            params.not_after = date_time_ymd(until, 3, 1);
            self.write("cert.pem", &params.self_signed(&key).unwrap().pem());
            self.write("key.pem", &key.serialize_pem());
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, days) in [((1970, 1, 1), 0), ((2000, 2, 29), 11_016), ((2024, 3, 1), 19_783), ((2100, 3, 1), 47_541)]
        {
            assert_eq!(days_from_1970(date.0, date.1, date.2), days, "{date:?}");
        }
    }

    #[test]
    fn a_certificate_says_when_it_ends_and_is_replaced_when_its_file_changes() {
        let folder = Files::new();
        folder.issue(2045);
        let tls = Tls::load(&folder.settings()).unwrap().unwrap();
        assert_eq!(tls.not_after(), 2_371_939_200, "the first of March 2045");
        assert_eq!(tls.reload(), Ok(Reloaded::Same));
        // Past 2049 dates are written in another way.
        folder.issue(2060);
        assert_eq!(tls.reload(), Ok(Reloaded::New));
        assert_eq!(tls.not_after(), 2_845_324_800, "the first of March 2060");
        folder.write("cert.pem", "half a certi");
        assert!(tls.reload().is_err());
        assert_eq!(tls.not_after(), 2_845_324_800, "the old one stays");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_remedy() {
        let folder = Files::new();
        let said = || Tls::load(&folder.settings()).err().unwrap().to_string();
        assert!(said().contains("sip.tls_cert: ") && said().contains("cannot be read"), "{}", said());
        folder.issue(2040);
        folder.write("key.pem", "");
        assert!(said().starts_with("sip.tls_key: ") && said().contains("holds no private key"), "{}", said());
        folder.write("key.pem", &KeyPair::generate().unwrap().serialize_pem());
        assert!(said().contains("sip.tls_key: ") && said().contains("does not belong"), "{}", said());
        folder.write("cert.pem", "");
        assert!(said().contains("sip.tls_cert: ") && said().contains("holds no certificate"), "{}", said());
        folder.issue(2040);
        let mut settings = folder.settings();
        settings.tls_ca = Some(folder.write("ca.pem", "nothing"));
        let error = Tls::load(&settings).err().unwrap().to_string();
        assert!(error.starts_with("sip.tls_ca: "), "{error}");
        settings.tls = None;
        assert!(Tls::load(&settings).unwrap().is_none());
    }

    #[test]
    fn an_expired_certificate_is_used_with_a_warning() {
        let folder = Files::new();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["node.example".to_string()]).unwrap();
        params.not_before = date_time_ymd(1999, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        folder.write("cert.pem", &params.self_signed(&key).unwrap().pem());
        folder.write("key.pem", &key.serialize_pem());
        let tls = Tls::load(&folder.settings()).unwrap().unwrap();
        assert_eq!(tls.not_after(), 978_307_200);
    }

    #[test]
    fn damaged_certificates_are_no_trouble() {
        let key = KeyPair::generate().unwrap();
        let good = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let good = good.der().to_vec();
        assert!(not_after(&good).is_some());
        for length in 0..good.len().min(400) {
            let _ = not_after(&good[..length]);
            let mut damaged = good.clone();
            damaged[length] ^= 0xff;
            let _ = not_after(&damaged);
        }
    }

    #[test]
    fn names_of_servers() {
        assert!(server_name("sip.example").is_some());
        assert!(server_name("192.0.2.7").is_some());
        assert!(server_name("2001:db8::1").is_some());
        assert!(server_name("a b").is_none());
    }
}
