//! Which query may attend to which key.

use super::Extents;
use crate::error::{Holds, OpError};
use crate::linalg::dense::gpu::upload;
use std::ops::Range;
use steropes_tensor::{DType, Gpu, Tensor};

/// Which query may attend to which key.
///
/// Tensors are `[queries, keys]` or `[batch, heads, queries, keys]`, where all extents but the last may be 1 for all alike.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// Every query to every key.
    None,
    /// Query `i` to the keys `0 ..= i`, also where there are more or fewer keys than queries: aligned at the first, as
    /// `is_causal` of PyTorch is.
    Causal,
    /// Where it is not 0, u8.
    Boolean(&'a Tensor),
    /// Added to the scaled scores: the dtype of the queries, finite, or minus infinity where a query may not attend.
    Additive(&'a Tensor),
    /// Sequences one behind another along the token axis, of which each attends to itself only.
    Segments(Segments<'a>),
}

/// Sequences of different lengths without padding: sequence `s` has the queries `queries[s] .. queries[s + 1]` and the keys `keys[s] ..
/// keys[s + 1]`. Both lists start with 0, never fall, and end with the number of tokens; a sequence may be empty.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a> {
    /// Sums of the lengths of queries so far.
    pub queries: &'a [usize],
    /// Sums of the lengths of keys so far.
    pub keys: &'a [usize],
    /// Whether a query attends only to keys up to its own place, counted from the end: the last query to all keys of its sequence, the one
    /// before it to all but the last, as flash attention has it since 2.1.
    pub causal: bool,
}

/// Which keys each query may attend to, and which queries attend to each key: from the first to before the second. Both never fall from a
/// token to the next.
#[derive(Debug)]
pub(super) struct Bands {
    pub(super) of_queries: Vec<[u32; 2]>,
    pub(super) of_keys: Vec<[u32; 2]>,
    /// Both, one behind the other, on a GPU.
    pub(super) uploaded: Option<Tensor>,
}

impl Segments<'_> {
    /// # Errors
    /// [`OpError::Value`] if the lists are not as they must be.
    fn check(&self, op: &'static str, e: &Extents) -> Result<(), OpError> {
        let wrong = |expected: String, found: &dyn std::fmt::Debug| {
            Err(OpError::value(op, "mask", expected, format!("{found:?}")))
        };
        for (name, sums, tokens) in [("queries", self.queries, e.queries), ("keys", self.keys, e.keys)] {
            if sums.first() != Some(&0) || sums.last() != Some(&tokens) || !sums.is_sorted() {
                return wrong(format!("sums of lengths of {name} from 0 to {tokens}"), &sums);
            }
        }
        if self.queries.len() != self.keys.len() {
            let found = [self.queries.len() - 1, self.keys.len() - 1];
            return wrong("as many sequences of queries as of keys".to_owned(), &found);
        }
        match u32::try_from(e.queries.max(e.keys)) {
            Ok(_) => Ok(()),
            Err(_) => wrong("of fewer tokens than 2^32".to_owned(), &e.queries.max(e.keys)),
        }
    }

    /// The list must have been checked.
    fn bands(&self) -> Bands {
        let (mut of_queries, mut of_keys) = (Vec::new(), Vec::new());
        for (queries, keys) in self.queries.windows(2).zip(self.keys.windows(2)) {
            let (queries, keys) = (queries[0]..queries[1], keys[0]..keys[1]);
            of_queries.extend(queries.clone().map(|query| match self.causal {
                true => [keys.start, (query + 1 + keys.end).saturating_sub(queries.end).max(keys.start)],
                false => [keys.start, keys.end],
            }));
            of_keys.extend(keys.clone().map(|key| match self.causal {
                true => [(key + queries.end).saturating_sub(keys.end).max(queries.start), queries.end],
                false => [queries.start, queries.end],
            }));
        }
        let words = |bands: Vec<[usize; 2]>| bands.into_iter().map(|band| band.map(|x| x as u32)).collect();
        Bands { of_queries: words(of_queries), of_keys: words(of_keys), uploaded: None }
    }
}

impl Bands {
    /// All that these tokens have to do with, a range of the other side.
    pub(super) fn together(bands: &[[u32; 2]], tokens: Range<usize>) -> Range<usize> {
        match &bands[tokens] {
            [] => 0..0,
            [one] => one[0] as usize..one[1] as usize,
            [first, .., last] => first[0] as usize..last[1] as usize,
        }
    }
}

/// Elements from one batch element, head and query of a mask to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layout {
    pub(super) batch: usize,
    pub(super) head: usize,
    pub(super) query: usize,
}

impl<'a> Mask<'a> {
    pub(super) fn tensor(&self) -> Option<&'a Tensor> {
        match self {
            Self::None | Self::Causal | Self::Segments(_) => None,
            Self::Boolean(tensor) | Self::Additive(tensor) => Some(tensor),
        }
    }

    pub(super) fn argument(&self) -> Option<(&'static str, &'a Tensor, Holds)> {
        match self {
            Self::None | Self::Causal | Self::Segments(_) => None,
            Self::Boolean(tensor) => Some(("mask", tensor, Holds::Integer)),
            Self::Additive(tensor) => Some(("mask", tensor, Holds::Float)),
        }
    }

    /// The bands of sequences, in the memory of `gpu` too if there is one.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn bands(&self, gpu: Option<&Gpu>) -> Result<Option<Bands>, OpError> {
        let Self::Segments(segments) = self else { return Ok(None) };
        let mut bands = segments.bands();
        if let Some(gpu) = gpu {
            let both = [&bands.of_queries[..], &bands.of_keys].concat();
            bands.uploaded = Some(upload(gpu, both.into_flattened())?);
        }
        Ok(Some(bands))
    }

    /// # Errors
    /// [`OpError::Shape`] if a tensor does not fit the extents, [`OpError::DType`] if a boolean one does not hold u8, [`OpError::Value`] if
    /// sequences are not those of the tokens.
    pub(super) fn layout(&self, op: &'static str, e: &Extents) -> Result<Layout, OpError> {
        if let Self::Segments(segments) = self {
            segments.check(op, e)?;
        }
        let Some(tensor) = self.tensor() else { return Ok(Layout::default()) };
        let found = tensor.dtype();
        if matches!(self, Self::Boolean(_)) && found != DType::U8 {
            return Err(OpError::DType { op, argument: "mask", expected: "u8", found });
        }
        let (outer, [queries, keys]) = match *tensor.shape() {
            [queries, keys] => ([1, 1], [queries, keys]),
            [batch, heads, queries, keys] => ([batch, heads], [queries, keys]),
            _ => ([0, 0], [0, 0]),
        };
        let fits = |found: usize, extent: usize| found == 1 || found == extent;
        let [batch, heads] = outer;
        if !(fits(batch, e.batch) && fits(heads, e.heads) && fits(queries, e.queries) && keys == e.keys) {
            let expected = format!(
                "[{queries}, {keys}] or [{batch}, {heads}, {queries}, {keys}], all but the last of them or 1",
                batch = e.batch,
                heads = e.heads,
                queries = e.queries,
                keys = e.keys
            );
            return Err(OpError::shape(op, "mask", expected, tensor.shape()));
        }
        let stride = |extent: usize, elements: usize| if extent == 1 { 0 } else { elements };
        Ok(Layout {
            batch: stride(batch, heads * queries * keys),
            head: stride(heads, queries * keys),
            query: stride(queries, keys),
        })
    }
}
