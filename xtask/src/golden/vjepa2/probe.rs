//! Classifiers on features: with generated weights, in an official file, and in a folder of Hugging Face's library.

use super::encoder::Input;
use super::{Golden, Network, Report, TensorFile, generator};
use anyhow::Context as _;
use std::collections::BTreeMap;
use steropes_models::Precision;
use steropes_models::vjepa2::{Classifier, Model, OpenOptions, Positions, ProbeOptions, synthetic};
use steropes_nn::Checkpoint;
use steropes_tensor::Tensor;
use steropes_testkit::floats;

const PROBE: &str = "probe.safetensors";

/// The cases of the file, which differ in the number of heads.
pub(super) fn run(file: &TensorFile, golden: &Golden<'_>, report: &mut Report<'_>) -> anyhow::Result<()> {
    let network = Network { config: &file.entry()["config"] };
    let layers = [("linear", network.count("classes")?)];
    let parameters = synthetic::probe(network.count("D")?, network.count("depth")? - 1, &layers);
    let bytes = generator::weight_file(golden.salt, &[("", parameters)])?;
    let cases = file.entry()["cases"].as_object().context("`cases` is an object")?;
    for (case, entry) in cases {
        let options = ProbeOptions { heads: Some(Network { config: entry }.count("heads")?), index: 0 };
        let checkpoint = Checkpoint::from_bytes(&file.stem(), bytes.clone())?;
        let probe = Classifier::official(checkpoint, &golden.device, Precision::F32, &options)?;
        run_case(&format!("{} {case}", file.stem()), case, &probe, file, golden, report)?;
    }
    Ok(())
}

/// The first of the classifiers that a file of probes lists.
pub(super) fn official(golden: &Golden<'_>, name: &str, report: &mut Report<'_>) -> anyhow::Result<()> {
    let file = golden.other(PROBE)?;
    let heads = Network { config: &file.entry()["cases"]["main"] }.count("heads")?;
    let options = ProbeOptions { heads: Some(heads), index: 0 };
    match Classifier::open(&golden.path(name), &golden.device, Precision::F32, &options) {
        Ok(probe) => run_case(name, "main", &probe, &file, golden, report),
        Err(error) => {
            report.verdict(&format!("{name} loads"), Err(error.to_string()));
            Ok(())
        }
    }
}

/// A classification model of Hugging Face's library on a clip: encoder, pooler and scores.
pub(super) fn hugging_face(golden: &Golden<'_>, report: &mut Report<'_>) -> anyhow::Result<()> {
    const NAME: &str = "hf_classifier";
    if !report.wants(NAME) {
        return Ok(());
    }
    let (main, outputs) =
        (golden.other("encoder_main.safetensors")?, golden.other("hf_outputs.safetensors")?);
    let theirs =
        OpenOptions { positions: Positions::CropSize, with_predictor: false, ..OpenOptions::default() };
    let path = golden.path(NAME);
    let opened = Model::open(&path, &golden.device, Precision::F32, &theirs).and_then(|model| {
        let options = ProbeOptions::default();
        Ok((model, Classifier::open(&path, &golden.device, Precision::F32, &options)?))
    });
    let (model, probe) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            report.verdict(&format!("{NAME} loads"), Err(error.to_string()));
            return Ok(());
        }
    };
    let cases = main.entry()["cases"].as_object().context("`cases` is an object")?;
    for (case, entry) in cases {
        let stored = format!("{case}.logits");
        if outputs.has(&stored) {
            let input = Input::of(case, entry, golden)?;
            let features = model.features(&golden.clip(&model, &input.values, input.shape)?)?;
            let label = format!("{NAME} {stored}");
            scores(&label, &probe, features.values(), (&outputs, &stored), golden, report)?;
        }
    }
    Ok(())
}

/// Intermediate results, scores of all tokens, and those of two clips together.
fn run_case(
    label: &str,
    case: &str,
    probe: &Classifier,
    file: &TensorFile,
    golden: &Golden<'_>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let tokens = file.tensor("tokens", &golden.device)?;
    let mut seen = BTreeMap::new();
    probe.logits_observed(&tokens, &mut |name: &str, tensor: &Tensor| {
        seen.insert(name.to_owned(), tensor.clone());
    })?;
    // The block of the cross-attention ends where the pooler does.
    let last = format!("blocks.{}", probe.pooler().config().depth - 1);
    let taps = [("block0", "blocks.0"), ("block_last", &last), ("cross", "pooled"), ("pooled", "pooled")];
    for (tap, own) in taps {
        let name = format!("{case}.{tap}");
        if file.has(&name) {
            golden.close(report, &format!("{label}.{tap}"), &seen[own], file, (&name, 1))?;
        }
    }
    let name = format!("{case}.logits");
    scores(&format!("{label}.logits"), probe, &tokens, (file, &name), golden, report)?;
    let name = format!("{case}.logits_two_segments");
    let both = two_segments(file, golden)?;
    scores(&format!("{label}.logits_two_segments"), probe, &both, (file, &name), golden, report)
}

/// All tokens, and every second one from the last backwards.
fn two_segments(file: &TensorFile, golden: &Golden<'_>) -> anyhow::Result<Tensor> {
    let shape = file.shape("tokens")?;
    let (batch, count, width) = (shape[0], shape[1], shape[2]);
    let values = file.f32("tokens")?;
    let mut both = Vec::new();
    for clip in values.chunks_exact(count * width) {
        both.extend_from_slice(clip);
        clip.chunks_exact(width).rev().step_by(2).for_each(|token| both.extend_from_slice(token));
    }
    Ok(Tensor::new(&golden.device, &[batch, count + count.div_ceil(2), width], both)?)
}

fn scores(
    label: &str,
    probe: &Classifier,
    tokens: &Tensor,
    (file, name): (&TensorFile, &str),
    golden: &Golden<'_>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let found = probe.logits(tokens)?;
    let got = floats(&found[0].values).map_err(anyhow::Error::msg)?;
    report.close(label, &got, &file.f64(name)?, golden.tolerance);
    Ok(())
}
