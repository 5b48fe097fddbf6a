//! Folders as Hugging Face lays them out: one safetensors file, or several with an index.

use super::{Bytes, Checkpoint, Container, Contents, safetensors};
use crate::LoadError;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The weights in a folder.
pub(super) fn open(folder: &Path) -> Result<Checkpoint, LoadError> {
    let index = folder.join(INDEX);
    if folder.join(WHOLE).exists() {
        return Checkpoint::open_file(&folder.join(WHOLE));
    }
    if !index.exists() {
        let (file, problem) = (
            folder.display().to_string(),
            format!(
                "the folder holds neither {WHOLE} nor {INDEX}; give another one, or the weight file itself"
            ),
        );
        return Err(LoadError::Refused { file, problem });
    }
    let file = index.display().to_string();
    let text =
        std::fs::read_to_string(&index).map_err(|source| LoadError::Io { file: file.clone(), source })?;
    let map = weight_map(&text).map_err(|problem| LoadError::Refused { file: file.clone(), problem })?;
    let shards: BTreeSet<&str> = map.values().map(String::as_str).collect();
    let missing: Vec<&str> = shards.iter().copied().filter(|shard| !folder.join(shard).is_file()).collect();
    if !missing.is_empty() {
        let problem =
            format!("of the files that it names, `{}` cannot be found; get them again", missing.join("`, `"));
        return Err(LoadError::Refused { file, problem });
    }
    let (mut parts, mut entries) = (Vec::new(), BTreeMap::new());
    for (part, shard) in shards.into_iter().enumerate() {
        let path = folder.join(shard);
        let bytes = Bytes::open(&path)?;
        for (name, mut entry) in safetensors::read(&path.display().to_string(), bytes.as_slice())?.entries {
            if map.get(&name).map(String::as_str) != Some(shard) {
                let problem =
                    format!("`{shard}` holds tensor `{name}`, which the index does not say; get both again");
                return Err(LoadError::Refused { file, problem });
            }
            entry.part = part;
            entries.insert(name, entry);
        }
        parts.push(bytes);
    }
    if let Some(tensor) = map.into_keys().find(|name| !entries.contains_key(name)) {
        let problem = format!("it names a tensor `{tensor}` that its files do not hold; get them again");
        return Err(LoadError::Refused { file, problem });
    }
    let contents = Contents { entries, values: Vec::new() };
    Ok(Checkpoint::from_parts(folder.display().to_string(), Container::Folder, parts, contents))
}

/// Which file holds each tensor.
fn weight_map(text: &str) -> Result<BTreeMap<String, String>, String> {
    let json: Json =
        serde_json::from_str(text).map_err(|error| format!("it is no valid JSON ({error}); get it again"))?;
    let map = json.get("weight_map").and_then(Json::as_object).filter(|map| !map.is_empty());
    let map = map.ok_or("it must map tensors to files in `weight_map`; get it again")?;
    map.iter().map(|(name, shard)| Ok((name.clone(), file_name(shard)?))).collect()
}

/// The name of a file in the same folder.
fn file_name(shard: &Json) -> Result<String, String> {
    let name = shard.as_str().unwrap_or_default();
    let mut components = Path::new(name).components();
    let is_plain = match (components.next(), components.next()) {
        (Some(Component::Normal(part)), None) => part == name,
        _ => false,
    };
    if is_plain && !name.contains(['\\', ':']) && name.ends_with(".safetensors") {
        return Ok(name.to_owned());
    }
    Err(format!("it must name .safetensors files in its own folder, got {shard}; get it again"))
}
