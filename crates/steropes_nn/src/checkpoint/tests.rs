//! Weight files of all formats, sound and damaged.

use super::*;
use crate::Weights;
use ::safetensors::tensor::TensorView;
use std::path::PathBuf;
use steropes_tensor::Device;
use steropes_testkit::torch_file::{Pickle, archive, checkpoint};

const ALL_TYPES: &[u8] = include_bytes!("../../tests/fixtures/all_types.pth");
const VJEPA: &[u8] = include_bytes!("../../tests/fixtures/vjepa.pt");
const CODEBOOKS: [&[u8]; 5] = [
    include_bytes!("../../tests/fixtures/codebook_2C.pkl"),
    include_bytes!("../../tests/fixtures/codebook_3F.pkl"),
    include_bytes!("../../tests/fixtures/codebook_4C.pkl"),
    include_bytes!("../../tests/fixtures/codebook_5F.pkl"),
    include_bytes!("../../tests/fixtures/codebook_5C.pkl"),
];

fn empty() -> Checkpoint {
    Checkpoint::from_bytes("empty", [&2u64.to_le_bytes()[..], b"{}"].concat()).unwrap()
}

fn open(bytes: impl Into<Vec<u8>>) -> Result<Checkpoint, LoadError> {
    Checkpoint::from_bytes("net", bytes.into())
}

/// The message of a refusal, which is one line that names the file.
#[track_caller]
fn refusal<T>(result: Result<T, LoadError>) -> String {
    let text = match result {
        Ok(_) => panic!("the file must be refused"),
        Err(error) => error.to_string(),
    };
    assert!(
        (text.starts_with('`') || text.starts_with("cannot read `"))
            && !text.contains('\n')
            && !text.contains("  "),
        "{text}"
    );
    text
}

fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in: {text}");
}

/// A file whose top level is a dictionary with one tensor of the pickle, and a storage 0 of 24 bytes.
fn one_tensor(tensor: impl FnOnce(Pickle) -> Pickle) -> Vec<u8> {
    let pickle = tensor(Pickle::default().raw(b"}").text("w")).raw(b"s").end();
    archive(&[("x/data.pkl", pickle), ("x/data/0", vec![1; 24])])
}

/// A file with `pickle` in it.
fn with_pickle(pickle: Vec<u8>) -> Vec<u8> {
    archive(&[("x/data.pkl", pickle), ("x/data/0", vec![1; 24])])
}

