//! Ids that follow from what they belong to: the same parts give the same id.

use hotline_base::InputId;

/// 128 bits from texts: FNV-1a with each part's length mixed in, so that `["a", "bc"]` and
/// `["ab", "c"]` differ. For idempotency keys, not for secrets.
pub fn derived_id(parts: &[&str]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut hash = OFFSET;
    for part in parts {
        for byte in (part.len() as u64).to_le_bytes().iter().chain(part.as_bytes()) {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }
    hash
}

/// The id of an input that is known by its parts, such as a timer and its due time.
pub fn derived_input(parts: &[&str]) -> InputId {
    InputId::from_u128(derived_id(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_apart() {
        assert_eq!(derived_id(&["a", "bc"]), derived_id(&["a", "bc"]));
        assert_ne!(derived_id(&["a", "bc"]), derived_id(&["ab", "c"]));
        assert_ne!(derived_id(&["a"]), derived_id(&["a", ""]));
    }
}
