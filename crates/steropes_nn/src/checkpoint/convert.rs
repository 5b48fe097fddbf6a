//! Weights of any format, written as one safetensors file.

use super::{Checkpoint, Entry, Value, item_size, safetensors};
use crate::{LoadError, WeightType};
use ::safetensors::tensor::{SafeTensorError, View};
use ::safetensors::{Dtype, serialize_to_file};
use half::{bf16, f16};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use steropes_ops::linalg::quantize::{BlockFormat, QuantizedMatrix};

/// The tensors of a checkpoint, each once, in the forms in which they are to be written.
pub struct Converted<'a> {
    tensors: Vec<(&'a str, Written<'a>)>,
}

/// A tensor whose elements are converted when they are written.
struct Written<'a> {
    checkpoint: &'a Checkpoint,
    name: &'a str,
    entry: &'a Entry,
    form: Form,
    /// The extents in the file.
    shape: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    AsStored,
    Floats(Dtype),
    Blocks(BlockFormat),
}

impl Checkpoint {
    /// All tensors, to be written with floats as `to`, or in the types that they have. Of several names of one tensor
    /// the first in the order of the alphabet is kept; integers stay as they are. Values round to nearest even, and to zero
    /// where they are too small for the type.
    ///
    /// As q8 or q4 the weights of linear layers are written in blocks ([`QuantizedMatrix`]), those of the last layer of descriptors in
    /// [`WeightType::finer`], the other tensors as they are, doubles as f32: a network that is loaded in that precision is then the same as one that was loaded so from this file.
    ///
    /// # Errors
    /// [`LoadError::NotFinite`], or [`LoadError::Refused`] if a value is too large for `to`, or if that is int8, which no file holds.
    pub fn converted<'a>(&'a self, to: Option<WeightType>) -> Result<Converted<'a>, LoadError> {
        if to == Some(WeightType::Int8) {
            let problem = "int8 is made while weights are read; the stored form of 8 bits is q8".to_owned();
            return Err(LoadError::Refused { file: self.file.clone(), problem });
        }
        let kept = self.entries.iter().filter(|(name, _)| !self.aliases.contains_key(*name));
        let tensor = |(name, entry): (&'a String, &'a Entry)| {
            let form = to.map_or(Form::AsStored, |to| Form::of(name, entry, to));
            let shape = match form.blocks(entry) {
                None => entry.shape.clone(),
                Some(format) => vec![entry.shape[0], format.row_bytes(entry.shape[1])],
            };
            let tensor = Written { checkpoint: self, name, entry, form, shape };
            tensor.check()?;
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
        let in_blocks = self.tensors.iter().filter_map(|(name, tensor)| {
            Some((*name, tensor.form.blocks(tensor.entry)?, tensor.entry.shape.as_slice()))
        });
        // Python's readers ask for this word, but know no blocks. Two entries would be written in any order.
        let about = safetensors::quantized_list(in_blocks);
        let about = about.unwrap_or_else(|| ("format".to_owned(), "pt".to_owned()));
        serialize_to_file(self.tensors, Some(HashMap::from([about])), path).map_err(|error| match error {
            SafeTensorError::IoError(error) => error,
            other => std::io::Error::other(other),
        })
    }
}

impl Form {
    /// How a tensor is written if floats are to be `to`.
    fn of(name: &str, entry: &Entry, to: WeightType) -> Self {
        let is_float = matches!(entry.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16);
        if !is_float && entry.blocks.is_none() {
            return Self::AsStored;
        }
        match to {
            WeightType::F32 => Self::Floats(Dtype::F32),
            WeightType::F16 => Self::Floats(Dtype::F16),
            WeightType::Bf16 => Self::Floats(Dtype::BF16),
            WeightType::Int8 => unreachable!("refused before"),
            WeightType::Q8 | WeightType::Q4 => match held(name, entry, to) {
                WeightType::Bf16 => Self::Floats(Dtype::BF16),
                held => match held.blocks() {
                    Some(format) if entry.blocks != Some(format) => Self::Blocks(format),
                    None if entry.dtype == Dtype::F64 => Self::Floats(Dtype::F32),
                    _ => Self::AsStored,
                },
            },
        }
    }