fn values(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Vec<f32> {
    Weights::new(checkpoint, &Device::cpu()).values(name, shape).unwrap()
}

#[test]
fn ties_hold_for_whole_components_of_a_path() {
    let tie = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let checkpoint = empty().with_ties(&[tie("dec", "enc"), tie("head2.mlp", "head1.mlp")]);
    for (path, stored) in [
        ("dec", "enc"),
        ("dec.0.weight", "enc.0.weight"),
        ("dec2.0.weight", "dec2.0.weight"),
        ("a.dec.0", "a.dec.0"),
        ("head2.mlp.fc1.bias", "head1.mlp.fc1.bias"),
        ("head2.mlp2", "head2.mlp2"),
    ] {
        assert_eq!(checkpoint.stored_path(path), stored);
    }
}

#[test]
fn ties_in_a_circle_end() {
    let tie = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let path = empty().with_ties(&[tie("a", "b"), tie("b", "a")]).stored_path("a.x");
    assert_eq!(path, "a.x");
}

#[test]
fn a_file_of_torch_gives_every_type_view_and_alias() {
    let file = open(ALL_TYPES).unwrap();
    let base: Vec<f32> = (0..24u8).map(|i| f32::from(i) / 8.0).collect();
    for name in ["f32", "f16", "bf16"] {
        assert_eq!(values(&file, name, &[4, 6]), base, "{name}");
    }
    let transposed: Vec<f32> =
        (0..6).flat_map(|c| (0..4).map(move |r| (r, c))).map(|(r, c)| base[r * 6 + c]).collect();
    assert_eq!(values(&file, "transposed", &[6, 4]), transposed);
    assert_eq!(values(&file, "row2", &[6]), base[12..18]);
    assert_eq!(values(&file, "column1", &[4]), [1, 7, 13, 19].map(|i| base[i]));
    assert_eq!(values(&file, "window", &[2, 3]), [8, 9, 10, 14, 15, 16].map(|i| base[i]));
    assert_eq!(values(&file, "scalar", &[]), [2.5]);
    assert_eq!(values(&file, "parameter", &[2, 2]), [1.0; 4]);
    assert!(values(&file, "empty", &[0, 3]).is_empty());
    for (name, dtype, bytes) in [
        ("i64", Dtype::I64, [(-5i64).to_le_bytes(), (1i64 << 40).to_le_bytes()].concat()),
        ("i32", Dtype::I32, [7i32.to_le_bytes(), (-7i32).to_le_bytes()].concat()),
        ("u8", Dtype::U8, vec![0, 255]),
        ("bool", Dtype::BOOL, vec![1, 0, 1]),
    ] {
        let entry = file.entry(name).unwrap();
        assert_eq!((entry.dtype, &*file.data(entry)), (dtype, &bytes[..]), "{name}");
    }
    let (first, alias) = ("scratch.layer1_rn.weight", "scratch.layer_rn.0.weight");
    assert_eq!((file.stored_path(alias), file.stored_path(first)), (first.to_owned(), first.to_owned()));
    assert_eq!(values(&file, alias, &[3, 5])[..6], [1.0, 1.125, 1.25, 1.375, 1.5, 1.75]);
}

#[test]
fn doubles_are_read_as_they_are_and_only_as_such() {
    let file = open(ALL_TYPES).unwrap();
    let device = Device::cpu();
    let weights = Weights::new(&file, &device);
    let thirds: Vec<f64> = (0..24u8).map(|i| f64::from(i) / 8.0 / 3.0).collect();
    assert_eq!(weights.values_f64("f64", &[4, 6]).unwrap(), thirds);
    assert_eq!(weights.values_f64("f16", &[4, 6]).unwrap()[9], 1.125);
    let text = refusal(weights.values("f64", &[4, 6]));
    assert_eq!(text, "`net`: tensor `f64` must hold f32, f16 or bf16, got F64; convert the file");
    let text = refusal(weights.values_f64("i64", &[2]));
    assert_contains(&text, "must hold f64, f32, f16 or bf16, got I64");
}

#[test]
fn what_a_file_says_beside_its_tensors_is_reachable() {
    let file = open(ALL_TYPES).unwrap();
    let value = |path| file.value(path).cloned();
    assert_eq!(file.value("args.model").and_then(Value::as_text), Some("AsymmetricMASt3R(enc_depth=24)"));
    assert_eq!(value("args.epochs"), Some(Value::Int(50)));
    assert_eq!(value("args.lr"), Some(Value::Float(1e-4)));
    assert_eq!(value("args.resume"), Some(Value::None));
    assert_eq!(value("args.amp"), Some(Value::Bool(true)));
    assert_eq!(value("args.output_dir"), Some(Value::Text("/out/x".to_owned())));
    assert_eq!(value("args.sizes"), Some(Value::List(vec![Value::Int(512), Value::Int(384)])));
    assert_eq!(value("args.opts.a"), Some(Value::List(vec![Value::Int(1), Value::Int(2)])));
    assert_eq!(value("epoch"), Some(Value::Int(3)));
    assert_eq!((value("args.none"), value("model"), value("args.model.x")), (None, None, None));
    assert!(matches!(value("args.seed"), Some(Value::Opaque(_))));
}

#[test]
fn tensors_of_dictionaries_in_a_list_have_its_places_in_their_names() {
    let tensor = |p: Pickle, name: &str, at: i64| p.text(name).tensor("FloatStorage", "0", 2, at, &[1], &[1]);
    let pickle = Pickle::default().raw(b"}(").text("heads").raw(b"](}(");
    let pickle = tensor(pickle, "module.linear.bias", 0).raw(b"u}(");
    let pickle = tensor(pickle, "module.linear.bias", 1).raw(b"ue");
    // Lists of anything else are values, empty ones too.
    let pickle = pickle.text("sizes").raw(b"](").int(3).raw(b"e").text("none").raw(b"]").raw(b"u").end();
    let storage: Vec<u8> = [1.5f32, 2.5].into_iter().flat_map(f32::to_le_bytes).collect();
    let file = archive(&[("archive/data.pkl", pickle), ("archive/data/0", storage)]);
    let file = open(file).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["heads.0.linear.bias", "heads.1.linear.bias"]);
    assert_eq!(values(&file, "heads.1.linear.bias", &[1]), [2.5]);
    assert_eq!(file.value("heads"), None);
    assert_eq!(file.value("sizes"), Some(&Value::List(vec![Value::Int(3)])));
    assert_eq!(file.value("none"), Some(&Value::List(Vec::new())));
}

#[test]
fn integers_of_every_length_are_read() {
    for (instruction, value) in [
        (&b"\x8a\x00"[..], Value::Int(0)),
        (b"\x8a\x01\xff", Value::Int(-1)),
        (b"\x8a\x02\x00\x80", Value::Int(-32768)),
        (b"\x8b\x02\x00\x00\x00\xff\x00", Value::Int(255)),
        (b"J\xfe\xff\xff\xff", Value::Int(-2)),
        (b"M\xff\xff", Value::Int(65535)),
        (b"K\xff", Value::Int(255)),
    ] {
        let file = one_tensor(|p| {
            let tensor = p.tensor("FloatStorage", "0", 6, 0, &[6], &[1]);
            tensor.raw(b"s").text("int").raw(instruction)
        });
        assert_eq!(open(file).unwrap().value("int"), Some(&value), "{instruction:?}");
    }
}

