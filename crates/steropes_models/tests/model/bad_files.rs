//! Model files that are damaged, incomplete or of another network: one line each, before anything runs.

use crate::files::{Stored, WeightFile, embedded_folder, picture};
use half::{bf16, f16};
use safetensors::Dtype;
use std::path::Path;
use steropes_models::{Config, Model, ModelError, Precision};
use steropes_tensor::Device;

fn load(config: &str, weights: impl Into<Vec<u8>>) -> Result<Model, ModelError> {
    Model::from_bytes("net", config, weights.into(), &Device::cpu(), Precision::F32)
}

/// The message for weights of the smallest network after `change`.
fn message(change: impl FnOnce(&mut WeightFile)) -> String {
    let mut file = WeightFile::smallest();
    change(&mut file);
    one_line(load(&WeightFile::smallest_config(), file.bytes()))
}

fn one_line(result: Result<Model, ModelError>) -> String {
    let text = result.expect_err("the model must be refused").to_string();
    assert!(!text.contains('\n') && !text.contains("  "), "{text}");
    text
}

fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in: {text}");
}

#[test]
fn the_smallest_network_runs() {
    let model = load(&WeightFile::smallest_config(), WeightFile::smallest().bytes()).unwrap();
    let (one, two) =
        (model.encode(&picture("a", 8, 12)).unwrap(), model.encode(&picture("b", 4, 4)).unwrap());
    let (view1, view2) = model.decode(&one, &two).unwrap();
    assert_eq!((view1.points.shape(), view2.points.shape()), (&[1, 8, 12, 3][..], &[1, 4, 4, 3][..]));
    assert!(view1.descriptors.is_none() && view1.descriptor_confidence.is_none());
    assert!(view1.points.read::<f32>().unwrap().iter().all(|v| v.is_finite()));
}

#[test]
fn a_file_of_the_wrong_length_or_format_is_refused() {
    let (config, good) = (WeightFile::smallest_config(), WeightFile::smallest().bytes());
    for cut in [good.len() / 2, good.len() - 1] {
        let text = one_line(load(&config, &good[..cut]));
        assert_eq!(
            text,
            format!(
                "`net` is truncated or was appended to: it has {cut} bytes, its header speaks of {}; get the file again",
                good.len()
            )
        );
    }
    assert_contains(&one_line(load(&config, &good[..100])), "is truncated");
    assert_contains(&one_line(load(&config, [&good[..], b"more"].concat())), "was appended to");
    for bad in [&b""[..], &[0xff; 4000], b"<!DOCTYPE html><html>Not Found</html>", &[0; 64]] {
        assert_contains(&one_line(load(&config, bad)), "`net` is no valid safetensors file");
    }
    assert_contains(&one_line(load(&config, b"PK\x03\x04")), "`net` is no valid torch file");
    let mut broken = good;
    broken[9] = b'!';
    assert_contains(&one_line(load(&config, broken)), "is no valid safetensors file");
}

#[test]
fn a_missing_tensor_is_named_by_its_full_path() {
    for name in WeightFile::smallest().0.keys() {
        let text = message(|file| drop(file.0.remove(name)));
        assert_eq!(
            text,
            format!("`net`: tensor `{name}` is missing; check that config.json belongs to this file")
        );
    }
}

#[test]
fn a_wrong_shape_is_named_with_both_shapes() {
    let text = message(|file| file.add("dec_blocks2.0.cross_attn.projk.weight", &[8, 9]));
    assert_contains(&text, "`dec_blocks2.0.cross_attn.projk.weight` must have shape [8, 8], got [8, 9]");
    for name in WeightFile::smallest().0.keys() {
        // The same number of values under one extent more.
        let text = message(|file| file.tensor(name).shape.push(1));
        assert_contains(&text, &format!("tensor `{name}` must have shape"));
    }
}

