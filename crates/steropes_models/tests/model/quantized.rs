//! Weights in blocks: quantised as they are read or converted before, a network is the same. And int8, which is made as they are read.

use crate::embedded::assert_same;
use crate::files::picture;
use std::path::Path;
use steropes_models::mast3r::synthetic::{
    DptWidths, DuneExtents, Extents, dune_parameters, parameters, weight_file,
};
use steropes_models::{BothOrders, Model, Precision};
use steropes_nn::{Checkpoint, WeightType};
use steropes_tensor::{DType, Device};
use steropes_testkit::inputs::uniform;

const BLOCKS: [(Precision, WeightType); 2] =
    [(Precision::Q8, WeightType::Q8), (Precision::Q4, WeightType::Q4)];

fn load(config: &str, weights: Vec<u8>, precision: Precision) -> Model {
    Model::from_bytes("net", config, weights, &Device::cpu(), precision).unwrap()
}

fn converted(weights: Vec<u8>, to: WeightType) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    Checkpoint::from_bytes("net", weights).unwrap().converted(Some(to)).unwrap().write(file.path()).unwrap();
    std::fs::read(file.path()).unwrap()
}

fn outputs(model: &Model) -> BothOrders {
    let patch = model.info().patch_size;
    let [one, two] = [("left", [2, 4]), ("right", [3, 2])].map(|(name, [rows, columns])| {
        let shape = [1, rows * patch, columns * patch, 3];
        let values = uniform(name, shape.iter().product());
        model.encode(&model.image(shape, values).unwrap()).unwrap()
    });
    model.decode_both(&one, &two).unwrap()
}

/// A converted file gives the bits that the original gives in that precision, and is taken so by default; the original in f32 gives
/// others.
fn assert_converted_is_quantised(config: &str, weights: &[u8]) {
    let plain = outputs(&load(config, weights.to_vec(), Precision::F32));
    for (precision, to) in BLOCKS {
        let small = converted(weights.to_vec(), to);
        let at_load = load(config, weights.to_vec(), precision);
        let before = load(config, small.clone(), precision);
        let by_default = load(config, small.clone(), Precision::Auto);
        assert_eq!((at_load.precision(), by_default.precision()), (to, to));
        assert_eq!(before.info().parameters, at_load.info().parameters);
        let want = outputs(&at_load);
        assert_same(&outputs(&before), &want);
        assert_same(&outputs(&by_default), &want);
        let points = |both: &BothOrders| both.out21.points.read::<f32>().unwrap();
        assert_ne!(points(&want), points(&plain), "{to}");
        // Widened to f32, the file is still a network, of the values that the blocks stand for.
        assert_ne!(points(&outputs(&load(config, small, Precision::F32))), points(&plain), "{to}");
    }
}

#[test]
fn the_embedded_network() {
    let (config, weights) = Model::embedded_files();
    assert_converted_is_quantised(config, weights);
}

/// Rows that are no multiples of a block, and no ties.
#[test]
fn a_network_of_odd_widths() {
    let config = serde_json::json!({ "args": Extents::TINY_ARGS }).to_string();
    assert_converted_is_quantised(&config, &weight_file("q", &parameters(&Extents::TINY), DType::F32));
    assert_converted_is_quantised(&config, &weight_file("q", &parameters(&Extents::TINY), DType::F16));
}

/// Configuration and weights of a small DUNE network.
fn small_dune() -> (String, Vec<u8>) {
    let encoder = DuneExtents { patch: 14, width: 64, depth: 2, side: 4, registers: 3 };
    let dpt = DptWidths { features: 16, last: 8, stages: [8, 16, 16, 24] };
    let extents = Extents { enc: 64, dec: 32, dec_depth: 4, dpt, ..encoder.pair() };
    let args = "AsymmetricMASt3R(pos_embed='RoPE100', head_type='catmlp+dpt', output_mode='pts3d+desc24', \
                desc_conf_mode=('exp', 0, inf), two_confs=True, enc_embed_dim=64, enc_num_heads=2, \
                dec_embed_dim=32, dec_depth=4, dec_num_heads=1)";
    let config = serde_json::json!({ "mast3r_model_str": args }).to_string();
    (config, weight_file("q", &dune_parameters(&encoder, &extents), DType::F32))
}

/// The scales of its layers are multiplied into those of the blocks.
#[test]
fn a_dune_network() {
    let (config, weights) = small_dune();
    assert_converted_is_quantised(&config, &weights);
}

