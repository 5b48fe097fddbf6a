//! Matrices in groups of numbers of four bits with a scale and a lowest value each.

use super::{BLOCK_LEN, OP};
use crate::error::OpError;
use rayon::prelude::*;

/// Bytes that hold 32 numbers.
const BLOCK_BYTES: usize = BLOCK_LEN / 2;

/// What the numbers of a group stand for: value `i` is `low + scale * n`.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct GroupRange {
    /// From one number to the next: the range of the group divided by 15.
    pub scale: f32,
    /// The value of the number 0: the lowest of the group. Divided by `-scale` it is what others call the zero point.
    pub low: f32,
}

/// A matrix `[rows, columns]` in host memory in asymmetric int4: each row is cut into groups of neighbours, each of numbers of four bits
/// with one [`GroupRange`].
///
/// # Layout
/// Row after row, each whole groups. The numbers of 32 neighbours are 16 bytes as in [`super::BlockQ4`]: byte `i` has number `i` in its lower
/// half and number `i + 16` in its upper one. Ranges lie apart from them, one for each group. Behind the last column numbers are 0.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupedMatrix {
    rows: usize,
    columns: usize,
    group: usize,
    numbers: Vec<u8>,
    ranges: Vec<GroupRange>,
}

impl GroupedMatrix {
    /// The lengths that groups may have.
    pub const GROUPS: [usize; 4] = [32, 64, 128, 256];

    /// The row-major `values` of `[rows, columns]` in groups of `group` columns.
    ///
    /// # Numerics
    /// A value is off by at most half a scale, a thirtieth of the range of its group, and the rounding of its value to f32. Multiples of a
    /// matrix by a power of two have the same numbers, as long as f32 holds their ranges.
    ///
    /// # Errors
    /// [`OpError::Value`] if there are not as many values, one is not finite, or groups do not have a length of
    /// [`GroupedMatrix::GROUPS`].
    ///
    /// # Source
    /// Written from the formula.
    pub fn quantize(group: usize, [rows, columns]: [usize; 2], values: &[f32]) -> Result<Self, OpError> {
        check_group(group)?;
        if values.len() != rows * columns {
            let expected = format!("{rows} x {columns} numbers");
            return Err(OpError::value(OP, "values", expected, values.len()));
        }
        if let Some(wrong) = values.par_iter().find_first(|v| !v.is_finite()) {
            return Err(OpError::value(OP, "values", "finite", wrong));
        }
        let row_groups = columns.div_ceil(group);
        let mut numbers = vec![0; rows * row_groups * group / 2];
        let mut ranges = vec![GroupRange { scale: 0.0, low: 0.0 }; rows * row_groups];
        let groups = numbers.par_chunks_exact_mut(group / 2).zip(&mut ranges).enumerate();
        groups.for_each(|(i, (numbers, range))| {
            let (row, first) = (i / row_groups, i % row_groups * group);
            let values = &values[row * columns..][first..columns.min(first + group)];
            *range = GroupRange::of(values);
            for (j, &value) in values.iter().enumerate() {
                let half = j % BLOCK_LEN;
                numbers[j / BLOCK_LEN * BLOCK_BYTES + half % BLOCK_BYTES] |=
                    range.number(value) << (half / BLOCK_BYTES * 4);
            }
        });
        Ok(Self { rows, columns, group, numbers, ranges })
    }

    /// The matrix of these numbers and ranges, laid out as above.
    ///
    /// # Errors
    /// [`OpError::Value`] if there are not as many, a range is not finite, or groups do not have a length of
    /// [`GroupedMatrix::GROUPS`].
    pub fn from_parts(
        group: usize,
        [rows, columns]: [usize; 2],
        numbers: Vec<u8>,
        ranges: Vec<GroupRange>,
    ) -> Result<Self, OpError> {
        check_group(group)?;
        let groups = rows * columns.div_ceil(group);
        if numbers.len() != groups * group / 2 {
            let expected = format!("{} bytes", groups * group / 2);
            return Err(OpError::value(OP, "numbers", expected, numbers.len()));
        }
        if ranges.len() != groups {
            return Err(OpError::value(OP, "ranges", format!("{groups} pairs"), ranges.len()));
        }
        match ranges.iter().position(|r| !(r.scale.is_finite() && r.low.is_finite())) {
            None => Ok(Self { rows, columns, group, numbers, ranges }),
            Some(wrong) => Err(OpError::value(OP, "ranges", "finite", format!("those of group {wrong}"))),
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Columns of a group.
    pub fn group(&self) -> usize {
        self.group
    }

    /// The numbers, two in each byte.
    pub fn numbers(&self) -> &[u8] {
        &self.numbers
    }

    /// What the numbers stand for, group after group.
    pub fn ranges(&self) -> &[GroupRange] {
        &self.ranges
    }

    /// The row-major values, each rounded once.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.columns];
        values.par_chunks_mut(self.columns.max(1)).enumerate().for_each(|(row, values)| {
            for (column, value) in values.iter_mut().enumerate() {
                *value = self.range(row, column / self.group).value(self.number(row, column));
            }
        });
        values
    }

    /// The range of group `group` of a row.
    pub(crate) fn range(&self, row: usize, group: usize) -> GroupRange {
        self.ranges[row * self.columns.div_ceil(self.group) + group]
    }

    /// The number of a column, 0 to 15; columns may be those behind the last one in its group.
    pub(crate) fn number(&self, row: usize, column: usize) -> u8 {
        let row_bytes = self.columns.div_ceil(self.group) * self.group / 2;
        let half = column % BLOCK_LEN;
        let byte = self.numbers[row * row_bytes + column / BLOCK_LEN * BLOCK_BYTES + half % BLOCK_BYTES];
        byte >> (half / BLOCK_BYTES * 4) & 15
    }
}

impl GroupRange {
    /// The range of finite values.
    fn of(values: &[f32]) -> Self {
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // In f64 the range of any two floats is finite.
        Self { scale: ((f64::from(high) - f64::from(low)) / 15.0) as f32, low }
    }

    /// The nearest number to a value of the range.
    fn number(self, value: f32) -> u8 {
        if self.scale == 0.0 {
            return 0;
        }
        ((f64::from(value) - f64::from(self.low)) / f64::from(self.scale)).round().min(15.0) as u8
    }

    /// What a number stands for.
    pub fn value(self, number: u8) -> f32 {
        f32::from(number).mul_add(self.scale, self.low)
    }
}

fn check_group(group: usize) -> Result<(), OpError> {
    if GroupedMatrix::GROUPS.contains(&group) {
        return Ok(());
    }
    Err(OpError::value(OP, "group", "32, 64, 128 or 256", group))
}
