//! Random numbers of a search.

/// Which random number of a search is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Iteration of the search, from 0.
    pub iteration: usize,
    /// Sample, from 0.
    pub sample: usize,
    /// Step of the horizon, from 0.
    pub step: usize,
    /// 0 to 2 for x, y and z, 3 for the gripper.
    pub axis: usize,
}

/// Standard normal numbers from a seed and a counter: the same for any number of threads and any size of batches.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    seed: u64,
}

impl Noise {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The number for a draw, standard normal.
    ///
    /// # Source
    /// Box and Muller, "A note on the generation of random normal deviates", 1958, with uniform numbers from the finaliser of
    /// splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
    pub fn normal(&self, draw: Draw) -> f64 {
        let Draw { iteration, sample, step, axis } = draw;
        let key = [iteration, sample, step, axis].into_iter().fold(mixed(self.seed), |key, part| {
            mixed(key.wrapping_add(part as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        });
        let radius = (-2.0 * uniform(key).ln()).sqrt();
        radius * (std::f64::consts::TAU * uniform(mixed(key ^ 0x5851_F42D_4C95_7F2D))).cos()
    }
}

/// In (0, 1), from the upper 53 bits.
fn uniform(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// The finaliser of splitmix64.
fn mixed(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(i: usize) -> Draw {
        Draw { iteration: i / 8000, sample: i / 8 % 1000, step: i / 4 % 2, axis: i % 4 }
    }

    fn numbers(seed: u64) -> Vec<f64> {
        (0..160_000).map(|i| Noise::new(seed).normal(draw(i))).collect()
    }

    #[test]
    fn moments_are_those_of_a_normal_variable() {
        let numbers = numbers(3);
        let mean = |f: fn(f64) -> f64| numbers.iter().map(|&z| f(z)).sum::<f64>() / numbers.len() as f64;
        // Standard errors of 160000 draws: 0.0025, 0.0035, 0.0061, 0.024.
        assert!(mean(|z| z).abs() < 0.011);
        assert!((mean(|z| z * z) - 1.0).abs() < 0.015);
        assert!(mean(|z| z * z * z).abs() < 0.027);
        assert!((mean(|z| z.powi(4)) - 3.0).abs() < 0.1);
        let below = mean(|z| f64::from(u8::from(z < -1.0)));
        assert!((below - 0.1587).abs() < 0.004, "{below}");
    }

    #[test]
    fn neighbours_and_seeds_do_not_resemble_each_other() {
        let base = numbers(3);
        let correlation = |other: &[f64], lag: usize| {
            base[lag..].iter().zip(other).map(|(a, b)| a * b).sum::<f64>() / base.len() as f64
        };
        for lag in [1, 2, 4, 8, 8000] {
            assert!(correlation(&base, lag).abs() < 0.011, "lag {lag}");
        }
        assert!(correlation(&numbers(4), 0).abs() < 0.011);
        assert_eq!(base, numbers(3));
    }
}
