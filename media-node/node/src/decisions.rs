//! Where decisions and accounts come from.

use std::collections::HashMap;
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

/// How long a known account is used before it is looked up again.
const KNOWN: Duration = Duration::from_secs(60);
/// How long a known account is used while the directory does not answer.
const KNOWN_AT_MOST: Duration = Duration::from_secs(3_600);
/// How long an unknown user stays unknown.
const UNKNOWN: Duration = Duration::from_secs(5);
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

/// Accounts that were looked up lately.
#[derive(Default)]
pub struct Accounts {
    cache: Mutex<HashMap<String, (Option<Account>, Instant)>>,
}

impl Accounts {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Option<Account>, Instant)>> {
        self.cache.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A fresh answer: `Some(None)` is a user known not to exist.
    pub fn fresh(&self, now: Instant, user: &str) -> Option<Option<Account>> {
        let cache = self.lock();
        let (account, at) = cache.get(user)?;
        let life = if account.is_some() { KNOWN } else { UNKNOWN };
        (now.saturating_duration_since(*at) < life).then(|| account.clone())
    }

    /// Whose phone a user name is, however old that knowledge.
    pub fn owner(&self, user: &str) -> Option<Owner> {
        self.lock().get(user)?.0.as_ref().map(|a| a.owner)
    }

    /// Asks the directory; an account known before serves while it does not answer.
    pub async fn look_up(&self, from: &dyn Decisions, user: &str) -> Option<Account> {
        let input = DirectoryInput::Lookup { sip_user: user.to_string() };
        let account = match from.directory(&input).await {
            Ok(DirectoryOutput::Account { tenant, agent, ha1_md5, ha1_sha256 }) => Some(Account {
                ha1: Ha1 { md5: ha1_md5.into_inner(), sha256: ha1_sha256.into_inner() },
                owner: Owner { tenant, agent },
            }),
            Ok(_) => None,
            Err(fault) => {
                tracing::warn!(error = %fault, "the directory did not answer a look-up");
                let now = Instant::now();
                let cache = self.lock();
                let (account, at) = cache.get(user)?;
                let usable = now.saturating_duration_since(*at) < KNOWN_AT_MOST;
                return account.clone().filter(|_| usable);
            }
        };
        let mut cache = self.lock();
        if cache.len() >= USERS && !cache.contains_key(user) {
            let now = Instant::now();
            cache.retain(|_, (_, at)| now.saturating_duration_since(*at) < KNOWN);
            if cache.len() >= USERS {
                return account;
            }
        }
        cache.insert(user.to_string(), (account.clone(), Instant::now()));
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_base::{AgentId, TenantId};

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

    #[tokio::test]
    async fn a_known_account_serves_while_the_directory_is_away() {
        let accounts = Accounts::default();
        assert!(accounts.fresh(Instant::now(), "fang").is_none());
        let up = Directory { down: false };
        let down = Directory { down: true };
        assert_eq!(accounts.look_up(&up, "fang").await.unwrap().ha1.sha256, "s");
        assert!(accounts.look_up(&up, "nobody").await.is_none());
        let now = Instant::now();
        assert!(accounts.fresh(now, "fang").unwrap().is_some());
        assert!(accounts.fresh(now, "nobody").unwrap().is_none());
        assert!(accounts.fresh(now + KNOWN, "fang").is_none());
        assert!(accounts.look_up(&down, "fang").await.is_some());
        assert!(accounts.look_up(&down, "other").await.is_none());
    }
}
