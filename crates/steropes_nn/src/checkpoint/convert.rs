//! Weights of any format, written as one safetensors file.

use super::{Checkpoint, Entry, Value, item_size};
use crate::LoadError;
use crate::weights::Decoded as _;
use ::safetensors::tensor::{SafeTensorError, View};
use ::safetensors::{Dtype, serialize_to_file};
use half::{bf16, f16};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The element type that floats are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// 16 bits, 11 of them significant; up to 65504.
    F16,
    /// 16 bits, 8 of them significant; the range of f32.
    Bf16,
}

/// The tensors of a checkpoint, each once, in the element types in which they are to be written.
pub struct Converted<'a> {
    tensors: Vec<(&'a str, Written<'a>)>,
}

/// A tensor whose elements are converted when they are written.
struct Written<'a> {
    checkpoint: &'a Checkpoint,
    entry: &'a Entry,
    dtype: Dtype,
}

impl Checkpoint {
    /// All tensors, to be written with floats as `to`, or in the types that they have. Of several names of one tensor
    /// the first in the order of the alphabet is kept; integers stay as they are. Values round to nearest even, and to zero
    /// where they are too small for the type.
    ///
    /// # Errors
    /// [`LoadError::NotFinite`], or [`LoadError::Refused`] if a value is too large for `to`.
    pub fn converted<'a>(&'a self, to: Option<FloatType>) -> Result<Converted<'a>, LoadError> {
        let kept = self.entries.iter().filter(|(name, _)| !self.aliases.contains_key(*name));
        let tensor = |(name, entry): (&'a String, &'a Entry)| {
            let dtype = to.filter(|_| is_float(entry.dtype)).map_or(entry.dtype, FloatType::dtype);
            let tensor = Written { checkpoint: self, entry, dtype };
            tensor.check(name)?;
            Ok((name.as_str(), tensor))
        };
        Ok(Converted { tensors: kept.map(tensor).collect::<Result<_, LoadError>>()? })
    }

    /// Names that are other names of a tensor, each with the name under which it is kept, in the order of the alphabet.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.aliases.iter().map(|(name, first)| (name.as_str(), first.as_str()))
    }

    /// The pairs `(path, source)` for [`Checkpoint::with_ties`] that stand for the aliases of this file: whole subtrees
    /// where all of a subtree is shared.
    pub fn shared_subtrees(&self) -> Vec<(String, String)> {
        let mut ties = BTreeMap::new();
        for name in self.aliases.keys() {
            let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
            let shared = |end| Some((name[..end].to_owned(), self.shared_path(&name[..end])?));
            ties.extend(ends.into_iter().find_map(shared));
        }
        ties.into_iter().collect()
    }

    /// What the file says beside its tensors, in the order of the file.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Converted<'_> {
    /// Writes the tensors to a file of the safetensors format. Equal tensors give equal bytes.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn write(self, path: &Path) -> std::io::Result<()> {
        // Python's readers ask for this word.
        let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        serialize_to_file(self.tensors, Some(about), path).map_err(|error| match error {
            SafeTensorError::IoError(error) => error,
            other => std::io::Error::other(other),
        })
    }
}

impl FloatType {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

impl Written<'_> {
    /// Refuses values that are not finite as they are or as they will be written.
    fn check(&self, name: &str) -> Result<(), LoadError> {
        let Some(values) = f64::decode(self.entry.dtype, &self.checkpoint.data(self.entry)) else {
            return Ok(()); // no floats
        };
        let file = || self.checkpoint.file.clone();
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let (tensor, value) = (name.to_owned(), values[index]);
            return Err(LoadError::NotFinite { file: file(), tensor, index, value });
        }
        let fits = |value: f64| match self.dtype {
            Dtype::F16 => f16::from_f64(value).is_finite(),
            Dtype::BF16 => bf16::from_f64(value).is_finite(),
            Dtype::F32 => (value as f32).is_finite(),
            _ => true,
        };
        if let Some(index) = values.iter().position(|&value| !fits(value)) {
            let dtype = format!("{:?}", self.dtype).to_lowercase();
            let problem = format!(
                "tensor `{name}`: element {index} is {}, too large for {dtype}; write it in a type with a larger range",
                values[index]
            );
            return Err(LoadError::Refused { file: file(), problem });
        }
        Ok(())
    }
}

