//! Benches of whole networks: a pair of images, from pixels to outputs in one order.

use super::synthetic::{
    DptWidths, DuneExtents, Extents, Parameter, dune_parameters, parameters, write_weight_file,
};
use super::{Model, ViewOutput};
use crate::Precision;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, cpu_bench, f16_bench};

/// The benches of this crate.
pub fn benches() -> Vec<Bench> {
    vec![
        embedded("network/tiny_pair_384x288", Precision::F32),
        embedded("network/tiny_pair_384x288_f16", Precision::F16),
        embedded("network/tiny_pair_384x288_bf16", Precision::Bf16),
        embedded("network/tiny_pair_384x288_int8", Precision::Int8),
        large("network/mast3r_large_pair_512x384_f16", Precision::F16, 1),
        large("network/mast3r_large_pair_512x384_f16_batch8", Precision::F16, 8),
        large("network/mast3r_large_pair_512x384_cpu", Precision::F32, 1),
        large("network/mast3r_large_pair_512x384_bf16", Precision::Bf16, 1),
        large("network/mast3r_large_pair_512x384_int8", Precision::Int8, 1),
        large("network/mast3r_large_pair_512x384_q8", Precision::Q8, 1),
        large("network/mast3r_large_pair_512x384_q4", Precision::Q4, 1),
        dune("network/dune_base_pair_518x378", Precision::F32),
        dune("network/dune_base_pair_518x378_f16", Precision::F16),
        dune("network/dune_base_pair_518x378_bf16", Precision::Bf16),
    ]
}

/// Those of the embedded network, but for the hidden layer of its descriptors.
const TINY: Extents = Extents {
    patch: 16,
    enc: 256,
    dec: 192,
    enc_depth: 10,
    dec_depth: 8,
    mlp_ratio: 4,
    descriptor: Some(24),
    has_own_confidence: true,
    is_linear: false,
    dpt: DptWidths { features: 64, last: 32, stages: [32, 64, 96, 128] },
};

fn embedded(name: &'static str, precision: Precision) -> Bench {
    let size = [288, 384];
    let prepare = move |device: &Device| -> Box<dyn FnMut()> {
        let model = Model::embedded(device, precision).expect("the model fits the device");
        pair(model, 1, size)
    };
    let flops = 2.0 * flops(&TINY, TINY_HIDDEN, size);
    let bytes = value_bytes(precision) * weights(&TINY, TINY_HIDDEN);
    match precision {
        Precision::F16 => f16_bench(name, flops, bytes, prepare),
        Precision::Bf16 | Precision::Int8 | Precision::Q8 | Precision::Q4 => {
            cpu_bench(name, flops, bytes, prepare)
        }
        Precision::F32 | Precision::Auto => bench(name, flops, bytes, prepare),
    }
}

fn value_bytes(precision: Precision) -> f64 {
    match precision {
        Precision::F16 | Precision::Bf16 => 2.0,
        Precision::Int8 => 1.0,
        Precision::Q8 => 34.0 / 32.0,
        Precision::Q4 => 18.0 / 32.0,
        Precision::F32 | Precision::Auto => 4.0,
    }
}

/// Width of the hidden layer of the descriptors in the embedded network.
const TINY_HIDDEN: usize = 192;

/// The published ViT-L with generated weights: in f16 on a GPU, else on the CPU.
fn large(name: &'static str, precision: Precision, batch: usize) -> Bench {
    let (extents, size) = (Extents::MAST3R_LARGE, [384, 512]);
    let hidden = large_hidden(&extents);
    let work = 2.0 * batch as f64 * flops(&extents, hidden, size);
    let bytes = value_bytes(precision) * weights(&extents, hidden);
    let prepare = move |device: &Device| pair(large_model(device, precision), batch, size);
    match precision {
        Precision::F16 => f16_bench(name, work, bytes, prepare),
        _ => cpu_bench(name, work, bytes, prepare),
    }
}

/// The published ViT-L with generated weights.
pub(crate) fn large_model(device: &Device, precision: Precision) -> Model {
    let config = format!(
        "{{\"args\": \"AsymmetricMASt3R({PUBLISHED_HEAD}, enc_embed_dim=1024, enc_depth=24, enc_num_heads=16)\"}}"
    );
    generated(&config, &parameters(&Extents::MAST3R_LARGE), device, precision)
}

/// Operations and bytes of weights of the embedded network (in f32), or of the published ViT-L (in f16), for so many encoded images and decoded
/// views of them.
pub(crate) fn work(is_large: bool, images: usize, views: usize, size: [usize; 2]) -> [f64; 2] {
    let (extents, value_bytes) = if is_large { (Extents::MAST3R_LARGE, 2.0) } else { (TINY, 4.0) };
    let hidden = if is_large { large_hidden(&extents) } else { TINY_HIDDEN };
    let flops =
        images as f64 * encoder_flops(&extents, size) + views as f64 * view_flops(&extents, hidden, size);
    [flops, value_bytes * weights(&extents, hidden)]
}

