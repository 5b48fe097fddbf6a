//! Arrays in `.npy` and `.safetensors` files.

use crate::output::write_file;
use anyhow::{Context as _, bail};
use half::{bf16, f16};
use npyz::{NpyFile, WriterBuilder as _};
use safetensors::{Dtype, SafeTensors, serialize_to_file, tensor::TensorView};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use steropes_tensor::{DType, Device, Tensor};

/// An array in a file: `file.npy`, `file.safetensors` with one tensor, or `file.safetensors:name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    file: PathBuf,
    name: Option<String>,
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const END: &str = ".safetensors:";
        Ok(match text.rfind(END) {
            Some(at) => Self {
                file: text[..at + END.len() - 1].into(),
                name: Some(text[at + END.len()..].to_owned()),
            },
            None => Self { file: text.into(), name: None },
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            None => write!(f, "{}", self.file.display()),
            Some(name) => write!(f, "{}:{name}", self.file.display()),
        }
    }
}

/// The element type to compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Precision {
    /// 32 bits
    F32,
    /// 64 bits, on the CPU
    F64,
}

/// An array as a file holds it, its values widened to f64, which holds all of them exactly but large integers of 64 bits.
pub(super) struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
    /// What the file says about the elements.
    stored: String,
    is_f64: bool,
}

impl Array {
    /// Reads the array.
    ///
    /// # Errors
    /// No such file or name, or elements that are not real numbers.
    pub(super) fn read(source: &Source) -> anyhow::Result<Self> {
        let extension = source.file.extension().map(|e| e.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("npy") => Self::from_npy(&source.file),
            Some("safetensors") => Self::from_safetensors(source),
            _ => bail!("`{source}` is neither a .npy nor a .safetensors file"),
        }
        .with_context(|| format!("reading `{source}`"))
    }

    fn from_npy(path: &Path) -> anyhow::Result<Self> {
        let file = NpyFile::new(BufReader::new(File::open(path)?))?;
        let shape: Vec<usize> = file.shape().iter().map(|&extent| extent as usize).collect();
        let is_fortran = file.order() == npyz::Order::Fortran;
        let npyz::DType::Plain(kind) = file.dtype() else {
            bail!("it holds records, not numbers");
        };
        let stored = kind.to_string();
        let values = match stored.trim_start_matches(['<', '>', '|', '=']) {
            "f8" => file.into_vec::<f64>()?,
            "f4" => file.into_vec::<f32>()?.into_iter().map(f64::from).collect(),
            "f2" => file.into_vec::<f16>()?.into_iter().map(f64::from).collect(),
            "i8" => file.into_vec::<i64>()?.into_iter().map(|v| v as f64).collect(),
            "i4" => file.into_vec::<i32>()?.into_iter().map(f64::from).collect(),
            "u1" => file.into_vec::<u8>()?.into_iter().map(f64::from).collect(),
            _ => bail!("it holds `{stored}`; f8, f4, f2, i8, i4 and u1 are taken"),
        };
        let values = if is_fortran { row_major(&values, &shape) } else { values };
        Ok(Self { shape, values, is_f64: stored.ends_with("f8"), stored })
    }

    fn from_safetensors(source: &Source) -> anyhow::Result<Self> {
        let bytes = std::fs::read(&source.file)?;
        let file = SafeTensors::deserialize(&bytes)?;
        let mut names = file.names();
        names.sort_unstable();
        let list = names.join("`, `");
        let name = match (&source.name, names.as_slice()) {
            (Some(name), _) if names.contains(&name.as_str()) => name.as_str(),
            (Some(_), _) => bail!("it has no tensor of this name, only `{list}`"),
            (None, [only]) => only,
            (None, _) => bail!("it holds `{list}`: say which one as file.safetensors:name"),
        };
        let tensor = file.tensor(name)?;
        let data = tensor.data();
        let values = match tensor.dtype() {
            Dtype::F64 => decoded(data, f64::from_le_bytes),
            Dtype::F32 => decoded(data, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F16 => decoded(data, |b| f64::from(f16::from_le_bytes(b))),
            Dtype::BF16 => decoded(data, |b| f64::from(bf16::from_le_bytes(b))),
            Dtype::I64 => decoded(data, |b| i64::from_le_bytes(b) as f64),
            Dtype::I32 => decoded(data, |b| f64::from(i32::from_le_bytes(b))),
            other => bail!("`{name}` holds {other:?}; F64, F32, F16, BF16, I64 and I32 are taken"),
        };
        let is_f64 = tensor.dtype() == Dtype::F64;
        let stored = format!("{:?}", tensor.dtype()).to_lowercase();
        Ok(Self { shape: tensor.shape().to_vec(), values, stored, is_f64 })
    }

    /// The element type to compute in unless another is asked for: that of the file, f32 for less than that.
    pub(super) fn precision(&self) -> Precision {
        if self.is_f64 { Precision::F64 } else { Precision::F32 }
    }

    /// What the file says about the elements.
    pub(super) fn stored(&self) -> &str {
        &self.stored
    }

    /// The array as a tensor.
    ///
    /// # Errors
    /// The device failed or has no memory for it.
    pub(super) fn tensor(&self, device: &Device, precision: Precision) -> anyhow::Result<Tensor> {
        Ok(match precision {
            Precision::F64 => Tensor::new(device, &self.shape, self.values.clone())?,
            Precision::F32 => {
                Tensor::new(device, &self.shape, self.values.iter().map(|&v| v as f32).collect::<Vec<_>>())?
            }
        })
    }
}

fn decoded<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.chunks_exact(N).map(|bytes| value(bytes.try_into().expect("chunks of this length"))).collect()
}

