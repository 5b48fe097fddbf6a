//! The golden cases of the networks: generated weights and images, stored outputs and intermediate results.

mod parameters;

use super::{Report, TensorFile, retrieval};
use anyhow::Context as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use steropes_models::dune::resize_positions;
use steropes_models::mast3r::synthetic::{self, DuneExtents};
use steropes_models::{Config, Encoded, Model, Precision, ViewOutput};
use steropes_ops::position::rope2d::rope2d;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::{Tolerance, inputs};

/// Outputs and intermediate results, relative to the largest value.
const POINTS: Tolerance = Tolerance::OfLargest(5e-5);
/// Descriptors and their confidences, relative to the largest value.
const DESCRIPTORS: Tolerance = Tolerance::OfLargest(1e-5);
/// Descriptors of two channels, whose normalisation is ill-conditioned.
const SHORT_DESCRIPTORS: Tolerance = Tolerance::OfLargest(2e-4);

/// Runs everything that the manifest of a folder of network cases describes.
pub(super) fn run(folder: &Path, manifest: &Value, report: &mut Report<'_>) -> anyhow::Result<()> {
    let salt = manifest["salt"].as_str().unwrap_or_default();
    let golden = Golden { folder, salt, manifest, device: &report.device() };
    let entries = golden.entries();
    for (key, entry) in &entries {
        golden.entry(key, entry, report).with_context(|| key.clone())?;
    }
    for name in golden.files()? {
        let file = || TensorFile::open(&folder.join(&name), &Value::Null);
        match name.as_str() {
            "retrieval_whiten.safetensors" => retrieval::features(&file()?, salt, report)?,
            "asmk_scores.safetensors" => retrieval::scores(&file()?, report)?,
            _ if !entries.iter().any(|(key, _)| describes(key, &name)) => report.not_built(&name),
            _ => {}
        }
    }
    Ok(())
}

/// A folder of golden files with its manifest.
struct Golden<'a> {
    folder: &'a Path,
    salt: &'a str,
    manifest: &'a Value,
    device: &'a Device,
}

/// One pair of images of a network case.
struct PairCase<'a> {
    /// What the names of its tensors in the file begin with.
    prefix: String,
    /// What the names of its images begin with.
    images: String,
    sizes: [[usize; 2]; 2],
    batch: usize,
    /// Whether the batch is (first, second), (second, first).
    is_symmetrised: bool,
    config: &'a Value,
}

impl<'a> Golden<'a> {
    /// All entries that describe files, from both levels of the manifest.
    fn entries(&self) -> Vec<(String, &'a Value)> {
        let top = self.manifest.as_object().into_iter().flatten();
        let added = self.manifest["additions"].as_object().into_iter().flatten();
        let others = ["salt", "additions", "disk"];
        top.filter(|(key, value)| !others.contains(&key.as_str()) && !value.is_string())
            .chain(added)
            .map(|(key, value)| (key.clone(), value))
            .collect()
    }

