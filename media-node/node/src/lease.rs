//! The node's lease, its phones' leases, and the housekeeping that goes with them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hotline_base::Timestamp;
use hotline_wire::node::DirectoryInput;

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

/// Tells the directory, retrying a few times; a phone's next refresh says it again.
pub async fn tell(decisions: &dyn Decisions, input: DirectoryInput) -> bool {
    let mut pause = Duration::from_millis(250);
    for _ in 0..5 {
        match decisions.directory(&input).await {
            Ok(_) => return true,
            Err(fault) => tracing::warn!(error = %fault, "the directory did not take note"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    false
}

/// A phone registered or refreshed; `None`: it left.
pub fn phone(shared: &Shared, owner: Owner, expires: Option<Timestamp>) {
    let Decider::Remote(decisions) = &shared.decider else {
        return;
    };
    let (decisions, node) = (decisions.clone(), shared.node);
    shared.runtime.spawn(async move {
        let input = DirectoryInput::Registered { tenant: owner.tenant, agent: owner.agent, node, expires };
        tell(decisions.as_ref(), input).await;
    });
}

/// These have no phone here any more.
pub fn phones_gone(shared: &Shared, owners: Vec<Owner>) {
    for owner in owners {
        phone(shared, owner, None);
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
    loop {
        interval.tick().await;
        let input = alive(&shared, clock::wall().plus_ms(LEASE_MS));
        if let Err(fault) = decisions.directory(&input).await {
            tracing::warn!(error = %fault, "the node's lease could not be renewed");
        }
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
pub fn restore_phones(shared: &Shared) {
    let path = phones_file(shared);
    let Ok(text) = std::fs::read_to_string(&path) else {
        return;
    };
    let locals: Vec<_> = shared.udp.iter().map(|l| l.local).collect();
    match shared.registrar.restore(&text, &locals, Instant::now(), clock::wall()) {
        Ok(owners) => {
            for (owner, expires) in owners {
                phone(shared, owner, Some(expires));
            }
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "registrations cannot be read: phones must register again");
        }
    }
}
