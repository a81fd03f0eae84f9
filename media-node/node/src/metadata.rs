//! Our own public address from the metadata service of EC2 (IMDSv2), for `advertise = "metadata"`.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::Config;

/// A request and its answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Tries, as AWS's SDKs have them.
const TRIES: u32 = 3;
/// The pause after the first; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest answer.
const ANSWER: u64 = 4_096;
/// The life of a token, seconds: it is used at once.
const TOKEN_S: u32 = 60;

/// Why there is no address from there.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Nothing answers, or not what should.
    #[error(
        "{settings} = \"metadata\": the metadata service at {endpoint} does not answer ({reason}): switch it on for the instance (HttpEndpoint; for a container HttpPutResponseHopLimit 2), or write the address"
    )]
    Away {
        /// Which settings ask for it.
        settings: String,
        /// Where it should be.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// It answers, and has none.
    #[error(
        "{settings} = \"metadata\": the instance has no public {family} address: give it one (an elastic address, or a subnet with MapPublicIpOnLaunch), or write the address"
    )]
    NoAddress {
        /// Which settings ask for it.
        settings: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
}

/// One try.
#[derive(Debug)]
enum Failure {
    /// Trying again may help.
    Passing(String),
    /// It will not.
    Lasting(String),
    /// There is nothing of that name.
    Absent,
}

/// Fills in the addresses that are to come from the metadata service.
///
/// # Errors
/// [`MetadataError`], with the settings and the remedy.
pub async fn resolve(config: &mut Config) -> Result<(), MetadataError> {
    if config.metadata.sip {
        // One host stands for all sockets: IPv6 where there is nothing else.
        let v6 = config.sip.listen.iter().all(|listen| listen.address.is_ipv6());
        let ip = ask(&config.metadata.endpoint, "sip.advertise", v6).await?;
        config.sip.advertise = Some(if v6 { format!("[{ip}]") } else { ip.to_string() });
    }
    if config.metadata.media {
        config.media.advertise =
            Some(ask(&config.metadata.endpoint, "media.advertise", config.media.bind.is_ipv6()).await?);
    }
    Ok(())
}

async fn ask(endpoint: &str, settings: &str, v6: bool) -> Result<IpAddr, MetadataError> {
    let (category, family) = if v6 { ("ipv6", "IPv6") } else { ("public-ipv4", "IPv4") };
    let mut pause = PAUSE;
    let mut tried = 1;
    loop {
        let reason = match try_once(endpoint, category).await {
            Ok(ip) if ip.is_ipv6() == v6 => return Ok(ip),
            Ok(ip) => format!("{ip} is no {family} address"),
            Err(Failure::Absent) => return Err(MetadataError::NoAddress { settings: settings.into(), family }),
            Err(Failure::Passing(_)) if tried < TRIES => {
                tokio::time::sleep(pause).await;
                pause *= 2;
                tried += 1;
                continue;
            }
            Err(Failure::Passing(reason) | Failure::Lasting(reason)) => reason,
        };
        return Err(MetadataError::Away { settings: settings.into(), endpoint: endpoint.into(), reason });
    }
}

async fn try_once(endpoint: &str, category: &str) -> Result<IpAddr, Failure> {
    let life = format!("X-aws-ec2-metadata-token-ttl-seconds: {TOKEN_S}\r\n");
    let token = match request(endpoint, "PUT", "/latest/api/token", &life).await {
        Err(Failure::Absent) => Err(Failure::Lasting("it gives no token".into())),
        other => other,
    }?;
    if token.is_empty() || token.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(Failure::Lasting("its token cannot be read".into()));
    }
    let path = format!("/latest/meta-data/{category}");
    let text = request(endpoint, "GET", &path, &format!("X-aws-ec2-metadata-token: {token}\r\n")).await?;
    match text.parse() {
        _ if text.is_empty() => Err(Failure::Absent),
        Ok(ip) => Ok(ip),
        Err(_) => Err(Failure::Lasting("its answer is no address".into())),
    }
}

