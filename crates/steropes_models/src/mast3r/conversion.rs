//! The `config.json` that belongs to converted weights.

use crate::ModelError;
use crate::settings::{parse_call, parse_json};
use serde_json::{Map, Value as Json, json};
use std::fmt;
use std::path::{Path, PathBuf};
use steropes_nn::{Checkpoint, LoadError, Value};

/// Where a network's hyper-parameters are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// The weight file itself, as the constructor call in `args.model`.
    Args(String),
    /// The weight file itself, as the constructor call `mast3r_model_str` of a network whose encoder is DUNE.
    DuneArgs(String),
    /// This `config.json`.
    File(PathBuf),
    /// Nowhere.
    None,
}

impl ConfigSource {
    /// Where the hyper-parameters for the weights at `path` are written.
    pub fn of(checkpoint: &Checkpoint, path: &Path) -> Self {
        if let Some(args) = checkpoint.value("args.model").and_then(Value::as_text) {
            return Self::Args(args.to_owned());
        }
        if let Some(args) = checkpoint.value("mast3r_model_str").and_then(Value::as_text) {
            return Self::DuneArgs(args.to_owned());
        }
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let config = folder.join("config.json");
        if config.exists() { Self::File(config) } else { Self::None }
    }

    /// The text of a `config.json` with which the tensors of `checkpoint`, each stored once under the first of its names, are
    /// the same network. `licence` is stated unless the source states one. Where there is no constructor call and no
    /// `config.json`, what the file says beside its tensors stands under `settings`; `None` if it says nothing.
    ///
    /// # Errors
    /// [`ModelError::Load`] if the file cannot be read, [`ModelError::Config`] if it is no JSON object.
    pub fn config_json(
        &self,
        checkpoint: &Checkpoint,
        licence: Option<&str>,
    ) -> Result<Option<String>, ModelError> {
        let call = match self {
            Self::Args(args) => parse_call(args).ok().map(|call| (call.class, "args", args)),
            Self::DuneArgs(args) => parse_call(args).ok().map(|call| (call.class, "mast3r_model_str", args)),
            Self::File(_) | Self::None => None,
        };
        let mut fields = match (call, self) {
            (Some((class, name, args)), _) => {
                Map::from_iter([("architecture".to_owned(), json!(class)), (name.to_owned(), json!(args))])
            }
            (None, Self::File(path)) => fields_of(path)?,
            (None, _) => {
                let settings: Map<String, Json> =
                    checkpoint.values().map(|(name, value)| (name.to_owned(), plain(value))).collect();
                if settings.is_empty() {
                    return Ok(None);
                }
                Map::from_iter([("settings".to_owned(), Json::Object(settings))])
            }
        };
        if let Some(licence) = licence
            && !fields.contains_key("license")
            && !fields.contains_key("licence")
        {
            fields.insert("license".to_owned(), json!(licence));
        }
        let shared = checkpoint.shared_subtrees();
        if !shared.is_empty() {
            let tied = fields.entry("tied").or_insert_with(|| json!({}));
            for (path, source) in shared {
                tied[path] = json!(source);
            }
        }
        Ok(Some(format!("{:#}\n", Json::Object(fields))))
    }
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Args(_) => f.write_str("args.model in the file"),
            Self::DuneArgs(_) => f.write_str("mast3r_model_str in the file"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::None => f.write_str("none"),
        }
    }
}

fn fields_of(path: &Path) -> Result<Map<String, Json>, ModelError> {
    let file = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|source| LoadError::Io { file: file.clone(), source })?;
    match parse_json(&text) {
        Ok(Json::Object(fields)) => Ok(fields),
        Ok(_) => Err(ModelError::Config { file, problem: "must be a JSON object".to_owned() }),
        Err(problem) => Err(ModelError::Config { file, problem }),
    }
}

/// A value in JSON; what JSON has no word for becomes a text.
fn plain(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(flag) => json!(flag),
        Value::Int(int) => json!(int),
        Value::Float(float) if float.is_finite() => json!(float),
        Value::Float(float) => json!(float.to_string()),
        Value::Text(text) | Value::Opaque(text) => json!(text),
        Value::List(items) => items.iter().map(plain).collect(),
        Value::Fields(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect::<Map<_, _>>().into()
        }
    }
}
