//! Tensors of numbers on the CPU.

use crate::error::{OpError, values};
use std::borrow::Cow;
use steropes_tensor::{DType, Tensor};

/// The numbers of a CPU tensor of i32, u32 or i64.
///
/// # Panics
/// If it is on a GPU or holds another type.
pub(crate) fn integers(tensor: &Tensor) -> Cow<'_, [i64]> {
    match tensor.dtype() {
        DType::I64 => Cow::Borrowed(values::<i64>(tensor)),
        DType::U32 => values::<u32>(tensor).iter().map(|&i| i.into()).collect(),
        _ => values::<i32>(tensor).iter().map(|&i| i.into()).collect(),
    }
}

/// Refuses numbers that are not from 0 to below `extent`, naming the first.
///
/// # Errors
/// [`OpError::Value`].
pub(crate) fn check_below(
    op: &'static str,
    argument: &'static str,
    numbers: &[i64],
    extent: usize,
) -> Result<(), OpError> {
    match numbers.iter().position(|&i| !(0..extent as i64).contains(&i)) {
        None => Ok(()),
        Some(at) => {
            let found = format!("{} at place {at}", numbers[at]);
            Err(OpError::value(op, argument, format!("numbers from 0 to below {extent}"), found))
        }
    }
}
