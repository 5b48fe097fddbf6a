//! The weights of the golden networks, which are generated from the names of the tensors.

use anyhow::Context as _;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;
use steropes_testkit::inputs::{fnv1a, uniform_at};

/// Name and shape of a tensor.
pub(super) type Parameter = (String, Vec<usize>);

/// Widths of a DPT head: features, last layer, four stages.
struct DptWidths {
    features: usize,
    last: usize,
    stages: [usize; 4],
}

/// The extents of a golden network, from the `config` of its manifest entry.
struct Extents {
    patch: usize,
    enc: usize,
    dec: usize,
    enc_depth: usize,
    dec_depth: usize,
    mlp_ratio: usize,
    descriptor: Option<usize>,
    has_own_confidence: bool,
    is_linear: bool,
    dpt: DptWidths,
}

/// The configuration in the form of a `config.json`, with the defaults of the golden files.
pub(super) fn model_config(config: &Value) -> Value {
    let head = head_of(config);
    let descriptor = config["desc"].as_u64().unwrap_or(24);
    let has_features = head == "catmlp+dpt";
    let output_mode = if has_features { format!("pts3d+desc{descriptor}") } else { "pts3d".to_owned() };
    let mut out = serde_json::json!({
        "pos_embed": "RoPE100", "head_type": head, "output_mode": output_mode,
        "patch_size": config["patch"].as_u64().unwrap_or(16), "two_confs": has_features,
        "depth_mode": ["exp", "-inf", "inf"], "conf_mode": ["exp", 1, "inf"],
        "desc_conf_mode": ["exp", 0, "inf"],
    });
    let fields = config.as_object().into_iter().chain(config["ckpt"]["args"].as_object()).flatten();
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("head" | "patch" | "desc" | "dpt" | "ckpt", _) => {}
            // False stands for an argument that is left out.
            ("desc_conf_mode", Value::Bool(false)) => out[key] = Value::Null,
            _ => out[key] = value.clone(),
        }
    }
    out
}

/// The head's name in the terms of the constructors.
fn head_of(config: &Value) -> &str {
    let default = if config["kind"] == "dust3r" { "linear" } else { "catmlp+dpt" };
    config["head"].as_str().unwrap_or(default)
}

impl Extents {
    fn of(config: &Value) -> anyhow::Result<Self> {
        let number = |key: &str| {
            config[key]
                .as_u64()
                .map(|n| n as usize)
                .with_context(|| format!("`{key}` in the config of a case"))
        };
        let head = head_of(config);
        let widths: Vec<usize> = serde_json::from_value::<Value>(config["dpt"].clone())
            .ok()
            .and_then(|dpt| Some((dpt[0].as_u64()?, dpt[1].as_u64()?, dpt[2].as_array()?.clone())))
            .map_or(vec![256, 128, 96, 192, 384, 768], |(features, last, stages)| {
                let stages = stages.iter().filter_map(Value::as_u64);
                [features, last].into_iter().chain(stages).map(|n| n as usize).collect()
            });
        let &[features, last, s0, s1, s2, s3] = widths.as_slice() else {
            anyhow::bail!("`dpt` in the config of a case must be [features, last, [4 widths]]");
        };
        Ok(Self {
            patch: config["patch"].as_u64().unwrap_or(16) as usize,
            enc: number("enc_embed_dim")?,
            dec: number("dec_embed_dim")?,
            enc_depth: number("enc_depth")?,
            dec_depth: number("dec_depth")?,
            mlp_ratio: config["mlp_ratio"].as_u64().unwrap_or(4) as usize,
            descriptor: (head == "catmlp+dpt").then(|| config["desc"].as_u64().unwrap_or(24) as usize),
            has_own_confidence: config["two_confs"].as_bool().unwrap_or(true),
            is_linear: head == "linear",
            dpt: DptWidths { features, last, stages: [s0, s1, s2, s3] },
        })
    }
}

