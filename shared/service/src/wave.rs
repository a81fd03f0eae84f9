//! G.711 and WAV: what prompts are stored as and what recordings are played as.

use hotline_wire::recording::ChannelLaw as Law;

/// One µ-law byte of a linear sample (ITU-T G.711).
pub fn mu_law(sample: i16) -> u8 {
    const BIAS: i32 = 132;
    const CLIP: i32 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(CLIP) + BIAS;
    let exponent = (24 - magnitude.leading_zeros() as i32).max(0);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

/// The linear sample of a µ-law byte.
pub const fn from_mu_law(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = (byte >> 4) & 7;
    let magnitude = ((((byte & 0x0f) as i32) << 3) + 132) << exponent;
    let linear = magnitude - 132;
    if byte & 0x80 != 0 { -linear as i16 } else { linear as i16 }
}

/// The linear sample of an A-law byte.
pub const fn from_a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let exponent = (byte >> 4) & 7;
    let mantissa = ((byte & 0x0f) as i32) << 4;
    let magnitude = match exponent {
        0 => mantissa + 8,
        _ => (mantissa + 0x108) << (exponent - 1),
    };
    if byte & 0x80 != 0 { magnitude as i16 } else { -magnitude as i16 }
}

const fn table(a: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = if a { from_a_law(byte as u8) } else { from_mu_law(byte as u8) };
        byte += 1;
    }
    table
}

/// Linear samples of all bytes of a law.
pub const fn linear(law: Law) -> &'static [i16; 256] {
    static MU: [i16; 256] = table(false);
    static A: [i16; 256] = table(true);
    match law {
        Law::Mu => &MU,
        Law::A => &A,
    }
}

/// Linear samples as µ-law.
pub fn to_mu_law(samples: &[i16]) -> Vec<u8> {
    samples.iter().map(|sample| mu_law(*sample)).collect()
}

/// The header of a WAV file of 16-bit linear samples at 8 kHz, `data_bytes` long.
pub fn wav_header(channels: u16, data_bytes: u32) -> [u8; 44] {
    const RATE: u32 = 8000;
    let mut header = [0; 44];
    let mut put = |at: usize, bytes: &[u8]| {
        for (n, byte) in bytes.iter().enumerate() {
            if let Some(slot) = header.get_mut(at + n) {
                *slot = *byte;
            }
        }
    };
    let block = channels.saturating_mul(2);
    put(0, b"RIFF");
    put(4, &data_bytes.saturating_add(36).to_le_bytes());
    put(8, b"WAVEfmt ");
    put(16, &16u32.to_le_bytes());
    put(20, &1u16.to_le_bytes());
    put(22, &channels.to_le_bytes());
    put(24, &RATE.to_le_bytes());
    put(28, &(RATE * u32::from(block)).to_le_bytes());
    put(32, &block.to_le_bytes());
    put(34, &16u16.to_le_bytes());
    put(36, b"data");
    put(40, &data_bytes.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        for byte in 0..=255u8 {
            let sample = from_mu_law(byte);
            // 0x7f is minus zero: it comes back as plus zero.
            let back = if byte == 0x7f { 0xff } else { byte };
            assert_eq!(mu_law(sample), back, "{byte:#x} {sample}");
        }
    }

    #[test]
    fn known_values() {
        assert_eq!([from_mu_law(0x00), from_mu_law(0x80), from_mu_law(0xff)], [-32124, 32124, 0]);
        assert_eq!([from_a_law(0xd5), from_a_law(0x55), from_a_law(0xaa), from_a_law(0x2a)], [8, -8, 32256, -32256]);
        assert_eq!(mu_law(i16::MIN), 0x00);
        assert_eq!(mu_law(i16::MAX), 0x80);
    }

    #[test]
    fn quantisation_stays_small() {
        for sample in (i16::MIN..=i16::MAX).step_by(7) {
            let back = i32::from(from_mu_law(mu_law(sample)));
            let error = (back - i32::from(sample)).abs();
            assert!(error <= 8 + i32::from(sample).abs() / 16, "{sample} became {back}");
        }
    }

    #[test]
    fn a_header_says_what_follows() {
        let header = wav_header(2, 640);
        assert_eq!(&header[..4], b"RIFF");
        assert_eq!(u32::from_le_bytes(header[4..8].try_into().unwrap()), 676);
        assert_eq!(u16::from_le_bytes(header[22..24].try_into().unwrap()), 2);
        assert_eq!(u32::from_le_bytes(header[28..32].try_into().unwrap()), 32_000);
    }
}
