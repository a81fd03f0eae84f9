//! Where decisions and accounts come from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hotline_ports::Fault;
use hotline_sip::api::Ha1;
use hotline_wire::node::{CallInput, Decision, DirectoryInput, DirectoryOutput};

use crate::registrar::Owner;
use crate::standalone::StandAlone;

/// The functions, as the node sees them.
#[async_trait]
pub trait Decisions: Send + Sync {
    /// What to do now that this has happened to a call. The same input may be asked again.
    async fn decide(&self, input: &CallInput) -> Result<Decision, Fault>;
    /// Looks up a SIP user, notes a phone's registration or that the node is alive.
    async fn directory(&self, input: &DirectoryInput) -> Result<DirectoryOutput, Fault>;
}

/// Who decides.
#[derive(Clone)]
pub enum Decider {
    /// A file, at once and on the spot.
    Local(Arc<StandAlone>),
    /// The functions.
    Remote(Arc<dyn Decisions>),
}

/// How long an account is used for an address that proved it, before it is looked up again.
const KNOWN: Duration = Duration::from_secs(60);
/// How long a known account is used while the directory does not answer.
const KNOWN_AT_MOST: Duration = Duration::from_secs(3_600);
/// How long an answer serves addresses that have proved nothing, whether the user exists or not.
const STRANGERS: Duration = Duration::from_secs(5);
/// Users remembered.
const USERS: usize = 50_000;

/// A SIP account.
#[derive(Clone)]
pub struct Account {
    /// For the digest.
    pub ha1: Ha1,
    /// Whose.
    pub owner: Owner,
}

/// What the directory said of a user.
#[derive(Clone)]
struct Known {
    account: Option<Account>,
    at: Instant,
    /// When it was last asked for an address that had proved nothing.
    asked_by_stranger: Option<Instant>,
    /// Who proved it last.
    proved_by: Option<IpAddr>,
}

/// Accounts that were looked up lately.
///
/// Whoever has proved nothing waits for the directory alike, whether a user is unknown, known, or registered here:
/// the time of an answer tells no more than the answer itself.
#[derive(Default)]
pub struct Accounts {
    cache: Mutex<HashMap<String, Known>>,
}

impl Accounts {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.cache.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A fresh answer for an address: `Some(None)` is a user known not to exist.
    pub fn fresh(&self, now: Instant, user: &str, source: IpAddr) -> Option<Option<Account>> {
        let cache = self.lock();
        let known = cache.get(user)?;
        let (since, life) = match known.proved_by {
            Some(proved) if proved == source => (known.at, KNOWN),
            _ => (known.asked_by_stranger?, STRANGERS),
        };
        (now.saturating_duration_since(since) < life).then(|| known.account.clone())
    }

    /// Somebody at this address proved the account.
    pub fn proved(&self, user: &str, source: IpAddr) {
        if let Some(known) = self.lock().get_mut(user).filter(|known| known.account.is_some()) {
            known.proved_by = Some(source);
        }
    }

    /// Whose phone a user name is, however old that knowledge.
    pub fn owner(&self, user: &str) -> Option<Owner> {
        self.lock().get(user)?.account.as_ref().map(|a| a.owner)
    }

