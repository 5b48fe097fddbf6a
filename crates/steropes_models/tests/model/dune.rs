//! A small DUNE encoder with a decoder: files, sizes, batches, orders, and what is refused.

use crate::files::{WeightFile, picture};
use steropes_models::mast3r::PairTolerance;
use steropes_models::mast3r::synthetic::{DptWidths, DuneExtents, Extents, dune_parameters, weight_file};
use steropes_models::{Config, Model, ModelError, Precision, WeightType};
use steropes_tensor::{DType, Device};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Tolerance, check_close, floats};

const WIDTH: usize = 8;
const SIDE: usize = 3;

/// Linear heads, one block each, patches of 14 pixels; the encoder is below `root`.
fn weights(root: &str, registers: usize) -> WeightFile {
    let mut file = WeightFile::smallest();
    file.0.retain(|name, _| !name.starts_with("patch_embed") && !name.starts_with("enc_"));
    for head in ["downstream_head1.proj", "downstream_head2.proj"] {
        file.layer(head, &[4 * 14 * 14, WIDTH]);
    }
    let mut file = WeightFile(file.0.into_iter().map(|(name, t)| (format!("mast3r.{name}"), t)).collect());
    file.norms("", &["norm"]);
    let at = |name: &str| if root.is_empty() { name.to_owned() } else { format!("{root}.{name}") };
    file.add(&at("cls_token"), &[1, 1, WIDTH]);
    file.add(&at("pos_embed"), &[1, 1 + SIDE * SIDE, WIDTH]);
    if registers > 0 {
        file.add(&at("register_tokens"), &[1, registers, WIDTH]);
    }
    file.layer(&at("patch_embed.proj"), &[WIDTH, 3, 14, 14]);
    let block = at("blocks.0.0");
    file.norms(&block, &["norm1", "norm2"]);
    file.layer(&format!("{block}.attn.qkv"), &[3 * WIDTH, WIDTH]);
    file.layer(&format!("{block}.attn.proj"), &[WIDTH, WIDTH]);
    file.layer(&format!("{block}.mlp.fc1"), &[4 * WIDTH, WIDTH]);
    file.layer(&format!("{block}.mlp.fc2"), &[WIDTH, 4 * WIDTH]);
    file.add(&format!("{block}.ls1.gamma"), &[WIDTH]);
    file.add(&format!("{block}.ls2.gamma"), &[WIDTH]);
    file
}

fn config() -> String {
    let args = "AsymmetricMASt3R(pos_embed='RoPE100', head_type='linear', enc_embed_dim=8, enc_depth=0, \
                enc_num_heads=2, dec_embed_dim=8, dec_depth=1, dec_num_heads=1)";
    serde_json::json!({ "mast3r_model_str": args, "dune_backbone_name": "dune_vitsmall_14_448_encoder" })
        .to_string()
}

fn load_with(config: &str, file: &WeightFile) -> Result<Model, ModelError> {
    Model::from_bytes("net", config, file.bytes(), &Device::cpu(), Precision::F32)
}

fn load(file: &WeightFile) -> Model {
    load_with(&config(), file).unwrap()
}

fn refused(change: impl FnOnce(&mut WeightFile)) -> String {
    let mut file = weights("dune_backbone", 2);
    change(&mut file);
    load_with(&config(), &file).expect_err("the model must be refused").to_string()
}

fn points(model: &Model, sizes: [[usize; 2]; 2]) -> [Vec<f32>; 2] {
    let [one, two] = [("a", sizes[0]), ("b", sizes[1])]
        .map(|(name, [height, width])| model.encode(&picture(name, height, width)).unwrap());
    let (view1, view2) = model.decode(&one, &two).unwrap();
    [view1, view2].map(|view| view.points.read::<f32>().unwrap())
}

