//! Accounts, console connections and hook targets in memory.

use async_trait::async_trait;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use crate::memory::lock;
use crate::{Account, Fault, Hooks, Identity, IdentityError, Push, Tokens};

#[derive(Default)]
struct Accounts {
    by_name: BTreeMap<String, (Account, String, bool)>,
}

/// Accounts in memory. A token is `memory:<name>`.
#[derive(Default)]
pub struct MemoryIdentity(Mutex<Accounts>);

impl MemoryIdentity {
    /// The account behind a token that `sign_in` gave.
    pub fn account(&self, id_token: &str) -> Option<Account> {
        let name = id_token.strip_prefix("memory:")?;
        lock(&self.0).by_name.get(name).map(|(account, _, _)| account.clone())
    }
}

fn tokens(name: &str, refresh: bool) -> Tokens {
    Tokens {
        id_token: format!("memory:{name}"),
        refresh_token: refresh.then(|| format!("memory-refresh:{name}")),
        expires_in_s: 3600,
    }
}

#[async_trait]
impl Identity for MemoryIdentity {
    async fn create(&self, account: &Account, password: &str) -> Result<String, IdentityError> {
        if password.len() < 8 {
            return Err(IdentityError::WeakPassword("at least 8 characters".into()));
        }
        let mut accounts = lock(&self.0);
        let name = account.name.clone();
        accounts.by_name.entry(name.clone()).or_insert_with(|| (account.clone(), password.to_string(), true));
        Ok(format!("subject:{name}"))
    }

    async fn sign_in(&self, name: &str, password: &str) -> Result<Tokens, IdentityError> {
        match lock(&self.0).by_name.get(name) {
            Some((_, known, true)) if known == password => Ok(tokens(name, true)),
            _ => Err(IdentityError::Refused),
        }
    }

    async fn refresh(&self, refresh_token: &str) -> Result<Tokens, IdentityError> {
        let name = refresh_token.strip_prefix("memory-refresh:").ok_or(IdentityError::Refused)?;
        match lock(&self.0).by_name.get(name) {
            Some((_, _, true)) => Ok(tokens(name, false)),
            _ => Err(IdentityError::Refused),
        }
    }

    async fn disable(&self, name: &str) -> Result<(), IdentityError> {
        if let Some(account) = lock(&self.0).by_name.get_mut(name) {
            account.2 = false;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Connections {
    sent: Vec<(String, String)>,
    gone: BTreeSet<String>,
}

/// What was pushed to consoles.
#[derive(Default)]
pub struct MemoryPush(Mutex<Connections>);

impl MemoryPush {
    /// Takes (connection, body) in order.
    pub fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut lock(&self.0).sent)
    }

    /// From now on this connection is gone.
    pub fn close(&self, connection: &str) {
        lock(&self.0).gone.insert(connection.into());
    }
}

#[async_trait]
impl Push for MemoryPush {
    async fn push(&self, connection: &str, body: &str) -> Result<bool, Fault> {
        let mut inner = lock(&self.0);
        if inner.gone.contains(connection) {
            return Ok(false);
        }
        inner.sent.push((connection.into(), body.into()));
        Ok(true)
    }
}

/// Fixed answers of hook targets; an unknown target is a permanent fault.
#[derive(Default)]
pub struct MemoryHooks(Mutex<BTreeMap<String, Result<Value, Fault>>>);

impl MemoryHooks {
    /// Sets the answer of a target.
    pub fn answer(&self, target: &str, answer: Result<Value, Fault>) {
        lock(&self.0).insert(target.into(), answer);
    }
}

#[async_trait]
impl Hooks for MemoryHooks {
    async fn call(&self, target: &str, _body: &Value, _limit: Duration) -> Result<Value, Fault> {
        let known = lock(&self.0).get(target).cloned();
        known.unwrap_or_else(|| Err(Fault::permanent("hook", format!("{target} is unknown"))))
    }
}