/// All tensors of a golden network under the names of its checkpoint, aliases by their first name.
pub(super) fn parameters(config: &Value) -> anyhow::Result<Vec<Parameter>> {
    let e = Extents::of(config)?;
    let mut out = vec![
        ("mask_token".to_owned(), vec![1, 1, e.dec]),
        ("patch_embed.proj.weight".to_owned(), vec![e.enc, 3, e.patch, e.patch]),
        ("patch_embed.proj.bias".to_owned(), vec![e.enc]),
    ];
    for i in 0..e.enc_depth {
        let block = format!("enc_blocks.{i}");
        norms(&mut out, &block, &["norm1", "norm2"], e.enc);
        layer(&mut out, &format!("{block}.attn.qkv"), &[3 * e.enc, e.enc]);
        layer(&mut out, &format!("{block}.attn.proj"), &[e.enc, e.enc]);
        mlp(&mut out, &format!("{block}.mlp"), [e.enc, e.mlp_ratio * e.enc, e.enc]);
    }
    norms(&mut out, "", &["enc_norm"], e.enc);
    layer(&mut out, "decoder_embed", &[e.dec, e.enc]);
    for stack in ["dec_blocks", "dec_blocks2"] {
        for i in 0..e.dec_depth {
            decoder_block(&mut out, &format!("{stack}.{i}"), &e);
        }
    }
    norms(&mut out, "", &["dec_norm"], e.dec);
    for i in [1, 2] {
        head(&mut out, &format!("downstream_head{i}"), &e);
    }
    Ok(out)
}

fn decoder_block(out: &mut Vec<Parameter>, block: &str, e: &Extents) {
    norms(out, block, &["norm1", "norm2", "norm3", "norm_y"], e.dec);
    layer(out, &format!("{block}.attn.qkv"), &[3 * e.dec, e.dec]);
    layer(out, &format!("{block}.attn.proj"), &[e.dec, e.dec]);
    for part in ["projq", "projk", "projv", "proj"] {
        layer(out, &format!("{block}.cross_attn.{part}"), &[e.dec, e.dec]);
    }
    mlp(out, &format!("{block}.mlp"), [e.dec, e.mlp_ratio * e.dec, e.dec]);
}

fn head(out: &mut Vec<Parameter>, head: &str, e: &Extents) {
    let area = e.patch * e.patch;
    if e.is_linear {
        layer(out, &format!("{head}.proj"), &[4 * area, e.dec]);
        return;
    }
    dpt(out, &format!("{head}.dpt"), e);
    if let Some(dim) = e.descriptor {
        let inputs = e.enc + e.dec;
        let outputs = (dim + usize::from(e.has_own_confidence)) * area;
        mlp(out, &format!("{head}.head_local_features"), [inputs, 4 * inputs, outputs]);
    }
}

fn dpt(out: &mut Vec<Parameter>, dpt: &str, e: &Extents) {
    let DptWidths { features: f, last, stages } = e.dpt;
    for (i, width) in stages.into_iter().enumerate() {
        let inputs = if i == 0 { e.enc } else { e.dec };
        layer(out, &format!("{dpt}.act_postprocess.{i}.0"), &[width, inputs, 1, 1]);
        let kernel = [4, 2, 0, 3][i];
        if kernel > 0 {
            layer(out, &format!("{dpt}.act_postprocess.{i}.1"), &[width, width, kernel, kernel]);
        }
        out.push((format!("{dpt}.scratch.layer{}_rn.weight", i + 1), vec![f, width, 3, 3]));
        let refine = format!("{dpt}.scratch.refinenet{}", i + 1);
        layer(out, &format!("{refine}.out_conv"), &[f, f, 1, 1]);
        for unit in ["resConfUnit1.conv1", "resConfUnit1.conv2", "resConfUnit2.conv1", "resConfUnit2.conv2"] {
            layer(out, &format!("{refine}.{unit}"), &[f, f, 3, 3]);
        }
    }
    layer(out, &format!("{dpt}.head.0"), &[f / 2, f, 3, 3]);
    layer(out, &format!("{dpt}.head.2"), &[last, f / 2, 3, 3]);
    layer(out, &format!("{dpt}.head.4"), &[4, last, 1, 1]);
}

