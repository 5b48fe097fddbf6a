//! V-JEPA 2-AC: the predictor of actions, step by step, and what it imagines after a frame.

use super::{Golden, Network, Report, TensorFile, encoder_parts, generator};
use anyhow::{Context as _, bail};
use half::f16;
use serde_json::Value;
use std::collections::BTreeMap;
use steropes_models::Precision;
use steropes_models::vjepa2::ac::{AcCache, AcModel, AcOptions, AcPredictor, Conditions};
use steropes_models::vjepa2::{Grid, OpenOptions, Source, Tokens, synthetic};
use steropes_nn::{Checkpoint, WeightType, Weights};
use steropes_tensor::Tensor;

const AC: &str = "ac_predictor.safetensors";
const MAIN: &str = "encoder_main.safetensors";

/// The cases of the file, and the steps after a frame.
pub(super) fn run(file: &TensorFile, golden: &Golden<'_>, report: &mut Report<'_>) -> anyhow::Result<()> {
    let cases = file.entry()["cases"].as_object().context("`cases` is an object")?;
    for (case, entry) in cases {
        let model = generated(file, entry, golden).with_context(|| case.clone())?;
        run_case(&file.stem(), case, entry, model.predictor(), file, golden, report)
            .with_context(|| case.clone())?;
    }
    if file.has("rollout.frame") {
        let main = golden.other(MAIN)?;
        let model = generated(file, main.entry().get("config").context("`config`")?, golden)?;
        rollout(&file.stem(), &model, file, golden, report)?;
    }
    Ok(())
}

/// The network in a file: its predictor is that of the cases, and its encoder the main one in halves.
pub(super) fn checkpoint(golden: &Golden<'_>, name: &str, report: &mut Report<'_>) -> anyhow::Result<()> {
    let file = golden.other(AC)?;
    let main = golden.other(MAIN)?;
    let config = main.entry().get("config").context("`config`")?;
    let model = match AcModel::open(
        &golden.path(name),
        &golden.device,
        Precision::F32,
        &options(&file, config, golden)?,
    ) {
        Ok(model) => model,
        Err(error) => {
            report.verdict(&format!("{name} loads"), Err(error.to_string()));
            return Ok(());
        }
    };
    let cases = file.entry()["cases"].as_object().context("`cases` is an object")?;
    let alike = |entry: &Value| entry["img"] == config["img"] && entry["extrinsics"] == Value::Bool(false);
    for (case, entry) in cases.iter().filter(|(_, entry)| alike(entry)) {
        run_case(name, case, entry, model.predictor(), &file, golden, report)?;
    }
    let halves = halves(&main, config, golden)?;
    let source = Source::from_bytes(name, None, halves, OpenOptions::default().encoder)?;
    let options = Network { config }.options()?;
    let own = steropes_models::vjepa2::Model::load(
        name.to_owned(),
        source,
        &golden.device,
        Precision::F32,
        &options,
    )?;
    let (shape, frame) = frame(&file)?;
    let clip = own.clip([shape[0], 1, shape[1], shape[2]], &frame)?;
    let want = own.features(&clip)?.normalized()?.values().read::<f32>()?;
    let want: Vec<f64> = want.into_iter().map(f64::from).collect();
    let got = model.features(shape, &frame)?.values().read::<f32>()?;
    report.close(&format!("{name} frame"), &got, &want, golden.tolerance);
    Ok(())
}

/// The main encoder and a predictor with generated weights, of the size that `entry` states.
fn generated(file: &TensorFile, entry: &Value, golden: &Golden<'_>) -> anyhow::Result<AcModel> {
    let main = golden.other(MAIN)?;
    let own = Network { config: &file.entry()["config"] };
    let mut parts = encoder_parts(&Network { config: &main.entry()["config"] }.encoder()?);
    parts.push(("predictor.", synthetic::action_predictor(own.count("embed_dim")?, own.trunk()?)));
    let bytes = generator::weight_file(golden.salt, &parts)?;
    let options = options(file, entry, golden)?;
    let source = Source::from_bytes(&file.stem(), None, bytes, options.encoder.encoder)?;
    Ok(AcModel::load(file.stem(), source, &golden.device, Precision::F32, &options)?)
}

/// How the network is read, with frames of the size `img` of an entry in training.
fn options(file: &TensorFile, entry: &Value, golden: &Golden<'_>) -> anyhow::Result<AcOptions> {
    let main = golden.other(MAIN)?;
    let network = Network { config: &main.entry()["config"] };
    let crop_size = Some(Network { config: entry }.crop());
    Ok(AcOptions {
        encoder: OpenOptions { crop_size, with_predictor: false, ..network.options()? },
        heads: Some(Network { config: &file.entry()["config"] }.count("heads")?),
        has_extrinsics: entry["extrinsics"].as_bool().unwrap_or(false),
    })
}

/// The main encoder with its weights rounded to halves.
fn halves(main: &TensorFile, config: &Value, golden: &Golden<'_>) -> anyhow::Result<Vec<u8>> {
    let parts = encoder_parts(&Network { config }.encoder()?);
    let bytes = generator::weight_file(golden.salt, &parts)?;
    let checkpoint = Checkpoint::from_bytes(&main.stem(), bytes)?;
    let cpu = steropes_tensor::Device::cpu();
    let weights = Weights::new(&checkpoint, &cpu).in_precision(WeightType::F32);
    let mut tensors = Vec::new();
    for (path, parameters) in &parts {
        for (name, shape) in parameters {
            let values = weights.values(&format!("{path}{name}"), shape)?;
            let bytes: Vec<u8> = values.into_iter().flat_map(|v| f16::from_f32(v).to_le_bytes()).collect();
            tensors.push((format!("{path}{name}"), shape.clone(), bytes));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F16, shape.clone(), bytes);
        Ok::<_, safetensors::SafeTensorError>((name, view?))
    });
    Ok(safetensors::serialize(views.collect::<Result<Vec<_>, _>>()?, None)?)
}

