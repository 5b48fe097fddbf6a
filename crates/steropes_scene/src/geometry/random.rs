//! Random numbers that are the same on every machine.

/// The splitmix64 generator (Steele, Lea, Flood, OOPSLA 2014): the same numbers for the same seed everywhere.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller, 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Uniform in 0..end; `end` is at least 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next_u64()) * end as u128) >> 64) as usize
    }

    /// `N` different numbers in 0..end; `end` is at least `N`.
    pub(crate) fn distinct<const N: usize>(&mut self, end: usize) -> [usize; N] {
        let mut chosen = [0; N];
        let mut i = 0;
        while i < N {
            let candidate = self.below(end);
            if !chosen[..i].contains(&candidate) {
                chosen[i] = candidate;
                i += 1;
            }
        }
        chosen
    }
}
