//! Sums, products and shapes.

use crate::tape::filled;
use crate::{Tape, TapeError, Var};
use std::ops::Range;
use steropes_ops::elementwise::add::add;
use steropes_ops::elementwise::arithmetic::{div, mul, scale, sub};
use steropes_ops::elementwise::concat::concat;
use steropes_ops::elementwise::copy::copy_rows;
use steropes_ops::elementwise::transpose::transpose;
use steropes_ops::indexing::index_select::index_select;
use steropes_ops::indexing::scatter_add::scatter_add;
use steropes_ops::reduce::sum::sum;
use steropes_tensor::Tensor;

impl Tape {
    /// `a + b`, of equal shapes.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn add(&self, a: &Var, b: &Var) -> Result<Var, TapeError> {
        let value = add(a.value().clone(), b.value())?;
        self.step(value, &[a, b], |_, gradient| Ok(vec![Some(gradient.clone()), Some(gradient.clone())]))
    }

    /// `a - b`, of equal shapes.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn sub(&self, a: &Var, b: &Var) -> Result<Var, TapeError> {
        equal(a, b)?;
        let value = sub(a.value().clone(), b.value())?;
        self.step(value, &[a, b], |tape, gradient| {
            Ok(vec![Some(gradient.clone()), Some(tape.scale(gradient, -1.0)?)])
        })
    }

    /// `a b`, value by value, of equal shapes.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn mul(&self, a: &Var, b: &Var) -> Result<Var, TapeError> {
        equal(a, b)?;
        let value = mul(a.value().clone(), b.value())?;
        let (left, right) = (a.clone(), b.clone());
        self.step(value, &[a, b], move |tape, gradient| {
            let part = |of: &Var, by: &Var| of.is_recorded().then(|| tape.mul(gradient, by)).transpose();
            Ok(vec![part(&left, &right)?, part(&right, &left)?])
        })
    }

    /// `a / b`, value by value, of equal shapes.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn div(&self, a: &Var, b: &Var) -> Result<Var, TapeError> {
        equal(a, b)?;
        let value = div(a.value().clone(), b.value())?;
        let (left, right) = (a.clone(), b.clone());
        self.step(value, &[a, b], move |tape, gradient| {
            let of_left = tape.div(gradient, &right)?;
            let of_right = || tape.scale(&tape.mul(&of_left, &tape.div(&left, &right)?)?, -1.0);
            let of_right = right.is_recorded().then(of_right).transpose()?;
            Ok(vec![Some(of_left), of_right])
        })
    }

    /// `factor a`.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses it.
    pub fn scale(&self, a: &Var, factor: f64) -> Result<Var, TapeError> {
        let value = scale(a.value().clone(), factor)?;
        self.step(value, &[a], move |tape, gradient| Ok(vec![Some(tape.scale(gradient, factor)?)]))
    }

    /// The same values in another shape.
    ///
    /// # Errors
    /// [`TapeError`] if it holds another number of values.
    pub fn reshape(&self, a: &Var, shape: &[usize]) -> Result<Var, TapeError> {
        let value = a.value().clone().reshape(shape)?;
        let before = a.shape().to_vec();
        self.step(value, &[a], move |tape, gradient| Ok(vec![Some(tape.reshape(gradient, &before)?)]))
    }

    /// The last two axes exchanged.
    ///
    /// # Errors
    /// [`TapeError`] if there are fewer.
    pub fn transpose(&self, a: &Var) -> Result<Var, TapeError> {
        let value = transpose(a.value())?;
        self.step(value, &[a], |tape, gradient| Ok(vec![Some(tape.transpose(gradient)?)]))
    }

    /// The sum over the first `axes` axes.
    ///
    /// # Errors
    /// [`TapeError`] if there are fewer.
    pub fn sum(&self, a: &Var, axes: usize) -> Result<Var, TapeError> {
        let value = sum(a.value(), 0..axes)?;
        let shape = a.shape().to_vec();
        self.step(value, &[a], move |tape, gradient| Ok(vec![Some(tape.repeat(gradient, &shape)?)]))
    }

    /// The sum of all values, `[]`.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses it.
    pub fn sum_all(&self, a: &Var) -> Result<Var, TapeError> {
        self.sum(a, a.shape().len())
    }

    /// The mean of all values, `[]`; NaN of none.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses it.
    pub fn mean(&self, a: &Var) -> Result<Var, TapeError> {
        self.scale(&self.sum_all(a)?, 1.0 / a.value().len() as f64)
    }

    /// `a` repeated along new axes in front, so that the result has the shape `shape`, which ends in that of `a`.
    fn repeat(&self, a: &Var, shape: &[usize]) -> Result<Var, TapeError> {
        let axes = shape.len() - a.shape().len();
        let (rows, width) = (shape[..axes].iter().product(), a.value().len());
        let row = a.value().clone().reshape(&[width])?;
        let value = mul(filled(a.value(), &[rows, width], 1.0)?, &row)?.reshape(shape)?;
        self.step(value, &[a], move |tape, gradient| Ok(vec![Some(tape.sum(gradient, axes)?)]))
    }

    /// The slices `rows` of `a` along its first axis.
    ///
    /// # Errors
    /// [`TapeError`] if there are fewer.
    pub fn rows(&self, a: &Var, rows: Range<usize>) -> Result<Var, TapeError> {
        let value = copy_rows(a.value(), rows.clone())?;
        let shape = a.shape().to_vec();
        self.step(value, &[a], move |tape, gradient| {
            Ok(vec![Some(tape.padded(gradient, &shape, rows.start)?)])
        })
    }

    /// Zeros of `shape` whose slices from `first` on are those of `a`.
    fn padded(&self, a: &Var, shape: &[usize], first: usize) -> Result<Var, TapeError> {
        let (width, len) = (shape[1..].iter().product::<usize>(), a.value().len());
        let zeros = |len| filled(a.value(), &[len], 0.0);
        let (before, after) = (first * width, (shape[0] - first) * width - len);
        let mut value = a.value().clone().reshape(&[len])?;
        if before > 0 {
            value = concat(&zeros(before)?, &value)?;
        }
        if after > 0 {
            value = concat(&value, &zeros(after)?)?;
        }
        let rows = first..first + a.shape()[0];
        self.step(value.reshape(shape)?, &[a], move |tape, gradient| {
            Ok(vec![Some(tape.rows(gradient, rows.clone())?)])
        })
    }

    /// `a` and `b` side by side along the last axis.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn concat(&self, a: &Var, b: &Var) -> Result<Var, TapeError> {
        let value = concat(a.value(), b.value())?;
        let [left, right] = [a, b].map(Var::clone);
        let [split, width] =
            [a, &Var::constant(value.clone())].map(|var| var.shape().last().copied().unwrap_or(1));
        self.step(value, &[a, b], move |tape, gradient| {
            let height = gradient.value().len() / width.max(1);
            let columns = tape.transpose(&tape.reshape(gradient, &[height, width])?)?;
            let part = |of: &Var, range: Range<usize>| {
                let own = || tape.reshape(&tape.transpose(&tape.rows(&columns, range)?)?, of.shape());
                of.is_recorded().then(own).transpose()
            };
            Ok(vec![part(&left, 0..split)?, part(&right, split..width)?])
        })
    }

    /// The slices of `a` along its first axis with the numbers in `rows`, in that order.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn select_rows(&self, a: &Var, rows: &[u32]) -> Result<Var, TapeError> {
        let device = a.value().device();
        let value = index_select(a.value(), 0, &Tensor::new(&device, &[rows.len()], rows.to_vec())?)?;
        let (like, rows) = (a.value().clone(), rows.to_vec());
        self.first_order_step("select_rows", value, &[a], move |gradient| {
            let (height, width) = (like.shape()[0], like.shape()[1..].iter().product());
            let places = rows.iter().flat_map(|&row| std::iter::repeat_n(row, width)).collect();
            let places: Tensor = Tensor::new::<u32>(&gradient.device(), &[rows.len(), width], places)?;
            let parts = gradient.clone().reshape(&[rows.len(), width])?;
            let sum = scatter_add(&filled(&like, &[height, width], 0.0)?, 0, &places, &parts)?;
            Ok(vec![Some(sum.reshape(like.shape())?)])
        })
    }
}

fn equal(a: &Var, b: &Var) -> Result<(), TapeError> {
    if a.shape() == b.shape() {
        Ok(())
    } else {
        Err(TapeError::Shapes(a.shape().to_vec(), b.shape().to_vec()))
    }
}
