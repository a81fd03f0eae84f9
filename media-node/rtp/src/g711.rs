//! G.711: µ-law and A-law by table (ITU-T G.711).

use crate::api::Law;

/// Samples, and bytes of either law, in a 20 ms frame.
pub const FRAME_SAMPLES: usize = 160;

const fn mu_decode(byte: u8) -> i16 {
    let value = !byte;
    let exponent = (value >> 4) & 7;
    let mantissa = (value & 15) as i32;
    let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
    if value & 0x80 != 0 { -magnitude as i16 } else { magnitude as i16 }
}

const fn a_decode(byte: u8) -> i16 {
    let value = byte ^ 0x55;
    let exponent = (value >> 4) & 7;
    let mantissa = (value & 15) as i32;
    let magnitude = if exponent == 0 { (mantissa << 4) + 8 } else { ((mantissa << 4) + 0x108) << (exponent - 1) };
    if value & 0x80 != 0 { magnitude as i16 } else { -magnitude as i16 }
}

const fn mu_encode(sample: i16) -> u8 {
    let negative = sample < 0;
    let mut magnitude = if negative { -(sample as i32) } else { sample as i32 };
    if magnitude > 32_635 {
        magnitude = 32_635;
    }
    magnitude += 0x84;
    // The highest set bit is between 7 (0x84) and 14.
    let exponent = 24 - (magnitude as u32).leading_zeros() as i32;
    let mantissa = (magnitude >> (exponent + 3)) & 15;
    let sign = if negative { 0x80 } else { 0 };
    !((sign | (exponent << 4) | mantissa) as u8)
}

const fn a_encode(sample: i16) -> u8 {
    // Negative numbers are ones' complement here, as in the reference encoder of G.191.
    let negative = sample < 0;
    let magnitude = if negative { !(sample as i32) } else { sample as i32 } >> 4;
    let (exponent, mantissa) = if magnitude < 32 {
        (magnitude >> 4, magnitude & 15)
    } else {
        let exponent = 28 - (magnitude as u32).leading_zeros() as i32;
        (exponent, (magnitude >> (exponent - 1)) & 15)
    };
    let sign = if negative { 0 } else { 0x80 };
    ((sign | (exponent << 4) | mantissa) as u8) ^ 0x55
}

macro_rules! table {
    ($name:ident: $item:ty = $function:expr) => {
        static $name: [$item; 256] = {
            let mut table = [0; 256];
            let mut index = 0;
            while index < 256 {
                table[index] = $function(index as u8);
                index += 1;
            }
            table
        };
    };
}

const fn mu_to_a(byte: u8) -> u8 {
    a_encode(mu_decode(byte))
}

const fn a_to_mu(byte: u8) -> u8 {
    mu_encode(a_decode(byte))
}

table!(MU_LINEAR: i16 = mu_decode);
table!(A_LINEAR: i16 = a_decode);
table!(MU_TO_A: u8 = mu_to_a);
table!(A_TO_MU: u8 = a_to_mu);

impl Law {
    /// The byte that means no sound.
    pub const fn silence(self) -> u8 {
        match self {
            Law::Mu => 0xFF,
            Law::A => 0xD5,
        }
    }

    /// The static RTP payload type (RFC 3551 §6).
    pub const fn payload_type(self) -> u8 {
        match self {
            Law::Mu => 0,
            Law::A => 8,
        }
    }

    /// The 16-bit linear sample a byte stands for.
    pub fn decode(self, byte: u8) -> i16 {
        match self {
            Law::Mu => MU_LINEAR[usize::from(byte)],
            Law::A => A_LINEAR[usize::from(byte)],
        }
    }

    /// The byte nearest to a 16-bit linear sample.
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Law::Mu => mu_encode(sample),
            Law::A => a_encode(sample),
        }
    }
}