/// The published ViT-B of DUNE with its decoder, with generated weights.
fn dune(name: &'static str, precision: Precision) -> Bench {
    let (encoder, size) = (DuneExtents::BASE, [378, 518]);
    let extents = encoder.pair();
    let parameters = dune_parameters(&encoder, &extents);
    let work = 2.0 * (flops(&extents, large_hidden(&extents), size) + dune_blocks(&encoder, size));
    let values: usize = parameters.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let config = format!(
        "{{\"mast3r_model_str\": \"AsymmetricMASt3R({PUBLISHED_HEAD}, enc_embed_dim=768, enc_depth=0)\"}}"
    );
    let prepare = move |device: &Device| pair(generated(&config, &parameters, device, precision), 1, size);
    let bytes = value_bytes(precision) * values as f64;
    match precision {
        Precision::F16 => f16_bench(name, work, bytes, prepare),
        Precision::Bf16 | Precision::Int8 | Precision::Q8 | Precision::Q4 => {
            cpu_bench(name, work, bytes, prepare)
        }
        Precision::F32 | Precision::Auto => bench(name, work, bytes, prepare),
    }
}

/// What the published networks with descriptors have in common, as arguments of their constructor.
const PUBLISHED_HEAD: &str = "pos_embed='RoPE100', head_type='catmlp+dpt', output_mode='pts3d+desc24', \
    depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), desc_conf_mode=('exp', 0, inf), two_confs=True, \
    dec_embed_dim=768, dec_depth=12, dec_num_heads=12";

/// The weights come from a file, as published ones do: beside the network's own there is no second copy of them in memory.
fn generated(config: &str, parameters: &[Parameter], device: &Device, precision: Precision) -> Model {
    let stored = if precision == Precision::F32 { DType::F32 } else { DType::F16 };
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let weights = folder.path().join("model.safetensors");
    write_weight_file(&weights, "bench", parameters, stored).expect("room for a temporary weight file");
    std::fs::write(folder.path().join("config.json"), config).expect("room for a temporary file");
    Model::open(folder.path(), device, precision).expect("the model fits the device")
}

fn pair(model: Model, batch: usize, [height, width]: [usize; 2]) -> Box<dyn FnMut()> {
    let shape = [2 * batch, height, width, 3];
    let values = uniform("images", shape.iter().product());
    let images = model.image(shape, values).expect("three values per pixel");
    Box::new(move || {
        std::hint::black_box(run(&model, &images).expect("valid images"));
    })
}

/// Encodes all images at once, then decodes the first half against the second.
fn run(model: &Model, images: &Tensor) -> Result<(ViewOutput, ViewOutput), crate::ModelError> {
    let encoded = model.encode(images)?;
    let halves = encoded.split(encoded.batch() / 2)?;
    model.decode(&halves[0], &halves[1])
}

/// Width of the hidden layer of the descriptors in the published networks.
fn large_hidden(e: &Extents) -> usize {
    4 * (e.enc + e.dec)
}

/// Channels of the descriptors and their confidence for all pixels of a patch.
fn descriptor_channels(e: &Extents) -> usize {
    (e.descriptor.unwrap_or(0) + usize::from(e.has_own_confidence)) * e.patch * e.patch
}

fn weights(e: &Extents, hidden: usize) -> f64 {
    let others = parameters(e).into_iter().filter(|(name, _)| !name.contains("head_local_features"));
    let others: usize = others.map(|(_, shape)| shape.iter().product::<usize>()).sum();
    (others + 2 * feature_weights(e, hidden)) as f64
}

/// Weights of the layers that give descriptors, of one head.
fn feature_weights(e: &Extents, hidden: usize) -> usize {
    let channels = descriptor_channels(e);
    (e.enc + e.dec + 1) * hidden + (hidden + 1) * channels
}

/// Multiply-adds of products and convolutions for one image of a pair, a multiply-add as two operations.
fn flops(e: &Extents, hidden: usize, size: [usize; 2]) -> f64 {
    encoder_flops(e, size) + view_flops(e, hidden, size)
}

/// The encoder's part of [`flops`].
fn encoder_flops(e: &Extents, [height, width]: [usize; 2]) -> f64 {
    let float = |n: usize| n as f64;
    let tokens = float(height / e.patch * (width / e.patch));
    let (enc, ratio) = (float(e.enc), float(e.mlp_ratio));
    let patches = 3.0 * float(e.patch * e.patch) * enc;
    // Query, key, value and output, both layers of the perceptron, scores and sums.
    let encoder = float(e.enc_depth) * ((4.0 + 2.0 * ratio) * enc * enc + 2.0 * tokens * enc);
    2.0 * tokens * (patches + encoder)
}

