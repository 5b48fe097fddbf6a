//! The network on a tape beside the network of inference, its gradients, and its training.

use steropes_models::mast3r::synthetic::{DptWidths, Extents, parameters, weight_file};
use steropes_models::{Model, Precision};
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_train::scenes::Pair;
use steropes_train::{Network, Parameters, Settings, Source, Tape, Trained, Trainer, Var, Views};

/// A network of two blocks in the encoder and two in each stream of the decoder, none of them tied.
const TINY: Extents = Extents {
    patch: 8,
    enc: 16,
    dec: 24,
    enc_depth: 2,
    dec_depth: 2,
    mlp_ratio: 2,
    descriptor: Some(5),
    has_own_confidence: true,
    is_linear: false,
    dpt: DptWidths { features: 8, last: 4, stages: [4, 4, 8, 8] },
};

fn tiny_config() -> String {
    let args = "AsymmetricMASt3R(pos_embed='RoPE100', patch_size=8, img_size=(64, 64), head_type='catmlp+dpt', \
                output_mode='pts3d+desc5', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), enc_embed_dim=16, \
                enc_depth=2, enc_num_heads=2, dec_embed_dim=24, dec_depth=2, dec_num_heads=3, mlp_ratio=2, two_confs=True, \
                desc_conf_mode=('exp', 0, inf), landscape_only=False)";
    serde_json::json!({ "args": args, "square_ok": true }).to_string()
}

fn tiny() -> Source {
    Source::new("tiny", &tiny_config(), weight_file("", &parameters(&TINY), DType::F32))
}

fn tiny_settings() -> Settings {
    Settings {
        trained: Trained::All,
        size: [32, 40],
        pairs: 2,
        matches: 40,
        negatives: 8,
        learning_rate: 3e-3,
        warm_up: 4,
        ..Settings::default()
    }
}

/// Two pictures with their heights and widths.
type Pictures = [([usize; 2], Vec<f32>); 2];

/// Pictures of one seed, of different sizes: the second is a part of that of a pair.
fn pictures(seed: u64, [height, width]: [usize; 2], patch: usize) -> Pictures {
    let pair = Pair::new(seed, [height, width]);
    let lower = pair.values(1).skip(3 * patch * width).collect();
    [([height, width], pair.values(0).collect()), ([height - patch, width], lower)]
}

/// Descriptors and confidences of all pixels of both views, from the network on a tape.
fn on_tape(network: &Network, parameters: &Parameters, pictures: &Pictures) -> [[Vec<f32>; 2]; 2] {
    let (tape, named) = (Tape::new(), parameters.constants());
    let views = pictures.each_ref().map(|([height, width], values)| {
        Views::new(parameters.device(), [1, *height, *width], network.patch(), values).unwrap()
    });
    let tokens = network.forward(&tape, &named, [&views[0], &views[1]]).unwrap();
    [0, 1].map(|view| {
        let [height, width] = pictures[view].0.map(|side| side as u32);
        let pixels: Vec<_> =
            (0..height).flat_map(|row| (0..width).map(move |column| [0, row, column])).collect();
        let found = network.descriptors(&tape, &named, view, &tokens[view], &pixels).unwrap();
        found.map(|var| var.value().read::<f32>().unwrap())
    })
}

/// The same from the network of inference.
fn inferred(model: &Model, pictures: &Pictures) -> [[Vec<f32>; 2]; 2] {
    let encoded = pictures.each_ref().map(|([height, width], values)| {
        model.encode(&model.image([1, *height, *width, 3], values.clone()).unwrap()).unwrap()
    });
    let (one, other) = model.decode(&encoded[0], &encoded[1]).unwrap();
    [one, other].map(|view| {
        [view.descriptors, view.descriptor_confidence].map(|part| part.unwrap().read::<f32>().unwrap())
    })
}

fn check_same(got: &[[Vec<f32>; 2]; 2], want: &[[Vec<f32>; 2]; 2]) {
    for (view, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!([got[0].len(), got[1].len()], [want[0].len(), want[1].len()]);
        for (a, b) in got[0].iter().zip(&want[0]) {
            assert!((a - b).abs() < 1e-4, "a descriptor of view {view}: {a} instead of {b}");
        }
        for (a, b) in got[1].iter().zip(&want[1]) {
            assert!((a - b).abs() < 1e-3 * b, "a confidence of view {view}: {a} instead of {b}");
        }
    }
}

