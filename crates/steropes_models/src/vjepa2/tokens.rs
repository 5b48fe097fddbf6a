//! Tokens of clips with their places.

use super::places::{Grid, Ids};
use crate::ModelError;
use steropes_ops::OpError;
use steropes_ops::elementwise::concat::concat;
use steropes_ops::elementwise::copy::copy_rows;
use steropes_ops::matching::gather_rows::gather_rows;
use steropes_ops::norm::layer_norm::layer_norm_over;
use steropes_tensor::{Device, Tensor, TensorError};

/// What is added to the variance where features become targets of a predictor.
const TARGET_EPS: f32 = 1e-5;

/// Tokens of clips with their places: embedded, or features. Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub(super) values: Tensor,
    pub(super) grid: Grid,
    pub(super) ids: Option<Ids>,
}

impl Tokens {
    /// Tokens `[batch, count, width]` of clips with this grid; `ids` are their numbers, a list for each batch element or one for all.
    /// Without them they are all tokens of the grid in order. Numbers may repeat, and may lie behind the grid: in tubelets to come.
    ///
    /// # Errors
    /// [`ModelError::Input`] if there are not as many numbers as tokens.
    pub fn new(values: Tensor, grid: Grid, ids: Option<Vec<Vec<u32>>>) -> Result<Self, ModelError> {
        let &[batch, count, _] = values.shape() else {
            return Err(OpError::shape("tokens", "values", "[batch, count, width]", values.shape()).into());
        };
        match &ids {
            Some(ids) => check_lists(ids, batch, Some(count))?,
            None if count != grid.tokens() => {
                let expected = format!("[batch, {}, width], the tokens of the grid", grid.tokens());
                return Err(OpError::shape("tokens", "values", expected, values.shape()).into());
            }
            None => {}
        }
        Ok(Self { values, grid, ids })
    }

    /// `[batch, count, width]`, f32, or f16 of a network in f16.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Tubelets, rows and columns of the clips, of whose tokens these may be some.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The numbers of the tokens in their order, a list for each batch element or one for all; `None` if they are all tokens of the
    /// grid in order.
    pub fn ids(&self) -> Option<&[Vec<u32>]> {
        self.ids.as_deref()
    }

    /// Number of clips.
    pub fn batch(&self) -> usize {
        self.values.shape()[0]
    }

    /// Tokens of a clip.
    pub fn count(&self) -> usize {
        self.values.shape()[1]
    }

    /// Values of a token.
    pub fn width(&self) -> usize {
        self.values.shape()[2]
    }

    /// The tokens at `places`, counted in the order of these tokens: a list for each batch element or one for all, all equally long.
    /// They keep their numbers.
    ///
    /// # Errors
    /// [`ModelError::Input`] if a list is empty, another length, or has a place that there is not, [`ModelError::Device`] if the device
    /// has no memory for them.
    pub fn subset(&self, places: &[Vec<u32>]) -> Result<Self, ModelError> {
        let (batch, count, width) = (self.batch(), self.count(), self.width());
        check_lists(places, batch, None)?;
        if let Some(&place) = places.iter().flatten().find(|&&place| place as usize >= count) {
            return Err(OpError::value("subset", "places", format!("below {count}"), place).into());
        }
        let list = |lists: &'_ [Vec<u32>], b: usize| -> Vec<u32> { lists[b % lists.len()].clone() };
        let rows = (0..batch).flat_map(|b| list(places, b).into_iter().map(move |p| (b * count) as u32 + p));
        let rows = indices(&self.values.device(), rows.collect())?;
        let flat = self.values.clone().reshape(&[batch * count, width]).expect("clips one after the other");
        let each = places[0].len();
        let values = gather_rows(&flat, &rows)?.reshape(&[batch, each, width]).expect("a row per token");
        let ids = match &self.ids {
            None => places.to_vec(),
            Some(ids) => {
                let lists = if ids.len() == 1 { places.len() } else { batch };
                let ids_of = |b: usize| {
                    let known = list(ids, b);
                    list(places, b).into_iter().map(|p| known[p as usize]).collect()
                };
                (0..lists).map(ids_of).collect()
            }
        };
        Ok(Self { values, grid: self.grid, ids: Some(ids) })
    }

