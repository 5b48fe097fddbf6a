//! Encoders on whole clips and on some of their tokens.

use super::{Golden, Network, Report, TensorFile, encoder_parts, generator, lists};
use anyhow::Context as _;
use serde_json::Value;
use std::collections::BTreeMap;
use steropes_models::vjepa2::{Model, Tokens};
use steropes_tensor::Tensor;

/// The cases of a file, and the features of one of them that stand in the file by themselves.
pub(super) fn run(file: &TensorFile, golden: &Golden<'_>, report: &mut Report<'_>) -> anyhow::Result<()> {
    let network = Network { config: &file.entry()["config"] };
    let (stem, options) = (file.stem(), network.options()?);
    let model = golden.model(&stem, &encoder_parts(&network.encoder()?), &options)?;
    let cases = file.entry()["cases"].as_object().context("`cases` is an object")?;
    let mut inputs = BTreeMap::new();
    for (case, entry) in cases.iter().filter(|(_, entry)| entry.get("input_name").is_some()) {
        let input = Input::of(case, entry, golden)?;
        if file.has(&format!("{case}.input")) {
            let is_same = file.f32(&format!("{case}.input"))? == input.values;
            let verdict =
                if is_same { Ok(String::new()) } else { Err("is not the generated one".to_owned()) };
            report.verdict(&format!("{stem} {case}.input"), verdict);
        }
        inputs.insert(case.as_str(), input);
    }
    for (case, entry) in cases {
        let label = format!("{stem} {case}");
        match (entry.get("input_name"), entry["input"].as_str()) {
            (Some(_), _) => whole(&label, case, &inputs[case.as_str()], &model, file, golden, report)?,
            (None, Some(input)) => {
                let of = input.strip_suffix(".input").context("`input` names that of a case")?;
                let input = inputs.get(of).with_context(|| format!("a case `{of}`"))?;
                some(&label, case, input, &model, file, golden, report)?;
            }
            // Of the first case, as the file says.
            (None, None) if case == "target_ln" => {
                let input = inputs.get("square_8f").context("a case `square_8f`")?;
                let clip = golden.clip(&model, &input.values, input.shape)?;
                let targets = model.features(&clip)?.normalized()?;
                golden.close(report, &label, targets.values(), file, (case, 1))?;
            }
            (None, None) => report.not_built(&label),
        }
    }
    Ok(())
}

/// A generated clip `[batch, 3, frames, height, width]`.
pub(super) struct Input {
    pub(super) values: Vec<f32>,
    pub(super) shape: [usize; 5],
}

impl Input {
    pub(super) fn of(case: &str, entry: &Value, golden: &Golden<'_>) -> anyhow::Result<Self> {
        let shape: Vec<usize> = entry["shape"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|n| Some(n.as_u64()? as usize))
            .collect();
        let shape: [usize; 5] = shape.try_into().ok().with_context(|| format!("`shape` of `{case}`"))?;
        let name = entry["input_name"].as_str().with_context(|| format!("`input_name` of `{case}`"))?;
        let values = generator::input(&format!("{}{name}", golden.salt), shape.iter().product());
        Ok(Self { values, shape })
    }
}

fn whole(
    label: &str,
    case: &str,
    input: &Input,
    model: &Model,
    file: &TensorFile,
    golden: &Golden<'_>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let stride = file.entry()["config"]["stride"].as_u64().unwrap_or(1) as usize;
    let embedded = model.embed(&golden.clip(model, &input.values, input.shape)?)?;
    if file.has(&format!("{case}.patch_embed")) {
        let name = format!("{case}.patch_embed");
        golden.close(report, &format!("{label}.patch_embed"), embedded.values(), file, (&name, stride))?;
    }
    compare(label, case, embedded.clone(), model, file, (golden, stride), report)?;
    let layer = |name: &str| name.strip_prefix(&format!("{case}.out_layer"))?.parse::<usize>().ok();
    let mut layers: Vec<usize> = file.names().iter().filter_map(|name| layer(name)).collect();
    layers.sort_unstable();
    if layers.is_empty() {
        return Ok(());
    }
    for (layer, features) in layers.iter().zip(model.encoder().encode_layers(embedded, &layers)?) {
        let name = format!("{case}.out_layer{layer}");
        golden.close(
            report,
            &format!("{label}.out_layer{layer}"),
            features.values(),
            file,
            (&name, stride),
        )?;
    }
    Ok(())
}

fn some(
    label: &str,
    case: &str,
    input: &Input,
    model: &Model,
    file: &TensorFile,
    golden: &Golden<'_>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let embedded = model.embed(&golden.clip(model, &input.values, input.shape)?)?;
    let kept = embedded.subset(&lists(file, &format!("{case}.ids"))?)?;
    compare(label, case, kept, model, file, (golden, 1), report)
}

/// Blocks and features against those that the file holds.
fn compare(
    label: &str,
    case: &str,
    tokens: Tokens,
    model: &Model,
    file: &TensorFile,
    (golden, stride): (&Golden<'_>, usize),
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let mut seen = BTreeMap::new();
    let features = model.encoder().encode_observed(tokens, &mut |name: &str, tensor: &Tensor| {
        seen.insert(name.to_owned(), tensor.clone());
    })?;
    seen.insert("norm".to_owned(), features.values().clone());
    let last = format!("blocks.{}", model.config().encoder.depth - 1);
    for (tap, own) in [("block0", "blocks.0"), ("block_last", last.as_str()), ("norm", "norm")] {
        let name = format!("{case}.{tap}");
        if file.has(&name) {
            golden.close(report, &format!("{label}.{tap}"), &seen[own], file, (&name, stride))?;
        }
    }
    Ok(())
}