fn norms(out: &mut Vec<Parameter>, parent: &str, names: &[&str], width: usize) {
    let dot = if parent.is_empty() { "" } else { "." };
    for name in names {
        out.push((format!("{parent}{dot}{name}.weight"), vec![width]));
        out.push((format!("{parent}{dot}{name}.bias"), vec![width]));
    }
}

fn layer(out: &mut Vec<Parameter>, name: &str, shape: &[usize]) {
    out.push((format!("{name}.weight"), shape.to_vec()));
    out.push((format!("{name}.bias"), vec![shape[0]]));
}

fn mlp(out: &mut Vec<Parameter>, name: &str, [inputs, hidden, outputs]: [usize; 3]) {
    layer(out, &format!("{name}.fc1"), &[hidden, inputs]);
    layer(out, &format!("{name}.fc2"), &[outputs, hidden]);
}

/// The name that the values of `name` are generated from: aliases of one tensor share it.
pub(super) fn first_name(name: &str) -> String {
    match name.split_once(".scratch.layer_rn.") {
        Some((head, rest)) => {
            match rest.split_once('.').and_then(|(i, leaf)| Some((i.parse::<u32>().ok()?, leaf))) {
                Some((i, leaf)) => format!("{head}.scratch.layer{}_rn.{leaf}", i + 1),
                None => name.to_owned(),
            }
        }
        None => name.to_owned(),
    }
}

/// The values of the weight `name`, from the rules of the golden files: computed in f64, rounded to f32.
pub(super) fn weight(salt: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let name = first_name(name);
    let (offset, scale) = affine(&name, shape);
    let hash = fnv1a(&format!("{salt}{name}"));
    let len: usize = shape.iter().product();
    (0..len as u64).map(|i| (offset + scale(uniform_at(hash, i))) as f32).collect()
}

/// What a uniform number of a tensor is multiplied by and added to.
fn affine(name: &str, shape: &[usize]) -> (f64, Box<dyn Fn(f64) -> f64>) {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let is_norm = name.split('.').any(|c| c.starts_with("norm") || c == "enc_norm" || c == "dec_norm");
    match leaf {
        "gamma" => return (0.5, Box::new(|u| 0.25 * u)),
        "weight" if is_norm => return (1.0, Box::new(|u| 0.2 * u)),
        "bias" | "m" => return (0.0, Box::new(|u| 0.1 * u)),
        "cls_token" | "register_tokens" | "pos_embed" | "mask_token" => return (0.0, Box::new(|u| 0.5 * u)),
        _ => {}
    }
    let is_transposed =
        ["act_postprocess.0.1.weight", "act_postprocess.1.1.weight"].iter().any(|end| name.ends_with(end));
    let fan: usize = if is_transposed { shape[0] } else { shape[1..].iter().product() };
    let factor = if name.ends_with("dpt.head.4.weight") {
        0.05
    } else if name.ends_with("_head1.proj.weight") || name.ends_with("_head2.proj.weight") {
        0.25
    } else {
        1.0
    };
    let root = (3.0 / fan as f64).sqrt();
    (0.0, Box::new(move |u| u * root * factor))
}

/// A safetensors file with the generated weights.
pub(super) fn weight_file(salt: &str, parameters: &[Parameter]) -> anyhow::Result<Vec<u8>> {
    let data: Vec<Vec<u8>> =
        parameters.iter().map(|(name, shape)| little_endian(&weight(salt, name, shape))).collect();
    let views = parameters
        .iter()
        .zip(&data)
        .map(|((name, shape), data)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    Ok(safetensors::serialize(views, None)?)
}

/// The bytes of the values as files hold them.
pub(super) fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