impl View for Written<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.entry.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let stored = self.checkpoint.data(self.entry);
        if self.dtype == self.entry.dtype {
            return stored;
        }
        let values = f64::decode(self.entry.dtype, &stored).expect("only floats change their type");
        let values = values.into_iter();
        Cow::Owned(match self.dtype {
            Dtype::F16 => values.flat_map(|v| f16::from_f64(v).to_le_bytes()).collect(),
            Dtype::BF16 => values.flat_map(|v| bf16::from_f64(v).to_le_bytes()).collect(),
            _ => values.flat_map(|v| (v as f32).to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        self.entry.len() * item_size(self.dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::safetensors::SafeTensors;
    use ::safetensors::tensor::TensorView;

    fn file(tensors: &[(&str, Dtype, Vec<u8>)]) -> Checkpoint {
        let mut views = Vec::new();
        for (name, dtype, bytes) in tensors {
            let shape = vec![bytes.len() / item_size(*dtype)];
            views.push((*name, TensorView::new(*dtype, shape, bytes).unwrap()));
        }
        Checkpoint::from_bytes("net", ::safetensors::serialize(views, None).unwrap()).unwrap()
    }

    /// The type and bytes of tensor `name` after conversion.
    fn written(checkpoint: &Checkpoint, to: Option<FloatType>, name: &str) -> (Dtype, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.safetensors");
        checkpoint.converted(to).unwrap().write(&path).unwrap();
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = file.tensor(name).unwrap();
        (view.dtype(), view.data().to_vec())
    }

    #[test]
    fn floats_round_to_nearest_even_and_integers_stay() {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        // Halfway between two neighbours in f16, the lower and the upper of which is even; too small; the largest.
        let values = [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, -1e-9, 65519.0];
        let third: Vec<u8> = (1.0f64 / 3.0).to_le_bytes().to_vec();
        let net = file(&[
            ("x", Dtype::F32, bytes(&values)),
            ("d", Dtype::F64, third.clone()),
            ("i", Dtype::I64, 7i64.to_le_bytes().to_vec()),
        ]);
        let halves: Vec<u8> = [1.0, 1.0 + 2.0 / 1024.0, -0.0, 65504.0]
            .iter()
            .flat_map(|&v| f16::from_f32(v).to_le_bytes())
            .collect();
        assert_eq!(written(&net, Some(FloatType::F16), "x"), (Dtype::F16, halves));
        let brains: Vec<u8> =
            [1.0, 1.0, -1e-9, 65536.0].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        assert_eq!(written(&net, Some(FloatType::Bf16), "x"), (Dtype::BF16, brains));
        assert_eq!(written(&net, Some(FloatType::F32), "d"), (Dtype::F32, bytes(&[1.0 / 3.0])));
        assert_eq!(written(&net, None, "d"), (Dtype::F64, third));
        for to in [None, Some(FloatType::F16)] {
            assert_eq!(written(&net, to, "i"), (Dtype::I64, 7i64.to_le_bytes().to_vec()));
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let net = |value: f64| file(&[("d", Dtype::F64, value.to_le_bytes().to_vec())]);
        let refused = |value, to| net(value).converted(Some(to)).err().map(|error| error.to_string());
        assert_eq!(
            refused(-65520.0, FloatType::F16).unwrap(),
            "`net`: tensor `d`: element 0 is -65520, too large for f16; write it in a type with a larger range"
        );
        assert!(refused(1e39, FloatType::F32).unwrap().contains("too large for f32"));
        assert!(refused(3.4e38, FloatType::Bf16).unwrap().contains("too large for bf16"));
        assert_eq!((refused(65519.0, FloatType::F16), refused(3.38e38, FloatType::Bf16)), (None, None));
        assert!(net(f64::NAN).converted(None).err().unwrap().to_string().contains("element 0 is NaN"));
    }
}
