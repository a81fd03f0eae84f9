//! Where phones are: addresses of record and their bindings (RFC 3261 §10).

mod saved;

pub use saved::write;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hotline_base::{AgentId, TenantId, Timestamp};
use hotline_sip::api::{Path, Register, Transport};

/// Bindings of one address of record.
const BINDINGS: usize = 8;
/// Addresses of record.
const USERS: usize = 100_000;
/// The shortest registration granted, seconds.
const MIN_S: u32 = 60;

/// Whose phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Whose.
    pub tenant: TenantId,
    /// Whose.
    pub agent: AgentId,
}

/// One phone.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The `Contact` URI.
    pub uri: String,
    /// The way it registered; requests to it go back by it (RFC 5626).
    pub path: Path,
    expires: Instant,
    /// Its flow (RFC 5626), where it names one.
    flow: Option<String>,
    sip_call_id: String,
    cseq: u32,
}

#[derive(Debug, Default)]
struct User {
    owner: Option<Owner>,
    bindings: Vec<Binding>,
}

/// What a REGISTER led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// Answer 200 with these `Contact` values; the phone is reachable for so many seconds (0: gone).
    Granted {
        /// Each with `;expires=`.
        contacts: Vec<String>,
        /// The longest of them.
        for_s: u32,
    },
    /// Answer 423 with this Min-Expires.
    TooBrief(u32),
    /// Answer 500: older than a registration by the same phone (RFC 3261 §10.3, step 7).
    OutOfOrder,
    /// Answer 403 or 503: too many.
    Full,
}

/// All registrations of a node.
pub struct Registrar {
    users: Mutex<HashMap<String, User>>,
    max_s: u32,
    /// Something changed since it was written down.
    dirty: AtomicBool,
}

impl Registrar {
    /// Grants at most `max_s` seconds.
    pub fn new(max_s: u32) -> Self {
        Self { users: Mutex::new(HashMap::new()), max_s: max_s.max(MIN_S), dirty: AtomicBool::new(false) }
    }

    fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, User>> {
        self.users.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A verified REGISTER.
    pub fn register(&self, now: Instant, register: &Register, owner: Option<Owner>) -> Registered {
        let mut users = self.lock();
        if !users.contains_key(&register.user) && users.len() >= USERS {
            return Registered::Full;
        }
        if !register.contacts.is_empty() {
            self.dirty.store(true, Ordering::Relaxed);
        }
        let user = users.entry(register.user.clone()).or_default();
        user.owner = owner;
        user.bindings.retain(|b| b.expires > now);
        let stale = |b: &Binding| b.sip_call_id == register.sip_call_id && b.cseq >= register.cseq;
        for (uri, seconds) in &register.contacts {
            if uri == "*" {
                if *seconds == 0 {
                    user.bindings.clear();
                }
                continue;
            }
            // A browser that was loaded anew has another URI and the same instance.
            let same_flow = |b: &Binding| register.flow.is_some() && b.flow == register.flow;
            let known = user.bindings.iter().position(|b| b.uri == *uri || same_flow(b));
            if known.is_some_and(|i| user.bindings.get(i).is_some_and(stale)) {
                return Registered::OutOfOrder;
            }
            if *seconds == 0 {
                if let Some(index) = known {
                    user.bindings.remove(index);
                }
                continue;
            }
            if *seconds < MIN_S {
                return Registered::TooBrief(MIN_S);
            }
            let seconds = (*seconds).min(self.max_s);
            let binding = Binding {
                uri: uri.clone(),
                path: register.path,
                expires: now + Duration::from_secs(u64::from(seconds)),
                flow: register.flow.clone(),
                sip_call_id: register.sip_call_id.clone(),
                cseq: register.cseq,
            };
            if let Some(index) = known {
                user.bindings.remove(index);
            } else if user.bindings.len() >= BINDINGS {
                // The phone that has been away longest makes room.
                user.bindings.remove(0);
            }
            user.bindings.push(binding);
        }
        let left = |b: &Binding| u32::try_from((b.expires - now).as_secs()).unwrap_or(u32::MAX);
        let contacts = user.bindings.iter().map(|b| format!("<{}>;expires={}", b.uri, left(b))).collect();
        let for_s = user.bindings.iter().map(left).max().unwrap_or(0);
        if user.bindings.is_empty() {
            users.remove(&register.user);
        }
        Registered::Granted { contacts, for_s }
    }

    /// The phone of a user that registered last.
    pub fn find(&self, now: Instant, user: &str) -> Option<Binding> {
        let users = self.lock();
        let bindings = &users.get(user)?.bindings;
        bindings.iter().filter(|b| b.expires > now).max_by_key(|b| b.expires).cloned()
    }

    /// Forgets what expired; whose phones are all gone because of it.
    pub fn expire(&self, now: Instant) -> Vec<Owner> {
        self.drop_where(|b| b.expires <= now)
    }

    /// Forgets the bindings of a closed connection; whose phones are all gone because of it.
    pub fn connection_closed(&self, connection: u64) -> Vec<Owner> {
        self.drop_where(|b| b.path.transport != Transport::Udp && b.path.connection == connection)
    }

    fn drop_where(&self, which: impl Fn(&Binding) -> bool) -> Vec<Owner> {
        let mut gone = Vec::new();
        self.lock().retain(|_, user| {
            let before = user.bindings.len();
            user.bindings.retain(|b| !which(b));
            if user.bindings.len() < before {
                self.dirty.store(true, Ordering::Relaxed);
            }
            if user.bindings.is_empty() {
                gone.extend(user.owner);
            }
            !user.bindings.is_empty()
        });
        gone
    }

    /// Whose phones are registered, for a node that leaves.
    pub fn owners(&self) -> Vec<Owner> {
        self.lock().values().filter_map(|u| u.owner).collect()
    }

    /// Whose phones are registered, and until when the last of each.
    pub fn registered(&self, now: Instant, wall: Timestamp) -> Vec<(Owner, Timestamp)> {
        let until = |user: &User| {
            let expires = user.bindings.iter().map(|b| b.expires).max().filter(|expires| *expires > now)?;
            Some((user.owner?, wall.plus_ms((expires - now).as_millis() as i64)))
        };
        self.lock().values().filter_map(until).collect()
    }

    /// Registered users.
    pub fn users(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn register(contacts: &[(&str, u32)], cseq: u32) -> Register {
        let address = "127.0.0.1:5060".parse().unwrap();
        Register {
            path: Path { transport: Transport::Udp, local: address, remote: address, connection: 0 },
            user: "fang".into(),
            auth_user: "fang".into(),
            contacts: contacts.iter().map(|(u, s)| (u.to_string(), *s)).collect(),
            flow: None,
            sip_call_id: "c1".into(),
            cseq,
        }
    }

    pub(super) fn owner() -> Owner {
        Owner { tenant: TenantId::from_u128(1), agent: AgentId::from_u128(2) }
    }

    #[test]
    fn a_registration_lives_and_dies() {
        let (registrar, t0) = (Registrar::new(3_600), Instant::now());
        let at = |s| t0 + Duration::from_secs(s);
        let granted = |contacts: &[&str], for_s| Registered::Granted {
            contacts: contacts.iter().map(ToString::to_string).collect(),
            for_s,
        };
        let reg =
            |now, contacts: &[(&str, u32)], cseq| registrar.register(now, &register(contacts, cseq), Some(owner()));
        assert_eq!(
            reg(at(0), &[("sip:fang@10.0.0.1", 7_200)], 1),
            granted(&["<sip:fang@10.0.0.1>;expires=3600"], 3_600)
        );
        assert_eq!(reg(at(1), &[("sip:fang@10.0.0.1", 300)], 1), Registered::OutOfOrder);
        assert_eq!(reg(at(1), &[("sip:fang@10.0.0.1", 5)], 2), Registered::TooBrief(60));
        assert_eq!(reg(at(1), &[("sip:fang@10.0.0.1", 300)], 3), granted(&["<sip:fang@10.0.0.1>;expires=300"], 300));
        assert_eq!(registrar.find(at(2), "fang").unwrap().uri, "sip:fang@10.0.0.1");
        let wall = Timestamp::from_millis(7_000);
        assert_eq!(registrar.registered(at(2), wall), [(owner(), wall.plus_ms(299_000))]);
        assert!(registrar.registered(at(301), wall).is_empty());
        assert!(registrar.find(at(301), "fang").is_none());
        assert!(registrar.expire(at(300)).is_empty());
        assert_eq!(registrar.expire(at(301)), [owner()]);
        assert_eq!(registrar.users(), 0);
        assert!(registrar.expire(at(301)).is_empty());
    }

    #[test]
    fn a_star_and_a_zero_take_phones_away() {
        let (registrar, t0) = (Registrar::new(3_600), Instant::now());
        let both = register(&[("sip:a@1", 60), ("sip:b@2", 120)], 1);
        assert!(matches!(registrar.register(t0, &both, None), Registered::Granted { for_s: 120, .. }));
        let one = register(&[("sip:b@2", 0)], 2);
        assert!(matches!(registrar.register(t0, &one, None), Registered::Granted { for_s: 60, .. }));
        let none = register(&[("*", 0)], 3);
        assert!(matches!(registrar.register(t0, &none, None), Registered::Granted { for_s: 0, .. }));
        assert!(registrar.find(t0, "fang").is_none());
    }

    #[test]
    fn a_flow_that_registers_anew_takes_its_own_place() {
        let (registrar, t0) = (Registrar::new(3_600), Instant::now());
        let mut browser = register(&[("sip:x@a1.invalid;transport=ws", 600)], 1);
        browser.flow = Some("\"<urn:uuid:1>\" 1".into());
        browser.path.transport = Transport::Wss;
        browser.path.connection = 7;
        registrar.register(t0, &browser, Some(owner()));
        let mut anew = browser.clone();
        anew.contacts = vec![("sip:y@b2.invalid;transport=ws".into(), 600)];
        anew.sip_call_id = "c2".into();
        anew.path.connection = 8;
        let Registered::Granted { contacts, .. } = registrar.register(t0, &anew, Some(owner())) else { panic!() };
        assert_eq!(contacts, ["<sip:y@b2.invalid;transport=ws>;expires=600"]);
        assert!(registrar.connection_closed(7).is_empty(), "the old connection has no phone any more");
        assert_eq!(registrar.find(t0, "fang").unwrap().path.connection, 8);
    }

    #[test]
    fn a_closed_connection_takes_its_phones_away() {
        let (registrar, t0) = (Registrar::new(3_600), Instant::now());
        let mut tcp = register(&[("sip:a@1", 600)], 1);
        tcp.path.transport = Transport::Tcp;
        tcp.path.connection = 7;
        registrar.register(t0, &tcp, Some(owner()));
        assert!(registrar.connection_closed(8).is_empty());
        assert_eq!(registrar.connection_closed(7), [owner()]);
        assert!(registrar.find(t0, "fang").is_none());
    }
}
