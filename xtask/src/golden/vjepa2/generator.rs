//! The weights and inputs of the cases: numbers from the CRC of a tensor's name, computed in f64 and rounded to f32.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use steropes_models::mast3r::synthetic::{Parameter, little_endian};

/// Numbers in [-1, 1] from a name.
fn numbers(name: &str, len: usize) -> impl Iterator<Item = f64> {
    let seed = crc32fast::hash(name.as_bytes()).wrapping_mul(2_654_404_609).wrapping_add(12345);
    (0..len as u64).map(move |i| {
        let mut h = (i.wrapping_mul(2_654_435_761) as u32).wrapping_add(seed);
        h = (h ^ (h >> 16)).wrapping_mul(2_246_822_519);
        h = (h ^ (h >> 13)).wrapping_mul(3_266_489_917);
        h ^= h >> 16;
        2.0 * f64::from(h) / 4_294_967_296.0 - 1.0
    })
}

/// An input; `name` with the salt before it.
pub(super) fn input(name: &str, len: usize) -> Vec<f32> {
    numbers(name, len).map(|v| v as f32).collect()
}

/// A weight, whose values are generated from `salt` and its name.
pub(super) fn weight(salt: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let len = shape.iter().product();
    let (offset, factor) = if name.contains("mask_tokens") || name.contains("query_tokens") {
        (0.0, 0.5)
    } else if shape.len() == 1 {
        if name.ends_with(".weight") { (1.0, 0.1) } else { (0.0, 0.05) }
    } else {
        (0.0, 0.577 * 3.0 / (shape[1..].iter().product::<usize>() as f64).sqrt())
    };
    numbers(&format!("{salt}{name}"), len).map(|v| (offset + factor * v) as f32).collect()
}

/// A safetensors file with these tensors, whose names the values are generated from and stand below `path` in the file.
pub(super) fn weight_file(salt: &str, parts: &[(&str, Vec<Parameter>)]) -> anyhow::Result<Vec<u8>> {
    let tensors = parts.iter().flat_map(|(path, parameters)| parameters.iter().map(move |p| (path, p)));
    let bytes: Vec<_> = tensors
        .map(|(path, (name, shape))| {
            (format!("{path}{name}"), shape, little_endian(&weight(salt, name, shape)))
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        Ok::<_, safetensors::SafeTensorError>((name, TensorView::new(Dtype::F32, (*shape).clone(), bytes)?))
    });
    Ok(serialize(views.collect::<Result<Vec<_>, _>>()?, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that were written down with the scheme.
    #[test]
    fn numbers_are_those_of_the_scheme() {
        assert_eq!(crc32fast::hash(b"blocks.0.attn.qkv.weight"), 1_279_329_802);
        let close = |got: &[f32], want: [f64; 4]| {
            got.iter()
                .zip(want)
                .for_each(|(got, want)| assert!((f64::from(*got) - want).abs() < 1e-7, "{got}"));
        };
        close(&input("video", 4), [-0.783_228_004_8, 0.177_058_759_1, -0.212_164_895_6, 0.985_453_383_5]);
        let qkv = weight("", "blocks.0.attn.qkv.weight", &[576, 192]);
        close(&qkv[..4], [-0.092_586_632_9, 0.084_894_397_6, 0.034_233_671_2, 0.123_367_673_5]);
    }
}
