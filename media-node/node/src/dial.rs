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
        Some(v6) => (v6.strip_suffix(']')?, 5060),
        None => match host.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (host, 5060),
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
        Transport::Tcp | Transport::Ws => "tcp",
        Transport::Tls | Transport::Wss => "tls",
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

/// Whether a `sip:` URI asks for TCP.
pub fn wants_tcp(uri: &str) -> bool {
    uri.to_ascii_lowercase().contains(";transport=tcp")
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
        for wrong in ["", "agent", "sip:a@host.example", "sip:a@1.2.3.4:x", "tel:+1"] {
            assert_eq!(at(wrong), None, "{wrong}");
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
