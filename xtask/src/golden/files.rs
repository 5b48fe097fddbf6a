//! A safetensors file with the manifest entry that describes it.

use anyhow::{Context as _, bail};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::path::{Path, PathBuf};
use steropes_tensor::{Device, Tensor};

/// The tensors of one golden file and its manifest entry.
pub struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
    entry: Value,
}

impl TensorFile {
    /// Reads `path`; `entry` is what the manifest says about it.
    ///
    /// # Errors
    /// The file is missing or is no safetensors file.
    pub fn open(path: &Path, entry: &Value) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
        SafeTensors::deserialize(&bytes).with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_owned(), bytes, entry: entry.clone() })
    }

    /// The file name without its extension, for the names of checks.
    pub fn stem(&self) -> String {
        self.path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The manifest entry.
    pub fn entry(&self) -> &Value {
        &self.entry
    }

    /// All tensor names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.tensors().names().into_iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors().tensor(name).is_ok()
    }

    /// The extents of a tensor.
    ///
    /// # Errors
    /// No tensor of that name.
    pub fn shape(&self, name: &str) -> anyhow::Result<Vec<usize>> {
        Ok(self.view(name)?.shape().to_vec())
    }

    /// The values of a float or integer tensor as f64.
    ///
    /// # Errors
    /// No tensor of that name, or an unexpected dtype.
    pub fn f64(&self, name: &str) -> anyhow::Result<Vec<f64>> {
        let view = self.view(name)?;
        let bytes = view.data();
        Ok(match view.dtype() {
            Dtype::F32 => words(bytes, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => words(bytes, f64::from_le_bytes),
            Dtype::I64 => words(bytes, |b| i64::from_le_bytes(b) as f64),
            Dtype::I32 => words(bytes, |b| f64::from(i32::from_le_bytes(b))),
            Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&b| f64::from(b)).collect(),
            other => bail!("`{name}` holds {other:?}"),
        })
    }

    /// The values as f32.
    ///
    /// # Errors
    /// As [`TensorFile::f64`].
    pub fn f32(&self, name: &str) -> anyhow::Result<Vec<f32>> {
        Ok(self.f64(name)?.into_iter().map(|v| v as f32).collect())
    }

    /// The values as an f32 tensor of the stored shape on `device`.
    ///
    /// # Errors
    /// As [`TensorFile::f64`], or the device has no memory for it.
    pub fn tensor(&self, name: &str, device: &Device) -> anyhow::Result<Tensor> {
        Ok(Tensor::new(device, &self.shape(name)?, self.f32(name)?)?)
    }

    /// The values of an integer tensor.
    ///
    /// # Errors
    /// As [`TensorFile::f64`].
    pub fn i64(&self, name: &str) -> anyhow::Result<Vec<i64>> {
        Ok(self.f64(name)?.into_iter().map(|v| v as i64).collect())
    }

    /// The bytes of a u8 tensor.
    ///
    /// # Errors
    /// As [`TensorFile::f64`].
    pub fn u8(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let view = self.view(name)?;
        if !matches!(view.dtype(), Dtype::U8 | Dtype::BOOL) {
            bail!("`{name}` holds {:?}", view.dtype());
        }
        Ok(view.data().to_vec())
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("checked when the file was opened")
    }

    fn view(&self, name: &str) -> anyhow::Result<safetensors::tensor::TensorView<'_>> {
        self.tensors().tensor(name).with_context(|| format!("`{name}` in `{}`", self.path.display()))
    }
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.chunks_exact(N).map(|c| read(c.try_into().expect("chunks of N bytes"))).collect()
}
