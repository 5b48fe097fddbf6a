//! Retrieval files: whitening weights with their hyper-parameters, and the visual words beside them.

use super::projector::Projector;
use super::whitening::Whitening;
use super::{FeatureCount, Retrieval, RetrievalFile};
use crate::ModelError;
use std::path::{Path, PathBuf};
use steropes_nn::{Checkpoint, Codebook, Value, Weights};
use steropes_tensor::Device;

/// Features of an image where the file does not say how many.
const DEFAULT_COUNT: FeatureCount = FeatureCount::AtMost(300);

impl Retrieval {
    /// Reads a retrieval file (`*_retrieval_trainingfree.pth`, or the same tensors as safetensors) and the visual words beside
    /// it: the `.pkl` file whose name has `codebook` in the place of the last piece after a `_`, or `codebook.pkl`.
    ///
    /// # Errors
    /// [`ModelError::Load`] if a file cannot be used, [`ModelError::Config`] if its hyper-parameters contradict its tensors or
    /// are not known.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let checkpoint = Checkpoint::open(path)?;
        let device = Device::cpu();
        let root = Weights::new(&checkpoint, &device);
        let args = Args { checkpoint: &checkpoint };
        let whitening = Whitening::load(&root.at("prewhiten"))?;
        let projector = Projector::load(&root.at("projector"), whitening.outputs(), args.is_residual()?)?;
        let widths = projector.as_ref().map_or(&[][..], Projector::widths);
        if let Some(stated) = args.hidden_widths()?
            && stated != widths
        {
            return Err(
                args.refused(format!("`args.hdims` is {stated:?}, but its layers have {widths:?} outputs"))
            );
        }
        let width = widths.last().copied().unwrap_or_else(|| whitening.outputs());
        if projector.as_ref().is_some_and(|p| p.is_residual) && width != whitening.outputs() {
            let problem = format!(
                "`args.residual` adds the input to the output, but they have {} and {width} values",
                whitening.outputs()
            );
            return Err(args.refused(problem));
        }
        let second = root.at("postwhiten");
        let second_whitening = if second.has("p") { Some(Whitening::load(&second)?) } else { None };
        if let Some(inputs) = second_whitening.as_ref().map(Whitening::inputs).filter(|&i| i != width) {
            return Err(
                args.refused(format!("`postwhiten` takes {inputs} values, but features have {width}"))
            );
        }
        args.check_attention()?;
        checkpoint.check_leftovers(|_| false)?;
        let count = args.count()?;
        let mut retrieval = Self { whitening, projector, second_whitening, count, file: None };
        let words = words_beside(path, retrieval.width(), args.word_count()?)?;
        retrieval.file = Some(RetrievalFile { path: path.to_owned(), image_size: args.image_size()?, words });
        Ok(retrieval)
    }
}

/// The hyper-parameters that a file of `torch.save` states; other files have none, and every one has a default.
struct Args<'a> {
    checkpoint: &'a Checkpoint,
}

impl Args<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.checkpoint.value(&format!("args.{name}")).filter(|value| **value != Value::None)
    }

    fn refused(&self, problem: String) -> ModelError {
        ModelError::Config { file: self.checkpoint.file().to_owned(), problem }
    }

    /// The error for a value that is not as `expected`.
    fn unknown(&self, name: &str, expected: &str, found: &Value) -> ModelError {
        self.refused(format!("`args.{name}` must be {expected}, got {found:?}"))
    }

    fn is_residual(&self) -> Result<bool, ModelError> {
        match self.get("residual") {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.unknown("residual", "True or False", other)),
        }
    }

    /// Extents of the projector's layers: a list, or a text such as `512_256`. `None` if the file does not say.
    fn hidden_widths(&self) -> Result<Option<Vec<usize>>, ModelError> {
        let Some(value) = self.checkpoint.value("args.hdims") else { return Ok(None) };
        let number = |item: &Value| match item {
            Value::Int(int) => usize::try_from(*int).ok(),
            _ => None,
        };
        let widths = match value {
            Value::None => Some(Vec::new()),
            Value::List(items) => items.iter().map(number).collect(),
            Value::Int(_) => number(value).map(|width| vec![width]),
            Value::Text(text) => text.split('_').filter(|t| !t.is_empty()).map(|t| t.parse().ok()).collect(),
            _ => None,
        };
        widths.map(Some).ok_or_else(|| self.unknown("hdims", "the widths of layers", value))
    }

    /// `nfeat`: a number above 0, or a share as a number from -1 to below 0.
    fn count(&self) -> Result<FeatureCount, ModelError> {
        let Some(value) = self.get("nfeat") else { return Ok(DEFAULT_COUNT) };
        let count = match value {
            Value::Int(-1) => Some(FeatureCount::Share(1.0)),
            Value::Int(int) => usize::try_from(*int).ok().filter(|n| *n > 0).map(FeatureCount::AtMost),
            Value::Float(float) if (-1.0..0.0).contains(float) => Some(FeatureCount::Share(-float)),
            Value::Float(float) if *float >= 1.0 => Some(FeatureCount::AtMost(*float as usize)),
            _ => None,
        };
        count.ok_or_else(|| self.unknown("nfeat", "at least 1, or a share from -1 to below 0", value))
    }

    fn check_attention(&self) -> Result<(), ModelError> {
        match self.get("featweights") {
            None => Ok(()),
            Some(Value::Text(text)) if text == "l2norm" => Ok(()),
            Some(other) => Err(self.unknown("featweights", "`l2norm`", other)),
        }
    }

    fn image_size(&self) -> Result<Option<usize>, ModelError> {
        match self.get("imsize") {
            None => Ok(None),
            Some(&Value::Int(side)) if side > 0 => Ok(Some(side as usize)),
            Some(other) => Err(self.unknown("imsize", "a number of pixels", other)),
        }
    }

    /// `nclusters`: a number, or a text such as `64k`.
    fn word_count(&self) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get("nclusters") else { return Ok(None) };
        let parse = |text: &str| {
            let (digits, unit) = match text.as_bytes().last()? {
                b'k' => (&text[..text.len() - 1], 1 << 10),
                b'M' => (&text[..text.len() - 1], 1 << 20),
                _ => (text, 1),
            };
            digits.parse::<usize>().ok()?.checked_mul(unit)
        };
        let count = match value {
            Value::Int(int) => usize::try_from(*int).ok(),
            Value::Text(text) => parse(text),
            _ => None,
        };
        count.map(Some).ok_or_else(|| self.unknown("nclusters", "a number of words such as 64k", value))
    }
}

/// The words in the codebook that belongs to the retrieval file at `path`.
fn words_beside(
    path: &Path,
    width: usize,
    stated: Option<usize>,
) -> Result<Option<(PathBuf, Vec<f32>)>, ModelError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let named = name.rsplit_once('_').map(|(stem, _)| path.with_file_name(format!("{stem}_codebook.pkl")));
    let places = named.into_iter().chain([path.with_file_name("codebook.pkl")]);
    let Some(place) = places.into_iter().find(|place| place.is_file()) else { return Ok(None) };
    let codebook = Codebook::open(&place)?;
    let refused = |problem| Err(ModelError::Config { file: place.display().to_string(), problem });
    if codebook.width != width {
        let found = codebook.width;
        return refused(format!("its words have {found} values, but the features of `{name}` have {width}"));
    }
    if let Some(stated) = stated.filter(|&stated| stated != codebook.size) {
        return refused(format!("it has {} words, but `{name}` was made for {stated}", codebook.size));
    }
    Ok(Some((place, codebook.centroids)))
}