#[test]
fn empty_tensors_are_no_aliases() {
    let file = one_tensor(|p| {
        let first = p.tensor("FloatStorage", "0", 6, 0, &[0, 2], &[2, 1]).raw(b"s").text("x");
        first.tensor("FloatStorage", "0", 6, 0, &[0, 2], &[2, 1])
    });
    assert_eq!(open(file).unwrap().summary().aliases, 0);
}

#[test]
fn summaries_count_what_is_shared_once() {
    let summary = open(ALL_TYPES).unwrap().summary();
    assert_eq!((summary.container, summary.family), (Container::Torch, Family::Unknown));
    assert_eq!((summary.names, summary.aliases), (17, 1));
    // Four views of one storage are four tensors; their bytes count once.
    let f32s = 24 + 15 + 24 + 6 + 4 + 6 + 1 + 4;
    assert_eq!(summary.element_types["f32"], f32s);
    assert_eq!(summary.parameters, f32s + 3 * 24 + 2 + 2 + 2 + 3);
    assert_eq!(summary.bytes, 4 * (24 + 15 + 24 + 1 + 4) + 24 * (2 + 2 + 8) + 16 + 8 + 2 + 3);
    let vjepa = open(VJEPA).unwrap();
    let names: Vec<&str> = vjepa.names().collect();
    let block = "backbone.blocks.0.weight";
    assert_eq!(
        names,
        [format!("encoder.{block}"), "predictor.backbone.proj".into(), format!("target_encoder.{block}")]
    );
    assert_eq!(vjepa.stored_path("target_encoder"), "encoder");
    let summary = vjepa.summary();
    assert_eq!((summary.family, summary.aliases, summary.parameters), (Family::VJepa, 1, 30));
}

#[test]
fn families_are_known_by_their_names() {
    for (family, names) in [
        (Family::Mast3r, &["dec_blocks.0.x", "downstream_head1.head_local_features.fc1.bias"][..]),
        (Family::Dust3r, &["dec_blocks.0.x", "downstream_head1.proj.bias"]),
        (Family::Croco, &["dec_blocks.0.x", "prediction_head.bias"]),
        (Family::DuneMast3r, &["mast3r.dec_blocks.0.x", "norm.weight"]),
        (Family::DuneEncoder, &["encoder.blocks.0.0.attn.qkv.weight", "encoder.patch_embed.proj.weight"]),
        (Family::DuneEncoder, &["blocks.0.0.attn.qkv.weight", "patch_embed.proj.weight"]),
        (Family::Retrieval, &["prewhiten.m", "prewhiten.p"]),
        (Family::VJepa, &["target_encoder.x", "predictor.x"]),
        (Family::Unknown, &["encoder.x", "dec_blocks2"]),
    ] {
        let tensors: Vec<_> = names.iter().map(|name| ((*name).to_owned(), vec![1], vec![0.5])).collect();
        assert_eq!(open(checkpoint("", &tensors, &[])).unwrap().summary().family, family, "{names:?}");
    }
}

#[test]
fn networks_of_video_are_known_by_an_embedding_in_time() {
    let family = |names: [&str; 2], extents: usize| {
        let shapes = [vec![1; extents], vec![1]];
        let tensors: Vec<_> =
            names.iter().zip(shapes).map(|(name, shape)| ((*name).to_owned(), shape, vec![0.5])).collect();
        open(checkpoint("", &tensors, &[])).unwrap().summary().family
    };
    let official = ["backbone.patch_embed.proj.weight", "backbone.blocks.0.attn.qkv.weight"];
    let renamed = [
        "vjepa2.encoder.embeddings.patch_embeddings.proj.weight",
        "vjepa2.encoder.layer.0.attention.query.weight",
    ];
    for names in [official, renamed] {
        assert_eq!((family(names, 5), family(names, 4)), (Family::VJepa, Family::Unknown));
    }
}

