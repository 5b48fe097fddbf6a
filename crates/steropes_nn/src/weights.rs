//! A place in the tree of tensor names.

use crate::checkpoint::Entry;
use crate::{Checkpoint, LoadError, WeightType};
use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;
use std::fmt::Display;
use steropes_ops::OpError;
use steropes_ops::cpu::{Isa, with_isa};
use steropes_ops::linalg::quantize::{BlockFormat, QuantizedMatrix};
use steropes_tensor::{Device, Element, Tensor, TensorError};

/// The tensors of a checkpoint below one path, to be read onto one device.
///
/// `weights.at("enc_blocks").at(3).at("attn").tensor("proj.bias", &[256])` reads
/// `enc_blocks.3.attn.proj.bias`.
#[derive(Clone)]
pub struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    precision: WeightType,
    path: String,
}

impl<'a> Weights<'a> {
    /// The root of the tree; factors of products are read in f32.
    pub fn new(checkpoint: &'a Checkpoint, device: &'a Device) -> Self {
        Self { checkpoint, device, precision: WeightType::F32, path: String::new() }
    }

    /// The same place, whose weights are read in `precision`: f32, f16 on a GPU that has it, or bf16, int8 and blocks on the CPU.
    #[must_use]
    pub fn in_precision(self, precision: WeightType) -> Self {
        Self { precision, ..self }
    }

    /// The same place with linear layers in f32 where they would be bf16, int8 or in blocks: for layers whose errors grow afterwards.
    #[must_use]
    pub fn in_value_type(&self) -> Self {
        let precision = if self.precision == WeightType::F16 { WeightType::F16 } else { WeightType::F32 };
        self.clone().in_precision(precision)
    }

    /// The same place with linear layers in [`WeightType::finer`]: for layers whose errors grow a little afterwards.
    #[must_use]
    pub fn in_finer_type(&self) -> Self {
        self.clone().in_precision(self.precision.finer())
    }

    /// The subtree below the component or dotted path `part`.
    #[must_use]
    pub fn at(&self, part: impl Display) -> Self {
        Self { path: self.full(part), ..self.clone() }
    }

    /// The path of this place as the file holds it: the other path where two subtrees are tied.
    pub fn stored_path(&self) -> String {
        self.checkpoint.stored_path(&self.path)
    }

    /// Whether the file holds the tensor `name` below this place.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// The extents of the tensor `name`, which must have `RANK` of them.
    ///
    /// # Errors
    /// [`LoadError::Missing`] or [`LoadError::Shape`].
    pub fn shape<const RANK: usize>(&self, name: &str) -> Result<[usize; RANK], LoadError> {
        let found = &self.find(name)?.1.shape;
        found.as_slice().try_into().map_err(|_| self.wrong_shape(name, format!("with {RANK} extents"), found))
    }

    /// The error for a tensor `name` that the file holds with the extents `found`.
    pub fn wrong_shape(&self, name: &str, expected: String, found: &[usize]) -> LoadError {
        let tensor = self.checkpoint.stored_path(&self.full(name));
        LoadError::Shape { file: self.file(), tensor, expected, found: found.to_vec() }
    }