/// The body of an answer, trimmed.
async fn request(endpoint: &str, method: &str, path: &str, header: &str) -> Result<String, Failure> {
    let host = endpoint.strip_prefix("http://").filter(|host| !host.is_empty() && !host.contains(['/', ' ']));
    let host = host.ok_or_else(|| Failure::Lasting("the endpoint must be http://host:port".into()))?;
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host.to_string() } else { format!("{host}:80") };
    let text =
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(&address).await?;
        stream.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(Failure::Passing(error.to_string())),
        Err(_) => return Err(Failure::Passing(format!("nothing within {} s", PATIENCE.as_secs()))),
    };
    let answer = String::from_utf8_lossy(&answer);
    let status: Option<u16> = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_string());
    match (status, body) {
        (Some(200), Some(body)) => Ok(body),
        (Some(404), _) => Err(Failure::Absent),
        (Some(status @ (401 | 403 | 400)), _) => Err(Failure::Lasting(format!("it refuses with {status}"))),
        (Some(status), _) => Err(Failure::Passing(format!("it answers with {status}"))),
        (None, _) => Err(Failure::Passing("its answer is no HTTP".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use tokio::net::TcpListener;

    /// What a service says to the nth request.
    type Answers = fn(usize, &str) -> &'static str;

    const TOKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nthetoken";

    async fn service(answers: Answers) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (endpoint, seen) = (format!("http://{}/", listener.local_addr().unwrap()), Arc::<Mutex<Vec<_>>>::default());
        let into = seen.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0u8; 2_048];
                let length = stream.read(&mut head).await.unwrap();
                let text = String::from_utf8_lossy(&head[..length]).into_owned();
                let nth = into.lock().unwrap().len();
                into.lock().unwrap().push(text.clone());
                let _ = stream.write_all(answers(nth, &text).as_bytes()).await;
            }
        });
        (endpoint, seen)
    }

    fn config(endpoint: &str, more: &[(&str, &str)]) -> Config {
        let both = [("HOTLINE_NODE_SIP_ADVERTISE", "metadata"), ("HOTLINE_NODE_MEDIA_ADVERTISE", "metadata")];
        let env: BTreeMap<String, String> = both
            .iter()
            .chain([&("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)])
            .chain(more)
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        Config::read("[sip]\nlisten = [\"udp:0.0.0.0:5060\"]\n[media]\nbind = \"0.0.0.0\"\n", &env).unwrap()
    }

    #[tokio::test]
    async fn a_token_is_asked_for_first_and_shown() {
        let (endpoint, seen) = service(|_, text| match text {
            _ if text.starts_with("PUT /latest/api/token ") => TOKEN,
            _ if text.contains("X-aws-ec2-metadata-token: thetoken\r\n") && text.contains("public-ipv4") => {
                "HTTP/1.1 200 OK\r\n\r\n203.0.113.7\n"
            }
            _ => "HTTP/1.1 401 Unauthorized\r\n\r\n",
        })
        .await;
        let mut config = config(&endpoint, &[]);
        assert_eq!((config.sip.advertise.as_deref(), config.media.advertise), (None, None));
        resolve(&mut config).await.unwrap();
        assert_eq!(config.sip.advertise.as_deref(), Some("203.0.113.7"));
        assert_eq!(config.media_ip(), IpAddr::from([203, 0, 113, 7]));
        assert!(seen.lock().unwrap()[0].contains("X-aws-ec2-metadata-token-ttl-seconds: 60\r\n"));
    }

    #[tokio::test]
    async fn sockets_of_ipv6_alone_get_such_an_address() {
        let (endpoint, _) = service(|_, text| match text {
            _ if text.starts_with("PUT ") => TOKEN,
            _ if text.starts_with("GET /latest/meta-data/ipv6 ") => "HTTP/1.1 200 OK\r\n\r\n2001:db8::7",
            _ => "HTTP/1.1 404 Not Found\r\n\r\n",
        })
        .await;
        let six = [("HOTLINE_NODE_SIP_LISTEN", "udp:[::]:5060"), ("HOTLINE_NODE_MEDIA_BIND", "::")];
        let mut config = config(&endpoint, &six);
        resolve(&mut config).await.unwrap();
        assert_eq!(config.sip.advertise.as_deref(), Some("[2001:db8::7]"));
        assert_eq!(config.media_ip(), "2001:db8::7".parse::<IpAddr>().unwrap());
    }

    #[tokio::test]
    async fn a_service_that_stumbles_is_asked_again_and_no_other() {
        let (endpoint, seen) = service(|nth, text| match nth {
            0 => "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            1 => "",
            _ if text.starts_with("PUT ") => TOKEN,
            _ => "HTTP/1.1 200 OK\r\n\r\n203.0.113.7",
        })
        .await;
        assert!(ask(endpoint.trim_end_matches('/'), "sip.advertise", false).await.is_ok());
        assert_eq!(seen.lock().unwrap().len(), 4);

        let says = |error: MetadataError, part: &str| {
            let text = error.to_string();
            assert!(text.contains(part) && text.contains("write the address"), "{text}");
        };
        for (answers, part) in [
            ((|_, _| "HTTP/1.1 403 Forbidden\r\n\r\n") as Answers, "it refuses with 403"),
            (
                |_, text| if text.starts_with("PUT ") { TOKEN } else { "HTTP/1.1 404 Not Found\r\n\r\n" },
                "no public IPv4",
            ),
            (
                |_, text| if text.starts_with("PUT ") { TOKEN } else { "HTTP/1.1 200 OK\r\n\r\nnonsense" },
                "is no address",
            ),
            (|_, text| if text.starts_with("PUT ") { TOKEN } else { "HTTP/1.1 200 OK\r\n\r\n2001:db8::7" }, "no IPv4"),
            (|_, _| "HTTP/1.1 200 OK\r\n\r\nto ken", "its token cannot be read"),
        ] {
            let (endpoint, seen) = service(answers).await;
            says(resolve(&mut config(&endpoint, &[])).await.unwrap_err(), part);
            assert!(seen.lock().unwrap().len() <= 2, "{part}: there is no hope in asking again");
        }
        // Nobody there at all.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        says(resolve(&mut config(&format!("http://{port}"), &[])).await.unwrap_err(), "sip.advertise = \"metadata\"");
        says(resolve(&mut config("ftp://x", &[])).await.unwrap_err(), "must be http://host:port");
    }
}
