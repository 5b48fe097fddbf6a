//! Networks whose weights are in files: a training checkpoint, and a folder of Hugging Face's library.

use super::encoder::Input;
use super::predictor::context;
use super::{Golden, Network, Report, TensorFile, lists};
use anyhow::Context as _;
use steropes_models::Precision;
use steropes_models::vjepa2::{Model, OpenOptions, Positions, Predictor, WhichEncoder};

const MAIN: &str = "encoder_main.safetensors";
const PREDICTOR: &str = "mask_predictor.safetensors";

/// Both encoders of a training checkpoint, and its predictor.
pub(super) fn training_checkpoint(
    golden: &Golden<'_>,
    name: &str,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let (main, predictor) = (golden.other(MAIN)?, golden.other(PREDICTOR)?);
    let network = Network { config: &main.entry()["config"] };
    let predictor_heads = Some(Network { config: &predictor.entry()["config"] }.count("heads")?);
    let input = Input::of("square_8f", &main.entry()["cases"]["square_8f"], golden)?;
    let target = golden.other("target_encoder.safetensors")?;
    for (which, word, stored, tensor) in [
        (WhichEncoder::Online, "encoder", &main, "square_8f.norm"),
        (WhichEncoder::Auto, "target_encoder", &target, "square_8f.norm"),
    ] {
        let options = OpenOptions { encoder: which, predictor_heads, ..network.options()? };
        let label = format!("{name} {word}");
        let Some(model) = opened(&label, golden, name, &options, report) else { continue };
        let features = model.features(&golden.clip(&model, &input.values, input.shape)?)?;
        golden.close(report, &label, features.values(), stored, (tensor, 1))?;
        let (ids, targets) = (lists(&predictor, "forecast.ctx_ids")?, lists(&predictor, "forecast.tgt_ids")?);
        let context = context(&predictor, "encoder_features", &ids, golden)?;
        let out = model.predict(&context, &targets, Predictor::MASK_INDEX)?;
        golden.close(report, &format!("{label} predictor"), out.values(), &predictor, ("forecast.out", 1))?;
    }
    Ok(())
}

/// A folder of Hugging Face's library: with its positions its outputs, and with those of the clip those of the official network.
pub(super) fn hugging_face(golden: &Golden<'_>, report: &mut Report<'_>) -> anyhow::Result<()> {
    if !report.wants("hf_model") {
        return Ok(());
    }
    let (main, outputs) = (golden.other(MAIN)?, golden.other("hf_outputs.safetensors")?);
    let theirs = OpenOptions { positions: Positions::CropSize, ..OpenOptions::default() };
    let Some(model) = opened("hf_model", golden, "hf_model", &theirs, report) else { return Ok(()) };
    let Some(official) = opened("hf_model official", golden, "hf_model", &OpenOptions::default(), report)
    else {
        return Ok(());
    };
    let cases = main.entry()["cases"].as_object().context("`cases` is an object")?;
    for (case, entry) in cases {
        let stored = format!("{case}.features");
        if !outputs.has(&stored) {
            continue;
        }
        let input = Input::of(case, entry, golden)?;
        let features = model.features(&golden.clip(&model, &input.values, input.shape)?)?;
        golden.close(report, &format!("hf_model {stored}"), features.values(), &outputs, (&stored, 1))?;
        let own = official.features(&golden.clip(&official, &input.values, input.shape)?)?;
        let name = format!("{case}.norm");
        golden.close(report, &format!("hf_model official {name}"), own.values(), &main, (&name, 1))?;
        let all = format!("{case}.predictor_default");
        if outputs.has(&all) {
            let ids = vec![(0..features.count() as u32).collect()];
            let out = model.predict(&features, &ids, Predictor::MASK_INDEX)?;
            golden.close(report, &format!("hf_model {all}"), out.values(), &outputs, (&all, 1))?;
        }
    }
    single_frame(golden, &model, &outputs, report)?;
    forecast(golden, &model, &outputs, report)
}

fn single_frame(
    golden: &Golden<'_>,
    model: &Model,
    outputs: &TensorFile,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    if !outputs.has("single_frame.input") {
        return Ok(());
    }
    let shape = outputs.shape("single_frame.input")?.try_into().ok().context("five extents")?;
    let clip = golden.clip(model, &outputs.f32("single_frame.input")?, shape)?;
    let features = model.features(&clip)?;
    let name = "single_frame.features";
    golden.close(report, &format!("hf_model {name}"), features.values(), outputs, (name, 1))
}

fn forecast(
    golden: &Golden<'_>,
    model: &Model,
    outputs: &TensorFile,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let predictor = golden.other(PREDICTOR)?;
    let (ids, targets) = (lists(&predictor, "forecast.ctx_ids")?, lists(&predictor, "forecast.tgt_ids")?);
    let context = context(&predictor, "encoder_features", &ids, golden)?;
    let out = model.predict(&context, &targets, Predictor::MASK_INDEX)?;
    let name = "predictor.forecast";
    golden.close(report, &format!("hf_model {name}"), out.values(), outputs, (name, 1))
}

/// The network in a file of the folder; says in the report why there is none.
fn opened(
    label: &str,
    golden: &Golden<'_>,
    name: &str,
    options: &OpenOptions,
    report: &mut Report<'_>,
) -> Option<Model> {
    match Model::open(&golden.path(name), &golden.device, Precision::F32, options) {
        Ok(model) => Some(model),
        Err(error) => {
            report.verdict(&format!("{label} loads"), Err(error.to_string()));
            None
        }
    }
}
