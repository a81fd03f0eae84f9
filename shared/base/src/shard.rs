//! Hot partitions of an index, split by id.
//!
//! A table takes so many writes a second of one partition key. A list that many write at the same
//! moment is kept as several partitions `name~1`, `name~2`…; whoever reads it merges them by their
//! sort keys, so that the order is that of one list. The partition without a number is the list
//! before it was split: it is read as well, and what is written anew leaves it.

/// The part of a list that a thing belongs to; the list itself where it is not split (0 or 1).
pub fn shard(partition: &str, shards: u8, id: u128) -> String {
    if shards <= 1 {
        return partition.to_string();
    }
    // Ids of one moment differ in their low bits only: all bits count.
    let mixed = (id ^ (id >> 64)) as u64;
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    format!("{partition}~{}", mixed % u64::from(shards) + 1)
}

/// All parts of a list; the list before it was split comes last.
pub fn shards(partition: &str, shards: u8) -> Vec<String> {
    let split = if shards <= 1 { 0 } else { shards };
    (1..=split).map(|n| format!("{partition}~{n}")).chain([partition.to_string()]).collect()
}

/// The list that a part belongs to.
pub fn unsharded(partition: &str) -> &str {
    partition.split_once('~').map_or(partition, |(whole, _)| whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read_and_named_after_its_list() {
        assert_eq!(shards("waiting/main", 1), ["waiting/main"]);
        assert_eq!(shards("agents", 2), ["agents~1", "agents~2", "agents"]);
        assert_eq!(shard("agents", 0, 7), "agents");
        for id in 0..1_000_u128 {
            let part = shard("agents", 3, id << 40);
            assert!(shards("agents", 3).contains(&part), "{part}");
            assert_eq!(unsharded(&part), "agents");
            assert_eq!(part, shard("agents", 3, id << 40));
        }
        assert_eq!(unsharded("contacts/party/+49"), "contacts/party/+49");
    }

    #[test]
    fn parts_are_of_one_size_whatever_ids_have_in_common() {
        for shift in [0_u32, 16, 64, 100] {
            let mut counts = [0_u32; 8];
            for id in 0..8_000_u128 {
                let part = shard("x", 8, 77 + (id << shift.min(100)));
                let n: usize = part.rsplit('~').next().unwrap().parse().unwrap();
                counts[n - 1] += 1;
            }
            assert!(counts.iter().all(|n| (700..1_300).contains(n)), "{shift}: {counts:?}");
        }
    }
}
