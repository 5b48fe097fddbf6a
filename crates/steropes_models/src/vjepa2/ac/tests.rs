//! A small network with generated weights: what is kept of past steps, batches, planning, and files.

use super::{AcCache, AcModel, AcOptions, AcWorld, Conditions, Crop, Observation, ac_picture};
use crate::mast3r::Trunk;
use crate::mast3r::synthetic::{Parameter, weight_file};
use crate::planner::{Action, CemSettings, Pose, WorldModel, plan};
use crate::vjepa2::synthetic::{Extents, Version, action_predictor, encoder};
use crate::vjepa2::{OpenOptions, Source, Tokens, WhichEncoder};
use crate::{ModelError, Precision};
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::uniform;

const FEATURES: usize = 32;
const TRUNK: Trunk = Trunk { width: 48, depth: 3, heads: 2 };
const GRID: [usize; 2] = [3, 4];
const PATCHES: usize = 12;

/// The CPU, and the GPU that `STEROPES_DEVICE` names.
fn devices() -> Vec<Device> {
    let named = std::env::var("STEROPES_DEVICE").ok().filter(|name| name != "cpu");
    let named = named.map(|name| Device::select(&name).expect("the device that STEROPES_DEVICE names"));
    std::iter::once(Device::cpu()).chain(named).collect()
}

fn parameters() -> Vec<Parameter> {
    let extents = Extents { encoder: Trunk { width: FEATURES, depth: 2, heads: 2 }, ..Extents::TINY };
    let named = |path: &'static str| move |(name, shape): Parameter| (format!("{path}.{name}"), shape);
    let encoder = encoder(&extents, Version::V2_0).into_iter().map(named("encoder"));
    encoder.chain(action_predictor(FEATURES, TRUNK).into_iter().map(named("predictor"))).collect()
}

fn options() -> AcOptions {
    let encoder = OpenOptions { heads: Some(2), crop_size: Some(64), ..OpenOptions::default() };
    AcOptions { encoder, heads: Some(2), has_extrinsics: false }
}

fn load(parameters: &[Parameter], device: &Device, options: &AcOptions) -> Result<AcModel, ModelError> {
    load_in(Precision::F32, parameters, device, options)
}

fn load_in(
    precision: Precision,
    parameters: &[Parameter],
    device: &Device,
    options: &AcOptions,
) -> Result<AcModel, ModelError> {
    let bytes = weight_file("", parameters, DType::F32);
    let source = Source::from_bytes("tiny-ac", None, bytes, WhichEncoder::Auto)?;
    AcModel::load("tiny-ac".to_owned(), source, device, precision, options)
}

fn model(device: &Device) -> AcModel {
    load(&parameters(), device, &options()).unwrap()
}

/// Features of `batch` samples, made up.
fn features(device: &Device, name: &str, batch: usize) -> Tensor {
    Tensor::new(device, &[batch, PATCHES, FEATURES], uniform(name, batch * PATCHES * FEATURES)).unwrap()
}

fn rows<const N: usize>(name: &str, count: usize) -> Vec<[f32; N]> {
    uniform(name, N * count).chunks_exact(N).map(|row| row.try_into().unwrap()).collect()
}