    /// The tensor `name` as f32 on the device, whose extents must be `shape`.
    ///
    /// # Errors
    /// [`LoadError::Missing`], [`LoadError::Shape`], [`LoadError::ElementType`], [`LoadError::NotFinite`], or
    /// [`LoadError::Device`] if the device has no memory for it.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.upload(name, shape, self.values(name, shape)?)
    }

    /// The tensor `name` on the device in [`WeightType::values`] of the precision: the weight of a convolution.
    ///
    /// # Errors
    /// As [`Weights::tensor`], and [`LoadError::TooLarge`] if a value does not fit f16.
    pub fn factor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.upload_factor(name, shape, self.values(name, shape)?)
    }

    /// Values that were read with [`Weights::values`] and rearranged, on the device in f32; `name` is for messages.
    ///
    /// # Errors
    /// [`LoadError::Device`] if the device has no memory for them.
    ///
    /// # Panics
    /// If `shape` does not fit the values.
    pub fn upload(&self, name: &str, shape: &[usize], values: Vec<f32>) -> Result<Tensor, LoadError> {
        self.place(name, shape, values)
    }

    /// [`Weights::upload`] in [`WeightType::values`] of the precision.
    ///
    /// # Errors
    /// [`LoadError::TooLarge`] if a value does not fit f16, [`LoadError::Device`] if the device has no memory for them.
    ///
    /// # Panics
    /// If `shape` does not fit the values.
    pub fn upload_factor(&self, name: &str, shape: &[usize], values: Vec<f32>) -> Result<Tensor, LoadError> {
        if self.precision != WeightType::F16 {
            return self.upload(name, shape, values);
        }
        self.check_factor(name, &values)?;
        let mut halves = vec![f16::ZERO; values.len()];
        halves.convert_from_f32_slice(&values);
        self.place(name, shape, halves)
    }

    /// Values that were read with [`Weights::values`] and rearranged, on the device as the weight of a linear layer that is not in
    /// blocks; `name` is for messages.
    ///
    /// # Errors
    /// As [`Weights::upload_factor`].
    ///
    /// # Panics
    /// If `shape` does not fit the values.
    pub(crate) fn upload_matrix(
        &self,
        name: &str,
        shape: [usize; 2],
        values: Vec<f32>,
    ) -> Result<Tensor, LoadError> {
        if self.precision != WeightType::Bf16 {
            return self.upload_factor(name, &shape, values);
        }
        self.check_factor(name, &values)?;
        let mut halves = vec![bf16::ZERO; values.len()];
        halves.convert_from_f32_slice(&values);
        self.place(name, &shape, halves)
    }

    /// The tensor `name` in blocks of `format`: as it is stored if it is stored so, else quantised.
    ///
    /// # Errors
    /// As [`Weights::tensor`], and [`LoadError::TooLarge`] if a value does not fit.
    pub(crate) fn blocks(
        &self,
        name: &str,
        shape: [usize; 2],
        format: BlockFormat,
    ) -> Result<QuantizedMatrix, LoadError> {
        let (stored, entry) = self.find(name)?;
        if entry.blocks == Some(format) && entry.shape == shape {
            let blocks = self.checkpoint.blocks_of(&stored, entry, format)?;
            self.checkpoint.mark_read(&stored);
            return Ok(blocks);
        }
        let values = self.values(name, &shape)?;
        self.check_factor(name, &values)?;
        Ok(QuantizedMatrix::quantize(format, shape, &values).expect("the values were checked"))
    }

    /// Whether values can be held in the precision of [`Weights::in_precision`].
    ///
    /// # Errors
    /// [`LoadError::TooLarge`] if a value does not fit.
    pub(crate) fn check_factor(&self, name: &str, values: &[f32]) -> Result<(), LoadError> {
        // What was read is finite.
        let precision = self.precision;
        let is_narrower = !matches!(precision, WeightType::F32 | WeightType::Int8);
        let wrong = is_narrower.then(|| first(values, |v| !precision.holds(v))).flatten();
        match wrong {
            None => Ok(()),
            Some(index) => {
                let (file, tensor) = (self.file(), self.checkpoint.stored_path(&self.full(name)));
                Err(LoadError::TooLarge {
                    file,
                    tensor,
                    index,
                    value: values[index],
                    precision: self.precision,
                })
            }
        }
    }

    fn place<T: Element>(&self, name: &str, shape: &[usize], values: Vec<T>) -> Result<Tensor, LoadError> {
        match Tensor::new(self.device, shape, values) {
            Ok(tensor) => Ok(tensor),
            Err(TensorError::Device(source)) => {
                let tensor = self.checkpoint.stored_path(&self.full(name));
                Err(LoadError::Device { file: self.file(), tensor, source })
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The values of the tensor `name` in row-major order, for layers that rearrange them.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        self.decoded(name, shape)
    }

    /// [`Weights::values`] in f64, for what is computed in f64: also tensors that are stored so are read, and no value is
    /// rounded.
    ///
    /// # Errors
    /// As [`Weights::values`].
    pub fn values_f64(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>, LoadError> {
        self.decoded(name, shape)
    }

    fn decoded<T: Decoded>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>, LoadError> {
        let (stored, entry) = self.find(name)?;
        if entry.shape != shape {
            return Err(self.wrong_shape(name, format!("{shape:?}"), &entry.shape));
        }
        let Some(values) = self.checkpoint.decoded::<T>(&stored, entry)? else {
            let (expected, found) = (T::STORED, format!("{:?}", entry.dtype));
            return Err(LoadError::ElementType { file: self.file(), tensor: stored, expected, found });
        };
        if let Some(index) = first(&values, |v| !v.into().is_finite()) {
            let value = values[index].into();
            return Err(LoadError::NotFinite { file: self.file(), tensor: stored, index, value });
        }
        self.checkpoint.mark_read(&stored);
        Ok(values)
    }

    /// What `load` makes of each of `0..count`: the blocks of a trunk. On the CPU some are read at once.
    ///
    /// # Errors
    /// That of the first block which has one.
    pub fn each<T: Send>(
        &self,
        count: usize,
        load: impl Fn(usize) -> Result<T, LoadError> + Sync,
    ) -> Result<Vec<T>, LoadError> {
        if self.device.gpu().is_some() {
            return (0..count).map(load).collect();
        }
        let isa = Isa::current();
        let loaded: Vec<_> =
            (0..count).into_par_iter().with_max_len(1).map(|i| with_isa(isa, || load(i))).collect();
        loaded.into_iter().collect()
    }

    /// Which of two names of one tensor the file holds; the first if it holds both with the same bytes.
    ///
    /// # Errors
    /// [`LoadError::Missing`] (by the first name) or [`LoadError::AliasesDiffer`].
    pub fn either<'n>(&self, name: &'n str, alias: &'n str) -> Result<&'n str, LoadError> {
        match (self.find(name), self.find(alias)) {
            (Ok((name_stored, one)), Ok((alias_stored, other))) => {
                let is_alike = one.dtype == other.dtype && one.blocks == other.blocks;
                if !is_alike || self.checkpoint.data(one) != self.checkpoint.data(other) {
                    let file = self.file();
                    return Err(LoadError::AliasesDiffer { file, name: name_stored, alias: alias_stored });
                }
                self.checkpoint.mark_read(&alias_stored);
                Ok(name)
            }
            (Err(_), Ok(_)) => Ok(alias),
            (Ok(_), Err(_)) => Ok(name),
            (Err(missing), Err(_)) => Err(missing),
        }
    }

    /// How weights are read.
    pub fn precision(&self) -> WeightType {
        self.precision
    }

    /// The device that tensors are read onto.
    pub fn device(&self) -> &Device {
        self.device
    }

    /// What an op says about the weights of this place.
    pub(crate) fn refused(&self, source: OpError) -> LoadError {
        LoadError::Op { tensor: self.path.clone(), source }
    }

    fn find(&self, name: &str) -> Result<(String, &'a Entry), LoadError> {
        let stored = self.checkpoint.stored_path(&self.full(name));
        match self.checkpoint.entry(&stored) {
            Some(entry) => Ok((stored, entry)),
            None => Err(LoadError::Missing { file: self.file(), tensor: stored }),
        }
    }

    fn full(&self, name: impl Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    fn file(&self) -> String {
        self.checkpoint.file().to_owned()
    }
}

/// A type that stored floats are read as.
pub(crate) trait Decoded: Copy + Send + Sync + Into<f64> + From<f32> {
    /// The element types that are read, for messages.
    const STORED: &'static str;

    /// Adds the elements to `values`; `false` if they are stored in a type that is not read.
    fn decode(dtype: Dtype, bytes: &[u8], values: &mut Vec<Self>) -> bool;
}

// The bytes of a file need not be aligned for their type, so they are read one by one.
impl Decoded for f32 {
    const STORED: &'static str = "f32, f16 or bf16";

    fn decode(dtype: Dtype, bytes: &[u8], values: &mut Vec<f32>) -> bool {
        match dtype {
            Dtype::F32 => values.par_extend(words(bytes).map(f32::from_le_bytes)),
            Dtype::F16 => {
                let stored: Vec<_> = words(bytes).map(f16::from_le_bytes).collect();
                let known = values.len();
                values.resize(known + stored.len(), 0.0);
                stored.convert_to_f32_slice(&mut values[known..]);
            }
            Dtype::BF16 => values.par_extend(words(bytes).map(|b| bf16::from_le_bytes(b).to_f32())),
            _ => return false,
        }
        true
    }
}

impl Decoded for f64 {
    const STORED: &'static str = "f64, f32, f16 or bf16";

    fn decode(dtype: Dtype, bytes: &[u8], values: &mut Vec<f64>) -> bool {
        if dtype == Dtype::F64 {
            values.par_extend(words(bytes).map(f64::from_le_bytes));
            return true;
        }
        let mut narrow = Vec::new();
        let is_read = f32::decode(dtype, bytes, &mut narrow);
        values.extend(narrow.into_iter().map(f64::from));
        is_read
    }
}

/// The bytes of values of `N` bytes each.
fn words<const N: usize>(bytes: &[u8]) -> impl IndexedParallelIterator<Item = [u8; N]> {
    let words = bytes.par_chunks_exact(N).with_min_len(TASK);
    words.map(|word| word.try_into().expect("chunks of N bytes"))
}

/// Values that are worth a task of their own.
const TASK: usize = 1 << 16;

/// The index of the first value that `is_wanted`.
fn first<T: Copy + Sync>(values: &[T], is_wanted: impl Fn(T) -> bool + Sync) -> Option<usize> {
    // Without an early end for each value, a compiler makes vectors of the search.
    let has = |task: &[T]| task.iter().fold(false, |found, &v| found | is_wanted(v));
    let task = values.par_chunks(TASK).position_first(has)?;
    values[task * TASK..].iter().position(|&v| is_wanted(v)).map(|index| task * TASK + index)
}
