//! Digest authentication (RFC 8760, RFC 2617) on the strings as they came.

use md5::Md5;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::api::{Credentials, Ha1};
use crate::uri::{Params, unquote};

/// The two algorithms offered, the stronger first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Sha256,
    Md5,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }

    /// From the parameter; absent means MD5 (RFC 2617).
    fn of(name: Option<&str>) -> Option<Self> {
        match name {
            None => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("MD5") => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    fn hash(self, text: &[u8]) -> String {
        match self {
            Self::Sha256 => hex::encode(Sha256::digest(text)),
            Self::Md5 => hex::encode(Md5::digest(text)),
        }
    }
}

impl Ha1 {
    /// The hashes of an account, for whoever stores or tests accounts.
    pub fn of(user: &str, realm: &str, password: &str) -> Self {
        let text = format!("{user}:{realm}:{password}");
        Self { md5: Algorithm::Md5.hash(text.as_bytes()), sha256: Algorithm::Sha256.hash(text.as_bytes()) }
    }
}

/// A parsed `Authorization: Digest …`; `uri` and `nc` raw, for they are hashed as they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub user: String,
    pub realm: String,
    pub nonce: String,
    pub uri: String,
    pub response: String,
    pub algorithm: Algorithm,
    /// `qop=auth` with its cnonce and nc.
    pub protection: Option<(String, String)>,
}

/// Name and value of every parameter of `Digest a=b, c="d"`; `None` for other schemes or nonsense.
fn digest_params(value: &[u8]) -> Option<Vec<(String, String)>> {
    let value = value.trim_ascii();
    let space = value.iter().position(u8::is_ascii_whitespace)?;
    let (scheme, rest) = value.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"Digest") {
        return None;
    }
    Params::separated(rest, b',')
        .map(|param| {
            let param = param.ok()?;
            let name = String::from_utf8_lossy(param.name).to_ascii_lowercase();
            Some((name, unquote(param.value?)))
        })
        .take(32)
        .collect()
}

fn get<'a>(params: &'a [(String, String)], name: &str) -> Option<&'a str> {
    params.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

impl Response {
    /// `None`: another scheme, an unknown algorithm, or a parameter is missing.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let params = digest_params(value)?;
        let need = |name| get(&params, name).map(str::to_owned);
        let protection = match get(&params, "qop") {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => Some((need("cnonce")?, need("nc")?)),
            Some(_) => return None,
        };
        Some(Self {
            user: need("username")?,
            realm: need("realm")?,
            nonce: need("nonce")?,
            uri: need("uri")?,
            response: need("response")?,
            algorithm: Algorithm::of(get(&params, "algorithm"))?,
            protection,
        })
    }

    /// The counter, hexadecimal; 1 without qop.
    pub fn count(&self) -> Option<u32> {
        match &self.protection {
            None => Some(1),
            Some((_, nc)) => u32::from_str_radix(nc, 16).ok(),
        }
    }

    /// Whether the hash is right, in a time that does not depend on where it differs.
    pub fn verify(&self, method: &str, ha1: &Ha1) -> bool {
        let ha1 = match self.algorithm {
            Algorithm::Sha256 => &ha1.sha256,
            Algorithm::Md5 => &ha1.md5,
        };
        let expected = compute(self.algorithm, ha1, method, &self.uri, &self.nonce, self.protection.as_ref());
        let given = self.response.to_ascii_lowercase();
        expected.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

fn compute(
    algorithm: Algorithm,
    ha1: &str,
    method: &str,
    uri: &str,
    nonce: &str,
    protection: Option<&(String, String)>,
) -> String {
    let ha2 = algorithm.hash(format!("{method}:{uri}").as_bytes());
    let text = match protection {
        Some((cnonce, nc)) => format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}"),
        None => format!("{ha1}:{nonce}:{ha2}"),
    };
    algorithm.hash(text.as_bytes())
}

/// A parsed challenge that we can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub algorithm: Algorithm,
    /// The challenge offers `auth`.
    pub qop: bool,
    /// The last nonce was right but too old: the password is not wrong.
    pub stale: bool,
}