    /// The format of the blocks that the file will hold.
    fn blocks(self, entry: &Entry) -> Option<BlockFormat> {
        match self {
            Self::AsStored => entry.blocks,
            Self::Floats(_) => None,
            Self::Blocks(format) => Some(format),
        }
    }
}

/// How a network whose weights are in blocks of `to` holds a tensor: f32 stands for all that is not rounded.
fn held(name: &str, entry: &Entry, to: WeightType) -> WeightType {
    let ends = |end: &str| name.ends_with(end);
    let is_matrix = entry.shape.len() == 2 && ends(".weight");
    if !is_matrix || ends("downstream_head1.proj.weight") || ends("downstream_head2.proj.weight") {
        WeightType::F32
    } else if ends("head_local_features.fc2.weight") {
        to.finer()
    } else {
        to
    }
}

impl Written<'_> {
    /// Refuses values that are not finite as they are or as they will be written.
    fn check(&self) -> Result<(), LoadError> {
        let Some(values) = self.checkpoint.decoded::<f64>(self.name, self.entry)? else {
            return Ok(()); // no floats
        };
        let (file, tensor) = (|| self.checkpoint.file.clone(), self.name.to_owned());
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(LoadError::NotFinite { file: file(), tensor, index, value: values[index] });
        }
        let to = match self.form {
            Form::AsStored => return Ok(()),
            Form::Floats(Dtype::F16) => WeightType::F16,
            Form::Floats(Dtype::BF16) => WeightType::Bf16,
            Form::Floats(_) => WeightType::F32,
            Form::Blocks(format) => WeightType::from(format),
        };
        if let Some(index) = values.iter().position(|&value| !to.holds(value as f32)) {
            let problem = format!(
                "tensor `{tensor}`: element {index} is {}, too large for {to}; write it in a type with a larger range",
                values[index]
            );
            return Err(LoadError::Refused { file: file(), problem });
        }
        Ok(())
    }

    fn values(&self) -> Vec<f64> {
        let values = self.checkpoint.decoded(self.name, self.entry);
        values.expect("the values were checked").expect("only floats change their type")
    }
}