    /// Clips that follow each other in time as one: whole ones, of as many batch elements, rows and columns.
    ///
    /// # Errors
    /// [`ModelError::Input`] if there are none or they are not so, [`ModelError::Device`] if the device has no memory for them.
    pub fn join_in_time(parts: &[&Self]) -> Result<Self, ModelError> {
        let Some(&first) = parts.first() else {
            return Err(OpError::value("join_in_time", "parts", "at least one", "none").into());
        };
        let kind = |part: &Self| (part.batch(), part.width(), part.grid.rows, part.grid.columns);
        if let Some(other) = parts.iter().find(|part| part.ids.is_some() || kind(part) != kind(first)) {
            let expected = "whole clips of one batch, width and size of frames";
            let found = format!("{:?} and {:?}", first.grid, other.grid);
            return Err(OpError::value("join_in_time", "parts", expected, found).into());
        }
        let (batch, width) = (first.batch(), first.width());
        let flat: Vec<Tensor> = parts.iter().map(|part| part.flat_clips()).collect();
        let tubelets = parts.iter().map(|part| part.grid.tubelets).sum();
        let grid = Grid { tubelets, ..first.grid };
        let values = side_by_side(&flat)?;
        let values = values.reshape(&[batch, grid.tokens(), width]).expect("a row per token");
        Ok(Self { values, grid, ids: None })
    }

    /// The tokens of tubelet `t` of whole clips of one batch element: features of one time.
    ///
    /// # Errors
    /// [`ModelError::Input`] if these are not whole clips or there is no such tubelet, [`ModelError::Device`] if the device has no
    /// memory for them.
    pub fn tubelet(&self, t: usize) -> Result<Tensor, ModelError> {
        if self.ids.is_some() || t >= self.grid.tubelets {
            let expected = format!("below {} of a whole clip", self.grid.tubelets);
            return Err(OpError::value("tubelet", "t", expected, t).into());
        }
        let (each, count) = (self.grid.tokens_each(), self.count());
        if self.batch() == 1 {
            let rows = self.values.clone().reshape(&[count, self.width()]).expect("one clip");
            let rows = copy_rows(&rows, t * each..(t + 1) * each)?;
            return Ok(rows.reshape(&[1, each, self.width()]).expect("a row per token"));
        }
        let places = (t * each..(t + 1) * each).map(|p| p as u32).collect();
        Ok(self.subset(&[places])?.values)
    }

    /// Each token with mean 0 and variance 1 over its values: the targets of a predictor, whose outputs are compared with this.
    ///
    /// # Errors
    /// [`ModelError::Device`] if the device has no memory for them.
    pub fn normalized(&self) -> Result<Self, ModelError> {
        let values = layer_norm_over(&self.values, &[self.width()], None, None, TARGET_EPS)?;
        Ok(Self { values, grid: self.grid, ids: self.ids.clone() })
    }

    /// `[batch, count width]`.
    fn flat_clips(&self) -> Tensor {
        self.values
            .clone()
            .reshape(&[self.batch(), self.count() * self.width()])
            .expect("tokens one after the other")
    }
}

/// Parts of rows as rows, by halves, so that each element is copied a few times only.
fn side_by_side(parts: &[Tensor]) -> Result<Tensor, OpError> {
    let [one] = parts else {
        let (left, right) = parts.split_at(parts.len() / 2);
        return concat(&side_by_side(left)?, &side_by_side(right)?);
    };
    Ok(one.clone())
}

/// One list for all or one for each of `batch`, all of one length above 0, or of `count`.
pub(super) fn check_lists(lists: &[Vec<u32>], batch: usize, count: Option<usize>) -> Result<(), OpError> {
    if lists.len() != 1 && lists.len() != batch {
        return Err(OpError::value("tokens", "ids", format!("1 or {batch} lists"), lists.len()));
    }
    let each = count.unwrap_or_else(|| lists[0].len().max(1));
    match lists.iter().find(|list| list.len() != each) {
        None => Ok(()),
        Some(list) => Err(OpError::value("tokens", "ids", format!("lists of {each}"), list.len())),
    }
}

/// Row numbers on a device.
pub(super) fn indices(device: &Device, rows: Vec<u32>) -> Result<Tensor, ModelError> {
    let count = rows.len();
    Tensor::new(device, &[count], rows).map_err(|error| match error {
        TensorError::Device(error) => error.into(),
        error => unreachable!("{error}"),
    })
}
