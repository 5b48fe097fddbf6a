//! Random numbers from counters: which thread asks for them does not matter.

/// Standard normal numbers for a matrix, row-major. They depend on the seed and the shape only.
///
/// A pair of uniform numbers of splitmix64 (Steele, Lea, Flood, OOPSLA 2014) makes each (Box and Muller, 1958).
pub(super) fn normals(seed: u64, [rows, columns]: [usize; 2]) -> Vec<f64> {
    let start = mixed(seed ^ mixed((rows as u64) << 32 | columns as u64));
    let uniform = |index: u64| {
        let word = mixed(start.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        (word >> 11) as f64 / (1u64 << 53) as f64
    };
    let normal = |i: u64| {
        let radius = (-2.0 * (1.0 - uniform(2 * i)).ln()).sqrt();
        radius * (std::f64::consts::TAU * uniform(2 * i + 1)).cos()
    };
    (0..(rows * columns) as u64).map(normal).collect()
}

/// The finaliser of splitmix64.
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

pub(crate) mod tests {
    use super::normals;
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![
            unit_case("svd_lowrank/unit/moments_of_a_normal_distribution", moments_of_a_normal_distribution),
            unit_case(
                "svd_lowrank/unit/seeds_and_shapes_give_other_numbers",
                seeds_and_shapes_give_other_numbers,
            ),
        ]
    }

    fn moments_of_a_normal_distribution() {
        let numbers = normals(7, [300, 400]);
        let mean = |power: i32| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / numbers.len() as f64;
        for (power, want, within) in [(1, 0.0, 0.01), (2, 1.0, 0.015), (3, 0.0, 0.05), (4, 3.0, 0.1)] {
            assert!((mean(power) - want).abs() < within, "moment {power}: {}", mean(power));
        }
        // Neighbours do not depend on each other.
        let product = numbers.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / numbers.len() as f64;
        assert!(product.abs() < 0.01, "{product}");
    }

    fn seeds_and_shapes_give_other_numbers() {
        assert_eq!(normals(1, [3, 2]), normals(1, [3, 2]));
        assert_ne!(normals(1, [3, 2]), normals(2, [3, 2]));
        assert_ne!(normals(1, [3, 2]), normals(1, [2, 3]));
        assert!(normals(1, [0, 2]).is_empty());
    }
}