#[test]
fn values_that_are_not_finite_are_refused() {
    for (value, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let text = message(|file| {
            file.tensor("enc_blocks.0.mlp.fc1.weight").bytes[40..44].copy_from_slice(&value.to_le_bytes());
        });
        assert_contains(&text, "`enc_blocks.0.mlp.fc1.weight` must hold finite values");
        assert_contains(&text, &format!("element 10 is {word}"));
    }
    let text = message(|file| {
        let tensor = file.tensor("enc_norm.weight");
        *tensor = Stored { dtype: Dtype::F16, shape: vec![8], bytes: f16::INFINITY.to_le_bytes().repeat(8) };
    });
    assert_contains(&text, "`enc_norm.weight` must hold finite values, element 0 is inf");
}

#[test]
fn other_element_types_are_refused() {
    let text = message(|file| {
        file.tensor("enc_norm.bias").dtype = Dtype::I32;
    });
    assert_contains(&text, "`enc_norm.bias` must hold f32, f16 or bf16, got I32");
}

#[test]
fn leftover_tensors_are_refused_and_known_unused_ones_are_not() {
    let text = message(|file| {
        file.add("enc_blocks.1.norm1.weight", &[8]);
        file.add("zzz", &[1]);
    });
    assert_contains(&text, "holds 2 tensors that this network has no place for");
    assert_contains(&text, "the first is `enc_blocks.1.norm1.weight`");
    let mut file = WeightFile::smallest();
    file.add("mask_token", &[1, 1, 8]);
    file.add("prediction_head.weight", &[2, 8]);
    let model = load(&WeightFile::smallest_config(), file.bytes()).unwrap();
    let plain = load(&WeightFile::smallest_config(), WeightFile::smallest().bytes()).unwrap();
    assert_eq!(model.info().parameters, plain.info().parameters);
}

#[test]
fn one_stack_of_decoder_blocks_serves_both_views() {
    let mut file = WeightFile::smallest();
    file.0.retain(|name, _| !name.starts_with("dec_blocks2"));
    let model = load(&WeightFile::smallest_config(), file.bytes()).unwrap();
    let plain = load(&WeightFile::smallest_config(), WeightFile::smallest().bytes()).unwrap();
    assert!(model.info().parameters < plain.info().parameters);
    // A stack that is there in part is damaged.
    let text = message(|file| file.0.retain(|n, _| !n.starts_with("dec_blocks2") || n.contains("attn.qkv")));
    assert_contains(&text, "tensor `dec_blocks2.0.norm1.weight` is missing");
}