#[test]
fn squares_are_used_as_they_are_and_patches_have_14_pixels() {
    let config = Config::from_json("c", &config()).unwrap();
    assert!(config.square_ok && config.patch_size == 14 && config.encoder.width() == WIDTH);
    let model = load(&weights("dune_backbone", 2));
    assert!(model.info().square_ok && model.info().patch_size == 14);
    // Heads of 64, whatever the call says of an encoder that is not used.
    for (width, heads) in [(384, 6), (768, 12)] {
        let args = format!("AsymmetricMASt3R(pos_embed='RoPE100', enc_embed_dim={width}, enc_num_heads=16)");
        let config = Config::from_dune_args("c", &args).unwrap();
        assert_eq!(config.encoder, steropes_models::mast3r::EncoderKind::Dune { width, heads });
    }
}

#[test]
fn the_encoder_may_be_in_a_file_of_its_own() {
    let sizes = [[28, 42], [28, 42]];
    let want = points(&load(&weights("dune_backbone", 2)), sizes);
    let renamed = |root: &str| {
        let stored = weights("dune_backbone", 2);
        let name = |name: String| match name.strip_prefix("dune_backbone.") {
            Some(rest) if root.is_empty() => rest.to_owned(),
            Some(rest) => format!("{root}.{rest}"),
            None => name,
        };
        WeightFile(stored.0.into_iter().map(|(n, t)| (name(n), t)).collect())
    };
    assert_eq!(points(&load(&renamed("encoder")), sizes), want);
    let text = load_with(&config(), &renamed("")).unwrap_err().to_string();
    assert!(text.contains("has no DUNE encoder"), "{text}");
    for root in ["", "encoder", "module._orig_mod.encoder"] {
        let folder = tempfile::tempdir().unwrap();
        let (pair, mut encoder): (std::collections::BTreeMap<_, _>, std::collections::BTreeMap<_, _>) =
            renamed(root)
                .0
                .into_iter()
                .partition(|(name, _)| name.starts_with("mast3r.") || name.starts_with("norm."));
        // What such files hold beside what is used.
        let mut others = WeightFile(std::mem::take(&mut encoder));
        others.add("projectors.teacher.blocks.0.norm1.weight", &[3]);
        others.add("teacher_norms.teacher.mean", &[3]);
        let dot = if root.is_empty() { "" } else { "." };
        others.add(&format!("{root}{dot}mask_token"), &[1, WIDTH]);
        others.norms(root, &["norm"]);
        let mut pair = WeightFile(pair);
        pair.add("mast3r.mask_token", &[1, 1, 8]);
        pair.add("mast3r.enc_norm.weight", &[8]);
        pair.add("imagenet_mean", &[3]);
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("config.json", config().as_bytes());
        write("model.safetensors", &pair.bytes());
        let open = || Model::open(folder.path(), &Device::cpu(), Precision::F32);
        let text = open().unwrap_err().to_string();
        assert!(
            text.contains("model.safetensors`: has no DUNE encoder")
                && text.ends_with("as encoder.safetensors"),
            "{text}"
        );
        write("encoder.safetensors", &others.bytes());
        let model = open().unwrap();
        assert_eq!(points(&model, sizes), want);
        assert_eq!(model.info().parameters, load(&weights("dune_backbone", 2)).info().parameters);
    }
}

#[test]
fn more_sizes_than_are_kept_give_the_same_again() {
    let model = load(&weights("dune_backbone", 2));
    let sizes = [[28, 42], [42, 42]];
    let first = points(&model, sizes);
    for columns in 1..12 {
        points(&model, [[14, 14 * columns], [14, 14]]);
    }
    assert_eq!(points(&model, sizes), first);
}

