//! The node's lease, its phones' leases, and the housekeeping that goes with them.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hotline_base::Timestamp;
use hotline_wire::node::{DirectoryInput, DirectoryOutput};

use crate::clock;
use crate::decisions::{Decider, Decisions};
use crate::mailbox::Mail;
use crate::registrar::Owner;
use crate::shared::Shared;

/// How often the lease is renewed.
const RENEW: Duration = Duration::from_millis(2_500);
/// How long it lives without that, milliseconds.
const LEASE_MS: i64 = 8_000;
/// How often registrations are looked through, and stand-alone queues woken.
const TICK: Duration = Duration::from_millis(250);

/// What is known of a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhoneNews {
    /// It registered or refreshed.
    Registered(Timestamp),
    /// It registered before and is still there.
    Still(Timestamp),
    /// It left.
    Left,
}

/// News of phones on their way to the directory: of each agent only the newest, and one after the other, so that a
/// departure which is told slowly does not undo the return that followed it.
#[derive(Debug, Default)]
pub struct PhoneReports(Mutex<HashMap<Owner, Option<PhoneNews>>>);

impl PhoneReports {
    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, Option<PhoneNews>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts news in; `true`: nobody tells this agent's yet, the caller is to.
    fn put(&self, owner: Owner, news: PhoneNews) -> bool {
        self.lock().insert(owner, Some(news)).is_none()
    }

    /// What is to be told next; `None`: nothing, and the telling is over.
    fn take(&self, owner: Owner) -> Option<PhoneNews> {
        let mut reports = self.lock();
        let news = reports.get_mut(&owner).and_then(Option::take);
        if news.is_none() {
            reports.remove(&owner);
        }
        news
    }

    /// Whether something newer waits.
    fn has(&self, owner: Owner) -> bool {
        self.lock().get(&owner).is_some_and(Option::is_some)
    }
}

/// Tells the directory, retrying a few times; a phone's next refresh says it again.
async fn tell(shared: &Shared, decisions: &dyn Decisions, owner: Owner, news: PhoneNews) {
    let (tenant, agent, node) = (owner.tenant, owner.agent, shared.node);
    let input = match news {
        PhoneNews::Registered(expires) => DirectoryInput::Registered { tenant, agent, node, expires: Some(expires) },
        PhoneNews::Still(expires) => DirectoryInput::StillRegistered { tenant, agent, node, expires },
        PhoneNews::Left => DirectoryInput::Registered { tenant, agent, node, expires: None },
    };
    let mut pause = Duration::from_millis(250);
    for _ in 0..5 {
        match decisions.directory(&input).await {
            Ok(_) => return,
            Err(fault) => tracing::warn!(error = %fault, "the directory did not take note"),
        }
        tokio::time::sleep(pause).await;
        if shared.phone_reports.has(owner) {
            return;
        }
        pause *= 2;
    }
}

/// A phone registered, refreshed or left: the directory is told.
pub fn phone(shared: &Arc<Shared>, owner: Owner, news: PhoneNews) {
    let Decider::Remote(decisions) = &shared.decider else {
        return;
    };
    if !shared.phone_reports.put(owner, news) {
        return;
    }
    let (decisions, shared) = (decisions.clone(), shared.clone());
    shared.runtime.clone().spawn(async move {
        while let Some(news) = shared.phone_reports.take(owner) {
            tell(&shared, decisions.as_ref(), owner, news).await;
        }
    });
}

/// These have no phone here any more.
pub fn phones_gone(shared: &Arc<Shared>, owners: Vec<Owner>) {
    for owner in owners {
        phone(shared, owner, PhoneNews::Left);
    }
}

fn alive(shared: &Shared, expires: Timestamp) -> DirectoryInput {
    DirectoryInput::NodeAlive {
        node: shared.node,
        sip_address: shared.config.sip_address(),
        calls: u32::try_from(shared.metrics.calls.load(Ordering::Relaxed)).unwrap_or(u32::MAX),
        draining: shared.is_draining(),
        expires,
        started_at: Some(shared.started_at),
    }
}

