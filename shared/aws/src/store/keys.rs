//! How entities, rows, facts, timers and effects become table keys. Tenant first, always.

use hotline_base::{EntityKey, TenantId, Timestamp};
use hotline_ports::{OutboxRow, TimerRow};

/// Partitions of one minute of timers, and of the outbox: spreads the writes of a storm.
pub(crate) const SHARDS: u64 = 4;

/// A table key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub pk: String,
    pub sk: String,
}

/// FNV-1a, 64 bits: stable over builds and machines, unlike the standard hasher.
fn shard(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
        % SHARDS
}

/// Where an entity's state is.
pub(crate) fn entity(key: &EntityKey) -> Key {
    Key { pk: format!("{}#e#{}#{}", key.tenant, key.kind, key.id), sk: "-".into() }
}

/// The partition of an index.
pub(crate) fn partition(tenant: TenantId, partition: &str) -> String {
    format!("{tenant}#r#{partition}")
}

/// Where an index row is.
pub(crate) fn row(tenant: TenantId, name: &str, sort: &str) -> Key {
    Key { pk: partition(tenant, name), sk: sort.into() }
}

/// Where it is remembered that `once` was added to a counter row.
pub(crate) fn once(tenant: TenantId, partition: &str, sort: &str, once: &str) -> Key {
    Key { pk: format!("{tenant}#o#{partition}#{sort}"), sk: once.into() }
}

/// The partition of an entity's history.
pub(crate) fn history(subject: &EntityKey) -> String {
    format!("{}#{}#{}", subject.tenant, subject.kind, subject.id)
}

/// Reads [`history`] back.
pub(crate) fn subject(pk: &str) -> Option<EntityKey> {
    let mut parts = pk.splitn(3, '#');
    Some(EntityKey { tenant: parts.next()?.parse().ok()?, kind: parts.next()?.into(), id: parts.next()?.into() })
}

/// A fact's place within its history.
pub(crate) fn place(version: u64, index: u32) -> String {
    format!("{version:020}#{index:04}")
}

/// Reads [`place`] back.
pub(crate) fn version_and_index(sk: &str) -> Option<(u64, u32)> {
    let (version, index) = sk.split_once('#')?;
    Some((version.parse().ok()?, index.parse().ok()?))
}

/// A moment as sortable text; moments before 1970 count as 1970.
pub(crate) fn moment(at: Timestamp) -> String {
    format!("{:015}", at.as_millis().max(0))
}

/// The minute in which a moment lies, counted from 1970.
pub(crate) fn minute(at: Timestamp) -> i64 {
    at.as_millis().max(0) / 60_000
}

/// One shard of the timers that are due in one minute.
pub(crate) fn due(minute: i64, shard: u64) -> String {
    format!("due#{minute:010}#{shard}")
}

/// Where a timer is.
pub(crate) fn timer(row: &TimerRow) -> Key {
    let subject = history(&row.subject);
    Key { pk: due(minute(row.due), shard(&subject)), sk: format!("{}#{subject}#{}", moment(row.due), row.timer) }
}

/// One shard of the outbox.
pub(crate) fn outbox_shard(shard: u64) -> String {
    format!("outbox#{shard}")
}

/// Where an effect waits.
pub(crate) fn outbox(row: &OutboxRow) -> Key {
    let subject = history(&row.subject);
    Key {
        pk: outbox_shard(shard(&subject)),
        sk: format!("{}#{subject}#{}", moment(row.at), place(row.version, row.index)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_base::ContactId;

    fn key() -> EntityKey {
        EntityKey { tenant: TenantId::from_u128(7), kind: "contact".into(), id: ContactId::from_u128(9).to_string() }
    }

    #[test]
    fn keys_start_with_the_tenant_and_read_back() {
        let pk = history(&key());
        assert!(pk.starts_with("ten_"));
        assert_eq!(subject(&pk), Some(key()));
        assert_eq!(version_and_index(&place(12, 3)), Some((12, 3)));
        assert_eq!(subject("garbage"), None);
        let odd = EntityKey { id: "a#b#c".into(), ..key() };
        assert_eq!(subject(&history(&odd)), Some(odd));
    }

    #[test]
    fn places_sort_as_numbers() {
        assert!(place(9, 10) < place(10, 0));
        assert!(place(10, 2) < place(10, 11));
        assert!(moment(Timestamp::from_millis(999)) < moment(Timestamp::from_millis(1_000)));
    }

    #[test]
    fn a_timer_stays_on_its_shard() {
        let row = |ms| TimerRow { due: Timestamp::from_millis(ms), subject: key(), timer: "offer".into() };
        assert_eq!(timer(&row(60_000)).pk, timer(&row(119_999)).pk);
        assert_ne!(timer(&row(60_000)).pk, timer(&row(120_000)).pk);
    }
}
