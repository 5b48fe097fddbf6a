//! The codebook of image retrieval: a pickle with one numpy array.

use super::pickle::{Graph, Id, Node};
use super::{Bytes, Problem, is_row_major, item_size, row_major, row_major_strides};
use crate::LoadError;
use ::safetensors::Dtype;
use std::borrow::Cow;
use std::path::Path;

/// The visual words of image retrieval: points of the descriptors' space.
#[derive(Clone, Debug, PartialEq)]
pub struct Codebook {
    /// The words, one after the other.
    pub centroids: Vec<f32>,
    /// Number of words.
    pub size: usize,
    /// Number of values of each word.
    pub width: usize,
}

impl Codebook {
    /// Reads the `.pkl` file of a codebook: a pickled dictionary of `type` ("Codebook"), `params` and `state`, which holds
    /// `centroids`, a numpy array of f32 of shape `[size, width]`. Nothing in the file is run.
    ///
    /// # Errors
    /// [`LoadError::Io`], [`LoadError::Format`], [`LoadError::Refused`] or [`LoadError::NotFinite`].
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        Self::read(&path.display().to_string(), Bytes::open(path)?.as_slice())
    }

    /// A codebook from the bytes of its file; `name` stands for the file in messages.
    ///
    /// # Errors
    /// As [`Codebook::open`], without [`LoadError::Io`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, LoadError> {
        Self::read(name, bytes)
    }

    fn read(file: &str, bytes: &[u8]) -> Result<Self, LoadError> {
        let codebook = parse(bytes).map_err(|problem| problem.of(file, "codebook"))?;
        if let Some(index) = codebook.centroids.iter().position(|v| !v.is_finite()) {
            let (tensor, value) = ("centroids".to_owned(), codebook.centroids[index].into());
            return Err(LoadError::NotFinite { file: file.to_owned(), tensor, index, value });
        }
        Ok(codebook)
    }
}

fn parse(bytes: &[u8]) -> Result<Codebook, Problem> {
    if !matches!(bytes, [0x80, 2..=5, ..]) {
        return Err(Problem::damaged("it does not begin as a pickle of protocol 2 to 5"));
    }
    let graph = Graph::read(bytes)?;
    let root = graph.root();
    if graph.get(root, "type").and_then(|kind| graph.text(kind)) != Some("Codebook") {
        return Err(Problem::refused(
            "it is no codebook; give the _codebook.pkl that belongs to the retrieval weights",
        ));
    }
    let centroids = graph.get(root, "state").and_then(|state| graph.get(state, "centroids"));
    let array =
        Array::read(&graph, centroids.ok_or_else(|| Problem::damaged("`state.centroids` is missing"))?)?;
    let &[size, width] = array.shape.as_slice() else {
        return Err(Problem::damaged(format!("its centroids must have 2 extents, got {:?}", array.shape)));
    };
    if array.dtype != Dtype::F32 || size == 0 || width == 0 {
        return Err(Problem::refused(format!(
            "its centroids must be f32 and not empty, got {} of shape {:?}; train it again",
            array.dtype, array.shape
        )));
    }
    if let Some(stated) = graph.get(root, "params").and_then(|params| graph.get(params, "size"))
        && stated_size(&graph, stated) != Some(size)
    {
        return Err(Problem::damaged(format!(
            "`params.size` is {:?}, but it has {size} centroids",
            graph.value(stated)
        )));
    }
    let words = array.data.as_chunks::<4>().0;
    Ok(Codebook { centroids: words.iter().map(|b| f32::from_le_bytes(*b)).collect(), size, width })
}

/// A number of words: an integer, or a text such as `64k`.
fn stated_size(graph: &Graph<'_>, id: Id) -> Option<usize> {
    if let Some(int) = graph.int(id) {
        return usize::try_from(int).ok();
    }
    let text = graph.text(id)?;
    let (digits, unit) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 1 << 10),
        'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

/// A numpy array, its elements in row-major order.
struct Array<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Cow<'a, [u8]>,
}

impl<'a> Array<'a> {
    fn read(graph: &'a Graph<'_>, id: Id) -> Result<Self, Problem> {
        let no_array = || Problem::damaged("its centroids are no numpy array");
        let (call, arguments) = graph.call(id).ok_or_else(no_array)?;
        // What is told to an empty array: (version, shape, type, whether columns come first, data).
        let state = call.state.and_then(|state| graph.sequence(state));
        let (data, dtype, shape, by_columns) = match (call.function, arguments, state) {
            ("numpy._core.multiarray._reconstruct", _, Some(&[_, shape, dtype, by_columns, data])) => {
                (data, dtype, shape, matches!(graph.node(by_columns), Node::Bool(true)))
            }
            ("numpy._core.numeric._frombuffer", &[data, dtype, shape, order], None) => {
                (data, dtype, shape, graph.text(order) == Some("F"))
            }
            _ => return Err(no_array()),
        };
        let dtype = element_type(graph, dtype)?;
        let size = |&n: &Id| usize::try_from(graph.int(n)?).ok();
        let shape: Option<Vec<usize>> = graph.sequence(shape).and_then(|ids| ids.iter().map(size).collect());
        let shape = shape.ok_or_else(no_array)?;
        let data = bytes_of(graph, data).ok_or_else(no_array)?;
        let strides = row_major_strides(&shape)
            .filter(|_| shape.iter().product::<usize>().checked_mul(item_size(dtype)) == Some(data.len()))
            .ok_or_else(|| {
                Problem::damaged(format!("an array of shape {shape:?} has {} bytes", data.len()))
            })?;
        if !by_columns {
            return Ok(Self { dtype, shape, data });
        }
        let columns: Vec<usize> = (0..shape.len()).map(|axis| shape[..axis].iter().product()).collect();
        if is_row_major(&shape, &columns, &strides) {
            return Ok(Self { dtype, shape, data });
        }
        let data = row_major(&data, item_size(dtype), &shape, &columns);
        Ok(Self { dtype, shape, data: Cow::Owned(data) })
    }
}

/// The element type of `numpy.dtype(name, ..)` in the byte order that it is told.
fn element_type(graph: &Graph<'_>, id: Id) -> Result<Dtype, Problem> {
    let described = graph.call(id).filter(|(call, _)| call.function == "numpy.dtype");
    let name = described.and_then(|(_, arguments)| graph.text(*arguments.first()?));
    let order =
        described.and_then(|(call, _)| graph.text(*graph.sequence(call.state?)?.get(1)?)).unwrap_or("|");
    match (name, order) {
        (_, ">") => {
            Err(Problem::refused("its array is big-endian; save it again on a little-endian machine"))
        }
        (Some("f4"), _) => Ok(Dtype::F32),
        (Some("f8"), _) => Ok(Dtype::F64),
        (Some("f2"), _) => Ok(Dtype::F16),
        (name, _) => Err(Problem::refused(format!(
            "its array must hold floats, got numpy type {:?}; save it again as float32",
            name.unwrap_or("unknown")
        ))),
    }
}

/// Bytes, which protocol 2 writes as a text of the first 256 characters.
fn bytes_of<'a>(graph: &'a Graph<'_>, id: Id) -> Option<Cow<'a, [u8]>> {
    match graph.node(id) {
        Node::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
        Node::Text(text) => {
            text.chars().map(|c| u8::try_from(c).ok()).collect::<Option<Vec<_>>>().map(Cow::Owned)
        }
        _ => None,
    }
}
