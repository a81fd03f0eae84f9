//! Registrations on disk, so that a node that was restarted still finds its phones.

use std::io;
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::time::{Duration, Instant};

use hotline_base::{AgentId, TenantId, Timestamp};
use hotline_sip::api::{Path, Transport};
use serde::{Deserialize, Serialize};

use super::{Binding, Owner, Registrar};

/// One phone as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Saved {
    user: String,
    owner: Option<(TenantId, AgentId)>,
    uri: String,
    local: SocketAddr,
    remote: SocketAddr,
    expires: Timestamp,
    #[serde(default)]
    flow: Option<String>,
    sip_call_id: String,
    cseq: u32,
}

impl Registrar {
    /// Phones that registered over UDP, as JSON, if anything changed since the last time. Those of
    /// stream transports are gone with their connections.
    pub fn changed(&self, now: Instant, wall: Timestamp) -> Option<String> {
        if !self.take_dirty() {
            return None;
        }
        let users = self.lock();
        let saved: Vec<Saved> = users
            .iter()
            .flat_map(|(name, user)| user.bindings.iter().map(move |binding| (name, user.owner, binding)))
            .filter(|(.., b)| b.path.transport == Transport::Udp)
            .map(|(name, owner, b)| Saved {
                user: name.clone(),
                owner: owner.map(|o| (o.tenant, o.agent)),
                uri: b.uri.clone(),
                local: b.path.local,
                remote: b.path.remote,
                expires: wall.plus_ms(b.expires.saturating_duration_since(now).as_millis() as i64),
                flow: b.flow.clone(),
                sip_call_id: b.sip_call_id.clone(),
                cseq: b.cseq,
            })
            .collect();
        serde_json::to_string(&saved).ok()
    }

    /// Takes over what [`Registrar::changed`] gave, as far as it has not expired and its socket is
    /// among `locals`; whose phones these are, and until when.
    ///
    /// # Errors
    /// The text is damaged; nothing was taken over.
    pub fn restore(
        &self,
        text: &str,
        locals: &[SocketAddr],
        now: Instant,
        wall: Timestamp,
    ) -> Result<Vec<(Owner, Timestamp)>, serde_json::Error> {
        let saved: Vec<Saved> = serde_json::from_str(text)?;
        let mut owners = Vec::new();
        let mut users = self.lock();
        for one in saved {
            let left_ms = one.expires.since_ms(wall).min(i64::from(self.max_s) * 1_000);
            if left_ms <= 0 || !locals.contains(&one.local) {
                continue;
            }
            let owner = one.owner.map(|(tenant, agent)| Owner { tenant, agent });
            // Not what was written: the clock may have been wrong then.
            owners.extend(owner.map(|owner| (owner, wall.plus_ms(left_ms))));
            let user = users.entry(one.user).or_default();
            user.owner = owner;
            user.bindings.push(Binding {
                uri: one.uri,
                path: Path { transport: Transport::Udp, local: one.local, remote: one.remote, connection: 0 },
                expires: now + Duration::from_millis(left_ms.unsigned_abs()),
                flow: one.flow,
                sip_call_id: one.sip_call_id,
                cseq: one.cseq,
            });
        }
        Ok(owners)
    }
}

/// Replaces a file whole or not at all.
///
/// # Errors
/// Those of the file system; the old file stays.
pub fn write(path: &FilePath, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{owner, register};
    use super::*;

    #[test]
    fn phones_survive_a_restart_until_they_expire() {
        let (old, t0, w0) = (Registrar::new(3_600), Instant::now(), Timestamp::from_millis(1_000_000));
        assert_eq!(old.changed(t0, w0), None);
        old.register(t0, &register(&[("sip:fang@10.0.0.1", 600)], 1), Some(owner()));
        let text = old.changed(t0 + Duration::from_secs(100), w0.plus_ms(100_000)).unwrap();
        assert_eq!(old.changed(t0, w0), None, "nothing new");

        let locals = ["127.0.0.1:5060".parse().unwrap()];
        let fresh = Registrar::new(3_600);
        let owners = fresh.restore(&text, &locals, t0, w0.plus_ms(200_000)).unwrap();
        assert_eq!(owners, [(owner(), w0.plus_ms(600_000))]);
        assert_eq!(fresh.find(t0, "fang").unwrap().uri, "sip:fang@10.0.0.1");
        assert!(fresh.find(t0 + Duration::from_secs(400), "fang").is_none());

        // Written while the clock was ten years ahead, it is good for the longest registration.
        let text = {
            old.register(t0, &register(&[("sip:fang@10.0.0.1", 600)], 2), Some(owner()));
            old.changed(t0, w0.plus_ms(315_360_000_000)).unwrap()
        };
        let again = Registrar::new(3_600);
        assert_eq!(again.restore(&text, &locals, t0, w0).unwrap(), [(owner(), w0.plus_ms(3_600_000))]);
        assert!(again.find(t0 + Duration::from_secs(3_601), "fang").is_none());

        let late = Registrar::new(3_600);
        assert!(late.restore(&text, &locals, t0, w0.plus_ms(400_000_000_000)).unwrap().is_empty());
        assert!(late.restore(&text, &[], t0, w0).unwrap().is_empty(), "its socket is gone");
        assert!(late.restore("[{", &locals, t0, w0).is_err());
        assert_eq!(late.users(), 0);
    }
}