    /// The names of the files in the folder itself, sorted.
    fn files(&self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for file in std::fs::read_dir(self.folder)? {
            let file = file?;
            if file.file_type()?.is_file() {
                names.push(file.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn entry(&self, key: &str, entry: &Value, report: &mut Report<'_>) -> anyhow::Result<()> {
        let stem = key.trim_end_matches('/').trim_end_matches(".safetensors");
        let config = &entry["config"];
        if key == "preprocess" || entry.get("runs").is_some() {
            // Photos have a file of their own.
        } else if key.ends_with('/') {
            self.checkpoint_folder(stem, entry, report)?;
        } else if entry.get("grid").is_some() && entry.get("base").is_some() {
            self.rope(stem, entry, report)?;
        } else if config.get("enc_embed_dim").is_some() {
            self.network(stem, entry, report)?;
        } else if !key.ends_with(".json") {
            report.not_built(stem);
        }
        Ok(())
    }

    /// A network with generated weights.
    fn network(&self, stem: &str, entry: &Value, report: &mut Report<'_>) -> anyhow::Result<()> {
        if !report.wants(stem) {
            return Ok(());
        }
        let config = &entry["config"];
        let (extents, dune) = (parameters::extents(config)?, parameters::dune_extents(config)?);
        let parameters = match dune {
            Some(dune) => synthetic::dune_parameters(&dune, &extents),
            None => synthetic::parameters(&extents),
        };
        let index = self.folder.join(format!("{stem}.weights_index.json"));
        if index.exists() {
            report.verdict(&format!("{stem} weights index"), self.check_index(&index, &parameters));
        }
        let bytes = synthetic::weight_file(self.salt, &parameters, DType::F32);
        let text = parameters::model_config(config).to_string();
        match Model::from_bytes(stem, &text, bytes, self.device, Precision::F32) {
            Ok(model) => self.pairs(stem, stem, &model, entry, report),
            Err(error) => {
                report.verdict(&format!("{stem} loads"), Err(error.to_string()));
                Ok(())
            }
        }
    }

    /// All pairs of `entry` through `model`; checks are called `label`, files and images `stem`.
    fn pairs(
        &self,
        label: &str,
        stem: &str,
        model: &Model,
        entry: &Value,
        report: &mut Report<'_>,
    ) -> anyhow::Result<()> {
        let file = TensorFile::open(&self.folder.join(format!("{stem}.safetensors")), entry)?;
        let listed = entry["tensors"].as_object().into_iter().flatten();
        for (name, _) in listed.filter(|(name, _)| !file.has(name)) {
            report.verdict(&format!("{label} {name}"), Err("the file lacks this tensor".to_owned()));
        }
        for case in pair_cases(stem, entry)? {
            let mut seen = BTreeMap::new();
            match self.run_pair(model, &case, &file, &mut seen) {
                Ok(()) => compare_pair(label, &case, &file, &seen, report)?,
                Err(error) => report.verdict(&format!("{label} {}runs", case.prefix), Err(error.to_string())),
            }
        }
        Ok(())
    }

    /// Runs a pair and puts outputs and intermediate results into `seen` under the names of the file.
    fn run_pair(
        &self,
        model: &Model,
        case: &PairCase<'_>,
        file: &TensorFile,
        seen: &mut BTreeMap<String, Vec<Tensor>>,
    ) -> anyhow::Result<()> {
        let [image1, image2] = self.images(case)?;
        let mut observe = |name: &str, tensor: &Tensor| {
            seen.entry(format!("tap.{name}")).or_default().push(tensor.clone());
        };
        let encoded1 = model.encode_observed(&image1, &mut observe)?;
        let encoded2 = model.encode_observed(&image2, &mut observe)?;
        let (view1, view2) = model.decode_observed(&encoded1, &encoded2, &mut observe)?;
        if let Some(dune) = parameters::dune_extents(case.config)? {
            let positions = self.learned_positions(&dune, encoded1.grid())?;
            seen.insert("tap.dune.pos_embed".to_owned(), vec![positions]);
        }
        add_output(seen, "view1", view1);
        add_output(seen, "view2", view2);
        if file.names().iter().any(|name| name.starts_with(&format!("{}res", case.prefix))) {
            self.run_both_orders(model, &encoded1, &encoded2, seen)?;
        }
        Ok(())
    }

    /// The position of the class token and those of the patches of a grid, `[1, 1 + patches, width]`.
    fn learned_positions(&self, dune: &DuneExtents, grid: [usize; 2]) -> anyhow::Result<Tensor> {
        let (side, width) = (dune.side, dune.width);
        let shape = [1, 1 + side * side, width];
        let stored = synthetic::weight(self.salt, "dune_backbone.pos_embed", &shape);
        let (class, places) = stored.split_at(width);
        let positions = [class, &resize_positions(places, [side, width], grid)].concat();
        Ok(Tensor::new(&Device::cpu(), &[1, positions.len() / width, width], positions)?)
    }

    fn run_both_orders(
        &self,
        model: &Model,
        view1: &Encoded,
        view2: &Encoded,
        seen: &mut BTreeMap<String, Vec<Tensor>>,
    ) -> anyhow::Result<()> {
        let both = model.decode_both(view1, view2)?;
        for (name, output) in
            [("res11", both.out11), ("res21", both.out21), ("res22", both.out22), ("res12", both.out12)]
        {
            add_output(seen, name, output);
        }
        Ok(())
    }

    /// The generated images of both views, `[batch, height, width, 3]`.
    fn images(&self, case: &PairCase<'_>) -> anyhow::Result<[Tensor; 2]> {
        let sample = |view: usize, b: usize| {
            let suffix = if b == 0 { String::new() } else { format!(".b{b}") };
            let name = format!("{}{}img{}{suffix}", self.salt, case.images, view + 1);
            let [height, width] = case.sizes[view];
            channels_last(&inputs::uniform(&name, 3 * height * width), [1, 3, height, width])
        };
        let batch = |view: usize| -> anyhow::Result<Tensor> {
            let samples: Vec<Vec<f32>> = if case.is_symmetrised {
                vec![sample(view, 0), sample(1 - view, 0)]
            } else {
                (0..case.batch).map(|b| sample(view, b)).collect()
            };
            let [height, width] = case.sizes[view];
            let shape = [samples.len(), height, width, 3];
            Ok(Tensor::new(self.device, &shape, samples.concat())?)
        };
        Ok([batch(0)?, batch(1)?])
    }

    /// Every tensor of the index has the shape and the hash of the generated one, and there are no others.
    fn check_index(&self, path: &Path, parameters: &[synthetic::Parameter]) -> Result<String, String> {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        let index: BTreeMap<String, (Vec<usize>, String)> =
            serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let shapes: BTreeMap<&str, &Vec<usize>> = parameters.iter().map(|(n, s)| (n.as_str(), s)).collect();
        if let Some(name) = shapes.keys().find(|name| !index.contains_key(**name)) {
            return Err(format!("`{name}` is not in the index"));
        }
        for (name, (shape, hash)) in &index {
            let first = synthetic::first_name(name);
            if shapes.get(first.as_str()) != Some(&shape) {
                return Err(format!("`{name}` {shape:?}, expected {:?}", shapes.get(first.as_str())));
            }
            let bytes = synthetic::little_endian(&synthetic::weight(self.salt, name, shape));
            let own = format!("{:x}", Sha256::digest(&bytes));
            if !own.starts_with(hash.as_str()) {
                return Err(format!("`{name}` has hash {}, expected {hash}", &own[..16]));
            }
        }
        Ok(format!("{} tensors", index.len()))
    }

    /// A folder of checkpoint files whose network is described beside it.
    fn checkpoint_folder(&self, stem: &str, entry: &Value, report: &mut Report<'_>) -> anyhow::Result<()> {
        let companion = self.entries().into_iter().find(|(key, _)| *key == format!("{stem}.safetensors"));
        let args = ["args_model", "mast3r_model_str"].iter().find_map(|key| entry[key].as_str());
        if let (Some(args), Some((_, network))) = (args, &companion) {
            report.verdict(&format!("{stem} args"), check_args(args, &network["config"]));
        }
        let mut open = vec![self.folder.join(stem)];
        while let Some(folder) = open.pop() {
            let mut paths: Vec<PathBuf> =
                std::fs::read_dir(&folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
            paths.sort();
            for path in paths {
                let label = path.strip_prefix(self.folder).unwrap_or(&path).display().to_string();
                match (path.extension().and_then(|e| e.to_str()), &companion) {
                    _ if path.is_dir() => open.push(path),
                    (Some("json"), _) => {}
                    // It is read with the network that stands on it.
                    (Some("pth"), Some(_)) if label.ends_with("/encoder.pth") => {}
                    (Some("safetensors"), Some((_, network))) => {
                        if report.wants(&label) {
                            let file = TensorFile::open(&path, network)?;
                            report.verdict(&format!("{label} weights"), self.check_weights(&file));
                        }
                        self.stored_network(&label, stem, &path, network, report)?;
                    }
                    (Some("pth"), Some((_, network))) => {
                        self.stored_network(&label, stem, &path, network, report)?;
                    }
                    _ => report.not_built(&label),
                }
            }
        }
        Ok(())
    }

    /// A network whose weights are in a file.
    fn stored_network(
        &self,
        label: &str,
        stem: &str,
        path: &Path,
        network: &Value,
        report: &mut Report<'_>,
    ) -> anyhow::Result<()> {
        if !report.wants(label) {
            return Ok(());
        }
        match Model::open(path, self.device, Precision::F32) {
            Ok(model) => self.pairs(label, stem, &model, network, report),
            Err(error) => {
                report.verdict(&format!("{label} loads"), Err(error.to_string()));
                Ok(())
            }
        }
    }

    fn check_weights(&self, file: &TensorFile) -> Result<String, String> {
        for name in file.names() {
            let shape = file.shape(&name).map_err(|e| e.to_string())?;
            let stored = file.f32(&name).map_err(|e| e.to_string())?;
            if stored != synthetic::weight(self.salt, &name, &shape) {
                return Err(format!("`{name}` is not the generated tensor"));
            }
        }
        Ok(format!("{} tensors", file.names().len()))
    }

    /// Rotated tokens, stored with heads before tokens.
    fn rope(&self, stem: &str, entry: &Value, report: &mut Report<'_>) -> anyhow::Result<()> {
        let file = TensorFile::open(&self.folder.join(format!("{stem}.safetensors")), entry)?;
        let shape = file.shape("tokens")?;
        let &[batch, heads, tokens, head_dim] = shape.as_slice() else {
            anyhow::bail!("`tokens` must have four extents, got {shape:?}");
        };
        let swap = |values: Vec<f32>, [a, b]: [usize; 2]| -> Vec<f32> {
            let row = |i: usize, j: usize, k: usize| ((i * a + j) * b + k) * head_dim;
            let order = (0..batch).flat_map(|i| (0..b).flat_map(move |k| (0..a).map(move |j| (i, j, k))));
            order.flat_map(|(i, j, k)| values[row(i, j, k)..][..head_dim].to_vec()).collect()
        };
        let stored = file.f32("tokens")?;
        let name = format!("{}rope.tokens", self.salt);
        let generated = inputs::uniform(&name, stored.len());
        let verdict = if stored == generated { Ok(String::new()) } else { Err(format!("not `{name}`")) };
        report.verdict(&format!("{stem} tokens"), verdict);
        let x = Tensor::new(self.device, &[batch, tokens, heads, head_dim], swap(stored, [heads, tokens]))?;
        let places = file.i64("pos")?.into_iter().map(u32::try_from).collect::<Result<Vec<_>, _>>()?;
        let places = Tensor::new(self.device, &[batch, tokens, 2], places)?;
        let base = entry["base"].as_f64().context("`base` is a number")? as f32;
        let turned = rope2d(x, &places, base)?.into_vec::<f32>()?;
        report.close(&format!("{stem} out"), &swap(turned, [tokens, heads]), &file.f64("out")?, DESCRIPTORS);
        Ok(())
    }
}

/// Whether the entry called `key` speaks of the file `name`.
fn describes(key: &str, name: &str) -> bool {
    name == "manifest.json"
        || name == key
        || name.strip_suffix(".safetensors") == Some(key.trim_end_matches('/'))
        || name.strip_suffix(".weights_index.json") == Some(key.trim_end_matches(".safetensors"))
}

/// The constructor call of a checkpoint says the same as the configuration of its case.
fn check_args(args: &str, config: &Value) -> Result<String, String> {
    let is_dune = parameters::dune_extents(config).map_err(|e| e.to_string())?.is_some();
    let from_args = if is_dune { Config::from_dune_args } else { Config::from_args };
    let mut from_args = from_args("args", args).map_err(|e| e.to_string())?;
    let text = parameters::model_config(config).to_string();
    let from_config = Config::from_json("config", &text).map_err(|e| e.to_string())?;
    // The cases do not state the picture size of the training.
    from_args.training_sizes.clone_from(&from_config.training_sizes);
    if from_args == from_config {
        Ok(String::new())
    } else {
        Err(format!("{from_args:?} is not {from_config:?}"))
    }
}

/// The pairs of an entry: its list of cases, or the one case that it is itself.
fn pair_cases<'a>(stem: &str, entry: &'a Value) -> anyhow::Result<Vec<PairCase<'a>>> {
    let size = |value: &Value| -> anyhow::Result<[usize; 2]> {
        serde_json::from_value(value.clone()).context("a size is [height, width]")
    };
    let config = &entry["config"];
    let Some(cases) = entry["cases"].as_array() else {
        let sizes = [size(&entry["img1_HW"])?, size(&entry["img2_HW"])?];
        let images = format!("{}.", entry["tag"].as_str().unwrap_or(stem));
        let prefix = String::new();
        return Ok(vec![PairCase { prefix, images, sizes, batch: 1, is_symmetrised: false, config }]);
    };
    let case = |case: &'a Value| {
        let name = case["name"].as_str().context("a case has a name")?;
        Ok(PairCase {
            prefix: format!("{name}."),
            images: format!("{stem}.{name}."),
            sizes: [size(&case["s1"])?, size(&case["s2"])?],
            batch: case["B"].as_u64().unwrap_or(1) as usize,
            is_symmetrised: case["instances"] == "sym",
            config,
        })
    };
    cases.iter().map(case).collect()
}

fn add_output(seen: &mut BTreeMap<String, Vec<Tensor>>, view: &str, output: ViewOutput) {
    let parts = [
        ("pts3d", Some(output.points)),
        ("conf", Some(output.confidence)),
        ("desc", output.descriptors),
        ("desc_conf", output.descriptor_confidence),
    ];
    for (part, tensor) in parts {
        seen.insert(format!("{view}.{part}"), tensor.into_iter().collect());
    }
}

/// Compares every tensor of the case that the file holds with what was seen.
fn compare_pair(
    label: &str,
    case: &PairCase<'_>,
    file: &TensorFile,
    seen: &BTreeMap<String, Vec<Tensor>>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let names = file.names();
    for (name, short) in names.iter().filter_map(|n| Some((n, n.strip_prefix(&case.prefix)?))) {
        let shape = file.shape(name)?;
        let (key, call) = match short.rsplit_once(".call") {
            Some((key, call)) => (key, call.parse::<usize>().ok()),
            None => (short, None),
        };
        let Some(tensors) = seen.get(key).filter(|tensors| !tensors.is_empty()) else {
            report.verdict(&format!("{label} {name}"), Err("the network has no such result".to_owned()));
            continue;
        };
        let got = if key.starts_with("tap.") {
            tap(tensors, call, shape[0], case.is_symmetrised)?
        } else {
            let output = key.rsplit('.').next().unwrap_or(key);
            let store = &case.config["store"];
            let step = store.get(output).or(Some(store)).and_then(Value::as_u64).unwrap_or(1);
            every(&tensors[0], step as usize)?
        };
        report.close(&format!("{label} {name}"), &got, &file.f64(name)?, tolerance(key, &shape));
    }
    Ok(())
}

fn tolerance(key: &str, shape: &[usize]) -> Tolerance {
    match key.rsplit('.').next() {
        Some("desc") if shape.last().is_some_and(|&dim| dim <= 2) => SHORT_DESCRIPTORS,
        Some("desc" | "desc_conf") => DESCRIPTORS,
        _ => POINTS,
    }
}

/// An intermediate result as the file holds it, images with the channels first: of the call named, of both calls
/// when both views were stacked, else of the last call.
fn tap(
    tensors: &[Tensor],
    call: Option<usize>,
    rows: usize,
    is_symmetrised: bool,
) -> anyhow::Result<Vec<f32>> {
    let calls = match (call, tensors) {
        (Some(call), tensors) => tensors.get(call..=call).context("a call of the network")?,
        (None, [one, other]) if rows == one.shape()[0] + other.shape()[0] => tensors,
        // Of a symmetrised batch only the even samples are encoded, both views stacked.
        (None, [one, _]) if is_symmetrised => std::slice::from_ref(one),
        (None, tensors) => &tensors[tensors.len() - 1..],
    };
    let mut out = Vec::new();
    for tensor in calls {
        let values = tensor.read::<f32>()?;
        match *tensor.shape() {
            [b, h, w, c] => out.extend(channels_first(&values, [b, h, w, c])),
            _ => out.extend(values),
        }
    }
    Ok(out)
}

/// Every `step`-th row and column of an output `[batch, height, width, ..]`.
fn every(tensor: &Tensor, step: usize) -> anyhow::Result<Vec<f32>> {
    let (values, shape) = (tensor.read::<f32>()?, tensor.shape());
    anyhow::ensure!(step > 0, "the manifest says that this output is not kept");
    let (height, width) = (shape[1], shape[2]);
    let pixel: usize = shape[3..].iter().product();
    let kept = |row: usize| (row / width % height).is_multiple_of(step) && (row % width).is_multiple_of(step);
    let pixels = values.chunks_exact(pixel).enumerate().filter(|(row, _)| kept(*row));
    Ok(pixels.flat_map(|(_, values)| values.to_vec()).collect())
}

fn channels_last(values: &[f32], [batch, channels, height, width]: [usize; 4]) -> Vec<f32> {
    let area = height * width;
    let pixels = (0..batch).flat_map(|b| (0..area).map(move |p| (b, p)));
    pixels.flat_map(|(b, p)| (0..channels).map(move |c| values[(b * channels + c) * area + p])).collect()
}

fn channels_first(values: &[f32], [batch, height, width, channels]: [usize; 4]) -> Vec<f32> {
    let area = height * width;
    let planes = (0..batch).flat_map(|b| (0..channels).map(move |c| (b, c)));
    planes.flat_map(|(b, c)| (0..area).map(move |p| values[(b * area + p) * channels + c])).collect()
}
