//! Engines: what they give is what their model gives, each image is encoded once, nothing is read before it is asked for.

use crate::dune::gpu;
use crate::files::WeightFile;
use std::cell::Cell;
use steropes_models::engine::{Engine, EngineConfig, Image, MatchOptions, Orders, PairMatches, PairResult};
use steropes_models::mast3r::synthetic::{Extents, parameters, weight_file};
use steropes_models::{Model, ModelError, Precision, ViewOutput};
use steropes_tensor::{DType, Device, DeviceError, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{Tolerance, check_close};

/// The CPU, and the GPU of the tests if there is one.
fn devices() -> impl Iterator<Item = Device> {
    std::iter::once(Device::cpu()).chain(gpu())
}

/// With a network of a few thousand weights.
fn engine(device: &Device, config: EngineConfig) -> Engine {
    if let Some(gpu) = device.gpu() {
        gpu.set_checked(true);
    }
    let network = serde_json::json!({ "args": Extents::TINY_ARGS }).to_string();
    let weights = weight_file("engine", &parameters(&Extents::TINY), DType::F32);
    let model = Model::from_bytes("tiny", &network, weights, device, Precision::F32).unwrap();
    Engine::with_model(config, model).unwrap()
}

fn embedded(device: &Device, config: EngineConfig) -> Engine {
    Engine::with_model(config, Model::embedded(device, Precision::F32).unwrap()).unwrap()
}

fn config(batch_size: usize) -> EngineConfig {
    EngineConfig { batch_size: Some(batch_size), ..EngineConfig::default() }
}

fn image(name: &str, size: [usize; 2]) -> Image {
    let values = uniform(name, 3 * size[0] * size[1]);
    Image::new(size, values.iter().map(|v| (127.5 * (v + 1.0)) as u8).collect()).unwrap()
}

/// Two sizes in turn with an outlier, so that batches are mixed.
fn images(count: usize) -> Vec<Image> {
    let size = |i: usize| if i % 3 == 2 { [48, 32] } else { [32, 48] };
    (0..count).map(|i| image(&format!("engine/{i}"), size(i))).collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.read().unwrap()
}

fn bits(tensors: &[&Tensor]) -> Vec<Vec<u32>> {
    tensors.iter().map(|t| values(t).into_iter().map(f32::to_bits).collect()).collect()
}

fn maps(result: &PairResult) -> Vec<&Tensor> {
    let [points, conf] = [[&result.pts3d_1, &result.pts3d_2], [&result.conf_1, &result.conf_2]];
    let optional = [&result.desc_1, &result.desc_2, &result.desc_conf_1, &result.desc_conf_2];
    points.into_iter().chain(conf).chain(optional.into_iter().flatten()).collect()
}

fn outputs([first, second]: [&ViewOutput; 2]) -> Vec<&Tensor> {
    let optional = [
        &first.descriptors,
        &second.descriptors,
        &first.descriptor_confidence,
        &second.descriptor_confidence,
    ];
    let all = [&first.points, &second.points, &first.confidence, &second.confidence];
    all.into_iter().chain(optional.into_iter().flatten()).collect()
}

/// Pairs in a batch may be rounded otherwise than by themselves.
fn assert_near(got: &PairResult, want: &PairResult) {
    assert_eq!(maps(got).len(), maps(want).len());
    for (got, want) in maps(got).into_iter().zip(maps(want)) {
        assert_eq!(got.shape(), want.shape());
        let want: Vec<f64> = values(want).into_iter().map(f64::from).collect();
        check_close(&values(got), &want, Tolerance::OfLargest(1e-5)).unwrap();
    }
}

fn all<E: std::fmt::Debug>(results: impl Iterator<Item = Result<PairResult, E>>) -> Vec<PairResult> {
    results.map(Result::unwrap).collect()
}

#[test]
fn a_pair_is_what_the_model_gives_bit_for_bit_and_stays_on_the_device() {
    for device in devices() {
        let engine = engine(&device, config(1));
        let (a, b) = (image("a", [32, 48]), image("b", [48, 32]));
        let waits = || device.gpu().map(|gpu| gpu.waits());
        let before = waits();
        let result = engine.infer(&a, &b).unwrap();
        assert_eq!(waits(), before, "nothing was read");
        assert_eq!((result.pts3d_1.shape(), result.pts3d_2.shape()), (&[32, 48, 3][..], &[48, 32, 3][..]));
        assert_eq!((result.conf_1.shape(), maps(&result).len()), (&[32, 48][..], 8));
        let got = bits(&maps(&result));
        assert_eq!(waits(), before.map(|n| n + 8), "eight maps were read");

        let model = engine.model().unwrap();
        let encode = |image: &Image| model.encode(&image.on(model).unwrap()).unwrap();
        let (one, two) = model.decode(&encode(&a), &encode(&b)).unwrap();
        assert!(got == bits(&outputs([&one, &two])), "{}", device.name());
        // Later work leaves it as it is.
        engine.infer(&image("c", [32, 48]), &image("d", [48, 32])).unwrap();
        assert!(got == bits(&maps(&result)));
    }
}

#[test]
fn both_orders_are_what_the_model_gives_bit_for_bit() {
    for device in devices() {
        let engine = engine(&device, config(1));
        let encoded =
            [image("a", [32, 48]), image("b", [48, 32])].map(|image| engine.encode(&image).unwrap());
        let both = engine.decode(&[[&encoded[0], &encoded[1]]], Orders::Both).unwrap();
        let want = engine.model().unwrap().decode_both(encoded[0].encoded(), encoded[1].encoded()).unwrap();
        assert_eq!(both.len(), 2);
        assert!(bits(&maps(&both[0])) == bits(&outputs([&want.out11, &want.out21])));
        assert!(bits(&maps(&both[1])) == bits(&outputs([&want.out22, &want.out12])));
    }
}

#[test]
fn a_sequence_encodes_each_image_once_and_takes_no_more_than_it_needs() {
    for device in devices() {
        for batch in [1, 3] {
            let engine = engine(&device, config(batch));
            let images = images(8);
            let pulled = Cell::new(0);
            let source = images.iter().cloned().inspect(|_| pulled.set(pulled.get() + 1));
            let waits = || device.gpu().map(|gpu| gpu.waits());
            let before = waits();
            let mut sequence = engine.sequence(source);
            assert_eq!(pulled.get(), 0);
            let first = sequence.next().unwrap().unwrap();
            assert_eq!((pulled.get(), engine.encoder_runs()), (batch + 1, batch as u64 + 1));
            let mut got = vec![first];
            got.extend(all(&mut sequence));
            assert!(sequence.next().is_none());
            assert_eq!(waits(), before, "nothing was read");
            assert_eq!((got.len(), engine.encoder_runs()), (7, 8));
            for (pair, got) in images.windows(2).zip(&got) {
                let want = engine.infer(&pair[0], &pair[1]).unwrap();
                if batch == 1 {
                    assert!(bits(&maps(got)) == bits(&maps(&want)));
                }
                assert_near(got, &want);
            }
        }
    }
}

#[test]
fn short_sequences_give_nothing_and_cost_nothing() {
    let engine = engine(&Device::cpu(), config(1));
    for count in [0, 1] {
        assert_eq!(engine.sequence(images(count)).count(), 0);
    }
    assert_eq!(engine.encoder_runs(), 0);
}

#[test]
fn a_sequence_ends_after_an_error() {
    let engine = engine(&Device::cpu(), config(1));
    let mut images = images(4);
    images.insert(2, image("odd", [33, 48]));
    let mut sequence = engine.sequence(images);
    assert!(sequence.next().unwrap().is_ok());
    assert!(sequence.next().unwrap().unwrap_err().to_string().contains("multiples of 16"));
    assert!(sequence.next().is_none() && sequence.next().is_none());
}

#[test]
fn any_list_of_pairs_encodes_each_image_once() {
    let list = [[0, 1], [4, 1], [1, 4], [2, 2], [0, 1], [2, 0], [5, 4]];
    for device in devices() {
        for (batch, orders) in [(1, Orders::Given), (3, Orders::Given), (2, Orders::Both)] {
            let engine = engine(&device, config(batch));
            let images = images(6);
            let mut pairs = engine.pairs(&images, &list, orders).unwrap();
            let mut held = 0;
            let mut got = Vec::new();
            while let Some(result) = pairs.next() {
                got.push(result.unwrap());
                held = held.max(pairs.held());
            }
            // Image 3 is in no pair; after the last pair nothing is held.
            assert_eq!((engine.encoder_runs(), pairs.held()), (5, 0));
            assert!(held <= 4, "{held} of 5 images at once");
            let per_pair = if orders == Orders::Both { 2 } else { 1 };
            assert_eq!(got.len(), per_pair * list.len());
            for (k, &[i, j]) in list.iter().enumerate() {
                assert_near(&got[k * per_pair], &engine.infer(&images[i], &images[j]).unwrap());
                if orders == Orders::Both {
                    assert_near(&got[2 * k + 1], &engine.infer(&images[j], &images[i]).unwrap());
                }
            }
        }
    }
    let engine = engine(&Device::cpu(), config(1));
    let error = engine.pairs(&images(2), &[[0, 1], [1, 2]], Orders::Given).unwrap_err().to_string();
    assert_eq!(error, "pairs: `list` must be images below 2, got [1, 2]");
    assert_eq!(engine.pairs(&images(2), &[], Orders::Both).unwrap().count(), 0);
}

#[test]
fn work_that_results_share_is_counted_once() {
    let engine = engine(&Device::cpu(), config(1));
    let images = images(3);
    let results = all(engine.pairs(&images, &[[0, 1], [1, 0], [1, 2]], Orders::Given).unwrap());
    assert!(results.iter().all(|r| !r.timings.decode.is_zero()));
    let encoded: Vec<bool> = results.iter().map(|r| !r.timings.encode.is_zero()).collect();
    assert_eq!(encoded, [true, false, true]);
    let timings = engine.infer(&images[0], &images[1]).unwrap().timings;
    assert_eq!(timings.total(), timings.preprocess + timings.encode + timings.decode);
    assert!(!timings.preprocess.is_zero() && !timings.encode.is_zero());
}

#[test]
fn exact_timings_wait_for_a_gpu() {
    let Some(device) = gpu() else { return };
    let engine = engine(&device, EngineConfig { exact_timings: true, ..config(1) });
    let waits = || device.gpu().unwrap().waits();
    let before = waits();
    engine.infer(&image("a", [32, 48]), &image("b", [32, 48])).unwrap();
    // Two images brought and encoded, one pair decoded.
    assert_eq!(waits(), before + 5);
}

/// A result of random maps, `sizes` pixels of the two images.
fn random_result(device: &Device, sizes: [[usize; 2]; 2]) -> PairResult {
    let map = |name: &str, size: [usize; 2], depth: &[usize], values: Vec<f32>| {
        let shape = [&size[..], depth].concat();
        Tensor::new(device, &shape, values).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    let unit = |name: &str, pixels: usize| -> Vec<f32> {
        let values = normal(name, 24 * pixels);
        let rows = values.chunks_exact(24).flat_map(|row| {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            row.iter().map(move |v| v / norm)
        });
        rows.collect()
    };
    let confidence = |name: &str, pixels| uniform(name, pixels).into_iter().map(|v| 2.0 + v).collect();
    let view = |k: usize| {
        let (size, pixels) = (sizes[k], sizes[k][0] * sizes[k][1]);
        [
            map("points", size, &[3], uniform(&format!("match/points/{k}"), 3 * pixels)),
            map("conf", size, &[], confidence(&format!("match/conf/{k}"), pixels)),
            map("desc", size, &[24], unit(&format!("match/desc/{k}"), pixels)),
            map("desc_conf", size, &[], confidence(&format!("match/desc_conf/{k}"), pixels)),
        ]
    };
    let [[pts3d_1, conf_1, desc_1, desc_conf_1], [pts3d_2, conf_2, desc_2, desc_conf_2]] = [view(0), view(1)];
    PairResult {
        pts3d_1,
        pts3d_2,
        conf_1,
        conf_2,
        desc_1: Some(desc_1),
        desc_2: Some(desc_2),
        desc_conf_1: Some(desc_conf_1),
        desc_conf_2: Some(desc_conf_2),
        timings: Default::default(),
    }
}

/// A match by the plainest loops in f64: pixels, similarity, confidence.
type Naive = ([usize; 2], f64, f64);

fn naive(result: &PairResult, options: &MatchOptions) -> Vec<Naive> {
    let described = [&result.desc_1, &result.desc_2, &result.desc_conf_1, &result.desc_conf_2];
    let [d1, d2, c1, c2] = described
        .map(|map| -> Vec<f64> { values(map.as_ref().unwrap()).into_iter().map(f64::from).collect() });
    let dot = |p: usize, q: usize| (0..24).map(|k| d1[24 * p + k] * d2[24 * q + k]).sum::<f64>();
    let best = |count: usize, score: &dyn Fn(usize) -> f64| {
        (0..count).fold(0, |best, i| if score(i) > score(best) { i } else { best })
    };
    let &[height, width, _] = result.pts3d_1.shape() else { panic!() };
    let step = options.subsample;
    let mut matches = Vec::new();
    for y in (step / 2..height).step_by(step) {
        for x in (step / 2..width).step_by(step) {
            let p = x + width * y;
            let q = best(c2.len(), &|q| dot(p, q));
            let returns = best(c1.len(), &|p| dot(p, q)) == p;
            if (returns || !options.reciprocal) && dot(p, q) >= f64::from(options.threshold) {
                matches.push(([p, q], dot(p, q), (c1[p] * c2[q]).sqrt()));
            }
        }
    }
    matches.sort_by(|a, b| b.2.total_cmp(&a.2));
    matches.truncate(options.top_k);
    matches
}

fn assert_matches(got: &PairMatches, want: &[Naive], result: &PairResult) {
    let flat = |xy: &[[u32; 2]], map: &Tensor| -> Vec<usize> {
        xy.iter().map(|[x, y]| *x as usize + map.shape()[1] * *y as usize).collect()
    };
    let lists: [Vec<usize>; 2] = [0, 1].map(|k| want.iter().map(|m| m.0[k]).collect());
    assert_eq!(flat(&got.pixels_1, &result.pts3d_1), lists[0]);
    assert_eq!(flat(&got.pixels_2, &result.pts3d_2), lists[1]);
    let of = |k: fn(&Naive) -> f64| want.iter().map(k).collect::<Vec<f64>>();
    check_close(&got.similarity, &of(|m| m.1), Tolerance::OfLargest(1e-6)).unwrap();
    check_close(&got.confidence, &of(|m| m.2), Tolerance::OfLargest(1e-6)).unwrap();
    for (points, map, pixels) in
        [(&got.points_1, &result.pts3d_1, &lists[0]), (&got.points_2, &result.pts3d_2, &lists[1])]
    {
        let all = values(map);
        let want: Vec<[f32; 3]> = pixels.iter().map(|p| [0, 1, 2].map(|c| all[3 * p + c])).collect();
        assert_eq!(*points, want);
    }
}

#[test]
fn matches_are_those_of_plain_loops() {
    for device in devices() {
        let engine = engine(&device, config(1));
        let result = random_result(&device, [[15, 20], [17, 13]]);
        for options in [
            MatchOptions { top_k: 1000, reciprocal: false, threshold: -1.0, subsample: 1 },
            MatchOptions { top_k: 1000, reciprocal: true, threshold: -1.0, subsample: 1 },
            MatchOptions { top_k: 1000, reciprocal: true, threshold: 0.6, subsample: 1 },
            MatchOptions { top_k: 9, reciprocal: true, threshold: 0.3, subsample: 1 },
            MatchOptions { top_k: 1000, reciprocal: false, threshold: 0.5, subsample: 3 },
            MatchOptions { top_k: 5, reciprocal: true, threshold: 0.0, subsample: 2 },
            MatchOptions { top_k: 5, reciprocal: true, threshold: 1.0, subsample: 1 },
        ] {
            let want = naive(&result, &options);
            let got = engine.match_pair(&result, &options).unwrap();
            assert_matches(&got, &want, &result);
            assert_eq!(got.is_empty(), options.threshold == 1.0, "{options:?}");
        }
        let every = engine.match_pair(&result, &MatchOptions { threshold: -1.0, ..MatchOptions::default() });
        assert!((1..20).contains(&every.unwrap().len()), "a seed every four pixels both ways");
        let wrong = MatchOptions { subsample: 0, ..MatchOptions::default() };
        let error = engine.match_pair(&result, &wrong).unwrap_err().to_string();
        assert_eq!(error, "`matching.subsample`: must be 1 to 1024, got 0");
        // An image of less than a step still has a pixel to ask for.
        let small = random_result(&device, [[1, 2], [3, 1]]);
        let any = MatchOptions { threshold: -1.0, reciprocal: false, ..MatchOptions::default() };
        assert_eq!(engine.match_pair(&small, &any).unwrap().len(), 1);
    }
}

#[test]
fn a_pair_is_inferred_and_matched_as_the_settings_say() {
    for device in devices() {
        let matching = MatchOptions { top_k: 30, subsample: 2, ..MatchOptions::default() };
        let engine = embedded(&device, EngineConfig { matching, ..config(1) });
        let image = image("same", [32, 48]);
        let (result, matches) = engine.infer_and_match(&image, &image).unwrap();
        assert_eq!(matches.len(), 30);
        assert_matches(&matches, &naive(&result, &matching), &result);
        assert!(matches.confidence.is_sorted_by(|a, b| a >= b));
    }
}

#[test]
fn a_network_without_descriptors_says_so() {
    let bytes = WeightFile::smallest().bytes();
    let device = Device::cpu();
    let model =
        Model::from_bytes("plain", &WeightFile::smallest_config(), bytes, &device, Precision::F32).unwrap();
    let engine = Engine::with_model(config(1), model).unwrap();
    let image = image("a", [32, 48]);
    let result = engine.infer(&image, &image).unwrap();
    assert!(result.desc_1.is_none() && result.desc_conf_2.is_none());
    let error = engine.match_pair(&result, &MatchOptions::default()).unwrap_err();
    assert!(matches!(error, ModelError::NoDescriptors { .. }));
    assert_eq!(error.to_string(), "`plain` gives no descriptors, so its pixels cannot be matched");
    engine.warm_up(1).unwrap();
}

#[test]
fn images_that_do_not_fit_are_refused_in_one_line() {
    let engine = engine(&Device::cpu(), EngineConfig { image_size: 64, ..config(1) });
    let fits = image("a", [32, 64]);
    engine.infer(&fits, &fits).unwrap();
    let error = engine.infer(&fits, &image("b", [80, 64])).unwrap_err().to_string();
    assert_eq!(error, "encode: `image` must be at most 64 pixels a side, as `image_size` says, got 64 x 80");
    assert!(engine.encode(&image("c", [40, 64])).unwrap_err().to_string().contains("multiples of 16"));
}

#[test]
fn release_frees_the_network_and_the_pool_and_load_brings_it_back() {
    for device in devices() {
        let config = EngineConfig { device: Some(device.name().to_owned()), ..config(2) };
        let mut engine = Engine::open(config).unwrap();
        let (a, b) = (image("a", [32, 48]), image("b", [32, 48]));
        let result = engine.infer(&a, &b).unwrap();
        let encoded = engine.encode(&a).unwrap();
        let before = bits(&maps(&result));
        let info = engine.context_info();
        assert_eq!((info.device.as_str(), info.model.as_deref()), (device.name(), Some(Model::EMBEDDED)));
        assert!(info.weight_bytes > 10 << 20 && info.recommended_budget > info.weight_bytes);
        assert_eq!(info.memory_in_use.is_some(), device.gpu().is_some());

        engine.release().unwrap();
        let is_unloaded = |error: ModelError| {
            assert!(matches!(error, ModelError::NotLoaded));
            assert_eq!(error.to_string(), "the engine holds no network: call `load` first");
        };
        is_unloaded(engine.model().unwrap_err());
        is_unloaded(engine.infer(&a, &b).unwrap_err());
        is_unloaded(engine.encode(&a).unwrap_err());
        is_unloaded(engine.decode(&[[&encoded, &encoded]], Orders::Given).unwrap_err());
        is_unloaded(engine.sequence(images(2)).next().unwrap().unwrap_err());
        is_unloaded(engine.warm_up(1).unwrap_err());
        let after = engine.context_info();
        assert_eq!((after.model, after.weight_bytes, after.recommended_budget), (None, 0, 0));
        if device.gpu().is_some() {
            assert_eq!(after.pool_bytes, Some(0));
            let freed = info.memory_in_use.unwrap() - after.memory_in_use.unwrap();
            assert!(freed > 10 << 20, "{freed} bytes of weights");
        }
        // What the caller holds is still there.
        assert!(bits(&maps(&result)) == before);
        engine.load().unwrap();
        engine.load().unwrap();
        let again = engine.decode(&[[&encoded, &engine.encode(&b).unwrap()]], Orders::Given).unwrap();
        assert!(bits(&maps(&again[0])) == before);
    }
}

#[test]
fn a_warm_engine_needs_no_more_than_is_recommended() {
    let Some(device) = gpu() else { return };
    let config = EngineConfig { image_size: 128, ..config(2) };
    let engine = embedded(&device, config);
    assert!(!engine.warm_up(1).unwrap().is_zero());
    assert_eq!(engine.encoder_runs(), 2);
    let info = engine.context_info();
    let peak = info.peak_memory.unwrap();
    assert!((peak..2 * peak).contains(&info.recommended_budget), "{info:?}");
}

#[test]
fn a_budget_is_obeyed() {
    let Some(device) = gpu() else { return };
    let config = EngineConfig {
        device: Some(device.name().to_owned()),
        memory: Some(80 << 20),
        image_size: 1024,
        ..config(1)
    };
    let engine = Engine::open(config).unwrap();
    assert_eq!(engine.context_info().memory_budget, Some(80 << 20));
    let image = image("large", [768, 1024]);
    let error = engine.infer(&image, &image).unwrap_err().to_string();
    assert!(error.contains("bytes left") && error.contains("limit 83886080"), "{error}");
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let open = |config: EngineConfig| Engine::open(config).unwrap_err();
    let cpu = EngineConfig { device: Some("cpu".to_owned()), ..EngineConfig::default() };
    let unknown = EngineConfig { device: Some("no such device".to_owned()), ..EngineConfig::default() };
    assert!(matches!(open(unknown), ModelError::Device(DeviceError::Unknown { .. })));
    let error = open(EngineConfig { model: "nowhere".to_owned(), ..cpu.clone() });
    assert!(matches!(error, ModelError::NoSuchModel { .. }));
    let error = open(EngineConfig { precision: Precision::F16, ..cpu.clone() });
    assert!(matches!(error, ModelError::Precision { .. }));
    let error = open(EngineConfig { threads: Some(5000), ..cpu });
    assert_eq!(error.to_string(), "`threads`: must be 1 to 1024, got 5000");
}