/// Translates bytes from one law to the other, in place; nothing happens between equal laws.
pub fn translate(bytes: &mut [u8], from: Law, to: Law) {
    let table = match (from, to) {
        (Law::Mu, Law::A) => &MU_TO_A,
        (Law::A, Law::Mu) => &A_TO_MU,
        _ => return,
    };
    for byte in bytes {
        *byte = table[usize::from(*byte)];
    }
}

/// The mean magnitude of the samples, 0 to 32,767; 0 for none.
pub fn mean_level(bytes: &[u8], law: Law) -> u32 {
    let sum: u64 = bytes.iter().map(|byte| u64::from(law.decode(*byte).unsigned_abs())).sum();
    (sum / bytes.len().max(1) as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The segment end points of G.711, table 2a, in 16-bit terms.
    #[test]
    fn mu_law_matches_the_published_values() {
        for (byte, sample) in [
            (0xFFu8, 0i16),
            (0x7F, 0),
            (0x80, 32_124),
            (0x00, -32_124),
            (0xFE, 8),
            (0xF0, 120),
            (0xEF, 132),
            (0x8F, 16_764),
        ] {
            assert_eq!(Law::Mu.decode(byte), sample, "{byte:#x}");
        }
        assert_eq!(Law::Mu.encode(i16::MAX), 0x80);
        assert_eq!(Law::Mu.encode(i16::MIN), 0x00);
        assert_eq!(Law::Mu.encode(0), 0xFF);
    }

    /// Table 1a.
    #[test]
    fn a_law_matches_the_published_values() {
        for (byte, sample) in
            [(0xD5u8, 8i16), (0x55, -8), (0xAA, 32_256), (0x2A, -32_256), (0xD4, 24), (0xC5, 264), (0xF5, 528)]
        {
            assert_eq!(Law::A.decode(byte), sample, "{byte:#x}");
        }
        assert_eq!(Law::A.encode(i16::MAX), 0xAA);
        assert_eq!(Law::A.encode(i16::MIN), 0x2A);
        assert_eq!(Law::A.encode(0), 0xD5);
    }

    #[test]
    fn encoding_a_decoded_byte_gives_the_byte_back() {
        for byte in 0..=255u8 {
            assert_eq!(Law::A.encode(Law::A.decode(byte)), byte);
            let again = Law::Mu.encode(Law::Mu.decode(byte));
            // µ-law has two zeros; both decode to 0.
            assert!(again == byte || byte == 0x7F);
        }
    }

    #[test]
    fn the_code_word_is_the_nearest_but_for_segment_ends() {
        for law in [Law::Mu, Law::A] {
            for sample in (i16::MIN..=i16::MAX).step_by(37) {
                let chosen = (i32::from(law.decode(law.encode(sample))) - i32::from(sample)).abs();
                let best =
                    (0..=255u8).map(|byte| (i32::from(law.decode(byte)) - i32::from(sample)).abs()).min().unwrap();
                // At the end of a segment the standard's decision values favour the coarser one.
                assert!(chosen <= 2 * best + 16, "{law:?} {sample}: {chosen} against {best}");
            }
        }
    }

    #[test]
    fn translation_keeps_the_sound() {
        let mut bytes: Vec<u8> = (0..=255).collect();
        translate(&mut bytes, Law::Mu, Law::A);
        for (byte, translated) in (0..=255u8).zip(&bytes) {
            let (before, after) = (i32::from(Law::Mu.decode(byte)), i32::from(Law::A.decode(*translated)));
            assert!((before - after).abs() <= 16 + before.abs() / 16, "{byte:#x}: {before} to {after}");
        }
        let before = bytes.clone();
        translate(&mut bytes, Law::A, Law::A);
        assert_eq!(bytes, before);
        assert_eq!(mean_level(&[0xFF; 160], Law::Mu), 0);
        assert_eq!(mean_level(&[], Law::Mu), 0);
        assert!(mean_level(&[0x80; 160], Law::Mu) > 30_000);
    }
}
