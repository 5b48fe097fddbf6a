//! Networks in files of `torch.save`, against the same weights in safetensors files.

use crate::embedded;
use crate::files::picture;
use std::path::Path;
use steropes_models::mast3r::synthetic::{Extents, parameters, weight, weight_file};
use steropes_models::{Config, Model, ModelError, Precision};
use steropes_tensor::{DType, Device};
use steropes_testkit::torch_file;

const TINY: Extents = Extents::TINY;
const ARGS: &str = Extents::TINY_ARGS;

type Weight = (String, Vec<usize>, Vec<f32>);

fn weights() -> Vec<Weight> {
    let value = |(name, shape): (String, Vec<usize>)| {
        let values = weight("torch", &name, &shape);
        (name, shape, values)
    };
    parameters(&TINY).into_iter().map(value).collect()
}

/// The second names that the fusion convolutions have in such files.
fn layer_aliases() -> Vec<(String, String)> {
    let scratch = |head| format!("downstream_head{head}.dpt.scratch");
    let alias = |(head, k)| {
        (
            format!("{}.layer_rn.{k}.weight", scratch(head)),
            format!("{}.layer{}_rn.weight", scratch(head), k + 1),
        )
    };
    [1, 2].into_iter().flat_map(|head| (0..4).map(move |k| (head, k))).map(alias).collect()
}

/// The network in a file called `net.pth`.
fn open(args: &str, weights: &[Weight], aliases: &[(String, String)]) -> Result<Model, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.pth");
    std::fs::write(&path, torch_file::checkpoint(args, weights, aliases)).unwrap();
    Model::open(&path, &Device::cpu(), Precision::F32)
}

fn from_safetensors() -> Model {
    let config = serde_json::json!({ "args": ARGS }).to_string();
    let file = weight_file("torch", &parameters(&TINY), DType::F32);
    Model::from_bytes("net", &config, file, &Device::cpu(), Precision::F32).unwrap()
}

fn assert_same(one: &Model, other: &Model) {
    let [one, other] = [one, other].map(|model| {
        let (a, b) =
            (model.encode(&picture("a", 32, 48)).unwrap(), model.encode(&picture("b", 48, 32)).unwrap());
        model.decode_both(&a, &b).unwrap()
    });
    embedded::assert_same(&one, &other);
}

#[test]
fn a_file_of_torch_is_the_network_of_the_safetensors_file() {
    let model = open(ARGS, &weights(), &layer_aliases()).unwrap();
    let other = from_safetensors();
    assert_same(&model, &other);
    assert_eq!(model.config(), other.config());
    let (info, want) = (model.info(), other.info());
    assert_eq!((info.name.as_str(), info.parameters, model.sha256().len()), ("net", want.parameters, 64));
    assert_eq!((&info.training_sizes, info.has_descriptors), (&vec![512], true));
}

#[test]
fn wrapped_names_and_either_name_of_a_convolution_are_read() {
    let other = from_safetensors();
    let mut wrapped = weights();
    for (name, ..) in &mut wrapped {
        *name = match layer_aliases().into_iter().find(|(_, first)| first == name) {
            Some((alias, _)) => format!("module._orig_mod.{alias}"),
            None => format!("module.{name}"),
        };
    }
    assert_same(&open(ARGS, &wrapped, &[]).unwrap(), &other);
    wrapped.retain(|(name, ..)| !name.ends_with("head2.dpt.scratch.layer_rn.2.weight"));
    let text = open(ARGS, &wrapped, &[]).unwrap_err().to_string();
    assert!(text.contains("tensor `downstream_head2.dpt.scratch.layer3_rn.weight` is missing"), "{text}");
}

#[test]
fn one_stack_of_decoder_blocks_serves_both_views_however_it_is_stored() {
    let weights = weights();
    let is_second = |name: &str| name.starts_with("dec_blocks2.");
    let single: Vec<Weight> = weights.iter().filter(|(name, ..)| !is_second(name)).cloned().collect();
    // Left out, as in pre-training; and twice by name, once in the file.
    let names = weights.iter().map(|(name, ..)| name).filter(|name| is_second(name));
    let mut aliases: Vec<_> = names.map(|name| (name.clone(), name.replacen('2', "", 1))).collect();
    let (left_out, shared) = (open(ARGS, &single, &[]).unwrap(), open(ARGS, &single, &aliases).unwrap());
    assert_same(&left_out, &shared);
    assert_eq!(left_out.info().parameters, shared.info().parameters);
    assert!(shared.info().parameters < from_safetensors().info().parameters);
    // Twice by name and in the file.
    let copies = aliases.iter().map(|(name, source)| {
        let (_, shape, values) = single.iter().find(|(name, ..)| name == source).unwrap();
        (name.clone(), shape.clone(), values.clone())
    });
    let copied: Vec<Weight> = single.iter().cloned().chain(copies).collect();
    assert_same(&open(ARGS, &copied, &[]).unwrap(), &shared);
    aliases.pop();
    assert!(open(ARGS, &single, &aliases).unwrap_err().to_string().contains("is missing"));
}

#[test]
fn files_of_other_networks_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let open = |path: &Path| Model::open(path, &Device::cpu(), Precision::F32);
    let refused = |path: &Path| {
        let text = open(path).unwrap_err().to_string();
        assert!(
            !text.contains('\n') && text.contains(&*path.file_name().unwrap().to_string_lossy()),
            "{text}"
        );
        assert_eq!(Config::open(path).unwrap_err().to_string(), text);
        text
    };
    let whitening = ["prewhiten.m", "prewhiten.p"].map(|name| (name.to_owned(), vec![1, 1], vec![1.0]));
    std::fs::write(at("retrieval.pth"), torch_file::checkpoint("None", &whitening, &[])).unwrap();
    assert!(refused(&at("retrieval.pth")).contains("`args`: expected `(`"));
    let pickle = torch_file::Pickle::default().raw(b"}").text("prewhiten.m");
    let pickle = pickle.tensor("FloatStorage", "0", 1, 0, &[1], &[1]).raw(b"s").text("prewhiten.p");
    let pickle = pickle.tensor("FloatStorage", "0", 1, 0, &[1], &[1]).raw(b"s").end();
    std::fs::write(
        at("bare.pth"),
        torch_file::archive(&[("a/data.pkl", &pickle[..]), ("a/data/0", &[0; 4])]),
    )
    .unwrap();
    assert!(
        refused(&at("bare.pth"))
            .contains("how its network is built (by its names: retrieval); give a MASt3R or")
    );
    // A config.json beside it says how.
    std::fs::write(at("config.json"), serde_json::json!({ "args": ARGS }).to_string()).unwrap();
    assert!(
        open(&at("bare.pth"))
            .unwrap_err()
            .to_string()
            .contains("tensor `patch_embed.proj.weight` is missing")
    );
    // Arguments that this family does not have.
    std::fs::write(at("other.pth"), torch_file::checkpoint("Other(x=1)", &weights(), &[])).unwrap();
    assert!(refused(&at("other.pth")).contains("got `Other`"));
}