impl View for Written<'_> {
    fn dtype(&self) -> Dtype {
        match self.form {
            Form::AsStored => self.entry.dtype,
            Form::Floats(dtype) => dtype,
            Form::Blocks(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // By way of f32, as layers are read: the conversion from f64 forgets the last bits of an f32, which decide ties.
        let values = || self.values().into_iter();
        match self.form {
            Form::AsStored => self.checkpoint.data(self.entry),
            Form::Floats(Dtype::F16) => {
                values().flat_map(|v| f16::from_f32(v as f32).to_le_bytes()).collect()
            }
            Form::Floats(Dtype::BF16) => {
                values().flat_map(|v| bf16::from_f32(v as f32).to_le_bytes()).collect()
            }
            Form::Floats(_) => values().flat_map(|v| (v as f32).to_le_bytes()).collect(),
            Form::Blocks(format) => {
                let values: Vec<f32> = values().map(|v| v as f32).collect();
                let shape = [self.entry.shape[0], self.entry.shape[1]];
                let matrix = QuantizedMatrix::quantize(format, shape, &values);
                Cow::Owned(matrix.expect("the values were checked").bytes().to_vec())
            }
        }
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * item_size(self.dtype())
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
    fn written(checkpoint: &Checkpoint, to: Option<WeightType>, name: &str) -> (Dtype, Vec<u8>) {
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
        assert_eq!(written(&net, Some(WeightType::F16), "x"), (Dtype::F16, halves));
        let brains: Vec<u8> =
            [1.0, 1.0, -1e-9, 65536.0].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        assert_eq!(written(&net, Some(WeightType::Bf16), "x"), (Dtype::BF16, brains));
        assert_eq!(written(&net, Some(WeightType::F32), "d"), (Dtype::F32, bytes(&[1.0 / 3.0])));
        assert_eq!(written(&net, None, "d"), (Dtype::F64, third));
        for to in [None, Some(WeightType::F16)] {
            assert_eq!(written(&net, to, "i"), (Dtype::I64, 7i64.to_le_bytes().to_vec()));
        }
    }

    #[test]
    fn the_last_bit_of_an_f32_decides_a_tie() {
        let above = |tie: f32| f32::from_bits((1.0 + tie).to_bits() + 1);
        let net = |value: f32| file(&[("x", Dtype::F32, value.to_le_bytes().to_vec())]);
        let half = written(&net(above(1.0 / 2048.0)), Some(WeightType::F16), "x").1;
        assert_eq!(half, f16::from_f32(1.0 + 1.0 / 1024.0).to_le_bytes());
        let brain = written(&net(above(1.0 / 256.0)), Some(WeightType::Bf16), "x").1;
        assert_eq!(brain, bf16::from_f32(1.0 + 1.0 / 128.0).to_le_bytes());
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let net = |value: f64| file(&[("d", Dtype::F64, value.to_le_bytes().to_vec())]);
        let refused = |value, to| net(value).converted(Some(to)).err().map(|error| error.to_string());
        assert_eq!(
            refused(-65520.0, WeightType::F16).unwrap(),
            "`net`: tensor `d`: element 0 is -65520, too large for f16; write it in a type with a larger range"
        );
        assert!(refused(1e39, WeightType::F32).unwrap().contains("too large for f32"));
        assert!(refused(3.4e38, WeightType::Bf16).unwrap().contains("too large for bf16"));
        assert_eq!((refused(65519.0, WeightType::F16), refused(3.38e38, WeightType::Bf16)), (None, None));
        assert!(net(f64::NAN).converted(None).err().unwrap().to_string().contains("element 0 is NaN"));
    }

    /// A file with one linear layer of 3 outputs and 40 inputs, a convolution, a bias and the points of a head, as f32.
    fn layers() -> Checkpoint {
        let shapes: [(&str, &[usize]); 5] = [
            ("a.fc.weight", &[3, 40]),
            ("a.fc.bias", &[3]),
            ("a.conv.weight", &[2, 2, 3, 3]),
            ("downstream_head1.proj.weight", &[4, 32]),
            ("head_local_features.fc2.weight", &[5, 32]),
        ];
        let data = shapes.map(|(name, shape)| {
            let values = steropes_testkit::inputs::normal(name, shape.iter().product());
            values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()
        });
        let views = shapes
            .iter()
            .zip(&data)
            .map(|((name, shape), data)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap()));
        Checkpoint::from_bytes("net", ::safetensors::serialize(views, None).unwrap()).unwrap()
    }

    /// The bytes of the converted file.
    fn file_of(checkpoint: &Checkpoint, to: Option<WeightType>) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        checkpoint.converted(to).unwrap().write(file.path()).unwrap();
        std::fs::read(file.path()).unwrap()
    }

    #[test]
    fn linear_layers_become_blocks_and_come_back() {
        let net = layers();
        let decoded = |file: &Checkpoint, name: &str| {
            file.decoded::<f32>(name, file.entry(name).unwrap()).unwrap().unwrap()
        };
        for (to, format) in [(WeightType::Q8, BlockFormat::Q8), (WeightType::Q4, BlockFormat::Q4)] {
            let bytes = file_of(&net, Some(to));
            assert!(bytes == file_of(&net, Some(to)), "equal bytes each time");
            let plain = SafeTensors::deserialize(&bytes).unwrap();
            let view = plain.tensor("a.fc.weight").unwrap();
            assert_eq!((view.dtype(), view.shape()), (Dtype::U8, &[3, 2 * format.block_bytes()][..]));
            let values = decoded(&net, "a.fc.weight");
            let matrix = QuantizedMatrix::quantize(format, [3, 40], &values).unwrap();
            assert_eq!(view.data(), matrix.bytes());
            for name in ["a.fc.bias", "a.conv.weight", "downstream_head1.proj.weight"] {
                assert_eq!(plain.tensor(name).unwrap().dtype(), Dtype::F32, "{name}");
            }
            let last = plain.tensor("head_local_features.fc2.weight").unwrap();
            let want = if to == WeightType::Q4 { (Dtype::U8, &[5, 34]) } else { (Dtype::BF16, &[5, 32]) };
            assert_eq!((last.dtype(), last.shape()), (want.0, &want.1[..]), "one step finer");
            let small = Checkpoint::from_bytes("small", bytes.clone()).unwrap();
            assert_eq!((small.block_format(), net.block_format()), (Some(format), None));
            let summary = small.summary();
            assert_eq!((summary.parameters, summary.element_types[format.name()]), (447, 120));
            assert_eq!(decoded(&small, "a.fc.weight"), matrix.dequantize());
            assert!(
                file_of(&small, None) == bytes && file_of(&small, Some(to)) == bytes,
                "as they are stored"
            );
            let wide = Checkpoint::from_bytes("wide", file_of(&small, Some(WeightType::F32))).unwrap();
            assert_eq!((wide.block_format(), wide.entry("a.fc.weight").unwrap().dtype), (None, Dtype::F32));
            assert_eq!(decoded(&wide, "a.fc.weight"), matrix.dequantize());
        }
    }

    #[test]
    fn lists_of_blocks_that_do_not_fit_are_refused() {
        let bytes = file_of(&layers(), Some(WeightType::Q4));
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let text = std::str::from_utf8(&bytes[8..8 + header]).unwrap();
        let open = |from: &str, to: &str| {
            let text = text.replace(from, to);
            let file = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &bytes[8 + header..]].concat();
            Checkpoint::from_bytes("net", file)
        };
        let refused = |from: &str, to: &str| match open(from, to) {
            Ok(_) => panic!("{from} as {to} must be refused"),
            Err(error) => error.to_string(),
        };
        assert!(open("", "").is_ok());
        for (from, to, part) in [
            ("q4_0", "q4_1", "is in blocks of `q4_1`, which are not read"),
            ("q4_0", "q8_0", "has not the bytes of q8_0 of shape [3, 40]"),
            ("[3,40]", "[4,40]", "has not the bytes of q4_0 of shape [4, 40]"),
            ("[3,40]", "[3,65]", "has not the bytes"),
            ("[3,40]", "[3,18446744073709551615]", "has not the bytes"),
            ("[3,40]", "[3]", "has no two extents"),
            ("[3,40]", "[3,-1]", "has no two extents"),
            ("\\\"a.fc.weight\\\"", "\\\"b.fc.weight\\\"", "tensor `b.fc.weight` is not there"),
            ("\\\"a.fc.weight\\\"", "\\\"a.fc.bias\\\"", "has not the bytes"),
            ("\"{\\", "\"[{\\", "`quantized`"),
        ] {
            let text = refused(from, to);
            assert!(text.contains(part) && !text.contains('\n'), "{text}");
        }
        // An infinite scale is found when the tensor is read.
        let mut damaged = bytes.clone();
        let place =
            Checkpoint::from_bytes("net", bytes.clone()).unwrap().entry("a.fc.weight").unwrap().place.clone();
        damaged[place.start + 1] = 0x7c;
        let damaged = Checkpoint::from_bytes("net", damaged).unwrap();
        let error = damaged.decoded::<f32>("a.fc.weight", damaged.entry("a.fc.weight").unwrap());
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("`net`: tensor `a.fc.weight` is damaged") && text.contains("block 0"),
            "{text}"
        );
    }

    #[test]
    fn values_that_no_block_holds_are_refused() {
        let values: Vec<u8> = [1.0f32, -6e5].iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![1, 2], &values).unwrap();
        let bytes = ::safetensors::serialize([("fc.weight", view)], None).unwrap();
        let net = Checkpoint::from_bytes("net", bytes).unwrap();
        assert!(net.converted(Some(WeightType::Q8)).is_ok());
        assert_eq!(
            net.converted(Some(WeightType::Int8)).err().unwrap().to_string(),
            "`net`: int8 is made while weights are read; the stored form of 8 bits is q8"
        );
        assert_eq!(
            net.converted(Some(WeightType::Q4)).err().unwrap().to_string(),
            "`net`: tensor `fc.weight`: element 1 is -600000, too large for q4; write it in a type with a larger range"
        );
    }
}
