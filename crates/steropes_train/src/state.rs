//! The state of a training in a file: trained parameters, moments of the optimiser, steps so far.

use crate::parameters::{Parameters, bytes_of, view_of, write_tensors};
use crate::{Settings, TrainError};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::Path;
use steropes_tensor::Tensor;

/// The entry of the file's metadata.
const ABOUT: &str = "training";

/// Writes the state after `step` steps.
pub(crate) fn write(
    path: &Path,
    parameters: &Parameters,
    settings: &Settings,
    step: u64,
) -> Result<(), TrainError> {
    let mut tensors = Vec::new();
    for (name, parameter) in parameters.names().iter().zip(&parameters.trained) {
        let state = &parameter.state;
        for (part, tensor) in PARTS.into_iter().zip([&parameter.value, &state.first, &state.second]) {
            tensors.push((format!("{part}.{name}"), tensor.shape().to_vec(), bytes_of(tensor)?));
        }
    }
    let views: Vec<_> =
        tensors.iter().map(|(name, shape, bytes)| (name.as_str(), view_of(shape, bytes))).collect();
    let mut about = described(parameters, settings);
    about["step"] = json!(step);
    write_tensors(path, &views, (ABOUT, &about.to_string()))
}

/// What a file says of each parameter.
const PARTS: [&str; 3] = ["value", "first_moment", "second_moment"];

/// What must be as it was for steps to give the same bits.
fn described(parameters: &Parameters, settings: &Settings) -> Value {
    let mut about = serde_json::to_value(settings).expect("numbers and names");
    about["weights"] = json!(parameters.source().sha256());
    about
}

/// Reads the state that [`write`] wrote for the same network and settings; returns the steps that it had taken.
pub(crate) fn read(path: &Path, parameters: &mut Parameters, settings: &Settings) -> Result<u64, TrainError> {
    let wrong = |problem: String| TrainError::State { file: path.display().to_string(), problem };
    let bytes = std::fs::read(path).map_err(TrainError::file(path))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| wrong(error.to_string()))?;
    let about = header.metadata().as_ref().and_then(|all| all.get(ABOUT));
    let about: Option<Value> = about.and_then(|text| serde_json::from_str(text).ok());
    let about = about.ok_or_else(|| wrong("this is no state of a training".to_owned()))?;
    let step = about["step"].as_u64().ok_or_else(|| wrong("it does not say its step".to_owned()))?;
    for (name, value) in described(parameters, settings).as_object().expect("made as one") {
        if about[name] != *value {
            let problem = match name.as_str() {
                "weights" => "it was made from other weights; give the network that it began with".to_owned(),
                _ => format!("it was made with `{name}` {}, not {value}", about[name]),
            };
            return Err(wrong(problem));
        }
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| wrong(error.to_string()))?;
    let device = parameters.device().clone();
    let mut states = Vec::new();
    for (name, parameter) in parameters.names().iter().zip(&parameters.trained) {
        let read = |part: &str| {
            let full = format!("{part}.{name}");
            let view = tensors.tensor(&full).map_err(|error| wrong(error.to_string()))?;
            if view.shape() != parameter.value.shape() || view.dtype() != safetensors::Dtype::F32 {
                return Err(wrong(format!("tensor `{full}` has another shape or type")));
            }
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Ok(Tensor::new(&device, view.shape(), values.collect())?)
        };
        states.push([read(PARTS[0])?, read(PARTS[1])?, read(PARTS[2])?]);
    }
    for (parameter, [value, first, second]) in parameters.trained.iter_mut().zip(states) {
        parameter.value = value;
        (parameter.state.first, parameter.state.second, parameter.state.step) = (first, second, step);
    }
    Ok(step)
}