/// All steps of a case one after the other, with what was kept of those before.
fn run_case(
    stem: &str,
    case: &str,
    entry: &Value,
    predictor: &AcPredictor,
    file: &TensorFile,
    golden: &Golden<'_>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let grid = [0, 1].map(|axis| entry["grid"][axis].as_u64().unwrap_or(0) as usize);
    let steps = file.shape(&format!("{case}.actions"))?[1];
    let [actions, states] =
        [conditions(file, &format!("{case}.actions"))?, conditions(file, &format!("{case}.states"))?];
    let extrinsics = match predictor.config().has_extrinsics {
        true => conditions(file, &format!("{case}.extrinsics"))?,
        false => vec![Vec::new(); steps],
    };
    let mut seen: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
    let mut past = AcCache::default();
    for step in 0..steps {
        let z = step_of(file, &format!("{case}.z"), steps, step, golden)?;
        let conditions =
            Conditions { actions: &actions[step], states: &states[step], extrinsics: &extrinsics[step] };
        let out = predictor.step_observed(
            &mut past,
            &z,
            grid,
            &conditions,
            &mut |name: &str, tensor: &Tensor| {
                seen.entry(name.to_owned()).or_default().push(tensor.clone());
            },
        )?;
        seen.entry("out".to_owned()).or_default().push(out);
    }
    for (tap, own) in super::taps(predictor.config().trunk.depth as u64) {
        let name = format!("{case}.{tap}");
        let got = joined(&seen[&own], golden)?;
        golden.close(report, &format!("{stem} {name}"), &got, file, (&name, 1))?;
    }
    Ok(())
}

/// A frame, and two steps each of which starts from what the one before imagined.
fn rollout(
    stem: &str,
    model: &AcModel,
    file: &TensorFile,
    golden: &Golden<'_>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let (shape, frame) = frame(file)?;
    let mut z = model.features(shape, &frame)?;
    golden.close(report, &format!("{stem} rollout.z0"), z.values(), file, ("rollout.z0", 1))?;
    let [actions, states] = [conditions(file, "rollout.actions")?, conditions(file, "rollout.states")?];
    let Grid { rows, columns, .. } = z.grid();
    let mut past = AcCache::default();
    for (step, (actions, states)) in actions.iter().zip(&states).enumerate() {
        let conditions = Conditions { actions, states, extrinsics: &[] };
        let out = model.predictor().step(&mut past, z.values(), [rows, columns], &conditions)?;
        z = Tokens::new(out, z.grid(), None)?.normalized()?;
        let name = format!("rollout.z{}", step + 1);
        golden.close(report, &format!("{stem} {name}"), z.values(), file, (&name, 1))?;
    }
    Ok(())
}

/// The frame `[batch, 3, 1, height, width]` as `[batch, height, width, 3]`.
fn frame(file: &TensorFile) -> anyhow::Result<([usize; 3], Vec<f32>)> {
    let &[batch, channels, 1, height, width] = file.shape("rollout.frame")?.as_slice() else {
        bail!("`rollout.frame` is one frame")
    };
    let values = file.f32("rollout.frame")?;
    let area = height * width;
    let pixels = (0..batch * area).flat_map(|p| {
        let (b, p) = (p / area, p % area);
        (0..channels).map(move |c| (b * channels + c) * area + p)
    });
    Ok(([batch, height, width], pixels.map(|i| values[i]).collect()))
}

/// Rows of `[batch, steps, N]` by step.
fn conditions<const N: usize>(file: &TensorFile, name: &str) -> anyhow::Result<Vec<Vec<[f32; N]>>> {
    let &[batch, steps, width] = file.shape(name)?.as_slice() else { bail!("`{name}` has three extents") };
    if width != N {
        bail!("`{name}` has rows of {N}, got {width}");
    }
    let values = file.f32(name)?;
    let row = |b: usize, step: usize| {
        let row = &values[(b * steps + step) * N..][..N];
        row.try_into().expect("a row of N")
    };
    Ok((0..steps).map(|step| (0..batch).map(|b| row(b, step)).collect()).collect())
}

/// The tokens of one step of `[batch, steps tokens, width]`.
fn step_of(
    file: &TensorFile,
    name: &str,
    steps: usize,
    step: usize,
    golden: &Golden<'_>,
) -> anyhow::Result<Tensor> {
    let &[batch, count, width] = file.shape(name)?.as_slice() else { bail!("`{name}` has three extents") };
    let each = count / steps;
    let values = file.f32(name)?;
    let clips = (0..batch).flat_map(|b| values[(b * count + step * each) * width..][..each * width].to_vec());
    Ok(Tensor::new(&golden.device, &[batch, each, width], clips.collect())?)
}

/// Tokens of steps one after the other.
fn joined(steps: &[Tensor], golden: &Golden<'_>) -> anyhow::Result<Tensor> {
    let shape = steps[0].shape();
    let (batch, each, width) = (shape[0], shape[1], shape[2]);
    let values = steps.iter().map(Tensor::read::<f32>).collect::<Result<Vec<_>, _>>()?;
    let len = each * width;
    let rows = (0..batch).flat_map(|b| values.iter().flat_map(move |step| step[b * len..][..len].to_vec()));
    Ok(Tensor::new(&golden.device, &[batch, each * steps.len(), width], rows.collect())?)
}
