//! From a SIP URI or a number to an address.

use std::net::{IpAddr, SocketAddr};

use hotline_sip::api::{Path, Transport};

/// The address of a `sip:` URI whose host is an IP address or `localhost`.
pub fn address(uri: &str) -> Option<SocketAddr> {
    let rest = uri.strip_prefix("sip:").or_else(|| uri.strip_prefix("sips:"))?;
    let rest = rest.split([';', '?', '>']).next()?;
    let host = rest.rsplit('@').next()?;
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Some(address);
    }
    let (host, port) = match host.strip_prefix('[') {
        Some(v6) => (v6.strip_suffix(']')?, usual_port(uri)),
        None => match host.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (host, usual_port(uri)),
        },
    };
    let ip: IpAddr = match host {
        "localhost" => std::net::Ipv4Addr::LOCALHOST.into(),
        other => other.parse().ok()?,
    };
    Some(SocketAddr::new(ip, port))
}

/// A peer as a dialog's record names it: `host:port;transport=udp`.
pub fn peer(path: Path) -> String {
    let transport = match path.transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Ws => "ws",
        Transport::Wss => "wss",
    };
    format!("{};transport={transport}", path.remote)
}

/// The address in such a record, where datagrams reach it.
pub fn datagram_peer(peer: &str) -> Option<SocketAddr> {
    let (address, transport) = peer.split_once(";transport=")?;
    (transport == "udp").then(|| address.parse().ok()).flatten()
}

/// The user part of a SIP URI.
pub fn user(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or("", |(user, _)| user)
}

/// The transport that a SIP URI asks for (RFC 3261 §19.1.1, §26.2.2; RFC 7118 §5.1).
pub fn transport(uri: &str) -> Transport {
    let uri = uri.to_ascii_lowercase();
    let secure = uri.starts_with("sips:");
    let wanted = uri.split([';', '?']).find_map(|part| part.strip_prefix("transport="));
    match wanted {
        Some("ws") if secure => Transport::Wss,
        Some("ws") => Transport::Ws,
        Some("wss") => Transport::Wss,
        Some("tls") => Transport::Tls,
        _ if secure => Transport::Tls,
        Some("tcp") => Transport::Tcp,
        _ => Transport::Udp,
    }
}

/// The port of a SIP URI that names none.
pub fn usual_port(uri: &str) -> u16 {
    if matches!(transport(uri), Transport::Tls | Transport::Wss) { 5_061 } else { 5_060 }
}

/// What stands in the place of a port is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the port must be a number from 0 to 65535")]
pub struct BadPort;

/// The port of a SIP URI, where it names one.
///
/// # Errors
/// [`BadPort`].
pub fn port(uri: &str) -> Result<Option<u16>, BadPort> {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.split([';', '?', '>']).next().unwrap_or_default();
    let rest = rest.rsplit('@').next().unwrap_or_default();
    let after = rest.strip_prefix('[').map_or(rest, |v6| v6.split_once(']').map_or("", |(_, after)| after));
    match after.split_once(':') {
        Some((_, port)) => port.parse().map(Some).map_err(|_| BadPort),
        None => Ok(None),
    }
}

/// The host of a SIP URI, without port.
pub fn host(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.split([';', '?', '>']).next().unwrap_or_default();
    let rest = rest.rsplit('@').next().unwrap_or_default();
    match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => rest.split(':').next().unwrap_or_default(),
    }
}

/// A number as trunks send it, in international form where that can be said.
pub fn normalise(number: &str, country_code: &str) -> String {
    let plain: String = number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).take(64).collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = plain.strip_prefix("00")
        && digits(rest)
        && rest.len() >= 7
    {
        return format!("+{rest}");
    }
    if !digits(&plain) {
        return plain;
    }
    // Many trunks leave the `+` away: longer than any national number, it can be nothing else.
    let national_digits = plain.strip_prefix(country_code).map_or(0, str::len);
    let international = if country_code.is_empty() { plain.len() >= 12 } else { national_digits >= 10 };
    if international && !plain.starts_with('0') {
        return format!("+{plain}");
    }
    if !country_code.is_empty() && plain.len() >= 7 {
        let national = plain.strip_prefix('0').unwrap_or(&plain);
        return format!("+{country_code}{national}");
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_uris() {
        let at = |uri: &str| address(uri).map(|a| a.to_string());
        assert_eq!(at("sip:agent@127.0.0.1:15080").as_deref(), Some("127.0.0.1:15080"));
        assert_eq!(at("sip:a@10.0.0.1;transport=tcp").as_deref(), Some("10.0.0.1:5060"));
        assert_eq!(at("sip:a@[::1]:5070").as_deref(), Some("[::1]:5070"));
        assert_eq!(at("sip:[::1]").as_deref(), Some("[::1]:5060"));
        assert_eq!(at("sip:localhost").as_deref(), Some("127.0.0.1:5060"));
        assert_eq!(at("sips:a@10.0.0.1").as_deref(), Some("10.0.0.1:5061"));
        assert_eq!(at("sip:a@[::1];transport=TLS").as_deref(), Some("[::1]:5061"));
        for wrong in ["", "agent", "sip:a@host.example", "sip:a@1.2.3.4:x", "tel:+1"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn transports_of_uris() {
        for (uri, wanted) in [
            ("sip:a@b", Transport::Udp),
            ("sip:a@b;transport=udp", Transport::Udp),
            ("sip:a@b;lr;transport=TCP?x=y", Transport::Tcp),
            ("sip:a@b;transport=tls", Transport::Tls),
            ("sips:a@b", Transport::Tls),
            ("sips:a@b;transport=tcp", Transport::Tls),
            ("sip:a@b.invalid;transport=ws", Transport::Ws),
            ("sips:a@b.invalid;transport=ws", Transport::Wss),
            ("sip:a@b;x=transport", Transport::Udp),
        ] {
            assert_eq!(transport(uri), wanted, "{uri}");
        }
        for (uri, name) in [
            ("sip:a@b.example:5070;transport=tls", "b.example"),
            ("sips:b.example", "b.example"),
            ("sip:a@[2001:db8::1]:5061", "2001:db8::1"),
        ] {
            assert_eq!(host(uri), name);
        }
        for (uri, wanted) in [
            ("sip:a@b:70", Ok(Some(70))),
            ("sip:a@[::1]:5", Ok(Some(5))),
            ("sip:b;x=1:2", Ok(None)),
            ("sip:b:x", Err(BadPort)),
        ] {
            assert_eq!(port(uri), wanted, "{uri}");
        }
    }

    #[test]
    fn numbers_become_international_where_that_can_be_said() {
        assert_eq!(normalise("+86 138-0013-8000", "86"), "+8613800138000");
        assert_eq!(normalise("008613800138000", ""), "+8613800138000");
        assert_eq!(normalise("02012345678", "86"), "+862012345678");
        assert_eq!(normalise("600", "86"), "600");
        assert_eq!(normalise("13800138000", ""), "13800138000");
        assert_eq!(normalise("861055550100", ""), "+861055550100");
        assert_eq!(normalise("861055550100", "86"), "+861055550100");
        assert_eq!(normalise("86105555", "86"), "+8686105555");
        assert_eq!(normalise("010555501001", ""), "010555501001");
        assert_eq!(normalise("anonymous", "86"), "anonymous");
    }
}
