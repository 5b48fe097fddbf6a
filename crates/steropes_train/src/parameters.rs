//! The parameters of a network, from a weight file and back.

use crate::{Named, Network, Tape, TrainError, Var};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use steropes_models::{Config, Model};
use steropes_nn::{Checkpoint, Weights};
use steropes_ops::optim::adamw::{AdamW, Parameter};
use steropes_tensor::{Device, Tensor};

/// A network as it is read: its configuration and the bytes of its weights.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    config: String,
    weights: Cow<'static, [u8]>,
}

impl Source {
    /// The network that is built into the program.
    pub fn embedded() -> Self {
        let (config, weights) = Model::embedded_files();
        Self { name: Model::EMBEDDED.to_owned(), config: config.to_owned(), weights: Cow::Borrowed(weights) }
    }

    /// A network from the text of its `config.json` and the bytes of a safetensors file; `name` stands for it in messages.
    pub fn new(name: &str, config: &str, weights: Vec<u8>) -> Self {
        Self { name: name.to_owned(), config: config.to_owned(), weights: Cow::Owned(weights) }
    }

    /// The network in a folder with `config.json` and `model.safetensors`.
    ///
    /// # Errors
    /// [`TrainError::File`] if they are not there.
    pub fn open(folder: &Path) -> Result<Self, TrainError> {
        let [config, weights] = FILES.map(|file| folder.join(file));
        let text = std::fs::read_to_string(&config).map_err(TrainError::file(&config))?;
        let bytes = std::fs::read(&weights).map_err(TrainError::file(&weights))?;
        Ok(Self::new(&folder.display().to_string(), &text, bytes))
    }

    /// What stands for it in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the weights, as 64 hexadecimal digits.
    pub fn sha256(&self) -> String {
        format!("{:x}", Sha256::digest(&self.weights))
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, TrainError> {
        SafeTensors::deserialize(&self.weights)
            .map_err(|error| self.refused(format!("{error}; give a safetensors file")))
    }

    fn refused(&self, problem: impl Into<String>) -> TrainError {
        TrainError::Refused { model: self.name.clone(), problem: problem.into() }
    }
}

/// The files of a folder.
const FILES: [&str; 2] = ["config.json", "model.safetensors"];

/// The parameters of a network on a device, in f32, some of which are trained.
#[derive(Debug)]
pub struct Parameters {
    source: Source,
    device: Device,
    /// Names in the file of those that are trained, in the order of `trained`.
    names: Vec<String>,
    /// Those that are trained, with the state of the optimiser.
    pub(crate) trained: Vec<Parameter>,
    frozen: BTreeMap<String, Tensor>,
    /// Names in the network, with those in the file.
    places: Vec<(String, String)>,
}

impl Parameters {
    /// Reads a network; parameters whose names in the file begin with one of `prefixes` are trained.
    ///
    /// # Errors
    /// [`TrainError`] if it is not a network that can be trained, or nothing of it would be.
    pub fn load(
        source: Source,
        device: &Device,
        prefixes: &[&str],
        optimiser: &AdamW,
    ) -> Result<(Network, Self), TrainError> {
        let config = Config::from_json(&source.name, &source.config)?;
        let tensors = source.tensors()?;
        if tensors.names().iter().any(|name| matches!(tensors.tensor(name).map(|t| t.dtype()), Ok(Dtype::U8)))
        {
            return Err(source.refused("its weights are in blocks of integers; train a file of floats"));
        }
        let checkpoint =
            Checkpoint::from_bytes(&source.name, source.weights.clone())?.with_ties(&config.tied);
        let weights = Weights::new(&checkpoint, device);
        let network = Network::new(&source.name, &config, &weights)?;
        let mut out = Self {
            source: source.clone(),
            device: device.clone(),
            names: Vec::new(),
            trained: Vec::new(),
            frozen: BTreeMap::new(),
            places: Vec::new(),
        };
        for (name, shape) in network.parameters() {
            let stored = weights.at(&name).stored_path();
            if out.names.contains(&stored) || out.frozen.contains_key(&stored) {
                out.places.push((name, stored));
                continue;
            }
            let value = weights.tensor(&name, &shape)?;
            if prefixes.iter().any(|prefix| stored.starts_with(prefix)) {
                out.names.push(stored.clone());
                out.trained.push(Parameter::new(value, optimiser)?);
            } else {
                out.frozen.insert(stored.clone(), value);
            }
            out.places.push((name, stored));
        }
        if out.names.is_empty() {
            return Err(source.refused(format!("no parameter begins with {}", prefixes.join(", "))));
        }
        Ok((network, out))
    }

