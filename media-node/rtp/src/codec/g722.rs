//! G.722 at 64 kbit/s: sub-band ADPCM (ITU-T G.722), whole or its lower band alone.
//!
//! Names follow the block diagrams of the recommendation (`det`, `nb`, `QUANTL`…).

/// Decision levels of the lower band's quantizer.
const Q6: [i32; 31] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1_023, 1_121, 1_219,
    1_339, 1_458, 1_612, 1_765, 1_980, 2_195, 2_557, 2_919, 0,
];
/// Code words of negative and positive differences, by decision level.
const ILN: [u8; 31] = [
    0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4,
];
const ILP: [u8; 31] = [
    0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34,
    33, 32,
];
/// Adaptation of the lower band's scale, by four-bit code.
const WL: [i32; 16] = [-60, 3_042, 1_198, 538, 334, 172, 58, -30, 3_042, 1_198, 538, 334, 172, 58, -30, -60];
/// Adaptation of the upper band's scale, by code.
const WH: [i32; 4] = [798, -214, 798, -214];
/// The inverse logarithm of a scale.
const ILB: [i32; 32] = [
    2_048, 2_093, 2_139, 2_186, 2_233, 2_282, 2_332, 2_383, 2_435, 2_489, 2_543, 2_599, 2_656, 2_714, 2_774, 2_834,
    2_896, 2_960, 3_025, 3_091, 3_158, 3_228, 3_298, 3_371, 3_444, 3_520, 3_597, 3_676, 3_756, 3_838, 3_922, 4_008,
];
/// Inverse quantizers: the lower band's with four and six bits, the upper band's with two.
const QM4: [i32; 16] =
    [0, -20_456, -12_896, -8_968, -6_288, -4_240, -2_584, -1_200, 20_456, 12_896, 8_968, 6_288, 4_240, 2_584, 1_200, 0];
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232, -9_360,
    -8_576, -7_856, -7_192, -6_576, -6_000, -5_456, -4_944, -4_464, -4_008, -3_576, -3_168, -2_776, -2_400, -2_032,
    -1_688, -1_360, -1_040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280, 11_192, 10_232, 9_360, 8_576,
    7_856, 7_192, 6_576, 6_000, 5_456, 4_944, 4_464, 4_008, 3_576, 3_168, 2_776, 2_400, 2_032, 1_688, 1_360, 1_040,
    728, 432, 136, -432, -136,
];
const QM2: [i32; 4] = [-7_408, -1_616, 7_408, 1_616];
/// Half of the mirror filter's taps.
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3_876, -805, 362, -156, 53, -11];

/// What a sender that has only the lower band writes for the upper one.
const NO_UPPER_BAND: u8 = 0xC0;

fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// A band's adaptive predictor and scale.
#[derive(Debug, Clone)]
struct Band {
    /// The predicted signal and the part of it that the zeros made.
    s: i32,
    sz: i32,
    r: [i32; 3],
    a: [i32; 3],
    p: [i32; 3],
    d: [i32; 7],
    b: [i32; 7],
    nb: i32,
    det: i32,
}

impl Band {
    fn new(det: i32) -> Self {
        Self { s: 0, sz: 0, r: [0; 3], a: [0; 3], p: [0; 3], d: [0; 7], b: [0; 7], nb: 0, det }
    }

    /// LOGSCL and SCALEL, or LOGSCH and SCALEH.
    fn rescale(&mut self, step: i32, most: i32, shift: i32) {
        self.nb = (((self.nb * 127) >> 7) + step).clamp(0, most);
        let mantissa = ILB[((self.nb >> 6) & 31) as usize];
        let shift = shift - (self.nb >> 11);
        self.det = if shift < 0 { mantissa << -shift } else { mantissa >> shift } << 2;
    }

    /// Block 4: adapts the predictor to a difference.
    fn adapt(&mut self, difference: i32) {
        self.d[0] = difference;
        self.r[0] = saturate(self.s + difference);
        self.p[0] = saturate(self.sz + difference);
        let sign = |value: i32| value >> 15;
        // UPPOL2.
        let same = sign(self.p[0]) == sign(self.p[1]);
        let first = saturate(self.a[1] << 2);
        let mut pole2 = if same { -first } else { first }.min(32_767) >> 7;
        pole2 += if sign(self.p[0]) == sign(self.p[2]) { 128 } else { -128 };
        pole2 = (pole2 + ((self.a[2] * 32_512) >> 15)).clamp(-12_288, 12_288);
        // UPPOL1.
        let most = saturate(15_360 - pole2);
        let pole1 = saturate(if same { 192 } else { -192 } + ((self.a[1] * 32_640) >> 15)).clamp(-most, most);
        // UPZERO and DELAYA.
        let step = if difference == 0 { 0 } else { 128 };
        for i in (1..7).rev() {
            let towards = if sign(self.d[i]) == sign(difference) { step } else { -step };
            self.b[i] = saturate(towards + ((self.b[i] * 32_640) >> 15));
            self.d[i] = self.d[i - 1];
        }
        self.r = [self.r[0], self.r[0], self.r[1]];
        self.p = [self.p[0], self.p[0], self.p[1]];
        self.a = [0, pole1, pole2];
        // FILTEP, FILTEZ and PREDIC.
        let twice = |value: i32| saturate(value + value);
        let poles = saturate(((self.a[1] * twice(self.r[1])) >> 15) + ((self.a[2] * twice(self.r[2])) >> 15));
        self.sz = saturate((1..7).map(|i| (self.b[i] * twice(self.d[i])) >> 15).sum());
        self.s = saturate(poles + self.sz);
    }

