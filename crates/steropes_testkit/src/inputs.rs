//! Deterministic tensors that any program can regenerate from a name.
//!
//! The name is hashed with 64-bit FNV-1a; element `i` comes from the splitmix64 finaliser of
//! `hash + (i + 1) * 0x9E3779B97F4A7C15`, its upper 24 bits mapped to [-1, 1).

/// 64-bit FNV-1a hash of the bytes of `name`.
pub fn fnv1a(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Element `index` of the uniform tensor called `name`, in [-1, 1).
pub fn uniform_at(hash: u64, index: u64) -> f64 {
    let mut z = hash.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 40) as f64 / (1u64 << 24) as f64 * 2.0 - 1.0
}

/// `len` values in [-1, 1) from the name, as f32.
pub fn uniform(name: &str, len: usize) -> Vec<f32> {
    let hash = fnv1a(name);
    (0..len as u64).map(|i| uniform_at(hash, i) as f32).collect()
}

/// `len` values from the name, roughly standard normal (sum of four uniforms, scaled to variance 1).
pub fn normal(name: &str, len: usize) -> Vec<f32> {
    let hash = fnv1a(name);
    let scale = (3.0f64 / 4.0).sqrt();
    (0..len as u64)
        .map(|i| ((0..4).map(|k| uniform_at(hash, 4 * i + k)).sum::<f64>() * scale) as f32)
        .collect()
}