#[test]
fn a_subtree_is_shared_only_if_all_of_it_is() {
    let tensors =
        ["a.0.w", "a.1.w", "b.0.w", "c.0.w", "c.1.w"].map(|name| (name.to_owned(), vec![2], vec![0.25, 0.5]));
    let alias = |name: &str, of: &str| (name.to_owned(), of.to_owned());
    let file = |aliases: &[(String, String)]| open(checkpoint("", &tensors, aliases)).unwrap();
    let both = file(&[alias("a2.0.w", "a.0.w"), alias("a2.1.w", "a.1.w")]);
    assert_eq!(
        (both.stored_path("a2"), both.stored_path("a2.1"), both.stored_path("a2.1.w")),
        ("a".to_owned(), "a.1".to_owned(), "a.1.w".to_owned())
    );
    assert_eq!(both.stored_path("a2.2"), "a2.2");
    // A part, a mixture, or two sources.
    assert_eq!(file(&[alias("a2.0.w", "a.0.w")]).stored_path("a2"), "a2");
    assert_eq!(file(&[alias("b2.0.w", "b.0.w"), alias("b2.1.w", "a.1.w")]).stored_path("b2"), "b2");
    assert_eq!(file(&[alias("a2.0.w", "a.0.w"), alias("a2.1.w", "c.1.w")]).stored_path("a2"), "a2");
}

#[test]
fn aliases_count_as_read_with_their_tensor() {
    let tensors = [("w".to_owned(), vec![2], vec![0.25, 0.5])];
    let file = open(checkpoint("", &tensors, &[("also".to_owned(), "w".to_owned())])).unwrap();
    assert_contains(
        &refusal(file.check_leftovers(|_| false)),
        "holds 2 tensors that this network has no place for",
    );
    assert_eq!(values(&file, "w", &[2]), [0.25, 0.5]);
    file.check_leftovers(|_| false).unwrap();
    assert_eq!(file.values_read(), 2);
}

#[test]
fn wrong_extents_and_places_of_tensors_are_refused() {
    let tensor = |count, offset, shape: &[i64], strides: &[i64]| {
        open(one_tensor(|p| p.tensor("FloatStorage", "0", count, offset, shape, strides)))
    };
    let large = i64::MAX;
    for (offset, shape, strides) in [
        (0, &[2, 3][..], &[3, 1][..]),
        (0, &[0, 1 << 40], &[1, 1]),
        (2, &[2], &[3]),
        (6, &[0], &[1]),
        (0, &[], &[]),
        (0, &[1, 6], &[large, 1]),
    ] {
        tensor(6, offset, shape, strides).unwrap();
    }
    for (offset, shape, strides) in [
        (1, &[2, 3][..], &[3, 1][..]),
        (0, &[2, 3], &[4, 1]),
        (7, &[0], &[1]),
        (large, &[1], &[1]),
        (large, &[large], &[large]),
        (0, &[large, large], &[1, 1]),
        (0, &[large, 4, 0], &[1, 1, 1]),
        (0, &[2, 2], &[large, large]),
        (0, &[large], &[1]),
        (0, &[2], &[large]),
        (0, &[6], &[]),
        (0, &[], &[1]),
    ] {
        let text = refusal(tensor(6, offset, shape, strides));
        assert_contains(&text, "`net` is no valid torch file (tensor `w`: shape ");
        assert_contains(&text, "does not fit a storage of 6 elements); get the file again");
    }
    for (offset, shape, strides) in
        [(-1, &[2][..], &[1][..]), (0, &[-2], &[1]), (0, &[2], &[-1]), (0, &[i64::MIN], &[1])]
    {
        assert_contains(&refusal(tensor(6, offset, shape, strides)), "must be whole numbers from 0");
    }
    let text = refusal(tensor(6, 0, &[1 << 40, 6], &[0, 1]));
    assert_contains(
        &text,
        "tensor `w` repeats the elements of its storage (strides [0, 1]); save it after .contiguous()",
    );
    for count in [5, 7, -1, large, 1 << 62] {
        assert_contains(&refusal(tensor(count, 0, &[2], &[1])), "tensor `w`: ");
    }
}

#[test]
fn storages_of_another_type_or_place_are_refused() {
    let class = |class: &str| open(one_tensor(|p| p.tensor(class, "0", 6, 0, &[6], &[1])));
    assert_contains(
        &refusal(class("DoubleStorage")),
        "storage 0 must hold 6 elements of type F64, got 24 bytes",
    );
    assert_contains(&refusal(class("Size")), "the description of its storage is incomplete");
    assert_contains(&refusal(class("ComplexFloatStorage")), "`torch.ComplexFloatStorage`, which is not read");
    for key in ["1", "../0", "", "0/../0"] {
        let text = refusal(open(one_tensor(|p| p.tensor("FloatStorage", key, 6, 0, &[6], &[1]))));
        assert_contains(&text, &format!("entry `data/{key}` of its archive is missing"));
    }
    let text = refusal(open(one_tensor(|p| p.global("torch._utils", "_rebuild_tensor_v2").raw(b")R"))));
    assert_contains(&text, "its description is incomplete");
}