/// Renews the node's lease until the process ends.
pub async fn renew(shared: Arc<Shared>) {
    let Decider::Remote(decisions) = shared.decider.clone() else {
        return;
    };
    let mut interval = tokio::time::interval(RENEW);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known = shared.started_at;
    loop {
        interval.tick().await;
        let input = alive(&shared, clock::wall().plus_ms(LEASE_MS));
        match decisions.directory(&input).await {
            Ok(DirectoryOutput::TakenOver { before }) if before > known => {
                known = before;
                taken_over(&shared, before);
            }
            Ok(_) => {}
            Err(fault) => tracing::warn!(error = %fault, "the node's lease could not be renewed"),
        }
    }
}

/// The lease had lapsed while this node lived: its calls of before are others' now, and its phones forgotten.
fn taken_over(shared: &Arc<Shared>, before: Timestamp) {
    tracing::warn!(%before, "the node was taken for dead: calls of before are ended here, phones told again");
    for mailbox in &shared.mailboxes {
        mailbox.post(Mail::TakenOver { before });
    }
    for (owner, expires) in shared.registrar.registered(Instant::now(), clock::wall()) {
        phone(shared, owner, PhoneNews::Still(expires));
    }
}

/// Gives the lease back: the node leaves on purpose, and so do its phones.
pub async fn give_back(shared: &Shared) {
    let Decider::Remote(decisions) = &shared.decider else {
        return;
    };
    for owner in shared.registrar.owners() {
        let input =
            DirectoryInput::Registered { tenant: owner.tenant, agent: owner.agent, node: shared.node, expires: None };
        let _ = decisions.directory(&input).await;
    }
    let _ = decisions.directory(&alive(shared, clock::wall())).await;
}

/// Looks through what expires.
pub async fn housekeeping(shared: Arc<Shared>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        phones_gone(&shared, shared.registrar.expire(Instant::now()));
        save_phones(&shared).await;
        if let Decider::Local(stand_alone) = &shared.decider {
            for command in stand_alone.tick(clock::wall()) {
                shared.mail_contact(command.contact, Mail::Command(Box::new(command)));
            }
        }
    }
}

/// The file in which registrations are kept.
fn phones_file(shared: &Shared) -> std::path::PathBuf {
    shared.config.node.data_dir.join("registrations.json")
}

/// Writes changed registrations down.
async fn save_phones(shared: &Arc<Shared>) {
    let Some(text) = shared.registrar.changed(Instant::now(), clock::wall()) else {
        return;
    };
    let path = phones_file(shared);
    let written = tokio::task::spawn_blocking(move || crate::registrar::write(&path, &text)).await;
    if !matches!(written, Ok(Ok(()))) {
        tracing::warn!(?written, "registrations could not be written down: a restart would forget the phones");
    }
}

/// Takes over the phones of an earlier process and tells the directory of them.
pub fn restore_phones(shared: &Arc<Shared>) {
    let path = phones_file(shared);
    let Ok(text) = std::fs::read_to_string(&path) else {
        return;
    };
    let locals: Vec<_> = shared.udp.iter().map(|l| l.local).collect();
    match shared.registrar.restore(&text, &locals, Instant::now(), clock::wall()) {
        Ok(owners) => {
            for (owner, expires) in owners {
                phone(shared, owner, PhoneNews::Still(expires));
            }
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "registrations cannot be read: phones must register again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_base::{AgentId, TenantId};

    #[test]
    fn of_a_phones_news_the_newest_is_told_and_by_one_alone() {
        let at = |ms| PhoneNews::Registered(Timestamp::from_millis(ms));
        let owner = |n| Owner { tenant: TenantId::from_u128(1), agent: AgentId::from_u128(n) };
        let reports = PhoneReports::default();
        assert!(reports.put(owner(1), PhoneNews::Left));
        assert_eq!(reports.take(owner(1)), Some(PhoneNews::Left));
        // While that is told, the phone comes back and refreshes.
        assert!(!reports.put(owner(1), at(1)) && !reports.put(owner(1), at(2)));
        assert!(reports.put(owner(2), at(3)), "each agent's news go their own way");
        assert!(reports.has(owner(1)));
        assert_eq!(reports.take(owner(1)), Some(at(2)));
        assert_eq!(reports.take(owner(1)), None);
        assert!(!reports.has(owner(1)) && reports.put(owner(1), PhoneNews::Left), "afterwards somebody else tells");
    }
}