#[test]
fn the_last_normalisation_is_that_of_the_pair_network() {
    // Blocks whose scales are 0 pass tokens on, and patches without weights are their positions, small beside eps.
    let mut file = weights("dune_backbone", 2);
    for (name, tensor) in &mut file.0 {
        if name.contains(".gamma") || name.contains("patch_embed") {
            tensor.bytes.fill(0);
        }
    }
    let values = |file: &WeightFile, name: &str| -> Vec<f64> {
        let words = file.0[name].bytes.chunks_exact(4);
        words.map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
    };
    let positions: Vec<f64> = values(&file, "dune_backbone.pos_embed").iter().map(|v| v / 64.0).collect();
    file.tensor("dune_backbone.pos_embed").bytes =
        positions.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
    // The encoder's own, which must not be used.
    file.norms("dune_backbone", &["norm"]);
    let encoded = load(&file).encode(&picture("a", 14 * SIDE, 14 * SIDE)).unwrap();
    let got = encoded.tokens().read::<f32>().unwrap();
    let (scale, shift) = (values(&file, "norm.weight"), values(&file, "norm.bias"));
    for (token, position) in got.chunks_exact(WIDTH).zip(positions[WIDTH..].chunks_exact(WIDTH)) {
        let mean = position.iter().sum::<f64>() / WIDTH as f64;
        let variance = position.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / WIDTH as f64;
        for i in 0..WIDTH {
            let want = (position[i] - mean) / (variance + 1e-5).sqrt() * scale[i] + shift[i];
            assert!((f64::from(token[i]) - want).abs() < 1e-5, "{} is not {want}", token[i]);
        }
    }
}

/// The GPU that `STEROPES_DEVICE` names, which must then exist, else the first of this machine, a program if need be.
#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was not tested")]
pub(crate) fn gpu() -> Option<Device> {
    let selector = std::env::var("STEROPES_DEVICE").ok();
    if selector.is_none() && Device::gpus().is_empty() {
        eprintln!("no GPU on this machine, not even a program: nothing is compared");
        return None;
    }
    let device = Device::select(selector.as_deref().unwrap_or("gpu:0")).expect("the GPU opens");
    device.gpu().is_some().then_some(device)
}

#[test]
fn a_gpu_gives_what_the_cpu_gives() {
    let Some(gpu) = gpu() else { return };
    let encoder = DuneExtents { patch: 14, width: 64, depth: 2, side: 4, registers: 3 };
    let dpt = DptWidths { features: 16, last: 8, stages: [8, 16, 16, 24] };
    let extents = Extents { enc: 64, dec: 32, dec_depth: 4, dpt, ..encoder.pair() };
    let file = weight_file("gpu", &dune_parameters(&encoder, &extents), DType::F32);
    let args = "AsymmetricMASt3R(pos_embed='RoPE100', head_type='catmlp+dpt', output_mode='pts3d+desc24', \
                desc_conf_mode=('exp', 0, inf), two_confs=True, enc_embed_dim=64, enc_num_heads=2, \
                dec_embed_dim=32, dec_depth=4, dec_num_heads=1)";
    let config = serde_json::json!({ "mast3r_model_str": args }).to_string();
    let run = |device: &Device, precision: Precision| {
        let model = Model::from_bytes("net", &config, file.clone(), device, precision).unwrap();
        let [one, two] = [("a", [42, 70]), ("b", [56, 56])].map(|(name, [height, width])| {
            let pixels = uniform(name, 2 * 3 * height * width);
            model.encode(&model.image([2, height, width, 3], pixels).unwrap()).unwrap()
        });
        let both = model.decode_both(&one, &two).unwrap();
        [both.out11, both.out21, both.out22, both.out12]
    };
    let want = run(&Device::cpu(), Precision::F32);
    let mut precisions = vec![(Precision::F32, PairTolerance::of(WeightType::F32))];
    if gpu.gpu().is_some_and(|gpu| gpu.capabilities().f16) {
        precisions.push((Precision::F16, PairTolerance::of(WeightType::F16)));
    }
    for (precision, tolerance) in precisions {
        for (got, want) in run(&gpu, precision).iter().zip(&want) {
            for (got, want, allowed) in [
                (&got.points, &want.points, tolerance.points),
                (&got.confidence, &want.confidence, tolerance.points),
                (
                    got.descriptors.as_ref().unwrap(),
                    want.descriptors.as_ref().unwrap(),
                    tolerance.descriptors,
                ),
            ] {
                let want: Vec<f64> = want.read::<f32>().unwrap().into_iter().map(f64::from).collect();
                check_close(&floats(got).unwrap(), &want, Tolerance::OfLargest(allowed))
                    .unwrap_or_else(|e| panic!("{precision}: {e}"));
            }
        }
    }
}

