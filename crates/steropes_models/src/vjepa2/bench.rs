//! Benches of whole networks: the published ViT-L with generated weights, from frames to features.

use super::synthetic::{Extents, Version, checkpoint};
use super::{Model, OpenOptions, Predictor, Tokens};
use crate::Precision;
use crate::mast3r::synthetic::write_weight_file;
use steropes_tensor::{DType, Device};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch, cpu_bench, f16_bench};

/// The benches of this family.
pub fn benches() -> Vec<Bench> {
    use Precision::{Bf16, F16, F32, Int8};
    const SQUARE: [usize; 2] = [256, 256];
    vec![
        whole("vjepa2/large_16f_256_f32", F32, [1, 16], SQUARE),
        whole("vjepa2/large_16f_256_bf16", Bf16, [1, 16], SQUARE),
        whole("vjepa2/large_16f_256_int8", Int8, [1, 16], SQUARE),
        whole("vjepa2/large_16f_256_f16", F16, [1, 16], SQUARE),
        whole("vjepa2/large_16f_256_f16_batch_8", F16, [8, 16], SQUARE),
        whole("vjepa2/large_8f_256_f32", F32, [1, 8], SQUARE),
        whole("vjepa2/large_8f_256_bf16", Bf16, [1, 8], SQUARE),
        whole("vjepa2/large_8f_256_f16", F16, [1, 8], SQUARE),
        whole("vjepa2/large_8f_256x448_f16", F16, [1, 8], [256, 448]),
        whole("vjepa2/large_64f_256_f16", F16, [1, 64], SQUARE),
        subset("vjepa2/large_16f_256_2_of_5_tokens_bf16", Bf16),
        subset("vjepa2/large_16f_256_2_of_5_tokens_f16", F16),
        incremental("vjepa2/large_8f_256_next_tubelet_bf16", Bf16),
        incremental("vjepa2/large_8f_256_next_tubelet_f16", F16),
        forecast("vjepa2/large_16f_256_forecast_bf16", Bf16),
        forecast("vjepa2/large_16f_256_forecast_f16", F16),
    ]
}

/// A bench on the CPU or, in f16, on a GPU that has it. Weights are read once.
fn of(
    name: &'static str,
    precision: Precision,
    flops: f64,
    run: impl Fn(Model) -> Launch + 'static,
) -> Bench {
    let parameters = checkpoint(&Extents::LARGE, Version::V2_0);
    let values: usize = parameters.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let value_bytes = match precision {
        Precision::F16 | Precision::Bf16 => 2.0,
        Precision::Int8 => 1.0,
        _ => 4.0,
    };
    let bytes = value_bytes * values as f64;
    let prepare = move |device: &Device| run(generated(device, precision));
    match precision {
        Precision::F16 => f16_bench(name, flops, bytes, prepare),
        _ => cpu_bench(name, flops, bytes, prepare),
    }
}

/// The weights come from a file, as published ones do: beside the network's own there is no second copy of them in memory.
fn generated(device: &Device, precision: Precision) -> Model {
    let stored = if precision == Precision::F32 { DType::F32 } else { DType::F16 };
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let weights = folder.path().join("vjepa2-large.safetensors");
    let parameters = checkpoint(&Extents::LARGE, Version::V2_0);
    write_weight_file(&weights, "bench", &parameters, stored).expect("room for a temporary weight file");
    Model::open(&weights, device, precision, &OpenOptions::default()).expect("the model fits the device")
}

fn frames(frames: usize, [height, width]: [usize; 2]) -> Vec<f32> {
    uniform("frames", frames * height * width * 3)
}

/// All tokens of a batch of clips of so many frames, from frames on.
fn whole(name: &'static str, precision: Precision, [batch, count]: [usize; 2], size: [usize; 2]) -> Bench {
    let tokens = count / 2 * (size[0] / 16) * (size[1] / 16);
    of(
        name,
        precision,
        batch as f64 * (embed_flops(&Extents::LARGE, tokens) + encoder_flops(&Extents::LARGE, tokens)),
        move |model| {
            let clip = model
                .clip([batch, count, size[0], size[1]], &frames(batch * count, size))
                .expect("a sound clip");
            Box::new(move || {
                std::hint::black_box(model.features(&clip).expect("a clip of this network"));
            })
        },
    )
}

