//! The configuration and the extents of the golden networks, whose weights are generated from the names of the tensors.

use anyhow::Context as _;
use serde_json::Value;
use steropes_models::mast3r::synthetic::{DptWidths, DuneExtents, Extents};

/// The configuration in the form of a `config.json`, with the defaults of the golden files.
pub(super) fn model_config(config: &Value) -> Value {
    let fields = fields_of(config);
    if !is_dune(config) {
        return fields;
    }
    let arguments: Vec<String> = fields
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", literal(value)))
        .collect();
    serde_json::json!({ "mast3r_model_str": format!("AsymmetricMASt3R({})", arguments.join(", ")) })
}

/// The value as it stands in a constructor call.
fn literal(value: &Value) -> String {
    match value {
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => "None".to_owned(),
        Value::String(text) if text.trim_start_matches('-') == "inf" => text.clone(),
        Value::String(text) => format!("'{text}'"),
        Value::Array(items) => format!("({})", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// Whether the encoder is DUNE.
fn is_dune(config: &Value) -> bool {
    config["kind"] == "dune" || config.get("dune_embed").is_some()
}

/// Side of a patch in pixels.
fn patch(config: &Value) -> u64 {
    config["patch"].as_u64().unwrap_or(if is_dune(config) { 14 } else { 16 })
}

/// The extents of the DUNE encoder of a golden network, if it has one.
pub(super) fn dune_extents(config: &Value) -> anyhow::Result<Option<DuneExtents>> {
    if !is_dune(config) {
        return Ok(None);
    }
    // The encoder is described in an object of its own or among the other fields; without a depth it has that of the other encoder.
    let number = |own: &str, field: &str| {
        let number = config["dune"][own].as_u64().or_else(|| config[field].as_u64());
        number.map(|n| n as usize).with_context(|| format!("`{field}` in the config of a case"))
    };
    Ok(Some(DuneExtents {
        patch: patch(config) as usize,
        width: number("D", "dune_embed")?,
        depth: number("depth", "enc_depth")?,
        side: number("grid", "pos_grid")?,
        registers: number("registers", "registers")?,
    }))
}

fn fields_of(config: &Value) -> Value {
    let head = head_of(config);
    let descriptor = config["desc"].as_u64().unwrap_or(24);
    let has_features = head == "catmlp+dpt";
    let output_mode = if has_features { format!("pts3d+desc{descriptor}") } else { "pts3d".to_owned() };
    let mut out = serde_json::json!({
        "pos_embed": "RoPE100", "head_type": head, "output_mode": output_mode,
        "patch_size": patch(config), "two_confs": has_features,
        "depth_mode": ["exp", "-inf", "inf"], "conf_mode": ["exp", 1, "inf"],
        "desc_conf_mode": ["exp", 0, "inf"],
    });
    let fields = config.as_object().into_iter().chain(config["ckpt"]["args"].as_object()).flatten();
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("head" | "patch" | "desc" | "dpt" | "ckpt" | "kind" | "store", _) => {}
            // Of the other encoder.
            ("dune" | "dune_embed" | "dune_heads" | "registers" | "pos_grid" | "backbone_name", _) => {}
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
        patch: patch(config) as usize,
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