#[test]
fn the_embedded_network_has_the_descriptors_of_inference() {
    let cpu = Device::cpu();
    let pair = pictures(11, [64, 80], 16);
    let model = Model::embedded(&cpu, Precision::F32).unwrap();
    let trainer = Trainer::new(Source::embedded(), &cpu, Settings::default()).unwrap();
    let mut network = trainer.network().clone();
    let want = inferred(&model, &pair);
    check_same(&on_tape(&network, trainer.parameters(), &pair), &want);
    network.checkpoints = true;
    check_same(&on_tape(&network, trainer.parameters(), &pair), &want);
}

#[test]
fn a_network_without_ties_has_the_descriptors_of_inference() {
    let cpu = Device::cpu();
    let pair = pictures(12, [32, 40], 8);
    let bytes = weight_file("", &parameters(&TINY), DType::F32);
    let model = Model::from_bytes("tiny", &tiny_config(), bytes, &cpu, Precision::F32).unwrap();
    let trainer = Trainer::new(tiny(), &cpu, tiny_settings()).unwrap();
    check_same(&on_tape(trainer.network(), trainer.parameters(), &pair), &inferred(&model, &pair));
}

/// Values of a parameter moved along a direction.
fn moved(tensor: &Tensor, direction: &[f32], by: f64) -> Var {
    let values = tensor.read::<f32>().unwrap();
    let new =
        values.iter().zip(direction).map(|(&x, &d)| (f64::from(x) + by * f64::from(d)) as f32).collect();
    Var::constant(Tensor::new::<f32>(&Device::Cpu, tensor.shape(), new).unwrap())
}

#[test]
fn gradients_of_all_parameters_are_slopes_of_the_loss() {
    let trainer = Trainer::new(tiny(), &Device::Cpu, tiny_settings()).unwrap();
    let batch = trainer.batch(&[1, 2]).unwrap();
    for checkpoints in [false, true] {
        let settings = Settings { checkpoints, ..tiny_settings() };
        let trainer = Trainer::new(tiny(), &Device::Cpu, settings).unwrap();
        let tape = Tape::new();
        let (named, variables) = trainer.parameters().on(&tape);
        let [loss, _] = trainer.loss(&tape, &named, &batch).unwrap();
        let gradients = tape.gradients(&loss).unwrap();
        // The keys' bias moves all scores of a query alike: it has no slope of its own, and is measured with the others of its part.
        for prefix in [
            "patch_embed",
            "enc_",
            "decoder_embed",
            "dec_blocks.",
            "dec_blocks2.",
            "dec_norm",
            "downstream_head1",
            "downstream_head2",
        ] {
            let chosen: Vec<usize> = (0..variables.len())
                .filter(|&i| trainer.parameters().names()[i].starts_with(prefix))
                .collect();
            assert!(!chosen.is_empty());
            let (mut slope, mut directions) = (0.0, Vec::new());
            for &i in &chosen {
                let name = &trainer.parameters().names()[i];
                let gradient =
                    gradients.of(&variables[i]).unwrap_or_else(|| panic!("{name} has no gradient"));
                assert_eq!(gradient.shape(), variables[i].shape());
                // Along signs of the gradient nothing cancels; uneven steps let a wrong part show.
                let gradient = gradient.read::<f32>().unwrap();
                let uneven = normal(name, gradient.len());
                let direction: Vec<f32> =
                    gradient.iter().zip(&uneven).map(|(g, u)| g.signum() * (0.3 + u.abs())).collect();
                slope +=
                    gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum::<f64>();
                directions.push(direction);
            }
            let at = |by: f64| {
                let mut named = trainer.parameters().constants();
                for (&i, direction) in chosen.iter().zip(&directions) {
                    let name = trainer.parameters().names()[i].clone();
                    named.insert(name, moved(variables[i].value(), direction, by));
                }
                let [loss, _] = trainer.loss(&Tape::new(), &named, &batch).unwrap();
                f64::from(loss.value().read::<f32>().unwrap()[0])
            };
            let step = 2e-3 / slope.max(1.0);
            let measured = (at(step) - at(-step)) / (2.0 * step);
            assert!(
                (slope - measured).abs() < 0.02 * slope,
                "{prefix}, checkpoints {checkpoints}: {slope} instead of {measured}"
            );
        }
    }
}