/// int8 is made of the values that a file holds, whatever holds them, and is near to f32, also where scales are multiplied into layers.
#[test]
fn int8_of_any_file() {
    let (config, weights) = Model::embedded_files();
    for to in [WeightType::Q8, WeightType::Bf16] {
        let stored = converted(weights.to_vec(), to);
        let wide = converted(stored.clone(), WeightType::F32);
        let [stored, wide] = [stored, wide].map(|file| load(config, file, Precision::Int8));
        assert_eq!(stored.precision(), WeightType::Int8);
        assert_same(&outputs(&stored), &outputs(&wide));
    }
    let (dune_config, dune_weights) = small_dune();
    for (config, weights) in [(config, weights), (&dune_config, &dune_weights)] {
        let points = |precision| {
            let both = outputs(&load(config, weights.to_vec(), precision));
            both.out21.points.read::<f32>().unwrap()
        };
        let (int8, f32) = (points(Precision::Int8), points(Precision::F32));
        let largest = f32.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let error = int8.iter().zip(&f32).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(error > 0.0 && error < 0.05 * largest, "{error} of {largest}");
    }
}

/// Points that come from one linear layer are not rounded.
#[test]
fn linear_point_heads_stay_as_they_are() {
    let file = weight_file(
        "q",
        &parameters(&Extents { is_linear: true, descriptor: None, ..Extents::TINY }),
        DType::F32,
    );
    let small = Checkpoint::from_bytes("net", converted(file.clone(), WeightType::Q4)).unwrap();
    let plain = Checkpoint::from_bytes("net", file).unwrap();
    let device = Device::cpu();
    let values = |file: &Checkpoint, name: &str, shape: &[usize]| {
        steropes_nn::Weights::new(file, &device).values(name, shape).unwrap()
    };
    let same = |name: &str, shape: &[usize]| values(&small, name, shape) == values(&plain, name, shape);
    assert!(same("downstream_head2.proj.weight", &[1024, 8]));
    assert!(!same("decoder_embed.weight", &[8, 16]));
}

#[test]
fn gpus_refuse_them_in_one_line() {
    if Device::gpus().is_empty() {
        return;
    }
    let device = Device::select(std::env::var("STEROPES_DEVICE").as_deref().unwrap_or("gpu:0")).unwrap();
    let Some(gpu) = device.gpu() else { return };
    let instead = if gpu.capabilities().f16 { "f16" } else { "f32" };
    for precision in [Precision::Int8, Precision::Q8, Precision::Q4] {
        let error = Model::embedded(&device, precision).unwrap_err().to_string();
        let want =
            format!("{precision} weights run on the CPU only; use --precision {instead} on this device");
        assert_eq!(error, want);
    }
}

/// The file on the disk is not kept in memory beside the layers.
#[cfg(target_os = "linux")]
#[test]
fn a_mapped_file_is_given_back() {
    let parameters = [("w.weight".to_owned(), vec![4096, 2048])];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), weight_file("q", &parameters, DType::F32)).unwrap();
    // Bytes of mapped files that this process has in memory.
    let resident = |path: &Path| {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let at = maps.find(path.to_str().unwrap()).expect("the file is mapped");
        let line = maps[at..].lines().find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    };
    let checkpoint = Checkpoint::open(file.path()).unwrap();
    let mut sum = 0u64;
    checkpoint.for_each_piece(|bytes| sum += bytes.iter().map(|&b| u64::from(b)).sum::<u64>());
    assert!(sum > 0 && resident(file.path()) < 1 << 20, "{}", resident(file.path()));
    let device = Device::cpu();
    let values = steropes_nn::Weights::new(&checkpoint, &device).values("w.weight", &[4096, 2048]).unwrap();
    assert!(values.iter().any(|&v| v != 0.0));
    assert!(resident(file.path()) < 1 << 20, "{}", resident(file.path()));
}

/// A pair of pictures of the embedded network, so that a change of the quantisers shows.
#[test]
fn coarser_weights_are_further_away() {
    let run = |precision| {
        let model = Model::embedded(&Device::cpu(), precision).unwrap();
        let (a, b) = (picture("left", 32, 48), picture("right", 32, 48));
        let (a, b) = (model.encode(&a).unwrap(), model.encode(&b).unwrap());
        model.decode(&a, &b).unwrap().0.descriptors.unwrap().read::<f32>().unwrap()
    };
    let plain = run(Precision::F32);
    let distance = |precision| -> f64 {
        let pairs = run(precision).into_iter().zip(&plain).map(|(a, &b)| f64::from(a - b).powi(2));
        pairs.sum::<f64>()
    };
    let [int8, q8, q4] = [Precision::Int8, Precision::Q8, Precision::Q4].map(distance);
    assert!(q8 > 0.0 && q4 > 10.0 * q8, "{q8} {q4}");
    assert!(int8 > q8 && q4 > 4.0 * int8, "{int8} {q8} {q4}");
}