impl Challenge {
    pub fn parse(value: &[u8]) -> Option<Self> {
        let params = digest_params(value)?;
        let qop = get(&params, "qop");
        if let Some(offers) = qop
            && !offers.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth"))
        {
            return None;
        }
        Some(Self {
            realm: get(&params, "realm")?.to_owned(),
            nonce: get(&params, "nonce")?.to_owned(),
            opaque: get(&params, "opaque").map(str::to_owned),
            algorithm: Algorithm::of(get(&params, "algorithm"))?,
            qop: qop.is_some(),
            stale: get(&params, "stale").is_some_and(|s| s.eq_ignore_ascii_case("true")),
        })
    }

    /// The value of the Authorization header that answers it.
    pub fn answer(&self, credentials: &Credentials, method: &str, uri: &str, cnonce: &str, count: u32) -> String {
        let user = &credentials.user;
        let ha1 = self.algorithm.hash(format!("{user}:{}:{}", self.realm, credentials.password).as_bytes());
        let protection = self.qop.then(|| (cnonce.to_owned(), format!("{count:08x}")));
        let response = compute(self.algorithm, &ha1, method, uri, &self.nonce, protection.as_ref());
        let mut out = format!(
            "Digest username={}, realm={}, nonce={}, uri=\"{uri}\", response=\"{response}\", algorithm={}",
            quote(user),
            quote(&self.realm),
            quote(&self.nonce),
            self.algorithm.name()
        );
        if let Some((cnonce, nc)) = protection {
            out += &format!(", qop=auth, cnonce=\"{cnonce}\", nc={nc}");
        }
        if let Some(opaque) = &self.opaque {
            out += &format!(", opaque={}", quote(opaque));
        }
        out
    }
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 §3.9.1, with SIP's rules the same but for the method and URI.
    #[test]
    fn the_published_example() {
        let credentials = Credentials { user: "Mufasa".into(), password: "Circle of Life".into() };
        let ha1 = Ha1::of("Mufasa", "http-auth@example.org", "Circle of Life");
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let challenge = format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );
            let challenge = Challenge::parse(challenge.as_bytes()).unwrap();
            let answer = challenge.answer(
                &credentials,
                "GET",
                "/dir/index.html",
                "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                1,
            );
            assert!(answer.contains(response), "{answer}");
            let parsed = Response::parse(answer.as_bytes()).unwrap();
            assert!(parsed.verify("GET", &ha1));
            assert!(!parsed.verify("POST", &ha1));
            assert!(!parsed.verify("GET", &Ha1::of("Mufasa", "http-auth@example.org", "circle of life")));
        }
    }

    #[test]
    fn raw_strings_are_hashed_as_they_stand() {
        let ha1 = Ha1::of("a", "r", "p");
        let uri = "sip:h;transport=ws";
        let (cnonce, nc) = ("x".to_owned(), "0000000A".to_owned());
        let response = compute(Algorithm::Md5, &ha1.md5, "REGISTER", uri, "n", Some(&(cnonce, nc)));
        let header = format!(
            "digest username=\"a\",realm=\"r\",nonce=\"n\",uri=\"{uri}\",response=\"{}\",qop=auth,cnonce=\"x\",nc=0000000A",
            response.to_uppercase()
        );
        let parsed = Response::parse(header.as_bytes()).unwrap();
        assert_eq!(parsed.count(), Some(10));
        assert!(parsed.verify("REGISTER", &ha1));
    }

    #[test]
    fn nonsense_is_no_digest() {
        for value in [
            "Basic QWxhZGRpbg==",
            "NoOneKnowsThisScheme opaque-data=here",
            "Digest",
            "Digest username",
            "Digest username=\"a",
            "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"u\", response=\"r\", algorithm=ROT13",
            "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"u\", response=\"r\", qop=auth",
        ] {
            assert_eq!(Response::parse(value.as_bytes()), None, "{value}");
        }
    }
}