/// Values whose first index runs fastest, with the last running fastest.
fn row_major(values: &[f64], shape: &[usize]) -> Vec<f64> {
    let mut strides = vec![1; shape.len()];
    for axis in 1..shape.len() {
        strides[axis] = strides[axis - 1] * shape[axis - 1];
    }
    (0..values.len())
        .map(|index| {
            let (mut rest, mut from) = (index, 0);
            for axis in (0..shape.len()).rev() {
                from += rest % shape[axis] * strides[axis];
                rest /= shape[axis];
            }
            values[from]
        })
        .collect()
}

/// The values of a tensor on the host, as f64.
///
/// # Errors
/// The device failed.
pub(super) fn values(tensor: &Tensor) -> anyhow::Result<Vec<f64>> {
    Ok(match tensor.dtype() {
        DType::F64 => tensor.read::<f64>()?,
        DType::I32 => tensor.read::<i32>()?.into_iter().map(f64::from).collect(),
        DType::I64 => tensor.read::<i64>()?.into_iter().map(|v| v as f64).collect(),
        _ => tensor.read::<f32>()?.into_iter().map(f64::from).collect(),
    })
}

/// Writes the arrays: one to a `.npy` file, any number to a `.safetensors` file.
///
/// # Errors
/// Another name, several arrays for a `.npy` file, or something that stands in the way.
pub(super) fn write(place: &Path, force: bool, arrays: &[(&str, Tensor)]) -> anyhow::Result<()> {
    let extension = place.extension().map(|e| e.to_string_lossy().to_lowercase());
    match (extension.as_deref(), arrays) {
        (Some("npy"), [(_, array)]) => write_file(place, force, |path| write_npy(path, array)),
        (Some("npy"), _) => {
            let names: Vec<&str> = arrays.iter().map(|(name, _)| *name).collect();
            bail!("the result is {} arrays ({}): write a .safetensors file", names.len(), names.join(", "))
        }
        (Some("safetensors"), _) => write_file(place, force, |path| write_safetensors(path, arrays)),
        _ => bail!("`{}`: the result is a .npy or a .safetensors file", place.display()),
    }
}

fn write_npy(path: &Path, array: &Tensor) -> anyhow::Result<()> {
    match array.dtype() {
        DType::F64 => write_values(path, array.shape(), array.read::<f64>()?),
        DType::I64 => write_values(path, array.shape(), array.read::<i64>()?),
        DType::I32 => write_values(path, array.shape(), array.read::<i32>()?),
        _ => write_values(path, array.shape(), array.read::<f32>()?),
    }
}

fn write_values<T: npyz::AutoSerialize>(path: &Path, shape: &[usize], values: Vec<T>) -> anyhow::Result<()> {
    let shape: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
    let out = BufWriter::new(File::create(path)?);
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(out).begin_nd()?;
    writer.extend(values)?;
    writer.finish()?;
    Ok(())
}

fn write_safetensors(path: &Path, arrays: &[(&str, Tensor)]) -> anyhow::Result<()> {
    let bytes = arrays
        .iter()
        .map(|(name, tensor)| {
            let (kind, bytes) = match tensor.dtype() {
                DType::F64 => {
                    (Dtype::F64, tensor.read::<f64>()?.iter().flat_map(|v| v.to_le_bytes()).collect())
                }
                DType::I64 => {
                    (Dtype::I64, tensor.read::<i64>()?.iter().flat_map(|v| v.to_le_bytes()).collect())
                }
                DType::I32 => {
                    (Dtype::I32, tensor.read::<i32>()?.iter().flat_map(|v| v.to_le_bytes()).collect())
                }
                _ => (Dtype::F32, tensor.read::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
            };
            Ok((*name, kind, tensor.shape().to_vec(), bytes))
        })
        .collect::<anyhow::Result<Vec<(&str, Dtype, Vec<usize>, Vec<u8>)>>>()?;
    let views = bytes
        .iter()
        .map(|(name, kind, shape, bytes)| Ok((*name, TensorView::new(*kind, shape.clone(), bytes)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    serialize_to_file(views, None, path).with_context(|| format!("writing `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_behind_a_safetensors_file_is_a_tensor() {
        let source = |text: &str| text.parse::<Source>().unwrap();
        assert_eq!(source("a:b.npy"), Source { file: "a:b.npy".into(), name: None });
        let named = source("d/a.safetensors:x:y");
        assert_eq!(named, Source { file: "d/a.safetensors".into(), name: Some("x:y".to_owned()) });
        assert_eq!(named.to_string(), "d/a.safetensors:x:y");
    }

    #[test]
    fn columns_first_becomes_rows_first() {
        // [[1, 2, 3], [4, 5, 6]] by columns.
        assert_eq!(row_major(&[1.0, 4.0, 2.0, 5.0, 3.0, 6.0], &[2, 3]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
