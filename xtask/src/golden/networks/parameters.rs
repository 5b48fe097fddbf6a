//! The configuration and the extents of the golden networks, whose weights are generated from the names of the tensors.

use anyhow::Context as _;
use serde_json::Value;
use steropes_models::mast3r::synthetic::{DptWidths, Extents};

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

/// The extents of a golden network, from the `config` of its manifest entry.
pub(super) fn extents(config: &Value) -> anyhow::Result<Extents> {
    let number = |key: &str| {
        config[key].as_u64().map(|n| n as usize).with_context(|| format!("`{key}` in the config of a case"))
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
    Ok(Extents {
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
