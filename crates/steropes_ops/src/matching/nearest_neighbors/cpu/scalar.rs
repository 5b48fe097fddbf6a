//! One lane, for CPUs without a vector form.

use super::Pass;
use super::filter::{self, ByteLanes, Rows, State};

impl ByteLanes for i32 {
    const COUNT: usize = 1;
    unsafe fn splat(x: i32) -> Self {
        x
    }
    unsafe fn load(p: *const i32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { *p }
    }
    unsafe fn add_products(self, row: Self, query: Self) -> Self {
        let products = row.to_le_bytes().into_iter().zip(query.to_le_bytes());
        products.fold(self, |sum, (k, q)| sum + i32::from(k as i8) * i32::from(q as i8))
    }
    unsafe fn max(self, other: Self) -> Self {
        Ord::max(self, other)
    }
    unsafe fn reached(self, limit: *const i32) -> u32 {
        // SAFETY: the trait's contract.
        unsafe { u32::from(self >= *limit) }
    }
    unsafe fn evaluate(state: &mut State<'_>, i: usize, start: usize, end: usize) {
        // SAFETY: no special instructions.
        unsafe { filter::evaluate(state, i, start, end) }
    }
}

/// [`filter::filtered`].
pub(super) fn filtered<'a>(rows: &Rows, pass: &'a Pass<'a>, may_give_up: bool) -> State<'a> {
    // SAFETY: no special instructions.
    unsafe { filter::filtered::<i32, 4, 4>(rows, pass, may_give_up) }
}