#[test]
fn all_stored_float_types_give_the_same_network() {
    let mut stored = [WeightFile::smallest(), WeightFile::smallest(), WeightFile::smallest()];
    for name in WeightFile::smallest().0.keys() {
        // Multiples of 1/64 below 1 are exact in all three types.
        let old = stored[0].tensor(name).bytes.clone();
        let values: Vec<f32> = old
            .chunks_exact(4)
            .map(|b| (f32::from_le_bytes(b.try_into().unwrap()) * 64.0).round() / 64.0)
            .collect();
        let encoded: [(Dtype, Vec<u8>); 3] = [
            (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            (Dtype::F16, values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()),
            (Dtype::BF16, values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect()),
        ];
        for (file, (dtype, bytes)) in stored.iter_mut().zip(encoded) {
            let tensor = file.tensor(name);
            (tensor.dtype, tensor.bytes) = (dtype, bytes);
        }
    }
    let points = stored.map(|file| {
        let model = load(&WeightFile::smallest_config(), file.bytes()).unwrap();
        let encoded = model.encode(&picture("a", 8, 8)).unwrap();
        model.decode(&encoded, &encoded).unwrap().0.points.read::<f32>().unwrap()
    });
    assert!(points[0] == points[1] && points[0] == points[2]);
}

#[test]
fn both_names_of_the_fusion_convolutions_are_read() {
    let config = std::fs::read_to_string(embedded_folder().join("config.json")).unwrap();
    let (first, alias) =
        ("downstream_head2.dpt.scratch.layer3_rn.weight", "downstream_head2.dpt.scratch.layer_rn.2.weight");
    let mut renamed = WeightFile::embedded();
    let tensor = renamed.0.remove(first).unwrap();
    renamed.0.insert(alias.to_owned(), tensor.clone());
    load(&config, renamed.bytes()).unwrap();
    let mut twice = renamed;
    twice.0.insert(first.to_owned(), tensor);
    load(&config, twice.bytes()).unwrap();
    twice.tensor(alias).bytes[0] ^= 1;
    let text = one_line(load(&config, twice.bytes()));
    assert_contains(&text, &format!("`{first}` and `{alias}` are two names of one tensor but differ"));
    let mut none = WeightFile::embedded();
    none.0.remove(first);
    assert_contains(&one_line(load(&config, none.bytes())), &format!("tensor `{first}` is missing"));
    let mut extra = WeightFile::embedded();
    for i in [1, 2] {
        extra.add(
            &format!("downstream_head{i}.dpt.scratch.refinenet4.resConfUnit1.conv1.weight"),
            &[64, 64, 3, 3],
        );
    }
    load(&config, extra.bytes()).unwrap();
}

#[test]
fn a_wrong_configuration_is_refused_with_its_key() {
    let good = "pos_embed='RoPE100', enc_embed_dim=8, enc_num_heads=2, dec_embed_dim=8, dec_num_heads=1";
    for (args, part) in [
        ("M(".to_owned(), "`args`: expected a name"),
        (
            format!("Other({good})"),
            "the class must be AsymmetricMASt3R or AsymmetricCroCo3DStereo, got `Other`",
        ),
        (format!("AsymmetricMASt3R({good}, qk_norm=True)"), "`qk_norm` is not known"),
        (
            "AsymmetricMASt3R()".to_owned(),
            "`pos_embed` must be RoPE and a base such as RoPE100, got `cosine`",
        ),
        (format!("AsymmetricMASt3R({good}, enc_depth=0)"), "`enc_depth` must be a whole number from 1"),
        (format!("AsymmetricMASt3R({good}, enc_depth='x')"), "`enc_depth` must be a whole number"),
        (format!("AsymmetricMASt3R({good}, dec_depth=99999999999)"), "`dec_depth` must be a whole number"),
        (
            good.replace("heads=2", "heads=3"),
            "`enc_num_heads` must split the width 8 into multiples of 4, got 3",
        ),
        (
            format!("{good}, head_type='catconv'"),
            "`head_type` must be linear, dpt or catmlp+dpt, got `catconv`",
        ),
        (format!("{good}, head_type='catmlp+dpt'"), "`output_mode` must be pts3d+desc and a number"),
        (format!("{good}, output_mode='pts3d+desc24'"), "`output_mode` must be pts3d for this head"),
        (format!("{good}, head_type='dpt', dec_depth=1"), "`dec_depth` must be at least 2"),
        (format!("{good}, conf_mode=None"), "`conf_mode` must not be None"),
        (
            format!("{good}, conf_mode=('exp', 1)"),
            "`conf_mode` must be a name and two bounds, got (`exp`, 1)",
        ),
        (
            format!("{good}, conf_mode=('sigmoid', 0, inf)"),
            "the bounds of `conf_mode` must be finite and rise",
        ),
        (format!("{good}, depth_mode=('exp', 0, inf)"), "the bounds of `depth_mode` must be -inf and inf"),
        (format!("{good}, depth_mode=('cube', -inf, inf)"), "`depth_mode` must be linear, square or exp"),
        (format!("{good}, mlp_ratio=-1"), "`mlp_ratio` must be above 0"),
        (
            format!("{good}, two_confs=1, head_type='catmlp+dpt', output_mode='pts3d+desc2'"),
            "`two_confs` must be true",
        ),
    ] {
        let args = if args.contains('(') && args.starts_with(|c: char| c.is_uppercase()) {
            args
        } else {
            format!("AsymmetricMASt3R({args})")
        };
        let text = Config::from_args("config.json", &args).unwrap_err().to_string();
        assert_contains(&text, part);
        assert!(text.starts_with("`config.json`: `args`: ") && !text.contains('\n'), "{text}");
        let json = serde_json::json!({ "args": args }).to_string();
        assert_eq!(Config::from_json("config.json", &json).unwrap_err().to_string(), text);
    }
}

#[test]
fn a_wrong_config_json_is_refused() {
    let args =
        serde_json::from_str::<serde_json::Value>(&WeightFile::smallest_config()).unwrap()["args"].clone();
    for (json, part) in [
        ("".to_owned(), "is no valid JSON"),
        ("[]".to_owned(), "must be a JSON object"),
        ("{}".to_owned(), "`pos_embed` must be RoPE"),
        (r#"{"args": 3}"#.to_owned(), "`args` must be a text"),
        (format!(r#"{{"args": {args}, "tied": ["a"]}}"#), "`tied` must map paths"),
        (format!(r#"{{"args": {args}, "tied": {{"a": "b", "b": "c"}}}}"#), "`b` is tied itself"),
        (format!(r#"{{"args": {args}, "square_ok": 1}}"#), "`square_ok` must be true or false"),
        (
            format!(r#"{{"args": {args}, "train_long_side": [0]}}"#),
            "`train_long_side` must be a list of lengths",
        ),
        (format!(r#"{{"args": {args}, "norm_eps": 0}}"#), "`norm_eps` must be a number between 0 and 1"),
    ] {
        let text = Config::from_json("config.json", &json).unwrap_err().to_string();
        assert_contains(&text, part);
        assert!(text.starts_with("`config.json`: "), "{text}");
    }
    let folder = embedded_folder();
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let other = text.replace("enc_depth=10", "enc_depth=11");
    let weights = WeightFile::embedded();
    assert_contains(
        &one_line(load(&other, weights.bytes())),
        "tensor `enc_blocks.10.norm1.weight` is missing",
    );
    let other = text.replace("enc_depth=10", "enc_depth=9");
    assert_contains(&one_line(load(&other, weights.bytes())), "the first is `enc_blocks.9.attn.proj.bias`");
    let other = text.replace("\"dec_blocks2\": \"dec_blocks\"", "\"dec_blocks2\": \"blocks\"");
    assert_contains(&one_line(load(&other, weights.bytes())), "tensor `blocks.0.norm1.weight` is missing");
    let mut hooks: serde_json::Value = serde_json::from_str(&text).unwrap();
    hooks["dpt_hooks"] = serde_json::json!([0, 2, 4, 6]);
    let text = Config::from_json("c", &hooks.to_string()).unwrap_err().to_string();
    assert_contains(&text, "`dpt_hooks` must be [0, 4, 6, 8], got [0,2,4,6]");
}

#[test]
fn paths_that_hold_no_model_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| one_line(Model::open(path, &Device::cpu(), Precision::F32));
    let at = |name: &str| folder.path().join(name);
    assert_contains(&open(&at("nowhere.safetensors")), "cannot read");
    assert_contains(&open(folder.path()), "the folder holds neither model.safetensors nor");
    std::fs::write(at("model.safetensors"), b"").unwrap();
    assert_contains(&open(folder.path()), "is no valid safetensors file");
    let good = WeightFile::smallest().bytes();
    std::fs::write(at("model.safetensors"), &good[..good.len() / 2]).unwrap();
    assert_contains(&open(&at("model.safetensors")), "is truncated");
    std::fs::write(at("model.safetensors"), &good).unwrap();
    assert_contains(&open(folder.path()), "config.json");
    std::fs::write(at("config.json"), WeightFile::smallest_config()).unwrap();
    std::fs::write(at("weights.pth"), b"PK\x03\x04").unwrap();
    assert_contains(&open(&at("weights.pth")), "weights.pth` is no valid torch file");
    std::fs::write(at("my net.safetensors"), &good).unwrap();
    let model = Model::open(&at("my net.safetensors"), &Device::cpu(), Precision::F32).unwrap();
    assert_eq!(model.info().name, "my net");
    let model = Model::open(folder.path(), &Device::cpu(), Precision::F32).unwrap();
    assert_eq!(model.info().name, folder.path().file_name().unwrap().to_str().unwrap());
}