    fn adapt_lower(&mut self, code: u8) {
        let code = usize::from(code >> 2) & 15;
        let difference = (self.det * QM4[code]) >> 15;
        self.rescale(WL[code], 18_432, 8);
        self.adapt(difference);
    }

    fn adapt_upper(&mut self, code: u8) -> i32 {
        let code = usize::from(code) & 3;
        let difference = (self.det * QM2[code]) >> 15;
        self.rescale(WH[code], 22_528, 10);
        self.adapt(difference);
        difference
    }
}

/// The last 24 samples on their way through the mirror filter.
#[derive(Debug, Clone)]
struct Mirror([i32; 24]);

impl Mirror {
    /// Takes two samples and gives both sums.
    fn step(&mut self, first: i32, second: i32) -> (i32, i32) {
        self.0.copy_within(2.., 0);
        self.0[22] = first;
        self.0[23] = second;
        let (mut odd, mut even) = (0, 0);
        for (i, pair) in self.0.chunks_exact(2).enumerate() {
            odd += pair[0] * QMF[i];
            even += pair[1] * QMF[11 - i];
        }
        (odd, even)
    }
}

/// Turns samples into code words, one for every 125 µs.
#[derive(Debug, Clone)]
pub struct Encoder {
    lower: Band,
    upper: Band,
    mirror: Mirror,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { lower: Band::new(32), upper: Band::new(8), mirror: Mirror([0; 24]) }
    }
}

impl Encoder {
    fn lower_code(&mut self, sample: i32) -> u8 {
        let error = saturate(sample - self.lower.s);
        let magnitude = if error >= 0 { error } else { -(error + 1) };
        let det = self.lower.det;
        let level = (1..30).find(|level| magnitude < (Q6[*level] * det) >> 12).unwrap_or(30);
        let code = if error < 0 { ILN[level] } else { ILP[level] };
        self.lower.adapt_lower(code);
        code
    }

    /// Encodes pairs of samples at 16 kHz; an odd last one is left out. Returns the bytes written.
    pub fn encode_wide(&mut self, samples: &[i16], into: &mut [u8]) -> usize {
        let mut count = 0;
        for (pair, byte) in samples.chunks_exact(2).zip(into) {
            let (odd, even) = self.mirror.step(i32::from(pair[0]), i32::from(pair[1]));
            let (low, high) = ((even + odd) >> 14, (even - odd) >> 14);
            let lower = self.lower_code(low);
            let error = saturate(high - self.upper.s);
            let magnitude = if error >= 0 { error } else { -(error + 1) };
            let far = magnitude >= (564 * self.upper.det) >> 12;
            let upper = match (error < 0, far) {
                (true, false) => 1,
                (true, true) => 0,
                (false, false) => 3,
                (false, true) => 2,
            };
            self.upper.adapt_upper(upper);
            *byte = (upper << 6) | lower;
            count += 1;
        }
        count
    }

    /// Encodes samples at 8 kHz as the lower band. Returns the bytes written.
    pub fn encode_narrow(&mut self, samples: &[i16], into: &mut [u8]) -> usize {
        let mut count = 0;
        for (sample, byte) in samples.iter().zip(into) {
            *byte = NO_UPPER_BAND | self.lower_code(i32::from(*sample) >> 1);
            count += 1;
        }
        count
    }
}

/// Turns code words into samples.
#[derive(Debug, Clone)]
pub struct Decoder {
    lower: Band,
    upper: Band,
    mirror: Mirror,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { lower: Band::new(32), upper: Band::new(8), mirror: Mirror([0; 24]) }
    }
}

impl Decoder {
    fn low(&mut self, byte: u8) -> i32 {
        let code = byte & 63;
        let sample = self.lower.s + ((self.lower.det * QM6[usize::from(code)]) >> 15);
        self.lower.adapt_lower(code);
        sample.clamp(-16_384, 16_383)
    }

    /// Appends two samples at 16 kHz for each byte.
    pub fn decode_wide(&mut self, bytes: &[u8], into: &mut Vec<i16>) {
        for byte in bytes {
            let low = self.low(*byte);
            let predicted = self.upper.s;
            let high = (self.upper.adapt_upper(byte >> 6) + predicted).clamp(-16_384, 16_383);
            let (second, first) = self.mirror.step(low + high, low - high);
            into.extend([saturate(first >> 11) as i16, saturate(second >> 11) as i16]);
        }
    }

    /// Appends one sample at 8 kHz for each byte: the lower band.
    pub fn decode_narrow(&mut self, bytes: &[u8], into: &mut Vec<i16>) {
        into.extend(bytes.iter().map(|byte| saturate(self.low(*byte) << 1) as i16));
    }
}