    /// Asks the directory for an address; an account known before serves while it does not answer.
    pub async fn look_up(&self, from: &dyn Decisions, user: &str, source: IpAddr) -> Option<Account> {
        let input = DirectoryInput::Lookup { sip_user: user.to_string() };
        let answer = from.directory(&input).await;
        let now = Instant::now();
        let account = match answer {
            Ok(DirectoryOutput::Account { tenant, agent, ha1_md5, ha1_sha256 }) => Some(Account {
                ha1: Ha1 { md5: ha1_md5.into_inner(), sha256: ha1_sha256.into_inner() },
                owner: Owner { tenant, agent },
            }),
            Ok(_) => None,
            Err(fault) => {
                tracing::warn!(error = %fault, "the directory did not answer a look-up");
                let cache = self.lock();
                let known = cache.get(user)?;
                let usable = now.saturating_duration_since(known.at) < KNOWN_AT_MOST;
                return known.account.clone().filter(|_| usable);
            }
        };
        let mut cache = self.lock();
        if cache.len() >= USERS && !cache.contains_key(user) {
            cache.retain(|_, known| known.account.is_some() && now.saturating_duration_since(known.at) < KNOWN_AT_MOST);
            // There are as many accounts as the directory has; made-up names are without end.
            if cache.len() >= USERS && account.is_none() {
                return None;
            }
        }
        let before = cache.get(user);
        let proved_by = before.and_then(|known| known.proved_by).filter(|_| account.is_some());
        let asked_by_stranger = match before {
            Some(known) if proved_by == Some(source) => known.asked_by_stranger,
            _ => Some(now),
        };
        cache.insert(user.to_string(), Known { account: account.clone(), at: now, asked_by_stranger, proved_by });
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_base::{AgentId, TenantId};
    use std::net::Ipv4Addr;

    /// Knows one user, or fails.
    struct Directory {
        down: bool,
    }

    #[async_trait]
    impl Decisions for Directory {
        async fn decide(&self, _: &CallInput) -> Result<Decision, Fault> {
            Err(Fault::permanent("test", "no decisions here"))
        }
        async fn directory(&self, input: &DirectoryInput) -> Result<DirectoryOutput, Fault> {
            if self.down {
                return Err(Fault::transient("test", "down"));
            }
            match input {
                DirectoryInput::Lookup { sip_user } if sip_user == "fang" => Ok(DirectoryOutput::Account {
                    tenant: TenantId::from_u128(1),
                    agent: AgentId::from_u128(2),
                    ha1_md5: "m".to_string().into(),
                    ha1_sha256: "s".to_string().into(),
                }),
                _ => Ok(DirectoryOutput::Unknown),
            }
        }
    }

    const PHONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

    #[tokio::test]
    async fn a_known_account_serves_while_the_directory_is_away() {
        let accounts = Accounts::default();
        assert!(accounts.fresh(Instant::now(), "fang", PHONE).is_none());
        let up = Directory { down: false };
        let down = Directory { down: true };
        assert_eq!(accounts.look_up(&up, "fang", PHONE).await.unwrap().ha1.sha256, "s");
        accounts.proved("fang", PHONE);
        assert!(accounts.look_up(&up, "nobody", PHONE).await.is_none());
        let now = Instant::now();
        assert!(accounts.fresh(now, "fang", PHONE).unwrap().is_some());
        assert!(accounts.fresh(now, "nobody", PHONE).unwrap().is_none());
        assert!(accounts.fresh(now + KNOWN, "fang", PHONE).is_none());
        assert!(accounts.look_up(&down, "fang", PHONE).await.is_some());
        assert!(accounts.look_up(&down, "other", PHONE).await.is_none());
    }

    #[tokio::test]
    async fn a_stranger_waits_for_the_directory_alike_whoever_is_asked_for() {
        let accounts = Accounts::default();
        let up = Directory { down: false };
        // The phone of one user is here, and was looked up a moment ago.
        accounts.look_up(&up, "fang", PHONE).await;
        accounts.proved("fang", PHONE);
        let long_ago = Instant::now() + STRANGERS;
        accounts.look_up(&up, "fang", PHONE).await;
        for user in ["fang", "nobody"] {
            assert!(accounts.fresh(long_ago, user, STRANGER).is_none(), "{user} is asked for");
            accounts.look_up(&up, user, STRANGER).await;
            let now = Instant::now();
            assert!(accounts.fresh(now, user, STRANGER).is_some(), "{user}: for some seconds that serves");
            assert!(accounts.fresh(now + STRANGERS, user, STRANGER).is_none(), "{user}: and no longer");
        }
        // The phone itself is not slowed down by that.
        assert!(accounts.fresh(Instant::now() + STRANGERS, "fang", PHONE).is_some());
        accounts.proved("nobody", STRANGER);
        assert!(accounts.fresh(Instant::now() + STRANGERS, "nobody", STRANGER).is_none(), "nothing can be proved");
    }

    #[tokio::test]
    async fn made_up_names_displace_no_account() {
        let accounts = Accounts::default();
        let up = Directory { down: false };
        for number in 0..USERS {
            accounts.look_up(&up, &format!("user{number}"), STRANGER).await;
        }
        accounts.look_up(&up, "fang", PHONE).await;
        assert!(accounts.owner("fang").is_some());
        assert!(accounts.lock().len() <= USERS);
    }
}