fn falls(settings: Settings) -> [f32; 2] {
    let mut trainer = Trainer::new(tiny(), &Device::Cpu, settings).unwrap();
    let batch = trainer.batch(&[1, 2]).unwrap();
    let before = trainer.measure(&batch).unwrap().loss;
    for _ in 0..20 {
        trainer.step_on(&batch).unwrap();
    }
    [before, trainer.measure(&batch).unwrap().loss]
}

#[test]
fn the_loss_of_a_batch_falls_in_twenty_steps() {
    for trained in [Trained::Heads, Trained::Decoder, Trained::All] {
        let [before, after] = falls(Settings { trained, ..tiny_settings() });
        assert!(after < before - 1.0, "{trained:?}: {before} became {after}");
    }
}

fn bits(trainer: &Trainer) -> Vec<u32> {
    let parameters = trainer.parameters();
    let values = |name: &String| parameters.value(name).unwrap().read::<f32>().unwrap();
    parameters.names().iter().flat_map(values).map(f32::to_bits).collect()
}

#[test]
fn a_training_that_goes_on_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("training.safetensors");
    let fresh = || Trainer::new(tiny(), &Device::Cpu, tiny_settings()).unwrap();
    let (mut whole, mut first, mut second) = (fresh(), fresh(), fresh());
    let reports: Vec<_> = (0..6).map(|_| whole.step().unwrap()).collect();
    (0..3).for_each(|_| {
        first.step().unwrap();
    });
    first.save(&state).unwrap();
    second.resume(&state).unwrap();
    assert_eq!(second.steps(), 3);
    assert!(bits(&second) == bits(&first), "the state is not what was saved");
    for report in &reports[3..] {
        assert_eq!(second.step().unwrap(), *report);
    }
    assert!(bits(&second) == bits(&whole), "other bits after a break");
    // Threads change no bit; checkpoints add gradients in another order.
    let mut other = fresh();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    one.install(|| {
        (0..6).for_each(|_| {
            other.step().unwrap();
        })
    });
    assert!(bits(&other) == bits(&whole), "other bits on one thread");
    let settings = Settings { checkpoints: true, ..tiny_settings() };
    let mut again = Trainer::new(tiny(), &Device::Cpu, settings).unwrap();
    for report in &reports[..3] {
        let loss = again.step().unwrap().loss;
        assert!(
            (loss - report.loss).abs() < 1e-3 * report.loss.abs().max(1.0),
            "{loss} instead of {}",
            report.loss
        );
    }
}

#[test]
fn a_state_of_another_training_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("training.safetensors");
    Trainer::new(tiny(), &Device::Cpu, tiny_settings()).unwrap().save(&state).unwrap();
    let refusal = |source: Source, settings: Settings| {
        let error = Trainer::new(source, &Device::Cpu, settings).unwrap().resume(&state).unwrap_err();
        error.to_string().replace(&state.display().to_string(), "FILE")
    };
    assert_eq!(
        refusal(tiny(), Settings { pairs: 3, ..tiny_settings() }),
        "FILE: it was made with `pairs` 2, not 3"
    );
    let other = Source::new("other", &tiny_config(), weight_file("other", &parameters(&TINY), DType::F32));
    let text = refusal(other, tiny_settings());
    assert_eq!(text, "FILE: it was made from other weights; give the network that it began with");
    std::fs::write(&state, weight_file("", &parameters(&TINY), DType::F32)).unwrap();
    assert_eq!(refusal(tiny(), tiny_settings()), "FILE: this is no state of a training");
}

