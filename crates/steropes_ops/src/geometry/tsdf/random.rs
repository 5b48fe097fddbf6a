//! Random numbers from counters: no state, so that every pixel of every device can make its own.

/// Roughly standard normal: a sum of twelve uniform numbers of 16 bits, exact in f32, between -6 and 6.
///
/// The variance of a uniform number from 0 to 2^16 - 1 is (2^32 - 1) / 12, so that of the sum is 1 after division by 2^16
/// within 2e-10. Integers and a power of two are the same on every device, logarithms and cosines are not.
#[inline(always)]
pub(super) fn normal(pixel: u32, sample: u32, seed: u32) -> f32 {
    let first = pcg3d([pixel, sample, seed]);
    let second = pcg3d(first);
    let halves = |words: [u32; 3]| words.iter().map(|w| (w & 0xffff) + (w >> 16)).sum::<u32>();
    let sum = (halves(first) + halves(second)) as i32;
    (sum - 6 * 65535) as f32 / 65536.0
}

/// The hash `pcg3d`: three words from three words.
#[inline(always)]
fn pcg3d(v: [u32; 3]) -> [u32; 3] {
    let [mut x, mut y, mut z] = v.map(|w| w.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    for round in 0..2 {
        x = x.wrapping_add(y.wrapping_mul(z));
        y = y.wrapping_add(z.wrapping_mul(x));
        z = z.wrapping_add(x.wrapping_mul(y));
        if round == 0 {
            [x, y, z] = [x, y, z].map(|w| w ^ (w >> 16));
        }
    }
    [x, y, z]
}

pub(crate) mod tests {
    use super::normal;
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![
            unit_case(
                "tsdf/unit/moments_and_shares_are_those_of_a_normal_variable",
                moments_and_shares_are_those_of_a_normal_variable,
            ),
            unit_case(
                "tsdf/unit/neighbours_samples_and_seeds_do_not_resemble_each_other",
                neighbours_samples_and_seeds_do_not_resemble_each_other,
            ),
        ]
    }

    fn moments_and_shares_are_those_of_a_normal_variable() {
        let numbers: Vec<f64> =
            (0..400u32).flat_map(|p| (0..500u32).map(move |s| f64::from(normal(p, s, 7)))).collect();
        let mean = |f: fn(f64) -> f64| numbers.iter().map(|&z| f(z)).sum::<f64>() / numbers.len() as f64;
        // Standard errors of 200000 draws: 0.0022, 0.0032, 0.0055 and 0.02.
        assert!(mean(|z| z).abs() < 0.01);
        assert!((mean(|z| z * z) - 1.0).abs() < 0.015);
        assert!(mean(|z| z * z * z).abs() < 0.025);
        assert!((mean(|z| z.powi(4)) - 2.9).abs() < 0.1, "the excess of twelve uniform numbers is -0.1");
        let below = mean(|z| f64::from(u8::from(z < -1.0)));
        assert!((below - 0.1587).abs() < 0.004, "{below}");
    }

    fn neighbours_samples_and_seeds_do_not_resemble_each_other() {
        let series = |f: &dyn Fn(u32) -> f32| (0..20000).map(|i| f64::from(f(i))).collect::<Vec<_>>();
        let base = series(&|i| normal(i, 3, 1));
        for other in [
            series(&|i| normal(i + 1, 3, 1)),
            series(&|i| normal(i, 4, 1)),
            series(&|i| normal(i, 3, 2)),
            series(&|i| normal(3, i, 1)),
        ] {
            let product: f64 = base.iter().zip(&other).map(|(a, b)| a * b).sum();
            // 20000 products of independent numbers: standard error 0.0071.
            assert!((product / 20000.0).abs() < 0.03, "{product}");
        }
    }
}