#[test]
fn no_function_of_a_file_is_called_and_unknown_ones_are_named() {
    let call = |module: &str, name: &str| {
        let call = Pickle::default().global(module, name).raw(b"(").text("touch /tmp/x").raw(b"tR").end();
        refusal(open(with_pickle(call)))
    };
    assert_eq!(
        call("os", "system"),
        "`net`: it holds a Python object `os.system`, which is not read, and no code of a file is run; \
         save its state_dict() alone"
    );
    assert_contains(&call("posix", "system"), "`posix.system`");
    assert_contains(&call("__builtin__", "eval"), "`builtins.eval`");
    assert_contains(&call("numpy.core.multiarray", "fromfile"), "`numpy._core.multiarray.fromfile`");
    assert_contains(&call("torch", &"x".repeat(5000)), "xxx..`, which is not read");
    // The same by the instructions of protocol 4, and as the class of an object.
    let stacked = Pickle::default().text("os").text("system").raw(b"\x93").end();
    assert_contains(&refusal(open(with_pickle(stacked))), "`os.system`");
    let object = Pickle::default().raw(b"(ios\nsystem\n").end();
    assert_contains(&refusal(open(with_pickle(object))), "the instruction 0x69, which is not read");
    // What may be named is not called either.
    let known = Pickle::default().raw(b"}").text("w").tensor("FloatStorage", "0", 6, 0, &[6], &[1]).raw(b"s");
    let known =
        known.text("p").global("pathlib", "PosixPath").raw(b"(").text("a").text("b").raw(b"tRs").end();
    assert_eq!(open(with_pickle(known)).unwrap().value("p"), Some(&Value::Text("a/b".to_owned())));
}

