//! The mask predictor.

use super::{Golden, Network, Report, TensorFile, encoder_parts, lists};
use anyhow::Context as _;
use serde_json::Value;
use std::collections::BTreeMap;
use steropes_models::mast3r::Trunk;
use steropes_models::vjepa2::synthetic::{self, Extents};
use steropes_models::vjepa2::{Grid, Model, OpenOptions, Tokens};
use steropes_tensor::Tensor;

/// The cases of the file.
pub(super) fn run(file: &TensorFile, golden: &Golden<'_>, report: &mut Report<'_>) -> anyhow::Result<()> {
    let network = Network { config: &file.entry()["config"] };
    let own = network.trunk()?;
    let extents = Extents {
        // No encoder runs here: the smallest one of this width.
        encoder: Trunk { width: network.count("embed_dim")?, depth: 1, heads: own.heads },
        hidden: 4 * network.count("embed_dim")?,
        predictor: own,
        mask_tokens: network.count("mask_tokens")?,
        ..Extents::LARGE
    };
    let mut parts = encoder_parts(&extents);
    parts.push(("predictor.", synthetic::predictor(&extents)));
    let options =
        OpenOptions { heads: Some(own.heads), predictor_heads: Some(own.heads), ..OpenOptions::default() };
    let model = golden.model(&file.stem(), &parts, &options)?;
    let cases = file.entry()["cases"].as_object().context("`cases` is an object")?;
    for (case, entry) in cases {
        run_case(case, entry, &model, file, golden, report).with_context(|| case.clone())?;
    }
    Ok(())
}

fn run_case(
    case: &str,
    entry: &Value,
    model: &Model,
    file: &TensorFile,
    golden: &Golden<'_>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let targets = lists(file, &format!("{case}.tgt_ids"))?;
    let context = context(file, "encoder_features", &lists(file, &format!("{case}.ctx_ids"))?, golden)?;
    let index = entry["mask_index"].as_u64().context("`mask_index` is a number")? as usize;
    let predictor = model.predictor().context("a predictor")?;
    let mut seen = BTreeMap::new();
    let out = predictor.predict_observed(&context, &targets, index, &mut |name: &str, tensor: &Tensor| {
        seen.insert(name.to_owned(), tensor.clone());
    })?;
    seen.insert("out".to_owned(), out.values().clone());
    let depth = file.entry()["config"]["depth"].as_u64().unwrap_or(1);
    for (tap, own) in super::taps(depth) {
        let name = format!("{case}.{tap}");
        if file.has(&name) {
            golden.close(report, &format!("{} {name}", file.stem()), &seen[&own], file, (&name, 1))?;
        }
    }
    Ok(())
}

/// The rows `ids` of the features `name` as the context of a predictor on the square grid that its manifest states.
pub(super) fn context(
    file: &TensorFile,
    name: &str,
    ids: &[Vec<u32>],
    golden: &Golden<'_>,
) -> anyhow::Result<Tokens> {
    let shape = file.shape(name)?;
    let (count, width) = (shape[1], shape[2]);
    let features = file.f32(name)?;
    let side = file.entry()["config"]["grid"][0].as_u64().context("`grid` in the config")? as usize;
    let rows = ids.iter().enumerate().flat_map(|(b, ids)| {
        let sample = b.min(shape[0] - 1);
        ids.iter().map(move |&id| (sample * count + id as usize) * width)
    });
    let values: Vec<f32> = rows.flat_map(|row| features[row..row + width].to_vec()).collect();
    let values = Tensor::new(&golden.device, &[ids.len(), ids[0].len(), width], values)?;
    let grid = Grid { tubelets: count.div_ceil(side * side), rows: side, columns: side };
    Ok(Tokens::new(values, grid, Some(ids.to_vec()))?)
}