/// One step of the predictor with made-up conditions.
fn step(model: &AcModel, past: &mut AcCache, name: &str, batch: usize) -> Vec<f32> {
    let (actions, states) = (rows(&format!("{name}.a"), batch), rows(&format!("{name}.s"), batch));
    let conditions = Conditions { actions: &actions, states: &states, extrinsics: &[] };
    let z = features(model.encoder().device(), name, batch);
    model.predictor().step(past, &z, GRID, &conditions).unwrap().read().unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_later_step_changes_no_earlier_one_and_an_earlier_one_changes_it() {
    for device in devices() {
        let model = model(&device);
        let mut past = AcCache::default();
        let first = step(&model, &mut past, "one", 1);
        let kept = past.clone();
        let second = step(&model, &mut past, "two", 1);
        assert_eq!((kept.steps(), past.steps()), (1, 2));
        // The step before is as it was, whatever comes after it: another second step from what was kept.
        let mut other = kept.clone();
        let changed = step(&model, &mut other, "else", 1);
        assert!(largest_difference(&second, &changed) > 1e-2);
        assert_eq!(step(&model, &mut kept.clone(), "two", 1), second);
        // Computed again from nothing, both are the same to the bit.
        let mut again = AcCache::default();
        assert_eq!(step(&model, &mut again, "one", 1), first);
        assert_eq!(step(&model, &mut again, "two", 1), second);
        // Another past, or none, is another future.
        let mut past = AcCache::default();
        step(&model, &mut past, "else", 1);
        assert!(largest_difference(&step(&model, &mut past, "two", 1), &second) > 1e-3);
        assert!(largest_difference(&step(&model, &mut AcCache::default(), "two", 1), &second) > 1e-3);
    }
}

#[test]
fn a_batch_of_actions_is_a_loop_over_them() {
    for device in devices() {
        let model = model(&device);
        let mut shared = AcCache::default();
        step(&model, &mut shared, "past", 1);
        let z = features(&device, "now", 1);
        let one = |i: usize, past: &mut AcCache, z: &Tensor, name: &str| {
            let (actions, states) = (rows(&format!("{name}.a"), 5), rows(&format!("{name}.s"), 5));
            let conditions = Conditions { actions: &actions[i..=i], states: &states[i..=i], extrinsics: &[] };
            model.predictor().step(past, z, GRID, &conditions).unwrap()
        };
        let all = |past: &mut AcCache, z: &Tensor, name: &str| {
            let (actions, states) = (rows(&format!("{name}.a"), 5), rows(&format!("{name}.s"), 5));
            let conditions = Conditions { actions: &actions, states: &states, extrinsics: &[] };
            model.predictor().step(past, z, GRID, &conditions).unwrap()
        };
        let repeated = crate::vjepa2::pooler::repeated(&z, 5).unwrap();
        let mut past = shared.clone();
        let first = all(&mut past, &repeated, "first");
        let second: Vec<f32> = all(&mut past, &first, "second").read().unwrap();
        let first: Vec<f32> = first.read().unwrap();
        let sample = PATCHES * FEATURES;
        for i in 0..5 {
            let mut past = shared.clone();
            let own = one(i, &mut past, &z, "first");
            let after: Vec<f32> = one(i, &mut past, &own, "second").read().unwrap();
            let own: Vec<f32> = own.read().unwrap();
            // A CPU may multiply many rows in another way than few.
            for (alone, together) in [(own, &first), (after, &second)] {
                let difference = largest_difference(&alone, &together[i * sample..][..sample]);
                assert!(difference < 1e-5, "sample {i}: {difference}");
            }
        }
        assert!(largest_difference(&second[..sample], &second[sample..][..sample]) > 1e-3);
    }
}

#[test]
fn places_of_patches_and_time_matter() {
    let model = model(&Device::cpu());
    let conditions = Conditions { actions: &rows("a", 1), states: &rows("s", 1), extrinsics: &[] };
    let z = features(&Device::cpu(), "z", 1);
    let with = |grid, past: &mut AcCache| {
        model.predictor().step(past, &z, grid, &conditions).unwrap().read::<f32>().unwrap()
    };
    let upright = with([3, 4], &mut AcCache::default());
    assert!(largest_difference(&upright, &with([4, 3], &mut AcCache::default())) > 1e-3);
    // Half as many rows and columns as in training stand twice as far apart.
    let scaled = super::predictor::places(4, 2, crate::vjepa2::Grid { tubelets: 3, rows: 2, columns: 8 });
    assert_eq!(scaled[..3], [[3.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 0.0, 0.0]]);
    assert_eq!(scaled[3], [3.0, 0.0, 0.5]);
    assert_eq!(scaled[2 + 8], [3.0, 2.0, 0.0]);
    assert_eq!(scaled.len(), 18);
}

#[test]
fn the_place_of_the_camera_is_a_token_if_the_network_was_trained_so() {
    let device = Device::cpu();
    let with = load(&parameters(), &device, &AcOptions { has_extrinsics: true, ..options() }).unwrap();
    let (actions, states) = (rows("a", 1), rows("s", 1));
    let z = features(&device, "z", 1);
    let run = |model: &AcModel, extrinsics: &[[f32; 6]]| {
        let conditions = Conditions { actions: &actions, states: &states, extrinsics };
        Ok::<_, ModelError>(
            model.predictor().step(&mut AcCache::default(), &z, GRID, &conditions)?.read::<f32>()?,
        )
    };
    let one = run(&with, &rows("camera", 1)).unwrap();
    assert!(largest_difference(&one, &run(&with, &rows("other", 1)).unwrap()) > 1e-3);
    let without = model(&device);
    assert!(largest_difference(&one, &run(&without, &[]).unwrap()) > 1e-3);
    let missing = run(&with, &[]).unwrap_err().to_string();
    assert!(missing.contains("`extrinsics` must be 1 rows"), "{missing}");
    assert!(
        run(&without, &rows("camera", 1)).unwrap_err().to_string().contains("`extrinsics` must be 0 rows")
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = model(&Device::cpu());
    let z = features(&Device::cpu(), "z", 2);
    let run = |actions: &[[f32; 7]], states: &[[f32; 7]], grid| {
        let conditions = Conditions { actions, states, extrinsics: &[] };
        model.predictor().step(&mut AcCache::default(), &z, grid, &conditions).map_err(|e| e.to_string())
    };
    let (two, three) = (rows("a", 2), rows("a", 3));
    assert!(run(&two, &two, GRID).is_ok());
    assert!(run(&three, &two, GRID).unwrap_err().contains("`actions` must be 2 rows, got 3"));
    assert!(run(&two, &three, GRID).unwrap_err().contains("`states` must be 2 rows, got 3"));
    assert!(run(&two, &two, [2, 4]).unwrap_err().contains("[batch, 8, 32]"));
    let mut broken = two.clone();
    broken[1][3] = f32::NAN;
    assert!(run(&two, &broken, GRID).unwrap_err().contains("finite numbers"));
    // A past of another grid, and of another batch.
    let mut past = AcCache::default();
    step(&model, &mut past, "one", 2);
    let conditions = Conditions { actions: &two, states: &two, extrinsics: &[] };
    let turned = features(&Device::cpu(), "q", 2);
    let error = model.predictor().step(&mut past.clone(), &turned, [4, 3], &conditions).unwrap_err();
    assert!(error.to_string().contains("steps of [3, 4] patches"), "{error}");
    let conditions = Conditions { actions: &three, states: &three, extrinsics: &[] };
    let more = features(&Device::cpu(), "z", 3);
    assert!(model.predictor().step(&mut past, &more, GRID, &conditions).is_err());
    assert_eq!(past.steps(), 0, "what is left is no past");
}

/// A picture of a made-up pattern.
fn picture(shift: usize) -> Vec<f32> {
    let rgb: Vec<u8> =
        (0..80 * 60).flat_map(|i| [0, 1, 2].map(|c| ((i + shift) * (7 + c) % 251) as u8)).collect();
    ac_picture(&rgb, [60, 80], Crop::Training, 64).unwrap()
}

fn seen(model: &AcModel, shift: usize) -> Tokens {
    model.features([1, 64, 64], &picture(shift)).unwrap()
}

fn pose(x: f64) -> Pose {
    Pose::from_array([x, 0.1, 0.4, 0.2, -0.1, 0.3, 0.2])
}

#[test]
fn frames_are_encoded_one_by_one() {
    for device in devices() {
        let model = model(&device);
        let [one, two] = [0, 500].map(|shift| seen(&model, shift).values().read::<f32>().unwrap());
        let both = [picture(0), picture(500)].concat();
        let both = model.features([2, 64, 64], &both).unwrap();
        assert_eq!(both.values().shape(), [2, 16, FEATURES]);
        assert_eq!(both.values().read::<f32>().unwrap(), [one.clone(), two].concat());
        // Each token has mean 0 and variance 1.
        for token in one.chunks_exact(FEATURES) {
            let mean = token.iter().sum::<f32>() / FEATURES as f32;
            let variance = token.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / FEATURES as f32;
            assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
        }
    }
}

#[test]
fn a_world_rolls_poses_and_features_forward() {
    let model = model(&Device::cpu());
    let goal = seen(&model, 900);
    let now = Observation { features: seen(&model, 0), pose: pose(0.5) };
    let world = AcWorld::new(&model, std::slice::from_ref(&now), &goal).unwrap();
    let start = world.start(2).unwrap();
    let distance = |x: &Tensor| {
        let (x, goal) = (x.read::<f32>().unwrap(), goal.values().read::<f32>().unwrap());
        x.iter().zip(goal).map(|(x, goal)| f64::from((x - goal).abs())).sum::<f64>() / x.len() as f64
    };
    let energies = world.energies(&start).unwrap();
    assert!(energies.iter().all(|energy| (energy - distance(now.features.values())).abs() < 1e-6));
    assert_eq!(
        AcWorld::new(&model, std::slice::from_ref(&now), &now.features).unwrap().energies(&start).unwrap(),
        [0.0; 2]
    );
    let action = Action::from_array([0.05, 0.0, 0.0, 0.0, 0.0, 0.1, 0.5]);
    let next = world.step(start, &[action, Action::default()]).unwrap();
    assert_eq!(next.poses(), [pose(0.5).after(&action), pose(0.5).after(&Action::default())]);
    // By hand: one step of the predictor from the real pose, and a normalisation.
    let row = |values: [f64; 7]| values.map(|v| v as f32);
    let conditions = Conditions {
        actions: &[row(action.to_array())],
        states: &[row(pose(0.5).to_array())],
        extrinsics: &[],
    };
    let mut past = AcCache::default();
    let by_hand = model.predictor().step(&mut past, now.features.values(), [4, 4], &conditions).unwrap();
    let by_hand: Vec<f32> = by_hand.read().unwrap();
    let got: Vec<f32> = next.features().read().unwrap();
    for (token, got) in by_hand.chunks_exact(FEATURES).zip(got.chunks_exact(FEATURES)) {
        let mean = token.iter().map(|&v| f64::from(v)).sum::<f64>() / FEATURES as f64;
        let variance = token.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / FEATURES as f64;
        for (&v, &got) in token.iter().zip(got) {
            let want = (f64::from(v) - mean) / (variance + 1e-5).sqrt();
            assert!((want - f64::from(got)).abs() < 2e-6, "{want} {got}");
        }
    }
    // The pose that it starts from matters.
    let elsewhere = Observation { pose: pose(0.2), ..now.clone() };
    let other = AcWorld::new(&model, &[elsewhere], &goal).unwrap();
    let other = other.step(other.start(1).unwrap(), &[action]).unwrap();
    assert!(largest_difference(&other.features().read::<f32>().unwrap(), &got[..got.len() / 2]) > 1e-4);
}

#[test]
fn the_present_is_the_newest_observation_and_the_past_is_shared() {
    let model = model(&Device::cpu());
    let goal = seen(&model, 900);
    let observe = |shift, x| Observation { features: seen(&model, shift), pose: pose(x) };
    let (old, new) = (observe(0, 0.5), observe(300, 0.55));
    let world = AcWorld::new(&model, &[old.clone(), new.clone()], &goal).unwrap();
    let start = world.start(3).unwrap();
    assert_eq!(start.poses(), [new.pose; 3]);
    assert_eq!(
        start.features().read::<f32>().unwrap(),
        new.features.values().read::<f32>().unwrap().repeat(3)
    );
    let actions = [0.0, 0.02, -0.03].map(|x| Action::from_array([x, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
    let with_past: Vec<f32> = world.step(start, &actions).unwrap().features().read().unwrap();
    let alone = AcWorld::new(&model, std::slice::from_ref(&new), &goal).unwrap();
    let without: Vec<f32> = alone.step(alone.start(3).unwrap(), &actions).unwrap().features().read().unwrap();
    assert!(largest_difference(&with_past, &without) > 1e-4);
    let swapped = AcWorld::new(&model, &[new, old], &goal).unwrap();
    assert_eq!(swapped.start(1).unwrap().poses(), [pose(0.5)]);
}

#[test]
fn a_plan_is_the_same_for_any_batch_and_better_than_its_samples() {
    for device in devices() {
        let model = model(&device);
        let now = Observation { features: seen(&model, 0), pose: pose(0.5) };
        // A goal that the network itself imagines after two steps.
        let world = AcWorld::new(&model, std::slice::from_ref(&now), &now.features).unwrap();
        let there = Action::from_array([0.04, -0.03, 0.045, 0.0, 0.0, 0.0, 0.6]);
        let one = world.step(world.start(1).unwrap(), &[there]).unwrap();
        let two = world.step(one, &[there]).unwrap();
        let goal = Tokens::new(two.features().clone(), now.features.grid(), None).unwrap();
        let world = AcWorld::new(&model, std::slice::from_ref(&now), &goal).unwrap();
        let settings = CemSettings { samples: 40, steps: 6, top_k: 6, ..CemSettings::default() };
        let found = plan(&world, &settings).unwrap();
        assert_eq!(found, plan(&world, &CemSettings { batch: 17, ..settings.clone() }).unwrap());
        let first = &found.iterations[0];
        assert!(found.energy < first.energies[0] && found.energy < found.rest_energy / 2.0, "{found:?}");
    }
}

#[test]
fn narrower_numbers_imagine_nearly_the_same() {
    let has_f16 = |device: &Device| device.gpu().is_some_and(|gpu| gpu.capabilities().f16);
    let action = Action::from_array([0.05, -0.02, 0.04, 0.0, 0.0, 0.0, 0.5]);
    for device in devices() {
        let precision = match device.gpu() {
            None => Precision::Bf16,
            Some(_) if has_f16(&device) => Precision::F16,
            Some(_) => continue,
        };
        let imagined = |precision| {
            let model = load_in(precision, &parameters(), &device, &options()).unwrap();
            let now = Observation { features: seen(&model, 0), pose: pose(0.5) };
            let world = AcWorld::new(&model, &[now], &seen(&model, 900)).unwrap();
            let one = world.step(world.start(2).unwrap(), &[action, Action::default()]).unwrap();
            let two = world.step(one, &[action, Action::default()]).unwrap();
            world.energies(&two).unwrap()
        };
        let (exact, near) = (imagined(Precision::F32), imagined(precision));
        for (exact, near) in exact.iter().zip(near) {
            assert!((exact - near).abs() < 0.02 * exact && *exact != near, "{precision}: {near} for {exact}");
        }
    }
}

#[test]
fn worlds_that_do_not_fit_are_refused() {
    let model = model(&Device::cpu());
    let goal = seen(&model, 900);
    let now = Observation { features: seen(&model, 0), pose: pose(0.5) };
    let refused = |observations: &[Observation], goal: &Tokens, part: &str| {
        let error = AcWorld::new(&model, observations, goal).unwrap_err().to_string();
        assert!(error.contains(part), "`{error}` does not say `{part}`");
    };
    refused(&[], &goal, "at least one");
    let wide = model.features([1, 48, 64], &uniform("w", 48 * 64 * 3)).unwrap();
    refused(std::slice::from_ref(&now), &wide, "single frames of one size");
    let both = model.features([2, 64, 64], &uniform("w", 2 * 64 * 64 * 3)).unwrap();
    refused(&[Observation { features: both, ..now.clone() }], &goal, "single frames of one size");
    let lost = Pose { gripper: f64::NAN, ..pose(0.5) };
    refused(&[Observation { pose: lost, ..now.clone() }], &goal, "finite numbers");
    let with = load(&parameters(), &Device::cpu(), &AcOptions { has_extrinsics: true, ..options() }).unwrap();
    let error = AcWorld::new(&with, &[now], &goal).unwrap_err().to_string();
    assert!(error.contains("without the place of the camera"), "{error}");
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let cpu = Device::cpu();
    let refused = |parameters: &[Parameter], options: &AcOptions, part: &str| {
        let error = load(parameters, &cpu, options).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains('\n'), "`{error}` does not say `{part}`");
    };
    let all = parameters();
    let without = |part: &str| -> Vec<Parameter> {
        all.iter().filter(|(name, _)| !name.contains(part)).cloned().collect()
    };
    refused(&without("predictor."), &options(), "holds no predictor of actions");
    refused(&without("encoder.blocks"), &options(), "missing");
    refused(&without("state_encoder.bias"), &options(), "`predictor.state_encoder.bias` is missing");
    refused(&all, &AcOptions { heads: None, ..options() }, "say how many heads it has");
    refused(&all, &AcOptions { heads: Some(7), ..options() }, "cannot have 7 heads");
    let more = [all.clone(), vec![("predictor.more.weight".to_owned(), vec![3])]].concat();
    refused(&more, &options(), "`predictor.more.weight`");
    let decoy = [all.clone(), vec![("predictor.predictor_pos_embed".to_owned(), vec![3])]].concat();
    assert!(load(&decoy, &cpu, &options()).is_ok());
    // Without the camera's place there is a predictor, and none that needs it.
    assert!(load(&without("extrinsics"), &cpu, &options()).is_ok());
    let needs = AcOptions { has_extrinsics: true, ..options() };
    refused(&without("extrinsics"), &needs, "`predictor.extrinsics_encoder.bias` is missing");
}