/// Two of five tokens of embedded clips: what the encoder saw of them in training.
fn subset(name: &'static str, precision: Precision) -> Bench {
    let places: Vec<u32> = (0..2048).filter(|id| matches!(id % 5, 0 | 2)).collect();
    of(name, precision, encoder_flops(&Extents::LARGE, places.len()), move |model| {
        let clip = model.clip([1, 16, 256, 256], &frames(16, [256, 256])).expect("a sound clip");
        let tokens = model.embed(&clip).expect("a clip of this network");
        let places = [places.clone()];
        Box::new(move || {
            let some = tokens.subset(&places).expect("places of the clip");
            std::hint::black_box(model.encode(some).expect("tokens of this network"));
        })
    })
}

/// Two new frames behind six whose tokens are kept.
fn incremental(name: &'static str, precision: Precision) -> Bench {
    let flops = embed_flops(&Extents::LARGE, 256) + encoder_flops(&Extents::LARGE, 1024);
    of(name, precision, flops, move |model| {
        let pair = |i: usize| {
            let pixels = 2 * 256 * 256 * 3;
            model
                .clip([1, 2, 256, 256], &frames(8, [256, 256])[i * pixels..][..pixels])
                .expect("a sound clip")
        };
        let kept: Vec<Tokens> =
            (0..3).map(|i| model.embed(&pair(i)).expect("a clip of this network")).collect();
        let newest = pair(3);
        Box::new(move || {
            let newest = model.embed(&newest).expect("a clip of this network");
            let clip =
                Tokens::join_in_time(&[&kept[0], &kept[1], &kept[2], &newest]).expect("clips of one size");
            std::hint::black_box(model.encode(clip).expect("tokens of this network"));
        })
    })
}

/// The mask predictor alone: a tubelet behind a clip.
fn forecast(name: &'static str, precision: Precision) -> Bench {
    of(name, precision, predictor_flops(&Extents::LARGE, 2048, 256), move |model| {
        let clip = model.clip([1, 16, 256, 256], &frames(16, [256, 256])).expect("a sound clip");
        let features = model.features(&clip).expect("a clip of this network");
        let targets = [(2048..2304).collect()];
        Box::new(move || {
            let future = model.predict(&features, &targets, Predictor::MASK_INDEX);
            std::hint::black_box(future.expect("features of this network"));
        })
    })
}

/// Operations of the embedding, a multiply-add as two.
fn embed_flops(e: &Extents, tokens: usize) -> f64 {
    2.0 * tokens as f64 * (3 * e.tubelet * e.patch * e.patch * e.encoder.width) as f64
}

/// Operations of the encoder's blocks on so many tokens.
fn encoder_flops(e: &Extents, tokens: usize) -> f64 {
    let block = block_flops(e.encoder.width, e.hidden, tokens);
    e.encoder.depth as f64 * block
}

/// Query, key, value and output, both layers of the perceptron, scores and sums.
fn block_flops(width: usize, hidden: usize, tokens: usize) -> f64 {
    let (n, width, hidden) = (tokens as f64, width as f64, hidden as f64);
    2.0 * n * (4.0 * width * width + 2.0 * width * hidden + 2.0 * n * width)
}

fn predictor_flops(e: &Extents, context: usize, targets: usize) -> f64 {
    let width = e.predictor.width;
    let ends = 2.0 * (context + targets) as f64 * (width * e.encoder.width) as f64;
    ends + e.predictor.depth as f64 * block_flops(width, 4 * width, context + targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mast3r::Trunk;

    /// Computed by hand from the shapes of the published networks, in 10^12 operations.
    #[test]
    fn the_published_networks_have_their_work() {
        let large = Extents::LARGE;
        let huge = Extents { encoder: Trunk { width: 1280, depth: 32, heads: 16 }, hidden: 5120, ..large };
        let giant = Extents { encoder: Trunk { width: 1408, depth: 40, heads: 22 }, hidden: 6144, ..large };
        for (e, tokens, total) in [
            (large, 2048, 1.656),
            (large, 8192, 11.57),
            (large, 18432, 44.59),
            (large, 1024, 0.725),
            (large, 784, 0.536),
            (large, 576, 0.382),
            (large, 128, 0.079),
            (huge, 2048, 3.272),
            (giant, 2048, 5.088),
            (giant, 18432, 113.8),
        ] {
            let work = (embed_flops(&e, tokens) + encoder_flops(&e, tokens)) / 1e12;
            assert!((work - total).abs() <= 0.0006 * total.max(1.0), "{tokens}: {work} is not {total}");
        }
        let anticipation = predictor_flops(&large, 2048, 256) / 1e12;
        assert!((0.15..0.25).contains(&anticipation), "{anticipation}");
    }
}