#[test]
fn registers_are_as_many_as_the_file_has() {
    let sizes = [[28, 28], [28, 28]];
    let outputs: Vec<_> = [0, 1, 4].map(|n| points(&load(&weights("dune_backbone", n)), sizes)).into();
    assert!(outputs[0] != outputs[1] && outputs[1] != outputs[2]);
    let registers = "dune_backbone.register_tokens";
    let text = refused(|file| file.add(registers, &[1, 2, WIDTH + 1]));
    assert!(text.contains(&format!("`{registers}` must have shape [1, 2, 8], got [1, 2, 9]")), "{text}");
    let text = refused(|file| file.add(registers, &[2, WIDTH]));
    assert!(text.contains(&format!("`{registers}` must have shape with 3 extents, got [2, 8]")), "{text}");
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let names: Vec<String> = weights("dune_backbone", 0).0.into_keys().collect();
    for name in names {
        let text = refused(|file| {
            file.0.remove("dune_backbone.register_tokens");
            file.0.remove(&name);
        });
        let expected = if name == "dune_backbone.cls_token" {
            "has no DUNE encoder (`dune_backbone.cls_token`)".to_owned()
        } else {
            format!("tensor `{name}` is missing")
        };
        assert!(text.contains(&expected) && !text.contains('\n'), "{name}: {text}");
    }
    let text = refused(|file| file.add("dune_backbone.pos_embed", &[1, SIDE * SIDE, WIDTH]));
    assert!(
        text.contains("`dune_backbone.pos_embed` must have shape [1, 1 + a square, 8], got [1, 9, 8]"),
        "{text}"
    );
    let text = refused(|file| file.add("dune_backbone.pos_embed", &[1, 1, WIDTH]));
    assert!(text.contains("must have shape [1, 1 + a square, 8], got [1, 1, 8]"), "{text}");
    let text = refused(|file| file.add("dune_backbone.patch_embed.proj.weight", &[WIDTH, 3, 16, 16]));
    assert!(text.contains("must have shape [8, 3, 14, 14], got [8, 3, 16, 16]"), "{text}");
    let text = refused(|file| file.norms("dune_backbone.blocks.0.2", &["norm1"]));
    assert!(text.contains("holds 2 tensors that this network has no place for"), "{text}");
    let text = refused(|file| file.add("mast3r.other", &[1]));
    assert!(text.contains("the first is `mast3r.other`"), "{text}");
    let wrong_patch = config().replace("enc_depth=0", "patch_size=16");
    let text = load_with(&wrong_patch, &weights("dune_backbone", 2)).unwrap_err().to_string();
    assert!(text.contains("must have shape [8, 3, 16, 16], got [8, 3, 14, 14]"), "{text}");
    for (json, part) in [
        (
            config().replace("enc_num_heads=2", "enc_num_heads=3"),
            "`mast3r_model_str`: `enc_num_heads` must divide the width 8",
        ),
        (config().replace('}', r#", "args": "M()"}"#), "one of `args` and `mast3r_model_str`"),
        (r#"{"mast3r_model_str": 3}"#.to_owned(), "`mast3r_model_str` must be a text"),
    ] {
        let text = Config::from_json("config.json", &json).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }
    let model = load(&weights("dune_backbone", 2));
    for (height, width) in [(28, 30), (16, 28), (0, 28)] {
        let text = model.encode(&picture("a", height, width)).unwrap_err().to_string();
        assert!(text.contains("sides that are multiples of 14"), "{text}");
    }
}