#[test]
fn the_written_folder_is_the_trained_network() {
    let cpu = Device::cpu();
    let folder = tempfile::tempdir().unwrap();
    // The embedded network has ties and weights in 16 bits.
    let settings = Settings { size: [32, 48], pairs: 1, matches: 40, negatives: 8, ..Settings::default() };
    for (source, settings) in [(tiny(), tiny_settings()), (Source::embedded(), settings)] {
        let mut trainer = Trainer::new(source.clone(), &cpu, settings).unwrap();
        let pair = pictures(13, [32, 48], 16);
        let before = on_tape(trainer.network(), trainer.parameters(), &pair);
        (0..2).for_each(|_| {
            trainer.step().unwrap();
        });
        trainer.write(folder.path()).unwrap();
        let model = Model::open(folder.path(), &cpu, Precision::F32).unwrap();
        let trained = inferred(&model, &pair);
        check_same(&on_tape(trainer.network(), trainer.parameters(), &pair), &trained);
        let change = before[0][0].iter().zip(&trained[0][0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(change > 1e-3, "two steps change descriptors by {change}");
        // What is written can be trained again.
        let again = Source::open(folder.path()).unwrap();
        let again = Trainer::new(again, &cpu, trainer.settings().clone()).unwrap();
        assert!(bits(&again) == bits(&trainer), "other bits in the file");
    }
}

#[test]
fn heads_alone_leave_points_as_they_are() {
    let cpu = Device::cpu();
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { trained: Trained::Heads, ..tiny_settings() };
    let mut trainer = Trainer::new(tiny(), &cpu, settings).unwrap();
    trainer.step().unwrap();
    trainer.write(folder.path()).unwrap();
    let bytes = weight_file("", &parameters(&TINY), DType::F32);
    let models = [
        Model::from_bytes("tiny", &tiny_config(), bytes, &cpu, Precision::F32).unwrap(),
        Model::open(folder.path(), &cpu, Precision::F32).unwrap(),
    ];
    let [before, after] = models.each_ref().map(|model| {
        let image = model.image([1, 32, 40, 3], uniform("image", 3 * 32 * 40)).unwrap();
        let encoded = model.encode(&image).unwrap();
        model.decode(&encoded, &encoded).unwrap().0
    });
    let read = |tensor: &Tensor| tensor.read::<f32>().unwrap();
    assert_eq!(read(&before.points), read(&after.points));
    assert_ne!(read(&before.descriptors.unwrap()), read(&after.descriptors.unwrap()));
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let refusal = |source: Source, settings: Settings| {
        Trainer::new(source, &Device::Cpu, settings).unwrap_err().to_string()
    };
    let text = refusal(tiny(), Settings { size: [30, 40], ..tiny_settings() });
    assert_eq!(text, "`size` must be two multiples of the patch, got [30, 40] for patches of 8");
    assert_eq!(
        refusal(tiny(), Settings { pairs: 0, ..tiny_settings() }),
        "`pairs` must be at least 1, got 0"
    );
    let linear = Extents { is_linear: true, descriptor: None, ..TINY };
    let config = tiny_config().replace("catmlp+dpt", "linear").replace("pts3d+desc5", "pts3d");
    let config = config.replace(", two_confs=True, desc_conf_mode=('exp', 0, inf)", "");
    let source = Source::new("flat", &config, weight_file("", &parameters(&linear), DType::F32));
    let text = refusal(source, tiny_settings());
    assert_eq!(text, "flat: it has no descriptors, which are what is trained; give a MASt3R network");
    let source = Source::new("cut", &tiny_config(), vec![1, 2, 3]);
    assert!(refusal(source, tiny_settings()).starts_with("cut: "));
}

#[test]
fn a_gpu_takes_the_steps_of_the_cpu() {
    let name = std::env::var("STEROPES_DEVICE").unwrap_or_else(|_| "gpu".to_owned());
    let Ok(gpu) = Device::select(&name) else { return };
    if gpu.gpu().is_none() {
        return;
    }
    let losses = [Device::cpu(), gpu].map(|device| {
        let mut trainer = Trainer::new(tiny(), &device, tiny_settings()).unwrap();
        (0..3).map(|_| trainer.step().unwrap().loss).collect::<Vec<f32>>()
    });
    for (cpu, gpu) in losses[0].iter().zip(&losses[1]) {
        assert!((cpu - gpu).abs() < 1e-3 * cpu.abs().max(1.0), "{gpu} on the GPU instead of {cpu}");
    }
}
