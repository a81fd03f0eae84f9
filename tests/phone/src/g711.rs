//! G.711 by its definition (ITU-T G.191), for 16 bit samples.

/// Which law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// PCMU, payload type 0.
    Mu,
    /// PCMA, payload type 8.
    A,
}

/// One byte to one sample.
pub fn decode(law: Law, byte: u8) -> i16 {
    match law {
        Law::Mu => {
            let code = !byte;
            let magnitude = ((i32::from(code & 0x0f) << 3) + 0x84) << ((code & 0x70) >> 4);
            let value = magnitude - 0x84;
            (if code & 0x80 != 0 { -value } else { value }) as i16
        }
        Law::A => {
            let code = byte ^ 0x55;
            let (segment, low) = ((code & 0x70) >> 4, i32::from(code & 0x0f) << 4);
            let value = match segment {
                0 => low + 8,
                s => (low + 0x108) << (s - 1),
            };
            (if code & 0x80 != 0 { value } else { -value }) as i16
        }
    }
}

/// One sample to one byte.
pub fn encode(law: Law, sample: i16) -> u8 {
    match law {
        Law::Mu => {
            let sign = if sample < 0 { 0x80 } else { 0 };
            let magnitude = i32::from(sample).abs().min(32_635) + 0x84;
            let segment = (31 - magnitude.leading_zeros() as i32 - 7).clamp(0, 7);
            let low = (magnitude >> (segment + 3)) & 0x0f;
            !(sign | (segment << 4) | low) as u8
        }
        Law::A => {
            let sign = if sample < 0 { 0 } else { 0x80 };
            let magnitude = if sample < 0 { -(i32::from(sample) + 1) } else { i32::from(sample) };
            let magnitude = magnitude.min(32_767);
            let segment = (31 - (magnitude | 1).leading_zeros() as i32 - 7).max(0);
            let low = if segment == 0 { (magnitude >> 4) & 0x0f } else { (magnitude >> (segment + 3)) & 0x0f };
            ((sign | (segment << 4) | low) ^ 0x55) as u8
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_a_round_trip() {
        for law in [Law::Mu, Law::A] {
            for byte in 0..=255u8 {
                let sample = decode(law, byte);
                // µ-law has two zeros.
                let again = decode(law, encode(law, sample));
                assert_eq!(again, sample, "{law:?} {byte:#x}");
            }
        }
    }

    #[test]
    fn known_values() {
        assert_eq!((decode(Law::Mu, 0xff), decode(Law::Mu, 0x00), decode(Law::Mu, 0x80)), (0, -32_124, 32_124));
        assert_eq!((decode(Law::A, 0xd5), decode(Law::A, 0xaa), decode(Law::A, 0x2a)), (8, 32_256, -32_256));
    }
}