#[test]
fn damaged_pickles_are_refused() {
    let start = Pickle::default;
    for (pickle, part) in [
        (vec![], "ends in the middle"),
        (start().raw(b"}").raw(b"N").end(), "left over"),
        (start().raw(b"}").end().into_iter().chain(*b"N").collect(), "1 bytes follow the end"),
        (start().end(), "takes more values than it has"),
        (start().raw(b"(.").end(), "takes more values"),
        (start().raw(b"t").end(), "closes what it never opened"),
        (start().raw(b"h\x05").end(), "recalls what it never stored"),
        (start().raw(b"N(0b").end(), "takes more values"),
        (start().raw(b"}(Nu").end(), "has no value"),
        (start().raw(b"NNb").end(), "sets fields of what is no object"),
        (start().raw(b"NNa").end(), "appends to what is no list"),
        (start().raw(b"NNNs").end(), "sets items of what is no dictionary"),
        (start().raw(b"N)R").end(), "calls what is no function"),
        (start().raw(b"X\xff\xff\xff\xffabc").end(), "ends in the middle"),
        (start().raw(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc").end(), "ends in the middle"),
        (start().raw(b"X\x01\0\0\0\xff").end(), "no UTF-8"),
        (vec![0x80, 1, b'.'], "protocol 1"),
        (start().raw(b"\xff").end(), "the instruction 0xff"),
        (start().raw(b"cos").end(), "ends in the middle"),
        (start().raw(b"N").end(), "its top level is no dictionary"),
        (start().raw(b"}").end(), "holds no tensors by name"),
    ] {
        let text = refusal(open(with_pickle(pickle.clone())));
        assert_contains(&text, part);
    }
}

#[test]
fn deep_and_circular_values_end() {
    let tensor = |p: Pickle| p.text("w").tensor("FloatStorage", "0", 6, 0, &[6], &[1]).raw(b"s");
    // Marks within marks.
    let open_marks = Pickle::default().raw(&b"(".repeat(100_000)).end();
    assert_contains(&refusal(open(with_pickle(open_marks))), "nests values more than 512 deep");
    // Lists within lists need no marks.
    let lists = [&b"]".repeat(100_000)[..], &b"a".repeat(99_999)].concat();
    let deep = tensor(Pickle::default().raw(b"}").text("deep").raw(&lists).raw(b"s")).end();
    let mut value = open(with_pickle(deep)).unwrap().value("deep").unwrap().clone();
    let mut depth = 0;
    while let Value::List(mut items) = value {
        (value, depth) = (items.pop().unwrap(), depth + 1);
    }
    assert!(matches!(value, Value::Opaque(_)) && depth < 20, "{depth}");
    // A list and a dictionary in themselves.
    let circle =
        Pickle::default().raw(b"}").text("d").raw(b"}q\x01").text("self").raw(b"h\x01s").text("list");
    let circle = open(with_pickle(tensor(circle.raw(b"]q\x02h\x02ass")).end())).unwrap();
    assert!(circle.value("d.self.self.self.list").is_some());
    // A list of lists, each of which holds the one before twenty times: 20^20 leaves.
    let mut bush = Pickle::default().raw(b"}").text("bush").raw(b"]r\0\0\0\0");
    for level in 1..=20u32 {
        let (own, other) = (level.to_le_bytes(), (level - 1).to_le_bytes());
        bush = bush.raw(b"0](").raw(&[&b"j"[..], &other].concat().repeat(20)).raw(b"er").raw(&own);
    }
    open(with_pickle(tensor(bush.raw(b"s")).end())).unwrap();
    let many = Pickle::default().raw(&b"]0".repeat((1 << 22) + 1)).end();
    assert_contains(&refusal(open(with_pickle(many))), "more than 4194304 values");
    let high = Pickle::default().raw(&b"N".repeat((1 << 20) + 1)).end();
    assert_contains(&refusal(open(with_pickle(high))), "leaves too many values open");
}

#[test]
fn names_that_come_twice_are_refused() {
    let twice = |names: [&str; 2]| {
        let tensor = |p: Pickle, name| p.text(name).tensor("FloatStorage", "0", 6, 0, &[6], &[1]).raw(b"s");
        let pickle = names.into_iter().fold(Pickle::default().raw(b"}"), tensor);
        refusal(open(with_pickle(pickle.end())))
    };
    assert_contains(&twice(["w", "w"]), "it holds two tensors `w`");
    assert_contains(&twice(["module.w", "_orig_mod.w"]), "it holds two tensors `w`");
    // Two entries of one name, the second renamed in both places of the archive.
    let pickle = Pickle::default().raw(b"}").end();
    let mut file = archive(&[("x/data.pkl", &pickle[..]), ("x/data/0", &[1; 24]), ("x/data/1", &[2; 24])]);
    while let Some(at) = file.windows(8).position(|w| w == b"x/data/1") {
        file[at + 7] = b'0';
    }
    assert_contains(&refusal(open(file)), "two entries of one name");
}

#[test]
fn archives_of_other_programs_are_named() {
    let zip = |name: &str| refusal(open(archive(&[(name, b"x"), ("readme", b"x")])));
    assert_contains(&zip("photo.jpg"), "a zip archive without the data.pkl of torch.save");
    let script = archive(&[
        ("net/data.pkl", &b"\x80\x02}."[..]),
        ("net/code/net.py", b""),
        ("net/constants.pkl", b""),
    ]);
    assert_contains(
        &refusal(open(script)),
        "a TorchScript archive; load it in torch and save its state_dict()",
    );
    let big = archive(&[("x/data.pkl", &b"\x80\x02}."[..]), ("x/byteorder", b"big")]);
    assert_contains(&refusal(open(big)), "big-endian");
    let old =
        [&b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."[..], b"\x80\x02M\xe9\x03."].concat();
    assert_contains(&refusal(open(old)), "torch's format of before 1.6");
    assert_contains(&refusal(open(CODEBOOKS[0])), "a Python pickle without tensors");
    assert_contains(&refusal(open(*b"version https://git-lfs.github.com/spec/v1\noid")), "git lfs pull");
}

/// The places of the records in an archive that begin with `signature`.
fn records(file: &[u8], signature: &[u8; 4]) -> Vec<usize> {
    (0..file.len() - 4).filter(|&at| file[at..].starts_with(signature)).collect()
}

#[test]
fn archives_that_lie_about_their_sizes_are_refused() {
    let sound = one_tensor(|p| p.tensor("FloatStorage", "0", 6, 0, &[6], &[1]));
    open(sound.clone()).unwrap();
    let directory = records(&sound, b"PK\x01\x02");
    let with = |record: usize, offset: usize, bytes: &[u8]| {
        let mut file = sound.clone();
        file[record + offset..][..bytes.len()].copy_from_slice(bytes);
        open(file)
    };
    for &record in &directory {
        // Method, stored size, size.
        assert_contains(&refusal(with(record, 10, &[8, 0])), "is compressed");
        for size in [0u32, 1, 23, 25, 1 << 20, u32::MAX - 1] {
            for offset in [20, 24] {
                refusal(with(record, offset, &size.to_le_bytes()));
            }
            refusal(with(record, 20, &[size.to_le_bytes(), size.to_le_bytes()].concat()));
        }
        // Encrypted; a place outside the file; the place of the other entry.
        assert_contains(&refusal(with(record, 8, &[1, 0])), "encrypted");
        refusal(with(record, 42, &u32::to_le_bytes(1 << 30)));
    }
    let first = sound[directory[0] + 42..][..4].to_vec();
    refusal(with(directory[1], 42, &first));
    // Numbers of entries, size and place of the directory, in the short and the long record.
    let number = |file: &[u8], at: usize, bytes: &[u8]| {
        let mut file = file.to_vec();
        assert_ne!(&file[at..][..bytes.len()], bytes);
        file[at..][..bytes.len()].copy_from_slice(bytes);
        assert_contains(
            &refusal(open(file)),
            "its archive does not end as one: it was cut off or appended to",
        );
    };
    let end = records(&sound, b"PK\x05\x06")[0];
    for (at, length) in [(10, 2), (12, 4), (16, 4), (20, 2)] {
        number(&sound, end + at, &[255; 4][..length]);
        number(&sound, end + at, &[3; 4][..length]);
    }
    let (end, long) = (records(VJEPA, b"PK\x05\x06")[0], records(VJEPA, b"PK\x06\x06")[0]);
    for (at, length) in
        [(end + 10, 2), (end + 12, 4), (end + 16, 4), (long + 32, 8), (long + 40, 8), (long + 48, 8)]
    {
        number(VJEPA, at, &[255; 8][..length]);
        number(VJEPA, at, &[3; 8][..length]);
    }
    number(VJEPA, long + 32, &1_000_000u64.to_le_bytes());
}

#[test]
fn every_cut_of_a_file_is_refused() {
    for file in [ALL_TYPES, VJEPA] {
        for length in (0..file.len()).step_by(64).chain([file.len() - 1]) {
            refusal(open(&file[..length]));
        }
    }
    for file in CODEBOOKS {
        for length in 0..file.len() {
            refusal(Codebook::from_bytes("words", &file[..length]));
        }
    }
}

#[test]
fn a_flipped_bit_is_refused_or_read_as_something_else() {
    let mut refused = 0;
    for file in [ALL_TYPES, VJEPA] {
        for bit in 0..8 * file.len() {
            let mut flipped = file.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match open(flipped) {
                Ok(file) => {
                    for entry in file.entries.values() {
                        assert_eq!(file.data(entry).len(), entry.len() * item_size(entry.dtype));
                    }
                }
                refusal_of @ Err(_) => {
                    refusal(refusal_of);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn codebooks_of_all_protocols_hold_the_same_words() {
    let words: Vec<f32> = (0..12u8).map(|i| (f32::from(i) - 5.0) / 4.0).collect();
    for file in CODEBOOKS {
        let codebook = Codebook::from_bytes("words", file).unwrap();
        assert_eq!(codebook, Codebook { centroids: words.clone(), size: 4, width: 3 });
    }
}

/// A codebook of protocol 2 with what makes the array and the stated size.
fn codebook(
    array: impl FnOnce(Pickle) -> Pickle,
    size: impl FnOnce(Pickle) -> Pickle,
) -> Result<Codebook, LoadError> {
    let pickle =
        Pickle::default().raw(b"}(").text("type").text("Codebook").text("params").raw(b"}").text("size");
    let pickle = array(size(pickle).raw(b"s").text("state").raw(b"}").text("centroids"));
    Codebook::from_bytes("words", &pickle.raw(b"su").end())
}

/// An array of `shape` and numpy type over `bytes`.
fn array(pickle: Pickle, shape: &[i64], kind: &str, order: &str, bytes: &[u8]) -> Pickle {
    let pickle = pickle.global("numpy.core.multiarray", "_reconstruct").global("numpy", "ndarray").ints(&[0]);
    let pickle = pickle
        .raw(b"C\x01b\x87R(K\x01")
        .ints(shape)
        .global("numpy", "dtype")
        .text(kind)
        .raw(b"\x89\x88\x87R(K\x03");
    let pickle = pickle.text(order).raw(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89C");
    pickle.raw(&[bytes.len() as u8]).raw(bytes).raw(b"tb")
}

#[test]
fn damaged_codebooks_are_refused() {
    let size = |n: i64| move |p: Pickle| p.int(n);
    let good = |p: Pickle| array(p, &[2, 1], "f4", "<", &[0; 8]);
    assert_eq!(codebook(good, size(2)).unwrap().size, 2);
    assert!(codebook(|p| array(p, &[1024, 0], "f4", "<", &[]), |p| p.text("1k")).is_err());
    for (file, part) in [
        (codebook(good, size(3)), "`params.size` is Int(3), but it has 2 centroids"),
        (codebook(good, |p| p.text("2k")), "but it has 2 centroids"),
        (codebook(good, |p| p.text("99999999999999999M")), "but it has 2 centroids"),
        (codebook(|p| array(p, &[2], "f4", "<", &[0; 8]), size(2)), "must have 2 extents, got [2]"),
        (codebook(|p| array(p, &[2, 2], "f4", "<", &[0; 8]), size(2)), "shape [2, 2] has 8 bytes"),
        (codebook(|p| array(p, &[i64::MAX, 8], "f4", "<", &[0; 8]), size(2)), "has 8 bytes"),
        (codebook(|p| array(p, &[-2, 1], "f4", "<", &[0; 8]), size(2)), "no numpy array"),
        (codebook(|p| array(p, &[1, 1], "f8", "<", &[0; 8]), size(1)), "must be f32 and not empty, got F64"),
        (
            codebook(|p| array(p, &[2, 1], "i4", "<", &[0; 8]), size(2)),
            "must hold floats, got numpy type \"i4\"",
        ),
        (codebook(|p| array(p, &[2, 1], "f4", ">", &[0; 8]), size(2)), "big-endian"),
        (
            codebook(|p| array(p, &[2, 1], "f4", "<", &[255; 8]), size(2)),
            "must hold finite values, element 0 is NaN",
        ),
        (codebook(|p| p.int(3), size(2)), "no numpy array"),
        (codebook(|p| p.global("os", "system").raw(b"(").text("x").raw(b"tR"), size(2)), "`os.system`"),
        (Codebook::from_bytes("words", b"\x80\x04}."), "it is no codebook"),
        (Codebook::from_bytes("words", ALL_TYPES), "is no valid codebook file"),
    ] {
        assert_contains(&refusal(file), part);
    }
}

/// A safetensors file of f32 tensors with two values each.
fn shard(names: &[&str]) -> Vec<u8> {
    let bytes = [1.0f32, 2.0].map(f32::to_le_bytes).concat();
    let view = |name: &&str| ((*name).to_owned(), TensorView::new(Dtype::F32, vec![2], &bytes).unwrap());
    ::safetensors::serialize(names.iter().map(view), None).unwrap()
}

#[test]
fn folders_are_read_whole_or_in_shards() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let index = |map: &[(&str, &str)]| {
        let map: serde_json::Map<_, _> =
            map.iter().map(|(name, file)| ((*name).into(), (*file).into())).collect();
        write(
            "model.safetensors.index.json",
            serde_json::json!({ "weight_map": map }).to_string().as_bytes(),
        );
        Checkpoint::open(folder.path())
    };
    assert_contains(&refusal(Checkpoint::open(folder.path())), "holds neither model.safetensors nor");
    let sound = [("a", "1.safetensors"), ("b", "1.safetensors"), ("c", "2.safetensors")];
    assert_contains(&refusal(index(&sound)), "`1.safetensors`, `2.safetensors` cannot be found");
    write("1.safetensors", &shard(&["a", "b"]));
    assert_contains(&refusal(index(&sound)), "`2.safetensors` cannot be found");
    write("2.safetensors", &shard(&["c"]));
    let file = index(&sound).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(values(&file, "c", &[2]), [1.0, 2.0]);
    assert_eq!((file.summary().container, file.summary().bytes), (Container::Folder, 24));
    let sizes: Vec<usize> = file.bytes().map(<[u8]>::len).collect();
    assert_eq!(sizes, [shard(&["a", "b"]).len(), shard(&["c"]).len()]);
    for outside in [
        "../1.safetensors",
        "/etc/passwd",
        "a/1.safetensors",
        "..",
        "",
        "C:1.safetensors",
        "1.pkl",
        "..\\1.safetensors",
    ] {
        assert_contains(&refusal(index(&[("a", outside)])), "must name .safetensors files in its own folder");
    }
    assert_contains(&refusal(index(&[])), "must map tensors to files");
    let other = [("a", "2.safetensors"), ("b", "1.safetensors"), ("c", "2.safetensors")];
    assert_contains(
        &refusal(index(&other)),
        "`1.safetensors` holds tensor `a`, which the index does not say",
    );
    let more = [sound[0], sound[1], sound[2], ("d", "2.safetensors")];
    assert_contains(&refusal(index(&more)), "names a tensor `d` that its files do not hold");
    write("2.safetensors", &shard(&["c"])[..20]);
    assert_contains(&refusal(index(&sound)), "2.safetensors` is truncated");
    write("model.safetensors.index.json", b"{");
    assert_contains(&refusal(Checkpoint::open(folder.path())), "no valid JSON");
    write("model.safetensors", &shard(&["whole"]));
    let whole = Checkpoint::open(folder.path()).unwrap();
    assert_eq!((whole.names().next(), whole.summary().container), (Some("whole"), Container::Safetensors));
    // The content decides, not the name.
    write("model.safetensors", ALL_TYPES);
    assert_eq!(Checkpoint::open(folder.path()).unwrap().summary().container, Container::Torch);
    assert_contains(
        &refusal(Checkpoint::open(&PathBuf::from("/nowhere/x.pth"))),
        "cannot read `/nowhere/x.pth`",
    );
}