/// The part of [`flops`] after the encoder.
fn view_flops(e: &Extents, hidden: usize, [height, width]: [usize; 2]) -> f64 {
    let float = |n: usize| n as f64;
    let tokens = float(height / e.patch * (width / e.patch));
    let (enc, dec, ratio) = (float(e.enc), float(e.dec), float(e.mlp_ratio));
    let decoder = enc * dec + float(e.dec_depth) * ((8.0 + 2.0 * ratio) * dec * dec + 4.0 * tokens * dec);
    let features = float(hidden * (e.enc + e.dec + descriptor_channels(e)));
    2.0 * tokens * (decoder + features + dpt(e))
}

/// Multiply-adds of the blocks of a DUNE encoder for one image of a pair, a multiply-add as two operations.
fn dune_blocks(e: &DuneExtents, [height, width]: [usize; 2]) -> f64 {
    let tokens = (1 + e.registers + height / e.patch * (width / e.patch)) as f64;
    let dim = e.width as f64;
    2.0 * tokens * e.depth as f64 * (12.0 * dim * dim + 2.0 * tokens * dim)
}

/// Multiply-adds of the DPT head for each token.
fn dpt(e: &Extents) -> f64 {
    let DptWidths { features, last, stages } = e.dpt;
    let (f, last) = (features as f64, last as f64);
    let [s0, s1, s2, s3] = stages.map(|s| s as f64);
    let (enc, dec) = (e.enc as f64, e.dec as f64);
    let project = enc * s0 + dec * (s1 + s2 + s3);
    let resize = 16.0 * s0 * s0 + 4.0 * s1 * s1 + 9.0 / 4.0 * s3 * s3;
    // Pixels of each stage for a token.
    let areas = [16.0, 4.0, 1.0, 0.25];
    let to_features: f64 = areas.iter().zip([s0, s1, s2, s3]).map(|(a, s)| 9.0 * a * s * f).sum();
    let fuse: f64 =
        areas.iter().zip([4.0, 4.0, 4.0, 2.0]).map(|(a, convs)| a * (9.0 * convs + 1.0) * f * f).sum();
    let pixels = (e.patch * e.patch) as f64;
    let head = 64.0 * 9.0 * f * f / 2.0 + pixels * (9.0 * f / 2.0 * last + 4.0 * last);
    project + resize + to_features + fuse + head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_network_has_its_size_and_work() {
        let large = Extents::MAST3R_LARGE;
        // arXiv:2406.09756 names ViT-L and ViT-B; their weights and work follow from their extents.
        assert!((weights(&large, large_hidden(&large)) / 688e6 - 1.0).abs() < 0.02);
        let work = 2.0 * flops(&large, large_hidden(&large), [384, 512]);
        assert!((2.0e12..4.0e12).contains(&work), "{work:e}");
    }

    #[test]
    fn dune_has_its_work() {
        // Counted layer by layer where the last convolution of each fusion comes after the enlargement, at four times its cost.
        for (e, size, counted) in [
            (DuneExtents::SMALL, [336, 336], 696.6e9),
            (DuneExtents::SMALL, [518, 518], 1855.7e9),
            (DuneExtents::BASE, [378, 518], 1628.0e9),
        ] {
            let extents = e.pair();
            let tokens = (size[0] / e.patch * (size[1] / e.patch)) as f64;
            let later =
                2.0 * tokens * 3.0 * (16.0 + 4.0 + 1.0 + 0.25) * (extents.dpt.features as f64).powi(2);
            let work = 2.0 * (flops(&extents, large_hidden(&extents), size) + dune_blocks(&e, size) + later);
            assert!((work / counted - 1.0).abs() < 2e-3, "{work:e} is not {counted:e}");
        }
    }

    #[test]
    fn the_embedded_network_has_these_extents() {
        let model = Model::embedded(&Device::cpu(), Precision::F32).unwrap();
        let is_tied =
            |name: &str| model.config().tied.iter().any(|(from, _)| name.starts_with(&format!("{from}.")));
        let is_unused = |name: &str| {
            ["mask_token", "refinenet4.resConfUnit1", "head_local_features"]
                .iter()
                .any(|part| name.contains(part))
        };
        let own = parameters(&TINY).into_iter().filter(|(name, _)| !is_tied(name) && !is_unused(name));
        let weights: usize = own.map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(model.info().parameters, (weights + feature_weights(&TINY, TINY_HIDDEN)) as u64);
    }
}