    /// The device that they are on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What they were read from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Names in the file of those that are trained.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of values that are trained.
    pub fn count(&self) -> usize {
        self.trained.iter().map(|parameter| parameter.value.len()).sum()
    }

    /// The value of a parameter by its name in the file.
    pub fn value(&self, name: &str) -> Option<&Tensor> {
        let at = self.names.iter().position(|own| own == name);
        at.map_or_else(|| self.frozen.get(name), |at| Some(&self.trained[at].value))
    }

    /// All parameters for a pass over `tape`, and the variables among them in the order of [`Parameters::names`].
    pub fn on(&self, tape: &Tape) -> (Named, Vec<Var>) {
        let variables: Vec<Var> = self.trained.iter().map(|own| tape.variable(own.value.clone())).collect();
        (self.named(&variables), variables)
    }

    /// All parameters as constants: for a pass without gradients.
    pub fn constants(&self) -> Named {
        let values: Vec<Var> = self.trained.iter().map(|own| Var::constant(own.value.clone())).collect();
        self.named(&values)
    }

    fn named(&self, trained: &[Var]) -> Named {
        let stored: HashMap<&str, &Var> = self.names.iter().map(String::as_str).zip(trained).collect();
        let var = |(name, place): &(String, String)| {
            let frozen = || Var::constant(self.frozen[place].clone());
            (name.clone(), stored.get(place.as_str()).map_or_else(frozen, |&var| var.clone()))
        };
        self.places.iter().map(var).collect()
    }

    /// Writes a folder with `config.json` and `model.safetensors` that `--model` takes: trained parameters in f32, all other tensors as
    /// they were read.
    ///
    /// # Errors
    /// [`TrainError::File`] if a file is not written.
    pub fn write(&self, folder: &Path) -> Result<(), TrainError> {
        std::fs::create_dir_all(folder).map_err(TrainError::file(folder))?;
        let [config, weights] = FILES.map(|file| folder.join(file));
        let mut trained = HashMap::new();
        for (name, parameter) in self.names.iter().zip(&self.trained) {
            trained.insert(name.as_str(), bytes_of(&parameter.value)?);
        }
        let stored = self.source.tensors()?;
        let mut views = Vec::new();
        for (name, view) in stored.iter() {
            let view = match trained.get(name) {
                None => view,
                Some(bytes) => view_of(view.shape(), bytes),
            };
            views.push((name, view));
        }
        write_tensors(&weights, &views, ("format", "pt"))?;
        write_whole(&config, |part| std::fs::write(part, &self.source.config))
    }
}

/// The bytes of an f32 tensor as files hold them.
pub(crate) fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>, TrainError> {
    Ok(tensor.read::<f32>()?.iter().flat_map(|value| value.to_le_bytes()).collect())
}

pub(crate) fn view_of<'a>(shape: &[usize], bytes: &'a [u8]) -> TensorView<'a> {
    TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("four bytes for each value")
}

/// Writes a safetensors file with one entry of metadata: two would be in any order.
pub(crate) fn write_tensors(
    path: &Path,
    views: &[(&str, TensorView<'_>)],
    (key, text): (&str, &str),
) -> Result<(), TrainError> {
    let about = Some(HashMap::from([(key.to_owned(), text.to_owned())]));
    let bytes = safetensors::serialize(views.iter().map(|(name, view)| (name, view)), about);
    let bytes = bytes.map_err(|error| TrainError::file(path)(std::io::Error::other(error)))?;
    write_whole(path, |part| std::fs::write(part, &bytes))
}

/// Writes a file under another name first, so that whoever stops this leaves the file as it was.
fn write_whole(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), TrainError> {
    let part = path.with_extension("part");
    write(&part).and_then(|()| std::fs::rename(&part, path)).map_err(TrainError::file(path))
}
